//! `compere connect`: what an app starts. Hands its input and output to the host that runs, or to one
//! that is started for it, and is there until that is over.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::ExitCode;

use compere_host::door::{DoorError, connect_app};

use crate::args::Connect;
use crate::failure::Failure;
use crate::hosted;

pub(crate) async fn run(connect: &Connect) -> Result<ExitCode, Failure> {
    let state = hosted::state(&connect.keeps)?;
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let name = connect.app.as_deref();
    let mut started = false;
    let mut end = loop {
        match connect_app(&state, name, input.as_fd(), output.as_fd()) {
            Ok(end) => break end,
            Err(DoorError::NotRunning) if !started => {
                hosted::start(&connect.keeps).await?;
                started = true;
            }
            Err(error) => return Err(hosted::failure(error)),
        }
    };
    let mut rest = Vec::new();
    let over = end.read_to_end(&mut rest);
    match (over, rest.is_empty()) {
        (Ok(_), false) => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::usage("the host has ended").hint("Connect again to start it.")),
    }
}
