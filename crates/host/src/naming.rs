//! The names under which the things of many servers are offered as one.
//!
//! A name follows from the server and the thing alone, never from what else there is or in which order
//! it came: `git__git_log` today is `git__git_log` for ever. Where a name would be too long, or holds
//! what apps do not take, or looks like one that was shortened, a digest of the whole takes the place
//! of its end. No two things have the same name.

use sha2::{Digest, Sha256};

use crate::hex;

/// No longer than this: what the strictest apps take.
pub const NAME_CHARACTERS: usize = 64;
/// Of which so many for the server.
const SERVER_CHARACTERS: usize = 24;
/// Between server and thing. No handle of a server holds it.
const BETWEEN: &str = "__";
/// Before a digest.
const MARK: &str = "-x";
/// Letters of a digest.
const DIGEST_LETTERS: usize = 12;

/// What stands for a server in names: its own name where that can be told from all others.
pub fn handle(server: &str) -> String {
    let ends_well = !server.starts_with('_') && !server.ends_with('_');
    match ends_well && !server.contains(BETWEEN) && is_plain(server, SERVER_CHARACTERS) {
        true => server.to_owned(),
        false => shortened(server, server, SERVER_CHARACTERS),
    }
}

/// The name of a thing of a server.
pub fn offered(server: &str, thing: &str) -> String {
    let handle = handle(server);
    let rest = NAME_CHARACTERS - handle.len() - BETWEEN.len();
    match is_plain(thing, rest) {
        true => format!("{handle}{BETWEEN}{thing}"),
        false => {
            let whole = format!("{server}\0{thing}");
            format!("{handle}{BETWEEN}{}", shortened(thing, &whole, rest))
        }
    }
}

fn is_plain(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(is_common)
        && !looks_shortened(name)
}

/// What of a name is plain, and a digest of `whole`.
fn shortened(name: &str, whole: &str, longest: usize) -> String {
    let kept: String = name
        .chars()
        .map(|letter| match u8::try_from(letter) {
            Ok(byte) if byte != b'_' && is_common(byte) => letter,
            _ => '-',
        })
        .take(longest - MARK.len() - DIGEST_LETTERS)
        .collect();
    let digest = hex::text(&Sha256::digest(whole));
    let digest = digest.get(..DIGEST_LETTERS).unwrap_or_default();
    format!("{kept}{MARK}{digest}")
}

fn is_common(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn looks_shortened(name: &str) -> bool {
    name.rfind(MARK).is_some_and(|place| {
        let end = name.get(place + MARK.len()..).unwrap_or_default();
        end.len() == DIGEST_LETTERS && end.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// How a URI is written that more than one server has: whose it is, and all of it.
pub fn wrapped(server: &str, uri: &str) -> String {
    let mut text = format!("compere://{}/", handle(server));
    for byte in uri.bytes() {
        // What a template needs stays readable.
        let stays = byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;={}".contains(&byte);
        match stays {
            true => text.push(char::from(byte)),
            false => {
                let _ = std::fmt::Write::write_fmt(&mut text, format_args!("%{byte:02X}"));
            }
        }
    }
    text
}

/// The handle and the URI of one that was wrapped.
pub fn unwrapped(uri: &str) -> Option<(&str, String)> {
    let (handle, wrapped) = uri.strip_prefix("compere://")?.split_once('/')?;
    let mut bytes = Vec::with_capacity(wrapped.len());
    let mut rest = wrapped.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (code, after) = rest.split_at_checked(2)?;
        let code = std::str::from_utf8(code).ok()?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = after;
    }
    Some((handle, String::from_utf8(bytes).ok()?))
}
