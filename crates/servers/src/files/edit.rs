//! Edits of a text and how they are shown. Pure: no file is touched here.
//!
//! Line breaks are compared as `\n`, whatever the file uses, and what an edit does not touch stays
//! byte for byte as it was.

use std::fmt::Write;

use similar::{ChangeTag, TextDiff};

/// Lines around a change that are shown with it.
const CONTEXT: usize = 4;

/// Replaces `old` by `new` once. First as it stands; else line by line without regard to the
/// space around each line, and then the indentation of the file is kept. `None`: not there.
pub(super) fn replace(text: &str, old: &str, new: &str) -> Option<String> {
    let (old, new) = (unix(old), unix(new));
    let plain = Plain::of(text);
    let (start, end, new) = match plain.text.find(&old) {
        Some(start) => (start, start + old.len(), new),
        None => find_lines(&plain.text, &old, &new)?,
    };
    let new = match plain.line_break {
        "\n" => new,
        other => new.replace('\n', other),
    };
    let mut edited = String::with_capacity(text.len() + new.len());
    edited.push_str(text.get(..plain.original(start))?);
    edited.push_str(&new);
    edited.push_str(text.get(plain.original(end)..)?);
    Some(edited)
}

fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// A text with `\n` as its line breaks, and where in it a `\r` was taken out.
struct Plain {
    text: String,
    removed: Vec<usize>,
    line_break: &'static str,
}

impl Plain {
    fn of(text: &str) -> Self {
        let mut plain = String::with_capacity(text.len());
        let mut removed = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("\r\n") {
            plain.push_str(&rest[..at]);
            removed.push(plain.len());
            plain.push('\n');
            rest = &rest[at + 2..];
        }
        plain.push_str(rest);
        let breaks = plain.matches('\n').count();
        Self {
            line_break: if removed.len() * 2 > breaks {
                "\r\n"
            } else {
                "\n"
            },
            text: plain,
            removed,
        }
    }

    /// The offset in the text as it was. An offset just before a line break stays before it.
    fn original(&self, offset: usize) -> usize {
        offset + self.removed.partition_point(|removed| *removed < offset)
    }
}

/// Finds lines that are equal but for the space around them, and the new lines with the
/// indentation that is there.
fn find_lines(text: &str, old: &str, new: &str) -> Option<(usize, usize, String)> {
    let wanted: Vec<&str> = old.split('\n').map(str::trim).collect();
    let mut starts = vec![0];
    starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    let lines: Vec<&str> = text.split('\n').collect();
    let first = lines.windows(wanted.len()).position(|window| {
        window
            .iter()
            .zip(&wanted)
            .all(|(line, old)| line.trim() == *old)
    })?;
    let last = first + wanted.len() - 1;
    let start = *starts.get(first)?;
    let end = starts.get(last)? + lines.get(last)?.len();
    Some((start, end, indented(new, indentation(lines.get(first)?))))
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// The same lines, moved so that the first of them has this indentation.
fn indented(text: &str, wanted: &str) -> String {
    let has = indentation(text.split('\n').next().unwrap_or_default());
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| match line.strip_prefix(has) {
            _ if line.trim().is_empty() => String::new(),
            Some(rest) => format!("{wanted}{rest}"),
            // Further out than the first line: as far out as can be.
            None => {
                let missing = has.len() - indentation(line).len().min(has.len());
                let kept = wanted.len().saturating_sub(missing);
                format!(
                    "{}{}",
                    wanted.get(..kept).unwrap_or(wanted),
                    line.trim_start()
                )
            }
        })
        .collect();
    lines.join("\n")
}

/// The difference as a unified diff in a code block.
pub(super) fn diff(path: &str, before: &str, after: &str) -> String {
    let (before, after) = (unix(before), unix(after));
    let mut text = format!(
        "Index: {path}\n{}\n--- {path}\toriginal\n+++ {path}\tmodified\n",
        "=".repeat(67)
    );
    let diff = TextDiff::from_lines(&before, &after);
    for group in diff.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old = first.old_range().start..last.old_range().end;
        let new = first.new_range().start..last.new_range().end;
        let _ = writeln!(text, "@@ -{} +{} @@", range(&old), range(&new));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let _ = write!(text, "{sign}{}", change.value());
            if change.missing_newline() {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}diff\n{text}{fence}\n\n")
}

fn range(lines: &std::ops::Range<usize>) -> String {
    let start = match lines.is_empty() {
        true => lines.start,
        false => lines.start + 1,
    };
    format!("{start},{}", lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_is_replaced_and_nothing_else() {
        assert_eq!(replace("a b a", "a", "$& c").unwrap(), "$& c b a");
        assert_eq!(
            replace("a\r\nb\r\nc\n", "b", "x\ny").unwrap(),
            "a\r\nx\r\ny\r\nc\n"
        );
        assert_eq!(replace("a\r\nb\r\nc", "a\nb\n", "").unwrap(), "c");
        assert_eq!(replace("a\r\nb", "\nb", "\nc").unwrap(), "a\r\nc");
        assert_eq!(replace("", "", "top").unwrap(), "top");
        assert!(replace("a", "b", "c").is_none());
    }

    #[test]
    fn indentation_of_the_file_is_kept() {
        let text = "fn f() {\n    if x {\n        y();\n    }\n}\n";
        let edited = replace(
            text,
            "if x {\n    y();\n}",
            "if z {\n    w();\n\n    v();\n}",
        );
        assert_eq!(
            edited.unwrap(),
            "fn f() {\n    if z {\n        w();\n\n        v();\n    }\n}\n"
        );
        let outdented = replace("\t\ta\n\t\tb\n", "  a\n  b", "  c\nd");
        assert_eq!(outdented.unwrap(), "\t\tc\nd\n");
    }

    #[test]
    fn the_fence_is_longer_than_any_inside() {
        let shown = diff("f", "```\n", "````\n");
        assert!(shown.starts_with("`````diff\n") && shown.ends_with("`````\n\n"));
        assert!(diff("f", "a", "a").ends_with("\tmodified\n```\n\n"));
    }
}
