//! The client, in memory: against servers of ours and against scripts that play a server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::answer::{Changed, Refusal};
use compere::model::{CreateMessageResult, LoggingLevel, Role, Root};
use compere::prelude::*;
use compere::proto::Error as ProtocolError;
use compere::proto::error::{PeerIncompatible, PeerMisbehaved};
use compere::transport::stream;
use compere::{ErrorKind, Limits};
use compere_testkit::fixture;
use compere_testkit::script::Script;
use serde_json::{Value, json};

/// Connects a client to a script that has done the handshake.
async fn scripted(limits: Limits, capabilities: Value) -> (Client, Script) {
    let (mut script, ours) = Script::new();
    let connecting = Client::builder("test", "1")
        .limits(limits)
        .connect(stream::duplex(ours));
    let serving = script.serve_handshake("2024-11-05", capabilities);
    let (client, ()) = tokio::join!(connecting, serving);
    (client.unwrap(), script)
}

fn fixture_client() -> compere::client::ClientBuilder {
    Client::builder("test", "1")
        .roots([Root::new("file:///a")])
        .on_sample(|_| async { Ok(CreateMessageResult::new(Role::Assistant, "4", "m")) })
}

#[tokio::test(start_paused = true)]
async fn every_feature_of_the_fixture() {
    let logs = Arc::new(Mutex::new(Vec::new()));
    let changes = Arc::new(Mutex::new(Vec::new()));
    let updates = Arc::new(Mutex::new(Vec::new()));
    let (log, change, update) = (logs.clone(), changes.clone(), updates.clone());
    let client = fixture_client()
        .on_log(move |message| log.lock().unwrap().push(message.level))
        .on_changed(move |what| change.lock().unwrap().push(what))
        .on_resource_updated(move |uri| update.lock().unwrap().push(uri))
        .connect(fixture::server(&[compere::Revision::V2024_11_05]))
        .await
        .unwrap();
    assert_eq!(client.server_info().unwrap().name, "fixture");
    assert_eq!(client.instructions(), Some("Only for tests."));
    // A-PAGE-01 A-PAGE-07 A-PAGE-08 D-095: pages of four, cursors as they came.
    assert_eq!(client.tools().collect().await.unwrap().len(), 11);
    let sum: f64 = client
        .call("add", json!({"a": 1, "b": 2}))
        .await
        .unwrap()
        .data()
        .unwrap();
    assert!((sum - 3.0).abs() < 1e-9);
    assert_eq!(client.call("sample", ()).await.unwrap().joined_text(), "4");
    assert_eq!(
        client.call("roots", ()).await.unwrap().joined_text(),
        "file:///a"
    );
    // A-ROOT-02 A-ROOT-17
    client.set_roots(vec![Root::new("file:///b")]).unwrap();
    assert_eq!(
        client.call("roots", ()).await.unwrap().joined_text(),
        "file:///b"
    );
    let failed = client.call("fail", ()).await.unwrap();
    assert!(failed.failed() && failed.data::<String>().is_err());
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = steps.clone();
    client
        .call("progress", ())
        .on_progress(move |progress| {
            seen.lock()
                .unwrap()
                .push((progress.progress, progress.total))
        })
        .await
        .unwrap();
    assert_eq!(
        *steps.lock().unwrap(),
        [(1.0, Some(3.0)), (2.0, Some(3.0)), (3.0, Some(3.0))]
    );
    client.set_level(LoggingLevel::Debug).await.unwrap();
    client.call("log", ()).await.unwrap();
    assert_eq!(
        *logs.lock().unwrap(),
        [LoggingLevel::Debug, LoggingLevel::Warning]
    );
    client.subscribe("test://text").await.unwrap();
    client.call("change", ()).await.unwrap();
    assert_eq!(*updates.lock().unwrap(), ["test://text"]);
    assert_eq!(*changes.lock().unwrap(), [Changed::Tools, Changed::Tools]);
    let name = BTreeMap::from([("name".to_owned(), "Ada".to_owned())]);
    let prompt = client.prompt("greet", name).await.unwrap();
    assert_eq!(
        prompt.messages[0].content.as_text(),
        Some("Say hello to Ada.")
    );
    let unknown = client.prompt("nothing", BTreeMap::new()).await.unwrap_err();
    assert_eq!(unknown.refusal().unwrap().code, -32602);
    client.close().await.unwrap();
}

