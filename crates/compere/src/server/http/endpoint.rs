//! From a request over HTTP to its answer: the guards, the routes, the two transports.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use compere_proto::Revision;
use compere_proto::revision::Era;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tower_service::Service;

use crate::driver::call::BoxFuture;
use crate::error::{Error, Result};
use crate::server::core::ServerCore;
use crate::server::http::HttpOptions;
use crate::server::http::bearer::{self, Principal};
use crate::server::http::body::{Body, Events, Tapped};
use crate::server::http::guard::{
    EVENT_STREAM, Guard, LAST_EVENT_ID, PROTOCOL_VERSION, Refused, SESSION_ID, Seen, accepts,
    empty, head_fits, is_json, is_known_method, json, single,
};
use crate::server::http::old::NotTaken;
use crate::server::http::session::{HttpSession, Posted};
use crate::server::http::sessions::{self, Sessions, new_id, written};
use crate::server::http::shared::{self, Instance, Record, Said};
use crate::server::http::stateless::Strangers;
use crate::server::http::store::{ReadError, StoreError};
use crate::server::http::stored::{self, Stored};
use crate::server::http::streams::{EventId, Gone};
use crate::transport::tap::Direction;

/// A server over HTTP, as a [`tower_service::Service`] that mounts into hyper or axum. Clones share
/// the server and its sessions.
#[derive(Clone)]
pub struct HttpService {
    endpoint: Arc<Endpoint>,
}

pub(crate) struct Endpoint {
    pub(crate) core: Arc<ServerCore>,
    pub(crate) options: HttpOptions,
    sessions: Arc<Sessions>,
    /// If there are several.
    instance: Option<Arc<Instance>>,
    bytes: AtomicUsize,
    pub(crate) strangers: Strangers,
}

/// The number of what belongs to no session.
pub(crate) const NONE: u64 = 0;

/// Where a session is.
enum Found {
    Here(Arc<HttpSession>),
    Elsewhere(Elsewhere),
}

/// A session of another instance.
struct Elsewhere {
    instance: Arc<Instance>,
    record: Record,
    session: String,
}

impl Elsewhere {
    async fn end(self) -> Result<(), Refused> {
        let ended = self.instance.end(&self.record, &self.session).await;
        ended.map_err(unavailable)
    }
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Streamable HTTP.
    Endpoint,
    /// The event stream of the old transport.
    OldStream,
    /// Where the old transport posts to.
    OldPosts,
}

impl HttpService {
    pub(crate) fn new(core: Arc<ServerCore>, options: HttpOptions) -> Result<Self> {
        let shared = match &options.shared {
            None => None,
            Some(_) if tokio::runtime::Handle::try_current().is_err() => {
                return Err(Error::setup(
                    "a service that shares its sessions is made inside of a runtime",
                ));
            }
            Some(shared) => {
                let name = new_id().ok_or_else(|| Error::setup("there is no randomness"))?;
                Some(Instance::new(name, shared.clone(), &core.options.limits))
            }
        };
        let instance = shared.as_ref().map(|(instance, _)| instance.clone());
        let sessions = Sessions::new(core.clone(), instance.clone());
        let endpoint = Arc::new(Endpoint {
            core,
            options,
            sessions,
            instance,
            bytes: AtomicUsize::new(0),
            strangers: Strangers::default(),
        });
        if let Some((instance, saved)) = shared {
            shared::run(&endpoint, &instance, saved);
        }
        Ok(Self { endpoint })
    }

    /// The paths that are answered; everything else is 404.
    pub fn paths(&self) -> Vec<&str> {
        let options = &self.endpoint.options;
        let mut paths = vec![&*options.path];
        if let Some(old) = &options.old {
            paths.extend([&*old.stream, &*old.posts]);
        }
        paths
    }

