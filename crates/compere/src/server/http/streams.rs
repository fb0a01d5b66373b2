//! The event streams of one session, and the events that are kept for clients that come back.
//!
//! Events of all streams stand in one ring, in the order of their ids; each stream knows up to
//! which id it was taken. A stream has at most one reader that takes from it. What happens to a
//! slow reader: events that it has still to take may go beyond the bound of the ring. A stream of
//! which half of `Limits::outbox_bytes` waits gets no more notifications, only answers; if all
//! streams of the session together have more than `Limits::outbox_bytes` to be taken, the one whose
//! events are oldest loses them and ends. Other streams notice nothing.
//!
//! This file does no I/O and takes no locks; the session does.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use compere_proto::Limits;

use crate::driver::exchange::{Outlet, Route};
use crate::server::http::shared::{Payload, Sink};

/// The answer to the message that is being handled; it is no event.
pub(crate) const REPLY: Route = Route(u64::MAX);

/// The id of an event: its stream, and its place among all events of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) stream: u64,
    pub(crate) event: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.event)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, event) = text.split_once('-').ok_or(())?;
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(stream) || !digits(event) {
            return Err(());
        }
        Ok(Self {
            stream: stream.parse().map_err(|_| ())?,
            event: event.parse().map_err(|_| ())?,
        })
    }
}

/// Why a client cannot come back to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// There never was such a stream or event.
    Unknown,
    /// Events after that one are no longer kept.
    Evicted,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Next {
    /// An event, as it goes over the wire.
    Event(Bytes),
    /// The whole answer; no event was needed.
    Answer(Vec<u8>),
    /// The server lets go; the client is to come back after this time.
    Released(Duration),
    /// The rest is in the shared store.
    Stored,
    /// Nothing comes any more.
    End,
}

struct Event {
    id: u64,
    stream: u64,
    frame: Bytes,
}

struct Waiting {
    reader: u64,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Stream {
    /// Every event up to here was handed to a reader.
    taken: u64,
    /// The id that the stream begins with, if nobody was told it yet: from there a client gets all.
    primer: Option<u64>,
    /// Bytes of the events after that.
    untaken: usize,
    /// Events up to here are no longer kept.
    evicted: u64,
    /// The one in front takes; the others wait for it to leave.
    readers: VecDeque<Waiting>,
    /// The reader in front wants the whole answer, and turns to events when one comes first.
    wants_answer: bool,
    answer: Option<Vec<u8>>,
    /// A reader was given the id of an event: a client can come back.
    known: bool,
    /// Its events are in the shared store, and are read there.
    stored: bool,
    ended: bool,
    released: Option<Duration>,
}

/// All event streams of one session.
pub(crate) struct Streams {
    limits: Arc<Limits>,
    last_stream: u64,
    reply: Vec<u8>,
    /// Made when first something is said.
    ring: Option<Box<Ring>>,
    /// Where events go instead, if several instances share them.
    sink: Option<Box<Sink>>,
}

/// The streams that there are, and their events.
struct Ring {
    streams: HashMap<u64, Stream>,
    events: VecDeque<Event>,
    bytes: usize,
    last_event: u64,
    last_reader: u64,
    scratch: Vec<u8>,
    max_events: usize,
    max_bytes: usize,
    max_untaken: usize,
    sink: Option<Sink>,
}

impl Streams {
    pub(crate) fn new(limits: Arc<Limits>, sink: Option<Sink>) -> Self {
        Self {
            limits,
            last_stream: 0,
            reply: Vec::new(),
            ring: None,
            sink: sink.map(Box::new),
        }
    }

    fn ring(&mut self) -> &mut Ring {
        self.ring
            .get_or_insert_with(|| Box::new(Ring::new(&self.limits, self.sink.as_deref())))
    }

    /// A number for the stream of one request. It costs nothing until something is said on it.
    pub(crate) fn next_route(&mut self) -> Route {
        self.last_stream += 1;
        Route(self.last_stream)
    }

