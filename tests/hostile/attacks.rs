//! A client that means harm, or that is merely broken: what it sends, case by case.
//!
//! Each case ends with a ping, so that what it did to the connection shows.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Notify;

/// A server that says nothing for so long counts as silent.
const SILENCE: Duration = Duration::from_secs(20);
/// The longest text of an answer that is part of an outcome.
const SHOWN: usize = 160;

/// What ends an attack.
const LAST_PING: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":\"alive\",\"method\":\"ping\"}\n";

/// One attack.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// What is sent.
    pub steps: fn() -> Vec<Step>,
}

/// One step of an attack.
pub enum Step {
    /// `initialize` and `notifications/initialized`, as they should be.
    Handshake,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The same again and again.
    Flood(Vec<u8>, usize),
    /// One byte at a time.
    Slowly(Vec<u8>),
    /// Does not read before everything is sent.
    Deaf,
    /// Ends its side; no ping follows.
    HangUp,
}

use Step::{Bytes, Deaf, Flood, Handshake, HangUp, Slowly};

fn line(text: impl AsRef<[u8]>) -> Step {
    let mut bytes = text.as_ref().to_vec();
    bytes.push(b'\n');
    Bytes(bytes)
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Step {
    let mut message = json!({"jsonrpc": "2.0", "id": id.into(), "method": method});
    if !params.is_null() {
        message["params"] = params;
    }
    line(message.to_string())
}

fn notification(method: &str, params: Value) -> Step {
    line(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string())
}

fn initialize(id: impl Into<Value>, change: impl FnOnce(&mut Value)) -> Step {
    let mut params = json!({
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": {"name": "hostile", "version": "1"},
    });
    change(&mut params);
    request(id, "initialize", params)
}

fn echo(id: impl Into<Value>, message: &str) -> Step {
    request(
        id,
        "tools/call",
        json!({"name": "echo", "arguments": {"message": message}}),
    )
}

/// After the handshake.
fn then(step: Step) -> Vec<Step> {
    vec![Handshake, step]
}

fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":{open}{close}}}}}}}"#
    )
}

