//! A client without a session before a gateway. What answers there knows sessions, so one stands in for the
//! client: it is opened at its first request and kept for the next ones, as long as the connection lives,
//! or a while where there is none.
//!
//! What is asked on it goes to the request that it is about, as a round of input; that request goes on
//! meanwhile (`going.rs`), and nothing of it is done twice. What is said on it is progress and log messages
//! of a request, or news for whoever listens.
//!
//! Requests come from [`crate::server::dispatch`]; the sessions of clients that have one are not here.

mod all;
mod going;
mod marks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use compere_proto::connection::Inbound;
use compere_proto::connection::session::SessionConfig;
use compere_proto::connection::stateless::{self, InputRequest, ListenParams};
use compere_proto::error::{Misuse, PeerIncompatible};
use compere_proto::jsonrpc::{ErrorObject, RequestId, code};
use compere_proto::lifecycle::{Implementation, InitializeParams};
use compere_proto::logging::LoggingLevel;
use compere_proto::object::RawJson;
use compere_proto::wire::scan::{Message, Scanner, member, members};
use compere_proto::{Error as ProtocolError, Method, Revision};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::rounds::with_members;
use crate::driver::Started;
use crate::driver::call::CallShared;
use crate::driver::exchange::Route;
use crate::driver::outbox::{Item, Waiter};
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Agreed, Peer};
use crate::error::Result;
use crate::relay::stand_in::all::Key;
pub(crate) use crate::relay::stand_in::all::StandIns;
use crate::relay::stand_in::going::{Going, Step};
use crate::relay::{Arriving, Behind, translate};
use crate::server::core::ServerCore;
use crate::server::dispatch::discovered;
use crate::server::input::Input;
use crate::server::listen::{Change, Subscription, Subscriptions, honour};
use crate::server::session::SessionShared;

/// Under this name the sealed state says which request goes on.
const GOING: &str = "going";
/// What requests of this era bring and those of sessions do not.
const OF_THE_ENVELOPE: [&str; 4] = [
    stateless::PROTOCOL_VERSION,
    stateless::CLIENT_INFO,
    stateless::CLIENT_CAPABILITIES,
    stateless::LOG_LEVEL,
];

