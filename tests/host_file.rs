//! The schema of our file, from which editors complete it, says what is read and nothing else.

use std::path::Path;

use compere_host::config::HostFile;
use serde_json::{Value, json};

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/compere.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A value for a member, and for every kind of server.
fn file(member: &str, value: &Value) -> Value {
    let mut server = match member {
        "url" | "serverUrl" | "headers" => json!({"url": "http://127.0.0.1/mcp"}),
        _ => json!({"command": "program"}),
    };
    if member == "serverUrl" {
        server = json!({});
    }
    server[member] = value.clone();
    json!({"servers": {"one": server}})
}

#[test]
fn every_member_of_the_schema_is_read_and_no_other() {
    let schema = schema();
    let members = schema["$defs"]["server"]["properties"].as_object().unwrap();
    let valid = jsonschema::validator_for(&schema).unwrap();
    for (name, of) in members {
        let value = match (of["type"].as_str(), of["$ref"].as_str(), name.as_str()) {
            (Some("boolean"), ..) => json!(true),
            (Some("object"), ..) => json!({"NAME": "value"}),
            (_, Some(_), _) => json!(["one"]),
            (_, _, "type") => json!("stdio"),
            (_, _, "network") => json!(["a.example"]),
            (_, _, "sampling") => json!({"requests": 3, "tokens": 100, "money": 0.5}),
            (_, _, "url" | "serverUrl") => json!("http://127.0.0.1/mcp"),
            _ => json!("text"),
        };
        let file = file(name, &value);
        assert!(valid.is_valid(&file), "{name}: {file}");
        let read = HostFile::read(&file.to_string(), Path::new("/compere.json"));
        assert!(read.faults.is_empty(), "{name}: {:?}", read.faults);
        assert!(
            read.entries[0].notes.is_empty(),
            "{name}: {:?}",
            read.entries[0].notes
        );
        // What has another type is refused by both.
        let file = self::file(name, &json!(7));
        let read = HostFile::read(&file.to_string(), Path::new("/compere.json"));
        let is_wrong = !read.faults.is_empty();
        assert!(!valid.is_valid(&file), "{name}");
        assert!(is_wrong || name == "description", "{name}: {read:?}");
    }
    let unknown = file("unknown", &json!(true));
    let read = HostFile::read(&unknown.to_string(), Path::new("/compere.json"));
    assert_eq!(read.entries[0].notes.len(), 1);
}

#[test]
fn rules_and_apps_are_read_as_the_schema_says() {
    let valid = jsonschema::validator_for(&schema()).unwrap();
    let with = |rule: Value| json!({"policy": [rule]});
    let good = [
        with(json!({"allow": "tool", "server": "git", "name": "git_log"})),
        with(json!({"deny": "*"})),
        with(json!({"ask": ["tool", "prompt"], "when": "arguments.n > 1", "expires": 7})),
        with(json!({"allow": "tool", "app": "a", "learned": {"who": "ada", "at": 1}})),
        json!({"apps": {"cursor": {"servers": ["git"], "elicitation": true}}}),
        json!({"models": [{"name": "a", "provider": "ollama"}]}),
        json!({"models": [{
            "name": "a", "provider": "openai", "model": "b", "url": "http://h/v1", "key": "${secret:k}",
            "price": {"asked": 1, "answered": 2.5}, "intelligence": 1, "speed": 0,
        }]}),
    ];
    for (sampling, is_good) in [
        (json!(true), true),
        (json!(false), true),
        (json!({}), true),
        (json!({"requests": 0}), true),
        (json!({"requests": -1}), false),
        (json!({"tokens": 1.5}), false),
        (json!({"money": -1}), false),
        (json!({"money": "1"}), false),
        (json!({"unknown": 1}), false),
        (json!("yes"), false),
    ] {
        let file = file("sampling", &sampling);
        let read = HostFile::read(&file.to_string(), Path::new("/compere.json"));
        assert_eq!(read.faults.is_empty(), is_good, "{file}: {:?}", read.faults);
        assert_eq!(valid.is_valid(&file), is_good, "{file}");
    }
    let bad = [
        with(json!({})),
        with(json!({"allow": "tool", "deny": "tool"})),
        with(json!({"allow": "tools"})),
        with(json!({"allow": "tool", "servers": "git"})),
        with(json!({"allow": []})),
        json!({"apps": {"cursor": {"trust": true}}}),
        json!({"apps": {"cursor": {"elicitation": "yes"}}}),
        json!({"models": {}}),
        json!({"models": [{"name": "a"}]}),
        json!({"models": [{"name": "a", "provider": "nobody"}]}),
        json!({"models": [{"name": "a", "provider": "openai", "price": {"asked": -1}}]}),
        json!({"models": [{"name": "a", "provider": "openai", "speed": 2}]}),
        json!({"models": [{"name": "a", "provider": "openai", "more": 1}]}),
        json!({"policy": {}}),
    ];
    for (files, is_good) in [(&good[..], true), (&bad[..], false)] {
        for file in files {
            let read = HostFile::read(&file.to_string(), Path::new("/compere.json"));
            assert_eq!(!read.is_unusable(), is_good, "{file}: {:?}", read.faults);
            assert_eq!(valid.is_valid(file), is_good, "{file}");
        }
    }
}

/// The example of the guide is one.
#[test]
fn the_file_of_the_guide_can_be_read() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/host.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let (_, example) = text.split_once("```jsonc\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let read = HostFile::read(example, Path::new("/compere.json"));
    assert!(read.faults.is_empty(), "{:?}", read.faults);
    assert_eq!(
        (read.entries.len(), read.rules.len(), read.apps.len()),
        (3, 3, 1)
    );
    let value: Value = serde_json::from_str(example).unwrap();
    assert!(
        jsonschema::validator_for(&schema())
            .unwrap()
            .is_valid(&value)
    );
}
