//! The host is killed: at every system call that touches its state, and at random moments. It starts
//! again by itself within a second; the log is in order; what was acknowledged is there, what was not
//! is not made up; no effect is without its record; no server is left behind.

use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use compere::Client;
use compere_host::audit::verify;
use compere_host::consent::{Answer, Covers, Grant, Lasts, Topic};
use compere_host::door::{Connection, Order, Reply};
use compere_host::state::StateFolder;
use compere_tests::hosting::{Hosting, place, probe, records, text};
use compere_tests::{compere, count};
use serde_json::{Value, json};

/// Every file and folder of the state.
const STATE: [&str; 13] = [
    "state",
    "state/audit",
    "state/audit/00000001.log",
    "state/audit/head",
    "state/digest.key",
    "state/digest.new",
    "state/door.key",
    "state/door.new",
    "state/grants.json",
    "state/grants.new",
    "state/pins.json",
    "state/pins.new",
    "state/host.sock",
];
/// The system calls that change what is there, or may find it half changed.
const CALLS: [&str; 12] = [
    "openat",
    "mkdir",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "bind",
    "chmod",
    "flock",
];

/// What the host has said to be done.
#[derive(Debug, Default)]
struct Acknowledged {
    approved: bool,
    first_granted: bool,
    first_revoked: bool,
    revoke_tried: bool,
    second_granted: bool,
    second_used: bool,
    ready: bool,
    /// The whole story was told.
    whole: bool,
}

