//! What is known of the era of a server: found out when a client connects, and worth keeping.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use compere_proto::connection::discovery::Discovered;
use tokio::time::Instant;

/// How long a verdict is kept unless something else is said. A server that learns the newer era goes on
/// to answer in the older one, so that a wrong verdict would never be noticed.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// So many servers are remembered; then those whose time is over are forgotten, else all.
const SERVERS: usize = 1_024;

/// The era of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It begins with `initialize`.
    Handshake,
    /// Every request stands by itself; with what the server says of itself there is nothing to ask.
    Stateless(Box<Discovered>),
}

/// Remembers the eras of servers, so that each is asked once only. Clones share the memory.
#[derive(Clone)]
pub struct EraMemory {
    known: Arc<Mutex<HashMap<String, (Verdict, Instant)>>>,
    kept: Duration,
}

impl EraMemory {
    /// A memory that keeps a verdict for an hour.
    pub fn new() -> Self {
        Self::keeping(KEPT)
    }

    /// A memory that keeps a verdict for so long.
    pub fn keeping(kept: Duration) -> Self {
        Self {
            known: Arc::default(),
            kept,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Verdict, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a server, by the name that its target has.
    pub fn get(&self, server: &str) -> Option<Verdict> {
        let mut known = self.lock();
        match known.get(server) {
            Some((verdict, until)) if *until > Instant::now() => Some(verdict.clone()),
            Some(_) => {
                known.remove(server);
                None
            }
            None => None,
        }
    }

    /// Keeps what was found out.
    pub fn set(&self, server: impl Into<String>, verdict: Verdict) {
        let mut known = self.lock();
        let now = Instant::now();
        if known.len() >= SERVERS {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() >= SERVERS {
            known.clear();
        }
        known.insert(server.into(), (verdict, now + self.kept));
    }

    /// It has proven wrong.
    pub fn forget(&self, server: &str) {
        self.lock().remove(server);
    }
}

impl Default for EraMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EraMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EraMemory")
            .field("servers", &self.lock().len())
            .finish_non_exhaustive()
    }
}
