//! One client of a server, as handlers and the server see it.

use std::sync::{Arc, Mutex, PoisonError};

use compere_proto::capability::ClientCapabilities;
use compere_proto::lifecycle::Implementation;
use compere_proto::roots::Root;

use crate::driver::peer::Peer;
use crate::server::core::ServerCore;

/// What belongs to one connection.
pub(crate) struct SessionShared {
    pub(crate) core: Arc<ServerCore>,
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    pub(crate) principal: Arc<str>,
    roots: Mutex<Option<Arc<[Root]>>>,
}

impl SessionShared {
    pub(crate) fn new(core: Arc<ServerCore>, peer: Peer, id: u64) -> Self {
        Self {
            core,
            peer,
            id,
            principal: "local".into(),
            roots: Mutex::new(None),
        }
    }

    pub(crate) fn cached_roots(&self) -> Option<Arc<[Root]>> {
        self.roots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn cache_roots(&self, roots: Option<Arc<[Root]>>) {
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = roots;
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
        self.shared.peer.agreed.get()?.peer_info.as_ref()
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
