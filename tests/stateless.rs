//! The era without sessions as a server sees it: the door, what a client listens for, and what HTTP adds.
//! Everything that does not depend on the transport runs over both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::server::listen::Change;
use compere::{RawArgs, Revision, ServerHandle};
use compere_proto::connection::classify::{Headers, Route, classify};
use compere_proto::wire::header;
use compere_proto::wire::scan::Scanner;
use compere_tests::carrier::Carrier;
use compere_tests::doors::{self, Door, doors, request};
use futures_util::StreamExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower_service::Service;

/// What a test waits for and decides.
#[derive(Clone, Default)]
struct Stage {
    go_on: Arc<Notify>,
    begun: Arc<Notify>,
    ended: Arc<Notify>,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Stage {
    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push(what);
    }

    fn noted(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }
}

struct Dropped(Stage);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note("dropped");
        self.0.ended.notify_one();
    }
}

async fn wait(context: Context, State(stage): State<Stage>) -> &'static str {
    let _dropped = Dropped(stage.clone());
    stage.begun.notify_one();
    tokio::select! {
        () = context.cancelled() => stage.note("cancelled"),
        () = stage.go_on.notified() => {}
    }
    "through"
}

async fn talk(context: Context) -> &'static str {
    context.log(LoggingLevel::Debug, "details");
    context.progress_of(1.0, 2.0);
    tokio::task::yield_now().await;
    context.log(LoggingLevel::Warning, "careful");
    context.progress_of(2.0, 2.0);
    "said"
}

fn marked() -> Value {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
    }})
}

fn schema(value: Value) -> compere::schemars::Schema {
    value.try_into().unwrap()
}

fn server(stage: &Stage) -> Server {
    Server::new("stateless", "1.0.0")
        .state(stage.clone())
        .tool(tool_fn("echo", |RawArgs(text): RawArgs| async move {
            text.get().to_owned()
        }))
        .tool(tool_fn("wait", wait))
        .tool(tool_fn("talk", talk))
        .tool(
            tool_fn("marked", |RawArgs(text): RawArgs| async move {
                text.get().to_owned()
            })
            .input_schema(schema(marked())),
        )
        .tool(tool_fn("add_tool", |context: Context| async move {
            context
                .server()
                .add_tool(tool_fn("new", || async { "new" }))?;
            Ok::<_, ToolError>("added")
        }))
        .prompt(prompt_fn("grüß gott", || async { "Hello." }))
        .resource(resource_fn("test://a", "a", || async { "a" }).subscribable())
        .resource(resource_fn("test://b", "b", || async { "b" }))
}

fn started(stage: &Stage) -> ServerHandle {
    server(stage).start().unwrap()
}

fn call(id: u32, name: &str) -> Value {
    request(id, "tools/call", json!({"name": name}), json!({}))
}

