//! A token bucket: so many per second, so many at once.

use crate::time::Moment;

/// Counts against a rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: f64,
    level: f64,
    updated: Moment,
}

impl Rate {
    /// A full bucket.
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            level: burst,
            updated: Moment::START,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Moment) -> bool {
        self.refill(now);
        if self.level < 1.0 {
            return false;
        }
        self.level -= 1.0;
        true
    }

    /// Is everything there that can be?
    pub fn is_full(&mut self, now: Moment) -> bool {
        self.refill(now);
        self.level >= self.burst
    }

    /// When there will be one again.
    pub fn next(&mut self, now: Moment) -> Moment {
        self.refill(now);
        let missing = (1.0 - self.level).max(0.0);
        if missing == 0.0 || self.per_second <= 0.0 {
            return now;
        }
        now + std::time::Duration::from_secs_f64(missing / self.per_second)
    }

    fn refill(&mut self, now: Moment) {
        let passed = now.since(self.updated).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.burst);
        self.updated = self.updated.max(now);
    }
}
