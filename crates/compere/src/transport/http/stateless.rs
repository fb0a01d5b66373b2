//! Requests to a server of the stateless era over HTTP: each is a POST of its own, with headers that
//! repeat what its body says. Nothing is kept between two of them but which parameters of which tools go
//! into headers too, which lists of tools have said.
//!
//! A request is withdrawn by letting go of its answer. One whose answer breaks off is lost: there is no
//! coming back for the rest.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use compere_proto::connection::classify::named_by;
use compere_proto::connection::stateless::PROTOCOL_VERSION as VERSION_KEY;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::wire::header::{self, Mirrored};
use compere_proto::wire::scan::{Message, Scanner};
use compere_proto::{Limits, Method};
use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Is this line a request of the stateless era? It was written by us.
pub(crate) fn is_stateless(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line).unwrap_or_default();
    // The head of params stands first, before anything that came from elsewhere.
    let begins = |at: usize| text.get(..at + 64).unwrap_or(text).contains(VERSION_KEY);
    text.find("\"params\":").is_some_and(begins)
}

/// The request that a cancellation is about.
pub(crate) fn cancelled(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Cancelled<'a> {
        method: &'a str,
        params: About,
    }
    #[derive(Deserialize)]
    struct About {
        #[serde(rename = "requestId")]
        request_id: i64,
    }

    let message: Cancelled<'_> = serde_json::from_slice(line).ok()?;
    (message.method == Method::Cancelled.name()).then_some(message.params.request_id)
}

/// Which parameters of which tools also stand in headers.
#[derive(Default)]
pub(crate) struct Marks(Mutex<HashMap<String, Arc<[Mirrored]>>>);

impl Marks {
    fn of(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(tool).cloned()
    }

    /// Learns from a page of tools. Tools whose marks break a rule are left out of it: the page without
    /// them, if there are any.
    pub(crate) fn learn(&self, message: &[u8], limits: &Limits) -> Option<Vec<u8>> {
        // Most tools have none.
        memchr::memmem::find(message, b"x-mcp-header")?;
        let mut message: Value = serde_json::from_slice(message).ok()?;
        let tools = message
            .get_mut("result")?
            .get_mut("tools")?
            .as_array_mut()?;
        let before = tools.len();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tools.retain(|tool| {
            let name = tool["name"].as_str().unwrap_or_default();
            match header::mirrored(&tool["inputSchema"]) {
                Ok(marks) => {
                    if marks.is_empty() || known.len() >= limits.list_items {
                        known.remove(name);
                    } else {
                        known.insert(name.to_owned(), marks.into());
                    }
                    true
                }
                Err(why) => {
                    let tool = crate::text::escape_line(name);
                    tracing::warn!(tool, %why, "a tool is left out: its schema breaks a rule");
                    false
                }
            }
        });
        drop(known);
        if tools.len() == before {
            return None;
        }
        serde_json::to_vec(&message).ok()
    }
}

/// A request as it goes over HTTP.
pub(crate) struct Posted {
    pub(crate) method: Option<Method>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The headers of a request. What cannot be read has none: the server will say so.
pub(crate) fn posted(line: &Bytes, marks: &Marks, limits: &Limits) -> Posted {
    let mut scanner = Scanner::new();
    let scanned = scanner.scan(line, limits);
    let Ok(Message::Request { method, params, .. }) = scanned else {
        return Posted {
            method: None,
            headers: Vec::new(),
        };
    };
    let name = method.text();
    let method = Method::from_name(&name);
    let mut headers = Vec::new();
    let mut add = |header: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.push((header, value));
        }
    };
    let version = params
        .node("_meta")
        .and_then(|meta| meta.get(VERSION_KEY)?.as_str());
    add(VERSION, &version.unwrap_or_default());
    add(METHOD, &name);
    let member = method.and_then(named_by);
    if let Some(named) = member.and_then(|member| params.get_str(member)) {
        add(NAME, &header::encode(&named));
        let marks = (method == Some(Method::ToolsCall)).then(|| marks.of(&named));
        for mark in marks.flatten().iter().flat_map(|marks| marks.iter()) {
            let header = format!("mcp-param-{}", mark.name.to_ascii_lowercase());
            let header = HeaderName::from_bytes(header.as_bytes());
            if let (Ok(header), Some(text)) = (header, mark.text(params.node("arguments"))) {
                add(header, &header::encode(&text));
            }
        }
    }
    Posted { method, headers }
}

/// The error in the body of a failed request, if there is one.
pub(crate) fn error_in(body: &[u8]) -> Option<ErrorObject> {
    #[derive(Deserialize)]
    struct Said {
        error: ErrorObject,
    }

    let said: Said = serde_json::from_slice(body).ok()?;
    Some(said.error)
}

/// Does only a server of the stateless era say that?
pub(crate) fn is_of_the_era(error: &ErrorObject) -> bool {
    matches!(
        error.code,
        code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY | code::UNSUPPORTED_VERSION
    )
}
