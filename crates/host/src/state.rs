//! The folder in which the host keeps what it must not forget: grants, pins, keys, the audit log.
//!
//! Every file is the owner's alone, replaced as a whole or not at all, and says what it is, in which
//! version, and by a digest whether it still is what was written. A file that is not is set aside and
//! reported; it never stops a start, and nothing in it counts.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::pins::canonical;

/// No file of ours grows beyond this.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// A folder with this file is one of ours, and no server may have it in its roots.
const LOCK: &str = "host.lock";

/// The folder, open. While it lives no other host has it.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// Why a folder cannot be had.
#[derive(Debug)]
pub enum StateError {
    /// Another host has it.
    InUse,
    /// It belongs to somebody else, or others can write in it; what to do.
    NotOurs(String),
    /// The system says no.
    Io(io::Error),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse => f.write_str("another host is running with this state"),
            Self::NotOurs(why) => f.write_str(why),
            Self::Io(error) => write!(f, "the state folder cannot be used: {error}"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A file as it stands on the disk.
#[derive(Serialize, Deserialize)]
struct Envelope {
    compere: String,
    version: u64,
    digest: String,
    content: Value,
}

/// What was found where a file should be.
#[derive(Debug)]
pub enum Found<T> {
    /// Nothing.
    Nothing,
    /// What was written.
    Kept(T),
    /// It was damaged, and lies here now; why.
    SetAside(PathBuf, String),
}

impl StateFolder {
    /// Takes the folder, and makes it if it is not there.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        let metadata = std::fs::metadata(&path)?;
        let me = rustix::process::getuid().as_raw();
        if metadata.uid() != me {
            return Err(StateError::NotOurs(format!(
                "{} belongs to another user",
                path.display()
            )));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(StateError::NotOurs(format!(
                "{} is open to others; close it with: chmod 700",
                path.display()
            )));
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(path.join(LOCK))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse),
            Err(error) => Err(StateError::Io(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of this kind and version.
    pub fn read<T: DeserializeOwned>(&self, kind: &str, version: u64) -> Found<T> {
        let path = self.file(kind);
        let text = match read_own(&path) {
            Ok(None) => return Found::Nothing,
            Ok(Some(text)) => text,
            Err(why) => return set_aside(&path, why),
        };
        match open(&text, kind, version) {
            Ok(content) => Found::Kept(content),
            Err(why) => set_aside(&path, why),
        }
    }

    /// Replaces a file. It is on the disk when this returns.
    pub fn write<T: Serialize>(&self, kind: &str, version: u64, content: &T) -> io::Result<()> {
        write(&self.path, kind, version, content)
    }

    /// Reads a secret of so many bytes, or makes one. One that is damaged is set aside for a new one.
    pub fn secret(&self, name: &str) -> io::Result<[u8; 32]> {
        let path = self.path.join(name);
        let kept = read_own(&path).ok().flatten();
        if let Some(secret) = kept.as_deref().and_then(|text| hex::read(text.trim())) {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        write_bytes(&path, hex::text(&secret).as_bytes())?;
        Ok(secret)
    }

    fn file(&self, kind: &str) -> PathBuf {
        file(&self.path, kind)
    }
}

fn file(folder: &Path, kind: &str) -> PathBuf {
    folder.join(format!("{kind}.json"))
}

/// Replaces a file of a folder that was taken. It is on the disk when this returns.
pub(crate) fn write<T: Serialize>(
    folder: &Path,
    kind: &str,
    version: u64,
    content: &T,
) -> io::Result<()> {
    let content = serde_json::to_value(content)?;
    let envelope = Envelope {
        compere: kind.to_owned(),
        version,
        digest: digest(kind, version, &content),
        content,
    };
    write_bytes(&file(folder, kind), &serde_json::to_vec(&envelope)?)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a stop left behind.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

fn not_waiting() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// The text of a file that is ours, if it is there.
fn read_own(path: &Path) -> Result<Option<String>, String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(not_waiting())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    if metadata.uid() != rustix::process::getuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err("it is open to others".to_owned());
    }
    let mut text = String::new();
    let read = file.take(FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    match text.len() as u64 > FILE_BYTES {
        true => Err("it is too large".to_owned()),
        false => Ok(Some(text)),
    }
}

fn open<T: DeserializeOwned>(text: &str, kind: &str, version: u64) -> Result<T, String> {
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if envelope.compere != kind || envelope.version != version {
        return Err(format!(
            "it holds {:?} of version {}",
            envelope.compere, envelope.version
        ));
    }
    if envelope.digest != digest(kind, version, &envelope.content) {
        return Err("it is not what was written".to_owned());
    }
    serde_json::from_value(envelope.content).map_err(|error| error.to_string())
}

fn digest(kind: &str, version: u64, content: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("compere state {kind} {version}\0"));
    hash.update(canonical(content));
    hex::text(&hash.finalize())
}

/// Moves a file out of the way.
fn set_aside<T>(path: &Path, why: String) -> Found<T> {
    for number in 1_u32..10_000 {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if aside.symlink_metadata().is_err() {
            if std::fs::rename(path, &aside).is_err() {
                break;
            }
            return Found::SetAside(aside, why);
        }
    }
    Found::SetAside(path.to_owned(), why)
}
