//! What a confined server can do, tried from its inside; the same without confinement, so that it is
//! known that each try could succeed; and a server that comes to the host's own door.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Program, Stdio};

use compere::Client;
use compere_host::config::{HostFile, Surroundings};
use compere_host::consent::{Answer, Topic};
use compere_host::door::{Order, Reply};
use compere_host::sandbox;
use compere_host::servers::digests::Digests;
use compere_host::servers::hosts::{Named, is_near};
use compere_host::servers::launch::{Machine, launching};
use compere_tests::hosting::{Hosting, place, probe, text};
use compere_tests::{compere, until};
use serde_json::{Value, json};

/// What is outside of the folder that the server is given.
struct Outside {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    _unix: UnixListener,
}

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "the secret").unwrap();
        std::fs::write(folder.path().join("other"), "another file").unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        Self {
            folder,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            _unix: unix,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Each try, and what may answer it without confinement.
    fn tries(&self) -> Vec<Value> {
        let secret = self.path("secret");
        let port = self.tcp.local_addr().unwrap().port();
        let plain = [
            "udp",
            "tcp6",
            "mptcp",
            "netlink",
            "listen",
            "ring",
            "space",
            "memory_file",
            "keys",
            "pace_of_host",
            "shared_memory",
            "perf",
            "large_file",
            "environ",
        ];
        let mut tries: Vec<Value> = plain.iter().map(|what| json!({"do": what})).collect();
        for what in ["read", "child", "symlink", "chmod", "utime", "link"] {
            tries.push(json!({"do": what, "path": secret}));
        }
        tries.extend([
            json!({"do": "list", "path": self.folder.path()}),
            json!({"do": "read", "path": "/etc/passwd"}),
            json!({"do": "write", "path": self.path("written")}),
            json!({"do": "write", "path": secret}),
            json!({"do": "mkdir", "path": self.path("made")}),
            json!({"do": "unlink", "path": self.path("other")}),
            json!({"do": "kill", "process": std::process::id()}),
            json!({"do": "tcp", "port": port}),
            json!({"do": "fastopen", "port": port}),
            json!({"do": "unix", "path": self.path("socket")}),
        ]);
        tries
    }

    /// Tries to find out about what it cannot touch.
    fn glances(&self) -> Vec<Value> {
        let link = self.path("link");
        if !Path::new(&link).is_symlink() {
            std::os::unix::fs::symlink("secret", &link).unwrap();
        }
        let mut glances: Vec<Value> = ["stat", "held", "watch"]
            .iter()
            .map(|what| json!({"do": what, "path": self.path("secret")}))
            .collect();
        glances.extend([
            json!({"do": "chdir", "path": self.folder.path()}),
            json!({"do": "readlink", "path": link}),
            json!({"do": "stat", "path": "/etc/passwd"}),
            json!({"do": "stat", "path": "/sys"}),
            json!({"do": "cmdline", "process": std::process::id()}),
        ]);
        glances
    }
}

async fn outcomes(host: &Hosting, tries: &[Value]) -> Vec<(Value, bool, String)> {
    tried_by(&host.app("tester").await, tries).await
}

async fn tried_by(app: &Client, tries: &[Value]) -> Vec<(Value, bool, String)> {
    let mut outcomes = Vec::new();
    for given in tries {
        let result = app.call("probe__probe", given.clone()).await.unwrap();
        let words = text(&result.into_inner());
        outcomes.push((given.clone(), words.starts_with("OPEN"), words));
    }
    outcomes
}

async fn host(settings: &Value) -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let server = probe(work.to_str().unwrap(), settings);
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "*"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    host.approve(&["probe"]).await;
    host
}

// E-524 E-526
// A-TS-04 A-TS-07 A-ROOT-09 C-GUIDE-18 C-GUIDE-28
#[tokio::test(flavor = "multi_thread")]
async fn a_confined_server_can_do_nothing_outside_of_what_it_was_given() {
    for namespaces in [true, false] {
        nothing_outside(namespaces).await;
    }
}

