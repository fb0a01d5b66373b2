//! The grammar: the state machine without I/O, driven by messages and by a clock of our own.

use std::time::Duration;

use compere_proto::capability::{ClientCapabilities, ListCapability, ServerCapabilities};
use compere_proto::connection::outgoing::{IdSource, Timeouts};
use compere_proto::connection::progress_gate::{ProgressGate, Step};
use compere_proto::connection::session::{PingPlan, Session, SessionConfig};
use compere_proto::connection::{Ignored, Output, Received};
use compere_proto::error::{Misuse, PeerIncompatible, PeerMisbehaved};
use compere_proto::lifecycle::Implementation;
use compere_proto::logging::LoggingLevel;
use compere_proto::{Error, Limits, Method, Moment, Revision};
use serde_json::{Value, json};

fn at(seconds: f64) -> Moment {
    Moment(Duration::from_secs_f64(seconds))
}

fn config() -> SessionConfig {
    SessionConfig::new(Implementation::new("machine", "1"))
}

fn client(config: SessionConfig) -> (Session, IdSource) {
    let ids = IdSource::default();
    (Session::client(config, ids.clone()), ids)
}

fn said(session: &mut Session) -> Vec<Value> {
    let mut said = Vec::new();
    while let Some(output) = session.poll_output() {
        match output {
            Output::Send(message) => said.push(serde_json::from_slice(&message).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    said
}

fn tell(session: &mut Session, now: f64, message: Value) -> String {
    let text = message.to_string();
    format!("{:?}", session.receive(at(now), text.as_bytes()))
}

/// A client after the handshake with a server that has these capabilities.
fn connected(config: SessionConfig, capabilities: Value) -> (Session, IdSource) {
    let (mut session, ids) = client(config);
    session.connect(at(0.0)).unwrap();
    said(&mut session);
    let result = json!({"protocolVersion": "2024-11-05", "capabilities": capabilities,
        "serverInfo": {"name": "s", "version": "1"}});
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result});
    assert_eq!(tell(&mut session, 0.0, answer), "Initialized");
    said(&mut session);
    (session, ids)
}

fn call(session: &mut Session, ids: &IdSource, now: f64, timeouts: Timeouts) -> i64 {
    let id = ids.next_id();
    session
        .request(at(now), id, Method::ToolsCall, timeouts)
        .unwrap();
    id
}

const MINUTE: Timeouts = Timeouts {
    idle: Some(Duration::from_secs(60)),
    max: None,
};

// A-LIFE-02 A-LIFE-04 A-LIFE-07 A-LIFE-08
#[test]
fn the_client_asks_for_the_newest_version_and_says_that_it_is_ready() {
    let (mut session, _) = client(config());
    session.connect(at(0.0)).unwrap();
    let first = said(&mut session);
    assert_eq!(first[0]["method"], "initialize");
    assert_eq!(first[0]["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(first[0]["params"]["clientInfo"]["name"], "machine");
    let result = json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 1, "result": result}),
    );
    assert_eq!(
        said(&mut session),
        [json!({"jsonrpc": "2.0", "method": "notifications/initialized"})]
    );
    assert_eq!(session.revision(), Revision::V2024_11_05);
}

// A-LIFE-05
#[test]
fn nothing_but_ping_is_sent_before_the_answer_to_initialize() {
    let (mut session, ids) = client(config());
    session.connect(at(0.0)).unwrap();
    let refused = session.request(at(0.0), ids.next_id(), Method::ToolsList, MINUTE);
    assert_eq!(refused, Err(Misuse::NotInitialized.into()));
    session
        .request(at(0.0), ids.next_id(), Method::Ping, MINUTE)
        .unwrap();
    // The server may ping too, and log; anything else comes too early.
    assert_eq!(
        tell(
            &mut session,
            0.0,
            json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})
        ),
        "Handled"
    );
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 10, "method": "roots/list"}),
    );
    let said = said(&mut session);
    assert_eq!(said[1], json!({"jsonrpc": "2.0", "id": 9, "result": {}}));
    assert_eq!(said[2]["error"]["code"], -32600);
}

// A-LIFE-12 A-LIFE-13
#[test]
fn a_version_that_we_do_not_speak_ends_the_connection() {
    let (mut session, _) = client(config());
    session.connect(at(0.0)).unwrap();
    said(&mut session);
    let result = json!({"protocolVersion": "2099-01-01", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 1, "result": result}),
    );
    let expected = PeerIncompatible::Version {
        offered: "2099-01-01".to_owned(),
        supported: Revision::NEGOTIABLE.to_vec(),
    };
    assert_eq!(session.poll_output(), Some(Output::Close(expected.into())));
    assert!(session.is_closed());
}

