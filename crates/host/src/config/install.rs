//! Puts this host into the files of apps as one of their servers, and takes it out again. Texts in, texts
//! out; everything else in a file stays as it stands, comments and order too.

use jsonc_parser::cst::{CstInputValue, CstRootNode};

use crate::config::{Dialect, jsonc};

/// The name under which apps have this host.
pub const NAME: &str = "compere";

/// The text of an app's file with this host in it, started by these words. The error says what is wrong
/// with the file, or that its app is none that this can be done for.
pub fn with_host(
    dialect: Dialect,
    file: &str,
    program: &str,
    arguments: &[String],
) -> Result<String, String> {
    if dialect == Dialect::Codex {
        return with_host_in_toml(file, program, arguments);
    }
    if dialect == Dialect::Goose {
        return Err("goose keeps its servers in YAML, which is not changed here".to_owned());
    }
    let text = match file.trim().is_empty() {
        true => "{\n}\n",
        false => file,
    };
    let root = CstRootNode::parse(text, &jsonc::options()).map_err(|error| error.to_string())?;
    let object = root
        .object_value_or_create()
        .ok_or("the file holds no object")?;
    let key = dialect.servers_key();
    let servers = object
        .object_value_or_create(key)
        .ok_or_else(|| format!("`{key}` is no object"))?;
    if servers.get(NAME).is_some() {
        return Err(format!("there is a server {NAME} in it already"));
    }
    servers.append(NAME, value(dialect, program, arguments));
    Ok(root.to_string())
}

fn value(dialect: Dialect, program: &str, arguments: &[String]) -> CstInputValue {
    let text = |text: &str| CstInputValue::String(text.to_owned());
    let list = |words: Vec<&str>| CstInputValue::Array(words.into_iter().map(text).collect());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut members = Vec::new();
    let mut add = |name: &str, value: CstInputValue| members.push((name.to_owned(), value));
    match dialect {
        Dialect::OpenCode => {
            let words = std::iter::once(program).chain(arguments).collect();
            add("type", text("local"));
            add("command", list(words));
            add("enabled", CstInputValue::Bool(true));
        }
        Dialect::VsCode => {
            add("type", text("stdio"));
            add("command", text(program));
            add("args", list(arguments));
        }
        _ => {
            add("command", text(program));
            add("args", list(arguments));
        }
    }
    CstInputValue::Object(members)
}

fn with_host_in_toml(file: &str, program: &str, arguments: &[String]) -> Result<String, String> {
    let read: toml::Table = toml::from_str(file)
        .map_err(|error| format!("the file is no TOML: {}", error.message()))?;
    let there = read
        .get("mcp_servers")
        .and_then(|servers| servers.get(NAME));
    if there.is_some() {
        return Err(format!("there is a server {NAME} in it already"));
    }
    // What JSON says of a text says the same in TOML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let arguments: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    let between = match file.is_empty() || file.ends_with('\n') {
        true => "",
        false => "\n",
    };
    let text = format!(
        "{file}{between}\n[mcp_servers.{NAME}]\ncommand = {}\nargs = [{}]\n",
        quoted(program),
        arguments.join(", ")
    );
    // A file may name its servers in a way that no table can be added to.
    match toml::from_str::<toml::Table>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err("its servers stand in one line, to which none can be added here".to_owned()),
    }
}

/// The text of an app's file without this host; `None` if it is not in there.
pub fn without_host(dialect: Dialect, file: &str) -> Result<Option<String>, String> {
    if matches!(dialect, Dialect::Codex | Dialect::Goose) {
        return Err("it was changed since: take out the server compere by hand".to_owned());
    }
    let root = CstRootNode::parse(file, &jsonc::options()).map_err(|error| error.to_string())?;
    let servers = root
        .object_value()
        .and_then(|object| object.object_value(dialect.servers_key()));
    let there = servers.and_then(|servers| servers.get(NAME));
    let Some(there) = there else {
        return Ok(None);
    };
    there.remove();
    Ok(Some(root.to_string()))
}
