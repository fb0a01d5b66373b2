//! What happened: every call, newest first, with what came of it and how long it took.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use compere::text::escape_line;
use compere_host::audit::index::Done;
use compere_host::audit::{Index, IndexError, Kind, Numbered, Search};
use compere_host::host::Host;
use maud::{Markup, html};

use crate::Inner;
use crate::answers::Fields;
use crate::entry::Visit;
use crate::inbox::failed;
use crate::page::{Place, page as whole};
use crate::plot::plot;
use crate::text::{duration, line, moment};

/// Rows that are sent at once.
const ROWS: usize = 100;
/// Calls that a plot is made of.
const PLOTTED: usize = 20_000;
/// Times to look back, in seconds.
const TIMES: [(&str, &str); 5] = [
    ("", "all there is"),
    ("3600", "the last hour"),
    ("86400", "the last day"),
    ("604800", "the last week"),
    ("2592000", "the last 30 days"),
];
/// What is shown where nothing is said: what apps asked for.
const CALLS: [Kind; 3] = [Kind::Intent, Kind::Read, Kind::Refused];

/// What is looked for.
struct Asked {
    search: Search,
    before: Option<u64>,
    /// The filter as it came, for links.
    given: Vec<(&'static str, String)>,
}

impl Asked {
    fn of(query: Option<String>) -> Self {
        let fields = Fields::read(query.unwrap_or_default().as_bytes());
        let owned = |name: &str| fields.filled(name).map(str::to_owned);
        let chosen = fields.filled("kind");
        let chosen = chosen.and_then(|of| Kind::ALL.into_iter().find(|kind| kind.as_str() == of));
        let since = fields.filled("since").and_then(|seconds| {
            let back = Duration::from_secs(seconds.parse().ok()?);
            let begins = SystemTime::now().checked_sub(back)?;
            let begins = begins.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(begins.as_micros()).ok()
        });
        let given = ["app", "server", "name", "kind", "since", "words"];
        let given = given
            .into_iter()
            .filter_map(|name| Some((name, owned(name)?)));
        Self {
            search: Search {
                app: owned("app"),
                server: owned("server"),
                name: owned("name"),
                kinds: chosen.map_or(CALLS.to_vec(), |kind| vec![kind]),
                since: since.unwrap_or_default(),
                words: owned("words"),
            },
            before: fields
                .filled("before")
                .and_then(|before| before.parse().ok()),
            given: given.collect(),
        }
    }

    fn given(&self, name: &str) -> &str {
        let given = self.given.iter().find(|(of, _)| *of == name);
        given.map_or("", |(_, value)| value)
    }

    fn link(&self, before: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.given);
        query.append_pair("before", &before.to_string());
        query.finish()
    }
}

/// What was found.
struct Found {
    rows: Vec<Row>,
    /// Where the next ones begin, if there are any.
    next: Option<u64>,
}

struct Row {
    record: Numbered,
    outcome: Option<Numbered>,
}

/// What a page shows besides the rows.
struct Around {
    done: Vec<Done>,
    apps: Vec<String>,
    servers: Vec<String>,
}

fn index(host: &Host) -> Result<Index, IndexError> {
    let folder = host.audit_folder();
    let kept = Index::open(&host.audit_index(), &folder, |_| {});
    kept.or_else(|error| {
        tracing::warn!(%error, "the index cannot be kept");
        Index::in_memory(&folder, |_| {})
    })
}

fn found(index: &Index, asked: &Asked) -> Result<Found, IndexError> {
    let mut records = index.newest(&asked.search, asked.before, ROWS + 1)?;
    let is_more = records.len() > ROWS;
    records.truncate(ROWS);
    let next = records.last().filter(|_| is_more).map(|last| last.number);
    let intents = records
        .iter()
        .filter(|of| of.record.kind == Some(Kind::Intent));
    let mut outcomes = index.outcomes(&intents.map(|of| of.number).collect::<Vec<_>>())?;
    let rows = records.into_iter().map(|record| Row {
        outcome: outcomes.remove(&record.number),
        record,
    });
    Ok(Found {
        rows: rows.collect(),
        next,
    })
}

fn around(index: &Index, asked: &Asked) -> Result<Around, IndexError> {
    let (apps, servers) = index.names()?;
    Ok(Around {
        done: index.pace(&asked.search, PLOTTED)?,
        apps,
        servers,
    })
}

