//! The page of the host as a person has it: Chromium shows it, a real server asks, a person clicks, and the
//! app gets its answer. What the person does is in `host/browser.mjs`, one part for each test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use compere::Client;
use compere::model::{CreateMessageResult, Role};
use compere_host::audit::{Durability, Kind, Log, Record};
use compere_host::consent::Answer;
use compere_host::door::{Order, Reply};
use compere_tests::ground::peer;
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::provider::{KEY, Provider, model};
use compere_tests::until;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A person at a browser.
struct Person {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// Where Chromium is.
fn chromium() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&paths)
        .flat_map(|folder| [folder.join("chromium"), folder.join("chromium-browser")]);
    let mut there = named.filter(|path| path.is_file());
    there
        .next()
        .expect("chromium is installed: see .ci/run for what the tests need")
}

impl Person {
    /// A person who does this part.
    fn sits_down(host: &Hosting, part: &str) -> Self {
        let link = match host.order(&Order::Page) {
            Reply::Done(words) => words.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/browser.mjs");
        // Packages are found beside the script that asks for them.
        let beside = peer("npm-browser").join(format!("browser-{part}.mjs"));
        std::fs::copy(script, &beside).unwrap();
        let mut process = Command::new("node")
            .arg(beside)
            .args([part, &link])
            .arg(chromium())
            .args(std::env::var_os("COMPERE_SHOTS"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        }
    }

    /// What they have seen.
    async fn says(&mut self) -> Value {
        let line =
            tokio::time::timeout(std::time::Duration::from_secs(120), self.output.next_line());
        let line = line.await.expect("the browser is too slow").unwrap();
        serde_json::from_str(&line.expect("the browser has failed")).unwrap()
    }

    async fn told(&mut self, what: &Value) {
        let line = format!("{what}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    /// The part is over: nothing went wrong on the page, and nothing was asked of anybody else.
    async fn leaves(mut self) {
        let last = self.says().await;
        assert_eq!(last["wrong"], json!([]), "{last}");
        assert_eq!(last["requests"], json!([last["own"]]), "{last}");
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// A host with the probe, which asks for everything, as a file says.
fn hosting(settings: Value, definition: Option<Value>, more: &Value) -> Hosting {
    Hosting::start_in(hosted_folder(settings, definition, more), &[])
}

fn hosted_folder(settings: Value, definition: Option<Value>, more: &Value) -> tempfile::TempDir {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    if let Some(definition) = definition {
        std::fs::write(work.join("definition.json"), definition.to_string()).unwrap();
    }
    let mut given = json!({"write": true});
    for (name, value) in settings.as_object().unwrap() {
        given[name] = value.clone();
    }
    let mut file = json!({"servers": {"probe": probe(work.to_str().unwrap(), &given)}});
    for (name, value) in more.as_object().unwrap() {
        file[name] = value.clone();
    }
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    folder
}

async fn approved() -> Hosting {
    let host = hosting(json!({}), None, &json!({}));
    host.approve(&["probe"]).await;
    host
}

/// What an app gets for a call, once there is something.
fn calling(app: &Client, arguments: Value) -> tokio::task::JoinHandle<String> {
    let app = app.clone();
    tokio::spawn(async move {
        match app.call("probe__probe", arguments).await {
            Ok(called) => text(&called.into_inner()),
            Err(error) => error.to_string(),
        }
    })
}

fn ledger(host: &Hosting) -> String {
    std::fs::read_to_string(host.path("work/ledger")).unwrap_or_default()
}

// A-TS-03 A-TS-08
#[tokio::test(flavor = "multi_thread")]
async fn a_person_clicks_and_the_app_gets_its_answer() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "count", "mark": "seen <b>here</b>"}));
    let mut person = Person::sits_down(&host, "once");
    let seen = person.says().await;
    let shown = seen["text"].as_str().unwrap();
    for words in [
        "editor wants probe of probe",
        "Does what it is told.",
        "\"mark\": \"seen <b>here</b>\"",
        "You are asked because",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
    let notice = seen["notice"].as_str().unwrap();
    assert!(
        notice.contains("allowed once (local, by the web page)"),
        "{notice}"
    );
    assert!(answer.await.unwrap().starts_with("OPEN"));
    assert_eq!(ledger(&host), "seen <b>here</b>\n");
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_with_a_reason_by_keys_alone() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "count", "mark": "never"}));
    let (id, _) = host.waiting_call().await;
    let mut person = Person::sits_down(&host, "refuse_by_keys");
    let seen = person.says().await;
    assert_eq!(seen["focused"], id.to_string());
    assert!(seen["notice"].as_str().unwrap().contains("refused"));
    assert!(answer.await.unwrap().contains("not today"));
    assert_eq!(ledger(&host), "");
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_arguments_than_were_asked_for() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "count", "mark": "as asked"}));
    let mut person = Person::sits_down(&host, "edit");
    let seen = person.says().await;
    assert!(seen["why"].as_str().unwrap().contains("no JSON"), "{seen}");
    assert!(answer.await.unwrap().starts_with("OPEN"));
    assert_eq!(ledger(&host), "as edited\nby hand\n");
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_given_and_taken_back() {
    let host = approved().await;
    let app = host.app("editor").await;
    let arguments = json!({"do": "count", "mark": "again"});
    let answer = calling(&app, arguments.clone());
    let mut person = Person::sits_down(&host, "always");
    let seen = person.says().await;
    assert!(!seen["shape"].as_str().unwrap().is_empty());
    answer.await.unwrap();
    assert!(calling(&app, arguments).await.unwrap().starts_with("OPEN"));
    assert_eq!(ledger(&host), "again\nagain\n");
    person.told(&json!("look")).await;
    let seen = person.says().await;
    assert!(
        seen["granted"].as_str().unwrap().contains("probe"),
        "{seen}"
    );
    assert!(matches!(host.order(&Order::Grants), Reply::Grants(grants) if grants.is_empty()));
    person.leaves().await;
}

