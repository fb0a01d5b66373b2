//! A relay between two peers that the tests play themselves: what goes through, what does not, and
//! what becomes of one side when the other is gone. What works is in `behaviour.rs`, how revisions
//! differ in `revisions.rs`.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use compere::client::Target;
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::transport::stream;
use compere::{ErrorKind, Limits, Relay, Revision};
use compere_testkit::script::Script;
use compere_tests::until;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tower_service::Service;

/// A client and a server, both played by the test, with a relay between them.
struct Between {
    client: Script,
    servers: mpsc::UnboundedReceiver<Script>,
    serving: tokio::task::JoinHandle<compere::Result<()>>,
}

impl Between {
    fn new() -> Self {
        let (behind, servers) = mpsc::unbounded_channel();
        let relay = Relay::new(move |client| {
            let (script, stream) = Script::new();
            let _ = behind.send(script);
            client.connect(stream::duplex(stream))
        });
        let handle = relay.start().unwrap();
        let (client, stream) = Script::new();
        let serving = tokio::spawn(async move { handle.serve(stream).await });
        Self {
            client,
            servers,
            serving,
        }
    }

    /// With both handshakes done; the client, the server, and what the client was told.
    async fn met(revision: &str, client_can: Value, server_can: Value) -> (Self, Script, Value) {
        let mut between = Self::new();
        let meeting = between.client.shake_hands(revision, client_can);
        let serving = async {
            let mut server = between.servers.recv().await.unwrap();
            server.serve_handshake(revision, server_can).await;
            server
        };
        let (told, server) = tokio::join!(meeting, serving);
        (between, server, told)
    }
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test]
async fn each_is_told_of_the_other() {
    let mut between = Between::new();
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {"sampling": {}, "experimental": {"x-theirs": {"a": 1}}},
        "clientInfo": {"name": "their-client", "version": "7"},
    });
    let meeting = between.client.ask("initialize", params);
    let serving = async {
        let mut server = between.servers.recv().await.unwrap();
        let initialize = server.next().await;
        assert_eq!(initialize["params"]["protocolVersion"], "2025-06-18");
        assert_eq!(initialize["params"]["clientInfo"]["name"], "their-client");
        let theirs = json!({"sampling": {}, "experimental": {"x-theirs": {"a": 1}}});
        assert_eq!(initialize["params"]["capabilities"], theirs);
        let result = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}, "experimental": {"x-ours": {}}},
            "serverInfo": {"name": "their-server", "version": "8", "title": "Theirs"},
            "instructions": "Be kind.",
        });
        server.answer(&initialize, result).await;
    };
    let (told, ()) = tokio::join!(meeting, serving);
    let told = &told["result"];
    assert_eq!(told["serverInfo"]["title"], "Theirs");
    assert_eq!(told["instructions"], "Be kind.");
    let can = json!({"tools": {}, "experimental": {"x-ours": {}}});
    assert_eq!(told["capabilities"], can);
}

#[tokio::test]
async fn what_they_say_is_not_changed() {
    let (mut between, mut server, _) =
        Between::met("2025-11-25", json!({}), json!({"tools": {}})).await;
    // Numbers beyond every type, members that nobody knows, and an id that is a text.
    let line = r#"{"jsonrpc":"2.0","id":"é-1","method":"tools/call","params":{"name":"t","arguments":{"big":123456789012345678901234567890,"e":1.0e-7},"x-unknown":[null],"_meta":{"x/y":1,"progressToken":"theirs"}}}"#;
    between
        .client
        .say(serde_json::from_str(line).unwrap())
        .await;
    let called = server.next().await;
    let params = &called["params"];
    assert_eq!(params["x-unknown"], json!([null]));
    assert_eq!(params["_meta"]["x/y"], 1);
    let token = params["_meta"]["progressToken"].clone();
    assert_ne!(token, "theirs");
    let step = json!({"progressToken": token, "progress": 1, "total": 2, "message": "half"});
    let notification =
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": step});
    server.say(notification).await;
    let heard = between.client.next().await;
    assert_eq!(heard["params"]["progressToken"], "theirs");
    assert_eq!(heard["params"]["message"], "half");
    let result = json!({"content": [{"type": "text", "text": "a\nb"}], "x-more": {"y": 1e300}});
    server.answer(&called, result.clone()).await;
    let answer = between.client.next().await;
    assert_eq!(answer["id"], "é-1");
    assert_eq!(answer["result"], result);
    // An error too, data and all.
    between
        .client
        .say(request(2, "tools/call", json!({"name": "t"})))
        .await;
    let called = server.next().await;
    let error = json!({"code": -32099, "message": "no", "data": {"why": [1]}});
    server
        .say(json!({"jsonrpc": "2.0", "id": called["id"], "error": error.clone()}))
        .await;
    assert_eq!(between.client.next().await["error"], error);
}

