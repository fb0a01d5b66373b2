//! A relay between peers of different eras, of which one is not ours. Run by `cargo xtask test`, which fetches
//! the peers.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use compere::server::http::HttpOptions;
use compere::{Command, Relay, Revision, ServerHandle};
use compere_servers::everything::everything;
use compere_tests::ground::{everything_where, node, peer, script};

/// The revisions that are spoken with the server behind, and with the client in front.
const NEWEST: &[Revision] = &[Revision::V2026_07_28];

fn relay(server: Command, behind: &'static [Revision]) -> ServerHandle {
    let relay = Relay::new(move |client| client.revisions(behind).connect(server.clone()));
    relay.start().unwrap()
}

fn typescript(folder: &str, kind: &str) -> Command {
    let path = peer(folder).join("server_relay.mjs");
    std::fs::copy(script("server.mjs"), &path).unwrap();
    node(&path).arg(kind)
}

fn python(folder: &str, file: &str) -> Command {
    Command::new(peer(&format!("{folder}/bin/python")))
        .inherit_env(std::env::vars_os())
        .arg(script(file))
        .arg("stdio")
}

#[tokio::test]
async fn a_client_without_a_session_and_foreign_servers_with_one() {
    for (server, reads_tokens) in [
        (typescript("npm-sdk-old", "stdio"), true),
        (typescript("npm-sdk-2", "stdio-both"), true),
        (python("py-1.0.0", "server.py"), false),
        (python("py-1.1.3", "server.py"), true),
        (python("py-new", "server_new.py"), true),
    ] {
        let relay = relay(server, &Revision::ALL);
        everything_where(NEWEST, relay, NEWEST[0], reads_tokens, true).await;
    }
}

#[tokio::test]
async fn a_client_with_a_session_and_foreign_servers_without() {
    for server in [
        typescript("npm-sdk-2", "stdio-both"),
        python("py-new", "server_new.py"),
    ] {
        for revision in Revision::NEGOTIABLE.iter().copied() {
            let relay = relay(server.clone(), NEWEST);
            everything_where(&[revision], relay, revision, true, true).await;
        }
    }
}

/// Runs a foreign client against a relay in front of our own server of one revision.
async fn foreign_client(program: &Path, script: &Path, behind: Revision) {
    let server = everything().revisions(&[behind]).start().unwrap();
    let relay = Relay::new(move |client| client.connect(server.clone()));
    let handle = relay.start().unwrap();
    let any = "127.0.0.1:0";
    let listener = handle.listen_http(any, HttpOptions::new()).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(listener.serve_until(std::future::pending()));
    let running = tokio::process::Command::new(program)
        .arg(script)
        .args(["http", &url, "relayed"])
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
        "{behind} behind\n{stdout}\n{stderr}"
    );
}

#[tokio::test]
async fn foreign_clients_without_a_session_and_our_server_with_one() {
    let client = peer("npm-sdk-2").join("client_relay.mjs");
    std::fs::copy(script("client_both.mjs"), &client).unwrap();
    let python = peer("py-new/bin/python");
    for behind in [Revision::V2025_06_18, Revision::V2025_11_25] {
        foreign_client(Path::new("node"), &client, behind).await;
        foreign_client(&python, &script("client_both.py"), behind).await;
    }
}

#[tokio::test]
async fn foreign_clients_with_a_session_and_our_server_without() {
    for folder in ["npm-sdk-new", "npm-sdk-2"] {
        let client = peer(folder).join("client_relay_old.mjs");
        std::fs::copy(script("client.mjs"), &client).unwrap();
        foreign_client(Path::new("node"), &client, NEWEST[0]).await;
    }
    for (folder, file) in [("py-new", "client_new.py"), ("py-1.30", "client_1.py")] {
        let python = peer(&format!("{folder}/bin/python"));
        foreign_client(&python, &script(file), NEWEST[0]).await;
    }
}