// A-TS-01 A-TS-09 C-GUIDE-15 C-GUIDE-16
#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_what_it_offers_are_approved() {
    let host = hosting(json!({}), None, &json!({}));
    let mut person = Person::sits_down(&host, "approve");
    let seen = person.says().await;
    let facts = seen["facts"].as_str().unwrap();
    assert!(
        facts.contains("python3") && facts.contains("cannot use the network"),
        "{facts}"
    );
    let app = host.app("editor").await;
    let tools = app.tools().collect().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    // One was left out, and the other one only reads.
    assert_eq!(names, ["probe__probe"]);
    let answer = calling(&app, json!({"do": "nothing"})).await.unwrap();
    assert_eq!(answer, "OPEN done");
    person.leaves().await;
}

// A-TS-09
#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_stands_out() {
    let host = approved().await;
    let described = json!({"probe": {"description": "Does what it is not told."}});
    std::fs::write(host.path("work/definition.json"), described.to_string()).unwrap();
    // It is seen when the server is started again.
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "count", "mark": "changed"}));
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Once);
    let mut person = Person::sits_down(&host, "changed");
    let seen = person.says().await;
    let new: String = seen["fresh"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(new.contains("not"), "{seen}");
    assert!(!new.contains("Does"), "{seen}");
    assert_eq!(seen["place"], "/description");
    // What is not what was approved was not called.
    answer.await.unwrap();
    assert_eq!(ledger(&host), "");
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_we_did_not_write_is_tried() {
    let script =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let server = json!({"command": "node", "args": [script, "stdio"], "root": true});
    let host = Hosting::start(&json!({"servers": {"everything": server}}));
    host.approve(&["everything"]).await;
    let mut person = Person::sits_down(&host, "everything");
    let seen = person.says().await;
    assert_eq!(seen["picture"], true, "{seen}");
    assert!(
        seen["prompted"].as_str().unwrap().contains("Vienna"),
        "{seen}"
    );
    assert!(seen["count"].as_u64().unwrap() > 0, "{seen}");
    assert!(seen["read"].as_str().unwrap().contains("://"), "{seen}");
    person.leaves().await;
}

/// An app that samples, and what its model was asked.
async fn sampling_app(host: &Hosting) -> (Client, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    let asked = std::sync::Arc::<std::sync::Mutex<Vec<Value>>>::default();
    let heard = asked.clone();
    let builder = Client::builder("editor", "1").on_sample(move |params| {
        let params = serde_json::to_value(&params).unwrap();
        heard.lock().unwrap().push(params);
        async move {
            Ok(CreateMessageResult::new(
                Role::Assistant,
                "from <i>the model</i>",
                "abacus",
            ))
        }
    });
    (host.app_with("editor", builder).await, asked)
}

fn sample() -> Value {
    json!({"do": "ask", "method": "sampling/createMessage", "params": {
        "maxTokens": 100, "systemPrompt": "be brief",
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "who are you?"}},
            {"role": "assistant", "content": {"type": "text", "text": "line\r\nended twice"}},
        ],
    }})
}

