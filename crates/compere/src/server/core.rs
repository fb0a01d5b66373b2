//! What all connections of one server share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use compere_proto::capability::{ListCapability, ResourcesCapability, ServerCapabilities};
use compere_proto::connection::session::{PingPlan, SessionConfig};
use compere_proto::connection::stateless::{CacheHint, Head};
use compere_proto::lifecycle::Implementation;
use compere_proto::object::RawJson;
use compere_proto::tasks::TaskSupport;
use compere_proto::ui;
use compere_proto::{Era, Limits, Method, Revision};
use serde_json::Map;
use tokio::sync::Notify;

use crate::driver::outbox::Item;
use crate::relay::stand_in::StandIns;
use crate::relay::{Opened, Opener};
use crate::server::extract::States;
#[cfg(feature = "http-server")]
use crate::server::http::sessionless::Rates;
use crate::server::listen::{Change, EventBus, InProcess, Subscriptions};
use crate::server::methods::MethodHandler;
use crate::server::registry::Registry;
use crate::server::reply::ToolError;
use crate::server::seal::{Seal, StateKey};
use crate::server::session::{Session, SessionShared};
use crate::server::tasks::{TaskStore, Tasks};
use crate::server::used_states::{UsedHere, UsedStates};

pub(crate) type SessionHook = Arc<dyn Fn(&Session) + Send + Sync>;
pub(crate) type SubscribeHook = Arc<dyn Fn(&Session, &str) -> Result<(), ToolError> + Send + Sync>;
pub(crate) type UnsubscribeHook = Arc<dyn Fn(&Session, &str) + Send + Sync>;

/// How a server behaves, fixed when it starts.
#[derive(Clone)]
pub(crate) struct ServerOptions {
    pub(crate) info: Implementation,
    pub(crate) instructions: Option<String>,
    pub(crate) revisions: Vec<Revision>,
    pub(crate) limits: Limits,
    pub(crate) page_size: usize,
    pub(crate) cache: CacheHint,
    /// What answers requests that are none of the protocol's, by their names.
    pub(crate) methods: BTreeMap<Box<str>, MethodHandler>,
    /// What is said of each extension.
    pub(crate) extensions: BTreeMap<String, RawJson>,
    pub(crate) state_keys: Vec<StateKey>,
    pub(crate) event_bus: Option<Arc<dyn EventBus>>,
    pub(crate) task_store: Option<Arc<dyn TaskStore>>,
    pub(crate) used_states: Option<Arc<dyn UsedStates>>,
    pub(crate) ping: Option<PingPlan>,
    pub(crate) logging: bool,
    pub(crate) schemas_later: bool,
    pub(crate) declare_tools: bool,
    pub(crate) declare_prompts: bool,
    pub(crate) declare_resources: bool,
    pub(crate) on_initialized: Option<SessionHook>,
    pub(crate) on_roots_changed: Option<SessionHook>,
    pub(crate) on_ended: Option<SessionHook>,
    pub(crate) on_subscribe: Option<SubscribeHook>,
    pub(crate) on_unsubscribe: Option<UnsubscribeHook>,
    /// What answers for each client in place of what is registered.
    pub(crate) behind: Option<Opener>,
    /// Clients without a session get one that stands in for them there.
    pub(crate) stands_in: bool,
}

/// A running server.
pub(crate) struct ServerCore {
    pub(crate) options: ServerOptions,
    pub(crate) states: States,
    registry: RwLock<Arc<Registry>>,
    epoch: AtomicU64,
    sessions: Mutex<HashMap<u64, Weak<SessionShared>>>,
    next_session: AtomicU64,
    pub(crate) tasks: Tasks,
    pub(crate) used_states: UsedHere,
    pub(crate) listeners: Arc<Subscriptions>,
    pub(crate) stand_ins: StandIns,
    bus: Arc<dyn EventBus>,
    /// Made when first something is sealed.
    seal: OnceLock<Result<Seal, crate::Error>>,
    #[cfg(feature = "http-server")]
    pub(crate) rates: Rates,
    /// Told when connections are to end; those that have no session yet listen here.
    pub(crate) stopping: Notify,
    session_config: Arc<SessionConfig>,
    limits: Arc<Limits>,
}

impl ServerCore {
    pub(crate) fn new(options: ServerOptions, states: States, registry: Registry) -> Arc<Self> {
        let session_config = Arc::new(session_config(&options, &registry));
        let limits = Arc::new(options.limits.clone());
        let bus = match &options.event_bus {
            Some(bus) => bus.clone(),
            None => Arc::new(InProcess::default()),
        };
        let tasks = Tasks::new(options.task_store.clone());
        let core = Arc::new(Self {
            listeners: Arc::default(),
            stand_ins: StandIns::default(),
            bus: bus.clone(),
            options,
            states,
            registry: RwLock::new(Arc::new(registry)),
            epoch: AtomicU64::new(0),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            tasks,
            used_states: UsedHere::default(),
            seal: OnceLock::new(),
            #[cfg(feature = "http-server")]
            rates: Rates::default(),
            stopping: Notify::new(),
            session_config,
            limits,
        });
        let instance = Arc::downgrade(&core);
        bus.attach(Arc::new(move |change| {
            if let Some(core) = instance.upgrade() {
                core.deliver(change);
            }
        }));
        core
    }

