//! Results on standard output: for people on a terminal, and for programs.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::Path;

use compere::model::{Content, ResourceContents, ResourceData};
use compere::serde::Serialize;

use crate::failure::Failure;
use crate::save::save;
use compere::text::{escape, escape_line};

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

/// Prints JSON on one line, wherever it goes.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = compere::serde_json::to_string(value).map_err(std::io::Error::other)?;
    writeln!(std::io::stdout().lock(), "{}", shown(&text))?;
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

/// Prints whose words follow.
pub(crate) fn heading(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        writeln!(stdout, "\x1b[1m{}\x1b[0m", escape_line(text))?;
    } else {
        writeln!(stdout, "{text}:")?;
    }
    Ok(())
}

/// Prints the blocks of a result. What is no text is kept in `directory`, or only named.
pub(crate) fn content(blocks: &[Content], directory: Option<&Path>) -> Result<(), Failure> {
    for block in blocks {
        match block {
            Content::Text(block) => text(&block.text)?,
            Content::Image(block) => data("image", &block.mime_type, &block.data, directory)?,
            Content::Audio(block) => data("audio", &block.mime_type, &block.data, directory)?,
            Content::Resource(block) => contents(&block.resource, directory)?,
            Content::ResourceLink(link) => text(&format!("{}: {}", link.name, link.uri))?,
            other => json(other)?,
        }
    }
    Ok(())
}

/// Prints the contents of a resource.
pub(crate) fn contents(
    contents: &ResourceContents,
    directory: Option<&Path>,
) -> Result<(), Failure> {
    match &contents.data {
        ResourceData::Text(body) => text(body),
        ResourceData::Blob(blob) => {
            let mime_type = contents.mime_type.as_deref().unwrap_or("bytes");
            data(&contents.uri, mime_type, blob, directory)
        }
    }
}

fn data(
    what: &str,
    mime_type: &str,
    base64: &str,
    directory: Option<&Path>,
) -> Result<(), Failure> {
    let (what, mime_type) = (escape_line(what), escape_line(mime_type));
    match directory {
        Some(directory) => {
            let path = save(directory, &what, &mime_type, base64)?;
            text(&path.display().to_string())
        }
        None => text(&format!(
            "[{what}, {mime_type}, about {} bytes; --save DIR keeps it, --json shows it]",
            base64.len() / 4 * 3
        )),
    }
}
