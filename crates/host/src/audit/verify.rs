//! Checks a log, and names the first record that is not what was written. Reads the folder by
//! [`format`](crate::audit::format) alone: none of it is the writer's code.

use std::fmt::{self, Write};
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::audit::format::{
    BEGINNING, HASH_BYTES, HEAD, LENGTH_BYTES, PAYLOAD_BYTES, VERSION, segment_name,
};

/// What a log that is in order holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many segments.
    pub segments: u64,
    /// How many records.
    pub records: u64,
    /// The last hash.
    pub hash: [u8; HASH_BYTES],
    /// Bytes of a frame that was not finished stand at the end: the writer was stopped in the middle
    /// of it, and nobody was told that it is there. It is cut off when the log is opened again.
    pub unfinished: u64,
}

impl Summary {
    /// What to keep elsewhere: the number of the last record, and its hash.
    pub fn checkpoint(&self) -> String {
        format!("{} {}", self.records, hex(&self.hash))
    }
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The segment.
    pub segment: u64,
    /// The number that the record at fault has, or would have.
    pub record: u64,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            record,
            why,
        } = self;
        write!(f, "segment {segment}, record {record}: {why}")
    }
}

impl std::error::Error for Broken {}

/// What every payload begins with, as far as this looks.
#[derive(Deserialize)]
struct Payload {
    number: Option<u64>,
    segment: Option<u64>,
    version: Option<u64>,
    records: Option<u64>,
    after: Option<String>,
}

/// A frame, or why there is none.
enum Frame {
    Whole(Vec<u8>, [u8; HASH_BYTES]),
    /// The file ends here.
    End,
    /// It ends in the middle of a frame; so many bytes of it are there.
    Cut(u64),
    TooLong(usize),
}

/// Checks all of a log. `checkpoints` were kept elsewhere: numbers of records, and their hashes in hex.
pub fn verify(folder: &Path, checkpoints: &[(u64, String)]) -> Result<Summary, Broken> {
    let mut summary = Summary {
        segments: 0,
        records: 0,
        hash: Sha256::digest(BEGINNING).into(),
        unfinished: 0,
    };
    let mut marks: Vec<(u64, String)> = checkpoints.to_vec();
    marks.push(head(folder)?);
    let beginning = hex(&summary.hash);
    if marks
        .iter()
        .any(|(number, hash)| *number == 0 && *hash != beginning)
    {
        let why = "what was noted of its beginning is not its beginning".to_owned();
        return Err(broken(&summary, 1, why));
    }
    loop {
        let number = summary.segments + 1;
        let path = folder.join(segment_name(number));
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(broken(&summary, number, error.to_string())),
        };
        if summary.unfinished > 0 {
            let why = "a segment follows one whose end is cut off".to_owned();
            return Err(broken(&summary, number, why));
        }
        segment(BufReader::new(file), number, &mut summary, &marks)?;
        summary.segments = number;
    }
    // A later segment without the one before it: that one was taken away.
    let missing = summary.segments + 1;
    let listed =
        std::fs::read_dir(folder).map_err(|error| broken(&summary, 1, error.to_string()))?;
    let later = listed.flatten().any(|entry| {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        number.is_some_and(|number| number.parse::<u64>().is_ok_and(|number| number > missing))
    });
    if later {
        let why = "the segment is missing, and there are later ones".to_owned();
        return Err(broken(&summary, missing, why));
    }
    if let Some((number, _)) = marks.iter().find(|(number, _)| *number > summary.records) {
        let why = format!("the log ends here, and had {number} records");
        return Err(broken(&summary, summary.segments.max(1), why));
    }
    Ok(summary)
}

fn segment(
    mut reader: impl Read,
    number: u64,
    summary: &mut Summary,
    marks: &[(u64, String)],
) -> Result<(), Broken> {
    let mut is_opening = true;
    loop {
        let (payload, hash) = match frame(&mut reader) {
            Ok(Frame::Whole(payload, hash)) => (payload, hash),
            Ok(Frame::End) if is_opening => {
                summary.unfinished = 1;
                return Ok(());
            }
            Ok(Frame::End) => return Ok(()),
            Ok(Frame::Cut(bytes)) => {
                summary.unfinished = bytes;
                return Ok(());
            }
            Ok(Frame::TooLong(length)) => {
                let why = format!("a length of {length} bytes is none");
                return Err(broken(summary, number, why));
            }
            Err(error) => return Err(broken(summary, number, error.to_string())),
        };
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut chained = Sha256::new();
        chained.update(summary.hash);
        chained.update(length.to_le_bytes());
        chained.update(&payload);
        let chained: [u8; HASH_BYTES] = chained.finalize().into();
        if chained != hash {
            let why = "its hash does not follow from what stands before it".to_owned();
            return Err(broken(summary, number, why));
        }
        let said: Option<Payload> = serde_json::from_slice(&payload).ok();
        let in_order = said.is_some_and(|said| match is_opening {
            true => {
                said.segment == Some(number)
                    && said.version == Some(VERSION)
                    && said.records == Some(summary.records)
                    && said.after == Some(hex(&summary.hash))
            }
            false => said.number == Some(summary.records + 1),
        });
        if !in_order {
            let why = "it is not the one that comes here".to_owned();
            return Err(broken(summary, number, why));
        }
        if !is_opening {
            let record = summary.records + 1;
            let differs = |(marked, kept): &(u64, String)| {
                *marked == record && !kept.eq_ignore_ascii_case(&hex(&hash))
            };
            if marks.iter().any(differs) {
                let why = "it is not the one that was noted elsewhere".to_owned();
                return Err(broken(summary, number, why));
            }
            summary.records = record;
        }
        summary.hash = hash;
        is_opening = false;
    }
}

fn frame(reader: &mut impl Read) -> std::io::Result<Frame> {
    let mut length = [0; LENGTH_BYTES];
    let read = fill(reader, &mut length)?;
    if read == 0 {
        return Ok(Frame::End);
    }
    if read < LENGTH_BYTES {
        return Ok(Frame::Cut(read as u64));
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > PAYLOAD_BYTES {
        return Ok(Frame::TooLong(length));
    }
    let mut payload = vec![0; length];
    let read = fill(reader, &mut payload)?;
    let mut hash = [0; HASH_BYTES];
    let of_hash = match read == length {
        true => fill(reader, &mut hash)?,
        false => 0,
    };
    if of_hash < HASH_BYTES {
        return Ok(Frame::Cut((LENGTH_BYTES + read + of_hash) as u64));
    }
    Ok(Frame::Whole(payload, hash))
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn head(folder: &Path) -> Result<(u64, String), Broken> {
    let wrong = |why: String| Broken {
        segment: 0,
        record: 0,
        why,
    };
    let text = match std::fs::read_to_string(folder.join(HEAD)) {
        Ok(text) => text,
        Err(error) => return Err(wrong(format!("`{HEAD}`: {error}"))),
    };
    let parsed = text.strip_suffix('\n').and_then(|line| {
        let (number, hash) = line.split_once(' ')?;
        let digits = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
        let low = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_hash = hash.len() == 2 * HASH_BYTES && hash.bytes().all(low);
        let number = number.parse().ok().filter(|_| digits)?;
        Some((number, is_hash.then(|| hash.to_owned())?))
    });
    match parsed {
        Some(parsed) => Ok(parsed),
        None => Err(wrong(format!("`{HEAD}` does not say what it is to say"))),
    }
}

fn broken(summary: &Summary, segment: u64, why: String) -> Broken {
    Broken {
        segment,
        record: summary.records + 1,
        why,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