/// A session that stands in for one client.
pub(crate) struct StandIn {
    id: u64,
    key: Key,
    core: Weak<ServerCore>,
    /// The client, as what answers knows it.
    peer: Peer,
    revision: Revision,
    back: Arc<dyn Behind>,
    listeners: Arc<Subscriptions>,
    going: Mutex<HashMap<Route, Arc<Going>>>,
    /// Requests whose client is looking for answers, until then.
    parked: Mutex<HashMap<String, (Instant, Held)>>,
    /// The least level of log messages that was asked for.
    level: Mutex<Option<LoggingLevel>>,
    /// How many listen for each resource.
    subscribed: Mutex<BTreeMap<String, usize>>,
    /// One carries at a time what was said.
    carrying: Mutex<()>,
    under_way: AtomicUsize,
    used: Mutex<Instant>,
    over: AtomicBool,
    /// Something else may be over next.
    changes: Arc<Notify>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a request of a client without a session.
pub(crate) async fn answer(
    session: Arc<SessionShared>,
    method: Method,
    params: Box<str>,
    id: RequestId,
    call: Arc<CallShared>,
) -> Outcome {
    let Some(input) = call.input.as_deref() else {
        return ErrorObject::internal().into();
    };
    let (stand_in, _under_way) = loop {
        let stand_in = match session.core.stand_ins.find(&session, input).await {
            Ok(stand_in) => stand_in,
            Err(error) => return error.into(),
        };
        let under_way = UnderWay::begin(&stand_in);
        // One that was found at its very end is not found again.
        if !stand_in.over.load(Ordering::SeqCst) {
            break (stand_in, under_way);
        }
    };
    let config = stand_in.back.config();
    let needed = method.capability_in(input.revision);
    if !needed.declared(&input.client_capabilities, &config.server_capabilities) {
        return ErrorObject::method_not_found(method.name()).into();
    }
    if let Some(level) = input.log_level {
        stand_in.log_from(level, &config).await;
    }
    match method {
        Method::Discover => {
            let mut config = config.as_ref().clone();
            config
                .stateless
                .clone_from(&session.core.session_config().stateless);
            discovered(&config)
        }
        Method::SubscriptionsListen => {
            let params: ListenParams = match serde_json::from_str(&params) {
                Ok(params) => params,
                Err(_) => return ErrorObject::invalid_params("Invalid params").into(),
            };
            stand_in.listen(&session, &params, id, &call).await
        }
        _ => stand_in.call(method, &params, &call, input).await,
    }
}

/// A request is being worked on while this lives.
struct UnderWay(Arc<StandIn>);

impl UnderWay {
    fn begin(stand_in: &Arc<StandIn>) -> Self {
        stand_in.under_way.fetch_add(1, Ordering::SeqCst);
        Self(stand_in.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *locked(&self.0.used) = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request goes on while this lives.
struct Held {
    route: Route,
    going: Arc<Going>,
    stand_in: Weak<StandIn>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(stand_in) = self.stand_in.upgrade() {
            locked(&stand_in.going).remove(&self.route);
        }
        self.going.end(&ProtocolError::Cancelled.into());
    }
}

impl StandIn {
    /// Opens one: what answers is told who the client is and what it can do.
    async fn open(
        session: &SessionShared,
        key: Key,
        info: Implementation,
        input: &Input,
    ) -> Result<Arc<Self>> {
        let core = &session.core;
        let Some(open) = &core.options.behind else {
            let why = Misuse::Other("nothing answers here".to_owned());
            return Err(ProtocolError::from(why).into());
        };
        let peer = Peer::new(core.limits());
        let id = core.next_number();
        let capabilities = input.client_capabilities.clone();
        let asked =
            InitializeParams::new(input.revision.as_str(), capabilities.clone(), info.clone());
        let back = open(Arriving {
            id,
            peer: peer.clone(),
            principal: session.principal.clone(),
            asked,
            limits: core.options.limits.clone(),
            config: core.session_config(),
        });
        let back = back.await?;
        let _ = peer.agreed.set(Agreed {
            revision: input.revision,
            client_capabilities: Arc::new(capabilities),
            server_capabilities: back.config().server_capabilities.clone(),
            peer_info: Some(Arc::new(info)),
            instructions: None,
        });
        back.initialized();
        let stand_in = Arc::new(Self {
            id,
            key,
            core: Arc::downgrade(core),
            peer,
            revision: input.revision,
            back,
            listeners: Arc::default(),
            going: Mutex::default(),
            parked: Mutex::default(),
            level: Mutex::default(),
            subscribed: Mutex::default(),
            carrying: Mutex::default(),
            under_way: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            over: AtomicBool::new(false),
            changes: Arc::default(),
        });
        tokio::spawn(attend(
            Arc::downgrade(&stand_in),
            stand_in.peer.clone(),
            stand_in.changes.clone(),
        ));
        Ok(stand_in)
    }

    /// For how long nothing was asked; `None` while something is.
    fn idle(&self) -> Option<Duration> {
        let busy = self.under_way.load(Ordering::SeqCst) > 0 || !locked(&self.parked).is_empty();
        (!busy).then(|| locked(&self.used).elapsed())
    }

    /// Nothing is answered any more: who answered is told by being dropped.
    fn end(&self) {
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            core.stand_ins.forget(&self.key, self.id);
        }
        let error = Self::over();
        self.peer.outbox.close(&error);
        self.listeners.end();
        let parked = std::mem::take(&mut *locked(&self.parked));
        drop(parked);
        let going: Vec<_> = locked(&self.going).values().cloned().collect();
        for going in going {
            going.end(&error);
        }
    }

    /// A request, or the next round of one that goes on.
    async fn call(
        self: &Arc<Self>,
        method: Method,
        params: &str,
        call: &Arc<CallShared>,
        input: &Input,
    ) -> Outcome {
        let going = input.happened(GOING);
        let going = going.and_then(|going| going.decode::<String>().ok());
        let held = match going.filter(|token| !token.is_empty()) {
            Some(token) => match locked(&self.parked).remove(&token) {
                Some((_, held)) => {
                    held.going.waits(call);
                    held
                }
                None => {
                    let why = "Invalid requestState: what asked this has ended; begin again if it may be done twice";
                    return ErrorObject::invalid_params(why).into();
                }
            },
            None => match self.begin(method, params, Some(call)).await {
                Ok(held) => held,
                Err(outcome) => return self.shaped(method, outcome),
            },
        };
        loop {
            let mut told = std::pin::pin!(held.going.told.notified());
            told.as_mut().enable();
            self.carry();
            if self.over.load(Ordering::SeqCst) {
                return unreachable_now();
            }
            match held.going.step(input) {
                Step::Done(outcome) => {
                    self.carry();
                    // Should there be a next round, it is of a request that begins anew.
                    if input.happened(GOING).is_some() {
                        remember(input, "");
                    }
                    return self.shaped(method, outcome);
                }
                Step::Asks => break,
                Step::Nothing => tokio::select! {
                    () = told => {}
                    () = call.cancelled() => return ErrorObject::internal().into(),
                },
            }
        }
        match self.park(held, input) {
            // The questions are the answer; nobody polls this again.
            Ok(()) => std::future::pending().await,
            Err(error) => error.into(),
        }
    }

    /// The client looks for answers: the request is found again by what its state says.
    fn park(&self, held: Held, input: &Input) -> Result<(), ErrorObject> {
        let (Some(core), limits) = (self.core.upgrade(), &self.peer.limits) else {
            return Err(ErrorObject::internal());
        };
        let token = format!("{:x}.{}", core.stand_ins.mark(), held.route.0);
        let mut parked = locked(&self.parked);
        if parked.len() >= limits.requests_in_flight {
            let bound = limits.requests_in_flight;
            return Err(ErrorObject::limit("requests_in_flight", bound));
        }
        remember(input, &token);
        let until = Instant::now() + limits.request_state_lifetime;
        parked.insert(token, (until, held));
        drop(parked);
        self.changes.notify_one();
        Ok(())
    }

    /// Begins a request of a session. `Err`: its answer was there at once.
    async fn begin(
        self: &Arc<Self>,
        method: Method,
        params: &str,
        call: Option<&Arc<CallShared>>,
    ) -> Result<Held, Outcome> {
        let core = self.core.upgrade().ok_or_else(ErrorObject::internal)?;
        let number = core.next_number();
        let route = Route(number);
        let message = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":{:?},\"params\":{}}}",
            method.name(),
            without_envelope(params)
        );
        let may_ask = method.row().may_ask;
        let going = Going::new(may_ask, call);
        locked(&self.going).insert(route, going.clone());
        let held = Held {
            route,
            going,
            stand_in: Arc::downgrade(self),
        };
        let mut scanner = Scanner::new();
        let Ok(Message::Request { id, params, .. }) =
            scanner.scan(message.as_bytes(), &self.peer.limits)
        else {
            return Err(ErrorObject::invalid_params("The params cannot be read").into());
        };
        let inbound = Inbound {
            id,
            method,
            extension: None,
            params,
            progress_token: call.and_then(|call| call.token.clone()),
            bytes: message.len(),
        };
        let started = std::future::poll_fn(|context| {
            Poll::Ready(self.back.request(&inbound, route, self.revision, context))
        });
        match started.await {
            Started::Done(outcome) | Started::Answered(outcome, _) => {
                self.carry();
                Err(outcome)
            }
            Started::Pending(work, _) => {
                held.going.work(work);
                Ok(held)
            }
        }
    }

