//! The scenes.

use std::fs;
use std::time::{Duration, Instant};

use pan_api::desired::{RunOrder, ServerOrder};
use pan_api::report::Phase;
use pan_model::cluster::{ExecCheck, HealthSpec, StopSignal, StopSpec};
use pan_model::{ByteSize, Cpu, Epoch, Resources, Span};

use crate::bench::{Bench, nginx, order};

pub const ALL: [(&str, fn()); 9] = [
    ("a_server_lives_and_dies", a_server_lives_and_dies),
    ("what_is_made_ready_neither_runs_nor_is_reached", what_is_made_ready_neither_runs_nor_is_reached),
    ("a_slow_stop_holds_up_nobody", a_slow_stop_holds_up_nobody),
    ("servers_that_end_are_restarted_and_given_up", servers_that_end_are_restarted_and_given_up),
    ("a_runtime_that_lost_its_notes_holds_up_no_stop", a_runtime_that_lost_its_notes_holds_up_no_stop),
    ("a_server_that_forks_for_ever_is_ended", a_server_that_forks_for_ever_is_ended),
    ("the_most_that_a_server_takes_changes_while_it_runs", the_most_that_a_server_takes_changes_while_it_runs),
    ("an_agent_may_die_at_any_point", an_agent_may_die_at_any_point),
    ("controllers_and_nobody_else_are_answered", controllers_and_nobody_else_are_answered),
];

