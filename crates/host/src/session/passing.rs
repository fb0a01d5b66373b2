//! The way of one request: what is wanted, whether it may be had, the record, the server, the record
//! again, the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compere::gateway::{Asked, error_in_revision, in_revision};
use compere::model::{ErrorObject, code};
use compere::proto::Method;
use compere::text::escape_line;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};

use crate::audit::{Durability, Kind as RecordKind, Record};
use crate::consent::{
    Answer, Asking, Judged, Leave, NotAsked, Now, Outgoing, Refused, Wanted, shape_of,
};
use crate::host::short;
use crate::pins::{Item, canonical};
use crate::policy::{Claims, Reads, Subject};
use crate::servers::Server;
use crate::servers::running::{Running, SendError};
use crate::session::{LOCAL, Session, unavailable};

/// How often an app hears that a person has not decided yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// So little, so that the progress of the server itself is more.
const STEP: f64 = 1e-9;

/// Params with a name.
#[derive(Deserialize)]
struct Named<'p> {
    name: std::borrow::Cow<'p, str>,
    #[serde(borrow, default)]
    arguments: Option<&'p RawValue>,
    #[serde(borrow, rename = "_meta", default)]
    meta: Option<&'p RawValue>,
}

/// Params with a URI.
#[derive(Deserialize)]
struct Located<'p> {
    uri: std::borrow::Cow<'p, str>,
    #[serde(borrow, rename = "_meta", default)]
    meta: Option<&'p RawValue>,
}

/// What is to be done, as far as the app has said it.
pub(super) struct Errand {
    pub(super) server: Arc<Server>,
    pub(super) subject: Subject,
    /// As the server calls it.
    pub(super) name: String,
    /// What is defined of it; `None` for resources.
    pub(super) item: Option<Item>,
    /// The arguments as they came.
    pub(super) written: Option<Box<str>>,
    pub(super) meta: Option<Box<str>>,
}

impl Session {
    /// A tool or a prompt.
    pub(super) async fn pass_named(
        self: &Arc<Self>,
        asked: Asked,
    ) -> Result<Box<str>, ErrorObject> {
        let named: Named<'_> = serde_json::from_str(asked.params())
            .map_err(|_| ErrorObject::invalid_params("A name is missing"))?;
        let view = self.view();
        let (what, names, subject) = match asked.method() {
            Method::ToolsCall => ("tool", &view.tool_names, Subject::Tool),
            _ => ("prompt", &view.prompt_names, Subject::Prompt),
        };
        let Some((server, item)) = names.get(&*named.name) else {
            let name = escape_line(&named.name);
            let words = format!("Unknown {what}: {name}");
            return Err(ErrorObject::invalid_params(words));
        };
        let errand = Errand {
            server: server.clone(),
            subject,
            name: item.name.clone(),
            item: Some(item.clone()),
            written: named.arguments.map(|arguments| arguments.get().into()),
            meta: named.meta.map(|meta| meta.get().into()),
        };
        self.run(&asked, errand).await
    }

    /// A resource: to read it, or to hear when it changes.
    pub(super) async fn pass_uri(self: &Arc<Self>, asked: Asked) -> Result<Box<str>, ErrorObject> {
        let located: Located<'_> = serde_json::from_str(asked.params())
            .map_err(|_| ErrorObject::invalid_params("A URI is missing"))?;
        let (server, uri) = self.owner_of(&located.uri).await?;
        let is_read = asked.method() == Method::ResourcesRead;
        if !is_read {
            self.may_subscribe(&located.uri)?;
        }
        let errand = Errand {
            server: server.clone(),
            subject: match is_read {
                true => Subject::Resource,
                false => Subject::Subscription,
            },
            name: uri.clone(),
            item: None,
            written: None,
            meta: located.meta.map(|meta| meta.get().into()),
        };
        let answer = self.run(&asked, errand).await?;
        if !is_read {
            self.subscribed(&located.uri, &server.name, &uri);
        }
        Ok(answer)
    }

