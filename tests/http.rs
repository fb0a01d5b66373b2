//! The endpoint over HTTP, request by request: statuses, guards, sessions, streams and what becomes
//! of them when a connection is cut. Most tests need no socket: the endpoint is a service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::prelude::*;
use compere::server::http::bearer::Principal;
use compere::server::http::{Body, HttpOptions, HttpService};
use compere::{ErrorKind, Limits, Revision, ServerHandle};
use compere_tests::cutting::{self, Cut};
use compere_tests::until;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tower_service::Service;

/// Lets a test decide when a handler goes on.
#[derive(Clone, Default)]
struct Gate(Arc<Notify>);

/// Counts what is told when handlers begin and when they are dropped.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<Vec<&'static str>>>);

impl Tally {
    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

struct Dropped(Tally);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Count {
    count: u32,
    #[serde(default)]
    size: usize,
}

fn server(gate: &Gate, tally: &Tally) -> Server {
    Server::new("http", "1.0.0")
        .state(gate.clone())
        .state(tally.clone())
        .tool(tool_fn("quick", || async { "done" }).unlimited_rate())
        .tool(tool_fn(
            "talk",
            |context: Context, Args(said): Args<Count>| async move {
                for number in 0..said.count {
                    context.log(
                        LoggingLevel::Info,
                        format!("{number}{}", "x".repeat(said.size)),
                    );
                }
                "said"
            },
        ))
        .tool(tool_fn(
            "gated",
            |context: Context, State(gate): State<Gate>, State(tally): State<Tally>| async move {
                let dropped = Dropped(tally.clone());
                tally.add("begun");
                context.log(LoggingLevel::Info, "before");
                gate.0.notified().await;
                context.log(LoggingLevel::Info, "after");
                std::mem::forget(dropped);
                "through"
            },
        ))
        .tool(tool_fn("silent", |State(gate): State<Gate>| async move {
            gate.0.notified().await;
            "at last"
        }))
        .tool(tool_fn("whoami", |context: Context| async move {
            context.session().principal().to_owned()
        }))
        .tool(tool_fn("change", |context: Context| async move {
            let server = context.server();
            server.add_tool(tool_fn("new", || async { "new" }))?;
            server.remove_tool("new");
            Ok::<_, ToolError>("changed")
        }))
}

struct Endpoint {
    handle: ServerHandle,
    service: HttpService,
    gate: Gate,
    tally: Tally,
}

fn endpoint_with(limits: Limits, options: HttpOptions) -> Endpoint {
    let (gate, tally) = (Gate::default(), Tally::default());
    let handle = server(&gate, &tally).limits(limits).start().unwrap();
    let service = handle.http(options).unwrap();
    Endpoint {
        handle,
        service,
        gate,
        tally,
    }
}

fn endpoint() -> Endpoint {
    endpoint_with(Limits::default(), HttpOptions::new())
}

/// What is sent unless a test says otherwise.
fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8080")
        .header("accept", "application/json, text/event-stream")
}

fn post(message: &Value) -> Request<Full<bytes::Bytes>> {
    request(Method::POST, "/mcp")
        .header("content-type", "application/json")
        .body(Full::from(message.to_string()))
        .unwrap()
}

fn get() -> Request<Full<bytes::Bytes>> {
    request(Method::GET, "/mcp").body(Full::default()).unwrap()
}

fn with(
    mut request: Request<Full<bytes::Bytes>>,
    headers: &[(&'static str, &str)],
) -> Request<Full<bytes::Bytes>> {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

fn initialize(revision: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }})
}

fn call(id: u32, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments}})
}

impl Endpoint {
    async fn send(&self, request: Request<Full<bytes::Bytes>>) -> Response<Body> {
        self.service.clone().call(request).await.unwrap()
    }

    async fn status(&self, request: Request<Full<bytes::Bytes>>) -> u16 {
        self.send(request).await.status().as_u16()
    }

    /// A session that has done the handshake.
    async fn session(&self, revision: &str) -> String {
        let response = self.send(post(&initialize(revision))).await;
        assert_eq!(response.status(), 200);
        let id = response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let told = self
            .send(with(post(&initialized), &[("mcp-session-id", &id)]))
            .await;
        assert_eq!(told.status(), 202);
        assert_eq!(whole(told).await, "");
        id
    }

    async fn ask(&self, session: &str, message: &Value) -> Response<Body> {
        self.send(with(post(message), &[("mcp-session-id", session)]))
            .await
    }

    async fn listen(&self, session: &str, after: Option<&str>) -> Response<Body> {
        let mut headers = vec![("mcp-session-id", session)];
        headers.extend(after.map(|after| ("last-event-id", after)));
        self.send(with(get(), &headers)).await
    }
}

async fn whole(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Reads the events of a body one by one.
struct Events {
    body: Body,
    read: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<String>,
    retry: Option<String>,
    data: Option<String>,
}

impl Event {
    fn message(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_default();
        serde_json::from_str(data).unwrap_or_default()
    }
}

fn events(response: Response<Body>) -> Events {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Events {
        body: response.into_body(),
        read: String::new(),
    }
}

impl Events {
    /// The next event, comments left out; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let event: String = self.read.drain(..end + 2).collect();
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name));
                    found.map(|value| value.trim_start().to_owned())
                };
                let event = Event {
                    id: field("id:"),
                    retry: field("retry:"),
                    data: field("data:"),
                };
                if event.id.is_none() && event.retry.is_none() && event.data.is_none() {
                    continue;
                }
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            let data = frame.into_data().unwrap();
            self.read.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

