//! The command line as a person and as a program use it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use compere_tests::compere;
use serde_json::{Value, json};

fn run(arguments: &[&str]) -> Output {
    Command::new(compere())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn fails(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    words
}

#[test]
fn a_first_job_on_real_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
    std::fs::write(folder.path().join("a/b/note.md"), "hello\nworld\n").unwrap();
    std::fs::write(folder.path().join("a/other.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
    let on = format!("files:{}", folder.path().display());
    let found = ok(&[
        "call",
        "search_files",
        "path=.",
        "pattern=**/*.md",
        "--on",
        &on,
    ]);
    assert_eq!(found.lines().count(), 1);
    assert!(found.trim().ends_with("a/b/note.md"));
    assert_eq!(
        ok(&[
            "call",
            "read_text_file",
            "path=a/b/note.md",
            "head=1",
            "--on",
            &on
        ]),
        "hello\n"
    );
    assert_eq!(
        ok(&[
            "call",
            "read_text_file",
            "path=a/b/note.md",
            "tail=2",
            "--on",
            &on
        ]),
        "world\n"
    );
    assert_eq!(
        ok(&["call", "list_directory", "path=a", "--on", &on]),
        "[DIR] b\n[FILE] other.txt\n"
    );
    // Neither dots nor links lead out.
    for path in [
        "path=../../etc/passwd",
        "path=/etc/passwd",
        "path=link/passwd",
        "path=a/../../x",
    ] {
        let words = fails(4, &["call", "read_text_file", path, "--on", &on]);
        assert!(words.contains("the tool failed"), "{words}");
    }
}

#[test]
fn results_are_data_and_words_are_words() {
    let compere = compere();
    let server = ["--", compere.to_str().unwrap(), "serve", "everything"];
    let mut arguments = vec!["call", "echo", "message=hi", "--json"];
    arguments.extend(server);
    let result: Value = serde_json::from_str(&ok(&arguments)).unwrap();
    assert_eq!(result["content"][0]["text"], "hi");
    let tools: Value =
        serde_json::from_str(&ok(&["tools", "--json", "--on", "everything"])).unwrap();
    assert!(tools["tools"].as_array().unwrap().len() > 10);
    let info: Value = serde_json::from_str(&ok(&["info", "--json", "--on", "everything"])).unwrap();
    let hint = &info["cacheHints"]["tools"];
    assert_eq!(
        *hint,
        json!({"ttlMs": 0, "cacheScope": "private"}),
        "{info}"
    );
    assert_eq!(info["protocolVersion"], "2026-07-28");
    assert_eq!(info["era"], "stateless");
    assert!(ok(&["tools", "--on", "everything"]).contains("echo message=string"));
    assert!(
        ok(&["call", "get-tiny-image", "--on", "everything"]).contains("[image, image/png, about")
    );
    assert!(ok(&["call", "get-sum", "a=2", "b:=3", "--on", "everything"]).contains('5'));
    assert!(
        ok(&[
            "call",
            "get-sum",
            "--args",
            r#"{"a":2,"b":3}"#,
            "--on",
            "everything"
        ])
        .contains('5')
    );
}

#[test]
fn every_failure_has_its_exit_code_and_says_what_to_do() {
    assert!(
        fails(2, &["call", "ech", "message=x", "--on", "everything"])
            .contains("Did you mean echo?")
    );
    assert!(fails(2, &["call", "echo", "--on", "everything"]).contains("echo needs message"));
    assert!(fails(2, &["call", "echo", "message", "--on", "everything"]).contains("key=value"));
    assert!(fails(2, &["call", "echo", "message=x"]).contains("--on everything"));
    assert!(fails(2, &["info", "--on", "nothing"]).contains("files:DIR"));
    assert!(fails(2, &["info", "--on", "files:/no/such/folder"]).contains("no directory"));
    // E-533
    // A-ROOT-16
    assert!(
        fails(
            2,
            &["info", "--root", "/no/such/root", "--on", "everything"]
        )
        .contains("--root")
    );
    assert!(fails(3, &["info", "--", "/no/such/program"]).contains("cannot start"));
    assert!(
        fails(
            3,
            &["info", "--", "/bin/sh", "-c", "echo 'no key' >&2; exit 7"]
        )
        .contains("no key")
    );
    assert!(
        fails(
            4,
            &["call", "get-error", "kind=public", "--on", "everything"]
        )
        .contains("on purpose")
    );
    assert!(
        fails(
            1,
            &["call", "get-error", "kind=protocol", "--on", "everything"]
        )
        .contains("-32602")
    );
    let slow = [
        "call",
        "trigger-long-running-operation",
        "duration=60",
        "steps=1",
        "--timeout",
        "0.2",
        "--on",
        "everything",
    ];
    assert!(fails(5, &slow).contains("--timeout"));
    assert!(fails(2, &["frobnicate"]).contains("Usage"));
}

#[test]
fn what_a_server_says_cannot_play_with_the_terminal() {
    let words = fails(
        3,
        &[
            "info",
            "--",
            "/bin/sh",
            "-c",
            "printf '\\033[2J\\033]0;owned\\007' >&2; exit 1",
        ],
    );
    assert!(
        !words.contains('\u{1b}') && words.contains("\\u{1b}"),
        "{words:?}"
    );
}

#[test]
fn ctrl_c_withdraws_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("wire");
    let child = Command::new(compere())
        .args([
            "call",
            "trigger-long-running-operation",
            "duration=600",
            "steps=1",
            "--wire-log",
        ])
        .arg(&log)
        .arg("--")
        .arg(compere())
        .args(["serve", "everything"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let called = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("tools/call"));
    while !called() {
        Command::new("true").status().unwrap();
    }
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.lines()
            .any(|line| line.starts_with("> ") && line.contains("notifications/cancelled")),
        "{text}"
    );
}

const TALK: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"}}}
"#;

fn assert_talk(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[1].contains("\"text\":\"hi\""), "{text}");
}