// A-TS-12 A-TS-13
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_is_asked_and_what_it_says_are_changed() {
    let rules = json!({"policy": [{"allow": "tool"}]});
    let host = hosting(json!({"sampling": true}), None, &rules);
    host.approve(&["probe"]).await;
    let (app, asked) = sampling_app(&host).await;
    let answer = calling(&app, sample());
    let mut person = Person::sits_down(&host, "sample");
    let seen = person.says().await;
    let shown = seen["text"].as_str().unwrap();
    for words in ["probe wants to ask a model", "be brief", "who are you?"] {
        assert!(shown.contains(words), "{shown}");
    }
    let shown = seen["answer"].as_str().unwrap();
    assert!(shown.contains("from <i>the model</i>"), "{shown}");
    let answer = answer.await.unwrap();
    assert!(answer.contains("what I let it see"), "{answer}");
    assert!(!answer.contains("from <i>"), "{answer}");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(
        asked[0]["messages"][0]["content"]["text"],
        "who am I?\nsecond line"
    );
    assert_eq!(asked[0]["maxTokens"], 50);
    // What was not changed goes on to the last sign, whatever a browser makes of it.
    assert_eq!(
        asked[0]["messages"][1]["content"]["text"],
        "line\r\nended twice"
    );
    assert_eq!(asked[0]["systemPrompt"], "be brief");
    person.leaves().await;
}

// A-TS-10
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_not_asked_when_the_person_does_not_want_that() {
    let rules = json!({"policy": [{"allow": "tool"}]});
    let host = hosting(json!({"sampling": true}), None, &rules);
    host.approve(&["probe"]).await;
    let (app, asked) = sampling_app(&host).await;
    let answer = calling(&app, sample());
    let mut person = Person::sits_down(&host, "refuse_sample");
    person.says().await;
    let answer = answer.await.unwrap();
    assert!(answer.contains("no models"), "{answer}");
    assert!(asked.lock().unwrap().is_empty());
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_of_the_person_is_asked() {
    let provider = Provider::start().await;
    let more = json!({
        "policy": [{"allow": "tool"}],
        "models": [model(&provider, "openai"), model(&provider, "anthropic")],
    });
    let folder = hosted_folder(json!({"sampling": true}), None, &more);
    let key = folder.path().join("settings/key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["probe"]).await;
    let app = host.app("editor").await;
    let answer = calling(&app, sample());
    let mut person = Person::sits_down(&host, "other_model");
    let seen = person.says().await;
    assert_eq!(seen["others"], json!(["my-openai", "my-anthropic"]));
    assert!(
        seen["answer"].as_str().unwrap().contains("from anthropic"),
        "{seen}"
    );
    assert!(answer.await.unwrap().contains("from anthropic"));
    let paths: Vec<String> = provider
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|got| got.0.clone())
        .collect();
    assert_eq!(paths, ["/v1/messages"]);
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_wins_and_the_page_shows_so() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "nothing"}));
    let mut person = Person::sits_down(&host, "slower");
    let id = person.says().await["id"].as_u64().unwrap();
    host.answer(id, Answer::Once);
    let notice = person.says().await;
    let notice = notice["notice"].as_str().unwrap();
    assert!(
        notice.contains("allowed once (local, by a test)"),
        "{notice}"
    );
    assert_eq!(answer.await.unwrap(), "OPEN done");
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_clicked_too_early_is_no_yes() {
    let host = approved().await;
    let app = host.app("editor").await;
    let mut person = Person::sits_down(&host, "too_early");
    person.says().await;
    let answer = calling(&app, json!({"do": "count", "mark": "early"}));
    let seen = person.says().await;
    assert_eq!(seen, json!({"isThere": true}));
    assert_eq!(ledger(&host), "");
    let (id, _) = host.waiting_call().await;
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    answer.await.unwrap();
    person.leaves().await;
}

