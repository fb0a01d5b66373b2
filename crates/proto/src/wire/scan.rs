//! One pass over the bytes of a message: checks that it is JSON, within the bounds, free of
//! duplicate keys, and a JSON-RPC message; and notes where its parts are.
//!
//! Nothing is copied and no tree is built. What comes out borrows from the input, so the decoder
//! of the user's own type reads the raw arguments directly. Duplicate keys are refused because a
//! document must mean the same to everyone who reads it after us.

// A message is shorter than `u32::MAX`, which `Scanner::scan` checks first; so are all its places.
#![allow(clippy::cast_possible_truncation)]

use std::borrow::Cow;
use std::fmt;

use crate::jsonrpc::{ErrorObject, IdRef, RequestId, code, unescape};
use crate::limits::Limits;
use crate::wire::decode::{decode, without_position};
use crate::wire::skim::Skim;
use crate::wire::tape::{Item, Kind, Node, Tape};

/// A JSON-RPC message, its parts borrowed from the bytes it was read from.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// A request.
    Request {
        /// Its id.
        id: IdRef<'a>,
        /// The method, possibly with JSON escapes.
        method: RawStr<'a>,
        /// Its params.
        params: Params<'a>,
    },
    /// A notification.
    Notification {
        /// The method, possibly with JSON escapes.
        method: RawStr<'a>,
        /// Its params.
        params: Params<'a>,
    },
    /// A success response.
    Result {
        /// The id of the request.
        id: IdRef<'a>,
        /// The JSON text of `result`.
        result: &'a str,
    },
    /// An error response.
    Error {
        /// The id of the request; `None` when the peer could not read it.
        id: Option<IdRef<'a>>,
        /// The JSON text of `error`.
        error: &'a str,
    },
}

/// A JSON string as it stands in the input, quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawStr<'a>(&'a str);

impl<'a> RawStr<'a> {
    /// The text that it stands for.
    pub fn text(self) -> Cow<'a, str> {
        unescape(self.0)
    }
}

/// The `params` of a request or notification: an object, or absent.
///
/// Holds the tape of its values; give it back with
/// [`Scanner::recycle`] so that the next message needs no memory of its own.
#[derive(Debug, Clone)]
pub struct Params<'a> {
    raw: Option<&'a str>,
    tape: Tape<'a>,
}

impl<'a> Params<'a> {
    /// No params.
    pub fn absent() -> Self {
        Self {
            raw: None,
            tape: Tape::default(),
        }
    }

    /// The JSON text, `{}` when absent.
    pub fn as_json(&self) -> &'a str {
        self.raw.unwrap_or("{}")
    }

    /// Was there a `params` member?
    pub fn is_present(&self) -> bool {
        self.raw.is_some()
    }

    /// One member.
    pub fn node(&self, key: &str) -> Option<Node<'_>> {
        self.tape.root()?.get(key)
    }

    /// The JSON text of one member.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.node(key).map(Node::as_json)
    }

    /// A member that is a string.
    pub fn get_str(&self, key: &str) -> Option<Cow<'_, str>> {
        self.node(key)?.as_str()
    }

    /// Decodes all params into a type.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, ErrorObject> {
        let decoded = match self.tape.root() {
            Some(node) => decode(node),
            None => serde_json::from_str("{}"),
        };
        decoded.map_err(|error| {
            let why = without_position(&error);
            ErrorObject::invalid_params(format!("Invalid params: {why}"))
        })
    }
}

/// The raw value of a member of an object that is known to be well formed.
pub fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    struct Find<'k>(&'k str);

    impl<'de> serde::de::Visitor<'de> for Find<'_> {
        type Value = Option<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(name) = map.next_key_seed(crate::object::KeySeed)? {
                let value = map.next_value::<&'de serde_json::value::RawValue>()?;
                if name == self.0 {
                    found = Some(value.get());
                }
            }
            Ok(found)
        }
    }

    use serde::Deserializer;
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Find(key)).ok().flatten()
}

