//! Servers: put one together, serve it.

pub mod completion;
pub mod context;
pub(crate) mod core;
pub(crate) mod deprecated;
pub(crate) mod dispatch;
pub mod extract;
pub mod form;
pub mod handle;
pub mod handler;
#[cfg(feature = "http-server")]
pub mod http;
pub(crate) mod input;
pub mod listen;
pub(crate) mod methods;
pub mod prompts;
pub(crate) mod registry;
pub mod reply;
pub mod resources;
pub mod schema;
pub mod seal;
pub mod session;
pub(crate) mod soon;
pub mod tasks;
pub(crate) mod texts;
pub mod tools;
pub mod used_states;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::connection::session::PingPlan;
use compere_proto::connection::stateless::{CacheHint, CacheScope};
use compere_proto::icon::Icon;
use compere_proto::lifecycle::Implementation;
use compere_proto::object::RawJson;
use compere_proto::tools::CallToolResult;
use compere_proto::ui;
use compere_proto::{Limits, Revision};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::{Error, Result};
use crate::server::completion::{CompletionQuery, completer};
use crate::server::core::{ServerCore, ServerOptions};
use crate::server::extract::States;
use crate::server::handle::ServerHandle;
use crate::server::handler::Handler;
use crate::server::listen::EventBus;
use crate::server::methods::ServerMethod;
use crate::server::prompts::IntoPrompt;
use crate::server::registry::{CompletionKey, CompletionReferenceKey, Registry};
use crate::server::reply::ToolError;
use crate::server::resources::{IntoResource, ResourceOrTemplate, hint};
use crate::server::seal::StateKey;
use crate::server::session::Session;
use crate::server::tasks::TaskStore;
use crate::server::tools::{IntoTool, ServerTool, ToolRequest, ToolService};
use crate::server::used_states::UsedStates;
use crate::transport::ByteStream;
use crate::transport::stdio::Stdio;

/// Many clients do not follow cursors, so a page holds what usual servers have in all.
const PAGE_SIZE: usize = 1000;

type ToolLayer = Box<dyn Fn(ServerTool) -> ServerTool + Send>;

/// A server being put together.
///
/// What is registered decides which capabilities are declared; what is wrong with it is told by
/// the start, in one error that names the item.
pub struct Server {
    pub(crate) options: ServerOptions,
    states: States,
    tools: Vec<ServerTool>,
    prompts: Vec<prompts::ServerPrompt>,
    resources: Vec<ResourceOrTemplate>,
    completers: Vec<(CompletionKey, completion::Completer)>,
    layers: Vec<ToolLayer>,
    methods: Vec<ServerMethod>,
}

