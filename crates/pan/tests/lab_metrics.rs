//! Every role of a lab answers `GET /metrics`, in a form that can be read, to controllers only; a failover shows in it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_api::metrics::{Sample, read};
use pan_lab::harness::{self, TestLab};
use pan_model::host_config::{CONTROLLER_PORT, DIRECTOR_METRICS_PORT, NODE_PORT, STORAGE_METRICS_PORT};
use story::{SOON, example, has, lab_of, server, str_of, text};

/// What a role says, asked from `from` with the certificate of that host.
fn ask(lab: &TestLab, from: &str, address: &str, port: u16) -> (String, String) {
    let tls = |file: &str| lab.data().join("hosts").join(from).join("etc/tls").join(file).to_str().unwrap().to_owned();
    let url = format!("https://{address}:{port}/metrics");
    let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
    let argv = ["curl", "-sS", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, "-w", "\n%{http_code}", &url];
    let output = lab.exec_in(from.parse().unwrap(), &argv).unwrap();
    let said = text(&output.stdout);
    let (page, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{url}: {}", text(&output.stderr)));
    (page.to_owned(), status.to_owned())
}

/// What becomes of somebody who asks a controller with a token.
fn with_token(lab: &TestLab, token: &str) -> String {
    let command = lab.pan_command(&[]).unwrap();
    let set = |name: &str| command.get_envs().find_map(|(key, value)| value.filter(|_| key == name)).unwrap().to_str().unwrap().to_owned();
    let url = format!("{}/metrics", set("PAN_URL").split(',').next().unwrap());
    let file = story::write(lab, "header", &format!("Authorization: Bearer {token}"));
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &set("PAN_CA"), "-H", &format!("@{file}"), &url]);
    text(&curl.output().unwrap().stdout)
}

fn number(samples: &[Sample], name: &str, label: Option<(&str, &str)>) -> f64 {
    let fits = |sample: &&Sample| label.is_none_or(|(key, value)| sample.labels.get(key).is_some_and(|found| found == value));
    samples.iter().filter(|sample| sample.name == name).filter(fits).map(|sample| sample.number).sum()
}

#[test]
fn every_role_shows_its_metrics_to_controllers() {
    let Some(lab) = lab_of(|| pan_lab::LabSpec { storage: 1, ..harness::spec().unwrap() }) else { return };
    if !has("curl") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    let node = str_of(&server(&lab, "demo", "web-1"), "node").to_owned();
    let hosts = story::json(&lab, &["get", "host"]);
    let address = |name: &str| {
        let host = hosts.as_array().unwrap().iter().find(|host| host["name"] == name).unwrap();
        str_of(host, "address").to_owned()
    };
    let shown = hosts.as_array().unwrap().iter().find(|host| host["name"] == node.as_str()).unwrap();
    assert_eq!(shown["lease"]["state"], "held", "{shown}");
    assert!(shown["lease"]["admission"].as_u64().unwrap() > 0 && shown["gate"]["kind"] != "none", "{shown}");

    let page = |name: &str, port| {
        let (page, status) = ask(&lab, "c1", &address(name), port);
        assert_eq!(status, "200", "{name}: {page}");
        assert!(!page.contains("demo") && !page.contains("web-1"), "{name} names a tenant's things:\n{page}");
        read(&page).unwrap_or_else(|error| panic!("{name}: {error}\n{page}"))
    };
    let mut last = Vec::new();
    // The beat process writes its counts once a second.
    lab.wait_for("lease renewals of the node", SOON, |_| {
        last = page(&node, NODE_PORT);
        number(&last, "pan_lease_changes_total", Some(("change", "renewed"))) > 0.0
    })
    .unwrap();
    assert!(number(&last, "pan_node_servers", Some(("phase", "healthy"))) >= 1.0);
    assert!(number(&last, "pan_server_starts_total", Some(("result", "ok"))) >= 1.0);
    assert!(number(&last, "pan_heartbeats_sent_total", None) > 0.0);
    assert!(number(&last, "pan_lease_remaining_seconds", None) > 0.0);
    let directors = [page("d1", DIRECTOR_METRICS_PORT), page("d2", DIRECTOR_METRICS_PORT)];
    let of_both = |name: &str| directors.iter().map(|one| number(one, name, None)).sum::<f64>();
    assert!(of_both("pan_director_takeovers_total") >= 1.0 && of_both("pan_director_heartbeats_received_total") > 0.0);
    // Likewise, of a host that came up last.
    lab.wait_for("s1 acknowledging, as a lessor", SOON, |_| {
        last = page("s1", STORAGE_METRICS_PORT);
        number(&last, "pan_lessor_acknowledgements_total", None) > 0.0
    })
    .unwrap();
    assert!(number(&last, "pan_storage_rounds_total", None) > 0.0);
    for (name, port) in [(node.as_str(), NODE_PORT), ("d1", DIRECTOR_METRICS_PORT), ("s1", STORAGE_METRICS_PORT)] {
        let (_, status) = ask(&lab, "d2", &address(name), port);
        assert!(status != "200", "{name} answers a director");
    }

    // Controllers, whose page is at an interface that anybody may reach, know more than one way to be asked.
    let (_, status) = ask(&lab, "d2", &address("c1"), CONTROLLER_PORT);
    assert_eq!(status, "401", "c1 answers a director");
    for (role, place, status) in [("pan-monitor", None, "200"), ("administrator", Some("demo"), "403")] {
        let mut line = vec!["token", "create", "--role", role];
        line.extend(place.iter().flat_map(|place| ["-p", *place]));
        assert_eq!(with_token(&lab, str_of(&story::json(&lab, &line), "token")), status, "{role}");
    }

    lab.kill(node.parse().unwrap()).unwrap();
    lab.wait_for("the failover in the metrics", SOON, |_| {
        last = page("c1", CONTROLLER_PORT);
        number(&last, "pan_failover_seconds_count", Some(("step", "in-tables"))) >= 1.0
    })
    .unwrap();
    assert!(number(&last, "pan_deaths_total", None) >= 1.0 && number(&last, "pan_suspicions_total", None) >= 1.0);
    assert!(number(&last, "pan_store_commit_seconds_count", None) > 0.0 && number(&last, "pan_plan_seconds_count", None) > 0.0);
    assert!(number(&last, "pan_heartbeats_received_total", Some(("fabric", "a"))) > 0.0);
}
