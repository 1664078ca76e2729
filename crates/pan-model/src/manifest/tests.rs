//! Tests of reading manifests: each is a text and the problems it has, or none.

mod web;

use super::{DOCUMENTS_MAX, Document, Heads, Object, PROBLEMS_MAX, TEXT_MAX, parse};
use crate::{ByteSize, Cpu, PartitionName, Resources, Span};

const CLUSTER: &str = "api: pan/v1\nkind: Cluster\npartition: acme\nname: web\nspec:\n  servers: 3\n  image: host\n";
const COMMAND: &str = "  command: [nginx, -g, daemon off;]\n";

fn read(text: &str) -> Result<Vec<Document>, Vec<String>> {
    parse(&[("f.yaml".into(), text.into())], None)
        .map_err(|all| all.iter().map(|one| format!("{}:{} {} {}", one.place.line, one.place.column, one.code, one.message)).collect())
}

/// Each line of `expected` begins a problem: `LINE:COLUMN CODE` and a part of the message.
#[track_caller]
fn refused(text: &str, expected: &[(&str, &str)]) {
    let found = read(text).expect_err("the text should be refused");
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for (found, (begin, part)) in found.iter().zip(expected) {
        assert!(found.starts_with(begin) && found.contains(part), "{text}\nexpected {begin} … {part}\nfound    {found}");
    }
}

/// A cluster with further lines, from line 9 on, indented by two.
#[track_caller]
fn cluster_refused(lines: &str, expected: &[(&str, &str)]) {
    refused(&format!("{CLUSTER}{COMMAND}{lines}\n"), expected);
}

#[test]
fn a_server_takes_the_default_of_each_resource_not_given() {
    let resources = |lines: &str| {
        let documents = read(&format!("{CLUSTER}{COMMAND}{lines}\n")).unwrap();
        let Object::Cluster(_, _, spec) = &documents[0].object else { panic!("a cluster") };
        spec.resources.needed()
    };
    let (cpu, memory) = (Cpu(100), ByteSize(64 << 20));
    assert_eq!(resources(""), Resources::new(cpu, memory));
    assert_eq!(resources("  resources: {}"), Resources::new(cpu, memory));
    assert_eq!(resources("  resources: {cpu: 1}"), Resources::new(Cpu(1000), memory));
    assert_eq!(resources("  resources: {memory: 1GiB}"), Resources::new(cpu, ByteSize(1 << 30)));
}

#[test]
fn a_wrong_document_still_says_what_it_is_about() {
    let text = "kind: Partition\nname: acme\nspec: 5\n---\nname: web\nkind: Cluster\npartition: rival\n---\n]\n---\nname: x\n";
    let heads = Heads::of(text);
    let head = |line| heads.at(line).cloned().map(|head| (head.kind, head.partition, head.name));
    assert_eq!(head(3), Some(("partition".into(), None, "acme".into())));
    assert_eq!(head(4), head(7));
    assert_eq!(head(7), Some(("cluster".into(), Some("rival".into()), "web".into())));
    for line in [0, 9, 11] {
        assert_eq!(head(line), None, "line {line}");
    }
}

#[test]
fn what_a_server_sends_at_most_is_read_and_checked() {
    let documents = read(&format!("{CLUSTER}{COMMAND}  resources: {{egress: 100Mbit}}\n")).unwrap();
    let Object::Cluster(_, _, spec) = &documents[0].object else { panic!("a cluster") };
    assert_eq!((spec.resources.egress, spec.resources.cpu), (Some(crate::BitRate(100_000_000)), Cpu(100)));
    cluster_refused("  resources: {egress: 1kbit}", &[("9:23 PAN-100", "at least 64kbit")]);
    cluster_refused("  resources: {egress: 12MB}", &[("9:23 PAN-100", "kbit, Mbit, Gbit")]);
}

#[test]
fn who_may_begin_to_speak_is_read_and_checked() {
    let allow = |lines: &str| {
        let documents = read(&format!("{CLUSTER}{COMMAND}{lines}\n")).unwrap();
        let Object::Cluster(_, _, spec) = &documents[0].object else { panic!("a cluster") };
        spec.allow.as_deref().map(crate::allow::said)
    };
    assert_eq!(allow(""), None);
    assert_eq!(allow("  allow: []").as_deref(), Some("nobody"));
    assert_eq!(allow("  allow: [{from: web}, {from: services, ports: [80]}]").as_deref(), Some("services on 80, web"));
    cluster_refused("  allow: [{from: web, ports: [0, 80, 80]}]", &[("9:31 PAN-100", "0 is not a port"), ("9:38 PAN-100", "given twice")]);
    cluster_refused("  allow: [{from: web}, {from: web, ports: [1]}]", &[("9:31 PAN-100", "by an earlier rule already")]);
    cluster_refused("  allow: [{from: 'No Name'}]", &[("9:18", "is not a name")]);
    cluster_refused("  allow: [{ports: [1]}]", &[("9:12 PAN-100", "missing field `from`")]);
    cluster_refused("  allow: [{from: web, port: 1}]", &[("9:23 PAN-100", "unknown field `port`")]);
}

