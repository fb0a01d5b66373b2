//! One request on its way from one connection to another: its own id and progress token there, the
//! answer, progress and cancellation back.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use compere_proto::connection::progress_gate::Step;
use compere_proto::jsonrpc::ErrorObject;
use compere_proto::progress::ProgressParams;
use compere_proto::wire::scan::member;
use compere_proto::{Error as ProtocolError, Method, Revision};
use serde_json::value::RawValue;

use crate::driver::Started;
use crate::driver::call::{CallShared, Handling, Work};
use crate::driver::exchange::Route;
use crate::driver::outbox::{Item, OnProgress};
use crate::driver::outcome::Outcome;
use crate::driver::peer::{Peer, PendingRequest, RequestOptions};
use crate::error::{Error, ErrorKind};
use crate::relay::translate;

/// Sends what `call` asks to the other side. Progress goes back with the token of the call; that of
/// a task beyond its answer.
pub(crate) fn send(
    to: &Peer,
    method: Method,
    params: &str,
    call: &Arc<CallShared>,
    is_task: bool,
) -> PendingRequest {
    let hears = call.token.is_some();
    let options = RequestOptions {
        timeout: None,
        on_progress: hears.then(|| progress(call, is_task)),
        hears_on: is_task,
    };
    to.request(method, options, |id| {
        raw(with_token(params, hears.then_some(id)))
    })
}

pub(crate) fn progress(call: &Arc<CallShared>, is_task: bool) -> OnProgress {
    let call = call.clone();
    if is_task {
        // Its call is long answered; what belongs to no call has the general route.
        let peer = call.peer.on(Route::GENERAL);
        return Box::new(move |mut params: ProgressParams| {
            if let Some(token) = call.token.clone() {
                params.progress_token = token;
                peer.notify(Method::Progress, Some(&params));
            }
        });
    }
    Box::new(move |params: ProgressParams| {
        let step = Step {
            progress: params.progress,
            total: params.total,
            message: params.message,
        };
        call.peer.outbox.push(Item::Progress {
            call: call.clone(),
            step,
        });
    })
}

/// The answer of a side that speaks `from`, for one that speaks `to`.
pub(crate) fn shaped(
    answer: crate::Result<Box<str>>,
    method: Method,
    from: Revision,
    to: Revision,
) -> Outcome {
    match answer {
        Ok(answer) if to < from => translate::result(method, &answer, to),
        Ok(answer) => Outcome::Raw(on_one_line(&answer)),
        Err(error) => translate::error(method, refused(method, &error), from, to).into(),
    }
}

/// Begins to work on a request: as long as the answer is not there, it is the connection's that
/// asked. A request that is withdrawn is withdrawn on the other side at once.
pub(crate) fn begin(
    method: Method,
    call: Arc<CallShared>,
    context: &mut Context<'_>,
    answer: impl Future<Output = Outcome> + Send + 'static,
) -> Started {
    let withdrawn = call.clone();
    let handling = Handling::Other(Box::pin(async move {
        tokio::select! {
            biased;
            () = withdrawn.cancelled() => ErrorObject::internal().into(),
            outcome = answer => outcome,
        }
    }));
    let name = method.name().into();
    let mut work = Work { handling, name };
    match work.poll(context, None) {
        Poll::Ready(outcome) => Started::Answered(outcome, call),
        Poll::Pending => Started::Pending(work, call),
    }
}

/// Passes a notification on.
pub(crate) fn notify(to: &Peer, method: Method, params: &str, route: Route) {
    let params = raw(on_one_line(params).into());
    to.on(route).notify(method, params.as_ref());
}

fn refused(method: Method, error: &Error) -> ErrorObject {
    if let Some(refusal) = error.refusal() {
        return refusal.clone();
    }
    if let ErrorKind::Protocol(ProtocolError::PeerIncompatible(_)) = error.kind() {
        return ErrorObject::method_not_found(method.name());
    }
    let mut refusal = ErrorObject::internal();
    refusal.message = format!("The other side of the bridge failed: {}", words(error)).into();
    refusal
}

/// What happened, without what a process last said: that may be a secret.
pub(crate) fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ServerLost(lost) => match &lost.status {
            Some(status) => format!("the server is gone ({status})"),
            None => "the server is gone".to_owned(),
        },
        _ => error.to_string(),
    }
}

/// What was read as JSON is JSON.
pub(crate) fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}

/// The params with another progress token in the place of theirs.
fn with_token(params: &str, token: Option<i64>) -> String {
    let place = token.and_then(|token| {
        let meta = member(params, "_meta")?;
        let there = member(meta, "progressToken")?;
        let start = there.as_ptr() as usize - params.as_ptr() as usize;
        Some((start, start + there.len(), token))
    });
    let text = match place {
        Some((start, end, token)) => format!(
            "{}{token}{}",
            params.get(..start).unwrap_or_default(),
            params.get(end..).unwrap_or_default()
        ),
        None => params.to_owned(),
    };
    on_one_line(&text).into()
}

/// Line ends can only be white space in JSON; over a stream of lines they would end the message.
pub(crate) fn on_one_line(json: &str) -> Box<str> {
    if json.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return json.replace(['\n', '\r'], " ").into();
    }
    json.into()
}

#[cfg(test)]
mod tests {
    use super::with_token;

    #[test]
    fn only_the_token_changes() {
        let params = r#"{"a":1e400,"_meta":{"x":"progressToken","progressToken":"theirs"},"b":2}"#;
        let ours = r#"{"a":1e400,"_meta":{"x":"progressToken","progressToken":7},"b":2}"#;
        assert_eq!(with_token(params, Some(7)), ours);
        assert_eq!(with_token(params, None), params);
    }
}
