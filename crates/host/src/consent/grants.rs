//! What people have granted: for one time, for a session, or until they take it back. Values in,
//! values out; whoever calls keeps them.
//!
//! A grant is bound to everything that was shown: whose it is, the app, the server, what it is about,
//! the digest of the definition, and the arguments or their shape. When any of these is another one,
//! it does not hold.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::consent::Wanted;
use crate::policy::{Condition, Subject};

/// No more are kept.
const GRANTS: usize = 4_096;

/// Which arguments a grant is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Covers {
    /// These, and no others.
    Exactly(Value),
    /// Those for which this condition holds.
    Shape(String),
}

/// How long a grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lasts {
    /// For one call.
    Once,
    /// For this session.
    Session(u64),
    /// Until it is revoked.
    Always,
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name, to revoke it by.
    pub id: String,
    /// Whose it is.
    pub principal: String,
    /// For which app.
    pub app: String,
    /// For which server.
    pub server: String,
    /// What it is about.
    pub subject: Subject,
    /// The tool, prompt or URI.
    pub name: String,
    /// The digest of the definition that was shown.
    pub definition: String,
    /// Which arguments.
    pub covers: Covers,
    /// How long.
    pub lasts: Lasts,
    /// Who granted it, and by which door.
    pub who: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Seconds since 1970 from which on it does not hold.
    pub expires: Option<u64>,
}

impl Grant {
    fn is_about(&self, wanted: &Wanted, now: u64) -> bool {
        let alive = self.expires.is_none_or(|expires| now < expires) && now >= self.at;
        let lasts = match self.lasts {
            Lasts::Session(session) => session == wanted.session,
            Lasts::Once | Lasts::Always => true,
        };
        alive
            && lasts
            && self.principal == wanted.principal
            && self.app == wanted.app
            && self.server == wanted.server
            && self.subject == wanted.subject
            && self.name == wanted.name
            && self.definition == wanted.definition
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may use {} of {}", self.app, self.name, self.server)?;
        match &self.covers {
            Covers::Exactly(arguments) => write!(f, " with {arguments}")?,
            Covers::Shape(shape) => write!(f, " where {shape}")?,
        }
        match self.lasts {
            Lasts::Once => f.write_str(", once"),
            Lasts::Session(_) => f.write_str(", in one session"),
            Lasts::Always => Ok(()),
        }
    }
}

/// All grants.
#[derive(Debug, Default)]
pub struct Grants {
    grants: Vec<Held>,
}

/// A grant whose shape was read.
#[derive(Debug)]
struct Held {
    grant: Grant,
    shape: Option<Condition>,
}

impl Held {
    fn holds(&self, wanted: &Wanted, now: u64) -> bool {
        self.grant.is_about(wanted, now)
            && match (&self.grant.covers, &self.shape) {
                (Covers::Exactly(arguments), _) => *arguments == wanted.arguments,
                (Covers::Shape(_), Some(shape)) => {
                    shape.holds(&wanted.question(now)).unwrap_or(false)
                }
                (Covers::Shape(_), None) => false,
            }
    }
}

/// Why a grant is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotGranted {
    /// There are too many.
    TooMany,
    /// Its shape cannot be read; why.
    Shape(String),
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are {GRANTS} grants already; revoke some"),
            Self::Shape(why) => write!(f, "the shape cannot be read: {why}"),
        }
    }
}

impl std::error::Error for NotGranted {}

impl Grants {
    /// Those that were kept. One that cannot be read is none.
    pub fn from_kept(kept: Vec<Grant>) -> Self {
        let mut grants = Self::default();
        for grant in kept {
            if let Err(why) = grants.add(grant) {
                tracing::warn!(%why, "a grant that was kept is left out");
            }
        }
        grants
    }

    /// Adds one.
    pub fn add(&mut self, grant: Grant) -> Result<(), NotGranted> {
        if self.grants.len() >= GRANTS {
            return Err(NotGranted::TooMany);
        }
        let shape = match &grant.covers {
            Covers::Exactly(_) => None,
            Covers::Shape(shape) => Some(Condition::new(shape).map_err(NotGranted::Shape)?),
        };
        self.grants.push(Held { grant, shape });
        Ok(())
    }

    /// The grant that holds for this. One for one time is taken out: keep what is left before anything
    /// is done by it.
    pub fn take(&mut self, wanted: &Wanted, now: u64) -> Option<Grant> {
        let holds = |held: &Held| held.holds(wanted, now);
        let place = self.grants.iter().position(holds)?;
        match self.grants.get(place)?.grant.lasts {
            Lasts::Once => Some(self.grants.remove(place).grant),
            _ => self.grants.get(place).map(|held| held.grant.clone()),
        }
    }

    /// Takes one back.
    pub fn revoke(&mut self, id: &str) -> Option<Grant> {
        let place = self.grants.iter().position(|held| held.grant.id == id)?;
        Some(self.grants.remove(place).grant)
    }

    /// Lets go of those that can never hold again; whether there were any.
    pub fn sweep(&mut self, now: u64, session_lives: impl Fn(u64) -> bool) -> bool {
        let before = self.grants.len();
        self.grants.retain(|Held { grant, .. }| {
            let alive = grant.expires.is_none_or(|expires| now < expires);
            let lives = match grant.lasts {
                Lasts::Session(session) => session_lives(session),
                Lasts::Once | Lasts::Always => true,
            };
            alive && lives
        });
        self.grants.len() != before
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().map(|held| &held.grant)
    }

    /// Those that outlive the host: not those of a session.
    pub fn kept(&self) -> Vec<Grant> {
        let kept = |grant: &&Grant| !matches!(grant.lasts, Lasts::Session(_));
        self.iter().filter(kept).cloned().collect()
    }
}
