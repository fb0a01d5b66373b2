//! What a client and a server do together, from one definition, over every transport and in every
//! revision.
//!
//! Cells that are empty: the revisions without a handshake over HTTP with SSE, which is a transport of
//! the first of the others, and behind a load balancer that shares sessions, of which they have none.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::ClientBuilder;
use compere::client::answer::{Changed, Refusal};
use compere::client::output::ToolOutput;
use compere::model::{
    CompletionReference, CreateMessageResult, ElicitAction, ElicitResult, LoggingLevel, RawJson,
    Role, Root, code,
};
use compere::prelude::*;
use compere::proto::Era;
use compere::server::http::HttpOptions;
use compere::server::http::store::MemoryStore;
use compere::{Limits, Relay, Revision, ServerHandle};
use compere_testkit::fixture;
use compere_tests::balanced::balanced;
use compere_tests::until;
use tokio::sync::oneshot;

/// How client and server reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Memory,
    Stdio,
    Sse,
    Streamable,
    /// Through a relay, from the first to the second.
    StreamableToStdio,
    MemoryToStreamable,
    SseToStreamable,
    StreamableToSse,
    /// Through a relay to a server that has no sessions.
    StreamableToNewest,
    /// Two instances behind a load balancer, each request to the other one.
    Balanced,
    BalancedSse,
}

impl Transport {
    /// The path at which the client reaches what it talks to, if that is over HTTP.
    fn path(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Stdio | Self::MemoryToStreamable => None,
            Self::Sse | Self::SseToStreamable | Self::BalancedSse => Some("/sse"),
            Self::Streamable
            | Self::StreamableToStdio
            | Self::StreamableToSse
            | Self::StreamableToNewest
            | Self::Balanced => Some("/mcp"),
        }
    }

    /// The revisions that it can carry.
    fn revisions(self) -> &'static [Revision] {
        match self {
            Self::Memory
            | Self::Stdio
            | Self::Streamable
            | Self::StreamableToStdio
            | Self::MemoryToStreamable
            | Self::StreamableToSse
            | Self::StreamableToNewest => &Revision::ALL,
            _ => Revision::NEGOTIABLE,
        }
    }

    /// The path at which a relay reaches the server, if that is over HTTP.
    fn behind(self) -> Option<&'static str> {
        match self {
            Self::MemoryToStreamable | Self::SseToStreamable | Self::StreamableToNewest => {
                Some("/mcp")
            }
            Self::StreamableToSse => Some("/sse"),
            _ => None,
        }
    }
}

/// A transport, a revision, and the server if it runs in this process.
struct Setting {
    transport: Transport,
    revision: Revision,
    address: Option<String>,
    relay: Option<ServerHandle>,
    _stops: Vec<oneshot::Sender<()>>,
}

/// Serves over HTTP until the sender is dropped.
async fn listen(handle: &ServerHandle) -> (String, oneshot::Sender<()>) {
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(listener.serve_until(async {
        let _ = stopped.await;
    }));
    (format!("http://{address}"), stop)
}

fn fixture_process() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fixture-server")).arg("all")
}

impl Setting {
    async fn new(transport: Transport, revision: Revision) -> Self {
        let mut setting = Self {
            transport,
            revision,
            address: None,
            relay: None,
            _stops: Vec::new(),
        };
        let spoken: &[Revision] = match transport {
            Transport::StreamableToNewest => &[Revision::V2026_07_28],
            _ => &Revision::ALL,
        };
        let mut served = fixture::server(spoken).start().unwrap();
        if let Some(path) = transport.behind() {
            let (address, stop) = listen(&served).await;
            setting._stops.push(stop);
            let url = format!("{address}{path}");
            let relay = Relay::new(move |client| client.connect(url.clone()));
            setting.relay = Some(relay.start().unwrap());
        }
        if transport == Transport::StreamableToStdio {
            let relay = Relay::new(|client| client.connect(fixture_process()));
            setting.relay = Some(relay.start().unwrap());
        }
        if let Some(relay) = &setting.relay {
            served = relay.clone();
        }
        if matches!(transport, Transport::Balanced | Transport::BalancedSse) {
            let stores = MemoryStore::default().shared();
            let instance = || {
                let server = fixture::server(&Revision::ALL).start().unwrap();
                server
                    .http(HttpOptions::new().shared(stores.clone()))
                    .unwrap()
            };
            let address = balanced(vec![instance(), instance()]).await;
            let path = transport.path().unwrap_or_default();
            setting.address = Some(format!("http://{address}{path}"));
        } else if let Some(path) = transport.path() {
            let (address, stop) = listen(&served).await;
            setting._stops.push(stop);
            setting.address = Some(format!("{address}{path}"));
        }
        setting
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder("behaviour", "1.0.0").revisions(&[self.revision])
    }