// E-101 E-105
// A-STDIO-03 A-STDIO-04 A-STDIO-05 A-STDIO-08: whatever standard input and output are.
#[test]
fn stdio_works_over_pipes_files_sockets_and_terminals() {
    let serve = || {
        let mut command = Command::new(compere());
        command.args(["serve", "everything"]);
        command
    };
    let mut child = serve()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(TALK.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_talk(&String::from_utf8(output.stdout).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let (input, result) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, TALK).unwrap();
    let status = serve()
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(std::fs::File::create(&result).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert_talk(&std::fs::read_to_string(&result).unwrap());

    let (ours, theirs) = UnixStream::pair().unwrap();
    let output: std::os::fd::OwnedFd = theirs.try_clone().unwrap().into();
    let input: std::os::fd::OwnedFd = theirs.into();
    let mut child = serve().stdin(input).stdout(output).spawn().unwrap();
    (&ours).write_all(TALK.as_bytes()).unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(child.wait().unwrap().success());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut (&ours), &mut text).unwrap();
    assert_talk(&text);

    // `script` gives it a terminal; what is typed is echoed by that, so only answers are counted.
    let transcript = folder.path().join("tty");
    let shell = format!(
        "printf '%s' \"$TALK\" | script -qec '{} serve everything' {} > /dev/null",
        compere().display(),
        transcript.display()
    );
    let status = Command::new("sh")
        .env("TALK", format!("{TALK}\u{4}"))
        .args(["-c", &shell])
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&transcript).unwrap();
    assert!(
        text.contains("{\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}"),
        "{text}"
    );
}

// E-115 E-116
// A-LIFE-23
#[test]
fn signals_end_a_server_in_order() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut child = Command::new(compere())
            .args(["serve", "everything"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(TALK.as_bytes()).unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.next().is_some() && lines.next().is_some());
        let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(child.wait().unwrap().success());
        drop(input);
    }
}

