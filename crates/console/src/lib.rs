//! The page of the host in a browser: what waits for a person, what happens, and what is allowed.
//!
//! It listens on this machine alone, and not before somebody wants a link to it. A link is good for one
//! browser ([`entry`]); what other sites could make that browser do is refused ([`guard`]). All pages are
//! made here, whole, and can be read without script; the script keeps what is seen up to date and saves
//! loading pages anew. Everything that servers and apps said is shown as text, with nothing in it that is
//! not seen ([`text`]).
//!
//! It speaks with the host through the methods that every door has, and calls tools as any app does.

#![deny(missing_docs)]

mod activity;
mod answers;
mod assets;
mod audit;
mod card;
mod entry;
mod form;
mod guard;
mod inbox;
mod listen;
mod live;
mod page;
mod plot;
mod rules;
mod servers;
mod text;
mod trials;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use compere::ServerHandle;
use compere_host::host::Host;

use crate::entry::Entry;
use crate::trials::Trials;

/// The largest form.
const FORM_BYTES: usize = 4 * 1024 * 1024;

/// The page of a host. Clones are the same page.
#[derive(Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) host: Arc<Host>,
    pub(crate) entry: Entry,
    pub(crate) trials: Trials,
    wanted: SocketAddr,
    /// Where it listens, once it does.
    address: Mutex<Option<SocketAddr>>,
    /// How many browsers look at it just now.
    watching: AtomicUsize,
}

impl Console {
    /// The page of this host, which apps reach through `gateway`. It will listen on `wanted`, where port 0
    /// stands for any.
    pub fn new(host: Arc<Host>, gateway: ServerHandle, wanted: SocketAddr) -> Self {
        Self {
            inner: Arc::new(Inner {
                host,
                entry: Entry::default(),
                trials: Trials::new(gateway),
                wanted,
                address: Mutex::default(),
                watching: AtomicUsize::new(0),
            }),
        }
    }

    /// A link that lets one browser in. With the first one it begins to listen, which needs a tokio
    /// runtime; it does until that ends.
    pub fn link(&self) -> io::Result<String> {
        let address = self.listen()?;
        let token = self.inner.entry.link()?;
        Ok(format!("http://{address}/enter/{token}"))
    }

    /// Does a browser look at it just now?
    pub fn is_watched(&self) -> bool {
        self.inner.watching.load(Ordering::Relaxed) > 0
    }

    fn listen(&self) -> io::Result<SocketAddr> {
        let inner = &self.inner;
        let mut address = inner.address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = *address {
            return Ok(address);
        }
        if !inner.wanted.ip().is_loopback() {
            let why = format!("{} can be reached from other machines", inner.wanted);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(inner.wanted)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = router(inner.clone());
        tokio::spawn(listen::serve(listener, router));
        *address = Some(bound);
        Ok(bound)
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/", get(entry::outside))
        .route("/enter/{token}", get(entry::enter))
        .route("/style.css", get(assets::style))
        .route("/script.js", get(assets::script))
        .route("/{visit}/", get(inbox::page))
        .route("/{visit}/cards", get(inbox::cards))
        .route("/{visit}/ended/{id}", get(inbox::ended))
        .route("/{visit}/answer/{id}", post(inbox::answer))
        .route("/{visit}/live", get(live::live))
        .route("/{visit}/servers", get(servers::list))
        .route("/{visit}/servers/{name}", get(servers::one))
        .route("/{visit}/servers/{name}/retry", post(servers::retry))
        .route("/{visit}/servers/{name}/update", post(servers::update))
        .route("/{visit}/servers/{name}/learn", post(servers::learn))
        .route("/{visit}/servers/{name}/roots", post(servers::roots))
        .route("/{visit}/servers/{name}/try", post(trials::begin))
        .route("/{visit}/resources", post(trials::resources))
        .route("/{visit}/trials/{id}", get(trials::one))
        .route("/{visit}/trials/{id}/state", get(trials::state))
        .route("/{visit}/activity", get(activity::page))
        .route("/{visit}/activity/rows", get(activity::more))
        .route("/{visit}/rules", get(rules::page))
        .route("/{visit}/grants/{id}/revoke", post(rules::revoke))
        .route("/{visit}/audit", get(audit::page))
        .route("/{visit}/audit/verify", post(audit::verify_now))
        .route("/{visit}/audit/export", get(audit::export))
        .fallback(entry::nothing)
        .layer(axum::middleware::from_fn(guard::guard))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .with_state(inner)
}
