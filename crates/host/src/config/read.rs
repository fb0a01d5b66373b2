//! Reads a file of servers: what it asks for, what of it is not understood, and what of it grants
//! nothing here.
//!
//! Comments and commas too many are fine in every file, since some apps write them. Nothing is left
//! out in silence: what is not read is noted beside its server, what is wrong is a fault of the file
//! or of one server, and the others are read all the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::expand::expand;
use crate::config::jsonc;
use crate::config::others;
use crate::config::settings::{MEMBERS, Settings};
use crate::config::{Dialect, Place, Surroundings, Unresolved};

/// A file larger than this is no file of servers.
pub const FILE_BYTES: usize = 1024 * 1024;
/// More servers than this are left out, and that is said.
pub const SERVERS: usize = 256;
/// Longest name of a server.
const NAME_CHARACTERS: usize = 128;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Read {
    /// The servers that it asks for, by name.
    pub entries: Vec<Entry>,
    /// What it wants to know from the person, once.
    pub inputs: Vec<Input>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// One server as a file asks for it. Values are as they are written: they may stand for secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name in the file.
    pub name: String,
    /// By whose rules its values are read.
    pub dialect: Dialect,
    /// How it is reached.
    pub launch: Launch,
    /// The file says whether it is to be used.
    pub enabled: bool,
    /// What of it is read otherwise than its app would.
    pub notes: Vec<Note>,
    /// What only our own file says of it.
    pub settings: Settings,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// A program that is started.
    Command {
        /// The program: a name to be found, or a path.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Variables that it gets; `None` takes one away.
        environment: BTreeMap<String, Option<String>>,
        /// A file with more of them.
        environment_file: Option<String>,
        /// Where it is started.
        folder: Option<String>,
    },
    /// A server at an address.
    Remote {
        /// The address.
        url: String,
        /// What is sent with every request.
        headers: BTreeMap<String, String>,
    },
}

impl Launch {
    /// Everything in its place, by the rules of the dialect, and what could not be resolved: with any
    /// of that the server is not to be started.
    pub fn resolve(
        &self,
        dialect: Dialect,
        surroundings: &Surroundings<'_>,
    ) -> (Self, Vec<Unresolved>) {
        let mut unresolved = Vec::new();
        let mut put = |text: &str| {
            let expanded = expand(dialect, text, surroundings);
            unresolved.extend(expanded.unresolved);
            expanded.text
        };
        // Only some look through these.
        let folders_too = matches!(dialect, Dialect::VsCode | Dialect::Compere);
        let resolved = match self {
            Self::Command {
                program,
                arguments,
                environment,
                environment_file,
                folder,
            } => Self::Command {
                program: put(program),
                arguments: arguments.iter().map(|argument| put(argument)).collect(),
                environment: environment
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_deref().map(&mut put)))
                    .collect(),
                environment_file: match folders_too {
                    true => environment_file.as_deref().map(&mut put),
                    false => environment_file.clone(),
                },
                folder: match folders_too {
                    true => folder.as_deref().map(&mut put),
                    false => folder.clone(),
                },
            },
            Self::Remote { url, headers } => Self::Remote {
                url: put(url),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.clone(), put(value)))
                    .collect(),
            },
        };
        unresolved.sort();
        unresolved.dedup();
        (resolved, unresolved)
    }
}

/// Something that a file wants to know from the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// How values refer to it.
    pub id: String,
    /// What the file says that it is.
    pub description: String,
    /// It is a secret.
    pub secret: bool,
    /// What may be answered; empty for anything.
    pub options: Vec<String>,
    /// What is proposed.
    pub default: Option<String>,
}

/// What is read otherwise than the app of the file would.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// This member is not read here.
    NotRead(String),
    /// This member gives leave in its app. Here it grants nothing.
    GrantsNothing(String),
    /// The server wants its client to sign in, which is not supported yet.
    SignIn(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRead(member) => write!(f, "`{member}` is not read here"),
            Self::GrantsNothing(member) => {
                write!(
                    f,
                    "`{member}` gives leave elsewhere; here it grants nothing"
                )
            }
            Self::SignIn(member) => {
                write!(
                    f,
                    "it wants you to sign in (`{member}`), which is not supported yet"
                )
            }
        }
    }
}

/// What is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The server that it is about; `None` for the file.
    pub server: Option<String>,
    /// What, and what to do.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "{server}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// What members of a server give leave in their apps.
