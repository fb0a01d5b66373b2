//! The official Rust SDK as it was before the newest revision: a server that takes `initialize` for its
//! first message and ends on anything else, or a client of such servers.
//!
//! `rmcp-old server` · `rmcp-old client TOOL ARGUMENTS COMMAND ARGUMENT…`

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolRequestParams, ServerCapabilities, ServerInfo};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServerHandler, ServiceExt, tool, tool_handler, tool_router};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(Clone)]
struct Server;

#[tool_router]
impl Server {
    #[tool(description = "Answers with its message.")]
    fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        message
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerInfo {
        ServerInfo::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("server") {
        let service = Server.serve(rmcp::transport::stdio()).await?;
        service.waiting().await?;
        return Ok(());
    }
    let mut next = || arguments.next().ok_or("an argument is missing");
    let (tool, with, command) = (next()?, next()?, next()?);
    let mut command = tokio::process::Command::new(command);
    command.args(arguments);
    let client = ().serve(TokioChildProcess::new(command)?).await?;
    let with: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&with)?;
    let tools = client.list_all_tools().await?;
    let result = client
        .call_tool(CallToolRequestParams::new(tool).with_arguments(with))
        .await?;
    let said = serde_json::json!({"tools": tools.len(), "result": result});
    println!("{said}");
    client.cancel().await?;
    Ok(())
}
