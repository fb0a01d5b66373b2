//! The conversation of the handshake era, both roles: `initialize`, then requests in both
//! directions until the transport closes.
//!
//! A [`Session`] has four kinds of methods: getters; `receive` and `handle_*` for what happens;
//! commands for what we want to say; `poll_output` and `next_timeout` for what the machine wants.
//! It holds ids, states, deadlines and rates, and no handler, no buffer of the transport and no
//! clock. Results are encoded by the caller: a request that is answered at once is never
//! registered here, one that is not is registered by [`Session::begin`].

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cancellation::CancelledParams;
use crate::capability::{Capability, ClientCapabilities, ServerCapabilities};
use crate::connection::classify::{self, Route};
use crate::connection::discovery::{self, Discovered, Finding};
use crate::connection::negotiate;
use crate::connection::outgoing::{IdSource, Outgoing, Timeouts, Waiting};
use crate::connection::rate::Rate;
use crate::connection::stateless::{self, ClientHead};
use crate::connection::{Ignored, Inbound, Output, Received};
use crate::error::{Error, Misuse, PeerIncompatible, PeerMisbehaved};
use crate::jsonrpc::{ErrorObject, IdRef, ProgressToken, RequestId, code};
use crate::lifecycle::{Implementation, InitializeParams, InitializeResult};
use crate::limits::Limits;
use crate::logging::{LoggingLevel, SetLevelParams};
use crate::method::{Kind, Method, Role};
use crate::pagination::Empty;
use crate::progress::ProgressParams;
use crate::revision::{Era, Revision, UnreadableId};
use crate::time::Moment;
use crate::wire::decode::{decode, without_position};
use crate::wire::encode;
use crate::wire::project::Project;
use crate::wire::scan::{Fault, Malformed, Message, Params, RawStr, Scanner};
use crate::wire::tape::Kind as TapeKind;

/// Periodic pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingPlan {
    /// How long the peer may be silent before it is asked.
    pub interval: Duration,
    /// How long its answer may take.
    pub timeout: Duration,
    /// How many unanswered pings in a row end the connection.
    pub failures: u32,
}

/// What a session is made with.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Who we are.
    pub info: Implementation,
    /// The revisions that we speak, oldest first, all of the handshake era.
    pub revisions: Vec<Revision>,
    /// The revisions of the stateless era that we serve beside, or that a server is asked for first, oldest
    /// first; none by default.
    pub stateless: Vec<Revision>,
    /// Client: what is known of the server already, so that it is not asked.
    pub discovered: Option<Box<Discovered>>,
    /// Client: a server that does not answer `server/discover` may be one of the other era.
    pub silence_is_evidence: bool,
    /// All revisions that we serve, of both eras.
    pub served: Vec<Revision>,
    /// Client: the revision to offer, if not the newest of those.
    pub offer: Option<Revision>,
    /// Server: the level of log messages is kept by whoever answers requests, not here.
    pub passes_level_on: bool,
    /// What we can do as a client. For a server: what its clients are taken to have before they
    /// say, which is nothing.
    pub client_capabilities: Arc<ClientCapabilities>,
    /// What we can do as a server.
    pub server_capabilities: Arc<ServerCapabilities>,
    /// How to use our server, for the model.
    pub instructions: Option<String>,
    /// What results of the stateless era begin with.
    pub head: stateless::Head,
    /// Bounds.
    pub limits: Limits,
    /// Periodic pings, off unless asked for.
    pub ping: Option<PingPlan>,
    /// Server: the names of requests that are none of the protocol's, and are answered.
    pub extension_methods: BTreeSet<Box<str>>,
}

impl SessionConfig {
    /// A configuration without capabilities.
    pub fn new(info: Implementation) -> Self {
        Self {
            info,
            revisions: Revision::NEGOTIABLE.to_vec(),
            stateless: Vec::new(),
            discovered: None,
            silence_is_evidence: true,
            served: Revision::NEGOTIABLE.to_vec(),
            offer: None,
            passes_level_on: false,
            client_capabilities: Arc::new(ClientCapabilities::new()),
            server_capabilities: Arc::new(ServerCapabilities::new()),
            instructions: None,
            head: stateless::Head::default(),
            limits: Limits::default(),
            ping: None,
            extension_methods: BTreeSet::new(),
        }
    }
}

/// The name of a method that is none of the protocol's.
pub fn named_extension(method: Method, name: &str) -> Option<Box<str>> {
    (method == Method::Extension).then(|| name.into())
}

/// Where the handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Client: nothing sent yet.
    Idle,
    /// Server: nothing but `initialize` and `ping` is answered.
    AwaitingInitialize,
    /// Client: `server/discover` is sent; its id, and whether it was before.
    AwaitingDiscoverResult(i64, bool),
    /// Client: `initialize` is sent; its id.
    AwaitingInitializeResult(i64),
    /// Server: answered, `notifications/initialized` has not come yet.
    AwaitingInitialized,
    /// Server without sessions: each message stands by itself, `initialize` too.
    Sessionless,
    /// Both sides may say everything.
    Operating,
    /// Over.
    Closed,
}

#[derive(Debug)]
struct InFlight {
    bytes: usize,
}

/// The state machine of one handshake-era connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    state: State,
    revision: Revision,
    config: Arc<SessionConfig>,
    client_capabilities: Arc<ClientCapabilities>,
    server_capabilities: Arc<ServerCapabilities>,
    peer_info: Option<Arc<Implementation>>,
    peer_instructions: Option<String>,
    ids: IdSource,
    /// Made when something goes on: most sessions over HTTP are idle most of the time.
    activity: Option<Box<Activity>>,
    level: LoggingLevel,
    /// Made when first something is counted: most sessions over HTTP say little.
    rates: Option<Box<Rates>>,
    output: VecDeque<Output>,
    heard: Moment,
    ping: Option<Box<PingState>>,
}

