//! The audit log: what was done is told where it belongs, once, in the transaction that did it; and nothing of what is elsewhere.

use super::*;
use pan_api::audit::{BEGINNING, Checker, Line};
use pan_api::token::AccessRole;
use pan_controller::core::audit::{self, Actor, Attempt};
use pan_model::PartitionName;

/// As many as one apply may change, nearly.
const MANY: usize = 2900;
/// As many as a log keeps.
const KEPT: usize = 2000;

pub fn place(name: &str) -> Option<PartitionName> {
    Some(name.parse().unwrap())
}

pub fn provider() -> Actor {
    Actor::new(Some(&"zoe".parse().unwrap()), Some(0xadb1), AccessRole::PanAdministrator, None)
}

pub fn tenant() -> Actor {
    Actor::new(Some(&"ann".parse().unwrap()), Some(0xa11), AccessRole::Administrator, place("p"))
}

impl Pan {
    pub fn does(&mut self, actor: &Actor, request: Request) -> Result<Reply, pan_api::ApiError> {
        audit::request(&mut self.world, self.now, actor, request)
    }

    pub fn applies(&mut self, actor: &Actor, yaml: &str, dry_run: bool) -> Result<Reply, pan_api::ApiError> {
        let documents = pan_model::manifest::parse(&[("test.yaml".to_owned(), yaml.to_owned())], None).unwrap();
        self.does(actor, Request::Apply { documents, dry_run })
    }

    fn scales(&mut self, actor: &Actor, servers: u32) {
        let request = Request::Scale { partition: "p".parse().unwrap(), cluster: "web".parse().unwrap(), servers };
        self.does(actor, request).unwrap();
    }

    fn refused(&mut self, actor: &Actor, name: &str, code: Code) {
        let attempt = Attempt { verb: "delete".into(), kind: "cluster", name: name.into() };
        audit::refused(&mut self.world, self.now, actor, &attempt, code);
    }

    /// All lines of a log, which must fit.
    pub fn lines(&self, place: Option<PartitionName>) -> Vec<Line> {
        let (mut lines, mut from) = (Vec::new(), Some(0));
        while let (Some(next), Some(log)) = (from, self.world.audit.get(&place)) {
            let page = log.page(next, None, usize::MAX);
            (from, lines) = (page.next, [lines, page.lines].concat());
        }
        let mut checker = Checker::default();
        lines.iter().for_each(|line| checker.next(line).unwrap());
        lines
    }

    /// `WHO ROLE: VERB KIND NAME RESULT DETAIL` of each line.
    pub fn told(&self, place: Option<PartitionName>) -> Vec<String> {
        let told = |line: &Line| {
            let Line { principal, role, verb, kind, name, result, detail, .. } = line;
            format!("{principal} {role}: {verb} {kind} {name} {result} {detail}").trim_end().to_owned()
        };
        self.lines(place).iter().map(told).collect()
    }
}

#[test]
fn a_change_is_told_in_its_partition_and_the_pan_knows_what_its_own_people_did() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(3), true).unwrap();
    assert!(pan.world.audit.is_empty(), "nothing was changed");
    pan.applies(&provider(), &web(3), false).unwrap();
    pan.rounds(2);
    pan.applies(&provider(), &web(3), false).unwrap();
    pan.scales(&tenant(), 2);
    pan.rounds(4);
    let from = pan.node_of("web-1").unwrap();
    let to = NODES.into_iter().find(|node| *node != from && pan.node_of("web-2").as_deref() != Some(node)).unwrap();
    pan.does(&provider(), Request::Migrate { key: server("web-1"), to: Some(host(to)) }).unwrap();
    pan.does(&provider(), Request::Cordon(host("n1"))).unwrap();
    assert!(pan.does(&tenant(), Request::Restart(server("web-9"))).is_err());

    let inside = pan.told(place("p"));
    assert_eq!(
        inside,
        [
            "the provider provider: apply partition p created",
            "the provider provider: apply cluster web created",
            "the provider provider: apply service www created",
            "ann administrator: scale cluster web done servers=2",
            "the provider provider: migrate server web-1 done",
        ]
    );
    let whole = pan.told(None);
    assert_eq!(
        whole,
        [
            "zoe pan-administrator: apply partition p created".to_owned(),
            "zoe pan-administrator: apply cluster p/web created".to_owned(),
            "zoe pan-administrator: apply service p/www created".to_owned(),
            format!("zoe pan-administrator: migrate server p/web-1 done to={to}"),
            "zoe pan-administrator: cordon node n1 done".to_owned(),
        ]
    );
    let (ours, theirs) = (pan.lines(place("p")), pan.lines(None));
    assert_eq!(ours[3].token.as_deref(), Some("0000000000000a11"));
    let text = serde_json::to_string(&ours).unwrap();
    assert!(!NODES.iter().any(|node| text.contains(&format!("{node}\""))) && !text.contains("zoe") && !text.contains("adb1"), "{text}");
    assert_eq!((ours[0].number, ours[0].previous.as_str(), theirs[0].previous.as_str()), (1, BEGINNING, BEGINNING));
}

