//! A request for sampling, as far as the host has to know it.

use serde_json::Value;

/// So many bytes are counted as one token, where nobody counts them.
const BYTES: u64 = 4;
/// More is asked of no model at once where nothing is said.
const MOST_TOKENS: u64 = 4_096;

/// Takes out what would show a server more than it may see, and says so.
pub fn without_context(params: &mut Value) -> Option<String> {
    let members = params.as_object_mut()?;
    match members.remove("includeContext") {
        None => None,
        Some(Value::String(context)) if context == "none" => None,
        Some(context) => Some(format!(
            "it wanted the context of other servers to be added ({context}): that was taken out"
        )),
    }
}

/// How many tokens a request asks, as far as that can be told.
pub fn tokens_asked(params: &Value) -> u64 {
    let all = ["messages", "systemPrompt", "tools"];
    let bytes: u64 = all.iter().map(|name| text_bytes(params.get(*name))).sum();
    bytes / BYTES + 1
}

/// How many tokens may be answered.
pub fn tokens_wanted(params: &Value) -> u64 {
    let most = params.get("maxTokens").and_then(Value::as_u64);
    most.unwrap_or(MOST_TOKENS)
}

/// How many tokens an answer has, as far as that can be told.
pub fn tokens_answered(answer: &Value) -> u64 {
    text_bytes(answer.get("content")) / BYTES + 1
}

fn text_bytes(value: Option<&Value>) -> u64 {
    match value {
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => 0,
        Some(Value::String(text)) => text.len() as u64,
        Some(Value::Array(items)) => items.iter().map(|item| text_bytes(Some(item))).sum(),
        Some(Value::Object(members)) => {
            let members = members.iter();
            members
                .map(|(name, value)| name.len() as u64 + text_bytes(Some(value)))
                .sum()
        }
    }
}

/// Is it a request that a model can be asked? The error says what is missing.
pub fn check(params: &Value) -> Result<(), String> {
    let messages = params.get("messages").and_then(Value::as_array);
    match messages {
        Some(messages) if !messages.is_empty() => {}
        _ => return Err("`messages` is missing".to_owned()),
    }
    match params.get("maxTokens").and_then(Value::as_u64) {
        Some(_) => Ok(()),
        None => Err("`maxTokens` is missing".to_owned()),
    }
}

/// Is it an answer that a server can be given?
pub fn check_answer(answer: &Value) -> Result<(), String> {
    for member in ["role", "content", "model"] {
        if answer.get(member).is_none() {
            return Err(format!("`{member}` is missing"));
        }
    }
    Ok(())
}
