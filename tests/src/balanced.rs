//! Several instances of a server behind one address: each request goes to the next one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use compere::server::http::HttpService;
use hyper_util::rt::TokioIo;
use tower_service::Service;

/// Listens until the runtime ends.
pub async fn balanced(services: Vec<HttpService>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("its address");
    let (services, turn) = (Arc::new(services), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (services, turn) = (services.clone(), turn.clone());
            let service = hyper::service::service_fn(move |request| {
                let next = turn.fetch_add(1, Ordering::Relaxed) % services.len();
                Service::call(&mut services[next].clone(), request)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}
