//! Apps without a session before a gateway: a session stands in for each of them, what it is asked becomes
//! a round of the request that it is about, and nothing of that request is done twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::gateway::{Answer, App, Asked, Attendant, Gateway, Offer};
use compere::model::{
    ErrorObject, Implementation, ListCapability, ResourcesCapability, ServerCapabilities,
};
use compere::proto::Method;
use compere::server::http::HttpOptions;
use compere::server::http::bearer::Principal;
use compere::{Limits, ServerHandle};
use compere_tests::doors::{self, Door, Said, doors, request};
use compere_tests::until;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What happened behind the gateway, by name and how often.
#[derive(Clone, Default)]
struct Stage {
    happened: Arc<Mutex<BTreeMap<String, usize>>>,
    go_on: Arc<Notify>,
}

impl Stage {
    fn happens(&self, what: impl Into<String>) {
        *self
            .happened
            .lock()
            .unwrap()
            .entry(what.into())
            .or_default() += 1;
    }

    fn times(&self, what: &str) -> usize {
        let happened = self.happened.lock().unwrap();
        happened.get(what).copied().unwrap_or_default()
    }
}

/// Says when it is dropped.
struct Dropped(Stage, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.happens(self.1);
    }
}

struct Desk {
    app: App,
    stage: Stage,
    _dropped: Dropped,
}

fn said(text: &str) -> Result<Box<str>, ErrorObject> {
    let result = json!({"content": [{"type": "text", "text": text}]});
    Ok(result.to_string().into())
}

const FORM: &str = r#"{"message":"Sure?","requestedSchema":{"type":"object","properties":{}}}"#;

async fn act(app: App, stage: Stage, asked: Asked) -> Result<Box<str>, ErrorObject> {
    let place = asked.place();
    let params: Value = serde_json::from_str(asked.params()).unwrap();
    let ask = async |method: Method, params: &str, known: bool| {
        let answer = app.ask(method, params, known.then_some(&place)).await;
        answer.map_or_else(
            |error| format!("error: {error}"),
            |answer| answer.to_string(),
        )
    };
    match asked.method() {
        Method::ToolsList => Ok(json!({"tools": [
            {"name": "act", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}},
            {"name": "marked", "inputSchema": {"type": "object", "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
            }}},
        ]}).to_string().into()),
        Method::ResourcesRead => Err(ErrorObject::new(-32002, "There is no such resource")),
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            let uri = params["uri"].as_str().unwrap();
            stage.happens(format!("{} {uri}", asked.method().name()));
            match uri {
                "test://none" => Err(ErrorObject::invalid_params("There is no such resource")),
                _ => Ok("{}".into()),
            }
        }
        Method::LoggingSetLevel => {
            stage.happens(format!("level {}", params["level"].as_str().unwrap()));
            Ok("{}".into())
        }
        Method::ToolsCall => match params["name"].as_str().unwrap() {
            "echo" => said(asked.params()),
            "ask" => {
                stage.happens("before");
                let answer = ask(Method::ElicitationCreate, FORM, true).await;
                stage.happens("after");
                said(&answer)
            }
            "ask twice" => {
                let first = ask(Method::ElicitationCreate, FORM, true).await;
                let roots = ask(Method::RootsList, "{}", true).await;
                said(&format!("{first} {roots}"))
            }
            "ask on" => {
                let mut last = String::new();
                while !last.contains("error") {
                    stage.happens("asked");
                    last = ask(Method::ElicitationCreate, FORM, true).await;
                }
                said(&last)
            }
            "ask both" => {
                let both = futures_util::future::join(
                    ask(Method::ElicitationCreate, FORM, true),
                    ask(Method::RootsList, "{}", true),
                );
                let (first, second) = both.await;
                said(&format!("{first} {second}"))
            }
            "ask anywhere" => said(&ask(Method::ElicitationCreate, FORM, false).await),
            "page" => {
                let page = json!({"message": "Sign in", "requestedSchema": null, "mode": "url",
                    "url": "https://example.com/", "elicitationId": "7"});
                said(&ask(Method::ElicitationCreate, &page.to_string(), true).await)
            }
            "ping" => said(&ask(Method::Ping, "{}", false).await),
            "pages first" => {
                stage.happens("pages");
                if stage.times("pages") > 1 {
                    return said("in");
                }
                let data = json!({"elicitations": [{"mode": "url", "elicitationId": "1",
                    "url": "https://example.com/", "message": "Sign in"}]});
                Err(ErrorObject::new(-32042, "Sign in first").with_data(&data))
            }
            "talk" => {
                asked.progress(1.0, Some(2.0), Some("half".to_owned()));
                for level in ["debug", "error"] {
                    let message = json!({"level": level, "data": level}).to_string();
                    app.tell(Method::Message, Some(&message), Some(&place));
                }
                // Not at once, so that it is said while somebody works.
                tokio::task::yield_now().await;
                said("talked")
            }
            "change" => {
                app.tell(Method::ToolsListChanged, None, None);
                for uri in ["test://one", "test://other"] {
                    let params = json!({"uri": uri}).to_string();
                    app.tell(Method::ResourcesUpdated, Some(&params), None);
                }
                said("changed")
            }
            "wait" => {
                let _dropped = Dropped(stage.clone(), "wait ended");
                stage.happens("wait began");
                stage.go_on.notified().await;
                said("through")
            }
            "close" => {
                app.close();
                std::future::pending().await
            }
            other => said(&format!("no {other}")),
        },
        other => Err(ErrorObject::method_not_found(other.name())),
    }
}

