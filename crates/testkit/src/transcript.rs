//! Golden transcripts: what is sent and what must come back, readable as documentation.
//!
//! A file holds cases, each starting with `== title`. Within a case:
//!
//! - `> JSON` is sent to the server; `> *64 JSON` is sent 64 times with `$i` counting from 1;
//!   `>' text` is sent as it stands, with `\xNN` for bytes that are no text;
//! - `< JSON` must come back next, equal as JSON; the text `"*"` stands for any value; `< *64 JSON`
//!   as above, in any order;
//! - `>~ JSON` is the same with the context that a request without a session carries, from a client
//!   that can do everything; `<~ JSON` the same with what each result has in that revision;
//! - `open` does the handshake with a client that can do everything;
//! - `advance 60s` lets time pass; `nothing` says that nothing comes within a second;
//! - `close` ends our side; `closed` says that the server ends the connection;
//! - `#` starts a comment; requirement ids stand there, at the lines that would fail.

use std::time::Duration;

use compere_proto::{Era, Revision};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::schema::{Author, SchemaCheck};

/// How long the server may take for a line. Virtual time in memory.
const PATIENCE: Duration = Duration::from_secs(20);

/// One step of a case, with its line number.
#[derive(Debug, Clone)]
pub struct Step {
    line: usize,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Send(usize, String),
    SendRaw(Vec<u8>),
    Expect(usize, String),
    Open,
    Advance(Duration),
    Nothing,
    Close,
    Closed,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its title.
    pub title: String,
    steps: Vec<Step>,
}

impl Case {
    /// Does it need control of the clock?
    pub fn needs_clock(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::Advance(_)))
    }
}

/// Reads the cases of a file.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let trimmed = line.trim();
        if let Some(title) = trimmed.strip_prefix("== ") {
            cases.push(Case {
                title: title.to_owned(),
                steps: Vec::new(),
            });
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let action = parse_action(trimmed).ok_or_else(|| format!("line {number}: {line}"))?;
        let case = cases
            .last_mut()
            .ok_or_else(|| format!("line {number}: a step outside of a case"))?;
        case.steps.push(Step {
            line: number,
            action,
        });
    }
    Ok(cases)
}

fn parse_action(line: &str) -> Option<Action> {
    let counted = |rest: &str| match rest.strip_prefix('*') {
        Some(rest) => {
            let (count, message) = rest.split_once(' ')?;
            Some((count.parse().ok()?, message.to_owned()))
        }
        None => Some((1, rest.to_owned())),
    };
    if let Some(rest) = line.strip_prefix(">' ") {
        return Some(Action::SendRaw(unescape(rest)));
    }
    if let Some(rest) = line.strip_prefix(">~ ") {
        let (count, message) = counted(rest)?;
        return Some(Action::Send(count, in_context(&message)?));
    }
    if let Some(rest) = line.strip_prefix("<~ ") {
        let (count, message) = counted(rest)?;
        return Some(Action::Expect(count, whole(&message)?));
    }
    if let Some(rest) = line.strip_prefix("> ") {
        return counted(rest).map(|(count, message)| Action::Send(count, message));
    }
    if let Some(rest) = line.strip_prefix("< ") {
        return counted(rest).map(|(count, message)| Action::Expect(count, message));
    }
    if let Some(rest) = line.strip_prefix("advance ") {
        let seconds = rest.strip_suffix('s')?.parse().ok()?;
        return Some(Action::Advance(Duration::from_secs_f64(seconds)));
    }
    match line {
        "open" => Some(Action::Open),
        "nothing" => Some(Action::Nothing),
        "close" => Some(Action::Close),
        "closed" => Some(Action::Closed),
        _ => None,
    }
}

/// A request with its context. What stands there already stays; `null` leaves a member out.
fn in_context(message: &str) -> Option<String> {
    let mut message: Value = serde_json::from_str(message).ok()?;
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": Revision::V2026_07_28.as_str(),
        "io.modelcontextprotocol/clientCapabilities":
            {"elicitation": {}, "roots": {}, "sampling": {}},
        "io.modelcontextprotocol/clientInfo": {"name": "transcript", "version": "1"},
    });
    for (key, value) in message["params"]["_meta"].as_object().into_iter().flatten() {
        meta[key] = value.clone();
    }
    if let Some(members) = meta.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    message["params"]["_meta"] = meta;
    Some(message.to_string())
}

/// A result that says of what kind it is, and who gives it.
fn whole(message: &str) -> Option<String> {
    let mut message: Value = serde_json::from_str(message).ok()?;
    let result = message["result"].as_object_mut()?;
    let kind = result.entry("resultType");
    kind.or_insert_with(|| json!("complete"));
    let meta = result.entry("_meta").or_insert_with(|| json!({}));
    meta["io.modelcontextprotocol/serverInfo"] = json!({"name": "fixture", "version": "1.0.0"});
    Some(message.to_string())
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut unescaped = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at..at + 4)
            .and_then(|part| part.strip_prefix("\\x"))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                unescaped.push(byte);
                at += 4;
            }
            None => {
                unescaped.push(bytes[at]);
                at += 1;
            }
        }
    }
    unescaped
}

