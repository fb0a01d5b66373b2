//! Writes a log: one thread, one write for all records that wait, one sync for all that want one.
//!
//! Opening looks at the last segment alone. A frame at its end that was not finished is cut off, and a
//! record says so; a segment that is damaged is a reason to set the whole log aside and to begin
//! another one, never to go on behind it.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::audit::SYNCED_WITHIN;
use crate::audit::format::{
    BEGINNING, HASH_BYTES, HEAD, LENGTH_BYTES, PAYLOAD_BYTES, VERSION, segment_name,
};
use crate::audit::record::{Kind, Numbered, Record};

/// A segment that has grown to this is followed by another one.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Records that may wait for the writer.
const WAITING: usize = 1_024;
/// Records that go out in one write.
const TOGETHER: usize = 256;

/// When a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has it.
    Synced,
    /// When the system has it; the disk has it soon after.
    Written,
}

/// Why a record is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// The disk does not take it, or the log has failed before; why.
    Failed(String),
    /// More records wait than may.
    Full,
    /// The record is too long.
    TooLong,
    /// The log is closed.
    Closed,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "the audit log cannot be written: {why}"),
            Self::Full => f.write_str("the audit log cannot keep up"),
            Self::TooLong => f.write_str("a record is too long for the audit log"),
            Self::Closed => f.write_str("the audit log is closed"),
        }
    }
}

impl std::error::Error for LogError {}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    New,
    /// It was in order, as far as opening looks.
    InOrder,
    /// A frame at the end was not finished: so many bytes were cut off.
    Mended(u64),
    /// It was damaged, and lies here now.
    SetAside(PathBuf),
}

/// A log that is written. Clones write into the same one.
#[derive(Clone)]
pub struct Log {
    waiting: SyncSender<Waiting>,
}

struct Waiting {
    record: Record,
    durability: Durability,
    reply: oneshot::Sender<Result<u64, LogError>>,
}

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

impl Log {
    /// Opens a log, or makes one. The folder is made for its owner alone.
    pub fn open(folder: &Path) -> io::Result<(Self, Opened)> {
        let (mut writer, opened) = Writer::open(folder)?;
        let words = match &opened {
            Opened::New => Some("the log begins".to_owned()),
            Opened::InOrder => None,
            Opened::Mended(bytes) => Some(format!(
                "a record was not finished when the host was stopped: {bytes} bytes were cut off"
            )),
            Opened::SetAside(path) => Some(format!(
                "the log before this one was damaged and lies at {}",
                path.display()
            )),
        };
        if let Some(words) = words {
            let mut record = Record::new(Kind::Host);
            record.outcome = words;
            writer.frame(record).map_err(io::Error::other)?;
            writer.write()?;
            writer.sync()?;
        }
        let (waiting, waits) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("compere-audit".to_owned())
            .spawn(move || writer.run(&waits))?;
        Ok((Self { waiting }, opened))
    }

