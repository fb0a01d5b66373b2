//! `compere up`: the host. On a terminal it says what there is and asks what is to be decided; without
//! one it serves, and says with a line of JSON that it does.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use compere::ServerHandle;
use compere::serde_json::{Value, json};
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;
use compere::text::escape_line;
use compere::transport::stdio::Stdio;
use compere_console::Console;
use compere_host::config::places::Folders;
use compere_host::config::{Place, Scope, places, read};
use compere_host::door;
use compere_host::host::{Host, HostError};
use compere_host::servers::Stage;
use compere_host::state::StateError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::args::{Keeps, Up};
use crate::commands::console;
use crate::commands::import::{settings, text_of};
use crate::desk::{self, Left};
use crate::failure::Failure;
use crate::hosted;

/// A host in the background that nobody uses ends after this.
const UNUSED: Duration = Duration::from_secs(10 * 60);
/// Between two notes that something waits.
const QUIET: Duration = Duration::from_secs(10);
/// How often our file is looked at.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn run(up: Up) -> Result<ExitCode, Failure> {
    let is_person = hosted::is_person() && !up.background && !up.stdio;
    let mut options = hosted::options(&up.keeps)?;
    options.nobody = up.no_ask;
    options.machine.may_be_root = up.as_root;
    if let Some(hold) = up.hold {
        options.hold = hold.into();
    }
    for folder in &up.offer {
        options.offered.push(hosted::offer(folder)?);
    }
    if let Some(workspace) = &up.workspace {
        let place = workspace.canonicalize().map_err(|error| {
            Failure::usage(format!("--workspace: {}: {error}", workspace.display()))
        })?;
        options.workspace = Some(place);
    }
    let machine = &mut options.machine;
    if is_person && machine.is_root && !machine.may_be_root {
        machine.may_be_root = agreed(
            "You are root, and so would your servers be, though without its privileges. May they? [yes/no] ",
        )
        .await;
    }
    let folder = std::env::current_dir()?;
    if is_person && up.offer.is_empty() && agreed_to_offer(&folder).await {
        options.offered.push(hosted::offer(&folder)?);
    }
    let host = match Host::start(options) {
        Ok(host) => host,
        Err(HostError::State(StateError::InUse)) => return running_already(&up, is_person).await,
        Err(error) => return Err(Failure::usage(error.to_string())),
    };
    for server in host.servers() {
        let offered = server.name == "files" && !up.offer.is_empty();
        if let (true, Stage::Unusable(why)) = (offered, server.stage()) {
            return Err(Failure::usage(format!("--offer: {why}")));
        }
    }
    let gateway = host.gateway()?;
    let stop = Arc::new(Notify::new());
    let console = Console::new(host.clone(), gateway.clone(), up.page);
    let page = console.clone();
    let page: door::Page = Arc::new(move || page.link().map_err(|error| error.to_string()));
    let door = door::serve(host.clone(), gateway.clone(), stop.clone(), page)?;
    let door = tokio::spawn(door);
    let http = match up.http {
        Some(address) => Some(listen(&host, &gateway, address).await?),
        None => None,
    };
    tokio::spawn(follow_file(host.clone()));
    if up.background {
        tokio::spawn(end_unused(host.clone(), console.clone(), stop.clone()));
    }
    if !up.stdio && !up.no_ask {
        tokio::spawn(notify(host.clone()));
    }
    let leaving = stop.clone();
    if is_person {
        let link = console.link()?;
        say(&welcome(&host, &up, http.as_deref(), &link)?);
        if up.open {
            open_page(&host, console.link()?);
        }
        let keeps = up.keeps.clone();
        std::thread::spawn(move || {
            match desk::sit(&keeps, false) {
                Ok(Left::Person | Left::Host(_)) => {}
                Err(failure) => failure.report(),
            }
            leaving.notify_one();
        });
    } else if !up.stdio && !up.background {
        if up.open {
            open_page(&host, console.link()?);
        }
        let ready = json!({
            "ready": true,
            "process": std::process::id(),
            "state": host.state(),
            "http": http,
        });
        crate::output::json(&ready)?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let own = async {
        match up.stdio {
            true => {
                let name = up.app.clone().unwrap_or_else(|| "local".to_owned());
                gateway.serve_for(name, Stdio::new()?).await
            }
            false => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = stop.notified() => Ok(()),
        ended = own => ended.map_err(Failure::from),
    };
    door.abort();
    gateway.shutdown();
    host.end().await;
    ended.map(|()| ExitCode::SUCCESS)
}

/// There is a host with this state already: a person sits down at its desk, an app joins it.
async fn running_already(up: &Up, is_person: bool) -> Result<ExitCode, Failure> {
    if up.background {
        return Ok(ExitCode::SUCCESS);
    }
    if !is_person {
        return Err(Failure::usage("a host is running with this state already")
            .hint("Reach it with: compere connect, compere status, compere approve")
            .hint("or end it with: compere stop"));
    }
    if up.open {
        let order = door::Order::Page;
        if let door::Reply::Done(words) = hosted::order(&up.keeps, &order)? {
            let link = words.into_iter().next().unwrap_or_default();
            console::open(&hosted::state(&up.keeps)?, &link)?;
        }
    }
    say(
        "A host is running already. What waits for you there is shown here; quit leaves it running.",
    );
    let keeps = up.keeps.clone();
    let left = tokio::task::spawn_blocking(move || desk::sit(&keeps, false)).await;
    match left.map_err(std::io::Error::other)?? {
        Left::Person => Ok(ExitCode::SUCCESS),
        Left::Host(why) => Err(Failure::usage(format!("the host has ended: {why}"))),
    }
}

fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Asks whether apps may read this folder.
async fn agreed_to_offer(folder: &std::path::Path) -> bool {
    let words = format!(
        "May apps read the files below {}? They cannot change them. [yes/no] ",
        escape_line(&folder.display().to_string())
    );
    agreed(&words).await
}

/// Asks, and takes nothing but a yes for one.
async fn agreed(words: &str) -> bool {
    let words = words.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let _ = write!(std::io::stderr(), "{words}");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    matches!(asked.await, Ok(Ok(line)) if matches!(line.trim(), "yes" | "y"))
}

/// What a person needs to know, once.
fn welcome(host: &Arc<Host>, up: &Up, http: Option<&str>, link: &str) -> Result<String, Failure> {
    let mut lines = vec![String::new()];
    let status = host.status();
    match status.servers.len() {
        0 => lines.push("No servers yet.".to_owned()),
        _ => {
            for server in &status.servers {
                lines.push(format!("Server {}", escape_line(&server.name)));
                let facts = server.facts.iter();
                lines.extend(facts.map(|fact| format!("  {}", escape_line(fact))));
            }
        }
    }
    lines.extend(
        status
            .faults
            .iter()
            .map(|fault| format!("Wrong in your file: {fault}")),
    );
    let others = found(Scope::User)?;
    if !others.is_empty() {
        lines.push(String::new());
        for (app, path, count) in others {
            lines.push(format!("Found {count} in {app}: {path}"));
        }
        lines.push("To look at them, and bring them over after a yes:  compere import".to_owned());
    }
    if up.workspace.is_none() {
        let asking = found(Scope::Workspace)?;
        if !asking.is_empty() {
            lines.push(String::new());
            for (_, path, count) in asking {
                lines.push(format!("This folder asks for {count}: {path}"));
            }
            lines.push("To let them wait for your yes:  compere up --workspace .".to_owned());
        }
    }
    lines.push(String::new());
    lines.push("To let an app use all of this:  compere install APP, or paste into".to_owned());
    lines.extend(to_paste(up)?);
    if let Some(address) = http {
        lines.push(format!(
            "  over HTTP: {address}, with a token from: compere token NAME"
        ));
    }
    lines.push(String::new());
    lines.push("In your browser, with a link that is good once and for an hour:".to_owned());
    lines.push(format!("  {link}"));
    lines.push("Another one, any time:  compere console".to_owned());
    lines.push(String::new());
    lines.push("What waits for you is shown here, and there. quit ends the host.".to_owned());
    Ok(lines.join("\n"))
}

/// Files of other apps that name servers: the app, the file, and how many.
fn found(scope: Scope) -> Result<Vec<(&'static str, String, String)>, Failure> {
    let home = std::env::home_dir();
    let workspace = std::env::current_dir()?;
    let config = settings();
    let places = places(&Folders {
        home: home.as_deref(),
        config: config.as_deref(),
        workspace: Some(&workspace),
        claude: None,
        codex: None,
    });
    let counted = |place: &Place| {
        let text = text_of(&place.path).ok().flatten()?;
        let count = read(&text, place, Some(&workspace)).entries.len();
        let words = match count {
            0 => return None,
            1 => "1 server".to_owned(),
            count => format!("{count} servers"),
        };
        Some((place.dialect.app(), place.path.display().to_string(), words))
    };
    let of_person = places.iter().filter(|place| place.scope == scope);
    let ours = settings().map(|settings| settings.join("compere/compere.json"));
    let others = of_person.filter(|place| Some(&place.path) != ours.as_ref());
    Ok(others.filter_map(counted).collect())
}

/// The lines that make apps use this host.
fn to_paste(up: &Up) -> Result<Vec<String>, Failure> {
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let more = |app: &str| {
        let mut arguments = vec!["connect".to_owned(), "--app".to_owned(), app.to_owned()];
        arguments.extend(up.keeps.arguments()?);
        Ok::<_, std::io::Error>(arguments)
    };
    let entry = |app: &str| {
        let server = json!({"command": own, "args": more(app)?});
        Ok::<Value, std::io::Error>(json!({"mcpServers": {"compere": server}}))
    };
    let claude_code: Vec<String> = more("claude-code")?;
    let code = json!({"name": "compere", "command": own, "args": more("vscode")?});
    Ok(vec![
        "  Claude Desktop, claude_desktop_config.json:".to_owned(),
        format!("    {}", entry("claude-desktop")?),
        "  Cursor, ~/.cursor/mcp.json:".to_owned(),
        format!("    {}", entry("cursor")?),
        "  Claude Code, in a shell:".to_owned(),
        format!(
            "    claude mcp add compere -- {own} {}",
            claude_code.join(" ")
        ),
        "  VS Code, in a shell:".to_owned(),
        format!("    code --add-mcp '{code}'"),
    ])
}

/// Reads our file again whenever it has changed.
async fn follow_file(host: Arc<Host>) {
    let state = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
    };
    let files = host.files();
    let states = || files.iter().map(state).collect::<Vec<_>>();
    let mut before = states();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = states();
        if now != before {
            before = now;
            let host = host.clone();
            let faults = tokio::task::spawn_blocking(move || host.reload()).await;
            for fault in faults.unwrap_or_default() {
                tracing::warn!("{fault}");
            }
        }
    }
}

