//! A world of its own for a server, where the kernel lets anybody make one: its own processes, network
//! and file system, in which there is nothing but what it may touch.
//!
//! Three processes do this, each our own program once more. The first leaves the namespaces of the host
//! and stays outside, to tell the host how it ended. The second is the first process within: it builds
//! the file system, and ends everything when the server ends. The third gives up the rest, as a launcher
//! does without namespaces too, and becomes the server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::OnceLock;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal as Caught};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::process::{Signal, WaitOptions};
use rustix::thread::CapabilitySet;

use crate::sandbox::launcher::{COMMAND, INIT, INNER, failed, give_up_privileges};
use crate::sandbox::{Profile, doorway, paths};

/// Where the new file system is built; one of these is there.
const PLACES: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];
/// The old one, until it is let go.
const OLD: &str = ".old";
/// Our own program in there.
const OWN: &str = ".launch";
/// What every system has, and no world of its own unless it was granted.
const OTHERS: [&str; 6] = [
    "/etc/passwd",
    "/etc/group",
    "/sys",
    "/boot",
    "/root",
    "/srv",
];
/// Links that are followed on the way to one file.
const LINKS: usize = 40;

/// Can a server have a world of its own here? Tried once, by giving one to our own program.
pub fn are_there(own: &Path) -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| {
        let mut profile = paths::profile(own, &[], &[], &[], false);
        profile.namespaces = true;
        Command::new(own)
            .args(crate::sandbox::order(Some(&profile)))
            .arg(own)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// The first process: leaves, starts the second one, and waits for its end.
pub(super) fn outside(
    profile: &Profile,
    text: &OsStr,
    program: &OsStr,
    arguments: Vec<OsString>,
) -> ExitCode {
    match begin(profile, text, program, arguments) {
        Ok(child) => stay(child),
        Err(why) => failed(&why),
    }
}

fn begin(
    profile: &Profile,
    text: &OsStr,
    program: &OsStr,
    arguments: Vec<OsString>,
) -> Result<Child, String> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let no_way = |error: io::Error| format!("it cannot have a way to its hosts: {error}");
    let way_out = profile.way_out.as_deref();
    let mut way_out = way_out.map(doorway::reach).transpose().map_err(no_way)?;
    let mut flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWNET, !profile.network);
    unshare(flags).map_err(|error| format!("it cannot have a world of its own: {error}"))?;
    let (user, group) = (user.as_raw(), group.as_raw());
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{user} {user} 1")),
        ("/proc/self/gid_map", format!("{group} {group} 1")),
    ] {
        std::fs::write(file, text).map_err(|error| format!("{file}: {error}"))?;
    }
    if let Some(host) = &mut way_out {
        doorway::open(host).map_err(no_way)?;
    }
    drop(way_out);
    may_build().map_err(|error| format!("it cannot build a world of its own: {error}"))?;
    Command::new("/proc/self/exe")
        .args([COMMAND, INIT])
        .arg(std::process::id().to_string())
        .arg(text)
        .arg(program)
        .args(arguments)
        .spawn()
        .map_err(|error| format!("it cannot be started in a world of its own: {error}"))
}

/// Who is not root in there loses the leave to mount with the next program, unless it is to be kept.
fn may_build() -> rustix::io::Result<()> {
    let needed = CapabilitySet::SYS_ADMIN;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = needed;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::configure_capability_in_ambient_set(needed, true)
}

/// Waits for a child, holding nothing open that is the server's. What is to end it passes by: it goes to
/// the server as well, and this ends when that does.
fn stay(mut child: Child) -> ExitCode {
    let _ = nothing_held();
    match child.wait() {
        Ok(status) => code(status),
        Err(error) => failed(&error.to_string()),
    }
}

fn nothing_held() -> io::Result<()> {
    let mut passing = SigSet::empty();
    for signal in [Caught::SIGTERM, Caught::SIGINT, Caught::SIGHUP] {
        passing.add(signal);
    }
    passing.thread_block().map_err(io::Error::from)?;
    let nowhere = File::options()
        .read(true)
        .write(true)
        .open(paths::nowhere())?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

/// As a shell says how a program ended.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    )
}

