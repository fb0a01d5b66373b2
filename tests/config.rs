//! The files in which people keep their servers: what stands for what in each dialect, what is read,
//! what is said about the rest, and where the files are.

use std::collections::BTreeMap;
use std::path::Path;

use compere_host::config::expand::{expand, translate};
use compere_host::config::places::Folders;
use compere_host::config::{
    Dialect, Input, Launch, Note, Place, Read, Scope, Surroundings, Unresolved, places, read,
};

fn variable(name: &str) -> Option<String> {
    match name {
        "HERE" => Some("here".to_owned()),
        "EMPTY" => Some(String::new()),
        "NESTED" => Some("${HERE}${env:HERE}".to_owned()),
        _ => None,
    }
}

fn surroundings() -> Surroundings<'static> {
    Surroundings {
        variable: &variable,
        input: &|id| (id == "tok").then(|| "s3cret".to_owned()),
        file: &|path| (path == "/run/key").then(|| "k3y".to_owned()),
        secret: &|name| (name == "tok").then(|| "s3cret".to_owned()),
        workspace: Some(Path::new("/work/shop")),
        home: Some(Path::new("/home/ada")),
    }
}

/// What each dialect makes of an expression, in the order of [`Dialect::ALL`]: Compere, Claude Desktop,
/// Claude Code, Cursor, VS Code, Visual Studio. `=` is the expression itself, a `!` behind it says that
/// something is reported.
const TABLE: &[(&str, [&str; 6])] = &[
    ("plain", ["=", "=", "=", "=", "=", "="]),
    ("${HERE}", ["=!", "=", "here", "=!", "=!", "here"]),
    (
        "a${HERE}b${HERE}c",
        ["=!", "=", "aherebherec", "=!", "=!", "aherebherec"],
    ),
    ("${GONE}", ["=!", "=", "=!", "=!", "=!", "=!"]),
    ("${secret:tok}", ["s3cret", "=", "=", "=!", "=!", "="]),
    ("${secret:gone}", ["=!", "=", "=", "=!", "=!", "="]),
    ("${EMPTY}", ["=!", "=", "", "=!", "=!", ""]),
    ("${HERE:-d}", ["=!", "=", "here", "=!", "=!", "here"]),
    ("${GONE:-d}", ["=!", "=", "d", "=!", "=!", "d"]),
    ("${EMPTY:-d}", ["=!", "=", "", "=!", "=!", ""]),
    ("${GONE:-}", ["=!", "=", "", "=!", "=!", ""]),
    (
        "${GONE:-${HERE}}",
        ["=!", "=", "${HERE}", "=!", "=!", "${HERE}"],
    ),
    ("${GONE:-{a}}b", ["=!", "=", "{a}b", "=!", "=!", "{a}b"]),
    (
        "${NESTED}",
        [
            "=!",
            "=",
            "${HERE}${env:HERE}",
            "=!",
            "=!",
            "${HERE}${env:HERE}",
        ],
    ),
    ("$HERE", ["=", "=", "=", "=", "=", "="]),
    ("%HERE%", ["=", "=", "=", "=", "=", "="]),
    ("{env:HERE}", ["=", "=", "=", "=", "=", "="]),
    ("${env:HERE}", ["here", "=", "=", "here", "here", "="]),
    ("${env:GONE}", ["=!", "=", "=", "=!", "!", "="]),
    ("${env:EMPTY}", ["", "=", "=", "", "", "="]),
    (
        "${env:NESTED}",
        [
            "${HERE}${env:HERE}",
            "=",
            "=",
            "${HERE}${env:HERE}",
            "${HERE}${env:HERE}",
            "=",
        ],
    ),
    ("${input:tok}", ["s3cret", "=", "=", "=!", "s3cret", "="]),
    ("${input:gone}", ["=!", "=", "=", "=!", "=!", "="]),
    ("${file:/run/key}", ["k3y", "=", "=", "=!", "=!", "="]),
    ("${file:/run/gone}", ["=!", "=", "=", "=!", "=!", "="]),
    (
        "${workspaceFolder}/x",
        ["=!", "=", "=!", "/work/shop/x", "/work/shop/x", "=!"],
    ),
    (
        "${workspaceFolderBasename}",
        ["=!", "=", "=!", "shop", "shop", "=!"],
    ),
    (
        "${userHome}",
        ["=!", "=", "=!", "/home/ada", "/home/ada", "=!"],
    ),
    ("${/}", ["=!", "=", "=", "/", "/", "="]),
    ("${pathSeparator}", ["=!", "=", "=!", "/", "/", "=!"]),
    ("${workspace}", ["/work/shop", "=", "=!", "=!", "=!", "=!"]),
    ("${home}", ["/home/ada", "=", "=!", "=!", "=!", "=!"]),
    (
        "$${env:HERE}",
        ["${env:HERE}", "=", "=", "$here", "$here", "="],
    ),
    ("${env:HERE", ["=", "=", "=", "=", "=", "="]),
    (
        "a$$${env:HERE}",
        ["a$${env:HERE}", "=", "=", "a$$here", "a$$here", "="],
    ),
    ("${env:GONE:-d%7De}", ["d}e", "=", "=", "=!", "!", "="]),
    ("${dollar}{", ["${", "=", "=!", "=!", "=!", "=!"]),
    ("${}", ["=!", "=", "=", "=!", "=!", "="]),
    ("${é}", ["=!", "=", "=", "=!", "=!", "="]),
    ("${1A}", ["=!", "=", "=", "=!", "=!", "="]),
];