fn a_server_lives_and_dies() {
    let mut bench = Bench::start("live");
    bench.start_agent("agent");
    let sleeper = || order("cron-1", 11, 1, &["sleep", "600"]);
    bench.desire(vec![nginx("web-1", 10, 1), sleeper()]);
    let web = bench.wait_healthy("web-1", 1);
    let cron = bench.wait_healthy("cron-1", 1);
    let names: Vec<&str> = web.steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ordered", "netns", "rootfs", "runc-started", "first-healthy"]);
    assert!(web.steps.is_sorted_by_key(|(_, at)| *at));
    println!("  web-1 healthy {} ms after the order", (web.steps[4].1 - web.steps[0].1) / 1000);
    bench.wait_for("everything applied", || (bench.report()?.applied.step == 1).then_some(()));

    assert_world(&bench, &web.instance.unwrap());

    // The agent dies and comes back: nothing of the servers changes, and its first report says so.
    let pids = bench.output(&["pgrep", "-x", "nginx|sleep"]);
    bench.kill_agent();
    assert_eq!(bench.output(&["pgrep", "-x", "nginx|sleep"]), pids);
    bench.start_agent("agent");
    let first = bench.wait_for("a report", || bench.report());
    let phases: Vec<_> = first.servers.iter().map(|server| (server.phase, server.epoch, server.restarts)).collect();
    assert_eq!(phases, [(Phase::Healthy, Epoch(1), 0); 2]);
    assert_eq!(first.servers[0].instance, cron.instance);
    assert_eq!(bench.output(&["pgrep", "-x", "nginx|sleep"]), pids);

    // A newer epoch is a new binding; the other server is not touched; an older order is refused.
    bench.desire(vec![nginx("web-1", 10, 2), sleeper()]);
    let newer = bench.wait_healthy("web-1", 2);
    bench.desire(vec![nginx("web-1", 10, 1), sleeper()]);
    let refused = bench.wait_server("web-1", "refused", |server| server.message.is_some());
    assert_eq!(refused.message.unwrap(), "refused an order of epoch 1: epoch 2 is here");
    assert_eq!((refused.instance, refused.phase), (newer.instance, Phase::Healthy));
    assert_eq!(bench.server("cron-1").unwrap().instance, cron.instance);

    // A restart that an operator asks for.
    let again = ServerOrder { incarnation: 2, ..nginx("web-1", 10, 2) };
    bench.desire(vec![again.clone(), sleeper()]);
    bench.wait_server("web-1", "of incarnation 2", |server| server.incarnation == 2 && server.phase == Phase::Healthy);

    // Its address moves to another node: it is cut off here at once.
    let fetch = ["ip", "netns", "exec", "pan-acme.cron-1", "curl", "-s", "-m", "1", "http://10.0.0.10/"];
    assert_eq!(bench.output(&fetch), "web-1");
    bench.desire_on("n2", vec![again.clone(), sleeper()]);
    bench.wait_for("its port to be closed", || (bench.outcome(&fetch).0 != 0).then_some(()));
    bench.desire(vec![again.clone(), sleeper()]);
    bench.wait_for("its port to be open", || (bench.outcome(&fetch).0 == 0).then_some(()));

    // Stop is orderly, and then nothing of it is left; held, it is not started.
    let stopped = ServerOrder { run: RunOrder::Stop, ..again.clone() };
    let start = Instant::now();
    bench.desire(vec![stopped, sleeper()]);
    bench.wait_server("web-1", "absent", |server| server.phase == Phase::Absent);
    assert!(start.elapsed() < Duration::from_secs(4), "nginx ends on QUIT, long before its grace is over");
    assert!(bench.output(&["cat", "/srv/state/servers/acme.web-1.log"]).contains("GET / HTTP/1"));
    assert_eq!(bench.output(&["ls", "/run/netns"]), "pan-acme.cron-1");
    let held = ServerOrder { run: RunOrder::Hold, ..again };
    bench.desire(vec![held, sleeper()]);

    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

fn what_is_made_ready_neither_runs_nor_is_reached() {
    let mut bench = Bench::start("warm");
    bench.start_agent("agent");
    let neighbour = || order("cron-1", 11, 1, &["sleep", "600"]);
    let warm = || ServerOrder { incarnation: 0, ..nginx("web-1", 10, 0) };
    bench.warm(vec![neighbour()], vec![warm()]);
    bench.wait_healthy("cron-1", 1);
    let state = |bench: &Bench| bench.outcome(&["runc", "--root", "/run/pan/runc", "state", "acme.web-1"]).1;
    bench.wait_for("a container that waits", || state(&bench).contains("\"created\"").then_some(()));
    let fetch = ["ip", "netns", "exec", "pan-acme.cron-1", "curl", "-s", "-m", "1", "http://10.0.0.10/"];
    assert_ne!(bench.outcome(&fetch).0, 0);
    assert_eq!(bench.output(&["sh", "-c", "pgrep -x nginx || true"]), "");
    assert!(bench.server("web-1").is_none(), "nobody is told of it");

    // The order comes: what was made is what runs.
    let waiting = bench.output(&["cat", "/run/pan/servers/acme.web-1/pid"]);
    bench.desire(vec![nginx("web-1", 10, 1), neighbour()]);
    let web = bench.wait_healthy("web-1", 1);
    let names: Vec<&str> = web.steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["made-ready", "ordered", "runc-started", "first-healthy"]);
    assert_eq!(bench.output(&["cat", "/run/pan/servers/acme.web-1/pid"]), waiting);
    assert_world(&bench, &web.instance.unwrap());

    // Another image than was made ready, and an agent that died meanwhile, are made anew; a suspicion that ends leaves nothing.
    bench.desire(vec![neighbour()]);
    bench.wait_for("web-1 to be gone", || bench.server("web-1").is_none().then_some(()));
    for (epoch, dies) in [(2, false), (3, true)] {
        bench.warm(vec![neighbour()], vec![order("web-1", 10, 0, &["sleep", "5"])]);
        bench.wait_for("a container that waits", || state(&bench).contains("\"created\"").then_some(()));
        if dies {
            bench.kill_agent();
            bench.start_agent("agent");
        }
        bench.desire(vec![nginx("web-1", 10, epoch), neighbour()]);
        let web = bench.wait_healthy("web-1", epoch);
        assert_eq!(web.steps[0].0, "ordered");
        bench.desire(vec![neighbour()]);
        bench.wait_for("web-1 to be gone", || bench.server("web-1").is_none().then_some(()));
    }
    bench.warm(vec![], vec![warm()]);
    bench.wait_for("a container that waits", || state(&bench).contains("\"created\"").then_some(()));
    bench.desire(vec![]);
    bench.assert_empty();
}

