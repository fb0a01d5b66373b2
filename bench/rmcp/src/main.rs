//! The official Rust SDK, echoing: `tuned` is what its own documentation offers for speed (pipes
//! without blocking, one thread, the router kept in a field), `documented` is its first example.

mod http;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, ServiceExt, tool, tool_handler, tool_router};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(Clone)]
struct Tuned {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Tuned {
    fn new() -> Self {
        Self {
            tool_router: Self::tool_router(),
        }
    }

    #[tool(description = "Answers with its message.")]
    fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        message
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tuned {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[derive(Clone)]
struct Documented;

#[tool_router]
impl Documented {
    #[tool(description = "Answers with its message.")]
    fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        message
    }
}

#[tool_handler]
impl ServerHandler for Documented {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(mode) = arguments.first().filter(|mode| matches!(mode.as_str(), "json" | "session")) {
        let sessions = mode == "session";
        if arguments.get(1).map(String::as_str) == Some("documented") {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            return runtime.block_on(http::serve(|| Documented, sessions));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tuned = Tuned::new();
        return runtime.block_on(http::serve(move || tuned.clone(), sessions));
    }
    if std::env::args().nth(1).as_deref() == Some("documented") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let service = Documented.serve(rmcp::transport::stdio()).await.unwrap();
            service.waiting().await.unwrap();
        });
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let service = Tuned::new()
            .serve(rmcp::transport::io::stdio_pipes())
            .await
            .unwrap();
        service.waiting().await.unwrap();
    });
}
