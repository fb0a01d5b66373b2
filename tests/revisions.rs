//! One server and one client in each handshake revision: every feature is used, and every message of
//! both sides fits the official schema of that revision and holds nothing that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use compere::client::{Tapped, Target};
use compere::model::{
    CompletionReference, CreateMessageResult, ElicitAction, ElicitResult, LoggingLevel, RawJson,
    Role, Root,
};
use compere::prelude::*;
use compere::transport::stream;
use compere::transport::tap::Direction;
use compere::{ErrorKind, Relay, Revision};
use compere_servers::everything::everything;
use compere_testkit::schema::{Author, SchemaCheck};
use compere_testkit::script::Script;
use serde_json::Value;

/// What went over the wire, and what does not fit.
#[derive(Clone)]
struct Wire {
    schema: Arc<Mutex<SchemaCheck>>,
    faults: Arc<Mutex<Vec<String>>>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    fn new(revision: Revision) -> Self {
        let schema = SchemaCheck::load(revision).expect("run `cargo xtask peers`");
        Self {
            schema: Arc::new(Mutex::new(schema)),
            faults: Arc::default(),
            lines: Arc::default(),
        }
    }

    fn listener(&self) -> impl FnMut(Direction, &[u8]) + Send + use<> {
        let wire = self.clone();
        move |direction, line| {
            let line = String::from_utf8_lossy(line).into_owned();
            let author = match direction {
                Direction::Sent => Author::Client,
                Direction::Received => Author::Server,
            };
            if let Err(fault) = wire.schema.lock().unwrap().check(author, &line) {
                wire.faults.lock().unwrap().push(fault);
            }
            wire.lines.lock().unwrap().push(line);
        }
    }

    fn holds(&self, text: &str) -> bool {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }
}

async fn connect(target: impl Target, revision: Revision, wire: &Wire) -> Client {
    let mut builder = Client::builder("revisions", "1.0.0")
        .revisions(&[revision])
        .roots([Root::new("file:///home/ada").name("home")])
        .on_sample(|_| async {
            Ok(CreateMessageResult::new(Role::Assistant, "4", "abacus").stop_reason("endTurn"))
        })
        .sampling_tools()
        .on_elicit_url(|_| async { Ok(ElicitAction::Accept) })
        .on_log(|_| {})
        .on_resource_updated(|_| {});
    if revision >= Revision::V2025_06_18 {
        builder = builder.on_elicit(|_| async {
            let mut answer = ElicitResult::new(ElicitAction::Accept);
            let name = RawJson::from_value(&"Ada").unwrap();
            let colour = RawJson::from_value(&"blue").unwrap();
            let answers = [("name".to_owned(), name), ("colour".to_owned(), colour)];
            answer.content = Some(BTreeMap::from(answers));
            Ok(answer)
        });
    }
    builder
        .connect(Tapped::new(target, wire.listener()))
        .await
        .unwrap()
}

/// Uses everything that there is.
async fn use_everything(client: &Client) {
    client.ping().await.unwrap();
    client.set_level(LoggingLevel::Debug).await.unwrap();
    let tools = client.tools().collect().await.unwrap();
    for tool in &tools {
        let arguments = match tool.name.as_str() {
            "echo" => json!({"message": "hi"}),
            "get-sum" => json!({"a": 1, "b": 2}),
            "get-structured-content" => json!({"location": "Chicago"}),
            "get-error" => json!({"kind": "public"}),
            "trigger-long-running-operation" => json!({"duration": 0.01, "steps": 2}),
            "trigger-sampling-request" => json!({"prompt": "why"}),
            "get-resource-reference" => json!({"resourceId": 1}),
            _ => json!({}),
        };
        let call = client.call(&tool.name, arguments).on_progress(|_| {});
        // What a tool says of its arguments is a result too.
        if let Err(error) = call.await {
            let refused = matches!(error.kind(), ErrorKind::Protocol(_));
            assert!(refused, "{}: {error}", tool.name);
        }
    }
    let none = BTreeMap::new;
    for prompt in client.prompts().collect().await.unwrap() {
        let filled = prompt
            .arguments
            .iter()
            .flatten()
            .map(|argument| (argument.name.clone(), "1".to_owned()))
            .collect();
        client.prompt(&prompt.name, filled).await.unwrap();
    }
    let resources = client.resources().collect().await.unwrap();
    client.resource_templates().collect().await.unwrap();
    for resource in resources.iter().take(2) {
        client.read(&resource.uri).await.unwrap();
        client.subscribe(&resource.uri).await.unwrap();
        client.unsubscribe(&resource.uri).await.unwrap();
    }
    let reference = CompletionReference::Prompt {
        name: "completable-prompt".to_owned(),
    };
    let known = BTreeMap::from([("department".to_owned(), "Engineering".to_owned())]);
    client.complete(reference, "name", "", known).await.unwrap();
    client.set_roots(vec![Root::new("file:///tmp")]).unwrap();
    assert!(client.read("demo://nothing").await.is_err());
    assert!(client.prompt("nothing", none()).await.is_err());
}

