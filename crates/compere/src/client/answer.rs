//! What a client answers when its server asks, and whom it tells what the server says.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use compere_proto::connection::Inbound;
use compere_proto::connection::session::Session as Machine;
use compere_proto::elicitation::{
    ElicitAction, ElicitParams, ElicitResult, ElicitationCompleteParams, UrlElicitation,
};
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::logging::LogMessage;
use compere_proto::resources::ResourceParams;
use compere_proto::roots::{ListRootsResult, Root};
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult, ToolChoiceMode};
use compere_proto::wire::scan::Params;
use compere_proto::{Method, Moment};
use tokio::sync::oneshot;

use crate::client::cache::Share;
use crate::client::listen::Listening;
use crate::client::pages::Pages;
use crate::client::promises::Promises;
use crate::driver::call::{BoxFuture, CallShared, Handling, Work};
use crate::driver::outcome::Outcome;
use crate::driver::peer::Peer;
use crate::driver::{Listener, Side, Started};
use crate::error::{Error, Result};
use crate::relay::front::Ahead;

/// Why a client does not answer.
#[derive(Debug, Clone)]
pub struct Refusal(ErrorObject);

impl Refusal {
    /// The person said no.
    pub fn by_user(reason: impl Into<String>) -> Self {
        Self(ErrorObject::new(code::REJECTED_BY_USER, reason.into()))
    }

    /// Any other error of the protocol.
    pub fn with(error: ErrorObject) -> Self {
        Self(error)
    }
}

/// A handler of what the server asks.
pub(crate) type Answer<P, R> = Arc<dyn Fn(P) -> BoxFuture<Result<R, Refusal>> + Send + Sync>;

pub(crate) fn boxed<P, R, F, Fut>(handler: F) -> Answer<P, R>
where
    F: Fn(P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Refusal>> + Send + 'static,
{
    Arc::new(move |params| Box::pin(handler(params)))
}

/// Which list of the server changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list` and `resources/templates/list`.
    Resources,
}

/// The handlers of a client.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    pub(crate) on_sample: Option<Answer<CreateMessageParams, CreateMessageResult>>,
    pub(crate) on_elicit: Option<Answer<ElicitParams, ElicitResult>>,
    pub(crate) on_elicit_url: Option<Answer<UrlElicitation, ElicitAction>>,
    pub(crate) on_elicitation_complete: Option<Arc<dyn Fn(String) + Send + Sync>>,
    /// May a server of the stateless era make tasks of calls?
    pub(crate) tasks: bool,
    /// Can the model that answers sampling use tools?
    pub(crate) samples_with_tools: bool,
    pub(crate) on_log: Option<Arc<dyn Fn(LogMessage) + Send + Sync>>,
    pub(crate) on_changed: Option<Arc<dyn Fn(Changed) + Send + Sync>>,
    pub(crate) on_updated: Option<Arc<dyn Fn(String) + Send + Sync>>,
    /// Who hears and answers everything instead: a client in front of a relay, or a host.
    pub(crate) ahead: Option<Arc<dyn Ahead>>,
}

/// The roots of a client, changeable while it runs.
#[derive(Default)]
pub(crate) struct Roots(Mutex<Vec<Root>>);

impl Roots {
    pub(crate) fn set(&self, roots: Vec<Root>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = roots;
    }

    fn get(&self) -> Vec<Root> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Who answers what the server asks, be it live or within a request of ours.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) handlers: Handlers,
    pub(crate) roots: Arc<Roots>,
    pub(crate) pages: Arc<Pages>,
}

/// The client's half of a connection.
pub(crate) struct ClientSide {
    pub(crate) peer: Peer,
    pub(crate) answering: Answering,
    pub(crate) promises: Arc<Promises>,
    pub(crate) listening: Arc<Listening>,
    pub(crate) share: Option<Share>,
    /// Told when the handshake is done, or that it never will be.
    pub(crate) ready: Option<oneshot::Sender<Result<()>>>,
}

