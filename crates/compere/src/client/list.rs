//! Lists of a server, page by page.

use std::collections::HashSet;
use std::sync::Arc;

use compere_proto::Method;
use compere_proto::error::PeerMisbehaved;
use compere_proto::pagination::ListParams;
use compere_proto::prompts::{ListPromptsResult, Prompt};
use compere_proto::resources::{
    ListResourceTemplatesResult, ListResourcesResult, Resource, ResourceTemplate,
};
use compere_proto::tasks::{ListTasksResult, Task};
use compere_proto::tools::{ListToolsResult, Tool};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::cache::{self, CacheHint, CacheMode, Share};
use crate::driver::call::BoxFuture;
use crate::driver::peer::{Peer, RequestOptions, decoded};
use crate::error::{Error, Result};

/// A page of a list result.
pub(crate) trait Page: DeserializeOwned + Send {
    /// What is listed.
    type Item: Send;
    /// The method that lists it.
    const METHOD: Method;

    fn split(self) -> (Vec<Self::Item>, Option<String>);
}

macro_rules! page {
    ($page:ty, $item:ty, $member:ident, $method:expr) => {
        impl Page for $page {
            type Item = $item;
            const METHOD: Method = $method;

            fn split(self) -> (Vec<$item>, Option<String>) {
                (self.$member, self.next_cursor)
            }
        }
    };
}

page!(ListToolsResult, Tool, tools, Method::ToolsList);
page!(ListTasksResult, Task, tasks, Method::TasksList);
page!(ListPromptsResult, Prompt, prompts, Method::PromptsList);
page!(
    ListResourcesResult,
    Resource,
    resources,
    Method::ResourcesList
);
page!(
    ListResourceTemplatesResult,
    ResourceTemplate,
    resource_templates,
    Method::ResourcesTemplatesList
);

/// A list of a server as a stream: pages are fetched when they are needed.
///
/// Bounded: at most [`Limits::list_pages`](compere_proto::Limits::list_pages) pages and
/// [`Limits::list_items`](compere_proto::Limits::list_items) items; cursors that go in a circle are
/// found. In each case the stream ends with an error that says so.
///
/// What the server allows to be kept comes from what was kept, in the way of [`List::cache`].
pub struct List<T> {
    state: Arc<tokio::sync::Mutex<Cursors>>,
    fetch: Fetch<T>,
    page: std::vec::IntoIter<T>,
    ended: bool,
    mode: CacheMode,
    hint: Option<CacheHint>,
}

type Fetch<T> = Box<dyn Fn(CacheMode) -> BoxFuture<Result<Fetched<T>>> + Send>;

/// A page as it came.
struct Fetched<T> {
    items: Vec<T>,
    more: bool,
    hint: Option<CacheHint>,
}