/// The members of an object that is known to be well formed, in order; none of anything else.
pub fn members(object: &str) -> Vec<(Cow<'_, str>, &str)> {
    struct All;

    impl<'de> serde::de::Visitor<'de> for All {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(name) = map.next_key_seed(crate::object::KeySeed)? {
                let value = map.next_value::<&'de serde_json::value::RawValue>()?;
                found.push((name, value.get()));
            }
            Ok(found)
        }
    }

    use serde::Deserializer;
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(All).unwrap_or_default()
}

/// Why bytes are no message that we take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Not UTF-8.
    NotUtf8,
    /// A byte order mark at the start.
    ByteOrderMark,
    /// Not JSON; the offset in bytes and what was wrong there.
    NotJson(usize, &'static str),
    /// Nested deeper than the bound.
    TooDeep(usize),
    /// More values than the bound.
    TooManyNodes(usize),
    /// More members in one object than the bound.
    TooManyKeys(usize),
    /// The same key twice in one object.
    DuplicateKey(String),
    /// A bound on bytes was passed.
    TooLarge(usize),
    /// An array of messages, in a revision without batching.
    Batch,
    /// JSON, but no object.
    NotAnObject,
    /// `jsonrpc` is not `"2.0"`.
    WrongVersion,
    /// The id is null, a fraction, too long or of another type.
    InvalidId,
    /// `method` is no string.
    InvalidMethod,
    /// `params` is no object.
    ParamsNotAnObject,
    /// A response with both `result` and `error`.
    ResultAndError,
    /// Neither `method` nor `result` nor `error`.
    NeitherResultNorError,
    /// `error` is no object.
    ErrorNotAnObject,
    /// A request that carries `result` or `error` too.
    MethodAndResult,
}

impl Fault {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::NotUtf8 | Self::ByteOrderMark | Self::NotJson(..) => code::PARSE_ERROR,
            Self::TooDeep(_)
            | Self::TooManyNodes(_)
            | Self::TooManyKeys(_)
            | Self::DuplicateKey(_)
            | Self::ParamsNotAnObject => code::INVALID_PARAMS,
            Self::TooLarge(_) => code::LIMIT_EXCEEDED,
            _ => code::INVALID_REQUEST,
        }
    }

    /// The error object that answers it.
    pub fn to_error(&self) -> ErrorObject {
        match self {
            Self::TooLarge(allowed) => ErrorObject::limit("message_bytes", allowed),
            _ => ErrorObject::new(self.code(), self.to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("Parse error: not UTF-8"),
            Self::ByteOrderMark => f.write_str("Parse error: starts with a byte order mark"),
            Self::NotJson(at, what) => write!(f, "Parse error at byte {at}: {what}"),
            Self::TooDeep(allowed) => write!(f, "Nested deeper than {allowed} levels"),
            Self::TooManyNodes(allowed) => write!(f, "More than {allowed} values in one message"),
            Self::TooManyKeys(allowed) => write!(f, "More than {allowed} members in one object"),
            Self::DuplicateKey(key) => write!(f, "Duplicate key {key:?} in one object"),
            Self::TooLarge(allowed) => write!(f, "Message larger than {allowed} bytes"),
            Self::Batch => f.write_str("Invalid request: a batch cannot be taken here"),
            Self::NotAnObject => f.write_str("Invalid request: a message is an object"),
            Self::WrongVersion => f.write_str("Invalid request: jsonrpc must be \"2.0\""),
            Self::InvalidId => f.write_str("Invalid request: an id is a string or an integer"),
            Self::InvalidMethod => f.write_str("Invalid request: method is a string"),
            Self::ParamsNotAnObject => f.write_str("Invalid params: params is an object"),
            Self::ResultAndError => f.write_str("Invalid response: both result and error"),
            Self::NeitherResultNorError => {
                f.write_str("Invalid request: neither method nor result nor error")
            }
            Self::ErrorNotAnObject => f.write_str("Invalid response: error is an object"),
            Self::MethodAndResult => f.write_str("Invalid request: both a request and a response"),
        }
    }
}

/// What is known of bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// The id, where it could be read.
    pub id: Option<RequestId>,
    /// Does it look like a response? Responses are never answered.
    pub response: bool,
    /// Does it look like a notification? They are never answered either.
    pub notification: bool,
}

/// Where the scanner remembers keys between messages, so that scanning allocates nothing.
#[derive(Debug, Default)]
pub struct Scanner {
    keys: Vec<Text>,
    items: Vec<Item>,
}

