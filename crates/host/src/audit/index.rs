//! An index of a log, to find records without reading all of it.
//!
//! It is made from the segments by whoever searches, and holds nothing that they do not hold: it may be
//! deleted at any time, and what it finds is read from the segments. The host that writes the log knows
//! nothing of it. Whether the records are what was written is for [`verify`](crate::audit::verify()) to
//! say.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, TransactionBehavior, params};

use crate::audit::format::{HASH_BYTES, LENGTH_BYTES, PAYLOAD_BYTES, segment_name};
use crate::audit::read::{Position, Reader};
use crate::audit::record::{Kind, Numbered, Record};

/// The version of the tables.
const VERSION: i64 = 2;
/// How long another search that brings the index up to date is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Records that are brought in at once.
const AT_ONCE: usize = 10_000;

const TABLES: &str = "
CREATE TABLE records (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    app TEXT NOT NULL,
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    of INTEGER,
    micros INTEGER,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL
);
CREATE INDEX by_app ON records (app, number);
CREATE INDEX by_server ON records (server, name, number);
CREATE INDEX by_time ON records (at);
CREATE INDEX by_of ON records (of) WHERE of IS NOT NULL;
CREATE VIRTUAL TABLE words USING fts5 (said, content='', tokenize='unicode61 remove_diacritics 0');
CREATE TABLE up_to (segment INTEGER NOT NULL, offset INTEGER NOT NULL, hash BLOB NOT NULL);
";

/// An index of a log.
pub struct Index {
    connection: Connection,
    log: PathBuf,
    up_to: Position,
}

/// What is searched for; what is not said may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Of this app.
    pub app: Option<String>,
    /// Of this server.
    pub server: Option<String>,
    /// Of this tool, prompt or resource.
    pub name: Option<String>,
    /// Of one of these kinds.
    pub kinds: Vec<Kind>,
    /// No older than this, in microseconds since 1970.
    pub since: u64,
    /// With all of these words, or words that begin so, in what was asked, decided or came of it.
    pub words: Option<String>,
}

/// When something was done, and how long it took, for a plot of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// When, in microseconds since 1970.
    pub at: u64,
    /// How long it took, in microseconds; `None` if it was not done, or is not yet.
    pub micros: Option<u64>,
}

/// Why an index cannot be used. The log can be read without it.
#[derive(Debug)]
pub enum IndexError {
    /// What keeps it says this.
    Index(rusqlite::Error),
    /// The log or the file of the index cannot be read or written.
    File(io::Error),
    /// What it leads to is not what it was made from.
    Misleading,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(error) => write!(f, "the index cannot be used: {error}"),
            Self::File(error) => error.fmt(f),
            Self::Misleading => f.write_str("the log was changed after its index was made"),
        }
    }
}

impl std::error::Error for IndexError {}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl Search {
    /// Is nothing left out?
    pub fn is_for_all(&self) -> bool {
        *self == Self::default()
    }

    /// Is the record one of those? For records that come after the index; it finds the same.
    pub fn fits(&self, found: &Numbered) -> bool {
        let record = &found.record;
        let fits =
            |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|asked| asked == is);
        let is_kind = |kind: Kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        found.at >= self.since
            && record.kind.is_none_or(is_kind)
            && fits(&self.app, &record.app)
            && fits(&self.server, &record.server)
            && fits(&self.name, &record.name)
            && self.words.as_ref().is_none_or(|words| {
                let all = parts(&text(record));
                words
                    .split_whitespace()
                    .all(|word| stands_in(&all, &parts(word)))
            })
    }
}

