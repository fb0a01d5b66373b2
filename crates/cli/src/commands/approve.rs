//! `compere approve`: the questions that wait for you, at this terminal.

use std::process::ExitCode;

use compere_host::door::{Order, Reply};

use crate::args::Approve;
use crate::desk::{self, Left};
use crate::failure::Failure;
use crate::{hosted, output};

pub(crate) fn run(approve: &Approve) -> Result<ExitCode, Failure> {
    if approve.json {
        if let Reply::Questions(questions) = hosted::order(&approve.keeps, &Order::Questions)? {
            output::json(&questions)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !hosted::is_person() {
        return Err(
            Failure::usage("a person answers at a terminal, and here is none")
                .hint("See what waits with: compere approve --json"),
        );
    }
    match desk::sit(&approve.keeps, !approve.stay)? {
        Left::Person => Ok(ExitCode::SUCCESS),
        Left::Host(why) => Err(Failure::usage(format!("the host has ended: {why}"))),
    }
}
