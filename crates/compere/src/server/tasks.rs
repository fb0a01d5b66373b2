//! Tasks of a server: calls that go on after they were answered with a handle. In 2025-11-25 they are part
//! of the protocol, and ask their client live; from 2026-07-28 on they are an extension, and what they ask
//! is found with them and answered by `tasks/update`.
//!
//! A task belongs to the principal whose call it was, and where nobody is told apart, to the session.
//! For everyone else it does not exist. Its number and the time that it is kept are bounded.
//!
//! How a task stands is in a [`TaskStore`], which other instances of the server may share; the handler that
//! works on it is here (`running.rs`). Tasks of a session without a principal are nobody else's to see, and
//! are always kept in this process.

pub(crate) mod record;
pub(crate) mod running;
pub mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use compere_proto::Method;
use compere_proto::connection::stateless::InputResponses;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::tasks::{ListTasksResult, Task, relate};
use serde_json::Value;
use tokio::sync::Notify;

use crate::driver::exchange::Route;
use crate::driver::outcome::Outcome;
use crate::server::core::ServerCore;
use crate::server::listen::Change;
use crate::server::session::{LOCAL, SessionShared};
use crate::server::tasks::record::Record;
use crate::server::tasks::running::RunningTask;
pub use crate::server::tasks::store::{KeptTask, MemoryTasks, Soon, StoreError, TaskStore};

/// How often a change is tried again that somebody else was faster with.
const ATTEMPTS: u32 = 64;

/// All tasks of a server, as one instance has them.
pub(crate) struct Tasks {
    /// Those of principals.
    kept: Arc<dyn TaskStore>,
    /// Others may work on what is kept there.
    is_shared: bool,
    /// Those of sessions.
    here: Arc<MemoryTasks>,
    /// Those that somebody of this instance works on or waits for.
    watched: Mutex<HashMap<Box<str>, Weak<Watched>>>,
}

