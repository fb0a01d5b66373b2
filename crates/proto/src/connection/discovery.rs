//! How a client finds out which era a server speaks: by asking it with `server/discover`, and by what
//! becomes of that.
//!
//! Only evidence counts. A server that answers with something of the stateless era speaks it; one that
//! refuses the question as a server of the other era would, does not. That it is not to be reached, that
//! nobody is let in, or that it is out of order, says nothing.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning>

use std::sync::Arc;

use serde::Deserialize;

use crate::capability::ServerCapabilities;
use crate::connection::stateless::SERVER_INFO;
use crate::error::{Error, PeerIncompatible};
use crate::jsonrpc::{ErrorObject, code};
use crate::lifecycle::{DiscoverResult, Implementation};
use crate::revision::{Era, Revision};
use crate::wire::scan::member;

/// What is known of a server of the stateless era.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Discovered {
    /// The revision to speak with it.
    pub revision: Revision,
    /// What it can do.
    pub capabilities: Arc<ServerCapabilities>,
    /// Who it says it is.
    pub info: Option<Arc<Implementation>>,
    /// How to use it, in its own words.
    pub instructions: Option<Box<str>>,
}

impl Discovered {
    /// What is known without having asked.
    pub fn new(revision: Revision, capabilities: ServerCapabilities) -> Self {
        Self {
            revision,
            capabilities: Arc::new(capabilities),
            info: None,
            instructions: None,
        }
    }
}

/// What follows from the answer to `server/discover`.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It is of the stateless era.
    Stateless(Box<Discovered>),
    /// It is, and wants to be asked again in a version that it has named and that we asked in already.
    Again,
    /// It is of the other era: `initialize`.
    Handshake,
    /// It is of the stateless era, and there is no speaking with it.
    Failed(Error),
}

/// Judges an answer; `ours` are the revisions that we speak, of both eras.
pub fn judge(outcome: Result<&str, &ErrorObject>, ours: &[Revision]) -> Finding {
    match outcome {
        Ok(result) => judge_result(result, ours),
        Err(error) => judge_error(error, ours),
    }
}

/// The newest revision of the stateless era that both speak.
fn mutual(theirs: &[String], ours: &[Revision]) -> Option<Revision> {
    ours.iter()
        .copied()
        .filter(|revision| revision.era() == Era::Stateless)
        .filter(|revision| theirs.iter().any(|version| version == revision.as_str()))
        .max()
}

/// Neither side has a revision of the stateless era that the other has.
fn without_mutual(theirs: &[String], ours: &[Revision]) -> Finding {
    let is_old = |version: &String| {
        let known = version.parse::<Revision>();
        known.is_ok_and(|revision| revision.era() == Era::Handshake)
    };
    if theirs.iter().any(is_old) || theirs.is_empty() {
        return Finding::Handshake;
    }
    Finding::Failed(
        PeerIncompatible::Version {
            offered: theirs.join(", ").chars().take(256).collect(),
            supported: ours.to_vec(),
        }
        .into(),
    )
}

fn judge_result(result: &str, ours: &[Revision]) -> Finding {
    // A server of the other era may answer what it does not know; it does not know this member.
    if !result.starts_with('{') || member(result, "resultType") != Some("\"complete\"") {
        return Finding::Handshake;
    }
    let Ok(found) = serde_json::from_str::<DiscoverResult>(result) else {
        return Finding::Handshake;
    };
    let Some(revision) = mutual(&found.supported_versions, ours) else {
        return without_mutual(&found.supported_versions, ours);
    };
    let info = member(result, "_meta")
        .filter(|meta| meta.starts_with('{'))
        .and_then(|meta| member(meta, SERVER_INFO))
        .and_then(|info| serde_json::from_str(info).ok());
    Finding::Stateless(Box::new(Discovered {
        revision,
        capabilities: Arc::new(found.capabilities),
        info: info.map(Arc::new),
        instructions: found.instructions.map(Into::into),
    }))
}

fn judge_error(error: &ErrorObject, ours: &[Revision]) -> Finding {
    #[derive(Deserialize)]
    struct Data {
        supported: Vec<String>,
    }

    match error.code {
        code::UNSUPPORTED_VERSION => {
            let data = error.data.as_ref().map_or("null", |data| data.get());
            let theirs = serde_json::from_str::<Data>(data).map(|data| data.supported);
            let theirs = theirs.unwrap_or_default();
            match mutual(&theirs, ours) {
                Some(_) => Finding::Again,
                None => without_mutual(&theirs, ours),
            }
        }
        code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY => {
            Finding::Failed(Error::Refused(error.clone()))
        }
        _ => Finding::Handshake,
    }
}

/// Does an answer over HTTP with this status, and without an error of the stateless era in it, come from
/// a server of the other era?
pub const fn is_evidence(status: u16) -> bool {
    matches!(status, 400 | 404 | 405 | 406 | 410 | 411 | 415 | 422 | 501)
}