#[tokio::test]
async fn what_a_client_withdraws_is_withdrawn_behind() {
    let (mut between, mut server, _) =
        Between::met("2025-11-25", json!({}), json!({"tools": {}})).await;
    between
        .client
        .say(request(7, "tools/call", json!({"name": "slow"})))
        .await;
    let called = server.next().await;
    let params = json!({"requestId": 7, "reason": "enough"});
    between
        .client
        .say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        .await;
    let cancelled = server.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], called["id"]);
}

// The server may ask as soon as its own handshake is done, which is before the client's is.
#[tokio::test]
async fn what_comes_early_waits_for_the_client() {
    let mut between = Between::new();
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {}, "sampling": {}},
        "clientInfo": {"name": "c", "version": "1"},
    });
    let asking = between.client.ask("initialize", params);
    let serving = async {
        let mut server = between.servers.recv().await.unwrap();
        server
            .serve_handshake("2025-11-25", json!({"tools": {}, "logging": {}}))
            .await;
        let log = json!({"level": "info", "data": "early"});
        server
            .say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": log}))
            .await;
        server.say(request(1, "roots/list", json!({}))).await;
        server
    };
    let (_, mut server) = tokio::join!(asking, serving);
    between
        .client
        .say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    let (one, other) = (between.client.next().await, between.client.next().await);
    let (log, asked) = match one["method"] == "roots/list" {
        true => (other, one),
        false => (one, other),
    };
    assert_eq!(log["params"]["data"], "early");
    let roots = json!({"roots": [{"uri": "file:///home/ada"}]});
    between.client.answer(&asked, roots.clone()).await;
    assert_eq!(server.next().await["result"], roots);
    // Progress of an answer, and a refusal.
    let params = json!({"messages": [], "maxTokens": 1, "_meta": {"progressToken": "s"}});
    server
        .say(request(2, "sampling/createMessage", params))
        .await;
    let asked = between.client.next().await;
    let token = asked["params"]["_meta"]["progressToken"].clone();
    let step = json!({"progressToken": token, "progress": 0.5});
    between
        .client
        .say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": step}))
        .await;
    assert_eq!(server.next().await["params"]["progressToken"], "s");
    let error = json!({"code": -1, "message": "the person said no"});
    between
        .client
        .say(json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}))
        .await;
    assert_eq!(
        server.next().await["error"]["message"],
        "the person said no"
    );
}

#[tokio::test]
async fn before_the_handshake_it_answers_as_any_server() {
    let mut between = Between::new();
    assert_eq!(
        between.client.ask("ping", json!({})).await["result"],
        json!({})
    );
    let early = between.client.ask("tools/list", json!({})).await;
    assert_eq!(early["error"]["code"], -32600);
    let faulty = between
        .client
        .ask("initialize", json!({"nothing": 1}))
        .await;
    assert_eq!(faulty["error"]["code"], -32602);
    assert!(
        between.servers.try_recv().is_err(),
        "nothing is connected to"
    );
}

#[tokio::test]
async fn when_one_side_goes_so_does_the_other() {
    let (mut between, server, _) =
        Between::met("2025-11-25", json!({}), json!({"tools": {}})).await;
    drop(server);
    assert!(between.client.is_left().await);
    between.serving.await.unwrap().unwrap();
    let (between, mut server, _) =
        Between::met("2025-11-25", json!({}), json!({"tools": {}})).await;
    drop(between.client);
    assert!(server.is_left().await);
}

#[tokio::test]
async fn a_pending_call_hears_that_the_server_is_gone() {
    let (mut between, mut server, _) =
        Between::met("2025-11-25", json!({}), json!({"tools": {}})).await;
    between
        .client
        .say(request(3, "tools/call", json!({"name": "t"})))
        .await;
    server.next().await;
    drop(server);
    let answer = between.client.next().await;
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(3), &json!(-32603))
    );
    assert!(between.client.is_left().await);
}

