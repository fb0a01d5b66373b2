//! What an app wants of a server, as it is judged, and the leave to have it.

use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::consent::{Approved, Outgoing, SENT_WITHIN};
use crate::hex;
use crate::pins::canonical;
use crate::policy::{Claims, Question, Reads, Subject};

/// What an app wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// For whom.
    pub principal: String,
    /// The app.
    pub app: String,
    /// Its session, which no other ever is.
    pub session: u64,
    /// The server.
    pub server: String,
    /// What it is.
    pub subject: Subject,
    /// The tool, prompt or URI, as the server calls it.
    pub name: String,
    /// The digest of the launch of the server and of the definition: what is agreed to is agreed to of
    /// these.
    pub definition: String,
    /// The arguments; `null` if there are none.
    pub arguments: Value,
    /// What the server says of it.
    pub claims: Claims,
    /// Whether it is known to only read.
    pub reads: Reads,
}

impl Wanted {
    /// As the rules see it.
    pub fn question(&self, now: u64) -> Question<'_> {
        Question {
            app: &self.app,
            server: &self.server,
            subject: self.subject,
            name: &self.name,
            arguments: &self.arguments,
            claims: self.claims,
            reads: self.reads,
            now,
        }
    }

    /// Two are the same if this is: whoever asks, and all of what is asked for.
    pub fn same(&self) -> String {
        let parts = serde_json::json!([
            self.principal,
            self.app,
            self.server,
            self.subject,
            self.name,
            self.definition,
            self.arguments,
        ]);
        hex::text(&Sha256::digest(canonical(&parts)))
    }
}

/// Leave to have one thing, once. Only consent gives it.
#[derive(Debug)]
#[must_use]
pub struct Leave {
    server: String,
    definition: String,
    until: Instant,
    /// The arguments that it is for.
    pub arguments: Value,
    /// The person has changed them.
    pub edited: bool,
    /// What decided, for the record.
    pub rule: String,
    /// Who agreed and by which door; empty where no person was asked.
    pub approver: String,
}

impl Leave {
    pub(in crate::consent) fn given(
        wanted: &Wanted,
        arguments: Value,
        rule: String,
        approver: String,
        now: Instant,
    ) -> Self {
        let edited = arguments != wanted.arguments;
        Self {
            server: wanted.server.clone(),
            definition: wanted.definition.clone(),
            until: now + SENT_WITHIN,
            arguments,
            edited,
            rule,
            approver,
        }
    }

    /// How long it is good for from now on.
    pub fn rest(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// What may be sent by it: to this start of the server, whose definition must still be the one that
    /// was agreed to. `definition` is the one that the server has now; `None` says that it has none that
    /// was approved.
    pub fn approve(
        self,
        outgoing: Outgoing,
        server: &str,
        generation: u64,
        definition: Option<&str>,
    ) -> Option<Approved> {
        let same = self.server == server && definition == Some(self.definition.as_str());
        same.then(|| {
            Approved::mint(
                outgoing,
                self.server,
                generation,
                self.definition,
                self.until,
            )
        })
    }
}