    /// All of the way.
    pub(super) async fn run(
        self: &Arc<Self>,
        asked: &Asked,
        errand: Errand,
    ) -> Result<Box<str>, ErrorObject> {
        let wanted = self.wanted(&errand)?;
        let leave = match self.leave(&wanted, asked, &errand).await {
            Ok(leave) => leave,
            Err(refused) => return self.refuse(asked.method(), &wanted, refused).await,
        };
        let params = params(&errand, &leave);
        self.carry(asked, &errand, &wanted, leave, params).await
    }

    /// What there is leave for: to the server, into the record, and back.
    pub(super) async fn carry(
        self: &Arc<Self>,
        asked: &Asked,
        errand: &Errand,
        wanted: &Wanted,
        mut leave: Leave,
        params: Box<str>,
    ) -> Result<Box<str>, ErrorObject> {
        let began = Instant::now();
        let server = &errand.server;
        let running = self.running(server).await?;
        let _asked_on = AskedOn::begin(self, &server.name, asked);
        let approvals = server.approvals();
        let agreed = running.agreed(errand.item.as_ref(), &approvals.pins);
        let mut entry = Entry::new(self, asked.method(), wanted, &leave);
        let final_form = std::mem::take(&mut leave.arguments);
        let outgoing = Outgoing {
            method: asked.method(),
            params,
        };
        let approved = leave.approve(
            outgoing,
            &running.server,
            running.generation,
            agreed.as_deref(),
        );
        let Some(approved) = approved else {
            let why = "What it does is not what was approved any more. It waits for a person.";
            return self
                .refuse(asked.method(), wanted, Refused::by_host(why))
                .await;
        };
        let effectful = wanted.reads == Reads::Unknown;
        if effectful && let Err(error) = entry.intend().await {
            let mut refused = ErrorObject::internal();
            refused.message = format!("Nothing was done: {error}").into();
            return Err(refused);
        }
        let of = (
            wanted.app.clone(),
            wanted.server.clone(),
            wanted.name.clone(),
        );
        if effectful {
            self.host.remember(of, final_form);
        }
        let sent = running
            .send(approved, errand.item.as_ref(), &approvals.pins, Some(asked))
            .await;
        entry.end(&sent, began, effectful).await?;
        match sent {
            Ok(answer) => {
                let answer = self.mapped(server, answer);
                let (from, to) = (running.revision(), asked.revision());
                Ok(in_revision(asked.method(), answer, from, to))
            }
            Err(SendError::Refused(error)) => {
                let (from, to) = (running.revision(), asked.revision());
                Err(error_in_revision(asked.method(), *error, from, to))
            }
            Err(error) => self.failed(asked.method(), &running, error),
        }
    }

    /// As rules and grants see it.
    pub(super) fn wanted(&self, errand: &Errand) -> Result<Wanted, ErrorObject> {
        let server = &errand.server;
        let agreed = server.agreed(errand.item.as_ref());
        let definition = agreed.ok_or_else(|| unavailable(&server.name, "it is not approved"))?;
        let arguments = match &errand.written {
            None => Value::Null,
            Some(written) => serde_json::from_str(written)
                .map_err(|_| ErrorObject::invalid_params("The arguments cannot be read"))?,
        };
        let approvals = server.approvals();
        let pin = errand
            .item
            .as_ref()
            .and_then(|item| approvals.pins.get(item));
        let own_reads = self.host.options.own_reads;
        Ok(Wanted {
            principal: LOCAL.to_owned(),
            app: self.name.clone(),
            session: self.id,
            server: server.name.clone(),
            subject: errand.subject,
            name: errand.name.clone(),
            definition,
            arguments,
            claims: pin.map(|pin| claims(&pin.definition)).unwrap_or_default(),
            reads: server.reads(errand.item.as_ref(), own_reads),
        })
    }

