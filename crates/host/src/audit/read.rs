//! Reads the records of a log, to be shown. Whether they are what was written is for
//! [`verify`](crate::audit::verify()) to say.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::audit::format::{HASH_BYTES, LENGTH_BYTES, PAYLOAD_BYTES, segment_name};
use crate::audit::record::Numbered;

/// Reads a log from its beginning on; what is appended later is read too, when asked again.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    segment: u64,
    file: Option<File>,
    /// What was read of the segment, and is no whole frame yet.
    rest: Vec<u8>,
}

impl Reader {
    /// A reader of the log in this folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            segment: 1,
            file: None,
            rest: Vec::new(),
        }
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
        Some(payload)
    }

    /// Reads more; `false` if there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            if self.file.is_none() {
                match File::open(self.folder.join(segment_name(self.segment))) {
                    Ok(file) => self.file = Some(file),
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
            let next = self.folder.join(segment_name(self.segment + 1));
            if !next.exists() {
                return Ok(false);
            }
            self.segment += 1;
            self.file = None;
            self.rest.clear();
        }
    }
}
