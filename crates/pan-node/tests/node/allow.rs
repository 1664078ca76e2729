//! Who may begin to speak to servers of a node, and how much these send: in force with a server's first moment, changed while it runs,
//! and kept without an agent.

use pan_api::desired::ServerOrder;
use pan_api::report::RefusedWhy;
use pan_model::allow::{AllowSpec, Caller};

use crate::bench::{Bench, nginx, order};

pub const ALL: [(&str, fn()); 1] = [("only_those_allowed_begin_to_speak", only_those_allowed_begin_to_speak)];

fn rule(from: &str, ports: &[u16]) -> AllowSpec {
    AllowSpec { from: Caller::Cluster(from.parse().unwrap()), ports: ports.to_vec() }
}

/// Whether a server gets an answer from another one, by IPv4 and by IPv6.
fn gets(bench: &Bench, from: &str, to: &str) -> [bool; 2] {
    let one = |address: &str| {
        let url = format!("http://{address}/");
        bench.outcome(&["ip", "netns", "exec", &format!("pan-acme.{from}"), "curl", "-s", "-m", "0.5", "-o", "/dev/null", &url]).0 == 0
    };
    let last = if to == "db-1" { 10 } else { 13 };
    [one(&format!("10.0.0.{last}")), one(&format!("[fd00:1::{last:x}]"))]
}

const YES: [bool; 2] = [true; 2];
const NO: [bool; 2] = [false; 2];

fn rates(bench: &Bench) -> String {
    bench.output(&["ip", "netns", "exec", "pan-acme.db-1", "tc", "qdisc", "show", "dev", "eth0"])
}

fn only_those_allowed_begin_to_speak() {
    let mut bench = Bench::start("allow");
    bench.start_agent("agent");
    let others = || vec![order("web-1", 11, 1, &["sleep", "600"]), order("app-1", 12, 1, &["sleep", "600"]), nginx("open-1", 13, 1)];
    let database = |epoch, allow: Option<Vec<AllowSpec>>| ServerOrder { allow, ..nginx("db-1", 10, epoch) };
    let all = |one: ServerOrder| others().into_iter().chain([one]).collect::<Vec<_>>();

    // Made ready, it lets nobody in yet, and what it waits for changes nothing of that.
    bench.warm(others(), vec![ServerOrder { incarnation: 0, ..database(0, Some(vec![rule("app", &[])])) }]);
    let rules = ["ip", "netns", "exec", "pan-acme.db-1", "nft", "list", "table", "inet", "pan_allow"];
    let table = bench.wait_for("its rules", || Some(bench.outcome(&rules)).filter(|(code, _)| *code == 0)).1;
    assert!(table.contains("map peers") && !table.contains("elements"), "{table}");

    bench.desire(all(database(1, Some(vec![rule("web", &[80])]))));
    let db = bench.wait_healthy("db-1", 1);
    assert_eq!(db.steps[0].0, "made-ready", "other rules than it was made ready with are no reason to make it anew");
    assert!(gets(&bench, "web-1", "db-1") == YES && gets(&bench, "app-1", "db-1") == NO);
    assert!(gets(&bench, "db-1", "open-1") == YES, "what it begins itself");
    let counted = bench.wait_for("what was refused", || bench.report()?.refused.into_iter().find(|one| one.key.name.as_str() == "db-1"));
    assert!(counted.why == RefusedWhy::Uninvited && counted.frames >= 2, "{counted:?}");
    assert!(bench.report().unwrap().refused.iter().all(|one| one.key.name.as_str() == "db-1"), "of others nothing is refused");

    bench.desire(all(ServerOrder { egress: Some("20Mbit".parse().unwrap()), ..database(1, Some(vec![rule("app", &[])])) }));
    bench.wait_for("app to be let in", || (gets(&bench, "app-1", "db-1") == YES).then_some(()));
    assert!(gets(&bench, "web-1", "db-1") == NO);
    bench.wait_for("a rate", || rates(&bench).contains("tbf").then_some(()));
    assert!(rates(&bench).contains("rate 20Mbit"), "{}", rates(&bench));
    bench.desire(all(database(1, Some(vec![]))));
    bench.wait_for("nobody to be let in", || (gets(&bench, "app-1", "db-1") == NO).then_some(()));
    bench.wait_for("no rate", || (!rates(&bench).contains("tbf")).then_some(()));

    // Nobody is there to keep them, and then somebody who does not know them.
    bench.kill_agent();
    assert!(gets(&bench, "app-1", "db-1") == NO);
    bench.desire(all(database(1, Some(vec![rule("web", &[])]))));
    bench.start_agent("agent");
    bench.wait_for("web to be let in", || (gets(&bench, "web-1", "db-1") == YES).then_some(()));
    assert!(gets(&bench, "app-1", "db-1") == NO);

    // Somebody takes them away.
    bench.output(&["ip", "netns", "exec", "pan-acme.db-1", "nft", "flush", "ruleset"]);
    bench.wait_for("app to be kept out again", || (gets(&bench, "app-1", "db-1") == NO).then_some(()));
    bench.wait_for("web to be let in again", || (gets(&bench, "web-1", "db-1") == YES).then_some(()));
    bench.desire(all(database(1, None)));
    bench.wait_for("app to be let in", || (gets(&bench, "app-1", "db-1") == YES).then_some(()));
    assert_eq!(bench.server("db-1").unwrap().instance, db.instance, "nothing was started again");

    bench.desire(vec![]);
    bench.assert_empty();
}
