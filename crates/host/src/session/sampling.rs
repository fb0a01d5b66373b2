//! The way of a server's request for sampling: its budget, a person, the app's model, a person again, and
//! the server.

use std::sync::Arc;
use std::time::Duration;

use compere::gateway::Place;
use compere::model::{ErrorObject, code};
use compere::proto::Method;
use compere::text::escape_line;
use serde_json::Value;

use crate::audit::{Durability, Kind as RecordKind, Record};
use crate::consent::{Answer, NotAsked, Now, OPEN_FOR, Reviewed, Reviewing, Topic};
use crate::host::{Host, short};
use crate::sampling::request::{
    check, check_answer, tokens_answered, tokens_asked, tokens_wanted, without_context,
};
use crate::sampling::{Budget, Model, Spent, suited};
use crate::session::{PER_CALL, Session};

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
        let host = self.session.host.clone();
        let catalog = host.catalog();
        let own = suited(&catalog.models, params.get("modelPreferences"));
        let of_app = self.session.app.capabilities().sampling.is_some();
        let Some(mut by) = By::first(of_app, &own) else {
            return Err(self.refused(
                "the app has no model for it, and neither has the person named one",
                "",
            ));
        };
        let taken = by.need(&params);
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
        let prompt = Reviewing {
            app: self.session.name().to_owned(),
            server: self.server.clone(),
            what: Reviewed::Prompt,
            model: by.name(self.session.name()),
            others: by.others(&own),
            content: params,
            facts,
        };
        let (params, used, who) = self.review(prompt).await?;
        if let Some(model) = used.and_then(|name| own.iter().find(|model| model.name == name)) {
            by = By::Own(model);
        }
        check(&params).map_err(ErrorObject::invalid_params)?;
        // What a person has written may need more, and so may another model: that is theirs to say.
        let needed = by.need(&params);
        taking.taken = None;
        host.budgets(|budgets| budgets.settle(&self.server, taken, needed, Now::read().seconds));
        let written = params.to_string();
        let mut entry = self.intend(&by, &written, &who).await?;
        let (answer, tokens) = match self.ask(&by, &params, &written).await {
            Ok(answered) => answered,
            Err(Failed { why, error }) => {
                entry.end(&why);
                return Err(error);
            }
        };
        let used = by.used(&params, &answer, tokens);
        host.budgets(|budgets| budgets.settle(&self.server, needed, used, Now::read().seconds));
        let model = answer.get("model").and_then(Value::as_str);
        let model = model.unwrap_or_default().to_owned();
        entry.end(&format!(
            "{model} has answered, about {} tokens",
            used.tokens
        ));
        let result = Reviewing {
            app: self.session.name().to_owned(),
            server: self.server.clone(),
            what: Reviewed::Answer,
            model: model.clone(),
            others: Vec::new(),
            content: answer,
            facts: Vec::new(),
        };
        let (answer, _, who) = self.review(result).await?;
        check_answer(&answer).map_err(|why| self.refused(&why, &who))?;
        Ok(answer.to_string().into())
    }

    /// Before a model is asked: on the disk that it is about to be.
    async fn intend(
        &self,
        by: &By<'_>,
        written: &str,
        who: &str,
    ) -> Result<Entry<'_>, ErrorObject> {
        let host = &self.session.host;
        let mut record = self.record(RecordKind::Intent);
        record.name = short(&escape_line(&by.name(self.session.name())));
        record.digest = host.keyed(written);
        record.approver = who.to_owned();
        let mut outcome = self.record(RecordKind::Outcome);
        outcome.name.clone_from(&record.name);
        let number = host.append(record, Durability::Synced).await;
        outcome.of = Some(number.map_err(|error| self.refused(&error.to_string(), who))?);
        Ok(Entry {
            sampling: self,
            outcome: Some(outcome),
        })
    }

    /// A server that asks again and again while it works on one call is not let go on for ever.
    fn within_bounds(&self) -> Result<(), ErrorObject> {
        let Some(place) = self.place else {
            return Ok(());
        };
        match self.session.may_ask(place, Method::SamplingCreateMessage) {
            true => Ok(()),
            false => Err(self.refused(
                &format!("it has asked {PER_CALL} times already while it works on one call"),
                "",
            )),
        }
    }

    /// Asks the model: the result, and the tokens that were needed if somebody counted them.
    async fn ask(
        &self,
        by: &By<'_>,
        params: &Value,
        written: &str,
    ) -> Result<(Value, Option<(u64, u64)>), Failed> {
        let failed = |why: String, words: &str| Failed {
            why,
            error: ErrorObject::new(code::REJECTED_BY_USER, format!("Not sampled: {words}")),
        };
        let model = match by {
            By::App => {
                let method = Method::SamplingCreateMessage;
                let asked = self.session.app.ask(method, written, self.place.as_ref());
                let answer = asked.await.map_err(|error| match error.refusal() {
                    Some(refusal) => Failed {
                        why: format!("refused by the app ({})", refusal.code),
                        error: refusal.clone(),
                    },
                    None => {
                        let words = format!("the app did not answer: {error}");
                        failed(words.clone(), &words)
                    }
                })?;
                let words = "what the app answered cannot be read";
                let answer =
                    serde_json::from_str(&answer).map_err(|_| failed(words.to_owned(), words))?;
                return Ok((answer, None));
            }
            By::Own(model) => *model,
        };
        let asked = asked_own(&self.session.host, model, params).await;
        // Why is for the person: it may say where their models are.
        asked.map_err(|why| failed(format!("no answer: {why}"), "the model did not answer"))
    }

    /// A person sees it, and may write it anew, or have another model asked.
    async fn review(
        &self,
        reviewing: Reviewing,
    ) -> Result<(Value, Option<String>, String), ErrorObject> {
        let host = &self.session.host;
        if host.options.nobody {
            return Err(self.refused("there is nobody to look at it", ""));
        }
        let content = reviewing.content.clone();
        let inbox = host.consent.inbox();
        let ticket = inbox.review(Now::read().seconds, Topic::Sampling(reviewing));
        let mut ticket = ticket.map_err(|why| {
            let why = match why {
                NotAsked::TooMany => "too much of it waits for the person already",
                NotAsked::RefusedBefore => "the person does not want to be asked",
            };
            self.refused(why, "")
        })?;
        let answered = tokio::time::timeout(OPEN_FOR + Duration::from_secs(1), ticket.answer());
        let Ok(Some(resolution)) = answered.await else {
            return Err(self.refused("nobody has looked at it in time", ""));
        };
        match resolution.answer {
            Answer::Once => Ok((content, None, resolution.who)),
            Answer::Use { model, arguments } => {
                Ok((arguments.unwrap_or(content), Some(model), resolution.who))
            }
            Answer::Edit { arguments } => Ok((arguments, None, resolution.who)),
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

/// Why there is no answer: for the record, and for the server.
struct Failed {
    why: String,
    error: ErrorObject,
}

/// The record of a request to a model. If nobody waits for its end, that is said too.
struct Entry<'s> {
    sampling: &'s Sampling,
    outcome: Option<Record>,
}

impl Entry<'_> {
    fn end(&mut self, outcome: &str) {
        if let Some(mut record) = self.outcome.take() {
            record.outcome = short(&escape_line(outcome));
            self.sampling.session.host.write(record);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.end("withdrawn; outcome unknown");
    }
}

/// Whose model is asked.
enum By<'m> {
    App,
    Own(&'m Model),
}

impl<'m> By<'m> {
    fn first(of_app: bool, own: &[&'m Model]) -> Option<Self> {
        match of_app {
            true => Some(Self::App),
            false => own.first().map(|model| Self::Own(model)),
        }
    }

    fn name(&self, app: &str) -> String {
        match self {
            Self::App => format!("that of {app}"),
            Self::Own(model) => model.name.clone(),
        }
    }

    fn others(&self, own: &[&Model]) -> Vec<String> {
        let is_this = |model: &Model| matches!(self, Self::Own(this) if this.name == model.name);
        let others = own.iter().filter(|model| !is_this(model));
        others.map(|model| model.name.clone()).collect()
    }

    /// What a request may need.
    fn need(&self, params: &Value) -> Spent {
        let (asked, answered) = (tokens_asked(params), tokens_wanted(params));
        self.spent(asked, answered)
    }

    /// What it needed; where nobody counted, as far as that can be told.
    fn used(&self, params: &Value, answer: &Value, counted: Option<(u64, u64)>) -> Spent {
        let guessed = || (tokens_asked(params), tokens_answered(answer));
        let (asked, answered) = counted.unwrap_or_else(guessed);
        self.spent(asked, answered)
    }

    fn spent(&self, asked: u64, answered: u64) -> Spent {
        Spent {
            tokens: asked.saturating_add(answered),
            money: match self {
                Self::App => 0,
                Self::Own(model) => model.cost(asked, answered),
            },
            ..Spent::default()
        }
    }
}

/// The result, and the tokens asked and answered if the provider counted them; or why there is none.
type AskedOwn = Result<(Value, Option<(u64, u64)>), String>;

#[cfg(feature = "models")]
async fn asked_own(host: &Arc<Host>, model: &Model, params: &Value) -> AskedOwn {
    let key = match model.key.clone() {
        None => None,
        Some(key) => {
            let host = host.clone();
            // A keyring may take its time.
            let key = tokio::task::spawn_blocking(move || host.own_value(&key)).await;
            Some(key.map_err(|error| error.to_string())??)
        }
    };
    let answered = crate::sampling::provider::ask(model, key.as_deref(), params).await?;
    Ok((answered.result, answered.tokens))
}

#[cfg(not(feature = "models"))]
fn asked_own(_host: &Arc<Host>, _model: &Model, _params: &Value) -> std::future::Ready<AskedOwn> {
    std::future::ready(Err("this build asks no providers of models".to_owned()))
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
