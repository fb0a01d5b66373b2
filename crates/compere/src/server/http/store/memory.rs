//! The stores in memory, for several services of one process. What is kept of a session is bounded;
//! so is a reader, since it takes its events from there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use compere_proto::Limits;
use tokio::time::Instant;

use crate::server::http::store::{
    EventId, EventReader, EventStore, LetterReader, Mailbox, ReadError, SessionStore, Shared, Soon,
    Start, StoreError,
};

/// The stores of services in one process. Clones are the same stores.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    events: usize,
    bytes: usize,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Box<str>, Kept>,
    values: HashMap<Box<str>, (Bytes, Instant)>,
    letters: HashMap<Box<str>, Letters>,
    /// Values are looked through for expired ones when there are this many.
    sweep_at: usize,
}

/// The events of a session, oldest first.
#[derive(Default)]
struct Kept {
    last: u64,
    bytes: usize,
    events: VecDeque<Kind>,
    streams: HashMap<Box<str>, Stream>,
    /// Gone with the session; readers look whether it still is there.
    life: Arc<()>,
}

struct Kind {
    stream: Box<str>,
    id: u64,
    event: Bytes,
}

#[derive(Default)]
struct Stream {
    last: u64,
    evicted: u64,
    readers: Vec<Waker>,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Bytes>,
    reader: Option<Waker>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let limits = Limits::default();
        Self::bounded(limits.ring_events, limits.ring_bytes)
    }
}

impl MemoryStore {
    /// Keeps at most so many events and bytes of each session.
    pub fn bounded(events: usize, bytes: usize) -> Self {
        Self {
            state: Arc::default(),
            events: events.max(1),
            bytes,
        }
    }