impl Attendant for Desk {
    fn offer(&self) -> Offer {
        let list = || ListCapability::new().list_changed(true);
        let mut capabilities = ServerCapabilities::new();
        capabilities.tools = Some(list());
        let resources = ResourcesCapability::new();
        capabilities.resources = Some(resources.list_changed(true).subscribe(true));
        capabilities.logging = Some(serde_json::Map::new().into());
        Offer {
            info: Implementation::new("desk", "1"),
            capabilities,
            instructions: Some("Ask.".to_owned()),
        }
    }

    fn request(&self, asked: Asked) -> Answer {
        Box::pin(act(self.app.clone(), self.stage.clone(), asked))
    }

    fn notification(&self, _method: Method, _params: &str) {}

    fn initialized(&self) {
        self.stage.happens("ready");
    }
}

fn gateway_within(stage: &Stage, limits: Limits) -> ServerHandle {
    let stage = stage.clone();
    let gateway = Gateway::new("gate", "1", move |app: App| {
        let stage = stage.clone();
        async move {
            stage.happens(format!("opened for {}", app.info().name));
            let _dropped = Dropped(stage.clone(), "left");
            Ok(Arc::new(Desk {
                app,
                stage,
                _dropped,
            }) as Arc<dyn Attendant>)
        }
    });
    gateway.limits(limits).start().unwrap()
}

fn gateway(stage: &Stage) -> ServerHandle {
    gateway_within(stage, Limits::default())
}

/// What an app that can be asked says that it can do.
fn able() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "roots": {}})
}

fn call(id: u32, tool: &str) -> Value {
    request(
        id,
        "tools/call",
        json!({"name": tool, "arguments": {"a": 1}}),
        able(),
    )
}

/// The next round: the same again, with answers to all that was asked, and the state.
fn again(id: u32, first: &Value, asked: &Said, answer: &Value) -> Value {
    let asked = &asked.answer["result"];
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let mut next = first.clone();
    next["id"] = json!(id);
    let questions = asked["inputRequests"].as_object().unwrap();
    let answers = questions.iter().map(|(key, question)| {
        let answer = match question["method"].as_str() {
            Some("roots/list") => json!({"roots": []}),
            _ => answer.clone(),
        };
        (key.clone(), answer)
    });
    next["params"]["inputResponses"] = answers.collect();
    next["params"]["requestState"] = asked["requestState"].clone();
    next
}

fn accept() -> Value {
    json!({"action": "accept", "content": {}})
}