#[test]
fn exports_and_imports_are_read_and_checked() {
    let service = "api: pan/v1\nkind: Service\npartition: acme\nname: pay\nspec:\n  port: 443\n  cluster: pay\n";
    let documents = read(&format!("{service}  export: [shop, store]\n")).unwrap();
    let Object::Service(_, _, spec) = &documents[0].object else { panic!("a service") };
    assert_eq!(spec.export.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["shop", "store"]);
    refused(&format!("{service}  export: [shop, shop]\n"), &[("8:18 PAN-100", "named twice")]);
    refused(&format!("{service}  export: [acme]\n"), &[("8:12 PAN-100", "is where the service is")]);
    refused(&format!("{service}  export: ['No Name']\n"), &[("8:12", "is not a name")]);
    let many: Vec<String> = (0..101).map(|number| format!("p{number}")).collect();
    refused(&format!("{service}  export: [{}]\n", many.join(", ")), &[("8:3 PAN-100", "at most 100")]);
    let import = "api: pan/v1\nkind: Import\npartition: shop\nname: payments\nspec: {partition: acme, service: pay}\n";
    let documents = read(import).unwrap();
    let Object::Import(partition, name, spec) = &documents[0].object else { panic!("an import") };
    assert_eq!((partition.as_str(), name.as_str(), spec.partition.as_str(), spec.service.as_str()), ("shop", "payments", "acme", "pay"));
    refused(&import.replace("acme", "shop"), &[("5:19 PAN-100", "is where the import is")]);
    refused(&import.replace(", service: pay", ""), &[("5:", "missing field `service`")]);
    refused(&import.replace("service: pay", "service: pay, port: 1"), &[("5:", "unknown field `port`")]);
}

/// A policy whose only schedule has these fields.
fn schedule(fields: &str) -> String {
    format!("api: pan/v1\nkind: Policy\npartition: acme\nname: day\nspec:\n  target: {{cluster: web}}\n  schedules:\n    - {{{fields}}}\n")
}

