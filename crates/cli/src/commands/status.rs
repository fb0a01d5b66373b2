//! `compere status`, `compere grants`, `compere retry`, `compere update`, `compere stop`: what the host has, and what it may not have any
//! more.

use std::fmt::Write as _;
use std::process::ExitCode;

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::consent::Lasts;
use compere_host::door::{Order, Reply};
use compere_host::host::Status as HostStatus;
use compere_host::servers::Stage;

use crate::args::{Grants, GrantsCommand, OneServer, Status, Stop};
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(status: &Status) -> Result<ExitCode, Failure> {
    let Reply::Status(found) = hosted::order(&status.keeps, &Order::Status)? else {
        return Err(Failure::usage("the host did not say how it stands"));
    };
    match status.json {
        true => output::json(&found)?,
        false => output::text(&describe(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(status: &HostStatus) -> String {
    let mut lines = vec![format!(
        "Compere {}, process {}, {}",
        status.version, status.process, status.file
    )];
    lines.extend(status.faults.iter().map(|fault| format!("wrong: {fault}")));
    match status.apps.as_slice() {
        [] => lines.push("No app is connected.".to_owned()),
        apps => {
            let apps: Vec<String> = apps.iter().map(|app| escape_line(app)).collect();
            lines.push(format!("Apps: {}", apps.join(", ")));
        }
    }
    if status.servers.is_empty() {
        lines.push("No servers. See what there is to bring over with: compere import".to_owned());
    }
    for server in &status.servers {
        let mut stage = escape_line(&server.stage.to_string());
        if matches!(server.stage, Stage::Running(_)) {
            let _ = write!(stage, ", {} KiB", server.memory);
        }
        let name = escape_line(&server.name);
        lines.push(format!("{name}  {stage}, {} tools", server.tools));
        if server.waiting > 0 {
            lines.push(format!(
                "    {} of what it offers wait for you",
                server.waiting
            ));
        }
        if matches!(server.stage, Stage::Failed(_)) {
            let words = server.last_words.iter().rev().take(5).rev();
            lines.extend(words.map(|line| format!("    it last said: {}", escape_line(line))));
            lines.push(format!("    try it again with: compere retry {name}"));
        }
    }
    if status.questions > 0 {
        lines.push(format!(
            "{} wait for you: compere approve",
            match status.questions {
                1 => "1 question".to_owned(),
                count => format!("{count} questions"),
            }
        ));
    }
    lines.join("\n")
}

pub(crate) fn grants(grants: &Grants) -> Result<ExitCode, Failure> {
    match &grants.command {
        None | Some(GrantsCommand::List) => {
            let Reply::Grants(found) = hosted::order(&grants.keeps, &Order::Grants)? else {
                return Err(Failure::usage("the host did not say what is granted"));
            };
            if grants.json {
                output::json(&found)?;
                return Ok(ExitCode::SUCCESS);
            }
            let lines = found.iter().map(|grant| {
                let until = match (grant.expires, grant.lasts) {
                    (Some(expires), _) => format!(", until {}", moment(expires)),
                    (None, Lasts::Always) => ", until revoked".to_owned(),
                    (None, _) => String::new(),
                };
                let words = escape_line(&grant.to_string());
                let (who, at) = (escape_line(&grant.who), moment(grant.at));
                format!("{}  {words}{until}\n          by {who}, {at}", grant.id)
            });
            let lines: Vec<String> = lines.collect();
            match lines.is_empty() {
                true => output::text("Nothing is granted beyond your rules.")?,
                false => output::text(&lines.join("\n"))?,
            }
        }
        Some(GrantsCommand::Revoke { id }) => {
            let order = Order::Revoke {
                id: id.clone(),
                door: "the terminal".to_owned(),
            };
            if let Reply::Done(words) = hosted::order(&grants.keeps, &order)? {
                let words: Vec<String> = words.iter().map(|word| escape_line(word)).collect();
                match grants.json {
                    true => output::json(&json!({"revoked": id}))?,
                    false => output::text(&format!("It holds no more: {}", words.join(", ")))?,
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn retry(of: &OneServer) -> Result<ExitCode, Failure> {
    let server = of.server.clone();
    hosted::order(&of.keeps, &Order::Retry { server })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn update(of: &OneServer) -> Result<ExitCode, Failure> {
    let server = of.server.clone();
    hosted::order(&of.keeps, &Order::Update { server })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stop(stop: &Stop) -> Result<ExitCode, Failure> {
    hosted::order(&stop.keeps, &Order::Stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Seconds since 1970 for a person.
fn moment(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    match time {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => seconds.to_string(),
    }
}
