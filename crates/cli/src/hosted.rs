//! Where the host keeps its things, and how a command reaches the one that runs.

use std::fs::{DirBuilder, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compere_host::config::{Dialect, Entry, Launch, Settings};
use compere_host::door::{Connection, DoorError, Order, Reply};
use compere_host::host::Options;
use compere_host::servers::launch::Machine;

use crate::args::Keeps;
use crate::commands::import::own_file;
use crate::failure::Failure;

/// How long a host that was started in the background may take until it answers.
const START: Duration = Duration::from_secs(10);
/// How often it is tried.
const LOOK: Duration = Duration::from_millis(5);

/// The folder of the state.
pub(crate) fn state(keeps: &Keeps) -> Result<PathBuf, Failure> {
    if let Some(state) = &keeps.state {
        return Ok(std::path::absolute(state)?);
    }
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let base = named.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
    let base = base.ok_or_else(|| {
        Failure::usage("there is no home directory to keep the state of the host in")
            .hint("Name a folder with --state DIR.")
    })?;
    Ok(base.join("compere"))
}

/// Our file.
pub(crate) fn file(keeps: &Keeps) -> Result<PathBuf, Failure> {
    match &keeps.file {
        Some(file) => Ok(std::path::absolute(file)?),
        None => own_file().map_err(|failure| failure.hint("Name a file with --file FILE.")),
    }
}

/// What a host is made of on this machine.
pub(crate) fn options(keeps: &Keeps) -> Result<Options, Failure> {
    let (file, state) = (file(keeps)?, state(keeps)?);
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let machine = Machine {
        own: std::env::current_exe()?,
        environment: std::env::vars_os().collect(),
        home: std::env::home_dir(),
        is_root: rustix::process::geteuid().is_root(),
        may_be_root: false,
        cache: cache(),
        secret: vec![state.clone(), file.clone(), folder.join("secrets")],
        folder,
    };
    let mut options = Options::new(file, state, machine);
    options.own_reads = compere_servers::effects::only_reads;
    Ok(options)
}

/// Where servers keep what they fetch.
fn cache() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let base = named.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(base.join("compere/servers"))
}

/// The built-in server for the files of a folder, to read.
pub(crate) fn offer(folder: &Path) -> Result<Entry, Failure> {
    let folder = folder
        .canonicalize()
        .map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
    let text = folder.to_str().ok_or_else(|| {
        Failure::usage(format!("{} has a name that is no text", folder.display()))
    })?;
    let text = text.to_owned();
    let own = std::env::current_exe()?;
    Ok(Entry {
        name: "files".to_owned(),
        // In which nothing stands for anything else.
        dialect: Dialect::ClaudeDesktop,
        launch: Launch::Command {
            program: own.to_string_lossy().into_owned(),
            arguments: ["serve", "files", "--read-only", &text]
                .map(str::to_owned)
                .to_vec(),
            environment: std::collections::BTreeMap::new(),
            environment_file: None,
            folder: None,
        },
        enabled: true,
        notes: Vec::new(),
        settings: Settings {
            roots: vec![text],
            ..Settings::default()
        },
    })
}

/// A way to the host that runs.
pub(crate) fn reach(keeps: &Keeps) -> Result<Connection, Failure> {
    Connection::open(&state(keeps)?).map_err(failure)
}

/// Gives one order.
pub(crate) fn order(keeps: &Keeps, order: &Order) -> Result<Reply, Failure> {
    match reach(keeps)?.order(order).map_err(failure)? {
        Reply::Refused(why) => Err(Failure::usage(why)),
        reply => Ok(reply),
    }
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
pub(crate) fn failure(error: DoorError) -> Failure {
    let is_absent = matches!(error, DoorError::NotRunning);
    let failure = Failure::usage(error.to_string());
    match is_absent {
        true => failure.hint("Start it with: compere up"),
        false => failure,
    }
}

/// Starts a host in the background, if none runs by then, and waits until it can be reached.
pub(crate) async fn start(keeps: &Keeps) -> Result<(), Failure> {
    let state = state(keeps)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--background", "--state"]).arg(&state);
    command.arg("--file").arg(file(keeps)?);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(&state)?);
    // A process group of its own: what ends an app does not end the host.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let began = Instant::now();
    loop {
        match Connection::open(&state) {
            Ok(_) => return Ok(()),
            Err(DoorError::NotRunning) => {}
            Err(error) => return Err(failure(error)),
        }
        if began.elapsed() > START {
            return Err(Failure::usage("the host does not start").hint(format!(
                "It may have said why in {}",
                state.join("host.log").display()
            )));
        }
        // One that found another host running has ended; that one answers soon.
        let _ = child.try_wait();
        tokio::time::sleep(LOOK).await;
    }
}

/// Where a host in the background says what it has to say; what the one before said is gone.
fn log(state: &Path) -> Result<Stdio, Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    let log = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(state.join("host.log"))?;
    Ok(log.into())
}

/// Is a person at a terminal here?
pub(crate) fn is_person() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
