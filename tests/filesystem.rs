//! The files server beside the reference filesystem server: the same calls on the same tree, both
//! answers compared. Where ours means to differ, the row says how and why.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use compere::{Client, Command};
use compere_servers::files::Files;
use serde_json::{Value, json};

const REFERENCE: &str =
    "target/peers/npm-servers/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";

/// How two answers compare.
#[derive(Clone, Copy)]
enum Expect {
    /// Both succeed with the same text, or both fail; the tree is the same afterwards.
    Same,
    /// Both succeed with the same lines; the order of a listing is each one's own.
    SameLines,
    /// Both succeed; times are written differently, and say the same.
    SameButTimes,
    /// Ours means to differ: what ours says, and why.
    Differs(&'static str, &'static str),
    /// Both say the same and mean something else; why.
    Means(&'static str),
}
use Expect::{Differs, Means, Same, SameButTimes, SameLines};

/// `$` in the arguments stands for the directory.
fn calls() -> Vec<(&'static str, Value, Expect)> {
    let mut calls = vec![
        ("list_allowed_directories", json!({}), Same),
        // Reading.
        ("read_file", json!({"path": "$/a.txt"}), Same),
        ("read_text_file", json!({"path": "$/a.txt"}), Same),
        ("read_text_file", json!({"path": "a.txt"}), Same),
        ("read_text_file", json!({"path": "$/sub/../a.txt"}), Same),
        ("read_text_file", json!({"path": "$/./sub//b.md"}), Same),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": 2}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "tail": 2}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": 0}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "tail": 0}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": 100}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "tail": 100}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": 1.5}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "tail": 1.5}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": -1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "tail": -1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/a.txt", "head": 1, "tail": 1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/lines.txt", "head": 2}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/lines.txt", "head": 9}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/lines.txt", "tail": 1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/lines.txt", "tail": 2}),
            Same,
        ),
        ("read_text_file", json!({"path": "$/crlf.txt"}), Same),
        (
            "read_text_file",
            json!({"path": "$/crlf.txt", "head": 1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/crlf.txt", "tail": 1}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/crlf.txt", "tail": 2}),
            Differs(
                "y\r\n",
                "the bytes of the file are shown as they are, from its end as from its start",
            ),
        ),
        ("read_text_file", json!({"path": "$/empty.txt"}), Same),
        (
            "read_text_file",
            json!({"path": "$/empty.txt", "head": 3}),
            Same,
        ),
        (
            "read_text_file",
            json!({"path": "$/empty.txt", "tail": 3}),
            Same,
        ),
        ("read_text_file", json!({"path": "$/bytes.bin"}), Same),
        ("read_text_file", json!({"path": "$/link"}), Same),
        ("read_text_file", json!({"path": "$/turn/turn/a.txt"}), Same),
        (
            "read_text_file",
            json!({"path": "$/absolute"}),
            Differs(
                "error",
                "an absolute link is resolved from the root of the file system, which lies outside of the directory's handle",
            ),
        ),
        ("read_text_file", json!({"path": "$/dangling"}), Same),
        ("read_text_file", json!({"path": "$/none"}), Same),
        ("read_text_file", json!({"path": "$/sub"}), Same),
        ("read_text_file", json!({"path": "$/outside"}), Same),
        ("read_text_file", json!({"path": "/etc/passwd"}), Same),
        (
            "read_text_file",
            json!({"path": "$/../../../../etc/passwd"}),
            Same,
        ),
        ("read_text_file", json!({"path": ""}), Same),
        ("read_text_file", json!({}), Same),
        ("read_text_file", json!({"path": 7}), Same),
        ("read_media_file", json!({"path": "$/p.png"}), Same),
        ("read_media_file", json!({"path": "$/s.WAV"}), Same),
        ("read_media_file", json!({"path": "$/bytes.bin"}), Same),
        ("read_media_file", json!({"path": "$/a.txt"}), Same),
        ("read_media_file", json!({"path": "$/none"}), Same),
        ("read_media_file", json!({"path": "$/outside"}), Same),
        (
            "read_multiple_files",
            json!({"paths": ["$/a.txt", "$/sub/b.md"]}),
            Same,
        ),
        ("read_multiple_files", json!({"paths": []}), Same),
        (
            "read_multiple_files",
            json!({"paths": ["$/a.txt", "$/none", "$/sub/b.md"]}),
            Differs(
                "$/a.txt:\none\ntwo\nthree\nfour\n\n---\n$/none: Error - There is no $/none.\n---\n$/sub/b.md:\n# b\n",
                "the same form; errors are in words",
            ),
        ),
        // Listing.
        ("list_directory", json!({"path": "$"}), SameLines),
        ("list_directory", json!({"path": "$/void"}), Same),
        ("list_directory", json!({"path": "$/turn/sub"}), SameLines),
        ("list_directory", json!({"path": "$/a.txt"}), Same),
        ("list_directory", json!({"path": "$/none"}), Same),
        ("list_directory", json!({"path": "/"}), Same),
        (
            "list_directory_with_sizes",
            json!({"path": "$/sub"}),
            SameLines,
        ),
        (
            "list_directory_with_sizes",
            json!({"path": "$/sized"}),
            SameLines,
        ),
        (
            "list_directory_with_sizes",
            json!({"path": "$/sized", "sortBy": "name"}),
            Same,
        ),
        (
            "list_directory_with_sizes",
            json!({"path": "$/sized", "sortBy": "size"}),
            SameLines,
        ),
        (
            "list_directory_with_sizes",
            json!({"path": "$/sized", "sortBy": "age"}),
            Same,
        ),
        ("list_directory_with_sizes", json!({"path": "$/void"}), Same),
        ("list_directory_with_sizes", json!({"path": "$/none"}), Same),
        ("directory_tree", json!({"path": "$"}), SameLines),
        ("directory_tree", json!({"path": "$/sub"}), Same),
        ("directory_tree", json!({"path": "$/void"}), Same),
        ("directory_tree", json!({"path": "$/a.txt"}), Same),
        ("directory_tree", json!({"path": "$/none"}), Same),
        ("get_file_info", json!({"path": "$/a.txt"}), SameButTimes),
        ("get_file_info", json!({"path": "$/sub"}), SameButTimes),
        ("get_file_info", json!({"path": "$/link"}), SameButTimes),
        ("get_file_info", json!({"path": "$/none"}), Same),
        ("get_file_info", json!({"path": "$/outside"}), Same),
    ];
    for exclude in [
        "*.txt", "b.md", "sub/*", "sub/**", "deep/", "deep", "sub", "**/deep", "**/*.md", "?.txt",
        "[ab]*",
    ] {
        let arguments = json!({"path": "$", "excludePatterns": [exclude]});
        calls.push(("directory_tree", arguments, SameLines));
    }
    for (pattern, exclude) in [
        ("*.txt", None),
        ("**/*.txt", None),
        ("**", None),
        ("**/*", None),
        ("*", None),
        ("sub/*", None),
        ("sub", None),
        ("*.{txt,md}", None),
        ("*.TXT", None),
        (".h*", None),
        ("!a.txt", None),
        ("./a.txt", None),
        ("nothing", None),
        ("**/*", Some("sub")),
        ("**/*", Some("sub/**")),
        ("**/*", Some("*.txt")),
        ("**/*", Some("s*")),
        ("**/*", Some("**/deep/**")),
        ("**/*.md", Some("**/b.md")),
    ] {
        let exclude: Vec<&str> = exclude.into_iter().collect();
        let arguments = json!({"path": "$", "pattern": pattern, "excludePatterns": exclude});
        calls.push(("search_files", arguments, SameLines));
    }
    calls.extend([
        ("search_files", json!({"path": "$/sub", "pattern": "*"}), SameLines),
        ("search_files", json!({"path": "$/none", "pattern": "*"}), Same),
        ("search_files", json!({"path": "$/a.txt", "pattern": "*"}), Same),
        (
            "search_files",
            json!({"path": "$", "pattern": "[a"}),
            Differs("error", "a pattern that cannot match anything is named instead of finding nothing"),
        ),
        // Writing.
        ("write_file", json!({"path": "$/new.txt", "content": "héllo\n"}), Same),
        ("write_file", json!({"path": "$/new.txt", "content": ""}), Same),
        ("write_file", json!({"path": "relative.txt", "content": "x"}), Same),
        ("write_file", json!({"path": "$/secret.txt", "content": "kept closed"}), Same),
        ("write_file", json!({"path": "$/link", "content": "through the link\n"}), Same),
        ("write_file", json!({"path": "$/no/dir.txt", "content": "x"}), Same),
        ("write_file", json!({"path": "$/sub", "content": "x"}), Same),
        ("write_file", json!({"path": "$/outside", "content": "x"}), Same),
        ("write_file", json!({"path": "$/dangling", "content": "x"}), Same),
        ("write_file", json!({"path": "/etc/compere", "content": "x"}), Same),
        ("write_file", json!({"path": "$"}), Same),
        // Editing.
        ("edit_file", edit("$/e.txt", &[("beta", "BETA")], true), Same),
        ("edit_file", edit("$/e.txt", &[("beta", "BETA")], false), Same),
        ("edit_file", edit("$/e.txt", &[("nowhere", "x")], false), Same),
        ("edit_file", edit("$/e.txt", &[("gamma\ndelta", "G\nD")], false), Same),
        ("edit_file", edit("$/e.txt", &[("G\nD\nepsilon", "g\nd\ne")], false), Same),
        ("edit_file", edit("$/e.txt", &[("eta", "$& $1")], false), Same),
        ("edit_file", edit("$/e.txt", &[("alpha", "1"), ("kappa", "2\n3")], false), Same),
        ("edit_file", edit("$/e.txt", &[("1", "one"), ("missing", "x")], false), Same),
        ("edit_file", edit("$/e.txt", &[], false), Same),
        ("edit_file", edit("$/e.txt", &[("", "top")], false), Same),
        ("edit_file", edit("$/fence.txt", &[("c", "d")], false), Same),
        ("edit_file", edit("$/none", &[("a", "b")], false), Same),
        ("edit_file", edit("$/outside", &[("root", "b")], false), Same),
        ("edit_file", json!({"path": "$/e.txt"}), Same),
        (
            "edit_file",
            edit("$/py.txt", &[("if x:\n    y()", "if z:\n    w()")], false),
            Differs(
                "```diff\nIndex: $/py.txt\n===================================================================\n--- $/py.txt\toriginal\n+++ $/py.txt\tmodified\n@@ -1,3 +1,3 @@\n def f():\n-    if x:\n-        y()\n+    if z:\n+        w()\n```\n\n",
                "lines that match but for their indentation keep the indentation of the new text among themselves; the reference flattens them",
            ),
        ),
        (
            "edit_file",
            edit("$/crlf.txt", &[("x\ny", "X\nY")], false),
            Means("line breaks of the file stay as they are; the reference rewrites all of them"),
        ),
        (
            "edit_file",
            edit("$/bytes.bin", &[("abc", "def")], false),
            Differs("error", "an edit of what is no UTF-8 would damage it"),
        ),
        // Directories and moves.
        ("create_directory", json!({"path": "$/n1/n2/n3"}), Same),
        ("create_directory", json!({"path": "$/n1"}), Same),
        ("create_directory", json!({"path": "$"}), Same),
        ("create_directory", json!({"path": "$/a.txt"}), Same),
        ("create_directory", json!({"path": "$/a.txt/b"}), Same),
        ("create_directory", json!({"path": "$/outside/b"}), Same),
        ("create_directory", json!({"path": "/etc/compere"}), Same),
        ("move_file", json!({"source": "$/new.txt", "destination": "$/n1/moved.txt"}), Same),
        ("move_file", json!({"source": "$/none", "destination": "$/n1/x"}), Same),
        ("move_file", json!({"source": "$/e.txt", "destination": "$/a.txt"}), Same),
        ("move_file", json!({"source": "$/n1", "destination": "$/n9"}), Same),
        ("move_file", json!({"source": "$/n9", "destination": "$/sub"}), Same),
        ("move_file", json!({"source": "$/n9", "destination": "$/n9/inner"}), Same),
        ("move_file", json!({"source": "$/e.txt", "destination": "$/no/e.txt"}), Same),
        ("move_file", json!({"source": "$/e.txt", "destination": "/etc/compere"}), Same),
        ("move_file", json!({"source": "/etc/passwd", "destination": "$/passwd"}), Same),
        (
            "move_file",
            json!({"source": "$/link", "destination": "$/link2"}),
            Means("the link is moved; the reference moves the file that it leads to and leaves a link to nothing"),
        ),
    ]);
    calls
}

