//! Drives a server on stdio and prints one line: requests per second, CPU per request in
//! microseconds, p50 and p99 in microseconds, peak memory in KiB, start in microseconds.
//!
//! bench-load KIND DEPTH COUNT -- COMMAND ARG…

mod http;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

const INITIALIZE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2024-11-05\",\"capabilities\":{},\"clientInfo\":{\"name\":\"load\",\"version\":\"1\"}}}\n";
const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// Ids have six digits, so that all requests of a kind are of one length.
const FIRST_ID: usize = 100_000;

fn request(kind: &str, id: usize) -> Vec<u8> {
    match kind {
        // 131 bytes with an id of six digits and the line break.
        "echo" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"hello, world! hello, world!\"}}}}}}\n"),
        "reads" | "acts" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{kind}__echo\",\"arguments\":{{\"message\":\"hello, world! hello, world!\"}}}}}}\n"),
        "yield" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"yields\",\"arguments\":{{\"message\":\"hello, world! hello, world!\"}}}}}}\n"),
        "large" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"{}\"}}}}}}\n", "x".repeat(1 << 20)),
        "list" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n"),
        "nested" => nested(id, 4, 60),
        "dense" => nested(id, 8, 0),
        other => panic!("no load of the kind {other}"),
    }
    .into_bytes()
}

/// 795 bytes: a person with four addresses; `dense` has eight, and shorter texts.
fn nested(id: usize, homes: usize, padding: usize) -> String {
    let homes: Vec<String> = (0..homes)
        .map(|n| format!("{{\"street\":\"{n} St James's Square{}\",\"city\":\"London\",\"zip\":\"1234{n}\"}}", " and onwards".repeat(padding / 12)))
        .collect();
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"check-person\",\"arguments\":{{\"name\":\"Augusta Ada King, Countess of Lovelace\",\"age\":36,\"active\":true,\"tags\":[\"mathematics\",\"poetry\",\"engines\",\"analysis\",\"history\",\"london, england\",\"correspondence with Charles Babbage\"],\"addresses\":[{}]}}}}}}\n",
        homes.join(",")
    )
}

struct Peer {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    buffer: Vec<u8>,
    asked: usize,
}

impl Peer {
    /// Reads once; how many answers were completed by that.
    fn answers(&mut self) -> usize {
        let count = self
            .output
            .read(&mut self.buffer)
            .expect("the server answers");
        assert!(count > 0, "the server has ended");
        memchr::memchr_iter(b'\n', &self.buffer[..count]).count()
    }

    fn cpu_nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("print") {
        // The requests themselves, for tools that count instructions.
        let (kind, count) = (&arguments[1], arguments[2].parse().unwrap());
        let mut out = std::io::stdout().lock();
        out.write_all(INITIALIZE)
            .and_then(|()| out.write_all(INITIALIZED))
            .unwrap();
        for id in 0..count {
            out.write_all(&request(kind, id + 100_000)).unwrap();
        }
        return;
    }
    match arguments.first().map(String::as_str) {
        Some("http") => return http::requests(&arguments[1..]),
        Some("sessions") => return http::sessions(&arguments[1..]),
        Some("streams") => return http::streams(&arguments[1..]),
        _ => {}
    }
    let (kind, depth, count) = (
        &arguments[0],
        arguments[1].parse::<usize>().unwrap(),
        arguments[2].parse::<usize>().unwrap(),
    );
    let command = &arguments[4..];
    let started = Instant::now();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut peer = Peer {
        child,
        input,
        output,
        buffer: vec![0; 1 << 21],
        asked: 0,
    };
    peer.input.write_all(INITIALIZE).unwrap();
    while peer.answers() == 0 {}
    let start = started.elapsed();
    peer.input.write_all(INITIALIZED).unwrap();
    let idle = peer.memory("VmRSS");

    let warm_up = (count / 10).max(depth);
    drive(&mut peer, kind, depth, warm_up);
    let (cpu, began) = (peer.cpu_nanos(), Instant::now());
    let mut latencies = drive(&mut peer, kind, depth, count);
    let (wall, cpu) = (began.elapsed(), peer.cpu_nanos() - cpu);
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    println!(
        "{:.0} {:.3} {:.1} {:.1} {} {} {}",
        count as f64 / wall.as_secs_f64(),
        cpu as f64 / count as f64 / 1e3,
        at(0.5),
        at(0.99),
        peer.memory("VmHWM"),
        start.as_micros(),
        idle,
    );
    // The end of its input ends a server, and lets a tracer around it write its summary.
    drop(peer.input);
    let _ = peer.child.wait();
}

/// Keeps `depth` requests on their way until `count` are answered; latencies in nanoseconds.
fn drive(peer: &mut Peer, kind: &str, depth: usize, count: usize) -> Vec<u64> {
    let template = request(kind, FIRST_ID);
    let digits = memchr::memmem::find(&template, b"100000").expect("the id of the request");
    let large = template.len() > 60_000;
    let mut sent = std::collections::VecDeque::new();
    let mut latencies = Vec::with_capacity(count);
    let mut batch = Vec::new();
    let (mut asked, mut answered, mut free) = (0, 0, depth);
    while answered < count {
        batch.clear();
        let now = Instant::now();
        while free > 0 && asked < count {
            // An id of its own for each: servers answer out of order, and one that is in flight
            // must not be used again.
            let start = batch.len() + digits;
            batch.extend_from_slice(&template);
            let id = (FIRST_ID + peer.asked % (1_000_000 - FIRST_ID)).to_string();
            batch[start..start + id.len()].copy_from_slice(id.as_bytes());
            peer.asked += 1;
            sent.push_back(now);
            asked += 1;
            free -= 1;
        }
        if large {
            // A pipe is smaller than the message: write from the side, read here.
            let input = &mut peer.input;
            let output = &mut peer.output;
            let buffer = &mut peer.buffer;
            let done = std::thread::scope(|scope| {
                let batch = &batch;
                scope.spawn(move || input.write_all(batch).unwrap());
                let mut done = 0;
                while done == 0 {
                    let count = output.read(buffer).unwrap();
                    done += memchr::memchr_iter(b'\n', &buffer[..count]).count();
                }
                done
            });
            answered += done;
            free += done;
            latencies.extend(
                (0..done).filter_map(|_| Some(sent.pop_front()?.elapsed().as_nanos() as u64)),
            );
            continue;
        }
        if !batch.is_empty() {
            peer.input.write_all(&batch).unwrap();
        }
        let done = peer.answers();
        answered += done;
        free += done;
        let now = Instant::now();
        latencies.extend(
            (0..done).filter_map(|_| Some(now.duration_since(sent.pop_front()?).as_nanos() as u64)),
        );
    }
    latencies
}
