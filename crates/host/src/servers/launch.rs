//! From what a file asks for to what would be started: everything resolved, found and digested, in a
//! form that a person can be shown and that can be held against what they approved.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::config::{Entry, Launch, Surroundings, Unresolved};
use crate::hex;
use crate::pins::{self, Item, Kind};
use crate::sandbox::{self, Profile};
use crate::servers::digests::Digests;
use crate::servers::fetch::Plan;
use crate::servers::hosts::Named;
use crate::servers::launch_item;

/// What the host knows of the machine, given by whoever runs it.
pub struct Machine {
    /// Our own program, which is the launcher too.
    pub own: PathBuf,
    /// The environment of the host; servers get little of it.
    pub environment: BTreeMap<OsString, OsString>,
    /// The home of the person.
    pub home: Option<PathBuf>,
    /// The folder of our file: what stands in it is relative to that.
    pub folder: PathBuf,
    /// Places that no server is ever given: state and settings of the host.
    pub secret: Vec<PathBuf>,
    /// The host runs as root, and so would its servers.
    pub is_root: bool,
    /// Whoever started the host said that they may.
    pub may_be_root: bool,
    /// Where servers that fetch what they run may keep that, each in a folder of its own.
    pub cache: Option<PathBuf>,
}

/// A server as it would be started or reached.
#[derive(Debug, Clone)]
pub struct Launching {
    /// How.
    pub way: Way,
    /// What is pinned of it: no secret stands in it.
    pub pinned: Value,
    /// The digest of that.
    pub digest: pins::Digest,
    /// What a person is shown: facts, one a line.
    pub facts: Vec<String>,
    /// What a person is to know before they agree.
    pub warnings: Vec<String>,
    /// The name by which it is one of ours, if it is.
    pub own: Option<String>,
    /// What its program was or is to be fetched by, if it is one that is fetched.
    pub fetched: Option<Plan>,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Way {
    /// By starting a program.
    Program(Program),
    /// At an address.
    Remote {
        /// The address.
        url: String,
        /// What is sent with every request.
        headers: BTreeMap<String, String>,
    },
    /// By fetching a program first.
    Fetch(Plan),
}

impl Launching {
    /// What a person approves by approving this.
    pub fn item(&self) -> Item {
        match &self.way {
            Way::Fetch(_) => fetch_item(),
            Way::Program(_) | Way::Remote { .. } => launch_item(),
        }
    }
}

/// That something is fetched, as an item.
fn fetch_item() -> Item {
    Item::new(Kind::Fetch, "")
}

/// A program that is started.
#[derive(Clone)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its variables, besides those that every server gets.
    pub environment: BTreeMap<String, Option<String>>,
    /// Where it is started.
    pub folder: Option<PathBuf>,
    /// What it may touch; `None` for all that the person may.
    pub profile: Option<Profile>,
    /// Its folders.
    pub roots: Vec<PathBuf>,
    /// The hosts that it may reach, where it may not use the network.
    pub hosts: Vec<Named>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("path", &self.path)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Programs that run what they are given.
const INTERPRETERS: [&str; 12] = [
    "node", "deno", "bun", "python", "python3", "ruby", "perl", "sh", "bash", "zsh", "php", "java",
];
/// Programs that fetch what they run.
const FETCHERS: [&str; 8] = ["npx", "npm", "pnpx", "pnpm", "yarn", "bunx", "uvx", "pipx"];

/// What would be started for an entry. The errors are words for a person.
pub fn launching(
    entry: &Entry,
    machine: &Machine,
    surroundings: &Surroundings<'_>,
    digests: &Digests,
    key: &[u8; 32],
) -> Result<Launching, String> {
    let (launch, unresolved) = entry.launch.resolve(entry.dialect, surroundings);
    if let Some(missing) = unresolved.first() {
        return Err(match missing {
            Unresolved::Variable(name) if surroundings.workspace.is_some() => format!(
                "it wants your variable {name}, which a folder cannot ask for: name the server in your own file"
            ),
            Unresolved::Variable(name) => format!("the variable {name} is not set"),
            Unresolved::Input(id) => {
                format!("the input {id} was not answered yet: compere secret set input:{id}")
            }
            Unresolved::Secret(name) => {
                format!("there is no secret {name}: compere secret set {name}")
            }
            Unresolved::File(path) => {
                format!("the file {path} cannot be read, or is open to others")
            }
            other => format!("it cannot be resolved: {other:?}"),
        });
    }
    let found = match (&launch, &entry.launch) {
        (Launch::Remote { url, headers }, Launch::Remote { url: written, .. }) => {
            Ok(remote(written, url, headers, key))
        }
        (Launch::Command { .. }, _) => program(entry, launch, machine, surroundings, digests, key),
        _ => Err("it cannot be resolved".to_owned()),
    };
    let mut found = found?;
    if let Some(workspace) = surroundings.workspace {
        let words = format!(
            "asked for by the folder {}, not by you",
            workspace.display()
        );
        found.facts.insert(0, words);
        if let Value::Object(members) = &mut found.pinned {
            members.insert("workspace".to_owned(), json!(workspace));
        }
        found.digest = pins::digest(&found.item(), &found.pinned);
    }
    found
        .warnings
        .extend(entry.notes.iter().map(ToString::to_string));
    Ok(found)
}

fn remote(
    written: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
    key: &[u8; 32],
) -> Launching {
    let values: BTreeMap<&String, String> = headers
        .iter()
        .map(|(name, value)| (name, keyed(key, value)))
        .collect();
    let mut facts = vec![format!("reached at {written}")];
    if !headers.is_empty() {
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        facts.push(format!("sends the headers {}", names.join(", ")));
    }
    let pinned = json!({"url": written, "to": keyed(key, url), "headers": values});
    Launching {
        way: Way::Remote {
            url: url.to_owned(),
            headers: headers.clone(),
        },
        digest: pins::digest(&launch_item(), &pinned),
        pinned,
        facts,
        warnings: vec![
            "it runs elsewhere: it cannot be confined, and can change any time".to_owned(),
        ],
        own: None,
        fetched: None,
    }
}

fn program(
    entry: &Entry,
    launch: Launch,
    machine: &Machine,
    surroundings: &Surroundings<'_>,
    digests: &Digests,
    key: &[u8; 32],
) -> Result<Launching, String> {
    let Launch::Command {
        program,
        arguments,
        mut environment,
        environment_file,
        folder,
    } = launch
    else {
        return Err("it is no program".to_owned());
    };
    if let Some(file) = environment_file {
        let path = machine.place(&file);
        let inside = |folder: &Path| {
            let (path, folder) = (path.canonicalize(), folder.canonicalize());
            path.is_ok_and(|path| folder.is_ok_and(|folder| path.starts_with(folder)))
        };
        if !surroundings.workspace.is_none_or(inside) {
            return Err(format!(
                "{} does not lie in the folder that asks for it",
                path.display()
            ));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        for (name, value) in variables(&text) {
            environment.entry(name).or_insert(Some(value));
        }
    }
    let folder = folder.map(|folder| machine.place(&folder));
    let mut path = machine.find(&program, environment.get("PATH"), folder.as_deref())?;
    let given = arguments;
    let mut arguments = given.clone();
    // What would be fetched at each start is fetched once, and run from there.
    let handle = crate::naming::handle(&entry.name);
    let mut package = None;
    let mut fetched = None;
    // The arguments that are the server's own.
    let mut own_arguments = given.join("\0");
    if let Some((plan, rest)) = Plan::of(&path, &given, &handle, machine) {
        let Some(found) = plan.found(machine, digests)? else {
            return to_fetch(plan, digests);
        };
        own_arguments = rest.join("\0");
        path = found.program;
        arguments = found.arguments;
        arguments.extend(rest);
        package = Some((found.pinned, found.facts));
        fetched = Some(plan);
    }
    let settings = &entry.settings;
    if machine.is_root && !machine.may_be_root && !settings.root {
        return Err(
            "it would run as root: start the host as another user, or say \"root\": true in its entry"
                .to_owned(),
        );
    }
    let place = |text: &String| {
        let text = crate::config::expand::expand(entry.dialect, text, surroundings).text;
        let path = machine.place(&text);
        let path = path
            .canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        // Whoever can change what people agreed to needs no consent.
        let covers = |secret: &PathBuf| secret.starts_with(&path) || path.starts_with(secret);
        match machine.secret.iter().any(covers) {
            true => Err(format!(
                "{} holds the settings or the state of the host, which no server is given",
                path.display()
            )),
            false => Ok(path),
        }
    };
    let roots: Vec<PathBuf> = settings.roots.iter().map(place).collect::<Result<_, _>>()?;
    let mut read: Vec<PathBuf> = settings.read.iter().map(place).collect::<Result<_, _>>()?;
    let write = match settings.write {
        true => roots.clone(),
        false => {
            read.extend(roots.iter().cloned());
            Vec::new()
        }
    };
    let files: Vec<PathBuf> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-') && argument.contains(['/', '.']))
        .map(|argument| match &folder {
            Some(folder) => folder.join(argument),
            None => PathBuf::from(argument),
        })
        .filter(|path| path.is_absolute() && path.is_file())
        .take(4)
        .collect();
    let mut profile = (!settings.unconfined)
        .then(|| sandbox::profile(&path, &files, &read, &write, settings.network));
    if let Some(profile) = &mut profile {
        profile.namespaces =
            !settings.without_namespaces && sandbox::namespaces_are_there(&machine.own);
        if !profile.namespaces && !settings.hosts.is_empty() {
            return Err(
                "it may reach some hosts and no others, which is kept only where it has a network of its own: not here"
                    .to_owned(),
            );
        }
        profile.hosts = settings.hosts.iter().map(ToString::to_string).collect();
    }
    // Who fetches needs a place to keep it; a home of its own is one that holds nothing else.
    let is_fetcher = |name: &str| FETCHERS.contains(&name);
    let fetches = path
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(is_fetcher);
    let cache = machine
        .cache
        .as_ref()
        .filter(|_| fetches && settings.network);
    if let (Some(cache), Some(profile)) = (cache, &mut profile) {
        let home = cache.join(&handle);
        environment
            .entry("HOME".to_owned())
            .or_insert_with(|| Some(home.to_string_lossy().into_owned()));
        profile.own.push(home);
    }
    let own = machine
        .is_own(&path)
        .then(|| own_name(&arguments))
        .flatten();
    // What stands for something else is shown as it stands: it may be a secret.
    let written = match &entry.launch {
        Launch::Command { arguments, .. } => arguments.clone(),
        Launch::Remote { .. } => Vec::new(),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());

    let mut pinned = json!({
        "program": path,
        "arguments": written,
        "given": keyed(key, &own_arguments),
        "folder": folder,
        "roots": roots,
        "write": settings.write,
        "read": settings.read,
        "network": settings.network,
        "unconfined": settings.unconfined,
        "namespaces": !settings.without_namespaces,
        "shared": settings.shared,
        "environment": environment.iter().map(|(name, value)| {
            (name.clone(), value.as_deref().map(|value| keyed(key, value)))
        }).collect::<BTreeMap<_, _>>(),
    });
    let mut digested = BTreeMap::new();
    // Ours is what is running already.
    if own.is_none() {
        for file in std::iter::once(&real).chain(&files) {
            let digest = digests
                .of(file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            digested.insert(file.display().to_string(), digest);
        }
    }
    if package.is_some() {
        // The package says what is in it, wherever it lies.
        digested.retain(|path, _| *path == real.display().to_string());
    }
    if let Value::Object(members) = &mut pinned {
        if let (Some(profile), false) = (&profile, settings.hosts.is_empty()) {
            members.insert("hosts".to_owned(), json!(profile.hosts));
        }
        if machine.is_root {
            members.insert("root".to_owned(), json!(true));
        }
        members.insert("digests".to_owned(), json!(digested));
        if let Some((package, _)) = &package {
            members.insert("package".to_owned(), package.clone());
        }
    }

    let mut facts = vec![format!("runs {}", path.display())];
    if real != path {
        facts.push(format!("which is {}", real.display()));
    }
    facts.extend(package.into_iter().flat_map(|(_, facts)| facts));
    for argument in &written {
        facts.push(format!("  argument {argument}"));
    }
    if let Some(folder) = &folder {
        facts.push(format!("in {}", folder.display()));
    }
    if !environment.is_empty() {
        let names: Vec<&str> = environment.keys().map(String::as_str).collect();
        facts.push(format!("gets the variables {}", names.join(", ")));
    }
    let mut warnings = Vec::new();
    if let Some(profile) = &profile {
        let given = arguments.iter().map(Path::new);
        let folders = given.filter(|path| path.is_absolute() && path.is_dir());
        warnings.extend(folders.filter(|path| !profile.covers(path)).map(|path| {
            format!(
                "it is told of {}, which it cannot read: say so in \"roots\" if it should",
                path.display()
            )
        }));
    }
    if machine.is_root {
        warnings.push(match settings.unconfined {
            true => "it runs as root, and nothing is kept from it".to_owned(),
            false => "it runs as root, though without the privileges of root".to_owned(),
        });
    }
    if written != given {
        warnings.push(
            "its arguments hold values from elsewhere, which all programs of this machine can read"
                .to_owned(),
        );
    }
    match &profile {
        Some(profile) => {
            facts.extend(confined(profile, &roots));
            if !profile.namespaces {
                let why = match settings.without_namespaces {
                    true => "as your file says",
                    false => "because this system gives it none",
                };
                let more = match profile.changes_marks() {
                    true => ", and change the rights and times of any file of yours",
                    false => "",
                };
                warnings.push(format!(
                    "it has no world of its own, {why}: it can see which files there are, how large they are and when they changed{more}"
                ));
            }
        }
        None => warnings.push(
            "it is not confined: it can read and change all that you can, and answer as you"
                .to_owned(),
        ),
    }
    if fetches {
        warnings.push(format!(
            "{name} fetches code from the network at each start: what runs tomorrow need not be what runs today"
        ));
        if profile
            .as_ref()
            .is_some_and(|profile| profile.own.is_empty())
        {
            warnings.push(
                "confined as it is here, it cannot fetch anything: say \"network\": true, or install the server and name its own program"
                    .to_owned(),
            );
        }
    } else if INTERPRETERS.iter().any(|known| name.starts_with(known)) && files.is_empty() {
        warnings.push(format!(
            "{name} runs what its arguments say; only these are held against what you approve"
        ));
    }
    Ok(Launching {
        way: Way::Program(Program {
            path,
            arguments,
            environment,
            folder,
            profile,
            roots,
            hosts: settings.hosts.clone(),
        }),
        digest: pins::digest(&launch_item(), &pinned),
        pinned,
        facts,
        warnings,
        own,
        fetched,
    })
}

/// A server whose program is not there yet.
fn to_fetch(plan: Plan, digests: &Digests) -> Result<Launching, String> {
    let pinned = plan.pinned(digests)?;
    Ok(Launching {
        facts: plan.facts(),
        digest: pins::digest(&fetch_item(), &pinned),
        pinned,
        fetched: Some(plan.clone()),
        way: Way::Fetch(plan),
        warnings: Vec::new(),
        own: None,
    })
}

/// What a confined server may touch, in words.
pub fn confined(profile: &Profile, roots: &[PathBuf]) -> Vec<String> {
    let list = |paths: &[PathBuf]| {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        paths.join(", ")
    };
    let mut facts = Vec::new();
    match roots {
        [] => facts.push("has no folder to work in".to_owned()),
        roots => facts.push(format!("works in {}", list(roots))),
    }
    match profile.write.as_slice() {
        [] => facts.push("can change no file".to_owned()),
        write => facts.push(format!("can change what is in {}", list(write))),
    }
    for home in &profile.own {
        facts.push(format!("keeps what it fetches in {}", home.display()));
    }
    facts.push(match (profile.network, profile.hosts.as_slice()) {
        (true, _) => "can use the network".to_owned(),
        (false, []) => "cannot use the network".to_owned(),
        (false, hosts) => format!("can reach {} and no other host", hosts.join(", ")),
    });
    if profile.namespaces {
        facts.push("sees no other files and no other processes".to_owned());
    }
    facts
}

impl Machine {
    /// A path of our file.
    pub fn place(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), text, &self.home) {
            (Some(rest), _, Some(home)) => home.join(rest),
            (None, "~", Some(home)) => home.clone(),
            _ => self.folder.join(text),
        }
    }

    /// Finds a program by the rules of the system.
    pub(super) fn find(
        &self,
        program: &str,
        path: Option<&Option<String>>,
        folder: Option<&Path>,
    ) -> Result<PathBuf, String> {
        let is_program = |path: &Path| {
            let metadata = path.metadata();
            metadata.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        if program.contains('/') {
            let place = match folder {
                Some(folder) if !program.starts_with(['/', '~']) => folder.join(program),
                _ => self.place(program),
            };
            return match is_program(&place) {
                true => Ok(place),
                false => Err(format!("{} is no program", place.display())),
            };
        }
        let path = match path {
            Some(path) => path.clone().unwrap_or_default().into(),
            None => self
                .environment
                .get(&OsString::from("PATH"))
                .cloned()
                .unwrap_or_default(),
        };
        let found = std::env::split_paths(&path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(program))
            .find(|path| is_program(path));
        if found.is_none() && program == "compere" {
            return Ok(self.own.clone());
        }
        found.ok_or_else(|| format!("there is no program {program:?} in PATH"))
    }

    fn is_own(&self, path: &Path) -> bool {
        let of = |path: &Path| path.metadata().map(|data| (data.dev(), data.ino())).ok();
        of(path).is_some() && of(path) == of(&self.own)
    }
}

/// `compere serve NAME …`: one of ours.
fn own_name(arguments: &[String]) -> Option<String> {
    match arguments {
        [serve, name, ..] if serve == "serve" => Some(name.clone()),
        _ => None,
    }
}

/// `NAME=value` lines, as those files are written.
fn variables(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let value = value.trim();
        let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        (!name.is_empty() && !name.starts_with('#')).then(|| (name.to_owned(), value.to_owned()))
    })
}

/// A digest of a secret that tells nothing without our key.
pub(crate) fn keyed(key: &[u8; 32], text: &str) -> String {
    match <Hmac<Sha256>>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(text.as_bytes());
            hex::text(&mac.finalize().into_bytes())
        }
        Err(_) => String::new(),
    }
}
