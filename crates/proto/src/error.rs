//! What can go wrong in a conversation, told by whose fault it is.

use std::fmt;
use std::time::Duration;

use crate::capability::Capability;
use crate::jsonrpc::ErrorObject;
use crate::method::Method;
use crate::revision::Revision;
use crate::wire::scan::Fault;

/// A failure of a request or of the whole connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The peer answered with an error.
    Refused(ErrorObject),
    /// The peer broke the rules of the protocol.
    PeerMisbehaved(PeerMisbehaved),
    /// The peer keeps the rules, but cannot do what is asked.
    PeerIncompatible(PeerIncompatible),
    /// Our own caller asked for something that the protocol forbids here.
    Misuse(Misuse),
    /// No answer came in time.
    TimedOut {
        /// What was asked.
        method: Method,
        /// How long it was waited for.
        after: Duration,
    },
    /// The request was withdrawn.
    Cancelled,
    /// The connection is closed.
    Closed,
    /// A bound of [`Limits`](crate::Limits) was reached; its name.
    Limit(&'static str),
}

/// How a peer broke the rules.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// It sent something that is no message.
    Malformed(Fault),
    /// It answered with a result that does not fit the method; why.
    ResultDoesNotFit(Method, String),
    /// It answered no ping, several times in a row.
    PingUnanswered,
    /// It read nothing for so long that our messages piled up.
    NeverReads,
    /// It kept more bytes in flight than the bound, for too long.
    TooMuchInFlight,
    /// Its cursors never end, or go in a circle.
    EndlessCursor(Method),
    /// It asked for something before the handshake was done.
    TooEarly,
}

/// What a peer cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// It answered with a version that we do not speak.
    Version {
        /// What it wants.
        offered: String,
        /// What we speak.
        supported: Vec<Revision>,
    },
    /// It did not declare a capability.
    MissingCapability {
        /// What is missing.
        capability: Capability,
        /// For what.
        method: Method,
    },
    /// The method does not exist in the revision of the session.
    MethodNotInRevision(Method, Revision),
}

/// What our own caller did wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Misuse {
    /// The handshake is not done yet.
    NotInitialized,
    /// This side never sends that method.
    WrongDirection(Method),
    /// We did not declare the capability that the method needs.
    UndeclaredCapability(Capability, Method),
    /// `initialize` cannot be cancelled.
    CancelInitialize,
    /// Progress must grow; what was last sent and what came then.
    ProgressNotIncreasing(f64, f64),
    /// The value cannot be serialised.
    NotSerializable(String),
    /// The same key was asked with another question.
    QuestionChanged(String),
    /// Anything else; a sentence.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the peer answered: {error}"),
            Self::PeerMisbehaved(why) => write!(f, "the peer broke the protocol: {why}"),
            Self::PeerIncompatible(why) => write!(f, "the peer cannot do this: {why}"),
            Self::Misuse(why) => write!(f, "{why}"),
            Self::TimedOut { method, after } => {
                write!(f, "no answer to {method} within {} s", after.as_secs_f32())
            }
            Self::Cancelled => f.write_str("the request was cancelled"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::Limit(name) => write!(f, "the limit {name} is reached"),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for PeerMisbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => write!(f, "{fault}"),
            Self::ResultDoesNotFit(method, why) => {
                write!(f, "the result of {method} does not fit: {why}")
            }
            Self::PingUnanswered => f.write_str("it answers no ping"),
            Self::NeverReads => f.write_str("it does not read what we send"),
            Self::TooMuchInFlight => f.write_str("it keeps too much in flight"),
            Self::EndlessCursor(method) => write!(f, "the pages of {method} never end"),
            Self::TooEarly => f.write_str("it asked before the handshake was done"),
        }
    }
}

impl fmt::Display for PeerIncompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { offered, supported } => {
                let supported: Vec<&str> = supported.iter().map(|one| one.as_str()).collect();
                write!(
                    f,
                    "it wants protocol version {offered:?}, we speak {}",
                    supported.join(", ")
                )
            }
            Self::MissingCapability { capability, method } => write!(
                f,
                "it did not declare the capability {} that {method} needs",
                capability.name()
            ),
            Self::MethodNotInRevision(method, revision) => {
                write!(f, "{method} does not exist in {revision}")
            }
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInitialized => f.write_str("the handshake is not done yet"),
            Self::WrongDirection(method) => write!(f, "this side never sends {method}"),
            Self::UndeclaredCapability(capability, method) => write!(
                f,
                "{method} needs the capability {}, which this side did not declare",
                capability.name()
            ),
            Self::CancelInitialize => f.write_str("initialize cannot be cancelled"),
            Self::ProgressNotIncreasing(last, next) => {
                write!(f, "progress must grow: {next} does not follow {last}")
            }
            Self::NotSerializable(why) => write!(f, "cannot be written as JSON: {why}"),
            Self::QuestionChanged(key) => {
                write!(f, "the key {key:?} was asked before with another question")
            }
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl From<PeerMisbehaved> for Error {
    fn from(why: PeerMisbehaved) -> Self {
        Self::PeerMisbehaved(why)
    }
}

impl From<PeerIncompatible> for Error {
    fn from(why: PeerIncompatible) -> Self {
        Self::PeerIncompatible(why)
    }
}

impl From<Misuse> for Error {
    fn from(why: Misuse) -> Self {
        Self::Misuse(why)
    }
}
