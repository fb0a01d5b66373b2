//! How a client finds out the era of a server, and what it does in the one without sessions: by itself,
//! safely, and with what it found out before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::answer::{Changed, Refusal};
use compere::client::era::{EraMemory, Verdict};
use compere::client::{ClientBuilder, Tapped};
use compere::model::{
    Content, CreateMessageParams, CreateMessageResult, ElicitAction, ElicitParams, ElicitResult,
    RawJson, Role, Root, SamplingMessage, ToolUseContent, UrlElicitation,
};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::transport::stream;
use compere::transport::tap::Direction;
use compere::{Elicited, ErrorKind, Limits, Revision};
use compere_proto::connection::discovery::{Finding, judge};
use compere_proto::jsonrpc::ErrorObject;
use compere_testkit::script::Script;
use compere_tests::until;
use serde_json::{Value, json};

/// What a client has sent, in order.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Value>>>);

impl Sent {
    fn tapped<T>(&self, target: T) -> Tapped<T, impl FnMut(Direction, &[u8]) + Send + use<T>> {
        let all = self.0.clone();
        Tapped::new(target, move |direction, line: &[u8]| {
            if direction == Direction::Sent {
                all.lock()
                    .unwrap()
                    .push(serde_json::from_slice(line).unwrap());
            }
        })
    }

    fn methods(&self) -> Vec<String> {
        let all = self.0.lock().unwrap();
        let methods = all
            .iter()
            .map(|message| message["method"].as_str().unwrap_or("answer"));
        methods.map(str::to_owned).collect()
    }

    fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }
}

fn name_form() -> ElicitParams {
    let form =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    ElicitParams::new("Who are you?").requested_schema(form)
}

async fn hello(context: Context) -> Result<String, ToolError> {
    let answer = context.elicit("who", name_form()).await?;
    let question = CreateMessageParams::new(vec![SamplingMessage::user("Greet.")], 10_u64);
    let greeting = context.sample("greeting", question).await?;
    let roots = context.roots("roots").await?;
    let content = answer.content.unwrap_or_default();
    let name: String = content["name"].decode()?;
    Ok(format!(
        "{} {name} of {}",
        greeting.content.text(),
        roots[0].uri
    ))
}

fn server() -> Server {
    Server::new("eras", "1.0.0")
        .instructions("Use it well.")
        .tool(tool_fn("echo", || async { "echo" }))
        .tool(tool_fn("hello", hello))
        .tool(tool_fn("page", |context: Context| async move {
            let page = UrlElicitation::new("Sign in.", "https://example.com/in", "unused");
            Ok::<_, ToolError>(match context.elicit_url("page", &page).await? {
                Elicited::Accepted(()) => "went there",
                _ => "stayed",
            })
        }))
        .tool(tool_fn("who", |context: Context| async move {
            context
                .client_info()
                .map(|info| info.name.clone())
                .unwrap_or_default()
        }))
        .tool(tool_fn("progress", |context: Context| async move {
            context.progress_of(1.0, 2.0);
            context.elicit("who", name_form()).await?;
            context.progress_of(2.0, 2.0);
            Ok::<_, ToolError>("done")
        }))
        .resource(resource_fn("test://a", "a", || async { "a" }).subscribable())
        .resource(resource_fn("test://b", "b", || async { "b" }).subscribable())
        .resource(resource_fn("test://still", "still", || async { "still" }))
        .prompt(prompt_fn("greet", || async { "Hello." }))
}

fn answers(builder: ClientBuilder) -> ClientBuilder {
    builder
        .roots([Root::new("file:///home/ada")])
        .on_sample(|_| async { Ok(CreateMessageResult::new(Role::Assistant, "Good day", "m")) })
        .on_elicit(|_| async {
            let content = BTreeMap::from([("name".to_owned(), RawJson::from(json!("Ada")))]);
            Ok(ElicitResult::new(ElicitAction::Accept).content(content))
        })
}