/// Tells a person who may look elsewhere that something waits, by whatever their desktop has for that. What
/// it is about is not said there: that is for the door to show.
async fn notify(host: Arc<Host>) {
    let mut changes = host.question_changes();
    let mut told = 0;
    while changes.changed().await.is_ok() {
        let newest = host.questions().last().map_or(0, |question| question.id);
        if newest <= told {
            continue;
        }
        told = newest;
        let telling = tokio::process::Command::new("notify-send")
            .args([
                "Compere",
                "Something waits for you: compere console --open, or compere approve",
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .status();
        // There may be no such thing, and no desktop.
        let _ = tokio::time::timeout(QUIET, telling).await;
        tokio::time::sleep(QUIET).await;
    }
}

/// Opens the page in the person's browser, meanwhile.
fn open_page(host: &Arc<Host>, link: String) {
    let state = host.state().to_owned();
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = console::open(&state, &link) {
            failure.report();
        }
    });
}

/// Ends a host in the background that no app has used for a while.
async fn end_unused(host: Arc<Host>, console: Console, stop: Arc<Notify>) {
    let mut unused = Duration::ZERO;
    loop {
        tokio::time::sleep(LOOK).await;
        match host.app_count() == 0 && !console.is_watched() {
            true => unused += LOOK,
            false => unused = Duration::ZERO,
        }
        if unused >= UNUSED {
            stop.notify_one();
            return;
        }
    }
}

/// Serves apps over HTTP, each with a token of its own.
async fn listen(
    host: &Arc<Host>,
    gateway: &ServerHandle,
    address: std::net::SocketAddr,
) -> Result<String, Failure> {
    if !address.ip().is_loopback() {
        return Err(
            Failure::usage(format!("{address} can be reached from other machines"))
                .hint("The host serves this machine alone: listen on 127.0.0.1."),
        );
    }
    let known = host.clone();
    let options = HttpOptions::new().bearer(move |token| known.app_of(token).map(Principal::new));
    let listener = gateway.listen_http(address, options).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = listener.serve_until_signal().await {
            tracing::error!(%error, "HTTP is not served any more");
        }
    });
    Ok(format!("http://{address}/mcp"))
}

/// `compere token NAME`: a token for an app over HTTP.
pub(crate) fn token(keeps: &Keeps, app: &str) -> Result<ExitCode, Failure> {
    let order = door::Order::Token {
        app: app.to_owned(),
    };
    match hosted::order(keeps, &order)? {
        door::Reply::Done(words) => crate::output::text(&words.join("\n"))?,
        _ => return Err(Failure::usage("the host gave no token")),
    }
    Ok(ExitCode::SUCCESS)
}
