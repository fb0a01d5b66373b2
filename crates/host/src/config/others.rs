//! Files of apps that write their servers in shapes of their own: Windsurf, Codex, Gemini CLI, Zed,
//! opencode and goose. Each is brought into the shape and the rules of our own file when it is read, so
//! that everything means here what it means there; what an app never replaces stays as it is written.

use serde_json::{Map, Value, json};

use crate::config::Dialect;
use crate::config::expand::{plain, translate};
use crate::config::jsonc;

/// The servers of a file, in our own shape, by name; `None` if it has none. The error says what is wrong
/// with the file.
pub(super) fn servers(dialect: Dialect, text: &str) -> Result<Option<Map<String, Value>>, String> {
    let file = match dialect {
        Dialect::Codex => toml::from_str::<Value>(text)
            .map_err(|error| format!("the file is no TOML: {}", error.message()))?,
        Dialect::Goose => {
            serde_saphyr::from_str::<Value>(text).map_err(|_| "the file is no YAML".to_owned())?
        }
        _ => match jsonc::parse(text) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Err(format!("the file is no JSON: {error}")),
        },
    };
    let key = dialect.servers_key();
    let servers = match file.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(servers)) => servers,
        Some(_) => return Err(format!("`{key}` is no object")),
    };
    let ours = servers.iter().filter_map(|(name, server)| {
        let Value::Object(members) = server else {
            // Whoever reads it says what is wrong.
            return Some((name.clone(), server.clone()));
        };
        let mut members = members.clone();
        match dialect {
            Dialect::Windsurf => windsurf(&mut members),
            Dialect::Codex => codex(&mut members),
            Dialect::Gemini => gemini(&mut members),
            Dialect::OpenCode => opencode(&mut members),
            Dialect::Goose => {
                // What is built into it is nothing for others.
                let kind = members.get("type").and_then(Value::as_str);
                if !matches!(kind, Some("stdio" | "sse" | "streamable_http")) {
                    return None;
                }
                goose(&mut members);
            }
            _ => as_it_is(&mut members),
        }
        Some((name.clone(), Value::Object(members)))
    });
    Ok(Some(ours.collect()))
}

/// Writes every text anew.
fn each(value: &mut Value, put: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = put(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, put)),
        Value::Object(members) => members.values_mut().for_each(|member| each(member, put)),
        _ => {}
    }
}

fn each_of(members: &mut Map<String, Value>, names: &[&str], put: &impl Fn(&str) -> String) {
    for name in names {
        if let Some(member) = members.get_mut(*name) {
            each(member, put);
        }
    }
}

const ALL: [&str; 7] = ["command", "args", "env", "envFile", "cwd", "url", "headers"];

/// Nothing is ever replaced.
fn as_it_is(members: &mut Map<String, Value>) {
    each_of(members, &ALL, &plain);
}

fn rename(members: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = members.remove(from) {
        members.insert(to.to_owned(), value);
    }
}

fn windsurf(members: &mut Map<String, Value>) {
    rename(members, "serverUrl", "url");
    each_of(members, &ALL, &|text| translate(Dialect::Windsurf, text));
}

/// `${env:NAME}` of our own file.
fn variable(name: &str) -> String {
    format!("${{env:{name}}}")
}

fn add(members: &mut Map<String, Value>, to: &str, name: &str, value: String) {
    let there = members.entry(to).or_insert_with(|| json!({}));
    if let Value::Object(there) = there {
        there.entry(name).or_insert(Value::String(value));
    }
}

fn codex(members: &mut Map<String, Value>) {
    rename(members, "http_headers", "headers");
    as_it_is(members);
    let named = match members.remove("env_vars") {
        Some(Value::Array(named)) => named,
        _ => Vec::new(),
    };
    for of in named {
        let name = of.as_str().or_else(|| of.get("name")?.as_str());
        if let Some(name) = name {
            add(members, "env", name, variable(name));
        }
    }
    if let Some(Value::Object(named)) = members.remove("env_http_headers") {
        for (header, name) in named {
            if let Value::String(name) = name {
                add(members, "headers", &header, variable(&name));
            }
        }
    }
    if let Some(Value::String(name)) = members.remove("bearer_token_env_var") {
        let bearer = format!("Bearer {}", variable(&name));
        add(members, "headers", "Authorization", bearer);
    }
    if members.remove("oauth_resource").is_some() || members.remove("scopes").is_some() {
        members.entry("oauth").or_insert(json!(true));
    }
}

fn gemini(members: &mut Map<String, Value>) {
    rename(members, "httpUrl", "url");
    each_of(members, &["env"], &|text| translate(Dialect::Gemini, text));
    let rest: Vec<&str> = ALL.into_iter().filter(|name| *name != "env").collect();
    each_of(members, &rest, &plain);
    if members.get("oauth").and_then(|oauth| oauth.get("enabled")) == Some(&json!(false)) {
        members.remove("oauth");
    }
}

fn opencode(members: &mut Map<String, Value>) {
    rename(members, "environment", "env");
    if let Some(Value::Array(words)) = members.get("command").cloned() {
        let mut words = words.into_iter();
        if let Some(program) = words.next() {
            members.insert("command".to_owned(), program);
            members.insert("args".to_owned(), words.collect());
        }
    }
    match members.get("type").and_then(Value::as_str) {
        Some("local") => members.insert("type".to_owned(), "stdio".into()),
        Some("remote") => members.insert("type".to_owned(), "http".into()),
        _ => None,
    };
    each_of(members, &ALL, &|text| translate(Dialect::OpenCode, text));
}

fn goose(members: &mut Map<String, Value>) {
    rename(members, "cmd", "command");
    rename(members, "uri", "url");
    rename(members, "envs", "env");
    members.remove("name");
    if members.get("type") == Some(&json!("streamable_http")) {
        members.insert("type".to_owned(), "streamable-http".into());
    }
    as_it_is(members);
    if let Some(Value::Array(named)) = members.remove("env_keys") {
        for name in named.iter().filter_map(Value::as_str) {
            add(members, "env", name, variable(name));
        }
    }
}