/// What stands in a header too is held against it, once the tools were listed.
#[tokio::test]
async fn a_marked_parameter_is_what_its_header_says() {
    let server = gateway(&Stage::default());
    let options = HttpOptions::new().bearer(|token| Some(Principal::new(token)));
    let mut service = server.http(options).unwrap();
    let mut call = async |who: &str, region: Option<&str>| {
        let params = json!({"name": "marked", "arguments": {"region": "north"}});
        let call = request(1, "tools/call", params, able());
        let token = format!("Bearer {who}");
        let header = region.map(|region| ("mcp-param-region", region));
        let headers: Vec<_> = [("authorization", &*token)]
            .into_iter()
            .chain(header)
            .collect();
        let said = doors::posted(&mut service, &call, &headers).await;
        if said.code() == 0 {
            assert_eq!(said.text(), "no marked", "{said:?}");
        }
        (said.status, said.code())
    };
    // Nobody knows yet.
    assert_eq!(call("ada", None).await, (200, 0));
    let mut lists = server
        .http(HttpOptions::new().bearer(|token| Some(Principal::new(token))))
        .unwrap();
    let list = request(2, "tools/list", json!({}), able());
    let bearer = [("authorization", "Bearer ada")];
    let listed = doors::posted(&mut lists, &list, &bearer).await;
    assert_eq!(
        listed.answer["result"]["tools"].as_array().unwrap().len(),
        2
    );
    assert_eq!(call("ada", None).await, (400, -32020));
    assert_eq!(call("ada", Some("south")).await, (400, -32020));
    assert_eq!(call("ada", Some("north")).await, (200, 0));
    assert_eq!(call("ada", Some("=?base64?bm9ydGg=?=")).await, (200, 0));
    // Others may see other tools.
    assert_eq!(call("bob", Some("south")).await, (200, 0));
}

#[tokio::test]
async fn a_request_reaches_a_session_without_its_envelope() {
    let stage = Stage::default();
    let server = gateway(&stage);
    for mut door in doors(&server) {
        let found = door
            .say(&request(1, "server/discover", json!({}), json!({})))
            .await;
        let found = &found.answer["result"];
        assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["instructions"], "Ask.");
        assert_eq!(found["capabilities"]["resources"]["subscribe"], true);
        let list = door
            .say(&request(2, "tools/list", json!({}), json!({})))
            .await;
        let list = &list.answer["result"];
        assert_eq!(list["resultType"], "complete");
        assert!(list["ttlMs"].is_u64() && list["cacheScope"] == "private");
        // What is only of sessions is not offered to who has none.
        assert_eq!(list["tools"][0].get("execution"), None);
        let params = json!({
            "name": "echo", "arguments": {"a": "1e400"},
            "_meta": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        });
        let echo = door.say(&request(3, "tools/call", params, json!({}))).await;
        let reached: Value = serde_json::from_str(echo.text()).unwrap();
        let meta = reached["_meta"].as_object().unwrap();
        assert_eq!(meta.keys().collect::<Vec<_>>(), ["traceparent"]);
        let missing = request(4, "resources/read", json!({"uri": "test://no"}), json!({}));
        assert_eq!(door.say(&missing).await.code(), -32602);
        // What the gateway does not offer is not there.
        let prompts = request(5, "prompts/list", json!({}), json!({}));
        assert_eq!(door.say(&prompts).await.code(), -32601);
    }
}

