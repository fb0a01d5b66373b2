//! HTTP with SSE, the transport of 2024-11-05, the client's side: one event stream, and the
//! address that it begins with, for everything that we say.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compere_proto::{Error as ProtocolError, Limits};
use http::header::{self, HeaderValue};
use http::{Method, Uri};
use hyper::body::Incoming;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::http::connector::{Connector, failure, is_type, piece};
use crate::transport::http::events::{Event, EventReader};
use crate::transport::http::wire::Wire;

/// How long the first event may take.
const OPENING: Duration = Duration::from_secs(10);

/// An open stream that has told its address.
pub(crate) struct Stream {
    body: Incoming,
    reader: EventReader,
    /// Events that came in one piece with the address.
    waiting: Vec<Event>,
    address: Uri,
}

/// Is this how a stream of this transport begins?
pub(crate) fn is_opening(events: &[Event]) -> bool {
    events.first().is_some_and(|first| first.name == "endpoint")
}

impl Stream {
    /// A stream that has begun with these events.
    pub(crate) fn opened(
        uri: &Uri,
        body: Incoming,
        reader: EventReader,
        mut events: Vec<Event>,
    ) -> Result<Self> {
        let first = events.remove(0);
        Ok(Self {
            body,
            reader,
            waiting: events,
            address: address(uri, &first.data)?,
        })
    }
}

/// Opens the stream. `None` if this is no server of this transport.
pub(crate) async fn connect(
    connector: &Connector,
    uri: &Uri,
    limits: &Limits,
) -> Result<Option<Stream>> {
    let accept = [(
        header::ACCEPT,
        HeaderValue::from_static("text/event-stream"),
    )];
    let opening = async {
        let response = connector
            .send(Method::GET, uri, &accept, Bytes::new())
            .await?;
        if !response.status().is_success() || !is_type(&response, "text/event-stream") {
            return Ok(None);
        }
        let mut body = response.into_body();
        let mut reader = EventReader::new(limits.message_bytes);
        let mut events = Vec::new();
        while events.is_empty() {
            let Some(bytes) = piece(&mut body).await else {
                return Ok(None);
            };
            reader
                .read(&bytes?, |event| events.push(event))
                .map_err(|_| ProtocolError::Limit("message_bytes"))?;
        }
        if !is_opening(&events) {
            return Ok(None);
        }
        Stream::opened(uri, body, reader, events).map(Some)
    };
    tokio::time::timeout(OPENING, opening)
        .await
        .unwrap_or(Ok(None))
}

/// The address that messages are posted to. It may be relative; it must be of the same server:
/// what we post may carry a token.
fn address(stream: &Uri, told: &[u8]) -> Result<Uri> {
    let refused = |why: &str| Error::with_message(ErrorKind::Io, why.to_owned());
    let told = std::str::from_utf8(told)
        .map_err(|_| refused("the address to post to is no text"))?
        .trim();
    let uri: Uri = if has_scheme(told) {
        told.parse()
    } else {
        let origin = format!(
            "{}://{}",
            stream.scheme_str().unwrap_or("http"),
            stream
                .authority()
                .map(ToString::to_string)
                .unwrap_or_default()
        );
        let path = if told.starts_with('/') {
            told.to_owned()
        } else if told.starts_with('?') {
            format!("{}{told}", stream.path())
        } else {
            let folder = stream
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            format!("{folder}/{told}")
        };
        format!("{origin}{path}").parse()
    }
    .map_err(|_| refused("the address to post to is none"))?;
    let of = |uri: &Uri| {
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        (secure, uri.host().map(str::to_ascii_lowercase), port)
    };
    if of(&uri) == of(stream) {
        Ok(uri)
    } else {
        Err(refused("the address to post to is of another server"))
    }
}

/// Does it begin with a scheme, whichever?
fn has_scheme(told: &str) -> bool {
    told.find([':', '/', '?', '#'])
        .and_then(|at| told.get(at..))
        .is_some_and(|rest| rest.starts_with(':'))
}

/// Carries the conversation until either side ends it.
pub(crate) async fn run(connector: &Connector, stream: Stream, first: Bytes, wire: &Arc<Wire>) {
    let Stream {
        body,
        reader,
        waiting,
        address,
    } = stream;
    let hear = hear(body, reader, waiting, wire);
    let say = say(connector, &address, first, wire);
    let ended = tokio::select! {
        ended = hear => ended,
        ended = say => ended,
    };
    wire.close(ended.err());
}

async fn hear(
    mut body: Incoming,
    mut reader: EventReader,
    waiting: Vec<Event>,
    wire: &Wire,
) -> Result<()> {
    let mut events = waiting;
    loop {
        for event in events.drain(..) {
            if event.name == "message" {
                wire.deliver(&event.data).await;
            }
        }
        let Some(bytes) = piece(&mut body).await else {
            return Ok(());
        };
        reader
            .read(&bytes?, |event| events.push(event))
            .map_err(|_| ProtocolError::Limit("message_bytes"))?;
    }
}

async fn say(connector: &Connector, address: &Uri, first: Bytes, wire: &Wire) -> Result<()> {
    let mut next = Some(first);
    while let Some(line) = next {
        let json = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )];
        let response = connector.send(Method::POST, address, &json, line).await?;
        if response.status().is_success() {
            // The connection is used again only when the body was read.
            let mut body = response.into_body();
            while let Some(Ok(_)) = piece(&mut body).await {}
        } else {
            return Err(failure(response).await.into_error(address));
        }
        next = wire.next().await;
    }
    Ok(())
}
