//! Clients without a session: what stands in for their connection, and the rates that they are held to.
//! Used by the sessions of this transport; others have one connection for each client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use compere_proto::Moment;
use compere_proto::connection::rate::Rate;
use compere_proto::jsonrpc::ErrorObject;

use crate::driver::peer::Peer;
use crate::server::core::ServerCore;
use crate::server::session::SessionShared;

/// So many have their rate remembered before those that are not needed are forgotten.
const PRINCIPALS: usize = 1_024;

/// Calls of clients that have no session, by who they act for.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<Arc<str>, Rate>>);

impl ServerCore {
    /// What looks like a connection to the handlers of one request. Nothing is announced to it.
    pub(crate) fn unlisted_session(
        self: &Arc<Self>,
        peer: Peer,
        principal: Arc<str>,
    ) -> Arc<SessionShared> {
        Arc::new(SessionShared::new(self.clone(), peer, 0, principal, None))
    }

    /// Counts a call of a client that has no session against the rate of whoever it acts for.
    pub(crate) fn count_call(&self, principal: &Arc<str>, now: Moment) -> Result<(), ErrorObject> {
        let limits = self.limits();
        let rates = &self.rates.0;
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= PRINCIPALS && !rates.contains_key(principal) {
            // Those that have their whole rate again are as if they were never here.
            rates.retain(|_, rate| !rate.is_full(now));
        }
        let rate = match rates.get_mut(principal) {
            Some(rate) => rate,
            None => rates
                .entry(principal.clone())
                .or_insert_with(|| Rate::new(limits.calls_per_second, limits.calls_burst)),
        };
        if rate.take(now) {
            return Ok(());
        }
        Err(ErrorObject::limit(
            "calls_per_second",
            limits.calls_per_second,
        ))
    }
}
