//! Rules, and how they stand in our file: under `policy`, in their order.
//!
//! ```jsonc
//! "policy": [
//!   { "deny": "tool", "server": "shell", "name": "*" },
//!   { "allow": "tool", "server": "git", "name": "git_log" },
//!   { "ask": "tool", "name": "write_*", "when": "!arguments.path.startsWith('/tmp/')" },
//!   { "allow": ["tool", "resource"], "app": "editor", "server": "docs",
//!     "learned": { "who": "ada", "at": 1763900000 }, "expires": 1766400000 }
//! ]
//! ```

use std::fmt;

use serde_json::{Map, Value};

use crate::policy::{Condition, Pattern, Question, Subject};

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It may be done.
    Allow,
    /// A person is asked.
    Ask,
    /// It is refused.
    Deny,
}

impl Effect {
    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// Where a rule comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// A person wrote it.
    #[default]
    Written,
    /// It is what a person answered: who, and when in seconds since 1970.
    Learned {
        /// Who answered.
        who: String,
        /// When.
        at: u64,
    },
}

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub effect: Effect,
    /// What it is about; all of it if empty.
    pub subjects: Vec<Subject>,
    /// Which apps.
    pub app: Pattern,
    /// Which servers.
    pub server: Pattern,
    /// Which tools, prompts or URIs.
    pub name: Pattern,
    /// Which arguments.
    pub when: Option<Condition>,
    /// Where it comes from.
    pub origin: Origin,
    /// Seconds since 1970 from which on it is none.
    pub expires: Option<u64>,
}

impl Rule {
    /// A rule about everything.
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            subjects: Vec::new(),
            app: Pattern::any(),
            server: Pattern::any(),
            name: Pattern::any(),
            when: None,
            origin: Origin::Written,
            expires: None,
        }
    }

    /// Is this rule about the question?
    pub fn fits(&self, question: &Question<'_>) -> bool {
        if self.expires.is_some_and(|expires| question.now >= expires) {
            return false;
        }
        let about = self.subjects.is_empty() || self.subjects.contains(&question.subject);
        let named = about
            && self.app.fits(question.app)
            && self.server.fits(question.server)
            && self.name.fits(question.name);
        named
            && match &self.when {
                None => true,
                // What cannot be judged never opens anything.
                Some(when) => when.holds(question).unwrap_or(self.effect != Effect::Allow),
            }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.effect.as_str())?;
        let subjects: Vec<&str> = self.subjects.iter().map(|subject| word(*subject)).collect();
        match subjects.is_empty() {
            true => f.write_str(" everything")?,
            false => write!(f, " {}", subjects.join(", "))?,
        }
        for (what, pattern) in [
            ("named", &self.name),
            ("of", &self.server),
            ("for", &self.app),
        ] {
            if *pattern != Pattern::any() {
                write!(f, " {what} {pattern}")?;
            }
        }
        if let Some(when) = &self.when {
            write!(f, " when {when}")?;
        }
        if let Origin::Learned { who, .. } = &self.origin {
            write!(f, " (as {who} answered)")?;
        }
        Ok(())
    }
}

const WORDS: [(&str, Subject); 5] = [
    ("tool", Subject::Tool),
    ("resource", Subject::Resource),
    ("prompt", Subject::Prompt),
    ("completion", Subject::Completion),
    ("subscription", Subject::Subscription),
];

fn word(subject: Subject) -> &'static str {
    WORDS
        .iter()
        .find(|(_, known)| *known == subject)
        .map_or("?", |(word, _)| word)
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// Its place, from 0.
    pub place: usize,
    /// What is wrong, and what to do.
    pub why: String,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.place + 1, self.why)
    }
}

/// Reads the rules of a file. One that is wrong makes all of them wrong: what is left might allow what
/// it was to deny.
pub fn rules(policy: &Value) -> Result<Vec<Rule>, Vec<RuleFault>> {
    let Value::Array(items) = policy else {
        return Err(vec![RuleFault {
            place: 0,
            why: "`policy` is no list".to_owned(),
        }]);
    };
    let mut rules = Vec::new();
    let mut faults = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let read = match item {
            Value::Object(members) => rule(members),
            _ => Err("it is no object".to_owned()),
        };
        match read {
            Ok(rule) => rules.push(rule),
            Err(why) => faults.push(RuleFault { place, why }),
        }
    }
    match faults.is_empty() {
        true => Ok(rules),
        false => Err(faults),
    }
}

/// The rules of our own file; none if it has no `policy`. The errors are words for a person.
pub fn in_file(text: &str) -> Result<Vec<Rule>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = crate::config::jsonc::parse(text).map_err(|why| vec![why])?;
    match file {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => match members.get("policy") {
            None => Ok(Vec::new()),
            Some(policy) => {
                rules(policy).map_err(|faults| faults.iter().map(ToString::to_string).collect())
            }
        },
        Some(_) => Err(vec!["the file holds no object".to_owned()]),
    }
}

fn rule(members: &Map<String, Value>) -> Result<Rule, String> {
    let said = [Effect::Allow, Effect::Ask, Effect::Deny]
        .into_iter()
        .filter_map(|effect| Some((effect, members.get(effect.as_str())?)));
    let said: Vec<(Effect, &Value)> = said.collect();
    let [(effect, about)] = said.as_slice() else {
        return Err("it says one of `allow`, `ask` and `deny`".to_owned());
    };
    let mut rule = Rule::new(*effect);
    rule.subjects = subjects(about)?;
    for (name, value) in members {
        match name.as_str() {
            "allow" | "ask" | "deny" => {}
            "app" => rule.app = pattern(name, value)?,
            "server" => rule.server = pattern(name, value)?,
            "name" => rule.name = pattern(name, value)?,
            "when" => {
                let text = value.as_str().ok_or("`when` is a text, a condition")?;
                let condition = Condition::new(text);
                rule.when = Some(condition.map_err(|why| format!("`when`: {why}"))?);
            }
            "expires" => rule.expires = Some(seconds(name, value)?),
            "learned" => {
                let who = value.get("who").and_then(Value::as_str);
                let at = value.get("at").ok_or("`learned.at` is missing")?;
                rule.origin = Origin::Learned {
                    who: who.ok_or("`learned.who` is missing")?.to_owned(),
                    at: seconds("learned.at", at)?,
                };
            }
            // A word that is not understood may be the one that matters.
            other => {
                let other = crate::config::read::shown(other);
                return Err(format!("`{other}` is not known"));
            }
        }
    }
    Ok(rule)
}

fn subjects(about: &Value) -> Result<Vec<Subject>, String> {
    let one = |value: &Value| {
        let word = value.as_str()?;
        let known = WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, subject)| *subject)
    };
    let wrong = || {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("it is about \"*\", or some of {}", words.join(", "))
    };
    match about {
        Value::String(all) if all == "*" => Ok(Vec::new()),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .map(one)
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        single => one(single).map(|subject| vec![subject]).ok_or_else(wrong),
    }
}

fn pattern(name: &str, value: &Value) -> Result<Pattern, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(Pattern::new(text)),
        _ => Err(format!(
            "`{name}` is a name, in which * stands for anything"
        )),
    }
}

fn seconds(name: &str, value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| format!("`{name}` is a time in seconds since 1970"))
}