/// A tape that grew beyond this many values is not kept for the next message.
const KEEP_VALUES: usize = 4096;

/// A string of the message, without its quotes.
#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    end: u32,
    escaped: bool,
}

impl Text {
    /// For comparing: cheaper than a text, whose ends are checked to be between characters.
    fn bytes(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

impl Scanner {
    /// A scanner with empty scratch space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the tape of params that are no longer needed, for the next message.
    pub fn recycle(&mut self, params: Params<'_>) {
        if params.tape.items.capacity() <= KEEP_VALUES {
            self.items = params.tape.items;
        }
    }

    /// Reads one message.
    pub fn scan<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<Message<'a>, Malformed> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(unreadable(bytes, Fault::ByteOrderMark, limits));
        }
        if bytes.len() > limits.message_bytes || bytes.len() > u32::MAX as usize {
            return Err(skimmed(
                bytes,
                Fault::TooLarge(limits.message_bytes),
                limits,
            ));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(unreadable(bytes, Fault::NotUtf8, limits));
        };
        let mut items = std::mem::take(&mut self.items);
        items.clear();
        let mut cursor = Cursor::new(text, &mut self.keys, items, limits);
        cursor.message().map_err(|Stop| match cursor.fault {
            fault @ Fault::NotJson(..) => unreadable(bytes, fault, limits),
            fault => skimmed(bytes, fault, limits),
        })
    }

    /// Checks one JSON value against the same rules as a message, for text from elsewhere.
    pub fn check<'a>(&mut self, text: &'a str, limits: &Limits) -> Result<Tape<'a>, Fault> {
        let mut cursor = Cursor::new(text, &mut self.keys, Vec::new(), limits);
        cursor.taping = true;
        match cursor.document() {
            Ok(()) => Ok(Tape {
                text,
                items: cursor.items,
            }),
            Err(Stop) => Err(cursor.fault),
        }
    }
}

/// What is no JSON has no id, as the specification of JSON-RPC wants it. But what looks like the
/// answer to a request ends that request: nobody else will.
fn unreadable(bytes: &[u8], fault: Fault, limits: &Limits) -> Malformed {
    let skimmed = skimmed(bytes, fault, limits);
    if skimmed.response && skimmed.id.is_some() {
        return skimmed;
    }
    Malformed {
        fault: skimmed.fault,
        id: None,
        response: false,
        notification: false,
    }
}

/// Reads the id of a message that was refused, without trusting anything else of it.
fn skimmed(bytes: &[u8], fault: Fault, limits: &Limits) -> Malformed {
    let mut skim = Skim::new(limits.token_bytes);
    skim.feed(bytes);
    skim.finish(fault)
}

/// The scan has ended early; why is in [`Cursor::fault`]. So small that it travels in a register
/// through all the levels of a message.
#[derive(Debug, Clone, Copy)]
struct Stop;

struct Cursor<'a, 's> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
    keys: &'s mut Vec<Text>,
    items: Vec<Item>,
    /// Inside of `params`, whose values are noted.
    taping: bool,
    limits: &'s Limits,
    fault: Fault,
}

/// The members of the envelope, as far as they were there.
#[derive(Default)]
struct Parts<'a> {
    jsonrpc: Option<&'a str>,
    id: Option<&'a str>,
    method: Option<&'a str>,
    params: Option<Params<'a>>,
    params_invalid: bool,
    result: Option<&'a str>,
    error: Option<&'a str>,
}

