//! The cells of `cargo xtask bench` that are about HTTP. Load and server each have a core of their own.

use std::process::Command;

use crate::bench::{bench, median};
use crate::{Outcome, root};

/// A server over HTTP; it prints the URL that it listens on.
struct Peer {
    name: &'static str,
    mode: &'static str,
    command: Vec<String>,
    slow: bool,
}

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// What one run of the load prints: requests per second, CPU, p50, p99, peak.
type Figures = [f64; 5];

fn peers() -> Outcome<Vec<Peer>> {
    let target = root().join("target");
    let script = target.join("peers/npm-sdk-new/bench-http.mjs");
    std::fs::copy(root().join("bench/peers/server_http.mjs"), &script)
        .map_err(|error| error.to_string())?;
    let script = script.display().to_string();
    let python = target.join("peers/py-new/bin/python").display().to_string();
    let python_script = root()
        .join("bench/peers/server_http.py")
        .display()
        .to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let peer = |name, mode, command: Vec<String>, slow| Peer {
        name,
        mode,
        command,
        slow,
    };
    let ours = bench("bench-ours");
    let rmcp = bench("bench-rmcp");
    Ok(vec![
        peer(
            "compere, stateless",
            "stateless",
            words(&[&ours, "http"]),
            false,
        ),
        peer(
            "floor (bare hyper), stateless",
            "stateless",
            words(&[&bench("bench-floor"), "http"]),
            false,
        ),
        peer(
            "rmcp tuned, stateless",
            "stateless",
            words(&[&rmcp, "json"]),
            false,
        ),
        peer(
            "compere, no sessions",
            "json",
            words(&[&ours, "http", "sessionless"]),
            false,
        ),
        peer(
            "floor (bare hyper)",
            "json",
            words(&[&bench("bench-floor"), "http"]),
            false,
        ),
        peer(
            "rmcp tuned, no sessions",
            "json",
            words(&[&rmcp, "json"]),
            false,
        ),
        peer(
            "rmcp documented, no sessions",
            "json",
            words(&[&rmcp, "json", "documented"]),
            false,
        ),
        peer(
            "TypeScript, no sessions",
            "json",
            words(&["node", &script, "json"]),
            true,
        ),
        peer(
            "Python, no sessions",
            "json",
            words(&[&python, &python_script, "json"]),
            true,
        ),
        peer(
            "compere, sessions",
            "session",
            words(&[&ours, "http"]),
            false,
        ),
        peer(
            "rmcp tuned, sessions",
            "session",
            words(&[&rmcp, "session"]),
            false,
        ),
        peer(
            "rmcp documented, sessions",
            "session",
            words(&[&rmcp, "session", "documented"]),
            false,
        ),
        peer(
            "tower-mcp, sessions",
            "session",
            words(&[&bench("bench-tower")]),
            false,
        ),
        peer(
            "TypeScript, sessions",
            "session",
            words(&["node", &script, "session"]),
            true,
        ),
        peer(
            "Python, sessions",
            "session",
            words(&[&python, &python_script, "session"]),
            true,
        ),
        peer(
            "compere, an event before each answer",
            "events",
            words(&[&ours, "http"]),
            false,
        ),
    ])
}

/// Everything about HTTP, as tables.
pub(crate) fn report(rounds: usize) -> Outcome<String> {
    let peers = peers()?;
    let mut report = String::from("\n# HTTP\n");
    for connections in CONNECTIONS {
        let table = requests(&peers, connections, rounds)?;
        println!("{table}");
        report.push_str(&table);
    }
    for part in [counted(&peers)?, sessions()?, stalled(rounds)?] {
        println!("{part}");
        report.push_str(&part);
    }
    Ok(report)
}

