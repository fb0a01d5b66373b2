//! Structured results keep what their schema promises, on both sides.

use compere::model::{CallToolResult, RawJson};
use compere::prelude::*;
use compere::proto::Error as ProtocolError;
use compere::proto::error::PeerMisbehaved;
use compere::transport::stream;
use compere::{Client, ErrorKind, RawArgs, Revision};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn result(data: &Value) -> CallToolResult {
    CallToolResult::text(data.to_string()).structured_content(RawJson::from(data.clone()))
}

fn schema() -> compere::schemars::Schema {
    let schema = json!({
        "type": "object",
        "properties": {"celsius": {"type": "number", "minimum": -90}},
        "required": ["celsius"],
    });
    schema.try_into().unwrap()
}

// E-698
// C-TOOL-06: what does not fit its schema is not sent.
#[tokio::test]
async fn a_server_holds_back_what_breaks_its_own_promise() {
    let given = |data: Value| {
        tool_fn("weather", move || {
            let data = data.clone();
            async move { result(&data) }
        })
        .output_schema(schema())
    };
    for (data, kept) in [
        (json!({"celsius": 21.5}), true),
        (json!({"celsius": "warm"}), false),
        (json!({"celsius": -100}), false),
        (json!({}), false),
    ] {
        let client = Client::connect(Server::new("s", "1").tool(given(data.clone())))
            .await
            .unwrap();
        let output = client.call("weather", ()).await.unwrap();
        assert_eq!(!output.failed(), kept, "{data}");
        if !kept {
            assert_eq!(output.joined_text(), "internal error");
        }
    }
    // Without any data at all, too; a failure of the tool is exempt.
    let bare = tool_fn("bare", || async { "21.5" }).output_schema(schema());
    let failing = tool_fn("failing", || async {
        Err::<CallToolResult, _>(ToolError::new("no station"))
    });
    let server = Server::new("s", "1")
        .tool(bare)
        .tool(failing.output_schema(schema()));
    let client = Client::connect(server).await.unwrap();
    assert_eq!(
        client.call("bare", ()).await.unwrap().joined_text(),
        "internal error"
    );
    assert_eq!(
        client.call("failing", ()).await.unwrap().joined_text(),
        "no station"
    );
}

// A changed list takes back what was promised before.
#[tokio::test]
async fn what_was_promised_is_over_when_the_list_changes() {
    let (told, mut changed) = tokio::sync::mpsc::unbounded_channel();
    let tool = tool_fn("weather", || async { result(&json!({"celsius": 1})) });
    let handle = Server::new("s", "1")
        .tool(tool.output_schema(schema()))
        .start()
        .unwrap();
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_changed(move |what| told.send(what).unwrap())
        .connect(handle.clone())
        .await
        .unwrap();
    client.tools().collect().await.unwrap();
    handle.remove_tool("weather");
    handle
        .add_tool(tool_fn("weather", || async { "cloudy" }))
        .unwrap();
    for _ in 0..2 {
        changed.recv().await.unwrap();
    }
    let output = client.call("weather", ()).await.unwrap();
    assert_eq!(output.joined_text(), "cloudy");
}

// What the limits let through is held against its schema whatever its size.
#[tokio::test]
async fn limits_of_ones_own_hold_for_results_too() {
    let mut limits = compere::Limits::default();
    limits.json_nodes = 400_000;
    let many = json!({"celsius": 1, "more": vec![0; 200_000]});
    let tool = tool_fn("weather", move || {
        let many = many.clone();
        async move { result(&many) }
    });
    let server = Server::new("s", "1").limits(limits.clone());
    let client = Client::builder("c", "1")
        .limits(limits)
        .connect(server.tool(tool.output_schema(schema())))
        .await
        .unwrap();
    client.tools().collect().await.unwrap();
    let output = client.call("weather", ()).await.unwrap();
    assert!(!output.failed(), "{}", output.joined_text());
}

/// A server that is played by the test: it promises `celsius` and answers with this.
async fn played(answer: Value) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (reader, mut writer) = tokio::io::split(theirs);
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let request: Value = serde_json::from_str(&line).unwrap();
            let result = match request["method"].as_str().unwrap_or_default() {
                "initialize" => json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "played", "version": "1"},
                }),
                "tools/list" => json!({"tools": [{
                    "name": "weather",
                    "inputSchema": {"type": "object"},
                    "outputSchema": schema().as_value(),
                }]}),
                "tools/call" => answer.clone(),
                _ => continue,
            };
            let message = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
            writer
                .write_all(format!("{message}\n").as_bytes())
                .await
                .unwrap();
        }
    });
    Client::builder("c", "1")
        .revisions(&[Revision::V2025_06_18])
        .connect(stream::duplex(ours))
        .await
        .unwrap()
}

// E-358 E-367
// C-TOOL-07
// C-TOOL-05
#[tokio::test]
async fn a_client_holds_results_against_what_was_listed() {
    let data = |celsius: Value| json!({"content": [], "structuredContent": {"celsius": celsius}});
    for (answer, kept) in [
        (data(json!(21.5)), true),
        (data(json!("warm")), false),
        (json!({"content": []}), false),
        (json!({"content": [], "isError": true}), true),
    ] {
        let client = played(answer.clone()).await;
        // Nothing was promised to who did not look.
        assert!(client.call("weather", ()).await.is_ok(), "{answer}");
        client.tools().collect().await.unwrap();
        let called = client.call("weather", ()).await;
        assert_eq!(called.is_ok(), kept, "{answer}");
        if let Err(error) = called {
            let fault = matches!(
                error.kind(),
                ErrorKind::Protocol(ProtocolError::PeerMisbehaved(
                    PeerMisbehaved::ResultDoesNotFit(..)
                ))
            );
            assert!(
                fault && error.to_string().contains("structuredContent"),
                "{error}"
            );
        }
    }
}

// E-043 E-044 E-047
// D-011: a schema means what it means in the dialect that it names, and 2020-12 if it names none.
#[tokio::test]
async fn a_schema_is_read_in_its_dialect() {
    let pair = json!([{"type": "integer"}, {"type": "string"}]);
    let draft_7 = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object", "properties": {"pair": {"items": pair}},
    });
    let newest = json!({"type": "object", "properties": {"pair": {"prefixItems": pair}}});
    for schema in [draft_7, newest] {
        let schema: compere::schemars::Schema = schema.try_into().unwrap();
        let tool = tool_fn("takes", |_: RawArgs| async { "taken" }).input_schema(schema);
        let client = Client::connect(Server::new("s", "1").tool(tool))
            .await
            .unwrap();
        let taken = async |pair: Value| {
            let output = client.call("takes", json!({"pair": pair})).await.unwrap();
            !output.failed()
        };
        assert!(taken(json!([1, "a"])).await);
        assert!(!taken(json!(["a", 1])).await);
        assert!(taken(json!([1, "a", {}])).await);
    }
}
