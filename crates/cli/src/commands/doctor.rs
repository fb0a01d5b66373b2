//! `compere doctor`: what a server does, held against the requirements of the protocol.

use std::process::ExitCode;
use std::time::Duration;

use compere::Limits;
use compere::client::Target;

use crate::args::Doctor;
use crate::doctor::{EXIT_WAIT, Wire, examine};
use crate::failure::Failure;
use crate::output;
use crate::progress::ProgressLine;
use crate::target::{self, Named};

/// What tells a program that a MUST is broken.
const BROKEN: u8 = 1;

pub(crate) async fn run(doctor: Doctor) -> Result<ExitCode, Failure> {
    let patience = Duration::try_from_secs_f64(doctor.patience)
        .map_err(|_| Failure::usage("--patience is a number of seconds"))?;
    let line = ProgressLine::on_stderr();
    if doctor.connection.place.url.is_some() {
        return Err(Failure::usage(
            "doctor looks at servers that it starts: give a command, or --on",
        ));
    }
    let open = async || match target::server(&doctor.connection.place)? {
        Named::Command(command) => Ok(Wire::new(
            command.exit_wait(EXIT_WAIT).open(&Limits::DEFAULT)?,
        )),
        Named::BuiltIn(server) => Ok(Wire::new(server.open(&Limits::DEFAULT)?)),
        Named::Url(target) => Ok(Wire::new(target.open(&Limits::DEFAULT)?)),
    };
    let report = tokio::select! {
        report = examine(open, patience, |what| line.doing(what)) => report,
        _ = tokio::signal::ctrl_c() => {
            line.clear();
            return Err(Failure::interrupted());
        }
    };
    line.clear();
    let report = report?;
    match doctor.connection.json {
        true => output::json(&report)?,
        false => output::text(&report.describe())?,
    }
    Ok(match report.faults() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(BROKEN),
    })
}
