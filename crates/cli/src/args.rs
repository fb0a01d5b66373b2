//! What can be typed. The help texts are the comments here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use compere::Revision;
use compere::model::LoggingLevel;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the server refused, or broke the protocol; `doctor` found a fault
  2    what was typed cannot work
  3    the server could not be started, or went away
  4    the tool ran and failed (isError)
  5    no answer in time
  130  interrupted with Ctrl-C";

const EXAMPLES: &str = "\
Examples:
  compere tools -- npx -y @modelcontextprotocol/server-everything
  compere call read_text_file path=README.md --on files:.
  compere call echo message=hello --json --on everything
  compere read demo://resource/dynamic/text/1 --on everything
  compere serve files . --http 127.0.0.1:8080
  compere tools --url http://127.0.0.1:8080/mcp
  compere bridge --url https://example.com/mcp --header-env authorization=TOKEN
  compere bridge --http 127.0.0.1:8080 -- npx -y some-server
  compere doctor -- ./my-server

Arguments of tools and prompts:
  key=value    typed by the tool's schema
  key:=JSON    as it is
  key=@FILE    the content of a file; @- reads standard input";

/// Serve and use Model Context Protocol servers.
#[derive(Debug, Parser)]
#[command(name = "compere", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// Say more on standard error; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What programs start, and often: read without making all that could be typed.
#[derive(Debug, Parser)]
#[command(name = "compere", version)]
struct Started {
    /// Say more on standard error; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: StartedCommand,
}

#[derive(Debug, Subcommand)]
enum StartedCommand {
    /// Serve a built-in server on standard input and output, or over HTTP.
    Serve(Serve),
    /// What an app starts to use the host: standard input and output, as any server.
    Connect(Connect),
}

impl Arguments {
    /// What was typed. Ends the program if that is nothing, or a question.
    pub(crate) fn read() -> Self {
        let first = std::env::args_os().nth(1);
        let is_started = first.is_some_and(|word| word == "serve" || word == "connect");
        if !is_started {
            return Self::parse();
        }
        let started = Started::parse();
        Self {
            verbose: started.verbose,
            command: match started.command {
                StartedCommand::Serve(serve) => Command::Serve(serve),
                StartedCommand::Connect(connect) => Command::Connect(connect),
            },
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a built-in server on standard input and output, or over HTTP.
    Serve(Serve),
    /// Show who a server is and what it offers.
    Info(Info),
    /// List the tools of a server.
    Tools(Tools),
    /// Call a tool of a server.
    Call(Call),
    /// List the prompts of a server.
    Prompts(Prompts),
    /// Get a prompt of a server.
    Prompt(Prompt),
    /// List the resources of a server.
    Resources(Resources),
    /// List the resource templates of a server.
    Templates(Templates),
    /// Read a resource of a server.
    Read(Read),
    /// Suggest values for an argument of a prompt or a variable of a template.
    Complete(Complete),
    /// Say when resources of a server change, until Ctrl-C.
    Subscribe(Subscribe),
    /// Ask a server whether it is there, and how long that takes.
    Ping(Ping),
    /// Carry a server from one transport to another: standard input and output, HTTP with SSE and
    /// Streamable HTTP, any to any.
    Bridge(Bridge),
    /// The host: your servers, offered to any app as one, with your consent in between.
    Up(Up),
    /// What an app starts to use the host: standard input and output, as any server.
    Connect(Connect),
    /// Decide what waits for you.
    Approve(Approve),
    /// How the host, its servers and its apps stand.
    Status(Status),
    /// What you have granted, and to take it back.
    Grants(Grants),
    /// A token with which an app uses the host over HTTP.
    Token(Token),
    /// Try a server that failed again at once.
    Retry(OneServer),
    /// Fetch the program of a server again, if it is one that `npx` or `uvx` would fetch; what is another
    /// one by then waits for you.
    Update(OneServer),
    /// Keep secrets for servers, in the keyring of your system where there is one.
    Secret(Secret),
    /// A link to the page of the host in a browser, good once.
    Console(Console),
    /// End the host.
    Stop(Stop),
    /// The folders that your servers work in: show them, or change them.
    Roots(Roots),
    /// What confined servers may touch.
    Sandbox(Sandbox),
    /// Show the servers that other apps have, and bring them into a file of our own after a yes.
    Import(Import),
    /// Let an app use this host: puts it into the app's file, after a yes.
    Install(Install),
    /// Your rules on what may be done: what they say of a call.
    Policy(Policy),
    /// What happened: every call, refusal and decision, and whether that is what was written.
    Audit(Audit),
    /// Show a conversation that was recorded with `--trace`.
    Replay(Replay),
    /// Check what a server does against the requirements of the protocol.
    Doctor(Doctor),
    /// Print a script that completes commands, options and tool names in a shell.
    Completions(Completions),
    /// What a shell asks while a person types.
    #[command(name = "__complete", hide = true)]
    Candidates(Candidates),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(subcommand)]
    pub(crate) server: BuiltIn,

    #[command(flatten)]
    pub(crate) keeping: Keeping,

    #[command(flatten)]
    pub(crate) listening: Listening,

    /// With --http: keep no sessions; every request stands by itself.
    #[arg(long, global = true, requires = "http")]
    pub(crate) no_sessions: bool,
}

/// How clients come, if not over standard input and output.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Over HTTP")]
pub(crate) struct Listening {
    /// Serve HTTP on this address instead: Streamable HTTP at /mcp, HTTP with SSE at /sse.
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    pub(crate) http: Option<SocketAddr>,

