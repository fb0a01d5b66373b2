//! Tasks that several instances of one server share: the contract of the store, and clients whose every
//! request reaches another instance than the one before. Over memory, with an event bus and without, and
//! over a Redis in a process of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use compere::client::Tapped;
use compere::model::{ElicitAction, ElicitParams, ElicitResult, RawJson, TaskSupport};
use compere::prelude::*;
use compere::server::http::bearer::Principal;
use compere::server::http::{HttpOptions, HttpService};
use compere::server::tasks::{KeptTask, MemoryTasks, Soon, StoreError, TaskStore};
use compere::transport::http::HttpTarget;
use compere::transport::tap::Direction;
use compere::{Limits, Revision, ServerHandle};
use compere_testkit::tasks::TaskInstances;
use compere_tests::balanced::balanced;
use compere_tests::carrier::Carrier;
use compere_tests::doors::{self, Said, request};
use compere_tests::until;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower_service::Service;

#[path = "shared/redis_server.rs"]
mod redis_server;
#[path = "shared/redis_tasks.rs"]
mod redis_tasks;

use redis_server::Server as Redis;
use redis_tasks::Tasks;

#[tokio::test]
async fn tasks_in_memory_keep_the_contract() {
    let store = MemoryTasks::new();
    let (one, other) = (Arc::new(store.clone()), Arc::new(store));
    TaskInstances { one, other }.keep_the_contract().await;
}

#[tokio::test]
async fn tasks_over_redis_keep_the_contract() {
    let redis = Redis::start().await;
    let (one, other) = (Tasks::of(&redis).await, Tasks::of(&redis).await);
    let (one, other) = (Arc::new(one), Arc::new(other));
    TaskInstances { one, other }.keep_the_contract().await;
}

/// What the handlers of all instances did.
#[derive(Clone, Default)]
struct Done {
    began: Arc<AtomicU32>,
    cancelled: Arc<AtomicU32>,
    goes_on: Arc<Notify>,
}

async fn asks(context: Context) -> Result<String, ToolError> {
    let form = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let form = ElicitParams::new("Who?").requested_schema(form);
    let first = context.elicit("first", form.clone()).await?;
    let second = context.elicit("second", form).await?;
    let name = |answer: ElicitResult| -> Result<String, ToolError> {
        Ok(answer.content.unwrap_or_default()["name"].decode()?)
    };
    Ok(format!("{} and {}", name(first)?, name(second)?))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.task_poll = Duration::from_millis(20);
    limits.task_lease = Duration::from_millis(600);
    limits
}

fn server(done: &Done) -> Server {
    Server::new("shared", "1")
        .limits(limits())
        .state(done.clone())
        .tool(tool_fn("quick", || async { "quick" }).task_support(TaskSupport::Required))
        .tool(tool_fn("asks", asks).task_support(TaskSupport::Required))
        .tool(
            tool_fn("fails", || async {
                Err::<String, _>(ToolError::new("no luck"))
            })
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn(
                "waits",
                |context: Context, State(done): State<Done>| async move {
                    done.began.fetch_add(1, Ordering::SeqCst);
                    tokio::select! {
                        () = done.goes_on.notified() => return "went on",
                        () = context.cancelled() => {}
                    }
                    done.cancelled.fetch_add(1, Ordering::SeqCst);
                    "cancelled"
                },
            )
            .task_support(TaskSupport::Required),
        )
}

fn service(handle: &ServerHandle) -> HttpService {
    let options = HttpOptions::new()
        .bearer(|token| Some(Principal::new(token)))
        .allow_any_host();
    handle.http(options).unwrap()
}

/// Instances with these stores, and a bus if they have one.
fn instances(
    stores: Vec<Arc<dyn TaskStore>>,
    bus: Option<&Carrier>,
    done: &Done,
) -> Vec<HttpService> {
    let start = |store| {
        let server = server(done).task_store(Same(store));
        let server = match bus {
            Some(bus) => server.event_bus(bus.clone()),
            None => server,
        };
        service(&server.start().unwrap())
    };
    stores.into_iter().map(start).collect()
}

/// A store that may be another one's.
struct Same(Arc<dyn TaskStore>);

