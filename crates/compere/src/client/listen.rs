//! What a client of the stateless era listens for, in the background: one `subscriptions/listen` at a time,
//! made anew when something is added or taken away, and when it broke off.
//!
//! A server of the handshake era tells its clients of changes by itself; there, this file does nothing.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions>

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use compere_proto::connection::stateless::{ListenParams, SUBSCRIPTION_ID, SubscriptionFilter};
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::wire::scan::Params;
use compere_proto::{Error as ProtocolError, Method};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::driver::call::BoxFuture;
use crate::driver::peer::{Peer, PendingRequest, RequestOptions};
use crate::error::{Error, Result};

/// How often in a row a subscription that breaks off is made again.
const ATTEMPTS: u32 = 8;
/// The first wait before that; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// What is listened for, and by which request.
pub(crate) struct Listening {
    peer: Peer,
    state: Mutex<State>,
    /// One request is made at a time.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    lists: bool,
    uris: BTreeSet<String>,
    /// The request whose news count.
    current: Option<Current>,
    /// The request that was not acknowledged yet, and who waits for that.
    opening: Option<(i64, oneshot::Sender<SubscriptionFilter>)>,
}

struct Current {
    id: i64,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[derive(Deserialize)]
struct Acknowledged {
    notifications: SubscriptionFilter,
}

impl Listening {
    pub(crate) fn new(peer: Peer) -> Arc<Self> {
        Arc::new(Self {
            peer,
            state: Mutex::default(),
            renewing: tokio::sync::Mutex::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for changes of the lists as well, from now on. What goes wrong is only logged: a server
    /// can be used without.
    pub(crate) async fn hear_of_lists(self: &Arc<Self>) {
        self.state().lists = true;
        if let Err(error) = self.renew().await {
            tracing::warn!(%error, "changes of the server's lists are not heard of");
        }
    }

    /// Listens for a resource.
    pub(crate) async fn subscribe(self: &Arc<Self>, uri: String) -> Result<()> {
        if !self.state().uris.insert(uri.clone()) {
            return Ok(());
        }
        let honoured = match self.renew().await {
            Ok(honoured) => honoured,
            Err(error) => {
                self.state().uris.remove(&uri);
                return Err(error);
            }
        };
        let honoured = honoured.and_then(|honoured| honoured.resource_subscriptions);
        if honoured.is_some_and(|uris| uris.contains(&uri)) {
            return Ok(());
        }
        self.state().uris.remove(&uri);
        let why = "The server does not say when this resource changes";
        let refused = ErrorObject::new(code::INVALID_PARAMS, why);
        Err(ProtocolError::Refused(refused).into())
    }

    /// Listens for it no more.
    pub(crate) async fn unsubscribe(self: &Arc<Self>, uri: &str) -> Result<()> {
        if self.state().uris.remove(uri) {
            self.renew().await?;
        }
        Ok(())
    }

    fn filter(&self) -> Option<SubscriptionFilter> {
        let agreed = self.peer.agreed.get()?;
        let server = &agreed.server_capabilities;
        let state = self.state();
        let says = |declared: Option<bool>| (state.lists && declared == Some(true)).then_some(true);
        let of_list = |list: Option<&compere_proto::capability::ListCapability>| {
            says(list.and_then(|list| list.list_changed))
        };
        let mut filter = SubscriptionFilter::new();
        filter.tools_list_changed = of_list(server.tools.as_ref());
        filter.prompts_list_changed = of_list(server.prompts.as_ref());
        let resources = server.resources.as_ref();
        filter.resources_list_changed =
            says(resources.and_then(|resources| resources.list_changed));
        let uris: Vec<String> = state.uris.iter().cloned().collect();
        filter.resource_subscriptions = (!uris.is_empty()).then_some(uris);
        (filter != SubscriptionFilter::new()).then_some(filter)
    }

    /// Makes the request for what is wanted now; the one before goes on until it is acknowledged. Gives
    /// what the server will tell, `None` if there is nothing to listen for.
    async fn renew(self: &Arc<Self>) -> Result<Option<SubscriptionFilter>> {
        let _renewing = self.renewing.lock().await;
        let Some(filter) = self.filter() else {
            self.state().current = None;
            return Ok(None);
        };
        let options = RequestOptions {
            timeout: Some(None),
            ..RequestOptions::default()
        };
        let (acknowledge, acknowledged) = oneshot::channel();
        let mut params = Some(ListenParams::new(filter));
        let mut acknowledge = Some(acknowledge);
        let mut pending = self
            .peer
            .request(Method::SubscriptionsListen, options, |id| {
                // Known before it is sent: the acknowledgement cannot come too early.
                self.state().opening = acknowledge.take().map(|acknowledge| (id, acknowledge));
                params.take()
            });
        let Some(id) = pending.id() else {
            return Err(ProtocolError::Closed.into());
        };
        let patience = self.peer.limits.request_timeout;
        let honoured = tokio::select! {
            biased;
            honoured = acknowledged => honoured.map_err(|_| Error::from(ProtocolError::Closed))?,
            ended = &mut pending => match ended {
                Ok(_) => return Ok(None),
                Err(error) => return Err(error),
            },
            () = tokio::time::sleep(patience) => {
                let method = Method::SubscriptionsListen;
                return Err(ProtocolError::TimedOut { method, after: patience }.into());
            }
        };
        let keeper = tokio::spawn(keep(Arc::downgrade(self), id, pending));
        self.state().current = Some(Current { id, keeper });
        Ok(Some(honoured))
    }

    /// The same, of a type that can be waited for inside of what it begins.
    fn renewed(self: Arc<Self>) -> BoxFuture<Result<Option<SubscriptionFilter>>> {
        Box::pin(async move { self.renew().await })
    }

    /// The server says what it will tell.
    pub(crate) fn acknowledged(&self, params: &Params<'_>) {
        let Ok(acknowledged) = params.decode::<Acknowledged>() else {
            return;
        };
        let id = subscription(params);
        let mut state = self.state();
        match state.opening.take() {
            Some((opening, tell)) if Some(opening) == id => {
                drop(state);
                let _ = tell.send(acknowledged.notifications);
            }
            opening => state.opening = opening,
        }
    }

    /// Does this news come from the request whose news count?
    pub(crate) fn counts(&self, params: &Params<'_>) -> bool {
        let Some(id) = subscription(params) else {
            return false;
        };
        let state = self.state();
        let opening = state.opening.as_ref().map(|(id, _)| *id);
        match &state.current {
            Some(current) => current.id == id,
            // Acknowledged, and not yet put in place.
            None => opening.is_none_or(|opening| opening != id),
        }
    }
}

/// The request that a notification belongs to.
fn subscription(params: &Params<'_>) -> Option<i64> {
    let id = params.node("_meta")?.get(SUBSCRIPTION_ID)?;
    id.as_number()?.parse().ok()
}

/// Waits for the end of a subscription, and makes it anew if it broke off.
async fn keep(listening: Weak<Listening>, id: i64, pending: PendingRequest) {
    let Err(error) = pending.await else {
        tracing::info!("the server has ended a subscription");
        return;
    };
    tracing::debug!(%error, "a subscription broke off");
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(wait).await;
        wait *= 2;
        let Some(listening) = listening.upgrade() else {
            return;
        };
        if listening.peer.outbox.closed().is_some() {
            return;
        }
        let is_current = listening
            .state()
            .current
            .as_ref()
            .is_some_and(|current| current.id == id);
        if !is_current {
            return;
        }
        // The keeper of the next one takes over; this one ends with being replaced.
        match listening.renewed().await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "a subscription cannot be made again yet"),
        }
    }
    tracing::warn!("a subscription breaks off again and again; changes are not heard of");
}