// A-SAMP-17
#[tokio::test(start_paused = true)]
async fn a_person_may_refuse_to_sample() {
    let client = Client::builder("test", "1")
        .on_sample(|_| async { Err(Refusal::by_user("not this one")) })
        .connect(fixture::server(&[compere::Revision::V2024_11_05]))
        .await
        .unwrap();
    let refused = client.call("sample", ()).await.unwrap();
    assert!(refused.failed());
    assert_eq!(
        refused.joined_text(),
        "the peer answered: not this one (-1)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_the_client_that_panics_costs_one_error() {
    let client = Client::builder("test", "1")
        .on_sample(|_| async { panic!("on purpose") })
        .connect(fixture::server(&[compere::Revision::V2024_11_05]))
        .await
        .unwrap();
    let refused = client.call("sample", ()).await.unwrap();
    assert_eq!(
        refused.joined_text(),
        "the peer answered: Internal error (-32603)"
    );
    client.ping().await.unwrap();
}

// B-LIFE-05 stands for the later revisions; here it is what our client does everywhere.
#[tokio::test(start_paused = true)]
async fn a_call_times_out_and_progress_keeps_it_alive() {
    let (client, mut script) = scripted(Limits::default(), json!({"tools": {}})).await;
    let call = tokio::spawn(
        client
            .call("slow", ())
            .timeout(Duration::from_secs(5))
            .on_progress(|_| ())
            .into_future(),
    );
    let request = script.next().await;
    let token = &request["params"]["_meta"]["progressToken"];
    for step in 1..=3 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        script.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": step}})).await;
    }
    let error = call.await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let cancelled = script.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_withdrawn() {
    let (client, mut script) = scripted(Limits::default(), json!({"tools": {}})).await;
    let call = tokio::spawn(client.call("slow", ()).into_future());
    let request = script.next().await;
    call.abort();
    let cancelled = script.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    // The answer comes too late; the connection goes on.
    script.answer(&request, json!({"content": []})).await;
    let ping = tokio::spawn({
        let client = client.clone();
        async move { client.ping().await }
    });
    let request = script.next().await;
    script.answer(&request, json!({})).await;
    ping.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_server_did_not_declare_fails_here_and_says_so() {
    let (client, _script) = scripted(Limits::default(), json!({})).await;
    let error = client.call("x", ()).await.unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Protocol(ProtocolError::PeerIncompatible(
            PeerIncompatible::MissingCapability { .. }
        ))
    ));
}

// A-TOOL-16: a result that does not fit never becomes another one.
#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_fit_fails_its_call_alone() {
    let (client, mut script) = scripted(Limits::default(), json!({"tools": {}})).await;
    let call = tokio::spawn(client.call("x", ()).into_future());
    let request = script.next().await;
    script
        .answer(&request, json!({"content": [{"type": "text"}]}))
        .await;
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Protocol(ProtocolError::PeerMisbehaved(
            PeerMisbehaved::ResultDoesNotFit(..)
        ))
    ));
    let call = tokio::spawn(client.call("y", ()).into_future());
    let request = script.next().await;
    script
        .answer(
            &request,
            json!({"content": [{"type": "text", "text": "fine"}]}),
        )
        .await;
    assert_eq!(call.await.unwrap().unwrap().joined_text(), "fine");
}