// E-081 E-083 E-147 E-148 E-149 E-151 E-152 E-179 E-180 E-187 E-189 E-190
#[tokio::test(start_paused = true)]
async fn headers_say_what_the_body_says() {
    let mut service = started(&Stage::default()).http(HttpOptions::new()).unwrap();
    let good = call(1, "echo");
    for (other, expected) in [
        (vec![], (200, 0)),
        (vec![("mcp-protocol-version", "")], (400, -32020)),
        (vec![("mcp-protocol-version", "2025-11-25")], (400, -32020)),
        (vec![("mcp-method", "")], (400, -32020)),
        (vec![("mcp-method", "tools/list")], (400, -32020)),
        (vec![("mcp-method", "TOOLS/CALL")], (400, -32020)),
        (vec![("mcp-name", "")], (400, -32020)),
        (vec![("mcp-name", "wait")], (400, -32020)),
        (vec![("mcp-name", "=?base64?ZWNobw==?=")], (200, 0)),
        (vec![("mcp-name", "=?base64?ZWNobw?=")], (400, -32020)),
        (vec![("mcp-name", "  echo  ")], (200, 0)),
        (
            vec![("mcp-name", "echo"), ("mcp-name", "echo")],
            (400, -32020),
        ),
        // Nothing of the other era makes a difference.
        (
            vec![("mcp-session-id", "gone"), ("last-event-id", "1-1")],
            (200, 0),
        ),
    ] {
        let said = doors::posted(&mut service, &good, &other).await;
        assert_eq!((said.status, said.code()), expected, "{other:?}: {said:?}");
        assert_eq!(said.answer["id"], 1, "{other:?}");
    }
    let named = request(2, "prompts/get", json!({"name": "grüß gott"}), json!({}));
    let encoded = header::encode("grüß gott");
    let said = doors::posted(&mut service, &named, &[("mcp-name", &encoded)]).await;
    assert_eq!(said.status, 200, "{said:?}");
    // What is unknown.
    let mut unknown = call(3, "echo");
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("v999.0.0");
    let said = doors::posted(&mut service, &unknown, &[]).await;
    assert_eq!((said.status, said.code()), (400, -32022));
    let data = &said.answer["error"]["data"];
    assert_eq!(
        *data,
        json!({"supported": ["2026-07-28"], "requested": "v999.0.0"})
    );
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/list",
        "no/such",
    ] {
        let said =
            doors::posted(&mut service, &request(4, method, json!({}), json!({})), &[]).await;
        assert_eq!((said.status, said.code()), (404, -32601), "{method}");
    }
    // E-132 E-133: what wants no answer gets none, and one that is not understood is refused.
    let cancelled = request(
        9,
        "notifications/cancelled",
        json!({"requestId": 7}),
        json!({}),
    );
    let mut cancelled = cancelled;
    cancelled.as_object_mut().unwrap().remove("id");
    let said = doors::posted(&mut service, &cancelled, &[]).await;
    assert_eq!((said.status, &said.answer), (202, &Value::Null));
    let other = [("mcp-method", "tools/list")];
    let said = doors::posted(&mut service, &cancelled, &other).await;
    assert_eq!((said.status, said.code()), (400, -32020));
    // What is understood and wrong is an answer like any other.
    let said = doors::posted(&mut service, &call(5, "nobody"), &[]).await;
    assert_eq!((said.status, said.code()), (200, -32602));
}

