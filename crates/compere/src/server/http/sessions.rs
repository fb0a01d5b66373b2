//! Which sessions there are: made with `initialize`, found by their id and the principal that they
//! belong to, ended when they are idle for too long or when others need the room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use compere_proto::capability::ClientCapabilities;
use compere_proto::connection::session::Session as Machine;
use compere_proto::lifecycle::Implementation;
use tokio::time::Instant;

use crate::relay::Opened;
use crate::server::core::ServerCore;
use crate::server::http::old::{self, Connection, Inbox};
use crate::server::http::session::HttpSession;
use crate::server::http::shared::{Instance, Sink};

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// All sessions of one endpoint.
pub(crate) struct Sessions {
    core: Arc<ServerCore>,
    started: Instant,
    all: Mutex<All>,
    /// What the last client said of itself: the next one is often the same program.
    client: Mutex<Option<(Arc<Implementation>, Arc<ClientCapabilities>)>>,
    opening: AtomicUsize,
    instance: Option<Arc<Instance>>,
    this: Weak<Self>,
}

#[derive(Default)]
struct All {
    sessions: HashMap<u128, Arc<HttpSession>>,
    old: HashMap<u128, Inbox>,
    sweeping: bool,
}

/// A session is being opened while this lives.
struct Opening<'a> {
    all: &'a AtomicUsize,
    /// How many are, this one included.
    count: usize,
}

impl<'a> Opening<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        let count = all.fetch_add(1, Ordering::Relaxed) + 1;
        Self { all, count }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// An id that nobody can guess.
pub(crate) fn new_id() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .inspect_err(|error| tracing::error!(%error, "no randomness for a session id"))
        .ok()?;
    Some(u128::from_le_bytes(bytes))
}

/// An id as it is written.
pub(crate) fn written(id: u128) -> String {
    format!("{id:032x}")
}

/// Reads an id back. Only what [`written`] writes is one.
pub(crate) fn read(text: &str) -> Option<u128> {
    let digits = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == 32 && digits)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

