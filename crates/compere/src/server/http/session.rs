//! One session over HTTP: a conversation whose messages come in requests of their own, and whose
//! answers leave on the stream of the request that they belong to.
//!
//! A session has no task. A request is handled where it was read; only a handler that is pending
//! gets a task, so that a client that goes away does not cancel it. What is said outside of a
//! request wakes the pump, a task that lives while there is something to send or to wait for.
//! The lock of the state is never held while a handler runs.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use compere_proto::connection::session::{Session as Machine, id_in_use};
use compere_proto::connection::stateless::Head;
use compere_proto::connection::{Ignored, Inbound, Received};
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::revision::UnreadableId;
use compere_proto::wire::batch;
use compere_proto::wire::encode;
use compere_proto::wire::scan::Scanner;
use compere_proto::{Moment, Revision};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::driver::call::{self, CallShared, Work};
use crate::driver::exchange::{Exchange, Route};
use crate::driver::outbox::CallId;
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Agreed, Peer};
use crate::driver::{Started, guarded, in_a_batch};
use crate::error::Error;
use crate::relay::Opened;
use crate::server::core::ServerCore;
use crate::server::dispatch::{Conversation, Dispatch};
use crate::server::http::body::Events;
use crate::server::http::sessions::Sessions;
use crate::server::http::shared::Sink;
use crate::server::http::streams::{EventId, Gone, Next, REPLY, Streams, frame};
use crate::server::session::{LOCAL, SessionShared};

/// What becomes of a posted message.
pub(crate) enum Posted {
    /// It asks nothing, or nothing that is answered here.
    Accepted,
    /// The answer.
    Answer(Vec<u8>),
    /// It was no message; the error that says so.
    Malformed(Vec<u8>),
    /// Events, the answer among them.
    Events(Reader),
}

/// Does a client that goes away take its calls with it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No: it can come back.
    Session,
    /// Yes: there is nothing to come back to.
    Sessionless,
}

/// One session.
pub(crate) struct HttpSession {
    pub(crate) id: u128,
    pub(crate) kind: Kind,
    pub(crate) shared: Arc<SessionShared>,
    state: Mutex<State>,
    /// Milliseconds since the start when it was last used.
    used: AtomicU64,
    started: Instant,
    pumping: AtomicBool,
    pump: Notify,
    waker: OnceLock<Waker>,
    /// Whoever says something may run outside of a runtime.
    runtime: Handle,
    ended: AtomicBool,
    /// Where it is listed.
    sessions: Weak<Sessions>,
}

thread_local! {
    /// What reads messages, kept for the next one: sessions hold no memory for that.
    static SCANNER: Cell<Option<Scanner>> = const { Cell::new(None) };
}

/// What an answer of usual size needs.
const ANSWER_BYTES: usize = 256;

struct State {
    exchange: Exchange<Streams>,
    /// What is still running when the session is to end has until then.
    closing: Option<Moment>,
}

impl HttpSession {
    /// A session that waits for `initialize`.
    pub(crate) fn new(
        core: &Arc<ServerCore>,
        id: u128,
        opened: Opened,
        principal: Arc<str>,
        started: Instant,
        sessions: Weak<Sessions>,
        sink: Option<Sink>,
    ) -> Arc<Self> {
        let machine = Machine::server(opened.config(core), opened.peer.ids.clone());
        Self::with(
            core,
            id,
            Kind::Session,
            machine,
            opened,
            principal,
            started,
            sessions,
            sink,
        )
    }

