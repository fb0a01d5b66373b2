//! Whatever the other end does, the outcome is one, known, and the neighbours live on.
//!
//! The expected outcomes stand in `hostile/outcomes.txt`, one line for each case.
//! `COMPERE_WRITE_OUTCOMES=1` writes what was seen; read it before you keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::client::answer::Changed;
use compere::model::{CompletionReference, LogMessage};
use compere::prelude::*;
use compere::{CompletionQuery, Limits, ServerHandle};
use compere_tests::attacks::{self, ATTACKS, Attack};
use compere_tests::compere;
use compere_tests::impostors::{Drive, IMPOSTORS, Impostor};
use compere_tests::moderns::MODERNS;
use compere_tests::patients::PATIENTS;
use futures_util::stream::{self, StreamExt};

const AT_ONCE: usize = 4;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Message {
    message: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Sum {
    a: f64,
    b: f64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Who {
    who: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "compere::serde")]
#[schemars(crate = "compere::schemars")]
struct Note {
    #[expect(dead_code, reason = "the template has it")]
    number: String,
}

/// A small server with everything that an attack may reach, and low bounds.
fn server() -> ServerHandle {
    let mut limits = Limits::default();
    limits.requests_in_flight = 8;
    limits.subscriptions = 8;
    limits.calls_burst = 30.0;
    limits.calls_per_second = 0.001;
    limits.stall = Duration::from_secs(2);
    limits.grace = Duration::from_millis(100);
    Server::new("target", "1")
        .limits(limits)
        .page_size(4)
        .tool_fn(
            "echo",
            |Args(args): Args<Message>| async move { args.message },
        )
        .tool_fn("add", |Args(sum): Args<Sum>| async move { sum.a + sum.b })
        .tool_fn("waits", |context: Context| async move {
            context.cancelled().await;
            "cancelled"
        })
        .tool_fn("panics", || async { explode() })
        .prompt(prompt_fn("greet", |Args(who): Args<Who>| async move {
            format!("Greet {}.", who.who)
        }))
        .complete_prompt("greet", "who", |query: CompletionQuery| async move {
            Ok(compere::rank(["Ada", "Grace"], &query.value))
        })
        .resource(
            template_fn("demo://note/{number}", "note", |_: Args<Note>| async {
                "a note"
            })
            .subscribable(),
        )
        .start()
        .unwrap()
}

fn explode() -> String {
    panic!("on purpose")
}

async fn attacked(attack: &'static Attack) -> (String, String) {
    let server = server();
    let neighbour = Client::connect(server.clone()).await.unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    let playing = attacks::play(attack, ours);
    let beside = async {
        // In the middle of it, and afterwards.
        tokio::task::yield_now().await;
        says_hello(&neighbour, attack.name).await;
    };
    let (outcome, ()) = tokio::join!(playing, beside);
    says_hello(&neighbour, attack.name).await;
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .unwrap_or_else(|_| panic!("{}: the connection does not end", attack.name))
        .unwrap_or_else(|error| panic!("{}: {error}", attack.name))
        .ok();
    says_hello(&neighbour, attack.name).await;
    (format!("attack {}", attack.name), outcome)
}

async fn says_hello(neighbour: &Client, case: &str) {
    let call = neighbour.call("echo", json!({"message": "hello"}));
    let said = tokio::time::timeout(Duration::from_secs(20), call.into_future()).await;
    let said = said.unwrap_or_else(|_| panic!("{case}: the neighbour waits"));
    assert_eq!(said.unwrap().joined_text(), "hello", "{case}");
}

#[derive(Default)]
struct Seen {
    progress: Mutex<Vec<f64>>,
    logs: AtomicUsize,
    first_log: Mutex<String>,
    changes: AtomicUsize,
    updates: AtomicUsize,
}

impl Seen {
    fn describe(&self) -> String {
        let mut text = String::new();
        let progress = self.progress.lock().unwrap();
        if progress.len() > 10 {
            text.push_str("; much progress");
        } else if !progress.is_empty() {
            let _ = write!(text, "; progress {progress:?}");
        }
        for (what, count) in [
            ("logs", &self.logs),
            ("changes", &self.changes),
            ("updates", &self.updates),
        ] {
            match count.load(Ordering::Relaxed) {
                0 => {}
                // A flood is thinned out by its rate, which the machine's speed decides on.
                count if count > 100 => {
                    let _ = write!(text, "; many {what}");
                }
                count => {
                    let _ = write!(text, "; {what} {count}");
                    if what == "logs" {
                        let _ = write!(text, " {}", self.first_log.lock().unwrap());
                    }
                }
            }
        }
        text
    }
}

async fn deceived(impostor: &'static Impostor) -> (String, String) {
    let name = format!("serve {}", impostor.name);
    let neighbour = Client::connect(server()).await.unwrap();
    let seen = Arc::new(Seen::default());
    let (logs, changes, updates) = (seen.clone(), seen.clone(), seen.clone());
    let mut limits = Limits::default();
    limits.request_timeout = Duration::from_secs(4);
    limits.request_timeout_max = Some(Duration::from_secs(6));
    limits.initialize_timeout = Duration::from_secs(4);
    let command = Command::new(env!("CARGO_BIN_EXE_compere-hostile"))
        .args(["serve", impostor.name])
        .exit_wait(Duration::from_millis(500));
    let connecting = Client::builder("victim", "1")
        .limits(limits)
        .on_log(move |message: LogMessage| {
            if logs.logs.fetch_add(1, Ordering::Relaxed) == 0 {
                *logs.first_log.lock().unwrap() = cut(message.data.get());
            }
        })
        .on_changed(move |_: Changed| {
            changes.changes.fetch_add(1, Ordering::Relaxed);
        })
        .on_resource_updated(move |_| {
            updates.updates.fetch_add(1, Ordering::Relaxed);
        })
        .connect(command);
    let outcome = match tokio::time::timeout(Duration::from_secs(20), connecting).await {
        Err(_) => panic!("{name}: connecting does not end"),
        Ok(Err(error)) => format!("connect: {}", cut(&error.to_string())),
        Ok(Ok(client)) => {
            let driving = drive(&client, impostor.drive, &seen);
            let mut outcome = tokio::time::timeout(Duration::from_secs(60), driving)
                .await
                .unwrap_or_else(|_| panic!("{name}: does not end"));
            outcome.push_str(&seen.describe());
            let closing = tokio::time::timeout(Duration::from_secs(20), client.close());
            match closing.await {
                Err(_) => panic!("{name}: closing does not end"),
                Ok(Ok(())) => outcome.push_str("; closed"),
                Ok(Err(error)) => {
                    let _ = write!(outcome, "; closed: {}", cut(&error.to_string()));
                }
            }
            outcome
        }
    };
    says_hello(&neighbour, &name).await;
    (name, outcome)
}

async fn drive(client: &Client, drive: Drive, seen: &Arc<Seen>) -> String {
    let told = |outcome: Result<String, compere::Error>| match outcome {
        Ok(text) => cut(&text),
        Err(error) => format!("error: {}", cut(&error.to_string())),
    };
    let call = || {
        let seen = seen.clone();
        let call = client
            .call("x", json!({}))
            .on_progress(move |progress| seen.progress.lock().unwrap().push(progress.progress));
        async move {
            call.await.map(|output| {
                let text = output.joined_text();
                match output.failed() {
                    true => format!("failed {text:?}"),
                    false => format!("{text:?}"),
                }
            })
        }
    };
    let ping = async || told(client.ping().await.map(|()| "pong".to_owned()));
    match drive {
        Drive::Connect => "connected".to_owned(),
        Drive::List => {
            let list = client.tools().collect().await;
            told(list.map(|tools| format!("{} tools", tools.len())))
        }
        Drive::Call => {
            let said = told(call().await);
            format!("{said}; {}", ping().await)
        }
        Drive::GiveUp => {
            // Polled until it has gone out, then dropped.
            let given_up = tokio::time::timeout(Duration::from_millis(300), call()).await;
            format!("given up {}; {}", given_up.is_err(), ping().await)
        }
        Drive::Read => {
            let read = client.read("demo://x").await;
            told(read.map(|result| serde_json::to_string(&result.contents).unwrap()))
        }
        Drive::Prompt => {
            let prompt = client.prompt("x", BTreeMap::new()).await;
            told(prompt.map(|result| format!("{} messages", result.messages.len())))
        }
        Drive::Complete => {
            let reference = CompletionReference::Prompt {
                name: "x".to_owned(),
            };
            let completion = client.complete(reference, "a", "", BTreeMap::new()).await;
            told(completion.map(|completion| format!("{} values", completion.values.len())))
        }
        Drive::Ping => format!("{}; {}", ping().await, ping().await),
        Drive::Three => {
            let (one, two, three) = tokio::join!(call(), call(), call());
            format!("{}; {}; {}", told(one), told(two), told(three))
        }
    }
}

/// Long texts with how long they are; what depends on the machine is taken out.
fn cut(text: &str) -> String {
    let text = text.escape_debug().to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_its_outcome_and_neighbours_live_on() {
    let attacked = stream::iter(ATTACKS)
        .map(attacked)
        .buffer_unordered(AT_ONCE);
    let mut outcomes: BTreeMap<String, String> = attacked.collect().await;
    let deceived = stream::iter(IMPOSTORS)
        .map(deceived)
        .buffer_unordered(AT_ONCE);
    outcomes.extend(deceived.collect::<Vec<_>>().await);
    assert_eq!(
        outcomes.len(),
        ATTACKS.len() + IMPOSTORS.len(),
        "two cases share a name"
    );

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/outcomes.txt");
    if std::env::var_os("COMPERE_WRITE_OUTCOMES").is_some() {
        let lines: Vec<String> = outcomes
            .iter()
            .map(|(case, outcome)| format!("{case}: {outcome}\n"))
            .collect();
        std::fs::write(&path, lines.concat()).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let expected: BTreeMap<&str, &str> = expected
        .lines()
        .map(|line| line.split_once(": ").expect("a case and its outcome"))
        .collect();
    let mut faults = String::new();
    for (case, outcome) in &outcomes {
        let wanted = expected
            .get(case.as_str())
            .copied()
            .unwrap_or("no outcome is written down");
        if wanted != outcome {
            let _ = writeln!(faults, "{case}\n  expected {wanted}\n  was      {outcome}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert_eq!(
        expected.len(),
        outcomes.len(),
        "outcomes.txt has cases that do not exist"
    );
    // Cases that end alike count once.
    let different: BTreeSet<(&str, &str)> = outcomes
        .iter()
        .filter_map(|(case, outcome)| Some((case.split_once(' ')?.0, outcome.as_str())))
        .collect();
    assert!(
        different.len() >= 120,
        "only {} outcomes differ",
        different.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_every_planted_fault() {
    let examine = async |part: &'static (&str, &str, _)| {
        let (name, requirement, _) = part;
        let output = tokio::process::Command::new(compere())
            .args(["doctor", "--json", "--patience", "2", "--"])
            .arg(env!("CARGO_BIN_EXE_compere-hostile"))
            .args(["serve", &format!("patient:{name}")])
            .output()
            .await
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        let found = report["findings"].as_array().unwrap();
        let must = found.iter().any(|finding| finding["level"] == "MUST");
        assert_eq!(output.status.code(), Some(i32::from(must)), "{name}");
        assert!(
            found
                .iter()
                .any(|finding| finding["requirement"] == *requirement),
            "{name}: {requirement} is not among {found:?}"
        );
        if name.starts_with("modern-") {
            let others = |finding: &&serde_json::Value| finding["requirement"] != *requirement;
            let other = found.iter().find(others);
            assert!(other.is_none(), "{name}: {other:?}");
        }
        // It says what a healthy one does not.
        (*requirement).to_owned()
    };
    let found: BTreeSet<String> = stream::iter(PATIENTS.iter().chain(MODERNS))
        .map(examine)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert!(found.len() >= 20);
}
