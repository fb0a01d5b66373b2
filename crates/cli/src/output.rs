//! Results on standard output: for people on a terminal, and for programs.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use compere::model::{Content, ResourceContents, ResourceData};
use compere::serde::Serialize;

use crate::failure::Failure;
use compere::text::escape;

/// Prints JSON: indented on a terminal, one line elsewhere.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let text = if stdout.is_terminal() {
        compere::serde_json::to_string_pretty(value)
    } else {
        compere::serde_json::to_string(value)
    }
    .map_err(std::io::Error::other)?;
    writeln!(stdout, "{}", shown(&text))?;
    Ok(())
}

/// Prints text, with a line break at its end.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let text = shown(text);
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    Ok(())
}

/// On a terminal nothing of a server's text may be a command to it. Elsewhere it is data.
fn shown(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() {
        escape(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Prints the blocks of a result; what is no text is named, not dumped.
pub(crate) fn content(blocks: &[Content]) -> Result<(), Failure> {
    for block in blocks {
        match block {
            Content::Text(block) => text(&block.text)?,
            Content::Image(block) => note("image", &block.mime_type, block.data.len())?,
            Content::Audio(block) => note("audio", &block.mime_type, block.data.len())?,
            Content::Resource(block) => contents(&block.resource)?,
            Content::ResourceLink(link) => text(&format!("{}: {}", link.name, link.uri))?,
            other => json(other)?,
        }
    }
    Ok(())
}

fn contents(contents: &ResourceContents) -> Result<(), Failure> {
    match &contents.data {
        ResourceData::Text(body) => text(body),
        ResourceData::Blob(data) => {
            let mime_type = contents.mime_type.as_deref().unwrap_or("bytes");
            note(&contents.uri, mime_type, data.len())
        }
    }
}

fn note(what: &str, mime_type: &str, base64_length: usize) -> Result<(), Failure> {
    text(&format!(
        "[{what}, {mime_type}, about {} bytes; --json shows the data]",
        base64_length / 4 * 3
    ))
}
