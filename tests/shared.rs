//! Several instances of one server behind a load balancer that sends every request to the next one:
//! the contract of what they share, and a client that notices nothing. Over memory, and over a Redis
//! in a process of its own. What works over any transport is in `behaviour.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use compere::model::{CreateMessageParams, CreateMessageResult, Role, SamplingMessage};
use compere::prelude::*;
use compere::server::http::bearer::Principal;
use compere::server::http::store::{
    EventReader, EventStore, MemoryStore, ReadError, Shared, Soon, Start, StoreError,
};
use compere::server::http::{Body, HttpOptions, HttpService};
use compere::{ErrorKind, Limits};
use compere_testkit::stores::Instances;
use compere_tests::balanced::balanced;
use compere_tests::cutting::{self, Cut};
use compere_tests::until;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower_service::Service;

#[path = "shared/redis_server.rs"]
mod redis_server;
#[path = "shared/redis_stores.rs"]
mod redis_stores;

use redis_server::Server as Redis;
use redis_stores::stores;

const KEPT: usize = 64;

#[tokio::test]
async fn the_stores_in_memory_keep_the_contract() {
    let stores = MemoryStore::bounded(KEPT, 1024 * 1024);
    let (one, other) = (stores.shared(), stores.shared());
    let kept = KEPT;
    Instances { one, other, kept }.keep_the_contract().await;
}

#[tokio::test]
async fn the_stores_over_redis_keep_the_contract() {
    let redis = Redis::start().await;
    let (one, other) = (stores(&redis, KEPT).await, stores(&redis, KEPT).await);
    let kept = KEPT;
    Instances { one, other, kept }.keep_the_contract().await;
}

const STEPS: u32 = 6;