impl<T: Send + 'static> List<T> {
    pub(crate) fn new<P: Page<Item = T> + 'static>(peer: Peer, share: Option<Share>) -> Self {
        Self::seen_by::<P>(peer, share, |_| {})
    }

    /// The same, each page shown to someone as it comes.
    pub(crate) fn seen_by<P: Page<Item = T> + 'static>(
        peer: Peer,
        share: Option<Share>,
        sees: impl Fn(&[T]) + Send + Sync + 'static,
    ) -> Self {
        let sees = Arc::new(sees);
        let state = Arc::new(tokio::sync::Mutex::new(Cursors::default()));
        let cursors = state.clone();
        let fetch: Fetch<T> = Box::new(move |mode| {
            let (peer, share) = (peer.clone(), share.clone());
            let (cursors, sees) = (cursors.clone(), sees.clone());
            Box::pin(async move {
                let mut cursors = cursors.lock().await;
                let fetched = cursors.fetch::<P>(&peer, share.as_ref(), mode).await?;
                sees(&fetched.items);
                Ok(fetched)
            })
        });
        Self {
            state,
            fetch,
            page: Vec::new().into_iter(),
            ended: false,
            mode: CacheMode::default(),
            hint: None,
        }
    }

    /// What of it may come from what was kept; by default all that is fresh.
    #[must_use]
    pub fn cache(mut self, mode: CacheMode) -> Self {
        self.mode = mode;
        self
    }

    /// How long the page that came last may be kept, and by whom. `None` before the first page, and where
    /// servers do not say so: before 2026-07-28.
    pub fn hint(&self) -> Option<CacheHint> {
        self.hint
    }

    /// The next item; `None` at the end. After an error the list has ended.
    ///
    /// Cancel safety: nothing is lost by dropping the future; the page is fetched again.
    pub async fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.page.next() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            match (self.fetch)(self.mode).await {
                Ok(fetched) => {
                    self.page = fetched.items.into_iter();
                    self.ended = !fetched.more;
                    self.hint = fetched.hint;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// All items. If the server no longer knows the way on from a page that was kept, everything is fetched
    /// anew, once.
    ///
    /// Cancel safety: dropping the future loses what was fetched.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            match item {
                Ok(item) => all.push(item),
                Err(error) => {
                    let mut cursors = self.state.lock().await;
                    if !cursors.was_kept || error.refusal().is_none() {
                        return Err(error);
                    }
                    *cursors = Cursors::default();
                    drop(cursors);
                    all.clear();
                    self.ended = false;
                    self.mode = CacheMode::Refresh;
                }
            }
        }
        Ok(all)
    }
}

impl<T> std::fmt::Debug for List<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Where a list stands. The cursor moves only once its page is there.
#[derive(Default)]
struct Cursors {
    next: Option<String>,
    seen: HashSet<String>,
    pages: usize,
    items: usize,
    /// One of the pages so far was not fetched now.
    was_kept: bool,
}

impl Cursors {
    /// The next page, as the server has it or as it was kept.
    async fn text<P: Page>(
        &mut self,
        peer: &Peer,
        share: Option<&Share>,
        mode: CacheMode,
    ) -> Result<Box<str>> {
        let of = self.next.as_deref().unwrap_or_default();
        if let Some(kept) = share.and_then(|share| share.get(mode, P::METHOD, of)) {
            self.was_kept = true;
            return Ok(kept);
        }
        let asked = Instant::now();
        let mut params = ListParams::new();
        params.cursor.clone_from(&self.next);
        let goes_on = params.cursor.is_some();
        let pending = peer.request(P::METHOD, RequestOptions::default(), |_| {
            goes_on.then_some(params)
        });
        let fetched = pending.complete(P::METHOD).await;
        match (&fetched, share) {
            (Ok(text), Some(share)) => share.keep(mode, P::METHOD, of, asked, text),
            // A way on that is not there any more came from pages that are not true any more.
            (Err(error), Some(share)) if goes_on && error.refusal().is_some() => {
                share.drop_those(|method, _| method == P::METHOD);
            }
            _ => {}
        }
        fetched
    }

    async fn fetch<P: Page>(
        &mut self,
        peer: &Peer,
        share: Option<&Share>,
        mode: CacheMode,
    ) -> Result<Fetched<P::Item>> {
        let text = self.text::<P>(peer, share, mode).await?;
        let hint = peer.is_stateless().then(|| cache::hint(&text));
        let page: P = decoded(P::METHOD, &text)?;
        let (items, next) = page.split();
        self.pages += 1;
        self.items += items.len();
        if self.items > peer.limits.list_items {
            return Err(compere_proto::Error::Limit("list_items").into());
        }
        let Some(next) = next else {
            return Ok(Fetched {
                items,
                more: false,
                hint,
            });
        };
        if next.len() > peer.limits.token_bytes {
            return Err(compere_proto::Error::Limit("token_bytes").into());
        }
        if self.pages >= peer.limits.list_pages || !self.seen.insert(next.clone()) {
            let endless = PeerMisbehaved::EndlessCursor(P::METHOD);
            return Err(Error::from(compere_proto::Error::from(endless)));
        }
        self.next = Some(next);
        Ok(Fetched {
            items,
            more: true,
            hint,
        })
    }
}
