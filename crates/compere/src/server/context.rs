//! What a handler can do besides returning: report progress, log, ask, notice cancellation.
//!
//! Questions carry a key. On a session they are live requests to the client; for a stateless
//! client they become the answer to its request, and the handler runs again with the answers.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use compere_proto::capability::Capability;
use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::stateless::{self, InputRequest};
use compere_proto::elicitation::{
    ElicitAction, ElicitParams, ElicitResult, ElicitationCompleteParams, UrlElicitation,
};
use compere_proto::error::{Misuse, PeerIncompatible, PeerMisbehaved};
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::{LogMessage, LoggingLevel};
use compere_proto::object::RawJson;
use compere_proto::pagination::Empty;
use compere_proto::roots::{ListRootsResult, Root};
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::tasks::RELATED_TASK;
use compere_proto::wire::decode::without_position;
use compere_proto::wire::encode;
use compere_proto::wire::project::Project;
use compere_proto::{Error as ProtocolError, Method, Revision};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::call::CallShared;
use crate::driver::outbox::Item;
use crate::driver::peer::RequestOptions;
use crate::error::Result;
use crate::server::form::{self, Elicited};
use crate::server::handle::ServerHandle;
use crate::server::session::{Session, SessionShared};

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
        let ask = async || {
            self.ask(key, Method::RootsList, "roots", None::<Empty>)
                .await
        };
        if self.call.input.is_some() {
            let result: ListRootsResult = ask().await?;
            return Ok(result.roots.into());
        }
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
        self.ask_projected(key, Method::SamplingCreateMessage, "sampling", params)
            .await
    }

    /// Tools are for a model whose client has declared that it can use them.
    fn may_give_tools(&self) -> Result<()> {
        let declared = match (&self.call.input, self.call.peer.agreed.get()) {
            (Some(input), _) => input.client_capabilities.samples_with_tools(),
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
        self.ask_projected(key, Method::ElicitationCreate, "elicitation", params)
            .await
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

    /// Sends the person to a page (only 2025-11-25), for what must not pass through the client: signing
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
        let (revision, declared) = match (&self.call.input, self.call.peer.agreed.get()) {
            (None, Some(agreed)) => (agreed.revision, agreed.client_capabilities.elicits_urls()),
            _ => (Revision::V2024_11_05, false),
        };
        let method = Method::ElicitationCreate;
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
        let result: ElicitResult = self
            .ask(key, method, "elicitation", Some(page.params()))
            .await?;
        Ok(match result.action {
            ElicitAction::Accept => Elicited::Accepted(()),
            ElicitAction::Decline => Elicited::Declined,
            ElicitAction::Cancel => Elicited::Cancelled,
        })
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
        method: Method,
        capability: &str,
        mut params: P,
    ) -> Result<R> {
        if self.call.input.is_none() {
            params.project(self.call.peer.revision());
        }
        self.ask(key, method, capability, Some(params)).await
    }

    async fn ask<P: Serialize, R: DeserializeOwned>(
        &self,
        key: &str,
        method: Method,
        capability: &str,
        params: Option<P>,
    ) -> Result<R> {
        let Some(input) = &self.call.input else {
            return self.ask_live(method, params).await;
        };
        if let Some(answer) = input.answers.get(key) {
            return answer
                .decode()
                .map_err(|error| misuse(Misuse::Other(format!("the answer {key:?}: {error}"))));
        }
        let declared = match method {
            Method::SamplingCreateMessage => input.client_capabilities.sampling.is_some(),
            Method::ElicitationCreate => input.client_capabilities.elicitation.is_some(),
            _ => input.client_capabilities.roots.is_some(),
        };
        if !declared {
            return Err(ProtocolError::Refused(stateless::missing_capability(capability)).into());
        }
        let question = match params {
            Some(params) => InputRequest::new(method, &params),
            None => InputRequest::new(method, &Empty::new()),
        }
        .map_err(|error| misuse(Misuse::NotSerializable(error.to_string())))?;
        {
            let mut questions = input
                .questions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match questions.get(key) {
                Some(asked) if *asked != question => {
                    return Err(misuse(Misuse::QuestionChanged(key.to_owned())));
                }
                _ => questions.insert(key.to_owned(), question),
            };
        }
        // The poll in which this turns pending is the handler's last: its questions become the
        // answer, and it runs again from the top when the client brings what was asked.
        std::future::pending().await
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
        task.asks(true);
        let answer = asking.decode(method).await;
        task.asks(false);
        answer
    }

    /// Runs an effect that must happen once however often the handler runs. On a session that is
    /// always; for a stateless client it needs sealed state, which is not there yet, and fails.
    pub async fn once<T, F>(&self, key: &str, effect: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = T>,
    {
        if self.call.input.is_some() {
            return Err(misuse(Misuse::Other(format!(
                "the effect {key:?} cannot be remembered for a stateless client yet"
            ))));
        }
        Ok(effect.await)
    }

    /// What the client says it is.
    pub fn client_info(&self) -> Option<&Implementation> {
        self.call.peer.agreed.get()?.peer_info.as_deref()
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
