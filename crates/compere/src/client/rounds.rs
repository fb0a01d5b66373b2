//! Requests to a server of the stateless era: what a result is, is looked at before it is read, and one
//! that asks is answered by the same handlers as a live request, then the request is sent again with the
//! answers.
//!
//! The state that a server wants to have back is its own: it goes back as it came, with the next round of
//! the same request and with nothing else.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/mrtr>

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use compere_proto::connection::Inbound;
use compere_proto::connection::stateless::{InputRequest, InputRequired, ResultKind, SERVER_INFO};
use compere_proto::error::PeerMisbehaved;
use compere_proto::jsonrpc::{ErrorObject, code};
use compere_proto::progress::ProgressParams;
use compere_proto::wire::scan::{Message, Scanner, member, members};
use compere_proto::{Error as ProtocolError, Method};
use futures_util::future::try_join_all;

use crate::client::answer::Answering;
use crate::client::tasks;
use crate::driver::Started;
use crate::driver::outbox::OnProgress;
use crate::driver::peer::{Peer, RequestOptions};
use crate::error::{Error, Result};

/// Progress of all rounds goes to the same place.
type Shared = Arc<Mutex<OnProgress>>;

/// How the rounds of one request are sent.
#[derive(Default)]
pub(crate) struct RoundOptions {
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) on_progress: Option<OnProgress>,
    /// Told when the answer came without any round: only then it is one that may be kept.
    pub(crate) was_at_once: Option<Arc<AtomicBool>>,
    /// A task that answers is the result, not what it comes to.
    pub(crate) takes_task: bool,
}

/// Sends a request, answers what the server asks, and gives the text of the result. `params` is the text
/// of an object.
///
/// Cancel safety: dropping the future withdraws the round that is under way.
pub(crate) async fn send(
    peer: &Peer,
    answering: &Answering,
    method: Method,
    params: &str,
    options: RoundOptions,
) -> Result<Box<str>> {
    let on_progress: Option<Shared> = options.on_progress.map(|hear| Arc::new(Mutex::new(hear)));
    let mut sent = params.to_owned();
    for _ in 0..=peer.limits.input_rounds {
        let wants_progress = on_progress.is_some();
        let request = RequestOptions {
            timeout: options.timeout,
            on_progress: on_progress.clone().map(heard),
            hears_on: false,
        };
        let pending = peer.raw_request(method, request, |id| match wants_progress {
            true => with_token(&sent, id),
            false => sent.clone(),
        });
        let result = pending.await?;
        let asked = match ResultKind::of(&result) {
            ResultKind::Complete => {
                if let Some(was_at_once) = options.was_at_once.filter(|_| sent == params) {
                    was_at_once.store(true, Ordering::Relaxed);
                }
                return Ok(without_server(&result));
            }
            ResultKind::InputRequired(asked) if method.row().may_ask => asked,
            ResultKind::Other(kind)
                if kind == "task" && method == Method::ToolsCall && answering.handlers.tasks =>
            {
                return match options.takes_task {
                    true => Ok(result),
                    false => tasks::follow(peer, answering, &result).await,
                };
            }
            kind => return Err(unexpected(method, &kind)),
        };
        let answers = answers(peer, answering, &asked.input_requests).await?;
        sent = again(params, &asked, &answers);
    }
    Err(ProtocolError::Limit("input_rounds").into())
}

/// A result without what is the same in all of them: that it is complete, and what its server says of
/// itself. Callers get the same in both eras.
pub(super) fn without_server(result: &str) -> Box<str> {
    let meta = member(result, "_meta").filter(|meta| meta.starts_with('{'));
    let rest: Vec<_> = meta
        .map(members)
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| name != SERVER_INFO)
        .collect();
    let rest: Vec<(&str, &str)> = rest.iter().map(|(name, value)| (&**name, *value)).collect();
    let rest = with_members("{}", &rest);
    let others: Vec<_> = members(result)
        .into_iter()
        .filter(|(name, _)| name != "_meta" && name != "resultType")
        .collect();
    let mut others: Vec<(&str, &str)> = others
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    if rest != "{}" {
        others.push(("_meta", &rest));
    }
    with_members("{}", &others).into()
}

/// A result without how long it may be kept: nothing of that is true on the other side of a gateway.
pub(crate) fn without_hints(result: &str) -> Box<str> {
    let rest: Vec<_> = members(result)
        .into_iter()
        .filter(|(name, _)| name != "ttlMs" && name != "cacheScope")
        .collect();
    let rest: Vec<(&str, &str)> = rest.iter().map(|(name, value)| (&**name, *value)).collect();
    with_members("{}", &rest).into()
}

/// A result that is not one of this request.
pub(crate) fn unexpected(method: Method, kind: &ResultKind) -> Error {
    let why = match kind {
        ResultKind::Complete => "it is complete".to_owned(),
        ResultKind::InputRequired(_) => "this request is not answered with questions".to_owned(),
        ResultKind::Other(name) => format!("its resultType is unknown: {name:?}"),
        ResultKind::Malformed(why) => (*why).to_owned(),
    };
    ProtocolError::from(PeerMisbehaved::ResultDoesNotFit(method, why)).into()
}

