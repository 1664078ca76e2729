//! Answering for the units of directors that fell silent. Silence on both fabrics is not enough: a director whose kernel lives goes on
//! answering, and its proxies with it, so it is asked once more by the way that counts, the clients' own.

use super::Director;
use crate::announce::{self, Announcement};
use crate::error::{Trouble, Troubles};
use crate::rules::OUTSIDE;
use crate::specs;
use crate::standin::{self, Standing};
use pan_api::desired::{Desired, Seat};
use pan_linux::arp;
use pan_model::HostName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long a silent director has to answer for an address: a kernel does so in a fraction of a millisecond.
const ANSWER: Duration = Duration::from_millis(6);

impl Director {
    /// Answers for the units that it is the successor of while their owners are silent, and no longer for others. True: an owner that is silent
    /// on the fabrics answered clients' questions, and is to be asked again soon.
    pub fn stand(&mut self, desired: &Desired) -> (Troubles, bool) {
        let mut troubles = Vec::new();
        let stays = standin::still(desired, &self.silent, &self.standing);
        let ended: Vec<u32> = self.standing.keys().filter(|vni| !stays.contains_key(vni)).copied().collect();
        let fresh: Vec<&Seat> = standin::due(desired, &self.silent).filter(|seat| !stays.contains_key(&seat.vni)).collect();
        if ended.is_empty() && fresh.is_empty() {
            return (Troubles::default(), false);
        }
        let asked = fresh.len();
        let fresh = self.left_alone(desired, fresh, &mut troubles);
        let again = fresh.len() < asked;
        self.standing = stays;
        self.standing.extend(fresh.iter().map(|seat| (seat.vni, seat.epoch)));
        if fresh.is_empty() && ended.is_empty() {
            return (Troubles::of_units(troubles), again);
        }
        for seat in &fresh {
            self.counts.stood_in.one();
            tracing::warn!(owner = %seat.owner, vni = seat.vni, "silent, and does not answer clients: its unit is here until more is known");
        }
        for vni in ended {
            troubles.extend(self.give_back(desired, vni).err());
        }
        let wanted = standin::over(desired, &self.standing);
        troubles.extend(self.overlay.apply(&specs::networks(&wanted)).err().map(Trouble::from));
        self.take_owned(&wanted, &mut troubles);
        (Troubles::of_units(troubles), again)
    }

    /// For which units it answers at present.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Those of `seats` whose owner's kernel does not answer for them either. One unit of an owner speaks for all of them.
    fn left_alone<'a>(&self, desired: &Desired, seats: Vec<&'a Seat>, troubles: &mut Vec<Trouble>) -> Vec<&'a Seat> {
        let mut lives: BTreeMap<&HostName, bool> = BTreeMap::new();
        let mut alone = Vec::new();
        for seat in seats {
            let answers = match lives.get(&seat.owner) {
                Some(answers) => *answers,
                None => match self.asked(desired, seat) {
                    Ok(None) => continue,
                    Ok(Some(answers)) => {
                        lives.insert(&seat.owner, answers);
                        answers
                    }
                    Err(trouble) => {
                        troubles.push(trouble);
                        continue;
                    }
                },
            };
            match answers {
                true => self.counts.answered.one(),
                false => alone.push(seat),
            }
        }
        alone
    }

    /// Whether the owner of a unit answers for one of its addresses; `None` where there is nothing to ask for, or no way to clients.
    fn asked(&self, desired: &Desired, seat: &Seat) -> Result<Option<bool>, Trouble> {
        let Some(namespace) = self.namespaces.get(&seat.vni).filter(|namespace| namespace.is_wired()) else { return Ok(None) };
        let unit = desired.units.iter().find(|unit| unit.vni == seat.vni);
        let Some(address) = unit.and_then(|unit| unit.public.first()) else { return Ok(None) };
        let (own, theirs) = (specs::outside_mac(&self.config.name, seat.vni), specs::outside_mac(&seat.owner, seat.vni));
        let answer = arp::ask(namespace.netns(), OUTSIDE, (*address, own), ANSWER)?;
        Ok(Some(answer == Some(theirs)))
    }

    /// Lets go of a unit whose owner is back. Neighbours have this director's word for its addresses, so the owner's is said for it, which does not
    /// know that it was ever away.
    fn give_back(&mut self, desired: &Desired, vni: u32) -> Result<(), Trouble> {
        let Some(unit) = desired.units.iter().find(|unit| unit.vni == vni && !unit.owner) else { return Ok(()) };
        self.release(unit)?;
        self.announced.remove(&unit.partition);
        let owner = desired.seats.iter().find(|seat| seat.vni == vni).map(|seat| &seat.owner).filter(|owner| !self.silent.contains(*owner));
        let (Some(owner), Some(namespace)) = (owner, self.namespaces.get(&vni)) else { return Ok(()) };
        tracing::info!(%owner, vni, "heard again: its unit is its own");
        let (netns, addresses): (_, Vec<IpAddr>) = (namespace.netns().try_clone()?, unit.public.clone());
        let (mac, current) = (specs::outside_mac(owner, vni), Arc::new(AtomicBool::new(true)));
        announce::start(vec![Announcement { netns, device: OUTSIDE, addresses, mac, current }]);
        Ok(())
    }
}