#[tokio::test]
async fn an_app_is_one_session_until_it_leaves() {
    let stage = Stage::default();
    let server = gateway(&stage);
    let mut http = Door::http(&server, HttpOptions::new());
    for id in 1..4 {
        http.say(&request(id, "tools/list", json!({}), json!({})))
            .await;
    }
    assert_eq!(
        (stage.times("opened for test"), stage.times("ready")),
        (1, 1)
    );
    let mut other = request(4, "tools/list", json!({}), json!({}));
    other["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = json!("other");
    http.say(&other).await;
    assert_eq!(stage.times("opened for other"), 1);
    // What an app can do is told once, so one that can do something else is another.
    http.say(&request(5, "tools/list", json!({}), able())).await;
    assert_eq!(stage.times("opened for test"), 2);
    // On a connection it is its own, and leaves with it.
    let mut pipe = Door::pipe(&server);
    pipe.say(&request(6, "tools/list", json!({}), json!({})))
        .await;
    assert_eq!(
        (stage.times("opened for test"), stage.times("left")),
        (3, 0)
    );
    drop(pipe);
    until("the end of the app on the pipe", || {
        stage.times("left") == 1
    })
    .await;
    server.shutdown();
    until("the end of the others", || stage.times("left") == 4).await;
}

#[tokio::test]
async fn a_question_is_a_round_and_nothing_is_done_twice() {
    for door in [true, false] {
        let stage = Stage::default();
        let server = gateway(&stage);
        let mut door = match door {
            true => Door::pipe(&server),
            false => Door::http(&server, HttpOptions::new()),
        };
        let first = call(1, "ask");
        let asked = door.say(&first).await;
        let question = asked.answer["result"]["inputRequests"].as_object().unwrap();
        let question = question.values().next().unwrap();
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], "Sure?");
        // Of another call, or without its answers, it is worth nothing, and harms nothing.
        let mut other = again(2, &first, &asked, &accept());
        other["params"]["arguments"] = json!({"a": 2});
        assert_eq!(door.say(&other).await.code(), -32602);
        let mut empty = again(3, &first, &asked, &accept());
        empty["params"]["inputResponses"] = json!({});
        let asked = door.say(&empty).await;
        let next = again(4, &first, &asked, &accept());
        let done = door.say(&next).await;
        assert!(done.text().contains("accept"), "{done:?}");
        assert_eq!((stage.times("before"), stage.times("after")), (1, 1));
        // The same once more finds nothing that goes on.
        let late = door.say(&next).await;
        assert_eq!(late.code(), -32602);
        assert!(
            late.answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("begin again")
        );
        assert_eq!(stage.times("before"), 1);
    }
}

#[tokio::test]
async fn questions_come_one_after_the_other_or_together() {
    let stage = Stage::default();
    let server = gateway(&stage);
    for mut door in doors(&server) {
        let first = call(1, "ask twice");
        let one = door.say(&first).await;
        let two = door.say(&again(2, &first, &one, &accept())).await;
        assert_eq!(
            two.answer["result"]["inputRequests"]
                .as_object()
                .unwrap()
                .len(),
            1
        );
        let done = door.say(&again(3, &first, &two, &accept())).await;
        assert!(done.text().contains("accept") && done.text().contains("roots"));
        let first = call(4, "ask both");
        let both = door.say(&first).await;
        assert_eq!(
            both.answer["result"]["inputRequests"]
                .as_object()
                .unwrap()
                .len(),
            2
        );
        let done = door.say(&again(5, &first, &both, &accept())).await;
        assert!(done.text().contains("accept") && done.text().contains("roots"));
        // A page has no name in this era.
        let page = door.say(&call(6, "page")).await;
        let page = page.answer["result"]["inputRequests"].to_string();
        assert!(page.contains("https://example.com/") && !page.contains("elicitationId"));
        assert_eq!(door.say(&call(7, "ping")).await.text(), "{}");
    }
}

/// Whoever asks on is refused that, and its call comes to something.
#[tokio::test]
async fn rounds_have_an_end() {
    let stage = Stage::default();
    let server = gateway(&stage);
    let mut door = Door::pipe(&server);
    let first = call(1, "ask on");
    let mut said = door.say(&first).await;
    let mut rounds = 0;
    while said.answer["result"]["resultType"] == "input_required" {
        rounds += 1;
        said = door.say(&again(rounds + 1, &first, &said, &accept())).await;
    }
    assert_eq!(rounds as usize, Limits::default().input_rounds);
    assert!(said.text().contains("input_rounds"), "{said:?}");
}

#[tokio::test]
async fn who_cannot_be_asked_is_not() {
    let stage = Stage::default();
    let server = gateway(&stage);
    for mut door in doors(&server) {
        let params = json!({"name": "ask", "arguments": {}});
        let unable = request(1, "tools/call", params, json!({"roots": {}}));
        let said = door.say(&unable).await;
        assert!(said.text().contains("elicitation"), "{said:?}");
        // Where only one call is worked on, it is clear what a question is about.
        let first = call(2, "ask anywhere");
        let asked = door.say(&first).await;
        let done = door.say(&again(3, &first, &asked, &accept())).await;
        assert!(done.text().contains("accept"));
        // This one is still there, and it could be about that.
        door.say(&call(4, "ask")).await;
        let said = door.say(&first).await;
        assert!(said.text().contains("only while one"), "{said:?}");
    }
}

