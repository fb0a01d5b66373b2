//! Tasks of a server: calls that go on after they were answered with a handle. In 2025-11-25 they are part
//! of the protocol, and ask their client live; from 2026-07-28 on they are an extension, and what they ask
//! is found with them and answered by `tasks/update`.
//!
//! A task belongs to the principal whose call it was, and where nobody is told apart, to the session.
//! For everyone else it does not exist. Its number and the time that it is kept are bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use compere_proto::connection::stateless::{InputRequest, InputResponses};
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::object::RawJson;
use compere_proto::tasks::{ListTasksResult, Task, TaskStatus, relate};
use compere_proto::tools::CallToolResult;
use compere_proto::{Limits, Method};
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::driver::call::CallShared;
use crate::driver::exchange::Route;
use crate::driver::outcome::Outcome;
use crate::server::listen::Change;
use crate::server::session::{LOCAL, SessionShared};

/// How often a client is asked to look, in milliseconds.
const POLL_MILLIS: u64 = 1_000;

/// Whose a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    principal: Arc<str>,
    session: Option<u64>,
}

impl Owner {
    fn of(session: &SessionShared) -> Self {
        let nobody_in_particular = &*session.principal == LOCAL;
        Self {
            principal: session.principal.clone(),
            session: nobody_in_particular.then_some(session.id),
        }
    }
}

struct State {
    status: TaskStatus,
    message: Option<String>,
    updated: SystemTime,
    /// What `tasks/result` answers.
    result: Option<Result<CallToolResult, ErrorObject>>,
    /// What is asked and not answered yet, by key.
    questions: BTreeMap<String, (InputRequest, oneshot::Sender<RawJson>)>,
}

/// One task.
pub(crate) struct TaskEntry {
    pub(crate) id: Box<str>,
    owner: Owner,
    created: SystemTime,
    until: Instant,
    ttl: Duration,
    state: Mutex<State>,
    changed: Notify,
    call: OnceLock<Arc<CallShared>>,
    session: Arc<SessionShared>,
    /// It is the extension's: its client looks, or listens.
    is_extension: bool,
    /// Where its questions go: to whoever waits for its result, else where everything goes.
    route: AtomicU64,
}

/// All tasks of a server.
#[derive(Default)]
pub(crate) struct Tasks {
    all: Mutex<HashMap<Box<str>, Arc<TaskEntry>>>,
}

/// A name that nobody can guess.
fn new_id() -> Option<Box<str>> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .inspect_err(|error| tracing::error!(%error, "no randomness for a task id"))
        .ok()?;
    Some(format!("{:032x}", u128::from_le_bytes(bytes)).into())
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<TaskEntry>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new task of this session. It is kept for as long as was asked for, within the bound.
    pub(crate) fn create(
        &self,
        session: &Arc<SessionShared>,
        wanted: Option<u64>,
        is_extension: bool,
        limits: &Limits,
    ) -> Result<Arc<TaskEntry>, ErrorObject> {
        let owner = Owner::of(session);
        let mut all = self.lock();
        let now = Instant::now();
        all.retain(|_, task| {
            let over = task.until <= now;
            if over {
                task.abandon();
            }
            !over
        });
        if all.values().filter(|task| task.owner == owner).count() >= limits.tasks {
            return Err(ErrorObject::limit("tasks", limits.tasks));
        }
        let ttl = wanted.map_or(limits.task_ttl, |millis| {
            Duration::from_millis(millis).min(limits.task_ttl)
        });
        let created = SystemTime::now();
        let task = Arc::new(TaskEntry {
            id: new_id().ok_or_else(ErrorObject::internal)?,
            owner,
            created,
            until: now + ttl,
            ttl,
            state: Mutex::new(State {
                status: TaskStatus::Working,
                message: None,
                updated: created,
                result: None,
                questions: BTreeMap::new(),
            }),
            changed: Notify::new(),
            call: OnceLock::new(),
            session: session.clone(),
            is_extension,
            route: AtomicU64::new(Route::GENERAL.0),
        });
        tracing::debug!(task = &*task.id, session = session.id, "a task is made");
        all.insert(task.id.clone(), task.clone());
        Ok(task)
    }

    /// The task with this id, if it is the session's to see.
    pub(crate) fn find(
        &self,
        session: &SessionShared,
        id: &str,
    ) -> Result<Arc<TaskEntry>, ErrorObject> {
        let owner = Owner::of(session);
        let task = self.lock().get(id).cloned();
        task.filter(|task| task.owner == owner && task.until > Instant::now())
            .ok_or_else(|| {
                ErrorObject::invalid_params("There is no such task; it may have expired")
            })
    }

    /// A page of the session's tasks, oldest first; a cursor is the id of the last one shown.
    pub(crate) fn page(
        &self,
        session: &SessionShared,
        cursor: Option<&str>,
        size: usize,
    ) -> Result<ListTasksResult, ErrorObject> {
        let owner = Owner::of(session);
        let now = Instant::now();
        let mut own: Vec<Arc<TaskEntry>> = self
            .lock()
            .values()
            .filter(|task| task.owner == owner && task.until > now)
            .cloned()
            .collect();
        own.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        let start = match cursor {
            None => 0,
            Some(last) => own
                .iter()
                .position(|task| *task.id == *last)
                .map(|place| place + 1)
                .ok_or_else(|| ErrorObject::invalid_params("Invalid cursor"))?,
        };
        let page: Vec<Task> = own
            .iter()
            .skip(start)
            .take(size)
            .map(|task| task.task())
            .collect();
        let mut result = ListTasksResult::new();
        if start + page.len() < own.len() {
            result.next_cursor = page.last().map(|task| task.task_id.clone());
        }
        result.tasks = page;
        Ok(result)
    }

    /// A session that nobody can come back to is over: its tasks are withdrawn.
    pub(crate) fn session_ended(&self, session: &SessionShared) {
        let owner = Owner::of(session);
        if owner.session.is_none() {
            return;
        }
        self.lock().retain(|_, task| {
            let own = task.owner == owner;
            if own {
                task.abandon();
            }
            !own
        });
    }
}

