//! Any `AsyncRead + AsyncWrite`, in one piece or two: sockets, pipes, memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::ByteStream;

/// A reader and a writer as one [`ByteStream`].
#[derive(Debug)]
pub struct Stream<R, W> {
    reader: R,
    writer: W,
}

impl<R, W> Stream<R, W> {
    /// Joins the two directions.
    pub fn new(reader: R, writer: W) -> Self {
        Self { reader, writer }
    }
}

/// Splits one duplex object into its directions.
pub fn duplex<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> Stream<tokio::io::ReadHalf<S>, tokio::io::WriteHalf<S>> {
    let (reader, writer) = tokio::io::split(stream);
    Stream::new(reader, writer)
}

impl<R, W> ByteStream for Stream<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.reader).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }
}