    /// Leave to do it, from rules, grants or a person.
    async fn leave(
        self: &Arc<Self>,
        wanted: &Wanted,
        asked: &Asked,
        errand: &Errand,
    ) -> Result<Leave, Refused> {
        let why = match self.host.consent.judge(wanted, Now::read()) {
            Judged::Leave(leave) => return Ok(leave),
            Judged::Refused(refused) => return Err(refused),
            Judged::Ask(why) => why,
        };
        if self.host.options.nobody {
            return Err(Refused::by_host(
                "A person would have to agree to this, and there is nobody to ask.",
            ));
        }
        let asking = || self.asking(wanted, asked.method(), errand, &why);
        let ticket = self.host.consent.ask(wanted, Now::read(), asking);
        let mut ticket = ticket.map_err(|why| {
            Refused::by_host(match why {
                NotAsked::RefusedBefore => {
                    "The person refused this several times; they are not asked again. Do something else."
                }
                NotAsked::TooMany => {
                    "Too much waits for the person already. Try again when that is decided."
                }
            })
        })?;
        let mut patience = interval(PATIENCE);
        let mut step = 0.0;
        let hold = sleep(self.host.options.hold);
        tokio::pin!(hold);
        let asks_app = self.ask_app(ticket.id, wanted, asked);
        tokio::pin!(asks_app);
        let mut app_asked = false;
        let resolution = loop {
            tokio::select! {
                biased;
                resolution = ticket.answer() => break resolution,
                () = &mut hold => break ticket.leave(),
                () = &mut asks_app, if !app_asked => app_asked = true,
                _ = patience.tick() => {
                    step += STEP;
                    if asked.wants_progress() {
                        let words = "waiting for the person to decide".to_owned();
                        asked.progress(step, None, Some(words));
                    }
                }
            }
        };
        let Some(resolution) = resolution else {
            return Err(Refused::by_host(
                "This waits for the person to approve it. Try again, unchanged, in a while.",
            ));
        };
        match self.host.consent.resolved(wanted, resolution, Now::read()) {
            Judged::Leave(leave) => Ok(leave),
            Judged::Refused(refused) => Err(refused),
            Judged::Ask(why) => Err(Refused::by_host(&why)),
        }
    }

    /// What a person is shown.
    fn asking(&self, wanted: &Wanted, method: Method, errand: &Errand, why: &str) -> Asking {
        let approvals = errand.server.approvals();
        let pin = errand
            .item
            .as_ref()
            .and_then(|item| approvals.pins.get(item));
        let description = pin
            .and_then(|pin| pin.definition.get("description"))
            .and_then(Value::as_str);
        let of = (
            wanted.app.clone(),
            wanted.server.clone(),
            wanted.name.clone(),
        );
        let folder = self.host.options.machine.folder.clone();
        Asking {
            app: wanted.app.clone(),
            server: wanted.server.clone(),
            method: method.name().to_owned(),
            name: wanted.name.clone(),
            description: description.unwrap_or_default().to_owned(),
            arguments: wanted.arguments.clone(),
            facts: facts(&wanted.arguments, &errand.server, &folder),
            changes: self.host.since_last(&of, &wanted.arguments),
            rule: why.to_owned(),
            shape: shape_of(&wanted.arguments),
        }
    }

