//! Golden rule sets, in `tests/golden`; `BLESS=1` rewrites them. The kernel's own parser checks them where it may.

use crate::rules::ruleset;
use crate::ruleset::Ruleset;
use crate::testing::{backend, service, unit, web};
use crate::units::{Kept, decide};
use pan_api::desired::Unit;
use pan_model::service::BackendState::{Down, Draining, Suspect, Up};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

fn golden(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} differs; BLESS=1 rewrites it:\n{found}", path.display());
}

/// Has nft parse and check a script without loading it.
fn check_with_nft(script: &str) {
    if !is_root() {
        eprintln!("SKIP: nft checks rule sets only for root");
        return;
    }
    let mut nft = Command::new("nft").args(["-c", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = nft.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line == "Uid:\t0\t0\t0\t0")
}

fn kept(before: Option<&Kept>, unit: &Unit) -> Kept {
    decide(before, unit, Duration::ZERO).kept
}

fn before() -> Unit {
    let mut api = service("api", vec![backend(7, Up)]);
    api.port = 443;
    unit(vec![service("www", vec![backend(1, Up), backend(2, Up)]), api])
}

#[test]
fn a_unit_from_nothing() {
    let script = ruleset(&kept(None, &before())).replace();
    golden("unit.nft", &script);
    check_with_nft(&script);
}

/// No connection of a service of layer 7 is sent on: the proxy has it.
#[test]
fn services_of_layer_7_are_let_in_and_not_sent_on() {
    let mut unit = unit(vec![service("www", vec![backend(1, Up)])]);
    let mut shop = web("shop", &[("api", 1..=1), ("web", 2..=3)]);
    shop.service.port = 443;
    unit.web = vec![shop];
    let rules = ruleset(&kept(None, &unit));
    assert!(!rules.chains.keys().any(|name| name.contains("shop")), "{:?}", rules.chains.keys());
    let script = rules.replace();
    golden("web.nft", &script);
    check_with_nft(&script);
}

#[test]
fn no_services() {
    let script = ruleset(&kept(None, &unit(Vec::new()))).replace();
    golden("empty.nft", &script);
    check_with_nft(&script);
}

/// How a change reaches the kernel.
#[derive(Debug, PartialEq)]
enum Way {
    Netlink,
    Script,
}

/// Applies `change` to the unit of [`before`] and compares the script that would do it, and whether it is needed.
fn change(name: &str, way: Way, change: impl Fn(&mut Unit)) {
    let old = kept(None, &before());
    let mut unit = before();
    change(&mut unit);
    let (from, to) = (ruleset(&old), ruleset(&kept(Some(&old), &unit)));
    let script = from.update(&to);
    golden(name, &script);
    check_with_nft(&format!("{}{script}", from.replace()));
    assert_eq!(to.update(&to), "");
    assert_eq!(if from.batch(&to).is_some() { Way::Netlink } else { Way::Script }, way);
    assert!(to.batch(&to).is_some_and(|batch| batch.is_empty()));
}

#[test]
fn a_suspected_server_is_one_element() {
    change("suspect.nft", Way::Netlink, |unit| unit.services[0].backends[1].state = Suspect);
}

#[test]
fn a_dead_servers_slots_go_to_the_others() {
    change("down.nft", Way::Netlink, |unit| unit.services[0].backends[1].state = Down);
}

#[test]
fn a_draining_server_keeps_its_slots_for_connections_that_began_before() {
    change("draining.nft", Way::Netlink, |unit| unit.services[0].backends[1].state = Draining);
}

#[test]
fn the_last_server_leaves_empty_tables() {
    change("none.nft", Way::Netlink, |unit| unit.services[1].backends[0].state = Down);
}

#[test]
fn a_service_and_its_addresses_go() {
    change("removed.nft", Way::Script, |unit| {
        unit.services.remove(1);
    });
}

#[test]
fn a_third_server_makes_the_table_larger() {
    change("grown.nft", Way::Script, |unit| unit.services[0].backends.push(backend(3, Up)));
}

#[test]
fn equal_units_give_equal_rules() {
    let mut shuffled = before();
    shuffled.services.reverse();
    shuffled.services[1].backends.reverse();
    let rules: [Ruleset; 2] = [ruleset(&kept(None, &before())), ruleset(&kept(None, &shuffled))];
    assert_eq!(rules[0], rules[1]);
}
