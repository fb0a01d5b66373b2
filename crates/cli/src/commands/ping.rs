//! `compere ping`: is the server there, and how long does it take to say so.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use compere::serde_json::json;

use crate::args::Ping;
use crate::connected::with_client;
use crate::failure::Failure;
use crate::output;
use crate::progress::ProgressLine;

pub(crate) async fn run(ping: Ping) -> Result<ExitCode, Failure> {
    let line = ProgressLine::on_stderr();
    let times: Vec<Duration> = with_client(&ping.connection, &line, async |client| {
        let mut times = Vec::new();
        for _ in 0..ping.count {
            let asked = Instant::now();
            client.ping().await?;
            times.push(asked.elapsed());
        }
        Ok(times)
    })
    .await?;
    for time in times {
        let milliseconds = time.as_secs_f64() * 1e3;
        match ping.connection.json {
            true => output::json(&json!({"milliseconds": milliseconds}))?,
            false => output::text(&format!("answered in {milliseconds:.3} ms"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