    /// A request of a session that is ours: nobody can be asked for it.
    async fn ask(self: &Arc<Self>, method: Method, params: &str) -> Outcome {
        let held = match self.begin(method, params, None).await {
            Ok(held) => held,
            Err(outcome) => return outcome,
        };
        loop {
            let mut told = std::pin::pin!(held.going.told.notified());
            told.as_mut().enable();
            if self.over.load(Ordering::SeqCst) {
                return unreachable_now();
            }
            if let Some(outcome) = held.going.outcome() {
                return outcome;
            }
            told.await;
        }
    }

    /// Log messages from this level on are wanted by some request.
    async fn log_from(self: &Arc<Self>, level: LoggingLevel, config: &SessionConfig) {
        let is_new = {
            let mut known = locked(&self.level);
            let is_new = known.is_none_or(|known| level < known);
            if is_new {
                *known = Some(level);
            }
            is_new
        };
        if is_new && config.server_capabilities.logging.is_some() {
            let params = json!({"level": level.as_str()}).to_string();
            if let Outcome::Error(error) = self.ask(Method::LoggingSetLevel, &params).await {
                tracing::debug!(?error, "the level of log messages is not taken");
            }
        }
    }

    /// A request that is answered when nothing follows any more.
    async fn listen(
        self: &Arc<Self>,
        session: &Arc<SessionShared>,
        params: &ListenParams,
        id: RequestId,
        call: &Arc<CallShared>,
    ) -> Outcome {
        let config = self.back.config();
        let limits = &self.peer.limits;
        let asked = &params.notifications;
        let honoured = honour(limits, &config.server_capabilities, asked, |_| true);
        let mut honoured = match honoured {
            Ok(honoured) => honoured,
            Err(error) => return error.into(),
        };
        let mut listening = Listening {
            stand_in: self.clone(),
            uris: Vec::new(),
        };
        // What changes meanwhile is heard as well.
        let early = Subscription::new(session, &self.listeners, id.clone(), honoured.clone());
        for uri in honoured.resource_subscriptions.take().unwrap_or_default() {
            let params = json!({"uri": uri}).to_string();
            let subscribed = tokio::select! {
                subscribed = self.ask(Method::ResourcesSubscribe, &params) => subscribed,
                () = call.cancelled() => return ErrorObject::internal().into(),
            };
            match subscribed {
                Outcome::Error(error) => tracing::debug!(?error, uri, "nobody listens for this"),
                _ => {
                    *locked(&self.subscribed).entry(uri.clone()).or_default() += 1;
                    listening.uris.push(uri);
                }
            }
        }
        honoured.resource_subscriptions =
            (!listening.uris.is_empty()).then(|| listening.uris.clone());
        let listener = Subscription::new(session, &self.listeners, id, honoured);
        listener.heard_before(&early);
        drop(early);
        call.listen(listener.clone());
        listener.speak_through(call);
        if self.over.load(Ordering::SeqCst) {
            listener.end();
        }
        tokio::select! {
            () = listener.ended() => {}
            () = call.cancelled() => {}
        }
        Outcome::Listened(listener.result())
    }

