//! What a record says.

use serde::{Deserialize, Serialize};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A call that may have an effect is about to be sent. It is on the disk before.
    Intent,
    /// What came of it.
    Outcome,
    /// A call that only reads, with what came of it.
    Read,
    /// Something was refused or not answered in time, and nothing was sent.
    Refused,
    /// A person decided something.
    Decision,
    /// Something of the host itself: it started, a log was mended, a server changed.
    Host,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Intent,
        Self::Outcome,
        Self::Read,
        Self::Refused,
        Self::Decision,
        Self::Host,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Read => "read",
            Self::Refused => "refused",
            Self::Decision => "decision",
            Self::Host => "host",
        }
    }
}

/// One record, without the number and the time, which the log gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What it is about.
    pub kind: Option<Kind>,
    /// For whom.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub principal: String,
    /// Which app asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Which server it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// The method of the protocol.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The tool, prompt or resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A keyed digest of the arguments.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The arguments as they may be read: without secrets, and short.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub view: String,
    /// The rule that decided.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Who agreed, and by which door.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub approver: String,
    /// What came of it, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// The number of the record that this belongs to, such as the intent of an outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
}

impl Record {
    /// An empty record of this kind.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind: Some(kind),
            ..Self::default()
        }
    }
}

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number; the first is 1.
    pub number: u64,
    /// When, in microseconds since 1970, UTC.
    pub at: u64,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}
