//! A call that goes on at the server: a handle on it, the same in both eras.

use std::sync::Arc;

use compere_proto::Method;
use compere_proto::error::{Misuse, PeerMisbehaved};
use compere_proto::pagination::Empty;
use compere_proto::tasks::{Task, TaskParams};
use compere_proto::tools::CallToolResult;

use crate::client::answer::Answering;
use crate::client::output::ToolOutput;
use crate::client::tasks;
use crate::driver::peer::{Hearing, Peer, RequestOptions};
use crate::error::Result;

/// A task at a server. It goes on whatever becomes of the handle, until it is done, withdrawn, or its
/// time is over. Keep its [`id`](Self::id), and [`Client::task`](crate::Client::task) finds it again from
/// another connection, if the server knows by then who asks.
///
/// In 2025-11-25 a task is part of the protocol; from 2026-07-28 on it is the extension
/// `io.modelcontextprotocol/tasks`, and the server decides whether a call becomes one.
#[derive(Clone)]
pub struct TaskHandle {
    peer: Peer,
    id: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// A task of 2025-11-25. While a handle lives, progress of its call is heard.
    Handshake { _hearing: Option<Arc<Hearing>> },
    /// A task of the extension, whose questions are answered while its result is waited for.
    Extension(Answering),
    /// None: the server was done at once.
    Done(Arc<str>),
}

impl TaskHandle {
    pub(crate) fn new(peer: Peer, id: impl Into<String>, hearing: Option<Hearing>) -> Self {
        let kind = Kind::Handshake {
            _hearing: hearing.map(Arc::new),
        };
        let id = id.into();
        Self { peer, id, kind }
    }

    pub(crate) fn of_extension(peer: Peer, id: impl Into<String>, answering: Answering) -> Self {
        let (id, kind) = (id.into(), Kind::Extension(answering));
        Self { peer, id, kind }
    }

    /// The text of the result of a call that made no task.
    pub(crate) fn done(peer: Peer, result: Box<str>) -> Self {
        let (id, kind) = (String::new(), Kind::Done(result.into()));
        Self { peer, id, kind }
    }

    /// Its name at the server. None if the server was done at once and made no task, which it may from
    /// 2026-07-28 on: then [`result`](Self::result) has what it said.
    pub fn id(&self) -> Option<&str> {
        match self.kind {
            Kind::Done(_) => None,
            _ => Some(&self.id),
        }
    }

    /// How it stands. An error if there is no task.
    ///
    /// Cancel safety: dropping the future withdraws the question, not the task.
    pub async fn status(&self) -> Result<Task> {
        match &self.kind {
            Kind::Handshake { .. } => self.ask(Method::TasksGet).await,
            Kind::Extension(_) => tasks::status(&self.peer, &self.id).await,
            Kind::Done(_) => Err(no_task()),
        }
    }

    /// Waits until it is done and gives what the call would have given, its refusal included. What the
    /// task asks meanwhile is answered by the client's handlers. There is no time limit.
    ///
    /// Cancel safety: dropping the future withdraws the question, not the task; ask again.
    pub async fn result(&self) -> Result<ToolOutput> {
        match &self.kind {
            Kind::Handshake { .. } => {
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
            Kind::Extension(answering) => {
                let result = tasks::result(&self.peer, answering, &self.id).await?;
                ToolOutput::read(&result)
            }
            Kind::Done(result) => ToolOutput::read(result),
        }
    }

    /// Withdraws it, and says how it stands then. One that is over already stays as it is, which is an
    /// error in 2025-11-25, and always if there is no task.
    pub async fn cancel(&self) -> Result<Task> {
        match &self.kind {
            Kind::Handshake { .. } => self.ask(Method::TasksCancel).await,
            Kind::Extension(_) => {
                tasks::cancel(&self.peer, &self.id).await?;
                self.status().await
            }
            Kind::Done(_) => Err(no_task()),
        }
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
        Err(another(method, &task.task_id))
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

fn no_task() -> crate::Error {
    let why = "the server was done at once and made no task".to_owned();
    compere_proto::Error::from(Misuse::Other(why)).into()
}

/// An answer that is about another task than the one that was asked about.
pub(super) fn another(method: Method, id: &str) -> crate::Error {
    let why = format!("it is about another task, {id:?}");
    compere_proto::Error::from(PeerMisbehaved::ResultDoesNotFit(method, why)).into()
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
