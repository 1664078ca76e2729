//! The imports of partitions whose units this director owns: two namespaces for each, of which the far one and the pair between them are
//! there only while both partitions want it. Effects; what they have to be is said in [`rules`].

mod rules;

use crate::error::Trouble;
use crate::metrics::Counts;
use crate::namespace::{Namespace, Outside};
use crate::specs::Seat;
use crate::suspicion::Told;
use crate::unanswered::Unanswered;
use crate::units::{Kept, decide};
use pan_api::desired::{Desired, ImportEnd, ImportOrder, ImportWay, Network, Unit};
use pan_linux::netns::Netns;
use pan_linux::rtnl::Rtnl;
use pan_model::HostName;
pub(crate) use rules::seat_called;
use rules::{
    FAR, NEAR, Pair, far_ends, far_port, far_rules, far_seat, far_unit, far_wiring, near_port, near_rules, near_seat, near_wiring,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long imports are made new at a time; the rest waits for its turn a second later. Some 0.1 s each are nothing that other partitions'
/// units should have to wait for, whoever wants how many. Ending one does not wait.
const TURN: Duration = Duration::from_millis(250);

/// The ends of all imports that are this director's, each with its port.
pub(crate) fn ends(desired: &Desired) -> impl Iterator<Item = (&ImportEnd, String)> {
    desired.imports.iter().flat_map(|order| {
        let far = order.way.as_ref().map(|way| (&way.far, far_port(way.number)));
        [(&order.near, near_port(order.number))].into_iter().chain(far)
    })
}

/// All imports of this director, by number.
#[derive(Debug)]
pub(crate) struct Imports {
    counts: Arc<Counts>,
    all: BTreeMap<u32, Import>,
    unanswered: Vec<Unanswered>,
    /// Some wait for their turn, or could not be made.
    behind: bool,
}

#[derive(Debug)]
struct Import {
    near: Namespace,
    way: Option<Way>,
    /// Nothing of a former way is left in the near namespace.
    clean: bool,
}

/// A way that is there, or is being made.
#[derive(Debug)]
struct Way {
    order: ImportWay,
    far: Namespace,
    pair: Pair,
    told: Told,
    kept: Option<Kept>,
    in_place: bool,
}

impl Imports {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { counts, all: BTreeMap::new(), unanswered: Vec::new(), behind: false }
    }

    /// Makes the kernel what `desired` says of imports. Their ports are in no network before that is told of them.
    pub(crate) fn apply(&mut self, host: &Rtnl, desired: &Desired, (silent, now): (&BTreeSet<HostName>, Duration)) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        self.end_unwanted(host, desired, &mut troubles);
        // Who came first is not kept waiting by who comes again and again: each consent has a number of its own.
        let mut orders: Vec<&ImportOrder> = desired.imports.iter().collect();
        orders.sort_by_key(|order| order.way.as_ref().map_or(order.number, |way| way.number));
        let began = Instant::now();
        self.behind = false;
        for order in orders {
            let is_new = !self.all.get(&order.number).is_some_and(|import| import.is_made(order));
            if is_new && began.elapsed() >= TURN {
                self.behind = true;
                continue;
            }
            troubles.extend(self.bring(host, desired, order, (silent, now)).err());
        }
        self.behind |= !troubles.is_empty();
        troubles
    }

    /// Whether some are still to be made, or made anew.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Ends ways that are not wanted any more, those of an earlier life included, and removes imports that are gone.
    fn end_unwanted(&mut self, host: &Rtnl, desired: &Desired, troubles: &mut Vec<Trouble>) {
        let ways: BTreeSet<u32> = desired.imports.iter().filter_map(|order| Some(order.way.as_ref()?.number)).collect();
        let orders: BTreeSet<u32> = desired.imports.iter().map(|order| order.number).collect();
        let names = Netns::list().unwrap_or_else(|error| {
            troubles.push(error.into());
            Vec::new()
        });
        let numbered = |prefix: &'static str| {
            names.iter().filter_map(move |name| Some((name.clone(), name.strip_prefix(prefix)?.parse::<u32>().ok()?))).collect::<Vec<_>>()
        };
        self.all.retain(|number, _| orders.contains(number));
        for (name, number) in numbered(NEAR).into_iter().filter(|(_, number)| !orders.contains(number)) {
            troubles.extend(Namespace::remove(host, &Seat { vni: 0, name, port: near_port(number) }).err());
        }
        for import in self.all.values_mut() {
            if import.way.as_ref().is_some_and(|way| !ways.contains(&way.order.number)) {
                troubles.extend(import.cut(host).err());
            }
        }
        for (name, number) in numbered(FAR).into_iter().filter(|(_, number)| !ways.contains(number)) {
            // It went with its way, if that was known.
            if Netns::exists(&name) {
                troubles.extend(Namespace::remove(host, &Seat { vni: 0, name, port: far_port(number) }).err());
            }
        }
    }

    fn bring(
        &mut self,
        host: &Rtnl,
        desired: &Desired,
        order: &ImportOrder,
        (silent, now): (&BTreeSet<HostName>, Duration),
    ) -> Result<(), Trouble> {
        let near_network = network(desired, order.near.vni)?;
        if let std::collections::btree_map::Entry::Vacant(entry) = self.all.entry(order.number) {
            entry.insert(Import { near: Namespace::open(near_seat(order), self.counts.clone())?, way: None, clean: false });
        }
        let import = self.all.get_mut(&order.number).expect("it was opened above");
        let Some(wanted) = &order.way else {
            import.cut(host)?;
            let wiring = near_wiring(&desired.host, order, near_network, None);
            return import.near.wire(host, Outside::Nowhere, &wiring);
        };
        // Nothing of a former way, which could not be ended before, becomes this one's.
        if import.way.as_ref().is_some_and(|way| way.order.number != wanted.number) {
            import.cut(host)?;
        }
        let far_network = network(desired, wanted.far.vni)?;
        let subnets = [near_network.subnets.as_slice(), far_network.subnets.as_slice()].concat();
        let pair = Pair::new(&order.near, wanted, &subnets);
        let told = Told::new(&far_unit(wanted, far_network, &pair), far_network, &desired.host);
        match &mut import.way {
            Some(way) => (way.order, way.pair, way.told) = (wanted.clone(), pair, told),
            None => {
                let seat = far_seat(wanted);
                if !Netns::exists(&seat.name) {
                    import.cut(host)?;
                }
                let far = Namespace::open(seat, self.counts.clone())?;
                import.way = Some(Way { order: wanted.clone(), far, pair, told, kept: None, in_place: false });
            }
        }
        let way = import.way.as_mut().expect("it was made above");
        way.in_place = false;
        way.settle(&self.counts, silent, now, &mut self.unanswered)?;
        import.near.tables().load(near_rules(Some((wanted, &way.pair))))?;
        import.clean = false;
        let near_wiring = near_wiring(&desired.host, order, near_network, Some(&way.pair));
        import.near.wire(host, Outside::Beside(way.far.netns()), &near_wiring)?;
        way.far.wire(host, Outside::Beside(import.near.netns()), &far_wiring(&desired.host, wanted, far_network, &way.pair))?;
        import.near.set_public(&way.pair.near())?;
        way.far.set_public(&way.pair.far())?;
        way.in_place = !way.pair.families.is_empty();
        Ok(())
    }

    /// Takes note of the hosts that this director takes for silent.
    pub(crate) fn suspect(&mut self, silent: &BTreeSet<HostName>, now: Duration) -> Vec<Trouble> {
        let ways = self.all.values_mut().filter_map(|import| import.way.as_mut());
        let troubles: Vec<_> = ways.filter_map(|way| way.settle(&self.counts, silent, now, &mut self.unanswered).err()).collect();
        self.behind |= !troubles.is_empty();
        troubles
    }

    /// Looks whether all is as it was made; what was not goes before what somebody else changed.
    pub(crate) fn look(&mut self) -> (Vec<Trouble>, Vec<Trouble>) {
        let (mut troubles, mut drift) = (Vec::new(), Vec::new());
        for import in self.all.values_mut() {
            for namespace in [Some(&mut import.near), import.way.as_mut().map(|way| &mut way.far)].into_iter().flatten() {
                troubles.extend(namespace.look().err());
                drift.extend(namespace.take_drift());
            }
        }
        (troubles, drift)
    }

    /// What time brings about: former tables that nobody needs any more go.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Trouble> {
        let ways = self.all.values_mut().filter_map(|import| import.way.as_mut());
        let retired = ways.filter_map(|way| {
            let kept = way.kept.as_mut()?;
            if kept.retire(now) { way.far.tables().load(far_rules(kept, &way.pair)).err() } else { None }
        });
        let troubles: Vec<_> = retired.collect();
        self.behind |= !troubles.is_empty();
        troubles
    }

    /// What to forget beside everything else.
    pub(crate) fn take_unanswered(&mut self) -> Vec<Unanswered> {
        std::mem::take(&mut self.unanswered)
    }

    /// Where connections of servers are counted.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&Unit, &Netns)> {
        let ways = self.all.values().filter_map(|import| import.way.as_ref());
        ways.filter_map(|way| Some((&way.kept.as_ref()?.unit, way.far.netns())))
    }

    /// The numbers of the ways that are in place.
    pub(crate) fn in_place(&self) -> Vec<u32> {
        let ways = self.all.values().filter_map(|import| import.way.as_ref());
        ways.filter(|way| way.in_place).map(|way| way.order.number).collect()
    }
}

