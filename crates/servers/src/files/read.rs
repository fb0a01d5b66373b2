//! Reading: text whole or in pages of lines, media, several files at once.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::File;
use compere::prelude::*;

use crate::files::roots::{Access, Place, View, without_waiting};
use crate::files::said::{Said, Shown};

/// The most text that one read gives back. More is read in pages of lines.
pub(super) const TEXT_BYTES: u64 = 4 * 1024 * 1024;
/// The largest image, sound or other file that is given back whole.
const MEDIA_BYTES: u64 = 8 * 1024 * 1024;
/// Lines of a page whose size is not said.
const PAGE_LINES: usize = 1000;
/// Bytes that are read at a time when looking for the end of a file's last lines.
const STEP: u64 = 64 * 1024;
/// Lines that are passed over between two looks at whether anyone still waits.
const LINES_PER_LOOK: usize = 65_536;

impl Place<'_> {
    /// Opens a regular file for reading. Without waiting: a pipe without a writer is no file.
    pub(super) fn open(&self) -> Result<File, ToolError> {
        let file = self
            .root
            .dir()
            .open_with(&self.inside, &without_waiting())
            .map_err(|error| self.explain(&error))?;
        let metadata = file.metadata().map_err(|error| self.explain(&error))?;
        if metadata.is_dir() {
            return Err(ToolError::new(format!("{} is a directory.", self.shown())));
        }
        if !metadata.is_file() {
            return Err(ToolError::new(format!(
                "{} is no regular file.",
                self.shown()
            )));
        }
        Ok(file)
    }

    /// All bytes of a file that is not larger than `most`.
    pub(super) fn read(&self, most: u64) -> Result<Vec<u8>, ToolError> {
        let mut bytes = Vec::new();
        self.open()?
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.explain(&error))?;
        if bytes.len() as u64 > most {
            return Err(ToolError::new(format!(
                "{} is larger than {most} bytes; read it in parts, with head, tail, or offset and \
                 limit.",
                self.shown()
            )));
        }
        Ok(bytes)
    }
}

/// Which lines of a file.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Head(usize),
    Tail(usize),
    Page { offset: usize, limit: usize },
}

