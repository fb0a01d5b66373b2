//! One server that runs for one session: what goes to it, and what it offers just now.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use compere::gateway::Asked;
use compere::proto::{Method, Revision};
use compere::{Client, ErrorKind};
use serde_json::Value;

use crate::consent::{Approved, Stale};
use crate::pins::{Item, Pins};
use crate::servers::definitions::{Definitions, pages};
use crate::servers::hosts::WayOut;

/// Lines of its standard error that are kept.
const LINES: usize = 20;

/// What it wrote to its standard error last. Its words: to be escaped wherever they are shown.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    /// Takes a line.
    pub(crate) fn hear(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// A server that runs.
pub struct Running {
    /// The server, by its name here.
    pub server: String,
    /// Which start of it this is; no two have the same number.
    pub generation: u64,
    /// The digest of the launch that was approved.
    pub launch: String,
    client: Client,
    process: Arc<AtomicU32>,
    offers: RwLock<Arc<Definitions>>,
    stale: Arc<AtomicBool>,
    in_flight: AtomicUsize,
    used: Mutex<Instant>,
    /// An app is subscribed to something of it.
    watched: AtomicBool,
    /// Its way to the hosts that it may reach; closed with it.
    way_out: Option<WayOut>,
}

/// Why something was not done, or may have been.
#[derive(Debug)]
pub enum SendError {
    /// It was not sent: what was approved is another thing by now.
    Stale(Stale),
    /// The server answered with an error of the protocol.
    Refused(Box<compere::model::ErrorObject>),
    /// The server is gone. It had the request: what it did with it is not known.
    Lost(String),
    /// The server did not answer as it must.
    Broken(String),
}

impl Running {
    pub(crate) fn new(
        server: String,
        generation: u64,
        launch: String,
        client: Client,
        process: Arc<AtomicU32>,
        offers: Definitions,
        stale: Arc<AtomicBool>,
    ) -> Self {
        Self {
            server,
            generation,
            launch,
            client,
            process,
            offers: RwLock::new(Arc::new(offers)),
            stale,
            in_flight: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            watched: AtomicBool::new(false),
            way_out: None,
        }
    }

    /// The same, with its way to the hosts that it may reach.
    pub(crate) fn with_way_out(mut self, way_out: Option<WayOut>) -> Self {
        self.way_out = way_out;
        self
    }

    /// Sends what was approved, if it is still that.
    ///
    /// Cancel safety: dropping the future withdraws the request; the server may have done it.
    pub async fn send(
        &self,
        approved: Approved,
        item: Option<&Item>,
        pins: &Pins,
        asked: Option<&Asked>,
    ) -> Result<Box<str>, SendError> {
        let definition = self.agreed(item, pins);
        let outgoing = approved
            .take(
                &self.server,
                self.generation,
                definition.as_deref(),
                Instant::now(),
            )
            .map_err(SendError::Stale)?;
        let _busy = Busy::begin(self);
        let sent = self.client.pass(outgoing.method, &outgoing.params, asked);
        sent.await.map_err(|error| of_error(&error))
    }

    /// Tells the server that the roots of its client are others.
    pub(crate) fn roots_changed(&self) {
        self.client
            .pass_notification(Method::RootsListChanged, "{}");
    }

    /// At which level it is to log.
    pub(crate) async fn set_level(&self, params: &str) -> Result<Box<str>, SendError> {
        self.manage(Method::LoggingSetLevel, params).await
    }

    /// It need not tell any more when this changes.
    pub(crate) async fn unsubscribe(&self, params: &str) -> Result<Box<str>, SendError> {
        self.manage(Method::ResourcesUnsubscribe, params).await
    }

    /// What has nothing of what an app or a person said in it.
    async fn manage(&self, method: Method, params: &str) -> Result<Box<str>, SendError> {
        let _busy = Busy::begin(self);
        let asked = self.client.pass(method, params, None).await;
        asked.map_err(|error| of_error(&error))
    }

    /// Its resources, as it lists them now.
    pub(crate) async fn resources(&self) -> Result<Vec<Value>, SendError> {
        let _busy = Busy::begin(self);
        let mut left_out = Vec::new();
        let listed = pages(
            &self.client,
            Method::ResourcesList,
            "resources",
            &mut left_out,
        )
        .await;
        for words in left_out {
            tracing::warn!(server = self.server, "{words}");
        }
        listed.map_err(|error| of_error(&error))
    }

    /// Asks again for what it defines, if it said that something changed. `true` if something did.
    pub(crate) async fn refresh(&self) -> Result<bool, SendError> {
        if !self.stale.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let offers = Definitions::ask(&self.client).await.inspect_err(|_| {
            // What is not known is not trusted: the next one asks again.
            self.stale.store(true, Ordering::Release);
        });
        let offers = offers.map_err(|error| of_error(&error))?;
        let mut known = self.offers.write().unwrap_or_else(PoisonError::into_inner);
        let differs = known.items != offers.items;
        *known = Arc::new(offers);
        Ok(differs)
    }

    /// What is agreed about an item of this start of the server: launch and definition, if both are what
    /// was approved. Without an item it is the launch alone.
    pub fn agreed(&self, item: Option<&Item>, pins: &Pins) -> Option<String> {
        match item {
            None => Some(self.launch.clone()),
            Some(item) => {
                let offers = self.offers();
                let approved = offers.is_approved(item, pins);
                let (_, digest) = offers.items.get(item).filter(|_| approved)?;
                Some(format!("{} {digest}", self.launch))
            }
        }
    }

    /// What it offers, as far as is known.
    pub fn offers(&self) -> Arc<Definitions> {
        let offers = self.offers.read().unwrap_or_else(PoisonError::into_inner);
        offers.clone()
    }

    /// The revision that is spoken with it.
    pub(crate) fn revision(&self) -> Revision {
        self.client.revision()
    }

    /// Is the connection over?
    pub fn has_ended(&self) -> bool {
        self.client.has_ended()
    }

    /// How long nothing has been asked of it; `None` while something is.
    pub fn idle(&self) -> Option<Duration> {
        if self.in_flight.load(Ordering::Acquire) > 0 || self.watched.load(Ordering::Acquire) {
            return None;
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Some(used.elapsed())
    }

    /// Somebody is to be told when something of it changes: it is never idle.
    pub(crate) fn is_watched(&self) {
        self.watched.store(true, Ordering::Release);
    }

    /// Its process, if it is one.
    pub fn process(&self) -> Option<u32> {
        match self.process.load(Ordering::Acquire) {
            0 => None,
            id => Some(id),
        }
    }

    /// Ends it, in order.
    pub async fn close(&self) {
        let _ = self.client.clone().close().await;
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("server", &self.server)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

struct Busy<'r>(&'r Running);

impl<'r> Busy<'r> {
    fn begin(running: &'r Running) -> Self {
        running.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(running)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

fn of_error(error: &compere::Error) -> SendError {
    if let Some(refusal) = error.refusal() {
        return SendError::Refused(Box::new(refusal.clone()));
    }
    match error.kind() {
        ErrorKind::ServerLost(lost) => SendError::Lost(match &lost.status {
            Some(status) => format!("it ended ({status})"),
            None => "the connection broke off".to_owned(),
        }),
        ErrorKind::Protocol(compere::proto::Error::Closed) => {
            SendError::Lost("the connection was closed".to_owned())
        }
        _ => SendError::Broken(error.to_string()),
    }
}
