//! One connection of a head to one replica: requests are admitted as they come, done side by side, and answered as they are done.

use super::crowd::Session;
pub(super) use super::frames::Gone;
use super::frames::{self, AtOnce, Incoming, Outgoing, Replies};
use super::limits::{IN_FLIGHT, PAYLOAD_TIME, weight};
use super::{Guest, Server};
use crate::metrics::Counts;
use crate::vault::{Admitted, Outcome, Work};
use pan_model::mirror::Writer;
use pan_replica::{Answer, Ask, Conn, Reply, Request, Sequence, wire};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What is read from a connection at once: some dozen requests without payload.
const READ_AHEAD: usize = 16 << 10;

/// After a read of so many bytes its answer is sent before more is read: it is as long as what is sent at once.
const LONG: u64 = 64 << 10;

/// Work that waits until its head said that more is settled.
type Parked = (Work<Vec<u8>>, Sequence, Vec<OwnedSemaphorePermit>);

/// What may be in flight: on a connection, of its host, and on all.
type Bounds = [Arc<Semaphore>; 3];

struct Desk {
    guest: Guest,
    session: Session,
    counts: Arc<Counts>,
    /// What other threads answer. Bounded by what may be in flight: each reply has its permits.
    replies: UnboundedSender<Outgoing>,
    /// What was answered at once, by the task that sends it as well, which therefore need not be woken. Bounded likewise.
    at_once: AtOnce,
    parked: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Requests that were admitted.
    admitted: u64,
    work: Vec<Parked>,
}

/// Serves a connection to its end; says why it ended.
pub(super) async fn run(server: &Server, (guest, peer): (Guest, Arc<Semaphore>), stream: impl AsyncRead + AsyncWrite) -> Gone {
    let session = server.crowd.join(guest.capability.volume);
    let silence = server.silence.0;
    let (read, write) = tokio::io::split(stream);
    let (replies, outgoing) = unbounded_channel();
    let (end, conn, kept) = (session.end.clone(), session.conn, guest.kept.clone());
    let at_once = AtOnce::default();
    let mut all_replies = Replies { at_once: at_once.clone(), others: outgoing };
    let desk = Arc::new(Desk { guest, session, counts: server.counts.clone(), replies, at_once, parked: Mutex::default() });
    let told = desk.clone();
    let incoming = Incoming { read: BufReader::with_capacity(READ_AHEAD, read), silence };
    let mut open = server.open.clone();
    open.mark_unchanged();
    server.counts.sessions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let bounds = [Arc::new(Semaphore::new(IN_FLIGHT)), peer, server.in_flight.clone()];
    // In this order: what is answered while requests are taken is sent right after.
    let why = tokio::select! {
        biased;
        why = receive(desk, incoming, &bounds) => why,
        sent = frames::send(write, &mut all_replies, silence) => sent.err().unwrap_or(Gone::Closed),
        why = tell_rotten(&told, conn) => why,
        () = end.notified() => Gone::Fenced,
        _ = open.changed() => Gone::Unserved,
    };
    server.counts.sessions.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    kept.closed(conn);
    why
}

async fn receive(desk: Arc<Desk>, mut incoming: Incoming<impl AsyncRead + Unpin>, bounds: &Bounds) -> Gone {
    loop {
        if let Err(gone) = one(&desk, &mut incoming, bounds).await {
            return gone;
        }
    }
}

