//! Text that a person does not see and a model reads: letters without a shape, marks that turn text
//! round, commands to a terminal.

use serde_json::Value;

/// Where something is hidden, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The field, as a JSON Pointer.
    pub path: String,
    /// What it is, in words.
    pub what: &'static str,
    /// How many letters of it.
    pub count: usize,
}

/// Everything hidden in the names and texts of a definition.
pub fn hidden(definition: &Value) -> Vec<Hidden> {
    let mut found = Vec::new();
    look("", definition, &mut found);
    found
}

fn look(path: &str, value: &Value, found: &mut Vec<Hidden>) {
    match value {
        Value::String(text) => in_text(path, text, found),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                look(&format!("{path}/{place}"), item, found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let path = format!("{path}/{escaped}");
                in_text(&path, name, found);
                look(&path, member, found);
            }
        }
        _ => {}
    }
}

fn in_text(path: &str, text: &str, found: &mut Vec<Hidden>) {
    for letter in text.chars() {
        let Some(what) = kind(letter) else {
            continue;
        };
        match found
            .iter_mut()
            .find(|hidden| hidden.path == path && hidden.what == what)
        {
            Some(hidden) => hidden.count += 1,
            None => found.push(Hidden {
                path: path.to_owned(),
                what,
                count: 1,
            }),
        }
    }
}

/// What is hidden about a letter.
fn kind(letter: char) -> Option<&'static str> {
    Some(match letter {
        '\n' | '\t' => return None,
        '\r' => "returns of the carriage",
        '\u{1b}' | '\u{9b}' => "commands to a terminal",
        '\u{e0000}'..='\u{e007f}' => "tags, which are letters that nobody sees",
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => "variation selectors",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            "marks that turn text round"
        }
        '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}'
        | '\u{ad}'
        | '\u{180e}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{34f}' => "letters without width",
        '\u{fff9}'..='\u{fffb}' => "annotations between lines",
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => "letters of private use",
        other if other.is_control() => "control characters",
        _ => return None,
    })
}