#[tokio::test]
async fn progress_of_a_task_goes_on_after_its_answer() {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let (mut between, mut server, _) = Between::met(
        "2025-11-25",
        json!({}),
        json!({"tools": {}, "tasks": tasks}),
    )
    .await;
    let params = json!({"name": "t", "task": {"ttl": 1000}, "_meta": {"progressToken": 5}});
    between.client.say(request(4, "tools/call", params)).await;
    let called = server.next().await;
    assert_eq!(called["params"]["task"]["ttl"], 1000);
    let task = json!({"taskId": "t1", "status": "working", "createdAt": "2025-11-25T10:00:00Z",
        "lastUpdatedAt": "2025-11-25T10:00:00Z", "ttl": 1000});
    server.answer(&called, json!({"task": task})).await;
    assert_eq!(between.client.next().await["result"]["task"], task);
    let token = called["params"]["_meta"]["progressToken"].clone();
    let step = json!({"progressToken": token, "progress": 1});
    server
        .say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": step}))
        .await;
    assert_eq!(between.client.next().await["params"]["progressToken"], 5);
    server
        .say(json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": task}))
        .await;
    assert_eq!(between.client.next().await["params"]["taskId"], "t1");
    between
        .client
        .say(request(5, "tasks/get", json!({"taskId": "t1"})))
        .await;
    assert_eq!(server.next().await["method"], "tasks/get");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so() {
    let relay = Relay::new(|client| client.connect("http://127.0.0.1:9/mcp"));
    let handle = relay.start().unwrap();
    let over_stream = Client::connect(handle.clone()).await.unwrap_err();
    assert!(
        over_stream.to_string().contains("cannot be reached"),
        "{over_stream}"
    );
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve_until(std::future::pending()));
    for path in ["mcp", "sse"] {
        let url = format!("http://{address}/{path}");
        let error = Client::connect(url).await.unwrap_err();
        assert!(
            error.to_string().contains("cannot be reached"),
            "{path}: {error}"
        );
    }
    let no_sessions = handle.http(HttpOptions::new().without_sessions().without_sse());
    assert!(matches!(no_sessions.unwrap_err().kind(), ErrorKind::Setup));
}

// A client that begins sessions and never goes on costs the server no more than the bound.
#[tokio::test]
async fn servers_behind_are_no_more_than_the_bound() {
    let (behind, mut servers) = mpsc::unbounded_channel();
    let open = Arc::new(Mutex::new(0));
    let opened = open.clone();
    let mut limits = Limits::default();
    limits.sessions = 3;
    let relay = Relay::new(move |client| {
        *opened.lock().unwrap() += 1;
        let (script, stream) = Script::new();
        let _ = behind.send(script);
        client.connect(stream::duplex(stream))
    });
    let handle = relay.limits(limits).start().unwrap();
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve_until(std::future::pending()));
    let connect = || {
        let client = Client::builder("c", "1").revisions(Revision::NEGOTIABLE);
        tokio::spawn(client.connect(format!("http://{address}/mcp")))
    };
    let connecting: Vec<_> = (0..10).map(|_| connect()).collect();
    let mut scripts = Vec::new();
    for _ in 0..3 {
        scripts.push(servers.recv().await.unwrap());
    }
    until("seven refusals", || {
        connecting.iter().filter(|one| one.is_finished()).count() == 7
    })
    .await;
    assert_eq!(*open.lock().unwrap(), 3);
    // Who gives up makes room.
    for one in connecting {
        one.abort();
    }
    for mut script in scripts {
        script.next().await;
        assert!(script.is_left().await);
    }
    let again = connect();
    let mut server = servers.recv().await.unwrap();
    server.serve_handshake("2025-11-25", json!({})).await;
    again.await.unwrap().unwrap();
}

/// A server that a test plays anew for each connection.
#[derive(Clone)]
struct Played(mpsc::UnboundedSender<Script>);