#[test]
fn a_token_is_told_of_by_its_number_and_never_by_its_secret() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    let secret = pan_controller::core::digest::Digest([0x5e; 32]);
    let access = |role, partition: Option<PartitionName>| pan_controller::core::tokens::TokenFor::Access { role, partition, name: None };
    let new = |purpose| pan_controller::core::tokens::New { purpose, secret, lives: "1h".parse().unwrap() };
    pan.does(&tenant(), Request::CreateToken(7, new(access(AccessRole::Monitor, place("p"))))).unwrap();
    pan.does(&provider(), Request::CreateToken(8, new(access(AccessRole::PanMonitor, None)))).unwrap();
    pan.does(&tenant(), Request::RevokeToken(7)).unwrap();
    let (inside, whole) = (pan.told(place("p")), pan.told(None));
    assert_eq!(inside[3], "ann administrator: create token 0000000000000007 done role=monitor");
    assert_eq!(inside[4], "ann administrator: revoke token 0000000000000007 done role=monitor");
    assert_eq!((inside.len(), whole.len()), (5, 4));
    assert_eq!(whole[3], "zoe pan-administrator: create token 0000000000000008 done role=pan-monitor");
    assert!(!serde_json::to_string(&[pan.lines(place("p")), pan.lines(None)]).unwrap().contains("5e5e"));
}

/// The line is dirty whenever the change is, comes first where a round takes several transactions, and the next leader goes on with it.
#[test]
fn the_line_is_committed_with_the_change_and_another_leader_goes_on() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.applies(&provider(), &web(3), false).unwrap();
    pan.rounds_keeping_dirty(2);
    commit(&mut pan, &mut entries);
    pan.scales(&tenant(), 2);
    let changed = |dirty: &Dirty| matches!(dirty, Dirty::Cluster(_));
    let told = |dirty: &Dirty| *dirty == Dirty::Audit(place("p"), 4);
    let order: Vec<&Dirty> = pan.world.dirty.iter().filter(|dirty| changed(dirty) || told(dirty)).collect();
    assert!(order.len() == 2 && told(order[0]), "{order:?}");
    // The controller dies before that is committed: neither is there.
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    assert_eq!((pan.lines(place("p")).len(), pan.lines(None).len()), (3, 3));
    standing::candidate(&mut pan.world, &host("c1"), 7, 3);
    standing::lead(&mut pan.world, pan.now);
    pan.scales(&tenant(), 1);
    commit(&mut pan, &mut entries);
    let before = pan.lines(place("p"));
    assert_eq!((before[3].number, before[3].detail.as_str()), (4, "servers=1"));
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    assert_eq!(pan.lines(place("p")), before);
}

#[test]
fn a_log_keeps_its_newest_lines_and_they_fit() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.applies(&provider(), &web(3), false).unwrap();
    pan.rounds(2);
    for change in 0..2 * KEPT {
        pan.scales(&tenant(), 2 + u32::from(change % 2 == 0));
        let written = pan.world.dirty.iter().filter(|dirty| matches!(dirty, Dirty::Audit(..))).count();
        assert!(written <= 66, "{written} records of logs with one change");
        commit(&mut pan, &mut entries);
    }
    assert_eq!(pan.lines(place("p")).len(), 2 * KEPT + 2, "what is young is kept longer");
    pan.pass(8 * 24 * 3_600_000);
    for change in 0..40 {
        pan.scales(&tenant(), 2 + u32::from(change % 2 == 0));
        commit(&mut pan, &mut entries);
    }
    let lines = pan.lines(place("p"));
    assert_eq!((lines.len(), lines.last().unwrap().number), (KEPT, 2 * KEPT as u64 + 42));
    assert_eq!(entries.keys().filter(|key| key.starts_with("p/p/audit/")).count(), KEPT);
    // Who follows sees the same, however changes of one transaction come.
    standing::follow(&mut pan.world, listed(&entries)).unwrap();
    assert_eq!(pan.lines(place("p")), lines);
}