fn client() -> ClientBuilder {
    Client::builder("test", "1")
}

// E-063 E-066 E-082 E-450 E-689 E-092 E-118 E-204 E-224 E-226 E-228 E-335 E-444 E-497 E-522
#[tokio::test]
async fn the_newest_era_is_found_and_its_rounds_are_played() {
    let sent = Sent::default();
    let client = answers(client())
        .connect(sent.tapped(server()))
        .await
        .unwrap();
    assert_eq!(client.revision(), Revision::V2026_07_28);
    assert_eq!(client.server_info().unwrap().name, "eras");
    assert_eq!(client.instructions(), Some("Use it well."));
    let said = client.call("hello", ()).await.unwrap();
    assert_eq!(said.joined_text(), "Good day Ada of file:///home/ada");
    assert_eq!(said.0.meta, None);
    assert_eq!(client.call("who", ()).await.unwrap().joined_text(), "test");
    assert_eq!(client.tools().collect().await.unwrap().len(), 5);
    client.ping().await.unwrap();
    let all = sent.all();
    let calls: Vec<&Value> = all
        .iter()
        .filter(|message| message["params"]["name"] == "hello")
        .collect();
    assert_eq!(calls.len(), 4, "one and three rounds");
    let ids: std::collections::HashSet<String> = all
        .iter()
        .map(|message| message["id"].to_string())
        .collect();
    assert_eq!(ids.len(), all.len(), "each has an id of its own");
    for message in &all {
        let meta = &message["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28",
            "{message}"
        );
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "test");
        let capabilities = json!({"elicitation": {}, "roots": {}, "sampling": {}});
        assert_eq!(
            meta["io.modelcontextprotocol/clientCapabilities"],
            capabilities
        );
        let retries = message["params"].get("inputResponses").is_some();
        assert_eq!(
            message["params"].get("requestState").is_some(),
            retries,
            "{message}"
        );
    }
    client.close().await.unwrap();
    // Pinned to another one, it is not asked for.
    let sent = Sent::default();
    let pinned = self::client().revisions(&[Revision::V2025_06_18]);
    let client = pinned.connect(sent.tapped(server())).await.unwrap();
    assert_eq!(client.revision(), Revision::V2025_06_18);
    assert_eq!(sent.methods()[0], "initialize");
}

#[tokio::test]
async fn progress_of_all_rounds_comes_to_one_place() {
    let client = answers(client()).connect(server()).await.unwrap();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let hears = steps.clone();
    let call = client.call("progress", ());
    let call = call.on_progress(move |step| hears.lock().unwrap().push(step.progress));
    assert_eq!(call.await.unwrap().joined_text(), "done");
    let steps = steps.lock().unwrap().clone();
    assert_eq!(steps.last(), Some(&2.0), "{steps:?}");
}

// E-439 E-443 E-453 E-454
#[tokio::test]
async fn a_person_goes_to_a_page_in_a_round_as_well() {
    let seen: Arc<Mutex<Vec<UrlElicitation>>> = Arc::default();
    let sees = seen.clone();
    let client = client()
        .on_elicit_url(move |page| {
            sees.lock().unwrap().push(page);
            async { Ok(ElicitAction::Accept) }
        })
        .connect(server())
        .await
        .unwrap();
    assert_eq!(
        client.call("page", ()).await.unwrap().joined_text(),
        "went there"
    );
    let seen = seen.lock().unwrap().clone();
    assert_eq!((seen.len(), &*seen[0].url), (1, "https://example.com/in"));
    // A form was not declared.
    let refused = client.call("hello", ()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, -32021);
}

