//! One server and one client in each handshake revision: every feature is used, and every message of
//! both sides fits the official schema of that revision and holds nothing that it does not know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use compere::client::Tapped;
use compere::model::{
    CompletionReference, CreateMessageResult, ElicitAction, ElicitResult, LoggingLevel, RawJson,
    Role, Root,
};
use compere::prelude::*;
use compere::transport::tap::Direction;
use compere::{ErrorKind, Revision};
use compere_servers::everything::everything;
use compere_testkit::schema::{Author, SchemaCheck};

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

async fn connect(revision: Revision, wire: &Wire) -> Client {
    let mut builder = Client::builder("revisions", "1.0.0")
        .revisions(&[revision])
        .roots([Root::new("file:///home/ada").name("home")])
        .on_sample(|_| async {
            Ok(CreateMessageResult::new(Role::Assistant, "4", "abacus").stop_reason("endTurn"))
        })
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
        .connect(Tapped::new(everything(), wire.listener()))
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

// C-COMP-01
#[tokio::test]
async fn everything_fits_the_schema_of_each_revision() {
    for revision in Revision::NEGOTIABLE.iter().copied() {
        let wire = Wire::new(revision);
        let client = connect(revision, &wire).await;
        assert_eq!(client.revision(), revision);
        use_everything(&client).await;
        client.close().await.unwrap();
        let faults = wire.faults.lock().unwrap();
        assert!(faults.is_empty(), "{revision}:\n{}", faults.join("\n"));
        drop(faults);
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
        ] {
            assert_eq!(wire.holds(text), revision >= since, "{revision}: {text}");
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
