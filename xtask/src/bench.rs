//! `cargo xtask bench [ROUNDS] [stdio|http|host]`: Compere beside its peers in one run, as ratios.
//!
//! Latency is measured with load and server on one core: on two, depth 1 measures how fast the
//! machine wakes a core up. Throughput is measured on two. Rounds are interleaved, and a ratio is the
//! median of the ratios of the rounds. Instructions and system calls are counted by difference between
//! two runs, so that the start cancels out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, bench_host, bench_http, cargo, dist, peers, root};

const ROUNDS: usize = 7;

/// One server under measurement.
struct Peer {
    name: &'static str,
    command: Vec<String>,
    rust: bool,
    slow: bool,
}

/// What one run of the load prints.
#[derive(Clone, Copy, Default)]
struct Figures {
    per_second: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
    peak: f64,
    start: f64,
    idle: f64,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let rounds = arguments
        .first()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let only = arguments.get(1).map(String::as_str);
    peers::fetch()?;
    println!("building (dist profile, fat LTO)");
    run_cargo(only != Some("http"))?;
    let mut report = String::from("# Measurements\n");
    // What counts instructions leaves its log there.
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    if only.is_none_or(|only| only == "stdio") {
        report.push_str(&over_stdio(rounds)?);
    }
    if only.is_none_or(|only| only == "http") {
        report.push_str(&bench_http::report(rounds)?);
    }
    if only.is_none_or(|only| only == "host") {
        let host = bench_host::report(rounds)?;
        println!("{host}");
        report.push_str(&host);
    }
    std::fs::write(folder.join("report.md"), report).map_err(|error| error.to_string())
}

fn over_stdio(rounds: usize) -> Outcome<String> {
    let peers = list()?;
    let mut report = String::new();
    let cells: [(&str, &str, usize, usize, bool); 4] = [
        ("echo, one core, depth 1", "echo", 1, 20_000, true),
        ("echo, two cores, depth 16", "echo", 16, 60_000, false),
        ("echo, two cores, depth 256", "echo", 256, 120_000, false),
        ("echo of 1 MiB, two cores", "large", 1, 100, false),
    ];
    for (title, kind, depth, count, one_core) in cells {
        let table = cell(&peers, title, kind, depth, count, one_core, rounds)?;
        println!("{table}");
        report.push_str(&table);
    }
    let counted = counted(&peers)?;
    println!("{counted}");
    report.push_str(&counted);
    Ok(report)
}

fn run_cargo(command_line_too: bool) -> Outcome {
    if command_line_too {
        dist::build()?;
    }
    run_in(
        cargo()
            .current_dir(root().join("bench"))
            .args(["build", "--quiet", "--release"]),
    )
}

fn run_in(command: &mut Command) -> Outcome {
    crate::run(command)
}

pub(crate) fn bench(program: &str) -> String {
    root()
        .join("bench/target/release")
        .join(program)
        .display()
        .to_string()
}

fn list() -> Outcome<Vec<Peer>> {
    let target = root().join("target");
    let script = target.join("peers/npm-sdk-new/bench-server.mjs");
    std::fs::copy(root().join("bench/peers/server.mjs"), &script)
        .map_err(|error| error.to_string())?;
    let show = |path: PathBuf| path.display().to_string();
    let peer = |name, command: Vec<String>, rust, slow| Peer {
        name,
        command,
        rust,
        slow,
    };
    Ok(vec![
        peer(
            "compere",
            vec![
                show(target.join("dist/compere")),
                "serve".into(),
                "everything".into(),
            ],
            true,
            false,
        ),
        peer("rmcp tuned", vec![bench("bench-rmcp")], true, false),
        peer(
            "rmcp documented",
            vec![bench("bench-rmcp"), "documented".into()],
            true,
            false,
        ),
        peer("floor", vec![bench("bench-floor")], true, false),
        peer("TypeScript", vec!["node".into(), show(script)], false, true),
        peer(
            "Python",
            vec![
                show(target.join("peers/py-new/bin/python")),
                show(root().join("bench/peers/server.py")),
            ],
            false,
            true,
        ),
    ])
}