impl TaskStore for Same {
    fn add(
        &self,
        owner: &str,
        id: &str,
        state: Bytes,
        expires: Duration,
        most: usize,
    ) -> Soon<Result<bool, StoreError>> {
        self.0.add(owner, id, state, expires, most)
    }

    fn get(&self, owner: &str, id: &str) -> Soon<Result<Option<KeptTask>, StoreError>> {
        self.0.get(owner, id)
    }

    fn replace(
        &self,
        owner: &str,
        id: &str,
        version: u64,
        state: Bytes,
    ) -> Soon<Result<bool, StoreError>> {
        self.0.replace(owner, id, version, state)
    }

    fn list(
        &self,
        owner: &str,
        after: Option<&str>,
        most: usize,
    ) -> Soon<Result<Option<Vec<KeptTask>>, StoreError>> {
        self.0.list(owner, after, most)
    }
}

fn same(store: &MemoryTasks, count: usize) -> Vec<Arc<dyn TaskStore>> {
    (0..count)
        .map(|_| Arc::new(store.clone()) as Arc<dyn TaskStore>)
        .collect()
}

fn person() -> compere::client::ClientBuilder {
    let asked = AtomicU32::new(0);
    Client::builder("test", "1").tasks().on_elicit(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            let name = RawJson::from(json!(format!("Ada {number}")));
            let content = BTreeMap::from([("name".to_owned(), name)]);
            Ok(ElicitResult::new(ElicitAction::Accept).content(content))
        }
    })
}

async fn connect(
    builder: compere::client::ClientBuilder,
    services: Vec<HttpService>,
    token: &str,
) -> Client {
    builder
        .connect(target(services, token).await)
        .await
        .unwrap()
}

async fn target(services: Vec<HttpService>, token: &str) -> HttpTarget {
    let address = balanced(services).await;
    HttpTarget::new(format!("http://{address}/mcp")).bearer(token)
}

/// Every request goes to the next of three instances, and nobody notices.
async fn a_client_notices_nothing(stores: Vec<Arc<dyn TaskStore>>, bus: Option<&Carrier>) {
    let done = Done::default();
    let client = connect(person(), instances(stores, bus, &done), "ada").await;
    for round in 0..4 {
        let output = client.call("asks", ()).await.unwrap();
        let (first, second) = (2 * round, 2 * round + 1);
        assert_eq!(
            output.joined_text(),
            format!("Ada {first} and Ada {second}")
        );
        let quick = client.call("quick", ()).await.unwrap();
        assert_eq!(
            (quick.joined_text().as_str(), quick.failed()),
            ("quick", false)
        );
        let failed = client.call("fails", ()).await.unwrap();
        assert_eq!(
            (failed.joined_text().as_str(), failed.failed()),
            ("no luck", true)
        );
    }
    // Who gives a call up withdraws its task, wherever it is worked on.
    for number in 1..=3 {
        let waiting = client.call("waits", ()).into_future();
        let began = done.began.clone();
        tokio::select! {
            output = waiting => panic!("{output:?}"),
            () = until("the handler", || began.load(Ordering::SeqCst) == number) => {}
        }
        until("the withdrawal", || {
            done.cancelled.load(Ordering::SeqCst) == number
        })
        .await;
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_client_notices_nothing_over_memory() {
    a_client_notices_nothing(same(&MemoryTasks::new(), 3), None).await;
}

#[tokio::test]
async fn a_client_notices_nothing_with_an_event_bus() {
    let bus = Carrier::default();
    a_client_notices_nothing(same(&MemoryTasks::new(), 3), Some(&bus)).await;
    assert!(!bus.carried().is_empty());
}

#[tokio::test]
async fn a_client_notices_nothing_over_redis() {
    let redis = Redis::start().await;
    let mut stores: Vec<Arc<dyn TaskStore>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(Tasks::of(&redis).await));
    }
    a_client_notices_nothing(stores, None).await;
}

fn with_extension() -> Value {
    json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
}

