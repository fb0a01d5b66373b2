//! From `key=value` to the arguments of a tool, typed by its schema.

use std::collections::BTreeMap;
use std::io::Read;

use compere::model::Tool;
use compere::serde_json::{Map, Value};

use crate::failure::Failure;

/// Reads all arguments of a call. `whole` is the value of `--args`.
pub(crate) fn read(
    tool: &Tool,
    pairs: &[String],
    whole: Option<&str>,
) -> Result<Map<String, Value>, Failure> {
    let schema: Value = tool.input_schema.decode().unwrap_or_default();
    let mut arguments = match whole {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            object(&text, "standard input")?
        }
        Some(text) => object(text, "--args")?,
        None => Map::new(),
    };
    for pair in pairs {
        let (key, value) = read_pair(pair, &schema)?;
        check_known(&schema, &key, tool)?;
        if arguments.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!(
                "the argument {key:?} is given twice"
            )));
        }
    }
    check_required(&schema, &arguments, tool)?;
    Ok(arguments)
}

fn object(text: &str, from: &str) -> Result<Map<String, Value>, Failure> {
    compere::serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("{from} is no JSON object: {error}")))
}

fn read_pair(pair: &str, schema: &Value) -> Result<(String, Value), Failure> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(no_argument(pair));
    };
    if let Some(key) = key.strip_suffix(':') {
        let value = compere::serde_json::from_str(value)
            .map_err(|error| Failure::usage(format!("{key}: {value} is no JSON: {error}")))?;
        return Ok((key.to_owned(), value));
    }
    let value = typed(key, text_of(key, value)?, &schema["properties"][key])?;
    Ok((key.to_owned(), value))
}

/// A value as it stands, or the content of the file that it names.
fn text_of(key: &str, value: &str) -> Result<String, Failure> {
    match value.strip_prefix('@') {
        None => Ok(value.to_owned()),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("{key}=@{file}: {error}"))
                .hint(format!("A text that begins with @: {key}:='\"@…\"'"))
        }),
    }
}

/// Reads arguments that are all text: of prompts, of templates.
pub(crate) fn texts(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut texts = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| no_argument(pair))?;
        if texts.insert(key.to_owned(), text_of(key, value)?).is_some() {
            return Err(Failure::usage(format!(
                "the argument {key:?} is given twice"
            )));
        }
    }
    Ok(texts)
}

fn no_argument(pair: &str) -> Failure {
    Failure::usage(format!("{pair:?} is no argument"))
        .hint("Write key=value, key:=JSON or key=@FILE.")
        .hint("The command of a server stands after `--`.")
}

/// The value that the schema asks for. Where it leaves the choice, a text stays a text unless only
/// another type fits.
fn typed(key: &str, text: String, schema: &Value) -> Result<Value, Failure> {
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if kinds.is_empty() || kinds.contains(&"string") {
        return Ok(Value::String(text));
    }
    let parsed: Option<Value> = compere::serde_json::from_str(text.trim()).ok();
    let fits = |value: &Value| {
        kinds.iter().any(|kind| match *kind {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        })
    };
    if let Some(value) = parsed.filter(fits) {
        return Ok(value);
    }
    if kinds.contains(&"array") && schema["items"]["type"] == "string" {
        // One text for a list of texts.
        return Ok(Value::Array(vec![Value::String(text)]));
    }
    Err(Failure::usage(format!(
        "{key}={text}: the tool wants {} here",
        kinds.join(" or ")
    )))
}

