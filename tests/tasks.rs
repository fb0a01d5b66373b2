//! Tasks of 2025-11-25: a call is answered with a handle, and goes on; and what else that revision lets
//! a server ask: pages to go to, and models with tools.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::Tapped;
use compere::client::task::TaskHandle;
use compere::model::{
    CreateMessageParams, CreateMessageResult, ElicitAction, ElicitParams, ElicitResult,
    ErrorObject, RawJson, Role, SamplingMessage, TaskStatus, TaskSupport, Tool, UrlElicitation,
    code,
};
use compere::prelude::*;
use compere::server::http::HttpOptions;
use compere::transport::stream;
use compere::transport::tap::Direction;
use compere::{Elicited, Limits, Revision};
use compere_testkit::schema::{Author, SchemaCheck};
use compere_testkit::script::Script;
use serde_json::Value;
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct Gate(Arc<Notify>);

/// The context of a call that is over, to see that it says nothing any more.
static KEPT: Mutex<Option<Context>> = Mutex::new(None);

fn server(gate: &Gate) -> Server {
    Server::new("tasks", "1")
        .state(gate.clone())
        .tool(tool_fn("quick", || async { "done" }).task_support(TaskSupport::Optional))
        .tool(tool_fn("plain", || async { "plain" }))
        .tool(
            tool_fn(
                "slow",
                |context: Context, State(gate): State<Gate>| async move {
                    context.progress(1.0);
                    tokio::select! {
                        () = gate.0.notified() => Ok("slowly done"),
                        () = context.cancelled() => Err(ToolError::new("stopped")),
                    }
                },
            )
            .task_support(TaskSupport::Optional),
        )
        .tool(
            tool_fn(
                "steps",
                |context: Context, State(gate): State<Gate>| async move {
                    for step in 1..=3 {
                        gate.0.notified().await;
                        context.progress(f64::from(step));
                    }
                    *KEPT.lock().unwrap() = Some(context);
                    "stepped"
                },
            )
            .task_support(TaskSupport::Optional),
        )
        .tool(tool_fn("only", || async { "as a task" }).task_support(TaskSupport::Required))
        .tool(
            tool_fn("fails", || async {
                Err::<String, _>(ToolError::new("it did not work"))
            })
            .task_support(TaskSupport::Optional),
        )
        .tool(tool_fn("panics", || async { explode() }).task_support(TaskSupport::Optional))
        .tool(
            tool_fn("asks", |context: Context| async move {
                let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
                let form = ElicitParams::new("Go on?").requested_schema(schema);
                let answer = context.elicit("confirm", form).await;
                answer
                    .map(|answer| format!("{:?}", answer.action))
                    .map_err(|error| ToolError::new(error.to_string()))
            })
            .task_support(TaskSupport::Optional),
        )
        .tool(tool_fn("signs-in", |context: Context| async move {
            let page = UrlElicitation::new("Sign in", "https://example.com/sign-in", "e-1");
            let answer = context.elicit_url("sign-in", &page).await;
            let answer = answer.map_err(|error| ToolError::new(error.to_string()))?;
            context.elicitation_complete("e-1");
            Ok::<_, ToolError>(match answer {
                Elicited::Accepted(()) => "agreed",
                Elicited::Declined => "declined",
                Elicited::Cancelled => "cancelled",
            })
        }))
        .tool(tool_fn("needs-a-page", || async {
            let page = UrlElicitation::new("Sign in", "https://example.com/sign-in", "e-2");
            Err::<String, _>(ToolError::url_elicitation_required(&[page]))
        }))
        .tool(tool_fn("misuses-the-code", || async {
            let error = ErrorObject::new(code::URL_ELICITATION_REQUIRED, "no page at all");
            Err::<String, _>(ToolError::protocol(error))
        }))
        .tool(tool_fn("samples", |context: Context| async move {
            let schema = RawJson::from(json!({"type": "object"}));
            let question = CreateMessageParams::new(vec![SamplingMessage::user("why?")], 10_u64)
                .tools(vec![Tool::new("look", schema)]);
            let answer = context.sample("answer", question).await;
            let answer = answer.map_err(|error| ToolError::new(error.to_string()))?;
            Ok::<_, ToolError>(answer.stop_reason.unwrap_or_default())
        }))
}