/// The second process, the first one within: builds the file system, starts the third one, and ends when
/// that does. Everything in there ends with it.
pub(super) fn within(
    parent: &OsStr,
    profile: &Profile,
    text: &OsStr,
    program: &OsStr,
    arguments: Vec<OsString>,
) -> ExitCode {
    let start = || -> Result<Child, String> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| format!("it cannot be bound to the host: {error}"))?;
        // Its number outside of here: what is mounted there still is the outside's.
        let now = parent_outside().map_err(|error| error.to_string())?;
        if parent.to_str() != Some(&now) {
            return Err("the host is gone".to_owned());
        }
        let folder = std::env::current_dir().map_err(|error| error.to_string())?;
        world(profile, &folder)?;
        let child = Command::new(Path::new("/").join(OWN))
            .args([COMMAND, INNER])
            .arg(text)
            .arg(program)
            .args(arguments)
            .spawn()
            .map_err(|error| format!("it cannot be started in a world of its own: {error}"))?;
        give_up_privileges()?;
        Ok(child)
    };
    let child = match start() {
        Ok(child) => child,
        Err(why) => return failed(&why),
    };
    let _ = nothing_held();
    let server = i32::try_from(child.id()).unwrap_or_default();
    // Whatever else ends in here is let go of, too.
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process.as_raw_nonzero().get() == server => {
                let code = status
                    .exit_status()
                    .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                let code = code.and_then(|code| u8::try_from(code).ok());
                return ExitCode::from(code.unwrap_or(u8::MAX));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return failed(&error.to_string()),
        }
    }
}

fn parent_outside() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// Makes a file system with nothing in it but what the profile grants, and lets go of the old one.
fn world(profile: &Profile, folder: &Path) -> Result<(), String> {
    let plan = Plan::of(profile).map_err(|(path, error)| format!("{}: {error}", path.display()))?;
    let own = std::env::current_exe().and_then(|own| Bound::of(&own, false));
    let own = own.map_err(|error| format!("our own program: {error}"))?;
    let places = PLACES.map(Path::new);
    let there = || places.into_iter().filter(|place| place.is_dir());
    // What is shown of it would be shown with what is built there.
    let is_shown = |place: &Path| plan.bound.keys().any(|path| place.starts_with(path));
    let base = there().find(|place| !is_shown(place)).or(there().next());
    let base = base.ok_or("there is no place to build its file system in")?;
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mounted(nothing, Path::new("/"), nothing, private, nothing)
        .map_err(failed("its file system cannot be its own"))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mounted(
        Some("none"),
        base,
        Some("tmpfs"),
        plain,
        Some("mode=0755,size=1m"),
    )
    .map_err(failed("its file system cannot be made"))?;
    for (path, bound) in &plan.bound {
        bound
            .put(&base.join(relative(path)))
            .map_err(|error| format!("{} cannot be shown to it: {error}", path.display()))?;
    }
    for (path, target) in &plan.links {
        let place = base.join(relative(path));
        if place.symlink_metadata().is_ok() {
            continue;
        }
        let above = place.parent().map_or(Ok(()), std::fs::create_dir_all);
        above
            .and_then(|()| std::os::unix::fs::symlink(target, &place))
            .map_err(|error| format!("{} cannot be shown to it: {error}", path.display()))?;
    }
    own.put(&base.join(OWN))
        .map_err(failed("our own program"))?;
    let place = base.join(relative(folder));
    std::fs::create_dir_all(place).map_err(failed("the folder that it is started in"))?;
    // Where the kernel does not let us, there is none: nothing is shown of others either way.
    let processes = base.join("proc");
    std::fs::create_dir_all(&processes).map_err(failed("/proc"))?;
    let quiet = plain | MsFlags::MS_NOEXEC;
    let _ = mounted(Some("proc"), &processes, Some("proc"), quiet, nothing);
    let old = base.join(OLD);
    std::fs::create_dir(&old).map_err(failed("its file system"))?;
    nix::unistd::pivot_root(base, &old)
        .and_then(|()| nix::unistd::chdir("/"))
        .and_then(|()| umount2(&Path::new("/").join(OLD), MntFlags::MNT_DETACH))
        .map_err(|error| format!("its file system cannot be entered: {error}"))?;
    std::fs::remove_dir(Path::new("/").join(OLD)).map_err(failed("the old file system"))?;
    let fixed = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | plain;
    mounted(nothing, Path::new("/"), nothing, fixed, nothing)
        .map_err(failed("its file system cannot be closed"))?;
    std::env::set_current_dir(folder).map_err(failed("the folder that it is started in"))?;
    tried(&plan)
}

