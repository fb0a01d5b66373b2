//! Rounds of input of one call of a stateless client: what its handler asks becomes the answer, and the
//! handler runs again from the top with what the client brought.
//!
//! What was learnt in earlier rounds rides in the sealed state: the answers, the results of
//! [`Context::once`](crate::Context::once), and a digest of each question, so that a handler that asks
//! something else under the same key is found out. Nothing is kept here between two requests but the
//! marks of states that may be used once only.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compere_proto::capability::ClientCapabilities;
use compere_proto::connection::stateless::{
    self, Envelope, InputRequest, InputRequired, InputResponses,
};
use compere_proto::elicitation::UrlElicitation;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::LoggingLevel;
use compere_proto::object::RawJson;
use compere_proto::wire::scan::Params;
use compere_proto::wire::tape::Kind;
use compere_proto::{Method, Revision};
use serde::{Deserialize, Serialize};

use crate::server::core::ServerCore;
use crate::server::extract::Arguments;
use crate::server::seal::Bound;
use crate::server::soon::{Soon, StoreError};

/// Questions and answers of a request of a stateless client, and what else came with it.
pub(crate) struct Input {
    pub(crate) client_capabilities: ClientCapabilities,
    /// Who the client says it is, as JSON; read when somebody wants to know.
    about: Option<Box<str>>,
    client_info: OnceLock<Option<Implementation>>,
    pub(crate) revision: Revision,
    /// The least level of log messages that it wants; none if it did not say.
    pub(crate) log_level: Option<LoggingLevel>,
    method: Method,
    /// What the client brings with this request.
    brought: InputResponses,
    /// What is known from earlier rounds.
    past: Past,
    /// What a state of this call belongs to, once there may be one.
    bound: Option<(Bound, Arc<ServerCore>)>,
    round: Mutex<Round>,
}

/// What rides in the state.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Past {
    /// Milliseconds since 1970 after which it is worth nothing.
    until: u64,
    rounds: usize,
    /// A digest of every question that was asked, by its key.
    asked: BTreeMap<String, u64>,
    answers: BTreeMap<String, RawJson>,
    once: BTreeMap<String, RawJson>,
}

/// What happens in this run of the handler.
#[derive(Default)]
struct Round {
    questions: BTreeMap<String, InputRequest>,
    answers: BTreeMap<String, RawJson>,
    once: BTreeMap<String, RawJson>,
    /// Effects that run now and must not be cut off.
    effects: usize,
}

/// What is known of a question.
pub(crate) enum Known {
    /// The answer. It came with this request if it is `new`, and was not looked at before.
    Answer {
        answer: RawJson,
        new: bool,
    },
    Nothing,
    /// Something else was asked under this key.
    Changed,
}

/// What a request of a stateless client brings, as long as no handler wants to know of it: most do not.
pub(crate) struct Brought {
    envelope: Box<Envelope>,
    method: Method,
    answers: InputResponses,
    past: Option<Box<Past>>,
}

impl Brought {
    /// What a request brings. Its state is looked at by [`Brought::resume`].
    pub(crate) fn new(method: Method, envelope: Box<Envelope>, params: &Params<'_>) -> Self {
        let answers = match method.row().may_ask {
            true => stateless::input_responses(params),
            false => InputResponses::new(),
        };
        Self {
            envelope,
            method,
            answers,
            past: None,
        }
    }

    /// Does the client declare this extension with this request?
    pub(crate) fn has_extension(&self, identifier: &str) -> bool {
        self.envelope.client_capabilities.has_extension(identifier)
    }

    /// For the handler that wants to know.
    pub(crate) fn open(self) -> Input {
        let envelope = *self.envelope;
        Input {
            client_capabilities: envelope.client_capabilities,
            about: envelope.client_info,
            client_info: OnceLock::new(),
            revision: envelope.revision,
            log_level: envelope.log_level,
            method: self.method,
            brought: self.answers,
            past: self.past.map(|past| *past).unwrap_or_default(),
            bound: None,
            round: Mutex::default(),
        }
    }

