//! The official Rust SDK as it is now: a server of both eras, or a client that is told which to speak.
//!
//! `rmcp-new server` · `rmcp-new client initialize|discover|auto TOOL ARGUMENTS COMMAND ARGUMENT…`

use rmcp::handler::server::tool::{InputResponses, RequestState};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, InputRequest, InputRequests,
    InputRequiredResult, ProtocolVersion, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleClient};
use rmcp::transport::TokioChildProcess;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ServerHandler, ServiceExt, tool,
    tool_handler, tool_router,
};
use serde_json::json;

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

    #[tool(description = "Asks for a name, where that is a round of input.")]
    fn ask(
        &self,
        RequestState(state): RequestState,
        InputResponses(answers): InputResponses,
    ) -> Result<CallToolResponse, ErrorData> {
        if state.is_none() {
            let question = ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: "Your name?".into(),
                requested_schema: serde_json::from_value(json!({
                    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
                }))
                .map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
            });
            let mut questions = InputRequests::new();
            questions.insert("name".to_owned(), InputRequest::Elicitation(question));
            return Ok(InputRequiredResult::new(Some(questions), Some("asked".into())).into());
        }
        let answers = answers.unwrap_or_default();
        let name = answers["name"]["content"]["name"].as_str();
        let words = format!("Hello, {}", name.unwrap_or("nobody"));
        Ok(CallToolResult::success(vec![ContentBlock::text(words)]).into())
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

/// Declines what it is asked.
struct Person;

impl ClientHandler for Person {
    fn get_info(&self) -> rmcp::model::ClientConfig {
        let mut info = rmcp::model::ClientConfig::default();
        info.capabilities = rmcp::model::ClientCapabilities::builder()
            .enable_elicitation()
            .build();
        info
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Decline))
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
    let (mode, tool, with, command) = (next()?, next()?, next()?, next()?);
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let mode = match mode.as_str() {
        "initialize" => ClientLifecycleMode::Initialize,
        "discover" => ClientLifecycleMode::Discover { preferred_versions },
        _ => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: None,
        },
    };
    let mut command = tokio::process::Command::new(command);
    command.args(arguments);
    let client = Person
        .serve_with_lifecycle(TokioChildProcess::new(command)?, mode)
        .await?;
    let with: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&with)?;
    let tools = client.list_all_tools().await?;
    let result = client
        .call_tool(CallToolRequestParams::new(tool).with_arguments(with))
        .await?;
    println!("{}", json!({"tools": tools.len(), "result": result}));
    client.cancel().await?;
    Ok(())
}
