//! `compere bridge`: a server of one transport, served over another.

use std::process::ExitCode;

use compere::{Limits, Relay};

use crate::args::Bridge;
use crate::commands::serve::on_stdio;
use crate::failure::Failure;
use crate::record::{Hop, Record};
use crate::{listening, target};

pub(crate) async fn run(bridge: Bridge) -> Result<ExitCode, Failure> {
    let named = target::server(&bridge.place)?;
    let record = Record::open(&bridge.keeping)?;
    let protocol = bridge.place.protocol;
    let behind = record.clone();
    let relay = Relay::new(move |mut client| {
        if let Some(revision) = protocol {
            client = client.revisions(&[revision]);
        }
        let session = client.session_in_front().unwrap_or_default();
        let on_line = behind.listener(session, Hop::Behind);
        named.clone().connect(client, on_line)
    });
    let Some(address) = bridge.listening.http else {
        return on_stdio(&relay.start()?, &record).await;
    };
    let mut limits = Limits::default();
    limits.sessions = bridge.clients;
    let handle = relay.limits(limits).start()?;
    listening::serve(&handle, address, &bridge.listening, true, record).await
}