    /// The answer to the message that was just handled.
    pub(crate) fn take_reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reply)
    }

    /// Removes a stream on which nothing was said; whether it was so.
    pub(crate) fn forget_if_silent(&mut self, route: Route) -> bool {
        let ring = self.ring.as_mut();
        ring.is_none_or(|ring| ring.forget_if_silent(route))
    }

    /// Is anyone reading?
    pub(crate) fn has_readers(&self) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.has_readers())
    }

    /// A reader of a stream, behind those that read it already. One that `wants_answer` gets the
    /// answer alone if it comes before any event.
    pub(crate) fn read(&mut self, route: Route, wants_answer: bool) -> u64 {
        self.ring().read(route, wants_answer)
    }

    /// A reader that comes back and wants what follows an event. It takes the place of those that
    /// read this stream: they are connections that the client has given up.
    pub(crate) fn resume(&mut self, after: EventId) -> Result<u64, Gone> {
        if after.stream > self.last_stream {
            return Err(Gone::Unknown);
        }
        self.ring().resume(after)
    }

    /// An id to begin with, so that the client can come back before it has seen an event. `None`
    /// if one is not needed: the next event is there already and has an id of its own.
    pub(crate) fn prime(&mut self, route: Route) -> Option<EventId> {
        self.ring().prime(route)
    }

    /// A reader that waited for the whole answer turns to events.
    pub(crate) fn turn_to_events(&mut self, route: Route) {
        let shared = self.sink.is_some();
        if let Some(stream) = self.ring().streams.get_mut(&route.0) {
            stream.wants_answer = false;
            stream.stored = shared;
        }
    }

    /// Does this reader still wait for the answer alone?
    pub(crate) fn wants_answer(&self, route: Route, reader: u64) -> bool {
        let ring = self.ring.as_ref();
        ring.is_some_and(|ring| ring.wants_answer(route, reader))
    }

    /// What comes next for this reader.
    pub(crate) fn poll_next(
        &mut self,
        route: Route,
        reader: u64,
        context: &mut Context<'_>,
    ) -> Poll<Next> {
        self.ring().poll_next(route, reader, context)
    }

    /// A reader is gone.
    pub(crate) fn leave(&mut self, route: Route, reader: u64) {
        self.ring().leave(route, reader);
    }

    /// The last word on a stream.
    pub(crate) fn finish(&mut self, route: Route, answer: Vec<u8>) {
        self.ring().finish(route, answer);
    }

    /// A stream is over without an answer.
    pub(crate) fn end(&mut self, route: Route) {
        self.ring().end(route);
    }

    /// Ends all streams.
    pub(crate) fn end_all(&mut self) {
        for stream in self
            .ring
            .iter_mut()
            .flat_map(|ring| ring.streams.values_mut())
        {
            stream.ended = true;
            stream.wake_all();
        }
    }
}

impl Ring {
    fn new(limits: &Limits, sink: Option<&Sink>) -> Self {
        Self {
            sink: sink.cloned(),
            streams: HashMap::new(),
            events: VecDeque::new(),
            bytes: 0,
            last_event: 0,
            last_reader: 0,
            scratch: Vec::new(),
            max_events: limits.ring_events,
            max_bytes: limits.ring_bytes,
            max_untaken: limits.outbox_bytes,
        }
    }

    fn forget_if_silent(&mut self, route: Route) -> bool {
        let stored = self
            .streams
            .get(&route.0)
            .is_some_and(|stream| stream.stored);
        let silent = !stored
            && self.events.iter().all(|event| event.stream != route.0)
            && self
                .streams
                .get(&route.0)
                .is_none_or(|stream| stream.released.is_none());
        if silent {
            self.streams.remove(&route.0);
        }
        silent
    }

    fn has_readers(&self) -> bool {
        self.streams
            .values()
            .any(|stream| !stream.readers.is_empty())
    }

    fn new_reader(&mut self) -> u64 {
        self.last_reader += 1;
        self.last_reader
    }

    fn stream(&mut self, route: Route) -> &mut Stream {
        let last_event = &mut self.last_event;
        self.streams.entry(route.0).or_insert_with(|| {
            *last_event += 1;
            Stream {
                primer: Some(*last_event),
                ..Stream::default()
            }
        })
    }

    fn read(&mut self, route: Route, wants_answer: bool) -> u64 {
        let reader = self.new_reader();
        let stream = self.stream(route);
        stream.wants_answer = wants_answer;
        stream.taken = stream.taken.max(stream.evicted);
        stream.readers.push_back(Waiting {
            reader,
            waker: None,
        });
        reader
    }

