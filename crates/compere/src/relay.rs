//! A server that has nothing of its own: every client that connects gets a connection to another
//! server, and everything that either of the two says goes on to the other. With it a server over
//! stdio is reached over HTTP, and the other way round.
//!
//! Each of the two connections has its own handshake, ids, progress tokens and bounds. The server behind
//! is told what the client in front can do, the client is told what the server is and offers. Both speak
//! the revision that the client asked for where the server can; where it speaks another one, what it says
//! is put into the shape of the client's.
//!
//! Either side may be of the era without sessions. For a client of it one stands in, and what the server
//! asks becomes a round of the call that it is about; the server behind is spoken to with a session if it
//! has them. Tasks of that era stay on their side, and are not offered on the other.
//!
//! What is not of the protocol is not carried: requests with methods that no revision knows are
//! refused, and such notifications are dropped.
//!
//! ```no_run
//! use compere::{Command, Relay};
//! use compere::server::http::HttpOptions;
//!
//! # async fn bridge() -> compere::Result<()> {
//! // A server over stdio, reached over HTTP. Each session has a process of its own.
//! let relay = Relay::new(|client| client.connect(Command::new("some-server")));
//! let listener = relay.start()?.listen_http("127.0.0.1:8080", HttpOptions::new()).await?;
//! listener.serve_until_signal().await
//! # }
//! ```

pub(crate) mod front;
pub(crate) mod opening;
pub(crate) mod pass;
pub(crate) mod stand_in;
pub(crate) mod translate;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use compere_proto::capability::Capability;
use compere_proto::connection::Inbound;
use compere_proto::connection::session::SessionConfig;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::lifecycle::InitializeParams;
use compere_proto::object::RawJson;
use compere_proto::tasks;
use compere_proto::wire::encode;
use compere_proto::wire::scan::Params;
use compere_proto::{Era, Limits, Method, Revision};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::rounds::RoundOptions;
use crate::client::{Client, ClientBuilder};
use crate::driver::Started;
use crate::driver::call::{BoxFuture, CallShared};
use crate::driver::exchange::Route;
use crate::driver::outbox::Item;
use crate::driver::peer::{Hearing, Peer};
use crate::error::{Error, Result};
use crate::relay::front::Front;
use crate::server::Server;
use crate::server::core::ServerCore;
use crate::server::handle::ServerHandle;

/// The two ends have their own patience; this is for what both forgot.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How many tasks of one client have their progress passed on at the same time.
const TASKS_HEARD: usize = 64;

/// What answers for a session in our place.
pub(crate) trait Behind: Send + Sync {
    /// What the client is told of it.
    fn config(&self) -> Arc<SessionConfig>;

    /// Begins to answer a request of the client, in the revision of its session.
    fn request(
        &self,
        inbound: &Inbound<'_>,
        route: Route,
        revision: Revision,
        context: &mut Context<'_>,
    ) -> Started;

    /// Takes a notification of the client.
    fn notification(&self, method: Method, params: &Params<'_>);

    /// The client is ready to be asked.
    fn initialized(&self);
}

/// A client whose session is about to begin.
pub(crate) struct Arriving {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) principal: Arc<str>,
    pub(crate) asked: InitializeParams,
    pub(crate) limits: Limits,
    /// What the session is to begin with, as far as it is not the one behind that says so.
    pub(crate) config: Arc<SessionConfig>,
}

/// Finds what answers for a session.
pub(crate) type Opener = Arc<dyn Fn(Arriving) -> BoxFuture<Result<Arc<dyn Behind>>> + Send + Sync>;

/// Connects to the server behind, for one client.
type Open = Arc<dyn Fn(ClientBuilder) -> BoxFuture<Result<Client>> + Send + Sync>;

/// A server that passes everything on to another server.
#[derive(Clone)]
pub struct Relay {
    open: Open,
    limits: Limits,
}

impl Relay {
    /// `open` connects to the server behind, once for each client: call
    /// [`ClientBuilder::connect`] on what it is given, which holds who the client is and what it
    /// can do.
    pub fn new<F, Fut>(open: F) -> Self
    where
        F: Fn(ClientBuilder) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Client>> + Send + 'static,
    {
        let relay = Self {
            open: Arc::new(move |client| Box::pin(open(client))),
            limits: Limits::default(),
        };
        relay.limits(Limits::default())
    }

