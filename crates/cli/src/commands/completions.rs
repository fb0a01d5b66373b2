//! `compere completions`: a script for a shell, which asks `compere` itself at each key.

use std::fmt::Write;
use std::process::ExitCode;

use compere::text::escape_line;

use crate::args::{Candidates, Completions, Shell};
use crate::candidates::candidates;
use crate::failure::Failure;
use crate::output;

pub(crate) fn script(completions: &Completions) -> Result<ExitCode, Failure> {
    output::text(match completions.shell {
        Shell::Bash => include_str!("completions/compere.bash"),
        Shell::Zsh => include_str!("completions/compere.zsh"),
        Shell::Fish => include_str!("completions/compere.fish"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one candidate per line, with what it is behind a tab. Names come from servers: one that
/// is no plain word is left out.
pub(crate) async fn answer(asked: Candidates) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    for candidate in candidates(&asked.line, asked.cursor).await {
        let plain = |letter: char| letter.is_alphanumeric() || "-_./=:".contains(letter);
        if candidate.text.chars().all(plain) {
            let _ = writeln!(text, "{}\t{}", candidate.text, escape_line(&candidate.help));
        }
    }
    if !text.is_empty() {
        output::text(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
