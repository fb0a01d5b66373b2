//! Servers that `npx` and `uvx` would fetch anew at each start: fetched once instead, after a person
//! agreed to that, and run from there from then on, without anything that fetches.
//!
//! What is fetched here runs nothing of it: no scripts of packages, no builds. Which versions these are,
//! and with which checksums, is found out by that, so that a person can agree to exactly them. Not here:
//! who agrees, and when it is done.

mod asked;
mod steps;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::hex;
use crate::servers::digests::Digests;
use crate::servers::fetch::asked::{is_name, npx, uvx};
use crate::servers::launch::Machine;

/// What was fetched, beside where it is.
const RECORD: &str = "fetched.json";
/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The registry of npm.
    Npm,
    /// The index of Python packages.
    Python,
}

/// What is to be fetched, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    source: Source,
    /// `npm` or `uv`.
    pub(super) program: PathBuf,
    /// As they are asked for; the first is that of the server.
    packages: Vec<String>,
    /// The program of it, where it is said.
    command: Option<String>,
    /// The version of Python, where it is said.
    python: Option<String>,
    /// The folder for it.
    place: PathBuf,
    /// The settings of the person that are used for it, if there are any.
    settings: Option<PathBuf>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fetched {
    /// The digest of the plan that it was fetched by.
    plan: String,
    /// The folder with it, in that of the plan.
    folder: String,
    package: String,
    version: String,
    integrity: String,
    /// How many packages there are in all.
    packages: usize,
    /// What is run, within the folder.
    entry: PathBuf,
    /// What runs it, if it does not run by itself.
    by: Option<Runner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Runner {
    Node,
    /// The one of its own environment.
    Python,
}

/// What was fetched, as it is run.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) program: PathBuf,
    /// The arguments before those of the server itself.
    pub(super) arguments: Vec<String>,
    /// What is pinned of it.
    pub(super) pinned: Value,
    pub(super) facts: Vec<String>,
}

impl Plan {
    /// What a program with these arguments would fetch, and the arguments that are those of the server
    /// itself; `None` if it fetches nothing, or what it would run cannot be told from its arguments.
    pub(super) fn of(
        program: &Path,
        arguments: &[String],
        handle: &str,
        machine: &Machine,
    ) -> Option<(Self, Vec<String>)> {
        let asked = match program.file_name()?.to_str()? {
            "npx" => npx(arguments),
            "uvx" => uvx(arguments),
            _ => None,
        }?;
        let (name, settings) = match asked.source {
            Source::Npm => ("npm", ".npmrc"),
            Source::Python => ("uv", ".config/uv/uv.toml"),
        };
        let beside = program.with_file_name(name);
        let program = match beside.is_file() {
            true => beside,
            false => machine.find(name, None, None).ok()?,
        };
        let settings = machine.home.as_ref().map(|home| home.join(settings));
        // No handle begins like this.
        let place = machine.cache.as_ref()?.join(".fetched").join(handle);
        let plan = Self {
            source: asked.source,
            program,
            packages: asked.packages,
            command: asked.command,
            python: asked.python,
            place,
            settings: settings.filter(|settings| settings.is_file()),
        };
        Some((plan, asked.rest))
    }

    fn digest(&self) -> String {
        let parts = json!([self.source, self.packages, self.command, self.python]);
        hex::text(&Sha256::digest(parts.to_string()))
    }

    /// What a person agrees to.
    pub(super) fn pinned(&self, digests: &Digests) -> Result<Value, String> {
        let real = self.program.canonicalize();
        let digest = real.and_then(|real| digests.of(&real));
        let digest = digest.map_err(|error| format!("{}: {error}", self.program.display()))?;
        Ok(json!({
            "fetches": self.packages,
            "from": self.source,
            "python": self.python,
            "with": self.program,
            "digest": digest,
            "settings": self.settings,
        }))
    }

    /// The same in words.
    pub(super) fn facts(&self) -> Vec<String> {
        let from = match self.source {
            Source::Npm => "the registry of npm",
            Source::Python => "the index of Python packages",
        };
        let mut facts = vec![format!(
            "fetches {} from {from}, and what that needs",
            self.packages.join(", ")
        )];
        facts.push(format!("with {}", self.program.display()));
        if let Some(settings) = &self.settings {
            facts.push(format!("as your settings in {} say", settings.display()));
        }
        facts.push(format!(
            "writes to {} and nowhere else",
            self.place.display()
        ));
        facts.push("runs nothing of what it fetches".to_owned());
        facts.push(
            "you are asked again, with versions and checksums, before any of it runs".to_owned(),
        );
        facts
    }