/// What a server sees, and what its network looks like.
fn assert_world(bench: &Bench, instance: &str) {
    let sh = |script: &str| bench.inside("web-1", &["sh", "-c", script]);
    assert_eq!(sh("hostname; cat /etc/hostname"), "web-1\nweb-1");
    assert_eq!(sh("cat /run/given"), "under a tmpfs");
    assert!(sh("cat /etc/hosts").contains("10.0.0.10 web-1\nfd00:1::a web-1"));
    assert_eq!(sh("echo $MODE $PAN_PARTITION $PAN_CLUSTER $PAN_SERVER $PAN_INSTANCE"), format!("demo acme web web-1 {instance}"));
    assert_eq!(sh("cat /etc/shadow /etc/gshadow; ls -A /root /home /usr/share/doc /etc/ssh; ls /run /tmp").matches("ssh_host").count(), 0);
    assert_eq!(
        sh("cat /etc/shadow /etc/shadow- /etc/gshadow- 2>/dev/null; ls -A /var/backups; ls -A /root; ls -A /usr/share/doc; ls -A /tmp"),
        ""
    );
    assert_eq!(sh("cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu"), "02:70:0a:00:00:0a\n1430");
    let ip = |words: &[&str]| bench.output(&[&["ip", "-n", "pan-acme.web-1"], words].concat());
    let v4 = ip(&["-4", "route"]);
    assert!(v4.contains("default via 10.0.0.1 dev eth0") && v4.contains("rto_min lock 20ms"), "{v4}");
    let v6 = ip(&["-6", "route", "show", "dev", "eth0"]);
    assert!(v6.contains("default via fd00:1::1") && v6.contains("fd00:1::/64"), "{v6}");
    let subnet: Vec<&str> = v6.lines().filter(|line| line.starts_with("fd00:1::/64")).collect();
    assert!(subnet.len() == 1 && subnet[0].contains("rto_min lock 20ms"), "{v6}");
    let addresses = ip(&["-6", "addr", "show", "dev", "eth0"]);
    assert!(!addresses.contains("fe80") && !addresses.contains("tentative"), "{addresses}");
    for address in ["10.0.0.10", "[fd00:1::a]"] {
        let url = format!("http://{address}/");
        assert_eq!(bench.output(&["ip", "netns", "exec", "pan-acme.cron-1", "curl", "-s", "-m", "2", &url]), "web-1");
    }
    assert!(bench.output(&["ip", "route"]).contains("10.200.0.12"));
}

