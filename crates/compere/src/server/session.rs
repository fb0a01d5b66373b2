//! One client of a server, as handlers and the server see it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compere_proto::Method;
use compere_proto::capability::ClientCapabilities;
use compere_proto::lifecycle::Implementation;
use compere_proto::pagination::Empty;
use compere_proto::roots::{ListRootsResult, Root};

use crate::driver::guarded;
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::{Error, Result};
use crate::relay::Behind;
use crate::server::core::ServerCore;
use crate::server::handle::ServerHandle;

/// Who a client acts for where nobody asks: over stdio and in memory.
pub(crate) const LOCAL: &str = "local";

/// What belongs to one connection.
pub(crate) struct SessionShared {
    pub(crate) core: Arc<ServerCore>,
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    pub(crate) principal: Arc<str>,
    /// The server that answers in our place.
    pub(crate) back: Option<Arc<dyn Behind>>,
    remembered: Mutex<Remembered>,
}

/// What is known of a client, as small as it can be: most sessions are idle, and there may be many.
#[derive(Default)]
struct Remembered {
    /// How often it said that its roots changed: an answer that was on its way meanwhile is not remembered.
    root_changes: u32,
    /// What it said of its roots.
    roots: Option<Arc<[Root]>>,
    /// What the hook for the end of subscriptions must be told when the connection ends.
    #[allow(clippy::box_collection)]
    // Most have none, and a set of none is three times as large.
    subscribed: Option<Box<BTreeSet<String>>>,
}

impl SessionShared {
    pub(crate) fn new(
        core: Arc<ServerCore>,
        peer: Peer,
        id: u64,
        principal: Arc<str>,
        back: Option<Arc<dyn Behind>>,
    ) -> Self {
        Self {
            core,
            peer,
            id,
            principal,
            back,
            remembered: Mutex::default(),
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription is there; the hook for its end will be told of that.
    pub(crate) fn subscribed(&self, uri: String) {
        if self.core.options.on_unsubscribe.is_some() {
            let mut remembered = self.remembered();
            remembered.subscribed.get_or_insert_default().insert(uri);
        }
    }

    /// A subscription is over.
    pub(crate) fn unsubscribed(self: &Arc<Self>, uri: &str) {
        let was_there = match &mut self.remembered().subscribed {
            Some(subscribed) => subscribed.remove(uri),
            None => false,
        };
        if was_there {
            self.tell_unsubscribed(uri);
        }
    }

    /// Tells the hook that a subscription is over.
    pub(crate) fn tell_unsubscribed(self: &Arc<Self>, uri: &str) {
        if let Some(hook) = &self.core.options.on_unsubscribe {
            guarded("a hook for the end of subscriptions", || {
                hook(&Session::new(self.clone()), uri);
            });
        }
    }

    /// Says in the log how the connection ended.
    pub(crate) fn log_end(&self, error: Option<&Error>) {
        match error {
            Some(error) => tracing::info!(session = self.id, %error, "a client is gone"),
            None => tracing::debug!(session = self.id, "a client has left"),
        }
    }

    /// The connection is over: the hooks are told. Called once.
    pub(crate) fn ended(self: &Arc<Self>) {
        self.core.tasks.session_ended(self);
        self.core.stand_ins.leave(self.id);
        let subscribed = self.remembered().subscribed.take();
        for uri in *subscribed.unwrap_or_default() {
            self.tell_unsubscribed(&uri);
        }
        if let Some(hook) = &self.core.options.on_ended {
            guarded("a hook for the end", || hook(&Session::new(self.clone())));
        }
    }

    /// The client says that its roots changed.
    pub(crate) fn roots_changed(&self) {
        let mut known = self.remembered();
        known.root_changes = known.root_changes.wrapping_add(1);
        known.roots = None;
    }

    /// Does the client say when its roots change? Else they may be others by now.
    fn is_told_of_roots(&self) -> bool {
        let agreed = self.peer.agreed.get();
        let roots = agreed.and_then(|agreed| agreed.client_capabilities.roots.as_ref());
        roots.is_some_and(|roots| roots.list_changed == Some(true))
    }

    /// The roots as remembered, or by a question to the client.
    pub(crate) async fn roots(
        &self,
        ask: impl AsyncFnOnce() -> Result<ListRootsResult>,
    ) -> Result<Arc<[Root]>> {
        let changes = {
            let known = self.remembered();
            if let Some(roots) = &known.roots
                && self.is_told_of_roots()
            {
                return Ok(roots.clone());
            }
            known.root_changes
        };
        let roots: Arc<[Root]> = ask().await?.roots.into();
        let mut known = self.remembered();
        if known.root_changes == changes {
            known.roots = Some(roots.clone());
        }
        Ok(roots)
    }
}

impl Drop for SessionShared {
    fn drop(&mut self) {
        if self.id != 0 {
            self.core.forget(self.id);
        }
    }
}

/// One client of the server, for visibility rules and hooks.
#[derive(Clone)]
pub struct Session {
    shared: Arc<SessionShared>,
}

impl Session {
    pub(crate) fn new(shared: Arc<SessionShared>) -> Self {
        Self { shared }
    }

    /// A number that names the connection within this server.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Who the client acts for. Over stdio and in memory always `local`.
    pub fn principal(&self) -> &str {
        &self.shared.principal
    }

    /// What the client says it is. For display and logs only.
    pub fn client_info(&self) -> Option<&Implementation> {
        self.shared.peer.agreed.get()?.peer_info.as_deref()
    }

    /// The roots of the client. The answer is remembered until the client says that they changed; one that
    /// does not declare that it would is asked each time.
    ///
    /// Fails if the client has no roots to tell, or does not answer within
    /// [`Limits::request_timeout`](compere_proto::Limits::request_timeout). Not for stateless
    /// clients: there only a request can ask, with [`Context::roots`](crate::Context::roots).
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn roots(&self) -> Result<Arc<[Root]>> {
        let peer = &self.shared.peer;
        let method = Method::RootsList;
        self.shared
            .roots(async || {
                peer.request(method, RequestOptions::default(), |_| None::<Empty>)
                    .decode(method)
                    .await
            })
            .await
    }

    /// The roots, if the client has told them since they last changed.
    pub fn known_roots(&self) -> Option<Arc<[Root]>> {
        self.shared.remembered().roots.clone()
    }

    /// The server, to change what it offers or to say what changed.
    pub fn server(&self) -> ServerHandle {
        ServerHandle::new(self.shared.core.clone())
    }

    /// What the client declared.
    pub fn client_capabilities(&self) -> Option<&ClientCapabilities> {
        Some(&self.shared.peer.agreed.get()?.client_capabilities)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.shared.id)
            .field("principal", &self.shared.principal)
            .finish()
    }
}
