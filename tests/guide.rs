//! The page on the command line does what it says: each of its commands is run, and what it prints is
//! compared. `…` stands for anything; alone on a line, for any lines.

use std::path::Path;
use std::process::{Command, Stdio};

/// The commands of a page, each with the lines that follow it.
fn commands(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_owned(), Vec::new())),
                (None, Some((_, expected))) => expected.push(line.to_owned()),
                (None, None) => panic!("{line:?} follows no command"),
            },
            (false, _) => {}
        }
    }
    found
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    false
}

fn fits(expected: &[String], lines: &[&str]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => {
            (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..]))
        }
        (Some((first, expected)), Some((line, lines))) => {
            line_fits(first, line) && fits(expected, lines)
        }
        _ => false,
    }
}

#[test]
fn every_command_of_the_page_says_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.md"), "# Notes\nbuy milk\n").unwrap();
    let compere = compere_tests::compere();
    let programs = compere.parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let commands = commands(include_str!("../docs/guides/command-line.md"));
    assert!(commands.len() > 20);
    for (command, expected) in commands {
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {command}; }} 2>&1")])
            .current_dir(folder.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("XDG_CACHE_HOME", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            fits(&expected, &lines),
            "$ {command}\n{said}\nexpected:\n{}",
            expected.join("\n")
        );
    }
}

/// The lines of the pieces of Rust of a page.
fn rust(page: &str) -> Vec<Vec<&str>> {
    page.split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .map(|block| {
            block
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect()
        })
        .collect()
}

/// Without what a formatter may change: white space, and commas at the ends of lines.
fn plain(code: &str) -> String {
    code.chars()
        .filter(|letter| !letter.is_whitespace() && *letter != ',')
        .collect()
}

#[test]
fn the_rust_of_the_pages_is_what_is_compiled_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for (page, source) in [
        ("README.md", "readme"),
        ("docs/guides/first-server.md", "first_server"),
        ("docs/guides/first-client.md", "first_client"),
        ("docs/guides/handlers.md", "handlers"),
        ("docs/guides/eras.md", "eras"),
        ("docs/guides/http.md", "http"),
        ("docs/guides/errors.md", "errors"),
        ("docs/reference/limits.md", "limits"),
    ] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let source = root.join(format!("examples/guide/{source}.rs"));
        let source = std::fs::read_to_string(source).unwrap();
        let compiled = plain(&source);
        let mut compiled = compiled.as_str();
        for block in rust(&text) {
            count += 1;
            for line in block {
                // Lines that a page need not show may stand between, nothing else.
                let wanted = plain(line);
                let at = compiled.find(&wanted);
                let at = at.unwrap_or_else(|| panic!("{page}: {line:?} is not compiled"));
                compiled = &compiled[at + wanted.len()..];
            }
        }
    }
    assert!(count >= 12, "only {count} pieces of Rust were found");
}

#[test]
fn the_page_of_limits_names_each_of_them() {
    let page = include_str!("../docs/reference/limits.md");
    let source = include_str!("../crates/proto/src/limits.rs");
    let fields = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' '));
    let mut count = 0;
    for field in fields {
        count += 1;
        assert!(
            page.contains(&format!("`{field}`")),
            "{field} is not in docs/reference/limits.md"
        );
    }
    assert!(count > 25, "only {count} limits were found");
}
