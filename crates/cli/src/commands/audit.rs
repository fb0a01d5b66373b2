//! `compere audit`: is an audit log what was written?

use std::process::ExitCode;

use compere::serde_json::json;
use compere_host::audit::verify;

use crate::args::{Audit, AuditCommand, Verify};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(audit: Audit) -> Result<ExitCode, Failure> {
    match audit.command {
        AuditCommand::Verify(asked) => run_verify(&asked),
    }
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
    let summary = match verify(&asked.folder, &kept) {
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
