//! Scenes with servers that mean harm, or that share the host with one: what is behind the boundary between partitions.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pan_api::desired::ServerOrder;
use pan_api::report::Phase;
use pan_model::ServerKey;

use crate::bench::{Bench, order};

pub const ALL: [(&str, fn()); 4] = [
    ("a_hostile_server_gets_nowhere", a_hostile_server_gets_nowhere),
    ("the_runtime_is_not_written_over_while_it_comes_in", the_runtime_is_not_written_over_while_it_comes_in),
    ("partitions_have_ids_of_their_own", partitions_have_ids_of_their_own),
    ("a_server_of_an_older_agent_is_isolated_at_its_next_start", a_server_of_an_older_agent_is_isolated_at_its_next_start),
];

/// What root in a server may do: see the list in `pan_linux::oci`.
const CAPABILITIES: &str = "00000000000405fb";
/// Where the program is in the server.
const PROGRAM: &str = "/opt/hostile";

fn of_partition(partition: &str, order: ServerOrder) -> ServerOrder {
    ServerOrder { key: ServerKey { partition: partition.parse().unwrap(), ..order.key }, ..order }
}

/// A server that leaves a file in its layer.
fn rival() -> ServerOrder {
    of_partition("rival", order("db-1", 10, 1, &["sh", "-c", "echo secret >/var/lib/canary; exec sleep 600"]))
}

/// Compiles the hostile program into the host's data folder, and puts it into the server `web-1` of `acme`.
fn plant(bench: &Bench) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/hostile.c");
    let program = bench.data.path().join("hostile");
    let done = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(done.expect("gcc is installed: run ./setup.sh test").success());
    bench.output(&["cp", "/srv/hostile", &format!("/run/pan-roots/acme.web-1/fs{PROGRAM}")]);
}

/// What it says of each attempt: `None` where it was let through, else why not.
fn attempts(said: &str) -> BTreeMap<String, Option<String>> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["done", what, _] => (what.to_owned(), None),
            ["refused", what, why] => (what.to_owned(), Some(why.to_owned())),
            _ => panic!("unexpected line {line:?} in:\n{said}"),
        }
    };
    said.lines().map(read).collect()
}

