//! The local door of a running host: a socket beside its state, for apps that come over standard input
//! and output and for everything by which a person looks and decides.
//!
//! Who comes says who they are in one line of JSON ([`Hello`]), with a token from a file that no server
//! is given. An app sends its standard input and output along, and from then on the host speaks with
//! it directly. Everybody else sends a line for each [`Order`] and gets a line for each [`Reply`].
//!
//! A process that descends from the host is a server or was started by one: it is turned away, and that
//! is recorded. A program that runs unconfined as the person, and was not started by the host, can do
//! here what the person can.

mod call;
mod serve;

pub use call::{Connection, DoorError, connect_app};
pub use serve::{Page, serve};

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::consent::{Answer, Ended, Grant, Question};
use crate::host::Status;

/// What both sides must have in common.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The longest line.
const LINE_BYTES: usize = 16 * 1024 * 1024;
/// The longest first line.
const HELLO_BYTES: usize = 4 * 1024;

/// Where the socket of a state folder is.
pub fn socket(state: &Path) -> PathBuf {
    state.join("host.sock")
}

/// Where the token is.
pub(crate) const TOKEN: &str = "door.key";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of whoever comes.
    pub compere: String,
    /// The token.
    pub token: String,
    /// The name of the app, if it is one and has one.
    #[serde(default)]
    pub app: Option<String>,
    /// It is an app: its standard input and output come along.
    #[serde(default)]
    pub is_app: bool,
}

/// What a door can ask of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub enum Order {
    /// How do you stand?
    Status,
    /// What waits?
    Questions,
    /// Answer a question.
    Answer {
        /// Which.
        id: u64,
        /// What is said.
        answer: Answer,
        /// By which door.
        door: String,
    },
    /// How did a question end?
    Ended {
        /// Which.
        id: u64,
    },
    /// What was granted?
    Grants,
    /// Take a grant back.
    Revoke {
        /// Which.
        id: String,
        /// By which door.
        door: String,
    },
    /// Read our file again.
    Reload,
    /// A token for an app over HTTP; it takes the place of one that the app had.
    Token {
        /// The app.
        app: String,
    },
    /// Try a server again at once.
    Retry {
        /// Which.
        server: String,
    },
    /// Fetch the program of a server again.
    Update {
        /// Which.
        server: String,
    },
    /// Start a server that is approved to learn what it is kept from.
    Learn {
        /// Which.
        server: String,
    },
    /// A link to the page of the host in a browser, good for one visitor.
    Page,
    /// A line whenever questions come or go, or servers change.
    Watch,
    /// End.
    Stop,
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// Come in.
    Welcome(String),
    /// How it stands.
    Status(Box<Status>),
    /// What waits.
    Questions(Vec<Question>),
    /// How a question ended; `None` if it is open or forgotten.
    Ended(Option<Ended>),
    /// What was granted.
    Grants(Vec<Grant>),
    /// It is done; what there is to say of it.
    Done(Vec<String>),
    /// It is not done; why.
    Refused(String),
}