fn explode() -> String {
    panic!("on purpose")
}

/// Every message of both sides, held against the official schema.
#[derive(Clone)]
struct Wire(Arc<Mutex<Seen>>);

struct Seen {
    schema: SchemaCheck,
    faults: Vec<String>,
    messages: Vec<Value>,
}

impl Wire {
    fn new() -> Self {
        let schema = SchemaCheck::load(Revision::V2025_11_25).expect("run `cargo xtask peers`");
        Self(Arc::new(Mutex::new(Seen {
            schema,
            faults: Vec::new(),
            messages: Vec::new(),
        })))
    }

    fn tapped<T>(&self, target: T) -> Tapped<T, impl FnMut(Direction, &[u8]) + Send + use<T>> {
        let check = self.check();
        Tapped::new(target, check)
    }

    fn check(&self) -> impl FnMut(Direction, &[u8]) + Send + use<> {
        let wire = self.clone();
        move |direction: Direction, line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            let author = match direction {
                Direction::Sent => Author::Client,
                Direction::Received => Author::Server,
            };
            let mut seen = wire.0.lock().unwrap();
            if let Err(fault) = seen.schema.check(author, &line) {
                seen.faults.push(fault);
            }
            seen.messages.push(serde_json::from_str(&line).unwrap());
        }
    }

    fn messages(&self) -> Vec<Value> {
        self.0.lock().unwrap().messages.clone()
    }

    fn assert_clean(&self) {
        let faults = self.0.lock().unwrap().faults.clone();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

async fn connect(gate: &Gate) -> (Client, Wire) {
    let wire = Wire::new();
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(wire.tapped(server(gate)))
        .await
        .unwrap();
    (client, wire)
}

async fn status_of(task: &TaskHandle) -> TaskStatus {
    task.status().await.unwrap().status
}

async fn until(task: &TaskHandle, wanted: TaskStatus) {
    while status_of(task).await != wanted {
        tokio::task::yield_now().await;
    }
}

// D-042 D-062 D-063 D-065 D-074 D-075 D-077 D-080 D-083 D-084 D-092
#[tokio::test]
async fn a_task_is_made_watched_and_fetched() {
    let gate = Gate::default();
    let (client, wire) = connect(&gate).await;
    let task = client.call("slow", ()).start().await.unwrap();
    let shown = task.status().await.unwrap();
    assert_eq!(shown.status, TaskStatus::Working);
    assert_eq!(shown.ttl, Some(60 * 60 * 1000));
    assert!(shown.created_at.ends_with('Z') && shown.poll_interval.is_some());
    let waiting = tokio::spawn({
        let task = task.clone();
        async move { task.result().await }
    });
    client.ping().await.unwrap();
    assert!(!waiting.is_finished());
    gate.0.notify_one();
    let result = waiting.await.unwrap().unwrap();
    assert_eq!(result.joined_text(), "slowly done");
    let related = result
        .meta
        .as_ref()
        .unwrap()
        .extra
        .get("io.modelcontextprotocol/related-task");
    assert_eq!(
        related.unwrap().get(),
        json!({"taskId": task.id().unwrap()}).to_string()
    );
    let shown = task.status().await.unwrap();
    assert_eq!(shown.status, TaskStatus::Completed);
    // Once more: it is kept.
    assert_eq!(task.result().await.unwrap().joined_text(), "slowly done");
    // D-096
    let listed = client.tasks().collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(Some(&*listed[0].task_id), task.id());
    // D-090 D-091: what names its task already does not name it twice.
    for message in wire.messages() {
        let named = message.to_string().contains("related-task");
        let result = message["result"]["content"].is_array();
        assert_eq!(named, result, "{message}");
    }
    wire.assert_clean();
}

// D-046 D-047 D-049 D-050 D-060
#[tokio::test]
async fn a_tool_says_whether_it_may_be_a_task() {
    let gate = Gate::default();
    let (client, _) = connect(&gate).await;
    let refused = client.call("plain", ()).start().await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, code::METHOD_NOT_FOUND);
    let refused = client.call("only", ()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, code::METHOD_NOT_FOUND);
    // Once it is known, it is called as it must be.
    let tools = client.tools().collect().await.unwrap();
    let only = tools.iter().find(|tool| tool.name == "only").unwrap();
    assert_eq!(
        TaskSupport::of(only.execution.as_ref()),
        TaskSupport::Required
    );
    assert_eq!(
        client.call("only", ()).await.unwrap().joined_text(),
        "as a task"
    );
    // In a revision without tasks everything is a plain call.
    let older = Client::builder("older", "1")
        .revisions(Revision::NEGOTIABLE)
        .revisions(&[Revision::V2025_06_18]);
    let older = older.connect(server(&gate)).await.unwrap();
    assert_eq!(
        older.call("only", ()).await.unwrap().joined_text(),
        "as a task"
    );
    assert!(older.call("quick", ()).start().await.is_err());
    assert!(older.server_capabilities().unwrap().tasks.is_none());
    assert!(
        older
            .tools()
            .collect()
            .await
            .unwrap()
            .iter()
            .all(|tool| tool.execution.is_none())
    );
}