const LEAVES: [&str; 8] = [
    "alwaysAllow",
    "autoApprove",
    "trust",
    "alwaysLoad",
    "autoStart",
    "approval_mode",
    "default_tools_approval_mode",
    "gallery",
];

/// Reads a file. In `~/.claude.json` the servers of `workspace` are those that the person keeps for it.
pub fn read(text: &str, place: &Place, workspace: Option<&Path>) -> Read {
    let mut found = Read::default();
    if text.len() > FILE_BYTES {
        found.fault(format!("the file is larger than {FILE_BYTES} bytes"));
        return found;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if place.dialect.is_brought_over() {
        match others::servers(place.dialect, text) {
            Ok(None) => {}
            Ok(Some(servers)) => found.all(&servers, Dialect::Compere, false),
            Err(why) => found.fault(why),
        }
        return found;
    }
    let file = match jsonc::parse(text) {
        Ok(Some(Value::Object(file))) => file,
        Ok(None) => return found,
        Ok(Some(_)) => {
            found.fault("the file holds no object");
            return found;
        }
        Err(error) => {
            found.fault(format!("the file is no JSON: {error}"));
            return found;
        }
    };
    found.file(&file, place.dialect);
    let is_shared = place
        .path
        .file_name()
        .is_some_and(|name| name == ".mcp.json");
    if is_shared && file.contains_key("servers") {
        found.servers(&file, Dialect::VisualStudio);
    }
    if let (Dialect::ClaudeCode, Some(workspace)) = (place.dialect, workspace)
        && let Some(projects) = file.get("projects").and_then(Value::as_object)
        && let Some(own) = projects.get(&*workspace.to_string_lossy())
        && let Some(own) = own.as_object()
    {
        found.servers(own, Dialect::ClaudeCode);
    }
    found
}

impl Read {
    fn fault(&mut self, why: impl Into<String>) {
        self.faults.push(Fault {
            server: None,
            why: why.into(),
        });
    }

    fn file(&mut self, file: &Map<String, Value>, dialect: Dialect) {
        self.inputs(file);
        self.servers(file, dialect);
        let other = match dialect.servers_key() {
            "servers" => "mcpServers",
            _ => "servers",
        };
        // `.mcp.json` may have either; everywhere else the other name is a slip.
        if dialect != Dialect::ClaudeCode
            && file.contains_key(other)
            && !file.contains_key(dialect.servers_key())
        {
            let expected = dialect.servers_key();
            self.fault(format!(
                "the servers stand under `{other}`; {} reads `{expected}`",
                dialect.app()
            ));
        }
    }

    fn servers(&mut self, file: &Map<String, Value>, dialect: Dialect) {
        let servers = match file.get(dialect.servers_key()) {
            None | Some(Value::Null) => return,
            Some(Value::Object(servers)) => servers,
            Some(_) => {
                self.fault(format!("`{}` is no object", dialect.servers_key()));
                return;
            }
        };
        self.all(servers, dialect, dialect == Dialect::Compere);
    }

    /// All servers of an object; `is_own` says that what only our own file says is read too.
    fn all(&mut self, servers: &Map<String, Value>, dialect: Dialect, is_own: bool) {
        for (name, value) in servers {
            if self.entries.len() >= SERVERS {
                self.fault(format!(
                    "there are more than {SERVERS} servers; the rest is left out"
                ));
                return;
            }
            let entry = match value {
                Value::Object(value) => entry(name, value, dialect, is_own),
                _ => Err("it is no object".to_owned()),
            };
            match entry {
                Ok(entry) => self.entries.push(entry),
                Err(why) => self.faults.push(Fault {
                    server: Some(shown(name)),
                    why,
                }),
            }
        }
    }

    fn inputs(&mut self, file: &Map<String, Value>) {
        let Some(inputs) = file.get("inputs").and_then(Value::as_array) else {
            return;
        };
        for input in inputs {
            let text = |key: &str| input.get(key).and_then(Value::as_str);
            let Some(id) = text("id") else {
                self.fault("an input has no id");
                continue;
            };
            if text("type") == Some("command") {
                self.fault(format!(
                    "the input {} runs a command of the editor, which is not done here",
                    shown(id)
                ));
                continue;
            }
            let options = input.get("options").and_then(Value::as_array);
            let options = options.into_iter().flatten().filter_map(|option| {
                let value = option.get("value").unwrap_or(option);
                value.as_str().map(str::to_owned)
            });
            self.inputs.push(Input {
                id: id.to_owned(),
                description: text("description").unwrap_or_default().to_owned(),
                secret: input.get("password") == Some(&Value::Bool(true)),
                options: options.collect(),
                default: text("default").map(str::to_owned),
            });
        }
    }
}

fn entry(
    name: &str,
    value: &Map<String, Value>,
    dialect: Dialect,
    is_own: bool,
) -> Result<Entry, String> {
    let ill = |character: char| character.is_control();
    if name.trim().is_empty() || name.chars().count() > NAME_CHARACTERS || name.chars().any(ill) {
        return Err(format!(
            "a name has 1 to {NAME_CHARACTERS} characters that can be seen"
        ));
    }
    let mut members = Members {
        value,
        seen: vec!["description"],
    };
    let launch = launch(&mut members)?;
    let disabled = members.flag("disabled")?.unwrap_or(false);
    let enabled = members.flag("enabled")?.unwrap_or(true) && !disabled;
    let settings = match is_own {
        true => {
            members.seen.extend(MEMBERS);
            Settings::of(value)?
        }
        false => Settings::default(),
    };
    Ok(Entry {
        name: name.to_owned(),
        dialect,
        launch,
        enabled,
        notes: members.notes(),
        settings,
    })
}

fn launch(members: &mut Members<'_>) -> Result<Launch, String> {
    let kind = members.text("type")?;
    let command = members.text("command")?;
    let url = match members.text("url")? {
        Some(url) => Some(url),
        None => members.text("serverUrl")?,
    };
    let arguments = members.texts("args")?;
    let environment = members.variables("env")?;
    let environment_file = members.text("envFile")?;
    let folder = members.text("cwd")?;
    let headers = members.variables("headers")?;
    match (command, url) {
        (Some(_), Some(_)) => {
            Err("it has a command and an address; which one is meant?".to_owned())
        }
        (Some(program), None) if program.trim().is_empty() => {
            Err("its command is empty".to_owned())
        }
        (Some(program), None) => match kind.as_deref() {
            None | Some("stdio") => Ok(Launch::Command {
                program,
                arguments,
                environment,
                environment_file,
                folder,
            }),
            Some(kind) => Err(format!(
                "it has a command, and says that it is {}",
                shown(kind)
            )),
        },
        (None, Some(url)) => match kind.as_deref() {
            None | Some("http" | "sse" | "streamable-http" | "streamableHttp") => {
                let headers = headers
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)));
                Ok(Launch::Remote {
                    url,
                    headers: headers.collect(),
                })
            }
            Some(kind) => Err(format!(
                "servers of the kind {} cannot be reached here",
                shown(kind)
            )),
        },
        (None, None) => Err("it has neither a command nor an address".to_owned()),
    }
}

