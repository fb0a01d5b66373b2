//! Values of a message as they stand in headers of HTTP: `Mcp-Name` and `Mcp-Param-*`, and which
//! parameters of a tool go there.
//!
//! Used by clients, which write them, and by servers, which hold them against the body. It knows
//! nothing of HTTP itself: a header is a name and a text here.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::wire::tape::{Kind, Node};

/// What a value begins with that is not written as it is.
const OPENING: &str = "=?base64?";
/// What it ends with.
const CLOSING: &str = "?=";
/// The greatest integer that every JSON reader takes exactly.
const EXACT: i64 = (1 << 53) - 1;

/// A text as a header value: as it is where that is safe, else in Base64 between markers.
pub fn encode(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|byte| matches!(byte, b' ' | 0x21..=0x7e));
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let looks_encoded = text.starts_with(OPENING) && text.ends_with(CLOSING);
    if plain && !padded && !looks_encoded {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{OPENING}{}{CLOSING}", STANDARD.encode(text)))
}

/// The value is between the markers and yet no Base64 of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable;

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no Base64 of UTF-8 stands between =?base64? and ?=")
    }
}

impl std::error::Error for Undecodable {}

/// The text that a header value stands for.
pub fn decode(value: &str) -> Result<Cow<'_, str>, Undecodable> {
    let value = value.trim_matches([' ', '\t']);
    let encoded = value
        .strip_prefix(OPENING)
        .and_then(|rest| rest.strip_suffix(CLOSING));
    let Some(encoded) = encoded else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| Undecodable)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| Undecodable)
}

/// A parameter of a tool that also goes into a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The header is called `Mcp-Param-` and this.
    pub name: Box<str>,
    /// Where the value stands: the names of members from the root of the arguments.
    path: Box<[Box<str>]>,
    is_integer: bool,
}

/// What is wrong with the marks of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// The marks of an input schema. Fails if one of them breaks a rule: then the tool is not to be used
/// over HTTP.
pub fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, Unfit> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), true, &mut found)?;
    for (index, mark) in found.iter().enumerate() {
        let earlier = found.iter().take(index);
        if earlier
            .into_iter()
            .any(|other: &Mirrored| other.name.eq_ignore_ascii_case(&mark.name))
        {
            return Err(Unfit(format!("x-mcp-header {:?} stands twice", mark.name)));
        }
    }
    Ok(found)
}

/// The keyword that marks a parameter.
const MARK: &str = "x-mcp-header";

/// Walks through a schema; marks are only allowed where nothing but `properties` lies above.
fn collect(
    schema: &Value,
    path: &mut Vec<Box<str>>,
    allowed: bool,
    found: &mut Vec<Mirrored>,
) -> Result<(), Unfit> {
    let Value::Object(members) = schema else {
        if let Value::Array(elements) = schema {
            for element in elements {
                collect(element, path, false, found)?;
            }
        }
        return Ok(());
    };
    if let Some(mark) = members.get(MARK) {
        found.push(marked(mark, members, path, allowed)?);
    }
    for (key, inner) in members {
        match (key.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name.as_str().into());
                    collect(property, path, allowed, found)?;
                    path.pop();
                }
            }
            // Data, not schemas.
            ("enum" | "const" | "default" | "examples", _) => {}
            _ => collect(inner, path, false, found)?,
        }
    }
    Ok(())
}

fn marked(
    mark: &Value,
    members: &Map<String, Value>,
    path: &[Box<str>],
    allowed: bool,
) -> Result<Mirrored, Unfit> {
    let at = path.join(".");
    let Value::String(name) = mark else {
        return Err(Unfit(format!("x-mcp-header of {at:?} is no text")));
    };
    if name.is_empty() || !name.bytes().all(is_token) {
        let shown: String = name.chars().take(64).collect();
        return Err(Unfit(format!(
            "x-mcp-header {shown:?} of {at:?} cannot be part of a header name"
        )));
    }
    if !allowed || path.is_empty() {
        return Err(Unfit(format!(
            "x-mcp-header {name:?} stands where it is not reached through properties alone"
        )));
    }
    let kind = members.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(Unfit(format!(
            "x-mcp-header {name:?} marks {at:?}, which is neither string, integer nor boolean"
        )));
    }
    Ok(Mirrored {
        name: name.as_str().into(),
        path: path.into(),
        is_integer: kind == Some("integer"),
    })
}

/// May this stand in the name of a header?
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Mirrored {
    /// The value in some arguments; none if it is absent or null.
    fn find<'a>(&self, arguments: Option<Node<'a>>) -> Option<Node<'a>> {
        let mut node = arguments?;
        for name in &self.path {
            node = node.get(name)?;
        }
        (node.kind() != Kind::Null).then_some(node)
    }

    /// The text of the header for these arguments; none if there is nothing to say.
    pub fn text<'a>(&self, arguments: Option<Node<'a>>) -> Option<Cow<'a, str>> {
        let node = self.find(arguments)?;
        match node.kind() {
            Kind::String | Kind::EscapedString => node.as_str(),
            Kind::True => Some("true".into()),
            Kind::False => Some("false".into()),
            Kind::Number => Some(match integer(node.as_json()) {
                Some(number) if self.is_integer => Cow::Owned(number.to_string()),
                _ => node.as_json().into(),
            }),
            _ => None,
        }
    }

    /// Does a header say what the arguments say? `header` is its value as it came, if it came.
    pub fn agrees(&self, header: Option<&str>, arguments: Option<Node<'_>>) -> bool {
        match (header, self.text(arguments)) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(header), Some(text)) => match decode(header) {
                Err(Undecodable) => false,
                Ok(said) if said == text => true,
                Ok(said) if self.is_integer => {
                    integer(&said).is_some_and(|said| Some(said) == integer(&text))
                }
                Ok(_) => false,
            },
        }
    }
}

/// A number without a fraction that is exact everywhere.
fn integer(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let number = whole.parse::<i64>().ok()?;
    (-EXACT..=EXACT).contains(&number).then_some(number)
}