    async fn connect_with(&self, builder: ClientBuilder) -> Client {
        let connected = match (self.transport, &self.address, &self.relay) {
            (Transport::Memory, ..) => builder.connect(fixture::server(&Revision::ALL)).await,
            (Transport::Stdio, ..) => builder.connect(fixture_process()).await,
            (_, Some(address), _) => builder.connect(address.as_str()).await,
            (_, None, Some(relay)) => builder.connect(relay.clone()).await,
            (_, None, None) => unreachable!("a server has an address or is in memory"),
        };
        connected.unwrap()
    }

    async fn connect(&self) -> Client {
        self.connect_with(self.builder()).await
    }

    /// Does every request stand by itself?
    fn is_stateless(&self) -> bool {
        self.revision.era() == Era::Stateless
    }

    /// Does the server know no sessions, whatever the client speaks?
    fn is_stateless_behind(&self) -> bool {
        self.transport == Transport::StreamableToNewest
            || self.is_stateless() && self.relay.is_none()
    }

    fn has_elicitation(&self) -> bool {
        self.revision >= Revision::V2025_06_18
    }
}

// E-121 E-136
// A-SSE-06 B-HTTP-12 C-LIFE-01 C-LIFE-02
/// Each behaviour becomes a test per transport, over all revisions.
macro_rules! behaviours {
    ($($behaviour:ident),+ $(,)?) => {
        behaviours!(@over memory Memory $($behaviour)+);
        behaviours!(@over stdio Stdio $($behaviour)+);
        behaviours!(@over sse Sse $($behaviour)+);
        behaviours!(@over streamable Streamable $($behaviour)+);
        behaviours!(@over streamable_to_stdio StreamableToStdio $($behaviour)+);
        behaviours!(@over memory_to_streamable MemoryToStreamable $($behaviour)+);
        behaviours!(@over sse_to_streamable SseToStreamable $($behaviour)+);
        behaviours!(@over balanced Balanced $($behaviour)+);
        behaviours!(@over balanced_sse BalancedSse $($behaviour)+);
        behaviours!(@over streamable_to_sse StreamableToSse $($behaviour)+);
        behaviours!(@over streamable_to_newest StreamableToNewest $($behaviour)+);
    };
    (@over $name:ident $transport:ident $($behaviour:ident)+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    let transport = super::Transport::$transport;
                    for revision in transport.revisions().iter().copied() {
                        eprintln!("in {revision}");
                        let setting = super::Setting::new(transport, revision);
                        let setting = setting.await;
                        let patience = std::time::Duration::from_secs(30);
                        let behaving = super::$behaviour(&setting);
                        let behaved = tokio::time::timeout(patience, behaving).await;
                        assert!(behaved.is_ok(), "no end in {revision}");
                    }
                }
            )+
        }
    };
}

behaviours!(
    the_handshake_settles_who_is_who,
    lists_come_in_pages,
    calls_are_answered,
    faults_of_calls_are_told_apart,
    progress_comes_in_order_before_the_answer,
    log_messages_come_from_the_level_on,
    a_dropped_call_is_withdrawn,
    a_call_that_takes_too_long_is_given_up,
    the_server_asks_back,
    what_cannot_be_asked_is_refused,
    changes_are_announced,
    prompts_resources_and_completion,
    many_calls_at_once_find_their_answers,
    what_is_too_large_is_refused_alone,
    clients_do_not_hear_each_other,
    a_closed_client_leaves_nothing_open,
);

