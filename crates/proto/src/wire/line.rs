//! Messages in a byte stream, one per line: the framing of stdio, of sockets and of memory.
//!
//! The caller reads into [`Lines::space`] and says how much came; [`Lines::next`] gives the
//! frames. A line beyond the bound is not kept, only skimmed for its id. Knows nothing of JSON
//! beyond that.

use crate::limits::Limits;
use crate::wire::scan::{Fault, Malformed};
use crate::wire::skim::Skim;

/// What the stream held next.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The bytes of one line, without its end.
    Message(&'a [u8]),
    /// A line that was longer than the bound.
    Oversize(Malformed),
}

/// Smallest space offered to a read.
const READ_BYTES: usize = 8 * 1024;
/// Space offered once a line turns out to be long, so that a large message takes few reads.
const LONG_READ_BYTES: usize = 256 * 1024;
/// A buffer that grew beyond this is given back when it runs empty.
const KEEP_BYTES: usize = 64 * 1024;

/// Splits a byte stream into lines.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the current line starts.
    start: usize,
    /// Up to where no end of line was found.
    searched: usize,
    /// Up to where the buffer holds bytes that were read.
    end: usize,
    skipping: Option<Skim>,
    message_bytes: usize,
    token_bytes: usize,
}

impl Lines {
    /// A splitter with the bounds of `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            end: 0,
            skipping: None,
            message_bytes: limits.message_bytes,
            token_bytes: limits.token_bytes,
        }
    }

    /// Where the next bytes go. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that the first `count` bytes of [`Lines::space`] were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Bytes that are held and belong to no frame yet.
    pub fn pending_bytes(&self) -> usize {
        self.end - self.start
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            if self.buffer.len() > KEEP_BYTES {
                self.buffer = Vec::new();
            }
            (self.start, self.searched, self.end) = (0, 0, 0);
        }
        let held = self.end - self.start;
        let wanted = if held > READ_BYTES {
            LONG_READ_BYTES
        } else {
            READ_BYTES
        };
        if self.buffer.len() - self.end >= wanted.min(READ_BYTES) && held <= READ_BYTES {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.searched -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < wanted {
            let size = (self.end + wanted).max((self.buffer.len() * 2).min(self.message_bytes));
            self.buffer.resize(size, 0);
        }
    }

    /// The next frame, if a whole line is there. Blank lines are skipped.
    #[allow(clippy::should_implement_trait)] // The frame borrows from the buffer.
    pub fn next(&mut self) -> Option<Frame<'_>> {
        loop {
            let fresh = self.buffer.get(self.searched..self.end)?;
            let Some(offset) = memchr::memchr(b'\n', fresh) else {
                self.searched = self.end;
                self.skip_if_too_long();
                return None;
            };
            let line = self.start..self.searched + offset;
            self.start = line.end + 1;
            self.searched = self.start;
            if let Some(mut skim) = self.skipping.take() {
                skim.feed(&self.buffer[line]);
                return Some(Frame::Oversize(
                    skim.finish(Fault::TooLarge(self.message_bytes)),
                ));
            }
            if line.len() > self.message_bytes {
                let mut skim = Skim::new(self.token_bytes);
                skim.feed(&self.buffer[line]);
                return Some(Frame::Oversize(
                    skim.finish(Fault::TooLarge(self.message_bytes)),
                ));
            }
            if !is_blank(&self.buffer[line.clone()]) {
                return Some(Frame::Message(&self.buffer[line]));
            }
        }
    }

    /// At the end of the stream: a last line without its end counts as a line.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        let line = self.start..self.end;
        self.start = self.end;
        self.searched = self.end;
        if let Some(mut skim) = self.skipping.take() {
            skim.feed(&self.buffer[line]);
            return Some(Frame::Oversize(
                skim.finish(Fault::TooLarge(self.message_bytes)),
            ));
        }
        if is_blank(&self.buffer[line.clone()]) {
            return None;
        }
        Some(Frame::Message(&self.buffer[line]))
    }

    /// Gives up the held part of a line that cannot fit any more.
    fn skip_if_too_long(&mut self) {
        let held = self.start..self.end;
        if self.skipping.is_none() && held.len() <= self.message_bytes {
            return;
        }
        let skim = self
            .skipping
            .get_or_insert_with(|| Skim::new(self.token_bytes));
        skim.feed(&self.buffer[held]);
        self.start = self.end;
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}
