//! Requirement rows against tests: every row of the catalogue has a state.
//!
//! A row is *tested* when its id stands in a test or transcript, at the line that would fail. The
//! other states are in `spec/coverage.md`, one line each: *by construction*, *by document*, *not
//! ours*, *next*, *authorization* (none of which is spoken yet), with the reason. The table at the end of that file is written by this program.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Outcome, files_below, root};

/// The rows that must be tested: fewer is a failure. Raised when more are.
const TESTED_FLOOR: usize = 700;

const STATES: [&str; 5] = [
    "by construction",
    "by document",
    "not ours",
    "next",
    "authorization",
];
/// Of the MUST and MUST NOT rows of a revision, authorization aside, so many of a hundred are tested.
const TESTED_SHARE: usize = 80;
const MARK: &str = "<!-- written by cargo xtask trace -->";

/// The revisions whose rows are counted, each by those that it brought or changed, and the extensions.
const CATALOGUES: [&str; 6] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
    EXTENSIONS,
];
/// Nobody needs all of them: rows of those that are not spoken have a state, and that is all.
const EXTENSIONS: &str = "extensions";

struct Row {
    revision: &'static str,
    level: String,
}

/// How many rows of each level have each state.
type Counts<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

pub(crate) fn run(write: bool) -> Outcome {
    let mut rows = BTreeMap::new();
    for revision in CATALOGUES {
        rows.extend(catalogue(revision)?);
    }
    let tested = tested()?;
    let (stated, mut faults) = stated(&rows)?;
    for id in tested.keys() {
        if !rows.contains_key(id) {
            faults.push(format!("{} names {id}, which is no row", tested[id]));
        }
    }
    let mut counts: BTreeMap<&str, Counts<'_>> = BTreeMap::new();
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
            .entry(row.revision)
            .or_default()
            .entry(row.level.as_str())
            .or_default()
            .entry(state)
            .or_default() += 1;
    }
    if !missing.is_empty() {
        faults.push(format!("without a state: {}", missing.join(" ")));
    }
    for (revision, counts) in &counts {
        let (tested, of) = musts(counts);
        if *revision != EXTENSIONS && tested * 100 < of * TESTED_SHARE {
            faults.push(format!(
                "{revision}: {tested} of {of} MUST rows are tested, fewer than {TESTED_SHARE} %"
            ));
        }
    }
    let tables: Vec<String> = counts
        .iter()
        .map(|(revision, counts)| table(revision, counts))
        .collect();
    let table = tables.join("\n");
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
fn catalogue(revision: &'static str) -> Outcome<BTreeMap<String, Row>> {
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
                ((*id).to_owned(), Row { revision, level })
            })
        })
        .collect())
}

/// `A-LIFE-01`, or `D-001` where rows are numbered through.
fn is_id(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match parts[..] {
        ["A" | "B" | "C", area, number] => {
            !area.is_empty()
                && area.bytes().all(|byte| byte.is_ascii_uppercase())
                && digits(number, 2)
        }
        ["D" | "E" | "X", number] => digits(number, 3),
        _ => false,
    }
}

/// `X-01..09` as the ids that it stands for; anything else as itself.
fn spread(word: &str) -> Vec<String> {
    let Some((first, last)) = word.split_once("..") else {
        return vec![word.to_owned()];
    };
    let Some((area, from)) = first.rsplit_once('-') else {
        return vec![word.to_owned()];
    };
    match (from.parse::<usize>(), last.parse::<usize>()) {
        (Ok(begin), Ok(end)) => (begin..=end)
            .map(|number| format!("{area}-{number:0width$}", width = from.len()))
            .collect(),
        _ => vec![word.to_owned()],
    }
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
        let entry = line.strip_prefix("- ").unwrap_or_default();
        let first = entry.split([' ', ':']).next().unwrap_or_default();
        if !spread(first).iter().any(|id| is_id(id)) {
            continue;
        }
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
        for id in ids.split_whitespace().flat_map(spread) {
            if !rows.contains_key(&id) {
                faults.push(format!("spec/coverage.md:{}: {id} is no row", index + 1));
            }
            if stated.insert(id.clone(), *known).is_some() {
                faults.push(format!(
                    "spec/coverage.md:{}: {id} has a state already",
                    index + 1
                ));
            }
        }
    }
    Ok((stated, faults))
}

fn table(revision: &str, counts: &Counts<'_>) -> String {
    let mut columns: Vec<&str> = vec!["tested"];
    columns.extend(STATES);
    let used: BTreeSet<&str> = counts
        .values()
        .flat_map(|row| row.keys().copied())
        .collect();
    if used.contains("none") {
        columns.push("none");
    }
    let mut table = format!("| {revision} | {} | rows |\n", columns.join(" | "));
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
    let (tested, of) = musts(counts);
    table.push_str(&format!(
        "\n{tested} of {of} MUST and MUST NOT rows are tested, authorization aside.\n"
    ));
    table
}

/// How many of the rows that must hold are tested, and how many there are, authorization aside.
fn musts(counts: &Counts<'_>) -> (usize, usize) {
    let mut sums = (0, 0);
    for row in ["MUST", "MUST NOT"]
        .iter()
        .filter_map(|level| counts.get(level))
    {
        let count = |state: &str| row.get(state).copied().unwrap_or_default();
        sums.0 += count("tested");
        sums.1 += row.values().sum::<usize>() - count("authorization");
    }
    sums
}

fn write_table(table: &str) -> Outcome {
    let path = root().join("spec/coverage.md");
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let kept = text.split(MARK).next().unwrap_or_default().trim_end();
    std::fs::write(&path, format!("{kept}\n\n{MARK}\n\n{table}")).map_err(|error| error.to_string())
}
