//! tower-mcp as its documentation shows it, echoing over HTTP: its sessions answer JSON.

use schemars::JsonSchema;
use serde::Deserialize;
use tower_mcp::{CallToolResult, HttpTransport, McpRouter, ToolBuilder};

#[derive(Debug, Deserialize, JsonSchema)]
struct Echo {
    message: String,
}

#[tokio::main]
async fn main() {
    let echo = ToolBuilder::new("echo")
        .description("Answers with its message.")
        .handler(|input: Echo| async move { Ok(CallToolResult::text(input.message)) })
        .build();
    let router = McpRouter::new().server_info("bench", "1.0.0").tool(echo);
    let app = HttpTransport::new(router).max_sessions(20_000).into_router_at("/mcp");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/mcp", listener.local_addr().unwrap());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await.unwrap();
}
