//! Tasks as the extension of 2026-07-28: a server that makes them of calls, and a client that notices
//! nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::{ClientBuilder, Tapped};
use compere::model::{
    ElicitAction, ElicitParams, ElicitResult, ErrorObject, LoggingLevel, RawJson, TaskStatus,
    TaskSupport,
};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;
use compere::transport::stream;
use compere::transport::tap::Direction;
use compere::{Limits, Revision};
use compere_testkit::script::Script;
use compere_tests::doors::{self, doors, request};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct Stage {
    cancelled: Arc<Notify>,
}

fn form() -> ElicitParams {
    let form =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    ElicitParams::new("Who?").requested_schema(form)
}

async fn asks(context: Context) -> Result<String, ToolError> {
    let answer = context.elicit("who", form()).await?;
    let content = answer.content.unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let name: String = content["name"].decode()?;
    Ok(format!("Hello, {name}!"))
}

fn server(stage: &Stage) -> Server {
    Server::new("tasks", "1.0.0")
        .state(stage.clone())
        .tool(tool_fn("quick", || async { "quick" }).task_support(TaskSupport::Optional))
        .tool(
            tool_fn("slow", || async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                "slow"
            })
            .task_support(TaskSupport::Optional),
        )
        .tool(tool_fn("plain", || async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            "plain"
        }))
        .tool(tool_fn("always", || async { "always" }).task_support(TaskSupport::Required))
        .tool(
            tool_fn("loud", |context: Context| async move {
                context.elicit("who", form()).await?;
                context.progress(1.0);
                context.log(LoggingLevel::Emergency, "loud");
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok::<_, ToolError>("said nothing")
            })
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn("asks_both", |context: Context| async move {
                let (one, other) = (
                    context.elicit("one", form()),
                    context.elicit("other", form()),
                );
                let (one, other) = tokio::join!(one, other);
                let actions = (one?.action, other?.action);
                Ok::<_, ToolError>(format!("{actions:?}"))
            })
            .task_support(TaskSupport::Required),
        )
        .tool(tool_fn("asks_first", asks).task_support(TaskSupport::Optional))
        .tool(tool_fn("asks_inside", asks).task_support(TaskSupport::Required))
        .tool(
            tool_fn("fails", || async {
                Err::<String, _>(ToolError::new("no luck"))
            })
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn("breaks", || async {
                Err::<String, _>(ToolError::protocol(ErrorObject::new(-31_999, "broken")))
            })
            .task_support(TaskSupport::Required),
        )
        .tool(
            tool_fn(
                "waits",
                |context: Context, State(stage): State<Stage>| async move {
                    context.cancelled().await;
                    stage.cancelled.notify_one();
                    "never"
                },
            )
            .task_support(TaskSupport::Required),
        )
}

