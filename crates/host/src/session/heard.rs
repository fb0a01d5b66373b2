//! What a server says and asks while it works for an app, and what of that reaches the app.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use compere::gateway::{Answer, Place, ServerListener};
use compere::model::{ClientCapabilities, ErrorObject, ListCapability, Root};
use compere::proto::Method;
use compere::text::escape_line;
use serde_json::{Map, Value, json};

use crate::audit::{Kind as RecordKind, Record};
use crate::host::{Host, short};
use crate::sampling::Budget;
use crate::servers::Server;
use crate::servers::launch::Way;
use crate::session::sampling::Sampling;
use crate::session::{PER_CALL, Session};

/// The app, as a process of a server hears it; or all of them, where one process is for all.
pub(crate) struct Heard {
    whose: Whose,
    server: Weak<Server>,
    name: String,
    /// What it says that its roots are; `None` if the app is asked.
    roots: Option<Value>,
    /// What it may use of models in a day; `None` if it may ask none.
    sampling: Option<Budget>,
    stale: Arc<AtomicBool>,
}

enum Whose {
    Of(Weak<Session>),
    /// Which one it works for is known while it works for one alone.
    OfAll(Weak<Host>),
}

impl Heard {
    pub(super) fn new(
        session: &Arc<Session>,
        server: &Arc<Server>,
        stale: Arc<AtomicBool>,
    ) -> Self {
        let whose = match server.entry.settings.shared {
            true => Whose::OfAll(Arc::downgrade(&session.host)),
            false => Whose::Of(Arc::downgrade(session)),
        };
        Self::of(whose, server, stale)
    }

    /// For a process that all apps share, before there is any.
    pub(crate) fn of_all(host: &Arc<Host>, server: &Arc<Server>, stale: Arc<AtomicBool>) -> Self {
        Self::of(Whose::OfAll(Arc::downgrade(host)), server, stale)
    }

    fn of(whose: Whose, server: &Arc<Server>, stale: Arc<AtomicBool>) -> Self {
        Self {
            whose,
            server: Arc::downgrade(server),
            name: server.name.clone(),
            roots: roots(server),
            sampling: server.entry.settings.sampling,
            stale,
        }
    }

    /// The app that the server works for, and the request of it if that is only one.
    fn app(&self) -> Option<(Arc<Session>, Option<Place>)> {
        match &self.whose {
            Whose::Of(session) => {
                let session = session.upgrade()?;
                let place = match session.places_of(&self.name)[..] {
                    [only] => Some(only),
                    _ => None,
                };
                Some((session, place))
            }
            Whose::OfAll(host) => {
                let mut found = None;
                for session in host.upgrade()?.sessions() {
                    for place in session.places_of(&self.name) {
                        if found.is_some() {
                            return None;
                        }
                        found = Some((session.clone(), Some(place)));
                    }
                }
                found
            }
        }
    }

    /// All apps that have to do with this process.
    fn apps(&self) -> Vec<Arc<Session>> {
        match &self.whose {
            Whose::Of(session) => session.upgrade().into_iter().collect(),
            Whose::OfAll(host) => host
                .upgrade()
                .map(|host| host.sessions())
                .unwrap_or_default(),
        }
    }
}

/// The roots that a person chose for a server.
fn roots(server: &Server) -> Option<Value> {
    let launching = server.launching().ok()?;
    let Way::Program(program) = &launching.way else {
        return None;
    };
    // A server that is kept to its folders, or to none, works in these and in no others.
    if program.profile.is_none() && program.roots.is_empty() {
        return None;
    }
    let roots: Vec<Root> = program.roots.iter().map(|root| Root::at(root)).collect();
    Some(json!({"roots": roots}))
}

impl ServerListener for Heard {
    fn capabilities(&self) -> ClientCapabilities {
        let mut capabilities = ClientCapabilities::new();
        match &self.whose {
            Whose::Of(session) => {
                let session = session.upgrade();
                if let Some(app) = session.as_ref().map(|session| session.app.capabilities()) {
                    capabilities.roots.clone_from(&app.roots);
                    capabilities.sampling.clone_from(&app.sampling);
                    capabilities.elicitation.clone_from(&app.elicitation);
                }
                // Where the app cannot, the person's own models can.
                if capabilities.sampling.is_none()
                    && session.is_some_and(|session| session.has_models())
                {
                    capabilities.sampling = Some(Map::new().into());
                }
            }
            // Whatever one of them can do: the others say that they cannot.
            Whose::OfAll(_) => {
                capabilities.roots = Some(ListCapability::new());
                capabilities.sampling = Some(Map::new().into());
                capabilities.elicitation = Some(Map::new().into());
            }
        }
        if self.roots.is_some() {
            capabilities.roots = Some(ListCapability::new());
        }
        if self.sampling.is_none() {
            capabilities.sampling = None;
        }
        capabilities
    }