/// A name that the schema does not know is mostly a slip; a schema that allows others says so.
fn check_known(schema: &Value, typed: &str, tool: &Tool) -> Result<(), Failure> {
    let open = schema["additionalProperties"] == true || schema["additionalProperties"].is_object();
    let Some(known) = schema["properties"].as_object().filter(|_| !open) else {
        return Ok(());
    };
    if known.contains_key(typed) {
        return Ok(());
    }
    let failure = Failure::usage(format!("{} has no argument {typed:?}", tool.name));
    let near = nearest(typed, known.keys().map(String::as_str));
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Err(match (near.is_empty(), names.is_empty()) {
        (false, _) => failure.hint(format!("Did you mean {}?", near.join(" or "))),
        (true, false) => failure.hint(format!("It takes {}.", names.join(", "))),
        (true, true) => failure.hint("It takes none."),
    }
    .hint("To send it anyway: --args '{…}'."))
}

/// The names that a schema of an object requires.
pub(crate) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema["required"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str)
}

fn check_required(
    schema: &Value,
    arguments: &Map<String, Value>,
    tool: &Tool,
) -> Result<(), Failure> {
    let missing: Vec<&str> = required(schema)
        .filter(|name| !arguments.contains_key(*name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|properties| properties.keys())
        .map(String::as_str)
        .collect();
    Err(
        Failure::usage(format!("{} needs {}", tool.name, missing.join(", ")))
            .hint(format!("It takes {}.", known.join(", "))),
    )
}

/// Says that something does not exist, and what does.
pub(crate) fn unknown<'n>(
    what: &str,
    typed: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Failure {
    const SHOWN: usize = 20;
    let failure = Failure::usage(what);
    let near = nearest(typed, names.clone());
    if !near.is_empty() {
        return failure.hint(format!("Did you mean {}?", near.join(" or ")));
    }
    let all: Vec<&str> = names.clone().take(SHOWN).collect();
    match (all.is_empty(), names.count() > SHOWN) {
        (true, _) => failure.hint("It has none at all."),
        (false, false) => failure.hint(format!("It has {}.", all.join(", "))),
        (false, true) => failure.hint(format!("It has {}, and more.", all.join(", "))),
    }
}

/// The names that are most like the one that was typed.
pub(crate) fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    const SHOWN: usize = 3;
    let typed = typed.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = names
        .map(|name| (distance(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            *distance <= typed.len().max(name.len()) / 2 || name.to_lowercase().contains(&typed)
        })
        .collect();
    ranked.sort_unstable();
    ranked
        .into_iter()
        .map(|(_, name)| name)
        .take(SHOWN)
        .collect()
}

/// How many letters must be added, dropped or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> Tool {
        let schema = compere::serde_json::json!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "count": {"type": "integer"},
                "ratio": {"type": ["number", "null"]},
                "all": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["path"],
        });
        Tool::new("t", schema)
    }

    fn pairs(list: &[&str]) -> Vec<String> {
        list.iter().map(|pair| (*pair).to_owned()).collect()
    }

    #[test]
    fn the_schema_types_the_values() {
        let given = pairs(&["path=12", "count=12", "ratio=0.5", "all=true", "tags=one"]);
        let read = read(&tool(), &given, None).unwrap();
        let expected = compere::serde_json::json!({
            "path": "12", "count": 12, "ratio": 0.5, "all": true, "tags": ["one"],
        });
        assert_eq!(Value::Object(read), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(read(&tool(), &pairs(&["path=a", "count=1.5"]), None).is_err());
        assert!(read(&tool(), &pairs(&["count=1"]), None).is_err());
        assert!(read(&tool(), &pairs(&["path=a", "path=b"]), None).is_err());
        assert!(read(&tool(), &pairs(&["path"]), None).is_err());
    }

    #[test]
    fn json_is_taken_as_it_is() {
        let read = read(&tool(), &pairs(&["path=a", "tags:=[\"x=y\"]"]), None).unwrap();
        assert_eq!(read["tags"][0], "x=y");
    }

    #[test]
    fn near_names_are_found() {
        let names = ["read_file", "search_files", "list_directory"];
        assert_eq!(
            nearest("serch_file", names.into_iter()),
            ["search_files", "read_file"]
        );
        assert_eq!(nearest("zzz", names.into_iter()), Vec::<&str>::new());
    }
}
