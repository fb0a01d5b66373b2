//! Reads the records of a log, to be shown. Whether they are what was written is for
//! [`verify`](crate::audit::verify()) to say.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::audit::format::{HASH_BYTES, LENGTH_BYTES, PAYLOAD_BYTES, segment_name};
use crate::audit::record::Numbered;

/// A place in a log: where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment; the first is 1.
    pub segment: u64,
    /// The byte in it.
    pub offset: u64,
}

impl Default for Position {
    /// The beginning.
    fn default() -> Self {
        Self {
            segment: 1,
            offset: 0,
        }
    }
}

/// Reads a log from its beginning on; what is appended later is read too, when asked again.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// Where the next frame begins.
    next: Position,
    /// Where the last one began.
    found: Position,
    file: Option<File>,
    /// What was read of the segment, and is no whole frame yet.
    rest: Vec<u8>,
}

impl Reader {
    /// A reader of the log in this folder.
    pub fn new(folder: &Path) -> Self {
        Self::at(folder, Position::default())
    }

    /// One that begins at a place where a frame begins.
    pub fn at(folder: &Path, position: Position) -> Self {
        Self {
            folder: folder.to_owned(),
            next: position,
            found: position,
            file: None,
            rest: Vec::new(),
        }
    }

    /// Where the next record begins.
    pub fn position(&self) -> Position {
        self.next
    }

    /// Where the last record began.
    pub fn found_at(&self) -> Position {
        self.found
    }

    /// The next record; `None` if there is none yet. What cannot be read as one is left out.
    pub fn next_record(&mut self) -> io::Result<Option<Numbered>> {
        loop {
            while let Some(payload) = self.frame() {
                if let Ok(record) = serde_json::from_slice(&payload) {
                    return Ok(Some(record));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The payload of the next whole frame that was read.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let length = self.rest.first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let whole = LENGTH_BYTES + length.min(PAYLOAD_BYTES) + HASH_BYTES;
        if self.rest.len() < whole {
            return None;
        }
        let payload = self.rest.get(LENGTH_BYTES..whole - HASH_BYTES)?.to_vec();
        self.rest.drain(..whole);
        self.found = self.next;
        self.next.offset += whole as u64;
        Some(payload)
    }

    /// Reads more; `false` if there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            if self.file.is_none() {
                match File::open(self.folder.join(segment_name(self.next.segment))) {
                    Ok(mut file) => {
                        file.seek(SeekFrom::Start(self.next.offset))?;
                        self.file = Some(file);
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            let mut piece = vec![0; 64 * 1024];
            let count = match &mut self.file {
                Some(file) => file.read(&mut piece)?,
                None => 0,
            };
            if count > 0 {
                self.rest
                    .extend_from_slice(piece.get(..count).unwrap_or_default());
                return Ok(true);
            }
            // It may go on in this segment, unless there is another one.
            let next = self.folder.join(segment_name(self.next.segment + 1));
            if !next.exists() {
                return Ok(false);
            }
            self.next = Position {
                segment: self.next.segment + 1,
                offset: 0,
            };
            self.file = None;
            self.rest.clear();
        }
    }
}
