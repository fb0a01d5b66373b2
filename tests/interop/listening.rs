//! Peers that listen over HTTP, and how they are started: servers made with official SDKs of each age,
//! and whatever else prints its address.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::ground::{peer, script};

/// A program that listens, ended with the value.
pub struct Listening {
    _child: Child,
    pub url: String,
}

impl Listening {
    /// Starts a program and takes the first address that it prints.
    pub async fn start(mut command: Command) -> Self {
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

pub fn node(folder: &str, file: &str) -> (Command, PathBuf) {
    let path = peer(folder).join(file);
    std::fs::copy(script(file), &path).unwrap();
    (Command::new("node"), path)
}

pub async fn typescript_server(folder: &str, kind: &str) -> Listening {
    let (mut command, path) = node(folder, "server.mjs");
    command.arg(path).arg(kind);
    Listening::start(command).await
}

pub async fn python_server(folder: &str, file: &str, kind: &str) -> Listening {
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
pub async fn reference_server(mode: &str, path: &str) -> (Child, String) {
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
