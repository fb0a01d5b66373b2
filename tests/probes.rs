//! More than a hundred tries of a hostile program, run as somebody who is not root: without confinement, to
//! know that they can succeed; with all of it; and without namespaces, where what stays open is what a
//! person is told.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use compere_host::sandbox;
use compere_tests::compere;
use serde_json::{Value, json};

/// Who has no rights but their own.
const NOBODY: u32 = 65_534;

/// What some systems do not have, or allow nobody to do, without any confinement.
const MAY_BE_MISSING: [&str; 17] = [
    "multipath",
    "fast_open",
    "tcp6",
    "udp6",
    "vsock",
    "algorithms",
    "echo_request",
    "ring",
    "other_interface",
    "faults",
    "counters",
    "kernel_log",
    "become_root",
    "watch_more",
    "change_marks",
    "compare",
    "queue",
];

/// What must work with all confinement.
const CONTROLS: [&str; 2] = ["write_inside", "pair"];

/// What a person is told that stays open, and the tries that show it.
const SEEN: &str = "whether any file exists, how large it is and when it was changed";
const PROCESSES: &str = "which processes there are, and how they were started";
const LOADER: &str =
    "to run any program that it may read, through an interpreter or loader that it may run";
const MACHINE: &str =
    "the memory and the processors of this machine, within the limits of one process each";

const MARKS: &str =
    "to change the rights, times and marks of any file of yours, though not what is in it";

struct Ground {
    folder: tempfile::TempDir,
    _listeners: (UnixListener, UnixDatagram, UnixListener),
    tcp: TcpListener,
    udp: UdpSocket,
    name: String,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, all.clone()).unwrap();
        for name in ["outside", "inside", "tools", "outside/removed"] {
            std::fs::create_dir(path.join(name)).unwrap();
            std::fs::set_permissions(path.join(name), all.clone()).unwrap();
        }
        for name in [
            "secret",
            "written",
            "truncated",
            "unlinked",
            "taken",
            "exchanged",
        ] {
            std::fs::write(path.join("outside").join(name), "the secret").unwrap();
        }
        std::fs::copy("/bin/true", path.join("outside/program")).unwrap();
        symlink("secret", path.join("outside/link")).unwrap();
        let stream = UnixListener::bind(path.join("outside/socket")).unwrap();
        let datagrams = UnixDatagram::bind(path.join("outside/datagrams")).unwrap();
        for socket in ["socket", "datagrams"] {
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(path.join("outside").join(socket), all).unwrap();
        }
        let probes = path.join("tools/probes");
        build(&probes);
        // One that would run as root, whoever starts it.
        std::fs::copy(&probes, path.join("tools/rooted")).unwrap();
        let rooted = std::fs::Permissions::from_mode(0o4755);
        std::fs::set_permissions(path.join("tools/rooted"), rooted).unwrap();
        for name in ["outside", "inside"] {
            own(&path.join(name));
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_one = UnixListener::bind_addr(&address).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let answering = udp.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 8];
            while let Ok((count, from)) = answering.recv_from(&mut bytes) {
                let _ = answering.send_to(&bytes[..count], from);
            }
        });
        Self {
            _listeners: (stream, datagrams, abstract_one),
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp,
            name,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What comes of each try, with this profile or without any.
    fn tried(&self, profile: Option<&Value>) -> BTreeMap<String, String> {
        // The shell is the person: what is tried on it is tried on a process that is not confined.
        let script = match profile {
            Some(_) => {
                r#"exec 7<"$1/secret" 8<"$1"; "$8" "$9" $$ "${10}" "$3/probes" "$1" "$2" "$3" $$ "$4" "$5" "$6"; exit $?"#
            }
            None => {
                r#"exec 7<"$1/secret" 8<"$1"; "$3/probes" "$1" "$2" "$3" $$ "$4" "$5" "$6"; exit $?"#
            }
        };
        let mut command = Program::new("sh");
        command.args(["-c", script, "sh"]);
        for name in ["outside", "inside", "tools"] {
            command.arg(self.path(name));
        }
        command
            .arg(self.tcp.local_addr().unwrap().port().to_string())
            .arg(self.udp.local_addr().unwrap().port().to_string())
            .args([self.name.as_str(), "-"])
            .arg(compere())
            .arg(sandbox::COMMAND)
            .arg(profile.map(ToString::to_string).unwrap_or_default())
            .stdin(Stdio::null())
            .current_dir(self.path("inside"));
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{words}");
        let outcomes = said.lines().map(|line| {
            let (name, outcome) = line.split_once(' ').unwrap();
            (name.to_owned(), outcome.to_owned())
        });
        outcomes.collect()
    }

    fn profile(&self, namespaces: bool) -> Value {
        let system = ["/usr", "/bin", "/lib", "/lib64"];
        let mut run: Vec<PathBuf> = system.map(PathBuf::from).to_vec();
        run.retain(|path| path.exists());
        run.push(self.path("tools"));
        json!({
            "run": run, "read": [], "write": [self.path("inside")],
            "network": false, "namespaces": namespaces,
        })
    }
}

