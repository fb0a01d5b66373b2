//! Whatever the other end does over HTTP, the outcome is one, known, and the neighbours live on.
//!
//! The expected outcomes stand in `hostile/http_outcomes.txt`, one line for each case.
//! `COMPERE_WRITE_OUTCOMES=1` writes what was seen; read it before you keep it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use compere::prelude::*;
use compere::server::http::bearer::Principal;
use compere::server::http::{HttpListener, HttpOptions};
use compere::{Limits, ServerHandle};
use compere_tests::{compere, count};
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "hostile/http_attacks.rs"]
mod http_attacks;
#[path = "hostile/http_impostors.rs"]
mod http_impostors;

use http_attacks::{Attack, Step, attacks};

const AT_ONCE: usize = 8;
/// The longest text of an answer that is part of an outcome.
const SHOWN: usize = 120;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Message {
    message: String,
}

/// A small server with low bounds. Whoever shows no token is the local person; a stranger has one.
async fn server() -> (ServerHandle, HttpListener) {
    let mut limits = Limits::default();
    limits.message_bytes = 128 * 1024;
    limits.request_bytes = 128 * 1024;
    limits.stall = Duration::from_millis(700);
    limits.grace = Duration::from_millis(100);
    limits.connections = 64;
    let handle = Server::new("target", "1")
        .limits(limits)
        .tool_fn(
            "echo",
            |Args(args): Args<Message>| async move { args.message },
        )
        .tool_fn("waits", |context: Context| async move {
            context.cancelled().await;
            "cancelled"
        })
        .start()
        .unwrap();
    let any = "127.0.0.1:0";
    let options = HttpOptions::new().bearer(|token| match token {
        "token-of-ada" => Some(Principal::new("ada")),
        "token-of-eve" => Some(Principal::new("eve")),
        _ => None,
    });
    let listener = handle.listen_http(any, options).await.unwrap();
    (handle, listener)
}

/// The ids that stand in attacks for others.
struct Ids {
    session: String,
    stranger: String,
    old: String,
    ended: String,
}

async fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

async fn begin(address: &str, token: &str) -> String {
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"h","version":"1"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(address, &request).await;
    let id = answer.split("mcp-session-id: ").nth(1).expect("a session");
    id.split("\r\n").next().unwrap().to_owned()
}

impl Ids {
    /// The stream of the old session stays open while the value lives.
    async fn new(address: &str) -> (Self, TcpStream) {
        let session = begin(address, "token-of-ada").await;
        let stranger = begin(address, "token-of-eve").await;
        let ended = begin(address, "token-of-ada").await;
        let end = format!(
            "DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer token-of-ada\r\nmcp-session-id: {ended}\r\n\r\n"
        );
        assert!(exchange(address, &end).await.contains(" 204 "));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let open =
            "GET /sse HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer token-of-eve\r\n\r\n";
        stream.write_all(open.as_bytes()).await.unwrap();
        let mut said = String::new();
        let mut buffer = [0; 1024];
        while !said.contains("sessionId=") {
            let count = stream.read(&mut buffer).await.unwrap();
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        let old = said.split("sessionId=").nth(1).unwrap();
        let old = old.split_whitespace().next().unwrap().to_owned();
        let ids = Self {
            session,
            stranger,
            old,
            ended,
        };
        (ids, stream)
    }

    fn fill(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (name, id) in [
            ("{session}", &self.session),
            ("{stranger}", &self.stranger),
            ("{old}", &self.old),
            ("{ended}", &self.ended),
        ] {
            while let Some(at) = find(&bytes, name.as_bytes()) {
                bytes.splice(at..at + name.len(), id.bytes());
            }
        }
        bytes
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// The next answer: its status and the words of its body.
async fn answer(stream: &mut TcpStream, left: &mut Vec<u8>, bodiless: bool) -> String {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some((text, used)) = whole(left, bodiless) {
            left.drain(..used);
            return text;
        }
        let reading = tokio::time::timeout(Duration::from_secs(8), stream.read(&mut buffer));
        match reading.await {
            Err(_) => return "no answer".to_owned(),
            Ok(Ok(0)) if left.is_empty() => return "closed".to_owned(),
            Ok(Ok(0)) => return format!("cut after {:?}", shown(left)),
            Ok(Ok(count)) => left.extend_from_slice(&buffer[..count]),
            Ok(Err(error)) => return format!("{:?}", error.kind()),
        }
    }
}

fn whole(bytes: &[u8], bodiless: bool) -> Option<(String, usize)> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let status = text.split_whitespace().nth(1).unwrap_or("?").to_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    if field("content-type:").as_deref() == Some("text/event-stream") {
        return Some((format!("{status} stream"), bytes.len()));
    }
    let length: usize = field("content-length:").map_or(0, |length| length.parse().unwrap());
    let length = if bodiless { 0 } else { length };
    let body = bytes.get(head..head + length)?;
    let said = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(message) if message["error"].is_object() => {
            let error = &message["error"];
            format!(
                " {} {}",
                error["code"],
                error["message"].as_str().unwrap_or_default()
            )
        }
        Ok(message) if message.is_array() => " answers".to_owned(),
        Ok(message) if message["result"].is_object() => " result".to_owned(),
        _ if body.is_empty() => String::new(),
        _ => format!(" {:?}", shown(body)),
    };
    let said: String = said.chars().take(SHOWN).collect();
    Some((format!("{status}{said}"), head + length))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(SHOWN).collect()
}

