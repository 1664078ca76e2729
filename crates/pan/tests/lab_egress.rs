//! How much a server sends at most, measured through its partition's network: changed while it runs, kept by an agent that is killed,
//! and no matter of anybody else's.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use std::cell::Cell;
use story::{SOON, has, lab, pan, refused, server, str_of, text, write};

const MBIT: f64 = 1e6;

fn scene(egress: &str) -> String {
    let cluster = |name: &str, resources: &str| {
        format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: acme\nname: {name}\nspec:\n  servers: 1\n  image: host\n  command:\n    - sh\n    - -c\n    - |\n      \
             head -c 104857600 /dev/zero >/run/large; exec nginx -g 'daemon off;'\n  files:\n    - path: /etc/nginx/nginx.conf\n      content: |\n        \
             user root;\n        pid /run/nginx.pid;\n        error_log stderr;\n        events {{}}\n        http {{ access_log off; server {{ listen 80; root /run; }} }}\n  \
             resources: {{cpu: 50m, memory: 192MiB{resources}}}\n  stop: {{signal: KILL, grace: 1s}}\n  health: {{tcp: {{port: 80}}, every: 200ms}}\n"
        )
    };
    let head = "api: pan/v1\nkind: Partition\nname: acme\nspec: {network: 10.0.0.0/24, hostImage: allow}\n";
    format!("{head}{}{}{}", cluster("slow", egress), cluster("free", ""), cluster("sink", ""))
}

/// Bits a second that a server gets from another one, of so many bytes.
fn measure(lab: &TestLab, sink: (LabHost, &str), from: &str, bytes: u64) -> f64 {
    let address = server(lab, "acme", from)["address"].as_str().unwrap().to_owned();
    let (range, url) = (format!("0-{}", bytes - 1), format!("http://{address}/large"));
    let argv = ["ip", "netns", "exec", sink.1, "curl", "-sS", "-m", "60", "-r", &range, "-o", "/dev/null", "-w", "%{speed_download}", &url];
    let said = lab.exec_in(sink.0, &argv).unwrap();
    assert!(said.status.success(), "{}", text(&said.stderr));
    text(&said.stdout).parse::<f64>().unwrap() * 8.0
}

#[test]
fn a_server_sends_no_more_than_it_may() {
    let Some(lab) = lab() else { return };
    if !["nginx", "curl"].iter().all(|program| has(program)) {
        return;
    }
    let words = refused(&lab, 1, &["apply", "-f", &write(&lab, "wrong.yaml", &scene(", egress: 12MB"))]);
    assert!(words.contains("kbit, Mbit, Gbit"), "{words}");
    story::apply(&lab, "acme.yaml", &scene(", egress: 20Mbit"));
    let node = |name: &str| lab.host(str_of(&server(&lab, "acme", name), "node")).unwrap();
    let sink = (node("sink-1"), "pan-acme.sink-1");
    let host = node("slow-1");
    let started = || text(&lab.exec_in(host, &["ip", "netns", "pids", "pan-acme.slow-1"]).unwrap().stdout);
    let before = started();
    // What a bucket lets through at once after a pause is a 25th of it.
    let slow = |seconds: u64, mbit: u64| measure(&lab, sink, "slow-1", mbit * 125_000 * seconds) / MBIT;
    let check = |mbit: u64, what: &str| {
        let measured = slow(3, mbit);
        assert!((0.85..=1.15).contains(&(measured / mbit as f64)), "{what}: {measured} Mbit a second of {mbit}");
    };
    check(20, "at the start");
    let free = Cell::new(0.0);
    let both = std::thread::scope(|scope| {
        let slow = scope.spawn(|| slow(3, 20));
        free.set(measure(&lab, sink, "free-1", 100_000_000) / MBIT);
        slow.join().unwrap()
    });
    assert!((17.0..=23.0).contains(&both) && free.get() > 200.0, "beside each other: {both} and {}", free.get());

    pan(&lab, &["apply", "-f", &write(&lab, "acme.yaml", &scene(", egress: 60Mbit"))]);
    lab.wait_for("a higher rate", SOON, |_| slow(1, 20) > 40.0).unwrap();
    check(60, "changed");
    let old = lab.kill_role(host, "node").unwrap();
    check(60, "without an agent");
    lab.wait_for("a new agent", SOON, |lab| lab.role_pid(host, "node").is_ok_and(|pid| pid != old)).unwrap();
    lab.wait_ready(SOON).unwrap();
    check(60, "with a new agent");
    pan(&lab, &["apply", "-f", &write(&lab, "acme.yaml", &scene(""))]);
    lab.wait_for("no limit", SOON, |_| measure(&lab, sink, "slow-1", 50_000_000) > 200.0 * MBIT).unwrap();
    assert!(!before.is_empty() && started() == before, "nothing was started again");
}
