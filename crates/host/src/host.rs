//! The host: servers, apps, consent and record in one place, for one person.
//!
//! It is told where its file and its state are, and what the machine is; it reads no environment. Apps
//! come in through [`Host::gateway`]; people answer through the methods that doors call.

mod approvals;
mod status;
mod workspace;

pub use status::{ServerStatus, Status};

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use compere::ServerHandle;
use compere::gateway::{Attendant, Gateway};
use compere::proto::Method;
use compere::text::escape_line;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::audit::{Durability, Kind as RecordKind, Log, LogError, Opened, Record};
use crate::config::roots::Change;
use crate::config::{AppSettings, Entry, Fault, HostFile, Surroundings};
use crate::consent::{
    Answer, Consent, Ended, Grant, HOLD, Now, Question, Rejected, Resolution, Reviewed, Topic,
};
use crate::hex;
use crate::host::approvals::{same_definitions, same_launch};
use crate::pins::{Change as Difference, changes};
use crate::sampling::{Budgets, Model};
use crate::secrets::{self, Secrets};
use crate::servers::digests::Digests;
use crate::servers::launch::{Launching, Machine, Way, keyed, launching};
use crate::servers::learn::{Learned, learn};
use crate::servers::running::Running;
use crate::servers::{Approvals, Kept, Server};
use crate::session::{Attending, Session};
use crate::state::{Found, StateError, StateFolder};

/// A process that nobody has asked anything of for so long is ended.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How often it is looked for what is over.
const ROUND: Duration = Duration::from_secs(5);
/// Calls that are remembered to show what differs from the last one.
const LAST_CALLS: usize = 1_024;

/// What a host is made of.
pub struct Options {
    /// Our file; it need not be there.
    pub file: PathBuf,
    /// The folder for what must not be forgotten.
    pub state: PathBuf,
    /// The machine.
    pub machine: Machine,
    /// Which tools of our own servers only read: the server and the tool.
    pub own_reads: fn(&str, &str) -> bool,
    /// Servers besides those of the file, which whoever starts the host has agreed to by doing so.
    pub offered: Vec<Entry>,
    /// A folder whose files may ask for servers. They approve none.
    pub workspace: Option<PathBuf>,
    /// How long an app waits for a person.
    pub hold: Duration,
    /// There is nobody to ask: what would be asked is refused.
    pub nobody: bool,
}

impl Options {
    /// The usual ones.
    pub fn new(file: PathBuf, state: PathBuf, machine: Machine) -> Self {
        Self {
            file,
            state,
            machine,
            own_reads: |_, _| false,
            offered: Vec::new(),
            workspace: None,
            hold: HOLD,
            nobody: false,
        }
    }
}

/// Why a host does not start.
#[derive(Debug)]
pub enum HostError {
    /// Its state cannot be had.
    State(StateError),
    /// The audit log cannot be opened.
    Audit(io::Error),
}

impl std::fmt::Display for HostError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Audit(error) => write!(f, "the audit log cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for HostError {}

impl From<StateError> for HostError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// What the file asks for, as it was last read.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Servers by name.
    pub(crate) servers: BTreeMap<String, Arc<Server>>,
    /// Apps by name.
    pub(crate) apps: BTreeMap<String, AppSettings>,
    /// The models of the person.
    pub(crate) models: Vec<Model>,
    /// What is wrong with the file.
    faults: Vec<Fault>,
}

/// What apps see has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) u64);

/// A host.
pub struct Host {
    pub(crate) options: Options,
    state: StateFolder,
    key: [u8; 32],
    pub(crate) consent: Consent,
    log: Log,
    digests: Digests,
    catalog: RwLock<Arc<Catalog>>,
    /// One change of file or approvals at a time.
    changing: Mutex<()>,
    sessions: Mutex<HashMap<u64, Weak<Session>>>,
    next_session: AtomicU64,
    epoch: watch::Sender<u64>,
    /// How many servers are being looked at just now.
    looking: watch::Sender<usize>,
    last_calls: Mutex<HashMap<(String, String, String), Value>>,
    /// Approvals of servers, those that the file does not name now included.
    kept: Mutex<BTreeMap<String, Kept>>,
    /// What servers used of models.
    budgets: Mutex<Budgets>,
    /// Digests of the tokens of apps.
    tokens: Mutex<BTreeMap<String, String>>,
    ended: AtomicBool,
}

