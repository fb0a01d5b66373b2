//! Trace context in `_meta`: which trace a request belongs to, in the formats of W3C Trace Context and
//! Baggage. The protocol carries it and does nothing with it.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic>

use std::fmt;

use serde_json::value::RawValue;

use crate::object::Meta;
use crate::wire::scan::Params;
use crate::wire::tape::Node;

/// `_meta` key: the trace, and the span that made the request.
pub const TRACEPARENT: &str = "traceparent";
/// `_meta` key: what the systems on the way know of the trace.
pub const TRACESTATE: &str = "tracestate";
/// `_meta` key: names and values that travel with the trace.
pub const BAGGAGE: &str = "baggage";

/// The longest that is taken, in bytes; longer ones may be cut by anyone.
const STATE_BYTES: usize = 512;
const BAGGAGE_BYTES: usize = 8_192;
/// How many systems one state may name.
const STATES: usize = 32;

/// The trace that a request belongs to. All parts have the form that they must have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    parent: Box<str>,
    state: Option<Box<str>>,
    baggage: Option<Box<str>>,
}

/// A part that has not the form that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTrace(&'static str);

impl fmt::Display for InvalidTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has not the form that W3C gives it", self.0)
    }
}

impl std::error::Error for InvalidTrace {}

impl TraceContext {
    /// A context with this `traceparent`, such as
    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
    pub fn new(traceparent: impl Into<Box<str>>) -> Result<Self, InvalidTrace> {
        let parent = traceparent.into();
        match is_parent(&parent) {
            true => Ok(Self {
                parent,
                state: None,
                baggage: None,
            }),
            false => Err(InvalidTrace(TRACEPARENT)),
        }
    }

    /// With a `tracestate`: at most 32 members, and 512 bytes.
    pub fn tracestate(mut self, tracestate: impl Into<Box<str>>) -> Result<Self, InvalidTrace> {
        let state = tracestate.into();
        if !is_state(&state) {
            return Err(InvalidTrace(TRACESTATE));
        }
        self.state = Some(state);
        Ok(self)
    }

    /// With `baggage`: at most 8,192 bytes.
    pub fn baggage(mut self, baggage: impl Into<Box<str>>) -> Result<Self, InvalidTrace> {
        let baggage = baggage.into();
        if !is_baggage(&baggage) {
            return Err(InvalidTrace(BAGGAGE));
        }
        self.baggage = Some(baggage);
        Ok(self)
    }

    /// The trace and the span, as they are written.
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// What the systems on the way know.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Names and values that travel along.
    pub fn carried(&self) -> Option<&str> {
        self.baggage.as_deref()
    }

    /// The 32 digits of the trace.
    pub fn trace_id(&self) -> &str {
        self.parent.get(3..35).unwrap_or_default()
    }

    /// The 16 digits of the span that made the request.
    pub fn parent_id(&self) -> &str {
        self.parent.get(36..52).unwrap_or_default()
    }

    /// Reads it from the metadata of a request. Without a `traceparent` that has its form there is none, as
    /// W3C wants it; other parts that have not theirs are left out.
    pub fn of(params: &Params<'_>) -> Option<Self> {
        let meta = params.node("_meta")?;
        let context = Self::new(&*meta.get(TRACEPARENT)?.as_str()?).ok()?;
        let text = |key| meta.get(key).and_then(Node::as_str);
        let context = match text(TRACESTATE) {
            Some(state) => context.clone().tracestate(&*state).unwrap_or(context),
            None => context,
        };
        Some(match text(BAGGAGE) {
            Some(baggage) => context.clone().baggage(&*baggage).unwrap_or(context),
            None => context,
        })
    }

    /// Writes it into the metadata of a request.
    pub fn write(&self, meta: &mut Meta) {
        let parts = [
            (TRACEPARENT, Some(self.traceparent())),
            (TRACESTATE, self.state()),
            (BAGGAGE, self.carried()),
        ];
        for (key, value) in parts {
            let value = value.and_then(|value| serde_json::value::to_raw_value(value).ok());
            if let Some(value) = value {
                let value: Box<RawValue> = value;
                meta.extra.push(key, value);
            }
        }
    }
}

fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let fits = part.len() == digits
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then_some(part)
    };
    let (Some(version), Some(trace), Some(span), Some(_)) = (hex(2), hex(32), hex(16), hex(2))
    else {
        return false;
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    // Later versions may say more.
    let ends = version != "00" || parts.next().is_none();
    version != "ff" && !is_zero(trace) && !is_zero(span) && ends && text.len() <= STATE_BYTES
}

fn is_state(text: &str) -> bool {
    let members = text
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']));
    let fits = |member: &str| match member.split_once('=') {
        Some((key, value)) => {
            let in_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
            let in_value = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'=';
            let first = key.bytes().next();
            first.is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
                && key.len() <= 256
                && key.bytes().all(in_key)
                && !value.is_empty()
                && value.len() <= 256
                && value.bytes().all(in_value)
        }
        // Empty members are allowed.
        None => member.is_empty(),
    };
    text.len() <= STATE_BYTES && members.clone().count() <= STATES && members.into_iter().all(fits)
}

fn is_baggage(text: &str) -> bool {
    let fits = |member: &str| {
        let pair = member.split(';').next().unwrap_or_default();
        pair.split_once('=').is_some_and(|(key, _)| {
            let key = key.trim_matches([' ', '\t']);
            !key.is_empty()
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b',')
        })
    };
    text.len() <= BAGGAGE_BYTES
        && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'))
        && text.split(',').all(fits)
}
