//! `compere info`: who a server is and what it offers.

use std::fmt::Write;
use std::process::ExitCode;

use compere::Client;
use compere::proto::Era;
use compere::serde_json::json;

use crate::args::Info;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::output;
use crate::progress::ProgressLine;
use compere::text::escape_line;

pub(crate) async fn run(info: Info) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    with_client(&info.connection, &line, async |client| {
        if info.connection.json {
            return output::json(&json!({
                "protocolVersion": client.revision().as_str(),
                "era": match client.revision().era() {
                    Era::Handshake => "handshake",
                    Era::Stateless => "stateless",
                },
                "serverInfo": client.server_info(),
                "capabilities": client.server_capabilities(),
                "instructions": client.instructions(),
            }));
        }
        output::text(&describe(client).await?)
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

async fn describe(client: &Client) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(server) = client.server_info() {
        let _ = writeln!(
            text,
            "{} {}",
            escape_line(&server.name),
            escape_line(&server.version)
        );
    }
    let revision = client.revision();
    let era = match revision.era() {
        Era::Handshake => "with a session",
        Era::Stateless => "without sessions",
    };
    let _ = writeln!(text, "protocol {revision}, {era}");
    let Some(capabilities) = client.server_capabilities() else {
        return Ok(text);
    };
    if capabilities.tools.is_some() {
        let names = names(
            client
                .tools()
                .collect()
                .await?
                .into_iter()
                .map(|tool| tool.name),
        );
        let _ = writeln!(text, "tools: {names}");
    }
    if capabilities.prompts.is_some() {
        let prompts = client.prompts().collect().await?;
        let names = names(prompts.into_iter().map(|prompt| prompt.name));
        let _ = writeln!(text, "prompts: {names}");
    }
    if let Some(resources) = &capabilities.resources {
        let count = client.resources().collect().await?.len();
        let templates = client.resource_templates().collect().await?;
        let names = names(templates.into_iter().map(|template| template.uri_template));
        let subscribe = if resources.subscribe == Some(true) {
            ", can be subscribed to"
        } else {
            ""
        };
        let _ = writeln!(text, "resources: {count}{subscribe}\ntemplates: {names}");
    }
    if capabilities.logging.is_some() {
        let _ = writeln!(text, "sends log messages");
    }
    if let Some(instructions) = client.instructions() {
        let _ = writeln!(text, "\n{instructions}");
    }
    Ok(text)
}

fn names(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.map(|name| escape_line(&name)).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
