//! The nftables kind, for kernels that refuse BPF: what is attached drops unless a set has its element.
//!
//! Every renewal deletes the element and adds it anew, in one transaction and with no addition before the
//! deletion: where the element has timed out the deletion fails and the whole transaction with it. So an
//! expired lease cannot be renewed. [`NftGate::reopen`] first draws a ticket, an element that lasts as long as
//! the lease, and then trades it for the real one in the same manner: a holder that is stopped before the trade
//! for longer than that finds the ticket gone. The time that is left is worked out after the ticket was drawn,
//! so that here too nothing is open later than two leases after the grant
//! ([`super::GateKind::open_after_grant_max`]).
//!
//! Whoever flushes all rules of the namespace takes the gate away with them, until it is attached again; a BPF
//! gate is out of that reach. A transaction waits for any other of the same network namespace, and timeouts
//! count in the kernel's ticks (1 to 10 ms), rounded down.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::nftread::Reader;
use super::{GateError, Hook, Renewal, Result};
use crate::netns::Netns;
use crate::nft::{self, Batch, Element, ElementsError, Family, Nft, Value};
use crate::overlay::VXLAN_PORT;
use crate::realtime::since_boot;
use crate::rtnl::{Direction, Rtnl, RtnlError};

const TABLE: &str = "pan_gate";
const SET: &str = "alive";
const TICKETS: &str = "tickets";
const COUNTER: &str = "drops";
/// The only element that either set ever has.
const KEY: Value = Value::Mark(0);

#[derive(Debug)]
pub(super) struct NftGate {
    netns: Netns,
    holder: Mutex<Holder>,
}

#[derive(Debug)]
struct Holder {
    nft: Nft,
    reader: Reader,
    /// The latest deadline this process has asked for; none since it was last shut or opened.
    until: Option<Duration>,
}

impl NftGate {
    /// Makes table, set and counter unless they are there. An element that is there stays.
    pub(super) fn open(netns: &Netns) -> Result<NftGate> {
        nft::load(Some(netns), &table_script())?;
        let holder = Holder { nft: Nft::open_in(netns)?, reader: Reader::open_in(netns, TABLE)?, until: None };
        Ok(NftGate { netns: netns.try_clone()?, holder: Mutex::new(holder) })
    }

