//! The person's own models, where the app has none: which one is asked, by what a server prefers, and
//! providers that speak as the real ones do, and fail as they do.

use compere::Client;
use compere_host::config::HostFile;
use compere_host::consent::{Answer, Reviewed};
use compere_host::door::Reply;
use compere_host::sampling::suited;
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::provider::{KEY, Provider, model, ok};
use serde_json::{Value, json};

async fn hosting(models: Value, sampling: Value) -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(work.to_str().unwrap(), &json!({"sampling": sampling}));
    let file =
        json!({"servers": {"probe": server}, "policy": [{"allow": "tool"}], "models": models});
    let settings = folder.path().join("settings");
    std::fs::write(settings.join("compere.json"), file.to_string()).unwrap();
    let key = settings.join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["probe"]).await;
    host
}

fn sample(more: &Value) -> Value {
    let mut params = json!({
        "maxTokens": 100, "systemPrompt": "be brief", "temperature": 0.5,
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "one"}},
            {"role": "assistant", "content": {"type": "text", "text": "two"}},
            {"role": "user", "content": {"type": "text", "text": "three"}},
        ],
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    json!({"do": "ask", "method": "sampling/createMessage", "params": params})
}

async fn call(app: &Client, arguments: Value) -> String {
    let called = app.call("probe__probe", arguments).await.unwrap();
    text(&called.into_inner())
}

