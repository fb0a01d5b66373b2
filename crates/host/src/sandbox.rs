//! Confinement: what a server can touch, whatever it wants to.
//!
//! A server is started by a launcher, which is our own program once more: it takes away from itself
//! what a [`Profile`] does not grant, tries whether that holds, and becomes the server. If anything of
//! it fails, the server does not start. Three promises are kept, each by what the kernel has:
//!
//! - files: Landlock, which needs version 3 of its interface or newer;
//! - network: a filter of system calls;
//! - other processes: Landlock from version 6 on, else the filter, which then takes all signals.
//!
//! Where the kernel lets anybody make namespaces, a server has a world of its own besides: its own
//! processes and network, and a file system with nothing in it but what it may touch. Then it does not
//! see either what it cannot touch.
//!
//! What stays open is in [`Profile::stays_open`], to be shown and not hidden.

pub mod denied;
pub(crate) mod doorway;
mod filter;
mod launcher;
mod namespaces;
mod paths;

pub use launcher::{COMMAND, launch, order};
pub use namespaces::are_there as namespaces_are_there;
pub use paths::profile;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a confined server may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// It may run programs in these, and read them.
    pub run: Vec<PathBuf>,
    /// It may read these.
    pub read: Vec<PathBuf>,
    /// It may read these and change what is in them.
    pub write: Vec<PathBuf>,
    /// It may do all of that in these, which hold nothing of the person.
    #[serde(default)]
    pub own: Vec<PathBuf>,
    /// It may reach others over IP.
    pub network: bool,
    /// It may reach these, through the host, and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Where the launcher hands over what leads to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
    /// It has a world of its own: processes, network and a file system with nothing else in it.
    #[serde(default)]
    pub namespaces: bool,
}

impl Profile {
    /// Can it read what is in this folder?
    pub fn covers(&self, folder: &std::path::Path) -> bool {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let all = [&self.run, &self.read, &self.write, &self.own];
        all.iter()
            .any(|paths| paths.iter().any(|path| folder.starts_with(path)))
    }

    /// What is neither hidden nor hindered, to be shown.
    pub fn stays_open(&self) -> Vec<&'static str> {
        let mut open = Vec::new();
        if !self.namespaces {
            open.push("whether any file exists, how large it is and when it was changed");
            open.push("which processes there are, and how they were started");
            if self.changes_marks() {
                open.push(MARKS);
            }
        }
        open.push(
            "the memory and the processors of this machine, within the limits of one process each",
        );
        open.push(
            "to run any program that it may read, through an interpreter or loader that it may run",
        );
        open
    }

    /// Can it change rights, times and marks of files that it cannot change otherwise? Landlock does not
    /// keep these, and many programs that write need them for their own.
    pub fn changes_marks(&self) -> bool {
        let writes = !self.write.is_empty() || !self.own.is_empty();
        writes && !self.namespaces
    }

    /// Can whoever has this do anything but read?
    pub fn only_reads(&self) -> bool {
        self.write.is_empty() && !self.network && self.hosts.is_empty()
    }

    /// May it have sockets of the Internet? In a network of its own they lead to the host at most.
    fn has_sockets(&self) -> bool {
        self.network || self.way_out.is_some()
    }
}

/// What stays open with [`Profile::changes_marks`].
const MARKS: &str =
    "to change the rights, times and marks of any file of yours, though not what is in it";

/// Bounds of every server.
pub(crate) const OPEN_FILES: u64 = 1_024;
/// Memory of one process. Not its addresses: some reserve many more than they use.
pub(crate) const DATA_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Processes and threads, where only its own are counted.
pub(crate) const PROCESSES: u64 = 512;
/// The largest file that it can write.
pub(crate) const FILE_BYTES: u64 = 1024 * 1024 * 1024;
