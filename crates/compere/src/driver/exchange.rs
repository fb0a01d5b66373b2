//! One conversation without its bytes: the state machine, who waits for which answer, and what
//! handlers have said. It decides what is said; an [`Outlet`] decides where it goes.
//!
//! Used by the driver of a stream of bytes, and by sessions over HTTP, where each message belongs
//! to the stream of the request that it is about. It runs no handlers and holds no futures.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use compere_proto::connection::discovery::is_evidence;
use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::session::Session;
use compere_proto::connection::{Ignored, Output, Received};
use compere_proto::progress::ProgressParams;
use compere_proto::resources::ResourceParams;
use compere_proto::wire::encode::{self, EncodeId};
use compere_proto::wire::project::Project;
use compere_proto::{Error as ProtocolError, Method, Moment, Revision};

use crate::driver::call::CallShared;
use crate::driver::outbox::{CallId, Item, OnProgress, Waiter};
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Agreed, Peer};
use crate::driver::{Listener, guarded};
use crate::error::{Error, ErrorKind, Result};
use crate::server::listen::Subscription;

/// Which of several streams to the same peer a message belongs to. A transport with one stream
/// has only the general one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Route(pub(crate) u64);

impl Route {
    /// What belongs to no request.
    pub(crate) const GENERAL: Self = Self(0);
}

/// Where messages go.
pub(crate) trait Outlet {
    /// The buffer that the next message of this route is written into.
    fn buffer(&mut self, route: Route) -> &mut Vec<u8>;

    /// The message in the buffer is whole.
    fn commit(&mut self, route: Route);

    /// Does so much wait to be read that only answers are added to it?
    fn is_backed_up(&self, route: Route) -> bool;

    /// Lets go of the connection that carries this route, if there can be another one.
    fn release(&mut self, _route: Route, _retry: Duration) {}
}

/// Why a conversation is to end.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) error: Option<Error>,
    /// Closed by our own side: that answers are missing is no surprise then.
    pub(crate) on_our_wish: bool,
}

/// A conversation.
pub(crate) struct Exchange<O> {
    pub(crate) session: Session,
    pub(crate) peer: Peer,
    pub(crate) out: O,
    /// Made when something goes on.
    busy: Option<Box<Busy>>,
    ending: Option<Box<Ending>>,
}

/// What goes on in a conversation.
#[derive(Default)]
struct Busy {
    calls: HashMap<CallId, Arc<CallShared>>,
    waiters: HashMap<i64, Waiter>,
    /// Who hears progress of what was answered but goes on.
    hearing: HashMap<i64, OnProgress>,
    /// Calls with progress that waits for its rate.
    held: Vec<Arc<CallShared>>,
    /// Listeners whose client reads too slowly to be told more now.
    untold: Vec<(Arc<Subscription>, Route)>,
    items: VecDeque<Item>,
}

/// An object with one member.
struct OneMember<'a, I>(&'static str, &'a I);

impl<I: EncodeId> serde::Serialize for OneMember<'_, I> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeMap};

        let mut id = Vec::new();
        self.1.encode(&mut id);
        let id: &serde_json::value::RawValue =
            serde_json::from_slice(&id).map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, id)?;
        map.end()
    }
}

impl<O: Outlet> Exchange<O> {
    pub(crate) fn new(session: Session, peer: Peer, out: O) -> Self {
        Self {
            session,
            peer,
            out,
            busy: None,
            ending: None,
        }
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    fn take_waiter(&mut self, id: i64) -> Option<Waiter> {
        self.busy.as_mut()?.waiters.remove(&id)
    }

    #[cfg(feature = "http-server")]
    /// Gives back memory that is only needed while something goes on.
    pub(crate) fn shrink(&mut self) {
        self.session.shrink();
        let over = |busy: &Busy| {
            busy.calls.is_empty()
                && busy.waiters.is_empty()
                && busy.hearing.is_empty()
                && busy.held.is_empty()
        };
        if self.busy.as_deref().is_some_and(over) {
            self.busy = None;
        }
    }

    /// Why it is to end, if it is.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.as_deref()
    }

    /// The first reason stays.
    pub(crate) fn end(&mut self, error: Option<Error>, on_our_wish: bool) {
        for call in self.busy.iter().flat_map(|busy| busy.calls.values()) {
            call.stop_listening();
        }
        self.ending
            .get_or_insert_with(|| Box::new(Ending { error, on_our_wish }));
    }