fn start(folder: &Path, kill: Option<(&str, usize)>) -> Child {
    let mut program = match kill {
        None => Program::new(compere()),
        Some((call, when)) => {
            let mut program = Program::new("strace");
            program.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=all"]);
            for path in STATE {
                program.arg("-P").arg(folder.join(path));
            }
            program.args(["-e", &format!("inject={call}:signal=KILL:when={when}")]);
            program.arg(compere());
            program
        }
    };
    program
        .args(["up", "--hold", "50ms"])
        .args(compere_tests::hosting::as_root())
        .arg("--state")
        .arg(folder.join("state"))
        .arg("--file")
        .arg(folder.join("settings/compere.json"))
        .current_dir(folder.join("work"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn ready(process: &mut Child) -> Option<Value> {
    let mut line = String::new();
    let stdout = process.stdout.take()?;
    std::io::BufReader::new(stdout).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

fn order(folder: &Path, order: &Order) -> Option<Reply> {
    let mut connection = Connection::open(&folder.join("state")).ok()?;
    match connection.order(order).ok()? {
        Reply::Refused(_) => None,
        reply => Some(reply),
    }
}

fn answer(folder: &Path, id: u64, answer: Answer) -> Option<()> {
    let door = "a test".to_owned();
    order(folder, &Order::Answer { id, answer, door }).map(|_| ())
}

fn questions(folder: &Path) -> Option<Vec<(u64, Topic)>> {
    match order(folder, &Order::Questions)? {
        Reply::Questions(all) => Some(all.into_iter().map(|one| (one.id, one.topic)).collect()),
        _ => None,
    }
}

/// Agrees to everything until the server has its tools. `None` if the host is gone.
async fn approve(folder: &Path) -> Option<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        for (id, topic) in questions(folder)? {
            let (Topic::Launch { digest, .. } | Topic::Definitions { digest, .. }) = topic else {
                continue;
            };
            let except = Vec::new();
            let reads = Vec::new();
            let approve = Answer::Approve {
                digest,
                except,
                reads,
            };
            answer(folder, id, approve);
        }
        let Reply::Status(status) = order(folder, &Order::Status)? else {
            return None;
        };
        if status
            .servers
            .iter()
            .all(|of| of.tools > 0 && of.waiting == 0)
        {
            return Some(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// A person and an app with the host, until it is gone or all is told.
async fn story(folder: &Path, said: &mut Acknowledged) -> Option<()> {
    approve(folder).await?;
    said.approved = true;
    let connect = compere::Command::new(compere())
        .args(["connect", "--app", "editor", "--state"])
        .arg(folder.join("state"))
        .arg("--file")
        .arg(folder.join("settings/compere.json"));
    let connecting = Client::builder("editor", "1").connect(connect);
    let app = tokio::time::timeout(Duration::from_secs(10), connecting).await;
    let app = app.ok()?.ok()?;
    let call = async |mark: &str| {
        let called = app.call("probe__probe", json!({"do": "count", "mark": mark}));
        let called = tokio::time::timeout(Duration::from_secs(10), called).await;
        Some(text(&called.ok()?.ok()?.into_inner()))
    };
    let waiting = || {
        questions(folder)?
            .into_iter()
            .find_map(|(id, topic)| matches!(topic, Topic::Call(_)).then_some(id))
    };
    call("first").await?;
    answer(folder, waiting()?, Answer::Exactly { lasts: None })?;
    said.first_granted = true;
    call("first")
        .await
        .filter(|words| words.starts_with("OPEN"))?;
    call("second").await?;
    answer(folder, waiting()?, Answer::Once)?;
    said.second_granted = true;
    said.second_used = true;
    call("second").await?;
    let Reply::Grants(grants) = order(folder, &Order::Grants)? else {
        return None;
    };
    let id = grants.into_iter().next()?.id;
    said.revoke_tried = true;
    order(
        folder,
        &Order::Revoke {
            id,
            door: "a test".to_owned(),
        },
    )?;
    said.first_revoked = true;
    app.close().await.ok()?;
    said.whole = true;
    Some(())
}

fn alive(folder: &Path) -> Vec<String> {
    let own = folder.join("work").to_str().unwrap().to_owned();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    });
    lines
        .filter(|line| line.contains("probe.py") && line.contains(&own))
        .collect()
}

fn server(folder: &Path) {
    let work = folder.join("work").canonicalize().unwrap();
    let server = probe(
        work.to_str().unwrap(),
        &json!({"network": true, "write": true}),
    );
    let file = json!({"servers": {"probe": server}});
    std::fs::write(folder.join("settings/compere.json"), file.to_string()).unwrap();
}

/// Starts it again as anybody would, and looks whether everything is as it must be. How long it took.
async fn check(folder: tempfile::TempDir, said: &Acknowledged, what: &str) -> Duration {
    let path = folder.path().to_owned();
    // `connect` may have found no host any more, and started one.
    compere_tests::until("the end of all hosts", || {
        order(&path, &Order::Stop);
        StateFolder::take(&path.join("state")).is_ok()
    })
    .await;
    compere_tests::until("the end of the servers", || alive(&path).is_empty()).await;
    let began = Instant::now();
    let host = Hosting::start_in(folder, &[]);
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(1),
        "{what}: it took {took:?} to start again"
    );
    let aside: Vec<String> = std::fs::read_dir(host.path("state"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("damaged"))
        .collect();
    assert!(aside.is_empty(), "{what}: {aside:?}");
    let status = host.status();
    if said.approved {
        assert!(status.servers[0].tools > 0, "{what}: an approval is lost");
    }
    let Reply::Grants(grants) = host.order(&Order::Grants) else {
        panic!("{what}: no grants");
    };
    let of = |mark: &str, lasts: Lasts| {
        let fits = |grant: &&Grant| {
            let exactly = matches!(&grant.covers, Covers::Exactly(of) if of["mark"] == mark);
            exactly && grant.lasts == lasts
        };
        grants.iter().filter(fits).count()
    };
    let (first, second) = (of("first", Lasts::Always), of("second", Lasts::Once));
    assert_eq!(first + second, grants.len(), "{what}: {grants:?}");
    match (said.first_granted, said.first_revoked) {
        (true, false) if !said.revoke_tried => assert_eq!(first, 1, "{what}: a grant is lost"),
        (_, true) => assert_eq!(first, 0, "{what}: a grant came back"),
        _ => assert!(first <= 1),
    }
    let ledger = std::fs::read_to_string(host.path("work/ledger")).unwrap_or_default();
    let done = |mark: &str| ledger.lines().filter(|line| *line == mark).count();
    assert!(
        done("first") <= 1 && done("second") <= 1,
        "{what}: {ledger}"
    );
    if done("second") > 0 {
        assert_eq!(second, 0, "{what}: what was used up came back");
    } else if said.second_granted && !said.second_used {
        assert_eq!(second, 1, "{what}: a grant is lost");
    }
    // No effect without its record, which is older than it.
    let records = records(&host.path("state/audit"));
    for mark in ["first", "second"] {
        let intents = records.iter().filter(|record| {
            let view = record["view"].as_str().unwrap_or_default();
            record["kind"] == "intent" && view.contains(mark)
        });
        assert!(
            intents.count() >= done(mark),
            "{what}: an effect without a record"
        );
    }
    let verified = verify(&host.path("state/audit"), &[]);
    assert!(verified.is_ok(), "{what}: {verified:?}");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_system_call_that_touches_the_state() {
    let mut slowest = Duration::ZERO;
    let (mut kills, mut calls, mut when) = (0, CALLS.into_iter(), 1);
    let mut call = calls.next();
    while let Some(name) = call {
        let folder = place(&json!({}));
        server(folder.path());
        let mut host = start(folder.path(), Some((name, when)));
        let mut said = Acknowledged {
            ready: ready(&mut host).is_some(),
            ..Acknowledged::default()
        };
        if said.ready {
            story(folder.path(), &mut said).await;
        }
        let over = said.whole;
        if over {
            order(folder.path(), &Order::Stop);
        }
        let ended = host.wait().unwrap();
        let what = format!("at {name} {when} ({said:?})");
        slowest = slowest.max(check(folder, &said, &what).await);
        // It was never killed: there are no more such calls.
        if over && ended.success() {
            (call, when) = (calls.next(), 1);
            continue;
        }
        kills += 1;
        when += 1;
        assert!(when < 200, "there is no end of {name}");
    }
    assert!(kills > 40, "it was killed {kills} times alone");
    println!("killed at {kills} calls; the slowest start took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments() {
    let mut slowest = Duration::ZERO;
    for moment in 0..count("COMPERE_HOST_KILLS", 50) {
        let folder = place(&json!({}));
        server(folder.path());
        let mut host = start(folder.path(), None);
        // Spread over the time that the story takes, in steps that never meet.
        let after = Duration::from_micros((moment as u64 * 7_919) % 450_000);
        let process = host.id();
        let killing = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let process = i32::try_from(process)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::kill_process(process.unwrap(), rustix::process::Signal::KILL);
        });
        let mut said = Acknowledged {
            ready: ready(&mut host).is_some(),
            ..Acknowledged::default()
        };
        if said.ready {
            story(folder.path(), &mut said).await;
        }
        killing.await.unwrap();
        host.wait().unwrap();
        let what = format!("after {after:?} ({said:?})");
        slowest = slowest.max(check(folder, &said, &what).await);
    }
    println!("the slowest start took {slowest:?}");
}
