//! The ways in which a stateless client reaches a server: a pipe, and HTTP without a socket. A test says
//! what it has to say once and runs over each.
//!
//! Every message is checked against the schema of the revision.

use compere::server::http::{HttpOptions, HttpService};
use compere::{Revision, ServerHandle};
use compere_testkit::schema::{Author, SchemaCheck};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tower_service::Service;

/// One way in.
pub enum Door {
    Pipe {
        lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
        writer: WriteHalf<DuplexStream>,
    },
    Http(HttpService),
}

/// What a request got.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// What came before the answer.
    pub before: Vec<Value>,
    pub answer: Value,
    /// The status, where there is one.
    pub status: u16,
}

impl Said {
    pub fn code(&self) -> i64 {
        self.answer["error"]["code"].as_i64().unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        let content = &self.answer["result"]["content"];
        content[0]["text"].as_str().unwrap_or_default()
    }
}

/// Both doors of a server.
pub fn doors(server: &ServerHandle) -> [Door; 2] {
    [Door::pipe(server), Door::http(server, HttpOptions::new())]
}

impl Door {
    pub fn pipe(server: &ServerHandle) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = server.clone();
        tokio::spawn(async move { server.serve(theirs).await });
        let (reader, writer) = tokio::io::split(ours);
        let lines = BufReader::new(reader).lines();
        Self::Pipe { lines, writer }
    }

    pub fn http(server: &ServerHandle, options: HttpOptions) -> Self {
        Self::Http(server.http(options).unwrap())
    }

    /// Says something and waits for its answer.
    pub async fn say(&mut self, request: &Value) -> Said {
        let mut schema = SchemaCheck::load(Revision::V2026_07_28);
        if let Some(schema) = &mut schema {
            schema.observe(Author::Client, &request.to_string());
        }
        let said = self.say_anything(request).await;
        if let Some(schema) = &mut schema {
            for message in said.before.iter().chain([&said.answer]) {
                schema.check(Author::Server, &message.to_string()).unwrap();
            }
        }
        said
    }

    /// The same with what no schema knows.
    pub async fn say_anything(&mut self, request: &Value) -> Said {
        let said = match self {
            Self::Pipe { lines, writer } => {
                let line = format!("{request}\n");
                writer.write_all(line.as_bytes()).await.unwrap();
                let mut before = Vec::new();
                loop {
                    let line = lines.next_line().await.unwrap().unwrap();
                    let message: Value = serde_json::from_str(&line).unwrap();
                    if message.get("method").is_none() {
                        break Said {
                            before,
                            answer: message,
                            status: 0,
                        };
                    }
                    before.push(message);
                }
            }
            Self::Http(service) => posted(service, request, &[]).await,
        };
        assert_eq!(said.answer.get("id"), request.get("id"), "{said:?}");
        said
    }
}

/// A request as a client of 2026-07-28 makes it.
pub fn request(id: u32, method: &str, mut params: Value, capabilities: Value) -> Value {
    let meta = &mut params["_meta"];
    if meta.is_null() {
        *meta = json!({});
    }
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
    meta["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// The headers that go with a request.
pub fn headers(request: &Value) -> Vec<(&'static str, String)> {
    let params = &request["params"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut headers = vec![
        ("host", "localhost".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json, text/event-stream".to_owned()),
    ];
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    headers.extend(text(version).map(|version| ("mcp-protocol-version", version)));
    headers.extend(text(&request["method"]).map(|method| ("mcp-method", method)));
    let name = match request["method"].as_str() {
        Some("tools/call" | "prompts/get") => text(&params["name"]),
        Some("resources/read") => text(&params["uri"]),
        _ => None,
    };
    headers.extend(name.map(|name| ("mcp-name", name)));
    headers
}

/// Posts a request; `other` headers stand in for those of the same name, an empty value for none.
pub async fn posted(service: &mut HttpService, request: &Value, other: &[(&str, &str)]) -> Said {
    let mut post = Request::builder().method(Method::POST).uri("/mcp");
    for (name, value) in headers(request) {
        if !other.iter().any(|(other, _)| *other == name) {
            post = post.header(name, value);
        }
    }
    for (name, value) in other.iter().filter(|(_, value)| !value.is_empty()) {
        post = post.header(*name, *value);
    }
    let body = Full::new(bytes::Bytes::from(request.to_string()));
    let response = service.call(post.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    let mut messages: Vec<Value> = match kind.and_then(|kind| kind.to_str().map(str::to_owned).ok())
    {
        Some(kind) if kind == "text/event-stream" => text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|message| serde_json::from_str(message).unwrap())
            .collect(),
        Some(_) => vec![serde_json::from_str(text).unwrap()],
        None => vec![Value::Null],
    };
    Said {
        answer: messages.pop().unwrap_or_default(),
        before: messages,
        status,
    }
}