fn build(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/probes.c");
    let built = Program::new("cc")
        .args(["-O1", "-o"])
        .arg(to)
        .arg(source)
        .arg("-lrt")
        .status()
        .unwrap();
    assert!(built.success());
}

/// Gives it all to whoever has no rights.
fn own(path: &Path) {
    if !rustix::process::getuid().is_root() {
        return;
    }
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

fn open(outcomes: &BTreeMap<String, String>) -> Vec<&str> {
    let open = outcomes.iter().filter(|(_, outcome)| *outcome == "OPEN");
    let open = open.map(|(name, _)| name.as_str());
    open.filter(|name| !CONTROLS.contains(name)).collect()
}

fn stays_open(profile: &Value) -> Vec<&'static str> {
    let profile: sandbox::Profile = serde_json::from_value(profile.clone()).unwrap();
    profile.stays_open()
}

#[test]
fn each_try_can_succeed() {
    let outcomes = Ground::new().tried(None);
    let refused: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome != "OPEN")
        .map(|(name, outcome)| format!("{name} {outcome}"))
        .collect();
    println!(
        "{} tries, here without confinement refused: {refused:?}",
        outcomes.len()
    );
    let unexpected: Vec<&String> = refused
        .iter()
        .filter(|words| {
            let name = words.split_once(' ').unwrap().0;
            !MAY_BE_MISSING.contains(&name)
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(outcomes.len() - refused.len() - CONTROLS.len() >= 75);
}

// A-TS-06 A-TS-16
#[test]
fn with_all_layers_none_succeeds_but_what_is_out_of_reach() {
    let ground = Ground::new();
    let profile = ground.profile(true);
    let outcomes = ground.tried(Some(&profile));
    for name in CONTROLS {
        assert_eq!(outcomes[name], "OPEN", "{name}");
    }
    // What it may read and load is not kept from running.
    assert_eq!(open(&outcomes), ["run_by_loader"], "{outcomes:#?}");
    let told = stays_open(&profile);
    assert_eq!(told, [MACHINE, LOADER]);
}

#[test]
fn without_namespaces_what_stays_open_is_what_a_person_is_told() {
    let ground = Ground::new();
    let profile = ground.profile(false);
    let outcomes = ground.tried(Some(&profile));
    for name in CONTROLS {
        assert_eq!(outcomes[name], "OPEN", "{name}");
    }
    let told = stays_open(&profile);
    let known = [
        ("stat_secret", SEEN),
        ("statx_secret", SEEN),
        ("access_secret", SEEN),
        ("hold_secret", SEEN),
        ("go_outside", SEEN),
        ("read_link", SEEN),
        ("statfs_outside", SEEN),
        ("list_marks", SEEN),
        ("watch_outside", SEEN),
        ("watch_more", SEEN),
        ("change_mode", MARKS),
        ("change_owner", MARKS),
        ("change_times", MARKS),
        ("change_marks", MARKS),
        ("see_process", PROCESSES),
        ("many_processes", MACHINE),
        ("run_by_loader", LOADER),
    ];
    let unknown: Vec<&str> = open(&outcomes)
        .into_iter()
        .filter(|name| !known.iter().any(|(of, _)| of == name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (name, words) in known {
        assert!(told.contains(&words), "{name}");
    }
    // It is not that nothing was tried.
    assert_eq!(outcomes["stat_secret"], "OPEN");
    // Who may change nothing may not change these either.
    let mut reads = profile;
    reads["write"] = json!([]);
    let outcomes = ground.tried(Some(&reads));
    for (name, _) in known.iter().filter(|(_, words)| *words == MARKS) {
        assert_ne!(outcomes[*name], "OPEN", "{name}");
    }
    assert!(!stays_open(&reads).contains(&MARKS));
}
