//! What a client keeps of a server: as long as the server allows, for whom it allows, and not beyond a
//! change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::cache::{CacheMode, CacheScope, ResultCache};
use compere::client::{ClientBuilder, Tapped};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::transport::stream;
use compere::transport::tap::Direction;
use compere::{Revision, ServerHandle};
use compere_testkit::script::Script;
use compere_tests::until;
use serde_json::{Value, json};

/// Counts what a server is asked for.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn times(&self, method: &str) -> usize {
        let asked = self.0.lock().unwrap();
        asked.iter().filter(|asked| *asked == method).count()
    }

    fn listener(&self) -> impl FnMut(Direction, &[u8]) + Send + use<> {
        let asked = self.0.clone();
        move |direction, line| {
            let message: Value = serde_json::from_slice(line).unwrap();
            if let (Direction::Sent, Some(method)) = (direction, message["method"].as_str()) {
                asked.lock().unwrap().push(method.to_owned());
            }
        }
    }
}

#[derive(Clone, Default)]
struct Reads(Arc<AtomicUsize>);

/// A server whose lists take several pages, and that counts reads.
fn server(fresh: Duration, scope: CacheScope) -> (ServerHandle, Reads) {
    let reads = Reads::default();
    let mut server = Server::new("kept", "1")
        .cache(fresh, scope)
        .page_size(2)
        .state(reads.clone());
    for number in 1..=5 {
        server = server.tool(tool_fn(format!("tool-{number}"), || async { "done" }));
    }
    let read = |State(reads): State<Reads>| async move {
        format!("read {}", reads.0.fetch_add(1, Ordering::SeqCst) + 1)
    };
    let asks = |context: Context| async move {
        let roots = context.roots("where").await?;
        Ok::<_, ToolError>(format!("{} roots", roots.len()))
    };
    let server = server
        .resource(resource_fn("test://a", "a", read).subscribable())
        .resource(resource_fn("test://a/b", "b", read).subscribable())
        .resource(resource_fn("test://asks", "asks", asks));
    (server.start().unwrap(), reads)
}

async fn client(builder: ClientBuilder, server: &ServerHandle) -> (Client, Asked) {
    let asked = Asked::default();
    let target = Tapped::new(server.clone(), asked.listener());
    (builder.connect(target).await.unwrap(), asked)
}

fn builder() -> ClientBuilder {
    Client::builder("test", "1").roots([compere::model::Root::new("file:///a")])
}

async fn text(client: &Client, mode: CacheMode, uri: &str) -> String {
    let read = client.read_in(mode, uri).await.unwrap();
    read.contents[0].as_text().unwrap().to_owned()
}

// E-372 E-374 E-377 E-382 E-393
#[tokio::test(start_paused = true)]
async fn what_is_fresh_is_not_asked_for_again() {
    let (server, _) = server(Duration::from_secs(60), CacheScope::Private);
    let (client, asked) = client(builder(), &server).await;
    for _ in 0..3 {
        assert_eq!(client.tools().collect().await.unwrap().len(), 5);
        assert_eq!(text(&client, CacheMode::Use, "test://a").await, "read 1");
        assert_eq!(text(&client, CacheMode::Use, "test://a/b").await, "read 2");
    }
    assert_eq!(
        (asked.times("tools/list"), asked.times("resources/read")),
        (3, 2)
    );
    // Another list has nothing to do with it.
    assert_eq!(client.resources().collect().await.unwrap().len(), 3);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(text(&client, CacheMode::Use, "test://a").await, "read 3");
    let mut tools = client.tools();
    tools.next().await.unwrap().unwrap();
    let hint = tools.hint().unwrap();
    assert_eq!((hint.ttl_ms, hint.scope), (60_000, CacheScope::Private));
    // A page is asked for with its cursor, when it is needed.
    assert_eq!(asked.times("tools/list"), 4);
    assert_eq!(tools.collect().await.unwrap().len(), 4);
    assert_eq!(asked.times("tools/list"), 6);
}

// E-375 E-376
#[tokio::test]
async fn what_may_not_be_kept_is_not() {
    let (server, _) = server(Duration::ZERO, CacheScope::Public);
    let (client, asked) = client(builder(), &server).await;
    for times in 1..=2 {
        client.tools().collect().await.unwrap();
        assert_eq!(asked.times("tools/list"), 3 * times);
        let read = text(&client, CacheMode::Use, "test://a").await;
        assert_eq!(read, format!("read {times}"));
    }
    // Nor what a session says, whatever the server would allow.
    let (server, _) = self::server(Duration::from_secs(60), CacheScope::Public);
    let old = builder().revisions(Revision::NEGOTIABLE);
    let (client, asked) = self::client(old, &server).await;
    for _ in 0..2 {
        client.tools().collect().await.unwrap();
    }
    assert_eq!(asked.times("tools/list"), 6);
    assert_eq!(client.tools().hint(), None);
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let (server, _) = server(Duration::from_secs(60), CacheScope::Private);
    let (client, asked) = client(builder(), &server).await;
    let uri = "test://a";
    assert_eq!(text(&client, CacheMode::Bypass, uri).await, "read 1");
    assert_eq!(text(&client, CacheMode::Use, uri).await, "read 2");
    assert_eq!(text(&client, CacheMode::Bypass, uri).await, "read 3");
    assert_eq!(text(&client, CacheMode::Use, uri).await, "read 2");
    assert_eq!(text(&client, CacheMode::Refresh, uri).await, "read 4");
    assert_eq!(text(&client, CacheMode::Use, uri).await, "read 4");
    client.tools().collect().await.unwrap();
    let again = client.tools().cache(CacheMode::Refresh);
    again.collect().await.unwrap();
    assert_eq!(asked.times("tools/list"), 6);
    let (without, asked) = self::client(builder().without_cache(), &server).await;
    for _ in 0..2 {
        without.tools().collect().await.unwrap();
    }
    assert_eq!(asked.times("tools/list"), 6);
}