    /// How many sessions there are now.
    pub fn sessions(&self) -> usize {
        self.endpoint.sessions.count()
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService")
            .field("paths", &self.paths())
            .finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for HttpService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoint = self.endpoint.clone();
        let (head, body) = request.into_parts();
        Box::pin(async move { Ok(endpoint.answer(&head, body).await) })
    }
}

impl Endpoint {
    async fn answer<B>(&self, head: &Parts, body: B) -> Response<Body>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let seen = Seen::new(&head.headers);
        let fits = head_fits(&seen, self.core.options.limits.header_bytes);
        let admitted = fits.and_then(|()| self.options.guard.admit(&seen, authority));
        let origin = match admitted {
            Ok(origin) => origin.cloned(),
            Err(refused) => return refused.into_response(),
        };
        let mut response = match self.route(head, &seen, body).await {
            Ok(response) => response,
            Err(refused) => bearer::challenge(refused),
        };
        if let Some(origin) = origin {
            Guard::allow(&mut response, origin);
        }
        response
    }

    fn place(&self, path: &str) -> Option<Place> {
        if path == &*self.options.path {
            return Some(Place::Endpoint);
        }
        let old = self.options.old.as_ref()?;
        if path == &*old.stream {
            return Some(Place::OldStream);
        }
        (path == &*old.posts).then_some(Place::OldPosts)
    }

    async fn route<B>(
        &self,
        head: &Parts,
        seen: &Seen<'_>,
        body: B,
    ) -> Result<Response<Body>, Refused>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        let place = self
            .place(head.uri.path())
            .ok_or(Refused::new(StatusCode::NOT_FOUND, "Nothing is here"))?;
        if !is_known_method(&head.method) {
            return Err(WRONG_METHOD);
        }
        if head.method == Method::OPTIONS {
            return Guard::preflight(&head.headers).ok_or(WRONG_METHOD);
        }
        let principal = self.principal(head)?;
        match (place, &head.method) {
            (Place::Endpoint, &Method::POST) => {
                is_json(seen)?;
                let kinds = ["application/json", "text/event-stream"];
                accepts(&head.headers, seen, &kinds)?;
                let body = self.read(seen, body).await?;
                let stateless = self.post_stateless(&head.headers, seen, &principal, &body.bytes);
                if let Some(response) = stateless.await {
                    return Ok(response);
                }
                if !self.has_handshake() {
                    return Err(NO_REQUEST);
                }
                // Boxed, as all that follows: what is not needed for a call without a session takes no
                // room in the future of one.
                Box::pin(self.post(&head.headers, &principal, &body.bytes)).await
            }
            (Place::Endpoint, _) if !self.has_handshake() => Err(WRONG_METHOD),
            (Place::Endpoint, &Method::GET) => {
                accepts(&head.headers, seen, &["text/event-stream"])?;
                Box::pin(self.stream(&head.headers, &principal)).await
            }
            (Place::Endpoint, &Method::DELETE) => {
                Box::pin(self.end_session(&head.headers, &principal)).await
            }
            (Place::OldStream, &Method::GET) => {
                accepts(&head.headers, seen, &["text/event-stream"])?;
                Box::pin(self.connect_old(&principal)).await
            }
            (Place::OldPosts, &Method::POST) => {
                is_json(seen)?;
                let body = self.read(seen, body).await?;
                Box::pin(self.post_old(head.uri.query(), &principal, &body.bytes)).await
            }
            _ => Err(WRONG_METHOD),
        }
    }

    /// Are revisions served that have sessions?
    fn has_handshake(&self) -> bool {
        let config = self.core.session_config();
        !config.revisions.is_empty()
    }

    pub(crate) fn show(&self, session: u64, direction: Direction, message: &[u8]) {
        if let Some(tap) = &self.options.tap {
            tap(session, direction, message);
        }
    }

    fn principal(&self, head: &Parts) -> Result<Arc<str>, Refused> {
        if let Some(check) = &self.options.bearer {
            return bearer::principal(&head.headers, check).map(|principal| principal.0);
        }
        Ok(match head.extensions.get::<Principal>() {
            Some(principal) => principal.0.clone(),
            None => self.options.local.clone(),
        })
    }

    /// Reads a body within its bounds: one that says or turns out to be larger is refused.
    async fn read<B>(&self, seen: &Seen<'_>, body: B) -> Result<Held<'_>, Refused>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: std::fmt::Display,
    {
        let limits = &self.core.options.limits;
        if seen
            .announced()
            .is_some_and(|announced| announced > limits.message_bytes)
        {
            return Err(TOO_LARGE);
        }
        let mut held = Held::new(&self.bytes);
        let mut body = pin!(body);
        let mut patience: Option<Pin<Box<tokio::time::Sleep>>> = None;
        loop {
            let frame = std::future::poll_fn(|context| {
                if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                    return Poll::Ready(Ok(frame));
                }
                let patience =
                    patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(limits.stall)));
                patience.as_mut().poll(context).map(|()| Err(TOO_SLOW))
            })
            .await?;
            let Some(frame) = frame else {
                return Ok(held);
            };
            let frame = frame.map_err(|error| {
                tracing::debug!(%error, "a body broke off");
                Refused::new(StatusCode::BAD_REQUEST, "The body broke off")
            })?;
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            let length = data.remaining();
            if held.bytes.len() + length > limits.message_bytes {
                return Err(TOO_LARGE);
            }
            held.take(data.copy_to_bytes(length), limits.process_bytes)?;
        }
    }

    async fn post(
        &self,
        headers: &HeaderMap,
        principal: &Arc<str>,
        body: &[u8],
    ) -> Result<Response<Body>, Refused> {
        let version = self.version(headers)?;
        if !self.options.sessions {
            let revision = version.unwrap_or(Revision::V2025_03_26);
            let started = self.sessions.started();
            let session =
                HttpSession::sessionless(&self.core, revision, principal.clone(), started);
            self.show(NONE, Direction::Received, body);
            return self.answer_posted(&session, session.post(body).await).await;
        }
        if single(headers, &SESSION_ID)?.is_some() {
            let session = match self.session(headers, principal).await? {
                Found::Here(session) => session,
                Found::Elsewhere(there) => return self.post_elsewhere(there, body).await,
            };
            self.show(session.shared.id, Direction::Received, body);
            let posted = session.post(body).await;
            if session.has_ended() && matches!(posted, Posted::Accepted) {
                return Err(NO_SESSION);
            }
            return self.answer_posted(&session, posted).await;
        }
        let opened = self.sessions.open(principal, body).await;
        let opened = match opened.map_err(|_| CROWDED)? {
            Ok(opened) => opened,
            Err(answer) => {
                self.show(NONE, Direction::Received, body);
                let mut response = self.json(NONE, answer);
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                return Ok(response);
            }
        };
        let session = self
            .sessions
            .prepare(principal.clone(), opened)
            .map_err(|_| CROWDED)?;
        let number = session.shared.id;
        self.show(number, Direction::Received, body);
        let posted = session.post(body).await;
        if !session.is_agreed() {
            return match posted {
                Posted::Malformed(error) => Ok(bad_request(self.json(number, error))),
                Posted::Answer(answer) if is_error(&answer) => {
                    Ok(bad_request(self.json(number, answer)))
                }
                _ => Err(Refused::new(
                    StatusCode::BAD_REQUEST,
                    "A session begins with initialize; its id then comes with every request",
                )),
            };
        }
        self.sessions.list(&session).map_err(|_| CROWDED)?;
        if let Some(instance) = &self.instance {
            let id = written(session.id);
            let registered = instance.register(&id, principal, session.polls());
            registered.await.map_err(unavailable)?;
        }
        let mut response = self.answer_posted(&session, posted).await?;
        if let Ok(id) = HeaderValue::from_str(&written(session.id)) {
            response.headers_mut().insert(SESSION_ID, id);
        }
        Ok(response)
    }

    async fn answer_posted(
        &self,
        session: &Arc<HttpSession>,
        posted: Posted,
    ) -> Result<Response<Body>, Refused> {
        let number = session.shared.id;
        Ok(match posted {
            Posted::Accepted => empty(StatusCode::ACCEPTED),
            Posted::Answer(answer) => self.json(number, answer),
            Posted::Malformed(error) => bad_request(self.json(number, error)),
            Posted::Events(reader) => match (reader.answer().await, &self.instance) {
                (Ok(answer), _) => self.json(number, answer),
                (Err(reader), Some(instance)) if self.options.sessions => {
                    let record = Record::new(instance, session.polls());
                    let id = written(session.id);
                    let stored = Stored::answer(instance, &record, &id, reader.stream());
                    self.events(number, stored.await.map_err(unreadable)?)
                }
                (Err(reader), _) => self.events(number, reader),
            },
        })
    }

    /// Takes a message that came to another instance.
    pub(crate) async fn posted(&self, session: &str, principal: &str, body: &[u8]) -> Said {
        if let Some(session) = self.sessions.find(session, principal) {
            let text = |message: Vec<u8>| String::from_utf8_lossy(&message).into_owned();
            return match session.post(body).await {
                Posted::Accepted if session.has_ended() => Said::NoSession,
                Posted::Accepted => Said::Accepted,
                Posted::Answer(answer) => Said::Answer(text(answer)),
                Posted::Malformed(error) => Said::Malformed(text(error)),
                Posted::Events(reader) => match reader.answer().await {
                    Ok(answer) => Said::Answer(text(answer)),
                    Err(reader) => Said::Stream(reader.stream()),
                },
            };
        }
        match self.sessions.find_old(session, principal) {
            None => Said::NoSession,
            Some(inbox) => match inbox.post(body) {
                Ok(()) => Said::Accepted,
                Err(NotTaken::Closed) => Said::NoSession,
                Err(NotTaken::Full) => Said::Full,
            },
        }
    }

    /// Sends a message to the instance of its session, and answers as that instance would.
    async fn post_elsewhere(
        &self,
        there: Elsewhere,
        body: &[u8],
    ) -> Result<Response<Body>, Refused> {
        self.show(NONE, Direction::Received, body);
        let Ok(body) = std::str::from_utf8(body) else {
            return Err(Refused::new(
                StatusCode::BAD_REQUEST,
                "The body is not UTF-8",
            ));
        };
        let Elsewhere {
            instance,
            record,
            session,
        } = there;
        let said = instance.post(&record, &session, body.to_owned()).await;
        Ok(match said.map_err(unavailable)? {
            Said::Accepted => empty(StatusCode::ACCEPTED),
            Said::Answer(answer) => self.json(NONE, answer.into()),
            Said::Malformed(error) => bad_request(self.json(NONE, error.into())),
            Said::Stream(stream) => {
                let stored = Stored::answer(&instance, &record, &session, stream).await;
                self.events(NONE, stored.map_err(unreadable)?)
            }
            Said::NoSession => return Err(NO_SESSION),
            Said::Full => return Err(FULL),
        })
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    fn json(&self, number: u64, message: Vec<u8>) -> Response<Body> {
        self.show(number, Direction::Sent, &message);
        json(message)
    }

    pub(crate) fn events(&self, number: u64, events: impl Events + 'static) -> Response<Body> {
        let keep_alive = self.core.options.limits.keep_alive;
        let body = match &self.options.tap {
            Some(tap) => Body::events(Tapped::new(events, tap.clone(), number), keep_alive),
            None => Body::events(events, keep_alive),
        };
        event_stream(body)
    }

    /// The version that a request says it is made in.
    fn version(&self, headers: &HeaderMap) -> Result<Option<Revision>, Refused> {
        let Some(value) = single(headers, &PROTOCOL_VERSION)? else {
            return Ok(None);
        };
        let known = value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Revision>().ok())
            .filter(|revision| {
                revision.era() == Era::Handshake && self.core.options.revisions.contains(revision)
            });
        known.map(Some).ok_or(Refused::new(
            StatusCode::BAD_REQUEST,
            "MCP-Protocol-Version names no version that this server speaks",
        ))
    }

    async fn end_session(
        &self,
        headers: &HeaderMap,
        principal: &Arc<str>,
    ) -> Result<Response<Body>, Refused> {
        match self.session(headers, principal).await? {
            Found::Here(session) => session.end(None),
            Found::Elsewhere(there) => there.end().await?,
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn session(&self, headers: &HeaderMap, principal: &Arc<str>) -> Result<Found, Refused> {
        if !self.options.sessions {
            return Err(WRONG_METHOD);
        }
        self.version(headers)?;
        let id = single(headers, &SESSION_ID)?.ok_or(Refused::new(
            StatusCode::BAD_REQUEST,
            "Mcp-Session-Id is missing",
        ))?;
        let id = id.to_str().map_err(|_| NO_SESSION)?;
        if let Some(session) = self.sessions.find(id, principal) {
            return Ok(Found::Here(session));
        }
        let there = self.elsewhere(id, principal).await?;
        there.map(Found::Elsewhere).ok_or(NO_SESSION)
    }

    /// A session of another instance.
    async fn elsewhere(&self, id: &str, principal: &str) -> Result<Option<Elsewhere>, Refused> {
        let Some(instance) = &self.instance else {
            return Ok(None);
        };
        // Only what can be an id is asked for.
        if sessions::read(id).is_none() {
            return Ok(None);
        }
        let record = instance.find(id, principal).await.map_err(unavailable)?;
        let record = record.filter(|record| record.instance != instance.name);
        Ok(record.map(|record| Elsewhere {
            instance: instance.clone(),
            record,
            session: id.to_owned(),
        }))
    }

    /// The stream of what belongs to no request, or the rest of one that broke off.
    async fn stream(
        &self,
        headers: &HeaderMap,
        principal: &Arc<str>,
    ) -> Result<Response<Body>, Refused> {
        let found = self.session(headers, principal).await?;
        if let Some(instance) = &self.instance {
            let stored = self.stored(instance, headers, &found).await;
            let number = match &found {
                Found::Here(session) => session.shared.id,
                Found::Elsewhere(_) => NONE,
            };
            return Ok(self.events(number, stored?));
        }
        let Found::Here(session) = found else {
            return Err(NO_SESSION);
        };
        let Some(after) = single(headers, &LAST_EVENT_ID)? else {
            return Ok(self.events(session.shared.id, session.general()));
        };
        let after = after
            .to_str()
            .ok()
            .and_then(|text| text.parse::<EventId>().ok())
            .ok_or(UNKNOWN_EVENT)?;
        match session.resume(after) {
            Ok(reader) => Ok(self.events(session.shared.id, reader)),
            Err(Gone::Unknown) => Err(UNKNOWN_EVENT),
            Err(Gone::Evicted) => Err(EVICTED),
        }
    }

    /// The same out of the shared store.
    async fn stored(
        &self,
        instance: &Arc<Instance>,
        headers: &HeaderMap,
        found: &Found,
    ) -> Result<Stored, Refused> {
        let (record, session) = match found {
            Found::Here(session) => {
                session.touch();
                (Record::new(instance, session.polls()), written(session.id))
            }
            Found::Elsewhere(there) => (there.record.clone(), there.session.clone()),
        };
        let stored = match single(headers, &LAST_EVENT_ID)? {
            None => Stored::general(instance, &record, &session).await,
            Some(after) => {
                let after = after.to_str().ok().and_then(stored::read_id);
                let after = after.ok_or(UNKNOWN_EVENT)?;
                Stored::resume(instance, &record, &session, after).await
            }
        };
        stored.map_err(unreadable)
    }

    async fn connect_old(&self, principal: &Arc<str>) -> Result<Response<Body>, Refused> {
        let posts = self
            .options
            .old
            .as_ref()
            .map(|old| old.posts.clone())
            .unwrap_or_default();
        let (id, connection) = self
            .sessions
            .connect_old(principal, |id| format!("{posts}?sessionId={id}"))
            .map_err(|_| CROWDED)?;
        if let Some(instance) = &self.instance {
            let registered = instance.register(&id, principal, false);
            registered.await.map_err(unavailable)?;
        }
        Ok(self.events(connection.number, connection))
    }

    async fn post_old(
        &self,
        query: Option<&str>,
        principal: &Arc<str>,
        body: &[u8],
    ) -> Result<Response<Body>, Refused> {
        let id = query
            .unwrap_or_default()
            .split('&')
            .find_map(|pair| pair.strip_prefix("sessionId="));
        let id = id.ok_or(NO_SESSION)?;
        let Some(inbox) = self.sessions.find_old(id, principal) else {
            let there = self.elsewhere(id, principal).await?;
            return self.post_elsewhere(there.ok_or(NO_SESSION)?, body).await;
        };
        self.show(inbox.number, Direction::Received, body);
        match inbox.post(body) {
            Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
            Err(NotTaken::Closed) => Err(NO_SESSION),
            Err(NotTaken::Full) => Err(FULL),
        }
    }
}

/// A body that was read, counted against the bound of the process while it is held.
struct Held<'a> {
    bytes: Bytes,
    counted: usize,
    counter: &'a AtomicUsize,
}

