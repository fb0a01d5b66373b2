//! `sampling/createMessage`: the types. The server asks, a person decides, the client's model
//! answers.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/client/sampling>

use serde::{Deserialize, Serialize};

use crate::content::{Content, OneOrMany, Role};
use crate::object::{Meta, RawJson, open_object};
use crate::tools::Tool;

open_object! {
    /// One message of the conversation to be continued.
    pub struct SamplingMessage {
        required {
            /// Who speaks.
            role: Role = "role",
            /// What is said: one block, or several from 2025-11-25 on.
            content: OneOrMany = "content",
        }
        optional {
            /// Attached metadata (from 2025-11-25).
            meta: Box<Meta> = "_meta",
        }
    }
}

impl SamplingMessage {
    /// A message of the person.
    pub fn user(content: impl Into<OneOrMany>) -> Self {
        Self::new(Role::User, content)
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<OneOrMany>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

open_object! {
    /// A wish for a model, by a part of its name.
    pub struct ModelHint {
        optional {
            /// A substring of a model's name.
            name: String = "name",
        }
    }
}

open_object! {
    /// Which model the server would like. The client decides.
    pub struct ModelPreferences {
        optional {
            /// Wishes in order; the first that matches wins.
            hints: Vec<ModelHint> = "hints",
            /// How much low cost matters, 0 to 1.
            cost_priority: f64 = "costPriority",
            /// How much speed matters, 0 to 1.
            speed_priority: f64 = "speedPriority",
            /// How much capability matters, 0 to 1.
            intelligence_priority: f64 = "intelligencePriority",
        }
    }
}

/// Whose context the client may add to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IncludeContext {
    /// None.
    None,
    /// What belongs to the asking server.
    ThisServer,
    /// What belongs to any server.
    AllServers,
}

open_object! {
    /// Params of `sampling/createMessage`.
    pub struct CreateMessageParams {
        required {
            /// The conversation so far.
            messages: Vec<SamplingMessage> = "messages",
            /// The most tokens to sample.
            max_tokens: u64 = "maxTokens",
        }
        optional {
            /// Which model the server would like.
            model_preferences: ModelPreferences = "modelPreferences",
            /// A system prompt that the server would like; the client may change or drop it.
            system_prompt: String = "systemPrompt",
            /// Whose context to add, if the person agrees.
            include_context: IncludeContext = "includeContext",
            /// Sampling temperature.
            temperature: f64 = "temperature",
            /// Where to stop.
            stop_sequences: Vec<String> = "stopSequences",
            /// For the provider, uninterpreted.
            metadata: RawJson = "metadata",
            /// Tools that the model may use (from 2025-11-25).
            tools: Vec<Tool> = "tools",
            /// How it may use them (from 2025-11-25).
            tool_choice: RawJson = "toolChoice",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

impl CreateMessageParams {
    /// Are uses of tools and their results in order (from 2025-11-25)? A message with results holds
    /// nothing else, and every use is answered by the message that follows it, by its id.
    pub fn check_tool_results(&self) -> Result<(), &'static str> {
        let mut open: Vec<&str> = Vec::new();
        for message in &self.messages {
            let results: Vec<&str> = message
                .content
                .0
                .iter()
                .filter_map(|block| match block {
                    Content::ToolResult(result) => Some(result.tool_use_id.as_str()),
                    _ => None,
                })
                .collect();
            if !results.is_empty() {
                if results.len() != message.content.0.len() {
                    return Err("Tool results stand in a message of their own");
                }
                if message.role != Role::User {
                    return Err("Tool results are the user's");
                }
            }
            for result in results {
                match open.iter().position(|id| *id == result) {
                    Some(place) => open.swap_remove(place),
                    None => return Err("A tool result answers no tool use of the message before"),
                };
            }
            if !open.is_empty() {
                return Err("A tool use has no result in the message that follows");
            }
            let uses = message.content.0.iter().filter_map(|block| match block {
                Content::ToolUse(used) => Some(used.id.as_str()),
                _ => None,
            });
            open.extend(uses);
        }
        match open.is_empty() {
            true => Ok(()),
            false => Err("A tool use has no result in the message that follows"),
        }
    }
}

/// How the model may use the tools that it is given (from 2025-11-25).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoiceMode {
    /// As it likes.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// Not at all.
    None,
}

impl ToolChoiceMode {
    /// The mode of a `toolChoice`; what is missing or unknown is as the model likes.
    pub fn of(choice: Option<&RawJson>) -> Self {
        #[derive(Deserialize)]
        struct Choice {
            #[serde(default)]
            mode: ToolChoiceMode,
        }

        let choice = choice.and_then(|choice| choice.decode::<Choice>().ok());
        choice.map(|choice| choice.mode).unwrap_or_default()
    }
}

impl CreateMessageResult {
    /// Does the model want tools used?
    pub fn uses_tools(&self) -> bool {
        let blocks = &self.content.0;
        blocks
            .iter()
            .any(|block| matches!(block, Content::ToolUse(_)))
    }
}

open_object! {
    /// Result of `sampling/createMessage`.
    pub struct CreateMessageResult {
        required {
            /// Who speaks, usually the assistant.
            role: Role = "role",
            /// What was sampled.
            content: OneOrMany = "content",
            /// The model that did it.
            model: String = "model",
        }
        optional {
            /// `endTurn`, `stopSequence`, `maxTokens`, `toolUse`, or anything else.
            stop_reason: String = "stopReason",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