    /// Tells everyone whom it concerns, in all instances, that something changed.
    pub(crate) fn publish(&self, change: &Change) {
        self.bus.publish(change);
    }

    /// Tells the clients of this instance.
    pub(crate) fn deliver(&self, change: &Change) {
        self.listeners.tell(change);
        // Sessions are told of their tasks one by one.
        if let Change::Task(id) = change {
            return self.tasks.woken(id);
        }
        let nothing = None::<&compere_proto::pagination::Empty>;
        self.broadcast(|session| match change {
            Change::Tools => session.peer.notify(Method::ToolsListChanged, nothing),
            Change::Prompts => session.peer.notify(Method::PromptsListChanged, nothing),
            Change::Resources => session.peer.notify(Method::ResourcesListChanged, nothing),
            Change::Resource(uri) => session
                .peer
                .outbox
                .push(Item::ResourceUpdated { uri: uri.clone() }),
            Change::Task(_) => {}
        });
    }

    /// The registry, and the epoch that it belongs to.
    pub(crate) fn registry(&self) -> (u64, Arc<Registry>) {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        (self.epoch(), registry.clone())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts a new registry in place and announces the change.
    pub(crate) fn change<E>(
        &self,
        announce: &Change,
        change: impl FnOnce(&Registry) -> Result<Registry, E>,
    ) -> Result<(), E> {
        {
            let mut registry = self
                .registry
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *registry = Arc::new(change(&registry)?);
            self.epoch.fetch_add(1, Ordering::Release);
        }
        self.publish(announce);
        Ok(())
    }

    /// Does something for every connection.
    pub(crate) fn broadcast(&self, each: impl Fn(&SessionShared)) {
        let sessions: Vec<Arc<SessionShared>> = {
            let known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            known.values().filter_map(Weak::upgrade).collect()
        };
        for session in sessions {
            each(&session);
        }
    }

    /// What seals the state of stateless clients.
    pub(crate) fn seal(&self) -> Result<&Seal, crate::Error> {
        let seal = self
            .seal
            .get_or_init(|| Seal::new(&self.options.state_keys));
        seal.as_ref().map_err(Clone::clone)
    }

    /// A number that nothing else of this server has.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// A new connection.
    pub(crate) fn session(
        self: &Arc<Self>,
        opened: Opened,
        principal: Arc<str>,
    ) -> Arc<SessionShared> {
        let Opened { id, peer, back, .. } = opened;
        let session = SessionShared::new(self.clone(), peer, id, principal, back);
        let session = Arc::new(session);
        let mut known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, Arc::downgrade(&session));
        session
    }

    /// A connection is gone.
    pub(crate) fn forget(&self, id: u64) {
        let mut known = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }

    /// What every connection is made with.
    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        self.session_config.clone()
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }
}

fn session_config(options: &ServerOptions, registry: &Registry) -> SessionConfig {
    let of = |era| {
        options
            .revisions
            .iter()
            .copied()
            .filter(|revision| revision.era() == era)
            .collect()
    };
    let mut config = SessionConfig::new(options.info.clone());
    config.revisions = of(Era::Handshake);
    config.stateless = of(Era::Stateless);
    config.served.clone_from(&options.revisions);
    if options.behind.is_some() && !options.stands_in {
        // What answers in our place has sessions.
        config.stateless.clear();
        config.served.clone_from(&config.revisions);
    }
    config.server_capabilities = Arc::new(capabilities(options, registry));
    config.instructions = options.instructions.clone();
    config.head = Head::new(&options.info, options.cache);
    config.limits = options.limits.clone();
    config.ping = options.ping;
    config.extension_methods = options.methods.keys().cloned().collect();
    config
}

/// Capabilities follow from what is registered when the server starts.
fn capabilities(options: &ServerOptions, registry: &Registry) -> ServerCapabilities {
    let list = || ListCapability::new().list_changed(true);
    let mut capabilities = ServerCapabilities::new();
    if options.logging {
        capabilities.logging = Some(Map::new().into());
    }
    if options.declare_tools || !registry.tools.is_empty() {
        capabilities.tools = Some(list());
    }
    if options.declare_prompts || !registry.prompts.is_empty() {
        capabilities.prompts = Some(list());
    }
    if options.declare_resources || !registry.resources.is_empty() || !registry.templates.is_empty()
    {
        let mut resources = ResourcesCapability::new().list_changed(true);
        if registry.subscribable() {
            resources.subscribe = Some(true);
        }
        capabilities.resources = Some(resources);
    }
    if registry
        .tools
        .iter()
        .any(|tool| tool.tool.task_support != TaskSupport::Forbidden)
    {
        let tasks = serde_json::json!({
            "list": {},
            "cancel": {},
            "requests": {"tools": {"call": {}}},
        });
        capabilities.tasks = Some(tasks.into());
    }
    let mut extensions = options.extensions.clone();
    if registry
        .tools
        .iter()
        .any(|tool| tool.tool.definition.ui().is_some())
    {
        let nothing = RawJson::empty_object();
        extensions
            .entry(ui::EXTENSION.to_owned())
            .or_insert(nothing);
    }
    if !extensions.is_empty() {
        capabilities.extensions = RawJson::from_value(&extensions).ok();
    }
    if !registry.completers.is_empty() {
        capabilities.completions = Some(Map::new().into());
    }
    capabilities
}
