//! Lists of a server, page by page.

use std::collections::HashSet;
use std::future::Future;

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

use crate::driver::peer::{Peer, RequestOptions};
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
pub struct List<T> {
    fetch: Fetch<T>,
    page: std::vec::IntoIter<T>,
    ended: bool,
}

type Fetch<T> = Box<
    dyn FnMut() -> std::pin::Pin<Box<dyn Future<Output = Result<(Vec<T>, bool)>> + Send>> + Send,
>;

impl<T: Send + 'static> List<T> {
    pub(crate) fn new<P: Page<Item = T> + 'static>(peer: Peer) -> Self {
        Self::seen_by::<P>(peer, |_| {})
    }

    /// The same, each page shown to someone as it comes.
    pub(crate) fn seen_by<P: Page<Item = T> + 'static>(
        peer: Peer,
        sees: impl Fn(&[T]) + Send + Sync + 'static,
    ) -> Self {
        let sees = std::sync::Arc::new(sees);
        let state = std::sync::Arc::new(tokio::sync::Mutex::new(Cursors::default()));
        let fetch: Fetch<T> = Box::new(move || {
            let peer = peer.clone();
            let (state, sees) = (state.clone(), sees.clone());
            Box::pin(async move {
                let mut cursors = state.lock().await;
                let (items, more) = cursors.fetch::<P>(&peer).await?;
                sees(&items);
                Ok((items, more))
            })
        });
        Self {
            fetch,
            page: Vec::new().into_iter(),
            ended: false,
        }
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
            match (self.fetch)().await {
                Ok((items, more)) => {
                    self.page = items.into_iter();
                    self.ended = !more;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// All items.
    ///
    /// Cancel safety: dropping the future loses what was fetched.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
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
}

impl Cursors {
    async fn fetch<P: Page>(&mut self, peer: &Peer) -> Result<(Vec<P::Item>, bool)> {
        let mut params = ListParams::new();
        params.cursor.clone_from(&self.next);
        let asked = params.cursor.is_some();
        let page: P = peer
            .request(P::METHOD, RequestOptions::default(), |_| {
                asked.then_some(params)
            })
            .decode(P::METHOD)
            .await?;
        let (items, next) = page.split();
        self.pages += 1;
        self.items += items.len();
        if self.items > peer.limits.list_items {
            return Err(compere_proto::Error::Limit("list_items").into());
        }
        let Some(next) = next else {
            return Ok((items, false));
        };
        if next.len() > peer.limits.token_bytes {
            return Err(compere_proto::Error::Limit("token_bytes").into());
        }
        if self.pages >= peer.limits.list_pages || !self.seen.insert(next.clone()) {
            let endless = PeerMisbehaved::EndlessCursor(P::METHOD);
            return Err(Error::from(compere_proto::Error::from(endless)));
        }
        self.next = Some(next);
        Ok((items, true))
    }
}
