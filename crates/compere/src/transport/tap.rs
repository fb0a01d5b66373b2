//! A stream of bytes that shows its lines to someone on the way: for wire logs and tests.

use std::io;
use std::task::{Context, Poll};

use crate::error::{Error, ServerLost};
use crate::transport::ByteStream;

/// Which way a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us.
    Received,
    /// From us to the peer.
    Sent,
}

/// Called with every whole line, without its end.
pub type OnLine = Box<dyn FnMut(Direction, &[u8]) + Send>;

/// A stream with a listener. Lines are kept until they are whole, so a tapped stream holds each
/// message twice; the bounds of the connection apply to it all the same.
pub struct Tap<S> {
    inner: S,
    received: Vec<u8>,
    sent: Vec<u8>,
    on_line: OnLine,
}

impl<S> Tap<S> {
    /// Listens to `inner`.
    pub fn new(inner: S, on_line: impl FnMut(Direction, &[u8]) + Send + 'static) -> Self {
        Self {
            inner,
            received: Vec::new(),
            sent: Vec::new(),
            on_line: Box::new(on_line),
        }
    }
}

fn feed(kept: &mut Vec<u8>, bytes: &[u8], mut on_line: impl FnMut(&[u8])) {
    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
        kept.extend_from_slice(part);
        if let Some(line) = kept.strip_suffix(b"\n") {
            on_line(line);
            kept.clear();
        }
    }
}

impl<S: ByteStream> ByteStream for Tap<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = std::task::ready!(self.inner.poll_read(context, buffer))?;
        let on_line = &mut self.on_line;
        feed(&mut self.received, &buffer[..count], |line| {
            on_line(Direction::Received, line);
        });
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = std::task::ready!(self.inner.poll_write(context, bytes))?;
        let on_line = &mut self.on_line;
        feed(&mut self.sent, &bytes[..count], |line| {
            on_line(Direction::Sent, line);
        });
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_close(context)
    }

    fn lost_request(&mut self) -> Option<(i64, Error)> {
        self.inner.lost_request()
    }

    fn silence_is_evidence(&self) -> bool {
        self.inner.silence_is_evidence()
    }

    fn ended(&mut self) -> Option<ServerLost> {
        self.inner.ended()
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Tap<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
