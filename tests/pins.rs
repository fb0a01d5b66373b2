//! Pins: every change of a definition is seen, and nothing else is; what is hidden is found; names that
//! look alike are told.

use compere::{Client, Command};
use compere_host::pins::names::seen_as;
use compere_host::pins::{
    FieldChange, Item, Kind, Piece, Pin, Pins, Standing, canonical, difference, digest, hidden,
    likenesses, words,
};
use compere_servers::everything::everything;
use compere_servers::files::Files;
use compere_tests::ground::peer;
use compere_tests::listening::Listening;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

async fn tools_of(client: Client, all: &mut Vec<Value>) {
    for tool in client.tools().collect().await.unwrap() {
        all.push(serde_json::to_value(tool).unwrap());
    }
    client.close().await.unwrap();
}

/// The definitions of real servers: ours, and those that everybody uses.
async fn real_definitions() -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let made = std::process::Command::new("git")
        .args(["init", "-q", &path])
        .status();
    assert!(made.unwrap().success());
    let mut all = Vec::new();
    tools_of(Client::connect(everything()).await.unwrap(), &mut all).await;
    let files = Files::new([folder.path()]).server().unwrap();
    tools_of(Client::connect(files).await.unwrap(), &mut all).await;
    let node = |name: &str| {
        let file = format!("npm-servers/node_modules/@modelcontextprotocol/{name}/dist/index.js");
        Command::new("node")
            .inherit_env(std::env::vars_os())
            .arg(peer(&file))
    };
    for server in [
        node("server-everything"),
        node("server-filesystem").arg(&path),
        node("server-memory"),
        Command::new(peer("py-new/bin/mcp-server-git")),
        Command::new(peer("py-new/bin/mcp-server-time")),
        Command::new(env!("CARGO_BIN_EXE_fixture-server")).arg("all"),
    ] {
        tools_of(Client::connect(server).await.unwrap(), &mut all).await;
    }
    let suite = tokio::process::Command::new(env!("CARGO_BIN_EXE_conformance-server"));
    let suite = Listening::start(suite).await;
    let client = Client::connect(suite.url.as_str()).await.unwrap();
    tools_of(client, &mut all).await;
    all
}

/// Every value of a definition with one thing changed, whatever that is.
fn changed(definition: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match definition {
        Value::Object(members) => {
            for (name, member) in members {
                for other in changed(member) {
                    let mut copy = members.clone();
                    copy.insert(name.clone(), other);
                    all.push(Value::Object(copy));
                }
                let mut without = members.clone();
                let member = without.remove(name).unwrap();
                all.push(Value::Object(without.clone()));
                without.insert(format!("{name}\u{200b}"), member);
                all.push(Value::Object(without));
            }
            let mut more = members.clone();
            more.insert("added".to_owned(), Value::Null);
            all.push(Value::Object(more));
        }
        Value::Array(items) => {
            for place in 0..items.len() {
                for other in changed(&items[place]) {
                    let mut copy = items.clone();
                    copy[place] = other;
                    all.push(Value::Array(copy));
                }
                let mut less = items.clone();
                less.remove(place);
                all.push(Value::Array(less));
                if place > 0 && items[place] != items[place - 1] {
                    let mut swapped = items.clone();
                    swapped.swap(place, place - 1);
                    all.push(Value::Array(swapped));
                }
            }
            let mut more = items.clone();
            more.push(Value::Null);
            all.push(Value::Array(more));
        }
        Value::String(text) => {
            all.push(Value::from(format!("{text} ")));
            all.push(Value::from(format!("\u{200b}{text}")));
            all.push(Value::from(text.to_uppercase() + "x"));
            all.push(json!([text]));
        }
        Value::Number(number) => {
            all.push(json!(number.as_f64().unwrap_or_default() + 1.5));
            all.push(Value::from(number.to_string()));
        }
        Value::Bool(flag) => all.push(Value::from(!flag)),
        Value::Null => all.push(Value::from(0)),
    }
    all
}

/// The same value, its members in the other order and with other white space.
fn otherwise_written(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev().map(|(name, member)| {
                format!(
                    " {} :\n{}",
                    Value::from(name.as_str()),
                    otherwise_written(member)
                )
            });
            format!("{{{} }}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items = items.iter().map(otherwise_written);
            format!("[\t{} ]", items.collect::<Vec<_>>().join(" , "))
        }
        simple => simple.to_string(),
    }
}

#[tokio::test]
async fn every_change_of_a_real_definition_stops_it() {
    let definitions = real_definitions().await;
    assert!(
        definitions.len() >= 100,
        "{} definitions",
        definitions.len()
    );
    let mut pins = Pins::default();
    let mut count = 0;
    for (number, definition) in definitions.iter().enumerate() {
        let item = Item::new(Kind::Tool, format!("{number}"));
        assert_eq!(pins.standing(&item, definition), Standing::New);
        pins.approve(item.clone(), definition.clone());
        assert_eq!(pins.standing(&item, definition), Standing::Approved);
        let written: Value = serde_json::from_str(&otherwise_written(definition)).unwrap();
        assert_eq!(pins.standing(&item, &written), Standing::Approved);
        for other in changed(definition) {
            count += 1;
            assert_eq!(
                pins.standing(&item, &other),
                Standing::Changed(definition),
                "{other}"
            );
            assert!(!difference(definition, &other).is_empty());
        }
    }
    assert!(count > 10_000, "{count} changes");
}

