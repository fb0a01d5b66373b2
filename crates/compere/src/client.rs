//! Clients: connect to a server, use what it offers, answer what it asks.

pub mod answer;
pub mod call;
pub mod list;
pub mod output;
pub(crate) mod pages;
pub(crate) mod promises;
pub mod task;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::capability::{ClientCapabilities, ListCapability, ServerCapabilities};
use compere_proto::completion::{
    CompleteParams, CompleteResult, Completion, CompletionArgument, CompletionContext,
    CompletionReference,
};
use compere_proto::connection::session::{PingPlan, Session as Machine, SessionConfig};
use compere_proto::elicitation::{ElicitAction, ElicitParams, ElicitResult, UrlElicitation};
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::{LogMessage, LoggingLevel, SetLevelParams};
use compere_proto::object::RawJson;
use compere_proto::pagination::Empty;
use compere_proto::prompts::{GetPromptParams, GetPromptResult, ListPromptsResult, Prompt};
use compere_proto::resources::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource, ResourceParams,
    ResourceTemplate,
};
use compere_proto::roots::Root;
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::tasks::{ListTasksResult, Task};
use compere_proto::tools::{ListToolsResult, Tool};
use compere_proto::wire::project::Project;
use compere_proto::{Limits, Method, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

use crate::client::answer::{Changed, ClientSide, Handlers, Refusal, Roots, boxed};
use crate::client::call::CallTool;
use crate::client::list::List;
use crate::client::pages::Pages;
use crate::client::promises::Promises;
use crate::client::task::TaskHandle;
use crate::driver::Driver;
use crate::driver::outbox::Item;
use crate::driver::peer::{Agreed, Peer, RequestOptions};
use crate::error::{Error, Result};
use crate::relay::front::Front;
use crate::server::Server;
use crate::server::handle::ServerHandle;
use crate::transport::ByteStream;
pub use crate::transport::child::Command;
use crate::transport::stream::{Stream, duplex};
use crate::transport::tap::{Direction, Tap};

/// Bytes that an in-memory connection holds in each direction.
const MEMORY_BYTES: usize = 64 * 1024;

/// A connection to one server. Clones share it; when the last one is dropped, the connection is
/// closed and a server process is ended in order.
#[derive(Clone)]
pub struct Client {
    inner: Arc<ClientInner>,
}

struct ClientInner {
    peer: Peer,
    roots: Arc<Roots>,
    promises: Arc<Promises>,
    pages: Arc<Pages>,
    ended: watch::Receiver<Option<Result<()>>>,
}

impl Drop for ClientInner {
    fn drop(&mut self) {
        self.peer.outbox.push(Item::Close);
    }
}

/// A client being put together. What it can answer decides which capabilities it declares.
#[derive(Clone)]
pub struct ClientBuilder {
    info: Implementation,
    limits: Limits,
    revisions: Vec<Revision>,
    roots: Option<Vec<Root>>,
    pub(crate) handlers: Handlers,
    ping: Option<PingPlan>,
    offer: Option<Revision>,
}

/// Something that a client can connect to.
pub trait Target: Send {
    /// The stream of bytes to the server.
    type Stream: ByteStream + Unpin;

    /// Opens it. Called inside a tokio runtime.
    fn open(self, limits: &Limits) -> Result<Self::Stream>;
}

impl Target for Command {
    type Stream = crate::transport::child::ChildStream;

    fn open(self, limits: &Limits) -> Result<Self::Stream> {
        self.start(limits)
    }
}

/// A target with a listener on its wire.
#[derive(Debug)]
pub struct Tapped<T, F> {
    target: T,
    on_line: F,
}

impl<T, F> Tapped<T, F> {
    /// Shows every line of the connection to `on_line`, without its end.
    pub fn new(target: T, on_line: F) -> Self {
        Self { target, on_line }
    }
}

impl<T, F> Target for Tapped<T, F>
where
    T: Target,
    F: FnMut(Direction, &[u8]) + Send + 'static,
{
    type Stream = Tap<T::Stream>;

    fn open(self, limits: &Limits) -> Result<Self::Stream> {
        Ok(Tap::new(self.target.open(limits)?, self.on_line))
    }
}

type Memory = Stream<
    tokio::io::ReadHalf<tokio::io::DuplexStream>,
    tokio::io::WriteHalf<tokio::io::DuplexStream>,
>;

impl Target for Server {
    type Stream = Memory;

    fn open(self, limits: &Limits) -> Result<Memory> {
        self.start()?.open(limits)
    }
}

impl Target for ServerHandle {
    type Stream = Memory;

    fn open(self, _limits: &Limits) -> Result<Memory> {
        let (ours, theirs) = tokio::io::duplex(MEMORY_BYTES);
        tokio::spawn(async move {
            if let Err(error) = self.serve(theirs).await {
                tracing::debug!(%error, "a server in memory has ended");
            }
        });
        Ok(duplex(ours))
    }
}

impl<R, W> Target for Stream<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Stream = Self;

    fn open(self, _limits: &Limits) -> Result<Self> {
        Ok(self)
    }
}

