//! Secrets by name: kept in the keyring where there is one, else in a file; given to the server that asks
//! for them, and to be found nowhere else.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use compere_host::secrets::Secrets;
use compere_host::servers::Stage;
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::{compere, until};
use serde_json::{Value, json};

/// A keyring that keeps things in files, as `secret-tool` talks to one.
const KEYRING: &str = r#"#!/bin/sh
echo "$@" >> "$0.asked"
folder="$0.kept"; mkdir -p "$folder"
case "$1" in
  store) cat > "$folder/$7" ;;
  lookup) [ -f "$folder/$5" ] && cat "$folder/$5" ;;
  clear) rm -f "$folder/$5" ;;
  *) exit 2 ;;
esac
"#;
/// One that is locked, with nobody there to unlock it.
const LOCKED: &str = "#!/bin/sh\nexit 1\n";

fn keyring(folder: &Path, script: &str) -> std::path::PathBuf {
    let bin = folder.join("keyring");
    std::fs::create_dir_all(&bin).unwrap();
    let tool = bin.join("secret-tool");
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    bin
}

fn secret(folder: &Path, path: &Path, arguments: &[&str], given: &str) -> Output {
    let mut process = Command::new(compere())
        .arg("secret")
        .args(arguments)
        .arg("--file")
        .arg(folder.join("settings/compere.json"))
        .env("PATH", format!("{}:/usr/bin:/bin", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    // It may refuse before it reads.
    let _ = input.write_all(given.as_bytes());
    drop(input);
    process.wait_with_output().unwrap()
}

#[test]
fn a_secret_is_kept_in_the_keyring_or_in_a_file() {
    let folder = place(&json!({}));
    let folder = folder.path();
    let bin = keyring(folder, KEYRING);
    let nothing = folder.join("work");
    let file = folder.join("settings/secrets/api");
    let settings = folder.join("settings");
    let with = Secrets::new(&settings, Some(bin.as_os_str()));
    let without = Secrets::new(&settings, Some(nothing.as_os_str()));

    // Without a keyring, and with one that is locked.
    let locked = keyring(&folder.join("locked"), LOCKED);
    for (path, value) in [(&nothing, "hunter2\n"), (&locked, "hunter3")] {
        let done = secret(folder, path, &["set", "api"], value);
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(
            said.contains("for your eyes only") && said.contains("${secret:api}"),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), value.trim_end());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(without.get("api").as_deref(), Some(value.trim_end()));
    }
    // With one the file is gone.
    let done = secret(folder, &bin, &["set", "api"], "in the ring\n");
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("in the keyring"),
        "{done:?}"
    );
    assert!(!file.exists());
    assert_eq!(with.get("api").as_deref(), Some("in the ring"));
    assert_eq!(without.get("api"), None);
    let asked = std::fs::read_to_string(bin.join("secret-tool.asked")).unwrap();
    assert!(
        !asked.contains("ring\n") && asked.contains("store"),
        "{asked}"
    );
    // Forgotten.
    assert!(
        secret(folder, &bin, &["forget", "api"], "")
            .status
            .success()
    );
    assert_eq!(with.get("api"), None);
    assert!(
        !secret(folder, &bin, &["forget", "api"], "")
            .status
            .success()
    );
    // Names that would be others, and nothing.
    for name in ["../api", "-x", ".hidden", "a b", "a/b", ""] {
        let done = secret(folder, &bin, &["set", "--", name], "x");
        assert!(!done.status.success(), "{name}: {done:?}");
        assert_eq!(with.get(name), None);
    }
    assert!(!secret(folder, &bin, &["set", "api"], "\n").status.success());
    // A file that others can read is none.
    secret(folder, &nothing, &["set", "api"], "hunter2");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(without.get("api"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_its_secret_and_nobody_else() {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let mut server = probe(work.to_str().unwrap(), &json!({}));
    server["env"] = json!({"TOKEN": "Bearer ${secret:api}", "ANSWER": "${input:question}"});
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "tool"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    let stage = || host.status().servers[0].stage.clone();
    let Stage::Unusable(why) = stage() else {
        panic!("{:?}", stage());
    };
    assert!(why.contains("compere secret set "), "{why}");
    let nothing = host.path("work");
    for (name, value) in [("api", "hunter2"), ("input:question", "hunter3")] {
        let done = secret(host.folder.path(), &nothing, &["set", name], value);
        assert!(done.status.success(), "{done:?}");
    }
    host.order(&compere_host::door::Order::Retry {
        server: "probe".to_owned(),
    });
    until("the launch", || !host.questions().is_empty()).await;
    let shown = serde_json::to_string(&host.questions()).unwrap();
    assert!(
        shown.contains("TOKEN") && !shown.contains("hunter"),
        "{shown}"
    );
    host.approve(&["probe"]).await;
    let app = host.app("editor").await;
    let said = app.call("probe__probe", json!({"do": "variables"})).await;
    let said = text(&said.unwrap().into_inner());
    let said: Value = serde_json::from_str(said.strip_prefix("OPEN ").unwrap()).unwrap();
    assert_eq!(
        (&said["TOKEN"], &said["ANSWER"]),
        (&json!("Bearer hunter2"), &json!("hunter3"))
    );
    // What is kept and recorded does not hold it.
    let mut folders = vec![host.path("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let held = std::fs::read(entry.path()).unwrap();
                let found = held.windows(6).any(|window| window == b"hunter");
                assert!(!found, "{}", entry.path().display());
            }
        }
    }
    // Another secret is another launch.
    secret(host.folder.path(), &nothing, &["set", "api"], "hunter4");
    host.order(&compere_host::door::Order::Retry {
        server: "probe".to_owned(),
    });
    assert_eq!(stage(), Stage::Waiting);
}
