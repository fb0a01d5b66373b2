//! A server that means harm over HTTP, or that is merely broken: what it does to our client, case by
//! case. It listens on a port of its own and answers what a case says; what it has no answer for, it
//! answers as a good server would.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::prelude::*;
use compere::transport::http::HttpTarget;
use compere::{ErrorKind, Limits};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One server.
pub struct Impostor {
    /// Its name.
    pub name: &'static str,
    /// What it does with a request. `None`: what a good server would do.
    play: fn(&Asked) -> Option<Play>,
}

/// What a client asked.
struct Asked {
    /// The method of HTTP.
    verb: String,
    path: String,
    head: String,
    message: Value,
    /// How many such requests came before.
    before: usize,
    /// Our own address, and one of another server.
    own: String,
    other: String,
}

impl Asked {
    fn is(&self, method: &str) -> bool {
        self.message["method"] == method
    }

    fn calls(&self) -> bool {
        self.is("tools/call")
    }

    fn begins(&self) -> bool {
        self.is("initialize")
    }
}

/// What is answered.
enum Play {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then silence.
    Hold(Vec<u8>),
    /// These bytes, then these again and again.
    Endless(Vec<u8>, Vec<u8>),
}

use Play::{Bytes, Endless, Hold};

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn json_answer(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body)
}

fn events(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    format!("{head}{body}").into_bytes()
}

fn result_of(asked: &Asked) -> String {
    let result = match asked.message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": asked.message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "impostor", "version": "1"},
        }),
        Some("tools/call") => json!({"content": [{"type": "text", "text": "good"}]}),
        _ => json!({}),
    };
    json!({"jsonrpc": "2.0", "id": asked.message["id"], "result": result}).to_string()
}

/// What a good server would do.
fn good(asked: &Asked) -> Play {
    Bytes(match asked.verb.as_str() {
        "POST" if asked.begins() => answer(
            "200 OK",
            "content-type: application/json\r\nmcp-session-id: impostor-1\r\n",
            &result_of(asked),
        ),
        "POST" if asked.message["id"].is_null() => answer("202 Accepted", "", ""),
        "POST" => json_answer(&result_of(asked)),
        "DELETE" => answer("204 No Content", "", ""),
        _ => answer("405 Method Not Allowed", "", ""),
    })
}

fn on(condition: bool, play: impl FnOnce() -> Play) -> Option<Play> {
    condition.then(play)
}

macro_rules! impostors {
    ($($name:literal => $play:expr),+ $(,)?) => {
        /// All of them.
        pub fn impostors() -> Vec<Impostor> {
            vec![$(Impostor { name: $name, play: $play }),+]
        }
    };
}

