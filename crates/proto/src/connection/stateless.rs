//! The conversation of 2026-07-28: every request carries its version and the client's
//! capabilities in `_meta`, and a server that needs input answers with questions.
//!
//! This file holds the envelope, the check of a request against it, what every result begins with, and
//! the result types of a round of input. Sealed state over several rounds and subscriptions are not here
//! yet; a server speaks this era only when it is told to.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::capability::ClientCapabilities;
use crate::jsonrpc::{ErrorObject, code};
use crate::lifecycle::Implementation;
use crate::logging::LoggingLevel;
use crate::method::Method;
use crate::object::{Meta, RawJson, open_object};
use crate::revision::{Era, Revision};
use crate::wire::decode::{decode, without_position};
use crate::wire::scan::{Params, member, members};
use crate::wire::tape::{Kind, Node};

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

/// `_meta` key: the request that a notification was listened for with.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

open_object! {
    /// What a client listens for, with `subscriptions/listen`.
    pub struct SubscriptionFilter {
        optional {
            /// The list of tools.
            tools_list_changed: bool = "toolsListChanged",
            /// The list of prompts.
            prompts_list_changed: bool = "promptsListChanged",
            /// The lists of resources and templates.
            resources_list_changed: bool = "resourcesListChanged",
            /// The content of these resources, and of what lies below them.
            resource_subscriptions: Vec<String> = "resourceSubscriptions",
            /// These tasks of ours, where both sides have that extension.
            task_ids: Vec<String> = "taskIds",
        }
    }
}

