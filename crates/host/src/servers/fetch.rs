//! Servers that `npx` and `uvx` would fetch anew at each start: fetched once instead, after a person
//! agreed to that, and run from there from then on, without anything that fetches.
//!
//! What is fetched here runs nothing of it: no scripts of packages, no builds. Which versions these are,
//! and with which checksums, is found out by that, so that a person can agree to exactly them. Not here:
//! who agrees, and when it is done.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::hex;
use crate::sandbox;
use crate::servers::digests::Digests;
use crate::servers::launch::Machine;

/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// So much of what a step said at last is kept for its error.
const WORDS: usize = 2_000;
/// What was fetched, beside where it is.
const RECORD: &str = "fetched.json";
/// Variables of the person that fetching needs to reach the network as they do.
const VARIABLES: [&str; 10] = [
    "PATH",
    "LANG",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

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

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    source: Source,
    packages: Vec<String>,
    command: Option<String>,
    python: Option<String>,
    /// The arguments of the server itself.
    rest: Vec<String>,
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

    async fn by_npm(&self, folder: &Path, machine: &Machine) -> Result<Fetched, String> {
        std::fs::write(folder.join("package.json"), r#"{"private":true}"#)
            .map_err(|error| error.to_string())?;
        let settings = match &self.settings {
            Some(settings) => settings.display().to_string(),
            None => "/dev/null".to_owned(),
        };
        let mut arguments: Vec<String> = [
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--no-progress",
            "--loglevel=error",
            "--omit=dev",
            "--prefix",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(folder.display().to_string());
        arguments.push("--cache".to_owned());
        arguments.push(folder.join(".cache").display().to_string());
        arguments.push("--userconfig".to_owned());
        arguments.push(settings);
        arguments.push("--".to_owned());
        arguments.extend(self.packages.iter().cloned());
        self.step(&self.program, &arguments, folder, machine)
            .await?;
        let lock = read(&folder.join("package-lock.json"))?;
        let all = lock.get("packages").and_then(Value::as_object);
        let all = all.ok_or("npm has written no lock file that can be read")?;
        let package = self.packages.first().map_or("", |spec| npm_name(spec));
        let place = format!("node_modules/{package}");
        let said = |name: &str| all.get(&place)?.get(name)?.as_str().map(str::to_owned);
        let (Some(version), Some(integrity)) = (said("version"), said("integrity")) else {
            return Err(format!("the registry gives no checksum of {package}"));
        };
        let own = read(&folder.join(&place).join("package.json"))?;
        let entry = npm_entry(&own, package, self.command.as_deref())?;
        let entry = Path::new(&place).join(entry);
        let head = std::fs::read(folder.join(&entry))
            .map_err(|error| format!("its program {} cannot be read: {error}", entry.display()))?;
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.get(..line.len().min(200)).unwrap_or_default());
        let by = (line.starts_with("#!") && line.contains("node")).then_some(Runner::Node);
        Ok(Fetched {
            plan: self.digest(),
            folder: String::new(),
            package: package.to_owned(),
            version,
            integrity,
            packages: all.len().saturating_sub(1),
            entry,
            by,
        })
    }

    async fn by_uv(&self, folder: &Path, machine: &Machine) -> Result<Fetched, String> {
        let place = |name: &str| folder.join(name).display().to_string();
        let asked = place("requirements.in");
        let lock = place("requirements.lock");
        std::fs::write(&asked, self.packages.join("\n")).map_err(|error| error.to_string())?;
        let python = place("venv/bin/python");
        let mut common = vec![
            "--quiet".to_owned(),
            "--cache-dir".to_owned(),
            place(".cache"),
        ];
        match &self.settings {
            Some(settings) => {
                common.push("--config-file".to_owned());
                common.push(settings.display().to_string());
            }
            None => common.push("--no-config".to_owned()),
        }
        let mut venv = vec!["venv".to_owned()];
        if let Some(version) = &self.python {
            venv.extend(["--python".to_owned(), version.clone()]);
        }
        venv.push(place("venv"));
        let compile = [
            "pip",
            "compile",
            "--generate-hashes",
            "--only-binary",
            ":all:",
            "--python",
            &python,
            "--output-file",
            &lock,
            &asked,
        ];
        let install = [
            "pip",
            "install",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--link-mode",
            "copy",
            "--compile-bytecode",
            "--python",
            &python,
            "--requirements",
            &lock,
        ];
        let compile = compile.map(str::to_owned).to_vec();
        let install = install.map(str::to_owned).to_vec();
        for mut arguments in [venv, compile, install] {
            arguments.extend(common.iter().cloned());
            self.step(&self.program, &arguments, folder, machine)
                .await?;
        }
        let locked = std::fs::read_to_string(&lock).map_err(|error| error.to_string())?;
        let pinned = || locked.lines().filter_map(|line| line.split_once("=="));
        let package = self.packages.first().map_or("", |spec| python_name(spec));
        let version = pinned()
            .find(|(name, _)| same_python_name(python_name(name), package))
            .and_then(|(_, version)| version.split([' ', ';', '\\']).next());
        let version = version.ok_or("uv has locked no version of it")?;
        let command = self.command.as_deref().unwrap_or(package);
        let entry = Path::new("venv/bin").join(command);
        if !folder.join(&entry).is_file() {
            return Err(format!("{package} {version} has no program {command}"));
        }
        Ok(Fetched {
            plan: self.digest(),
            folder: String::new(),
            package: package.to_owned(),
            version: version.to_owned(),
            // All checksums of all packages: those of one are many.
            integrity: format!(
                "sha256-{} of the lock",
                hex::text(&Sha256::digest(hashes(&locked)))
            ),
            packages: pinned().count(),
            entry,
            by: Some(Runner::Python),
        })
    }

    async fn step(
        &self,
        program: &Path,
        arguments: &[String],
        folder: &Path,
        machine: &Machine,
    ) -> Result<(), String> {
        let read: Vec<PathBuf> = self.settings.iter().cloned().collect();
        let mut profile = sandbox::profile(program, &[], &read, &[], true);
        profile.own.push(folder.to_owned());
        let mut command = tokio::process::Command::new(&machine.own);
        command
            .args(sandbox::order(Some(&profile)))
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("HOME", folder.join("home"))
            .env("UV_PYTHON_INSTALL_DIR", folder.join("python"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in VARIABLES {
            if let Some(value) = machine.environment.get(std::ffi::OsStr::new(name)) {
                command.env(name, value);
            }
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut said = Vec::new();
        let mut stderr = child.stderr.take();
        let run = async {
            let mut piece = [0; 4_096];
            while let Some(stderr) = &mut stderr {
                let count = stderr.read(&mut piece).await?;
                if count == 0 {
                    break;
                }
                said.extend_from_slice(piece.get(..count).unwrap_or_default());
                let over = said.len().saturating_sub(WORDS);
                said.drain(..over);
            }
            child.wait().await
        };
        let status = match tokio::time::timeout(PATIENCE, run).await {
            Ok(status) => status.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("it took longer than {} s", PATIENCE.as_secs())),
        };
        match status.success() {
            true => Ok(()),
            false => Err(match String::from_utf8_lossy(&said).trim() {
                "" => format!("{} failed ({status})", program.display()),
                said => said.to_owned(),
            }),
        }
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// `npx [-y] [-p PACKAGE] PACKAGE-OR-PROGRAM ARG…`
fn npx(arguments: &[String]) -> Option<Asked> {
    let mut arguments = arguments.iter();
    let mut packages = Vec::new();
    let first = loop {
        match arguments.next()?.as_str() {
            "-y" | "--yes" | "-q" | "--quiet" => {}
            "-p" | "--package" => packages.push(arguments.next()?.clone()),
            "--" => break arguments.next()?.as_str(),
            first => match first.strip_prefix("--package=") {
                Some(package) => packages.push(package.to_owned()),
                None if first.starts_with('-') => return None,
                None => break first,
            },
        }
    };
    let command = match packages.is_empty() {
        true => {
            packages.push(first.to_owned());
            None
        }
        false => Some(first.to_owned()),
    };
    let known = packages.iter().all(|spec| is_npm_spec(spec));
    (known && command.as_deref().is_none_or(is_name)).then(|| Asked {
        source: Source::Npm,
        packages,
        command,
        python: None,
        rest: arguments.cloned().collect(),
    })
}

/// `uvx [--from PACKAGE] [--with PACKAGE] [--python VERSION] PACKAGE-OR-PROGRAM ARG…`
fn uvx(arguments: &[String]) -> Option<Asked> {
    let mut arguments = arguments.iter();
    let (mut from, mut with, mut python) = (None, Vec::new(), None);
    let first = loop {
        let argument = arguments.next()?.as_str();
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
            _ => (argument, None),
        };
        let mut value = || match value {
            Some(value) => Some(value.to_owned()),
            None => arguments.next().cloned(),
        };
        match flag {
            "-q" | "--quiet" => {}
            "--from" => from = Some(value()?),
            "--with" | "-w" => with.push(value()?),
            "--python" | "-p" => python = Some(value()?),
            flag if flag.starts_with('-') => return None,
            _ => break argument,
        }
    };
    // `NAME@VERSION` is what `NAME==VERSION` is elsewhere.
    let requirement = |text: &str| match text.split_once('@') {
        Some((name, "latest")) => name.to_owned(),
        Some((name, version)) => format!("{name}=={version}"),
        None => text.to_owned(),
    };
    let (package, command) = match from {
        Some(from) => (requirement(&from), first.to_owned()),
        None => (requirement(first), python_name(first).to_owned()),
    };
    let mut packages = vec![package];
    packages.extend(with);
    let known = packages.iter().all(|spec| is_python_spec(spec));
    let plain = python.as_deref().is_none_or(is_name) && is_name(&command);
    (known && plain).then(|| Asked {
        source: Source::Python,
        packages,
        command: Some(command),
        python,
        rest: arguments.cloned().collect(),
    })
}

/// A name that is one of a file, and no flag.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = text.bytes().next();
    begins.is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(plain)
}

/// A package of the registry with a range of versions or a tag; no address, no folder, no alias.
fn is_npm_spec(spec: &str) -> bool {
    let name = npm_name(spec);
    let range = spec.get(name.len()..).unwrap_or_default();
    let name = match name.strip_prefix('@') {
        None => is_name(name),
        Some(scoped) => {
            let parts = scoped.split_once('/');
            parts.is_some_and(|(scope, name)| is_name(scope) && is_name(name))
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".^~<>=*| +_-@".contains(&byte);
    name && range != "@" && range.bytes().all(plain)
}

/// `@scope/name@1.2` without its version.
fn npm_name(spec: &str) -> &str {
    match spec.char_indices().skip(1).find(|(_, sign)| *sign == '@') {
        Some((end, _)) => spec.get(..end).unwrap_or_default(),
        None => spec,
    }
}

/// A package of the index with extras and versions; no address, no folder.
fn is_python_spec(spec: &str) -> bool {
    let name = python_name(spec);
    let rest = spec.get(name.len()..).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"[],.<>=!~*+_ -".contains(&byte);
    is_name(name) && rest.bytes().all(plain)
}

/// `name[extra]==1.2` without what follows the name.
fn python_name(spec: &str) -> &str {
    let ends = |sign: char| !(sign.is_ascii_alphanumeric() || "._-".contains(sign));
    spec.split(ends).next().unwrap_or_default()
}

/// The index holds these for the same.
fn same_python_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    plain(one) == plain(other)
}

/// Which program of a package is the server, as npm finds it.
fn npm_entry(own: &Value, package: &str, command: Option<&str>) -> Result<PathBuf, String> {
    let short = package.rsplit('/').next().unwrap_or(package);
    let found = match own.get("bin") {
        Some(Value::String(path)) if command.is_none_or(|command| command == short) => Some(path),
        Some(Value::Object(programs)) => {
            let only = programs.values().next().filter(|_| programs.len() == 1);
            let named = match command {
                Some(command) => programs.get(command),
                None => only.or_else(|| programs.get(short)),
            };
            match named {
                Some(Value::String(path)) => Some(path),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(found) = found else {
        let command = command.unwrap_or(short);
        return Err(format!("the package {package} has no program {command}"));
    };
    let path = Path::new(found);
    let stays = path.components().all(|part| {
        use std::path::Component::{CurDir, Normal};
        matches!(part, CurDir | Normal(_))
    });
    match stays {
        true => Ok(path.to_owned()),
        false => Err(format!("the program of {package} lies outside of it")),
    }
}

/// What a lock file locks, without its comments.
fn hashes(locked: &str) -> String {
    let lines = locked.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    lines.join("\n")
}
