//! A stream of a session that is shared by several instances, read out of the event store for the
//! client that is connected here.
//!
//! The stream of what belongs to no request is read by one connection at a time: the newest takes
//! it over, and goes on where the one before it had come to.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::driver::exchange::Route;
use crate::server::http::body::Events;
use crate::server::http::sessions::{new_id, read, written};
use crate::server::http::shared::{Instance, Payload, Record};
use crate::server::http::store::{EventId, EventReader, ReadError, Soon, Start, StoreError};
use crate::server::http::streams::frame;

/// How often the instance of the session hears that a stream of it is read.
const USED: Duration = Duration::from_secs(20);
/// A place is remembered for so long at most.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// A stream as a connection reads it.
pub(crate) struct Stored {
    instance: Arc<Instance>,
    owner: Box<str>,
    session: Box<str>,
    stream: u64,
    reader: Box<dyn EventReader>,
    /// What comes before the first event.
    opening: Option<String>,
    turn: Option<Turn>,
    told: Instant,
    over: bool,
}

/// The turn of a connection to read the general stream.
struct Turn {
    token: Bytes,
    /// An event that is delivered once it is sure that it still is our turn.
    checked: Option<Checked>,
}

struct Checked {
    id: EventId,
    event: Bytes,
    /// Whose turn it is.
    whose: Soon<Result<Option<Bytes>, StoreError>>,
}

/// The id of an event as clients see it: its stream, and what the store calls it. Without the
/// latter, the beginning of the stream.
struct Shown<'a>(u64, &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Reads such an id.
pub(crate) fn read_id(text: &str) -> Option<(u64, &str)> {
    let (stream, event) = text.split_once('-')?;
    let digits = !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !digits || event.len() > 64 || !event.bytes().all(plain) {
        return None;
    }
    Some((stream.parse().ok()?, event))
}

fn turn_key(session: &str) -> String {
    format!("reader/{session}")
}

fn place_key(session: &str) -> String {
    format!("read/{session}")
}

impl Stored {
    /// The stream that answers a request, from its beginning.
    pub(crate) async fn answer(
        instance: &Arc<Instance>,
        record: &Record,
        session: &str,
        stream: u64,
    ) -> Result<Self, ReadError> {
        Self::open(instance, record, session, stream, Start::Beginning).await
    }

    /// What follows an event that the client has seen.
    pub(crate) async fn resume(
        instance: &Arc<Instance>,
        record: &Record,
        session: &str,
        after: (u64, &str),
    ) -> Result<Self, ReadError> {
        let (stream, event) = after;
        let start = match event {
            "" => Start::Beginning,
            event => Start::After(event),
        };
        let turn = match stream == Route::GENERAL.0 {
            true => Some(Turn::take(instance, session).await?),
            false => None,
        };
        let mut stored = Self::open(instance, record, session, stream, start).await?;
        stored.opening = None;
        stored.turn = turn;
        Ok(stored)
    }

    /// The stream of what belongs to no request, from where the last reader had come to.
    pub(crate) async fn general(
        instance: &Arc<Instance>,
        record: &Record,
        session: &str,
    ) -> Result<Self, ReadError> {
        let turn = Turn::take(instance, session).await?;
        let sessions = &instance.shared.sessions;
        let place = sessions.get(&place_key(session)).await;
        let place = place.map_err(ReadError::Failed)?;
        let place = place.and_then(|place| String::from_utf8(place.into()).ok());
        let stream = Route::GENERAL.0;
        let start = place.as_deref().map_or(Start::Oldest, Start::After);
        let mut opened = Self::open(instance, record, session, stream, start).await;
        if let Err(ReadError::Evicted) = opened {
            tracing::warn!("nobody read the general stream of a session for long: events are lost");
            opened = Self::open(instance, record, session, stream, Start::Oldest).await;
        }
        let mut stored = opened?;
        stored.turn = Some(turn);
        Ok(stored)
    }

    async fn open(
        instance: &Arc<Instance>,
        record: &Record,
        session: &str,
        stream: u64,
        start: Start<'_>,
    ) -> Result<Self, ReadError> {
        let events = &instance.shared.events;
        let name = stream.to_string();
        let reader = events.read(session, &name, start).await?;
        let event = match start {
            Start::After(event) => event,
            _ => "",
        };
        let opening = record.polls.then(|| {
            let retry = instance.retry.as_millis();
            format!("id: {}\nretry: {retry}\ndata:\n\n", Shown(stream, event))
        });
        Ok(Self {
            instance: instance.clone(),
            owner: record.instance.clone(),
            session: session.into(),
            stream,
            reader,
            opening,
            turn: None,
            told: Instant::now(),
            over: false,
        })
    }

    fn tell_used(&mut self) {
        if self.told.elapsed() >= USED {
            self.told = Instant::now();
            self.instance.used(&self.owner, &self.session);
        }
    }

    fn end(&mut self) -> Poll<Option<Bytes>> {
        self.over = true;
        Poll::Ready(None)
    }

    fn deliver(&mut self, id: &str, event: &Bytes) -> Poll<Option<Bytes>> {
        match Payload::decode(event) {
            Some(Payload::Message(message)) => {
                let id = Shown(self.stream, id);
                Poll::Ready(Some(frame(Some(&id), &message).into()))
            }
            Some(Payload::Release(retry)) => {
                self.over = true;
                // The id, so that the client comes back behind this and not to it.
                let id = Shown(self.stream, id);
                let retry = retry.as_millis();
                Poll::Ready(Some(format!("id: {id}\nretry: {retry}\ndata:\n\n").into()))
            }
            Some(Payload::End) => self.end(),
            None => {
                tracing::error!("an event of the store is none of ours");
                self.end()
            }
        }
    }
}

impl Turn {
    async fn take(instance: &Arc<Instance>, session: &str) -> Result<Self, ReadError> {
        let token = new_id().ok_or(StoreError::new("no randomness"));
        let token = Bytes::from(written(token.map_err(ReadError::Failed)?));
        let sessions = &instance.shared.sessions;
        let put = sessions.put(&turn_key(session), token.clone(), REMEMBERED);
        put.await.map_err(ReadError::Failed)?;
        Ok(Self {
            token,
            checked: None,
        })
    }
}

impl Events for Stored {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening.into()));
        }
        self.tell_used();
        loop {
            if let Some(turn) = &mut self.turn
                && let Some(checked) = &mut turn.checked
            {
                let whose = ready!(Pin::new(&mut checked.whose).poll(context));
                let Some(Checked { id, event, .. }) = turn.checked.take() else {
                    return self.end();
                };
                if whose.ok().flatten().as_ref() != Some(&turn.token) {
                    return self.end();
                }
                if let Some(session) = read(&self.session) {
                    let place = Bytes::from(id.to_string());
                    let key = place_key(&self.session);
                    self.instance.remember(session, key, place);
                }
                return self.deliver(&id, &event);
            }
            let (id, event) = match ready!(self.reader.poll_next(context)) {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(?error, "a stream cannot be read on: it ends");
                    return self.end();
                }
            };
            match &mut self.turn {
                None => return self.deliver(&id, &event),
                Some(turn) => {
                    let sessions = &self.instance.shared.sessions;
                    let whose = sessions.get(&turn_key(&self.session));
                    turn.checked = Some(Checked { id, event, whose });
                }
            }
        }
    }
}
