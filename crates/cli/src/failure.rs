//! What went wrong, in words that say what to do next, and the exit code.

use std::io::Write;
use std::process::ExitCode;

use compere::model::{ErrorObject, UrlElicitation, code};
use compere::proto::Error as ProtocolError;
use compere::{Error, ErrorKind};

use compere::text::escape;

/// The reason why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hints: Vec<String>,
    code: u8,
}

impl Failure {
    /// What was typed cannot work.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            code: 2,
        }
    }

    /// The server broke the protocol, or what it sent cannot be used.
    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            code: 1,
        }
    }

    /// Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self {
            message: "interrupted; the server was told to stop".to_owned(),
            hints: Vec::new(),
            code: 130,
        }
    }

    /// Was it Ctrl-C?
    pub(crate) fn is_interrupted(&self) -> bool {
        self.code == 130
    }

    /// What to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says it on standard error. What a server had a part in is escaped.
    pub(crate) fn report(&self) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "error: {}", escape(&self.message));
        for hint in &self.hints {
            let _ = writeln!(stderr, "  {}", escape(hint));
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, hints) = match error.kind() {
            ErrorKind::Start => (
                3,
                vec!["Is the command right, and on your PATH? It stands after `--`.".to_owned()],
            ),
            ErrorKind::ServerLost(lost) => (3, last_words(&lost.stderr)),
            ErrorKind::Protocol(ProtocolError::Closed) => (3, Vec::new()),
            ErrorKind::Protocol(ProtocolError::TimedOut { .. }) => (
                5,
                vec!["Give it more time with --timeout SECONDS.".to_owned()],
            ),
            ErrorKind::Setup => (2, Vec::new()),
            ErrorKind::HttpStatus(status) => (1, way_in(*status)),
            ErrorKind::Protocol(ProtocolError::Refused(refusal))
                if refusal.code == code::RESOURCE_NOT_FOUND =>
            {
                let hint = "`compere resources` and `compere templates` list what there is.";
                (1, vec![hint.to_owned()])
            }
            ErrorKind::Protocol(ProtocolError::Refused(refusal)) => (1, pages(refusal)),
            _ => (1, Vec::new()),
        };
        Self {
            message: error.to_string(),
            hints,
            code,
        }
    }
}

/// What a status usually says about how the server is to be reached.
fn way_in(status: u16) -> Vec<String> {
    let hint = match status {
        401 | 403 => "It wants to know who you are: --headers FILE with `Authorization: Bearer …`.",
        404 | 405 => "Is the path right? It is often /mcp, or /sse for older servers.",
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}

/// The pages that a person is to open before the call can be done.
fn pages(refusal: &ErrorObject) -> Vec<String> {
    let asked = UrlElicitation::required(refusal);
    let mut hints = Vec::new();
    for page in &asked {
        hints.push(format!("It wants you to open a page: {}", page.message));
        hints.push(format!("  {}", page.url));
    }
    if !asked.is_empty() {
        hints.push("Look at the address; if you trust it, open it, then call again.".to_owned());
    }
    hints
}

fn last_words(lines: &[String]) -> Vec<String> {
    const SHOWN: usize = 10;
    let skipped = lines.len().saturating_sub(SHOWN);
    let shown = lines.iter().skip(skipped).map(|line| format!("| {line}"));
    if lines.is_empty() {
        return vec!["It said nothing on standard error.".to_owned()];
    }
    std::iter::once("It last said on standard error:".to_owned())
        .chain(shown)
        .collect()
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self {
            message: error.to_string(),
            hints: Vec::new(),
            code: 1,
        }
    }
}
