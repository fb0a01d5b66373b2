//! The files server against someone who changes the tree under it: two threads swap directories,
//! files, symbolic links and hard links while every tool is called. Not one byte of what lies
//! outside of the directory may come out, and none may change. The same harness finds the hole in
//! a server that checks a path and opens it afterwards, so it would find ours.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use compere::Client;
use compere_servers::files::files;
use compere_tests::count;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

/// In the content and in the names of everything outside.
const CANARY: &str = "canary-7f3a91";
/// The size of the file outside, which would show in what is told of a file.
const CANARY_SIZE: usize = 54_321;
/// Calls on their way at once.
const AT_ONCE: usize = 32;

fn operations() -> usize {
    count("COMPERE_RACE_OPERATIONS", 1_000_000)
}

struct Arena {
    _folder: tempfile::TempDir,
    inside: PathBuf,
    outside: PathBuf,
    before: BTreeMap<PathBuf, Vec<u8>>,
}

impl Arena {
    fn new() -> Self {
        // In memory if possible: writes are synced, and a disk would be what is measured.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let path = folder.path().canonicalize().unwrap();
        let (inside, outside) = (path.join("inside"), path.join("outside"));
        let mut secret = format!("{CANARY} {CANARY} {CANARY}\n").into_bytes();
        secret.resize(CANARY_SIZE, b'.');
        for directory in [inside.join("real"), outside.join(CANARY)] {
            std::fs::create_dir_all(directory).unwrap();
        }
        for name in ["f", "secret"] {
            std::fs::write(outside.join(name), &secret).unwrap();
        }
        std::fs::write(outside.join(CANARY).join("f"), &secret).unwrap();
        // What is linked hard is inside, and may be read; it may not be written through.
        std::fs::write(outside.join("linked"), "linked\n").unwrap();
        std::fs::write(inside.join("real/f"), "one\ntwo\n").unwrap();
        std::fs::write(inside.join("file"), "one\ntwo\n").unwrap();
        symlink(&outside, inside.join("absolute")).unwrap();
        symlink("../outside", inside.join("relative")).unwrap();
        symlink("../outside/secret", inside.join("file-link")).unwrap();
        std::fs::hard_link(outside.join("linked"), inside.join("hard")).unwrap();
        let before = content(&outside);
        Self {
            _folder: folder,
            inside,
            outside,
            before,
        }
    }

    /// Swaps directories with links out, until told to stop.
    fn swap_directories(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            // Between the swaps the server has its turn.
            std::thread::yield_now();
            exchange(&self.inside, "real", "relative");
            exchange(&self.inside, "real", "relative");
            exchange(&self.inside, "real", "absolute");
            exchange(&self.inside, "absolute", "relative");
            exchange(&self.inside, "absolute", "real");
            exchange(&self.inside, "absolute", "relative");
        }
    }

    /// Swaps files with links out and with hard links of a file outside, until told to stop.
    fn swap_files(&self, stop: &AtomicBool) {
        let mut round = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            // Between the swaps the server has its turn.
            std::thread::yield_now();
            exchange(&self.inside, "file", "file-link");
            exchange(&self.inside, "file", "hard");
            exchange(&self.inside, "file-link", "hard");
            round += 1;
            if round.is_multiple_of(64) {
                // A write has put a file of its own in the place of the link.
                let _ = std::fs::remove_file(self.inside.join("hard"));
                let _ = std::fs::hard_link(self.outside.join("linked"), self.inside.join("hard"));
                let _ = std::fs::remove_file(self.inside.join("file-link"));
                let _ = symlink("../outside/secret", self.inside.join("file-link"));
            }
        }
    }

    fn assert_untouched(&self, who: &str) {
        assert!(
            content(&self.outside) == self.before,
            "{who} changed something outside"
        );
    }
}

fn exchange(folder: &Path, one: &str, other: &str) {
    let _ = renameat_with(
        CWD,
        folder.join(one),
        CWD,
        folder.join(other),
        RenameFlags::EXCHANGE,
    );
}

