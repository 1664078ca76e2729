//! What a process gives up that has everything it needs and speaks to strangers: from then on it makes no other process, runs no
//! other program, opens no file, and speaks nothing but TCP and UDP. See seccomp(2), and Provos, "Preventing Privilege Escalation"
//! (USENIX Security 2003), for the order: first all that takes rights, then the strangers.

use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;
use std::io;

/// What no such process has a use for. What is refused by the rights of its user alone is not repeated here.
const REFUSED: &[libc::c_long] = &[
    // Other processes, and other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    // Files.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_memfd_create,
    // What the kernel offers to whoever asks, and has had the most holes in.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
];

/// The same by names that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[libc::c_long] = &[];

/// Calls of the x32 ABI have the number of the usual one with this added, and the same architecture to filters.
#[cfg(target_arch = "x86_64")]
const TWIN: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const TWIN: Option<i64> = None;

/// Confines all threads of the process, and those they make, for good: only threads can be made, nothing can be run or opened, and no sockets
/// but those of IPv4 and IPv6. What is open stays open. What is refused fails with `EPERM`. The process cannot gain rights any more
/// (`no_new_privs`).
///
/// # Errors
/// The kernel has no seccomp filters, or another thread has filters of its own.
pub fn confine() -> io::Result<()> {
    // Whose arguments lie in memory, where a filter does not see them; libraries go on to clone when it is not there.
    let unseen = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    install(unseen, libc::ENOSYS)?;
    install(refused().map_err(io::Error::other)?, libc::EPERM)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn refused() -> Result<Rules, seccompiler::BackendError> {
    let argument = |number, op, value| SeccompCondition::new(number, SeccompCmpArgLen::Dword, op, value);
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_OLD).map(|call| (*call, Vec::new())).collect();
    // More than another thread.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![argument(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
    let other_than = |family: i32| argument(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()));
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![other_than(libc::AF_INET)?, other_than(libc::AF_INET6)?])?]);
    if let Some(offset) = TWIN {
        rules.extend(rules.clone().into_iter().map(|(call, rule)| (call + offset, rule)));
    }
    Ok(rules)
}

fn install(rules: Rules, errno: i32) -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).map_err(io::Error::other)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| io::Error::other(error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// Lets the kernel choose the calling process before others when memory ends, proc(5) `oom_score_adj`: 0 to 1000. To be called before it
/// becomes another user.
pub fn prefer_to_be_killed(score: u16) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Bounds what the process can write to in memory, getrlimit(2) `RLIMIT_DATA`, in bytes, and has it leave no core.
pub fn bound_memory(most: u64) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_DATA, most, most)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}