/// Each provider in what it speaks; what a person chose is who is asked.
#[tokio::test(flavor = "multi_thread")]
async fn every_provider_is_asked_in_what_it_speaks() {
    let provider = Provider::start().await;
    let kinds = ["openai", "anthropic", "gemini", "ollama"];
    let models: Vec<Value> = kinds.iter().map(|kind| model(&provider, kind)).collect();
    let host = hosting(json!(models), json!({"money": 10})).await;
    // It has no model of its own.
    let app = host.app("editor").await;
    for kind in kinds {
        let waits = tokio::spawn({
            let app = app.clone();
            async move { call(&app, sample(&json!({}))).await }
        });
        let (id, half) = host.waiting_sampling().await;
        assert_eq!((half.what, &*half.model), (Reviewed::Prompt, "my-openai"));
        assert_eq!(half.others, ["my-anthropic", "my-gemini", "my-ollama"]);
        // A model that the person does not have is no answer.
        let model = "another".to_owned();
        let reply = host.answer(
            id,
            Answer::Use {
                model,
                arguments: None,
            },
        );
        assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
        let answer = match kind {
            "openai" => Answer::Once,
            kind => Answer::Use {
                model: format!("my-{kind}"),
                arguments: None,
            },
        };
        host.answer(id, answer);
        let (id, half) = host.waiting_sampling().await;
        assert_eq!(
            (half.what, half.model),
            (Reviewed::Answer, format!("my-{kind}"))
        );
        host.answer(id, Answer::Once);
        let said = waits.await.unwrap();
        assert!(said.contains(&format!("from {kind}")), "{said}");
        let stop = match kind {
            "anthropic" => "maxTokens",
            _ => "endTurn",
        };
        assert!(said.contains(stop), "{said}");
        let (path, head, body) = provider.got.lock().unwrap().pop().unwrap();
        let sent = body.to_string();
        assert!(
            sent.contains("be brief") && sent.contains("three") && sent.contains("100"),
            "{sent}"
        );
        let is_named = sent.contains("the-model") || path.contains("the-model");
        assert!(is_named, "{path} {sent}");
        // Ollama has no keys.
        assert!(kind == "ollama" || head.contains(KEY), "{path}: {head}");
        assert!(!sent.contains(KEY));
    }
    // Counted by the providers: 11 asked, 7 answered, each time.
    let waits = tokio::spawn({
        let app = app.clone();
        async move { call(&app, sample(&json!({}))).await }
    });
    let (id, half) = host.waiting_sampling().await;
    let facts = half.facts.join("\n");
    assert!(facts.contains("request 5 of 50"), "{facts}");
    let after: u64 = facts
        .split(", and ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((4 * 18 + 100..4 * 18 + 130).contains(&after), "{facts}");
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    waits.await.unwrap();
    let records: Vec<String> = host.records().iter().map(Value::to_string).collect();
    assert!(!records.iter().any(|record| record.contains(KEY)));
}

/// However a provider fails, the server hears so, and the person's key stays theirs.
#[tokio::test(flavor = "multi_thread")]
async fn providers_fail_and_that_is_said() {
    let provider = Provider::start().await;
    let host = hosting(
        json!([model(&provider, "openai")]),
        json!({"requests": 1_000}),
    )
    .await;
    let app = host.app("editor").await;
    let error = |status: &str, body: String| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let fails = [
        error(
            "401 Unauthorized",
            format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}"),
        ),
        error(
            "429 Too Many Requests",
            "{\"error\":{\"message\":\"slow down\"}}".to_owned(),
        ),
        error("500 Internal Server Error", "oh no".to_owned()),
        error("200 OK", "no json at all".to_owned()),
        error("200 OK", "{}".to_owned()),
        ok(&json!({"choices": [{"message": {"role": "assistant", "content": ""}}]})),
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choi".to_owned(),
        "nothing of HTTP\r\n\r\n".to_owned(),
        String::new(),
        elsewhere.to_owned(),
    ];
    let count = fails.len();
    for fail in fails {
        *provider.fails.lock().unwrap() = Some(fail.clone());
        let ((), said) = tokio::join!(host.pass_samplings(1), call(&app, sample(&json!({}))));
        // Why is for the person alone.
        assert!(said.contains("the model did not answer"), "{fail}: {said}");
        assert!(!said.contains(KEY) && !said.contains("127.0.0.1"), "{said}");
    }
    let failed = |record: &&Value| {
        let outcome = record["outcome"].as_str().unwrap_or_default();
        record["kind"] == "outcome" && outcome.starts_with("no answer: ")
    };
    let records = host.records();
    assert_eq!(records.iter().filter(failed).count(), count);
    assert!(
        !records
            .iter()
            .any(|record| record.to_string().contains(KEY))
    );
    // Then it answers again.
    *provider.fails.lock().unwrap() = None;
    let ((), said) = tokio::join!(host.pass_samplings(2), call(&app, sample(&json!({}))));
    assert!(said.contains("from openai"), "{said}");
    // What cannot be passed on is not left out in silence.
    let image = json!({"messages": [{"role": "user", "content":
        {"type": "image", "data": "aGk=", "mimeType": "image/png"}}]});
    let before = provider.got.lock().unwrap().len();
    let ((), said) = tokio::join!(host.pass_samplings(1), call(&app, sample(&image)));
    assert!(said.contains("the model did not answer"), "{said}");
    let records = host.records();
    let said = |record: &Value| record.to_string().contains("image cannot be passed on");
    assert!(records.iter().any(said), "{records:?}");
    assert_eq!(provider.got.lock().unwrap().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_a_budget() {
    let provider = Provider::start().await;
    // A request with 100 tokens to be answered may cost some 0.21.
    let host = hosting(json!([model(&provider, "openai")]), json!({"money": 0.25})).await;
    let app = host.app("editor").await;
    // Each needs 11 and 7 tokens in fact: 0.025. The next one may always cost more than what is left then.
    let mut done = 0;
    loop {
        let calling = call(&app, sample(&json!({})));
        tokio::pin!(calling);
        let said = tokio::select! {
            said = &mut calling => said,
            () = host.pass_samplings(2) => calling.await,
        };
        match said.contains("from openai") {
            true => done += 1,
            false => {
                assert!(said.contains("the money for today is spent"), "{said}");
                break;
            }
        }
    }
    assert!((1..=3).contains(&done), "{done}");
}

// E-515 E-692 E-693 E-695
// A-SAMP-08 A-SAMP-09 A-SAMP-11 A-SAMP-20
#[test]
fn the_model_is_what_the_server_prefers_of_what_the_person_has() {
    let file = json!({"models": [
        {"name": "small", "provider": "ollama", "model": "llama-3-8b", "intelligence": 0.3, "speed": 0.9},
        {"name": "sonnet", "provider": "anthropic", "model": "claude-sonnet-4",
         "price": {"asked": 3, "answered": 15}, "intelligence": 0.8, "speed": 0.6},
        {"name": "opus", "provider": "anthropic", "model": "claude-opus-4",
         "price": {"asked": 15, "answered": 75}, "intelligence": 1, "speed": 0.3},
        {"name": "flash", "provider": "gemini", "model": "gemini-2-flash",
         "price": {"asked": 0.1, "answered": 0.4}, "intelligence": 0.5, "speed": 1},
    ]});
    let file = HostFile::read(&file.to_string(), std::path::Path::new("/compere.json"));
    assert!(file.faults.is_empty(), "{:?}", file.faults);
    let table = [
        (json!(null), "small"),
        (json!({}), "small"),
        (json!({"hints": []}), "small"),
        // The first hint that fits any, as a part of a name, whatever the case.
        (
            json!({"hints": [{"name": "gpt"}, {"name": "Claude"}]}),
            "sonnet",
        ),
        (
            json!({"hints": [{"name": "opus"}, {"name": "sonnet"}]}),
            "opus",
        ),
        (
            json!({"hints": [{}, {"name": ""}, {"name": "flash"}]}),
            "flash",
        ),
        (json!({"hints": [{"name": "unknown"}]}), "small"),
        // Hints before priorities; these decide among what fits.
        (
            json!({"hints": [{"name": "opus"}], "costPriority": 1}),
            "opus",
        ),
        (
            json!({"hints": [{"name": "claude"}], "intelligencePriority": 1}),
            "opus",
        ),
        (
            json!({"hints": [{"name": "claude"}], "costPriority": 1}),
            "sonnet",
        ),
        (json!({"costPriority": 1}), "small"),
        (json!({"speedPriority": 1}), "flash"),
        (json!({"intelligencePriority": 1}), "opus"),
        (
            json!({"intelligencePriority": 0.4, "speedPriority": 1}),
            "flash",
        ),
        // What is no preference is none.
        (
            json!({"intelligencePriority": "high", "hints": "opus"}),
            "small",
        ),
        (json!({"speedPriority": -5, "costPriority": 99}), "small"),
    ];
    for (preferences, expected) in table {
        let order = suited(&file.models, Some(&preferences));
        assert_eq!(order.len(), 4);
        assert_eq!(order[0].name, expected, "{preferences}");
    }
    // What is wrong is said, and no model is made up.
    for wrong in [
        json!({"name": "a"}),
        json!({"name": "a", "provider": "nobody"}),
        json!({"provider": "openai"}),
        json!({"name": "a", "provider": "openai", "speed": 2}),
        json!({"name": "a", "provider": "openai", "price": 3}),
        json!({"name": "a", "provider": "openai", "price": {"asked": -1}}),
        json!({"name": "a", "provider": "openai", "secret": "x"}),
        json!("openai"),
    ] {
        let file = json!({"models": [wrong]});
        let read = HostFile::read(&file.to_string(), std::path::Path::new("/compere.json"));
        assert!(read.is_unusable() && read.models.is_empty(), "{file}");
    }
}
