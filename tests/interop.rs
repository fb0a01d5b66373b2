//! Peers that we did not write, both ways: our client against their servers, their clients against
//! ours. Everything that we send is checked against the official schema.
//!
//! The peers are fetched by `cargo xtask peers` into `target/peers`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use compere::client::Tapped;
use compere::model::Root;
use compere::{Command, Revision};
use compere_testkit::schema::Author;
use compere_tests::compere;
use compere_tests::ground::{
    Heard, Watch, builder, connect, everything_in, everything_of, everything_of_an_sdk, node, peer,
    script, text,
};
use serde_json::{Value, json};

// A-ARCH-02 A-STDIO-02: one client, one server, one process of its own.
#[tokio::test]
async fn our_client_and_the_reference_everything_server() {
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    for revision in Revision::NEGOTIABLE.iter().copied() {
        everything_of(node(&server).arg("stdio"), revision).await;
    }
}

#[tokio::test]
async fn our_client_and_the_reference_filesystem_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("note.txt"), "hello\n").unwrap();
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
    let path = folder.path().canonicalize().unwrap();
    let root = Root::new(format!("file://{}", path.display()));
    let client = builder(&heard)
        .roots([root])
        .connect(Tapped::new(node(&server).arg(&path), watch.listener()))
        .await
        .unwrap();
    let note = path.join("note.txt");
    let read = text(&client, "read_text_file", json!({"path": note})).await;
    assert_eq!(read.trim(), "hello");
    let listed = text(&client, "list_directory", json!({"path": path})).await;
    assert!(listed.contains("note.txt"));
    let outside = client
        .call("read_text_file", json!({"path": "/etc/passwd"}))
        .await
        .unwrap();
    assert!(outside.failed());
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_reference_memory_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    let server = peer("npm-servers/node_modules/@modelcontextprotocol/server-memory/dist/index.js");
    let command = node(&server).env("MEMORY_FILE_PATH", folder.path().join("memory.jsonl"));
    let client = connect(command, &watch, &heard).await;
    let entity = json!({"name": "Ada", "entityType": "person", "observations": ["writes"]});
    text(&client, "create_entities", json!({"entities": [entity]})).await;
    assert!(text(&client, "read_graph", json!({})).await.contains("Ada"));
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_git_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("git")
        .args(["init", "--quiet"])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let command = Command::new(peer("py-new/bin/mcp-server-git"))
        .inherit_env(std::env::vars_os())
        .arg("--repository")
        .arg(folder.path());
    let client = connect(command, &watch, &heard).await;
    let status = text(&client, "git_status", json!({"repo_path": folder.path()})).await;
    assert!(
        status.contains("No commits yet") || status.contains("status"),
        "{status}"
    );
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_the_time_server() {
    let (watch, heard) = (Watch::new(), Heard::default());
    let command = Command::new(peer("py-new/bin/mcp-server-time"))
        .inherit_env(std::env::vars_os())
        .args(["--local-timezone", "UTC"]);
    let client = connect(command, &watch, &heard).await;
    let time = text(&client, "get_current_time", json!({"timezone": "UTC"})).await;
    assert!(time.contains("UTC"), "{time}");
    client.close().await.unwrap();
    watch.assert_clean();
}

#[tokio::test]
async fn our_client_and_a_typescript_server_of_late_2024() {
    let folder = peer("npm-sdk-old");
    std::fs::copy(script("server.mjs"), folder.join("server.mjs")).unwrap();
    let server = node(&folder.join("server.mjs")).arg("stdio");
    everything_of_an_sdk(server, Revision::V2024_11_05, true).await;
}

/// Servers of both eras on a pipe, and a client that speaks all, or only one of them.
#[tokio::test]
async fn our_client_and_servers_of_both_eras() {
    let folder = peer("npm-sdk-2");
    let path = folder.join("server_both.mjs");
    std::fs::copy(script("server.mjs"), &path).unwrap();
    let python = Command::new(peer("py-new/bin/python"))
        .inherit_env(std::env::vars_os())
        .arg(script("server_new.py"))
        .arg("stdio");
    for server in [node(&path).arg("stdio-both"), python] {
        for (spoken, revision) in [
            (&Revision::ALL[..], Revision::V2026_07_28),
            (Revision::NEGOTIABLE, Revision::V2025_11_25),
        ] {
            everything_in(spoken, server.clone(), revision, true).await;
        }
    }
}

