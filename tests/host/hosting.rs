//! A host for a test: a folder with its file, its state and a place to work in, the program that runs,
//! and a person who answers.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};

use compere::client::ClientBuilder;
use compere::proto::{Era, Revision};
use compere::{Client, Command};
use compere_host::consent::{Answer, Asking, Question, Reviewing, Topic};
use compere_host::door::{Connection, Order, Reply};
use compere_host::host::Status;
use serde_json::{Value, json};

use crate::{compere, until};

/// Each of these once with apps that have sessions, and once with apps that have none.
#[macro_export]
macro_rules! with_apps_of_both_eras {
    ($($name:ident),* $(,)?) => {
        mod with_sessions {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(compere::proto::Era::Handshake).await;
            })*
        }

        mod without_sessions {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(compere::proto::Era::Stateless).await;
            })*
        }
    };
}

/// A host that runs, and where it keeps its things.
pub struct Hosting {
    pub folder: tempfile::TempDir,
    pub process: Child,
    /// What it said when it was ready.
    pub ready: Value,
    arguments: Vec<String>,
    revisions: &'static [Revision],
}

impl Drop for Hosting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The folders of a host, before it runs.
pub fn place(file: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["settings", "work"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let text = serde_json::to_string_pretty(file).unwrap();
    std::fs::write(folder.path().join("settings/compere.json"), text).unwrap();
    folder
}

impl Hosting {
    /// Starts a host with these servers and rules.
    pub fn start(file: &Value) -> Self {
        Self::start_in(place(file), &[])
    }

    /// Starts a host in folders that are there.
    pub fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let (process, ready) = run(folder.path(), &arguments);
        Self {
            folder,
            process,
            ready,
            arguments,
            revisions: &Revision::ALL,
        }
    }

    /// Its apps speak the revisions of this era only.
    pub fn with_apps_of(mut self, era: Era) -> Self {
        self.revisions = match era {
            Era::Handshake => Revision::NEGOTIABLE,
            Era::Stateless => &[Revision::V2026_07_28],
        };
        self
    }

    /// Kills it as nothing else would, and starts it again.
    pub fn kill_and_start(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (self.process, self.ready) = run(self.folder.path(), &self.arguments);
    }

    /// The same, in another way.
    pub fn kill_and_start_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        self.kill_and_start();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn work(&self) -> String {
        self.path("work").to_str().unwrap().to_owned()
    }

    /// Writes the file anew.
    pub fn write(&self, file: &Value) {
        let path = self.path("settings/compere.json");
        std::fs::write(path, serde_json::to_string(file).unwrap()).unwrap();
        self.order(&Order::Reload);
    }

    pub fn order(&self, order: &Order) -> Reply {
        let mut connection = Connection::open(&self.path("state")).unwrap();
        connection.order(order).unwrap()
    }

    pub fn status(&self) -> Status {
        match self.order(&Order::Status) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn questions(&self) -> Vec<Question> {
        match self.order(&Order::Questions) {
            Reply::Questions(questions) => questions,
            other => panic!("{other:?}"),
        }
    }

    pub fn answer(&self, id: u64, answer: Answer) -> Reply {
        self.order(&Order::Answer {
            id,
            answer,
            door: "a test".to_owned(),
        })
    }

    /// Agrees to all launches and definitions, as often as there are new ones, until all of these
    /// servers have tools that nobody has to look at.
    pub async fn approve(&self, servers: &[&str]) {
        until("the servers", || {
            for question in self.questions() {
                let digest = match question.topic {
                    Topic::Launch { digest, .. } | Topic::Definitions { digest, .. } => digest,
                    Topic::Call(_) | Topic::Sampling(_) => continue,
                };
                let answer = Answer::Approve {
                    digest,
                    except: Vec::new(),
                    reads: Vec::new(),
                };
                self.answer(question.id, answer);
            }
            let status = self.status();
            servers.iter().all(|name| {
                let server = status.servers.iter().find(|server| server.name == *name);
                server.is_some_and(|server| server.tools > 0 && server.waiting == 0)
            })
        })
        .await;
    }

    /// What an app starts.
    pub fn connect(&self, app: &str) -> Command {
        let folder = self.folder.path();
        Command::new(compere())
            .args(["connect", "--app", app, "--state"])
            .arg(folder.join("state"))
            .arg("--file")
            .arg(folder.join("settings/compere.json"))
    }

    /// An app.
    pub async fn app(&self, name: &str) -> Client {
        self.app_with(name, Client::builder(name, "1")).await
    }

    /// One that is built otherwise.
    pub async fn app_with(&self, name: &str, builder: ClientBuilder) -> Client {
        self.app_speaking(self.revisions, name, builder).await
    }

    /// One that speaks these revisions.
    pub async fn app_speaking(
        &self,
        revisions: &[Revision],
        name: &str,
        builder: ClientBuilder,
    ) -> Client {
        let builder = builder.revisions(revisions);
        builder.connect(self.connect(name)).await.unwrap()
    }

    /// The one call that waits.
    pub async fn waiting_call(&self) -> (u64, Asking) {
        let mut found = None;
        until("the question", || {
            found = self.questions().into_iter().find_map(|question| {
                let Topic::Call(asking) = question.topic else {
                    return None;
                };
                Some((question.id, asking))
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The half of sampling that waits.
    pub async fn waiting_sampling(&self) -> (u64, Reviewing) {
        let mut found = None;
        until("sampling", || {
            found = self.questions().into_iter().find_map(|question| {
                let Topic::Sampling(reviewing) = question.topic else {
                    return None;
                };
                Some((question.id, reviewing))
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Lets so many halves of sampling pass as they are.
    pub async fn pass_samplings(&self, count: usize) {
        for _ in 0..count {
            let (id, _) = self.waiting_sampling().await;
            self.answer(id, Answer::Once);
        }
    }

    /// All records of the audit log.
    pub fn records(&self) -> Vec<Value> {
        records(&self.path("state/audit"))
    }
}

fn run(folder: &Path, arguments: &[String]) -> (Child, Value) {
    let mut program = Program::new(compere());
    program
        .args(["up", "--state"])
        .arg(folder.join("state"))
        .arg("--file")
        .arg(folder.join("settings/compere.json"))
        .args(arguments)
        .args(as_root())
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .current_dir(folder.join("work"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // A home of its own, where a test has made one.
    let home = folder.join("home");
    if home.is_dir() {
        program.env("HOME", home);
    }
    let mut process = program.spawn().unwrap();
    let mut line = String::new();
    let stdout = process.stdout.take().unwrap();
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .unwrap();
    let ready: Value = serde_json::from_str(&line).expect("the host is ready");
    assert_eq!(ready["ready"], true);
    (process, ready)
}

/// What a host is told where tests run as root.
pub fn as_root() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["--as-root"],
        false => &[],
    }
}

/// All records of an audit log, oldest first.
pub fn records(folder: &Path) -> Vec<Value> {
    let mut records = Vec::new();
    for number in 1.. {
        let path = folder.join(compere_host::audit::format::segment_name(number));
        let Ok(bytes) = std::fs::read(path) else {
            break;
        };
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some(payload) = after.get(..length) else {
                break;
            };
            let record: Value = serde_json::from_slice(payload).unwrap();
            // The first payload of a segment is none.
            if record["kind"].is_string() {
                records.push(record);
            }
            rest = after.get(length + 32..).unwrap_or_default();
        }
    }
    records
}

/// The server of `probe.py`, with these settings.
pub fn probe(work: &str, settings: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/probe.py");
    let mut server = json!({
        "command": "python3",
        "args": [script, work],
        "roots": [work],
    });
    if rustix::process::geteuid().is_root() {
        server["root"] = json!(true);
    }
    for (name, value) in settings.as_object().unwrap() {
        server[name] = value.clone();
    }
    server
}

/// What a tool said.
pub fn text(result: &compere::model::CallToolResult) -> String {
    let blocks = result.content.iter().map(|block| match block {
        compere::model::Content::Text(text) => text.text.clone(),
        other => format!("{other:?}"),
    });
    blocks.collect()
}
