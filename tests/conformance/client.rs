//! The client that the official conformance suite is run against: `conformance-client URL` does
//! what the scenario named in the environment wants of it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use compere::model::{ElicitAction, ElicitResult, RawJson, Tool};
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

/// What the suite says of a scenario.
#[derive(Default, Deserialize)]
#[serde(crate = "compere::serde")]
struct Scenario {
    #[serde(default, rename = "toolCalls")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Deserialize)]
#[serde(crate = "compere::serde")]
struct ToolCall {
    name: String,
    arguments: compere::serde_json::Value,
}

fn context() -> Scenario {
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    compere::serde_json::from_str(&context).unwrap_or_default()
}

/// Calls, reads and gets everything that is there.
async fn standard_headers(client: &Client, tools: &[Tool]) -> compere::Result<()> {
    for tool in tools {
        client.call(tool.name.as_str(), json!({})).await?;
    }
    let declared = client.server_capabilities();
    if declared.is_some_and(|declared| declared.resources.is_some()) {
        for resource in client.resources().collect().await? {
            client.read(resource.uri).await?;
        }
    }
    if declared.is_some_and(|declared| declared.prompts.is_some()) {
        for prompt in client.prompts().collect().await? {
            client.prompt(prompt.name, BTreeMap::new()).await?;
        }
    }
    Ok(())
}

async fn run(scenario: &str, url: &str) -> compere::Result<()> {
    let client = Client::builder("compere-conformance", "1.0.0")
        .on_elicit(|asked| async move {
            let mut answer = ElicitResult::new(ElicitAction::Accept);
            // D-129
            let mut answers = asked.default_answers();
            if asked
                .requested_schema
                .is_some_and(|form| form.get().contains("confirmed"))
            {
                answers.insert("confirmed".to_owned(), RawJson::from(json!(true)));
            }
            answer.content = Some(answers);
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
        "sep-2322-client-request-state" => {
            client.call("test_mrtr_echo_state", json!({})).await?;
            client.call("test_mrtr_unrelated", json!({})).await?;
            client.call("test_mrtr_no_state", json!({})).await?;
            client.call("test_mrtr_no_result_type", json!({})).await?;
        }
        "http-standard-headers" => standard_headers(&client, &tools).await?,
        // E-155 E-156 E-175 E-181 E-182 E-183
        "http-custom-headers" => {
            for call in context().tool_calls {
                client.call(call.name, call.arguments).await?;
            }
        }
        // E-165 E-166 E-349
        "http-invalid-tool-headers" => {
            for tool in &tools {
                client
                    .call(tool.name.as_str(), json!({"region": "us-west1"}))
                    .await?;
            }
        }
        _ => {}
    }
    client.close().await
}
