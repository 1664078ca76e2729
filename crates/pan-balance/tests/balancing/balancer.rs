//! What a layer 7 worker holds, against a list of its requests and the rules of eligibility written out.

use pan_balance::guard::{SlowStart, Sticky, outlier};
use pan_balance::ipvs::{Fallback, Name};
use pan_balance::pick::{Bound, Layout};
use pan_balance::tandem::{Criterion, Keep, Step};
use pan_balance::view::Why;
use pan_balance::{Balancer, Choice, Draws, Guards, LaneSpec, Outcome, Preset, Refusal, Request, ServerSpec, Ticket, Way};
use pan_model::service::BackendState::{self, Down, Draining, Suspect, Up};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn spec(index: u32, state: BackendState) -> ServerSpec {
    ServerSpec { index, state, weight: 1, capability: 100, tier: 0, in_flight_max: None }
}

fn up(servers: u32) -> Vec<ServerSpec> {
    (1..=servers).map(|index| spec(index, Up)).collect()
}

/// Nobody is ejected, so that a test can tell who takes part.
fn calm() -> Guards {
    Guards { outlier: outlier::Settings { failures_max: 0, deviations: 0, ..outlier::Settings::default() }, ..Guards::default() }
}

fn chosen(choice: Choice) -> Ticket {
    match choice {
        Choice::Server(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn balancer(preset: Preset, guards: Guards, specs: Vec<ServerSpec>) -> Balancer {
    let mut balancer = Balancer::new("www", vec![LaneSpec::all(preset)], guards).unwrap();
    balancer.update(specs, Duration::ZERO);
    balancer
}

fn presets() -> Vec<Preset> {
    let chain = vec![Step { by: Criterion::Capacity, keep: Keep::Best }, Step { by: Criterion::RoundRobin, keep: Keep::Best }];
    let ways = [Way::Rotation, Way::Random, Way::WeightedRandom, Way::TwoChoices, Way::LeastConnections, Way::WeightedLeastConnections];
    let more = [Way::ShortestExpectedDelay, Way::NeverQueue, Way::First, Way::PeakEwma, Way::Prequal(Default::default())];
    let hashes = [Layout::Maglev, Layout::Ring, Layout::Rendezvous].map(|layout| Way::Hash(layout, Some(Bound::USUAL)));
    let named = [Preset::RoundRobin, Preset::Capability, Preset::Capacity, Preset::Specifics, Preset::Tandem(chain)];
    named.into_iter().chain(ways.into_iter().chain(more).chain(hashes).map(Preset::Way)).collect()
}

fn specs() -> impl Strategy<Value = Vec<ServerSpec>> {
    let state = prop::sample::select(vec![Up, Up, Up, Suspect, Down, Draining]);
    let one = (state, 0_u32..5, prop::option::weighted(0.3, 0_u32..4), 0_u32..3);
    prop::collection::btree_map(1_u32..12, one, 0..8).prop_map(|all| {
        let one = |(index, (state, weight, in_flight_max, tier)): (u32, (BackendState, u32, Option<u32>, u32))| ServerSpec {
            index,
            state,
            weight,
            capability: 50 + index % 3 * 50,
            tier: tier / 2,
            in_flight_max,
        };
        all.into_iter().map(one).collect()
    })
}

/// Why a server takes no part in the lane of the odd ones, or in that of all; nobody is ejected.
fn refusals(specs: &[ServerSpec], odd: bool) -> BTreeMap<u32, Refusal> {
    let mut refusals = BTreeMap::new();
    let inside = |spec: &ServerSpec| !odd || spec.index % 2 == 1;
    let could = |spec: &&ServerSpec| inside(spec) && spec.weight > 0 && matches!(spec.state, Up | Suspect);
    let well = |spec: &&ServerSpec| spec.state == Up;
    let tier = specs.iter().filter(could).filter(well).map(|spec| spec.tier).min();
    let tier = tier.or(specs.iter().filter(could).map(|spec| spec.tier).min());
    let in_tier = || specs.iter().filter(could).filter(|spec| Some(spec.tier) == tier);
    let panics = 2 * in_tier().filter(well).count() < in_tier().count();
    for spec in specs {
        let refusal = if !inside(spec) {
            Some(Refusal::OutsideRule)
        } else if spec.weight == 0 {
            Some(Refusal::NoWeight)
        } else if spec.state == Down {
            Some(Refusal::Down)
        } else if spec.state == Draining {
            Some(Refusal::Draining)
        } else if Some(spec.tier) != tier {
            Some(Refusal::OtherTier)
        } else if spec.state == Suspect && !panics {
            Some(Refusal::Suspect)
        } else {
            None
        };
        refusals.extend(refusal.map(|refusal| (spec.index, refusal)));
    }
    refusals
}

#[derive(Debug, Clone)]
enum Act {
    Choose { odd: bool, key: Option<u64>, session: Option<u64>, tried: Option<u32> },
    Answer(usize),
    End(usize, Outcome),
    Update(Vec<ServerSpec>),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop::sample::select(vec![Outcome::Answered, Outcome::Failed, Outcome::Abandoned]);
    let choose = (any::<bool>(), prop::option::of(0_u64..9), prop::option::weighted(0.3, 0_u64..5), prop::option::weighted(0.3, 1_u32..12));
    prop_oneof![
        8 => choose.prop_map(|(odd, key, session, tried)| Act::Choose { odd, key, session, tried }),
        2 => any::<usize>().prop_map(Act::Answer),
        5 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Act::End(which, outcome)),
        1 => specs().prop_map(Act::Update),
        1 => Just(Act::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Requests in flight are those that were chosen and have not ended; who gets one takes part by the rules, has room and
    /// was not tried; the explanation says so of everybody, decides alike and changes nothing.
    #[test]
    fn requests_are_counted_and_explained(
        preset in prop::sample::select(presets()),
        first in specs(),
        acts in prop::collection::vec((act(), 0_u64..300), 1..80),
        seed in any::<u64>(),
    ) {
        let odd = LaneSpec { only: Some((1..12).step_by(2).collect()), ..LaneSpec::all(preset.clone()) };
        let guards = Guards { sticky: Some(Sticky::new(64, ms(2000))), slow_start: Some(SlowStart::linear(ms(1000))), ..calm() };
        let mut balancer = Balancer::new("www", vec![LaneSpec::all(preset), odd], guards).unwrap();
        let (mut specs, mut now, mut draws) = (first, Duration::ZERO, Draws::seeded(seed));
        balancer.update(specs.clone(), now);
        let mut held: Vec<Ticket> = Vec::new();
        let mut lost: Vec<Ticket> = Vec::new();
        for (act, later) in acts {
            now += ms(later);
            match act {
                Act::Choose { odd, key, session, tried } => {
                    let tried: Vec<u32> = tried.into_iter().collect();
                    let request = Request { lane: usize::from(odd), key, session, home: None, tried: &tried };
                    let mut expected = refusals(&specs, odd);
                    for server in balancer.servers() {
                        let refusal = if server.in_flight_max.is_some_and(|most| server.in_flight >= most) { Some(Refusal::Full) }
                            else if tried.contains(&server.index) { Some(Refusal::Tried) } else { None };
                        refusal.map(|refusal| expected.entry(server.index).or_insert(refusal));
                    }
                    let before = balancer.clone();
                    let why = balancer.explain(&request, now, &draws);
                    prop_assert!(balancer == before);
                    let excluded: BTreeMap<u32, Refusal> = why.excluded.iter().map(|out| (out.index, out.refusal)).collect();
                    prop_assert_eq!(&excluded, &expected);
                    let left: BTreeSet<u32> = why.scores.iter().map(|scored| scored.index).collect();
                    let rest: BTreeSet<u32> = specs.iter().map(|spec| spec.index).filter(|index| !expected.contains_key(index)).collect();
                    prop_assert_eq!(&left, &rest);
                    let choice = balancer.choose(&request, now, &mut draws);
                    let full = expected.values().any(|refusal| *refusal == Refusal::Full);
                    match choice {
                        Choice::Server(ticket) => {
                            prop_assert_eq!(why.pick, Some((ticket.index, ticket.why)));
                            prop_assert!(left.contains(&ticket.index));
                            held.push(ticket);
                        }
                        Choice::Full => prop_assert!(full && left.is_empty() && why.pick.is_none()),
                        Choice::Nobody => prop_assert!(left.is_empty() && why.pick.is_none()),
                    }
                }
                Act::Answer(which) => if let Some(at) = which.checked_rem(held.len()) {
                    balancer.first_byte(&mut held[at], now);
                },
                Act::End(which, outcome) => {
                    if let Some(at) = which.checked_rem(held.len()) {
                        balancer.ended(held.swap_remove(at), outcome, now);
                    }
                    // What a server of a former life had ends, and counts for nobody.
                    lost.drain(..).for_each(|ticket| balancer.ended(ticket, outcome, now));
                }
                Act::Update(others) => {
                    specs = others;
                    balancer.update(specs.clone(), now);
                    let (stay, go) = held.into_iter().partition(|ticket| specs.iter().any(|spec| spec.index == ticket.index));
                    held = stay;
                    lost.extend::<Vec<Ticket>>(go);
                }
                Act::Tick => balancer.tick(now),
            }
            for server in balancer.servers() {
                let count = held.iter().filter(|ticket| ticket.index == server.index).count();
                prop_assert_eq!(server.in_flight as usize, count, "server {}", server.index);
            }
        }
    }
}

/// Requests given to each of `servers` servers.
fn counts(balancer: &mut Balancer, servers: usize, requests: u32, now: Duration) -> Vec<u32> {
    let mut draws = Draws::seeded(1);
    let mut counts = vec![0; servers + 1];
    for _ in 0..requests {
        let ticket = chosen(balancer.choose(&Request::default(), now, &mut draws));
        counts[ticket.index as usize] += 1;
        balancer.ended(ticket, Outcome::Answered, now);
    }
    counts.split_off(1)
}

/// A node twice as fast gets twice, to the request.
#[test]
fn capability_gives_twice_to_the_one_twice_as_fast() {
    let mut specs = up(3);
    specs[1].capability = 200;
    assert_eq!(counts(&mut balancer(Preset::Capability, calm(), specs.clone()), 3, 400, ms(0)), [100, 200, 100]);
    specs[0].weight = 3;
    assert_eq!(counts(&mut balancer(Preset::Capability, calm(), specs.clone()), 3, 600, ms(0)), [300, 200, 100]);
    assert_eq!(counts(&mut balancer(Preset::RoundRobin, calm(), specs), 3, 500, ms(0)), [300, 100, 100]);
}

/// One that comes up gets a tenth of its share, then more, then all; the first ones all of theirs at once.
#[test]
fn who_comes_up_starts_slowly() {
    let guards = || Guards { slow_start: Some(SlowStart::linear(ms(10_000))), ..calm() };
    let mut balancer = balancer(Preset::RoundRobin, guards(), up(3));
    assert_eq!(counts(&mut balancer, 3, 300, ms(0)), [100, 100, 100]);
    let mut specs = up(3);
    specs[2].state = Down;
    balancer.update(specs, ms(1000));
    balancer.update(up(4), ms(20_000));
    let mut before = 0;
    for (later, share) in [(0, 0.1), (2_500, 0.25), (5_000, 0.5), (9_000, 0.9), (10_000, 1.0)] {
        balancer.tick(ms(20_000 + later));
        let counts = counts(&mut balancer, 4, 4000, ms(20_000 + later));
        let whole = f64::from(counts[0]);
        for slow in [counts[2], counts[3]] {
            assert!((f64::from(slow) - whole * share).abs() <= 3.0, "{later}: {counts:?}");
            assert!(slow >= before);
        }
        before = counts[2];
    }
}

/// Five failures eject; its time over, it is back. When more than half look ill, nobody is left out for that.
#[test]
fn failures_eject_and_panic_forgives() {
    let settings = outlier::Settings { percent_max: 100, ..outlier::Settings::default() };
    let mut balancer = balancer(Preset::Way(Way::Rotation), Guards { outlier: settings, ..Guards::default() }, up(4));
    let mut draws = Draws::seeded(1);
    let fail = |balancer: &mut Balancer, draws: &mut Draws, bad: &[u32], requests: u32| {
        for _ in 0..requests {
            let ticket = chosen(balancer.choose(&Request::default(), ms(5), draws));
            let outcome = if bad.contains(&ticket.index) { Outcome::Failed } else { Outcome::Answered };
            balancer.ended(ticket, outcome, ms(5));
        }
    };
    fail(&mut balancer, &mut draws, &[2], 40);
    let why = balancer.explain(&Request::default(), ms(6), &draws);
    assert_eq!(why.excluded.iter().map(|out| (out.index, out.refusal)).collect::<Vec<_>>(), [(2, Refusal::Ejected)]);
    fail(&mut balancer, &mut draws, &[3], 40);
    assert_eq!(balancer.explain(&Request::default(), ms(6), &draws).scores.len(), 2, "half are well");
    fail(&mut balancer, &mut draws, &[4], 40);
    let why = balancer.explain(&Request::default(), ms(6), &draws);
    assert!(why.panics && why.excluded.is_empty(), "{why}");
    balancer.tick(ms(31_000));
    let why = balancer.explain(&Request::default(), ms(31_000), &draws);
    assert!(!why.panics && why.scores.len() == 4, "{why}");
}

/// A server that refuses everything at once is not the fastest, even where nobody is ever ejected; nor is one whose clients
/// go away before it answers.
#[test]
fn who_fails_fast_is_no_black_hole() {
    for (outcome, took) in [(Outcome::Failed, 0), (Outcome::Abandoned, 500)] {
        let mut balancer = balancer(Preset::Capacity, calm(), up(4));
        let (mut draws, mut bad) = (Draws::seeded(1), 0);
        for request in 0..1000 {
            let now = ms(request * 10);
            let mut ticket = chosen(balancer.choose(&Request::default(), now, &mut draws));
            if ticket.index == 2 {
                bad += 1;
                balancer.ended(ticket, outcome, now + ms(took));
            } else {
                balancer.first_byte(&mut ticket, now + ms(20));
                balancer.ended(ticket, Outcome::Answered, now + ms(20));
            }
        }
        assert!(bad < 40, "{bad} of 1000 requests went to it ({outcome:?})");
    }
}

/// A session stays until its server may not have requests; whoever has it then keeps it.
#[test]
fn sessions_stick() {
    let guards = Guards { sticky: Some(Sticky::new(100, ms(1000))), ..calm() };
    let mut balancer = balancer(Preset::RoundRobin, guards, up(3));
    let mut draws = Draws::seeded(1);
    let mut ask = |balancer: &mut Balancer, now| {
        let ticket = chosen(balancer.choose(&Request { session: Some(7), ..Request::default() }, now, &mut draws));
        let answer = (ticket.index, ticket.why == Why::Sticky);
        balancer.ended(ticket, Outcome::Answered, now);
        answer
    };
    assert_eq!(ask(&mut balancer, ms(0)), (1, false));
    assert_eq!(ask(&mut balancer, ms(900)), (1, true));
    assert_eq!(ask(&mut balancer, ms(1800)), (1, true), "use begins the time anew");
    let mut specs = up(3);
    specs[0].state = Draining;
    balancer.update(specs, ms(1801));
    let (moved, stuck) = ask(&mut balancer, ms(1802));
    assert!(moved != 1 && !stuck);
    balancer.update(up(3), ms(1803));
    assert_eq!(ask(&mut balancer, ms(1804)), (moved, true), "it does not go back");
    assert!(!ask(&mut balancer, ms(2804)).1, "and is forgotten");
}

#[test]
fn a_client_that_says_where_it_was_goes_there_while_it_may() {
    let mut balancer = balancer(Preset::RoundRobin, calm(), up(3));
    let mut draws = Draws::seeded(1);
    let mut ask = |balancer: &mut Balancer, home, tried: &[u32]| {
        let ticket = chosen(balancer.choose(&Request { home: Some(home), tried, ..Request::default() }, ms(0), &mut draws));
        let answer = (ticket.index, ticket.why == Why::Sticky);
        balancer.ended(ticket, Outcome::Answered, ms(0));
        answer
    };
    assert!((0..5).all(|_| ask(&mut balancer, 2, &[]) == (2, true)));
    assert!(!ask(&mut balancer, 9, &[]).1, "there is no such server");
    assert_ne!(ask(&mut balancer, 2, &[2]).0, 2, "it was tried");
    let mut specs = up(3);
    specs[1].state = Draining;
    balancer.update(specs, ms(1));
    assert_ne!(ask(&mut balancer, 2, &[]).0, 2, "it drains");
}

/// Rules lead to lanes with their own part of the servers, preset and weights.
#[test]
fn rules_choose_subset_preset_and_weights() {
    let canary = LaneSpec { only: Some([3].into()), ..LaneSpec::all(Preset::Way(Way::First)) };
    let split = LaneSpec { weights: [(1, 9), (2, 1), (3, 0)].into(), ..LaneSpec::all(Preset::RoundRobin) };
    let mut balancer = Balancer::new("www", vec![LaneSpec::all(Preset::RoundRobin), canary, split], calm()).unwrap();
    balancer.update(up(3), ms(0));
    let mut draws = Draws::seeded(1);
    let mut counts = |lane| {
        let mut counts = [0; 3];
        for _ in 0..30 {
            let ticket = chosen(balancer.choose(&Request { lane, ..Request::default() }, ms(0), &mut draws));
            counts[ticket.index as usize - 1] += 1;
            balancer.ended(ticket, Outcome::Answered, ms(0));
        }
        counts
    };
    assert_eq!([counts(0), counts(1), counts(2)], [[10, 10, 10], [0, 0, 30], [27, 3, 0]]);
    assert_eq!(balancer.choose(&Request { lane: 3, ..Request::default() }, ms(0), &mut draws), Choice::Nobody);
}

/// The second tier only while nobody of the first can; full is not the same as down.
#[test]
fn tiers_and_caps() {
    let mut specs = up(3);
    specs[2].tier = 1;
    specs[0].in_flight_max = Some(1);
    specs[1].in_flight_max = Some(1);
    let mut balancer = balancer(Preset::RoundRobin, calm(), specs.clone());
    let mut draws = Draws::seeded(1);
    let first = chosen(balancer.choose(&Request::default(), ms(0), &mut draws));
    let second = chosen(balancer.choose(&Request::default(), ms(0), &mut draws));
    assert_eq!((first.index, second.index), (1, 2));
    assert_eq!(balancer.choose(&Request::default(), ms(0), &mut draws), Choice::Full, "it waits for the first tier");
    balancer.ended(first, Outcome::Abandoned, ms(0));
    let again = chosen(balancer.choose(&Request::default(), ms(0), &mut draws));
    assert_eq!(again.index, 1);
    specs[0].state = Down;
    specs[1].state = Draining;
    balancer.update(specs, ms(1));
    assert_eq!(chosen(balancer.choose(&Request::default(), ms(1), &mut draws)).index, 3);
}

/// What was begun at a server that left counts for nobody, also when one of its number comes again.
#[test]
fn a_former_life_does_not_count() {
    let mut balancer = balancer(Preset::RoundRobin, calm(), up(1));
    let mut draws = Draws::seeded(1);
    let old = chosen(balancer.choose(&Request::default(), ms(0), &mut draws));
    balancer.update(Vec::new(), ms(1));
    balancer.update(up(1), ms(2));
    let new = chosen(balancer.choose(&Request::default(), ms(2), &mut draws));
    balancer.ended(old, Outcome::Failed, ms(3));
    assert_eq!(balancer.servers()[0].in_flight, 1);
    balancer.ended(new, Outcome::Answered, ms(3));
    assert_eq!(balancer.servers()[0].in_flight, 0);
}

/// All of IPVS under the balancer too, with weights that slow start leaves alone.
#[test]
fn ipvs_has_the_weights_as_they_are() {
    let guards = || Guards { slow_start: Some(SlowStart::linear(ms(10_000))), ..calm() };
    for name in Name::ALL {
        let mut balancer = balancer(Preset::Ipvs(name, Fallback::HashOn), guards(), up(2));
        balancer.update(up(3), ms(1));
        let mut draws = Draws::seeded(3);
        let mut got = BTreeSet::new();
        for _ in 0..60 {
            if let Choice::Server(ticket) = balancer.choose(&Request::default(), ms(2), &mut draws) {
                got.insert(ticket.index);
            }
        }
        balancer.tick(ms(70_000));
        let all = match name {
            Name::Fo => 1,
            Name::Rr | Name::Wrr | Name::Lc | Name::Wlc | Name::Lblc | Name::Lblcr | Name::Dh | Name::Sh | Name::Sed | Name::Nq => 3,
            Name::Ovf | Name::Mh | Name::Twos => 3,
        };
        assert_eq!(got.len(), all, "{name}: {got:?}");
    }
}

#[test]
fn an_explanation_reads_like_one() {
    let mut specs = up(4);
    specs[0].state = Draining;
    specs[1].in_flight_max = Some(0);
    let balancer = balancer(Preset::Way(Way::WeightedLeastConnections), calm(), specs);
    let text = balancer.explain(&Request::default(), ms(0), &Draws::seeded(1)).to_string();
    let expected = [
        "lane 0",
        "Eligible: server 1 is out: Draining",
        "Guard: server 2 is out: Full",
        "Score: server 3: weight 1, 0 in flight, 0 us, 0/1",
        "Score: server 4: weight 1, 0 in flight, 0 us, 0/1",
        "Pick: server 3: Least { load: 0, weight: 1 }",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}