/// Takes one request.
async fn one(desk: &Arc<Desk>, incoming: &mut Incoming<impl AsyncRead + Unpin>, bounds: &Bounds) -> Result<(), Gone> {
    let head = incoming.head().await?;
    let length = wire::request_behind(&head)?.length;
    let mut held = take(bounds, length).await?;
    let mut payload = vec![0; length];
    timeout(PAYLOAD_TIME, incoming.fill(&mut payload)).await.map_err(|_| Gone::Silent)??;
    let (volume, request) = wire::read_request(&head, payload, desk.guest.kept.extents())?;
    let capability = &desk.guest.capability;
    let allowed = (capability.volume, Writer { epoch: capability.epoch, session: capability.session }, capability.lineage);
    if (volume, request.writer, request.lineage) != allowed {
        return Err(Gone::Beyond);
    }
    let mut long = false;
    if let Ask::Read { span, .. } = &request.ask {
        held.extend(take(bounds, usize::try_from(span.length).unwrap_or(usize::MAX)).await?);
        long = span.length >= LONG;
    }
    desk.take(request, held)?;
    if long {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Tells the head, unasked, what is found to be rotten. Takes nothing of what may be in flight: a list is 64 KiB at most, and the next one
/// comes after another step of the scrub.
async fn tell_rotten(desk: &Desk, conn: Conn) -> Gone {
    loop {
        let extents = desk.guest.kept.rotten_of(conn).await;
        if let Err(gone) = desk.reply(Sequence(0), Answer::Rotten(extents), Vec::new()) {
            return gone;
        }
    }
}

/// Waits until so many bytes more may be in flight.
async fn take(bounds: &Bounds, bytes: usize) -> Result<Vec<OwnedSemaphorePermit>, Gone> {
    let weight = weight(bytes);
    let mut held = Vec::with_capacity(bounds.len());
    for of in bounds {
        held.push(of.clone().acquire_many_owned(weight).await.map_err(|_| Gone::Closed)?);
    }
    Ok(held)
}

impl Desk {
    fn take(self: &Arc<Self>, request: Request<Vec<u8>>, held: Vec<OwnedSemaphorePermit>) -> Result<(), Gone> {
        let sequence = request.sequence;
        self.counts.requests.of(&request.ask);
        let admitted = self.guest.kept.admit(self.session.conn, request);
        let parked = {
            let mut waiting = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.admitted += 1;
            std::mem::take(&mut waiting.work)
        };
        parked.into_iter().for_each(|(work, sequence, held)| self.begin(work, sequence, held));
        match admitted {
            Admitted::Answer(answer) => self.reply_at_once(sequence, answer, held),
            Admitted::Work(work) => {
                if work.is_fence() {
                    self.session.end_others();
                }
                // What is in memory is not worth waking another thread for.
                if let Some(answer) = self.guest.vault.at_once(&self.guest.kept, &work) {
                    return self.reply_at_once(sequence, answer, held);
                }
                self.begin(work, sequence, held);
                Ok(())
            }
        }
    }

    /// Work is begun in the order in which it was admitted: what is waited for is always ahead in the same queue.
    fn begin(self: &Arc<Self>, work: Work<Vec<u8>>, sequence: Sequence, held: Vec<OwnedSemaphorePermit>) {
        let desk = self.clone();
        tokio::task::spawn_blocking(move || desk.work(work, sequence, held));
    }

    fn work(&self, mut work: Work<Vec<u8>>, sequence: Sequence, held: Vec<OwnedSemaphorePermit>) {
        loop {
            let before = self.parked.lock().unwrap_or_else(PoisonError::into_inner).admitted;
            match self.guest.vault.perform(&self.guest.kept, work) {
                Outcome::Answer(answer) => {
                    if self.reply(sequence, answer, held).is_err() {
                        self.session.end.notify_one();
                    }
                    return;
                }
                Outcome::Dropped => return self.session.end.notify_one(),
                Outcome::Later(again) => {
                    let mut waiting = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
                    if waiting.admitted == before {
                        waiting.work.push((again, sequence, held));
                        return;
                    }
                    work = again;
                }
            }
        }
    }

    /// From another thread than that of the connection.
    fn reply(&self, sequence: Sequence, answer: Answer<Vec<u8>>, weight: Vec<OwnedSemaphorePermit>) -> Result<(), Gone> {
        // Nobody waits for it if this fails.
        let _ = self.replies.send(self.outgoing(sequence, answer, weight)?);
        Ok(())
    }

    /// From the connection's own task.
    fn reply_at_once(&self, sequence: Sequence, answer: Answer<Vec<u8>>, weight: Vec<OwnedSemaphorePermit>) -> Result<(), Gone> {
        self.at_once.put(self.outgoing(sequence, answer, weight)?);
        Ok(())
    }

    fn outgoing(&self, sequence: Sequence, answer: Answer<Vec<u8>>, weight: Vec<OwnedSemaphorePermit>) -> Result<Outgoing, Gone> {
        self.counts.answered(&answer);
        let (head, payload) = wire::reply(Reply { sequence, answer })?;
        Ok(Outgoing { head, payload, weight })
    }
}
