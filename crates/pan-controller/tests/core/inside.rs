//! What changes no record and is told nevertheless, before it is done; what hosts do again and again, told once a minute; and that no round
//! parts a change from its line.

use super::audit::{place, provider, tenant};
use super::*;
use pan_api::inside::{Inside, Kind as Inner};
use pan_api::volume::{AskVolume, VolumeAsk};
use pan_controller::core::audit::{self, Actor, Recent};
use pan_controller::core::transactions::{Room, transactions};
use pan_member::Tick;

impl Pan {
    fn enters(&mut self, actor: &Actor, what: Inside) -> Result<(), pan_api::ApiError> {
        audit::inside(&mut self.world, self.now, actor, what)
    }
}

fn begun(server_name: &str, program: &str) -> Inside {
    Inside::Begun { server: server(server_name), run: "0badcafe".into(), program: program.into(), arguments: 2 }
}

#[test]
fn a_program_in_a_server_is_told_before_it_starts_and_when_it_has_ended() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    pan.rounds(3);
    let (before, whole) = (pan.told(place("p")).len(), pan.told(None).len());
    pan.enters(&tenant(), begun("web-1", "/bin/sh")).unwrap();
    assert!(pan.world.dirty.iter().any(|dirty| matches!(dirty, Dirty::Audit(Some(_), _))), "it is committed, and answered after that");
    pan.enters(&tenant(), Inside::Ended { server: server("web-1"), run: "0badcafe".into(), how: "exit=3".into() }).unwrap();
    pan.enters(&provider(), begun("web-1", &"x\u{e9}".repeat(200))).unwrap();
    let inside = pan.told(place("p")).split_off(before);
    assert_eq!(
        inside[..2],
        [
            "ann administrator: exec server web-1 begun run=0badcafe arguments=2 program=/bin/sh",
            "ann administrator: exec server web-1 ended run=0badcafe exit=3",
        ]
    );
    assert!(inside[2].starts_with("the provider provider: exec server web-1 begun run=0badcafe arguments=2 program=x?x?"), "{}", inside[2]);
    // The PAN's own people answer to it as well; what a partition does in itself is its own.
    let told = pan.told(None).split_off(whole);
    assert!(told.len() == 1 && told[0].starts_with("zoe pan-administrator: exec server p/web-1 begun"), "{told:?}");
    // Where there is no log there is no program.
    let error = pan.enters(&provider(), begun("web-9", "sh")).unwrap_err();
    assert_eq!((error.code, pan.told(place("p")).len()), (Code::NotFound, before + 3));
    let attempt = Inside::Refused { verb: "exec".into(), kind: Inner::Server, name: "web-1".into(), code: Code::Denied };
    pan.enters(&tenant(), attempt).unwrap();
    assert_eq!(pan.told(place("p")).last().unwrap(), "ann administrator: exec server web-1 PAN-401");
}

#[test]
fn a_read_of_a_snapshot_is_told_and_an_export_is_one_read() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.applies(&provider(), crate::volumes::DB, false).unwrap();
    pan.rounds(3);
    let before = pan.told(place("p")).len();
    let key = |name: &str| pan_model::VolumeKey { partition: "p".parse().unwrap(), name: name.parse().unwrap() };
    let read = |volume: &str| Inside::Read { volume: key(volume), snapshot: "monday".parse().unwrap() };
    pan.enters(&tenant(), read("db-1.data")).unwrap();
    assert_eq!(pan.told(place("p")).split_off(before), ["ann administrator: read snapshot db-1.data@monday done"]);
    assert_eq!(pan.enters(&tenant(), read("db-9.data")).unwrap_err().code, Code::NotFound);

    let (mut recent, name) = (Recent::default(), "monday".parse().unwrap());
    let at = |seconds: u64| Tick(seconds * 1_000_000_000);
    assert!(!recent.is_told(Some(1), &key("db-1.data"), &name, at(5)));
    recent.told(Some(1), key("db-1.data"), name.clone(), at(5));
    assert!(recent.is_told(Some(1), &key("db-1.data"), &name, at(604)));
    assert!(!recent.is_told(Some(1), &key("db-1.data"), &name, at(605)), "ten minutes later it is told again");
    assert!(!recent.is_told(Some(2), &key("db-1.data"), &name, at(6)), "somebody else");
    assert!(!recent.is_told(Some(1), &key("db-2.data"), &name, at(6)), "something else");
    // However many are read at a time, no more is remembered than there is room for, and what is not is told each time.
    for token in 0..5_000 {
        recent.told(Some(token), key("db-3.data"), name.clone(), at(6));
    }
    let known = (0..5_000).filter(|token| recent.is_told(Some(*token), &key("db-3.data"), &name, at(6))).count();
    assert_eq!(known, 1023);
}

