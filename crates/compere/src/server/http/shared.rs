//! One of several instances of a server: knows which instance holds a session, sends it what came
//! here for it, and puts what its own sessions say where every instance can read it.
//!
//! Sessions live in the instance that began them. If that instance is gone, so are they: a client
//! is told that there is no such session, and begins another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use compere_proto::Limits;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::server::http::endpoint::Endpoint;
use crate::server::http::sessions::{Sessions, written};
use crate::server::http::store::{Shared, StoreError};

/// How often an instance says that it is there, and what it holds.
const BEAT: Duration = Duration::from_secs(5);
/// After so long without that, it is gone.
const ALIVE: Duration = Duration::from_secs(16);
/// How long another instance may take beyond what a request may take anyway.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many events may wait to be saved, of all sessions together.
const WAITING: usize = 16 * 1024;
/// How often an event is tried to be saved.
const TRIES: u32 = 4;
/// How long after such a failure, times the number of the try.
const AGAIN: Duration = Duration::from_millis(50);

/// This instance.
pub(crate) struct Instance {
    pub(crate) name: Box<str>,
    pub(crate) shared: Shared,
    /// How long a session is known without a beat of its instance.
    expires: Duration,
    patience: Duration,
    /// When clients are to come back to a stream that breaks off.
    pub(crate) retry: Duration,
    saving: mpsc::Sender<Saving>,
    /// Bytes of all events that are still to be saved, and how many there may be.
    backlog: AtomicUsize,
    max_backlog: usize,
    /// Sessions that said what could not even wait to be saved.
    lost: Mutex<Vec<u128>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Said>>>,
    last_asked: AtomicU64,
    /// Did it ever say that it is there?
    beaten: AtomicBool,
}

/// What is known everywhere of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) instance: Box<str>,
    pub(crate) principal: Box<str>,
    /// Do its streams begin with an id?
    pub(crate) polls: bool,
}

impl Record {
    /// Of a session of this instance, whose principal was looked at already.
    pub(crate) fn new(instance: &Instance, polls: bool) -> Self {
        Self {
            instance: instance.name.clone(),
            principal: "".into(),
            polls,
        }
    }
}

/// What one instance writes to another.
#[derive(Debug, Serialize, Deserialize)]
enum Letter {
    /// A message came here for a session of yours.
    Post {
        from: Box<str>,
        number: u64,
        session: Box<str>,
        principal: Box<str>,
        body: String,
    },
    /// A client ends a session of yours.
    End {
        session: Box<str>,
        principal: Box<str>,
    },
    /// A client reads a stream of a session of yours here.
    Used { session: Box<str> },
    /// What became of your message.
    Said { number: u64, said: Said },
}

/// What became of a message in the instance of its session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Said {
    Accepted,
    Answer(String),
    Malformed(String),
    /// The answer is a stream of the session, from its beginning.
    Stream(u64),
    NoSession,
    Full,
}

/// What is to be saved, in its order.
pub(crate) struct Saved(mpsc::Receiver<Saving>);

/// What goes into the store.
struct Saving {
    session: u128,
    work: Work,
}

enum Work {
    Event {
        stream: u64,
        event: Bytes,
        /// Of the session: bytes that are still to be saved.
        backlog: Arc<AtomicUsize>,
    },
    Put {
        key: String,
        value: Bytes,
    },
    Forget,
}

/// What an event of the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Message(Bytes),
    /// The server lets go of the stream; the client comes back after this time.
    Release(Duration),
    End,
}

impl Payload {
    fn encode(self) -> Bytes {
        match self {
            Self::Message(message) => {
                let mut bytes = Vec::with_capacity(message.len() + 1);
                bytes.push(b'm');
                bytes.extend_from_slice(&message);
                bytes.into()
            }
            Self::Release(after) => format!("r{}", after.as_millis()).into(),
            Self::End => Bytes::from_static(b"e"),
        }
    }

    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        Some(match bytes.first()? {
            b'm' => Self::Message(bytes.slice(1..)),
            b'r' => {
                let millis = std::str::from_utf8(bytes.get(1..)?).ok()?.parse().ok()?;
                Self::Release(Duration::from_millis(millis))
            }
            b'e' => Self::End,
            _ => return None,
        })
    }
}

