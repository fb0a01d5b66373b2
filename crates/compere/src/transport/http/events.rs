//! Reads a stream of server-sent events, in pieces as they come.
//!
//! Lines end with LF, CR or both; events with an empty line. Bounded: an event larger than the
//! bound is an error, whatever its lines are.
//!
//! Spec: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::time::Duration;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its kind; `message` if it says nothing.
    pub name: String,
    /// Its data, lines joined.
    pub data: Vec<u8>,
}

/// An event is larger than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// The state of a stream between its pieces.
#[derive(Debug)]
pub struct EventReader {
    limit: usize,
    line: Vec<u8>,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Nothing was read yet: a byte order mark may stand here.
    at_start: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    /// The id of the event that is being read.
    id: Option<String>,
    /// The id of the last event that was whole: one that was cut short was not received.
    last_id: Option<String>,
    retry: Option<Duration>,
}

impl EventReader {
    /// A reader of events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            id: None,
            last_id: None,
            retry: None,
        }
    }

    /// The id of the last whole event that had one.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long to wait before coming back, as the server said last.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The stream begins anew: what was not whole is forgotten, the last id is kept.
    pub fn restart(&mut self) {
        let (limit, last_id, retry) = (self.limit, self.last_id.take(), self.retry);
        *self = Self::new(limit);
        self.id.clone_from(&last_id);
        self.last_id = last_id;
        self.retry = retry;
    }

    /// Reads a piece and gives the events that it completes.
    pub fn read(&mut self, piece: &[u8], mut each: impl FnMut(Event)) -> Result<(), TooLarge> {
        let mut rest = piece;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(after) = rest.strip_prefix(b"\n")
            {
                rest = after;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, ended) = match end {
                Some(end) => {
                    let (part, from) = rest.split_at(end);
                    self.after_cr = from.first() == Some(&b'\r');
                    rest = from.get(1..).unwrap_or_default();
                    (part, true)
                }
                None => (std::mem::take(&mut rest), false),
            };
            if self.line.len() + self.data.len() + part.len() > self.limit {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            if ended && let Some(event) = self.end_line() {
                each(event);
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return None,
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, b"".as_slice()),
        };
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"id" if !value.contains(&0) => {
                self.id = String::from_utf8(value.to_vec())
                    .ok()
                    .filter(|id| !id.is_empty());
            }
            b"retry" => {
                self.retry = std::str::from_utf8(value)
                    .ok()
                    .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Duration::from_millis)
                    .or(self.retry);
            }
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        if self.id != self.last_id {
            self.last_id.clone_from(&self.id);
        }
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        Some(Event {
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data,
        })
    }
}