// B-HTTP-08 B-HTTP-09 C-HTTP-02
// B-HTTP-26 B-HTTP-47 C-HTTP-03 C-HTTP-11 C-BASE-07 D-004
#[tokio::test]
async fn each_request_has_its_status() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let quick = call(1, "quick", json!({}));
    let of = |headers: &[(&'static str, &str)]| with(post(&quick), headers);
    let session_header = ("mcp-session-id", session.as_str());
    let bare = |method: Method, path: &str| request(method, path).body(Full::default()).unwrap();
    let plain = |body: &'static str| {
        request(Method::POST, "/mcp")
            .header("content-type", "application/json")
            .header("mcp-session-id", &session)
            .body(Full::from(body))
            .unwrap()
    };
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let answer = json!({"jsonrpc": "2.0", "id": 77, "result": {}});
    let cases = [
        (200, "a request", of(&[session_header])),
        (202, "a notification", with(post(&note), &[session_header])),
        (
            202,
            "an answer to nothing",
            with(post(&answer), &[session_header]),
        ),
        (404, "a path that is none", bare(Method::GET, "/other")),
        (405, "a method that is none", bare(Method::PUT, "/mcp")),
        (
            405,
            "options that ask nothing",
            bare(Method::OPTIONS, "/mcp"),
        ),
        (
            405,
            "a stream where one posts",
            bare(Method::GET, "/message"),
        ),
        (405, "a post where one listens", bare(Method::POST, "/sse")),
        (415, "no media type", {
            let mut request = of(&[session_header]);
            request.headers_mut().remove("content-type");
            request
        }),
        (
            415,
            "words",
            of(&[session_header, ("content-type", "text/plain")]),
        ),
        (
            415,
            "nearly JSON",
            of(&[session_header, ("content-type", "application/json5")]),
        ),
        (
            200,
            "JSON with a charset",
            of(&[
                session_header,
                ("content-type", "application/json; charset=utf-8"),
            ]),
        ),
        (
            406,
            "pages only",
            of(&[session_header, ("accept", "text/html")]),
        ),
        (
            406,
            "no events",
            of(&[session_header, ("accept", "application/json")]),
        ),
        (200, "anything", of(&[session_header, ("accept", "*/*")])),
        (
            406,
            "a stream of pages",
            with(get(), &[session_header, ("accept", "text/html")]),
        ),
        (400, "no session", post(&quick)),
        (400, "no session to listen to", get()),
        (
            404,
            "a session that is none",
            of(&[("mcp-session-id", "0123456789abcdef0123456789abcdef")]),
        ),
        (
            404,
            "an id that is none",
            of(&[("mcp-session-id", "../../etc/passwd")]),
        ),
        (
            400,
            "a version that is none",
            of(&[session_header, ("mcp-protocol-version", "v999")]),
        ),
        (
            400,
            "a version of another era",
            of(&[session_header, ("mcp-protocol-version", "2026-07-28")]),
        ),
        (
            200,
            "the version",
            of(&[session_header, ("mcp-protocol-version", "2025-11-25")]),
        ),
        (400, "no JSON", plain("{")),
        (400, "no message", plain("{\"jsonrpc\": \"2.0\"}")),
        (
            400,
            "a batch",
            plain("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]"),
        ),
        (400, "nothing", plain("")),
        (
            413,
            "too much",
            of(&[session_header, ("content-length", "99999999")]),
        ),
        (
            400,
            "an event that is none",
            with(get(), &[session_header, ("last-event-id", "5")]),
        ),
        (
            400,
            "an event of the future",
            with(get(), &[session_header, ("last-event-id", "1-99")]),
        ),
    ];
    for (expected, what, request) in cases {
        assert_eq!(endpoint.status(request).await, expected, "{what}");
    }
    // B-HTTP-49 B-HTTP-51: after its end the session is gone.
    let end = request(Method::DELETE, "/mcp")
        .body(Full::default())
        .unwrap();
    assert_eq!(endpoint.status(with(end, &[session_header])).await, 204);
    assert_eq!(endpoint.status(of(&[session_header])).await, 404);
    let end = request(Method::DELETE, "/mcp")
        .body(Full::default())
        .unwrap();
    assert_eq!(endpoint.status(with(end, &[session_header])).await, 404);
    assert_eq!(endpoint.service.sessions(), 0);
}

