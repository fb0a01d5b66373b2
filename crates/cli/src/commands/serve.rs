//! `compere serve`: a built-in server on standard input and output.

use std::io::IsTerminal;
use std::process::ExitCode;

use compere::transport::stdio::Stdio;
use compere::transport::tap::Tap;

use crate::args::Serve;
use crate::failure::Failure;
use crate::target::{built_in, wire_log, write_wire};

pub(crate) async fn run(serve: Serve) -> Result<ExitCode, Failure> {
    let handle = built_in(&serve.server)?.start()?;
    if std::io::stdin().is_terminal() {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr().lock(),
            "Waiting for a client on standard input, one JSON-RPC message per line. \
             End with Ctrl-D."
        );
    }
    let stream = Stdio::new()?;
    match serve.wire_log {
        None => handle.serve_until_signal(stream).await?,
        Some(path) => {
            let log = write_wire(wire_log(&path)?);
            handle.serve_until_signal(Tap::new(stream, log)).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
