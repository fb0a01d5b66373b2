//! The one loop that moves a connection: bytes in, verdicts of the state machine, handlers,
//! bytes out. Client and server, every stream of bytes.
//!
//! A turn handles at most [`TURN_MESSAGES`] messages or [`TURN_TIME`], then everything ready goes
//! out in one write. A handler is polled where its message was read; only if it is pending does
//! it become an entry of `pending`. Reading never stops because requests are in flight or the
//! outbox is full; it stops only above the bound on bytes, for a bounded time.

pub(crate) mod call;
pub(crate) mod outbox;
pub(crate) mod outcome;
pub(crate) mod peer;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use compere_proto::connection::session::Session;
use compere_proto::connection::{Ignored, Inbound, Output, Received};
use compere_proto::error::PeerMisbehaved;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::progress::ProgressParams;
use compere_proto::wire::batch;
use compere_proto::wire::encode;
use compere_proto::wire::line::{Frame, Lines};
use compere_proto::wire::project::Project;
use compere_proto::wire::scan::Params;
use compere_proto::{Error as ProtocolError, Limits, Method, Moment, Revision, Role};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::driver::call::{BoxFuture, CallShared, Work};
use crate::driver::outbox::{CallId, Item, Waiter};
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Agreed, Peer};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::ByteStream;

/// Messages that are handled before everything ready is written and others get their turn.
const TURN_MESSAGES: usize = 64;
/// Time after which the same happens.
const TURN_TIME: Duration = Duration::from_micros(200);
/// A handler that holds the connection for longer than this should have been async or blocking.
const SLOW_POLL: Duration = Duration::from_millis(50);
/// A buffer that grew beyond this is given back when the connection is idle.
const KEEP_BYTES: usize = 64 * 1024;

/// What a request has become when its handler was asked for the first time.
pub(crate) enum Started {
    /// The answer, from a handler that never asked for its context, or from no handler at all.
    Done(Outcome),
    /// The answer of a handler whose context may live on.
    Answered(Outcome, Arc<CallShared>),
    /// The handler waits for something.
    Pending(Work, Arc<CallShared>),
}

/// The role-specific half of a connection: who answers the peer.
pub(crate) trait Side: Send + 'static {
    /// Begins to answer a request, polling its handler once.
    fn request(
        &mut self,
        session: &mut Session,
        now: Moment,
        inbound: &Inbound<'_>,
        context: &mut Context<'_>,
    ) -> Started;

    /// Begins to answer a request of the stateless era; `None` says that it is not served.
    fn stateless(
        &mut self,
        _inbound: &Inbound<'_>,
        _context: &mut Context<'_>,
    ) -> Option<(Started, Revision)> {
        None
    }

    /// Takes a notification.
    fn notification(&mut self, session: &mut Session, method: Method, params: &Params<'_>);

    /// The handshake is done.
    fn initialized(&mut self, session: &Session);

    /// The connection is over; `None` if in good order.
    fn ended(&mut self, error: Option<&Error>);
}

/// One connection.
pub(crate) struct Driver<S, H> {
    stream: S,
    side: H,
    session: Session,
    peer: Peer,
    limits: Arc<Limits>,
    lines: Lines,
    out: Vec<u8>,
    written: usize,
    /// Since when the peer takes nothing, or keeps us above the bound on bytes.
    stalled_since: Option<Moment>,
    pending: FuturesUnordered<BoxFuture<(CallId, Revision, Option<Outcome>)>>,
    calls: HashMap<CallId, Arc<CallShared>>,
    waiters: HashMap<i64, Waiter>,
    /// Calls with progress that waits for its rate.
    held: Vec<Arc<CallShared>>,
    items: VecDeque<Item>,
    started: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Reading is over: the grace for what is pending ends here.
    closing: Option<Closing>,
    spawn: bool,
}

#[derive(Clone)]
struct Closing {
    deadline: Moment,
    error: Option<Error>,
    /// What is pending is not waited for.
    at_once: bool,
    /// Closed by our own side: that answers are missing is no surprise then.
    on_our_wish: bool,
}

impl<S: ByteStream + Unpin, H: Side + Unpin> Driver<S, H> {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(stream: S, side: H, session: Session, peer: Peer) -> Self {
        let limits = peer.limits.clone();
        Self {
            stream,
            side,
            session,
            lines: Lines::new(&limits),
            limits,
            peer,
            out: Vec::new(),
            written: 0,
            stalled_since: None,
            pending: FuturesUnordered::new(),
            calls: HashMap::new(),
            waiters: HashMap::new(),
            held: Vec::new(),
            items: VecDeque::new(),
            started: Instant::now(),
            timer: None,
            closing: None,
            spawn: tokio::runtime::Handle::current().runtime_flavor()
                != tokio::runtime::RuntimeFlavor::CurrentThread,
        }
    }