#[test]
fn policies_are_read_and_checked() {
    use crate::policy::{Effect, Occurs};
    let day = schedule("cron: \"0 8 * * MON-FRI\", zone: Europe/Berlin, for: 10h, floor: 8, except: [2026-12-25]");
    let documents = read(&day).unwrap();
    let Object::Policy(partition, name, spec) = &documents[0].object else { panic!("a policy") };
    assert_eq!((partition.as_str(), name.as_str(), spec.target.cluster.as_str()), ("acme", "day", "web"));
    let only = &spec.schedules[0];
    assert_eq!(
        (only.effect().unwrap(), only.zone.name(), only.except[0].to_string().as_str()),
        (Effect::Floor(8), "Europe/Berlin", "2026-12-25")
    );
    assert!(
        matches!(only.occurs().unwrap(), Occurs::Again(cron, lasts) if cron.to_string() == "0 8 * * MON-FRI" && lasts == Span::millis(36_000_000))
    );
    let written = serde_json::to_string(spec).unwrap();
    assert_eq!(serde_json::from_str::<crate::PolicySpec>(&written).unwrap(), *spec, "{written}");
    let once = read(&schedule("from: 2026-12-24T18:00, until: 2026-12-27T06:00:30, zone: UTC, exact: 2")).unwrap();
    let Object::Policy(_, _, spec) = &once[0].object else { panic!("a policy") };
    assert!(matches!(spec.schedules[0].occurs().unwrap(), Occurs::Once(from, until) if from < until));
    let cases = [
        ("cron: \"0 25 * * *\", zone: UTC, for: 1h, floor: 1", "8:14", "is not an hour"),
        ("cron: \"0 8 * * *\", zone: CEST, for: 1h, floor: 1", "8:33", "is not a time zone"),
        ("cron: \"0 8 * * *\", zone: UTC, floor: 1", "8:7", "give `for` as well"),
        ("cron: \"0 8 * * *\", zone: UTC, for: 10ms, floor: 1", "8:43", "too short"),
        ("cron: \"0 8 * * *\", zone: UTC, for: 1h", "8:7", "one of `floor`, `ceiling` and `exact`"),
        ("cron: \"0 8 * * *\", zone: UTC, for: 1h, floor: 1, ceiling: 2", "8:7", "in a schedule of its own"),
        ("cron: \"0 8 * * *\", zone: UTC, for: 1h, floor: 10001", "8:54", "at most 10000"),
        ("cron: \"0 8 * * *\", for: 1h, floor: 1", "8:", "missing field `zone`"),
        ("zone: UTC, floor: 1", "8:7", "when is it?"),
        ("from: 2026-12-24T18:00, until: 2026-12-24T18:00, zone: UTC, floor: 1", "8:39", "is not after"),
        ("from: 2026-12-24T18:00Z, until: 2026-12-25T18:00, zone: UTC, floor: 1", "8:14", "is not a date with a time"),
        ("from: 2026-12-24T18:00, zone: UTC, floor: 1", "8:7", "give `until` as well"),
        ("cron: \"0 8 * * *\", for: 1h, from: 2026-12-24T18:00, until: 2026-12-25T18:00, zone: UTC, floor: 1", "8:7", "not both"),
        ("cron: \"0 8 * * *\", zone: UTC, for: 1h, floor: 1, except: [2026-02-29]", "8:66", "is not a date"),
    ];
    for (fields, place, part) in cases {
        refused(&schedule(fields), &[(place, part)]);
    }
    refused(&day.replace("  schedules:", "  rules: [{when: \"x > 1\", effect: {add: 2}}]\n  schedules:"), &[("7:10 PAN-101", "not yet")]);
    refused(
        &day.replace("{cluster: web}", "{partition: acme}"),
        &[("6:12 PAN-100", "missing field `cluster`"), ("6:23 PAN-101", "not yet")],
    );
    refused(&day.replace("{cluster: web}", "{cluster: web, nodes: {rack: r1}}"), &[("6:33 PAN-101", "not yet")]);
    refused("api: pan/v1\nkind: Policy\npartition: a\nname: x\nspec: {target: {cluster: web}}\n", &[("5:", "at least one schedule")]);
}

#[test]
fn the_documented_manifests_are_read() {
    let text = r#"# comment
---
api: pan/v1
kind: Partition
name: acme
spec:
  network: 10.0.0.0/24
  capacity: {guaranteed: {cpu: 4, memory: 8GiB}, max: {cpu: 8, memory: 16GiB}}
  quota: {storage: 200GiB, servers: 40, addresses: 4}
  hostImage: allow
---
api: pan/v1
kind: Cluster
partition: acme
name: web
spec:
  servers: 3
  image: host
  command: [nginx, -g, "daemon off;"]
  env: {MODE: demo}
  files: [{path: /etc/nginx/nginx.conf, content: "…"}]
  resources: {cpu: 500m, memory: 128MiB}
  protect: {failures: 1, domain: node}
  spread: node
  after: [{cluster: db, state: running}]
  priority: 500
  failback: stay
  stop: {signal: QUIT, grace: 30s}
  health: {http: {port: 80, path: /}, every: 500ms, failures: 2}
  restart: {attempts: 2}
...
---
api: pan/v1
kind: Service
partition: acme
name: www
spec:
  address: 198.18.0.10
  port: 80
  cluster: web
  targetPort: 80
  layer: 4
  balance: {policy: round-robin}
---
"#;
    let documents = read(text).expect("good");
    let kinds: Vec<_> = documents.iter().map(|document| (document.object.kind(), document.object.name())).collect();
    assert_eq!(kinds, [("partition", "acme"), ("cluster", "web"), ("service", "www")]);
    let at = |index: usize, path: &str| documents[index].locate(path).to_string();
    assert_eq!(at(0, "spec.network"), "f.yaml:7:12");
    assert_eq!(at(1, "spec.after[0].cluster"), "f.yaml:25:21");
    assert_eq!(at(1, "spec.protect"), "f.yaml:23:3");
    assert_eq!(at(1, "spec.with[0]"), "f.yaml:16:1");
    assert_eq!(at(2, "spec.port"), "f.yaml:39:9");
    assert_eq!(at(2, "name"), "f.yaml:36:7");
}