/// What goes on in a session.
#[derive(Debug, Default)]
struct Activity {
    scanner: Scanner,
    outgoing: Outgoing,
    in_flight: HashMap<RequestId, InFlight>,
    bytes_in_flight: usize,
    subscriptions: HashSet<Box<str>>,
}

impl Activity {
    fn is_over(&self) -> bool {
        self.outgoing.is_empty() && self.in_flight.is_empty() && self.subscriptions.is_empty()
    }
}

#[derive(Debug)]
struct Rates {
    calls: Rate,
    notifications: Rate,
    logs: Rate,
    logs_dropped: u64,
}

impl Rates {
    fn new(limits: &Limits) -> Self {
        Self {
            calls: Rate::new(limits.calls_per_second, limits.calls_burst),
            notifications: Rate::new(limits.notifications_per_second, limits.notifications_burst),
            logs: Rate::new(limits.log_messages_per_second, limits.log_messages_burst),
            logs_dropped: 0,
        }
    }
}

#[derive(Debug)]
struct PingState {
    plan: PingPlan,
    waiting: Option<i64>,
    failures: u32,
}

// Getters.
impl Session {
    /// Which end we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The revision of the session; before the handshake the oldest that we speak.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Is the handshake done?
    pub fn is_operating(&self) -> bool {
        matches!(self.state, State::Operating | State::Sessionless)
    }

    /// May several messages come in one array? After the handshake, in the revision that has that.
    pub fn takes_batches(&self) -> bool {
        self.is_operating() && self.revision.rules().batching
    }

    /// Is this a client that speaks with a server of the stateless era?
    pub fn is_stateless_client(&self) -> bool {
        self.role == Role::Client
            && self.state == State::Operating
            && self.revision.era() == Era::Stateless
    }

    /// What our requests to a server of the stateless era begin with.
    pub fn client_head(&self) -> Option<ClientHead> {
        let capabilities = &self.client_capabilities;
        ClientHead::new(self.revision, &self.config.info, capabilities).ok()
    }

    /// Is it over?
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Who the peer says it is.
    pub fn peer_info(&self) -> Option<&Arc<Implementation>> {
        self.peer_info.as_ref()
    }

    /// The instructions of the server, as a client.
    pub fn peer_instructions(&self) -> Option<&str> {
        self.peer_instructions.as_deref()
    }

    /// What the client declared.
    pub fn client_capabilities(&self) -> &Arc<ClientCapabilities> {
        &self.client_capabilities
    }

    /// What the server declared.
    pub fn server_capabilities(&self) -> &Arc<ServerCapabilities> {
        &self.server_capabilities
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// The least severe log level that the client wants.
    pub fn level(&self) -> LoggingLevel {
        self.level
    }

    /// Is a request with this id being worked on?
    pub fn is_in_flight(&self, id: &RequestId) -> bool {
        let activity = self.activity.as_ref();
        activity.is_some_and(|activity| activity.in_flight.contains_key(id))
    }

    /// Requests that were begun and are not finished.
    pub fn requests_in_flight(&self) -> usize {
        self.activity
            .as_ref()
            .map_or(0, |activity| activity.in_flight.len())
    }

    /// Requests of ours that wait for an answer.
    pub fn requests_outstanding(&self) -> usize {
        self.activity
            .as_ref()
            .map_or(0, |activity| activity.outgoing.len())
    }

    /// Is the bound on bytes in flight passed? Then reading should pause.
    pub fn is_overfull(&self) -> bool {
        let activity = self.activity.as_ref();
        activity
            .is_some_and(|activity| activity.bytes_in_flight > self.config.limits.bytes_in_flight)
    }

    /// Is the peer subscribed to this resource, or to one that it lies below?
    pub fn is_subscribed(&self, uri: &str) -> bool {
        let Some(activity) = &self.activity else {
            return false;
        };
        activity.subscriptions.contains(uri)
            || activity.subscriptions.iter().any(|subscribed| {
                uri.strip_prefix(&**subscribed)
                    .is_some_and(|rest| subscribed.ends_with('/') || rest.starts_with('/'))
            })
    }
}

// Making one.
impl Session {
    /// The server's end: waits for `initialize`.
    pub fn server(config: impl Into<Arc<SessionConfig>>, ids: IdSource) -> Self {
        Self::new(Role::Server, State::AwaitingInitialize, config.into(), ids)
    }

    /// The client's end: [`Session::connect`] starts the handshake.
    pub fn client(config: impl Into<Arc<SessionConfig>>, ids: IdSource) -> Self {
        Self::new(Role::Client, State::Idle, config.into(), ids)
    }

    /// The server's end of a conversation without a handshake: each message stands by itself, as
    /// over HTTP without sessions. What the client can do is unknown, so it is asked nothing.
    pub fn sessionless(
        config: impl Into<Arc<SessionConfig>>,
        revision: Revision,
        ids: IdSource,
    ) -> Self {
        let mut session = Self::new(Role::Server, State::Sessionless, config.into(), ids);
        session.revision = revision;
        session
    }

