//! Adds servers to our own file and changes what they may touch, leaving everything else in it as it
//! stands, comments too.

use jsonc_parser::cst::{CstInputValue, CstRootNode};

use crate::config::import::Planned;
use crate::config::{Launch, jsonc};

/// What a new file begins with.
const NEW: &str = "{\n  \"servers\": {}\n}\n";

/// The text of our file with these servers in it. The error says what is wrong with the file.
pub fn with_servers(text: &str, add: &[Planned]) -> Result<String, String> {
    let text = match text.trim().is_empty() {
        true => NEW,
        false => text,
    };
    let root = CstRootNode::parse(text, &jsonc::options()).map_err(|error| error.to_string())?;
    let file = root
        .object_value_or_create()
        .ok_or("the file holds no object")?;
    let servers = file
        .object_value_or_create("servers")
        .ok_or("`servers` is no object")?;
    for planned in add {
        if servers.get(&planned.name).is_some() {
            return Err(format!("there is a server {} already", planned.name));
        }
        servers.append(&planned.name, value(planned));
    }
    Ok(root.to_string())
}

/// The text of our file with other roots of a server in it, and with or without leave to change what is in
/// them. The error says what is wrong with the file.
pub fn with_roots(
    text: &str,
    server: &str,
    roots: &[String],
    write: bool,
) -> Result<String, String> {
    let root = CstRootNode::parse(text, &jsonc::options()).map_err(|error| error.to_string())?;
    let server = root
        .object_value()
        .and_then(|file| file.object_value("servers"))
        .and_then(|servers| servers.object_value(server))
        .ok_or_else(|| format!("there is no server {server} in it"))?;
    let set = |name: &str, value: Option<CstInputValue>| match (server.get(name), value) {
        (Some(there), Some(value)) => there.set_value(value),
        (Some(there), None) => there.remove(),
        (None, Some(value)) => {
            server.append(name, value);
        }
        (None, None) => {}
    };
    let list: Vec<CstInputValue> = roots.iter().map(|root| self::text(root)).collect();
    set(
        "roots",
        (!list.is_empty()).then_some(CstInputValue::Array(list)),
    );
    set("write", write.then_some(CstInputValue::Bool(true)));
    Ok(root.to_string())
}

fn text(text: &str) -> CstInputValue {
    CstInputValue::String(text.to_owned())
}

fn value(planned: &Planned) -> CstInputValue {
    let mut members = Vec::new();
    let mut add = |name: &str, value: CstInputValue| members.push((name.to_owned(), value));
    match &planned.launch {
        Launch::Command {
            program,
            arguments,
            environment,
            environment_file,
            folder,
        } => {
            add("command", text(program));
            if !arguments.is_empty() {
                let arguments = arguments.iter().map(|argument| text(argument));
                add("args", CstInputValue::Array(arguments.collect()));
            }
            if !environment.is_empty() {
                let variables = environment.iter().map(|(name, value)| {
                    let value = value.as_deref().map_or(CstInputValue::Null, text);
                    (name.clone(), value)
                });
                add("env", CstInputValue::Object(variables.collect()));
            }
            if let Some(file) = environment_file {
                add("envFile", text(file));
            }
            if let Some(folder) = folder {
                add("cwd", text(folder));
            }
        }
        Launch::Remote { url, headers } => {
            add("url", text(url));
            if !headers.is_empty() {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (name.clone(), text(value)));
                add("headers", CstInputValue::Object(headers.collect()));
            }
        }
    }
    if !planned.roots.is_empty() {
        let roots = planned.roots.iter().map(|root| text(root));
        add("roots", CstInputValue::Array(roots.collect()));
    }
    if !planned.enabled {
        add("enabled", CstInputValue::Bool(false));
    }
    CstInputValue::Object(members)
}
