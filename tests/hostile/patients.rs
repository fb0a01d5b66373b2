//! Servers that work but for one thing, each with the requirement that it breaks: what
//! `compere doctor` must find. Started as `compere-hostile serve patient:CASE`.

use serde_json::{Value, json};

use crate::stage::{
    Play, answer, asked, before, hello, hello_with, ignore, introduce, line, method, refuse,
    without,
};

/// Faults for `compere doctor` to find: servers that work, but for one thing. With the requirement
/// that each breaks.
pub const PATIENTS: &[(&str, &str, Play)] = &[
    ("banner-on-stdout", "A-STDIO-08", |stage, message| {
        if message.is_none() {
            stage.raw(b"Server ready\n");
        }
        false
    }),
    ("no-server-version", "A-LIFE-03", |stage, message| {
        introduce(
            stage,
            message,
            hello_with(|hello| hello["serverInfo"] = json!({"name": "x"})),
        )
    }),
    ("echoes-any-version", "A-LIFE-10", |stage, message| {
        let asked = message.map(|message| message["params"]["protocolVersion"].clone());
        introduce(
            stage,
            message,
            hello_with(|hello| hello["protocolVersion"] = asked.unwrap_or_default()),
        )
    }),
    ("ping-says-pong", "A-PING-01", |stage, message| {
        answer(stage, message, "ping", json!({"pong": true}))
    }),
    ("ping-unanswered", "A-PING-01", |_, message| {
        ignore(message, "ping")
    }),
    ("tools-undeclared", "A-TOOL-05", |stage, message| {
        introduce(
            stage,
            message,
            hello_with(|hello| hello["capabilities"] = json!({})),
        )
    }),
    ("tool-without-schema", "schema Tool", |stage, message| {
        answer(
            stage,
            message,
            "tools/list",
            json!({"tools": [{"name": "x"}]}),
        )
    }),
    ("cursors-in-a-circle", "A-PAGE-03", |stage, message| {
        answer(
            stage,
            message,
            "tools/list",
            json!({"tools": [], "nextCursor": "again"}),
        )
    }),
    ("unknown-tool-works", "A-TOOL-09", |_, _| false),
    ("both-result-and-error", "A-BASE-13", |stage, message| {
        line(stage, message, "prompts/list", br#"{"jsonrpc":"2.0","id":ID,"result":{"prompts":[]},"error":{"code":1,"message":"m"}}"#)
    }),
    ("error-code-text", "A-BASE-14", |stage, message| {
        refuse(
            stage,
            message,
            "prompts/get",
            json!({"code": "E", "message": "m"}),
        )
    }),
    ("error-without-message", "A-BASE-04", |stage, message| {
        refuse(stage, message, "prompts/get", json!({"code": -32602}))
    }),
    ("id-turned-to-text", "A-BASE-11", |stage, message| {
        line(
            stage,
            message,
            "prompts/list",
            br#"{"jsonrpc":"2.0","id":"ID","result":{"prompts":[]}}"#,
        )
    }),
    ("answers-twice", "A-BASE-01", |stage, message| {
        match asked(message, "tools/list") {
            Some(request) => {
                stage.result(request, json!({"tools": []}));
                stage.result(request, json!({"tools": []}));
                true
            }
            None => false,
        }
    }),
    ("logs-undeclared", "A-LOG-01", |stage, message| {
        if asked(message, "tools/list").is_some() {
            stage.notify(
                "notifications/message",
                json!({"level": "info", "data": "listing"}),
            );
        }
        introduce(
            stage,
            message,
            hello_with(|hello| {
                hello["capabilities"] = without(hello["capabilities"].clone(), "logging")
            }),
        )
    }),
    ("progress-without-token", "A-PROG-06", |stage, message| {
        before(stage, message, "tools/list", |stage, _| {
            stage.notify(
                "notifications/progress",
                json!({"progressToken": 0, "progress": 1}),
            )
        })
    }),
    ("asks-too-early", "A-LIFE-06", |stage, message| {
        if let Some(request) = asked(message, "initialize") {
            stage.result(request, hello());
            stage.ask(json!("early"), "roots/list");
            return true;
        }
        false
    }),
    ("updates-unasked", "A-RES-04", |stage, message| {
        before(stage, message, "resources/list", |stage, _| {
            stage.notify(
                "notifications/resources/updated",
                json!({"uri": "demo://other"}),
            )
        })
    }),
    ("null-id", "A-BASE-09", |stage, message| {
        before(stage, message, "tools/list", |stage, _| {
            stage.ask(Value::Null, "ping")
        })
    }),
    ("same-id-twice", "A-BASE-10", |stage, message| {
        before(stage, message, "tools/list", |stage, _| {
            stage.ask(json!(1), "ping");
            stage.ask(json!(1), "ping");
        })
    }),
    (
        "dies-of-the-unknown",
        "A-CANC-15",
        |_, message| match method(message) {
            "notifications/compere-made-this-up" => std::process::exit(1),
            _ => false,
        },
    ),
    ("blob-of-nonsense", "A-RES-16", |stage, message| {
        answer(
            stage,
            message,
            "resources/list",
            json!({"resources": [{"uri": "demo://x", "name": "x"}]}),
        ) || match asked(message, "resources/read") {
            Some(read) if read["params"]["uri"] == "demo://x" => {
                stage.result(
                    read,
                    json!({"contents": [{"uri": "demo://x", "blob": "not base64!"}]}),
                );
                true
            }
            _ => false,
        }
    }),
    // The program itself goes on after the end of its input.
    ("lives-without-input", "A-LIFE-19", |_, _| false),
];
