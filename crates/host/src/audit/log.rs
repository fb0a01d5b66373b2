//! A log that is written: records go into their segment where they are appended, and one thread sees to
//! it that the disk has them: at once for those who wait for that, all of them together, and soon for
//! the others.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::audit::SYNCED_WITHIN;
use crate::audit::record::{Kind, Record};
use crate::audit::segments::{Mark, SEGMENT_BYTES, Writer};

/// Records that may wait for the disk.
const WAITING: usize = 1_024;

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
    shared: Arc<Shared>,
    /// The last one that is dropped ends the thread.
    _open: Arc<Open>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    writer: Writer,
    /// Those who wait until the disk has their record.
    waiting: Vec<(u64, oneshot::Sender<Result<u64, LogError>>)>,
    /// Since when the disk does not have everything.
    unsynced_since: Option<Instant>,
    /// What the disk has, and is not noted beside it yet; and when something was noted last.
    unnoted: Option<Mark>,
    noted: Instant,
    /// The thread wakes by itself, soon enough for a record that is written now.
    wakes: bool,
    /// What the disk said last; then nothing more is promised.
    failed: Option<String>,
    closed: bool,
}

impl State {
    fn append(&mut self, record: Record) -> Result<u64, LogError> {
        if let Some(why) = &self.failed {
            return Err(LogError::Failed(why.clone()));
        }
        let number = match self.writer.append(record) {
            Ok(number) => number,
            Err(error) => {
                if self.writer.is_lost() {
                    self.failed.get_or_insert_with(|| error.to_string());
                }
                return Err(error);
            }
        };
        // Whoever fills a segment waits until the disk has it.
        if self.writer.length() >= SEGMENT_BYTES
            && let Err(error) = self.writer.roll()
        {
            // This record is there; those behind it are refused.
            self.failed.get_or_insert_with(|| error.to_string());
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
        Ok(number)
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to be synced and it is time for that; `None` when the log is
    /// closed and the disk has everything.
    fn due(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        // After some work it waits once more for as long as a record may wait, whether there is one or
        // not: as long as records keep coming, writing one wakes nobody.
        let mut lingers = true;
        loop {
            let rest = match state.unsynced_since {
                Some(_) if state.closed || !state.waiting.is_empty() => Duration::ZERO,
                Some(since) => SYNCED_WITHIN.saturating_sub(since.elapsed()),
                None if state.unnoted.is_some() && state.closed => Duration::ZERO,
                None if state.closed => return None,
                None if state.unnoted.is_some() => {
                    SYNCED_WITHIN.saturating_sub(state.noted.elapsed())
                }
                None if std::mem::take(&mut lingers) => SYNCED_WITHIN,
                None => Duration::MAX,
            };
            if rest.is_zero() {
                return Some(state);
            }
            state.wakes = rest != Duration::MAX;
            let waited = match rest {
                Duration::MAX => self.wake.wait(state),
                rest => match self.wake.wait_timeout(state, rest) {
                    Ok((state, _)) => Ok(state),
                    Err(error) => Ok(error.into_inner().0),
                },
            };
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives everything to the disk, again and again. Nobody who appends waits for that.
    fn run(&self) {
        while let Some(mut state) = self.due() {
            let waiting = std::mem::take(&mut state.waiting);
            let is_new = state.unsynced_since.take().is_some();
            let mark = match is_new {
                true => state.writer.mark(),
                false => state.unnoted.take().unwrap_or_else(|| state.writer.mark()),
            };
            let failed = state.failed.clone();
            // Nobody waits for the note, and it need not be made each time: without it a little more of
            // the end could be cut off unseen.
            let notes = state.closed || state.noted.elapsed() >= SYNCED_WITHIN;
            drop(state);
            let synced = match failed {
                Some(why) => Err(why),
                None if is_new => mark.sync_records().map_err(|error| error.to_string()),
                None => Ok(()),
            };
            for (number, reply) in waiting {
                let _ = reply.send(match &synced {
                    Ok(()) => Ok(number),
                    Err(why) => Err(LogError::Failed(why.clone())),
                });
            }
            let noted = synced.and_then(|()| match notes {
                true => mark.note().map_err(|error| error.to_string()),
                false => Ok(()),
            });
            let mut state = self.lock();
            match (noted, notes) {
                (Ok(()), true) => {
                    state.noted = Instant::now();
                    state.unnoted = None;
                }
                (Ok(()), false) => state.unnoted = Some(mark),
                // A disk that could not do so once is not asked again: what it has is not known.
                (Err(why), _) => {
                    state.failed.get_or_insert(why);
                    state.unnoted = None;
                }
            }
        }
    }
}

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
            writer.append(record).map_err(io::Error::other)?;
            writer.mark().sync()?;
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                writer,
                waiting: Vec::new(),
                unsynced_since: None,
                unnoted: None,
                noted: Instant::now(),
                wakes: false,
                failed: None,
                closed: false,
            }),
            wake: Condvar::new(),
        });
        let syncing = shared.clone();
        std::thread::Builder::new()
            .name("compere-audit".to_owned())
            .spawn(move || syncing.run())?;
        let log = Self {
            _open: Arc::new(Open(shared.clone())),
            shared,
        };
        Ok((log, opened))
    }

    /// The number of the last record; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.shared.lock().writer.last()
    }

    /// Appends a record and gives its number, once it is there.
    ///
    /// Cancel safety: the record is written although nobody waits for it.
    pub async fn append(&self, record: Record, durability: Durability) -> Result<u64, LogError> {
        if durability == Durability::Written {
            return self.write(record);
        }
        let replied = {
            let mut state = self.shared.lock();
            if state.waiting.len() >= WAITING {
                return Err(LogError::Full);
            }
            let number = state.append(record)?;
            let (reply, replied) = oneshot::channel();
            state.waiting.push((number, reply));
            replied
        };
        // Whoever is woken finds the lock free.
        self.shared.wake.notify_one();
        replied.await.unwrap_or(Err(LogError::Closed))
    }

    /// Appends a record and gives its number. The system has it when this returns, and the disk soon
    /// after.
    pub fn write(&self, record: Record) -> Result<u64, LogError> {
        let mut state = self.shared.lock();
        let wakes = state.wakes;
        let number = state.append(record)?;
        drop(state);
        if !wakes {
            self.shared.wake.notify_one();
        }
        Ok(number)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}
