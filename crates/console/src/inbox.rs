//! What waits for a person, and their answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use compere_host::consent::Rejected;
use compere_host::servers::Stage;
use maud::{Markup, html};

use crate::answers::{Fields, answer as read_answer};
use crate::card::card;
use crate::entry::Visit;
use crate::page::{Place, page as whole};
use crate::{Inner, text};

/// Who answers, for the record.
pub(crate) const WHO: &str = "local, by the web page";

pub(crate) async fn page(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let answered = fields.get("answered").and_then(|id| id.parse().ok());
    let notice = answered.and_then(|id| notice(&inner, id));
    let questions = inner.host.questions();
    let content = html! {
        h1 { "What waits for you" }
        div #notices role="status" aria-live="polite" {
            @if let Some(notice) = notice { p.notice { (notice) } }
        }
        div #cards data-live="cards" {
            @for question in &questions { (card(&visit, question)) }
        }
        p.nothing #nothing hidden[!questions.is_empty()] {
            "Nothing waits for you. What does is shown here as soon as it is there."
        }
        p.keys {
            kbd { "j" } " and " kbd { "k" } " go from one question to the next, "
            kbd { "Tab" } " to what can be said."
        }
        (first_steps(&inner, &visit))
    };
    whole(&inner, &visit, Place::Inbox, "Inbox", &content).into_response()
}

/// For whoever has just begun.
fn first_steps(inner: &Inner, visit: &Visit) -> Markup {
    let status = inner.host.status();
    let running = status.servers.iter();
    let running = running.filter(|server| matches!(server.stage, Stage::Running(_)));
    html! {
        section.summary aria-label="The host" {
            @if status.servers.is_empty() {
                p { "There are no servers yet. Bring over those of other apps in a terminal: " code { "compere import" } }
            } @else {
                p {
                    a href=(visit.path("servers")) { (text::count(status.servers.len(), "server", "servers")) } ", "
                    (running.count()) " running."
                }
            }
            @if status.apps.is_empty() {
                p { "No app is connected. Point one at this host in a terminal: " code { "compere install APP" } }
            } @else {
                p { "Connected: " @for app in &status.apps { (text::line(app)) " " } }
            }
            (text::lines("warnings", &status.faults))
        }
    }
}

/// How a question ended.
fn notice(inner: &Inner, id: u64) -> Option<String> {
    let how = inner.host.end_of(id)?;
    Some(format!("Question {id}: {how}."))
}

/// The cards alone, for the script.
pub(crate) async fn cards(State(inner): State<Arc<Inner>>, visit: Visit) -> Html<String> {
    let questions = inner.host.questions();
    let cards = html! { @for question in &questions { (card(&visit, question)) } };
    Html(cards.into_string())
}

/// How a question ended, for the script.
pub(crate) async fn ended(
    State(inner): State<Arc<Inner>>,
    _visit: Visit,
    Path((_, id)): Path<(String, u64)>,
) -> String {
    notice(&inner, id).unwrap_or_else(|| format!("Question {id} is over."))
}

/// Takes an answer.
pub(crate) async fn answer(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, id)): Path<(String, u64)>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    let fields = Fields::read(&form);
    let given = give(&inner, id, &fields).await;
    let is_script = headers.contains_key("x-script");
    match given {
        Ok(()) if is_script => {
            let words = notice(&inner, id).unwrap_or_default();
            words
                .replace("it was answered already: ", "")
                .into_response()
        }
        Ok(()) | Err(Given::Ended) if !is_script => see(&visit, &format!("?answered={id}")),
        Err(Given::Ended) | Ok(()) => {
            let words = notice(&inner, id).unwrap_or_else(|| format!("Question {id} is over."));
            (StatusCode::CONFLICT, words).into_response()
        }
        Err(Given::Wrong(why)) if is_script => {
            let words = format!("That does not count: {why}.");
            (StatusCode::UNPROCESSABLE_ENTITY, words).into_response()
        }
        Err(Given::Wrong(why)) => {
            let content = html! {
                h1 { "That does not count" }
                p { (text::line(&why)) }
                p { a href=(visit.path("")) { "Back to what waits for you" } }
            };
            let page = whole(
                &inner,
                &visit,
                Place::Inbox,
                "That does not count",
                &content,
            );
            (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
        }
    }
}

/// Why an answer was not taken.
enum Given {
    /// The question has ended.
    Ended,
    /// It is no answer to this; why.
    Wrong(String),
}

async fn give(inner: &Arc<Inner>, id: u64, fields: &Fields) -> Result<(), Given> {
    let questions = inner.host.questions();
    let question = questions.iter().find(|question| question.id == id);
    let answer = read_answer(question.ok_or(Given::Ended)?, fields).map_err(Given::Wrong)?;
    let host = inner.host.clone();
    // What is granted is on the disk before this returns.
    let given = tokio::task::spawn_blocking(move || host.answer(id, &answer, WHO)).await;
    match given {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Rejected::Gone | Rejected::Ended(_))) => Err(Given::Ended),
        Ok(Err(why)) => Err(Given::Wrong(why.to_string())),
        Err(error) => Err(Given::Wrong(error.to_string())),
    }
}

/// Sends the browser to a page.
pub(crate) fn see(visit: &Visit, page: &str) -> Response {
    let place = visit.path(page);
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

/// What did not work, on a page of its own.
pub(crate) fn failed(
    inner: &Inner,
    visit: &Visit,
    place: Place,
    back: &str,
    why: &str,
) -> Response {
    let content = html! {
        h1 { "That did not work" }
        p { (text::line(why)) }
        p { a href=(visit.path(back)) { "Back" } }
    };
    let page = whole(inner, visit, place, "That did not work", &content);
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}
