//! Patterns of paths: `*` stays within a name, `**` does not, hidden names are like others.

use std::path::Path;

use compere::ToolError;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// What a search looks for; `!` before a pattern turns it round.
pub(super) struct Pattern {
    set: GlobSet,
    wanted: bool,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, ToolError> {
        let (wanted, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, pattern),
        };
        Ok(Self {
            set: set([glob(pattern)?])?,
            wanted,
        })
    }

    pub(super) fn matches(&self, path: &Path) -> bool {
        self.set.is_match(path) == self.wanted
    }
}

/// What a search leaves out: globs of paths below its start.
pub(super) fn exclusions(patterns: &[String]) -> Result<GlobSet, ToolError> {
    let globs: Vec<Glob> = patterns
        .iter()
        .map(|pattern| glob(pattern))
        .collect::<Result<_, _>>()?;
    set(globs)
}

/// What a tree leaves out: the same, and a pattern without a star means that name at any depth with
/// all that is below it.
pub(super) fn exclusions_of_tree(patterns: &[String]) -> Result<GlobSet, ToolError> {
    let mut globs = Vec::new();
    for pattern in patterns {
        globs.push(glob(pattern)?);
        if !pattern.contains('*') {
            globs.push(glob(&format!("**/{pattern}"))?);
            globs.push(glob(&format!("**/{}/**", pattern.trim_end_matches('/')))?);
        }
    }
    set(globs)
}

fn glob(pattern: &str) -> Result<Glob, ToolError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| ToolError::new(format!("{pattern:?} is no pattern: {}.", error.kind())))
}

fn set(globs: impl IntoIterator<Item = Glob>) -> Result<GlobSet, ToolError> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        builder.add(glob);
    }
    builder
        .build()
        .map_err(|error| ToolError::new(format!("The patterns cannot be used: {}.", error.kind())))
}
