//! What one side says in a newer revision, in the shape of the older one that the other side speaks.

use compere_proto::Method;
use compere_proto::Revision;
use compere_proto::completion::CompleteParams;
use compere_proto::elicitation::ElicitParams;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::prompts::{GetPromptResult, ListPromptsResult};
use compere_proto::resources::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult,
};
use compere_proto::roots::ListRootsResult;
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::tools::{CallToolResult, ListToolsResult};
use compere_proto::wire::project::Project;
use compere_proto::wire::scan::member;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::outcome::Outcome;

/// A result for a side that speaks `revision`.
pub(crate) fn result(method: Method, result: &str, revision: Revision) -> Outcome {
    let text = match method {
        Method::ToolsCall => projected::<CallToolResult>(result, revision),
        Method::ToolsList => projected::<ListToolsResult>(result, revision),
        Method::PromptsGet => projected::<GetPromptResult>(result, revision),
        Method::PromptsList => projected::<ListPromptsResult>(result, revision),
        Method::ResourcesRead => projected::<ReadResourceResult>(result, revision),
        Method::ResourcesList => projected::<ListResourcesResult>(result, revision),
        Method::ResourcesTemplatesList => {
            projected::<ListResourceTemplatesResult>(result, revision)
        }
        Method::SamplingCreateMessage => projected::<CreateMessageResult>(result, revision),
        Method::RootsList => projected::<ListRootsResult>(result, revision),
        _ => None,
    };
    Outcome::Raw(text.unwrap_or_else(|| super::pass::on_one_line(result)))
}

/// An error from a side that speaks `from`, for one that speaks `to`.
pub(crate) fn error(
    method: Method,
    mut error: ErrorObject,
    from: Revision,
    to: Revision,
) -> ErrorObject {
    let (there, here) = (
        from.rules().resource_not_found_code,
        to.rules().resource_not_found_code,
    );
    // Where the code says more than that, what is missing is named beside it.
    let named = || {
        let data = error.data.as_ref();
        data.is_some_and(|data| member(data.get(), "uri").is_some())
    };
    let is_missing = error.code == there && (there == code::RESOURCE_NOT_FOUND || named());
    if method == Method::ResourcesRead && is_missing {
        error.code = here;
    }
    error
}

/// The params of a request to a side that speaks `revision`.
pub(crate) fn params(method: Method, params: &str, revision: Revision) -> Box<str> {
    let text = match method {
        Method::SamplingCreateMessage => projected::<CreateMessageParams>(params, revision),
        Method::CompletionComplete => projected::<CompleteParams>(params, revision),
        Method::ElicitationCreate => projected::<ElicitParams>(params, revision),
        _ => None,
    };
    text.unwrap_or_else(|| params.into())
}

fn projected<T: DeserializeOwned + Project + Serialize>(
    text: &str,
    revision: Revision,
) -> Option<Box<str>> {
    let mut value: T = serde_json::from_str(text)
        .inspect_err(|error| tracing::debug!(%error, "this is passed on as it is"))
        .ok()?;
    value.project(revision);
    Some(serde_json::to_string(&value).ok()?.into())
}