    fn new(role: Role, state: State, config: Arc<SessionConfig>, ids: IdSource) -> Self {
        // What the peer declares takes the place of what is not ours to declare.
        let (client_capabilities, server_capabilities) = match role {
            // A client has declared nothing yet.
            Role::Server => (
                config.client_capabilities.clone(),
                config.server_capabilities.clone(),
            ),
            Role::Client => (
                config.client_capabilities.clone(),
                Arc::new(ServerCapabilities::new()),
            ),
        };
        Self {
            role,
            state,
            revision: config
                .revisions
                .iter()
                .copied()
                .min()
                .unwrap_or(Revision::V2024_11_05),
            peer_info: None,
            peer_instructions: None,
            ids,
            activity: None,
            level: LoggingLevel::Info,
            rates: None,
            output: VecDeque::new(),
            heard: Moment::START,
            ping: config.ping.map(|plan| {
                Box::new(PingState {
                    plan,
                    waiting: None,
                    failures: 0,
                })
            }),
            client_capabilities,
            server_capabilities,
            config,
        }
    }
}

// What happens.
impl Session {
    /// Takes one message and says what it is.
    pub fn receive<'a>(&mut self, now: Moment, bytes: &'a [u8]) -> Received<'a> {
        let mut scanner = std::mem::take(&mut self.activity().scanner);
        let received = self.receive_with(&mut scanner, now, bytes);
        self.activity().scanner = scanner;
        received
    }

    /// The same with a scanner of the caller's, which serves many sessions: then none of them
    /// holds its memory. Params go back to that scanner.
    pub fn receive_with<'a>(
        &mut self,
        scanner: &mut Scanner,
        now: Moment,
        bytes: &'a [u8],
    ) -> Received<'a> {
        if self.state == State::Closed {
            return Received::Ignored(Ignored::Closed);
        }
        self.heard = now;
        match scanner.scan(bytes, &self.config.limits) {
            Ok(Message::Request { id, method, params }) => {
                self.receive_request(bytes.len(), id, method, params)
            }
            Ok(Message::Notification { method, params }) => {
                self.receive_notification(now, method, params)
            }
            Ok(Message::Result { id, result }) => self.receive_response(now, id, Ok(result)),
            Ok(Message::Error { id, error }) => self.receive_error(now, id, error),
            Err(malformed) => self.handle_malformed(malformed),
        }
    }

    /// Takes back params that have been dealt with: their memory serves the next message.
    pub fn recycle(&mut self, params: Params<'_>) {
        self.activity().scanner.recycle(params);
    }

    /// Takes what the framer made of bytes that are no message.
    pub fn handle_malformed<'a>(&mut self, malformed: Malformed) -> Received<'a> {
        let Malformed {
            fault,
            id,
            response,
            notification,
        } = malformed;
        let ours = id.as_ref().and_then(own_id);
        if response || fault == Fault::NeitherResultNorError {
            if let Some(id) = ours.filter(|id| self.is_waiting(*id)) {
                self.end_waiting(id);
                self.forget_ping(id);
                let error = match fault {
                    Fault::TooLarge(_) => Error::Limit("message_bytes"),
                    fault => PeerMisbehaved::Malformed(fault).into(),
                };
                if self.state == State::AwaitingInitializeResult(id) {
                    self.close(error);
                    return Received::Handled;
                }
                if matches!(self.state, State::AwaitingDiscoverResult(waiting, _) if waiting == id)
                {
                    self.fall_back(self.heard);
                    return Received::Handled;
                }
                return Received::Failed { id, error };
            }
            if response {
                return Received::Ignored(Ignored::MalformedResponse(fault.to_string()));
            }
        }
        if notification {
            return Received::Ignored(Ignored::MalformedNotification(fault.to_string()));
        }
        if id.is_none() && self.role == Role::Client {
            return Received::Ignored(Ignored::NoMessage(fault.to_string()));
        }
        self.refuse(id.as_ref(), &fault.to_error());
        Received::Malformed
    }

    /// The transport is closed. What waits has failed; the ids come back.
    pub fn handle_closed(&mut self) -> Vec<i64> {
        self.state = State::Closed;
        self.activity
            .take()
            .map(|mut activity| activity.outgoing.drain())
            .unwrap_or_default()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some((id, waiting, after)) = self
            .activity
            .as_mut()
            .and_then(|activity| activity.outgoing.expired(now))
        {
            if self.forget_ping(id) {
                self.ping_failed();
                continue;
            }
            let error = Error::TimedOut {
                method: waiting.method,
                after,
            };
            if waiting.method == Method::Initialize {
                self.close(error);
                continue;
            }
            if let State::AwaitingDiscoverResult(waiting, _) = self.state
                && waiting == id
            {
                match self.config.silence_is_evidence {
                    true => self.fall_back(now),
                    false => self.close(error),
                }
                continue;
            }
            self.send_cancelled(id, Some("timed out"));
            self.output.push_back(Output::Failed { id, error });
        }
        self.ping_if_silent(now);
    }

    fn receive_request<'a>(
        &mut self,
        bytes: usize,
        id: IdRef<'a>,
        name: RawStr<'a>,
        params: Params<'a>,
    ) -> Received<'a> {
        if bytes > self.config.limits.request_bytes {
            let error = ErrorObject::limit("request_bytes", self.config.limits.request_bytes);
            return self.refuse_request(id, &error);
        }
        let name = name.text();
        let method = Method::from_name(&name);
        if self.is_stateless_client() {
            let shown = name.chars().take(64).collect();
            return Received::Ignored(Ignored::AskedByServer(shown));
        }
        if self.role == Role::Server && !self.config.stateless.is_empty() {
            let config = &self.config;
            let added = |name: &str| config.extension_methods.contains(name);
            match classify::request(&name, &params, None, &config.served, &added) {
                Ok(Route::Request(method, envelope)) => {
                    let extension = named_extension(method, &name);
                    return self.receive_stateless(bytes, id, method, extension, params, envelope);
                }
                Ok(_) => {}
                Err(rejection) => return self.refuse_request(id, &rejection.error),
            }
        }
        if let Err(error) = self.may_ask_now(method) {
            return self.refuse_request(id, &error);
        }
        if self.requests_in_flight() > 0 && self.is_in_flight(&id.to_owned()) {
            return self.refuse_request(id, &id_in_use());
        }
        match method {
            Some(Method::Ping) => {
                self.reply(id, &Empty::new());
                Received::Handled
            }
            Some(Method::Initialize) if self.role == Role::Server => self.initialize(id, &params),
            Some(method) => self.route_request(bytes, id, method, None, params),
            None if self.config.extension_methods.contains(&*name) => {
                let method = Method::Extension;
                let extension = named_extension(method, &name);
                self.route_request(bytes, id, method, extension, params)
            }
            None => self.refuse_request(id, &ErrorObject::method_not_found(&name)),
        }
    }

    /// What results of the stateless era begin with.
    pub fn head(&self) -> &stateless::Head {
        &self.config.head
    }

    /// A request that brings its own context. Whether the id is in use and how many are in flight
    /// counts for both eras together, since they share the stream.
    fn receive_stateless<'a>(
        &mut self,
        bytes: usize,
        id: IdRef<'a>,
        method: Method,
        extension: Option<Box<str>>,
        params: Params<'a>,
        envelope: Box<stateless::Envelope>,
    ) -> Received<'a> {
        let allowed = self.config.limits.requests_in_flight;
        if self.requests_in_flight() >= allowed {
            return self.refuse_request(id, &ErrorObject::limit("requests_in_flight", allowed));
        }
        if self.is_in_flight(&id.to_owned()) {
            return self.refuse_request(id, &id_in_use());
        }
        let progress_token = match progress_token(&params, &self.config.limits) {
            Ok(token) => token,
            Err(error) => return self.refuse_request(id, &error),
        };
        let inbound = Inbound {
            id,
            method,
            extension,
            params,
            progress_token,
            bytes,
        };
        Received::Stateless(inbound, envelope)
    }

    /// The order of the handshake.
    fn may_ask_now(&self, method: Option<Method>) -> Result<(), ErrorObject> {
        let early = |what| Err(ErrorObject::new(code::INVALID_REQUEST, what));
        match (self.state, method) {
            (_, Some(Method::Ping)) => Ok(()),
            (State::AwaitingInitialize | State::Sessionless, Some(Method::Initialize)) => Ok(()),
            (State::AwaitingInitialize, _) => {
                early("Invalid request: the first request is initialize")
            }
            (
                State::Idle
                | State::AwaitingDiscoverResult(..)
                | State::AwaitingInitializeResult(_),
                _,
            ) => early("Invalid request: the session is not initialized yet"),
            (_, Some(Method::Initialize)) if self.role == Role::Server => {
                early("Invalid request: the session is initialized already")
            }
            _ => Ok(()),
        }
    }

    fn route_request<'a>(
        &mut self,
        bytes: usize,
        id: IdRef<'a>,
        method: Method,
        extension: Option<Box<str>>,
        params: Params<'a>,
    ) -> Received<'a> {
        let row = method.row();
        let declared = |capability: Capability| {
            capability.declared(&self.client_capabilities, &self.server_capabilities)
        };
        if row.kind != Kind::Request
            || !method.goes_to(self.role)
            || !method.exists_in(self.revision)
            || !declared(method.capability_in(self.revision))
        {
            return self.refuse_request(id, &ErrorObject::method_not_found(row.name));
        }
        if method == Method::LoggingSetLevel && !self.config.passes_level_on {
            return self.set_level(id, &params);
        }
        let allowed = self.config.limits.requests_in_flight;
        if self.requests_in_flight() >= allowed {
            return self.refuse_request(id, &ErrorObject::limit("requests_in_flight", allowed));
        }
        let progress_token = match progress_token(&params, &self.config.limits) {
            Ok(token) => token,
            Err(error) => return self.refuse_request(id, &error),
        };
        Received::Request(Inbound {
            id,
            method,
            extension,
            params,
            progress_token,
            bytes,
        })
    }

    fn initialize<'a>(&mut self, id: IdRef<'a>, params: &Params<'a>) -> Received<'a> {
        let params: InitializeParams = match params.decode() {
            Ok(params) => params,
            Err(error) => return self.refuse_request(id, &error),
        };
        self.revision = negotiate::answer(&params.protocol_version, &self.config.revisions);
        self.client_capabilities = Arc::new(params.capabilities);
        self.peer_info = Some(Arc::new(params.client_info));
        let mut result = InitializeResult::new(
            self.revision.as_str(),
            self.server_capabilities.as_ref().clone(),
            self.config.info.clone(),
        );
        result.instructions = self.config.instructions.clone();
        result.project(self.revision);
        self.state = State::AwaitingInitialized;
        self.reply(id, &result);
        Received::Handled
    }

    fn set_level<'a>(&mut self, id: IdRef<'a>, params: &Params<'a>) -> Received<'a> {
        match params.decode::<SetLevelParams>() {
            Ok(params) => {
                self.level = params.level;
                self.reply(id, &Empty::new());
                Received::Handled
            }
            Err(_) => self.refuse_request(id, &ErrorObject::invalid_params("Invalid log level")),
        }
    }

    fn receive_notification<'a>(
        &mut self,
        now: Moment,
        name: RawStr<'a>,
        params: Params<'a>,
    ) -> Received<'a> {
        let name = name.text();
        let known = Method::from_name(&name).filter(|method| {
            method.row().kind == Kind::Notification
                && method.goes_to(self.role)
                && method.exists_in(self.revision)
        });
        let Some(method) = known else {
            let shown = name.chars().take(64).collect();
            return Received::Ignored(Ignored::UnknownNotification(shown));
        };
        match method {
            Method::Cancelled => return self.receive_cancelled(&params),
            Method::Progress => return self.receive_progress(now, &params),
            Method::Initialized if self.state == State::AwaitingInitialized => {
                self.state = State::Operating;
                return Received::Initialized;
            }
            _ => {}
        }
        // Log messages may come before the answer to initialize.
        let early_log =
            method == Method::Message && matches!(self.state, State::AwaitingInitializeResult(_));
        if !(self.is_operating() || self.state == State::AwaitingInitialized || early_log) {
            return Received::Ignored(Ignored::TooEarly);
        }
        if !self.rates().notifications.take(now) {
            return Received::Ignored(Ignored::TooMany);
        }
        let capability = method.capability_in(self.revision);
        if !early_log
            && !capability.declared(&self.client_capabilities, &self.server_capabilities)
            && !is_sent_undeclared(method)
        {
            return Received::Ignored(Ignored::UndeclaredCapability(method));
        }
        Received::Notification { method, params }
    }

    fn receive_cancelled<'a>(&mut self, params: &Params<'a>) -> Received<'a> {
        let Ok(params) = params.decode::<CancelledParams>() else {
            return Received::Ignored(Ignored::MalformedCancellation);
        };
        if !self.finish(&params.request_id) {
            return Received::Ignored(Ignored::UnknownCancellation);
        }
        Received::Cancelled {
            id: params.request_id,
            reason: params.reason,
        }
    }

    fn receive_progress<'a>(&mut self, now: Moment, params: &Params<'a>) -> Received<'a> {
        let Ok(params) = params.decode::<ProgressParams>() else {
            return Received::Ignored(Ignored::StrayProgress);
        };
        match own_id(&params.progress_token) {
            Some(id) if self.activity().outgoing.progress(now, id, params.progress) => {
                Received::Progress { id, params }
            }
            _ => Received::Ignored(Ignored::StrayProgress),
        }
    }

    fn receive_error<'a>(
        &mut self,
        now: Moment,
        id: Option<IdRef<'a>>,
        error: &'a str,
    ) -> Received<'a> {
        let error = serde_json::from_str::<ErrorObject>(error);
        match (id, error) {
            (Some(id), Ok(error)) => self.receive_response(now, id, Err(error)),
            (Some(id), Err(_)) => self.handle_malformed(Malformed {
                fault: Fault::ErrorNotAnObject,
                id: Some(id.to_owned()),
                response: true,
                notification: false,
            }),
            (None, Ok(error)) => Received::Ignored(Ignored::MalformedResponse(format!(
                "error without id: {error}"
            ))),
            (None, Err(error)) => Received::Ignored(Ignored::MalformedResponse(error.to_string())),
        }
    }

    fn receive_response<'a>(
        &mut self,
        now: Moment,
        id: IdRef<'a>,
        outcome: Result<&'a str, ErrorObject>,
    ) -> Received<'a> {
        let Some(id) = own_id(&id.to_owned()) else {
            return Received::Ignored(Ignored::UnknownResponse);
        };
        let Some(waiting) = self.end_waiting(id) else {
            return Received::Ignored(Ignored::UnknownResponse);
        };
        if self.forget_ping(id) {
            if let Some(ping) = &mut self.ping {
                ping.failures = 0;
            }
            return Received::Handled;
        }
        if self.state == State::AwaitingInitializeResult(id) {
            return self.receive_initialize_result(now, outcome);
        }
        if let State::AwaitingDiscoverResult(waiting, again) = self.state
            && waiting == id
        {
            return self.receive_discover_result(now, outcome, again);
        }
        Received::Response {
            id,
            method: waiting.method,
            outcome,
        }
    }

    fn receive_initialize_result<'a>(
        &mut self,
        _now: Moment,
        outcome: Result<&'a str, ErrorObject>,
    ) -> Received<'a> {
        match self.accept_initialize_result(outcome) {
            Ok(()) => Received::Initialized,
            Err(error) => {
                self.close(error);
                Received::Handled
            }
        }
    }

    fn receive_discover_result<'a>(
        &mut self,
        now: Moment,
        outcome: Result<&'a str, ErrorObject>,
        was_again: bool,
    ) -> Received<'a> {
        match discovery::judge(outcome.as_ref().copied(), &self.config.served) {
            Finding::Stateless(found) => {
                self.speak_stateless(*found);
                return Received::Initialized;
            }
            Finding::Again if !was_again => self.discover(now, true),
            Finding::Again => match outcome {
                Err(error) => self.close(Error::Refused(error)),
                Ok(_) => self.fall_back(now),
            },
            Finding::Handshake => self.fall_back(now),
            Finding::Failed(error) => self.close(error),
        }
        Received::Handled
    }

    /// Everything that has to be known of the server is.
    fn speak_stateless(&mut self, found: Discovered) {
        self.revision = found.revision;
        self.server_capabilities = found.capabilities;
        self.peer_info = found.info;
        self.peer_instructions = found.instructions.map(String::from);
        self.state = State::Operating;
    }

    /// The server is of the other era, as far as can be told.
    fn fall_back(&mut self, now: Moment) {
        if self.config.revisions.is_empty() {
            let supported = self.config.served.clone();
            let offered = "an older one".to_owned();
            self.close(PeerIncompatible::Version { offered, supported }.into());
        } else if let Err(error) = self.initialize_server(now) {
            self.close(error);
        }
    }

    fn discover(&mut self, now: Moment, again: bool) {
        let revision = negotiate::newest(&self.config.stateless);
        let head = ClientHead::new(revision, &self.config.info, &self.client_capabilities);
        let Ok(head) = head else {
            return self.fall_back(now);
        };
        let id = self.ids.next_id();
        let mut message = Vec::new();
        encode::raw_request(&mut message, id, Method::Discover, &head.params("{}", None));
        let limits = &self.config.limits;
        let idle = match self.config.silence_is_evidence {
            true => limits.discover_timeout,
            false => limits.initialize_timeout,
        };
        let timeouts = Timeouts {
            idle: Some(idle),
            max: None,
        };
        let outgoing = &mut self.activity().outgoing;
        outgoing.begin(now, id, Method::Discover, timeouts);
        self.state = State::AwaitingDiscoverResult(id, again);
        self.output.push_back(Output::Send(message));
    }

    fn accept_initialize_result(
        &mut self,
        outcome: Result<&str, ErrorObject>,
    ) -> Result<(), Error> {
        let raw = outcome.map_err(|error| self.unsupported_version(&error))?;
        let result: InitializeResult = serde_json::from_str(raw).map_err(|error| {
            PeerMisbehaved::ResultDoesNotFit(
                Method::Initialize,
                without_position(&error).into_owned(),
            )
        })?;
        self.revision = negotiate::accept(&result.protocol_version, &self.config.revisions)?;
        self.server_capabilities = Arc::new(result.capabilities);
        self.peer_info = Some(Arc::new(result.server_info));
        self.peer_instructions = result.instructions;
        self.state = State::Operating;
        let mut message = Vec::new();
        if encode::notification(&mut message, Method::Initialized, None::<&Empty>).is_ok() {
            self.output.push_back(Output::Send(message));
        }
        Ok(())
    }

    /// Some servers refuse a version with an error instead of naming another.
    fn unsupported_version(&self, error: &ErrorObject) -> Error {
        #[derive(serde::Deserialize)]
        struct Data {
            supported: Vec<String>,
        }

        let data = error.data.as_ref().map_or("null", |data| data.get());
        match serde_json::from_str::<Data>(data) {
            Ok(data) => PeerIncompatible::Version {
                offered: data.supported.join(", ").chars().take(256).collect(),
                supported: self.config.revisions.clone(),
            }
            .into(),
            Err(_) => Error::Refused(error.clone()),
        }
    }
}

