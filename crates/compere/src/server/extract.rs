//! What a handler may take as arguments: the call's own arguments, its context, shared state.
//!
//! An argument type knows how to come from a call; the idea is axum's.

use std::any::{Any, TypeId};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use compere_proto::jsonrpc::{ErrorObject, ProgressToken};
use compere_proto::trace::TraceContext;
use compere_proto::wire::decode::{decode, without_position};
use compere_proto::wire::tape::Node;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::driver::call::CallShared;
use crate::driver::exchange::Route;
use crate::driver::peer::Peer;
use crate::server::context::Context;
use crate::server::input::Brought;
use crate::server::reply::ToolError;
use crate::server::session::SessionShared;
use crate::server::tasks::running::RunningTask;
use crate::server::{schema, texts};

/// Values that handlers share, by type.
#[derive(Clone, Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }

    pub(crate) fn contains(&self, state: TypeId) -> bool {
        self.0.contains_key(&state)
    }
}

/// The arguments of a call: values of a scanned message, or JSON text from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arguments<'a> {
    Scanned(Node<'a>),
    Text(&'a str),
    /// All of them texts: variables of a template, arguments of a prompt.
    Texts(&'a BTreeMap<String, String>),
}

impl<'a> Arguments<'a> {
    pub(crate) const NONE: Arguments<'static> = Arguments::Text("{}");

    pub(crate) fn node(&self) -> Option<Node<'a>> {
        match self {
            Self::Scanned(node) => Some(*node),
            Self::Text(_) | Self::Texts(..) => None,
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self {
            Self::Scanned(node) => decode(*node),
            Self::Text(text) => serde_json::from_str(text),
            Self::Texts(texts) => texts::decode(texts),
        }
    }
}

/// What a request brings besides its params.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) token: Option<ProgressToken>,
    pub(crate) brought: Option<Brought>,
    pub(crate) trace: Option<Box<TraceContext>>,
    /// The name of a method that is none of the protocol's.
    pub(crate) extension: Option<Box<str>>,
    pub(crate) task: Option<Arc<RunningTask>>,
    /// What it says goes to its own stream, which nobody else knows.
    pub(crate) alone: bool,
}

/// One call of a handler, its arguments still raw.
pub struct Call<'a> {
    arguments: Arguments<'a>,
    /// Texts as JSON, once somebody asked for that.
    written: OnceCell<String>,
    /// What is called, got or read.
    target: &'a str,
    uri: Option<&'a str>,
    session: &'a Arc<SessionShared>,
    route: Route,
    alone: bool,
    token: std::cell::RefCell<Option<ProgressToken>>,
    brought: std::cell::RefCell<Option<Brought>>,
    trace: std::cell::Cell<Option<Box<TraceContext>>>,
    task: Option<Arc<RunningTask>>,
    shared: OnceCell<Arc<CallShared>>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        session: &'a Arc<SessionShared>,
        target: &'a str,
        arguments: Arguments<'a>,
        uri: Option<&'a str>,
        request: Request,
    ) -> Self {
        Self {
            arguments,
            written: OnceCell::new(),
            target,
            uri,
            session,
            route: request.route,
            alone: request.alone,
            token: std::cell::RefCell::new(request.token),
            brought: std::cell::RefCell::new(request.brought),
            trace: std::cell::Cell::new(request.trace),
            task: request.task,
            shared: OnceCell::new(),
        }
    }

    /// A call inside of layers, which has its context already.
    pub(crate) fn with_context(
        session: &'a Arc<SessionShared>,
        arguments: &'a str,
        context: &Context,
    ) -> Self {
        let call = Self::new(
            session,
            "",
            Arguments::Text(arguments),
            None,
            Request::default(),
        );
        let _ = call.shared.set(context.shared().clone());
        call
    }

    /// The JSON text of the arguments, an object.
    pub fn arguments(&self) -> &str {
        match &self.arguments {
            Arguments::Scanned(node) => node.as_json(),
            Arguments::Text(text) => text,
            // Hardly anyone wants these as JSON.
            Arguments::Texts(texts) => self
                .written
                .get_or_init(|| serde_json::to_string(texts).unwrap_or_default()),
        }
    }

    /// The URI that is read, in a resource handler.
    pub fn uri(&self) -> Option<&str> {
        self.uri
    }

    /// The context of this call. It is made on first use: a handler that wants none costs none.
    pub fn context(&self) -> Context {
        Context::new(self.shared().clone(), self.session.clone())
    }

    pub(crate) fn shared(&self) -> &Arc<CallShared> {
        self.shared.get_or_init(|| {
            let Self {
                session, target, ..
            } = self;
            let input = self.brought.take().map(|brought| {
                let mut input = Box::new(brought.open());
                input.bind(&session.core, &session.principal, target, &self.arguments);
                input
            });
            let peer = match self.alone {
                true => Peer::new(session.peer.limits.clone()),
                false => session.peer.on(self.route),
            };
            let (token, task) = (self.token.take(), self.task.clone());
            let call = CallShared::new(peer, token, input, task);
            if let Some(trace) = self.trace.take() {
                let _ = call.trace.set(trace);
            }
            Arc::new(call)
        })
    }

    pub(crate) fn shared_if_made(&self) -> Option<&Arc<CallShared>> {
        self.shared.get()
    }

    pub(crate) fn session(&self) -> &Arc<SessionShared> {
        self.session
    }
}