    /// Takes what was said on the session to where it belongs.
    fn carry(&self) {
        let _turn = locked(&self.carrying);
        let mut items = VecDeque::new();
        self.peer.outbox.take(&mut items);
        for item in items {
            self.carry_item(item);
        }
    }

    fn carry_item(&self, item: Item) {
        match item {
            Item::Request {
                id,
                method,
                message,
                waiter,
                ..
            } => self.question(id, method, &message, waiter),
            Item::Abandon { id, .. } => {
                for going in locked(&self.going).values() {
                    going.withdraw(id);
                }
            }
            Item::Notification {
                method,
                message,
                route,
            } => self.news(method, message, route),
            Item::Progress { call, step } => {
                let waiting = self.going_on(call.peer.route);
                let waiting = waiting.and_then(|going| going.waiting());
                if let Some(call) = waiting.filter(|call| call.token.is_some()) {
                    let to = call.peer.clone();
                    to.outbox.push(Item::Progress { call, step });
                }
            }
            Item::Close => self.end(),
            Item::Log { .. }
            | Item::Changes { .. }
            | Item::ResourceUpdated { .. }
            | Item::Release { .. } => {}
        }
    }

    /// The request that something is about: if that is not said, the only one.
    fn going_on(&self, route: Route) -> Option<Arc<Going>> {
        let going = locked(&self.going);
        match going.get(&route) {
            Some(going) => Some(going.clone()),
            None if route == Route::GENERAL => {
                // What cannot ask says nothing either.
                let mut calls = going.values().filter(|going| going.may_ask);
                match (calls.next(), calls.next()) {
                    (Some(only), None) => Some(only.clone()),
                    _ => None,
                }
            }
            None => None,
        }
    }