impl Import {
    /// Whether there is as much as is wanted, and no more.
    fn is_made(&self, order: &ImportOrder) -> bool {
        let number = |way: &ImportWay| way.number;
        let made = self.way.as_ref().map(|way| number(&way.order));
        made == order.way.as_ref().map(number) && (made.is_some() || self.clean)
    }

    /// Ends what led through here: first no packet passes any more, then no connection is known.
    fn cut(&mut self, host: &Rtnl) -> Result<(), Trouble> {
        if self.clean && self.way.is_none() && self.near.tables().are_known() {
            return Ok(());
        }
        self.near.tables().load(near_rules(None))?;
        self.near.unplug()?;
        if let Some(way) = self.way.take() {
            Namespace::remove(host, &far_seat(&way.order))?;
        }
        self.near.forget(&far_ends())?;
        self.clean = true;
        Ok(())
    }
}

impl Way {
    /// Makes the far namespace's tables what they should be.
    fn settle(
        &mut self,
        counts: &Counts,
        silent: &BTreeSet<HostName>,
        now: Duration,
        unanswered: &mut Vec<Unanswered>,
    ) -> Result<(), Trouble> {
        let unit = self.told.under(silent);
        if self.far.tables().are_known() && self.kept.as_ref().is_some_and(|kept| kept.unit == unit) {
            return Ok(());
        }
        let decision = decide(self.kept.as_ref(), &unit, now);
        self.far.tables().load(far_rules(&decision.kept, &self.pair))?;
        counts.forgotten_dead.add(self.far.forget(&decision.forget)?);
        if !decision.unanswered.is_empty() {
            unanswered.push(Unanswered { vni: unit.vni, netns: self.far.netns().try_clone()?, ends: decision.unanswered });
        }
        self.kept = Some(decision.kept);
        Ok(())
    }
}

fn network(desired: &Desired, vni: u32) -> Result<&Network, Trouble> {
    desired.networks.iter().find(|network| network.vni == vni).ok_or(Trouble::NoNetwork { vni })
}