impl Server {
    /// A server with this name and version, offering nothing yet.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            options: ServerOptions {
                info: Implementation::new(name, version),
                instructions: None,
                revisions: Revision::ALL.to_vec(),
                limits: Limits::default(),
                page_size: PAGE_SIZE,
                cache: CacheHint::default(),
                methods: BTreeMap::new(),
                extensions: BTreeMap::new(),
                state_keys: Vec::new(),
                event_bus: None,
                task_store: None,
                used_states: None,
                ping: None,
                logging: true,
                schemas_later: false,
                declare_tools: false,
                declare_prompts: false,
                declare_resources: false,
                on_initialized: None,
                on_roots_changed: None,
                on_ended: None,
                on_subscribe: None,
                on_unsubscribe: None,
                behind: None,
                stands_in: false,
            },
            states: States::default(),
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            completers: Vec::new(),
            methods: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// Offers a tool: a function with `#[tool]`, or a [`ServerTool`].
    #[must_use]
    pub fn tool(mut self, tool: impl IntoTool) -> Self {
        self.tools.push(tool.into_tool());
        self
    }

    /// Offers a function as a tool, without macros: `server.tool_fn("add", |Args(a): Args<Add>|
    /// async move { a.a + a.b })`.
    #[must_use]
    pub fn tool_fn<H, A, O>(self, name: impl Into<String>, handler: H) -> Self
    where
        H: Handler<A, O>,
        A: 'static,
        O: reply::IntoToolResult + 'static,
    {
        self.tool(tools::tool_fn(name, handler))
    }

    /// Offers a prompt: a function with `#[prompt]`, or a
    /// [`ServerPrompt`](prompts::ServerPrompt).
    #[must_use]
    pub fn prompt(mut self, prompt: impl IntoPrompt) -> Self {
        self.prompts.push(prompt.into_prompt());
        self
    }

    /// Offers a resource or a family of them: a function with `#[resource]`, a
    /// [`ServerResource`](resources::ServerResource) or a
    /// [`ServerTemplate`](resources::ServerTemplate).
    #[must_use]
    pub fn resource(mut self, resource: impl IntoResource) -> Self {
        self.resources.push(resource.into_resource());
        self
    }

    /// Completes an argument of a prompt.
    #[must_use]
    pub fn complete_prompt<F, Fut>(mut self, prompt: &str, argument: &str, suggest: F) -> Self
    where
        F: Fn(CompletionQuery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<String>, ToolError>> + Send + 'static,
    {
        let key = (
            CompletionReferenceKey::Prompt(prompt.into()),
            argument.into(),
        );
        self.completers.push((key, completer(suggest)));
        self
    }

    /// Completes a variable of a resource template.
    #[must_use]
    pub fn complete_template<F, Fut>(mut self, template: &str, variable: &str, suggest: F) -> Self
    where
        F: Fn(CompletionQuery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<String>, ToolError>> + Send + 'static,
    {
        let key = (
            CompletionReferenceKey::Resource(template.into()),
            variable.into(),
        );
        self.completers.push((key, completer(suggest)));
        self
    }

    /// A value that handlers take as [`State<T>`](crate::State).
    #[must_use]
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Wraps the calls of every tool that is there when the server starts.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<ToolService> + Send + 'static,
        L::Service: Service<ToolRequest, Response = CallToolResult, Error = ToolError>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<ToolRequest>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |tool| tool.layer(&layer)));
        self
    }

    /// How to use this server, for the model.
    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.options.instructions = Some(instructions.into());
        self
    }

    /// An icon (shown from 2025-11-25 on); may be called several times.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.options.info.icons.get_or_insert_default().push(icon);
        self
    }

    /// Where to read more about it (shown from 2025-11-25 on).
    #[must_use]
    pub fn website(mut self, url: impl Into<String>) -> Self {
        self.options.info.website_url = Some(url.into());
        self
    }

    /// What it is, for people (shown from 2025-11-25 on); how to use it, for the model, is
    /// [`Server::instructions`].
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.options.info.description = Some(description.into());
        self
    }

    /// A name for people (shown from 2025-06-18 on).
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.options.info.title = Some(title.into());
        self
    }

    /// The revisions to speak, in any order; all of them by default. Those with a handshake and those
    /// without share one pipe, one port and one path: every request says which it is.
    #[must_use]
    pub fn revisions(mut self, revisions: &[Revision]) -> Self {
        self.options.revisions = revisions.to_vec();
        self.options.revisions.sort_unstable();
        self.options.revisions.dedup();
        self
    }

    /// Other bounds than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Declares an extension and what there is to say of it: an object, or the server does not start. What it
    /// means is yours; the protocol only carries it, from 2026-07-28 on. What a client declares is in
    /// [`Context::client_extension`](crate::Context::client_extension).
    #[must_use]
    pub fn extension(mut self, identifier: impl Into<String>, settings: impl Serialize) -> Self {
        // What cannot be written is no object either; the start says so.
        let settings = RawJson::from_value(&settings);
        let settings = settings.unwrap_or_else(|_| RawJson::from(serde_json::Value::Null));
        self.options.extensions.insert(identifier.into(), settings);
        self
    }

    /// Answers requests that are none of the protocol's, in every revision: `handler` takes the params as
    /// [`Args`](crate::Args) or [`RawArgs`](crate::RawArgs), and what it returns is an object. Name it after a
    /// domain of yours, as `com.example/turn`, and say with [`Server::extension`] that there is something. A
    /// client asks with [`Client::request_method`](crate::Client::request_method); it cannot be asked anything
    /// meanwhile where it has no session. Gateways and relays do not carry it.
    #[must_use]
    pub fn method<H, A, T>(mut self, name: impl Into<Box<str>>, handler: H) -> Self
    where
        H: Handler<A, Result<T, ToolError>>,
        A: 'static,
        T: Serialize + 'static,
    {
        self.methods.push(ServerMethod::new(name.into(), handler));
        self
    }

    /// How long clients of 2026-07-28 may keep lists, resources and what the server says of itself, and
    /// whether others may have them too. By default they are stale at once and for the client alone. A resource
    /// may say otherwise ([`ServerResource::cache`](resources::ServerResource::cache)), and so may who reads it
    /// ([`Context::keep`](crate::Context::keep)).
    #[must_use]
    pub fn cache(mut self, fresh: Duration, scope: CacheScope) -> Self {
        self.options.cache = hint(fresh, scope);
        self
    }

    /// Keys for what clients of 2026-07-28 keep between the rounds of a call: the first one seals, all of
    /// them open, so that a key can be replaced while calls are under way. Instances behind one load
    /// balancer need the same. By default each process makes its own.
    #[must_use]
    pub fn state_keys(mut self, keys: impl IntoIterator<Item = StateKey>) -> Self {
        self.options.state_keys = keys.into_iter().collect();
        self
    }

    /// Carries changes between several instances of this server, so that a client hears of them wherever
    /// it listens.
    #[must_use]
    pub fn event_bus(mut self, bus: impl EventBus) -> Self {
        self.options.event_bus = Some(Arc::new(bus));
        self
    }

    /// Remembers which states were used up where other instances of this server find it: those that share
    /// [`state_keys`](Self::state_keys) need it for tools that run only
    /// [once](ServerTool::single_use) for each. Without one, each process remembers its own.
    #[must_use]
    pub fn used_states(mut self, store: impl UsedStates) -> Self {
        self.options.used_states = Some(Arc::new(store));
        self
    }

    /// Keeps the tasks of principals where other instances of this server find them, so that any of them
    /// answers for all tasks. Without one, which is the default, tasks live and end with this process. With
    /// an [`event_bus`](Self::event_bus) beside it, clients hear at once what other instances do.
    #[must_use]
    pub fn task_store(mut self, store: impl TaskStore) -> Self {
        self.options.task_store = Some(Arc::new(store));
        self
    }

    /// Entries per page of a list. Default 1,000.
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Self {
        self.options.page_size = entries.max(1);
        self
    }

    /// Pings a client that was silent for `interval`, and ends the connection after three pings
    /// without answer within `timeout` each. Off by default.
    #[must_use]
    pub fn ping_every(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.ping = Some(PingPlan {
            interval,
            timeout,
            failures: 3,
        });
        self
    }

    /// Declares no logging; log messages of handlers are not sent.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.options.logging = false;
        self
    }

    /// Declares tools although none is there yet: some will be added later.
    #[must_use]
    pub fn tools_later(mut self) -> Self {
        self.options.declare_tools = true;
        self
    }

    /// Declares prompts although none is there yet.
    #[must_use]
    pub fn prompts_later(mut self) -> Self {
        self.options.declare_prompts = true;
        self
    }

    /// Declares resources although none is there yet.
    #[must_use]
    pub fn resources_later(mut self) -> Self {
        self.options.declare_resources = true;
        self
    }

    /// Called when a client has finished the handshake.
    #[must_use]
    pub fn on_initialized(mut self, hook: impl Fn(&Session) + Send + Sync + 'static) -> Self {
        self.options.on_initialized = Some(Arc::new(hook));
        self
    }

    /// Called when a client says that its roots changed.
    #[must_use]
    pub fn on_roots_changed(mut self, hook: impl Fn(&Session) + Send + Sync + 'static) -> Self {
        self.options.on_roots_changed = Some(Arc::new(hook));
        self
    }

    /// Makes the schemas of tools when a client first needs them instead of at the start. A server
    /// starts faster then and holds less while it is idle; in exchange a schema that cannot be
    /// used is an error in the log, and of the calls of that tool, instead of an error here.
    #[must_use]
    pub fn schemas_later(mut self) -> Self {
        self.options.schemas_later = true;
        self
    }

    /// Called when the connection to a client is over, however it ended. It must not block.
    #[must_use]
    pub fn on_ended(mut self, hook: impl Fn(&Session) + Send + Sync + 'static) -> Self {
        self.options.on_ended = Some(Arc::new(hook));
        self
    }

    /// Called when a client subscribes to a resource that it was not subscribed to; an error
    /// refuses. It runs where messages are read and must not block.
    #[must_use]
    pub fn on_subscribe(
        mut self,
        hook: impl Fn(&Session, &str) -> std::result::Result<(), ToolError> + Send + Sync + 'static,
    ) -> Self {
        self.options.on_subscribe = Some(Arc::new(hook));
        self
    }

    /// Called once for each subscription that ends: because the client says so, or because its
    /// connection is over, however it ended. It must not block.
    #[must_use]
    pub fn on_unsubscribe(mut self, hook: impl Fn(&Session, &str) + Send + Sync + 'static) -> Self {
        self.options.on_unsubscribe = Some(Arc::new(hook));
        self
    }

    /// Checks everything and starts the server: connections are served through the handle.
    pub fn start(mut self) -> Result<ServerHandle> {
        for method in std::mem::take(&mut self.methods) {
            if let Some(fault) = method.fault() {
                return Err(Error::setup(fault));
            }
            let missing = method.states.iter();
            let mut missing = missing.filter(|(state, _)| !self.states.contains(*state));
            if let Some((_, name)) = missing.next() {
                let why = format!("a handler needs State<{name}>; give it to Server::state");
                return Err(Error::setup(why));
            }
            let name = method.name.clone();
            if self
                .options
                .methods
                .insert(method.name, method.handler)
                .is_some()
            {
                return Err(Error::setup(format!("the method {name:?} is there twice")));
            }
        }
        let limits = &self.options.limits;
        if self.options.revisions.is_empty() {
            return Err(Error::setup("a server speaks at least one revision"));
        }
        let mut extensions = self.options.extensions.iter();
        if let Some((name, _)) = extensions.find(|(_, settings)| !settings.is_object()) {
            let why = format!("what is said of the extension {name:?} is no object");
            return Err(Error::setup(why));
        }
        let tools: Vec<ServerTool> = self
            .tools
            .into_iter()
            .map(|tool| self.layers.iter().fold(tool, |tool, layer| layer(tool)))
            .collect();
        let missing = tools
            .iter()
            .find_map(|tool| tool.missing_state(&self.states))
            .or_else(|| missing_in(&self.prompts, &self.resources, &self.states));
        if let Some(name) = missing {
            return Err(Error::setup(format!(
                "a handler needs State<{name}>; give it to Server::state"
            )));
        }
        let registry = Registry::default()
            .with_tools(tools, limits, self.options.schemas_later)
            .and_then(|registry| registry.with_prompts(self.prompts))
            .and_then(|registry| registry.with_resources(self.resources, limits))
            .map_err(Error::setup)?;
        check_interfaces(&registry)?;
        for (key, _) in &self.completers {
            check_completion(&registry, key)?;
        }
        let registry = registry
            .with_completers(self.completers)
            .map_err(Error::setup)?;
        Ok(ServerHandle::new(ServerCore::new(
            self.options,
            self.states,
            registry,
        )))
    }

    /// Serves standard input and output until the client closes it, or SIGTERM or SIGINT comes.
    /// What still runs then gets its grace.
    ///
    /// Cancel safety: dropping the future ends the connection at once.
    pub async fn serve_stdio(self) -> Result<()> {
        let handle = self.start()?;
        handle.serve_until_signal(Stdio::new()?).await
    }

    /// Serves one connection on any duplex stream to its end.
    pub async fn serve<S>(self, stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.start()?.serve(stream).await
    }

    /// Serves one connection on any stream of bytes to its end.
    pub async fn serve_on<S: ByteStream + Unpin>(self, stream: S) -> Result<()> {
        self.start()?.serve_on(stream).await
    }
}

