//! The server beyond the transcripts: layers, state, visibility, dynamic changes, what it refuses
//! to start with, slow readers, shutdown.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use compere::model::CallToolResult;
use compere::prelude::*;
use compere::{ErrorKind, Limits, ServerTool, ToolRequest};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

#[derive(Clone)]
struct Counter(Arc<AtomicUsize>);

/// Counts, and needs its counter.
#[tool(name = "count-up", title = "Count", idempotent = false)]
fn count_up(
    counter: State<Counter>,
    /// By how much.
    #[serde(default = "one")]
    by: usize,
) -> String {
    (counter.0.0.fetch_add(by, Ordering::SeqCst) + by).to_string()
}

fn one() -> usize {
    1
}

/// Blocks, where blocking is allowed.
#[tool(blocking)]
fn on_the_pool() -> bool {
    std::thread::current().name() != Some("main")
}

#[tokio::test]
async fn shared_state_reaches_handlers_and_is_required() {
    let error = Server::new("s", "1").tool(count_up).start().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Setup);
    assert!(error.to_string().contains("Counter"), "{error}");
    let counter = Counter(Arc::default());
    let client = Client::connect(Server::new("s", "1").tool(count_up).state(counter))
        .await
        .unwrap();
    client.call("count-up", ()).await.unwrap();
    assert_eq!(
        client
            .call("count-up", json!({"by": 2}))
            .await
            .unwrap()
            .joined_text(),
        "3"
    );
    // A function with a macro can still be called as one.
    assert_eq!(count_up::call(State(Counter(Arc::default())), 5), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_tools_and_pending_calls_on_many_threads() {
    let server = Server::new("s", "1")
        .tool(on_the_pool)
        .tool_fn("later", || async {
            tokio::task::yield_now().await;
            "now"
        });
    let client = Client::connect(server).await.unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(client.call("later", ()).into_future()))
        .collect();
    assert!(
        client
            .call("on_the_pool", ())
            .await
            .unwrap()
            .data::<bool>()
            .unwrap()
    );
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().joined_text(), "now");
    }
}

/// Makes every call wait until it is ready, and marks its result.
#[derive(Clone)]
struct Marking;

#[derive(Clone)]
struct Marked<S> {
    inner: S,
    waited: bool,
}

impl<S> tower_layer::Layer<S> for Marking {
    type Service = Marked<S>;

    fn layer(&self, inner: S) -> Marked<S> {
        Marked {
            inner,
            waited: false,
        }
    }
}

impl<S> tower_service::Service<ToolRequest> for Marked<S>
where
    S: tower_service::Service<ToolRequest, Response = CallToolResult, Error = ToolError>,
    S::Future: Send + 'static,
{
    type Response = CallToolResult;
    type Error = ToolError;
    type Future = Pin<Box<dyn Future<Output = Result<CallToolResult, ToolError>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), ToolError>> {
        if !self.waited {
            self.waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: ToolRequest) -> Self::Future {
        let arguments = request.arguments.get().to_owned();
        let inner = self.inner.call(request);
        Box::pin(async move {
            let text = inner.await?.joined_text();
            Ok(CallToolResult::text(format!("{text} with {arguments}")))
        })
    }
}

#[tokio::test]
async fn layers_wrap_one_tool_or_all() {
    let plain = || tool_fn("plain", || async { "plain" });
    let layered = tool_fn("layered", |context: Context| async move {
        context.progress(1.0);
        "layered"
    });
    let client = Client::connect(
        Server::new("s", "1")
            .tool(plain())
            .tool(layered.layer(&Marking)),
    )
    .await
    .unwrap();
    assert_eq!(
        client.call("plain", ()).await.unwrap().joined_text(),
        "plain"
    );
    let steps = Arc::new(AtomicUsize::new(0));
    let seen = steps.clone();
    let output = client
        .call("layered", json!({"a": 1}))
        .on_progress(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        })
        .await
        .unwrap();
    assert_eq!(output.joined_text(), "layered with {\"a\":1}");
    assert_eq!(steps.load(Ordering::SeqCst), 1);
    let client = Client::connect(Server::new("s", "1").tool(plain()).layer(Marking))
        .await
        .unwrap();
    assert_eq!(
        client.call("plain", ()).await.unwrap().joined_text(),
        "plain with {}"
    );
}