fn servers_that_end_are_restarted_and_given_up() {
    let mut bench = Bench::start("ends");
    bench.start_agent("agent");
    let broken = order("bad-1", 12, 1, &["sh", "-c", "exit 7"]);
    let absent = ServerOrder { restart_attempts: 0, ..order("none-1", 13, 1, &["/no/such/program"]) };
    let sick = ServerOrder {
        health: Some(HealthSpec {
            http: None,
            tcp: None,
            exec: Some(ExecCheck { command: vec!["test".into(), "!".into(), "-e".into(), "/tmp/sick".into()] }),
            every: Span::millis(50),
            failures: 2,
            timeout: Span::millis(2_000),
            start: Span::millis(60_000),
        }),
        ..order("sick-1", 15, 1, &["sleep", "600"])
    };
    let check = |script: &str| Some(ExecCheck { command: vec!["sh".into(), "-c".into(), script.into()] });
    let never = ServerOrder {
        health: Some(HealthSpec {
            exec: check("echo waits for the moon >&2; false"),
            start: Span::millis(300),
            ..sick.health.clone().expect("it has one")
        }),
        restart_attempts: 1,
        ..order("never-1", 16, 1, &["sleep", "600"])
    };
    bench.desire(vec![broken, absent, order("cron-1", 14, 1, &["sleep", "600"]), sick, never]);

    let failed = bench.wait_server("bad-1", "failed", |server| server.phase == Phase::Failed);
    let message = failed.message.unwrap();
    assert!(message.contains("status 7") && message.ends_with("2 restarts are used up"), "{message}");
    assert_eq!(failed.restarts, 2);
    let failed = bench.wait_server("none-1", "failed", |server| server.phase == Phase::Failed);
    let message = failed.message.unwrap();
    assert!(message.contains("/no/such/program"), "{message}");

    let failed = bench.wait_server("never-1", "failed", |server| server.phase == Phase::Failed);
    let message = failed.message.unwrap();
    assert!(message.contains("not healthy within 300ms of its start: check"), "{message}");
    assert!(message.contains("ended with status 1: waits for the moon; its one restart is used up"), "{message}");
    assert_eq!(failed.restarts, 1);

    let before = bench.wait_healthy("cron-1", 1);
    let state = bench.output(&["runc", "--root", "/run/pan/runc", "state", "acme.cron-1"]);
    let pid = serde_json::from_str::<serde_json::Value>(&state).unwrap()["pid"].to_string();
    bench.output(&["kill", "-9", &pid]);
    let after = bench.wait_server("cron-1", "restarted", |server| server.restarts == 1 && server.phase == Phase::Healthy);
    assert_ne!(after.instance, before.instance);

    bench.wait_healthy("sick-1", 1);
    bench.inside("sick-1", &["touch", "/tmp/sick"]);
    bench.wait_server("sick-1", "unhealthy", |server| server.phase == Phase::Unhealthy);
    bench.wait_server("sick-1", "cured by a restart", |server| server.phase == Phase::Healthy && server.restarts == 1);

    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// Thousands of processes that fork, with a fifth of a processor for all of them, die soon once the server's time to stop is over.
fn a_server_that_forks_for_ever_is_ended() {
    let mut bench = Bench::start("forks");
    bench.start_agent("agent");
    let stop = StopSpec { signal: StopSignal::Kill, grace: Span::millis(500) };
    let resources = Resources::new(Cpu(200), ByteSize(1 << 30));
    let bomb = order("web-1", 10, 1, &["perl", "-e", "fork while 1"]);
    bench.desire(vec![ServerOrder { cpu_max: Some(Cpu(200)), resources, stop, ..bomb }]);
    bench.wait_healthy("web-1", 1);
    bench.wait_for("many processes", || (bench.output(&["pgrep", "-c", "-x", "perl"]).parse::<u32>().ok()? > 1_000).then_some(()));
    let began = Instant::now();
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    println!("  ended {} ms after the order", began.elapsed().as_millis());
    assert!(began.elapsed() < Duration::from_secs(15));
    bench.assert_empty();
}

/// Its partition is given a limit, another one by an agent that finds the server running, and none again.
fn the_most_that_a_server_takes_changes_while_it_runs() {
    let mut bench = Bench::start("most");
    bench.start_agent("agent");
    let sleeper = |most: Option<u64>| ServerOrder { cpu_max: most.map(Cpu), ..order("cron-1", 11, 1, &["sleep", "600"]) };
    bench.desire(vec![sleeper(None)]);
    let first = bench.wait_healthy("cron-1", 1);
    let quota = |bench: &Bench| {
        let (v1, v2) = ("/sys/fs/cgroup/cpu/panloom/acme.cron-1", "/sys/fs/cgroup/panloom/acme.cron-1");
        let read = format!("cat {v2}/cpu.max 2>/dev/null || paste -d' ' {v1}/cpu.cfs_quota_us {v1}/cpu.cfs_period_us");
        let text = bench.output(&["sh", "-c", &read]);
        let (quota, period) = text.trim().split_once(' ').unwrap();
        quota.parse::<f64>().ok().filter(|quota| *quota > 0.0).map(|quota| quota / period.parse::<f64>().unwrap())
    };
    assert_eq!(quota(&bench), None);
    bench.desire(vec![sleeper(Some(500))]);
    bench.wait_for("half a processor", || (quota(&bench) == Some(0.5)).then_some(()));
    bench.kill_agent();
    bench.desire(vec![sleeper(Some(20))]);
    bench.start_agent("agent");
    bench.wait_for("a fiftieth of a processor", || (quota(&bench) == Some(0.02)).then_some(()));
    bench.desire(vec![sleeper(None)]);
    bench.wait_for("no limit", || quota(&bench).is_none().then_some(()));
    assert_eq!(bench.server("cron-1").unwrap().instance, first.instance, "it runs on");
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// What the runtime noted of a container is empty, is something else, or is gone: the server ends all the same, and starts again.
fn a_runtime_that_lost_its_notes_holds_up_no_stop() {
    let mut bench = Bench::start("notes");
    bench.start_agent("agent");
    let notes = "/run/pan/runc/acme.cron-1/state.json";
    let damages = [format!(": >{notes}"), format!("echo '{{' >{notes}"), format!("echo '{{}}' >{notes}"), format!("rm {notes}")];
    for (round, damage) in damages.iter().enumerate() {
        let epoch = 1 + round as u64;
        bench.desire(vec![order("cron-1", 11, epoch, &["sleep", "600"])]);
        bench.wait_healthy("cron-1", epoch);
        bench.output(&["sh", "-c", damage]);
    }
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();

    // The same to an agent that finds it so, and no record either.
    for damage in &damages {
        bench.desire(vec![order("cron-1", 11, 9, &["sleep", "600"])]);
        bench.wait_healthy("cron-1", 9);
        bench.kill_agent();
        bench.output(&["sh", "-c", &format!("{damage}; rm /run/pan/servers/acme.cron-1/state.json")]);
        bench.desire(vec![]);
        bench.start_agent("agent");
        bench.wait_for("a report without servers", || bench.report()?.servers.is_empty().then_some(()));
        bench.assert_empty();
    }
}

fn a_slow_stop_holds_up_nobody() {
    let mut bench = Bench::start("many");
    bench.start_agent("agent");
    // It counts as healthy only once it is stubborn.
    let stubborn = ServerOrder {
        health: Some(HealthSpec {
            http: None,
            tcp: None,
            exec: Some(ExecCheck { command: vec!["test".into(), "-e".into(), "/tmp/stubborn".into()] }),
            every: Span::millis(200),
            failures: 2,
            timeout: Span::millis(5_000),
            start: Span::millis(60_000),
        }),
        ..order("slow-1", 10, 1, &["sh", "-c", "trap '' TERM; touch /tmp/stubborn; while :; do sleep 0.1; done"])
    };
    let others: Vec<ServerOrder> = (1..=40).map(|number| order(&format!("cron-{number}"), 10 + number, 1, &["sleep", "600"])).collect();
    let start = Instant::now();
    let all: Vec<ServerOrder> = others.into_iter().chain([stubborn]).collect();
    bench.desire(all.clone());
    let healthy = |count| {
        let report = bench.report()?;
        (report.servers.iter().filter(|server| server.phase == Phase::Healthy).count() == count).then_some(())
    };
    bench.wait_for("41 healthy servers", || healthy(41));
    println!("  41 servers run {} ms after the order", start.elapsed().as_millis());

    let start = Instant::now();
    bench.desire(all.into_iter().map(|order| ServerOrder { run: RunOrder::Stop, ..order }).collect());
    let left =
        || bench.report().map(|report| report.servers.into_iter().filter(|server| server.phase != Phase::Absent).collect::<Vec<_>>());
    let last = bench.wait_for("all but one to go", || left().filter(|servers| servers.len() == 1));
    println!("  40 of them are gone {} ms after that order", start.elapsed().as_millis());
    assert_eq!((last[0].key.name.as_str(), last[0].phase), ("slow-1", Phase::Stopping));
    bench.wait_for("the last one to be killed", || left().filter(Vec::is_empty));
    assert!(start.elapsed() >= Duration::from_secs(5), "its grace was not kept");
    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// Kills the agent at many points of stops and starts; the next one always gets to the same end.
fn an_agent_may_die_at_any_point() {
    let mut bench = Bench::start("die");
    bench.start_agent("agent");
    let orders = |epoch| vec![nginx("web-1", 10, epoch), order("cron-1", 11, epoch, &["sleep", "600"])];
    for round in 1..=16_u64 {
        bench.desire(orders(round));
        std::thread::sleep(Duration::from_millis(round * 8));
        bench.kill_agent();
        bench.start_agent("agent");
    }
    // Also when nothing new is ordered meanwhile.
    bench.desire(orders(17));
    std::thread::sleep(Duration::from_millis(60));
    bench.kill_agent();
    bench.start_agent("agent");
    assert_both_reachable(&bench, 17);
    assert_eq!(bench.output(&["pgrep", "-c", "-x", "sleep"]), "1");

    // The one moment that sleeping does not hit for sure: the containers run, and nobody wrote it down.
    bench.kill_agent();
    let instances = ["web-1", "cron-1"].map(|name| forget_start(&bench, name));
    bench.output(&["sh", "-c", "for port in /sys/class/net/ps*; do ip link set ${port##*/} down nomaster; done"]);
    bench.start_agent("agent");
    assert_both_reachable(&bench, 17);
    let adopted = ["web-1", "cron-1"].map(|name| bench.server(name).unwrap().instance.unwrap());
    assert_eq!(adopted, instances, "they were started again");

    bench.desire(vec![]);
    bench.wait_for("no servers in the report", || bench.report()?.servers.is_empty().then_some(()));
    bench.assert_empty();
}

/// Both servers are healthy under `epoch` and reach each other, so both ports are on the bridge.
fn assert_both_reachable(bench: &Bench, epoch: u64) {
    bench.wait_healthy("web-1", epoch);
    bench.wait_healthy("cron-1", epoch);
    let fetch = ["ip", "netns", "exec", "pan-acme.cron-1", "curl", "-s", "-m", "1", "http://10.0.0.10/"];
    bench.wait_for("an answer over the bridge", || (bench.outcome(&fetch) == (0, "web-1".into())).then_some(()));
}

/// Takes a running server's record back to the middle of its start, and returns the instance that runs.
fn forget_start(bench: &Bench, server: &str) -> String {
    let path = format!("/run/pan/servers/acme.{server}/state.json");
    let mut record: serde_json::Value = serde_json::from_str(&bench.output(&["cat", &path])).unwrap();
    let instance = record["stage"]["running"]["container"]["instance"].as_str().unwrap().to_owned();
    record["stage"] = serde_json::json!({"preparing": {"instance": instance}});
    fs::write(bench.data.path().join("record.json"), record.to_string()).unwrap();
    bench.output(&["cp", "/srv/record.json", &path]);
    instance
}

fn controllers_and_nobody_else_are_answered() {
    let mut bench = Bench::start("https");
    bench.desire(vec![nginx("web-1", 10, 1)]);
    bench.output(&["sh", "-c", "mkdir -p /run/pan && cp /srv/desired.json /run/pan/desired-node.json"]);
    bench.start_agent("full");
    let exe = std::env::current_exe().unwrap();
    let ask = |who: &str, words: &[&str]| bench.outcome(&[&[exe.to_str().unwrap(), "ask", who], words].concat());
    bench.wait_for("the server's answer", || (ask("/srv/controller", &["exec", "true"]).0 == 0).then_some(()));
    let script = "read line; echo got $line; echo oops >&2; exit 5";
    let (code, said) = ask("/srv/controller", &["exec", "sh", "-c", script]);
    assert_eq!(code, 5);
    assert!(said.contains("got given") && said.contains("oops"), "{said}");
    for (program, status, words) in [("nosuch", 127, "no program \"nosuch\""), ("/etc/hostname", 126, "no program that the server may run")]
    {
        let (code, said) = ask("/srv/controller", &["exec", program]);
        assert!(code == status && said.starts_with("exec in server acme/web-1: ") && said.contains(words), "{program}: {code} {said}");
    }
    let (code, said) = ask("/srv/controller", &["glance", "sh", "-c", "sleep 4242 & (sh -c 'sleep 4243; true') & echo ready; sleep 4244"]);
    assert_eq!(code, 0, "{said}");
    let left = || bench.output(&["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'sleep [4]24[0-9]' || true"]);
    bench.wait_for("what nobody listens to any more to end", || left().is_empty().then_some(()));
    bench.wait_for("a line of the log", || ask("/srv/controller", &["logs"]).1.contains("GET / HTTP/1.0").then_some(()));
    let (code, said) = ask("/srv/own", &["logs"]);
    assert_eq!(code, 99);
    assert!(said.starts_with("PAN-401"), "{said}");
    assert!(fs::exists(bench.data.path().join("state/servers/acme.web-1.log")).unwrap());
}

/// Starts of servers one after the other, on a host that has nothing else to do: what each step takes, in the middle and at worst.
pub fn starts() -> std::process::ExitCode {
    const STARTS: u64 = 20;
    let mut bench = Bench::start("starts");
    bench.start_agent("agent");
    let mut steps: Vec<Vec<i64>> = Vec::new();
    for epoch in 1..=STARTS {
        bench.desire(vec![order("cron-1", 10, epoch, &["sleep", "600"])]);
        let at: Vec<i64> = bench.wait_healthy("cron-1", epoch).steps.iter().map(|(_, at)| *at).collect();
        let mut taken: Vec<i64> = at[..4].windows(2).map(|pair| pair[1] - pair[0]).collect();
        taken.push(at[3] - at[0]);
        steps.push(taken);
    }
    for (index, name) in ["namespaces and cable", "root file system", "container", "all of it"].into_iter().enumerate() {
        let mut all: Vec<i64> = steps.iter().map(|taken| taken[index]).collect();
        all.sort_unstable();
        println!("{name}: median {} us, worst {} us of {STARTS}", all[all.len() / 2], all[all.len() - 1]);
    }
    std::process::ExitCode::SUCCESS
}