open_object! {
    /// Params of `subscriptions/listen`.
    pub struct ListenParams {
        required {
            /// What is listened for.
            notifications: SubscriptionFilter = "notifications",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

/// What a request says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The version that it is written in.
    pub revision: Revision,
    /// What the client can do, for this request only.
    pub client_capabilities: ClientCapabilities,
    /// Who the client says it is, as JSON. For logs, never for decisions, and read by hardly anyone.
    pub client_info: Option<Box<str>>,
    /// The least level of log messages that it wants to have for this request; none if it does not say.
    pub log_level: Option<LoggingLevel>,
}

impl Envelope {
    /// Reads and checks the envelope of a request; `supported` are the versions that are served.
    pub fn read(params: &Params<'_>, supported: &[Revision]) -> Result<Self, ErrorObject> {
        Self::of(params.node("_meta"), None, supported)
    }

    /// The same from the metadata, where the revision may be known already.
    pub(crate) fn of(
        meta: Option<Node<'_>>,
        known: Option<Revision>,
        supported: &[Revision],
    ) -> Result<Self, ErrorObject> {
        let meta = meta
            .filter(|meta| meta.kind() == Kind::Object)
            .ok_or_else(|| missing("_meta"))?;
        let (mut version, mut capabilities, mut info, mut level) = (None, None, None, None);
        for (key, value) in meta.members() {
            let key = key.as_str().unwrap_or_default();
            match &*key {
                PROTOCOL_VERSION => version = value.as_str(),
                CLIENT_CAPABILITIES => capabilities = Some(value),
                CLIENT_INFO => info = Some(value.as_json()),
                LOG_LEVEL => level = Some(read(value, LOG_LEVEL)?),
                _ => {}
            }
        }
        let version = version.ok_or_else(|| missing(PROTOCOL_VERSION))?;
        let capabilities = capabilities.ok_or_else(|| missing(CLIENT_CAPABILITIES))?;
        Ok(Self {
            revision: match known {
                Some(revision) => revision,
                None => Self::revision(&version, supported)?,
            },
            client_capabilities: match capabilities.as_json() {
                // What most say that only call tools.
                "{}" => ClientCapabilities::new(),
                _ => read(capabilities, CLIENT_CAPABILITIES)?,
            },
            client_info: info.map(Box::from),
            log_level: level,
        })
    }

    /// The revision that a version of a request names, if it is served.
    pub(crate) fn revision(version: &str, supported: &[Revision]) -> Result<Revision, ErrorObject> {
        supported
            .iter()
            .copied()
            .find(|revision| revision.era() == Era::Stateless && revision.as_str() == version)
            .ok_or_else(|| unsupported(version, supported))
    }
}

fn read<T: serde::de::DeserializeOwned>(node: Node<'_>, key: &str) -> Result<T, ErrorObject> {
    decode(node).map_err(|error| {
        let why = without_position(&error);
        ErrorObject::invalid_params(format!("Invalid params: _meta {key}: {why}"))
    })
}

pub(crate) fn missing(key: &str) -> ErrorObject {
    ErrorObject::invalid_params(format!("Invalid params: {key} is missing"))
}

/// The version of a request is not served; what is, is said.
pub(crate) fn unsupported(requested: &str, supported: &[Revision]) -> ErrorObject {
    let supported: Vec<&str> = supported
        .iter()
        .rev()
        .filter(|revision| revision.era() == Era::Stateless)
        .map(|one| one.as_str())
        .collect();
    let requested: String = requested.chars().take(64).collect();
    ErrorObject::new(code::UNSUPPORTED_VERSION, "Unsupported protocol version")
        .with_data(&serde_json::json!({ "supported": supported, "requested": requested }))
}

/// A request needs a capability that the client did not declare.
/// `name` may have a part, as in `elicitation.url`.
pub fn missing_capability(name: &str) -> ErrorObject {
    let mut required = serde_json::json!({});
    for part in name.rsplit('.') {
        required = serde_json::json!({ part: required });
    }
    ErrorObject::new(
        code::MISSING_CLIENT_CAPABILITY,
        format!("The client capability {name} is needed"),
    )
    .with_data(&serde_json::json!({ "requiredCapabilities": required }))
}

/// What every request of a client says of itself.
#[derive(Debug, Clone)]
pub struct ClientHead {
    /// Members of `_meta` as JSON.
    members: Box<str>,
}

impl ClientHead {
    /// The head of the requests of a client. What is not of this era is left out of what it can do.
    pub fn new(
        revision: Revision,
        info: &Implementation,
        capabilities: &ClientCapabilities,
    ) -> Result<Self, serde_json::Error> {
        let mut capabilities = capabilities.clone();
        capabilities.tasks = None;
        if let Some(roots) = &mut capabilities.roots {
            roots.list_changed = None;
        }
        let (info, capabilities) = (
            serde_json::to_string(info)?,
            serde_json::to_string(&capabilities)?,
        );
        let members = format!(
            "{PROTOCOL_VERSION:?}:{:?},{CLIENT_INFO:?}:{info},{CLIENT_CAPABILITIES:?}:{capabilities}",
            revision.as_str()
        );
        Ok(Self {
            members: members.into(),
        })
    }

    /// Params with the head in their metadata, before what else stands there. `params` is an object.
    pub fn params(&self, params: &str, level: Option<LoggingLevel>) -> Vec<u8> {
        let mut written = Vec::with_capacity(params.len() + self.members.len() + 64);
        written.extend_from_slice(b"{\"_meta\":{");
        written.extend_from_slice(self.members.as_bytes());
        if let Some(level) = level {
            let level = format!(",{LOG_LEVEL:?}:{:?}", level.as_str());
            written.extend_from_slice(level.as_bytes());
        }
        let meta = match params.contains("\"_meta\"") {
            true => member(params, "_meta").filter(|meta| meta.starts_with('{')),
            false => None,
        };
        if let Some(meta) = meta {
            let members = meta
                .strip_prefix('{')
                .and_then(|meta| meta.strip_suffix('}'));
            let members = members.unwrap_or_default().trim();
            if !members.is_empty() {
                written.push(b',');
                written.extend_from_slice(members.as_bytes());
            }
        }
        written.push(b'}');
        for (name, value) in members(params) {
            if name != "_meta" {
                written.push(b',');
                // Writing a text into memory does not fail.
                let _ = serde_json::to_writer(&mut written, &name);
                written.push(b':');
                written.extend_from_slice(value.as_bytes());
            }
        }
        written.push(b'}');
        written
    }
}

/// What a result is, before it is read as anything.
#[derive(Debug, Clone, PartialEq)]
pub enum ResultKind {
    /// What was asked for. One that does not say is this too: older servers do not.
    Complete,
    /// Questions instead.
    InputRequired(Box<InputRequired>),
    /// Something else, by this name.
    Other(String),
    /// It is no result at all, and why.
    Malformed(&'static str),
}

impl ResultKind {
    /// The kind of a result, from its JSON text.
    pub fn of(result: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Asked {
            #[serde(default)]
            input_requests: Option<BTreeMap<String, InputRequest>>,
            #[serde(default)]
            request_state: Option<String>,
        }

        if !result.starts_with('{') {
            return Self::Malformed("it is no object");
        }
        let Some(kind) = member(result, "resultType") else {
            return Self::Complete;
        };
        match serde_json::from_str::<&str>(kind) {
            Ok("complete") => Self::Complete,
            Ok("input_required") => match serde_json::from_str::<Asked>(result) {
                Ok(Asked {
                    input_requests: None,
                    request_state: None,
                }) => Self::Malformed("it asks for nothing"),
                Ok(asked) => Self::InputRequired(Box::new(InputRequired {
                    input_requests: asked.input_requests.unwrap_or_default(),
                    request_state: asked.request_state,
                })),
                Err(_) => Self::Malformed("what it asks for cannot be read"),
            },
            Ok(other) => Self::Other(other.chars().take(64).collect()),
            Err(_) => Self::Malformed("its resultType is no text"),
        }
    }
}

/// A request needs an extension that the client did not declare.
pub fn missing_extension(identifier: &str) -> ErrorObject {
    let required = serde_json::json!({ "extensions": { identifier: {} } });
    ErrorObject::new(
        code::MISSING_CLIENT_CAPABILITY,
        format!("The client extension {identifier} is needed"),
    )
    .with_data(&serde_json::json!({ "requiredCapabilities": required }))
}

/// One question of a round of input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRequest {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// Its params; none count as empty ones.
    #[serde(default = "no_params")]
    pub params: RawJson,
}

fn no_params() -> RawJson {
    RawJson::empty_object()
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
    /// What the client is to bring back unchanged.
    pub request_state: Option<String>,
}

impl Serialize for InputRequired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("resultType", "input_required")?;
        if !self.input_requests.is_empty() {
            map.serialize_entry("inputRequests", &self.input_requests)?;
        }
        if let Some(state) = &self.request_state {
            map.serialize_entry("requestState", state)?;
        }
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

/// Looks for metadata; prepared once, which costs more than to look.
static META: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"_meta\""));

