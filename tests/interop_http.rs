//! Peers that we did not write, over HTTP in both of its forms: our client against servers made with
//! official SDKs of each age, their clients against our server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use compere::Revision;
use compere_testkit::schema::Author;
use compere_tests::compere;
use compere_tests::ground::{Watch, everything_of, everything_of_an_sdk, peer, script};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A program that listens, ended with the value.
struct Listening {
    _child: Child,
    url: String,
}

impl Listening {
    /// Starts a program and takes the first address that it prints.
    async fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut warned = BufReader::new(child.stderr.take().unwrap()).lines();
        let finding = async {
            loop {
                let line = tokio::select! {
                    Ok(Some(line)) = said.next_line() => line,
                    Ok(Some(line)) = warned.next_line() => line,
                    else => panic!("the program ended before it listened"),
                };
                if let Some(start) = line.find("http://") {
                    return line[start..].trim().to_owned();
                }
            }
        };
        let url = tokio::time::timeout(Duration::from_secs(60), finding)
            .await
            .expect("the program does not listen");
        // It must not stop because nobody reads what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        tokio::spawn(async move { while let Ok(Some(_)) = warned.next_line().await {} });
        Self { _child: child, url }
    }
}

fn node(folder: &str, file: &str) -> (Command, PathBuf) {
    let path = peer(folder).join(file);
    std::fs::copy(script(file), &path).unwrap();
    (Command::new("node"), path)
}

async fn typescript_server(folder: &str, kind: &str) -> Listening {
    let (mut command, path) = node(folder, "server.mjs");
    command.arg(path).arg(kind);
    Listening::start(command).await
}

async fn python_server(folder: &str, file: &str, kind: &str) -> Listening {
    let mut command = Command::new(peer(&format!("{folder}/bin/python")));
    command.arg(script(file)).arg(kind);
    Listening::start(command).await
}

/// A port that was free a moment ago, for a program that takes only a number.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The reference server in one of its modes. It says on stderr when it listens, and not where.
async fn reference_server(mode: &str, path: &str) -> (Child, String) {
    let server =
        peer("npm-servers/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let port = free_port();
    let mut child = Command::new("node")
        .arg(server)
        .arg(mode)
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = async {
        while let Ok(Some(line)) = said.next_line().await {
            if line.contains("port") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listening)
        .await
        .expect("the server does not listen");
    tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
    (child, format!("http://127.0.0.1:{port}{path}"))
}

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

// B-PROM-01
#[tokio::test]
async fn the_newest_python_client_and_our_server() {
    python_client("py-new", "client_new.py", "http").await;
    python_client("py-new", "client_new.py", "sse").await;
}

#[tokio::test]
async fn our_client_and_the_newest_python_server() {
    let server = python_server("py-new", "server_new.py", "http").await;
    everything_of_an_sdk(server.url.as_str(), Revision::V2025_11_25, true).await;
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
