//! One command's work with one server: connected, interrupted by Ctrl-C, closed in order.

use compere::Client;

use crate::args::Connection;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::target;

/// Connects, works, closes. Ctrl-C drops the work, which withdraws its requests, and waits until
/// the server was told; a second Ctrl-C does not wait.
pub(crate) async fn with_client<T>(
    connection: &Connection,
    line: &ProgressLine,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_builder(connection, line, target::builder(connection, line)?, work).await
}

/// The same with a client that was prepared.
pub(crate) async fn with_builder<T>(
    connection: &Connection,
    line: &ProgressLine,
    builder: compere::client::ClientBuilder,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let client = tokio::select! {
        client = target::connect(connection, builder) => client?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::interrupted()),
    };
    let logs = client
        .server_capabilities()
        .is_some_and(|capabilities| capabilities.logging.is_some());
    let working = async {
        if let Some(level) = connection.log.filter(|_| logs) {
            client.set_level(level).await?;
        }
        work(&client).await
    };
    let outcome = tokio::select! {
        outcome = working => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    };
    line.clear();
    let closed = tokio::select! {
        closed = client.close() => closed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let value = outcome?;
    closed?;
    Ok(value)
}
