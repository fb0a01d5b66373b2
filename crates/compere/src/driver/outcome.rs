//! What becomes of a received request: one of the results of the protocol, or an error.

use compere_proto::completion::CompleteResult;
use compere_proto::connection::stateless::{CacheHint, Head, InputRequired};
use compere_proto::elicitation::ElicitResult;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::lifecycle::DiscoverResult;
use compere_proto::pagination::Empty;
use compere_proto::prompts::GetPromptResult;
use compere_proto::resources::ReadResourceResult;
use compere_proto::roots::ListRootsResult;
use compere_proto::sampling::CreateMessageResult;
use compere_proto::tasks::{CreateTaskResult, ListTasksResult, Task};
use compere_proto::tools::CallToolResult;
use compere_proto::wire::encode::{self, EncodeId};
use compere_proto::wire::project::Project;
use compere_proto::{Era, Revision};
use serde::Serialize;
use std::convert::Infallible;

/// The answer to a request, before it is written in the shape of a revision.
#[derive(Debug)]
pub(crate) enum Outcome {
    CallTool(CallToolResult),
    GetPrompt(GetPromptResult),
    /// With how long it may be kept, where the handler or its registration says so.
    ReadResource(ReadResourceResult, Option<CacheHint>),
    Complete(CompleteResult),
    CreateMessage(CreateMessageResult),
    ListRoots(ListRootsResult),
    Elicit(ElicitResult),
    CreateTask(Box<CreateTaskResult>),
    Task(Box<Task>),
    Tasks(ListTasksResult),
    Discover(Box<DiscoverResult>),
    Empty,
    /// The text of a result, from another connection.
    Raw(Box<str>),
    /// The text of a result of our own.
    Written(Box<str>),
    /// The text of the result of a subscription that is over.
    Listened(Box<str>),
    /// A page of a list, already encoded for the revision.
    Page(std::sync::Arc<[u8]>),
    InputRequired(InputRequired),
    Error(ErrorObject),
}

impl From<ErrorObject> for Outcome {
    fn from(error: ErrorObject) -> Self {
        Self::Error(error)
    }
}

impl Outcome {
    /// Appends the response in the shape of `revision`; `head` is what results of the stateless era begin
    /// with.
    pub(crate) fn encode(
        self,
        buffer: &mut Vec<u8>,
        id: &impl EncodeId,
        revision: Revision,
        head: &Head,
    ) {
        let kept = match &self {
            Self::ReadResource(_, kept) => Some(kept.unwrap_or(head.cache)),
            Self::Page(_) | Self::Discover(_) => Some(head.cache),
            _ => None,
        };
        let shape = Shape {
            revision,
            head,
            kept,
        };
        let written = match self {
            Self::CallTool(result) => projected(buffer, id, &shape, result),
            Self::GetPrompt(result) => projected(buffer, id, &shape, result),
            Self::ReadResource(result, _) => projected(buffer, id, &shape, result),
            Self::CreateMessage(result) => projected(buffer, id, &shape, result),
            Self::ListRoots(result) => projected(buffer, id, &shape, result),
            Self::Complete(result) => write(buffer, id, &shape, &result),
            Self::Elicit(result) => write(buffer, id, &shape, &result),
            Self::CreateTask(result) => write(buffer, id, &shape, &result),
            Self::Task(task) => write(buffer, id, &shape, &task),
            Self::Tasks(result) => write(buffer, id, &shape, &result),
            Self::Discover(result) => write(buffer, id, &shape, &result),
            Self::Empty => write(buffer, id, &shape, &Empty::new()),
            Self::Page(page) if revision.era() == Era::Stateless => {
                shape.complete(buffer, id, &page);
                Ok(())
            }
            Self::Page(page) => {
                encode::raw_result(buffer, id, &page);
                Ok(())
            }
            Self::Listened(result) | Self::Written(result) => {
                shape.complete(buffer, id, result.as_bytes());
                Ok(())
            }
            Self::Raw(result) => {
                encode::raw_result(buffer, id, result.as_bytes());
                Ok(())
            }
            Self::InputRequired(required) => {
                encode::written_result(buffer, id, |buffer| head.asking(buffer, &required))
            }
            Self::Error(mut error) => {
                error.project(revision);
                encode::error(buffer, id, &error);
                Ok(())
            }
        };
        if let Err(error) = written {
            tracing::error!(%error, "a result cannot be written");
        }
    }
}

impl Outcome {
    /// The text of an answer to a question.
    pub(crate) fn into_answer(self) -> Result<String, ErrorObject> {
        let written = match &self {
            Self::CreateMessage(result) => serde_json::to_string(result),
            Self::ListRoots(result) => serde_json::to_string(result),
            Self::Elicit(result) => serde_json::to_string(result),
            Self::Raw(result) => return Ok(result.to_string()),
            Self::Error(error) => return Err(error.clone()),
            _ => return Err(ErrorObject::internal()),
        };
        written.map_err(|_| ErrorObject::internal())
    }
}

/// How a result is written.
struct Shape<'h> {
    revision: Revision,
    head: &'h Head,
    kept: Option<CacheHint>,
}

impl Shape<'_> {
    fn complete(&self, buffer: &mut Vec<u8>, id: &impl EncodeId, result: &[u8]) {
        // It was written by us.
        let result = std::str::from_utf8(result).unwrap_or("{}");
        let written: Result<(), Infallible> = encode::written_result(buffer, id, |buffer| {
            self.head.write(buffer, result, self.kept);
            Ok(())
        });
        let Ok(()) = written;
    }
}

fn projected<T: Project + Serialize>(
    buffer: &mut Vec<u8>,
    id: &impl EncodeId,
    shape: &Shape<'_>,
    mut result: T,
) -> Result<(), serde_json::Error> {
    result.project(shape.revision);
    write(buffer, id, shape, &result)
}

fn write(
    buffer: &mut Vec<u8>,
    id: &impl EncodeId,
    shape: &Shape<'_>,
    result: &impl Serialize,
) -> Result<(), serde_json::Error> {
    match shape.revision.era() {
        Era::Handshake => encode::result(buffer, id, result),
        Era::Stateless => encode::written_result(buffer, id, |buffer| {
            shape.head.serialise(buffer, result, shape.kept)
        }),
    }
}
