//! The conversation: what may be said when, by whom, and what becomes of it.
//!
//! [`session`] is the handshake era: `initialize` first, then requests in both directions.
//! [`stateless`] is the era of 2026-07-28: every request carries its own context. Both are driven
//! by whoever holds the bytes: `receive` takes a message and gives its verdict, commands say what
//! we want to send, `poll_output` gives what the machine itself has to say.

pub mod classify;
pub mod discovery;
pub mod negotiate;
pub mod outgoing;
pub mod progress_gate;
pub mod rate;
pub mod session;
pub mod stateless;

use crate::error::Error;
use crate::jsonrpc::{ErrorObject, IdRef, ProgressToken, RequestId};
use crate::method::Method;
use crate::progress::ProgressParams;
use crate::wire::scan::Params;

/// The verdict on one received message.
#[derive(Debug)]
pub enum Received<'a> {
    /// A request for the caller to answer, once.
    Request(Inbound<'a>),
    /// The same, from a client of the stateless era on the same stream.
    Stateless(Inbound<'a>, Box<stateless::Envelope>),
    /// A notification for the caller.
    Notification {
        /// Which one.
        method: Method,
        /// Its params.
        params: Params<'a>,
    },
    /// The peer withdrew a request that was begun. No answer may be sent any more.
    Cancelled {
        /// The request.
        id: RequestId,
        /// Why, in the peer's words.
        reason: Option<String>,
    },
    /// A request of ours was answered.
    Response {
        /// Its id.
        id: i64,
        /// What was asked.
        method: Method,
        /// The JSON text of the result, or the peer's error.
        outcome: Result<&'a str, ErrorObject>,
    },
    /// A request of ours failed because its answer was malformed.
    Failed {
        /// Its id.
        id: i64,
        /// Why.
        error: Error,
    },
    /// News of a request of ours.
    Progress {
        /// Its id.
        id: i64,
        /// The news.
        params: ProgressParams,
    },
    /// The handshake is done.
    Initialized,
    /// The machine has dealt with it; anything to be said comes from `poll_output`.
    Handled,
    /// It was no message, and is answered with an error; that comes from `poll_output`.
    Malformed,
    /// Dropped, and why. For a log line, not for the peer.
    Ignored(Ignored),
}

/// Why a message was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// An answer to nothing that waits: unknown, answered before, timed out or cancelled.
    UnknownResponse,
    /// A notification that does not exist, or not in this revision or direction.
    UnknownNotification(String),
    /// A cancellation of nothing that runs.
    UnknownCancellation,
    /// A cancellation that names no request.
    MalformedCancellation,
    /// Progress of nothing that waits, or that does not grow, or that is malformed.
    StrayProgress,
    /// A notification before the handshake.
    TooEarly,
    /// More notifications than the rate allows.
    TooMany,
    /// A response that is no response; it cannot be answered.
    MalformedResponse(String),
    /// A server of the stateless era asked something, which it may not.
    AskedByServer(String),
    /// A notification that is none; it cannot be answered.
    MalformedNotification(String),
    /// Something that is no message at all, from a server: many write words to their output.
    NoMessage(String),
    /// A notification whose sender did not declare the capability.
    UndeclaredCapability(Method),
    /// The connection is closed already.
    Closed,
}

/// A request to be answered.
#[derive(Debug, Clone)]
pub struct Inbound<'a> {
    /// Its id, to be written into the answer.
    pub id: IdRef<'a>,
    /// The method. It exists, may come from this peer, and its capability was declared.
    pub method: Method,
    /// The name of a method that somebody added; none otherwise.
    pub extension: Option<Box<str>>,
    /// Its params.
    pub params: Params<'a>,
    /// The progress token, if the peer wants progress.
    pub progress_token: Option<ProgressToken>,
    /// Size of the message in bytes.
    pub bytes: usize,
}

/// What the machine has to say by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this message.
    Send(Vec<u8>),
    /// A request of ours has failed without an answer.
    Failed {
        /// Its id.
        id: i64,
        /// Why.
        error: Error,
    },
    /// End the connection.
    Close(Error),
}