fn measure(
    peer: &Peer,
    kind: &str,
    depth: usize,
    count: usize,
    one_core: bool,
) -> Outcome<Figures> {
    let count = if peer.slow {
        (count / 20).max(depth * 2).max(20)
    } else {
        count
    };
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(bench("bench-load"));
    command.args([kind, &depth.to_string(), &count.to_string(), "--"]);
    if !one_core {
        command.args(["taskset", "-c", "1"]);
    }
    command.args(&peer.command);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match figures[..] {
        [per_second, cpu, p50, p99, peak, start, idle] => Ok(Figures {
            per_second,
            cpu,
            p50,
            p99,
            peak,
            start,
            idle,
        }),
        _ => Err(format!(
            "{}: {}",
            peer.name,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn cell(
    peers: &[Peer],
    title: &str,
    kind: &str,
    depth: usize,
    count: usize,
    one_core: bool,
    rounds: usize,
) -> Outcome<String> {
    println!("measuring: {title}");
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); peers.len()];
    for round in 0..rounds {
        for (index, peer) in peers.iter().enumerate() {
            let floor_cannot = peer.name == "floor" && kind == "large";
            if peer.slow && round >= 3 || floor_cannot {
                continue;
            }
            all[index].push(measure(peer, kind, depth, count, one_core)?);
        }
    }
    let mut table = format!(
        "\n## {title} ({rounds} rounds)\n\n| | req/s | p50 µs | p99 µs | CPU µs | peak KiB | start µs | idle KiB | ours / theirs, req/s | theirs / ours, CPU |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (index, peer) in peers.iter().enumerate() {
        let rounds = &all[index];
        if rounds.is_empty() {
            continue;
        }
        let middle = |pick: fn(&Figures) -> f64| median(rounds.iter().map(pick).collect());
        let ratios = |pick: fn(&Figures, &Figures) -> f64| {
            median(
                all[0]
                    .iter()
                    .zip(rounds)
                    .map(|(ours, theirs)| pick(ours, theirs))
                    .collect(),
            )
        };
        table.push_str(&format!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} |\n",
            peer.name,
            middle(|f| f.per_second),
            middle(|f| f.p50),
            middle(|f| f.p99),
            middle(|f| f.cpu),
            middle(|f| f.peak),
            middle(|f| f.start),
            middle(|f| f.idle),
            ratios(|ours, theirs| ours.per_second / theirs.per_second),
            ratios(|ours, theirs| theirs.cpu / ours.cpu),
        ));
    }
    Ok(table)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// What does not depend on the machine's mood.
fn counted(peers: &[Peer]) -> Outcome<String> {
    println!("counting instructions and system calls");
    let mut table = String::from(
        "\n## Per request, counted\n\n| | instructions | system calls, depth 1 | depth 256 |\n|---|---|---|---|\n",
    );
    for peer in peers.iter().filter(|peer| peer.rust) {
        table.push_str(&format!(
            "| {} | {:.0} | {:.2} | {:.3} |\n",
            peer.name,
            instructions(&peer.command, "echo")?,
            system_calls(&peer.command, "echo", 1)?,
            system_calls(&peer.command, "echo", 256)?,
        ));
    }
    let ours = vec![bench("bench-ours")];
    table.push_str(&format!(
        "| compere, handler yields once | {:.0} | {:.2} | {:.3} |\n",
        instructions(&ours, "yield")?,
        system_calls(&ours, "yield", 1)?,
        system_calls(&ours, "yield", 256)?,
    ));
    for kind in ["nested", "dense"] {
        table.push_str(&format!(
            "| compere, {kind} arguments, typed and validated | {:.0} | | |\n",
            instructions(&peers[0].command, kind)?
        ));
    }
    let many = vec![
        "env".to_owned(),
        "TOOLS=1000".to_owned(),
        bench("bench-ours"),
    ];
    table.push_str(&format!(
        "| compere, tools/list of 1,000 tools | {:.0} | | |\n",
        instructions(&many, "list")?
    ));
    Ok(table)
}

/// User-space instructions of one request, by callgrind. All requests come in one file: they are
/// read as fast as the server can.
fn instructions(command: &[String], kind: &str) -> Outcome<f64> {
    let (few, many) = if kind == "list" {
        (30, 130)
    } else {
        (300, 1300)
    };
    let count = |requests: usize| -> Outcome<f64> {
        let folder = root().join("target/bench");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let input = folder.join("requests");
        let printed = Command::new(bench("bench-load"))
            .args(["print", kind, &requests.to_string()])
            .output()
            .map_err(|error| error.to_string())?;
        std::fs::write(&input, printed.stdout).map_err(|error| error.to_string())?;
        let pipe = format!(
            "cat {} | valgrind --tool=callgrind --trace-children=yes --callgrind-out-file=/dev/null {} 2>&1 >/dev/null | grep -o 'Collected : [0-9]*' | tail -n 1",
            input.display(),
            command.join(" "),
        );
        let output = Command::new("sh")
            .args(["-c", &pipe])
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.rsplit(' ')
            .next()
            .and_then(|count| count.trim().parse().ok())
            .ok_or_else(|| {
                format!(
                    "valgrind: {text} {}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })
    };
    Ok((count(many)? - count(few)?) / (many - few) as f64)
}

fn system_calls(command: &[String], kind: &str, depth: usize) -> Outcome<f64> {
    let log = root().join("target/bench/strace");
    let count = |requests: usize| -> Outcome<f64> {
        let status = Command::new(bench("bench-load"))
            .args([
                kind,
                &depth.to_string(),
                &requests.to_string(),
                "--",
                "strace",
                "-f",
                "-c",
                "-o",
            ])
            .arg(&log)
            .args(command)
            .output()
            .map_err(|error| error.to_string())?;
        if !status.status.success() {
            return Err(String::from_utf8_lossy(&status.stderr).into_owned());
        }
        total(&log)
    };
    let (few, many) = (depth.max(1000) * 4, depth.max(1000) * 14);
    // The load warms up with a tenth more.
    Ok((count(many)? - count(few)?) / ((many - few) as f64 * 1.1))
}

fn total(log: &Path) -> Outcome<f64> {
    // The server is killed at the end; strace writes its summary then.
    for _ in 0..200 {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find(|line| line.trim_end().ends_with("total"));
        if let Some(calls) = line.and_then(|line| line.split_whitespace().nth(3)) {
            let calls = calls.parse().map_err(|_| format!("strace: {text}"))?;
            let _ = std::fs::remove_file(log);
            return Ok(calls);
        }
        let _ = run_in(&mut Command::new("true"));
    }
    Err("strace wrote no summary".to_owned())
}
