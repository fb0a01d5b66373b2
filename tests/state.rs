//! What the host keeps: every damage to it is found, set aside and said, and nothing of it counts.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use compere_host::state::{Found, StateError, StateFolder};
use serde_json::{Value, json};

fn folder() -> (tempfile::TempDir, StateFolder) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::take(&folder.path().join("state")).unwrap();
    (folder, state)
}

fn content() -> Value {
    json!([{"id": "1", "app": "editor", "covers": {"exactly": {"n": 1.5, "text": "a \u{e9}"}}}])
}

fn read(state: &StateFolder) -> Found<Value> {
    state.read("grants", 1)
}

fn file(state: &StateFolder) -> PathBuf {
    state.path().join("grants.json")
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The file is set aside as it is, and the next look finds nothing.
fn is_set_aside(state: &StateFolder, what: &str) {
    match read(state) {
        Found::SetAside(path, why) => {
            assert!(!why.is_empty(), "{what}");
            assert!(path.symlink_metadata().is_ok(), "{what}");
            let gone = match path.symlink_metadata().unwrap().is_dir() {
                true => std::fs::remove_dir(&path),
                false => std::fs::remove_file(&path),
            };
            gone.unwrap();
        }
        other => panic!("{what}: {other:?}"),
    }
    assert!(matches!(read(state), Found::Nothing), "{what}");
}

#[test]
fn what_is_written_is_read_and_is_the_owners_alone() {
    let (_folder, state) = folder();
    assert!(matches!(read(&state), Found::Nothing));
    state.write("grants", 1, &content()).unwrap();
    match read(&state) {
        Found::Kept(found) => assert_eq!(found, content()),
        other => panic!("{other:?}"),
    }
    assert_eq!(mode(state.path()), 0o700);
    assert_eq!(mode(&file(&state)), 0o600);
    let secret = state.secret("a.key").unwrap();
    assert_eq!(state.secret("a.key").unwrap(), secret);
    assert_ne!(state.secret("b.key").unwrap(), secret);
    assert_eq!(mode(&state.path().join("a.key")), 0o600);
    // Another kind, another version.
    std::fs::copy(file(&state), state.path().join("pins.json")).unwrap();
    assert!(matches!(
        state.read::<Value>("pins", 1),
        Found::SetAside(..)
    ));
    assert!(matches!(
        state.read::<Value>("grants", 2),
        Found::SetAside(..)
    ));
}

#[test]
fn every_damage_is_found() {
    let (_folder, state) = folder();
    state.write("grants", 1, &content()).unwrap();
    let good = std::fs::read(file(&state)).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(file(&state), bytes).unwrap();
        std::fs::set_permissions(file(&state), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[place] ^= 1 << bit;
            put(&bad);
            is_set_aside(&state, &format!("bit {bit} of byte {place}"));
        }
        put(&good[..place]);
        is_set_aside(&state, &format!("cut at {place}"));
        let mut longer = good.clone();
        longer.insert(place, b'0');
        put(&longer);
        // A number may be written in several ways.
        match read(&state) {
            Found::Kept(found) => assert_eq!(found, content(), "a byte more at {place}"),
            Found::SetAside(path, _) => std::fs::remove_file(path).unwrap(),
            Found::Nothing => panic!("a byte more at {place}"),
        }
    }
    put(&good);
    std::fs::set_permissions(file(&state), std::fs::Permissions::from_mode(0o644)).unwrap();
    is_set_aside(&state, "open to others");
    std::fs::create_dir(file(&state)).unwrap();
    is_set_aside(&state, "a folder");
    let elsewhere = state.path().join("elsewhere");
    std::fs::write(&elsewhere, &good).unwrap();
    symlink(&elsewhere, file(&state)).unwrap();
    is_set_aside(&state, "a link");
    let status = std::process::Command::new("mkfifo")
        .arg(file(&state))
        .status();
    assert!(status.unwrap().success());
    is_set_aside(&state, "a pipe that nobody writes to");
    put(&good);
    assert!(matches!(read(&state), Found::Kept(_)));
}

#[test]
fn a_folder_is_had_by_one_and_by_its_owner() {
    let (folder, state) = folder();
    let path = folder.path().join("state");
    assert!(matches!(StateFolder::take(&path), Err(StateError::InUse)));
    drop(state);
    StateFolder::take(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    match StateFolder::take(&path) {
        Err(StateError::NotOurs(why)) => assert!(why.contains("chmod 700"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A write that was cut off leaves what was there.
#[test]
fn what_a_stop_left_behind_does_no_harm() {
    let (_folder, state) = folder();
    state.write("grants", 1, &content()).unwrap();
    std::fs::write(state.path().join("grants.new"), "{ half of").unwrap();
    assert!(matches!(read(&state), Found::Kept(_)));
    state.write("grants", 1, &json!([])).unwrap();
    match read(&state) {
        Found::Kept(found) => assert_eq!(found, json!([])),
        other => panic!("{other:?}"),
    }
}
