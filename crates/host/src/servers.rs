//! The servers of a person: what is known and approved of each, and the processes that run for them.

pub mod definitions;
pub mod digests;
pub mod fetch;
pub mod hosts;
pub mod launch;
pub mod learn;
pub mod running;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use compere::gateway::ServerListener;
use compere::transport::http::HttpTarget;
use compere::{Client, Command, ErrorKind, Limits};
use serde::{Deserialize, Serialize};

use crate::config::Entry;
use crate::naming;
use crate::pins::{Digest, Item, Kind, Pin, Pins, Standing};
use crate::policy::Reads;
use crate::sandbox;
use crate::servers::definitions::{Abilities, Definitions};
use crate::servers::hosts::{HandOver, WayOut};
use crate::servers::launch::{Launching, Machine, Program, Way};
use crate::servers::running::{LastWords, Running};

/// A tool call has the patience of the app that made it; this is for what all forgot.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// A server that fails to start is tried again after this, doubled with each failure.
const BACK_OFF: Duration = Duration::from_secs(1);
/// But never later than this.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// How often a silent server is asked whether it is there, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// What is kept of a server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    /// What was approved.
    pub pins: Vec<(Item, Pin)>,
    /// What it could do when it was last looked at.
    pub abilities: Abilities,
    /// Tools that only read, as a person said of the definition with this digest.
    pub reads: BTreeMap<String, Digest>,
}

/// What is approved of a server.
#[derive(Debug, Clone, Default)]
pub struct Approvals {
    /// Launch and definitions.
    pub pins: Pins,
    /// What it could do when it was last looked at.
    pub abilities: Abilities,
    /// Tools that only read, as a person said.
    pub reads: BTreeMap<String, Digest>,
}

impl Approvals {
    /// From what was kept.
    pub fn from_kept(kept: Kept) -> Self {
        Self {
            pins: Pins::kept(kept.pins),
            abilities: kept.abilities,
            reads: kept.reads,
        }
    }

    /// Everything that a server offers is approved, and nothing else; whether that changes anything.
    pub(crate) fn take_all_of(&mut self, offers: &Definitions) -> bool {
        let gone: Vec<Item> = self
            .pins
            .iter()
            .map(|(item, _)| item.clone())
            .filter(|item| !matches!(item.kind, Kind::Launch | Kind::Fetch))
            .filter(|item| !offers.items.contains_key(item))
            .collect();
        let mut changes = !gone.is_empty();
        for item in gone {
            self.pins.revoke(&item);
        }
        for (item, (definition, _)) in &offers.items {
            if self.pins.standing(item, definition) != Standing::Approved {
                self.pins.approve(item.clone(), definition.clone());
                changes = true;
            }
        }
        changes
    }

    /// To be kept.
    pub fn kept(&self) -> Kept {
        let pins = self.pins.iter();
        Kept {
            pins: pins
                .map(|(item, pin)| (item.clone(), pin.clone()))
                .collect(),
            abilities: self.abilities,
            reads: self.reads.clone(),
        }
    }
}

/// How a server stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Switched off in the file.
    Off,
    /// It cannot be started as it is written; why.
    Unusable(String),
    /// Its launch waits for a person.
    Waiting,
    /// It is approved; nothing of it runs.
    Ready,
    /// So many of it run.
    Running(usize),
    /// It did not start, or ended; it is tried again.
    Failed(String),
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("switched off"),
            Self::Unusable(why) => write!(f, "cannot be started: {why}"),
            Self::Waiting => f.write_str("waits for you to approve how it is started"),
            Self::Ready => f.write_str("ready, not running"),
            Self::Running(count) => write!(f, "running ({count})"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// One server of the file.
pub struct Server {
    /// Its name in the file.
    pub name: String,
    /// What stands for it in names.
    pub handle: String,
    /// What the file asks for.
    pub entry: Entry,
    /// The folder whose files ask for it, if it is not the person's own.
    pub workspace: Option<PathBuf>,
    state: Mutex<State>,
    /// It is fetched by one at a time.
    pub(crate) fetching: tokio::sync::Mutex<()>,
    /// One start at a time for each session.
    slots: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct State {
    launching: Option<Result<Arc<Launching>, String>>,
    approvals: Arc<Approvals>,
    /// What it offered when it was last looked at and not all of it was approved.
    seen: Option<Arc<Definitions>>,
    running: HashMap<u64, Arc<Running>>,
    words: LastWords,
    failed: Option<Failure>,
    /// One of its folders was not there when that was last looked at.
    roots_are_gone: bool,
}

struct Failure {
    why: String,
    times: u32,
    again: Instant,
}

/// Why there is no process to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRunning {
    /// Its launch is not approved, or not any more.
    NotApproved,
    /// It cannot be started as it is written; why.
    Unusable(String),
    /// It did not start; why.
    Failed(String),
}

impl std::fmt::Display for NotRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotApproved => f.write_str("it waits for a person to approve how it is started"),
            Self::Unusable(why) => write!(f, "it cannot be started: {why}"),
            Self::Failed(why) => write!(f, "it did not start: {why}"),
        }
    }
}

