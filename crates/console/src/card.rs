//! A question as a person is shown it: all of it, and below that what they can say.
//!
//! What is above the buttons is what an answer is to. No button is one that a key presses unasked: where
//! text is typed, the first button of its form refuses or only does what the text is for.

use compere::text::is_unseen;
use compere_host::consent::{Asking, Offered, Question, Reviewed, Reviewing, Topic};
use maud::{Markup, html};
use serde_json::Value;

use crate::entry::Visit;
use crate::text::{self, block, json, line, lines, moment, value};

/// How long an answer may hold, and how that is said.
pub(crate) const TIMES: [(&str, &str); 5] = [
    ("", "until I take it back"),
    ("3600", "for an hour"),
    ("86400", "for a day"),
    ("604800", "for a week"),
    ("2592000", "for 30 days"),
];

/// A question.
pub(crate) fn card(visit: &Visit, question: &Question) -> Markup {
    let id = question.id;
    let title = format!("question-{id}-title");
    let place = visit.path(&format!("answer/{id}"));
    html! {
        article.card id=(format!("question-{id}")) data-question=(id) aria-labelledby=(title) tabindex="-1" {
            @match &question.topic {
                Topic::Call(asking) => (call(question, asking, &title, &place)),
                Topic::Launch { server, facts, warnings, changes, fetches, digest } => {
                    h2 id=(title) {
                        "May the server " (line(server)) " be "
                        @if *fetches { "fetched" } @else { "started like this" } "?"
                    }
                    p.asked { "Question " (id) ", " (moment(question.at)) }
                    (lines("facts", facts))
                    (lines("warnings", warnings))
                    @if !changes.is_empty() {
                        h3 { "It is not what you approved before" }
                        (text::changes(changes))
                    }
                    form.answers method="post" action=(place) {
                        input type="hidden" name="digest" value=(digest);
                        button.yes name="say" value="approve" {
                            @if *fetches { "Fetch it" } @else { "Start it like this" }
                        }
                        button.no name="say" value="deny" { "No" }
                    }
                }
                Topic::Definitions { server, items, digest } => {
                    h2 id=(title) {
                        "The server " (line(server)) " offers what you have not approved"
                    }
                    p.asked { "Question " (id) ", " (moment(question.at)) ". May apps and their models see it?" }
                    form.answers method="post" action=(place) {
                        input type="hidden" name="digest" value=(digest);
                        @for (place, item) in items.iter().enumerate() {
                            (offered(id, place, item))
                        }
                        div.buttons {
                            button.yes name="say" value="approve" { "Approve what is not left out" }
                            button.no name="say" value="deny" { "No" }
                        }
                    }
                }
                Topic::Sampling(reviewing) => (sampling(question, reviewing, &title, &place)),
            }
        }
    }
}

fn call(question: &Question, asking: &Asking, title: &str, place: &str) -> Markup {
    let id = question.id;
    let edited = json(&asking.arguments);
    html! {
        h2 id=(title) {
            (line(&asking.app)) " wants " (line(&asking.name)) " of " (line(&asking.server))
        }
        p.asked {
            "Question " (id) ", " (moment(question.at))
            @if let Some(until) = question.until { ", open until " (moment(until)) }
            @match question.waiting {
                0 => ". Nobody waits for it any more: a yes is good for the same call once.",
                1 => ".",
                count => { ". " (count) " calls wait for it." }
            }
        }
        @if !asking.description.is_empty() {
            h3 { "The server says of it" }
            (block(&asking.description))
        }
        h3 { (asking.method) " with these arguments" }
        (value(&asking.arguments))
        (lines("facts", &asking.facts))
        @if !asking.changes.is_empty() {
            h3 { "Since the last one that you let through" }
            (text::changes(&asking.changes))
        }
        p.why { "You are asked because " (line(&asking.rule)) "." }
        form.answers method="post" action=(place) {
            button.yes name="say" value="once" { "Allow once" }
        }
        (refusal(id, place))
        details {
            summary { "Allow more, or something else" }
            form.answers method="post" action=(place) {
                label for=(format!("lasts-{id}")) { "Always, for exactly these arguments" }
                select id=(format!("lasts-{id}")) name="lasts" {
                    @for (seconds, words) in TIMES { option value=(seconds) { (words) } }
                }
                button name="say" value="exactly" { "Always allow exactly this" }
            }
            form.answers method="post" action=(place) {
                label for=(format!("shape-{id}")) { "All calls for which this holds" }
                (no_key())
                input id=(format!("shape-{id}")) name="shape" value=(asking.shape) spellcheck="false" autocomplete="off";
                select name="lasts" aria-label="How long" {
                    @for (seconds, words) in TIMES { option value=(seconds) { (words) } }
                }
                button name="say" value="session" { "Allow in this session" }
                button name="say" value="shape" { "Always allow" }
            }
            @if question.waiting > 0 {
                form.answers method="post" action=(place) {
                    label for=(format!("edit-{id}")) { "Other arguments, for this once" }
                    textarea id=(format!("edit-{id}")) name="arguments" rows=(rows(&edited)) spellcheck="false" {
                        "\n" (edited)
                    }
                    button name="say" value="edit" { "Allow once with these arguments" }
                }
            }
        }
    }
}

/// What the Enter key presses in a form in which text is typed: it says nothing.
fn no_key() -> Markup {
    html! {
        button.unseen name="say" value="nothing" tabindex="-1" aria-hidden="true" {}
    }
}

/// No, and why.
fn refusal(id: u64, place: &str) -> Markup {
    html! {
        form.answers method="post" action=(place) {
            button.no name="say" value="deny" { "Refuse" }
            label for=(format!("reason-{id}")) { "because" }
            input id=(format!("reason-{id}")) name="reason" placeholder="the model gets to read it" autocomplete="off" maxlength="1000";
        }
    }
}

