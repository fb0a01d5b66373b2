//! A task whose handler runs in this instance.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use compere_proto::connection::stateless::InputRequest;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::object::RawJson;
use compere_proto::tasks::{Task, TaskStatus};
use tokio::time::Instant;

use crate::driver::call::{self, CallShared, Work};
use crate::driver::exchange::Route;
use crate::driver::outcome::Outcome;
use crate::server::session::SessionShared;
use crate::server::tasks::record::Record;
use crate::server::tasks::{Place, StoreError, Watched, failed, notify};

/// How long to wait at first before a store that failed is tried again, and at last.
const RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

/// A task that is worked on here.
pub(crate) struct RunningTask {
    pub(crate) id: Box<str>,
    pub(super) session: Arc<SessionShared>,
    place: Place,
    watched: Arc<Watched>,
    ttl: Duration,
    /// The call that works on it. It knows this task, which therefore must not hold it.
    call: Mutex<Weak<CallShared>>,
    /// It is the extension's: its client looks, or listens.
    is_extension: bool,
    /// The keys of everything that it has asked: none is used twice, since who answers may take the same
    /// key for the same question.
    asked: Mutex<HashSet<String>>,
    /// Its client was told that it is cancelled.
    told_cancelled: AtomicBool,
    /// Where its questions go: to whoever waits for its result, else where everything goes.
    pub(super) route: AtomicU64,
}

/// A name that nobody can guess.
fn new_id() -> Option<Box<str>> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .inspect_err(|error| tracing::error!(%error, "no randomness for a task id"))
        .ok()?;
    Some(format!("{:032x}", u128::from_le_bytes(bytes)).into())
}

impl RunningTask {
    /// A new task of this session, kept nowhere yet: for as long as is wanted, within the bound.
    pub(crate) fn new(
        session: &Arc<SessionShared>,
        wanted: Option<u64>,
        is_extension: bool,
    ) -> Result<Arc<Self>, ErrorObject> {
        let id = new_id().ok_or_else(ErrorObject::internal)?;
        let most = session.core.options.limits.task_ttl;
        let place = Place::of(session);
        let task = Arc::new(Self {
            watched: place.watch(&id),
            id,
            session: session.clone(),
            place,
            ttl: wanted.map_or(most, |millis| Duration::from_millis(millis).min(most)),
            call: Mutex::default(),
            is_extension,
            asked: Mutex::default(),
            told_cancelled: AtomicBool::new(false),
            route: AtomicU64::new(Route::GENERAL.0),
        });
        let _ = task.watched.running.set(Arc::downgrade(&task));
        Ok(task)
    }

