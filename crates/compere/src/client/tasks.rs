//! Calls that a server of the stateless era answers with a task: the client looks until it is over, and
//! answers what it asks. Whoever made the call notices nothing of it.
//!
//! The tasks of 2025-11-25 are another thing: see `task.rs`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use compere_proto::connection::stateless::InputRequest;
use compere_proto::error::PeerMisbehaved;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::tasks::TaskStatus;
use compere_proto::{Error as ProtocolError, Method};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::answer::Answering;
use crate::client::rounds::{answers, by_key, with_members, without_server};
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::{Error, Result};

/// How often to look where the server does not say.
const POLL: Duration = Duration::from_secs(1);
/// The most often, whatever the server says.
const POLL_LEAST: Duration = Duration::from_millis(50);
/// The least often.
const POLL_MOST: Duration = Duration::from_secs(60);

/// A task as it stands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing<'a> {
    task_id: String,
    status: TaskStatus,
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

/// Looks at a task until it is over, and gives the result of its call.
///
/// Cancel safety: dropping the future withdraws the task.
pub(crate) async fn follow(peer: &Peer, answering: &Answering, made: &str) -> Result<Box<str>> {
    let first = read(made)?;
    let task = first.task_id;
    let mut withdrawn = Withdrawn {
        peer,
        task: Some(task.clone()),
    };
    let mut wait = first.poll_interval_ms;
    // What was answered is not asked for again, although it may still be shown.
    let mut answered: HashSet<String> = HashSet::new();
    loop {
        let pause = wait.map_or(POLL, Duration::from_millis);
        tokio::time::sleep(pause.clamp(POLL_LEAST, POLL_MOST)).await;
        let options = RequestOptions::default();
        let shown = peer.raw_request(Method::TasksGet, options, |_| about(&task));
        let shown = shown.await?;
        let standing = read(&shown)?;
        wait = standing.poll_interval_ms.or(wait);
        match standing.status {
            TaskStatus::Working => answered.clear(),
            TaskStatus::InputRequired => {
                let mut asked = standing.input_requests;
                asked.retain(|key, _| !answered.contains(key));
                if asked.is_empty() {
                    continue;
                }
                let given = answers(peer, answering, &asked).await?;
                let params = with_members(&about(&task), &[("inputResponses", &by_key(&given))]);
                let options = RequestOptions::default();
                peer.raw_request(Method::TasksUpdate, options, |_| params)
                    .await?;
                answered.extend(given.into_keys());
            }
            over => {
                withdrawn.task = None;
                return outcome(over, &standing);
            }
        }
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
