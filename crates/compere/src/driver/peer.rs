//! A handle on the other end of a connection: sends requests and notifications from anywhere.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::capability::{ClientCapabilities, ServerCapabilities};
use compere_proto::connection::outgoing::{IdSource, Timeouts};
use compere_proto::connection::stateless::{ClientHead, ResultKind};
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::LoggingLevel;
use compere_proto::wire::decode::without_position;
use compere_proto::wire::encode;
use compere_proto::{Error as ProtocolError, Limits, Method, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::client::rounds::unexpected;
use crate::driver::exchange::Route;
use crate::driver::outbox::{Item, OnProgress, Outbox, Waiter};
use crate::error::Result;

/// What the handshake settled.
#[derive(Debug, Clone)]
pub(crate) struct Agreed {
    pub(crate) revision: Revision,
    pub(crate) client_capabilities: Arc<ClientCapabilities>,
    pub(crate) server_capabilities: Arc<ServerCapabilities>,
    pub(crate) peer_info: Option<Arc<Implementation>>,
    pub(crate) instructions: Option<Box<str>>,
}

/// What all handles on one peer share.
pub(crate) struct PeerShared {
    pub(crate) outbox: Outbox,
    pub(crate) ids: IdSource,
    pub(crate) agreed: OnceLock<Agreed>,
    /// What our requests begin with, where the server is of the stateless era.
    pub(crate) head: OnceLock<ClientHead>,
    /// The log messages that our requests ask for then.
    pub(crate) level: Mutex<Option<LoggingLevel>>,
    pub(crate) limits: Arc<Limits>,
}

/// The other end of one connection.
#[derive(Clone)]
pub(crate) struct Peer {
    shared: Arc<PeerShared>,
    /// Where what is said through this handle goes.
    pub(crate) route: Route,
}

/// How one request is to be sent.
#[derive(Default)]
pub(crate) struct RequestOptions {
    /// Instead of the default idle timeout; `Some(None)` waits for ever.
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) on_progress: Option<OnProgress>,
    /// Progress goes on after the answer: hear it until the guard is dropped.
    pub(crate) hears_on: bool,
}

impl Deref for Peer {
    type Target = PeerShared;

    fn deref(&self) -> &PeerShared {
        &self.shared
    }
}

impl Peer {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self {
            shared: Arc::new(PeerShared {
                outbox: Outbox::new(limits.outbox_bytes),
                ids: IdSource::default(),
                agreed: OnceLock::new(),
                head: OnceLock::new(),
                level: Mutex::new(None),
                limits,
            }),
            route: Route::GENERAL,
        }
    }

    /// The same peer, spoken to on another route.
    pub(crate) fn on(&self, route: Route) -> Self {
        Self {
            route,
            shared: self.shared.clone(),
        }
    }

    /// The revision of the session; before the handshake the oldest.
    pub(crate) fn revision(&self) -> Revision {
        self.agreed
            .get()
            .map_or(Revision::V2024_11_05, |agreed| agreed.revision)
    }

    /// Sends a request. `params` gets the id, which is also the progress token.
    ///
    /// Cancel safety: dropping the future withdraws the request with `notifications/cancelled`.
    pub(crate) fn request<P: Serialize>(
        &self,
        method: Method,
        options: RequestOptions,
        params: impl FnOnce(i64) -> Option<P>,
    ) -> PendingRequest {
        let id = self.ids.next_id();
        let mut message = Vec::new();
        let params = params(id);
        let written = match &params {
            Some(params) if self.is_stateless() => serde_json::to_string(params)
                .map(|params| self.write_stateless(&mut message, id, method, &params)),
            None if self.is_stateless() => {
                self.write_stateless(&mut message, id, method, "{}");
                Ok(())
            }
            params => encode::request(&mut message, id, method, params.as_ref()),
        };
        if let Err(error) = written {
            let (reply, answer) = oneshot::channel();
            let error = Misuse::NotSerializable(error.to_string());
            let _ = reply.send(Err(ProtocolError::from(error).into()));
            return PendingRequest::answered(answer);
        }
        self.send(id, method, message, options)
    }

    /// Does the server want every request to bring its own context?
    pub(crate) fn is_stateless(&self) -> bool {
        self.head.get().is_some()
    }

    fn write_stateless(&self, message: &mut Vec<u8>, id: i64, method: Method, params: &str) {
        let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = self.head.get() {
            encode::raw_request(message, id, method, &head.params(params, level));
        }
    }

    /// The same with params that are the text of an object.
    pub(crate) fn raw_request(
        &self,
        method: Method,
        options: RequestOptions,
        params: impl FnOnce(i64) -> String,
    ) -> PendingRequest {
        let id = self.ids.next_id();
        let mut message = Vec::new();
        match self.is_stateless() {
            true => self.write_stateless(&mut message, id, method, &params(id)),
            false => encode::raw_request(&mut message, id, method, params(id).as_bytes()),
        }
        self.send(id, method, message, options)
    }

    /// A request that is none of the protocol's. `params` is the text of an object.
    pub(crate) fn named_request(&self, name: &str, params: &str) -> PendingRequest {
        let id = self.ids.next_id();
        let mut message = Vec::new();
        let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        match self.head.get() {
            Some(head) => {
                encode::named_request(&mut message, id, name, &head.params(params, level));
            }
            None => encode::named_request(&mut message, id, name, params.as_bytes()),
        }
        self.send(id, Method::Extension, message, RequestOptions::default())
    }

    fn send(
        &self,
        id: i64,
        method: Method,
        message: Vec<u8>,
        options: RequestOptions,
    ) -> PendingRequest {
        let (reply, answer) = oneshot::channel();
        let timeouts = Timeouts {
            idle: options.timeout.unwrap_or(Some(self.limits.request_timeout)),
            max: self.limits.request_timeout_max,
        };
        self.outbox.push(Item::Request {
            id,
            method,
            message,
            timeouts,
            waiter: Waiter {
                reply,
                hears_on: options.hears_on && options.on_progress.is_some(),
                on_progress: options.on_progress,
                route: self.route,
            },
        });
        PendingRequest {
            answer,
            abandon: Some((id, self.shared.clone())),
        }
    }

    pub(crate) fn notify<P: Serialize>(&self, method: Method, params: Option<&P>) {
        let mut message = Vec::new();
        match encode::notification(&mut message, method, params) {
            Ok(()) => self.outbox.push(Item::Notification {
                method,
                message,
                route: self.route,
            }),
            Err(error) => tracing::error!(%method, %error, "a notification cannot be written"),
        }
    }
}