    /// Takes the state that the request brings, if it brings one. `single_use`: it is then used up, here at
    /// once; what this gives is to be used up in the other instances as well, before anything happens.
    pub(crate) fn resume(
        &mut self,
        core: &ServerCore,
        principal: &str,
        target: &str,
        arguments: &Arguments<'_>,
        params: &Params<'_>,
        single_use: bool,
    ) -> Result<Option<Using>, ErrorObject> {
        let state = params.node("requestState");
        let Some(state) = state.filter(|state| state.kind() != Kind::Null) else {
            return Ok(None);
        };
        let refused = |why: &'static str| Err(ErrorObject::invalid_params(why));
        let limits = &core.options.limits;
        let Some(state) = state.as_str() else {
            return refused("Invalid params: requestState is no string");
        };
        if state.len() > limits.request_state_bytes {
            return Err(ErrorObject::limit(
                "request_state_bytes",
                limits.request_state_bytes,
            ));
        }
        let opened = Bound::new(principal, self.method, target, arguments)
            .and_then(|bound| core.seal().ok()?.open(&state, &bound));
        let Some(opened) = opened else {
            return refused(
                "Invalid requestState: it is not of this server, or not of this request",
            );
        };
        let Ok(past) = serde_json::from_slice::<Past>(&opened.content) else {
            return refused("Invalid requestState: it cannot be read");
        };
        let now = millis();
        if past.until <= now {
            return refused("Invalid requestState: its time is over; begin again");
        }
        let mut using = None;
        if single_use {
            let used = &core.used_states;
            if !used.mark(opened.mark, past.until, now, limits)? {
                return Err(used_before());
            }
            if let Some(elsewhere) = &core.options.used_states {
                let mark = URL_SAFE_NO_PAD.encode(opened.mark);
                let expires = Duration::from_millis(past.until - now);
                using = Some(elsewhere.use_up(&mark, expires));
            }
        }
        self.past = Some(Box::new(past));
        Ok(using)
    }
}

/// A state that is being used up where all instances know it.
pub(crate) type Using = Soon<Result<bool, StoreError>>;

/// An error if a state was used up before, in whichever instance.
pub(crate) async fn used_up(using: Using) -> Result<(), ErrorObject> {
    match using.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(used_before()),
        Err(error) => {
            tracing::error!(%error, "the store of used states failed");
            Err(ErrorObject::internal())
        }
    }
}

fn used_before() -> ErrorObject {
    ErrorObject::invalid_params("Invalid requestState: it was used before, and this runs only once")
}

impl Input {
    /// Who the client says it is. What cannot be read counts as absent.
    pub(crate) fn client_info(&self) -> Option<&Implementation> {
        let read = || serde_json::from_str(self.about.as_ref()?).ok();
        self.client_info.get_or_init(read).as_ref()
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a state of this call will belong to. Not needed where nothing can be asked.
    pub(crate) fn bind(
        &mut self,
        core: &Arc<ServerCore>,
        principal: &str,
        target: &str,
        arguments: &Arguments<'_>,
    ) {
        let client = &self.client_capabilities;
        let can_answer =
            client.elicitation.is_some() || client.sampling.is_some() || client.roots.is_some();
        if can_answer && self.method.row().may_ask {
            let bound = Bound::new(principal, self.method, target, arguments);
            self.bound = bound.map(|bound| (bound, core.clone()));
        }
    }

    /// May this request be answered with questions?
    pub(crate) fn may_ask(&self) -> bool {
        self.method.row().may_ask
    }

    /// The bound on rounds, if this request may not be answered with questions any more.
    pub(crate) fn rounds_over(&self) -> Option<usize> {
        let (_, core) = self.bound.as_ref()?;
        let limit = core.options.limits.input_rounds;
        (self.past.rounds >= limit).then_some(limit)
    }

    /// What is known of a question under its key.
    pub(crate) fn known(&self, key: &str, question: &InputRequest) -> Known {
        let earlier = self.past.asked.get(key);
        if earlier.is_some_and(|earlier| *earlier != fingerprint(question)) {
            return Known::Changed;
        }
        let round = self.round();
        let old = self
            .past
            .answers
            .get(key)
            .or_else(|| round.answers.get(key));
        if let Some(answer) = old {
            let answer = answer.clone();
            return Known::Answer { answer, new: false };
        }
        match self.brought.get(key) {
            Some(answer) => Known::Answer {
                answer: answer.clone(),
                new: true,
            },
            None => Known::Nothing,
        }
    }

    /// An answer that came with this request is one: it need not be asked again.
    pub(crate) fn accept(&self, key: &str, answer: RawJson) {
        self.round().answers.insert(key.to_owned(), answer);
    }

    /// Asks. `false` if something else was asked under this key in this run.
    pub(crate) fn ask(&self, key: &str, question: InputRequest) -> bool {
        let mut round = self.round();
        match round.questions.get(key) {
            Some(asked) if *asked != question => return false,
            Some(_) => {}
            None => {
                round.questions.insert(key.to_owned(), question);
            }
        }
        true
    }

    /// The result of an effect that has happened.
    pub(crate) fn happened(&self, key: &str) -> Option<RawJson> {
        let round = self.round();
        let known = self.past.once.get(key).or_else(|| round.once.get(key));
        known.cloned()
    }

    /// An effect begins: while it runs, the handler is not dropped for what it asks.
    pub(crate) fn effect_begins(&self) -> Effect<'_> {
        self.round().effects += 1;
        Effect(self)
    }