impl Target for Played {
    type Stream = stream::Stream<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    fn open(self, _limits: &Limits) -> compere::Result<Self::Stream> {
        let (script, stream) = Script::new();
        let _ = self.0.send(script);
        Ok(stream::duplex(stream))
    }

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Between {
    /// With a server that may be connected to again.
    fn patient() -> Self {
        let (behind, servers) = mpsc::unbounded_channel();
        let relay = Relay::new(move |client| client.connect(Played(behind.clone())));
        let handle = relay.start().unwrap();
        let (client, stream) = Script::new();
        let serving = tokio::spawn(async move { handle.serve(stream).await });
        Self {
            client,
            servers,
            serving,
        }
    }
}

/// A client of a session, and a server that has none.
#[tokio::test]
async fn a_session_reaches_a_server_without() {
    let mut between = Between::patient();
    let capabilities = json!({
        "roots": {"listChanged": true},
        "sampling": {},
        "tasks": {"list": {}},
        "extensions": {"io.modelcontextprotocol/tasks": {}, "com.example/x": {"a": 1}},
    });
    let serving = async {
        let mut server = between.servers.recv().await.unwrap();
        let initialize = server.next().await;
        assert_eq!(initialize["method"], "initialize");
        let data = json!({"supported": ["2026-07-28"], "requested": "2025-11-25"});
        let error = json!({"code": -32022, "message": "no sessions here", "data": data});
        let id = &initialize["id"];
        server
            .say(json!({"jsonrpc": "2.0", "id": id, "error": error}))
            .await;
        let mut server = between.servers.recv().await.unwrap();
        let extensions = json!({"io.modelcontextprotocol/tasks": {}, "com.example/y": {}});
        server
            .serve_discover(json!({"tools": {}, "extensions": extensions}))
            .await;
        server
    };
    let meeting = between.client.shake_hands("2025-11-25", capabilities);
    let (told, mut server) = tokio::join!(meeting, serving);
    let told = &told["result"];
    assert_eq!(told["serverInfo"]["name"], "odd");
    // Extensions are told in the newest revision alone.
    assert_eq!(told["capabilities"], json!({"tools": {}}));
    // What changes on a session is nothing there.
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    between.client.say(changed).await;
    let params = json!({"name": "t", "_meta": {"progressToken": "theirs", "x/y": 1}});
    between.client.say(request(1, "tools/call", params)).await;
    let called = server.next().await;
    assert_eq!(called["method"], "tools/call");
    let meta = &called["params"]["_meta"];
    let key = |name: &str| &meta[format!("io.modelcontextprotocol/{name}")];
    assert_eq!(*key("protocolVersion"), "2026-07-28");
    assert_eq!(key("clientInfo")["name"], "script");
    let can = json!({"roots": {}, "sampling": {}, "extensions": {"com.example/x": {"a": 1}}});
    assert_eq!(*key("clientCapabilities"), can);
    assert_eq!(meta["x/y"], 1);
    let token = meta["progressToken"].clone();
    let step = json!({"progressToken": token, "progress": 1});
    server
        .say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": step}))
        .await;
    let heard = between.client.next().await;
    assert_eq!(heard["params"]["progressToken"], "theirs");
    // A question within the call is a request to the client.
    let questions = json!({"q": {"method": "roots/list"}});
    let asked = json!({"resultType": "input_required", "inputRequests": questions,
        "requestState": "sealed"});
    server.answer(&called, asked).await;
    let asked = between.client.next().await;
    assert_eq!(asked["method"], "roots/list");
    let roots = json!({"roots": [{"uri": "file:///home/ada"}]});
    between.client.answer(&asked, roots.clone()).await;
    let again = server.next().await;
    assert_eq!(again["params"]["inputResponses"]["q"], roots);
    assert_eq!(again["params"]["requestState"], "sealed");
    let result = json!({"resultType": "complete", "content": [], "x-more": 1});
    server.answer(&again, result).await;
    let answer = between.client.next().await;
    assert_eq!(answer["result"], json!({"content": [], "x-more": 1}));
    // Nobody waits for what is withdrawn.
    between
        .client
        .say(request(2, "tools/call", json!({"name": "slow"})))
        .await;
    let called = server.next().await;
    let params = json!({"requestId": 2, "reason": "enough"});
    between
        .client
        .say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
        .await;
    let cancelled = server.next().await;
    assert_eq!(
        (&cancelled["method"], &cancelled["params"]["requestId"]),
        (&json!("notifications/cancelled"), &called["id"])
    );
}

/// A client without a session, and a server that knows nothing else.
#[tokio::test]
async fn a_client_without_a_session_reaches_one() {
    let mut between = Between::patient();
    let envelope = |mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "newest", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {
                "roots": {}, "extensions": {"io.modelcontextprotocol/tasks": {}},
            },
        });
        params
    };
    let serving = async {
        let mut server = between.servers.recv().await.unwrap();
        let initialize = server.next().await;
        let params = &initialize["params"];
        assert_eq!(params["protocolVersion"], "2025-11-25");
        assert_eq!(params["clientInfo"]["name"], "newest");
        assert_eq!(params["capabilities"], json!({"roots": {}}));
        let can = json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}});
        let result = json!({"protocolVersion": "2025-11-25", "capabilities": can,
            "serverInfo": {"name": "old", "version": "1"}, "instructions": "Be kind."});
        server.answer(&initialize, result).await;
        assert_eq!(server.next().await["method"], "notifications/initialized");
        server
    };
    let discover = between.client.ask("server/discover", envelope(json!({})));
    let (found, mut server) = tokio::join!(discover, serving);
    let found = &found["result"];
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["instructions"], "Be kind.");
    assert_eq!(found["capabilities"]["tools"], json!({}));
    assert!(found["capabilities"].get("tasks").is_none(), "{found}");
    assert!(found["capabilities"].get("extensions").is_none(), "{found}");
    let call = request(7, "tools/call", envelope(json!({"name": "t"})));
    between.client.say(call).await;
    let called = server.next().await;
    assert_eq!(called["params"], json!({"name": "t"}));
    let roots = json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"});
    server.say(roots).await;
    let asked = between.client.next().await;
    assert_eq!(asked["result"]["resultType"], "input_required");
    let questions = asked["result"]["inputRequests"].as_object().unwrap();
    let (key, question) = questions.iter().next().unwrap();
    assert_eq!(question["method"], "roots/list");
    let roots = json!({"roots": [{"uri": "file:///home/ada"}]});
    let mut params = envelope(json!({"name": "t"}));
    params["inputResponses"] = json!({key: roots});
    params["requestState"] = asked["result"]["requestState"].clone();
    between.client.say(request(8, "tools/call", params)).await;
    let answered = server.next().await;
    assert_eq!((&answered["id"], &answered["result"]), (&json!(5), &roots));
    server.answer(&called, json!({"content": []})).await;
    let done = between.client.next().await;
    assert_eq!(
        (&done["id"], &done["result"]["resultType"]),
        (&json!(8), &json!("complete"))
    );
}

