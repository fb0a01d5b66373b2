//! The client that the official conformance suite is run against: `conformance-client URL` does
//! what the scenario named in the environment wants of it.

use std::process::ExitCode;

use compere::model::{ElicitAction, ElicitResult};
use compere::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let Some(url) = std::env::args().next_back() else {
        eprintln!("conformance-client URL");
        return ExitCode::from(2);
    };
    match run(&scenario, &url).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{scenario}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: &str, url: &str) -> compere::Result<()> {
    let client = Client::builder("compere-conformance", "1.0.0")
        .on_elicit(|asked| async move {
            let mut answer = ElicitResult::new(ElicitAction::Accept);
            // D-129
            answer.content = Some(asked.default_answers());
            Ok(answer)
        })
        .connect(url)
        .await?;
    let capabilities = client.server_capabilities();
    let has_tools = capabilities.is_some_and(|declared| declared.tools.is_some());
    let tools = match has_tools {
        true => client.tools().collect().await?,
        false => Vec::new(),
    };
    match scenario {
        "tools_call" => {
            client.call("add_numbers", json!({"a": 5, "b": 3})).await?;
        }
        "elicitation-sep1034-client-defaults" => {
            let tool = "test_client_elicitation_defaults";
            client.call(tool, json!({})).await?;
        }
        // D-028 D-030
        "sse-retry" => {
            client.call("test_reconnection", json!({})).await?;
        }
        "json-schema-2020-12-preservation" => {
            let schema = tools
                .iter()
                .find(|tool| tool.name == "json_schema_2020_12_tool")
                .map(|tool| tool.input_schema.clone());
            client
                .call("json_schema_echo", json!({"schema": schema}))
                .await?;
        }
        _ => {}
    }
    client.close().await
}
