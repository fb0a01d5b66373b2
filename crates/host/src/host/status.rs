//! How the host and its servers stand, for a person to read. Looks, and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::INDEX;
use crate::consent::Now;
use crate::host::Host;
use crate::pins::Kind;
use crate::policy::Rule;
use crate::sampling::{Budget, Spent};
use crate::servers::{Server, Stage};

/// How a server stands, for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub stage: Stage,
    /// What is known of how it is started.
    pub facts: Vec<String>,
    /// Tools that apps can see.
    pub tools: usize,
    /// Things that wait for a person.
    pub waiting: usize,
    /// Memory of its processes, in KiB, as the system counts it.
    pub memory: u64,
    /// What it wrote to its standard error last.
    pub last_words: Vec<String>,
}

/// How the host stands, for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// Our file.
    pub file: String,
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// The servers.
    pub servers: Vec<ServerStatus>,
    /// The apps that are connected.
    pub apps: Vec<String>,
    /// How many questions are open.
    pub questions: usize,
}

/// More processes of one server are not counted.
const PROCESSES: usize = 1_000;

impl Host {
    /// The rules that hold, in their order.
    pub fn rules(&self) -> Arc<[Rule]> {
        self.consent.rules()
    }

    /// What a server may use of models in a day, and what it has used of that today. `None` if sampling is
    /// off for it.
    pub fn budget(&self, server: &Server) -> Option<(Budget, Spent)> {
        let budget = server.entry.settings.sampling?;
        let now = Now::read().seconds;
        let spent = self.budgets(|budgets| budgets.spent(&server.name, now));
        Some((budget, spent))
    }

    /// The folder of the audit log.
    pub fn audit_folder(&self) -> PathBuf {
        self.state().join("audit")
    }

    /// The number of the last record of the audit log.
    pub fn last_record(&self) -> u64 {
        self.log.last()
    }

    /// Where the index of the audit log is kept by whoever searches it.
    pub fn audit_index(&self) -> PathBuf {
        self.state().join(INDEX)
    }

    /// How the host stands.
    pub fn status(&self) -> Status {
        let catalog = self.catalog();
        let servers = catalog.servers.values().map(|server| {
            let approvals = server.approvals();
            let tools = approvals.pins.iter();
            let tools = tools.filter(|(item, _)| item.kind == Kind::Tool).count();
            let running = server.running();
            let processes = running.iter().filter_map(|running| running.process());
            let seen = server.seen();
            let waiting = seen.map_or(0, |seen| seen.waiting(&approvals.pins).len());
            ServerStatus {
                name: server.name.clone(),
                stage: server.stage(),
                facts: server
                    .launching()
                    .map(|of| of.facts.clone())
                    .unwrap_or_default(),
                tools,
                waiting,
                memory: processes.filter_map(memory).sum(),
                last_words: server.last_words(),
            }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            file: self.options.file.display().to_string(),
            faults: catalog.faults.iter().map(ToString::to_string).collect(),
            servers: servers.collect(),
            apps: self
                .sessions()
                .iter()
                .map(|session| session.name().to_owned())
                .collect(),
            questions: self.questions().len(),
        }
    }
}

/// Memory of a process and of all that it started, in KiB.
fn memory(process: u32) -> Option<u64> {
    let mut sum = own_memory(process)?;
    let mut parents = vec![process];
    let mut count = 0;
    while let Some(process) = parents.pop() {
        count += 1;
        if count > PROCESSES {
            break;
        }
        // Each thread may have started some.
        let threads = std::fs::read_dir(format!("/proc/{process}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                if let Ok(child) = child.parse() {
                    sum += own_memory(child).unwrap_or_default();
                    parents.push(child);
                }
            }
        }
    }
    Some(sum)
}

fn own_memory(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