#[test]
fn an_apply_of_thousands_of_objects_is_a_few_records() {
    let mut pan = Pan::new();
    let mut yaml = web(1);
    for number in 0..MANY {
        yaml.push_str(&format!(
            "---\napi: pan/v1\nkind: Service\npartition: p\nname: s{number}\nspec: {{address: 198.18.0.10, port: {}, cluster: web}}\n",
            1000 + number
        ));
    }
    pan.applies(&provider(), &yaml, false).unwrap();
    assert_eq!(pan.told(None), ["zoe pan-administrator: apply partition p done objects=2903"]);
    let written: Vec<usize> = pan
        .world
        .dirty
        .iter()
        .filter(|dirty| matches!(dirty, Dirty::Audit(..)))
        .map(|dirty| persist::value_of(&pan.world, dirty).map_or(0, |value| value.len()))
        .collect();
    assert!(written.len() < 128, "{} records", written.len());
    assert!(written.iter().all(|bytes| *bytes < 150_000), "{written:?}");
    pan.scales(&tenant(), 0);
    let lines = pan.lines(place("p"));
    assert_eq!((lines.len(), lines.last().unwrap().number), (2904, 2904));
    pan.pass(8 * 24 * 3_600_000);
    pan.scales(&tenant(), 1);
    assert!((KEPT..KEPT + 130).contains(&pan.lines(place("p")).len()));
}

#[test]
fn what_changes_nothing_is_no_line() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    pan.rounds(3);
    let labels = BTreeMap::from([("rack".to_owned(), Some("a".to_owned()))]);
    pan.does(&provider(), Request::Label { node: host("n1"), labels: labels.clone() }).unwrap();
    let before = (pan.lines(None).len(), pan.lines(place("p")).len());
    for _ in 0..3 {
        pan.does(&tenant(), Request::Start(server("web-1"))).unwrap();
        pan.scales(&tenant(), 1);
        pan.applies(&tenant(), &web(1), false).unwrap();
        pan.does(&provider(), Request::Uncordon(host("n1"))).unwrap();
        pan.does(&provider(), Request::Label { node: host("n1"), labels: labels.clone() }).unwrap();
    }
    assert_eq!((pan.lines(None).len(), pan.lines(place("p")).len()), before);
    // In one transaction with other changes of the same records.
    pan.does(&provider(), Request::Cordon(host("n1"))).unwrap();
    pan.does(&provider(), Request::Uncordon(host("n1"))).unwrap();
    assert_eq!(pan.lines(None).len(), before.0 + 2);
}

#[test]
fn refusals_of_many_kinds_have_nobody_elses_name() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    let before = pan.lines(place("p")).len();
    for token in 0..60 {
        let actor = Actor { token: Some(token), name: format!("t{token}"), ..tenant() };
        pan.refused(&actor, &format!("c{token}"), Code::NotFound);
    }
    for _ in 0..40 {
        pan.pass(300_000);
        pan.rounds(1);
    }
    let told = pan.lines(place("p")).split_off(before);
    assert!(
        told.iter().all(|line| line.principal == "others" || (line.name[1..] == line.principal[1..] && line.times.is_none())),
        "{told:?}"
    );
    let others: Vec<_> = told.iter().filter(|line| line.principal == "others").map(|line| line.times).collect();
    assert_eq!((told.len(), others), (37, vec![Some(24)]));
}

#[test]
fn a_storm_of_refusals_is_a_few_lines_that_count() {
    let mut pan = Pan::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    let before = pan.lines(place("p")).len();
    for number in 0..100_000 {
        pan.refused(&tenant(), &format!("c{number}"), Code::NotFound);
    }
    let other = Actor { token: Some(12), name: "bob".into(), ..tenant() };
    pan.refused(&other, "last\u{e9}\n", Code::Denied);
    let told = pan.lines(place("p")).split_off(before);
    assert_eq!((told.len(), told[0].name.as_str(), told[0].result.as_str(), told[0].times), (20, "c0", "PAN-300", None));
    // Nobody else's log has any of it, and what is done meanwhile is told at once.
    assert_eq!(pan.lines(None).len(), before);
    pan.scales(&tenant(), 0);
    assert_eq!(pan.lines(place("p")).len(), before + 21);
    for _ in 0..2 {
        pan.pass(300_000);
        pan.rounds(1);
    }
    let told = pan.lines(place("p")).split_off(before + 21);
    let words: Vec<_> = told.iter().map(|line| (line.principal.as_str(), line.name.as_str(), line.times)).collect();
    let lasts = [("bob", "last??", None), ("ann", "c20", Some(99_980))];
    assert!(words.len() == 2 && lasts.iter().all(|last| words.contains(last)), "{words:?}");
    // Whoever is of the PAN is refused there.
    pan.refused(&provider(), "p/web", Code::InUse);
    assert_eq!(pan.told(None).last().unwrap(), "zoe pan-administrator: delete cluster p/web PAN-501");
    assert_eq!(pan.lines(place("p")).len(), before + 23);
}