#[test]
fn directives_and_marks_are_understood() {
    let text = format!("%YAML 1.2\n---\n{CLUSTER}{COMMAND}  env: {{A: |\n      ---x\n      y}}\n");
    // A block scalar cannot stand in a flow mapping: the text is refused, but on the right line.
    assert!(read(&text).is_err_and(|all| all[0].starts_with("11:")), "{:?}", read(&text));
    let text = format!("--- # first\n{CLUSTER}{COMMAND}  files:\n    - path: /x\n      content: |\n        ---\n        ...\n");
    assert_eq!(read(&text).expect("good").len(), 1);
}

#[test]
fn the_default_partition_is_used() {
    let text = format!("{CLUSTER}{COMMAND}").replace("partition: acme\n", "");
    refused(&text, &[("1:1 PAN-100", "missing field `partition`")]);
    let acme = PartitionName::new("acme").unwrap();
    let documents = parse(&[("f".into(), text)], Some(&acme)).expect("good");
    assert_eq!(documents[0].object.partition(), &acme);
}

#[test]
fn names_are_never_booleans() {
    for name in ["n", "y", "no", "yes", "on", "off"] {
        let text = format!("api: pan/v1\nkind: Partition\nname: {name}\nspec: {{network: 10.0.0.0/24}}\n");
        assert_eq!(read(&text).unwrap()[0].object.name(), name);
    }
}

#[test]
fn envelopes_are_checked_whole() {
    refused("5\n", &[("1:1 PAN-100", "a document is a mapping")]);
    refused(
        "api: pan/v2\nkind: Foo\nextra: 1\n",
        &[
            ("3:1 PAN-100", "unknown field `extra`"),
            ("1:6 PAN-100", "expected pan/v1"),
            ("2:7 PAN-100", "\"Foo\" is not a kind"),
            ("1:1 PAN-100", "missing field `name`"),
            ("1:1 PAN-100", "missing field `spec`"),
        ],
    );
    refused("api: pan/v1\nkind: Policy\npartition: a\nname: x\nspec: {size: 1}\n", &[("5:", "unknown field `size`")]);
    refused("api: pan/v1\nkind: Node\nname: n1\nspec: {a: 1}\n", &[("2:7 PAN-100", "cannot be applied")]);
    refused("api: pan/v1\nkind: Partition\npartition: b\nname: a\nspec: {network: 10.0.0.0/24}\n", &[("3:1 PAN-100", "no other one")]);
    refused("api: pan/v1\nkind: Partition\nname: A_b\nspec: {network: 10.0.0.0/24}\n", &[("3:7 PAN-100", "is not a name")]);
    refused("api: pan/v1\nkind: Partition\nname: a\nspec:\n", &[("4:1 PAN-100", "`spec` is empty")]);
    refused("api: [pan/v1]\nkind: Partition\nname: a\nspec: {network: 10.0.0.0/24}\n", &[("1:1 PAN-100", "`api` is not a text")]);
}

#[test]
fn all_documents_are_read_even_after_a_broken_one() {
    let text = "a: [\n---\napi: pan/v1\nkind: Partition\nname: a\nspec: {network: 10.0.0.0/24, foo: 1}\n---\n\tx\n";
    refused(text, &[("", ""), ("6:30 PAN-100", "unknown field `foo`"), ("8:", "")]);
}

#[test]
fn duplicates_name_the_first_place() {
    let one = format!("{CLUSTER}{COMMAND}");
    refused(&format!("{one}---\n{one}"), &[("13:7 PAN-103", "already defined at f.yaml:4:7")]);
    let other = one.replace("acme", "other");
    assert_eq!(read(&format!("{one}---\n{other}")).expect("good").len(), 2);
}