    /// With --http: let in only clients with a bearer token of this file, one `NAME TOKEN` a line.
    #[arg(long, value_name = "FILE", global = true, requires = "http")]
    pub(crate) tokens: Option<PathBuf>,

    /// With --http: also answer to this name, besides those of this machine; may be repeated.
    #[arg(long, value_name = "NAME", global = true, requires = "http")]
    pub(crate) allow_host: Vec<String>,

    /// With --http: let pages of this origin in, such as `https://app.example.com`; may be repeated.
    #[arg(long, value_name = "ORIGIN", global = true, requires = "http")]
    pub(crate) allow_origin: Vec<String>,
}

/// What passes between two transports.
#[derive(Debug, Args)]
pub(crate) struct Bridge {
    #[command(flatten)]
    pub(crate) listening: Listening,

    /// With --http: how many clients may be connected at once. Each has a connection to the server
    /// of its own, and a process of its own if the server is a command.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "http")]
    pub(crate) clients: usize,

    #[command(flatten)]
    pub(crate) keeping: Keeping,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where the host keeps its things.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Host")]
pub(crate) struct Keeps {
    /// The folder for grants, approvals and the audit log, instead of the one in your home.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// The file with your servers and rules, instead of the one in your settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl Keeps {
    /// The same, for another command of ours.
    pub(crate) fn arguments(&self) -> std::io::Result<Vec<String>> {
        let mut arguments = Vec::new();
        for (option, path) in [("--state", &self.state), ("--file", &self.file)] {
            if let Some(path) = path {
                arguments.push(option.to_owned());
                arguments.push(std::path::absolute(path)?.to_string_lossy().into_owned());
            }
        }
        Ok(arguments)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Let apps read the files below this folder, without asking first; may be repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) offer: Vec<PathBuf>,

    /// Let the files of this folder ask for servers (`.mcp.json`, `.vscode/mcp.json`, `.cursor/mcp.json`,
    /// `compere.json`). Each waits for you.
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,

    /// Serve apps over HTTP too, on this address of this machine.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<SocketAddr>,

    /// Where the page for your browser is, once you want it: an address of this machine.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(crate) page: SocketAddr,

    /// Open the page in your browser.
    #[arg(long)]
    pub(crate) open: bool,

    /// Be the server of one app on standard input and output, and end with it.
    #[arg(long)]
    pub(crate) stdio: bool,

    /// With --stdio: the name of the app.
    #[arg(long, value_name = "NAME", requires = "stdio")]
    pub(crate) app: Option<String>,

    /// There is nobody to ask: refuse what a person would have to agree to.
    #[arg(long)]
    pub(crate) no_ask: bool,

    /// Servers may run as root, as this host does.
    #[arg(long)]
    pub(crate) as_root: bool,

    /// How long an app waits for you before it is told to try again, such as `45s`.
    #[arg(long, value_name = "TIME")]
    pub(crate) hold: Option<humantime::Duration>,

    /// As `connect` starts it.
    #[arg(long, hide = true)]
    pub(crate) background: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The name by which you know the app; without, what it says that it is.
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Stay when nothing waits any more.
    #[arg(long)]
    pub(crate) stay: bool,

    /// Print what waits as JSON, and decide nothing.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Grants {
    #[command(subcommand)]
    pub(crate) command: Option<GrantsCommand>,

