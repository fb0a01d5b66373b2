//! Stateless clients that listen for changes: `subscriptions/listen`, the server's side.
//!
//! A listener keeps what has changed since its client last took something, each kind and each resource
//! once: a client that reads slowly gets one notification for many changes, and costs no more memory
//! than what it listens for. What carries its messages asks it for the next one.
//!
//! Changes reach the listeners over an [`EventBus`], which may carry them between several instances of
//! a server.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions>

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use compere_proto::capability::ServerCapabilities;
use compere_proto::connection::stateless::{SUBSCRIPTION_ID, SubscriptionFilter};
use compere_proto::jsonrpc::{ErrorObject, RequestId};
use compere_proto::wire::encode;
use compere_proto::{Limits, Method};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::Notify;

use crate::driver::call::CallShared;
use crate::driver::outbox::Item;
use crate::server::session::SessionShared;
use crate::server::tasks::Place;

/// Something that a server offers has changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources, or of templates.
    Resources,
    /// What is in a resource; its URI.
    Resource(String),
    /// How a task stands; its id.
    Task(String),
}

/// Takes changes to clients of one instance.
pub type Deliver = Arc<dyn Fn(&Change) + Send + Sync>;

/// Carries changes to all instances of a server, this one included.
///
/// Without one, changes stay in the process, which is all that a single instance needs.
pub trait EventBus: Send + Sync + 'static {
    /// An instance starts: hand it each change that anyone publishes, once. What is handed over is
    /// taken at once and never blocks.
    fn attach(&self, deliver: Deliver);

    /// Something changed in this instance. Must not block; a change that is lost leaves clients with
    /// what they have until they look again.
    fn publish(&self, change: &Change);
}

/// The event bus of a single instance.
#[derive(Default)]
pub(crate) struct InProcess(Mutex<Vec<Deliver>>);

impl EventBus for InProcess {
    fn attach(&self, deliver: Deliver) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(deliver);
    }

    fn publish(&self, change: &Change) {
        let all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for deliver in all {
            deliver(change);
        }
    }
}

/// All listeners of a server.
#[derive(Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<u64, Weak<Subscription>>>);

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Subscription>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each(&self, act: impl Fn(&Arc<Subscription>)) {
        let all: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        for listener in all {
            act(&listener);
        }
    }

    pub(crate) fn tell(&self, change: &Change) {
        self.each(|listener| listener.tell(change));
    }

    pub(crate) fn end(&self) {
        self.each(|listener| listener.end());
    }
}

/// One client that listens, by one request.
pub(crate) struct Subscription {
    number: u64,
    session: Arc<SessionShared>,
    /// All that are told the same.
    among: Arc<Subscriptions>,
    /// The id of its request, which names it on everything that it is told.
    id: RequestId,
    honoured: SubscriptionFilter,
    /// Those of its tasks that are there to see.
    tasks: OnceLock<Vec<String>>,
    changed: Mutex<Changed>,
    /// There are tasks to look up.
    tasks_changed: Notify,
    ended: Notify,
}

#[derive(Default)]
struct Changed {
    acknowledged: bool,
    tools: bool,
    prompts: bool,
    resources: bool,
    updated: BTreeSet<String>,
    /// Tasks that changed.
    tasks: BTreeSet<String>,
    /// How the one stands that was looked up last. They are looked up one by one, as fast as the client
    /// reads.
    shown: Option<Value>,
    /// Where it is said that there is something to take, until it is taken.
    call: Option<Weak<CallShared>>,
    is_announced: bool,
    over: bool,
}

