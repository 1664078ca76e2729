//! A service in simulated time: requests come, servers work on some at a time, one of them is slow.

use pan_balance::{Balancer, Choice, Draws, Guards, LaneSpec, Outcome, Preset, Request, ServerSpec, Ticket, Way};
use pan_model::service::BackendState::Up;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

const SERVERS: usize = 4;
/// Requests that a server works on at a time; others wait at it.
const WORKERS: usize = 8;
/// How long a server works on one, in microseconds.
const WORK: u64 = 2_000;
/// Between two requests: 4000 a second, a quarter of what all servers can do.
const PAUSE: u64 = 250;

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

struct World {
    balancer: Balancer,
    draws: Draws,
    /// When each worker of each server is free.
    free: [[u64; WORKERS]; SERVERS],
    /// How many times as long as the others each takes.
    slowness: [u64; SERVERS],
    running: BinaryHeap<Reverse<(u64, usize)>>,
    tickets: Vec<Option<Ticket>>,
    probes: bool,
}

impl World {
    fn new(preset: Preset, capability: [u32; SERVERS]) -> Self {
        let probes = matches!(preset, Preset::Way(Way::Prequal(_)));
        let mut balancer = Balancer::new("www", vec![LaneSpec::all(preset)], Guards::default()).unwrap();
        let spec = |(index, capability)| ServerSpec { index, state: Up, weight: 1, capability, tier: 0, in_flight_max: None };
        balancer.update((1..).zip(capability).map(spec).collect(), Duration::ZERO);
        let free = [[0; WORKERS]; SERVERS];
        let slowness = [1; SERVERS];
        Self { balancer, draws: Draws::seeded(6), free, slowness, running: BinaryHeap::new(), tickets: Vec::new(), probes }
    }

    /// Lets requests come from one moment to another and says how many each server got.
    fn run(&mut self, from: u64, to: u64) -> [u64; SERVERS] {
        let mut counts = [0; SERVERS];
        let mut now = from;
        while now < to {
            while let Some(Reverse((end, ticket))) = self.running.peek().copied().filter(|Reverse((end, _))| *end <= now) {
                self.running.pop();
                let mut ticket = self.tickets[ticket].take().unwrap();
                self.balancer.first_byte(&mut ticket, us(end));
                self.balancer.ended(ticket, Outcome::Answered, us(end));
            }
            counts[self.request(now)] += 1;
            now += PAUSE / 2 + self.draws.below(PAUSE);
        }
        counts
    }

    fn request(&mut self, now: u64) -> usize {
        while self.probes
            && let Some(index) = self.balancer.probe_due(0, us(now), &mut self.draws)
        {
            let server = self.balancer.servers()[index as usize - 1];
            let latency = us(WORK * self.slowness[index as usize - 1]);
            self.balancer.probed(index, server.in_flight, latency, us(now), &mut self.draws);
        }
        let Choice::Server(ticket) = self.balancer.choose(&Request::default(), us(now), &mut self.draws) else { panic!("somebody can") };
        let server = ticket.index as usize - 1;
        let worker = self.free[server].iter_mut().min().unwrap();
        *worker = now.max(*worker) + (WORK / 2 + self.draws.below(WORK)) * self.slowness[server];
        self.running.push(Reverse((*worker, self.tickets.len())));
        self.tickets.push(Some(ticket));
        server
    }
}

const SECOND: u64 = 1_000_000;

/// The share of the first server, in thousandths of a fair one, in the second half of the first second after it became five
/// times slower.
fn share_when_slow(preset: Preset) -> u64 {
    let mut world = World::new(preset, [100; SERVERS]);
    let before = world.run(0, SECOND);
    let total: u64 = before.iter().sum();
    assert!(before.iter().all(|count| count * 4 > total / 2), "unfair from the beginning: {before:?}");
    world.slowness[0] = 5;
    world.run(SECOND, 3 * SECOND / 2);
    let after = world.run(3 * SECOND / 2, 2 * SECOND);
    after[0] * 1000 * SERVERS as u64 / after.iter().sum::<u64>()
}

#[test]
fn capacity_leaves_a_slow_server_at_most_a_third_within_a_second() {
    let share = share_when_slow(Preset::Capacity);
    assert!(share <= 333, "{share} thousandths of its fair share");
}

#[test]
fn prequal_does_too() {
    let share = share_when_slow(Preset::Way(Way::Prequal(Default::default())));
    assert!(share <= 333, "{share} thousandths of its fair share");
}

/// What it is compared with: ways that do not look go on as before.
#[test]
fn who_does_not_look_does_not_see() {
    assert!(share_when_slow(Preset::RoundRobin) > 990);
    assert!(share_when_slow(Preset::Way(Way::Random)) > 900);
}

/// It gets its share back when it is fast again, because what was long ago counts ever less.
#[test]
fn capacity_forgives() {
    let mut world = World::new(Preset::Capacity, [100; SERVERS]);
    world.run(0, SECOND);
    world.slowness[0] = 5;
    world.run(SECOND, 2 * SECOND);
    world.slowness[0] = 1;
    world.run(2 * SECOND, 32 * SECOND);
    let counts = world.run(32 * SECOND, 33 * SECOND);
    assert!(counts[0] * 4 * 2 > counts.iter().sum::<u64>(), "{counts:?}");
}

/// A node twice as fast gets twice under `capability`, and nobody waits longer for that.
#[test]
fn capability_follows_what_was_measured() {
    let mut world = World::new(Preset::Capability, [200, 100, 100, 100]);
    world.slowness = [1, 2, 2, 2];
    let counts = world.run(0, SECOND);
    let total: u64 = counts.iter().sum();
    for (count, share) in counts.iter().zip([400, 200, 200, 200]) {
        assert!((count * 1000 / total).abs_diff(share) <= 2, "{counts:?}");
    }
}
