//! `compere audit`: what happened, and whether that is what was written.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::audit::{INDEX, Index, Kind, Numbered, Reader, Search, verify};

use crate::args::{Audit, AuditCommand, Show, Verify};
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) async fn run(audit: Audit) -> Result<ExitCode, Failure> {
    match audit.command {
        None => run_show(&audit.show, audit.show.json).await,
        Some(AuditCommand::Export(show)) => run_show(&show, true).await,
        Some(AuditCommand::Verify(asked)) => run_verify(&asked),
    }
}

/// How often it is looked whether more has happened.
const LOOK: Duration = Duration::from_millis(200);

async fn run_show(show: &Show, as_json: bool) -> Result<ExitCode, Failure> {
    let folder = match &show.log {
        Some(folder) => folder.clone(),
        None => hosted::state(&show.keeps)?.join("audit"),
    };
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "{}: there is no log",
            folder.display()
        )));
    }
    let kinds = show.kind.iter().map(|asked| {
        let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == asked);
        known.ok_or_else(|| {
            let all = Kind::ALL.map(Kind::as_str).join(", ");
            Failure::usage(format!("{asked:?} is none of {all}"))
        })
    });
    let kinds = kinds.collect::<Result<Vec<Kind>, _>>()?;
    let since = show.since.map_or(0, |since| {
        let begins = SystemTime::now().checked_sub(since.into());
        let begins = begins.and_then(|begins| begins.duration_since(UNIX_EPOCH).ok());
        begins.map_or(0, |begins| {
            u64::try_from(begins.as_micros()).unwrap_or(u64::MAX)
        })
    });
    let search = Search {
        app: show.app.clone(),
        server: show.server.clone(),
        name: show.name.clone(),
        kinds,
        since,
        words: show.text.clone(),
    };
    let print = |record: &Numbered| match show.json || as_json {
        true => output::json_line(record),
        false => output::text(&line(record)),
    };
    let mut reader = Reader::new(&folder);
    if !search.is_for_all() {
        let index = index(show, &folder)?;
        let mut printed = Ok(());
        let found = index.search(&search, |record| {
            printed = print(&record);
            Ok(printed.is_ok())
        });
        printed?;
        found.map_err(|error| {
            Failure::protocol(error.to_string()).hint("Check it with: compere audit verify")
        })?;
        reader = Reader::at(&folder, index.up_to());
    }
    loop {
        while let Some(record) = reader.next_record()? {
            if search.fits(&record) {
                print(&record)?;
            }
        }
        if !show.follow {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The index of a log. That of a host is kept beside its log; one that cannot be kept is made for once.
fn index(show: &Show, folder: &Path) -> Result<Index, Failure> {
    let is_seen = std::io::stderr().is_terminal();
    let progress = |count: usize| {
        if is_seen {
            let _ = write!(std::io::stderr(), "\r{count} records read ");
        }
    };
    let made = match &show.log {
        Some(_) => Index::in_memory(folder, progress),
        None => {
            let kept = Index::open(&hosted::state(&show.keeps)?.join(INDEX), folder, progress);
            kept.or_else(|error| {
                tracing::warn!(%error, "the index cannot be kept");
                Index::in_memory(folder, progress)
            })
        }
    };
    if is_seen {
        let _ = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    made.map_err(|error| Failure::protocol(error.to_string()))
}

/// A record on one line, for a person. What servers and apps said is escaped.
fn line(found: &Numbered) -> String {
    let record = &found.record;
    let at = UNIX_EPOCH.checked_add(Duration::from_micros(found.at));
    let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
    let mut words = vec![
        found.number.to_string(),
        at.unwrap_or_default(),
        record.kind.map_or("?", Kind::as_str).to_owned(),
    ];
    if let Some(of) = record.of {
        words.push(format!("of {of}"));
    }
    let whose = [&record.app, &record.server, &record.name];
    let whose: Vec<String> = whose
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| escape_line(part))
        .collect();
    if !whose.is_empty() {
        words.push(whose.join(" → "));
    }
    if !record.view.is_empty() {
        words.push(escape_line(&record.view));
    }
    let said = [
        ("", &record.outcome),
        ("because ", &record.rule),
        ("by ", &record.approver),
    ];
    for (before, part) in said {
        if !part.is_empty() {
            words.push(format!("{before}{}", escape_line(part)));
        }
    }
    if let Some(micros) = record.micros {
        words.push(format!(
            "{:.1} ms",
            Duration::from_micros(micros).as_secs_f64() * 1e3
        ));
    }
    words.join("  ")
}

fn run_verify(asked: &Verify) -> Result<ExitCode, Failure> {
    let kept = asked.checkpoint.iter().map(|checkpoint| {
        let parts = checkpoint.split_once(':');
        let parts = parts.and_then(|(number, hash)| Some((number.parse().ok()?, hash.to_owned())));
        parts.ok_or_else(|| {
            Failure::usage(format!("{checkpoint:?} is no checkpoint"))
                .hint("It is NUMBER:HASH, as `compere audit verify` says at its end.")
        })
    });
    let kept = kept.collect::<Result<Vec<(u64, String)>, _>>()?;
    let folder = match &asked.folder {
        Some(folder) => folder.clone(),
        None => hosted::state(&asked.keeps)?.join("audit"),
    };
    let summary = match verify(&folder, &kept) {
        Ok(summary) => summary,
        Err(broken) if asked.json => {
            output::json(&json!({
                "inOrder": false,
                "segment": broken.segment,
                "record": broken.record,
                "why": broken.why,
            }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(broken) => {
            return Err(Failure::protocol(format!("the log was changed: {broken}"))
                .hint("Everything before this record is as it was written."));
        }
    };
    let checkpoint = summary.checkpoint().replace(' ', ":");
    if asked.json {
        output::json(&json!({
            "inOrder": true,
            "records": summary.records,
            "segments": summary.segments,
            "unfinishedBytes": summary.unfinished,
            "checkpoint": checkpoint,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = format!("{} records, all as they were written", summary.records);
    if summary.unfinished > 0 {
        said.push_str("; the last one was not finished and was promised to nobody");
    }
    output::text(&format!("{said}\ncheckpoint {checkpoint}"))?;
    Ok(ExitCode::SUCCESS)
}