/// All files below, with their content.
fn content(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn leaks(text: &str) -> bool {
    text.contains(CANARY) || text.contains(&format!("size: {CANARY_SIZE}"))
}

/// The n-th call.
fn call(number: usize) -> (&'static str, Value) {
    const PLACES: [&str; 9] = [
        "real/f",
        "relative/f",
        "absolute/f",
        "file",
        "file-link",
        "hard",
        "real/secret",
        "relative/secret",
        "absolute/secret",
    ];
    const DIRECTORIES: [&str; 4] = ["real", "relative", "absolute", "."];
    let place = PLACES[number % PLACES.len()];
    let directory = DIRECTORIES[number % DIRECTORIES.len()];
    match (number / 36) % 16 {
        0..=2 => ("read_text_file", json!({"path": place})),
        3 => ("read_text_file", json!({"path": place, "tail": 3})),
        4 => ("read_multiple_files", json!({"paths": [place, "file"]})),
        5 => ("list_directory", json!({"path": directory})),
        6 => ("list_directory_with_sizes", json!({"path": directory})),
        7 => ("directory_tree", json!({"path": directory})),
        8 => ("search_files", json!({"path": directory, "pattern": "**"})),
        9 => ("get_file_info", json!({"path": place})),
        10..=12 => (
            "write_file",
            json!({"path": place, "content": "one\ntwo\n"}),
        ),
        13 => {
            let edits = json!([{"oldText": "one", "newText": "one"}, {"oldText": "two", "newText": "2\ntwo"}]);
            ("edit_file", json!({"path": place, "edits": edits}))
        }
        14 => {
            let made = format!("{directory}/made{}", number % 7);
            match number % 3 {
                0 => (
                    "move_file",
                    json!({"source": made, "destination": format!("{made}b")}),
                ),
                1 => (
                    "move_file",
                    json!({"source": format!("{made}b"), "destination": made}),
                ),
                _ => ("create_directory", json!({"path": made})),
            }
        }
        // An image is given as base64: read as text it must not hold the canary either.
        _ => ("read_media_file", json!({"path": place})),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_however_the_tree_changes() {
    let arena = Arena::new();
    let server = files([&arena.inside]).unwrap();
    let mut limits = compere::Limits::default();
    limits.calls_per_second = f64::MAX;
    limits.calls_burst = f64::MAX;
    let client = Client::connect(server.limits(limits)).await.unwrap();
    let canary_as_base64 = {
        use base64::Engine;
        // The text begins the file, so it begins the encoding.
        base64::engine::general_purpose::STANDARD.encode(&CANARY[..12])
    };
    let stop = AtomicBool::new(false);
    let (done, fine) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let operations = operations();
    std::thread::scope(|scope| {
        scope.spawn(|| arena.swap_directories(&stop));
        scope.spawn(|| arena.swap_files(&stop));
        let _stops = Stops(&stop);
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let worker = async || {
                    loop {
                        let number = done.fetch_add(1, Ordering::Relaxed);
                        if number >= operations {
                            break;
                        }
                        let (tool, arguments) = call(number);
                        let result = client.call(tool, &arguments).await.unwrap();
                        let text = serde_json::to_string(&result.content).unwrap();
                        assert!(
                            !leaks(&text) && !text.contains(&canary_as_base64),
                            "{tool} {arguments} gave {text}"
                        );
                        fine.fetch_add(usize::from(!result.failed()), Ordering::Relaxed);
                    }
                };
                futures_util::future::join_all((0..AT_ONCE).map(|_| worker())).await;
            });
        });
    });
    arena.assert_untouched("the files server");
    // The swaps leave enough for most calls to do something.
    let fine = fine.into_inner();
    assert!(
        fine * 4 > operations,
        "only {fine} of {operations} calls did anything"
    );
}

/// Ends the swapping even if an assertion fails.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Checks where a path leads, then opens it: what this test must be able to catch.
fn naive_read(inside: &Path, path: &str) -> Option<String> {
    let path = inside.join(path);
    let resolved = path.canonicalize().ok()?;
    if !resolved.starts_with(inside) {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

#[test]
fn the_harness_catches_a_check_before_the_open() {
    let arena = Arena::new();
    let stop = AtomicBool::new(false);
    let caught = std::thread::scope(|scope| {
        scope.spawn(|| arena.swap_directories(&stop));
        scope.spawn(|| arena.swap_files(&stop));
        let _stops = Stops(&stop);
        (0..operations()).any(|number| {
            let (_, arguments) = call(number);
            let path = arguments["path"].as_str().unwrap_or("real/f");
            naive_read(&arena.inside, path).is_some_and(|text| leaks(&text))
        })
    });
    assert!(caught, "a naive server was not caught");
}
