//! Servers over HTTP, reached by a client: Streamable HTTP, or the older HTTP with SSE where a
//! server speaks only that. Which one it is, the client finds out by itself.
//!
//! ```no_run
//! # async fn reach() -> compere::Result<()> {
//! let client = compere::Client::connect("http://127.0.0.1:8080/mcp").await?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod connector;
pub mod events;
pub(crate) mod old;
pub(crate) mod stateless;
pub(crate) mod streamable;
pub(crate) mod wire;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::Limits;
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::client::Target;
use crate::error::{Error, Result};
use crate::transport::ByteStream;
use crate::transport::http::connector::Connector;
use crate::transport::http::streamable::Streamable;
use crate::transport::http::wire::Wire;

/// How long the last words may take when the connection is closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// A server at an address.
#[derive(Clone)]
pub struct HttpTarget {
    uri: String,
    headers: Vec<(String, String)>,
}

impl HttpTarget {
    /// A server at this `http` or `https` address. Whether it can be one is checked when the client
    /// connects.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            uri: address.into(),
            headers: Vec::new(),
        }
    }

    /// Sends a header with every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends a bearer token with every request. It goes to this server only: redirects are not
    /// followed.
    #[must_use]
    pub fn bearer(self, token: impl fmt::Display) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    fn uri(&self) -> Result<Uri> {
        let uri: Uri = self
            .uri
            .parse()
            .map_err(|error| Error::setup(format!("this is no address: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Error::setup(
                "the address of a server begins with http:// or https://",
            ));
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(Error::setup(
                "an address holds no name or password; send them in a header",
            ));
        }
        Ok(uri)
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::setup(format!("this is no name of a header: {name:?}")))?;
            if name == header::HOST || name == header::CONTENT_LENGTH {
                return Err(Error::setup(format!(
                    "the header {name} is not yours to set"
                )));
            }
            // The value may be a secret and is not shown.
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::setup(format!("the value of the header {name} is none")))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("HttpTarget")
            .field("uri", &self.uri)
            .field("headers", &names)
            .finish()
    }
}

impl Target for HttpTarget {
    type Stream = HttpStream;

    fn open(self, limits: &Limits) -> Result<HttpStream> {
        let uri = self.uri()?;
        let connector = Connector::new(self.headers()?, uri.scheme_str() == Some("https"))?;
        let wire = Wire::new(limits.bytes_in_flight);
        let run = Streamable::run(connector, uri, wire.clone(), limits.clone());
        let closing = wire.clone();
        let task = tokio::spawn(async move {
            run.await;
            closing.close(None);
        });
        Ok(HttpStream {
            wire,
            partial: Vec::new(),
            task,
            farewell: None,
        })
    }

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn identity(&self) -> Option<String> {
        Some(connector::shown(&self.uri().ok()?))
    }
}

impl Target for &str {
    type Stream = HttpStream;

    fn open(self, limits: &Limits) -> Result<HttpStream> {
        HttpTarget::new(self).open(limits)
    }

    fn again(&self) -> Option<Self> {
        Some(self)
    }

    fn identity(&self) -> Option<String> {
        HttpTarget::new(*self).identity()
    }
}

impl Target for String {
    type Stream = HttpStream;

    fn open(self, limits: &Limits) -> Result<HttpStream> {
        HttpTarget::new(self).open(limits)
    }

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn identity(&self) -> Option<String> {
        HttpTarget::new(self.as_str()).identity()
    }
}

/// The connection to a server over HTTP, as a stream of lines.
pub struct HttpStream {
    wire: Arc<Wire>,
    partial: Vec<u8>,
    task: tokio::task::JoinHandle<()>,
    farewell: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpStream")
    }
}

impl ByteStream for HttpStream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.poll_read(context, buffer)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_write(context, bytes, &mut self.partial)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wire.close(None);
        let farewell = self
            .farewell
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        if farewell.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        std::pin::Pin::new(&mut self.task).poll(context).map(drop)
    }

    fn lost_request(&mut self) -> Option<(i64, Error)> {
        self.wire.take_lost()
    }

    fn silence_is_evidence(&self) -> bool {
        false
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