// D-082 D-103 D-106
#[tokio::test]
async fn a_task_that_goes_wrong_has_failed() {
    let gate = Gate::default();
    let (client, wire) = connect(&gate).await;
    let task = client.call("fails", ()).start().await.unwrap();
    until(&task, TaskStatus::Failed).await;
    let message = task.status().await.unwrap().status_message;
    assert_eq!(message.as_deref(), Some("it did not work"));
    assert!(task.result().await.unwrap().failed());
    let task = client.call("panics", ()).start().await.unwrap();
    until(&task, TaskStatus::Failed).await;
    let refused = task.result().await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, code::INTERNAL_ERROR);
    let unknown = client.task("nothing").status().await.unwrap_err();
    assert_eq!(unknown.refusal().unwrap().code, code::INVALID_PARAMS);
    wire.assert_clean();
}

// D-066 D-067 D-097 D-098 D-099 D-100
#[tokio::test]
async fn a_withdrawn_task_stays_so() {
    let gate = Gate::default();
    let (client, wire) = connect(&gate).await;
    let task = client.call("slow", ()).start().await.unwrap();
    let cancelled = task.cancel().await.unwrap();
    assert_eq!(cancelled.status, TaskStatus::Cancelled);
    gate.0.notify_one();
    assert_eq!(status_of(&task).await, TaskStatus::Cancelled);
    assert!(task.result().await.unwrap_err().refusal().is_some());
    let again = task.cancel().await.unwrap_err();
    assert_eq!(again.refusal().unwrap().code, code::INVALID_PARAMS);
    let done = client.call("quick", ()).start().await.unwrap();
    until(&done, TaskStatus::Completed).await;
    assert!(done.cancel().await.is_err());
    wire.assert_clean();
}

// D-041 D-249: a call that is dropped withdraws its task, by the request that there is for it.
#[tokio::test]
async fn a_dropped_call_withdraws_its_task() {
    let gate = Gate::default();
    let (client, wire) = connect(&gate).await;
    let calling = tokio::spawn(client.call("slow", ()).as_task(None).into_future());
    let task = loop {
        let tasks = client.tasks().collect().await.unwrap();
        if let Some(task) = tasks.first() {
            break client.task(task.task_id.as_str());
        }
    };
    assert_eq!(status_of(&task).await, TaskStatus::Working);
    calling.abort();
    until(&task, TaskStatus::Cancelled).await;
    let cancels = |message: &Value| {
        let waited = message["method"] == "notifications/cancelled";
        // The question for the result is withdrawn too; it is no task.
        waited
            && !wire.messages().iter().any(|asked| {
                asked["id"] == message["params"]["requestId"] && asked["method"] == "tasks/result"
            })
    };
    assert!(!wire.messages().iter().any(cancels));
    assert!(
        wire.messages()
            .iter()
            .any(|message| message["method"] == "tasks/cancel")
    );
    wire.assert_clean();
}

