//! An app that we did not write: the official TypeScript client, in a process of its own that does what it
//! is told.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::ground::peer;

/// The app, and a way to tell it what to do.
pub struct App {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    last: u64,
    /// What it said besides answers.
    pub said: Vec<Value>,
    early: Vec<Value>,
}

impl App {
    /// One that has a model.
    pub async fn start(arguments: &[String]) -> Self {
        Self::start_with(arguments, true).await
    }

    /// One that has a model, or none.
    pub async fn start_with(arguments: &[String], has_model: bool) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/app.mjs");
        // Packages are found beside the script that asks for them.
        let beside = peer("npm-sdk-new").join("host-app.mjs");
        std::fs::copy(script, &beside).unwrap();
        let mut process = Command::new("node")
            .arg(beside)
            .args(arguments)
            .envs((!has_model).then_some(("WITHOUT_MODEL", "yes")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut app = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
            last: 0,
            said: Vec::new(),
            early: Vec::new(),
        };
        let ready = app.line().await;
        assert_eq!(ready["ready"], true, "{ready}");
        app.said.push(ready);
        app
    }

    pub async fn line(&mut self) -> Value {
        let line =
            tokio::time::timeout(std::time::Duration::from_secs(60), self.output.next_line());
        let line = line.await.expect("the app is silent").unwrap();
        serde_json::from_str(&line.expect("the app is gone")).unwrap()
    }

    pub async fn begin(&mut self, mut what: Value) -> u64 {
        self.last += 1;
        what["id"] = self.last.into();
        self.input
            .write_all(format!("{what}\n").as_bytes())
            .await
            .unwrap();
        self.last
    }

    pub async fn end(&mut self, id: u64) -> Value {
        if let Some(place) = self.early.iter().position(|line| line["id"] == id) {
            return self.early.remove(place);
        }
        loop {
            let line = self.line().await;
            if line["id"] == id {
                return line;
            }
            match line["id"].is_number() {
                true => self.early.push(line),
                false => self.said.push(line),
            }
        }
    }

    pub async fn act(&mut self, what: Value) -> Value {
        let id = self.begin(what).await;
        self.end(id).await
    }

    /// Calls a tool; its text.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> String {
        let done = self.act(json!({"call": tool, "with": arguments})).await;
        text(&done)
    }

    pub async fn names(&mut self, list: &str) -> Vec<String> {
        let listed = self.act(json!({"list": list})).await;
        let items = listed["result"][list]
            .as_array()
            .cloned()
            .unwrap_or_default();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The text of a result.
pub fn text(done: &Value) -> String {
    let Some(blocks) = done["result"]["content"].as_array() else {
        return done.to_string();
    };
    blocks
        .iter()
        .filter_map(|block| block["text"].as_str())
        .collect()
}
