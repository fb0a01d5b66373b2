//! Validation by JSON Schema, without building a `serde_json::Value`: the validator walks the tape
//! that was made when the message was scanned. A server checks arguments with it, and results whose
//! schema was written by hand; a client checks structured results.

use std::fmt;
use std::sync::OnceLock;

use compere_proto::Limits;
use compere_proto::wire::scan::Scanner;
use compere_proto::wire::tape::Node;
use serde_json::Value;

/// Checks the arguments of one tool, or its results.
pub(crate) enum Validation {
    /// The Rust type enforces what the schema says.
    ByType,
    /// Nothing checks them, on the tool's own wish.
    Off,
    /// The schema is none, which is said in the log.
    Unusable(String),
    /// A validator, compiled on first use.
    #[cfg(feature = "validation")]
    BySchema {
        schema: Value,
        compiled: OnceLock<Result<jsonschema::Validator<scanned::Scanned>, String>>,
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

    /// The text that tells a model what to correct, if a value does not fit; `None` is no arguments
    /// at all. The JSON has been scanned before, so its depth and size are bounded.
    pub(crate) fn check(&self, value: Option<Node<'_>>) -> Result<(), String> {
        match self {
            Self::ByType | Self::Off => Ok(()),
            Self::Unusable(why) => Err(why.clone()),
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
                let Some(node) = value else {
                    // No arguments at all: the same rules, on an empty object.
                    return check_empty(validator);
                };
                let instance = scanned::Instance::Value(node);
                if validator.is_valid(instance) {
                    return Ok(());
                }
                Err(explain(validator, instance))
            }
        }
    }

    /// The same for a value that is still text.
    pub(crate) fn check_text(&self, json: &str, limits: &Limits) -> Result<(), String> {
        if matches!(self, Self::ByType | Self::Off) {
            return Ok(());
        }
        let mut scanner = Scanner::new();
        let tape = scanner
            .check(json, limits)
            .map_err(|fault| fault.to_string())?;
        self.check(tape.root())
    }
}

#[cfg(feature = "validation")]
fn compile(
    schema: &Value,
    regex_bytes: usize,
) -> Result<jsonschema::Validator<scanned::Scanned>, String> {
    jsonschema::options_for::<scanned::Scanned>()
        .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(regex_bytes))
        .offline()
        .build(schema)
        .map_err(|error| format!("the tool's schema cannot be used: {error}"))
}

#[cfg(feature = "validation")]
fn check_empty(validator: &jsonschema::Validator<scanned::Scanned>) -> Result<(), String> {
    let mut scanner = Scanner::new();
    let tape = scanner
        .check("{}", &Limits::DEFAULT)
        .map_err(|fault| fault.to_string())?;
    match tape.root() {
        Some(node) if !validator.is_valid(scanned::Instance::Value(node)) => {
            Err(explain(validator, scanned::Instance::Value(node)))
        }
        _ => Ok(()),
    }
}

/// The first few faults, each with its place.
#[cfg(feature = "validation")]
fn explain(
    validator: &jsonschema::Validator<scanned::Scanned>,
    instance: scanned::Instance<'_>,
) -> String {
    const SHOWN: usize = 5;
    let faults: Vec<String> = validator
        .iter_errors(instance)
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
            Self::Unusable(_) => "Unusable",
            #[cfg(feature = "validation")]
            Self::BySchema { .. } => "BySchema",
        })
    }
}

#[cfg(feature = "validation")]
pub(crate) mod scanned {
    //! Values of a scanned message as the validator sees them. A node refers to the tape and the
    //! text of the message; nothing is built.

    use std::borrow::Cow;

    use compere_proto::wire::decode::decode;
    use compere_proto::wire::tape::{Elements, Kind, Members, Node as TapeNode};
    use jsonschema::JsonType;
    use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
    use serde_json::{Number, Value};

    /// This representation, for the validator.
    pub(crate) struct Scanned;

    /// One value: from the message, or a member name that is validated like a value.
    #[derive(Clone, Copy)]
    pub(crate) enum Instance<'a> {
        Value(TapeNode<'a>),
        Name(&'a str),
    }

    impl Json for Scanned {
        type Node<'a> = Instance<'a>;
        type PreparedKey = Box<str>;
        type StringBuffer = ();

        // One pass over the members of an object costs about as much as one look-up among them.
        const KEYS_PER_LOOKUP: usize = 4;
        const ACYCLIC: bool = true;

        fn prepare_key(key: &str) -> Box<str> {
            key.into()
        }

        fn with_string_node<T>(
            _buffer: &mut (),
            string: &str,
            f: impl FnOnce(Instance<'_>) -> T,
        ) -> T {
            f(Instance::Name(string))
        }
    }

    /// A number, as its digits.
    pub(crate) struct Digits<'a>(&'a str);

    impl JsonNumber for Digits<'_> {
        fn as_u64(&self) -> Option<u64> {
            self.0.parse().ok()
        }

        fn as_i64(&self) -> Option<i64> {
            self.0.parse().ok()
        }

        fn as_f64(&self) -> Option<f64> {
            self.0.parse().ok()
        }

        fn as_str(&self) -> Cow<'_, str> {
            self.0.into()
        }

