//! Where rules, grants and answers come together: what is wanted goes in, and leave comes out, or a no,
//! or that a person is to be asked.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::consent::grants::{Covers, Grant, Grants, Lasts, NotGranted};
use crate::consent::inbox::{Answer, Asking, Inbox, Question, Rejected, Resolution, Topic};
use crate::consent::{Leave, NotAsked, OPEN_FOR, Ticket, Wanted};
use crate::hex;
use crate::policy::{Because, Condition, Effect, Rule, decide};

/// A point in time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970.
    pub seconds: u64,
    /// The clock that does not jump.
    pub instant: Instant,
}

impl Now {
    /// What the clocks say.
    pub fn read() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            seconds: since.map_or(0, |since| since.as_secs()),
            instant: Instant::now(),
        }
    }
}

/// What becomes of something that is wanted.
#[derive(Debug)]
pub enum Judged {
    /// It may be had.
    Leave(Leave),
    /// It may not; why.
    Refused(Refused),
    /// A person is to be asked; why.
    Ask(String),
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, for the app and its model.
    pub why: String,
    /// The rule, for the record.
    pub rule: String,
    /// Who said so, if it was a person.
    pub by: String,
}

/// Keeps grants on the disk, before anything is done by them.
pub type Keep = Box<dyn Fn(&[Grant]) -> io::Result<()> + Send + Sync>;

/// Rules, grants and open questions.
pub struct Consent {
    rules: RwLock<Arc<[Rule]>>,
    grants: Mutex<Grants>,
    inbox: Inbox,
    keep: Keep,
}

impl Consent {
    /// With the grants that were kept.
    pub fn new(rules: Vec<Rule>, kept: Vec<Grant>, keep: Keep) -> Self {
        Self {
            rules: RwLock::new(rules.into()),
            grants: Mutex::new(Grants::from_kept(kept)),
            inbox: Inbox::default(),
            keep,
        }
    }

    /// Other rules from now on.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.into();
    }

    /// The rules.
    pub fn rules(&self) -> Arc<[Rule]> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    /// The questions.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// All grants that there are.
    pub fn grants(&self) -> Vec<Grant> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges by rules and grants. A grant for one time is used up by this.
    pub fn judge(&self, wanted: &Wanted, now: Now) -> Judged {
        let rules = self.rules();
        let verdict = decide(&rules, &wanted.question(now.seconds));
        let because = verdict.because.to_string();
        match verdict.effect {
            Effect::Allow => Judged::Leave(Leave::given(
                wanted,
                wanted.arguments.clone(),
                because,
                String::new(),
                now.instant,
            )),
            Effect::Deny => Judged::Refused(denied(&verdict.because)),
            Effect::Ask => self.granted(wanted, because, now),
        }
    }

    fn granted(&self, wanted: &Wanted, because: String, now: Now) -> Judged {
        let mut grants = self.lock();
        let Some(grant) = grants.take(wanted, now.seconds) else {
            return Judged::Ask(because);
        };
        if grant.lasts == Lasts::Once
            && let Err(error) = (self.keep)(&grants.kept())
        {
            // Nothing tells that it was used: it must not be there any more, and is not used either.
            return Judged::Refused(Refused {
                why: "What you were granted could not be kept. Try again later.".to_owned(),
                rule: format!("the grants cannot be written: {error}"),
                by: String::new(),
            });
        }
        Judged::Leave(Leave::given(
            wanted,
            wanted.arguments.clone(),
            format!("grant {}", grant.id),
            grant.who,
            now.instant,
        ))
    }

    /// Asks a person.
    pub fn ask(
        &self,
        wanted: &Wanted,
        now: Now,
        asking: impl FnOnce() -> Asking,
    ) -> Result<Ticket, NotAsked> {
        self.inbox.ask(wanted, now.seconds, asking)
    }

    /// What an answer means for whoever waited for it. Rules that deny are looked at again: they may
    /// have come meanwhile, and what a person has changed was never judged.
    pub fn resolved(&self, wanted: &Wanted, resolution: Resolution, now: Now) -> Judged {
        let arguments = match resolution.answer {
            Answer::Deny { reason } => {
                return Judged::Refused(Refused {
                    why: match reason.is_empty() {
                        true => "The person refused it.".to_owned(),
                        false => format!("The person refused it: {reason}"),
                    },
                    rule: "a person refused it".to_owned(),
                    by: resolution.who,
                });
            }
            Answer::Edit { arguments } => arguments,
            _ => wanted.arguments.clone(),
        };
        let final_form = Wanted {
            arguments,
            ..wanted.clone()
        };
        let rules = self.rules();
        let verdict = decide(&rules, &final_form.question(now.seconds));
        if verdict.effect == Effect::Deny {
            return Judged::Refused(denied(&verdict.because));
        }
        Judged::Leave(Leave::given(
            wanted,
            final_form.arguments,
            "a person agreed".to_owned(),
            resolution.who,
            now.instant,
        ))
    }

    /// Answers a question that an app asked. What is granted beyond this time is kept first; a yes that
    /// nobody waits for becomes a grant for one time.
    pub fn answer(
        &self,
        id: u64,
        answer: &Answer,
        who: &str,
        now: Now,
    ) -> Result<Question, Rejected> {
        let resolution = Resolution {
            answer: answer.clone(),
            who: who.to_owned(),
        };
        self.inbox
            .answer(id, resolution, now.seconds, |question, wanted| {
                let Some(wanted) = wanted else {
                    let fits = matches!(
                        answer,
                        Answer::Once | Answer::Edit { .. } | Answer::Deny { .. }
                    );
                    let fits = match (&question.topic, answer) {
                        (Topic::Sampling(reviewing), Answer::Use { model, .. }) => {
                            reviewing.others.contains(model)
                        }
                        (Topic::Sampling(_), _) => fits,
                        _ => false,
                    };
                    return match fits {
                        true => Ok(()),
                        false => Err(Rejected::Misfit),
                    };
                };
                match grant_of(answer, question, wanted, now.seconds)? {
                    Some((covers, lasts, expires)) => {
                        self.grant(wanted, covers, lasts, expires, who, now)
                    }
                    None => Ok(()),
                }
            })
    }

    fn grant(
        &self,
        wanted: &Wanted,
        covers: Covers,
        lasts: Lasts,
        expires: Option<u64>,
        who: &str,
        now: Now,
    ) -> Result<(), Rejected> {
        let mut name = [0; 4];
        getrandom::fill(&mut name).map_err(|error| Rejected::NotKept(error.to_string()))?;
        let grant = Grant {
            id: hex::text(&name),
            principal: wanted.principal.clone(),
            app: wanted.app.clone(),
            server: wanted.server.clone(),
            subject: wanted.subject,
            name: wanted.name.clone(),
            definition: wanted.definition.clone(),
            covers,
            lasts,
            who: who.to_owned(),
            at: now.seconds,
            expires,
        };
        let id = grant.id.clone();
        let mut grants = self.lock();
        grants.add(grant).map_err(|error| match error {
            NotGranted::TooMany => Rejected::NotKept(error.to_string()),
            NotGranted::Shape(_) => Rejected::Misfit,
        })?;
        if matches!(lasts, Lasts::Session(_)) {
            return Ok(());
        }
        (self.keep)(&grants.kept()).map_err(|error| {
            grants.revoke(&id);
            Rejected::NotKept(error.to_string())
        })
    }

    /// Takes a grant back. It holds no more even if that cannot be kept, which is said.
    pub fn revoke(&self, id: &str) -> io::Result<Option<Grant>> {
        let mut grants = self.lock();
        let revoked = grants.revoke(id);
        if revoked.is_some() {
            (self.keep)(&grants.kept())?;
        }
        Ok(revoked)
    }

    /// A session is over: what was granted for it does not hold any more.
    pub fn session_ended(&self, session: u64) {
        self.inbox.session_ended(session);
        self.lock().sweep(0, |of| of != session);
    }

    /// Lets go of what is over.
    pub fn sweep(&self, now: Now) {
        self.inbox.expire(now.seconds);
        let mut grants = self.lock();
        if grants.sweep(now.seconds, |_| true)
            && let Err(error) = (self.keep)(&grants.kept())
        {
            tracing::warn!(%error, "the grants cannot be written");
        }
    }
}