impl Tasks {
    pub(crate) fn new(store: Option<Arc<dyn TaskStore>>) -> Self {
        Self {
            is_shared: store.is_some(),
            kept: store.unwrap_or_else(|| Arc::new(MemoryTasks::new())),
            here: Arc::default(),
            watched: Mutex::default(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Box<str>, Weak<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task has changed, here or elsewhere: whoever waits for it looks.
    pub(crate) fn woken(&self, id: &str) {
        let watched = self.watched().get(id).and_then(Weak::upgrade);
        if let Some(watched) = watched {
            watched.changed.notify_waiters();
        }
    }

    /// A session that nobody can come back to is over: its tasks are withdrawn.
    pub(crate) fn session_ended(&self, session: &SessionShared) {
        if !is_of_session(session) {
            return;
        }
        let all: Vec<_> = self.watched().values().filter_map(Weak::upgrade).collect();
        for task in all.iter().filter_map(|watched| watched.running()) {
            if task.session.id == session.id {
                task.abandon();
            }
        }
        self.here.forget(&session.id.to_string());
    }
}

/// Nobody but this session may see its tasks.
fn is_of_session(session: &SessionShared) -> bool {
    *session.principal == *LOCAL && session.id != 0
}

/// Where the tasks are that one client may see.
#[derive(Clone)]
pub(crate) struct Place {
    store: Arc<dyn TaskStore>,
    owner: Box<str>,
    is_shared: bool,
    core: Arc<ServerCore>,
}

impl Place {
    pub(crate) fn of(session: &SessionShared) -> Self {
        let core = session.core.clone();
        let tasks = &core.tasks;
        match is_of_session(session) {
            true => Self {
                store: tasks.here.clone(),
                owner: session.id.to_string().into(),
                is_shared: false,
                core,
            },
            false => Self {
                store: tasks.kept.clone(),
                owner: (&*session.principal).into(),
                is_shared: tasks.is_shared,
                core,
            },
        }
    }

    fn poll(&self) -> Duration {
        self.core.options.limits.task_poll
    }

    async fn get(&self, id: &str) -> Result<Option<(u64, Record)>, StoreError> {
        let kept = self.store.get(&self.owner, id).await?;
        kept.map(|kept| Ok((kept.version, read(&kept)?)))
            .transpose()
    }

    /// Changes a task, unless it is in a final state or the change is to none: what it is afterwards, and
    /// whether that is new. `None` if there is no such task. Nobody is told.
    async fn alter(
        &self,
        id: &str,
        mut change: impl FnMut(&mut Record) -> bool,
    ) -> Result<Option<(Record, bool)>, StoreError> {
        for _ in 0..ATTEMPTS {
            let Some((version, mut record)) = self.get(id).await? else {
                return Ok(None);
            };
            if record.status.is_final() || !change(&mut record) {
                return Ok(Some((record, false)));
            }
            let written = record.written().map_err(StoreError::new)?;
            let replaced = self.store.replace(&self.owner, id, version, written);
            if replaced.await? {
                return Ok(Some((record, true)));
            }
        }
        Err(StoreError::new("somebody else was always faster"))
    }

    /// Changes a task and wakes whoever waits for it.
    async fn change(
        &self,
        id: &str,
        mut change: impl FnMut(&mut Record) -> bool,
    ) -> Result<Option<(Record, bool)>, StoreError> {
        let changing = |record: &mut Record| {
            let changed = change(record);
            if changed {
                record.touch();
            }
            changed
        };
        let altered = self.alter(id, changing).await?;
        if let Some((record, true)) = &altered {
            tracing::debug!(task = id, status = %record.status, "a task has changed");
            self.tell(id);
        }
        Ok(altered)
    }

    /// Tells everyone who waits for the task or listens for it.
    fn tell(&self, id: &str) {
        let change = Change::Task(id.to_owned());
        match self.is_shared {
            true => {
                self.core.tasks.woken(id);
                self.core.publish(&change);
            }
            // Other instances do not know it.
            false => self.core.deliver(&change),
        }
    }

    /// The task of this name, if it is there to see.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, ErrorObject> {
        let found = self.get(id).await.map_err(failed)?;
        let (_, mut record) = found.ok_or_else(no_such_task)?;
        if record.is_orphaned() {
            let orphaned = |record: &mut Record| {
                let is_orphaned = record.is_orphaned();
                if is_orphaned {
                    record.orphaned();
                }
                is_orphaned
            };
            let changed = self.change(id, orphaned).await.map_err(failed)?;
            (record, _) = changed.ok_or_else(no_such_task)?;
        }
        Ok(Found {
            id: id.into(),
            record,
            place: self.clone(),
        })
    }

    /// A page of the tasks, oldest first; a cursor is the name of the last one shown.
    pub(crate) async fn page(
        &self,
        cursor: Option<&str>,
        size: usize,
    ) -> Result<ListTasksResult, ErrorObject> {
        let most = size.saturating_add(1);
        let listed = self.store.list(&self.owner, cursor, most).await;
        let mut listed = listed
            .map_err(failed)?
            .ok_or_else(|| ErrorObject::invalid_params("Invalid cursor"))?;
        let more = listed.len() > size;
        listed.truncate(size);
        let task = |kept: &KeptTask| {
            let mut record = read(kept).map_err(failed)?;
            if record.is_orphaned() {
                record.orphaned();
            }
            Ok(record.task(&kept.id, self.poll()))
        };
        let tasks: Result<Vec<Task>, ErrorObject> = listed.iter().map(task).collect();
        let mut result = ListTasksResult::new();
        result.tasks = tasks?;
        if more {
            result.next_cursor = result.tasks.last().map(|task| task.task_id.clone());
        }
        Ok(result)
    }

    /// Is told when this task changes.
    fn watch(&self, id: &str) -> Arc<Watched> {
        let mut all = self.core.tasks.watched();
        if let Some(known) = all.get(id).and_then(Weak::upgrade) {
            return known;
        }
        let watched = Arc::new(Watched {
            id: id.into(),
            changed: Notify::new(),
            running: OnceLock::new(),
            core: Arc::downgrade(&self.core),
        });
        all.insert(id.into(), Arc::downgrade(&watched));
        watched
    }

    /// May others change what is here?
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Waits for a change, or until it is time to look: others may change what is shared and cannot say so.
    pub(crate) async fn changed(&self, changed: impl Future<Output = ()>) {
        if !self.is_shared {
            return changed.await;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(self.poll()) => {}
        }
    }
}

fn read(kept: &KeptTask) -> Result<Record, StoreError> {
    Record::read(&kept.state).map_err(|error| {
        StoreError::new(format_args!("the task {} cannot be read: {error}", kept.id))
    })
}

/// What a client is told when the store fails.
#[allow(clippy::needless_pass_by_value)] // As `map_err` wants it.
fn failed(error: StoreError) -> ErrorObject {
    tracing::error!(%error, "the store of tasks failed");
    ErrorObject::internal()
}

fn no_such_task() -> ErrorObject {
    ErrorObject::invalid_params("There is no such task; it may have expired")
}

/// A task that somebody here works on or waits for.
pub(crate) struct Watched {
    id: Box<str>,
    changed: Notify,
    running: OnceLock<Weak<RunningTask>>,
    core: Weak<ServerCore>,
}

impl Watched {
    fn running(&self) -> Option<Arc<RunningTask>> {
        self.running.get()?.upgrade()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            let mut all = core.tasks.watched();
            // Somebody else may watch it by now.
            if all
                .get(&self.id)
                .is_some_and(|known| known.strong_count() == 0)
            {
                all.remove(&self.id);
            }
        }
    }
}

/// A task that was found.
pub(crate) struct Found {
    id: Box<str>,
    record: Record,
    place: Place,
}

impl Found {
    /// As 2025-11-25 shows it.
    pub(crate) fn task(&self) -> Task {
        self.record.task(&self.id, self.place.poll())
    }

