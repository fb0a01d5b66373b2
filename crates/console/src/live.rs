//! Tells the script of a page, as it happens, that there is something else to see.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use compere_host::host::Host;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;

use crate::Inner;
use crate::entry::Visit;

/// How often it is looked whether more was written down.
const LOOK: Duration = Duration::from_secs(1);
/// More often than this a page is told of nothing.
const PACE: Duration = Duration::from_millis(50);

/// Counts a browser for as long as it looks.
struct Watching(Arc<Inner>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Events: `questions` with the numbers of all that are open, `changes` where servers or apps may stand
/// otherwise, `trials` where something came of what is tried, `activity` where more was written down.
pub(crate) async fn live(
    State(inner): State<Arc<Inner>>,
    _visit: Visit,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    inner.watching.fetch_add(1, Ordering::Relaxed);
    let mut questions = inner.host.question_changes();
    questions.mark_changed();
    let changes = inner.host.changes();
    let trials = inner.trials.changes();
    let watching = Watching(inner);
    let seen = watching.0.host.last_record();
    let begin = (watching, questions, changes, trials, seen);
    let events = unfold(
        begin,
        |(watching, mut questions, mut changes, mut trials, mut seen)| async move {
            let event = tokio::select! {
                changed = questions.changed() => {
                    changed.ok()?;
                    let open: Vec<u64> = watching.0.host.questions().iter().map(|of| of.id).collect();
                    Event::default().event("questions").data(json!(open).to_string())
                }
                changed = changes.changed() => {
                    changed.ok()?;
                    Event::default().event("changes").data("{}")
                }
                changed = trials.changed() => {
                    changed.ok()?;
                    Event::default().event("trials").data("{}")
                }
                last = more(&watching.0.host, seen) => {
                    seen = last;
                    Event::default().event("activity").data(last.to_string())
                }
            };
            tokio::time::sleep(PACE).await;
            Some((Ok(event), (watching, questions, changes, trials, seen)))
        },
    );
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Waits until there are more records than so many.
async fn more(host: &Host, seen: u64) -> u64 {
    loop {
        tokio::time::sleep(LOOK).await;
        let last = host.last_record();
        if last > seen {
            return last;
        }
    }
}
