//! What lies between the connection, which speaks in lines, and the requests over HTTP, which
//! carry them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::error::Error;

#[derive(Default)]
struct State {
    /// Lines for the connection to read.
    incoming: VecDeque<Bytes>,
    incoming_bytes: usize,
    reader: Option<Waker>,
    /// Lines of the connection, to be sent.
    outgoing: VecDeque<Bytes>,
    outgoing_bytes: usize,
    writer: Option<Waker>,
    lost: VecDeque<(i64, Error)>,
    closed: Option<Option<Error>>,
}

/// Both directions, bounded.
pub(crate) struct Wire {
    state: Mutex<State>,
    /// There is something to send, or it is over.
    to_send: Notify,
    /// There is room for more to read.
    room: Notify,
    limit_bytes: usize,
}

impl Wire {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            to_send: Notify::new(),
            room: Notify::new(),
            limit_bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message for the connection, once there is room.
    pub(crate) async fn deliver(&self, message: &[u8]) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.lock();
                if state.closed.is_some() {
                    return;
                }
                if state.incoming.is_empty()
                    || state.incoming_bytes + message.len() <= self.limit_bytes
                {
                    // Outside of strings a carriage return is white space as a line feed is,
                    // inside it is as forbidden: what the message says stays the same.
                    let mut line: Vec<u8> = message
                        .iter()
                        .map(|byte| if *byte == b'\n' { b'\r' } else { *byte })
                        .collect();
                    line.push(b'\n');
                    state.incoming_bytes += line.len();
                    state.incoming.push_back(line.into());
                    wake(&mut state.reader);
                    return;
                }
            }
            room.await;
        }
    }

    /// A request is lost.
    pub(crate) fn lose(&self, id: i64, error: Error) {
        let mut state = self.lock();
        state.lost.push_back((id, error));
        wake(&mut state.reader);
    }

    /// Nothing more will come.
    pub(crate) fn close(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.closed.get_or_insert(error);
        wake(&mut state.reader);
        wake(&mut state.writer);
        drop(state);
        self.to_send.notify_waiters();
        self.to_send.notify_one();
        self.room.notify_waiters();
    }

    /// The next line to send; `None` when it is over.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.lock();
                if let Some(line) = state.outgoing.pop_front() {
                    state.outgoing_bytes -= line.len();
                    wake(&mut state.writer);
                    return Some(line);
                }
                if state.closed.is_some() {
                    return None;
                }
            }
            self.to_send.notified().await;
        }
    }

    pub(crate) fn take_lost(&self) -> Option<(i64, Error)> {
        self.lock().lost.pop_front()
    }

    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let Some(front) = state.incoming.front_mut() else {
            if let Some(error) = &state.closed {
                return Poll::Ready(match error {
                    Some(error) => Err(io::Error::other(error.clone())),
                    None => Ok(0),
                });
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let count = front.len().min(buffer.len());
        let (Some(target), part) = (buffer.get_mut(..count), front.split_to(count)) else {
            return Poll::Ready(Ok(0));
        };
        target.copy_from_slice(&part);
        if front.is_empty() {
            state.incoming.pop_front();
        }
        state.incoming_bytes -= count;
        drop(state);
        self.room.notify_waiters();
        Poll::Ready(Ok(count))
    }

    /// Takes whole lines; `partial` keeps what is not whole yet.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        partial: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.outgoing_bytes > self.limit_bytes {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(part);
            if partial.ends_with(b"\n") {
                partial.pop();
                let line = Bytes::from(std::mem::take(partial));
                state.outgoing_bytes += line.len();
                state.outgoing.push_back(line);
            }
        }
        drop(state);
        self.to_send.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