#[tokio::test]
async fn what_is_offered_changes_while_it_runs() {
    let handle = Server::new("s", "1").tools_later().start().unwrap();
    let client = Client::connect(handle.clone()).await.unwrap();
    assert!(client.tools().collect().await.unwrap().is_empty());
    handle.add_tool(tool_fn("new", || async { "new" })).unwrap();
    assert!(
        handle
            .add_tool(tool_fn("new", || async { "other" }))
            .is_err()
    );
    assert_eq!(client.call("new", ()).await.unwrap().joined_text(), "new");
    assert!(handle.remove_tool("new") && !handle.remove_tool("new"));
    assert!(client.call("new", ()).await.is_err());
}

#[tokio::test]
async fn cursors_hold_while_entries_come_and_go() {
    let tool = |name: &str| tool_fn(name, || async { "" });
    let server = ["a", "b", "c", "d"]
        .into_iter()
        .fold(Server::new("s", "1").page_size(2), |server, name| {
            server.tool(tool(name))
        });
    let handle = server.start().unwrap();
    let client = Client::connect(handle.clone()).await.unwrap();
    let mut list = client.tools();
    let mut names = vec![
        list.next().await.unwrap().unwrap().name,
        list.next().await.unwrap().unwrap().name,
    ];
    handle.remove_tool("b");
    handle.add_tool(tool("e")).unwrap();
    while let Some(tool) = list.next().await {
        names.push(tool.unwrap().name);
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

// E-049 E-051 E-053 E-055 E-337 E-368
// D-185 D-012
#[tokio::test]
async fn a_server_that_cannot_work_does_not_start() {
    let start = |tool: ServerTool| {
        Server::new("s", "1")
            .tool(tool)
            .start()
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let with = |schema: serde_json::Value| {
        tool_fn("t", || async { "" })
            .input_schema(compere::schemars::Schema::try_from(schema).unwrap())
    };
    let twice = Server::new("s", "1")
        .tool(tool_fn("t", || async { "" }))
        .tool(tool_fn("t", || async { "" }));
    assert!(twice.start().unwrap_err().to_string().contains("twice"));
    assert!(start(with(json!({"type": "string"}))).contains("\"type\": \"object\""));
    let remote =
        json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}});
    assert!(start(with(remote)).contains("leads outside"));
    let mut deep = json!({"type": "string"});
    for _ in 0..40 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert!(start(with(deep)).contains("deeper"));
    let template = template_fn("t://{#x}", "t", || async { "" });
    assert!(Server::new("s", "1").resource(template).start().is_err());
    let nobody =
        Server::new("s", "1").complete_prompt("nothing", "x", |_| async { Ok(Vec::new()) });
    assert!(nobody.start().is_err());
}

// E-412
// A-COMP-11
#[tokio::test]
async fn visibility_holds_for_lists_calls_and_completion() {
    let hidden = |name: &str| {
        prompt_fn(name, || async { "" }).visible_to(|session| session.principal() == "nobody")
    };
    let server = Server::new("s", "1")
        .prompt(hidden("secret"))
        .complete_prompt("secret", "x", |_| async { Ok(vec!["leak".to_owned()]) });
    let client = Client::connect(server).await.unwrap();
    assert!(client.prompts().collect().await.unwrap().is_empty());
    let reference = compere::model::CompletionReference::Prompt {
        name: "secret".to_owned(),
    };
    let error = client
        .complete(reference, "x", "", Default::default())
        .await
        .unwrap_err();
    assert_eq!(error.refusal().unwrap().code, -32602);
}

const OPEN: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
"#;

#[tokio::test(start_paused = true)]
async fn a_writer_that_never_reads_is_closed_with_a_reason_and_costs_no_memory() {
    let mut limits = Limits::default();
    limits.bytes_in_flight = 1024 * 1024;
    limits.calls_burst = 1e9;
    let server = Server::new("s", "1")
        .limits(limits)
        .tool_fn("big", || async { "x".repeat(100_000) });
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    let (_reader, mut writer) = tokio::io::split(ours);
    writer.write_all(OPEN.as_bytes()).await.unwrap();
    let flood = async {
        for id in 1.. {
            let call = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"big\"}}}}\n"
            );
            if writer.write_all(call.as_bytes()).await.is_err() {
                return id;
            }
        }
        0
    };
    let (sent, ended) = tokio::join!(flood, serving);
    let error = ended.unwrap().unwrap_err();
    assert!(error.to_string().contains("does not read"), "{error}");
    // It stopped taking requests in after about as many as fill the bound, and what the pipe holds.
    assert!(sent < 1500, "{sent}");
}

