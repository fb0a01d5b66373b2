//! What the tools answer: text, the same as structured content for the revisions that have it (in the
//! shape that the reference filesystem server uses), and perhaps a remark beside it.

use compere::model::{CallToolResult, Content, RawJson};
use compere::schemars::{JsonSchema, Schema};
use compere::serde::Serialize;
use compere::{IntoToolResult, ToolError};

/// The structured form of an answer.
#[derive(Serialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Structured<T> {
    content: T,
}

/// A text, and perhaps a remark that is no part of it, as a block of its own.
pub(super) struct Said {
    text: String,
    note: Option<String>,
}

impl Said {
    /// Adds a remark.
    pub(super) fn note(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }
}

impl<T: Into<String>> From<T> for Said {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            note: None,
        }
    }
}

impl IntoToolResult for Said {
    fn output_schema() -> Option<Schema> {
        Some(compere::server::schema::output::<Structured<String>>())
    }

    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        let structured = RawJson::from_value(&Structured {
            content: &self.text,
        })?;
        let mut result = CallToolResult::text(self.text).structured_content(structured);
        result.content.extend(self.note.map(Content::text));
        Ok(result)
    }
}

/// One block of another kind.
pub(super) struct Shown(pub(super) Content);

impl IntoToolResult for Shown {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        let content = vec![self.0];
        let structured = RawJson::from_value(&Structured { content: &content })?;
        Ok(CallToolResult::new()
            .content(content)
            .structured_content(structured))
    }
}
