//! The one loop that moves a connection: bytes in, verdicts of the state machine, handlers,
//! bytes out. Client and server, every stream of bytes.
//!
//! A turn handles at most [`TURN_MESSAGES`] messages or [`TURN_TIME`], then everything ready goes
//! out in one write. A handler is polled where its message was read; only if it is pending does
//! it become an entry of `pending`. Reading never stops because requests are in flight or the
//! outbox is full; it stops only above the bound on bytes, for a bounded time.
//!
//! What is said is decided in `exchange.rs`.

pub(crate) mod call;
pub(crate) mod exchange;
pub(crate) mod outbox;
pub(crate) mod outcome;
pub(crate) mod peer;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use compere_proto::connection::session::Session;
use compere_proto::connection::stateless::Envelope;
use compere_proto::connection::{Inbound, Received};
use compere_proto::error::PeerMisbehaved;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::wire::batch;
use compere_proto::wire::line::{Frame, Lines};
use compere_proto::wire::scan::Params;
use compere_proto::{Error as ProtocolError, Limits, Method, Moment, Revision, Role};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::driver::call::{BoxFuture, CallShared, Work};
use crate::driver::exchange::{Ending, Exchange, Outlet, Route};
use crate::driver::outbox::CallId;
use crate::driver::outcome::Outcome;
use crate::driver::peer::Peer;
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

/// Who hears what the peer says.
pub(crate) trait Listener {
    /// Takes a notification.
    fn notification(&mut self, method: Method, params: &Params<'_>);

    /// The handshake is done.
    fn initialized(&mut self);
}

/// The role-specific half of a connection: who answers the peer.
pub(crate) trait Side: Listener + Send + 'static {
    /// Begins to answer a request, polling its handler once.
    fn request(
        &mut self,
        session: &mut Session,
        now: Moment,
        inbound: &Inbound<'_>,
        context: &mut Context<'_>,
    ) -> Started;

    /// Begins to answer a request of the stateless era; `None` says that it is not served.
    #[allow(clippy::boxed_local)] // It came in this box and goes on in it.
    fn stateless(
        &mut self,
        _session: &mut Session,
        _now: Moment,
        _inbound: &Inbound<'_>,
        _envelope: Box<Envelope>,
        _context: &mut Context<'_>,
    ) -> Option<Started> {
        None
    }

    /// The connection is over; `None` if in good order.
    fn ended(&mut self, error: Option<&Error>);
}

/// What waits to be written to a stream of lines.
#[derive(Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    written: usize,
    backed_up_at: usize,
}

