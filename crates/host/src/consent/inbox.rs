//! What waits for a person: questions that doors show and answer.
//!
//! Equal questions are one. A question is open until somebody answers it or its time is over, whether
//! anybody still waits for it or not; the first answer wins.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::consent::{OPEN_FOR, REFUSALS, Wanted};
use crate::pins::Change;

/// Questions of one app that may be open.
const PER_APP: usize = 64;
/// Halves of sampling that may wait for a person.
const SAMPLINGS: usize = 32;
/// Refused questions that are remembered for a session.
const REMEMBERED: usize = 1_024;
/// Questions of which it is remembered how they ended.
const ENDS: usize = 256;

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "about")]
pub enum Topic {
    /// An app wants something of a server.
    Call(Asking),
    /// A server wants to be started as said.
    Launch {
        /// The server.
        server: String,
        /// What is known of how it is started: facts, one a line.
        facts: Vec<String>,
        /// What is to be known before saying yes.
        warnings: Vec<String>,
        /// What was approved before, if anything; then the difference.
        changes: Vec<Change>,
        /// This is about fetching its program; starting that is asked about later.
        #[serde(default)]
        fetches: bool,
        /// Its digest: the answer is to this.
        digest: String,
    },
    /// A server offers what nobody has seen, or other than what was approved.
    Definitions {
        /// The server.
        server: String,
        /// What it offers, one after the other.
        items: Vec<Offered>,
        /// The digest of all that is shown: the answer is to this.
        digest: String,
    },
    /// A server wants to ask a model, or is to get its answer.
    Sampling(Reviewing),
}

/// Which half of sampling a person looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reviewed {
    /// What the model would be asked.
    Prompt,
    /// What the model has answered, and the server would get.
    Answer,
}

/// One half of sampling, as a person is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reviewing {
    /// The app whose call the server works on.
    pub app: String,
    /// The server.
    pub server: String,
    /// Which half.
    pub what: Reviewed,
    /// The model.
    pub model: String,
    /// Other models that may be asked instead.
    #[serde(default)]
    pub others: Vec<String>,
    /// The params of the request or the result, all of it.
    pub content: Value,
    /// What is to be known: the budget, what was taken out.
    pub facts: Vec<String>,
}

/// What an app wants, as a person is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// The app.
    pub app: String,
    /// The server.
    pub server: String,
    /// The method of the protocol.
    pub method: String,
    /// The tool, prompt or URI, as the server calls it.
    pub name: String,
    /// How the server describes it: its words.
    pub description: String,
    /// The arguments, all of them.
    pub arguments: Value,
    /// What the host has found out about the arguments: where paths lead, which hosts are meant.
    pub facts: Vec<String>,
    /// What differs from the last call that was approved.
    pub changes: Vec<Change>,
    /// Why a person is asked.
    pub rule: String,
    /// The shape of it.
    pub shape: String,
}

/// A definition that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Tool, prompt, template or instructions.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it is described: the server's words.
    pub description: String,
    /// What has changed since it was approved, field by field; empty if it is new.
    pub changes: Vec<Change>,
    /// What is to be known: hidden text, names that look alike.
    pub warnings: Vec<String>,
}

/// An open question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its number.
    pub id: u64,
    /// When it was asked, in seconds since 1970.
    pub at: u64,
    /// Until when it is open; `None` for as long as there is reason to ask.
    pub until: Option<u64>,
    /// How many wait for it right now.
    pub waiting: usize,
    /// What it is about.
    pub topic: Topic,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "say")]
pub enum Answer {
    /// Yes, for this time.
    Once,
    /// Yes, and in this session for what has this shape.
    Session {
        /// The shape.
        shape: String,
    },
    /// Yes, from now on for exactly this.
    Exactly {
        /// For so many seconds; for ever if nothing is said.
        #[serde(default)]
        lasts: Option<u64>,
    },
    /// Yes, from now on for what has this shape.
    Shape {
        /// The shape.
        shape: String,
        /// For so many seconds; for ever if nothing is said.
        #[serde(default)]
        lasts: Option<u64>,
    },
    /// Yes, for this time, with these arguments instead. They are judged again.
    Edit {
        /// The arguments.
        arguments: Value,
    },
    /// Yes, for this time, by another model of those that were shown.
    Use {
        /// Which.
        model: String,
        /// What it is asked instead, if something else.
        #[serde(default)]
        arguments: Option<Value>,
    },
    /// Yes to a launch or to definitions, as they were shown.
    Approve {
        /// The digest of what was shown.
        digest: String,
        /// Definitions that are to wait on, by name.
        #[serde(default)]
        except: Vec<String>,
        /// Tools of which the person says that they only read, by name.
        #[serde(default)]
        reads: Vec<String>,
    },
    /// No.
    Deny {
        /// Why; the model gets to read it.
        #[serde(default)]
        reason: String,
    },
}

impl Answer {
    /// What it is, in a word.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Once => "allowed once",
            Self::Session { .. } => "allowed in this session",
            Self::Exactly { .. } => "always allowed for exactly this",
            Self::Shape { .. } => "always allowed for this shape",
            Self::Edit { .. } => "allowed with other arguments",
            Self::Use { .. } => "allowed by another model",
            Self::Approve { .. } => "approved",
            Self::Deny { .. } => "refused",
        }
    }
}

