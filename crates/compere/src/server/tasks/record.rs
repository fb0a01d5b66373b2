//! What is kept of a task, and how it is shown in both of its forms: as part of 2025-11-25, and as the
//! extension of 2026-07-28.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compere_proto::connection::stateless::{InputRequest, InputResponses};
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::tasks::{Task, TaskStatus};
use compere_proto::tools::CallToolResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::driver::outcome::Outcome;

/// How many characters of a failure are shown beside it.
const MESSAGE_CHARS: usize = 200;

/// A task as it is kept. Moments are milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    created: u64,
    updated: u64,
    ttl: u64,
    pub(crate) status: TaskStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<CallToolResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorObject>,
    /// What is asked and not answered yet, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    questions: BTreeMap<String, InputRequest>,
    /// What was answered, until its handler takes it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answers: InputResponses,
    /// Until then somebody works on it, if it can be that nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worked_on_until: Option<u64>,
}

pub(crate) fn millis(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    in_millis(since.unwrap_or_default())
}

pub(crate) fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Record {
    /// A task that begins now.
    pub(crate) fn new(ttl: Duration) -> Self {
        let now = millis(SystemTime::now());
        Self {
            created: now,
            updated: now,
            ttl: in_millis(ttl),
            status: TaskStatus::Working,
            message: None,
            result: None,
            error: None,
            questions: BTreeMap::new(),
            answers: BTreeMap::new(),
            worked_on_until: None,
        }
    }

    pub(crate) fn read(state: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(state)
    }

    pub(crate) fn written(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }

    /// It has changed for whoever looks.
    pub(crate) fn touch(&mut self) {
        self.updated = millis(SystemTime::now());
    }

    /// Somebody works on it for as long, at least.
    pub(crate) fn worked_on_for(&mut self, lease: Duration) {
        self.worked_on_until = Some(millis(SystemTime::now()).saturating_add(in_millis(lease)));
    }

    /// Nobody can finish it any more.
    pub(crate) fn is_orphaned(&self) -> bool {
        let now = millis(SystemTime::now());
        !self.status.is_final() && self.worked_on_until.is_some_and(|until| until < now)
    }

    pub(crate) fn orphaned(&mut self) {
        let why = "The instance of the server that worked on the task is gone";
        self.questions.clear();
        self.status = TaskStatus::Failed;
        self.message = Some(why.to_owned());
        self.error = Some(ErrorObject::new(
            compere_proto::jsonrpc::code::INTERNAL_ERROR,
            why,
        ));
    }

    pub(crate) fn cancelled(&mut self) {
        self.questions.clear();
        self.status = TaskStatus::Cancelled;
        self.message = Some("cancelled".to_owned());
        self.error = Some(ErrorObject::invalid_params("The task was cancelled"));
    }

    pub(crate) fn finished(
        &mut self,
        outcome: Result<CallToolResult, ErrorObject>,
        is_extension: bool,
    ) {
        self.questions.clear();
        let message = match &outcome {
            Ok(result) if result.failed() => Some(result.joined_text()),
            Ok(_) => None,
            Err(error) => Some(error.message.to_string()),
        };
        // A tool that failed has a result, says the extension.
        let is_result = is_extension && outcome.is_ok();
        self.status = match message {
            Some(_) if !is_result => TaskStatus::Failed,
            _ => TaskStatus::Completed,
        };
        self.message = message.map(|message| message.chars().take(MESSAGE_CHARS).collect());
        match outcome {
            Ok(result) => self.result = Some(result),
            Err(error) => self.error = Some(error),
        }
    }

    pub(crate) fn ask(&mut self, key: &str, question: InputRequest) {
        self.answers.remove(key);
        self.questions.insert(key.to_owned(), question);
        self.status = TaskStatus::InputRequired;
    }

    /// Takes answers, and not those to what is not asked; whether there was any.
    pub(crate) fn answer(&mut self, answers: &InputResponses) -> bool {
        let mut any = false;
        for (key, answer) in answers {
            if self.questions.remove(key).is_some() {
                self.answers.insert(key.clone(), answer.clone());
                any = true;
            }
        }
        if any && self.questions.is_empty() && self.status == TaskStatus::InputRequired {
            self.status = TaskStatus::Working;
        }
        any
    }

    pub(crate) fn take_answer(&mut self, key: &str) -> Option<compere_proto::object::RawJson> {
        self.answers.remove(key)
    }

    /// What its call has come to, if it has.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match (&self.error, &self.result) {
            (Some(error), _) => Some(Outcome::Error(error.clone())),
            (None, Some(result)) => Some(Outcome::CallTool(result.clone())),
            (None, None) => None,
        }
    }

    /// As 2025-11-25 shows it.
    pub(crate) fn task(&self, id: &str, poll: Duration) -> Task {
        let (created, updated) = (iso8601(self.created), iso8601(self.updated));
        let mut task = Task::new(id, self.status, created, updated, self.ttl);
        task.status_message.clone_from(&self.message);
        task.poll_interval = Some(in_millis(poll));
        task
    }

    /// As the extension shows it; `detailed` with everything that belongs to where it stands.
    pub(crate) fn shown(&self, id: &str, poll: Duration, detailed: bool) -> Value {
        let mut shown = json!({
            "taskId": id,
            "status": self.status,
            "createdAt": iso8601(self.created),
            "lastUpdatedAt": iso8601(self.updated),
            "ttlMs": self.ttl,
            "pollIntervalMs": in_millis(poll),
        });
        if let Some(message) = &self.message {
            shown["statusMessage"] = json!(message);
        }
        if !detailed {
            return shown;
        }
        match self.status {
            TaskStatus::InputRequired => shown["inputRequests"] = json!(self.questions),
            TaskStatus::Completed => {
                if let Some(result) = &self.result {
                    shown["result"] = json!(result);
                    shown["result"]["resultType"] = json!("complete");
                }
            }
            TaskStatus::Failed => {
                if let Some(error) = &self.error {
                    shown["error"] = json!(error);
                }
            }
            _ => {}
        }
        shown
    }
}

/// A moment as ISO 8601 in UTC, to the millisecond.
fn iso8601(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60,
        millis % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        let at = |seconds: u64| iso8601(seconds * 1_000);
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_763_812_800), "2025-11-22T12:00:00.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(iso8601(7), "1970-01-01T00:00:00.007Z");
    }
}
