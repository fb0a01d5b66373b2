//! What one side says in a newer revision, in the shape of the older one that the other side speaks.

use compere_proto::Method;
use compere_proto::Revision;
use compere_proto::completion::CompleteParams;
use compere_proto::elicitation::ElicitParams;
use compere_proto::prompts::{GetPromptResult, ListPromptsResult};
use compere_proto::resources::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult,
};
use compere_proto::roots::ListRootsResult;
use compere_proto::sampling::{CreateMessageParams, CreateMessageResult};
use compere_proto::tools::{CallToolResult, ListToolsResult};
use compere_proto::wire::project::Project;
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
