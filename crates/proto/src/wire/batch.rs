//! Several messages in one array, as 2025-03-26 allows: taken apart into the texts of its messages.
//! Each is then a message like any other, and is answered by itself.

use crate::limits::Limits;
use crate::wire::scan::Scanner;
use crate::wire::tape::Kind;

/// Does this look like a batch?
pub fn is_batch(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// The texts of the messages in a batch. `None` if it is none that can be taken: no JSON within the
/// bounds, or empty.
pub fn split<'a>(bytes: &'a [u8], limits: &Limits) -> Option<Vec<&'a [u8]>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut scanner = Scanner::new();
    let tape = scanner.check(text, limits).ok()?;
    let root = tape.root().filter(|root| root.kind() == Kind::Array)?;
    let parts: Vec<&[u8]> = root
        .elements()
        .map(|element| {
            let (start, end) = element.range();
            text.get(start..end).unwrap_or_default().as_bytes()
        })
        .collect();
    (!parts.is_empty()).then_some(parts)
}