/// On a session it is an error with the pages in it; here the person is sent there, and the call goes on.
#[tokio::test]
async fn a_page_that_comes_first_is_a_round() {
    for (agrees, arrives) in [(true, true), (true, false), (false, false)] {
        let there: Arc<AtomicBool> = Arc::default();
        let (signed_in, goes) = (there.clone(), there.clone());
        let server = Server::new("pages", "1").tool_fn("guarded", move || {
            let signed_in = signed_in.load(Ordering::SeqCst);
            async move {
                let page = UrlElicitation::new("Sign in.", "https://example.com/in", "any");
                match signed_in {
                    true => Ok("come in"),
                    false => Err(ToolError::url_elicitation_required(&[page])),
                }
            }
        });
        let person = client().on_elicit_url(move |_| {
            goes.store(arrives, Ordering::SeqCst);
            async move {
                Ok(match agrees {
                    true => ElicitAction::Accept,
                    false => ElicitAction::Decline,
                })
            }
        });
        let client = person.connect(server).await.unwrap();
        match client.call("guarded", ()).await {
            Ok(said) => assert_eq!((said.joined_text(), arrives), ("come in".to_owned(), true)),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !arrives && text.contains("https://example.com/in"),
                    "{text}"
                );
                assert!(text.contains("call again"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn what_nobody_answers_ends_the_call() {
    let refusing = client()
        .roots([Root::new("file:///home/ada")])
        .on_sample(|_| async { Err(Refusal::by_user("not today")) })
        .on_elicit(|_| async { Err(Refusal::by_user("busy")) });
    let client = refusing.connect(server()).await.unwrap();
    // The form is put away, which the server hears of; the model refuses, which it does not.
    let error = client.call("hello", ()).await.unwrap_err();
    assert!(error.to_string().contains("not today"), "{error}");
}

/// A server of the other era, which answers `server/discover` in its own way.
async fn legacy(answer: Value, greeted: &str) -> (Client, Vec<String>) {
    let (mut script, ours) = Script::new();
    let greeting = greeted.to_owned();
    let playing = tokio::spawn(async move {
        let discover = script.next().await;
        assert_eq!(discover["method"], "server/discover");
        if !answer.is_null() {
            let mut said = answer;
            said["jsonrpc"] = json!("2.0");
            if said.get("noid").is_none() {
                said["id"] = discover["id"].clone();
            }
            script.say(said).await;
        }
        script.serve_handshake(&greeting, json!({})).await;
        script
    });
    let sent = Sent::default();
    let client = client()
        .connect(sent.tapped(stream::duplex(ours)))
        .await
        .unwrap();
    let _script = playing.await.unwrap();
    (client, sent.methods())
}

/// A client that is connected to a server of the newest revision, which is played by hand.
async fn modern() -> (Client, Script) {
    modern_to(client()).await
}

async fn modern_to(builder: ClientBuilder) -> (Client, Script) {
    let (mut script, ours) = Script::new();
    let playing = tokio::spawn(async move {
        let capabilities = json!({"tools": {}, "extensions": {"com.example/kept": {}}});
        script.serve_discover(capabilities).await;
        script
    });
    let client = builder.connect(stream::duplex(ours)).await.unwrap();
    (client, playing.await.unwrap())
}

// E-017 E-018 E-019
#[tokio::test(start_paused = true)]
async fn a_result_is_read_by_its_kind() {
    let (client, mut script) = modern().await;
    let content = json!([{"type": "text", "text": "done"}]);
    for (result, works) in [
        (json!({"resultType": "complete", "content": content}), true),
        (json!({"content": content}), true),
        (
            json!({"resultType": "com.example/half", "content": content}),
            false,
        ),
        (
            json!({"resultType": "task", "taskId": "t", "content": content}),
            false,
        ),
        (json!({"resultType": 7, "content": content}), false),
        (json!({"resultType": "input_required"}), false),
        // E-057 E-282: what reserved names hold, and who the server is, is no reason for anything.
        (
            json!({
                "resultType": "complete",
                "content": content,
                "_meta": {"io.modelcontextprotocol/serverInfo": 7, "modelcontextprotocol.io/x": [1]},
            }),
            true,
        ),
    ] {
        let calling = tokio::spawn(client.call("any", ()).into_future());
        let call = script.next().await;
        // E-009 E-010 E-227 E-229
        assert!(call["id"].is_i64(), "{call}");
        assert!(call["params"].get("requestState").is_none(), "{call}");
        script.answer(&call, result.clone()).await;
        let said = calling.await.unwrap();
        assert_eq!(said.is_ok(), works, "{result}: {said:?}");
    }
    // E-026: a code of that range says nothing; it comes to the caller as it is.
    let calling = tokio::spawn(client.call("any", ()).into_future());
    let call = script.next().await;
    let error = json!({"code": -32003, "message": "of old"});
    script
        .say(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}))
        .await;
    let refused = calling.await.unwrap().unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, -32003);
}

// E-495 E-502 E-503 E-690
#[tokio::test(start_paused = true)]
async fn a_model_uses_tools_in_a_round_as_it_may() {
    let tool = json!({"name": "look", "inputSchema": {"type": "object"}});
    for (declared, mode, uses_tools, fits) in [
        (false, "auto", false, false),
        (true, "auto", true, true),
        (true, "required", true, true),
        (true, "required", false, false),
        (true, "none", true, false),
        (true, "none", false, true),
    ] {
        let model = client().on_sample(move |_| async move {
            let block = match uses_tools {
                true => {
                    let input = RawJson::from(json!({}));
                    Content::ToolUse(Box::new(ToolUseContent::new("a", "look", input)))
                }
                false => Content::text("because"),
            };
            Ok(CreateMessageResult::new(Role::Assistant, block, "m"))
        });
        let model = match declared {
            true => model.sampling_tools(),
            false => model,
        };
        let (client, mut script) = modern_to(model).await;
        let calling = tokio::spawn(client.call("any", ()).into_future());
        let asked = json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": "why?"}}],
            "maxTokens": 10,
            "tools": [tool],
            "toolChoice": {"mode": mode},
        });
        let call = script.next().await;
        let questions = json!({"q": {"method": "sampling/createMessage", "params": asked}});
        let result = json!({"resultType": "input_required", "inputRequests": questions});
        script.answer(&call, result).await;
        if fits {
            let again = script.next().await;
            assert_eq!(
                again["params"]["inputResponses"]["q"]["model"], "m",
                "{mode}"
            );
            let done = json!({"resultType": "complete", "content": []});
            script.answer(&again, done).await;
            assert!(calling.await.unwrap().is_ok());
        } else {
            let failed = calling.await.unwrap();
            assert!(
                failed.is_err(),
                "{declared} {mode} {uses_tools}: {failed:?}"
            );
        }
    }
}

