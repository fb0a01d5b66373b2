//! One call of a tool, and its result.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::Method;
use compere_proto::elicitation::UrlElicitation;
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::object::{Meta, RawJson};
use compere_proto::progress::ProgressParams;
use compere_proto::tasks::{CreateTaskResult, TaskMetadata};
use compere_proto::tools::{CallToolParams, ListToolsResult};
use compere_proto::trace::TraceContext;
use serde::Serialize;

use crate::client::answer::Answering;
use crate::client::list::List;
use crate::client::output::ToolOutput;
use crate::client::promises::Promises;
use crate::client::rounds::{self, RoundOptions};
use crate::client::task::TaskHandle;
use crate::client::tasks;
use crate::driver::outbox::OnProgress;
use crate::driver::peer::{Peer, PendingRequest, RequestOptions};
use crate::error::{Error, Result};

/// A call that is about to be made: await it, after setting what is unusual.
///
/// If the tools were listed before, structured content is held against the schema that the tool
/// promised; what does not fit is an error.
///
/// Cancel safety: dropping the future withdraws the call; whether the tool had its effect by then
/// is unknown.
#[must_use = "a call is made when it is awaited"]
pub struct CallTool {
    peer: Peer,
    name: String,
    arguments: Result<RawJson, String>,
    options: RequestOptions,
    promises: Arc<Promises>,
    answering: Answering,
    /// Worked on as a task, and kept for so long.
    task: Option<Option<Duration>>,
    trace: Option<TraceContext>,
}

impl CallTool {
    pub(crate) fn new(
        peer: Peer,
        promises: Arc<Promises>,
        answering: Answering,
        name: String,
        arguments: &impl Serialize,
    ) -> Self {
        Self {
            peer,
            promises,
            answering,
            name,
            arguments: RawJson::from_value(arguments).map_err(|error| error.to_string()),
            options: RequestOptions::default(),
            task: None,
            trace: None,
        }
    }

    /// How long the server may say nothing, neither result nor progress.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(Some(timeout));
        self
    }

    /// Waits for ever.
    pub fn no_timeout(mut self) -> Self {
        self.options.timeout = Some(None);
        self
    }

    /// Asks for progress and calls this with each. It runs inside the connection: be quick.
    pub fn on_progress(mut self, on_progress: impl FnMut(ProgressParams) + Send + 'static) -> Self {
        self.options.on_progress = Some(Box::new(on_progress) as OnProgress);
        self
    }

    /// Says which trace the call belongs to.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Has the call worked on as a task, kept for at most so long; awaiting it waits for the result all
    /// the same. A tool that was listed and must be called so is, without this. Only in 2025-11-25: later
    /// the server decides.
    pub fn as_task(mut self, keep: Option<Duration>) -> Self {
        self.task = Some(keep);
        self
    }

    /// Makes a task of the call and gives the handle on it at once. In 2025-11-25 progress is heard
    /// while a handle lives. From 2026-07-28 on the server decides whether to make a task, after it has
    /// asked what it wants to know first; if it makes none, the handle has its result.
    ///
    /// Fails if the server, the tool or the revision has no tasks, and from 2026-07-28 on if the client does
    /// not say that it can deal with them ([`ClientBuilder::tasks`](crate::client::ClientBuilder::tasks)).
    ///
    /// Cancel safety: dropping the future withdraws the call; whether a task was made by then is
    /// unknown.
    pub async fn start(mut self) -> Result<TaskHandle> {
        if self.peer.is_stateless() {
            return self.start_in_rounds().await;
        }
        self.task.get_or_insert(None);
        self.options.hears_on = true;
        let peer = self.peer.clone();
        let hears = self.options.on_progress.is_some();
        let sent = self.send()?;
        let hearing = hears.then(|| sent.hearing()).flatten();
        let result: CreateTaskResult = sent.decode(Method::ToolsCall).await?;
        Ok(TaskHandle::new(peer, result.task.task_id, hearing))
    }

    fn has_tasks(&self) -> bool {
        let agreed = self.peer.agreed.get();
        agreed.is_some_and(|agreed| {
            agreed.revision.rules().tasks && agreed.server_capabilities.takes_tool_tasks()
        })
    }

    fn send(self) -> Result<PendingRequest> {
        let has_tasks = self.has_tasks();
        let arguments = self
            .arguments
            .map_err(|why| Error::from(compere_proto::Error::from(Misuse::NotSerializable(why))))?;
        let wants_progress = self.options.on_progress.is_some();
        let mut params = CallToolParams::new(self.name.as_str());
        if arguments.get() != "null" {
            params.arguments = Some(arguments);
        }
        if let Some(keep) = self.task {
            if !has_tasks {
                let why = "the server has no tasks in this revision".to_owned();
                return Err(compere_proto::Error::from(Misuse::Other(why)).into());
            }
            let mut wish = TaskMetadata::new();
            wish.ttl = keep.and_then(|keep| u64::try_from(keep.as_millis()).ok());
            params.task = Some(Box::new(wish));
        }
        let trace = self.trace;
        Ok(self.peer.request(Method::ToolsCall, self.options, |id| {
            let mut meta = Meta::default();
            if wants_progress {
                meta = Meta::with_progress_token(id);
            }
            if let Some(trace) = trace {
                trace.write(&mut meta);
            }
            params.meta = (!meta.is_empty()).then(|| Box::new(meta));
            Some(params)
        }))
    }

    async fn call(self) -> Result<ToolOutput> {
        let pages = self.answering.pages.clone();
        let output = self.outcome().await;
        if let Some(refusal) = output.as_ref().err().and_then(Error::refusal) {
            for page in UrlElicitation::required(refusal) {
                pages.expect(&page.elicitation_id);
            }
        }
        output
    }

    async fn outcome(mut self) -> Result<ToolOutput> {
        if self.task.is_none() && self.promises.is_only_a_task(&self.name) && self.has_tasks() {
            self.task = Some(None);
        }
        let (name, peer) = (self.name.clone(), self.peer.clone());
        let promises = self.promises.clone();
        let output = match self.task {
            _ if peer.is_stateless() => self.in_rounds().await?,
            None => ToolOutput(self.send()?.decode(Method::ToolsCall).await?),
            Some(_) => {
                let handle = self.start().await?;
                let mut withdrawn = Withdrawn(Some(handle.clone()));
                let output = handle.result().await;
                withdrawn.0 = None;
                output?
            }
        };
        let mut kept = promises.check(&name, &output, &peer.limits);
        if kept.is_err() && peer.is_stateless() {
            // Nobody may have told us that the promise is another one now.
            let (learns, limits) = (promises.clone(), peer.limits.clone());
            let tools = List::seen_by::<ListToolsResult>(peer.clone(), None, move |tools| {
                learns.learn(tools, &limits);
            });
            if tools.collect().await.is_ok() {
                kept = promises.check(&name, &output, &peer.limits);
            }
        }
        match kept {
            Ok(()) => Ok(output),
            Err(why) => {
                let why = format!("structuredContent: {why}");
                let fault = PeerMisbehaved::ResultDoesNotFit(Method::ToolsCall, why);
                Err(compere_proto::Error::from(fault).into())
            }
        }
    }
}