/// What is kept, and in which version.
const PINS: &str = "pins";
const GRANTS: &str = "grants";
const TOKENS: &str = "tokens";
const BUDGETS: &str = "sampling";
const VERSION: u64 = 1;

impl Host {
    /// Starts a host. Needs a tokio runtime. What of its state is damaged is set aside and does not
    /// count.
    pub fn start(options: Options) -> Result<Arc<Self>, HostError> {
        let state = StateFolder::take(&options.state)?;
        let mut said = Vec::new();
        let mut kept_of = |found: Found<Value>, what: &str| match found {
            Found::Nothing => None,
            Found::Kept(value) => Some(value),
            Found::SetAside(path, why) => {
                let words = format!(
                    "the {what} are damaged ({why}) and lie at {}: none of them counts",
                    path.display()
                );
                tracing::warn!("{words}");
                said.push(words);
                None
            }
        };
        let grants = kept_of(state.read(GRANTS, VERSION), "grants");
        let pins = kept_of(state.read(PINS, VERSION), "approvals");
        let tokens = kept_of(state.read(TOKENS, VERSION), "tokens");
        let budgets = kept_of(state.read(BUDGETS, VERSION), "budgets for sampling");
        let budgets = budgets.and_then(|budgets| serde_json::from_value(budgets).ok());
        let tokens = tokens.and_then(|tokens| serde_json::from_value(tokens).ok());
        let grants = grants.and_then(|grants| serde_json::from_value(grants).ok());
        let pins = pins.and_then(|pins| serde_json::from_value(pins).ok());
        let key = state.secret("digest.key").map_err(StateError::from)?;
        let (log, opened) = Log::open(&state.path().join("audit")).map_err(HostError::Audit)?;
        if let Opened::SetAside(path) = &opened {
            tracing::warn!(path = %path.display(), "the audit log was damaged and set aside");
        }
        let folder = state.path().to_owned();
        let keep = move |grants: &[Grant]| keep_grants(&folder, grants);
        let consent = Consent::new(Vec::new(), grants.unwrap_or_default(), Box::new(keep));
        let host = Arc::new(Self {
            options,
            state,
            key,
            consent,
            log,
            digests: Digests::default(),
            catalog: RwLock::default(),
            changing: Mutex::default(),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            epoch: watch::Sender::new(0),
            looking: watch::Sender::new(0),
            last_calls: Mutex::default(),
            kept: Mutex::new(pins.unwrap_or_default()),
            budgets: Mutex::new(budgets.unwrap_or_default()),
            tokens: Mutex::new(tokens.unwrap_or_default()),
            ended: AtomicBool::new(false),
        });
        for words in said {
            host.note(words);
        }
        host.note("the host starts".to_owned());
        let machine = &host.options.machine;
        if machine.is_root && machine.may_be_root {
            host.note(
                "servers may run as root: the command that started the host said so".to_owned(),
            );
        }
        host.reload();
        let going = Arc::downgrade(&host);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ROUND).await;
                let Some(host) = going.upgrade() else { return };
                host.round().await;
            }
        });
        Ok(host)
    }

    /// What goes on without anybody asking.
    async fn round(self: &Arc<Self>) {
        self.consent.sweep(Now::read());
        for server in self.catalog().servers.values() {
            for running in server.take_idle(IDLE) {
                tracing::debug!(server = server.name, "nothing is asked of it: it is ended");
                running.close().await;
            }
            if server.roots_moved() {
                self.note(format!(
                    "the folders of the server {} are gone, or there again",
                    server.name
                ));
                let (host, looked_at) = (self.clone(), server.clone());
                let _ = tokio::task::spawn_blocking(move || host.look_at(&looked_at)).await;
                // What runs with folders that are gone is not to go on with others of the same name.
                for running in server.take_all() {
                    running.close().await;
                }
                self.changed();
            }
        }
    }

    /// The door for apps.
    pub fn gateway(self: &Arc<Self>) -> compere::Result<ServerHandle> {
        let host = self.clone();
        let gateway = Gateway::new("compere", env!("CARGO_PKG_VERSION"), move |app| {
            let host = host.clone();
            async move {
                let id = host.next_session.fetch_add(1, Ordering::Relaxed);
                let session = Session::new(host.clone(), id, app);
                host.sessions_lock().insert(id, Arc::downgrade(&session));
                host.settled().await;
                host.note(format!("the app {} is connected", session.name()));
                Ok(Arc::new(Attending::new(session)) as Arc<dyn Attendant>)
            }
        });
        gateway.start()
    }

    fn sessions_lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = self.sessions_lock();
        sessions.values().filter_map(Weak::upgrade).collect()
    }

    /// How many apps are connected.
    pub fn app_count(&self) -> usize {
        self.sessions().len()
    }

    /// A session is over: what runs for it ends, what was granted for it is gone.
    pub(crate) fn session_ended(self: &Arc<Self>, session: u64, app: &str) {
        self.sessions_lock().remove(&session);
        self.consent.session_ended(session);
        self.note(format!("the app {app} has left"));
        let running: Vec<Arc<Running>> = self
            .catalog()
            .servers
            .values()
            .filter_map(|server| server.take_running(session))
            .collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for running in running {
                    running.close().await;
                }
            });
        }
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.clone()
    }

    /// Told when what apps see may have changed, or how servers stand.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(*self.epoch.borrow())
    }

    /// What apps see may be other than it was.
    pub(crate) fn changed(&self) {
        self.epoch.send_modify(|epoch| *epoch += 1);
        for session in self.sessions() {
            session.list_changed();
        }
    }

    /// The servers.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.catalog().servers.values().cloned().collect()
    }

    /// A server by its name.
    pub fn server(&self, name: &str) -> Option<Arc<Server>> {
        self.catalog().servers.get(name).cloned()
    }

    /// Reads our file again. What it still asks for in the same words goes on; the rest starts, stops or
    /// waits for a person. A file that cannot be read changes nothing. The faults are words for a person.
    pub fn reload(self: &Arc<Self>) -> Vec<String> {
        let turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match std::fs::read_to_string(&self.options.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return vec![format!("{}: {error}", self.options.file.display())],
        };
        let mut file = HostFile::read(&text, &self.options.file);
        let words = |faults: &[Fault]| faults.iter().map(ToString::to_string).collect();
        let before = self.catalog();
        if file.is_unusable() {
            let catalog = Catalog {
                servers: before.servers.clone(),
                apps: before.apps.clone(),
                models: before.models.clone(),
                faults: file.faults,
            };
            let faults = words(&catalog.faults);
            self.set_catalog(catalog);
            // Nothing was taken from it. If there never was a good one, nothing is allowed by rules.
            return faults;
        }
        let mut servers = BTreeMap::new();
        let mut stopped = Vec::new();
        let workspace = self.options.workspace.as_deref();
        let (asked, wrong) = workspace
            .map(|workspace| workspace::asked_for(workspace, &self.options.file))
            .unwrap_or_default();
        let own = file.entries.iter().chain(&self.options.offered);
        let own = own.map(|entry| (entry, None));
        let asked = asked.iter().map(|entry| (entry, workspace));
        for (entry, workspace) in own.chain(asked) {
            let name = entry.name.clone();
            if servers.contains_key(&name) {
                continue;
            }
            let same = |server: &Server| {
                server.entry == *entry && server.workspace.as_deref() == workspace
            };
            let server = match before.servers.get(&name) {
                Some(server) if same(server) => server.clone(),
                other => {
                    stopped.extend(other.iter().flat_map(|server| server.take_all()));
                    let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let approvals = kept.get(&name).cloned().map(Approvals::from_kept);
                    let mut server = Server::new(entry.clone(), approvals.unwrap_or_default());
                    server.workspace = workspace.map(Path::to_owned);
                    Arc::new(server)
                }
            };
            servers.insert(name, server);
        }
        for (name, server) in &before.servers {
            if !servers.contains_key(name) {
                stopped.extend(server.take_all());
                self.consent.inbox().withdraw(&same_launch(name));
                self.consent.inbox().withdraw(&same_definitions(name));
            }
        }
        file.faults.extend(wrong);
        let faults = words(&file.faults);
        self.consent.set_rules(file.rules);
        self.set_catalog(Catalog {
            servers,
            apps: file.apps,
            models: file.models,
            faults: file.faults,
        });
        drop(turn);
        tokio::spawn(async move {
            for running in stopped {
                running.close().await;
            }
        });
        for server in self.servers() {
            self.look_at(&server);
        }
        self.changed();
        faults
    }

    fn set_catalog(&self, catalog: Catalog) {
        let mut current = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(catalog);
    }

    /// How a server would be started now.
    pub(crate) fn launching(&self, server: &Server) -> Result<Launching, String> {
        self.surrounded(server.workspace.as_deref(), |surroundings| {
            launching(
                &server.entry,
                &self.options.machine,
                surroundings,
                &self.digests,
                &self.key,
            )
        })
    }

    /// A value of the person's own file, with everything in its place. It may be a secret.
    #[cfg(feature = "models")]
    pub(crate) fn own_value(&self, text: &str) -> Result<String, String> {
        self.surrounded(None, |surroundings| {
            let dialect = crate::config::Dialect::Compere;
            let expanded = crate::config::expand::expand(dialect, text, surroundings);
            match expanded.unresolved.first() {
                None => Ok(expanded.text),
                Some(missing) => Err(missing.to_string()),
            }
        })
    }

    /// What values of a file can come from. What the files of a folder ask for is not told what the person
    /// has.
    fn surrounded<T>(
        &self,
        workspace: Option<&Path>,
        with: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> T {
        let machine = &self.options.machine;
        let variable = |name: &str| {
            if workspace.is_some() {
                return None;
            }
            let value = machine.environment.get(&std::ffi::OsString::from(name))?;
            value.to_str().map(str::to_owned)
        };
        let file = |name: &str| match workspace {
            Some(_) => None,
            None => secrets::of_file(&machine.place(name)),
        };
        let path = machine.environment.get(std::ffi::OsStr::new("PATH"));
        let kept = Secrets::new(&machine.folder, path.map(std::ffi::OsString::as_os_str));
        let secret = |name: &str| match workspace {
            Some(_) => None,
            None => kept.get(name),
        };
        let input = |id: &str| secret(&format!("input:{id}"));
        let surroundings = Surroundings {
            variable: &variable,
            input: &input,
            file: &file,
            secret: &secret,
            workspace,
            home: machine.home.as_deref(),
        };
        with(&surroundings)
    }

    /// How a server would be started now, found out without keeping others waiting: programs are read from
    /// their first to their last byte. What a person agreed to have fetched is fetched.
    pub(crate) async fn launching_now(
        self: Arc<Self>,
        server: &Arc<Server>,
    ) -> Result<Launching, String> {
        let found = self.clone().launching_apart(server).await;
        if !is_to_be_fetched(server, &found) {
            return found;
        }
        let _turn = server.fetching.lock().await;
        // Somebody else may have done so meanwhile.
        let found = self.clone().launching_apart(server).await;
        if !is_to_be_fetched(server, &found) {
            return found;
        }
        if let Ok(Launching {
            way: Way::Fetch(plan),
            ..
        }) = &found
        {
            let fetched = plan.fetch(&self.options.machine).await;
            self.note(format!(
                "for the server {}: {}",
                server.name,
                match &fetched {
                    Ok(words) | Err(words) => short(&escape_line(words)),
                }
            ));
            fetched?;
        }
        // What ran of it ran from a folder that is gone.
        for running in server.take_all() {
            running.close().await;
        }
        // Every file of it is read, and a keyring may take its time.
        let (host, looked_at) = (self, server.clone());
        let looked = tokio::task::spawn_blocking(move || host.look_at(&looked_at)).await;
        looked.map_err(|error| error.to_string())?;
        let found = server.launching()?;
        Ok(Launching::clone(&found))
    }

    async fn launching_apart(self: Arc<Self>, server: &Arc<Server>) -> Result<Launching, String> {
        let server = server.clone();
        let found = tokio::task::spawn_blocking(move || self.launching(&server)).await;
        found.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Fetches the program of a server again, if it is one that is fetched: it may be another one by
    /// then, and waits for a person if it is.
    pub fn update(self: &Arc<Self>, name: &str) -> Result<(), String> {
        let server = self.server(name).ok_or("there is no such server")?;
        let launching = server.launching()?;
        let nothing = "its program is not one that is fetched";
        let plan = launching.fetched.as_ref().ok_or(nothing)?;
        plan.forget().map_err(|error| error.to_string())?;
        server.forget_failure();
        self.look_at(&server);
        self.changed();
        Ok(())
    }

    /// Starts a server that is approved under a tracer, asks what it offers, and says what it was kept from.
    pub async fn learn(self: &Arc<Self>, name: &str) -> Result<Learned, String> {
        let server = self.server(name).ok_or("there is no such server")?;
        let launching = self.clone().launching_now(&server).await?;
        let pins = &server.approvals().pins;
        if !pins.approves(&launching.item(), &launching.digest) {
            return Err("its launch waits for your yes: compere approve".to_owned());
        }
        self.note(format!(
            "the server {name} is started to learn what it is kept from"
        ));
        learn(&launching, &self.options.machine, self.state()).await
    }

    /// The open questions.
    pub fn questions(&self) -> Vec<Question> {
        self.consent.inbox().questions(Now::read().seconds)
    }

    /// How a question ended, if it has and that is remembered.
    pub fn end_of(&self, id: u64) -> Option<Ended> {
        match self.consent.inbox().rejected(id) {
            Rejected::Ended(how) => Some(how),
            _ => None,
        }
    }

    /// Told when questions come and go.
    pub fn question_changes(&self) -> watch::Receiver<u64> {
        self.consent.inbox().changes()
    }

    /// Answers a question; `who` says who did, and by which door. The first answer wins.
    pub fn answer(self: &Arc<Self>, id: u64, answer: &Answer, who: &str) -> Result<(), Rejected> {
        let now = Now::read();
        let questions = self.consent.inbox().questions(now.seconds);
        let question = questions.iter().find(|question| question.id == id);
        let question = question.ok_or_else(|| self.consent.inbox().rejected(id))?;
        let (server, is_launch) = match &question.topic {
            Topic::Call(asking) => {
                let question = self.consent.answer(id, answer, who, now)?;
                let mut record = Record::new(RecordKind::Decision);
                record.app.clone_from(&asking.app);
                record.server.clone_from(&asking.server);
                record.method.clone_from(&asking.method);
                record.name.clone_from(&asking.name);
                record.approver = who.to_owned();
                record.outcome = answer.words().to_owned();
                record.view = format!("question {}", question.id);
                self.write(record);
                self.epoch.send_modify(|epoch| *epoch += 1);
                return Ok(());
            }
            Topic::Sampling(reviewing) => {
                self.consent.answer(id, answer, who, now)?;
                let mut record = Record::new(RecordKind::Decision);
                record.app.clone_from(&reviewing.app);
                record.server.clone_from(&reviewing.server);
                record.method = Method::SamplingCreateMessage.name().to_owned();
                record.name = match reviewing.what {
                    Reviewed::Prompt => "what is asked".to_owned(),
                    Reviewed::Answer => "what is answered".to_owned(),
                };
                record.approver = who.to_owned();
                record.outcome = answer.words().to_owned();
                self.write(record);
                return Ok(());
            }
            Topic::Launch { server, .. } => (server.clone(), true),
            Topic::Definitions { server, .. } => (server.clone(), false),
        };
        let server = self.server(&server).ok_or(Rejected::Gone)?;
        match answer {
            Answer::Approve {
                digest,
                except,
                reads,
            } => {
                match is_launch {
                    true => self.approve_launch(&server, digest, who)?,
                    false => self.approve_definitions(&server, digest, except, reads, who)?,
                }
                let same = match is_launch {
                    true => same_launch(&server.name),
                    false => same_definitions(&server.name),
                };
                let how = Ended::Answered {
                    what: answer.words().to_owned(),
                    who: who.to_owned(),
                };
                self.consent.inbox().end(&same, &how);
                self.changed();
                Ok(())
            }
            Answer::Deny { .. } => {
                let resolution = Resolution {
                    answer: answer.clone(),
                    who: who.to_owned(),
                };
                let inbox = self.consent.inbox();
                inbox.answer(id, resolution, now.seconds, |_, _| Ok(()))?;
                let mut record = Record::new(RecordKind::Decision);
                record.server = server.name.clone();
                record.name = match is_launch {
                    true => "launch".to_owned(),
                    false => "definitions".to_owned(),
                };
                record.approver = who.to_owned();
                record.outcome = "refused".to_owned();
                self.write(record);
                Ok(())
            }
            _ => Err(Rejected::Misfit),
        }
    }

    /// An answer that came through an app: for a call, for this once, and nothing more.
    pub(crate) fn answer_through_app(
        self: &Arc<Self>,
        id: u64,
        answer: &Answer,
        who: &str,
    ) -> Result<(), Rejected> {
        let questions = self.questions();
        let question = questions.iter().find(|question| question.id == id);
        let is_call = question.is_some_and(|of| matches!(of.topic, Topic::Call(_)));
        match (is_call, answer) {
            (true, Answer::Once | Answer::Deny { .. }) => self.answer(id, answer, who),
            _ => Err(Rejected::Misfit),
        }
    }

    /// All grants.
    pub fn grants(&self) -> Vec<Grant> {
        self.consent.grants()
    }

    /// Takes a grant back.
    pub fn revoke(&self, id: &str, who: &str) -> io::Result<Option<Grant>> {
        let revoked = self.consent.revoke(id)?;
        if let Some(grant) = &revoked {
            let mut record = Record::new(RecordKind::Decision);
            record.app.clone_from(&grant.app);
            record.server.clone_from(&grant.server);
            record.name.clone_from(&grant.name);
            record.approver = who.to_owned();
            record.outcome = format!("the grant {id} was revoked");
            self.write(record);
        }
        Ok(revoked)
    }

    /// A secret of the host, by the name of its file.
    pub(crate) fn secret(&self, name: &str) -> io::Result<[u8; 32]> {
        self.state.secret(name)
    }

    /// A server that failed may be tried again at once; whether there is one of this name.
    pub fn retry(self: &Arc<Self>, name: &str) -> bool {
        let Some(server) = self.server(name) else {
            return false;
        };
        server.forget_failure();
        self.look_at(&server);
        self.changed();
        true
    }

    /// Gives a server other folders to work in, in our file.
    pub fn change_roots(self: &Arc<Self>, server: &str, change: &Change) -> Result<(), String> {
        let options = &self.options;
        crate::config::roots::change(&options.machine, &options.file, server, change)?;
        self.reload();
        Ok(())
    }

    /// A token for an app over HTTP. Only its digest is kept.
    pub fn token_for(&self, app: &str) -> io::Result<String> {
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(io::Error::other)?;
        let token = hex::text(&token);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tokens.insert(app.to_owned(), token_digest(&token));
        if let Err(error) = self.state.write(TOKENS, VERSION, &*tokens) {
            match before {
                Some(before) => tokens.insert(app.to_owned(), before),
                None => tokens.remove(app),
            };
            return Err(error);
        }
        drop(tokens);
        self.note(format!("the app {app} has a new token"));
        Ok(token)
    }

    /// The app that has this token.
    pub fn app_of(&self, token: &str) -> Option<String> {
        let digest = token_digest(token);
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.iter().find(|(_, known)| **known == digest);
        found.map(|(app, _)| app.clone())
    }

    /// The files that say which servers there are: our own first. They need not be there.
    pub fn files(&self) -> Vec<PathBuf> {
        let workspace = self.options.workspace.iter();
        let asking = workspace.flat_map(|workspace| workspace::files(workspace));
        std::iter::once(self.options.file.clone())
            .chain(asking.map(|place| place.path))
            .collect()
    }

    /// The folder of the state.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Ends everything: apps are let go, servers end in order.
    pub async fn end(self: &Arc<Self>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        for session in self.sessions() {
            session.close();
        }
        let running: Vec<Arc<Running>> = self
            .servers()
            .iter()
            .flat_map(|server| server.take_all())
            .collect();
        let closing: Vec<_> = running
            .into_iter()
            .map(|running| tokio::spawn(async move { running.close().await }))
            .collect();
        for closed in closing {
            let _ = closed.await;
        }
        let mut record = Record::new(RecordKind::Host);
        record.outcome = "the host ends".to_owned();
        if let Err(error) = self.append(record, Durability::Synced).await {
            tracing::warn!(%error, "the end is not in the audit log");
        }
    }

    /// Appends to the audit log.
    pub(crate) async fn append(
        &self,
        record: Record,
        durability: Durability,
    ) -> Result<u64, LogError> {
        self.log.append(record, durability).await
    }

    /// Appends to the audit log what happens in any case, whether or not it can be written down.
    pub(crate) fn write(&self, record: Record) {
        if let Err(error) = self.log.write(record) {
            tracing::error!(%error, "a record is missing in the audit log");
        }
    }

    /// Writes down something of the host itself.
    pub fn note(&self, words: String) {
        let mut record = Record::new(RecordKind::Host);
        record.outcome = words;
        self.write(record);
    }

    /// Looks at the budgets for sampling, or changes them. What was changed is kept before it counts.
    pub(crate) fn budgets<T>(&self, change: impl FnOnce(&mut Budgets) -> T) -> T {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let before = budgets.clone();
        let done = change(&mut budgets);
        if *budgets != before
            && let Err(error) = self.state.write(BUDGETS, VERSION, &*budgets)
        {
            // Within this run they count all the same.
            tracing::warn!(%error, "the budgets for sampling cannot be written");
        }
        done
    }

    /// A digest of arguments that tells nothing without our key.
    pub(crate) fn keyed(&self, text: &str) -> String {
        keyed(&self.key, text)
    }

    /// What differs from the last call that was let through.
    pub(crate) fn since_last(&self, of: &(String, String, String), now: &Value) -> Vec<Difference> {
        let last = self
            .last_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.get(of)
            .map(|before| changes(before, now))
            .unwrap_or_default()
    }

    /// Remembers a call that was let through.
    pub(crate) fn remember(&self, of: (String, String, String), arguments: Value) {
        let mut last = self
            .last_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST_CALLS {
            last.clear();
        }
        last.insert(of, arguments);
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("state", &self.state.path())
            .finish_non_exhaustive()
    }
}

fn keep_grants(folder: &Path, grants: &[Grant]) -> io::Result<()> {
    crate::state::write(folder, GRANTS, VERSION, &grants)
}

/// Tokens are long and random: their digest needs no salt, and tells nothing by how long it takes.
fn token_digest(token: &str) -> String {
    hex::text(&Sha256::digest(token))
}

/// A person agreed that it is fetched, and it is not there.
fn is_to_be_fetched(server: &Server, found: &Result<Launching, String>) -> bool {
    let pins = &server.approvals().pins;
    found.as_ref().is_ok_and(|launching| {
        matches!(launching.way, Way::Fetch(_))
            && pins.approves(&launching.item(), &launching.digest)
    })
}

/// At most so much of a text, for the record.
pub(crate) fn short(text: &str) -> String {
    const SHORT: usize = 400;
    match text.char_indices().nth(SHORT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