/// Every key of every `_meta`, wherever it stands.
fn meta_keys(message: &Value, found: &mut BTreeSet<String>) {
    match message {
        Value::Object(members) => {
            if let Some(Value::Object(meta)) = members.get("_meta") {
                found.extend(meta.keys().cloned());
            }
            members.values().for_each(|member| meta_keys(member, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| meta_keys(part, found)),
        _ => {}
    }
}

/// `labels/name` with labels of letters, digits and hyphens, or a name alone.
fn is_meta_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("a", key));
    let ends = |text: &str, first: fn(&char) -> bool| {
        text.chars().next().as_ref().is_some_and(first)
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let label = |label: &str| {
        ends(label, char::is_ascii_alphabetic)
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    prefix.split('.').all(label)
        && ends(name, char::is_ascii_alphanumeric)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

// C-BASE-02 C-BASE-03 C-BASE-04 C-BASE-05 D-014 E-058 E-059 E-060 E-061 E-062: what stands in `_meta` is well formed, and of the
// reserved names only those that the specification gives a meaning.
fn assert_meta(lines: &[String]) {
    let mut keys = BTreeSet::new();
    for line in lines {
        meta_keys(&serde_json::from_str(line).unwrap(), &mut keys);
    }
    for key in keys {
        let known = [
            "progressToken",
            "io.modelcontextprotocol/related-task",
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientCapabilities",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/serverInfo",
            "io.modelcontextprotocol/subscriptionId",
            "io.modelcontextprotocol/logLevel",
        ];
        assert!(is_meta_key(&key), "{key}");
        assert!(known.contains(&key.as_str()), "{key} is nobody's");
    }
}

// C-COMP-01; D-001 D-002 D-005: a result without a request, or an error without code and message, fits
// no schema here. C-STDIO-01: one message a line.
#[tokio::test]
async fn everything_fits_the_schema_of_each_revision() {
    // E-030 E-034 E-050 E-095 E-108: nor does anything that only another revision has.
    for revision in Revision::ALL {
        let wire = Wire::new(revision);
        let client = connect(everything(), revision, &wire).await;
        assert_eq!(client.revision(), revision);
        use_everything(&client).await;
        client.close().await.unwrap();
        let faults = wire.faults.lock().unwrap();
        assert!(faults.is_empty(), "{revision}:\n{}", faults.join("\n"));
        drop(faults);
        let lines = wire.lines.lock().unwrap().clone();
        assert_meta(&lines);
        for line in &lines {
            assert!(serde_json::from_str::<Value>(line).unwrap().is_object());
        }
        // What a revision has, it shows; what it does not have, it does not.
        for (since, text) in [
            (Revision::V2025_03_26, "\"annotations\":{\"readOnlyHint\""),
            (Revision::V2025_03_26, "\"completions\":{}"),
            (Revision::V2025_03_26, "\"type\":\"audio\""),
            (Revision::V2025_06_18, "\"structuredContent\""),
            (Revision::V2025_06_18, "\"outputSchema\""),
            (Revision::V2025_06_18, "\"type\":\"resource_link\""),
            (Revision::V2025_06_18, "Hello Ada, None, Some(Blue), false"),
            (Revision::V2025_06_18, "\"method\":\"elicitation/create\""),
            (Revision::V2025_11_25, "\"mode\":\"url\""),
            (
                Revision::V2025_11_25,
                "\"icons\":[{\"src\":\"data:image/png",
            ),
            (Revision::V2025_11_25, "\"websiteUrl\""),
            (Revision::V2025_11_25, "\"url\":{}"),
            (Revision::V2024_11_05, "https://example.com/"),
        ] {
            assert_eq!(wire.holds(text), revision >= since, "{revision}: {text}");
        }
        // What came with one revision and went with the next.
        for text in [
            "\"taskSupport\"",
            "\"requests\":{\"tools\":{\"call\":{}}}",
            "\"code\":-32042",
        ] {
            let holds = wire.holds(text);
            assert_eq!(
                holds,
                revision == Revision::V2025_11_25,
                "{revision}: {text}"
            );
        }
    }
}

// What a server of one revision says fits the revision of the client in front of a relay, and the
// other way round.
#[tokio::test]
async fn a_relay_speaks_the_revision_of_either_side() {
    for front in Revision::ALL {
        for behind in Revision::ALL {
            eprintln!("{front} to {behind}");
            let (wire, wire_behind) = (Wire::new(front), Wire::new(behind));
            let watching = wire_behind.clone();
            let server = everything().revisions(&[behind]).start().unwrap();
            let relay = Relay::new(move |client| {
                client.connect(Tapped::new(server.clone(), watching.listener()))
            });
            let client = connect(relay.start().unwrap(), front, &wire).await;
            assert_eq!(client.revision(), front);
            assert!(client.server_info().unwrap().name.contains("everything"));
            assert!(client.instructions().is_some());
            use_everything(&client).await;
            client.close().await.unwrap();
            let faults = wire.faults.lock().unwrap();
            assert!(
                faults.is_empty(),
                "{front}, {behind}:\n{}",
                faults.join("\n")
            );
            let mut faults = wire_behind.faults.lock().unwrap();
            // What is offered is in the revision that is offered, if there is any at all.
            faults.retain(|fault| !fault.contains("initialize"));
            assert!(
                faults.is_empty(),
                "{front}, {behind} behind:\n{}",
                faults.join("\n")
            );
        }
    }
}

#[tokio::test]
async fn the_newest_that_both_speak_is_taken() {
    let all = Revision::NEGOTIABLE;
    for (servers, clients, expected) in [
        (all, all, Some(Revision::V2025_11_25)),
        (all, &all[..1], Some(Revision::V2024_11_05)),
        (&all[1..3], all, Some(Revision::V2025_06_18)),
        (&all[..1], &all[1..], None),
    ] {
        let server = Server::new("s", "1").revisions(servers);
        let connected = Client::builder("c", "1").revisions(clients).connect(server);
        assert_eq!(
            connected.await.ok().map(|client| client.revision()),
            expected
        );
    }
}

// C-BASE-01: reserved names with values that nobody defined are no reason for anything.
#[tokio::test]
async fn odd_metadata_changes_nothing() {
    for meta in [
        json!({"io.modelcontextprotocol/related-task": 7}),
        json!({"modelcontextprotocol.io/x": [1], "api.mcp.dev/y": null}),
        json!({"io.modelcontextprotocol/protocolVersion": {"deep": [[]]}}),
        json!({"": 1, "/": 2, "a//b": 3}),
    ] {
        let (mut script, ours) = Script::new();
        let server = Server::new("s", "1").tool_fn("quick", || async { "done" });
        tokio::spawn(server.serve(ours));
        script.shake_hands("2025-06-18", json!({})).await;
        let params = json!({"name": "quick", "_meta": meta});
        let answer = script.ask("tools/call", params).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    }
    let (mut script, ours) = Script::new();
    let connecting = Client::builder("c", "1").connect(stream::duplex(ours));
    let serving = script.serve_handshake("2025-06-18", json!({"tools": {}}));
    let (client, ()) = tokio::join!(connecting, serving);
    let client = client.unwrap();
    let calling = tokio::spawn(client.call("quick", ()).into_future());
    let call = script.next().await;
    let meta = json!({"io.modelcontextprotocol/related-task": false, "mcp.dev/x": 1});
    let result =
        json!({"content": [{"type": "text", "text": "done", "_meta": meta}], "_meta": meta});
    script.answer(&call, result).await;
    assert_eq!(calling.await.unwrap().unwrap().joined_text(), "done");
}

// C-RES-01 E-313
#[test]
fn a_resource_has_an_address_of_the_right_form() {
    for (uri, right) in [
        ("weather+live://north/1", true),
        ("a.b-c:x", true),
        ("no-scheme", false),
        ("1ab://digit-first", false),
        ("sp ace://x", false),
        ("under_score://x", false),
        ("://x", false),
        ("demo://with space", false),
    ] {
        let resource = resource_fn(uri, "r", || async { "r" });
        let server = Server::new("s", "1").resource(resource);
        assert_eq!(server.start().is_ok(), right, "{uri}");
    }
}
