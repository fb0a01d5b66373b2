//! The servers: how each stands, what is approved of it and what it may touch, its tools and prompts to be
//! tried, and what it wrote last.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use compere::text::escape_line;
use compere_host::config::roots::Change;
use compere_host::consent::Topic;
use compere_host::pins::{Kind, Pin};
use compere_host::sandbox::Profile;
use compere_host::servers::launch::Way;
use compere_host::servers::{Server, Stage};
use maud::{Markup, html};
use serde_json::Value;

use crate::answers::Fields;
use crate::card::card;
use crate::entry::Visit;
use crate::inbox::{failed, see};
use crate::page::{Place, page as whole};
use crate::text::{block, count, line, lines, part, value};
use crate::trials::prompt_arguments;
use crate::{Inner, form};

/// Millionths in one.
const MILLION: u64 = 1_000_000;

/// All of them.
pub(crate) async fn list(State(inner): State<Arc<Inner>>, visit: Visit) -> Response {
    let host = inner.host.clone();
    // The memory of every process is looked up.
    let status = tokio::task::spawn_blocking(move || host.status()).await;
    let servers = status.map(|status| status.servers).unwrap_or_default();
    let content = html! {
        h1 { "Servers" }
        @if servers.is_empty() {
            p.nothing { "There are none. Bring over those of other apps in a terminal: " code { "compere import" } }
        } @else {
            ul.servers {
                @for server in &servers {
                    li {
                        h2 { a href=(visit.path(&format!("servers/{}", part(&server.name)))) { (line(&server.name)) } }
                        p { (state(&server.stage)) }
                        p.hint {
                            (count(server.tools, "tool", "tools"))
                            @if server.waiting > 0 { ", " (server.waiting) " of what it offers wait for you" }
                            @if server.memory > 0 { ", " (server.memory / 1024) " MiB" }
                        }
                    }
                }
            }
            form.inline method="post" action=(visit.path("resources")) {
                button { "Ask all servers for their resources" }
            }
        }
    };
    whole(&inner, &visit, Place::Servers, "Servers", &content).into_response()
}

fn state(stage: &Stage) -> Markup {
    let class = match stage {
        Stage::Running(_) | Stage::Ready => "good",
        Stage::Off => "quiet",
        Stage::Waiting => "waits",
        Stage::Unusable(_) | Stage::Failed(_) => "bad",
    };
    html! { span class={"state " (class)} { (line(&stage.to_string())) } }
}

/// One of them.
pub(crate) async fn one(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    let Some(server) = inner.host.server(&name) else {
        return failed(
            &inner,
            &visit,
            Place::Servers,
            "servers",
            "there is no server of this name",
        );
    };
    let stage = server.stage();
    let launching = server.launching().ok();
    let base = format!("servers/{}", part(&name));
    let own_questions = inner.host.questions().into_iter().filter(|question| {
        matches!(&question.topic, Topic::Launch { server, .. } | Topic::Definitions { server, .. } if *server == name)
    });
    let words = server.last_words();
    let content = html! {
        h1 { (line(&name)) }
        p { (state(&stage)) }
        @for question in own_questions { (card(&visit, &question)) }
        @if matches!(stage, Stage::Failed(_) | Stage::Unusable(_)) {
            form.inline method="post" action=(visit.path(&format!("{base}/retry"))) { button { "Try it again now" } }
        }
        (tools(&visit, &server, &base))
        (prompts(&visit, &server, &base))
        section {
            h2 { "How it is started" }
            @match &launching {
                Some(launching) => {
                    (lines("facts", &launching.facts))
                    (lines("warnings", &launching.warnings))
                    @if launching.fetched.is_some() {
                        form.inline method="post" action=(visit.path(&format!("{base}/update"))) {
                            button { "Fetch its program again" }
                        }
                    }
                }
                None => p { "It cannot be started as it is written." }
            }
        }
        (touches(&visit, &server, &base, launching.as_ref().map(|of| &of.way)))
        (models(&inner, &server))
        (pinned(&server))
        section {
            h2 { "What it wrote last" }
            @if words.is_empty() { p.nothing { "Nothing, to its standard error." } }
            (lines("log", &words))
        }
    };
    whole(
        &inner,
        &visit,
        Place::Servers,
        &escape_line(&name),
        &content,
    )
    .into_response()
}

fn text_of<'v>(definition: &'v Value, name: &str) -> &'v str {
    definition
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The words of a definition, if it has any.
fn described(definition: &Value) -> Markup {
    let text = text_of(definition, "description");
    html! { @if !text.is_empty() { (block(text)) } }
}

/// How people are to call it, and what it is called.
fn named(name: &str, definition: &Value) -> Markup {
    let title = definition
        .get("title")
        .or(definition.pointer("/annotations/title"));
    let title = title
        .and_then(Value::as_str)
        .filter(|title| !title.is_empty());
    html! {
        strong { (line(title.unwrap_or(name))) }
        @if title.is_some_and(|title| title != name) { " " code { (line(name)) } }
    }
}