/// Every attack.
pub const ATTACKS: &[Attack] = &[
    // What is no message.
    Attack {
        name: "garbage",
        steps: || then(line("garbage")),
    },
    Attack {
        name: "http",
        steps: || then(line("GET / HTTP/1.1")),
    },
    Attack {
        name: "blank-lines",
        steps: || then(Flood(b"\n".to_vec(), 10_000)),
    },
    Attack {
        name: "spaces",
        steps: || then(line("   \t ")),
    },
    Attack {
        name: "half-line",
        steps: || {
            vec![
                Handshake,
                Bytes(br#"{"jsonrpc":"2.0","id":1,"meth"#.to_vec()),
                HangUp,
            ]
        },
    },
    Attack {
        name: "no-last-line-break",
        steps: || {
            vec![
                Handshake,
                Bytes(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec()),
                HangUp,
            ]
        },
    },
    Attack {
        name: "nul-bytes",
        steps: || then(line([0; 64])),
    },
    Attack {
        name: "nul-in-string",
        steps: || {
            then(line(
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\0ng\"}",
            ))
        },
    },
    Attack {
        name: "byte-order-mark",
        steps: || {
            then(line(
                "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
            ))
        },
    },
    Attack {
        name: "not-utf-8",
        steps: || {
            then(line(
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\xfe\"}",
            ))
        },
    },
    Attack {
        name: "overlong-utf-8",
        steps: || {
            then(line(
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xc0\xaf\"}",
            ))
        },
    },
    Attack {
        name: "lone-surrogate",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#)),
    },
    Attack {
        name: "raw-control-character",
        steps: || {
            then(line(
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\u{1}b\"}",
            ))
        },
    },
    Attack {
        name: "bad-escape",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":"\x41"}"#)),
    },
    Attack {
        name: "a-number",
        steps: || then(line("1")),
    },
    Attack {
        name: "a-string",
        steps: || then(line("\"ping\"")),
    },
    Attack {
        name: "null",
        steps: || then(line("null")),
    },
    Attack {
        name: "empty-object",
        steps: || then(line("{}")),
    },
    Attack {
        name: "empty-batch",
        steps: || then(line("[]")),
    },
    Attack {
        name: "batch",
        steps: || {
            then(line(
                r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#,
            ))
        },
    },
    Attack {
        name: "trailing-comma",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#)),
    },
    Attack {
        name: "comment",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,/* hi */"method":"ping"}"#)),
    },
    Attack {
        name: "single-quotes",
        steps: || then(line("{'jsonrpc':'2.0'}")),
    },
    Attack {
        name: "nan",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#)),
    },
    Attack {
        name: "leading-zero",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#)),
    },
    Attack {
        name: "plus-sign",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":+1,"method":"ping"}"#)),
    },
    Attack {
        name: "unclosed",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":"ping""#)),
    },
    Attack {
        name: "closed-twice",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}}"#)),
    },
    Attack {
        name: "two-on-a-line",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}"#,
            ))
        },
    },
    Attack {
        name: "carriage-returns",
        steps: || {
            then(Bytes(
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n".to_vec(),
            ))
        },
    },
    Attack {
        name: "slowly",
        steps: || {
            then(Slowly(
                b"{\"jsonrpc\":\"2.0\",\"id\":\"slow\",\"method\":\"ping\"}\n".to_vec(),
            ))
        },
    },
    Attack {
        name: "garbage-flood",
        steps: || then(Flood(b"xyz\n".to_vec(), 2000)),
    },
    // Too much.
    Attack {
        name: "line-of-100-mib",
        steps: || vec![Handshake, Flood(vec![b'x'; 1 << 20], 100), line("")],
    },
    Attack {
        name: "argument-of-100-mib",
        steps: || {
            vec![
        Handshake,
        Bytes(br#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"echo","arguments":{"message":""#.to_vec()),
        Flood(vec![b'x'; 1 << 20], 100),
        line(br#""}}}"#),
    ]
        },
    },
    Attack {
        name: "request-over-its-bound",
        steps: || then(echo(1, &"x".repeat(5 << 20))),
    },
    Attack {
        name: "deep-arrays",
        steps: || then(line("[".repeat(200_000))),
    },
    Attack {
        name: "deep-objects",
        steps: || then(line("{\"a\":".repeat(200_000))),
    },
    Attack {
        name: "deep-arguments",
        steps: || then(line(nested(10_000))),
    },
    Attack {
        name: "many-nodes",
        steps: || {
            then(line(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":[{}0]}}}}}}"#,
                "0,".repeat(200_000)
            )))
        },
    },
    Attack {
        name: "many-keys",
        steps: || {
            let keys: Vec<String> = (0..20_000).map(|key| format!("\"{key}\":0")).collect();
            then(line(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{{}}}}}}}"#,
                keys.join(",")
            )))
        },
    },
    Attack {
        name: "many-escapes",
        steps: || {
            then(line(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
                r"\u0041".repeat(200_000)
            )))
        },
    },
    Attack {
        name: "long-id",
        steps: || then(request("i".repeat(5000), "ping", Value::Null)),
    },
    Attack {
        name: "long-method",
        steps: || then(request(1, &"m".repeat(100_000), Value::Null)),
    },
    Attack {
        name: "long-tool-name",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "n".repeat(100_000)}),
            ))
        },
    },
    Attack {
        name: "thousand-pings",
        steps: || {
            vec![
                Handshake,
                Deaf,
                Flood(
                    b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n".to_vec(),
                    1000,
                ),
            ]
        },
    },
    Attack {
        name: "calls-over-the-rate",
        steps: || {
            let mut steps = vec![Handshake];
            steps.extend((0..40).map(|id| echo(id, "hi")));
            steps
        },
    },
    Attack {
        name: "calls-over-the-number",
        steps: || {
            let mut steps = vec![Handshake];
            steps
                .extend((0..12).map(|id| {
                    request(id, "tools/call", json!({"name": "waits", "arguments": {}}))
                }));
            steps
        },
    },
    Attack {
        name: "subscriptions-over-the-number",
        steps: || {
            let mut steps = vec![Handshake];
            steps.extend((0..12).map(|id| {
                request(
                    id,
                    "resources/subscribe",
                    json!({"uri": format!("demo://note/{id}")}),
                )
            }));
            steps
        },
    },
    Attack {
        name: "notification-flood",
        steps: || {
            then(Flood(
                b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}\n".to_vec(),
                20_000,
            ))
        },
    },
    // The same key, the same id.
    Attack {
        name: "two-ids",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#)),
    },
    Attack {
        name: "two-methods",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
            ))
        },
    },
    Attack {
        name: "two-names",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"waits"}}"#,
            ))
        },
    },
    Attack {
        name: "key-in-disguise",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/list"}"#,
            ))
        },
    },
    Attack {
        name: "escaped-keys",
        steps: || {
            then(line(
                r#"{"\u006asonrpc":"2.0","\u0069d":"escaped","method":"pi\u006eg"}"#,
            ))
        },
    },
    Attack {
        name: "id-in-flight",
        steps: || {
            vec![
                Handshake,
                request(5, "tools/call", json!({"name": "waits", "arguments": {}})),
                echo(5, "again"),
            ]
        },
    },
    // Ids of the wrong type.
    Attack {
        name: "id-null",
        steps: || then(request(Value::Null, "ping", Value::Null)),
    },
    Attack {
        name: "id-float",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#)),
    },
    Attack {
        name: "id-bool",
        steps: || then(request(true, "ping", Value::Null)),
    },
    Attack {
        name: "id-object",
        steps: || then(request(json!({"a": 1}), "ping", Value::Null)),
    },
    Attack {
        name: "id-array",
        steps: || then(request(json!([1]), "ping", Value::Null)),
    },
    Attack {
        name: "id-beyond-64-bits",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#,
            ))
        },
    },
    Attack {
        name: "id-empty",
        steps: || then(request("", "ping", Value::Null)),
    },
    Attack {
        name: "id-negative",
        steps: || then(request(-7, "ping", Value::Null)),
    },
    // Envelopes.
    Attack {
        name: "no-jsonrpc",
        steps: || then(line(r#"{"id":1,"method":"ping"}"#)),
    },
    Attack {
        name: "jsonrpc-1",
        steps: || then(line(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#)),
    },
    Attack {
        name: "jsonrpc-number",
        steps: || then(line(r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#)),
    },
    Attack {
        name: "no-method",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1}"#)),
    },
    Attack {
        name: "method-number",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":1,"method":5}"#)),
    },
    Attack {
        name: "method-empty",
        steps: || then(request(1, "", Value::Null)),
    },
    Attack {
        name: "method-unknown",
        steps: || then(request(1, "tools/destroy", Value::Null)),
    },
    Attack {
        name: "method-of-a-client",
        steps: || {
            then(request(
                1,
                "sampling/createMessage",
                json!({"messages": [], "maxTokens": 1}),
            ))
        },
    },
    Attack {
        name: "params-array",
        steps: || then(request(1, "tools/list", json!([]))),
    },
    Attack {
        name: "params-string",
        steps: || then(request(1, "tools/list", json!("all"))),
    },
    Attack {
        name: "notification-with-array",
        steps: || then(notification("notifications/cancelled", json!([]))),
    },
    // Answers to nobody.
    Attack {
        name: "answer-to-nobody",
        steps: || then(line(r#"{"jsonrpc":"2.0","id":999,"result":{}}"#)),
    },
    Attack {
        name: "answer-with-both",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}"#,
            ))
        },
    },
    Attack {
        name: "answer-with-method",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":"am","method":"ping","result":{}}"#,
            ))
        },
    },
    Attack {
        name: "answer-flood",
        steps: || {
            then(Flood(
                b"{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n".to_vec(),
                5000,
            ))
        },
    },
    // The beginning.
    Attack {
        name: "nothing-at-all",
        steps: || vec![HangUp],
    },
    Attack {
        name: "list-before-initialize",
        steps: || vec![request(1, "tools/list", Value::Null)],
    },
    Attack {
        name: "call-before-initialize",
        steps: || vec![echo(1, "early")],
    },
    Attack {
        name: "call-before-initialized",
        steps: || vec![initialize("i", |_| {}), echo("too early", "early")],
    },
    Attack {
        name: "ping-before-initialize",
        steps: || vec![request("first", "ping", Value::Null)],
    },
    Attack {
        name: "initialized-before-initialize",
        steps: || {
            vec![
                notification("notifications/initialized", json!({})),
                request(1, "prompts/list", Value::Null),
            ]
        },
    },
    Attack {
        name: "two-initialize",
        steps: || then(initialize(1, |_| {})),
    },
    Attack {
        name: "two-initialize-at-once",
        steps: || vec![initialize("one", |_| {}), initialize("two", |_| {})],
    },
    Attack {
        name: "cancel-of-initialize",
        steps: || {
            vec![
                initialize("init", |_| {}),
                notification("notifications/cancelled", json!({"requestId": "init"})),
                notification("notifications/initialized", json!({})),
                request("after", "prompts/list", json!({"cursor": "x"})),
            ]
        },
    },
    Attack {
        name: "initialize-without-params",
        steps: || vec![request(1, "initialize", Value::Null)],
    },
    Attack {
        name: "initialize-without-version",
        steps: || {
            vec![initialize(1, |params| {
                params
                    .as_object_mut()
                    .map(|params| params.remove("protocolVersion"));
            })]
        },
    },
    Attack {
        name: "initialize-version-number",
        steps: || {
            vec![initialize(1, |params| {
                params["protocolVersion"] = json!(20_241_105)
            })]
        },
    },
    Attack {
        name: "initialize-without-client",
        steps: || {
            vec![initialize(1, |params| {
                params
                    .as_object_mut()
                    .map(|params| params.remove("clientInfo"));
            })]
        },
    },
    Attack {
        name: "initialize-capabilities-array",
        steps: || vec![initialize(1, |params| params["capabilities"] = json!([]))],
    },
    Attack {
        name: "initialize-unknown-version",
        steps: || {
            vec![initialize(1, |params| {
                params["protocolVersion"] = json!("2099-01-01")
            })]
        },
    },
    Attack {
        name: "hang-up-after-initialize",
        steps: || vec![initialize(1, |_| {}), HangUp],
    },
    // Tools.
    Attack {
        name: "tool-unknown",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "no-such-tool", "arguments": {}}),
            ))
        },
    },
    Attack {
        name: "tool-without-name",
        steps: || then(request(1, "tools/call", json!({"arguments": {}}))),
    },
    Attack {
        name: "tool-name-number",
        steps: || then(request(1, "tools/call", json!({"name": 7}))),
    },
    Attack {
        name: "tool-without-params",
        steps: || then(request(1, "tools/call", Value::Null)),
    },
    Attack {
        name: "arguments-array",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "echo", "arguments": ["hi"]}),
            ))
        },
    },
    Attack {
        name: "arguments-missing",
        steps: || then(request(1, "tools/call", json!({"name": "echo"}))),
    },
    Attack {
        name: "arguments-of-wrong-type",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "echo", "arguments": {"message": {"$ref": "#"}}}),
            ))
        },
    },
    Attack {
        name: "argument-beyond-64-bits",
        steps: || {
            then(line(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1e999,"b":1}}}"#,
            ))
        },
    },
    Attack {
        name: "tool-that-panics",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "panics", "arguments": {}}),
            ))
        },
    },
    Attack {
        name: "hang-up-during-a-call",
        steps: || {
            vec![
                Handshake,
                request(1, "tools/call", json!({"name": "waits", "arguments": {}})),
                HangUp,
            ]
        },
    },
    // Lists.
    Attack {
        name: "cursor-made-up",
        steps: || then(request(1, "tools/list", json!({"cursor": "made up"}))),
    },
    Attack {
        name: "cursor-number",
        steps: || then(request(1, "tools/list", json!({"cursor": 5}))),
    },
    Attack {
        name: "cursor-of-another-list",
        steps: || then(request("r", "resources/list", json!({"cursor": "t1"}))),
    },
    Attack {
        name: "cursor-long",
        steps: || {
            then(request(
                "long",
                "tools/list",
                json!({"cursor": "c".repeat(100_000)}),
            ))
        },
    },
    // Resources.
    Attack {
        name: "read-without-uri",
        steps: || then(request(1, "resources/read", json!({}))),
    },
    Attack {
        name: "read-unknown",
        steps: || {
            then(request(
                1,
                "resources/read",
                json!({"uri": "demo://nothing"}),
            ))
        },
    },
    Attack {
        name: "read-no-uri",
        steps: || then(request(1, "resources/read", json!({"uri": "no uri"}))),
    },
    Attack {
        name: "read-uri-number",
        steps: || then(request("n", "resources/read", json!({"uri": 5}))),
    },
    Attack {
        name: "read-uri-with-nul",
        steps: || {
            then(request(
                1,
                "resources/read",
                json!({"uri": "demo://a\u{0}b"}),
            ))
        },
    },
    Attack {
        name: "read-uri-long",
        steps: || {
            then(request(
                1,
                "resources/read",
                json!({"uri": format!("demo://{}", "u".repeat(100_000))}),
            ))
        },
    },
    Attack {
        name: "subscribe-unknown",
        steps: || {
            then(request(
                "s",
                "resources/subscribe",
                json!({"uri": "demo://nothing"}),
            ))
        },
    },
    Attack {
        name: "subscribe-without-uri",
        steps: || then(request("w", "resources/subscribe", json!({}))),
    },
    Attack {
        name: "unsubscribe-unknown",
        steps: || {
            then(request(
                "u",
                "resources/unsubscribe",
                json!({"uri": "demo://note/1"}),
            ))
        },
    },
    // Prompts, completion, logging.
    Attack {
        name: "prompt-unknown",
        steps: || then(request(1, "prompts/get", json!({"name": "no-such-prompt"}))),
    },
    Attack {
        name: "prompt-without-arguments",
        steps: || then(request(1, "prompts/get", json!({"name": "greet"}))),
    },
    Attack {
        name: "prompt-arguments-numbers",
        steps: || {
            then(request(
                1,
                "prompts/get",
                json!({"name": "greet", "arguments": {"who": 5}}),
            ))
        },
    },
    Attack {
        name: "complete-unknown-reference",
        steps: || {
            then(request(
                1,
                "completion/complete",
                json!({"ref": {"type": "ref/else"}, "argument": {"name": "who", "value": ""}}),
            ))
        },
    },
    Attack {
        name: "complete-unknown-prompt",
        steps: || {
            then(request(
                1,
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "no"}, "argument": {"name": "who", "value": ""}}),
            ))
        },
    },
    Attack {
        name: "complete-without-argument",
        steps: || {
            then(request(
                1,
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "greet"}}),
            ))
        },
    },
    Attack {
        name: "level-unknown",
        steps: || then(request(1, "logging/setLevel", json!({"level": "loud"}))),
    },
    Attack {
        name: "level-missing",
        steps: || then(request(1, "logging/setLevel", json!({}))),
    },
    // Cancellation and progress.
    Attack {
        name: "cancel-nobody",
        steps: || {
            then(notification(
                "notifications/cancelled",
                json!({"requestId": 12345}),
            ))
        },
    },
    Attack {
        name: "cancel-without-id",
        steps: || {
            then(notification(
                "notifications/cancelled",
                json!({"reason": "because"}),
            ))
        },
    },
    Attack {
        name: "cancel-twice",
        steps: || {
            vec![
                Handshake,
                request(8, "tools/call", json!({"name": "waits", "arguments": {}})),
                notification("notifications/cancelled", json!({"requestId": 8})),
                notification("notifications/cancelled", json!({"requestId": 8})),
                echo(9, "after"),
            ]
        },
    },
    Attack {
        name: "cancel-after-the-answer",
        steps: || {
            vec![
                Handshake,
                echo("done", "x"),
                notification("notifications/cancelled", json!({"requestId": "done"})),
            ]
        },
    },
    Attack {
        name: "progress-for-nobody",
        steps: || {
            then(notification(
                "notifications/progress",
                json!({"progressToken": 1, "progress": 1}),
            ))
        },
    },
    Attack {
        name: "progress-token-object",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "echo", "arguments": {"message": "x"}, "_meta": {"progressToken": {}}}),
            ))
        },
    },
    Attack {
        name: "progress-token-long",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "echo", "arguments": {"message": "x"}, "_meta": {"progressToken": "t".repeat(5000)}}),
            ))
        },
    },
    Attack {
        name: "meta-array",
        steps: || {
            then(request(
                1,
                "tools/call",
                json!({"name": "echo", "arguments": {"message": "x"}, "_meta": []}),
            ))
        },
    },
    Attack {
        name: "never-reads",
        steps: || vec![Handshake, Deaf, Flood(line_of_big_echo(), 200)],
    },
];

