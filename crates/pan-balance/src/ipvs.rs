//! The fourteen schedulers of IPVS by their names, picking as net/netfilter/ipvs in Linux does (its sources read,
//! not run beside it). Those that are a
//! picker of this crate's own are that picker; the others are in rooms beneath.
//!
//! A destination of weight 0 is *quiesced*, as there. One that may not have the request (it is full, or was
//! tried) stands for one with the flag OVERLOAD. IPVS knows clients and destinations by address: the key of a
//! request is [`key`] of the address that the scheduler hashes, and a server's own address is its number, which is also its
//! place in the list (the kernel puts the newest first).

mod hash;
mod locality;
mod mh;
mod order;
mod twos;
mod wrr;

pub use locality::{CHECK_EVERY, EXPIRATION, Locality};

use crate::draws::Draws;
use crate::pick::{Least, Load, RoundRobin, Shape, Ties};
use crate::view::{Pick, View};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// The names, as `ipvsadm -s` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Round-robin.
    Rr,
    /// Weighted round-robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// The same with replication.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Maglev hashing.
    Mh,
    /// Power of two choices.
    Twos,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Sed,
        Self::Nq,
        Self::Fo,
        Self::Ovf,
        Self::Mh,
        Self::Twos,
    ];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.as_str())
    }
}

/// A name that is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?} is not a scheduler of IPVS: expected one of {}", self.0, Name::ALL.map(Name::as_str).join(", "))
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// What `sh` and `mh` do with a key whose server may not have it (`sh-fallback`, `mh-fallback`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the request is refused. IPVS's own choice where the flag is not set.
    Refuse,
    /// Hash on.
    HashOn,
}

/// A scheduler, with what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rotation(RoundRobin),
    Wrr(wrr::Wrr),
    Least(Least),
    Locality(Locality),
    Hash(hash::Hash),
    Fo,
    Ovf,
    Mh(mh::Mh),
    Twos,
}

impl Scheduler {
    /// The scheduler of a name; [`Scheduler::rebuild`] gives it its servers.
    #[must_use]
    pub fn new(name: Name, fallback: Fallback) -> Self {
        Self(match name {
            Name::Rr => Kind::Rotation(RoundRobin::default()),
            Name::Wrr => Kind::Wrr(wrr::Wrr::default()),
            Name::Lc => Kind::Least(Least::connections(Load::Overhead, Ties::First)),
            Name::Wlc => Kind::Least(Least::weighted(Load::Overhead, Ties::First)),
            Name::Lblc => Kind::Locality(Locality::single()),
            Name::Lblcr => Kind::Locality(Locality::replicated(EXPIRATION)),
            Name::Dh => Kind::Hash(hash::Hash::destination()),
            Name::Sh => Kind::Hash(hash::Hash::source(fallback)),
            Name::Sed => Kind::Least(Least::expected_delay(Ties::First)),
            Name::Nq => Kind::Least(Least::never_queue(Ties::First)),
            Name::Fo => Kind::Fo,
            Name::Ovf => Kind::Ovf,
            Name::Mh => Kind::Mh(mh::Mh::new(fallback)),
            Name::Twos => Kind::Twos,
        })
    }

    /// Servers came or went, or are configured otherwise.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        match &mut self.0 {
            Kind::Wrr(wrr) => wrr.rebuild(shape),
            Kind::Hash(hash) => hash.rebuild(shape),
            Kind::Mh(mh) => mh.rebuild(shape),
            Kind::Locality(locality) => locality.rebuild(shape),
            Kind::Rotation(_) | Kind::Least(_) | Kind::Fo | Kind::Ovf | Kind::Twos => {}
        }
    }

    /// The servers are the same, but their weights of now are others.
    pub fn reweigh(&mut self, shape: &Shape<'_>) {
        match &mut self.0 {
            Kind::Wrr(wrr) => wrr.rebuild(shape),
            Kind::Hash(hash) => hash.rebuild(shape),
            Kind::Rotation(_) | Kind::Least(_) | Kind::Locality(_) | Kind::Fo | Kind::Ovf | Kind::Mh(_) | Kind::Twos => {}
        }
    }

    /// Schedules. Those that hash draw a key for a request without one.
    pub fn pick(&mut self, view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
        let mut key = || view.ask.key.unwrap_or_else(|| draws.draw());
        match &mut self.0 {
            Kind::Rotation(rotation) => rotation.pick(view),
            Kind::Wrr(wrr) => wrr.pick(view),
            Kind::Least(least) => least.pick(view),
            Kind::Locality(locality) => locality.pick(view, key()),
            Kind::Hash(hash) => hash.pick(view, folded(key())),
            Kind::Fo => order::failover(view),
            Kind::Ovf => order::overflow(view),
            Kind::Mh(mh) => mh.pick(view, folded(key())),
            Kind::Twos => twos::choices(view, draws),
        }
    }

    /// Forgets what was not used for long; to be called every [`CHECK_EVERY`].
    pub fn tick(&mut self, now: Duration) {
        if let Kind::Locality(locality) = &mut self.0 {
            locality.tick(now);
        }
    }
}

/// The key of an address and, with `sh-port` or `mh-port`, a port: what IPVS adds up before it hashes. IPv6 is
/// folded to 32 bits.
#[must_use]
pub fn key(address: IpAddr, port: u16) -> u64 {
    let folded = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [96, 64, 32, 0].into_iter().fold(0, |folded, shift| folded ^ low32(bits >> shift))
        }
    };
    u64::from(folded.wrapping_add(u32::from(port)))
}

fn low32(bits: u128) -> u32 {
    u32::try_from(bits & 0xffff_ffff).expect("32 bits")
}

/// A key of 64 bits as one of 32; those of [`key`] as they are.
fn folded(key: u64) -> u32 {
    low32(u128::from(key)) ^ low32(u128::from(key >> 32))
}