// E-373
#[tokio::test]
async fn what_took_a_round_is_not_kept() {
    let (server, _) = server(Duration::from_secs(60), CacheScope::Private);
    let (client, asked) = client(builder(), &server).await;
    for times in 1..=2 {
        assert_eq!(
            text(&client, CacheMode::Use, "test://asks").await,
            "1 roots"
        );
        assert_eq!(asked.times("resources/read"), 2 * times);
    }
}

#[tokio::test]
async fn what_changes_is_asked_for_again() {
    let (server, _) = server(Duration::from_secs(600), CacheScope::Private);
    let heard = Arc::new(AtomicUsize::new(0));
    let (changes, updates) = (heard.clone(), heard.clone());
    let builder = builder()
        .on_changed(move |_| {
            changes.fetch_add(1, Ordering::SeqCst);
        })
        .on_resource_updated(move |_| {
            updates.fetch_add(1, Ordering::SeqCst);
        });
    let (client, asked) = client(builder, &server).await;
    client.tools().collect().await.unwrap();
    client.resources().collect().await.unwrap();
    server.remove_tool("tool-5");
    until("the change", || heard.load(Ordering::SeqCst) == 1).await;
    assert_eq!(client.tools().collect().await.unwrap().len(), 4);
    client.resources().collect().await.unwrap();
    assert_eq!(
        (asked.times("tools/list"), asked.times("resources/list")),
        (5, 2)
    );
    // A resource, and what lies above and below it.
    client.subscribe("test://a").await.unwrap();
    for uri in ["test://a", "test://a/b"] {
        text(&client, CacheMode::Use, uri).await;
    }
    server.resource_updated("test://a");
    until("the update", || heard.load(Ordering::SeqCst) == 2).await;
    for uri in ["test://a", "test://a/b"] {
        text(&client, CacheMode::Use, uri).await;
    }
    assert_eq!(asked.times("resources/read"), 4);
}

// E-388 E-389 E-387
#[tokio::test]
async fn what_is_private_stays_with_its_principal() {
    for (scope, reads_of_others) in [(CacheScope::Private, 1), (CacheScope::Public, 0)] {
        let (server, reads) = server(Duration::from_secs(60), scope);
        let listener = server.listen_http("127.0.0.1:0", HttpOptions::new()).await;
        let listener = listener.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(listener.serve_until(std::future::pending()));
        let cache = ResultCache::new();
        let mut seen = Vec::new();
        for principal in ["ada", "ada", "grace"] {
            let builder = builder().cache(&cache, principal);
            let client = builder.connect(url.as_str()).await.unwrap();
            text(&client, CacheMode::Use, "test://a").await;
            seen.push(reads.0.load(Ordering::SeqCst));
        }
        assert_eq!(seen, [1, 1, 1 + reads_of_others], "{scope:?}");
        assert_eq!(cache.len(), 1 + reads_of_others);
        cache.clear();
        assert!(cache.is_empty());
    }
}

#[tokio::test]
async fn a_cache_has_its_bounds() {
    let (server, _) = server(Duration::from_secs(60), CacheScope::Private);
    let cache = ResultCache::bounded(2, 1 << 20);
    let (client, asked) = client(builder().cache(&cache, "ada"), &server).await;
    for _ in 0..2 {
        client.tools().collect().await.unwrap();
        assert_eq!(cache.len(), 2);
    }
    // Three pages in two places: the first is not there any more when it is needed.
    assert_eq!(asked.times("tools/list"), 6);
    let tiny = ResultCache::bounded(100, 10);
    let (client, _) = self::client(builder().cache(&tiny, "ada"), &server).await;
    client.tools().collect().await.unwrap();
    assert!(tiny.is_empty());
}

/// A server that a test plays, of the newest revision.
async fn played() -> (Client, Script) {
    let (mut script, ours) = Script::new();
    let playing = tokio::spawn(async move {
        let discover = script.next().await;
        let found = json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "resources": {}}, "ttlMs": 0, "cacheScope": "private",
        });
        script.answer(&discover, found).await;
        script
    });
    let client = builder().connect(stream::duplex(ours)).await.unwrap();
    (client, playing.await.unwrap())
}

