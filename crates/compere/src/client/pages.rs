//! The pages that a server sent the person to, and that are not done yet: what a server says of any
//! other is of no interest.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that are remembered; the oldest is forgotten for one more.
const PAGES: usize = 256;

/// The ids of pages, as the server named them.
#[derive(Default)]
pub(crate) struct Pages(Mutex<VecDeque<String>>);

impl Pages {
    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The person is to go there.
    pub(crate) fn expect(&self, id: &str) {
        let mut pages = self.lock();
        if pages.iter().any(|known| known == id) {
            return;
        }
        if pages.len() == PAGES {
            pages.pop_front();
        }
        pages.push_back(id.to_owned());
    }

    /// The server says that one is done: `false` if it is unknown, or was done before.
    pub(crate) fn complete(&self, id: &str) -> bool {
        let mut pages = self.lock();
        let found = pages.iter().position(|known| known == id);
        found.and_then(|place| pages.remove(place)).is_some()
    }
}