async fn the_handshake_settles_who_is_who(setting: &Setting) {
    let client = setting.connect().await;
    assert_eq!(client.revision(), setting.revision);
    let server = client.server_info().unwrap();
    assert_eq!((&*server.name, &*server.version), ("fixture", "1.0.0"));
    assert_eq!(client.instructions(), Some("Only for tests."));
    let capabilities = client.server_capabilities().unwrap();
    assert!(capabilities.tools.is_some() && capabilities.logging.is_some());
    client.ping().await.unwrap();
    client.close().await.unwrap();
}

async fn lists_come_in_pages(setting: &Setting) {
    let client = setting.connect().await;
    let tools = client.tools().collect().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert!(names.len() > 8, "more than two pages of four: {names:?}");
    assert!(names.contains(&"add") && names.contains(&"wait"));
    assert!(!names.contains(&"hidden"));
    let distinct: HashSet<&&str> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(client.prompts().collect().await.unwrap().len(), 2);
    assert_eq!(client.resources().collect().await.unwrap().len(), 2);
    let templates = client.resource_templates().collect().await.unwrap();
    assert_eq!(templates[0].uri_template, "test://item/{id}");
}

async fn calls_are_answered(setting: &Setting) {
    let client = setting.connect().await;
    let sum = client.call("add", json!({"a": 1, "b": 2})).await.unwrap();
    assert_eq!(sum.data::<f64>().unwrap(), 3.0);
    let word = client.call("checked", json!({"word": "abc"})).await;
    assert_eq!(word.unwrap().joined_text(), "abc");
}

// B-BASE-03 B-COMP-05
async fn faults_of_calls_are_told_apart(setting: &Setting) {
    let client = setting.connect().await;
    let failed = |result: compere::Result<ToolOutput>| {
        let output = result.unwrap();
        assert!(output.failed());
        output.joined_text()
    };
    let said = failed(client.call("fail", ()).await);
    assert_eq!(said, "it did not work");
    let said = failed(client.call("checked", json!({"word": "A"})).await);
    assert!(said.contains("word"), "{said}");
    let refusal = |error: compere::Error| error.refusal().expect("a refusal").clone();
    let unknown = refusal(client.call("nothing", ()).await.unwrap_err());
    assert_eq!(unknown.code, code::INVALID_PARAMS);
    let panicked = refusal(client.call("panic", ()).await.unwrap_err());
    assert_eq!(panicked.code, code::INTERNAL_ERROR);
    assert!(!panicked.message.contains("on purpose"));
    client.ping().await.unwrap();
}

async fn progress_comes_in_order_before_the_answer(setting: &Setting) {
    let client = setting.connect().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let done = client
        .call("progress", ())
        .on_progress(move |step| hears.lock().unwrap().push((step.progress, step.total)))
        .await
        .unwrap();
    assert_eq!(done.joined_text(), "done");
    let expected = [(1.0, Some(3.0)), (2.0, Some(3.0)), (3.0, Some(3.0))];
    assert_eq!(*heard.lock().unwrap(), expected);
}

async fn log_messages_come_from_the_level_on(setting: &Setting) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let builder = setting.builder().on_log(move |message| {
        hears.lock().unwrap().push((message.level, message.logger));
    });
    let client = setting.connect_with(builder).await;
    client.set_level(LoggingLevel::Warning).await.unwrap();
    client.call("log", ()).await.unwrap();
    client.set_level(LoggingLevel::Debug).await.unwrap();
    client.call("log", ()).await.unwrap();
    let fixture = || Some("fixture".to_owned());
    let expected = [
        (LoggingLevel::Warning, fixture()),
        (LoggingLevel::Debug, None),
        (LoggingLevel::Warning, fixture()),
    ];
    until("the log messages", || heard.lock().unwrap().len() >= 3).await;
    assert_eq!(*heard.lock().unwrap(), expected);
}

