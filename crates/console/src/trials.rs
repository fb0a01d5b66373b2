//! Tools, prompts and resources tried out from the page. They are called as any app calls them: by an app
//! named `console`, by the same rules and with the same questions.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use compere::text::escape_line;
use compere::{Client, ServerHandle};
use compere_host::consent::Topic;
use compere_host::naming;
use compere_host::pins::{Item, Kind};
use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::answers::Fields;
use crate::card::card;
use crate::entry::Visit;
use crate::inbox::{failed, see};
use crate::page::{Place, page as whole, waiting};
use crate::{Inner, form, text};

/// What the page is called where apps have names.
pub(crate) const APP: &str = "console";
/// Trials that are remembered.
const KEPT: usize = 50;
/// Trials that may go on at once.
const AT_ONCE: usize = 16;
/// Log messages of servers that are remembered.
const MESSAGES: usize = 200;
/// The connection ends when nothing was tried for so long.
const UNUSED: Duration = Duration::from_secs(5 * 60);

/// What was tried.
pub(crate) struct Trials {
    gateway: ServerHandle,
    client: tokio::sync::Mutex<Option<Client>>,
    state: Arc<Mutex<Kept>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    trials: VecDeque<Trial>,
    /// What servers wrote meanwhile: with when, and the words.
    messages: VecDeque<(Instant, String)>,
}

#[derive(Clone)]
struct Trial {
    id: u64,
    server: String,
    what: String,
    asked: Value,
    began: Instant,
    progress: Option<String>,
    /// How long it took, and what came of it.
    done: Option<(Duration, Result<Outcome, String>)>,
}

#[derive(Clone)]
enum Outcome {
    Tool(Value),
    Prompt(Value),
    Resources(Value),
    Resource(Value),
}

/// What is to be tried.
enum What {
    Tool(String, Value),
    Prompt(String, BTreeMap<String, String>),
    Resources,
    Resource(String),
}

impl Trials {
    pub(crate) fn new(gateway: ServerHandle) -> Self {
        Self {
            gateway,
            client: tokio::sync::Mutex::default(),
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Told when something comes of what was tried.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: u64) -> Option<Trial> {
        let kept = self.lock();
        kept.trials.iter().find(|trial| trial.id == id).cloned()
    }

    async fn client(&self) -> compere::Result<Client> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.has_ended()) {
            return Ok(client.clone());
        }
        let state = self.state.clone();
        let builder = Client::builder(APP, env!("CARGO_PKG_VERSION")).on_log(move |message| {
            let logger = message.logger.unwrap_or_default();
            let words = match json(&message.data) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let words = format!("{} {logger} {words}", message.level.as_str());
            let mut kept = state.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.messages.len() >= MESSAGES {
                kept.messages.pop_front();
            }
            kept.messages.push_back((Instant::now(), words));
        });
        let new = builder.connect(self.gateway.clone()).await?;
        *client = Some(new.clone());
        Ok(new)
    }

    /// The number of a new trial; `None` if too much goes on.
    fn new_trial(&self, server: &str, what: String, asked: Value) -> Option<u64> {
        let mut kept = self.lock();
        let going = kept.trials.iter().filter(|trial| trial.done.is_none());
        if going.count() >= AT_ONCE {
            return None;
        }
        if kept.trials.len() >= KEPT {
            let over = kept.trials.iter().position(|trial| trial.done.is_some());
            over.and_then(|over| kept.trials.remove(over));
        }
        kept.last += 1;
        let id = kept.last;
        kept.trials.push_back(Trial {
            id,
            server: server.to_owned(),
            what,
            asked,
            began: Instant::now(),
            progress: None,
            done: None,
        });
        Some(id)
    }

    fn is_unused_since(&self, id: u64) -> bool {
        let kept = self.lock();
        kept.last == id && kept.trials.iter().all(|trial| trial.done.is_some())
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Trial)) {
        let mut kept = self.lock();
        if let Some(trial) = kept.trials.iter_mut().find(|trial| trial.id == id) {
            change(trial);
        }
        drop(kept);
        self.changed.send_modify(|changes| *changes += 1);
    }
}

