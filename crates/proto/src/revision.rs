//! The revisions of the protocol, and what differs between them as data.
//!
//! This file, the method table and version negotiation are the only places that compare
//! revisions. Everyone else asks a named question of [`RevisionRules`].
//! It is not about shapes of types: those steps are in `wire/project.rs`.

use std::fmt;
use std::str::FromStr;

/// A revision of the protocol. The set is closed: a version string that is not listed here is
/// not a revision that this crate can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// `2024-11-05`, the first published revision.
    V2024_11_05,
    /// `2025-03-26`: Streamable HTTP, batching, audio, tool annotations.
    V2025_03_26,
    /// `2025-06-18`: structured tool output, elicitation, titles; batching removed.
    V2025_06_18,
    /// `2025-11-25`: icons, tasks, sampling with tools, URL elicitation.
    V2025_11_25,
    /// `2026-07-28`: stateless requests instead of a handshake.
    V2026_07_28,
}

impl Revision {
    /// All revisions, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The revisions that a handshake offers and accepts by default, oldest first.
    pub const NEGOTIABLE: &'static [Self] = &[
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// The version string on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Which of the two kinds of conversation this revision has.
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Stateless,
            _ => Era::Handshake,
        }
    }

    /// The behaviour of this revision.
    pub const fn rules(self) -> &'static RevisionRules {
        match self {
            Self::V2024_11_05 => &RevisionRules::V2024_11_05,
            Self::V2025_03_26 => &RevisionRules::V2025_03_26,
            Self::V2025_06_18 => &RevisionRules::V2025_06_18,
            Self::V2025_11_25 => &RevisionRules::V2025_11_25,
            Self::V2026_07_28 => &RevisionRules::V2026_07_28,
        }
    }

    /// The revisions that lie below the newest one down to and including this one, newest first:
    /// the steps that a message of the neutral model takes on its way to this revision.
    pub fn steps_down(self) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .rev()
            .skip(1)
            .take_while(move |step| *step >= self)
    }

    /// Position in [`Revision::ALL`], for tables that hold one entry per revision.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version string names no revision that this crate knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRevision(pub String);

impl fmt::Display for UnknownRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown protocol version {:?}", self.0)
    }
}

impl std::error::Error for UnknownRevision {}

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, UnknownRevision> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.as_str() == text)
            .ok_or_else(|| UnknownRevision(text.chars().take(64).collect()))
    }
}

/// The two kinds of conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize` first, then a session with requests in both directions.
    Handshake,
    /// Every request carries its own version and capabilities; servers never send requests.
    Stateless,
}

/// What an error response carries as id when the id of the request could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableId {
    /// `"id": null`, the rule of JSON-RPC 2.0.
    Null,
    /// No `id` member at all, as the schemas allow from 2025-11-25 on.
    Absent,
}

/// How a revision behaves, one named question per field. Written as differences from the
/// revision before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevisionRules {
    /// May one line or body hold an array of messages? Introduced and removed again:
    /// only 2025-03-26.
    pub batching: bool,
    /// Does a tool result carry `structuredContent`? Introduced in 2025-06-18.
    pub structured_content: bool,
    /// May `structuredContent` be any JSON value instead of an object? Introduced in 2026-07-28.
    pub structured_content_any: bool,
    /// Is there a capability for completion? Introduced in 2025-03-26.
    pub completions_capability: bool,
    /// Does every result need a `resultType`? Introduced in 2026-07-28.
    pub result_type: bool,
    /// Do list and read results carry `ttlMs` and `cacheScope`? Introduced in 2026-07-28.
    pub cache_fields: bool,
    /// Code for a resource that does not exist: -32002 until 2026-07-28.
    pub resource_not_found_code: i64,
    /// Id of an error response whose request id could not be read.
    pub unreadable_id: UnreadableId,
    /// May the server send requests? Removed in 2026-07-28.
    pub server_requests: bool,
    /// Does an event stream begin with an empty event that has an id, and may the server close it
    /// before its end, to be asked again? Introduced in 2025-11-25.
    pub polling: bool,
    /// May a request become a task? Introduced and removed again: only 2025-11-25.
    pub tasks: bool,
    /// Can a person be sent to a page, and a model be given tools? Introduced in 2025-11-25.
    pub asks_more: bool,
}

impl RevisionRules {
    /// Rules of 2024-11-05.
    pub const V2024_11_05: Self = Self {
        batching: false,
        structured_content: false,
        structured_content_any: false,
        completions_capability: false,
        result_type: false,
        cache_fields: false,
        resource_not_found_code: -32002,
        unreadable_id: UnreadableId::Null,
        server_requests: true,
        polling: false,
        tasks: false,
        asks_more: false,
    };

    /// Rules of 2025-03-26.
    pub const V2025_03_26: Self = Self {
        batching: true,
        completions_capability: true,
        ..Self::V2024_11_05
    };

    /// Rules of 2025-06-18.
    pub const V2025_06_18: Self = Self {
        batching: false,
        structured_content: true,
        ..Self::V2025_03_26
    };

    /// Rules of 2025-11-25.
    pub const V2025_11_25: Self = Self {
        unreadable_id: UnreadableId::Absent,
        polling: true,
        tasks: true,
        asks_more: true,
        ..Self::V2025_06_18
    };

    /// Rules of 2026-07-28.
    pub const V2026_07_28: Self = Self {
        structured_content_any: true,
        result_type: true,
        cache_fields: true,
        resource_not_found_code: -32602,
        server_requests: false,
        polling: false,
        tasks: false,
        ..Self::V2025_11_25
    };
}
