//! `prompts/list`, `prompts/get`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/prompts>

use std::collections::BTreeMap;

use crate::content::{Content, Role};
use crate::icon::Icon;
use crate::object::{Meta, open_object};

open_object! {
    /// A prompt that a person can choose.
    pub struct Prompt {
        required {
            /// Its name, unique in the server.
            name: String = "name",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What it is for.
            description: String = "description",
            /// What it needs to know.
            arguments: Vec<PromptArgument> = "arguments",
            /// Icons (from 2025-11-25).
            icons: Vec<Icon> = "icons",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// One argument of a prompt; its value is always text.
    pub struct PromptArgument {
        required {
            /// Its name.
            name: String = "name",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What it is for.
            description: String = "description",
            /// Must it be given?
            required: bool = "required",
        }
    }
}

open_object! {
    /// One message of a prompt.
    pub struct PromptMessage {
        required {
            /// Who speaks.
            role: Role = "role",
            /// What is said.
            content: Content = "content",
        }
    }
}

impl PromptMessage {
    /// Something that the person says.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// Something that the model says.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

open_object! {
    /// Result of `prompts/list`.
    pub struct ListPromptsResult {
        defaulted {
            /// This page.
            prompts: Vec<Prompt> = "prompts",
        }
        optional {
            /// Where the next page starts; absent on the last one.
            next_cursor: String = "nextCursor",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Params of `prompts/get`.
    pub struct GetPromptParams {
        required {
            /// The prompt.
            name: String = "name",
        }
        optional {
            /// Values of its arguments.
            arguments: BTreeMap<String, String> = "arguments",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `prompts/get`.
    pub struct GetPromptResult {
        defaulted {
            /// The messages, in order.
            messages: Vec<PromptMessage> = "messages",
        }
        optional {
            /// What the prompt is for.
            description: String = "description",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}
