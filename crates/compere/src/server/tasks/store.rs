//! Where tasks are kept. [`MemoryTasks`] keeps them in the process that works on them, which is the
//! default; implement [`TaskStore`] over what several instances of a server share, and each of them
//! answers for all tasks: how they stand, what they ask, their results, and that they are withdrawn.
//!
//! A task is worked on in the instance where it began. That one says from time to time that it still
//! does ([`Limits::task_lease`](crate::Limits::task_lease)); a task of one that is gone has failed. Answers
//! and withdrawals reach it through the store: at once with an
//! [`EventBus`](crate::server::listen::EventBus), else when it next looks
//! ([`Limits::task_poll`](crate::Limits::task_poll)). The clocks of all instances must agree within the
//! lease.
//!
//! What is kept is text that only this crate reads, with the results of tools in it: as secret as they
//! are. The contract of the trait is a test suite (`compere-testkit`, `tasks`), which runs over memory and
//! over Redis.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use crate::server::soon::{Soon, StoreError};

/// A task as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTask {
    /// Its name. Names of all owners differ.
    pub id: Box<str>,
    /// Which state of it this is, given by the store: no two states of one task have the same.
    pub version: u64,
    /// Its state.
    pub state: Bytes,
}

/// Tasks by their owner and name, for a while.
///
/// An owner is any text. What one owns does not exist for another.
pub trait TaskStore: Send + Sync + 'static {
    /// Keeps a new task, and forgets it after `expires`. `false`, and nothing is kept, if its owner
    /// has `most` tasks already that are not forgotten yet.
    fn add(
        &self,
        owner: &str,
        id: &str,
        state: Bytes,
        expires: Duration,
        most: usize,
    ) -> Soon<Result<bool, StoreError>>;

    /// A task as it stands, unless it is forgotten.
    fn get(&self, owner: &str, id: &str) -> Soon<Result<Option<KeptTask>, StoreError>>;

    /// Puts another state in place of this version: `false`, and nothing changed, if the task is at
    /// another one or forgotten. When it will be forgotten stays as it was.
    fn replace(
        &self,
        owner: &str,
        id: &str,
        version: u64,
        state: Bytes,
    ) -> Soon<Result<bool, StoreError>>;

    /// The tasks of an owner in the order in which they were added, at most `most`: from the first, or
    /// from behind the one of this name. `None` if there is none of this name any more.
    fn list(
        &self,
        owner: &str,
        after: Option<&str>,
        most: usize,
    ) -> Soon<Result<Option<Vec<KeptTask>>, StoreError>>;
}

/// Tasks in memory, for services of one process. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryTasks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    owners: HashMap<Box<str>, Vec<Entry>>,
    /// When all were last looked through for what is to be forgotten.
    swept: Option<Instant>,
}

struct Entry {
    task: KeptTask,
    until: Instant,
}

/// How often all owners are looked through.
const SWEEP: Duration = Duration::from_secs(1);

impl MemoryTasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops all tasks of one owner.
    pub(crate) fn forget(&self, owner: &str) {
        self.lock().owners.remove(owner);
    }
}

impl fmt::Debug for MemoryTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryTasks")
    }
}

impl State {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.owners.retain(|_, tasks| {
            tasks.retain(|entry| entry.until > now);
            !tasks.is_empty()
        });
    }

    fn find(&mut self, owner: &str, id: &str) -> Option<&mut Entry> {
        let now = Instant::now();
        let tasks = self.owners.get_mut(owner)?;
        tasks
            .iter_mut()
            .find(|entry| *entry.task.id == *id && entry.until > now)
    }
}

impl TaskStore for MemoryTasks {
    fn add(
        &self,
        owner: &str,
        id: &str,
        state: Bytes,
        expires: Duration,
        most: usize,
    ) -> Soon<Result<bool, StoreError>> {
        let mut all = self.lock();
        let now = Instant::now();
        all.sweep(now);
        let tasks = all.owners.entry(owner.into()).or_default();
        tasks.retain(|entry| entry.until > now);
        if tasks.len() >= most {
            return Soon::now(Ok(false));
        }
        let task = KeptTask {
            id: id.into(),
            version: 0,
            state,
        };
        let until = now + expires;
        tasks.push(Entry { task, until });
        Soon::now(Ok(true))
    }

    fn get(&self, owner: &str, id: &str) -> Soon<Result<Option<KeptTask>, StoreError>> {
        let mut all = self.lock();
        Soon::now(Ok(all.find(owner, id).map(|entry| entry.task.clone())))
    }

    fn replace(
        &self,
        owner: &str,
        id: &str,
        version: u64,
        state: Bytes,
    ) -> Soon<Result<bool, StoreError>> {
        let mut all = self.lock();
        let found = all.find(owner, id).map(|entry| &mut entry.task);
        let Some(task) = found.filter(|task| task.version == version) else {
            return Soon::now(Ok(false));
        };
        task.version += 1;
        task.state = state;
        Soon::now(Ok(true))
    }

    fn list(
        &self,
        owner: &str,
        after: Option<&str>,
        most: usize,
    ) -> Soon<Result<Option<Vec<KeptTask>>, StoreError>> {
        let now = Instant::now();
        let all = self.lock();
        let tasks = all.owners.get(owner).map_or(&[][..], Vec::as_slice);
        let start = match after {
            None => 0,
            Some(after) => {
                let is_it = |entry: &Entry| *entry.task.id == *after && entry.until > now;
                match tasks.iter().position(is_it) {
                    Some(place) => place + 1,
                    None => return Soon::now(Ok(None)),
                }
            }
        };
        let page = tasks.iter().skip(start);
        let page = page.filter(|entry| entry.until > now).take(most);
        let page = page.map(|entry| entry.task.clone()).collect();
        Soon::now(Ok(Some(page)))
    }
}
