//! A learning run: a server is started as it was approved, confined as ever, under `strace`, asked what it
//! offers, and ended. What the kernel refused it meanwhile is what it was kept from.
//!
//! It is for a person who asks for it, and changes nothing by itself.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use compere::Client;

use crate::sandbox::Profile;
use crate::sandbox::denied::{Denied, of_path};
use crate::servers::definitions::Definitions;
use crate::servers::launch::{Launching, Machine, Way};
use crate::servers::running::LastWords;
use crate::servers::{Prepared, prepared};

/// What traces it.
const TOOL: &str = "strace";
/// How long the server may take, which is slow when it is traced.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the trace that are read.
const LINES: usize = 2_000_000;
/// Things that are named.
const NAMED: usize = 200;

/// What came of it.
#[derive(Debug, Clone)]
pub struct Learned {
    /// What it was kept from.
    pub denied: Vec<Denied>,
    /// Why it did not say what it offers, if it did not.
    pub failed: Option<String>,
    /// What it wrote to its standard error last.
    pub last_words: Vec<String>,
}

/// Runs it. `folder` is for the trace, which is gone afterwards.
pub(crate) async fn learn(
    launching: &Launching,
    machine: &Machine,
    folder: &Path,
) -> Result<Learned, String> {
    let Way::Program(program) = &launching.way else {
        return Err("it is no program that is started here".to_owned());
    };
    let Some(profile) = &program.profile else {
        return Err("it is not confined: nothing is kept from it".to_owned());
    };
    let tool = machine.find(TOOL, None, None).map_err(|_| {
        format!(
            "for this {TOOL} is needed: install it, or read what the server says in its own words"
        )
    })?;
    let trace = folder.join(format!("trace-{}", std::process::id()));
    let words = LastWords::default();
    let process = Arc::new(AtomicU32::new(0));
    // The tracer stands beside the server, not above it: the launcher is a child of the host's as ever.
    let before = [
        "-D".into(),
        "-f".into(),
        "-qq".into(),
        "-s".into(),
        "1024".into(),
        "-e".into(),
        "trace=%file,socket,execve".into(),
        "-e".into(),
        "signal=none".into(),
        "-o".into(),
        trace.clone().into_os_string(),
    ];
    let wrapped = Some((tool.as_path(), before.as_slice()));
    let Prepared { command, .. } = prepared(program, machine, words.clone(), process, wrapped)
        .map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(PATIENCE, async {
        let client = Client::builder("compere", env!("CARGO_PKG_VERSION"))
            .connect(command)
            .await?;
        let asked = Definitions::ask(&client).await;
        let _ = client.close().await;
        asked.map(|_| ())
    });
    let failed = match asked.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it took too long".to_owned()),
    };
    let (profile, started) = (profile.clone(), program.path.clone());
    let read = tokio::task::spawn_blocking(move || {
        let denied = refused(&trace, &started, &profile);
        let _ = std::fs::remove_file(&trace);
        denied
    });
    let denied = read.await.map_err(|error| error.to_string())?;
    Ok(Learned {
        denied: denied
            .map_err(|error| format!("{TOOL} wrote nothing that can be read: {error}"))?,
        failed,
        last_words: words.lines(),
    })
}

/// What was refused once the server itself ran.
fn refused(trace: &Path, program: &Path, profile: &Profile) -> std::io::Result<Vec<Denied>> {
    let begins = format!("execve({:?}", program.display().to_string());
    let mut denied = BTreeSet::new();
    let mut is_server = false;
    for line in BufReader::new(std::fs::File::open(trace)?)
        .split(b'\n')
        .take(LINES)
    {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !is_server {
            is_server = line.contains(&begins) && line.contains("= 0");
            continue;
        }
        denied.extend(of_line(&line, profile));
        if denied.len() >= NAMED {
            break;
        }
    }
    Ok(denied.into_iter().collect())
}

/// What a line of the trace says that was refused.
fn of_line(line: &str, profile: &Profile) -> Option<Denied> {
    let (call, error) = line.rsplit_once(" = -1 ")?;
    let error = error.split(' ').next()?;
    if !matches!(error, "EACCES" | "EPERM" | "ENOENT" | "EROFS") {
        return None;
    }
    // The number of the process stands before.
    let name = call.split('(').next()?.split(' ').next_back()?;
    if name == "socket" {
        let is_network = call.contains("AF_INET") && !profile.network && profile.hosts.is_empty();
        return is_network.then_some(Denied::Network);
    }
    let path = call.split('"').nth(1)?;
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return None;
    }
    let changing = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"];
    let makes = [
        "mkdir", "unlink", "rename", "link", "symlink", "mknod", "rmdir", "chmod", "chown",
        "utime", "truncate",
    ];
    let changes = changing.iter().any(|flag| call.contains(flag))
        || makes.iter().any(|of| name.starts_with(of));
    match path.symlink_metadata() {
        Ok(_) => of_path(&path, profile, changes),
        // It wanted to make something where it may not.
        Err(_) if changes => {
            let above = path.parent()?;
            let covered = profile.write.iter().chain(&profile.own);
            let may = covered.into_iter().any(|of| above.starts_with(of));
            (above.is_dir() && !may).then(|| Denied::Changing(above.to_owned()))
        }
        Err(_) => None,
    }
}
