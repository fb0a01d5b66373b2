//! The values of a message as a flat list, noted while it is scanned: kinds and places in the
//! text, nothing copied. What validators walk and decoders read, so that nothing is tokenised
//! twice and no tree is built.

use std::borrow::Cow;

use crate::jsonrpc::unescape;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number, kept as its text.
    Number,
    /// A string without escapes.
    String,
    /// A string with escapes.
    EscapedString,
    /// A list of values.
    Array,
    /// Keys and values in turn.
    Object,
}

/// One value. Strings are noted without their quotes, containers with their brackets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Where the next value after this one stands on the tape, what is inside left out.
    pub(crate) next: u32,
}

/// The noted values of one message, with its text.
#[derive(Debug, Default, Clone)]
pub struct Tape<'a> {
    pub(crate) text: &'a str,
    pub(crate) items: Vec<Item>,
}

impl Tape<'_> {
    /// The first value, if anything was noted.
    pub fn root(&self) -> Option<Node<'_>> {
        (!self.items.is_empty()).then_some(Node { tape: self, at: 0 })
    }
}

/// One value of a message.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    tape: &'a Tape<'a>,
    at: u32,
}

/// What stands in for a place that is not on the tape; it cannot be reached from a node.
const NOTHING: Item = Item {
    kind: Kind::Null,
    start: 0,
    end: 0,
    next: u32::MAX,
};

impl<'a> Node<'a> {
    fn item(self) -> &'a Item {
        self.tape.items.get(self.at as usize).unwrap_or(&NOTHING)
    }

    fn slice(self) -> &'a str {
        let item = self.item();
        self.tape
            .text
            .get(item.start as usize..item.end as usize)
            .unwrap_or_default()
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        self.item().kind
    }

    /// Its JSON text.
    pub fn as_json(self) -> &'a str {
        let (start, end) = self.range();
        self.tape.text.get(start..end).unwrap_or_default()
    }

    /// Where its JSON text stands in the text of the message, in bytes.
    pub fn range(self) -> (usize, usize) {
        let item = self.item();
        match item.kind {
            Kind::String | Kind::EscapedString => (item.start as usize - 1, item.end as usize + 1),
            _ => (item.start as usize, item.end as usize),
        }
    }

    /// The text of a string, borrowed unless it has escapes.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::String => Some(Cow::Borrowed(self.slice())),
            Kind::EscapedString => Some(unescape(self.as_json())),
            _ => None,
        }
    }

    /// The digits of a number.
    pub fn as_number(self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.slice())
    }

    /// The members of an object; none for other kinds.
    pub fn members(self) -> Members<'a> {
        Members {
            values: self.inside(Kind::Object),
        }
    }

    /// The elements of an array; none for other kinds.
    pub fn elements(self) -> Elements<'a> {
        self.inside(Kind::Array)
    }

    /// The value of a member.
    pub fn get(self, key: &str) -> Option<Self> {
        self.members()
            .find(|(name, _)| name.is_key(key))
            .map(|(_, value)| value)
    }

    /// Is this string the one that is looked for?
    pub fn is_key(self, key: &str) -> bool {
        let item = self.item();
        match item.kind {
            Kind::String => {
                let bytes = self.tape.text.as_bytes();
                bytes.get(item.start as usize..item.end as usize) == Some(key.as_bytes())
            }
            _ => self.as_str().is_some_and(|text| text == key),
        }
    }

    /// A number that names this value among those of its message.
    pub fn place(self) -> u32 {
        self.at
    }

    fn inside(self, kind: Kind) -> Elements<'a> {
        let item = self.item();
        let end = if item.kind == kind { item.next } else { 0 };
        Elements {
            node: Node {
                at: self.at + 1,
                ..self
            },
            end,
        }
    }
}

/// The elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    node: Node<'a>,
    end: u32,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        if self.node.at >= self.end {
            return None;
        }
        let node = self.node;
        self.node.at = node.item().next;
        Some(node)
    }
}

/// The members of an object: key and value.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    values: Elements<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Node<'a>, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.values.next()?;
        let value = self.values.next()?;
        Some((key, value))
    }
}
