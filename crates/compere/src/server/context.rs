//! What a handler can do besides returning: report progress, log, ask, notice cancellation.
//!
//! Questions carry a key. On a session they are live requests to the client; for a stateless
//! client they become the answer to its request, and the handler runs again with the answers.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::stateless::{self, InputRequest};
use compere_proto::elicitation::{ElicitParams, ElicitResult};
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::{LogMessage, LoggingLevel};
use compere_proto::object::RawJson;
use compere_proto::pagination::Empty;
use compere_proto::roots::{ListRootsResult, Root};
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::wire::decode::without_position;
use compere_proto::wire::encode;
use compere_proto::wire::project::Project;
use compere_proto::{Error as ProtocolError, Method};
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
        self.ask_projected(key, Method::SamplingCreateMessage, "sampling", params)
            .await
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
            let options = RequestOptions {
                timeout: Some(None),
                on_progress: None,
            };
            return self
                .call
                .peer
                .request(method, options, |_| params)
                .decode(method)
                .await;
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
