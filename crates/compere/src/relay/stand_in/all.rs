//! All sessions that stand in for clients without one, by who the client says that it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compere_proto::jsonrpc::ErrorObject;
use compere_proto::lifecycle::Implementation;
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::relay::stand_in::StandIn;
use crate::relay::stand_in::marks::Marks;
use crate::relay::unreachable_server;
use crate::server::input::Input;
use crate::server::session::SessionShared;

/// Those of one server.
#[derive(Default)]
pub(crate) struct StandIns {
    known: Mutex<HashMap<Key, Arc<OnceCell<Arc<StandIn>>>>>,
    /// What stands in headers too.
    pub(crate) marks: Marks,
    digests: RandomState,
}

/// Who a client is. What it can do belongs to it: whoever answers is told that once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The connection that it speaks on; 0 where requests have none.
    pub(super) connection: u64,
    pub(super) principal: Arc<str>,
    /// Of its name, its version, and what it can do.
    digest: u64,
}

impl StandIns {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<OnceCell<Arc<StandIn>>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one of this client, opened if there is none.
    pub(super) async fn find(
        &self,
        session: &SessionShared,
        input: &Input,
    ) -> Result<Arc<StandIn>, ErrorObject> {
        let info = match input.client_info() {
            Some(info) => info.clone(),
            None => Implementation::new("", ""),
        };
        let can = serde_json::to_string(&input.client_capabilities)
            .map_err(|_| ErrorObject::internal())?;
        let key = Key {
            connection: session.id,
            principal: session.principal.clone(),
            digest: self.digests.hash_one((&info.name, &info.version, can)),
        };
        let place = self.place(&key, session)?;
        let open = || StandIn::open(session, key.clone(), info, input);
        let opened = place.get_or_try_init(open).await;
        opened.cloned().map_err(|error| {
            self.forget_empty(&key);
            tracing::warn!(%error, "the server behind cannot be reached");
            unreachable_server(&error)
        })
    }

    /// Where it stands, or is about to. If there are too many, the one of the same principal that was idle
    /// for longest makes room.
    fn place(
        &self,
        key: &Key,
        session: &SessionShared,
    ) -> Result<Arc<OnceCell<Arc<StandIn>>>, ErrorObject> {
        let limits = &session.core.options.limits;
        loop {
            let longest_idle = {
                let mut known = self.lock();
                if let Some(place) = known.get(key) {
                    return Ok(place.clone());
                }
                let own = |other: &&Key| other.principal == key.principal;
                let crowded = known.len() >= limits.sessions
                    || known.keys().filter(own).count() >= limits.sessions_per_principal;
                if !crowded {
                    return Ok(known.entry(key.clone()).or_default().clone());
                }
                let own = known.iter().filter(|(other, _)| own(other));
                let idle = own.filter_map(|(_, place)| {
                    let stand_in = place.get()?;
                    Some((stand_in.idle()?, stand_in.clone()))
                });
                idle.max_by_key(|(idle, _): &(Duration, _)| *idle)
            };
            let Some((_, stand_in)) = longest_idle else {
                return Err(ErrorObject::limit("sessions", limits.sessions));
            };
            tracing::info!("what stands in for an app is ended to make room for another one");
            stand_in.end();
        }
    }

    fn forget_empty(&self, key: &Key) {
        let mut known = self.lock();
        if known.get(key).is_some_and(|place| place.get().is_none()) {
            known.remove(key);
        }
    }

    /// This one is over.
    pub(super) fn forget(&self, key: &Key, id: u64) {
        let mut known = self.lock();
        let stand_in = known.get(key).and_then(|place| place.get());
        if stand_in.is_some_and(|stand_in| stand_in.id == id) {
            known.remove(key);
        }
    }

    /// A connection is over, and so are the clients that spoke on it.
    pub(crate) fn leave(&self, connection: u64) {
        self.end_those(|key| key.connection == connection);
    }

    /// The server ends.
    pub(crate) fn end(&self) {
        self.end_those(|_| true);
    }

    fn end_those(&self, which: impl Fn(&Key) -> bool) {
        let mut ended = Vec::new();
        self.lock().retain(|key, place| {
            let ends = which(key);
            if ends {
                ended.extend(place.get().cloned());
            }
            !ends
        });
        for stand_in in ended {
            stand_in.end();
        }
    }

    /// Something that no other process says.
    pub(super) fn mark(&self) -> u64 {
        self.digests.hash_one("mark")
    }
}

impl StandIn {
    /// Why nothing comes any more.
    pub(super) fn over() -> Error {
        compere_proto::Error::Closed.into()
    }
}
