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
            Note::GrantsNothing("alwaysLoad".to_owned()),
            Note::SignIn("oauth".to_owned()),
            Note::NotRead("timeout".to_owned()),
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
            "/home/ada/.config/Claude/claude_desktop_config.json",
            "/home/ada/.config/Code/User/mcp.json",
        ]
    );
    let of_workspace = found.iter().filter(|place| place.scope == Scope::Workspace);
    assert_eq!(of_workspace.count(), 4);
    let elsewhere = Folders {
        claude: Some(Path::new("/srv/claude")),
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
