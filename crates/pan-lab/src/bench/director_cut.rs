//! The director that answers for the demo loses its power: how long nobody can connect, and what becomes of connections that exist.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pan_api::service::Service;
use pan_linux::netns::Netns;

use super::cut::{CutTime, RECOVERY_MAX, Victim, detail};
use super::demo::{Demo, SERVICE};
use super::error::BenchError;
use super::probing::Client;
use super::report::RunDetail;
use crate::error::LabError;

/// Connections that were there before and are gone, or lead to another server.
pub(super) const LOST: &str = "connections lost or moved";

/// Connections that are there before: half of them ask all the time, the others not at all.
const HELD: usize = 200;
/// How long directors remember a service's former table (docs/balancing.md).
const RETIRE_AFTER: Duration = Duration::from_secs(60);
/// A prober's life: until it is steady, the recovery, and the timeout of its last probe.
const PROBING_MAX: Duration = Duration::from_secs(45);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(20);
/// For an answer over a connection that exists. A packet that is lost comes again after 200 ms, then 400, 800 and 1600.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Waits until connections that begin now are found by every director: until then some that begin on slots that were another server's are not.
pub(super) fn settle(demo: &Demo<'_>) -> Result<(), BenchError> {
    let begun = Instant::now();
    demo.pan.wait("former tables being forgotten", RETIRE_AFTER * 2, || {
        let passed = begun.elapsed();
        if passed > RETIRE_AFTER + Duration::from_secs(2) { Ok(()) } else { Err(format!("{} s have passed", passed.as_secs())) }
    })
}

/// One run: cuts the owner of the demo's addresses, waits until all are served again, and puts it back.
pub(super) fn run(demo: &mut Demo<'_>, servers: u32) -> Result<RunDetail, BenchError> {
    let service: Service = demo.pan.get(SERVICE)?;
    let owner = owner(&service).map_err(BenchError::Surprise)?;
    let host = demo.host(&owner)?;
    let mut probing = demo.probe(PROBING_MAX)?;
    let target = SocketAddr::new(service.address, service.port);
    let mut idle = Held::open(&Client::of_lab(&demo.room).netns, target, HELD / 2)?;
    let mut busy = Held::open(&Client::of_lab(&demo.room).netns, target, HELD / 2)?;
    let stop = AtomicBool::new(false);
    let (cut, served) = thread::scope(|scope| {
        scope.spawn(|| busy.ask_until(&stop));
        let cut = CutTime::of(|| Ok(demo.room.kill(host)?));
        let served = cut.as_ref().map_or(Ok(()), |cut| demo.wait_served(&mut probing, cut.boot_us, RECOVERY_MAX));
        stop.store(true, Ordering::Relaxed);
        (cut, served)
    });
    let cut = cut?;
    let recovered = match served {
        Ok(()) => true,
        Err(BenchError::TimedOut { .. }) => false,
        Err(error) => return Err(error),
    };
    let samples = probing.seen()?.since(cut.boot_us);
    drop(probing);
    idle.ask();
    busy.ask();
    let to = demo.pan.wait("another director owning the addresses", RECOVERY_MAX, || {
        let now = self::owner(&demo.pan.look(SERVICE).map_err(|error| error.message)?)?;
        if now == owner { Err(format!("{now} still does")) } else { Ok(now) }
    })?;
    let mut detail = detail(Victim { server: &target.to_string(), node: &owner, to: recovered.then_some(to) }, &cut, &samples, None);
    detail.counts.insert(LOST.to_owned(), (idle.lost() + busy.lost()) as u64);
    demo.room.start(host)?;
    demo.back(&owner)?;
    demo.whole(servers)?;
    Ok(detail)
}

fn owner(service: &Service) -> Result<String, String> {
    service.director.as_ref().map(ToString::to_string).ok_or_else(|| "the demo's service has no director".to_owned())
}

/// Connections to a server each, which it may not leave.
struct Held {
    all: Vec<Connection>,
}

struct Connection {
    /// None once it broke.
    stream: Option<TcpStream>,
    /// What its server says first of all, with the instance's name.
    answered: Option<String>,
}

impl Held {
    /// Opens them, in a network, and asks each for the first time.
    fn open(netns: &str, target: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let netns = Netns::open(netns).map_err(LabError::kernel("enter the client's network"))?;
        let connect = || TcpStream::connect_timeout(&target, ANSWER_MAX);
        let all = netns
            .run(|| (0..count).map(|_| connect()).collect::<io::Result<Vec<_>>>())
            .map_err(LabError::kernel("enter the client's network"))?;
        let all = all.map_err(|error| BenchError::Surprise(format!("cannot connect to {target}: {error}")))?;
        let mut held = Self { all: all.into_iter().map(|stream| Connection { stream: Some(stream), answered: None }).collect() };
        held.ask();
        match held.lost() {
            0 => Ok(held),
            lost => Err(BenchError::Surprise(format!("{lost} of {count} connections were not answered to begin with"))),
        }
    }

    fn ask(&mut self) {
        self.all.iter_mut().for_each(Connection::ask);
    }

    fn ask_until(&mut self, stop: &AtomicBool) {
        // Fewer times than the demo's servers answer over one connection.
        for _ in 0..80 {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.ask();
            thread::sleep(PAUSE);
        }
    }

    fn lost(&self) -> usize {
        self.all.iter().filter(|connection| connection.stream.is_none()).count()
    }
}

impl Connection {
    /// Asks once more. One that breaks, or is answered by somebody else, is lost for good.
    fn ask(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let said = exchange(stream).ok();
        let same = said.is_some() && self.answered.as_ref().is_none_or(|before| said.as_ref() == Some(before));
        self.answered = self.answered.take().or(said);
        if !same {
            self.stream = None;
        }
    }
}

/// The body of an answer to a request.
fn exchange(stream: &mut TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + ANSWER_MAX;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        if let Some(body) = body(&answer) {
            return Ok(body);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The body, once all of it is there: of the length that is said.
fn body(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    })?;
    (body.len() >= length).then(|| body[..length].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_that_breaks_or_is_answered_by_another_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for body in ["one", "one", "two"] {
                let mut request = [0; 256];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}").as_bytes()).unwrap();
            }
        });
        let connection = |stream| Connection { stream: Some(stream), answered: None };
        let mut held = Held { all: vec![connection(TcpStream::connect(target).unwrap())] };
        for (number, lost) in [0, 0, 1].into_iter().enumerate() {
            held.ask();
            assert_eq!(held.lost(), lost, "question {number}");
        }
        server.join().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut held = Held { all: vec![connection(TcpStream::connect(listener.local_addr().unwrap()).unwrap())] };
        drop(listener);
        held.ask();
        assert_eq!(held.lost(), 1, "closed");
    }

    #[test]
    fn a_body_is_there_when_all_of_it_is() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(body(format!("{head}abc").as_bytes()), None);
        assert_eq!(body(format!("{head}abcd").as_bytes()), Some("abcd".to_owned()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n"), None);
    }
}
