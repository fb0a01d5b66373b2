//! Listening on an address and serving each connection, until it is told to stop.
//!
//! A connection whose client sends the head of a request too slowly, or takes nothing for too
//! long, is closed. HTTP/1.1 only: the transports of this protocol need no more, and what is not
//! spoken cannot be flooded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;

use crate::error::{Error, Result};
use crate::server::handle::ServerHandle;
use crate::server::http::endpoint::HttpService;

/// How long open connections may go on after sessions have ended.
const DRAIN: Duration = Duration::from_secs(2);

/// A listener that is bound, before it serves.
pub struct HttpListener {
    listener: TcpListener,
    service: HttpService,
}

impl HttpListener {
    pub(crate) async fn bind(service: HttpService, address: SocketAddr) -> Result<Self> {
        let options = &service.endpoint().options;
        if !address.ip().is_loopback() && options.bearer.is_none() && !options.open {
            return Err(Error::setup(format!(
                "{address} can be reached from other machines, and nothing says who may use this \
                 server: listen on 127.0.0.1, or give HttpOptions::bearer (or \
                 HttpOptions::without_authentication, if something in front of it does that)"
            )));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::because(
                crate::ErrorKind::Io,
                format!("cannot listen on {address}"),
                error,
            )
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
        let (stopping, stopped) = watch::channel(false);
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
            let connection = connection(stream, service.clone(), stopped.clone());
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(listener);
        ServerHandle::new(core).shutdown();
        let patience = limits.grace + DRAIN;
        let _ = stopping.send(true);
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

async fn connection(stream: TcpStream, service: HttpService, mut stopped: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let limits = service.endpoint().core.limits();
    let stream = Patient {
        stream,
        patience: limits.stall,
        timer: None,
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.stall)
        .max_buf_size(limits.header_bytes.max(8192));
    let service = TowerToHyperService::new(service);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the listener is gone, which is a reason to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A stream whose writes fail when the peer takes nothing for too long.
struct Patient<S> {
    stream: S,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S> Patient<S> {
    fn wait<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.timer = None;
            return polled;
        }
        let patience = self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes nothing",
            ))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wait(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wait(context, polled)
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
