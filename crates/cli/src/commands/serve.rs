//! `compere serve`: a built-in server on standard input and output, or over HTTP.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use compere::ServerHandle;
use compere::transport::stdio::Stdio;
use compere::transport::tap::Tap;

use crate::args::Serve;
use crate::failure::Failure;
use crate::listening;
use crate::record::{Hop, Record};
use crate::target::built_in;

pub(crate) async fn run(serve: Serve) -> Result<ExitCode, Failure> {
    let handle = built_in(&serve.server)?.start()?;
    let record = Record::open(&serve.keeping)?;
    if let Some(address) = serve.listening.http {
        let sessions = !serve.no_sessions;
        return listening::serve(&handle, address, &serve.listening, sessions, record).await;
    }
    on_stdio(&handle, &record).await
}

/// Serves the one client at standard input and output.
pub(crate) async fn on_stdio(handle: &ServerHandle, record: &Record) -> Result<ExitCode, Failure> {
    if std::io::stdin().is_terminal() {
        let _ = writeln!(
            std::io::stderr().lock(),
            "Waiting for a client on standard input, one JSON-RPC message per line. \
             End with Ctrl-D."
        );
    }
    let stream = Stdio::new()?;
    match record.listener(1, Hop::Server) {
        None => handle.serve_until_signal(stream).await?,
        Some(on_line) => {
            handle.serve_until_signal(Tap::new(stream, on_line)).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