impl Inner {
    /// Begins a trial, and gives its number.
    fn try_out(self: &Arc<Self>, server: &str, what: What) -> Option<u64> {
        let (words, asked) = match &what {
            What::Tool(name, arguments) => (name.clone(), arguments.clone()),
            What::Prompt(name, arguments) => (name.clone(), json(arguments)),
            What::Resources => ("its resources".to_owned(), Value::Null),
            What::Resource(uri) => (uri.clone(), Value::Null),
        };
        let id = self.trials.new_trial(server, words, asked)?;
        let (inner, server) = (self.clone(), server.to_owned());
        tokio::spawn(async move {
            let began = Instant::now();
            let outcome = inner.outcome(id, &server, what).await;
            let outcome = outcome.map_err(|error| error.to_string());
            inner
                .trials
                .change(id, |trial| trial.done = Some((began.elapsed(), outcome)));
            tokio::time::sleep(UNUSED).await;
            if inner.trials.is_unused_since(id) {
                inner.trials.client.lock().await.take();
            }
        });
        Some(id)
    }

    fn outcome(
        self: &Arc<Self>,
        id: u64,
        server: &str,
        what: What,
    ) -> impl Future<Output = compere::Result<Outcome>> + Send {
        let inner = self.clone();
        let server = server.to_owned();
        async move {
            let client = inner.trials.client().await?;
            Ok(match what {
                What::Tool(name, arguments) => {
                    let told = inner.clone();
                    let name = naming::offered(&server, &name);
                    let call = client.call(name, arguments).no_timeout();
                    let call = call.on_progress(move |progress| {
                        let words = progress.message.unwrap_or_default();
                        let words = match progress.total {
                            Some(total) => format!("{} of {total} {words}", progress.progress),
                            // So little is the host's own way to say that it goes on.
                            None if progress.progress < 1e-3 => words,
                            None => format!("{} {words}", progress.progress),
                        };
                        told.trials.change(id, |trial| trial.progress = Some(words));
                    });
                    Outcome::Tool(json(&call.await?.into_inner()))
                }
                What::Prompt(name, arguments) => {
                    let name = naming::offered(&server, &name);
                    Outcome::Prompt(json(&client.prompt(name, arguments).await?))
                }
                What::Resources => Outcome::Resources(json(&client.resources().collect().await?)),
                What::Resource(uri) => Outcome::Resource(json(&client.read(uri).await?)),
            })
        }
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A form of a server's page was sent.
pub(crate) async fn begin(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let back = format!("servers/{}", text::part(&name));
    let fail = |why: &str| failed(&inner, &visit, Place::Servers, &back, why);
    let Some(server) = inner.host.server(&name) else {
        return fail("there is no such server");
    };
    let definition = |kind: Kind, name: &str| {
        let approvals = server.approvals();
        let pin = approvals.pins.get(&Item::new(kind, name));
        pin.map(|pin| pin.definition.clone())
    };
    let what = if let Some(tool) = fields.get("tool") {
        let Some(definition) = definition(Kind::Tool, tool) else {
            return fail("it has no such tool, or you have not approved it");
        };
        let schema = definition.get("inputSchema").unwrap_or(&Value::Null);
        match form::value(schema, &fields) {
            Ok(arguments) => What::Tool(tool.to_owned(), arguments),
            Err(why) => return fail(&why),
        }
    } else if let Some(prompt) = fields.get("prompt") {
        let Some(definition) = definition(Kind::Prompt, prompt) else {
            return fail("it has no such prompt, or you have not approved it");
        };
        let arguments = prompt_arguments(&definition);
        let filled = arguments.into_iter().filter_map(|(argument, _, _)| {
            let given = fields.text(&format!("/{argument}"));
            given
                .filter(|given| !given.is_empty())
                .map(|given| (argument.to_owned(), given))
        });
        What::Prompt(prompt.to_owned(), filled.collect())
    } else {
        return fail("nothing was chosen");
    };
    match inner.try_out(&name, what) {
        Some(id) => see(&visit, &format!("trials/{id}")),
        None => fail("too much is tried out already; wait until some of it is done"),
    }
}

/// The arguments of a prompt: the name, what is said of it, and whether it must be there.
pub(crate) fn prompt_arguments(definition: &Value) -> Vec<(&str, &str, bool)> {
    let arguments = definition.get("arguments").and_then(Value::as_array);
    let arguments = arguments.into_iter().flatten().filter_map(|argument| {
        let text = |name: &str| argument.get(name).and_then(Value::as_str);
        let required = argument.get("required").and_then(Value::as_bool);
        Some((
            text("name")?,
            text("description").unwrap_or_default(),
            required.unwrap_or_default(),
        ))
    });
    arguments.collect()
}

/// One resource is read, or all servers are asked for theirs.
pub(crate) async fn resources(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let what = match fields.filled("uri") {
        Some(uri) => What::Resource(uri.to_owned()),
        None => What::Resources,
    };
    match inner.try_out("all servers", what) {
        Some(id) => see(&visit, &format!("trials/{id}")),
        None => failed(
            &inner,
            &visit,
            Place::Servers,
            "servers",
            "too much is tried out already; wait until some of it is done",
        ),
    }
}

/// What comes of a trial.
pub(crate) async fn one(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, id)): Path<(String, u64)>,
) -> Response {
    let Some(trial) = inner.trials.get(id) else {
        return failed(
            &inner,
            &visit,
            Place::Servers,
            "servers",
            "this was too long ago to be remembered",
        );
    };
    let back = format!("servers/{}", text::part(&trial.server));
    let content = html! {
        h1 { (text::line(&trial.what)) " of " (text::line(&trial.server)) }
        @if !trial.asked.is_null() {
            h2 { "With" }
            (text::value(&trial.asked))
        }
        div data-live="trial" data-from=(visit.path(&format!("trials/{id}/state"))) {
            (shown(&inner, &visit, &trial))
        }
        @if inner.host.server(&trial.server).is_some() {
            p { a href=(visit.path(&back)) { "Back to " (text::line(&trial.server)) } }
        }
    };
    let title = escape_line(&trial.what);
    match trial.done {
        None => waiting(&inner, &visit, Place::Servers, &title, &content).into_response(),
        Some(_) => whole(&inner, &visit, Place::Servers, &title, &content).into_response(),
    }
}