// E-122 E-123
// A-SSE-01 B-HTTP-02 D-024
// B-HTTP-01 B-HTTP-10
#[tokio::test]
async fn every_route_is_behind_the_guards() {
    let endpoint = endpoint();
    assert_eq!(endpoint.service.paths(), ["/mcp", "/sse", "/message"]);
    for path in endpoint.service.paths() {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            for (name, value) in [
                ("host", "evil.example.com"),
                ("host", "localhost.evil.example.com"),
                ("host", "127.0.0.1.evil.example.com"),
                ("origin", "http://evil.example.com"),
                ("origin", "null"),
                ("origin", "http://localhost.evil.example.com"),
                ("origin", "file://localhost"),
            ] {
                let bare = request(method.clone(), path).body(Full::default()).unwrap();
                let status = endpoint.status(with(bare, &[(name, value)])).await;
                assert_eq!(status, 403, "{method} {path} {name}: {value}");
            }
        }
    }
    let ours = [
        ("host", "127.0.0.1:4000"),
        ("host", "[::1]:4000"),
        ("host", "LOCALHOST"),
        ("origin", "http://localhost:3000"),
        ("origin", "https://127.0.0.1"),
        ("origin", "http://[::1]:3000"),
    ];
    for (name, value) in ours {
        let begin = with(post(&initialize("2025-11-25")), &[(name, value)]);
        assert_eq!(endpoint.status(begin).await, 200, "{name}: {value}");
    }
    let mut twice = post(&initialize("2025-11-25"));
    twice
        .headers_mut()
        .append("host", "localhost".parse().unwrap());
    assert_eq!(endpoint.status(twice).await, 400);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_answers() {
    let options = HttpOptions::new()
        .allow_origin("https://app.example.com")
        .allow_host("mcp.example.com");
    let endpoint = endpoint_with(Limits::default(), options);
    let origin = ("origin", "https://app.example.com");
    let host = ("host", "mcp.example.com:443");
    let asks = request(Method::OPTIONS, "/mcp")
        .header("access-control-request-method", "POST")
        .body(Full::default())
        .unwrap();
    let allowed = endpoint.send(with(asks, &[origin, host])).await;
    assert_eq!(allowed.status(), 204);
    let says = |name: &str| allowed.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        says("access-control-allow-origin"),
        "https://app.example.com"
    );
    assert!(says("access-control-allow-headers").contains("mcp-session-id"));
    let begun = endpoint
        .send(with(post(&initialize("2025-11-25")), &[origin, host]))
        .await;
    let exposed = begun.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(exposed.contains("mcp-session-id"));
    let other = with(
        post(&initialize("2025-11-25")),
        &[("origin", "https://app.example.com.evil.com")],
    );
    let refused = endpoint.send(other).await;
    assert_eq!(refused.status(), 403);
    assert!(
        refused
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
}