/// `roots/list` has nothing to say but its name, and some say only that.
#[tokio::test(start_paused = true)]
async fn a_question_needs_no_params() {
    let builder = Client::builder("test", "1").roots([compere::model::Root::new("file:///a")]);
    let (client, mut script) = modern_to(builder).await;
    let calling = tokio::spawn(client.call("any", ()).into_future());
    let call = script.next().await;
    let questions = json!({"q": {"method": "roots/list"}});
    let result = json!({"resultType": "input_required", "inputRequests": questions});
    script.answer(&call, result).await;
    let again = script.next().await;
    let roots = &again["params"]["inputResponses"]["q"]["roots"];
    assert_eq!(roots[0]["uri"], "file:///a", "{again}");
    let done = json!({"resultType": "complete", "content": []});
    script.answer(&again, done).await;
    assert!(calling.await.unwrap().is_ok());
}

// E-430 E-433 E-434 E-435 E-436
#[tokio::test(start_paused = true)]
async fn cursors_are_sent_as_they_came_even_empty_ones() {
    let (client, mut script) = modern().await;
    let listing = tokio::spawn(async move { client.tools().collect().await });
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    for (asked, next, tools) in [
        (json!(null), json!(""), vec![tool("a"), tool("b")]),
        (json!(""), json!("{\"x\":1}"), vec![]),
        (json!("{\"x\":1}"), json!(null), vec![tool("c")]),
    ] {
        let list = script.next().await;
        assert_eq!(list["params"]["cursor"], asked, "{list}");
        let mut page = json!({
            "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private",
        });
        if !next.is_null() {
            page["nextCursor"] = next;
        }
        script.answer(&list, page).await;
    }
    assert_eq!(listing.await.unwrap().unwrap().len(), 3);
}

