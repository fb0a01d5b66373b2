//! What the host costs: the same call straight to a server, through the host on its own standard input
//! and output, and through `compere connect`; calls that only read, and calls that may have an effect,
//! which are on the disk before they are made.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::{bench, median};
use crate::{Outcome, root};

/// One way to the server.
struct Way {
    name: &'static str,
    kind: &'static str,
    command: Vec<String>,
}

/// What one run says: calls per second, and the median and the 99th of a hundred in microseconds.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn report(rounds: usize) -> Outcome<String> {
    let folder = root().join("target/bench/host");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("settings")).map_err(words)?;
    let own = root().join("target/dist/compere").display().to_string();
    let server = |more: Value| {
        let mut server = json!({"command": own, "args": ["serve", "everything"], "root": true});
        for (name, value) in more.as_object().into_iter().flatten() {
            server[name] = value.clone();
        }
        server
    };
    let file = json!({
        "servers": {"reads": server(json!({})), "acts": server(json!({"network": true}))},
        "policy": [{"allow": "tool", "server": "acts"}],
    });
    std::fs::write(folder.join("settings/compere.json"), file.to_string()).map_err(words)?;
    let mut host = start(&own, &folder)?;
    let measured = approve(&folder).and_then(|()| through(&own, &folder, rounds, "connect"));
    let _ = order(&folder, &json!({"do": "stop"}));
    let _ = host.wait();
    let connect = measured?;
    let stdio = through(&own, &folder, rounds, "up --stdio")?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(format!(
        "\n## The host, everything on one core ({rounds} rounds)\n\n| | calls/s, 16 in flight | p50 µs | p99 µs | added p50 µs |\n|---|---|---|---|---|\n{connect}{stdio}"
    ))
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn keeps(folder: &Path) -> [String; 4] {
    [
        "--state".to_owned(),
        folder.join("state").display().to_string(),
        "--file".to_owned(),
        folder.join("settings/compere.json").display().to_string(),
    ]
}

fn start(own: &str, folder: &Path) -> Outcome<Child> {
    Command::new("taskset")
        .args(["-c", "0", own, "up", "--background"])
        .args(keeps(folder))
        .stdin(Stdio::null())
        .spawn()
        .map_err(words)
}

/// Rounds of the same through one way, beside the straight one.
fn through(own: &str, folder: &Path, rounds: usize, way: &'static str) -> Outcome<String> {
    let mut hosted: Vec<String> = vec![own.to_owned()];
    hosted.extend(way.split(' ').map(str::to_owned));
    hosted.extend(["--app".to_owned(), "load".to_owned()]);
    hosted.extend(keeps(folder));
    let ways = [
        Way {
            name: "straight",
            kind: "echo",
            command: vec![own.to_owned(), "serve".to_owned(), "everything".to_owned()],
        },
        Way {
            name: "reads",
            kind: "reads",
            command: hosted.clone(),
        },
        Way {
            name: "acts",
            kind: "acts",
            command: hosted,
        },
    ];
    let mut all: Vec<Vec<(Figures, f64)>> = vec![Vec::new(); ways.len()];
    let mut commits: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        for (all, one) in commits.iter_mut().zip(commit_times(folder)?) {
            all.push(one);
        }
        for (place, of) in ways.iter().enumerate() {
            let count = match of.kind {
                "acts" => 300,
                _ => 10_000,
            };
            let one = measure(of, 1, count)?;
            let many = measure(of, 16, count)?;
            all[place].push((one, many.per_second));
        }
    }
    let mut table = String::new();
    for (place, of) in ways.iter().enumerate() {
        let figures = &all[place];
        let middle = |pick: fn(&(Figures, f64)) -> f64| median(figures.iter().map(pick).collect());
        let added = all[0].iter().zip(figures);
        let added = median(
            added
                .map(|(straight, of)| of.0.p50 - straight.0.p50)
                .collect(),
        );
        let name = match of.name {
            "straight" => "straight to the server".to_owned(),
            "reads" => format!("`{way}`, calls that only read"),
            _ => format!("`{way}`, calls that may have an effect"),
        };
        table.push_str(&format!(
            "| {name} | {:.0} | {:.1} | {:.1} | {added:.1} |\n",
            middle(|(_, many)| *many),
            middle(|(one, _)| one.p50),
            middle(|(one, _)| one.p99),
        ));
    }
    let names = [
        "appending 340 bytes to a file and waiting for the disk",
        "the commit: the same through the audit log",
    ];
    for (name, times) in names.iter().zip(commits) {
        table.push_str(&format!("| {name} | | {:.1} | | |\n", median(times)));
    }
    Ok(table)
}

fn measure(way: &Way, depth: usize, count: usize) -> Outcome<Figures> {
    let output = Command::new("taskset")
        .args(["-c", "0"])
        .arg(bench("bench-load"))
        .args([way.kind, &depth.to_string(), &count.to_string(), "--"])
        .args(&way.command)
        .output()
        .map_err(words)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match figures[..] {
        [per_second, _, p50, p99, ..] => Ok(Figures {
            per_second,
            p50,
            p99,
        }),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Gives an order at the door of the host.
fn order(folder: &Path, order: &Value) -> Outcome<Value> {
    let state = folder.join("state");
    let stream = UnixStream::connect(state.join("host.sock")).map_err(words)?;
    let token = std::fs::read_to_string(state.join("door.key")).map_err(words)?;
    let hello = json!({"compere": env!("CARGO_PKG_VERSION"), "token": token.trim()});
    let mut lines = BufReader::new(stream);
    let mut reply = String::new();
    for line in [&hello, order] {
        reply.clear();
        writeln!(lines.get_mut(), "{line}").map_err(words)?;
        lines.read_line(&mut reply).map_err(words)?;
    }
    serde_json::from_str(&reply).map_err(words)
}

/// Agrees to how both servers are started, and waits until they were looked at.
fn approve(folder: &Path) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        let Ok(found) = order(folder, &json!({"do": "questions"})) else {
            continue;
        };
        for question in found["questions"].as_array().into_iter().flatten() {
            let answer = json!({"say": "approve", "digest": question["topic"]["digest"]});
            let id = &question["id"];
            order(
                folder,
                &json!({"do": "answer", "id": id, "answer": answer, "door": "a bench"}),
            )?;
        }
        let status = order(folder, &json!({"do": "status"}))?;
        let servers = status["status"]["servers"].as_array().cloned();
        let servers = servers.unwrap_or_default();
        if servers.len() == 2 && servers.iter().all(|server| server["tools"] != 0) {
            return Ok(());
        }
    }
    Err("the host did not look at its servers".to_owned())
}

/// How long a record takes until the disk has it, on the same core: the disk alone, and through the log.
fn commit_times(folder: &Path) -> Outcome<[f64; 2]> {
    let place = folder.join("commit");
    let output = Command::new("taskset")
        .args(["-c", "0"])
        .arg(bench("bench-commit"))
        .arg(&place)
        .output()
        .map_err(words)?;
    let _ = std::fs::remove_dir_all(place);
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    times
        .try_into()
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}
