//! `compere audit`: what happened, and whether that is what was written.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compere::serde_json::json;
use compere::text::escape_line;
use compere_host::audit::{Kind, Numbered, Reader, verify};

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
    let known = ["intent", "outcome", "read", "refused", "decision", "host"];
    if let Some(kind) = show
        .kind
        .iter()
        .find(|kind| !known.contains(&kind.as_str()))
    {
        return Err(Failure::usage(format!(
            "{kind:?} is none of {}",
            known.join(", ")
        )));
    }
    let since = show.since.map_or(0, |since| {
        let begins = SystemTime::now().checked_sub(since.into());
        let begins = begins.and_then(|begins| begins.duration_since(UNIX_EPOCH).ok());
        begins.map_or(0, |begins| {
            u64::try_from(begins.as_micros()).unwrap_or(u64::MAX)
        })
    });
    let mut reader = Reader::new(&folder);
    // The outcome of a call is that of its intent.
    let mut intents = HashSet::new();
    loop {
        while let Some(record) = reader.next_record()? {
            if record.at < since || !is_asked_for(show, &record, &mut intents) {
                continue;
            }
            match as_json {
                true => output::json_line(&record)?,
                false => output::text(&line(&record))?,
            }
        }
        if !show.follow {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_asked_for(show: &Show, found: &Numbered, intents: &mut HashSet<u64>) -> bool {
    let record = &found.record;
    let fits = |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|asked| asked == is);
    let is_kind = show.kind.is_empty() || show.kind.iter().any(|kind| kind == word(record.kind));
    let of = record.of.is_some_and(|of| intents.contains(&of));
    let is = fits(&show.app, &record.app)
        && fits(&show.server, &record.server)
        && fits(&show.name, &record.name);
    if is && record.kind == Some(Kind::Intent) {
        intents.insert(found.number);
    }
    is_kind && (is || of)
}

fn word(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Intent) => "intent",
        Some(Kind::Outcome) => "outcome",
        Some(Kind::Read) => "read",
        Some(Kind::Refused) => "refused",
        Some(Kind::Decision) => "decision",
        Some(Kind::Host) => "host",
        None => "?",
    }
}

/// A record on one line, for a person. What servers and apps said is escaped.
fn line(found: &Numbered) -> String {
    let record = &found.record;
    let at = UNIX_EPOCH.checked_add(Duration::from_micros(found.at));
    let at = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
    let mut words = vec![
        found.number.to_string(),
        at.unwrap_or_default(),
        word(record.kind).to_owned(),
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
