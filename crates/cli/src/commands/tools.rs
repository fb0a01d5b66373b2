//! `compere tools`: the tools of a server, each with its arguments.

use std::fmt::Write;
use std::process::ExitCode;

use compere::model::{ListToolsResult, Tool};
use compere::serde_json::Value;

use crate::args::Tools;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output, remembered};
use compere::text::escape_line;

pub(crate) async fn run(tools: Tools) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let list = with_client(&tools.connection, &line, async |client| {
        Ok(client.tools().collect().await?)
    })
    .await?;
    remembered::remember(&tools.connection, &list);
    if tools.connection.json {
        output::json(&ListToolsResult::new().tools(list))?;
    } else if list.is_empty() {
        output::text("This server has no tools.")?;
    } else {
        let described: Vec<String> = list.iter().map(describe).collect();
        output::text(&described.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name with its arguments, the description below, what each argument is below that.
fn describe(tool: &Tool) -> String {
    let schema: Value = tool.input_schema.decode().unwrap_or_default();
    let required: Vec<&str> = arguments::required(&schema).collect();
    let mut text = escape_line(&tool.name);
    let mut details = String::new();
    let mut properties: Vec<(&String, &Value)> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .collect();
    // What must be given comes first.
    properties.sort_by_key(|(name, _)| !required.contains(&name.as_str()));
    for (name, property) in properties {
        let name = escape_line(name);
        let optional = !required.contains(&name.as_str());
        let kind = kind_of(property);
        let _ = match optional {
            true => write!(text, " [{name}={kind}]"),
            false => write!(text, " {name}={kind}"),
        };
        if let Some(description) = property["description"].as_str() {
            let _ = writeln!(details, "      {name}: {}", escape_line(description));
        }
    }
    text.push('\n');
    for line in tool.description.as_deref().unwrap_or_default().lines() {
        let _ = writeln!(text, "    {line}");
    }
    text + &details
}

fn kind_of(property: &Value) -> String {
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), escape_line)
            })
            .collect();
        return values.join("|");
    }
    match &property["type"] {
        Value::String(kind) => escape_line(kind),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .filter(|kind| *kind != "null")
            .map(escape_line)
            .collect::<Vec<_>>()
            .join("|"),
        _ => "JSON".to_owned(),
    }
}
