//! The JSON-RPC 2.0 values that every message is made of: ids, tokens, error objects, codes.
//!
//! Reading a whole message is `wire/scan.rs`; writing one is `wire/encode.rs`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A request id or progress token that is kept: an integer or a string, never null, never a
/// fraction (section "Messages" of every revision).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// An integer id.
    Number(i64),
    /// A string id.
    String(Box<str>),
}

/// A progress token has the same form as a request id.
pub type ProgressToken = RequestId;

impl From<i64> for RequestId {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for RequestId {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => write!(f, "{text:?}"),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        impl Visitor<'_> for IdVisitor {
            type Value = RequestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RequestId, E> {
                Ok(RequestId::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RequestId, E> {
                i64::try_from(number)
                    .map(RequestId::Number)
                    .map_err(|_| E::custom("the integer does not fit in 64 bits with sign"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RequestId, E> {
                Ok(RequestId::String(text.into()))
            }
        }

        deserializer.deserialize_any(IdVisitor)
    }
}

/// A request id as it stands in a message that was just read. Its text has been checked to be a
/// JSON string or an integer, so it can be written back verbatim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRef<'a> {
    raw: &'a str,
}

impl<'a> IdRef<'a> {
    /// The caller has checked that `raw` is a JSON string or an integer that fits in `i64`.
    pub(crate) const fn checked(raw: &'a str) -> Self {
        Self { raw }
    }

    /// The JSON text of the id.
    pub const fn as_json(self) -> &'a str {
        self.raw
    }

    /// A copy that outlives the message.
    pub fn to_owned(self) -> RequestId {
        if self.raw.starts_with('"') {
            RequestId::String(unescape(self.raw).into())
        } else {
            RequestId::Number(self.raw.parse().unwrap_or_default())
        }
    }
}

/// The text of a JSON string that is known to be well formed.
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    let inner = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(raw);
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Codes of JSON-RPC and of MCP, by name.
pub mod code {
    /// Not JSON at all.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON, but not a message, or not one that is allowed now.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method does not exist here, or its capability was not declared.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The params do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Our own fault.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// No such resource (until 2025-11-25).
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// A header disagrees with the body (from 2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs a capability that the client did not declare (from 2026-07-28).
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// The version is not served (from 2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// The person refused a sampling request.
    pub const REJECTED_BY_USER: i64 = -1;
    /// The person must first go to a page (only 2025-11-25).
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// A bound of [`Limits`](crate::Limits) was reached. A code of our own, outside of the range
    /// that JSON-RPC reserves; `data.limit` names the bound.
    pub const LIMIT_EXCEEDED: i64 = -31000;
}

/// The `error` member of a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorObject {
    /// Which kind of failure, see [`code`].
    #[serde(deserialize_with = "integral")]
    pub code: i64,
    /// One concise sentence.
    #[serde(default)]
    pub message: Cow<'static, str>,
    /// Anything else the sender wants to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// Some peers write their codes as `-32601.0`.
fn integral<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    if let Some(code) = number.as_i64() {
        return Ok(code);
    }
    match number.as_f64() {
        #[allow(clippy::cast_possible_truncation)]
        Some(code) if code.fract() == 0.0 && code.abs() < 9e15 => Ok(code as i64),
        _ => Err(de::Error::custom("an error code is an integer")),
    }
}

impl ErrorObject {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The same error with `data`. Data that cannot be serialised is left out.
    pub fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::value::to_raw_value(data).ok();
        self
    }

    /// `-32602` with a sentence that names the fault.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// `-32601` for a method.
    pub fn method_not_found(method: &str) -> Self {
        let shown: String = method.chars().take(128).collect();
        Self::new(code::METHOD_NOT_FOUND, format!("Method not found: {shown}"))
    }

    /// `-32603`, with nothing about the inside.
    pub fn internal() -> Self {
        Self::new(code::INTERNAL_ERROR, "Internal error")
    }

    /// A limit error that names the bound and its value.
    pub fn limit(limit: &'static str, allowed: impl fmt::Display) -> Self {
        Self::new(
            code::LIMIT_EXCEEDED,
            format!("Limit reached: {limit} ({allowed})"),
        )
        .with_data(&serde_json::json!({ "limit": limit }))
    }
}

impl PartialEq for ErrorObject {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.data.as_ref().map(|data| data.get())
                == other.data.as_ref().map(|data| data.get())
    }
}

/// The most characters of an error's message that are shown.
const SHOWN: usize = 1000;

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is for people: what a peer writes has no bound but that of a message.
        match self.message.char_indices().nth(SHOWN) {
            None => write!(f, "{} ({})", self.message, self.code),
            Some((end, _)) => write!(
                f,
                "{}… ({}, {} bytes)",
                self.message.get(..end).unwrap_or_default(),
                self.code,
                self.message.len()
            ),
        }
    }
}

impl std::error::Error for ErrorObject {}