#[test]
fn data_is_kept_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().join("kept");
    let save = save.to_str().unwrap();
    for _ in 0..2 {
        ok(&[
            "call",
            "get-tiny-image",
            "--save",
            save,
            "--on",
            "everything",
        ]);
    }
    let read = ["read", "demo://resource/dynamic/blob/1", "--save", save];
    ok(&[&read[..], &["--on", "everything"]].concat());
    let mut names: Vec<String> = std::fs::read_dir(save)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["1.bin", "image-2.png", "image.png"]);
    let image = std::fs::read(Path::new(save).join("image.png")).unwrap();
    assert!(image.starts_with(b"\x89PNG"));
}

#[test]
fn arguments_come_from_files_and_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "from a file").unwrap();
    let pair = format!("message=@{}", file.display());
    assert_eq!(
        ok(&["call", "echo", &pair, "--on", "everything"]),
        "from a file\n"
    );
    for arguments in [["--args", "-"], ["message=@-", "-v"]] {
        let mut child = Command::new(compere())
            .args(["call", "echo", "--on", "everything"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let typed = match arguments[0] {
            "--args" => r#"{"message": "typed"}"#,
            _ => "typed",
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(typed.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"typed\n", "{arguments:?}");
    }
    let missing = fails(
        2,
        &["call", "echo", "message=@/no/such", "--on", "everything"],
    );
    assert!(missing.contains("/no/such"), "{missing}");
    let slip = fails(2, &["call", "echo", "mesage=x", "--on", "everything"]);
    assert!(slip.contains("Did you mean message?"), "{slip}");
}

#[test]
fn secrets_go_by_file_or_by_name_and_never_by_argument() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "# for the server\nCOMPERE_TEST_SECRET=s3cret\n").unwrap();
    // The server tells what it was given, and ends.
    let tell = "echo \"$COMPERE_TEST_SECRET-$COMPERE_TEST_OTHER\" >&2; cat /proc/$PPID/cmdline >&2; exit 1";
    let output = Command::new(compere())
        .args(["info", "--env-file"])
        .arg(&file)
        .args(["--env", "COMPERE_TEST_OTHER", "--", "/bin/sh", "-c", tell])
        .env("COMPERE_TEST_OTHER", "0ther")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("s3cret-0ther"), "{words}");
    assert_eq!(words.matches("s3cret").count(), 1, "{words}");
    std::fs::write(&file, "s3cret without a name\n").unwrap();
    let file = file.to_str().unwrap();
    let words = fails(2, &["info", "--env-file", file, "--", "true"]);
    assert!(
        words.contains("line 1") && !words.contains("s3cret"),
        "{words}"
    );
}