// E-111 E-235 E-239 E-245 E-251
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_cancelled_by_its_id() {
    let (client, mut script) = modern().await;
    let calling = tokio::spawn(client.call("slow", ()).into_future());
    let call = script.next().await;
    calling.abort();
    let cancelled = script.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
    // Its answer may come all the same.
    let done = json!({"resultType": "complete", "content": []});
    script.answer(&call, done.clone()).await;
    let calling = tokio::spawn(client.call("next", ()).into_future());
    let next = script.next().await;
    // E-011
    assert_ne!(next["id"], call["id"]);
    script.answer(&next, done).await;
    assert!(calling.await.unwrap().is_ok());
}

// E-089 E-119 E-280
#[tokio::test(start_paused = true)]
async fn any_answer_of_the_other_era_leads_to_its_handshake() {
    for answer in [
        json!({"error": {"code": -32601, "message": "Method not found"}}),
        json!({"error": {"code": -32602, "message": "Invalid request parameters"}}),
        json!({"error": {"code": -32600, "message": "Not initialized"}}),
        json!({"error": {"code": 0, "message": "?"}}),
        json!({"error": {"code": -32022, "message": "?", "data": {"supported": ["2025-11-25", "2024-11-05"]}}}),
        json!({"error": {"code": -32022, "message": "?"}}),
        // One that answers everything.
        json!({"result": {}}),
        json!({"result": {"supportedVersions": ["2025-11-25"], "capabilities": {}, "resultType": "complete"}}),
        json!({"result": {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}}),
        // Something malformed.
        json!({"result": {}, "error": {"code": 1, "message": "both"}}),
        // Nothing at all.
        Value::Null,
    ] {
        let shown = answer.to_string();
        let (client, methods) = legacy(answer, "2025-06-18").await;
        assert_eq!(client.revision(), Revision::V2025_06_18, "{shown}");
        assert_eq!(methods[..2], ["server/discover", "initialize"], "{shown}");
        assert_eq!(client.verdict(), Verdict::Handshake);
    }
}

#[test]
fn an_answer_is_judged_by_what_it_is() {
    let all = Revision::ALL;
    let modern = |versions: Value| {
        let result = json!({"resultType": "complete", "supportedVersions": versions,
            "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"});
        judge(Ok(&result.to_string()), &all)
    };
    assert!(
        matches!(modern(json!(["2099-01-01", "2026-07-28"])), Finding::Stateless(found)
        if found.revision == Revision::V2026_07_28 && found.capabilities.tools.is_some())
    );
    assert!(matches!(modern(json!(["2099-01-01"])), Finding::Failed(_)));
    assert_eq!(modern(json!(["2025-11-25"])), Finding::Handshake);
    let error = |code: i64, data: Value| {
        let error = ErrorObject::new(code, "?").with_data(&data);
        judge(Err(&error), &all)
    };
    assert_eq!(
        error(-32022, json!({"supported": ["2026-07-28"]})),
        Finding::Again
    );
    assert!(matches!(
        error(-32022, json!({"supported": ["2099-01-01"]})),
        Finding::Failed(_)
    ));
    // What only the newer era says is no reason to go back.
    assert!(matches!(error(-32020, json!(null)), Finding::Failed(_)));
    assert!(matches!(error(-32021, json!({})), Finding::Failed(_)));
    assert_eq!(error(-32601, json!(null)), Finding::Handshake);
}

