//! Which states of rounds were used up, where a tool runs only once for each
//! ([`ServerTool::single_use`](crate::ServerTool::single_use)).
//!
//! Each instance remembers its own. Instances that open each other's states
//! ([`Server::state_keys`](crate::Server::state_keys)) have to share what they know, or a state is good for once
//! in each of them: implement [`UsedStates`] over what they share. The contract is a test suite
//! (`compere-testkit`, `used_states`), which runs over memory and over Redis.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compere_proto::Limits;
use compere_proto::jsonrpc::ErrorObject;
use tokio::time::Instant;

pub use crate::server::soon::{Soon, StoreError};

/// Remembers for a while which states were used up.
pub trait UsedStates: Send + Sync + 'static {
    /// Uses a state up, by a name that no other has: `true` for whoever is first, `false` for everyone
    /// else. It may be forgotten after `expires`, when nobody takes it any more.
    fn use_up(&self, state: &str, expires: Duration) -> Soon<Result<bool, StoreError>>;
}

/// Used states in memory, for services of one process. Clones know the same.
#[derive(Clone, Default)]
pub struct MemoryUsedStates(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    until: HashMap<Box<str>, Instant>,
    /// All are looked through for what may be forgotten when there are this many.
    sweep_at: usize,
}

/// The fewest that are looked through.
const SWEEP_LEAST: usize = 1_024;

impl MemoryUsedStates {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryUsedStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryUsedStates")
    }
}

impl UsedStates for MemoryUsedStates {
    fn use_up(&self, state: &str, expires: Duration) -> Soon<Result<bool, StoreError>> {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.until.len() >= known.sweep_at {
            known.until.retain(|_, until| *until > now);
            known.sweep_at = (known.until.len() * 2).max(SWEEP_LEAST);
        }
        let is_new = known.until.get(state).is_none_or(|until| *until <= now);
        if is_new {
            known.until.insert(state.into(), now + expires);
        }
        Soon::now(Ok(is_new))
    }
}

/// The bytes of what names a sealed state.
type Mark = [u8; 24];

/// Those that this instance knows of, until they would be worth nothing anyway. Moments are milliseconds
/// since 1970.
#[derive(Default)]
pub(crate) struct UsedHere(Mutex<HashMap<Mark, u64>>);

impl UsedHere {
    /// Uses a state up; `false` if it was before.
    pub(crate) fn mark(
        &self,
        mark: Mark,
        until: u64,
        now: u64,
        limits: &Limits,
    ) -> Result<bool, ErrorObject> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains_key(&mark) {
            return Ok(false);
        }
        if used.len() >= limits.used_states {
            used.retain(|_, until| *until >= now);
        }
        if used.len() >= limits.used_states {
            return Err(ErrorObject::limit("used_states", limits.used_states));
        }
        used.insert(mark, until);
        Ok(true)
    }
}
