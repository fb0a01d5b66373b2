//! What a confined program was kept from, found in what it said: paths that are there and that it was not
//! given. A program without leave to look sees them as missing, and says so in its own words.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::sandbox::Profile;

/// Paths of a text that are looked at.
const PATHS: usize = 64;
/// The longest path.
const PATH_BYTES: usize = 1_024;
/// Words for a change that was refused.
const UNCHANGED: [&str; 6] = [
    "EROFS",
    "EACCES",
    "EPERM",
    "Read-only",
    "ermission denied",
    "not permitted",
];

/// Something that a program was kept from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// It was not given this.
    Reading(PathBuf),
    /// It may read this, and not change it.
    Changing(PathBuf),
    /// It has no network.
    Network,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading(path) => {
                write!(f, "{}, which it was not given", path.display())
            }
            Self::Changing(path) => {
                write!(f, "changing {}, which it may only read", path.display())
            }
            Self::Network => f.write_str("the network, which it was not given"),
        }
    }
}

/// What a program with this profile seems to have been kept from, by what it said.
pub fn denied(text: &str, profile: &Profile) -> Vec<Denied> {
    let says_unchanged = UNCHANGED.iter().any(|words| text.contains(words));
    let ends = |letter: char| {
        letter.is_whitespace() || letter.is_control() || "'\"`()[]{}<>,;|=\\".contains(letter)
    };
    let found: BTreeSet<Denied> = text
        .split(ends)
        .filter_map(|word| {
            let begin = word.find('/')?;
            // A path of its own, not the end of an address.
            let before = word.get(..begin)?;
            (before.is_empty() || before.ends_with(':')).then(|| word.get(begin..))?
        })
        .map(|word| word.trim_end_matches(['.', ':', '!', '?']))
        .filter(|word| (2..=PATH_BYTES).contains(&word.len()) && !word.starts_with("//"))
        .take(PATHS)
        .filter_map(|word| of_path(Path::new(word), profile, says_unchanged))
        .collect();
    found.into_iter().collect()
}

/// Was it kept from this path? Only what is there can be what it wanted.
pub(crate) fn of_path(path: &Path, profile: &Profile, changes: bool) -> Option<Denied> {
    path.symlink_metadata().ok()?;
    // Of its own world, if it has one.
    if path.starts_with("/proc") || path == Path::new("/dev/null") {
        return None;
    }
    // What leads to something that it was given is there for it.
    let leads = [&profile.run, &profile.read, &profile.write, &profile.own]
        .into_iter()
        .flatten()
        .any(|given| given.starts_with(path));
    if !profile.covers(path) {
        return (!leads).then(|| Denied::Reading(path.to_owned()));
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let can_change = profile.write.iter().chain(&profile.own);
    let can_change = can_change.into_iter().any(|of| real.starts_with(of));
    (changes && !can_change).then(|| Denied::Changing(path.to_owned()))
}