/// What came before the answer to `server/discover` stands: it is asked once more, and no more than that.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_and_offered_is_asked_for_once_more() {
    let (mut script, ours) = Script::new();
    tokio::spawn(async move {
        for _ in 0..2 {
            let discover = script.next().await;
            assert_eq!(discover["method"], "server/discover");
            let data = json!({"supported": ["2026-07-28"], "requested": "2026-07-28"});
            let error = json!({"code": -32022, "message": "?", "data": data});
            script
                .say(json!({"jsonrpc": "2.0", "id": discover["id"], "error": error}))
                .await;
        }
        assert!(script.is_left().await);
    });
    let error = client().connect(stream::duplex(ours)).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, -32022, "{error}");
}

fn shell(script: &str) -> Command {
    Command::new("sh")
        .arg("-c")
        .arg(script)
        .inherit_env(std::env::vars_os())
}

/// Like servers made with some SDKs: whatever comes before `initialize` is their end.
fn exits_at_anything_else(log: &std::path::Path) -> Command {
    shell(&format!(
        "echo started >> {log}; read line; case \"$line\" in \
         *'\"initialize\"'*) ;; *) echo 'expected initialize' >&2; exit 1;; esac; \
         echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{{}},\"serverInfo\":{{\"name\":\"strict\",\"version\":\"1\"}}}}}}'; \
         cat > /dev/null",
        log = log.display()
    ))
}

fn starts(log: &std::path::Path) -> usize {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().count()
}

// E-117
#[tokio::test]
async fn a_server_that_dies_of_the_question_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let client = client()
        .connect(exits_at_anything_else(&log))
        .await
        .unwrap();
    assert_eq!(client.revision(), Revision::V2025_06_18);
    assert_eq!(client.server_info().unwrap().name, "strict");
    client.close().await.unwrap();
    assert_eq!(starts(&log), 2);
    // One that cannot be started at all fails as before.
    let error = self::client().connect(shell("exit 3")).await.unwrap_err();
    assert!(error.is_closed(), "{error}");
}

#[tokio::test]
async fn a_server_that_falls_silent_over_the_question_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let silent = shell(&format!(
        "echo started >> {log}; read line; case \"$line\" in \
         *'\"initialize\"'*) ;; *) while true; do sleep 1; done;; esac; \
         echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{{}},\"serverInfo\":{{\"name\":\"s\",\"version\":\"1\"}}}}}}'; \
         cat > /dev/null",
        log = log.display()
    ))
    .exit_wait(Duration::from_millis(50));
    let mut limits = Limits::default();
    limits.discover_timeout = Duration::from_millis(200);
    let client = client().limits(limits).connect(silent).await.unwrap();
    assert_eq!(client.revision(), Revision::V2025_06_18);
    assert_eq!(starts(&log), 2);
}

// E-090
#[tokio::test]
async fn what_was_found_out_is_not_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let memory = EraMemory::new();
    for expected in [2, 3] {
        let strict = exits_at_anything_else(&log);
        let client = client().memory(&memory).connect(strict).await.unwrap();
        assert_eq!(client.verdict(), Verdict::Handshake);
        assert_eq!(starts(&log), expected);
    }
    // Without a word, where everything is known.
    let verdict = client().connect(server()).await.unwrap().verdict();
    let Verdict::Stateless(found) = &verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(found.info.as_ref().unwrap().name, "eras");
    let sent = Sent::default();
    let known = client()
        .known(verdict.clone())
        .connect(sent.tapped(server()))
        .await
        .unwrap();
    assert_eq!(known.verdict(), verdict);
    assert_eq!(sent.methods(), Vec::<String>::new());
    assert_eq!(known.call("echo", ()).await.unwrap().joined_text(), "echo");
    assert_eq!(sent.methods(), ["tools/call"]);
    // Over HTTP too; what has proven wrong is asked again.
    let handle = server().start().unwrap();
    let listener = handle.listen_http("127.0.0.1:0", HttpOptions::new());
    let listener = listener.await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(listener.serve_until(std::future::pending()));
    let memory = EraMemory::new();
    memory.set(url.as_str(), Verdict::Handshake);
    let client = self::client().memory(&memory);
    assert_eq!(
        client
            .clone()
            .connect(url.as_str())
            .await
            .unwrap()
            .revision(),
        Revision::V2025_11_25
    );
    memory.forget(&url);
    assert_eq!(
        client.connect(url.as_str()).await.unwrap().verdict(),
        verdict
    );
    assert_eq!(memory.get(&url), Some(verdict));
    let short = EraMemory::keeping(Duration::ZERO);
    short.set("server", Verdict::Handshake);
    assert_eq!(short.get("server"), None);
}

