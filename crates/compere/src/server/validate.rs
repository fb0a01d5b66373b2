//! Validation of arguments by JSON Schema, without building a `serde_json::Value`: the
//! validator walks a light tree that borrows from the message.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use compere_proto::Limits;
use serde_json::Value;

/// Checks the arguments of one tool.
pub(crate) enum Validation {
    /// The Rust type enforces what the schema says.
    ByType,
    /// Nothing checks them, on the tool's own wish.
    Off,
    /// A validator, compiled on first use.
    #[cfg(feature = "validation")]
    BySchema {
        schema: Value,
        compiled: OnceLock<Result<jsonschema::Validator<tree::Borrowed>, String>>,
        regex_bytes: usize,
    },
}

impl Validation {
    /// Validation by this schema.
    #[cfg(feature = "validation")]
    pub(crate) fn by_schema(schema: Value, limits: &Limits) -> Self {
        Self::BySchema {
            schema,
            compiled: OnceLock::new(),
            regex_bytes: limits.schema_regex_bytes,
        }
    }

    /// Without the feature `validation` the decoder of the handler is what checks.
    #[cfg(not(feature = "validation"))]
    pub(crate) fn by_schema(_schema: Value, _limits: &Limits) -> Self {
        Self::ByType
    }

    /// The text that tells a model what to correct, if the arguments do not fit. The JSON has been
    /// scanned before, so its depth and size are bounded.
    pub(crate) fn check(&self, arguments: &str) -> Result<(), String> {
        match self {
            Self::ByType | Self::Off => Ok(()),
            #[cfg(feature = "validation")]
            Self::BySchema {
                schema,
                compiled,
                regex_bytes,
            } => {
                let validator = compiled
                    .get_or_init(|| compile(schema, *regex_bytes))
                    .as_ref()
                    .map_err(Clone::clone)?;
                let tree: tree::Tree<'_> = serde_json::from_str(arguments)
                    .map_err(|error| format!("not an object: {error}"))?;
                if validator.is_valid(&tree) {
                    return Ok(());
                }
                Err(explain(validator, &tree))
            }
        }
    }
}

#[cfg(feature = "validation")]
fn compile(
    schema: &Value,
    regex_bytes: usize,
) -> Result<jsonschema::Validator<tree::Borrowed>, String> {
    jsonschema::options_for::<tree::Borrowed>()
        .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(regex_bytes))
        .offline()
        .build(schema)
        .map_err(|error| format!("the tool's schema cannot be used: {error}"))
}

/// The first few faults, each with its place.
#[cfg(feature = "validation")]
fn explain(
    validator: &jsonschema::Validator<tree::Borrowed>,
    tree: &tree::Tree<'_>,
) -> String {
    const SHOWN: usize = 5;
    let faults: Vec<String> = validator
        .iter_errors(tree)
        .take(SHOWN)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "/" } else { &place };
            let text: String = error.to_string().chars().take(400).collect();
            format!("{place}: {text}")
        })
        .collect();
    faults.join("; ")
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByType => "ByType",
            Self::Off => "Off",
            #[cfg(feature = "validation")]
            Self::BySchema { .. } => "BySchema",
        })
    }
}

#[cfg(feature = "validation")]
pub(crate) mod tree {
    //! JSON as a tree that borrows its strings and numbers.

    use std::borrow::Cow;
    use std::fmt;

    use jsonschema::JsonType;
    use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
    use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
    use serde_json::{Number, Value};

    /// One value.
    #[derive(Debug, Default, Clone)]
    pub(crate) enum Tree<'a> {
        #[default]
        Null,
        Bool(bool),
        Number(Number),
        String(Cow<'a, str>),
        Array(Vec<Tree<'a>>),
        Object(Vec<(Cow<'a, str>, Tree<'a>)>),
    }

    impl<'de: 'a, 'a> Deserialize<'de> for Tree<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct TreeVisitor;

            impl<'de> Visitor<'de> for TreeVisitor {
                type Value = Tree<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a JSON value")
                }

                fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
                    Ok(Tree::Null)
                }

