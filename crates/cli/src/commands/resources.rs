//! `compere resources` and `compere templates`: what can be read.

use std::fmt::Write;
use std::process::ExitCode;

use compere::model::{ListResourceTemplatesResult, ListResourcesResult};
use compere::text::escape_line;

use crate::args::{Resources, Templates};
use crate::connected::with_client;
use crate::failure::Failure;
use crate::output;
use crate::progress::ProgressLine;

pub(crate) async fn list(resources: Resources) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let list = with_client(&resources.connection, &line, async |client| {
        Ok(client.resources().collect().await?)
    })
    .await?;
    if resources.connection.json {
        output::json(&ListResourcesResult::new().resources(list))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for resource in &list {
        entry(
            &mut text,
            &resource.uri,
            &resource.name,
            resource.mime_type.as_deref(),
            resource.description.as_deref(),
        );
    }
    if list.is_empty() {
        text.push_str("This server lists no resources; it may have templates.");
    }
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn templates(templates: Templates) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let list = with_client(&templates.connection, &line, async |client| {
        Ok(client.resource_templates().collect().await?)
    })
    .await?;
    if templates.connection.json {
        output::json(&ListResourceTemplatesResult::new().resource_templates(list))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for template in &list {
        entry(
            &mut text,
            &template.uri_template,
            &template.name,
            template.mime_type.as_deref(),
            template.description.as_deref(),
        );
    }
    if list.is_empty() {
        text.push_str("This server has no resource templates.");
    }
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn entry(
    text: &mut String,
    uri: &str,
    name: &str,
    mime_type: Option<&str>,
    description: Option<&str>,
) {
    let _ = write!(text, "{}  {}", escape_line(uri), escape_line(name));
    if let Some(mime_type) = mime_type {
        let _ = write!(text, "  ({})", escape_line(mime_type));
    }
    text.push('\n');
    for line in description.unwrap_or_default().lines() {
        let _ = writeln!(text, "    {line}");
    }
}