    /// Something that the client is asked.
    fn question(&self, id: i64, method: Method, message: &[u8], waiter: Waiter) {
        if method == Method::Ping {
            let _ = waiter.reply.send(Ok("{}".into()));
            return;
        }
        let question = self.read_question(method, message, waiter.route);
        match question {
            Ok((going, question)) => going.ask(id, question, waiter),
            Err(error) => {
                let _ = waiter.reply.send(Err(error.into()));
            }
        }
    }

    fn read_question(
        &self,
        method: Method,
        message: &[u8],
        route: Route,
    ) -> Result<(Arc<Going>, InputRequest), ProtocolError> {
        if !matches!(
            method,
            Method::ElicitationCreate | Method::SamplingCreateMessage | Method::RootsList
        ) {
            return Err(PeerIncompatible::MethodNotInRevision(method, self.revision).into());
        }
        let capability = method.capability_in(self.revision);
        let agreed = self.peer.agreed.get();
        let declared = agreed.is_some_and(|agreed| {
            capability.declared(&agreed.client_capabilities, &agreed.server_capabilities)
        });
        if !declared {
            return Err(PeerIncompatible::MissingCapability { capability, method }.into());
        }
        let going = self.going_on(route).filter(|going| going.may_ask);
        let going = going.ok_or_else(|| {
            let why = "an app without a session is asked only while one of its calls is worked on";
            Misuse::Other(why.to_owned())
        })?;
        let message = std::str::from_utf8(message).unwrap_or_default();
        let params = member(message, "params").unwrap_or("{}");
        let params = translate::params(method, params, self.revision);
        let params = RawJson::from_text(params)
            .map_err(|error| Misuse::NotSerializable(error.to_string()))?;
        let method = method.name().to_owned();
        Ok((going, InputRequest { method, params }))
    }

    /// Something that the client is told.
    fn news(&self, method: Method, message: Vec<u8>, route: Route) {
        let written = || std::str::from_utf8(&message).unwrap_or_default();
        let said = |name: &str| {
            let value = member(member(written(), "params")?, name)?;
            serde_json::from_str::<String>(value).ok()
        };
        let change = match method {
            Method::ToolsListChanged => Change::Tools,
            Method::PromptsListChanged => Change::Prompts,
            Method::ResourcesListChanged => Change::Resources,
            Method::ResourcesUpdated => match said("uri") {
                Some(uri) => Change::Resource(uri),
                None => return,
            },
            Method::Message => {
                let level = member(written(), "params").and_then(|params| member(params, "level"));
                let level = level.and_then(|level| serde_json::from_str(level).ok());
                if let Some(level) = level {
                    self.log(level, message, route);
                }
                return;
            }
            method => {
                tracing::debug!(%method, "an app without a session is not told this");
                return;
            }
        };
        self.listeners.tell(&change);
    }

    /// A log message goes to the request that has asked for such.
    fn log(&self, level: LoggingLevel, message: Vec<u8>, route: Route) {
        let waiting = self.going_on(route).and_then(|going| going.waiting());
        let Some(call) = waiting else { return };
        let wanted = call.input.as_ref().and_then(|input| input.log_level);
        if wanted.is_some_and(|wanted| level >= wanted) {
            let to = call.peer.clone();
            to.outbox.push(Item::Log {
                level,
                message,
                route: to.route,
                asked_by: Some(call),
            });
        }
    }

    /// An outcome of a session, as one of this era.
    fn shaped(&self, method: Method, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Raw(result) => {
                let Outcome::Raw(result) = translate::result(method, &result, self.revision) else {
                    return ErrorObject::internal().into();
                };
                if method == Method::ToolsList
                    && let Some(core) = self.core.upgrade()
                {
                    let limits = &core.options.limits;
                    core.stand_ins
                        .marks
                        .learn(&self.key.principal, &result, limits);
                }
                match method {
                    Method::ToolsList
                    | Method::PromptsList
                    | Method::ResourcesList
                    | Method::ResourcesTemplatesList
                    | Method::ResourcesRead => Outcome::Page(result.into_boxed_bytes().into()),
                    _ => Outcome::Written(result),
                }
            }
            // Who answers may know the revision, or write as sessions do.
            Outcome::Error(error) => {
                let from = Revision::V2025_11_25;
                translate::error(method, error, from, self.revision).into()
            }
            outcome => outcome,
        }
    }

