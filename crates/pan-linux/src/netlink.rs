//! The netlink transport under [`crate::rtnl`], [`crate::conntrack`] and [`crate::nft`]: one blocking socket,
//! batches of acknowledged requests, transactions, and dumps.
//!
//! It moves bytes and reads acknowledgements; it must not know what any message means.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NlasIterator};
use netlink_sys::{Socket, SocketAddr};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;

/// Requests sent with one `send`. The kernel answers all of them before `send` returns, so their
/// acknowledgements must fit the receive buffer: 64 need about 64 kB of the usual 208.
const REQUESTS_PER_SEND_MAX: usize = 64;

/// Bytes of one `send`; the usual socket send buffer is 208 kB.
const BYTES_PER_SEND_MAX: usize = 64 * 1024;

/// The kernel fills dump datagrams up to 32 kB, or the size of the reader's buffer if larger.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A dump that the kernel marks as interrupted (the table changed under it) is asked for again.
const DUMP_ATTEMPTS_MAX: usize = 8;

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// What the kernel said when it refused one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Positive errno.
    pub errno: i32,
    /// The kernel's extended explanation, often empty.
    pub detail: String,
    /// Where in the request what it complains about begins, if it says so.
    pub offset: Option<usize>,
}

impl Refusal {
    pub(crate) fn to_io(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// Outcome of one request: acknowledged or refused.
pub(crate) type Ack = Result<(), Refusal>;

/// One received message: its type and everything after `struct nlmsghdr`, plus the whole bytes.
pub(crate) struct Received<'a> {
    pub kind: u16,
    pub whole: &'a [u8],
}

impl Received<'_> {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.whole[HEADER_LEN..]
    }
}

pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// Bytes that one datagram may have.
    room: usize,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "netlink channel after request {}", self.sequence)
    }
}

impl Channel {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Channel> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Channel { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER), room: BYTES_PER_SEND_MAX })
    }

    /// Asks the kernel to honour filters in dump requests (and to refuse malformed ones).
    pub(crate) fn set_strict_dumps(&self) -> io::Result<()> {
        self.socket.set_netlink_get_strict_chk(true)
    }

    /// Sends every request (each must carry `NLM_F_ACK`) in as few system calls as fit, in order,
    /// and returns one outcome per request. A refused request does not stop the following ones.
    pub(crate) fn transact(&mut self, requests: &mut [Vec<u8>]) -> io::Result<Vec<Ack>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest
                .iter()
                .take(REQUESTS_PER_SEND_MAX)
                .take_while(|request| {
                    bytes += request.len();
                    bytes <= BYTES_PER_SEND_MAX
                })
                .count()
                .max(1);
            let (chunk, tail) = rest.split_at_mut(count);
            self.transact_chunk(chunk, &mut outcomes)?;
            rest = tail;
        }
        Ok(outcomes)
    }

    fn transact_chunk(&mut self, chunk: &mut [Vec<u8>], outcomes: &mut Vec<Ack>) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(chunk.iter().map(Vec::len).sum());
        for request in chunk.iter_mut() {
            self.stamp(request);
            datagram.extend_from_slice(request);
            datagram.resize(align(datagram.len()), 0);
        }
        self.send(&datagram)?;
        let mut pending: Vec<Option<Ack>> = vec![None; chunk.len()];
        let mut missing = chunk.len();
        while missing > 0 {
            self.receive()?;
            for message in Messages(&self.buffer) {
                let slot = sequence_of(message.whole).wrapping_sub(first) as usize;
                if message.kind != NLMSG_ERROR || slot >= pending.len() {
                    continue;
                }
                if pending[slot].replace(parse_ack(&message)).is_none() {
                    missing -= 1;
                }
            }
        }
        outcomes.extend(pending.into_iter().flatten());
        Ok(())
    }

    /// Sends messages as one datagram, which the kernel takes as one transaction: the first opens it, the last
    /// closes it, and the last but one, no other, carries `NLM_F_ACK`. Returns the first refusal and the
    /// position of its message; none if everything is in force.
    pub(crate) fn transact_whole(&mut self, messages: &mut [Vec<u8>]) -> io::Result<Option<(usize, Refusal)>> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(messages.iter().map(Vec::len).sum());
        for message in messages.iter_mut() {
            self.stamp(message);
            datagram.extend_from_slice(message);
        }
        self.make_room(datagram.len())?;
        self.send(&datagram)?;
        let (opening, acknowledged) = (0, messages.len() - 2);
        let mut refused = None;
        loop {
            self.receive()?;
            for message in Messages(&self.buffer) {
                let at = sequence_of(message.whole).wrapping_sub(first) as usize;
                if message.kind != NLMSG_ERROR || at >= messages.len() {
                    continue;
                }
                if let Err(refusal) = parse_ack(&message) {
                    refused.get_or_insert((at, refusal));
                }
                // What is wrong with the whole is said of the message that opens it.
                if at == acknowledged || (at == opening && refused.is_some()) {
                    return Ok(refused);
                }
            }
        }
    }

    /// Lets a datagram of `length` bytes be sent. The kernel refuses one that its accounting of the socket
    /// could not take, whatever is free.
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if length <= self.room {
            return Ok(());
        }
        let wanted = libc::c_int::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        // SAFETY: the option takes a c_int, which outlives the call, and the descriptor is open.
        let outcome = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUFFORCE,
                (&raw const wanted).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // The kernel doubles the number for its own bookkeeping (socket(7)).
        self.room = length;
        Ok(())
    }

    /// Sends one `NLM_F_DUMP` request and hands every answer to `each`. Starts again, dropping what
    /// was collected, when the kernel reports that the table changed in between.
    pub(crate) fn dump<T>(
        &mut self,
        request: &mut [u8],
        mut each: impl FnMut(&Received<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<Result<Vec<T>, Refusal>> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            let mut found = Vec::new();
            let mut interrupted = false;
            let end = self.exchange(request, |message| {
                interrupted |= flags_of(message.whole) & NLM_F_DUMP_INTR != 0;
                found.extend(each(message)?);
                Ok(())
            })?;
            match end {
                Ok(()) if interrupted => continue,
                Ok(()) => return Ok(Ok(found)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, format!("the table changed during each of {DUMP_ATTEMPTS_MAX} dumps")))
    }

    /// Sends one request and hands every answer to `each`, until the acknowledgement, the end of the
    /// dump, or a refusal. Everything up to there is read even if `each` fails.
    pub(crate) fn exchange(&mut self, request: &mut [u8], mut each: impl FnMut(&Received<'_>) -> io::Result<()>) -> io::Result<Ack> {
        self.stamp(request);
        let wanted = self.sequence;
        self.send(request)?;
        let mut failure: io::Result<()> = Ok(());
        loop {
            self.receive()?;
            for message in Messages(&self.buffer) {
                if sequence_of(message.whole) != wanted {
                    continue;
                }
                if message.kind == NLMSG_ERROR || message.kind == NLMSG_DONE {
                    let ack = parse_ack(&message);
                    return failure.map(|()| ack);
                }
                if failure.is_ok() {
                    failure = each(&message);
                }
            }
        }
    }

    fn stamp(&mut self, request: &mut [u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = retry_interrupted(|| self.socket.send(bytes, 0))?;
        if sent != bytes.len() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, format!("the kernel took {sent} of {} bytes", bytes.len())));
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        let (socket, buffer) = (&self.socket, &mut self.buffer);
        let got = retry_interrupted(|| socket.recv(buffer, libc::MSG_TRUNC))?;
        if got > RECEIVE_BUFFER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a netlink answer of {got} bytes does not fit {RECEIVE_BUFFER}"),
            ));
        }
        Ok(())
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

