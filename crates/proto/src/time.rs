//! Time as the conversation knows it: a point that the caller passes in. Nothing here reads a
//! clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, as the duration since some start that the caller has chosen once for the
/// whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// The start.
    pub const START: Self = Self(Duration::ZERO);

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}
