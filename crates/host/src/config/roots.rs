//! The folders that a server works in, changed in the person's own file. The host reads the file again by
//! itself; a server whose folders are others waits for the person.

use std::path::{Path, PathBuf};

use crate::config::read::FILE_BYTES;
use crate::config::write::with_roots;
use crate::config::{HostFile, Settings};
use crate::files;
use crate::servers::launch::Machine;

/// What is to become of the folders of a server.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Folders that come, as paths from the top.
    pub add: Vec<PathBuf>,
    /// Folders that go.
    pub remove: Vec<PathBuf>,
    /// Whether it may change what is in them; as it was if nothing is said.
    pub write: Option<bool>,
}

/// Changes the folders of a server in our file, and gives how it is treated from now on. The errors are
/// words for a person; nothing was changed then.
pub fn change(
    machine: &Machine,
    file: &Path,
    server: &str,
    change: &Change,
) -> Result<Settings, String> {
    let in_file = |why: String| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| in_file(error.to_string()))?;
    if text.len() > FILE_BYTES {
        return Err(in_file(format!("it is larger than {FILE_BYTES} bytes")));
    }
    let read = HostFile::read(&text, file);
    if let Some(fault) = read.faults.iter().find(|fault| fault.server.is_none()) {
        return Err(in_file(fault.to_string()));
    }
    let entry = read.entries.iter().find(|entry| entry.name == server);
    let entry = entry.ok_or_else(|| in_file(format!("there is no server {server} in it")))?;
    let mut settings = entry.settings.clone();
    for folder in &change.remove {
        let gone = real(folder);
        let before = settings.roots.len();
        settings.roots.retain(|root| {
            let there = machine.place(root);
            there != gone && there.canonicalize().ok().as_ref() != Some(&gone)
        });
        if settings.roots.len() == before {
            return Err(format!("{server} does not work in {}", gone.display()));
        }
    }
    for folder in &change.add {
        let folder = real(folder);
        if !folder.is_absolute() || !folder.is_dir() {
            return Err(format!("{} is no folder", folder.display()));
        }
        let text = folder.to_str();
        let text =
            text.ok_or_else(|| format!("{} has a name that is no text", folder.display()))?;
        if !settings.roots.iter().any(|root| root == text) {
            settings.roots.push(text.to_owned());
        }
    }
    settings.write = change.write.unwrap_or(settings.write);
    if settings != entry.settings {
        let new = with_roots(&text, server, &settings.roots, settings.write).map_err(in_file)?;
        files::replace(file, new.as_bytes()).map_err(|error| in_file(error.to_string()))?;
    }
    Ok(settings)
}

/// As it really is, or as it would be if it were there.
fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}
