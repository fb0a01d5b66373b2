//! Plays every transcript over every transport.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use compere::Revision;
use compere_testkit::{fixture, schema, transcript};

/// The cases of one folder: those of a revision, or those of a server that speaks all of them.
fn cases(folder: &str) -> Vec<transcript::Case> {
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(transcripts.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let mut cases = transcript::parse(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for case in &mut cases {
                case.title = format!("{name}: {}", case.title);
            }
            cases
        })
        .collect()
}

fn report(failures: &[String], count: usize) {
    assert!(
        failures.is_empty(),
        "{} of {count} transcripts failed:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
    assert!(count > 0, "no transcripts found");
}

/// When the whole test suite runs, a missing schema is a failure and not a weaker test.
fn require_schemas() {
    if std::env::var_os("COMPERE_REQUIRE_SCHEMAS").is_some() {
        for revision in Revision::ALL {
            assert!(
                schema::SchemaCheck::load(revision).is_some(),
                "the schema of {revision} is not in {}",
                schema::directory().display()
            );
        }
    }
}

// E-097 E-098
// A-CUST-02: the same transcripts hold over a transport that is no stdio.
async fn play_in_memory(folder: &str, revisions: &[Revision]) {
    require_schemas();
    let cases = cases(folder);
    let mut failures = Vec::new();
    for case in &cases {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = fixture::server(revisions).start().unwrap();
        let serving = tokio::spawn(async move { server.serve(theirs).await });
        let (reader, writer) = tokio::io::split(ours);
        if let Err(failure) = transcript::play(case, revisions, reader, writer).await {
            failures.push(failure);
        }
        serving.abort();
    }
    report(&failures, cases.len());
}

async fn play_over_stdio(folder: &str, revisions: &[Revision]) {
    let cases = cases(folder);
    let mut failures = Vec::new();
    let mut played = 0;
    // Real time: what needs an hour is played in memory only.
    for case in cases.iter().filter(|case| !case.needs_clock()) {
        let mut server = tokio::process::Command::new(env!("CARGO_BIN_EXE_fixture-server"))
            .arg(match revisions {
                [one] => one.as_str(),
                _ => "all",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let reader = server.stdout.take().unwrap();
        let writer = server.stdin.take().unwrap();
        if let Err(failure) = transcript::play(case, revisions, reader, writer).await {
            failures.push(failure);
        }
        played += 1;
    }
    report(&failures, played);
}

#[tokio::test(start_paused = true)]
async fn transcripts_of_2024_11_05_in_memory() {
    play_in_memory("2024-11-05", &[Revision::V2024_11_05]).await;
}

#[tokio::test]
async fn transcripts_of_2024_11_05_over_stdio() {
    play_over_stdio("2024-11-05", &[Revision::V2024_11_05]).await;
}

#[tokio::test(start_paused = true)]
async fn transcripts_of_2025_03_26_in_memory() {
    play_in_memory("2025-03-26", &[Revision::V2025_03_26]).await;
}

#[tokio::test]
async fn transcripts_of_2025_03_26_over_stdio() {
    play_over_stdio("2025-03-26", &[Revision::V2025_03_26]).await;
}

#[tokio::test(start_paused = true)]
async fn transcripts_of_2026_07_28_in_memory() {
    play_in_memory("2026-07-28", &[Revision::V2026_07_28]).await;
}

#[tokio::test]
async fn transcripts_of_2026_07_28_over_stdio() {
    play_over_stdio("2026-07-28", &[Revision::V2026_07_28]).await;
}

#[tokio::test(start_paused = true)]
async fn transcripts_of_both_eras_in_memory() {
    play_in_memory("both", &Revision::ALL).await;
}

#[tokio::test]
async fn transcripts_of_both_eras_over_stdio() {
    play_over_stdio("both", &Revision::ALL).await;
}