impl Sessions {
    pub(crate) fn new(core: Arc<ServerCore>, instance: Option<Arc<Instance>>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            core,
            started: Instant::now(),
            all: Mutex::default(),
            client: Mutex::default(),
            opening: AtomicUsize::new(0),
            instance,
            this: this.clone(),
        })
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is not listed yet: that comes once its handshake has begun.
    pub(crate) fn prepare(
        &self,
        principal: Arc<str>,
        opened: Opened,
    ) -> Result<Arc<HttpSession>, Full> {
        let id = new_id().ok_or(Full)?;
        let (started, this) = (self.started, self.this.clone());
        let instance = self.instance.clone();
        let sink = instance.map(|instance| Sink::new(instance, id));
        let session = HttpSession::new(&self.core, id, opened, principal, started, this, sink);
        session.touch();
        Ok(session)
    }

    /// Connects to the server behind a relay, within the bound on sessions: those that are being
    /// opened count.
    pub(crate) async fn open(
        &self,
        principal: &Arc<str>,
        message: &[u8],
    ) -> Result<Result<Opened, Vec<u8>>, Full> {
        if self.core.options.behind.is_none() {
            return Ok(Ok(Opened::plain(&self.core, self.core.next_number())));
        }
        self.make_room(principal)?;
        let opening = Opening::begin(&self.opening);
        if self.count() + opening.count > self.core.options.limits.sessions {
            return Err(Full);
        }
        Ok(Opened::by(&self.core, self.core.next_number(), principal, message).await)
    }

    /// Lists a session. If there is no room, the one of the same principal that is idle for longest
    /// is ended.
    pub(crate) fn list(&self, session: &Arc<HttpSession>) -> Result<(), Full> {
        let principal = session.shared.principal.clone();
        self.make_room(&principal)?;
        let mut all = self.lock();
        all.sessions.insert(session.id, session.clone());
        if !all.sweeping {
            all.sweeping = true;
            tokio::spawn(sweep(self.this.clone()));
        }
        Ok(())
    }

    fn make_room(&self, principal: &Arc<str>) -> Result<(), Full> {
        let limits = &self.core.options.limits;
        let told_apart = &**principal != crate::server::session::LOCAL;
        let longest_idle = {
            let all = self.lock();
            let in_all = all.sessions.len() + all.old.len();
            let own = |session: &&Arc<HttpSession>| session.shared.principal == *principal;
            let crowded = in_all >= limits.sessions
                || told_apart && {
                    let old = all
                        .old
                        .values()
                        .filter(|inbox| inbox.principal == *principal);
                    all.sessions.values().filter(own).count() + old.count()
                        >= limits.sessions_per_principal
                };
            if !crowded {
                return Ok(());
            }
            all.sessions
                .values()
                .filter(own)
                .filter_map(|session| Some((session.idle()?, session.clone())))
                .max_by_key(|(idle, _)| *idle)
        };
        let (_, session) = longest_idle.ok_or(Full)?;
        tracing::info!("a session is ended to make room for another one");
        session.end(None);
        Ok(())
    }

    /// The session with this id, if it belongs to this principal. Those of others look like none.
    pub(crate) fn find(&self, id: &str, principal: &str) -> Option<Arc<HttpSession>> {
        let id = read(id)?;
        let session = self.lock().sessions.get(&id).cloned()?;
        if *session.shared.principal != *principal {
            return None;
        }
        let limit = self.core.options.limits.session_idle;
        if session.idle().is_some_and(|idle| idle >= limit) {
            session.end(None);
            return None;
        }
        session.touch();
        Some(session)
    }

    /// A session of the old transport; `address` makes the address to post to from its id.
    pub(crate) fn connect_old(
        &self,
        principal: &Arc<str>,
        address: impl FnOnce(&str) -> String,
    ) -> Result<(String, Connection), Full> {
        self.make_room(principal)?;
        let id = new_id().ok_or(Full)?;
        let this = self.this.clone();
        let on_end = move || {
            if let Some(sessions) = this.upgrade() {
                sessions.lock().old.remove(&id);
                sessions.tell_forgotten(id);
            }
        };
        let address = address(&written(id));
        let (inbox, connection) = old::connect(&self.core, principal.clone(), &address, on_end);
        self.lock().old.insert(id, inbox);
        Ok((written(id), connection))
    }

    /// Where to leave a message for a session of the old transport.
    pub(crate) fn find_old(&self, id: &str, principal: &str) -> Option<Inbox> {
        let inbox = self.lock().old.get(&read(id)?).cloned()?;
        (*inbox.principal == *principal).then_some(inbox)
    }

    /// Lets a new session share what its client says of itself with the one before.
    pub(crate) fn share_client(&self, session: &mut Machine) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((info, capabilities)) = &*client {
            session.share_client(info, capabilities);
        }
        *client = session
            .peer_info()
            .map(|info| (info.clone(), session.client_capabilities().clone()));
    }

    /// A session is over.
    pub(crate) fn forget(&self, id: u128) {
        if self.lock().sessions.remove(&id).is_some() {
            self.tell_forgotten(id);
        }
    }

    fn tell_forgotten(&self, id: u128) {
        if let Some(instance) = &self.instance {
            instance.forget(id);
        }
    }

    /// The session with this id.
    pub(crate) fn get(&self, id: u128) -> Option<Arc<HttpSession>> {
        self.lock().sessions.get(&id).cloned()
    }

    /// A stream of this session is read in another instance.
    pub(crate) fn used(&self, id: &str) {
        if let Some(session) = read(id).and_then(|id| self.get(id)) {
            session.touch();
        }
    }

    /// What other instances are to know: ids, principals, and whether streams begin with an id.
    pub(crate) fn registered(&self) -> Vec<(String, Arc<str>, bool)> {
        let all = self.lock();
        let sessions = all.sessions.iter();
        let sessions = sessions.map(|(id, session)| {
            let principal = session.shared.principal.clone();
            (written(*id), principal, session.polls())
        });
        let old = all.old.iter();
        let old = old.map(|(id, inbox)| (written(*id), inbox.principal.clone(), false));
        sessions.chain(old).collect()
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        let all = self.lock();
        all.sessions.len() + all.old.len()
    }

    fn end_idle(&self) {
        let limit = self.core.options.limits.session_idle;
        let idle: Vec<Arc<HttpSession>> = self
            .lock()
            .sessions
            .values()
            .filter(|session| session.idle().is_some_and(|idle| idle >= limit))
            .cloned()
            .collect();
        for session in idle {
            session.end(None);
        }
    }
}

/// Ends idle sessions, as long as there are any.
async fn sweep(sessions: Weak<Sessions>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(sessions) = sessions.upgrade() else {
            return;
        };
        sessions.end_idle();
        let mut all = sessions.lock();
        if all.sessions.is_empty() {
            all.sweeping = false;
            return;
        }
    }
}
