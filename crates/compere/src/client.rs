//! Clients: connect to a server, use what it offers, answer what it asks.

pub mod answer;
pub mod cache;
pub mod call;
pub mod era;
pub mod list;
pub(crate) mod listen;
pub mod output;
pub(crate) mod pages;
pub(crate) mod promises;
pub(crate) mod rounds;
pub mod task;
pub(crate) mod tasks;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compere_proto::capability::{
    Capability, ClientCapabilities, ListCapability, ServerCapabilities,
};
use compere_proto::completion::{
    CompleteParams, CompleteResult, Completion, CompletionArgument, CompletionContext,
    CompletionReference,
};
use compere_proto::connection::discovery::Discovered;
use compere_proto::connection::session::{PingPlan, Session as Machine, SessionConfig};
use compere_proto::elicitation::{ElicitAction, ElicitParams, ElicitResult, UrlElicitation};
use compere_proto::error::{Misuse, PeerIncompatible};
use compere_proto::lifecycle::{DiscoverResult, Implementation};
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
use compere_proto::{Era, Limits, Method, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::client::answer::{Answering, Changed, ClientSide, Handlers, Refusal, Roots, boxed};
use crate::client::cache::{CacheMode, ResultCache, Share};
use crate::client::call::CallTool;
use crate::client::era::{EraMemory, Verdict};
use crate::client::list::List;
use crate::client::listen::Listening;
use crate::client::pages::Pages;
use crate::client::promises::Promises;
use crate::client::rounds::RoundOptions;
use crate::client::task::TaskHandle;
use crate::driver::Driver;
use crate::driver::outbox::Item;
use crate::driver::peer::{Agreed, Peer, RequestOptions, decoded};
use crate::error::{Error, ErrorKind, Result};
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
    promises: Arc<Promises>,
    answering: Answering,
    listening: Arc<Listening>,
    share: Option<Share>,
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
    verdict: Option<Verdict>,
    memory: Option<EraMemory>,
    /// What is said of each extension.
    extensions: BTreeMap<String, RawJson>,
    /// What is kept, and for whom.
    cache: Option<(ResultCache, Arc<str>)>,
}

/// Something that a client can connect to.
pub trait Target: Send + Sized {
    /// The stream of bytes to the server.
    type Stream: ByteStream + Unpin;

    /// Opens it. Called inside a tokio runtime.
    fn open(self, limits: &Limits) -> Result<Self::Stream>;

    /// The same once more: a server that does not survive the question for its era is started anew. By
    /// default there is no second time.
    fn again(&self) -> Option<Self> {
        None
    }

    /// What names the server in an [`EraMemory`]. By default it has no name and is not remembered.
    fn identity(&self) -> Option<String> {
        None
    }
}

impl Target for Command {
    type Stream = crate::transport::child::ChildStream;

    fn open(self, limits: &Limits) -> Result<Self::Stream> {
        self.start(limits)
    }

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn identity(&self) -> Option<String> {
        Some(self.words())
    }
}

/// A target with a listener on its wire.
#[derive(Debug)]
pub struct Tapped<T, F> {
    target: T,
    on_line: Arc<Mutex<F>>,
}

impl<T, F> Tapped<T, F> {
    /// Shows every line of the connection to `on_line`, without its end.
    pub fn new(target: T, on_line: F) -> Self {
        Self {
            target,
            on_line: Arc::new(Mutex::new(on_line)),
        }
    }
}

