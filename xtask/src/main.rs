//! `cargo xtask`: everything that is done to this workspace besides building it.

mod bench;
mod bench_host;
mod bench_http;
mod conformance;
mod dist;
mod fuzz;
mod peers;
mod tidy;
mod trace;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What went wrong, in words.
pub(crate) type Outcome<T = ()> = Result<T, String>;

const USAGE: &str = "\
cargo xtask COMMAND

  test              everything that must hold: peers, tidy, trace, lints, all tests
  tidy              the invariants of ARCHITECTURE.md
  trace [--write]   requirement rows against the tests; --write renews the table
  conformance       the official conformance suite against our server and client
  rmcp              beside the official Rust SDK, old and new, in all directions
                    (tests/rmcp is built for this only)
  peers             fetch the schemas and the foreign peers into target/
  bench [ROUNDS] [stdio|http|host]
                    measure beside the peers (bench/ is built for this only)
  fuzz --smoke      every fuzz target for a while, where the toolchain is present
  dist              the program that is measured and shipped
  soak              the large counts";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("test") => test(),
        Some("tidy") => tidy::run(),
        Some("trace") => trace::run(rest.iter().any(|flag| flag == "--write")),
        Some("conformance") => peers::fetch().and_then(|()| conformance::run()),
        Some("rmcp") => rmcp(),
        Some("peers") => peers::fetch(),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(),
        Some("dist") => dist::build(),
        Some("soak") => soak(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> Outcome {
    step("tidy");
    tidy::run()?;
    step("trace");
    trace::run(false)?;
    step("peers");
    peers::fetch()?;
    step("lints");
    if succeeds(Command::new("cargo").args(["fmt", "--version"])) {
        run(cargo().args(["fmt", "--all", "--check"]))?;
    } else {
        println!("cargo fmt is not installed: the format was not checked");
    }
    if succeeds(Command::new("cargo").args(["clippy", "--version"])) {
        // Other compilers have other lints: they decide in CI, where the compiler is known.
        let strict: &[&str] = match std::env::var_os("CI") {
            Some(_) => &["--", "-D", "warnings"],
            None => &[],
        };
        run(cargo()
            .args(["clippy", "--workspace", "--all-targets", "--quiet"])
            .args(strict))?;
        // And as most people have it, without HTTP.
        run(cargo()
            .args(["clippy", "--package", "compere", "--quiet"])
            .args(strict))?;
    } else {
        println!("cargo clippy is not installed: the lints were not run");
    }
    step("tests");
    // The programs that the tests start, built first so that each is there.
    run(cargo().args(["build", "--quiet", "--package", "compere-cli"]))?;
    counted(
        cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .env("COMPERE_REQUIRE_SCHEMAS", "1")
            .env("RUST_BACKTRACE", "0"),
    )?;
    step("conformance");
    conformance::run()
}

/// Runs the tests, shows what they print, and closes with their sum.
fn counted(command: &mut Command) -> Outcome {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (mut passed, mut failed) = (0, 0);
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |word: &str| -> usize {
                let before = counts.split(word).next().unwrap_or_default().trim();
                before
                    .rsplit(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or_default()
            };
            passed += count("passed");
            failed += count("failed");
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    println!("{passed} passed, {failed} failed");
    if status.success() && passed > 0 {
        return Ok(());
    }
    Err(format!("the tests failed: {status}"))
}

fn soak() -> Outcome {
    // The programs that the tests start.
    run(cargo().args(["build", "--release", "--package", "compere-cli"]))?;
    run(cargo()
        .args(["test", "--release", "--workspace"])
        .env("PROPTEST_CASES", "20000")
        .env("COMPERE_AUDIT_BITS", "1000000")
        .env("COMPERE_AUDIT_PLACES", "1000")
        .env("COMPERE_KILLS", "10000")
        .env("COMPERE_HISTORIES", "1000000")
        .env("COMPERE_HOST_KILLS", "1000")
        .env("COMPERE_ROWS", "10000")
        .env("COMPERE_RACE_OPERATIONS", "10000000")
        .env("COMPERE_REQUIRE_SCHEMAS", "1"))
}

fn rmcp() -> Outcome {
    run(cargo().args(["build", "--quiet", "--package", "compere-cli"]))?;
    let target = root().join("target/rmcp");
    run(cargo()
        .args(["build", "--quiet", "--locked"])
        .current_dir(root().join("tests/rmcp"))
        .env("CARGO_TARGET_DIR", &target))?;
    let programs = target.join("debug");
    run(Command::new(programs.join("rmcp-check"))
        .arg(&programs)
        .arg(root().join("target/debug/compere")))
}

fn step(name: &str) {
    println!("== {name}");
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs us, in the root.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Runs a command to its end; a failure names it.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} failed: {status}")),
        Err(error) => Err(format!("{shown} cannot be run: {error}")),
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// All files below a folder with this ending, sorted.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