#[tokio::test(start_paused = true)]
async fn cursors_that_never_end_are_found() {
    let mut limits = Limits::default();
    limits.list_pages = 3;
    let page = |cursor: &str| json!({"tools": [], "nextCursor": cursor});
    // In a circle.
    let (client, mut script) = scripted(limits.clone(), json!({"tools": {}})).await;
    let list = tokio::spawn(client.tools().collect());
    for _ in 0..2 {
        let request = script.next().await;
        script.answer(&request, page("again")).await;
    }
    let endless = |error: compere::Error| {
        matches!(
            error.kind(),
            ErrorKind::Protocol(ProtocolError::PeerMisbehaved(
                PeerMisbehaved::EndlessCursor(_)
            ))
        )
    };
    assert!(endless(list.await.unwrap().unwrap_err()));
    // Ever new ones: the bound on pages is exact.
    let (client, mut script) = scripted(limits.clone(), json!({"tools": {}})).await;
    let list = tokio::spawn(client.tools().collect());
    for number in 0..3 {
        let request = script.next().await;
        script.answer(&request, page(&number.to_string())).await;
    }
    assert!(endless(list.await.unwrap().unwrap_err()));
    // Exactly as many pages as allowed.
    let (client, mut script) = scripted(limits, json!({"tools": {}})).await;
    let list = tokio::spawn(client.tools().collect());
    for number in 0..2 {
        let request = script.next().await;
        script.answer(&request, page(&number.to_string())).await;
    }
    let request = script.next().await;
    assert_eq!(request["params"]["cursor"], "1");
    script.answer(&request, json!({"tools": []})).await;
    assert!(list.await.unwrap().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_has_a_bound_on_its_items() {
    let mut limits = Limits::default();
    limits.list_items = 2;
    for (count, allowed) in [(2, true), (3, false)] {
        let (client, mut script) = scripted(limits.clone(), json!({"tools": {}})).await;
        let list = tokio::spawn(client.tools().collect());
        let request = script.next().await;
        let tools: Vec<Value> = (0..count)
            .map(|n| json!({"name": n.to_string(), "inputSchema": {"type": "object"}}))
            .collect();
        script.answer(&request, json!({"tools": tools})).await;
        assert_eq!(list.await.unwrap().is_ok(), allowed, "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_fails_everything_at_once() {
    let (client, script) = scripted(Limits::default(), json!({"tools": {}})).await;
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.call("x", ()).into_future()))
        .collect();
    tokio::task::yield_now().await;
    drop(script);
    for call in calls {
        assert!(call.await.unwrap().unwrap_err().is_closed());
    }
    assert!(client.ping().await.unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_reads_is_closed_and_costs_no_memory() {
    let mut limits = Limits::default();
    limits.outbox_bytes = 256 * 1024;
    limits.stall = Duration::from_secs(30);
    let (client, _script) = scripted(limits, json!({"tools": {}})).await;
    let large = json!({"x": "y".repeat(60_000)});
    let calls: Vec<_> = (0..20)
        .map(|_| tokio::spawn(client.call("x", large.clone()).no_timeout().into_future()))
        .collect();
    let mut refused = 0;
    let mut closed = 0;
    for call in calls {
        match call.await.unwrap().unwrap_err().kind() {
            ErrorKind::Protocol(ProtocolError::Limit("outbox_bytes")) => refused += 1,
            ErrorKind::Protocol(ProtocolError::PeerMisbehaved(PeerMisbehaved::NeverReads)) => {
                closed += 1
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 10 && closed >= 3, "{refused} {closed}");
}

#[tokio::test(start_paused = true)]
async fn callbacks_that_panic_cost_themselves_and_nothing_else() {
    let server = fixture::server(&[compere::Revision::V2024_11_05])
        .on_initialized(|_| panic!("on purpose"))
        .tool(tool_fn("judged", || async { "" }).visible_to(|_| panic!("on purpose")));
    let client = Client::builder("test", "1")
        .on_log(|_| panic!("on purpose"))
        .connect(server)
        .await
        .unwrap();
    client.call("log", ()).await.unwrap();
    client
        .call("progress", ())
        .on_progress(|_| panic!("on purpose"))
        .await
        .unwrap();
    let error = client.call("judged", ()).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, -32603);
    client.ping().await.unwrap();
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_waits_until_everything_is_written() {
    let (client, mut script) = scripted(Limits::default(), json!({"tools": {}})).await;
    let call = tokio::spawn(client.call("slow", ()).into_future());
    let request = script.next().await;
    call.abort();
    let _ = call.await;
    let closing = tokio::spawn(client.close());
    assert_eq!(script.next().await["params"]["requestId"], request["id"]);
    assert!(script.is_left().await);
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn bad_roots_are_refused_before_anything_is_sent() {
    let server = Server::new("s", "1").tools_later();
    let error = Client::builder("c", "1")
        .roots([Root::new("https://x")])
        .connect(server)
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Setup);
}
