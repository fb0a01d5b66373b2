//! What a server says in a newer revision, in the shape of the older one that its client speaks.

use compere_proto::Method;
use compere_proto::Revision;
use compere_proto::elicitation::ElicitParams;
use compere_proto::prompts::{GetPromptResult, ListPromptsResult};
use compere_proto::resources::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult,
};
use compere_proto::sampling::CreateMessageParams;
use compere_proto::tools::{CallToolResult, ListToolsResult};
use compere_proto::wire::project::Project;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::outcome::Outcome;

/// A result of the server for a client that speaks `revision`.
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
        _ => None,
    };
    Outcome::Raw(text.unwrap_or_else(|| super::pass::on_one_line(result)))
}

/// A question of the server to a client that speaks `revision`.
pub(crate) fn question(method: Method, params: &str, revision: Revision) -> Box<str> {
    let text = match method {
        Method::SamplingCreateMessage => projected::<CreateMessageParams>(params, revision),
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
        .inspect_err(|error| tracing::debug!(%error, "what the server says is passed on as it is"))
        .ok()?;
    value.project(revision);
    Some(serde_json::to_string(&value).ok()?.into())
}
