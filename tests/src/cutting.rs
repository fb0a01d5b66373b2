//! A proxy that carries connections to a server and cuts one of them after so many bytes of answers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Where the proxy cuts, and what it saw.
#[derive(Clone, Default)]
pub struct Cut(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Counting begins with the request that holds this, on its connection alone.
    armed_by: Option<(&'static str, usize)>,
    /// Bytes of answers on any connection that still pass.
    left: Option<usize>,
    cuts: usize,
    resumptions: usize,
}

impl Cut {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cuts once so many bytes of answers have passed from now on, on whatever connections.
    pub fn after(&self, bytes: usize) {
        self.with(|state| state.left = Some(bytes));
    }

    /// Cuts the connection of the first request that holds `words`, so many bytes of answers later.
    pub fn after_request(words: &'static str, bytes: usize) -> Self {
        let cut = Self::default();
        cut.with(|state| state.armed_by = Some((words, bytes)));
        cut
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.with(|state| state.cuts)
    }

    /// How many requests asked for the rest of a stream.
    pub fn resumptions(&self) -> usize {
        self.with(|state| state.resumptions)
    }

    /// Looks at a piece of a request; the count for its connection, if that begins here.
    fn asked(&self, piece: &[u8]) -> Option<usize> {
        let text = String::from_utf8_lossy(piece);
        self.with(|state| {
            if text.to_ascii_lowercase().contains("\r\nlast-event-id:") {
                state.resumptions += 1;
            }
            let arms = state.armed_by.filter(|(words, _)| text.contains(words));
            if arms.is_some() {
                state.armed_by = None;
            }
            arms.map(|(_, bytes)| bytes)
        })
    }

    /// How many of these bytes may pass, if the connection is to be cut after them.
    fn answered(&self, own: &Mutex<Option<usize>>, count: usize) -> Option<usize> {
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = take(&mut own, count).or_else(|| self.with(|state| take(&mut state.left, count)));
        if cut.is_some() {
            self.with(|state| state.cuts += 1);
        }
        cut
    }
}

/// Counts down; what was left if that is less than `count`.
fn take(left: &mut Option<usize>, count: usize) -> Option<usize> {
    match left {
        Some(bytes) if *bytes < count => left.take(),
        Some(bytes) => {
            *bytes -= count;
            None
        }
        None => None,
    }
}

/// Listens, and carries connections to `server` until the runtime ends.
pub async fn proxy(server: SocketAddr, cut: Cut) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let cut = cut.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(server).await else {
                    return;
                };
                let own = Mutex::new(None);
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::select! {
                    _ = ask(near_read, far_write, &cut, &own) => {}
                    _ = answer(far_read, near_write, &cut, &own) => {}
                }
            });
        }
    });
    address
}

async fn ask(
    mut near: OwnedReadHalf,
    mut far: OwnedWriteHalf,
    cut: &Cut,
    own: &Mutex<Option<usize>>,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = near.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if let Some(bytes) = cut.asked(&buffer[..count]) {
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        }
        far.write_all(&buffer[..count]).await?;
    }
}

async fn answer(
    mut far: OwnedReadHalf,
    mut near: OwnedWriteHalf,
    cut: &Cut,
    own: &Mutex<Option<usize>>,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = far.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let stops = cut.answered(own, count);
        near.write_all(&buffer[..stops.unwrap_or(count)]).await?;
        if stops.is_some() {
            return Ok(());
        }
    }
}
