//! Other products under the same prober: their own programs, as their distribution packages them, on hosts
//! out of namespaces of the benchmark's own.
//!
//! It must not know how a PAN works, and nothing of a peer's configuration is tuned but what its case says.

mod keepalived;
mod measure;
mod pacemaker;
mod setup;
mod site;
mod switch;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use pacemaker::{Fencing, Settings, Token};
use setup::{Member, Setup};

use super::case::RUNS;

pub(super) use measure::measure;

/// Hosts of every peer: one that serves, one that takes over.
const HOSTS: u8 = 2;

/// A product measured beside Panloom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// keepalived: an address that moves by VRRP.
    Keepalived,
    /// Pacemaker on corosync: a resource group that moves.
    Pacemaker,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Keepalived, Self::Pacemaker];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::Pacemaker => "pacemaker",
        }
    }

    /// Programs it needs, each with the Debian package that has it.
    const fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Keepalived => &[("/usr/sbin/nginx", "nginx-light"), ("/usr/sbin/keepalived", "keepalived")],
            Self::Pacemaker => &[
                ("/usr/sbin/nginx", "nginx-light"),
                ("/usr/sbin/corosync", "corosync"),
                ("/usr/sbin/pacemakerd", "pacemaker"),
                ("/usr/sbin/crm_mon", "pacemaker-cli-utils"),
                ("/usr/lib/ocf/resource.d/heartbeat/IPaddr2", "resource-agents"),
            ],
        }
    }

    /// The packages that are not installed.
    pub(super) fn missing(self) -> Vec<&'static str> {
        self.programs().iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| *package).collect()
    }
}

impl FromStr for Peer {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|peer| peer.as_str() == text);
        known.ok_or_else(|| format!("{text:?} cannot be measured: expected {}", Self::ALL.map(Self::as_str).join(" or ")))
    }
}

/// A peer with the settings that make it fast or slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerCase {
    /// Advertisements every second, the default.
    Keepalived1s,
    /// Every 100 ms.
    Keepalived100ms,
    /// Every 10 ms.
    Keepalived10ms,
    /// The default token timeout, no fencing.
    PacemakerDefault,
    /// The same with fencing.
    PacemakerDefaultFenced,
    /// A token timeout of 300 ms, no fencing.
    Pacemaker300ms,
    /// The same with fencing.
    Pacemaker300msFenced,
}

impl PeerCase {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 7] = [
        Self::Keepalived1s,
        Self::Keepalived100ms,
        Self::Keepalived10ms,
        Self::PacemakerDefault,
        Self::PacemakerDefaultFenced,
        Self::Pacemaker300ms,
        Self::Pacemaker300msFenced,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keepalived1s => "keepalived-1s",
            Self::Keepalived100ms => "keepalived-100ms",
            Self::Keepalived10ms => "keepalived-10ms",
            Self::PacemakerDefault => "pacemaker-default",
            Self::PacemakerDefaultFenced => "pacemaker-default-fenced",
            Self::Pacemaker300ms => "pacemaker-300ms",
            Self::Pacemaker300msFenced => "pacemaker-300ms-fenced",
        }
    }

    /// Whose case it is.
    #[must_use]
    pub const fn peer(self) -> Peer {
        match self {
            Self::Keepalived1s | Self::Keepalived100ms | Self::Keepalived10ms => Peer::Keepalived,
            Self::PacemakerDefault | Self::PacemakerDefaultFenced | Self::Pacemaker300ms | Self::Pacemaker300msFenced => Peer::Pacemaker,
        }
    }

    /// How often it is run unless something else is wanted.
    pub(super) const fn runs(self) -> u32 {
        match self {
            // Half a minute each: it takes seconds to notice, and to find each other again.
            Self::PacemakerDefault | Self::PacemakerDefaultFenced => 10,
            Self::Keepalived1s | Self::Keepalived100ms | Self::Keepalived10ms | Self::Pacemaker300ms | Self::Pacemaker300msFenced => RUNS,
        }
    }

    /// What one of its hosts is made of.
    fn setup(self, member: &Member) -> Setup {
        let every = |millis| keepalived::setup(member, Duration::from_millis(millis));
        let pacemaker = |token, fencing| pacemaker::setup(member, HOSTS, Settings { token, fencing });
        match self {
            Self::Keepalived1s => every(1000),
            Self::Keepalived100ms => every(100),
            Self::Keepalived10ms => every(10),
            Self::PacemakerDefault => pacemaker(Token::Default, Fencing::Off),
            Self::PacemakerDefaultFenced => pacemaker(Token::Default, Fencing::On),
            Self::Pacemaker300ms => pacemaker(Token::Millis(300), Fencing::Off),
            Self::Pacemaker300msFenced => pacemaker(Token::Millis(300), Fencing::On),
        }
    }
}