fn with_extension() -> Value {
    json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn call(id: u32, name: &str, capabilities: Value) -> Value {
    request(id, "tools/call", json!({"name": name}), capabilities)
}

fn about(id: u32, method: &str, task: &Value) -> Value {
    request(id, method, json!({"taskId": task}), with_extension())
}

// X-001 X-002 X-003 X-005 X-011 X-045 X-046 X-047
#[tokio::test(start_paused = true)]
async fn a_call_becomes_a_task_where_both_can() {
    for mut door in doors(&server(&Stage::default()).start().unwrap()) {
        let found = door
            .say(&request(1, "server/discover", json!({}), json!({})))
            .await;
        let capabilities = &found.answer["result"]["capabilities"];
        assert_eq!(
            capabilities["extensions"],
            json!({"io.modelcontextprotocol/tasks": {}})
        );
        assert!(capabilities.get("tasks").is_none());
        // What is ready at once is no task, and neither is what does not want to be one.
        for name in ["quick", "plain"] {
            let said = door.say(&call(2, name, with_extension())).await;
            assert_eq!(
                (said.text(), &said.answer["result"]["resultType"]),
                (name, &json!("complete"))
            );
        }
        let said = door.say(&call(3, "slow", json!({}))).await;
        assert_eq!(said.text(), "slow");
        let refused = door.say(&call(4, "always", json!({}))).await;
        assert_eq!(refused.code(), -32021);
        let required = &refused.answer["error"]["data"]["requiredCapabilities"];
        assert_eq!(
            *required,
            json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
        );
        // Those of 2025-11-25 are another thing.
        let old = json!({"tasks": {"requests": {"tools": {"call": {}}}}});
        assert_eq!(door.say(&call(5, "slow", old.clone())).await.text(), "slow");
        assert_eq!(door.say(&call(6, "always", old)).await.code(), -32021);
        let mut wish = call(7, "plain", with_extension());
        wish["params"]["task"] = json!({"ttl": 1_000});
        assert_eq!(door.say_anything(&wish).await.text(), "plain");
        // What can be asked within the call is asked there.
        let asks = json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
        let said = door.say(&call(8, "asks_first", asks)).await;
        assert_eq!(said.answer["result"]["resultType"], "input_required");
    }
}

/// Says something whose answer no schema of the core describes.
async fn post(service: &mut compere::server::http::HttpService, request: &Value) -> doors::Said {
    let task = request["params"]["taskId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let name = [("mcp-name", task.as_str())];
    let other: &[(&str, &str)] = if task.is_empty() { &[] } else { &name };
    doors::posted(service, request, other).await
}

// X-007 X-009 X-010 X-016 X-018 X-024 X-025 X-027 X-029 X-032 X-035 X-039 X-040 X-041 X-042
#[tokio::test(start_paused = true)]
async fn a_task_is_looked_at_answered_and_withdrawn() {
    let stage = Stage::default();
    let handle = server(&stage).start().unwrap();
    let mut http = handle.http(HttpOptions::new()).unwrap();
    let made = post(&mut http, &call(1, "slow", with_extension())).await;
    let made = &made.answer["result"];
    assert_eq!(
        (&made["resultType"], &made["status"]),
        (&json!("task"), &json!("working"))
    );
    assert!(
        made["ttlMs"].is_u64() && made["pollIntervalMs"].is_u64(),
        "{made}"
    );
    assert!(made.get("result").is_none() && made.get("requestState").is_none());
    let id = made["taskId"].clone();
    assert_eq!(id.as_str().unwrap().len(), 32, "128 random bits");
    let shown = post(&mut http, &about(2, "tasks/get", &id)).await;
    assert_eq!(shown.answer["result"]["status"], "working");
    assert_eq!(shown.answer["result"]["resultType"], "complete");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let shown = post(&mut http, &about(3, "tasks/get", &id)).await;
    let shown = &shown.answer["result"];
    assert_eq!(
        (&shown["status"], &shown["taskId"]),
        (&json!("completed"), &id)
    );
    assert_eq!(shown["result"]["content"][0]["text"], "slow");
    assert!(shown["result"].get("_meta").is_none());
    // What it asks is found with it.
    let made = post(&mut http, &call(4, "asks_inside", with_extension())).await;
    let id = made.answer["result"]["taskId"].clone();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = post(&mut http, &about(5, "tasks/get", &id)).await;
    let shown = &shown.answer["result"];
    assert_eq!(shown["status"], "input_required");
    assert_eq!(
        shown["inputRequests"]["who"]["method"],
        "elicitation/create"
    );
    let update = |id: u32, answers: Value, task: &Value| {
        let params = json!({"taskId": task, "inputResponses": answers});
        request(id, "tasks/update", params, with_extension())
    };
    // What is unasked is ignored, what does not fit is asked again, by another key.
    for (answers, key) in [
        (json!({"else": {}}), "who"),
        (
            json!({"who": {"action": "accept", "content": {"name": 5}}}),
            "who 2",
        ),
        (
            json!({"who": {"action": "accept", "content": {"name": "Eve"}}}),
            "who 2",
        ),
    ] {
        let said = post(&mut http, &update(6, answers, &id)).await;
        assert_nothing(&said);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let shown = post(&mut http, &about(7, "tasks/get", &id)).await;
        let shown = &shown.answer["result"];
        assert_eq!(shown["status"], "input_required");
        let asked = shown["inputRequests"].as_object().unwrap();
        assert_eq!(asked.keys().collect::<Vec<_>>(), [key]);
    }
    let answer = json!({"who 2": {"action": "accept", "content": {"name": "Ada"}}});
    post(&mut http, &update(8, answer, &id)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let shown = post(&mut http, &about(9, "tasks/get", &id)).await;
    assert_eq!(
        shown.answer["result"]["result"]["content"][0]["text"],
        "Hello, Ada!"
    );
    // A tool that failed has a result, an error of the protocol is one.
    for (name, status, member) in [
        ("fails", "completed", "result"),
        ("breaks", "failed", "error"),
    ] {
        let made = post(&mut http, &call(10, name, with_extension())).await;
        let id = made.answer["result"]["taskId"].clone();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let shown = post(&mut http, &about(11, "tasks/get", &id)).await;
        let shown = &shown.answer["result"];
        assert_eq!(shown["status"], status, "{shown}");
        assert!(shown[member].is_object(), "{shown}");
        let why = shown["statusMessage"].as_str().unwrap();
        assert!(["no luck", "broken"].contains(&why), "{shown}");
    }
    let made = post(&mut http, &call(12, "waits", with_extension())).await;
    let id = made.answer["result"]["taskId"].clone();
    for _ in 0..2 {
        let said = post(&mut http, &about(13, "tasks/cancel", &id)).await;
        assert_nothing(&said);
    }
    stage.cancelled.notified().await;
    let shown = post(&mut http, &about(14, "tasks/get", &id)).await;
    assert_eq!(shown.answer["result"]["status"], "cancelled");
    // What does not exist, and for whom tasks do not.
    let unknown = post(&mut http, &about(15, "tasks/get", &json!("nothing"))).await;
    assert_eq!(unknown.code(), -32602);
    for method in ["tasks/list", "tasks/result"] {
        let said = post(&mut http, &about(16, method, &id)).await;
        assert_eq!((said.status, said.code()), (404, -32601));
    }
    let plain = request(17, "tasks/get", json!({"taskId": id}), json!({}));
    assert_eq!(post(&mut http, &plain).await.code(), -32021);
    // The header names the task.
    let wrong = doors::posted(
        &mut http,
        &about(18, "tasks/get", &id),
        &[("mcp-name", "other")],
    )
    .await;
    assert_eq!((wrong.status, wrong.code()), (400, -32020));
}

/// It was heard, and no more.
fn assert_nothing(said: &doors::Said) {
    let members = said.answer["result"].as_object().unwrap().keys();
    assert!(
        members
            .clone()
            .all(|name| name == "resultType" || name == "_meta")
    );
    assert_eq!(said.answer["result"]["resultType"], "complete");
}

// X-017 X-030
#[tokio::test(start_paused = true)]
async fn everything_that_is_asked_is_shown() {
    let handle = server(&Stage::default()).start().unwrap();
    let mut http = handle.http(HttpOptions::new()).unwrap();
    let made = post(&mut http, &call(1, "asks_both", with_extension())).await;
    let id = made.answer["result"]["taskId"].clone();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (key, left) in [("one", vec!["one", "other"]), ("other", vec!["other"])] {
        let shown = post(&mut http, &about(2, "tasks/get", &id)).await;
        let shown = &shown.answer["result"];
        assert_eq!(shown["status"], "input_required");
        let asked = shown["inputRequests"].as_object().unwrap();
        assert_eq!(asked.keys().collect::<Vec<_>>(), left);
        let params = json!({"taskId": id, "inputResponses": {key: {"action": "decline"}}});
        post(
            &mut http,
            &request(3, "tasks/update", params, with_extension()),
        )
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let shown = post(&mut http, &about(4, "tasks/get", &id)).await;
    let text = &shown.answer["result"]["result"]["content"][0]["text"];
    assert_eq!(text, "(Decline, Decline)");
}

//
#[tokio::test(start_paused = true)]
async fn the_extension_is_nothing_in_the_revision_before() {
    let target = Tapped::new(server(&Stage::default()), |direction, line: &[u8]| {
        let message: Value = serde_json::from_slice(line).unwrap();
        if direction == Direction::Received {
            assert!(message["result"].get("resultType").is_none(), "{message}");
            assert!(message["result"].get("taskId").is_none(), "{message}");
        }
    });
    let client = person("Ada").revisions(&[Revision::V2025_11_25]);
    let client = client.connect(target).await.unwrap();
    assert_eq!(client.call("slow", ()).await.unwrap().joined_text(), "slow");
}

//
#[tokio::test(start_paused = true)]
async fn a_task_belongs_to_who_made_it() {
    let handle = server(&Stage::default()).start().unwrap();
    let options = HttpOptions::new().bearer(|token| Some(Principal::new(token.to_owned())));
    let mut http = handle.http(options).unwrap();
    let ada = ("authorization", "Bearer ada");
    let made = doors::posted(&mut http, &call(1, "slow", with_extension()), &[ada]).await;
    let id = made.answer["result"]["taskId"].clone();
    let name = ("mcp-name", id.as_str().unwrap());
    let bob = ("authorization", "Bearer bob");
    let look = about(2, "tasks/get", &id);
    assert_eq!(
        doors::posted(&mut http, &look, &[bob, name]).await.code(),
        -32602
    );
    assert_eq!(
        doors::posted(&mut http, &look, &[ada, name]).await.code(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_notices_nothing() {
    let stage = Stage::default();
    let sent: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = sent.clone();
    let target = Tapped::new(server(&stage), move |direction, line: &[u8]| {
        if direction == Direction::Sent {
            let message: Value = serde_json::from_slice(line).unwrap();
            notes
                .lock()
                .unwrap()
                .push(message["method"].as_str().unwrap().to_owned());
        }
    });
    let client = Client::builder("test", "1")
        .tasks()
        .on_elicit(|_| async {
            let content = BTreeMap::from([("name".to_owned(), RawJson::from(json!("Ada")))]);
            Ok(ElicitResult::new(ElicitAction::Accept).content(content))
        })
        .connect(target)
        .await
        .unwrap();
    for (name, text) in [
        ("quick", "quick"),
        ("slow", "slow"),
        ("always", "always"),
        ("asks_first", "Hello, Ada!"),
        ("asks_inside", "Hello, Ada!"),
    ] {
        let output = client.call(name, ()).await.unwrap();
        assert_eq!(
            (output.joined_text(), output.failed()),
            (text.to_owned(), false)
        );
    }
    assert!(sent.lock().unwrap().contains(&"tasks/update".to_owned()));
    let failed = client.call("fails", ()).await.unwrap();
    assert_eq!(
        (failed.joined_text(), failed.failed()),
        ("no luck".to_owned(), true)
    );
    let broken = client.call("breaks", ()).await.unwrap_err();
    assert_eq!(broken.refusal().unwrap().code, -31_999);
    // A call that is dropped withdraws its task.
    let dropped = tokio::time::timeout(
        Duration::from_secs(5),
        client.call("waits", ()).into_future(),
    );
    dropped.await.unwrap_err();
    stage.cancelled.notified().await;
    // Without the extension there are none.
    let plain = Client::connect(server(&stage)).await.unwrap();
    assert_eq!(plain.call("slow", ()).await.unwrap().joined_text(), "slow");
    let refused = plain.call("always", ()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, -32021);
}

// X-034 X-035
/// Who listens for its tasks is told how they stand: at once, and whenever that changes.
#[tokio::test(start_paused = true)]
async fn a_task_is_listened_for() {
    let server = server(&Stage::default()).start().unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(theirs).await });
    let (reader, mut writer) = tokio::io::split(ours);
    let mut lines = tokio::io::BufReader::new(reader).lines();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    let mut say = async |message: Value| {
        let line = format!("{message}\n");
        writer.write_all(line.as_bytes()).await.unwrap();
    };
    say(call(1, "asks_inside", with_extension())).await;
    let id = next().await["result"]["taskId"].clone();
    let listen = |number: u32, capabilities: Value| {
        let filter = json!({"notifications": {"taskIds": [id.clone(), "of nobody"]}});
        request(number, "subscriptions/listen", filter, capabilities)
    };
    say(listen(2, json!({}))).await;
    assert_eq!(next().await["error"]["code"], -32021);
    say(listen(3, with_extension())).await;
    let acknowledged = next().await;
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"taskIds": [id]})
    );
    let told = next().await;
    assert_eq!(told["method"], "notifications/tasks");
    assert_eq!(told["params"]["status"], "input_required");
    assert_eq!(told["params"]["taskId"], id);
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        3
    );
    let key = told["params"]["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let params = json!({"taskId": id, "inputResponses": {key: answer}});
    say(request(4, "tasks/update", params, with_extension())).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|status| status != "completed") {
        let message = next().await;
        if message["method"] == "notifications/tasks" {
            seen.push(message["params"]["status"].as_str().unwrap().to_owned());
            if message["params"]["status"] == "completed" {
                let result = &message["params"]["result"];
                assert_eq!(result["content"][0]["text"], "Hello, Ada!");
            }
        }
    }
    assert_eq!(seen, ["working", "completed"]);
    // Somebody else's is not there to be listened for.
    let doors::Door::Pipe {
        mut lines,
        mut writer,
    } = doors::Door::pipe(&server)
    else {
        unreachable!()
    };
    let listen = format!("{}\n", listen(5, with_extension()));
    writer.write_all(listen.as_bytes()).await.unwrap();
    let acknowledged = lines.next_line().await.unwrap().unwrap();
    let acknowledged: Value = serde_json::from_str(&acknowledged).unwrap();
    assert_eq!(acknowledged["params"]["notifications"], json!({}));
}

//
/// A call that became a task says nothing by itself any more.
#[tokio::test(start_paused = true)]
async fn a_task_reports_nothing() {
    let doors::Door::Pipe {
        mut lines,
        mut writer,
    } = doors::Door::pipe(&server(&Stage::default()).start().unwrap())
    else {
        unreachable!()
    };
    let mut say = async |mut message: Value| {
        let meta = &mut message["params"]["_meta"];
        meta["progressToken"] = json!("p");
        meta["io.modelcontextprotocol/logLevel"] = json!("debug");
        let line = format!("{message}\n");
        writer.write_all(line.as_bytes()).await.unwrap();
    };
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    say(call(1, "loud", with_extension())).await;
    let id = next().await["result"]["taskId"].clone();
    let filter = json!({"notifications": {"taskIds": [id]}});
    say(request(2, "subscriptions/listen", filter, with_extension())).await;
    let listening = next().await;
    assert_eq!(listening["params"]["notifications"]["taskIds"], json!([id]));
    let params = json!({"taskId": id, "inputResponses": {"who": {"action": "cancel"}}});
    say(request(3, "tasks/update", params, with_extension())).await;
    // How it stands and answers, and nothing else.
    let mut message = next().await;
    while message["params"]["status"] != "completed" {
        assert!(
            message["method"] == "notifications/tasks" || message.get("result").is_some(),
            "{message}"
        );
        message = next().await;
    }
}

/// A person who is called so.
fn person(name: &'static str) -> ClientBuilder {
    Client::builder("test", "1")
        .tasks()
        .on_elicit(move |_| async move {
            let content = BTreeMap::from([("name".to_owned(), RawJson::from(json!(name)))]);
            Ok(ElicitResult::new(ElicitAction::Accept).content(content))
        })
}

// X-014 X-015 X-038
/// A handle is the same in both eras, and its task is found again from another connection.
#[tokio::test]
async fn a_task_has_a_handle() {
    let stage = Stage::default();
    let mut limits = Limits::default();
    limits.task_poll = Duration::from_millis(60);
    let handle = server(&stage).limits(limits).start().unwrap();
    let listener = handle.listen_http("127.0.0.1:0", HttpOptions::new());
    let listener = listener.await.unwrap();
    let address = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(listener.serve_until(std::future::pending()));
    let first = person("Ada").connect(address.as_str()).await.unwrap();
    let task = first.call("asks_inside", ()).start().await.unwrap();
    let id = task.id().unwrap().to_owned();
    let standing = task.status().await.unwrap();
    assert_eq!((&standing.task_id, standing.poll_interval), (&id, Some(60)));
    assert!(!standing.status.is_final() && standing.ttl.is_some());
    assert!(standing.created_at.ends_with('Z') && standing.last_updated_at.ends_with('Z'));
    first.close().await.unwrap();
    // Whoever waits for it answers it.
    let second = person("Eve").connect(address.as_str()).await.unwrap();
    let found = second.task(&id);
    assert_eq!(found.result().await.unwrap().joined_text(), "Hello, Eve!");
    assert_eq!(found.status().await.unwrap().status, TaskStatus::Completed);
    assert_eq!(found.result().await.unwrap().joined_text(), "Hello, Eve!");
    // One that is over stays as it is.
    assert_eq!(found.cancel().await.unwrap().status, TaskStatus::Completed);
    let waits = second.call("waits", ()).start().await.unwrap();
    assert_eq!(waits.cancel().await.unwrap().status, TaskStatus::Cancelled);
    stage.cancelled.notified().await;
    assert!(waits.result().await.unwrap_err().refusal().is_some());
    let unknown = second.task("nothing").status().await.unwrap_err();
    assert_eq!(unknown.refusal().unwrap().code, -32602);
    // What was done at once, and what failed.
    let quick = second.call("quick", ()).start().await.unwrap();
    assert_eq!(quick.id(), None);
    assert_eq!(quick.result().await.unwrap().joined_text(), "quick");
    quick.status().await.unwrap_err();
    quick.cancel().await.unwrap_err();
    let fails = second.call("fails", ()).start().await.unwrap();
    let failed = fails.result().await.unwrap();
    assert_eq!(
        (failed.joined_text().as_str(), failed.failed()),
        ("no luck", true)
    );
    // A client that cannot deal with tasks has no handles.
    let plain = Client::connect(address.as_str()).await.unwrap();
    let refused = plain.call("slow", ()).start().await.unwrap_err();
    assert!(
        refused.to_string().contains("ClientBuilder::tasks"),
        "{refused}"
    );
}

/// A client of the extension, and its server, which is played by hand.
async fn played() -> (Client, Script) {
    let (mut script, ours) = Script::new();
    let playing = tokio::spawn(async move {
        let extensions = json!({"io.modelcontextprotocol/tasks": {}});
        let capabilities = json!({"tools": {}, "prompts": {}, "extensions": extensions});
        script.serve_discover(capabilities).await;
        script
    });
    let client = person("Ada").connect(stream::duplex(ours)).await.unwrap();
    (client, playing.await.unwrap())
}

fn standing(status: &str, more: &Value) -> Value {
    let mut task = json!({
        "resultType": "complete", "taskId": "t", "status": status,
        "createdAt": "2026-07-28T00:00:00Z", "lastUpdatedAt": "2026-07-28T00:00:00Z",
        "ttlMs": null, "pollIntervalMs": 7_000,
    });
    let more = more.as_object().unwrap().clone();
    task.as_object_mut().unwrap().extend(more);
    task
}

// X-004 X-008
#[tokio::test(start_paused = true)]
async fn only_a_call_of_a_tool_may_become_a_task() {
    let (client, mut script) = played().await;
    let asking = tokio::spawn(async move { client.prompt("any", BTreeMap::new()).await });
    let asked = script.next().await;
    let made = standing("working", &json!({"resultType": "task"}));
    script.answer(&asked, made).await;
    let refused = asking.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("task"), "{refused}");
}

