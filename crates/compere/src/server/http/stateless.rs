//! A request of the stateless era over HTTP: answered where it was read, with nothing kept.
//!
//! A handler that is ready at once costs no session, no task and no channel. One that waits stays in the
//! answer itself: whoever takes the answer polls the handler, and a client that goes away drops both,
//! which cancels the call. The answer becomes a stream of events when the handler says something before
//! it is done, or takes long.
//!
//! Sessions, and everything else of the handshake era, are not here; `endpoint.rs` asks this file first.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use compere_proto::connection::Inbound;
use compere_proto::connection::classify::{self, Headers, Rejection, Route};
use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::rate::Rate;
use compere_proto::connection::session::{named_extension, progress_token};
use compere_proto::connection::stateless::{Envelope, PROTOCOL_VERSION as VERSION_KEY};
use compere_proto::error::Misuse;
use compere_proto::jsonrpc::{ErrorObject, IdRef, RequestId};
use compere_proto::progress::ProgressParams;
use compere_proto::revision::{Era, UnreadableId};
use compere_proto::wire::encode::{self, EncodeId};
use compere_proto::wire::header::Mirrored;
use compere_proto::wire::scan::{Message, Params, Scanner};
use compere_proto::wire::tape::Node;
use compere_proto::{Error as ProtocolError, Method, Moment, Revision};
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use memchr::memmem::Finder;
use tokio::time::{Instant, Sleep};

use crate::driver::call::{self, CallShared, Work};
use crate::driver::outbox::Item;
use crate::driver::outcome::Outcome;
use crate::driver::peer::Peer;
use crate::driver::{Started, guarded};
use crate::server::core::ServerCore;
use crate::server::dispatch::{Conversation, Dispatch};
use crate::server::http::body::{Body, Events};
use crate::server::http::endpoint::{Endpoint, NONE};
use crate::server::http::guard::{Seen, empty, json};
use crate::server::http::streams::frame;
use crate::server::session::{LOCAL, SessionShared};
use crate::transport::tap::Direction;

/// So many principals have what stands in for their connection kept before all are forgotten.
const PRINCIPALS: usize = 1_024;
/// What an answer of usual size needs.
const ANSWER_BYTES: usize = 512;

thread_local! {
    /// What reads messages, kept for the next one.
    static SCANNER: Cell<Option<Scanner>> = const { Cell::new(None) };
}

/// What stands in for the connections of clients that have none, by who they act for.
#[derive(Default)]
pub(crate) struct Strangers {
    local: OnceLock<Arc<SessionShared>>,
    others: Mutex<HashMap<Arc<str>, Arc<SessionShared>>>,
}

impl Strangers {
    fn get(&self, core: &Arc<ServerCore>, principal: &Arc<str>) -> Arc<SessionShared> {
        if **principal == *LOCAL {
            let local = self.local.get_or_init(|| stranger(core, principal));
            return local.clone();
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(principal) {
            return known.clone();
        }
        if others.len() >= PRINCIPALS {
            others.clear();
        }
        let new = stranger(core, principal);
        others.insert(principal.clone(), new.clone());
        new
    }
}

fn stranger(core: &Arc<ServerCore>, principal: &Arc<str>) -> Arc<SessionShared> {
    let peer = Peer::new(core.limits());
    let why = "a stateless client is asked only within its own request".to_owned();
    peer.outbox
        .close(&ProtocolError::from(Misuse::Other(why)).into());
    core.unlisted_session(peer, principal.clone())
}

/// A header as it came; one that is no text agrees with nothing.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("\u{0}")
}

/// What is looked for in what may be of either era: prepared once, which costs more than to look.
static CLAIM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(VERSION_KEY));
static DISCOVER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("server/discover"));

/// Could this be of the stateless era? Most of what is not is known without reading it twice.
fn may_be_stateless(headers: &Headers<'_>, body: &[u8], served: &[Revision]) -> bool {
    let speaks = |era| served.iter().any(|revision| revision.era() == era);
    if !speaks(Era::Stateless) {
        return false;
    }
    let claims = |version: &str| {
        let version = version.parse::<Revision>();
        version.map_or(true, |revision| revision.era() == Era::Stateless)
    };
    headers.protocol_version.is_some_and(claims)
        || !speaks(Era::Handshake)
        || CLAIM.find(body).is_some()
        // Within a session it is a method that is not there.
        || !headers.has_session && DISCOVER.find(body).is_some()
}