#[test]
fn wrong_types_and_units_have_their_place() {
    cluster_refused("  foo: 1", &[("9:3 PAN-100", "unknown field `foo`: expected one of servers, image")]);
    cluster_refused("  priority: x", &[("9:13 PAN-100", "\"x\" is not a whole number from 0 to 65535")]);
    cluster_refused("  stop: {grace: 5}", &[("9:17 PAN-100", "\"5\" is not a duration")]);
    cluster_refused("  stop: {signal: term}", &[("9:18 PAN-100", "\"term\" is not known here: expected one of TERM, QUIT")]);
    cluster_refused("  resources: {cpu: 5x, memory: 1GiB}", &[("9:20 PAN-100", "\"5x\" is not an amount of cpu")]);
    cluster_refused("  resources: {cpu: 1, memory: 1G}", &[("9:31 PAN-100", "\"1G\" is not a size")]);
    cluster_refused("  spread: box", &[("9:11 PAN-100", "\"box\" is not known here: expected one of node, rack")]);
    cluster_refused("  after: db", &[("9:10 PAN-100", "\"db\" is not a list")]);
    cluster_refused("  env: db", &[("9:8 PAN-100", "\"db\" is not a mapping")]);
    cluster_refused("  after: [{cluster: DB}]", &[("9:21 PAN-100", "\"DB\" is not a name")]);
    cluster_refused("  after: [{}]", &[("9:11 PAN-100", "missing field `cluster`")]);
    cluster_refused("  servers: 4", &[("9:3 PAN-100", "`servers` is given twice")]);
    cluster_refused("  protect: {failures: -1}", &[("9:23 PAN-100", "\"-1\" is not a whole number")]);
    cluster_refused("  env: {A: ~}", &[("9:12 PAN-100", "a text is missing")]);
    refused(CLUSTER, &[("5:1 PAN-100", "the command is empty")]);
    refused(&format!("{CLUSTER}{COMMAND}").replace("image: host", "image: disk"), &[("7:10 PAN-100", "\"disk\" is not an image")]);
    refused(&format!("{CLUSTER}{COMMAND}").replace("image: host", "image: oci:nginx"), &[("7:10 PAN-100", "it names no registry")]);
    // Such an image may say itself what its program is.
    for image in ["oci:registry.example/web:1", "oci-layout:web.tar"] {
        assert!(parse(&[("f".into(), CLUSTER.replace("image: host", &format!("image: {image}")))], None).is_ok(), "{image}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    cluster_refused("  confirm: {}", &[("9:12 PAN-101", "not yet supported")]);
    cluster_refused("  failback: return", &[("9:13 PAN-101", "failback return: not yet supported")]);
    let service = "api: pan/v1\nkind: Service\npartition: a\nname: s\nspec:\n  port: 443\n  cluster: web\n";
    refused(&format!("{service}  balance: {{policy: tandem}}\n"), &[("8:21 PAN-101", "tandem: not yet supported")]);
}

#[test]
fn specs_are_checked() {
    cluster_refused("  priority: 1000", &[("9:13 PAN-100", "expected 0 to 999")]);
    cluster_refused("  protect: {failures: 0}", &[("9:23 PAN-100", "no protection")]);
    cluster_refused("  after: [{cluster: web}]", &[("9:21 PAN-104", "wait for itself")]);
    cluster_refused("  with: [db, db, web]", &[("9:14 PAN-100", "named twice"), ("9:18 PAN-104", "with itself")]);
    cluster_refused("  health: {every: 1s}", &[("9:3 PAN-100", "exactly one of http, tcp and exec")]);
    cluster_refused(
        "  health: {tcp: {port: 0}, failures: 0, every: 1ms}",
        &[("9:24 PAN-100", "0 is not a port"), ("9:48 PAN-100", "too often"), ("9:38 PAN-100", "0 failures")],
    );
    cluster_refused("  health: {http: {port: 80, path: x}}", &[("9:35 PAN-100", "begins with '/'")]);
    cluster_refused("  health: {exec: {command: []}}", &[("9:19 PAN-100", "the command is empty")]);
    cluster_refused(
        "  files: [{path: etc/x, content: a}, {path: /a/../b, content: a}]",
        &[("9:18 PAN-100", "not a file's path"), ("9:45 PAN-100", "not a file's path")],
    );
    cluster_refused("  env: {PAN_SERVER: x, \"a=b\": y}", &[("9:21 PAN-100", "set by the PAN"), ("9:3 PAN-100", "\"a=b\"")]);
    cluster_refused("  resources: {cpu: 0, memory: 1}", &[("9:20 PAN-100", "0 cpu"), ("9:31 PAN-100", "too little memory")]);
    refused(&format!("{CLUSTER}  command: []\n"), &[("8:3 PAN-100", "the command is empty")]);
    refused(&format!("{CLUSTER}{COMMAND}").replace("servers: 3", "servers: 10001"), &[("6:12 PAN-100", "at most 10000")]);
    let partition = |spec: &str| format!("api: pan/v1\nkind: Partition\nname: a\nspec: {spec}\n");
    refused(&partition("{network: 10.0.0.0/24, networks: [10.1.0.0/24]}"), &[("4:30 PAN-100", "keep one of them")]);
    refused(&partition("{quota: {servers: 4}}"), &[("4:1 PAN-100", "needs a network")]);
    refused(&partition("{network: 10.0.0.1/24}"), &[("4:17 PAN-100", "did you mean 10.0.0.0/24")]);
    refused(
        &partition("{network: 10.0.0.0/24, capacity: {guaranteed: {cpu: 4}, max: {cpu: 2}}}"),
        &[("4:59 PAN-100", "more cpu is guaranteed")],
    );
    refused(
        "api: pan/v1\nkind: Service\npartition: a\nname: s\nspec: {port: 0, cluster: web, targetPort: 0, address: 127.0.0.1}\n",
        &[("5:14 PAN-100", "0 is not a port"), ("5:43 PAN-100", "0 is not a port"), ("5:55 PAN-100", "cannot be a public address")],
    );
}

#[test]
fn volumes_are_checked() {
    let check = |volumes: &str, more: &str, wanted: &[(&str, &str)]| {
        cluster_refused(&format!("  volumes: [{volumes}]{more}"), wanted);
    };
    check("{name: a, size: 1MiB, mount: /srv}", "", &[("9:29 PAN-100", "expected 16MiB to 16TiB")]);
    check("{name: a, size: 20000001, mount: /srv}", "", &[("9:29 PAN-100", "a multiple of 4KiB")]);
    check("{name: a, size: 1GiB, mount: /srv, copies: 4}", "", &[("9:56 PAN-100", "expected 1 to 3")]);
    for bad in ["srv", "/", "/a//b", "/a/../b", "/proc/x", "/dev"] {
        check(&format!("{{name: a, size: 1GiB, mount: {bad}}}"), "", &[("9:42 PAN-100", bad)]);
    }
    let (a, b) = ("{name: a, size: 1GiB, mount: /srv/a}", "{name: b, size: 1GiB, mount: /srv/b}");
    check(&format!("{a}, {}", b.replace("/srv/b", "/srv")), "", &[("9:80 PAN-100", "lie in each other")]);
    check(&format!("{a}, {}", b.replace("name: b", "name: a")), "", &[("9:58 PAN-100", "given twice")]);
    check(a, "\n  files: [{path: /srv/a/x, content: y}]", &[("9:42 PAN-100", "would be hidden")]);
    cluster_refused("  volumes: [{name: A, size: 1GiB, mount: /srv}]", &[("9:20 PAN-100", "is not a name")]);
    cluster_refused("  volumes: [{name: a, size: 1GiB}]", &[("9:23 PAN-100", "missing field `mount`")]);
    check("{name: a, mount: /srv}", "", &[("9:13 PAN-100", "how large")]);
    check("{mount: /srv}", "", &[("9:13 PAN-100", "which volume")]);
    check("{name: a, volume: b, size: 1GiB, mount: /srv}", "", &[("9:31 PAN-100", "not both")]);
    check("{volume: b, copies: 2, mount: /srv}", "", &[("9:33 PAN-100", "where volume b is defined")]);
    check("{name: a, from: b, mount: /srv}", "", &[("9:29 PAN-100", "expected VOLUME@NAME")]);
    check("{name: a, from: b@c, mount: /srv, copies: 0}", "", &[("9:55 PAN-100", "expected 1 to 3")]);
}

#[test]
fn a_volume_may_be_there_by_itself() {
    let text = |spec: &str| format!("api: pan/v1\nkind: Volume\npartition: a\nname: x\nspec: {{{spec}}}\n");
    let read = |spec: &str| parse(&[("v".into(), text(spec))], None).unwrap().remove(0).object;
    let Object::Volume(partition, name, spec) = read("size: 1GiB") else { panic!("it is no volume") };
    assert_eq!((partition.as_str(), name.as_str(), spec.copies, spec.from), ("a", "x", 2, None));
    let Object::Volume(_, _, spec) = read("from: db-1.data@monday, copies: 1, filesystem: xfs") else { panic!("it is no volume") };
    assert_eq!((spec.size, spec.from.unwrap().to_string().as_str()), (None, "db-1.data@monday"));
    refused(&text("copies: 1"), &[("5:1 PAN-100", "how large")]);
    refused(&text("size: 1MiB"), &[("5:14 PAN-100", "expected 16MiB to 16TiB")]);
    refused(&text("size: 1GiB, access: readers-many"), &[("5:28 PAN-100", "does not change"), ("5:14 PAN-100", "remove `size`")]);
    let Object::Volume(_, _, spec) = read("from: a@b, access: readers-many") else { panic!("it is no volume") };
    assert_eq!(spec.access, crate::volume::Access::ReadersMany);
    refused(&text("size: 1GiB, mount: /srv"), &[("5:20 PAN-100", "unknown field `mount`")]);
}

#[test]
fn sizes_are_bounded() {
    refused(&"#".repeat(TEXT_MAX + 1), &[("0:0 PAN-100", "at most")]);
    let head = "---\napi: pan/v1\nkind: Partition\nname: p";
    let many: Vec<String> = (0..=DOCUMENTS_MAX).map(|at| format!("{head}{at}\nspec: {{network: 10.0.0.0/24}}\n")).collect();
    assert!(read(&many.concat()).is_err_and(|all| all.last().is_some_and(|last| last.contains("more than 10000 documents"))));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let last = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); 10].join(", ")));
    }
    let found = read(&bomb).expect_err("a bomb");
    assert!(found.iter().any(|problem| problem.contains("aliases")), "{found:?}");
    let deep = "[".repeat(5_000);
    assert!(read(&deep).is_err());
    // Half of a thread's usual stack is enough for whatever is nested.
    for depth in [25, 60, 5_000] {
        let nested = format!("api: pan/v1\nkind: Partition\nname: a\nspec: {}1{}\n", "{a: ".repeat(depth), "}".repeat(depth));
        let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || read(&nested)).unwrap();
        let found = small.join().unwrap().expect_err("nested");
        assert!(found.iter().any(|problem| problem.contains("24 deep") || problem.contains("recursion")), "{found:?}");
    }
}