// D-038 D-039 D-040
#[tokio::test]
async fn progress_of_a_task_is_heard_until_it_is_over() {
    let gate = Gate::default();
    let (client, wire) = connect(&gate).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let call = client.call("steps", ());
    let call = call.on_progress(move |step| hears.lock().unwrap().push(step.progress));
    let task = call.start().await.unwrap();
    for steps in 1..=2 {
        gate.0.notify_one();
        while heard.lock().unwrap().len() < steps {
            client.ping().await.unwrap();
        }
    }
    gate.0.notify_one();
    assert_eq!(task.result().await.unwrap().joined_text(), "stepped");
    let kept = KEPT.lock().unwrap().take().unwrap();
    kept.progress(9.0);
    client.ping().await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(
        heard.starts_with(&[1.0, 2.0]) && !heard.contains(&9.0),
        "{heard:?}"
    );
    let messages = wire.messages();
    let with = |method: &'static str| {
        messages
            .iter()
            .filter(move |message| message["method"] == method)
    };
    let token = &with("tools/call").next().unwrap()["params"]["_meta"]["progressToken"];
    let steps: Vec<&Value> = with("notifications/progress").collect();
    assert!(steps.len() >= 2);
    assert!(
        steps
            .iter()
            .all(|step| &step["params"]["progressToken"] == token)
    );
    wire.assert_clean();
}

