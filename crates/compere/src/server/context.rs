//! What a handler can do besides returning: report progress, log, ask, notice cancellation.
//!
//! Questions carry a key. On a session they are live requests to the client; for a stateless
//! client they become the answer to its request, and the handler runs again with the answers.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::capability::{Capability, ClientCapabilities};
use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::stateless::{self, CacheScope, InputRequest};
use compere_proto::elicitation::{
    ElicitAction, ElicitParams, ElicitResult, ElicitationCompleteParams, UrlElicitation,
};
use compere_proto::error::{Misuse, PeerIncompatible, PeerMisbehaved};
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::{LogMessage, LoggingLevel};
use compere_proto::object::RawJson;
use compere_proto::pagination::Empty;
use compere_proto::roots::{ListRootsResult, Root};
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::tasks::RELATED_TASK;
use compere_proto::trace::TraceContext;
use compere_proto::wire::decode::without_position;
use compere_proto::wire::encode;
use compere_proto::wire::project::Project;
use compere_proto::{Error as ProtocolError, Limits, Method, Revision};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::call::CallShared;
use crate::driver::outbox::Item;
use crate::driver::peer::RequestOptions;
use crate::error::Result;
use crate::server::deprecated::Deprecated;
use crate::server::form::{self, Elicited};
use crate::server::handle::ServerHandle;
use crate::server::input::{Input, Known};
use crate::server::resources::hint;
use crate::server::session::{Session, SessionShared};
use crate::server::tasks::running::RunningTask;

/// The context of one call. Cheap to clone, usable from any task; after the call has been
/// answered or cancelled it does nothing any more.
#[derive(Clone)]
pub struct Context {
    call: Arc<CallShared>,
    session: Arc<SessionShared>,
}

impl Context {
    pub(crate) fn new(call: Arc<CallShared>, session: Arc<SessionShared>) -> Self {
        Self { call, session }
    }

    pub(crate) fn shared(&self) -> &Arc<CallShared> {
        &self.call
    }

    /// Reports how far the work is; it must grow with every report. Does nothing if the client did
    /// not ask for progress. Reports that come too fast are thinned out: the newest wins.
    pub fn progress(&self, progress: f64) {
        self.report(Step {
            progress,
            total: None,
            message: None,
        });
    }

    /// The same, with where it ends.
    pub fn progress_of(&self, progress: f64, total: f64) {
        self.report(Step {
            progress,
            total: Some(total),
            message: None,
        });
    }

    /// The same, with what is being done (shown from 2025-03-26 on).
    pub fn progress_with(&self, progress: f64, total: Option<f64>, message: impl Into<String>) {
        self.report(Step {
            progress,
            total,
            message: Some(message.into()),
        });
    }

    /// How long a client of 2026-07-28 may keep what this call reads, and whether others may have it too;
    /// instead of what the resource or the server says. Does nothing where no resource is read, and after the
    /// first time.
    pub fn keep(&self, fresh: Duration, scope: CacheScope) {
        let _ = self.call.kept.set(hint(fresh, scope));
    }

    /// What the client says of an extension with this request, as JSON (from 2026-07-28); `None` if it has not
    /// got it. A tool that is worth nothing without can say so with [`ToolError::missing_extension`](crate::ToolError::missing_extension).
    pub fn client_extension(&self, identifier: &str) -> Option<RawJson> {
        let input = self.call.input.as_ref()?;
        let settings = input.client_capabilities.extension(identifier)?;
        RawJson::from_text(settings).ok()
    }