    /// What was fetched, if it was; as it is now, whatever it was then.
    pub(super) fn found(
        &self,
        machine: &Machine,
        digests: &Digests,
    ) -> Result<Option<Found>, String> {
        let Ok(text) = std::fs::read_to_string(self.place.join(RECORD)) else {
            return Ok(None);
        };
        let Ok(fetched) = serde_json::from_str::<Fetched>(&text) else {
            return Ok(None);
        };
        let folder = self.place.join(&fetched.folder);
        if fetched.plan != self.digest() || !is_name(&fetched.folder) || !folder.is_dir() {
            return Ok(None);
        }
        let entry = folder.join(&fetched.entry);
        let inside = entry.canonicalize().ok().zip(folder.canonicalize().ok());
        if !inside.is_some_and(|(entry, folder)| entry.starts_with(folder)) {
            return Ok(None);
        }
        let files = digests
            .of_folder(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let shown = entry.to_string_lossy().into_owned();
        let (program, arguments) = match fetched.by {
            None => (entry, Vec::new()),
            Some(Runner::Node) => (machine.find("node", None, None)?, vec![shown]),
            Some(Runner::Python) => (folder.join("venv/bin/python"), vec![shown]),
        };
        let others = match fetched.packages.saturating_sub(1) {
            0 => String::new(),
            1 => ", with one other".to_owned(),
            others => format!(", with {others} others"),
        };
        Ok(Some(Found {
            program,
            arguments,
            facts: vec![
                format!(
                    "it is the package {} {}{others}, fetched to {}",
                    fetched.package,
                    fetched.version,
                    folder.display()
                ),
                format!("whose integrity is {}", fetched.integrity),
            ],
            pinned: json!({
                "from": self.source,
                "name": fetched.package,
                "version": fetched.version,
                "integrity": fetched.integrity,
                "packages": fetched.packages,
                "entry": fetched.entry,
                "files": files,
            }),
        }))
    }

    /// Forgets what was fetched, so that it is fetched again.
    pub(crate) fn forget(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.place.join(RECORD)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Fetches it, confined to its own folder and the network; what was fetched, in words. What was
    /// there before goes once this is there. The errors are words for a person.
    ///
    /// Cancel safety: what was begun is ended, and nothing counts as fetched.
    pub(crate) async fn fetch(&self, machine: &Machine) -> Result<String, String> {
        let words = |error: std::io::Error| format!("{}: {error}", self.place.display());
        let mut making = std::fs::DirBuilder::new();
        making.mode(0o700).recursive(true);
        making.create(&self.place).map_err(words)?;
        let name = (1..u64::MAX)
            .map(|number| number.to_string())
            .find(|name| !self.place.join(name).exists())
            .unwrap_or_default();
        let folder = self.place.join(&name);
        making.create(folder.join("home")).map_err(words)?;
        let fetched = match self.source {
            Source::Npm => self.by_npm(&folder, machine).await,
            Source::Python => self.by_uv(&folder, machine).await,
        };
        for rest in ["home", ".cache"] {
            let _ = std::fs::remove_dir_all(folder.join(rest));
        }
        let fetched = fetched.and_then(|mut fetched| {
            fetched.folder.clone_from(&name);
            let text = serde_json::to_string(&fetched).map_err(|error| error.to_string())?;
            let new = folder.with_extension("json");
            std::fs::write(&new, text)
                .and_then(|()| std::fs::rename(&new, self.place.join(RECORD)))
                .map_err(words)?;
            Ok(fetched)
        });
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(why) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(format!(
                    "{} cannot be fetched: {why}",
                    self.packages.join(", ")
                ));
            }
        };
        for other in std::fs::read_dir(&self.place)
            .into_iter()
            .flatten()
            .flatten()
        {
            if other.path() != folder && other.path().is_dir() {
                let _ = std::fs::remove_dir_all(other.path());
            }
        }
        Ok(format!(
            "{} {} ({}) was fetched",
            fetched.package, fetched.version, fetched.integrity
        ))
    }
}
