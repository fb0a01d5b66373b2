//! Server processes: how they are started, what they see, how they end.

use std::path::Path;
use std::time::Duration;

use compere::{Client, Command, ErrorKind};
use compere_tests::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn shell(script: &str) -> Command {
    Command::new("/bin/sh")
        .inherit_env([("PATH".into(), "/usr/bin:/bin".into())])
        .arg("-c")
        .arg(script)
}

fn fixture() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fixture-server"))
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie is dead; whoever inherited it has not noticed yet.
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn read(path: &Path) -> String {
    until("the file", || {
        std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    std::fs::read_to_string(path).unwrap()
}

// A-STDIO-01 A-STDIO-02
#[tokio::test]
async fn a_process_is_started_used_and_ended() {
    let client = Client::connect(fixture()).await.unwrap();
    let output = client.call("add", json!({"a": 1, "b": 2})).await.unwrap();
    assert_eq!(output.joined_text(), "3.0");
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    let error = Client::connect(Command::new("/no/such/server"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("/no/such/server"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_at_once_tells_its_status_and_last_words() {
    let error = Client::connect(shell("echo first >&2; echo 'no key given' >&2; exit 3"))
        .await
        .unwrap_err();
    let ErrorKind::ServerLost(lost) = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!(lost.status.as_deref(), Some("exit status: 3"));
    assert_eq!(lost.stderr, ["first", "no key given"]);
    assert!(error.to_string().contains("no key given"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_fails_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("pid");
    let script = format!(
        "echo $$ > {}; exec {}",
        log.display(),
        env!("CARGO_BIN_EXE_fixture-server")
    );
    let client = Client::connect(shell(&script)).await.unwrap();
    let waiting = tokio::spawn(client.call("wait", ()).into_future());
    client.ping().await.unwrap();
    let pid = read(&log)
        .await
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is_closed(), "{error:?}");
    let ErrorKind::ServerLost(lost) = error.kind() else {
        panic!("{error:?}")
    };
    assert!(
        lost.status.as_deref().unwrap().contains("signal: 9"),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_process_sees_a_minimal_environment_and_its_arguments_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let variables = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/home/ada"),
        ("SECRET_TOKEN", "hidden"),
        ("LANG", "C"),
        ("SHELL", "() { echo injected; }"),
    ];
    let command = Command::new("/bin/sh")
        .inherit_env(variables.map(|(name, value)| (name.into(), value.into())))
        .env("GIVEN", "yes")
        .arg("-c")
        .arg("{ env | sort; ls -l /proc/$$/fd; printf '%s|' \"$@\"; echo; } > \"$0\"")
        .arg(&seen)
        .args(["a b", "$(touch x)", "*"])
        .directory(folder.path());
    drop(Client::connect(command).await.unwrap_err());
    let text = read(&seen).await;
    assert!(
        text.contains("GIVEN=yes") && text.contains("HOME=/home/ada") && text.contains("LANG=C"),
        "{text}"
    );
    assert!(
        !text.contains("SECRET") && !text.contains("injected"),
        "{text}"
    );
    assert!(text.contains("a b|$(touch x)|*|"), "{text}");
    assert!(!folder.path().join("x").exists());
    // None of our sockets and event queues has come along.
    assert!(
        !text.contains("socket:") && !text.contains("anon_inode"),
        "{text}"
    );
}

// E-114
// A-LIFE-20 A-LIFE-21 A-LIFE-22 A-LIFE-28
#[tokio::test]
async fn a_process_is_ended_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // Speaks well enough to connect, then ignores the end of its input and SIGTERM.
    let script = format!(
        "trap 'echo term >> {log}' TERM; echo $$ > {log}; read line; \
         echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"protocolVersion\":\"2024-11-05\",\"capabilities\":{{}},\"serverInfo\":{{\"name\":\"s\",\"version\":\"1\"}}}}}}'; \
         cat > /dev/null; echo eof >> {log}; while true; do sleep 0.05; done",
        log = log.display()
    );
    let command = shell(&script).exit_wait(Duration::from_millis(300));
    let connecting = Client::builder("c", "1").revisions(compere::Revision::NEGOTIABLE);
    let client = connecting.connect(command).await.unwrap();
    client.close().await.unwrap();
    let text = read(&log).await;
    let words: Vec<&str> = text.lines().collect();
    assert_eq!(&words[1..], ["eof", "term"], "{text}");
    assert!(!is_alive(words[0]));
}

#[tokio::test]
async fn a_dropped_client_leaves_no_process_behind_not_even_grandchildren() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // A wrapper, as npx is one: the real server is its child, and it has a stubborn helper.
    let script = format!(
        "sh -c 'trap \"\" TERM; while true; do sleep 0.1; done' & echo $$ $! > {}; {}; exit",
        pids.display(),
        env!("CARGO_BIN_EXE_fixture-server")
    );
    let client = Client::connect(shell(&script).exit_wait(Duration::from_millis(200)))
        .await
        .unwrap();
    client.ping().await.unwrap();
    let text = read(&pids).await;
    let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    assert!(pids.iter().all(|pid| is_alive(pid)));
    drop(client);
    until("their end", || !pids.iter().any(|pid| is_alive(pid))).await;
}

#[test]
fn a_runtime_that_goes_away_takes_the_process_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("pid");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let pid = runtime.block_on(async {
        let script = format!(
            "trap '' TERM; echo $$ > {}; exec {}",
            log.display(),
            env!("CARGO_BIN_EXE_fixture-server")
        );
        let client = Client::connect(shell(&script)).await.unwrap();
        std::mem::forget(client);
        read(&log).await
    });
    assert!(is_alive(&pid));
    runtime.shutdown_background();
    let gone = (0..500).any(|_| {
        let alive = is_alive(&pid);
        if alive {
            std::process::Command::new("true").status().unwrap();
        }
        !alive
    });
    assert!(gone);
}

// E-102 E-103 E-104
// A-STDIO-06 A-STDIO-07
// D-023
#[tokio::test]
async fn stderr_is_drained_whatever_its_amount_and_kept_within_bounds() {
    let script = format!(
        "yes 0123456789012345678901234567890123456789 | head -c 8000000 >&2; \
         head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exec {}",
        env!("CARGO_BIN_EXE_fixture-server")
    );
    let longest = std::sync::Arc::new(std::sync::Mutex::new(0));
    let seen = longest.clone();
    let command = shell(&script).on_stderr(move |line| {
        let mut longest = seen.lock().unwrap();
        *longest = line.len().max(*longest);
    });
    let client = Client::connect(command).await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(*longest.lock().unwrap(), 16 * 1024);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_writes_nonsense_to_stdout_is_told_and_lives() {
    let script = format!(
        "echo 'Starting up...'; echo; exec {}",
        env!("CARGO_BIN_EXE_fixture-server")
    );
    let client = Client::connect(shell(&script)).await.unwrap();
    client.ping().await.unwrap();
    client.close().await.unwrap();
}
