//! What 2026-07-28 keeps and means to drop: roots, sampling and log messages. They work; a server that
//! uses one for a client of that revision is told once in a process, in its own log.
//!
//! Called by [`crate::server::Context`].

use std::sync::Once;

/// A feature that is deprecated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deprecated {
    Roots,
    Sampling,
    Logging,
}

impl Deprecated {
    /// Says so, the first time.
    pub(crate) fn is_used(self) {
        static SAID: [Once; 3] = [const { Once::new() }; 3];
        let (feature, instead) = match self {
            Self::Roots => ("roots", "parameters, resource URIs or configuration"),
            Self::Sampling => ("sampling", "a model provider's own interface"),
            Self::Logging => ("log messages", "standard error or OpenTelemetry"),
        };
        if let Some(said) = SAID.get(self as usize) {
            said.call_once(|| {
                tracing::warn!(
                    feature,
                    instead,
                    "this is deprecated from 2026-07-28 on, and works"
                );
            });
        }
    }
}
