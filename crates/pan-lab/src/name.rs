//! Names: of labs, of their hosts, and of everything a lab leaves in the kernel.
//!
//! A lab must be found again by its name alone, so each kernel object's name says whose it is, and a
//! lab's name may not end like a host's: `pan-a-n1` is host n1 of lab a, never lab a-n1.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest name of a network interface, `IFNAMSIZ` less the final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// The name of a laboratory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabName(String);

/// Why a text names no lab or no lab's host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the name of a {what}: expected {expected}")]
pub struct BadName {
    /// The refused text.
    pub found: String,
    what: &'static str,
    expected: &'static str,
}

impl FromStr for LabName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let like_host = text.rsplit_once('-').is_some_and(|(_, end)| end.parse::<LabHost>().is_ok());
        let good = (1..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(plain)
            && !like_host;
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(BadName {
            found: text.to_owned(),
            what: "laboratory",
            expected: "up to 32 of a-z, 0-9 and '-', a letter first, no host's name (like -n1) at the end",
        })
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The named network namespace that holds the lab's bridges.
    pub(crate) fn netns(&self) -> String {
        format!("pan-{}", self.0)
    }

    /// The named network namespace of a host.
    pub fn host_netns(&self, host: LabHost) -> String {
        format!("pan-{}-{host}", self.0)
    }

    /// True for the network namespaces of this lab and no other.
    pub(crate) fn owns_netns(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.netns()) else {
            return false;
        };
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|host| host.parse::<LabHost>().is_ok())
    }

    /// The lab's control group, relative to the root.
    pub(crate) fn cgroup(&self) -> PathBuf {
        format!("pan-lab-{}", self.0).into()
    }

    /// The machine's end of its link to the lab. A long name is shortened to its beginning and a hash.
    pub(crate) fn machine_link(&self) -> String {
        let plain = format!("pan{}", self.0);
        if plain.len() <= INTERFACE_NAME_MAX {
            return plain;
        }
        // FNV-1a, 32 bits: stable across releases, and nobody gains by a collision.
        let hash = self.0.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("pan{}{hash:08x}", &self.0[..4])
    }
}

/// What kind of host a lab's host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostKind {
    /// `c1`…: decides.
    Controller,
    /// `n1`…: runs servers.
    Node,
    /// `s1`…: keeps volumes.
    Storage,
    /// `d1`…: owns public addresses.
    Director,
    /// `e1`…: a member of etcd, which keeps the controllers' records; no member of the PAN.
    Etcd,
    /// `outside`: a client on the outside network, no member of the PAN.
    Outside,
}

impl HostKind {
    /// The role's name, `outside` for the client.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Node => "node",
            Self::Storage => "storage",
            Self::Director => "director",
            Self::Etcd => "etcd",
            Self::Outside => "outside",
        }
    }

    /// Most hosts of this kind: their numbers share the last byte of an address.
    pub const fn most(self) -> u8 {
        match self {
            Self::Controller => 9,
            Self::Node => 89,
            Self::Storage => 49,
            Self::Director => 9,
            Self::Etcd => 9,
            Self::Outside => 1,
        }
    }
}

/// A host of a lab: `c1`, `n4`, `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabHost {
    kind: HostKind,
    ordinal: u8,
}

impl LabHost {
    /// The client.
    pub const OUTSIDE: Self = Self { kind: HostKind::Outside, ordinal: 1 };

    /// Host number `ordinal` (from 1) of its kind; `None` if there cannot be so many.
    pub fn new(kind: HostKind, ordinal: u8) -> Option<Self> {
        (1..=kind.most()).contains(&ordinal).then_some(Self { kind, ordinal })
    }

    /// Its kind.
    pub const fn kind(self) -> HostKind {
        self.kind
    }

    /// Its number among its kind, from 1.
    pub const fn ordinal(self) -> u8 {
        self.ordinal
    }
}

impl fmt::Display for LabHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            HostKind::Controller => 'c',
            HostKind::Node => 'n',
            HostKind::Storage => 's',
            HostKind::Director => 'd',
            HostKind::Etcd => 'e',
            HostKind::Outside => return f.pad("outside"),
        };
        f.pad(&format!("{letter}{}", self.ordinal))
    }
}

impl FromStr for LabHost {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName { found: text.to_owned(), what: "laboratory host", expected: "c1, n1, s1, d1, e1 and so on, or outside" };
        if text == "outside" {
            return Ok(Self::OUTSIDE);
        }
        let kind = match text.chars().next() {
            Some('c') => HostKind::Controller,
            Some('n') => HostKind::Node,
            Some('s') => HostKind::Storage,
            Some('d') => HostKind::Director,
            Some('e') => HostKind::Etcd,
            _ => return Err(bad()),
        };
        let digits = &text[1..];
        let canonical = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        let ordinal = digits.parse().ok().filter(|_| canonical);
        ordinal.and_then(|ordinal| Self::new(kind, ordinal)).ok_or_else(bad)
    }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(LabName);
serde_as_text!(LabHost);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_never_taken_for_another() {
        let lab: LabName = "a".parse().unwrap();
        for own in ["pan-a", "pan-a-n1", "pan-a-outside"] {
            assert!(lab.owns_netns(own), "{own}");
        }
        for other in ["pan-ab", "pan-a-b", "pan-a-b-n1", "pan-a-n01", "pan-a-n1x", "a"] {
            assert!(!lab.owns_netns(other), "{other}");
        }
        for bad in ["", "a-n1", "a-outside", "A", "1a", "a-", "a/b"] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_link_fits_an_interface_name() {
        for name in ["local", "twelve-chars", "a-much-longer-name-of-a-lab"] {
            let link = name.parse::<LabName>().unwrap().machine_link();
            assert!(link.len() <= INTERFACE_NAME_MAX && link.starts_with("pan"), "{link}");
        }
    }

    #[test]
    fn hosts_read_back() {
        for text in ["c1", "n89", "s3", "d9", "e3", "outside"] {
            assert_eq!(text.parse::<LabHost>().unwrap().to_string(), text);
        }
        for bad in ["", "n", "n0", "n01", "n90", "d10", "x1", "n-1", "n+1", "outsid"] {
            assert!(bad.parse::<LabHost>().is_err(), "{bad}");
        }
    }
}
