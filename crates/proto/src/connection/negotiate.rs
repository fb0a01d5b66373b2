//! Which revision a session speaks.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/basic/lifecycle#version-negotiation>

use crate::error::PeerIncompatible;
use crate::revision::Revision;

/// The server's answer: the requested revision if it is among `supported`, else the newest of
/// those. `supported` is ordered oldest first and not empty.
pub fn answer(requested: &str, supported: &[Revision]) -> Revision {
    supported
        .iter()
        .copied()
        .find(|revision| revision.as_str() == requested)
        .unwrap_or_else(|| newest(supported))
}

/// The client's verdict on the answer.
pub fn accept(answered: &str, supported: &[Revision]) -> Result<Revision, PeerIncompatible> {
    supported
        .iter()
        .copied()
        .find(|revision| revision.as_str() == answered)
        .ok_or_else(|| PeerIncompatible::Version {
            offered: answered.chars().take(64).collect(),
            supported: supported.to_vec(),
        })
}

/// The newest of the revisions, which is what a client asks for.
pub fn newest(supported: &[Revision]) -> Revision {
    supported
        .iter()
        .copied()
        .max()
        .unwrap_or(Revision::V2024_11_05)
}
