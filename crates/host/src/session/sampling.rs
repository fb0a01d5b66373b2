//! The way of a server's request for sampling: its budget, a person, the app's model, a person again, and
//! the server.

use std::sync::Arc;
use std::time::Duration;

use compere::gateway::Place;
use compere::model::{ErrorObject, code};
use compere::proto::Method;
use compere::text::escape_line;
use serde_json::Value;

use crate::audit::{Kind as RecordKind, Record};
use crate::consent::{Answer, NotAsked, Now, OPEN_FOR, Reviewed, Reviewing, Topic};
use crate::host::short;
use crate::sampling::request::{check, check_answer, tokens_needed, tokens_used, without_context};
use crate::sampling::{Budget, Spent};
use crate::session::Session;

/// Requests for sampling that may come of one call.
const PER_CALL: usize = 10;

/// One request for sampling.
pub(super) struct Sampling {
    pub(super) session: Arc<Session>,
    /// Who asks.
    pub(super) server: String,
    /// The call that it works on, if it is one alone.
    pub(super) place: Option<Place>,
    /// What it may use; `None` if it is off.
    pub(super) budget: Option<Budget>,
}

impl Sampling {
    /// All of the way.
    pub(super) async fn run(self, params: &str) -> Result<Box<str>, ErrorObject> {
        let Some(budget) = self.budget else {
            return Err(ErrorObject::method_not_found(
                Method::SamplingCreateMessage.name(),
            ));
        };
        let mut params: Value = serde_json::from_str(params)
            .map_err(|_| ErrorObject::invalid_params("The params cannot be read"))?;
        check(&params).map_err(ErrorObject::invalid_params)?;
        let mut facts: Vec<String> = without_context(&mut params).into_iter().collect();
        self.within_bounds()?;
        let taken = Spent {
            tokens: tokens_needed(&params),
            ..Spent::default()
        };
        let host = self.session.host.clone();
        let now = Now::read().seconds;
        host.budgets(|budgets| budgets.take(&self.server, &budget, taken, now))
            .map_err(|over| self.refused(&format!("its budget does not allow it: {over}"), ""))?;
        let mut taking = Taking {
            sampling: &self,
            taken: Some(taken),
        };
        let spent = host.budgets(|budgets| budgets.spent(&self.server, now));
        facts.push(format!(
            "it is request {} of {} today, and {} of {} tokens may be used with it",
            spent.requests, budget.requests, spent.tokens, budget.tokens
        ));
        let model = format!("that of {}", self.session.name());
        let (params, who) = self.review(Reviewed::Prompt, &model, params, facts).await?;
        check(&params).map_err(ErrorObject::invalid_params)?;
        // What a person has written may need more.
        let needed = tokens_needed(&params);
        let written = params.to_string();
        let asked =
            self.session
                .app
                .ask(Method::SamplingCreateMessage, &written, self.place.as_ref());
        // From here on a model may have been asked.
        taking.taken = None;
        let answer = asked.await.map_err(|error| match error.refusal() {
            Some(refusal) => refusal.clone(),
            None => {
                let mut refusal = ErrorObject::internal();
                refusal.message = format!("The app did not answer: {error}").into();
                refusal
            }
        })?;
        let answer: Value = serde_json::from_str(&answer)
            .map_err(|_| self.refused("what the app answered cannot be read", ""))?;
        let used = Spent {
            tokens: tokens_used(&params, &answer).min(needed.max(taken.tokens)),
            ..Spent::default()
        };
        host.budgets(|budgets| budgets.settle(&self.server, taken, used, Now::read().seconds));
        let model = answer.get("model").and_then(Value::as_str);
        let model = model.unwrap_or_default().to_owned();
        let (answer, also) = self
            .review(Reviewed::Answer, &model, answer, Vec::new())
            .await?;
        check_answer(&answer).map_err(|why| self.refused(&why, &also))?;
        let mut record = self.record(RecordKind::Host);
        record.digest = host.keyed(&written);
        record.approver = match who == also {
            true => who,
            false => format!("{who}; {also}"),
        };
        record.outcome = format!(
            "a model was asked, and its answer given: {}, about {} tokens",
            escape_line(&model),
            used.tokens
        );
        host.write(record);
        Ok(answer.to_string().into())
    }

    /// A server that asks again and again while it works on one call is not let go on for ever.
    fn within_bounds(&self) -> Result<(), ErrorObject> {
        let Some(place) = self.place else {
            return Ok(());
        };
        match self.session.sampled_for(place) < PER_CALL {
            true => Ok(()),
            false => Err(self.refused(
                &format!("it has asked {PER_CALL} times already while it works on one call"),
                "",
            )),
        }
    }

    /// A person sees it, and may write it anew.
    async fn review(
        &self,
        what: Reviewed,
        model: &str,
        content: Value,
        facts: Vec<String>,
    ) -> Result<(Value, String), ErrorObject> {
        let host = &self.session.host;
        if host.options.nobody {
            return Err(self.refused("there is nobody to look at it", ""));
        }
        let topic = Topic::Sampling(Reviewing {
            app: self.session.name().to_owned(),
            server: self.server.clone(),
            what,
            model: model.to_owned(),
            content: content.clone(),
            facts,
        });
        let inbox = host.consent.inbox();
        let ticket = inbox.review(Now::read().seconds, topic);
        let mut ticket = ticket.map_err(|why| {
            self.refused(
                match why {
                    NotAsked::TooMany => "too much of it waits for the person already",
                    NotAsked::RefusedBefore => "the person does not want to be asked",
                },
                "",
            )
        })?;
        let answered = tokio::time::timeout(OPEN_FOR + Duration::from_secs(1), ticket.answer());
        let Ok(Some(resolution)) = answered.await else {
            return Err(self.refused("nobody has looked at it in time", ""));
        };
        match resolution.answer {
            Answer::Once => Ok((content, resolution.who)),
            Answer::Edit { arguments } => Ok((arguments, resolution.who)),
            Answer::Deny { reason } if !reason.is_empty() => {
                Err(self.refused(&format!("the person refused it: {reason}"), &resolution.who))
            }
            _ => Err(self.refused("the person refused it", &resolution.who)),
        }
    }

    fn record(&self, kind: RecordKind) -> Record {
        let mut record = Record::new(kind);
        record.app = self.session.name().to_owned();
        record.server.clone_from(&self.server);
        record.method = Method::SamplingCreateMessage.name().to_owned();
        record
    }

    /// A no, for the server and for the record.
    fn refused(&self, why: &str, by: &str) -> ErrorObject {
        let mut record = self.record(RecordKind::Refused);
        record.outcome = short(&escape_line(why));
        record.approver = by.to_owned();
        self.session.host.write(record);
        ErrorObject::new(code::REJECTED_BY_USER, format!("Not sampled: {why}"))
    }
}

/// What was taken out of a budget goes back if no model was asked.
struct Taking<'s> {
    sampling: &'s Sampling,
    taken: Option<Spent>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken {
            let host = &self.sampling.session.host;
            let now = Now::read().seconds;
            host.budgets(|budgets| budgets.give_back(&self.sampling.server, taken, now));
        }
    }
}