                fn visit_bool<E>(self, value: bool) -> Result<Tree<'de>, E> {
                    Ok(Tree::Bool(value))
                }

                fn visit_i64<E>(self, value: i64) -> Result<Tree<'de>, E> {
                    Ok(Tree::Number(value.into()))
                }

                fn visit_u64<E>(self, value: u64) -> Result<Tree<'de>, E> {
                    Ok(Tree::Number(value.into()))
                }

                fn visit_f64<E>(self, value: f64) -> Result<Tree<'de>, E> {
                    Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
                }

                fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Tree<'de>, E> {
                    Ok(Tree::String(text.into()))
                }

                fn visit_str<E>(self, text: &str) -> Result<Tree<'de>, E> {
                    Ok(Tree::String(text.to_owned().into()))
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree<'de>, A::Error> {
                    let mut items = Vec::new();
                    while let Some(item) = seq.next_element()? {
                        items.push(item);
                    }
                    Ok(Tree::Array(items))
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree<'de>, A::Error> {
                    let mut members = Vec::new();
                    while let Some(key) = map.next_key::<Key<'de>>()? {
                        members.push((key.0, map.next_value()?));
                    }
                    Ok(Tree::Object(members))
                }
            }

            deserializer.deserialize_any(TreeVisitor)
        }
    }

    /// A member name, borrowed where the input allows it.
    struct Key<'a>(Cow<'a, str>);

    impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct KeyVisitor;

            impl<'de> Visitor<'de> for KeyVisitor {
                type Value = Key<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a member name")
                }

                fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                    Ok(Key(key.into()))
                }

                fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                    Ok(Key(key.to_owned().into()))
                }
            }

            deserializer.deserialize_str(KeyVisitor)
        }
    }

    /// This representation, for the validator.
    pub(crate) struct Borrowed;

    impl Json for Borrowed {
        type Node<'a> = &'a Tree<'a>;
        type PreparedKey = Box<str>;
        type StringBuffer = String;

        fn prepare_key(key: &str) -> Box<str> {
            key.into()
        }

        fn with_string_node<T>(
            buffer: &mut String,
            string: &str,
            f: impl for<'x> FnOnce(&'x Tree<'x>) -> T,
        ) -> T {
            buffer.clear();
            buffer.push_str(string);
            f(&Tree::String(Cow::Borrowed(buffer)))
        }
    }

    /// A number of the tree.
    pub(crate) struct TreeNumber<'a>(&'a Number);

    impl JsonNumber for TreeNumber<'_> {
        fn as_u64(&self) -> Option<u64> {
            self.0.as_u64()
        }

        fn as_i64(&self) -> Option<i64> {
            self.0.as_i64()
        }

        fn as_f64(&self) -> Option<f64> {
            self.0.as_f64()
        }

        fn as_str(&self) -> Cow<'_, str> {
            self.0.to_string().into()
        }

        fn to_number(&self) -> Cow<'_, Number> {
            Cow::Borrowed(self.0)
        }
    }

    impl<'a> Node<'a, Borrowed> for &'a Tree<'a> {
        type Object = &'a [(Cow<'a, str>, Tree<'a>)];
        type Array = &'a [Tree<'a>];
        type Number = TreeNumber<'a>;

        fn as_object(&self) -> Option<Self::Object> {
            match self {
                Tree::Object(members) => Some(members),
                _ => None,
            }
        }

        fn as_array(&self) -> Option<Self::Array> {
            match self {
                Tree::Array(items) => Some(items),
                _ => None,
            }
        }

        fn as_string(&self) -> Option<Cow<'a, str>> {
            match self {
                Tree::String(text) => Some(Cow::Borrowed(text)),
                _ => None,
            }
        }

        fn as_number(&self) -> Option<TreeNumber<'a>> {
            match self {
                Tree::Number(number) => Some(TreeNumber(number)),
                _ => None,
            }
        }

        fn as_boolean(&self) -> Option<bool> {
            match self {
                Tree::Bool(value) => Some(*value),
                _ => None,
            }
        }

        fn is_null(&self) -> bool {
            matches!(self, Tree::Null)
        }

        fn json_type(&self) -> JsonType {
            match self {
                Tree::Null => JsonType::Null,
                Tree::Bool(_) => JsonType::Boolean,
                Tree::Number(_) => JsonType::Number,
                Tree::String(_) => JsonType::String,
                Tree::Array(_) => JsonType::Array,
                Tree::Object(_) => JsonType::Object,
            }
        }

        fn to_value(&self) -> Cow<'a, Value> {
            Cow::Owned(match self {
                Tree::Null => Value::Null,
                Tree::Bool(value) => Value::Bool(*value),
                Tree::Number(number) => Value::Number(number.clone()),
                Tree::String(text) => Value::String(text.clone().into_owned()),
                Tree::Array(items) => {
                    Value::Array(items.iter().map(|item| item.to_value().into_owned()).collect())
                }
                Tree::Object(members) => Value::Object(
                    members
                        .iter()
                        .map(|(name, value)| {
                            (name.clone().into_owned(), value.to_value().into_owned())
                        })
                        .collect(),
                ),
            })
        }

        fn identity(&self) -> Option<NodeIdentity> {
            Some(NodeIdentity::new(std::ptr::from_ref::<Tree<'_>>(self) as usize))
        }
    }

    impl<'a> Object<'a, Borrowed> for &'a [(Cow<'a, str>, Tree<'a>)] {
        type Node = &'a Tree<'a>;
        type MemberName = &'a str;
        type MembersIter = Members<'a>;

        fn len(&self) -> usize {
            <[_]>::len(self)
        }

        fn get(&self, key: &Box<str>) -> Option<&'a Tree<'a>> {
            self.iter()
                .find(|(name, _)| **name == **key)
                .map(|(_, value)| value)
        }

        fn members(&self) -> Members<'a> {
            Members(self.iter())
        }
    }

    /// The members of an object.
    pub(crate) struct Members<'a>(std::slice::Iter<'a, (Cow<'a, str>, Tree<'a>)>);

    impl<'a> Iterator for Members<'a> {
        type Item = (&'a str, &'a Tree<'a>);

        fn next(&mut self) -> Option<Self::Item> {
            self.0.next().map(|(name, value)| (&**name, value))
        }
    }

    impl<'a> Array<'a, Borrowed> for &'a [Tree<'a>] {
        type Node = &'a Tree<'a>;
        type ElementsIter = std::slice::Iter<'a, Tree<'a>>;

        fn len(&self) -> usize {
            <[_]>::len(self)
        }

        fn elements(&self) -> Self::ElementsIter {
            self.iter()
        }
    }
}

/// The message of a decoder without its position: a model cannot use line and column.
pub(crate) fn without_position(error: &serde_json::Error) -> Cow<'static, str> {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned().into(),
        None => text.into(),
    }
}
