//! Who may see the page: a link is good once and for an hour, and gives the browser that follows it a key
//! in a cookie.
//!
//! A browser sends the cookies of `127.0.0.1` to every port of it, and a server may listen on another one.
//! So each browser has a path of its own, which nobody else knows, and the cookie is for that path alone.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Path, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use compere_host::hex;
use compere_host::secrets::is_same;
use maud::html;

use crate::Inner;
use crate::page::bare;

/// A link is good for so long.
const LINK_LIVES: Duration = Duration::from_secs(60 * 60);
/// A browser that has not come for so long needs another link.
const VISIT_LIVES: Duration = Duration::from_secs(12 * 60 * 60);
/// Links that may be open; the oldest one goes.
const LINKS: usize = 16;
/// Browsers that may be let in; the one that came longest ago goes.
const VISITS: usize = 16;
/// The cookie.
const COOKIE: &str = "compere";

/// Links and browsers.
#[derive(Default)]
pub(crate) struct Entry {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    links: VecDeque<(String, Instant)>,
    visits: HashMap<String, Admitted>,
}

struct Admitted {
    key: String,
    came: Instant,
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in a new link.
    pub(crate) fn link(&self) -> io::Result<String> {
        let token = random::<32>()?;
        let mut known = self.lock();
        if known.links.len() >= LINKS {
            known.links.pop_front();
        }
        known.links.push_back((token.clone(), Instant::now()));
        Ok(token)
    }

    /// Uses a link up: the path of the browser, and its key.
    fn admit(&self, token: &str) -> io::Result<Option<(String, String)>> {
        let mut known = self.lock();
        known.links.retain(|(_, at)| at.elapsed() < LINK_LIVES);
        let place = known.links.iter().position(|(of, _)| is_same(token, of));
        let Some(place) = place else {
            return Ok(None);
        };
        let (path, key) = (random::<16>()?, random::<32>()?);
        known.links.remove(place);
        if known.visits.len() >= VISITS {
            let oldest = known.visits.iter().min_by_key(|(_, visit)| visit.came);
            let oldest = oldest.map(|(path, _)| path.clone());
            oldest.and_then(|path| known.visits.remove(&path));
        }
        let admitted = Admitted {
            key: key.clone(),
            came: Instant::now(),
        };
        known.visits.insert(path.clone(), admitted);
        Ok(Some((path, key)))
    }

    fn knows(&self, path: &str, key: &str) -> bool {
        let mut known = self.lock();
        known
            .visits
            .retain(|_, visit| visit.came.elapsed() < VISIT_LIVES);
        let visit = known.visits.get_mut(path);
        let Some(visit) = visit.filter(|visit| is_same(key, &visit.key)) else {
            return false;
        };
        visit.came = Instant::now();
        true
    }
}

/// So many random bytes, as hexadecimal digits.
fn random<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex::text(&bytes))
}

/// A browser that was let in. Whoever takes one is sure of that.
pub(crate) struct Visit {
    /// What all its paths begin with, without a slash at the end.
    pub(crate) base: String,
}

impl Visit {
    /// The path of a page.
    pub(crate) fn path(&self, page: &str) -> String {
        format!("{}/{page}", self.base)
    }
}

impl FromRequestParts<Arc<Inner>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        inner: &Arc<Inner>,
    ) -> Result<Self, Self::Rejection> {
        let params = RawPathParams::from_request_parts(parts, inner).await;
        let path = params.ok().and_then(|params| {
            let mut params = params.iter();
            let visit = params.find(|(name, _)| *name == "visit");
            visit.map(|(_, path)| path.to_owned())
        });
        let (Some(path), Some(key)) = (path, key(&parts.headers)) else {
            return Err(not_admitted());
        };
        match inner.entry.knows(&path, &key) {
            true => Ok(Self {
                base: format!("/{path}"),
            }),
            false => Err(not_admitted()),
        }
    }
}

fn key(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

fn not_admitted() -> Response {
    let words = html! {
        h1 { "This browser is not let in" }
        p { "The page is for whoever has a link to it, and each link is good once, for an hour." }
        p { "Get one in a terminal:" }
        pre { "compere console" }
    };
    (StatusCode::FORBIDDEN, bare("Not let in", &words)).into_response()
}

/// What is there for whoever has no link.
pub(crate) async fn outside() -> Response {
    not_admitted()
}

/// There is no such page.
pub(crate) async fn nothing() -> Response {
    let words = html! {
        h1 { "There is no such page" }
        p { "The address may have been typed, or be that of another host." }
    };
    (StatusCode::NOT_FOUND, bare("No such page", &words)).into_response()
}

/// A link is followed. The browser is sent on by the page itself, not by the answer: what another site
/// has led here would else come without its cookie.
pub(crate) async fn enter(
    State(inner): State<Arc<Inner>>,
    Path(token): Path<String>,
    method: Method,
) -> Response {
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (path, key) = match inner.entry.admit(&token) {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return not_admitted(),
        Err(error) => {
            tracing::error!(%error, "there are no random numbers");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    inner.host.note("a browser was let in".to_owned());
    let lives = VISIT_LIVES.as_secs();
    let cookie =
        format!("{COOKIE}={key}; Path=/{path}/; Max-Age={lives}; HttpOnly; SameSite=Strict");
    let place = format!("/{path}/");
    let words = html! {
        h1 { "Come in" }
        p { a href=(place) { "What waits for you" } }
    };
    let refresh = format!("0; url={place}");
    (
        [(header::SET_COOKIE, cookie), (header::REFRESH, refresh)],
        bare("Come in", &words),
    )
        .into_response()
}
