//! Tasks of the extension, with which a server of the stateless era may answer a call: the client looks
//! until they are over, and answers what they ask. Whoever made the call notices nothing of it, unless they
//! want a handle (`task.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use compere_proto::connection::stateless::{InputRequest, ResultKind};
use compere_proto::error::PeerMisbehaved;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::tasks::{Task, TaskStatus};
use compere_proto::{Error as ProtocolError, Method};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::answer::Answering;
use crate::client::rounds::{answers, by_key, with_members, without_server};
use crate::client::task::another;
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::{Error, Result};

/// How often to look where the server does not say.
const POLL: Duration = Duration::from_secs(1);
/// The most often, whatever the server says.
const POLL_LEAST: Duration = Duration::from_millis(50);
/// The least often.
const POLL_MOST: Duration = Duration::from_secs(60);

/// So many answered questions of a task are known, before all are forgotten.
const ANSWERED: usize = 1_024;

/// A task as it stands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing<'a> {
    task_id: String,
    status: TaskStatus,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    last_updated_at: String,
    #[serde(default)]
    ttl_ms: Option<u64>,
    #[serde(default)]
    poll_interval_ms: Option<u64>,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
    #[serde(default)]
    input_requests: BTreeMap<String, InputRequest>,
}

/// Withdraws a task that nobody waits for any more.
struct Withdrawn<'a> {
    peer: &'a Peer,
    task: Option<String>,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        let (peer, params) = (self.peer.clone(), about(&task));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let options = RequestOptions::default();
                let _ = peer
                    .raw_request(Method::TasksCancel, options, |_| params)
                    .await;
            });
        }
    }
}

/// Params that name a task.
fn about(task: &str) -> String {
    let task = serde_json::Value::from(task).to_string();
    with_members("{}", &[("taskId", &task)])
}

fn read(text: &str) -> Result<Standing<'_>> {
    serde_json::from_str(text).map_err(|error| {
        let why = format!("a task: {error}");
        ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(Method::TasksGet, why)).into()
    })
}

/// The task that answers a call, if it is one.
pub(crate) fn made(result: &str) -> Result<Option<String>> {
    match ResultKind::of(result) {
        ResultKind::Other(kind) if kind == "task" => Ok(Some(read(result)?.task_id)),
        _ => Ok(None),
    }
}

/// Waits for the task that answers a call, and gives the result of the call.
///
/// Cancel safety: dropping the future withdraws the task.
pub(crate) async fn follow(peer: &Peer, answering: &Answering, made: &str) -> Result<Box<str>> {
    let first = read(made)?;
    let mut withdrawn = Withdrawn {
        peer,
        task: Some(first.task_id.clone()),
    };
    pause(first.poll_interval_ms).await;
    let result = result(peer, answering, &first.task_id).await;
    // One that has failed is over, one that cannot be asked about may not be.
    if !matches!(&result, Err(error) if error.refusal().is_none()) {
        withdrawn.task = None;
    }
    result
}

/// Waits as long as the server says.
async fn pause(poll: Option<u64>) {
    let pause = poll.map_or(POLL, Duration::from_millis);
    tokio::time::sleep(pause.clamp(POLL_LEAST, POLL_MOST)).await;
}

async fn look(peer: &Peer, task: &str) -> Result<Box<str>> {
    let options = RequestOptions::default();
    let shown = peer.raw_request(Method::TasksGet, options, |_| about(task));
    let shown = shown.await?;
    let about = read(&shown)?.task_id;
    if about == task {
        return Ok(shown);
    }
    Err(another(Method::TasksGet, &about))
}

/// How a task stands.
pub(crate) async fn status(peer: &Peer, task: &str) -> Result<Task> {
    let shown = look(peer, task).await?;
    let standing = read(&shown)?;
    let (created, updated) = (standing.created_at, standing.last_updated_at);
    let mut task = Task::new(task, standing.status, created, updated, standing.ttl_ms);
    task.status_message = standing.status_message;
    task.poll_interval = standing.poll_interval_ms;
    Ok(task)
}

/// Withdraws a task; the server says no more than that it has heard.
pub(crate) async fn cancel(peer: &Peer, task: &str) -> Result<()> {
    let options = RequestOptions::default();
    let params = about(task);
    let heard = peer.raw_request(Method::TasksCancel, options, |_| params);
    heard.await.map(drop)
}

/// Looks at a task until it is over, answers what it asks, and gives the result of its call.
///
/// Cancel safety: dropping the future leaves the task as it is.
pub(crate) async fn result(peer: &Peer, answering: &Answering, task: &str) -> Result<Box<str>> {
    // What was answered may still be shown. A key is for one question; where a server takes it for another
    // one, that is answered too.
    let mut answered: BTreeMap<String, InputRequest> = BTreeMap::new();
    loop {
        let shown = look(peer, task).await?;
        let standing = read(&shown)?;
        match standing.status {
            TaskStatus::Working => {}
            TaskStatus::InputRequired => {
                let mut asked = standing.input_requests;
                asked.retain(|key, question| answered.get(key) != Some(question));
                if !asked.is_empty() {
                    let given = answers(peer, answering, &asked).await?;
                    let params = with_members(&about(task), &[("inputResponses", &by_key(&given))]);
                    let options = RequestOptions::default();
                    peer.raw_request(Method::TasksUpdate, options, |_| params)
                        .await?;
                    if answered.len() >= ANSWERED {
                        answered.clear();
                    }
                    answered.append(&mut asked);
                }
            }
            over => return outcome(over, &standing),
        }
        pause(standing.poll_interval_ms).await;
    }
}

fn outcome(status: TaskStatus, standing: &Standing<'_>) -> Result<Box<str>> {
    if let (TaskStatus::Completed, Some(result)) = (status, standing.result) {
        return Ok(without_server(result.get()));
    }
    let message = || {
        let message = standing.status_message.as_deref();
        message.unwrap_or("The task was cancelled").to_owned()
    };
    let error = match &standing.error {
        Some(error) => error.clone(),
        None => ErrorObject::new(compere_proto::jsonrpc::code::INTERNAL_ERROR, message()),
    };
    Err(Error::from(ProtocolError::Refused(error)))
}
