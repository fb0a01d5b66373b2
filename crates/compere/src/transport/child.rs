//! A server process of ours: how it is started, watched and ended. The client's end of stdio.
//!
//! It gets a process group of its own, so that wrappers such as `npx` end together with the real
//! server, and a minimal environment, so that secrets of ours do not leak by accident. Its stderr
//! is drained for as long as it lives, into bounded memory.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/lifecycle#stdio>

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::Limits;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::error::{Error, ErrorKind, Result, ServerLost};
use crate::transport::ByteStream;

/// The variables that a server gets from our environment: what a program needs to find its home
/// and its tools, and nothing that names a secret.
pub const INHERITED_VARIABLES: [&str; 12] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// How long a server may take to exit after its stdin was closed, and again after SIGTERM.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// How long the exit status may take once stdout has ended.
const STATUS_WAIT: Duration = Duration::from_millis(500);

/// What a line of stderr is given to.
type OnStderr = Arc<dyn Fn(&str) + Send + Sync>;

/// A command that starts a server on stdio.
///
/// Nothing is run by a shell: the program gets exactly these arguments. Its environment holds
/// [`INHERITED_VARIABLES`], given by the caller with [`Command::inherit_env`] or one by one with
/// [`Command::env`], and nothing else.
#[derive(Clone)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    on_stderr: Option<OnStderr>,
    on_start: Option<Arc<dyn Fn(u32) + Send + Sync>>,
    exit_wait: Duration,
}

impl Command {
    /// A command without arguments and with an empty environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: None,
            on_stderr: None,
            on_start: None,
            exit_wait: EXIT_WAIT,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. Secrets belong here, never among the arguments, which everyone can see.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Takes from `variables`, usually `std::env::vars_os()`, those of [`INHERITED_VARIABLES`]. A
    /// library does not read the environment by itself.
    #[must_use]
    pub fn inherit_env(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        for (name, value) in variables {
            let known = INHERITED_VARIABLES
                .iter()
                .any(|inherited| name == OsStr::new(inherited));
            // A function exported by a shell is code, not data.
            if known && !value.as_encoded_bytes().starts_with(b"()") {
                self.environment.entry(name).or_insert(value);
            }
        }
        self
    }

    /// The directory that it starts in.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Called with each line that it writes to stderr, cut at
    /// [`Limits::stderr_line_bytes`](compere_proto::Limits::stderr_line_bytes). The text is the
    /// server's: escape it before it reaches a terminal.
    #[must_use]
    pub fn on_stderr(mut self, on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_stderr = Some(Arc::new(on_line));
        self
    }