    /// The trace that the call belongs to, if the client says so in the form that W3C gives it. Untrusted.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.call.trace.get().map(|trace| &**trace)
    }

    fn report(&self, step: Step) {
        if self.call.token.is_some() && !self.call.is_finished() {
            self.call.peer.outbox.push(Item::Progress {
                call: self.call.clone(),
                step,
            });
        }
    }

    /// Sends a log message, if the client wants this level. `data` is any JSON; never put secrets,
    /// personal data or internals into it.
    pub fn log(&self, level: LoggingLevel, data: impl Serialize) {
        self.log_as(None, level, data);
    }

    /// The same, with the name of the part that says so.
    pub fn log_as(&self, logger: Option<&str>, level: LoggingLevel, data: impl Serialize) {
        let input = self.call.input.as_ref();
        if input.is_some_and(|input| input.log_level.is_none_or(|least| level < least)) {
            return;
        }
        if input.is_some() {
            Deprecated::Logging.is_used();
        }
        let data = match RawJson::from_value(&data) {
            Ok(data) => data,
            Err(error) => {
                tracing::error!(%error, "a log message cannot be written");
                return;
            }
        };
        let mut params = LogMessage::new(level, data);
        params.logger = logger.map(str::to_owned);
        let mut message = Vec::new();
        if encode::notification(&mut message, Method::Message, Some(&params)).is_ok() {
            self.call.peer.outbox.push(Item::Log {
                level,
                message,
                route: self.call.peer.route,
                asked_by: input.map(|_| self.call.clone()),
            });
        }
    }

    /// Over HTTP, lets go of the connection that waits for the answer: the client comes back for
    /// the rest after `retry`. For long work, so that nobody holds a connection meanwhile. Does
    /// nothing on other transports and before 2025-11-25.
    pub fn close_event_stream(&self, retry: Duration) {
        self.call.peer.outbox.push(Item::Release {
            route: self.call.peer.route,
            retry,
        });
    }

    /// Was the request withdrawn?
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Resolves when the request is withdrawn. The handler then has a grace of
    /// [`Limits::grace`](compere_proto::Limits::grace) to clean up before it is dropped; its answer
    /// is not sent.
    ///
    /// Cancel safety: may be dropped and asked again at any time.
    pub async fn cancelled(&self) {
        self.call.cancelled().await;
    }

    /// The roots of the client. The answer is remembered until the client says that they changed.
    ///
    /// Fails if the client has no roots to tell.
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn roots(&self, key: &str) -> Result<Arc<[Root]>> {
        if self.call.input.is_some() {
            Deprecated::Roots.is_used();
            let question = Question::new(Method::RootsList, "roots");
            let result: ListRootsResult = self.ask(key, question, None::<Empty>).await?;
            return Ok(result.roots.into());
        }
        let ask = async || self.ask_live(Method::RootsList, None::<Empty>).await;
        self.session.roots(ask).await
    }

    /// Asks the client's model. A person may see, change or refuse it; there is no time limit but
    /// the one that the client sets.
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn sample(
        &self,
        key: &str,
        params: CreateMessageParams,
    ) -> Result<CreateMessageResult> {
        if params.tools.is_some() || params.tool_choice.is_some() {
            self.may_give_tools()?;
        }
        params
            .check_tool_results()
            .map_err(|why| ProtocolError::from(Misuse::Other(why.to_owned())))?;
        if self.call.input.is_some() {
            Deprecated::Sampling.is_used();
        }
        let question = Question::new(Method::SamplingCreateMessage, "sampling");
        self.ask_projected(key, question, params).await
    }

    /// Tools are for a model whose client has declared that it can use them.
    fn may_give_tools(&self) -> Result<()> {
        let declared = match (&self.call.input, self.call.peer.agreed.get()) {
            (Some(input), _) if input.client_capabilities.samples_with_tools() => true,
            (Some(_), _) => return Err(missing("sampling.tools")),
            (None, Some(agreed)) => {
                agreed.revision.rules().asks_more && agreed.client_capabilities.samples_with_tools()
            }
            (None, None) => false,
        };
        if declared {
            return Ok(());
        }
        let missing = PeerIncompatible::MissingCapability {
            capability: Capability::SamplingTools,
            method: Method::SamplingCreateMessage,
        };
        Err(ProtocolError::from(missing).into())
    }

    /// Asks the person (from 2025-06-18 on).
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn elicit(&self, key: &str, params: ElicitParams) -> Result<ElicitResult> {
        let form = params.requested_schema.clone();
        let question = Question {
            form: form.as_ref(),
            ..Question::new(Method::ElicitationCreate, "elicitation")
        };
        self.ask_projected(key, question, params).await
    }

    /// Asks the person to fill in a form made from a struct of texts, numbers, truths and choices
    /// (from 2025-06-18 on). The comments of its fields are what the person reads; an `Option` may
    /// be left out.
    ///
    /// Fails before anyone is asked if the struct is no flat form.
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn elicit_form<T: DeserializeOwned + JsonSchema>(
        &self,
        key: &str,
        message: impl Into<String>,
    ) -> Result<Elicited<T>> {
        let form = form::requested::<T>().map_err(|why| misuse(Misuse::Other(why)))?;
        let params = ElicitParams::new(message).requested_schema(form);
        let result = self.elicit(key, params).await?;
        form::outcome(result).map_err(|error| {
            let why = without_position(&error).into_owned();
            let method = Method::ElicitationCreate;
            ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(method, why)).into()
        })
    }

    /// Sends the person to a page (from 2025-11-25 on), for what must not pass through the client: signing
    /// in somewhere, paying, a secret. [`Elicited::Accepted`] says that they agreed to open it, not that
    /// they are done there; that is for the server to notice, and to tell with
    /// [`Context::elicitation_complete`].
    ///
    /// The URL must be `https`, or of this machine, hold nothing secret and open nothing by itself: find
    /// out on the page who is there.
    ///
    /// Fails if the client cannot be asked that.
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn elicit_url(&self, key: &str, page: &UrlElicitation) -> Result<Elicited<()>> {
        let method = Method::ElicitationCreate;
        if self.call.input.is_some() {
            // There is nothing to tell later that would need a name.
            let mut params = page.params();
            params.elicitation_id = None;
            let question = Question::new(method, "elicitation.url");
            let result: ElicitResult = self.ask(key, question, Some(params)).await?;
            return Ok(reached(&result));
        }
        let (revision, declared) = match self.call.peer.agreed.get() {
            Some(agreed) => (agreed.revision, agreed.client_capabilities.elicits_urls()),
            None => (Revision::V2024_11_05, false),
        };
        if !revision.rules().asks_more {
            return Err(ProtocolError::from(PeerIncompatible::MethodNotInRevision(
                method, revision,
            ))
            .into());
        }
        if !declared {
            let capability = Capability::Elicitation;
            let missing = PeerIncompatible::MissingCapability { capability, method };
            return Err(ProtocolError::from(missing).into());
        }
        let result: ElicitResult = self.ask_live(method, Some(page.params())).await?;
        Ok(reached(&result))
    }

    /// Tells the client of this call that the person is done with a page.
    pub fn elicitation_complete(&self, elicitation_id: &str) {
        let params = ElicitationCompleteParams::new(elicitation_id);
        self.call
            .peer
            .notify(Method::ElicitationComplete, Some(&params));
    }

    async fn ask_projected<P: Serialize + Project, R: DeserializeOwned>(
        &self,
        key: &str,
        question: Question<'_>,
        mut params: P,
    ) -> Result<R> {
        if self.call.input.is_none() {
            params.project(self.call.peer.revision());
        }
        self.ask(key, question, Some(params)).await
    }

    async fn ask<P: Serialize, R: DeserializeOwned>(
        &self,
        key: &str,
        question: Question<'_>,
        params: Option<P>,
    ) -> Result<R> {
        let Some(input) = &self.call.input else {
            return self.ask_live(question.method, params).await;
        };
        let asked = match params {
            Some(params) => InputRequest::new(question.method, &params),
            None => InputRequest::new(question.method, &Empty::new()),
        }
        .map_err(|error| misuse(Misuse::NotSerializable(error.to_string())))?;
        match input.known(key, &asked) {
            Known::Changed => return Err(misuse(Misuse::QuestionChanged(key.to_owned()))),
            Known::Answer { answer, new: false } => {
                return answer.decode().map_err(|error| {
                    misuse(Misuse::Other(format!("the answer {key:?}: {error}")))
                });
            }
            Known::Answer { answer, new: true } => {
                match question.answered(&answer, &self.call.peer.limits) {
                    Ok(value) => {
                        input.accept(key, answer);
                        return Ok(value);
                    }
                    // What is no answer is asked again.
                    Err(why) => tracing::debug!(key, why, "an answer does not fit its question"),
                }
            }
            Known::Nothing => {}
        }
        let client = &input.client_capabilities;
        let declared = match question.capability {
            "sampling" => client.sampling.is_some(),
            "elicitation" => client.elicits_forms(),
            "elicitation.url" => client.elicits_urls(),
            _ => client.roots.is_some(),
        };
        if !declared {
            return Err(missing(question.capability));
        }
        if !input.may_ask() {
            let why = "this request cannot be answered with a question".to_owned();
            return Err(misuse(Misuse::Other(why)));
        }
        if let Some(task) = self.call.extension_task() {
            let task = task.clone();
            return self.ask_in_task(&task, key, question, asked).await;
        }
        if !input.ask(key, asked) {
            return Err(misuse(Misuse::QuestionChanged(key.to_owned())));
        }
        // The poll in which this turns pending is the handler's last: its questions become the
        // answer, and it runs again from the top when the client brings what was asked.
        std::future::pending().await
    }

    /// A question of a task of the extension: its client finds it there, and answers it there.
    async fn ask_in_task<R: DeserializeOwned>(
        &self,
        task: &RunningTask,
        key: &str,
        question: Question<'_>,
        asked: InputRequest,
    ) -> Result<R> {
        loop {
            let answer = task.ask(key, asked.clone()).await;
            let failed = |error: ErrorObject| misuse(Misuse::Other(error.message.into_owned()));
            let answer = answer.map_err(failed)?;
            let Some(answer) = answer else {
                // It is over, and with it this handler.
                return std::future::pending().await;
            };
            match question.answered(&answer, &self.call.peer.limits) {
                Ok(value) => return Ok(value),
                Err(why) => tracing::debug!(key, why, "an answer does not fit its question"),
            }
        }
    }

    /// A live request to the client. A task waits for input meanwhile, and says so.
    async fn ask_live<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: Option<P>,
    ) -> Result<R> {
        let options = RequestOptions {
            timeout: Some(None),
            on_progress: None,
            hears_on: false,
        };
        let Some(task) = &self.call.task else {
            let peer = &self.call.peer;
            return peer
                .request(method, options, |_| params)
                .decode(method)
                .await;
        };
        let params = Related {
            params,
            task: &task.id,
        };
        let peer = self.call.peer.on(task.route());
        let asking = peer.request(method, options, |_| Some(params));
        task.asks(true).await;
        let answer = asking.decode(method).await;
        task.asks(false).await;
        answer
    }

    /// Runs an effect that stands before a question and must happen once, however often the handler runs:
    /// for a stateless client a handler that asks runs again from the top with the answer. The result is
    /// remembered under the key, and comes from memory when the same call gets here again.
    ///
    /// The memory of a stateless client is the sealed state that it brings back: keep results small. One
    /// that brings the state of an earlier round twice repeats what came after it;
    /// [`ServerTool::single_use`](crate::ServerTool::single_use) refuses that.
    ///
    /// Fails if the result cannot be written as JSON and read again.
    ///
    /// Cancel safety: dropping the future drops the effect.
    pub async fn once<T, F>(&self, key: &str, effect: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = T>,
    {
        let unusable = |error: serde_json::Error| {
            misuse(Misuse::Other(format!("the result of {key:?}: {error}")))
        };
        let known = match &self.call.input {
            Some(input) => input.happened(key),
            None => self.call.happened(key),
        };
        if let Some(known) = known {
            return known.decode().map_err(unusable);
        }
        let running = self.call.input.as_deref().map(Input::effect_begins);
        let value = effect.await;
        let written = RawJson::from_value(&value).map_err(unusable)?;
        match &self.call.input {
            Some(input) => input.remember(key, written),
            None => self.call.remember(key, written),
        }
        drop(running);
        Ok(value)
    }

    /// The revision that the client speaks: in its session, or in this request.
    pub fn revision(&self) -> Revision {
        match &self.call.input {
            Some(input) => input.revision,
            None => self.call.peer.revision(),
        }
    }

    /// What the client says it is.
    pub fn client_info(&self) -> Option<&Implementation> {
        match &self.call.input {
            Some(input) => input.client_info(),
            None => self.call.peer.agreed.get()?.peer_info.as_deref(),
        }
    }

    /// What the client declared: for its session, or for this request where there are no sessions.
    pub fn client_capabilities(&self) -> Option<&ClientCapabilities> {
        match &self.call.input {
            Some(input) => Some(&input.client_capabilities),
            None => Some(&self.call.peer.agreed.get()?.client_capabilities),
        }
    }

    /// The client that makes this call.
    pub fn session(&self) -> Session {
        Session::new(self.session.clone())
    }

    /// The server, to change what it offers.
    pub fn server(&self) -> ServerHandle {
        ServerHandle::new(self.session.core.clone())
    }
}

