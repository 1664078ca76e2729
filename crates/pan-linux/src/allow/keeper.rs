//! [`Allow`]: brings one namespace's rules to what is wanted, and reads what they refused.

use std::collections::BTreeMap;

use super::rules::{CHAIN, Callers, FAMILY, OPEN, REFUSED, TABLE, change, closed};
use crate::netns::Netns;
use crate::netns::NetnsError;
use crate::nft::{self, ElementsError, Nft, NftError};
use crate::rtnl::Mac;

/// The keeper of who may begin to speak to one namespace.
#[derive(Debug)]
pub struct Allow {
    netns: Netns,
    nft: Nft,
    /// What is known to be in force.
    applied: Option<Option<Vec<Callers>>>,
}

/// Why the rules are not as asked. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// They were refused.
    #[error("load the rules for who may speak to a server")]
    Rules(#[from] NftError),
    /// The namespace is not there, or cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Their elements were refused, or cannot be read.
    #[error("change or read the rules for who may speak to a server")]
    Elements(#[from] ElementsError),
}

impl Allow {
    /// Starts keeping those of a namespace. Nothing changes before [`Allow::apply`].
    ///
    /// # Errors
    /// The process has no free descriptor, or the kernel gives no socket.
    pub fn open(netns: Netns) -> Result<Allow, AllowError> {
        let nft = Nft::open_in(&netns)?;
        Ok(Allow { netns, nft, applied: None })
    }

    /// Lets exactly these callers begin something, or, without any list, everybody anything; and tells whether something had to
    /// change. No rule changes where there are rules already: elements do, all at once.
    ///
    /// # Errors
    /// The kernel or `nft` refuses; the former rules, if any, stay in force.
    pub fn apply(&mut self, callers: Option<&[Callers]>) -> Result<bool, AllowError> {
        let there = self.is_in_force()?;
        let applied = self.applied.take();
        let known = applied.as_ref().map(|applied| applied.as_deref()) == Some(callers);
        if known && there == callers.is_some() {
            self.applied = applied;
            return Ok(false);
        }
        match callers {
            None if there => nft::load(Some(&self.netns), OPEN)?,
            None => {}
            Some(callers) => {
                let batch = change(callers);
                // Somebody may have changed what rules there are, so that these are not theirs any more.
                if !there || self.nft.commit(&batch, None).is_err() {
                    nft::load(Some(&self.netns), closed())?;
                    self.nft.commit(&batch, None)?;
                }
            }
        }
        self.applied = Some(callers.map(<[_]>::to_vec));
        Ok(true)
    }

    /// Whether there are rules: then nobody may begin anything who is not among their elements.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_in_force(&mut self) -> Result<bool, AllowError> {
        Ok(self.nft.has_chain(FAMILY, TABLE, CHAIN)?)
    }

    /// How many packets were refused so far, by whom they came from. Who was quiet for ten minutes is forgotten.
    ///
    /// # Errors
    /// The kernel cannot be asked, or there are no rules.
    pub fn refused(&mut self) -> Result<BTreeMap<Mac, u64>, AllowError> {
        let counted = self.nft.counted(FAMILY, TABLE, REFUSED)?;
        // A key is the address, filled up to a whole register.
        let mac = |key: &[u8]| key.first_chunk().copied();
        Ok(counted.iter().filter_map(|(key, packets)| Some((mac(key)?, *packets))).collect())
    }
}