fn line_of_big_echo() -> Vec<u8> {
    match echo("big", &"y".repeat(100_000)) {
        Bytes(bytes) => bytes,
        _ => Vec::new(),
    }
}

/// Plays an attack on a server and tells what came back, in one text: every message, in order,
/// and whether the connection is `alive`, `silent` or `ended` afterwards.
pub async fn play(attack: &Attack, stream: impl AsyncRead + AsyncWrite) -> String {
    let (reader, mut writer) = tokio::io::split(stream);
    let steps = (attack.steps)();
    let deaf = steps.iter().any(|step| matches!(step, Deaf));
    let all_sent = Notify::new();
    let sending = async {
        let hangs_up = steps.iter().any(|step| matches!(step, HangUp));
        let ping = (!hangs_up).then(|| Bytes(LAST_PING.to_vec()));
        for step in steps.into_iter().chain(ping) {
            // A server that hangs up in the middle shows in what it says last.
            let _ = send(&mut writer, step).await;
        }
        all_sent.notify_one();
    };
    let listening = async {
        if deaf {
            // As long as the server takes what is sent; one that waits to be heard is heard.
            let _ = tokio::time::timeout(Duration::from_millis(500), all_sent.notified()).await;
        }
        listen(reader).await
    };
    let ((), heard) = tokio::join!(sending, listening);
    heard
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), step: Step) -> std::io::Result<()> {
    match step {
        Handshake => {
            for step in [
                initialize("init", |_| {}),
                notification("notifications/initialized", json!({})),
            ] {
                if let Bytes(bytes) = step {
                    writer.write_all(&bytes).await?;
                }
            }
        }
        Bytes(bytes) => writer.write_all(&bytes).await?,
        Flood(piece, times) => {
            for _ in 0..times {
                writer.write_all(&piece).await?;
            }
        }
        Slowly(bytes) => {
            for byte in bytes {
                writer.write_all(&[byte]).await?;
                writer.flush().await?;
                tokio::task::yield_now().await;
            }
        }
        Deaf => {}
        HangUp => writer.shutdown().await?,
    }
    writer.flush().await
}