#[test]
fn a_server_that_refuses_the_version_with_an_error_is_understood() {
    let (mut session, _) = client(config());
    session.connect(at(0.0)).unwrap();
    said(&mut session);
    let error = json!({"code": -32602, "message": "Unsupported protocol version", "data": {"supported": ["2023-01-01"], "requested": "2024-11-05"}});
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 1, "error": error}),
    );
    match session.poll_output() {
        Some(Output::Close(Error::PeerIncompatible(PeerIncompatible::Version {
            offered, ..
        }))) => {
            assert_eq!(offered, "2023-01-01");
        }
        other => panic!("{other:?}"),
    }
}

// A-LIFE-27
#[test]
fn an_initialize_without_answer_times_out_and_is_not_cancelled() {
    let (mut session, _) = client(config());
    session.connect(at(0.0)).unwrap();
    said(&mut session);
    assert_eq!(session.next_timeout(), Some(at(60.0)));
    // A-CANC-03
    assert_eq!(
        session.cancel(1, None),
        Err(Misuse::CancelInitialize.into())
    );
    session.handle_timeout(at(60.0));
    assert!(matches!(
        session.poll_output(),
        Some(Output::Close(Error::TimedOut {
            method: Method::Initialize,
            ..
        }))
    ));
    assert_eq!(session.poll_output(), None);
}

// A-LIFE-29 A-TOOL-17
// B-LIFE-02 B-LIFE-03 B-LIFE-04 D-248
#[test]
fn a_request_times_out_and_is_cancelled() {
    let (mut session, ids) = connected(config(), json!({"tools": {}}));
    let id = call(&mut session, &ids, 0.0, MINUTE);
    assert_eq!(session.next_timeout(), Some(at(60.0)));
    session.handle_timeout(at(59.9));
    assert_eq!(session.poll_output(), None);
    session.handle_timeout(at(60.0));
    // A-CANC-01 A-CANC-02
    let Some(Output::Send(cancelled)) = session.poll_output() else {
        panic!()
    };
    let cancelled: Value = serde_json::from_slice(&cancelled).unwrap();
    assert_eq!(
        cancelled["params"],
        json!({"requestId": id, "reason": "timed out"})
    );
    assert!(matches!(
        session.poll_output(),
        Some(Output::Failed {
            error: Error::TimedOut { .. },
            ..
        })
    ));
    // A-CANC-10: what comes afterwards is ignored.
    let late = tell(
        &mut session,
        61.0,
        json!({"jsonrpc": "2.0", "id": id, "result": {}}),
    );
    assert_eq!(late, "Ignored(UnknownResponse)");
}

// B-LIFE-06
#[test]
fn progress_restarts_the_clock_up_to_the_absolute_maximum() {
    let (mut session, ids) = connected(config(), json!({"tools": {}}));
    let timeouts = Timeouts {
        idle: Some(Duration::from_secs(60)),
        max: Some(Duration::from_secs(100)),
    };
    let id = call(&mut session, &ids, 0.0, timeouts);
    // E-257 E-258
    // A-PROG-02: the id is the token, so no two active requests share one.
    let news = |progress: f64| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": id, "progress": progress}});
    assert!(tell(&mut session, 50.0, news(1.0)).starts_with("Progress"));
    session.handle_timeout(at(60.0));
    assert_eq!(session.poll_output(), None);
    // What does not grow is no progress, and buys no time.
    assert_eq!(
        tell(&mut session, 55.0, news(1.0)),
        "Ignored(StrayProgress)"
    );
    assert_eq!(
        tell(&mut session, 56.0, news(0.5)),
        "Ignored(StrayProgress)"
    );
    assert!(tell(&mut session, 90.0, news(2.0)).starts_with("Progress"));
    assert_eq!(session.next_timeout(), Some(at(100.0)));
    session.handle_timeout(at(100.0));
    assert!(matches!(session.poll_output(), Some(Output::Send(_))));
    // A-PROG-07 A-PROG-11: of what is over there is no progress.
    assert_eq!(
        tell(&mut session, 101.0, news(3.0)),
        "Ignored(StrayProgress)"
    );
}

#[test]
fn a_request_without_timeouts_waits_for_ever() {
    let (mut session, ids) = connected(config(), json!({"tools": {}}));
    call(&mut session, &ids, 0.0, Timeouts::NONE);
    assert_eq!(session.next_timeout(), None);
    session.handle_timeout(at(1e9));
    assert_eq!(session.poll_output(), None);
}