    /// Client: starts the handshake.
    pub(crate) fn connect(&mut self) -> Result<()> {
        Ok(self.session.connect(Moment::START)?)
    }

    /// Runs the connection to its end, then lets the stream shut down in order.
    pub(crate) async fn run(mut self) -> Result<()> {
        let ended = std::future::poll_fn(|context| self.poll(context)).await;
        for call in self.calls.values() {
            call.cancel();
        }
        let error = ended.as_ref().err().cloned();
        let closed = error
            .clone()
            .unwrap_or_else(|| ProtocolError::Closed.into());
        self.session.handle_closed();
        self.peer.outbox.close(&closed);
        for (_, waiter) in self.waiters.drain() {
            let _ = waiter.reply.send(Err(closed.clone()));
        }
        self.side.ended(error.as_ref());
        std::future::poll_fn(|context| self.stream.poll_close(context)).await;
        ended
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.peer.outbox.begin_turn();
        let turn = self.turn(context);
        let quiet = self.peer.outbox.end_turn(context.waker());
        if turn.is_pending() && !quiet {
            context.waker().wake_by_ref();
        }
        turn
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let start = self.now();
        let mut now = start;
        let mut messages = 0;
        loop {
            self.collect(now, context);
            self.write(context)?;
            if let Some(ended) = self.ended(now) {
                return Poll::Ready(ended);
            }
            let before = messages;
            now = self.handle_frames(now, start, &mut messages, context);
            if messages >= TURN_MESSAGES || now.since(start) >= TURN_TIME && messages > before {
                self.collect(now, context);
                self.write(context)?;
                context.waker().wake_by_ref();
                break;
            }
            if messages > before {
                continue;
            }
            match self.read(now, context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => self.close(now, None, false),
                Poll::Pending => break,
            }
        }
        if let Some(ended) = self.ended(now) {
            return Poll::Ready(ended);
        }
        self.rest(now, context);
        Poll::Pending
    }

    /// Everything that is ready besides the peer's messages.
    fn collect(&mut self, now: Moment, context: &mut Context<'_>) {
        while !self.pending.is_empty() {
            match self.pending.poll_next_unpin(context) {
                Poll::Ready(Some((id, revision, outcome))) => {
                    self.answer_pending(now, &id, revision, outcome);
                }
                _ => break,
            }
        }
        self.take_items(now);
        self.take_outputs(now);
    }

    fn answer_pending(
        &mut self,
        now: Moment,
        id: &CallId,
        revision: Revision,
        outcome: Option<Outcome>,
    ) {
        // What the handler said last goes out before its answer.
        self.take_items(now);
        if let Some(call) = self.calls.remove(id) {
            self.last_progress(&call);
        }
        if self.session.finish(id)
            && let Some(outcome) = outcome
        {
            outcome.encode(&mut self.out, id, revision);
            self.out.push(b'\n');
        }
    }