impl Endpoint {
    /// Answers a posted message of the stateless era; `None` if it is of the other one.
    pub(crate) async fn post_stateless(
        &self,
        map: &HeaderMap,
        seen: &Seen<'_>,
        principal: &Arc<str>,
        body: &[u8],
    ) -> Option<Response<Body>> {
        let config = self.core.session_config();
        let headers = &seen.of_protocol;
        if !may_be_stateless(headers, body, &config.served) {
            return None;
        }
        let limits = &self.core.options.limits;
        let mut scanner = SCANNER.take().unwrap_or_default();
        let message = match scanner.scan(body, limits) {
            Ok(message) => message,
            Err(malformed) => {
                SCANNER.set(Some(scanner));
                self.show(NONE, Direction::Received, body);
                let error = malformed.fault.to_error();
                return Some(self.refuse(malformed.id.as_ref(), 400, &error));
            }
        };
        let added = |name: &str| config.extension_methods.contains(name);
        let route = classify::classify_with(&message, Some(headers), &config.served, &added);
        if matches!(route, Ok(Route::Session)) {
            SCANNER.set(Some(scanner));
            return None;
        }
        self.show(NONE, Direction::Received, body);
        let Message::Request {
            id,
            method: name,
            params,
        } = message
        else {
            let response = match &route {
                Err(Rejection { status, error }) => self.refuse(None, *status, error),
                Ok(_) => empty(StatusCode::ACCEPTED),
            };
            SCANNER.set(Some(scanner));
            return Some(response);
        };
        let response = match route {
            Ok(Route::Request(method, envelope)) => {
                let inbound = Inbound {
                    id,
                    method,
                    extension: named_extension(method, &name.text()),
                    params,
                    progress_token: None,
                    bytes: body.len(),
                };
                let answering = self.answer_request(map, principal, inbound, envelope);
                let (response, params) = answering.await;
                scanner.recycle(params);
                response
            }
            Err(Rejection { status, error }) => self.refuse(Some(&id.to_owned()), status, &error),
            Ok(_) => empty(StatusCode::ACCEPTED),
        };
        SCANNER.set(Some(scanner));
        Some(response)
    }

    fn refuse(&self, id: Option<&RequestId>, status: u16, error: &ErrorObject) -> Response<Body> {
        let mut message = Vec::new();
        match id {
            Some(id) => encode::error(&mut message, id, error),
            None => encode::error_without_id(&mut message, UnreadableId::Absent, error),
        }
        self.show(NONE, Direction::Sent, &message);
        with_status(json(message), status)
    }