/// Tries whether it is so: a kernel that only says that it is gives no server a start.
fn tried(plan: &Plan) -> Result<(), String> {
    let is_granted = |path: &Path| plan.bound.keys().any(|of| path.starts_with(of));
    let ways = plan.bound.keys().chain(plan.links.keys());
    let above: BTreeSet<&Path> = ways.flat_map(|path| path.ancestors()).collect();
    let others = OTHERS.into_iter().map(Path::new);
    let seen = others
        .filter(|path| !is_granted(path) && !above.contains(path))
        .find(|path| path.symlink_metadata().is_ok());
    let is_first = std::process::id() == 1;
    match seen.is_none() && is_first && Path::new("/").join(OWN).exists() {
        true => Ok(()),
        false => Err("it has no world of its own, though the kernel says so".to_owned()),
    }
}

fn mounted(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> io::Result<()> {
    mount(source, target, kind, flags, data).map_err(io::Error::from)
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// What is in there: real paths, and the links that lead to them.
struct Plan {
    /// Parents come before what is in them.
    bound: BTreeMap<PathBuf, Bound>,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// A file or folder of the outside.
struct Bound {
    /// It stays reachable when something is mounted over the way to it.
    held: File,
    is_folder: bool,
    can_change: bool,
    is_device: bool,
}

impl Plan {
    fn of(profile: &Profile) -> Result<Self, (PathBuf, io::Error)> {
        let mut plan = Self {
            bound: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let nowhere = [paths::nowhere().to_owned()];
        for (paths, can_change) in [
            (profile.run.as_slice(), false),
            (profile.read.as_slice(), false),
            (nowhere.as_slice(), true),
            (profile.write.as_slice(), true),
            (profile.own.as_slice(), true),
        ] {
            for path in paths {
                let real = plan.follow(path).map_err(|error| (path.clone(), error))?;
                let bound = Bound::of(&real, can_change).map_err(|error| (path.clone(), error))?;
                plan.bound.insert(real, bound);
            }
        }
        Ok(plan)
    }

    /// The real path, noting the links on the way.
    fn follow(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let parts = |path: &Path| -> VecDeque<OsString> {
            path.components()
                .filter_map(|part| match part {
                    Component::Normal(name) => Some(name.to_owned()),
                    Component::ParentDir => Some("..".into()),
                    _ => None,
                })
                .collect()
        };
        let mut rest = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            if !next.symlink_metadata()?.is_symlink() {
                real = next;
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(io::Error::other("too many links lead to it"));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
            self.links.insert(next, target);
        }
        Ok(real)
    }
}

impl Bound {
    fn of(path: &Path, can_change: bool) -> io::Result<Self> {
        let held = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let held = File::from(held);
        let kind = held.metadata()?.file_type();
        Ok(Self {
            is_folder: kind.is_dir(),
            is_device: !kind.is_dir() && !kind.is_file(),
            held,
            can_change,
        })
    }

    /// Shows it here.
    fn put(&self, place: &Path) -> io::Result<()> {
        if place.symlink_metadata().is_err() {
            if self.is_folder {
                std::fs::create_dir_all(place)?;
            } else {
                place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                File::create(place)?;
            }
        }
        let source = format!("/proc/self/fd/{}", self.held.as_raw_fd());
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mounted(Some(&source), place, None, bind, None)?;
        if self.can_change {
            return Ok(());
        }
        // What was refused outside stays refused: the kernel insists on it.
        let there = rustix::fs::statvfs(place)?.f_flag;
        let mut flags =
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
        for (is, flag) in [
            (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
            (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
            (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
            (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
            (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
        ] {
            flags.set(flag, there.contains(is));
        }
        flags.set(
            MsFlags::MS_NODEV,
            !self.is_device || flags.contains(MsFlags::MS_NODEV),
        );
        mounted(None, place, None, flags, None)
    }
}