/// Where the streams of one session put their events.
#[derive(Clone)]
pub(crate) struct Sink {
    instance: Arc<Instance>,
    session: u128,
    backlog: Arc<AtomicUsize>,
}

impl Sink {
    pub(crate) fn new(instance: Arc<Instance>, session: u128) -> Self {
        Self {
            instance,
            session,
            backlog: Arc::default(),
        }
    }

    /// What cannot wait to be saved any more ends the session.
    pub(crate) fn push(&self, stream: u64, payload: Payload) {
        let event = payload.encode();
        let bytes = event.len();
        self.backlog.fetch_add(bytes, Ordering::Relaxed);
        let before = self.instance.backlog.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.instance.max_backlog {
            self.instance.saved(bytes, &self.backlog);
            self.instance.lose(self.session);
            return;
        }
        let backlog = self.backlog.clone();
        let work = Work::Event {
            stream,
            event,
            backlog,
        };
        self.instance.save(self.session, work);
    }

    /// Does the store take events more slowly than they come?
    pub(crate) fn is_backed_up(&self, limits: &Limits) -> bool {
        self.backlog.load(Ordering::Relaxed) > limits.outbox_bytes / 2
    }
}

fn key(session: &str) -> String {
    format!("session/{session}")
}

impl Instance {
    /// Must be called inside a runtime.
    pub(crate) fn new(name: u128, shared: Shared, limits: &Limits) -> (Arc<Self>, Saved) {
        let (saving, saved) = mpsc::channel(WAITING);
        let instance = Arc::new(Self {
            name: written(name).into(),
            shared,
            expires: limits.session_idle + ALIVE,
            patience: limits.event_stream_after + PATIENCE,
            retry: limits.event_stream_retry,
            saving,
            backlog: AtomicUsize::new(0),
            max_backlog: limits.process_bytes,
            lost: Mutex::default(),
            asked: Mutex::default(),
            last_asked: AtomicU64::new(0),
            beaten: AtomicBool::new(false),
        });
        (instance, Saved(saved))
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Said>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, session: u128, work: Work) {
        // It is closed when the endpoint is gone, and everybody who would read with it.
        if let Err(mpsc::error::TrySendError::Full(saving)) =
            self.saving.try_send(Saving { session, work })
        {
            if let Work::Event { event, backlog, .. } = &saving.work {
                self.saved(event.len(), backlog);
            }
            self.lose(session);
        }
    }

    /// So many bytes do not wait any more.
    fn saved(&self, bytes: usize, of_session: &AtomicUsize) {
        of_session.fetch_sub(bytes, Ordering::Relaxed);
        self.backlog.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lose(&self, session: u128) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if !lost.contains(&session) {
            lost.push(session);
        }
    }

    /// Lets every instance know of a session.
    pub(crate) async fn register(
        &self,
        session: &str,
        principal: &str,
        polls: bool,
    ) -> Result<(), StoreError> {
        let record = Record {
            instance: self.name.clone(),
            principal: principal.into(),
            polls,
        };
        // Before anybody looks for this instance.
        if !self.beaten.swap(true, Ordering::AcqRel) {
            self.beat().await?;
        }
        let value = serde_json::to_vec(&record).map_err(StoreError::new)?;
        let sessions = &self.shared.sessions;
        sessions
            .put(&key(session), value.into(), self.expires)
            .await
    }

    /// A session is over.
    pub(crate) fn forget(&self, session: u128) {
        self.save(session, Work::Forget);
    }

