//! `compere roots`: the folders that servers work in, shown and changed in the person's file. The host reads
//! the file again by itself; a server whose folders are others waits for the person.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::config::write::with_roots;
use compere_host::config::{HostFile, Settings};

use crate::args::Roots;
use crate::commands::import::text_of;
use crate::commands::install::replace;
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
    let entry = file.entries.iter().find(|entry| entry.name == *server);
    let entry = entry.ok_or_else(|| {
        Failure::usage(format!(
            "{} has no server {}",
            path.display(),
            escape_line(server)
        ))
    })?;
    let mut settings = entry.settings.clone();
    let machine = &options.machine;
    for folder in &asked.remove {
        let gone = place(folder)?;
        let before = settings.roots.len();
        settings.roots.retain(|root| {
            let there = machine.place(root);
            there != gone && there.canonicalize().ok().as_ref() != Some(&gone)
        });
        if settings.roots.len() == before {
            return Err(Failure::usage(format!(
                "{} does not work in {}",
                escape_line(server),
                gone.display()
            )));
        }
    }
    for folder in &asked.add {
        let folder = place(folder)?;
        if !folder.is_dir() {
            return Err(Failure::usage(format!("{} is no folder", folder.display())));
        }
        let text = folder.to_str().ok_or_else(|| {
            Failure::usage(format!("{} has a name that is no text", folder.display()))
        })?;
        if !settings.roots.iter().any(|root| root == text) {
            settings.roots.push(text.to_owned());
        }
    }
    settings.write = asked.write || settings.write && !asked.read_only;
    if settings != entry.settings {
        let new = with_roots(&text, server, &settings.roots, settings.write);
        let new = new.map_err(|why| Failure::usage(format!("{}: {why}", path.display())))?;
        replace(path, &new)?;
    }
    shown(&[(server, &settings)], asked.json)
}

/// As it really is, or as it would be if it were there.
fn place(folder: &Path) -> Result<PathBuf, Failure> {
    let folder = std::path::absolute(folder)?;
    Ok(folder.canonicalize().unwrap_or(folder))
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