impl LineBuffer {
    fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Moves the rest of a large buffer to its front, now and then.
    fn drop_written(&mut self) {
        if self.written > KEEP_BYTES && self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

impl Outlet for LineBuffer {
    fn buffer(&mut self, _route: Route) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn commit(&mut self, _route: Route) {
        self.bytes.push(b'\n');
    }

    fn is_backed_up(&self, _route: Route) -> bool {
        self.unwritten() > self.backed_up_at
    }
}

/// One connection.
pub(crate) struct Driver<S, H> {
    stream: S,
    side: H,
    exchange: Exchange<LineBuffer>,
    limits: Arc<Limits>,
    lines: Lines,
    /// Since when the peer takes nothing, or keeps us above the bound on bytes.
    stalled_since: Option<Moment>,
    pending: FuturesUnordered<BoxFuture<(CallId, Revision, Option<Outcome>)>>,
    started: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Reading is over: the grace for what is pending ends here.
    closing: Option<Moment>,
    spawn: bool,
}

impl<S: ByteStream + Unpin, H: Side + Unpin> Driver<S, H> {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(stream: S, side: H, session: Session, peer: Peer) -> Self {
        let limits = peer.limits.clone();
        let out = LineBuffer {
            backed_up_at: limits.outbox_bytes,
            ..LineBuffer::default()
        };
        Self {
            stream,
            side,
            exchange: Exchange::new(session, peer, out),
            lines: Lines::new(&limits),
            limits,
            stalled_since: None,
            pending: FuturesUnordered::new(),
            started: Instant::now(),
            timer: None,
            closing: None,
            spawn: tokio::runtime::Handle::current().runtime_flavor()
                != tokio::runtime::RuntimeFlavor::CurrentThread,
        }
    }

    /// Client: starts the handshake.
    pub(crate) fn connect(&mut self) -> Result<()> {
        self.exchange.session.connect(Moment::START)?;
        if self.exchange.session.is_stateless_client() {
            // All is known already.
            self.exchange.agree();
            self.side.initialized();
        }
        Ok(())
    }

    /// Runs the connection to its end, then lets the stream shut down in order.
    pub(crate) async fn run(mut self) -> Result<()> {
        let ended = std::future::poll_fn(|context| self.poll(context)).await;
        let error = ended.as_ref().err();
        self.exchange.close(error);
        self.side.ended(error);
        std::future::poll_fn(|context| self.stream.poll_close(context)).await;
        ended
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.exchange.peer.outbox.begin_turn();
        let turn = self.turn(context);
        let quiet = self.exchange.peer.outbox.end_turn(context.waker());
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
                Poll::Ready(false) => self.close(now, None),
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
                    if self.exchange.finish(now, &id)
                        && let Some(outcome) = outcome
                    {
                        self.exchange.answer(Route::GENERAL, &id, revision, outcome);
                    }
                }
                _ => break,
            }
        }
        while let Some((id, error)) = self.stream.lost_request() {
            self.exchange.lost(now, id, error);
        }
        self.exchange.take_items(now);
        self.exchange.take_outputs(Route::GENERAL);
        self.settle(now);
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
        while *messages < TURN_MESSAGES && self.exchange.ending().is_none() {
            match lines.next() {
                Some(Frame::Message(bytes)) => self.handle_message(now, bytes, context),
                Some(Frame::Oversize(malformed)) => {
                    let received = self.exchange.session.handle_malformed(malformed);
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
        self.settle(now);
        now
    }

    fn handle_message(&mut self, now: Moment, bytes: &[u8], context: &mut Context<'_>) {
        if self.exchange.session.takes_batches()
            && batch::is_batch(bytes)
            && let Some(parts) = batch::split(bytes, &self.limits)
        {
            for part in parts {
                match self.exchange.session.receive(now, part) {
                    Received::Stateless(inbound, envelope) => {
                        let (route, revision) = (Route::GENERAL, envelope.revision);
                        self.exchange
                            .answer(route, &inbound.id, revision, in_a_batch());
                        self.exchange.session.recycle(inbound.params);
                    }
                    received => self.handle(now, received, context),
                }
            }
            return;
        }
        let received = self.exchange.session.receive(now, bytes);
        self.handle(now, received, context);
    }

    fn handle(&mut self, now: Moment, received: Received<'_>, context: &mut Context<'_>) {
        match received {
            Received::Request(inbound) => {
                let session = &mut self.exchange.session;
                let started = guarded("a rule or handler", || {
                    self.side.request(session, now, &inbound, context)
                })
                .unwrap_or_else(|| Started::Done(ErrorObject::internal().into()));
                let revision = self.exchange.session.revision();
                self.begin(now, &inbound, started, revision);
                self.exchange.session.recycle(inbound.params);
            }
            Received::Stateless(inbound, envelope) => {
                let revision = envelope.revision;
                let session = &mut self.exchange.session;
                let started = guarded("a rule or handler", || {
                    self.side
                        .stateless(session, now, &inbound, envelope, context)
                })
                .unwrap_or_else(|| Some(Started::Done(ErrorObject::internal().into())));
                match started {
                    Some(started) => self.begin(now, &inbound, started, revision),
                    None => tracing::error!("a stateless request came to a side that has none"),
                }
                self.exchange.session.recycle(inbound.params);
            }
            other => self.exchange.handle(other, &mut self.side, Route::GENERAL),
        }
    }

    fn begin(&mut self, now: Moment, inbound: &Inbound<'_>, started: Started, revision: Revision) {
        let route = Route::GENERAL;
        match started {
            Started::Done(outcome) => self.exchange.answer(route, &inbound.id, revision, outcome),
            Started::Answered(outcome, call) => {
                // What the handler said goes out before its answer, and nothing after it.
                self.exchange.take_items(now);
                self.exchange.last_progress(&call);
                self.exchange.answer(route, &inbound.id, revision, outcome);
            }
            Started::Pending(work, call) => {
                let id = inbound.id.to_owned();
                self.exchange.begin(id.clone(), inbound.bytes, call.clone());
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

    /// The bound on bytes is reached: reading pauses.
    fn is_full(&self) -> bool {
        self.exchange.session.is_overfull()
            || self.exchange.out.unwritten() > self.limits.bytes_in_flight
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
                        let received = self.exchange.session.handle_malformed(malformed);
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
                self.close(now, Some(error.into()));
                Poll::Ready(true)
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<()> {
        if self.exchange.out.bytes.is_empty() {
            return Ok(());
        }
        while self.exchange.out.unwritten() > 0 {
            let out = &mut self.exchange.out;
            let bytes = out.bytes.get(out.written..).unwrap_or_default();
            match self.stream.poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(self.lost(None)),
                Poll::Ready(Ok(count)) => {
                    out.written += count;
                    self.stalled_since = None;
                }
                Poll::Ready(Err(error)) => return Err(self.lost(Some(error))),
                Poll::Pending => {
                    out.drop_written();
                    return Ok(());
                }
            }
        }
        self.exchange.out.clear();
        if let Poll::Ready(Err(error)) = self.stream.poll_flush(context) {
            return Err(self.lost(Some(error)));
        }
        Ok(())
    }

    fn close(&mut self, now: Moment, error: Option<Error>) {
        self.exchange.end(error, false);
        self.settle(now);
    }

    /// If the conversation is to end, the grace of what is pending begins.
    fn settle(&mut self, now: Moment) {
        if self.closing.is_some() || self.exchange.ending().is_none() {
            return;
        }
        self.closing = Some(now + self.limits.grace);
        if self.exchange.session.role() == Role::Client {
            // Nobody is there any more to answer us, and our answers are of no use.
            self.pending.clear();
        }
    }

    /// Is it over, now that reading is?
    fn ended(&mut self, now: Moment) -> Option<Result<()>> {
        let deadline = self.closing?;
        let Ending { error, on_our_wish } = self.exchange.ending()?.clone();
        let said_all = self.exchange.out.unwritten() == 0;
        // After an error, what is pending is not waited for.
        let done = error.is_some() || self.pending.is_empty();
        let over = done && said_all || now >= deadline;
        if !over {
            return None;
        }
        if let Some(error) = error {
            return Some(Err(error));
        }
        if on_our_wish {
            return Some(Ok(()));
        }
        let expected_more = self.exchange.expects_answers();
        match self.stream.ended() {
            Some(lost) if self.exchange.session.role() == Role::Client && expected_more => {
                Some(Err(Error::new(ErrorKind::ServerLost(lost))))
            }
            _ if expected_more => Some(Err(ProtocolError::Closed.into())),
            _ => Some(Ok(())),
        }
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
        let out = &mut self.exchange.out.bytes;
        if out.is_empty() && out.capacity() > KEEP_BYTES {
            *out = Vec::new();
        }
        if self.exchange.out.unwritten() > 0 || self.exchange.session.is_overfull() {
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
        let conversation = self.exchange.next_timeout(now);
        let stalled = self.stalled_since.map(|since| since + self.limits.stall);
        [conversation, stalled, self.closing]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Moment, context: &mut Context<'_>) {
        self.exchange.handle_timeout(now);
        if self
            .stalled_since
            .is_some_and(|since| now.since(since) >= self.limits.stall)
        {
            if self.exchange.out.unwritten() > 0 {
                self.exchange.end(
                    Some(ProtocolError::from(PeerMisbehaved::NeverReads).into()),
                    false,
                );
                // What it does not read is not waited for.
                self.exchange.out.clear();
            } else if self.exchange.session.is_overfull() {
                self.exchange.end(
                    Some(ProtocolError::from(PeerMisbehaved::TooMuchInFlight).into()),
                    false,
                );
            }
        }
        self.settle(now);
        if self.exchange.out.unwritten() > 0 || self.closing.is_some() {
            context.waker().wake_by_ref();
        }
    }
}

/// The answer to a request of the stateless era in an array of messages, which that era does not know.
pub(crate) fn in_a_batch() -> Outcome {
    let why = "Invalid request: requests of this version come one by one";
    ErrorObject::new(code::INVALID_REQUEST, why).into()
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
