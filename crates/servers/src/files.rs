//! Files below the directories that the person named: list, read, search.
//!
//! Every access goes through a directory handle that was opened once. Names are resolved by the
//! kernel inside of it, so neither `..` nor a symbolic link leads out, and nothing is checked
//! first and opened later. Read-only so far.

mod search;

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::{Dir, Metadata};
use compere::model::ErrorObject;
use compere::prelude::*;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::files::search::{Hits, search};

/// The most that one read gives back. More is read in pages of lines.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// The most entries of one listing.
const LIST_ENTRIES: usize = 10_000;
/// What must be encoded in the path of a URI.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The directories that are served, each as an open handle.
#[derive(Clone)]
struct Roots(Arc<Vec<OpenRoot>>);

struct OpenRoot {
    /// Where it is, absolute, for names.
    path: PathBuf,
    dir: Dir,
}

/// Puts a server over these directories together. They are opened now; what is put in their place
/// later is not served.
pub fn files<P: AsRef<Path>>(directories: impl IntoIterator<Item = P>) -> io::Result<Server> {
    let mut roots = Vec::new();
    for directory in directories {
        let path = directory.as_ref().canonicalize()?;
        let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority())?;
        roots.push(OpenRoot { path, dir });
    }
    if roots.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no directory to serve",
        ));
    }
    let shown: Vec<String> = roots
        .iter()
        .map(|root| root.path.display().to_string())
        .collect();
    let server = Server::new("compere-files", env!("CARGO_PKG_VERSION"))
        .title("Files")
        .instructions(format!(
            "Reads files below {}. Relative paths start at the first of them.",
            shown.join(", ")
        ))
        .state(Roots(Arc::new(roots)))
        .tool(list_allowed_directories)
        .tool(list_directory)
        .tool(get_file_info)
        .tool(read_text_file)
        .tool(read_media_file)
        .tool(search_files)
        .resource(read_file);
    Ok(server)
}

/// A path inside of one of the roots.
struct Place<'r> {
    root: &'r OpenRoot,
    /// Relative to the root; `.` is the root itself.
    inside: PathBuf,
}

impl Roots {
    /// Finds the root that a path belongs to. Relative paths belong to the first one. Only names
    /// are compared here; whether the path really stays inside is decided by the kernel.
    fn place(&self, path: &str) -> Result<Place<'_>, ToolError> {
        let path = Path::new(path);
        let roots = &self.0;
        let (root, rest) = if path.is_absolute() {
            roots
                .iter()
                .filter_map(|root| Some((root, path.strip_prefix(&root.path).ok()?)))
                .max_by_key(|(root, _)| root.path.components().count())
                .ok_or_else(|| outside(path))?
        } else {
            (roots.first().ok_or_else(|| outside(path))?, path)
        };
        let mut inside = PathBuf::new();
        for component in rest.components() {
            match component {
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                Component::ParentDir => {
                    if !inside.pop() {
                        return Err(outside(path));
                    }
                }
                Component::RootDir | Component::Prefix(_) => return Err(outside(path)),
            }
        }
        if inside.as_os_str().is_empty() {
            inside.push(".");
        }
        Ok(Place { root, inside })
    }
}

impl Place<'_> {
    fn shown(&self) -> String {
        let path = if self.inside == Path::new(".") {
            self.root.path.clone()
        } else {
            self.root.path.join(&self.inside)
        };
        path.display().to_string()
    }

    fn open(&self) -> Result<cap_std::fs::File, ToolError> {
        self.root
            .dir
            .open(&self.inside)
            .map_err(|error| self.explain(&error))
    }

    fn metadata(&self) -> Result<Metadata, ToolError> {
        self.root
            .dir
            .metadata(&self.inside)
            .map_err(|error| self.explain(&error))
    }

    /// What a model can do something with.
    fn explain(&self, error: &io::Error) -> ToolError {
        let shown = self.shown();
        ToolError::new(match error.kind() {
            io::ErrorKind::NotFound => format!("There is no {shown}."),
            io::ErrorKind::PermissionDenied => {
                format!("{shown} may not be read, or leads out of the allowed directories.")
            }
            io::ErrorKind::IsADirectory => format!("{shown} is a directory."),
            io::ErrorKind::NotADirectory => format!("{shown} is no directory."),
            _ => format!("{shown} cannot be read: {}.", error.kind()),
        })
    }
}

