//! The shape of a call: a condition that this call and those like it fulfil, for a person to see, to
//! change and to agree to.
//!
//! Where a call has paths, others may go to the same folder; texts that are short are to be the same,
//! long ones and numbers are free. There may be no argument that this call did not have.

use std::fmt::Write as _;

use compere::text::is_unseen;
use serde_json::{Map, Value};

/// A text longer than this, or of several lines, is content and not an order.
const SHORT: usize = 200;

/// The condition, in CEL over `arguments`.
pub fn shape_of(arguments: &Value) -> String {
    let Value::Object(members) = arguments else {
        return "arguments == null".to_owned();
    };
    if members.is_empty() {
        return "size(arguments) == 0".to_owned();
    }
    let names: Vec<String> = members.keys().map(|name| quoted(name)).collect();
    let mut parts = vec![format!(
        "arguments.all(name, name in [{}])",
        names.join(", ")
    )];
    parts.extend(members.iter().filter_map(|(name, value)| part(name, value)));
    parts.join(" && ")
}

fn part(name: &str, value: &Value) -> Option<String> {
    let place = format!("arguments[{}]", quoted(name));
    match value {
        Value::String(text) if is_path(text) => {
            let folder = text.rfind('/').and_then(|end| text.get(..=end))?;
            let within = quoted(folder);
            Some(format!(
                "{place}.startsWith({within}) && !{place}.contains(\"..\")"
            ))
        }
        Value::String(text) if text.len() <= SHORT && !text.contains('\n') => {
            Some(format!("{place} == {}", quoted(text)))
        }
        Value::String(_) | Value::Number(_) | Value::Null => None,
        Value::Bool(value) => Some(format!("{place} == {value}")),
        Value::Array(_) | Value::Object(_) => Some(format!("{place} == {}", literal(value))),
    }
}

/// A path in the narrow sense: nothing that a shell or another program would read as more than that.
fn is_path(text: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+@,~".contains(letter);
    text.len() <= SHORT && text.contains('/') && !text.contains("..") && text.chars().all(plain)
}

fn literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => object(members),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn object(members: &Map<String, Value>) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}: {}", quoted(name), literal(value)))
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// A text as CEL writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Whoever reads it is to see it.
            letter if letter.is_control() || is_unseen(letter) => {
                let _ = match u32::from(letter) {
                    code @ ..=0xffff => write!(quoted, "\\u{code:04x}"),
                    code => write!(quoted, "\\U{code:08x}"),
                };
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
