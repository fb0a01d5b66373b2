//! Servers over HTTP: Streamable HTTP and the older HTTP with SSE, side by side on one port.
//!
//! ```no_run
//! # use compere::prelude::*;
//! # /// Add two numbers.
//! # #[tool]
//! # async fn add(a: f64, b: f64) -> f64 { a + b }
//! # #[tokio::main]
//! # async fn main() -> compere::Result<()> {
//! Server::new("calculator", "1.0.0")
//!     .tool(add)
//!     .serve_http("127.0.0.1:8080")
//!     .await
//! # }
//! ```
//!
//! [`HttpService`] is a `tower` service and mounts into axum or hyper. Every request passes the
//! guards first: `Host` and `Origin` must be on the allow-lists, which hold the loopback names.

pub mod bearer;
pub mod body;
pub mod endpoint;
pub(crate) mod guard;
pub mod listen;
pub(crate) mod old;
pub(crate) mod session;
pub(crate) mod sessionless;
pub(crate) mod sessions;
pub(crate) mod shared;
pub(crate) mod stateless;
pub mod store;
pub(crate) mod stored;
pub(crate) mod streams;

use std::sync::Arc;
use tokio::net::ToSocketAddrs;

use crate::error::{Error, Result};
use crate::server::Server;
use crate::server::handle::ServerHandle;
use crate::server::http::bearer::{Check, Principal};
pub use crate::server::http::body::Body;
pub use crate::server::http::endpoint::HttpService;
use crate::server::http::guard::Guard;
pub use crate::server::http::listen::HttpListener;
use crate::server::http::store::Shared;
use crate::server::session::LOCAL;
use crate::transport::tap::Direction;

/// How a server is reached over HTTP.
#[derive(Clone)]
pub struct HttpOptions {
    pub(crate) path: Box<str>,
    pub(crate) old: Option<OldPaths>,
    pub(crate) sessions: bool,
    pub(crate) guard: Guard,
    pub(crate) bearer: Option<Check>,
    pub(crate) open: bool,
    pub(crate) local: Arc<str>,
    pub(crate) tap: Option<OnMessage>,
    pub(crate) shared: Option<Shared>,
}

/// Called with the number of the session, every message, and the way that it went.
pub(crate) type OnMessage = Arc<dyn Fn(u64, Direction, &[u8]) + Send + Sync>;

#[derive(Debug, Clone)]
pub(crate) struct OldPaths {
    pub(crate) stream: Box<str>,
    pub(crate) posts: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            path: "/mcp".into(),
            old: Some(OldPaths {
                stream: "/sse".into(),
                posts: "/message".into(),
            }),
            sessions: true,
            guard: Guard::default(),
            bearer: None,
            open: false,
            local: LOCAL.into(),
            tap: None,
            shared: None,
        }
    }
}

impl HttpOptions {
    /// Streamable HTTP at `/mcp`, HTTP with SSE at `/sse` and `/message`, with sessions, for
    /// clients on this machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// The path of Streamable HTTP. Default `/mcp`.
    #[must_use]
    pub fn path(mut self, path: impl Into<Box<str>>) -> Self {
        self.path = path.into();
        self
    }

    /// The paths of HTTP with SSE, the transport of 2024-11-05: the event stream, and where to post
    /// to as clients see it. Default `/sse` and `/message`.
    #[must_use]
    pub fn sse_paths(mut self, stream: impl Into<Box<str>>, posts: impl Into<String>) -> Self {
        self.old = Some(OldPaths {
            stream: stream.into(),
            posts: posts.into(),
        });
        self
    }

    /// Does not serve HTTP with SSE.
    #[must_use]
    pub fn without_sse(mut self) -> Self {
        self.old = None;
        self
    }

    /// Keeps no sessions: every request stands by itself. Clients can then be asked nothing, there
    /// is no stream of what belongs to no request, and a client that goes away takes its call with
    /// it. Any instance behind a load balancer can answer any request.
    #[must_use]
    pub fn without_sessions(mut self) -> Self {
        self.sessions = false;
        self
    }

    /// Lets the server be reached by this name besides those of this machine. Without a port, any
    /// port is meant.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.guard.hosts.push(host.into());
        self
    }

    /// Lets the server be reached by any name. Only where something in front checks it: pages in a
    /// browser can otherwise reach it by names that they control.
    #[must_use]
    pub fn allow_any_host(mut self) -> Self {
        self.guard.any_host = true;
        self
    }

    /// Lets pages of this origin use the server, such as `https://app.example.com`.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.guard.origins.push(origin.into());
        self
    }

    /// Shows every message of every client to `on_message`, for wire logs, with a number for the
    /// session that it belongs to; 0 if there is none. It runs where messages are read and written:
    /// be quick.
    #[must_use]
    pub fn on_message(
        mut self,
        on_message: impl Fn(u64, Direction, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        self.tap = Some(Arc::new(on_message));
        self
    }

    /// Lets in only clients with a bearer token, and says who holds it. Sessions belong to who
    /// began them. Compare in constant time.
    #[must_use]
    pub fn bearer(
        mut self,
        check: impl Fn(&str) -> Option<Principal> + Send + Sync + 'static,
    ) -> Self {
        self.bearer = Some(Arc::new(check));
        self
    }

    /// Shares sessions with other instances of this server: a load balancer may send each request to
    /// any of them. The service must then be made inside of a tokio runtime.
    #[must_use]
    pub fn shared(mut self, stores: Shared) -> Self {
        self.shared = Some(stores);
        self
    }

    /// Listens beyond this machine although nothing here says who may use the server: something in
    /// front of it does that.
    #[must_use]
    pub fn without_authentication(mut self) -> Self {
        self.open = true;
        self
    }
}

impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOptions")
            .field("path", &self.path)
            .field("old", &self.old)
            .field("sessions", &self.sessions)
            .field("guard", &self.guard)
            .field("bearer", &self.bearer.is_some())
            .finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// The server as an HTTP service.
    pub fn http(&self, options: HttpOptions) -> Result<HttpService> {
        let mut paths = vec![&*options.path];
        if let Some(old) = &options.old {
            paths.extend([&*old.stream, &*old.posts]);
        }
        if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
            return Err(Error::setup(format!("a path begins with /: {path:?}")));
        }
        if self.core().options.behind.is_some() && !options.sessions {
            return Err(Error::setup(
                "relays and gateways keep sessions: each client has its own behind them",
            ));
        }
        let mut sorted = paths.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < paths.len() {
            return Err(Error::setup("the paths of the transports must differ"));
        }
        HttpService::new(self.core().clone(), options)
    }

    /// Listens on an address. Beyond this machine it needs to know who may use the server.
    pub async fn listen_http(
        &self,
        address: impl ToSocketAddrs,
        options: HttpOptions,
    ) -> Result<HttpListener> {
        HttpListener::bind(self.http(options)?, address).await
    }
}

impl Server {
    /// Serves HTTP on an address, such as `"127.0.0.1:8080"`, until SIGTERM or SIGINT comes, with the
    /// default [`HttpOptions`].
    ///
    /// Cancel safety: dropping the future drops all connections.
    pub async fn serve_http(self, address: impl ToSocketAddrs) -> Result<()> {
        self.start()?
            .listen_http(address, HttpOptions::new())
            .await?
            .serve_until_signal()
            .await
    }
}
