//! Whether a host's kernel has room for a neighbour of every other host on each fabric.
//!
//! Whoever exchanges heartbeats with thousands of hosts has a neighbour for each of them and fabric. Of more than `gc_thresh3` the kernel
//! makes none: what is sent there is dropped, and its log says "neighbour table overflow". From `gc_thresh2` on it forgets those not
//! used of late, and has to ask for them again (arp(7)). All network namespaces of a machine share one table of each address family.
//!
//! Other hosts behind routers need no neighbour here, so this is what is needed at most.

use std::fmt;
use std::net::IpAddr;

/// Fabrics of a host.
const FABRICS: usize = 2;

/// The limits are read again after so many looks, though there are as many hosts as before: people change them, as they are told to.
const LOOKS: u32 = 60;

/// How many neighbours the kernel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `gc_thresh2`: of more it forgets some.
    pub soft: u32,
    /// `gc_thresh3`: more it does not keep.
    pub hard: u32,
}

/// There are more hosts than the kernel has room for. Shown, it says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded {
    /// Where sysctl(8) has its settings.
    settings: &'static str,
    limits: Limits,
    /// What is needed, up to the next power of two: it is not to be another one whenever a host joins.
    needed: u32,
}

/// Neighbours that so many other hosts take.
#[must_use]
pub fn needed(others: usize) -> u32 {
    u32::try_from(others.saturating_mul(FABRICS)).unwrap_or(u32::MAX)
}

/// Whether there is room for so many other hosts, whose addresses on the fabrics are of the family of `fabric`.
#[must_use]
pub fn crowded(others: usize, fabric: IpAddr, limits: Limits) -> Option<Crowded> {
    let settings = if fabric.is_ipv4() { "net.ipv4.neigh.default" } else { "net.ipv6.neigh.default" };
    let needed = needed(others);
    let rounded = needed.checked_next_power_of_two().unwrap_or(u32::MAX);
    (needed > limits.soft.min(limits.hard)).then_some(Crowded { settings, limits, needed: rounded })
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, limits: Limits { soft, hard }, needed } = *self;
        if hard <= soft || needed > hard {
            write!(f, "{settings}.gc_thresh3 is {hard}, too few for all hosts on both fabrics: heartbeats to the rest may be dropped")?;
        } else {
            write!(f, "{settings}.gc_thresh2 is {soft}, too few for all hosts on both fabrics: some are forgotten and asked for anew")?;
        }
        let (low, high) = (needed / 2, needed.saturating_mul(2));
        write!(f, "; set there, by sysctl and in /etc/sysctl.d, gc_thresh1 to {low}, gc_thresh2 to {needed} and gc_thresh3 to {high}")
    }
}

/// What a host knows of its room: when to look, and what was found last.
#[derive(Debug, Clone, Default)]
pub struct Room {
    others: Option<usize>,
    looks: u32,
    crowded: Option<Crowded>,
}

impl Room {
    /// Whether the limits are to be read: at first, whenever the number of other hosts changes, and after a while. Asked at every look.
    pub fn is_due(&mut self, others: usize) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.others != Some(others) || self.looks >= LOOKS
    }

    /// Takes note of the limits. Says what to tell people, if that is another thing than before.
    pub fn judge(&mut self, others: usize, fabric: IpAddr, limits: Limits) -> Option<String> {
        (self.others, self.looks) = (Some(others), 0);
        let before = std::mem::replace(&mut self.crowded, crowded(others, fabric, limits));
        match (before, self.crowded) {
            (before, now) if before == now => None,
            (_, Some(now)) => Some(now.to_string()),
            (_, None) => Some("the kernel has room for neighbours of all hosts again".to_owned()),
        }
    }

    /// Reads the limits where that is due and takes note of them; what is to be told people, as [`Room::judge`] says. Limits that cannot be
    /// read are asked for again at the next look: nothing depends on them.
    pub fn look(&mut self, others: usize, fabric: IpAddr, read: impl FnOnce(IpAddr) -> Option<Limits>) -> Option<String> {
        if !self.is_due(others) {
            return None;
        }
        self.judge(others, fabric, read(fabric)?)
    }

    /// What is wrong at present.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.crowded.map(|crowded| crowded.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 201, 0, 1));
    /// What a kernel has that nobody has set up.
    const USUAL: Limits = Limits { soft: 512, hard: 1024 };

    const FORGETS: &str = "net.ipv4.neigh.default.gc_thresh2 is 512, too few for all hosts on both fabrics: some are forgotten and asked \
         for anew; set there, by sysctl and in /etc/sysctl.d, gc_thresh1 to 512, gc_thresh2 to 1024 and gc_thresh3 to 2048";
    const DROPS: &str = "net.ipv4.neigh.default.gc_thresh3 is 1024, too few for all hosts on both fabrics: heartbeats to the rest may be \
         dropped; set there, by sysctl and in /etc/sysctl.d, gc_thresh1 to 2048, gc_thresh2 to 4096 and gc_thresh3 to 8192";

    fn check(others: usize, soft: u32, hard: u32, wanted: Option<&str>) {
        let said = crowded(others, V4, Limits { soft, hard }).map(|found| found.to_string());
        assert_eq!(said.as_deref(), wanted, "{others} hosts of {soft} and {hard}");
    }

    #[test]
    fn each_host_takes_a_neighbour_a_fabric() {
        check(0, 512, 1024, None);
        check(256, 512, 1024, None);
        check(257, 512, 1024, Some(FORGETS));
        check(512, 512, 1024, Some(FORGETS));
        check(2000, 512, 1024, Some(DROPS));
        // Joining hosts do not change what is said, until there are twice as many.
        check(1025, 512, 1024, Some(DROPS));
        check(2048, 512, 1024, Some(DROPS));
        check(2000, 4096, 8192, None);
        // A hard limit below the soft one is the one that counts.
        assert!(crowded(600, V4, Limits { soft: 9000, hard: 1024 }).unwrap().to_string().contains("gc_thresh3 is 1024"));
        assert!(crowded(600, "fd00::1".parse().unwrap(), USUAL).unwrap().to_string().starts_with("net.ipv6.neigh.default.gc_thresh3"));
    }

    #[test]
    fn what_is_advised_is_enough_and_fits_a_report() {
        for others in [257, 512, 513, 1000, 5000, 100_000] {
            let found = crowded(others, V4, USUAL).unwrap();
            assert_eq!(crowded(others, V4, Limits { soft: found.needed, hard: found.needed * 2 }), None, "{others}");
            assert!(found.to_string().len() <= 400, "{found}");
        }
        assert!(crowded(usize::MAX, V4, USUAL).is_some());
    }

    #[test]
    fn people_are_told_once() {
        let mut room = Room::default();
        let mut look = |others, limits| room.look(others, V4, |_| Some(limits));
        assert_eq!(look(200, USUAL), None);
        assert_eq!(look(300, USUAL).as_deref(), Some(FORGETS));
        assert_eq!(look(301, USUAL), None, "it is the same");
        assert_eq!(look(1500, USUAL).as_deref(), Some(DROPS));
        // They do as they are told; it is noticed after a while.
        let ample = Limits { soft: 4096, hard: 8192 };
        let after: Vec<u32> = (1..=2 * LOOKS).filter(|_| look(1500, ample).is_some()).collect();
        assert_eq!(after, [LOOKS]);
        assert_eq!(room.problem(), None);
    }
}
