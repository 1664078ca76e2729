//! Elements of nftables maps and sets over netlink on the real kernel, compared with what `nft` shows.
#![allow(clippy::unwrap_used)]

mod net_rig;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use net_rig::{Space, may_run, until};
use pan_linux::nft::{Batch, Data, Element, ElementsError, Family, Nft, Value, load};

/// The key and data types of a director's and a guard's rules.
const TABLE: &str = "
table inet t {
  map slots { type mark : mark; }
  map addr4 { type mark : ipv4_addr; }
  map addr6 { type mark : ipv6_addr; }
  map rev4 { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
  map rev6 { type ipv6_addr . inet_service : ipv6_addr . inet_service; }
  map svc4 { type ipv4_addr . inet_proto . inet_service : verdict; }
  map svc6 { type ipv6_addr . inet_proto . inet_service : verdict; }
  set down { type mark; }
  set proto { type inet_proto; }
  set alive { type mark; flags timeout; }
  chain s-1 { }
  chain s-2 { }
  chain in {
    type filter hook input priority 0;
    ip daddr . meta l4proto . th dport vmap @svc4
  }
}
table bridge t {
  set ports { type ifname; }
  set macs { type ifname . ether_addr; }
  set v6 { type ifname . ipv6_addr; }
}
";

struct Rig {
    space: Space,
    nft: Nft,
}

impl Rig {
    fn new(name: &str) -> Rig {
        let space = Space::new(name);
        load(Some(&space.netns), TABLE).unwrap();
        Rig { nft: Nft::open_in(&space.netns).unwrap(), space }
    }

    /// The elements that `nft` lists, each as it writes them.
    fn listed(&self, family: &str, set: &str) -> BTreeSet<String> {
        let kind = if set.starts_with(['s', 'a', 'r']) && !matches!(set, "alive") { "map" } else { "set" };
        let text = self.space.output(&["nft", "list", kind, family, "t", set]);
        assert!(text.contains(set), "{family} {set}: {text}");
        let Some((_, rest)) = text.split_once("elements = {") else { return BTreeSet::new() };
        let (elements, _) = rest.split_once('}').unwrap();
        elements.split(',').map(|element| element.trim().to_owned()).collect()
    }

    fn inet(&mut self, change: impl FnOnce(&mut Batch)) -> Result<(), ElementsError> {
        let mut batch = Batch::new(Family::Inet, "t");
        change(&mut batch);
        self.nft.commit(&batch, None)
    }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn ip(text: &str) -> Value {
    Value::Ip(net_rig::ip(text))
}

fn pair(a: &str, port: u16) -> Value {
    Value::Concat(vec![ip(a), Value::Port(port)])
}

fn service(address: &str, port: u16, chain: &str) -> Element {
    Element::of_map(Value::Concat(vec![ip(address), Value::Protocol(6), Value::Port(port)]), Data::Goto(chain.into()))
}

fn map(key: Value, data: Value) -> Element {
    Element::of_map(key, Data::Value(data))
}

#[test]
fn every_type_is_added_replaced_and_deleted() {
    if !may_run("every_type_is_added_replaced_and_deleted") {
        return;
    }
    let mut rig = Rig::new("types");
    rig.inet(|batch| {
        batch.add("slots", [map(Value::Mark(0x4000_0000), Value::Mark(3)), map(Value::Mark(0x4000_0001), Value::Mark(4))]);
        batch.add("addr4", [map(Value::Mark(1), ip("10.0.0.11"))]).add("addr6", [map(Value::Mark(1), ip("fd00:1::11"))]);
        batch.add("rev4", [map(pair("10.0.0.11", 8080), pair("198.18.0.10", 80))]);
        batch.add("rev6", [map(pair("fd00:1::11", 8080), pair("fd18::10", 80))]);
        batch.add("svc4", [service("198.18.0.10", 80, "s-1"), service("198.18.0.11", 443, "s-2")]);
        batch.add("svc6", [service("fd18::10", 80, "s-1")]);
        batch.add("down", [Element::of_set(Value::Mark(2))]).add("proto", [Element::of_set(Value::Protocol(17))]);
    })
    .unwrap();
    assert_eq!(rig.listed("inet", "slots"), set(&["0x40000000 : 0x00000003", "0x40000001 : 0x00000004"]));
    assert_eq!(rig.listed("inet", "addr4"), set(&["0x00000001 : 10.0.0.11"]));
    assert_eq!(rig.listed("inet", "addr6"), set(&["0x00000001 : fd00:1::11"]));
    assert_eq!(rig.listed("inet", "rev4"), set(&["10.0.0.11 . 8080 : 198.18.0.10 . 80"]));
    assert_eq!(rig.listed("inet", "rev6"), set(&["fd00:1::11 . 8080 : fd18::10 . 80"]));
    assert_eq!(rig.listed("inet", "svc4"), set(&["198.18.0.10 . tcp . 80 : goto s-1", "198.18.0.11 . tcp . 443 : goto s-2"]));
    assert_eq!(rig.listed("inet", "svc6"), set(&["fd18::10 . tcp . 80 : goto s-1"]));
    assert_eq!(rig.listed("inet", "down"), set(&["0x00000002"]));
    assert_eq!(rig.listed("inet", "proto"), set(&["udp"]));

    // Replaced, added again, deleted, emptied: in one batch.
    rig.inet(|batch| {
        batch.delete("addr4", [Value::Mark(1)]).add("addr4", [map(Value::Mark(1), ip("10.0.0.12"))]);
        batch.add("down", [Element::of_set(Value::Mark(2)), Element::of_set(Value::Mark(7))]);
        let key = Value::Concat(vec![ip("198.18.0.10"), Value::Protocol(6), Value::Port(80)]);
        batch.delete("svc4", [key]).flush("slots").flush("rev4");
    })
    .unwrap();
    assert_eq!(rig.listed("inet", "addr4"), set(&["0x00000001 : 10.0.0.12"]));
    assert_eq!(rig.listed("inet", "down"), set(&["0x00000002", "0x00000007"]));
    assert_eq!(rig.listed("inet", "svc4"), set(&["198.18.0.11 . tcp . 443 : goto s-2"]));
    assert_eq!((rig.listed("inet", "slots"), rig.listed("inet", "rev4")), (set(&[]), set(&[])));

    let mut batch = Batch::new(Family::Bridge, "t");
    let port = || Value::Interface("ps12".into());
    batch.add("ports", [Element::of_set(port())]);
    batch.add("macs", [Element::of_set(Value::Concat(vec![port(), Value::Ether([2, 0, 0, 0, 0, 1])]))]);
    batch.add("v6", [Element::of_set(Value::Concat(vec![port(), ip("fd00::1")]))]);
    rig.nft.commit(&batch, None).unwrap();
    assert_eq!(rig.listed("bridge", "ports"), set(&["\"ps12\""]));
    assert_eq!(rig.listed("bridge", "macs"), set(&["\"ps12\" . 02:00:00:00:00:01"]));
    assert_eq!(rig.listed("bridge", "v6"), set(&["\"ps12\" . fd00::1"]));
}

#[test]
fn a_refused_batch_changes_nothing_and_names_the_element() {
    if !may_run("a_refused_batch_changes_nothing_and_names_the_element") {
        return;
    }
    let mut rig = Rig::new("refused");
    let mark = |number| Element::of_set(Value::Mark(number));
    rig.inet(|batch| _ = batch.add("down", [mark(1)]).add("addr4", [map(Value::Mark(1), ip("10.0.0.1"))])).unwrap();
    let says = |outcome: Result<(), ElementsError>, expected: &str| {
        let text = outcome.unwrap_err().to_string();
        assert!(text.contains(expected), "{text:?} has no {expected:?}");
    };
    says(rig.inet(|batch| _ = batch.add("down", [mark(2)]).add("none", [mark(3)])), "add element 3 to set none of table inet t");
    let gone = rig.inet(|batch| _ = batch.add("down", [mark(2)]).delete("down", [Value::Mark(1), Value::Mark(9), Value::Mark(2)]));
    says(gone, "delete element 9 from set down of table inet t");
    let other = rig.inet(|batch| _ = batch.flush("down").add("addr4", [map(Value::Mark(1), ip("10.0.0.2"))]));
    says(other, "add element 1 : 10.0.0.2 to set addr4 of table inet t");
    let chain = rig.inet(|batch| _ = batch.flush("down").add("svc4", [service("198.18.0.10", 80, "s-9")]));
    says(chain, "198.18.0.10 . tcp . 80 : goto s-9");
    let mut elsewhere = Batch::new(Family::Netdev, "t");
    elsewhere.add("down", [mark(1)]);
    says(rig.nft.commit(&elsewhere, None), "table netdev t");
    assert_eq!(rig.listed("inet", "down"), set(&["0x00000001"]));
    assert_eq!(rig.listed("inet", "addr4"), set(&["0x00000001 : 10.0.0.1"]));
    rig.inet(|batch| _ = batch.delete("down", [Value::Mark(1)])).expect("the socket goes on after refusals");
    assert_eq!(rig.listed("inet", "down"), set(&[]));
}

#[test]
fn elements_with_a_timeout_go_by_themselves() {
    if !may_run("elements_with_a_timeout_go_by_themselves") {
        return;
    }
    let mut rig = Rig::new("timeout");
    let alive = |milliseconds| Element { timeout: Some(Duration::from_millis(milliseconds)), ..Element::of_set(Value::Mark(1)) };
    rig.inet(|batch| _ = batch.add("alive", [alive(60_000)])).unwrap();
    let listed = rig.listed("inet", "alive");
    assert!(listed.first().unwrap().contains("timeout 1m expires"), "{listed:?}");
    // Renewed as a lease is: deleting what has expired is refused.
    rig.inet(|batch| _ = batch.delete("alive", [Value::Mark(1)]).add("alive", [alive(300)])).unwrap();
    until("the element is gone", || rig.listed("inet", "alive").is_empty());
    let late = rig.inet(|batch| _ = batch.delete("alive", [Value::Mark(1)]).add("alive", [alive(300)]));
    assert!(late.unwrap_err().to_string().contains("delete element 1 from set alive"));
}

#[test]
fn a_batch_can_insist_that_nobody_else_changed_anything() {
    if !may_run("a_batch_can_insist_that_nobody_else_changed_anything") {
        return;
    }
    let mut rig = Rig::new("gen");
    let known = rig.nft.generation().unwrap();
    let mut batch = Batch::new(Family::Inet, "t");
    batch.add("down", [Element::of_set(Value::Mark(1))]);
    rig.nft.commit(&batch, Some(known)).unwrap();
    assert_eq!(rig.nft.generation().unwrap(), known.next());
    rig.space.output(&["nft", "flush", "set", "inet", "t", "down"]);
    let refused = rig.nft.commit(&batch, Some(known.next())).unwrap_err();
    assert!(matches!(refused, ElementsError::Changed { .. }), "{refused}");
    assert_eq!(rig.listed("inet", "down"), set(&[]));
    assert!(rig.nft.has_chain(Family::Inet, "t", "s-1").unwrap());
    assert!(!rig.nft.has_chain(Family::Inet, "t", "s-9").unwrap());
    assert!(!rig.nft.has_chain(Family::Inet, "u", "s-1").unwrap());
}

/// The largest slot table: loaded, every slot changed, and compared with what `nft` lists. Prints how long it
/// took, and how long a single element takes.
#[test]
fn the_largest_table_is_one_batch() {
    if !may_run("the_largest_table_is_one_batch") {
        return;
    }
    const SLOTS: u32 = 65_537;
    let mut rig = Rig::new("large");
    let slots = |server: u32| (0..SLOTS).map(move |slot| map(Value::Mark(0x4000_0000 + slot), Value::Mark(slot % 3 + server)));
    let start = Instant::now();
    rig.inet(|batch| _ = batch.add("slots", slots(1))).unwrap();
    let loaded = start.elapsed();
    let start = Instant::now();
    rig.inet(|batch| _ = batch.delete("slots", (0..SLOTS).map(|slot| Value::Mark(0x4000_0000 + slot))).add("slots", slots(7))).unwrap();
    let replaced = start.elapsed();
    let expected: BTreeSet<String> = (0..SLOTS).map(|slot| format!("{:#010x} : {:#010x}", 0x4000_0000 + slot, slot % 3 + 7)).collect();
    // The kernel's hash table shrinks and grows behind the transaction, and a listing that meets it on the way
    // leaves elements out. Lookups do not; and once it has settled, neither do listings.
    until("every slot is listed as it was set last", || rig.listed("inet", "slots") == expected);

    let mut times: Vec<Duration> = (0..1000)
        .map(|round| {
            let start = Instant::now();
            if round % 2 == 0 {
                rig.inet(|batch| _ = batch.add("down", [Element::of_set(Value::Mark(5))])).unwrap();
            } else {
                rig.inet(|batch| _ = batch.delete("down", [Value::Mark(5)])).unwrap();
            }
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("65,537 slots: loaded in {loaded:?}, every one replaced in {replaced:?}");
    println!("one element, 1,000 times: p10 {:?}, median {:?}, p90 {:?}, p99 {:?}, worst {:?}", at(10), at(50), at(90), at(99), at(100));
}
