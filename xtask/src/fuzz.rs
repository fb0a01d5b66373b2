//! `cargo xtask fuzz --smoke`: every fuzz target for a while.

use std::process::Command;

use crate::{Outcome, root, succeeds};

const SECONDS: u32 = 20;

pub(crate) fn run() -> Outcome {
    if !succeeds(Command::new("cargo").args(["fuzz", "--version"])) {
        println!("cargo fuzz is not installed: nothing was fuzzed");
        return Ok(());
    }
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut targets: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    targets.sort();
    for target in targets.iter().filter_map(|path| path.file_stem()?.to_str()) {
        run_target(target)?;
    }
    Ok(())
}

fn run_target(target: &str) -> Outcome {
    crate::run(
        Command::new("cargo")
            .current_dir(root())
            .args([
                "+nightly",
                "fuzz",
                "run",
                "--fuzz-dir",
                "fuzz",
                target,
                "--",
            ])
            .arg(format!("-max_total_time={SECONDS}")),
    )
}
