//! What the tools answer: text, and perhaps a remark beside it.

use compere::model::{CallToolResult, Content};
use compere::{IntoToolResult, ToolError};

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
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        let mut result = CallToolResult::text(self.text);
        result.content.extend(self.note.map(Content::text));
        Ok(result)
    }
}