/// What stands before a server over HTTP may refuse a session in no words of the protocol.
#[tokio::test]
async fn a_status_may_say_that_there_are_no_sessions() {
    for (status, is_reached) in [(404, true), (405, true), (403, false), (503, false)] {
        let server = Server::new("newest", "1")
            .revisions(&[Revision::V2026_07_28])
            .tool_fn("hello", || async { "hello" });
        let service = server.start().unwrap().http(HttpOptions::new()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let mut service = service.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        if body.is_empty() || body.windows(12).any(|part| part == b"\"initialize\"")
                        {
                            let refusal = Response::builder().status(status);
                            let body = Full::new(Bytes::from("No."));
                            return Ok(refusal.body(Either::Left(body)).unwrap());
                        }
                        let request = Request::from_parts(head, Full::new(body));
                        let answered = Service::call(&mut service, request).await;
                        answered.map(|answer| answer.map(Either::Right))
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        let url = format!("http://{address}/mcp");
        let relay = Relay::new(move |client| client.connect(url.clone()));
        let client = Client::builder("c", "1").revisions(Revision::NEGOTIABLE);
        let connected = client.connect(relay.start().unwrap()).await;
        assert_eq!(connected.is_ok(), is_reached, "{status}: {connected:?}");
        if let Ok(client) = connected {
            assert_eq!(
                client.call("hello", ()).await.unwrap().joined_text(),
                "hello"
            );
        }
    }
}

/// Who refuses for another reason is refused.
#[tokio::test]
async fn a_server_that_does_not_answer_is_not_asked_twice() {
    let mut between = Between::patient();
    let serving = async {
        let mut server = between.servers.recv().await.unwrap();
        assert_eq!(server.next().await["method"], "initialize");
        drop(server);
    };
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"}});
    let (told, ()) = tokio::join!(between.client.ask("initialize", params), serving);
    assert_eq!(told["error"]["code"], -32603, "{told}");
    assert!(between.servers.try_recv().is_err());
}