/// The answer to a request that was sent.
pub(crate) struct PendingRequest {
    answer: oneshot::Receiver<Result<Box<str>>>,
    abandon: Option<(i64, Arc<PeerShared>)>,
}

impl PendingRequest {
    fn answered(answer: oneshot::Receiver<Result<Box<str>>>) -> Self {
        Self {
            answer,
            abandon: None,
        }
    }

    /// The id that it was sent with; none once it is answered, or if it could not be sent.
    pub(crate) fn id(&self) -> Option<i64> {
        self.abandon.as_ref().map(|(id, _)| *id)
    }

    /// A guard for the progress that goes on after the answer.
    pub(crate) fn hearing(&self) -> Option<Hearing> {
        let (id, peer) = self.abandon.as_ref()?;
        Some(Hearing(*id, peer.clone()))
    }

    /// Waits for the answer and decodes it.
    pub(crate) async fn decode<R: DeserializeOwned>(self, method: Method) -> Result<R> {
        let text = self.complete(method).await?;
        decoded(method, &text)
    }

    /// Waits for the answer, which has to be a complete result.
    pub(crate) async fn complete(self, method: Method) -> Result<Box<str>> {
        let is_stateless = matches!(&self.abandon, Some((_, peer)) if peer.head.get().is_some());
        let text = self.await?;
        if is_stateless {
            match ResultKind::of(&text) {
                ResultKind::Complete => {}
                kind => return Err(unexpected(method, &kind)),
            }
        }
        Ok(text)
    }
}

/// A result as what it has to be.
pub(crate) fn decoded<R: DeserializeOwned>(method: Method, text: &str) -> Result<R> {
    serde_json::from_str(text).map_err(|error| {
        let why = without_position(&error).into_owned();
        ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(method, why)).into()
    })
}

impl Future for PendingRequest {
    type Output = Result<Box<str>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Box<str>>> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        self.abandon = None;
        Poll::Ready(answer.unwrap_or_else(|_| Err(ProtocolError::Closed.into())))
    }
}

/// Progress of an answered request is heard while this lives.
pub(crate) struct Hearing(i64, Arc<PeerShared>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.1.outbox.push(Item::Abandon {
            id: self.0,
            reason: "no longer needed",
        });
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some((id, peer)) = self.abandon.take() {
            peer.outbox.push(Item::Abandon {
                id,
                reason: "no longer needed",
            });
        }
    }
}
