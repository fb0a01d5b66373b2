//! Peers that we did not write, over HTTP in both of its forms: our client against servers made with
//! official SDKs of each age, their clients against our server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use compere::Revision;
use compere_testkit::schema::Author;
use compere_tests::compere;
use compere_tests::ground::{
    Watch, everything_in, everything_of, everything_of_an_sdk, peer, script,
};
use compere_tests::listening::{
    Listening, node, python_server, reference_server, typescript_server,
};
use tokio::process::Command;

#[tokio::test]
async fn our_client_and_the_reference_server_over_streamable_http() {
    let (_server, url) = reference_server("streamableHttp", "/mcp").await;
    for revision in Revision::NEGOTIABLE.iter().copied() {
        everything_of(url.as_str(), revision).await;
    }
}

#[tokio::test]
async fn our_client_and_the_reference_server_over_sse() {
    let (_server, url) = reference_server("sse", "/sse").await;
    for revision in Revision::NEGOTIABLE.iter().copied() {
        everything_of(url.as_str(), revision).await;
    }
}

// B-HTTP-54 B-HTTP-55
#[tokio::test]
async fn our_client_and_a_typescript_server_of_late_2024() {
    let server = typescript_server("npm-sdk-old", "sse").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2024_11_05, true).await;
}

#[tokio::test]
async fn our_client_and_the_newest_typescript_1_server() {
    let server = typescript_server("npm-sdk-new", "http").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
    let server = typescript_server("npm-sdk-new", "sse").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
}

#[tokio::test]
async fn our_client_and_the_newest_typescript_2_server() {
    let server = typescript_server("npm-sdk-2", "http").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
}

/// Both eras at one address, and a client that speaks all.
#[tokio::test]
async fn our_client_and_a_typescript_2_server_of_both_eras() {
    let server = typescript_server("npm-sdk-2", "http-both").await;
    for spoken in [&[Revision::V2026_07_28][..], &Revision::ALL] {
        everything_in(spoken, server.url.as_str(), Revision::V2026_07_28, true).await;
    }
}

#[tokio::test]
async fn our_client_and_python_servers_of_late_2024() {
    for (folder, reads_tokens) in [("py-1.0.0", false), ("py-1.1.3", true)] {
        let server = python_server(folder, "server.py", "sse").await;
        let url = server.url.as_str();
        everything_of_an_sdk(url, Revision::V2024_11_05, reads_tokens).await;
    }
}

#[tokio::test]
async fn our_client_and_the_newest_python_1_server() {
    let server = python_server("py-1.30", "server.py", "http").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
    let server = python_server("py-1.30", "server.py", "sse").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
}

/// Runs a foreign client against `compere serve everything --http` and checks what we said to it.
async fn foreign_client(program: &Path, script: &Path, kind: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wire_log = folder.path().join("wire.log");
    let mut serve = Command::new(compere());
    serve
        .args(["serve", "everything", "--http", "127.0.0.1:0", "--wire-log"])
        .arg(&wire_log);
    let server = Listening::start(serve).await;
    let url = match kind {
        "sse" => server.url.replace("/mcp", "/sse"),
        _ => server.url.clone(),
    };
    let running = Command::new(program)
        .arg(script)
        .arg(kind)
        .arg(&url)
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

async fn typescript_client(folder: &str, kind: &str) {
    let (_, path) = node(folder, "client.mjs");
    foreign_client(Path::new("node"), &path, kind).await;
}

async fn python_client(folder: &str, file: &str, kind: &str) {
    let python = peer(&format!("{folder}/bin/python"));
    foreign_client(&python, &script(file), kind).await;
}

#[tokio::test]
async fn the_typescript_client_of_late_2024_and_our_server() {
    typescript_client("npm-sdk-old", "sse").await;
}

#[tokio::test]
async fn the_newest_typescript_1_client_and_our_server() {
    typescript_client("npm-sdk-new", "http").await;
    typescript_client("npm-sdk-new", "sse").await;
}

#[tokio::test]
async fn the_newest_typescript_2_client_and_our_server() {
    typescript_client("npm-sdk-2", "http").await;
}

#[tokio::test]
async fn python_clients_of_late_2024_and_our_server() {
    python_client("py-1.0.0", "client_old.py", "sse").await;
    python_client("py-1.1.3", "client_old.py", "sse").await;
}

#[tokio::test]
async fn clients_without_a_session_and_our_server() {
    let (_, client) = node("npm-sdk-2", "client_both.mjs");
    foreign_client(Path::new("node"), &client, "http").await;
    python_client("py-new", "client_both.py", "http").await;
}

// B-PROM-01
#[tokio::test]
async fn the_newest_python_client_and_our_server() {
    python_client("py-new", "client_new.py", "http").await;
    python_client("py-new", "client_new.py", "sse").await;
}

#[tokio::test]
async fn our_client_and_the_newest_python_server() {
    let server = python_server("py-new", "server_new.py", "http").await;
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        everything_in(&[revision], server.url.as_str(), revision, true).await;
    }
}

#[tokio::test]
async fn the_newest_python_1_client_and_our_server() {
    python_client("py-1.30", "client_1.py", "http").await;
    python_client("py-1.30", "client_1.py", "sse").await;
}

#[tokio::test]
async fn the_fastmcp_client_and_our_server() {
    python_client("py-fastmcp", "client_fastmcp.py", "http").await;
    python_client("py-fastmcp", "client_fastmcp.py", "sse").await;
}