/// What every result of a server says besides what was asked.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// For results that may be kept.
    pub cache: CacheHint,
    /// Who the server is: a member of `_meta` as JSON; empty if it does not say.
    about: Box<str>,
}

impl Head {
    /// The head of a server's results. Of who it is they say the names and the version; everything else
    /// would be a burden on each of them.
    pub fn new(info: &Implementation, cache: CacheHint) -> Self {
        let mut brief = Implementation::new(info.name.as_str(), info.version.as_str());
        brief.title.clone_from(&info.title);
        let about = serde_json::to_string(&brief).map(|info| format!("{SERVER_INFO:?}:{info}"));
        Self {
            cache,
            about: about.unwrap_or_default().into(),
        }
    }

    /// Makes a complete result of an encoded result object: with its type, with the hints if it may be
    /// kept, and with who the server is.
    pub fn complete(&self, result: &str, kept: Option<CacheHint>) -> Vec<u8> {
        let mut complete = Vec::with_capacity(result.len() + self.about.len() + 96);
        self.write(&mut complete, result, kept);
        complete
    }

    /// Appends a complete result that is serialised in place.
    pub fn serialise(
        &self,
        complete: &mut Vec<u8>,
        result: &impl Serialize,
        kept: Option<CacheHint>,
    ) -> Result<(), serde_json::Error> {
        let start = complete.len();
        // What a result without metadata of its own begins with; its opening brace becomes a comma.
        self.write(complete, "{}", kept);
        complete.pop();
        let place = complete.len();
        serde_json::to_writer(&mut *complete, result)?;
        let written = complete.get(place..).unwrap_or_default();
        if META.find(written).is_some() {
            let result = String::from_utf8_lossy(written).into_owned();
            complete.truncate(start);
            self.write(complete, &result, kept);
        } else if written.len() <= 2 {
            complete.truncate(place);
            complete.push(b'}');
        } else if let Some(brace) = complete.get_mut(place) {
            *brace = b',';
        }
        Ok(())
    }

    /// Appends a result that asks instead of answering.
    pub fn asking(
        &self,
        asking: &mut Vec<u8>,
        required: &InputRequired,
    ) -> Result<(), serde_json::Error> {
        serde_json::to_writer(&mut *asking, required)?;
        if !self.about.is_empty() {
            // In place of its closing brace.
            asking.pop();
            asking.extend_from_slice(b",\"_meta\":{");
            asking.extend_from_slice(self.about.as_bytes());
            asking.extend_from_slice(b"}}");
        }
        Ok(())
    }

    /// Appends a complete result to a buffer.
    pub fn write(&self, complete: &mut Vec<u8>, result: &str, kept: Option<CacheHint>) {
        complete.extend_from_slice(b"{\"resultType\":\"complete\"");
        if let Some(kept) = kept {
            let (ttl, scope) = (kept.ttl_ms, kept.scope.as_str());
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
    }
}
