//! Standard input and output of this process, the server's end of stdio.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#stdio>

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use crate::transport::ByteStream;
use crate::transport::descriptor::{Reader, Writer};

/// Our standard input and output. Works with pipes, sockets (Node hands those to its children),
/// files and terminals.
///
/// Nothing else may write to standard output while this lives: every byte on it is a message.
#[derive(Debug)]
pub struct Stdio {
    reader: Reader,
    writer: Writer,
}

impl Stdio {
    /// Takes both. Must be called inside a tokio runtime with I/O enabled.
    pub fn new() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Self::of(input, output)
    }

    /// Those of another process, which handed them over. Must be called inside a tokio runtime with
    /// I/O enabled.
    pub fn of(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            reader: Reader::new(input)?,
            writer: Writer::new(output)?,
        })
    }
}

impl ByteStream for Stdio {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reader.poll_read(context, buffer)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.poll_write(context, bytes)
    }
}