    /// Keeps it, and lets its handler run on by itself. An error if there are too many already, or the
    /// store fails: then the handler is not run.
    pub(crate) async fn start(
        self: Arc<Self>,
        work: Work,
        call: Arc<CallShared>,
    ) -> Result<Record, ErrorObject> {
        let record = self.keep().await?;
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&call);
        let grace = self.session.core.options.limits.grace;
        let until = Instant::now() + self.ttl;
        tokio::spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = call::run(work, call.clone(), grace) => outcome,
                () = self.attend(until, &call) => None,
            };
            call.finish();
            self.finish(outcome, until).await;
        });
        Ok(record)
    }

    /// Keeps it as one that has come to its end already.
    pub(crate) async fn end(self: Arc<Self>, outcome: Outcome) -> Result<Record, ErrorObject> {
        let record = self.keep().await?;
        let until = Instant::now() + self.ttl;
        self.finish(Some(outcome), until).await;
        Ok(record)
    }

    async fn keep(&self) -> Result<Record, ErrorObject> {
        let Place { store, owner, .. } = &self.place;
        let limits = &self.session.core.options.limits;
        let mut record = Record::new(self.ttl);
        if self.place.is_shared {
            record.worked_on_for(limits.task_lease);
        }
        let written = record
            .written()
            .map_err(|error| failed(StoreError::new(error)))?;
        let added = store.add(owner, &self.id, written, self.ttl, limits.tasks);
        if !added.await.map_err(failed)? {
            return Err(ErrorObject::limit("tasks", limits.tasks));
        }
        tracing::debug!(
            task = &*self.id,
            session = self.session.id,
            "a task is made"
        );
        Ok(record)
    }

    /// Says that somebody works on it, for as long as that is so, and withdraws the call when nobody wants
    /// it any more. Never ready.
    async fn attend(&self, until: Instant, call: &CallShared) {
        let end = tokio::time::sleep_until(until);
        tokio::pin!(end);
        if self.place.is_shared {
            let lease = self.session.core.options.limits.task_lease;
            let mut renewals = tokio::time::interval((lease / 3).max(Duration::from_millis(1)));
            renewals.reset();
            loop {
                let woken = self.watched.changed.notified();
                let known = tokio::select! {
                    () = &mut end => break,
                    () = self.place.changed(woken) => self.place.get(&self.id).await.map(|found| {
                        found.map(|(_, record)| record)
                    }),
                    _ = renewals.tick() => self.renew(lease).await,
                };
                match known {
                    Ok(Some(record)) if record.status == TaskStatus::Cancelled => {
                        self.is_cancelled(&record.task(&self.id, self.place.poll()));
                        break;
                    }
                    Ok(Some(record)) if !record.status.is_final() => {}
                    // It has come to its end by itself, is forgotten, or was given up.
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(task = &*self.id, %error, "the store of tasks failed");
                    }
                }
            }
        } else {
            end.await;
        }
        call.cancel();
        std::future::pending::<()>().await;
    }

    async fn renew(&self, lease: Duration) -> Result<Option<Record>, StoreError> {
        let renew = |record: &mut Record| {
            record.worked_on_for(lease);
            true
        };
        let renewed = self.place.alter(&self.id, renew).await?;
        Ok(renewed.map(|(record, _)| record))
    }

    /// Changes it and tells everyone; what it is then. `None` if it is forgotten.
    async fn change(
        &self,
        change: impl FnMut(&mut Record) -> bool,
    ) -> Result<Option<Record>, StoreError> {
        let changed = self.place.change(&self.id, change).await?;
        let Some((record, is_new)) = changed else {
            return Ok(None);
        };
        if is_new && !self.is_extension {
            notify(&self.session, &record.task(&self.id, self.place.poll()));
        }
        Ok(Some(record))
    }

    /// It waits for its requestor, or goes on.
    pub(crate) async fn asks(&self, asks: bool) {
        let status = match asks {
            true => TaskStatus::InputRequired,
            false => TaskStatus::Working,
        };
        let changed = self.change(|record| {
            record.status = status;
            true
        });
        if let Err(error) = changed.await {
            tracing::warn!(task = &*self.id, %error, "it cannot be shown what a task waits for");
        }
    }

    /// The call has an outcome, which is kept as soon as the store can.
    async fn finish(&self, outcome: Option<Outcome>, until: Instant) {
        let outcome = match outcome {
            Some(Outcome::CallTool(result)) => Ok(result),
            Some(Outcome::Error(error)) => Err(error),
            _ => Err(ErrorObject::internal()),
        };
        let [mut wait, most] = RETRIES;
        loop {
            let finished = self.change(|record| {
                record.finished(outcome.clone(), self.is_extension);
                true
            });
            let Err(error) = finished.await else { break };
            tracing::error!(task = &*self.id, %error, "the outcome of a task cannot be kept");
            if Instant::now() + wait > until {
                break;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(most);
        }
        // Who waits for one that is forgotten is to learn that.
        self.place.core.tasks.woken(&self.id);
    }

    /// A key that nothing was asked by.
    fn new_key(&self, wanted: &str) -> String {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = wanted.to_owned();
        let mut number = 1;
        while !asked.insert(key.clone()) {
            number += 1;
            key = format!("{wanted} {number}");
        }
        key
    }

    /// Asks whoever looks, and waits for the answer. `None` if nobody is to answer any more.
    pub(crate) async fn ask(
        &self,
        key: &str,
        question: InputRequest,
    ) -> Result<Option<RawJson>, ErrorObject> {
        let key = &self.new_key(key);
        let asked = self.change(|record| {
            record.ask(key, question.clone());
            true
        });
        let asked = asked.await.map_err(failed)?;
        if asked.is_none_or(|record| record.status.is_final()) {
            return Ok(None);
        }
        loop {
            let woken = self.watched.changed.notified();
            let mut answer = None;
            let taken = self.place.alter(&self.id, |record| {
                answer = record.take_answer(key);
                answer.is_some()
            });
            match taken.await {
                Ok(Some((_, true))) => return Ok(answer),
                Ok(Some((record, false))) if !record.status.is_final() => {}
                Ok(_) => return Ok(None),
                // It may come back.
                Err(error) => tracing::warn!(task = &*self.id, %error, "no answer can be read"),
            }
            self.place.changed(woken).await;
        }
    }

    /// It was cancelled, here or elsewhere.
    pub(super) fn is_cancelled(&self, task: &Task) {
        self.abandon();
        if !self.is_extension && !self.told_cancelled.swap(true, Ordering::AcqRel) {
            notify(&self.session, task);
        }
    }

    /// Nobody wants it any more.
    pub(super) fn abandon(&self) {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = call.upgrade() {
            call.cancel();
        }
    }

    /// Where its questions go now.
    pub(crate) fn route(&self) -> Route {
        Route(self.route.load(Ordering::Relaxed))
    }
}