fn a_hostile_server_gets_nowhere() {
    let mut bench = Bench::start("hostile");
    bench.start_agent("agent");
    bench.desire(vec![order("web-1", 10, 1, &["sleep", "600"]), rival()]);
    bench.wait_healthy("web-1", 1);
    bench.wait_healthy("db-1", 1);
    plant(&bench);
    let canary = "/run/pan-roots/rival.db-1/fs/var/lib/canary";
    bench.wait_for("the other server's file", || (bench.outcome(&["cat", canary]).1 == "secret").then_some(()));

    // Of the host and of the other server, under the names that they have here and in the machine's own root.
    let data = bench.data.path().display().to_string();
    let layer = "state/servers/rival.db-1/upper/var/lib/canary";
    let secrets: Vec<String> =
        ["/etc/shadow", canary, "/run/pan/servers/rival.db-1/state.json", "/srv/own/key.pem", &format!("/srv/{layer}")]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("{data}/own/key.pem"), format!("{data}/{layer}")])
            .collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let inside = attempts(&bench.inside("web-1", &[&[PROGRAM], &secrets[..]].concat()));
    // The same as root of the host: what is refused above must be so because of what was done about it.
    let plain = attempts(&bench.output(&[&["unshare", "--mount", "/srv/hostile"], &secrets[..]].concat()));

    assert_eq!(inside.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (what, why) in &inside {
        let why = why.as_deref().unwrap_or("DONE");
        let otherwise = plain[what].as_deref().unwrap_or("done");
        println!("  {what:60} {why:40} as root of a host: {otherwise}");
    }
    let done: Vec<&String> = inside.iter().filter(|(_, why)| why.is_none()).map(|(what, _)| what).collect();
    assert!(done.is_empty(), "let through: {done:?}");
    let works = plain.values().filter(|why| why.is_none()).count();
    println!("  {} attempts, none let through; {works} are as root of a host", inside.len());
    assert!(works * 4 > inside.len() * 3, "a program that cannot do harm to anybody proves nothing");

    // Both servers run on, and the limits are where they should be.
    assert_eq!((bench.server("web-1").unwrap().restarts, bench.server("db-1").unwrap().restarts), (0, 0));
    assert_limits(&bench);
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// A program that is started in a server later has no more than the server.
fn assert_limits(bench: &Bench) {
    let of = |pid: &str| bench.inside("web-1", &["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", &format!("/proc/{pid}/status")]);
    let own = of("1");
    assert_eq!(of("self"), own);
    let fields: BTreeMap<&str, &str> = own.lines().filter_map(|line| line.split_once(":\t")).collect();
    let none = "0000000000000000";
    for (field, value) in [
        ("CapBnd", CAPABILITIES),
        ("CapEff", CAPABILITIES),
        ("CapPrm", CAPABILITIES),
        ("CapInh", none),
        ("CapAmb", none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(fields[field], value, "{field}");
    }
    assert!(bench.inside("web-1", &["cat", "/proc/self/cgroup"]).lines().all(|line| line.ends_with(":/")));
    // Of its own it may do what an image of today expects.
    let script = "echo words >/dev/stdout; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo answered; touch /etc/x && chown www-data /etc/x && \
                  setpriv --reuid=www-data --regid=www-data --clear-groups stat -c %U:%a /etc/x; mkfifo /tmp/f && echo piped; cat /sys/class/net/eth0/mtu";
    assert_eq!(bench.inside("web-1", &["sh", "-c", script]), "words\nanswered\nwww-data:644\npiped\n1430");
    // Neither a file nor a process limit of the host's own is in the way of these.
    let limit = |file: &str| bench.output(&["sh", "-c", &format!("cat $(find /sys/fs/cgroup -path '*acme.web-1/{file}')")]);
    assert_eq!(limit("pids.max"), "4096");
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    let (memory, swap) = if v1 { ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") } else { ("memory.max", "memory.swap.max") };
    assert_eq!(limit(memory), (64 << 20).to_string());
    let counted = if v1 { Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") } else { Path::new("/proc/swaps") };
    if counted.exists() {
        assert_eq!(limit(swap), if v1 { (64 << 20).to_string() } else { "0".to_owned() });
    }
}

/// CVE-2019-5736: a program in the server waits for the runtime, which comes in to start another one that is the runtime itself.
fn the_runtime_is_not_written_over_while_it_comes_in() {
    let mut bench = Bench::start("race");
    bench.start_agent("agent");
    bench.desire(vec![order("web-1", 10, 1, &["sleep", "600"])]);
    bench.wait_healthy("web-1", 1);
    plant(&bench);
    let runtime = PathBuf::from(bench.output(&["sh", "-c", "command -v runc"]));
    let before = fs::read(&runtime).unwrap();
    let exec = ["runc", "--root", "/run/pan/runc", "exec", "acme.web-1"];
    let mut racer = bench.spawn(&[&exec[..], &[PROGRAM, "--race", "8"]].concat());
    // It ends by itself, in a minute at most.
    while racer.try_wait().unwrap().is_none() {
        bench.outcome(&[&exec[..], &["/proc/self/exe"]].concat());
    }
    let said = String::from_utf8(racer.wait_with_output().unwrap().stdout).unwrap();
    println!("  {}", said.trim());
    assert!(said.starts_with("seen 8, ") && said.ends_with("written 0\n"), "{said}");
    assert!(fs::read(&runtime).unwrap() == before, "{} was changed", runtime.display());
    bench.desire(vec![]);
    bench.assert_empty();
}

/// What the file that names a partition's user namespace says of its ids.
fn first_id(bench: &Bench, partition: &str) -> String {
    let all = bench.output(&["ls", "/run/pan/users"]);
    let prefix = format!("{partition}.");
    all.lines().find_map(|name| name.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

fn partitions_have_ids_of_their_own() {
    let mut bench = Bench::start("ids");
    bench.start_agent("agent");
    let web = |name: &str, host| order(name, host, 1, &["sleep", "600"]);
    bench.desire(vec![web("web-1", 11), web("web-2", 12), rival()]);
    for name in ["web-1", "web-2", "db-1"] {
        bench.wait_healthy(name, 1);
    }
    let (acme, other) = (first_id(&bench, "acme"), first_id(&bench, "rival"));
    assert!(!acme.is_empty() && !other.is_empty() && acme != other, "{acme} {other}");
    let map = |bench: &Bench, name: &str| {
        bench.inside(name, &["cat", "/proc/self/uid_map"]).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(map(&bench, "web-1"), ["0", &acme, "65536"]);
    let space = |name: &str| bench.inside(name, &["readlink", "/proc/self/ns/user"]);
    assert_eq!(space("web-1"), space("web-2"));
    // What root of the server writes is neither root's nor anybody's in the host, and stays where only root of the host gets.
    bench.inside("web-1", &["touch", "/etc/mine"]);
    assert_eq!(bench.output(&["stat", "-c", "%u:%g", "/srv/state/servers/acme.web-1/upper/etc/mine"]), format!("{acme}:{acme}"));
    assert_eq!(bench.inside("web-1", &["stat", "-c", "%u:%g", "/etc/mine", "/etc/passwd", "/", "/usr"]), ["0:0"; 4].join("\n"));
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls"];
    for folder in ["/run/pan-roots/acme.web-1/fs", "/run/pan", "/srv/state/servers/acme.web-1/upper"] {
        let (code, said) = bench.outcome(&[&nobody[..], &[folder]].concat());
        assert!(code != 0 && said.contains("Permission denied"), "{folder}: {said}");
    }

    // The ids stay while anything of the partition does, whatever becomes of the agent and of one server; they are free after that.
    bench.kill_agent();
    bench.desire(vec![web("web-2", 12), rival()]);
    bench.start_agent("agent");
    bench.wait_for("web-1 to be gone", || bench.report().filter(|report| report.servers.len() == 2));
    assert_eq!((first_id(&bench, "acme"), map(&bench, "web-2")), (acme.clone(), vec!["0".to_owned(), acme.clone(), "65536".to_owned()]));
    bench.desire(vec![rival()]);
    bench.wait_for("no ids of acme's", || first_id(&bench, "acme").is_empty().then_some(()));
    bench.desire(vec![rival(), of_partition("next", web("web-1", 11))]);
    bench.wait_healthy("web-1", 1);
    // Which it gets is drawn anew: from the lowest that is free it could be told who else is there.
    let next = first_id(&bench, "next");
    assert!(!next.is_empty() && next != other, "{next}");
    assert_eq!(first_id(&bench, "rival"), other);

    // What a power cut left of a server is wiped by the next agent, whoever it belonged to.
    bench.kill_agent();
    bench.output(&[
        "sh",
        "-c",
        "mkdir -p /srv/state/servers/acme.web-1/upper/etc && echo secret >/srv/state/servers/acme.web-1/upper/etc/mine",
    ]);
    bench.start_agent("agent");
    bench.wait_for("the layer to be gone", || (bench.outcome(&["test", "-e", "/srv/state/servers/acme.web-1"]).0 != 0).then_some(()));
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// An agent from before there were user namespaces left a network namespace of the host's. What runs in it runs on; sysfs of it can be
/// mounted by nobody but the host, so another one is made at the next start.
fn a_server_of_an_older_agent_is_isolated_at_its_next_start() {
    let mut bench = Bench::start("older");
    bench.start_agent("agent");
    bench.desire(vec![order("web-1", 10, 1, &["sleep", "600"]), order("cron-1", 11, 1, &["sleep", "600"])]);
    bench.wait_healthy("cron-1", 1);
    let before = bench.wait_healthy("web-1", 1);
    bench.kill_agent();
    // As it would have been made then: the same name, with the same cable.
    let port = bench.output(&["sh", "-c", "ip -o link | sed -n 's/^[0-9]*: \\(ps[0-9a-f]*\\)@.*link-netns pan-acme.web-1.*/\\1/p'"]);
    bench.output(&["ip", "netns", "del", "pan-acme.web-1"]);
    bench.output(&["ip", "netns", "add", "pan-acme.web-1"]);
    bench.start_agent("agent");
    let adopted = bench.wait_healthy("web-1", 1);
    assert_eq!(adopted.instance, before.instance, "it was started again");
    assert!(!port.is_empty());

    let pid = bench.output(&["cat", "/run/pan/servers/acme.web-1/pid"]);
    bench.output(&["kill", "-9", &pid]);
    bench.wait_server("web-1", "started again", |server| server.restarts == 1 && server.phase == Phase::Healthy);
    assert_eq!(bench.inside("web-1", &["cat", "/sys/class/net/eth0/address"]), "02:70:0a:00:00:0a");
    let reached = || bench.outcome(&["ip", "netns", "exec", "pan-acme.cron-1", "ping", "-c", "1", "-W", "1", "10.0.0.10"]).0 == 0;
    bench.wait_for("an answer from it", || reached().then_some(()));
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}