/// Says something as somebody.
async fn say(service: &mut HttpService, who: &str, request: &Value) -> Said {
    let token = format!("Bearer {who}");
    let task = request["params"]["taskId"].as_str();
    let task = task.map(|task| ("mcp-name", task));
    let headers: Vec<_> = [("authorization", &*token)]
        .into_iter()
        .chain(task)
        .collect();
    doors::posted(service, request, &headers).await
}

fn call(id: u32, name: &str) -> Value {
    request(id, "tools/call", json!({"name": name}), with_extension())
}

fn about(id: u32, method: &str, task: &Value) -> Value {
    request(id, method, json!({"taskId": task}), with_extension())
}

/// Looks until a task stands so.
async fn until_it_is(service: &mut HttpService, task: &Value, status: &str) -> Value {
    let looking = async {
        loop {
            let said = say(service, "ada", &about(9, "tasks/get", task)).await;
            let shown = &said.answer["result"];
            assert!(shown.is_object(), "{said:?}");
            if shown["status"] == status {
                break shown.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(10), looking).await;
    seen.unwrap_or_else(|_| panic!("it never was {status}"))
}

#[tokio::test]
async fn a_task_is_seen_answered_and_withdrawn_elsewhere() {
    let done = Done::default();
    let [mut one, mut other] =
        <[HttpService; 2]>::try_from(instances(same(&MemoryTasks::new(), 2), None, &done)).unwrap();
    let made = say(&mut one, "ada", &call(1, "asks")).await;
    let id = made.answer["result"]["taskId"].clone();
    let shown = until_it_is(&mut other, &id, "input_required").await;
    assert_eq!(
        shown["inputRequests"]["first"]["method"],
        "elicitation/create"
    );
    assert_eq!(shown["pollIntervalMs"], 20);
    for key in ["first", "second"] {
        let shown = until_it_is(&mut other, &id, "input_required").await;
        let keys = shown["inputRequests"].as_object().unwrap().keys();
        assert_eq!(keys.collect::<Vec<_>>(), [key]);
        let answer = json!({"action": "accept", "content": {"name": key}});
        let params = json!({"taskId": id, "inputResponses": {key: answer}});
        let update = request(2, "tasks/update", params, with_extension());
        assert_eq!(say(&mut other, "ada", &update).await.status, 200);
        // It is answered at once for everyone who looks.
        let shown = say(&mut other, "ada", &about(3, "tasks/get", &id)).await;
        assert!(shown.answer["result"]["inputRequests"].get(key).is_none());
    }
    let shown = until_it_is(&mut other, &id, "completed").await;
    assert_eq!(shown["result"]["content"][0]["text"], "first and second");
    // it is nobody else's, here or there.
    for service in [&mut one, &mut other] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let refused = say(service, "bob", &about(4, method, &id)).await;
            assert_eq!(refused.code(), -32602, "{method}");
        }
    }
    let made = say(&mut one, "ada", &call(5, "waits")).await;
    let id = made.answer["result"]["taskId"].clone();
    say(&mut other, "ada", &about(6, "tasks/cancel", &id)).await;
    for service in [&mut one, &mut other] {
        until_it_is(service, &id, "cancelled").await;
    }
    until("the withdrawal", || {
        done.cancelled.load(Ordering::SeqCst) == 1
    })
    .await;
}

