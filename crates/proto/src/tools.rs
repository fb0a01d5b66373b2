//! `tools/list`, `tools/call`: the types.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/server/tools>

use crate::content::Content;
use crate::icon::Icon;
use crate::object::{Meta, RawJson, open_object};
use crate::tasks::TaskMetadata;

open_object! {
    /// A tool that a server offers to a model.
    pub struct Tool {
        required {
            /// Its name, unique in the server.
            name: String = "name",
            /// JSON Schema of the arguments; its root is an object.
            input_schema: RawJson = "inputSchema",
        }
        optional {
            /// A name for people (from 2025-06-18).
            title: String = "title",
            /// What it does, for the model.
            description: String = "description",
            /// JSON Schema of `structuredContent` (from 2025-06-18).
            output_schema: RawJson = "outputSchema",
            /// Hints on what it does. Never trusted.
            annotations: Box<ToolAnnotations> = "annotations",
            /// Icons (from 2025-11-25).
            icons: Vec<Icon> = "icons",
            /// Task support (only 2025-11-25).
            execution: RawJson = "execution",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

impl Tool {
    /// What to show a person: `title`, then `annotations.title`, then `name`.
    pub fn display_name(&self) -> &str {
        self.title
            .as_deref()
            .or_else(|| self.annotations.as_ref()?.title.as_deref())
            .unwrap_or(&self.name)
    }
}

open_object! {
    /// Hints of a server about its tool (from 2025-03-26). They are hints: nothing may be
    /// allowed because of them.
    pub struct ToolAnnotations {
        optional {
            /// A name for people.
            title: String = "title",
            /// Does it leave its environment as it is? Default false.
            read_only_hint: bool = "readOnlyHint",
            /// May it destroy something? Default true.
            destructive_hint: bool = "destructiveHint",
            /// Does repeating the same call change nothing more? Default false.
            idempotent_hint: bool = "idempotentHint",
            /// Does it reach an open world? Default true.
            open_world_hint: bool = "openWorldHint",
        }
    }
}

open_object! {
    /// Result of `tools/list`.
    pub struct ListToolsResult {
        defaulted {
            /// This page.
            tools: Vec<Tool> = "tools",
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
    /// Params of `tools/call`.
    pub struct CallToolParams {
        required {
            /// The tool.
            name: String = "name",
        }
        optional {
            /// Its arguments, an object.
            arguments: RawJson = "arguments",
            /// The wish to have it worked on as a task (only 2025-11-25).
            task: Box<TaskMetadata> = "task",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `tools/call`. A failure of the tool itself is a result with `is_error`, so that
    /// the model sees it.
    pub struct CallToolResult {
        defaulted {
            /// What the tool says.
            content: Vec<Content> = "content",
        }
        optional {
            /// The same as data (from 2025-06-18).
            structured_content: RawJson = "structuredContent",
            /// Did the tool fail? Absent counts as no.
            is_error: bool = "isError",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

impl CallToolResult {
    /// A result of one text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new().content(vec![Content::text(text)])
    }

    /// A failure that the model may read.
    pub fn error(text: impl Into<String>) -> Self {
        Self::text(text).is_error(true)
    }

    /// Did the tool fail?
    pub fn failed(&self) -> bool {
        self.is_error == Some(true)
    }

    /// The texts of all text blocks, one per line.
    pub fn joined_text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }
}
