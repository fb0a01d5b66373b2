//! The names of tools that were seen last time, so that a shell can complete them without starting
//! a server that nobody has asked for yet.
//!
//! One file per command in the person's cache folder, readable by them alone. Losing one costs
//! nothing; what cannot be read or written is passed over.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use compere::model::Tool;
use compere::serde::{Deserialize, Serialize};
use compere::serde_json::{self, Value};

use crate::args::Connection;

/// The largest file that is read.
const BYTES: u64 = 1024 * 1024;

/// Tools by name, each with its arguments and the values that they may have, if few.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "compere::serde")]
pub(crate) struct Known {
    pub(crate) tools: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Known {
    /// What there is to know of a list of tools.
    pub(crate) fn of(tools: &[Tool]) -> Self {
        let tools = tools.iter().map(|tool| {
            let schema: Value = tool.input_schema.decode().unwrap_or_default();
            let arguments = schema["properties"].as_object().into_iter().flatten();
            let arguments = arguments.map(|(name, schema)| (name.clone(), values(schema)));
            (tool.name.clone(), arguments.collect())
        });
        Self {
            tools: tools.collect(),
        }
    }
}

fn values(schema: &Value) -> Vec<String> {
    if schema["type"] == "boolean" {
        return vec!["true".to_owned(), "false".to_owned()];
    }
    let values = schema["enum"].as_array().into_iter().flatten();
    values
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Keeps the tools of a command in mind. Built-in servers are asked again.
pub(crate) fn remember(connection: &Connection, tools: &[Tool]) {
    let Some(path) = path(&connection.place.server) else {
        return;
    };
    let written = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let text = serde_json::to_vec(&Known::of(tools))?;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&text)
    };
    if let Err(error) = written() {
        tracing::debug!(%error, "the names of the tools are not remembered");
    }
}

/// What was seen of a command last time.
pub(crate) fn recall(command: &[OsString]) -> Option<Known> {
    let path = path(command)?;
    if std::fs::metadata(&path).ok()?.len() > BYTES {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn path(command: &[OsString]) -> Option<PathBuf> {
    if command.is_empty() {
        return None;
    }
    let folder = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    let mut hasher = DefaultHasher::new();
    command.hash(&mut hasher);
    Some(folder.join(format!("compere/tools/{:016x}.json", hasher.finish())))
}
