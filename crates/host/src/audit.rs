//! The audit log: what was asked, what was decided, what was done, in an order that cannot be bent
//! quietly.
//!
//! A log is a folder of segments. A segment is a sequence of frames; each frame is bound to all that
//! stand before it by a hash ([`format`]). A record is there once [`Log::append`] says so: with
//! [`Durability::Synced`] after the disk has it, which many records share; with
//! [`Durability::Written`] once the system has it, and on the disk within [`SYNCED_WITHIN`].
//!
//! What a log cannot show by itself is that its end was cut off. For that there is a `head` file beside
//! the segments, and checkpoints that a person keeps elsewhere.

pub mod format;
pub mod index;
pub mod log;
pub mod read;
pub mod record;
mod segments;
pub mod verify;

use std::time::Duration;

pub use index::{Index, IndexError, Search};
pub use log::{Durability, Log, LogError, Opened};
pub use read::{Position, Reader};
pub use record::{Kind, Numbered, Record};
pub use verify::{Broken, Summary, verify};

/// A record that was only written is on the disk after so long.
pub const SYNCED_WITHIN: Duration = Duration::from_millis(50);
/// The name of the index of a log, in the folder of the state.
pub const INDEX: &str = "audit.index";
