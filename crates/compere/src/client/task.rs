//! A call that goes on at the server (only 2025-11-25): a handle on it.

use std::sync::Arc;

use compere_proto::Method;
use compere_proto::error::PeerMisbehaved;
use compere_proto::pagination::Empty;
use compere_proto::tasks::{Task, TaskParams};
use compere_proto::tools::CallToolResult;

use crate::client::output::ToolOutput;
use crate::driver::peer::{Hearing, Peer, RequestOptions};
use crate::error::Result;

/// A task at a server. It goes on whatever becomes of the handle, until it is done, withdrawn, or its
/// time is over.
#[derive(Clone)]
pub struct TaskHandle {
    peer: Peer,
    id: String,
    /// While a handle lives, progress of the call is heard.
    _hearing: Option<Arc<Hearing>>,
}

impl TaskHandle {
    pub(crate) fn new(peer: Peer, id: impl Into<String>, hearing: Option<Hearing>) -> Self {
        Self {
            peer,
            id: id.into(),
            _hearing: hearing.map(Arc::new),
        }
    }

    /// Its name at the server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it stands.
    ///
    /// Cancel safety: dropping the future withdraws the question, not the task.
    pub async fn status(&self) -> Result<Task> {
        self.ask(Method::TasksGet).await
    }

    /// Waits until it is done and gives what the call would have given, its refusal included. What the
    /// task asks meanwhile is answered by the client's handlers. There is no time limit.
    ///
    /// Cancel safety: dropping the future withdraws the question, not the task; ask again.
    pub async fn result(&self) -> Result<ToolOutput> {
        let options = RequestOptions {
            timeout: Some(None),
            on_progress: None,
            hears_on: false,
        };
        let params = TaskParams::new(self.id.as_str());
        let result: CallToolResult = self
            .peer
            .request(Method::TasksResult, options, |_| Some(params))
            .decode(Method::TasksResult)
            .await?;
        Ok(ToolOutput(result))
    }

    /// Withdraws it. An error if it is over already.
    pub async fn cancel(&self) -> Result<Task> {
        self.ask(Method::TasksCancel).await
    }

    async fn ask(&self, method: Method) -> Result<Task> {
        let params = TaskParams::new(self.id.as_str());
        let task: Task = self
            .peer
            .request(method, RequestOptions::default(), |_| Some(params))
            .decode(method)
            .await?;
        if task.task_id == self.id {
            return Ok(task);
        }
        let why = format!("it is about another task, {:?}", task.task_id);
        let fault = PeerMisbehaved::ResultDoesNotFit(method, why);
        Err(compere_proto::Error::from(fault).into())
    }

    /// Withdraws it and waits for nothing.
    pub(crate) fn abandon(&self) {
        let params = TaskParams::new(self.id.as_str());
        let asking = self
            .peer
            .request(Method::TasksCancel, RequestOptions::default(), |_| {
                Some(params)
            });
        tokio::spawn(async move {
            let _: Result<Empty> = asking.decode(Method::TasksCancel).await;
        });
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
