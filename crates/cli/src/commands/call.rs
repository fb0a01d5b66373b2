//! `compere call`: one call of a tool. Progress on standard error, the result on standard output;
//! Ctrl-C withdraws the call.

use std::future::IntoFuture;
use std::io::Write;
use std::process::ExitCode;

use compere::Client;
use compere::model::{CallToolResult, Tool};
use compere::serde_json::{Map, Value};

use crate::args::Call;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output, target};
use compere::text::escape;

/// What tells a program that the tool failed.
const TOOL_FAILED: u8 = 4;

pub(crate) async fn run(call: Call) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let client = target::connect(&call.connection, &line).await?;
    let tools = client.tools().collect().await?;
    let Some(tool) = tools.iter().find(|tool| tool.name == call.tool) else {
        return Err(unknown(&call.tool, &tools));
    };
    let arguments = arguments::read(tool, &call.arguments, call.args.as_deref())?;
    let result = call_or_interrupt(&client, &call.tool, arguments, &line).await;
    let closed = client.close().await;
    let result = result?;
    closed?;
    show(&result, call.connection.json)?;
    Ok(match result.failed() {
        true => ExitCode::from(TOOL_FAILED),
        false => ExitCode::SUCCESS,
    })
}

fn unknown(typed: &str, tools: &[Tool]) -> Failure {
    let failure = Failure::usage(format!("the server has no tool {typed:?}"));
    let near = arguments::nearest(typed, tools.iter().map(|tool| tool.name.as_str()));
    if !near.is_empty() {
        return failure.hint(format!("Did you mean {}?", near.join(" or ")));
    }
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    match names.is_empty() {
        true => failure.hint("It has none at all."),
        false => failure.hint(format!("It has {}.", names.join(", "))),
    }
}

async fn call_or_interrupt(
    client: &Client,
    tool: &str,
    arguments: Map<String, Value>,
    line: &ProgressLine,
) -> Result<CallToolResult, Failure> {
    let shown = line.clone();
    let calling = client
        .call(tool, arguments)
        .on_progress(move |progress| shown.show(&progress))
        .into_future();
    let outcome = tokio::select! {
        outcome = calling => outcome.map_err(Failure::from),
        // Dropping the call sends the cancellation; closing the client waits until it is out.
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    };
    line.clear();
    Ok(outcome?.into_inner())
}

fn show(result: &CallToolResult, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(result);
    }
    if result.failed() {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "the tool failed: {}", escape(&result.joined_text()));
        return Ok(());
    }
    output::content(&result.content)
}