#[test]
fn texts_without_objects_are_refused() {
    for text in ["", "\n# only a comment\n", "---\n", "---\n---\n...\n", "null\n", "\u{feff}# bom\n"] {
        refused(text, &[("0:0 PAN-100", "no objects in it")]);
    }
    let good = format!("{CLUSTER}{COMMAND}");
    assert_eq!(parse(&[("none.yaml".into(), "# later\n".into()), ("f.yaml".into(), good)], None).map(|all| all.len()), Ok(1));
    assert_eq!(parse(&[], None).map(|all| all.len()), Ok(0));
}

#[test]
fn only_tags_of_the_core_schema_are_known() {
    let text = "api: !!str pan/v1\nkind: !!binary xyz\npartition: acme\nname: ! web\nspec:\n  !secret servers: !!int 3\n  image: host\n";
    refused(
        &format!("{text}  env: !vault {{A: b, C: !include d}}\n{COMMAND}"),
        &[
            ("2:16 PAN-100", "tag !!binary has no meaning"),
            ("6:11 PAN-100", "tag !secret"),
            ("8:15 PAN-100", "!vault"),
            ("8:34 PAN-100", "!include"),
        ],
    );
    cluster_refused("  env: {A: !!timestamp 2001-01-01}", &[("9:24 PAN-100", "cannot have this tag")]);
    assert!(read(&format!("!!map\n{CLUSTER}  env: !!map {{A: !!str b}}\n{COMMAND}")).is_ok());
}