/// How a description begins, beside a name.
fn beginning(text: &str) -> Markup {
    let first = text.lines().find(|line| !line.trim().is_empty());
    let first: String = first.unwrap_or_default().chars().take(100).collect();
    html! {
        @if !first.is_empty() { " " span.optional { (line(&first)) } }
    }
}

fn tools(visit: &Visit, server: &Server, base: &str) -> Markup {
    let approvals = server.approvals();
    let tools: Vec<_> = approvals
        .pins
        .iter()
        .filter(|(item, _)| item.kind == Kind::Tool)
        .collect();
    html! {
        section {
            h2 { "Tools" }
            @if tools.is_empty() { p.nothing { "None that you have approved." } }
            @for (number, (item, Pin { definition, .. })) in tools.iter().enumerate() {
                details.tool {
                    summary {
                        (named(&item.name, definition))
                        (beginning(text_of(definition, "description")))
                        @if approvals.reads.contains_key(&item.name) { " " span.state { "only reads, you said" } }
                    }
                    (described(definition))
                    form.answers.fields method="post" action=(visit.path(&format!("{base}/try"))) {
                        input type="hidden" name="tool" value=(item.name);
                        (form::form(definition.get("inputSchema").unwrap_or(&Value::Null), &format!("tool-{number}")))
                        button.yes { "Call it" }
                    }
                }
            }
        }
    }
}

fn prompts(visit: &Visit, server: &Server, base: &str) -> Markup {
    let approvals = server.approvals();
    let prompts: Vec<_> = approvals
        .pins
        .iter()
        .filter(|(item, _)| item.kind == Kind::Prompt)
        .collect();
    html! {
        @if !prompts.is_empty() {
            section {
                h2 { "Prompts" }
                @for (number, (item, Pin { definition, .. })) in prompts.iter().enumerate() {
                    details.tool {
                        summary {
                            (named(&item.name, definition))
                            (beginning(text_of(definition, "description")))
                        }
                        (described(definition))
                        form.answers.fields method="post" action=(visit.path(&format!("{base}/try"))) {
                            input type="hidden" name="prompt" value=(item.name);
                            @for (argument, described, required) in prompt_arguments(definition) {
                                @let id = format!("prompt-{number}/{argument}");
                                div.field {
                                    label for=(id) { (line(argument)) @if !required { span.optional { " optional" } } }
                                    textarea id=(id) name=(format!("/{argument}")) rows="1" {}
                                    @if !described.is_empty() { p.hint { (line(described)) } }
                                }
                            }
                            button.yes { "Get it" }
                        }
                    }
                }
            }
        }
    }
}

/// Its roots, and what else it may touch.
fn touches(visit: &Visit, server: &Server, base: &str, way: Option<&Way>) -> Markup {
    let settings = &server.entry.settings;
    let is_remote = matches!(way, Some(Way::Remote { .. }));
    let is_own_file = server.workspace.is_none();
    html! {
        section {
            h2 { "Folders and confinement" }
            @if settings.roots.is_empty() {
                p { "It has no folder to work in." }
            } @else {
                p { @if settings.write { "It may read and change what is in" } @else { "It may read what is in" } }
                ul.roots {
                    @for root in &settings.roots {
                        li {
                            code { (line(root)) } " "
                            @if is_own_file {
                                form.inline method="post" action=(visit.path(&format!("{base}/roots"))) {
                                    input type="hidden" name="remove" value=(root);
                                    button aria-label=(format!("Take away {}", escape_line(root))) { "Take away" }
                                }
                            }
                        }
                    }
                }
            }
            @if is_own_file {
                form.answers method="post" action=(visit.path(&format!("{base}/roots"))) {
                    label for="root" { "Another folder" }
                    input id="root" name="add" placeholder="/home/me/work" autocomplete="off" spellcheck="false" required;
                    button { "Add" }
                }
                @if !settings.roots.is_empty() {
                    form.inline method="post" action=(visit.path(&format!("{base}/roots"))) {
                        @if settings.write {
                            button name="write" value="no" { "Let it only read" }
                        } @else {
                            button name="write" value="yes" { "Let it change what is in them" }
                        }
                    }
                }
                p.hint { "A change is written into your file. The server waits for your yes afterwards." }
            }
            @if let Some(Way::Program(program)) = way {
                @match &program.profile {
                    Some(profile) => (confined(visit, base, profile)),
                    None => p.warn { "It runs as any other program of yours: it can read and change all that you can." }
                }
            }
            @if is_remote { p { "It runs on another machine, or was started by somebody else: nothing confines it." } }
        }
    }
}

