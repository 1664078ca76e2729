//! I3: no server is ever answered for by two instances, and nobody answers for another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::observation::{Answer, Asked, Observation};
use super::shorten;

/// All that is known of one instance of a server.
struct Life<'a> {
    /// The answer of it that was there first.
    first: &'a Observation,
    /// The answer of it that was asked for last.
    last: &'a Observation,
    answers: Vec<&'a Observation>,
}

/// What is wrong with who answered: an address answered by somebody else's server, an instance that goes by the names of two servers,
/// and servers that were answered for by two instances at a time.
#[must_use]
pub fn instances(observations: &[Observation]) -> Vec<String> {
    let answered: Vec<(&Observation, &Answer)> = observations.iter().filter_map(|one| Some((one, one.answer.as_ref()?))).collect();
    [strangers(&answered), names(&answered), overlaps(&answered)].into_iter().flat_map(shorten).collect()
}

/// Addresses that were answered by a server that is not theirs. No time excuses that: an address is one server's, or one cluster's, for as
/// long as it is watched, so neither a server that was elsewhere before nor a request that was long under way comes from another one.
fn strangers(answered: &[(&Observation, &Answer)]) -> Vec<String> {
    let mut seen: BTreeMap<(&Asked, &Answer), (&Observation, usize)> = BTreeMap::new();
    for &(one, answer) in answered.iter().filter(|(one, answer)| !one.target.leads_to(&answer.server)) {
        let (first, count) = seen.entry((&one.target, answer)).or_insert((one, 0));
        *count += 1;
        if one.received_us < first.received_us {
            *first = one;
        }
    }
    let mut all: Vec<_> = seen.into_iter().collect();
    all.sort_by_key(|(_, (first, _))| first.received_us);
    let sentence = |((asked, answer), (first, count)): ((&Asked, &Answer), (&Observation, usize))| {
        format!("I3: {asked} was answered by server {} ({}), {count} times, first asked by {}", answer.server, answer.instance, when(first))
    };
    all.into_iter().map(sentence).collect()
}

/// Instances that went by the names of several servers: each start has one of its own, so one of the names is false.
fn names(answered: &[(&Observation, &Answer)]) -> Vec<String> {
    let mut servers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, answer) in answered {
        servers.entry(&answer.instance).or_default().insert(&answer.server);
    }
    let several = servers.into_iter().filter(|(_, servers)| servers.len() > 1);
    let joined = |servers: BTreeSet<&str>| servers.into_iter().collect::<Vec<_>>().join(" and ");
    several.map(|(instance, servers)| format!("I3: instance {instance} answered as servers {}", joined(servers))).collect()
}