impl<'a, 's> Cursor<'a, 's> {
    fn new(text: &'a str, keys: &'s mut Vec<Text>, items: Vec<Item>, limits: &'s Limits) -> Self {
        keys.clear();
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            nodes: 0,
            keys,
            items,
            taping: false,
            limits,
            fault: Fault::NotAnObject,
        }
    }

    fn message(&mut self) -> Result<Message<'a>, Stop> {
        if self.token() != b'{' {
            let fault = if self.token() == b'[' {
                Fault::Batch
            } else {
                Fault::NotAnObject
            };
            self.document()?;
            return self.stop(fault);
        }
        let parts = self.envelope()?;
        self.end()?;
        parts
            .classify(self.limits)
            .or_else(|fault| self.stop(fault))
    }

    fn document(&mut self) -> Result<(), Stop> {
        self.token();
        self.value(0)?;
        self.end()
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.token();
        if self.at == self.bytes.len() {
            return Ok(());
        }
        self.not_json("something follows the value")
    }

    fn envelope(&mut self) -> Result<Parts<'a>, Stop> {
        let mut parts = Parts::default();
        self.members(1, |cursor, key| {
            let name = match key.escaped {
                false => Cow::Borrowed(key.of(cursor.text)),
                true => unescape(&format!("\"{}\"", key.of(cursor.text)))
                    .into_owned()
                    .into(),
            };
            let slot = match &*name {
                "params" => return cursor.params(&mut parts),
                "jsonrpc" => &mut parts.jsonrpc,
                "id" => &mut parts.id,
                "method" => &mut parts.method,
                "result" => &mut parts.result,
                "error" => &mut parts.error,
                _ => return cursor.raw(1).map(drop),
            };
            *slot = Some(cursor.raw(1)?);
            Ok(())
        })?;
        Ok(parts)
    }

    fn params(&mut self, parts: &mut Parts<'a>) -> Result<(), Stop> {
        let start = self.at;
        if self.peek() != b'{' {
            let raw = self.raw(1)?;
            // Several peers write null for "none".
            parts.params_invalid = raw != "null";
            return Ok(());
        }
        self.taping = true;
        self.value(1)?;
        self.taping = false;
        parts.params = Some(Params {
            raw: Some(self.since(start)),
            tape: Tape {
                text: self.text,
                items: std::mem::take(&mut self.items),
            },
        });
        Ok(())
    }

    /// Notes a value that is read already.
    fn note(&mut self, kind: Kind, start: u32, end: u32) {
        if self.taping {
            let next = self.items.len() as u32 + 1;
            self.items.push(Item {
                kind,
                start,
                end,
                next,
            });
        }
    }

    fn note_text(&mut self, text: Text) {
        let kind = if text.escaped {
            Kind::EscapedString
        } else {
            Kind::String
        };
        self.note(kind, text.start, text.end);
    }

    /// Notes a container at its opening bracket; [`Cursor::close`] completes it.
    fn open(&mut self, kind: Kind) -> usize {
        let place = self.items.len();
        self.note(kind, self.at as u32, self.at as u32);
        place
    }

    fn close(&mut self, place: usize) {
        if self.taping {
            let next = self.items.len() as u32;
            if let Some(item) = self.items.get_mut(place) {
                item.end = self.at as u32;
                item.next = next;
            }
        }
    }

    /// Reads a value and gives its text.
    fn raw(&mut self, depth: usize) -> Result<&'a str, Stop> {
        let start = self.at;
        self.value(depth)?;
        Ok(self.since(start))
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        match self.peek() {
            b'"' => {
                self.count()?;
                let text = self.string()?;
                self.note_text(text);
                Ok(())
            }
            b'{' => {
                let place = self.open(Kind::Object);
                self.members(depth + 1, |cursor, _| cursor.value(depth + 1))?;
                self.close(place);
                Ok(())
            }
            b'[' => {
                let place = self.open(Kind::Array);
                self.array(depth + 1)?;
                self.close(place);
                Ok(())
            }
            b'-' | b'0'..=b'9' => {
                self.count()?;
                let start = self.at as u32;
                self.number()?;
                self.note(Kind::Number, start, self.at as u32);
                Ok(())
            }
            b't' => self.word("true", Kind::True),
            b'f' => self.word("false", Kind::False),
            b'n' => self.word("null", Kind::Null),
            _ => self.not_json("expected a value"),
        }
    }

    /// Reads an object; `each` gets every key with the cursor at its value.
    fn members(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self, Text) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.count()?;
        if depth > self.limits.json_depth {
            return self.stop(Fault::TooDeep(self.limits.json_depth));
        }
        self.at += 1;
        let first_key = self.keys.len();
        let mut any_escaped = false;
        if self.token() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.token() != b'"' {
                return self.not_json("expected a key");
            }
            let key = self.string()?;
            self.note_text(key);
            any_escaped |= key.escaped;
            if self.keys.len() - first_key >= self.limits.json_keys {
                return self.stop(Fault::TooManyKeys(self.limits.json_keys));
            }
            self.keys.push(key);
            if self.token() != b':' {
                return self.not_json("expected a colon");
            }
            self.at += 1;
            self.token();
            each(self, key)?;
            match self.token() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    break;
                }
                _ => return self.not_json("expected a comma or the end of the object"),
            }
        }
        self.refuse_duplicates(first_key, any_escaped)?;
        self.keys.truncate(first_key);
        Ok(())
    }

    /// Pairs for the few keys of usual objects, sorting for the rest: no hash to attack, no
    /// quadratic cost.
    fn refuse_duplicates(&mut self, first_key: usize, any_escaped: bool) -> Result<(), Stop> {
        const FEW: usize = 8;
        let (text, bytes) = (self.text, self.bytes);
        let keys = self.keys.get_mut(first_key..).unwrap_or_default();
        if any_escaped {
            let mut decoded: Vec<String> = keys
                .iter()
                .map(|key| unescape(&format!("\"{}\"", key.of(text))).into_owned())
                .collect();
            decoded.sort_unstable();
            return match decoded.windows(2).find(|pair| pair[0] == pair[1]) {
                Some(pair) => self.stop(duplicate(&pair[0])),
                None => Ok(()),
            };
        }
        let doubled = if keys.len() <= FEW {
            keys.iter().enumerate().find_map(|(index, key)| {
                let same = |other: &&Text| {
                    other.end - other.start == key.end - key.start
                        && other.bytes(bytes) == key.bytes(bytes)
                };
                keys[..index].iter().find(same).copied()
            })
        } else {
            keys.sort_unstable_by_key(|key| key.bytes(bytes));
            keys.windows(2)
                .find(|pair| pair[0].bytes(bytes) == pair[1].bytes(bytes))
                .map(|pair| pair[0])
        };
        match doubled {
            Some(key) => self.stop(duplicate(key.of(text))),
            None => Ok(()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Stop> {
        self.count()?;
        if depth > self.limits.json_depth {
            return self.stop(Fault::TooDeep(self.limits.json_depth));
        }
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.token();
            self.value(depth)?;
            match self.token() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.not_json("expected a comma or the end of the array"),
            }
        }
    }

    /// Reads a string from its opening quote; the text is what stands between the quotes.
    fn string(&mut self) -> Result<Text, Stop> {
        self.at += 1;
        let start = self.at as u32;
        let mut escaped = false;
        loop {
            self.at = skip_plain(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let end = self.at as u32;
                    self.at += 1;
                    return Ok(Text {
                        start,
                        end,
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.not_json("a control character in a string"),
                None => return self.not_json(""),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Stop> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Ok(())
            }
            b'u' => match self.code_unit()? {
                0xDC00..=0xDFFF => self.not_json("a lone surrogate"),
                0xD800..=0xDBFF => {
                    if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                        return self.not_json("a lone surrogate");
                    }
                    self.at += 1;
                    match self.code_unit()? {
                        0xDC00..=0xDFFF => Ok(()),
                        _ => self.not_json("a lone surrogate"),
                    }
                }
                _ => Ok(()),
            },
            _ => self.not_json("an unknown escape"),
        }
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u32, Stop> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let unit = digits.and_then(|digits| {
            digits.iter().try_fold(0, |unit, digit| {
                Some(unit * 16 + char::from(*digit).to_digit(16)?)
            })
        });
        match unit {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.not_json("an unknown escape"),
        }
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.not_json("expected a digit"),
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Stop> {
        let start = self.at;
        self.digits();
        if self.at == start {
            return self.not_json("expected a digit");
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, kind: Kind) -> Result<(), Stop> {
        self.count()?;
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) == Some(word.as_bytes()) {
            self.note(kind, self.at as u32, end as u32);
            self.at = end;
            return Ok(());
        }
        self.not_json("expected a value")
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > self.limits.json_nodes {
            return self.stop(Fault::TooManyNodes(self.limits.json_nodes));
        }
        Ok(())
    }

    /// The byte at the cursor; zero, which no JSON holds, at the end.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Skips white space; the byte behind it as [`Cursor::peek`].
    #[inline]
    fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return byte;
            }
            self.at += 1;
        }
    }

    #[cold]
    fn stop<T>(&mut self, fault: Fault) -> Result<T, Stop> {
        self.fault = fault;
        Err(Stop)
    }

    #[cold]
    fn not_json<T>(&mut self, what: &'static str) -> Result<T, Stop> {
        let what = if self.at >= self.bytes.len() {
            "the message ends too early"
        } else {
            what
        };
        self.stop(Fault::NotJson(self.at, what))
    }
}

