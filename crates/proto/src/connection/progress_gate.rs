//! Progress of one request that we work on: it only grows, it is not too frequent, and between
//! two that are sent only the newest is kept.

use crate::connection::rate::Rate;
use crate::error::Misuse;
use crate::limits::Limits;
use crate::time::Moment;

/// One piece of news.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// How far the work is.
    pub progress: f64,
    /// Where it ends.
    pub total: Option<f64>,
    /// What is being done.
    pub message: Option<String>,
}

/// Decides which progress of a request goes out.
#[derive(Debug, Clone)]
pub struct ProgressGate {
    last: Option<f64>,
    rate: Rate,
    held: Option<Step>,
}

impl ProgressGate {
    /// A gate for a request that was just begun.
    pub fn new(limits: &Limits) -> Self {
        Self {
            last: None,
            rate: Rate::new(limits.progress_per_second, limits.progress_burst),
            held: None,
        }
    }

    /// Takes a step: gives it back to be sent now, or keeps it for [`ProgressGate::due`].
    pub fn offer(&mut self, now: Moment, step: Step) -> Result<Option<Step>, Misuse> {
        if let Some(last) = self.last
            && (step.progress <= last || step.progress.is_nan())
        {
            return Err(Misuse::ProgressNotIncreasing(last, step.progress));
        }
        self.last = Some(step.progress);
        if self.rate.take(now) {
            self.held = None;
            return Ok(Some(step));
        }
        self.held = Some(step);
        Ok(None)
    }

    /// When [`ProgressGate::due`] will have something.
    pub fn next(&mut self, now: Moment) -> Option<Moment> {
        self.held.as_ref()?;
        Some(self.rate.next(now))
    }

    /// The step that was kept, once the rate allows it.
    pub fn due(&mut self, now: Moment) -> Option<Step> {
        if self.held.is_some() && self.rate.take(now) {
            return self.held.take();
        }
        None
    }

    /// The step that was kept, whatever the rate: the last word before the answer.
    pub fn last_word(&mut self) -> Option<Step> {
        self.held.take()
    }
}
