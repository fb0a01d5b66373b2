//! Servers that `npx` and `uvx` would fetch at each start: fetched once, by a registry of ours, after a
//! yes; run from there without the network; and stopped when they are not what was approved.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use compere_host::config::{Dialect, HostFile, Surroundings};
use compere_host::consent::{Answer, Topic};
use compere_host::door::{Order, Reply};
use compere_host::servers::Stage;
use compere_host::servers::digests::Digests;
use compere_host::servers::launch::{Launching, Machine, Way, launching};
use compere_tests::ground::peer;
use compere_tests::hosting::{Hosting, place, text};
use compere_tests::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A registry of npm with one package.
#[derive(Clone, Default)]
struct Registry {
    /// What is at each path.
    pages: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    versions: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Registry {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            port: listener.local_addr().unwrap().port(),
            ..Self::default()
        };
        let serving = registry.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut piece = [0; 4_096];
                        match stream.read(&mut piece).await {
                            Ok(count) if count > 0 => request.extend(&piece[..count]),
                            _ => return,
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    serving.asked.lock().unwrap().push(path.clone());
                    let page = serving.pages.lock().unwrap().get(&path).cloned();
                    let (status, page) = match page {
                        Some(page) => ("200 OK", page),
                        None => ("404 Not Found", b"{}".to_vec()),
                    };
                    let length = page.len();
                    let kind = match path.ends_with('/') {
                        true => "text/html",
                        false => "application/octet-stream",
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&page).await;
                });
            }
        });
        registry
    }

    /// Publishes a version of the package `weather`, whose program is here.
    fn publish(&self, version: &str, program: &str, owned: &Path) {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        std::fs::create_dir(&package).unwrap();
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/weather.mjs");
        let server = std::fs::read_to_string(server).unwrap();
        let server = format!(
            "#!/usr/bin/env node\n{}",
            server.replace("VERSION", version)
        );
        std::fs::write(package.join("server.mjs"), server).unwrap();
        let about = json!({
            "name": "weather",
            "version": version,
            "bin": {"weather": program},
            // Nothing of a package runs before it is approved.
            "scripts": {"postinstall": format!("touch {}", owned.display())},
        });
        std::fs::write(package.join("package.json"), about.to_string()).unwrap();
        let file = folder.path().join("weather.tgz");
        let packed = Command::new("tar")
            .args(["czf", file.to_str().unwrap(), "-C"])
            .args([folder.path(), Path::new("package")])
            .status()
            .unwrap();
        assert!(packed.success());
        let path = format!("/weather/-/weather-{version}.tgz");
        let packed = std::fs::read(&file).unwrap();
        let mut about = about;
        about["dist"] = json!({
            "tarball": format!("http://127.0.0.1:{}{path}", self.port),
            "integrity": format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(&packed))),
        });
        let mut versions = self.versions.lock().unwrap();
        versions.insert(version.to_owned(), about);
        let page = json!({
            "name": "weather",
            "dist-tags": {"latest": version},
            "versions": &*versions,
        });
        let mut pages = self.pages.lock().unwrap();
        pages.insert(path, packed);
        pages.insert("/weather".to_owned(), page.to_string().into_bytes());
    }

    /// Puts a wheel of the package `weather` into an index of Python packages.
    fn publish_wheel(&self, version: &str) {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/weather.py");
        let made = Command::new("python3")
            .args(["-c", WHEEL, folder.path().to_str().unwrap(), version])
            .arg(script)
            .status()
            .unwrap();
        assert!(made.success());
        let name = format!("weather-{version}-py3-none-any.whl");
        let wheel = std::fs::read(folder.path().join(&name)).unwrap();
        let page = format!("<a href=\"/files/{name}\">{name}</a>");
        let mut pages = self.pages.lock().unwrap();
        pages.insert(format!("/files/{name}"), wheel);
        pages.insert("/simple/weather/".to_owned(), page.into_bytes());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// A host with this server, and a home that leads to the registry.
fn hosting(registry: &Registry, server: &Value) -> Hosting {
    let folder = place(&json!({"servers": {"weather": server}, "policy": [{"allow": "*"}]}));
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let settings = format!("registry=http://127.0.0.1:{}/\n", registry.port);
    std::fs::write(home.join(".npmrc"), settings).unwrap();
    Hosting::start_in(folder, &[])
}

/// The one question that waits, about a launch: its id, whether it is about fetching, and all of it.
async fn asked_about_launch(host: &Hosting) -> (u64, bool, Value) {
    let mut found = None;
    until("the question about a launch", || {
        found = host.questions().into_iter().find_map(|question| {
            let about = serde_json::to_value(&question.topic).unwrap();
            match question.topic {
                Topic::Launch { fetches, .. } => Some((question.id, fetches, about)),
                _ => None,
            }
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

fn yes(host: &Hosting, id: u64, about: &Value) {
    let answer = Answer::Approve {
        digest: about["digest"].as_str().unwrap().to_owned(),
        except: Vec::new(),
        reads: Vec::new(),
    };
    let reply = host.answer(id, answer);
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_fetched_once_and_is_what_was_approved() {
    let registry = Registry::start().await;
    let server = json!({"command": "npx", "args": ["-y", "weather", "in", "London"]});
    let mut host = hosting(&registry, &server);
    let owned = host.path("home/owned");
    registry.publish("1.0.0", "server.mjs", &owned);

    // Nothing is asked of the registry before a person agreed to that.
    let (id, fetches, about) = asked_about_launch(&host).await;
    assert!(fetches, "{about}");
    assert!(
        about["facts"][0]
            .as_str()
            .unwrap()
            .contains("fetches weather"),
        "{about}"
    );
    assert_eq!(registry.asked(), 0);
    yes(&host, id, &about);

    // It is shown which one it is, before anything of it runs.
    let (id, fetches, about) = asked_about_launch(&host).await;
    assert!(!fetches, "{about}");
    let facts = about["facts"].to_string();
    assert!(facts.contains("the package weather 1.0.0"), "{facts}");
    assert!(facts.contains("whose integrity is sha512-"), "{facts}");
    assert!(facts.contains("cannot use the network"), "{facts}");
    let of_root = match rustix::process::geteuid().is_root() {
        true => json!(["it runs as root, though without the privileges of root"]),
        false => json!([]),
    };
    assert_eq!(about["warnings"], of_root);
    yes(&host, id, &about);
    host.approve(&["weather"]).await;
    assert!(!owned.exists(), "a script of a package has run");

    // It runs, without the network.
    let port = registry.port;
    let call = async |host: &Hosting| {
        let app = host.app("editor").await;
        let called = app.call("weather__weather", json!({"port": port})).await;
        called.map(|called| text(&called.into_inner()))
    };
    assert_eq!(call(&host).await.unwrap(), "1.0.0 in,London EPERM");

    // Another version is nobody's business, until a person wants it.
    registry.publish("1.1.0", "server.mjs", &owned);
    let before = registry.asked();
    host.kill_and_start();
    assert_eq!(call(&host).await.unwrap(), "1.0.0 in,London EPERM");
    assert_eq!(registry.asked(), before);
    host.order(&Order::Update {
        server: "weather".to_owned(),
    });
    let (id, fetches, about) = asked_about_launch(&host).await;
    assert!(!fetches, "{about}");
    let changes = about["changes"].to_string();
    assert!(
        changes.contains("1.0.0") && changes.contains("1.1.0"),
        "{changes}"
    );
    assert!(call(&host).await.is_err());
    yes(&host, id, &about);
    until("the new one", || {
        host.status().servers[0].stage == Stage::Ready
    })
    .await;
    assert_eq!(call(&host).await.unwrap(), "1.1.0 in,London EPERM");
    let records: Vec<String> = host.records().iter().map(Value::to_string).collect();
    let noted = |words: &str| {
        records
            .iter()
            .filter(|record| record.contains(words))
            .count()
    };
    assert_eq!(noted("weather 1.1.0 (sha512-"), 1, "{records:?}");

    // A file that somebody changed is not what was approved.
    let fetched = host.path("cache/compere/servers/.fetched/weather");
    let changed: Vec<PathBuf> = std::fs::read_dir(&fetched)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .join("node_modules/weather/server.mjs")
        })
        .filter(|path| path.exists())
        .collect();
    let [changed] = &changed[..] else {
        panic!("one version is kept: {changed:?}");
    };
    std::fs::write(changed, "#!/usr/bin/env node\nprocess.exit(3)").unwrap();
    host.order(&Order::Retry {
        server: "weather".to_owned(),
    });
    let (_, _, about) = asked_about_launch(&host).await;
    assert!(about["changes"].to_string().contains("files"), "{about}");
    assert!(call(&host).await.is_err());
}

/// What cannot be fetched says why, and can be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_says_why() {
    let registry = Registry::start().await;
    let server = json!({"command": "npx", "args": ["weather@1"]});
    let host = hosting(&registry, &server);
    let owned = host.path("home/owned");
    let (id, _, about) = asked_about_launch(&host).await;
    yes(&host, id, &about);
    let why = async |words: &str| {
        let mut found = String::new();
        until("the failure", || match &host.status().servers[0].stage {
            Stage::Unusable(why) => {
                found.clone_from(why);
                why.contains(words)
            }
            _ => false,
        })
        .await;
        found
    };
    let said = why("404").await;
    assert!(said.contains("weather@1 cannot be fetched"), "{said}");
    // A program outside of its package is none.
    registry.publish("1.0.0", "../../../../../bin/sh", &owned);
    let again = || {
        host.order(&Order::Retry {
            server: "weather".to_owned(),
        })
    };
    again();
    why("lies outside of it").await;
    let fetched = host.path("cache/compere/servers/.fetched/weather");
    assert_eq!(std::fs::read_dir(fetched).unwrap().count(), 0);
    // Then it is there.
    registry.publish("1.0.1", "./server.mjs", &owned);
    again();
    let (_, fetches, about) = asked_about_launch(&host).await;
    assert!(
        !fetches && about.to_string().contains("weather 1.0.1"),
        "{about}"
    );
}

/// A wheel that is a server, made by hand.
const WHEEL: &str = r#"
import sys, zipfile
folder, version, server = sys.argv[1:]
with zipfile.ZipFile(f"{folder}/weather-{version}-py3-none-any.whl", "w") as wheel:
    info = f"weather-{version}.dist-info"
    wheel.write(server, "weather.py")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: weather\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nweather = weather:main\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_python_is_fetched_the_same_way() {
    let folder = place(&json!({}));
    let uvx = peer("py-uv/bin/uvx");
    let server = json!({"command": uvx, "args": ["weather@2.0", "in", "Paris"]});
    let file = json!({"servers": {"weather": server}, "policy": [{"allow": "*"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let settings = folder.path().join("home/.config/uv");
    std::fs::create_dir_all(&settings).unwrap();
    let registry = Registry::start().await;
    registry.publish_wheel("2.0");
    let index = format!(
        "[[index]]\nurl = \"http://127.0.0.1:{}/simple\"\ndefault = true\n",
        registry.port
    );
    std::fs::write(settings.join("uv.toml"), index).unwrap();
    let host = Hosting::start_in(folder, &[]);
    let (id, fetches, about) = asked_about_launch(&host).await;
    assert!(
        fetches && about.to_string().contains("weather==2.0"),
        "{about}"
    );
    yes(&host, id, &about);
    let (id, fetches, about) = asked_about_launch(&host).await;
    assert!(
        !fetches && about.to_string().contains("the package weather 2.0"),
        "{about}"
    );
    yes(&host, id, &about);
    host.approve(&["weather"]).await;
    let app = host.app("editor").await;
    let called = app.call("weather__weather", json!({})).await.unwrap();
    assert_eq!(text(&called.into_inner()), "in Paris");
}

/// What would be fetched for each command line; where it cannot be told, it is said that it would be
/// fetched at each start.
#[test]
fn command_lines_say_what_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["npx", "npm", "uvx", "uv"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let table = [
        ("npx some-server", Some("some-server")),
        (
            "npx -y @scope/server@1.2.3 /folder",
            Some("@scope/server@1.2.3"),
        ),
        ("npx --yes server@^1 --flag -y", Some("server@^1")),
        ("npx -y -p tools@2 -p more server", Some("tools@2, more")),
        ("npx --package=@a/b program arg", Some("@a/b")),
        ("npx -- server", Some("server")),
        // Not the registry: a folder, an address, an alias, a repository.
        ("npx ./server", None),
        ("npx https://example.com/server.tgz", None),
        ("npx git+ssh://git@example.com/server", None),
        ("npx other@npm:server", None),
        ("npx user/repository", None),
        ("npx -c server", None),
        ("npx -y", None),
        ("npx -p --registry=http://evil server", None),
        ("uvx mcp-server-git --repository .", Some("mcp-server-git")),
        ("uvx mcp-server-git@1.0", Some("mcp-server-git==1.0")),
        ("uvx mcp-server-git@latest", Some("mcp-server-git")),
        (
            "uvx --from tools[extra]==1.0 program",
            Some("tools[extra]==1.0"),
        ),
        (
            "uvx --from=tools --with more>=2 program",
            Some("tools, more>=2"),
        ),
        ("uvx --python 3.12 server", Some("server")),
        ("uvx --index http://evil server", None),
        ("uvx git+https://example.com/server", None),
        ("uvx --from ./folder server", None),
        ("uvx --from tools ../program", None),
    ];
    for (line, expected) in table {
        let mut words = line.split(' ');
        let program = folder.path().join(words.next().unwrap());
        let file =
            json!({"servers": {"it": {"command": program, "args": words.collect::<Vec<_>>()}}});
        let file = HostFile::read(&file.to_string(), Path::new("compere.json"));
        let found = looked_at(&file, folder.path());
        match expected {
            Some(packages) => {
                assert!(matches!(found.way, Way::Fetch(_)), "{line}: {found:?}");
                let words = format!("fetches {packages} from ");
                assert!(
                    found.facts[0].starts_with(&words),
                    "{line}: {:?}",
                    found.facts
                );
            }
            None => {
                assert!(matches!(found.way, Way::Program(_)), "{line}: {found:?}");
                let warnings = found.warnings.join("\n");
                assert!(warnings.contains("at each start"), "{line}: {warnings}");
            }
        }
    }
}

fn looked_at(file: &HostFile, folder: &Path) -> Launching {
    let [entry] = &file.entries[..] else {
        panic!("{:?}", file.faults);
    };
    assert_eq!(entry.dialect, Dialect::Compere);
    let machine = Machine {
        is_root: false,
        may_be_root: false,
        own: folder.join("compere"),
        environment: BTreeMap::new(),
        home: None,
        folder: folder.to_owned(),
        secret: Vec::new(),
        cache: Some(folder.join("cache")),
    };
    let surroundings = Surroundings {
        variable: &|_| None,
        input: &|_| None,
        file: &|_| None,
        secret: &|_| None,
        workspace: None,
        home: None,
    };
    launching(
        entry,
        &machine,
        &surroundings,
        &Digests::default(),
        &[0; 32],
    )
    .unwrap()
}