    pub(super) fn renew(&self, until: Duration) -> Result<Renewal> {
        let mut holder = self.holder();
        if holder.until.is_some_and(|known| until <= known) {
            return holder.state();
        }
        let Some(left) = left(until) else {
            return holder.state();
        };
        let mut batch = Batch::new(Family::Netdev, TABLE);
        batch.delete(SET, [KEY]).add(SET, [element(left)]);
        match holder.nft.commit(&batch, None) {
            Ok(()) => {
                holder.until = Some(until);
                Ok(Renewal::Renewed)
            }
            Err(error) if is_absent(&error) => {
                holder.until = None;
                Ok(Renewal::Expired)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn reopen(&self, until: Duration) -> Result<()> {
        let mut holder = self.holder();
        let in_force = holder.deadline()?;
        let Some(first) = left(until).filter(|_| until > in_force) else {
            return Ok(());
        };
        // An addition before each deletion makes sure that there is something to delete: a refused transaction
        // costs the kernel a grace period, many milliseconds of a short lease.
        let mut draw = Batch::new(Family::Netdev, TABLE);
        draw.add(TICKETS, [element(first)]).delete(TICKETS, [KEY]).add(TICKETS, [element(first)]);
        holder.nft.commit(&draw, None)?;
        let Some(left) = left(until) else {
            return Ok(());
        };
        let mut trade = Batch::new(Family::Netdev, TABLE);
        trade.delete(TICKETS, [KEY]).add(SET, [element(left)]).delete(SET, [KEY]).add(SET, [element(left)]);
        match holder.nft.commit(&trade, None) {
            Ok(()) => holder.until = Some(until),
            // Too late: the lease it was for is over as well.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(super) fn shut(&self) -> Result<()> {
        let mut holder = self.holder();
        holder.until = None;
        let mut batch = Batch::new(Family::Netdev, TABLE);
        batch.delete(SET, [KEY]);
        match holder.nft.commit(&batch, None) {
            Err(error) if !is_absent(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What is left in the kernel, from now on.
    pub(super) fn deadline(&self) -> Result<Duration> {
        self.holder().deadline()
    }

    pub(super) fn dropped(&self) -> Result<u64> {
        Ok(self.holder().reader.packets(COUNTER)?)
    }

    /// A kernel may take a chain for an interface that is not there; nobody here means that.
    pub(super) fn attach(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> Result<()> {
        if rtnl.link_index(device)?.is_none() {
            let source = RtnlError::NoDevice { what: "attach".to_owned(), device: device.to_owned() };
            return Err(GateError::Attach { device: device.to_owned(), hook, source });
        }
        Ok(nft::load(Some(&self.netns), &attach_script(device, hook))?)
    }

    /// True if the chain and the interface are there. A kernel may keep the chain of an interface that is
    /// gone, and binds it to the next one of that name.
    pub(super) fn is_attached(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> Result<bool> {
        if rtnl.link_index(device)?.is_none() {
            return Ok(false);
        }
        Ok(self.holder().nft.has_chain(Family::Netdev, TABLE, &chain(device, hook))?)
    }

    pub(super) fn detach(&self, rtnl: &Rtnl, device: &str, hook: Hook) -> Result<()> {
        if !self.is_attached(rtnl, device, hook)? {
            return Ok(());
        }
        Ok(nft::load(Some(&self.netns), &format!("delete chain netdev {TABLE} {}\n", chain(device, hook)))?)
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        // Sequence numbers tell the answers to an interrupted request from later ones.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    fn deadline(&mut self) -> Result<Duration> {
        let left = self.reader.left(SET)?;
        Ok(left.map_or(Duration::ZERO, |left| since_boot() + left))
    }

    fn state(&mut self) -> Result<Renewal> {
        Ok(if self.deadline()?.is_zero() { Renewal::Expired } else { Renewal::Renewed })
    }
}

/// The time until then, if it is long enough for the kernel to count.
fn left(until: Duration) -> Option<Duration> {
    until.checked_sub(since_boot()).filter(|left| *left >= Duration::from_millis(1))
}

fn element(left: Duration) -> Element {
    Element { timeout: Some(left), ..Element::of_set(KEY) }
}

/// No such element, or it has timed out.
fn is_absent(error: &ElementsError) -> bool {
    matches!(error, ElementsError::Refused { source, .. } if source.raw_os_error() == Some(libc::ENOENT))
}

fn table_script() -> String {
    format!(
        "add table netdev {TABLE}\n\
         add set netdev {TABLE} {SET} {{ type mark; flags timeout; }}\n\
         add set netdev {TABLE} {TICKETS} {{ type mark; flags timeout; }}\n\
         add counter netdev {TABLE} {COUNTER}\n"
    )
}

/// One chain per interface and place; adding what is there changes nothing, and its rules are replaced in
/// the same transaction.
fn attach_script(device: &str, hook: Hook) -> String {
    let chain = format!("netdev {TABLE} {}", chain(device, hook));
    let side = match hook.direction() {
        Direction::In => "ingress",
        Direction::Out => "egress",
    };
    // With the table, because anybody can flush all rules.
    let mut script = table_script();
    write!(
        script,
        "add chain {chain} {{ type filter hook {side} device \"{device}\" priority -200; policy accept; }}\n\
         flush chain {chain}\n"
    )
    .expect("a string takes all");
    let which = match hook {
        Hook::ServerPort | Hook::OverlayDevice => String::new(),
        Hook::Fabric => format!("udp dport {VXLAN_PORT} "),
    };
    // A lookup needs something to look for; this makes a zero without touching the packet's mark.
    writeln!(script, "add rule {chain} {which}meta mark & 0 != @{SET} counter name {COUNTER} drop").expect("a string takes all");
    script
}

/// Interface names may hold nearly every character, chain names few.
fn chain(device: &str, hook: Hook) -> String {
    let mut name = match hook {
        Hook::ServerPort => "port-",
        Hook::OverlayDevice => "overlay-",
        Hook::Fabric => "fabric-",
    }
    .to_owned();
    for byte in device.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            _ => write!(name, "_{byte:02x}").expect("a string takes all"),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_different_interfaces_have_different_names() {
        assert_eq!(chain("ps12ab", Hook::ServerPort), "port-ps12ab");
        assert_eq!(chain("eth0.7", Hook::Fabric), "fabric-eth0_2e7");
        assert_eq!(chain("eth0_2e7", Hook::Fabric), "fabric-eth0_5f2e7");
    }
}
