//! `cargo xtask fuzz --smoke`: every fuzz target for a while.

use std::process::Command;

use crate::{Outcome, root, succeeds};

const SECONDS: u32 = 20;

pub(crate) fn run() -> Outcome {
    if !succeeds(Command::new("cargo").args(["fuzz", "--version"])) {
        println!("cargo fuzz is not installed: nothing was fuzzed");
        return Ok(());
    }
    for target in ["message", "lines", "model", "template", "path", "terminal"] {
        self::run_target(target)?;
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
