//! Quarantines across controllers: what counts against a node is written with its host's record, and the next leader goes on
//! from there.

use super::hosts::{self, LifeChange};
use super::record::DeathsRecord;
use super::world::{Dirty, Now, World};
use pan_member::Tick;
use pan_member::quarantine::Times;
use pan_model::HostName;
use std::time::Duration;

/// Ends quarantines whose time is over.
pub fn release(world: &mut World, now: Now) {
    let held = world.seen.hosts.iter().filter(|(_, seen)| seen.quarantined).map(|(name, _)| name);
    let over = held.filter(|name| world.seen.quarantine.get(*name).is_none_or(|record| record.until(now.boot).is_none()));
    for host in over.cloned().collect::<Vec<_>>() {
        hosts::life(world, now, LifeChange::Quarantined(host, false));
    }
}

/// Writes down what counts against a node.
pub(super) fn keep(world: &mut World, now: Now, host: &HostName) {
    if !world.leading {
        return;
    }
    let Times { deaths, strikes, until } = world.seen.quarantine.get(host).map(pan_member::Quarantine::times).unwrap_or_default();
    let wall = |tick: Tick| match tick > now.boot {
        true => now.wall + micros(tick.since(now.boot)),
        false => now.wall - micros(now.boot.since(tick)),
    };
    let kept = DeathsRecord { at: deaths.into_iter().map(wall).collect(), strikes, until: until.map(wall) };
    if let Some(record) = world.hosts.get_mut(host).filter(|record| record.deaths != kept) {
        record.deaths = kept;
        world.dirty.insert(Dirty::Host(host.clone()));
    }
}

/// Goes on with what is written: for a controller that begins to lead.
pub(super) fn recall(world: &mut World, now: Now) {
    // The clock of another machine, or of another boot: only distances from now mean anything. What was before this machine's
    // boot is taken for as old as the boot.
    let boot = |wall: i64| {
        let ahead = Duration::from_micros(u64::try_from(wall - now.wall).unwrap_or(0));
        let ago = u64::try_from(now.wall - wall).unwrap_or(0).saturating_mul(1000);
        Tick(now.boot.0.saturating_sub(ago)).plus(ahead)
    };
    for (host, record) in &world.hosts {
        let DeathsRecord { at, strikes, until } = &record.deaths;
        let kept = Times { deaths: at.iter().copied().map(boot).collect(), strikes: *strikes, until: until.map(boot) };
        let quarantine = world.seen.quarantine.entry(host.clone()).or_default();
        quarantine.recall(kept);
        world.seen.hosts.entry(host.clone()).or_default().quarantined = quarantine.until(now.boot).is_some();
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::world::Settings;
    use pan_api::report::Hello;
    use pan_member::Death;

    const SECOND: i64 = 1_000_000;

    fn world() -> World {
        World::new(Settings::bare())
    }

    /// A second of the wall clock, on a machine that booted `booted` seconds after its beginning.
    fn at(second: i64, booted: i64) -> Now {
        Now { wall: second * SECOND, boot: Tick(u64::try_from((second - booted).max(0)).unwrap() * 1_000_000_000) }
    }

    #[test]
    fn a_quarantine_outlives_the_controller_that_began_it() {
        let (mut world, n1) = (world(), "n1".parse::<HostName>().unwrap());
        let ip = std::net::IpAddr::from([10, 0, 0, 1]);
        let (roles, software) = (Vec::new(), String::new());
        let hello = Hello {
            version: pan_api::WIRE_VERSION,
            host: n1.clone(),
            roles,
            software,
            address: ip,
            a: ip,
            b: ip,
            node: None,
            storage: None,
        };
        hosts::hello(&mut world, at(1000, 0), &hello).unwrap();
        let dies = |world: &mut World, now: Now| {
            let record = world.seen.quarantine.entry(n1.clone()).or_default();
            record.on_alive(now.boot);
            let until = record.on_death(Death::Unplanned, now.boot);
            keep(world, now, &n1);
            until.is_some()
        };
        // Another controller, which began to lead later on a machine with another boot clock.
        let next = |world: &World, now: Now| {
            let mut next = super::tests::world();
            next.hosts = world.hosts.clone();
            recall(&mut next, now);
            next
        };
        assert!(!dies(&mut world, at(1000, 0)) && !dies(&mut world, at(1010, 0)));
        let mut world = next(&world, at(1020, 990));
        assert!(!world.seen.hosts[&n1].quarantined);
        assert!(dies(&mut world, at(1030, 990)), "two deaths before this controller's time count");
        let mut world = next(&world, at(1040, 700));
        assert!(world.seen.hosts[&n1].quarantined);
        release(&mut world, at(1629, 700));
        assert!(world.seen.hosts[&n1].quarantined, "ten minutes from 1030 on");
        release(&mut world, at(1631, 700));
        assert!(!world.seen.hosts[&n1].quarantined && world.hosts[&n1].deaths.is_clean());
    }
}