/// Servers that were answered for by two instances at a time.
///
/// An instance was there at some moment between the sending of a request and its answer. So if one answered before another
/// one was even asked, and once more a request that was sent after the other one's answer had come, then it was there all
/// along: both before, during and after the other. Requests that overlap prove nothing and are passed over. Who is
/// old and who is new need not be known; that requests come by different ways, to its own address or to a service, does not matter.
fn overlaps(answered: &[(&Observation, &Answer)]) -> Vec<String> {
    let mut servers: BTreeMap<&str, BTreeMap<&str, Life<'_>>> = BTreeMap::new();
    for &(one, answer) in answered {
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
    said
}

fn sentence(server: &str, instance: &str, life: &Life<'_>, other: &str, proof: &Observation, more: usize) -> String {
    let told = |one: &Observation| format!("{} by {}", one.target, when(one));
    let (first, between, last) = (told(life.first), told(proof), told(life.last));
    format!(
        "I3: server {server} was answered for by two instances: {instance} ({first}); then {other} ({between}) and {more} more times; \
         then {instance} again ({last})"
    )
}

fn when(one: &Observation) -> String {
    format!("{}, sent {:.3} ms, answered {:.3} ms", one.observer, millis(one.sent_us), millis(one.received_us))
}

fn millis(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The services are called `www`, of the cluster `web`, and `one`, of `solo`; all else is a server's own address.
    fn asked(name: &str) -> Asked {
        let cluster = match name {
            "www" => "web",
            "one" => "solo",
            server => return Asked::Server(server.to_owned()),
        };
        Asked::Service { name: name.to_owned(), cluster: cluster.to_owned() }
    }

    /// `(observer, target, sent, received, answer)`; whatever is found must begin with these words.
    fn check_at(log: &[(&str, &str, u64, u64, &str)], wanted: &[&str]) {
        let log: Vec<Observation> = log
            .iter()
            .map(|(observer, target, sent_us, received_us, answer)| Observation {
                observer: (*observer).to_owned(),
                target: asked(target),
                sent_us: *sent_us,
                received_us: *received_us,
                answer: Answer::parse(answer),
            })
            .collect();
        let mut backwards = log.clone();
        backwards.reverse();
        for log in [log, backwards] {
            let said = instances(&log);
            let as_wanted = said.len() == wanted.len() && said.iter().zip(wanted).all(|(said, wanted)| said.starts_with(wanted));
            assert!(as_wanted, "{said:#?} and not {wanted:#?} of {log:#?}");
        }
    }

    /// The same where all ask for the service of whoever answers: `(observer, sent, received, answer)`.
    fn check(log: &[(&str, u64, u64, &str)], wanted: usize) {
        let service = |answer: &str| if answer.starts_with("solo") { "one" } else { "www" };
        let log: Vec<_> =
            log.iter().map(|(observer, sent, received, answer)| (*observer, service(answer), *sent, *received, *answer)).collect();
        check_at(&log, &vec!["I3: server "; wanted]);
    }

    #[test]
    fn an_address_answered_by_another_server_is_found() {
        // Once is enough, be it between good answers or the only one.
        let other = "I3: the address of server web-1 was answered by server web-2 (b), 1 times, first asked by eye-1, sent 0.030 ms";
        check_at(
            &[("eye-1", "web-1", 10, 20, "web-1 a"), ("eye-1", "web-1", 30, 40, "web-2 b"), ("eye-1", "web-1", 50, 60, "web-1 a")],
            &[other],
        );
        check_at(&[("eye-1", "web-1", 30, 40, "web-2 b"), ("eye-1", "web-2", 30, 40, "web-2 b")], &[other]);
        // Of another cluster, and behind a service.
        check_at(&[("eye-1", "solo-1", 1, 2, "web-1 a")], &["I3: the address of server solo-1 was answered by server web-1 (a)"]);
        check_at(&[("out", "www", 1, 2, "solo-1 a")], &["I3: service www was answered by server solo-1 (a)"]);
        // Each is told of once, with how often; two instances of it are two.
        let log: Vec<_> = (0..9).map(|at| ("eye-1", "web-1", 10 * at, 10 * at + 5, if at < 7 { "web-2 b" } else { "web-2 c" })).collect();
        let others =
            ["(b), 7 times", "(c), 2 times"].map(|who| format!("I3: the address of server web-1 was answered by server web-2 {who}"));
        check_at(&log, &others.each_ref().map(String::as_str));
    }

    #[test]
    fn two_servers_that_change_places_are_found_on_both_addresses() {
        let log = [("eye-1", "web-1", 10, 20, "web-2 b"), ("eye-1", "web-2", 11, 21, "web-1 a")];
        check_at(
            &log,
            &[
                "I3: the address of server web-1 was answered by server web-2",
                "I3: the address of server web-2 was answered by server web-1",
            ],
        );
    }

    #[test]
    fn an_instance_with_the_names_of_two_servers_is_found() {
        let log = [("eye-1", "web-1", 10, 20, "web-1 a"), ("eye-1", "web-2", 30, 40, "web-2 a"), ("out", "www", 50, 60, "web-2 c")];
        check_at(&log, &["I3: instance a answered as servers web-1 and web-2"]);
    }

    #[test]
    fn a_failover_is_seen_alike_at_both_addresses() {
        // The new one is heard at the service before it is at its own address, where a request to the old one is still under way.
        let log = [
            ("eye-1", "web-1", 10, 20, "web-1 a"),
            ("out", "www", 12, 22, "web-2 b"),
            ("eye-1", "web-1", 30, 900, "web-1 a"),
            ("out", "www", 40, 50, "web-1 c"),
            ("eye-2", "web-1", 890, 895, "web-1 c"),
            ("eye-1", "web-1", 901, 905, "web-1 c"),
            ("eye-1", "web-2", 901, 905, "web-2 b"),
            ("eye-1", "web-1", 910, 2000, ""),
        ];
        check_at(&log, &[]);
    }

    #[test]
    fn two_instances_at_one_address_are_found_by_any_way() {
        let two = "I3: server web-1 was answered for by two instances: a (the address of server web-1 by eye-1";
        check_at(&[("eye-1", "web-1", 1, 2, "web-1 a"), ("eye-1", "web-1", 3, 4, "web-1 b"), ("eye-2", "web-1", 5, 6, "web-1 a")], &[two]);
        // The old one is heard by its own address, the new one by the service.
        check_at(&[("eye-1", "web-1", 1, 2, "web-1 a"), ("out", "www", 3, 4, "web-1 b"), ("eye-1", "web-1", 5, 6, "web-1 a")], &[two]);
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