#[test]
fn each_dialect_has_its_own_rules() {
    let mut wrong = Vec::new();
    for (expression, results) in TABLE {
        for (dialect, result) in Dialect::ALL.into_iter().zip(results) {
            let (text, reported) = match result.strip_suffix('!') {
                Some(text) => (text, true),
                None => (*result, false),
            };
            let text = if text == "=" { expression } else { text };
            let expanded = expand(dialect, expression, &surroundings());
            let seen = (expanded.text.as_str(), !expanded.unresolved.is_empty());
            if seen != (text, reported) {
                wrong.push(format!(
                    "{} {expression}: {seen:?}, not {:?}",
                    dialect.app(),
                    (text, reported)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is written in our own rules means what it meant.
#[test]
fn what_is_translated_means_the_same() {
    for (expression, _) in TABLE {
        for dialect in Dialect::ALL {
            let before = expand(dialect, expression, &surroundings());
            let translated = translate(dialect, expression);
            let after = expand(Dialect::Compere, &translated, &surroundings());
            let app = dialect.app();
            if before.unresolved.is_empty() {
                assert_eq!(before, after, "{app}: {expression} became {translated}");
            } else {
                assert!(
                    !after.unresolved.is_empty(),
                    "{app}: {expression} became {translated}"
                );
            }
        }
    }
}

#[test]
fn long_texts_are_left_alone_by_visual_studio() {
    for (length, replaced) in [(994, true), (995, false)] {
        let text = format!("{}${{HERE}}", "x".repeat(length - 1));
        let expanded = expand(Dialect::VisualStudio, &text, &surroundings());
        assert_eq!(expanded.text.ends_with("here"), replaced, "{length}");
    }
}

fn place(dialect: Dialect, file: &str) -> Place {
    Place {
        dialect,
        scope: Scope::Workspace,
        path: Path::new("/work/shop").join(file),
    }
}

fn read_as(dialect: Dialect, file: &str, text: &str) -> Read {
    read(text, &place(dialect, file), Some(Path::new("/work/shop")))
}

fn command(program: &str, arguments: &[&str]) -> Launch {
    Launch::Command {
        program: program.to_owned(),
        arguments: arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect(),
        environment: BTreeMap::new(),
        environment_file: None,
        folder: None,
    }
}

#[test]
fn claude_desktop() {
    let text = r#"{ "mcpServers": { "fs": { "command": "npx", "args": ["-y", "${HERE}"], "env": {"A": "b"} } } }"#;
    let found = read_as(Dialect::ClaudeDesktop, "claude_desktop_config.json", text);
    assert_eq!(found.faults, []);
    let entry = &found.entries[0];
    let (launch, unresolved) = entry.launch.resolve(entry.dialect, &surroundings());
    assert_eq!(unresolved, []);
    let Launch::Command {
        arguments,
        environment,
        ..
    } = launch
    else {
        panic!("{launch:?}");
    };
    assert_eq!(arguments, ["-y", "${HERE}"]);
    assert_eq!(environment["A"].as_deref(), Some("b"));
}

#[test]
fn claude_code() {
    let text = r#"{
        "mcpServers": {
            "api": {
                "type": "http", "url": "${GONE:-https://api.example.com}/mcp",
                "headers": { "Authorization": "Bearer ${HERE}" },
                "oauth": { "clientId": "x" }, "timeout": 60000, "alwaysLoad": true
            },
            "local": { "command": "${ALSO_GONE}/bin/s", "args": ["--db", "${DB:-/data/db}"], "env": { "K": "${K}" } }
        },
        "projects": {
            "/work/shop": { "mcpServers": { "mine": { "command": "m" } } },
            "/work/other": { "mcpServers": { "theirs": { "command": "t" } } }
        }
    }"#;
    let found = read_as(Dialect::ClaudeCode, ".claude.json", text);
    assert_eq!(found.faults, []);
    let names: Vec<&str> = found
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(names, ["api", "local", "mine"]);
    let api = &found.entries[0];
    assert_eq!(
        api.notes,
        [
            Note::SignIn("oauth".to_owned()),
            Note::NotRead("timeout".to_owned()),
            Note::GrantsNothing("alwaysLoad".to_owned()),
        ]
    );
    let (launch, unresolved) = api.launch.resolve(api.dialect, &surroundings());
    assert_eq!(unresolved, []);
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer here".to_owned())]);
    let url = "https://api.example.com/mcp".to_owned();
    assert_eq!(launch, Launch::Remote { url, headers });
    let local = &found.entries[1];
    let (_, unresolved) = local.launch.resolve(local.dialect, &surroundings());
    let missing = |name: &str| Unresolved::Variable(name.to_owned());
    assert_eq!(unresolved, [missing("ALSO_GONE"), missing("K")]);
}

#[test]
fn one_file_name_of_two_apps() {
    let text = r#"{ "servers": { "vs": { "command": "a" } }, "mcpServers": { "cc": { "command": "b" } } }"#;
    let found = read_as(Dialect::ClaudeCode, ".mcp.json", text);
    let read: Vec<_> = found
        .entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.dialect))
        .collect();
    assert_eq!(
        read,
        [("cc", Dialect::ClaudeCode), ("vs", Dialect::VisualStudio)]
    );
    // Elsewhere the wrong name is said, and not passed over.
    let found = read_as(
        Dialect::Cursor,
        ".cursor/mcp.json",
        r#"{ "servers": { "a": {} } }"#,
    );
    assert!(
        found.faults[0].why.contains("Cursor reads `mcpServers`"),
        "{:?}",
        found.faults
    );
    let found = read_as(
        Dialect::VsCode,
        ".vscode/mcp.json",
        r#"{ "mcpServers": {} }"#,
    );
    assert!(
        found.faults[0].why.contains("VS Code reads `servers`"),
        "{:?}",
        found.faults
    );
}

#[test]
fn vs_code() {
    let text = r#"{
        // comments, and commas too many
        "inputs": [
            { "type": "promptString", "id": "tok", "description": "Token", "password": true },
            { "type": "pickString", "id": "env", "description": "Env", "options": ["dev", { "value": "prod", "label": "P" }], "default": "dev" },
            { "type": "command", "id": "c", "command": "ext.cmd" },
        ],
        "servers": {
            "gh": { "type": "http", "url": "https://api.example/mcp", "headers": { "Authorization": "Bearer ${input:tok}" } },
            "fs": {
                "type": "stdio", "command": "npx", "args": ["-y", "pkg", "${workspaceFolder}"],
                "cwd": "${workspaceFolder}", "env": { "A": "${env:GONE}", "N": 1, "UNSET": null },
                "envFile": "${workspaceFolder}/.env", "dev": { "watch": "src/**" }, "sandboxEnabled": true,
            },
        },
    }"#;
    let found = read_as(Dialect::VsCode, ".vscode/mcp.json", text);
    assert_eq!(found.faults.len(), 1, "{:?}", found.faults);
    assert!(found.faults[0].why.contains("runs a command of the editor"));
    let expected = Input {
        id: "tok".to_owned(),
        description: "Token".to_owned(),
        secret: true,
        options: Vec::new(),
        default: None,
    };
    assert_eq!(found.inputs[0], expected);
    assert_eq!(found.inputs[1].options, ["dev", "prod"]);
    let fs = found
        .entries
        .iter()
        .find(|entry| entry.name == "fs")
        .unwrap();
    let names = |note: &Note| matches!(note, Note::NotRead(name) if name == "dev" || name == "sandboxEnabled");
    assert!(
        fs.notes.len() == 2 && fs.notes.iter().all(names),
        "{:?}",
        fs.notes
    );
    let (launch, unresolved) = fs.launch.resolve(fs.dialect, &surroundings());
    assert_eq!(unresolved, [Unresolved::Variable("GONE".to_owned())]);
    let variables = [("A", Some("")), ("N", Some("1")), ("UNSET", None)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    assert_eq!(
        launch,
        Launch::Command {
            program: "npx".to_owned(),
            arguments: ["-y", "pkg", "/work/shop"].map(str::to_owned).into(),
            environment: variables.into(),
            environment_file: Some("/work/shop/.env".to_owned()),
            folder: Some("/work/shop".to_owned()),
        }
    );
}

#[test]
fn cursor() {
    let text = r#"{ "mcpServers": {
        "a": { "command": "x", "args": ["${workspaceFolder}/s.py"], "envFile": ".env", "autoApprove": ["rm"] },
        "b": { "url": "https://h/mcp", "headers": { "X": "${env:HERE}" }, "auth": { "CLIENT_ID": "…" } },
        "off": { "command": "x", "disabled": true }
    } }"#;
    let found = read_as(Dialect::Cursor, ".cursor/mcp.json", text);
    assert_eq!(found.faults, []);
    assert_eq!(
        found.entries[0].notes,
        [Note::GrantsNothing("autoApprove".to_owned())]
    );
    assert_eq!(found.entries[1].notes, [Note::SignIn("auth".to_owned())]);
    assert!(!found.entries[2].enabled);
    let (launch, _) = found.entries[1]
        .launch
        .resolve(Dialect::Cursor, &surroundings());
    let Launch::Remote { headers, .. } = launch else {
        panic!("{launch:?}");
    };
    assert_eq!(headers["X"], "here");
}

#[test]
fn what_is_wrong_is_said_and_the_rest_is_read() {
    for (server, why) in [
        (r#"{}"#, "neither a command nor an address"),
        (
            r#"{"command": "a", "url": "b"}"#,
            "a command and an address",
        ),
        (r#"{"command": " "}"#, "its command is empty"),
        (r#"{"command": 1}"#, "`command` is no text"),
        (r#"{"command": "a", "args": "b"}"#, "`args` is no list"),
        (r#"{"command": "a", "args": [1]}"#, "`args` is no list"),
        (
            r#"{"command": "a", "env": {"A": {}}}"#,
            "`env.A` is no text",
        ),
        (
            r#"{"command": "a", "type": "http"}"#,
            "says that it is http",
        ),
        (r#"{"url": "a", "type": "ws"}"#, "the kind ws"),
        (
            r#"{"command": "a", "disabled": "no"}"#,
            "`disabled` is neither",
        ),
        (r#"[]"#, "no object"),
    ] {
        let text = format!(r#"{{"mcpServers": {{"bad": {server}, "good": {{"command": "g"}}}}}}"#);
        let found = read_as(Dialect::Cursor, "mcp.json", &text);
        assert_eq!(found.faults.len(), 1, "{server}: {:?}", found.faults);
        assert_eq!(found.faults[0].server.as_deref(), Some("bad"));
        assert!(
            found.faults[0].why.contains(why),
            "{server}: {}",
            found.faults[0].why
        );
        assert_eq!(found.entries[0].launch, command("g", &[]));
    }
    for (text, why) in [
        ("[]", "no object"),
        ("{", "no JSON"),
        ("{'mcpServers': {}}", "no JSON"),
        (r#"{"mcpServers": {} "a": 1}"#, "no JSON"),
        (
            r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#,
            "`a` stands twice",
        ),
        (&"[".repeat(100_000), "no JSON"),
        (r#"{"mcpServers": []}"#, "`mcpServers` is no object"),
        (
            r#"{"mcpServers": {"\u001b[31mred": {"command": "a"}}}"#,
            "that can be seen",
        ),
        (&format!("{}{{}}", " ".repeat(1024 * 1024)), "larger than"),
    ] {
        let found = read_as(Dialect::Cursor, "mcp.json", text);
        assert!(found.entries.is_empty());
        assert!(found.faults[0].why.contains(why), "{:?}", found.faults);
        assert!(!found.faults[0].to_string().contains('\u{1b}'));
    }
    for nothing in ["", "  ", "// only words", "\u{feff}{}", "{}"] {
        assert_eq!(
            read_as(Dialect::Cursor, "mcp.json", nothing),
            Read::default()
        );
    }
    let many: Vec<String> = (0..300)
        .map(|number| format!(r#""s{number}": {{"command": "a"}}"#))
        .collect();
    let text = format!(r#"{{"mcpServers": {{{}}}}}"#, many.join(","));
    let found = read_as(Dialect::Cursor, "mcp.json", &text);
    assert_eq!((found.entries.len(), found.faults.len()), (256, 1));
}

#[test]
fn where_the_files_are() {
    let folders = Folders {
        home: Some(Path::new("/home/ada")),
        config: Some(Path::new("/home/ada/.config")),
        workspace: Some(Path::new("/work/shop")),
        claude: None,
        codex: None,
    };
    let found = places(&folders);
    let paths: Vec<&str> = found
        .iter()
        .map(|place| place.path.to_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/work/shop/compere.json",
            "/work/shop/.mcp.json",
            "/work/shop/.cursor/mcp.json",
            "/work/shop/.vscode/mcp.json",
            "/home/ada/.config/compere/compere.json",
            "/home/ada/.claude.json",
            "/home/ada/.cursor/mcp.json",
            "/home/ada/.codeium/windsurf/mcp_config.json",
            "/home/ada/.codex/config.toml",
            "/home/ada/.gemini/settings.json",
            "/home/ada/.config/zed/settings.json",
            "/home/ada/.config/opencode/opencode.json",
            "/home/ada/.config/opencode/opencode.jsonc",
            "/home/ada/.config/goose/config.yaml",
            "/home/ada/.config/Claude/claude_desktop_config.json",
            "/home/ada/.config/Code/User/mcp.json",
        ]
    );
    let of_workspace = found.iter().filter(|place| place.scope == Scope::Workspace);
    assert_eq!(of_workspace.count(), 4);
    let elsewhere = Folders {
        claude: Some(Path::new("/srv/claude")),
        codex: Some(Path::new("/srv/codex")),
        ..folders
    };
    let found = places(&elsewhere);
    assert!(
        found
            .iter()
            .any(|place| place.path == Path::new("/srv/claude/.claude.json"))
    );
    assert!(places(&Folders::default()).is_empty());
}

/// What the apps that replace otherwise make of an expression: Windsurf, Gemini CLI, opencode, and those
/// that replace nothing. Signs as above.
const MORE: &[(&str, [&str; 4])] = &[
    ("plain", ["=", "=", "=", "="]),
    ("${env:HERE}", ["here", "=", "$here", "="]),
    ("${file:/run/key}", ["k3y", "=", "$k3y", "="]),
    ("${env:GONE}", ["=!", "=", "!", "="]),
    ("$HERE", ["=", "here", "=", "="]),
    ("a$HERE-b", ["=", "ahere-b", "=", "="]),
    ("${HERE}", ["=!", "here", "=", "="]),
    ("%HERE%", ["=", "here", "=", "="]),
    ("$GONE", ["=", "${env:GONE}!", "=", "="]),
    ("100% of $5", ["=", "=", "=", "="]),
    ("$$HERE", ["=", "$here", "=", "="]),
    ("${", ["=", "=", "=", "="]),
    ("{env:HERE}", ["=", "=", "here", "="]),
    ("a{env:HERE}{env:HERE}", ["=", "=", "aherehere", "="]),
    (
        "${env:NESTED}",
        ["${HERE}${env:HERE}", "=", "$${HERE}${env:HERE}", "="],
    ),
    ("{env:NESTED}", ["=", "=", "${HERE}${env:HERE}", "="]),
    ("${env:HERE", ["=", "=", "=", "="]),
    ("$$${env:HERE}", ["$$here", "=", "$$$here", "="]),
    ("{file:/run/key}", ["=", "=", "k3y", "="]),
    ("{env:GONE}", ["=", "=", "${env:GONE}!", "="]),
    ("{not:this} {}", ["=", "=", "=", "="]),
    ("$${x}", ["=!", "!", "=", "="]),
];

#[test]
fn apps_of_other_shapes_have_rules_of_their_own() {
    let plain = [Dialect::Codex, Dialect::Zed, Dialect::Goose];
    for (expression, results) in MORE {
        let of = [Dialect::Windsurf, Dialect::Gemini, Dialect::OpenCode];
        let of = of.into_iter().zip(results);
        for (dialect, result) in of.chain(plain.into_iter().map(|dialect| (dialect, &results[3]))) {
            let (text, reported) = match result.strip_suffix('!') {
                Some(text) => (text, true),
                None => (*result, false),
            };
            let text = if text == "=" { expression } else { text };
            for expanded in [
                expand(dialect, expression, &surroundings()),
                expand(
                    Dialect::Compere,
                    &translate(dialect, expression),
                    &surroundings(),
                ),
            ] {
                // What stands for nothing is said in our own words, or in theirs.
                let is_reported = !expanded.unresolved.is_empty();
                assert_eq!(
                    is_reported,
                    reported,
                    "{} {expression}: {expanded:?}",
                    dialect.app()
                );
                if !reported {
                    assert_eq!(expanded.text, text, "{} {expression}", dialect.app());
                }
            }
        }
    }
}

#[test]
fn windsurf() {
    let text = r#"{ "mcpServers": {
        "local": { "command": "node", "args": ["${env:HERE}"], "disabledTools": ["a"] },
        "far": { "serverUrl": "https://h/mcp", "headers": { "X": "${file:/run/key}" } } } }"#;
    let found = read_as(Dialect::Windsurf, "mcp_config.json", text);
    assert_eq!(found.faults, []);
    let of = |name: &str| {
        found
            .entries
            .iter()
            .find(|entry| entry.name == name)
            .unwrap()
    };
    let (local, far) = (of("local"), of("far"));
    let (resolved, missing) = local.launch.resolve(local.dialect, &surroundings());
    assert_eq!(
        (resolved, missing),
        (command("node", &["here"]), Vec::new())
    );
    assert_eq!(local.notes, [Note::NotRead("disabledTools".to_owned())]);
    let (resolved, _) = far.launch.resolve(far.dialect, &surroundings());
    let Launch::Remote { url, headers } = resolved else {
        panic!("{resolved:?}");
    };
    assert_eq!((&*url, &*headers["X"]), ("https://h/mcp", "k3y"));
}

#[test]
fn codex() {
    let text = r#"
        model = "o"
        [mcp_servers.docs]
        command = "npx"
        args = ["-y", "${HERE}"]
        env = { A = "$HERE" }
        env_vars = ["HERE", { name = "EMPTY", source = "local" }]
        cwd = "/p"
        startup_timeout_sec = 20
        enabled = false
        default_tools_approval_mode = "approve"
        [mcp_servers.web]
        url = "https://h/mcp"
        bearer_token_env_var = "HERE"
        http_headers = { X = "y" }
        env_http_headers = { Z = "HERE" }
        scopes = ["r"]
    "#;
    let found = read_as(Dialect::Codex, "config.toml", text);
    assert_eq!(found.faults, []);
    let [docs, web] = &found.entries[..] else {
        panic!("{found:?}");
    };
    assert!(!docs.enabled);
    assert!(docs.notes.contains(&Note::GrantsNothing(
        "default_tools_approval_mode".to_owned()
    )));
    let (resolved, missing) = docs.launch.resolve(docs.dialect, &surroundings());
    let Launch::Command {
        arguments,
        environment,
        folder,
        ..
    } = resolved
    else {
        panic!("{resolved:?}");
    };
    assert_eq!(missing, []);
    // Nothing is replaced; what is named is given.
    assert_eq!(arguments, ["-y", "${HERE}"]);
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (&**name, value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        environment,
        [("A", "$HERE"), ("EMPTY", ""), ("HERE", "here")]
    );
    assert_eq!(folder.as_deref(), Some("/p"));
    let (resolved, _) = web.launch.resolve(web.dialect, &surroundings());
    let Launch::Remote { headers, .. } = resolved else {
        panic!("{resolved:?}");
    };
    assert_eq!(headers["Authorization"], "Bearer here");
    assert_eq!((&*headers["X"], &*headers["Z"]), ("y", "here"));
    assert!(
        web.notes.iter().any(|note| matches!(note, Note::SignIn(_))),
        "{:?}",
        web.notes
    );
    let broken = read_as(Dialect::Codex, "config.toml", "[mcp_servers");
    assert!(broken.faults[0].why.contains("no TOML"), "{broken:?}");
}

#[test]
fn gemini_zed_opencode_and_goose() {
    let gemini = r#"{ "mcpServers": { "s": { "command": "node", "args": ["$HERE"], "env": {"K": "$HERE", "W": "%HERE%"},
        "trust": true }, "h": { "httpUrl": "https://h", "oauth": {"enabled": false} } } }"#;
    let zed = r#"{ // settings
        "context_servers": { "s": { "source": "custom", "command": "node", "args": ["$HERE"], "env": {"K": "${HERE}"} } }, }"#;
    let opencode = r#"{ "mcp": { "s": { "type": "local", "command": ["node", "$HERE"], "environment": {"K": "{env:HERE}"},
        "enabled": true, "timeout": 5 }, "h": { "type": "remote", "url": "https://h", "oauth": false } } }"#;
    let goose = "extensions:\n  s: { name: x, type: stdio, cmd: node, args: [\"$HERE\"], envs: {K: b}, env_keys: [HERE], timeout: 300, enabled: true, bundled: false }\n  b: { type: builtin, name: developer }\n  h: { type: streamable_http, uri: \"https://h\" }\n";
    let table = [
        (Dialect::Gemini, gemini, "here", 2),
        (Dialect::Zed, zed, "${HERE}", 1),
        (Dialect::OpenCode, opencode, "here", 2),
        (Dialect::Goose, goose, "b", 2),
    ];
    for (dialect, text, value, count) in table {
        let app = dialect.app();
        let found = read_as(dialect, "settings", text);
        assert_eq!(found.faults, [], "{app}");
        assert_eq!(found.entries.len(), count, "{app}: {found:?}");
        let s = found
            .entries
            .iter()
            .find(|entry| entry.name == "s")
            .unwrap();
        let (resolved, missing) = s.launch.resolve(s.dialect, &surroundings());
        let Launch::Command {
            program,
            arguments,
            environment,
            ..
        } = resolved
        else {
            panic!("{app}: {resolved:?}");
        };
        assert_eq!(missing, [], "{app}");
        assert_eq!(
            (&*program, &arguments[..]),
            ("node", &["$HERE".to_owned()][..]),
            "{app}"
        );
        assert_eq!(environment["K"].as_deref(), Some(value), "{app}");
        if dialect == Dialect::Goose {
            assert_eq!(environment["HERE"].as_deref(), Some("here"));
        }
        if let Some(far) = found.entries.iter().find(|entry| entry.name == "h") {
            assert!(
                matches!(&far.launch, Launch::Remote { url, .. } if url == "https://h"),
                "{app}"
            );
            assert_eq!(far.notes, [], "{app}");
        }
    }
    let trusting = read_as(Dialect::Gemini, "settings.json", gemini);
    assert!(
        trusting
            .entries
            .iter()
            .any(|entry| entry.notes == [Note::GrantsNothing("trust".to_owned())])
    );
    // What only our own file says, says nothing elsewhere.
    let asking =
        r#"{ "mcpServers": { "s": { "command": "a", "unconfined": true, "network": true } } }"#;
    let found = read_as(Dialect::Windsurf, "mcp_config.json", asking);
    assert_eq!(
        found.entries[0].settings,
        compere_host::config::Settings::default()
    );
    assert_eq!(found.entries[0].notes.len(), 2);
    for dialect in Dialect::ALL {
        for text in [
            "", "[", "{\"a\": ", "\u{0}", "a: [", "- a\n- b", "= 1", "{}", "[]", "7",
        ] {
            read_as(dialect, "any", text);
        }
    }
    // Not even a file that wants to be large is.
    let many = format!(
        "a: &a [{}]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
        "x,".repeat(1_000)
    );
    assert_eq!(
        read_as(Dialect::Goose, "config.yaml", &many).faults.len(),
        1
    );
}
