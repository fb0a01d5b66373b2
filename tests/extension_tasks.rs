//! Tasks as the extension of 2026-07-28: a server that makes them of calls, and a client that notices
//! nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::Tapped;
use compere::model::{ElicitAction, ElicitParams, ElicitResult, ErrorObject, RawJson, TaskSupport};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;
use compere::transport::tap::Direction;
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

// X-001 X-002 X-003
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
        assert_eq!(said.answer["result"]["resultType"], "complete");
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
    }
    let made = post(&mut http, &call(12, "waits", with_extension())).await;
    let id = made.answer["result"]["taskId"].clone();
    for _ in 0..2 {
        let said = post(&mut http, &about(13, "tasks/cancel", &id)).await;
        assert_eq!(said.answer["result"]["resultType"], "complete");
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
