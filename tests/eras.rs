//! One handler body in both eras: a live request on a session, a question as the answer for a
//! stateless client.

use compere::model::{CacheScope, Implementation};
use compere::prelude::*;
use compere::{Revision, ServerHandle};
use compere_proto::connection::stateless::{CacheHint, Head};
use compere_testkit::schema::{Author, SchemaCheck};
use compere_testkit::{fixture, transcript};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

async fn play(revision: Revision, revisions: &[Revision], text: &str) {
    for case in transcript::parse(text).unwrap() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = fixture::server(revisions).start().unwrap();
        let serving = tokio::spawn(async move { server.serve(theirs).await });
        let (reader, writer) = tokio::io::split(ours);
        if let Err(failure) = transcript::play(&case, &[revision], reader, writer).await {
            panic!("{failure}");
        }
        serving.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_session_the_question_is_a_request() {
    let revision = Revision::V2025_06_18;
    play(revision, &[revision], r#"
== the person confirms
open
> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"}}
< {"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"Go on?","requestedSchema":{"type":"object","properties":{"ok":{"type":"boolean"}}}}}
> {"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"ok":true}}}
< {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"confirmed"}]}}

== the person declines
open
> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"}}
< {"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":"*"}
> {"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}
< {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"not confirmed"}]}}

== structured content is there in this revision
open
> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}
< {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"3.0"}],"structuredContent":{"result":3}}}
"#).await;
}

/// Sends one request and gives the answer, checked against the schema.
async fn stateless(requests: &[Value]) -> Vec<Value> {
    let server = fixture::server(&[Revision::V2024_11_05, Revision::V2026_07_28]);
    said(server.start().unwrap(), requests).await
}

async fn said(server: ServerHandle, requests: &[Value]) -> Vec<Value> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    let (reader, mut writer) = tokio::io::split(ours);
    let mut lines = BufReader::new(reader).lines();
    let mut answers = Vec::new();
    for request in requests {
        writer
            .write_all(format!("{request}\n").as_bytes())
            .await
            .unwrap();
        let answer = lines.next_line().await.unwrap().unwrap();
        answers.push(serde_json::from_str(&answer).unwrap());
    }
    serving.abort();
    answers
}