    fn handle_frames(
        &mut self,
        mut now: Moment,
        start: Moment,
        messages: &mut usize,
        context: &mut Context<'_>,
    ) -> Moment {
        if self.closing.is_some() {
            return now;
        }
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(&self.limits));
        while *messages < TURN_MESSAGES && self.closing.is_none() {
            match lines.next() {
                Some(Frame::Message(bytes)) => self.handle_message(now, bytes, context),
                Some(Frame::Oversize(malformed)) => {
                    let received = self.session.handle_malformed(malformed);
                    self.handle(now, received, context);
                }
                None => break,
            }
            *messages += 1;
            let after = self.now();
            if after.since(now) >= SLOW_POLL {
                tracing::warn!(
                    millis = after.since(now).as_millis(),
                    "a handler held the connection; make it async, or blocking"
                );
            }
            now = after;
            if now.since(start) >= TURN_TIME || self.is_full() {
                break;
            }
        }
        self.lines = lines;
        now
    }

    fn handle_message(&mut self, now: Moment, bytes: &[u8], context: &mut Context<'_>) {
        if self.session.takes_batches()
            && batch::is_batch(bytes)
            && let Some(parts) = batch::split(bytes, &self.limits)
        {
            for part in parts {
                let received = self.session.receive(now, part);
                self.handle(now, received, context);
            }
            return;
        }
        let received = self.session.receive(now, bytes);
        self.handle(now, received, context);
    }

    fn handle(&mut self, now: Moment, received: Received<'_>, context: &mut Context<'_>) {
        match received {
            Received::Request(inbound) => {
                let started = guarded("a rule or handler", || {
                    self.side.request(&mut self.session, now, &inbound, context)
                })
                .unwrap_or_else(|| Started::Done(ErrorObject::internal().into()));
                self.begin(now, &inbound, started, self.session.revision());
                self.session.recycle(inbound.params);
            }
            Received::Stateless(inbound) => match self.side.stateless(&inbound, context) {
                Some((started, revision)) => self.begin(now, &inbound, started, revision),
                None => tracing::error!("a stateless request came to a side that has none"),
            },
            Received::Notification { method, params } => {
                guarded("a notification handler", || {
                    self.side.notification(&mut self.session, method, &params);
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
                if let Some(on_progress) = self
                    .waiters
                    .get_mut(&id)
                    .and_then(|waiter| waiter.on_progress.as_mut())
                {
                    guarded("a progress handler", || on_progress(params));
                }
            }
            Received::Initialized => {
                self.agree();
                guarded("a hook", || self.side.initialized(&self.session));
            }
            Received::Handled => {
                self.agree();
                self.take_outputs(now);
            }
            Received::Ignored(Ignored::TooMany) => {
                tracing::warn!("the peer sends too many notifications: some are dropped");
            }
            Received::Ignored(why) => tracing::debug!(?why, "a message is ignored"),
        }
    }

    fn begin(&mut self, now: Moment, inbound: &Inbound<'_>, started: Started, revision: Revision) {
        match started {
            Started::Done(outcome) => {
                outcome.encode(&mut self.out, &inbound.id, revision);
                self.out.push(b'\n');
            }
            Started::Answered(outcome, call) => {
                // What the handler said goes out before its answer, and nothing after it.
                self.take_items(now);
                self.last_progress(&call);
                outcome.encode(&mut self.out, &inbound.id, revision);
                self.out.push(b'\n');
            }
            Started::Pending(work, call) => {
                let id = inbound.id.to_owned();
                self.session.begin(id.clone(), inbound.bytes);
                self.calls.insert(id.clone(), call.clone());
                let run = call::run(work, call, self.limits.grace);
                if self.spawn {
                    let task = Abort(tokio::spawn(run));
                    self.pending.push(Box::pin(async move {
                        (id, revision, task.await.ok().flatten())
                    }));
                } else {
                    self.pending
                        .push(Box::pin(async move { (id, revision, run.await) }));
                }
            }
        }
    }

    /// Publishes what the handshake settled, once.
    fn agree(&mut self) {
        if self.peer.agreed.get().is_some() {
            return;
        }
        let Some(info) = self.session.peer_info() else {
            return;
        };
        let _ = self.peer.agreed.set(Agreed {
            revision: self.session.revision(),
            client_capabilities: self.session.client_capabilities().clone(),
            server_capabilities: self.session.server_capabilities().clone(),
            peer_info: Some(info.clone()),
            instructions: self.session.peer_instructions().map(str::to_owned),
        });
    }

    fn cancelled(&mut self, id: &CallId, reason: Option<&str>) {
        tracing::info!(%id, reason, "the peer cancelled a request");
        if let Some(call) = self.calls.remove(id) {
            call.cancel();
        }
    }

    fn answered(&mut self, id: i64, outcome: Result<Box<str>>) {
        if let Some(waiter) = self.waiters.remove(&id) {
            let _ = waiter.reply.send(outcome);
        }
    }

    fn take_items(&mut self, now: Moment) {
        if self.peer.outbox.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.items);
        self.peer.outbox.take(&mut items);
        for item in items.drain(..) {
            self.take_item(now, item);
        }
        self.items = items;
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
                    self.waiters.insert(id, waiter);
                    self.say(&message);
                }
                Err(error) => {
                    let _ = waiter.reply.send(Err(error.into()));
                }
            },
            Item::Abandon { id, reason } => {
                if self.waiters.remove(&id).is_some() {
                    let _ = self.session.cancel(id, Some(reason));
                    self.take_outputs(now);
                }
            }
            Item::Notification { method, message } => match self.session.notify(method) {
                Ok(()) if !self.is_backed_up() => self.say(&message),
                Ok(()) => {
                    tracing::warn!(%method, "the peer does not read: a notification is dropped");
                }
                Err(error) => tracing::debug!(%method, %error, "a notification is not sent"),
            },
            Item::Log { level, message } => {
                if self.is_backed_up() {
                    return;
                }
                if let Some(dropped) = self.session.log(now, level) {
                    if dropped > 0 {
                        tracing::warn!(dropped, "log messages were dropped by the rate limit");
                    }
                    self.say(&message);
                }
            }
            Item::Progress { call, step } => self.progress(now, &call, step),
            Item::ResourceUpdated { uri } => self.resource_updated(&uri),
            Item::Close => self.close(now, None, true),
        }
    }

    fn resource_updated(&mut self, uri: &str) {
        let method = Method::ResourcesUpdated;
        if !self.session.is_subscribed(uri)
            || self.session.notify(method).is_err()
            || self.is_backed_up()
        {
            return;
        }
        let params = compere_proto::resources::ResourceParams::new(uri);
        if encode::notification(&mut self.out, method, Some(&params)).is_ok() {
            self.out.push(b'\n');
        }
    }

    fn progress(
        &mut self,
        now: Moment,
        call: &Arc<CallShared>,
        step: compere_proto::connection::progress_gate::Step,
    ) {
        if call.is_finished() || call.token.is_none() {
            return;
        }
        let offered = call.gate().offer(now, step);
        match offered {
            Ok(Some(step)) => self.say_progress(call, step),
            Ok(None) => {
                if !self.held.iter().any(|held| Arc::ptr_eq(held, call)) {
                    self.held.push(call.clone());
                }
            }
            Err(error) => tracing::debug!(%error, "progress is not sent"),
        }
    }

    fn say_progress(
        &mut self,
        call: &CallShared,
        step: compere_proto::connection::progress_gate::Step,
    ) {
        let Some(token) = call.token.clone() else {
            return;
        };
        if self.is_backed_up() {
            return;
        }
        let mut params = ProgressParams::new(token, step.progress);
        params.total = step.total;
        params.message = step.message;
        params.project(self.session.revision());
        if encode::notification(&mut self.out, Method::Progress, Some(&params)).is_ok() {
            self.out.push(b'\n');
        }
    }

    /// Progress that waited for its rate goes out before the answer, and none after it.
    fn last_progress(&mut self, call: &Arc<CallShared>) {
        if call.is_finished() {
            return;
        }
        call.finish();
        let step = call.gate().last_word();
        if let Some(step) = step {
            self.say_progress(call, step);
        }
        self.held.retain(|held| !Arc::ptr_eq(held, call));
    }

    fn held_progress(&mut self, now: Moment) {
        let held = std::mem::take(&mut self.held);
        for call in held {
            if call.is_finished() {
                continue;
            }
            let due = call.gate().due(now);
            match due {
                Some(step) => self.say_progress(&call, step),
                None => self.held.push(call),
            }
        }
    }

    fn say(&mut self, message: &[u8]) {
        self.out.extend_from_slice(message);
        self.out.push(b'\n');
    }

    fn take_outputs(&mut self, now: Moment) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(message) => self.say(&message),
                Output::Failed { id, error } => self.answered(id, Err(error.into())),
                Output::Close(error) => self.close(now, Some(error.into()), false),
            }
        }
    }

    fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// So much waits to be written that only answers are added to it.
    fn is_backed_up(&self) -> bool {
        self.unwritten() > self.limits.outbox_bytes
    }

    /// The bound on bytes is reached: reading pauses.
    fn is_full(&self) -> bool {
        self.session.is_overfull() || self.unwritten() > self.limits.bytes_in_flight
    }

    /// `Ready(true)`: there may be frames. `Ready(false)`: the peer has ended the stream.
    fn read(&mut self, now: Moment, context: &mut Context<'_>) -> Poll<bool> {
        if self.closing.is_some() || self.is_full() {
            return Poll::Pending;
        }
        match ready!(self.stream.poll_read(context, self.lines.space())) {
            Ok(0) => {
                let mut lines = std::mem::replace(&mut self.lines, Lines::new(&self.limits));
                match lines.finish() {
                    Some(Frame::Message(bytes)) => self.handle_message(now, bytes, context),
                    Some(Frame::Oversize(malformed)) => {
                        let received = self.session.handle_malformed(malformed);
                        self.handle(now, received, context);
                    }
                    None => {}
                }
                Poll::Ready(false)
            }
            Ok(count) => {
                self.lines.filled(count);
                Poll::Ready(true)
            }
            Err(error) => {
                self.close(now, Some(error.into()), false);
                Poll::Ready(true)
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        while self.written < self.out.len() {
            let bytes = self.out.get(self.written..).unwrap_or_default();
            match self.stream.poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(self.lost(None)),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.stalled_since = None;
                }
                Poll::Ready(Err(error)) => return Err(self.lost(Some(error))),
                Poll::Pending => {
                    self.drop_written();
                    return Ok(());
                }
            }
        }
        self.out.clear();
        self.written = 0;
        if let Poll::Ready(Err(error)) = self.stream.poll_flush(context) {
            return Err(self.lost(Some(error)));
        }
        Ok(())
    }

    /// Moves the rest of a large buffer to its front, now and then.
    fn drop_written(&mut self) {
        if self.written > KEEP_BYTES && self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    fn close(&mut self, now: Moment, error: Option<Error>, on_our_wish: bool) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(Closing {
            deadline: now + self.limits.grace,
            at_once: error.is_some(),
            error,
            on_our_wish,
        });
        if self.session.role() == Role::Client {
            // Nobody is there any more to answer us, and our answers are of no use.
            self.pending.clear();
        }
    }

    /// Is it over, now that reading is?
    fn ended(&mut self, now: Moment) -> Option<Result<()>> {
        let closing = self.closing.clone()?;
        let said_all = self.unwritten() == 0;
        let done = closing.at_once || self.pending.is_empty();
        let over = done && said_all || now >= closing.deadline;
        if !over {
            return None;
        }
        if let Some(error) = closing.error {
            return Some(Err(error));
        }
        if closing.on_our_wish {
            return Some(Ok(()));
        }
        match self.stream.ended() {
            Some(lost) if self.session.role() == Role::Client && self.expected_more() => {
                Some(Err(Error::new(ErrorKind::ServerLost(lost))))
            }
            _ if self.expected_more() => Some(Err(ProtocolError::Closed.into())),
            _ => Some(Ok(())),
        }
    }

    fn expected_more(&self) -> bool {
        !self.waiters.is_empty() || self.session.requests_outstanding() > 0
    }

    fn lost(&mut self, error: Option<std::io::Error>) -> Error {
        match (self.stream.ended(), error) {
            (Some(lost), _) => Error::new(ErrorKind::ServerLost(lost)),
            (None, Some(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => error.into(),
            _ => ProtocolError::Closed.into(),
        }
    }

    /// Prepares for sleep: the timer, and memory that is not needed.
    fn rest(&mut self, now: Moment, context: &mut Context<'_>) {
        if self.out.is_empty() && self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        if self.unwritten() > 0 || self.session.is_overfull() {
            self.stalled_since.get_or_insert(now);
        } else {
            self.stalled_since = None;
        }
        let mut next = self.next_timeout(now);
        if next.is_some_and(|next| next <= now) {
            self.handle_timeout(now, context);
            next = self.next_timeout(now);
        }
        let Some(next) = next else {
            self.timer = None;
            return;
        };
        let at = self.started + next.0;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        if next <= now || timer.as_mut().poll(context).is_ready() {
            // Due already: another turn at once.
            context.waker().wake_by_ref();
        }
    }

    fn next_timeout(&mut self, now: Moment) -> Option<Moment> {
        let machine = self.session.next_timeout();
        let held = self
            .held
            .iter()
            .filter_map(|call| call.gate().next(now))
            .min();
        let stalled = self.stalled_since.map(|since| since + self.limits.stall);
        let closing = self.closing.as_ref().map(|closing| closing.deadline);
        [machine, held, stalled, closing]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Moment, context: &mut Context<'_>) {
        self.session.handle_timeout(now);
        self.held_progress(now);
        if self
            .stalled_since
            .is_some_and(|since| now.since(since) >= self.limits.stall)
        {
            if self.unwritten() > 0 {
                self.close(
                    now,
                    Some(ProtocolError::from(PeerMisbehaved::NeverReads).into()),
                    false,
                );
                // What it does not read is not waited for.
                self.out.clear();
                self.written = 0;
            } else if self.session.is_overfull() {
                self.close(
                    now,
                    Some(ProtocolError::from(PeerMisbehaved::TooMuchInFlight).into()),
                    false,
                );
            }
        }
        self.take_outputs(now);
        if self.unwritten() > 0 || self.closing.is_some() {
            context.waker().wake_by_ref();
        }
    }
}

/// Callbacks of users run inside the connection: a panic in one costs that call, not the rest.
pub(crate) fn guarded<T>(what: &str, callback: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(value) => Some(value),
        Err(panic) => {
            call::panicked(what, panic.as_ref());
            None
        }
    }
}

/// A task that ends with whoever waits for it.
struct Abort(tokio::task::JoinHandle<Option<Outcome>>);

impl Future for Abort {
    type Output = Result<Option<Outcome>, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}