impl Subscription {
    /// Begins to listen for what of a filter can be had.
    pub(crate) fn new(
        session: &Arc<SessionShared>,
        among: &Arc<Subscriptions>,
        id: RequestId,
        honoured: SubscriptionFilter,
    ) -> Arc<Self> {
        let listener = Arc::new(Self {
            number: session.core.next_number(),
            session: session.clone(),
            among: among.clone(),
            id,
            honoured,
            tasks: OnceLock::new(),
            changed: Mutex::default(),
            tasks_changed: Notify::new(),
            ended: Notify::new(),
        });
        let weak = Arc::downgrade(&listener);
        among.lock().insert(listener.number, weak);
        listener
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where its messages go, which is where the first of them is announced.
    pub(crate) fn speak_through(self: &Arc<Self>, call: &Arc<CallShared>) {
        self.changed().call = Some(Arc::downgrade(call));
        self.announce();
    }

    /// Speaks through a call, first of what it listens for, and looks up how its tasks stand whenever
    /// they changed. Never ready.
    pub(crate) async fn attend(self: &Arc<Self>, task_ids: Vec<String>, call: &Arc<CallShared>) {
        let place = Place::of(&self.session);
        let mut own = Vec::new();
        for id in task_ids {
            if place.find(&id).await.is_ok() {
                own.push(id);
            }
        }
        // What happened to them before anybody listened is said first.
        self.changed().tasks = own.iter().cloned().collect();
        let _ = self.tasks.set(own);
        self.speak_through(call);
        let mut last: HashMap<String, Value> = HashMap::new();
        loop {
            let told = self.tasks_changed.notified();
            let next = {
                let mut changed = self.changed();
                match changed.shown {
                    Some(_) => None,
                    None => changed.tasks.pop_first(),
                }
            };
            let Some(id) = next else {
                place.changed(told).await;
                if place.is_shared() {
                    // Whoever changed one may not be able to say so.
                    let own = self.tasks.get().into_iter().flatten();
                    let open = own.filter(|id| !last.get(*id).is_some_and(is_over));
                    self.changed().tasks.extend(open.cloned());
                }
                continue;
            };
            // One that has expired meanwhile has nothing more to say.
            let Ok(task) = place.find(&id).await else {
                continue;
            };
            let shown = task.shown();
            if last.get(&id) != Some(&shown) {
                self.changed().shown = Some(shown.clone());
                last.insert(id, shown);
                self.announce();
            }
        }
    }

    /// There is something to take.
    fn announce(self: &Arc<Self>) {
        let call = {
            let mut changed = self.changed();
            if changed.is_announced {
                return;
            }
            let Some(call) = changed.call.as_ref().and_then(Weak::upgrade) else {
                return;
            };
            changed.is_announced = true;
            call
        };
        call.peer.outbox.push(Item::Changes {
            listener: self.clone(),
            route: call.peer.route,
        });
    }

    fn tell(self: &Arc<Self>, change: &Change) {
        let wanted = |wish: Option<bool>| wish == Some(true);
        let honoured = &self.honoured;
        {
            let mut changed = self.changed();
            match change {
                Change::Tools if wanted(honoured.tools_list_changed) => changed.tools = true,
                Change::Prompts if wanted(honoured.prompts_list_changed) => changed.prompts = true,
                Change::Resources if wanted(honoured.resources_list_changed) => {
                    changed.resources = true;
                }
                Change::Resource(uri) if self.listens_for(uri) => {
                    let limit = self.session.core.options.limits.subscriptions;
                    // A resource below one that is listened for may be any of many.
                    if changed.updated.len() < limit {
                        changed.updated.insert(uri.clone());
                    }
                }
                Change::Task(id) if self.tasks.get().into_iter().flatten().any(|own| own == id) => {
                    changed.tasks.insert(id.clone());
                    self.tasks_changed.notify_waiters();
                    return;
                }
                _ => return,
            }
        }
        self.announce();
    }

    /// Takes what another one has heard of what is listened for here too.
    pub(crate) fn heard_before(&self, early: &Self) {
        let heard = std::mem::take(&mut *early.changed());
        let mut changed = self.changed();
        let wanted = |wish: Option<bool>| wish == Some(true);
        changed.tools |= heard.tools && wanted(self.honoured.tools_list_changed);
        changed.prompts |= heard.prompts && wanted(self.honoured.prompts_list_changed);
        changed.resources |= heard.resources && wanted(self.honoured.resources_list_changed);
        let updated = heard.updated.into_iter();
        changed
            .updated
            .extend(updated.filter(|uri| self.listens_for(uri)));
    }

    /// Is this resource listened for, or one that it lies below?
    fn listens_for(&self, uri: &str) -> bool {
        let wanted = self.honoured.resource_subscriptions.iter().flatten();
        wanted.into_iter().any(|wanted| {
            uri.strip_prefix(wanted.as_str()).is_some_and(|rest| {
                rest.is_empty() || wanted.ends_with('/') || rest.starts_with('/')
            })
        })
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        self.changed().over = true;
        self.ended.notify_waiters();
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        loop {
            let told = self.ended.notified();
            if self.changed().over {
                return;
            }
            told.await;
        }
    }

    /// Appends the next message, if there is one.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        loop {
            match self.next(buffer) {
                Next::Written => return true,
                Next::Nothing => return false,
                Next::Lost => {}
            }
        }
    }

    fn next(&self, buffer: &mut Vec<u8>) -> Next {
        let mut task = None;
        let (method, uri) = {
            let mut changed = self.changed();
            let call = changed.call.as_ref().and_then(Weak::upgrade);
            if call.is_none_or(|call| call.is_cancelled()) {
                return Next::Nothing;
            }
            if !changed.acknowledged {
                changed.acknowledged = true;
                (Method::SubscriptionsAcknowledged, None)
            } else if std::mem::take(&mut changed.tools) {
                (Method::ToolsListChanged, None)
            } else if std::mem::take(&mut changed.prompts) {
                (Method::PromptsListChanged, None)
            } else if std::mem::take(&mut changed.resources) {
                (Method::ResourcesListChanged, None)
            } else if let Some(uri) = changed.updated.pop_first() {
                (Method::ResourcesUpdated, Some(uri))
            } else if let Some(shown) = changed.shown.take() {
                task = Some(shown);
                self.tasks_changed.notify_waiters();
                (Method::TasksChanged, None)
            } else {
                changed.is_announced = false;
                return Next::Nothing;
            }
        };
        if let Some(mut shown) = task {
            shown["_meta"] = serde_json::json!(Metadata(&self.id));
            return written(encode::notification(buffer, method, Some(&shown)));
        }
        let params = Told {
            listener: self,
            uri: uri.as_deref(),
            acknowledges: method == Method::SubscriptionsAcknowledged,
        };
        written(encode::notification(buffer, method, Some(&params)))
    }

    /// The result of its request: it has ended in good order.
    pub(crate) fn result(&self) -> Box<str> {
        let meta = Metadata(&self.id);
        let meta = serde_json::to_string(&meta).unwrap_or_else(|_| "{}".to_owned());
        format!("{{\"_meta\":{meta}}}").into()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.among.lock().remove(&self.number);
        for uri in self.honoured.resource_subscriptions.iter().flatten() {
            self.session.tell_unsubscribed(uri);
        }
    }
}