/// A type that a handler may take as an argument.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as an argument",
    note = "it may take `Args<T>`, `Context`, `State<T>` and `Uri`"
)]
pub trait FromCall: Sized + Send {
    /// Takes it from the call. The text of an error is read by the model.
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError>;

    /// The schema of the arguments, for the type that takes them.
    fn input_schema() -> Option<Schema> {
        None
    }

    /// The type of shared state that is needed, with its name.
    fn required_state() -> Option<(TypeId, &'static str)> {
        None
    }
}

/// The arguments of the call, decoded into a type whose schema is the tool's input schema.
#[derive(Debug, Clone, Copy)]
pub struct Args<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> FromCall for Args<T> {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        call.arguments.decode().map(Self).map_err(|error| {
            let why = without_position(&error);
            match call.arguments {
                // Not the words of a model: of a URI, or of a form that a person filled in.
                Arguments::Texts(..) => ToolError::protocol(ErrorObject::invalid_params(format!(
                    "Invalid params: {why}"
                ))),
                _ => ToolError::new(format!("Invalid arguments: {why}")),
            }
        })
    }

    fn input_schema() -> Option<Schema> {
        Some(schema::input::<T>())
    }
}

/// The arguments as they came, for handlers that bring their own schema.
#[derive(Debug, Clone)]
pub struct RawArgs(pub compere_proto::object::RawJson);

impl FromCall for RawArgs {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        Ok(Self(compere_proto::object::RawJson::from_text(
            call.arguments(),
        )?))
    }
}

/// The variables of a resource template, or the arguments of a prompt, as a map of texts.
#[derive(Debug, Clone)]
pub struct Variables(pub BTreeMap<String, String>);

impl FromCall for Variables {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        Ok(Self(match call.arguments {
            Arguments::Texts(texts) => texts.clone(),
            arguments => arguments.decode()?,
        }))
    }
}

/// The URI that is read.
#[derive(Debug, Clone)]
pub struct Uri(pub String);

impl FromCall for Uri {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        Ok(Self(call.uri.unwrap_or_default().to_owned()))
    }
}

impl FromCall for Context {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        Ok(call.context())
    }
}

/// A value given to [`Server::state`](crate::Server::state). A server whose handlers need a state
/// that was not given does not start.
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Clone + Send + Sync + 'static> FromCall for State<T> {
    fn from_call(call: &Call<'_>) -> Result<Self, ToolError> {
        call.session
            .core
            .states
            .get()
            .map(Self)
            .ok_or_else(|| ToolError::protocol(ErrorObject::internal()))
    }

    fn required_state() -> Option<(TypeId, &'static str)> {
        Some((TypeId::of::<T>(), std::any::type_name::<T>()))
    }
}