#[test]
fn files_lie_where_files_can_lie() {
    let files = |paths: &[&str]| {
        let lines: Vec<String> = paths.iter().map(|path| format!("    - {{path: \"{path}\", content: x}}\n")).collect();
        format!("  files:\n{}", lines.concat())
    };
    let text = |paths: &[&str]| format!("{CLUSTER}{COMMAND}{}", files(paths));
    for path in ["etc/x", "/etc/../x", "/etc//x", "/etc/./x", "/", "/etc/", ""] {
        refused(&text(&[path]), &[("10:14 PAN-100", "is not a file's path")]);
    }
    for path in ["/proc/x", "/sys/kernel/x", "/dev/null", "/proc", "/dev"] {
        refused(&text(&[path]), &[("10:14 PAN-100", "belongs to the kernel")]);
    }
    refused(&text(&["/tmp"]), &[("10:14 PAN-100", "is a folder in every server")]);
    refused(&text(&[&format!("/etc/{}", "x".repeat(256))]), &[("10:14 PAN-100", "too long")]);
    refused(&text(&["/etc/a", "/etc/b", "/etc/a"]), &[("12:14 PAN-100", "given twice")]);
    refused(&text(&["/etc/a/b/c", "/etc/a"]), &[("10:14 PAN-100", "cannot lie in /etc/a")]);
    assert!(read(&text(&["/etc/passwd", "/etc/app/a.conf", "/run/x", "/tmp/x", "/processes", "/x"])).is_ok());
}

#[test]
fn a_server_needs_the_memory_to_start() {
    cluster_refused(
        "  resources: {memory: 5MiB}",
        &[("9:23 PAN-100", "too little memory for a server to start: 5MiB given, at least 6MiB needed")],
    );
    assert!(read(&format!("{CLUSTER}{COMMAND}  resources: {{memory: 6MiB}}\n")).is_ok());
}

