//! The error of the SDK: what happened, whose fault it is, and what caused it.

use std::fmt;

use compere_proto::Error as ProtocolError;
use compere_proto::jsonrpc::ErrorObject;

/// What happened, stable enough to match on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something of the protocol; it says whose fault it is.
    Protocol(ProtocolError),
    /// Reading or writing failed.
    Io,
    /// A server over HTTP refused a request with this status.
    HttpStatus(u16),
    /// The answer over HTTP broke off, and there is no coming back for the rest. Whether a call still had
    /// its effect is unknown.
    AnswerLost,
    /// The server process could not be started.
    Start,
    /// The server process is gone, and with it everything that was asked. Whether a call still
    /// had its effect is unknown.
    ServerLost(ServerLost),
    /// The tool ran and failed; its own words.
    ToolFailed(String),
    /// A result that does not have the shape that was asked for.
    UnexpectedData,
    /// The server was put together in a way that cannot work.
    Setup,
}

/// What is known of a server process that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerLost {
    /// How it ended, once known, such as `exit status: 1`.
    pub status: Option<String>,
    /// The last lines that it wrote to stderr.
    pub stderr: Vec<String>,
}

impl fmt::Display for ServerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server is gone")?;
        if let Some(status) = &self.status {
            write!(f, " ({status})")?;
        }
        if let Some(last) = self.stderr.last() {
            write!(f, "; it last said: {}", last.escape_debug())?;
        }
        Ok(())
    }
}

/// The error of everything in this crate.
///
/// [`Error::kind`] says what happened; `source()` gives the cause where there is one. The wording
/// of the message is for people and may change.
#[derive(Clone)]
pub struct Error(std::sync::Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self(std::sync::Arc::new(Inner {
            kind,
            message: None,
            source: None,
        }))
    }

    pub(crate) fn because(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(std::sync::Arc::new(Inner {
            kind,
            message: Some(message.into()),
            source: Some(source.into()),
        }))
    }

    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self::with_message(ErrorKind::Setup, message)
    }

    pub(crate) fn with_message(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(std::sync::Arc::new(Inner {
            kind,
            message: Some(message.into()),
            source: None,
        }))
    }

    /// What happened.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The error object that the peer answered with, if it did.
    pub fn refusal(&self) -> Option<&ErrorObject> {
        match self.kind() {
            ErrorKind::Protocol(ProtocolError::Refused(error)) => Some(error),
            _ => None,
        }
    }

    /// Did the time run out?
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Protocol(ProtocolError::TimedOut { .. })
        )
    }

    /// Is the connection gone?
    pub fn is_closed(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::ServerLost(_) | ErrorKind::Protocol(ProtocolError::Closed)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = &self.0.message {
            f.write_str(message)?;
            if let Some(source) = &self.0.source {
                write!(f, ": {source}")?;
            }
            return Ok(());
        }
        match &self.0.kind {
            ErrorKind::Protocol(error) => write!(f, "{error}"),
            ErrorKind::Io => f.write_str("reading or writing failed"),
            ErrorKind::HttpStatus(status) => write!(f, "the server answered with status {status}"),
            ErrorKind::AnswerLost => f.write_str(
                "the connection broke off before the answer; whether the request had its effect is unknown",
            ),
            ErrorKind::Start => f.write_str("the server could not be started"),
            ErrorKind::ServerLost(lost) => write!(f, "{lost}"),
            ErrorKind::ToolFailed(text) => write!(f, "the tool failed: {text}"),
            ErrorKind::UnexpectedData => f.write_str("the result has another shape"),
            ErrorKind::Setup => f.write_str("the server cannot work like this"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match (&self.0.source, &self.0.kind) {
            (Some(source), _) => Some(&**source),
            (None, ErrorKind::Protocol(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Self::new(ErrorKind::Protocol(error))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // A stream of ours may have said more than that.
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::because(ErrorKind::Io, "reading or writing failed", error),
        }
    }
}
