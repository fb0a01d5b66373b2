//! The conversation of 2026-07-28: every request carries its version and the client's
//! capabilities in `_meta`, and a server that needs input answers with questions.
//!
//! This file holds the envelope, the check of a request against it, what every result begins with, and
//! the result types of a round of input. Sealed state over several rounds and subscriptions are not here
//! yet; a server speaks this era only when it is told to.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::capability::ClientCapabilities;
use crate::jsonrpc::{ErrorObject, code};
use crate::lifecycle::Implementation;
use crate::logging::LoggingLevel;
use crate::method::Method;
use crate::object::RawJson;
use crate::revision::{Era, Revision};
use crate::wire::scan::{Params, member};

/// `_meta` key: the version of this request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta` key: what the client can do for this request.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta` key: who the client says it is.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// `_meta` key: the least level of log messages for this request.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta` key: who the server says it is.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// What a request says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The version that it is written in.
    pub revision: Revision,
    /// What the client can do, for this request only.
    pub client_capabilities: ClientCapabilities,
    /// Who the client says it is. For logs, never for decisions.
    pub client_info: Option<Implementation>,
    /// The least level of log messages that it wants to have for this request; none if it does not say.
    pub log_level: Option<LoggingLevel>,
}

/// Does this request belong to the stateless era? Asked once, at the door.
pub fn is_stateless(params: &Params<'_>) -> bool {
    params
        .get("_meta")
        .is_some_and(|meta| meta.starts_with('{') && member(meta, PROTOCOL_VERSION).is_some())
}

impl Envelope {
    /// Reads and checks the envelope of a request; `supported` are the versions that are served.
    pub fn read(params: &Params<'_>, supported: &[Revision]) -> Result<Self, ErrorObject> {
        let meta = params
            .get("_meta")
            .filter(|meta| meta.starts_with('{'))
            .ok_or_else(|| missing("_meta"))?;
        let version: String = required(meta, PROTOCOL_VERSION)?;
        let revision = supported
            .iter()
            .copied()
            .find(|revision| revision.era() == Era::Stateless && revision.as_str() == version)
            .ok_or_else(|| unsupported(&version, supported))?;
        Ok(Self {
            revision,
            client_capabilities: required(meta, CLIENT_CAPABILITIES)?,
            // Self-reported and only for display: what cannot be read counts as absent.
            client_info: member(meta, CLIENT_INFO).and_then(|raw| serde_json::from_str(raw).ok()),
            log_level: member(meta, LOG_LEVEL)
                .map(|raw| read(raw, LOG_LEVEL))
                .transpose()?,
        })
    }
}

fn required<T: serde::de::DeserializeOwned>(meta: &str, key: &str) -> Result<T, ErrorObject> {
    let raw = member(meta, key).ok_or_else(|| missing(key))?;
    read(raw, key)
}

fn read<T: serde::de::DeserializeOwned>(raw: &str, key: &str) -> Result<T, ErrorObject> {
    serde_json::from_str(raw)
        .map_err(|error| ErrorObject::invalid_params(format!("Invalid _meta {key}: {error}")))
}

fn missing(key: &str) -> ErrorObject {
    ErrorObject::invalid_params(format!("Invalid params: {key} is missing"))
}

fn unsupported(requested: &str, supported: &[Revision]) -> ErrorObject {
    let supported: Vec<&str> = supported.iter().map(|one| one.as_str()).collect();
    let requested: String = requested.chars().take(64).collect();
    ErrorObject::new(code::UNSUPPORTED_VERSION, "Unsupported protocol version")
        .with_data(&serde_json::json!({ "supported": supported, "requested": requested }))
}

/// A request needs a capability that the client did not declare.
pub fn missing_capability(name: &str) -> ErrorObject {
    let mut required = serde_json::Map::new();
    required.insert(name.to_owned(), serde_json::json!({}));
    ErrorObject::new(
        code::MISSING_CLIENT_CAPABILITY,
        format!("The client capability {name} is needed"),
    )
    .with_data(&serde_json::json!({ "requiredCapabilities": required }))
}

