//! What a tool answered, as the caller reads it.

use std::ops::Deref;

use compere_proto::error::PeerMisbehaved;
use compere_proto::tools::CallToolResult;
use compere_proto::wire::decode::without_position;
use compere_proto::{Error as ProtocolError, Method};
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// What a tool answered. A failure of the tool itself is an output too: see
/// [`CallToolResult::failed`].
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput(pub CallToolResult);

impl ToolOutput {
    /// The result whose text this is.
    pub(crate) fn read(result: &str) -> Result<Self> {
        serde_json::from_str(result).map(Self).map_err(|error| {
            let why = without_position(&error).into_owned();
            ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(Method::ToolsCall, why)).into()
        })
    }

    /// The data of the result as a type: structured content if there is any (unwrapped from
    /// `{"result": …}` where that does not fit as it is), else the text as JSON, else the text
    /// itself. Fails if the tool failed.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        if self.0.failed() {
            return Err(Error::new(ErrorKind::ToolFailed(self.0.joined_text())));
        }
        let unexpected = |error: serde_json::Error| {
            Error::because(
                ErrorKind::UnexpectedData,
                "the result has another shape",
                error,
            )
        };
        if let Some(structured) = &self.0.structured_content {
            return structured.decode().or_else(|error| {
                #[derive(serde::Deserialize)]
                struct Wrapped<T> {
                    result: T,
                }

                structured
                    .decode::<Wrapped<T>>()
                    .map(|wrapped| wrapped.result)
                    .map_err(|_| unexpected(error))
            });
        }
        let text = self.0.joined_text();
        serde_json::from_str(&text).or_else(|error| {
            let as_text = serde_json::Value::String(text);
            serde_json::from_value(as_text).map_err(|_| unexpected(error))
        })
    }

    /// The result itself.
    pub fn into_inner(self) -> CallToolResult {
        self.0
    }
}

impl Deref for ToolOutput {
    type Target = CallToolResult;

    fn deref(&self) -> &CallToolResult {
        &self.0
    }
}
