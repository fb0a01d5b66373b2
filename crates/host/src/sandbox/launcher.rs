//! The launcher: takes away from its own process what the profile does not grant, tries whether that
//! holds, and becomes the server. It runs before anything else of the program does, on one thread.
//!
//! When it fails it says why on standard error and exits with [`FAILED`]; no server was started then.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::sandbox::{
    DATA_BYTES, FILE_BYTES, OPEN_FILES, PROCESSES, Profile, filter, namespaces, paths,
};

/// The first argument of our program when it is to be the launcher.
pub const COMMAND: &str = "__launch";
/// In place of the parent: the first process in a world of its own, whose parent follows.
pub(super) const INIT: &str = "init";
/// In place of the parent: in there, what becomes the server.
pub(super) const INNER: &str = "inner";
/// In place of a profile: nothing is taken away.
const UNCONFINED: &str = "unconfined";
const NOT_FOR_YOU: &str = "it is for the host alone";
/// The exit code when nothing was started.
const FAILED: u8 = 125;
/// The oldest interface of Landlock that keeps files.
const FILES: ABI = ABI::V3;
/// The oldest one that keeps signals and sockets without a path.
const SCOPES: ABI = ABI::V6;

/// The arguments of the launcher: `None` starts the server as it is, only bound to our life.
pub fn order(profile: Option<&Profile>) -> Vec<OsString> {
    let profile = profile.and_then(|profile| serde_json::to_string(profile).ok());
    vec![
        COMMAND.into(),
        std::process::id().to_string().into(),
        profile.unwrap_or_else(|| UNCONFINED.to_owned()).into(),
    ]
}

/// Does what the arguments after [`COMMAND`] say. Returns only if that failed, or when what runs in a
/// world of its own has ended.
pub fn launch(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else {
        return failed(NOT_FOR_YOU);
    };
    let (is_init, is_inner) = (first == INIT, first == INNER);
    let parent = match is_init {
        true => arguments.next(),
        false => Some(first),
    };
    let (Some(parent), Some(text), Some(program)) = (parent, arguments.next(), arguments.next())
    else {
        return failed(NOT_FOR_YOU);
    };
    let arguments: Vec<OsString> = arguments.collect();
    if !is_init
        && !is_inner
        && let Err(why) = bound_to(&parent)
    {
        return failed(&why);
    }
    if text == UNCONFINED {
        return become_it(&program, arguments);
    }
    let profile = match read(&text) {
        Ok(profile) => profile,
        Err(why) => return failed(&why),
    };
    if is_init {
        return namespaces::within(&parent, &profile, &text, &program, arguments);
    }
    if profile.namespaces && !is_inner {
        return namespaces::outside(&profile, &text, &program, arguments);
    }
    match confine(&profile) {
        Ok(()) => become_it(&program, arguments),
        Err(why) => failed(&why),
    }
}

fn become_it(program: &OsStr, arguments: Vec<OsString>) -> ExitCode {
    let error = Command::new(program).args(arguments).exec();
    let program = Path::new(program).display();
    failed(&format!("{program} cannot be run: {error}"))
}

pub(super) fn failed(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "compere: not started: {why}");
    ExitCode::from(FAILED)
}

/// Its life ends with that of the host, and nothing that the host holds open is its.
fn bound_to(parent: &OsStr) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("it cannot be bound to the host: {error}"))?;
    // Between our start and that call the host may have gone.
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.to_str() != Some(&now.to_string()) {
        return Err("the host is gone".to_owned());
    }
    close_fds::CloseFdsBuilder::new().cloexecfrom(3);
    Ok(())
}

fn read(profile: &OsStr) -> Result<Profile, String> {
    let profile = profile.to_str().unwrap_or_default();
    serde_json::from_str(profile).map_err(|error| format!("the profile cannot be read: {error}"))
}

/// Takes away from this process what the profile does not grant.
fn confine(profile: &Profile) -> Result<(), String> {
    limits(profile.namespaces).map_err(|error| format!("the limits cannot be set: {error}"))?;
    give_up_privileges()?;
    let signals = files(profile)?;
    for program in filter::filters(profile, signals)? {
        seccompiler::apply_filter(&program)
            .map_err(|error| format!("system calls cannot be filtered: {error}"))?;
    }
    probe(profile)
}

