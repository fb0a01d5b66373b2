//! What only our own file says: what a server may touch, who sees it, and how apps are treated.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::read::{Entry, Fault, read, shown};
use crate::config::{Dialect, Place, Scope, jsonc};
use crate::policy::{Pattern, Rule, rules};
use crate::sampling::{Budget, Model};
use crate::servers::hosts::Named;

/// How a server is treated here. The default grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Folders that it works in: it is told of them, and can read them.
    pub roots: Vec<String>,
    /// It may change what is in its roots.
    pub write: bool,
    /// More that it may read, besides programs and libraries.
    pub read: Vec<String>,
    /// It may use the network.
    pub network: bool,
    /// Of the network it may reach these, and nothing else: `network` is off then.
    pub hosts: Vec<Named>,
    /// It runs as any other program of the person.
    pub unconfined: bool,
    /// It has no world of its own, although it could: only what it may touch is kept from it.
    pub without_namespaces: bool,
    /// It may run as root, where the host does.
    pub root: bool,
    /// One process for all apps.
    pub shared: bool,
    /// What it may use of models in a day; `None` for nothing.
    pub sampling: Option<Budget>,
    /// The apps that see it; all if empty.
    pub apps: Vec<Pattern>,
    /// Those of its tools and prompts that apps see; all if empty.
    pub tools: Vec<Pattern>,
}

/// Members of a server that are settings of ours.
pub(crate) const MEMBERS: [&str; 11] = [
    "roots",
    "write",
    "read",
    "network",
    "unconfined",
    "namespaces",
    "root",
    "shared",
    "sampling",
    "apps",
    "tools",
];

impl Settings {
    /// Reads the settings of one server.
    pub(crate) fn of(members: &Map<String, Value>) -> Result<Self, String> {
        let flag_or = |name: &str, default: bool| match members.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(format!("`{name}` is neither true nor false")),
        };
        let flag = |name: &str| flag_or(name, false);
        let (network, hosts) = match members.get("network") {
            Some(Value::Array(_)) => {
                let named = texts(members, "network")?.into_iter().map(|text| {
                    Named::read(&text)
                        .ok_or_else(|| format!("`network` names {text:?}, which is no host"))
                });
                (None, named.collect::<Result<_, _>>()?)
            }
            _ => {
                let network = flag("network").map_err(|_| {
                    "`network` is neither true nor false nor a list of hosts".to_owned()
                })?;
                (Some(network), Vec::new())
            }
        };
        Ok(Self {
            roots: texts(members, "roots")?,
            write: flag("write")?,
            read: texts(members, "read")?,
            network: network == Some(true),
            hosts,
            unconfined: flag("unconfined")?,
            without_namespaces: !flag_or("namespaces", true)?,
            root: flag("root")?,
            shared: flag("shared")?,
            sampling: Budget::read(members.get("sampling"))?,
            apps: patterns(members, "apps")?,
            tools: patterns(members, "tools")?,
        })
    }
}

/// How an app is treated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppSettings {
    /// The servers that it sees; all if empty.
    pub servers: Vec<Pattern>,
    /// It may ask the person itself whether something may be done, once at a time.
    pub elicitation: bool,
}

/// Our own file.
#[derive(Debug, Default)]
pub struct HostFile {
    /// The servers.
    pub entries: Vec<Entry>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Apps by name.
    pub apps: BTreeMap<String, AppSettings>,
    /// The models of the person.
    pub models: Vec<Model>,
    /// What is wrong. With a fault of the file itself, what it asks for is not to be taken.
    pub faults: Vec<Fault>,
}

impl HostFile {
    /// Reads it.
    pub fn read(text: &str, path: &Path) -> Self {
        let place = Place {
            dialect: Dialect::Compere,
            scope: Scope::User,
            path: path.to_owned(),
        };
        let found = read(text, &place, None);
        let mut file = Self {
            entries: found.entries,
            faults: found.faults,
            ..Self::default()
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Ok(Some(Value::Object(members))) = jsonc::parse(text) else {
            return file;
        };
        if let Some(policy) = members.get("policy") {
            match rules(policy) {
                Ok(rules) => file.rules = rules,
                Err(faults) => {
                    for fault in faults {
                        file.fault(format!("`policy`: {fault}"));
                    }
                }
            }
        }
        match members.get("models") {
            None | Some(Value::Null) => {}
            Some(Value::Array(models)) => {
                for (place, model) in models.iter().enumerate() {
                    match Model::read(model) {
                        Ok(model) if file.models.iter().any(|of| of.name == model.name) => {
                            file.fault(format!("there are two models {}", shown(&model.name)));
                        }
                        Ok(model) => file.models.push(model),
                        Err(why) => file.fault(format!("model {}: {why}", place + 1)),
                    }
                }
            }
            Some(_) => file.fault("`models` is no list".to_owned()),
        }
        match members.get("apps") {
            None | Some(Value::Null) => {}
            Some(Value::Object(apps)) => {
                for (name, app) in apps {
                    match app_settings(app) {
                        Ok(settings) => {
                            file.apps.insert(name.clone(), settings);
                        }
                        Err(why) => file.fault(format!("the app {}: {why}", shown(name))),
                    }
                }
            }
            Some(_) => file.fault("`apps` is no object".to_owned()),
        }
        file
    }

    fn fault(&mut self, why: String) {
        self.faults.push(Fault { server: None, why });
    }

    /// The file itself is wrong, not only a server of it.
    pub fn is_unusable(&self) -> bool {
        self.faults.iter().any(|fault| fault.server.is_none())
    }
}

fn app_settings(value: &Value) -> Result<AppSettings, String> {
    let Value::Object(members) = value else {
        return Err("it is no object".to_owned());
    };
    if let Some(name) = members
        .keys()
        .find(|name| !matches!(name.as_str(), "servers" | "elicitation"))
    {
        return Err(format!("`{}` is not known", shown(name)));
    }
    let elicitation = match members.get("elicitation") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err("`elicitation` is neither true nor false".to_owned()),
    };
    Ok(AppSettings {
        servers: patterns(members, "servers")?,
        elicitation,
    })
}

fn texts(members: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{name}` is no list of texts");
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

fn patterns(members: &Map<String, Value>, name: &str) -> Result<Vec<Pattern>, String> {
    Ok(texts(members, name)?
        .into_iter()
        .map(Pattern::new)
        .collect())
}

/// Does one of the patterns fit, or are there none?
pub(crate) fn open_to(patterns: &[Pattern], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.fits(name))
}