// C-BASE-08
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_tried_with_a_form_from_its_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "Some <b>text</b>"},
            "number": {"type": ["number", "null"]},
            "whole": {"type": "integer", "minimum": 1, "maximum": 9},
            "flag": {"type": "boolean"},
            "choice": {"enum": ["first", "second"]},
            "lines": {"type": "array", "items": {"type": "string"}},
            "inside": {"$ref": "#/$defs/inside"},
            "anything": {},
            "unsaid": {"type": "string"},
        },
        "required": ["text", "whole"],
        "$defs": {"inside": {"type": "object", "properties": {"inner": {"type": "string", "title": "inner text"}}}},
    });
    let tool = json!({
        "name": "formed", "title": "All kinds of things", "description": "Takes much.", "inputSchema": schema,
    });
    let host = hosting(json!({}), Some(json!({"new": [tool]})), &json!({}));
    host.approve(&["probe"]).await;
    let mut person = Person::sits_down(&host, "try_tool");
    let seen = person.says().await;
    let result: Value = serde_json::from_str(seen["result"].as_str().unwrap()).unwrap();
    let wanted = json!({
        "text": "one\ntwo <b>&", "number": 2.5, "whole": 7, "flag": true, "choice": "second",
        "lines": ["a", "b"], "inside": {"inner": "deep"}, "anything": [1, null],
    });
    assert_eq!(result, wanted);
    assert!(
        seen["json"].as_str().unwrap().contains("\"text\": 1"),
        "{seen}"
    );
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_are_words() {
    let hostile = "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>\
                   </pre><marquee>\u{1b}[2Jclear\u{202e}desrever\u{2066}\u{200b}hidden\u{e0041}\u{e0042}\u{7}\
                   &lt;escaped&gt;\u{2028}<style>*{display:none}</style>\" onload=\"window.hacked=3";
    let tool = json!({
        "name": "bad", "title": hostile, "description": hostile,
        "inputSchema": {"type": "object", "properties": {
            "<img src=x onerror=window.hacked=4>": {"type": "string", "title": hostile, "description": hostile, "default": "plain"},
            "choice": {"enum": [hostile, "\"><script>window.hacked=5</script>"], "description": hostile},
        }},
    });
    let definition = json!({"probe": {"description": hostile}, "new": [tool]});
    let host = hosting(json!({}), Some(definition), &json!({}));
    host.approve(&["probe"]).await;
    let app = host.app("\u{202e}<script>window.hacked=6</script>").await;
    let answer = calling(
        &app,
        json!({"do": "nothing", "mark": hostile, hostile: [hostile]}),
    );
    host.waiting_call().await;
    let mut person = Person::sits_down(&host, "hostile");
    let found = person.says().await;
    for (page, found) in found.as_object().unwrap() {
        assert_eq!(found["hacked"], "undefined", "{page}");
        assert_eq!(found["elements"], json!([]), "{page}");
        assert_eq!(found["scripts"], json!(["/script.js"]), "{page}");
        assert_eq!(found["outside"], json!([]), "{page}");
        assert_eq!(found["unseen"], Value::Null, "{page}: {}", found["text"]);
    }
    let inbox = found[""]["text"].as_str().unwrap();
    for words in [
        "<script>window.hacked=1</script>",
        "\\u{1b}[2Jclear",
        "\\u{202e}",
        "\\u{e0041}",
    ] {
        assert!(inbox.contains(words), "{words}: {inbox}");
    }
    let (id, _) = host.waiting_call().await;
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    answer.await.unwrap();
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_use_it() {
    let rules = json!({"policy": [{"deny": "tool", "name": "delete*"}, {"ask": "tool"}]});
    let host = hosting(json!({"sampling": true}), None, &rules);
    host.approve(&["probe"]).await;
    let (app, _) = sampling_app(&host).await;
    let arguments = json!({"do": "count", "mark": "x".repeat(500)});
    let first = calling(&app, arguments);
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Exactly { lasts: None });
    first.await.unwrap();
    let sampling = calling(&app, sample());
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Once);
    host.waiting_sampling().await;
    let waits = calling(
        &app,
        json!({"do": "write", "path": "/a/very/long/path".repeat(20)}),
    );
    host.waiting_call().await;
    // Something new is offered.
    let tool =
        json!({"name": "newer", "description": "Came later.", "inputSchema": {"type": "object"}});
    std::fs::write(
        host.path("work/definition.json"),
        json!({"new": [tool]}).to_string(),
    )
    .unwrap();
    host.order(&Order::Retry {
        server: "probe".to_owned(),
    });
    let mut person = Person::sits_down(&host, "accessible");
    let seen = person.says().await;
    assert_eq!(seen["found"], json!([]), "{:#}", seen["found"]);
    assert_eq!(seen["wide"], json!([]));
    // It did look.
    assert!(seen["looked"].as_u64().unwrap() > 300, "{seen}");
    let last = person.says().await;
    assert_eq!(last["requests"], json!([last["own"]]), "{last}");
    sampling.abort();
    waits.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_and_answered_without_script() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "nothing"}));
    host.waiting_call().await;
    let mut person = Person::sits_down(&host, "without_script");
    let seen = person.says().await;
    assert!(
        seen["said"].as_str().unwrap().contains("allowed once"),
        "{seen}"
    );
    assert_eq!(answer.await.unwrap(), "OPEN done");
    person.told(&json!("look")).await;
    let seen = person.says().await;
    for (page, words) in [
        ("servers", "probe"),
        ("servers/probe", "Does what it is told."),
        ("activity", "editor → probe → probe"),
        ("rules", "Nothing beyond your rules."),
        ("audit", "Verify all of it"),
    ] {
        let shown = seen["texts"][page].as_str().unwrap();
        assert!(shown.contains(words), "{page}: {shown}");
    }
    person.leaves().await;
}