/// The messages of one datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        if length < HEADER_LEN || length > self.0.len() {
            return None;
        }
        let (whole, rest) = (&self.0[..length], &self.0[align(length).min(self.0.len())..]);
        self.0 = rest;
        let kind = u16::from_ne_bytes([whole[4], whole[5]]);
        Some(Received { kind, whole })
    }
}

/// Kinds and values of a run of attributes; a malformed rest is left out.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).filter_map(Result::ok).map(|attribute| {
        let value = 4..4 + attribute.value_length();
        (attribute.kind(), &attribute.into_inner()[value])
    })
}

/// The value of the first attribute of a kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(four))
}

fn sequence_of(whole: &[u8]) -> u32 {
    u32_at(whole, 8).expect("a message has a full header")
}

fn flags_of(whole: &[u8]) -> u16 {
    u16::from_ne_bytes([whole[6], whole[7]])
}

/// Reads `NLMSG_ERROR` (an acknowledgement when its code is 0) and `NLMSG_DONE`, whose first field
/// is the same negative errno. The refused request's header follows only in the former (netlink(7)).
fn parse_ack(message: &Received<'_>) -> Ack {
    let code = u32_at(message.payload(), 0).unwrap_or(0) as i32;
    if code == 0 {
        return Ok(());
    }
    let attributes_at = if message.kind == NLMSG_ERROR { 4 + HEADER_LEN } else { 4 };
    let attributes_of = message.payload().get(attributes_at..).unwrap_or(&[]);
    let detail = find(attributes_of, NLMSGERR_ATTR_MSG)
        .map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
        .unwrap_or_default();
    let offset = find(attributes_of, NLMSGERR_ATTR_OFFS).and_then(|bytes| u32_at(bytes, 0)).and_then(|offset| usize::try_from(offset).ok());
    Err(Refusal { errno: -code, detail, offset })
}
