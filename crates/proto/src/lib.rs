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

pub mod revision;
pub mod method;
pub mod limits;
pub mod time;
pub mod jsonrpc;
pub mod error;
pub mod object;

pub mod lifecycle;
pub mod capability;
pub mod content;
pub mod icon;
pub mod tools;
pub mod resources;
pub mod prompts;
pub mod completion;
pub mod sampling;
pub mod roots;
pub mod elicitation;
pub mod logging;
pub mod progress;
pub mod cancellation;
pub mod pagination;
pub mod uri_template;

pub mod wire;
pub mod connection;

pub use error::Error;
pub use limits::Limits;
pub use method::{Method, Role};
pub use revision::{Era, Revision, RevisionRules};
pub use time::Moment;
