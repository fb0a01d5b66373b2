//! `completion/complete`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/utilities/completion>

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::{KeySeed, Meta, open_object};

/// What is being completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionReference {
    /// An argument of a prompt (`ref/prompt`).
    Prompt {
        /// The prompt's name.
        name: String,
    },
    /// A variable of a resource template (`ref/resource`).
    Resource {
        /// The template, or a URI.
        uri: String,
    },
}

impl Serialize for CompletionReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Prompt { name } => {
                map.serialize_entry("type", "ref/prompt")?;
                map.serialize_entry("name", name)?;
            }
            Self::Resource { uri } => {
                map.serialize_entry("type", "ref/resource")?;
                map.serialize_entry("uri", uri)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CompletionReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;

        impl<'de> de::Visitor<'de> for ReferenceVisitor {
            type Value = CompletionReference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a ref/prompt or ref/resource")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<CompletionReference, A::Error> {
                let (mut kind, mut name, mut uri) = (None::<String>, None, None);
                while let Some(key) = map.next_key_seed(KeySeed)? {
                    match &*key {
                        "type" => kind = Some(map.next_value()?),
                        "name" => name = Some(map.next_value()?),
                        "uri" => uri = Some(map.next_value()?),
                        _ => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                match kind.as_deref() {
                    Some("ref/prompt") => name
                        .map(|name| CompletionReference::Prompt { name })
                        .ok_or_else(|| de::Error::missing_field("name")),
                    Some("ref/resource") => uri
                        .map(|uri| CompletionReference::Resource { uri })
                        .ok_or_else(|| de::Error::missing_field("uri")),
                    Some(_) => Err(de::Error::custom(
                        "type is neither ref/prompt nor ref/resource",
                    )),
                    None => Err(de::Error::missing_field("type")),
                }
            }
        }

        deserializer.deserialize_map(ReferenceVisitor)
    }
}

open_object! {
    /// The argument being completed.
    pub struct CompletionArgument {
        required {
            /// Its name.
            name: String = "name",
            /// What has been typed so far.
            value: String = "value",
        }
    }
}

open_object! {
    /// What is already known (from 2025-06-18).
    pub struct CompletionContext {
        optional {
            /// Arguments of the same prompt or template that have their value already.
            arguments: BTreeMap<String, String> = "arguments",
        }
    }
}

open_object! {
    /// Params of `completion/complete`.
    pub struct CompleteParams {
        required {
            /// The prompt or template.
            reference: CompletionReference = "ref",
            /// The argument.
            argument: CompletionArgument = "argument",
        }
        optional {
            /// What is already known (from 2025-06-18).
            context: CompletionContext = "context",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Suggestions, most fitting first.
    pub struct Completion {
        defaulted {
            /// At most 100 values.
            values: Vec<String> = "values",
        }
        optional {
            /// How many there are in all; may exceed what was sent.
            total: u64 = "total",
            /// Are there more than were sent?
            has_more: bool = "hasMore",
        }
    }
}

impl Completion {
    /// The first `limit` of all matching values, with `total` and `hasMore` to say so.
    pub fn from_all(all: Vec<String>, limit: usize) -> Self {
        let total = all.len();
        let values: Vec<String> = all.into_iter().take(limit).collect();
        let has_more = total > values.len();
        Self::new()
            .values(values)
            .total(total as u64)
            .has_more(has_more)
    }
}

open_object! {
    /// Result of `completion/complete`.
    pub struct CompleteResult {
        required {
            /// The suggestions.
            completion: Completion = "completion",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
