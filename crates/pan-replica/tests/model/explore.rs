//! Going through states: all of them depth first, or long ways at random.

use super::world::{Budget, Step, World};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn hash(world: &World) -> u64 {
    // The same in every run: its keys are fixed.
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Visits up to so many states. How many there were, and what is wrong with the way to it, if something is.
pub fn explore(budget: &Budget, most: usize) -> (usize, Option<String>) {
    let first = World::new(budget);
    let mut seen = BTreeSet::from([hash(&first)]);
    // A state, the steps still to be tried from it, and the one that led to it.
    let mut stack: Vec<(World, Vec<Step>)> = vec![(first.clone(), first.steps(budget))];
    let mut way: Vec<Step> = Vec::new();
    while let Some((world, steps)) = stack.last_mut() {
        let Some(step) = steps.pop() else {
            stack.pop();
            way.pop();
            continue;
        };
        let mut next = world.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| next.step(budget, &step)));
        let outcome = outcome.unwrap_or_else(|_| Err("a panic".into()));
        if let Err(found) = outcome {
            way.push(step);
            let told: Vec<String> = way.iter().map(|step| format!("{step:?}")).collect();
            return (seen.len(), Some(format!("{}\n{found}", told.join("\n"))));
        }
        if seen.insert(hash(&next)) {
            if seen.len() >= most {
                return (seen.len(), None);
            }
            let steps = next.steps(budget);
            stack.push((next, steps));
            way.push(step);
        }
    }
    (seen.len(), None)
}

/// Numbers from a seed (splitmix64; Steele, Lea, Flood, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }
}

/// Goes on for so many steps, then lets everything heal.
pub fn walk(budget: &Budget, seed: u64, length: usize) -> Result<(), String> {
    let (mut world, mut dice) = (World::new(budget), Dice(seed));
    let mut way = Vec::new();
    let told =
        |way: &[Step], found: String| format!("{}\n{found}", way.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>().join("\n"));
    for _ in 0..length {
        let steps = world.steps(budget);
        if steps.is_empty() {
            break;
        }
        // What brings trouble is rarer than what goes on.
        let trouble = |step: &Step| {
            matches!(
                step,
                Step::Claim
                    | Step::Break(..)
                    | Step::PowerLoss(..)
                    | Step::NewDisk(_)
                    | Step::RollBack(..)
                    | Step::LoseAnswer(_)
                    | Step::Tick(_)
            )
        };
        let calm: Vec<&Step> = steps.iter().filter(|step| !trouble(step)).collect();
        let step = match dice.below(20) {
            0 => steps[dice.below(steps.len())].clone(),
            _ if calm.is_empty() => steps[dice.below(steps.len())].clone(),
            _ => calm[dice.below(calm.len())].clone(),
        };
        way.push(step.clone());
        if std::env::var_os("MODEL_TRACE").is_some() {
            eprintln!("{}{step:?}", world.brief());
        }
        world.step(budget, &step).map_err(|found| told(&way, found))?;
    }
    world.heal(budget).map_err(|found| told(&way, format!("healed: {found}")))
}