    fn request(&self, method: Method, params: Box<str>) -> Answer {
        if let (Method::RootsList, Some(roots)) = (method, &self.roots) {
            let roots: Box<str> = roots.to_string().into();
            return Box::pin(async move { Ok(roots) });
        }
        let app = self.app();
        let name = self.name.clone();
        let budget = self.sampling;
        Box::pin(async move {
            let Some((session, place)) = app else {
                let words =
                    "It cannot be told for which app this is: ask while you work on one call alone";
                return Err(ErrorObject::new(
                    compere::model::code::REJECTED_BY_USER,
                    words,
                ));
            };
            let params = match method {
                Method::ElicitationCreate => named(&params, &name),
                _ => params,
            };
            session.is_ready().await;
            if method == Method::SamplingCreateMessage {
                let sampling = Sampling {
                    session,
                    server: name,
                    place,
                    budget,
                };
                return sampling.run(&params).await;
            }
            let is_question = method == Method::ElicitationCreate;
            if let (true, Some(place)) = (is_question, place)
                && !session.may_ask(place, method)
            {
                let words =
                    format!("It has asked {PER_CALL} times already while it works on one call");
                return Err(ErrorObject::new(
                    compere::model::code::REJECTED_BY_USER,
                    words,
                ));
            }
            let mut record = Record::new(RecordKind::Host);
            record.app = session.name().to_owned();
            record.server.clone_from(&name);
            record.method = method.name().to_owned();
            record.digest = session.host.keyed(&params);
            record.outcome = "asked of the app by the server".to_owned();
            session.host.write(record);
            let asked = session.app.ask(method, &params, place.as_ref()).await;
            asked.map_err(|error| match error.refusal() {
                Some(refusal) => refusal.clone(),
                None => {
                    let mut refusal = ErrorObject::internal();
                    refusal.message = format!("The app did not answer: {error}").into();
                    refusal
                }
            })
        })
    }

    fn notification(&self, method: Method, params: &str) {
        match method {
            Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged => {
                self.stale.store(true, Ordering::Release);
            }
            _ => {}
        }
        match method {
            // What it says about one app is not for the others.
            Method::Message => match self.app() {
                Some((session, place)) => {
                    let params = signed(params, &self.name);
                    session.app.tell(method, Some(&params), place.as_ref());
                }
                None => tracing::debug!(server = self.name, "a message for which app is not known"),
            },
            Method::ResourcesUpdated => {
                let params: Value = serde_json::from_str(params).unwrap_or_default();
                let uri = params
                    .get("uri")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                for session in self.apps() {
                    session.updated(&self.name, uri);
                }
            }
            Method::ElicitationComplete => {
                for session in self.apps() {
                    session.app.tell(method, Some(params), None);
                }
            }
            Method::ToolsListChanged | Method::PromptsListChanged => {
                let server = self.server.upgrade();
                let session = self.apps().into_iter().next();
                tokio::spawn(async move {
                    let (Some(server), Some(session)) = (server, session) else {
                        return;
                    };
                    // One that says so and ends is not started again for that.
                    if let Some(running) = server.running_for(session.id) {
                        session.look_again(&server, &running, false).await;
                    }
                });
            }
            Method::ResourcesListChanged => {
                for session in self.apps() {
                    session.app.tell(method, None, None);
                }
            }
            _ => {}
        }
    }
}

/// A log message that says whose it is.
fn signed(params: &str, server: &str) -> String {
    let mut params: Value = serde_json::from_str(params).unwrap_or_default();
    if let Value::Object(members) = &mut params {
        let logger = match members.get("logger").and_then(Value::as_str) {
            Some(logger) => format!("{server}: {logger}"),
            None => server.to_owned(),
        };
        members.insert("logger".to_owned(), logger.into());
    }
    params.to_string()
}

/// A question that says who asks.
fn named(params: &str, server: &str) -> Box<str> {
    let mut value: Value = match serde_json::from_str(params) {
        Ok(value) => value,
        Err(_) => return params.into(),
    };
    if let Some(message) = value.get("message").and_then(Value::as_str) {
        let message = format!("{} asks: {message}", escape_line(server));
        if let Value::Object(members) = &mut value {
            members.insert("message".to_owned(), short_message(message).into());
        }
    }
    value.to_string().into()
}

fn short_message(message: String) -> String {
    const LONGEST: usize = 16 * 1024;
    match message.len() > LONGEST {
        true => short(&message),
        false => message,
    }
}

/// Hears a server that is only looked at: there is no app. It says that it can do everything, since some
/// servers offer more to such clients, and does nothing of it.
pub(crate) struct Survey;

impl ServerListener for Survey {
    fn capabilities(&self) -> ClientCapabilities {
        let mut capabilities = ClientCapabilities::new();
        capabilities.roots = Some(ListCapability::new());
        capabilities.sampling = Some(Map::new().into());
        capabilities.elicitation = Some(Map::new().into());
        capabilities
    }

    fn request(&self, method: Method, _params: Box<str>) -> Answer {
        Box::pin(async move {
            match method {
                Method::RootsList => Ok(r#"{"roots":[]}"#.into()),
                _ => {
                    let error = compere::model::code::REJECTED_BY_USER;
                    Err(ErrorObject::new(error, "Nobody is there yet"))
                }
            }
        })
    }

    fn notification(&self, _method: Method, _params: &str) {}
}
