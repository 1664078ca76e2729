//! `pan proxy` as a process: a document, requests, a log, an end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Nothing here takes so long unless it is broken.
const LONG: Duration = Duration::from_secs(20);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < LONG, "never: {what}");
        std::thread::yield_now();
    }
}

/// Answers every connection with `text`, for as long as the test lasts.
fn server(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reading = BufReader::new(&stream);
            let mut line = String::new();
            while reading.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let _ = write!(&stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
        }
    });
    address
}

fn document(listen: SocketAddr, server: SocketAddr) -> String {
    format!(
        r#"{{"services": [{{"name": "www", "listen": ["{listen}"], "routes": [{{"cluster": "web"}}],
            "clusters": [{{"name": "web", "servers": [{{"name": "web-1", "index": 1, "address": "{server}", "state": "up"}}]}}]}}]}}"#
    )
    .replace('\n', " ")
}

fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn ask(control: &Path, question: &str) -> String {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    writeln!(stream, "{question}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

#[test]
fn a_proxy_follows_documents_writes_lines_and_ends_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (control, file, log) = (folder.path().join("control"), folder.path().join("www.json"), folder.path().join("access.log"));
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(&file, document(listen, server("one"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
    command.arg("proxy").arg("--control").arg(&control).arg("--document").arg(&file).arg("--access-log").arg(&log).args(["--threads", "2"]);
    let mut running = Running(command.spawn().unwrap());
    assert_eq!(until("it answers", || get(listen)), "one");
    let line = until("the request has a line", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with("}\n")));
    assert!(line.contains(r#""path":"/x""#) && line.contains(r#""status":200"#), "{line}");
    until("it takes questions", || control.exists().then_some(()));
    let next = document(listen, server("two"));
    assert_eq!(ask(&control, &format!(r#"{{"apply": {next}}}"#)), r#""applied""#);
    assert_eq!(get(listen).as_deref(), Some("two"));
    let refused = ask(&control, &format!(r#"{{"apply": {}}}"#, next.replace(r#""cluster": "web""#, r#""cluster": "none""#)));
    assert_eq!(refused, r#"{"refused":"services[0].routes[0].cluster: there is no cluster \"none\""}"#);
    assert_eq!(get(listen).as_deref(), Some("two"));
    // Another of the same socket is refused before it looks at a document, let alone listens.
    let unfit = folder.path().join("unfit.json");
    std::fs::write(&unfit, r#"{"services": [{"name": "www", "listen": [], "routes": [], "clusters": []}]}"#).unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_pan"));
    let output = second.arg("proxy").arg("--control").arg(&control).arg("--document").arg(&unfit).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("another process does"), "{said}");
    assert_eq!(ask(&control, r#"{"drain": "5s"}"#), r#"{"drained":0}"#);
    assert!(running.0.wait().unwrap().success());
    assert!(get(listen).is_none());
}

#[test]
fn a_proxy_with_a_user_of_its_own_is_confined_and_serves() {
    if pan_linux::process::user_of(i32::try_from(std::process::id()).unwrap()) != Some(0) {
        println!("SKIP: becoming another user needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
    command.arg("proxy").arg("--control").arg(&control).args(["--threads", "2", "--user", "65534", "--memory", "256MiB"]);
    let mut running = Running(command.spawn().unwrap());
    until("it takes questions", || UnixStream::connect(&control).ok());
    assert_eq!(ask(&control, &format!(r#"{{"apply": {}}}"#, document(listen, server("one")))), r#""applied""#);
    assert_eq!(get(listen).as_deref(), Some("one"));
    let pid = running.0.id();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let says = |line: &str| assert!(status.lines().any(|other| other == line), "{line}: {status}");
        says("Uid:\t65534\t65534\t65534\t65534");
        says("CapEff:\t0000000000000000");
        says("NoNewPrivs:\t1");
        says("Seccomp:\t2");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max data size") && line.contains("268435456")), "{limits}");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "500");
    assert_eq!(ask(&control, r#"{"drain": "5s"}"#), r#"{"drained":0}"#);
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn a_document_that_does_not_fit_is_told_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("www.json");
    std::fs::write(&file, r#"{"services": [{"name": "www", "listen": [], "routes": [], "clusters": []}]}"#).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
    let output = command.arg("proxy").arg("--control").arg(folder.path().join("control")).arg("--document").arg(&file).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("services[0].listen: a service listens somewhere"), "{said}");
}
