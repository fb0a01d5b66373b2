//! `compere call`: one call of a tool. Progress on standard error, the result on standard output;
//! Ctrl-C withdraws the call.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use compere::model::{CallToolResult, Tool};
use compere::text::escape;

use crate::args::Call;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output, remembered};

/// What tells a program that the tool failed.
const TOOL_FAILED: u8 = 4;

pub(crate) async fn run(call: Call) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let result = with_client(&call.connection, &line, async |client| {
        let tools = client.tools().collect().await?;
        remembered::remember(&call.connection, &tools);
        let Some(tool) = tools.iter().find(|tool| tool.name == call.tool) else {
            return Err(unknown(&call.tool, &tools));
        };
        let arguments = arguments::read(tool, &call.arguments, call.args.as_deref())?;
        let shown = line.clone();
        let calling = client
            .call(&call.tool, arguments)
            .on_progress(move |progress| shown.show(&progress));
        Ok(calling.await?.into_inner())
    })
    .await?;
    show(&result, call.connection.json, call.save.as_deref())?;
    Ok(match result.failed() {
        true => ExitCode::from(TOOL_FAILED),
        false => ExitCode::SUCCESS,
    })
}

fn unknown(typed: &str, tools: &[Tool]) -> Failure {
    arguments::unknown(
        &format!("the server has no tool {typed:?}"),
        typed,
        tools.iter().map(|tool| tool.name.as_str()),
    )
}

fn show(result: &CallToolResult, as_json: bool, save: Option<&Path>) -> Result<(), Failure> {
    if as_json {
        return output::json(result);
    }
    if result.failed() {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "the tool failed: {}", escape(&result.joined_text()));
        return Ok(());
    }
    output::content(&result.content, save)
}