impl std::fmt::Debug for Consent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Consent")
    }
}

fn denied(because: &Because<'_>) -> Refused {
    Refused {
        why: "It is not allowed here.".to_owned(),
        rule: because.to_string(),
        by: String::new(),
    }
}

type Granted = (Covers, Lasts, Option<u64>);

/// What an answer grants beyond those who wait.
fn grant_of(
    answer: &Answer,
    question: &Question,
    wanted: &Wanted,
    now: u64,
) -> Result<Option<Granted>, Rejected> {
    let exactly = || Covers::Exactly(wanted.arguments.clone());
    let until = |lasts: &Option<u64>| lasts.map(|lasts| now.saturating_add(lasts));
    let fitting = |shape: &str| {
        let condition = Condition::new(shape).map_err(|_| Rejected::Misfit)?;
        // What was asked about is in any case to be of the shape.
        match condition.holds(&wanted.question(now)) {
            Some(true) => Ok(Covers::Shape(shape.to_owned())),
            _ => Err(Rejected::Misfit),
        }
    };
    Ok(match answer {
        Answer::Approve { .. } | Answer::Use { .. } => return Err(Rejected::Misfit),
        Answer::Deny { .. } => None,
        Answer::Once if question.waiting > 0 => None,
        Answer::Once => {
            let expires = now + OPEN_FOR.as_secs();
            Some((exactly(), Lasts::Once, Some(expires)))
        }
        // Nobody would get it: the same call again would be the one that was not agreed to.
        Answer::Edit { .. } if question.waiting == 0 => return Err(Rejected::Misfit),
        Answer::Edit { .. } => None,
        Answer::Session { shape } => {
            let lasts = Lasts::Session(wanted.session);
            Some((fitting(shape)?, lasts, None))
        }
        Answer::Exactly { lasts } => Some((exactly(), Lasts::Always, until(lasts))),
        Answer::Shape { shape, lasts } => Some((fitting(shape)?, Lasts::Always, until(lasts))),
    })
}
