//! HTTP with SSE, the transport of 2024-11-05: one event stream per client, and an address to post
//! messages to that the stream begins with. The session lives as long as its stream.
//!
//! The connection is the same driver as for any stream of bytes; it runs where the event stream is
//! read, so that a client that leaves ends it, and one that does not read holds up only itself.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::driver::call::BoxFuture;
use crate::server::core::ServerCore;
use crate::server::dispatch;
use crate::server::http::body::Events;
use crate::server::http::streams::frame;
use crate::transport::ByteStream;

/// What was posted and what is to be sent, between the requests and the stream of one client.
#[derive(Default)]
struct Wire {
    posted: VecDeque<Bytes>,
    posted_bytes: usize,
    reader: Option<Waker>,
    lines: Vec<u8>,
    closed: bool,
}

/// The posting side of a session.
#[derive(Clone)]
pub(crate) struct Inbox {
    wire: Arc<Mutex<Wire>>,
    pub(crate) principal: Arc<str>,
    /// For wire logs.
    pub(crate) number: u64,
    limit_bytes: usize,
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The session is over.
    Closed,
    /// The client posts faster than it reads.
    Full,
}

impl Inbox {
    /// Leaves a message for the connection.
    pub(crate) fn post(&self, body: &[u8]) -> Result<(), NotTaken> {
        let mut wire = lock(&self.wire);
        if wire.closed {
            return Err(NotTaken::Closed);
        }
        if wire.posted_bytes + body.len() > self.limit_bytes {
            return Err(NotTaken::Full);
        }
        // A body may be spread over lines. Outside of strings a carriage return is white space as
        // a line feed is, inside it is as forbidden: what the body says stays the same.
        let mut line: Vec<u8> = body
            .iter()
            .map(|byte| if *byte == b'\n' { b'\r' } else { *byte })
            .collect();
        line.push(b'\n');
        wire.posted_bytes += line.len();
        wire.posted.push_back(line.into());
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
        Ok(())
    }
}

/// The connection's view of the wire.
struct Posts(Arc<Mutex<Wire>>);

impl ByteStream for Posts {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.0);
        let Some(front) = wire.posted.front_mut() else {
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let count = front.len().min(buffer.len());
        let (Some(target), part) = (buffer.get_mut(..count), front.split_to(count)) else {
            return Poll::Ready(Ok(0));
        };
        target.copy_from_slice(&part);
        if front.is_empty() {
            wire.posted.pop_front();
        }
        wire.posted_bytes -= count;
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Taken out right after this turn of the driver: the next turn is only when the client
        // has read it.
        lock(&self.0).lines.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

/// The event stream of one client, and with it the session.
pub(crate) struct Connection {
    wire: Arc<Mutex<Wire>>,
    driver: Option<BoxFuture<crate::Result<()>>>,
    opening: Option<String>,
    on_end: Option<Box<dyn FnOnce() + Send>>,
    /// For wire logs.
    pub(crate) number: u64,
}

/// A new session; its client is to post to `address`. Gives its two sides.
pub(crate) fn connect(
    core: &Arc<ServerCore>,
    principal: Arc<str>,
    address: &str,
    on_end: impl FnOnce() + Send + 'static,
) -> (Inbox, Connection) {
    let wire = Arc::new(Mutex::new(Wire::default()));
    let number = core.next_number();
    let posts = Posts(wire.clone());
    let driver = dispatch::serve(core.clone(), posts, principal.clone(), number);
    let inbox = Inbox {
        wire: wire.clone(),
        principal,
        number,
        limit_bytes: core.options.limits.bytes_in_flight,
    };
    let connection = Connection {
        wire,
        driver: Some(Box::pin(driver)),
        opening: Some(format!("event: endpoint\ndata: {address}\n\n")),
        on_end: Some(Box::new(on_end)),
        number,
    };
    (inbox, connection)
}

impl Connection {
    fn take_lines(&self) -> Option<Bytes> {
        let lines = std::mem::take(&mut lock(&self.wire).lines);
        if lines.is_empty() {
            return None;
        }
        let mut events = Vec::with_capacity(lines.len() + 64);
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            events.append(&mut frame(None, line));
        }
        Some(events.into())
    }
}

impl Events for Connection {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening.into()));
        }
        if let Some(driver) = &mut self.driver
            && Pin::as_mut(driver).poll(context).is_ready()
        {
            self.driver = None;
            lock(&self.wire).closed = true;
        }
        match self.take_lines() {
            Some(events) => {
                // The driver may have more to do once this is on its way.
                context.waker().wake_by_ref();
                Poll::Ready(Some(events))
            }
            None if self.driver.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.wire).closed = true;
        if let Some(on_end) = self.on_end.take() {
            on_end();
        }
    }
}
