//! Streamable HTTP, the client's side: each message is a POST, the answer is a body or a stream.
//! Finds out by itself whether the server speaks it, or only the older HTTP with SSE.
//!
//! Messages without an answer are sent one after the other, and before what follows them; requests
//! run beside each other. A stream that breaks off is asked for again from its last event; a
//! session that the server does not know any more is begun anew, and the request, which the server
//! did not take, is sent again.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use compere_proto::jsonrpc::code;
use compere_proto::wire::batch;
use compere_proto::{Error as ProtocolError, Limits};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::{Error, ErrorKind, Result};
use crate::transport::http::connector::{
    Connector, Failure, failure, is_type, piece, shown, whole,
};
use crate::transport::http::events::EventReader;
use crate::transport::http::old;
use crate::transport::http::stateless::{self, Marks};
use crate::transport::http::wire::Wire;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Wait before coming back to a stream whose server did not say how long.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait before coming back.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often in a row a stream that brings nothing is asked for again.
const ATTEMPTS: u32 = 8;
/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a line says of itself.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    method: Option<Cow<'a, str>>,
}

impl Head<'_> {
    fn of(message: &[u8]) -> Head<'_> {
        serde_json::from_slice(message).unwrap_or(Head {
            id: None,
            method: None,
        })
    }

    /// Our own ids are integers.
    fn own_id(&self) -> Option<i64> {
        self.id?.get().trim_matches('"').parse().ok()
    }
}

#[derive(Default)]
struct Agreed {
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// What the handshake was made with, to make it again.
    initialize: Option<Bytes>,
    /// How often a session was begun: whoever finds it gone begins it anew only once.
    generation: u64,
}

/// One server, as its tasks share it.
pub(crate) struct Streamable {
    connector: Connector,
    uri: Uri,
    wire: Arc<Wire>,
    limits: Limits,
    agreed: Mutex<Agreed>,
    renewing: tokio::sync::Mutex<()>,
    /// What the tools of a server of the stateless era want in headers.
    marks: Marks,
}

/// What every message of a session brings.
fn headers(
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
) -> Vec<(HeaderName, HeaderValue)> {
    let session = session.map(|id| (SESSION_ID, id));
    let version = version.map(|version| (PROTOCOL_VERSION, version));
    session.into_iter().chain(version).collect()
}

/// What came of an exchange.
enum Outcome {
    /// Everything that was to be delivered is.
    Done,
    /// The stream ended before the answer.
    Cut,
    /// It is a stream of the older transport, from a server that opens one whatever the method.
    Old(Box<old::Stream>),
}

impl Streamable {
    /// Sends what the connection writes, until it is closed.
    pub(crate) async fn run(connector: Connector, uri: Uri, wire: Arc<Wire>, limits: Limits) {
        let this = Arc::new(Self {
            connector,
            uri,
            wire: wire.clone(),
            limits,
            agreed: Mutex::default(),
            renewing: tokio::sync::Mutex::new(()),
            marks: Marks::default(),
        });
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        while let Some(line) = wire.next().await {
            while tasks.try_join_next().is_some() {}
            let head = Head::of(&line);
            if let Some(id) = head.own_id()
                && stateless::is_stateless(&line)
            {
                running.retain(|_, task: &mut AbortHandle| !task.is_finished());
                let this = this.clone();
                let task = tasks.spawn(async move { this.ask(line, id).await });
                running.insert(id, task);
                continue;
            }
            if head.method.as_deref() == Some("initialize") {
                if !this.clone().begin(line).await {
                    return;
                }
                continue;
            }
            if let Some(task) = stateless::cancelled(&line).and_then(|id| running.remove(&id)) {
                task.abort();
                continue;
            }
            let initialized = head.method.as_deref() == Some("notifications/initialized");
            if head.method.is_some() && head.id.is_some() {
                let this = this.clone();
                tasks.spawn(async move { this.request(line).await });
                continue;
            }
            if let Err(error) = this.tell(line).await {
                tracing::warn!(%error, "a message could not be sent");
            }
            if initialized {
                let this = this.clone();
                tasks.spawn(async move { this.listen().await });
            }
        }
        tasks.abort_all();
        this.farewell().await;
    }

    /// A request of the stateless era: sent once, answered once.
    async fn ask(&self, line: Bytes, id: i64) {
        if let Err(error) = self.try_ask(line, id).await {
            self.lose(Some(id), error);
        }
    }

