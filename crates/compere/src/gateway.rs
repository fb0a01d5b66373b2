//! A server whose sessions are answered message by message, by whoever stands behind: for hosts and
//! gateways, which decide about each request before any server sees it.
//!
//! What comes through here is JSON text as the peer wrote it, checked for form and bounds and nothing
//! else. A [`Gateway`] makes the sessions of apps; an [`Attendant`] answers one of them. To go on to a
//! server there is [`Client::pass`], and for what that server asks and says a [`ServerListener`]
//! ([`ClientBuilder::listener`]). If all is to go on unseen, [`Relay`](crate::Relay) is simpler.
//!
//! Clients of 2026-07-28 have no session; one stands in for each of them, and an [`Attendant`] sees no
//! difference but the revision. What it asks such an app becomes a round of input of the request that it is
//! about, which goes on meanwhile.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use compere_proto::capability::{ClientCapabilities, ServerCapabilities};
use compere_proto::connection::Inbound;
use compere_proto::connection::progress_gate::Step;
use compere_proto::connection::session::SessionConfig;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::lifecycle::Implementation;
use compere_proto::wire::scan::Params;
use compere_proto::{Limits, Method, Revision};

use crate::client::rounds::RoundOptions;
use crate::client::{Client, ClientBuilder};
use crate::driver::Started;
use crate::driver::call::{BoxFuture, CallShared};
use crate::driver::exchange::Route;
use crate::driver::outbox::Item;
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::Result;
use crate::relay::front::Ahead;
use crate::relay::{Arriving, Behind, Opener, pass, translate};
use crate::server::Server;
use crate::server::handle::ServerHandle;

/// The answer to one request: the text of its result, or an error of the protocol.
pub type Answer = Pin<Box<dyn Future<Output = Result<Box<str>, ErrorObject>> + Send>>;

/// What an app is told at the handshake.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who answers.
    pub info: Implementation,
    /// What there is.
    pub capabilities: ServerCapabilities,
    /// How to use it, for the model.
    pub instructions: Option<String>,
}

/// Answers one app.
pub trait Attendant: Send + Sync + 'static {
    /// What the app is told at the handshake, or when it asks who is there. Called once.
    fn offer(&self) -> Offer;

    /// Answers a request. The result is to have the shape of the revision of the session, or an older
    /// one. The future is dropped when the app withdraws the request or leaves.
    fn request(&self, asked: Asked) -> Answer;

    /// Takes a notification: its params as JSON. Runs inside the connection: be quick.
    fn notification(&self, method: Method, params: &str);

    /// The handshake is done: the app may be asked, and told things.
    fn initialized(&self) {}
}

/// Hears what one server says, and answers what it asks.
pub trait ServerListener: Send + Sync + 'static {
    /// What the server is told that its client can do.
    fn capabilities(&self) -> ClientCapabilities;

    /// Answers a question of the server: its params as JSON. The future is dropped when the server
    /// withdraws it or is gone.
    fn request(&self, method: Method, params: Box<str>) -> Answer;

    /// Takes a notification: its params as JSON. Runs inside the connection: be quick.
    fn notification(&self, method: Method, params: &str);
}

type OpenSession = Arc<dyn Fn(App) -> BoxFuture<Result<Arc<dyn Attendant>>> + Send + Sync>;

/// Makes the sessions of apps.
#[derive(Clone)]
pub struct Gateway {
    name: String,
    version: String,
    open: OpenSession,
    limits: Limits,
}

impl Gateway {
    /// `open` finds who answers an app, when it connects. Until it returns the app waits.
    pub fn new<F, Fut>(name: impl Into<String>, version: impl Into<String>, open: F) -> Self
    where
        F: Fn(App) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn Attendant>>> + Send + 'static,
    {
        Self {
            name: name.into(),
            version: version.into(),
            open: Arc::new(move |app| Box::pin(open(app))),
            limits: Limits::default(),
        }
    }