async fn listen(reader: impl AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(reader).lines();
    let mut heard: Vec<(String, usize)> = Vec::new();
    loop {
        let said = match tokio::time::timeout(SILENCE, lines.next_line()).await {
            Err(_) => "silent".to_owned(),
            Ok(Ok(Some(line))) => describe(&line),
            Ok(_) => "ended".to_owned(),
        };
        if said.is_empty() {
            continue;
        }
        let over = ["silent", "ended", "alive"].contains(&said.as_str());
        match heard.last_mut() {
            Some((last, times)) if *last == said => *times += 1,
            _ => heard.push((said, 1)),
        }
        if over {
            break;
        }
    }
    let heard: Vec<String> = heard
        .into_iter()
        .map(|(said, times)| match times {
            1 => said,
            _ => format!("{said} ×{times}"),
        })
        .collect();
    heard.join("; ")
}

/// A message in short; nothing for the answer to our own handshake.
fn describe(line: &str) -> String {
    let Ok(message) = serde_json::from_str::<Value>(line) else {
        return format!("no JSON: {}", cut(line));
    };
    let id = &message["id"];
    if id == "alive" {
        return "alive".to_owned();
    }
    if id == "init" && message["result"]["serverInfo"].is_object() {
        return String::new();
    }
    if let Some(method) = message["method"].as_str() {
        return format!("{method} {}", cut(&message["params"].to_string()));
    }
    match message.get("error") {
        Some(error) => cut(&format!(
            "error {id} {} {}{}",
            error["code"],
            error["message"].as_str().unwrap_or("?"),
            error
                .get("data")
                .map(|data| format!(" {data}"))
                .unwrap_or_default(),
        )),
        None => cut(&format!("result {id} {}", message["result"])),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