fn confined(visit: &Visit, base: &str, profile: &Profile) -> Markup {
    let all = |paths: &[PathBuf]| {
        let paths = paths.iter().map(|path| path.display().to_string());
        lines("paths", &paths.collect::<Vec<_>>())
    };
    html! {
        p {
            @if profile.network { "It may use the network." }
            @else if profile.hosts.is_empty() { "It has no network." }
            @else { "Of the network it can reach " (line(&profile.hosts.join(", "))) " and nothing else." }
            @if profile.namespaces { " It has a world of its own, with nothing else in it." }
        }
        details {
            summary { "All that it may touch" }
            @for (words, paths) in [
                ("It may run what is in", &profile.run),
                ("It may read", &profile.read),
                ("It may read and change", &profile.write),
                ("It may do as it likes in, as that holds nothing of yours", &profile.own),
            ] {
                @if !paths.is_empty() { p { (words) } (all(paths)) }
            }
            p { "What stays open to it" }
            ul { @for words in profile.stays_open() { li { (words) } } }
        }
        form.inline method="post" action=(visit.path(&format!("{base}/learn"))) {
            button { "Start it and see what it is kept from" }
        }
    }
}

/// What it used of models.
fn models(inner: &Inner, server: &Server) -> Markup {
    let budget = inner.host.budget(server);
    let money = |millionths: u64| {
        format!(
            "{}.{:02}",
            millionths / MILLION,
            millionths % MILLION / 10_000
        )
    };
    html! {
        section {
            h2 { "Models" }
            @match budget {
                None => p { "It may not ask models. To let it, with your review: " code { "\"sampling\": true" } " in your file." }
                Some((budget, spent)) => {
                    p {
                        "Today it had " (spent.requests) " of " (budget.requests) " requests and "
                        (spent.tokens) " of " (budget.tokens) " tokens"
                        @if let Some(most) = budget.money { ", and spent " (money(spent.money)) " of " (money(most)) }
                        "."
                    }
                }
            }
        }
    }
}

/// What is approved of it.
fn pinned(server: &Server) -> Markup {
    let approvals = server.approvals();
    html! {
        section {
            h2 { "What you have approved" }
            @if approvals.pins.iter().next().is_none() { p.nothing { "Nothing yet." } }
            @for (item, pin) in approvals.pins.iter() {
                details {
                    summary {
                        (format!("{:?}", item.kind).to_lowercase()) " " (line(&item.name)) " "
                        code.digest { (pin.digest.to_string().chars().take(12).collect::<String>()) }
                    }
                    (value(&pin.definition))
                }
            }
        }
    }
}

/// It is tried again at once.
pub(crate) async fn retry(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    let (host, server) = (inner.host.clone(), name.clone());
    let _ = tokio::task::spawn_blocking(move || host.retry(&server)).await;
    see(&visit, &format!("servers/{}", part(&name)))
}

/// Its program is fetched again.
pub(crate) async fn update(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    let (host, server) = (inner.host.clone(), name.clone());
    let done = tokio::task::spawn_blocking(move || host.update(&server)).await;
    after(
        &inner,
        &visit,
        &name,
        done.unwrap_or_else(|error| Err(error.to_string())),
    )
}

/// Its folders are others.
pub(crate) async fn roots(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let mut change = Change::default();
    change
        .add
        .extend(fields.filled("add").map(|add| PathBuf::from(add.trim())));
    change
        .remove
        .extend(fields.filled("remove").map(PathBuf::from));
    change.write = fields.filled("write").map(|write| write == "yes");
    let (host, server) = (inner.host.clone(), name.clone());
    let done = tokio::task::spawn_blocking(move || host.change_roots(&server, &change)).await;
    after(
        &inner,
        &visit,
        &name,
        done.unwrap_or_else(|error| Err(error.to_string())),
    )
}

/// It is started to see what it is kept from.
pub(crate) async fn learn(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
) -> Response {
    let back = format!("servers/{}", part(&name));
    let learned = match inner.host.learn(&name).await {
        Ok(learned) => learned,
        Err(why) => return failed(&inner, &visit, Place::Servers, &back, &why),
    };
    let denied: Vec<String> = learned.denied.iter().map(ToString::to_string).collect();
    let content = html! {
        h1 { "What " (line(&name)) " was kept from" }
        @if denied.is_empty() { p.nothing { "From nothing that is there." } }
        (lines("facts", &denied))
        @if let Some(why) = &learned.failed {
            p.warn { "It did not say what it offers: " (line(why)) }
            (lines("log", &learned.last_words))
        }
        p.hint { "What it should have, say in its entry. Not everything that a program tries it needs." }
        p { a href=(visit.path(&back)) { "Back to " (line(&name)) } }
    };
    whole(
        &inner,
        &visit,
        Place::Servers,
        &escape_line(&name),
        &content,
    )
    .into_response()
}

fn after(inner: &Inner, visit: &Visit, name: &str, done: Result<(), String>) -> Response {
    let page = format!("servers/{}", part(name));
    match done {
        Ok(()) => see(visit, &page),
        Err(why) => failed(inner, visit, Place::Servers, &page, &why),
    }
}