async fn late_2024_python(version: &str) {
    let command = Command::new(peer(&format!("{version}/bin/python")))
        .inherit_env(std::env::vars_os())
        .arg(script("server.py"))
        .arg("stdio");
    everything_of_an_sdk(command, Revision::V2024_11_05, version != "py-1.0.0").await;
}

#[tokio::test]
async fn our_client_and_a_python_1_1_3_server() {
    late_2024_python("py-1.1.3").await;
}

#[tokio::test]
async fn our_client_and_a_python_1_0_0_server() {
    late_2024_python("py-1.0.0").await;
}

/// Runs a foreign client against `compere serve everything` and checks what we said to it.
async fn foreign_client(program: &Path, script: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let wire_log = folder.path().join("wire.log");
    let running = tokio::process::Command::new(program)
        .arg(script)
        .arg("stdio")
        .arg(compere())
        .arg(&wire_log)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), running)
        .await
        .expect("the client does not end")
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && stdout.contains("everything passed"),
        "{stdout}\n{stderr}"
    );
    let watch = Watch::new();
    let log = std::fs::read_to_string(&wire_log).unwrap();
    assert!(log.lines().count() > 40, "{log}");
    for line in log.lines() {
        let (mark, message) = line.split_at(2);
        watch.see(Author::Server, mark == "> ", message);
    }
    watch.assert_clean();
}

async fn typescript_client(version: &str) {
    let folder = peer(version);
    std::fs::copy(script("client.mjs"), folder.join("client.mjs")).unwrap();
    foreign_client(Path::new("node"), &folder.join("client.mjs")).await;
}

#[tokio::test]
async fn the_newest_typescript_client_and_our_server() {
    typescript_client("npm-sdk-new").await;
}

#[tokio::test]
async fn clients_without_a_session_and_our_server() {
    let folder = peer("npm-sdk-2");
    let client = folder.join("client_both.mjs");
    std::fs::copy(script("client_both.mjs"), &client).unwrap();
    foreign_client(Path::new("node"), &client).await;
    foreign_client(&peer("py-new/bin/python"), &script("client_both.py")).await;
}

#[tokio::test]
async fn the_typescript_client_of_late_2024_and_our_server() {
    typescript_client("npm-sdk-old").await;
}

#[tokio::test]
async fn the_newest_python_client_and_our_server() {
    foreign_client(&peer("py-new/bin/python"), &script("client_new.py")).await;
}

#[tokio::test]
async fn the_python_1_1_3_client_and_our_server() {
    foreign_client(&peer("py-1.1.3/bin/python"), &script("client_old.py")).await;
}

#[tokio::test]
async fn the_python_1_0_0_client_and_our_server() {
    foreign_client(&peer("py-1.0.0/bin/python"), &script("client_old.py")).await;
}

/// What the doctor says of the reference server is true of it, each by the message shown with it.
#[tokio::test]
async fn the_doctor_finds_nothing_in_the_reference_server_that_is_not_there() {
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let output = tokio::process::Command::new(compere())
        .args(["doctor", "--json", "--", "node"])
        .arg(server)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "a MUST is said to be broken");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: std::collections::BTreeSet<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            assert!(
                !finding["evidence"].as_str().unwrap_or_default().is_empty(),
                "{finding}"
            );
            let text = |member: &str| finding[member].as_str().unwrap_or_default();
            (text("requirement"), text("level"))
        })
        .collect();
    // Seen by hand on the wire: any cursor is taken; an unknown tool is a result; other codes than
    // those that the revision names.
    let expected = ["A-LOG-05", "A-PAGE-10", "A-RES-12", "A-TOOL-09"];
    let expected = expected.map(|requirement| (requirement, "SHOULD"));
    assert_eq!(found, expected.into_iter().collect());
    let held = report["held"].as_array().unwrap();
    assert!(held.len() > 20, "{held:?}");
}
