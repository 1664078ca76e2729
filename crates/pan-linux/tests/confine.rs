//! What a confined process can and cannot do, by one that confines itself: this program again.

#![allow(unsafe_code, clippy::unwrap_used, reason = "a test may panic, and tries what is refused")]

use pan_linux::process::{bound_memory, confine};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

const INNER: &str = "PAN_TEST_CONFINED";

#[test]
fn a_confined_process_serves_who_it_serves_and_does_nothing_else() {
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "a_confined_process_serves_who_it_serves_and_does_nothing_else";
    let output = command.env(INNER, "1").args(["--exact", name, "--nocapture", "--test-threads", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("nothing else was possible"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn inner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut file = tempfile::tempfile().unwrap();
    // A thread from before is confined as well.
    let (go, come) = std::sync::mpsc::channel::<()>();
    let before = std::thread::spawn(move || {
        come.recv().unwrap();
        Command::new("/bin/true").status().map(drop)
    });
    bound_memory(256 << 20).unwrap();
    confine().unwrap();
    go.send(()).unwrap();

    let refused = |what: &str, outcome: io::Result<()>| {
        let error = outcome.err().unwrap_or_else(|| panic!("{what} was possible"));
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    };
    refused("another program, by a thread from before", before.join().unwrap());
    refused("another program", Command::new("/bin/true").status().map(drop));
    // SAFETY: a child, if there were one, ends at once.
    refused("a fork", unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    });
    refused("a file", std::fs::File::open("/etc/hostname").map(drop));
    refused("a new file", std::fs::write(std::env::temp_dir().join("pan-confined"), "x"));
    refused("a folder", std::fs::create_dir(std::env::temp_dir().join("pan-confined")));
    refused("a link", std::os::unix::fs::symlink("/", std::env::temp_dir().join("pan-confined")));
    refused("a local socket", UnixDatagram::unbound().map(drop));
    refused("another's socket", UnixStream::connect("/run/systemd/journal/stdout").map(drop));
    // SAFETY: the arguments are numbers.
    let netlink = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0) };
    assert_eq!((netlink, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    // SAFETY: as above.
    let killed = unsafe { libc::kill(libc::getppid(), 0) };
    assert_eq!((killed, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    // SAFETY: flags of unshare(2), which would change this process alone.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
    assert_eq!((unshared, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));

    // What it has goes on, and threads can be made.
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"served").unwrap());
    let mut answer = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut answer).unwrap();
    server.join().unwrap();
    assert_eq!(answer, "served");
    UdpSocket::bind("127.0.0.1:0").unwrap();
    file.write_all(b"still open").unwrap();
    // What is more than it may have it does not get, and lives.
    assert!(Vec::<u8>::new().try_reserve_exact(512 << 20).is_err());
    println!("nothing else was possible");
}