// E-064 E-065
#[tokio::test(start_paused = true)]
async fn an_incomplete_envelope_is_not_of_the_other_era() {
    let handle = started(&Stage::default());
    let mut service = handle.http(HttpOptions::new()).unwrap();
    let mut pipe = Door::pipe(&handle);
    for missing in [
        "",
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
    ] {
        let mut discover = request(1, "server/discover", json!({}), json!({}));
        match missing {
            "" => {
                discover["params"].as_object_mut().unwrap().remove("_meta");
            }
            key => {
                let meta = &mut discover["params"]["_meta"];
                meta.as_object_mut().unwrap().remove(key);
            }
        }
        let version = [("mcp-protocol-version", "2026-07-28")];
        let said = doors::posted(&mut service, &discover, &version).await;
        assert_eq!((said.status, said.code()), (400, -32602), "{missing}");
        assert_eq!(pipe.say(&discover).await.code(), -32602, "{missing}");
    }
    let mut odd = request(2, "tools/list", json!({}), json!([]));
    assert_eq!(pipe.say(&odd).await.code(), -32602);
    odd["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    odd["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = json!("someone");
    assert_eq!(pipe.say(&odd).await.code(), 0);
    odd["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("loud");
    assert_eq!(pipe.say(&odd).await.code(), -32602);
}

// E-160 E-161 E-172 E-173 E-178 E-184 E-185 E-186 E-188
#[tokio::test(start_paused = true)]
async fn marked_parameters_stand_in_headers() {
    let mut service = started(&Stage::default()).http(HttpOptions::new()).unwrap();
    let with = |arguments: Value| {
        request(
            1,
            "tools/call",
            json!({"name": "marked", "arguments": arguments}),
            json!({}),
        )
    };
    for (arguments, headers, status) in [
        (
            json!({"region": "Hello"}),
            vec![("mcp-param-region", "=?base64?SGVsbG8=?=")],
            200,
        ),
        (
            json!({"region": "Hello"}),
            vec![("Mcp-Param-REGION", "Hello")],
            200,
        ),
        (
            json!({"region": "Hello"}),
            vec![("mcp-param-region", "hello")],
            400,
        ),
        (json!({"region": "Hello"}), vec![], 400),
        (
            json!({"region": "Hello"}),
            vec![("mcp-param-region", "=?base64?SGVsbG8?=")],
            400,
        ),
        (
            json!({"region": "Hello"}),
            vec![("mcp-param-region", "=?base64?SGVs!!!bG8=?=")],
            400,
        ),
        (
            json!({"region": "SGVsbG8="}),
            vec![("mcp-param-region", "SGVsbG8=")],
            200,
        ),
        (
            json!({"region": "=?base64?SGVsbG8="}),
            vec![("mcp-param-region", "=?base64?SGVsbG8=")],
            200,
        ),
        (json!({"region": null}), vec![], 200),
        (
            json!({"region": null}),
            vec![("mcp-param-region", "x")],
            400,
        ),
        (json!({}), vec![], 200),
        (json!({}), vec![("mcp-param-other", "x")], 200),
        (json!({"count": 42}), vec![("mcp-param-count", "42.0")], 200),
        (json!({"count": 42}), vec![("mcp-param-count", "43")], 400),
        (
            json!({"deep": {"flag": true}}),
            vec![("mcp-param-flag", "true")],
            200,
        ),
        (
            json!({"deep": {"flag": true}}),
            vec![("mcp-param-flag", "false")],
            400,
        ),
    ] {
        let said = doors::posted(&mut service, &with(arguments.clone()), &headers).await;
        let code = if status == 400 { -32020 } else { 0 };
        // The schema of the tool has no null; what is asked here is what the headers do.
        assert_eq!(
            (said.status, said.code()),
            (status, code),
            "{arguments} {headers:?}"
        );
    }
    // Without headers there is nothing to compare.
    let mut pipe = Door::pipe(&started(&Stage::default()));
    assert_eq!(pipe.say(&with(json!({"region": "Hello"}))).await.code(), 0);
}

// E-157 E-158 E-159 E-163 E-164 E-348
#[test]
fn marks_that_break_a_rule_are_refused() {
    let kinds = [
        json!({"type": "number", "x-mcp-header": "A"}),
        json!({"type": "object", "x-mcp-header": "A"}),
        json!({"type": "string", "x-mcp-header": ""}),
        json!({"type": "string", "x-mcp-header": "A B"}),
        json!({"type": "string", "x-mcp-header": "A\r\nB"}),
        json!({"type": "string", "x-mcp-header": "Ä"}),
        json!({"type": "string", "x-mcp-header": 7}),
        json!({"x-mcp-header": "A"}),
        json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
        json!({"oneOf": [{"type": "string", "x-mcp-header": "A"}]}),
    ];
    let mut schemas: Vec<Value> = kinds
        .into_iter()
        .map(|kind| json!({"type": "object", "properties": {"p": kind}}))
        .collect();
    schemas.push(json!({"type": "object", "properties": {
        "p": {"type": "string", "x-mcp-header": "Same"}, "q": {"type": "string", "x-mcp-header": "SAME"}}}));
    schemas.push(json!({"type": "object", "x-mcp-header": "Root"}));
    schemas
        .push(json!({"type": "object", "$defs": {"d": {"type": "string", "x-mcp-header": "A"}}}));
    for value in schemas {
        let tool = tool_fn("bad", |RawArgs(text): RawArgs| async move {
            text.get().to_owned()
        });
        let tool = tool.input_schema(schema(value.clone()));
        let error = Server::new("s", "1").tool(tool).start().unwrap_err();
        assert!(
            error.to_string().contains("x-mcp-header"),
            "{value}: {error}"
        );
    }
    // A property of that name is no mark, and neither is data.
    let fine = json!({"type": "object", "properties": {
        "x-mcp-header": {"type": "string"}, "p": {"type": "string", "default": {"x-mcp-header": 1}}}});
    assert_eq!(header::mirrored(&fine).unwrap(), []);
}

// E-153 E-169 E-170 E-171 E-174
#[test]
fn header_values_are_written_safely() {
    for (text, value) in [
        ("us-west1", "us-west1"),
        ("us west 1", "us west 1"),
        ("", ""),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("\tindented", "=?base64?CWluZGVudGVk?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ] {
        assert_eq!(header::encode(text), value);
        assert_eq!(header::decode(value).unwrap(), text);
    }
    assert_eq!(
        header::decode("=?BASE64?SGVsbG8=?=").unwrap(),
        "=?BASE64?SGVsbG8=?="
    );
    assert!(header::decode("=?base64?/w==?=").is_err(), "no UTF-8");
}

/// What routes messages elsewhere asks the same function.
#[test]
fn the_door_is_a_function() {
    let all = Revision::ALL;
    let old = &Revision::ALL[..4];
    let new = &Revision::ALL[4..];
    let ask = |message: &Value, headers: Option<Headers<'_>>, served: &[Revision]| {
        let text = message.to_string();
        let mut scanner = Scanner::new();
        let message = scanner
            .scan(text.as_bytes(), &compere::Limits::default())
            .unwrap();
        match classify(&message, headers.as_ref(), served) {
            Ok(Route::Session) => (0, 0),
            Ok(Route::Request(..)) => (1, 0),
            Ok(Route::Notification) => (2, 0),
            Err(rejection) => (rejection.status, rejection.error.code),
        }
    };
    let (session, request_route, notification) = ((0, 0), (1, 0), (2, 0));
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    assert_eq!(ask(&initialize, None, &all), session);
    assert_eq!(ask(&initialize, None, new), (400, -32022));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(ask(&list, None, &all), session);
    assert_eq!(ask(&list, None, new), (400, -32602));
    let modern = request(1, "tools/list", json!({}), json!({}));
    assert_eq!(ask(&modern, None, &all), request_route);
    assert_eq!(ask(&modern, None, old), session);
    let said = Headers {
        protocol_version: Some("2026-07-28"),
        method: Some("tools/list"),
        ..Headers::default()
    };
    assert_eq!(ask(&modern, Some(said), &all), request_route);
    // A version in the header alone is a request that lacks its own.
    assert_eq!(ask(&list, Some(said), &all), (400, -32602));
    let with_session = Headers {
        has_session: true,
        ..said
    };
    assert_eq!(ask(&list, Some(with_session), &all), session);
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(ask(&cancelled, Some(said), &all), (400, -32020));
    let said = Headers {
        method: None,
        ..said
    };
    assert_eq!(ask(&cancelled, Some(said), &all), notification);
    assert_eq!(ask(&cancelled, None, &all), session);
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(ask(&initialized, Some(said), &all), session);
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    assert_eq!(ask(&answer, Some(said), &all), session);
}

// E-196 E-197 E-198 E-091
#[tokio::test(start_paused = true)]
async fn a_server_without_sessions_has_nothing_of_them() {
    let server = server(&Stage::default()).revisions(&[Revision::V2026_07_28]);
    let handle = server.start().unwrap();
    let mut service = handle.http(HttpOptions::new()).unwrap();
    for method in ["GET", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("host", "localhost")
            .header("accept", "text/event-stream")
            .header("mcp-session-id", "x")
            .body(Full::new(bytes::Bytes::new()))
            .unwrap();
        assert_eq!(service.call(request).await.unwrap().status(), 405);
    }
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let said = doors::posted(&mut service, &initialize, &[]).await;
    assert_eq!((said.status, said.code()), (400, -32022));
    assert_eq!(
        said.answer["error"]["data"]["supported"],
        json!(["2026-07-28"])
    );
    let mut pipe = Door::pipe(&handle);
    assert_eq!(pipe.say(&initialize).await.code(), -32022);
    assert_eq!(pipe.say(&call(2, "echo")).await.text(), "{}");
}

// E-139 E-202
// E-135 E-137 E-138 E-140 E-256 E-260 E-263 E-268 E-417 E-418
#[tokio::test(start_paused = true)]
async fn what_a_call_says_is_on_its_own_stream() {
    for mut door in doors(&started(&Stage::default())) {
        let quiet = door.say(&call(1, "talk")).await;
        assert_eq!((quiet.text(), quiet.before.len()), ("said", 0));
        let mut asks = call(2, "talk");
        asks["params"]["_meta"]["progressToken"] = json!("p");
        asks["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        let said = door.say(&asks).await;
        assert_eq!(said.text(), "said");
        let methods: Vec<&str> = said
            .before
            .iter()
            .filter_map(|message| message["method"].as_str())
            .collect();
        assert_eq!(
            methods,
            [
                "notifications/progress",
                "notifications/message",
                "notifications/progress"
            ]
        );
        assert_eq!(said.before[1]["params"]["data"], "careful");
        assert_eq!(
            said.before[2]["params"],
            json!({"progressToken": "p", "progress": 2.0, "total": 2.0})
        );
    }
}

/// The messages of an answer, one by one as they come.
struct Heard {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = String> + Send>>,
    rest: String,
}

impl Heard {
    async fn listen(handle: &ServerHandle, request: &Value) -> Self {
        let mut service = handle.http(HttpOptions::new()).unwrap();
        let mut post = Request::builder().method("POST").uri("/mcp");
        for (name, value) in doors::headers(request) {
            post = post.header(name, value);
        }
        let body = Full::new(bytes::Bytes::from(request.to_string()));
        let response = service.call(post.body(body).unwrap()).await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(!headers.contains_key("mcp-session-id"));
        let frames = response.into_body().into_data_stream();
        let body = frames.map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap());
        Self {
            body: Box::pin(body),
            rest: String::new(),
        }
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message = data.map(|data| serde_json::from_str(data).unwrap());
                self.rest = rest.to_owned();
                match message {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            self.rest += &self.body.next().await?;
        }
    }
}

// E-141 E-142 E-143 E-144 E-238
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_its_call() {
    let stage = Stage::default();
    let handle = started(&stage);
    let mut waiting = Heard::listen(&handle, &call(1, "wait")).await;
    stage.begun.notified().await;
    // It took so long that it became a stream of events, which says that it lives.
    let comment = waiting.body.next().await.unwrap();
    assert!(comment.starts_with(':'), "{comment}");
    drop(waiting);
    stage.ended.notified().await;
    assert_eq!(stage.noted(), ["cancelled", "dropped"]);
    // One that nobody waits for as a stream yet.
    let mut service = handle.http(HttpOptions::new()).unwrap();
    let asked = call(2, "wait");
    tokio::select! {
        _ = doors::posted(&mut service, &asked, &[]) => unreachable!(),
        () = stage.begun.notified() => {}
    }
    stage.ended.notified().await;
    assert_eq!(stage.noted()[2..], ["cancelled", "dropped"]);
}

fn listen(id: u32, filter: Value) -> Value {
    request(
        id,
        "subscriptions/listen",
        json!({"notifications": filter}),
        json!({}),
    )
}

fn subscription(message: &Value) -> &Value {
    &message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
}

// E-073 E-269 E-270 E-271 E-276 E-291 E-309 E-336
#[tokio::test(start_paused = true)]
async fn a_client_hears_what_it_listens_for() {
    let handle = started(&Stage::default());
    let filter = json!({"toolsListChanged": true, "promptsListChanged": false,
        "resourceSubscriptions": ["test://a", "test://nowhere", "test://b"]});
    let mut heard = Heard::listen(&handle, &listen(7, filter)).await;
    let first = heard.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    // What it cannot have is left out.
    let honoured = json!({"toolsListChanged": true, "resourceSubscriptions": ["test://a"]});
    assert_eq!(first["params"]["notifications"], honoured);
    assert_eq!(*subscription(&first), json!(7));
    let mut other = Heard::listen(&handle, &listen(8, json!({"promptsListChanged": true}))).await;
    other.next().await.unwrap();
    handle.add_tool(tool_fn("one", || async { "1" })).unwrap();
    handle.add_tool(tool_fn("two", || async { "2" })).unwrap();
    for _ in 0..1_000 {
        handle.resource_updated("test://a");
        handle.resource_updated("test://elsewhere");
    }
    // However often it happened: it is told once.
    let told = heard.next().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(*subscription(&told), json!(7));
    let told = heard.next().await.unwrap();
    assert_eq!(told["method"], "notifications/resources/updated");
    assert_eq!(told["params"]["uri"], "test://a");
    handle
        .add_prompt(prompt_fn("new", || async { "." }))
        .unwrap();
    let told = other.next().await.unwrap();
    assert_eq!(told["method"], "notifications/prompts/list_changed");
    assert_eq!(*subscription(&told), json!(8));
    // The end is a result.
    handle.shutdown();
    for (heard, id) in [(&mut heard, 7), (&mut other, 8)] {
        let last = heard.next().await.unwrap();
        assert_eq!(last["id"], json!(id));
        assert_eq!(last["result"]["resultType"], "complete");
        let meta = &last["result"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/subscriptionId"], json!(id));
        assert!(heard.next().await.is_none());
    }
}

// E-237 E-246
// E-236 E-272 E-113
#[tokio::test(start_paused = true)]
async fn listening_on_a_pipe_ends_when_the_client_says_so() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    let handle = started(&Stage::default());
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = handle.clone();
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    let (reader, mut writer) = tokio::io::split(ours);
    let mut lines = BufReader::new(reader).lines();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    let mut say = async |message: Value| {
        writer
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
    };
    let tools = json!({"toolsListChanged": true});
    say(listen(1, tools.clone())).await;
    let acknowledged = next().await;
    assert_eq!(*subscription(&acknowledged), json!(1));
    say(listen(2, tools)).await;
    assert_eq!(*subscription(&next().await), json!(2));
    handle.add_tool(tool_fn("one", || async { "1" })).unwrap();
    let mut told = [next().await, next().await].map(|told| subscription(&told).clone());
    told.sort_by_key(|id| id.as_u64());
    assert_eq!(told, [json!(1), json!(2)]);
    say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}))
        .await;
    say(call(3, "add_tool")).await;
    let mut after = [next().await, next().await];
    after.sort_by_key(|message| message.get("id").is_some());
    assert_eq!(*subscription(&after[0]), json!(2));
    assert_eq!(after[1]["id"], json!(3));
    // The end of the input ends what is left, with its result first.
    writer.shutdown().await.unwrap();
    let result = next().await;
    assert_eq!(
        (&result["id"], &result["result"]["resultType"]),
        (&json!(2), &json!("complete"))
    );
    let cancelled = next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"], json!({"requestId": 2}));
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_reach_clients_of_other_instances() {
    let wire = Carrier::default();
    let one = server(&Stage::default())
        .event_bus(wire.clone())
        .start()
        .unwrap();
    let two = server(&Stage::default())
        .event_bus(wire.clone())
        .start()
        .unwrap();
    let filter = json!({"resourceSubscriptions": ["test://a"]});
    let mut heard = Heard::listen(&two, &listen(1, filter)).await;
    heard.next().await.unwrap();
    one.resource_updated("test://a");
    let told = heard.next().await.unwrap();
    assert_eq!(told["params"]["uri"], "test://a");
    assert_eq!(wire.carried(), [Change::Resource("test://a".to_owned())]);
}

