//! The chain against a model that sorts and cuts, on a million inputs.

use crate::scene::Scene;
use pan_balance::pick::Shape;
use pan_balance::tandem::{Criterion, Keep, Step, Tandem};
use pan_balance::view::{Server, Why};
use pan_balance::{Draws, stable_hash};
use std::cmp::Ordering;

const CRITERIA: [Criterion; 4] = [Criterion::RoundRobin, Criterion::Capability, Criterion::Capacity, Criterion::Specifics];

/// A cost as a fraction.
type Fraction = (u128, u128);

fn compare(one: Fraction, other: Fraction) -> Ordering {
    (one.0 * other.1).cmp(&(other.0 * one.1))
}

/// Keeps a list of servers and cuts it at each step.
struct Model {
    chain: Vec<Step>,
    last: u32,
}

impl Model {
    fn cost(&self, scene: &Scene, distances: &[u128], by: Criterion, at: usize) -> Fraction {
        let server = &scene.servers[at];
        match by {
            // Numbers after the last come first, both groups in order.
            Criterion::RoundRobin if server.index > self.last => (u128::from(server.index), 1),
            Criterion::RoundRobin => (1_000_000 + u128::from(server.index), 1),
            Criterion::Capability => (1, u128::from(server.capability.max(1))),
            Criterion::Capacity => (u128::from(server.in_flight), scene.weight(at)),
            Criterion::Specifics => (distances[at], scene.weight(at)),
        }
    }

    fn pick(&mut self, scene: &Scene, distances: &[u128]) -> Option<(usize, u32)> {
        let mut left = scene.open();
        let mut steps = 0;
        for step in &self.chain {
            if left.len() < 2 {
                break;
            }
            steps += 1;
            let cost = |at: usize| self.cost(scene, distances, step.by, at);
            left.sort_by(|one, other| compare(cost(*one), cost(*other)).then(one.cmp(other)));
            let best = cost(left[0]);
            let many = match step.keep {
                Keep::Best => left.iter().filter(|at| compare(cost(**at), best) == Ordering::Equal).count(),
                Keep::Within(more) => {
                    let most = (best.0 * (1000 + u128::from(more)), best.1 * 1000);
                    left.iter().filter(|at| compare(cost(**at), most) != Ordering::Greater).count()
                }
                Keep::Top(many) => many.max(1) as usize,
            };
            left.truncate(many);
        }
        let at = left.into_iter().min()?;
        self.last = scene.index(at);
        Some((at, steps.max(1) - 1))
    }
}

fn random_step(draws: &mut Draws) -> Step {
    let keep = match draws.below(3) {
        0 => Keep::Best,
        1 => Keep::Within(draws.below(1500) as u32),
        _ => Keep::Top(draws.below(4) as u32),
    };
    // Within an order of turns there is nothing to be near to.
    match CRITERIA[draws.below(4) as usize] {
        Criterion::RoundRobin => Step { by: Criterion::RoundRobin, keep: if let Keep::Within(_) = keep { Keep::Best } else { keep } },
        by => Step { by, keep },
    }
}

fn random_scene(draws: &mut Draws) -> Scene {
    let many = 1 + draws.below(6) as usize;
    let mut index = 0;
    let mut weights = Vec::with_capacity(many);
    let mut servers = Vec::with_capacity(many);
    for _ in 0..many {
        index += 1 + draws.below(9) as u32;
        weights.push(draws.below(4) as u32);
        servers.push(Server {
            index,
            in_flight: draws.below(5) as u32,
            in_flight_max: (draws.below(4) == 0).then(|| draws.below(5) as u32),
            capability: draws.below(4) as u32 * 50,
            ..Server::default()
        });
    }
    let key = (draws.below(2) == 0).then(|| draws.draw());
    Scene { roster: pan_balance::view::Roster::of(&weights, &servers), servers, key, ..Scene::of(&[]) }
}

/// -log2(hash), the number that the chain compares, taken from the rendezvous picker's public way: its seeds and hash
/// written out, the logarithm by repeated squaring.
fn distances(scene: &Scene) -> Vec<u128> {
    let one = |server: &Server| {
        let Some(key) = scene.key else { return 0 };
        let mut mixed = key ^ stable_hash(&[b"www", b"rendezvous", &server.index.to_be_bytes()]);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed = (mixed ^ (mixed >> 31)) | 1;
        // In 2^-32, as exact as a double is.
        ((64.0 - (mixed as f64).log2()) * 4_294_967_296.0) as u128
    };
    scene.servers.iter().map(one).collect()
}

/// Picks of each chain go on over some inputs, so that turns have a history. The model's logarithms are doubles; they
/// differ from the chain's in the eighth digit, which decides in none of these.
#[test]
fn equals_its_model_on_a_million_inputs() {
    let mut draws = Draws::seeded(2026);
    let (mut inputs, mut picks) = (0_u32, 0_u32);
    while inputs < 1_000_000 {
        let chain: Vec<Step> = (0..=draws.below(4)).map(|_| random_step(&mut draws)).collect();
        let mut tandem = Tandem::new(chain.clone()).unwrap();
        let scene = random_scene(&mut draws);
        tandem.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
        let mut model = Model { chain, last: 0 };
        let mut scene = scene;
        for _ in 0..4 {
            inputs += 1;
            scene.servers.iter_mut().for_each(|server| server.in_flight = draws.below(5) as u32);
            scene.key = (draws.below(2) == 0).then(|| draws.draw());
            let expected = model.pick(&scene, &distances(&scene));
            let picked = scene.see(|view| tandem.pick(view));
            let picked = picked.map(|pick| match pick.why {
                Why::Step(step) => (pick.at, step),
                why => panic!("{why:?}"),
            });
            assert_eq!(picked, expected, "{:?} {scene:?}", model.chain);
            picks += u32::from(picked.is_some());
        }
    }
    assert!(picks > 800_000, "{picks} picks");
}

#[test]
fn chains_have_one_to_eight_steps() {
    let step = Step { by: Criterion::Capacity, keep: Keep::Best };
    assert!(Tandem::new(vec![step; 8]).is_ok());
    assert_eq!(Tandem::new(vec![step; 9]).unwrap_err().to_string(), "a chain of 9 steps: expected 1 to 8");
    assert_eq!(Tandem::new(Vec::new()).unwrap_err().to_string(), "a chain of 0 steps: expected 1 to 8");
}

/// The two best suited, of these the less busy, of these whose turn it is.
#[test]
fn a_chain_as_people_write_it() {
    let steps = [(Criterion::Specifics, Keep::Top(2)), (Criterion::Capacity, Keep::Best), (Criterion::RoundRobin, Keep::Best)];
    let mut tandem = Tandem::new(steps.map(|(by, keep)| Step { by, keep }).to_vec()).unwrap();
    let mut scene = Scene { key: Some(77), ..Scene::of(&[1; 6]) };
    tandem.rebuild(&Shape { service: "www", servers: &scene.servers, roster: &scene.roster });
    let mut counts = [0_u32; 6];
    for _ in 0..10 {
        let at = scene.see(|view| tandem.pick(view)).unwrap().at;
        counts[at] += 1;
        scene.give(at);
    }
    let mut sorted = counts;
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 0, 0, 0, 5, 5]);
}