fn outside(path: &Path) -> ToolError {
    ToolError::new(format!(
        "{} lies outside of the allowed directories; see list_allowed_directories.",
        path.display()
    ))
}

/// Lists the directories that this server may read.
#[tool(read_only, open_world = false)]
fn list_allowed_directories(roots: State<Roots>) -> String {
    let lines: Vec<String> = roots
        .0
        .0
        .iter()
        .map(|root| root.path.display().to_string())
        .collect();
    format!("Allowed directories:\n{}", lines.join("\n"))
}

/// Lists a directory: one entry per line, marked [DIR] or [FILE].
#[tool(blocking, read_only, open_world = false)]
fn list_directory(
    roots: State<Roots>,
    /// The directory, absolute or relative to the first allowed one.
    path: String,
) -> Result<String, ToolError> {
    let place = roots.place(&path)?;
    let entries = place
        .root
        .dir
        .read_dir(&place.inside)
        .map_err(|error| place.explain(&error))?;
    let mut lines = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| place.explain(&error))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let mark = if is_dir { "[DIR]" } else { "[FILE]" };
        lines.push(format!("{mark} {}", entry.file_name().to_string_lossy()));
        if lines.len() > LIST_ENTRIES {
            return Err(ToolError::new(format!(
                "{} has more than {LIST_ENTRIES} entries; use search_files.",
                place.shown()
            )));
        }
    }
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// Says what is known of a file or directory.
#[tool(blocking, read_only, open_world = false)]
fn get_file_info(
    roots: State<Roots>,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
) -> Result<String, ToolError> {
    let place = roots.place(&path)?;
    let metadata = place.metadata()?;
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.into_std().duration_since(std::time::UNIX_EPOCH).ok())
        .map_or_else(|| "unknown".to_owned(), |since| since.as_secs().to_string());
    Ok(format!(
        "path: {}\nsize: {}\nmodified: {modified} (seconds since 1970)\nisDirectory: {}\nisFile: {}",
        place.shown(),
        metadata.len(),
        metadata.is_dir(),
        metadata.is_file(),
    ))
}

/// Reads a text file: all of it, or its first or last lines.
#[tool(blocking, read_only, open_world = false)]
fn read_text_file(
    roots: State<Roots>,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
    /// Only so many lines from its start.
    head: Option<usize>,
    /// Only so many lines from its end.
    tail: Option<usize>,
) -> Result<String, ToolError> {
    let place = roots.place(&path)?;
    if head.is_some() && tail.is_some() {
        return Err(ToolError::new("Give head or tail, not both."));
    }
    let file = place.open()?;
    let bytes = match (head, tail) {
        (Some(lines), _) => first_lines(file, lines),
        (_, Some(lines)) => last_lines(file, lines),
        _ => whole(&place, file)?,
    }
    .map_err(|error| place.explain(&error))?;
    String::from_utf8(bytes)
        .map_err(|_| ToolError::new(format!("{} is no UTF-8 text.", place.shown())))
}

fn whole(place: &Place<'_>, file: cap_std::fs::File) -> Result<io::Result<Vec<u8>>, ToolError> {
    let mut bytes = Vec::new();
    let read = file.take(READ_BYTES + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > READ_BYTES {
        return Err(ToolError::new(format!(
            "{} is larger than {READ_BYTES} bytes; read it with head or tail.",
            place.shown()
        )));
    }
    Ok(read.map(|_| bytes))
}

fn first_lines(file: cap_std::fs::File, lines: usize) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(file.take(READ_BYTES));
    let mut text = Vec::new();
    for _ in 0..lines {
        if reader.read_until(b'\n', &mut text)? == 0 {
            break;
        }
    }
    Ok(text)
}