        fn to_number(&self) -> Cow<'_, Number> {
            let number = serde_json::from_str(self.0);
            Cow::Owned(number.unwrap_or_else(|_| Number::from(0)))
        }

        fn is_integer(&self) -> bool {
            let plain = self
                .0
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
            plain || self.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
    }

    impl<'a> Instance<'a> {
        fn of(self, kind: Kind) -> Option<TapeNode<'a>> {
            match self {
                Self::Value(node) if node.kind() == kind => Some(node),
                _ => None,
            }
        }
    }

    impl<'a> Node<'a, Scanned> for Instance<'a> {
        type Object = ObjectNode<'a>;
        type Array = ArrayNode<'a>;
        type Number = Digits<'a>;

        fn as_object(&self) -> Option<ObjectNode<'a>> {
            self.of(Kind::Object).map(ObjectNode)
        }

        fn as_array(&self) -> Option<ArrayNode<'a>> {
            self.of(Kind::Array).map(ArrayNode)
        }

        fn as_string(&self) -> Option<Cow<'a, str>> {
            match self {
                Self::Value(node) => node.as_str(),
                Self::Name(name) => Some(Cow::Borrowed(name)),
            }
        }

        fn as_number(&self) -> Option<Digits<'a>> {
            self.of(Kind::Number)?.as_number().map(Digits)
        }

        fn as_boolean(&self) -> Option<bool> {
            match self.json_type() {
                JsonType::Boolean => Some(self.of(Kind::True).is_some()),
                _ => None,
            }
        }

        fn is_null(&self) -> bool {
            self.of(Kind::Null).is_some()
        }

        fn json_type(&self) -> JsonType {
            match self {
                Self::Name(_) => JsonType::String,
                Self::Value(node) => match node.kind() {
                    Kind::Null => JsonType::Null,
                    Kind::True | Kind::False => JsonType::Boolean,
                    Kind::Number => JsonType::Number,
                    Kind::String | Kind::EscapedString => JsonType::String,
                    Kind::Array => JsonType::Array,
                    Kind::Object => JsonType::Object,
                },
            }
        }

        fn to_value(&self) -> Cow<'a, Value> {
            Cow::Owned(match self {
                Self::Name(name) => Value::from(*name),
                Self::Value(node) => decode(*node).unwrap_or_default(),
            })
        }

        fn identity(&self) -> Option<NodeIdentity> {
            match self {
                Self::Value(node) => Some(NodeIdentity::tagged(0, node.place())),
                Self::Name(_) => None,
            }
        }
    }

    pub(crate) struct ObjectNode<'a>(TapeNode<'a>);

    impl<'a> Object<'a, Scanned> for ObjectNode<'a> {
        type Node = Instance<'a>;
        type MemberName = Cow<'a, str>;
        type MembersIter = NamedMembers<'a>;

        fn len(&self) -> usize {
            self.0.members().count()
        }

        fn is_empty(&self) -> bool {
            self.0.members().next().is_none()
        }

        fn get(&self, key: &Box<str>) -> Option<Instance<'a>> {
            self.0.get(key).map(Instance::Value)
        }

        fn members(&self) -> NamedMembers<'a> {
            NamedMembers(self.0.members())
        }
    }

    /// The members of an object by name.
    pub(crate) struct NamedMembers<'a>(Members<'a>);

    impl<'a> Iterator for NamedMembers<'a> {
        type Item = (Cow<'a, str>, Instance<'a>);

        fn next(&mut self) -> Option<Self::Item> {
            let (name, value) = self.0.next()?;
            Some((name.as_str().unwrap_or_default(), Instance::Value(value)))
        }
    }

    pub(crate) struct ArrayNode<'a>(TapeNode<'a>);

    impl<'a> Array<'a, Scanned> for ArrayNode<'a> {
        type Node = Instance<'a>;
        type ElementsIter = std::iter::Map<Elements<'a>, fn(TapeNode<'a>) -> Instance<'a>>;

        fn len(&self) -> usize {
            self.0.elements().count()
        }

        fn elements(&self) -> Self::ElementsIter {
            self.0.elements().map(Instance::Value)
        }
    }
}
