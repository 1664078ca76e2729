//! One connection to one replica, for as long as it lasts: mutual TLS, the capability as first word, frames both ways.

use super::shelf::Shelf;
use bytes::Bytes;
use pan_api::tls::TlsMaterial;
use pan_api::volume::MemberPlace;
use pan_linux::congestion;
use pan_model::VolumeId;
use pan_model::host_config::{HostConfig, REPLICA_PORT};
use pan_model::mirror::Member;
use pan_replica::wire::{self, Awaited, REPLY_HEAD};
use pan_replica::{Reply, Request};
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Says that the other end is there; between frames, which begin with something else.
const ALIVE: [u8; 2] = *b"ka";
/// How often it is said by one who has nothing else to say.
const ALIVE_EVERY: Duration = Duration::from_millis(50);
/// The answer to a good capability.
const WELCOME: u8 = 1;
/// Frames go out together up to this, a payload's beginning with its head: four full records of TLS.
const BUFFER: usize = 64 << 10;

/// What is read from the kernel at once. The layer of TLS by itself reads 4 KiB at a time.
const READ_AHEAD: usize = 128 << 10;

/// Beside the length of a capability: what follows the answer is in the clear. For laboratories; a storage host refuses it where it was not
/// configured as one of them.
const CLEAR: u16 = 1 << 15;

/// A connection that is ready for frames.
enum Line {
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
    Clear(BufReader<TcpStream>),
}

/// Where to, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub host: HostConfig,
    pub volume: VolumeId,
    pub place: MemberPlace,
    pub capability: Vec<u8>,
    /// Which attempt this is: each second one goes over the other fabric.
    pub attempt: u32,
    /// Extents of the volume, which bounds what an answer can name. A volume may grow while this lives.
    pub extents: Arc<AtomicU64>,
    /// Memory for what is read.
    pub shelf: Shelf,
}

/// What a connection has to say.
#[derive(Debug)]
pub(super) enum News {
    /// It is there, and takes requests. They are bounded by what the head has under way.
    Up(mpsc::UnboundedSender<Request<Bytes>>),
    /// An answer.
    Reply(Reply<Bytes>),
    /// It is not there, or no more: why.
    Down(String),
}

/// News, and of which life of the connection to whom.
pub(super) type Told = (Member, u64, News);

/// Lives one life of a connection.
pub(super) async fn live(way: Way, life: u64, after: Duration, news: mpsc::UnboundedSender<Told>) {
    let member = way.place.member;
    let tell = |what| drop(news.send((member, life, what)));
    tokio::time::sleep(after).await;
    let silence = silence(&way.host.profile);
    let stream = match timeout(silence * 4, connect(&way)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tell(News::Down(error.to_string())),
        Err(_) => return tell(News::Down("it does not answer".into())),
    };
    let (send, requests) = mpsc::unbounded_channel();
    tell(News::Up(send));
    let heard = |reply| tell(News::Reply(reply));
    let ended = match stream {
        Line::Tls(stream) => speak(*stream, silence, &way, requests, heard).await,
        Line::Clear(stream) => speak(stream, silence, &way, requests, heard).await,
    };
    tell(News::Down(ended.err().map_or_else(|| "it ended".into(), |error| error.to_string())));
}

async fn speak<S: AsyncRead + AsyncWrite>(
    stream: S,
    silence: Duration,
    way: &Way,
    requests: mpsc::UnboundedReceiver<Request<Bytes>>,
    heard: impl FnMut(Reply<Bytes>),
) -> io::Result<()> {
    let (from, to) = tokio::io::split(stream);
    let awaited = Mutex::default();
    tokio::select! {
        ended = read(from, silence, Reading { extents: &way.extents, shelf: &way.shelf, awaited: &awaited }, heard) => ended,
        ended = write(to, (way.volume, &awaited), requests) => ended,
    }
}

/// How long the other end may say nothing. It answers, or says that it is there, twenty times a second.
fn silence(profile: &str) -> Duration {
    match profile {
        "lan" => Duration::from_millis(250),
        "shared" => Duration::from_millis(500),
        _ => Duration::from_secs(1),
    }
}

async fn connect(way: &Way) -> io::Result<Line> {
    let MemberPlace { member, host, a, b } = &way.place;
    let fabrics = &way.host.fabrics;
    // Members are spread over both fabrics, and whoever does not get through tries the other one.
    let (own, their): (IpAddr, IpAddr) = match (member.0 + way.attempt) % 2 {
        0 => (fabrics.a.address.addr(), *a),
        _ => (fabrics.b.address.addr(), *b),
    };
    let socket = if own.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(own, 0))?;
    let stream = socket.connect(SocketAddr::new(their, REPLICA_PORT)).await?;
    stream.set_nodelay(true)?;
    if way.host.profile != "wan"
        && let Err(error) = congestion::by_loss(&stream)
    {
        tracing::debug!(%error, "the connection keeps the machine's congestion control");
    }
    // Read anew each time: certificates are replaced while heads run.
    let tls = TlsMaterial::read(&way.host.tls).and_then(|material| material.client_config()).map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(tls).connect(name, BufReader::with_capacity(READ_AHEAD, stream)).await?;
    let clear = way.host.volumes_in_the_clear();
    let length = u16::try_from(way.capability.len()).map_err(io::Error::other)? | if clear { CLEAR } else { 0 };
    stream.write_all(&[&length.to_be_bytes()[..], &way.capability].concat()).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        WELCOME if clear => {
            // The storage host says nothing before it has heard something in the clear: nothing of that is taken for TLS.
            let (mut stream, _) = stream.into_inner();
            stream.write_all(&ALIVE).await?;
            stream.flush().await?;
            Ok(Line::Clear(stream))
        }
        WELCOME => Ok(Line::Tls(Box::new(stream))),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "there is no such volume, it says")),
    }
}