// X-012 X-021 X-023 X-026 X-031
#[tokio::test(start_paused = true)]
async fn a_client_looks_as_often_as_it_is_told_and_answers_once() {
    let (client, mut script) = played().await;
    let calling = tokio::spawn(client.call("any", ()).into_future());
    let call = script.next().await;
    let made = standing("working", &json!({"resultType": "task"}));
    script.answer(&call, made).await;
    let question = |message: &str| {
        let form = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let params = json!({"mode": "form", "message": message, "requestedSchema": form});
        json!({"method": "elicitation/create", "params": params})
    };
    let one = json!({"inputRequests": {"a": question("Who?")}});
    let both = json!({"inputRequests": {"a": question("Who?"), "b": question("And who?")}});
    let other = json!({"inputRequests": {"a": question("Who else?")}});
    let last = tokio::time::Instant::now();
    let mut looked = last;
    // What is shown, and what is answered then.
    for (shown, keys) in [
        (standing("working", &json!({})), vec![]),
        (standing("input_required", &one), vec!["a"]),
        // It was not noticed yet.
        (standing("input_required", &one), vec![]),
        (standing("input_required", &both), vec!["b"]),
        (standing("working", &json!({})), vec![]),
        (standing("input_required", &both), vec![]),
        // A key that is used again, which it must not be.
        (standing("input_required", &other), vec!["a"]),
    ] {
        let look = script.next().await;
        assert_eq!(look["method"], "tasks/get", "{look}");
        assert_eq!(look["params"]["taskId"], "t");
        assert_eq!(looked.elapsed(), Duration::from_secs(7));
        looked = tokio::time::Instant::now();
        script.answer(&look, shown.clone()).await;
        if !keys.is_empty() {
            let update = script.next().await;
            assert_eq!(update["method"], "tasks/update", "{update}");
            let answered = update["params"]["inputResponses"].as_object().unwrap();
            assert_eq!(answered.keys().collect::<Vec<_>>(), keys, "{shown}");
            let done = json!({"resultType": "complete"});
            script.answer(&update, done).await;
        }
    }
    // Who gives up says so of the task, not of a request.
    calling.abort();
    let last = script.next().await;
    assert_eq!(
        (&last["method"], &last["params"]["taskId"]),
        (&json!("tasks/cancel"), &json!("t"))
    );
}