async fn play(attack: &Attack, address: &str) -> String {
    let (ids, _old) = Ids::new(address).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut left = Vec::new();
    let mut outcome: Vec<String> = Vec::new();
    // The answer to HEAD says how long the body would be, and has none.
    let bodiless = attack.name == "method HEAD";
    for step in &attack.steps {
        match step {
            Step::Send(bytes) => {
                // A server that has had enough does not take all of it.
                let _ = stream.write_all(&ids.fill(bytes)).await;
            }
            Step::Answer => outcome.push(answer(&mut stream, &mut left, bodiless).await),
            Step::HangUp => {
                let _ = stream.shutdown().await;
            }
            Step::Closed | Step::Silent => loop {
                let said = answer(&mut stream, &mut left, bodiless).await;
                let over = matches!(said.as_str(), "closed" | "no answer" | "ConnectionReset");
                outcome.push(said);
                if over {
                    break;
                }
            },
        }
    }
    outcome.dedup();
    outcome.join("; ")
}

async fn says_hello(neighbour: &Client, case: &str) {
    let call = neighbour.call("echo", json!({"message": "hello"}));
    let said = tokio::time::timeout(Duration::from_secs(20), call.into_future()).await;
    let said = said.unwrap_or_else(|_| panic!("{case}: the neighbour waits"));
    assert_eq!(said.unwrap().joined_text(), "hello", "{case}");
}

async fn neighbour(address: &str) -> Client {
    let target = compere::transport::http::HttpTarget::new(format!("http://{address}/mcp"));
    Client::connect(target.bearer("token-of-ada"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_over_http_has_its_one_outcome() {
    let (_handle, listener) = server().await;
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(listener.serve_until(std::future::pending()));
    let beside = neighbour(&address).await;
    let attacks = attacks();
    let attacked = stream::iter(&attacks).map(async |attack| {
        let outcome = play(attack, &address).await;
        says_hello(&beside, &attack.name).await;
        format!("attack {}: {outcome}", attack.name)
    });
    let mut seen: Vec<String> = attacked.buffer_unordered(AT_ONCE).collect().await;
    let impostors = http_impostors::impostors();
    let suffered = stream::iter(&impostors).map(async |impostor| {
        let outcome = http_impostors::suffer(impostor).await;
        says_hello(&beside, impostor.name).await;
        format!("impostor {}: {outcome}", impostor.name)
    });
    seen.extend(suffered.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    seen.sort();
    let names: BTreeSet<&str> = seen
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(names.len(), seen.len(), "each case has a name of its own");
    assert!(seen.len() >= 150, "{}", seen.len());
    let different: BTreeSet<&str> = seen
        .iter()
        .map(|line| line.split_once(": ").unwrap().1)
        .collect();
    assert!(different.len() >= 50, "{}", different.len());

    let text = seen.join("\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/http_outcomes.txt");
    if std::env::var_os("COMPERE_WRITE_OUTCOMES").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap();
    let expected: BTreeSet<&str> = expected.lines().collect();
    let found: BTreeSet<&str> = text.lines().collect();
    let missing: Vec<&&str> = expected.difference(&found).collect();
    let new: Vec<&&str> = found.difference(&expected).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "expected {missing:#?}, found {new:#?}"
    );
}

fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Connections that hold on to what they can: heads without an end, bodies that do not come, streams
/// that nobody reads. Those beyond the bound are closed, and memory stays where it is.
#[tokio::test]
async fn memory_is_bounded_under_hostile_connections() {
    use tokio::io::AsyncBufReadExt;

    let connections = count("COMPERE_HOSTILE_CONNECTIONS", 1_000);
    let mut child = tokio::process::Command::new(compere())
        .args(["serve", "everything", "--http", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let target = format!("http://{address}/mcp");
    let client = Client::connect(target.as_str()).await.unwrap();
    let call = || {
        client
            .call("echo", json!({"message": "hello"}))
            .into_future()
    };
    for _ in 0..50 {
        call().await.unwrap();
    }
    let pid = child.id().unwrap();
    let before = resident(pid);
    let mut held = Vec::new();
    for number in 0..connections {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let bytes = match number % 3 {
            0 => format!(
                "POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-long: {}",
                "a".repeat(30_000)
            ),
            1 => format!(
                "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n{}",
                " ".repeat(30_000)
            ),
            _ => "GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
                .to_owned(),
        };
        let _ = stream.write_all(bytes.as_bytes()).await;
        held.push(stream);
        if number % 50 == 0 {
            assert_eq!(call().await.unwrap().joined_text(), "hello");
        }
    }
    call().await.unwrap();
    let after = resident(pid);
    let each = after.saturating_sub(before) * 1024 / connections;
    println!(
        "{connections} hostile connections: {before} KiB before, {after} KiB with them, {each} bytes each"
    );
    assert!(each < 96 * 1024, "{each} bytes for each hostile connection");
    drop(held);
    call().await.unwrap();
}