// What we want to say.
impl Session {
    /// Client: begins. Asks the server for the stateless era if that is spoken, and falls back to
    /// `initialize` if it has not got it. Where all is known already there is nothing to ask.
    pub fn connect(&mut self, now: Moment) -> Result<(), Error> {
        if self.role != Role::Client || self.state != State::Idle {
            return Err(Misuse::WrongDirection(Method::Initialize).into());
        }
        if let Some(found) = &self.config.discovered {
            self.speak_stateless(Discovered::clone(found));
            return Ok(());
        }
        if !self.config.stateless.is_empty() {
            self.discover(now, false);
            return Ok(());
        }
        self.initialize_server(now)
    }

    /// Client: the question for the era could not be answered by the server, which shows that it is of
    /// the other one.
    pub fn discover_failed(&mut self, now: Moment) {
        if matches!(self.state, State::AwaitingDiscoverResult(..)) {
            self.fall_back(now);
        }
    }

    fn initialize_server(&mut self, now: Moment) -> Result<(), Error> {
        let revisions = &self.config.revisions;
        let wanted = self.config.offer.filter(|offer| revisions.contains(offer));
        let offered = wanted.unwrap_or_else(|| negotiate::newest(revisions));
        let mut params = InitializeParams::new(
            offered.as_str(),
            self.client_capabilities.as_ref().clone(),
            self.config.info.clone(),
        );
        params.project(offered);
        let id = self.ids.next_id();
        let mut message = Vec::new();
        encode::request(&mut message, id, Method::Initialize, Some(&params))
            .map_err(|error| Misuse::NotSerializable(error.to_string()))?;
        let timeouts = Timeouts {
            idle: Some(self.config.limits.initialize_timeout),
            max: None,
        };
        self.activity()
            .outgoing
            .begin(now, id, Method::Initialize, timeouts);
        self.state = State::AwaitingInitializeResult(id);
        self.output.push_back(Output::Send(message));
        Ok(())
    }