// A-PING-01: pings are answered whatever else goes on.
#[tokio::test(start_paused = true)]
async fn a_full_house_still_answers_pings() {
    let server = Server::new("s", "1").tool_fn("wait", std::future::pending::<String>);
    let (ours, theirs) = tokio::io::duplex(1024 * 1024);
    tokio::spawn(async move { server.serve(theirs).await });
    let (reader, mut writer) = tokio::io::split(ours);
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(OPEN.as_bytes()).await.unwrap();
    lines.next_line().await.unwrap();
    for id in 1..=257 {
        let call = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"wait\"}}}}\n"
        );
        writer.write_all(call.as_bytes()).await.unwrap();
    }
    writer
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n")
        .await
        .unwrap();
    let refused = lines.next_line().await.unwrap().unwrap();
    assert!(
        refused.contains("\"id\":257") && refused.contains("requests_in_flight"),
        "{refused}"
    );
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("\"id\":\"p\"")
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_calls_finish_within_the_grace() {
    let server = Server::new("s", "1").tool_fn("three", || async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "done"
    });
    let handle = server
        .tool_fn("hour", || async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            "never"
        })
        .start()
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn({
        let handle = handle.clone();
        async move { handle.serve(theirs).await }
    });
    let (mut reader, mut writer) = tokio::io::split(ours);
    writer.write_all(OPEN.as_bytes()).await.unwrap();
    for (id, name) in [(1, "three"), (2, "hour")] {
        let call = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{name}\"}}}}\n"
        );
        writer.write_all(call.as_bytes()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = tokio::time::Instant::now();
    handle.shutdown();
    serving.await.unwrap().unwrap();
    assert!(
        (4.9..5.2).contains(&start.elapsed().as_secs_f64()),
        "{:?}",
        start.elapsed()
    );
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("done") && !rest.contains("never"), "{rest}");
}

// A-CANC-04 A-CANC-05: a handler notices, cleans up within its grace, and is dropped after it.
#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_is_told_and_then_dropped() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (told, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (tells, drops) = (told.clone(), dropped.clone());
    let server = Server::new("s", "1").tool_fn("stubborn", move |context: Context| {
        let (tells, guard) = (tells.clone(), Dropped(drops.clone()));
        async move {
            context.cancelled().await;
            tells.fetch_add(1, Ordering::SeqCst);
            let _guard = guard;
            std::future::pending::<String>().await
        }
    });
    let client = Client::connect(server).await.unwrap();
    let call = tokio::spawn(client.call("stubborn", ()).into_future());
    client.ping().await.unwrap();
    call.abort();
    let _ = call.await;
    client.ping().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        (told.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)),
        (1, 0)
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn hooks_for_the_end_run_and_may_panic() {
    let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let telling = told.clone();
    let handle = Server::new("s", "1")
        .resource(resource_fn("demo://x", "x", || async { "x" }).subscribable())
        .on_subscribe(|_, uri| match uri {
            "demo://x" => Ok(()),
            _ => Err(ToolError::new("not that one")),
        })
        .on_unsubscribe(move |_, uri| {
            telling.send(uri.to_owned()).unwrap();
            panic!("on purpose");
        })
        .on_ended(move |session| told.send(format!("session {}", session.id())).unwrap())
        .start()
        .unwrap();
    let client = Client::connect(handle.clone()).await.unwrap();
    client.subscribe("demo://x").await.unwrap();
    client.subscribe("demo://x").await.unwrap();
    client.close().await.unwrap();
    // Once for each subscription, however often it was asked for; then the end itself.
    assert_eq!(ended.recv().await.unwrap(), "demo://x");
    assert_eq!(ended.recv().await.unwrap(), "session 1");
    let next = Client::connect(handle).await.unwrap();
    next.ping().await.unwrap();
}