impl CallTool {
    /// The call to a server that may answer it with questions.
    async fn in_rounds(self) -> Result<ToolOutput> {
        let method = Method::ToolsCall;
        let params = self.params()?;
        let options = RoundOptions {
            timeout: self.options.timeout,
            on_progress: self.options.on_progress,
            ..RoundOptions::default()
        };
        let result = rounds::send(&self.peer, &self.answering, method, &params, options).await?;
        ToolOutput::read(&result)
    }

    /// The same, up to the task that it becomes.
    async fn start_in_rounds(self) -> Result<TaskHandle> {
        if !self.answering.handlers.tasks {
            let why = "the client does not say that it can deal with tasks: ClientBuilder::tasks";
            return Err(compere_proto::Error::from(Misuse::Other(why.to_owned())).into());
        }
        let params = self.params()?;
        let options = RoundOptions {
            timeout: self.options.timeout,
            on_progress: self.options.on_progress,
            takes_task: true,
            ..RoundOptions::default()
        };
        let method = Method::ToolsCall;
        let result = rounds::send(&self.peer, &self.answering, method, &params, options).await?;
        match tasks::made(&result)? {
            Some(id) => Ok(TaskHandle::of_extension(self.peer, id, self.answering)),
            None => Ok(TaskHandle::done(self.peer, result)),
        }
    }

    fn params(&self) -> Result<String> {
        let unwritable =
            |why| Error::from(compere_proto::Error::from(Misuse::NotSerializable(why)));
        let arguments = self.arguments.clone().map_err(unwritable)?;
        let mut params = CallToolParams::new(self.name.as_str());
        if arguments.get() != "null" {
            params.arguments = Some(arguments);
        }
        if let Some(trace) = &self.trace {
            trace.write(params.meta.get_or_insert_default());
        }
        serde_json::to_string(&params).map_err(|error| unwritable(error.to_string()))
    }
}

/// A task that is withdrawn when nobody waits for it any more.
struct Withdrawn(Option<TaskHandle>);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abandon();
        }
    }
}

impl IntoFuture for CallTool {
    type Output = Result<ToolOutput>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<ToolOutput>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.call())
    }
}
