//! Listening on an address and serving each connection, until it is told to stop.
//!
//! A connection whose client sends the head of a request too slowly, or takes nothing for too
//! long, is closed. HTTP/1.1 only: the transports of this protocol need no more, and what is not
//! spoken cannot be flooded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use compere_proto::Limits;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::error::{Error, ErrorKind, Result};
use crate::server::handle::ServerHandle;
use crate::server::http::endpoint::HttpService;

/// How long open connections may go on after sessions have ended.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a connection may be open without a request.
const IDLE: Duration = Duration::from_secs(75);

/// A listener that is bound, before it serves.
pub struct HttpListener {
    listener: TcpListener,
    service: HttpService,
}

impl HttpListener {
    pub(crate) async fn bind(service: HttpService, address: impl ToSocketAddrs) -> Result<Self> {
        let found = tokio::net::lookup_host(address).await.map_err(|error| {
            Error::because(ErrorKind::Setup, "this is no address to listen on", error)
        })?;
        let addresses: Vec<SocketAddr> = found.collect();
        let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let shown = shown.join(", ");
        let options = &service.endpoint().options;
        let beyond = addresses.iter().any(|address| !address.ip().is_loopback());
        if beyond && options.bearer.is_none() && !options.open {
            return Err(Error::setup(format!(
                "{shown} can be reached from other machines, and nothing says who may use this \
                 server: listen on 127.0.0.1, or give HttpOptions::bearer (or \
                 HttpOptions::without_authentication, if something in front of it does that)"
            )));
        }
        let bound = TcpListener::bind(addresses.as_slice()).await;
        let listener = bound.map_err(|error| {
            Error::because(ErrorKind::Io, format!("cannot listen on {shown}"), error)
        })?;
        Ok(Self { listener, service })
    }

    /// Where it listens; with port 0, the port that was found.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The service behind it.
    pub fn service(&self) -> &HttpService {
        &self.service
    }

    /// Serves until SIGTERM or SIGINT comes; what still runs then gets its grace.
    pub async fn serve_until_signal(self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.serve_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    }

    /// Serves until `stop` resolves: then nothing new is taken, sessions are ended with their
    /// grace, and connections are closed.
    ///
    /// Cancel safety: dropping the future stops listening and drops all connections.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, service } = self;
        let core = service.endpoint().core.clone();
        let limits = core.limits();
        let room = Arc::new(Semaphore::new(limits.connections));
        let stopping = Arc::new(Stop::default());
        let mut connections = tokio::task::JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or the client is gone already: others go on.
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(place) = room.clone().try_acquire_owned() else {
                tracing::warn!("too many connections: one is closed");
                continue;
            };
            let connection = connection(stream, service.clone(), stopping.clone());
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(listener);
        ServerHandle::new(core).shutdown();
        let patience = limits.grace + DRAIN;
        stopping.ask();
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, drained).await;
        Ok(())
    }
}

impl std::fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpListener")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// The wish to stop, as all connections see it.
#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    told: Notify,
}

impl Stop {
    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    async fn wait(&self) {
        loop {
            let told = self.told.notified();
            if self.is_asked() {
                return;
            }
            told.await;
        }
    }
}

async fn connection(stream: TcpStream, service: HttpService, stop: Arc<Stop>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let limits = service.endpoint().core.limits();
    let stream = Patient::new(stream, &limits);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(8192));
    let service = TowerToHyperService::new(service);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // Asked once, the wish to stop wakes this task; looking at it each time would cost more.
    let mut stopping = std::pin::pin!(stop.wait());
    let (mut asked, mut told) = (false, false);
    let ended = std::future::poll_fn(|context| {
        if !told && (!asked || stop.is_asked()) {
            asked = true;
            told = stopping.as_mut().poll(context).is_ready();
            if told {
                serving.as_mut().graceful_shutdown();
            }
        }
        serving.as_mut().poll(context)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// A stream that fails when its peer is too slow: takes nothing of what is written, does not finish
/// what it began to say, or says nothing for long.
///
/// One timer serves all of it. It is not moved with every byte: when it is due, the moments that
/// were noted say whether there is a reason.
struct Patient<S> {
    stream: S,
    stall: Duration,
    idle: Duration,
    /// When something was last read or written.
    active: Instant,
    /// When the peer began to say something that was not answered yet.
    speaking: Option<Instant>,
    /// Since when it takes nothing.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    fn new(stream: S, limits: &Limits) -> Self {
        let now = Instant::now();
        // While an answer is waited for, there is a comment now and then.
        let idle = IDLE.max(limits.keep_alive * 3);
        Self {
            stream,
            stall: limits.stall,
            idle,
            active: now,
            speaking: None,
            stalled: None,
            timer: Box::pin(tokio::time::sleep_until(now + limits.stall.min(idle))),
        }
    }

    fn deadline(&self) -> Instant {
        let stalled = self.stalled.map(|since| since + self.stall);
        // A body has its own bound, of the same length, and then the answer is on its way.
        let speaking = self.speaking.map(|since| since + self.stall * 2);
        let idle = self.active + self.idle;
        [stalled, speaking]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    /// Nothing goes on: is it for too long?
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.timer.as_mut().poll(context).is_ready() {
            let (deadline, now) = (self.deadline(), Instant::now());
            if deadline <= now {
                let why = "the client is too slow";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            // What begins meanwhile does not move the timer: it looks often enough.
            let next = deadline.min(now + self.stall * 2);
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.active = Instant::now();
            self.speaking = None;
            self.stalled = None;
            return polled;
        }
        if self.stalled.is_none() {
            let now = Instant::now();
            self.stalled = Some(now);
            // The timer may stand at a later moment.
            self.timer.as_mut().reset(now + self.stall);
        }
        self.wait(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            let now = Instant::now();
            self.active = now;
            self.speaking.get_or_insert(now);
            return polled;
        }
        self.wait(context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