fn server() -> Server {
    let mut limits = Limits::default();
    limits.event_stream_retry = Duration::from_millis(10);
    Server::new("shared", "1")
        .limits(limits)
        .tool_fn("quick", || async { "done" })
        .tool_fn("steps", |context: Context| async move {
            for step in 1..=STEPS {
                context.progress(f64::from(step));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            "all steps"
        })
        .tool_fn("ask", |context: Context| async move {
            let params = CreateMessageParams::new(vec![SamplingMessage::user("2 + 2?")], 7_u64);
            let answer = context.sample("q", params).await?;
            Ok::<_, ToolError>(answer.content.text())
        })
        .tool_fn("announce", |context: Context| async move {
            let server = context.server();
            server.add_tool(tool_fn("new", || async { "new" }))?;
            server.remove_tool("new");
            Ok::<_, ToolError>("announced")
        })
}

fn instance(stores: &Shared) -> HttpService {
    let options = HttpOptions::new()
        .shared(stores.clone())
        .bearer(|token| Some(Principal::new(token)))
        .allow_any_host();
    server().start().unwrap().http(options).unwrap()
}

async fn connect(address: std::net::SocketAddr) -> Client {
    let target = format!("http://{address}/mcp");
    let target = compere::transport::http::HttpTarget::new(target).bearer("ada");
    Client::builder("c", "1")
        .revisions(compere::Revision::NEGOTIABLE)
        .on_sample(|_| async { Ok(CreateMessageResult::new(Role::Assistant, "4", "abacus")) })
        .connect(target)
        .await
        .unwrap()
}

async fn steps(client: &Client) -> (compere::Result<String>, Vec<f64>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let called = client
        .call("steps", ())
        .on_progress(move |step| hears.lock().unwrap().push(step.progress))
        .await;
    let heard = heard.lock().unwrap().clone();
    (called.map(|output| output.joined_text()), heard)
}

fn all_steps() -> Vec<f64> {
    (1..=STEPS).map(f64::from).collect()
}

/// Three instances with these stores, and a client that notices nothing.
async fn a_client_notices_nothing(stores: [Shared; 3]) {
    let services: Vec<HttpService> = stores.iter().map(instance).collect();
    let address = balanced(services).await;
    let client = connect(address).await;
    for _ in 0..6 {
        assert_eq!(
            client.call("quick", ()).await.unwrap().joined_text(),
            "done"
        );
        // The answer of the client arrives at another instance than the one that waits for it.
        assert_eq!(client.call("ask", ()).await.unwrap().joined_text(), "4");
        let (said, heard) = steps(&client).await;
        assert_eq!((said.unwrap().as_str(), heard), ("all steps", all_steps()));
    }
    let many: Vec<_> = (0..24)
        .map(|number| {
            let client = client.clone();
            async move {
                match number % 2 {
                    0 => steps(&client).await.0.unwrap(),
                    _ => client.call("ask", ()).await.unwrap().joined_text(),
                }
            }
        })
        .collect();
    let many: Vec<String> = futures_util::stream::iter(many).buffered(8).collect().await;
    assert!(
        many.iter().all(|said| said == "all steps" || said == "4"),
        "{many:?}"
    );
    // A call that is given up is over at its own instance.
    drop(tokio::time::timeout(Duration::from_millis(4), steps(&client)).await);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_client_notices_nothing_over_memory() {
    let memory = MemoryStore::default();
    a_client_notices_nothing([memory.shared(), memory.shared(), memory.shared()]).await;
}

#[tokio::test]
async fn a_client_notices_nothing_over_redis() {
    let redis = Redis::start().await;
    let stores = async || stores(&redis, 256).await;
    a_client_notices_nothing([stores().await, stores().await, stores().await]).await;
}

/// Wherever the connection is cut and wherever the client comes back, every step comes once.
async fn cuts_lose_nothing(stores: &[Shared; 2], cuts: impl Iterator<Item = usize>) {
    let address = balanced(stores.iter().map(instance).collect()).await;
    let mut through = 0;
    for bytes in cuts {
        let cut = Cut::default();
        let client = connect(cutting::proxy(address, cut.clone()).await).await;
        cut.after(bytes);
        let (said, heard) = steps(&client).await;
        match said {
            Ok(said) => {
                assert_eq!(
                    (said.as_str(), heard),
                    ("all steps", all_steps()),
                    "{bytes}"
                );
                through += 1;
            }
            Err(error) => {
                assert!(
                    heard.is_empty() && bytes < 600,
                    "cut after {bytes} bytes: {error}"
                );
                let broken = matches!(error.kind(), ErrorKind::Io | ErrorKind::AnswerLost);
                assert!(broken, "{error}");
            }
        }
    }
    assert!(through > 0);
}

#[tokio::test]
async fn cuts_lose_nothing_over_memory() {
    let memory = MemoryStore::default();
    cuts_lose_nothing(&[memory.shared(), memory.shared()], (0..1_800).step_by(23)).await;
}

#[tokio::test]
async fn cuts_lose_nothing_over_redis() {
    let redis = Redis::start().await;
    let stores = [stores(&redis, 256).await, stores(&redis, 256).await];
    cuts_lose_nothing(&stores, (300..1_800).step_by(171)).await;
}

type Said = Response<Body>;

async fn send(
    service: &HttpService,
    method: Method,
    headers: &[(&'static str, &str)],
    body: &Value,
) -> Said {
    let mut request = Request::builder()
        .method(method)
        .uri("/mcp")
        .header("host", "localhost")
        .header("authorization", "Bearer ada")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(match body {
            Value::Null => String::new(),
            body => body.to_string(),
        }))
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    service.clone().call(request).await.unwrap()
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }})
}

fn call(id: u32, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "_meta": {"progressToken": id}}})
}

async fn begin(service: &HttpService) -> String {
    let said = send(service, Method::POST, &[], &initialize()).await;
    assert_eq!(said.status(), 200);
    let id = said.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let headers = [("mcp-session-id", &*id)];
    let told = send(service, Method::POST, &headers, &initialized).await;
    assert_eq!(told.status(), 202);
    id
}

/// The next event of a stream: its id and data.
async fn event(stream: &mut Said) -> Option<(String, String)> {
    let wait = Duration::from_secs(10);
    loop {
        let frame = tokio::time::timeout(wait, stream.body_mut().frame()).await;
        let frame = frame.expect("no event came")?;
        let text = String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap();
        let part = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|line| line.trim().to_owned())
        };
        if let Some(id) = part("id:") {
            return Some((id, part("data:").unwrap_or_default()));
        }
    }
}

fn two() -> (HttpService, HttpService) {
    let memory = MemoryStore::default();
    (instance(&memory.shared()), instance(&memory.shared()))
}