#[test]
fn a_log_goes_with_its_partition() {
    let mut pan = Pan::new();
    let mut entries = BTreeMap::new();
    pan.applies(&provider(), &web(1), false).unwrap();
    pan.rounds_keeping_dirty(2);
    commit(&mut pan, &mut entries);
    let request = Request::Delete { kind: Kind::Partition, partition: None, name: "p".into(), cascade: true };
    pan.does(&provider(), request).unwrap();
    assert_eq!(pan.told(place("p")).last().unwrap(), "the provider provider: delete partition p done cascade");
    pan.rounds_keeping_dirty(6);
    assert!(pan.world.partitions.is_empty());
    commit(&mut pan, &mut entries);
    assert!(!entries.keys().any(|key| key.starts_with("p/p/")), "{:?}", entries.keys());
    assert_eq!(pan.told(None).last().unwrap(), "zoe pan-administrator: delete partition p done cascade");
    // Another one of that name knows nothing of it.
    pan.applies(&provider(), &web(1), false).unwrap();
    assert_eq!(pan.lines(place("p"))[0].previous, BEGINNING);
}

/// What hosts ask for: the right to write a volume is its partition's to know, by whom is not; who came and went is the PAN's.
#[test]
fn hosts_are_told_of_where_they_are_known() {
    let mut pan = Pan::with_storage(&["s1", "s2"]);
    pan.applies(&provider(), crate::volumes::DB, false).unwrap();
    pan.rounds(3);
    let (key, before) = (server("db-1"), pan.lines(place("p")).len());
    let record = pan.world.servers[&key].clone();
    let node = record.node.unwrap();
    let claim = |host: &HostName| {
        Request::Volume(Box::new(pan_api::volume::AskVolume {
            version: pan_api::WIRE_VERSION,
            host: host.clone(),
            volume: VolumeId(1),
            server: key.clone(),
            binding: record.epoch,
            ask: pan_api::volume::VolumeAsk::Claim,
        }))
    };
    let actor = |host: &HostName| Actor::host(format!("host {host}"));
    pan.does(&actor(&node), claim(&node)).unwrap();
    let stranger = NODES.map(host).into_iter().find(|other| *other != node).unwrap();
    assert!(pan.does(&actor(&stranger), claim(&stranger)).is_err());
    assert_eq!(pan.told(place("p")).split_off(before), ["the provider provider: attach volume db-1.data done server=db-1"]);

    let whole = pan.lines(None).len();
    let secret = pan_controller::core::digest::Digest([7; 32]);
    let purpose = pan_controller::core::tokens::TokenFor::Joining { host: host("n9"), roles: vec![Role::Node] };
    let new = pan_controller::core::tokens::New { purpose, secret, lives: "10m".parse().unwrap() };
    pan.does(&provider(), Request::CreateToken(5, new)).unwrap();
    let joining = pan_controller::core::request::Joining {
        token: 5,
        secret,
        host: host("n9"),
        key: pan_controller::core::digest::Digest([9; 32]),
        addresses: ["10.200.0.99", "10.201.0.99", "10.202.0.99"].map(|address| address.parse().unwrap()),
    };
    pan.does(&Actor::host("joining host n9".into()), Request::Join(joining)).unwrap();
    pan.does(&provider(), Request::Cordon(host("n4"))).unwrap();
    pan.cut("n4");
    pan.rounds(2);
    pan.does(&provider(), Request::RemoveHost(host("n4"))).unwrap();
    assert_eq!(
        pan.told(None).split_off(whole),
        [
            "zoe pan-administrator: create token 0000000000000005 done host=n9 roles=node",
            "joining host n9 host: join host n9 done token=0000000000000005",
            "zoe pan-administrator: cordon node n4 done",
            "zoe pan-administrator: remove host n4 done",
        ]
    );
    assert_eq!(pan.lines(place("p")).len(), before + 1);
}
