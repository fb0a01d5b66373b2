//! Names under which the things of many servers are one list: no two the same, none too long, and none
//! that depends on the others.

use std::collections::BTreeMap;

use compere_host::naming::{NAME_CHARACTERS, handle, offered, unwrapped, wrapped};
use proptest::prelude::*;

#[test]
fn plain_names_stay_what_they_are() {
    assert_eq!(offered("git", "git_log"), "git__git_log");
    assert_eq!(offered("my-server", "Do_It"), "my-server__Do_It");
    let long = offered("git", &"x".repeat(80));
    assert_eq!(long.len(), NAME_CHARACTERS);
    assert!(long.starts_with("git__xxx"), "{long}");
}

#[test]
fn no_two_things_have_one_name() {
    let servers = [
        "a",
        "a_",
        "_a",
        "a__b",
        "a_b",
        "a-b",
        "a b",
        "A",
        "\u{430}",
        "a\u{200b}",
        "",
        ".",
        "..",
        "a-x0123456789ab",
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaab",
    ];
    let mut things: Vec<String> = ["b", "b__c", "__b", "_b", "b_", "c", "", "b.c", "b/c", "B"]
        .map(str::to_owned)
        .to_vec();
    things.extend((50..90).map(|length| "t".repeat(length)));
    things.push("\u{442}ool".to_owned());
    // Those that look as if they were shortened.
    let plain = things.clone();
    for thing in &plain {
        let offered = offered("a", thing);
        things.extend(offered.split_once("__").map(|(_, end)| end.to_owned()));
    }
    things.sort();
    things.dedup();
    let mut known: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for server in servers {
        for thing in &things {
            let name = offered(server, thing);
            assert!(name.len() <= NAME_CHARACTERS, "{name}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert!(name.bytes().all(plain), "{name}");
            if let Some(other) = known.insert(name.clone(), (server, thing)) {
                panic!("{name} is {other:?} and {:?}", (server, thing));
            }
        }
    }
}

proptest! {
    #[test]
    fn names_are_names_whatever_servers_call_things(
        (one, other) in (("\\PC{0,40}", "\\PC{0,90}"), ("\\PC{0,40}", "\\PC{0,90}"))
    ) {
        let name = offered(&one.0, &one.1);
        prop_assert!(name.len() <= NAME_CHARACTERS && name.is_ascii());
        prop_assert_eq!(name == offered(&other.0, &other.1), one == other);
    }

    #[test]
    fn what_is_wrapped_comes_out_again(server in "\\PC{1,40}", uri in "\\PC{0,200}") {
        let text = wrapped(&server, &uri);
        let (found, back) = unwrapped(&text).unwrap();
        prop_assert_eq!(found, handle(&server));
        prop_assert_eq!(back, uri);
    }
}
