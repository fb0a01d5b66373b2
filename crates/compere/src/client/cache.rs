//! Results that a server allows to be kept, and for how long: lists, and what is in resources. Only servers
//! of the stateless era say so; by default they say "not at all".
//!
//! What is kept is kept for one server, and unless the server says that anybody may have it, for one
//! principal. It is dropped when its time is over, when the server says that it changed, and when there is
//! no room. Nothing is asked for in the background.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/server/utilities/caching>

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compere_proto::Method;
pub use compere_proto::connection::stateless::{CacheHint, CacheScope};
use compere_proto::wire::scan::member;
use tokio::time::Instant;

/// Results that are kept unless something else is said.
const RESULTS: usize = 1_024;
/// Their bytes in all.
const BYTES: usize = 16 * 1024 * 1024;
/// So many servers have it remembered when they last changed.
const SERVERS: usize = 1_024;
/// Nothing is kept for longer, whatever a server says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What may come from what was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// What is fresh is taken from there; what is fetched is kept.
    #[default]
    Use,
    /// It is fetched, and kept.
    Refresh,
    /// It is fetched, and nothing is kept of it.
    Bypass,
}

/// What servers allowed to be kept. Clones share it, and so do clients that are given the same one.
#[derive(Clone)]
pub struct ResultCache {
    kept: Arc<Mutex<Kept>>,
    results: usize,
    bytes: usize,
}

#[derive(Default)]
struct Kept {
    results: HashMap<Key, Result>,
    bytes: usize,
    /// When something of a server changed last: what was asked for before is not kept after it.
    changed: HashMap<Arc<str>, Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    server: Arc<str>,
    /// None if anybody may have it.
    principal: Option<Arc<str>>,
    method: Method,
    /// The cursor of a page, or the URI of a resource; empty for the first page.
    of: Box<str>,
}

struct Result {
    text: Box<str>,
    since: Instant,
    until: Instant,
}

impl Result {
    fn bytes(&self, key: &Key) -> usize {
        // With what it costs to keep it.
        self.text.len() + key.of.len() + 256
    }
}

impl Default for ResultCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ResultCache {
    /// Room for 1,024 results and 16 MiB.
    pub fn new() -> Self {
        Self::bounded(RESULTS, BYTES)
    }

    /// Room for so many results, and for so many bytes of them in all. At the bound those go first whose
    /// time is over, then those that were kept for longest.
    pub fn bounded(results: usize, bytes: usize) -> Self {
        Self {
            kept: Arc::default(),
            results,
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many results are kept, stale ones included.
    pub fn len(&self) -> usize {
        self.lock().results.len()
    }

    /// Is nothing kept?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn keep(&self, key: Key, result: Result) {
        let mut kept = self.lock();
        kept.remove(&key);
        let bytes = result.bytes(&key);
        if bytes > self.bytes || self.results == 0 {
            return;
        }
        let is_full =
            |kept: &Kept| kept.results.len() >= self.results || kept.bytes + bytes > self.bytes;
        if is_full(&kept) {
            let now = Instant::now();
            kept.retain(|_, result| result.until > now);
        }
        while is_full(&kept) {
            let oldest = kept.results.iter().min_by_key(|(_, result)| result.since);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            kept.remove(&oldest);
        }
        kept.bytes += bytes;
        kept.results.insert(key, result);
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        if let Some(result) = self.results.remove(key) {
            self.bytes -= result.bytes(key);
        }
    }

    fn retain(&mut self, keeps: impl Fn(&Key, &Result) -> bool) {
        let bytes = &mut self.bytes;
        self.results.retain(|key, result| {
            let keeps = keeps(key, result);
            if !keeps {
                *bytes -= result.bytes(key);
            }
            keeps
        });
    }
}

impl fmt::Debug for ResultCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultCache")
            .field("results", &self.len())
            .finish_non_exhaustive()
    }
}

