//! A client that means harm over HTTP, or that is merely broken: what it sends to our server, byte by
//! byte, case by case.
//!
//! Every request begins as a good one would; a case changes what it is about.

use std::fmt::Write as _;

/// One attack.
pub struct Attack {
    /// Its name.
    pub name: String,
    /// What is done on a connection of its own.
    pub steps: Vec<Step>,
}

/// One step of an attack.
pub enum Step {
    /// These bytes. `{session}`, `{stranger}`, `{old}` and `{ended}` stand for ids of sessions: our
    /// own, another principal's, one of the old transport, one that was ended.
    Send(Vec<u8>),
    /// Reads one answer, whose status and words are part of the outcome.
    Answer,
    /// Reads until the server closes.
    Closed,
    /// Says nothing until the server has had enough.
    Silent,
    /// Closes its own side for writing.
    HangUp,
}

use Step::{Answer, Closed, HangUp, Send, Silent};

/// A request that can be changed.
struct Request {
    method: &'static str,
    path: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: bool,
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"h","version":"1"}}}"#;

impl Request {
    fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Vec::new(),
            length: true,
        }
        .header("host", "localhost")
        .header("authorization", "Bearer token-of-ada")
        .header("accept", "application/json, text/event-stream")
    }

    /// A ping in our session.
    fn ping() -> Self {
        Self::post(PING).header("mcp-session-id", "{session}")
    }

    fn post(body: impl AsRef<[u8]>) -> Self {
        let mut request = Self::new("POST", "/mcp").header("content-type", "application/json");
        request.body = body.as_ref().to_vec();
        request
    }

    /// A message in our session.
    fn say(body: impl AsRef<[u8]>) -> Self {
        Self::post(body).header("mcp-session-id", "{session}")
    }

    fn get() -> Self {
        Self::new("GET", "/mcp").header("mcp-session-id", "{session}")
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In place of the header that is there.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.header(name, value)
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    fn unmeasured(mut self) -> Self {
        self.length = false;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, self.path, self.version);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.length && !self.body.is_empty() {
            // The ids that stand in for others are 32 characters; none stands in a body.
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn attack(name: impl Into<String>, steps: Vec<Step>) -> Attack {
    Attack {
        name: name.into(),
        steps,
    }
}

/// One request, one answer.
fn one(name: impl Into<String>, request: Request) -> Attack {
    attack(name, vec![Send(request.bytes()), Answer])
}

/// Bytes, one answer.
fn raw(name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Attack {
    attack(name, vec![Send(bytes.as_ref().to_vec()), Answer])
}

/// All of them.
pub fn attacks() -> Vec<Attack> {
    let mut all = Vec::new();
    all.extend(lines_and_heads());
    all.extend(lengths_and_chunks());
    all.extend(media_types());
    all.extend(hosts_and_origins());
    all.extend(sessions());
    all.extend(events());
    all.extend(bodies());
    all.extend(old_transport());
    all.extend(slow_and_gone());
    all
}

fn lines_and_heads() -> Vec<Attack> {
    let method = |method: &'static str| {
        let mut request = Request::ping();
        request.method = method;
        one(format!("method {method}"), request)
    };
    let path = |path: &str| {
        let mut request = Request::ping();
        path.clone_into(&mut request.path);
        one(
            format!("path {}", path.chars().take(40).collect::<String>()),
            request,
        )
    };
    let version = |version: &'static str| {
        let mut request = Request::ping();
        request.version = version;
        one(format!("version {version}"), request)
    };
    let many = (0..300).fold(Request::ping(), |request, number| {
        request.header(&format!("x-{number}"), "1")
    });
    let ping = String::from_utf8_lossy(&Request::ping().bytes()).into_owned();
    let changed = |from: &str, to: &str| ping.replacen(from, to, 1);
    vec![
        method("PUT"),
        method("PATCH"),
        method("HEAD"),
        method("TRACE"),
        method("CONNECT"),
        method("post"),
        method("PROPFIND"),
        method("M\u{0}"),
        path("/"),
        path("/mcp/"),
        path("//mcp"),
        path("/mcp/../mcp"),
        path("/%6dcp"),
        path("/MCP"),
        path("/mcp?x=1"),
        path("/mcp#fragment"),
        path("mcp"),
        path("*"),
        path("http://localhost/mcp"),
        path("http://evil.example.com/mcp"),
        path(&format!("/{}", "a".repeat(100_000))),
        path("/mcp\u{7f}"),
        version("HTTP/1.0"),
        version("HTTP/2.0"),
        version("HTTP/9"),
        version("ICY"),
        raw("old-style line", "GET /mcp\r\n\r\n"),
        raw("words", "hello server\r\n\r\n"),
        raw("http2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        raw(
            "tls hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
        raw("zeros", [0_u8; 64]),
        raw("bare line feeds", ping.replace("\r\n", "\n")),
        raw("space before colon", changed("accept:", "accept :")),
        raw(
            "folded header",
            changed("accept:", "x-folded: a\r\n b\r\naccept:"),
        ),
        raw(
            "header without colon",
            changed("accept:", "nonsense\r\naccept:"),
        ),
        raw(
            "header with nul",
            changed("accept:", "x-nul: a\u{0}b\r\naccept:"),
        ),
        raw(
            "header with control",
            changed("accept:", "x-bell: a\u{7}b\r\naccept:"),
        ),
        raw(
            "header not ascii",
            changed("accept:", "x-ümlaut: a\r\naccept:"),
        ),
        raw(
            "value not ascii",
            changed("accept:", "x-name: Zoë\r\naccept:"),
        ),
        raw("empty name", changed("accept:", ": a\r\naccept:")),
        one("300 headers", many),
        one(
            "a header of 100 KB",
            Request::ping().header("x-long", &"a".repeat(100_000)),
        ),
        one("expect", Request::ping().header("expect", "200-ok")),
        one(
            "upgrade",
            Request::ping()
                .header("connection", "upgrade")
                .header("upgrade", "websocket"),
        ),
        one(
            "connection words",
            Request::ping().header("connection", "close, close, host"),
        ),
    ]
}

fn lengths_and_chunks() -> Vec<Attack> {
    let length = |value: &str| {
        let request = Request::ping().unmeasured().header("content-length", value);
        one(format!("length {value}"), request)
    };
    let encoding = |value: &str| {
        let request = Request::ping()
            .unmeasured()
            .header("transfer-encoding", value);
        one(format!("encoding {value}"), request)
    };
    let chunked = |name: &str, body: &str| {
        let mut request = Request::say(body).unmeasured();
        request
            .headers
            .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        one(format!("chunks {name}"), request)
    };
    let whole = format!("{:x}\r\n{PING}\r\n0\r\n\r\n", PING.len());
    let (first, second) = PING.split_at(10);
    let halves = format!(
        "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let bytes: String = PING
        .chars()
        .map(|char| format!("1\r\n{char}\r\n"))
        .collect();
    let smuggled = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer token-of-ada\r\nmcp-session-id: {{session}}\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n{PING}"
    );
    let both = Request::say(&whole).header("transfer-encoding", "chunked");
    vec![
        length("-1"),
        length("+40"),
        length("0x28"),
        length("40, 40"),
        length("40, 41"),
        length("four"),
        length(""),
        length("99999999999999999999999"),
        length("9999999"),
        one(
            "two lengths",
            Request::ping().header("content-length", "40"),
        ),
        one(
            "two other lengths",
            Request::ping().header("content-length", "41"),
        ),
        one("no length and no chunks", Request::ping().unmeasured()),
        attack(
            "a body that is shorter",
            vec![
                Send(
                    Request::ping()
                        .unmeasured()
                        .header("content-length", "4000")
                        .bytes(),
                ),
                HangUp,
                Answer,
            ],
        ),
        attack(
            "a second request in the body",
            vec![Send(smuggled.into_bytes()), Answer, Answer],
        ),
        one("length and chunks", both),
        encoding("identity"),
        encoding("gzip"),
        encoding("gzip, chunked"),
        encoding("chunked, gzip"),
        encoding("Chunked "),
        encoding("xchunked"),
        chunked("whole", &whole),
        chunked("halves", &halves),
        chunked("of one byte", &format!("{bytes}0\r\n\r\n")),
        chunked("no size", &format!("\r\n{PING}\r\n0\r\n\r\n")),
        chunked("bad size", &format!("xyz\r\n{PING}\r\n0\r\n\r\n")),
        chunked("negative size", &format!("-5\r\n{PING}\r\n0\r\n\r\n")),
        chunked(
            "size beyond 64 bits",
            &format!("fffffffffffffffff\r\n{PING}\r\n0\r\n\r\n"),
        ),
        chunked("size that lies", &format!("5\r\n{PING}\r\n0\r\n\r\n")),
        chunked(
            "endless extension",
            &format!("5;{}\r\n", "a".repeat(200_000)),
        ),
        chunked(
            "endless trailers",
            &format!(
                "{:x}\r\n{PING}\r\n0\r\n{}\r\n",
                PING.len(),
                "x-t: 1\r\n".repeat(20_000)
            ),
        ),
        chunked(
            "too much",
            &format!("{:x}\r\n{}\r\n0\r\n\r\n", 200_000, " ".repeat(200_000)),
        ),
        one("a body with GET", {
            let mut request = Request::ping();
            request.method = "GET";
            request.with("last-event-id", "1-1")
        }),
        one(
            "gzipped",
            Request::ping().header("content-encoding", "gzip"),
        ),
    ]
}

fn media_types() -> Vec<Attack> {
    let content = |value: &str| {
        one(
            format!("content {value}"),
            Request::ping().with("content-type", value),
        )
    };
    let accept = |value: &str| {
        one(
            format!("accept {value}"),
            Request::ping().with("accept", value),
        )
    };
    vec![
        content("text/plain"),
        content("application/x-www-form-urlencoded"),
        content("multipart/form-data; boundary=x"),
        content("text/json"),
        content("application/jsonx"),
        content("application/json, text/plain"),
        content("APPLICATION/JSON"),
        content("application/json;charset=utf-16"),
        content(""),
        one(
            "content twice",
            Request::ping().header("content-type", "text/plain"),
        ),
        one("content missing", Request::ping().without("content-type")),
        accept("text/html"),
        accept("application/json"),
        accept("text/event-stream"),
        accept("application/json;q=0, text/event-stream"),
        accept("application/*, text/*"),
        accept(",,,"),
        accept(&"a/b,".repeat(2_000)),
        one("accept missing", Request::ping().without("accept")),
        one(
            "accept for a stream of pages",
            Request::get().with("accept", "text/html"),
        ),
    ]
}

fn hosts_and_origins() -> Vec<Attack> {
    let host = |value: &str| one(format!("host {value}"), Request::ping().with("host", value));
    let origin = |value: &str| {
        one(
            format!("origin {value}"),
            Request::ping().header("origin", value),
        )
    };
    let mut all = vec![one("host missing", Request::ping().without("host"))];
    for value in [
        "",
        "evil.example.com",
        "localhost.evil.example.com",
        "localhost@evil.example.com",
        "evil.example.com:localhost",
        "127.0.0.1.nip.io",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::1",
        "localhost:80:80",
        "local host",
        "127.0.0.53",
    ] {
        all.push(host(value));
    }
    for value in [
        "http://evil.example.com",
        "null",
        "",
        "localhost",
        "http://localhost.evil.example.com",
        "http://localhost@evil.example.com",
        "http://127.0.0.1.nip.io",
        "http://localhost/path",
        "https://[::1]:8443",
        "chrome-extension://abcdef",
        "file://",
        "HTTP://LOCALHOST",
        "http://localhost http://evil.example.com",
    ] {
        all.push(origin(value));
    }
    all.push(one(
        "two hosts",
        Request::ping().header("host", "localhost"),
    ));
    all.push(one(
        "two origins",
        Request::ping()
            .header("origin", "http://localhost")
            .header("origin", "null"),
    ));
    all.push(one("preflight of a stranger", {
        let mut request = Request::new("OPTIONS", "/mcp");
        request = request.header("origin", "http://evil.example.com");
        request.header("access-control-request-method", "POST")
    }));
    all
}

fn sessions() -> Vec<Attack> {
    let id = |name: &str, value: &str| {
        one(
            format!("session {name}"),
            Request::post(PING).header("mcp-session-id", value),
        )
    };
    let call = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"echo","arguments":{"message":"x"}}}"#;
    let version = |value: &str| {
        one(
            format!("version {value:?}"),
            Request::ping().header("mcp-protocol-version", value),
        )
    };
    vec![
        one("session missing", Request::post(PING)),
        id("empty", ""),
        id("of another", "{stranger}"),
        id("of the old transport", "{old}"),
        id("that was ended", "{ended}"),
        id("of zeros", &"0".repeat(32)),
        id("too short", "abc"),
        id("very long", &"a".repeat(10_000)),
        id("with spaces", " { } "),
        id("with quotes", "\"{session}\""),
        id("of a path", "../../etc/passwd"),
        id("negative", "-1"),
        one(
            "session twice",
            Request::ping().header("mcp-session-id", "{session}"),
        ),
        one("session in the query", {
            let mut request = Request::post(PING);
            request.path = "/mcp?sessionId={session}".to_owned();
            request
        }),
        one(
            "call in the session of another",
            Request::post(call).header("mcp-session-id", "{stranger}"),
        ),
        one(
            "stream of another",
            Request::get().with("mcp-session-id", "{stranger}"),
        ),
        one(
            "stream of an ended session",
            Request::get().with("mcp-session-id", "{ended}"),
        ),
        one("end of another", {
            let mut request = Request::get().with("mcp-session-id", "{stranger}");
            request.method = "DELETE";
            request
        }),
        one("end without a session", {
            let mut request = Request::get().without("mcp-session-id");
            request.method = "DELETE";
            request
        }),
        one("initialize inside a session", Request::say(INITIALIZE)),
        one(
            "initialize without params",
            Request::post(r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#),
        ),
        one(
            "initialize as a notification",
            Request::post(INITIALIZE.replace("\"id\":0,", "")),
        ),
        one(
            "initialize in a batch",
            Request::post(format!("[{INITIALIZE}]")),
        ),
        one("a call before initialize", Request::post(call)),
        one(
            "initialized without a session",
            Request::post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        ),
        version(""),
        version("1999-01-01"),
        version("2026-07-28"),
        version("2025-06-18, 2025-03-26"),
        version(&"2".repeat(5_000)),
        one(
            "version twice",
            Request::ping()
                .header("mcp-protocol-version", "2025-11-25")
                .header("mcp-protocol-version", "2025-11-25"),
        ),
        one("no token", Request::ping().without("authorization")),
        one(
            "two tokens",
            Request::ping().header("authorization", "Bearer token-of-ada"),
        ),
        one(
            "a wrong token",
            Request::ping().with("authorization", "Bearer wrong-token"),
        ),
        one("token in the query", {
            let mut request = Request::ping().with("authorization", "Basic YTpi");
            request.path = "/mcp?access_token=token-of-ada".to_owned();
            request
        }),
    ]
}

fn events() -> Vec<Attack> {
    let after = |value: &str| {
        one(
            format!("after {value:.40}"),
            Request::get().header("last-event-id", value),
        )
    };
    let mut all: Vec<Attack> = [
        "",
        "0",
        "-",
        "1-",
        "-1",
        "1-1-1",
        "a-b",
        "0x1-1",
        "1 - 1",
        "+1-1",
        "99999999-1",
        "1-99999999",
        "99999999999999999999-1",
        "1-99999999999999999999",
        "0-0",
        "18446744073709551615-0",
    ]
    .into_iter()
    .map(after)
    .collect();
    all.push(after(&"1".repeat(20_000)));
    all.push(one(
        "after twice",
        Request::get()
            .header("last-event-id", "0-0")
            .header("last-event-id", "0-0"),
    ));
    all.push(one(
        "after an event of another session",
        Request::get()
            .with("mcp-session-id", "{stranger}")
            .header("last-event-id", "1-1"),
    ));
    all.push(one(
        "an answer for nobody",
        Request::say(r#"{"jsonrpc":"2.0","id":12345,"result":{}}"#),
    ));
    all.push(one(
        "an answer with an id of text",
        Request::say(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#),
    ));
    all.push(one(
        "a cancellation of nobody",
        Request::say(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}"#,
        ),
    ));
    all.push(one("progress of nobody", Request::say(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#)));
    all
}

fn bodies() -> Vec<Attack> {
    let body = |name: &str, bytes: &[u8]| one(format!("body {name}"), Request::say(bytes));
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":{}{}}}}}",
        "[".repeat(2_000),
        "]".repeat(2_000)
    );
    let wide = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":[{}1]}}}}",
        "1,".repeat(60_000)
    );
    let long_id = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"ping\"}}",
        "i".repeat(5_000)
    );
    let batch = |count: usize| format!("[{}]", vec![PING; count].join(","));
    vec![
        body("empty object", b"{}"),
        body("only blanks", b"     "),
        body(
            "a byte order mark",
            b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        ),
        body(
            "not utf-8",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xffng\"}",
        ),
        body("utf-16", b"{\0\"\0j\0"),
        body(
            "a nul",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\0",
        ),
        body("two messages", format!("{PING}{PING}").as_bytes()),
        body("two lines", format!("{PING}\n{PING}").as_bytes()),
        body(
            "a line feed in a string",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
        ),
        body(
            "keys twice",
            br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        ),
        body(
            "other version",
            br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        ),
        body("no version", br#"{"id":1,"method":"ping"}"#),
        body("id null", br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#),
        body("id float", br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
        body("id object", br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#),
        body("id long", long_id.as_bytes()),
        body("method number", br#"{"jsonrpc":"2.0","id":1,"method":7}"#),
        body(
            "method unknown",
            br#"{"jsonrpc":"2.0","id":1,"method":"nothing/here"}"#,
        ),
        body(
            "method of the server",
            br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#,
        ),
        body(
            "params array",
            br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        ),
        body(
            "result and error",
            br#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}"#,
        ),
        body("deep", deep.as_bytes()),
        body("wide", wide.as_bytes()),
        body("a batch", batch(2).as_bytes()),
        body("an empty batch", b"[]"),
        body("a batch of a thousand", batch(1_000).as_bytes()),
        body("a nested batch", format!("[[{PING}]]").as_bytes()),
        body("html", b"<script>alert(1)</script>"),
        body("form", b"jsonrpc=2.0&id=1&method=ping"),
        body("large", format!("{PING}{}", " ".repeat(120_000)).as_bytes()),
        body(
            "too large",
            format!("{PING}{}", " ".repeat(140_000)).as_bytes(),
        ),
    ]
}

fn old_transport() -> Vec<Attack> {
    let posts = |name: &str, path: &str, body: &str| {
        let mut request = Request::post(body);
        path.clone_into(&mut request.path);
        one(format!("old {name}"), request)
    };
    vec![
        posts("without a session", "/message", PING),
        posts("with an empty session", "/message?sessionId=", PING),
        posts(
            "with a session of nobody",
            "/message?sessionId=00000000000000000000000000000000",
            PING,
        ),
        posts(
            "with a session of the new transport",
            "/message?sessionId={session}",
            PING,
        ),
        posts(
            "with the session of another",
            "/message?sessionId={old}",
            PING,
        ),
        posts(
            "with two sessions",
            "/message?sessionId=1&sessionId={old}",
            PING,
        ),
        posts("with other words", "/message?session={old}&x=%00", PING),
        posts("to the stream", "/sse", PING),
        posts("of what is no JSON", "/message?sessionId={old}", "{"),
        one("old stream of pages", {
            let mut request = Request::new("GET", "/sse");
            request = request.with("accept", "text/html");
            request
        }),
        one(
            "old stream where one posts",
            Request::new("GET", "/message?sessionId={old}"),
        ),
        one("old end", Request::new("DELETE", "/sse")),
    ]
}

fn slow_and_gone() -> Vec<Attack> {
    let ping = Request::ping().bytes();
    let half = ping.len() / 2;
    let head_end = ping.len() - PING.len();
    let pipelined = ping.repeat(20);
    let mut then_words = ping.clone();
    then_words.extend_from_slice(b"nonsense\r\n\r\n");
    vec![
        attack("says nothing", vec![Silent]),
        attack("stops within the line", vec![Send(b"POST /mc".to_vec()), Silent]),
        attack("stops within the head", vec![Send(ping[..half.min(head_end - 4)].to_vec()), Silent]),
        attack("stops before the body", vec![Send(ping[..head_end].to_vec()), Answer]),
        attack("stops within the body", vec![Send(ping[..ping.len() - 3].to_vec()), Answer]),
        attack("leaves within the head", vec![Send(ping[..head_end - 10].to_vec()), HangUp, Closed]),
        attack("leaves within the body", vec![Send(ping[..ping.len() - 3].to_vec()), HangUp, Answer]),
        attack("leaves at once", vec![HangUp, Closed]),
        attack("twenty requests at once", {
            let mut steps = vec![Send(pipelined)];
            steps.extend((0..20).map(|_| Answer));
            steps
        }),
        attack("words after a request", vec![Send(then_words), Answer, Answer]),
        attack("a call that leaves", vec![
            Send(Request::say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"waits","arguments":{}}}"#).bytes()),
            HangUp,
            Closed,
        ]),
    ]
}