    /// All three stores in this one.
    pub fn shared(&self) -> Shared {
        let this = Arc::new(self.clone());
        Shared::new(this.clone(), this.clone(), this)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl State {
    fn kept(&mut self, session: &str) -> &mut Kept {
        self.sessions.entry(session.into()).or_default()
    }
}

impl Kept {
    fn append(&mut self, stream: &str, event: Bytes, store: &MemoryStore) -> u64 {
        self.last += 1;
        let id = self.last;
        self.bytes += event.len();
        self.events.push_back(Kind {
            stream: stream.into(),
            id,
            event,
        });
        let stream = self.streams.entry(stream.into()).or_default();
        stream.last = id;
        for reader in stream.readers.drain(..) {
            reader.wake();
        }
        // The newest stays, whatever its size.
        while self.events.len() > store.events || self.bytes > store.bytes && self.events.len() > 1
        {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.event.len();
            if let Some(stream) = self.streams.get_mut(&oldest.stream) {
                stream.evicted = oldest.id;
            }
        }
        // What nobody reads and of which nothing is kept is remembered for a while only.
        if self.streams.len() > store.events * 2 {
            let events = &self.events;
            self.streams.retain(|name, stream| {
                !stream.readers.is_empty() || events.iter().any(|event| event.stream == *name)
            });
        }
        id
    }
}

impl EventStore for MemoryStore {
    fn append(
        &self,
        session: &str,
        stream: &str,
        event: Bytes,
    ) -> Soon<Result<EventId, StoreError>> {
        let id = self.lock().kept(session).append(stream, event, self);
        Soon::now(Ok(id.to_string().into()))
    }

    fn read(
        &self,
        session: &str,
        stream: &str,
        start: Start<'_>,
    ) -> Soon<Result<Box<dyn EventReader>, ReadError>> {
        let mut state = self.lock();
        let kept = state.kept(session);
        let known = kept.streams.get(stream);
        let after = match start {
            Start::Beginning => 0,
            Start::Oldest => known.map_or(0, |known| known.evicted),
            Start::After(after) => match after.parse() {
                Ok(after) => after,
                Err(_) => return Soon::now(Err(ReadError::Unknown)),
            },
        };
        let found = match known {
            Some(known) if after > known.last => Err(ReadError::Unknown),
            Some(known) if after < known.evicted => Err(ReadError::Evicted),
            None if after > 0 => Err(ReadError::Evicted),
            _ => Ok(Box::new(Reading {
                store: self.clone(),
                session: session.into(),
                stream: stream.into(),
                after,
                life: Arc::downgrade(&kept.life),
            }) as _),
        };
        Soon::now(found)
    }

    fn forget(&self, session: &str) -> Soon<Result<(), StoreError>> {
        let kept = self.lock().sessions.remove(session);
        let streams = kept.into_iter().flat_map(|kept| kept.streams.into_values());
        for reader in streams.flat_map(|stream| stream.readers) {
            reader.wake();
        }
        Soon::now(Ok(()))
    }
}

struct Reading {
    store: MemoryStore,
    session: Box<str>,
    stream: Box<str>,
    after: u64,
    life: Weak<()>,
}

impl EventReader for Reading {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(EventId, Bytes), ReadError>> {
        let mut state = self.store.lock();
        let kept = state.sessions.get_mut(&self.session);
        let Some(kept) = kept.filter(|_| self.life.strong_count() > 0) else {
            return Poll::Ready(Err(ReadError::Evicted));
        };
        let stream = kept.streams.entry(self.stream.clone()).or_default();
        if self.after < stream.evicted {
            return Poll::Ready(Err(ReadError::Evicted));
        }
        let from = kept.events.partition_point(|event| event.id <= self.after);
        let next = kept.events.range(from..);
        match next.into_iter().find(|event| event.stream == self.stream) {
            Some(event) => {
                self.after = event.id;
                Poll::Ready(Ok((event.id.to_string().into(), event.event.clone())))
            }
            None => {
                let waker = context.waker();
                if !stream.readers.iter().any(|known| known.will_wake(waker)) {
                    stream.readers.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }
}

/// How many values there are before the expired ones are looked for.
const SWEEP: usize = 1_024;

impl SessionStore for MemoryStore {
    fn put(&self, key: &str, value: Bytes, expires: Duration) -> Soon<Result<(), StoreError>> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.values.len() >= state.sweep_at.max(SWEEP) {
            state.values.retain(|_, (_, until)| *until > now);
            state.sweep_at = state.values.len() * 2;
        }
        state.values.insert(key.into(), (value, now + expires));
        Soon::now(Ok(()))
    }

    fn get(&self, key: &str) -> Soon<Result<Option<Bytes>, StoreError>> {
        let now = Instant::now();
        let state = self.lock();
        let value = state.values.get(key).filter(|(_, until)| *until > now);
        Soon::now(Ok(value.map(|(value, _)| value.clone())))
    }

    fn remove(&self, key: &str, value: Bytes) -> Soon<Result<bool, StoreError>> {
        let now = Instant::now();
        let mut state = self.lock();
        let is_this = state
            .values
            .get(key)
            .is_some_and(|(there, until)| *there == value && *until > now);
        if is_this {
            state.values.remove(key);
        }
        Soon::now(Ok(is_this))
    }
}

impl Mailbox for MemoryStore {
    fn send(&self, to: &str, letter: Bytes) -> Soon<Result<(), StoreError>> {
        let mut state = self.lock();
        let letters = state.letters.entry(to.into()).or_default();
        letters.waiting.push_back(letter);
        if let Some(reader) = letters.reader.take() {
            reader.wake();
        }
        Soon::now(Ok(()))
    }

    fn receive(&self, at: &str) -> Box<dyn LetterReader> {
        Box::new(Post {
            store: self.clone(),
            at: at.into(),
        })
    }
}

struct Post {
    store: MemoryStore,
    at: Box<str>,
}

impl LetterReader for Post {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, StoreError>> {
        let mut state = self.store.lock();
        let letters = state.letters.entry(self.at.clone()).or_default();
        match letters.waiting.pop_front() {
            Some(letter) => Poll::Ready(Ok(letter)),
            None => {
                letters.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        if state
            .letters
            .get(&self.at)
            .is_some_and(|letters| letters.waiting.is_empty())
        {
            state.letters.remove(&self.at);
        }
    }
}
