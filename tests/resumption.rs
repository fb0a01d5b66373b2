//! A connection over HTTP that is cut in the middle of an answer: our client comes back to foreign
//! servers, foreign clients come back to ours, and nothing is lost or doubled.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compere::{Client, Revision};
use compere_tests::compere;
use compere_tests::cutting::{self, Cut};
use compere_tests::ground::{peer, script};
use compere_tests::listening::{
    Listening, node, python_server, reference_server, typescript_server,
};
use serde_json::{Value, json};
use tokio::process::Command;

/// Answers of this many bytes pass before the cut: in the middle of events, and between them. The
/// shortest is behind the head of the answer and its first event id.
const CUTS: [usize; 4] = [620, 760, 900, 1_100];

fn address(url: &str) -> SocketAddr {
    let rest = url.trim_start_matches("http://");
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Runs a foreign client against `compere serve everything --http`, cut at several places.
async fn foreign_client(program: &Path, script: &Path) {
    let mut serve = Command::new(compere());
    serve.args(["serve", "everything", "--http", "127.0.0.1:0"]);
    let server = Listening::start(serve).await;
    for bytes in CUTS {
        let cut = Cut::after_request("tools/call", bytes);
        let proxy = cutting::proxy(address(&server.url), cut.clone()).await;
        let running = Command::new(program)
            .arg(script)
            .arg(format!("http://{proxy}/mcp"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(60), running)
            .await
            .expect("the client does not end")
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let heard: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("cut after {bytes} bytes: {stderr}"));
        let steps = heard["steps"].as_array().into_iter().flatten();
        let steps: Vec<f64> = steps.filter_map(Value::as_f64).collect();
        assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0], "cut after {bytes} bytes");
        assert!(heard["text"].is_string());
        assert_eq!(
            (cut.cuts(), cut.resumptions()),
            (1, 1),
            "after {bytes} bytes"
        );
    }
}

async fn typescript_client(folder: &str) {
    let (_, path) = node(folder, "resume.mjs");
    foreign_client(Path::new("node"), &path).await;
}

async fn python_client(folder: &str) {
    let python: PathBuf = peer(&format!("{folder}/bin/python"));
    foreign_client(&python, &script("resume.py")).await;
}

// B-HTTP-37 B-HTTP-38 B-HTTP-40
#[tokio::test]
async fn the_newest_typescript_1_client_comes_back() {
    typescript_client("npm-sdk-new").await;
}

#[tokio::test]
async fn the_newest_typescript_2_client_comes_back() {
    typescript_client("npm-sdk-2").await;
}

#[tokio::test]
async fn the_newest_python_1_client_comes_back() {
    python_client("py-1.30").await;
}

#[tokio::test]
async fn the_newest_python_client_comes_back() {
    python_client("py-new").await;
}

/// Our client against a foreign server that keeps events.
async fn foreign_server(url: &str, tool: &str, arguments: Value, steps: &[f64], cuts: &[usize]) {
    for &bytes in cuts {
        let cut = Cut::after_request("tools/call", bytes);
        let proxy = cutting::proxy(address(url), cut.clone()).await;
        let client = Client::builder("c", "1")
            .revisions(Revision::NEGOTIABLE)
            .connect(format!("http://{proxy}/mcp"))
            .await
            .unwrap();
        assert_eq!(client.revision(), Revision::V2025_11_25);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let output = client
            .call(tool, arguments.clone())
            .on_progress(move |step| hears.lock().unwrap().push(step.progress))
            .await
            .unwrap_or_else(|error| panic!("cut after {bytes} bytes: {error}"));
        assert!(!output.failed(), "{}", output.joined_text());
        assert_eq!(*heard.lock().unwrap(), steps, "cut after {bytes} bytes");
        assert_eq!(
            (cut.cuts(), cut.resumptions()),
            (1, 1),
            "after {bytes} bytes"
        );
        client.close().await.unwrap();
    }
}

async fn foreign_sdk(server: Listening) {
    let cuts = [550, 650, 780];
    foreign_server(&server.url, "progress", json!({}), &[1.0, 2.0, 3.0], &cuts).await;
}

#[tokio::test]
async fn our_client_comes_back_to_the_reference_server() {
    let (_server, url) = reference_server("streamableHttp", "/mcp").await;
    let arguments = json!({"duration": 1, "steps": 5});
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0];
    let tool = "trigger-long-running-operation";
    foreign_server(&url, tool, arguments, &steps, &[700, 1_000]).await;
}

#[tokio::test]
async fn our_client_comes_back_to_the_newest_typescript_1_server() {
    foreign_sdk(typescript_server("npm-sdk-new", "http").await).await;
}

#[tokio::test]
async fn our_client_comes_back_to_the_newest_typescript_2_server() {
    foreign_sdk(typescript_server("npm-sdk-2", "http").await).await;
}

#[tokio::test]
async fn our_client_comes_back_to_the_newest_python_1_server() {
    foreign_sdk(python_server("py-1.30", "server.py", "http").await).await;
}

#[tokio::test]
async fn our_client_comes_back_to_the_newest_python_server() {
    foreign_sdk(python_server("py-new", "server_new.py", "http").await).await;
}
