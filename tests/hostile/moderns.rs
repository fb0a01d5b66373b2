//! A server of 2026-07-28 alone, and ways in which it breaks one requirement of that revision: more
//! for `compere doctor` to find.

use serde_json::{Value, json};

use crate::stage::{Play, Stage, method};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The requirement that each breaks stands beside it, as with the other patients.
pub const MODERNS: &[(&str, &str, Play)] = &[
    ("modern-without-kind", "E-015", |stage, message| {
        but(stage, message, "tools/list", |reply| {
            remove(reply, "/result", "resultType")
        })
    }),
    ("modern-nameless", "E-070", |stage, message| {
        but(stage, message, "tools/list", |reply| {
            remove(reply, "/result", "_meta")
        })
    }),
    ("modern-without-hints", "E-371", |stage, message| {
        but(stage, message, "server/discover", |reply| {
            remove(reply, "/result", "ttlMs")
        })
    }),
    ("modern-unlisted", "E-083", |stage, message| {
        but(stage, message, "server/discover", |reply| {
            if reply["result"].is_object() {
                reply["result"]["supportedVersions"] = json!(["2027-01-01"]);
            }
        })
    }),
    ("modern-tools-undeclared", "E-327", |stage, message| {
        but(stage, message, "server/discover", |reply| {
            remove(reply, "/result/capabilities", "tools")
        })
    }),
    ("modern-shuffles", "E-333", |stage, message| {
        stage.count += 1;
        let turn = stage.count;
        but(stage, message, "tools/list", |reply| {
            if let Some(tools) = reply
                .pointer_mut("/result/tools")
                .and_then(Value::as_array_mut)
            {
                tools.rotate_left(turn % 2);
            }
        })
    }),
    ("modern-any-cursor", "E-437", |stage, message| {
        but(stage, message, "tools/list", |reply| {
            if reply["error"].is_object() {
                *reply = json!({"jsonrpc": "2.0", "id": reply["id"], "result": tools()});
            }
        })
    }),
    ("modern-old-code", "E-314", |stage, message| {
        but(stage, message, "resources/read", |reply| {
            reply["error"]["code"] = json!(-32002)
        })
    }),
    ("modern-bare", "E-064", |stage, message| {
        let bare =
            message.is_some_and(|message| message["params"]["_meta"][CAPABILITIES].is_null());
        but(stage, message, "server/discover", |reply| {
            if bare {
                *reply = json!({"jsonrpc": "2.0", "id": reply["id"], "result": discovered()});
            }
        })
    }),
    ("modern-any-version", "E-081", |stage, message| {
        but(stage, message, "server/discover", |reply| {
            if reply["error"]["code"] == -32022 {
                remove(reply, "/error/data", "supported");
            }
        })
    }),
    ("modern-pings", "E-149", |stage, message| {
        but(stage, message, "ping", |reply| {
            *reply = json!({"jsonrpc": "2.0", "id": reply["id"], "result": whole(json!({}))});
        })
    }),
];

/// Answers as a good server of this revision, but for one change to the answers to one method.
fn but(
    stage: &mut Stage,
    message: Option<&Value>,
    to: &str,
    change: impl FnOnce(&mut Value),
) -> bool {
    let Some(request) = message.filter(|message| message.get("id").is_some()) else {
        return true;
    };
    let mut reply = good(request);
    if method(message) == to {
        change(&mut reply);
    }
    stage.say(&reply);
    true
}

fn good(request: &Value) -> Value {
    let meta = &request["params"]["_meta"];
    let outcome = match (method(Some(request)), &meta[VERSION]) {
        ("initialize", _) => Err(json!({"code": -32601, "message": "no sessions here"})),
        (_, Value::Null) => Err(json!({"code": -32602, "message": "which version?"})),
        (_, version) if version != "2026-07-28" => Err(json!({
            "code": -32022,
            "message": "not this version",
            "data": {"requested": version, "supported": ["2026-07-28"]},
        })),
        _ if meta[CAPABILITIES].is_null() => {
            Err(json!({"code": -32602, "message": "which capabilities?"}))
        }
        ("server/discover", _) => Ok(discovered()),
        ("tools/list" | "resources/list" | "resources/templates/list", _)
            if !request["params"]["cursor"].is_null() =>
        {
            Err(json!({"code": -32602, "message": "no such cursor"}))
        }
        ("tools/list", _) => Ok(tools()),
        ("resources/list", _) => Ok(kept(json!({"resources": []}))),
        ("resources/templates/list", _) => Ok(kept(json!({"resourceTemplates": []}))),
        ("resources/read", _) => Err(json!({"code": -32602, "message": "no such resource"})),
        _ => Err(json!({"code": -32601, "message": "no such method"})),
    };
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": request["id"], "error": error}),
    }
}

fn whole(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    let server = json!({"name": "hostile", "version": "1"});
    result["_meta"] = json!({"io.modelcontextprotocol/serverInfo": server});
    result
}

fn kept(mut result: Value) -> Value {
    result["ttlMs"] = json!(0);
    result["cacheScope"] = json!("private");
    whole(result)
}

fn discovered() -> Value {
    kept(json!({
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}},
    }))
}

fn tools() -> Value {
    let schema = json!({"type": "object"});
    kept(json!({"tools": [
        {"name": "a", "inputSchema": schema},
        {"name": "b", "inputSchema": schema},
    ]}))
}

fn remove(from: &mut Value, at: &str, key: &str) {
    if let Some(members) = from.pointer_mut(at).and_then(Value::as_object_mut) {
        members.remove(key);
    }
}