// B-HTTP-44 B-HTTP-45
// B-HTTP-43 C-SBP-04 C-SBP-05 C-SBP-06 C-SBP-07 C-SBP-08
#[tokio::test]
async fn sessions_belong_to_who_began_them() {
    let holder = |token: &str| match token {
        "token-of-ada" => Some(Principal::new("ada")),
        "token-of-bob" => Some(Principal::new("bob")),
        _ => None,
    };
    let endpoint = endpoint_with(Limits::default(), HttpOptions::new().bearer(holder));
    let refused = endpoint.send(post(&initialize("2025-11-25"))).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let ada = ("authorization", "Bearer token-of-ada");
    let bob = ("authorization", "bearer token-of-bob");
    let begun = endpoint
        .send(with(post(&initialize("2025-11-25")), &[ada]))
        .await;
    let id = begun.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(id.len() >= 32 && id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    let session = ("mcp-session-id", id.as_str());
    let whoami = || post(&call(1, "whoami", json!({})));
    let own = whole(endpoint.send(with(whoami(), &[ada, session])).await).await;
    assert!(own.contains("\"ada\""), "{own}");
    // What belongs to another looks like what does not exist.
    assert_eq!(endpoint.status(with(whoami(), &[bob, session])).await, 404);
    assert_eq!(endpoint.status(with(get(), &[bob, session])).await, 404);
    let end = request(Method::DELETE, "/mcp")
        .body(Full::default())
        .unwrap();
    assert_eq!(endpoint.status(with(end, &[bob, session])).await, 404);
    assert_eq!(endpoint.status(with(whoami(), &[ada, session])).await, 200);
    assert_eq!(endpoint.status(with(whoami(), &[session])).await, 401);
    let ids: std::collections::HashSet<String> = {
        let mut ids = std::collections::HashSet::new();
        for _ in 0..50 {
            let begun = endpoint
                .send(with(post(&initialize("2025-11-25")), &[ada]))
                .await;
            ids.insert(
                begun.headers()["mcp-session-id"]
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        ids
    };
    assert_eq!(ids.len(), 50);
}

// B-HTTP-11 B-HTTP-13 B-HTTP-15 B-HTTP-19 C-HTTP-04: JSON when the handler says nothing else.
// C-HTTP-05 C-HTTP-07 D-029 D-033
#[tokio::test]
async fn an_answer_is_json_or_a_stream_from_the_first_word_on() {
    let endpoint = endpoint();
    for (revision, primed) in [
        ("2025-03-26", false),
        ("2025-06-18", false),
        ("2025-11-25", true),
    ] {
        let session = endpoint.session(revision).await;
        let quick = endpoint.ask(&session, &call(1, "quick", json!({}))).await;
        assert_eq!(quick.headers()["content-type"], "application/json");
        assert!(whole(quick).await.contains("done"));
        let talk = call(2, "talk", json!({"count": 3}));
        let said = events(endpoint.ask(&session, &talk).await).rest().await;
        // D-026: a stream begins with an id, so that its client can come back.
        let (first, messages) = if primed {
            (1, &said[1..])
        } else {
            (0, &said[..])
        };
        assert_eq!(said.len(), first + 4, "{revision}: {said:?}");
        if primed {
            assert_eq!(said[0].data.as_deref(), Some(""));
            assert!(said[0].id.is_some() && said[0].retry.is_some());
        }
        let (answer, logs) = messages.split_last().unwrap();
        for (number, log) in logs.iter().enumerate() {
            assert_eq!(log.message()["params"]["data"], number.to_string());
        }
        assert_eq!(answer.message()["id"], 2);
        // B-HTTP-38 B-HTTP-39 D-035
        let ids: std::collections::HashSet<&String> =
            said.iter().flat_map(|event| &event.id).collect();
        assert_eq!(ids.len(), said.len());
    }
}

// B-HTTP-21 B-HTTP-40 B-HTTP-41 D-036: no event is lost or doubled.
// B-HTTP-18 C-HTTP-06 D-027 D-031
#[tokio::test]
async fn a_pending_call_survives_a_cut_connection() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let mut stream = events(endpoint.ask(&session, &call(1, "gated", json!({}))).await);
    let primer = stream.next().await.unwrap().id.unwrap();
    let before = stream.next().await.unwrap();
    assert_eq!(before.message()["params"]["data"], "before");
    drop(stream);
    endpoint.gate.0.notify_one();
    let after = before.id.unwrap();
    let rest = events(endpoint.listen(&session, Some(&after)).await)
        .rest()
        .await;
    let data: Vec<Value> = rest.iter().map(Event::message).collect();
    assert_eq!(data.len(), 2, "{data:?}");
    assert_eq!(data[0]["params"]["data"], "after");
    assert_eq!(data[1]["result"]["content"][0]["text"], "through");
    // From the start, once more; and from the last one nothing.
    let all = events(endpoint.listen(&session, Some(&primer)).await)
        .rest()
        .await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[1..], rest[..]);
    let last = rest[1].id.clone().unwrap();
    assert!(
        events(endpoint.listen(&session, Some(&last)).await)
            .rest()
            .await
            .is_empty()
    );
    assert_eq!(endpoint.tally.all(), ["begun"]);
}

// B-HTTP-42: the events of another stream do not come.
// B-HTTP-30 D-034
#[tokio::test]
async fn a_stream_that_is_resumed_brings_its_own_events_only() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let mut general = events(endpoint.listen(&session, None).await);
    let primer = general.next().await.unwrap().id.unwrap();
    let mut gated = events(endpoint.ask(&session, &call(1, "gated", json!({}))).await);
    gated.next().await.unwrap();
    endpoint.ask(&session, &call(2, "change", json!({}))).await;
    let talk = call(3, "talk", json!({"count": 2}));
    events(endpoint.ask(&session, &talk).await).rest().await;
    drop(general);
    let mut again = events(endpoint.listen(&session, Some(&primer)).await);
    for _ in 0..2 {
        let event = again.next().await.unwrap();
        assert_eq!(
            event.message()["method"],
            "notifications/tools/list_changed"
        );
    }
    let more = tokio::time::timeout(Duration::from_millis(50), again.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn what_is_no_longer_kept_cannot_be_resumed() {
    let mut limits = Limits::default();
    limits.ring_events = 4;
    let endpoint = endpoint_with(limits, HttpOptions::new());
    let session = endpoint.session("2025-11-25").await;
    let talk = call(1, "talk", json!({"count": 2}));
    let first = events(endpoint.ask(&session, &talk).await).rest().await;
    for id in 2..5 {
        let talk = call(id, "talk", json!({"count": 2}));
        events(endpoint.ask(&session, &talk).await).rest().await;
    }
    let primer = first[0].id.clone().unwrap();
    let gone = endpoint.listen(&session, Some(&primer)).await;
    assert_eq!(gone.status(), 410);
    assert!(whole(gone).await.contains("no longer kept"));
}

// B-HTTP-34 B-HTTP-35: each message goes to one stream.
#[tokio::test]
async fn of_two_listening_streams_one_gets_each_message() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-06-18").await;
    let mut one = events(endpoint.listen(&session, None).await);
    let mut other = events(endpoint.listen(&session, None).await);
    endpoint.ask(&session, &call(1, "change", json!({}))).await;
    one.next().await.unwrap();
    one.next().await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(50), other.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    drop(one);
    endpoint.ask(&session, &call(2, "change", json!({}))).await;
    assert!(other.next().await.is_some());
    // What is said while nobody listens waits for who comes next.
    drop(other);
    endpoint.ask(&session, &call(3, "change", json!({}))).await;
    let mut third = events(endpoint.listen(&session, None).await);
    for _ in 0..3 {
        third.next().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_answer_becomes_a_stream_with_comments() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let began = tokio::time::Instant::now();
    let response = endpoint.ask(&session, &call(1, "silent", json!({}))).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let mut body = response.into_body();
    let mut next = async || {
        let frame = body.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(frame.to_vec()).unwrap())
    };
    assert!(next().await.unwrap().starts_with("id: "));
    let comment = next().await.unwrap();
    assert!(comment.starts_with(':'), "{comment}");
    assert_eq!(began.elapsed().as_secs(), 20);
    endpoint.gate.0.notify_one();
    assert!(next().await.unwrap().contains("at last"));
    assert_eq!(next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_one_with_a_stream_does_not() {
    let endpoint = endpoint();
    let idle = endpoint.session("2025-11-25").await;
    let used = endpoint.session("2025-11-25").await;
    let listening = endpoint.session("2025-11-25").await;
    let stream = endpoint.listen(&listening, None).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!(endpoint.ask(&used, &ping).await.status(), 200);
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    assert_eq!(endpoint.ask(&idle, &ping).await.status(), 404);
    assert_eq!(endpoint.ask(&used, &ping).await.status(), 200);
    assert_eq!(endpoint.ask(&listening, &ping).await.status(), 200);
    assert_eq!(endpoint.service.sessions(), 2);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(31 * 60)).await;
    assert_eq!(endpoint.service.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_takes_the_room_of_the_longest_idle_one() {
    let mut limits = Limits::default();
    limits.sessions = 3;
    let endpoint = endpoint_with(limits, HttpOptions::new());
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(endpoint.session("2025-11-25").await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    endpoint.ask(&sessions[0], &ping).await;
    let fourth = endpoint.session("2025-11-25").await;
    assert_eq!(endpoint.ask(&sessions[1], &ping).await.status(), 404);
    assert_eq!(endpoint.service.sessions(), 3);
    let held = [
        endpoint.listen(&sessions[0], None).await,
        endpoint.listen(&sessions[2], None).await,
        endpoint.listen(&fourth, None).await,
    ];
    // Nobody who is there is sent away.
    assert_eq!(endpoint.status(post(&initialize("2025-11-25"))).await, 503);
    drop(held);
    assert_eq!(endpoint.status(post(&initialize("2025-11-25"))).await, 200);
}

#[tokio::test]
async fn without_sessions_every_request_stands_by_itself() {
    let endpoint = endpoint_with(
        Limits::default(),
        HttpOptions::new().without_sessions().without_sse(),
    );
    let begun = endpoint.send(post(&initialize("2025-11-25"))).await;
    assert_eq!(begun.status(), 200);
    assert!(begun.headers().get("mcp-session-id").is_none());
    let quick = post(&call(1, "quick", json!({})));
    assert!(whole(endpoint.send(quick).await).await.contains("done"));
    assert_eq!(endpoint.status(get()).await, 405);
    let end = request(Method::DELETE, "/mcp")
        .body(Full::default())
        .unwrap();
    assert_eq!(endpoint.status(end).await, 405);
    assert_eq!(endpoint.service.paths(), ["/mcp"]);
    // C-HTTP-10: without a version it is 2025-03-26, which has batches.
    let batch = json!([call(1, "quick", json!({})), call(2, "quick", json!({}))]);
    let answers: Value =
        serde_json::from_str(&whole(endpoint.send(post(&batch)).await).await).unwrap();
    assert_eq!(
        (&answers[0]["id"], &answers[1]["id"]),
        (&json!(1), &json!(2))
    );
    let newer = with(post(&batch), &[("mcp-protocol-version", "2025-06-18")]);
    assert_eq!(endpoint.status(newer).await, 400);
    // A client that goes away takes its call with it.
    let mut stream = events(endpoint.send(post(&call(1, "gated", json!({})))).await);
    stream.next().await.unwrap();
    drop(stream);
    while endpoint.tally.all().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(endpoint.tally.all(), ["begun", "dropped"]);
}

// B-HTTP-14
#[tokio::test]
async fn batches_of_2025_03_26_are_answered_as_one_array() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-03-26").await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let batch = json!([
        call(1, "quick", json!({})),
        note,
        call(2, "talk", json!({"count": 1})),
        {"jsonrpc": "2.0", "id": 3, "method": "nothing"},
    ]);
    let answers = whole(endpoint.ask(&session, &batch).await).await;
    let answers: Vec<Value> = serde_json::from_str(&answers).unwrap();
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2), &json!(3)]);
    assert_eq!(answers[2]["error"]["code"], -32601);
    assert_eq!(endpoint.ask(&session, &json!([note])).await.status(), 202);
}

