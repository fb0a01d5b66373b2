//! What has changed between two definitions: field by field, and within a text word by word.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{Algorithm, ChangeTag, TextDiff};

/// A field that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Where it is, as a JSON Pointer; empty for the whole.
    pub path: String,
    /// What it was; `None` if it was not there.
    pub before: Option<Value>,
    /// What it is; `None` if it is gone.
    pub after: Option<Value>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    /// It was there and is.
    Same(String),
    /// It was there.
    Gone(String),
    /// It is there now.
    New(String),
}

/// What has changed at one place, to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The place, as a JSON Pointer; empty for the whole.
    pub place: String,
    /// What was there and what is, one after the other: words of a text, or values as JSON.
    pub pieces: Vec<Piece>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str("all of it: ")?,
            place => write!(f, "{place}: ")?,
        }
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Same(text) => f.write_str(text),
            Piece::Gone(text) => write!(f, "[-{text}-]"),
            Piece::New(text) => write!(f, "{{+{text}+}}"),
        })
    }
}

/// What has changed, field by field, and within a text word by word.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let of_field = |change: FieldChange| {
        let pieces = match (change.before, change.after) {
            (Some(Value::String(before)), Some(Value::String(after))) => words(&before, &after),
            (before, after) => {
                let gone = before.map(|before| Piece::Gone(before.to_string()));
                let new = after.map(|after| Piece::New(after.to_string()));
                gone.into_iter().chain(new).collect()
            }
        };
        Change {
            place: change.path,
            pieces,
        }
    };
    difference(before, after)
        .into_iter()
        .map(of_field)
        .collect()
}

/// Every field that differs, the deepest that can be named.
pub fn difference(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut changes);
    changes
}

fn compare(
    path: String,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<FieldChange>,
) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let path = format!("{path}/{escaped}");
                compare(path, before.get(name), after.get(name), changes);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for place in 0..before.len().max(after.len()) {
                let path = format!("{path}/{place}");
                compare(path, before.get(place), after.get(place), changes);
            }
        }
        (before, after) if before == after => {}
        (before, after) => changes.push(FieldChange {
            path,
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// How one text became another, word by word; all of both is there.
pub fn words(before: &str, after: &str) -> Vec<Piece> {
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .diff_words(before, after);
    let mut pieces: Vec<Piece> = Vec::new();
    for change in diff.iter_all_changes() {
        let text = change.value();
        let joined = match (change.tag(), pieces.last_mut()) {
            (ChangeTag::Equal, Some(Piece::Same(before)))
            | (ChangeTag::Delete, Some(Piece::Gone(before)))
            | (ChangeTag::Insert, Some(Piece::New(before))) => {
                before.push_str(text);
                true
            }
            _ => false,
        };
        if !joined {
            let text = text.to_owned();
            pieces.push(match change.tag() {
                ChangeTag::Equal => Piece::Same(text),
                ChangeTag::Delete => Piece::Gone(text),
                ChangeTag::Insert => Piece::New(text),
            });
        }
    }
    pieces
}
