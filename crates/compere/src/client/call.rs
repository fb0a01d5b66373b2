//! One call of a tool, and its result.

use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use compere_proto::Method;
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::object::{Meta, RawJson};
use compere_proto::progress::ProgressParams;
use compere_proto::tools::{CallToolParams, CallToolResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::promises::Promises;
use crate::driver::outbox::OnProgress;
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::{Error, ErrorKind, Result};

/// A call that is about to be made: await it, after setting what is unusual.
///
/// If the tools were listed before, structured content is held against the schema that the tool
/// promised; what does not fit is an error.
///
/// Cancel safety: dropping the future withdraws the call; whether the tool had its effect by then
/// is unknown.
#[must_use = "a call is made when it is awaited"]
pub struct CallTool {
    peer: Peer,
    name: String,
    arguments: Result<RawJson, String>,
    options: RequestOptions,
    promises: Arc<Promises>,
}

impl CallTool {
    pub(crate) fn new(
        peer: Peer,
        promises: Arc<Promises>,
        name: String,
        arguments: &impl Serialize,
    ) -> Self {
        Self {
            peer,
            promises,
            name,
            arguments: RawJson::from_value(arguments).map_err(|error| error.to_string()),
            options: RequestOptions::default(),
        }
    }

    /// How long the server may say nothing, neither result nor progress.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(Some(timeout));
        self
    }

    /// Waits for ever.
    pub fn no_timeout(mut self) -> Self {
        self.options.timeout = Some(None);
        self
    }

    /// Asks for progress and calls this with each. It runs inside the connection: be quick.
    pub fn on_progress(mut self, on_progress: impl FnMut(ProgressParams) + Send + 'static) -> Self {
        self.options.on_progress = Some(Box::new(on_progress) as OnProgress);
        self
    }
}

impl IntoFuture for CallTool {
    type Output = Result<ToolOutput>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<ToolOutput>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let arguments = self.arguments.map_err(|why| {
                Error::from(compere_proto::Error::from(Misuse::NotSerializable(why)))
            })?;
            let wants_progress = self.options.on_progress.is_some();
            let mut params = CallToolParams::new(self.name.as_str());
            if arguments.get() != "null" {
                params.arguments = Some(arguments);
            }
            let result: CallToolResult = self
                .peer
                .request(Method::ToolsCall, self.options, |id| {
                    if wants_progress {
                        params.meta = Some(Box::new(Meta::with_progress_token(id)));
                    }
                    Some(params)
                })
                .decode(Method::ToolsCall)
                .await?;
            match self.promises.check(&self.name, &result, &self.peer.limits) {
                Ok(()) => Ok(ToolOutput(result)),
                Err(why) => {
                    let why = format!("structuredContent: {why}");
                    let fault = PeerMisbehaved::ResultDoesNotFit(Method::ToolsCall, why);
                    Err(compere_proto::Error::from(fault).into())
                }
            }
        })
    }
}

/// What a tool answered. A failure of the tool itself is an output too: see
/// [`CallToolResult::failed`].
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput(pub CallToolResult);

impl ToolOutput {
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
