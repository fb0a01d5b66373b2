//! The body of an answer: nothing, a whole message, or events as they come.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::server::http::OnMessage;
use crate::transport::tap::Direction;

/// A comment: nothing on the way takes the connection for dead.
const COMMENT: &[u8] = b": still here\n\n";

/// Events as they go over the wire; `None` is the end.
pub(crate) trait Events: Send {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// Events that are shown to a listener on the way.
pub(crate) struct Tapped<E> {
    inner: E,
    tap: OnMessage,
    session: u64,
}

impl<E> Tapped<E> {
    pub(crate) fn new(inner: E, tap: OnMessage, session: u64) -> Self {
        Self {
            inner,
            tap,
            session,
        }
    }
}

impl<E: Events> Events for Tapped<E> {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let event = std::task::ready!(self.inner.poll_event(context));
        let lines = event
            .iter()
            .flat_map(|event| event.split(|byte| *byte == b'\n'));
        let messages = lines.filter_map(|line| line.strip_prefix(b"data: "));
        for message in messages.filter(|message| message.starts_with(b"{")) {
            (self.tap)(self.session, Direction::Sent, message);
        }
        Poll::Ready(event)
    }
}

/// The body of an answer over HTTP.
pub struct Body(Kind);

enum Kind {
    Empty,
    Whole(Bytes),
    Events(Box<Stream>),
}

struct Stream {
    events: Box<dyn Events>,
    keep_alive: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(bytes.into()))
    }

    pub(crate) fn events(events: impl Events + 'static, keep_alive: Duration) -> Self {
        Self(Kind::Events(Box::new(Stream {
            events: Box::new(events),
            keep_alive,
            timer: None,
            ended: false,
        })))
    }
}

impl Stream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(event) = self.events.poll_event(context) {
            self.ended = event.is_none();
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(Instant::now() + self.keep_alive);
            }
            return Poll::Ready(event);
        }
        let keep_alive = self.keep_alive;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(keep_alive)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        timer.as_mut().reset(Instant::now() + keep_alive);
        Poll::Ready(Some(Bytes::from_static(COMMENT)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Kind::Empty => None,
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Some(bytes)
            }
            Kind::Events(stream) => std::task::ready!(stream.poll(context)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Events(stream) => stream.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Empty => "Body::Empty",
            Kind::Whole(_) => "Body::Whole",
            Kind::Events(_) => "Body::Events",
        })
    }
}