    /// A conversation of one request.
    pub(crate) fn sessionless(
        core: &Arc<ServerCore>,
        revision: Revision,
        principal: Arc<str>,
        started: Instant,
    ) -> Arc<Self> {
        let peer = Peer::new(core.limits());
        let ids = peer.ids.clone();
        let config = core.session_config();
        let _ = peer.agreed.set(Agreed {
            revision,
            client_capabilities: config.client_capabilities.clone(),
            server_capabilities: config.server_capabilities.clone(),
            peer_info: None,
            instructions: None,
        });
        let machine = Machine::sessionless(config, revision, ids);
        let sessions = Weak::new();
        Self::with(
            core,
            0,
            Kind::Sessionless,
            machine,
            Opened {
                id: 0,
                peer,
                back: None,
                config: None,
            },
            principal,
            started,
            sessions,
            None,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn with(
        core: &Arc<ServerCore>,
        id: u128,
        kind: Kind,
        machine: Machine,
        opened: Opened,
        principal: Arc<str>,
        started: Instant,
        sessions: Weak<Sessions>,
        sink: Option<Sink>,
    ) -> Arc<Self> {
        let peer = opened.peer.clone();
        let shared = match kind {
            Kind::Session => core.session(opened, principal),
            Kind::Sessionless => core.unlisted_session(peer.clone(), principal),
        };
        let streams = Streams::new(peer.limits.clone(), sink);
        Arc::new(Self {
            id,
            kind,
            shared,
            state: Mutex::new(State {
                exchange: Exchange::new(machine, peer, streams),
                closing: None,
            }),
            used: AtomicU64::new(0),
            started,
            pumping: AtomicBool::new(false),
            pump: Notify::new(),
            waker: OnceLock::new(),
            runtime: Handle::current(),
            ended: AtomicBool::new(false),
            sessions,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    /// Has the handshake settled a revision?
    pub(crate) fn is_agreed(&self) -> bool {
        self.shared.peer.agreed.get().is_some()
    }

    /// It is being used.
    pub(crate) fn touch(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(millis, Ordering::Relaxed);
    }

    /// How long it has been without a stream and without a request; `None` while it has any.
    pub(crate) fn idle(&self) -> Option<std::time::Duration> {
        let state = self.lock();
        if state.exchange.out.has_readers() || state.exchange.session.requests_in_flight() > 0 {
            return None;
        }
        let used = std::time::Duration::from_millis(self.used.load(Ordering::Relaxed));
        Some(self.started.elapsed().saturating_sub(used))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Takes a posted body: one message, or several where the revision allows that.
    pub(crate) async fn post(self: &Arc<Self>, body: &[u8]) -> Posted {
        if batch::is_batch(body)
            && self.lock().exchange.session.takes_batches()
            && let Some(parts) = batch::split(body, &self.shared.peer.limits)
        {
            return self.post_batch(parts).await;
        }
        self.post_message(body, None).await
    }

    /// The answers to a batch are one array; what is said before them goes to the general stream.
    async fn post_batch(self: &Arc<Self>, parts: Vec<&[u8]>) -> Posted {
        let mut answers = Vec::new();
        for part in parts {
            let answer = match self.post_message(part, Some(Route::GENERAL)).await {
                Posted::Accepted => continue,
                Posted::Answer(answer) | Posted::Malformed(answer) => answer,
                Posted::Events(reader) => match reader.whole_answer().await {
                    Some(answer) => answer,
                    None => continue,
                },
            };
            answers.push(if answers.is_empty() { b'[' } else { b',' });
            answers.extend_from_slice(&answer);
        }
        if answers.is_empty() {
            return Posted::Accepted;
        }
        answers.push(b']');
        Posted::Answer(answers)
    }

    /// What a handler says before its answer goes to the stream of the answer, or to `said`.
    async fn post_message(self: &Arc<Self>, body: &[u8], said: Option<Route>) -> Posted {
        let now = self.now();
        let mut scanner = SCANNER.take().unwrap_or_default();
        let (received, route, revision) = {
            let mut state = self.lock();
            let Exchange { session, out, .. } = &mut state.exchange;
            let received = session.receive_with(&mut scanner, now, body);
            (received, out.next_route(), session.revision())
        };
        match received {
            Received::Request(inbound) => {
                let said = said.unwrap_or(route);
                let posted = self.call(now, &inbound, route, said, revision).await;
                scanner.recycle(inbound.params);
                SCANNER.set(Some(scanner));
                posted
            }
            Received::Stateless(inbound, _) => {
                let answer = encoded(in_a_batch(), &inbound.id, revision);
                scanner.recycle(inbound.params);
                SCANNER.set(Some(scanner));
                Posted::Answer(answer)
            }
            other => self.handle(other),
        }
    }

    fn handle(self: &Arc<Self>, received: Received<'_>) -> Posted {
        // What cannot be answered by a message is answered by the status.
        if let Received::Ignored(
            Ignored::MalformedResponse(why) | Ignored::MalformedNotification(why),
        ) = &received
        {
            let error = ErrorObject::new(code::INVALID_REQUEST, why.clone());
            let mut message = Vec::new();
            encode::error_without_id(&mut message, UnreadableId::Absent, &error);
            return Posted::Malformed(message);
        }
        let malformed = matches!(received, Received::Malformed);
        let dispatch = Dispatch::new(self.shared.clone());
        let reply = {
            let mut state = self.lock();
            if !self.is_agreed()
                && let Some(sessions) = self.sessions.upgrade()
            {
                sessions.share_client(&mut state.exchange.session);
            }
            state.exchange.handle(received, &mut &dispatch, REPLY);
            let reply = state.exchange.out.take_reply();
            state.exchange.shrink();
            reply
        };
        self.settle();
        match reply {
            reply if reply.is_empty() => Posted::Accepted,
            reply if malformed => Posted::Malformed(reply),
            reply => Posted::Answer(reply),
        }
    }

    async fn call(
        self: &Arc<Self>,
        now: Moment,
        inbound: &Inbound<'_>,
        route: Route,
        said: Route,
        revision: Revision,
    ) -> Posted {
        let dispatch = Dispatch::new(self.shared.clone());
        let outbox = &self.shared.peer.outbox;
        outbox.begin_turn();
        let started = std::future::poll_fn(|context| {
            let started = guarded("a rule or handler", || {
                dispatch.request(&mut Locked(self), now, inbound, said, context)
            });
            Poll::Ready(started)
        })
        .await
        .unwrap_or_else(|| Started::Done(ErrorObject::internal().into()));
        let posted = match started {
            Started::Done(outcome) if self.kind == Kind::Sessionless => {
                // No handle on the peer was given out: nobody can say anything any more.
                outbox.end_turn_for_good();
                return Posted::Answer(encoded(outcome, &inbound.id, revision));
            }
            Started::Done(outcome) => Posted::Answer(encoded(outcome, &inbound.id, revision)),
            Started::Answered(outcome, call) => {
                let answer = encoded(outcome, &inbound.id, revision);
                self.answered(now, route, &call, answer)
            }
            Started::Pending(work, call) => self.pending(now, inbound, route, revision, work, call),
        };
        if !outbox.end_turn(self.waker()) {
            self.lock().exchange.take_items(now);
            self.settle();
        }
        posted
    }

    /// A handler was ready at once, and may have said something before.
    fn answered(
        self: &Arc<Self>,
        now: Moment,
        route: Route,
        call: &Arc<CallShared>,
        answer: Vec<u8>,
    ) -> Posted {
        let mut state = self.lock();
        // The stream has its reader before anything is said on it, so that nothing is left out.
        let number = state.exchange.out.read(route, false);
        state.exchange.take_items(now);
        state.exchange.last_progress(call);
        let out = &mut state.exchange.out;
        if out.forget_if_silent(route) {
            return Posted::Answer(answer);
        }
        out.finish(route, answer);
        Posted::Events(self.reader(route, number))
    }

    /// A handler is pending: from now on it belongs to the session.
    fn pending(
        self: &Arc<Self>,
        now: Moment,
        inbound: &Inbound<'_>,
        route: Route,
        revision: Revision,
        work: Work,
        call: Arc<CallShared>,
    ) -> Posted {
        let id = inbound.id.to_owned();
        let number = {
            let mut state = self.lock();
            // Another request with this id may have been begun while this handler was polled.
            if state.exchange.session.is_in_flight(&id) {
                call.cancel();
                let error = Outcome::Error(id_in_use());
                return Posted::Answer(encoded(error, &inbound.id, revision));
            }
            state
                .exchange
                .begin(id.clone(), inbound.bytes, call.clone());
            let number = state.exchange.out.read(route, true);
            state.exchange.take_items(now);
            number
        };
        let reader = self.reader(route, number);
        let session = self.clone();
        let grace = self.shared.peer.limits.grace;
        let run = async move {
            let outcome = session.drive(call::run(work, call, grace)).await;
            session.complete(&id, route, revision, outcome);
        };
        let task = self.runtime.spawn(run);
        if self.kind == Kind::Sessionless {
            return Posted::Events(reader.aborting(task.abort_handle()));
        }
        Posted::Events(reader)
    }

    /// Runs a handler; what it says in a poll is sent after the poll.
    async fn drive<T>(self: &Arc<Self>, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            let outbox = &self.shared.peer.outbox;
            outbox.begin_turn();
            let polled = future.as_mut().poll(context);
            if !outbox.end_turn(self.waker()) {
                self.lock().exchange.take_items(self.now());
                self.settle();
            }
            polled
        })
        .await
    }

    fn complete(
        self: &Arc<Self>,
        id: &CallId,
        route: Route,
        revision: Revision,
        outcome: Option<Outcome>,
    ) {
        let now = self.now();
        {
            let mut state = self.lock();
            let wanted = state.exchange.finish(now, id);
            match outcome.filter(|_| wanted) {
                Some(outcome) => {
                    let answer = encoded(outcome, id, revision);
                    state.exchange.out.finish(route, answer);
                }
                None => state.exchange.out.end(route),
            }
        }
        self.touch();
        self.settle();
    }

    /// A stream of what belongs to no request.
    pub(crate) fn general(self: &Arc<Self>) -> Reader {
        let number = self.lock().exchange.out.read(Route::GENERAL, false);
        self.reader(Route::GENERAL, number).primed()
    }

    /// The rest of a stream.
    pub(crate) fn resume(self: &Arc<Self>, after: EventId) -> Result<Reader, Gone> {
        let number = self.lock().exchange.out.resume(after)?;
        Ok(self.reader(Route(after.stream), number))
    }

    fn reader(self: &Arc<Self>, route: Route, number: u64) -> Reader {
        self.touch();
        Reader {
            session: self.clone(),
            route,
            number,
            opening: false,
            over: false,
            abort: None,
        }
    }

    /// Do its streams begin with an id?
    pub(crate) fn polls(&self) -> bool {
        self.shared.peer.revision().rules().polling
    }

    fn waker(self: &Arc<Self>) -> &Waker {
        self.waker
            .get_or_init(|| Waker::from(Arc::new(Pump(Arc::downgrade(self)))))
    }

    /// Something may want to be waited for: then there has to be a pump.
    fn settle(self: &Arc<Self>) {
        if self.wants_pump() {
            self.start_pump();
        }
    }

    fn wants_pump(&self) -> bool {
        let now = self.now();
        let exchange = &mut self.lock().exchange;
        exchange.ending().is_some() || exchange.next_timeout(now).is_some()
    }

    fn start_pump(self: &Arc<Self>) {
        if self.has_ended() {
            return;
        }
        if self.pumping.swap(true, Ordering::AcqRel) {
            self.pump.notify_one();
            return;
        }
        let session = self.clone();
        self.runtime.spawn(async move { session.run_pump().await });
    }

    /// Sends what was said outside of requests, and waits for what has a time.
    async fn run_pump(self: Arc<Self>) {
        loop {
            let outbox = &self.shared.peer.outbox;
            outbox.begin_turn();
            let next = self.pump_once();
            if !outbox.end_turn(self.waker()) {
                continue;
            }
            if self.has_ended() {
                return;
            }
            if let Some(next) = next {
                let at = self.started + next.0;
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.pump.notified() => {}
                }
                continue;
            }
            self.pumping.store(false, Ordering::Release);
            // Whoever came between the last look and now saw a pump that is none any more.
            let quiet = outbox.is_empty() && !self.wants_pump();
            if quiet || self.pumping.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    fn pump_once(self: &Arc<Self>) -> Option<Moment> {
        let now = self.now();
        let (next, over) = {
            let mut state = self.lock();
            let State { exchange, closing } = &mut *state;
            exchange.take_items(now);
            if exchange.next_timeout(now).is_some_and(|due| due <= now) {
                exchange.handle_timeout(now);
            }
            let next = exchange.next_timeout(now);
            match exchange.ending().cloned() {
                None => (next, None),
                Some(ending) => {
                    let grace = self.shared.peer.limits.grace;
                    let deadline = *closing.get_or_insert(now + grace);
                    let done = ending.error.is_some()
                        || exchange.session.requests_in_flight() == 0
                        || now >= deadline;
                    let next = next.map_or(deadline, |next| next.min(deadline));
                    (Some(next), done.then_some(ending.error))
                }
            }
        };
        if let Some(error) = over {
            self.end(error.as_ref());
        }
        next
    }

    /// The session is over, and with it everything that it held.
    pub(crate) fn end(self: &Arc<Self>, error: Option<&Error>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.forget(self.id);
        }
        {
            let mut state = self.lock();
            state.exchange.close(error);
            state.exchange.out.end_all();
        }
        self.pump.notify_one();
        self.shared.log_end(error);
        self.shared.ended();
    }
}

fn encoded(outcome: Outcome, id: &impl encode::EncodeId, revision: Revision) -> Vec<u8> {
    let mut message = Vec::with_capacity(ANSWER_BYTES);
    // Sessions are of the other era.
    outcome.encode(&mut message, id, revision, &Head::default());
    message
}

/// The conversation of a session, locked only for as long as each question takes.
struct Locked<'a>(&'a HttpSession);

impl Conversation for Locked<'_> {
    fn revision(&self) -> Revision {
        self.0.lock().exchange.session.revision()
    }

    fn count_call(&mut self, now: Moment) -> Result<(), ErrorObject> {
        let shared = &self.0.shared;
        // Without sessions only those can be told apart who say who they are.
        if self.0.kind == Kind::Sessionless && *shared.principal != *LOCAL {
            return shared.core.count_call(&shared.principal, now);
        }
        self.0.lock().exchange.session.count_call(now)
    }

    fn subscribe(&mut self, uri: &str) -> Result<bool, ErrorObject> {
        self.0.lock().exchange.session.subscribe(uri)
    }

    fn unsubscribe(&mut self, uri: &str) {
        self.0.lock().exchange.session.unsubscribe(uri);
    }
}

/// Wakes the pump of a session when something is said to its client.
struct Pump(Weak<HttpSession>);

impl Wake for Pump {
    fn wake(self: Arc<Self>) {
        if let Some(session) = self.0.upgrade() {
            session.start_pump();
        }
    }
}

/// Reads one stream of a session: a connection of its client. Dropping it leaves the stream.
pub(crate) struct Reader {
    session: Arc<HttpSession>,
    route: Route,
    number: u64,
    /// The stream is to begin with an id.
    opening: bool,
    over: bool,
    abort: Option<tokio::task::AbortHandle>,
}

impl Reader {
    fn aborting(mut self, abort: tokio::task::AbortHandle) -> Self {
        self.abort = Some(abort);
        self
    }

    /// Begins with an id where the revision knows that.
    pub(crate) fn primed(mut self) -> Self {
        self.opening = self.session.kind == Kind::Session && self.session.polls();
        self
    }

    /// The number of the stream.
    pub(crate) fn stream(&self) -> u64 {
        self.route.0
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.session.lock();
        state
            .exchange
            .out
            .poll_next(self.route, self.number, context)
    }

    /// Waits for the answer, or for the first event; then the stream is to be sent.
    pub(crate) async fn answer(mut self) -> Result<Vec<u8>, Self> {
        let after = self.session.shared.peer.limits.event_stream_after;
        let patience = tokio::time::sleep(after);
        let mut patience = pin!(patience);
        let first = std::future::poll_fn(|context| {
            let mut state = self.session.lock();
            let out = &mut state.exchange.out;
            if out.wants_answer(self.route, self.number) {
                match out.poll_next(self.route, self.number, context) {
                    Poll::Pending => {}
                    Poll::Ready(next) => return Poll::Ready(Some(next)),
                }
                drop(state);
                return patience.as_mut().poll(context).map(|()| None);
            }
            Poll::Ready(None)
        })
        .await;
        match first {
            Some(Next::Answer(answer)) => {
                self.over = true;
                self.abort = None;
                Ok(answer)
            }
            _ => {
                self.session.lock().exchange.out.turn_to_events(self.route);
                Err(self.primed())
            }
        }
    }

    /// Waits for the answer of a stream on which nothing else is said.
    async fn whole_answer(mut self) -> Option<Vec<u8>> {
        match std::future::poll_fn(|context| self.poll_next(context)).await {
            Next::Answer(answer) => Some(answer),
            _ => None,
        }
    }
}

impl Events for Reader {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.opening) {
            let id = self.session.lock().exchange.out.prime(self.route);
            if let Some(id) = id {
                let retry = self.session.shared.peer.limits.event_stream_retry;
                let opening = format!("id: {id}\nretry: {}\ndata:\n\n", retry.as_millis());
                return Poll::Ready(Some(opening.into()));
            }
        }
        let next = std::task::ready!(self.poll_next(context));
        Poll::Ready(match next {
            Next::Event(event) => Some(event),
            Next::Answer(answer) => {
                self.over = true;
                Some(frame(None, &answer).into())
            }
            // Whoever reads it there has taken this reader's place.
            Next::Stored => {
                self.over = true;
                None
            }
            Next::Released(retry) => {
                self.over = true;
                Some(format!("retry: {}\n\n", retry.as_millis()).into())
            }
            Next::End => {
                self.over = true;
                None
            }
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.session
            .lock()
            .exchange
            .out
            .leave(self.route, self.number);
        self.session.touch();
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}
