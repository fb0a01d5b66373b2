//! The requests that we have sent and that wait for an answer: correlation and deadlines.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::method::Method;
use crate::time::Moment;

/// Gives out the ids of one side of a connection. Clones share the count, so that requests can
/// be encoded where they are made; an id is never given out twice.
#[derive(Debug, Clone, Default)]
pub struct IdSource(Arc<AtomicI64>);

impl IdSource {
    /// The next id; the first is 1.
    pub fn next_id(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Without answer or progress. `None`: for ever.
    pub idle: Option<Duration>,
    /// In all, whatever progress comes. `None`: for ever.
    pub max: Option<Duration>,
}

impl Timeouts {
    /// No bound at all, for requests whose answer waits for a person.
    pub const NONE: Self = Self {
        idle: None,
        max: None,
    };
}

/// A request that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) method: Method,
    sent: Moment,
    timeouts: Timeouts,
    heard: Moment,
    last_progress: Option<f64>,
}

impl Waiting {
    fn deadline(&self) -> Option<Moment> {
        let idle = self.timeouts.idle.map(|idle| self.heard + idle);
        let max = self.timeouts.max.map(|max| self.sent + max);
        match (idle, max) {
            (Some(idle), Some(max)) => Some(idle.min(max)),
            (one, other) => one.or(other),
        }
    }

    /// How long was waited when the deadline is over: since the last progress, or in all.
    fn patience(&self) -> Duration {
        match (self.timeouts.idle, self.timeouts.max) {
            (Some(idle), Some(max)) if self.sent + max < self.heard + idle => max,
            (Some(idle), _) => idle,
            (None, max) => max.unwrap_or_default(),
        }
    }
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    waiting: HashMap<i64, Waiting>,
    /// Answered, but what they asked for goes on, and so does its progress: with the last one.
    going_on: HashMap<i64, Option<f64>>,
    /// One entry per waiting request with a deadline. Progress moves a deadline without touching
    /// the heap: an entry that comes up too early goes back in.
    deadlines: BinaryHeap<Reverse<(Moment, i64)>>,
}

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn begin(&mut self, now: Moment, id: i64, method: Method, timeouts: Timeouts) {
        let waiting = Waiting {
            method,
            sent: now,
            timeouts,
            heard: now,
            last_progress: None,
        };
        if let Some(deadline) = waiting.deadline() {
            self.deadlines.push(Reverse((deadline, id)));
        }
        self.waiting.insert(id, waiting);
    }

    pub(crate) fn end(&mut self, id: i64) -> Option<Waiting> {
        let ended = self.waiting.remove(&id);
        if self.waiting.is_empty() {
            self.deadlines.clear();
        } else if self.deadlines.len() > 64 + 2 * self.waiting.len() {
            let waiting = &self.waiting;
            self.deadlines
                .retain(|Reverse((_, id))| waiting.contains_key(id));
        }
        ended
    }

    /// An answered request whose progress is still to be heard.
    pub(crate) fn goes_on(&mut self, id: i64) {
        self.going_on.insert(id, None);
    }

    /// Its progress is of no interest any more.
    pub(crate) fn is_over(&mut self, id: i64) {
        self.going_on.remove(&id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.going_on.is_empty()
    }

    pub(crate) fn contains(&self, id: i64) -> bool {
        self.waiting.contains_key(&id)
    }

    pub(crate) fn method(&self, id: i64) -> Option<Method> {
        self.waiting.get(&id).map(|waiting| waiting.method)
    }

    /// Progress came: the idle clock starts again. `false` if nothing waits or it did not grow.
    pub(crate) fn progress(&mut self, now: Moment, id: i64, progress: f64) -> bool {
        let mut waiting = self.waiting.get_mut(&id);
        let last = match &mut waiting {
            Some(waiting) => &mut waiting.last_progress,
            None => match self.going_on.get_mut(&id) {
                Some(last) => last,
                None => return false,
            },
        };
        if last.is_some_and(|last| progress <= last) {
            return false;
        }
        *last = Some(progress);
        if let Some(waiting) = waiting {
            waiting.heard = now;
        }
        true
    }

    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        while let Some(Reverse((_, id))) = self.deadlines.peek() {
            if self.waiting.contains_key(id) {
                break;
            }
            self.deadlines.pop();
        }
        self.deadlines
            .peek()
            .map(|Reverse((deadline, _))| *deadline)
    }

    /// The next request whose time is over, with how long it was waited for.
    pub(crate) fn expired(&mut self, now: Moment) -> Option<(i64, Waiting, Duration)> {
        while let Some(Reverse((planned, id))) = self.deadlines.peek().copied() {
            if planned > now {
                return None;
            }
            self.deadlines.pop();
            let Some(deadline) = self.waiting.get(&id).and_then(Waiting::deadline) else {
                continue;
            };
            if deadline > now {
                self.deadlines.push(Reverse((deadline, id)));
                continue;
            }
            let waiting = self.waiting.remove(&id)?;
            let after = waiting.patience();
            return Some((id, waiting, after));
        }
        None
    }

    /// Empties it; the ids of what waited, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<i64> {
        self.deadlines.clear();
        let mut ids: Vec<i64> = self.waiting.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}
