//! Where handlers and handles leave what they want to have said; the driver takes it from there.
//!
//! Nothing here touches the state machine: whoever writes into the outbox may be running inside
//! the driver's own turn, on another thread, or not at all any more when the message goes out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use compere_proto::connection::outgoing::Timeouts;
use compere_proto::connection::progress_gate::Step;
use compere_proto::jsonrpc::RequestId;
use compere_proto::logging::LoggingLevel;
use compere_proto::progress::ProgressParams;
use compere_proto::{Error as ProtocolError, Method};
use tokio::sync::oneshot;

use crate::driver::call::CallShared;
use crate::driver::exchange::Route;
use crate::error::{Error, Result};
use crate::server::listen::Subscription;

/// What becomes of progress on a request of ours.
pub(crate) type OnProgress = Box<dyn FnMut(ProgressParams) + Send>;

/// Who waits for an answer.
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Result<Box<str>>>,
    pub(crate) on_progress: Option<OnProgress>,
    /// Progress is heard after the answer too, until the request is abandoned.
    pub(crate) hears_on: bool,
    pub(crate) route: Route,
}

/// One thing to be said or done.
pub(crate) enum Item {
    /// Send a request and wait for its answer.
    Request {
        id: i64,
        method: Method,
        message: Vec<u8>,
        timeouts: Timeouts,
        waiter: Waiter,
    },
    /// Nobody waits for this request any more, or for its progress if it is answered.
    Abandon { id: i64, reason: &'static str },
    /// Send a notification.
    Notification {
        method: Method,
        message: Vec<u8>,
        route: Route,
    },
    /// Send a log message, if the client wants it.
    Log {
        level: LoggingLevel,
        message: Vec<u8>,
        route: Route,
        /// The request of the stateless era that has asked for it.
        asked_by: Option<Arc<CallShared>>,
    },
    /// Send progress of a call, if the rate allows it.
    Progress { call: Arc<CallShared>, step: Step },
    /// A listener has something to tell.
    Changes {
        listener: Arc<Subscription>,
        route: Route,
    },
    /// Tell the peer that a resource changed, if it is subscribed.
    ResourceUpdated { uri: String },
    /// Lets go of an event stream; the client comes back for the rest after this time.
    Release { route: Route, retry: Duration },
    /// End the connection once everything before this is written.
    Close,
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Request { message, .. }
            | Self::Notification { message, .. }
            | Self::Log { message, .. } => message.len(),
            _ => 64,
        }
    }

    fn is_dispensable(&self) -> bool {
        matches!(
            self,
            Self::Notification { .. } | Self::Log { .. } | Self::Progress { .. }
        )
    }
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// Dropped since the last log line about it.
    dropped: u64,
    closed: Option<Error>,
    waker: Option<Waker>,
}

/// The outbox of one connection.
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// How many items there are, readable without the lock.
    count: AtomicUsize,
    /// How many are in their turn now, each of whom looks again before it sleeps.
    driving: AtomicUsize,
    limit_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            count: AtomicUsize::new(0),
            driving: AtomicUsize::new(0),
            limit_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an item. Full or closed: a request fails at its waiter, notifications are dropped.
    pub(crate) fn push(&self, item: Item) {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            let error = error.clone();
            drop(state);
            refuse(item, error);
            return;
        }
        if state.bytes + item.bytes() > self.limit_bytes {
            if item.is_dispensable() {
                state.dropped += 1;
                return;
            }
            if matches!(item, Item::Request { .. }) {
                drop(state);
                refuse(item, ProtocolError::Limit("outbox_bytes").into());
                return;
            }
        }
        state.bytes += item.bytes();
        state.items.push_back(item);
        self.count.store(state.items.len(), Ordering::SeqCst);
        let waker = if self.driving.load(Ordering::SeqCst) > 0 {
            None
        } else {
            state.waker.take()
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Takes everything that is there.
    pub(crate) fn take(&self, into: &mut VecDeque<Item>) {
        let mut state = self.lock();
        std::mem::swap(&mut state.items, into);
        state.bytes = 0;
        if state.dropped > 0 {
            tracing::warn!(
                dropped = state.dropped,
                "the peer reads too slowly: notifications were dropped"
            );
            state.dropped = 0;
        }
        self.count.store(state.items.len(), Ordering::SeqCst);
    }

    /// A turn begins: items need not wake anyone.
    pub(crate) fn begin_turn(&self) {
        self.driving.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(feature = "http-server")]
    /// A turn ends, and nobody can leave anything after it.
    pub(crate) fn end_turn_for_good(&self) {
        self.driving.fetch_sub(1, Ordering::SeqCst);
    }

    /// A turn ends: from now on items wake `waker`. `false`: something came in meanwhile.
    pub(crate) fn end_turn(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if !state
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        self.driving.fetch_sub(1, Ordering::SeqCst);
        state.items.is_empty()
    }

    /// Refuses everything from now on, and what is left over.
    pub(crate) fn close(&self, error: &Error) {
        let left = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| error.clone());
            self.count.store(0, Ordering::SeqCst);
            std::mem::take(&mut state.items)
        };
        for item in left {
            refuse(item, error.clone());
        }
    }

    /// Why it is closed, if it is.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.lock().closed.clone()
    }
}

fn refuse(item: Item, error: Error) {
    if let Item::Request { waiter, .. } = item {
        let _ = waiter.reply.send(Err(error));
    }
}

/// An id of a received request, as key of what is pending.
pub(crate) type CallId = RequestId;