    /// Print it as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// Show them.
    List,
    /// Take one back.
    Revoke {
        /// Its name, as `list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The app.
    pub(crate) app: String,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Secret {
    #[command(subcommand)]
    pub(crate) command: SecretCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a secret under this name: your file says `${secret:NAME}` where it belongs. It is asked for, or
    /// read from standard input.
    Set(OneSecret),
    /// Forget the secret of this name.
    Forget(OneSecret),
}

#[derive(Debug, Args)]
pub(crate) struct OneSecret {
    /// Its name.
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct OneServer {
    /// The server.
    pub(crate) server: String,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// Open it in your browser.
    #[arg(long)]
    pub(crate) open: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Roots {
    /// The server; all of them if none is named.
    pub(crate) server: Option<String>,

    /// It works in this folder too; may be repeated.
    #[arg(long, value_name = "DIR", requires = "server")]
    pub(crate) add: Vec<PathBuf>,

    /// It works in this folder no more; may be repeated.
    #[arg(long, value_name = "DIR", requires = "server")]
    pub(crate) remove: Vec<PathBuf>,

    /// It may change what is in its folders.
    #[arg(long, requires = "server", conflicts_with = "read_only")]
    pub(crate) write: bool,

    /// It may change nothing.
    #[arg(long, requires = "server")]
    pub(crate) read_only: bool,

    /// Print them as JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    #[command(subcommand)]
    pub(crate) command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// What a server of your file may touch, and what stays open.
    Explain {
        /// The server.
        server: String,

        /// Have the host start it, as you approved it and confined as ever, and say what it was kept from. Needs
        /// `strace`.
        #[arg(long)]
        learn: bool,

        #[command(flatten)]
        keeps: Keeps,

        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The app: claude-desktop, claude-code, cursor, vscode, windsurf, codex, gemini, zed or opencode.
    pub(crate) app: String,

    /// Take it back: the file is what it was, byte for byte, if nobody has changed it since.
    #[arg(long)]
    pub(crate) undo: bool,

    /// Do so without asking.
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The folder whose own files are looked at too.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) workspace: PathBuf,

    /// The file to bring them to, instead of the one in your settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,

    /// Do it without asking.
    #[arg(long)]
    pub(crate) yes: bool,

    /// Print what was found and what would be done as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,

    #[command(flatten)]
    pub(crate) show: Show,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Of this app.
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,

    /// Of this server.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,

    /// Of this tool, prompt or resource.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Of this kind: intent, outcome, read, refused, decision or host; may be repeated.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<String>,

    /// With all of these words, or words that begin so, in what was asked, decided or came of it.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) text: Option<String>,

    /// No older than this, such as `1h`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<humantime::Duration>,

    /// Go on with what happens from now on, until Ctrl-C.
    #[arg(long)]
    pub(crate) follow: bool,

    /// Print each record as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// The folder of the log, instead of the one of your host.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) keeps: Keeps,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the records as lines of JSON, all of them or some.
    Export(Show),
    /// Check a log to its end, and name the first record that is not what was written.
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder of the log, instead of the one of your host.
    pub(crate) folder: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) keeps: Keeps,

    /// What the log ended with once, kept elsewhere; may be repeated. Finds that an end was cut off.
    #[arg(long, value_name = "NUMBER:HASH")]
    pub(crate) checkpoint: Vec<String>,

    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Your rules in their order, and what you granted besides.
    List {
        #[command(flatten)]
        keeps: Keeps,

        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what becomes of a call, and which rule decides.
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The server, by its name in your file.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: String,

    /// The app that asks.
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) app: String,

    /// The tool that is called.
    #[arg(long, value_name = "NAME", group = "about")]
    pub(crate) tool: Option<String>,

    /// The resource that is read.
    #[arg(long, value_name = "URI", group = "about")]
    pub(crate) resource: Option<String>,

    /// The prompt that is used.
    #[arg(long, value_name = "NAME", group = "about")]
    pub(crate) prompt: Option<String>,

    /// Arguments: `key=value`, `key:=JSON`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<String>,

    /// The server says that it only reads.
    #[arg(long)]
    pub(crate) claims_read_only: bool,

    /// It is known to only read.
    #[arg(long)]
    pub(crate) reads: bool,

    /// The file with the rules, instead of yours.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Print the verdict as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The file that `--trace` has written; `-` reads standard input.
    pub(crate) file: PathBuf,

    /// Show each message whole.
    #[arg(long)]
    pub(crate) full: bool,

    /// Only messages of this method, and their answers; may be repeated.
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Vec<String>,

    /// Only what this session said.
    #[arg(long, value_name = "N")]
    pub(crate) session: Option<u64>,

    /// Print each message as a line of JSON, with what it belongs to and how long it took.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BuiltIn {
    /// Files below the given directories: read, search, write, edit, move.
    Files {
        /// The directories. Without any, the roots that the client tells.
        directories: Vec<PathBuf>,

        /// Leave out every tool that changes something.
        #[arg(long)]
        read_only: bool,
    },
    /// Every feature of the protocol once, to try a client on.
    Everything,
}

/// Which server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Place {
    /// A built-in server instead of a command: `everything`, `files:DIR` or `files:DIR:DIR`.
    #[arg(long, value_name = "SERVER", conflicts_with = "server")]
    pub(crate) on: Option<String>,

    /// A server over HTTP instead of a command. Whether it speaks Streamable HTTP or HTTP with SSE
    /// is found out.
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "on"])]
    pub(crate) url: Option<String>,

