//! `compere roots`: the folders that servers work in, shown and changed in the person's file. The host reads
//! the file again by itself; a server whose folders are others waits for the person.

use std::process::ExitCode;

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::config::roots::{self, Change};
use compere_host::config::{HostFile, Settings};

use crate::args::Roots;
use crate::commands::import::text_of;
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(asked: &Roots) -> Result<ExitCode, Failure> {
    let options = hosted::options(&asked.keeps)?;
    let path = &options.file;
    let text = text_of(path)?.unwrap_or_default();
    let file = HostFile::read(&text, path);
    if let Some(fault) = file.faults.iter().find(|fault| fault.server.is_none()) {
        return Err(Failure::usage(format!("{}: {fault}", path.display())));
    }
    let Some(server) = &asked.server else {
        let entries = file.entries.iter();
        let entries: Vec<_> = entries
            .map(|entry| (&*entry.name, &entry.settings))
            .collect();
        return shown(&entries, asked.json);
    };
    let mut change = Change {
        write: match (asked.write, asked.read_only) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        },
        ..Change::default()
    };
    for folder in &asked.remove {
        change.remove.push(std::path::absolute(folder)?);
    }
    for folder in &asked.add {
        change.add.push(std::path::absolute(folder)?);
    }
    let settings = roots::change(&options.machine, path, server, &change);
    let settings = settings.map_err(|why| Failure::usage(escape_line(&why)))?;
    shown(&[(server, &settings)], asked.json)
}

fn shown(servers: &[(&str, &Settings)], as_json: bool) -> Result<ExitCode, Failure> {
    if as_json {
        let all = servers.iter().map(|(name, settings)| {
            json!({"server": name, "roots": settings.roots, "write": settings.write})
        });
        output::json(&all.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Vec::new();
    for (name, settings) in servers {
        let may = match (settings.roots.is_empty(), settings.write) {
            (true, _) => "has no folder",
            (false, true) => "may read and change",
            (false, false) => "may read",
        };
        lines.push(format!("{} {may}", escape_line(name)));
        let roots = settings.roots.iter();
        lines.extend(roots.map(|root| format!("  {}", escape_line(root))));
    }
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