    /// The answer, and the params back: their memory serves the next message.
    async fn answer_request<'m>(
        &self,
        map: &HeaderMap,
        principal: &Arc<str>,
        mut inbound: Inbound<'m>,
        envelope: Box<Envelope>,
    ) -> (Response<Body>, Params<'m>) {
        let limits = &self.core.options.limits;
        let token = match inbound.bytes > limits.request_bytes {
            true => Err(ErrorObject::limit("request_bytes", limits.request_bytes)),
            false => progress_token(&inbound.params, limits),
        };
        let response = match token {
            Ok(token) => {
                inbound.progress_token = token;
                self.run_request(map, principal, &inbound, envelope).await
            }
            Err(error) => {
                let status = classify::http_status(error.code);
                self.refuse(Some(&inbound.id.to_owned()), status, &error)
            }
        };
        (response, inbound.params)
    }

    async fn run_request(
        &self,
        map: &HeaderMap,
        principal: &Arc<str>,
        inbound: &Inbound<'_>,
        envelope: Box<Envelope>,
    ) -> Response<Body> {
        let limits = &self.core.options.limits;
        let now = Moment(self.sessions().started().elapsed());
        let revision = envelope.revision;
        let session = self.strangers.get(&self.core, principal);
        let dispatch = Dispatch::new(session);
        let mut alone = Alone {
            core: &self.core,
            principal,
            headers: map,
            revision,
        };
        let mut envelope = Some(envelope);
        let started = std::future::poll_fn(|context| {
            let started = guarded("a rule or handler", || {
                let envelope = envelope.take()?;
                Some(dispatch.stateless(&mut alone, now, inbound, envelope, true, context))
            });
            Poll::Ready(started.flatten())
        })
        .await
        .unwrap_or_else(|| Started::Done(ErrorObject::internal().into()));
        let (work, outcome, call) = match started {
            Started::Done(outcome) => return self.answered(outcome, &inbound.id, revision),
            // Nobody has said anything: nothing has to go out before.
            Started::Answered(outcome, call) if call.peer.outbox.is_empty() => {
                call.finish();
                return self.answered(outcome, &inbound.id, revision);
            }
            Started::Answered(outcome, call) => (None, Some(outcome), call),
            Started::Pending(work, call) => (Some(work), None, call),
        };
        // Boxed, so that a call that is ready at once does not carry it.
        let mut running = Box::new(Running {
            work,
            outcome,
            call,
            id: inbound.id.to_owned(),
            revision,
            core: self.core.clone(),
            began: self.sessions().started(),
            said: VecDeque::new(),
            logs: Rate::new(limits.log_messages_per_second, limits.log_messages_burst),
            timer: None,
            over: false,
        });
        match Box::pin(running.first()).await {
            Some(outcome) => self.answered(outcome, &inbound.id, revision),
            None => self.events(NONE, running),
        }
    }

    /// An answer without events.
    fn answered(&self, outcome: Outcome, id: &IdRef<'_>, revision: Revision) -> Response<Body> {
        let status = match &outcome {
            Outcome::Error(error) => classify::http_status(error.code),
            _ => 200,
        };
        let message = encoded(&self.core, outcome, id, revision);
        self.show(NONE, Direction::Sent, &message);
        with_status(json(message), status)
    }
}

fn with_status(mut response: Response<Body>, status: u16) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

fn encoded(core: &ServerCore, outcome: Outcome, id: &impl EncodeId, revision: Revision) -> Vec<u8> {
    let mut message = Vec::with_capacity(ANSWER_BYTES);
    outcome.encode(&mut message, id, revision, &core.session_config().head);
    message
}

/// The conversation of a request that stands by itself.
struct Alone<'a> {
    core: &'a Arc<ServerCore>,
    principal: &'a Arc<str>,
    headers: &'a HeaderMap,
    revision: Revision,
}

impl Conversation for Alone<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn count_call(&mut self, now: Moment) -> Result<(), ErrorObject> {
        // Only those can be told apart who say who they are.
        if **self.principal == *LOCAL {
            return Ok(());
        }
        self.core.count_call(self.principal, now)
    }

    fn subscribe(&mut self, _uri: &str) -> Result<bool, ErrorObject> {
        Err(ErrorObject::method_not_found(
            Method::ResourcesSubscribe.name(),
        ))
    }

    fn unsubscribe(&mut self, _uri: &str) {}

    fn check_mirrored(
        &self,
        marks: &[Mirrored],
        arguments: Option<Node<'_>>,
    ) -> Result<(), ErrorObject> {
        for mark in marks {
            let name = format!("mcp-param-{}", mark.name);
            let mut values = self.headers.get_all(&name).iter();
            let (value, more) = (values.next().map(text), values.next().is_some());
            if more || !mark.agrees(value, arguments) {
                return Err(ErrorObject::new(
                    compere_proto::jsonrpc::code::HEADER_MISMATCH,
                    format!("Mcp-Param-{} differs from the argument", mark.name),
                ));
            }
        }
        Ok(())
    }
}

