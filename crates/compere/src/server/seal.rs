//! Seals what a server gives a stateless client to keep and to bring back: nobody else can read it,
//! change it, or use it for another request, another person, or later.
//!
//! `XChaCha20-Poly1305` with a random nonce for each state. What it is bound to is not in it but is
//! authenticated with it: who asked, the method, what is called and with which arguments. What is
//! inside is no concern of this file; `input.rs` fills it in and reads it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compere_proto::Method;
use compere_proto::wire::tape::{Kind, Node};
use orion::hazardous::aead::xchacha20poly1305::{self, Nonce, SecretKey};
use orion::hazardous::hash::blake2::blake2b::Blake2b;

use crate::error::{Error, Result};
use crate::server::extract::Arguments;

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// What is sealed, and in which form; another form gets another name.
const PURPOSE: &[u8] = b"compere request state 1";

/// A key for what clients of 2026-07-28 keep for a server between the rounds of a call.
///
/// Instances that share their keys understand each other's clients. Without one, each process makes its
/// own, and a restart ends what was under way.
#[derive(Clone)]
pub struct StateKey([u8; KEY_BYTES]);

impl StateKey {
    /// A key of 32 random bytes. Keep it like a password.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateKey")
    }
}

struct Key {
    /// Says which key it was, without saying anything of it.
    id: [u8; KEY_ID_BYTES],
    secret: SecretKey,
}

impl Key {
    fn new(key: &StateKey) -> Result<Self> {
        let mut id = [0; KEY_ID_BYTES];
        let digest = digest(&[b"compere key id", &key.0]).ok_or_else(unusable)?;
        id.copy_from_slice(digest.get(..KEY_ID_BYTES).ok_or_else(unusable)?);
        let secret = SecretKey::from_slice(&key.0).map_err(|_| unusable())?;
        Ok(Self { id, secret })
    }
}

fn unusable() -> Error {
    Error::setup("a key for request state cannot be used")
}

/// A digest of several parts, none of which can be taken for a piece of another.
fn digest(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut hash = Blake2b::new(KEY_BYTES).ok()?;
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes()).ok()?;
        hash.update(part).ok()?;
    }
    Some(hash.finalize().ok()?.as_ref().to_vec())
}

/// What a state belongs to.
pub(crate) struct Bound(Vec<u8>);

impl Bound {
    /// One call of one person: `target` is what is called, got or read.
    pub(crate) fn new(
        principal: &str,
        method: Method,
        target: &str,
        arguments: &Arguments<'_>,
    ) -> Option<Self> {
        let mut canonical = Vec::new();
        match arguments {
            Arguments::Scanned(node) => write_canonical(*node, &mut canonical),
            Arguments::Text(text) => canonical.extend_from_slice(text.as_bytes()),
            // A map is in order already.
            Arguments::Texts(texts) => canonical = serde_json::to_vec(texts).ok()?,
        }
        let parts = [
            PURPOSE,
            principal.as_bytes(),
            method.name().as_bytes(),
            target.as_bytes(),
            &canonical,
        ];
        digest(&parts).map(Self)
    }
}

/// JSON in one form: members in order, strings escaped in one way. Numbers stay as they are written.
fn write_canonical(node: Node<'_>, out: &mut Vec<u8>) {
    match node.kind() {
        Kind::Object => {
            let mut members: Vec<_> = node
                .members()
                .map(|(name, value)| (name.as_str().unwrap_or_default(), value))
                .collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            out.push(b'{');
            for (name, value) in members {
                write_text(&name, out);
                out.push(b':');
                write_canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Kind::Array => {
            out.push(b'[');
            for element in node.elements() {
                write_canonical(element, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Kind::String | Kind::EscapedString => {
            write_text(&node.as_str().unwrap_or_default(), out);
        }
        _ => out.extend_from_slice(node.as_json().as_bytes()),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing a text into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// What was opened.
pub(crate) struct Opened {
    pub(crate) content: Vec<u8>,
    /// No two states have the same.
    pub(crate) mark: [u8; NONCE_BYTES],
}

/// Seals with the first of its keys, opens with any of them.
pub(crate) struct Seal {
    keys: Vec<Key>,
}

impl Seal {
    /// Without a key, makes one.
    pub(crate) fn new(keys: &[StateKey]) -> Result<Self> {
        if !keys.is_empty() {
            let keys = keys.iter().map(Key::new).collect::<Result<_>>()?;
            return Ok(Self { keys });
        }
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| Error::setup("there is no randomness"))?;
        let keys = vec![Key::new(&StateKey(bytes))?];
        Ok(Self { keys })
    }

    /// The text that a client keeps. `None` if the system gives no randomness.
    pub(crate) fn seal(&self, content: &[u8], bound: &Bound) -> Option<String> {
        let key = self.keys.first()?;
        let mut mark = [0; NONCE_BYTES];
        getrandom::fill(&mut mark).ok()?;
        let nonce = Nonce::from_slice(&mark).ok()?;
        let head = KEY_ID_BYTES + NONCE_BYTES;
        let mut sealed = vec![0; head + content.len() + TAG_BYTES];
        let (start, rest) = sealed.split_at_mut(head);
        let (id, place) = start.split_at_mut(KEY_ID_BYTES);
        id.copy_from_slice(&key.id);
        place.copy_from_slice(&mark);
        xchacha20poly1305::seal(&key.secret, &nonce, content, Some(&bound.0), rest).ok()?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed. `None` if it is not what we gave, or for something else.
    pub(crate) fn open(&self, text: &str, bound: &Bound) -> Option<Opened> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, rest) = sealed.split_at_checked(KEY_ID_BYTES)?;
        let (mark, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let key = self.keys.iter().find(|key| key.id == id)?;
        let nonce = Nonce::from_slice(mark).ok()?;
        let mut content = vec![0; rest.len().checked_sub(TAG_BYTES)?];
        xchacha20poly1305::open(&key.secret, &nonce, rest, Some(&bound.0), &mut content).ok()?;
        Some(Opened {
            content,
            mark: mark.try_into().ok()?,
        })
    }
}
