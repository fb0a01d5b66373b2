//! `compere info`: who a server is and what it offers.

use std::fmt::Write;
use std::process::ExitCode;

use compere::Client;
use compere::client::cache::{CacheHint, CacheScope};
use compere::client::list::List;
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
            let mut shown = json!({
                "protocolVersion": client.revision().as_str(),
                "era": match client.revision().era() {
                    Era::Handshake => "handshake",
                    Era::Stateless => "stateless",
                },
                "serverInfo": client.server_info(),
                "capabilities": client.server_capabilities(),
                "instructions": client.instructions(),
            });
            if client.revision().era() == Era::Stateless {
                let hints = Offered::by(client).await?.hints;
                let hints = hints.into_iter().map(|(what, hint)| {
                    let scope = hint.scope.as_str();
                    (what, json!({"ttlMs": hint.ttl_ms, "cacheScope": scope}))
                });
                shown["cacheHints"] = hints.collect();
            }
            return output::json(&shown);
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
    let offered = Offered::by(client).await?;
    if let Some(tools) = offered.tools {
        let _ = writeln!(text, "tools: {}", names(&tools));
    }
    if let Some(prompts) = offered.prompts {
        let _ = writeln!(text, "prompts: {}", names(&prompts));
    }
    if let Some((count, templates)) = offered.resources {
        let resources = capabilities.resources.as_ref();
        let subscribe = match resources.and_then(|resources| resources.subscribe) {
            Some(true) => ", can be subscribed to",
            _ => "",
        };
        let names = names(&templates);
        let _ = writeln!(text, "resources: {count}{subscribe}\ntemplates: {names}");
    }
    if revision.era() == Era::Stateless {
        let kept = offered.hints.iter().filter(|(_, hint)| hint.ttl_ms > 0);
        let kept: Vec<String> = kept.map(|(what, hint)| shown(what, hint)).collect();
        let kept = match kept.is_empty() {
            true => "nothing".to_owned(),
            false => kept.join(", "),
        };
        let _ = writeln!(text, "may be kept: {kept}");
    }
    if capabilities.logging.is_some() {
        let _ = writeln!(text, "sends log messages");
    }
    if let Some(instructions) = client.instructions() {
        let _ = writeln!(text, "\n{instructions}");
    }
    Ok(text)
}

/// What there is, and how long each list may be kept.
#[derive(Default)]
struct Offered {
    tools: Option<Vec<String>>,
    prompts: Option<Vec<String>>,
    /// How many, and the templates.
    resources: Option<(usize, Vec<String>)>,
    hints: Vec<(String, CacheHint)>,
}

impl Offered {
    async fn by(client: &Client) -> Result<Self, Failure> {
        let mut offered = Self::default();
        let Some(capabilities) = client.server_capabilities() else {
            return Ok(offered);
        };
        if capabilities.tools.is_some() {
            let tools = offered.all("tools", client.tools()).await?;
            offered.tools = Some(tools.into_iter().map(|tool| tool.name).collect());
        }
        if capabilities.prompts.is_some() {
            let prompts = offered.all("prompts", client.prompts()).await?;
            offered.prompts = Some(prompts.into_iter().map(|prompt| prompt.name).collect());
        }
        if capabilities.resources.is_some() {
            let resources = offered.all("resources", client.resources()).await?;
            let templates = offered.all("templates", client.resource_templates());
            let templates = templates.await?.into_iter();
            let templates = templates.map(|template| template.uri_template).collect();
            offered.resources = Some((resources.len(), templates));
        }
        Ok(offered)
    }

    async fn all<T: Send + 'static>(
        &mut self,
        what: &str,
        mut list: List<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        while let Some(item) = list.next().await {
            all.push(item?);
        }
        let hint = list.hint().map(|hint| (what.to_owned(), hint));
        self.hints.extend(hint);
        Ok(all)
    }
}

fn shown(what: &str, hint: &CacheHint) -> String {
    let time = match hint.ttl_ms {
        short @ ..1_000 => format!("{short} ms"),
        long => format!("{} s", long / 1_000),
    };
    let by = match hint.scope {
        CacheScope::Public => ", by anyone",
        CacheScope::Private => "",
    };
    format!("{what} ({time}{by})")
}

fn names(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| escape_line(name)).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