/// The params with a progress token, in the place of theirs if they have one.
fn with_token(params: &str, id: i64) -> String {
    let token = id.to_string();
    let meta = member(params, "_meta").filter(|meta| meta.starts_with('{'));
    let meta = with_members(meta.unwrap_or("{}"), &[("progressToken", &token)]);
    with_members(params, &[("_meta", &meta)])
}

fn heard(shared: Shared) -> OnProgress {
    Box::new(move |news: ProgressParams| {
        let mut hear = shared.lock().unwrap_or_else(PoisonError::into_inner);
        hear(news);
    })
}

/// The answers to everything that was asked, by key. One that is refused ends the request: there is no
/// way to say so, and nobody waits.
pub(super) async fn answers(
    peer: &Peer,
    answering: &Answering,
    questions: &BTreeMap<String, InputRequest>,
) -> Result<BTreeMap<String, String>> {
    if questions.len() > peer.limits.requests_in_flight {
        return Err(ProtocolError::Limit("requests_in_flight").into());
    }
    let questions = questions.iter().map(async |(key, question)| {
        match answer(peer, answering, key, question).await {
            Ok(answer) => Ok((key.clone(), answer)),
            // Nobody answers a person's form; the server can go on with that.
            Err(error) if question.method == Method::ElicitationCreate.name() => {
                tracing::debug!(%error, "a question to the person is not answered");
                Ok((key.clone(), "{\"action\":\"cancel\"}".to_owned()))
            }
            Err(error) => Err(Error::from(ProtocolError::Refused(error))),
        }
    });
    Ok(try_join_all(questions).await?.into_iter().collect())
}

/// The answer to one question, as a live request would get it.
async fn answer(
    peer: &Peer,
    answering: &Answering,
    key: &str,
    question: &InputRequest,
) -> Result<String, ErrorObject> {
    let known = Method::from_name(&question.method).filter(|method| {
        matches!(
            method,
            Method::ElicitationCreate | Method::SamplingCreateMessage | Method::RootsList
        )
    });
    let unknown = || ErrorObject::new(code::METHOD_NOT_FOUND, "The server asks what nobody can");
    let method = known.ok_or_else(unknown)?;
    let params = named(key, question.params.get());
    let message = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":{:?},\"params\":{params}}}",
        method.name()
    );
    let mut scanner = Scanner::new();
    let scanned = scanner.scan(message.as_bytes(), &peer.limits);
    let Ok(Message::Request { id, params, .. }) = scanned else {
        return Err(ErrorObject::invalid_params("The question cannot be read"));
    };
    let inbound = Inbound {
        id,
        method,
        extension: None,
        params,
        progress_token: None,
        bytes: message.len(),
    };
    let started =
        std::future::poll_fn(|context| Poll::Ready(answering.begin(peer, &inbound, context))).await;
    let outcome = match started {
        Started::Done(outcome) | Started::Answered(outcome, _) => outcome,
        Started::Pending(mut work, call) => {
            std::future::poll_fn(|context| work.poll(context, Some(&call))).await
        }
    };
    outcome.into_answer()
}

/// A page to go to has no name in this era; here it has that of its question.
fn named<'p>(key: &str, params: &'p str) -> std::borrow::Cow<'p, str> {
    let is_page = member(params, "mode") == Some("\"url\"");
    if !is_page || member(params, "elicitationId").is_some() {
        return params.into();
    }
    let key = serde_json::Value::from(key).to_string();
    with_members(params, &[("elicitationId", &key)]).into()
}

/// Answers by their keys, as an object.
pub(super) fn by_key(answers: &BTreeMap<String, String>) -> String {
    let answers = answers.iter();
    let answers: Vec<_> = answers.map(|(key, answer)| (&**key, &**answer)).collect();
    with_members("{}", &answers)
}

/// The same params once more, with what the server wants to have.
fn again(params: &str, asked: &InputRequired, answers: &BTreeMap<String, String>) -> String {
    let brought = by_key(answers);
    let state = asked
        .request_state
        .as_ref()
        .map(|state| serde_json::Value::from(state.as_str()).to_string());
    let mut more = Vec::new();
    if !asked.input_requests.is_empty() {
        more.push(("inputResponses", brought.as_str()));
    }
    if let Some(state) = &state {
        more.push(("requestState", state));
    }
    with_members(params, &more)
}

/// An object with further members, which take the place of those of the same name.
pub(crate) fn with_members(object: &str, more: &[(&str, &str)]) -> String {
    let mut written = String::with_capacity(object.len() + 64);
    written.push('{');
    let mut add = |name: &str, value: &str| {
        if written.len() > 1 {
            written.push(',');
        }
        written.push_str(&serde_json::Value::from(name).to_string());
        written.push(':');
        written.push_str(value);
    };
    for (name, value) in members(object) {
        if !more.iter().any(|(other, _)| *other == name) {
            add(&name, value);
        }
    }
    for (name, value) in more {
        add(name, value);
    }
    written.push('}');
    written
}
