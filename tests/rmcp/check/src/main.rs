//! Compere and the official Rust SDK, in all directions: a line for each, and an exit status.
//!
//! `rmcp-check FOLDER COMPERE`: the folder where the peers lie, and our program.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use compere::model::{ElicitAction, ElicitResult};
use compere::{Client, Command, Revision};
use serde_json::{Value, json};

type Outcome = Result<String, Box<dyn Error>>;

/// Our client and one of their servers.
async fn ours(server: &PathBuf, revisions: &[Revision], meant: Revision, asks: bool) -> Outcome {
    let began = Instant::now();
    let builder = Client::builder("check", "1")
        .revisions(revisions)
        .on_elicit(|_| async {
            let mut answer = ElicitResult::new(ElicitAction::Accept);
            let content = serde_json::from_value(json!({"name": "Ada"}));
            answer.content = content.ok();
            Ok(answer)
        });
    let mut command = Command::new(server);
    command = command.arg("server");
    let client = builder.connect(command).await?;
    let took = began.elapsed().as_millis();
    if client.revision() != meant {
        return Err(format!("it speaks {}", client.revision()).into());
    }
    let echo = client.call("echo", json!({"message": "hello"})).await?;
    let echo = serde_json::to_string(&echo.into_inner())?;
    if !echo.contains("hello") {
        return Err(echo.into());
    }
    if asks {
        let asked = client.call("ask", json!({})).await?;
        let asked = serde_json::to_string(&asked.into_inner())?;
        if !asked.contains("Hello, Ada") {
            return Err(asked.into());
        }
    }
    client.close().await?;
    Ok(format!("{meant}, connected within {took} ms"))
}

/// One of their clients and our server.
async fn theirs(client: &PathBuf, arguments: &[&str], compere: &str, expected: &str) -> Outcome {
    let mut command = tokio::process::Command::new(client);
    command
        .args(arguments)
        .args([compere, "serve", "everything"]);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let value: Value = serde_json::from_str(&said)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    match value["result"].to_string().contains(expected) {
        true => Ok(format!("{} tools", value["tools"])),
        false => Err(said.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("where are the peers?")?);
    let compere = arguments.next().ok_or("where is compere?")?;
    let (old, new) = (folder.join("rmcp-old"), folder.join("rmcp-new"));
    let mut failed = 0;
    let mut say = |what: &str, outcome: Outcome| match outcome {
        Ok(how) => println!("ok      {what}: {how}"),
        Err(why) => {
            failed += 1;
            println!("failed  {what}: {why}");
        }
    };
    let (all, newest) = (Revision::ALL, Revision::V2026_07_28);
    let handshake = Revision::V2025_11_25;
    say(
        "our client, a server that ends on anything but initialize",
        ours(&old, &all, handshake, false).await,
    );
    say(
        "our client, a server of both eras",
        ours(&new, &all, newest, true).await,
    );
    say(
        "our client without the newest revision, the same",
        ours(&new, Revision::NEGOTIABLE, handshake, false).await,
    );
    let echo = ["echo", r#"{"message":"hello"}"#];
    let ask = ["trigger-elicitation-request", "{}"];
    let with = |first: &[&'static str], more: [&'static str; 2]| [first, &more].concat();
    say(
        "a client of the older SDK",
        theirs(&old, &with(&["client"], echo), &compere, "hello").await,
    );
    for mode in ["initialize", "discover", "auto"] {
        let arguments = with(&["client", mode], echo);
        say(
            &format!("a client of the newer SDK, {mode}"),
            theirs(&new, &arguments, &compere, "hello").await,
        );
        let arguments = with(&["client", mode], ask);
        say(
            &format!("the same, asked something, {mode}"),
            theirs(&new, &arguments, &compere, "rather not").await,
        );
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} failed").into()),
    }
}