impl Listener for ClientSide {
    fn notification(&mut self, method: Method, params: &Params<'_>) {
        if method == Method::SubscriptionsAcknowledged {
            self.listening.acknowledged(params);
            return;
        }
        let is_heard_of = matches!(
            method,
            Method::ToolsListChanged
                | Method::PromptsListChanged
                | Method::ResourcesListChanged
                | Method::ResourcesUpdated
        );
        if is_heard_of && self.peer.is_stateless() && !self.listening.counts(params) {
            return;
        }
        if let Some(share) = self.share.as_ref().filter(|_| is_heard_of) {
            let uri = (method == Method::ResourcesUpdated).then(|| params.get_str("uri"));
            share.changed(method, uri.flatten().as_deref());
        }
        let handlers = &self.answering.handlers;
        if let Some(ahead) = &handlers.ahead {
            ahead.notification(method, params);
            return;
        }
        let changed = |what| {
            if let Some(on_changed) = &handlers.on_changed {
                on_changed(what);
            }
        };
        match method {
            Method::Message => {
                if let (Some(on_log), Ok(message)) = (&handlers.on_log, params.decode()) {
                    on_log(message);
                }
            }
            Method::ToolsListChanged => {
                self.promises.forget();
                changed(Changed::Tools);
            }
            Method::PromptsListChanged => changed(Changed::Prompts),
            Method::ResourcesListChanged => changed(Changed::Resources),
            Method::ElicitationComplete => {
                if let (Some(on_complete), Ok(params)) = (
                    &handlers.on_elicitation_complete,
                    params.decode::<ElicitationCompleteParams>(),
                ) {
                    match self.answering.pages.complete(&params.elicitation_id) {
                        true => on_complete(params.elicitation_id),
                        false => tracing::debug!("a page that nobody was sent to is done"),
                    }
                }
            }
            Method::ResourcesUpdated => {
                if let (Some(on_updated), Ok(params)) =
                    (&handlers.on_updated, params.decode::<ResourceParams>())
                {
                    on_updated(params.uri);
                }
            }
            _ => {}
        }
    }

    fn initialized(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
    }
}

impl Side for ClientSide {
    fn request(
        &mut self,
        _machine: &mut Machine,
        _now: Moment,
        inbound: &Inbound<'_>,
        context: &mut TaskContext<'_>,
    ) -> Started {
        self.answering.begin(&self.peer, inbound, context)
    }

    fn ended(&mut self, error: Option<&Error>) {
        if let Some(error) = error {
            tracing::info!(%error, "the connection to a server is over");
        }
        if let Some(ready) = self.ready.take() {
            let error = error
                .cloned()
                .unwrap_or_else(|| compere_proto::Error::Closed.into());
            let _ = ready.send(Err(error));
        }
    }
}

impl Answering {
    /// Begins to answer, polling the handler once.
    pub(crate) fn begin(
        &self,
        peer: &Peer,
        inbound: &Inbound<'_>,
        context: &mut TaskContext<'_>,
    ) -> Started {
        if let Some(ahead) = &self.handlers.ahead {
            return ahead.clone().request(peer, inbound, context);
        }
        let params = &inbound.params;
        match inbound.method {
            Method::RootsList => Started::Done(Outcome::ListRoots(
                ListRootsResult::new().roots(self.roots.get()),
            )),
            Method::SamplingCreateMessage if self.brings_tools(params) => Started::Done(
                ErrorObject::invalid_params(
                    "The model here uses no tools; sampling.tools was not declared",
                )
                .into(),
            ),
            Method::SamplingCreateMessage => {
                let handler = self.handlers.on_sample.clone().map(conversing);
                Self::ask(peer, params, handler, Outcome::CreateMessage, context)
            }
            Method::ElicitationCreate => self.elicit(peer, params, context),
            other => Started::Done(ErrorObject::method_not_found(other.name()).into()),
        }
    }
}

