//! Sampling through the host: off until a person turns it on, within a budget, looked at before a model
//! sees it and again before the server does.

use std::sync::{Arc, Mutex};

use compere::Client;
use compere::model::{Content, CreateMessageResult, Role};
use compere::proto::Era;
use compere_host::consent::{Answer, Reviewed};
use compere_host::door::Reply;
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::until;
use compere_tests::with_apps_of_both_eras;
use serde_json::{Value, json};

with_apps_of_both_eras!(
    it_is_off_until_a_person_turns_it_on,
    a_person_sees_both_halves_and_may_write_them_anew,
    what_nobody_waits_for_is_not_asked,
    a_budget_bounds_what_reaches_a_model,
    what_comes_of_one_call_is_bounded,
);

/// A host with one server that samples, on these terms.
async fn hosting(sampling: Value, arguments: &[&str]) -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(work.to_str().unwrap(), &json!({"sampling": sampling}));
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "tool"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, arguments);
    host.approve(&["probe"]).await;
    host
}

/// What the app's model was asked.
type Asked = Arc<Mutex<Vec<Value>>>;

async fn app(host: &Hosting) -> (Client, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let builder = Client::builder("editor", "1").on_sample(move |params| {
        heard
            .lock()
            .unwrap()
            .push(serde_json::to_value(&params).unwrap());
        async move {
            Ok(CreateMessageResult::new(
                Role::Assistant,
                "from the model",
                "abacus",
            ))
        }
    });
    (host.app_with("editor", builder).await, asked)
}