/// How a question ended, for the doors that still show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "end")]
pub enum Ended {
    /// Somebody answered it.
    Answered {
        /// What was said, in a word.
        what: String,
        /// Who said so, and by which door.
        who: String,
    },
    /// Nobody answered it in its time.
    Unanswered,
    /// Nobody waits for it, and nobody can come for it later.
    Left,
    /// There is no reason to ask it any more.
    Withdrawn,
    /// What it was about is another thing by now, and asked about anew.
    Replaced,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { what, who } => write!(f, "it was answered already: {what} ({who})"),
            Self::Unanswered => f.write_str("nobody answered it in time"),
            Self::Left => f.write_str("nobody waits for it any more"),
            Self::Withdrawn => f.write_str("there is no reason to ask it any more"),
            Self::Replaced => f.write_str("what it was about has changed, and is asked about anew"),
        }
    }
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// What was said.
    pub answer: Answer,
    /// Who said it, and by which door.
    pub who: String,
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejected {
    /// There is no such question, or what it is about is gone.
    Gone,
    /// The question has ended before; how.
    Ended(Ended),
    /// Such a question is not answered like this.
    Misfit,
    /// It could not be kept; why.
    NotKept(String),
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("there is no such question any more"),
            Self::Ended(how) => how.fmt(f),
            Self::Misfit => f.write_str("such a question is not answered like this"),
            Self::NotKept(why) => write!(f, "the answer could not be kept: {why}"),
        }
    }
}

impl std::error::Error for Rejected {}

/// Someone who waits for a question.
#[derive(Debug)]
pub struct Ticket {
    /// The question.
    pub id: u64,
    resolved: watch::Receiver<Option<Resolution>>,
    inbox: Arc<Inner>,
}

impl Ticket {
    /// Waits for the answer. `None`: the time of the question is over.
    ///
    /// Cancel safety: may be called again.
    pub async fn answer(&mut self) -> Option<Resolution> {
        let resolved = self.resolved.wait_for(Option::is_some).await;
        resolved.ok().and_then(|resolution| resolution.clone())
    }

    /// Waits no longer: gives the answer if it came just now. If not, whoever answers from now on knows
    /// that nobody waits.
    pub fn leave(self) -> Option<Resolution> {
        let state = self.inbox.lock();
        let resolved = self.resolved.borrow().clone();
        drop(state);
        resolved
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        let Some(entry) = state.open.get_mut(&self.id) else {
            return;
        };
        entry.question.waiting -= 1;
        // Nobody can come for it later.
        let is_over = matches!(entry.question.topic, Topic::Sampling(_));
        if is_over && entry.question.waiting == 0 {
            state.close(self.id, Ended::Left);
            drop(state);
            self.inbox.touch();
        }
    }
}

#[derive(Debug)]
struct Entry {
    question: Question,
    same: String,
    /// What an app wants; `None` for questions of the host itself.
    wanted: Option<Wanted>,
    resolve: watch::Sender<Option<Resolution>>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Entry>,
    /// How often a session was refused the same.
    refused: HashMap<(u64, String), usize>,
    /// How the last questions ended, oldest first.
    ends: VecDeque<(u64, Ended)>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

/// All open questions. Clones are the same inbox.
#[derive(Debug, Clone)]
pub struct Inbox {
    inner: Arc<Inner>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                changed: watch::Sender::new(0),
            }),
        }
    }
}

/// Why a question is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// It was refused too often in this session.
    RefusedBefore,
    /// The app has too many open questions.
    TooMany,
}

impl State {
    fn open(&mut self, same: &str, now: u64, topic: Topic, wanted: Option<Wanted>) -> u64 {
        self.last += 1;
        let is_call = wanted.is_some() || matches!(topic, Topic::Sampling(_));
        let entry = Entry {
            question: Question {
                id: self.last,
                at: now,
                until: is_call.then_some(now + OPEN_FOR.as_secs()),
                waiting: 0,
                topic,
            },
            same: same.to_owned(),
            wanted,
            resolve: watch::Sender::new(None),
        };
        self.open.insert(self.last, entry);
        self.last
    }

    fn close(&mut self, id: u64, how: Ended) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        if self.ends.len() >= ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back((id, how));
        Some(entry)
    }

    fn rejected(&self, id: u64) -> Rejected {
        let end = self.ends.iter().find(|(of, _)| *of == id);
        end.map_or(Rejected::Gone, |(_, how)| Rejected::Ended(how.clone()))
    }
}

