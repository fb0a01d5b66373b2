//! `compere sandbox explain`: what a server of yours may touch, and what stays open.

use std::process::ExitCode;

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::config::{HostFile, Surroundings};
use compere_host::door::{Order, Reply};
use compere_host::servers::digests::Digests;
use compere_host::servers::launch::{Way, confined, launching};

use crate::args::{Keeps, Sandbox, SandboxCommand};
use crate::commands::import::text_of;
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(sandbox: &Sandbox) -> Result<ExitCode, Failure> {
    let SandboxCommand::Explain {
        server,
        learn,
        keeps,
        json: as_json,
    } = &sandbox.command;
    if *learn {
        return learned(server, keeps, *as_json);
    }
    let options = hosted::options(keeps)?;
    let text = text_of(&options.file)?.unwrap_or_default();
    let file = HostFile::read(&text, &options.file);
    let entry = file.entries.iter().find(|entry| entry.name == *server);
    let entry = entry.ok_or_else(|| {
        Failure::usage(format!(
            "{} has no server {}",
            options.file.display(),
            escape_line(server)
        ))
    })?;
    let machine = &options.machine;
    let variable = |name: &str| std::env::var(name).ok();
    // What is secret makes no difference to what it may touch.
    let surroundings = Surroundings {
        variable: &variable,
        input: &|_| Some(String::new()),
        file: &|_| Some(String::new()),
        secret: &|_| Some(String::new()),
        workspace: None,
        home: machine.home.as_deref(),
    };
    let launching = launching(entry, machine, &surroundings, &Digests::default(), &[0; 32]);
    let launching = launching.map_err(Failure::usage)?;
    if matches!(launching.way, Way::Fetch(_)) {
        return Err(Failure::usage(format!(
            "{} is not fetched yet: what it may touch is known when it is",
            escape_line(server)
        ))
        .hint("Agree to that with: compere approve"));
    }
    let Way::Program(program) = &launching.way else {
        return Err(Failure::usage(format!(
            "{} is reached at an address: nothing of this machine is given to it, and nothing here confines it",
            escape_line(server)
        )));
    };
    if *as_json {
        output::json(&json!({
            "server": server,
            "confined": program.profile.is_some(),
            "profile": program.profile,
            "stays_open": match &program.profile {
                Some(profile) => profile.stays_open(),
                None => vec!["everything that you can do yourself"],
            },
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    match &program.profile {
        None => lines.push(
            "It is not confined: it can read and change all that you can, and reach whatever you can."
                .to_owned(),
        ),
        Some(profile) => {
            for fact in confined(profile, &program.roots) {
                lines.push(format!("It {}.", escape_line(&fact)));
            }
            lines.push("To run at all, it may read and run what is in:".to_owned());
            let run = profile.run.iter();
            lines.extend(run.map(|path| format!("  {}", escape_line(&path.display().to_string()))));
            lines.push("and read:".to_owned());
            let read = profile.read.iter();
            lines.extend(read.map(|path| format!("  {}", escape_line(&path.display().to_string()))));
            lines.push("It gets no privileges, no devices, no signals to others, at most 1,024 open files, 2 GiB of memory for each process and files of 1 GiB.".to_owned());
            lines.push("What stays open:".to_owned());
            let open = profile.stays_open().into_iter();
            lines.extend(open.map(|open| format!("  {open}")));
        }
    }
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What the host finds out by starting it.
fn learned(server: &str, keeps: &Keeps, as_json: bool) -> Result<ExitCode, Failure> {
    let order = Order::Learn {
        server: server.to_owned(),
    };
    let mut host = hosted::reach(keeps)?;
    host.give(&order).map_err(hosted::failure)?;
    host.be_patient().map_err(hosted::failure)?;
    let words = match host.next().map_err(hosted::failure)? {
        Reply::Done(words) => words,
        Reply::Refused(why) => return Err(Failure::usage(escape_line(&why))),
        _ => return Err(Failure::usage("the host did not say what it found")),
    };
    if as_json {
        output::json(&json!({"server": server, "learned": words}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines: Vec<String> = words.iter().map(|line| escape_line(line)).collect();
    lines.push(
        "What it should have, say in its entry: \"read\", \"roots\" and \"write\", \"network\"."
            .to_owned(),
    );
    lines.push("Not everything that a program tries it needs.".to_owned());
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