pub(super) fn give_up_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true)
        .and_then(|()| privileges())
        .map_err(|error| format!("it cannot give up its privileges: {error}"))
}

fn limits(has_own_world: bool) -> rustix::io::Result<()> {
    let mut limits = vec![
        (Resource::Core, 0),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Data, DATA_BYTES),
        (Resource::Fsize, FILE_BYTES),
    ];
    // Elsewhere the threads of all that the person runs are counted.
    if has_own_world {
        limits.push((Resource::Nproc, PROCESSES));
    }
    for (resource, limit) in limits {
        let now = rustix::process::getrlimit(resource);
        let limit = now.maximum.map_or(limit, |most| limit.min(most));
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            },
        )?;
    }
    Ok(())
}

/// For those who start servers as root: nothing of that is left.
fn privileges() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    let now = rustix::thread::capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        rustix::thread::set_capabilities_secure_bits(bits)?;
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// Keeps it to its files. `Ok(true)`: signals and sockets without a path are kept within too.
fn files(profile: &Profile) -> Result<bool, String> {
    match landlocked(profile, SCOPES) {
        Ok(()) => Ok(true),
        Err(newer) => match landlocked(profile, FILES) {
            Ok(()) => Ok(false),
            Err(_) => Err(format!("files cannot be kept from it: {newer}")),
        },
    }
}

fn landlocked(profile: &Profile, abi: ABI) -> Result<(), String> {
    let words = |error: landlock::RulesetError| error.to_string();
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(words)?;
    let ruleset = match abi >= SCOPES {
        true => ruleset.scope(Scope::from_all(abi)).map_err(words)?,
        false => ruleset,
    };
    let mut ruleset = ruleset.create().map_err(words)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = read | AccessFs::Execute;
    let write = AccessFs::from_all(abi) & !AccessFs::Execute & !AccessFs::IoctlDev;
    let nowhere = vec![paths::nowhere().to_owned()];
    // Those of its own world, if it has one: there are no others to be seen there.
    let processes: Vec<PathBuf> = [PathBuf::from("/proc")]
        .into_iter()
        .filter(|path| profile.namespaces && path.join("self").exists())
        .collect();
    for (paths, access) in [
        (&processes, read),
        (&nowhere, write),
        (&profile.run, run),
        (&profile.read, read),
        (&profile.write, write),
        (&profile.own, write | AccessFs::Execute),
    ] {
        for path in paths {
            let fd = PathFd::new(path).map_err(|error| error.to_string())?;
            let stat = rustix::fs::fstat(fd.as_fd());
            let stat = stat.map_err(|error| format!("{}: {error}", path.display()))?;
            let is_folder = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
            let access = match is_folder {
                true => access,
                false => access & AccessFs::from_file(abi),
            };
            let rule = PathBeneath::new(fd, access);
            ruleset = ruleset.add_rule(rule).map_err(words)?;
        }
    }
    let status = ruleset.restrict_self().map_err(words)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err("the kernel keeps only a part of it".to_owned()),
    }
}

/// Tries what must not work: a kernel that only says that it confines does not get a server.
fn probe(profile: &Profile) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let granted = |path: &Path| {
        let all = [&profile.run, &profile.read, &profile.write, &profile.own];
        all.iter()
            .any(|paths| paths.iter().any(|of| path.starts_with(of)))
    };
    if !granted(Path::new("/")) && rustix::fs::open("/", flags, Mode::empty()).is_ok() {
        return Err("files are not kept from it, though the kernel says so".to_owned());
    }
    let socket =
        |family| rustix::net::socket(family, rustix::net::SocketType::STREAM, None).is_ok();
    let network = !profile.has_sockets() && socket(rustix::net::AddressFamily::INET);
    if network || socket(rustix::net::AddressFamily::UNIX) {
        return Err("the network is not kept from it, though the kernel says so".to_owned());
    }
    Ok(())
}