fn offered(question: u64, place: usize, item: &Offered) -> Markup {
    let is_tool = item.kind == "tool";
    html! {
        section.offered aria-labelledby=(format!("offered-{question}-{place}")) {
            h3 id=(format!("offered-{question}-{place}")) {
                (item.kind) " " (line(&item.name)) " "
                span.state { @if item.changes.is_empty() { "new" } @else { "changed" } }
            }
            @if !item.description.is_empty() { (block(&item.description)) }
            (lines("warnings", &item.warnings))
            @if !item.changes.is_empty() {
                h4 { "What has changed" }
                (text::changes(&item.changes))
            }
            label { input type="checkbox" name="except" value=(item.name); " leave this out" }
            @if is_tool {
                " " label { input type="checkbox" name="reads" value=(item.name); " I know that it only reads" }
            }
        }
    }
}

fn sampling(question: &Question, reviewing: &Reviewing, title: &str, place: &str) -> Markup {
    let id = question.id;
    let is_prompt = reviewing.what == Reviewed::Prompt;
    html! {
        h2 id=(title) {
            @if is_prompt {
                (line(&reviewing.server)) " wants to ask a model, " (line(&reviewing.model))
                ", while it works for " (line(&reviewing.app))
            } @else {
                "The model " (line(&reviewing.model)) " has answered " (line(&reviewing.server))
                ". May it see this?"
            }
        }
        p.asked { "Question " (id) ", " (moment(question.at)) }
        @for part in parts(reviewing) {
            h3 { (part.heading) }
            @match &part.text {
                Some(text) => (block(text)),
                None => (value(part.content)),
            }
        }
        (lines("facts", &reviewing.facts))
        details {
            summary { "All of it" }
            (value(&reviewing.content))
        }
        form.answers method="post" action=(place) {
            button.yes name="say" value="once" {
                @if is_prompt { "Ask the model" } @else { "Let the server see it" }
            }
        }
        (refusal(id, place))
        details {
            summary { @if is_prompt { "Ask something else, or another model" } @else { "Let it see something else" } }
            form.answers method="post" action=(place) {
                (no_key())
                @for part in parts(reviewing) {
                    @if let Some(text) = &part.text {
                        label for=(format!("{}-{id}", part.name)) { (part.heading) }
                        textarea id=(format!("{}-{id}", part.name)) name=(part.name) rows=(rows(text)) {
                            "\n" (text)
                        }
                        @if text.contains(is_unseen) {
                            p.hint { "There are signs in it that are not seen here. Above they are." }
                        }
                    }
                }
                @if let Some(most) = reviewing.content.get("maxTokens").and_then(Value::as_u64) {
                    label for=(format!("most-{id}")) { "At most so many tokens" }
                    input id=(format!("most-{id}")) name="maxTokens" type="number" min="1" max=(most) value=(most);
                }
                @if !reviewing.others.is_empty() {
                    label for=(format!("model-{id}")) { "Model" }
                    select id=(format!("model-{id}")) name="model" {
                        option value="" { (reviewing.model) }
                        @for other in &reviewing.others { option value=(other) { (other) } }
                    }
                }
                button name="say" value="edit" {
                    @if is_prompt { "Ask this" } @else { "Let the server see this" }
                }
            }
        }
    }
}

/// A part of what is asked or answered that can be shown, and changed if it is text.
pub(crate) struct Part<'r> {
    pub(crate) name: String,
    pub(crate) heading: String,
    pub(crate) text: Option<String>,
    pub(crate) content: &'r Value,
    /// Where its text stands.
    pub(crate) pointer: String,
}

/// The parts of one half of sampling.
pub(crate) fn parts(reviewing: &Reviewing) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let all = &reviewing.content;
    if let Some(system) = all.get("systemPrompt") {
        parts.push(Part {
            name: "system".to_owned(),
            heading: "It tells the model first".to_owned(),
            text: system.as_str().map(str::to_owned),
            content: system,
            pointer: "/systemPrompt".to_owned(),
        });
    }
    let messages = all.get("messages").and_then(Value::as_array);
    for (number, message) in messages.into_iter().flatten().enumerate() {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("user") => "The user says",
            Some("assistant") => "The assistant says",
            _ => "Somebody says",
        };
        blocks(
            &mut parts,
            &format!("message{number}"),
            role,
            message.get("content").unwrap_or(message),
            &format!("/messages/{number}/content"),
        );
    }
    if reviewing.what == Reviewed::Answer
        && let Some(content) = all.get("content")
    {
        blocks(&mut parts, "answer", "The answer", content, "/content");
    }
    parts
}

/// A block, or several.
fn blocks<'r>(
    parts: &mut Vec<Part<'r>>,
    name: &str,
    heading: &str,
    content: &'r Value,
    pointer: &str,
) {
    let mut add = |name: String, content: &'r Value, pointer: &str| {
        parts.push(Part {
            name,
            heading: heading.to_owned(),
            text: content
                .get("text")
                .and_then(Value::as_str)
                .map(str::to_owned),
            content,
            pointer: format!("{pointer}/text"),
        });
    };
    match content {
        Value::Array(several) => {
            for (number, one) in several.iter().enumerate() {
                add(
                    format!("{name}-{number}"),
                    one,
                    &format!("{pointer}/{number}"),
                );
            }
        }
        one => add(name.to_owned(), one, pointer),
    }
}

/// Rows for a text to be changed in.
fn rows(text: &str) -> usize {
    text.lines().count().clamp(2, 20)
}
