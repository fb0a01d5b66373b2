//! How bytes come and go. A transport is a pair of byte directions; framing, the state machine
//! and handlers are the driver's.

pub mod child;
pub(crate) mod descriptor;
#[cfg(feature = "http-client")]
pub mod http;
pub mod stdio;
pub mod stream;
pub mod tap;

use std::io;
use std::task::{Context, Poll};

use crate::error::{Error, ServerLost};

/// A duplex stream of bytes.
///
/// Both methods have the contract of their namesakes in `tokio::io`: `Pending` registers the
/// waker, a read of zero bytes is the end. Anything bidirectional can carry the protocol, as long
/// as it keeps every byte in order.
pub trait ByteStream: Send + 'static {
    /// Reads into `buffer`, which is never empty.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    /// Writes from `bytes`, which are never empty.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Pushes out what is buffered inside the stream.
    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the stream in the order that its kind asks for, after the last read and write.
    fn poll_close(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// A request of ours that was lost on its way, or whose answer was, where the stream knows it:
    /// its id, and why. Asked whenever the connection looks at what is ready; a stream that has
    /// news wakes the reader.
    fn lost_request(&mut self) -> Option<(i64, Error)> {
        None
    }

    /// Does a peer that says nothing show by that what it cannot do? Over HTTP it does not: there, something
    /// on the way may be slow.
    fn silence_is_evidence(&self) -> bool {
        true
    }

    /// What is known of the peer's end, if it is a process of ours.
    fn ended(&mut self) -> Option<ServerLost> {
        None
    }
}