// A-TS-06 A-TS-16
#[tokio::test(flavor = "multi_thread")]
async fn another_site_reads_does_and_shows_nothing_of_it() {
    let host = approved().await;
    let app = host.app("editor").await;
    let answer = calling(&app, json!({"do": "count", "mark": "from elsewhere"}));
    let (id, _) = host.waiting_call().await;
    let mut person = Person::sits_down(&host, "other_site");
    let seen = person.says().await;
    for name in ["127.0.0.1", "localhost"] {
        let found = &seen["found"][name];
        assert!(
            !found["within"].as_str().unwrap().contains("wants"),
            "{seen}"
        );
        assert_eq!(found["read"], "refused", "{seen}");
        assert_eq!(found["status"], 403, "{seen}");
    }
    assert_eq!(seen["still"], true);
    // A program on another port of this machine is not sent the key of the page.
    let key = seen["key"][0].as_str().unwrap();
    assert!(!seen["seen"].to_string().contains(key), "{seen}");
    assert_eq!(ledger(&host), "");
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    answer.await.unwrap();
}

/// Writes so many records into the log of a host that does not run yet.
async fn fill(folder: &Path, count: usize) {
    let mut making = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut making, 0o700);
    making.create(folder.join("state")).unwrap();
    let (log, _) = Log::open(&folder.join("state/audit")).unwrap();
    for number in 0..count {
        let mut record = Record::new(Kind::Read);
        record.app = format!("app-{}", number % 7);
        record.server = format!("server-{}", number % 5);
        record.method = "tools/call".to_owned();
        record.name = format!("tool-{}", number % 31);
        record.view = format!("{{\"path\":\"/home/me/work/file-{number}.txt\"}}");
        record.rule = "no rule is about it, and it only reads".to_owned();
        record.outcome = "done".to_owned();
        record.micros = Some(200 + number as u64 % 5_000);
        log.append(record, Durability::Written).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_happened_can_be_scrolled_through() {
    let folder = place(&json!({}));
    let count = std::env::var("COMPERE_ROWS").ok();
    let count = count.map_or(1_000, |count| count.parse().unwrap());
    fill(folder.path(), count).await;
    let host = Hosting::start_in(folder, &[]);
    let mut person = Person::sits_down(&host, "many_rows");
    let seen = person.says().await;
    assert_eq!(seen["rows"], count);
    // The figure is for people: a machine with other work may be slow at any time.
    println!(
        "{count} rows: longest task {} ms, {} of 50 ms or more",
        seen["longest"], seen["tasks"]
    );
    person.leaves().await;
}

// E-254 E-325
// A-TOOL-03 A-CANC-14
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_seen_as_it_happens() {
    let host = approved().await;
    let app = host.app("editor").await;
    let mut person = Person::sits_down(&host, "activity");
    assert_eq!(person.says().await["before"], 0);
    let answer = calling(&app, json!({"do": "nothing", "mark": "seen live"}));
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Once);
    answer.await.unwrap();
    // One that goes on, and that the app gives up.
    let waits = calling(&app, json!({"do": "wait", "seconds": 60}));
    let (id, _) = host.waiting_call().await;
    host.answer(id, Answer::Once);
    assert_eq!(person.says().await, json!({"open": true}));
    waits.abort();
    let seen = person.says().await;
    let shown = seen["text"].as_str().unwrap();
    assert!(shown.contains("editor → probe → probe"), "{shown}");
    assert!(shown.contains("withdrawn by the app"), "{shown}");
    assert_eq!(seen["found"], 1);
    assert!(
        seen["plot"].as_str().unwrap().starts_with("1 call from"),
        "{seen}"
    );
    person.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_verified_and_taken_along() {
    let host = approved().await;
    let mut person = Person::sits_down(&host, "audit");
    let seen = person.says().await;
    let verdict = seen["verdict"].as_str().unwrap();
    assert!(verdict.contains("as they were written"), "{verdict}");
    let exported = seen["exported"].as_str().unwrap();
    let records: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(records.len() >= 3);
    assert_eq!(records[0]["number"], 1);
    person.leaves().await;
}

// E-531 E-532
// A-ROOT-14 A-ROOT-15
#[tokio::test(flavor = "multi_thread")]
async fn folders_are_given_and_the_server_waits_for_a_yes() {
    let host = approved().await;
    let other = host.path("other");
    std::fs::create_dir(&other).unwrap();
    let other = other.canonicalize().unwrap();
    let mut person = Person::sits_down(&host, "roots");
    person.told(&json!({"folder": other})).await;
    let seen = person.says().await;
    // Python looks in many places.
    let learned = seen["learned"].as_str().unwrap();
    assert!(learned.contains("What probe was kept from"), "{learned}");
    assert!(!learned.contains("did not say"), "{learned}");
    let waits = seen["waits"].as_str().unwrap();
    assert!(waits.contains(other.to_str().unwrap()), "{waits}");
    assert!(waits.contains("not what you approved before"), "{waits}");
    assert!(
        seen["why"].as_str().unwrap().contains("is no folder"),
        "{seen}"
    );
    let file = std::fs::read_to_string(host.path("settings/compere.json")).unwrap();
    assert!(file.contains(other.to_str().unwrap()));
    until("the question", || host.questions().len() == 1).await;
    person.leaves().await;
}