/// Does nothing follow of a task that was shown so?
fn is_over(shown: &Value) -> bool {
    matches!(
        shown["status"].as_str(),
        Some("completed" | "failed" | "cancelled")
    )
}

/// What became of the next message.
enum Next {
    Written,
    Nothing,
    /// It cannot be written.
    Lost,
}

fn written(written: Result<(), serde_json::Error>) -> Next {
    match written {
        Ok(()) => Next::Written,
        Err(error) => {
            tracing::error!(%error, "a change cannot be written");
            Next::Lost
        }
    }
}

struct Told<'a> {
    listener: &'a Subscription,
    uri: Option<&'a str>,
    acknowledges: bool,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.acknowledges {
            let mut honoured = self.listener.honoured.clone();
            let tasks = self.listener.tasks.get();
            honoured.task_ids = tasks.filter(|tasks| !tasks.is_empty()).cloned();
            map.serialize_entry("notifications", &honoured)?;
        }
        if let Some(uri) = self.uri {
            map.serialize_entry("uri", uri)?;
        }
        map.serialize_entry("_meta", &Metadata(&self.listener.id))?;
        map.end()
    }
}

struct Metadata<'a>(&'a RequestId);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(SUBSCRIPTION_ID, self.0)?;
        map.end()
    }
}

/// What of a filter a server can do: `known` says whether a resource can be listened for.
pub(crate) fn honour(
    limits: &Limits,
    server: &ServerCapabilities,
    asked: &SubscriptionFilter,
    known: impl Fn(&str) -> bool,
) -> Result<SubscriptionFilter, ErrorObject> {
    let limit = limits.subscriptions;
    let both = |asked: Option<bool>, declared: Option<bool>| {
        (asked == Some(true) && declared == Some(true)).then_some(true)
    };
    let of_list = |list: Option<&compere_proto::capability::ListCapability>| {
        list.and_then(|list| list.list_changed)
    };
    let resources = server.resources.as_ref();
    let mut honoured = SubscriptionFilter::new();
    honoured.tools_list_changed = both(asked.tools_list_changed, of_list(server.tools.as_ref()));
    honoured.prompts_list_changed =
        both(asked.prompts_list_changed, of_list(server.prompts.as_ref()));
    honoured.resources_list_changed = both(
        asked.resources_list_changed,
        resources.and_then(|resources| resources.list_changed),
    );
    if let Some(uris) = &asked.resource_subscriptions {
        if uris.len() > limit {
            return Err(ErrorObject::limit("subscriptions", limit));
        }
        let can = resources.and_then(|resources| resources.subscribe) == Some(true);
        let unique: BTreeSet<&String> = uris.iter().collect();
        let uris: Vec<String> = unique
            .into_iter()
            .filter(|uri| can && known(uri))
            .cloned()
            .collect();
        honoured.resource_subscriptions = (!uris.is_empty()).then_some(uris);
    }
    Ok(honoured)
}
