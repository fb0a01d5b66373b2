//! Asks a provider of models. What goes there is what a person has seen.

use std::sync::OnceLock;
use std::time::Duration;

use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, StopReason};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, ModelIden, ServiceTarget};
use serde_json::{Value, json};

use crate::sampling::models::{Model, Provider};

/// How long a model may take.
const PATIENCE: Duration = Duration::from_secs(3 * 60);

/// What a model answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The result, as the protocol has it.
    pub(crate) result: Value,
    /// Tokens asked and answered, if the provider counts them.
    pub(crate) tokens: Option<(u64, u64)>,
}

/// Asks a model. The errors are words for a person; no key stands in them.
///
/// Cancel safety: dropping the future ends the request; the provider may have counted it.
pub(crate) async fn ask(
    model: &Model,
    key: Option<&str>,
    params: &Value,
) -> Result<Answered, String> {
    let asking = asking(model, key, params);
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    let asked =
        asked.unwrap_or_else(|_| Err(format!("it took longer than {} s", PATIENCE.as_secs())));
    // What a provider says may repeat what it was sent.
    asked.map_err(|why| match key {
        Some(key) if !key.is_empty() => why.replace(key, "…"),
        _ => why,
    })
}

async fn asking(model: &Model, key: Option<&str>, params: &Value) -> Result<Answered, String> {
    let request = request(params)?;
    let mut options = ChatOptions::default();
    if let Some(most) = params.get("maxTokens").and_then(Value::as_u64) {
        options = options.with_max_tokens(u32::try_from(most).unwrap_or(u32::MAX));
    }
    if let Some(temperature) = params.get("temperature").and_then(Value::as_f64) {
        options = options.with_temperature(temperature);
    }
    let stops = params.get("stopSequences").and_then(Value::as_array);
    let stops = stops.into_iter().flatten().filter_map(Value::as_str);
    options = options.with_stop_sequences(stops.map(str::to_owned).collect());
    let (kind, usual) = match model.provider {
        Provider::OpenAi => (AdapterKind::OpenAI, "https://api.openai.com/v1/"),
        Provider::Anthropic => (AdapterKind::Anthropic, "https://api.anthropic.com/v1/"),
        Provider::Gemini => (
            AdapterKind::Gemini,
            "https://generativelanguage.googleapis.com/v1beta/",
        ),
        Provider::Ollama => (AdapterKind::Ollama, "http://localhost:11434/"),
    };
    let mut url = model.url.clone().unwrap_or_else(|| usual.to_owned());
    if !url.ends_with('/') {
        url.push('/');
    }
    let target = ServiceTarget {
        endpoint: Endpoint::from_owned(url),
        auth: AuthData::from_single(key.unwrap_or_default()),
        model: ModelIden::new(kind, model.model.as_str()),
    };
    let client = client()?;
    let answered = client.exec_chat(target, request, Some(&options)).await;
    let answered = answered.map_err(|error| error.to_string())?;
    let text = answered.first_text().unwrap_or_default();
    if text.is_empty() {
        return Err("it answered nothing".to_owned());
    }
    let stop = match &answered.stop_reason {
        Some(StopReason::Completed(_)) => Some("endTurn"),
        Some(StopReason::MaxTokens(_)) => Some("maxTokens"),
        Some(StopReason::StopSequence(_)) => Some("stopSequence"),
        Some(other) => Some(other.raw()),
        None => None,
    };
    let mut result = json!({
        "role": "assistant",
        "content": {"type": "text", "text": text},
        "model": model.name,
    });
    if let Some(stop) = stop {
        result["stopReason"] = stop.into();
    }
    let usage = &answered.usage;
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    let tokens = count(usage.prompt_tokens).zip(count(usage.completion_tokens));
    Ok(Answered { result, tokens })
}

/// The request as the library has it. Text alone: what else there is, is refused and not left out.
fn request(params: &Value) -> Result<ChatRequest, String> {
    if params
        .get("tools")
        .and_then(Value::as_array)
        .is_some_and(|tools| !tools.is_empty())
    {
        return Err("tools cannot be passed on to your own models".to_owned());
    }
    let mut request = ChatRequest::default();
    if let Some(system) = params.get("systemPrompt").and_then(Value::as_str) {
        request = request.with_system(system);
    }
    let messages = params.get("messages").and_then(Value::as_array);
    for message in messages.into_iter().flatten() {
        let content = message.get("content").unwrap_or(&Value::Null);
        let blocks = match content {
            Value::Array(blocks) => blocks.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut text = String::new();
        for block in blocks {
            match (block.get("type").and_then(Value::as_str), block.get("text")) {
                (Some("text"), Some(Value::String(said))) => text.push_str(said),
                (other, _) => {
                    return Err(format!(
                        "{} cannot be passed on to your own models: only text can",
                        other.unwrap_or("this")
                    ));
                }
            }
        }
        request = request.append_message(match message.get("role").and_then(Value::as_str) {
            Some("assistant") => ChatMessage::assistant(text),
            _ => ChatMessage::user(text),
        });
    }
    Ok(request)
}

/// One client for all requests: it keeps connections.
fn client() -> Result<&'static Client, String> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    CLIENT
        .get_or_init(|| {
            let mut roots = rustls::RootCertStore::empty();
            let (_, _) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(ring)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
            let http = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                // A key goes to whom it is for, and nowhere that they point to.
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| error.to_string())?;
            let client = Client::builder().with_reqwest(http).build();
            client.map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(Clone::clone)
}
