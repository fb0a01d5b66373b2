//! Words of servers, apps and models as they may be shown: as text, each sign of which is seen, and which
//! turns nothing round that stands beside it.

use std::fmt::Write as _;

use compere::text::{escape, escape_line, is_unseen};
use compere_host::pins::{Change, Piece};
use maud::{Markup, html};
use serde_json::Value;

/// On one line.
pub(crate) fn line(text: &str) -> Markup {
    html! { bdi.theirs { (escape_line(text)) } }
}

/// As it is, line by line.
pub(crate) fn block(text: &str) -> Markup {
    html! { pre.theirs { (escape(text)) } }
}

/// A value, all of it.
pub(crate) fn value(value: &Value) -> Markup {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    html! { pre.theirs.json { (escape(&text)) } }
}

/// A list of lines, if there are any.
pub(crate) fn lines(class: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            ul class=(class) {
                @for text in lines { li { (line(text)) } }
            }
        }
    }
}

/// A point in time, in seconds since 1970.
pub(crate) fn moment(seconds: u64) -> Markup {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
    let at = at.unwrap_or_else(|| seconds.to_string());
    html! { time datetime=(at) { (at) } }
}

/// How long something took, in microseconds.
pub(crate) fn duration(micros: u64) -> String {
    let (whole, unit) = match micros {
        0..1_000 => return format!("{micros} µs"),
        1_000..1_000_000 => (micros, "ms"),
        _ => (micros / 1_000, "s"),
    };
    match whole / 1_000 {
        large @ 100.. => format!("{large} {unit}"),
        small => format!("{small}.{} {unit}", whole % 1_000 / 100),
    }
}

/// What can be written into a part of a path.
pub(crate) fn part(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A value as JSON to be changed: what is not seen stands in it as JSON writes such signs.
pub(crate) fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut seen = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_unseen(letter) {
            false => seen.push(letter),
            true => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(seen, "\\u{unit:04x}");
                }
            }
        }
    }
    seen
}

/// So many of something, in words.
pub(crate) fn count(count: usize, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    }
}

/// What has changed: what is gone and what is new stand out, also to those who see no colours.
pub(crate) fn changes(changes: &[Change]) -> Markup {
    html! {
        ul.changes {
            @for change in changes {
                li {
                    @if change.place.is_empty() { "all of it: " } @else { code { (line(&change.place)) } ": " }
                    @for piece in &change.pieces {
                        @match piece {
                            Piece::Same(text) => bdi.theirs { (escape(text)) },
                            Piece::Gone(text) => del { bdi.theirs { (escape(text)) } },
                            Piece::New(text) => ins { bdi.theirs { (escape(text)) } },
                        }
                    }
                }
            }
        }
    }
}