fn load(arguments: &[String]) -> Outcome<Vec<f64>> {
    let output = Command::new("taskset")
        .args(["-c", "0"])
        .arg(bench("bench-load"))
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    let figures: Vec<f64> = String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if output.status.success() && !figures.is_empty() {
        return Ok(figures);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{arguments:?}: {said}"))
}

fn on_core_one(command: &[String]) -> Vec<String> {
    let words = ["--", "taskset", "-c", "1"].map(str::to_owned);
    words.into_iter().chain(command.iter().cloned()).collect()
}

fn requests(peers: &[Peer], connections: usize, rounds: usize) -> Outcome<String> {
    println!("measuring: HTTP, {connections} connections");
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); peers.len()];
    for round in 0..rounds {
        for (index, peer) in peers.iter().enumerate() {
            if peer.slow && round >= 3 {
                continue;
            }
            let count = if peer.slow { 1_000 } else { 40_000 };
            let mut arguments = vec![
                "http".to_owned(),
                peer.mode.to_owned(),
                connections.to_string(),
                count.to_string(),
            ];
            arguments.extend(on_core_one(&peer.command));
            let figures = load(&arguments)?;
            match figures.get(..5).and_then(|five| five.try_into().ok()) {
                Some(figures) => all[index].push(figures),
                None => return Err(format!("{}: {figures:?}", peer.name)),
            }
        }
    }
    let mut table = format!(
        "\n## {connections} connections ({rounds} rounds)\n\n| | req/s | p50 µs | p99 µs | CPU µs | peak KiB | of ours, req/s | of ours, CPU |\n|---|---|---|---|---|---|---|---|\n"
    );
    for (index, peer) in peers.iter().enumerate() {
        let ours = peers.iter().position(|other| other.mode == peer.mode);
        let ours = &all[ours.unwrap_or(index)];
        let middle = |at: usize| median(all[index].iter().map(|figures| figures[at]).collect());
        let ratio = |at: usize| {
            let pairs = ours.iter().zip(&all[index]);
            median(pairs.map(|(ours, theirs)| theirs[at] / ours[at]).collect())
        };
        table.push_str(&format!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.2} | {:.0} | {:.2} | {:.2} |\n",
            peer.name,
            middle(0),
            middle(2),
            middle(3),
            middle(1),
            middle(4),
            ratio(0),
            ratio(1),
        ));
    }
    Ok(table)
}

/// Instructions of one call in user space, by the difference of two runs on one connection.
fn counted(peers: &[Peer]) -> Outcome<String> {
    println!("counting instructions over HTTP");
    let mut table = String::from("\n## Per call, counted\n\n| | instructions |\n|---|---|\n");
    for peer in peers.iter().filter(|peer| !peer.slow) {
        let count = |requests: usize| -> Outcome<f64> {
            let log = root().join("target/bench/callgrind");
            let _ = std::fs::remove_file(&log);
            let mut arguments = vec![
                "http".to_owned(),
                peer.mode.to_owned(),
                "1".to_owned(),
                requests.to_string(),
                "--".to_owned(),
                "valgrind".to_owned(),
                "--tool=callgrind".to_owned(),
                "--callgrind-out-file=/dev/null".to_owned(),
                format!("--log-file={}", log.display()),
            ];
            arguments.extend(peer.command.iter().cloned());
            load(&arguments)?;
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            text.rsplit("Collected : ")
                .next()
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .ok_or_else(|| format!("valgrind: {text}"))
        };
        // The load warms up with a fifth more.
        let each = (count(1300)? - count(300)?) / 1200.0;
        table.push_str(&format!("| {} | {each:.0} |\n", peer.name));
    }
    Ok(table)
}

fn sessions() -> Outcome<String> {
    println!("measuring: idle sessions");
    let mut table = String::from(
        "\n## Sessions, bytes each\n\n| | idle (10,000) | with an open stream (1,000) |\n|---|---|---|\n",
    );
    let ours = vec![bench("bench-ours"), "http".to_owned()];
    let rmcp = vec![bench("bench-rmcp"), "session".to_owned()];
    for (name, command) in [("compere", ours), ("rmcp tuned", rmcp)] {
        let each = |count: &str, kind: &str| -> Outcome<f64> {
            let mut arguments = ["sessions", count, kind, "--"].map(str::to_owned).to_vec();
            arguments.extend(command.iter().cloned());
            Ok(load(&arguments)?[0])
        };
        let (idle, open) = (each("10000", "idle")?, each("1000", "open")?);
        table.push_str(&format!("| {name} | {idle:.0} | {open:.0} |\n"));
    }
    Ok(table)
}

/// 64 streams of events, and the same with one that nobody reads: what the others notice.
fn stalled(rounds: usize) -> Outcome<String> {
    println!("measuring: a stalled reader");
    let run = |kind: &str| -> Outcome<Vec<f64>> {
        let mut arguments = ["streams", "64", "200", kind].map(str::to_owned).to_vec();
        arguments.extend(on_core_one(&[bench("bench-ours"), "http".to_owned()]));
        load(&arguments)
    };
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push((run("all")?, run("stalled")?));
    }
    let of = |pick: fn(&(Vec<f64>, Vec<f64>)) -> f64| median(all.iter().map(pick).collect());
    Ok(format!(
        "\n## 64 streams with an event of 4 KB every 5 ms, one of them never read ({rounds} rounds)\n\n| | all read | one stalled |\n|---|---|---|\n| p99 lateness, µs | {:.0} | {:.0} |\n| latest, µs | {:.0} | {:.0} |\n| memory, KiB | {:.0} | {:.0} |\n| ratio of p99 | | {:.2} |\n",
        of(|(all, _)| all[2]),
        of(|(_, one)| one[2]),
        of(|(all, _)| all[3]),
        of(|(_, one)| one[3]),
        of(|(all, _)| all[4]),
        of(|(_, one)| one[4]),
        of(|(all, one)| one[2] / all[2]),
    ))
}
