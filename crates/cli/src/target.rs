//! Which server: a command of the person's, or a built-in one in memory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compere::client::{ClientBuilder, Tapped};
use compere::model::{LogMessage, LoggingLevel, Root};
use compere::transport::http::HttpTarget;
use compere::transport::tap::{Direction, OnLine};
use compere::{Client, Command, Limits, Server, ServerHandle};
use compere_servers::files::Files;

use crate::args::{Asking, BuiltIn, Connection, Place};
use crate::failure::Failure;
use crate::person::Person;
use crate::progress::ProgressLine;
use crate::record::{Hop, Record};
use crate::{elicitation, sampling};
use compere::text::escape_line;

/// Connects to the server that was named.
pub(crate) async fn connect(
    connection: &Connection,
    builder: ClientBuilder,
) -> Result<Client, Failure> {
    let record = Record::open(&connection.keeping)?;
    let named = server(&connection.place)?;
    Ok(named
        .connect(builder, record.listener(1, Hop::Client))
        .await?)
}

/// The server that was named.
#[derive(Clone)]
pub(crate) enum Named {
    BuiltIn(ServerHandle),
    Command(Command),
    Url(HttpTarget),
}

/// Finds out which server was named, without starting it.
pub(crate) fn server(connection: &Place) -> Result<Named, Failure> {
    if let Some(url) = &connection.url {
        return Ok(Named::Url(http(url, connection)?));
    }
    match (&connection.on, connection.server.split_first()) {
        (Some(name), _) => Ok(Named::BuiltIn(built_in(&parse_built_in(name)?)?.start()?)),
        (None, Some((program, arguments))) => {
            Ok(Named::Command(command(program, arguments, connection)?))
        }
        (None, None) => Err(Failure::usage("no server to talk to")
            .hint("Name a built-in one:  --on everything   or   --on files:.")
            .hint("or give a command:    -- npx some-server ARG…")
            .hint("or an address:        --url http://127.0.0.1:8080/mcp")),
    }
}

impl Named {
    /// Connects, showing every message to `on_line` if there is one.
    pub(crate) async fn connect(
        self,
        builder: ClientBuilder,
        on_line: Option<OnLine>,
    ) -> compere::Result<Client> {
        let Some(on_line) = on_line else {
            return match self {
                Self::BuiltIn(server) => builder.connect(server).await,
                Self::Command(command) => builder.connect(command).await,
                Self::Url(target) => builder.connect(target).await,
            };
        };
        let on_line = listener(on_line);
        match self {
            Self::BuiltIn(server) => builder.connect(Tapped::new(server, on_line)).await,
            Self::Command(command) => builder.connect(Tapped::new(command, on_line)).await,
            Self::Url(target) => builder.connect(Tapped::new(target, on_line)).await,
        }
    }
}

/// As a type of its own: the compiler cannot see through a boxed one inside of a future.
fn listener(mut on_line: OnLine) -> impl FnMut(Direction, &[u8]) + Send + 'static {
    move |direction, line| on_line(direction, line)
}

/// A client that does what was asked for. What the server says goes above `line`.
pub(crate) fn builder(
    connection: &Connection,
    line: &ProgressLine,
) -> Result<ClientBuilder, Failure> {
    let timeout = Duration::try_from_secs_f64(connection.timeout)
        .map_err(|_| Failure::usage("--timeout is a number of seconds"))?;
    let mut limits = Limits::default();
    limits.request_timeout = timeout;
    limits.initialize_timeout = limits.initialize_timeout.max(timeout);
    let least = connection.log.unwrap_or(LoggingLevel::Info);
    let says = line.clone();
    let mut builder = Client::builder("compere", env!("CARGO_PKG_VERSION"))
        .limits(limits)
        .on_log(move |message| {
            if message.level >= least {
                says.say(&log_line(&message));
            }
        });
    if !connection.roots.is_empty() {
        let roots = connection
            .roots
            .iter()
            .map(|root| root_of(root))
            .collect::<Result<Vec<_>, _>>()?;
        builder = builder.roots(roots);
    }
    if let Some(revision) = connection.place.protocol {
        builder = builder.revisions(&[revision]);
    }
    if let Some(person) = Person::present(line) {
        if connection.sampling == Asking::Ask {
            builder = sampling::answered_by(builder, &person, &name(&connection.place));
        }
        if connection.elicitation == Asking::Ask {
            builder = elicitation::answered_by(builder, &person, &name(&connection.place));
        }
    }
    Ok(builder)
}

