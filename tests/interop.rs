//! Peers that we did not write, both ways: our client against their servers, their clients against
//! ours. Everything that we send is checked against the official schema.
//!
//! The peers are fetched by `cargo xtask peers` into `target/peers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::answer::Refusal;
use compere::client::{ClientBuilder, Tapped};
use compere::model::{CompletionReference, CreateMessageResult, LoggingLevel, Role, Root};
use compere::transport::tap::Direction;
use compere::{Client, Command, Revision};
use compere_testkit::schema::{Author, SchemaCheck};
use compere_tests::{compere, until};
use serde_json::{Value, json};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn peer(path: &str) -> PathBuf {
    let path = workspace().join("target/peers").join(path);
    assert!(
        path.exists(),
        "{} is not there: run `cargo xtask peers`",
        path.display()
    );
    path
}

fn script(name: &str) -> PathBuf {
    workspace().join("tests/interop/scripts").join(name)
}

/// What went over the wire, and what was wrong with our part of it.
#[derive(Clone)]
struct Watch {
    schema: Arc<Mutex<SchemaCheck>>,
    faults: Arc<Mutex<Vec<String>>>,
    /// The request that began the conversation.
    opening: Arc<Mutex<String>>,
}

impl Watch {
    fn new() -> Self {
        let schema = SchemaCheck::load(Revision::V2024_11_05).expect("run `cargo xtask peers`");
        Self {
            schema: Arc::new(Mutex::new(schema)),
            faults: Arc::default(),
            opening: Arc::default(),
        }
    }

    /// The schema of the revision that is offered, and then of the one that was agreed on.
    fn follow(&self, line: &str) {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let offered = (message["method"] == "initialize")
            .then(|| message["params"]["protocolVersion"].as_str())
            .flatten();
        let agreed = message["result"]["protocolVersion"].as_str();
        let version = offered.or(agreed).and_then(|version| version.parse().ok());
        if let Some(revision) = version {
            let mut schema = SchemaCheck::load(revision).expect("run `cargo xtask peers`");
            if agreed.is_some() {
                schema.observe(Author::Client, &self.opening.lock().unwrap());
            } else {
                line.clone_into(&mut self.opening.lock().unwrap());
            }
            *self.schema.lock().unwrap() = schema;
        }
    }

    fn see(&self, ours: Author, sent: bool, line: &str) {
        self.follow(line);
        let theirs = match ours {
            Author::Client => Author::Server,
            Author::Server => Author::Client,
        };
        let mut schema = self.schema.lock().unwrap();
        if !sent {
            schema.observe(theirs, line);
        } else if let Err(fault) = schema.check(ours, line) {
            // A-STDIO-09: nothing but valid messages goes to a server.
            self.faults.lock().unwrap().push(fault);
        }
    }

    fn listener(&self) -> impl FnMut(Direction, &[u8]) + Send + use<> {
        let watch = self.clone();
        move |direction, line| {
            let line = String::from_utf8_lossy(line);
            watch.see(Author::Client, direction == Direction::Sent, &line);
        }
    }

