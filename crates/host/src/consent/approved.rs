//! The only thing that can be sent to a server: what was approved, exactly, once.

use std::time::Instant;

use compere::proto::Method;
use sha2::{Digest, Sha256};

/// Something that goes to a server on behalf of an app.
#[derive(Debug)]
pub struct Outgoing {
    /// What is asked of the server.
    pub method: Method,
    /// The params, byte for byte as they will be sent.
    pub params: Box<str>,
}

/// Leave to send one thing to one start of one server. It cannot be copied, sending takes it, and the
/// rules and the person are all that can make one.
#[derive(Debug)]
#[must_use]
pub struct Approved {
    outgoing: Outgoing,
    binding: Binding,
}

/// What an approval is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Binding {
    server: String,
    /// Which start of the server.
    generation: u64,
    /// The digest of the launch and of the definition that was approved.
    definition: String,
    /// The digest of what is sent.
    bytes: [u8; 32],
    /// From then on it is none.
    until: Instant,
}

/// Why something that was approved is not sent after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// The server was started again.
    Generation,
    /// The definition is another one by now.
    Definition,
    /// It is not what was approved.
    Bytes,
    /// It was approved too long ago.
    Expired,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generation => "the server was started again after it was approved",
            Self::Definition => "what it does has changed since it was approved",
            Self::Bytes => "it is not what was approved",
            Self::Expired => "it was approved too long ago",
        })
    }
}

impl Approved {
    /// Only consent makes one.
    pub(in crate::consent) fn mint(
        outgoing: Outgoing,
        server: String,
        generation: u64,
        definition: String,
        until: Instant,
    ) -> Self {
        let bytes = digest(&outgoing);
        Self {
            outgoing,
            binding: Binding {
                server,
                generation,
                definition,
                bytes,
                until,
            },
        }
    }

    /// What is to be sent, if it is still what was approved for where it goes.
    pub(crate) fn take(
        self,
        server: &str,
        generation: u64,
        definition: Option<&str>,
        now: Instant,
    ) -> Result<Outgoing, Stale> {
        let binding = self.binding;
        if binding.server != server || binding.generation != generation {
            return Err(Stale::Generation);
        }
        if Some(binding.definition.as_str()) != definition {
            return Err(Stale::Definition);
        }
        if binding.bytes != digest(&self.outgoing) {
            return Err(Stale::Bytes);
        }
        if now >= binding.until {
            return Err(Stale::Expired);
        }
        Ok(self.outgoing)
    }
}

fn digest(outgoing: &Outgoing) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(outgoing.method.name());
    hash.update(b"\0");
    hash.update(outgoing.params.as_bytes());
    hash.finalize().into()
}
