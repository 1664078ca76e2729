//! Where the kernel's requests come in: its descriptor, polled by the loop that has everything else.

use super::error::HeadError;
use super::message::HeadOrder;
use super::operation::Asked;
use pan_linux::fuse::{Inbox, InboxSpec, Next, Session, Standing, TheFile};
use std::collections::VecDeque;
use std::io;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyMutGuard};

/// Bytes of a block: what replicas have checksums of.
const BLOCK: u32 = 4096;
/// Requests of the kernel that are taken before anything else has its turn: as many as go out together.
const TURN: usize = 32;
/// What of the kernel's descriptor is waited for: requests, and the end.
pub(super) const WAITS: Interest = Interest::READABLE.add(Interest::ERROR);
/// Large writes of which the data is held: what two replicas take in a few milliseconds.
const LARGE_MAX: usize = 32;

/// Begins to take requests. Must be called inside a tokio runtime.
pub(super) fn open(session: Session, order: &HeadOrder, standing: Standing) -> Result<AsyncFd<Inbox>, HeadError> {
    let name = order.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = TheFile { name, size: order.volume.size.0, block: BLOCK };
    let inbox = Inbox::start(session, InboxSpec { file, large_writes_max: LARGE_MAX, standing })?;
    let failed = |source| HeadError::Keeper { action: "wait for requests beside", source };
    #[expect(
        deprecated,
        reason = "what took its place is unsafe, which this crate is not: an inbox has one descriptor for as long as it lives"
    )]
    let polled = AsyncFd::with_interest(inbox, WAITS);
    polled.map_err(failed)
}

/// Takes the kernel's requests; whether there can be more. They are bounded by what the kernel sends without answers
/// (`pan_linux::fuse::PENDING_MAX`) and by the memory for them.
pub(super) fn gather(ready: &mut AsyncFdReadyMutGuard<'_, Inbox>, waiting: &mut VecDeque<Asked>) -> io::Result<bool> {
    for _ in 0..TURN {
        match ready.get_inner_mut().take()? {
            Next::Asked(operation, answer) => waiting.push_back((operation, answer)),
            Next::Settled => {}
            Next::Nothing => {
                // Without room it is asked again once there is some: it has not been said that there is nothing.
                if ready.get_inner().has_room() {
                    ready.clear_ready();
                }
                break;
            }
            Next::End => return Ok(false),
        }
    }
    Ok(true)
}
