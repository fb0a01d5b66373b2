//! A provider of models that speaks as the real ones do: OpenAI, Anthropic, Gemini, Ollama.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The key that it is given.
pub const KEY: &str = "sk-very-secret-1234";

/// A provider: each request it got, as a path, its headers and its body.
#[derive(Clone)]
pub struct Provider {
    pub got: Arc<Mutex<Vec<(String, String, Value)>>>,
    /// Instead of an answer: what is written, and then the connection is closed.
    pub fails: Arc<Mutex<Option<String>>>,
    pub port: u16,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            got: Arc::default(),
            fails: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let serving = provider.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let (head, body) = loop {
                        let mut piece = [0; 4_096];
                        match stream.read(&mut piece).await {
                            Ok(count) if count > 0 => request.extend(&piece[..count]),
                            _ => return,
                        }
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else {
                            continue;
                        };
                        let length = head.to_lowercase();
                        let length = length.split("content-length: ").nth(1).unwrap();
                        let length: usize = length.lines().next().unwrap().parse().unwrap();
                        if body.len() >= length {
                            break (head.to_owned(), body.to_owned());
                        }
                    };
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    let body: Value = serde_json::from_str(&body).unwrap();
                    let answer = answer(&path);
                    serving.got.lock().unwrap().push((path, head, body));
                    let fails = serving.fails.lock().unwrap().clone();
                    let written = fails.unwrap_or_else(|| ok(&answer));
                    let _ = stream.write_all(written.as_bytes()).await;
                });
            }
        });
        provider
    }
}

/// An answer as it is written.
pub fn ok(answer: &Value) -> String {
    let answer = answer.to_string();
    let length = answer.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    )
}

/// As each of them answers.
fn answer(path: &str) -> Value {
    if path.ends_with("/chat/completions") {
        return json!({
            "id": "c1", "object": "chat.completion", "created": 1, "model": "the-model",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "from openai"},
            }],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        });
    }
    if path.ends_with("/messages") {
        return json!({
            "id": "m1", "type": "message", "role": "assistant", "model": "the-model",
            "content": [{"type": "text", "text": "from anthropic"}],
            "stop_reason": "max_tokens", "usage": {"input_tokens": 11, "output_tokens": 7},
        });
    }
    if path.contains(":generateContent") {
        return json!({
            "candidates": [{
                "content": {"role": "model", "parts": [{"text": "from gemini"}]},
                "finishReason": "STOP",
            }],
            "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18},
            "modelVersion": "the-model",
        });
    }
    json!({
        "model": "the-model", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop",
        "message": {"role": "assistant", "content": "from ollama"},
        "prompt_eval_count": 11, "eval_count": 7,
    })
}

/// It as a model of the person's.
pub fn model(provider: &Provider, kind: &str) -> Value {
    let path = match kind {
        "openai" | "anthropic" => "/v1",
        "gemini" => "/v1beta",
        _ => "",
    };
    json!({
        "name": format!("my-{kind}"), "provider": kind, "model": "the-model",
        "url": format!("http://127.0.0.1:{}{path}", provider.port),
        "key": "${file:key}", "price": {"asked": 1_000, "answered": 2_000},
    })
}