// E-125 E-126
// A-SSE-02 A-SSE-03 B-HTTP-03 B-HTTP-04
#[tokio::test]
async fn listening_beyond_this_machine_needs_an_authenticator() {
    let endpoint = endpoint();
    let everywhere = "0.0.0.0:0";
    let refused = endpoint
        .handle
        .listen_http(everywhere, HttpOptions::new())
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Setup);
    let said = refused.to_string();
    assert!(
        said.contains("127.0.0.1") && said.contains("bearer"),
        "{said}"
    );
    let known = HttpOptions::new().bearer(|_| None);
    assert!(endpoint.handle.listen_http(everywhere, known).await.is_ok());
}

// A-SSE-04 A-SSE-05 A-SSE-07
// A-LIFE-24 B-HTTP-53
#[tokio::test]
async fn the_old_transport_dies_with_its_stream() {
    let endpoint = endpoint();
    let listen = request(Method::GET, "/sse").body(Full::default()).unwrap();
    let mut stream = events(endpoint.send(listen).await);
    let first = stream.next().await.unwrap();
    let address = first.data.unwrap();
    assert!(address.starts_with("/message?sessionId="), "{address}");
    let say = |message: &Value| {
        request(Method::POST, &address)
            .header("content-type", "application/json")
            // A body may be spread over lines.
            .body(Full::from(serde_json::to_string_pretty(message).unwrap()))
            .unwrap()
    };
    assert_eq!(endpoint.status(say(&initialize("2024-11-05"))).await, 202);
    let answer = stream.next().await.unwrap();
    assert_eq!(answer.id, None);
    assert_eq!(answer.message()["result"]["protocolVersion"], "2024-11-05");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(endpoint.status(say(&initialized)).await, 202);
    assert_eq!(
        endpoint.status(say(&call(1, "gated", json!({})))).await,
        202
    );
    let before = stream.next().await.unwrap();
    assert_eq!(before.message()["params"]["data"], "before");
    assert_eq!(endpoint.service.sessions(), 1);
    drop(stream);
    assert_eq!(
        endpoint.status(say(&call(2, "quick", json!({})))).await,
        404
    );
    assert_eq!(endpoint.service.sessions(), 0);
    while endpoint.tally.all().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(endpoint.tally.all(), ["begun", "dropped"]);
    let stranger = request(
        Method::POST,
        "/message?sessionId=0123456789abcdef0123456789abcdef",
    )
    .header("content-type", "application/json")
    .body(Full::from("{}"))
    .unwrap();
    assert_eq!(endpoint.status(stranger).await, 404);
}

