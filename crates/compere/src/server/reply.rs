//! What handlers return: anything that can become a result of the protocol, and errors.

use std::borrow::Cow;
use std::fmt;

use compere_proto::connection::stateless;
use compere_proto::content::Content;
use compere_proto::elicitation::UrlElicitation;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::object::RawJson;
use compere_proto::prompts::{GetPromptResult, PromptMessage};
use compere_proto::resources::{ReadResourceResult, ResourceContents};
use compere_proto::tools::CallToolResult;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::driver::outcome::Outcome;
use crate::server::schema;

/// The error of a handler.
///
/// What is made with [`ToolError::new`] is **public**: a model reads it and can correct itself.
/// Any other error that `?` turns into this one stays inside: it is logged, and the peer sees
/// "internal error".
pub struct ToolError(Kind);

enum Kind {
    Public(Cow<'static, str>),
    Internal(Box<dyn std::error::Error + Send + Sync>),
    Protocol(ErrorObject),
}

impl ToolError {
    /// An error whose text the peer, and its model, may read.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Kind::Public(text.into()))
    }

    /// An error of the protocol instead of a result, with a code. (-32042 is for
    /// [`ToolError::url_elicitation_required`].)
    pub fn protocol(error: ErrorObject) -> Self {
        Self(Kind::Protocol(error))
    }

    /// Of arguments that cannot be read, where no model is there to read that.
    pub(crate) fn of_params(self) -> Self {
        match self.0 {
            Kind::Public(text) => Self::protocol(ErrorObject::invalid_params(format!(
                "Invalid params: {text}"
            ))),
            other => Self(other),
        }
    }

    /// The person must first go to these pages (from 2025-11-25 on); then the client may try again. Without a
    /// session they are asked to, once, and the handler runs again.
    pub fn url_elicitation_required(pages: &[UrlElicitation]) -> Self {
        let pages: Vec<_> = pages.iter().map(UrlElicitation::params).collect();
        let error = ErrorObject::new(
            code::URL_ELICITATION_REQUIRED,
            "The person must go to a page first",
        );
        Self(Kind::Protocol(
            error.with_data(&serde_json::json!({ "elicitations": pages })),
        ))
    }

    /// The tool is worth nothing for a client that has not declared this extension; see
    /// [`Context::client_extension`](crate::Context::client_extension).
    pub fn missing_extension(identifier: &str) -> Self {
        Self(Kind::Protocol(stateless::missing_extension(identifier)))
    }

    /// There is no such resource.
    pub fn resource_not_found(uri: &str) -> Self {
        Self(Kind::Protocol(resource_not_found(
            uri,
            code::RESOURCE_NOT_FOUND,
        )))
    }

    /// What the peer may read of it.
    pub fn public_text(&self) -> Cow<'_, str> {
        match &self.0 {
            Kind::Public(text) => Cow::Borrowed(text),
            Kind::Internal(_) => Cow::Borrowed("internal error"),
            Kind::Protocol(error) => Cow::Borrowed(&error.message),
        }
    }

    /// For `tools/call`: what went wrong inside the tool is a result that the model sees.
    pub(crate) fn into_tool_outcome(self, tool: &str) -> Outcome {
        match self.0 {
            Kind::Public(text) => Outcome::CallTool(CallToolResult::error(text)),
            Kind::Internal(error) if let Some(refused) = wants_capability(error.as_ref()) => {
                Outcome::Error(refused)
            }
            Kind::Internal(error) => {
                tracing::error!(tool, error = %chain(error.as_ref()), "a tool failed");
                Outcome::CallTool(CallToolResult::error("internal error"))
            }
            Kind::Protocol(error) => Outcome::Error(allowed(error, tool)),
        }
    }

    /// For everything that has no `isError`.
    pub(crate) fn into_error(self, handler: &str) -> ErrorObject {
        match self.0 {
            Kind::Public(text) => ErrorObject::new(code::INTERNAL_ERROR, text),
            Kind::Internal(error) if let Some(refused) = wants_capability(error.as_ref()) => {
                refused
            }
            Kind::Internal(error) => {
                tracing::error!(handler, error = %chain(error.as_ref()), "a handler failed");
                ErrorObject::internal()
            }
            Kind::Protocol(error) => allowed(error, handler),
        }
    }
}

/// A stateless client is told what it would have to declare for this.
fn wants_capability(
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Option<ErrorObject> {
    let refused = error.downcast_ref::<crate::Error>()?.refusal()?;
    (refused.code == code::MISSING_CLIENT_CAPABILITY).then(|| refused.clone())
}

/// The code for pages to go to is for nothing else.
fn allowed(error: ErrorObject, handler: &str) -> ErrorObject {
    let misused =
        error.code == code::URL_ELICITATION_REQUIRED && UrlElicitation::required(&error).is_empty();
    if misused {
        tracing::error!(handler, "an error with code -32042 names no page to go to");
        return ErrorObject::internal();
    }
    error
}

pub(crate) fn resource_not_found(uri: &str, code: i64) -> ErrorObject {
    ErrorObject::new(code, "Resource not found").with_data(&serde_json::json!({ "uri": uri }))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl fmt::Debug for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Public(text) => f.debug_tuple("Public").field(text).finish(),
            Kind::Internal(error) => f.debug_tuple("Internal").field(error).finish(),
            Kind::Protocol(error) => f.debug_tuple("Protocol").field(error).finish(),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for ToolError {
    fn from(error: E) -> Self {
        Self(Kind::Internal(Box::new(error)))
    }
}

/// A value that becomes structured content, with the schema of its type, and text.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

/// What a tool may return.
#[diagnostic::on_unimplemented(
    message = "a tool cannot return `{Self}`",
    note = "return text, a number, `Json<T>`, `Content`, `CallToolResult`, or a `Result` of those with `ToolError`"
)]
pub trait IntoToolResult {
    /// The schema of `structuredContent`, if there is one.
    fn output_schema() -> Option<Schema> {
        None
    }

