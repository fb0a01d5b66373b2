//! The official Rust SDK over HTTP: `json` is its stateless mode with JSON answers, `session` its
//! documented default; tuned means one thread and the router in a field.

use std::sync::Arc;

use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService,
};

pub async fn serve<S>(make: impl Fn() -> S + Send + Sync + 'static, sessions: bool)
where
    S: ServerHandler + Send + Sync + 'static,
{
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = sessions;
    config.json_response = !sessions;
    let mut manager = LocalSessionManager::default();
    manager.session_config.keep_alive = None;
    let service = StreamableHttpService::new(move || Ok(make()), Arc::new(manager), config);
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/mcp", listener.local_addr().unwrap());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.unwrap();
}