/// The rule for a client that does not read: its session holds a bounded number of bytes, others
/// are as quick as ever, and when more must be said than is kept, its stream ends.
#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_a_bounded_number_of_bytes() {
    let mut limits = Limits::default();
    limits.ring_bytes = 64 * 1024;
    limits.outbox_bytes = 256 * 1024;
    limits.log_messages_per_second = 1e9;
    limits.log_messages_burst = 1e9;
    let endpoint = endpoint_with(limits, HttpOptions::new());
    let session = endpoint.session("2025-11-25").await;
    let neighbour = endpoint.session("2025-11-25").await;
    // Two streams of one session: nobody reads the first.
    let loud = call(1, "talk", json!({"count": 100, "size": 4000}));
    let stalled = endpoint.ask(&session, &loud).await;
    let own = events(
        endpoint
            .ask(&session, &call(2, "talk", json!({"count": 2})))
            .await,
    );
    let own = own.rest().await;
    assert_eq!(own.last().unwrap().message()["id"], 2);
    let quick = endpoint.ask(&neighbour, &call(3, "quick", json!({}))).await;
    assert_eq!(quick.status(), 200);
    // What the slow one gets is whole as far as it goes, and its answer is there.
    let late = events(stalled).rest().await;
    let bytes: usize = late
        .iter()
        .flat_map(|event| &event.data)
        .map(String::len)
        .sum();
    assert!(bytes < 300 * 1024, "{bytes}");
    let numbers: Vec<String> = late
        .iter()
        .filter_map(|event| Some(event.message()["params"]["data"].as_str()?.to_owned()))
        .map(|data| data.trim_end_matches('x').to_owned())
        .collect();
    let in_order: Vec<String> = (0..numbers.len())
        .map(|number| number.to_string())
        .collect();
    assert_eq!(numbers, in_order);
    assert_eq!(late.last().unwrap().message()["id"], 1);
}

/// Everything that a session held is given back, whatever happened in it.
#[tokio::test]
async fn an_ended_session_ends_its_streams_and_calls() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let general = events(endpoint.listen(&session, None).await);
    let mut gated = events(endpoint.ask(&session, &call(1, "gated", json!({}))).await);
    gated.next().await.unwrap();
    let end = request(Method::DELETE, "/mcp")
        .body(Full::default())
        .unwrap();
    endpoint
        .send(with(end, &[("mcp-session-id", &session)]))
        .await;
    assert_eq!(general.rest().await.len(), 1);
    let rest = gated.rest().await;
    assert!(
        rest.iter().all(|event| event.message()["id"] != 1),
        "{rest:?}"
    );
}

/// Two requests with one id, both pending: the second is refused.
#[tokio::test]
async fn an_id_in_flight_cannot_be_used_again() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-11-25").await;
    let mut first = events(endpoint.ask(&session, &call(1, "gated", json!({}))).await);
    first.next().await.unwrap();
    let again = whole(endpoint.ask(&session, &call(1, "quick", json!({}))).await).await;
    assert!(again.contains("-32600"), "{again}");
    endpoint.gate.0.notify_one();
    assert_eq!(first.rest().await.last().unwrap().message()["id"], 1);
}