    /// Other bounds for the sessions.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts it. Connections are served through the handle as those of any other server; `without_sessions`
    /// over HTTP is refused.
    pub fn start(self) -> Result<ServerHandle> {
        let mut server = Server::new(self.name, self.version).limits(self.limits);
        let open = self.open;
        let opener: Opener = Arc::new(move |arriving| {
            let open = open.clone();
            Box::pin(async move {
                let config = arriving.config.as_ref().clone();
                let peer = arriving.peer.clone();
                let attendant = open(App::new(arriving)).await?;
                Ok(Arc::new(Attended::new(attendant, peer, config)) as _)
            })
        });
        server.options.behind = Some(opener);
        server.options.stands_in = true;
        server.start()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// The client of one session: who it is, and a way to ask and tell it. Clones are the same app.
#[derive(Clone)]
pub struct App {
    shared: Arc<AppShared>,
}

struct AppShared {
    session: u64,
    principal: Arc<str>,
    peer: Peer,
    info: Implementation,
    capabilities: ClientCapabilities,
}

impl App {
    fn new(arriving: Arriving) -> Self {
        Self {
            shared: Arc::new(AppShared {
                session: arriving.id,
                principal: arriving.principal,
                peer: arriving.peer,
                info: arriving.asked.client_info,
                capabilities: arriving.asked.capabilities,
            }),
        }
    }

    /// A number that names the session within this gateway.
    pub fn session(&self) -> u64 {
        self.shared.session
    }

    /// Who the app acts for. Over stdio and in memory always `local`.
    pub fn principal(&self) -> &str {
        &self.shared.principal
    }

    /// What the app says it is. Untrusted text.
    pub fn info(&self) -> &Implementation {
        &self.shared.info
    }

    /// What the app declared.
    pub fn capabilities(&self) -> &ClientCapabilities {
        &self.shared.capabilities
    }

    /// The revision of the session; the oldest before the handshake is done.
    pub fn revision(&self) -> Revision {
        self.shared.peer.revision()
    }

    /// Asks the app: params and result are JSON. `place` is the request that the question belongs to,
    /// if it is known. The request is only sent once the handshake is done; wait for
    /// [`Attendant::initialized`].
    ///
    /// An app without a session can be asked for its roots, a person's form or page, and a model's answer,
    /// while one of its calls is worked on: the one of `place`, or the only one. The answer comes with the next
    /// round, within [`Limits::request_state_lifetime`] or not at all; everything else fails at once. At
    /// [`Limits::input_rounds`] the question is refused.
    ///
    /// Cancel safety: dropping the future withdraws the question.
    pub async fn ask(
        &self,
        method: Method,
        params: &str,
        place: Option<&Place>,
    ) -> Result<Box<str>> {
        let route = place.map_or(Route::GENERAL, |place| place.0);
        let params = pass::raw(pass::on_one_line(params).into());
        // Whoever asks has patience of their own.
        let options = RequestOptions {
            timeout: Some(None),
            ..RequestOptions::default()
        };
        let peer = self.shared.peer.on(route);
        peer.request(method, options, |_| params).await
    }

    /// Tells the app something: params are JSON.
    pub fn tell(&self, method: Method, params: Option<&str>, place: Option<&Place>) {
        let route = place.map_or(Route::GENERAL, |place| place.0);
        let params = params.and_then(|params| pass::raw(pass::on_one_line(params).into()));
        self.shared.peer.on(route).notify(method, params.as_ref());
    }

    /// Ends the session.
    pub fn close(&self) {
        self.shared.peer.outbox.push(Item::Close);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("session", &self.session())
            .field("principal", &self.principal())
            .finish_non_exhaustive()
    }
}

/// Where in a session something belongs: the stream of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(Route);

/// A request of an app.
pub struct Asked {
    method: Method,
    params: Box<str>,
    revision: Revision,
    place: Place,
    call: Arc<CallShared>,
}

impl Asked {
    /// What is asked.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The params as JSON.
    pub fn params(&self) -> &str {
        &self.params
    }

    /// The revision of the session.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Where what is said about it belongs.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Does the app want to hear of progress?
    pub fn wants_progress(&self) -> bool {
        self.call.token.is_some()
    }

    /// Tells the app how far it is; `progress` must grow.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>) {
        let step = Step {
            progress,
            total,
            message,
        };
        let call = self.call.clone();
        let item = Item::Progress { call, step };
        self.call.peer.outbox.push(item);
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A result that has the shape of one revision, in that of another. What is no newer stays as it is.
pub fn in_revision(method: Method, result: Box<str>, from: Revision, to: Revision) -> Box<str> {
    if from <= to {
        return result;
    }
    match translate::result(method, &result, to) {
        Outcome::Raw(text) => text,
        _ => result,
    }
}

/// An error that answers a request in one revision, as it would be in another: a resource that is not there
/// has a code of its own in some.
pub fn error_in_revision(
    method: Method,
    error: ErrorObject,
    from: Revision,
    to: Revision,
) -> ErrorObject {
    translate::error(method, error, from, to)
}

/// A session of a gateway, as the server end of the connection knows it.
struct Attended {
    attendant: Arc<dyn Attendant>,
    peer: Peer,
    config: Arc<SessionConfig>,
}

impl Attended {
    fn new(attendant: Arc<dyn Attendant>, peer: Peer, mut config: SessionConfig) -> Self {
        let offer = attendant.offer();
        config.info = offer.info;
        config.server_capabilities = Arc::new(offer.capabilities);
        config.instructions = offer.instructions;
        config.passes_level_on = true;
        Self {
            attendant,
            peer,
            config: Arc::new(config),
        }
    }
}

impl Behind for Attended {
    fn config(&self) -> Arc<SessionConfig> {
        self.config.clone()
    }

    fn request(
        &self,
        inbound: &Inbound<'_>,
        route: Route,
        revision: Revision,
        context: &mut Context<'_>,
    ) -> Started {
        let method = inbound.method;
        let token = inbound.progress_token.clone();
        let call = CallShared::new(self.peer.on(route), token, None, None);
        let call = Arc::new(call);
        let asked = Asked {
            method,
            params: inbound.params.as_json().into(),
            revision,
            place: Place(route),
            call: call.clone(),
        };
        let answer = self.attendant.request(asked);
        pass::begin(method, call, context, answered(answer))
    }

    fn notification(&self, method: Method, params: &Params<'_>) {
        self.attendant.notification(method, params.as_json());
    }

    fn initialized(&self) {
        self.attendant.initialized();
    }
}

async fn answered(answer: Answer) -> Outcome {
    match answer.await {
        Ok(result) => Outcome::Raw(pass::on_one_line(&result)),
        Err(error) => error.into(),
    }
}

/// A listener, as the client end of the connection to its server knows it.
struct Heard(Arc<dyn ServerListener>);

impl Ahead for Heard {
    fn session(&self) -> Option<u64> {
        None
    }

    fn capabilities(&self) -> ClientCapabilities {
        self.0.capabilities()
    }

    fn request(
        self: Arc<Self>,
        back: &Peer,
        inbound: &Inbound<'_>,
        context: &mut Context<'_>,
    ) -> Started {
        let method = inbound.method;
        let token = inbound.progress_token.clone();
        let call = Arc::new(CallShared::new(back.clone(), token, None, None));
        let answer = self.0.request(method, inbound.params.as_json().into());
        pass::begin(method, call, context, answered(answer))
    }

    fn notification(&self, method: Method, params: &Params<'_>) {
        self.0.notification(method, params.as_json());
    }
}

impl ClientBuilder {
    /// Hears all that the server says, and answers all that it asks, in place of the other handlers,
    /// roots included. The capabilities are those of the listener.
    #[must_use]
    pub fn listener(mut self, listener: Arc<dyn ServerListener>) -> Self {
        self.handlers.ahead = Some(Arc::new(Heard(listener)));
        self
    }
}

impl Client {
    /// Sends a request whose params are JSON, and gives the text of its result. With `asked`, progress
    /// goes to the app that asked, with the token of its request; a token in `params` is replaced.
    ///
    /// Cancel safety: dropping the future withdraws the request.
    pub async fn pass(
        &self,
        method: Method,
        params: &str,
        asked: Option<&Asked>,
    ) -> Result<Box<str>> {
        if self.peer().is_stateless() {
            let on_progress = asked
                .filter(|asked| asked.wants_progress())
                .map(|asked| pass::progress(&asked.call, false));
            let options = RoundOptions {
                on_progress,
                ..RoundOptions::default()
            };
            return self.pass_in_rounds(method, params, options).await;
        }
        match asked {
            Some(asked) => pass::send(self.peer(), method, params, &asked.call, false).await,
            None => {
                let params = pass::raw(pass::on_one_line(params).into());
                let options = RequestOptions::default();
                self.peer().request(method, options, |_| params).await
            }
        }
    }

    /// Sends a notification whose params are JSON.
    pub fn pass_notification(&self, method: Method, params: &str) {
        pass::notify(self.peer(), method, params, Route::GENERAL);
    }
}