// A-ARCH-12 A-PROM-14
#[test]
fn what_the_server_did_not_declare_is_not_asked() {
    let (mut session, ids) = connected(config(), json!({"tools": {}, "resources": {}}));
    for (method, allowed) in [
        (Method::ToolsList, true),
        (Method::PromptsList, false),
        (Method::ResourcesRead, true),
        (Method::ResourcesSubscribe, false),
        (Method::LoggingSetLevel, false),
        // Completion has no capability in this revision.
        (Method::CompletionComplete, true),
        (Method::ElicitationCreate, false),
        (Method::Discover, false),
    ] {
        let asked = session.request(at(0.0), ids.next_id(), method, MINUTE);
        assert_eq!(asked.is_ok(), allowed, "{method}");
    }
    let wrong = session.request(
        at(0.0),
        ids.next_id(),
        Method::SamplingCreateMessage,
        MINUTE,
    );
    assert_eq!(
        wrong,
        Err(Misuse::WrongDirection(Method::SamplingCreateMessage).into())
    );
}

// A-ROOT-01 A-ROOT-05 A-SAMP-06 A-ARCH-13
#[test]
fn what_we_did_not_declare_is_refused_to_the_server() {
    let (mut session, _) = connected(config(), json!({}));
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}),
    );
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {}}),
    );
    for refused in said(&mut session) {
        assert_eq!(refused["error"]["code"], -32601);
    }
    let mut declaring = config();
    let capabilities = ClientCapabilities::new()
        .roots(ListCapability::new())
        .sampling(json!({}));
    declaring.client_capabilities = capabilities.into();
    let (mut session, _) = client(declaring);
    session.connect(at(0.0)).unwrap();
    assert_eq!(
        said(&mut session)[0]["params"]["capabilities"],
        json!({"roots": {}, "sampling": {}})
    );
}

// A-BASE-02
#[test]
fn ids_are_never_given_out_twice() {
    let ids = IdSource::default();
    let other = ids.clone();
    let mut given: Vec<i64> = (0..100)
        .flat_map(|_| [ids.next_id(), other.next_id()])
        .collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 200);
}

#[test]
fn an_id_that_comes_back_as_text_is_ours_all_the_same() {
    let (mut session, ids) = connected(config(), json!({"tools": {}}));
    let id = call(&mut session, &ids, 0.0, MINUTE);
    let answer = json!({"jsonrpc": "2.0", "id": id.to_string(), "result": {}});
    assert!(tell(&mut session, 0.0, answer).starts_with("Response"));
}

#[test]
fn the_bound_on_outstanding_requests_is_exact() {
    let mut small = config();
    small.limits.requests_outstanding = 3;
    let (mut session, ids) = connected(small, json!({"tools": {}}));
    for _ in 0..3 {
        call(&mut session, &ids, 0.0, MINUTE);
    }
    let fourth = session.request(at(0.0), ids.next_id(), Method::ToolsCall, MINUTE);
    assert_eq!(fourth, Err(Error::Limit("requests_outstanding")));
}

// A-PING-05 A-PING-06 A-PING-09
#[test]
fn silence_is_pinged_and_three_unanswered_pings_end_the_connection() {
    let mut pinging = config();
    pinging.ping = Some(PingPlan {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        failures: 3,
    });
    let (mut session, _) = connected(pinging, json!({}));
    assert_eq!(session.next_timeout(), Some(at(30.0)));
    session.handle_timeout(at(30.0));
    let pings = said(&mut session);
    assert_eq!(pings[0]["method"], "ping");
    // Answered: counted from the start again, and not before the interval has passed.
    assert_eq!(
        tell(
            &mut session,
            31.0,
            json!({"jsonrpc": "2.0", "id": pings[0]["id"], "result": {}})
        ),
        "Handled"
    );
    // A-PING-08
    session.handle_timeout(at(60.9));
    assert!(said(&mut session).is_empty());
    for round in 0..3 {
        let start = 61.0 + f64::from(round) * 35.0;
        session.handle_timeout(at(start));
        assert_eq!(said(&mut session).len(), 1, "{round}");
        assert!(!session.is_closed());
        session.handle_timeout(at(start + 5.0));
    }
    assert_eq!(
        session.poll_output(),
        Some(Output::Close(PeerMisbehaved::PingUnanswered.into()))
    );
}