/// `compere … --http`, and the address that it says.
fn listening(arguments: &[&str]) -> (KilledOnDrop, String) {
    let mut child = Command::new(compere())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = said.next().unwrap().unwrap();
    let address = line.split("http://").nth(1).unwrap();
    let address = address.trim_end_matches("/mcp").to_owned();
    (KilledOnDrop(child), address)
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bridge_carries_any_transport_to_any_other() {
    let compere = compere();
    let compere = compere.to_str().unwrap();
    let (_server, address) = listening(&["serve", "everything", "--http", "127.0.0.1:0"]);
    let (mcp, sse) = (
        format!("http://{address}/mcp"),
        format!("http://{address}/sse"),
    );
    let behind: [&[&str]; 3] = [
        &["--url", &mcp],
        &["--url", &sse],
        &["--", compere, "serve", "everything"],
    ];
    for behind in behind {
        let bridge = [&["bridge"], behind].concat();
        let call = ["call", "get-sum", "a=2", "b=3"];
        let on_stdio = [&call[..], &["--", compere], &bridge].concat();
        assert!(ok(&on_stdio).contains('5'), "{behind:?}");
        let at = [&["bridge", "--http", "127.0.0.1:0"], behind].concat();
        let (_bridge, address) = listening(&at);
        for path in ["mcp", "sse"] {
            let url = format!("http://{address}/{path}");
            assert!(
                ok(&[&call[..], &["--url", &url]].concat()).contains('5'),
                "{behind:?}"
            );
        }
    }
    let words = fails(
        1,
        &[
            "tools",
            "--",
            compere,
            "bridge",
            "--url",
            "http://127.0.0.1:9/mcp",
        ],
    );
    assert!(words.contains("cannot be reached"), "{words}");
}

#[test]
fn servers_of_other_apps_are_brought_over_after_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let (home, shop) = (folder.path().join("home"), folder.path().join("shop"));
    for folder in [".config/Claude", ".cursor"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
    }
    std::fs::create_dir_all(&shop).unwrap();
    let api = r#""api": {"url": "https://h/mcp", "headers": {"Authorization": "Bearer sk-123"}}"#;
    let fs = r#""fs": {"command": "npx", "args": ["a b"], "env": {"API_TOKEN": "hunter2"}}"#;
    let cursor = format!("{{\"mcpServers\": {{{fs}, {api}}}}}");
    std::fs::write(home.join(".cursor/mcp.json"), &cursor).unwrap();
    let desktop = format!("{{\"mcpServers\": {{{api}, \"fs\": {{\"command\": \"other\"}}}}}}");
    let place = home.join(".config/Claude/claude_desktop_config.json");
    // Folders among the arguments are what it works in, unless the person's own things lie there.
    let (notes, all) = (shop.to_str().unwrap(), home.to_str().unwrap());
    let desktop = desktop.replace(
        r#"{"command": "other"}"#,
        &format!(r#"{{"command": "other", "args": ["{notes}", "{all}"]}}"#),
    );
    std::fs::write(place, &desktop).unwrap();
    let asked = r#"{"mcpServers": {"evil": {"command": "rm"}, "bad": {}}}"#;
    std::fs::write(shop.join(".mcp.json"), asked).unwrap();
    let import = |arguments: &[&str]| {
        let output = Command::new(compere())
            .arg("import")
            .args(arguments)
            .current_dir(&shop)
            .env_clear()
            .env("HOME", &home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let own = home.join(".config/compere/compere.json");
    let said = import(&[]);
    for part in [
        "npx 'a b'",
        "wrong: bad: it has neither",
        "api is the same in",
        "it is not brought over",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("hunter2") && !said.contains("sk-123"),
        "{said}"
    );
    assert!(!own.exists(), "without a yes nothing is changed");
    let found: Value = serde_json::from_str(&import(&["--json"])).unwrap();
    assert!(!found.to_string().contains("hunter2"));
    let names = |found: &Value| {
        let add = found["add"].as_array().unwrap().clone();
        add.iter()
            .map(|server| server["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&found), ["fs", "api", "fs-claude-desktop"]);
    assert_eq!(found["add"][2]["roots"], serde_json::json!([notes]));
    assert!(said.contains(&format!("may read {notes}")), "{said}");
    // Comments of ours stay.
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(&own, "{\n  // mine\n  \"servers\": {},\n}\n").unwrap();
    import(&["--yes"]);
    let text = std::fs::read_to_string(&own).unwrap();
    assert!(
        text.contains(&format!("\"roots\": [\"{notes}\"]")),
        "{text}"
    );
    assert!(
        text.contains("// mine") && text.contains("Bearer ${file:secrets/api.Authorization}"),
        "{text}"
    );
    assert!(
        !text.contains("hunter2") && !text.contains("evil"),
        "{text}"
    );
    let secret = own.with_file_name("secrets/fs.API_TOKEN");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "hunter2");
    for file in [&own, &secret] {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    // What is there already is known again, until it changes.
    let found: Value = serde_json::from_str(&import(&["--json"])).unwrap();
    assert_eq!(names(&found), Vec::<Value>::new());
    std::fs::write(
        home.join(".cursor/mcp.json"),
        cursor.replace("hunter2", "hunter3"),
    )
    .unwrap();
    let found: Value = serde_json::from_str(&import(&["--json"])).unwrap();
    assert_eq!(names(&found), ["fs-cursor"]);
}

/// Each app gets the host as one of its servers, and its file back as it was.
#[test]
fn apps_are_pointed_at_the_host_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let state = folder.path().join("state");
    let json = |key: &str| {
        format!(
            "{{\n\t// as it is\r\n  \"z\" : 1,   \"{key}\": {{ \"a\": {{\"command\": \"b\"}}, }},\n}}"
        )
    };
    let toml = "model = 'x' # as it is\n\n[mcp_servers.a]\ncommand = \"b\"\n\n[other]\nk = 1";
    let apps = [
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            json("mcpServers"),
        ),
        ("claude-code", ".claude.json", json("mcpServers")),
        ("cursor", ".cursor/mcp.json", json("mcpServers")),
        ("vscode", ".config/Code/User/mcp.json", json("servers")),
        (
            "windsurf",
            ".codeium/windsurf/mcp_config.json",
            json("mcpServers"),
        ),
        ("codex", ".codex/config.toml", toml.to_owned()),
        ("gemini", ".gemini/settings.json", json("mcpServers")),
        ("zed", ".config/zed/settings.json", json("context_servers")),
        ("opencode", ".config/opencode/opencode.json", json("mcp")),
    ];
    let run = |arguments: &[&str]| {
        let output = Command::new(compere())
            .args(arguments)
            .arg("--state")
            .arg(&state)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", &home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    };
    for (app, path, before) in &apps {
        let path = home.join(path);
        // Where there is no file yet it is made, and goes again.
        let (good, said) = run(&["install", app, "--yes"]);
        assert!(good && said.contains("compere install"), "{app}: {said}");
        assert!(
            std::fs::read_to_string(&path).unwrap().contains("connect"),
            "{app}"
        );
        assert!(run(&["install", app, "--undo"]).0);
        assert!(!path.exists(), "{app}");
        std::fs::write(&path, before).unwrap();
        // Without a yes nothing is done.
        let (good, said) = run(&["install", app]);
        assert!(
            good && said.contains("Nothing was changed"),
            "{app}: {said}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *before, "{app}");
        let (good, said) = run(&["install", app, "--yes"]);
        assert!(good, "{app}: {said}");
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(
            after.contains("as it is") && after.contains("--app") && after.contains(app),
            "{app}: {after}"
        );
        // Once is enough.
        assert!(!run(&["install", app, "--yes"]).0, "{app}");
        // The app's own reader of it: our import finds it there.
        let found = Command::new(compere())
            .args(["import", "--json"])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", &home)
            .output()
            .unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        let files = found["files"].as_array().unwrap();
        let of_app = files
            .iter()
            .find(|file| file["file"]["path"] == path.to_str().unwrap());
        let servers = of_app.unwrap()["servers"].as_array().unwrap();
        assert!(
            servers.iter().any(|server| server["name"] == "compere"),
            "{app}: {servers:?}"
        );
        // Byte for byte.
        assert!(run(&["install", app, "--undo"]).0, "{app}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *before, "{app}");
        assert!(!run(&["install", app, "--undo"]).0, "{app}");
    }
    // What somebody has changed since stays.
    let path = home.join(".cursor/mcp.json");
    assert!(run(&["install", "cursor", "--yes"]).0);
    let changed = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"z\" : 1", "\"z\" : 2");
    std::fs::write(&path, changed).unwrap();
    let (good, said) = run(&["install", "cursor", "--undo"]);
    assert!(good && said.contains("the rest stays"), "{said}");
    let after = std::fs::read_to_string(&path).unwrap();
    assert!(
        after.contains("\"z\" : 2") && !after.contains("connect"),
        "{after}"
    );
    let (good, said) = run(&["install", "goose", "--yes"]);
    assert!(
        !good && said.contains("YAML") && said.contains("connect --app goose"),
        "{said}"
    );
    assert!(!run(&["install", "nothing"]).0);
}

#[test]
fn roots_are_shown_and_changed_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let above = folder.path().canonicalize().unwrap();
    for name in ["notes", "more"] {
        std::fs::create_dir(above.join(name)).unwrap();
    }
    let (file, notes, more) = (
        above.join("compere.json"),
        above.join("notes"),
        above.join("more"),
    );
    let before = "{\n  // mine\n  \"servers\": {\n    \"git\": { \"command\": \"g\" }, // as it is\n    \"files\": { \"command\": \"f\", \"roots\": [\"notes\"] },\n  },\n}\n";
    // A link to it stays one.
    let real = above.join("real.json");
    std::fs::write(&real, before).unwrap();
    std::os::unix::fs::symlink(&real, &file).unwrap();
    let roots = |arguments: &[&str]| {
        let output = Command::new(compere())
            .arg("roots")
            .args(arguments)
            .arg("--file")
            .arg(&file)
            .current_dir(&above)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            words,
        )
    };
    assert_eq!(roots(&[]).1, "git has no folder\nfiles may read\n  notes\n");
    let (good, said, _) = roots(&["files", "--add", "more", "--write"]);
    assert!(good);
    assert_eq!(
        said,
        format!("files may read and change\n  notes\n  {}\n", more.display())
    );
    let text = std::fs::read_to_string(&real).unwrap();
    assert!(
        file.is_symlink() && text.contains("// mine") && text.contains("// as it is"),
        "{text}"
    );
    assert!(text.contains("\"write\": true"), "{text}");
    // By another name of the same folder.
    let (good, said, _) = roots(&[
        "files",
        "--remove",
        notes.to_str().unwrap(),
        "--read-only",
        "--json",
    ]);
    assert!(good);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said[0]["roots"], serde_json::json!([more]));
    assert_eq!(said[0]["write"], false);
    assert!(roots(&["files", "--remove", "more"]).0);
    let text = std::fs::read_to_string(&real).unwrap();
    assert!(
        !text.contains("roots") && !text.contains("write") && text.contains("// mine"),
        "{text}"
    );
    for wrong in [
        &["nobody", "--add", "more"][..],
        &["files", "--add", "nowhere"],
        &["files", "--remove", "more"],
    ] {
        let (good, _, words) = roots(wrong);
        assert!(!good && !words.is_empty(), "{wrong:?}");
    }
    assert_eq!(std::fs::read_to_string(&real).unwrap(), text);
}

#[test]
fn a_trace_is_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let file = file.to_str().unwrap();
    let red = "message=\u{1b}[31mred";
    ok(&["call", "echo", red, "--on", "everything", "--trace", file]);
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may read it");
    let shown = ok(&["replay", file]);
    assert!(shown.contains("→ tools/call #3  echo"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let lines = ok(&["replay", file, "--json", "--method", "tools/call"]);
    let answer: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert!(answer["took_ms"].is_number());
    assert_eq!(answer["kind"], "result");
    // What is no trace, and what is cut off.
    std::fs::write(file, "> {}\n").unwrap();
    assert!(fails(2, &["replay", file]).contains("line 1 is not of a trace"));
    let asked = r#"{"at":"2026-01-01T00:00:00Z","session":1,"from":"client","message":{"jsonrpc":"2.0","id":1,"method":"ping"}}"#;
    let noise = r#"{"at":"2026-01-01T00:00:01Z","session":1,"from":"server","text":"oops"}"#;
    std::fs::write(file, format!("{asked}\n{noise}\n")).unwrap();
    let shown = ok(&["replay", file]);
    assert!(
        shown.contains("never answered: ping #1 of session 1"),
        "{shown}"
    );
    assert!(shown.contains("no message  oops"), "{shown}");
}

#[test]
fn subscribed_changes_are_printed() {
    use std::io::BufRead;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().canonicalize().unwrap().join("watched");
    std::fs::write(&file, "before").unwrap();
    let uri = format!("file://{}", file.display());
    let mut child = Command::new(compere())
        .args(["subscribe", &uri, "--count", "1", "--read"])
        .args(["--on", &format!("files:{}", folder.path().display())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(words.next().unwrap().unwrap().contains("subscribed"));
    std::fs::write(&file, "after").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("{uri}:\nafter\n"));
}

/// What a terminal shows when this is typed.
fn at_a_terminal(arguments: &[&str], typed: &str, more: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    at_a_terminal_with(arguments, typed, more, &path)
}

fn at_a_terminal_with(arguments: &[&str], typed: &str, more: &str, path: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let shell = format!(
        "printf '%s' \"$TYPED\" | script -qec '{} {} {more}' {}",
        compere().display(),
        arguments.join(" "),
        folder.path().join("tty").display()
    );
    let output = Command::new("sh")
        .args(["-c", &shell])
        .env("TYPED", typed)
        .env("PATH", path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_form_is_asked_field_by_field() {
    let call = ["call", "trigger-elicitation-request", "--on", "everything"];
    let words = fails(4, &call);
    assert!(words.contains("elicitation"), "{words}");
    // The fields come in the order of the form.
    let shown = at_a_terminal(
        &call,
        "Ada\n400\n36\ngreen\nyes\nchange\n\n\n\n\n\nyes\n",
        "",
    );
    // E-440 E-469
    // C-ELIC-02 C-ELIC-14 D-119: who asks is said as the person named it.
    assert!(shown.contains("everything asks you:"), "{shown}");
    assert!(
        shown.contains("| Who are you?") && shown.contains("red | green | blue"),
        "{shown}"
    );
    // E-442
    // C-ELIC-03 D-121: shown before it is sent, and changed if they like.
    assert!(
        shown.contains("Your answer:") && shown.contains("  age: 36"),
        "{shown}"
    );
    assert!(shown.contains(" [Ada]"), "{shown}");
    assert!(shown.contains("at most 150"), "{shown}");
    assert!(
        shown.contains("Hello Ada, Some(36), Some(Green), true"),
        "{shown}"
    );
    // E-441 E-467 E-468
    // C-ELIC-04 C-ELIC-10 C-ELIC-12 D-120: declined, at the first field or at the end, or put away.
    let late = at_a_terminal(&call, "Ada\n36\ngreen\nyes\nno\n", "");
    assert!(late.contains("They would rather not say."), "{late}");
    let declined = at_a_terminal(&call, ".\n", "");
    assert!(
        declined.contains("They would rather not say."),
        "{declined}"
    );
    let denied = at_a_terminal(&call, "", "--elicitation deny");
    assert!(!denied.contains("| Who"), "{denied}");
    let old = at_a_terminal(&call, "", "--protocol 2025-03-26");
    assert!(!old.contains("| Who"), "{old}");
}

#[test]
fn a_page_is_shown_whole_and_opened_by_the_person() {
    let call = ["call", "trigger-url-elicitation", "--on", "everything"];
    let words = fails(4, &call);
    assert!(words.contains("elicitation"), "{words}");
    // E-474 E-476 E-477 E-479
    // D-122 D-161 D-162 D-164: the site, the whole address, and nothing without a yes.
    // E-475 E-478
    // D-160 D-163 C-GUIDE-24: nothing is opened by us, whatever there is to open it with.
    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened");
    for opener in [
        "xdg-open",
        "open",
        "sensible-browser",
        "www-browser",
        "gio",
        "firefox",
    ] {
        let script = format!("#!/bin/sh\ntouch {}\n", opened.display());
        let file = folder.path().join(opener);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    let agreed = at_a_terminal_with(&call, "maybe\nyes\n", "", &path);
    assert!(!opened.exists());
    assert!(
        agreed.contains("everything wants you to open a page"),
        "{agreed}"
    );
    assert!(agreed.contains("site: example.com"), "{agreed}");
    assert!(agreed.contains("page: https://example.com/"), "{agreed}");
    assert!(agreed.contains("They will open it."), "{agreed}");
    let declined = at_a_terminal(&call, "no\n", "");
    assert!(declined.contains("They would rather not."), "{declined}");
    let old = at_a_terminal(&call, "", "--protocol 2025-06-18");
    assert!(!old.contains("site:"), "{old}");
    let needed = fails(
        1,
        &["call", "requires-url-elicitation", "--on", "everything"],
    );
    assert!(needed.contains("https://example.com/"), "{needed}");
    assert!(needed.contains("then call again"), "{needed}");
}

#[test]
fn a_revision_can_be_pinned() {
    let info = |revision| {
        let text = ok(&[
            "info",
            "--json",
            "--on",
            "everything",
            "--protocol",
            revision,
        ]);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(info(revision)["protocolVersion"], revision);
    }
    let words = fails(
        2,
        &["info", "--on", "everything", "--protocol", "2023-01-01"],
    );
    assert!(words.contains("2025-11-25"), "{words}");
}

#[test]
fn sampling_is_for_a_person_or_for_nobody() {
    let call = [
        "call",
        "trigger-sampling-request",
        "prompt=why",
        "--on",
        "everything",
    ];
    // A-SAMP-05: without a person to see it there is no sampling.
    let words = fails(4, &call);
    assert!(words.contains("sampling"), "{words}");

    let typed = |typed: &str, more: &str| at_a_terminal(&call, typed, more);
    let answered = typed("because\n.\n", "");
    assert!(answered.contains("| why"), "{answered}");
    assert!(
        answered.contains("a person at a terminal says: because"),
        "{answered}"
    );
    let refused = typed(".\n", "");
    assert!(refused.contains("the person refused"), "{refused}");
    let denied = typed("", "--sampling deny");
    assert!(!denied.contains("| why"), "{denied}");
}

#[test]
fn bash_completes_commands_tools_and_values() {
    let complete = |line: &str| {
        let script = format!(
            r#"source <(compere completions bash); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
            COMP_WORDS=(x); COMP_CWORD=0; compopt() {{ :; }}; _compere; printf '%s\n' "${{COMPREPLY[@]}}""#
        );
        let programs = compere().parent().unwrap().to_path_buf();
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .env(
                "PATH",
                format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()),
            )
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("compere doc"), ["doctor"]);
    assert_eq!(complete("compere call --sampling d"), ["deny"]);
    assert_eq!(
        complete("compere call --on files:. get_f"),
        ["get_file_info"]
    );
    // Only what stands behind the last = is bash's to complete.
    assert_eq!(
        complete("compere call --on files:. edit_file dryRun=t"),
        ["true"]
    );
}

#[test]
fn the_tools_of_a_command_are_remembered_and_it_is_not_started_for_a_key() {
    let cache = tempfile::tempdir().unwrap();
    let witness = cache.path().join("started");
    let server = format!(
        "touch {} && exec {} serve everything",
        witness.display(),
        compere().display()
    );
    let command = ["--", "/bin/sh", "-c", &server];
    let run = |arguments: &[&str]| {
        let output = Command::new(compere())
            .args(arguments)
            .env("XDG_CACHE_HOME", cache.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let line = format!("compere call get-tiny-i -- /bin/sh -c '{server}'");
    let candidates = || run(&["__complete", &line, "23"]);
    assert_eq!(candidates(), "");
    assert!(!witness.exists(), "a key started the server");
    run(&[&["tools"][..], &command[..]].concat());
    assert!(witness.exists());
    std::fs::remove_file(&witness).unwrap();
    assert_eq!(candidates().trim(), "get-tiny-image");
    assert!(!witness.exists(), "a key started the server");
}
