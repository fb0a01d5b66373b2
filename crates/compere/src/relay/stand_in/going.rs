//! A request of a client without a session, as it goes on for the session that stands in for it: what is
//! asked meanwhile, what it came to, and who waits for it now.
//!
//! It outlives the request that began it: while the client looks for answers nobody waits, and the next
//! round of the same request finds it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use compere_proto::Error as ProtocolError;
use compere_proto::connection::stateless::InputRequest;
use compere_proto::jsonrpc::ErrorObject;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::driver::call::{CallShared, Work};
use crate::driver::outbox::Waiter;
use crate::driver::outcome::Outcome;
use crate::error::Error;
use crate::server::input::{Input, Known};

/// One request that goes on.
pub(super) struct Going {
    /// May its client be asked for it?
    pub(super) may_ask: bool,
    state: Mutex<State>,
    /// Something came: a question, or the outcome.
    pub(super) told: Notify,
    work: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct State {
    /// The request that waits for it.
    waits: Option<Weak<CallShared>>,
    questions: BTreeMap<i64, Question>,
    outcome: Option<Outcome>,
}

struct Question {
    asked: InputRequest,
    waiter: Waiter,
}

/// What there is for the request that waits.
pub(super) enum Step {
    /// It is done.
    Done(Outcome),
    /// The client is to be asked first.
    Asks,
    /// Nothing yet.
    Nothing,
}

impl Going {
    pub(super) fn new(may_ask: bool, waits: Option<&Arc<CallShared>>) -> Arc<Self> {
        Arc::new(Self {
            may_ask,
            state: Mutex::new(State {
                waits: waits.map(Arc::downgrade),
                ..State::default()
            }),
            told: Notify::new(),
            work: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the work go on by itself, whether somebody waits or not.
    pub(super) fn work(self: &Arc<Self>, mut work: Work) {
        let going = self.clone();
        let task = tokio::spawn(async move {
            let outcome = std::future::poll_fn(|context| work.poll(context, None)).await;
            going.lock().outcome = Some(outcome);
            going.told.notify_waiters();
        });
        let _ = self.work.set(task.abort_handle());
    }

    /// Another round of the request waits for it from now on.
    pub(super) fn waits(&self, call: &Arc<CallShared>) {
        self.lock().waits = Some(Arc::downgrade(call));
    }

    /// The request that waits for it, if one does.
    pub(super) fn waiting(&self) -> Option<Arc<CallShared>> {
        self.lock().waits.as_ref().and_then(Weak::upgrade)
    }

    /// Whoever answers wants to know something of the client.
    pub(super) fn ask(&self, id: i64, asked: InputRequest, waiter: Waiter) {
        let question = Question { asked, waiter };
        self.lock().questions.insert(id, question);
        self.told.notify_waiters();
    }

    /// What it came to, once.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    /// A question is not asked any more.
    pub(super) fn withdraw(&self, id: i64) {
        self.lock().questions.remove(&id);
    }

    /// Hands over the answers that the client has brought, and asks for those that it has not.
    pub(super) fn step(&self, input: &Input) -> Step {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome.take() {
            return Step::Done(outcome);
        }
        let mut answers = Vec::new();
        let mut asks = false;
        let over = input.rounds_over();
        let mut refused = Vec::new();
        for (id, question) in &state.questions {
            let key = format!("question {id}");
            match input.known(&key, &question.asked) {
                Known::Answer { answer, .. } => answers.push((*id, answer)),
                // One that asks on and on is told so: what it does besides may still come to something.
                Known::Nothing | Known::Changed if over.is_some() => refused.push(*id),
                Known::Nothing | Known::Changed => {
                    input.ask(&key, question.asked.clone());
                    asks = true;
                }
            }
        }
        for (id, answer) in answers {
            if let Some(question) = state.questions.remove(&id) {
                let _ = question.waiter.reply.send(Ok(answer.get().into()));
            }
        }
        for (id, limit) in refused.into_iter().zip(over.into_iter().cycle()) {
            if let Some(question) = state.questions.remove(&id) {
                let refusal = ErrorObject::limit("input_rounds", limit);
                let error = ProtocolError::Refused(refusal);
                let _ = question.waiter.reply.send(Err(error.into()));
            }
        }
        match asks {
            true => Step::Asks,
            false => Step::Nothing,
        }
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, error: &Error) {
        if let Some(work) = self.work.get() {
            work.abort();
        }
        let questions = std::mem::take(&mut self.lock().questions);
        for question in questions.into_values() {
            let _ = question.waiter.reply.send(Err(error.clone()));
        }
        self.told.notify_waiters();
    }
}
