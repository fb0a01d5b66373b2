//! `compere prompts` and `compere prompt`: what prompts there are, and one of them filled in.

use std::fmt::Write;
use std::process::ExitCode;

use compere::model::{ListPromptsResult, Prompt as Definition};
use compere::text::escape_line;

use crate::args::{Prompt, Prompts};
use crate::connected::with_client;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output};

pub(crate) async fn list(prompts: Prompts) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let list = with_client(&prompts.connection, &line, async |client| {
        Ok(client.prompts().collect().await?)
    })
    .await?;
    if prompts.connection.json {
        output::json(&ListPromptsResult::new().prompts(list))?;
    } else if list.is_empty() {
        output::text("This server has no prompts.")?;
    } else {
        let described: Vec<String> = list.iter().map(describe).collect();
        output::text(&described.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(prompt: &Definition) -> String {
    let mut text = escape_line(&prompt.name);
    let mut details = String::new();
    for argument in prompt.arguments.iter().flatten() {
        let name = escape_line(&argument.name);
        let _ = match argument.required == Some(true) {
            true => write!(text, " {name}=text"),
            false => write!(text, " [{name}=text]"),
        };
        if let Some(description) = &argument.description {
            let _ = writeln!(details, "      {name}: {}", escape_line(description));
        }
    }
    text.push('\n');
    for line in prompt.description.as_deref().unwrap_or_default().lines() {
        let _ = writeln!(text, "    {line}");
    }
    text + &details
}

pub(crate) async fn get(prompt: Prompt) -> Result<ExitCode, Failure> {
    let given = arguments::texts(&prompt.arguments)?;
    let line = ProgressLine::on_stderr();
    let result = with_client(&prompt.connection, &line, async |client| {
        let prompts = client.prompts().collect().await?;
        let Some(known) = prompts.iter().find(|known| known.name == prompt.prompt) else {
            return Err(arguments::unknown(
                &format!("the server has no prompt {:?}", prompt.prompt),
                &prompt.prompt,
                prompts.iter().map(|known| known.name.as_str()),
            ));
        };
        let missing: Vec<&str> = known
            .arguments
            .iter()
            .flatten()
            .filter(|argument| argument.required == Some(true))
            .map(|argument| argument.name.as_str())
            .filter(|name| !given.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(Failure::usage(format!(
                "{} needs {}",
                prompt.prompt,
                missing.join(", ")
            )));
        }
        Ok(client.prompt(&prompt.prompt, given).await?)
    })
    .await?;
    if prompt.connection.json {
        output::json(&result)?;
        return Ok(ExitCode::SUCCESS);
    }
    for message in &result.messages {
        output::heading(message.role.as_str())?;
        output::content(
            std::slice::from_ref(&message.content),
            prompt.save.as_deref(),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
