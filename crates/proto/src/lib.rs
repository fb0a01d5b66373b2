//! The words and the grammar of the Model Context Protocol.
//!
//! What is said: JSON-RPC, a neutral model of all revisions, and the conversation itself as a
//! state machine. There is **no I/O here**: no sockets, no clock, no threads, no randomness.
//! Callers pass in bytes and the time and get bytes and verdicts back. For a server in eight
//! lines use the crate `compere`, which is built on this one.
//!
//! Reading order: [`revision`] and [`method`] are the tables that everything asks; [`jsonrpc`]
//! and [`object`] are the small values; the files named after pages of the specification hold
//! the model; [`wire`] turns bytes into messages and back; [`connection`] is the conversation.
#![deny(missing_docs)]

pub mod error;
pub mod jsonrpc;
pub mod limits;
pub mod method;
pub mod object;
pub mod revision;
pub mod time;

pub mod cancellation;
pub mod capability;
pub mod completion;
pub mod content;
pub mod elicitation;
pub mod icon;
pub mod lifecycle;
pub mod logging;
pub mod pagination;
pub mod progress;
pub mod prompts;
pub mod resources;
pub mod roots;
pub mod sampling;
pub mod tasks;
pub mod tools;
pub mod trace;
pub mod ui;
pub mod uri_template;

pub mod connection;
pub mod wire;

pub use error::Error;
pub use limits::Limits;
pub use method::{Method, Role};
pub use revision::{Era, Revision, RevisionRules};
pub use time::Moment;