impl<'a> Held<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        Self {
            bytes: Bytes::new(),
            counted: 0,
            counter,
        }
    }

    fn take(&mut self, more: Bytes, limit: usize) -> Result<(), Refused> {
        self.counted += more.len();
        if self.counter.fetch_add(more.len(), Ordering::Relaxed) + more.len() > limit {
            return Err(Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too much is being worked on; try again later",
            ));
        }
        if self.bytes.is_empty() {
            self.bytes = more;
        } else {
            let mut joined = match std::mem::take(&mut self.bytes).try_into_mut() {
                Ok(joined) => joined,
                Err(shared) => bytes::BytesMut::from(&*shared),
            };
            joined.extend_from_slice(&more);
            self.bytes = joined.freeze();
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Some proxies hold back what they could join.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The stores do not do what they are asked for.
#[allow(clippy::needless_pass_by_value)] // It is what errors are mapped with.
fn unavailable(error: StoreError) -> Refused {
    tracing::error!(%error, "a shared store failed");
    Refused::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The session cannot be reached now; try again later",
    )
}

fn unreadable(error: ReadError) -> Refused {
    match error {
        ReadError::Unknown => UNKNOWN_EVENT,
        ReadError::Evicted => EVICTED,
        ReadError::Failed(error) => unavailable(error),
    }
}

/// Is this the answer that a request could not be done?
fn is_error(answer: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer {
        error: Option<serde::de::IgnoredAny>,
    }

    serde_json::from_slice::<Answer>(answer).is_ok_and(|answer| answer.error.is_some())
}

fn bad_request(mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

const WRONG_METHOD: Refused = Refused::new(
    StatusCode::METHOD_NOT_ALLOWED,
    "This method is not for this address",
);
const NO_REQUEST: Refused = Refused::new(
    StatusCode::BAD_REQUEST,
    "Only requests and notifications are posted here",
);
const NO_SESSION: Refused = Refused::new(
    StatusCode::NOT_FOUND,
    "There is no such session; begin with initialize",
);
const CROWDED: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "There are too many sessions; try again later",
);
const FULL: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This client posts faster than it reads its events",
);
const EVICTED: Refused = Refused::new(
    StatusCode::GONE,
    "What followed this event is no longer kept",
);
const UNKNOWN_EVENT: Refused = Refused::new(
    StatusCode::BAD_REQUEST,
    "Last-Event-ID names no event of this session",
);
const TOO_LARGE: Refused = Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
const TOO_SLOW: Refused =
    Refused::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time");
