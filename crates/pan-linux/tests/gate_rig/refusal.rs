//! A thread to which the kernel refuses bpf(2).
#![allow(unsafe_code)]

use std::thread;

// Classic BPF, as seccomp(2) takes it: load a word of `struct seccomp_data`; jump if equal; return.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the number of the system call is.
const NUMBER: u32 = 0;

/// Does something where bpf(2) is not permitted, on a thread of its own; its threads and processes have it no better.
pub fn without_bpf<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let refused = || {
        refuse();
        body()
    };
    thread::scope(|scope| scope.spawn(refused).join().unwrap())
}

fn refuse() {
    let number = u32::try_from(libc::SYS_bpf).unwrap();
    let denied = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD, 0, 0, NUMBER),
        step(JUMP_IF_EQUAL, 0, 1, number),
        step(RETURN, 0, 0, denied),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: u16::try_from(steps.len()).unwrap(), filter: steps.as_mut_ptr() };
    // SAFETY: no addresses are passed.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the program and its steps outlive the call, which copies them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