/// Reads through the file once and keeps the last lines, within the bound on bytes.
fn last_lines(file: cap_std::fs::File, lines: usize) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(file);
    let mut kept = std::collections::VecDeque::new();
    let mut bytes = 0;
    loop {
        let mut line = Vec::new();
        if (&mut reader)
            .take(READ_BYTES)
            .read_until(b'\n', &mut line)?
            == 0
        {
            break;
        }
        bytes += line.len();
        kept.push_back(line);
        while kept.len() > lines || bytes as u64 > READ_BYTES {
            bytes -= kept.pop_front().map_or(0, |line| line.len());
        }
    }
    Ok(kept.into_iter().flatten().collect())
}

/// Reads an image or sound.
#[tool(blocking, read_only, open_world = false)]
fn read_media_file(
    roots: State<Roots>,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
) -> Result<Content, ToolError> {
    let place = roots.place(&path)?;
    let bytes = whole(&place, place.open()?)?.map_err(|error| place.explain(&error))?;
    let mime_type = media_type(&place.inside);
    let data = STANDARD.encode(bytes);
    Ok(if mime_type.starts_with("image/") {
        Content::image(data, mime_type)
    } else if mime_type.starts_with("audio/") {
        Content::audio(data, mime_type)
    } else {
        let contents = ResourceContents::blob(file_uri(&place), data).mime_type(mime_type);
        Content::resource(contents)
    })
}

fn media_type(path: &Path) -> &'static str {
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

/// Finds files and directories whose path matches a pattern, such as `**/*.md`.
#[tool(read_only, open_world = false)]
async fn search_files(
    roots: State<Roots>,
    context: Context,
    /// Where to start, absolute or relative to the first allowed directory.
    path: String,
    /// A glob over the path below the start; `*` stays within a name, `**` does not.
    pattern: String,
    /// Globs of what to leave out, directories with all that is in them.
    #[serde(rename = "excludePatterns", default)]
    exclude_patterns: Vec<String>,
) -> Result<String, ToolError> {
    let hits = compere::server::blocking(move || -> Result<Hits, ToolError> {
        let place = roots.place(&path)?;
        search(
            &place.root.dir,
            &place.inside,
            &pattern,
            &exclude_patterns,
            &context,
        )
        .map(|hits| hits.below(&place.root.path))
    })
    .await?;
    Ok(hits.to_string())
}

/// A file below one of the allowed directories.
#[resource("file://{+path}", name = "file")]
async fn read_file(
    uri: Uri,
    roots: State<Roots>,
    path: String,
) -> Result<ReadResourceResult, ToolError> {
    compere::server::blocking(move || {
        let not_found = || ToolError::resource_not_found(&uri.0);
        // The variable of a template comes decoded.
        if !path.starts_with('/') {
            return Err(not_found());
        }
        let place = roots.place(&path).map_err(|_| not_found())?;
        let metadata = place.metadata().map_err(|_| not_found())?;
        if metadata.is_dir() {
            return Err(ToolError::protocol(ErrorObject::invalid_params(
                "The resource is a directory; list it with list_directory",
            )));
        }
        let bytes = whole(&place, place.open()?)?.map_err(|error| place.explain(&error))?;
        let mime_type = media_type(&place.inside);
        let contents = match String::from_utf8(bytes) {
            Ok(text) => ResourceContents::text(uri.0.clone(), text),
            Err(bytes) => ResourceContents::blob(uri.0.clone(), STANDARD.encode(bytes.as_bytes())),
        };
        Ok(contents.mime_type(mime_type).into())
    })
    .await
}

fn file_uri(place: &Place<'_>) -> String {
    let path = place.root.path.join(&place.inside);
    format!(
        "file://{}",
        utf8_percent_encode(&path.to_string_lossy(), PATH)
    )
}
