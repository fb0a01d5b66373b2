//! Requirement rows against tests: every row of the catalogue has a state.
//!
//! A row is *tested* when its id stands in a test or transcript, at the line that would fail. The
//! other states are in `spec/coverage.md`, one line each: *by construction*, *by document*, *not
//! ours*, *next*, with the reason. The table at the end of that file is written by this program.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Outcome, files_below, root};

/// The rows that must be tested: fewer is a failure. Raised when more are.
const TESTED_FLOOR: usize = 140;

const STATES: [&str; 4] = ["by construction", "by document", "not ours", "next"];
const MARK: &str = "<!-- written by cargo xtask trace -->";

struct Row {
    level: String,
}

pub(crate) fn run(write: bool) -> Outcome {
    let rows = catalogue("2024-11-05")?;
    let tested = tested()?;
    let (stated, mut faults) = stated(&rows)?;
    for id in tested.keys() {
        if id.starts_with("A-") && !rows.contains_key(id) {
            faults.push(format!("{} names {id}, which is no row", tested[id]));
        }
    }
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut missing = Vec::new();
    for (id, row) in &rows {
        let state = if tested.contains_key(id) {
            if stated.contains_key(id) {
                faults.push(format!(
                    "{id} is tested; take its line out of spec/coverage.md"
                ));
            }
            "tested"
        } else if let Some(state) = stated.get(id) {
            state
        } else {
            missing.push(id.clone());
            "none"
        };
        *counts
            .entry(row.level.as_str())
            .or_default()
            .entry(state)
            .or_default() += 1;
    }
    if !missing.is_empty() {
        faults.push(format!("without a state: {}", missing.join(" ")));
    }
    let table = table(&counts);
    println!("{table}");
    let count = rows.keys().filter(|id| tested.contains_key(*id)).count();
    if count < TESTED_FLOOR {
        faults.push(format!(
            "{count} rows are tested, the floor is {TESTED_FLOOR}"
        ));
    }
    if write {
        write_table(&table)?;
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("trace found:\n  {}", faults.join("\n  ")))
}

/// The rows of a catalogue: `| A-X-01 | MUST | who | …`.
fn catalogue(revision: &str) -> Outcome<BTreeMap<String, Row>> {
    let path = root().join(format!("spec/{revision}.md"));
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let (id, level) = (cells.get(1)?, cells.get(2)?);
            is_id(id).then(|| {
                let level = level.trim_end_matches('°').to_owned();
                ((*id).to_owned(), Row { level })
            })
        })
        .collect())
}

fn is_id(word: &str) -> bool {
    let mut parts = word.split('-');
    parts.next() == Some("A")
        && parts
            .next()
            .is_some_and(|area| !area.is_empty() && area.bytes().all(|b| b.is_ascii_uppercase()))
        && parts
            .next()
            .is_some_and(|number| number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()))
        && parts.next().is_none()
}

/// Ids that stand in tests and transcripts, with one place each.
fn tested() -> Outcome<BTreeMap<String, String>> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut files = files_below(&root.join("tests"), ".rs");
    files.extend(files_below(&root.join("tests/transcripts"), ".txt"));
    files.extend(files_below(&root.join("tests/interop"), ".mjs"));
    files.extend(files_below(&root.join("tests/interop"), ".py"));
    for folder in ["proto", "compere", "servers", "cli"] {
        files.extend(files_below(
            &root.join("crates").join(folder).join("tests"),
            ".rs",
        ));
    }
    for file in files {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        for (index, line) in text.lines().enumerate() {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                if is_id(word) {
                    let place = file.strip_prefix(&root).unwrap_or(&file);
                    found
                        .entry(word.to_owned())
                        .or_insert_with(|| format!("{}:{}", place.display(), index + 1));
                }
            }
        }
    }
    Ok(found)
}

type Stated = (BTreeMap<String, &'static str>, Vec<String>);

/// The lines of `spec/coverage.md`: `- A-X-01 A-X-02: by document: reason`.
fn stated(rows: &BTreeMap<String, Row>) -> Outcome<Stated> {
    let path = root().join("spec/coverage.md");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut stated = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(entry) = line.strip_prefix("- A-") else {
            continue;
        };
        let entry = format!("A-{entry}");
        let mut parts = entry.splitn(3, ": ");
        let (ids, state, reason) = (parts.next(), parts.next(), parts.next());
        let known = STATES.iter().find(|known| state == Some(**known));
        let (Some(ids), Some(known), Some(_)) = (ids, known, reason) else {
            faults.push(format!(
                "spec/coverage.md:{}: ids: state: reason",
                index + 1
            ));
            continue;
        };
        for id in ids.split_whitespace() {
            if !rows.contains_key(id) {
                faults.push(format!("spec/coverage.md:{}: {id} is no row", index + 1));
            }
            if stated.insert(id.to_owned(), *known).is_some() {
                faults.push(format!(
                    "spec/coverage.md:{}: {id} has a state already",
                    index + 1
                ));
            }
        }
    }
    Ok((stated, faults))
}

fn table(counts: &BTreeMap<&str, BTreeMap<&str, usize>>) -> String {
    let mut columns: Vec<&str> = vec!["tested"];
    columns.extend(STATES);
    let used: BTreeSet<&str> = counts
        .values()
        .flat_map(|row| row.keys().copied())
        .collect();
    if used.contains("none") {
        columns.push("none");
    }
    let mut table = format!("| 2024-11-05 | {} | rows |\n", columns.join(" | "));
    table.push_str(&"|---".repeat(columns.len() + 2));
    table.push_str("|\n");
    for level in ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"] {
        let Some(row) = counts.get(level) else {
            continue;
        };
        let cells: Vec<String> = columns
            .iter()
            .map(|column| row.get(column).copied().unwrap_or_default().to_string())
            .collect();
        let sum: usize = row.values().sum();
        table.push_str(&format!("| {level} | {} | {sum} |\n", cells.join(" | ")));
    }
    table
}

fn write_table(table: &str) -> Outcome {
    let path = root().join("spec/coverage.md");
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let kept = text.split(MARK).next().unwrap_or_default().trim_end();
    std::fs::write(&path, format!("{kept}\n\n{MARK}\n\n{table}")).map_err(|error| error.to_string())
}