/// One of the three kinds of questions.
#[derive(Clone, Copy)]
struct Question<'a> {
    method: Method,
    capability: &'static str,
    /// What the answer has to fit.
    form: Option<&'a RawJson>,
}

impl Question<'_> {
    const fn new(method: Method, capability: &'static str) -> Self {
        Self {
            method,
            capability,
            form: None,
        }
    }

    /// Reads an answer that a stateless client brought.
    fn answered<R: DeserializeOwned>(
        &self,
        answer: &RawJson,
        limits: &Limits,
    ) -> std::result::Result<R, String> {
        let value = answer.decode().map_err(|error| error.to_string())?;
        if let Some(form) = self.form {
            form::fits(form, answer, limits)?;
        }
        Ok(value)
    }
}

/// What became of sending a person to a page.
fn reached(result: &ElicitResult) -> Elicited<()> {
    match result.action {
        ElicitAction::Accept => Elicited::Accepted(()),
        ElicitAction::Decline => Elicited::Declined,
        ElicitAction::Cancel => Elicited::Cancelled,
    }
}

fn missing(capability: &str) -> crate::Error {
    ProtocolError::Refused(stateless::missing_capability(capability)).into()
}

/// Params that name the task that they belong to.
struct Related<'a, P> {
    params: Option<P>,
    task: &'a str,
}

impl<P: Serialize> Serialize for Related<'_, P> {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::Error;

        let params = self.params.as_ref().map(serde_json::to_value).transpose();
        let mut params = params.map_err(Error::custom)?.unwrap_or_default();
        if params.is_null() {
            params = serde_json::json!({});
        }
        params["_meta"][RELATED_TASK] = serde_json::json!({ "taskId": self.task });
        params.serialize(serializer)
    }
}

fn misuse(why: Misuse) -> crate::Error {
    ProtocolError::from(why).into()
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.session.id)
            .field("token", &self.call.token)
            .finish_non_exhaustive()
    }
}