/// Who makes a task and who waits for it may be two sessions of one principal, with two instances.
#[tokio::test]
async fn sessions_share_their_tasks() {
    let (store, bus, done) = (MemoryTasks::new(), Carrier::default(), Done::default());
    let mut services = instances(same(&store, 2), Some(&bus), &done);
    let (other, one) = (services.pop().unwrap(), services.pop().unwrap());
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hears = heard.clone();
    let old = || Client::builder("test", "1").revisions(Revision::NEGOTIABLE);
    let target = target(vec![one], "ada").await;
    let target = Tapped::new(target, move |direction, message: &[u8]| {
        let message: Value = serde_json::from_slice(message).unwrap();
        if direction == Direction::Received && message["method"] == "notifications/tasks/status" {
            hears
                .lock()
                .unwrap()
                .push(message["params"]["status"].clone());
        }
    });
    let one = old().connect(target).await.unwrap();
    let stranger = connect(old(), vec![other.clone()], "bob").await;
    let mut newer = other.clone();
    let other = connect(old(), vec![other], "ada").await;
    let made = one.call("waits", ()).start().await.unwrap();
    let found = other.tasks().collect().await.unwrap();
    assert_eq!(
        found.iter().map(|task| &*task.task_id).collect::<Vec<_>>(),
        [made.id().unwrap()]
    );
    assert!(stranger.tasks().collect().await.unwrap().is_empty());
    stranger
        .task(made.id().unwrap())
        .status()
        .await
        .unwrap_err();
    // a client of the newest revision sees it too, and withdraws it.
    let id = json!(made.id().unwrap());
    let seen = say(&mut newer, "ada", &about(1, "tasks/get", &id)).await;
    assert_eq!(seen.answer["result"]["status"], "working");
    let early = one.call("waits", ()).start().await.unwrap();
    let id = json!(early.id().unwrap());
    say(&mut newer, "ada", &about(2, "tasks/cancel", &id)).await;
    until("the withdrawal", || {
        done.cancelled.load(Ordering::SeqCst) == 1
    })
    .await;
    let known = other.task(made.id().unwrap());
    let (waited, ()) = tokio::join!(known.result(), async {
        until("the handler", || done.began.load(Ordering::SeqCst) == 2).await;
        done.goes_on.notify_one();
    });
    assert_eq!(waited.unwrap().joined_text(), "went on");
    assert_eq!(made.result().await.unwrap().joined_text(), "went on");
    // Whose it is hears of it, whoever withdraws it.
    let made = one.call("waits", ()).start().await.unwrap();
    other.task(made.id().unwrap()).cancel().await.unwrap();
    until("the withdrawal", || {
        done.cancelled.load(Ordering::SeqCst) == 2
    })
    .await;
    until("what is said of it", || {
        heard.lock().unwrap().contains(&json!("cancelled"))
    })
    .await;
    let cancelled = made.result().await.unwrap_err();
    assert!(cancelled.refusal().unwrap().message.contains("cancelled"));
}

/// Listens for a task at an instance that does not work on it.
#[tokio::test]
async fn whoever_listens_elsewhere_is_told() {
    let bus = Carrier::default();
    for bus in [Some(&bus), None] {
        listens_elsewhere(bus).await;
    }
}

async fn listens_elsewhere(bus: Option<&Carrier>) {
    let (store, done) = (MemoryTasks::new(), Done::default());
    let mut services = instances(same(&store, 2), bus, &done);
    let made = say(&mut services[0], "ada", &call(1, "waits")).await;
    let id = made.answer["result"]["taskId"].clone();
    let filter = json!({"notifications": {"taskIds": [id, "of nobody"]}});
    let listen = request(2, "subscriptions/listen", filter, with_extension());
    let mut post = http::Request::builder().method("POST").uri("/mcp");
    for (name, value) in doors::headers(&listen) {
        post = post.header(name, value);
    }
    let post = post.header("authorization", "Bearer ada");
    let body = Full::new(Bytes::from(listen.to_string()));
    let response = services[1].call(post.body(body).unwrap()).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    let mut events = String::new();
    let mut next = async || -> Value {
        loop {
            if let Some((event, rest)) = events.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message = data.map(|data| serde_json::from_str(data).unwrap());
                events = rest.to_owned();
                if let Some(message) = message {
                    break message;
                }
                continue;
            }
            let bytes = stream.next().await.unwrap().unwrap();
            events += std::str::from_utf8(&bytes).unwrap();
        }
    };
    let acknowledged = next().await;
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"taskIds": [id]})
    );
    let told = next().await;
    assert_eq!(
        (&told["method"], &told["params"]["status"]),
        (&json!("notifications/tasks"), &json!("working"))
    );
    done.goes_on.notify_one();
    let told = next().await;
    assert_eq!(told["params"]["status"], "completed");
    assert_eq!(told["params"]["result"]["content"][0]["text"], "went on");
}

/// A store that fails for as long as it is told to, and counts.
#[derive(Clone, Default)]
struct Failing {
    store: MemoryTasks,
    fails: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
    replaced: Arc<AtomicU32>,
}

