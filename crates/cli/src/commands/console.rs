//! `compere console`: a link to the page of the host in a browser, which it prints or opens.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use compere_host::door::{Order, Reply};
use compere_host::files::replace;

use crate::args::Console;
use crate::failure::Failure;
use crate::{hosted, output};

/// What opens a file in the person's browser.
const OPENER: &str = match cfg!(target_os = "macos") {
    true => "open",
    false => "xdg-open",
};

pub(crate) fn run(console: &Console) -> Result<ExitCode, Failure> {
    let link = match hosted::order(&console.keeps, &Order::Page)? {
        Reply::Done(words) => words.into_iter().next().unwrap_or_default(),
        _ => return Err(Failure::usage("the host gave no link")),
    };
    if console.open {
        return open(&hosted::state(&console.keeps)?, &link).map(|()| ExitCode::SUCCESS);
    }
    output::text(&link)?;
    Ok(ExitCode::SUCCESS)
}

/// Opens a link in the browser of the person. Other users of the machine see the arguments of programs:
/// the browser is given a file that only the person can read, and that leads on.
pub(crate) fn open(state: &Path, link: &str) -> Result<(), Failure> {
    let file = state.join("page.html");
    let text = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Compere</title>\
         <meta http-equiv=\"refresh\" content=\"0; url={link}\"><a href=\"{link}\">Compere</a>\n"
    );
    replace(&file, text.as_bytes())?;
    let opened = Command::new(OPENER)
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match opened {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed("it knows no browser")),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn failed(why: &str) -> Failure {
    Failure::usage(format!("no browser was opened by {OPENER}: {why}"))
        .hint("Print a link instead with: compere console")
}
