//! The segments of a log as they are opened, appended to and followed by others.
//!
//! Opening looks at the last segment alone. A frame at its end that was not finished is cut off; a
//! segment that is damaged is a reason to set the whole log aside and to begin another one, never to go
//! on behind it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::format::{
    BEGINNING, HASH_BYTES, HEAD, LENGTH_BYTES, PAYLOAD_BYTES, VERSION, segment_name,
};
use crate::audit::log::{LogError, Opened};
use crate::audit::record::{Numbered, Record};

/// A segment that has grown to this is followed by another one.
pub(super) const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The first payload of a segment.
#[derive(Serialize, Deserialize)]
struct Opening {
    segment: u64,
    version: u64,
    /// Records before this segment.
    records: u64,
    /// The hash before this segment, in hex.
    after: String,
}

type Hash = [u8; HASH_BYTES];

/// A log, as far as it is open.
pub(super) struct Writer {
    folder: PathBuf,
    file: Arc<File>,
    head: Arc<File>,
    segment: u64,
    /// Bytes of the segment that are whole frames.
    length: u64,
    records: u64,
    /// The hash that the next frame follows.
    hash: Hash,
    /// The hash of the last record.
    record_hash: Hash,
    /// What was written could not be taken back: nothing may follow it.
    lost: bool,
}

/// A state of the log that the disk is to have.
pub(super) struct Mark {
    file: Arc<File>,
    head: Arc<File>,
    records: u64,
    record_hash: Hash,
}

impl Mark {
    /// Returns when the disk has it, and it is noted beside it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.sync_records()?;
        self.note()
    }

    /// Returns when the disk has it.
    pub(super) fn sync_records(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Notes how far the log goes.
    pub(super) fn note(&self) -> io::Result<()> {
        let head = head_line(self.records, &self.record_hash);
        self.head.write_all_at(head.as_bytes(), 0)
    }
}

/// What is found where the last segment should be.
enum Taken {
    /// It goes on; so many bytes were cut off its end.
    Up(Writer, u64),
    /// Not even its opening is whole: nothing was ever promised of it.
    Unborn,
    /// It is not what was written.
    Damaged,
}

impl Writer {
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Opened)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut cut = 0;
        while let Some(last) = last_segment(folder)? {
            match Self::take_up(folder, last)? {
                Taken::Up(writer, more) => {
                    return Ok(match cut + more {
                        0 => (writer, Opened::InOrder),
                        cut => (writer, Opened::Mended(cut)),
                    });
                }
                Taken::Unborn => {
                    let path = folder.join(segment_name(last));
                    cut += path.metadata()?.len().max(1);
                    std::fs::remove_file(path)?;
                    if last == 1 {
                        return Ok((Self::begin(folder)?, Opened::Mended(cut)));
                    }
                }
                Taken::Damaged => {
                    let aside = set_aside(folder)?;
                    DirBuilder::new().mode(0o700).create(folder)?;
                    return Ok((Self::begin(folder)?, Opened::SetAside(aside)));
                }
            }
        }
        Ok((Self::begin(folder)?, Opened::New))
    }

    /// A log without records.
    fn begin(folder: &Path) -> io::Result<Self> {
        let hash: Hash = Sha256::digest(BEGINNING).into();
        // Before the first segment, so that a segment without a head is never in order.
        let mut head = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(HEAD))?;
        head.write_all(head_line(0, &hash).as_bytes())?;
        head.sync_all()?;
        let (file, length, after) = new_segment(folder, 1, 0, &hash)?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            head: Arc::new(head),
            segment: 1,
            length,
            records: 0,
            hash: after,
            record_hash: hash,
            lost: false,
        })
    }

    /// Goes on in another segment, once the disk has this one.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        self.mark().sync()?;
        let next = self.segment + 1;
        let (file, length, hash) = new_segment(&self.folder, next, self.records, &self.hash)?;
        self.file = file;
        self.segment = next;
        self.length = length;
        self.hash = hash;
        Ok(())
    }

    /// Goes on with the last segment.
    fn take_up(folder: &Path, segment: u64) -> io::Result<Taken> {
        let path = folder.join(segment_name(segment));
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut whole = 0_u64;
        let mut state: Option<(u64, Hash)> = None;
        // Where the segment begins, the last record is one of another segment.
        let mut record_hash = None;
        while let Some((payload, hash, length)) = next_frame(rest) {
            let before = match &state {
                Some((_, before)) => *before,
                None => match serde_json::from_slice::<Opening>(payload) {
                    Ok(opening) if opening.segment == segment => {
                        let Some(after) = crate::hex::read(&opening.after) else {
                            return Ok(Taken::Damaged);
                        };
                        state = Some((opening.records, after));
                        record_hash = Some(after);
                        after
                    }
                    _ => return Ok(Taken::Damaged),
                },
            };
            if framed(&before, payload).1 != hash {
                return Ok(Taken::Damaged);
            }
            if let Some((records, before)) = &mut state {
                *before = hash;
                if whole > 0 {
                    *records += 1;
                    record_hash = Some(hash);
                }
            }
            whole += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        let (Some((records, hash)), Some(record_hash)) = (state, record_hash) else {
            return Ok(match next_length(&bytes) {
                Some(_) => Taken::Unborn,
                None => Taken::Damaged,
            });
        };
        // What is left must be the beginning of a frame, and no more than one.
        if !rest.is_empty() && next_length(rest).is_none() || is_behind(folder, records)? {
            return Ok(Taken::Damaged);
        }
        let cut = rest.len() as u64;
        if cut > 0 {
            file.set_len(whole)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(whole))?;
        let head = OpenOptions::new().write(true).open(folder.join(HEAD))?;
        let writer = Self {
            folder: folder.to_owned(),
            file: Arc::new(file),
            head: Arc::new(head),
            segment,
            length: whole,
            records,
            hash,
            record_hash,
            lost: false,
        };
        Ok(Taken::Up(writer, cut))
    }

    /// Bytes of the segment.
    /// The number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.records
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The log as it is now.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            file: self.file.clone(),
            head: self.head.clone(),
            records: self.records,
            record_hash: self.record_hash,
        }
    }

    /// Nothing can be appended any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Writes a record, all of it or nothing; its number.
    pub(super) fn append(&mut self, record: Record) -> Result<u64, LogError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = since.unwrap_or(Duration::ZERO).as_micros();
        let number = self.records + 1;
        let numbered = Numbered {
            number,
            at: u64::try_from(at).unwrap_or(u64::MAX),
            record,
        };
        let payload = serde_json::to_vec(&numbered);
        let payload = payload.map_err(|error| LogError::Failed(error.to_string()))?;
        if payload.len() > PAYLOAD_BYTES {
            return Err(LogError::TooLong);
        }
        let (frame, hash) = framed(&self.hash, &payload);
        let mut file = self.file.as_ref();
        if let Err(error) = file.write_all(&frame) {
            // What got through is no part of the log; if it cannot be taken back, neither is anything
            // that would follow.
            let back = file.set_len(self.length);
            let back = back.and_then(|()| file.seek(SeekFrom::Start(self.length)));
            self.lost = back.is_err();
            return Err(LogError::Failed(error.to_string()));
        }
        self.length += frame.len() as u64;
        self.records = number;
        self.hash = hash;
        self.record_hash = hash;
        Ok(number)
    }
}

