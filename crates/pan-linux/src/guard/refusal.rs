//! Why a frame is refused, and how many were.

/// What is wrong with a frame. The number is the mark under which the rules count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It comes from another Ethernet address.
    Ethernet = 1,
    /// It comes from another IP address.
    Address = 2,
    /// ARP that says of an address that it is where it is not, or that is malformed.
    Arp = 3,
    /// The same of neighbour discovery, and what only routers may say.
    Neighbour = 4,
    /// It prescribes its route.
    Route = 5,
    /// Neither IP nor ARP, or tagged for a VLAN.
    Protocol = 6,
    /// It is for the host itself.
    Host = 7,
}

impl Refusal {
    /// All there are.
    pub const ALL: [Refusal; 7] =
        [Refusal::Ethernet, Refusal::Address, Refusal::Arp, Refusal::Neighbour, Refusal::Route, Refusal::Protocol, Refusal::Host];

    pub(super) const fn mark(self) -> u32 {
        self as u32
    }

    fn of_mark(mark: u32) -> Option<Refusal> {
        Self::ALL.into_iter().find(|refusal| refusal.mark() == mark)
    }
}

/// What was refused at one port for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The interface on the bridge.
    pub port: String,
    /// What was wrong.
    pub why: Refusal,
    /// How many frames so far. A port that was quiet for ten minutes begins anew.
    pub frames: u64,
}

/// Length of an interface name in a key: `IFNAMSIZ`.
const NAME_LEN: usize = 16;

impl Refused {
    /// Reads a counted element of the rules' set: the interface's name, then the mark.
    pub(super) fn read(key: &[u8], frames: u64) -> Option<Refused> {
        let (name, mark) = key.split_at_checked(NAME_LEN)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let port = std::str::from_utf8(name).ok()?.to_owned();
        let why = Refusal::of_mark(u32::from_ne_bytes(mark.try_into().ok()?))?;
        Some(Refused { port, why, frames })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let mut key = b"ps1234".to_vec();
        key.resize(NAME_LEN, 0);
        key.extend(Refusal::Arp.mark().to_ne_bytes());
        assert_eq!(Refused::read(&key, 7), Some(Refused { port: "ps1234".into(), why: Refusal::Arp, frames: 7 }));
        assert_eq!(Refused::read(&key[..18], 7), None);
        key[NAME_LEN] = 99;
        assert_eq!(Refused::read(&key, 7), None, "a mark of nobody's");
    }
}
