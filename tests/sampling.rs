//! Models that use tools of a server (from 2025-11-25): the order of uses and results, and what a model
//! may do.

use compere::model::{
    Content, CreateMessageParams, CreateMessageResult, RawJson, Role, SamplingMessage,
    ToolResultContent, ToolUseContent, code,
};
use compere::prelude::*;
use compere::transport::stream;
use compere_testkit::script::Script;
use serde_json::Value;

fn uses(ids: &[&str]) -> SamplingMessage {
    let blocks: Vec<Content> = ids
        .iter()
        .map(|id| {
            let input = RawJson::from(json!({}));
            Content::ToolUse(Box::new(ToolUseContent::new(*id, "look", input)))
        })
        .collect();
    SamplingMessage::assistant(blocks)
}

fn results(ids: &[&str]) -> Vec<Content> {
    let result = |id: &&str| Content::ToolResult(Box::new(ToolResultContent::new(*id)));
    ids.iter().map(result).collect()
}

fn conversation(messages: Vec<SamplingMessage>) -> CreateMessageParams {
    let mut all = vec![SamplingMessage::user("why?")];
    all.extend(messages);
    CreateMessageParams::new(all, 10_u64)
}

/// Conversations, and whether they are in order.
fn conversations() -> Vec<(&'static str, CreateMessageParams, bool)> {
    let user = |blocks: Vec<Content>| SamplingMessage::user(blocks);
    let mut mixed = results(&["a"]);
    mixed.push(Content::text("and this"));
    vec![
        ("no tools", conversation(vec![]), true),
        (
            "all answered",
            conversation(vec![uses(&["a", "b"]), user(results(&["b", "a"]))]),
            true,
        ),
        (
            "twice",
            conversation(vec![
                uses(&["a"]),
                user(results(&["a"])),
                uses(&["b"]),
                user(results(&["b"])),
            ]),
            true,
        ),
        // E-500
        // D-178
        (
            "results beside text",
            conversation(vec![uses(&["a"]), user(mixed)]),
            false,
        ),
        // E-501
        // D-179
        (
            "one is missing",
            conversation(vec![uses(&["a", "b"]), user(results(&["a"]))]),
            false,
        ),
        (
            "a word between",
            conversation(vec![
                uses(&["a"]),
                SamplingMessage::user("wait"),
                user(results(&["a"])),
            ]),
            false,
        ),
        // E-518
        // D-183
        ("never answered", conversation(vec![uses(&["a"])]), false),
        // E-697
        // D-253
        (
            "of no use",
            conversation(vec![uses(&["a"]), user(results(&["a", "c"]))]),
            false,
        ),
        (
            "before its use",
            conversation(vec![user(results(&["a"])), uses(&["a"])]),
            false,
        ),
        (
            "twice the same",
            conversation(vec![uses(&["a"]), user(results(&["a", "a"]))]),
            false,
        ),
        (
            "the model answers itself",
            conversation(vec![
                uses(&["a"]),
                SamplingMessage::assistant(results(&["a"])),
            ]),
            false,
        ),
    ]
}

fn model() -> compere::client::ClientBuilder {
    Client::builder("model", "1")
        .sampling_tools()
        .on_sample(|_| async { Ok(CreateMessageResult::new(Role::Assistant, "because", "m")) })
}

#[tokio::test]
async fn a_server_sends_only_conversations_that_are_in_order() {
    for (name, asked, in_order) in conversations() {
        let server = Server::new("s", "1").tool_fn("asks", move |context: Context| {
            let asked = asked.clone();
            async move { context.sample("answer", asked).await.is_ok() }
        });
        let client = model().connect(server).await.unwrap();
        let answered: bool = client.call("asks", ()).await.unwrap().data().unwrap();
        assert_eq!(answered, in_order, "{name}");
    }
}

#[tokio::test]
async fn a_client_continues_only_conversations_that_are_in_order() {
    let (mut script, ours) = Script::new();
    let connecting = model().connect(stream::duplex(ours));
    let serving = script.serve_handshake("2025-11-25", json!({}));
    let (client, ()) = tokio::join!(connecting, serving);
    let _client = client.unwrap();
    for (name, asked, in_order) in conversations() {
        let asked = serde_json::to_value(asked).unwrap();
        let answer = script.ask("sampling/createMessage", asked).await;
        assert_eq!(answer.get("result").is_some(), in_order, "{name}: {answer}");
        if !in_order {
            assert_eq!(answer["error"]["code"], code::INVALID_PARAMS, "{name}");
        }
    }
}

// D-180 D-181: whoever answers is held to it.
#[tokio::test]
async fn a_model_uses_tools_as_it_may() {
    for (mode, uses_tools, fits) in [
        ("auto", true, true),
        ("auto", false, true),
        ("required", true, true),
        ("required", false, false),
        ("none", true, false),
        ("none", false, true),
    ] {
        let (mut script, ours) = Script::new();
        let connecting = Client::builder("model", "1")
            .sampling_tools()
            .on_sample(move |_| async move {
                let block = match uses_tools {
                    true => uses(&["a"]).content.0.remove(0),
                    false => Content::text("because"),
                };
                Ok(CreateMessageResult::new(Role::Assistant, block, "m"))
            })
            .connect(stream::duplex(ours));
        let serving = script.serve_handshake("2025-11-25", json!({}));
        let (client, ()) = tokio::join!(connecting, serving);
        let _client = client.unwrap();
        let tool = json!({"name": "look", "inputSchema": {"type": "object"}});
        let asked: Value = json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": "why?"}}],
            "maxTokens": 10, "tools": [tool], "toolChoice": {"mode": mode},
        });
        let answer = script.ask("sampling/createMessage", asked).await;
        assert_eq!(answer.get("result").is_some(), fits, "{mode}: {answer}");
    }
}