/// Answers every request with this status and body.
async fn answering(status: u16, body: &'static str) -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = counts.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    let count = stream.read(&mut buffer).await.unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    bytes.extend_from_slice(&buffer[..count]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, sent)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let length: usize = length.map_or(0, |length| length.parse().unwrap());
                    if sent.len() < length {
                        continue;
                    }
                    counts.fetch_add(1, Ordering::SeqCst);
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    bytes.clear();
                }
            });
        }
    });
    (url, asked)
}

// E-194 E-195
#[tokio::test]
async fn over_http_only_evidence_leads_back() {
    // Nobody is let in, or it is out of order: that says nothing of the era.
    for status in [401, 403, 429, 500, 502, 503] {
        let (url, asked) = answering(status, "").await;
        let error = client().connect(url.as_str()).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::HttpStatus(status), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status}");
    }
    // What only the newer era says is no reason to go back either.
    let mismatch = r#"{"jsonrpc":"2.0","error":{"code":-32020,"message":"Header mismatch"}}"#;
    let (url, asked) = answering(400, mismatch).await;
    let error = client().connect(url.as_str()).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, -32020);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // A server that does not know what it was asked: `initialize`, and then the oldest transport.
    for (status, body) in [
        (400, ""),
        (404, "not here"),
        (405, ""),
        (
            400,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"No session"}}"#,
        ),
    ] {
        let (url, asked) = answering(status, body).await;
        client().connect(url.as_str()).await.unwrap_err();
        assert!(asked.load(Ordering::SeqCst) > 1, "{status} {body}");
    }
}

// E-109 E-274 E-273 E-275
#[tokio::test]
async fn changes_are_heard_of_in_both_eras_alike() {
    let handle = server().start().unwrap();
    let changed: Arc<Mutex<Vec<Changed>>> = Arc::default();
    let updated: Arc<Mutex<Vec<String>>> = Arc::default();
    let (hears, sees) = (changed.clone(), updated.clone());
    let client = client()
        .on_changed(move |what| hears.lock().unwrap().push(what))
        .on_resource_updated(move |uri| sees.lock().unwrap().push(uri))
        .connect(handle.clone())
        .await
        .unwrap();
    handle.add_tool(tool_fn("new", || async { "new" })).unwrap();
    until("a change", || !changed.lock().unwrap().is_empty()).await;
    client.subscribe("test://a").await.unwrap();
    client.subscribe("test://b").await.unwrap();
    handle.resource_updated("test://b");
    handle.resource_updated("test://still");
    until("an update", || !updated.lock().unwrap().is_empty()).await;
    client.unsubscribe("test://b").await.unwrap();
    handle.resource_updated("test://b");
    handle.resource_updated("test://a");
    until("another update", || updated.lock().unwrap().len() == 2).await;
    assert_eq!(*updated.lock().unwrap(), ["test://b", "test://a"]);
    assert_eq!(*changed.lock().unwrap(), [Changed::Tools]);
    let still = client.subscribe("test://still").await.unwrap_err();
    assert_eq!(still.refusal().unwrap().code, -32602);
}