/// Plays a case against a server. `Err` says where it went wrong.
///
/// What it says is checked against the schema of its revision, if it speaks only one.
pub async fn play<R, W>(
    case: &Case,
    revisions: &[Revision],
    reader: R,
    writer: W,
) -> Result<(), String>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut lines = BufReader::new(reader).lines();
    let mut schema = match revisions {
        [revision] => SchemaCheck::load(*revision),
        _ => None,
    };
    // Closing our side takes dropping the writer: a pipe has no other end of its own.
    let mut writer = Some(writer);
    for Step { line, action } in &case.steps {
        let fault = |why: String| format!("{}, line {line}: {why}", case.title);
        match action {
            Action::Send(count, message) => {
                for number in 1..=*count {
                    let message = message.replace("$i", &number.to_string());
                    if let Some(schema) = &mut schema {
                        schema.observe(Author::Client, &message);
                    }
                    send(&mut writer, message.as_bytes()).await.map_err(fault)?;
                }
            }
            Action::SendRaw(bytes) => send(&mut writer, bytes).await.map_err(fault)?,
            Action::Expect(count, message) => {
                let mut expected: Vec<Value> = (1..=*count)
                    .map(|number| {
                        serde_json::from_str(&message.replace("$i", &number.to_string()))
                            .map_err(|error| fault(format!("no JSON: {error}")))
                    })
                    .collect::<Result<_, _>>()?;
                while !expected.is_empty() {
                    let line = receive(&mut lines, &mut schema).await.map_err(fault)?;
                    let received: Value = serde_json::from_str(&line)
                        .map_err(|error| fault(format!("{error} in {line}")))?;
                    let found = expected.iter().position(|one| matches(one, &received));
                    match found {
                        Some(index) => expected.swap_remove(index),
                        None => {
                            return Err(fault(format!("expected {}\n got {line}", expected[0])));
                        }
                    };
                }
            }
            Action::Open => handshake(&mut writer, &mut lines, &mut schema, revisions)
                .await
                .map_err(fault)?,
            Action::Advance(time) => tokio::time::sleep(*time).await,
            Action::Nothing => {
                let second = Duration::from_secs(1);
                if let Ok(Ok(Some(line))) = tokio::time::timeout(second, lines.next_line()).await {
                    return Err(fault(format!("expected nothing, got {line}")));
                }
            }
            Action::Close => {
                if let Some(mut writer) = writer.take() {
                    writer.shutdown().await.map_err(|e| fault(e.to_string()))?;
                }
            }
            Action::Closed => match tokio::time::timeout(PATIENCE, lines.next_line()).await {
                Ok(Ok(None) | Err(_)) => {}
                Ok(Ok(Some(line))) => return Err(fault(format!("expected the end, got {line}"))),
                Err(_) => return Err(fault("the server does not end the connection".to_owned())),
            },
        }
    }
    // A case that does not say how it ends must have nothing left to be said.
    if writer.is_some() {
        let moment = Duration::from_millis(50);
        if let Ok(Ok(Some(line))) = tokio::time::timeout(moment, lines.next_line()).await {
            return Err(format!("{}: at its end comes {line}", case.title));
        }
    }
    Ok(())
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut Option<W>, message: &[u8]) -> Result<(), String> {
    let writer = writer.as_mut().ok_or("our side is closed already")?;
    let mut line = message.to_vec();
    line.push(b'\n');
    writer
        .write_all(&line)
        .await
        .map_err(|error| format!("cannot send: {error}"))
}

async fn receive<R: AsyncRead + Unpin>(
    lines: &mut tokio::io::Lines<BufReader<R>>,
    schema: &mut Option<SchemaCheck>,
) -> Result<String, String> {
    let line = match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => line,
        Ok(Ok(None)) => return Err("the server has ended the connection".to_owned()),
        Ok(Err(error)) => return Err(format!("cannot read: {error}")),
        Err(_) => return Err("nothing comes".to_owned()),
    };
    if let Some(schema) = schema {
        schema.check(Author::Server, &line)?;
    }
    Ok(line)
}

async fn handshake<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    writer: &mut Option<W>,
    lines: &mut tokio::io::Lines<BufReader<R>>,
    schema: &mut Option<SchemaCheck>,
    revisions: &[Revision],
) -> Result<(), String> {
    let has_sessions = |revision: &&Revision| revision.era() == Era::Handshake;
    let revision = *revisions
        .iter()
        .rfind(has_sessions)
        .ok_or("no session here")?;
    let elicitation = match revision {
        Revision::V2024_11_05 | Revision::V2025_03_26 => "",
        _ => ",\"elicitation\":{}",
    };
    let initialize = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":\"open\",\"method\":\"initialize\",\"params\":{{\
         \"protocolVersion\":\"{revision}\",\"capabilities\":{{\"roots\":{{\"listChanged\":true}},\
         \"sampling\":{{}}{elicitation}}},\
         \"clientInfo\":{{\"name\":\"transcript\",\"version\":\"1\"}}}}}}"
    );
    if let Some(schema) = schema {
        schema.observe(Author::Client, &initialize);
    }
    send(writer, initialize.as_bytes()).await?;
    let answer = receive(lines, schema).await?;
    if !answer.contains(&format!("\"protocolVersion\":\"{revision}\"")) {
        return Err(format!("the handshake failed: {answer}"));
    }
    send(
        writer,
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}",
    )
    .await
}

/// Equal as JSON, numbers by value; `"*"` is anything.
fn matches(expected: &Value, received: &Value) -> bool {
    match (expected, received) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(received)) => {
            expected.len() == received.len()
                && expected.iter().all(|(key, value)| {
                    received.get(key).is_some_and(|other| matches(value, other))
                })
        }
        (Value::Array(expected), Value::Array(received)) => {
            expected.len() == received.len()
                && expected
                    .iter()
                    .zip(received)
                    .all(|(value, other)| matches(value, other))
        }
        (Value::Number(expected), Value::Number(received)) => {
            expected.as_f64() == received.as_f64()
        }
        _ => expected == received,
    }
}