// D-053: over HTTP, by its rules, with a question on the way.
#[tokio::test]
async fn a_task_over_http() {
    let gate = Gate::default();
    let handle = server(&gate).start().unwrap();
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(listener.serve_until(std::future::pending()));
    let client = Client::builder("tasks", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_elicit(|_| async { Ok(ElicitResult::new(ElicitAction::Decline)) })
        .connect(url)
        .await
        .unwrap();
    let asks = client.call("asks", ()).start().await.unwrap();
    assert_eq!(asks.result().await.unwrap().joined_text(), "Decline");
    let slow = client.call("slow", ()).start().await.unwrap();
    assert_eq!(slow.cancel().await.unwrap().status, TaskStatus::Cancelled);
    let waited = client.call("quick", ()).as_task(None).await.unwrap();
    assert_eq!(waited.joined_text(), "done");
    assert_eq!(client.tasks().collect().await.unwrap().len(), 3);
}

/// A client and a script that plays a server of 2025-11-25 with these capabilities.
async fn scripted(capabilities: Value) -> (Client, Script) {
    let (mut script, ours) = Script::new();
    let connecting = Client::builder("tasks", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(stream::duplex(ours));
    let serving = script.serve_handshake("2025-11-25", capabilities);
    let (client, ()) = tokio::join!(connecting, serving);
    (client.unwrap(), script)
}

// D-058: a server that tells nothing of its tasks is asked.
#[tokio::test]
async fn a_task_is_waited_for_without_notifications() {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let (client, mut script) = scripted(json!({"tools": {}, "tasks": tasks})).await;
    let calling = tokio::spawn(client.call("any", ()).as_task(None).into_future());
    let call = script.next().await;
    assert_eq!(call["params"]["task"], json!({}));
    let task = json!({
        "taskId": "ä/1 \u{1F600}", "status": "working", "ttl": null,
        "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
    });
    script.answer(&call, json!({"task": task})).await;
    let asked = script.next().await;
    assert_eq!(asked["method"], "tasks/result");
    // D-088: and is asked by the id alone, as it came.
    assert_eq!(asked["params"], json!({"taskId": "ä/1 \u{1F600}"}));
    let result = json!({"content": [{"type": "text", "text": "done"}]});
    script.answer(&asked, result).await;
    assert_eq!(calling.await.unwrap().unwrap().joined_text(), "done");
}

// D-043 D-044 D-045: without tasks for tools among the capabilities nothing is asked to be one, not
// even a tool that says it must be.
#[tokio::test]
async fn a_server_without_tasks_is_asked_for_none() {
    let tasks = json!({"list": {}, "cancel": {}});
    let (client, mut script) = scripted(json!({"tools": {}, "tasks": tasks})).await;
    assert!(client.call("only", ()).start().await.is_err());
    let listing = tokio::spawn({
        let tools = client.tools();
        async move { tools.collect().await }
    });
    let list = script.next().await;
    assert_eq!(list["method"], "tools/list");
    let schema = json!({"type": "object"});
    let only =
        json!({"name": "only", "inputSchema": schema, "execution": {"taskSupport": "required"}});
    script.answer(&list, json!({"tools": [only]})).await;
    assert_eq!(listing.await.unwrap().unwrap().len(), 1);
    let calling = tokio::spawn(client.call("only", ()).into_future());
    let call = script.next().await;
    assert_eq!(call["method"], "tools/call");
    assert!(call["params"].get("task").is_none());
    script.answer(&call, json!({"content": []})).await;
    calling.await.unwrap().unwrap();
}

// D-064 D-087 D-089 D-250
#[tokio::test]
async fn a_task_has_a_name_of_its_own_and_is_found_by_nothing_else() {
    let gate = Gate::default();
    let (mut script, ours) = Script::new();
    tokio::spawn(server(&gate).serve(ours));
    let welcome = script.shake_hands("2025-11-25", json!({})).await;
    let declared = &welcome["result"]["capabilities"]["tasks"];
    assert_eq!(declared["requests"], json!({"tools": {"call": {}}}));
    let mut ids = Vec::new();
    for _ in 0..20 {
        let call = json!({"name": "slow", "task": {}});
        let made = script.ask("tools/call", call).await;
        ids.push(
            made["result"]["task"]["taskId"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let distinct: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    let other = json!({"io.modelcontextprotocol/related-task": {"taskId": ids[1]}});
    for method in ["tasks/get", "tasks/cancel"] {
        let params = json!({"taskId": ids[0], "_meta": other});
        loop {
            let answer = script.ask(method, params.clone()).await;
            if answer.get("method").is_none() {
                assert_eq!(answer["result"]["taskId"], ids[0].as_str(), "{answer}");
                break;
            }
        }
    }
}

// D-070 D-071 D-073 D-085 D-086
#[tokio::test]
async fn a_task_waits_for_its_input_and_says_so() {
    let gate = Gate::default();
    let (asked, answer) = (Gate::default(), Gate::default());
    let wire = Wire::new();
    let (tells, waits) = (asked.clone(), answer.clone());
    let client = Client::builder("tasks", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_elicit(move |_| {
            let (tells, waits) = (tells.clone(), waits.clone());
            async move {
                tells.0.notify_one();
                waits.0.notified().await;
                Ok(ElicitResult::new(ElicitAction::Decline))
            }
        })
        .connect(wire.tapped(server(&gate)))
        .await
        .unwrap();
    let task = client.call("asks", ()).start().await.unwrap();
    asked.0.notified().await;
    assert_eq!(status_of(&task).await, TaskStatus::InputRequired);
    answer.0.notify_one();
    assert_eq!(task.result().await.unwrap().joined_text(), "Decline");
    let question = wire
        .messages()
        .into_iter()
        .find(|message| message["method"] == "elicitation/create")
        .unwrap();
    let related = &question["params"]["_meta"]["io.modelcontextprotocol/related-task"];
    assert_eq!(related["taskId"].as_str(), task.id());
    // D-057
    let told: Vec<Value> = wire
        .messages()
        .into_iter()
        .filter(|message| message["method"] == "notifications/tasks/status")
        .map(|message| message["params"]["status"].clone())
        .collect();
    assert_eq!(told, ["input_required", "working", "completed"]);
    wire.assert_clean();
}

// D-076 D-078 D-093 D-094 D-114
#[tokio::test(start_paused = true)]
async fn tasks_are_bounded_in_number_and_time() {
    let gate = Gate::default();
    let mut limits = Limits::default();
    limits.tasks = 3;
    limits.task_ttl = Duration::from_secs(60);
    let server = server(&gate).limits(limits).page_size(2);
    let client = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(server)
        .await
        .unwrap();
    let longer = client
        .call("quick", ())
        .as_task(Some(Duration::from_secs(3600)));
    let first = longer.start().await.unwrap();
    assert_eq!(first.status().await.unwrap().ttl, Some(60_000));
    let short = client
        .call("quick", ())
        .as_task(Some(Duration::from_secs(1)));
    let short = short.start().await.unwrap();
    let slow = client.call("slow", ()).start().await.unwrap();
    let refused = client.call("quick", ()).start().await.unwrap_err();
    assert!(refused.refusal().unwrap().message.contains("tasks"));
    assert_eq!(client.tasks().collect().await.unwrap().len(), 3);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(short.status().await.is_err());
    assert_eq!(client.tasks().collect().await.unwrap().len(), 2);
    client.call("quick", ()).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(first.status().await.is_err());
    assert!(slow.status().await.is_err());
}

// D-107 D-109 D-111 D-112
#[tokio::test]
async fn tasks_of_others_do_not_exist() {
    let gate = Gate::default();
    let handle = server(&gate).start().unwrap();
    let one = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(handle.clone())
        .await
        .unwrap();
    let other = Client::builder("c", "1")
        .revisions(Revision::NEGOTIABLE)
        .connect(handle)
        .await
        .unwrap();
    let task = one.call("slow", ()).start().await.unwrap();
    let id = task.id().unwrap();
    assert!(id.len() >= 32);
    let seen = other.task(id);
    for refused in [
        seen.status().await.unwrap_err(),
        seen.cancel().await.unwrap_err(),
        seen.result().await.unwrap_err(),
    ] {
        assert_eq!(refused.refusal().unwrap().code, code::INVALID_PARAMS);
    }
    assert!(other.tasks().collect().await.unwrap().is_empty());
    assert_eq!(status_of(&task).await, TaskStatus::Working);
}

// D-118 D-126 D-127 D-130 D-131 D-132 D-134 D-138 D-140 D-141 D-151
#[tokio::test]
async fn a_person_is_sent_to_a_page() {
    let gate = Gate::default();
    let wire = Wire::new();
    let completed = Arc::new(Mutex::new(Vec::new()));
    let hears = completed.clone();
    let client = Client::builder("pages", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_elicit_url(|page| async move {
            assert_eq!(page.url, "https://example.com/sign-in");
            assert_eq!(page.message, "Sign in");
            Ok(ElicitAction::Accept)
        })
        .on_elicitation_complete(move |id| hears.lock().unwrap().push(id))
        .connect(wire.tapped(server(&gate)))
        .await
        .unwrap();
    let answer = client.call("signs-in", ()).await.unwrap();
    assert_eq!(answer.joined_text(), "agreed");
    client.ping().await.unwrap();
    assert_eq!(*completed.lock().unwrap(), ["e-1"]);
    let refused = client.call("needs-a-page", ()).await.unwrap_err();
    let refusal = refused.refusal().unwrap();
    assert_eq!(refusal.code, -32042);
    let pages = UrlElicitation::required(refusal);
    assert_eq!(pages[0].elicitation_id, "e-2");
    // D-139
    let refused = client.call("misuses-the-code", ()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, code::INTERNAL_ERROR);
    wire.assert_clean();
}

// D-133 D-135 D-252
#[tokio::test]
async fn only_a_page_that_was_asked_for_is_done_and_only_once() {
    let completed = Arc::new(Mutex::new(Vec::new()));
    let hears = completed.clone();
    let (mut script, ours) = Script::new();
    let connecting = Client::builder("pages", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_elicit_url(|_| async { Ok(ElicitAction::Accept) })
        .on_elicitation_complete(move |id| hears.lock().unwrap().push(id))
        .connect(stream::duplex(ours));
    let serving = script.serve_handshake("2025-11-25", json!({"tools": {}}));
    let (client, ()) = tokio::join!(connecting, serving);
    let client = client.unwrap();
    let odd = "ä b/\u{1F600}\n1";
    let page =
        json!({"mode": "url", "message": "m", "url": "https://example.com/", "elicitationId": odd});
    assert_eq!(
        script.ask("elicitation/create", page).await["result"]["action"],
        "accept"
    );
    let calling = tokio::spawn(client.call("needs-a-page", ()).into_future());
    let call = script.next().await;
    let data = json!({"elicitations": [{"mode": "url", "message": "m", "url": "https://example.com/", "elicitationId": "refused"}]});
    let error = json!({"code": -32042, "message": "first a page", "data": data});
    script
        .say(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}))
        .await;
    assert!(calling.await.unwrap().is_err());
    for id in ["unknown", odd, odd, "refused", "e"] {
        script
            .say(json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": id}}))
            .await;
    }
    script.ask("ping", json!({})).await;
    assert_eq!(*completed.lock().unwrap(), [odd, "refused"]);

    // A server tells the client that it asked, and no other.
    let gate = Gate::default();
    let handle = server(&gate).start().unwrap();
    let (asked, other) = (Wire::new(), Wire::new());
    let client = || {
        Client::builder("pages", "1")
            .revisions(Revision::NEGOTIABLE)
            .on_elicit_url(|_| async { Ok(ElicitAction::Accept) })
    };
    let one = client()
        .connect(asked.tapped(handle.clone()))
        .await
        .unwrap();
    let two = client().connect(other.tapped(handle)).await.unwrap();
    one.call("signs-in", ()).await.unwrap();
    two.ping().await.unwrap();
    let told = |wire: &Wire| {
        let messages = wire.messages();
        messages
            .iter()
            .filter(|message| message["method"] == "notifications/elicitation/complete")
            .count()
    };
    assert_eq!((told(&asked), told(&other)), (1, 0));
}

// D-124 D-152: what was not declared is not asked, and refused if it is.
#[tokio::test]
async fn a_client_without_pages_is_not_sent_to_any() {
    let gate = Gate::default();
    let forms = || {
        Client::builder("forms", "1")
            .revisions(Revision::NEGOTIABLE)
            .on_elicit(|_| async { Ok(ElicitResult::new(ElicitAction::Cancel)) })
    };
    let client = forms().connect(server(&gate)).await.unwrap();
    let answer = client.call("signs-in", ()).await.unwrap();
    assert!(answer.failed(), "{}", answer.joined_text());
    let older = forms().revisions(&[Revision::V2025_06_18]);
    let older = older.connect(server(&gate)).await.unwrap();
    assert!(older.call("signs-in", ()).await.unwrap().failed());
    // One that has pages only is asked for no form.
    let pages = Client::builder("pages", "1")
        .revisions(Revision::NEGOTIABLE)
        .on_elicit_url(|_| async { Ok(ElicitAction::Decline) });
    let pages = pages.connect(server(&gate)).await.unwrap();
    assert!(pages.call("asks", ()).await.unwrap().failed());
    assert_eq!(
        pages.call("signs-in", ()).await.unwrap().joined_text(),
        "declined"
    );
}

// D-174 D-175 D-251
#[tokio::test]
async fn a_model_is_given_tools_only_if_its_client_said_so() {
    let gate = Gate::default();
    let answering = || {
        Client::builder("model", "1")
            .revisions(Revision::NEGOTIABLE)
            .on_sample(|asked| async move {
                assert_eq!(asked.tools.unwrap()[0].name, "look");
                Ok(
                    CreateMessageResult::new(Role::Assistant, "let me look", "m")
                        .stop_reason("toolUse"),
                )
            })
    };
    let client = answering().connect(server(&gate)).await.unwrap();
    let answer = client.call("samples", ()).await.unwrap();
    assert!(answer.failed());
    assert!(answer.joined_text().contains("sampling.tools"));
    let wire = Wire::new();
    let client = answering()
        .sampling_tools()
        .connect(wire.tapped(server(&gate)))
        .await
        .unwrap();
    assert_eq!(
        client.call("samples", ()).await.unwrap().joined_text(),
        "toolUse"
    );
    wire.assert_clean();
}
