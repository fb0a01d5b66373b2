//! Policy: what may be done at once, what a person is asked about, and what is refused. Pure functions
//! on values: a question and the rules go in, a verdict with its reason comes out.
//!
//! - A rule that denies wins over every other, wherever it stands.
//! - Among the others the first that fits decides.
//! - If none fits: what is known to only read, inside of what the server was given, is allowed; for
//!   everything else a person is asked. What a server says of itself is never such knowledge.
//! - A rule that cannot be judged, because its condition fails, fits if it denies or asks, and does not
//!   if it allows.

pub mod condition;
pub mod pattern;
pub mod rules;

pub use condition::Condition;
pub use pattern::Pattern;
pub use rules::{Effect, Origin, Rule, RuleFault, in_file, rules};

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `tools/call`.
    Tool,
    /// `resources/read`.
    Resource,
    /// `prompts/get`.
    Prompt,
    /// `completion/complete`.
    Completion,
    /// `resources/subscribe`.
    Subscription,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Tool,
        Self::Resource,
        Self::Prompt,
        Self::Completion,
        Self::Subscription,
    ];
}

/// How it is known that something only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// It is not known.
    Unknown,
    /// The server is one of our own, whose tools say truly what they do.
    OwnServer,
    /// The server is confined to reading inside its roots, without network: it can do nothing else.
    Confined,
    /// A person said so when they approved the tool.
    Marked,
}

/// What a server says of a tool. For rules that want to take its word, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims {
    /// It only reads.
    pub read_only: Option<bool>,
    /// It may destroy something.
    pub destructive: Option<bool>,
    /// Doing it twice is doing it once.
    pub idempotent: Option<bool>,
    /// It reaches beyond this machine.
    pub open_world: Option<bool>,
}

/// Something that an app wants done.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The app.
    pub app: &'a str,
    /// The server, by its name here.
    pub server: &'a str,
    /// What is asked for.
    pub subject: Subject,
    /// The tool, prompt, or URI.
    pub name: &'a str,
    /// The arguments; `null` if there are none.
    pub arguments: &'a Value,
    /// What the server says of it.
    pub claims: Claims,
    /// Whether it is known to only read.
    pub reads: Reads,
    /// Seconds since 1970, for rules that expire.
    pub now: u64,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'r> {
    /// Allowed, asked about, or refused.
    pub effect: Effect,
    /// Why.
    pub because: Because<'r>,
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'r> {
    /// This rule; its place among the rules, from 0.
    Rule(usize, &'r Rule),
    /// No rule fits, and it only reads.
    OnlyReads(Reads),
    /// No rule fits.
    Unknown,
}

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(place, rule) => write!(f, "rule {}: {rule}", place + 1),
            Self::OnlyReads(how) => {
                let how = match how {
                    Reads::OwnServer => "the server is one of ours, and says so",
                    Reads::Confined => "the server is confined to reading",
                    Reads::Marked | Reads::Unknown => "you said so when you approved it",
                };
                write!(f, "no rule is about it, and it only reads: {how}")
            }
            Self::Unknown => f.write_str("no rule is about it, and it may change something"),
        }
    }
}

/// Decides by the rules.
pub fn decide<'r>(rules: &'r [Rule], question: &Question<'_>) -> Verdict<'r> {
    let mut first = None;
    for (place, rule) in rules.iter().enumerate() {
        // What cannot change the verdict need not be judged.
        if first.is_some() && rule.effect != Effect::Deny || !rule.fits(question) {
            continue;
        }
        let verdict = Verdict {
            effect: rule.effect,
            because: Because::Rule(place, rule),
        };
        if rule.effect == Effect::Deny {
            return verdict;
        }
        first.get_or_insert(verdict);
    }
    first.unwrap_or(match question.reads {
        Reads::Unknown => Verdict {
            effect: Effect::Ask,
            because: Because::Unknown,
        },
        how => Verdict {
            effect: Effect::Allow,
            because: Because::OnlyReads(how),
        },
    })
}