impl Failing {
    fn works(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::SeqCst) {
            true => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                Err(StoreError::new("the disk of secrets is full"))
            }
            false => Ok(()),
        }
    }
}

impl TaskStore for Failing {
    fn add(
        &self,
        owner: &str,
        id: &str,
        state: Bytes,
        expires: Duration,
        most: usize,
    ) -> Soon<Result<bool, StoreError>> {
        match self.works() {
            Ok(()) => self.store.add(owner, id, state, expires, most),
            Err(error) => Soon::now(Err(error)),
        }
    }

    fn get(&self, owner: &str, id: &str) -> Soon<Result<Option<KeptTask>, StoreError>> {
        match self.works() {
            Ok(()) => self.store.get(owner, id),
            Err(error) => Soon::now(Err(error)),
        }
    }

    fn replace(
        &self,
        owner: &str,
        id: &str,
        version: u64,
        state: Bytes,
    ) -> Soon<Result<bool, StoreError>> {
        match self.works() {
            Ok(()) => {
                self.replaced.fetch_add(1, Ordering::SeqCst);
                self.store.replace(owner, id, version, state)
            }
            Err(error) => Soon::now(Err(error)),
        }
    }

    fn list(
        &self,
        owner: &str,
        after: Option<&str>,
        most: usize,
    ) -> Soon<Result<Option<Vec<KeptTask>>, StoreError>> {
        match self.works() {
            Ok(()) => self.store.list(owner, after, most),
            Err(error) => Soon::now(Err(error)),
        }
    }
}

/// A task whose instance is gone has failed, and says why.
#[tokio::test]
async fn a_task_of_an_instance_that_is_gone_has_failed() {
    let (store, done) = (Failing::default(), Done::default());
    let both: [Arc<dyn TaskStore>; 2] = [Arc::new(store.clone()), Arc::new(store.clone())];
    let mut services = instances(both.into(), None, &done);
    let mut one = services.remove(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let made = runtime
        .spawn(async move { say(&mut one, "ada", &call(1, "waits")).await })
        .await
        .unwrap();
    let id = made.answer["result"]["taskId"].clone();
    // It goes on for longer than its lease as long as its instance lives.
    until("the renewals of more than one lease", || {
        store.replaced.load(Ordering::SeqCst) > 5
    })
    .await;
    let shown = say(&mut services[0], "ada", &about(2, "tasks/get", &id)).await;
    assert_eq!(shown.answer["result"]["status"], "working");
    runtime.shutdown_background();
    let shown = until_it_is(&mut services[0], &id, "failed").await;
    assert!(
        shown["error"]["message"].as_str().unwrap().contains("gone"),
        "{shown}"
    );
    assert_eq!(done.cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_store_that_fails_loses_nothing_that_was_promised() {
    let (store, done) = (Failing::default(), Done::default());
    let mut services = instances(vec![Arc::new(store.clone())], None, &done);
    let service = &mut services[0];
    store.fails.store(true, Ordering::SeqCst);
    // what cannot be kept is not begun.
    let refused = say(service, "ada", &call(1, "waits")).await;
    assert_eq!(refused.code(), -32603);
    let said = refused.answer.to_string();
    assert!(!said.contains("disk"), "{said}");
    store.fails.store(false, Ordering::SeqCst);
    let made = say(service, "ada", &call(2, "waits")).await;
    let id = made.answer["result"]["taskId"].clone();
    until("the handler", || done.began.load(Ordering::SeqCst) == 1).await;
    store.fails.store(true, Ordering::SeqCst);
    for method in ["tasks/get", "tasks/cancel"] {
        let refused = say(service, "ada", &about(3, method, &id)).await;
        assert_eq!(refused.code(), -32603, "{method}");
    }
    // Its outcome waits for the store.
    done.goes_on.notify_one();
    let refused = store.refused.load(Ordering::SeqCst);
    until("the first attempts", || {
        store.refused.load(Ordering::SeqCst) > refused + 1
    })
    .await;
    store.fails.store(false, Ordering::SeqCst);
    let shown = until_it_is(service, &id, "completed").await;
    assert_eq!(shown["result"]["content"][0]["text"], "went on");
    assert_eq!(done.began.load(Ordering::SeqCst), 1);
}