/// Runs a function on the blocking pool; what `#[tool(blocking)]` does. A panic goes on in the
/// caller. Needs a tokio runtime.
///
/// Cancel safety: dropping the future does not stop the function, only its result is lost.
pub async fn blocking<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(function).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for the result any more.
            Err(_) => std::future::pending().await,
        },
    }
}

fn missing_in(
    prompts: &[prompts::ServerPrompt],
    resources: &[ResourceOrTemplate],
    states: &States,
) -> Option<&'static str> {
    let of_prompts = prompts.iter().map(|prompt| &prompt.states);
    let of_resources = resources.iter().map(|resource| match resource {
        ResourceOrTemplate::Resource(resource) => &resource.states,
        ResourceOrTemplate::Template(template) => &template.states,
    });
    of_prompts
        .chain(of_resources)
        .find_map(|needed| tools::missing_state(needed, states))
}

/// Every interface that a tool names is a resource of the server.
fn check_interfaces(registry: &Registry) -> Result<()> {
    for tool in registry.tools.iter() {
        let definition = &tool.tool.definition;
        let Some(uri) = definition.ui().and_then(|ui| ui.resource_uri) else {
            continue;
        };
        let name = &definition.name;
        if !uri.starts_with(ui::SCHEME) {
            let why =
                format!("the interface {uri:?} of the tool {name:?} does not begin with ui://");
            return Err(Error::setup(why));
        }
        let is_there = registry
            .resources
            .iter()
            .any(|resource| resource.definition.uri == uri)
            || registry.templates.iter().any(|template| {
                let template = template.template.as_ref();
                template.is_ok_and(|template| template.matches(&uri).is_some())
            });
        if !is_there {
            let why =
                format!("the interface {uri:?} of the tool {name:?} is no resource of the server");
            return Err(Error::setup(why));
        }
    }
    Ok(())
}

fn check_completion(registry: &Registry, key: &CompletionKey) -> Result<()> {
    let known = match &key.0 {
        CompletionReferenceKey::Prompt(name) => registry.prompts.contains(name),
        CompletionReferenceKey::Resource(uri) => registry.templates.contains(uri),
    };
    if known {
        return Ok(());
    }
    Err(Error::setup(format!(
        "a completion for {:?} of {:?}, which is not registered",
        key.1, key.0
    )))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("info", &self.options.info)
            .field("tools", &self.tools.len())
            .field("prompts", &self.prompts.len())
            .field("resources", &self.resources.len())
            .finish_non_exhaustive()
    }
}