    fn resume(&mut self, after: EventId) -> Result<u64, Gone> {
        if after.event > self.last_event {
            return Err(Gone::Unknown);
        }
        let reader = self.new_reader();
        let Some(stream) = self.streams.get_mut(&after.stream) else {
            return Err(Gone::Evicted);
        };
        if after.event < stream.evicted {
            return Err(Gone::Evicted);
        }
        stream.wake_all();
        stream.readers.clear();
        stream.taken = after.event;
        let again = self
            .events
            .iter()
            .filter(|event| event.stream == after.stream && event.id > after.event);
        stream.untaken = again.map(|event| event.frame.len()).sum();
        stream.wants_answer = false;
        stream.released = None;
        stream.readers.push_back(Waiting {
            reader,
            waker: None,
        });
        Ok(reader)
    }

    fn prime(&mut self, route: Route) -> Option<EventId> {
        let stream = self.stream(route);
        let event = match stream.primer.take() {
            Some(primer) => primer,
            None => {
                let taken = stream.taken;
                let waits = |event: &Event| event.stream == route.0 && event.id > taken;
                if self.events.iter().any(waits) {
                    return None;
                }
                self.last_event += 1;
                self.last_event
            }
        };
        let stream = self.stream(route);
        stream.known = true;
        stream.taken = stream.taken.max(event);
        Some(EventId {
            stream: route.0,
            event,
        })
    }

    fn poll_next(&mut self, route: Route, reader: u64, context: &mut Context<'_>) -> Poll<Next> {
        let Some(stream) = self.streams.get_mut(&route.0) else {
            return Poll::Ready(Next::End);
        };
        let Some(place) = stream
            .readers
            .iter()
            .position(|waiting| waiting.reader == reader)
        else {
            return Poll::Ready(Next::End);
        };
        if place == 0 {
            if let Some(answer) = stream.answer.take() {
                self.streams.remove(&route.0);
                return Poll::Ready(Next::Answer(answer));
            }
            if stream.stored {
                return Poll::Ready(Next::Stored);
            }
            if stream.taken < stream.evicted {
                return Poll::Ready(Next::End);
            }
            let from = self
                .events
                .partition_point(|event| event.id <= stream.taken);
            if let Some(event) = self
                .events
                .range(from..)
                .find(|event| event.stream == route.0)
            {
                stream.taken = event.id;
                stream.untaken = stream.untaken.saturating_sub(event.frame.len());
                stream.known = true;
                return Poll::Ready(Next::Event(event.frame.clone()));
            }
            if stream.ended {
                return Poll::Ready(Next::End);
            }
            if let Some(retry) = stream.released.take() {
                stream.readers.pop_front();
                return Poll::Ready(Next::Released(retry));
            }
        }
        if let Some(waiting) = stream.readers.get_mut(place) {
            match &mut waiting.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => waiting.waker = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }

    fn leave(&mut self, route: Route, reader: u64) {
        let Some(stream) = self.streams.get_mut(&route.0) else {
            return;
        };
        stream.readers.retain(|waiting| waiting.reader != reader);
        stream.wake_first();
        if stream.readers.is_empty() && !stream.known && route != Route::GENERAL {
            // Nobody can ever ask for the rest: the client knows no event of this stream.
            if stream.ended {
                self.forget(route);
            }
        }
        self.evict();
    }

    fn finish(&mut self, route: Route, answer: Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&route.0) else {
            return;
        };
        if let Some(sink) = self.sink.as_ref().filter(|_| stream.stored) {
            sink.push(route.0, Payload::Message(answer.into()));
            sink.push(route.0, Payload::End);
            self.streams.remove(&route.0);
            return;
        }
        stream.ended = true;
        if stream.wants_answer && !stream.readers.is_empty() {
            stream.answer = Some(answer);
            stream.wake_first();
            return;
        }
        if stream.readers.is_empty() && !stream.known {
            tracing::debug!("a client left before it knew of an event: its answer is dropped");
            self.forget(route);
            return;
        }
        self.scratch = answer;
        self.commit(route);
    }

    fn forget(&mut self, route: Route) {
        self.streams.remove(&route.0);
        self.events.retain(|event| event.stream != route.0);
        self.bytes = self.events.iter().map(|event| event.frame.len()).sum();
    }

    fn wants_answer(&self, route: Route, reader: u64) -> bool {
        self.streams.get(&route.0).is_some_and(|stream| {
            stream.wants_answer
                && stream
                    .readers
                    .front()
                    .is_some_and(|first| first.reader == reader)
        })
    }

