//! `logging/setLevel`, `notifications/message`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/utilities/logging>

use serde::{Deserialize, Serialize};

use crate::object::{Meta, RawJson, open_object};

/// Severity, as in RFC 5424, least severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoggingLevel {
    /// Details for debugging.
    Debug,
    /// Something happened.
    Info,
    /// Something normal but noteworthy happened.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something failed.
    Error,
    /// A component failed.
    Critical,
    /// Act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

impl LoggingLevel {
    /// All levels, least severe first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

open_object! {
    /// Params of `logging/setLevel`.
    pub struct SetLevelParams {
        required {
            /// The least severe level to send.
            level: LoggingLevel = "level",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Params of `notifications/message`.
    pub struct LogMessage {
        required {
            /// How severe it is.
            level: LoggingLevel = "level",
            /// What happened: any JSON.
            data: RawJson = "data",
        }
        optional {
            /// Which part of the server says so.
            logger: String = "logger",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
