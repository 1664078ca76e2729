//! A client of a PostgreSQL server that writes numbered entries, and remembers which were acknowledged: the first two messages of
//! the protocol and no more (PostgreSQL documentation, chapter 55).

use pan_lab::harness::TestLab;
use pan_linux::netns::Netns;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the server may take with anything before it is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection.
pub struct Session(TcpStream);

impl Session {
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut session = Self(stream);
        let body = [&196_608u32.to_be_bytes()[..], b"user\0postgres\0database\0postgres\0\0"].concat();
        session.0.write_all(&[&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat())?;
        session.finish().map(|_| session)
    }

    /// Runs statements; the first column of every row.
    pub fn query(&mut self, text: &str) -> io::Result<Vec<String>> {
        let length = text.len() as u32 + 5;
        self.0.write_all(&[b"Q", &length.to_be_bytes()[..], text.as_bytes(), b"\0"].concat())?;
        self.finish()
    }

    /// Reads until the server is ready for the next query.
    fn finish(&mut self) -> io::Result<Vec<String>> {
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
            let mut body = vec![0; length.saturating_sub(4)];
            self.0.read_exact(&mut body)?;
            match head[0] {
                b'D' => {
                    let size = i32::from_be_bytes(body[2..6].try_into().unwrap());
                    let value = usize::try_from(size).map_or("", |size| str::from_utf8(&body[6..6 + size]).unwrap_or_default());
                    rows.push(value.to_owned());
                }
                b'E' => failure = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return failure.map_or(Ok(rows), |text| Err(io::Error::other(text))),
                _ => {}
            }
            // A server that shuts down says so and goes.
            if let Some(text) = failure.as_ref().filter(|text| text.contains("FATAL")) {
                return Err(io::Error::other(text.clone()));
            }
        }
    }
}

/// Writes entries one after the other, from outside, until it is told to end.
pub struct Ledger {
    stop: Arc<AtomicBool>,
    /// How many entries were acknowledged.
    pub count: Arc<AtomicU64>,
    kept: Arc<Mutex<Kept>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Kept {
    acknowledged: Vec<u64>,
    /// The longest time between two that were.
    gap: Duration,
}

impl Ledger {
    pub fn begin(outside: Netns, to: SocketAddr) -> Self {
        let (stop, count, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Kept::default())));
        let (told, counted, keeps) = (stop.clone(), count.clone(), kept.clone());
        let thread = std::thread::spawn(move || outside.run(|| write(to, &told, &counted, &keeps)).unwrap());
        Self { stop, count, kept, thread: Some(thread) }
    }

    /// Waits for so many more.
    pub fn wait_for_more(&self, lab: &TestLab, more: u64, limit: Duration) {
        let wanted = self.count.load(Ordering::Relaxed) + more;
        lab.wait_for("more entries to be acknowledged", limit, |_| self.count.load(Ordering::Relaxed) >= wanted).unwrap();
    }

    /// Ends it: what was acknowledged, and the longest time between two entries that were.
    pub fn end(mut self) -> (Vec<u64>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        (kept.acknowledged, kept.gap)
    }
}

fn write(to: SocketAddr, stop: &AtomicBool, count: &AtomicU64, kept: &Mutex<Kept>) {
    let mut session: Option<Session> = None;
    let (mut next, mut last) = (1, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut session else {
            session = Session::open(to)
                .and_then(|mut session| session.query("create table if not exists ledger (id bigint)").map(|_| session))
                .ok();
            if session.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            continue;
        };
        // Each number is tried once: one that was not acknowledged may be there or not.
        let number = next;
        next += 1;
        match open.query(&format!("insert into ledger values ({number})")) {
            Ok(_) => {
                let mut kept = kept.lock().unwrap();
                kept.acknowledged.push(number);
                kept.gap = kept.gap.max(last.elapsed());
                last = Instant::now();
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => session = None,
        }
    }
}