    /// Asks to send a request whose id came from the [`IdSource`] of this session. The caller
    /// sends the message only if this succeeds.
    pub fn request(
        &mut self,
        now: Moment,
        id: i64,
        method: Method,
        timeouts: Timeouts,
    ) -> Result<(), Error> {
        self.may_send(method)?;
        if self.requests_outstanding() >= self.config.limits.requests_outstanding {
            return Err(Error::Limit("requests_outstanding"));
        }
        self.activity().outgoing.begin(now, id, method, timeouts);
        Ok(())
    }

    /// Asks to send a notification.
    pub fn notify(&mut self, method: Method) -> Result<(), Error> {
        self.may_send(method)
    }

    fn may_send(&self, method: Method) -> Result<(), Error> {
        if self.state == State::Closed {
            return Err(Error::Closed);
        }
        if !method.goes_to(self.role.peer()) {
            return Err(Misuse::WrongDirection(method).into());
        }
        // Before the handshake is done: pings, and log messages once it has begun.
        let early = method == Method::Ping
            || method == Method::Message && self.state == State::AwaitingInitialized
            || matches!(method, Method::Progress | Method::Cancelled);
        if !self.is_operating() && !early {
            return Err(Misuse::NotInitialized.into());
        }
        if !method.exists_in(self.revision) {
            return Err(PeerIncompatible::MethodNotInRevision(method, self.revision).into());
        }
        let capability = method.capability_in(self.revision);
        if capability.declared(&self.client_capabilities, &self.server_capabilities) {
            return Ok(());
        }
        // Requests need the receiver's capability, notifications the sender's own.
        Err(match method.row().kind {
            Kind::Request => PeerIncompatible::MissingCapability { capability, method }.into(),
            Kind::Notification => Misuse::UndeclaredCapability(capability, method).into(),
        })
    }