impl Index {
    /// Opens the index at `path` of the log in the folder `log`, and brings it up to date. An index that
    /// is damaged, or is that of another log, is made anew. `progress` is told how many records were
    /// brought in so far.
    pub fn open(
        path: &Path,
        log: &Path,
        mut progress: impl FnMut(usize),
    ) -> Result<Self, IndexError> {
        let index = match Self::of(opened(path)?, log) {
            Ok(Some(index)) => index,
            // It holds nothing that the log does not hold.
            Ok(None) | Err(IndexError::Index(_)) => {
                std::fs::remove_file(path)?;
                Self::of(opened(path)?, log)?.ok_or(IndexError::Misleading)?
            }
            Err(error) => return Err(error),
        };
        index.caught_up(&mut progress)
    }

    /// The same, and it is kept nowhere.
    pub fn in_memory(log: &Path, mut progress: impl FnMut(usize)) -> Result<Self, IndexError> {
        let index = Self::of(Connection::open_in_memory()?, log)?;
        index
            .ok_or(IndexError::Misleading)?
            .caught_up(&mut progress)
    }

    /// `None` if it is not one of this log.
    fn of(mut connection: Connection, log: &Path) -> Result<Option<Self>, IndexError> {
        connection.busy_timeout(PATIENCE)?;
        // What is lost with the power is made again.
        connection.pragma_update(None, "synchronous", "OFF")?;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            change.execute_batch(TABLES)?;
            change.pragma_update(None, "user_version", VERSION)?;
        } else if version != VERSION {
            return Ok(None);
        }
        change.commit()?;
        let up_to = noted(&connection)?;
        let up_to = match up_to {
            None => Position::default(),
            Some((up_to, hash)) if hash_before(log, up_to)?.as_ref() == Some(&hash) => up_to,
            Some(_) => return Ok(None),
        };
        Ok(Some(Self {
            connection,
            log: log.to_owned(),
            up_to,
        }))
    }

    fn caught_up(mut self, progress: &mut impl FnMut(usize)) -> Result<Self, IndexError> {
        let mut reader = Reader::at(&self.log, self.up_to);
        let mut count = 0;
        loop {
            // One at a time; another one may have been faster.
            let change = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some((up_to, _)) = noted(&change)?
                && up_to != self.up_to
            {
                self.up_to = up_to;
                reader = Reader::at(&self.log, up_to);
            }
            let mut some = 0;
            {
                let mut record = change.prepare(
                    "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?;
                let mut words =
                    change.prepare("INSERT INTO words (rowid, said) VALUES (?1, ?2)")?;
                while some < AT_ONCE {
                    let Some(found) = reader.next_record()? else {
                        break;
                    };
                    let at = reader.found_at();
                    let said = &found.record;
                    record.execute(params![
                        number(found.number),
                        number(found.at),
                        said.kind.map_or("", Kind::as_str),
                        said.app,
                        said.server,
                        said.name,
                        said.of.map(number),
                        said.micros.map(number),
                        number(at.segment),
                        number(at.offset),
                    ])?;
                    words.execute(params![number(found.number), text(said)])?;
                    some += 1;
                }
            }
            if some == 0 {
                drop(change);
                return Ok(self);
            }
            let up_to = reader.position();
            let hash = hash_before(&self.log, up_to)?.ok_or(IndexError::Misleading)?;
            change.execute("DELETE FROM up_to", [])?;
            change.execute(
                "INSERT INTO up_to VALUES (?1, ?2, ?3)",
                params![number(up_to.segment), number(up_to.offset), hash],
            )?;
            change.commit()?;
            self.up_to = up_to;
            count += some;
            progress(count);
        }
    }

    /// How far the log is in it. A [`Reader`] goes on from there.
    pub fn up_to(&self) -> Position {
        self.up_to
    }

    /// Finds records, oldest first, and gives each to `each` as it stands in the log, for as long as that
    /// says `true`.
    pub fn search(
        &self,
        search: &Search,
        mut each: impl FnMut(Numbered) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        let asked = Asked::of(search);
        let query = format!("{FOUND} WHERE {} ORDER BY number", asked.condition);
        self.found(&query, &asked.values, &mut each)
    }

    /// Finds records, newest first, at most so many, and only those before a number if one is given.
    pub fn newest(
        &self,
        search: &Search,
        before: Option<u64>,
        count: usize,
    ) -> Result<Vec<Numbered>, IndexError> {
        let mut asked = Asked::of(search);
        asked.condition.push_str(" AND number < ?");
        asked.values.push(Box::new(before.map_or(i64::MAX, number)));
        let query = format!(
            "{FOUND} WHERE {} ORDER BY number DESC LIMIT {count}",
            asked.condition
        );
        let mut records = Vec::new();
        self.found(&query, &asked.values, &mut |record| {
            records.push(record);
            Ok(true)
        })?;
        Ok(records)
    }

    /// What came of intents, by their numbers.
    pub fn outcomes(&self, of: &[u64]) -> Result<BTreeMap<u64, Numbered>, IndexError> {
        let places = vec!["?"; of.len()].join(", ");
        let query = format!("{FOUND} WHERE of IN ({places}) AND kind = 'outcome'");
        let values = of.iter().map(|of| Box::new(number(*of)) as Box<dyn ToSql>);
        let mut outcomes = BTreeMap::new();
        self.found(&query, &values.collect::<Vec<_>>(), &mut |record| {
            if let Some(of) = record.record.of {
                outcomes.insert(of, record);
            }
            Ok(true)
        })?;
        Ok(outcomes)
    }

    /// When the last of what was found was, and how long it took, or what came of it: newest first, at most
    /// so many.
    pub fn pace(&self, search: &Search, count: usize) -> Result<Vec<Done>, IndexError> {
        let asked = Asked::of(search);
        let query = format!(
            "SELECT records.at, coalesce(done.micros, records.micros) FROM records
             LEFT JOIN records AS done ON done.of = records.number AND done.kind = 'outcome'
             WHERE {} ORDER BY records.number DESC LIMIT {count}",
            asked.condition
        );
        let mut statement = self.connection.prepare(&query)?;
        let values: Vec<&dyn ToSql> = asked.values.iter().map(AsRef::as_ref).collect();
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let done = statement.query_map(&values[..], |row| {
            Ok(Done {
                at: unsigned(row.get(0)?),
                micros: row.get::<_, Option<i64>>(1)?.map(unsigned),
            })
        })?;
        Ok(done.collect::<rusqlite::Result<_>>()?)
    }

    /// The names that stand in the log: of apps and of servers.
    pub fn names(&self) -> Result<(Vec<String>, Vec<String>), IndexError> {
        let all = |column: &str| {
            let query = format!(
                "SELECT DISTINCT {column} FROM records WHERE {column} != '' ORDER BY {column} LIMIT 500"
            );
            let mut statement = self.connection.prepare(&query)?;
            let names = statement.query_map([], |row| row.get(0))?;
            names.collect::<rusqlite::Result<Vec<String>>>()
        };
        Ok((all("app")?, all("server")?))
    }

    fn found(
        &self,
        query: &str,
        values: &[Box<dyn ToSql>],
        each: &mut dyn FnMut(Numbered) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        let mut statement = self.connection.prepare(query)?;
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
        let mut rows = statement.query(&values[..])?;
        let mut open: Option<(u64, File)> = None;
        while let Some(row) = rows.next()? {
            let at = position(row.get(1)?, row.get(2)?);
            let file = match &open {
                Some((segment, file)) if *segment == at.segment => file,
                _ => {
                    let file = File::open(self.log.join(segment_name(at.segment)))?;
                    &open.insert((at.segment, file)).1
                }
            };
            let found = record_at(file, at.offset)?;
            if number(found.number) != row.get::<_, i64>(0)? {
                return Err(IndexError::Misleading);
            }
            if !each(found)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What every search for records begins with.
const FOUND: &str = "SELECT number, segment, offset FROM records";

/// A search as the index understands it.
struct Asked {
    condition: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Asked {
    fn of(search: &Search) -> Self {
        let mut condition = "records.at >= ?".to_owned();
        let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(number(search.since))];
        for (column, value) in [
            ("app", &search.app),
            ("server", &search.server),
            ("name", &search.name),
        ] {
            if let Some(value) = value {
                let _ = write!(condition, " AND records.{column} = ?");
                values.push(Box::new(value.clone()));
            }
        }
        if !search.kinds.is_empty() {
            let places = vec!["?"; search.kinds.len()].join(", ");
            let _ = write!(condition, " AND records.kind IN ({places})");
            let kinds = search.kinds.iter();
            values.extend(kinds.map(|kind| Box::new(kind.as_str()) as Box<dyn ToSql>));
        }
        if let Some(words) = search.words.as_deref().and_then(literal) {
            condition
                .push_str(" AND records.number IN (SELECT rowid FROM words WHERE words MATCH ?)");
            values.push(Box::new(words));
        }
        Self { condition, values }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("log", &self.log)
            .field("up_to", &self.up_to)
            .finish_non_exhaustive()
    }
}

/// Opens the file of an index, for its owner alone.
fn opened(path: &Path) -> Result<Connection, IndexError> {
    // Before anything stands in it.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Ok(Connection::open_with_flags(path, flags)?)
}

/// How far the log is in it, and the hash that ends there.
fn noted(connection: &Connection) -> rusqlite::Result<Option<(Position, Vec<u8>)>> {
    connection
        .query_row("SELECT segment, offset, hash FROM up_to", [], |row| {
            Ok((position(row.get(0)?, row.get(1)?), row.get(2)?))
        })
        .optional()
}

/// There are no numbers without a sign in the tables.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn position(segment: i64, offset: i64) -> Position {
    Position {
        segment: u64::try_from(segment).unwrap_or_default(),
        offset: u64::try_from(offset).unwrap_or_default(),
    }
}

/// The hash at the end of the frame before this place, if there is one.
fn hash_before(log: &Path, at: Position) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(log.join(segment_name(at.segment))) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(begin) = at.offset.checked_sub(HASH_BYTES as u64) else {
        return Ok(None);
    };
    let mut hash = vec![0; HASH_BYTES];
    match file.read_exact_at(&mut hash, begin) {
        Ok(()) => Ok(Some(hash)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn record_at(file: &File, offset: u64) -> Result<Numbered, IndexError> {
    let mut length = [0; LENGTH_BYTES];
    let misleading = |_| IndexError::Misleading;
    file.read_exact_at(&mut length, offset)
        .map_err(misleading)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let mut payload = vec![0; length.min(PAYLOAD_BYTES)];
    let begin = offset + LENGTH_BYTES as u64;
    file.read_exact_at(&mut payload, begin)
        .map_err(misleading)?;
    serde_json::from_slice(&payload).map_err(|_| IndexError::Misleading)
}

/// All of a record in which words are looked for.
fn text(record: &Record) -> String {
    let said = [
        &record.app,
        &record.server,
        &record.method,
        &record.name,
        &record.view,
        &record.rule,
        &record.approver,
        &record.outcome,
    ];
    said.map(String::as_str).join("\n")
}

/// Words of a person as words, whatever signs stand in them; `None` if there are none.
fn literal(words: &str) -> Option<String> {
    let words: Vec<String> = words
        .split_whitespace()
        .filter(|word| word.contains(char::is_alphanumeric))
        .map(|word| format!("\"{}\"*", word.replace('"', "\"\"")))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The parts of a text that are words to the index.
fn parts(text: &str) -> Vec<String> {
    text.split(|sign: char| !sign.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Do these parts stand there, one after the other, the last one as a beginning?
fn stands_in(all: &[String], wanted: &[String]) -> bool {
    let Some((last, first)) = wanted.split_last() else {
        return true;
    };
    all.windows(wanted.len()).any(|window| {
        let begins = window.last().is_some_and(|part| part.starts_with(last));
        begins && window.iter().zip(first).all(|(is, wanted)| is == wanted)
    })
}
