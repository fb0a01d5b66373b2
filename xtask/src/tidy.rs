//! The invariants of the architecture, as far as a program can see them. The rest is kept by the
//! compiler and by clippy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::{Outcome, cargo, files_below, root};

/// Which crate may depend on which, besides the crates of others.
const ARROWS: &[(&str, &[&str])] = &[
    ("compere-proto", &[]),
    ("compere-macros", &[]),
    ("compere", &["compere-proto", "compere-macros"]),
    ("compere-servers", &["compere"]),
    ("compere-host", &["compere"]),
    ("compere-console", &["compere", "compere-host"]),
    (
        "compere-cli",
        &[
            "compere",
            "compere-console",
            "compere-host",
            "compere-servers",
        ],
    ),
    ("compere-testkit", &["compere", "compere-proto"]),
];

/// The state machine does no I/O, so it needs nothing that could.
const PROTO_DEPENDENCIES: &[&str] = &["base64", "memchr", "serde", "serde_json"];

/// The only files that compare revisions.
const MAY_COMPARE: &[&str] = &[
    "crates/proto/src/revision.rs",
    "crates/proto/src/method.rs",
    "crates/proto/src/connection/negotiate.rs",
    "crates/proto/src/wire/project.rs",
];

/// The light path: what `cargo add compere` brings, itself included.
const CRATES_MAX: usize = 95;

pub(crate) fn run() -> Outcome {
    let mut faults = Vec::new();
    arrows(&mut faults)?;
    crate_count(&mut faults)?;
    sources(&mut faults);
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("tidy found:\n  {}", faults.join("\n  ")))
}

fn arrows(faults: &mut Vec<String>) -> Outcome {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()
        .map_err(|error| error.to_string())?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let mut own: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        own.insert(
            name,
            dependencies
                .map(|dependency| {
                    let name = dependency["name"].as_str().unwrap_or_default().to_owned();
                    (name, dependency["kind"].is_null())
                })
                .collect(),
        );
    }
    for (name, allowed) in ARROWS {
        for (dependency, normal) in own.get(*name).into_iter().flatten() {
            if *normal && own.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    for (dependency, normal) in own.get("compere-proto").into_iter().flatten() {
        if *normal && !PROTO_DEPENDENCIES.contains(&dependency.as_str()) {
            faults.push(format!("compere-proto must not depend on {dependency}"));
        }
    }
    Ok(())
}

fn crate_count(faults: &mut Vec<String>) -> Outcome {
    let output = cargo()
        .args([
            "tree",
            "--package",
            "compere",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--locked",
        ])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect();
    println!("compere with default features: {} crates", crates.len());
    if crates.len() > CRATES_MAX || crates.is_empty() {
        faults.push(format!(
            "compere brings {} crates, allowed are {CRATES_MAX}",
            crates.len()
        ));
    }
    Ok(())
}

fn sources(faults: &mut Vec<String>) {
    let root = root();
    for path in files_below(&root, ".rs") {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let shown = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string();
        source(&shown, &text, faults);
    }
}

fn source(shown: &str, text: &str, faults: &mut Vec<String>) {
    if shown.starts_with("xtask/") {
        return;
    }
    let library = shown.starts_with("crates/")
        && shown.contains("/src/")
        && !shown.starts_with("crates/cli/")
        && !shown.starts_with("crates/testkit/");
    if !text.starts_with("//!") {
        faults.push(format!("{shown}: the file does not say what it is"));
    }
    if Path::new(shown)
        .file_name()
        .is_some_and(|name| name == "mod.rs")
    {
        faults.push(format!(
            "{shown}: folders have a file beside them, not mod.rs"
        ));
    }
    for (index, line) in text.lines().enumerate() {
        let at = format!("{shown}:{}", index + 1);
        let code = line.split("//").next().unwrap_or_default();
        // A bench waits for the port of a foreign peer, which tells nobody.
        let sleeps = code.contains("thread::sleep") && !shown.starts_with("bench/");
        if code.contains("#[ignore") || sleeps {
            faults.push(format!("{at}: no ignored tests, no sleeping"));
        }
        if !library {
            continue;
        }
        for word in [
            "std::env::var",
            "env::home_dir",
            "println!",
            "eprintln!",
            "unbounded",
        ] {
            if code.contains(word) {
                faults.push(format!("{at}: a library does not use {word}"));
            }
        }
        let compares = code.contains("Revision::V")
            && [" < ", " > ", " <= ", " >= "]
                .iter()
                .any(|sign| code.contains(sign));
        if compares && !MAY_COMPARE.contains(&shown) {
            faults.push(format!("{at}: compares revisions; ask RevisionRules"));
        }
        if shown.starts_with("crates/proto/")
            && [
                "std::fs",
                "std::net",
                "Instant::now",
                "SystemTime::now",
                "thread::spawn",
            ]
            .iter()
            .any(|word| code.contains(word))
        {
            faults.push(format!(
                "{at}: the state machine does no I/O and reads no clock"
            ));
        }
        if shown.starts_with("crates/servers/") && code.contains("compere_proto") {
            faults.push(format!(
                "{at}: the built-in servers use the public door only"
            ));
        }
    }
}
