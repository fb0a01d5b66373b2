//! One conversation with a server: requests and their answers, with everything else that the
//! server says looked at as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use compere::serde_json::{self, Value, json};

use crate::doctor::report::{Level, Report};
use crate::doctor::wire::{Heard, Wire};

/// What is asked of us while we wait is answered so often at most.
const QUESTIONS: usize = 1000;

/// An answer: the result, the error, or none.
pub(super) enum Answer {
    Result(Value, Vec<u8>),
    Error { code: i64, line: Vec<u8> },
    None,
}

impl Answer {
    pub(super) fn result(&self) -> Option<&Value> {
        match self {
            Self::Result(result, _) => Some(result),
            _ => None,
        }
    }

    pub(super) fn code(&self) -> Option<i64> {
        match self {
            Self::Error { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The message as it came.
    pub(super) fn line(&self) -> &[u8] {
        match self {
            Self::Result(_, line) | Self::Error { line, .. } => line,
            Self::None => &[],
        }
    }
}

/// A conversation.
pub(super) struct Talk<'r> {
    wire: Wire,
    pub(super) report: &'r mut Report,
    patience: Duration,
    next_id: i64,
    /// Ids that were asked, as they stand on the wire, and whether they were answered.
    asked: BTreeMap<String, bool>,
    /// Ids of the server's own requests.
    their_ids: BTreeSet<String>,
    questions: usize,
    pub(super) initialized: bool,
    /// What the server declared.
    pub(super) capabilities: Value,
    pub(super) subscribed: BTreeSet<String>,
    /// Something was sent that may be answered without an id.
    pub(super) sent_garbage: bool,
}

impl<'r> Talk<'r> {
    pub(super) fn new(wire: Wire, report: &'r mut Report, patience: Duration) -> Self {
        Self {
            wire,
            report,
            patience,
            next_id: 0,
            asked: BTreeMap::new(),
            their_ids: BTreeSet::new(),
            questions: 0,
            initialized: false,
            capabilities: Value::Null,
            subscribed: BTreeSet::new(),
            sent_garbage: false,
        }
    }

    pub(super) async fn send(&mut self, message: &Value) {
        self.send_line(message.to_string().as_bytes()).await;
    }

    pub(super) async fn send_line(&mut self, line: &[u8]) {
        self.wire.send(line, self.patience).await;
    }

    /// Asks and waits for the answer.
    pub(super) async fn ask(&mut self, method: &str, params: Value) -> Answer {
        self.next_id += 1;
        self.ask_as(json!(self.next_id), method, params).await
    }

    /// The same with an id of one's own.
    pub(super) async fn ask_as(&mut self, id: Value, method: &str, params: Value) -> Answer {
        let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
        if !params.is_null() {
            request["params"] = params;
        }
        self.put(&id, &request).await;
        let until = Instant::now() + self.patience;
        loop {
            match self.wire.next(until).await {
                Heard::Line(line) => {
                    if let Some(answer) = self.take(&line, Some(&id)).await {
                        return answer;
                    }
                }
                Heard::Silence => {
                    self.report.broken(
                        Level::Must,
                        match method {
                            "ping" => "A-PING-01",
                            _ => "A-BASE-11",
                        },
                        format!("does not answer {method}"),
                        &[],
                    );
                    return Answer::None;
                }
                Heard::End => {
                    self.gone(method);
                    return Answer::None;
                }
            }
        }
    }

    /// Asks what a server need not know: that it stays silent, or goes away over it, is no fault.
    pub(super) async fn try_ask(&mut self, method: &str, params: Value) -> Answer {
        self.next_id += 1;
        let id = json!(self.next_id);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.put(&id, &request).await;
        let until = Instant::now() + self.patience;
        while let Heard::Line(line) = self.wire.next(until).await {
            if let Some(answer) = self.take(&line, Some(&id)).await {
                return answer;
            }
        }
        Answer::None
    }

    async fn put(&mut self, id: &Value, request: &Value) {
        self.asked.insert(id.to_string(), false);
        self.send(request).await;
    }

    fn gone(&mut self, at: &str) {
        let unfinished = self.wire.unfinished().to_vec();
        if !unfinished.is_empty() {
            self.report.broken(
                Level::Must,
                "A-STDIO-04",
                "ends in the middle of a line",
                &unfinished,
            );
        }
        let fate = self.wire.fate().map(|fate| fate.to_string());
        self.report.broken(
            Level::Must,
            "A-BASE-05",
            format!("goes away at {at}: {}", fate.unwrap_or_default()),
            &[],
        );
    }

    /// Listens for what comes unasked.
    pub(super) async fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Heard::Line(line) = self.wire.next(until).await {
            self.take(&line, None).await;
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.wire.is_ended()
    }

    /// Ends the conversation; how long the server took.
    pub(super) async fn close(self) -> Duration {
        self.wire.close().await
    }

    /// Looks at a message. The answer, if it is the one that is waited for.
    async fn take(&mut self, line: &[u8], wanted: Option<&Value>) -> Option<Answer> {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            let what = "writes to standard output what is no message";
            self.report.broken(Level::Must, "A-STDIO-08", what, line);
            return None;
        };
        self.report.held("A-STDIO-08");
        if !message.is_object() {
            let what = "sends JSON that is no JSON-RPC message";
            self.report.broken(Level::Must, "A-BASE-01", what, line);
            return None;
        }
        self.report.check(
            message["jsonrpc"] == "2.0",
            Level::Must,
            "A-BASE-01",
            "sends messages without \"jsonrpc\": \"2.0\"",
            line,
        );
        match (message.get("method"), message.get("id")) {
            (Some(_), Some(id)) => {
                self.question(&message, id, line).await;
                None
            }
            (Some(_), None) => {
                self.notification(&message, line);
                None
            }
            (None, _) => self.answer(&message, line, wanted),
        }
    }

    /// A request of the server.
    async fn question(&mut self, message: &Value, id: &Value, line: &[u8]) {
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let report = &mut *self.report;
        if id.is_null() {
            let what = "uses null as the id of a request, or an id in a notification";
            report.broken(Level::Must, "A-BASE-09", what, line);
            return;
        }
        let good = id.is_string() || id.is_i64() || id.is_u64();
        let what = "uses an id that is neither text nor integer";
        report.check(good, Level::Must, "A-BASE-08", what, line);
        let new = self.their_ids.insert(id.to_string());
        let what = "uses an id twice for its own requests";
        report.check(new, Level::Must, "A-BASE-10", what, line);
        if method != "ping" {
            report.check(
                self.initialized,
                Level::Should,
                "A-LIFE-06",
                format!("sends {method} before the client is initialized"),
                line,
            );
            // We declare nothing, so nothing but a ping may be asked.
            report.broken(
                Level::Should,
                "A-LIFE-18",
                format!("asks for {method}, which the client did not declare"),
                line,
            );
        }
        self.questions += 1;
        if self.questions > QUESTIONS {
            return;
        }
        let answer = match method.as_str() {
            "ping" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
            _ => json!({
                "jsonrpc": "2.0",
                "id": id,
                "error": {"code": -32601, "message": "Method not found"},
            }),
        };
        self.send(&answer).await;
    }

    fn notification(&mut self, message: &Value, line: &[u8]) {
        let declared = |pointer: &str| match self.capabilities.pointer(pointer) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(_) => true,
        };
        let (level, requirement, holds, what) = match message["method"].as_str().unwrap_or_default()
        {
            "notifications/message" => (
                Level::Must,
                "A-LOG-01",
                declared("/logging"),
                "sends log messages without declaring logging".to_owned(),
            ),
            "notifications/progress" => (
                Level::Must,
                "A-PROG-06",
                false,
                "reports progress for a token that no request carried".to_owned(),
            ),
            "notifications/resources/updated" if !declared("/resources/subscribe") => (
                Level::Must,
                "A-ARCH-11",
                false,
                "announces changes of resources without declaring subscriptions".to_owned(),
            ),
            "notifications/resources/updated" => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default();
                (
                    Level::Should,
                    "A-RES-04",
                    self.subscribed.iter().any(|known| uri.starts_with(known)),
                    "announces changes of a resource that nobody subscribed to".to_owned(),
                )
            }
            list @ ("notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed") => {
                let feature = list.split('/').nth(1).unwrap_or_default();
                (
                    Level::Should,
                    "A-LIFE-18",
                    declared(&format!("/{feature}/listChanged")),
                    format!("announces changes of {feature} without declaring listChanged"),
                )
            }
            _ => return,
        };
        self.report.check(holds, level, requirement, what, line);
    }

    fn answer(&mut self, message: &Value, line: &[u8], wanted: Option<&Value>) -> Option<Answer> {
        let (result, error) = (message.get("result"), message.get("error"));
        let id = message.get("id").unwrap_or(&Value::Null);
        if id.is_null() && error.is_some() && self.sent_garbage {
            return None;
        }
        let report = &mut *self.report;
        let both = result.is_some() && error.is_some();
        let what = "answers with both a result and an error";
        report.check(!both, Level::Must, "A-BASE-13", what, line);
        let neither = result.is_none() && error.is_none();
        let what = "answers with neither a result nor an error";
        report.check(!neither, Level::Must, "A-BASE-12", what, line);
        match self.asked.insert(id.to_string(), true) {
            Some(false) => report.held("A-BASE-11"),
            Some(true) => {
                let what = "answers a request twice";
                report.broken(Level::Must, "A-BASE-01", what, line);
                return None;
            }
            None => {
                self.asked.remove(&id.to_string());
                let what = "answers with an id that no open request has, or of another type";
                report.broken(Level::Must, "A-BASE-11", what, line);
                return None;
            }
        }
        let answer = match (result, error) {
            (_, Some(error)) => {
                let whole = error["code"].is_i64();
                let what = "has errors whose code is no integer";
                report.check(whole, Level::Must, "A-BASE-14", what, line);
                let what = "has errors without a message";
                let says = error["message"].is_string();
                report.check(says, Level::Must, "A-BASE-04", what, line);
                Answer::Error {
                    code: error["code"].as_i64().unwrap_or_default(),
                    line: line.to_vec(),
                }
            }
            (Some(result), None) => {
                if !result.is_object() {
                    let what = "answers with a result that is no object";
                    report.broken(Level::Must, "schema Result", what, line);
                }
                Answer::Result(result.clone(), line.to_vec())
            }
            (None, None) => Answer::None,
        };
        (wanted == Some(id)).then_some(answer)
    }
}