impostors! {
    "is good" => |_| None,
    "redirects to another server" => |a| on(a.calls(), || Bytes(answer("307 Temporary Redirect", &format!("location: {}/mcp\r\n", a.other), ""))),
    "redirects to another server for ever" => |a| on(a.begins(), || Bytes(answer("308 Permanent Redirect", &format!("location: {}/mcp\r\n", a.other), ""))),
    "redirects to itself" => |a| on(a.calls(), || Bytes(answer("302 Found", &format!("location: {}/mcp\r\n", a.own), ""))),
    "redirects to a file" => |a| on(a.calls(), || Bytes(answer("301 Moved Permanently", "location: file:///etc/passwd\r\n", ""))),
    "wants a token" => |a| on(a.begins(), || Bytes(answer("401 Unauthorized", "www-authenticate: Bearer\r\n", ""))),
    "forbids" => |a| on(a.begins(), || Bytes(answer("403 Forbidden", "", "no"))),
    "is not there" => |_| Some(Bytes(answer("404 Not Found", "content-type: text/html\r\n", "<h1>Not here</h1>"))),
    "is broken" => |a| on(a.calls(), || Bytes(answer("500 Internal Server Error", "", "boom\u{1b}[31m\nred"))),
    "is overloaded" => |a| on(a.calls(), || Bytes(answer("503 Service Unavailable", "retry-after: 1\r\n", ""))),
    "answers with an error of its own id" => |a| on(a.calls(), || {
        let error = json!({"jsonrpc": "2.0", "id": a.message["id"], "error": {"code": -31000, "message": "too many"}});
        Bytes(answer("429 Too Many Requests", "content-type: application/json\r\n", &error.to_string()))
    }),
    "answers with a page" => |a| on(a.calls(), || Bytes(answer("200 OK", "content-type: text/html\r\n", "<p>hello</p>"))),
    "says no type" => |a| on(a.calls(), || Bytes(answer("200 OK", "", &result_of(a)))),
    "answers nothing" => |a| on(a.calls(), || Bytes(json_answer(""))),
    "takes a request and says nothing" => |a| on(a.calls(), || Bytes(answer("202 Accepted", "", ""))),
    "answers another id" => |a| on(a.calls(), || Bytes(json_answer(r#"{"jsonrpc":"2.0","id":999,"result":{}}"#))),
    "answers with words" => |a| on(a.calls(), || Bytes(json_answer("all fine"))),
    "answers with half of it" => |a| on(a.calls(), || {
        let whole = json_answer(&result_of(a));
        Bytes(whole[..whole.len() - 10].to_vec())
    }),
    "answers over many lines" => |a| on(a.calls(), || {
        let message: Value = serde_json::from_str(&result_of(a)).unwrap_or_default();
        Bytes(json_answer(&serde_json::to_string_pretty(&message).unwrap_or_default()))
    }),
    "answers twice in one body" => |a| on(a.calls(), || Bytes(json_answer(&format!("{0}\n{0}", result_of(a))))),
    "compresses" => |a| on(a.calls(), || Bytes(answer("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", "\u{1f}\u{8b}"))),
    "has no end in JSON" => |a| on(a.calls(), || Endless(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":\"".to_vec(), vec![b'a'; 64 * 1024])),
    "has no end in an event" => |a| on(a.calls(), || Endless(events("data: "), vec![b'a'; 64 * 1024])),
    "has no end in lines of an event" => |a| on(a.calls(), || Endless(events(""), b"data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(1_000))),
    "has no end in comments" => |a| on(a.calls(), || Endless(events(""), b": still here\n\n".repeat(10))),
    "says nothing on a stream" => |a| on(a.calls(), || Hold(events(""))),
    "says nothing at all" => |a| on(a.calls(), || Hold(Vec::new())),
    "closes at once" => |a| on(a.calls(), || Bytes(Vec::new())),
    "closes within the head" => |a| on(a.calls(), || Bytes(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec())),
    "speaks another protocol" => |a| on(a.calls(), || Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())),
    "says how long and lies" => |a| on(a.calls(), || Hold(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{".to_vec())),
    "sends a head of a megabyte" => |a| on(a.calls(), || Bytes(answer("200 OK", &format!("x-long: {}\r\n", "a".repeat(1 << 20)), ""))),
    "sends a thousand heads before the answer" => |a| on(a.calls(), || {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000);
        bytes.extend(json_answer(&result_of(a)));
        Bytes(bytes)
    }),
    "ends the stream before the answer" => |a| on(a.calls(), || Bytes(events(": nothing yet\n\n"))),
    "ends the stream with an id and knows nothing of it" => |a| match a.verb.as_str() {
        "GET" => Some(Bytes(answer("404 Not Found", "", ""))),
        _ => on(a.calls(), || Bytes(events("id: 1\nretry: 1\ndata:\n\n"))),
    },
    "ends the stream with an id and resumes it" => |a| match a.verb.as_str() {
        "GET" if a.head.contains("last-event-id: one") => Some(Bytes(events(&format!("id: two\ndata: {}\n\n", r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"resumed"}]}}"#)))),
        _ => on(a.calls(), || Bytes(events("id: one\nretry: 1\ndata:\n\n"))),
    },
    "ends the stream again and again" => |a| match a.verb.as_str() {
        "GET" if a.head.contains("last-event-id") => Some(Bytes(events(": no news\n\n"))),
        _ => on(a.calls(), || Bytes(events("id: 1\nretry: 1\ndata:\n\n"))),
    },
    "wants us back in a thousand years" => |a| on(a.calls(), || Bytes(events("id: 1\nretry: 99999999999999999999\ndata:\n\nretry: 31536000000000\n\n"))),
    "sends ids with nul" => |a| on(a.calls(), || Bytes(events("id: a\0b\ndata: {}\n\n"))),
    "sends events of other kinds" => |a| on(a.calls(), || Bytes(events(&format!("event: alarm\ndata: {{}}\n\nevent: message\ndata: {}\n\n", result_of(a))))),
    "sends an answer over many data lines" => |a| on(a.calls(), || {
        let message: Value = serde_json::from_str(&result_of(a)).unwrap_or_default();
        let pretty = serde_json::to_string_pretty(&message).unwrap_or_default();
        Bytes(events(&format!("data: {}\n\n", pretty.replace('\n', "\ndata: "))))
    }),
    "ends lines with CR" => |a| on(a.calls(), || Bytes(events(&format!("data: {}\r\r", result_of(a))))),
    "begins with a byte order mark" => |a| on(a.calls(), || Bytes(events(&format!("\u{feff}data: {}\r\n\r\n", result_of(a))))),
    "gives a session id with a blank" => |a| on(a.begins(), || Bytes(answer("200 OK", "content-type: application/json\r\nmcp-session-id: a b\r\n", &result_of(a)))),
    "gives an empty session id" => |a| on(a.begins(), || Bytes(answer("200 OK", "content-type: application/json\r\nmcp-session-id:\r\n", &result_of(a)))),
    "gives a session id beyond ascii" => |a| on(a.begins(), || Bytes(answer("200 OK", "content-type: application/json\r\nmcp-session-id: é\r\n", &result_of(a)))),
    "forgets the session once" => |a| on(a.calls() && a.before == 0, || Bytes(answer("404 Not Found", "", ""))),
    "forgets every session" => |a| on(a.calls(), || Bytes(answer("404 Not Found", "", ""))),
    "forgets the session and speaks another version then" => |a| {
        if a.calls() { return Some(Bytes(answer("404 Not Found", "", ""))); }
        on(a.begins() && a.before > 0, || Bytes(json_answer(&result_of(a).replace("2025-11-25", "2025-03-26"))))
    },
    "speaks a version that is none" => |a| on(a.begins(), || Bytes(json_answer(&result_of(a).replace("2025-11-25", "1999-01-01")))),
    "opens the old stream on another server" => |a| match a.verb.as_str() {
        "GET" => Some(Hold(events(&format!("event: endpoint\ndata: {}/message\n\n", a.other)))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    "opens the old stream on a file" => |a| match a.verb.as_str() {
        "GET" => Some(Hold(events("event: endpoint\ndata: file:///etc/passwd\n\n"))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    // C-GUIDE-20 C-GUIDE-21 C-GUIDE-27
    "opens the old stream with a script" => |a| match a.verb.as_str() {
        "GET" => Some(Hold(events("event: endpoint\ndata: javascript:alert(1)\n\n"))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    "opens the old stream without an address" => |a| match a.verb.as_str() {
        "GET" => Some(Bytes(events("data: {}\n\n"))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    "opens the old stream and ends it" => |a| match a.verb.as_str() {
        "GET" => Some(Bytes(events("event: endpoint\ndata: /message\n\n"))),
        "POST" if a.path == "/message" => Some(Bytes(answer("202 Accepted", "", ""))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    "opens the old stream and refuses what is posted" => |a| match a.verb.as_str() {
        "GET" => Some(Hold(events("event: endpoint\ndata: /message\n\n"))),
        "POST" if a.path == "/message" => Some(Bytes(answer("400 Bad Request", "", "no such session"))),
        _ => Some(Bytes(answer("405 Method Not Allowed", "", ""))),
    },
    "asks before the handshake" => |a| on(a.begins(), || Bytes(events(&format!("data: {}\n\ndata: {}\n\n", r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#, result_of(a))))),
}

/// What became of our client.
pub async fn suffer(impostor: &Impostor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let elsewhere = format!("http://{}", other.local_addr().unwrap());
    // Whatever comes to the other server is a leak.
    let leaked = Arc::new(Mutex::new(false));
    let leaks = leaked.clone();
    let watching = tokio::spawn(async move {
        while other.accept().await.is_ok() {
            *leaks.lock().unwrap() = true;
        }
    });
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let (play, served, address) = (impostor.play, counts.clone(), own.clone());
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(
                stream,
                play,
                served.clone(),
                address.clone(),
                elsewhere.clone(),
            ));
        }
    });
    let outcome = use_it(&format!("{own}/mcp"), &own).await;
    serving.abort();
    watching.abort();
    let leaked = if *leaked.lock().unwrap() {
        "; LEAKED"
    } else {
        ""
    };
    format!("{outcome}{leaked}")
}

async fn use_it(url: &str, own: &str) -> String {
    let mut limits = Limits::default();
    limits.message_bytes = 256 * 1024;
    limits.request_timeout = Duration::from_secs(2);
    limits.initialize_timeout = Duration::from_secs(4);
    let target = HttpTarget::new(url).bearer("a-token-that-nobody-else-may-see");
    let connecting = Client::builder("victim", "1")
        .limits(limits)
        .revisions(compere::Revision::NEGOTIABLE)
        .connect(target);
    let shown = |error: compere::Error| {
        let text = error.to_string().replace(own, "http://server");
        let kind = match error.kind() {
            ErrorKind::Protocol(_) => "protocol",
            ErrorKind::Io | ErrorKind::AnswerLost => "io",
            ErrorKind::HttpStatus(_) => "status",
            _ => "other",
        };
        format!("{kind}: {}", text.chars().take(160).collect::<String>())
    };
    let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await;
    let client = match connected {
        Err(_) => return "the client waits for ever".to_owned(),
        Ok(Err(error)) => return format!("not connected, {}", shown(error)),
        Ok(Ok(client)) => client,
    };
    let calling = client.call("tool", json!({"secret": "of the person"}));
    let called = tokio::time::timeout(Duration::from_secs(20), calling.into_future()).await;
    let called = match called {
        Err(_) => "the call waits for ever".to_owned(),
        Ok(Err(error)) => shown(error),
        Ok(Ok(output)) => format!("answer {}", output.joined_text()),
    };
    let again = client.call("tool", json!({})).into_future();
    let alive = match tokio::time::timeout(Duration::from_secs(20), again).await {
        Ok(Ok(_)) => "; then good",
        Ok(Err(_)) => "; then the same",
        Err(_) => "; then nothing",
    };
    let closing = tokio::time::timeout(Duration::from_secs(20), client.close()).await;
    let closed = if closing.is_err() {
        "; does not close"
    } else {
        ""
    };
    format!("{called}{alive}{closed}")
}

async fn serve(
    mut stream: TcpStream,
    play: fn(&Asked) -> Option<Play>,
    counts: Arc<[AtomicUsize; 3]>,
    own: String,
    other: String,
) {
    let mut read = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Some((head, body, used)) = request(&read) else {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
            }
            continue;
        };
        read.drain(..used);
        let mut words = head.split_whitespace();
        let (verb, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let kind = match message["method"].as_str() {
            Some("initialize") => 0,
            Some("tools/call") => 1,
            _ => 2,
        };
        let asked = Asked {
            verb: verb.to_owned(),
            path: path.to_owned(),
            head: head.to_ascii_lowercase(),
            before: counts[kind].fetch_add(1, Ordering::SeqCst),
            message,
            own: own.clone(),
            other: other.clone(),
        };
        // The second call finds a good server, so that it shows what is left of the client.
        let played = match asked.calls()
            && asked.before > 0
            && asked.message["params"]["arguments"] == json!({})
        {
            true => None,
            false => play(&asked),
        };
        match played.unwrap_or_else(|| good(&asked)) {
            Bytes(bytes) => {
                let keeps = find(&bytes, b"content-length").is_some();
                if stream.write_all(&bytes).await.is_err() || !keeps {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
            Hold(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.read(&mut buffer).await;
                return;
            }
            Endless(bytes, again) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
                while stream.write_all(&again).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                return;
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// The first request in these bytes, if it is whole: its head, its body, their length.
fn request(bytes: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let body = bytes.get(end..end + length)?.to_vec();
    Some((head, body, end + length))
}