    async fn try_ask(&self, line: Bytes, id: i64) -> Result<()> {
        let posted = stateless::posted(&line, &self.marks, &self.limits);
        let method = posted.method;
        let mut response = self.post_with(posted.headers, line.clone()).await?;
        if response.status() == StatusCode::BAD_REQUEST
            && method == Some(compere_proto::Method::ToolsCall)
        {
            let failure = failure(response).await;
            let error = stateless::error_in(&failure.body);
            let is_header = error.is_some_and(|error| error.code == code::HEADER_MISMATCH);
            if !is_header || !self.learn_tools(&line).await {
                return self.explain(Some(id), failure).await;
            }
            let posted = stateless::posted(&line, &self.marks, &self.limits);
            response = self.post_with(posted.headers, line).await?;
        }
        if !response.status().is_success() {
            let failure = failure(response).await;
            let error = stateless::error_in(&failure.body);
            if let Some(error) = error.filter(|_| !is_answer(&failure.body, Some(id)))
                && stateless::is_of_the_era(&error)
            {
                // It speaks of what was asked, and has lost the id.
                return Err(ProtocolError::Refused(error).into());
            }
            return self.explain(Some(id), failure).await;
        }
        if method == Some(compere_proto::Method::ToolsList) {
            return self.take_tools(response, id).await;
        }
        match self.take(response, Some(id), |_| {}).await? {
            Outcome::Done => Ok(()),
            Outcome::Cut => Err(Error::new(ErrorKind::AnswerLost)),
            // A server of the oldest transport opens a stream whatever it is asked.
            Outcome::Old(_) => Err(Error::new(ErrorKind::HttpStatus(405))),
        }
    }

