//! The beginning of a connection whose server is yet to be connected to: reads up to `initialize`, or to
//! the first request that stands by itself, and gives the stream back with all of it still to be read.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use compere_proto::connection::outgoing::IdSource;
use compere_proto::connection::session::Session as Machine;
use compere_proto::connection::stateless::Envelope;
use compere_proto::connection::{Inbound, Output, Received};
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::{Limits, Method, Moment};

use crate::driver::Started;
use crate::driver::outcome::Outcome;
use crate::error::{Error, Result, ServerLost};
use crate::relay::{Opened, Opening};
use crate::server::core::ServerCore;
use crate::server::dispatch::Dispatch;
use crate::transport::ByteStream;

/// A stream of which something was read already.
pub(crate) struct Replayed<S> {
    head: Vec<u8>,
    taken: usize,
    stream: S,
}

/// How much is read at once.
const PIECE: usize = 4096;

/// Reads up to `initialize` and connects to the server behind, or up to a request that needs none. What comes before it is answered as
/// any server would. `None`: the client has left, or was told that there is no server.
pub(crate) async fn read<S: ByteStream + Unpin>(
    core: &Arc<ServerCore>,
    id: u64,
    principal: &Arc<str>,
    stream: S,
) -> Result<Option<(Replayed<S>, Opened)>> {
    let mut machine = Machine::server(core.session_config(), IdSource::default());
    let limits = core.limits();
    let mut early = Early {
        stream,
        bytes: Vec::new(),
        limits: &limits,
    };
    loop {
        let Some(line) = early.line().await? else {
            return Ok(None);
        };
        if Opening::read(&line).is_some() {
            // It is not who only asked who is there.
            core.stand_ins.leave(id);
            return match Opened::by(core, id, principal, &line).await {
                Ok(opened) => Ok(Some((early.again(line), opened))),
                Err(answer) => {
                    early.write(answer).await?;
                    early.close().await;
                    Ok(None)
                }
            };
        }
        let received = machine.receive(Moment::START, &line);
        match received {
            // Who asks who is there may go on in either era.
            Received::Stateless(inbound, envelope) if inbound.method == Method::Discover => {
                let id_of_request = inbound.id.to_owned();
                let revision = envelope.revision;
                let outcome = discovered(core, id, principal, &mut machine, &inbound, envelope);
                let outcome = outcome.await;
                let mut answer = Vec::new();
                outcome.encode(&mut answer, &id_of_request, revision, machine.head());
                early.write(answer).await?;
                continue;
            }
            // Each of them stands by itself: there is nothing to wait for.
            Received::Stateless(..) => {
                return Ok(Some((early.again(line), Opened::stateless(core, id))));
            }
            Received::Request(_) => tracing::error!("a request was taken before the handshake"),
            _ => {}
        }
        while let Some(output) = machine.poll_output() {
            if let Output::Send(message) = output {
                early.write(message).await?;
            }
        }
    }
}

/// Who is there, for a client of which it is not known yet whether it wants a session.
async fn discovered(
    core: &Arc<ServerCore>,
    id: u64,
    principal: &Arc<str>,
    machine: &mut Machine,
    inbound: &Inbound<'_>,
    envelope: Box<Envelope>,
) -> Outcome {
    let session = core.session(Opened::stateless(core, id), principal.clone());
    let dispatch = Dispatch::new(session);
    let mut envelope = Some(envelope);
    let started = std::future::poll_fn(|context| {
        let started = envelope.take().map(|envelope| {
            dispatch.stateless(machine, Moment::START, inbound, envelope, true, context)
        });
        Poll::Ready(started)
    });
    match started.await {
        None => ErrorObject::internal().into(),
        Some(Started::Done(outcome) | Started::Answered(outcome, _)) => outcome,
        Some(Started::Pending(mut work, call)) => {
            std::future::poll_fn(|context| work.poll(context, Some(&call))).await
        }
    }
}

/// A stream before its handshake.
struct Early<'a, S> {
    stream: S,
    bytes: Vec<u8>,
    limits: &'a Limits,
}

impl<S: ByteStream + Unpin> Early<'_, S> {
    /// The stream with this line, and all that follows, still to be read.
    fn again(mut self, line: Vec<u8>) -> Replayed<S> {
        let mut head = line;
        head.push(b'\n');
        head.append(&mut self.bytes);
        Replayed {
            head,
            taken: 0,
            stream: self.stream,
        }
    }

    /// The next line without its end; `None` when the stream is over.
    async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.bytes[looked..].iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(looked + end + 1);
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.pop();
                return Ok(Some(line));
            }
            looked = self.bytes.len();
            if looked > self.limits.message_bytes {
                let limit = compere_proto::Error::Limit("message_bytes");
                return Err(limit.into());
            }
            let mut piece = [0; PIECE];
            let read =
                std::future::poll_fn(|context| self.stream.poll_read(context, &mut piece)).await;
            let count = read.map_err(Error::from)?;
            if count == 0 {
                return Ok(None);
            }
            self.bytes.extend_from_slice(&piece[..count]);
        }
    }

    async fn write(&mut self, mut message: Vec<u8>) -> Result<()> {
        message.push(b'\n');
        let mut written = 0;
        while written < message.len() {
            let rest = &message[written..];
            let count =
                std::future::poll_fn(|context| self.stream.poll_write(context, rest)).await?;
            if count == 0 {
                return Err(compere_proto::Error::Closed.into());
            }
            written += count;
        }
        std::future::poll_fn(|context| self.stream.poll_flush(context)).await?;
        Ok(())
    }

    async fn close(&mut self) {
        std::future::poll_fn(|context| self.stream.poll_close(context)).await;
    }
}

impl<S: ByteStream> ByteStream for Replayed<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let rest = self.head.get(self.taken..).unwrap_or_default();
        if rest.is_empty() {
            self.head = Vec::new();
            self.taken = 0;
            return self.stream.poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.len());
        if let (Some(buffer), Some(rest)) = (buffer.get_mut(..count), rest.get(..count)) {
            buffer.copy_from_slice(rest);
        }
        self.taken += count;
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_close(context)
    }

    fn lost_request(&mut self) -> Option<(i64, Error)> {
        self.stream.lost_request()
    }

    fn ended(&mut self) -> Option<ServerLost> {
        self.stream.ended()
    }
}