impl Inbox {
    /// Asks, or joins those who ask the same.
    pub fn ask(
        &self,
        wanted: &Wanted,
        now: u64,
        asking: impl FnOnce() -> Asking,
    ) -> Result<Ticket, NotAsked> {
        self.expire(now);
        let same = wanted.same();
        let mut state = self.inner.lock();
        let refused = state.refused.get(&(wanted.session, same.clone()));
        if refused.is_some_and(|times| *times >= REFUSALS) {
            return Err(NotAsked::RefusedBefore);
        }
        let joined = state.open.values().find(|entry| entry.same == same);
        let id = match joined.map(|entry| entry.question.id) {
            Some(id) => id,
            None => {
                let of_app = |entry: &&Entry| {
                    let of = entry.wanted.as_ref();
                    of.is_some_and(|of| of.app == wanted.app)
                };
                if state.open.values().filter(of_app).count() >= PER_APP {
                    return Err(NotAsked::TooMany);
                }
                state.open(&same, now, Topic::Call(asking()), Some(wanted.clone()))
            }
        };
        let entry = state.open.get_mut(&id).ok_or(NotAsked::TooMany)?;
        entry.question.waiting += 1;
        let ticket = Ticket {
            id,
            resolved: entry.resolve.subscribe(),
            inbox: self.inner.clone(),
        };
        drop(state);
        self.inner.touch();
        Ok(ticket)
    }

    /// Asks a person to look at one half of sampling, for as long as somebody waits for it.
    pub fn review(&self, now: u64, topic: Topic) -> Result<Ticket, NotAsked> {
        self.expire(now);
        let mut state = self.inner.lock();
        let samplings = state.open.values();
        let open = samplings.filter(|entry| matches!(entry.question.topic, Topic::Sampling(_)));
        if open.count() >= SAMPLINGS {
            return Err(NotAsked::TooMany);
        }
        let id = state.open("", now, topic, None);
        let entry = state.open.get_mut(&id).ok_or(NotAsked::TooMany)?;
        entry.question.waiting += 1;
        let ticket = Ticket {
            id,
            resolved: entry.resolve.subscribe(),
            inbox: self.inner.clone(),
        };
        drop(state);
        self.inner.touch();
        Ok(ticket)
    }

    /// A question of the host itself, one for each `same`: open until it is answered or withdrawn.
    pub fn post(&self, same: &str, now: u64, topic: Topic) {
        let mut state = self.inner.lock();
        if let Some(entry) = state.open.values().find(|entry| entry.same == same) {
            if entry.question.topic == topic {
                return;
            }
            // Who is about to answer has seen another one.
            let id = entry.question.id;
            state.close(id, Ended::Replaced);
        }
        state.open(same, now, topic, None);
        drop(state);
        self.inner.touch();
    }

    /// There is no reason to ask this any more.
    pub fn withdraw(&self, same: &str) {
        self.end(same, &Ended::Withdrawn);
    }

    /// This question of the host itself has ended like this.
    pub fn end(&self, same: &str, how: &Ended) {
        self.close_all(how, |entry| entry.same == same);
    }

    /// Why a question cannot be answered that is not open: how it ended, if that is remembered.
    pub fn rejected(&self, id: u64) -> Rejected {
        self.inner.lock().rejected(id)
    }

    /// What is open now, oldest first.
    pub fn questions(&self, now: u64) -> Vec<Question> {
        self.expire(now);
        let state = self.inner.lock();
        let questions = state.open.values();
        questions.map(|entry| entry.question.clone()).collect()
    }

    /// Closes those whose time is over.
    pub fn expire(&self, now: u64) {
        self.close_all(&Ended::Unanswered, |entry| {
            entry.question.until.is_some_and(|until| until <= now)
        });
    }

    fn close_all(&self, how: &Ended, ends: impl Fn(&Entry) -> bool) {
        let mut state = self.inner.lock();
        let over: Vec<u64> = state
            .open
            .values()
            .filter(|entry| ends(entry))
            .map(|entry| entry.question.id)
            .collect();
        for id in &over {
            state.close(*id, how.clone());
        }
        drop(state);
        if !over.is_empty() {
            self.inner.touch();
        }
    }

    /// Answers a question. `keep` is called with it, and with what is wanted, once it is sure that this
    /// answer is the first; whoever waits is told only after it has returned well.
    pub fn answer(
        &self,
        id: u64,
        resolution: Resolution,
        now: u64,
        keep: impl FnOnce(&Question, Option<&Wanted>) -> Result<(), Rejected>,
    ) -> Result<Question, Rejected> {
        self.expire(now);
        let mut state = self.inner.lock();
        let entry = state.open.get(&id).ok_or_else(|| state.rejected(id))?;
        keep(&entry.question, entry.wanted.as_ref())?;
        let how = Ended::Answered {
            what: resolution.answer.words().to_owned(),
            who: resolution.who.clone(),
        };
        let Some(entry) = state.close(id, how) else {
            return Err(Rejected::Gone);
        };
        if let (Answer::Deny { .. }, Some(wanted)) = (&resolution.answer, &entry.wanted) {
            if state.refused.len() >= REMEMBERED {
                state.refused.clear();
            }
            let times = state.refused.entry((wanted.session, entry.same));
            *times.or_default() += 1;
        }
        entry.resolve.send_replace(Some(resolution));
        drop(state);
        self.inner.touch();
        Ok(entry.question)
    }

    /// A session is over: what it was refused need not be remembered.
    pub fn session_ended(&self, session: u64) {
        let mut state = self.inner.lock();
        state.refused.retain(|(of, _), _| *of != session);
    }

    /// Told with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }
}