    /// What is known of a session, if it belongs to this principal and its instance is there.
    pub(crate) async fn find(
        &self,
        session: &str,
        principal: &str,
    ) -> Result<Option<Record>, StoreError> {
        let sessions = &self.shared.sessions;
        let Some(value) = sessions.get(&key(session)).await? else {
            return Ok(None);
        };
        let record: Record = serde_json::from_slice(&value).map_err(StoreError::new)?;
        if *record.principal != *principal {
            return Ok(None);
        }
        let beat = sessions.get(&format!("instance/{}", record.instance));
        Ok(beat.await?.map(|_| record))
    }

    /// Sends a message to the instance of its session, and waits for what becomes of it.
    pub(crate) async fn post(
        &self,
        to: &Record,
        session: &str,
        body: String,
    ) -> Result<Said, StoreError> {
        let number = self.last_asked.fetch_add(1, Ordering::Relaxed) + 1;
        let (say, said) = oneshot::channel();
        self.asked().insert(number, say);
        let _forget = Forgotten(self, number);
        let letter = Letter::Post {
            from: self.name.clone(),
            number,
            session: session.into(),
            principal: to.principal.clone(),
            body,
        };
        self.send(&to.instance, &letter).await?;
        match tokio::time::timeout(self.patience, said).await {
            Ok(Ok(said)) => Ok(said),
            _ => Err(StoreError::new(
                "the instance of the session does not answer",
            )),
        }
    }

    /// Ends a session of another instance.
    pub(crate) async fn end(&self, to: &Record, session: &str) -> Result<(), StoreError> {
        let letter = Letter::End {
            session: session.into(),
            principal: to.principal.clone(),
        };
        self.send(&to.instance, &letter).await
    }

    /// A stream of the session is read here.
    pub(crate) fn used(self: &Arc<Self>, instance: &str, session: &str) {
        let this = self.clone();
        let (instance, session) = (Box::<str>::from(instance), session.into());
        tokio::spawn(async move {
            let sent = this.send(&instance, &Letter::Used { session }).await;
            if let Err(error) = sent {
                tracing::warn!(%error, "an instance cannot be told that its session is used");
            }
        });
    }

    async fn send(&self, to: &str, letter: &Letter) -> Result<(), StoreError> {
        let letter = serde_json::to_vec(letter).map_err(StoreError::new)?;
        self.shared.mailbox.send(to, letter.into()).await
    }

    /// Remembers up to where the general stream of a session was read, behind what is to be saved.
    pub(crate) fn remember(&self, session: u128, key: String, value: Bytes) {
        self.save(session, Work::Put { key, value });
    }

    /// Says that this instance is there.
    async fn beat(&self) -> Result<(), StoreError> {
        let name = format!("instance/{}", self.name);
        let here = Bytes::from_static(b"here");
        self.shared.sessions.put(&name, here, ALIVE).await
    }

    /// Says which sessions are still held.
    async fn refresh(&self, sessions: &Sessions) -> Result<(), StoreError> {
        for (session, principal, polls) in sessions.registered() {
            self.register(&session, &principal, polls).await?;
        }
        Ok(())
    }
}

/// Does the work of an instance, as long as its endpoint is there. Must be called inside a runtime.
pub(crate) fn run(endpoint: &Arc<Endpoint>, instance: &Arc<Instance>, saved: Saved) {
    tokio::spawn(beats(Arc::downgrade(endpoint), instance.clone()));
    tokio::spawn(save(Arc::downgrade(endpoint), instance.clone(), saved));
    tokio::spawn(receive(Arc::downgrade(endpoint), instance.clone()));
}

async fn beats(endpoint: Weak<Endpoint>, instance: Arc<Instance>) {
    let mut refreshed = Instant::now();
    loop {
        if let Err(error) = instance.beat().await {
            tracing::warn!(%error, "other instances cannot be told that this one is there");
        }
        tokio::time::sleep(BEAT).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        if refreshed.elapsed() > instance.expires / 4 {
            refreshed = Instant::now();
            if let Err(error) = instance.refresh(endpoint.sessions()).await {
                tracing::warn!(%error, "other instances cannot be told of all sessions");
            }
        }
    }
}

