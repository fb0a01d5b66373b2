//! Connections of browsers: so many at once, and each with some haste. Who else is on this machine can
//! connect too, and is to keep nobody out by that.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_service::Service as _;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 128;
/// A request begins within this time and says in it what it wants.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEADER_BYTES: usize = 64 * 1024;
/// After a failure to accept it is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Serves for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a browser is gone already");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<Incoming>| {
                router.clone().call(request.map(Body::new))
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a browser has broken off");
            }
        });
    }
}
