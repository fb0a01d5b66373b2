//! What is there: listings, trees, and what is known of one file.

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use cap_std::fs::{Dir, DirEntry, MetadataExt};
use compere::prelude::*;
use compere::serde_json::to_string_pretty;
use globset::GlobSet;

use crate::files::glob::exclusions_of_tree;
use crate::files::roots::{Access, Place};
use crate::files::said::Said;

/// The most entries of one listing.
const LIST_ENTRIES: usize = 10_000;
/// The most entries of one tree.
const TREE_ENTRIES: usize = 50_000;
/// How deep a tree goes.
const DEPTH: usize = 64;
/// Entries between two reports of progress.
const REPORT: usize = 1000;

/// Lists the directories that this server may use.
#[tool(title = "List Allowed Directories", read_only, open_world = false)]
pub(super) async fn list_allowed_directories(access: State<Access>, context: Context) -> Said {
    let view = access.view(&context).await;
    let mut text = "Allowed directories:".to_owned();
    for root in view.roots() {
        let _ = write!(text, "\n{}", root.path().display());
    }
    text.into()
}

/// Lists a directory: one entry per line, marked [DIR] or [FILE].
#[tool(title = "List Directory", read_only, open_world = false)]
pub(super) async fn list_directory(
    access: State<Access>,
    context: Context,
    /// The directory, absolute or relative to the first allowed one.
    path: String,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, _| {
            let place = view.place(&path)?;
            let (_, entries) = entries(&place)?;
            let lines: Vec<String> = entries
                .iter()
                .map(|entry| format!("{} {}", entry.mark(), entry.name))
                .collect();
            Ok(lines.join("\n").into())
        })
        .await
}

/// In which order a listing with sizes comes.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
pub(super) enum SortBy {
    /// By name.
    #[default]
    Name,
    /// The largest first.
    Size,
}

/// Lists a directory with the sizes of its files and a sum.
#[tool(title = "List Directory with Sizes", read_only, open_world = false)]
pub(super) async fn list_directory_with_sizes(
    access: State<Access>,
    context: Context,
    /// The directory, absolute or relative to the first allowed one.
    path: String,
    /// Sort entries by name or size.
    #[serde(rename = "sortBy", default)]
    sort_by: SortBy,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, _| {
            let place = view.place(&path)?;
            let (dir, entries) = entries(&place)?;
            let mut sized: Vec<(Entry, u64)> = entries
                .into_iter()
                .map(|entry| {
                    // Links are followed as far as the directory's handle allows.
                    let size = dir
                        .metadata(&entry.name)
                        .map_or(0, |metadata| metadata.len());
                    (entry, size)
                })
                .collect();
            if matches!(sort_by, SortBy::Size) {
                sized.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            }
            Ok(listing_with_sizes(&sized).into())
        })
        .await
}

fn listing_with_sizes(entries: &[(Entry, u64)]) -> String {
    let mut text = String::new();
    let mut files = 0;
    let mut sum = 0;
    for (entry, size) in entries {
        let _ = write!(text, "{} {:<30} ", entry.mark(), entry.name);
        if !entry.is_dir {
            let _ = write!(text, "{:>10}", size_text(*size));
            files += 1;
            sum += size;
        }
        text.push('\n');
    }
    let directories = entries.len() - files;
    let _ = write!(
        text,
        "\nTotal: {files} files, {directories} directories\nCombined size: {}",
        size_text(sum)
    );
    text
}

#[allow(clippy::cast_precision_loss)]
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{size:.2} {}", UNITS[unit]),
    }
}

struct Entry {
    name: String,
    is_dir: bool,
}

impl Entry {
    fn mark(&self) -> &'static str {
        match self.is_dir {
            true => "[DIR]",
            false => "[FILE]",
        }
    }
}

/// A link counts as a file, wherever it leads.
pub(super) fn is_dir(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// The entries of a directory in the order of their names, with a handle of it.
fn entries(place: &Place<'_>) -> Result<(Dir, Vec<Entry>), ToolError> {
    let dir = open_dir(place)?;
    let mut entries = Vec::new();
    for entry in dir.entries().map_err(|error| place.explain(&error))? {
        let entry = entry.map_err(|error| place.explain(&error))?;
        if entries.len() == LIST_ENTRIES {
            return Err(ToolError::new(format!(
                "{} has more than {LIST_ENTRIES} entries; use search_files.",
                place.shown()
            )));
        }
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dir: is_dir(&entry),
        });
    }
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok((dir, entries))
}

