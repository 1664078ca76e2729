//! Brings the map to what a keeper of networks wants.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::table::{Table, Who, changes, wanted};
use super::{OriginError, Origins};
use crate::overlay::NetworkSpec;

/// How often the map is read again although nothing changed: another keeper may have put in what this one knows better.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an address must be unlisted before it is forgotten: another keeper on this host may have heard of it a
/// moment earlier. Until then only its last host can use it.
const UNLISTED_FOR: Duration = Duration::from_secs(5);

/// One keeper's view. Several may share one [`Origins`].
#[derive(Debug)]
pub(crate) struct Keeper {
    origins: Arc<Origins>,
    here: IpAddr,
    applied: Option<(Table, Instant)>,
    /// Since when addresses that are in the map, in networks of this keeper, are not listed.
    unlisted: BTreeMap<Who, Instant>,
}

impl Keeper {
    pub(crate) fn new(origins: Arc<Origins>, here: IpAddr) -> Self {
        Self { origins, here, applied: None, unlisted: BTreeMap::new() }
    }

    /// To be called before forwarding entries follow the same networks: nobody is to be heard any more from where nothing
    /// is sent any more. Returns how many entries were changed.
    pub(crate) fn apply(&mut self, networks: &[NetworkSpec]) -> Result<usize, OriginError> {
        let wanted = wanted(networks, self.here);
        let now = Instant::now();
        let known = self.applied.as_ref().is_some_and(|(applied, at)| *applied == wanted && now.duration_since(*at) < AGAIN);
        if known {
            return Ok(0);
        }
        let mut changed = 0;
        let unlisted = &mut self.unlisted;
        self.origins.change(|present| {
            let set: Vec<_> = changes(present, &wanted).collect();
            let own = |who: &Who| networks.iter().any(|network| network.vni == who.vni);
            let idle: Vec<Who> = present.keys().filter(|who| own(who) && !wanted.contains_key(who)).copied().collect();
            unlisted.retain(|who, _| idle.contains(who));
            let gone: Vec<Who> =
                idle.into_iter().filter(|who| now.duration_since(*unlisted.entry(*who).or_insert(now)) >= UNLISTED_FOR).collect();
            changed = set.len() + gone.len();
            (set, gone)
        })?;
        self.applied = Some((wanted, now));
        Ok(changed)
    }

    /// A network is gone from this host: its frames are nobody's business here.
    pub(crate) fn forget(&mut self, vni: u32) -> Result<(), OriginError> {
        self.applied = None;
        self.unlisted.retain(|who, _| who.vni != vni);
        self.origins.change(|present| (Vec::new(), present.keys().filter(|who| who.vni == vni).copied().collect()))?;
        Ok(())
    }
}
