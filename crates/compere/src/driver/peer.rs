//! A handle on the other end of a connection: sends requests and notifications from anywhere.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::capability::{ClientCapabilities, ServerCapabilities};
use compere_proto::connection::outgoing::{IdSource, Timeouts};
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::lifecycle::Implementation;
use compere_proto::wire::decode::without_position;
use compere_proto::wire::encode;
use compere_proto::{Error as ProtocolError, Limits, Method, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

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
        let (reply, answer) = oneshot::channel();
        let mut message = Vec::new();
        if let Err(error) = encode::request(&mut message, id, method, params(id).as_ref()) {
            let error = Misuse::NotSerializable(error.to_string());
            let _ = reply.send(Err(ProtocolError::from(error).into()));
            return PendingRequest::answered(answer);
        }
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

    /// A guard for the progress that goes on after the answer.
    pub(crate) fn hearing(&self) -> Option<Hearing> {
        let (id, peer) = self.abandon.as_ref()?;
        Some(Hearing(*id, peer.clone()))
    }

    /// Waits for the answer and decodes it.
    pub(crate) async fn decode<R: DeserializeOwned>(self, method: Method) -> Result<R> {
        let raw = self.await?;
        serde_json::from_str(&raw).map_err(|error| {
            let why = without_position(&error).into_owned();
            ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(method, why)).into()
        })
    }
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
