//! What several instances of a server share, so that a load balancer may send a request to any of
//! them: events for clients that come back, which instance holds a session, and letters between
//! instances. Implement the three traits over what you have; [`MemoryStore`] implements them for
//! services of one process.
//!
//! A session lives in the instance that began it. Another instance that gets a message for it sends
//! the message there as a letter; what the session says is read by whichever instance has the
//! client, out of the event store. Without any of this, which is the default, each session keeps its
//! events itself.
//!
//! Nothing here assumes one process: names, events and letters are text and bytes, and ids are
//! given by the store. The contract of the traits is a test suite (`compere-testkit`, `stores`),
//! which runs over memory and over Redis.

pub mod memory;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

pub use crate::server::http::store::memory::MemoryStore;
pub use crate::server::soon::{Soon, StoreError};

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// There never was such an event.
    Unknown,
    /// What followed the event is no longer kept.
    Evicted,
    /// The store failed.
    Failed(StoreError),
}

/// The id of an event, given by the store: letters, digits and `-`, at most 64 of them. Ids of one
/// stream differ; nothing else is known of them.
pub type EventId = Box<str>;

/// Where to begin to read a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// At its first event; [`ReadError::Evicted`] if that is no longer kept.
    Beginning,
    /// At the oldest event that is kept.
    Oldest,
    /// Behind this event.
    After(&'a str),
}

/// Events of streams, kept for clients that come back.
pub trait EventStore: Send + Sync + 'static {
    /// Adds an event to a stream of a session and gives its id. One stream is appended to by one
    /// instance, one event after the other. At least the newest events of a session are kept, as
    /// many as the store was made for; older ones may go.
    fn append(
        &self,
        session: &str,
        stream: &str,
        event: Bytes,
    ) -> Soon<Result<EventId, StoreError>>;

    /// Reads a stream: first what is kept, then what comes, each once and in order. A stream that
    /// nobody appended to yet has a beginning too.
    fn read(
        &self,
        session: &str,
        stream: &str,
        start: Start<'_>,
    ) -> Soon<Result<Box<dyn EventReader>, ReadError>>;

    /// Drops all events of a session, which is over: whoever reads it gets an error, now and later.
    fn forget(&self, session: &str) -> Soon<Result<(), StoreError>>;
}

/// A stream while it is read. Dropping it ends the reading.
pub trait EventReader: Send {
    /// The next event. An error is the end.
    fn poll_next(&mut self, context: &mut Context<'_>)
    -> Poll<Result<(EventId, Bytes), ReadError>>;
}

/// Small values by name, that expire: which instance holds a session, who reads its stream.
pub trait SessionStore: Send + Sync + 'static {
    /// Puts a value in place, whatever was there.
    fn put(&self, key: &str, value: Bytes, expires: Duration) -> Soon<Result<(), StoreError>>;

    /// The value, unless it expired.
    fn get(&self, key: &str) -> Soon<Result<Option<Bytes>, StoreError>>;

    /// Removes a value if it is this one; whether it was.
    fn remove(&self, key: &str, value: Bytes) -> Soon<Result<bool, StoreError>>;
}

/// Letters to instances.
pub trait Mailbox: Send + Sync + 'static {
    /// Leaves a letter for an instance. Letters of one sender arrive in their order, each once.
    fn send(&self, to: &str, letter: Bytes) -> Soon<Result<(), StoreError>>;

    /// The letters for an instance, those that came before included. One reader at a time.
    fn receive(&self, at: &str) -> Box<dyn LetterReader>;
}

/// The letters of an instance while they are read.
pub trait LetterReader: Send {
    /// The next letter. After an error it may be asked again.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, StoreError>>;
}

/// The stores of one server, as all its instances know them.
#[derive(Clone)]
pub struct Shared {
    pub(crate) events: Arc<dyn EventStore>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) mailbox: Arc<dyn Mailbox>,
}

impl Shared {
    /// Three stores, which may be one.
    pub fn new(
        events: Arc<dyn EventStore>,
        sessions: Arc<dyn SessionStore>,
        mailbox: Arc<dyn Mailbox>,
    ) -> Self {
        Self {
            events,
            sessions,
            mailbox,
        }
    }

    /// The events.
    pub fn events(&self) -> &Arc<dyn EventStore> {
        &self.events
    }

    /// The sessions.
    pub fn sessions(&self) -> &Arc<dyn SessionStore> {
        &self.sessions
    }

    /// The letters.
    pub fn mailbox(&self) -> &Arc<dyn Mailbox> {
        &self.mailbox
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