fn sample(more: &Value) -> Value {
    let mut params = json!({
        "maxTokens": 100, "systemPrompt": "be brief",
        "messages": [{"role": "user", "content": {"type": "text", "text": "who are you?"}}],
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    json!({"do": "ask", "method": "sampling/createMessage", "params": params})
}

async fn call(app: &Client, arguments: Value) -> String {
    let called = app
        .call("probe__probe", arguments)
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(called.content[0], Content::Text(_)));
    text(&called)
}

// A-TS-11 A-SAMP-06
async fn it_is_off_until_a_person_turns_it_on(era: Era) {
    for off in [json!(null), json!(false)] {
        let host = hosting(off, &[]).await.with_apps_of(era);
        let (app, asked) = app(&host).await;
        let said = call(&app, sample(&json!({}))).await;
        assert!(said.contains("error") || said.contains("-32601"), "{said}");
        assert!(host.questions().is_empty());
        assert!(asked.lock().unwrap().is_empty());
    }
}

// E-491 E-492 E-493 E-494 E-513 E-514
// A-TS-10 A-TS-12 A-TS-13 A-SAMP-01 A-SAMP-02 A-SAMP-03 A-SAMP-04 A-SAMP-05 A-SAMP-15 A-SAMP-17
// A-SAMP-18 A-SAMP-19
/// Each half is looked at, and what the person wrote is what goes on.
async fn a_person_sees_both_halves_and_may_write_them_anew(era: Era) {
    let host = hosting(json!(true), &[]).await.with_apps_of(era);
    let (app, asked) = app(&host).await;
    let begin = |more: Value| {
        let app = app.clone();
        tokio::spawn(async move { call(&app, sample(&more)).await })
    };
    // As they are. The context of other servers is nobody's to give.
    let waits = begin(json!({"includeContext": "allServers"}));
    let (id, half) = host.waiting_sampling().await;
    assert_eq!(
        (half.what, &*half.server, &*half.app),
        (Reviewed::Prompt, "probe", "editor")
    );
    assert_eq!(half.content["systemPrompt"], "be brief");
    assert!(
        half.facts.iter().any(|fact| fact.contains("allServers")),
        "{half:?}"
    );
    assert!(
        half.facts
            .iter()
            .any(|fact| fact.contains("request 1 of 50")),
        "{half:?}"
    );
    assert!(
        asked.lock().unwrap().is_empty(),
        "a model saw it before the person"
    );
    host.answer(id, Answer::Once);
    let (id, half) = host.waiting_sampling().await;
    assert_eq!((half.what, &*half.model), (Reviewed::Answer, "abacus"));
    assert!(half.content.to_string().contains("from the model"));
    assert!(!waits.is_finished(), "the server saw it before the person");
    host.answer(id, Answer::Once);
    assert!(waits.await.unwrap().contains("from the model"));
    let first = asked.lock().unwrap().remove(0);
    assert!(first.get("includeContext").is_none(), "{first}");
    // Written anew, both of them.
    let waits = begin(json!({}));
    let (id, half) = host.waiting_sampling().await;
    let mut arguments = half.content;
    arguments["messages"][0]["content"]["text"] = "what is two and two?".into();
    host.answer(id, Answer::Edit { arguments });
    let (id, half) = host.waiting_sampling().await;
    let mut arguments = half.content;
    arguments["content"]["text"] = "from the person".into();
    host.answer(id, Answer::Edit { arguments });
    let said = waits.await.unwrap();
    assert!(
        said.contains("from the person") && !said.contains("from the model"),
        "{said}"
    );
    let second = asked.lock().unwrap().remove(0).to_string();
    assert!(
        second.contains("two and two") && !second.contains("who are you"),
        "{second}"
    );
    // What is no request and no answer any more is neither sent nor given.
    let waits = begin(json!({}));
    let (id, _) = host.waiting_sampling().await;
    host.answer(
        id,
        Answer::Edit {
            arguments: json!({"messages": []}),
        },
    );
    assert!(waits.await.unwrap().contains("messages"));
    assert!(asked.lock().unwrap().is_empty());
    // Refused, before and after.
    let waits = begin(json!({}));
    let (id, _) = host.waiting_sampling().await;
    let reason = "not for this".to_owned();
    host.answer(id, Answer::Deny { reason });
    assert!(waits.await.unwrap().contains("not for this"));
    assert!(asked.lock().unwrap().is_empty());
    let waits = begin(json!({}));
    host.pass_samplings(1).await;
    let (id, half) = host.waiting_sampling().await;
    assert_eq!(half.what, Reviewed::Answer);
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    let said = waits.await.unwrap();
    assert!(
        said.contains("the person refused it") && !said.contains("from the model"),
        "{said}"
    );
    // There is no always for this.
    let waits = begin(json!({}));
    let (id, _) = host.waiting_sampling().await;
    for answer in [
        Answer::Exactly { lasts: None },
        Answer::Session {
            shape: "true".to_owned(),
        },
        Answer::Shape {
            shape: "true".to_owned(),
            lasts: None,
        },
    ] {
        let reply = host.answer(id, answer);
        assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
    }
    host.pass_samplings(2).await;
    waits.await.unwrap();
    // All of it is in the record, and nothing that was said.
    let records: Vec<String> = host.records().iter().map(Value::to_string).collect();
    let of_it: Vec<&String> = records
        .iter()
        .filter(|record| record.contains("sampling/createMessage"))
        .collect();
    assert!(
        of_it.iter().any(|record| record.contains("abacus")),
        "{of_it:?}"
    );
    assert!(
        of_it.iter().any(|record| record.contains("not for this")),
        "{of_it:?}"
    );
    assert!(!records.iter().any(|record| record.contains("two and two")));
}

/// Nobody comes for it later: when the call ends, the question does.
async fn what_nobody_waits_for_is_not_asked(era: Era) {
    let host = hosting(json!(true), &[]).await.with_apps_of(era);
    let (app, asked) = app(&host).await;
    let waits = tokio::spawn({
        let app = app.clone();
        async move { call(&app, sample(&json!({}))).await }
    });
    let (id, _) = host.waiting_sampling().await;
    waits.abort();
    app.close().await.unwrap();
    until("the end of the question", || host.questions().is_empty()).await;
    assert!(matches!(host.answer(id, Answer::Once), Reply::Refused(_)));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_look_nothing_is_sampled() {
    let mut host = hosting(json!(true), &[]).await;
    host.kill_and_start_with(&["--no-ask"]);
    let (app, asked) = app(&host).await;
    let said = call(&app, sample(&json!({}))).await;
    assert!(said.contains("nobody to look at it"), "{said}");
    assert!(asked.lock().unwrap().is_empty());
}

// E-516
// A-SAMP-21
/// A budget is for a day, whatever becomes of the host in between.
async fn a_budget_bounds_what_reaches_a_model(era: Era) {
    let mut host = hosting(json!({"requests": 3, "tokens": 1_000}), &[])
        .await
        .with_apps_of(era);
    let (client, asked) = app(&host).await;
    // More than is left is not asked for at all.
    let said = call(&client, sample(&json!({"maxTokens": 5_000}))).await;
    assert!(said.contains("tokens are left"), "{said}");
    // What a person refuses costs nothing.
    for _ in 0..4 {
        let ((), said) = tokio::join!(
            async {
                let (id, _) = host.waiting_sampling().await;
                host.answer(
                    id,
                    Answer::Deny {
                        reason: String::new(),
                    },
                );
            },
            call(&client, sample(&json!({})))
        );
        assert!(said.contains("refused"), "{said}");
    }
    let once = sample(&json!({}));
    for _ in 0..2 {
        tokio::join!(host.pass_samplings(2), call(&client, once.clone()));
    }
    drop(client);
    host.kill_and_start();
    let (client, again) = app(&host).await;
    tokio::join!(host.pass_samplings(2), call(&client, once.clone()));
    let said = call(&client, once).await;
    assert!(said.contains("3 requests of today"), "{said}");
    assert_eq!(asked.lock().unwrap().len() + again.lock().unwrap().len(), 3);
}

/// One call does not make it ask on and on.
async fn what_comes_of_one_call_is_bounded(era: Era) {
    let host = hosting(json!({"requests": 1_000, "tokens": 1_000_000}), &[])
        .await
        .with_apps_of(era);
    let (app, asked) = app(&host).await;
    let mut many = sample(&json!({}));
    many["times"] = json!(40);
    // Without a session each question is a round, and there are fewer of those.
    let (times, halves) = match era {
        Era::Handshake => (10, 20),
        Era::Stateless => (8, 18),
    };
    let (said, ()) = tokio::join!(call(&app, many), host.pass_samplings(halves));
    assert_eq!(said.matches("from the model").count(), times, "{said}");
    assert!(said.contains("10 times already"), "{said}");
    assert_eq!(asked.lock().unwrap().len(), times);
}