    /// Delivers a page of tools without those that cannot be called over HTTP.
    async fn take_tools(&self, response: Response<Incoming>, id: i64) -> Result<()> {
        let is_events = is_type(&response, "text/event-stream");
        let body = whole(response, &self.limits).await?;
        let mut messages = vec![body];
        if is_events {
            let body = messages.remove(0);
            let mut reader = EventReader::new(self.limits.message_bytes);
            let read = reader.read(&body, |event| messages.push(event.data));
            read.map_err(|_| ProtocolError::Limit("message_bytes"))?;
        }
        let mut answered = false;
        for message in messages {
            answered |= is_answer(&message, Some(id));
            match self.marks.learn(&message, &self.limits) {
                Some(without) => self.wire.deliver(&without).await,
                None => self.wire.deliver(&message).await,
            }
        }
        match answered {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::AnswerLost)),
        }
    }

    /// Asks for the tools because a call was refused for its headers. `false`: they say nothing of that.
    async fn learn_tools(&self, call: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Call<'a> {
            #[serde(borrow)]
            params: WithMeta<'a>,
        }
        #[derive(Deserialize)]
        struct WithMeta<'a> {
            #[serde(borrow, rename = "_meta")]
            meta: &'a RawValue,
        }

        let Ok(call) = serde_json::from_slice::<Call<'_>>(call) else {
            return false;
        };
        // An id that no request of the connection has.
        let list = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":\"tools\",\"method\":\"tools/list\",\"params\":{{\"_meta\":{}}}}}",
            call.params.meta.get()
        );
        let list = Bytes::from(list);
        let posted = stateless::posted(&list, &self.marks, &self.limits);
        let Ok(response) = self.post_with(posted.headers, list).await else {
            return false;
        };
        if !response.status().is_success() || !is_type(&response, "application/json") {
            return false;
        }
        match whole(response, &self.limits).await {
            Ok(page) => {
                let _ = self.marks.learn(&page, &self.limits);
                true
            }
            Err(_) => false,
        }
    }

    fn agreed(&self) -> MutexGuard<'_, Agreed> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let agreed = self.agreed();
        headers(agreed.session.clone(), agreed.version.clone())
    }

    async fn post(&self, message: Bytes) -> Result<Response<Incoming>> {
        self.post_with(self.headers(), message).await
    }

    async fn post_with(
        &self,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        message: Bytes,
    ) -> Result<Response<Incoming>> {
        headers.push((header::CONTENT_TYPE, JSON));
        headers.push((header::ACCEPT, BOTH));
        self.connector
            .send(Method::POST, &self.uri, &headers, message)
            .await
    }

    /// The handshake: shows which transport the server speaks. `false` if it is over.
    async fn begin(self: Arc<Self>, initialize: Bytes) -> bool {
        let id = Head::of(&initialize).own_id();
        let refused = match self.post(initialize.clone()).await {
            Ok(response) if response.status().is_success() => {
                self.agreed().initialize = Some(initialize.clone());
                match self.take_initialize_result(response, id).await {
                    Ok(None) => return true,
                    Ok(Some(stream)) => {
                        old::run(&self.connector, *stream, initialize, &self.wire).await;
                        return false;
                    }
                    Err(error) => Some(error),
                }
            }
            Ok(response) => {
                let failure = failure(response).await;
                if may_be_old(failure.status) {
                    match old::connect(&self.connector, &self.uri, &self.limits).await {
                        Ok(Some(stream)) => {
                            old::run(&self.connector, stream, initialize, &self.wire).await;
                            return false;
                        }
                        Ok(None) => {}
                        Err(error) => {
                            self.lose(id, error);
                            return false;
                        }
                    }
                }
                self.explain(id, failure).await.err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            self.lose(id, error);
        }
        // The connection closes when the handshake has failed; until then it may say more.
        while self.wire.next().await.is_some() {}
        false
    }

    /// A failed request whose body is an error for it: the connection reads that. Anything else is
    /// an error of the transport.
    async fn explain(&self, id: Option<i64>, failure: Failure) -> Result<()> {
        if is_answer(&failure.body, id) {
            self.wire.deliver(&failure.body).await;
            return Ok(());
        }
        Err(failure.into_error(&self.uri))
    }

    fn lose(&self, id: Option<i64>, error: Error) {
        if let Some(id) = id {
            self.wire.lose(id, error);
        }
    }

    async fn take_initialize_result(
        &self,
        response: Response<Incoming>,
        id: Option<i64>,
    ) -> Result<Option<Box<old::Stream>>> {
        #[derive(Deserialize)]
        struct Message {
            result: Said,
        }
        #[derive(Deserialize)]
        struct Said {
            #[serde(rename = "protocolVersion")]
            protocol_version: String,
        }

        let session = response.headers().get(&SESSION_ID).cloned();
        if session.as_ref().is_some_and(|id| !is_visible(id)) {
            return Err(Error::with_message(
                ErrorKind::Io,
                "the session id of the server holds characters that it may not hold",
            ));
        }
        self.agreed().session = session;
        let mut version = None;
        let learn = |message: &[u8]| {
            if let Ok(message) = serde_json::from_slice::<Message>(message) {
                version = HeaderValue::from_str(&message.result.protocol_version).ok();
            }
        };
        match self.take(response, id, learn).await? {
            Outcome::Done => {
                self.agreed().version = version;
                Ok(None)
            }
            Outcome::Old(stream) => Ok(Some(stream)),
            Outcome::Cut => Err(ProtocolError::Closed.into()),
        }
    }

    /// Delivers what an answer brings. `answer` sees the answer to `id`, before anyone else does.
    async fn take(
        &self,
        response: Response<Incoming>,
        id: Option<i64>,
        answer: impl FnMut(&[u8]),
    ) -> Result<Outcome> {
        if is_type(&response, "text/event-stream") {
            let mut reader = EventReader::new(self.limits.message_bytes);
            return self.take_events(response, &mut reader, id, answer).await;
        }
        if response.status() == StatusCode::ACCEPTED || response.status() == StatusCode::NO_CONTENT
        {
            return match id {
                Some(_) => Err(Error::with_message(
                    ErrorKind::Io,
                    format!("{} took the request and answers nothing", shown(&self.uri)),
                )),
                None => Ok(Outcome::Done),
            };
        }
        if !is_type(&response, "application/json") {
            return Err(Error::with_message(
                ErrorKind::Io,
                format!("{} answers neither JSON nor events", shown(&self.uri)),
            ));
        }
        let body = whole(response, &self.limits).await?;
        let mut answer = answer;
        // Some answer with a batch of one.
        if id.is_some() && !is_answer(&body, id) && !batch::is_batch(&body) {
            return Err(Error::with_message(
                ErrorKind::Io,
                format!("{} answered, but not what was asked", shown(&self.uri)),
            ));
        }
        answer(&body);
        self.wire.deliver(&body).await;
        Ok(Outcome::Done)
    }

    /// Delivers events until the answer to `id` is among them, or the stream ends.
    async fn take_events(
        &self,
        response: Response<Incoming>,
        reader: &mut EventReader,
        id: Option<i64>,
        mut answer: impl FnMut(&[u8]),
    ) -> Result<Outcome> {
        let mut body = response.into_body();
        let (mut answered, mut first) = (false, true);
        loop {
            let bytes = match piece(&mut body).await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a stream broke off");
                    break;
                }
                None => break,
            };
            let mut events = Vec::new();
            let read = reader.read(&bytes, |event| events.push(event));
            let fresh = first;
            first &= events.is_empty();
            if fresh && id.is_some() && old::is_opening(&events) {
                let empty = EventReader::new(self.limits.message_bytes);
                let reader = std::mem::replace(reader, empty);
                let stream = old::Stream::opened(&self.uri, body, reader, events)?;
                return Ok(Outcome::Old(Box::new(stream)));
            }
            for event in events {
                if event.name != "message" || event.data.is_empty() {
                    continue;
                }
                if is_answer(&event.data, id) {
                    answered = true;
                    answer(&event.data);
                }
                self.wire.deliver(&event.data).await;
            }
            read.map_err(|_| ProtocolError::Limit("message_bytes"))?;
            if answered {
                return Ok(Outcome::Done);
            }
        }
        Ok(if id.is_none() {
            Outcome::Done
        } else {
            Outcome::Cut
        })
    }

    /// A request: sent once, answered once.
    async fn request(&self, line: Bytes) {
        let id = Head::of(&line).own_id();
        if let Err(error) = self.try_request(line, id).await {
            self.lose(id, error);
        }
    }

    async fn try_request(&self, line: Bytes, id: Option<i64>) -> Result<()> {
        let generation = self.agreed().generation;
        let mut response = self.post(line.clone()).await?;
        if response.status() == StatusCode::NOT_FOUND && self.renew(generation).await? {
            response = self.post(line).await?;
        }
        if !response.status().is_success() {
            return self.explain(id, failure(response).await).await;
        }
        if !is_type(&response, "text/event-stream") {
            return self.take(response, id, |_| {}).await.map(drop);
        }
        let mut reader = EventReader::new(self.limits.message_bytes);
        let mut outcome = self.take_events(response, &mut reader, id, |_| {}).await?;
        let mut attempts = 0;
        while matches!(outcome, Outcome::Cut) {
            if reader.last_id().is_none() || attempts >= ATTEMPTS {
                return Err(Error::new(ErrorKind::AnswerLost));
            }
            let before = reader.last_id().map(str::to_owned);
            tokio::time::sleep(wait(&reader, attempts)).await;
            attempts += 1;
            let response = match self.get(reader.last_id()).await {
                Ok(response) => response,
                // It may come back.
                Err(error) => {
                    tracing::debug!(%error, "a stream could not be resumed");
                    continue;
                }
            };
            if !response.status().is_success() {
                return Err(failure(response).await.into_error(&self.uri));
            }
            reader.restart();
            outcome = self.take_events(response, &mut reader, id, |_| {}).await?;
            if reader.last_id() != before.as_deref() {
                attempts = 0;
            }
        }
        Ok(())
    }

    /// Sends what needs no answer.
    async fn tell(&self, line: Bytes) -> Result<()> {
        let generation = self.agreed().generation;
        let mut response = self.post(line.clone()).await?;
        if response.status() == StatusCode::NOT_FOUND && self.renew(generation).await? {
            response = self.post(line).await?;
        }
        if response.status().is_success() {
            return Ok(());
        }
        Err(failure(response).await.into_error(&self.uri))
    }

    async fn get(&self, after: Option<&str>) -> Result<Response<Incoming>> {
        let mut headers = self.headers();
        headers.push((header::ACCEPT, EVENTS));
        if let Some(after) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.push((LAST_EVENT_ID, after));
        }
        self.connector
            .send(Method::GET, &self.uri, &headers, Bytes::new())
            .await
    }

    /// The stream of what belongs to no request, as long as the server offers one.
    async fn listen(&self) {
        let mut reader = EventReader::new(self.limits.message_bytes);
        let mut attempts = 0;
        let mut generation = self.agreed().generation;
        loop {
            if let Ok(response) = self.get(reader.last_id()).await {
                let status = response.status();
                if status == StatusCode::NOT_FOUND && self.agreed().session.is_some() {
                    match self.renew(generation).await {
                        Ok(true) => {
                            generation = self.agreed().generation;
                            reader = EventReader::new(self.limits.message_bytes);
                        }
                        _ => return,
                    }
                } else if status == StatusCode::GONE {
                    // What was missed is not kept: from now on, at least.
                    reader = EventReader::new(self.limits.message_bytes);
                } else if !status.is_success() || !is_type(&response, "text/event-stream") {
                    tracing::debug!(%status, "the server offers no stream of its own");
                    return;
                } else {
                    let before = reader.last_id().map(str::to_owned);
                    reader.restart();
                    if let Err(error) = self.take_events(response, &mut reader, None, |_| {}).await
                    {
                        tracing::warn!(%error, "the stream of the server cannot be read");
                        return;
                    }
                    if reader.last_id() != before.as_deref() {
                        attempts = 0;
                    }
                }
            }
            if attempts >= ATTEMPTS {
                tracing::warn!("the stream of the server breaks off again and again");
                return;
            }
            tokio::time::sleep(wait(&reader, attempts)).await;
            attempts += 1;
        }
    }

    /// The server does not know the session any more: begins another one, once for all who notice.
    /// `false` if there was no session.
    async fn renew(&self, generation: u64) -> Result<bool> {
        let _renewing = self.renewing.lock().await;
        let (initialize, before) = {
            let agreed = self.agreed();
            if agreed.generation != generation {
                return Ok(true);
            }
            if agreed.session.is_none() {
                return Ok(false);
            }
            (agreed.initialize.clone(), agreed.version.clone())
        };
        let Some(initialize) = initialize else {
            return Ok(false);
        };
        // The old session stays in place meanwhile: what is sent with it comes here too, and waits.
        let response = self.post_with(Vec::new(), initialize).await?;
        if !response.status().is_success() {
            return Err(failure(response).await.into_error(&self.uri));
        }
        let (session, version) = self.renewed(response).await?;
        if version != before {
            return Err(Error::with_message(
                ErrorKind::Io,
                "the server has started again and speaks another version now; connect again",
            ));
        }
        let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let headers = headers(session.clone(), version);
        self.post_with(headers, Bytes::from_static(initialized))
            .await?;
        {
            let mut agreed = self.agreed();
            agreed.session = session;
            agreed.generation += 1;
        }
        tracing::info!("the server did not know the session any more; a new one is begun");
        Ok(true)
    }

    /// Takes the answer to a repeated handshake; the connection does not see it.
    /// The session and version of an answer to `initialize`.
    async fn renewed(
        &self,
        response: Response<Incoming>,
    ) -> Result<(Option<HeaderValue>, Option<HeaderValue>)> {
        let session = response
            .headers()
            .get(&SESSION_ID)
            .filter(|id| is_visible(id))
            .cloned();
        let events = is_type(&response, "text/event-stream");
        let body = whole(response, &self.limits).await?;
        let mut messages = Vec::new();
        if events {
            let mut reader = EventReader::new(self.limits.message_bytes);
            let _ = reader.read(&body, |event| messages.push(event.data));
        } else {
            messages.push(body);
        }
        let version = messages.iter().find_map(|message| {
            let message: serde_json::Value = serde_json::from_slice(message).ok()?;
            let version = message.get("result")?.get("protocolVersion")?.as_str()?;
            HeaderValue::from_str(version).ok()
        });
        Ok((session, version))
    }

    /// Tells the server that the session is over.
    async fn farewell(&self) {
        if self.agreed().session.is_none() {
            return;
        }
        let headers = self.headers();
        let ended = self
            .connector
            .send(Method::DELETE, &self.uri, &headers, Bytes::new());
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, ended).await {
            tracing::debug!(%error, "the end of the session could not be told");
        }
    }
}

/// Is this the answer to the request with this id?
fn is_answer(message: &[u8], id: Option<i64>) -> bool {
    let head = Head::of(message);
    head.method.is_none() && id.is_some() && head.own_id() == id
}

/// May a server that answers so speak the older transport?
fn may_be_old(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        )
}

fn is_visible(id: &HeaderValue) -> bool {
    !id.is_empty()
        && id
            .as_bytes()
            .iter()
            .all(|byte| (0x21..=0x7E).contains(byte))
}

/// How long to wait before coming back: what the server said, longer with each attempt.
fn wait(reader: &EventReader, attempts: u32) -> Duration {
    let first = reader.retry().unwrap_or(RETRY).min(RETRY_MAX);
    first
        .saturating_mul(1 << attempts.min(8))
        .min(RETRY_MAX.max(first))
}