/// One question of a round of input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRequest {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// Its params.
    pub params: RawJson,
}

impl InputRequest {
    /// A question.
    pub fn new(method: Method, params: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            method: method.name().to_owned(),
            params: RawJson::from_value(params)?,
        })
    }
}

/// Answers by key, as they come with a retry.
pub type InputResponses = BTreeMap<String, RawJson>;

/// A result that asks instead of answering.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRequired {
    /// The questions by key.
    pub input_requests: BTreeMap<String, InputRequest>,
}

impl Serialize for InputRequired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("resultType", "input_required")?;
        map.serialize_entry("inputRequests", &self.input_requests)?;
        map.end()
    }
}

/// Reads the answers of a retry. A value that is no object counts as none, so that the questions
/// are asked again.
pub fn input_responses(params: &Params<'_>) -> InputResponses {
    params
        .get("inputResponses")
        .and_then(|raw| serde_json::from_str(raw).ok())
        .unwrap_or_default()
}

/// Who may keep a result for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheScope {
    /// Anybody: it is the same for everyone.
    Public,
    /// Only who asked.
    #[default]
    Private,
}

impl CacheScope {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// How long a result may be kept, and by whom. By default it is stale at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheHint {
    /// For so long it is fresh, in milliseconds.
    pub ttl_ms: u64,
    /// Who may keep it.
    pub scope: CacheScope,
}

/// What every result of a server says besides what was asked.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// For results that may be kept.
    pub cache: CacheHint,
    /// Who the server is: a member of `_meta` as JSON; empty if it does not say.
    about: Box<str>,
}

impl Head {
    /// The head of a server's results.
    pub fn new(info: &Implementation, cache: CacheHint) -> Self {
        let about = serde_json::to_string(info).map(|info| format!("{SERVER_INFO:?}:{info}"));
        Self {
            cache,
            about: about.unwrap_or_default().into(),
        }
    }

    /// Makes a complete result of an encoded result object: with its type, with the hints if it may be
    /// kept, and with who the server is.
    pub fn complete(&self, result: &str, is_cacheable: bool) -> Vec<u8> {
        let mut complete = Vec::with_capacity(result.len() + self.about.len() + 96);
        complete.extend_from_slice(b"{\"resultType\":\"complete\"");
        if is_cacheable {
            let (ttl, scope) = (self.cache.ttl_ms, self.cache.scope.as_str());
            let hints = format!(",\"ttlMs\":{ttl},\"cacheScope\":\"{scope}\"");
            complete.extend_from_slice(hints.as_bytes());
        }
        let members = result.strip_prefix('{').unwrap_or("}");
        // Only results that carry metadata are looked through for it.
        let meta = match members.contains("\"_meta\"") {
            true => member(result, "_meta").filter(|meta| meta.starts_with('{')),
            false => None,
        };
        // A handler that says itself who the server is has the word.
        let about = match meta.is_some_and(|meta| member(meta, SERVER_INFO).is_some()) {
            true => "",
            false => &*self.about,
        };
        let (before, after) = match meta {
            Some(meta) => {
                let place = meta.as_ptr().addr() - members.as_ptr().addr() + 1;
                members.split_at(place)
            }
            None => ("", members),
        };
        match meta {
            Some(_) => {
                complete.push(b',');
                complete.extend_from_slice(before.as_bytes());
                complete.extend_from_slice(about.as_bytes());
                if !about.is_empty() && !after.trim_start().starts_with('}') {
                    complete.push(b',');
                }
            }
            None => {
                if !about.is_empty() {
                    complete.extend_from_slice(b",\"_meta\":{");
                    complete.extend_from_slice(about.as_bytes());
                    complete.push(b'}');
                }
                if !after.trim_start().starts_with('}') {
                    complete.push(b',');
                }
            }
        }
        complete.extend_from_slice(after.as_bytes());
        complete
    }
}
