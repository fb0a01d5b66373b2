//! A bounded walk through a directory handle. Symbolic links are not followed.

use std::fmt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, DirEntry};
use compere::{Context, ToolError};
use globset::GlobSet;

use crate::files::glob::{Pattern, exclusions};
use crate::files::list::{is_dir, open_dir};
use crate::files::roots::Place;

/// The most hits of one search.
const HITS: usize = 1000;
/// The most entries that one search looks at.
const ENTRIES: u64 = 1_000_000;
/// How deep a search goes.
const DEPTH: usize = 64;
/// Entries between two reports of progress.
const REPORT: u64 = 1000;

/// What was found.
pub(super) struct Hits {
    paths: Vec<PathBuf>,
    /// Why there may be more, if there may be.
    cut: Option<&'static str>,
}

impl Hits {
    /// The same, with absolute paths.
    pub(super) fn below(mut self, root: &Path) -> Self {
        for path in &mut self.paths {
            *path = root.join(&*path);
        }
        self.paths.sort_unstable();
        self
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.paths.is_empty() {
            f.write_str("No matches found")?;
        }
        for (index, path) in self.paths.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", path.display())?;
        }
        match self.cut {
            Some(why) => write!(f, "\n(there may be more: {why})"),
            None => Ok(()),
        }
    }
}

struct Search<'c> {
    root: &'c Dir,
    pattern: Pattern,
    exclude: GlobSet,
    context: &'c Context,
    hits: Hits,
    seen: u64,
    start: PathBuf,
}

/// Searches below a place for paths that match.
pub(super) fn search(
    place: &Place<'_>,
    pattern: &str,
    exclude: &[String],
    context: &Context,
) -> Result<Hits, ToolError> {
    let mut search = Search {
        root: place.root.dir(),
        pattern: Pattern::new(pattern)?,
        exclude: exclusions(exclude)?,
        context,
        hits: Hits {
            paths: Vec::new(),
            cut: None,
        },
        seen: 0,
        start: place.inside.clone(),
    };
    let dir = open_dir(place)?;
    search.walk(&dir, Path::new(""), 0);
    Ok(search.hits)
}

impl Search<'_> {
    fn walk(&mut self, dir: &Dir, path: &Path, depth: usize) {
        if depth > DEPTH {
            self.hits.cut = Some("it goes deeper than 64 directories");
            return;
        }
        // What cannot be read is passed over: a search through a home directory meets such places.
        let Ok(entries) = dir.entries() else { return };
        for entry in entries.flatten() {
            if self.is_over() {
                return;
            }
            let below = path.join(entry.file_name());
            if self.exclude.is_match(&below) || self.leads_out(&entry, &below) {
                continue;
            }
            if self.pattern.matches(&below) {
                let shown = if self.start == Path::new(".") {
                    below.clone()
                } else {
                    self.start.join(&below)
                };
                self.hits.paths.push(shown);
            }
            if is_dir(&entry)
                && let Ok(inner) = entry.open_dir()
            {
                self.walk(&inner, &below, depth + 1);
            }
        }
    }

    /// Counts an entry; true when the search must end.
    fn is_over(&mut self) -> bool {
        self.seen += 1;
        if self.seen.is_multiple_of(REPORT) {
            #[allow(clippy::cast_precision_loss)]
            self.context.progress(self.seen as f64);
        }
        if self.context.is_cancelled() {
            self.hits.cut = Some("the search was cancelled");
        } else if self.hits.paths.len() >= HITS {
            self.hits.cut = Some("only the first 1000 are shown");
        } else if self.seen > ENTRIES {
            self.hits.cut = Some("only a million entries were looked at");
        }
        self.hits.cut.is_some()
    }

    /// A link out of what is served, or to nothing, is no part of it.
    fn leads_out(&self, entry: &DirEntry, below: &Path) -> bool {
        entry.file_type().is_ok_and(|kind| kind.is_symlink())
            && self.root.metadata(self.start.join(below)).is_err()
    }
}