    fn assert_clean(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

/// What the client heard besides answers.
#[derive(Clone, Default)]
struct Heard {
    logs: Arc<Mutex<Vec<LoggingLevel>>>,
    updated: Arc<Mutex<Vec<String>>>,
}

fn builder(heard: &Heard) -> ClientBuilder {
    let logs = heard.logs.clone();
    let updated = heard.updated.clone();
    Client::builder("interop", "1.0.0")
        .roots([Root::new("file:///home/ada").name("home")])
        .on_sample(|params| async move {
            if params.max_tokens > 1_000_000 {
                return Err(Refusal::by_user("too much"));
            }
            Ok(CreateMessageResult::new(Role::Assistant, "4", "abacus").stop_reason("endTurn"))
        })
        .on_log(move |message| logs.lock().unwrap().push(message.level))
        .on_resource_updated(move |uri| updated.lock().unwrap().push(uri))
}

async fn connect(command: Command, watch: &Watch, heard: &Heard) -> Client {
    builder(heard)
        .connect(Tapped::new(command, watch.listener()))
        .await
        .unwrap()
}

fn node(script: &Path) -> Command {
    Command::new("node")
        .inherit_env(std::env::vars_os())
        .arg(script)
}

async fn text(client: &Client, tool: &str, arguments: Value) -> String {
    let output = client.call(tool, arguments).await.unwrap();
    assert!(!output.failed(), "{tool}: {}", output.joined_text());
    output.joined_text()
}

// A-ARCH-02 A-STDIO-02: one client, one server, one process of its own.
#[tokio::test]
async fn our_client_and_the_reference_everything_server() {
    for revision in Revision::NEGOTIABLE.iter().copied() {
        the_reference_everything_server_in(revision).await;
    }
}

async fn the_reference_everything_server_in(revision: Revision) {
    let (watch, heard) = (Watch::new(), Heard::default());
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let client = builder(&heard)
        .revisions(&[revision])
        .connect(Tapped::new(node(&server).arg("stdio"), watch.listener()))
        .await
        .unwrap();
    assert_eq!(client.revision(), revision);
    client.ping().await.unwrap();
    let tools = client.tools().collect().await.unwrap();
    assert!(tools.len() >= 8, "{tools:?}");
    assert_eq!(
        text(&client, "echo", json!({"message": "héllo 😀"})).await,
        "Echo: héllo 😀"
    );
    assert!(
        text(&client, "get-sum", json!({"a": 2, "b": 3}))
            .await
            .contains('5')
    );
    let image = client.call("get-tiny-image", json!({})).await.unwrap();
    assert!(image.content.len() >= 2);
    let unknown = client.call("no-such-tool", json!({})).await;
    assert!(unknown.is_err() || unknown.unwrap().failed());

    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = steps.clone();
    client
        .call(
            "trigger-long-running-operation",
            json!({"duration": 1, "steps": 4}),
        )
        .on_progress(move |progress| seen.lock().unwrap().push(progress.progress))
        .await
        .unwrap();
    let steps = steps.lock().unwrap().clone();
    assert!(
        !steps.is_empty() && steps.windows(2).all(|pair| pair[0] < pair[1]),
        "{steps:?}"
    );

    let sampled = text(
        &client,
        "trigger-sampling-request",
        json!({"prompt": "2 + 2?", "maxTokens": 7}),
    )
    .await;
    assert!(sampled.contains("abacus"), "{sampled}");
    let roots = text(&client, "get-roots-list", json!({})).await;
    assert!(roots.contains("file:///home/ada"), "{roots}");

    let prompts = client.prompts().collect().await.unwrap();
    assert!(prompts.iter().any(|prompt| prompt.name == "simple-prompt"));
    client
        .prompt("simple-prompt", BTreeMap::new())
        .await
        .unwrap();
    let city = BTreeMap::from([("city".to_owned(), "London".to_owned())]);
    client.prompt("args-prompt", city).await.unwrap();

    let resources = client.resources().collect().await.unwrap();
    let templates = client.resource_templates().collect().await.unwrap();
    assert!(!templates.is_empty());
    client.read(resources[0].uri.clone()).await.unwrap();
    let read = client.read("demo://resource/dynamic/text/1").await.unwrap();
    assert!(read.contents[0].as_text().is_some());
    assert!(client.read("demo://nothing").await.is_err());
    client
        .subscribe("demo://resource/dynamic/text/1")
        .await
        .unwrap();
    client
        .unsubscribe("demo://resource/dynamic/text/1")
        .await
        .unwrap();

    let reference = CompletionReference::Prompt {
        name: "completable-prompt".to_owned(),
    };
    let completion = client
        .complete(reference, "department", "", BTreeMap::new())
        .await
        .unwrap();
    assert!(!completion.values.is_empty());

    client.set_level(LoggingLevel::Debug).await.unwrap();
    client
        .call("toggle-simulated-logging", json!({}))
        .await
        .unwrap();
    until("a log message", || !heard.logs.lock().unwrap().is_empty()).await;
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_reference_filesystem_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), "hello\n").unwrap();
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let path = folder.path().canonicalize().unwrap();
    let root = Root::new(format!("file://{}", path.display()));
    let client = builder(&heard)
        .roots([root])
        .connect(Tapped::new(node(&server).arg(&path), watch.listener()))
        .await
        .unwrap();
    let note = path.join("note.txt");
    let read = text(&client, "read_text_file", json!({"path": note})).await;
    assert_eq!(read.trim(), "hello");
    let listed = text(&client, "list_directory", json!({"path": path})).await;
    assert!(listed.contains("note.txt"));
    let outside = client
        .call("read_text_file", json!({"path": "/etc/passwd"}))
        .await
        .unwrap();
    assert!(outside.failed());
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_reference_memory_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    let server = peer("npm-servers/node_modules/@modelcontextprotocol/server-memory/dist/index.js");
    let command = node(&server).env("MEMORY_FILE_PATH", folder.path().join("memory.jsonl"));
    let client = connect(command, &watch, &heard).await;
    let entity = json!({"name": "Ada", "entityType": "person", "observations": ["writes"]});
    text(&client, "create_entities", json!({"entities": [entity]})).await;
    assert!(text(&client, "read_graph", json!({})).await.contains("Ada"));
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_git_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("git")
        .args(["init", "--quiet"])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let command = Command::new(peer("py-new/bin/mcp-server-git"))
        .inherit_env(std::env::vars_os())
        .arg("--repository")
        .arg(folder.path());
    let client = connect(command, &watch, &heard).await;
    let status = text(&client, "git_status", json!({"repo_path": folder.path()})).await;
    assert!(
        status.contains("No commits yet") || status.contains("status"),
        "{status}"
    );
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_time_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let command = Command::new(peer("py-new/bin/mcp-server-time"))
        .inherit_env(std::env::vars_os())
        .args(["--local-timezone", "UTC"]);
    let client = connect(command, &watch, &heard).await;
    let time = text(&client, "get_current_time", json!({"timezone": "UTC"})).await;
    assert!(time.contains("UTC"), "{time}");
    client.close().await.unwrap();
    watch.assert_clean();
}

