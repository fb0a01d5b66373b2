//! Serving over HTTP, as the options say: where, for whom, and under which names.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use compere::ServerHandle;
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;

use crate::args::Listening;
use crate::failure::Failure;
use crate::record::{Hop, Record};

/// Listens until SIGTERM or SIGINT.
pub(crate) async fn serve(
    handle: &ServerHandle,
    address: SocketAddr,
    listening: &Listening,
    sessions: bool,
    record: Record,
) -> Result<ExitCode, Failure> {
    if !address.ip().is_loopback() && listening.tokens.is_none() {
        return Err(Failure::usage(format!(
            "{address} can be reached from other machines, and nothing says who may use the server"
        ))
        .hint("Listen on 127.0.0.1, or name who may come with --tokens FILE."));
    }
    let mut options = HttpOptions::new();
    for host in &listening.allow_host {
        options = options.allow_host(host);
    }
    for origin in &listening.allow_origin {
        options = options.allow_origin(origin);
    }
    if !sessions {
        options = options.without_sessions().without_sse();
    }
    if let Some(path) = &listening.tokens {
        let tokens = tokens(path)?;
        options = options.bearer(move |given| holder(&tokens, given));
    }
    if record.is_kept(Hop::Server) {
        options = options.on_message(move |session, direction, message| {
            record.keep(session, Hop::Server, direction, message);
        });
    }
    let listener = handle.listen_http(address, options).await?;
    let address = listener.local_addr()?;
    let mut stderr = std::io::stderr().lock();
    for path in listener.service().paths() {
        if path != "/message" {
            let _ = writeln!(stderr, "Listening on http://{address}{path}");
        }
    }
    drop(stderr);
    listener.serve_until_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// Who may come: a name and a token in each line. The file is not shown in errors.
fn tokens(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--tokens {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let tokens = lines
        .map(
            |(number, line)| match line.split_once(char::is_whitespace) {
                Some((name, token)) if token.trim().len() >= 16 => {
                    Ok((name.to_owned(), token.trim().to_owned()))
                }
                _ => Err(Failure::usage(format!(
                    "--tokens {}: line {} is no NAME TOKEN with a token of 16 characters or more",
                    path.display(),
                    number + 1
                ))),
            },
        )
        .collect::<Result<Vec<_>, _>>()?;
    if tokens.is_empty() {
        return Err(Failure::usage(format!(
            "--tokens {}: nobody may come",
            path.display()
        )));
    }
    Ok(tokens)
}

/// Who holds this token. Every token is compared, each in a time that does not depend on where it
/// differs.
fn holder(tokens: &[(String, String)], given: &str) -> Option<Principal> {
    let mut found = None;
    for (name, token) in tokens {
        let differs = token.len() != given.len()
            || token
                .bytes()
                .zip(given.bytes())
                .fold(0, |differs, (one, other)| differs | (one ^ other))
                != 0;
        if !differs {
            found = Some(Principal::new(name.as_str()));
        }
    }
    found
}