    /// Called with the number of its process once it is started.
    #[must_use]
    pub fn on_start(mut self, on_start: impl Fn(u32) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(on_start));
        self
    }

    /// How long it may take to exit once its stdin is closed, and again after SIGTERM, before
    /// SIGKILL. Default two seconds each.
    #[must_use]
    pub fn exit_wait(mut self, wait: Duration) -> Self {
        self.exit_wait = wait;
        self
    }

    /// What is run, in one text, without what is in its environment.
    pub(crate) fn words(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The program, for messages.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Starts it. Must be called inside a tokio runtime.
    pub(crate) fn start(&self, limits: &Limits) -> Result<ChildStream> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let mut child = command.spawn().map_err(|error| {
            let program = self.program.to_string_lossy();
            Error::because(
                ErrorKind::Start,
                format!("cannot start {:?}", program.as_ref()),
                error,
            )
        })?;
        if let (Some(on_start), Some(id)) = (&self.on_start, child.id()) {
            on_start(id);
        }
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let drained = child.stderr.take().map(|pipe| {
            tokio::spawn(drain(
                pipe,
                stderr.clone(),
                self.on_stderr.clone(),
                limits.stderr_line_bytes,
                limits.stderr_lines,
            ))
        });
        Ok(ChildStream {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            process: Process {
                child: Some(child),
                group,
            },
            status: None,
            stderr,
            drained,
            waiting: None,
            ending: Ending::NotYet,
            exit_wait: self.exit_wait,
        })
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values of variables may be secrets.
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

type Lines = Arc<Mutex<VecDeque<String>>>;

/// Reads stderr for as long as it lives; keeps the last lines, each cut at the bound.
async fn drain(
    mut pipe: ChildStderr,
    kept: Lines,
    on_line: Option<OnStderr>,
    line_bytes: usize,
    lines: usize,
) {
    let keep = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some(on_line) = &on_line {
            on_line(&line);
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == lines {
            kept.pop_front();
        }
        kept.push_back(line);
    };
    let mut chunk = vec![0; 4096];
    let mut line = Vec::new();
    loop {
        let count = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for byte in chunk.get(..count).unwrap_or_default() {
            match byte {
                b'\n' => {
                    keep(line.strip_suffix(b"\r").unwrap_or(&line));
                    line.clear();
                }
                _ if line.len() < line_bytes => line.push(*byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        keep(&line);
    }
}

/// A process and its group. Dropped before it has ended, the whole group is killed.
struct Process {
    child: Option<Child>,
    group: Option<Pid>,
}

impl Process {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }

    fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Poll::Ready(None);
        };
        let wait = std::pin::pin!(child.wait());
        match wait.poll(context) {
            Poll::Ready(status) => Poll::Ready(status.ok()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may outlive its leader: grandchildren that ignored the end of stdin.
        self.signal(Signal::KILL);
        let Some(mut child) = self.child.take() else {
            return;
        };
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        if !ended {
            let _ = child.start_kill();
            // Reaped by the runtime if it lives on, else by whoever inherits it.
        }
    }
}

/// Where the orderly end of a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotYet,
    StdinClosed,
    Terminated,
    Killed,
    Done,
}

/// The stdio of a server process as a stream of bytes.
pub struct ChildStream {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    process: Process,
    status: Option<ExitStatus>,
    stderr: Lines,
    /// Ends when stderr does.
    drained: Option<JoinHandle<()>>,
    waiting: Option<Pin<Box<Sleep>>>,
    ending: Ending,
    exit_wait: Duration,
}

impl ChildStream {
    /// Waits for the exit at most so long; `Ready` in either case at the end.
    fn poll_exit_within(&mut self, wait: Duration, context: &mut Context<'_>) -> Poll<bool> {
        if self.status.is_some() {
            return Poll::Ready(true);
        }
        if let Poll::Ready(status) = self.process.poll_exit(context) {
            self.status = status;
            self.waiting = None;
            return Poll::Ready(true);
        }
        let sleep = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        if sleep.as_mut().poll(context).is_ready() {
            self.waiting = None;
            return Poll::Ready(false);
        }
        Poll::Pending
    }
}

impl ChildStream {
    /// Waits for the end of stderr at most so long: a grandchild may keep it open.
    fn poll_drained_within(&mut self, wait: Duration, context: &mut Context<'_>) -> Poll<()> {
        let Some(drained) = &mut self.drained else {
            return Poll::Ready(());
        };
        let over = Pin::new(drained).poll(context).is_ready() || {
            let sleep = self
                .waiting
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            sleep.as_mut().poll(context).is_ready()
        };
        if !over {
            return Poll::Pending;
        }
        self.waiting = None;
        self.drained = None;
        Poll::Ready(())
    }
}

impl ByteStream for ChildStream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(stdout) = &mut self.stdout {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(stdout).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    return Poll::Ready(Ok(buffer.filled().len()));
                }
                Poll::Ready(_) => self.stdout = None,
            }
        }
        // The end of stdout is nearly always the end of the process: its status and its last words
        // say why.
        std::task::ready!(self.poll_exit_within(STATUS_WAIT, context));
        std::task::ready!(self.poll_drained_within(STATUS_WAIT, context));
        Poll::Ready(Ok(0))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(stdin) = &mut self.stdin else {
            return Poll::Ready(Ok(bytes.len()));
        };
        match Pin::new(stdin).poll_write(context, bytes) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                // It is going down; the end of stdout will tell how. What is written now is lost.
                self.stdin = None;
                Poll::Ready(Ok(bytes.len()))
            }
            other => other,
        }
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.ending {
                Ending::NotYet => {
                    self.stdin = None;
                    self.waiting = None;
                    self.ending = Ending::StdinClosed;
                }
                Ending::StdinClosed => {
                    match std::task::ready!(self.poll_exit_within(self.exit_wait, context)) {
                        true => self.ending = Ending::Done,
                        false => {
                            tracing::debug!("the server does not exit: SIGTERM");
                            self.process.signal(Signal::TERM);
                            self.ending = Ending::Terminated;
                        }
                    }
                }
                Ending::Terminated => {
                    match std::task::ready!(self.poll_exit_within(self.exit_wait, context)) {
                        true => self.ending = Ending::Done,
                        false => {
                            tracing::debug!("the server does not exit: SIGKILL");
                            self.process.signal(Signal::KILL);
                            self.ending = Ending::Killed;
                        }
                    }
                }
                Ending::Killed => {
                    std::task::ready!(self.poll_exit_within(self.exit_wait, context));
                    self.ending = Ending::Done;
                }
                Ending::Done => {
                    // Its group may hold processes that it left behind.
                    self.process.signal(Signal::KILL);
                    self.stdout = None;
                    return Poll::Ready(());
                }
            }
        }
    }

    fn ended(&mut self) -> Option<ServerLost> {
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ServerLost {
            status: self.status.map(|status| status.to_string()),
            stderr: stderr.iter().cloned().collect(),
        })
    }
}