    /// Other bounds, for both connections. Whatever they say, a request is given up only after an
    /// hour without answer or progress: the two ends have their own patience, and tell each other.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.limits.request_timeout = PATIENCE;
        self
    }

    /// Starts it. Connections are served through the handle as those of any other server; over
    /// HTTP not [without sessions](crate::server::http::HttpOptions::without_sessions).
    pub fn start(self) -> Result<ServerHandle> {
        let mut server = Server::new("compere", env!("CARGO_PKG_VERSION")).limits(self.limits);
        let open = self.open;
        server.options.behind = Some(Arc::new(move |arriving| {
            let open = open.clone();
            Box::pin(async move { Back::connect(&open, arriving).await.map(|back| back as _) })
        }));
        server.options.stands_in = true;
        server.start()
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

/// The server behind, as the session of one client holds it.
pub(crate) struct Back {
    client: Client,
    front: Arc<Front>,
    /// What the client is told of the server.
    config: Arc<SessionConfig>,
    /// Tasks whose progress goes on after their call is answered.
    hearing: Mutex<VecDeque<Hearing>>,
}

/// What a new session begins with.
pub(crate) struct Opened {
    /// Its number.
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) back: Option<Arc<dyn Behind>>,
    /// What its machine is made with, where that is neither the server's nor that of what answers.
    pub(crate) config: Option<Arc<SessionConfig>>,
}

/// The request that begins a session.
#[derive(Deserialize)]
struct Opening<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    params: InitializeParams,
}

impl<'a> Opening<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(message)
            .ok()
            .filter(|opening: &Self| opening.method == "initialize")
    }
}

impl Opened {
    /// A connection of clients without a session: each has one that stands in for it. What would open
    /// one on it is refused.
    pub(crate) fn stateless(core: &ServerCore, id: u64) -> Self {
        let mut config = core.session_config().as_ref().clone();
        config.revisions.clear();
        config.served.clone_from(&config.stateless);
        let logging = || serde_json::Map::new().into();
        let mut capabilities = config.server_capabilities.as_ref().clone();
        capabilities.logging.get_or_insert_with(logging);
        config.server_capabilities = Arc::new(capabilities);
        Self {
            config: Some(Arc::new(config)),
            ..Self::plain(core, id)
        }
    }

    /// A session with nothing behind it.
    pub(crate) fn plain(core: &ServerCore, id: u64) -> Self {
        Self {
            id,
            peer: Peer::new(core.limits()),
            back: None,
            config: None,
        }
    }

    /// If this message begins a session of a relay, connects to the server behind first. `Err` is
    /// the answer to it: there is no server behind.
    pub(crate) async fn by(
        core: &ServerCore,
        id: u64,
        principal: &Arc<str>,
        message: &[u8],
    ) -> Result<Self, Vec<u8>> {
        let opened = Self::plain(core, id);
        let Some((open, opening)) = core.options.behind.as_ref().zip(Opening::read(message)) else {
            return Ok(opened);
        };
        let arriving = Arriving {
            id,
            peer: opened.peer.clone(),
            principal: principal.clone(),
            asked: opening.params,
            limits: core.options.limits.clone(),
            config: core.session_config(),
        };
        match open(arriving).await {
            Ok(back) => Ok(Self {
                back: Some(back),
                ..opened
            }),
            Err(error) => {
                tracing::warn!(%error, "the server behind cannot be reached");
                Err(refusal(opening.id, &unreachable_server(&error)))
            }
        }
    }

    /// What the machine of the session is made with.
    pub(crate) fn config(&self, core: &ServerCore) -> Arc<SessionConfig> {
        match (&self.config, &self.back) {
            (Some(config), _) => config.clone(),
            (None, Some(back)) => back.config(),
            (None, None) => core.session_config(),
        }
    }
}

/// The answer to a client for which nothing answers.
pub(crate) fn unreachable_server(error: &Error) -> ErrorObject {
    ErrorObject::new(
        code::INTERNAL_ERROR,
        format!(
            "The server behind cannot be reached: {}",
            pass::words(error)
        ),
    )
}

fn refusal(id: &RawValue, said: &ErrorObject) -> Vec<u8> {
    let id = serde_json::from_str(id.get()).unwrap_or(compere_proto::jsonrpc::RequestId::Number(0));
    let mut answer = Vec::new();
    encode::error(&mut answer, &id, said);
    answer
}

