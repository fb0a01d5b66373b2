//! `roots/list`: the places of the file system that a server may work in.
//!
//! Spec: <https://modelcontextprotocol.io/specification/2024-11-05/client/roots>

use std::fmt;

use crate::object::{Meta, open_object};

open_object! {
    /// One root.
    pub struct Root {
        required {
            /// A `file://` URI.
            uri: String = "uri",
        }
        optional {
            /// A name for people.
            name: String = "name",
            /// Attached metadata (from 2025-06-18).
            meta: Box<Meta> = "_meta",
        }
    }
}

open_object! {
    /// Result of `roots/list`.
    pub struct ListRootsResult {
        defaulted {
            /// All roots; there is no paging.
            roots: Vec<Root> = "roots",
        }
        optional {
            /// Attached metadata.
            meta: Box<Meta> = "_meta",
        }
    }
}

/// Why a URI is not acceptable as a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidRoot {
    /// Not a `file://` URI with an absolute path.
    NotAFile(String),
    /// The path climbs with `..`, plain or percent-encoded.
    Traversal(String),
}

impl fmt::Display for InvalidRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile(uri) => write!(
                f,
                "a root is a file:// URI with an absolute path, not {uri:?}"
            ),
            Self::Traversal(uri) => write!(f, "the root {uri:?} climbs out with \"..\""),
        }
    }
}

impl std::error::Error for InvalidRoot {}

impl Root {
    /// A folder of this machine, by its absolute path, named as the folder is.
    pub fn at(folder: &std::path::Path) -> Self {
        let path = folder.to_string_lossy();
        let mut uri = String::from("file://");
        for byte in path.bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
                _ => {
                    let _ = fmt::Write::write_fmt(&mut uri, format_args!("%{byte:02X}"));
                }
            }
        }
        let name = folder.file_name().map(std::ffi::OsStr::to_string_lossy);
        Self::new(uri).name(name.unwrap_or("/".into()))
    }

    /// Checks that the URI is `file://`, absolute, and free of `..` in any encoding.
    pub fn validate(&self) -> Result<(), InvalidRoot> {
        let path = self
            .uri
            .strip_prefix("file://")
            .map(|rest| rest.strip_prefix("localhost").unwrap_or(rest))
            .filter(|path| path.starts_with('/'))
            .ok_or_else(|| InvalidRoot::NotAFile(self.uri.clone()))?;
        let decoded = percent_decode(path);
        let climbs = decoded
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|segment| segment == b"..");
        if climbs || decoded.contains(&0) {
            return Err(InvalidRoot::Traversal(self.uri.clone()));
        }
        Ok(())
    }
}

/// Decodes `%XX`; anything else stays as it is.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = |offset: usize| {
            bytes
                .get(index + offset)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        if bytes[index] == b'%'
            && let (Some(high), Some(low)) = (hex(1), hex(2))
        {
            decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    decoded
}
