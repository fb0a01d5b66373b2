//! One received request while a handler works on it: its cancellation, its progress, its
//! questions. Shared between the handler's context and the driver.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::connection::progress_gate::ProgressGate;
use compere_proto::connection::stateless::{CacheHint, InputRequired};
use compere_proto::jsonrpc::{ErrorObject, ProgressToken};
use compere_proto::object::RawJson;
use compere_proto::tools::CallToolResult;
use compere_proto::trace::TraceContext;
use tokio::sync::Notify;

use crate::driver::outcome::Outcome;
use crate::driver::peer::Peer;
use crate::server::input::Input;
use crate::server::listen::Subscription;
use crate::server::reply::ToolError;
use crate::server::tasks::running::RunningTask;

/// A boxed future of a handler.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a handler and the driver share about one request.
pub(crate) struct CallShared {
    pub(crate) peer: Peer,
    pub(crate) token: Option<ProgressToken>,
    pub(crate) input: Option<Box<Input>>,
    /// The task that this call is worked on as.
    pub(crate) task: Option<Arc<RunningTask>>,
    /// The task of the extension that it has become.
    extension_task: OnceLock<Arc<RunningTask>>,
    /// What it listens for, if that is what it is for.
    listener: OnceLock<Arc<Subscription>>,
    /// The trace that it belongs to.
    pub(crate) trace: OnceLock<Box<TraceContext>>,
    /// How long what it reads may be kept.
    pub(crate) kept: OnceLock<CacheHint>,
    /// Results of effects that happen once.
    once: Mutex<BTreeMap<String, RawJson>>,
    gate: Mutex<ProgressGate>,
    finished: AtomicBool,
    cancelled: AtomicBool,
    cancellation: Notify,
}

impl CallShared {
    pub(crate) fn new(
        peer: Peer,
        token: Option<ProgressToken>,
        input: Option<Box<Input>>,
        task: Option<Arc<RunningTask>>,
    ) -> Self {
        let gate = Mutex::new(ProgressGate::new(&peer.limits));
        Self {
            peer,
            token,
            input,
            task,
            extension_task: OnceLock::new(),
            listener: OnceLock::new(),
            trace: OnceLock::new(),
            kept: OnceLock::new(),
            once: Mutex::default(),
            gate,
            finished: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            cancellation: Notify::new(),
        }
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, ProgressGate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is worked on as a task, and was answered with that.
    pub(crate) fn become_task(&self, task: Arc<RunningTask>) {
        let _ = self.extension_task.set(task);
    }

    /// The task of the extension that it has become.
    pub(crate) fn extension_task(&self) -> Option<&Arc<RunningTask>> {
        self.extension_task.get()
    }

    /// This call only listens.
    pub(crate) fn listen(&self, listener: Arc<Subscription>) {
        let _ = self.listener.set(listener);
    }

    /// A call that only listens is over in good order.
    pub(crate) fn stop_listening(&self) {
        if let Some(listener) = self.listener.get() {
            listener.end();
        }
    }

    /// The result of an effect that has happened.
    pub(crate) fn happened(&self, key: &str) -> Option<RawJson> {
        let once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        once.get(key).cloned()
    }

    pub(crate) fn remember(&self, key: &str, result: RawJson) {
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        once.insert(key.to_owned(), result);
    }

    /// The answer is on its way: no progress after it.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub(crate) fn cancel(&self) {
        self.finish();
        self.cancelled.store(true, Ordering::Release);
        self.cancellation.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) async fn cancelled(&self) {
        loop {
            let notified = self.cancellation.notified();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }

    fn take_questions(&self) -> Option<Outcome> {
        self.input.as_ref()?.take_questions().map(asked)
    }

    /// The error, or the questions that it is.
    pub(crate) fn pages_or(&self, error: ErrorObject) -> Outcome {
        let input = self.input.as_ref();
        match input.and_then(|input| input.pages_first(&error)) {
            Some(questions) => asked(questions),
            None => Outcome::Error(error),
        }
    }
}

fn asked(questions: Result<InputRequired, ErrorObject>) -> Outcome {
    match questions {
        Ok(required) => Outcome::InputRequired(required),
        Err(error) => Outcome::Error(error),
    }
}

/// The future of a handler. Tools keep theirs as it is, so that it is boxed only once.
pub(crate) enum Handling {
    Tool(BoxFuture<Result<CallToolResult, ToolError>>),
    Other(BoxFuture<Outcome>),
}

impl Handling {
    fn poll(&mut self, context: &mut Context<'_>, name: &str) -> Poll<Outcome> {
        match self {
            Self::Tool(future) => future.as_mut().poll(context).map(|result| match result {
                Ok(result) => Outcome::CallTool(result),
                Err(error) => error.into_tool_outcome(name),
            }),
            Self::Other(future) => future.as_mut().poll(context),
        }
    }
}

/// A handler's future behind the panic boundary.
pub(crate) struct Work {
    pub(crate) handling: Handling,
    /// For log lines.
    pub(crate) name: Arc<str>,
}

impl Work {
    /// Polls the handler once. A panic becomes an error; a handler that waits for input of a
    /// stateless client is over, and its questions are the answer.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        call: Option<&CallShared>,
    ) -> Poll<Outcome> {
        let Self { handling, name } = self;
        match catch_unwind(AssertUnwindSafe(|| handling.poll(context, name))) {
            Ok(Poll::Ready(Outcome::Error(error))) => Poll::Ready(match call {
                Some(call) => call.pages_or(error),
                None => Outcome::Error(error),
            }),
            Ok(Poll::Ready(outcome)) => Poll::Ready(outcome),
            Ok(Poll::Pending) => match call.and_then(CallShared::take_questions) {
                Some(questions) => Poll::Ready(questions),
                None => Poll::Pending,
            },
            Err(panic) => Poll::Ready(panicked(&self.name, panic.as_ref())),
        }
    }
}

/// The outcome of a handler that panicked. The peer learns nothing of the inside.
pub(crate) fn panicked(name: &str, panic: &(dyn Any + Send)) -> Outcome {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(handler = name, panic = message, "a handler panicked");
    Outcome::Error(ErrorObject::internal())
}

/// Drives a handler to its end, or to the end of its grace once it is cancelled.
pub(crate) async fn run(mut work: Work, call: Arc<CallShared>, grace: Duration) -> Option<Outcome> {
    let dropped = async {
        call.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        outcome = std::future::poll_fn(|context| work.poll(context, Some(&call))) => Some(outcome),
        () = dropped => {
            tracing::debug!(handler = &*work.name, "a cancelled handler was dropped");
            None
        }
    }
}
