//! What interop tests share: where the peers are, what went over the wire, and what is done with each
//! server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use compere::client::answer::Refusal;
use compere::client::{ClientBuilder, Tapped, Target};
use compere::model::{CompletionReference, CreateMessageResult, LoggingLevel, Role, Root};
use compere::proto::Era;
use compere::transport::tap::Direction;
use compere::{Client, Command, Revision};
use compere_testkit::schema::{Author, SchemaCheck};
use serde_json::{Value, json};

use crate::until;

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

pub fn peer(path: &str) -> PathBuf {
    let path = workspace().join("target/peers").join(path);
    assert!(
        path.exists(),
        "{} is not there: run `cargo xtask peers`",
        path.display()
    );
    path
}

pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/interop/scripts").join(name)
}

/// What went over the wire, and what was wrong with our part of it.
#[derive(Clone)]
pub struct Watch {
    schema: Arc<Mutex<SchemaCheck>>,
    faults: Arc<Mutex<Vec<String>>>,
    /// The request that began the conversation.
    opening: Arc<Mutex<String>>,
    is_stateless: Arc<Mutex<bool>>,
}

impl Watch {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let schema = SchemaCheck::load(Revision::V2024_11_05).expect("run `cargo xtask peers`");
        Self {
            schema: Arc::new(Mutex::new(schema)),
            faults: Arc::default(),
            opening: Arc::default(),
            is_stateless: Arc::default(),
        }
    }

    /// The schema of the revision that is offered, and then of the one that was agreed on.
    fn follow(&self, line: &str) {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        // A request that stands by itself says which it is of.
        let meta = &message["params"]["_meta"];
        if let Some(version) = meta["io.modelcontextprotocol/protocolVersion"].as_str() {
            let mut is_stateless = self.is_stateless.lock().unwrap();
            if !*is_stateless {
                let revision = version.parse().unwrap();
                let schema = SchemaCheck::load(revision).expect("run `cargo xtask peers`");
                *self.schema.lock().unwrap() = schema;
                *is_stateless = true;
            }
            return;
        }
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

    pub fn see(&self, ours: Author, sent: bool, line: &str) {
        self.follow(line);
        let theirs = match ours {
            Author::Client => Author::Server,
            Author::Server => Author::Client,
        };
        let mut schema = self.schema.lock().unwrap();
        if !sent {
            schema.observe(theirs, line);
        } else if let Err(fault) = schema.check(ours, line) {
            // E-106
            // A-STDIO-09: nothing but valid messages goes to a server.
            self.faults.lock().unwrap().push(fault);
        }
    }

    pub fn listener(&self) -> impl FnMut(Direction, &[u8]) + Send + use<> {
        let watch = self.clone();
        move |direction, line| {
            let line = String::from_utf8_lossy(line);
            watch.see(Author::Client, direction == Direction::Sent, &line);
        }
    }

    pub fn assert_clean(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

/// What the client heard besides answers.
#[derive(Clone, Default)]
pub struct Heard {
    pub logs: Arc<Mutex<Vec<LoggingLevel>>>,
    pub updated: Arc<Mutex<Vec<String>>>,
}

pub fn builder(heard: &Heard) -> ClientBuilder {
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

pub async fn connect(command: impl Target, watch: &Watch, heard: &Heard) -> Client {
    connect_in(&Revision::ALL, command, watch, heard).await
}

pub async fn connect_in(
    spoken: &[Revision],
    command: impl Target,
    watch: &Watch,
    heard: &Heard,
) -> Client {
    builder(heard)
        .revisions(spoken)
        .connect(Tapped::new(command, watch.listener()))
        .await
        .unwrap()
}

pub fn node(script: &Path) -> Command {
    Command::new("node")
        .inherit_env(std::env::vars_os())
        .arg(script)
}

pub async fn text(client: &Client, tool: &str, arguments: Value) -> String {
    let output = client.call(tool, arguments).await.unwrap();
    assert!(!output.failed(), "{tool}: {}", output.joined_text());
    output.joined_text()
}

/// Everything that the reference server has, over whatever transport.
pub async fn everything_of(target: impl Target, revision: Revision) {
    let (watch, heard) = (Watch::new(), Heard::default());
    let client = builder(&heard)
        .revisions(&[revision])
        .connect(Tapped::new(target, watch.listener()))
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

/// Everything that the server scripts in `scripts/` have, whatever SDK they run on. The first Python release cannot read a
/// progress token, and no Python release of that age declares subscriptions.
pub async fn everything_of_an_sdk(target: impl Target, revision: Revision, reads_tokens: bool) {
    everything_in(&Revision::ALL, target, revision, reads_tokens).await;
}

/// The same in one of several revisions that the server speaks.
pub async fn everything_in(
    spoken: &[Revision],
    target: impl Target,
    revision: Revision,
    reads_tokens: bool,
) {
    // Without a session nobody is sent what they did not ask for.
    let asks_for_logs = revision.era() == Era::Stateless;
    everything_where(spoken, target, revision, reads_tokens, asks_for_logs).await;
}

/// The same with a server that may say nothing in its log until it is asked to.
pub async fn everything_where(
    spoken: &[Revision],
    target: impl Target,
    revision: Revision,
    reads_tokens: bool,
    asks_for_logs: bool,
) {
    let (watch, heard) = (Watch::new(), Heard::default());
    let client = connect_in(spoken, target, &watch, &heard).await;
    assert_eq!(client.revision(), revision);
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
    let roots = text(&client, "roots", json!({})).await;
    assert!(roots.contains("file:///home/ada"), "{roots}");
    if asks_for_logs {
        client.set_level(LoggingLevel::Warning).await.unwrap();
    }
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
    let elsewhere = Root::new("file:///elsewhere");
    client.set_roots(vec![elsewhere]).unwrap();
    let roots = text(&client, "roots", json!({})).await;
    assert!(roots.contains("file:///elsewhere"), "{roots}");
    client.close().await.unwrap();
    watch.assert_clean();
}
