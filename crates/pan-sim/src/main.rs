//! Runs the simulator: `--seed N` one run with its whole log, `--seeds N [--first S]` many on all processors, `--mutant
//! NAME` with one rule left out.
#![allow(clippy::disallowed_methods, reason = "what is pure is a run, not who asks for it")]

use pan_sim::{Coverage, Mutant, Outcome, Sim};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

const USAGE: &str = "\
usage: pan-sim --seed N [--mutant NAME]              one run, with its log
       pan-sim --seeds N --first S [--mutant NAME]   the runs S, S+1, ..., on all processors";

struct Arguments {
    seed: Option<u64>,
    seeds: u64,
    first: u64,
    mutant: Option<Mutant>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: None, seeds: 0, first: 0, mutant: None };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word}: expected a value behind it"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: expected a number"));
        match word.as_str() {
            "--seed" => arguments.seed = Some(number()?),
            "--seeds" => arguments.seeds = number()?,
            "--first" => arguments.first = number()?,
            "--mutant" => arguments.mutant = Some(value.parse().map_err(|unknown: pan_sim::UnknownMutant| unknown.to_string())?),
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    if arguments.seed.is_none() && arguments.seeds == 0 { Err("expected --seed or --seeds".into()) } else { Ok(arguments) }
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let fine = match arguments.seed {
        Some(seed) => one(seed, arguments.mutant),
        None => many(&arguments),
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, mutant: Option<Mutant>) -> bool {
    let outcome = Sim::new(seed, mutant, Some(String::new())).run();
    print!("{}", outcome.log);
    let mut coverage = Coverage::default();
    coverage.add(&outcome.tally);
    println!("{coverage}");
    if let Some(problem) = outcome.problem() {
        println!("seed {seed}: {problem}");
        return false;
    }
    true
}

/// Stops soon after the first run with a problem.
fn many(arguments: &Arguments) -> bool {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut coverage = Coverage::default();
    let mut failed: Option<Outcome> = None;
    println!("seeds {} to {}", arguments.first, arguments.first.wrapping_add(arguments.seeds - 1));
    std::thread::scope(|scope| {
        // A finished run waits for the counter only as long as that takes to count.
        let (finished, outcomes) = mpsc::sync_channel::<Outcome>(64);
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let (finished, next, stop) = (finished.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed = arguments.first.wrapping_add(number);
                    if number >= arguments.seeds || finished.send(Sim::new(seed, arguments.mutant, None).run()).is_err() {
                        return;
                    }
                }
            });
        }
        drop(finished);
        for outcome in outcomes {
            coverage.add(&outcome.tally);
            if coverage.runs.is_multiple_of(500) {
                println!("{} runs", coverage.runs);
            }
            if let Some(problem) = outcome.problem() {
                println!("seed {}: {problem}", outcome.seed);
                stop.store(true, Ordering::Relaxed);
                if failed.as_ref().is_none_or(|known| outcome.seed < known.seed) {
                    failed = Some(outcome);
                }
            }
        }
    });
    println!("{coverage}");
    match failed {
        None => match coverage.gap().filter(|_| arguments.mutant.is_none()) {
            None => {
                println!("held: {} runs", coverage.runs);
                true
            }
            Some(gap) => {
                println!("too quiet to show anything: {gap}");
                false
            }
        },
        Some(outcome) => {
            let mutant = arguments.mutant.map(|mutant| format!(" --mutant {}", mutant.name())).unwrap_or_default();
            println!("replay it: cargo xtask sim --seed {}{mutant}", outcome.seed);
            false
        }
    }
}