fn duplicate(key: &str) -> Fault {
    Fault::DuplicateKey(key.chars().take(64).collect())
}

/// The first position from `at` on that needs a look: quote, backslash or control character. Most
/// strings end within a few bytes, and the keys of the stateless era within six words, which go eight at a
/// time in one register; what is longer goes by chunks, which the compiler turns into vector instructions.
fn skip_plain(bytes: &[u8], at: usize) -> usize {
    const WORDS: usize = 6;
    const CHUNK: usize = 32;
    let mut rest = bytes.get(at..).unwrap_or_default();
    let skipped = |rest: &[u8]| bytes.len() - rest.len();
    for _ in 0..WORDS {
        let Some((word, after)) = rest.split_first_chunk::<8>() else {
            break;
        };
        let marks = special_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return skipped(rest) + marks.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    while let Some((chunk, after)) = rest.split_first_chunk::<CHUNK>() {
        let found = chunk
            .iter()
            .fold(0, |found, byte| found | u8::from(is_special(*byte)));
        if found != 0 {
            break;
        }
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let marks = special_marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return skipped(rest) + marks.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    let found = rest.iter().position(|byte| is_special(*byte));
    skipped(rest) + found.unwrap_or(rest.len())
}

const fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Marks the special bytes of a word at their high bits. Bytes above the first special one may be
/// marked wrongly, which is why only the lowest mark counts.
const fn special_marks(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_ne_bytes([0x20; 8]);
    let quote = word ^ QUOTES;
    let backslash = word ^ BACKSLASHES;
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let backslashes = backslash.wrapping_sub(ONES) & !backslash;
    let controls = word.wrapping_sub(SPACES) & !word;
    (quotes | backslashes | controls) & HIGHS
}

impl<'a> Parts<'a> {
    fn classify(self, limits: &Limits) -> Result<Message<'a>, Fault> {
        if self.jsonrpc != Some("\"2.0\"") {
            return Err(Fault::WrongVersion);
        }
        // An explicit null is how some peers write "no error".
        let error = self.error.filter(|error| *error != "null");
        if let Some(method) = self.method {
            if self.result.is_some() || error.is_some() {
                return Err(Fault::MethodAndResult);
            }
            if !method.starts_with('"') {
                return Err(Fault::InvalidMethod);
            }
            let id = self.id.map(|raw| checked_id(raw, limits)).transpose()?;
            if self.params_invalid {
                return Err(Fault::ParamsNotAnObject);
            }
            let method = RawStr(method);
            let params = self.params.unwrap_or_else(Params::absent);
            return Ok(match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notification { method, params },
            });
        }
        match (self.result, error) {
            (Some(_), Some(_)) => Err(Fault::ResultAndError),
            (None, None) => Err(Fault::NeitherResultNorError),
            (Some(result), None) => {
                let id = self.id.ok_or(Fault::InvalidId)?;
                Ok(Message::Result {
                    id: checked_id(id, limits)?,
                    result,
                })
            }
            (None, Some(error)) => {
                if !error.starts_with('{') {
                    return Err(Fault::ErrorNotAnObject);
                }
                let id = match self.id {
                    None | Some("null") => None,
                    Some(id) => Some(checked_id(id, limits)?),
                };
                Ok(Message::Error { id, error })
            }
        }
    }
}

fn checked_id<'a>(raw: &'a str, limits: &Limits) -> Result<IdRef<'a>, Fault> {
    let fits = raw.len() <= limits.token_bytes;
    if fits && (raw.starts_with('"') || raw.parse::<i64>().is_ok()) {
        Ok(IdRef::checked(raw))
    } else {
        Err(Fault::InvalidId)
    }
}
