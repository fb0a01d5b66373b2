//! One app at the host: what it sees of all servers as one, and the way of each of its requests to a
//! server and back.

mod heard;
mod passing;
mod resources;
mod sampling;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compere::gateway::{Answer, App, Asked, Attendant, Offer, Place, in_revision};
use compere::model::{
    ErrorObject, Implementation, ListCapability, ResourcesCapability, ServerCapabilities,
};
use compere::proto::{Method, Revision};
use compere::text::escape_line;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::host::{Epoch, Host};
use crate::servers::Server;
use crate::servers::running::Running;
use crate::session::resources::Uris;
use crate::session::view::View;

pub(crate) use heard::{Heard, Survey};

/// The person whose host this is. An app that comes without a name is called what it says that it is.
const LOCAL: &str = "local";
/// The longest name of an app.
const NAME_CHARACTERS: usize = 64;
/// What servers were approved of may be as new as this.
const NEWEST: Revision = Revision::V2025_11_25;
/// A server asks a model, or a person, so often while it works on one request at most.
const PER_CALL: usize = 10;
/// Items on a page of a list.
const PAGE: usize = 500;

/// One app.
pub(crate) struct Session {
    pub(crate) host: Arc<Host>,
    pub(crate) id: u64,
    pub(crate) app: App,
    name: String,
    state: Mutex<State>,
    /// The handshake is done.
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    view: Option<(Epoch, Arc<View>)>,
    /// The level of log messages that the app wants, as JSON params.
    level: Option<Box<str>>,
    /// What the app is subscribed to, as it named it: the server, and the URI there.
    subscriptions: BTreeMap<String, (String, String)>,
    /// How often a model, or a person, was asked for each request of the app that is worked on.
    asked_for: Vec<((Place, Method), usize)>,
    /// The requests of the app that each server works on.
    asked_on: HashMap<String, Vec<Place>>,
    uris: Uris,
}

/// The host's end of a connection; the session is over when this is dropped.
pub(crate) struct Attending(Arc<Session>);

impl Attending {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self(session)
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.host.session_ended(self.0.id, &self.0.name);
    }
}

