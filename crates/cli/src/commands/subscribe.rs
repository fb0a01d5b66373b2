//! `compere subscribe`: says when resources change, until Ctrl-C or after so many changes.

use std::process::ExitCode;

use compere::Client;
use compere::model::ResourceParams;
use tokio::sync::mpsc;

use crate::args::Subscribe;
use crate::connected::with_builder;
use crate::failure::Failure;
use crate::progress::ProgressLine;
use crate::{output, target};

/// Changes that wait to be printed; a server that is faster than the terminal does not pile up.
const WAITING: usize = 1000;

pub(crate) async fn run(subscribe: Subscribe) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let (changed, mut changes) = mpsc::channel(WAITING);
    let builder = target::builder(&subscribe.connection, &line)?.on_resource_updated(move |uri| {
        if changed.try_send(uri).is_err() {
            tracing::warn!("a change is not shown: too many at once");
        }
    });
    let says = line.clone();
    let watching = with_builder(&subscribe.connection, &line, builder, async |client| {
        for uri in &subscribe.uris {
            client.subscribe(uri).await?;
        }
        says.say("subscribed; Ctrl-C ends");
        let mut left = subscribe.count.unwrap_or(usize::MAX);
        while left > 0 {
            tokio::select! {
                Some(uri) = changes.recv() => show(client, &uri, &subscribe).await?,
                ended = client.closed() => return Ok(ended?),
            }
            left -= 1;
        }
        Ok(())
    });
    match watching.await {
        // That is how it is meant to end.
        Err(failure) if failure.is_interrupted() => Ok(ExitCode::SUCCESS),
        Err(failure) => Err(failure),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

async fn show(client: &Client, uri: &str, subscribe: &Subscribe) -> Result<(), Failure> {
    if subscribe.read {
        match client.read(uri).await {
            Ok(result) if subscribe.connection.json => return output::json(&result),
            Ok(result) => {
                output::heading(uri)?;
                for contents in &result.contents {
                    output::contents(contents, None)?;
                }
                return Ok(());
            }
            // It may be gone: that is a change too.
            Err(error) => tracing::error!(%error, "{uri} cannot be read"),
        }
    }
    match subscribe.connection.json {
        true => output::json(&ResourceParams::new(uri)),
        false => output::text(uri),
    }
}