/// A segment with nothing in it but its opening: the file, its length, and the hash that follows.
fn new_segment(
    folder: &Path,
    segment: u64,
    records: u64,
    hash: &Hash,
) -> io::Result<(Arc<File>, u64, Hash)> {
    let opening = Opening {
        segment,
        version: VERSION,
        records,
        after: crate::hex::text(hash),
    };
    let payload = serde_json::to_vec(&opening)?;
    let (frame, hash) = framed(hash, &payload);
    let path = folder.join(segment_name(segment));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&frame)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok((Arc::new(file), frame.len() as u64, hash))
}

/// A frame around a payload, and its hash.
fn framed(before: &Hash, payload: &[u8]) -> (Vec<u8>, Hash) {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let mut chained = Sha256::new();
    chained.update(before);
    chained.update(length);
    chained.update(payload);
    let hash: Hash = chained.finalize().into();
    let mut frame = Vec::with_capacity(LENGTH_BYTES + payload.len() + HASH_BYTES);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&hash);
    (frame, hash)
}

/// The length of the payload that begins here, as far as one is there; `None` if there cannot be one.
fn next_length(bytes: &[u8]) -> Option<usize> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Some(0);
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length > 0 && length <= PAYLOAD_BYTES).then_some(length)
}

/// The payload, hash and whole length of the frame that begins here.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], Hash, usize)> {
    let length = next_length(bytes).filter(|length| *length > 0)?;
    let payload = bytes.get(LENGTH_BYTES..LENGTH_BYTES + length)?;
    let hash = bytes.get(LENGTH_BYTES + length..)?.first_chunk()?;
    Some((payload, *hash, LENGTH_BYTES + length + HASH_BYTES))
}

fn last_segment(folder: &Path) -> io::Result<Option<u64>> {
    let mut last = None;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            last = last.max(Some(number));
        }
    }
    Ok(last)
}

/// Has the log fewer records than it had?
fn is_behind(folder: &Path, records: u64) -> io::Result<bool> {
    let head = std::fs::read_to_string(folder.join(HEAD))?;
    let number = head
        .split(' ')
        .next()
        .and_then(|number| number.parse::<u64>().ok());
    Ok(number.is_none_or(|number| number > records))
}

/// Always as long, so that it is written over in place and is either what it was or what it is to be.
fn head_line(records: u64, hash: &Hash) -> String {
    format!("{records:020} {}\n", crate::hex::text(hash))
}

/// Moves a damaged log out of the way, whole.
fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            std::fs::rename(folder, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::other("there is no name left for a damaged log"))
}
