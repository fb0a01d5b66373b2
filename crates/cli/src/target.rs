//! Which server: a command of the person's, or a built-in one in memory.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compere::client::{ClientBuilder, Tapped};
use compere::model::{LogMessage, Root};
use compere::transport::tap::Direction;
use compere::{Client, Command, Limits, Server};
use compere_servers::files::Files;

use crate::args::{BuiltIn, Connection};
use crate::failure::Failure;
use crate::progress::ProgressLine;
use compere::text::escape_line;

/// Connects to the server that was named.
/// Log messages go above `line`.
pub(crate) async fn connect(
    connection: &Connection,
    line: &ProgressLine,
) -> Result<Client, Failure> {
    let builder = builder(connection, line.clone())?;
    let log = connection.wire_log.as_deref().map(wire_log).transpose()?;
    match (&connection.on, connection.server.split_first()) {
        (Some(name), _) => {
            let server = built_in(&parse_built_in(name)?)?;
            open(builder, server, log).await
        }
        (None, Some((program, arguments))) => {
            let command = command(program, arguments, &connection.environment)?;
            open(builder, command, log).await
        }
        (None, None) => Err(Failure::usage("no server to talk to")
            .hint("Name a built-in one:  --on everything   or   --on files:.")
            .hint("or give a command:    -- npx some-server ARG…")),
    }
}

async fn open(
    builder: ClientBuilder,
    target: impl compere::client::Target,
    log: Option<File>,
) -> Result<Client, Failure> {
    Ok(match log {
        None => builder.connect(target).await?,
        Some(file) => {
            builder
                .connect(Tapped::new(target, write_wire(file)))
                .await?
        }
    })
}

fn builder(connection: &Connection, line: ProgressLine) -> Result<ClientBuilder, Failure> {
    let timeout = Duration::try_from_secs_f64(connection.timeout)
        .map_err(|_| Failure::usage("--timeout is a number of seconds"))?;
    let mut limits = Limits::default();
    limits.request_timeout = timeout;
    limits.initialize_timeout = limits.initialize_timeout.max(timeout);
    let mut builder = Client::builder("compere", env!("CARGO_PKG_VERSION"))
        .limits(limits)
        .on_log(move |message| show_log(&line, &message));
    if !connection.roots.is_empty() {
        let roots = connection
            .roots
            .iter()
            .map(|root| root_of(root))
            .collect::<Result<Vec<_>, _>>()?;
        builder = builder.roots(roots);
    }
    Ok(builder)
}

fn show_log(line: &ProgressLine, message: &LogMessage) {
    let logger = message.logger.as_deref().unwrap_or("server");
    line.say(&format!(
        "[{}] {}: {}",
        message.level.as_str(),
        escape_line(logger),
        escape_line(message.data.get()),
    ));
}

fn root_of(directory: &Path) -> Result<Root, Failure> {
    let path = directory
        .canonicalize()
        .map_err(|error| Failure::usage(format!("--root {}: {error}", directory.display())))?;
    let encoded: String = path
        .to_string_lossy()
        .bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let name = path.file_name().map_or_else(
        || "/".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    Ok(Root::new(format!("file://{encoded}")).name(name))
}

fn command(
    program: &OsString,
    arguments: &[OsString],
    environment: &[String],
) -> Result<Command, Failure> {
    let mut command = Command::new(program.clone())
        .args(arguments.iter().cloned())
        .inherit_env(std::env::vars_os());
    for variable in environment {
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

fn parse_built_in(name: &str) -> Result<BuiltIn, Failure> {
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
            Ok(BuiltIn::Files { directories })
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
        BuiltIn::Files { directories } => {
            for directory in directories {
                if !directory.is_dir() {
                    return Err(Failure::usage(format!(
                        "{} is no directory",
                        directory.display()
                    )));
                }
            }
            let home = std::env::home_dir();
            Ok(Files::new(directories).home(home).server()?)
        }
    }
}

/// Opens a wire log for appending.
pub(crate) fn wire_log(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| Failure::usage(format!("--wire-log {}: {error}", path.display())))
}

/// Writes each message with a mark for its direction: `>` sent, `<` received.
pub(crate) fn write_wire(mut file: File) -> impl FnMut(Direction, &[u8]) + Send + 'static {
    move |direction, line| {
        let mark = match direction {
            Direction::Sent => b"> ",
            Direction::Received => b"< ",
        };
        let mut entry = Vec::with_capacity(line.len() + 3);
        entry.extend_from_slice(mark);
        entry.extend_from_slice(line);
        entry.push(b'\n');
        let _ = file.write_all(&entry);
    }
}