    /// Where the person switched it on, the app itself may ask them: for this once, and nothing more.
    async fn ask_app(&self, id: u64, wanted: &Wanted, asked: &Asked) {
        let catalog = self.host.catalog();
        let may = catalog
            .apps
            .get(&self.name)
            .is_some_and(|app| app.elicitation);
        if !may || self.app.capabilities().elicitation.is_none() {
            return;
        }
        let arguments = serde_json::to_string_pretty(&wanted.arguments).unwrap_or_default();
        let message = format!(
            "May {} be done by {} with these arguments?\n{arguments}",
            escape_line(&wanted.name),
            escape_line(&wanted.server),
        );
        let form = json!({
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": {
                    "decision": {"type": "string", "enum": ["allow once", "refuse"]},
                },
                "required": ["decision"],
            },
        });
        self.is_ready().await;
        let place = asked.place();
        let method = Method::ElicitationCreate;
        let said = self.app.ask(method, &form.to_string(), Some(&place)).await;
        let Ok(said) = said else { return };
        let said: Value = serde_json::from_str(&said).unwrap_or_default();
        let decision = said.pointer("/content/decision").and_then(Value::as_str);
        let answer = match (said.get("action").and_then(Value::as_str), decision) {
            (Some("accept"), Some("allow once")) => Answer::Once,
            (Some("accept"), Some("refuse")) | (Some("decline"), _) => Answer::Deny {
                reason: String::new(),
            },
            _ => return,
        };
        let who = format!("whoever uses {}, through it", self.name);
        if let Err(error) = self.host.answer_through_app(id, &answer, &who) {
            tracing::debug!(%error, "an answer through an app came too late");
        }
    }

    /// The answer to something that is not done, and the record of that.
    pub(super) async fn refuse(
        &self,
        method: Method,
        wanted: &Wanted,
        refused: Refused,
    ) -> Result<Box<str>, ErrorObject> {
        let mut record = self.record(RecordKind::Refused, method, wanted, &wanted.arguments);
        record.rule = short(&refused.rule);
        record.approver.clone_from(&refused.by);
        record.outcome = short(&refused.why);
        if let Err(error) = self.host.append(record, Durability::Written).await {
            tracing::error!(%error, "a refusal is not in the audit log");
        }
        match method {
            // For the model: it can do something else.
            Method::ToolsCall => Ok(tool_error(&refused.why)),
            _ => Err(ErrorObject::new(code::REJECTED_BY_USER, refused.why)),
        }
    }

    fn failed(
        &self,
        method: Method,
        running: &Running,
        error: SendError,
    ) -> Result<Box<str>, ErrorObject> {
        let server = escape_line(&running.server);
        let words = match error {
            SendError::Refused(error) => return Err(*error),
            SendError::Stale(stale) => format!("Nothing was done: {stale}."),
            SendError::Lost(why) => {
                self.host.changed();
                format!(
                    "The server {server} was lost while it worked on this: {why}. Whether it was done is not known; it was not sent again."
                )
            }
            SendError::Broken(why) => format!("The server {server} did not answer: {why}."),
        };
        match method {
            Method::ToolsCall => Ok(tool_error(&words)),
            _ => {
                let mut error = ErrorObject::internal();
                error.message = words.into();
                Err(error)
            }
        }
    }

    pub(super) fn record(
        &self,
        kind: RecordKind,
        method: Method,
        wanted: &Wanted,
        arguments: &Value,
    ) -> Record {
        let mut record = Record::new(kind);
        record.principal.clone_from(&wanted.principal);
        record.app.clone_from(&wanted.app);
        record.server.clone_from(&wanted.server);
        record.method = method.name().to_owned();
        record.name = short(&wanted.name);
        if !arguments.is_null() {
            record.digest = self.host.keyed(&canonical(arguments));
            record.view = short(&redacted(arguments).to_string());
        }
        record
    }
}

impl Refused {
    fn by_host(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            rule: String::new(),
            by: String::new(),
        }
    }
}

/// Does a result say that the tool failed? For the record: however it is written.
fn has_failed(answer: &str) -> bool {
    answer.contains("\"isError\":true") || answer.contains("\"isError\": true")
}

/// The result of a tool that says what is wrong.
fn tool_error(words: &str) -> Box<str> {
    let result = json!({"content": [{"type": "text", "text": words}], "isError": true});
    result.to_string().into()
}

