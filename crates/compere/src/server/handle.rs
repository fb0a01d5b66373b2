//! A handle on a running server: serves further connections and changes what is offered.

use std::fmt;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::outbox::Item;
use crate::error::{Error, Result};
use crate::server::core::ServerCore;
use crate::server::dispatch;
use crate::server::listen::Change;
use crate::server::prompts::IntoPrompt;
use crate::server::resources::IntoResource;
use crate::server::session::LOCAL;
use crate::server::tools::IntoTool;
use crate::transport::{ByteStream, stream};

/// A running server. Clones are handles on the same one. Every change is announced to the
/// clients that it concerns, as far as the server declared that it would.
#[derive(Clone)]
pub struct ServerHandle {
    core: Arc<ServerCore>,
}

impl ServerHandle {
    pub(crate) fn new(core: Arc<ServerCore>) -> Self {
        Self { core }
    }

    #[cfg(feature = "http-server")]
    pub(crate) fn core(&self) -> &Arc<ServerCore> {
        &self.core
    }

    /// Adds a tool. Fails if its name is taken or its schema is refused.
    pub fn add_tool(&self, tool: impl IntoTool) -> Result<()> {
        let tool = tool.into_tool();
        Self::check_state(tool.missing_state(&self.core.states))?;
        let limits = &self.core.options.limits;
        self.core
            .change(&Change::Tools, |registry| {
                registry.with_tools(vec![tool], limits, self.core.options.schemas_later)
            })
            .map_err(Error::setup)
    }

    /// Removes a tool; whether it was there. Calls that run go on.
    pub fn remove_tool(&self, name: &str) -> bool {
        self.core
            .change(&Change::Tools, |registry| {
                registry.without_tool(name).ok_or(())
            })
            .is_ok()
    }

    /// Adds a prompt. Fails if its name is taken.
    pub fn add_prompt(&self, prompt: impl IntoPrompt) -> Result<()> {
        let prompt = prompt.into_prompt();
        self.core
            .change(&Change::Prompts, |registry| {
                registry.with_prompts(vec![prompt])
            })
            .map_err(Error::setup)
    }

    /// Removes a prompt; whether it was there.
    pub fn remove_prompt(&self, name: &str) -> bool {
        self.core
            .change(&Change::Prompts, |registry| {
                registry.without_prompt(name).ok_or(())
            })
            .is_ok()
    }

    /// Adds a resource or template. Fails if its URI is taken.
    pub fn add_resource(&self, resource: impl IntoResource) -> Result<()> {
        let resource = resource.into_resource();
        let limits = &self.core.options.limits;
        self.core
            .change(&Change::Resources, |registry| {
                registry.with_resources(vec![resource], limits)
            })
            .map_err(Error::setup)
    }

    /// Removes a resource; whether it was there.
    pub fn remove_resource(&self, uri: &str) -> bool {
        self.core
            .change(&Change::Resources, |registry| {
                registry.without_resource(uri).ok_or(())
            })
            .is_ok()
    }

    /// Tells every client that is subscribed to this resource, or to one that it lies below, that
    /// it changed.
    pub fn resource_updated(&self, uri: &str) {
        self.core.publish(&Change::Resource(uri.to_owned()));
    }

    /// Ends all connections: what runs gets its grace, everything is written, then they close.
    pub fn shutdown(&self) {
        self.core
            .broadcast(|session| session.peer.outbox.push(Item::Close));
        self.core.listeners.end();
        self.core.stand_ins.end();
        self.core.stopping.notify_waiters();
    }

    /// Serves one connection to its end.
    ///
    /// Cancel safety: dropping the future ends the connection at once; handlers are dropped.
    pub async fn serve<S>(&self, stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_on(stream::duplex(stream)).await
    }

    /// Serves one connection on any stream of bytes. Cancel safety as [`ServerHandle::serve`].
    pub async fn serve_on<S: ByteStream + Unpin>(&self, stream: S) -> Result<()> {
        self.serve_for(LOCAL, stream).await
    }

    /// Serves one connection of somebody who is known: see
    /// [`Session::principal`](crate::Session::principal). Cancel safety as [`ServerHandle::serve`].
    pub async fn serve_for<S: ByteStream + Unpin>(
        &self,
        principal: impl Into<Arc<str>>,
        stream: S,
    ) -> Result<()> {
        let number = self.core.next_number();
        dispatch::serve(self.core.clone(), stream, principal.into(), number).await
    }

    /// Serves one connection until it ends or SIGTERM or SIGINT comes; what still runs then gets
    /// its grace. Cancel safety as [`ServerHandle::serve`].
    pub async fn serve_until_signal<S: ByteStream + Unpin>(&self, stream: S) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let serving = self.serve_on(stream);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                biased;
                ended = &mut serving => return ended,
                _ = terminate.recv() => self.shutdown(),
                _ = interrupt.recv() => self.shutdown(),
            }
        }
    }

    fn check_state(missing: Option<&'static str>) -> Result<()> {
        match missing {
            Some(name) => Err(Error::setup(format!(
                "a handler needs State<{name}>; give it to Server::state before the start"
            ))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("info", &self.core.options.info)
            .finish_non_exhaustive()
    }
}
