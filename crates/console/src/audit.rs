//! The record of what happened: whether it is what was written, and all of it to take along.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use compere_host::audit::{Reader, verify};
use futures_util::stream::unfold;
use maud::{Markup, html};
use tokio::sync::mpsc;

use crate::Inner;
use crate::answers::Fields;
use crate::entry::Visit;
use crate::page::{Place, page as whole};
use crate::text::line;

/// Pieces of an export that wait for the browser.
const AHEAD: usize = 16;
/// The size of a piece.
const PIECE: usize = 64 * 1024;

/// The page.
pub(crate) async fn page(State(inner): State<Arc<Inner>>, visit: Visit) -> Response {
    shown(&inner, &visit, &html! {}, "")
}

fn shown(inner: &Inner, visit: &Visit, verdict: &Markup, checkpoint: &str) -> Response {
    let content = html! {
        h1 { "Audit" }
        p {
            "Every call, every answer of yours and every change is written down before it counts, each record "
            "with a hash over all before it. What was changed afterwards is found."
        }
        form.answers method="post" action=(visit.path("audit/verify")) {
            label for="checkpoint" { "A checkpoint that you kept" span.optional { " optional" } }
            input id="checkpoint" name="checkpoint" value=(checkpoint) placeholder="NUMBER:HASH" autocomplete="off" spellcheck="false";
            button.yes { "Verify all of it" }
        }
        (verdict)
        h2 { "Take it along" }
        p { a href=(visit.path("audit/export")) download="compere-audit.jsonl" { "All records, a JSON object a line" } }
        p { "The log lies in " code { (line(&inner.host.audit_folder().display().to_string())) } }
        p { a href=(visit.path("activity?kind=decision")) { "What people decided" } ", "
            a href=(visit.path("activity?kind=host")) { "what the host noted" } }
    };
    whole(inner, visit, Place::Audit, "Audit", &content).into_response()
}

/// All of it is read and held against its hashes.
pub(crate) async fn verify_now(
    State(inner): State<Arc<Inner>>,
    visit: Visit,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let given = fields
        .get("checkpoint")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let kept = given
        .split_once(':')
        .and_then(|(number, hash)| Some((number.parse::<u64>().ok()?, hash.to_owned())));
    if kept.is_none() && !given.is_empty() {
        let verdict = html! { p.warn role="status" { "That is no checkpoint. It is a number, a colon and a hash." } };
        return shown(&inner, &visit, &verdict, &given);
    }
    let folder = inner.host.audit_folder();
    let kept: Vec<(u64, String)> = kept.into_iter().collect();
    let verified = tokio::task::spawn_blocking(move || verify(&folder, &kept)).await;
    let verdict = match verified {
        Ok(Ok(summary)) => html! {
            div.notice role="status" {
                p { strong { (summary.records) " records, all of them as they were written." } }
                @if summary.unfinished > 0 { p { "The last one is not finished, and was promised to nobody." } }
                p { "Keep this checkpoint elsewhere, and even somebody who writes the whole log anew is found out:" }
                pre { (summary.checkpoint().replace(' ', ":")) }
            }
        },
        Ok(Err(broken)) => html! {
            div.warn role="status" {
                p { strong { "The log was changed: " (line(&broken.to_string())) } }
                p { "Everything before this record is as it was written." }
            }
        },
        Err(error) => html! { p.warn role="status" { (line(&error.to_string())) } },
    };
    shown(&inner, &visit, &verdict, &given)
}

/// All records, a JSON object a line.
pub(crate) async fn export(State(inner): State<Arc<Inner>>, _visit: Visit) -> Response {
    let (sender, pieces) = mpsc::channel::<std::io::Result<Bytes>>(AHEAD);
    let folder = inner.host.audit_folder();
    tokio::task::spawn_blocking(move || {
        let mut reader = Reader::new(&folder);
        let mut piece = Vec::new();
        loop {
            let found = reader.next_record();
            let is_over = !matches!(found, Ok(Some(_)));
            match found {
                Ok(Some(record)) => {
                    piece.extend(serde_json::to_vec(&record).unwrap_or_default());
                    piece.push(b'\n');
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
            if (is_over || piece.len() >= PIECE)
                && sender
                    .blocking_send(Ok(std::mem::take(&mut piece).into()))
                    .is_err()
            {
                return;
            }
            if is_over {
                return;
            }
        }
    });
    let stream = unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let kind = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"compere-audit.jsonl\"",
        ),
    ];
    (kind, Body::from_stream(stream)).into_response()
}