/// The same, without what is around it.
pub(crate) async fn state(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    Path((_, id)): Path<(String, u64)>,
) -> Html<String> {
    let shown = inner
        .trials
        .get(id)
        .map(|trial| shown(&inner, &visit, &trial));
    Html(shown.unwrap_or_default().into_string())
}

fn shown(inner: &Inner, visit: &Visit, trial: &Trial) -> Markup {
    let questions = inner.host.questions();
    let own = questions.iter().filter(|question| match &question.topic {
        Topic::Call(asking) => asking.app == APP,
        Topic::Sampling(reviewing) => reviewing.app == APP,
        Topic::Launch { server, .. } | Topic::Definitions { server, .. } => *server == trial.server,
    });
    let messages: Vec<String> = {
        let kept = inner.trials.lock();
        let until = trial.done.as_ref().map(|(took, _)| trial.began + *took);
        let during = |at: &Instant| {
            *at >= trial.began && until.is_none_or(|until| *at <= until + Duration::from_secs(1))
        };
        let said = kept.messages.iter().filter(|(at, _)| during(at));
        said.map(|(_, words)| words.clone()).collect()
    };
    html! {
        @match &trial.done {
            None => {
                p.going role="status" {
                    "It goes on"
                    @if let Some(progress) = &trial.progress { ": " (text::line(progress)) }
                    "."
                }
                @for question in own { (card(visit, question)) }
            }
            Some((took, outcome)) => {
                p role="status" {
                    "It took " (text::duration(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))) "."
                }
                @match outcome {
                    Ok(outcome) => (came(visit, outcome)),
                    Err(why) => { h2 { "It failed" } (text::block(why)) }
                }
            }
        }
        @if !messages.is_empty() {
            h2 { "What servers wrote meanwhile" }
            (text::lines("log", &messages))
        }
    }
}

