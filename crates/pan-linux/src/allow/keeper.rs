//! [`Allow`]: brings one namespace's rules to what is wanted, and reads what they refused.

use super::rules::{CHAIN, Callers, FAMILY, OPEN, REFUSED, TABLE, change, closed};
use crate::netns::Netns;
use crate::nft::{self, ElementsError, Nft, NftError};

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

    /// How many packets were refused so far. Callers who were quiet for ten minutes are forgotten, and with them what they sent.
    ///
    /// # Errors
    /// The kernel cannot be asked, or there are no rules.
    pub fn refused(&mut self) -> Result<u64, AllowError> {
        let counted = self.nft.counted(FAMILY, TABLE, REFUSED)?;
        Ok(counted.iter().map(|(_, packets)| packets).sum())
    }
}