async fn a_dropped_call_is_withdrawn(setting: &Setting) {
    let client = setting.connect().await;
    if setting.is_stateless_behind() && setting.address.is_some() {
        // What is in flight is bounded by the connections there.
        let waiting = tokio::spawn(client.call("wait", ()).into_future());
        client.ping().await.unwrap();
        waiting.abort();
        client.ping().await.unwrap();
        return;
    }
    // Everything that may be in flight is, so that one more would be refused.
    let allowed = fixture::limits().requests_in_flight;
    let waiting: Vec<_> = (0..allowed)
        .map(|_| tokio::spawn(client.call("wait", ()).into_future()))
        .collect();
    let refused = async || {
        let answer = client.call("fail", ()).await;
        answer.is_err()
    };
    while !refused().await {
        tokio::task::yield_now().await;
    }
    for call in &waiting {
        call.abort();
    }
    while refused().await {
        tokio::task::yield_now().await;
    }
    client.ping().await.unwrap();
}

// E-240 E-241 E-242
async fn a_call_that_takes_too_long_is_given_up(setting: &Setting) {
    let mut limits = Limits::default();
    limits.request_timeout = Duration::from_millis(200);
    let client = setting.connect_with(setting.builder().limits(limits)).await;
    let late = client.call("wait", ()).await.unwrap_err();
    assert!(late.is_timeout(), "{late}");
    client.ping().await.unwrap();
}

async fn the_server_asks_back(setting: &Setting) {
    let mut builder = setting
        .builder()
        .roots([Root::new("file:///home/ada"), Root::new("file:///tmp")])
        .on_sample(|asked| async move {
            let said = asked.messages[0].content.text();
            let answer = if said == "2 + 2?" { "4" } else { "what?" };
            Ok(CreateMessageResult::new(Role::Assistant, answer, "abacus"))
        });
    if setting.has_elicitation() {
        builder = builder.on_elicit(|asked| async move {
            assert_eq!(asked.message, "Go on?");
            let yes = RawJson::from_value(&true).unwrap();
            let mut answer = ElicitResult::new(ElicitAction::Accept);
            answer.content = Some(BTreeMap::from([("ok".to_owned(), yes)]));
            Ok(answer)
        });
    }
    let client = setting.connect_with(builder).await;
    let sum = client.call("sample", ()).await.unwrap();
    assert_eq!(sum.joined_text(), "4");
    let roots = client.call("roots", ()).await.unwrap();
    assert_eq!(roots.joined_text(), "file:///home/ada file:///tmp");
    client.set_roots(vec![Root::new("file:///srv")]).unwrap();
    let roots = client.call("roots", ()).await.unwrap();
    assert_eq!(roots.joined_text(), "file:///srv");
    if setting.has_elicitation() {
        let answer = client.call("ask", ()).await.unwrap();
        assert_eq!(answer.joined_text(), "confirmed");
    }
}

async fn what_cannot_be_asked_is_refused(setting: &Setting) {
    let client = setting.connect().await;
    for tool in ["sample", "roots", "ask"] {
        let output = client.call(tool, ()).await.unwrap();
        assert!(output.failed(), "{tool}");
    }
    let builder = setting
        .builder()
        .on_sample(|_| async { Err(Refusal::by_user("not today")) });
    let client = setting.connect_with(builder).await;
    let output = client.call("sample", ()).await;
    if setting.is_stateless() || setting.is_stateless_behind() {
        // There is no telling the server, which does not wait.
        let refused = output.unwrap_err();
        assert!(refused.to_string().contains("not today"), "{refused}");
        return;
    }
    let output = output.unwrap();
    assert!(output.failed());
    assert!(output.joined_text().contains("not today"));
}

async fn changes_are_announced(setting: &Setting) {
    let changed = Arc::new(Mutex::new(Vec::new()));
    let updated = Arc::new(Mutex::new(Vec::new()));
    let (hears_change, hears_update) = (changed.clone(), updated.clone());
    let builder = setting
        .builder()
        .on_changed(move |what| hears_change.lock().unwrap().push(what))
        .on_resource_updated(move |uri| hears_update.lock().unwrap().push(uri));
    let client = setting.connect_with(builder).await;
    client.subscribe("test://text").await.unwrap();
    client.call("change", ()).await.unwrap();
    // Several changes at once may be told once.
    let is_told_each = !setting.is_stateless() && !setting.is_stateless_behind();
    let least = if is_told_each { 2 } else { 1 };
    until("the changes", || changed.lock().unwrap().len() >= least).await;
    until("the update", || !updated.lock().unwrap().is_empty()).await;
    client.unsubscribe("test://text").await.unwrap();
    client.subscribe("test://item/1").await.unwrap();
    client.call("change", ()).await.unwrap();
    until("the second update", || updated.lock().unwrap().len() >= 2).await;
    let changed = changed.lock().unwrap().clone();
    match is_told_each {
        false => assert!(changed.iter().all(|what| *what == Changed::Tools)),
        true => assert_eq!(changed, [Changed::Tools; 4]),
    }
    assert_eq!(*updated.lock().unwrap(), ["test://text", "test://item/1"]);
    let unknown = client.subscribe("test://nothing").await.unwrap_err();
    assert!(unknown.refusal().is_some());
}

