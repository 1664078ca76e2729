//! Which system calls a container may make: a list of those allowed, and everything else answered as a kernel would that has no such
//! call (`ENOSYS`), so that programs fall back on what there is.
//!
//! Allowed rather than denied, because a list of the denied cannot name what it does not know: a call that is newer than the
//! libseccomp of a host would be let through. Names that a libseccomp does not know are skipped by the runtime, which in a list of the
//! allowed denies them. Compared with the defaults of container engines (moby `profiles/seccomp/default.json`, containers-common
//! `pkg/seccomp/seccomp.json`), which let programs have what their capabilities permit, these are never allowed:
//!
//! - namespaces and mounts (`unshare`, `setns`, `clone3`, `mount`, …): a user namespace of its own is how most holes of recent
//!   years in the kernel were reached from containers. `clone3` hides its flags from filters; C libraries fall back on `clone`;
//! - `ptrace`, `process_vm_*`, `pidfd_getfd`, `kcmp`: the runtime's own process comes in whenever a program is started in a running
//!   container, and is not to be looked into (CVE-2016-9962);
//! - `io_uring_*`, `bpf`, `perf_event_open`, `userfaultfd`, `keyctl` and its kin, `open_by_handle_at`, modules, kexec;
//! - sockets of other families than unix, IPv4, IPv6, and netlink's routes: the rest (`AF_ALG`, `AF_PACKET`, `AF_VSOCK`, …) is rarely used,
//!   and `AF_VSOCK` reaches past network namespaces;
//! - 32-bit programs: the second table of calls is a second kernel to keep shut. They are killed.

use serde_json::{Value, json};

/// What a kernel without the call says.
const ENOSYS: u32 = 38;
/// What a kernel without the family, or the protocol of a family, says. Programs that ask whether it is there live with these two
/// answers, and with no other: libaudit, by which su(1) and sshd(8) stand or fall, is one.
const EAFNOSUPPORT: u32 = 97;
const EPROTONOSUPPORT: u32 = 93;
/// The flags of clone(2) that make namespaces: mount, cgroup, uts, ipc, user, pid, network.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// `AF_UNIX`, `AF_INET`, `AF_INET6`.
const FAMILIES: [u64; 3] = [1, 2, 10];
const AF_UNIX: u64 = 1;
const AF_NETLINK: u64 = 16;
/// Which addresses and routes there are: getifaddrs(3).
const NETLINK_ROUTE: u64 = 0;
/// How programs run: as usual, with what uname(2) says of 32-bit machines, of Linux 2.6, of both, and the question which it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Allowed with any arguments: what acts on the caller's own files, memory, processes, sockets and timers, where the kernel checks
/// rights itself. Names of one architecture only are skipped on others.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chroot clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
    epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp
    getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    madvise map_shadow_stack membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recvfrom recvmmsg recvmsg removexattr removexattrat rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address
    setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
    setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs
    statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
    utime utimensat utimes vfork vmsplice wait4 waitid write writev";

/// The `seccomp` part of a container's configuration.
pub(super) fn profile() -> Value {
    let mut calls = vec![allow(&ALLOWED.split_whitespace().collect::<Vec<_>>(), json!([]))];
    let no_namespace = json!([{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": NEW_NAMESPACES, "valueTwo": 0}]);
    calls.push(allow(&["clone"], no_namespace));
    calls.extend(PERSONALITIES.map(|kind| allow(&["personality"], json!([equals(0, kind)]))));
    calls.extend(FAMILIES.map(|family| allow(&["socket"], json!([equals(0, family)]))));
    calls.push(allow(&["socket"], json!([equals(0, AF_NETLINK), equals(2, NETLINK_ROUTE)])));
    calls.push(allow(&["socketpair"], json!([equals(0, AF_UNIX)])));
    calls.extend(other_families().map(|family| refuse(EAFNOSUPPORT, json!([family]))));
    calls.push(refuse(EPROTONOSUPPORT, json!([equals(0, AF_NETLINK), above(2, NETLINK_ROUTE)])));
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": ENOSYS, "syscalls": calls})
}

/// Every family that no rule allows in part.
fn other_families() -> impl Iterator<Item = Value> {
    let below = (0..AF_NETLINK).filter(|family| !FAMILIES.contains(family)).map(|family| equals(0, family));
    below.chain([above(0, AF_NETLINK)])
}

fn refuse(answer: u32, args: Value) -> Value {
    json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": answer, "args": args})
}

fn allow(names: &[&str], args: Value) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args})
}

fn equals(index: u32, value: u64) -> Value {
    json!({"index": index, "op": "SCMP_CMP_EQ", "value": value})
}

fn above(index: u32, value: u64) -> Value {
    json!({"index": index, "op": "SCMP_CMP_GT", "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_listed_once_and_the_dangerous_ones_never() {
        let mut names: Vec<&str> = ALLOWED.split_whitespace().collect();
        assert!(names.is_sorted(), "kept in order, so that two lists can be compared");
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for call in [
            "clone3",
            "unshare",
            "setns",
            "mount",
            "umount2",
            "move_mount",
            "pivot_root",
            "fsopen",
            "open_tree",
            "ptrace",
            "bpf",
            "keyctl",
            "add_key",
            "request_key",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "init_module",
            "finit_module",
            "kexec_load",
            "reboot",
            "process_vm_writev",
            "pidfd_getfd",
            "syslog",
            "acct",
            "swapon",
            "quotactl",
        ] {
            assert!(!names.contains(&call), "{call}");
        }
    }
}