/// The members of a server, and which of them somebody asked for.
struct Members<'a> {
    value: &'a Map<String, Value>,
    seen: Vec<&'static str>,
}

impl Members<'_> {
    fn get(&mut self, key: &'static str) -> Option<&Value> {
        self.seen.push(key);
        self.value.get(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{key}` is no text")),
        }
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("`{key}` is neither true nor false")),
        }
    }

    fn texts(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let wrong = || format!("`{key}` is no list of texts");
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Texts by name; numbers and flags are written out, `null` stays.
    fn variables(&mut self, key: &'static str) -> Result<BTreeMap<String, Option<String>>, String> {
        let variables = match self.get(key) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(variables)) => variables,
            Some(_) => return Err(format!("`{key}` is no object")),
        };
        let mut found = BTreeMap::new();
        for (name, value) in variables {
            let value = match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
                _ => return Err(format!("`{key}.{}` is no text", shown(name))),
            };
            found.insert(name.clone(), value);
        }
        Ok(found)
    }

    /// What was not asked for.
    fn notes(&self) -> Vec<Note> {
        let left = self
            .value
            .iter()
            .filter(|(key, value)| !self.seen.contains(&key.as_str()) && !value.is_null());
        left.filter_map(|(key, value)| {
            let name = shown(key);
            match key.as_str() {
                "oauth" | "auth" | "headersHelper" => {
                    (value != &Value::Bool(false)).then_some(Note::SignIn(name))
                }
                key if LEAVES.contains(&key) => Some(Note::GrantsNothing(name)),
                _ => Some(Note::NotRead(name)),
            }
        })
        .collect()
    }
}

/// Something of a file in an error: short, and on one line.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown = compere::text::escape_line(text);
    if let Some((end, _)) = shown.char_indices().nth(SHOWN) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}
