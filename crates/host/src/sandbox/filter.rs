//! System calls that a confined server does not get.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::sandbox::Profile;

/// Refused as not permitted, whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // Other processes and their memory.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    // The kernel and its keys.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // File systems and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Clocks and names of the machine.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // What processes share.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Refused for any process but the caller: the first argument names one.
const OF_ITSELF_ONLY: &[libc::c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];

/// Refused for any process but the caller: the second argument names one.
const OF_ITSELF_ONLY_SECOND: &[libc::c_long] = &[libc::SYS_setpriority, libc::SYS_ioprio_set];

/// Refused where nothing may be changed: Landlock does not see these.
const METADATA: &[libc::c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // fchmodat2; the number is the same everywhere.
    452,
    // setxattrat, removexattrat.
    463,
    466,
];

/// The same where there are older calls.
#[cfg(target_arch = "x86_64")]
const METADATA_OLD: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const METADATA_OLD: &[libc::c_long] = &[];

/// Signals, where nothing else keeps them within.
const SIGNALS: &[libc::c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

/// Said to be missing, so that programs take another way.
const MISSING: &[libc::c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_create,
    libc::SYS_execveat,
];

/// New namespaces of any kind, in the flags of `clone`.
const NAMESPACES: u64 = 0x0200_0000 // CLONE_NEWCGROUP
    | 0x0400_0000 // CLONE_NEWUTS
    | 0x0800_0000 // CLONE_NEWIPC
    | 0x1000_0000 // CLONE_NEWUSER
    | 0x2000_0000 // CLONE_NEWPID
    | 0x4000_0000 // CLONE_NEWNET
    | 0x0002_0000; // CLONE_NEWNS
/// Calls of another interface of the same kernel have this in their number.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters of a profile, to be put in place in this order. `signals` are kept within by something
/// else.
pub(super) fn filters(profile: &Profile, signals: bool) -> Result<[BpfProgram; 2], String> {
    let mut refused = Rules::new();
    let all = |rules: &mut Rules, calls: &[libc::c_long]| {
        for call in calls {
            rules.insert(*call, Vec::new());
        }
    };
    all(&mut refused, REFUSED);
    if profile.write.is_empty() && profile.own.is_empty() {
        all(&mut refused, METADATA);
        all(&mut refused, METADATA_OLD);
    }
    if !signals {
        all(&mut refused, SIGNALS);
    }
    for call in OF_ITSELF_ONLY {
        refused.insert(*call, vec![rule(vec![is_not(0, 0)?])?]);
    }
    for call in OF_ITSELF_ONLY_SECOND {
        refused.insert(*call, vec![rule(vec![is_not(1, 0)?])?]);
    }
    let mut spaces = Vec::new();
    for bit in (0..32)
        .map(|bit| 1_u64 << bit)
        .filter(|bit| NAMESPACES & bit != 0)
    {
        spaces.push(rule(vec![has(0, bit)?])?);
    }
    refused.insert(libc::SYS_clone, spaces);
    // Keys pressed in the terminal of the person, and the paste of its console.
    let terminal = [0x5412_u64, 0x541C].map(|request| rule(vec![is(1, request)?]));
    refused.insert(
        libc::SYS_ioctl,
        terminal.into_iter().collect::<Result<_, _>>()?,
    );
    match profile.has_sockets() {
        false => all(&mut refused, &[libc::SYS_socket]),
        true => {
            // IP alone: no sockets of the desktop, no other families.
            let family = |family: i32| u64::from(family.unsigned_abs());
            let other = rule(vec![
                is_not(0, family(libc::AF_INET))?,
                is_not(0, family(libc::AF_INET6))?,
            ])?;
            let raw = rule(vec![masked(1, 0xf, family(libc::SOCK_RAW))?])?;
            refused.insert(libc::SYS_socket, vec![other, raw]);
        }
    }
    // Within the machine only pairs of one's own.
    let family = is_not(0, u64::from(libc::AF_UNIX.unsigned_abs()))?;
    refused.insert(libc::SYS_socketpair, vec![rule(vec![family])?]);
    let mut missing = Rules::new();
    all(&mut missing, MISSING);
    #[cfg(target_arch = "x86_64")]
    {
        let mut of_x32 = Vec::new();
        of_x32.extend(REFUSED.iter().chain(METADATA).chain(METADATA_OLD));
        of_x32.extend([
            libc::SYS_socket,
            libc::SYS_clone,
            libc::SYS_ioctl,
            libc::SYS_prlimit64,
        ]);
        for call in of_x32 {
            refused.insert(call | X32, Vec::new());
        }
    }
    Ok([
        program(missing, libc::ENOSYS)?,
        program(refused, libc::EPERM)?,
    ])
}

fn program(rules: Rules, error: i32) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let action = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch);
    let filter = filter.map_err(|error| error.to_string())?;
    BpfProgram::try_from(filter).map_err(|error| error.to_string())
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

fn condition(place: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, is, value)
        .map_err(|error| error.to_string())
}

fn is(place: u8, value: u64) -> Result<SeccompCondition, String> {
    condition(place, SeccompCmpOp::Eq, value)
}

fn is_not(place: u8, value: u64) -> Result<SeccompCondition, String> {
    condition(place, SeccompCmpOp::Ne, value)
}

fn has(place: u8, bit: u64) -> Result<SeccompCondition, String> {
    masked(place, bit, bit)
}

fn masked(place: u8, mask: u64, value: u64) -> Result<SeccompCondition, String> {
    condition(place, SeccompCmpOp::MaskedEq(mask), value)
}