    fn end(&mut self, route: Route) {
        if let Some(stream) = self.streams.get_mut(&route.0) {
            stream.ended = true;
            stream.wake_all();
            if let Some(sink) = self.sink.as_ref().filter(|_| stream.stored) {
                sink.push(route.0, Payload::End);
                self.streams.remove(&route.0);
            }
        }
    }

    fn commit(&mut self, route: Route) {
        let message = std::mem::take(&mut self.scratch);
        self.stream(route);
        if let Some(sink) = &self.sink {
            sink.push(route.0, Payload::Message(message.into()));
            let stream = self.stream(route);
            stream.stored = true;
            stream.wants_answer = false;
            stream.wake_first();
            return;
        }
        self.last_event += 1;
        let id = EventId {
            stream: route.0,
            event: self.last_event,
        };
        let frame = Bytes::from(frame(Some(&id), &message));
        let bytes = frame.len();
        self.bytes += bytes;
        self.events.push_back(Event {
            id: id.event,
            stream: id.stream,
            frame,
        });
        let stream = self.stream(route);
        stream.untaken += bytes;
        stream.wants_answer = false;
        stream.wake_first();
        self.evict();
    }

    fn is_backed_up(&self, route: Route) -> bool {
        self.streams.get(&route.0).is_some_and(|stream| {
            !stream.readers.is_empty() && stream.untaken > self.max_untaken / 2
        })
    }

    fn evict(&mut self) {
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            let Some(event) = self.events.front() else {
                return;
            };
            let Some(stream) = self.streams.get_mut(&event.stream) else {
                self.pop_event();
                continue;
            };
            let untaken = event.id > stream.taken;
            if untaken && !stream.readers.is_empty() && self.bytes <= self.max_untaken {
                return;
            }
            // One event is kept whatever its size: the answer that a client may come back for.
            if untaken && self.events.len() == 1 {
                return;
            }
            stream.evicted = event.id;
            if untaken {
                stream.untaken = stream.untaken.saturating_sub(event.frame.len());
            }
            if untaken && !stream.readers.is_empty() {
                tracing::warn!("a client reads too slowly: its stream ends");
                stream.wake_all();
            }
            self.pop_event();
        }
        // Streams that ended and of which nothing is kept cannot be asked for any more.
        if self.streams.len() > self.max_events {
            let events = &self.events;
            self.streams.retain(|number, stream| {
                !stream.ended
                    || !stream.readers.is_empty()
                    || events.iter().any(|event| event.stream == *number)
            });
        }
    }

    fn pop_event(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.frame.len();
        }
    }
}

impl Stream {
    fn wake_first(&mut self) {
        if let Some(waker) = self
            .readers
            .front_mut()
            .and_then(|first| first.waker.take())
        {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        for waiting in &mut self.readers {
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Outlet for Streams {
    fn buffer(&mut self, route: Route) -> &mut Vec<u8> {
        if route == REPLY {
            &mut self.reply
        } else {
            &mut self.ring().scratch
        }
    }

    fn commit(&mut self, route: Route) {
        if route != REPLY {
            self.ring().commit(route);
        }
    }

    fn is_backed_up(&self, route: Route) -> bool {
        if let Some(sink) = &self.sink {
            return sink.is_backed_up(&self.limits);
        }
        let ring = self.ring.as_ref();
        ring.is_some_and(|ring| ring.is_backed_up(route))
    }

    fn release(&mut self, route: Route, retry: Duration) {
        if self.sink.is_some() {
            let stream = self.ring().stream(route);
            stream.stored = true;
            stream.wants_answer = false;
            stream.wake_first();
            if let Some(sink) = &self.sink {
                sink.push(route.0, Payload::Release(retry));
            }
            return;
        }
        let stream = self.ring.as_mut();
        let stream = stream.and_then(|ring| ring.streams.get_mut(&route.0));
        if let Some(stream) = stream.filter(|stream| !stream.readers.is_empty()) {
            stream.wants_answer = false;
            stream.released = Some(retry);
            stream.wake_first();
        }
    }
}

/// One message as an event.
pub(crate) fn frame(id: Option<&dyn fmt::Display>, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 48);
    if let Some(id) = id {
        frame.extend_from_slice(b"id: ");
        frame.extend_from_slice(id.to_string().as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"event: message\ndata: ");
    frame.extend_from_slice(message);
    frame.extend_from_slice(b"\n\n");
    frame
}