/// The page.
pub(crate) async fn page(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Arc::new(Asked::of(query));
    let (host, of) = (inner.host.clone(), asked.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let index = index(&host)?;
        Ok::<_, IndexError>((found(&index, &of)?, around(&index, &of)?))
    });
    let (found, around) = match looked.await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => {
            return failed(&inner, &visit, Place::Activity, "audit", &error.to_string());
        }
        Err(error) => return failed(&inner, &visit, Place::Activity, "audit", &error.to_string()),
    };
    let content = html! {
        h1 { "Activity" }
        (filter(&visit, &asked, &around))
        (plot(&around.done))
        div #rows data-live="rows" {
            @if found.rows.is_empty() { p.nothing { "Nothing of this kind has happened." } }
            (rows(&visit, &asked, &found))
        }
    };
    whole(&inner, &visit, Place::Activity, "Activity", &content).into_response()
}

/// More rows, for the script.
pub(crate) async fn more(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Arc::new(Asked::of(query));
    let (host, of) = (inner.host.clone(), asked.clone());
    let looked = tokio::task::spawn_blocking(move || found(&index(&host)?, &of)).await;
    match looked {
        Ok(Ok(found)) => Html(rows(&visit, &asked, &found).into_string()).into_response(),
        _ => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn filter(visit: &Visit, asked: &Asked, around: &Around) -> Markup {
    let choice = |name: &str, all: &[String]| {
        html! {
            select name=(name) {
                option value="" { "any" }
                @for one in all {
                    option value=(one) selected[asked.given(name) == one] { (escape_line(one)) }
                }
            }
        }
    };
    html! {
        form.filter method="get" action=(visit.path("activity")) {
            label { "App " (choice("app", &around.apps)) }
            label { "Server " (choice("server", &around.servers)) }
            label { "Tool, prompt or resource " input name="name" value=(asked.given("name")) autocomplete="off"; }
            label { "What "
                select name="kind" {
                    option value="" { "what apps asked for" }
                    @for kind in Kind::ALL {
                        option value=(kind.as_str()) selected[asked.given("kind") == kind.as_str()] { (shown(kind)) }
                    }
                }
            }
            label { "When "
                select name="since" {
                    @for (seconds, words) in TIMES {
                        option value=(seconds) selected[asked.given("since") == seconds] { (words) }
                    }
                }
            }
            label { "Words " input name="words" type="search" value=(asked.given("words")) autocomplete="off"; }
            button { "Show" }
        }
    }
}

fn shown(kind: Kind) -> &'static str {
    match kind {
        Kind::Intent => "calls with an effect",
        Kind::Outcome => "what came of those",
        Kind::Read => "calls that only read",
        Kind::Refused => "what was refused",
        Kind::Decision => "what people decided",
        Kind::Host => "the host itself",
    }
}

/// Rows, and where the next ones are.
fn rows(visit: &Visit, asked: &Asked, found: &Found) -> Markup {
    html! {
        @if !found.rows.is_empty() {
            ol.chunk {
                @for row in &found.rows { (shown_row(row)) }
            }
        }
        @if let Some(next) = found.next {
            @let query = asked.link(next);
            p.more {
                a href=(visit.path(&format!("activity?{query}")))
                    data-rows=(visit.path(&format!("activity/rows?{query}"))) { "Older" }
            }
        }
    }
}

fn shown_row(row: &Row) -> Markup {
    let record = &row.record.record;
    let last = row
        .outcome
        .as_ref()
        .map_or(record, |outcome| &outcome.record);
    let is_open = record.kind == Some(Kind::Intent) && row.outcome.is_none();
    let class = match record.kind {
        Some(Kind::Refused) => "bad",
        Some(Kind::Read) => "reads",
        Some(Kind::Intent) => "acts",
        _ => "quiet",
    };
    let said = [("because ", &record.rule), ("by ", &record.approver)];
    html! {
        li.row data-number=(row.record.number) data-open[is_open] {
            span.when { (moment(row.record.at / 1_000_000)) }
            span class={"what " (class)} {
                @if !record.app.is_empty() { (line(&record.app)) " → " }
                @if !record.server.is_empty() { (line(&record.server)) " → " }
                @if record.name.is_empty() { (line(&record.method)) } @else { (line(&record.name)) }
            }
            span.view { (line(&record.view)) }
            span.outcome {
                @if is_open { "its outcome is not known" } @else { (line(&last.outcome)) }
            }
            span.took { @if let Some(micros) = last.micros { (duration(micros)) } }
            span.why {
                @for (before, words) in said {
                    @if !words.is_empty() { (before) (line(words)) " " }
                }
                @if let Some(kind) = record.kind { "№ " (row.record.number) " " (kind.as_str()) }
            }
        }
    }
}