    /// Send the headers of this file with every request to the URL, one `Name: value` a line.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) headers: Option<PathBuf>,

    /// Send a header whose value is in a variable of ours; may be repeated. For a bearer token the
    /// variable holds `Bearer ` and the token.
    #[arg(long = "header-env", value_name = "NAME=VARIABLE", requires = "url")]
    pub(crate) header_variables: Vec<String>,

    /// Pass a variable of ours on to the server, or set one; may be repeated. Secrets: pass on, so
    /// that they do not stand in the list of processes.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<String>,

    /// Set variables for the server from a file of NAME=VALUE lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,

    /// Speak this revision of the protocol and no other.
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    pub(crate) protocol: Option<Revision>,

    /// The command that starts the server, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) server: Vec<OsString>,
}

/// What is kept of a conversation.
#[derive(Debug, Clone, Args)]
pub(crate) struct Keeping {
    /// Append every message of the connection to a file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) wire_log: Option<PathBuf>,

    /// Record the conversation in a file, to look at it again with `compere replay`. It holds
    /// everything that is said, secrets too.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) trace: Option<PathBuf>,
}

/// The server to talk to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Connection {
    #[command(flatten)]
    pub(crate) place: Place,

    /// A directory that the server may know as its root; may be repeated.
    #[arg(long = "root", value_name = "DIR")]
    pub(crate) roots: Vec<PathBuf>,

    /// When the server asks for a completion of a model: ask the person at the terminal, or
    /// deny. Without a terminal it is denied.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Asking::Ask)]
    pub(crate) sampling: Asking,

    /// When the server wants a form filled in: ask the person at the terminal, or deny. Without a
    /// terminal it is denied.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Asking::Ask)]
    pub(crate) elicitation: Asking,

    /// The least severe log messages of the server to show.
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub(crate) log: Option<LoggingLevel>,

    /// Seconds without answer or progress until a request is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) timeout: f64,

    #[command(flatten)]
    pub(crate) keeping: Keeping,

    /// Print the result as JSON, shaped as in the specification.
    #[arg(long)]
    pub(crate) json: bool,
}

fn revision(text: &str) -> Result<Revision, String> {
    text.parse().map_err(|_| {
        let known = Revision::ALL.map(Revision::as_str);
        format!("the revisions are {}", known.join(", "))
    })
}

/// What becomes of what a server wants of the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Asking {
    /// The person at the terminal answers.
    Ask,
    /// The server is told that there is no such thing.
    Deny,
}

/// The levels of log messages by their names.
fn level() -> impl TypedValueParser<Value = LoggingLevel> {
    let names = LoggingLevel::ALL.map(LoggingLevel::as_str);
    PossibleValuesParser::new(names).map(|name| {
        let named = |level: &LoggingLevel| level.as_str() == name;
        // The parser lets nothing else pass.
        LoggingLevel::ALL
            .into_iter()
            .find(named)
            .unwrap_or(LoggingLevel::Info)
    })
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

    /// Keep images, sounds and other data in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Prompts {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Prompt {
    /// The prompt.
    pub(crate) prompt: String,

    /// Arguments: `key=value`, `key=@FILE`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) arguments: Vec<String>,

    /// Keep images, sounds and other data in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Templates {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The URI of the resource, or a template that the variables fill.
    pub(crate) uri: String,

    /// Variables of a template: `key=value`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) variables: Vec<String>,

    /// Keep data that is no text in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The name of the prompt, or the text of the template.
    #[arg(value_name = "PROMPT|TEMPLATE")]
    pub(crate) reference: String,

    /// What was typed so far of one argument: `key=beginning`.
    #[arg(value_name = "KEY=BEGINNING")]
    pub(crate) argument: String,

    /// Arguments that have their value already: `key=value`.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) known: Vec<String>,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    /// The URIs of the resources.
    #[arg(required = true, value_name = "URI")]
    pub(crate) uris: Vec<String>,

    /// End after so many changes.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<usize>,

    /// Print what a resource holds now, each time it changes.
    #[arg(long)]
    pub(crate) read: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: usize,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Seconds until the server counts as silent.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) patience: f64,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// A shell that can be taught to complete.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Candidates {
    /// Everything that was typed.
    #[arg(allow_hyphen_values = true)]
    pub(crate) line: String,

    /// How many characters of it stand before the cursor.
    pub(crate) cursor: usize,
}