/// A head that is started again and again asks for its volume each time; its host writes a line a minute.
#[test]
fn what_a_host_does_again_and_again_is_a_line_a_minute_that_counts() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.applies(&provider(), crate::volumes::DB, false).unwrap();
    pan.rounds(3);
    let (key, before) = (server("db-1"), pan.lines(place("p")).len());
    let record = pan.world.servers[&key].clone();
    let node = record.node.unwrap();
    let claim = || {
        let (version, host, server) = (pan_api::WIRE_VERSION, node.clone(), key.clone());
        Request::Volume(Box::new(AskVolume { version, host, volume: VolumeId(1), server, binding: record.epoch, ask: VolumeAsk::Claim }))
    };
    let actor = Actor::host(format!("host {node}"));
    for _ in 0..1_000 {
        pan.does(&actor, claim()).unwrap();
    }
    pan.rounds(1);
    let told = |pan: &Pan| pan.lines(place("p")).split_off(before);
    assert_eq!((told(&pan).len(), told(&pan)[0].times), (1, None), "the first is told at once");
    pan.pass(60_000);
    pan.rounds(1);
    let lines = told(&pan);
    assert_eq!((lines.len(), lines[1].name.as_str(), lines[1].times), (2, "db-1.data", Some(999)));
    assert!(pan.told(place("p")).iter().all(|line| !line.contains(node.as_str())), "by whom is not its partition's to know");
    // Whoever is quiet for a minute is told at once again.
    for _ in 0..2 {
        pan.pass(60_000);
        pan.rounds(1);
    }
    pan.does(&actor, claim()).unwrap();
    assert_eq!((told(&pan).len(), told(&pan)[2].times), (3, None));
    // What people do has a line each time.
    let lines = pan.lines(None).len();
    for _ in 0..5 {
        pan.does(&provider(), Request::Cordon(host("n1"))).unwrap();
        pan.does(&provider(), Request::Uncordon(host("n1"))).unwrap();
    }
    assert_eq!(pan.lines(None).len(), lines + 10);
}

/// However small transactions are: what is asked for is in the first one with its line, whatever else the round changes.
#[test]
fn a_change_and_its_line_are_not_parted_where_a_round_is_cut() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(3), false).unwrap();
    pan.rounds(6);
    pan.world.asked.clear();
    pan.does(&tenant(), Request::Stop(server("web-3"))).unwrap();
    let asked: Vec<Dirty> = pan.world.asked.iter().cloned().collect();
    assert!(
        asked.contains(&Dirty::Server(server("web-3"))) && asked.iter().any(|one| matches!(one, Dirty::Audit(Some(_), _))),
        "{asked:?}"
    );
    pan.world.dirty.extend(all_dirty(&pan.world));
    let dirty: Vec<Dirty> = pan.world.dirty.iter().cloned().collect();
    for writes in asked.len() + 1..dirty.len() {
        let cut = transactions(&pan.world, &dirty, &pan.world.asked, Room { writes, bytes: usize::MAX });
        assert!(cut.len() > 1, "{writes}");
        let first: Vec<&str> = cut[0].iter().map(|(key, _)| key.as_str()).collect();
        assert!(asked.iter().all(|one| first.contains(&persist::key_of(one).as_str())), "{writes}: {asked:?} in {first:?}");
        let all: usize = cut.iter().map(|writes| writes.len() - 1).sum();
        assert_eq!(all, dirty.iter().filter(|one| **one != Dirty::Pan).count(), "each once");
    }
}