/// Tasks of the extension stay on their side: whoever made one would be asked for it elsewhere.
fn without_tasks(extensions: &mut Option<RawJson>) {
    let known = extensions.as_ref();
    let Some(known) = known.and_then(|known| known.decode::<BTreeMap<String, RawJson>>().ok())
    else {
        return;
    };
    let mut others = known;
    if others.remove(tasks::EXTENSION).is_some() {
        *extensions = match others.is_empty() {
            true => None,
            false => RawJson::from_value(&others).ok(),
        };
    }
}

impl Back {
    async fn connect(open: &Open, arriving: Arriving) -> Result<Arc<Self>> {
        let mut asked = arriving.asked;
        without_tasks(&mut asked.capabilities.extensions);
        let front = Arc::new(Front::new(arriving.id, arriving.peer, asked.capabilities));
        let offer = asked.protocol_version.parse().ok();
        let offer = offer.filter(|offer: &Revision| offer.era() == Era::Handshake);
        let mut builder = Client::builder("", "").limits(arriving.limits);
        builder.relays(asked.client_info, offer, front.clone());
        let client = open(builder).await?;
        let mut config = arriving.config.as_ref().clone();
        if let Some(info) = client.server_info() {
            config.info = info.clone();
        }
        if let Some(capabilities) = client.server_capabilities() {
            let mut capabilities = capabilities.clone();
            without_tasks(&mut capabilities.extensions);
            if offer.is_none() {
                capabilities.tasks = None;
            }
            // What the first revision has without a word, later ones declare.
            if Method::CompletionComplete.capability_in(client.revision()) == Capability::None {
                let completions = &mut capabilities.completions;
                completions.get_or_insert_with(|| serde_json::Map::new().into());
            }
            config.server_capabilities = Arc::new(capabilities);
        }
        config.instructions = client.instructions().map(str::to_owned);
        config.passes_level_on = true;
        // The client is gone when the server is.
        let mut ended = client.ended();
        let watching = front.clone();
        tokio::spawn(async move {
            if let Ok(ended) = ended.wait_for(Option::is_some).await
                && let Some(Err(error)) = &*ended
            {
                tracing::warn!(%error, "the server behind is gone");
            }
            watching.peer.outbox.push(Item::Close);
        });
        Ok(Arc::new(Self {
            client,
            front,
            config: Arc::new(config),
            hearing: Mutex::default(),
        }))
    }
}

impl Behind for Back {
    fn config(&self) -> Arc<SessionConfig> {
        self.config.clone()
    }

    fn request(
        &self,
        inbound: &Inbound<'_>,
        route: Route,
        revision: Revision,
        context: &mut Context<'_>,
    ) -> Started {
        let method = inbound.method;
        let to = self.client.peer();
        let token = inbound.progress_token.clone();
        let call = CallShared::new(self.front.peer.on(route), token, None, None);
        let call = Arc::new(call);
        let is_task = method == Method::ToolsCall && inbound.params.get("task").is_some();
        let there = self.client.revision();
        let params = inbound.params.as_json();
        let params: Cow<'_, str> = match there < revision {
            true => translate::params(method, params, there)
                .into_string()
                .into(),
            false => params.into(),
        };
        let asked_on = method.row().may_ask.then(|| self.front.asked_on(route));
        if to.is_stateless() {
            let (client, params) = (self.client.clone(), params.into_owned());
            let on_progress = call.token.is_some().then(|| pass::progress(&call, false));
            let options = RoundOptions {
                on_progress,
                ..RoundOptions::default()
            };
            return pass::begin(method, call, context, async move {
                let _asked_on = asked_on;
                let passed = client.pass_in_rounds(method, &params, options).await;
                pass::shaped(passed, method, there, revision)
            });
        }
        let pending = pass::send(to, method, &params, &call, is_task);
        if is_task && let Some(hearing) = pending.hearing() {
            let mut heard = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push_back(hearing);
            if heard.len() > TASKS_HEARD {
                heard.pop_front();
            }
        }
        pass::begin(method, call, context, async move {
            let _asked_on = asked_on;
            pass::shaped(pending.await, method, there, revision)
        })
    }

    fn notification(&self, method: Method, params: &Params<'_>) {
        pass::notify(self.client.peer(), method, params.as_json(), Route::GENERAL);
    }

    fn initialized(&self) {
        self.front.initialized();
    }
}
