//! What can be seen of a server from outside, held against the requirements of the protocol.
//!
//! It talks in raw messages, so that nothing which our own client would smooth over stays unseen.
//! It calls no tool that exists and changes nothing: what it reads is lists, prompts, and a few
//! resources.

mod checks;
mod report;
mod stateless;
mod talk;
mod wire;

pub(crate) use checks::{EXIT_WAIT, examine};
pub(crate) use wire::Wire;
