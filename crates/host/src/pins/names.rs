//! Names that a person could take for each other: the same but for case, for letters that look alike,
//! or for ones that are not seen.

use std::collections::BTreeMap;

use unicode_security::confusable_detection::skeleton;

/// Names that look alike; two or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    /// The names, in their order.
    pub names: Vec<String>,
}

/// Which of these names look like others of them. A name that stands there twice is one name.
pub fn likenesses<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<Likeness> {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        let of = alike.entry(seen_as(name)).or_default();
        if !of.iter().any(|known| known == name) {
            of.push(name.to_owned());
        }
    }
    alike
        .into_values()
        .filter(|names| names.len() > 1)
        .map(|names| Likeness { names })
        .collect()
}

/// How a name is seen: without what is not, in one case, and with one letter for all that look like it.
pub fn seen_as(name: &str) -> String {
    let visible = |letter: &char| {
        !letter.is_control()
            && !matches!(letter,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e01ef}')
    };
    let shown: String = name.chars().filter(visible).collect();
    // Case first and again: what a capital looks like may be another letter than what its small one
    // does, and the skeleton may bring capitals back.
    let once: String = skeleton(&shown.to_lowercase()).collect();
    skeleton(&once.to_lowercase()).collect()
}