    /// Deals with every verdict but requests, which are the caller's.
    pub(crate) fn handle(
        &mut self,
        received: Received<'_>,
        listener: &mut impl Listener,
        route: Route,
    ) {
        match received {
            Received::Request(_) | Received::Stateless(..) => {
                tracing::error!("a request was not begun");
            }
            Received::Notification { method, params } => {
                guarded("a notification handler", || {
                    listener.notification(method, &params);
                });
                self.session.recycle(params);
            }
            Received::Cancelled { id, reason } => self.cancelled(&id, reason.as_deref()),
            Received::Response { id, outcome, .. } => {
                let outcome = outcome
                    .map(Box::from)
                    .map_err(|error| ProtocolError::Refused(error).into());
                self.answered(id, outcome);
            }
            Received::Failed { id, error } => self.answered(id, Err(error.into())),
            Received::Progress { id, params } => {
                if let Some(on_progress) =
                    self.busy
                        .as_mut()
                        .and_then(|busy| match busy.waiters.get_mut(&id) {
                            Some(waiter) => waiter.on_progress.as_mut(),
                            None => busy.hearing.get_mut(&id),
                        })
                {
                    guarded("a progress handler", || on_progress(params));
                }
            }
            Received::Initialized => {
                self.agree();
                guarded("a hook", || listener.initialized());
            }
            Received::Handled | Received::Malformed => {
                self.agree();
                self.take_outputs(route);
            }
            Received::Ignored(Ignored::TooMany) => {
                tracing::warn!("the peer sends too many notifications: some are dropped");
            }
            Received::Ignored(why) => tracing::debug!(?why, "a message is ignored"),
        }
    }

    /// Publishes what the handshake settled, once.
    pub(crate) fn agree(&mut self) {
        if self.peer.agreed.get().is_some() {
            return;
        }
        let info = self.session.peer_info();
        let is_stateless = self.session.is_stateless_client();
        if info.is_none() && !is_stateless {
            return;
        }
        if let Some(head) = self.session.client_head().filter(|_| is_stateless) {
            let _ = self.peer.head.set(head);
        }
        let _ = self.peer.agreed.set(Agreed {
            revision: self.session.revision(),
            client_capabilities: self.session.client_capabilities().clone(),
            server_capabilities: self.session.server_capabilities().clone(),
            peer_info: info.cloned(),
            instructions: self.session.peer_instructions().map(Box::from),
        });
    }

    /// Answers a request that was ready at once.
    pub(crate) fn answer(
        &mut self,
        route: Route,
        id: &impl EncodeId,
        revision: Revision,
        outcome: Outcome,
    ) {
        let is_subscription = matches!(outcome, Outcome::Listened(_));
        let head = self.session.head();
        outcome.encode(self.out.buffer(route), id, revision, head);
        self.out.commit(route);
        if is_subscription {
            // The result comes first: what is cancelled before its end looks like an accident.
            let params = OneMember("requestId", id);
            self.notify(route, Method::Cancelled, &params);
        }
    }

    /// Registers a request whose handler is pending.
    pub(crate) fn begin(&mut self, id: CallId, bytes: usize, call: Arc<CallShared>) {
        self.session.begin(id.clone(), bytes);
        self.busy().calls.insert(id, call);
    }

    /// The handler of a pending request is done: everything that it said has been taken, and no
    /// progress comes any more. `false`: it was cancelled meanwhile, and nothing may be said.
    pub(crate) fn finish(&mut self, now: Moment, id: &CallId) -> bool {
        // What the handler said last goes out before its answer.
        self.take_items(now);
        if let Some(call) = self.busy.as_mut().and_then(|busy| busy.calls.remove(id)) {
            self.last_progress(&call);
        }
        self.session.finish(id)
    }

    fn cancelled(&mut self, id: &CallId, reason: Option<&str>) {
        tracing::info!(%id, reason, "the peer cancelled a request");
        if let Some(call) = self.busy.as_mut().and_then(|busy| busy.calls.remove(id)) {
            call.cancel();
        }
    }