/// The part of a cache that one client may have.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) cache: ResultCache,
    pub(crate) server: Arc<str>,
    pub(crate) principal: Arc<str>,
}

impl Share {
    fn key(&self, method: Method, of: &str, scope: CacheScope) -> Key {
        Key {
            server: self.server.clone(),
            principal: match scope {
                CacheScope::Public => None,
                CacheScope::Private => Some(self.principal.clone()),
            },
            method,
            of: of.into(),
        }
    }

    /// What is kept and fresh.
    pub(crate) fn get(&self, mode: CacheMode, method: Method, of: &str) -> Option<Box<str>> {
        if mode != CacheMode::Use {
            return None;
        }
        let now = Instant::now();
        let kept = self.cache.lock();
        [CacheScope::Private, CacheScope::Public]
            .into_iter()
            .filter_map(|scope| kept.results.get(&self.key(method, of, scope)))
            .find(|result| result.until > now)
            .map(|result| result.text.clone())
    }

    /// Keeps a complete result that came for a request sent at `asked`, as far as its server allows that.
    pub(crate) fn keep(
        &self,
        mode: CacheMode,
        method: Method,
        of: &str,
        asked: Instant,
        text: &str,
    ) {
        if mode == CacheMode::Bypass {
            return;
        }
        let hint = hint(text);
        let changed = self.cache.lock().changed.get(&self.server).copied();
        // What was kept before is not what the server says now.
        for scope in [CacheScope::Private, CacheScope::Public] {
            let key = self.key(method, of, scope);
            self.cache.lock().remove(&key);
        }
        if hint.ttl_ms == 0 || changed.is_some_and(|changed| changed >= asked) {
            return;
        }
        let fresh = Duration::from_millis(hint.ttl_ms).min(LONGEST);
        let result = Result {
            text: text.into(),
            since: asked,
            // From when it was asked on: what came since may not be in it.
            until: asked + fresh,
        };
        self.cache.keep(self.key(method, of, hint.scope), result);
    }

    /// The server says that something changed, or it has shown: for whoever it may be.
    pub(crate) fn drop_those(&self, which: impl Fn(Method, &str) -> bool) {
        let of_server = |key: &Key| key.server == self.server;
        let mut kept = self.cache.lock();
        kept.retain(|key, _| !(of_server(key) && which(key.method, &key.of)));
        if kept.changed.len() >= SERVERS {
            // What is on its way meanwhile may be kept though it is old.
            kept.changed.clear();
        }
        kept.changed.insert(self.server.clone(), Instant::now());
    }

    /// What a notification makes worthless.
    pub(crate) fn changed(&self, changed: Method, uri: Option<&str>) {
        self.drop_those(|method, of| match changed {
            Method::ToolsListChanged => method == Method::ToolsList,
            Method::PromptsListChanged => method == Method::PromptsList,
            Method::ResourcesListChanged => matches!(
                method,
                Method::ResourcesList | Method::ResourcesTemplatesList
            ),
            // One that lies above what changed has it in it, and the other way round.
            Method::ResourcesUpdated => {
                method == Method::ResourcesRead
                    && uri.is_none_or(|uri| of.starts_with(uri) || uri.starts_with(of))
            }
            _ => false,
        });
    }
}

/// How long a result may be kept. What is not said, or is no number of milliseconds, is no time at all.
pub(crate) fn hint(result: &str) -> CacheHint {
    let ttl = member(result, "ttlMs").and_then(|ttl| serde_json::from_str::<f64>(ttl).ok());
    let ttl = ttl.filter(|ttl| ttl.is_finite() && *ttl >= 1.0);
    let longest = LONGEST.as_secs_f64() * 1_000.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ttl_ms = ttl.map_or(0, |ttl| ttl.min(longest) as u64);
    CacheHint {
        ttl_ms,
        scope: match member(result, "cacheScope") {
            Some("\"public\"") => CacheScope::Public,
            _ => CacheScope::Private,
        },
    }
}