    /// The result. An error says that the tool failed.
    fn into_tool_result(self) -> Result<CallToolResult, ToolError>;
}

impl IntoToolResult for CallToolResult {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(self)
    }
}

impl IntoToolResult for () {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::new())
    }
}

impl IntoToolResult for String {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::text(self))
    }
}

impl IntoToolResult for &'static str {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::text(self))
    }
}

impl IntoToolResult for Cow<'static, str> {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::text(self))
    }
}

impl IntoToolResult for Content {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::new().content(vec![self]))
    }
}

impl IntoToolResult for Vec<Content> {
    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        Ok(CallToolResult::new().content(self))
    }
}

impl<T: Serialize + JsonSchema> IntoToolResult for Json<T> {
    fn output_schema() -> Option<Schema> {
        Some(schema::output::<T>())
    }

    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        structured(&self.0)
    }
}

impl<T: IntoToolResult, E: Into<ToolError>> IntoToolResult for Result<T, E> {
    fn output_schema() -> Option<Schema> {
        T::output_schema()
    }

    fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
        self.map_err(Into::into)?.into_tool_result()
    }
}

/// Data as both text and structured content.
fn structured(value: &impl Serialize) -> Result<CallToolResult, ToolError> {
    let data = RawJson::from_value(value)?;
    Ok(CallToolResult::text(data.get()).structured_content(data))
}

macro_rules! plain_values {
    ($($type:ty),+) => {
        $(
            impl IntoToolResult for $type {
                fn output_schema() -> Option<Schema> {
                    Some(schema::output::<$type>())
                }

                fn into_tool_result(self) -> Result<CallToolResult, ToolError> {
                    structured(&self)
                }
            }
        )+
    };
}

plain_values!(
    bool, i8, i16, i32, i64, u8, u16, u32, u64, usize, isize, f32, f64
);

/// What a prompt may return.
#[diagnostic::on_unimplemented(
    message = "a prompt cannot return `{Self}`",
    note = "return text, `PromptMessage`s, `GetPromptResult`, or a `Result` of those with `ToolError`"
)]
pub trait IntoPromptResult {
    /// The result.
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError>;
}

impl IntoPromptResult for GetPromptResult {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        Ok(self)
    }
}

impl IntoPromptResult for Vec<PromptMessage> {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        Ok(GetPromptResult::new().messages(self))
    }
}

impl IntoPromptResult for PromptMessage {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        vec![self].into_prompt_result()
    }
}

impl IntoPromptResult for String {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        PromptMessage::user(self).into_prompt_result()
    }
}

impl IntoPromptResult for &'static str {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        PromptMessage::user(self).into_prompt_result()
    }
}

impl<T: IntoPromptResult, E: Into<ToolError>> IntoPromptResult for Result<T, E> {
    fn into_prompt_result(self) -> Result<GetPromptResult, ToolError> {
        self.map_err(Into::into)?.into_prompt_result()
    }
}

/// What a resource may return. Text and bytes get the URI that was asked for.
#[diagnostic::on_unimplemented(
    message = "a resource cannot return `{Self}`",
    note = "return text, `Vec<u8>`, `ResourceContents`, `ReadResourceResult`, or a `Result` of those with `ToolError`"
)]
pub trait IntoResourceResult {
    /// The result of reading `uri`; `mime_type` is what the registration says.
    fn into_resource_result(
        self,
        uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError>;
}

impl IntoResourceResult for ReadResourceResult {
    fn into_resource_result(
        self,
        _uri: &str,
        _mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        Ok(self)
    }
}

impl IntoResourceResult for Vec<ResourceContents> {
    fn into_resource_result(
        self,
        _uri: &str,
        _mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        Ok(ReadResourceResult::new().contents(self))
    }
}

impl IntoResourceResult for ResourceContents {
    fn into_resource_result(
        mut self,
        _uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        if self.mime_type.is_none() {
            self.mime_type = mime_type.map(str::to_owned);
        }
        Ok(self.into())
    }
}

impl IntoResourceResult for String {
    fn into_resource_result(
        self,
        uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        ResourceContents::text(uri, self).into_resource_result(uri, mime_type)
    }
}

impl IntoResourceResult for &'static str {
    fn into_resource_result(
        self,
        uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        self.to_owned().into_resource_result(uri, mime_type)
    }
}

impl IntoResourceResult for Vec<u8> {
    fn into_resource_result(
        self,
        uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(self);
        ResourceContents::blob(uri, encoded).into_resource_result(uri, mime_type)
    }
}

impl<T: IntoResourceResult, E: Into<ToolError>> IntoResourceResult for Result<T, E> {
    fn into_resource_result(
        self,
        uri: &str,
        mime_type: Option<&str>,
    ) -> Result<ReadResourceResult, ToolError> {
        self.map_err(Into::into)?
            .into_resource_result(uri, mime_type)
    }
}
