//! A server that is killed at any moment under load: each call has one outcome, and nothing is left
//! behind, neither processes nor descriptors nor memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use compere::prelude::*;
use compere::proto::Error as ProtocolError;
use compere::{Client, Command, ErrorKind};
use compere_tests::count;
use rustix::process::{Pid, Signal, kill_process};

/// Calls on their way at once.
const AT_ONCE: usize = 16;
/// Calls of one round, unless the server is killed first.
const CALLS: usize = 64;
/// What the process may grow by, in KiB: allocators keep some of what they had.
const GROWTH: u64 = 16 * 1024;
/// Rounds before memory and descriptors are counted for the first time.
const WARM_UP: usize = 50;

/// Pseudo-random and the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The processes that are ours.
fn children() -> Vec<Pid> {
    let ours = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let id: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may hold anything; the fields follow its last parenthesis.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            (parent == ours).then(|| Pid::from_raw(id)).flatten()
        })
        .collect()
}

fn descriptors() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|path| !path.starts_with("/proc"))
        .collect();
    open.sort();
    open
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[derive(Default)]
struct Outcomes {
    answered: AtomicUsize,
    lost: AtomicUsize,
}

async fn round(chance: &mut Chance, outcomes: &Outcomes) {
    let client = Client::connect(Command::new(env!("CARGO_BIN_EXE_fixture-server")))
        .await
        .unwrap();
    let server = children();
    assert_eq!(server.len(), 1, "one server at a time");
    // After so many answers, and so many turns of the scheduler: sometimes before the first call,
    // sometimes after the last.
    let answers = usize::try_from(chance.below(CALLS as u64 + 8)).unwrap();
    let turns = chance.below(40);
    let begun = AtomicUsize::new(0);
    let ended = AtomicUsize::new(0);
    let killing = async {
        while ended.load(Ordering::Relaxed) < answers.min(CALLS) {
            tokio::task::yield_now().await;
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        kill_process(server[0], Signal::KILL).unwrap();
    };
    let caller = async || {
        while begun.fetch_add(1, Ordering::Relaxed) < CALLS {
            let number = ended.load(Ordering::Relaxed);
            let call = client.call("add", json!({"a": number, "b": 1}));
            match call.await {
                Ok(output) => {
                    let sum: f64 = output.data().unwrap();
                    #[allow(clippy::cast_precision_loss)]
                    let expected = number as f64 + 1.0;
                    assert!((sum - expected).abs() < 0.5, "the answer of another call");
                    outcomes.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let lost = matches!(
                        error.kind(),
                        ErrorKind::ServerLost(_) | ErrorKind::Protocol(ProtocolError::Closed)
                    );
                    assert!(lost, "{error:?}");
                    outcomes.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let calling = futures_util::future::join_all((0..AT_ONCE).map(|_| caller()));
    let all = async { tokio::join!(killing, calling) };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .expect("every call has an outcome");
    assert_eq!(ended.into_inner(), CALLS);
    // It was killed: closing says so, and waits until everything of it is gone.
    let _ = client.close().await;
    assert!(children().is_empty(), "a process is left");
}

#[tokio::test]
async fn killed_at_any_moment_nothing_is_lost_or_left() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let outcomes = Outcomes::default();
    let rounds = count("COMPERE_KILLS", 1000);
    let mut before = None;
    for number in 0..rounds {
        round(&mut chance, &outcomes).await;
        if number == WARM_UP.min(rounds - 1) {
            before = Some((descriptors(), memory()));
        }
    }
    let (open, used) = before.unwrap();
    assert_eq!(descriptors(), open);
    let now = memory();
    assert!(now < used + GROWTH, "{used} KiB became {now} KiB");
    let (answered, lost) = (outcomes.answered.into_inner(), outcomes.lost.into_inner());
    assert_eq!(answered + lost, rounds * CALLS);
    // Both happen: the kills are neither all too early nor all too late.
    assert!(answered > 0 && lost > 0, "{answered} answered, {lost} lost");
}
