//! What can be typed. The help texts are the comments here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the server refused, or broke the protocol
  2    what was typed cannot work
  3    the server could not be started, or went away
  4    the tool ran and failed (isError)
  5    no answer in time
  130  interrupted with Ctrl-C";

/// Serve and use Model Context Protocol servers.
#[derive(Debug, Parser)]
#[command(name = "compere", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Say more on standard error; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a built-in server on standard input and output.
    Serve(Serve),
    /// Show who a server is and what it offers.
    Info(Info),
    /// List the tools of a server.
    Tools(Tools),
    /// Call a tool of a server.
    Call(Call),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(subcommand)]
    pub(crate) server: BuiltIn,

    /// Append every message of the connection to a file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) wire_log: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuiltIn {
    /// Files below the given directories, read-only.
    Files {
        /// The directories.
        #[arg(required = true)]
        directories: Vec<PathBuf>,
    },
    /// Every feature of the protocol once, to try a client on.
    Everything,
}

/// The server to talk to.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// A built-in server instead of a command: `everything`, `files:DIR` or `files:DIR:DIR`.
    #[arg(long, value_name = "SERVER", conflicts_with = "server")]
    pub(crate) on: Option<String>,

    /// A directory that the server may know as its root; may be repeated.
    #[arg(long = "root", value_name = "DIR")]
    pub(crate) roots: Vec<PathBuf>,

    /// Set a variable for the server, or pass on one of ours; may be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<String>,

    /// Seconds without answer or progress until a request is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) timeout: f64,

    /// Append every message of the connection to a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) wire_log: Option<PathBuf>,

    /// Print the result as JSON, shaped as in the specification.
    #[arg(long)]
    pub(crate) json: bool,

    /// The command that starts the server, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) server: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The tool.
    pub(crate) tool: String,

    /// Arguments: `key=value` (typed by the tool's schema), `key:=JSON`, `key=@FILE`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<String>,

    /// All arguments as one JSON object; `-` reads it from standard input.
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Option<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}
