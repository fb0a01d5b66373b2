//! The digest of a definition: what it says, and neither the order of its members nor its white space.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::pins::Item;

/// What every digest begins with, so that it is no digest of anything else.
const DOMAIN: &[u8] = b"compere pin 1\0";

/// A SHA-256, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of a definition. The same definition of another item has another one.
pub fn digest(item: &Item, definition: &Value) -> Digest {
    let name = serde_json::to_string(&(item.kind, &item.name)).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(name.as_bytes());
    hash.update(b"\0");
    hash.update(canonical(definition).as_bytes());
    let bytes: [u8; 32] = hash.finalize().into();
    Digest(crate::hex::text(&bytes))
}

/// One text for all ways in which a value can be written: members in the order of their names, no white
/// space. Numbers that are written differently are different: nothing that a server changes goes
/// unseen.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (place, (name, member)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(name).unwrap_or_default());
                text.push(':');
                write(text, member);
            }
            text.push('}');
        }
        simple => {
            let _ = write!(text, "{simple}");
        }
    }
}
