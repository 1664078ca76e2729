//! [`Guard`]: brings the kernel's rules to what is wanted, and reads what they refused.

use std::net::IpAddr;

use super::refusal::Refused;
use super::rules::{CHAIN, FAMILY, REFUSED, TABLE, difference, elements, script};
use crate::netns::Netns;
use crate::nft::{self, ElementsError, Nft, NftError};
use crate::rtnl::Mac;

/// A bridge port and what it may send as. A gateway's port must not be guarded: it forwards for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedPort {
    /// The interface on the bridge.
    pub port: String,
    /// The only Ethernet address it may use.
    pub mac: Mac,
    /// The only IP addresses it may use.
    pub addresses: Vec<IpAddr>,
}

/// The keeper of one host's source guard.
#[derive(Debug)]
pub struct Guard {
    netns: Netns,
    nft: Nft,
    /// What the names of guarded ports begin with.
    own: &'static str,
    applied: Option<Vec<GuardedPort>>,
}

/// Why a guard is not as asked. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Its rules were refused.
    #[error("load the source guard")]
    Rules(#[from] NftError),
    /// Its elements were refused, or cannot be read.
    #[error("change or read the source guard")]
    Elements(#[from] ElementsError),
}

impl Guard {
    /// Starts keeping the guard of a namespace: of all ports whose names begin with `own`. Nothing changes before
    /// [`Guard::apply`].
    ///
    /// # Errors
    /// The process has no free descriptor, or the kernel gives no socket.
    pub fn new(netns: &Netns, own: &'static str) -> Result<Guard, GuardError> {
        let nft = Nft::open_in(netns)?;
        Ok(Guard { netns: netns.try_clone().map_err(ElementsError::from)?, nft, own, applied: None })
    }

    /// Lets exactly these ports speak, each for itself, and tells whether anything had to change. A port need not exist
    /// yet: guard it first and attach it then. The rules are loaded the first time, and again when they are gone or not
    /// what they were; otherwise only elements change, in one transaction.
    ///
    /// # Errors
    /// The rules are refused; the former ones, if any, stay in force.
    pub fn apply(&mut self, ports: &[GuardedPort]) -> Result<bool, GuardError> {
        let there = self.is_in_force()?;
        let applied = self.applied.take().filter(|_| there);
        if applied.as_deref() == Some(ports) {
            self.applied = applied;
            return Ok(false);
        }
        let changed = applied.map(|applied| self.nft.commit(&difference(&elements(&applied), &elements(ports)), None));
        match changed {
            Some(Ok(())) => {}
            // Somebody changed its elements, so that they are not what they are taken for: all of it anew.
            Some(Err(_)) | None => nft::load(Some(&self.netns), &script(self.own, ports))?,
        }
        self.applied = Some(ports.to_vec());
        Ok(true)
    }

    /// Whether there are rules: then no port can be heard that was not spoken for.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_in_force(&mut self) -> Result<bool, GuardError> {
        Ok(self.nft.has_chain(FAMILY, TABLE, CHAIN)?)
    }

    /// What was refused, by port and reason. Rules that are loaded anew begin to count anew.
    ///
    /// # Errors
    /// The kernel cannot be asked, or there are no rules.
    pub fn refused(&mut self) -> Result<Vec<Refused>, GuardError> {
        let counted = self.nft.counted(FAMILY, TABLE, REFUSED)?;
        Ok(counted.iter().filter_map(|(key, packets)| Refused::read(key, *packets)).collect())
    }
}
