//! What is kept of conversations: a wire log, which is the bare messages, and a trace, which says of
//! each when it came, in which session, and from whom. `compere replay` reads traces.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use compere::serde::{Deserialize, Serialize};
use compere::serde_json::{self, value::RawValue};
use compere::transport::tap::{Direction, OnLine};

use crate::args::Keeping;
use crate::failure::Failure;

/// Which end of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// We are the client.
    Client,
    /// We are the server.
    Server,
    /// We are the client of the server behind a bridge.
    Behind,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(crate = "compere::serde", rename_all = "lowercase")]
pub(crate) enum Speaker {
    Client,
    Server,
}

/// One message of a trace: a line of its file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(crate = "compere::serde")]
pub(crate) struct Entry {
    /// When, in UTC.
    pub(crate) at: String,
    /// A number for the session.
    pub(crate) session: u64,
    /// Between a bridge and the server behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) behind: bool,
    pub(crate) from: Speaker,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Box<RawValue>>,
    /// What is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// Where it is kept. Clones write into the same files.
#[derive(Clone)]
pub(crate) struct Record {
    wire: Option<Kept>,
    trace: Option<Kept>,
}

type Kept = Arc<Mutex<File>>;

impl Record {
    /// Opens the files for appending. Nobody else may read them.
    pub(crate) fn open(keeping: &Keeping) -> Result<Self, Failure> {
        let open = |option: &str, path: Option<&Path>| {
            let kept = path.map(|path| {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(path);
                file.map(|file| Arc::new(Mutex::new(file)))
                    .map_err(|error| {
                        Failure::usage(format!("{option} {}: {error}", path.display()))
                    })
            });
            kept.transpose()
        };
        Ok(Self {
            wire: open("--wire-log", keeping.wire_log.as_deref())?,
            trace: open("--trace", keeping.trace.as_deref())?,
        })
    }

    /// Is anything kept?
    pub(crate) fn is_kept(&self, hop: Hop) -> bool {
        self.trace.is_some() || self.wire.is_some() && hop != Hop::Behind
    }

    /// For one connection; `None` if nothing is kept.
    pub(crate) fn listener(&self, session: u64, hop: Hop) -> Option<OnLine> {
        let record = self.clone();
        self.is_kept(hop).then(|| {
            Box::new(move |direction, line: &[u8]| record.keep(session, hop, direction, line))
                as OnLine
        })
    }

    /// Keeps a message. The wire log holds what was said to and by us.
    pub(crate) fn keep(&self, session: u64, hop: Hop, direction: Direction, line: &[u8]) {
        if let Some(wire) = self.wire.as_ref().filter(|_| hop != Hop::Behind) {
            let mark = match direction {
                Direction::Sent => b"> ",
                Direction::Received => b"< ",
            };
            let mut entry = Vec::with_capacity(line.len() + 3);
            entry.extend_from_slice(mark);
            entry.extend_from_slice(line);
            append(wire, entry);
        }
        if let Some(trace) = &self.trace {
            append(trace, traced(session, hop, direction, line));
        }
    }
}

fn traced(session: u64, hop: Hop, direction: Direction, line: &[u8]) -> Vec<u8> {
    let from = match (hop, direction) {
        (Hop::Server, Direction::Received) | (Hop::Client | Hop::Behind, Direction::Sent) => {
            Speaker::Client
        }
        _ => Speaker::Server,
    };
    let text = String::from_utf8_lossy(line);
    // Outside of strings a line end is white space; inside of them there is none.
    let message = RawValue::from_string(text.replace(['\n', '\r'], " ")).ok();
    let entry = Entry {
        at: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        session,
        behind: hop == Hop::Behind,
        from,
        text: message.is_none().then(|| text.into_owned()),
        message,
    };
    serde_json::to_vec(&entry).unwrap_or_default()
}

/// A line goes in with one write, so that those of other processes stay whole too.
fn append(file: &Kept, mut line: Vec<u8>) {
    line.push(b'\n');
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = file.write_all(&line);
}