async fn nothing_outside(namespaces: bool) {
    let outside = Outside::new();
    let confined = host(&json!({"write": true, "namespaces": namespaces})).await;
    for (given, is_open, words) in outcomes(&confined, &outside.glances()).await {
        // Without a world of its own it is told that it can see these.
        let is_process = given["do"] == "cmdline";
        assert_eq!(is_open, !namespaces && !is_process, "{given}: {words}");
    }
    let mut open = Vec::new();
    for (given, is_open, words) in outcomes(&confined, &outside.tries()).await {
        // To change what is its own is its right: it may write here.
        let own = matches!(given["do"].as_str(), Some("chmod" | "utime"));
        if is_open && !own {
            open.push(format!("{given}: {words}"));
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
    assert_eq!(
        std::fs::read_to_string(outside.path("secret")).unwrap(),
        "the secret"
    );
    assert!(Path::new(&outside.path("other")).exists());
    // What it was given it can use.
    let work = confined.work();
    let can = [
        json!({"do": "write", "path": format!("{work}/file")}),
        json!({"do": "read", "path": format!("{work}/file")}),
        json!({"do": "child", "path": format!("{work}/file")}),
    ];
    for (given, is_open, words) in outcomes(&confined, &can).await {
        assert!(is_open, "{given}: {words}");
    }
    let found = outcomes(&confined, &[json!({"do": "descriptors"})]).await;
    assert_eq!(found[0].2, "OPEN []");
    let found = outcomes(&confined, &[json!({"do": "variables"})]).await;
    let variables: Value = serde_json::from_str(found[0].2.strip_prefix("OPEN ").unwrap()).unwrap();
    let known = compere::transport::child::INHERITED_VARIABLES;
    // Those of the shell that stands before some Pythons are its own.
    let more = ["PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"];
    for name in variables.as_object().unwrap().keys() {
        let own = name.contains("PYENV");
        assert!(
            known.contains(&&**name) || more.contains(&&**name) || own,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_changes_nothing_at_all() {
    let outside = Outside::new();
    for namespaces in [true, false] {
        changes_nothing(&outside, namespaces).await;
    }
}

async fn changes_nothing(outside: &Outside, namespaces: bool) {
    let confined = host(&json!({"namespaces": namespaces})).await;
    let work = confined.work();
    std::fs::write(format!("{work}/file"), "mine").unwrap();
    let mut tries = outside.tries();
    for what in ["write", "unlink", "chmod", "utime"] {
        tries.push(json!({"do": what, "path": format!("{work}/file")}));
    }
    for (given, is_open, words) in outcomes(&confined, &tries).await {
        assert!(!is_open, "{given}: {words}");
    }
    assert_eq!(
        std::fs::read_to_string(format!("{work}/file")).unwrap(),
        "mine"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_network_it_has_that_and_nothing_else() {
    let outside = Outside::new();
    for namespaces in [true, false] {
        network_alone(&outside, namespaces).await;
    }
}

async fn network_alone(outside: &Outside, namespaces: bool) {
    let confined = host(&json!({"network": true, "namespaces": namespaces})).await;
    let network = ["udp", "tcp6", "tcp", "fastopen", "mptcp", "listen"];
    for (given, is_open, words) in outcomes(&confined, &outside.tries()).await {
        let of_network = network.contains(&given["do"].as_str().unwrap());
        // Not every kernel has each of these.
        let may = matches!(given["do"].as_str(), Some("mptcp" | "tcp6" | "fastopen"));
        assert!(is_open == of_network || may, "{given}: {words}");
    }
}

/// The tries themselves can succeed.
#[tokio::test(flavor = "multi_thread")]
async fn an_unconfined_server_can_do_what_the_person_can() {
    let outside = Outside::new();
    let free = host(&json!({"unconfined": true})).await;
    let mut refused = Vec::new();
    for (given, is_open, words) in outcomes(&free, &outside.glances()).await {
        assert!(is_open, "{given}: {words}");
    }
    for (given, is_open, words) in outcomes(&free, &outside.tries()).await {
        if !is_open {
            refused.push(format!("{given}: {words}"));
        }
    }
    // What the system itself may not have or not allow.
    let may = [
        "mptcp", "fastopen", "tcp6", "ring", "perf", "space", "keys", "link", "environ",
    ];
    refused.retain(|words| {
        !may.iter()
            .any(|what| words.contains(&format!("\"{what}\"")))
    });
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

// A-TS-16
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_to_the_door_is_turned_away() {
    let free = host(&json!({"unconfined": true, "write": true})).await;
    let state = free.path("state");
    let tries = [
        json!({"do": "door", "state": state}),
        json!({"do": "door_as_app", "state": state}),
        json!({"do": "door_by_child", "state": state, "program": compere()}),
    ];
    let found = outcomes(&free, &tries).await;
    for (given, is_open, words) in &found {
        // Those who are turned away may not even get to say who they are.
        let away = !is_open || words.contains("no business here");
        assert!(away, "{given}: {words}");
    }
    let records = free.records();
    let turned = records.iter().filter(|record| {
        record["outcome"]
            .as_str()
            .unwrap_or_default()
            .contains("turned away")
    });
    assert_eq!(turned.count(), 3);
    // Confined, it does not even get there.
    let confined = host(&json!({"write": true})).await;
    let state = confined.path("state");
    let tries = [
        json!({"do": "door", "state": state}),
        json!({"do": "read", "path": state.join("door.key")}),
        json!({"do": "unix", "path": state.join("host.sock")}),
        json!({"do": "write", "path": confined.path("settings/compere.json")}),
    ];
    for (given, is_open, words) in outcomes(&confined, &tries).await {
        assert!(!is_open, "{given}: {words}");
    }
}

/// Settings and state of the host are nobody's roots.
#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_given_the_state_of_the_host() {
    let folder = place(&json!({}));
    let above = folder.path().canonicalize().unwrap();
    for roots in [
        above.clone(),
        above.join("settings"),
        above.join("state/audit"),
    ] {
        std::fs::create_dir_all(above.join("state/audit")).unwrap();
        let server = json!({"command": "python3", "args": [], "roots": [roots]});
        let file = json!({"servers": {"greedy": server}});
        std::fs::write(above.join("settings/compere.json"), file.to_string()).unwrap();
        set_mode(&above.join("state"), 0o700);
        let host = Hosting::start_in(tempfile_of(&above), &[]);
        let status = serde_json::to_string(&host.status().servers[0].stage).unwrap();
        assert!(status.contains("which no server is given"), "{status}");
        assert!(host.questions().is_empty());
    }
    drop(folder);
}

/// The same settings in a folder of their own.
fn tempfile_of(above: &Path) -> tempfile::TempDir {
    let folder = place(&json!({}));
    let to = folder.path().canonicalize().unwrap();
    std::fs::create_dir_all(to.join("state/audit")).unwrap();
    set_mode(&to.join("state"), 0o700);
    let text = std::fs::read_to_string(above.join("settings/compere.json")).unwrap();
    let text = text.replace(above.to_str().unwrap(), to.to_str().unwrap());
    std::fs::write(to.join("settings/compere.json"), text).unwrap();
    folder
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn launcher(profile: &Value, program: &str) -> (i32, String) {
    let mut child = Program::new(compere())
        .args([
            sandbox::COMMAND,
            &std::process::id().to_string(),
            &profile.to_string(),
            program,
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), words)
}

/// What cannot be kept is not promised: the server does not start, and that is said.
#[test]
fn what_cannot_be_confined_does_not_start() {
    let profile = |run: &[&str]| json!({"run": run, "read": [], "write": [], "network": false});
    let system = ["/usr", "/bin", "/lib", "/lib64"];
    let there: Vec<&str> = system
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    assert_eq!(launcher(&profile(&there), "/bin/true"), (0, String::new()));
    let (code, words) = launcher(&profile(&["/there/is/no/such/folder"]), "/bin/true");
    assert_eq!(code, 125);
    assert!(words.contains("not started"), "{words}");
    let (code, words) = launcher(&json!("no profile"), "/bin/true");
    assert_eq!(
        (code, words.contains("cannot be read")),
        (125, true),
        "{words}"
    );
    // A program that it may not run.
    let (code, words) = launcher(&profile(&["/lib"]), "/bin/true");
    assert_eq!(
        (code, words.contains("cannot be run")),
        (125, true),
        "{words}"
    );
    // Somebody else's child.
    let output = Program::new(compere())
        .args([sandbox::COMMAND, "1", "unconfined", "/bin/true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
}

/// Each layer taken away in turn, by a kernel that does not have it or does not do what it says.
#[test]
fn a_kernel_that_does_not_confine_gets_no_server() {
    if Program::new("strace").arg("-V").output().is_err() {
        // `.ci/run` installs it.
        panic!("strace is not there");
    }
    let faults = [
        "landlock_create_ruleset:error=ENOSYS",
        "landlock_create_ruleset:error=EOPNOTSUPP",
        "landlock_add_rule:error=EINVAL",
        "landlock_restrict_self:error=E2BIG",
        // It says that it does, and does not.
        "landlock_restrict_self:retval=0",
        "seccomp:error=EINVAL",
        "seccomp:retval=0",
        "prctl:error=EINVAL",
        "capset:error=EPERM",
    ];
    let of_namespaces = [
        "unshare:error=EPERM",
        "unshare:error=ENOSPC",
        "unshare:retval=0",
        "mount:error=EPERM",
        "mount:retval=0",
        "pivot_root:error=EINVAL",
        "pivot_root:retval=0",
        "umount2:error=EBUSY",
        "umount2:retval=0",
    ];
    let with = faults
        .iter()
        .chain(&of_namespaces)
        .map(|fault| (fault, true));
    let without = faults.iter().map(|fault| (fault, false));
    for (fault, namespaces) in with.chain(without) {
        let profile = json!({
            "run": ["/usr", "/bin", "/lib", "/lib64"], "read": [], "write": [],
            "network": false, "namespaces": namespaces,
        });
        let call = fault.split(':').next().unwrap();
        // The launcher is the child of a shell, which is the child of strace.
        let output = Program::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
                "-e",
            ])
            .arg(format!("inject={fault}"))
            .args(["sh", "-c", "\"$0\" \"$1\" $$ \"$2\" /bin/echo started"])
            .arg(compere())
            .args([sandbox::COMMAND, &profile.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("started"), "{fault}: {said} {words}");
        assert!(words.contains("not started"), "{fault}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_end_with_the_host_that_is_killed() {
    let mut running = host(&json!({"write": true})).await;
    let app = running.app("tester").await;
    app.call("probe__probe", json!({})).await.unwrap();
    let own = running.path("work").to_str().unwrap().to_owned();
    let alive = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains("probe.py") && line.contains(&own) && !line.contains(" up ")
        })
    };
    assert!(alive());
    running.process.kill().unwrap();
    running.process.wait().unwrap();
    compere_tests::until("the end of the servers", || !alive()).await;
}

/// What fetches its code has a home of its own to keep it in, can run it there, and has nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn what_fetches_its_code_has_a_home_of_its_own() {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let fetcher = bin.join("npx");
    // It keeps a program in its home, and runs it from there.
    let script = "#!/bin/sh\nset -e\nprintf '#!/bin/sh\\nexec python3 \"$@\"\\n' > \"$HOME/kept\"\nchmod +x \"$HOME/kept\"\nexec \"$HOME/kept\" \"$@\"\n";
    std::fs::write(&fetcher, script).unwrap();
    set_mode(&fetcher, 0o755);
    let mut server = probe(work.to_str().unwrap(), &json!({"network": true}));
    server["command"] = json!(fetcher);
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "*"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    let shown = serde_json::to_value(&host.questions()[0].topic).unwrap();
    let (facts, warnings) = (shown["facts"].to_string(), shown["warnings"].to_string());
    assert!(facts.contains("keeps what it fetches in"), "{shown}");
    assert!(
        warnings.contains("fetches code from the network at each start"),
        "{shown}"
    );
    host.approve(&["probe"]).await;
    let found = outcomes(&host, &[json!({"do": "variables"})]).await;
    let variables: Value = serde_json::from_str(found[0].2.strip_prefix("OPEN ").unwrap()).unwrap();
    let home = variables["HOME"].as_str().unwrap();
    assert!(home.ends_with("/compere/servers/probe"), "{home}");
    let tries = [
        (json!({"do": "write", "path": format!("{home}/more")}), true),
        (
            json!({"do": "write", "path": format!("{}/file", work.display())}),
            false,
        ),
        (
            json!({"do": "list", "path": Path::new(home).parent().unwrap()}),
            false,
        ),
        (
            json!({"do": "read", "path": host.path("state/door.key")}),
            false,
        ),
    ];
    for (given, may) in tries {
        let found = outcomes(&host, std::slice::from_ref(&given)).await;
        assert_eq!(found[0].1, may, "{given}: {}", found[0].2);
    }
}

/// In a world of its own it sees its own processes, and none of them is left when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_server_is_left_when_it_ends() {
    let confined = host(&json!({"write": true})).await;
    let work = confined.work();
    let found = outcomes(
        &confined,
        &[json!({"do": "leave"}), json!({"do": "processes"})],
    )
    .await;
    assert!(found.iter().all(|(_, is_open, _)| *is_open), "{found:?}");
    let left = Path::new(&work).join("left");
    compere_tests::until("the one that wants to stay", || left.exists()).await;
    let alive = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains("probe.py") && line.contains(&work)
        })
    };
    // The first process in there, the server, and what it started.
    let seen: Vec<String> = serde_json::from_str(
        &found[1]
            .2
            .strip_prefix("OPEN ")
            .unwrap()
            .replace('\'', "\""),
    )
    .unwrap();
    assert!((2..=4).contains(&seen.len()), "{seen:?}");
    // The app has left, and its server with it.
    compere_tests::until("the end of all", || !alive()).await;
}

/// For those who are not root too, which is most.
#[test]
fn anybody_can_be_confined() {
    let profile = json!({
        "run": ["/usr", "/bin", "/lib", "/lib64"], "read": [], "write": [],
        "network": false, "namespaces": true,
    });
    let output = Program::new("sh")
        .args(["-c", "exec 3</dev/null; \"$0\" \"$1\" $$ \"$2\" /bin/sh -c 'echo $$ $(id -u); ls /home /etc/passwd'"])
        .arg(compere())
        .args([sandbox::COMMAND, &profile.to_string()])
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("2 65534\n"), "{said} {words}");
    assert!(
        !said.contains("passwd") && words.contains("No such file"),
        "{said} {words}"
    );
}

/// Whoever is root says so in words, or servers do not start.
#[test]
fn root_needs_words() {
    let folder = tempfile::tempdir().unwrap();
    let looked_at = |is_root: bool, may_be_root: bool, more: Value| {
        let mut server = json!({"command": "/bin/true"});
        for (name, value) in more.as_object().unwrap() {
            server[name] = value.clone();
        }
        let text = json!({"servers": {"one": server}}).to_string();
        let file = HostFile::read(&text, &folder.path().join("compere.json"));
        assert_eq!(file.faults, []);
        let machine = Machine {
            own: compere(),
            environment: BTreeMap::new(),
            home: None,
            folder: folder.path().to_owned(),
            secret: Vec::new(),
            is_root,
            may_be_root,
            cache: None,
        };
        let surroundings = Surroundings {
            variable: &|_| None,
            input: &|_| None,
            file: &|_| None,
            secret: &|_| None,
            workspace: None,
            home: None,
        };
        let digests = Digests::default();
        launching(
            &file.entries[0],
            &machine,
            &surroundings,
            &digests,
            &[0; 32],
        )
    };
    let why = looked_at(true, false, json!({})).unwrap_err();
    assert!(
        why.contains("as root") && why.contains("\"root\": true"),
        "{why}"
    );
    let unconfined = looked_at(true, false, json!({"unconfined": true}));
    assert!(unconfined.is_err());
    let plain = looked_at(false, false, json!({})).unwrap();
    assert!(!plain.warnings.join(" ").contains("root"));
    for (may, more) in [(true, json!({})), (false, json!({"root": true}))] {
        let said = looked_at(true, may, more).unwrap();
        assert!(said.warnings.join(" ").contains("it runs as root"));
        // Whoever approved it for another user has not approved this.
        assert_ne!(said.digest, plain.digest);
    }
}

// C-GUIDE-17
/// What was said of a server that keeps less than it could stands in the record.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_that_were_agreed_to_are_recorded() {
    let host = host(&json!({"unconfined": true})).await;
    let records = host.records();
    let approved = records
        .iter()
        .find(|record| record["kind"] == "decision" && record["name"] == "launch");
    let view = approved.unwrap()["view"].as_str().unwrap();
    assert!(view.contains("it is not confined"), "{view}");
}

/// Whoever listens says back what they hear.
fn echoing() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn named_hosts_are_reached_and_no_others() {
    let (one, other) = (echoing(), echoing());
    let named = [
        format!("localhost:{}", one.port()),
        "named.example".to_owned(),
        "*.below.example".to_owned(),
    ];
    let host = host(&json!({"network": named})).await;
    let through = |place: String| json!({"do": "through", "place": place});
    let tester = host.app("tester").await;
    let found = tried_by(
        &tester,
        &[
            through(format!("localhost:{}", one.port())),
            // The same by another name, another port, and others.
            through(format!("127.0.0.1:{}", one.port())),
            through(format!("localhost:{}", other.port())),
            through("localhost:443".to_owned()),
            through("elsewhere.example:443".to_owned()),
            through("named.example:80".to_owned()),
            through("below.example:443".to_owned()),
            through("evilbelow.example:443".to_owned()),
            through("GET http://localhost/".to_owned()),
        ],
    )
    .await;
    assert_eq!(
        found[0].2,
        "OPEN HTTP/1.1 200 Connection established, then hello"
    );
    for (given, _, words) in &found[1..8] {
        assert!(words.contains(" 403 "), "{given}: {words}");
    }
    assert!(found[8].2.contains(" 400 "), "{}", found[8].2);
    // A person is told what it wanted, and what it was given.
    let status = host.status();
    let words = status.servers[0].last_words.join("\n");
    assert!(
        words.contains("it wanted to reach elsewhere.example:443, which it was not given"),
        "{words}"
    );
    let facts = status.servers[0].facts.join("\n");
    assert!(
        facts.contains(&format!(
            "can reach localhost:{}, named.example, *.below.example and no other host",
            one.port()
        )),
        "{facts}"
    );
    // There is no other way: nobody of the machine, and no names.
    let direct = [
        json!({"do": "tcp", "port": one.port()}),
        json!({"do": "fastopen", "port": one.port()}),
        json!({"do": "mptcp"}),
        json!({"do": "unix", "path": host.path("state/host.sock")}),
        json!({"do": "netlink"}),
    ];
    for (given, is_open, words) in tried_by(&tester, &direct).await {
        // A socket that leads nowhere is nothing.
        let is_bare = given["do"] == "mptcp";
        assert!(!is_open || is_bare, "{given}: {words}");
    }
    // What it sends there, nobody takes back: its calls are not known to only read.
    host.write(&json!({"servers": {"probe": probe(&host.work(), &json!({"network": named}))}}));
    let app = host.app("asking").await;
    let calling = app.clone();
    let waits =
        tokio::spawn(async move { calling.call("probe__probe", json!({"do": "nothing"})).await });
    let (id, _) = host.waiting_call().await;
    host.answer(
        id,
        Answer::Deny {
            reason: String::new(),
        },
    );
    waits.await.unwrap().unwrap();
}

/// A server that ends on anything but `initialize` is started twice, and each time gets its way out.
#[tokio::test(flavor = "multi_thread")]
async fn an_impatient_server_reaches_its_hosts() {
    let there = echoing();
    let place = format!("localhost:{}", there.port());
    let settings = json!({"network": [place], "env": {"IMPATIENT": "1"}});
    let host = host(&settings).await;
    let tester = host.app("tester").await;
    let found = tried_by(&tester, &[json!({"do": "through", "place": place})]).await;
    assert_eq!(
        found[0].2,
        "OPEN HTTP/1.1 200 Connection established, then hello"
    );
    let words = host.status().servers[0].last_words.join("\n");
    assert!(words.contains("this is no greeting"), "{words}");
}

#[test]
fn what_is_no_host_is_not_named() {
    for text in [
        "",
        "*",
        "*.",
        "*.*",
        "a b",
        "a/b",
        "http://a",
        "a:0",
        "a:70000",
        "a:x",
        "*.127.0.0.1:x",
        ".a",
        "a@b",
        "[::1",
        "é.example",
    ] {
        assert_eq!(Named::read(text), None, "{text}");
    }
    for text in [
        "a.example",
        "a:8080",
        "*.a.example",
        "127.0.0.1:80",
        "[::1]:8080",
        "localhost:1",
    ] {
        assert_eq!(Named::read(text).unwrap().to_string(), text);
    }
    assert_eq!(
        Named::read("A.Example:443").unwrap().to_string(),
        "a.example"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn named_hosts_need_a_network_of_its_own() {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let settings = json!({"network": ["a.example"], "namespaces": false});
    let file = json!({"servers": {"probe": probe(work.to_str().unwrap(), &settings)}});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    let host = Hosting::start_in(folder, &[]);
    let stage = host.status().servers[0].stage.to_string();
    assert!(stage.contains("a network of its own"), "{stage}");
    assert!(host.questions().is_empty());
}

/// Where its world is built is no matter: it may be given that place too.
#[test]
fn a_world_is_built_beside_what_is_given() {
    for given in [
        vec!["/tmp"],
        vec!["/tmp", "/run"],
        vec!["/tmp", "/run", "/mnt"],
    ] {
        let profile = json!({
            "run": ["/usr", "/bin", "/lib", "/lib64"], "read": [], "write": given,
            "network": false, "namespaces": true,
        });
        let output = Program::new("sh")
            .args([
                "-c",
                "exec 3</dev/null; \"$0\" \"$1\" $$ \"$2\" /bin/sh -c 'ls -a /; ls /etc'; exit $?",
            ])
            .arg(compere())
            .args([sandbox::COMMAND, &profile.to_string()])
            .current_dir("/")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!words.contains("not started"), "{given:?}: {words}");
        // It may not even look at the top of it.
        assert!(
            words.contains("Permission denied"),
            "{given:?}: {said} {words}"
        );
        assert!(!said.contains("passwd"), "{given:?}: {said}");
    }
}

/// A host with a server that begins with this, and what is outside of what it is given.
fn beginning(outside: &Outside, begins: &str) -> Hosting {
    let folder = place(&json!({}));
    let work = folder.path().join("work").canonicalize().unwrap();
    let script = work.join("server.py");
    let probe_script = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/probe.py");
    let begins = begins.replace("OUTSIDE", outside.folder.path().to_str().unwrap());
    let text = format!(
        "import os, runpy, socket\n{begins}\nrunpy.run_path({:?}, run_name='__main__')\n",
        probe_script.to_str().unwrap()
    );
    std::fs::write(&script, text).unwrap();
    let mut server = probe(
        work.to_str().unwrap(),
        &json!({"read": [probe_script.parent()]}),
    );
    server["args"] = json!([script, work]);
    let file = json!({"servers": {"probe": server}, "policy": [{"allow": "*"}]});
    let path = folder.path().join("settings/compere.json");
    std::fs::write(path, file.to_string()).unwrap();
    Hosting::start_in(folder, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_for_want_of_a_file_says_which() {
    let outside = Outside::new();
    let host = beginning(&outside, "open('OUTSIDE/secret').read()");
    let Topic::Launch { digest, .. } = &host.questions()[0].topic else {
        panic!("{:?}", host.questions());
    };
    let answer = Answer::Approve {
        digest: digest.clone(),
        except: Vec::new(),
        reads: Vec::new(),
    };
    host.answer(host.questions()[0].id, answer);
    let failed = || host.status().servers[0].stage.to_string();
    until("the failure", || failed().starts_with("failed")).await;
    let wanted = format!(
        "it was kept from {}, which it was not given",
        outside.path("secret")
    );
    assert!(failed().contains(&wanted), "{}", failed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_for_want_of_a_file_says_which() {
    let outside = Outside::new();
    let confined = host(&json!({})).await;
    let app = confined.app("tester").await;
    let words = format!(
        "EACCES: permission denied, open '{}'",
        outside.path("secret")
    );
    let result = app
        .call("probe__probe", json!({"failing": words}))
        .await
        .unwrap();
    // The app gets what the server said.
    assert_eq!(text(&result.into_inner()), words);
    let wanted = format!(
        "it was kept from {}, which it was not given",
        outside.path("secret")
    );
    let records = confined.records();
    let last = records
        .iter()
        .rev()
        .find(|record| record["name"] == "probe")
        .unwrap();
    assert_eq!(last["outcome"], format!("the tool failed; {wanted}"));
    let last_words = confined.status().servers[0].last_words.join("\n");
    assert!(last_words.contains(&wanted), "{last_words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learning_run_says_what_a_server_was_kept_from() {
    let outside = Outside::new();
    let begins = "\
def tries(action):
    try: action()
    except OSError: pass
tries(lambda: open('OUTSIDE/secret'))
tries(lambda: os.listdir('OUTSIDE'))
tries(lambda: open('OUTSIDE/missing'))
tries(lambda: open(os.path.join(os.path.dirname(__file__), 'written'), 'w'))
tries(lambda: socket.socket(socket.AF_INET))
";
    let host = beginning(&outside, begins);
    let learn = Order::Learn {
        server: "probe".to_owned(),
    };
    // Nothing runs before it is approved.
    match host.order(&learn) {
        Reply::Refused(why) => assert!(why.contains("waits for your yes"), "{why}"),
        other => panic!("{other:?}"),
    }
    host.approve(&["probe"]).await;
    let output = Program::new(compere())
        .args(["sandbox", "explain", "probe", "--learn", "--state"])
        .arg(host.path("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said} {output:?}");
    let work = Path::new(&host.work()).canonicalize().unwrap();
    for words in [
        format!(
            "it was kept from {}, which it was not given",
            outside.path("secret")
        ),
        format!(
            "it was kept from {}, which it was not given",
            outside.folder.path().display()
        ),
        format!(
            "it was kept from changing {}, which it may only read",
            work.display()
        ),
        "it was kept from the network, which it was not given".to_owned(),
    ] {
        assert!(said.lines().any(|line| line == words), "{words}: {said}");
    }
    assert!(!said.contains("missing"), "{said}");
    assert!(!said.contains("did not say what it offers"), "{said}");
    let left = std::fs::read_dir(host.path("state")).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("trace")
    });
    assert_eq!(left.count(), 0);
}

// E-527
// A-ROOT-10
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_is_noticed() {
    let host = host(&json!({})).await;
    let app = host.app("tester").await;
    app.call("probe__probe", json!({})).await.unwrap();
    let stage = || host.status().servers[0].stage.to_string();
    assert_eq!(stage(), "running (1)");
    let elsewhere = host.path("elsewhere");
    std::fs::rename(host.path("work"), &elsewhere).unwrap();
    until("its going", || stage().starts_with("cannot be started")).await;
    std::fs::rename(&elsewhere, host.path("work")).unwrap();
    until("its coming back", || stage().starts_with("ready")).await;
    app.call("probe__probe", json!({})).await.unwrap();
}

#[test]
fn what_is_near_is_known() {
    for near in [
        "127.0.0.1",
        "127.255.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
    ] {
        assert!(is_near(near.parse().unwrap()), "{near}");
    }
    for far in [
        "1.1.1.1",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::",
    ] {
        assert!(!is_near(far.parse().unwrap()), "{far}");
    }
}