    /// Withdraws a request of ours. A late answer will be ignored.
    pub fn cancel(&mut self, id: i64, reason: Option<&str>) -> Result<(), Error> {
        let activity = self.activity.as_ref();
        match activity.and_then(|activity| activity.outgoing.method(id)) {
            None => Ok(()),
            Some(Method::Initialize) => Err(Misuse::CancelInitialize.into()),
            Some(_) => {
                self.end_waiting(id);
                self.send_cancelled(id, reason);
                Ok(())
            }
        }
    }

    /// A request of ours was lost on its way, or its answer was: nothing is waited for any more.
    /// What was asked, if it was waiting.
    pub fn lost(&mut self, id: i64) -> Option<Method> {
        let waiting = self.end_waiting(id)?;
        if self.forget_ping(id) {
            self.ping_failed();
            return None;
        }
        Some(waiting.method)
    }

    /// Registers a received request that was not answered at once.
    pub fn begin(&mut self, id: RequestId, bytes: usize) {
        let activity = self.activity();
        activity.bytes_in_flight += bytes;
        activity.in_flight.insert(id, InFlight { bytes });
    }

    /// Ends a request that was begun. `false`: it was cancelled, or is unknown; say nothing.
    pub fn finish(&mut self, id: &RequestId) -> bool {
        let Some(activity) = &mut self.activity else {
            return false;
        };
        match activity.in_flight.remove(id) {
            Some(in_flight) => {
                activity.bytes_in_flight = activity.bytes_in_flight.saturating_sub(in_flight.bytes);
                true
            }
            None => false,
        }
    }