/// A server of late 2024: every feature that it has. The first Python release cannot read a
/// progress token, and no Python release of that age declares subscriptions.
async fn late_2024(command: Command, reads_tokens: bool) {
    let (watch, heard) = (Watch::new(), Heard::default());
    let client = connect(command, &watch, &heard).await;
    assert_eq!(client.revision(), Revision::V2024_11_05);
    client.ping().await.unwrap();
    // A-PAGE-05 A-PAGE-06: with pages or without.
    let tools = client.tools().collect().await.unwrap();
    assert_eq!(tools.len(), 5);
    assert_eq!(text(&client, "echo", json!({"message": "hi"})).await, "hi");
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = steps.clone();
    let progress = client
        .call("progress", json!({}))
        .on_progress(move |progress| seen.lock().unwrap().push(progress.progress))
        .await
        .unwrap();
    assert_eq!(progress.failed(), !reads_tokens);
    let expected: &[f64] = if reads_tokens { &[1.0, 2.0, 3.0] } else { &[] };
    assert_eq!(*steps.lock().unwrap(), expected);
    assert_eq!(text(&client, "sample", json!({})).await, "4");
    assert!(
        text(&client, "roots", json!({}))
            .await
            .contains("file:///home/ada")
    );
    assert_eq!(text(&client, "log", json!({})).await, "logged");
    until("the log", || {
        *heard.logs.lock().unwrap() == [LoggingLevel::Warning]
    })
    .await;
    let name = BTreeMap::from([("name".to_owned(), "Ada".to_owned())]);
    let prompt = client.prompt("greet", name).await.unwrap();
    assert_eq!(
        prompt.messages[0].content.as_text(),
        Some("Say hello to Ada.")
    );
    assert_eq!(client.prompts().collect().await.unwrap().len(), 1);
    assert_eq!(client.resources().collect().await.unwrap().len(), 1);
    let read = client.read("test://text").await.unwrap();
    assert_eq!(read.contents[0].as_text(), Some("plain text"));
    let subscribes = client
        .server_capabilities()
        .and_then(|server| server.resources.as_ref()?.subscribe);
    if subscribes == Some(true) {
        client.subscribe("test://text").await.unwrap();
        until("the update", || !heard.updated.lock().unwrap().is_empty()).await;
    } else {
        // A-LIFE-18: what was not declared is not asked for.
        assert!(client.subscribe("test://text").await.is_err());
    }
    let reference = CompletionReference::Prompt {
        name: "greet".to_owned(),
    };
    let completion = client
        .complete(reference, "name", "A", BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(completion.values, ["Ada"]);
    client.set_level(LoggingLevel::Error).await.unwrap();
    client
        .set_roots(vec![Root::new("file:///elsewhere")])
        .unwrap();
    assert!(
        text(&client, "roots", json!({}))
            .await
            .contains("file:///elsewhere")
    );
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_a_typescript_server_of_late_2024() {
    let folder = peer("npm-sdk-old");
    std::fs::copy(script("server.mjs"), folder.join("server.mjs")).unwrap();
    late_2024(node(&folder.join("server.mjs")), true).await;
}

async fn late_2024_python(version: &str) {
    let command = Command::new(peer(&format!("{version}/bin/python")))
        .inherit_env(std::env::vars_os())
        .arg(script("server.py"));
    late_2024(command, version != "py-1.0.0").await;
}

#[tokio::test]
async fn our_client_and_a_python_1_1_3_server() {
    late_2024_python("py-1.1.3").await;
}

#[tokio::test]
async fn our_client_and_a_python_1_0_0_server() {
    late_2024_python("py-1.0.0").await;
}

/// Runs a foreign client against `compere serve everything` and checks what we said to it.
async fn foreign_client(program: &Path, script: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let wire_log = folder.path().join("wire.log");
    let running = tokio::process::Command::new(program)
        .arg(script)
        .arg(compere())
        .arg(&wire_log)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), running)
        .await
        .expect("the client does not end")
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && stdout.contains("everything passed"),
        "{stdout}\n{stderr}"
    );
    let watch = Watch::new();
    let log = std::fs::read_to_string(&wire_log).unwrap();
    assert!(log.lines().count() > 60, "{log}");
    for line in log.lines() {
        let (mark, message) = line.split_at(2);
        watch.see(Author::Server, mark == "> ", message);
    }
    watch.assert_clean();
}

