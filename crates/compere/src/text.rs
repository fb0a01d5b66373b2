//! Text of others made safe to show: nothing in it may move a cursor, change colours, ring, hide or
//! turn round what stands around it. For whoever shows a person what a peer said; what goes to a
//! program or to a model stays as it is.

use std::borrow::Cow;
use std::fmt::Write;

/// Makes control characters, escape sequences and invisible or direction-changing characters
/// visible, as `\u{…}`. Line breaks and tabs stay. Text without any is returned as it is.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unseen(character) {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// The same for something that must stay on one line: line breaks and tabs become spaces.
pub fn escape_line(text: &str) -> String {
    escape(text).replace(['\n', '\t'], " ")
}

/// Is this a character that is not seen, or that changes how what stands around it is shown? Line breaks and
/// tabs are none.
pub fn is_unseen(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        _ if character.is_control() => true,
        // Marks that turn the direction of text round, and characters that are not seen.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e007f}'
        | '\u{e0100}'..='\u{e01ef}' => true,
        '\u{2028}' | '\u{2029}' | '\u{061c}' | '\u{00ad}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        assert_eq!(escape("héllo\n\t世界"), "héllo\n\t世界");
    }

    #[test]
    fn sequences_become_visible() {
        assert_eq!(escape("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(escape("a\rb\u{7}"), "a\\u{d}b\\u{7}");
        assert_eq!(escape("\u{202e}exe.txt"), "\\u{202e}exe.txt");
        assert_eq!(escape("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(escape_line("a\nb\tc"), "a b c");
    }
}