/// No two starts have the same number.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl Server {
    /// A server of the file, with what was approved of it.
    pub fn new(entry: Entry, approvals: Approvals) -> Self {
        Self {
            name: entry.name.clone(),
            handle: naming::handle(&entry.name),
            entry,
            workspace: None,
            state: Mutex::new(State {
                approvals: Arc::new(approvals),
                ..State::default()
            }),
            fetching: tokio::sync::Mutex::default(),
            slots: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found out about its launch.
    pub fn set_launching(&self, launching: Result<Launching, String>) {
        self.lock().launching = Some(launching.map(Arc::new));
    }

    /// How it would be started, as last looked at.
    pub fn launching(&self) -> Result<Arc<Launching>, String> {
        match &self.lock().launching {
            Some(launching) => launching.clone(),
            None => Err("it was not looked at yet".to_owned()),
        }
    }

    /// What is approved.
    pub fn approvals(&self) -> Arc<Approvals> {
        self.lock().approvals.clone()
    }

    /// Other approvals from now on.
    pub(crate) fn set_approvals(&self, approvals: Approvals) {
        self.lock().approvals = Arc::new(approvals);
    }

    /// What it offered when it was last looked at, if not all of it was approved.
    pub(crate) fn seen(&self) -> Option<Arc<Definitions>> {
        self.lock().seen.clone()
    }

    pub(crate) fn set_seen(&self, seen: Definitions) {
        self.lock().seen = Some(Arc::new(seen));
    }

    /// The digest of the launch, if it is what was approved.
    pub fn approved_launch(&self) -> Option<String> {
        let state = self.lock();
        let Some(Ok(launching)) = &state.launching else {
            return None;
        };
        approved(launching, &state.approvals.pins)
    }

    /// The digest of an item as it was approved, with that of the launch.
    pub fn agreed(&self, item: Option<&Item>) -> Option<String> {
        let launch = self.approved_launch()?;
        let Some(item) = item else {
            return Some(launch);
        };
        let approvals = self.approvals();
        let pin = approvals.pins.get(item)?;
        Some(format!("{launch} {}", pin.digest))
    }

    /// Is it known that this only reads?
    pub fn reads(&self, item: Option<&Item>, own: impl Fn(&str, &str) -> bool) -> Reads {
        let Ok(launching) = self.launching() else {
            return Reads::Unknown;
        };
        let approvals = self.approvals();
        let tool = item.filter(|item| item.kind == Kind::Tool);
        if let (Some(own_name), Some(tool)) = (&launching.own, tool)
            && own(own_name, &tool.name)
        {
            return Reads::OwnServer;
        }
        if launching.own.is_some() && tool.is_none() {
            return Reads::OwnServer;
        }
        if let Way::Program(Program {
            profile: Some(profile),
            ..
        }) = &launching.way
            && profile.only_reads()
        {
            return Reads::Confined;
        }
        if let Some(tool) = tool
            && let (Some(marked), Some(pin)) =
                (approvals.reads.get(&tool.name), approvals.pins.get(tool))
            && *marked == pin.digest
        {
            return Reads::Marked;
        }
        Reads::Unknown
    }

    /// How it stands.
    pub fn stage(&self) -> Stage {
        if !self.entry.enabled {
            return Stage::Off;
        }
        let mut state = self.lock();
        state.running.retain(|_, running| !running.has_ended());
        match &state.launching {
            None => return Stage::Waiting,
            Some(Err(why)) => return Stage::Unusable(why.clone()),
            Some(Ok(launching)) if approved(launching, &state.approvals.pins).is_none() => {
                return Stage::Waiting;
            }
            Some(Ok(_)) => {}
        }
        match (state.running.len(), &state.failed) {
            (0, Some(failed)) => Stage::Failed(failed.why.clone()),
            (0, None) => Stage::Ready,
            (count, _) => Stage::Running(count),
        }
    }

    /// Everything of it that runs.
    pub fn running(&self) -> Vec<Arc<Running>> {
        let mut state = self.lock();
        state.running.retain(|_, running| !running.has_ended());
        state.running.values().cloned().collect()
    }

    /// The one that runs for a session, if one does.
    pub fn running_for(&self, session: u64) -> Option<Arc<Running>> {
        let state = self.lock();
        let running = state.running.get(&self.slot(session))?;
        (!running.has_ended()).then(|| running.clone())
    }

    /// Has one of its folders gone, or come back, since this was last asked?
    pub(crate) fn roots_moved(&self) -> bool {
        let Ok(launching) = self.launching() else {
            // It may be that it waits for one.
            return self.lock().roots_are_gone && self.given_roots_are_there();
        };
        let Way::Program(program) = &launching.way else {
            return false;
        };
        let gone = program.roots.iter().any(|root| !root.is_dir());
        let mut state = self.lock();
        std::mem::replace(&mut state.roots_are_gone, gone) != gone
    }

    fn given_roots_are_there(&self) -> bool {
        let roots = self.entry.settings.roots.iter().map(Path::new);
        let there = roots.filter(|root| root.is_absolute()).all(Path::is_dir);
        if there {
            self.lock().roots_are_gone = false;
        }
        there
    }

    /// What it seems to have been kept from, by what it said, in words; they stand among its last words too.
    pub(crate) fn kept_from(&self, text: &str) -> Vec<String> {
        let Ok(launching) = self.launching() else {
            return Vec::new();
        };
        let Way::Program(Program {
            profile: Some(profile),
            ..
        }) = &launching.way
        else {
            return Vec::new();
        };
        let denied = sandbox::denied::denied(text, profile);
        let words: Vec<String> = denied.iter().map(ToString::to_string).collect();
        let last = self.lock().words.clone();
        for what in &words {
            last.hear(&format!("compere: it was kept from {what}"));
        }
        words
    }

    /// What it wrote to its standard error last.
    pub fn last_words(&self) -> Vec<String> {
        self.lock().words.lines()
    }

    fn slot(&self, session: u64) -> u64 {
        match self.entry.settings.shared {
            true => 0,
            false => session,
        }
    }

    /// The process for a session, started if there is none. `launching` is how it would be started now;
    /// it must be what was approved.
    pub async fn start(
        &self,
        session: u64,
        launching: Result<Launching, String>,
        machine: &Machine,
        listener: Arc<dyn ServerListener>,
        stale: Arc<AtomicBool>,
    ) -> Result<Arc<Running>, NotRunning> {
        let slot = self.slot(session);
        let turn = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(slot).or_default().clone()
        };
        let _turn = turn.lock().await;
        if let Some(running) = self.running_for(session) {
            return Ok(running);
        }
        self.set_launching(launching);
        let launching = self.launching().map_err(NotRunning::Unusable)?;
        let Some(launch) = self.approved_launch() else {
            return Err(NotRunning::NotApproved);
        };
        let words = {
            let mut state = self.lock();
            if let Some(failed) = &state.failed
                && Instant::now() < failed.again
            {
                let rest = failed.again.saturating_duration_since(Instant::now());
                return Err(NotRunning::Failed(format!(
                    "{}; it is tried again in {} s",
                    failed.why,
                    rest.as_secs() + 1
                )));
            }
            state.words = LastWords::default();
            state.words.clone()
        };
        let process = Arc::new(AtomicU32::new(0));
        let connected = connect(&launching, machine, listener, words, process.clone()).await;
        let offered = match connected {
            Ok((client, way_out)) => Definitions::ask(&client)
                .await
                .map(|offers| (client, way_out, offers)),
            Err(error) => Err(error),
        };
        match offered {
            Ok((client, way_out, offers)) => {
                let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
                let running = Running::new(
                    self.name.clone(),
                    generation,
                    launch,
                    client,
                    process,
                    offers,
                    stale,
                );
                let running = Arc::new(running.with_way_out(way_out));
                let mut state = self.lock();
                state.failed = None;
                state.running.insert(slot, running.clone());
                Ok(running)
            }
            Err(error) => {
                let mut why = match error.kind() {
                    ErrorKind::HttpStatus(401 | 403) => {
                        "it wants you to sign in, which is not supported yet".to_owned()
                    }
                    _ => error.to_string(),
                };
                let kept_from = self.kept_from(&format!("{why}\n{}", self.last_words().join("\n")));
                if !kept_from.is_empty() {
                    why.push_str("; it was kept from ");
                    why.push_str(&kept_from.join("; "));
                }
                let mut state = self.lock();
                let times = state.failed.as_ref().map_or(0, |failed| failed.times);
                let wait = BACK_OFF
                    .saturating_mul(1 << times.min(10))
                    .min(BACK_OFF_MAX);
                state.failed = Some(Failure {
                    why: why.clone(),
                    times: times + 1,
                    again: Instant::now() + wait,
                });
                Err(NotRunning::Failed(why))
            }
        }
    }

    /// Takes out what runs for a session, to be closed.
    pub(crate) fn take_running(&self, session: u64) -> Option<Arc<Running>> {
        if self.entry.settings.shared {
            return None;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&session);
        drop(slots);
        self.lock().running.remove(&session)
    }

    /// Takes out what nothing has been asked of for so long.
    pub(crate) fn take_idle(&self, longest: Duration) -> Vec<Arc<Running>> {
        let mut state = self.lock();
        let idle = |running: &Arc<Running>| running.idle().is_some_and(|idle| idle >= longest);
        let slots: Vec<u64> = state
            .running
            .iter()
            .filter(|(_, running)| idle(running))
            .map(|(slot, _)| *slot)
            .collect();
        slots
            .into_iter()
            .filter_map(|slot| state.running.remove(&slot))
            .collect()
    }

    /// Takes out everything, to be closed.
    pub(crate) fn take_all(&self) -> Vec<Arc<Running>> {
        let mut state = self.lock();
        state.running.drain().map(|(_, running)| running).collect()
    }

    /// May be tried again at once.
    pub(crate) fn forget_failure(&self) {
        self.lock().failed = None;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The launch as an item.
pub(crate) fn launch_item() -> Item {
    Item::new(Kind::Launch, "")
}

/// The digest of a launch, if it is approved, and is one.
fn approved(launching: &Launching, pins: &Pins) -> Option<String> {
    let item = launching.item();
    let approved = item.kind == Kind::Launch && pins.approves(&item, &launching.digest);
    approved.then(|| launching.digest.to_string())
}

async fn connect(
    launching: &Launching,
    machine: &Machine,
    listener: Arc<dyn ServerListener>,
    words: LastWords,
    process: Arc<AtomicU32>,
) -> compere::Result<(Client, Option<WayOut>)> {
    let mut limits = Limits::default();
    limits.request_timeout = PATIENCE;
    let builder = Client::builder("compere", env!("CARGO_PKG_VERSION"))
        .limits(limits)
        .listener(listener)
        .ping_every(PING.0, PING.1);
    match &launching.way {
        Way::Program(program) => {
            let Prepared { command, way_out } = prepared(program, machine, words, process, None)?;
            Ok((builder.connect(command).await?, way_out))
        }
        Way::Remote { url, headers } => {
            let mut target = HttpTarget::new(url);
            for (name, value) in headers {
                target = target.header(name, value);
            }
            Ok((builder.connect(target).await?, None))
        }
        Way::Fetch(_) => Err(std::io::Error::other("it is not fetched yet").into()),
    }
}

/// A program, ready to be started.
struct Prepared {
    command: Command,
    way_out: Option<WayOut>,
}

/// The launcher with its orders; `wrapped` in another program with these arguments, if anything.
fn prepared(
    program: &Program,
    machine: &Machine,
    words: LastWords,
    process: Arc<AtomicU32>,
    wrapped: Option<(&Path, &[OsString])>,
) -> std::io::Result<Prepared> {
    let mut profile = program.profile.clone();
    let mut way_out = None;
    if let (Some(profile), false) = (&mut profile, program.hosts.is_empty()) {
        let hand_over = HandOver::new()?;
        profile.way_out = Some(hand_over.name.clone());
        let heard = words.clone();
        let say: hosts::Say = Arc::new(move |what| heard.hear(&format!("compere: {what}")));
        let hosts = program.hosts.clone();
        way_out = Some(hosts::open(hand_over, process.clone(), hosts, say));
    }
    let mut command = match wrapped {
        None => Command::new(&machine.own),
        Some((program, arguments)) => Command::new(program).args(arguments).arg(&machine.own),
    };
    command = command
        .args(sandbox::order(profile.as_ref()))
        .arg(&program.path)
        .args(&program.arguments)
        .on_stderr(move |line| words.hear(line))
        .on_start(move |id| process.store(id, Ordering::Release));
    if way_out.is_some() {
        for (name, value) in hosts::variables(sandbox::doorway::PORT) {
            command = command.env(name, value);
        }
    }
    for (name, value) in &program.environment {
        if let Some(value) = value {
            command = command.env(name, value);
        }
    }
    let taken = |name: &OsString| {
        let name = name.to_str().unwrap_or_default();
        matches!(program.environment.get(name), Some(None))
    };
    let inherited = machine.environment.iter();
    let inherited = inherited.filter(|(name, _)| !taken(name));
    command = command.inherit_env(inherited.map(|(name, value)| (name.clone(), value.clone())));
    for home in program.profile.iter().flat_map(|profile| &profile.own) {
        let mut making = std::fs::DirBuilder::new();
        making.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut making, 0o700).create(home)?;
    }
    let own = program
        .profile
        .as_ref()
        .and_then(|profile| profile.own.first());
    let folder = program.folder.as_ref().or(program.roots.first()).or(own);
    if let Some(folder) = folder {
        command = command.directory(folder);
    }
    Ok(Prepared { command, way_out })
}