fn edit(path: &str, edits: &[(&str, &str)], dry_run: bool) -> Value {
    let edits: Vec<Value> = edits
        .iter()
        .map(|(old, new)| json!({"oldText": old, "newText": new}))
        .collect();
    json!({"path": path, "edits": edits, "dryRun": dry_run})
}

fn tree(folder: &Path) -> PathBuf {
    let path = folder.canonicalize().unwrap().join("tree");
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    for name in ["sub/deep", "void", "sized"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    write("a.txt", b"one\ntwo\nthree\nfour");
    write("lines.txt", b"one\ntwo\n");
    write("crlf.txt", b"x\r\ny\r\n");
    write("empty.txt", b"");
    write("bytes.bin", b"\xff\xfe\x00abc");
    write("p.png", b"\x89PNG\r\n");
    write("s.WAV", b"RIFF");
    write("secret.txt", b"closed");
    write(".hidden", b"h");
    write("sub/b.md", b"# b");
    write("sub/deep/c.txt", b"c");
    for (name, size) in [
        ("b0", 0),
        ("b1", 1023),
        ("k1", 1024),
        ("k2", 3000),
        ("m1", 1_500_000),
    ] {
        write(&format!("sized/{name}"), &vec![b'q'; size]);
    }
    write(
        "e.txt",
        b"alpha\nbeta\n  gamma\ndelta\nepsilon\nzeta\neta\ntheta\niota\nkappa\n",
    );
    write("fence.txt", b"a ``` b\n````\nc");
    write("py.txt", b"def f():\n    if x:\n        y()\n");
    symlink("a.txt", path.join("link")).unwrap();
    symlink(".", path.join("turn")).unwrap();
    symlink("nowhere", path.join("dangling")).unwrap();
    symlink("/etc/passwd", path.join("outside")).unwrap();
    symlink(path.join("a.txt"), path.join("absolute")).unwrap();
    std::fs::set_permissions(path.join("secret.txt"), PermissionsExt::from_mode(0o640)).unwrap();
    path
}

/// Everything below a directory: permissions and content.
fn snapshot(path: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let name = entry
                .path()
                .strip_prefix(path)
                .unwrap()
                .display()
                .to_string();
            let metadata = entry.path().symlink_metadata().unwrap();
            let content = if metadata.is_symlink() {
                "link".to_owned()
            } else if metadata.is_dir() {
                open.push(entry.path());
                "directory".to_owned()
            } else {
                let mode = metadata.permissions().mode() & 0o777;
                let bytes = std::fs::read(entry.path()).unwrap();
                format!("{mode:o} {}", bytes.escape_ascii())
            };
            found.insert(name, content);
        }
    }
    found
}

