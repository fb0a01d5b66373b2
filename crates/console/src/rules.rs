//! What is allowed without asking: what the person granted, to be taken back, and the rules of their file,
//! to be tried.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use compere_host::consent::{Grant, Lasts, Now};
use compere_host::policy::{Claims, Effect, Question, Reads, Subject, decide};
use maud::{Markup, html};
use serde_json::Value;

use crate::Inner;
use crate::answers::Fields;
use crate::entry::Visit;
use crate::inbox::{WHO, failed, see};
use crate::page::{Place, page as whole};
use crate::text::{line, lines, moment};

/// The page.
pub(crate) async fn page(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let grants = inner.host.grants();
    let rules = inner.host.rules();
    let content = html! {
        h1 { "Rules" }
        section {
            h2 { "What you granted" }
            @if grants.is_empty() { p.nothing { "Nothing beyond your rules." } }
            ul.grants {
                @for grant in &grants { (granted(&visit, grant)) }
            }
        }
        section {
            h2 { "The rules of your file" }
            @if rules.is_empty() { p.nothing { "It has none." } }
            ol.rules { @for rule in rules.iter() { li { (line(&rule.to_string())) } } }
            p { "The first one that fits decides. If none does: what only reads is allowed, and you are asked about the rest." }
            (lines("warnings", &inner.host.status().faults))
        }
        (explain(&inner, &visit, &fields))
    };
    whole(&inner, &visit, Place::Rules, "Rules", &content).into_response()
}

fn granted(visit: &Visit, grant: &Grant) -> Markup {
    let until = match (grant.expires, grant.lasts) {
        (Some(expires), _) => html! { ", until " (moment(expires)) },
        (None, Lasts::Always) => html! { ", until you take it back" },
        (None, Lasts::Session(_)) => html! { ", as long as this app is connected" },
        (None, Lasts::Once) => html! { ", once" },
    };
    html! {
        li {
            p { (line(&grant.to_string())) (until) }
            p.hint { "by " (line(&grant.who)) ", " (moment(grant.at)) }
            form.inline method="post" action=(visit.path(&format!("grants/{}/revoke", grant.id))) {
                button.no { "Take it back" }
            }
        }
    }
}

/// What the rules say of a call that somebody thinks of.
fn explain(inner: &Inner, visit: &Visit, fields: &Fields) -> Markup {
    let given = |name: &str| fields.get(name).unwrap_or_default();
    let subjects = [
        ("tool", Subject::Tool),
        ("resource", Subject::Resource),
        ("prompt", Subject::Prompt),
    ];
    let verdict = fields.filled("name").map(|name| {
        let arguments = match fields.filled("arguments") {
            None => Value::Object(serde_json::Map::new()),
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        let subject = subjects.iter().find(|(of, _)| *of == given("subject"));
        let rules = inner.host.rules();
        let verdict = decide(
            &rules,
            &Question {
                app: given("app"),
                server: given("server"),
                subject: subject.map_or(Subject::Tool, |(_, subject)| *subject),
                name,
                arguments: &arguments,
                claims: Claims::default(),
                reads: match fields.filled("reads") {
                    Some(_) => Reads::Marked,
                    None => Reads::Unknown,
                },
                now: Now::read().seconds,
            },
        );
        let words = match verdict.effect {
            Effect::Allow => "It is allowed",
            Effect::Ask => "You are asked",
            Effect::Deny => "It is refused",
        };
        Ok::<_, String>(format!("{words}: {}.", verdict.because))
    });
    html! {
        section {
            h2 #try { "What would they say?" }
            form.filter method="get" action=(visit.path("rules")) {
                label { "App " input name="app" value=(given("app")) autocomplete="off"; }
                label { "Server " input name="server" value=(given("server")) autocomplete="off"; }
                label { "What " select name="subject" {
                    @for (name, _) in subjects { option value=(name) selected[given("subject") == name] { (name) } }
                } }
                label { "Name or URI " input name="name" value=(given("name")) autocomplete="off" required; }
                label { "Arguments, as JSON " input name="arguments" value=(given("arguments")) placeholder="{}" autocomplete="off" spellcheck="false"; }
                label { input type="checkbox" name="reads" value="yes" checked[fields.filled("reads").is_some()]; " it is known that it only reads" }
                button { "Try" }
            }
            @match verdict {
                Some(Ok(words)) => p.notice role="status" { (line(&words)) },
                Some(Err(why)) => p.warn role="status" { "The arguments are no JSON: " (line(&why)) },
                None => {}
            }
        }
    }
}

/// A grant is taken back.
pub(crate) async fn revoke(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Response {
    let host = inner.host.clone();
    let revoked = tokio::task::spawn_blocking(move || host.revoke(&id, WHO)).await;
    match revoked {
        Ok(Ok(Some(_))) => see(&visit, "rules"),
        Ok(Ok(None)) => failed(
            &inner,
            &visit,
            Place::Rules,
            "rules",
            "there is no such grant any more",
        ),
        Ok(Err(error)) => {
            let why = format!("it holds no more, but that cannot be kept: {error}");
            failed(&inner, &visit, Place::Rules, "rules", &why)
        }
        Err(error) => failed(&inner, &visit, Place::Rules, "rules", &error.to_string()),
    }
}