/// The handler, asked only to continue conversations that are in order, and held to how it may use
/// tools.
fn conversing(
    handler: Answer<CreateMessageParams, CreateMessageResult>,
) -> Answer<CreateMessageParams, CreateMessageResult> {
    boxed(move |params: CreateMessageParams| {
        let order = params.check_tool_results();
        let question = params.tool_choice.clone();
        let answering = order.is_ok().then(|| handler(params));
        async move {
            let refused = |why| Refusal::with(ErrorObject::invalid_params(why));
            let Some(answering) = answering else {
                return Err(refused(order.err().unwrap_or_default()));
            };
            let result = answering.await?;
            let choice = ToolChoiceMode::of(question.as_ref());
            match (choice, result.uses_tools()) {
                (ToolChoiceMode::None, true) => {
                    tracing::error!("the handler of sampling used a tool that it may not use");
                    Err(Refusal::with(ErrorObject::internal()))
                }
                (ToolChoiceMode::Required, false) => {
                    tracing::error!("the handler of sampling used no tool, though it must");
                    Err(Refusal::with(ErrorObject::internal()))
                }
                _ => Ok(result),
            }
        }
    })
}

impl Answering {
    fn brings_tools(&self, params: &Params<'_>) -> bool {
        let brings = |member| params.get(member).is_some_and(|value| value != "null");
        !self.handlers.samples_with_tools && (brings("tools") || brings("toolChoice"))
    }

    /// A form, or a page to go to; a mode that was not declared is refused.
    fn elicit(&self, peer: &Peer, params: &Params<'_>, context: &mut TaskContext<'_>) -> Started {
        let refused = |what: &str| {
            let error = ErrorObject::invalid_params(format!("This client cannot be asked {what}"));
            Started::Done(error.into())
        };
        match params.get_str("mode").as_deref() {
            None | Some("form") => match self.handlers.on_elicit.clone() {
                None => refused("to fill in a form"),
                handler => Self::ask(peer, params, handler, Outcome::Elicit, context),
            },
            Some("url") => {
                let Some(handler) = self.handlers.on_elicit_url.clone() else {
                    return refused("to open a page");
                };
                let pages = self.pages.clone();
                let answer: Answer<ElicitParams, ElicitResult> =
                    boxed(move |params: ElicitParams| {
                        let page = UrlElicitation::of(&params);
                        if let Some(page) = &page {
                            pages.expect(&page.elicitation_id);
                        }
                        let answering = page.map(|page| handler(page));
                        async move {
                            match answering {
                                Some(answering) => answering.await.map(ElicitResult::new),
                                None => Err(Refusal::with(ErrorObject::invalid_params(
                                    "A page to open has url and elicitationId",
                                ))),
                            }
                        }
                    });
                Self::ask(peer, params, Some(answer), Outcome::Elicit, context)
            }
            Some(_) => refused("in this mode"),
        }
    }

    fn ask<P, R>(
        peer: &Peer,
        params: &Params<'_>,
        handler: Option<Answer<P, R>>,
        outcome: fn(R) -> Outcome,
        context: &mut TaskContext<'_>,
    ) -> Started
    where
        P: serde::de::DeserializeOwned,
        R: 'static,
    {
        let Some(handler) = handler else {
            let error = ErrorObject::new(code::METHOD_NOT_FOUND, "Nobody answers this here");
            return Started::Done(error.into());
        };
        let params: P = match params.decode() {
            Ok(params) => params,
            Err(error) => return Started::Done(error.into()),
        };
        let begin = || {
            let future = handler(params);
            Handling::Other(Box::pin(async move {
                match future.await {
                    Ok(result) => outcome(result),
                    Err(Refusal(error)) => error.into(),
                }
            }))
        };
        let handling = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(begin)) {
            Ok(handling) => handling,
            Err(panic) => {
                return Started::Done(crate::driver::call::panicked("client", panic.as_ref()));
            }
        };
        let mut work = Work {
            handling,
            name: "client".into(),
        };
        match work.poll(context, None) {
            Poll::Ready(outcome) => Started::Done(outcome),
            Poll::Pending => {
                let call = Arc::new(CallShared::new(peer.clone(), None, None, None));
                Started::Pending(work, call)
            }
        }
    }
}