/// What goes to the server. What nobody changed goes as it came.
fn params(errand: &Errand, leave: &Leave) -> Box<str> {
    let mut members = Vec::new();
    let key = match errand.subject {
        Subject::Resource | Subject::Subscription => "uri",
        _ => "name",
    };
    members.push(format!("\"{key}\":{}", Value::from(errand.name.as_str())));
    match (&errand.written, leave.edited) {
        (_, true) => members.push(format!("\"arguments\":{}", leave.arguments)),
        (Some(written), false) => members.push(format!("\"arguments\":{written}")),
        (None, false) => {}
    }
    if let Some(meta) = &errand.meta {
        members.push(format!("\"_meta\":{meta}"));
    }
    format!("{{{}}}", members.join(",")).into()
}

/// What a server claims of a tool.
fn claims(definition: &Value) -> Claims {
    let claim = |name: &str| definition.get("annotations")?.get(name)?.as_bool();
    Claims {
        read_only: claim("readOnlyHint"),
        destructive: claim("destructiveHint"),
        idempotent: claim("idempotentHint"),
        open_world: claim("openWorldHint"),
    }
}

/// What the host finds out about arguments: where paths lead, and which hosts are meant.
fn facts(arguments: &Value, server: &Server, folder: &std::path::Path) -> Vec<String> {
    let mut facts = Vec::new();
    let Ok(launching) = server.launching() else {
        return facts;
    };
    let roots = match &launching.way {
        crate::servers::launch::Way::Program(program) => program.roots.clone(),
        _ => Vec::new(),
    };
    let mut look = |text: &str| {
        if let Some((scheme, rest)) = text.split_once("://")
            && scheme != "file"
        {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            facts.push(format!(
                "{} is on the host {}",
                escape_line(text),
                escape_line(host)
            ));
            return;
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if !path.contains('/') || path.contains('\n') || path.len() > 4_096 {
            return;
        }
        let base = roots.first().map_or(folder, std::path::PathBuf::as_path);
        let place = base.join(path);
        // What is not there yet is told by the folder that it would be in.
        let mut there = place.as_path();
        let mut rest = Vec::new();
        let real = loop {
            if let Ok(real) = there.canonicalize() {
                break real;
            }
            let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else {
                return;
            };
            rest.push(name.to_owned());
            there = parent;
        };
        let real = rest.iter().rev().fold(real, |path, name| path.join(name));
        let within = roots.iter().any(|root| real.starts_with(root));
        let where_to = match (within, roots.is_empty()) {
            (true, _) => "",
            (false, true) => "",
            (false, false) => ", outside of its folders",
        };
        let shown = escape_line(&real.display().to_string());
        if !within || real != place {
            facts.push(format!("{} leads to {shown}{where_to}", escape_line(text)));
        }
    };
    texts(arguments, &mut look);
    facts.truncate(20);
    facts
}

fn texts(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, look)),
        Value::Object(members) => members.values().for_each(|member| texts(member, look)),
        _ => {}
    }
}

/// Arguments without what may be secret, and short.
fn redacted(value: &Value) -> Value {
    const SECRET: [&str; 9] = [
        "password",
        "passwd",
        "secret",
        "token",
        "apikey",
        "api_key",
        "authorization",
        "credential",
        "private",
    ];
    const SHOWN: usize = 80;
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| {
                let small = name.to_lowercase();
                let member = match SECRET.iter().any(|part| small.contains(part)) {
                    true => Value::from("(not shown)"),
                    false => redacted(member),
                };
                (name.clone(), member)
            })
            .collect(),
        Value::Array(items) => items.iter().take(20).map(redacted).collect(),
        Value::String(text) => match text.char_indices().nth(SHOWN) {
            None => text.as_str().into(),
            Some((end, _)) => {
                let begin = text.get(..end).unwrap_or_default();
                format!("{begin}… ({} bytes)", text.len()).into()
            }
        },
        simple => simple.clone(),
    }
}

/// The record of one errand. If nobody waits for its end, that is said too.
struct Entry<'s> {
    session: &'s Session,
    /// What is written before, if it may have an effect.
    intent: Option<Record>,
    /// What is written after.
    record: Record,
    over: bool,
}