#[tokio::test]
async fn pages_to_go_to_first_are_a_round() {
    let stage = Stage::default();
    let server = gateway(&stage);
    let mut door = Door::pipe(&server);
    let first = call(1, "pages first");
    let asked = door.say(&first).await;
    let done = door.say(&again(2, &first, &asked, &accept())).await;
    assert_eq!(done.text(), "in");
}

#[tokio::test]
async fn a_call_hears_what_is_said_of_it() {
    let stage = Stage::default();
    let server = gateway(&stage);
    for mut door in doors(&server) {
        let mut talk = call(1, "talk");
        talk["params"]["_meta"]["progressToken"] = json!("mine");
        let methods = |said: &Said| -> Vec<String> {
            let methods = said.before.iter().map(|message| message["method"].as_str());
            methods.map(|method| method.unwrap().to_owned()).collect()
        };
        let quiet = door.say(&talk).await;
        assert_eq!(methods(&quiet), ["notifications/progress"]);
        assert_eq!(quiet.before[0]["params"]["progressToken"], "mine");
        talk["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("warning");
        let loud = door.say(&talk).await;
        assert_eq!(
            methods(&loud),
            ["notifications/progress", "notifications/message"]
        );
        assert_eq!(loud.before[1]["params"]["level"], "error");
    }
    // The level was passed on, to each session once.
    assert_eq!(stage.times("level warning"), 2);
}

#[tokio::test]
async fn a_call_that_nobody_wants_ends() {
    let stage = Stage::default();
    let mut limits = Limits::default();
    limits.grace = Duration::from_millis(100);
    let server = gateway_within(&stage, limits);
    let Door::Pipe {
        mut lines,
        mut writer,
    } = Door::pipe(&server)
    else {
        unreachable!()
    };
    use tokio::io::AsyncWriteExt;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    writer
        .write_all(format!("{}\n", call(1, "wait")).as_bytes())
        .await
        .unwrap();
    until("the call", || stage.times("wait began") == 1).await;
    writer
        .write_all(format!("{cancelled}\n").as_bytes())
        .await
        .unwrap();
    until("its end", || stage.times("wait ended") == 1).await;
    // One more, whose connection ends.
    writer
        .write_all(format!("{}\n", call(2, "wait")).as_bytes())
        .await
        .unwrap();
    until("the call", || stage.times("wait began") == 2).await;
    writer.shutdown().await.unwrap();
    while lines.next_line().await.unwrap().is_some() {}
    until("its end", || stage.times("wait ended") == 2).await;
    // And one over HTTP.
    let mut http = Door::http(&server, HttpOptions::new());
    let wait = tokio::spawn(async move { http.say(&call(3, "wait")).await });
    until("the call", || stage.times("wait began") == 3).await;
    wait.abort();
    until("its end", || stage.times("wait ended") == 3).await;
}

#[tokio::test]
async fn an_app_listens_for_what_changes() {
    use tokio::io::AsyncWriteExt;
    let stage = Stage::default();
    let server = gateway(&stage);
    let Door::Pipe {
        mut lines,
        mut writer,
    } = Door::pipe(&server)
    else {
        unreachable!()
    };
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true,
        "resourceSubscriptions": ["test://one", "test://none"],
    });
    let listen = request(
        1,
        "subscriptions/listen",
        json!({"notifications": wanted}),
        json!({}),
    );
    let change = request(
        2,
        "tools/call",
        json!({"name": "change", "arguments": {}}),
        json!({}),
    );
    writer
        .write_all(format!("{listen}\n").as_bytes())
        .await
        .unwrap();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    let acknowledged = next().await;
    let honoured = &acknowledged["params"]["notifications"];
    assert_eq!(
        *honoured,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["test://one"]})
    );
    writer
        .write_all(format!("{change}\n").as_bytes())
        .await
        .unwrap();
    let mut heard = Vec::new();
    for _ in 0..3 {
        let message = next().await;
        heard.push(match message["method"].as_str() {
            Some(method) => format!(
                "{method} {}",
                message["params"]["uri"].as_str().unwrap_or("")
            ),
            None => message["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned(),
        });
    }
    heard.sort();
    assert_eq!(
        heard,
        [
            "changed",
            "notifications/resources/updated test://one",
            "notifications/tools/list_changed ",
        ]
    );
    assert_eq!(stage.times("resources/subscribe test://one"), 1);
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    writer
        .write_all(format!("{cancelled}\n").as_bytes())
        .await
        .unwrap();
    until("the end of the subscription", || {
        stage.times("resources/unsubscribe test://one") == 1
    })
    .await;
    assert_eq!(stage.times("resources/unsubscribe test://none"), 0);
}

