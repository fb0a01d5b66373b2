//! Configuration: the files in which people keep their servers, each in the dialect of the app that it
//! was written for, and what they say.
//!
//! Nothing here starts anything, and nothing that a file says is taken as permission: a file can ask
//! for a server, it cannot approve one.

pub mod dialect;
pub mod expand;
pub mod import;
pub mod install;
pub(crate) mod jsonc;
mod others;
pub mod places;
pub mod read;
pub mod roots;
pub mod settings;
pub mod write;

pub use dialect::Dialect;
pub use expand::{Expanded, Surroundings, Unresolved};
pub use places::{Folders, Place, Scope, places};
pub use read::{Entry, Fault, Input, Launch, Note, Read, read};
pub use settings::{AppSettings, HostFile, Settings};