impl Part {
    fn of(
        head: Option<f64>,
        tail: Option<f64>,
        offset: Option<usize>,
        limit: Option<usize>,
    ) -> Result<Self, ToolError> {
        // Zero counts as not given; a broken number is rounded up for the head and down for the
        // tail: what the reference does.
        let head = head
            .filter(|lines| *lines != 0.0)
            .map(|lines| lines_of(lines.ceil()));
        let tail = tail
            .filter(|lines| *lines != 0.0)
            .map(|lines| lines_of(lines.floor()));
        match (head, tail, offset, limit) {
            (Some(_), Some(_), _, _) => Err(ToolError::new(
                "Cannot specify both head and tail parameters simultaneously",
            )),
            (Some(_), _, Some(_), _)
            | (Some(_), _, _, Some(_))
            | (_, Some(_), Some(_), _)
            | (_, Some(_), _, Some(_)) => Err(ToolError::new(
                "Give head, or tail, or offset and limit; not both.",
            )),
            (Some(lines), ..) => Ok(Self::Head(lines)),
            (_, Some(lines), ..) => Ok(Self::Tail(lines)),
            (None, None, None, None) => Ok(Self::Whole),
            (None, None, offset, limit) => Ok(Self::Page {
                offset: offset.unwrap_or(0),
                limit: limit.unwrap_or(PAGE_LINES),
            }),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn lines_of(number: f64) -> usize {
    number.max(0.0) as usize
}

/// Text, and what must be said about it beside it.
struct Page {
    text: Vec<u8>,
    note: Option<String>,
}

impl Page {
    fn plain(text: Vec<u8>) -> Self {
        Self { text, note: None }
    }

    fn into_said(self) -> Said {
        let said = Said::from(String::from_utf8_lossy(&self.text).into_owned());
        match self.note {
            Some(note) => said.note(note),
            None => said,
        }
    }
}

fn text(place: &Place<'_>, part: Part, context: &Context) -> Result<Page, ToolError> {
    let explain = |error: io::Error| place.explain(&error);
    match part {
        Part::Whole => Ok(Page::plain(place.read(TEXT_BYTES)?)),
        Part::Head(lines) => first_lines(place.open()?, lines).map_err(explain),
        Part::Tail(lines) => last_lines(place.open()?, lines).map_err(explain),
        Part::Page { offset, limit } => {
            let file = BufReader::new(place.open()?);
            page(file, offset, limit, context)
                .map_err(explain)?
                .ok_or_else(|| ToolError::new("The read was cancelled."))
        }
    }
}

fn cut_note() -> String {
    format!("[cut at {TEXT_BYTES} bytes; there is more]")
}

/// The first lines, without the line break after the last of them.
fn first_lines(file: File, lines: usize) -> io::Result<Page> {
    let mut reader = BufReader::new(file.take(TEXT_BYTES));
    let mut text = Vec::new();
    for _ in 0..lines {
        if reader.read_until(b'\n', &mut text)? == 0 {
            break;
        }
    }
    let cut = text.len() as u64 >= TEXT_BYTES && text.last() != Some(&b'\n');
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Ok(Page {
        text,
        note: cut.then(cut_note),
    })
}

/// What follows the n-th line break from the end, found from the end.
fn last_lines(mut file: File, lines: usize) -> io::Result<Page> {
    if lines == 0 {
        return Ok(Page::plain(Vec::new()));
    }
    let end = file.seek(SeekFrom::End(0))?;
    let mut start = end;
    let mut text: Vec<u8> = Vec::new();
    let mut breaks = 0;
    while start > 0 && text.len() as u64 + STEP <= TEXT_BYTES {
        let from = start.saturating_sub(STEP);
        let mut chunk = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        (&mut file).take(start - from).read_to_end(&mut chunk)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            breaks += usize::from(*byte == b'\n');
            if breaks == lines {
                let mut last = chunk.split_off(index + 1);
                last.append(&mut text);
                return Ok(Page::plain(last));
            }
        }
        chunk.append(&mut text);
        text = chunk;
        start = from;
    }
    Ok(Page {
        text,
        note: (start > 0).then(|| format!("[only the last {TEXT_BYTES} bytes at most]")),
    })
}

/// `limit` lines from line `offset` on, counted from 0, with where the next page starts. `None` if
/// nobody waits any more.
fn page(
    mut file: BufReader<File>,
    offset: usize,
    limit: usize,
    context: &Context,
) -> io::Result<Option<Page>> {
    for line in 0..offset {
        if line % LINES_PER_LOOK == 0 && context.is_cancelled() {
            return Ok(None);
        }
        if file.skip_until(b'\n')? == 0 {
            return Ok(Some(Page {
                text: Vec::new(),
                note: Some(format!("[the file has only {line} lines]")),
            }));
        }
    }
    let mut text = Vec::new();
    let mut read = 0;
    while read < limit {
        let room = TEXT_BYTES.saturating_sub(text.len() as u64);
        let before = text.len();
        if (&mut file).take(room).read_until(b'\n', &mut text)? == 0 {
            if room == 0 {
                break;
            }
            return Ok(Some(Page::plain(text)));
        }
        if text.last() != Some(&b'\n') && room == (text.len() - before) as u64 {
            // A line that does not fit: the page ends before it, unless it is the only one.
            if before == 0 {
                return Ok(Some(Page {
                    text,
                    note: Some(cut_note()),
                }));
            }
            text.truncate(before);
            break;
        }
        read += 1;
    }
    let more = !file.fill_buf()?.is_empty() || read < limit;
    let next = offset + read;
    Ok(Some(Page {
        text,
        note: more.then(|| format!("[there is more: offset={next}]")),
    }))
}

async fn read_text(
    access: &Access,
    context: Context,
    path: String,
    part: Part,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, context| {
            let place = view.place(&path)?;
            Ok(text(&place, part, context)?.into_said())
        })
        .await
}

/// Reads a text file. The old name of `read_text_file`.
#[tool(title = "Read File (Deprecated)", read_only, open_world = false)]
pub(super) async fn read_file(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
    /// Only the last so many lines.
    tail: Option<f64>,
    /// Only the first so many lines.
    head: Option<f64>,
) -> Result<Said, ToolError> {
    let part = Part::of(head, tail, None, None)?;
    read_text(&access, context, path, part).await
}

/// Reads a text file: all of it, its first or last lines, or a page of lines of a big one. Bytes
/// that are no UTF-8 are shown as replacement characters.
#[tool(title = "Read Text File", read_only, open_world = false)]
pub(super) async fn read_text_file(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
    /// Only the last so many lines.
    tail: Option<f64>,
    /// Only the first so many lines.
    head: Option<f64>,
    /// A page: the line it starts at, counted from 0.
    offset: Option<usize>,
    /// A page: how many lines (1000 if not said).
    limit: Option<usize>,
) -> Result<Said, ToolError> {
    let part = Part::of(head, tail, offset, limit)?;
    read_text(&access, context, path, part).await
}

/// Reads several text files at once. One that cannot be read is named in its place and does not
/// stop the others.
#[tool(title = "Read Multiple Files", read_only, open_world = false)]
pub(super) async fn read_multiple_files(
    access: State<Access>,
    context: Context,
    /// The files.
    #[schemars(length(min = 1))]
    paths: Vec<String>,
) -> Result<Said, ToolError> {
    let read = access.with_view(context, move |view, _| all(view, &paths));
    Ok(read.await.into())
}

fn all(view: &View, paths: &[String]) -> String {
    let mut left = TEXT_BYTES;
    let read = |path: &String, left: &mut u64| -> Result<String, ToolError> {
        let bytes = view.place(path)?.read(*left)?;
        *left -= bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let parts: Vec<String> = paths
        .iter()
        .map(|path| match read(path, &mut left) {
            Ok(text) => format!("{path}:\n{text}\n"),
            Err(error) => format!("{path}: Error - {}", error.public_text()),
        })
        .collect();
    parts.join("\n---\n")
}

/// Reads a file as bytes: an image or a sound as such, anything else as an embedded resource.
#[tool(title = "Read Media File", read_only, open_world = false)]
pub(super) async fn read_media_file(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
) -> Result<Shown, ToolError> {
    access
        .with_view(context, move |view, _| {
            let place = view.place(&path)?;
            let data = STANDARD.encode(place.read(MEDIA_BYTES)?);
            let mime_type = media_type(&place.inside);
            Ok(Shown(if mime_type.starts_with("image/") {
                Content::image(data, mime_type)
            } else if mime_type.starts_with("audio/") {
                Content::audio(data, mime_type)
            } else {
                let uri = super::resources::file_uri(&place.path());
                Content::resource(
                    ResourceContents::blob(uri, data).mime_type("application/octet-stream"),
                )
            }))
        })
        .await
}

/// The media type that a name suggests.
pub(super) fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("svg") => "image/svg+xml",
        Some("bmp") => "image/bmp",
        Some("mp3") => "audio/mpeg",
        Some("wav") => "audio/wav",
        Some("ogg") => "audio/ogg",
        Some("flac") => "audio/flac",
        Some("md") => "text/markdown",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html",
        Some("txt" | "rs" | "toml" | "py" | "js" | "ts" | "c" | "h" | "sh" | "css") => "text/plain",
        _ => "application/octet-stream",
    }
}
