//! Has one request done and makes its answer.

use std::sync::Arc;

use pan_nbd::{Failure, Reply, Request, Ticket};

use super::output::Answer;
use crate::buffer::Buffer;
use crate::storage::{Storage, Zeroing};

/// A request that can be done: everything it needs is there.
#[derive(Debug)]
pub(super) struct Work {
    pub request: Request,
    /// The payload of a write, or where a read goes.
    pub buffer: Option<Buffer>,
    /// What it takes of the connection's bytes until it is answered.
    pub charge: usize,
}

pub(super) async fn perform<S: Storage>(storage: Arc<S>, work: Work) -> Answer {
    let Work { request, buffer, charge } = work;
    let answer = |reply| Answer { reply, data: None, charge };
    match request {
        Request::Read { span, ticket } => {
            let into = buffer.expect("a read is given where to");
            match storage.read(span, into).await {
                Ok(read) if read.pieces.is_empty() => Answer { reply: ticket.data(), data: Some(read.data), charge },
                Ok(read) => Answer { reply: ticket.pieces(&read.pieces), data: Some(read.data), charge },
                Err(failure) => answer(ticket.failed(&failure)),
            }
        }
        Request::Write { span, durability, ticket } => {
            let data = buffer.expect("a write is given its payload");
            answer(plain(ticket, storage.write(span, data, durability).await))
        }
        Request::Flush { ticket } => answer(plain(ticket, storage.flush().await)),
        Request::Trim { span, durability, ticket } => answer(plain(ticket, storage.trim(span, durability).await)),
        Request::Zero { span, durability, allocation, pace, ticket } => {
            answer(plain(ticket, storage.zero(span, Zeroing { durability, allocation, pace }).await))
        }
        Request::Status { span, extents, ticket } => match storage.status(span, extents).await {
            Ok(stretches) => answer(ticket.stretches(&stretches)),
            Err(failure) => answer(ticket.failed(&failure)),
        },
        Request::Cache { span, ticket } => answer(plain(ticket, storage.cache(span).await)),
    }
}

fn plain(ticket: Ticket, result: Result<(), Failure>) -> Reply {
    match result {
        Ok(()) => ticket.done(),
        Err(failure) => ticket.failed(&failure),
    }
}
