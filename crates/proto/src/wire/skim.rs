//! Finds the id of a message that is too large, too deep or otherwise refused, while its bytes
//! stream past and nothing of it is kept.
//!
//! It does not check JSON: it follows quotes and brackets, and reads the members `id` and
//! `method` of the outermost object. Used by the scanner and by the framer.

use crate::jsonrpc::RequestId;
use crate::wire::scan::{Fault, Malformed};

/// The longest key that matters is `method`.
const KEY_BYTES: usize = 8;

/// Follows the bytes of one message.
#[derive(Debug)]
pub struct Skim {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    part: Part,
    key: Vec<u8>,
    id: Vec<u8>,
    token_bytes: usize,
    id_seen: u8,
    has_method: bool,
    has_outcome: bool,
}

/// Where in the outermost object we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    IdValue,
    OtherValue,
}

impl Skim {
    /// Ids longer than `token_bytes` count as unreadable.
    pub fn new(token_bytes: usize) -> Self {
        Self {
            depth: 0,
            in_string: false,
            after_backslash: false,
            part: Part::Key,
            key: Vec::with_capacity(KEY_BYTES),
            id: Vec::new(),
            token_bytes,
            id_seen: 0,
            has_method: false,
            has_outcome: false,
        }
    }

    /// Takes the next bytes of the message.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// What was found, as the malformed message that it is.
    pub fn finish(self, fault: Fault) -> Malformed {
        let id = std::str::from_utf8(&self.id)
            .ok()
            .filter(|_| self.id_seen == 1 && self.id.len() <= self.token_bytes)
            .and_then(|text| serde_json::from_str::<RequestId>(text.trim()).ok());
        Malformed {
            fault,
            response: !self.has_method && self.has_outcome,
            notification: self.has_method && self.id_seen == 0,
            id,
        }
    }

    fn step(&mut self, byte: u8) {
        if self.part == Part::IdValue && self.depth == 1 && !(byte == b',' || byte == b'}')
            || self.part == Part::IdValue && self.in_string
        {
            self.keep_id(byte);
        }
        if self.in_string {
            self.step_in_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && self.part == Part::Key {
                    self.key.clear();
                }
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.begin_value(),
            b',' if self.depth == 1 => {
                self.part = Part::Key;
                self.key.clear();
            }
            _ => {}
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        if self.after_backslash {
            self.after_backslash = false;
        } else if byte == b'\\' {
            self.after_backslash = true;
        } else if byte == b'"' {
            self.in_string = false;
            return;
        }
        if self.depth == 1 && self.part == Part::Key && self.key.len() < KEY_BYTES {
            self.key.push(byte);
        }
    }

    fn begin_value(&mut self) {
        self.part = Part::OtherValue;
        match self.key.as_slice() {
            b"id" => {
                self.part = Part::IdValue;
                self.id_seen = self.id_seen.saturating_add(1);
                self.id.clear();
            }
            b"method" => self.has_method = true,
            b"result" | b"error" => self.has_outcome = true,
            _ => {}
        }
    }

    fn keep_id(&mut self, byte: u8) {
        if self.id.len() <= self.token_bytes {
            self.id.push(byte);
        }
    }
}
