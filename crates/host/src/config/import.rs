//! What it would take to bring the servers of other apps into our own file: a plan that a person looks
//! at, made of values alone. Nothing here reads or writes.
//!
//! Values are written anew in our own rules, so that they mean what they meant. What looks like a
//! secret and stands in the file in plain text is taken out, to be kept in a file of its own.

use std::collections::BTreeMap;

use crate::config::expand::translate;
use crate::config::{Dialect, Entry, Launch, Place, Scope};

/// A server that would be added.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its name in our file.
    pub name: String,
    /// Its name where it comes from.
    pub from_name: String,
    /// Where it comes from.
    pub from: Place,
    /// What would be written, in our own rules.
    pub launch: Launch,
    /// It is to be used.
    pub enabled: bool,
    /// Folders among its arguments: it may read these. To change what is in them is for a person to add.
    pub roots: Vec<String>,
    /// Secrets that would be taken out of it: the file to keep each in, and what it is.
    pub secrets: BTreeMap<String, Secret>,
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, to be written where only its owner reads.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What would be added.
    pub add: Vec<Planned>,
    /// What is there already, or comes from several files: its name in our file, and where it was found
    /// too.
    pub same: Vec<(String, Place)>,
}

/// Where secrets are kept, below the folder of our file.
pub const SECRETS: &str = "secrets";

/// Words in the names of variables and headers that hold secrets.
const TELLING: [&str; 10] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "KEY",
    "CREDENTIAL",
    "AUTH",
    "COOKIE",
    "PRIVATE",
    "SESSION",
];

/// Plans to bring what was found into our own file, which holds `own`; `kept` gives what is in a file
/// of secrets, and `is_folder` says whether a text is the path of a folder that a server may have. Files that come first give the names. What a workspace asks for stays where it is: it
/// may be somebody else's word.
pub fn plan(
    found: &[(Place, Vec<Entry>)],
    own: &[Entry],
    kept: &dyn Fn(&str) -> Option<String>,
    is_folder: &dyn Fn(&str) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    // Whole, so that the same server in another file is known again.
    let mut taken: BTreeMap<String, Launch> = own
        .iter()
        .map(|entry| (entry.name.clone(), with_secrets(&entry.launch, kept)))
        .collect();
    let found = found.iter().filter(|(place, _)| place.scope == Scope::User);
    for (place, entries) in found {
        for entry in entries {
            let whole = ours(entry);
            if let Some((name, _)) = taken.iter().find(|(_, there)| **there == whole) {
                plan.same.push((name.clone(), place.clone()));
                continue;
            }
            let name = free_name(&entry.name, place.dialect, &taken);
            let mut secrets = BTreeMap::new();
            let launch = take_secrets(whole.clone(), &name, &mut secrets);
            taken.insert(name.clone(), whole);
            let arguments = match &launch {
                Launch::Command { arguments, .. } => arguments.as_slice(),
                Launch::Remote { .. } => &[],
            };
            let roots = arguments.iter().filter(|argument| is_folder(argument));
            let roots = roots.cloned().collect();
            plan.add.push(Planned {
                name,
                from_name: entry.name.clone(),
                from: place.clone(),
                launch,
                enabled: entry.enabled,
                roots,
                secrets,
            });
        }
    }
    plan
}

/// The launch in our own rules.
fn ours(entry: &Entry) -> Launch {
    let put = |text: &str| translate(entry.dialect, text);
    let all = |texts: &[String]| texts.iter().map(|text| put(text)).collect();
    // What an app does not look through is as it stands.
    let plain = |text: &String| match entry.dialect {
        Dialect::VsCode | Dialect::Compere => put(text),
        _ => translate(Dialect::ClaudeDesktop, text),
    };
    match &entry.launch {
        Launch::Command {
            program,
            arguments,
            environment,
            environment_file,
            folder,
        } => Launch::Command {
            program: put(program),
            arguments: all(arguments),
            environment: environment
                .iter()
                .map(|(name, value)| (name.clone(), value.as_deref().map(put)))
                .collect(),
            environment_file: environment_file.as_ref().map(plain),
            folder: folder.as_ref().map(plain),
        },
        Launch::Remote { url, headers } => Launch::Remote {
            url: put(url),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), put(value)))
                .collect(),
        },
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    TELLING.iter().any(|word| name.contains(word)) && !value.is_empty() && !value.contains("${")
}

/// Takes the secrets out, leaving what refers to them.
fn take_secrets(launch: Launch, server: &str, secrets: &mut BTreeMap<String, Secret>) -> Launch {
    let mut taken = BTreeMap::new();
    let launch = with_values(launch, |name, value| {
        if !is_secret(name, &value) {
            return value;
        }
        let file = format!("{SECRETS}/{}.{}", plain_name(server), plain_name(name));
        // A scheme such as `Bearer` is no secret, and says what the rest is.
        let (scheme, secret) = match value.split_once(' ') {
            Some((scheme, secret)) if name.eq_ignore_ascii_case("authorization") => {
                (format!("{scheme} "), secret)
            }
            _ => (String::new(), value.as_str()),
        };
        taken.insert(file.clone(), Secret(secret.to_owned()));
        format!("{scheme}${{file:{file}}}")
    });
    secrets.append(&mut taken);
    launch
}

/// The launch with the secrets that are kept in files in their places.
fn with_secrets(launch: &Launch, kept: &dyn Fn(&str) -> Option<String>) -> Launch {
    with_values(launch.clone(), |_, value| {
        let file = value
            .split_once("${file:")
            .and_then(|(before, rest)| Some((before, rest.strip_suffix('}')?)));
        match file.and_then(|(before, file)| Some((before, kept(file)?))) {
            Some((before, secret)) => format!("{before}{secret}"),
            None => value,
        }
    })
}

/// The launch with other values of variables or headers.
fn with_values(launch: Launch, mut put: impl FnMut(&str, String) -> String) -> Launch {
    match launch {
        Launch::Command {
            program,
            arguments,
            environment,
            environment_file,
            folder,
        } => Launch::Command {
            environment: environment
                .into_iter()
                .map(|(name, value)| {
                    let value = value.map(|value| put(&name, value));
                    (name, value)
                })
                .collect(),
            program,
            arguments,
            environment_file,
            folder,
        },
        Launch::Remote { url, headers } => Launch::Remote {
            headers: headers
                .into_iter()
                .map(|(name, value)| {
                    let value = put(&name, value);
                    (name, value)
                })
                .collect(),
            url,
        },
    }
}

/// A name for a file: letters, digits, `-` and `_`.
fn plain_name(name: &str) -> String {
    let plain = |letter: char| match letter {
        '-' | '_' => letter,
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    name.chars().map(plain).collect()
}

/// The name, or one that says where it comes from, or a numbered one.
fn free_name(name: &str, dialect: Dialect, taken: &BTreeMap<String, Launch>) -> String {
    if !taken.contains_key(name) {
        return name.to_owned();
    }
    let app = dialect.app().to_lowercase().replace(' ', "-");
    let named = format!("{name}-{app}");
    let numbered = (2_u32..).map(|number| format!("{named}-{number}"));
    std::iter::once(named.clone())
        .chain(numbered)
        .find(|name| !taken.contains_key(name))
        .unwrap_or(named)
}