impl<T, F> Target for Tapped<T, F>
where
    T: Target,
    F: FnMut(Direction, &[u8]) + Send + 'static,
{
    type Stream = Tap<T::Stream>;

    fn open(self, limits: &Limits) -> Result<Self::Stream> {
        let on_line = self.on_line;
        let on_line = move |direction: Direction, line: &[u8]| {
            let mut on_line = on_line.lock().unwrap_or_else(PoisonError::into_inner);
            on_line(direction, line);
        };
        Ok(Tap::new(self.target.open(limits)?, on_line))
    }

    fn again(&self) -> Option<Self> {
        Some(Self {
            target: self.target.again()?,
            on_line: self.on_line.clone(),
        })
    }

    fn identity(&self) -> Option<String> {
        self.target.identity()
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

    fn again(&self) -> Option<Self> {
        Some(self.clone())
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

    /// The revisions to speak; all of them by default. A server is asked for the stateless era first where
    /// that is among them, and greeted with the newest of the others if it has not got it. With one
    /// revision the client is pinned to it.
    #[must_use]
    pub fn revisions(mut self, revisions: &[Revision]) -> Self {
        self.revisions = revisions.to_vec();
        self.revisions.sort_unstable();
        self
    }

    /// Declares an extension and what there is to say of it: an object. What it means is yours; the protocol
    /// only carries it, from 2026-07-28 on. What a server declares is in
    /// [`ServerCapabilities::extension`]. Settings that are no object are left out.
    #[must_use]
    pub fn extension(mut self, identifier: impl Into<String>, settings: impl Serialize) -> Self {
        match RawJson::from_value(&settings) {
            Ok(settings) if settings.is_object() => {
                self.extensions.insert(identifier.into(), settings);
            }
            _ => tracing::error!("what is said of an extension is no object: it is left out"),
        }
        self
    }

    /// What servers allow to be kept goes here, for this principal: whoever the client acts for, by its
    /// token for example. Clients that share a cache have what is public of a server, and what is private
    /// where both act for the same principal. Without this each client has a cache of its own, while it
    /// lives. A server is told apart by what its target is: the address, or the program with its arguments.
    #[must_use]
    pub fn cache(mut self, cache: &ResultCache, principal: impl Into<Arc<str>>) -> Self {
        self.cache = Some((cache.clone(), principal.into()));
        self
    }

    /// Keeps nothing, whatever servers allow.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.cache = None;
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

    /// Lets a server make tasks of calls (the extension `io.modelcontextprotocol/tasks`, from 2026-07-28):
    /// a call then waits for its task as for anything else, answers what that asks, and withdraws it when
    /// it is dropped. Off by default, as extensions are; a tool that is nothing but a task cannot be called
    /// without.
    #[must_use]
    pub fn tasks(mut self) -> Self {
        self.handlers.tasks = true;
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

    /// What is known of the server already: it is not asked. With [`Verdict::Stateless`] the client is
    /// connected without a word; with [`Verdict::Handshake`] it begins with `initialize`.
    #[must_use]
    pub fn known(mut self, verdict: Verdict) -> Self {
        self.verdict = Some(verdict);
        self
    }

    /// Remembers there what is found out, and asks there first.
    #[must_use]
    pub fn memory(mut self, memory: &EraMemory) -> Self {
        self.memory = Some(memory.clone());
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

    /// Connects: finds out which era the server is of, and does the handshake if it has one. Needs a
    /// tokio runtime; the connection runs as a task of its own.
    ///
    /// A server process that ends, or falls silent, over the question for its era is started anew and
    /// greeted with `initialize`.
    ///
    /// Cancel safety: dropping the future closes the connection, and ends a process that was
    /// started.
    pub async fn connect(mut self, target: impl Target) -> Result<Client> {
        for root in self.roots.iter().flatten() {
            root.validate()
                .map_err(|error| Error::setup(error.to_string()))?;
        }
        if self.revisions.is_empty() {
            return Err(Error::setup("there is no revision to speak"));
        }
        if self.session_in_front().is_some() {
            return Box::pin(self.connect_behind(target)).await;
        }
        let (memory, identity) = (self.memory.clone(), target.identity());
        let memory = memory.zip(identity);
        let mut is_remembered = false;
        if let (None, Some((memory, identity))) = (&self.verdict, &memory) {
            self.verdict = memory.get(identity);
            is_remembered = self.verdict.is_some();
        }
        let both = [Era::Handshake, Era::Stateless]
            .iter()
            .all(|era| self.revisions.iter().any(|revision| revision.era() == *era));
        let again = match self.verdict.is_none() && both || is_remembered {
            true => target.again(),
            false => None,
        };
        let mut first = self.clone();
        if self.verdict.is_none() && again.is_some() {
            // It may have been upset by the question: better a second start than a long wait.
            let patience = self.limits.discover_timeout * 3;
            first.limits.initialize_timeout = self.limits.initialize_timeout.min(patience);
        }
        let mut connected = first.open(target).await;
        if let (Err(error), Some(target)) = (&connected, again) {
            let upset = error.is_closed() || error.is_timeout();
            if is_remembered {
                tracing::info!(%error, "what was known of the server has proven wrong");
                self.verdict = None;
                connected = self.open(target).await;
            } else if upset {
                tracing::info!(%error, "the server did not stand the question for its era; once more without it");
                self.verdict = Some(Verdict::Handshake);
                connected = self.open(target).await;
            }
        }
        if let Some((memory, identity)) = memory {
            match &connected {
                Ok(client) => memory.set(identity, client.verdict()),
                Err(_) => memory.forget(&identity),
            }
        }
        connected
    }

    /// Behind a relay: with a session if the server has them, which asks and is asked live. Only a server
    /// that refuses one in words is asked without.
    async fn connect_behind(mut self, target: impl Target) -> Result<Client> {
        let (sessions, without): (Vec<_>, Vec<_>) = self
            .revisions
            .iter()
            .partition(|revision| revision.era() == Era::Handshake);
        let is_choice = !sessions.is_empty() && !without.is_empty();
        let again = if is_choice { target.again() } else { None };
        let mut first = self.clone();
        if is_choice {
            first.revisions = sessions;
        }
        let connected = first.open(target).await;
        let is_refused = |error: &Error| match error.kind() {
            ErrorKind::Protocol(compere_proto::Error::PeerIncompatible(_)) => true,
            // Who must not come, or not now, learns no more by another question.
            ErrorKind::HttpStatus(status) => matches!(status, 400 | 404 | 405 | 501),
            _ => error.refusal().is_some(),
        };
        match (&connected, again) {
            (Err(error), Some(target)) if is_refused(error) => {
                tracing::info!(%error, "the server behind has no sessions");
                self.revisions = without;
                self.open(target).await
            }
            _ => connected,
        }
    }

    async fn open(mut self, target: impl Target) -> Result<Client> {
        static NAMELESS: AtomicU64 = AtomicU64::new(0);
        let share = self.cache.take().map(|(cache, principal)| Share {
            cache,
            principal,
            // What has no name is like no other.
            server: target.identity().map_or_else(
                || format!("\0{}", NAMELESS.fetch_add(1, Ordering::Relaxed)).into(),
                Arc::from,
            ),
        });
        let stream = target.open(&self.limits)?;
        let peer = Peer::new(Arc::new(self.limits.clone()));
        let roots = Arc::new(Roots::default());
        let promises = Arc::new(Promises::default());
        let pages = Arc::new(Pages::default());
        let hears_changes = self.handlers.on_changed.is_some() || self.handlers.ahead.is_some();
        let mut config = self.config();
        config.silence_is_evidence = stream.silence_is_evidence();
        let listening = Listening::new(peer.clone());
        roots.set(self.roots.unwrap_or_default());
        let (ready, is_ready) = oneshot::channel();
        let answering = Answering {
            handlers: self.handlers,
            roots: roots.clone(),
            pages: pages.clone(),
        };
        let side = ClientSide {
            peer: peer.clone(),
            answering: answering.clone(),
            promises: promises.clone(),
            listening: listening.clone(),
            share: share.clone(),
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
            promises,
            answering,
            listening,
            share,
            ended,
        };
        match is_ready.await {
            Ok(Ok(())) => {
                if inner.peer.is_stateless() && hears_changes {
                    inner.listening.hear_of_lists().await;
                }
                Ok(Client {
                    inner: Arc::new(inner),
                })
            }
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
        let mut extensions = self.extensions.clone();
        if self.handlers.tasks {
            let identifier = compere_proto::tasks::EXTENSION.to_owned();
            extensions.insert(identifier, RawJson::empty_object());
        }
        if !extensions.is_empty() {
            capabilities.extensions = RawJson::from_value(&extensions).ok();
        }
        if let Some(ahead) = &self.handlers.ahead {
            capabilities = ahead.capabilities();
        }
        let mut config = SessionConfig::new(self.info.clone());
        let of = |era: Era| {
            let revisions = self.revisions.iter().copied();
            revisions.filter(|revision| revision.era() == era).collect()
        };
        config.revisions = of(Era::Handshake);
        config.stateless = match &self.verdict {
            Some(Verdict::Handshake) => Vec::new(),
            _ => of(Era::Stateless),
        };
        if let Some(Verdict::Stateless(found)) = &self.verdict {
            config.discovered = Some(found.clone());
        }
        config.served.clone_from(&self.revisions);
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
            revisions: Revision::ALL.to_vec(),
            roots: None,
            handlers: Handlers::default(),
            ping: None,
            offer: None,
            verdict: None,
            memory: None,
            extensions: BTreeMap::new(),
            cache: Some((ResultCache::new(), "".into())),
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.inner.peer
    }

    fn agreed(&self) -> Option<&Agreed> {
        self.peer().agreed.get()
    }

    /// What was found out of the server's era, to be handed to [`ClientBuilder::known`] the next time.
    pub fn verdict(&self) -> Verdict {
        let Some(agreed) = self.agreed().filter(|_| self.peer().is_stateless()) else {
            return Verdict::Handshake;
        };
        let capabilities = ServerCapabilities::clone(&agreed.server_capabilities);
        let mut found = Discovered::new(agreed.revision, capabilities);
        found.info.clone_from(&agreed.peer_info);
        found.instructions.clone_from(&agreed.instructions);
        Verdict::Stateless(Box::new(found))
    }

    /// The revision of the session, or of the requests where there is no session.
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
        let (promises, answering) = (self.inner.promises.clone(), self.inner.answering.clone());
        CallTool::new(
            self.peer().clone(),
            promises,
            answering,
            name.into(),
            &arguments,
        )
    }

    /// The tools.
    pub fn tools(&self) -> List<Tool> {
        let (promises, limits) = (self.inner.promises.clone(), self.peer().limits.clone());
        List::seen_by::<ListToolsResult>(self.peer().clone(), self.share(), move |tools| {
            promises.learn(tools, &limits);
        })
    }

    /// The tasks that the server keeps for us (only 2025-11-25; later none are listed).
    pub fn tasks(&self) -> List<Task> {
        List::new::<ListTasksResult>(self.peer().clone(), None)
    }

    /// A handle on a task whose id is known, from this connection or an earlier one.
    pub fn task(&self, id: impl Into<String>) -> TaskHandle {
        let peer = self.peer().clone();
        match peer.is_stateless() {
            true => TaskHandle::of_extension(peer, id, self.inner.answering.clone()),
            false => TaskHandle::new(peer, id, None),
        }
    }

    /// The prompts.
    pub fn prompts(&self) -> List<Prompt> {
        List::new::<ListPromptsResult>(self.peer().clone(), self.share())
    }

    /// The resources.
    pub fn resources(&self) -> List<Resource> {
        List::new::<ListResourcesResult>(self.peer().clone(), self.share())
    }

    /// The resource templates.
    pub fn resource_templates(&self) -> List<ResourceTemplate> {
        List::new::<ListResourceTemplatesResult>(self.peer().clone(), self.share())
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

    /// Reads a resource, or takes what was kept of it if the server allowed that and it is fresh. Cancel
    /// safety: dropping the future withdraws the request.
    pub async fn read(&self, uri: impl Into<String>) -> Result<ReadResourceResult> {
        self.read_in(CacheMode::Use, uri).await
    }

    /// The same, saying what may come from what was kept.
    pub async fn read_in(
        &self,
        mode: CacheMode,
        uri: impl Into<String>,
    ) -> Result<ReadResourceResult> {
        let uri = uri.into();
        let method = Method::ResourcesRead;
        let Some(share) = self.share() else {
            return self.request(method, ResourceParams::new(uri)).await;
        };
        if let Some(kept) = share.get(mode, method, &uri) {
            return decoded(method, &kept);
        }
        let asked = Instant::now();
        let was_at_once = Arc::new(AtomicBool::new(false));
        let params = ResourceParams::new(uri.as_str());
        let text = self.text_in_rounds(method, &params, &was_at_once).await?;
        if was_at_once.load(Ordering::Relaxed) {
            share.keep(mode, method, &uri, asked, &text);
        }
        decoded(method, &text)
    }

    /// What of the cache is ours, where servers say what may be kept.
    fn share(&self) -> Option<Share> {
        let share = self.inner.share.clone();
        share.filter(|_| self.peer().is_stateless())
    }

    /// Sends a request that is none of the protocol's: see
    /// [`Server::method`](crate::Server::method). Params and result are objects; a server that does not know the
    /// method says so with -32601.
    ///
    /// Cancel safety: dropping the future withdraws the request.
    pub async fn request_method<R: DeserializeOwned>(
        &self,
        name: &str,
        params: impl Serialize,
    ) -> Result<R> {
        let unfit = |why: String| Error::from(compere_proto::Error::from(Misuse::Other(why)));
        let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\');
        if Method::from_name(name).is_some() || name.is_empty() || !name.bytes().all(is_plain) {
            return Err(unfit(format!("{name:?} is no name of a method of yours")));
        }
        let params = serde_json::to_string(&params).map_err(|error| unfit(error.to_string()))?;
        let params = match params.as_str() {
            "null" => "{}".to_owned(),
            _ if params.starts_with('{') => params,
            _ => return Err(unfit("params are an object".to_owned())),
        };
        let pending = self.peer().named_request(name, &params);
        let text = pending.complete(Method::Extension).await?;
        decoded(Method::Extension, &text)
    }

    /// Asks to be told when a resource changes.
    pub async fn subscribe(&self, uri: impl Into<String>) -> Result<()> {
        if self.peer().is_stateless() {
            return self.inner.listening.subscribe(uri.into()).await;
        }
        let params = ResourceParams::new(uri);
        let _: Empty = self.request(Method::ResourcesSubscribe, params).await?;
        Ok(())
    }

    /// Takes that back.
    pub async fn unsubscribe(&self, uri: impl Into<String>) -> Result<()> {
        if self.peer().is_stateless() {
            return self.inner.listening.unsubscribe(&uri.into()).await;
        }
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

    /// The least severe log level that the server shall send. Without a session every request from now on
    /// asks for it; before, a server then sends nothing.
    pub async fn set_level(&self, level: LoggingLevel) -> Result<()> {
        if self.peer().is_stateless() {
            let declared = self.server_capabilities();
            if declared.is_none_or(|declared| declared.logging.is_none()) {
                let capability = Capability::Logging;
                let method = Method::LoggingSetLevel;
                let missing = PeerIncompatible::MissingCapability { capability, method };
                return Err(compere_proto::Error::from(missing).into());
            }
            let known = &self.peer().level;
            *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
            return Ok(());
        }
        let params = SetLevelParams::new(level);
        let _: Empty = self.request(Method::LoggingSetLevel, params).await?;
        Ok(())
    }

    /// Asks whether the server is there. The stateless era has no message for that; there the server is
    /// asked what it is.
    pub async fn ping(&self) -> Result<()> {
        if self.peer().is_stateless() {
            let _: DiscoverResult = self.request(Method::Discover, Empty::new()).await?;
            return Ok(());
        }
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
        self.inner.answering.roots.set(roots);
        if !self.peer().is_stateless() {
            self.peer().notify(Method::RootsListChanged, None::<&Empty>);
        }
        Ok(())
    }

    async fn request<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: P,
    ) -> Result<R> {
        if self.peer().is_stateless() {
            return self.request_in_rounds(method, &params).await;
        }
        self.peer()
            .request(method, RequestOptions::default(), |_| Some(params))
            .decode(method)
            .await
    }

    /// The same with params that are JSON text, for whoever passes on what others ask. What a session
    /// has and the stateless era has not is done in the way of that era.
    pub(crate) async fn pass_in_rounds(
        &self,
        method: Method,
        params: &str,
        options: RoundOptions,
    ) -> Result<Box<str>> {
        let unreadable = |error: serde_json::Error| {
            Error::from(compere_proto::Error::from(Misuse::Other(error.to_string())))
        };
        match method {
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                let params: ResourceParams = serde_json::from_str(params).map_err(unreadable)?;
                match method {
                    Method::ResourcesSubscribe => self.subscribe(params.uri).await?,
                    _ => self.unsubscribe(params.uri).await?,
                }
                return Ok("{}".into());
            }
            Method::LoggingSetLevel => {
                let params: SetLevelParams = serde_json::from_str(params).map_err(unreadable)?;
                self.set_level(params.level).await?;
                return Ok("{}".into());
            }
            Method::Ping => {
                self.ping().await?;
                return Ok("{}".into());
            }
            _ => {}
        }
        let answering = &self.inner.answering;
        let result = rounds::send(self.peer(), answering, method, params, options).await?;
        Ok(rounds::without_hints(&result))
    }

    async fn request_in_rounds<P: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        params: &P,
    ) -> Result<R> {
        let text = self.text_in_rounds(method, params, &Arc::default()).await?;
        decoded(method, &text)
    }

    /// The text of a result, and whether it took no round to get it.
    async fn text_in_rounds<P: Serialize>(
        &self,
        method: Method,
        params: &P,
        was_at_once: &Arc<AtomicBool>,
    ) -> Result<Box<str>> {
        let params = serde_json::to_string(params).map_err(|error| {
            compere_proto::Error::from(Misuse::NotSerializable(error.to_string()))
        })?;
        let answering = &self.inner.answering;
        let send = || {
            let options = RoundOptions {
                was_at_once: Some(was_at_once.clone()),
                ..RoundOptions::default()
            };
            rounds::send(self.peer(), answering, method, &params, options)
        };
        match send().await {
            // Nothing is done twice by asking twice for these.
            Err(error) if *error.kind() == ErrorKind::AnswerLost => send().await,
            sent => sent,
        }
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