fn server(config: SessionConfig) -> Session {
    let mut session = Session::server(config, IdSource::default());
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}),
    );
    tell(
        &mut session,
        0.0,
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    );
    said(&mut session);
    session
}

fn with_tools() -> SessionConfig {
    let mut config = config();
    let capabilities = ServerCapabilities::new()
        .tools(ListCapability::new())
        .logging(json!({}));
    config.server_capabilities = capabilities.into();
    config
}

#[test]
fn requests_in_flight_and_their_bytes_are_counted_exactly() {
    let mut small = with_tools();
    small.limits.requests_in_flight = 2;
    small.limits.bytes_in_flight = 100;
    let mut session = server(small);
    for id in 1..=2 {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}).to_string();
        let Received::Request(inbound) = session.receive(at(0.0), request.as_bytes()) else {
            panic!()
        };
        let (id, bytes) = (inbound.id.to_owned(), 51);
        session.begin(id, bytes);
    }
    assert!(session.is_overfull());
    assert_eq!(
        tell(
            &mut session,
            0.0,
            json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
        ),
        "Handled"
    );
    assert_eq!(
        said(&mut session)[0]["error"]["data"]["limit"],
        "requests_in_flight"
    );
    assert!(session.finish(&1.into()));
    assert!(!session.finish(&1.into()), "an answer is given once");
    assert!(!session.is_overfull());
    assert!(
        tell(
            &mut session,
            0.0,
            json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
        )
        .starts_with("Request")
    );
}

// A-LOG-07
#[test]
fn log_messages_and_notifications_have_their_rates() {
    let mut small = with_tools();
    (
        small.limits.log_messages_per_second,
        small.limits.log_messages_burst,
    ) = (1.0, 2.0);
    (
        small.limits.notifications_per_second,
        small.limits.notifications_burst,
    ) = (1.0, 2.0);
    let mut session = server(small);
    let mut log = |now: f64| session.log(at(now), LoggingLevel::Error);
    assert_eq!(
        [log(0.0), log(0.0), log(0.0), log(0.5)],
        [Some(0), Some(0), None, None]
    );
    assert_eq!(log(1.0), Some(2), "what was dropped is told with the next");
    let change = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let verdicts: Vec<String> = (0..3)
        .map(|_| tell(&mut session, 1.0, change.clone()))
        .collect();
    assert!(verdicts[0].starts_with("Notification") && verdicts[1].starts_with("Notification"));
    assert_eq!(
        verdicts[2],
        format!("{:?}", Received::Ignored(Ignored::TooMany))
    );
    // Cancellations are always taken in.
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(
        tell(&mut session, 1.0, cancel),
        "Ignored(UnknownCancellation)"
    );
}

// A-PROG-12
#[test]
fn progress_is_thinned_out_and_the_newest_wins() {
    let mut limits = Limits::default();
    (limits.progress_per_second, limits.progress_burst) = (1.0, 1.0);
    let mut gate = ProgressGate::new(&limits);
    let step = |progress: f64| Step {
        progress,
        total: None,
        message: None,
    };
    assert_eq!(gate.offer(at(0.0), step(1.0)), Ok(Some(step(1.0))));
    assert_eq!(gate.offer(at(0.1), step(2.0)), Ok(None));
    assert_eq!(gate.offer(at(0.2), step(3.0)), Ok(None));
    assert!(gate.offer(at(0.2), step(3.0)).is_err());
    assert!(gate.offer(at(0.2), step(f64::NAN)).is_err());
    assert_eq!(gate.due(at(0.5)), None);
    assert_eq!(
        gate.due(gate.clone().next(at(0.5)).unwrap()),
        Some(step(3.0))
    );
    assert_eq!(gate.offer(at(1.1), step(4.0)), Ok(None));
    assert_eq!(gate.last_word(), Some(step(4.0)));
    assert_eq!(gate.last_word(), None);
}

#[test]
fn the_end_of_the_transport_fails_what_waits_in_order() {
    let (mut session, ids) = connected(config(), json!({"tools": {}}));
    let sent: Vec<i64> = (0..5)
        .map(|_| call(&mut session, &ids, 0.0, MINUTE))
        .collect();
    assert_eq!(session.handle_closed(), sent);
    assert_eq!(
        tell(
            &mut session,
            0.0,
            json!({"jsonrpc": "2.0", "id": 2, "result": {}})
        ),
        "Ignored(Closed)"
    );
    assert_eq!(
        session.request(at(0.0), 99, Method::Ping, MINUTE),
        Err(Error::Closed)
    );
}