    /// As the extension shows it, with everything that belongs to where it stands.
    pub(crate) fn shown(&self) -> Value {
        self.record.shown(&self.id, self.place.poll(), true)
    }

    /// Takes answers; those to nothing that is asked are ignored.
    pub(crate) async fn answer(&self, answers: &InputResponses) -> Result<(), ErrorObject> {
        let answer = |record: &mut Record| record.answer(answers);
        let changed = self.place.change(&self.id, answer).await;
        changed.map(drop).map_err(failed)
    }

    /// Its requestor withdraws it; an error if it is over already.
    pub(crate) async fn cancel(&self) -> Result<Task, ErrorObject> {
        let cancel = |record: &mut Record| {
            record.cancelled();
            record.touch();
            true
        };
        let altered = self.place.alter(&self.id, cancel).await.map_err(failed)?;
        let (record, is_new) = altered.ok_or_else(no_such_task)?;
        if !is_new {
            let status = record.status;
            return Err(ErrorObject::invalid_params(format!(
                "The task is {status} already and cannot be cancelled"
            )));
        }
        let task = record.task(&self.id, self.place.poll());
        if let Some(running) = self.place.watch(&self.id).running() {
            running.is_cancelled(&task);
        }
        self.place.tell(&self.id);
        Ok(task)
    }

    /// Waits until it is over and gives exactly what the call would have given. Meanwhile what it
    /// asks goes where this is waited for, if the same session asks.
    pub(crate) async fn result(self, session: u64, route: Route) -> Outcome {
        let Self { id, place, .. } = self;
        let watched = place.watch(&id);
        let running = watched
            .running()
            .filter(|running| running.session.id == session);
        let _here = running
            .as_ref()
            .map(|running| Routed::new(&running.route, route));
        loop {
            let changed = watched.changed.notified();
            let found = match place.find(&id).await {
                Ok(found) => found,
                Err(error) => return Outcome::Error(error),
            };
            match found.record.outcome() {
                None => place.changed(changed).await,
                Some(Outcome::CallTool(mut result)) => {
                    relate(&mut result.meta, &id);
                    return Outcome::CallTool(result);
                }
                Some(outcome) => return outcome,
            }
        }
    }
}

/// While this lives, the questions of a task go to one route.
struct Routed<'a> {
    place: &'a AtomicU64,
    route: Route,
}

impl<'a> Routed<'a> {
    fn new(place: &'a AtomicU64, route: Route) -> Self {
        place.store(route.0, Ordering::Relaxed);
        Self { place, route }
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        let general = Route::GENERAL.0;
        // Somebody else may wait by now.
        let (order, own) = (Ordering::Relaxed, self.route.0);
        let _ = self.place.compare_exchange(own, general, order, order);
    }
}

/// Says how a task stands to the session whose it is, in 2025-11-25.
fn notify(session: &SessionShared, task: &Task) {
    session.peer.notify(Method::TasksStatus, Some(task));
}