    /// Appends a record and gives its number, once it is there.
    ///
    /// Cancel safety: the record may be written although nobody waits for it.
    pub async fn append(&self, record: Record, durability: Durability) -> Result<u64, LogError> {
        let (reply, replied) = oneshot::channel();
        let waiting = Waiting {
            record,
            durability,
            reply,
        };
        self.waiting
            .try_send(waiting)
            .map_err(|error| match error {
                TrySendError::Full(_) => LogError::Full,
                TrySendError::Disconnected(_) => LogError::Closed,
            })?;
        replied.await.unwrap_or(Err(LogError::Closed))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

struct Writer {
    folder: PathBuf,
    file: File,
    head: File,
    segment: u64,
    /// Bytes of the segment that are whole frames.
    length: u64,
    records: u64,
    hash: Hash,
    /// Frames that are to be written, and what holds once they are.
    batch: Vec<u8>,
    batch_records: u64,
    batch_hash: Hash,
    unsynced_since: Option<Instant>,
    /// What the disk said last; then nothing more is promised.
    failed: Option<String>,
}

impl Writer {
    fn open(folder: &Path) -> io::Result<(Self, Opened)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let Some(last) = last_segment(folder)? else {
            return Ok((Self::begin(folder)?, Opened::New));
        };
        match Self::take_up(folder, last)? {
            Some((writer, 0)) => Ok((writer, Opened::InOrder)),
            Some((writer, cut)) => Ok((writer, Opened::Mended(cut))),
            None => {
                let aside = set_aside(folder)?;
                DirBuilder::new().mode(0o700).create(folder)?;
                Ok((Self::begin(folder)?, Opened::SetAside(aside)))
            }
        }
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
        Self::new_segment(folder, head, 1, 0, hash)
    }

    fn new_segment(
        folder: &Path,
        head: File,
        segment: u64,
        records: u64,
        hash: Hash,
    ) -> io::Result<Self> {
        let opening = Opening {
            segment,
            version: VERSION,
            records,
            after: crate::hex::text(&hash),
        };
        let payload = serde_json::to_vec(&opening)?;
        let (frame, hash) = framed(&hash, &payload);
        let path = folder.join(segment_name(segment));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&frame)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            head,
            segment,
            length: frame.len() as u64,
            records,
            hash,
            batch: Vec::new(),
            batch_records: records,
            batch_hash: hash,
            unsynced_since: None,
            failed: None,
        })
    }

    /// Goes on with the last segment. Gives the bytes that were cut off its end; `None` if it is
    /// damaged.
    fn take_up(folder: &Path, segment: u64) -> io::Result<Option<(Self, u64)>> {
        let path = folder.join(segment_name(segment));
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut whole = 0_u64;
        let mut state: Option<(u64, Hash)> = None;
        while let Some((payload, hash, length)) = next_frame(rest) {
            let before = match &state {
                Some((_, before)) => *before,
                None => match serde_json::from_slice::<Opening>(payload) {
                    Ok(opening) if opening.segment == segment => {
                        let Some(after) = crate::hex::read(&opening.after) else {
                            return Ok(None);
                        };
                        state = Some((opening.records, after));
                        after
                    }
                    _ => return Ok(None),
                },
            };
            if framed(&before, payload).1 != hash {
                return Ok(None);
            }
            if let Some((records, before)) = &mut state {
                *before = hash;
                if whole > 0 {
                    *records += 1;
                }
            }
            whole += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        let Some((records, hash)) = state else {
            // Not even its opening is whole: nothing was ever promised of it.
            if segment == 1 && next_length(&bytes).is_some() {
                std::fs::remove_file(folder.join(segment_name(segment)))?;
                return Ok(Some((Self::begin(folder)?, bytes.len() as u64)));
            }
            return Ok(None);
        };
        // What is left must be the beginning of a frame, and no more than one.
        if !rest.is_empty() && next_length(rest).is_none() {
            return Ok(None);
        }
        if is_behind(folder, records)? {
            return Ok(None);
        }
        let cut = rest.len() as u64;
        if cut > 0 {
            file.set_len(whole)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(whole))?;
        let writer = Self {
            folder: folder.to_owned(),
            file,
            head: OpenOptions::new().write(true).open(folder.join(HEAD))?,
            segment,
            length: whole,
            records,
            hash,
            batch: Vec::new(),
            batch_records: records,
            batch_hash: hash,
            unsynced_since: None,
            failed: None,
        };
        Ok(Some((writer, cut)))
    }

    fn run(mut self, waits: &Receiver<Waiting>) {
        loop {
            let first = match self.unsynced_since {
                None => waits.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => waits.recv_timeout(SYNCED_WITHIN.saturating_sub(since.elapsed())),
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.sync_or_fail();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync_or_fail();
                    return;
                }
            };
            let more = std::iter::from_fn(|| waits.try_recv().ok());
            let together: Vec<Waiting> =
                std::iter::once(first).chain(more).take(TOGETHER).collect();
            self.take(together);
            let late = |since: Instant| since.elapsed() >= SYNCED_WITHIN;
            if self.unsynced_since.is_some_and(late) {
                self.sync_or_fail();
            }
        }
    }

    /// Writes what waits, and says so once it holds.
    fn take(&mut self, together: Vec<Waiting>) {
        let mut promised = Vec::new();
        let mut sync = false;
        for waiting in together {
            match self.frame(waiting.record) {
                Ok(number) => {
                    sync |= waiting.durability == Durability::Synced;
                    promised.push((number, waiting.reply));
                }
                Err(error) => {
                    let _ = waiting.reply.send(Err(error));
                }
            }
        }
        let mut done = self.write();
        if done.is_ok() && sync {
            done = self.sync();
        }
        let done = done.map_err(|error| LogError::Failed(error.to_string()));
        for (number, reply) in promised {
            let _ = reply.send(done.clone().map(|()| number));
        }
    }

    fn sync_or_fail(&mut self) {
        if let Err(error) = self.sync() {
            self.failed.get_or_insert(error.to_string());
        }
    }

    /// Adds a record to the batch; its number.
    fn frame(&mut self, record: Record) -> Result<u64, LogError> {
        if let Some(why) = &self.failed {
            return Err(LogError::Failed(why.clone()));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = since.unwrap_or(Duration::ZERO).as_micros();
        let number = self.batch_records + 1;
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
        let (mut frame, hash) = framed(&self.batch_hash, &payload);
        self.batch.append(&mut frame);
        self.batch_records = number;
        self.batch_hash = hash;
        Ok(number)
    }

    /// Writes the batch, all of it or nothing.
    fn write(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        if let Err(error) = self.file.write_all(&batch) {
            // What got through is no part of the log; if it cannot be taken back, neither is anything
            // that would follow.
            let back = self.file.set_len(self.length);
            let back = back.and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            if let Err(error) = back {
                self.failed.get_or_insert(error.to_string());
            }
            self.batch_records = self.records;
            self.batch_hash = self.hash;
            return Err(error);
        }
        self.length += batch.len() as u64;
        self.records = self.batch_records;
        self.hash = self.batch_hash;
        self.unsynced_since.get_or_insert_with(Instant::now);
        if self.length >= SEGMENT_BYTES {
            self.sync()?;
            let next = self.head.try_clone().and_then(|head| {
                let (records, hash) = (self.records, self.hash);
                Self::new_segment(&self.folder, head, self.segment + 1, records, hash)
            });
            match next {
                Ok(next) => *self = next,
                // These records are there; those behind them are refused.
                Err(error) => {
                    self.failed.get_or_insert(error.to_string());
                }
            }
        }
        Ok(())
    }

    /// What was written is on the disk from now on. A disk that could not do so once is not asked
    /// again: what it has is not known.
    fn sync(&mut self) -> io::Result<()> {
        if let Some(why) = &self.failed {
            return Err(io::Error::other(why.clone()));
        }
        let synced = self.file.sync_data();
        let head = head_line(self.records, &self.hash);
        let synced = synced.and_then(|()| self.head.write_all_at(head.as_bytes(), 0));
        self.unsynced_since = None;
        synced.inspect_err(|error| {
            self.failed.get_or_insert(error.to_string());
        })
    }
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
