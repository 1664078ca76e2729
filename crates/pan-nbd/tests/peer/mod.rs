//! The crate as a server would drive it: bytes are fed in any pieces, everything that comes of them is kept.

#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;

use pan_model::ByteSize;
use pan_nbd::{
    Access, BlockSizes, Catalog, Connections, Ended, Export, ExportName, Handshake, HandshakeStep, INPUT_MAX, Listing, Medium, ReadTicket,
    Reply, Request, StatusTicket, Step, Ticket, Transmission,
};

/// What came of the input so far, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Sent(Vec<u8>),
    Begun(usize),
    /// As it prints, without its ticket.
    Asked(String),
    /// All of it that came in a row.
    Payload(Vec<u8>),
    Ended(Ended),
}

#[derive(Debug)]
pub enum AnyTicket {
    Plain(Ticket),
    Read(ReadTicket),
    Status(StatusTicket),
}

enum Phase {
    Handshake(Handshake),
    Transmission(Transmission),
    Over,
}

pub struct Server {
    phase: Phase,
    input: Vec<u8>,
    pub events: Vec<Event>,
    /// In the order of the requests; taken out when they are answered.
    pub tickets: Vec<Option<AnyTicket>>,
    pub largest_kept: usize,
}

/// A simple export that can be written.
pub fn export(name: &str, size: u64) -> Export {
    Export {
        name: ExportName::new(name).unwrap(),
        description: String::new(),
        size: ByteSize(size),
        access: Access::ReadWrite,
        connections: Connections::One,
        medium: Medium::Solid,
        blocks: BlockSizes::UNTOLD,
    }
}

impl Server {
    pub fn new(exports: Vec<Export>, listing: Listing) -> Self {
        let (handshake, greeting) = Handshake::begin(Arc::new(Catalog::new(exports, listing).unwrap()));
        let (phase, events) = (Phase::Handshake(handshake), vec![Event::Sent(greeting)]);
        Self { phase, input: Vec::new(), events, tickets: Vec::new(), largest_kept: 0 }
    }

    pub fn shut_down(&mut self) {
        match &mut self.phase {
            Phase::Handshake(handshake) => handshake.shut_down(),
            Phase::Transmission(transmission) => transmission.shut_down(),
            Phase::Over => {}
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        let kept = std::mem::take(&mut self.input);
        let mut rest = &kept[..];
        while self.step(&mut rest) {}
        self.input = rest.to_vec();
        if matches!(self.phase, Phase::Over) {
            self.input.clear();
        }
        self.largest_kept = self.largest_kept.max(self.input.len());
        assert!(self.input.len() < INPUT_MAX, "more input is kept than is ever needed");
    }

    pub fn answer(&mut self, reply: &Reply, data: &[u8]) {
        let bytes: Vec<u8> = reply.slices(data).flatten().copied().collect();
        assert_eq!(bytes.len(), reply.length());
        self.events.push(Event::Sent(bytes));
    }

    fn step(&mut self, input: &mut &[u8]) -> bool {
        match &mut self.phase {
            Phase::Over => return false,
            Phase::Handshake(handshake) => match handshake.advance(input) {
                HandshakeStep::Need => return false,
                HandshakeStep::Send(bytes) => self.events.push(Event::Sent(bytes)),
                HandshakeStep::Begin { bytes, export, transmission } => {
                    self.events.extend([Event::Sent(bytes), Event::Begun(export.0)]);
                    self.phase = Phase::Transmission(transmission);
                }
                HandshakeStep::End { bytes, ended } => {
                    if !bytes.is_empty() {
                        self.events.push(Event::Sent(bytes));
                    }
                    self.end(ended);
                }
            },
            Phase::Transmission(transmission) => match transmission.advance(input) {
                Step::Need => return false,
                Step::Request(request) => self.request(request),
                Step::Payload(bytes) => match self.events.last_mut() {
                    Some(Event::Payload(before)) => before.extend(bytes),
                    _ => self.events.push(Event::Payload(bytes.to_vec())),
                },
                Step::Refused(reply) => self.answer(&reply, &[]),
                Step::End(ended) => self.end(ended),
            },
        }
        true
    }

    fn end(&mut self, ended: Ended) {
        self.events.push(Event::Ended(ended));
        self.phase = Phase::Over;
    }

    fn request(&mut self, request: Request) {
        let (text, ticket) = match request {
            Request::Read { span, ticket } => (format!("read {} at {}", span.length, span.offset), AnyTicket::Read(ticket)),
            Request::Write { span, durability, ticket } => {
                (format!("write {} at {}, {durability:?}", span.length, span.offset), AnyTicket::Plain(ticket))
            }
            Request::Flush { ticket } => ("flush".to_owned(), AnyTicket::Plain(ticket)),
            Request::Trim { span, durability, ticket } => {
                (format!("trim {} at {}, {durability:?}", span.length, span.offset), AnyTicket::Plain(ticket))
            }
            Request::Zero { span, durability, allocation, pace, ticket } => {
                let how = format!("{durability:?}, {allocation:?}, {pace:?}");
                (format!("zero {} at {}, {how}", span.length, span.offset), AnyTicket::Plain(ticket))
            }
            Request::Status { span, extents, ticket } => {
                (format!("status of {} at {}, {extents:?}", span.length, span.offset), AnyTicket::Status(ticket))
            }
            Request::Cache { span, ticket } => (format!("cache {} at {}", span.length, span.offset), AnyTicket::Plain(ticket)),
        };
        self.tickets.push(Some(ticket));
        self.events.push(Event::Asked(format!("{text} (#{})", self.tickets.len())));
    }
}

/// What a client sends.
pub mod client {
    pub const HELLO: [u8; 4] = [0, 0, 0, 3];

    pub fn option(option: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"IHAVEOPT".to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        bytes
    }

    pub fn text(text: &str) -> Vec<u8> {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    /// `NBD_OPT_GO` or `NBD_OPT_INFO`.
    pub fn go(option: u32, name: &str, asked: &[u16]) -> Vec<u8> {
        let mut data = text(name);
        data.extend(u16::try_from(asked.len()).unwrap().to_be_bytes());
        asked.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
        self::option(option, &data)
    }

    pub fn context(option: u32, name: &str, queries: &[&str]) -> Vec<u8> {
        let mut data = text(name);
        data.extend(u32::try_from(queries.len()).unwrap().to_be_bytes());
        queries.iter().for_each(|query| data.extend(text(query)));
        self::option(option, &data)
    }

    pub fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
        let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes
    }
}
