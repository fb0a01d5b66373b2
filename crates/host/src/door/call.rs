//! The other side of the door: how a command reaches the host that runs.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::door::{Hello, LINE_BYTES, Order, Reply, TOKEN, VERSION, socket};

/// How long the host may take for an order.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the host cannot be reached.
#[derive(Debug)]
pub enum DoorError {
    /// None is running with this state.
    NotRunning,
    /// It does not let us in; why.
    Refused(String),
    /// It broke off.
    Io(io::Error),
}

impl std::fmt::Display for DoorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no host is running"),
            Self::Refused(why) => write!(f, "the host does not let this in: {why}"),
            Self::Io(error) => write!(f, "the host cannot be reached: {error}"),
        }
    }
}

impl std::error::Error for DoorError {}

impl From<io::Error> for DoorError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A way to give orders to the host that runs.
#[derive(Debug)]
pub struct Connection {
    lines: BufReader<UnixStream>,
}

impl Connection {
    /// Comes in.
    pub fn open(state: &Path) -> Result<Self, DoorError> {
        enter(state, None, &[]).map(|lines| Self { lines })
    }

    /// Gives an order and waits for the reply.
    pub fn order(&mut self, order: &Order) -> Result<Reply, DoorError> {
        self.lines.get_ref().set_read_timeout(Some(PATIENCE))?;
        self.give(order)?;
        self.next()
    }

    /// Gives an order; the replies are taken with [`Connection::next`].
    pub fn give(&mut self, order: &Order) -> Result<(), DoorError> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::from)?;
        line.push(b'\n');
        self.lines.get_mut().write_all(&line)?;
        Ok(())
    }

    /// The next reply, for as long as that takes.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Reply, DoorError> {
        reply(&mut self.lines)
    }

    /// Waits for replies for ever, not only as long as an order takes.
    pub fn be_patient(&mut self) -> Result<(), DoorError> {
        Ok(self.lines.get_ref().set_read_timeout(None)?)
    }
}

/// Hands an app's standard input and output to the host. What comes back ends when the host is done
/// with it.
pub fn connect_app(
    state: &Path,
    name: Option<&str>,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> Result<impl Read + use<>, DoorError> {
    let lines = enter(state, Some(name), &[input, output])?;
    lines.get_ref().set_read_timeout(None)?;
    Ok(lines)
}

fn enter(
    state: &Path,
    app: Option<Option<&str>>,
    along: &[BorrowedFd<'_>],
) -> Result<BufReader<UnixStream>, DoorError> {
    let stream = match UnixStream::connect(socket(state)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(DoorError::NotRunning);
        }
        Err(error) => return Err(error.into()),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let token = match std::fs::read_to_string(state.join(TOKEN)) {
        Ok(token) => token.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DoorError::NotRunning);
        }
        Err(error) => return Err(error.into()),
    };
    let hello = Hello {
        compere: VERSION.to_owned(),
        token,
        app: app.flatten().map(str::to_owned),
        is_app: app.is_some(),
    };
    let mut line = serde_json::to_vec(&hello).map_err(io::Error::from)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !along.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(along));
    }
    let sent = rustix::net::sendmsg(
        &stream,
        &[IoSlice::new(&line)],
        &mut beside,
        SendFlags::NOSIGNAL,
    );
    let sent = sent.map_err(io::Error::from)?;
    let mut lines = BufReader::new(stream);
    lines
        .get_mut()
        .write_all(line.get(sent..).unwrap_or_default())?;
    match reply(&mut lines)? {
        Reply::Welcome(_) => Ok(lines),
        Reply::Refused(why) => Err(DoorError::Refused(why)),
        other => Err(DoorError::Refused(format!("it said {other:?}"))),
    }
}

fn reply(lines: &mut BufReader<UnixStream>) -> Result<Reply, DoorError> {
    let mut text = Vec::new();
    let limit = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX);
    let count = lines.take(limit).read_until(b'\n', &mut text)?;
    if count == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_slice(&text).map_err(|error| io::Error::from(error).into())
}