impl TaskEntry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call that works on it.
    pub(crate) fn belongs_to(&self, call: Arc<CallShared>) {
        let _ = self.call.set(call);
    }

    /// The task as it stands.
    pub(crate) fn task(&self) -> Task {
        let state = self.lock();
        let mut task = Task::new(
            &*self.id,
            state.status,
            iso8601(self.created),
            iso8601(state.updated),
            u64::try_from(self.ttl.as_millis()).ok(),
        );
        task.status_message.clone_from(&state.message);
        task.poll_interval = Some(POLL_MILLIS);
        task
    }

    /// Moves to another state, unless it is in a final one; whether it moved.
    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        {
            let mut state = self.lock();
            if state.status.is_final() {
                return false;
            }
            change(&mut state);
            state.updated = SystemTime::now();
        }
        self.changed.notify_waiters();
        let task = self.task();
        tracing::debug!(task = &*self.id, status = %task.status, "a task has changed");
        match self.is_extension {
            true => {
                let change = Change::Task(self.id.to_string());
                self.session.core.publish(&change);
            }
            false => self.session.peer.notify(Method::TasksStatus, Some(&task)),
        }
        true
    }

    /// It waits for its requestor, or goes on.
    pub(crate) fn asks(&self, asks: bool) {
        let status = match asks {
            true => TaskStatus::InputRequired,
            false => TaskStatus::Working,
        };
        self.change(|state| state.status = status);
    }

    /// The call has an outcome.
    pub(crate) fn finish(&self, outcome: Option<Outcome>) {
        if let Some(call) = self.call.get() {
            call.finish();
        }
        let result = match outcome {
            Some(Outcome::CallTool(result)) => Ok(result),
            Some(Outcome::Error(error)) => Err(error),
            _ => Err(ErrorObject::internal()),
        };
        let message = match &result {
            Ok(result) if result.failed() => Some(result.joined_text()),
            Ok(_) => None,
            Err(error) => Some(error.message.to_string()),
        };
        // A tool that failed has a result, says the extension.
        let is_result = self.is_extension && result.is_ok();
        self.change(|state| {
            state.questions.clear();
            state.status = match message {
                Some(_) if !is_result => TaskStatus::Failed,
                Some(_) => TaskStatus::Completed,
                None => TaskStatus::Completed,
            };
            state.message = message.map(|message| message.chars().take(200).collect());
            state.result = Some(result);
        });
    }

    /// Its requestor withdraws it; an error if it is over already.
    pub(crate) fn cancel(&self) -> Result<Task, ErrorObject> {
        let moved = self.change(|state| {
            state.status = TaskStatus::Cancelled;
            state.message = Some("cancelled".to_owned());
            state.result = Some(Err(ErrorObject::invalid_params("The task was cancelled")));
        });
        if !moved {
            let status = self.lock().status;
            return Err(ErrorObject::invalid_params(format!(
                "The task is {status} already and cannot be cancelled"
            )));
        }
        self.abandon();
        Ok(self.task())
    }

    /// Asks whoever looks, and waits for the answer. `None` if nobody is to answer any more.
    pub(crate) async fn ask(&self, key: &str, question: InputRequest) -> Option<RawJson> {
        let (answer, answered) = oneshot::channel();
        self.change(|state| {
            state.questions.insert(key.to_owned(), (question, answer));
            state.status = TaskStatus::InputRequired;
        });
        answered.await.ok()
    }

    /// Takes answers; those to nothing that is asked are ignored.
    pub(crate) fn answer(&self, answers: InputResponses) {
        let mut given = Vec::new();
        self.change(|state| {
            for (key, answer) in answers {
                if let Some((_, waiting)) = state.questions.remove(&key) {
                    given.push((waiting, answer));
                }
            }
            if state.questions.is_empty() && state.status == TaskStatus::InputRequired {
                state.status = TaskStatus::Working;
            }
        });
        for (waiting, answer) in given {
            let _ = waiting.send(answer);
        }
    }

    /// The task as the extension shows it; with everything that belongs to where it stands.
    pub(crate) fn shown(&self, detailed: bool) -> Value {
        let state = self.lock();
        let mut shown = json!({
            "taskId": &*self.id,
            "status": state.status,
            "createdAt": iso8601(self.created),
            "lastUpdatedAt": iso8601(state.updated),
            "ttlMs": u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            "pollIntervalMs": POLL_MILLIS,
        });
        if let Some(message) = &state.message {
            shown["statusMessage"] = json!(message);
        }
        if !detailed {
            return shown;
        }
        match (state.status, &state.result) {
            (TaskStatus::InputRequired, _) => {
                let asked = state.questions.iter();
                shown["inputRequests"] = asked
                    .map(|(key, (question, _))| (key.clone(), json!(question)))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
            (TaskStatus::Completed, Some(Ok(result))) => {
                shown["result"] = json!(result);
                shown["result"]["resultType"] = json!("complete");
            }
            (TaskStatus::Failed, Some(Err(error))) => shown["error"] = json!(error),
            _ => {}
        }
        shown
    }

    /// Nobody wants it any more.
    fn abandon(&self) {
        if let Some(call) = self.call.get() {
            call.cancel();
        }
    }

    /// Where its questions go now.
    pub(crate) fn route(&self) -> Route {
        Route(self.route.load(Ordering::Relaxed))
    }

    /// Waits until it is over and gives exactly what the call would have given. Meanwhile what it
    /// asks goes where this is waited for.
    pub(crate) async fn result(self: Arc<Self>, route: Route) -> Outcome {
        let _here = Routed::new(&self, route);
        loop {
            let changed = self.changed.notified();
            let result = self.lock().result.clone();
            match result {
                None => changed.await,
                Some(Ok(mut result)) => {
                    relate(&mut result.meta, &self.id);
                    return Outcome::CallTool(result);
                }
                Some(Err(error)) => return Outcome::Error(error),
            }
        }
    }
}

/// While this lives, the questions of a task go to one route.
struct Routed<'a> {
    task: &'a TaskEntry,
    route: Route,
}

impl<'a> Routed<'a> {
    fn new(task: &'a TaskEntry, route: Route) -> Self {
        task.route.store(route.0, Ordering::Relaxed);
        Self { task, route }
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        let general = Route::GENERAL.0;
        // Somebody else may wait by now.
        let _ = self.task.route.compare_exchange(
            self.route.0,
            general,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// A moment as ISO 8601 in UTC, to the millisecond.
pub(crate) fn iso8601(moment: SystemTime) -> String {
    let since = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years are counted from March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        let at = |seconds: u64| iso8601(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_763_812_800), "2025-11-22T12:00:00.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }
}