// B-HTTP-22: a cancellation ends the stream without an answer.
#[tokio::test]
async fn a_cancelled_call_ends_its_stream() {
    let endpoint = endpoint();
    let session = endpoint.session("2025-06-18").await;
    let mut stream = events(endpoint.ask(&session, &call(1, "gated", json!({}))).await);
    stream.next().await.unwrap();
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(endpoint.ask(&session, &cancel).await.status(), 202);
    endpoint.gate.0.notify_one();
    let rest = stream.rest().await;
    assert!(
        rest.iter().all(|event| event.message()["id"] != 1),
        "{rest:?}"
    );
}

#[tokio::test]
async fn on_a_stop_what_runs_is_finished_and_nothing_new_is_taken() {
    let endpoint = endpoint();
    let any = "127.0.0.1:0";
    let listener = endpoint
        .handle
        .listen_http(any, HttpOptions::new())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let serving = tokio::spawn(listener.serve_until(async move {
        stopped.recv().await;
    }));
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(format!("http://{address}/mcp"))
        .await
        .unwrap();
    let pending = tokio::spawn(client.call("gated", ()).into_future());
    while endpoint.tally.all().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send(()).await.unwrap();
    endpoint.gate.0.notify_one();
    let answer = pending.await.unwrap().unwrap();
    assert_eq!(answer.joined_text(), "through");
    serving.await.unwrap().unwrap();
    assert!(
        Client::builder("c", "1")
            .revisions(Revision::NEGOTIABLE)
            .connect(format!("http://{address}/mcp"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_begins_a_lost_session_anew() {
    let endpoint = endpoint();
    let any = "127.0.0.1:0";
    let listener = endpoint
        .handle
        .listen_http(any, HttpOptions::new())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let service = listener.service().clone();
    tokio::spawn(listener.serve_until(std::future::pending()));
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(format!("http://{address}/mcp"))
        .await
        .unwrap();
    client.call("quick", ()).await.unwrap();
    assert_eq!(service.sessions(), 1);
    // Every session is ended, as when the server was started again.
    endpoint.handle.shutdown();
    while service.sessions() > 0 {
        tokio::task::yield_now().await;
    }
    // B-HTTP-50
    let calls = (0..5).map(|_| client.call("quick", ()).into_future());
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap().joined_text(), "done");
    }
    assert_eq!(service.sessions(), 1);
    client.close().await.unwrap();
    assert_eq!(service.sessions(), 0);
}

/// A request as it came: how, with which headers, and what.
type Recorded = (Method, http::HeaderMap, bytes::Bytes);

/// A server that keeps the heads of what it was asked.
async fn recording() -> (String, Arc<Mutex<Vec<Recorded>>>) {
    let endpoint = endpoint();
    let heads: Arc<Mutex<Vec<Recorded>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/mcp", listener.local_addr().unwrap());
    let kept = heads.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (service, kept) = (endpoint.service.clone(), kept.clone());
            let recorder =
                hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (head, body) = request.into_parts();
                    let (mut service, kept) = (service.clone(), kept.clone());
                    async move {
                        let body = body.collect().await.unwrap().to_bytes();
                        let recorded = (head.method.clone(), head.headers.clone(), body.clone());
                        kept.lock().unwrap().push(recorded);
                        let body = http_body_util::Full::new(body);
                        service.call(Request::from_parts(head, body)).await
                    }
                });
            let stream = hyper_util::rt::TokioIo::new(stream);
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(stream, recorder));
        }
    });
    (address, heads)
}

// B-HTTP-06 B-HTTP-25 B-HTTP-46 C-HTTP-08 C-HTTP-09
#[tokio::test]
async fn the_client_says_what_it_must_with_every_request() {
    let (address, heads) = recording().await;
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(address)
        .await
        .unwrap();
    client.call("quick", ()).await.unwrap();
    client.call("ärger", ()).await.unwrap_err();
    let revision = client.revision().to_string();
    until("the stream", || {
        heads
            .lock()
            .unwrap()
            .iter()
            .any(|(method, ..)| method == Method::GET)
    })
    .await;
    client.close().await.unwrap();
    let heads = heads.lock().unwrap();
    let (first, rest) = heads.split_first().unwrap();
    let says = |head: &http::HeaderMap, name: &str| {
        head.get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(says(&first.1, "mcp-session-id"), None);
    assert_eq!(says(&first.1, "mcp-protocol-version"), None);
    assert!(rest.iter().any(|(method, ..)| method == Method::DELETE));
    // B-HTTP-05 B-HTTP-07 C-HTTP-01 B-TRAN-01: one message each, in UTF-8.
    for (_, _, body) in heads.iter().filter(|(method, ..)| method == Method::POST) {
        let text = std::str::from_utf8(body).unwrap();
        let message: Value = serde_json::from_str(text).unwrap();
        assert!(message["method"].is_string(), "{text}");
    }
    assert!(heads.iter().any(|(_, _, body)| {
        std::str::from_utf8(body).is_ok_and(|text| text.contains("ärger"))
    }));
    for (method, head, _) in heads.iter() {
        let accept = says(head, "accept").unwrap_or_default();
        match *method {
            Method::POST => assert_eq!(accept, "application/json, text/event-stream"),
            Method::GET => assert_eq!(accept, "text/event-stream"),
            _ => {}
        }
    }
    for (method, head, _) in rest {
        assert!(says(head, "mcp-session-id").is_some(), "{method}");
        assert_eq!(
            says(head, "mcp-protocol-version"),
            Some(revision.clone()),
            "{method}"
        );
    }
}

// E-128 E-129 E-145 E-146 E-152
#[tokio::test]
async fn the_client_says_what_it_must_without_a_session() {
    let (address, heads) = recording().await;
    let client = Client::builder("c", "1").connect(address).await.unwrap();
    assert_eq!(client.revision(), Revision::V2026_07_28);
    client.call("quick", ()).await.unwrap();
    client.call("ärger", ()).await.unwrap_err();
    client.close().await.unwrap();
    let heads = heads.lock().unwrap();
    let mut names = Vec::new();
    for (method, head, body) in heads.iter() {
        // E-127 E-130 E-131 E-094: one message each, in UTF-8, and none of them an answer.
        let text = std::str::from_utf8(body).unwrap();
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (method, message["method"].is_string()),
            (&Method::POST, true)
        );
        let says = |name: &str| head.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(says("accept"), Some("application/json, text/event-stream"));
        assert_eq!(says("mcp-protocol-version"), Some("2026-07-28"));
        let version = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(version, "2026-07-28");
        assert_eq!(says("mcp-method"), message["method"].as_str());
        assert_eq!(says("mcp-session-id"), None);
        names.extend(says("mcp-name").map(str::to_owned));
    }
    assert_eq!(names, ["quick", "=?base64?w6RyZ2Vy?="]);
}