#[test]
fn one_item_is_no_other() {
    let definition = json!({"name": "a"});
    let tool = Item::new(Kind::Tool, "a");
    let one = digest(&tool, &definition);
    for other in [
        Item::new(Kind::Prompt, "a"),
        Item::new(Kind::Tool, "b"),
        Item::new(Kind::Tool, ""),
    ] {
        assert_ne!(digest(&other, &definition), one);
    }
    let mut pins = Pins::default();
    pins.approve(tool.clone(), definition.clone());
    assert_eq!(pins.gone(Kind::Tool, &["b"]).collect::<Vec<_>>(), [&tool]);
    assert_eq!(pins.gone(Kind::Tool, &["a"]).count(), 0);
    assert!(pins.revoke(&tool) && !pins.revoke(&tool));
    assert_eq!(pins.standing(&tool, &definition), Standing::New);
}

#[test]
fn a_kept_pin_that_was_tampered_with_approves_nothing() {
    let item = Item::new(Kind::Tool, "a");
    let mut pins = Pins::default();
    pins.approve(item.clone(), json!({"description": "reads"}));
    let kept: Vec<(Item, Pin)> = pins
        .iter()
        .map(|(item, pin)| (item.clone(), pin.clone()))
        .collect();
    assert_eq!(Pins::kept(kept.clone()), pins);
    let mut forged = kept.clone();
    forged[0].1.definition = json!({"description": "reads, and sends it away"});
    let forged = Pins::kept(forged);
    let now = json!({"description": "reads, and sends it away"});
    assert_eq!(forged.standing(&item, &now), Standing::New);
    let mut moved = kept;
    moved[0].0.name = "b".to_owned();
    assert_eq!(Pins::kept(moved).iter().count(), 0);
}

#[test]
fn differences_are_named_field_by_field_and_word_by_word() {
    let before = json!({"a/b": {"c~": [1, {"d": "x"}]}, "gone": 1, "same": [1]});
    let after = json!({"a/b": {"c~": [1, {"d": "y"}, 2]}, "new": null, "same": [1]});
    let change = |path: &str, before: Option<Value>, after: Option<Value>| FieldChange {
        path: path.to_owned(),
        before,
        after,
    };
    assert_eq!(
        difference(&before, &after),
        [
            change("/a~1b/c~0/1/d", Some(json!("x")), Some(json!("y"))),
            change("/a~1b/c~0/2", None, Some(json!(2))),
            change("/gone", Some(json!(1)), None),
            change("/new", None, Some(Value::Null)),
        ]
    );
    assert_eq!(
        words("Reads a file.", "Reads a secret file."),
        [
            Piece::Same("Reads a ".to_owned()),
            Piece::New("secret ".to_owned()),
            Piece::Same("file.".to_owned()),
        ]
    );
}

#[test]
fn what_is_hidden_is_found() {
    for (text, what) in [
        ("plain héllo\n\t世界", None),
        ("a\u{e0041}\u{e0042}", Some(("tags", 2))),
        ("\u{202e}exe", Some(("turn text round", 1))),
        ("re\u{200b}ad", Some(("without width", 1))),
        ("\u{1b}[31m", Some(("commands to a terminal", 1))),
        ("a\u{fe0f}", Some(("variation selectors", 1))),
        ("a\u{7}", Some(("control characters", 1))),
        ("a\r", Some(("carriage", 1))),
        ("\u{e000}", Some(("private use", 1))),
    ] {
        for definition in [
            json!({"name": "t", "inputSchema": {"properties": {"p": {"description": text}}}}),
            json!({"name": "t", "inputSchema": {"properties": {"p": {"enum": [text]}}}}),
        ] {
            let found = hidden(&definition);
            match what {
                None => assert_eq!(found, []),
                Some((what, count)) => {
                    assert_eq!(found.len(), 1, "{text:?}: {found:?}");
                    assert!(
                        found[0].what.contains(what) && found[0].count == count,
                        "{found:?}"
                    );
                    assert!(found[0].path.starts_with("/inputSchema/properties/p/"));
                }
            }
        }
    }
    let mut named = Map::new();
    named.insert("de\u{200b}scription".to_owned(), Value::Null);
    assert_eq!(hidden(&Value::Object(named)).len(), 1, "in names too");
}

#[test]
fn names_that_look_alike_are_told() {
    for (one, other) in [
        ("read_file", "Read_File"),
        ("read_file", "read_fi\u{200b}le"),
        ("read_file", "re\u{430}d_file"),
        ("search", "\u{455}earch"),
        ("paypal", "p\u{430}yp\u{430}l"),
        ("scope", "\u{455}\u{441}\u{43e}\u{440}\u{435}"),
        ("file", "\u{fb01}le"),
        ("files", "files\u{e0061}"),
    ] {
        assert_eq!(seen_as(one), seen_as(other), "{one} and {other}");
        let found = likenesses(["else", one, other, one]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names, [one, other]);
    }
    let apart = [
        "read_file",
        "read_files",
        "read_text_file",
        "write_file",
        "git_log",
        "git_diff",
    ];
    assert_eq!(likenesses(apart), []);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn one_text_for_one_value(one in any_json(), other in any_json()) {
        let again: Value = serde_json::from_str(&canonical(&one)).unwrap();
        prop_assert_eq!(&again, &one);
        prop_assert_eq!(canonical(&one) == canonical(&other), one == other);
        prop_assert_eq!(difference(&one, &other).is_empty(), one == other);
    }

    #[test]
    fn all_of_both_texts_is_there(before in "[ab .]{0,20}", after in "[ab .]{0,20}") {
        let (mut was, mut is) = (String::new(), String::new());
        for piece in words(&before, &after) {
            match piece {
                Piece::Same(text) => {
                    was.push_str(&text);
                    is.push_str(&text);
                }
                Piece::Gone(text) => was.push_str(&text),
                Piece::New(text) => is.push_str(&text),
            }
        }
        prop_assert_eq!((was, is), (before, after));
    }
}
