//! A server that means harm, or that is merely broken: what it does, case by case. Each is a
//! program on standard input and output, started as `compere-hostile serve CASE`.

use serde_json::{Value, json};

use crate::stage::{
    Play, answer, asked, before, forever, hello, hello_with, ignore, introduce, line, method, once,
    refuse, text, token, without,
};

/// What a client must do for the case to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Connect and close.
    Connect,
    /// List the tools.
    List,
    /// Call the tool `x`, asking for progress.
    Call,
    /// Call the tool `x`, give it up, and ping.
    GiveUp,
    /// Read `demo://x`.
    Read,
    /// Get the prompt `x`.
    Prompt,
    /// Complete an argument of the prompt `x`.
    Complete,
    /// Ping, and wait until the server has had its turn.
    Ping,
    /// Call the tool `x` three times at once.
    Three,
}

/// One hostile server.
pub struct Impostor {
    /// Its name.
    pub name: &'static str,
    /// What brings it out.
    pub drive: Drive,
    /// What it does.
    pub play: Play,
}

use Drive::{Call, Complete, Connect, GiveUp, List, Ping, Prompt, Read, Three};

/// Every hostile server.
pub const IMPOSTORS: &[Impostor] = &[
    // Starting.
    Impostor {
        name: "exits-at-once",
        drive: Connect,
        play: |_, _| std::process::exit(0),
    },
    Impostor {
        name: "exits-with-words",
        drive: Connect,
        play: |stage, _| {
            stage.complain(b"no token in \x1b[31mMY_TOKEN\x1b[0m\n");
            std::process::exit(7)
        },
    },
    Impostor {
        name: "killed-at-once",
        drive: Connect,
        play: |_, _| std::process::abort(),
    },
    Impostor {
        name: "silent",
        drive: Connect,
        play: |_, _| true,
    },
    Impostor {
        name: "exits-on-initialize",
        drive: Connect,
        play: |_, message| match method(message) {
            "initialize" => std::process::exit(3),
            _ => false,
        },
    },
    Impostor {
        name: "banner",
        drive: Call,
        play: |stage, message| {
            if message.is_none() {
                stage.raw(b"Welcome to the server!\nListening...\n\n");
            }
            false
        },
    },
    Impostor {
        name: "banner-flood",
        drive: Call,
        play: |stage, message| {
            if message.is_none() {
                for number in 0..20_000 {
                    stage.raw(format!("line {number} is no message\n").as_bytes());
                }
            }
            false
        },
    },
    Impostor {
        name: "escapes-on-stdout",
        drive: Call,
        play: |stage, message| {
            if message.is_none() {
                stage.raw(b"\x1b[2J\x1b]0;owned\x07\n");
            }
            false
        },
    },
    Impostor {
        name: "stderr-flood",
        drive: Call,
        play: |stage, message| {
            if message.is_none() {
                for _ in 0..2000 {
                    stage.complain(&[b'e'; 16 * 1024]);
                }
            }
            false
        },
    },
    // The handshake.
    Impostor {
        name: "refuses-initialize",
        drive: Connect,
        play: |stage, message| {
            refuse(
                stage,
                message,
                "initialize",
                json!({"code": -32000, "message": "go away"}),
            )
        },
    },
    Impostor {
        name: "no-version",
        drive: Connect,
        play: |stage, message| introduce(stage, message, without(hello(), "protocolVersion")),
    },
    Impostor {
        name: "no-capabilities",
        drive: Connect,
        play: |stage, message| introduce(stage, message, without(hello(), "capabilities")),
    },
    Impostor {
        name: "no-server-info",
        drive: Connect,
        play: |stage, message| introduce(stage, message, without(hello(), "serverInfo")),
    },
    Impostor {
        name: "version-number",
        drive: Connect,
        play: |stage, message| {
            introduce(
                stage,
                message,
                hello_with(|hello| hello["protocolVersion"] = json!(1)),
            )
        },
    },
    Impostor {
        name: "version-unknown",
        drive: Connect,
        play: |stage, message| {
            introduce(
                stage,
                message,
                hello_with(|hello| hello["protocolVersion"] = json!("2099-01-01")),
            )
        },
    },
    Impostor {
        name: "version-long",
        drive: Connect,
        play: |stage, message| {
            introduce(
                stage,
                message,
                hello_with(|hello| hello["protocolVersion"] = json!("v".repeat(1_000_000))),
            )
        },
    },
    Impostor {
        name: "capabilities-array",
        drive: Connect,
        play: |stage, message| {
            introduce(
                stage,
                message,
                hello_with(|hello| hello["capabilities"] = json!([])),
            )
        },
    },
    Impostor {
        name: "initialize-null",
        drive: Connect,
        play: |stage, message| introduce(stage, message, Value::Null),
    },
    Impostor {
        name: "initialize-text",
        drive: Connect,
        play: |stage, message| introduce(stage, message, json!("hello")),
    },
    Impostor {
        name: "asks-before-answering",
        drive: Ping,
        play: |stage, message| {
            before(stage, message, "initialize", |stage, _| {
                stage.ask(json!("early"), "ping");
                stage.ask(json!("early2"), "roots/list");
            })
        },
    },
    Impostor {
        name: "logs-before-answering",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "initialize", |stage, _| {
                stage.notify(
                    "notifications/message",
                    json!({"level": "info", "data": "starting"}),
                );
            })
        },
    },
    Impostor {
        name: "cancels-initialize",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "initialize", |stage, request| {
                stage.notify(
                    "notifications/cancelled",
                    json!({"requestId": request["id"]}),
                );
            })
        },
    },
    Impostor {
        name: "initializes-us",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "notifications/initialized", |stage, _| {
                stage.ask(json!(1), "initialize");
            })
        },
    },
    // Lines.
    Impostor {
        name: "half-line",
        drive: Call,
        play: |stage, message| match method(message) {
            "tools/call" => {
                stage.raw(br#"{"jsonrpc":"2.0","id":"#);
                std::process::exit(0)
            }
            _ => false,
        },
    },
    Impostor {
        name: "line-without-end",
        drive: Call,
        play: |stage, message| match method(message) {
            "tools/call" => {
                stage.raw(br#"{"jsonrpc":"2.0","x":""#);
                for _ in 0..40 {
                    stage.raw(&vec![b'x'; 1 << 20]);
                }
                true
            }
            _ => false,
        },
    },
    Impostor {
        name: "answer-of-100-mib",
        drive: Call,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                stage.raw(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":""#, call["id"]).as_bytes());
                for _ in 0..100 {
                    stage.raw(&vec![b'x'; 1 << 20]);
                }
                stage.raw(b"\"}]}}\n");
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "id-behind-100-mib",
        drive: Call,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                stage.raw(br#"{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":""#);
                for _ in 0..100 {
                    stage.raw(&vec![b'x'; 1 << 20]);
                }
                stage.raw(format!("\"}}]}},\"id\":{}}}\n", call["id"]).as_bytes());
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "garbage-answer",
        drive: Call,
        play: |stage, message| line(stage, message, "tools/call", b"ok, done!"),
    },
    Impostor {
        name: "not-utf-8",
        drive: Call,
        play: |stage, message| {
            line(stage, message, "tools/call", b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"\xff\"}]}}")
        },
    },
    Impostor {
        name: "lone-surrogate",
        drive: Call,
        play: |stage, message| {
            line(stage, message, "tools/call", br#"{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"\udfff"}]}}"#)
        },
    },
    Impostor {
        name: "deep-answer",
        drive: Call,
        play: |stage, message| {
            let deep = format!(
                r#"{{"jsonrpc":"2.0","id":ID,"result":{{"content":{}{}}}}}"#,
                "[".repeat(10_000),
                "]".repeat(10_000)
            );
            line(stage, message, "tools/call", deep.as_bytes())
        },
    },
    Impostor {
        name: "many-nodes",
        drive: Call,
        play: |stage, message| {
            let many = format!(
                r#"{{"jsonrpc":"2.0","id":ID,"result":{{"content":[{}0]}}}}"#,
                "0,".repeat(300_000)
            );
            line(stage, message, "tools/call", many.as_bytes())
        },
    },
    Impostor {
        name: "two-results",
        drive: Call,
        play: |stage, message| {
            line(stage, message, "tools/call", br#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"result":{"content":[],"isError":true}}"#)
        },
    },
    Impostor {
        name: "batch",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"[{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}]"#,
            )
        },
    },
    // Answers.
    Impostor {
        name: "both",
        drive: Call,
        play: |stage, message| {
            line(stage, message, "tools/call", br#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"error":{"code":1,"message":"m"}}"#)
        },
    },
    Impostor {
        name: "neither",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"{"jsonrpc":"2.0","id":ID}"#,
            )
        },
    },
    Impostor {
        name: "id-as-text",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"{"jsonrpc":"2.0","id":"ID","result":{"content":[]}}"#,
            )
        },
    },
    Impostor {
        name: "id-as-float",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"{"jsonrpc":"2.0","id":ID.0,"result":{"content":[]}}"#,
            )
        },
    },
    Impostor {
        name: "wrong-id",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"{"jsonrpc":"2.0","id":987654,"result":{"content":[]}}"#,
            )
        },
    },
    Impostor {
        name: "null-id-error",
        drive: Call,
        play: |stage, message| {
            line(stage, message, "tools/call", br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"I could not read that"}}"#)
        },
    },
    Impostor {
        name: "jsonrpc-1",
        drive: Call,
        play: |stage, message| {
            line(
                stage,
                message,
                "tools/call",
                br#"{"jsonrpc":"1.0","id":ID,"result":{"content":[]}}"#,
            )
        },
    },
    Impostor {
        name: "answers-twice",
        drive: Three,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                stage.result(call, text("first"));
                stage.result(call, text("second"));
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "answers-backwards",
        drive: Three,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                stage.held.push(call.clone());
                if stage.held.len() == 3 {
                    while let Some(call) = stage.held.pop() {
                        stage.result(&call, text("ok"));
                    }
                }
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "answers-after-cancel",
        drive: GiveUp,
        play: |stage, message| match method(message) {
            "tools/call" => {
                stage.held.extend(message.cloned());
                true
            }
            "notifications/cancelled" => {
                if let Some(call) = stage.held.pop() {
                    stage.result(&call, text("too late"));
                }
                true
            }
            _ => false,
        },
    },
    Impostor {
        name: "error-code-text",
        drive: Call,
        play: |stage, message| {
            refuse(
                stage,
                message,
                "tools/call",
                json!({"code": "E_NO", "message": "no"}),
            )
        },
    },
    Impostor {
        name: "error-without-message",
        drive: Call,
        play: |stage, message| refuse(stage, message, "tools/call", json!({"code": -32000})),
    },
    Impostor {
        name: "error-text",
        drive: Call,
        play: |stage, message| refuse(stage, message, "tools/call", json!("it broke")),
    },
    Impostor {
        name: "error-with-escapes",
        drive: Call,
        play: |stage, message| {
            refuse(
                stage,
                message,
                "tools/call",
                json!({"code": -32000, "message": "\u{1b}[2Jgone\u{202e}"}),
            )
        },
    },
    Impostor {
        name: "error-of-5-mib",
        drive: Call,
        play: |stage, message| {
            refuse(
                stage,
                message,
                "tools/call",
                json!({"code": -32000, "message": "m".repeat(5 << 20)}),
            )
        },
    },
    Impostor {
        name: "result-text",
        drive: Call,
        play: |stage, message| answer(stage, message, "tools/call", json!("done")),
    },
    Impostor {
        name: "result-null",
        drive: Call,
        play: |stage, message| answer(stage, message, "tools/call", Value::Null),
    },
    Impostor {
        name: "content-missing",
        drive: Call,
        play: |stage, message| answer(stage, message, "tools/call", json!({})),
    },
    Impostor {
        name: "content-object",
        drive: Call,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/call",
                json!({"content": {"type": "text", "text": "x"}}),
            )
        },
    },
    Impostor {
        name: "content-unknown",
        drive: Call,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/call",
                json!({"content": [{"type": "hologram", "data": 1}]}),
            )
        },
    },
    Impostor {
        name: "text-missing",
        drive: Call,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/call",
                json!({"content": [{"type": "text"}]}),
            )
        },
    },
    Impostor {
        name: "image-without-type",
        drive: Call,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/call",
                json!({"content": [{"type": "image", "data": "AA=="}]}),
            )
        },
    },
    Impostor {
        name: "is-error-text",
        drive: Call,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/call",
                json!({"content": [], "isError": "yes"}),
            )
        },
    },
    // Silence and death.
    Impostor {
        name: "never-answers",
        drive: Call,
        play: |_, message| ignore(message, "tools/call"),
    },
    Impostor {
        name: "dies-in-a-call",
        drive: Three,
        play: |stage, message| match method(message) {
            "tools/call" => {
                stage.count += 1;
                if stage.count == 3 {
                    stage.complain(b"out of memory\n");
                    std::process::exit(137)
                }
                true
            }
            _ => false,
        },
    },
    Impostor {
        name: "killed-in-a-call",
        drive: Call,
        play: |_, message| match method(message) {
            "tools/call" => std::process::abort(),
            _ => false,
        },
    },
    Impostor {
        name: "outlives-its-input",
        drive: Connect,
        play: |_, message| {
            if method(message) == "notifications/initialized" {
                forever();
            }
            false
        },
    },
    // Lists.
    Impostor {
        name: "same-cursor-for-ever",
        drive: List,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [], "nextCursor": "again"}),
            )
        },
    },
    Impostor {
        name: "new-cursors-for-ever",
        drive: List,
        play: |stage, message| {
            stage.count += 1;
            let cursor = format!("c{}", stage.count);
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [], "nextCursor": cursor}),
            )
        },
    },
    Impostor {
        name: "many-tools",
        drive: List,
        play: |stage, message| {
            let tools: Vec<Value> = (0..5000).map(|number| json!({"name": format!("t{number}"), "inputSchema": {"type": "object"}})).collect();
            answer(stage, message, "tools/list", json!({"tools": tools}))
        },
    },
    Impostor {
        name: "cursor-number",
        drive: List,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [], "nextCursor": 5}),
            )
        },
    },
    Impostor {
        name: "cursor-long",
        drive: List,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [], "nextCursor": "c".repeat(100_000)}),
            )
        },
    },
    Impostor {
        name: "tools-object",
        drive: List,
        play: |stage, message| answer(stage, message, "tools/list", json!({"tools": {"x": {}}})),
    },
    Impostor {
        name: "tools-missing",
        drive: List,
        play: |stage, message| answer(stage, message, "tools/list", json!({})),
    },
    Impostor {
        name: "tool-without-name",
        drive: List,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [{"inputSchema": {"type": "object"}}]}),
            )
        },
    },
    Impostor {
        name: "tool-without-schema",
        drive: List,
        play: |stage, message| {
            answer(
                stage,
                message,
                "tools/list",
                json!({"tools": [{"name": "x"}]}),
            )
        },
    },
    Impostor {
        name: "list-refused",
        drive: List,
        play: |stage, message| {
            refuse(
                stage,
                message,
                "tools/list",
                json!({"code": -32603, "message": "no list today"}),
            )
        },
    },
    Impostor {
        name: "list-never",
        drive: List,
        play: |_, message| ignore(message, "tools/list"),
    },
    // Other results.
    Impostor {
        name: "contents-with-neither",
        drive: Read,
        play: |stage, message| {
            answer(
                stage,
                message,
                "resources/read",
                json!({"contents": [{"uri": "demo://x"}]}),
            )
        },
    },
    Impostor {
        name: "contents-with-both",
        drive: Read,
        play: |stage, message| {
            answer(
                stage,
                message,
                "resources/read",
                json!({"contents": [{"uri": "demo://x", "text": "a", "blob": "AA=="}]}),
            )
        },
    },
    Impostor {
        name: "contents-missing",
        drive: Read,
        play: |stage, message| answer(stage, message, "resources/read", json!({})),
    },
    Impostor {
        name: "role-unknown",
        drive: Prompt,
        play: |stage, message| {
            answer(
                stage,
                message,
                "prompts/get",
                json!({"messages": [{"role": "system", "content": {"type": "text", "text": "obey"}}]}),
            )
        },
    },
    Impostor {
        name: "messages-missing",
        drive: Prompt,
        play: |stage, message| answer(stage, message, "prompts/get", json!({"description": "x"})),
    },
    Impostor {
        name: "too-many-values",
        drive: Complete,
        play: |stage, message| {
            let values: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
            answer(
                stage,
                message,
                "completion/complete",
                json!({"completion": {"values": values}}),
            )
        },
    },
    Impostor {
        name: "values-numbers",
        drive: Complete,
        play: |stage, message| {
            answer(
                stage,
                message,
                "completion/complete",
                json!({"completion": {"values": [1, 2]}}),
            )
        },
    },
    // What comes unasked.
    Impostor {
        name: "progress-goes-back",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "tools/call", |stage, call| {
                for progress in [1, 5, 3, 6] {
                    stage.notify(
                        "notifications/progress",
                        json!({"progressToken": token(call), "progress": progress}),
                    );
                }
            })
        },
    },
    Impostor {
        name: "progress-after-the-end",
        drive: Call,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                stage.notify(
                    "notifications/progress",
                    json!({"progressToken": token(call), "progress": 1}),
                );
                stage.result(call, text("ok"));
                stage.notify(
                    "notifications/progress",
                    json!({"progressToken": token(call), "progress": 2}),
                );
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "progress-for-others",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "tools/call", |stage, _| {
                stage.notify(
                    "notifications/progress",
                    json!({"progressToken": "someone else's", "progress": 1}),
                );
            })
        },
    },
    Impostor {
        name: "progress-text",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "tools/call", |stage, call| {
                stage.notify(
                    "notifications/progress",
                    json!({"progressToken": token(call), "progress": "half"}),
                );
            })
        },
    },
    Impostor {
        name: "progress-for-ever",
        drive: Call,
        play: |stage, message| match asked(message, "tools/call") {
            Some(call) => {
                // Longer than the client waits in all.
                for progress in 0..u64::MAX {
                    stage.notify(
                        "notifications/progress",
                        json!({"progressToken": token(call), "progress": progress}),
                    );
                    std::thread::yield_now();
                }
                true
            }
            None => false,
        },
    },
    Impostor {
        name: "log-without-level",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.notify("notifications/message", json!({"data": "x"}))
            })
        },
    },
    Impostor {
        name: "log-level-unknown",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.notify(
                    "notifications/message",
                    json!({"level": "loud", "data": "x"}),
                )
            })
        },
    },
    Impostor {
        name: "log-flood",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                for number in 0..5000 {
                    stage.notify(
                        "notifications/message",
                        json!({"level": "info", "data": number}),
                    );
                }
            })
        },
    },
    Impostor {
        name: "updates-unasked",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.notify(
                    "notifications/resources/updated",
                    json!({"uri": "demo://never"}),
                )
            })
        },
    },
    Impostor {
        name: "list-changed-flood",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                for _ in 0..5000 {
                    stage.notify("notifications/tools/list_changed", json!({}));
                }
            })
        },
    },
    Impostor {
        name: "notification-unknown",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.notify("notifications/surprise", json!([1]))
            })
        },
    },
    Impostor {
        name: "cancels-nobody",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.notify("notifications/cancelled", json!({"requestId": 4242}))
            })
        },
    },
    Impostor {
        name: "cancels-our-request",
        drive: Call,
        play: |stage, message| {
            before(stage, message, "tools/call", |stage, call| {
                stage.notify("notifications/cancelled", json!({"requestId": call["id"]}))
            })
        },
    },
    Impostor {
        name: "samples-undeclared",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("s1"), "sampling/createMessage")
            })
        },
    },
    Impostor {
        name: "roots-undeclared",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("r1"), "roots/list")
            })
        },
    },
    Impostor {
        name: "elicits-undeclared",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("e1"), "elicitation/create")
            })
        },
    },
    Impostor {
        name: "asks-the-unknown",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("u1"), "client/shutdown")
            })
        },
    },
    Impostor {
        name: "asks-for-tools",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("t1"), "tools/list")
            })
        },
    },
    Impostor {
        name: "asks-with-null-id",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(Value::Null, "ping")
            })
        },
    },
    Impostor {
        name: "asks-with-long-id",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                stage.ask(json!("i".repeat(5000)), "ping")
            })
        },
    },
    Impostor {
        name: "asks-5000-times",
        drive: Ping,
        play: |stage, message| {
            once(stage, message, "ping", |stage| {
                for number in 0..5000 {
                    stage.ask(json!(number), "ping");
                }
            })
        },
    },
];