// B-HTTP-40 D-036: wherever the connection is cut, every step comes once and in order, or, if it was
// cut before the client knew of an event, the call fails and says so.
#[tokio::test]
async fn a_connection_cut_at_any_byte_loses_and_doubles_nothing() {
    const STEPS: u32 = 6;

    let mut limits = Limits::default();
    limits.event_stream_retry = Duration::from_millis(10);
    let handle = Server::new("steps", "1")
        .limits(limits)
        .tool_fn("steps", |context: Context| async move {
            for step in 1..=STEPS {
                context.progress(f64::from(step));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            "all steps"
        })
        .start()
        .unwrap();
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(listener.serve_until(std::future::pending()));
    let cut_at = async |bytes: usize| {
        let cut = Cut::default();
        let proxy = cutting::proxy(server, cut.clone()).await;
        let client = Client::builder("c", "1")
            .revisions(Revision::NEGOTIABLE)
            .connect(format!("http://{proxy}/mcp"))
            .await
            .unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        cut.after(bytes);
        let called = client
            .call("steps", ())
            .on_progress(move |step| hears.lock().unwrap().push(step.progress))
            .await;
        let heard = heard.lock().unwrap().clone();
        let all: Vec<f64> = (1..=STEPS).map(f64::from).collect();
        match called {
            Ok(output) => {
                assert_eq!(output.joined_text(), "all steps", "cut after {bytes} bytes");
                assert_eq!(heard, all, "cut after {bytes} bytes");
                true
            }
            Err(error) => {
                assert!(
                    heard.is_empty(),
                    "cut after {bytes} bytes: {error}, {heard:?}"
                );
                assert!(
                    matches!(error.kind(), ErrorKind::Io | ErrorKind::AnswerLost),
                    "{error}"
                );
                false
            }
        }
    };
    let cuts = (0..1_600)
        .step_by(13)
        .map(|bytes| async move { (bytes, cut_at(bytes).await) });
    let outcomes: Vec<(usize, bool)> = futures_util::stream::iter(cuts).buffered(8).collect().await;
    let failed: Vec<usize> = outcomes
        .iter()
        .filter(|(_, through)| !through)
        .map(|(bytes, _)| *bytes)
        .collect();
    // Only before the client had the first id of the answer: two heads with an event behind each, of
    // the server's own stream and of the answer.
    assert!(failed.iter().all(|bytes| *bytes < 600), "{failed:?}");
    assert!(outcomes.iter().any(|(_, through)| *through));
}

// Without sessions calls are counted for whoever the client acts for.
#[tokio::test]
async fn calls_without_a_session_are_counted_for_their_principal() {
    let mut limits = Limits::default();
    limits.calls_per_second = 0.001;
    limits.calls_burst = 2.0;
    let options = HttpOptions::new()
        .without_sessions()
        .without_sse()
        .bearer(|token| Some(Principal::new(token)));
    let endpoint = endpoint_with(limits, options);
    let mut outcomes = Vec::new();
    for principal in ["ada", "ada", "ada", "eve", "ada", "eve", "eve"] {
        let token = format!("Bearer {principal}");
        let request = with(
            post(&call(1, "whoami", json!({}))),
            &[("authorization", &token)],
        );
        let answer: Value =
            serde_json::from_str(&whole(endpoint.send(request).await).await).unwrap();
        outcomes.push(answer["error"]["code"].as_i64());
    }
    let refused = Some(-31_000);
    assert_eq!(
        outcomes,
        [None, None, refused, None, refused, None, refused]
    );
}