// B-COMP-01 B-COMP-03 B-COMP-04
async fn prompts_resources_and_completion(setting: &Setting) {
    let client = setting.connect().await;
    let name = BTreeMap::from([("name".to_owned(), "Ada".to_owned())]);
    let prompt = client.prompt("greet", name).await.unwrap();
    assert_eq!(
        prompt.messages[0].content.as_text(),
        Some("Say hello to Ada.")
    );
    assert!(client.prompt("greet", BTreeMap::new()).await.is_err());
    let text = client.read("test://text").await.unwrap();
    assert_eq!(text.contents[0].as_text(), Some("plain text"));
    let bytes = client.read("test://bytes").await.unwrap();
    let bytes = serde_json::to_value(&bytes.contents[0]).unwrap();
    assert_eq!(bytes["blob"], "AAEC");
    let item = client.read("test://item/7").await.unwrap();
    assert_eq!(item.contents[0].as_text(), Some("item 7"));
    let missing = client.read("test://item/none").await.unwrap_err();
    let not_found = setting.revision.rules().resource_not_found_code;
    assert_eq!(missing.refusal().unwrap().code, not_found);
    let reference = CompletionReference::Prompt {
        name: "greet".to_owned(),
    };
    let names = client
        .complete(reference, "name", "g", BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(names.values, ["Grace"]);
}

async fn many_calls_at_once_find_their_answers(setting: &Setting) {
    let client = setting.connect().await;
    let calls = (0..60).map(|number| {
        let call = client.call("add", json!({"a": number, "b": 1}));
        async move { (number, call.await.unwrap().data::<f64>().unwrap()) }
    });
    for (number, sum) in futures_util::future::join_all(calls).await {
        assert_eq!(sum, f64::from(number) + 1.0);
    }
}

async fn what_is_too_large_is_refused_alone(setting: &Setting) {
    let client = setting.connect().await;
    let word = "a".repeat(fixture::limits().request_bytes);
    let beside = client.call("add", json!({"a": 1, "b": 1}));
    let refused = client.call("checked", json!({"word": word})).await;
    let refused = refused.unwrap_err();
    let refusal = refused.refusal().expect("a refusal");
    assert!(refusal.message.contains("request_bytes"), "{refusal}");
    assert_eq!(beside.await.unwrap().data::<f64>().unwrap(), 2.0);
}

async fn clients_do_not_hear_each_other(setting: &Setting) {
    let heard = [Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0))];
    let mut clients = Vec::new();
    for heard in &heard {
        let hears = heard.clone();
        let builder = setting
            .builder()
            .on_log(move |_| *hears.lock().unwrap() += 1);
        clients.push(setting.connect_with(builder).await);
    }
    clients[0].set_level(LoggingLevel::Debug).await.unwrap();
    clients[0].call("log", ()).await.unwrap();
    until("the log messages", || *heard[0].lock().unwrap() == 2).await;
    clients[1].ping().await.unwrap();
    assert_eq!(*heard[1].lock().unwrap(), 0);
}

async fn a_closed_client_leaves_nothing_open(setting: &Setting) {
    let client = setting.connect().await;
    let pending = tokio::spawn(client.call("wait", ()).into_future());
    client.ping().await.unwrap();
    client.clone().close().await.unwrap();
    let pending = pending.await.unwrap().unwrap_err();
    assert!(pending.is_closed(), "{pending}");
    assert!(client.ping().await.unwrap_err().is_closed());
}