    /// The result of an effect, to be remembered.
    pub(crate) fn remember(&self, key: &str, result: RawJson) {
        self.round().once.insert(key.to_owned(), result);
    }

    /// An error that sends the person to pages first, as the questions that it is without a session. It
    /// stays an error for who cannot be asked that, and for who was asked already.
    pub(crate) fn pages_first(
        &self,
        error: &ErrorObject,
    ) -> Option<Result<InputRequired, ErrorObject>> {
        let pages = UrlElicitation::required(error);
        let may = self.may_ask() && self.client_capabilities.elicits_urls();
        if pages.is_empty() || !may {
            return None;
        }
        for (number, page) in pages.iter().enumerate() {
            let mut params = page.params();
            params.elicitation_id = None;
            let question = InputRequest::new(Method::ElicitationCreate, &params).ok()?;
            let key = format!("page {number}");
            if !matches!(self.known(&key, &question), Known::Nothing) {
                return None;
            }
            self.ask(&key, question);
        }
        self.take_questions()
    }

    /// What the handler has asked, as the answer to its request.
    pub(crate) fn take_questions(&self) -> Option<Result<InputRequired, ErrorObject>> {
        let mut round = self.round();
        if round.questions.is_empty() || round.effects > 0 {
            return None;
        }
        let round = std::mem::take(&mut *round);
        Some(self.input_required(round))
    }

    fn input_required(&self, round: Round) -> Result<InputRequired, ErrorObject> {
        let (bound, core) = self.bound.as_ref().ok_or_else(ErrorObject::internal)?;
        let limits = &core.options.limits;
        if self.past.rounds >= limits.input_rounds {
            return Err(ErrorObject::limit("input_rounds", limits.input_rounds));
        }
        let mut next = Past {
            until: millis().saturating_add(whole_millis(limits.request_state_lifetime)),
            rounds: self.past.rounds + 1,
            asked: self.past.asked.clone(),
            answers: self.past.answers.clone(),
            once: self.past.once.clone(),
        };
        for (key, question) in &round.questions {
            next.asked.insert(key.clone(), fingerprint(question));
        }
        next.answers.extend(round.answers);
        next.once.extend(round.once);
        let content = serde_json::to_vec(&next).map_err(|_| ErrorObject::internal())?;
        let state = core.seal().ok().and_then(|seal| seal.seal(&content, bound));
        let state = state.ok_or_else(ErrorObject::internal)?;
        if state.len() > limits.request_state_bytes {
            return Err(ErrorObject::limit(
                "request_state_bytes",
                limits.request_state_bytes,
            ));
        }
        Ok(InputRequired {
            input_requests: round.questions,
            request_state: Some(state),
        })
    }
}

/// While it lives, an effect runs.
pub(crate) struct Effect<'a>(&'a Input);

impl Drop for Effect<'_> {
    fn drop(&mut self) {
        self.0.round().effects -= 1;
    }
}

/// Tells two questions apart; what it is kept in is sealed.
fn fingerprint(question: &InputRequest) -> u64 {
    let bytes = question.method.bytes().chain([0]);
    bytes
        .chain(question.params.get().bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    whole_millis(since.unwrap_or(Duration::ZERO))
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
