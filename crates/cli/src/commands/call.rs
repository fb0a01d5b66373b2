//! `compere call`: one call of a tool. Progress on standard error, the result on standard output;
//! Ctrl-C withdraws the call.

use std::future::IntoFuture;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use compere::Client;
use compere::model::{CallToolResult, ProgressParams, Tool};
use compere::serde_json::{Map, Value};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Call;
use crate::failure::Failure;
use crate::terminal::{escape, escape_line};
use crate::{arguments, output, target};

/// What tells a program that the tool failed.
const TOOL_FAILED: u8 = 4;
/// Steps of the bar; progress is any number.
const BAR_STEPS: u32 = 1000;

pub(crate) async fn run(call: Call) -> Result<ExitCode, Failure> {
    let client = target::connect(&call.connection).await?;
    let tools = client.tools().collect().await?;
    let Some(tool) = tools.iter().find(|tool| tool.name == call.tool) else {
        return Err(unknown(&call.tool, &tools));
    };
    let arguments = arguments::read(tool, &call.arguments, call.args.as_deref())?;
    let result = call_or_interrupt(&client, &call.tool, arguments).await;
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
) -> Result<CallToolResult, Failure> {
    let bar = std::io::stderr().is_terminal().then(progress_bar);
    let shown = bar.clone();
    let calling = client
        .call(tool, arguments)
        .on_progress(move |progress| {
            if let Some(bar) = &shown {
                show_progress(bar, &progress);
            }
        })
        .into_future();
    let outcome = tokio::select! {
        outcome = calling => outcome.map_err(Failure::from),
        // Dropping the call sends the cancellation; closing the client waits until it is out.
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(outcome?.into_inner())
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

fn show_progress(bar: &ProgressBar, progress: &ProgressParams) {
    if let Some(total) = progress.total.filter(|total| *total > 0.0) {
        if bar.length().is_none() {
            let style = ProgressStyle::with_template("{bar:30} {percent}% {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(u64::from(BAR_STEPS));
        }
        let steps = f64::from(BAR_STEPS);
        let done = (progress.progress / total * steps).clamp(0.0, steps);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        bar.set_position(done as u64);
    }
    let message = match &progress.message {
        Some(message) => escape_line(message),
        None => progress.progress.to_string(),
    };
    bar.set_message(message);
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
