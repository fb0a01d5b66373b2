//! Which files a program needs to run at all, found without running it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sandbox::Profile;

/// Programs and libraries of the system.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/run/current-system",
];
/// Settings of the system that programs fail without, and that say nothing of the person.
const SETTINGS: [&str; 14] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/gitconfig",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
];
/// What programs need to find others on the network.
const NETWORK: [&str; 5] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
];
/// Where every program may write.
const NOWHERE: &str = "/dev/null";
/// How far up a package is looked for.
const LEVELS: usize = 12;

/// The profile of a program: its own files and those of the system, besides what was chosen.
/// `files` are those of its arguments that are files, such as a script.
pub fn profile(
    program: &Path,
    files: &[PathBuf],
    read: &[PathBuf],
    write: &[PathBuf],
    network: bool,
) -> Profile {
    let mut run: BTreeSet<PathBuf> = SYSTEM.iter().filter_map(there).collect();
    for path in std::iter::once(program).chain(files.iter().map(PathBuf::as_path)) {
        // As it is named, and where it leads.
        for path in [Some(path.to_owned()), path.canonicalize().ok()] {
            run.extend(path.iter().flat_map(|path| belongs(path)));
        }
    }
    let system: Vec<PathBuf> = run.iter().cloned().collect();
    run.retain(|path| {
        let within = |other: &PathBuf| other != path && path.starts_with(other);
        !system.iter().any(within)
    });
    let mut reads: BTreeSet<PathBuf> = SETTINGS.iter().filter_map(there).collect();
    if network {
        reads.extend(NETWORK.iter().filter_map(there));
    }
    reads.extend(read.iter().cloned());
    let mut writes: BTreeSet<PathBuf> = write.iter().cloned().collect();
    writes.retain(|path| path.exists());
    reads.retain(|path| path.exists() && !writes.contains(path));
    Profile {
        run: run.into_iter().collect(),
        read: reads.into_iter().collect(),
        write: writes.into_iter().collect(),
        own: Vec::new(),
        network,
        hosts: Vec::new(),
        way_out: None,
        namespaces: false,
    }
}

/// Every confined program may throw away what it writes.
pub(crate) fn nowhere() -> &'static Path {
    Path::new(NOWHERE)
}

fn there(path: &&str) -> Option<PathBuf> {
    let path = Path::new(path);
    path.exists().then(|| path.to_owned())
}

/// What belongs to a program: itself, and the package or environment that it is a part of.
fn belongs(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if let Some(folder) = path.parent() {
        let above = folder.parent().filter(|above| above.parent().is_some());
        match (folder.file_name().and_then(|name| name.to_str()), above) {
            // Of a manager of versions: a script that finds the program elsewhere in there.
            (Some("shims"), Some(above)) => found.push(above.to_owned()),
            // An installation of its own: its programs find their libraries beside them.
            (Some("bin"), Some(above)) => {
                let lib = above.join("lib");
                if lib.is_dir() {
                    found.extend([folder.to_owned(), lib]);
                }
            }
            _ => {}
        }
    }
    let mut modules = None;
    let mut package = None;
    for folder in path.ancestors().skip(1).take(LEVELS) {
        if folder.parent().is_none() {
            break;
        }
        // An environment of Python.
        if folder.join("pyvenv.cfg").is_file() {
            found.push(folder.to_owned());
            found.extend(home_of(folder));
        }
        // The outermost: packages find others beside them.
        if folder.join("node_modules").is_dir() {
            modules = Some(folder.join("node_modules"));
        }
        if package.is_none() && folder.join("package.json").is_file() {
            package = Some(folder.to_owned());
        }
    }
    found.extend(modules);
    found.extend(package);
    found
}

/// Where the Python of an environment comes from.
fn home_of(environment: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let home = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    // `bin` of an installation; the rest of it is beside.
    home.parent()
        .filter(|above| above.parent().is_some())
        .map(Path::to_owned)
}
