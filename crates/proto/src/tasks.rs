//! Tasks (only 2025-11-25): a request is answered at once with a handle, and its result is fetched
//! later.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks>

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::{Meta, RawJson, open_object};

/// `_meta` key: the task that a message belongs to.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// The extension that tasks are from 2026-07-28 on.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

open_object! {
    /// The wish to have a request worked on as a task.
    pub struct TaskMetadata {
        optional {
            /// How long to keep it, in milliseconds from its creation.
            ttl: u64 = "ttl",
        }
    }
}

/// Where a task stands. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It is being worked on.
    Working,
    /// It waits for something that it asked its requestor.
    InputRequired,
    /// Done; the result may be fetched.
    Completed,
    /// It went wrong; a tool that failed counts as this.
    Failed,
    /// Its requestor withdrew it.
    Cancelled,
}

impl TaskStatus {
    /// Does nothing follow?
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

open_object! {
    /// A task as it stands.
    pub struct Task {
        required {
            /// Its name, given by whoever works on it.
            task_id: String = "taskId",
            /// Where it stands.
            status: TaskStatus = "status",
            /// When it was made, ISO 8601.
            created_at: String = "createdAt",
            /// When it last changed, ISO 8601.
            last_updated_at: String = "lastUpdatedAt",
            /// How long it is kept, in milliseconds from its creation; null is without end.
            ttl: Option<u64> = "ttl",
        }
        optional {
            /// Words for people.
            status_message: String = "statusMessage",
            /// How often to ask, in milliseconds.
            poll_interval: u64 = "pollInterval",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// The answer to a request that became a task.
    pub struct CreateTaskResult {
        required {
            /// The task.
            task: Task = "task",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Params of `tasks/get`, `tasks/result` and `tasks/cancel`.
    pub struct TaskParams {
        required {
            /// Which task.
            task_id: String = "taskId",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `tasks/list`.
    pub struct ListTasksResult {
        defaulted {
            /// This page.
            tasks: Vec<Task> = "tasks",
        }
        optional {
            /// Where the next page starts; absent on the last one.
            next_cursor: String = "nextCursor",
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

/// May a tool be called as a task?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskSupport {
    /// Never.
    #[default]
    Forbidden,
    /// As the client likes.
    Optional,
    /// Always, in revisions that have tasks.
    Required,
}

impl TaskSupport {
    /// What a tool says of itself; what cannot be read counts as never.
    pub fn of(execution: Option<&RawJson>) -> Self {
        #[derive(Deserialize)]
        struct Execution {
            #[serde(rename = "taskSupport")]
            task_support: Option<String>,
        }

        let said: Option<Execution> = execution.and_then(|execution| execution.decode().ok());
        match said.and_then(|said| said.task_support).as_deref() {
            Some("optional") => Self::Optional,
            Some("required") => Self::Required,
            _ => Self::Forbidden,
        }
    }

    /// What a tool with it says of itself, if anything.
    pub fn execution(self) -> Option<RawJson> {
        let support = match self {
            Self::Forbidden => return None,
            Self::Optional => "optional",
            Self::Required => "required",
        };
        Some(serde_json::json!({ "taskSupport": support }).into())
    }
}

/// Names the task that a message belongs to, in its `_meta`.
pub fn relate(meta: &mut Option<Box<Meta>>, task_id: &str) {
    if let Ok(value) = serde_json::value::to_raw_value(&serde_json::json!({ "taskId": task_id })) {
        let meta = meta.get_or_insert_default();
        meta.extra.push(RELATED_TASK, value);
    }
}