impl Session {
    pub(crate) fn new(host: Arc<Host>, id: u64, app: App) -> Arc<Self> {
        let name = match app.principal() {
            LOCAL => escape_line(&app.info().name),
            known => known.to_owned(),
        };
        let name: String = name.chars().take(NAME_CHARACTERS).collect();
        Arc::new(Self {
            host,
            id,
            app,
            name: match name.is_empty() {
                true => "unnamed".to_owned(),
                false => name,
            },
            state: Mutex::default(),
            ready: watch::Sender::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the app is called here.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn close(&self) {
        self.app.close();
    }

    /// What the app sees now.
    fn view(&self) -> Arc<View> {
        let epoch = self.host.epoch();
        let mut state = self.lock();
        if let Some((of, view)) = &state.view
            && *of == epoch
        {
            return view.clone();
        }
        let view = Arc::new(View::of(&self.host, &self.name, self.id));
        state.view = Some((epoch, view.clone()));
        view
    }

    /// Lists may be others than the app knows.
    pub(crate) fn list_changed(&self) {
        if !*self.ready.borrow() {
            return;
        }
        for method in [
            Method::ToolsListChanged,
            Method::PromptsListChanged,
            Method::ResourcesListChanged,
        ] {
            self.app.tell(method, None, None);
        }
    }

    /// Waits until the app may be asked.
    async fn is_ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// The process of a server for this app, started if there is none. What it offers by now was looked
    /// at when this returns.
    async fn running(self: &Arc<Self>, server: &Arc<Server>) -> Result<Arc<Running>, ErrorObject> {
        let before = server.running_for(self.id);
        let running = match before.clone() {
            Some(running) => running,
            None => {
                let stale = Arc::new(AtomicBool::new(false));
                let heard = Arc::new(Heard::new(self, server, stale.clone()));
                let launching = self.host.clone().launching_now(server).await;
                let machine = &self.host.options.machine;
                let started = server
                    .start(self.id, launching, machine, heard, stale)
                    .await;
                started.map_err(|why| {
                    self.host.changed();
                    unavailable(&server.name, &why.to_string())
                })?
            }
        };
        let is_new = before.is_none();
        self.look_again(server, &running, is_new).await;
        if is_new {
            let level = self.lock().level.clone();
            if let Some(level) = level.filter(|_| running.offers().abilities.logging)
                && let Err(error) = running.set_level(&level).await
            {
                tracing::debug!(?error, "a server takes no level");
            }
        }
        Ok(running)
    }

    /// Asks a server again for what it offers, if it said that something changed, and holds it against what
    /// was approved.
    async fn look_again(&self, server: &Arc<Server>, running: &Running, is_new: bool) {
        // What cannot be asked for may be anything: it is looked at as it was known last.
        let differs = running.refresh().await.unwrap_or(true);
        if is_new || differs {
            self.host.seen(server, &running.offers());
            self.host.changed();
        }
    }

    async fn answer(self: Arc<Self>, asked: Asked) -> Result<Box<str>, ErrorObject> {
        match asked.method() {
            Method::Ping => Ok("{}".into()),
            Method::ToolsList => page(&asked, "tools", &self.view().tools),
            Method::PromptsList => page(&asked, "prompts", &self.view().prompts),
            Method::ResourcesTemplatesList => {
                page(&asked, "resourceTemplates", &self.view().templates)
            }
            Method::ResourcesList => {
                let resources = self.resources().await;
                page(&asked, "resources", &resources)
            }
            Method::ToolsCall | Method::PromptsGet => self.pass_named(asked).await,
            Method::ResourcesRead | Method::ResourcesSubscribe => self.pass_uri(asked).await,
            Method::ResourcesUnsubscribe => self.unsubscribe(&asked).await,
            Method::CompletionComplete => self.complete(asked).await,
            Method::LoggingSetLevel => self.set_level(&asked).await,
            other => Err(ErrorObject::method_not_found(other.name())),
        }
    }

    /// Every server that logs is told, those that start later too.
    async fn set_level(self: &Arc<Self>, asked: &Asked) -> Result<Box<str>, ErrorObject> {
        let params: Box<str> = asked.params().into();
        let level: Value = serde_json::from_str(&params).unwrap_or_default();
        let level = level.get("level").cloned().unwrap_or_default();
        if serde_json::from_value::<compere::model::LoggingLevel>(level).is_err() {
            return Err(ErrorObject::invalid_params("There is no such level"));
        }
        self.lock().level = Some(params.clone());
        for server in self.view().servers.values() {
            let running = server.running_for(self.id);
            let running = running.filter(|running| running.offers().abilities.logging);
            if let Some(running) = running
                && let Err(error) = running.set_level(&params).await
            {
                tracing::debug!(?error, server = server.name, "a server takes no level");
            }
        }
        Ok("{}".into())
    }

    /// May a server ask once more while it works on this request of the app? It was counted by asking.
    fn may_ask(&self, place: Place, method: Method) -> bool {
        let mut state = self.lock();
        let of = (place, method);
        let known = state.asked_for.iter_mut().find(|(known, _)| *known == of);
        match known {
            Some((_, count)) if *count >= PER_CALL => false,
            Some((_, count)) => {
                *count += 1;
                true
            }
            None => {
                state.asked_for.push((of, 1));
                true
            }
        }
    }

    /// Has the person named models of their own?
    fn has_models(&self) -> bool {
        cfg!(feature = "models") && !self.host.catalog().models.is_empty()
    }

    /// The places of the requests that a server works on for this app.
    fn places_of(&self, server: &str) -> Vec<Place> {
        let state = self.lock();
        state.asked_on.get(server).cloned().unwrap_or_default()
    }
}

impl Attendant for Attending {
    fn offer(&self) -> Offer {
        let list = || ListCapability::new().list_changed(true);
        let mut capabilities = ServerCapabilities::new();
        capabilities.tools = Some(list());
        capabilities.prompts = Some(list());
        let resources = ResourcesCapability::new();
        capabilities.resources = Some(resources.list_changed(true).subscribe(true));
        capabilities.completions = Some(Map::new().into());
        capabilities.logging = Some(Map::new().into());
        Offer {
            info: Implementation::new("compere", env!("CARGO_PKG_VERSION")),
            capabilities,
            instructions: self.0.view().instructions.clone(),
        }
    }

    fn request(&self, asked: Asked) -> Answer {
        Box::pin(self.0.clone().answer(asked))
    }

    fn notification(&self, method: Method, _params: &str) {
        if method == Method::RootsListChanged {
            for server in self.0.view().servers.values() {
                if let Some(running) = server.running_for(self.0.id) {
                    running.roots_changed();
                }
            }
        }
    }

    fn initialized(&self) {
        self.0.ready.send_replace(true);
    }
}

/// A server that cannot be asked just now.
fn unavailable(server: &str, why: &str) -> ErrorObject {
    let mut error = ErrorObject::internal();
    error.message = format!("The server {} is not there: {why}", escape_line(server)).into();
    error.with_data(&json!({"server": server}))
}

/// A page of a list; a cursor is the place where it begins.
fn page(asked: &Asked, member: &str, items: &[Value]) -> Result<Box<str>, ErrorObject> {
    let params: Value = serde_json::from_str(asked.params()).unwrap_or_default();
    let start = match params.get("cursor") {
        None | Some(Value::Null) => 0,
        Some(cursor) => {
            let place = cursor.as_str().and_then(|cursor| cursor.parse().ok());
            let place = place.filter(|place| (1..items.len()).contains(place));
            place.ok_or_else(|| ErrorObject::invalid_params("This cursor is not known"))?
        }
    };
    let end = items.len().min(start + PAGE);
    let mut page = Map::new();
    page.insert(
        member.to_owned(),
        items.get(start..end).unwrap_or_default().into(),
    );
    if end < items.len() {
        page.insert("nextCursor".to_owned(), end.to_string().into());
    }
    let page = Value::Object(page).to_string().into();
    Ok(in_revision(asked.method(), page, NEWEST, asked.revision()))
}