    /// Counts one call or completion against the rate of this peer.
    pub fn count_call(&mut self, now: Moment) -> Result<(), ErrorObject> {
        // Without sessions there is nobody whose calls could be counted.
        if self.state == State::Sessionless || self.rates().calls.take(now) {
            return Ok(());
        }
        Err(ErrorObject::limit(
            "calls_per_second",
            self.config.limits.calls_per_second,
        ))
    }

    /// May a log message of this level go out now? Counts it against the rate. With the first
    /// one after a gap comes the number of those that were dropped.
    pub fn log(&mut self, now: Moment, level: LoggingLevel) -> Option<u64> {
        if level < self.level || self.may_send(Method::Message).is_err() {
            return None;
        }
        self.count_log(now)
    }

    /// The same for a request of the stateless era that has asked for messages of this level itself.
    pub fn log_asked_for(&mut self, now: Moment) -> Option<u64> {
        self.config.server_capabilities.logging.as_ref()?;
        self.count_log(now)
    }

    fn count_log(&mut self, now: Moment) -> Option<u64> {
        let rates = self.rates();
        if !rates.logs.take(now) {
            rates.logs_dropped += 1;
            return None;
        }
        Some(std::mem::take(&mut rates.logs_dropped))
    }

    /// Remembers a subscription; false if it was there already.
    pub fn subscribe(&mut self, uri: &str) -> Result<bool, ErrorObject> {
        let allowed = self.config.limits.subscriptions;
        let subscriptions = &mut self.activity().subscriptions;
        if subscriptions.len() >= allowed && !subscriptions.contains(uri) {
            return Err(ErrorObject::limit("subscriptions", allowed));
        }
        Ok(subscriptions.insert(uri.into()))
    }

    /// Forgets a subscription; whether there was one.
    pub fn unsubscribe(&mut self, uri: &str) -> bool {
        let activity = self.activity.as_mut();
        activity.is_some_and(|activity| activity.subscriptions.remove(uri))
    }
}

// What the machine wants.
impl Session {
    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Gives back memory that is only needed while something goes on.
    pub fn shrink(&mut self) {
        if self.output.is_empty() {
            self.output = VecDeque::new();
        }
        if self
            .activity
            .as_ref()
            .is_some_and(|activity| activity.is_over())
        {
            self.activity = None;
        }
    }