/// What came of it.
fn came(visit: &Visit, outcome: &Outcome) -> Markup {
    match outcome {
        Outcome::Tool(result) => {
            let is_error = result.get("isError") == Some(&Value::Bool(true));
            let blocks = result.get("content").and_then(Value::as_array);
            html! {
                h2 { @if is_error { "The tool says that it failed" } @else { "The result" } }
                @for one in blocks.into_iter().flatten() { (block(visit, one)) }
                @if let Some(structured) = result.get("structuredContent") {
                    h3 { "As a value" }
                    (text::value(structured))
                }
            }
        }
        Outcome::Prompt(result) => {
            let messages = result.get("messages").and_then(Value::as_array);
            html! {
                h2 { "The prompt" }
                @for message in messages.into_iter().flatten() {
                    h3 { (text::line(message.get("role").and_then(Value::as_str).unwrap_or("?"))) }
                    @if let Some(content) = message.get("content") { (block(visit, content)) }
                }
            }
        }
        Outcome::Resource(result) => {
            let contents = result.get("contents").and_then(Value::as_array);
            html! {
                h2 { "The resource" }
                @for one in contents.into_iter().flatten() { (contained(one)) }
            }
        }
        Outcome::Resources(list) => {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            html! {
                h2 { (text::count(list.len(), "resource", "resources")) }
                ul.resources {
                    @for one in list {
                        @let uri = one.get("uri").and_then(Value::as_str).unwrap_or_default();
                        @let name = one.get("name").and_then(Value::as_str).unwrap_or(uri);
                        li {
                            (text::line(name)) " " code { (text::line(uri)) }
                            (reading(visit, uri))
                        }
                    }
                }
            }
        }
    }
}

/// A button that reads a resource. Whose it is, the host knows by the URI.
fn reading(visit: &Visit, uri: &str) -> Markup {
    html! {
        form.inline method="post" action=(visit.path("resources")) {
            input type="hidden" name="uri" value=(uri);
            button { "Read" }
        }
    }
}

fn block(visit: &Visit, content: &Value) -> Markup {
    let part = |name: &str| content.get(name).and_then(Value::as_str);
    match part("type") {
        Some("text") => text::block(part("text").unwrap_or_default()),
        Some("image") => picture(
            part("mimeType").unwrap_or_default(),
            part("data").unwrap_or_default(),
        ),
        Some("resource_link") => {
            let uri = part("uri").unwrap_or_default();
            html! {
                p { "A resource: " (text::line(part("name").unwrap_or(uri))) " " code { (text::line(uri)) } }
                (reading(visit, uri))
            }
        }
        Some("resource") => contained(content.get("resource").unwrap_or(&Value::Null)),
        _ => text::value(content),
    }
}

fn contained(content: &Value) -> Markup {
    let part = |name: &str| content.get(name).and_then(Value::as_str);
    let kind = part("mimeType").unwrap_or_default();
    html! {
        p { code { (text::line(part("uri").unwrap_or_default())) } " " (text::line(kind)) }
        @match (part("text"), part("blob")) {
            (Some(text), _) => (text::block(text)),
            (None, Some(data)) => (picture(kind, data)),
            (None, None) => (text::value(content)),
        }
    }
}

/// A picture, if it is one of the kinds that hold nothing but one.
fn picture(kind: &str, data: &str) -> Markup {
    const KINDS: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
    let is_shown = KINDS.contains(&kind)
        && data
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    html! {
        @if is_shown {
            img src=(format!("data:{kind};base64,{data}")) alt="What the server sent, a picture";
        } @else {
            p { "Data that is not shown here: " (text::line(kind)) ", " (data.len() / 4 * 3) " bytes" }
        }
    }
}
