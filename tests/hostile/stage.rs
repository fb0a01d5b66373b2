//! What a server that is played stands on: its outputs, what it remembers, what a good one would do.
//! The cases are in `impostors.rs` and `patients.rs`.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// What a server does with a message, `None` at the start. False: what a good server would do.
pub type Play = fn(&mut Stage, Option<&Value>) -> bool;

/// Where a server stands: its outputs, and what it remembers.
pub struct Stage {
    out: std::io::StdoutLock<'static>,
    /// Requests that wait.
    pub(crate) held: Vec<Value>,
    /// How often something was done.
    pub(crate) count: usize,
}

impl Stage {
    pub(crate) fn say(&mut self, message: &Value) {
        self.raw(format!("{message}\n").as_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // A client that is gone ends us.
        if self
            .out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .is_err()
        {
            std::process::exit(0);
        }
    }

    pub(crate) fn result(&mut self, to: &Value, result: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": to["id"], "result": result}));
    }

    pub(crate) fn error(&mut self, to: &Value, error: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": to["id"], "error": error}));
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    pub(crate) fn ask(&mut self, id: Value, method: &str) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}));
    }

    pub(crate) fn complain(&mut self, text: &[u8]) {
        let _ = std::io::stderr().lock().write_all(text);
    }
}

pub(crate) fn method(message: Option<&Value>) -> &str {
    message
        .and_then(|message| message["method"].as_str())
        .unwrap_or_default()
}

/// The message if it asks for this.
pub(crate) fn asked<'m>(message: Option<&'m Value>, wanted: &str) -> Option<&'m Value> {
    message.filter(|_| method(message) == wanted)
}

pub(crate) fn hello() -> Value {
    json!({
        "protocolVersion": "2024-11-05",
        "capabilities": {
            "tools": {"listChanged": true},
            "resources": {"subscribe": true},
            "prompts": {},
            "logging": {},
        },
        "serverInfo": {"name": "hostile", "version": "1"},
    })
}

pub(crate) fn hello_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut hello = hello();
    change(&mut hello);
    hello
}

pub(crate) fn without(mut value: Value, key: &str) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.remove(key);
    }
    value
}

/// Answers `initialize` with this.
pub(crate) fn introduce(stage: &mut Stage, message: Option<&Value>, hello: Value) -> bool {
    answer(stage, message, "initialize", hello)
}

pub(crate) fn answer(stage: &mut Stage, message: Option<&Value>, to: &str, result: Value) -> bool {
    match asked(message, to) {
        Some(request) => {
            stage.result(request, result);
            true
        }
        None => false,
    }
}

pub(crate) fn refuse(stage: &mut Stage, message: Option<&Value>, to: &str, error: Value) -> bool {
    match asked(message, to) {
        Some(request) => {
            stage.error(request, error);
            true
        }
        None => false,
    }
}

/// Says a line of its own in place of an answer, `ID` standing for the id.
pub(crate) fn line(stage: &mut Stage, message: Option<&Value>, to: &str, line: &[u8]) -> bool {
    match asked(message, to) {
        Some(request) => {
            let id = request["id"].to_string();
            let text: Vec<u8> = line.to_vec();
            let at = text.windows(2).position(|pair| pair == b"ID");
            match at {
                Some(at) => {
                    stage.raw(&text[..at]);
                    stage.raw(id.as_bytes());
                    stage.raw(&text[at + 2..]);
                }
                None => stage.raw(&text),
            }
            stage.raw(b"\n");
            true
        }
        None => false,
    }
}

/// Does something before the good answer.
pub(crate) fn before(
    stage: &mut Stage,
    message: Option<&Value>,
    to: &str,
    what: impl FnOnce(&mut Stage, &Value),
) -> bool {
    if let Some(request) = asked(message, to) {
        what(stage, request);
    }
    false
}

/// Does something before the first good answer.
pub(crate) fn once(
    stage: &mut Stage,
    message: Option<&Value>,
    to: &str,
    what: impl FnOnce(&mut Stage),
) -> bool {
    if method(message) == to && stage.count == 0 {
        stage.count = 1;
        what(stage);
    }
    false
}

/// Ignores it.
pub(crate) fn ignore(message: Option<&Value>, what: &str) -> bool {
    method(message) == what
}

pub(crate) fn text(said: &str) -> Value {
    json!({"content": [{"type": "text", "text": said}]})
}

pub(crate) fn token(call: &Value) -> Value {
    call["params"]["_meta"]["progressToken"].clone()
}

/// What a good server does.
pub(crate) fn behave(stage: &mut Stage, message: &Value) {
    let result = match method(Some(message)) {
        "initialize" => hello(),
        "ping" => json!({}),
        "tools/list" => json!({"tools": [{"name": "x", "inputSchema": {"type": "object"}}]}),
        "tools/call" => text("ok"),
        "resources/read" => json!({"contents": [{"uri": "demo://x", "text": "ok"}]}),
        "prompts/get" => {
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "ok"}}]})
        }
        "completion/complete" => json!({"completion": {"values": ["ok"]}}),
        // What the client answers is told to the client, so that it shows.
        _ if message.get("method").is_none() => {
            let heard = message.get("error").unwrap_or(&message["result"]);
            stage.notify(
                "notifications/message",
                json!({"level": "info", "data": heard}),
            );
            return;
        }
        _ if message["id"].is_null() => return,
        _ => {
            stage.error(
                message,
                json!({"code": -32601, "message": "Method not found"}),
            );
            return;
        }
    };
    stage.result(message, result);
}

/// Plays one case until its input ends.
pub fn play(part: Play) {
    let mut stage = Stage {
        out: std::io::stdout().lock(),
        held: Vec::new(),
        count: 0,
    };
    part(&mut stage, None);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if !part(&mut stage, Some(&message)) {
            behave(&mut stage, &message);
        }
    }
}

pub(crate) fn forever() -> ! {
    loop {
        std::thread::park();
    }
}