fn request(id: u32, method: &str, mut params: Value, capabilities: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test(start_paused = true)]
async fn for_a_stateless_client_the_question_is_the_answer() {
    let can_ask = json!({"elicitation": {}});
    let confirmed = json!({"confirm": {"action": "accept", "content": {"ok": true}}});
    let declined = json!({"confirm": {"action": "decline"}});
    let answers = stateless(&[
        request(1, "tools/call", json!({"name": "ask"}), can_ask.clone()),
        request(
            2,
            "tools/call",
            json!({"name": "ask", "inputResponses": confirmed}),
            can_ask.clone(),
        ),
        request(
            3,
            "tools/call",
            json!({"name": "ask", "inputResponses": declined}),
            can_ask.clone(),
        ),
        request(
            4,
            "tools/call",
            json!({"name": "ask", "inputResponses": null}),
            can_ask,
        ),
        request(5, "tools/call", json!({"name": "ask"}), json!({})),
        request(
            6,
            "tools/call",
            json!({"name": "add", "arguments": {"a": 1, "b": 2}}),
            json!({}),
        ),
    ])
    .await;
    let question = json!({"confirm": {"method": "elicitation/create", "params": {"message": "Go on?",
        "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}});
    for index in [0, 3] {
        let result = &answers[index]["result"];
        assert_eq!(result["resultType"], "input_required");
        assert_eq!(result["inputRequests"], question);
    }
    let about =
        json!({"io.modelcontextprotocol/serverInfo": {"name": "fixture", "version": "1.0.0"}});
    assert_eq!(
        answers[1]["result"],
        json!({"resultType": "complete", "_meta": about, "content": [{"type": "text", "text": "confirmed"}]})
    );
    assert_eq!(answers[2]["result"]["content"][0]["text"], "not confirmed");
    assert_eq!(answers[4]["result"]["isError"], true);
    // The plain value: only older revisions wrap it.
    assert_eq!(answers[5]["result"]["structuredContent"], json!(3.0));
    if let Some(mut schema) = SchemaCheck::load(Revision::V2026_07_28) {
        schema.observe(
            Author::Client,
            &request(6, "tools/call", json!({"name": "add"}), json!({})).to_string(),
        );
        schema
            .check(Author::Server, &answers[5].to_string())
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_envelope_is_checked_and_both_eras_share_the_pipe() {
    let mut no_capabilities = request(2, "tools/list", json!({}), json!({}));
    no_capabilities["params"]["_meta"]
        .as_object_mut()
        .unwrap()
        .remove("io.modelcontextprotocol/clientCapabilities");
    let mut unknown = request(3, "tools/list", json!({}), json!({}));
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let initialize = json!({"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let answers = stateless(&[
        request(1, "ping", json!({}), json!({})),
        no_capabilities,
        unknown,
        initialize,
        request(
            5,
            "tools/call",
            json!({"name": "add", "arguments": {"a": 1, "b": 1}}),
            json!({}),
        ),
        json!({"jsonrpc": "2.0", "id": 6, "method": "ping"}),
    ])
    .await;
    assert_eq!(answers[0]["error"]["code"], -32601);
    assert_eq!(answers[1]["error"]["code"], -32602);
    assert_eq!(answers[2]["error"]["code"], -32022);
    assert_eq!(answers[2]["error"]["data"]["requested"], "2099-01-01");
    assert_eq!(answers[3]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(answers[4]["result"]["resultType"], "complete");
    assert_eq!(answers[5]["result"], json!({}));
}

/// Every answer fits the schema of the revision.
fn checked(requests: &[Value], answers: &[Value]) {
    let Some(mut schema) = SchemaCheck::load(Revision::V2026_07_28) else {
        return;
    };
    for (request, answer) in requests.iter().zip(answers) {
        schema.observe(Author::Client, &request.to_string());
        schema.check(Author::Server, &answer.to_string()).unwrap();
    }
}

// E-279 E-281
// E-015 E-063 E-064
#[tokio::test(start_paused = true)]
async fn what_a_server_is_and_offers_can_be_known_before() {
    let lists = [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ];
    let mut requests = vec![request(1, "server/discover", json!({}), json!({}))];
    for (number, method) in (2..).zip(lists) {
        requests.push(request(number, method, json!({}), json!({})));
    }
    let answers = stateless(&requests).await;
    checked(&requests, &answers);
    let found = &answers[0]["result"];
    // Those of the other era are negotiated, not chosen.
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert!(found["capabilities"]["tools"].is_object(), "{found}");
    assert!(found["capabilities"].get("tasks").is_none(), "{found}");
    for answer in &answers {
        let result = &answer["result"];
        assert_eq!(result["resultType"], "complete", "{answer}");
        assert_eq!(result["ttlMs"], 0, "{answer}");
        assert_eq!(result["cacheScope"], "private", "{answer}");
        let about = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(about["name"], "fixture", "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_declared_is_not_there() {
    let server = Server::new("bare", "1.0.0")
        .revisions(&[Revision::V2025_11_25, Revision::V2026_07_28])
        .cache(std::time::Duration::from_secs(60), CacheScope::Public)
        .instructions("Use it well.")
        .tool_fn("hello", || async { "hello" });
    let requests = [
        request(1, "server/discover", json!({}), json!({})),
        request(2, "tools/list", json!({}), json!({})),
        request(3, "prompts/list", json!({}), json!({})),
        request(4, "completion/complete", json!({}), json!({})),
        request(5, "initialize", json!({}), json!({})),
        request(6, "resources/subscribe", json!({"uri": "a:b"}), json!({})),
    ];
    let answers = said(server.start().unwrap(), &requests).await;
    assert_eq!(answers[0]["result"]["instructions"], "Use it well.");
    for answer in &answers[..2] {
        assert_eq!(answer["result"]["ttlMs"], 60_000, "{answer}");
        assert_eq!(answer["result"]["cacheScope"], "public", "{answer}");
    }
    for answer in &answers[2..] {
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
}

/// What a handler says of a result in its metadata stays, beside who the server is.
#[test]
fn metadata_of_a_result_stays() {
    let info = Implementation::new("s", "1");
    let head = Head::new(&info, CacheHint::default());
    let about = json!({"name": "s", "version": "1"});
    let key = "io.modelcontextprotocol/serverInfo";
    for (result, meta) in [
        (json!({}), json!({key: about})),
        (json!({"a": {"_meta": {"x": 1}}}), json!({key: about})),
        (json!({"_meta": {}}), json!({key: about})),
        (
            json!({"b": 1, "_meta": {"x": "_meta"}, "z": 2}),
            json!({key: about, "x": "_meta"}),
        ),
        (json!({"_meta": {key: "mine"}}), json!({key: "mine"})),
    ] {
        for cacheable in [true, false] {
            let written = head.complete(&result.to_string(), cacheable.then_some(head.cache));
            let read: Value = serde_json::from_slice(&written).unwrap();
            let mut wanted = result.clone();
            wanted["resultType"] = json!("complete");
            wanted["_meta"] = meta.clone();
            if cacheable {
                wanted["ttlMs"] = json!(0);
                wanted["cacheScope"] = json!("private");
            }
            assert_eq!(read, wanted, "{result}");
        }
    }
}

/// Lines that come until the answer to this request, that one included.
async fn lines_of(request: &Value) -> Vec<Value> {
    let server = Server::new("talking", "1.0.0")
        .revisions(&[Revision::V2025_11_25, Revision::V2026_07_28])
        .tool_fn("talk", |context: Context| async move {
            context.log(LoggingLevel::Debug, "quietly");
            context.log(LoggingLevel::Warning, "loudly");
            context.progress(0.5);
            tokio::task::yield_now().await;
            context.progress_of(1.0, 1.0);
            "done"
        });
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = server.start().unwrap();
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    let (reader, mut writer) = tokio::io::split(ours);
    let mut lines = BufReader::new(reader).lines();
    let line = format!("{request}\n");
    writer.write_all(line.as_bytes()).await.unwrap();
    let mut found = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let is_answer = line.get("id").is_some();
        found.push(line);
        if is_answer {
            serving.abort();
            return found;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_asks_for_progress_and_messages_itself() {
    let mut call = request(1, "tools/call", json!({"name": "talk"}), json!({}));
    let methods = |lines: &[Value]| -> Vec<String> {
        let methods = lines.iter().filter_map(|line| line["method"].as_str());
        methods.map(str::to_owned).collect()
    };
    // Neither is sent to who did not ask.
    assert_eq!(methods(&lines_of(&call).await), Vec::<String>::new());
    call["params"]["_meta"]["progressToken"] = json!("p");
    let lines = lines_of(&call).await;
    assert!(
        methods(&lines)
            .iter()
            .all(|method| method == "notifications/progress")
    );
    assert_eq!(lines[0]["params"]["progressToken"], "p", "{lines:?}");
    call["params"]["_meta"]
        .as_object_mut()
        .unwrap()
        .remove("progressToken");
    call["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
    let lines = lines_of(&call).await;
    assert_eq!(methods(&lines), ["notifications/message"], "{lines:?}");
    assert_eq!(lines[0]["params"]["data"], "loudly");
    call["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("shouting");
    let lines = lines_of(&call).await;
    assert_eq!(lines[0]["error"]["code"], -32602, "{lines:?}");
}