/// Puts events into the store, one after the other.
async fn save(endpoint: Weak<Endpoint>, instance: Arc<Instance>, mut saved: Saved) {
    loop {
        let saving = tokio::time::timeout(BEAT, saved.0.recv()).await;
        if let Ok(Some(saving)) = saving
            && let Err(error) = instance.carry_out(&saving).await
        {
            tracing::error!(%error, "what a session says cannot be saved: it ends");
            instance.lose(saving.session);
        }
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        // Without its events a session cannot go on: its client would wait for what never comes.
        let lost =
            std::mem::take(&mut *instance.lost.lock().unwrap_or_else(PoisonError::into_inner));
        for session in lost {
            if let Some(session) = endpoint.sessions().get(session) {
                let error = "what it says cannot be saved";
                session.end(Some(&Error::with_message(ErrorKind::Io, error)));
            }
        }
    }
}

/// Reads the letters to this instance.
async fn receive(endpoint: Weak<Endpoint>, instance: Arc<Instance>) {
    let mut letters = instance.shared.mailbox.receive(&instance.name);
    loop {
        let next = std::future::poll_fn(|context| letters.poll_next(context));
        let letter = tokio::time::timeout(BEAT, next).await;
        let Some(endpoint) = endpoint.upgrade() else {
            return;
        };
        match letter {
            Err(_) => {}
            Ok(Ok(letter)) => match serde_json::from_slice(&letter) {
                Ok(letter) => instance.clone().take(letter, endpoint),
                Err(error) => tracing::error!(%error, "a letter cannot be read"),
            },
            Ok(Err(error)) => {
                tracing::warn!(%error, "letters cannot be received");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Instance {
    async fn carry_out(&self, saving: &Saving) -> Result<(), StoreError> {
        let session = written(saving.session);
        let mut tried = 0;
        loop {
            let done = match &saving.work {
                Work::Event { stream, event, .. } => {
                    let name = stream.to_string();
                    let events = &self.shared.events;
                    let appended = events.append(&session, &name, event.clone()).await;
                    appended.map(drop)
                }
                Work::Put { key, value } => {
                    let sessions = &self.shared.sessions;
                    sessions.put(key, value.clone(), self.expires).await
                }
                Work::Forget => self.drop_session(&session).await,
            };
            tried += 1;
            if done.is_ok() || tried == TRIES {
                if let Work::Event { event, backlog, .. } = &saving.work {
                    self.saved(event.len(), backlog);
                }
                return done;
            }
            tokio::time::sleep(AGAIN * tried).await;
        }
    }

    async fn drop_session(&self, session: &str) -> Result<(), StoreError> {
        let sessions = &self.shared.sessions;
        if let Some(value) = sessions.get(&key(session)).await? {
            sessions.remove(&key(session), value).await?;
        }
        self.shared.events.forget(session).await
    }

    fn take(self: Arc<Self>, letter: Letter, endpoint: Arc<Endpoint>) {
        match letter {
            Letter::Said { number, said } => {
                if let Some(waiting) = self.asked().remove(&number) {
                    let _ = waiting.send(said);
                }
            }
            Letter::Used { session } => endpoint.sessions().used(&session),
            Letter::End { session, principal } => {
                if let Some(session) = endpoint.sessions().find(&session, &principal) {
                    session.end(None);
                }
            }
            Letter::Post {
                from,
                number,
                session,
                principal,
                body,
            } => {
                tokio::spawn(async move {
                    let said = endpoint.posted(&session, &principal, body.as_bytes()).await;
                    let letter = Letter::Said { number, said };
                    if let Err(error) = self.send(&from, &letter).await {
                        tracing::warn!(%error, "an instance cannot be told what became of a message");
                    }
                });
            }
        }
    }
}

/// Nobody waits for what was asked under this number any more.
struct Forgotten<'a>(&'a Instance, u64);

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.0.asked().remove(&self.1);
    }
}