    /// Who the peer is and what it declared, in place of equal values of ours: many sessions of one
    /// program then share them.
    pub fn share_client(
        &mut self,
        info: &Arc<Implementation>,
        capabilities: &Arc<ClientCapabilities>,
    ) {
        if self.peer_info.as_ref().is_some_and(|own| own == info) {
            self.peer_info = Some(info.clone());
        }
        if self.client_capabilities == *capabilities {
            self.client_capabilities = capabilities.clone();
        }
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn next_timeout(&mut self) -> Option<Moment> {
        let deadline = self
            .activity
            .as_mut()
            .and_then(|activity| activity.outgoing.next_deadline());
        let ping = self
            .ping
            .as_ref()
            .filter(|ping| ping.waiting.is_none() && self.state == State::Operating)
            .map(|ping| self.heard + ping.plan.interval);
        match (deadline, ping) {
            (Some(deadline), Some(ping)) => Some(deadline.min(ping)),
            (one, other) => one.or(other),
        }
    }

    fn activity(&mut self) -> &mut Activity {
        self.activity.get_or_insert_default()
    }

    /// A request that was answered, but what it asked for goes on: its progress is still heard, until
    /// [`Self::hear_no_more`].
    pub fn hear_on(&mut self, id: i64) {
        self.activity().outgoing.goes_on(id);
    }

    /// The progress of an answered request is of no interest any more.
    pub fn hear_no_more(&mut self, id: i64) {
        if let Some(activity) = &mut self.activity {
            activity.outgoing.is_over(id);
        }
    }

    fn is_waiting(&self, id: i64) -> bool {
        let activity = self.activity.as_ref();
        activity.is_some_and(|activity| activity.outgoing.contains(id))
    }

    fn end_waiting(&mut self, id: i64) -> Option<Waiting> {
        self.activity.as_mut()?.outgoing.end(id)
    }

    fn rates(&mut self) -> &mut Rates {
        let limits = &self.config.limits;
        self.rates
            .get_or_insert_with(|| Box::new(Rates::new(limits)))
    }

    fn reply(&mut self, id: IdRef<'_>, result: &impl Serialize) {
        let mut message = Vec::new();
        // On failure an internal error stands in the message already.
        let _ = encode::result(&mut message, &id, result);
        self.output.push_back(Output::Send(message));
    }

    fn refuse_request<'a>(&mut self, id: IdRef<'a>, error: &ErrorObject) -> Received<'a> {
        let mut message = Vec::new();
        encode::error(&mut message, &id, error);
        self.output.push_back(Output::Send(message));
        Received::Handled
    }

    fn refuse(&mut self, id: Option<&RequestId>, error: &ErrorObject) {
        let mut message = Vec::new();
        match id {
            Some(id) => encode::error(&mut message, id, error),
            None => {
                // Without sessions there is only the newest shape.
                let unreadable = match self.config.revisions.is_empty() {
                    true => UnreadableId::Absent,
                    false => self.revision.rules().unreadable_id,
                };
                encode::error_without_id(&mut message, unreadable, error);
            }
        }
        self.output.push_back(Output::Send(message));
    }

    fn send_cancelled(&mut self, id: i64, reason: Option<&str>) {
        let mut params = CancelledParams::new(id);
        params.reason = reason.map(str::to_owned);
        let mut message = Vec::new();
        if encode::notification(&mut message, Method::Cancelled, Some(&params)).is_ok() {
            self.output.push_back(Output::Send(message));
        }
    }

    fn close(&mut self, error: Error) {
        self.state = State::Closed;
        self.output.push_back(Output::Close(error));
    }

    /// Was this the ping that waits?
    fn forget_ping(&mut self, id: i64) -> bool {
        match &mut self.ping {
            Some(ping) if ping.waiting == Some(id) => {
                ping.waiting = None;
                true
            }
            _ => false,
        }
    }

    fn ping_failed(&mut self) {
        let Some(ping) = &mut self.ping else { return };
        ping.failures += 1;
        if ping.failures >= ping.plan.failures {
            self.close(PeerMisbehaved::PingUnanswered.into());
        }
    }

    fn ping_if_silent(&mut self, now: Moment) {
        if self.state != State::Operating || !Method::Ping.exists_in(self.revision) {
            return;
        }
        let Some(ping) = &mut self.ping else { return };
        if ping.waiting.is_some() || now.since(self.heard) < ping.plan.interval {
            return;
        }
        let id = self.ids.next_id();
        ping.waiting = Some(id);
        let timeouts = Timeouts {
            idle: Some(ping.plan.timeout),
            max: None,
        };
        self.heard = now;
        self.activity()
            .outgoing
            .begin(now, id, Method::Ping, timeouts);
        let mut message = Vec::new();
        if encode::request(&mut message, id, Method::Ping, None::<&Empty>).is_ok() {
            self.output.push_back(Output::Send(message));
        }
    }
}

/// The error for a request whose id belongs to another one that is still being worked on.
pub fn id_in_use() -> ErrorObject {
    ErrorObject::new(
        code::INVALID_REQUEST,
        "Invalid request: the id belongs to a request that is still being worked on",
    )
}

/// Our ids are integers; some peers give them back as text.
fn own_id(id: &RequestId) -> Option<i64> {
    match id {
        RequestId::Number(number) => Some(*number),
        RequestId::String(text) => text.parse().ok(),
    }
}

/// Servers in the field announce changes without having declared it; a client that asks again
/// loses nothing.
fn is_sent_undeclared(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourcesUpdated
            | Method::RootsListChanged
            | Method::Message
    )
}

/// The progress token of a request. Null counts as none.
/// The progress token of a request, if it has one.
pub fn progress_token(
    params: &Params<'_>,
    limits: &Limits,
) -> Result<Option<ProgressToken>, ErrorObject> {
    let Some(token) = params
        .node("_meta")
        .and_then(|meta| meta.get("progressToken"))
        .filter(|token| token.kind() != TapeKind::Null)
    else {
        return Ok(None);
    };
    if token.as_json().len() > limits.token_bytes {
        return Err(ErrorObject::limit("token_bytes", limits.token_bytes));
    }
    decode(token).map(Some).map_err(|_| {
        ErrorObject::invalid_params("Invalid params: a progress token is a string or an integer")
    })
}