/// How the person named the server; what a server calls itself proves nothing.
fn name(connection: &Place) -> String {
    const SHOWN: usize = 100;
    let named = match (&connection.on, &connection.url) {
        (Some(built_in), _) => built_in.clone(),
        // What stands behind the path may be a secret.
        (None, Some(url)) => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        (None, None) => {
            let words = connection.server.iter().map(|word| word.to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        }
    };
    match named.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &named[..end]),
        None => named,
    }
}

fn log_line(message: &LogMessage) -> String {
    let logger = message.logger.as_deref().unwrap_or("server");
    // A text as itself, anything else as JSON.
    let said: String = message
        .data
        .decode()
        .unwrap_or_else(|_| message.data.get().to_owned());
    format!(
        "[{}] {}: {}",
        message.level.as_str(),
        escape_line(logger),
        escape_line(&said),
    )
}

fn root_of(directory: &Path) -> Result<Root, Failure> {
    let path = directory
        .canonicalize()
        .map_err(|error| Failure::usage(format!("--root {}: {error}", directory.display())))?;
    Ok(Root::at(&path))
}

/// A server over HTTP with its headers. Their values may be secrets and are shown nowhere.
fn http(url: &str, connection: &Place) -> Result<HttpTarget, Failure> {
    let mut target = HttpTarget::new(url);
    if let Some(path) = &connection.headers {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--headers {}: {error}", path.display())))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| {
                Failure::usage(format!(
                    "--headers {}: line {} is no `Name: value`",
                    path.display(),
                    number + 1
                ))
            })?;
            target = target.header(name.trim(), value.trim());
        }
    }
    for header in &connection.header_variables {
        let (name, variable) = header.split_once('=').ok_or_else(|| {
            Failure::usage("--header-env is NAME=VARIABLE, the name of a header and of a variable")
        })?;
        let value = std::env::var(variable).map_err(|_| {
            Failure::usage(format!(
                "--header-env {name}: there is no variable {variable}"
            ))
        })?;
        target = target.header(name, value);
    }
    Ok(target)
}

fn command(
    program: &OsString,
    arguments: &[OsString],
    connection: &Place,
) -> Result<Command, Failure> {
    let mut command = Command::new(program.clone())
        .args(arguments.iter().cloned())
        .inherit_env(std::env::vars_os());
    if let Some(path) = &connection.env_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--env-file {}: {error}", path.display())))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself is not shown: it may hold a secret.
            let (name, value) = line.split_once('=').ok_or_else(|| {
                Failure::usage(format!(
                    "--env-file {}: line {} is no NAME=VALUE",
                    path.display(),
                    number + 1
                ))
            })?;
            command = command.env(name.trim(), value);
        }
    }
    for variable in &connection.environment {
        command = match variable.split_once('=') {
            Some((name, value)) => command.env(name, value),
            None => {
                let value = std::env::var_os(variable).ok_or_else(|| {
                    Failure::usage(format!("--env {variable}: there is no such variable"))
                })?;
                command.env(variable, value)
            }
        };
    }
    Ok(command)
}

pub(crate) fn parse_built_in(name: &str) -> Result<BuiltIn, Failure> {
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "everything" => Ok(BuiltIn::Everything),
        "files" => {
            let directories: Vec<PathBuf> = rest
                .split(':')
                .filter(|directory| !directory.is_empty())
                .map(PathBuf::from)
                .collect();
            if directories.is_empty() {
                return Err(Failure::usage("files needs a directory: --on files:."));
            }
            Ok(BuiltIn::Files {
                directories,
                read_only: false,
            })
        }
        _ => Err(
            Failure::usage(format!("there is no built-in server {kind:?}"))
                .hint("There are `everything` and `files:DIR`."),
        ),
    }
}

/// The built-in server that was named.
pub(crate) fn built_in(server: &BuiltIn) -> Result<Server, Failure> {
    match server {
        BuiltIn::Everything => Ok(compere_servers::everything::everything()),
        BuiltIn::Files {
            directories,
            read_only,
        } => {
            for directory in directories {
                if !directory.is_dir() {
                    return Err(Failure::usage(format!(
                        "{} is no directory",
                        directory.display()
                    )));
                }
            }
            let home = std::env::home_dir();
            Ok(Files::new(directories)
                .home(home)
                .read_only(*read_only)
                .server()?)
        }
    }
}
