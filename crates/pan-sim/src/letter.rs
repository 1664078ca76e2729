//! What arrives at a process: datagrams, messages of streams, answers of the disk and of the store.

use crate::store::{Answer, Batch};
use pan_api::desired::Desired;
use pan_api::report::{Hello, Report};
use pan_controller::core::hosts::LifeChange;
use pan_controller::core::request::Request;
use pan_controller::ear::{Known, Turn, Word};
use pan_member::leadership::Taken;
use pan_member::lessor::{Durable, Ticket};
use pan_member::{Ack, Frame, LeaderRecord, Message, Tick};
use pan_model::{Admission, HostName};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a process finds in its inbox.
#[derive(Debug, Clone)]
pub enum Letter {
    /// A heartbeat, received by the kernel at this true time.
    Beat(Rc<Frame>),
    /// A lessor's acknowledgement.
    Ack(Ack),
    /// Between controllers and lessors.
    Message(Rc<Message>),
    /// A lessor's disk has written, or not.
    Persisted { ticket: Ticket, state: Durable, written: bool },
    /// The loop to its ear.
    Order(Order),
    /// The ear to its loop: what it noticed of hosts, and when.
    Liveness(Vec<(Tick, LifeChange)>),
    /// The ear to its loop: take the record.
    Take { expected: u64, term: u64 },
    /// The ear to its loop: the record was found to be ours.
    Lead { term: u64 },
    /// The ear has the record read: of itself, or by way of the loop.
    ReadRecord { by_the_loop: bool },
    /// The ear to its loop: lead no more.
    StepDown,
    /// A host presents itself.
    Hello(Rc<Hello>),
    /// A host reports.
    Report(Rc<Report>),
    /// The user asks for a change.
    Request { number: u64, request: Rc<Request> },
    /// The store has answered operation `number`.
    Store { number: u64, answer: Answer },
    /// The store's watch has something new.
    Followed(Rc<Batch>),
    /// A controller offers a desired state.
    Offer(Rc<Desired>),
    /// A controller does not know this host, or knows it now.
    Introduced { controller: usize, known: Introduction },
}

impl Word for Letter {
    fn turn(&self) -> Option<Turn> {
        match self {
            Self::Take { .. } => Some(Turn::Take),
            Self::Lead { .. } => Some(Turn::Lead),
            Self::StepDown => Some(Turn::StepDown),
            Self::ReadRecord { .. } => Some(Turn::ReadRecord),
            Self::Beat(_)
            | Self::Ack(_)
            | Self::Message(_)
            | Self::Persisted { .. }
            | Self::Order(_)
            | Self::Liveness(_)
            | Self::Hello(_)
            | Self::Report(_)
            | Self::Request { .. }
            | Self::Store { .. }
            | Self::Followed(_)
            | Self::Offer(_)
            | Self::Introduced { .. } => None,
        }
    }

    fn noticed(changes: Vec<(Tick, LifeChange)>) -> Self {
        Self::Liveness(changes)
    }
}

/// Whether a controller knows a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduction {
    Known,
    Unknown,
}

/// What the loop tells its ear.
#[derive(Debug, Clone)]
pub enum Order {
    Hosts(BTreeMap<HostName, Known>),
    Fence { host: HostName, through: Admission, term: u64 },
    Unfence(HostName),
    Record(Option<LeaderRecord>),
    Taken(Taken),
    Stored,
    Resigned,
    Protected(usize),
}