#[tokio::test]
async fn a_session_is_its_owners_in_every_instance() {
    let (one, other) = two();
    let session = begin(&one).await;
    let session = [("mcp-session-id", &*session)];
    let eve = [session[0], ("authorization", "Bearer eve")];
    for (method, body) in [
        (Method::POST, call(1, "quick")),
        (Method::GET, Value::Null),
        (Method::DELETE, Value::Null),
    ] {
        let said = send(&other, method.clone(), &eve, &body).await;
        assert_eq!(said.status(), 404, "{method} of another principal");
    }
    let said = send(&other, Method::POST, &session, &call(1, "quick")).await;
    assert_eq!(said.status(), 200);
    for id in ["nonsense", "0-x-y-z", "99-1", "0-77", "1"] {
        let headers = [session[0], ("last-event-id", id)];
        let said = send(&other, Method::GET, &headers, &Value::Null).await;
        assert!(
            [400, 410].contains(&said.status().as_u16()),
            "{id}: {}",
            said.status()
        );
    }
    let said = send(&other, Method::DELETE, &session, &Value::Null).await;
    assert_eq!(said.status(), 204);
    until("the end of the session", || one.sessions() == 0).await;
    for service in [&one, &other] {
        let said = send(service, Method::POST, &session, &call(2, "quick")).await;
        assert_eq!(said.status(), 404);
    }
}

#[tokio::test]
async fn the_newest_reads_what_belongs_to_no_request() {
    let (one, other) = two();
    let session = begin(&one).await;
    let session = [("mcp-session-id", &*session)];
    let announce = async |id| {
        let said = send(&other, Method::POST, &session, &call(id, "announce")).await;
        assert_eq!(said.status(), 200);
    };
    // What is said before anybody listens is kept: two changes.
    announce(1).await;
    let mut first = send(&other, Method::GET, &session, &Value::Null).await;
    let mut last = String::new();
    let (_, opening) = event(&mut first).await.unwrap();
    assert_eq!(opening, "");
    for _ in 0..2 {
        let (id, data) = event(&mut first).await.unwrap();
        assert!(data.contains("list_changed"), "{data}");
        last = id;
    }
    let mut second = send(&one, Method::GET, &session, &Value::Null).await;
    assert_eq!(event(&mut second).await.unwrap().1, "");
    announce(2).await;
    for _ in 0..2 {
        assert!(event(&mut second).await.unwrap().1.contains("list_changed"));
    }
    assert_eq!(event(&mut first).await, None, "the first has ended");
    // Whoever comes back to an event gets what followed it.
    let headers = [session[0], ("last-event-id", &*last)];
    let mut back = send(&other, Method::GET, &headers, &Value::Null).await;
    for _ in 0..2 {
        assert!(event(&mut back).await.unwrap().1.contains("list_changed"));
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_of_an_instance_that_is_gone_are_gone() {
    let (one, other) = two();
    let session = begin(&one).await;
    let session = [("mcp-session-id", &*session)];
    let said = send(&other, Method::POST, &session, &call(1, "quick")).await;
    assert_eq!(said.status(), 200);
    drop(one);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let said = send(&other, Method::POST, &session, &call(2, "quick")).await;
    assert_eq!(said.status(), 404);
    begin(&other).await;
}

/// A store of events that fails when it is told to.
struct Failing {
    inner: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl EventStore for Failing {
    fn append(
        &self,
        session: &str,
        stream: &str,
        event: Bytes,
    ) -> Soon<Result<Box<str>, StoreError>> {
        if self.fails.load(Ordering::SeqCst) {
            return Soon::later(async { Err(StoreError::new("the disk is full")) });
        }
        self.inner.append(session, stream, event)
    }

    fn read(
        &self,
        session: &str,
        stream: &str,
        start: Start<'_>,
    ) -> Soon<Result<Box<dyn EventReader>, ReadError>> {
        self.inner.read(session, stream, start)
    }

    fn forget(&self, session: &str) -> Soon<Result<(), StoreError>> {
        self.inner.forget(session)
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_session_and_nothing_else() {
    let memory = MemoryStore::default();
    let fails = Arc::new(AtomicBool::new(false));
    let events = Arc::new(Failing {
        inner: memory.clone(),
        fails: fails.clone(),
    });
    let other = memory.shared();
    let stores = Shared::new(events, other.sessions().clone(), other.mailbox().clone());
    let service = instance(&stores);
    let address = balanced(vec![service.clone()]).await;
    let client = connect(address).await;
    assert_eq!(steps(&client).await.0.unwrap(), "all steps");
    fails.store(true, Ordering::SeqCst);
    let (said, heard) = steps(&client).await;
    assert!(said.is_err() && heard.is_empty(), "{said:?} {heard:?}");
    fails.store(false, Ordering::SeqCst);
    // The client begins a session anew.
    assert_eq!(steps(&client).await.0.unwrap(), "all steps");
}