/// A call that was not answered at once.
struct Running {
    /// The handler, until it is done.
    work: Option<Work>,
    /// What it came to, until that is sent.
    outcome: Option<Outcome>,
    call: Arc<CallShared>,
    id: RequestId,
    revision: Revision,
    core: Arc<ServerCore>,
    began: Instant,
    /// Events that go out before the answer.
    said: VecDeque<Bytes>,
    logs: Rate,
    /// For progress that waits for its rate.
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Running {
    /// Waits for the answer; `None`: it becomes a stream of events.
    async fn first(&mut self) -> Option<Outcome> {
        let after = self.call.peer.limits.event_stream_after;
        let patience = tokio::time::sleep(after);
        let mut patience = pin!(patience);
        std::future::poll_fn(|context| {
            self.step(context);
            if !self.said.is_empty() {
                return Poll::Ready(None);
            }
            if let Some(outcome) = self.outcome.take() {
                self.over = true;
                return Poll::Ready(Some(outcome));
            }
            patience.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    /// Lets the handler work, and takes what it says.
    fn step(&mut self, context: &mut Context<'_>) {
        self.call.peer.outbox.begin_turn();
        if let Some(work) = &mut self.work
            && let Poll::Ready(outcome) = work.poll(context, Some(&self.call))
        {
            self.work = None;
            self.outcome = Some(outcome);
        }
        self.take_said();
        while !self.call.peer.outbox.end_turn(context.waker()) {
            self.call.peer.outbox.begin_turn();
            self.take_said();
        }
        if self.outcome.is_some() && !self.call.is_finished() {
            // Progress that waited for its rate goes out before the answer, and none after it.
            self.call.finish();
            let step = self.call.gate().last_word();
            if let Some(step) = step {
                self.say_progress(step);
            }
        }
        self.held_progress(context);
    }

    fn take_said(&mut self) {
        let mut items = VecDeque::new();
        self.call.peer.outbox.take(&mut items);
        for item in items {
            match item {
                Item::Progress { step, .. } if !self.call.is_finished() => {
                    let now = self.now();
                    let offered = self.call.gate().offer(now, step);
                    match offered {
                        Ok(Some(step)) => self.say_progress(step),
                        Ok(None) => {}
                        Err(error) => tracing::debug!(%error, "progress is not sent"),
                    }
                }
                Item::Log { message, .. }
                    if !self.call.is_finished() && self.logs.take(self.now()) =>
                {
                    self.say(&message);
                }
                Item::Changes { listener, .. } => {
                    let mut message = Vec::new();
                    while listener.take(&mut message) {
                        self.say(&message);
                        message.clear();
                    }
                }
                _ => {}
            }
        }
    }

    fn held_progress(&mut self, context: &mut Context<'_>) {
        if self.call.is_finished() || self.call.token.is_none() {
            return;
        }
        loop {
            let now = self.now();
            let due = self.call.gate().due(now);
            if let Some(step) = due {
                self.say_progress(step);
            }
            let Some(next) = self.call.gate().next(now) else {
                self.timer = None;
                return;
            };
            let at = self.began + next.0;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return;
            }
        }
    }

    fn say(&mut self, message: &[u8]) {
        self.said.push_back(frame(None, message).into());
    }

    fn say_progress(&mut self, step: Step) {
        let Some(token) = self.call.token.clone() else {
            return;
        };
        let mut params = ProgressParams::new(token, step.progress);
        params.total = step.total;
        params.message = step.message;
        let mut message = Vec::new();
        if encode::notification(&mut message, Method::Progress, Some(&params)).is_ok() {
            self.say(&message);
        }
    }
}

impl Events for Box<Running> {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.said.is_empty() && self.outcome.is_none() {
            self.step(context);
        }
        if let Some(event) = self.said.pop_front() {
            return Poll::Ready(Some(event));
        }
        let Some(outcome) = self.outcome.take() else {
            return Poll::Pending;
        };
        self.over = true;
        let message = encoded(&self.core, outcome, &self.id, self.revision);
        Poll::Ready(Some(frame(None, &message).into()))
    }
}

/// The client has gone away: the handler is cancelled, and has its grace to clean up.
impl Drop for Running {
    fn drop(&mut self) {
        self.call.cancel();
        let Some(work) = self.work.take() else {
            return;
        };
        let grace = self.call.peer.limits.grace;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cleaning_up = call::run(work, self.call.clone(), grace);
            runtime.spawn(async move {
                cleaning_up.await;
            });
        }
    }
}
