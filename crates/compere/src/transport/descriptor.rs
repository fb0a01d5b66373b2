//! A file descriptor as half of a byte stream, whatever it is: pipe, socket, terminal or file.
//!
//! Pipes and sockets are made non-blocking and watched, which costs one system call per read and
//! none to find out that nothing is there. What cannot be watched (files), or is shared with the
//! person's shell (terminals), is read on a thread of its own and written directly.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Size of a pipe once large messages pass through it; the most that everyone may ask for.
const LARGE_PIPE_BYTES: usize = 1024 * 1024;
/// A transfer of this size counts as large: it fills a pipe of the default size.
const LARGE_TRANSFER_BYTES: usize = 64 * 1024;
/// What the reading thread takes at once.
const THREAD_READ_BYTES: usize = 64 * 1024;

/// A descriptor that was made non-blocking, and how it was before. The flags belong to the open
/// file that other processes may share, so they are put back.
#[derive(Debug)]
pub(crate) struct NonBlocking {
    descriptor: OwnedFd,
    before: OFlags,
}

impl NonBlocking {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let before = fcntl_getfl(&descriptor)?;
        fcntl_setfl(&descriptor, before | OFlags::NONBLOCK)?;
        Ok(Self { descriptor, before })
    }
}

impl Drop for NonBlocking {
    fn drop(&mut self) {
        let _ = fcntl_setfl(&self.descriptor, self.before);
    }
}

impl std::os::fd::AsRawFd for NonBlocking {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// The safe constructor is deprecated because it takes types that may close their descriptor while
/// it is watched. [`NonBlocking`] owns its descriptor for as long as it lives, which is what the
/// unsafe replacement asks for; with unsafe code forbidden here, the safe one stays.
#[allow(deprecated)]
fn watch<T: std::os::fd::AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}

fn is_watchable(descriptor: &OwnedFd) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(fstat(descriptor)?.st_mode);
    Ok(matches!(kind, FileType::Fifo | FileType::Socket))
}

fn widen(descriptor: impl AsFd, widened: &mut bool, transferred: usize) {
    if transferred >= LARGE_TRANSFER_BYTES && !*widened {
        *widened = true;
        // Fails for sockets, and where the system's quota for pipes is used up. Then it stays.
        let _ = rustix::pipe::fcntl_setpipe_size(descriptor, LARGE_PIPE_BYTES);
    }
}

/// The reading half.
#[derive(Debug)]
pub(crate) enum Reader {
    Watched {
        descriptor: AsyncFd<NonBlocking>,
        widened: bool,
    },
    Thread {
        chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
        rest: Vec<u8>,
        taken: usize,
    },
}

impl Reader {
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        if is_watchable(&descriptor)? {
            let descriptor = NonBlocking::new(descriptor)?;
            return Ok(Self::Watched {
                descriptor: watch(descriptor, Interest::READABLE)?,
                widened: false,
            });
        }
        let (sender, chunks) = mpsc::channel(2);
        std::thread::Builder::new()
            .name("compere-stdin".to_owned())
            .spawn(move || read_on_thread(&descriptor, &sender))?;
        Ok(Self::Thread {
            chunks,
            rest: Vec::new(),
            taken: 0,
        })
    }

    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Watched {
                descriptor,
                widened,
            } => loop {
                let mut guard = ready!(descriptor.poll_read_ready(context))?;
                let inner = &guard.get_inner().descriptor;
                match rustix::io::read(inner, &mut *buffer) {
                    Ok(count) => {
                        widen(inner, widened, count);
                        // Less than asked for: the pipe is empty, and the next byte will be
                        // announced. Asking again now would only tell us so.
                        if count > 0 && count < buffer.len() {
                            guard.clear_ready();
                        }
                        return Poll::Ready(Ok(count));
                    }
                    Err(Errno::AGAIN) => guard.clear_ready(),
                    Err(Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            },
            Self::Thread {
                chunks,
                rest,
                taken,
            } => {
                while *taken == rest.len() {
                    match ready!(chunks.poll_recv(context)) {
                        Some(chunk) => (*rest, *taken) = (chunk?, 0),
                        None => return Poll::Ready(Ok(0)),
                    }
                }
                let count = buffer.len().min(rest.len() - *taken);
                buffer[..count].copy_from_slice(&rest[*taken..*taken + count]);
                *taken += count;
                Poll::Ready(Ok(count))
            }
        }
    }
}

/// Reads until the end or until nobody listens. Ends with the process at the latest: a blocking
/// read of a terminal cannot be called off.
fn read_on_thread(descriptor: &OwnedFd, sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; THREAD_READ_BYTES];
        match rustix::io::read(descriptor, &mut chunk[..]) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                if sender.blocking_send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                let _ = sender.blocking_send(Err(error.into()));
                return;
            }
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub(crate) enum Writer {
    Watched {
        descriptor: AsyncFd<NonBlocking>,
        widened: bool,
    },
    Direct(OwnedFd),
}

impl Writer {
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        if is_watchable(&descriptor)? {
            let descriptor = NonBlocking::new(descriptor)?;
            return Ok(Self::Watched {
                descriptor: watch(descriptor, Interest::WRITABLE)?,
                widened: false,
            });
        }
        Ok(Self::Direct(descriptor))
    }

    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Watched {
                descriptor,
                widened,
            } => loop {
                let mut guard = ready!(descriptor.poll_write_ready(context))?;
                let inner = &guard.get_inner().descriptor;
                widen(inner, widened, bytes.len());
                match rustix::io::write(inner, bytes) {
                    Ok(count) => return Poll::Ready(Ok(count)),
                    Err(Errno::AGAIN) => guard.clear_ready(),
                    Err(Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            },
            Self::Direct(descriptor) => loop {
                match rustix::io::write(&*descriptor, bytes) {
                    Ok(count) => return Poll::Ready(Ok(count)),
                    Err(Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            },
        }
    }
}
