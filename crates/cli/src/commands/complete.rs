//! `compere complete`: what a server suggests for an argument of a prompt or a variable of a
//! template.

use std::io::Write;
use std::process::ExitCode;

use compere::model::{CompleteResult, CompletionReference};

use crate::args::Complete;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{arguments, output};

pub(crate) async fn run(complete: Complete) -> Result<ExitCode, Failure> {
    let (argument, beginning) = complete.argument.split_once('=').ok_or_else(|| {
        Failure::usage(format!("{:?} is no argument", complete.argument))
            .hint("Write what was typed so far as key=beginning; key= asks for everything.")
    })?;
    let known = arguments::texts(&complete.known)?;
    // A template has braces or is a URI; the name of a prompt is neither.
    let reference = match complete.reference.contains(['{', ':']) {
        true => CompletionReference::Resource {
            uri: complete.reference.clone(),
        },
        false => CompletionReference::Prompt {
            name: complete.reference.clone(),
        },
    };
    let line = ProgressLine::on_stderr();
    let completion = with_client(&complete.connection, &line, async |client| {
        Ok(client
            .complete(reference, argument, beginning, known)
            .await?)
    })
    .await?;
    if complete.connection.json {
        output::json(&CompleteResult::new(completion))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = completion.values.len();
    if shown > 0 {
        output::text(&completion.values.join("\n"))?;
    }
    let mut stderr = std::io::stderr().lock();
    let _ = match (shown, completion.total, completion.has_more) {
        (0, ..) => writeln!(stderr, "nothing is suggested"),
        (_, Some(total), _) if total > shown as u64 => {
            writeln!(stderr, "{shown} of {total} are shown")
        }
        (_, _, Some(true)) => writeln!(stderr, "there are more"),
        _ => Ok(()),
    };
    Ok(ExitCode::SUCCESS)
}