async fn refuse(script: &mut Script, request: &Value, code: i64) {
    let error = json!({"code": code, "message": "No"});
    let refusal = json!({"jsonrpc": "2.0", "id": request["id"], "error": error});
    script.say(refusal).await;
}

// E-378 E-379
#[tokio::test(start_paused = true)]
async fn a_hint_that_is_none_allows_nothing() {
    let (client, mut script) = played().await;
    for hints in [
        json!({}),
        json!({"ttlMs": -5}),
        json!({"ttlMs": null, "cacheScope": "public"}),
        json!({"ttlMs": "60000"}),
    ] {
        let reading = client.clone();
        let reading = tokio::spawn(async move { reading.read("test://odd").await });
        let read = script.next().await;
        let mut result = json!({
            "resultType": "complete", "contents": [{"uri": "test://odd", "text": "odd"}],
        });
        for (name, value) in hints.as_object().unwrap() {
            result[name] = value.clone();
        }
        script.answer(&read, result).await;
        reading.await.unwrap().unwrap();
    }
}

// E-394 E-395
#[tokio::test(start_paused = true)]
async fn a_way_on_that_is_gone_begins_anew() {
    let (client, mut script) = played().await;
    let list = |tools: &[&str], next: Option<&str>, ttl: u32| {
        let tools: Vec<Value> = tools
            .iter()
            .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))
            .collect();
        let mut page = json!({
            "resultType": "complete", "tools": tools, "ttlMs": ttl, "cacheScope": "private",
        });
        if let Some(next) = next {
            page["nextCursor"] = json!(next);
        }
        page
    };
    let listing = || {
        let client = client.clone();
        tokio::spawn(async move { client.tools().collect().await })
    };
    let names = |tools: Vec<compere::model::Tool>| -> Vec<String> {
        tools.into_iter().map(|tool| tool.name).collect()
    };
    let first = listing();
    let page = script.next().await;
    script
        .answer(&page, list(&["a"], Some("old"), 60_000))
        .await;
    let page = script.next().await;
    script.answer(&page, list(&["b"], None, 0)).await;
    assert_eq!(names(first.await.unwrap().unwrap()), ["a", "b"]);
    // The first page is kept, and leads nowhere.
    let second = listing();
    let page = script.next().await;
    assert_eq!(page["params"]["cursor"], "old");
    refuse(&mut script, &page, -32602).await;
    let page = script.next().await;
    assert_eq!(page["params"].get("cursor"), None);
    script
        .answer(&page, list(&["c"], Some("new"), 60_000))
        .await;
    let page = script.next().await;
    assert_eq!(page["params"]["cursor"], "new");
    script.answer(&page, list(&["d"], None, 60_000)).await;
    assert_eq!(names(second.await.unwrap().unwrap()), ["c", "d"]);
    // Who begins without anything that was kept, and is refused, is refused.
    let bypass = client.tools().cache(CacheMode::Bypass);
    let third = tokio::spawn(bypass.collect());
    let page = script.next().await;
    refuse(&mut script, &page, -32603).await;
    assert!(third.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_resource_and_a_call_say_for_themselves() {
    let minute = Duration::from_secs(60);
    let by_call = |context: Context| async move {
        context.keep(Duration::from_secs(120), CacheScope::Public);
        // Said once.
        context.keep(Duration::ZERO, CacheScope::Private);
        "by the call"
    };
    let server = Server::new("kept", "1")
        .resource(resource_fn("test://server", "server", || async {
            "by the server"
        }))
        .resource(
            resource_fn("test://own", "own", || async { "by itself" })
                .cache(minute, CacheScope::Public),
        )
        .resource(resource_fn("test://call", "call", by_call).cache(minute, CacheScope::Private))
        .resource(
            template_fn("test://item/{id}", "item", || async { "by the template" })
                .cache(minute * 3, CacheScope::Private),
        );
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hears = heard.clone();
    let target = Tapped::new(server, move |direction, line: &[u8]| {
        let message: Value = serde_json::from_slice(line).unwrap();
        if direction == Direction::Received && message["result"]["contents"].is_array() {
            hears.lock().unwrap().push(message["result"].clone());
        }
    });
    let client = builder().connect(target).await.unwrap();
    for (uri, ttl, scope) in [
        ("test://server", 0, "private"),
        ("test://own", 60_000, "public"),
        ("test://call", 120_000, "public"),
        ("test://item/1", 180_000, "private"),
    ] {
        client.read(uri).await.unwrap();
        let result = heard.lock().unwrap().pop().unwrap();
        assert_eq!(result["ttlMs"], ttl, "{uri}");
        assert_eq!(result["cacheScope"], scope, "{uri}");
    }
    assert!(heard.lock().unwrap().is_empty());
    client.read("test://own").await.unwrap();
    assert!(heard.lock().unwrap().is_empty());
}
