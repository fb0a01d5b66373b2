//! Pins: what a person saw when they approved a server, and whether it still is that.
//!
//! Each definition (a tool, a prompt, a resource or template), the instructions and the launch of a
//! server has a digest. What has another digest than it had at approval stops, alone, until a person has
//! seen the difference; what was not there at approval waits too. Values in, values out: nothing here
//! reads or writes.

pub mod difference;
pub mod digest;
pub mod hidden;
pub mod names;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use difference::{Change, FieldChange, Piece, changes, difference, words};
pub use digest::{Digest, canonical, digest};
pub use hidden::{Hidden, hidden};
pub use names::{Likeness, likenesses};

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// That its program is fetched.
    Fetch,
    /// How the server is started or reached.
    Launch,
    /// The program itself.
    Program,
    /// What the server says of its use.
    Instructions,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
}

/// Something that is pinned: its kind, and its name where there are several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name; empty where there is only one.
    pub name: String,
}

impl Item {
    /// An item.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

/// What was there when a person approved it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Its digest.
    pub digest: Digest,
    /// The definition, to show what has changed.
    pub definition: Value,
}

/// The pins of one server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pins {
    pins: BTreeMap<Item, Pin>,
}

/// What a definition is, held against its pin.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing<'p> {
    /// It is what was approved.
    Approved,
    /// Nobody has approved it.
    New,
    /// It is not what was approved, which was this.
    Changed(&'p Value),
}

impl Pins {
    /// A person approves a definition as it is now.
    pub fn approve(&mut self, item: Item, definition: Value) {
        let digest = digest(&item, &definition);
        self.pins.insert(item, Pin { digest, definition });
    }

    /// A person takes an approval back; whether there was one.
    pub fn revoke(&mut self, item: &Item) -> bool {
        self.pins.remove(item).is_some()
    }

    /// How a definition stands.
    pub fn standing(&self, item: &Item, definition: &Value) -> Standing<'_> {
        match self.pins.get(item) {
            None => Standing::New,
            Some(pin) if pin.digest == digest(item, definition) => Standing::Approved,
            Some(pin) => Standing::Changed(&pin.definition),
        }
    }

    /// Is the definition with this digest what was approved?
    pub fn approves(&self, item: &Item, digest: &Digest) -> bool {
        self.pins.get(item).is_some_and(|pin| pin.digest == *digest)
    }

    /// What was approved and is not among these.
    pub fn gone<'p>(
        &'p self,
        kind: Kind,
        names: &'p [&str],
    ) -> impl Iterator<Item = &'p Item> + 'p {
        self.pins
            .keys()
            .filter(move |item| item.kind == kind && !names.contains(&item.name.as_str()))
    }

    /// What was approved of an item.
    pub fn get(&self, item: &Item) -> Option<&Pin> {
        self.pins.get(item)
    }

    /// The pins, to be kept.
    pub fn iter(&self) -> impl Iterator<Item = (&Item, &Pin)> {
        self.pins.iter()
    }

    /// Pins that were kept. One whose digest does not belong to its definition was tampered with, and
    /// is left out: what it was for is not approved.
    pub fn kept(pins: impl IntoIterator<Item = (Item, Pin)>) -> Self {
        let fits = |(item, pin): &(Item, Pin)| digest(item, &pin.definition) == pin.digest;
        Self {
            pins: pins.into_iter().filter(fits).collect(),
        }
    }
}