impl<'s> Entry<'s> {
    fn new(session: &'s Session, method: Method, wanted: &Wanted, leave: &Leave) -> Self {
        let effectful = wanted.reads == Reads::Unknown;
        let kind = match effectful {
            true => RecordKind::Intent,
            false => RecordKind::Read,
        };
        let mut record = session.record(kind, method, wanted, &leave.arguments);
        record.rule = short(&leave.rule);
        record.approver.clone_from(&leave.approver);
        let (intent, record) = match effectful {
            false => (None, record),
            true => {
                let mut outcome = Record::new(RecordKind::Outcome);
                outcome.app.clone_from(&record.app);
                outcome.server.clone_from(&record.server);
                outcome.name.clone_from(&record.name);
                (Some(record), outcome)
            }
        };
        Self {
            session,
            intent,
            record,
            over: true,
        }
    }

    /// Before an effect: on the disk that it is about to happen.
    async fn intend(&mut self) -> Result<(), crate::audit::LogError> {
        if let Some(intent) = self.intent.take() {
            let number = self.session.host.append(intent, Durability::Synced).await?;
            self.record.of = Some(number);
            self.over = false;
        }
        Ok(())
    }

    /// What came of it. If a read cannot be recorded, what was read is not given.
    async fn end(
        &mut self,
        sent: &Result<Box<str>, SendError>,
        began: Instant,
        effectful: bool,
    ) -> Result<(), ErrorObject> {
        let outcome = match sent {
            Ok(answer) if has_failed(answer) => {
                let server = self.session.host.server(&self.record.server);
                let kept_from = server.map(|server| server.kept_from(answer));
                match kept_from.unwrap_or_default().as_slice() {
                    [] => "the tool failed".to_owned(),
                    paths => format!("the tool failed; it was kept from {}", paths.join("; ")),
                }
            }
            Ok(_) => "done".to_owned(),
            Err(SendError::Refused(error)) => format!("refused by the server ({})", error.code),
            Err(SendError::Stale(stale)) => format!("not sent: {stale}"),
            Err(SendError::Lost(why)) => format!("the server was lost: {why}; outcome unknown"),
            Err(SendError::Broken(why)) => format!("no answer: {}", short(why)),
        };
        let mut record = self.last_record(short(&outcome));
        record.micros = u64::try_from(began.elapsed().as_micros()).ok();
        self.over = true;
        let written = self.session.host.append(record, Durability::Written).await;
        match written {
            Ok(_) => Ok(()),
            Err(error) if effectful => {
                // It was done; to hide that would be worse.
                tracing::error!(%error, "an outcome is not in the audit log");
                Ok(())
            }
            Err(error) => {
                let mut refused = ErrorObject::internal();
                refused.message = error.to_string().into();
                Err(refused)
            }
        }
    }

    fn last_record(&mut self, outcome: String) -> Record {
        let mut record = std::mem::take(&mut self.record);
        record.outcome = outcome;
        record
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.over {
            let words = "withdrawn by the app, or the app has left; outcome unknown";
            let record = self.last_record(words.to_owned());
            self.session.host.write(record);
        }
    }
}

/// A server works on a request of the app while this lives.
struct AskedOn<'s> {
    session: &'s Session,
    server: String,
    place: compere::gateway::Place,
}

impl<'s> AskedOn<'s> {
    fn begin(session: &'s Session, server: &str, asked: &Asked) -> Self {
        let place = asked.place();
        let mut state = session.lock();
        let places = state.asked_on.entry(server.to_owned()).or_default();
        places.push(place);
        drop(state);
        Self {
            session,
            server: server.to_owned(),
            place,
        }
    }
}

impl Drop for AskedOn<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.asked_for.retain(|((of, _), _)| *of != self.place);
        if let Some(places) = state.asked_on.get_mut(&self.server)
            && let Some(at) = places.iter().position(|place| *place == self.place)
        {
            places.swap_remove(at);
        }
    }
}