impl ClientBuilder {
    /// Other bounds than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The revisions to speak; the newest is offered. All that are ready by default.
    #[must_use]
    pub fn revisions(mut self, revisions: &[Revision]) -> Self {
        self.revisions = revisions.to_vec();
        self.revisions.sort_unstable();
        self
    }

    /// The places of the file system that the server may work in. Declares that the client has
    /// roots; without, a server that asks is told that there is no such method.
    #[must_use]
    pub fn roots(mut self, roots: impl IntoIterator<Item = Root>) -> Self {
        self.roots = Some(roots.into_iter().collect());
        self
    }

    /// Answers sampling requests. Let a person see and decide: what the server asks for is the
    /// server's idea. Declares sampling; without, the server is told that there is none.
    #[must_use]
    pub fn on_sample<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(CreateMessageParams) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CreateMessageResult, Refusal>> + Send + 'static,
    {
        self.handlers.on_sample = Some(boxed(handler));
        self
    }

    /// Answers questions to the person (from 2025-06-18 on). Declares elicitation.
    #[must_use]
    pub fn on_elicit<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(ElicitParams) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ElicitResult, Refusal>> + Send + 'static,
    {
        self.handlers.on_elicit = Some(boxed(handler));
        self
    }

    /// Answers when a server wants to send the person to a page (only 2025-11-25): show them all of the
    /// URL and who asks, and open it only if they agree, out of reach of client and model. What it
    /// returns is what they said, not that they are done there. Declares elicitation by URL.
    #[must_use]
    pub fn on_elicit_url<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(UrlElicitation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ElicitAction, Refusal>> + Send + 'static,
    {
        self.handlers.on_elicit_url = Some(boxed(handler));
        self
    }

    /// Called with the id of an elicitation by URL whose page the person is done with. It may never
    /// come. Runs inside the connection: be quick.
    #[must_use]
    pub fn on_elicitation_complete(
        mut self,
        handler: impl Fn(String) + Send + Sync + 'static,
    ) -> Self {
        self.handlers.on_elicitation_complete = Some(Arc::new(handler));
        self
    }

    /// Says that the model behind [`ClientBuilder::on_sample`] can use tools that a server brings
    /// (from 2025-11-25). Without, such requests are refused.
    #[must_use]
    pub fn sampling_tools(mut self) -> Self {
        self.handlers.samples_with_tools = true;
        self
    }

    /// Called with each log message. Runs inside the connection: be quick.
    #[must_use]
    pub fn on_log(mut self, handler: impl Fn(LogMessage) + Send + Sync + 'static) -> Self {
        self.handlers.on_log = Some(Arc::new(handler));
        self
    }

    /// Called when a list of the server changed. Runs inside the connection: be quick.
    #[must_use]
    pub fn on_changed(mut self, handler: impl Fn(Changed) + Send + Sync + 'static) -> Self {
        self.handlers.on_changed = Some(Arc::new(handler));
        self
    }

    /// Called with the URI of a subscribed resource that changed. Runs inside the connection: be
    /// quick.
    #[must_use]
    pub fn on_resource_updated(mut self, handler: impl Fn(String) + Send + Sync + 'static) -> Self {
        self.handlers.on_updated = Some(Arc::new(handler));
        self
    }

    /// Pings a server that was silent for `interval`, and ends the connection after three pings
    /// without answer within `timeout` each. Off by default.
    #[must_use]
    pub fn ping_every(mut self, interval: Duration, timeout: Duration) -> Self {
        self.ping = Some(PingPlan {
            interval,
            timeout,
            failures: 3,
        });
        self
    }

    /// Speaks for a client in front of a relay, and passes on to it what the server says.
    pub(crate) fn relays(
        &mut self,
        info: Implementation,
        offer: Option<Revision>,
        front: Arc<Front>,
    ) {
        self.info = info;
        self.offer = offer;
        self.handlers.ahead = Some(front);
    }

    /// In a [`Relay`](crate::Relay): the number of the session of the client in front, as wire logs
    /// have it.
    pub fn session_in_front(&self) -> Option<u64> {
        self.handlers.ahead.as_ref()?.session()
    }

    /// Connects and does the handshake. Needs a tokio runtime; the connection runs as a task of
    /// its own.
    ///
    /// Cancel safety: dropping the future closes the connection, and ends a process that was
    /// started.
    pub async fn connect(self, target: impl Target) -> Result<Client> {
        for root in self.roots.iter().flatten() {
            root.validate()
                .map_err(|error| Error::setup(error.to_string()))?;
        }
        let stream = target.open(&self.limits)?;
        let peer = Peer::new(Arc::new(self.limits.clone()));
        let roots = Arc::new(Roots::default());
        let promises = Arc::new(Promises::default());
        let pages = Arc::new(Pages::default());
        let config = self.config();
        roots.set(self.roots.unwrap_or_default());
        let (ready, is_ready) = oneshot::channel();
        let side = ClientSide {
            peer: peer.clone(),
            handlers: self.handlers,
            roots: roots.clone(),
            promises: promises.clone(),
            pages: pages.clone(),
            ready: Some(ready),
        };
        let machine = Machine::client(config, peer.ids.clone());
        let mut driver = Driver::new(stream, side, machine, peer.clone());
        driver.connect()?;
        let (ending, ended) = watch::channel(None);
        tokio::spawn(async move {
            let outcome = driver.run().await;
            ending.send_replace(Some(outcome));
        });
        let inner = ClientInner {
            peer,
            roots,
            promises,
            pages,
            ended,
        };
        match is_ready.await {
            Ok(Ok(())) => Ok(Client {
                inner: Arc::new(inner),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(compere_proto::Error::Closed.into()),
        }
    }

    fn config(&self) -> SessionConfig {
        let mut capabilities = ClientCapabilities::new();
        if self.roots.is_some() {
            capabilities.roots = Some(ListCapability::new().list_changed(true));
        }
        if self.handlers.on_sample.is_some() {
            let tools = self.handlers.samples_with_tools;
            capabilities.sampling = Some(parts(&[("tools", tools)]));
        }
        let (forms, urls) = (
            self.handlers.on_elicit.is_some(),
            self.handlers.on_elicit_url.is_some(),
        );
        if forms || urls {
            // Nothing else said is forms; every peer understands that.
            let said = [("form", forms && urls), ("url", urls)];
            capabilities.elicitation = Some(parts(&said));
        }
        if let Some(ahead) = &self.handlers.ahead {
            capabilities = ahead.capabilities();
        }
        let mut config = SessionConfig::new(self.info.clone());
        config.revisions.clone_from(&self.revisions);
        config.offer = self.offer;
        config.client_capabilities = Arc::new(capabilities);
        config.limits = self.limits.clone();
        config.ping = self.ping;
        config
    }
}

/// A capability with these parts.
fn parts(parts: &[(&str, bool)]) -> RawJson {
    let there = parts.iter().filter(|(_, there)| *there);
    let parts: Map<String, Value> = there
        .map(|(part, _)| ((*part).to_owned(), Map::new().into()))
        .collect();
    parts.into()
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects with default settings, answering nothing that the server asks.
    pub async fn connect(target: impl Target) -> Result<Self> {
        Self::builder("compere", env!("CARGO_PKG_VERSION"))
            .connect(target)
            .await
    }

    /// A client with this name and version.
    pub fn builder(name: impl Into<String>, version: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            info: Implementation::new(name, version),
            limits: Limits::default(),
            revisions: Revision::NEGOTIABLE.to_vec(),
            roots: None,
            handlers: Handlers::default(),
            ping: None,
            offer: None,
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.peer().agreed.get()
    }

    /// The revision of the session.
    pub fn revision(&self) -> Revision {
        self.peer().revision()
    }

    /// Who the server says it is.
    pub fn server_info(&self) -> Option<&Implementation> {
        self.agreed()?.peer_info.as_deref()
    }

    /// What the server declared.
    pub fn server_capabilities(&self) -> Option<&ServerCapabilities> {
        Some(&self.agreed()?.server_capabilities)
    }

    /// How to use the server, in its own words. Untrusted text.
    pub fn instructions(&self) -> Option<&str> {
        self.agreed()?.instructions.as_deref()
    }

    /// Calls a tool. `arguments` is anything that serialises to an object; `()` for none.
    pub fn call(&self, name: impl Into<String>, arguments: impl Serialize) -> CallTool {
        let (promises, pages) = (self.inner.promises.clone(), self.inner.pages.clone());
        CallTool::new(
            self.peer().clone(),
            promises,
            pages,
            name.into(),
            &arguments,
        )
    }

    /// The tools.
    pub fn tools(&self) -> List<Tool> {
        let (promises, limits) = (self.inner.promises.clone(), self.peer().limits.clone());
        List::seen_by::<ListToolsResult>(self.peer().clone(), move |tools| {
            promises.learn(tools, &limits);
        })
    }

    /// The tasks that the server keeps for us (only 2025-11-25).
    pub fn tasks(&self) -> List<Task> {
        List::new::<ListTasksResult>(self.peer().clone())
    }

    /// A handle on a task whose id is known.
    pub fn task(&self, id: impl Into<String>) -> TaskHandle {
        TaskHandle::new(self.peer().clone(), id, None)
    }

    /// The prompts.
    pub fn prompts(&self) -> List<Prompt> {
        List::new::<ListPromptsResult>(self.peer().clone())
    }

    /// The resources.
    pub fn resources(&self) -> List<Resource> {
        List::new::<ListResourcesResult>(self.peer().clone())
    }

    /// The resource templates.
    pub fn resource_templates(&self) -> List<ResourceTemplate> {
        List::new::<ListResourceTemplatesResult>(self.peer().clone())
    }

    /// Gets a prompt. Cancel safety: dropping the future withdraws the request.
    pub async fn prompt(
        &self,
        name: impl Into<String>,
        arguments: BTreeMap<String, String>,
    ) -> Result<GetPromptResult> {
        let mut params = GetPromptParams::new(name);
        params.arguments = (!arguments.is_empty()).then_some(arguments);
        self.request(Method::PromptsGet, params).await
    }

    /// Reads a resource. Cancel safety: dropping the future withdraws the request.
    pub async fn read(&self, uri: impl Into<String>) -> Result<ReadResourceResult> {
        self.request(Method::ResourcesRead, ResourceParams::new(uri))
            .await
    }

    /// Asks to be told when a resource changes.
    pub async fn subscribe(&self, uri: impl Into<String>) -> Result<()> {
        let params = ResourceParams::new(uri);
        let _: Empty = self.request(Method::ResourcesSubscribe, params).await?;
        Ok(())
    }

    /// Takes that back.
    pub async fn unsubscribe(&self, uri: impl Into<String>) -> Result<()> {
        let params = ResourceParams::new(uri);
        let _: Empty = self.request(Method::ResourcesUnsubscribe, params).await?;
        Ok(())
    }

    /// Suggestions for an argument; `known` are the arguments that have their value already.
    pub async fn complete(
        &self,
        reference: CompletionReference,
        argument: impl Into<String>,
        value: impl Into<String>,
        known: BTreeMap<String, String>,
    ) -> Result<Completion> {
        let mut params = CompleteParams::new(reference, CompletionArgument::new(argument, value));
        if !known.is_empty() {
            params.context = Some(CompletionContext::new().arguments(known));
        }
        params.project(self.revision());
        let result: CompleteResult = self.request(Method::CompletionComplete, params).await?;
        Ok(result.completion)
    }

    /// The least severe log level that the server shall send.
    pub async fn set_level(&self, level: LoggingLevel) -> Result<()> {
        let params = SetLevelParams::new(level);
        let _: Empty = self.request(Method::LoggingSetLevel, params).await?;
        Ok(())
    }

    /// Asks whether the server is there.
    pub async fn ping(&self) -> Result<()> {
        let _: Empty = self
            .peer()
            .request(Method::Ping, RequestOptions::default(), |_| None::<Empty>)
            .decode(Method::Ping)
            .await?;
        Ok(())
    }

    /// Changes the roots and tells the server. Does nothing for it unless roots were declared.
    pub fn set_roots(&self, roots: Vec<Root>) -> Result<()> {
        for root in &roots {
            root.validate()
                .map_err(|error| Error::setup(error.to_string()))?;
        }
        self.inner.roots.set(roots);
        self.peer().notify(Method::RootsListChanged, None::<&Empty>);
        Ok(())
    }

    async fn request<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: P,
    ) -> Result<R> {
        self.peer()
            .request(method, RequestOptions::default(), |_| Some(params))
            .decode(method)
            .await
    }

    /// Is the connection over?
    pub fn has_ended(&self) -> bool {
        self.inner.ended.borrow().is_some()
    }

    /// Told how the connection ended.
    pub(crate) fn ended(&self) -> watch::Receiver<Option<Result<()>>> {
        self.inner.ended.clone()
    }

    /// Closes the connection and waits until it is over, a server process included.
    ///
    /// Cancel safety: the connection is closed in any case.
    pub async fn close(self) -> Result<()> {
        self.peer().outbox.push(Item::Close);
        self.closed().await
    }

    /// Waits until the connection is over, for whatever reason.
    pub async fn closed(&self) -> Result<()> {
        let mut ended = self.inner.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(self
                .peer()
                .outbox
                .closed()
                .unwrap_or_else(|| compere_proto::Error::Closed.into())),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server_info())
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
