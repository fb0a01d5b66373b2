//! Lines to and from a server, and nothing else.

use std::task::Poll;
use std::time::{Duration, Instant};

use compere::ServerLost;
use compere::transport::ByteStream;

/// The longest line that is read.
const LINE_BYTES: usize = 16 * 1024 * 1024;

/// What came within some time.
pub(super) enum Heard {
    Line(Vec<u8>),
    /// Nothing more in this time.
    Silence,
    /// The server is gone, or its line has no end.
    End,
}

/// A raw connection.
pub(crate) struct Wire {
    stream: Box<dyn ByteStream + Unpin>,
    received: Vec<u8>,
    ended: bool,
}

impl Wire {
    pub(crate) fn new(stream: impl ByteStream + Unpin) -> Self {
        Self {
            stream: Box::new(stream),
            received: Vec::new(),
            ended: false,
        }
    }

    /// Sends a line. What a server that is gone does not take is lost.
    pub(super) async fn send(&mut self, line: &[u8], within: Duration) {
        let mut bytes = line.to_vec();
        bytes.push(b'\n');
        let mut rest = bytes.as_slice();
        let sending = std::future::poll_fn(|context| {
            while !rest.is_empty() {
                match std::task::ready!(self.stream.poll_write(context, rest)) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(count) => rest = &rest[count..],
                }
            }
            self.stream.poll_flush(context).map(|_| ())
        });
        let _ = tokio::time::timeout(within, sending).await;
    }

    /// The next line, without its end.
    pub(super) async fn next(&mut self, until: Instant) -> Heard {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Heard::Line(line);
            }
            if self.ended || self.received.len() > LINE_BYTES {
                return Heard::End;
            }
            let mut buffer = vec![0; 64 * 1024];
            let reading =
                std::future::poll_fn(|context| self.stream.poll_read(context, &mut buffer));
            match tokio::time::timeout_at(until.into(), reading).await {
                Err(_) => return Heard::Silence,
                Ok(Ok(count)) if count > 0 => self.received.extend_from_slice(&buffer[..count]),
                Ok(_) => self.ended = true,
            }
        }
    }

    /// What stands behind the last line break, when the server is gone.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.received
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// How a process of ours ended.
    pub(super) fn fate(&mut self) -> Option<ServerLost> {
        self.stream.ended()
    }

    /// Ends the connection in order and says how long the server took.
    pub(super) async fn close(mut self) -> Duration {
        let asked = Instant::now();
        std::future::poll_fn(|context| self.stream.poll_close(context)).await;
        asked.elapsed()
    }
}