/// A handle of the directory itself: all that follows happens in there, whatever is put in its
/// place meanwhile.
pub(super) fn open_dir(place: &Place<'_>) -> Result<Dir, ToolError> {
    place
        .root
        .dir()
        .open_dir(&place.inside)
        .map_err(|error| place.explain(&error))
}

/// Shows a directory with all that is below it, as JSON: each entry has a name, a type (`file` or
/// `directory`), and directories have their children.
#[tool(title = "Directory Tree", read_only, open_world = false)]
pub(super) async fn directory_tree(
    access: State<Access>,
    context: Context,
    /// The directory, absolute or relative to the first allowed one.
    path: String,
    /// Globs of what to leave out, directories with all that is in them.
    #[serde(rename = "excludePatterns", default)]
    exclude_patterns: Vec<String>,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, context| {
            let place = view.place(&path)?;
            let mut tree = Tree {
                exclude: exclusions_of_tree(&exclude_patterns)?,
                context,
                seen: 0,
            };
            let children = tree.children(&open_dir(&place)?, Path::new(""), 1)?;
            Ok(to_string_pretty(&children)?.into())
        })
        .await
}

/// One entry of a tree.
#[derive(Serialize)]
#[serde(crate = "compere::serde")]
struct Node {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Node>>,
}

struct Tree<'c> {
    exclude: GlobSet,
    context: &'c Context,
    seen: usize,
}

impl Tree<'_> {
    fn children(&mut self, dir: &Dir, path: &Path, depth: usize) -> Result<Vec<Node>, ToolError> {
        if depth > DEPTH {
            return Err(ToolError::new(format!(
                "The tree is deeper than {DEPTH} directories; leave some out with excludePatterns."
            )));
        }
        let mut children = Vec::new();
        // What cannot be read is shown as empty: a tree of a home directory meets such places.
        for entry in dir.entries().into_iter().flatten().flatten() {
            let name = entry.file_name();
            let below = path.join(&name);
            if self.exclude.is_match(&below) {
                continue;
            }
            self.count()?;
            let is_dir = is_dir(&entry);
            let inner = is_dir.then(|| entry.open_dir());
            children.push(Node {
                name: name.to_string_lossy().into_owned(),
                kind: if is_dir { "directory" } else { "file" },
                children: match inner {
                    Some(Ok(inner)) => Some(self.children(&inner, &below, depth + 1)?),
                    Some(Err(_)) => Some(Vec::new()),
                    None => None,
                },
            });
        }
        children.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(children)
    }

    fn count(&mut self) -> Result<(), ToolError> {
        self.seen += 1;
        if self.seen.is_multiple_of(REPORT) {
            #[allow(clippy::cast_precision_loss)]
            self.context.progress(self.seen as f64);
            if self.context.is_cancelled() {
                return Err(ToolError::new("The tree was cancelled."));
            }
        }
        if self.seen > TREE_ENTRIES {
            return Err(ToolError::new(format!(
                "There are more than {TREE_ENTRIES} entries; leave some out with excludePatterns."
            )));
        }
        Ok(())
    }
}

/// Says what is known of a file or directory. Links are followed.
#[tool(title = "Get File Info", read_only, open_world = false)]
pub(super) async fn get_file_info(
    access: State<Access>,
    context: Context,
    /// The file, absolute or relative to the first allowed directory.
    path: String,
) -> Result<Said, ToolError> {
    access
        .with_view(context, move |view, _| {
            let place = view.place(&path)?;
            let metadata = place
                .root
                .dir()
                .metadata(&place.inside)
                .map_err(|error| place.explain(&error))?;
            let time = |time: std::io::Result<cap_std::time::SystemTime>| {
                time.map_or_else(|_| "unknown".to_owned(), |time| time_text(time.into_std()))
            };
            Ok(Said::from(format!(
                "size: {}\ncreated: {}\nmodified: {}\naccessed: {}\nisDirectory: {}\nisFile: {}\n\
             permissions: {:03o}",
                metadata.len(),
                time(metadata.created()),
                time(metadata.modified()),
                time(metadata.accessed()),
                metadata.is_dir(),
                metadata.is_file(),
                metadata.mode() & 0o777,
            )))
        })
        .await
}

fn time_text(time: SystemTime) -> String {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(_) => humantime::format_rfc3339_seconds(time).to_string(),
        Err(_) => "before 1970".to_owned(),
    }
}
