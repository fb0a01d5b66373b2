//! Sends one HTTP request and gives the answer: addresses, headers, TLS. It follows no redirect:
//! what carries a token goes where the person said, and nowhere else.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use compere_proto::Limits;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::error::{Error, ErrorKind, Result};

/// How long an unused connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);
/// How long it may take to reach the server.
const CONNECT: Duration = Duration::from_secs(20);
/// Bytes of an answer to a failed request that are read for its words.
const ERROR_BYTES: usize = 64 * 1024;

/// A body that is sent whole.
#[derive(Debug, Default)]
pub(crate) struct Whole(Bytes);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Reaches one server.
pub(crate) struct Connector {
    client: Client<HttpsConnector<HttpConnector>, Whole>,
    /// What the person wants to be sent with every request.
    headers: HeaderMap,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// An error as a line: the whole chain of causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// What a failed request says.
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Failure {
    /// As an error for people. The words of the server are escaped and cut.
    pub(crate) fn into_error(self, uri: &Uri) -> Error {
        let shown = shown(uri);
        let status = self.status;
        let mut message = format!("{shown} answered {status}");
        if status.is_redirection() {
            message.push_str("; redirects are not followed, use the address that it names");
        }
        let said = words(&self.body);
        if !said.is_empty() {
            message.push_str(": ");
            message.push_str(&said);
        }
        Error::with_message(ErrorKind::HttpStatus(status.as_u16()), message)
    }
}

fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        error: compere_proto::jsonrpc::ErrorObject,
    }

    let text = String::from_utf8_lossy(body);
    let text = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.error.message.into_owned(),
        Err(_) => text.into_owned(),
    };
    crate::text::escape_line(text.chars().take(200).collect::<String>().trim())
}

/// An address without what may be secret in it.
pub(crate) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.host().unwrap_or_default();
    let port = uri
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{scheme}://{host}{port}{}", uri.path())
}

impl Connector {
    /// Certificates are only looked for where they are needed.
    pub(crate) fn new(headers: HeaderMap, secure: bool) -> Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let provider = rustls::crypto::ring::default_provider();
        let builder = hyper_rustls::HttpsConnectorBuilder::new();
        let builder = if secure {
            builder
                .with_provider_and_native_roots(provider)
                .map_err(|error| {
                    Error::because(ErrorKind::Start, "no certificates to trust", error)
                })?
        } else {
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| Error::because(ErrorKind::Start, "no TLS", error))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let https = builder.https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(https);
        Ok(Self { client, headers })
    }

    /// Sends a request. An answer of any status is an answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        own: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::new(Whole(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "compere/",
                env!("CARGO_PKG_VERSION")
            )));
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        self.client.request(request).await.map_err(|error| {
            let why = causes(&error);
            Error::because(
                ErrorKind::Io,
                format!("cannot reach {}", shown(uri)),
                io::Error::other(why),
            )
        })
    }
}

/// Is this the media type of the answer?
pub(crate) fn is_type<B>(response: &Response<B>, wanted: &str) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Option<io::Result<Bytes>> {
    loop {
        let frame =
            std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(io::Error::other(causes(&error)))),
        }
    }
}

/// The whole body, if it fits.
pub(crate) async fn whole(response: Response<Incoming>, limits: &Limits) -> Result<Vec<u8>> {
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Error::with_message(
            ErrorKind::Io,
            "the answer is compressed, which was not asked for",
        ));
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(more) = piece(&mut body).await {
        let more = more?;
        if bytes.len() + more.len() > limits.message_bytes {
            return Err(compere_proto::Error::Limit("message_bytes").into());
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// What a failed request says, as far as it is worth reading.
pub(crate) async fn failure(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let compressed = response.headers().contains_key(header::CONTENT_ENCODING);
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    if !compressed {
        while bytes.len() < ERROR_BYTES {
            match piece(&mut body).await {
                Some(Ok(more)) => bytes.extend_from_slice(&more),
                _ => break,
            }
        }
    }
    Failure {
        status,
        body: bytes,
    }
}