    /// When the next thing is over by itself.
    fn next_end(&self) -> Option<Instant> {
        let parked = locked(&self.parked).values().map(|(until, _)| *until).min();
        // What speaks on a connection stays as long as that.
        let idle = (self.key.connection == 0).then(|| {
            let idle = self.idle().unwrap_or_default();
            let limit = self.peer.limits.session_idle;
            Instant::now() + limit.saturating_sub(idle)
        });
        [parked, idle].into_iter().flatten().min()
    }

    /// Ends what is over by now.
    fn sweep(&self) {
        let now = Instant::now();
        let over: Vec<_> = {
            let mut parked = locked(&self.parked);
            let over: Vec<String> = parked
                .iter()
                .filter(|(_, (until, _))| *until <= now)
                .map(|(token, _)| token.clone())
                .collect();
            over.iter()
                .filter_map(|token| parked.remove(token))
                .collect()
        };
        drop(over);
        let limit = self.peer.limits.session_idle;
        if self.key.connection == 0 && self.idle().is_some_and(|idle| idle >= limit) {
            self.end();
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.end();
        self.changes.notify_one();
    }
}

/// Resources are listened for while this lives.
struct Listening {
    stand_in: Arc<StandIn>,
    uris: Vec<String>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut nobody = Vec::new();
        {
            let mut subscribed = locked(&self.stand_in.subscribed);
            for uri in self.uris.drain(..) {
                let left = subscribed.get(&uri).copied().unwrap_or_default();
                if left > 1 {
                    subscribed.insert(uri, left - 1);
                } else {
                    subscribed.remove(&uri);
                    nobody.push(uri);
                }
            }
        }
        if nobody.is_empty() || self.stand_in.over.load(Ordering::SeqCst) {
            return;
        }
        let stand_in = self.stand_in.clone();
        tokio::spawn(async move {
            for uri in nobody {
                let params = json!({"uri": uri}).to_string();
                stand_in.ask(Method::ResourcesUnsubscribe, &params).await;
            }
        });
    }
}

/// Carries what is said while nobody waits, and ends what is over.
async fn attend(stand_in: Weak<StandIn>, peer: Peer, changes: Arc<Notify>) {
    loop {
        let Some(due) = stand_in.upgrade().map(|stand_in| stand_in.next_end()) else {
            return;
        };
        let something = std::future::poll_fn(|context| {
            peer.outbox.begin_turn();
            match peer.outbox.end_turn(context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        });
        let over = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = something => {}
            () = changes.notified() => {}
            () = over => {}
        }
        let Some(stand_in) = stand_in.upgrade() else {
            return;
        };
        stand_in.carry();
        stand_in.sweep();
    }
}

fn unreachable_now() -> Outcome {
    let why = "What answers here has ended meanwhile; ask again";
    ErrorObject::new(code::INTERNAL_ERROR, why).into()
}

fn remember(input: &Input, token: &str) {
    if let Ok(token) = RawJson::from_value(&token) {
        input.remember(GOING, token);
    }
}

/// Params as a session has them.
fn without_envelope(params: &str) -> String {
    let is_ours = |name: &str| OF_THE_ENVELOPE.contains(&name);
    let meta = member(params, "_meta").filter(|meta| meta.starts_with('{'));
    let rest: Vec<_> = meta.map(members).unwrap_or_default();
    let rest: Vec<(&str, &str)> = rest
        .iter()
        .map(|(name, value)| (&**name, *value))
        .filter(|(name, _)| !is_ours(name))
        .collect();
    let rest = with_members("{}", &rest);
    let others = members(params);
    let mut others: Vec<(&str, &str)> = others
        .iter()
        .map(|(name, value)| (&**name, *value))
        .filter(|(name, _)| !matches!(*name, "_meta" | "inputResponses" | "requestState"))
        .collect();
    if rest != "{}" {
        others.push(("_meta", &rest));
    }
    with_members("{}", &others)
}