    fn answered(&mut self, id: i64, outcome: Result<Box<str>>) {
        let Some(mut waiter) = self.take_waiter(id) else {
            return;
        };
        if waiter.hears_on
            && outcome.is_ok()
            && let Some(on_progress) = waiter.on_progress.take()
        {
            self.session.hear_on(id);
            self.busy().hearing.insert(id, on_progress);
        }
        let _ = waiter.reply.send(outcome);
    }

    /// A request of ours is lost on its way, or its answer is.
    pub(crate) fn lost(&mut self, now: Moment, id: i64, error: Error) {
        match self.session.lost(id) {
            Some(Method::Discover) if !self.session.is_operating() => match error.kind() {
                ErrorKind::HttpStatus(status) if is_evidence(*status) => {
                    self.session.discover_failed(now);
                    self.take_outputs(Route::GENERAL);
                }
                _ => self.end(Some(error), false),
            },
            Some(Method::Initialize) => self.end(Some(error), false),
            Some(_) => self.answered(id, Err(error)),
            None => {}
        }
    }

    /// Takes what handlers and handles have said.
    pub(crate) fn take_items(&mut self, now: Moment) {
        self.tell_rest();
        if self.peer.outbox.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.busy().items);
        self.peer.outbox.take(&mut items);
        for item in items.drain(..) {
            self.take_item(now, item);
        }
        self.busy().items = items;
    }

    fn take_item(&mut self, now: Moment, item: Item) {
        match item {
            Item::Request {
                id,
                method,
                message,
                timeouts,
                waiter,
            } => match self.session.request(now, id, method, timeouts) {
                Ok(()) => {
                    let route = waiter.route;
                    self.busy().waiters.insert(id, waiter);
                    self.say(route, &message);
                }
                Err(error) => {
                    let _ = waiter.reply.send(Err(error.into()));
                }
            },
            Item::Abandon { id, reason } => {
                if let Some(waiter) = self.take_waiter(id) {
                    let _ = self.session.cancel(id, Some(reason));
                    self.take_outputs(waiter.route);
                } else if let Some(busy) = &mut self.busy
                    && busy.hearing.remove(&id).is_some()
                {
                    self.session.hear_no_more(id);
                }
            }
            Item::Notification {
                method,
                message,
                route,
            } => match self.session.notify(method) {
                Ok(()) if !self.out.is_backed_up(route) => self.say(route, &message),
                Ok(()) => {
                    tracing::warn!(%method, "the peer does not read: a notification is dropped");
                }
                Err(error) => tracing::debug!(%method, %error, "a notification is not sent"),
            },
            Item::Log {
                level,
                message,
                route,
                asked_by,
            } => {
                let is_over = asked_by.as_ref().is_some_and(|call| call.is_finished());
                if is_over || self.out.is_backed_up(route) {
                    return;
                }
                let passes = match asked_by {
                    Some(_) => self.session.log_asked_for(now),
                    None => self.session.log(now, level),
                };
                if let Some(dropped) = passes {
                    if dropped > 0 {
                        tracing::warn!(dropped, "log messages were dropped by the rate limit");
                    }
                    self.say(route, &message);
                }
            }
            Item::Progress { call, step } => self.progress(now, &call, step),
            Item::Changes { listener, route } => self.tell(listener, route),
            Item::ResourceUpdated { uri } => self.resource_updated(&uri),
            Item::Release { route, retry } => {
                if self.session.revision().rules().polling {
                    self.out.release(route, retry);
                }
            }
            Item::Close => self.end(None, true),
        }
    }

    /// Tells a listener what has changed, as far as its client reads.
    fn tell(&mut self, listener: Arc<Subscription>, route: Route) {
        while !self.out.is_backed_up(route) {
            if !listener.take(self.out.buffer(route)) {
                return;
            }
            self.out.commit(route);
        }
        self.busy().untold.push((listener, route));
    }

    fn tell_rest(&mut self) {
        let Some(busy) = &mut self.busy else {
            return;
        };
        for (listener, route) in std::mem::take(&mut busy.untold) {
            self.tell(listener, route);
        }
    }

    fn resource_updated(&mut self, uri: &str) {
        let method = Method::ResourcesUpdated;
        let route = Route::GENERAL;
        if !self.session.is_subscribed(uri)
            || self.session.notify(method).is_err()
            || self.out.is_backed_up(route)
        {
            return;
        }
        let params = ResourceParams::new(uri);
        self.notify(route, method, &params);
    }

    fn notify(&mut self, route: Route, method: Method, params: &impl serde::Serialize) {
        let buffer = self.out.buffer(route);
        let before = buffer.len();
        match encode::notification(buffer, method, Some(params)) {
            Ok(()) => self.out.commit(route),
            Err(error) => {
                buffer.truncate(before);
                tracing::error!(%method, %error, "a notification cannot be written");
            }
        }
    }

    fn progress(&mut self, now: Moment, call: &Arc<CallShared>, step: Step) {
        if call.is_finished() || call.token.is_none() {
            return;
        }
        let offered = call.gate().offer(now, step);
        match offered {
            Ok(Some(step)) => self.say_progress(call, step),
            Ok(None) => {
                let held = &mut self.busy().held;
                if !held.iter().any(|held| Arc::ptr_eq(held, call)) {
                    held.push(call.clone());
                }
            }
            Err(error) => tracing::debug!(%error, "progress is not sent"),
        }
    }

    fn say_progress(&mut self, call: &CallShared, step: Step) {
        let route = call.peer.route;
        let Some(token) = call.token.clone() else {
            return;
        };
        if self.out.is_backed_up(route) {
            return;
        }
        let mut params = ProgressParams::new(token, step.progress);
        params.total = step.total;
        params.message = step.message;
        params.project(self.session.revision());
        self.notify(route, Method::Progress, &params);
    }

    /// Progress that waited for its rate goes out before the answer, and none after it.
    pub(crate) fn last_progress(&mut self, call: &Arc<CallShared>) {
        if call.is_finished() {
            return;
        }
        call.finish();
        let step = call.gate().last_word();
        if let Some(step) = step {
            self.say_progress(call, step);
        }
        if let Some(busy) = &mut self.busy {
            busy.held.retain(|held| !Arc::ptr_eq(held, call));
        }
    }

    fn held_progress(&mut self, now: Moment) {
        let Some(busy) = &mut self.busy else {
            return;
        };
        let held = std::mem::take(&mut busy.held);
        for call in held {
            if call.is_finished() {
                continue;
            }
            let due = call.gate().due(now);
            match due {
                Some(step) => self.say_progress(&call, step),
                None => self.busy().held.push(call),
            }
        }
    }

    fn say(&mut self, route: Route, message: &[u8]) {
        self.out.buffer(route).extend_from_slice(message);
        self.out.commit(route);
    }

    /// What the machine itself has to say; `route` is where its answers go.
    pub(crate) fn take_outputs(&mut self, route: Route) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(message) => self.say(route, &message),
                Output::Failed { id, error } => self.answered(id, Err(error.into())),
                Output::Close(error) => self.end(Some(error.into()), false),
            }
        }
    }

    /// When [`Exchange::handle_timeout`] wants to be called.
    pub(crate) fn next_timeout(&mut self, now: Moment) -> Option<Moment> {
        let machine = self.session.next_timeout();
        let held = self.busy.iter().flat_map(|busy| &busy.held);
        let held = held.filter_map(|call| call.gate().next(now)).min();
        match (machine, held) {
            (Some(machine), Some(held)) => Some(machine.min(held)),
            (one, other) => one.or(other),
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        self.session.handle_timeout(now);
        self.held_progress(now);
        self.take_outputs(Route::GENERAL);
    }

    /// Are answers of the peer missing?
    pub(crate) fn expects_answers(&self) -> bool {
        self.busy
            .as_ref()
            .is_some_and(|busy| !busy.waiters.is_empty())
            || self.session.requests_outstanding() > 0
    }

    /// It is over: handlers are told, whoever waits gets the error, nothing more is taken.
    pub(crate) fn close(&mut self, error: Option<&Error>) {
        let busy = self.busy.take();
        for call in busy.iter().flat_map(|busy| busy.calls.values()) {
            call.cancel();
        }
        let closed = error
            .cloned()
            .unwrap_or_else(|| ProtocolError::Closed.into());
        self.session.handle_closed();
        self.peer.outbox.close(&closed);
        for (_, waiter) in busy.into_iter().flat_map(|busy| busy.waiters) {
            let _ = waiter.reply.send(Err(closed.clone()));
        }
    }
}
