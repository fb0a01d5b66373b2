//! One handler body in both eras: a live request on a session, a question as the answer for a
//! stateless client.

use compere::Revision;
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
        if let Err(failure) = transcript::play(&case, revision, reader, writer).await {
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
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = fixture::server(&[Revision::V2024_11_05, Revision::V2026_07_28])
        .start()
        .unwrap();
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
        assert_eq!(
            answers[index]["result"],
            json!({"resultType": "input_required", "inputRequests": question})
        );
    }
    assert_eq!(
        answers[1]["result"],
        json!({"resultType": "complete", "content": [{"type": "text", "text": "confirmed"}]})
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
