//! What was found: requirements that were seen to hold, and those that were seen broken.

use std::collections::BTreeSet;
use std::fmt::Write;

use compere::serde::{Serialize, Serializer};
use compere::text::escape_line;

/// The longest excerpt of a message that is shown with a finding.
const EXCERPT: usize = 200;

/// How much a requirement asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Must,
    Should,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        }
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A requirement that the server was seen to break.
#[derive(Debug, Serialize)]
#[serde(crate = "compere::serde")]
pub(crate) struct Finding {
    /// Its row in `spec/`, or the type of the schema.
    pub(crate) requirement: &'static str,
    pub(crate) level: Level,
    /// What the server does.
    pub(crate) what: String,
    /// The message that shows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) evidence: String,
}

/// Everything that was found about one server.
#[derive(Debug, Default, Serialize)]
#[serde(crate = "compere::serde", rename_all = "camelCase")]
pub(crate) struct Report {
    /// Name and version, as it says.
    pub(crate) server: String,
    pub(crate) protocol_version: String,
    pub(crate) findings: Vec<Finding>,
    /// The requirements that were looked at and found to hold.
    pub(crate) held: BTreeSet<&'static str>,
}

impl Report {
    /// A requirement holds, as far as was seen.
    pub(crate) fn held(&mut self, requirement: &'static str) {
        let broken = |finding: &Finding| finding.requirement == requirement;
        if !self.findings.iter().any(broken) {
            self.held.insert(requirement);
        }
    }

    /// A requirement is broken. The same is said once.
    pub(crate) fn broken(
        &mut self,
        level: Level,
        requirement: &'static str,
        what: impl Into<String>,
        evidence: &[u8],
    ) {
        let what = what.into();
        self.held.remove(requirement);
        let same = |finding: &Finding| finding.requirement == requirement && finding.what == what;
        if self.findings.iter().any(same) {
            return;
        }
        self.findings.push(Finding {
            requirement,
            level,
            what,
            evidence: excerpt(evidence),
        });
    }

    /// Holds it or does not.
    pub(crate) fn check(
        &mut self,
        holds: bool,
        level: Level,
        requirement: &'static str,
        what: impl Into<String>,
        evidence: &[u8],
    ) {
        if holds {
            self.held(requirement);
        } else {
            self.broken(level, requirement, what, evidence);
        }
    }

    pub(crate) fn faults(&self) -> usize {
        let must = |finding: &&Finding| finding.level == Level::Must;
        self.findings.iter().filter(must).count()
    }

    /// In words. What the server said is escaped.
    pub(crate) fn describe(&self) -> String {
        let mut text = match self.server.is_empty() {
            true => "The handshake failed.\n\n".to_owned(),
            false => format!(
                "{}, protocol {}\n\n",
                escape_line(&self.server),
                escape_line(&self.protocol_version)
            ),
        };
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.level);
        for finding in findings {
            let mark = match finding.level {
                Level::Must => "✗",
                Level::Should => "!",
            };
            let _ = writeln!(
                text,
                "{mark} {} ({}): {}",
                finding.requirement,
                finding.level.as_str(),
                finding.what
            );
            if !finding.evidence.is_empty() {
                let _ = writeln!(text, "    {}", finding.evidence);
            }
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        let advice = self.findings.len() - self.faults();
        let _ = write!(
            text,
            "{} requirements hold as far as can be seen; {} MUST broken, {advice} SHOULD not followed",
            self.held.len(),
            self.faults(),
        );
        text
    }
}

/// The beginning of a message, on one line and harmless.
fn excerpt(message: &[u8]) -> String {
    let text = escape_line(&String::from_utf8_lossy(message));
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
