//! `cargo xtask dist`: the program that is measured and shipped, in `target/dist/compere`.
//!
//! It is large, and a server of it uses little of that. The system brings in what lies around whatever is
//! used, so what a start uses is laid side by side: the program is built, its start is traced, and it is
//! linked again with what was seen first. Without `valgrind` it is built as it comes. The order is for LLD,
//! which Rust brings along on x86-64 Linux.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Outcome, cargo, root, run};

/// What a server is asked while its start is traced: what every client asks.
const ASKED: [&str; 5] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"dist","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
    r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}"#,
    r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#,
];

pub(crate) fn build() -> Outcome {
    let folder = root().join("target/dist-order");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let order = folder.join("symbols.txt");
    let has_tracer = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !order.exists() {
        write(&order, "")?;
    }
    linked(&order)?;
    if !has_tracer {
        println!("valgrind is not installed: the program is laid out as it comes");
        return Ok(());
    }
    let seen = traced(&folder)?;
    let before = std::fs::read_to_string(&order).unwrap_or_default();
    // In which order they lie makes no difference.
    let set = |names: &str| names.lines().map(str::to_owned).collect::<HashSet<_>>();
    if set(&before) == set(&seen) {
        return Ok(());
    }
    write(&order, &seen)?;
    println!(
        "linking again, {} functions side by side",
        seen.lines().count()
    );
    // What it is linked with is no input that cargo knows of.
    let program = root().join("target/dist/compere");
    std::fs::remove_file(&program).map_err(|error| error.to_string())?;
    let main = root().join("crates/cli/src/main.rs");
    let file = std::fs::File::options().append(true).open(&main);
    file.and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .map_err(|error| format!("{}: {error}", main.display()))?;
    linked(&order)
}

fn linked(order: &Path) -> Outcome {
    let first = format!("-Clink-arg=-Wl,--symbol-ordering-file={}", order.display());
    run(cargo()
        .args(["rustc", "--profile", "dist", "--package", "compere-cli"])
        .args(["--bin", "compere", "--"])
        // What was gone by the time of linking, because it stands within something else, is no fault.
        .args([&first, "-Clink-arg=-Wl,--no-warn-symbol-ordering"]))
}

/// The functions that a start of a server uses, in the order in which they are first seen.
fn traced(folder: &Path) -> Result<String, String> {
    let trace = folder.join("trace.out");
    let words = |error: std::io::Error| error.to_string();
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--demangle=no"])
        .arg(format!("--callgrind-out-file={}", trace.display()))
        .arg(root().join("target/dist/compere"))
        .args(["serve", "everything"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(words)?;
    if let Some(mut input) = child.stdin.take() {
        for line in ASKED {
            writeln!(input, "{line}").map_err(words)?;
        }
    }
    child.wait().map_err(words)?;
    let text = std::fs::read(&trace).map_err(words)?;
    let text = String::from_utf8_lossy(&text);
    let mut seen = HashSet::new();
    let mut names = String::new();
    for line in text.lines() {
        let named = line
            .strip_prefix("fn=")
            .or_else(|| line.strip_prefix("cfn="));
        // A name stands at its first use; later ones give its number alone.
        let Some((_, name)) = named.and_then(|rest| rest.split_once(") ")) else {
            continue;
        };
        // What calls itself is numbered.
        let name = name.split('\'').next().unwrap_or(name);
        if !name.starts_with(['0', '(']) && seen.insert(name.to_owned()) {
            names.push_str(name);
            names.push('\n');
        }
    }
    Ok(names)
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
