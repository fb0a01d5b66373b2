//! Names with `*` for anything. Nothing else stands for anything, and letters are what they are.

use std::fmt;

/// A pattern for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; `*` stands for any characters, none included.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Anything.
    pub fn any() -> Self {
        Self::new("*")
    }

    /// Does a name fit? Takes a time that grows with the lengths of both, multiplied at worst, and never
    /// more.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
