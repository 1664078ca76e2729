//! I3: no server is ever answered for by two instances.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::observation::Observation;
use super::shorten;

/// All that is known of one instance of a server.
struct Life<'a> {
    /// The answer of it that was there first.
    first: &'a Observation,
    /// The answer of it that was asked for last.
    last: &'a Observation,
    answers: Vec<&'a Observation>,
}

/// Finds servers that were answered for by two instances at a time.
///
/// An instance was there at some moment between the sending of a request and its answer. So if one answered before another
/// one was even asked, and once more a request that was sent after the other one's answer had come, then it was there all
/// along: both before, during and after the other. Requests that overlap prove nothing and are passed over. Who is
/// old and who is new need not be known; that requests come by different ways does not matter.
#[must_use]
pub fn instances(observations: &[Observation]) -> Vec<String> {
    let mut servers: BTreeMap<&str, BTreeMap<&str, Life<'_>>> = BTreeMap::new();
    for one in observations {
        let Some(answer) = &one.answer else { continue };
        let lives = servers.entry(&answer.server).or_default();
        let life = lives.entry(&answer.instance).or_insert_with(|| Life { first: one, last: one, answers: Vec::new() });
        life.answers.push(one);
        if one.received_us < life.first.received_us {
            life.first = one;
        }
        if one.sent_us > life.last.sent_us {
            life.last = one;
        }
    }
    let mut said = Vec::new();
    for (server, lives) in &servers {
        for (instance, life) in lives {
            let within = |other: &&&Observation| other.sent_us >= life.first.received_us && other.received_us <= life.last.sent_us;
            for (other, there) in lives.iter().filter(|(other, _)| *other != instance) {
                let mut between = there.answers.iter().filter(within);
                if let Some(proof) = between.next() {
                    said.push(sentence(server, instance, life, other, proof, between.count()));
                }
            }
        }
    }
    shorten(said)
}

fn sentence(server: &str, instance: &str, life: &Life<'_>, other: &str, proof: &Observation, more: usize) -> String {
    let told = |one: &Observation| {
        format!(
            "{} of {} by {}, sent {:.3} ms, answered {:.3} ms",
            one.target,
            server,
            one.observer,
            millis(one.sent_us),
            millis(one.received_us)
        )
    };
    format!(
        "I3: server {server} was answered for by two instances: {instance} ({}); then {other} ({}) and {more} more times; then {instance} again ({})",
        told(life.first),
        told(proof),
        told(life.last)
    )
}

fn millis(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::observation::Answer;

    /// `(observer, sent, received, answer)`.
    fn check(log: &[(&str, u64, u64, &str)], wanted: usize) {
        let log: Vec<Observation> = log
            .iter()
            .map(|(observer, sent_us, received_us, answer)| Observation {
                observer: (*observer).to_owned(),
                target: "www".to_owned(),
                sent_us: *sent_us,
                received_us: *received_us,
                answer: Answer::parse(answer),
            })
            .collect();
        let mut backwards = log.clone();
        backwards.reverse();
        for log in [log, backwards] {
            let said = instances(&log);
            assert_eq!(said.len(), wanted, "{said:#?} of {log:#?}");
        }
    }

    #[test]
    fn one_after_the_other_is_as_it_should_be() {
        check(&[], 0);
        check(&[("out", 10, 20, "web-1 a"), ("out", 30, 40, "web-1 a"), ("out", 50, 60, "web-1 b")], 0);
        check(&[("out", 10, 20, "web-1 a"), ("out", 30, 40, "web-2 b"), ("out", 50, 60, "web-1 a")], 0);
        check(&[("out", 10, 20, "web-1 a"), ("out", 30, 40, ""), ("out", 50, 60, "web-1 c"), ("eye", 70, 80, "web-1 d")], 0);
    }

    #[test]
    fn requests_that_overlap_prove_nothing() {
        // The old one may have answered before the new one did, and its answer was slow.
        check(&[("out", 10, 20, "web-1 a"), ("out", 30, 40, "web-1 b"), ("eye", 39, 90, "web-1 a")], 0);
        // The new one may have answered after the old one's last.
        check(&[("out", 10, 20, "web-1 a"), ("out", 15, 60, "web-1 b"), ("eye", 30, 40, "web-1 a")], 0);
        check(&[("out", 10, 20, "web-1 a"), ("out", 25, 45, "web-1 b"), ("eye", 30, 40, "web-1 a")], 0);
        // A single late answer of somebody never seen before: who was first is not known.
        check(&[("out", 10, 20, "web-1 b"), ("out", 30, 40, "web-1 a")], 0);
    }

    #[test]
    fn an_old_instance_that_is_heard_after_the_new_one_is_found() {
        let log = [("out", 10, 20, "web-1 a"), ("out", 30, 40, "web-1 b"), ("out", 40, 50, "web-1 a")];
        check(&log, 1);
        // By another way, with the new one answering on.
        check(&[("out", 10, 20, "web-1 a"), ("out", 20, 30, "web-1 b"), ("eye-1", 31, 35, "web-1 a"), ("out", 50, 60, "web-1 b")], 2);
        // Long after.
        check(&[("eye-1", 10, 20, "web-1 a"), ("out", 30, 40, "web-1 b"), ("out", 50, 60, "web-1 b"), ("eye-2", 900, 910, "web-1 a")], 1);
        // Of three.
        check(&[("out", 1, 2, "solo-1 a"), ("out", 3, 4, "solo-1 b"), ("out", 5, 6, "solo-1 c"), ("out", 7, 8, "solo-1 b")], 1);
    }

    #[test]
    fn much_of_the_same_is_said_once() {
        let mut log = vec![("out", 0, 1, "web-1 a")];
        log.extend((1..100).map(|at| ("out", 10 * at, 10 * at + 1, if at % 2 == 0 { "web-1 a" } else { "web-1 b" })));
        check(&log, 2);
    }
}