#[tokio::test]
async fn what_nobody_comes_back_for_ends() {
    let stage = Stage::default();
    let mut limits = Limits::default();
    limits.request_state_lifetime = Duration::from_millis(50);
    limits.session_idle = Duration::from_millis(200);
    let server = gateway_within(&stage, limits);
    let mut door = Door::http(&server, HttpOptions::new());
    let first = call(1, "ask");
    let asked = door.say(&first).await;
    until("the end of the app", || stage.times("left") == 1).await;
    assert_eq!(stage.times("after"), 0);
    // The next request begins anew.
    assert_eq!(
        door.say(&again(2, &first, &asked, &accept())).await.code(),
        -32602
    );
    assert!(door.say(&call(3, "ping")).await.text().contains("{}"));
    assert_eq!(stage.times("opened for test"), 2);
}

#[tokio::test]
async fn a_session_that_is_closed_answers_no_more_and_the_next_one_does() {
    let stage = Stage::default();
    let server = gateway(&stage);
    for mut door in doors(&server) {
        assert_eq!(door.say(&call(1, "close")).await.code(), -32603);
        assert_eq!(door.say(&call(2, "ping")).await.text(), "{}");
    }
    assert_eq!(stage.times("opened for test"), 4);
    until("their end", || stage.times("left") == 3).await;
}

#[tokio::test]
async fn there_are_not_too_many() {
    let stage = Stage::default();
    let mut limits = Limits::default();
    limits.sessions = 1;
    let server = gateway_within(&stage, limits);
    let named = |id: u32, name: &str, tool: &str| {
        let mut call = call(id, tool);
        call["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = json!(name);
        call
    };
    let mut door = Door::http(&server, HttpOptions::new());
    door.say(&named(1, "one", "ping")).await;
    // One that is idle makes room.
    door.say(&named(2, "two", "ping")).await;
    until("its end", || stage.times("left") == 1).await;
    // One that waits for its app does not.
    door.say(&named(3, "two", "ask")).await;
    let refused = door.say(&named(4, "three", "ping")).await;
    assert!(
        refused.answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("sessions")
    );
}

/// Either era may come first on a pipe; a session is not opened on one whose app had none.
#[tokio::test]
async fn a_pipe_is_of_the_era_that_it_begins_with() {
    let stage = Stage::default();
    let server = gateway(&stage);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let Door::Pipe {
        mut lines,
        mut writer,
    } = Door::pipe(&server)
    else {
        unreachable!()
    };
    use tokio::io::AsyncWriteExt;
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let ping = call(2, "ping");
    let all = format!("{initialize}\n{ready}\n{ping}\n");
    writer.write_all(all.as_bytes()).await.unwrap();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    assert_eq!(next().await["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(next().await["result"]["resultType"], "complete");

    let Door::Pipe {
        mut lines,
        mut writer,
    } = Door::pipe(&server)
    else {
        unreachable!()
    };
    writer
        .write_all(format!("{ping}\n{initialize}\n").as_bytes())
        .await
        .unwrap();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    let mut codes = [next().await, next().await].map(|answer| answer["error"]["code"].as_i64());
    codes.sort();
    assert_eq!(codes, [None, Some(-32022)]);

    // To ask who is there decides nothing.
    let Door::Pipe {
        mut lines,
        mut writer,
    } = Door::pipe(&server)
    else {
        unreachable!()
    };
    let before = stage.times("left");
    let discover = request(1, "server/discover", json!({}), json!({}));
    let all = format!("{discover}\n{discover}\n{initialize}\n{ready}\n{ping}\n");
    writer.write_all(all.as_bytes()).await.unwrap();
    let mut next = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    for _ in 0..2 {
        assert!(next().await["result"]["supportedVersions"].is_array());
    }
    assert_eq!(next().await["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(next().await["result"]["resultType"], "complete");
    // What stood in for whoever asked is gone.
    until("its end", || stage.times("left") == before + 1).await;
}
