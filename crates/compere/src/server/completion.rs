//! Suggestions for arguments of prompts and variables of templates.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::driver::call::BoxFuture;
use crate::server::reply::ToolError;
use crate::server::session::Session;

/// What is being typed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompletionQuery {
    /// The argument or variable.
    pub argument: String,
    /// What has been typed so far.
    pub value: String,
    /// Arguments that have their value already (sent from 2025-06-18 on).
    pub known: BTreeMap<String, String>,
    /// Who types. Suggest nothing that this client may not see.
    pub session: Session,
}

impl CompletionQuery {
    pub(crate) fn new(
        argument: String,
        value: String,
        known: BTreeMap<String, String>,
        session: Session,
    ) -> Self {
        Self {
            argument,
            value,
            known,
            session,
        }
    }
}

pub(crate) type Completer =
    Arc<dyn Fn(CompletionQuery) -> BoxFuture<Result<Vec<String>, ToolError>> + Send + Sync>;

pub(crate) fn completer<F, Fut>(suggest: F) -> Completer
where
    F: Fn(CompletionQuery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<String>, ToolError>> + Send + 'static,
{
    Arc::new(move |query| Box::pin(suggest(query)))
}

/// The values that fit what was typed, most fitting first: those that start with it, those that
/// contain it, those that contain its letters in order. Case does not matter.
pub fn rank<S: AsRef<str>>(values: impl IntoIterator<Item = S>, typed: &str) -> Vec<String> {
    let typed = typed.to_lowercase();
    let mut ranked: Vec<(u8, String)> = values
        .into_iter()
        .filter_map(|value| {
            let value = value.as_ref();
            let lower = value.to_lowercase();
            let rank = if lower.starts_with(&typed) {
                0
            } else if lower.contains(&typed) {
                1
            } else if contains_in_order(&lower, &typed) {
                2
            } else {
                return None;
            };
            Some((rank, value.to_owned()))
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, value)| value).collect()
}

fn contains_in_order(text: &str, letters: &str) -> bool {
    let mut text = text.chars();
    letters
        .chars()
        .all(|letter| text.any(|other| other == letter))
}