/// Hooks are told of what is listened for, each time, and of its end.
#[tokio::test(start_paused = true)]
async fn hooks_know_of_subscriptions() {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let (on, off) = (log.clone(), log.clone());
    let handle = server(&Stage::default())
        .on_subscribe(move |_, uri| {
            on.lock().unwrap().push(format!("+{uri}"));
            Ok(())
        })
        .on_unsubscribe(move |_, uri| off.lock().unwrap().push(format!("-{uri}")))
        .start()
        .unwrap();
    let filter = json!({"resourceSubscriptions": ["test://a"]});
    let one = Heard::listen(&handle, &listen(1, filter.clone())).await;
    let two = Heard::listen(&handle, &listen(2, filter)).await;
    drop(one);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        *log.lock().unwrap(),
        ["+test://a", "+test://a", "-test://a"]
    );
    drop(two);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(log.lock().unwrap().last().unwrap(), "-test://a");
}

// E-036
/// Both eras over one connection that is kept, in turn.
#[tokio::test]
async fn both_eras_share_a_kept_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let handle = started(&Stage::default());
    let listener = handle
        .listen_http("127.0.0.1:0", HttpOptions::new())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve_until(std::future::pending()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut exchange = async |message: &Value, more: &[(&str, &str)]| -> (String, Value) {
        let body = message.to_string();
        let mut head = format!("POST /mcp HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in doors::headers(message) {
            head += &format!("{name}: {value}\r\n");
        }
        for (name, value) in more {
            head += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the connection was closed");
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    let answer = serde_json::from_str(body).unwrap_or_default();
                    return (head.to_owned(), answer);
                }
            }
        }
    };
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let (_, answer) = exchange(&call(1, "echo"), &[]).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    let (head, answer) = exchange(&initialize, &[]).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    let session = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap()
        .to_owned();
    let of_session = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let (head, _) = exchange(&initialized, &of_session).await;
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    for id in 2..6 {
        let (head, answer) = exchange(&call(id, "echo"), &[]).await;
        assert_eq!(answer["result"]["resultType"], "complete");
        assert!(!head.contains("mcp-session-id"));
        let old =
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo"}});
        let (_, answer) = exchange(&old, &of_session).await;
        assert!(answer["result"].get("resultType").is_none(), "{answer}");
        assert_eq!(answer["result"]["content"][0]["text"], "{}");
    }
}