/// What answers are read by.
struct Reading<'a> {
    extents: &'a AtomicU64,
    shelf: &'a Shelf,
    awaited: &'a Mutex<Awaited>,
}

async fn read<R: AsyncRead + Unpin>(
    from: R,
    silence: Duration,
    Reading { extents, shelf, awaited }: Reading<'_>,
    mut reply: impl FnMut(Reply<Bytes>),
) -> io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("it said nothing for {} ms", silence.as_millis()));
    loop {
        let mut head = [0; REPLY_HEAD];
        timeout(silence, from.read_exact(&mut head[..ALIVE.len()])).await.map_err(silent)??;
        if head[..ALIVE.len()] == ALIVE {
            continue;
        }
        timeout(silence, from.read_exact(&mut head[ALIVE.len()..])).await.map_err(silent)??;
        let behind = lock(awaited).answered(&head).map_err(io::Error::other)?;
        let mut payload = shelf.take(behind.length);
        let mut at = 0;
        while at < behind.length {
            at += match timeout(silence, from.read(&mut payload.target()[at..])).await.map_err(silent)?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => bytes,
            };
        }
        let most = extents.load(Ordering::Relaxed);
        reply(wire::read_reply(&head, payload.into_bytes(), most).map_err(io::Error::other)?);
    }
}

/// Both ends of a connection are served by one task; the lock is for the compiler.
fn lock(awaited: &Mutex<Awaited>) -> MutexGuard<'_, Awaited> {
    awaited.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write<W: AsyncWrite + Unpin>(
    mut to: W,
    (volume, awaited): (VolumeId, &Mutex<Awaited>),
    mut requests: mpsc::UnboundedReceiver<Request<Bytes>>,
) -> io::Result<()> {
    let mut together = Vec::with_capacity(BUFFER);
    loop {
        let idle = sleep_until(Instant::now() + ALIVE_EVERY);
        let next = tokio::select! {
            biased;
            next = requests.recv() => next,
            () = idle => {
                to.write_all(&ALIVE).await?;
                to.flush().await?;
                continue;
            }
        };
        let Some(mut request) = next else { return Ok(()) };
        loop {
            lock(awaited).asked(&request);
            let (head, payload) = wire::request(volume, request).map_err(io::Error::other)?;
            together.extend_from_slice(&head);
            let bytes = payload.bytes();
            let (with, rest) = bytes.split_at(bytes.len().min(BUFFER.saturating_sub(together.len())));
            together.extend_from_slice(with);
            if together.len() >= BUFFER {
                to.write_all(&together).await?;
                together.clear();
                to.write_all(rest).await?;
            }
            match requests.try_recv() {
                Ok(more) => request = more,
                Err(_) => break,
            }
        }
        to.write_all(&together).await?;
        together.clear();
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::mirror::Writer;
    use pan_model::{Lineage, Session, VolumeEpoch};
    use pan_replica::{Answer, Ask, Sequence, Span};

    fn frame(sequence: u64) -> Vec<u8> {
        let reply = Reply { sequence: Sequence(sequence), answer: Answer::Read(Bytes::from(vec![7; 5000])) };
        let (head, payload) = wire::reply(reply).unwrap();
        [&head[..], payload.bytes()].concat()
    }

    async fn heard(bytes: Vec<u8>) -> (Vec<u64>, String) {
        let mut all = Vec::new();
        let mut awaited = Awaited::default();
        for sequence in 1..4 {
            let (writer, span) = (Writer { epoch: VolumeEpoch(1), session: Session(1) }, Span { at: 0, length: 5000 });
            let ask = Ask::<Bytes>::Read { span, copy: false };
            let (lineage, sequence, settled) = (Lineage(1), Sequence(sequence), Sequence(0));
            awaited.asked(&Request { writer, lineage, sequence, settled, reconciled: false, ask });
        }
        let reading = Reading { extents: &AtomicU64::new(100), shelf: &Shelf::default(), awaited: &Mutex::new(awaited) };
        let ended = read(&bytes[..], Duration::from_secs(5), reading, |reply| all.push(reply.sequence.0)).await;
        (all, ended.unwrap_err().to_string())
    }

    #[tokio::test]
    async fn signs_of_life_stand_between_frames_and_noise_ends_it() {
        let (all, ended) = heard([&ALIVE[..], &frame(1), &ALIVE, &ALIVE, &frame(2)].concat()).await;
        assert_eq!(all, [1, 2]);
        assert!(ended.contains("eof") || ended.contains("early"), "{ended}");
        let (all, ended) = heard([&frame(1)[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100]].concat()).await;
        assert_eq!(all, [1]);
        assert!(ended.contains("no frame"), "{ended}");
        let mut torn = frame(3);
        torn[REPLY_HEAD + 4000] ^= 1;
        assert!(heard(torn).await.1.contains("damaged"));
        let (all, ended) = heard([frame(1), frame(1)].concat()).await;
        assert_eq!(all, [1]);
        assert!(ended.contains("not asked"), "{ended}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (here, _there) = tokio::io::duplex(64);
        let (extents, shelf, awaited) = (AtomicU64::new(100), Shelf::default(), Mutex::default());
        let reading = Reading { extents: &extents, shelf: &shelf, awaited: &awaited };
        let ended = read(here, silence("lan"), reading, |_| panic!("nobody spoke")).await.unwrap_err();
        assert!(ended.to_string().contains("nothing for 250 ms"), "{ended}");
    }
}