#[test]
fn problems_beyond_measure_end_the_reading() {
    let entries: Vec<String> = (0..PROBLEMS_MAX + 500).map(|at| format!("    - {{path: x{at}, content: x}}\n")).collect();
    let found = read(&format!("{CLUSTER}{COMMAND}  files:\n{}", entries.concat())).unwrap_err();
    assert_eq!(found.len(), PROBLEMS_MAX + 1);
    assert!(found[PROBLEMS_MAX].contains("more than 1000 problems"), "{}", found[PROBLEMS_MAX]);
}

/// What one would correct one after the other is all named at once, in the order of the text.
#[test]
fn all_wrong_values_of_a_document_are_named_at_once() {
    let lines = "  servres: 3
  priority: x
  resources: {cpu: 5x, memory: 1G, disk: 1}
  stop:
    signal: term
    grace: 5
  after: [{cluster: DB}, {cluster: db}, {clutser: db}]
  labels:
    a b: c
    d: e
  spread: box
  files:
    - {path: /etc/a, content: 1}
    - {path: etc/b}
    - content: c
  protect: {failures: 0}";
    cluster_refused(
        lines,
        &[
            ("9:3 PAN-100", "unknown field `servres`"),
            ("10:13 PAN-100", "\"x\" is not a whole number"),
            ("11:20 PAN-100", "\"5x\" is not an amount of cpu"),
            ("11:32 PAN-100", "\"1G\" is not a size"),
            ("11:36 PAN-100", "unknown field `disk`"),
            ("13:13 PAN-100", "\"term\" is not known here"),
            ("14:12 PAN-100", "\"5\" is not a duration"),
            ("15:21 PAN-100", "\"DB\" is not a name"),
            ("15:42 PAN-100", "unknown field `clutser`"),
            ("17:10 PAN-100", "a b"),
            ("19:11 PAN-100", "\"box\" is not known here"),
            ("22:8 PAN-100", "missing field `content`"),
            ("23:7 PAN-100", "missing field `path`"),
            ("24:23 PAN-100", "0 failures"),
        ],
    );
}

#[test]
fn what_follows_from_a_wrong_value_is_no_problem_of_its_own() {
    // A field that is needed, in the spec and within it; a list whose later items have other numbers then.
    cluster_refused("  allow: [{from: NO, ports: [0]}, {from: web, ports: [0]}]", &[("9:18", "is not a name")]);
    let text = format!("{CLUSTER}{COMMAND}").replace("image: host", "image: disk").replace("servers: 3", "servers: x");
    refused(&text, &[("6:12", "whole number"), ("7:10", "is not an image")]);
    cluster_refused("  health: {tcp: {port: x}}\n  priority: 1000", &[("9:24", "whole number"), ("10:13", "expected 0 to 999")]);
    cluster_refused("  volumes: [{name: a, size: 1G, mount: /srv}]", &[("9:29", "is not a size")]);
}

#[test]
fn every_document_of_a_text_is_looked_at_whole() {
    let text = format!(
        "{CLUSTER}{COMMAND}  priority: x\n  spread: box\n---\napi: pan/v1\nkind: Partition\nname: A_b\nspec: {{network: 10.0.0.0/24, foo: 1, bar: 2}}\n"
    );
    let expected = [("9:13", "whole number"), ("10:11", "not known"), ("14:7", "is not a name"), ("15:30", "`foo`"), ("15:38", "`bar`")];
    refused(&text, &expected);
}

#[test]
fn wrong_values_beyond_measure_are_not_all_looked_for() {
    let rules: String = (0..50).map(|at| format!("{{from: BAD{at}}}, ")).collect();
    let found = read(&format!("{CLUSTER}{COMMAND}  allow: [{rules}]\n")).unwrap_err();
    assert_eq!(found.len(), 20, "{found:#?}");
    // Reading again is bounded for all documents together.
    let padding = format!("  # {}\n", "x".repeat(1 << 20));
    let one = |at: usize| format!("---\n{CLUSTER}{COMMAND}{padding}  allow: [{rules}]\n").replace("name: web", &format!("name: w{at}"));
    let files: Vec<_> = (0..3).map(|at| (format!("f{at}.yaml"), one(at))).collect();
    let found = parse(&files, None).unwrap_err();
    assert!(found.len() < 20 && found.len() > 6, "{}", found.len());
    assert!(files.iter().all(|(name, _)| found.iter().any(|problem| problem.place.source == *name)), "each has its first at least");
}