fn fill(arguments: &Value, directory: &str) -> Value {
    // Only paths begin with the mark.
    match arguments {
        Value::String(text) if text == "$" || text.starts_with("$/") => {
            text.replacen('$', directory, 1).into()
        }
        Value::Array(items) => items.iter().map(|item| fill(item, directory)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), fill(value, directory)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// What a call gave: the error flag, and all content with the directory's name taken out.
async fn answer(
    client: &Client,
    tool: &str,
    arguments: &Value,
    directory: &Path,
) -> (bool, String) {
    let directory = directory.display().to_string();
    let result = client
        .call(
            tool,
            fill(arguments, &directory).as_object().unwrap().clone(),
        )
        .await
        .unwrap_or_else(|error| panic!("{tool}: {error}"));
    let structured = result.structured_content.as_ref();
    let structured = structured.map(|value| value.decode::<Value>().unwrap());
    let shown = match result.content.as_slice() {
        [compere::model::Content::Text(block)] => block.text.clone(),
        content => serde_json::to_string(content).unwrap(),
    };
    if !result.failed() {
        // The same as data: a text, or the list of blocks.
        let data = structured.expect("structured content")["content"].clone();
        match data {
            Value::String(text) => assert_eq!(text, shown, "{tool}"),
            blocks => assert_eq!(
                blocks,
                serde_json::to_value(&result.content).unwrap(),
                "{tool}"
            ),
        }
    }
    (result.failed(), shown.replace(&directory, "$"))
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(','))
        // What cannot be read is not found: the row of `absolute` says why.
        .filter(|line| *line != "$/absolute")
        .collect();
    lines.sort_unstable();
    lines
}

/// Without the three times, whose presence is checked.
fn without_times(text: &str) -> Vec<&str> {
    let times = ["created: ", "modified: ", "accessed: "];
    assert!(times.iter().all(|time| text.contains(time)), "{text}");
    text.lines()
        .filter(|line| !times.iter().any(|time| line.starts_with(time)))
        .collect()
}

#[tokio::test]
async fn every_tool_answers_as_the_reference_does() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(REFERENCE);
    assert!(
        script.exists(),
        "{REFERENCE} is not there: run `cargo xtask peers`"
    );
    let folders = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours_at, theirs_at) = (tree(folders.0.path()), tree(folders.1.path()));
    let ours = Client::connect(Files::new([&ours_at]).server().unwrap())
        .await
        .unwrap();
    let theirs = Client::connect(
        Command::new("node")
            .arg(script)
            .arg(&theirs_at)
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", "/nonexistent"),
    )
    .await
    .unwrap();

    let names = |tools: Vec<compere::model::Tool>| {
        let mut names: Vec<String> = tools.into_iter().map(|tool| tool.name).collect();
        names.sort();
        names
    };
    let their_tools = names(theirs.tools().collect().await.unwrap());
    assert_eq!(names(ours.tools().collect().await.unwrap()), their_tools);

    let documented = include_str!("../docs/reference/files.md");
    let documented = documented.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut faults = Vec::new();
    let mut tried: Vec<&str> = Vec::new();
    for (tool, arguments, expect) in calls() {
        tried.push(tool);
        let (our_error, our_text) = answer(&ours, tool, &arguments, &ours_at).await;
        let (their_error, their_text) = answer(&theirs, tool, &arguments, &theirs_at).await;
        let fine = match expect {
            Differs("error", _) => our_error && !their_error,
            Differs(text, _) => !our_error && our_text == text && their_text != text,
            _ if our_error || their_error => our_error == their_error,
            Same | Means(_) => our_text == their_text,
            SameLines => lines(&our_text) == lines(&their_text),
            SameButTimes => without_times(&our_text) == without_times(&their_text),
        };
        if let Differs(_, why) | Means(why) = expect
            && !documented.to_lowercase().contains(&why.to_lowercase())
        {
            faults.push(format!("docs/reference/files.md does not say: {why}"));
        }
        if !fine {
            faults.push(format!(
                "{tool} {arguments}\n  ours ({our_error}): {our_text:?}\n  theirs ({their_error}): {their_text:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried, their_tools, "each tool has its rows");

    let (ours_now, mut theirs_now) = (snapshot(&ours_at), snapshot(&theirs_at));
    // What the rows above mean to be different.
    for name in ["link", "link2", "a.txt", "py.txt", "crlf.txt", "bytes.bin"] {
        theirs_now.remove(name);
    }
    let ours_left: BTreeMap<_, _> = ours_now
        .into_iter()
        .filter(|(name, _)| {
            !["link", "link2", "a.txt", "py.txt", "crlf.txt", "bytes.bin"].contains(&name.as_str())
        })
        .collect();
    assert_eq!(ours_left, theirs_now);
    assert_eq!(
        std::fs::read(ours_at.join("crlf.txt")).unwrap(),
        b"X\r\nY\r\n"
    );
    ours.close().await.unwrap();
    theirs.close().await.unwrap();
}