async fn typescript_client(version: &str) {
    let folder = peer(version);
    std::fs::copy(script("client.mjs"), folder.join("client.mjs")).unwrap();
    foreign_client(Path::new("node"), &folder.join("client.mjs")).await;
}

#[tokio::test]
async fn the_newest_typescript_client_and_our_server() {
    typescript_client("npm-sdk-new").await;
}

#[tokio::test]
async fn the_typescript_client_of_late_2024_and_our_server() {
    typescript_client("npm-sdk-old").await;
}

#[tokio::test]
async fn the_newest_python_client_and_our_server() {
    foreign_client(&peer("py-new/bin/python"), &script("client_new.py")).await;
}

#[tokio::test]
async fn the_python_1_1_3_client_and_our_server() {
    foreign_client(&peer("py-1.1.3/bin/python"), &script("client_old.py")).await;
}

#[tokio::test]
async fn the_python_1_0_0_client_and_our_server() {
    foreign_client(&peer("py-1.0.0/bin/python"), &script("client_old.py")).await;
}

/// What the doctor says of the reference server is true of it, each by the message shown with it.
#[tokio::test]
async fn the_doctor_finds_nothing_in_the_reference_server_that_is_not_there() {
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let output = tokio::process::Command::new(compere())
        .args(["doctor", "--json", "--", "node"])
        .arg(server)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "a MUST is said to be broken");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: std::collections::BTreeSet<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            assert!(
                !finding["evidence"].as_str().unwrap_or_default().is_empty(),
                "{finding}"
            );
            let text = |member: &str| finding[member].as_str().unwrap_or_default();
            (text("requirement"), text("level"))
        })
        .collect();
    // Seen by hand on the wire: any cursor is taken; an unknown tool is a result; other codes than
    // those that the revision names.
    let expected = ["A-LOG-05", "A-PAGE-10", "A-RES-12", "A-TOOL-09"];
    let expected = expected.map(|requirement| (requirement, "SHOULD"));
    assert_eq!(found, expected.into_iter().collect());
    let held = report["held"].as_array().unwrap();
    assert!(held.len() > 20, "{held:?}");
}
