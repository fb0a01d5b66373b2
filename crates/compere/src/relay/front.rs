//! The client in front of a relay, as the connection to the server behind knows it: what the server
//! asks and says goes to it once its handshake is done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use compere_proto::Method;
use compere_proto::capability::ClientCapabilities;
use compere_proto::connection::Inbound;
use compere_proto::wire::scan::Params;
use tokio::sync::Notify;

use crate::driver::Started;
use crate::driver::call::CallShared;
use crate::driver::exchange::Route;
use crate::driver::peer::Peer;
use crate::relay::{pass, translate};

/// Notifications that wait for the client's handshake.
const WAITING: usize = 256;

/// Who hears what a server says, and answers what it asks, in place of handlers.
pub(crate) trait Ahead: Send + Sync {
    /// The number of the session in front, if there is one.
    fn session(&self) -> Option<u64>;

    /// What the server is told that its client can do.
    fn capabilities(&self) -> ClientCapabilities;

    /// Begins to answer a question of the server.
    fn request(
        self: Arc<Self>,
        back: &Peer,
        inbound: &Inbound<'_>,
        context: &mut Context<'_>,
    ) -> Started;

    /// Takes a notification of the server.
    fn notification(&self, method: Method, params: &Params<'_>);
}

/// One client in front.
pub(crate) struct Front {
    session: u64,
    pub(crate) peer: Peer,
    capabilities: ClientCapabilities,
    state: Mutex<State>,
    initialized: Notify,
}

#[derive(Default)]
struct State {
    initialized: bool,
    waiting: VecDeque<(Method, Box<str>)>,
    /// The streams of the calls that the server works on, of those that may ask something.
    asked_on: Vec<Route>,
}

/// A call is being worked on while this lives.
pub(crate) struct AskedOn(Arc<Front>, Route);

impl Drop for AskedOn {
    fn drop(&mut self) {
        let routes = &mut self.0.lock().asked_on;
        if let Some(place) = routes.iter().position(|route| *route == self.1) {
            routes.swap_remove(place);
        }
    }
}

impl Front {
    pub(crate) fn new(session: u64, peer: Peer, capabilities: ClientCapabilities) -> Self {
        Self {
            session,
            peer,
            capabilities,
            state: Mutex::default(),
            initialized: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the client is passed on.
    pub(crate) fn asked_on(self: &Arc<Self>, route: Route) -> AskedOn {
        self.lock().asked_on.push(route);
        AskedOn(self.clone(), route)
    }

    /// Where what the server says belongs. It does not say to which call; if there is only one, it
    /// is that one.
    fn route(&self) -> Route {
        match *self.lock().asked_on.as_slice() {
            [only] => only,
            _ => Route::GENERAL,
        }
    }

    /// The handshake of the client is done: it may be asked, and told what waited for that.
    pub(crate) fn initialized(&self) {
        let waiting = {
            let mut state = self.lock();
            state.initialized = true;
            std::mem::take(&mut state.waiting)
        };
        for (method, params) in waiting {
            pass::notify(&self.peer, method, &params, Route::GENERAL);
        }
        self.initialized.notify_waiters();
    }

    async fn is_initialized(&self) {
        loop {
            let notified = self.initialized.notified();
            if self.lock().initialized {
                return;
            }
            notified.await;
        }
    }
}

impl Ahead for Front {
    fn session(&self) -> Option<u64> {
        Some(self.session)
    }

    fn capabilities(&self) -> ClientCapabilities {
        self.capabilities.clone()
    }

    fn request(
        self: Arc<Self>,
        back: &Peer,
        inbound: &Inbound<'_>,
        context: &mut Context<'_>,
    ) -> Started {
        let method = inbound.method;
        let token = inbound.progress_token.clone();
        let call = Arc::new(CallShared::new(back.clone(), token, None, None));
        let asking = call.clone();
        let front = self;
        let params: Box<str> = inbound.params.as_json().into();
        pass::begin(method, call, context, async move {
            front.is_initialized().await;
            let to = front.peer.on(front.route());
            let (here, there) = (asking.peer.revision(), to.revision());
            let params = match there < here {
                true => translate::params(method, &params, there),
                false => params,
            };
            let pending = pass::send(&to, method, &params, &asking, false);
            pass::shaped(pending.await, method, there, here)
        })
    }

    fn notification(&self, method: Method, params: &Params<'_>) {
        let route = match method {
            Method::Message => self.route(),
            _ => Route::GENERAL,
        };
        let mut state = self.lock();
        if !state.initialized {
            if state.waiting.len() < WAITING {
                state.waiting.push_back((method, params.as_json().into()));
            } else {
                tracing::warn!(%method, "the client is not ready: a notification is dropped");
            }
            return;
        }
        drop(state);
        pass::notify(&self.peer, method, params.as_json(), route);
    }
}
