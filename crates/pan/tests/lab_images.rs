//! Servers whose images come from a registry on their nodes: they start, answer, start again without the registry, and say what is wrong
//! when an image is not to be had.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../pan-node/tests/registry/mod.rs"]
mod registry;
mod story;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use registry::{LAYER, LAYER_GZIP, Registry, archive};
use serde_json::json;
use story::{Beside, SOON, lab_of, pan, refused, server, str_of, text, wait_state};

/// Where the registry listens in every node's network namespace.
const PORT: u16 = 5000;

fn manifest(more: &str) -> String {
    format!(
        "
api: pan/v1
kind: Partition
name: shop
spec: {{network: 10.0.0.0/24, hostImage: deny}}
---
api: pan/v1
kind: Cluster
partition: shop
name: web
spec:
  servers: 2
  spread: node
  resources: {{cpu: 100m, memory: 64MiB}}
  stop: {{signal: KILL, grace: 1s}}
  health: {{http: {{port: 8080, path: /index.html}}, every: 200ms}}
  files: [{{path: /srv/www/index.html, content: \"made of an image\"}}]
{more}
---
api: pan/v1
kind: Service
partition: shop
name: www
spec: {{address: 198.18.0.10, port: 80, cluster: web, targetPort: 8080}}
"
    )
}

/// A static program, in two layers: the second replaces what is in the first.
fn layers() -> Vec<(&'static str, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let pack = |folder: &Path, options: &[&str]| archive(folder, options);
    for folder in ["below/bin", "below/etc", "below/srv/www", "above/etc", "above/opt"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::copy("/bin/busybox", at("below/bin/busybox")).unwrap();
    for tool in ["sh", "cat", "id", "stat", "ls", "httpd", "sleep", "env", "pwd"] {
        symlink("busybox", at("below/bin").join(tool)).unwrap();
    }
    fs::write(at("below/etc/passwd"), "root:x:0:0::/:/bin/sh\nwww:x:33:34::/:/bin/sh\n").unwrap();
    fs::write(at("below/etc/motd"), "below").unwrap();
    fs::write(at("above/etc/.wh.motd"), "").unwrap();
    fs::write(at("above/opt/mine"), "mine").unwrap();
    let below = pack(&at("below"), &["--owner=0", "--group=0", "--gzip"]);
    vec![(LAYER_GZIP, below), (LAYER, pack(&at("above"), &["--owner=33", "--group=34"]))]
}

/// The registry in a node's network namespace, of what was pushed before.
fn beside(lab: &TestLab, node: LabHost, folder: &Path) -> Beside {
    let configuration = registry::configuration(folder, PORT, "");
    let command = lab.exec(node, &["docker-registry".as_ref(), "serve".as_ref(), configuration.as_os_str()]).unwrap();
    let running = Beside::start(lab, command, &format!("registry-{node}.log"));
    let answers =
        |lab: &TestLab| lab.exec_in(node, &["curl", "-sf", "-m", "1", &format!("http://127.0.0.1:{PORT}/v2/")]).unwrap().status.success();
    lab.wait_for("a registry", SOON, answers).unwrap();
    running
}

fn inside(lab: &TestLab, argv: &[&str]) -> String {
    pan(lab, &[&["exec", "web-1", "-p", "shop", "--"], argv].concat()).trim().to_owned()
}

fn wait_message(lab: &TestLab, words: &str) {
    let seen = |lab: &TestLab| pan(lab, &["events", "-p", "shop"]).contains(words);
    lab.wait_for(&format!("an event that says {words:?}"), SOON, seen).unwrap_or_else(|error| {
        panic!("{error}\n{}\n{}", pan(lab, &["events", "-A"]), pan(lab, &["get", "server", "-p", "shop", "-o", "yaml"]))
    });
}

#[test]
fn servers_are_made_of_images_of_a_registry_and_outlive_it() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 3, storage: 0, directors: 1, ..harness::spec().unwrap() }) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "User": "www", "WorkingDir": "/opt", "Env": ["PATH=/bin", "FROM=image", "KEPT=yes"],
        "Entrypoint": ["httpd", "-f"], "Cmd": ["-p", "8080", "-h", "/srv/www"],
    });
    let digest = {
        let pushed = Registry::start(folder.path());
        pushed.push("shop/web", "v1", &layers(), &config)
    };
    let nodes = ["n1", "n2", "n3"].map(|node| lab.host(node).unwrap());
    let registries = nodes.map(|node| beside(&lab, node, folder.path()));

    // The partition may not have the node's own root, and needs it for nothing.
    let host = story::write(&lab, "host.yaml", &manifest("  image: host\n  command: [sleep, inf]"));
    assert!(refused(&lab, 4, &["apply", "-f", &host]).contains("image host is not allowed in this partition"));

    let image = format!("127.0.0.1:{PORT}/shop/web@{digest}");
    story::apply(&lab, "web.yaml", &manifest(&format!("  image: {image}\n  env: {{FROM: cluster}}")));
    let seen = lab.exec_outside(&["curl", "-s", "-m", "2", "http://198.18.0.10/index.html"]).unwrap();
    assert_eq!(text(&seen.stdout), "made of an image", "{}", lab.logs());

    // Defaults of the image, under what the cluster says.
    assert_eq!(inside(&lab, &["sh", "-c", "echo $FROM $KEPT $PAN_SERVER; pwd"]), "cluster yes web-1\n/opt");
    assert_eq!(inside(&lab, &["id", "-u"]), "33");
    // Owners as in the image, marks obeyed, and a layer of its own over it.
    assert_eq!(inside(&lab, &["stat", "-c", "%u:%g", "/bin/busybox", "/opt/mine"]), "0:0\n33:34");
    assert_eq!(inside(&lab, &["sh", "-c", "ls /etc/motd 2>/dev/null; echo new >/opt/new && cat /opt/new /opt/mine"]), "new\nmine");
    let place = |lab: &TestLab| lab.host(str_of(&server(lab, "shop", "web-1"), "node")).unwrap();
    let gone = lab.exec_in(place(&lab), &["sh", "-c", "find /var/lib/pan/images -name new -o -name motd"]).unwrap();
    assert_eq!(text(&gone.stdout), "", "the image itself stays as it is");

    // The node that gets it next has no image yet, and has it when the server is made ready there.
    let first = place(&lab);
    lab.kill(first).unwrap();
    let moved = |lab: &TestLab| {
        let now = server(lab, "shop", "web-1");
        now["state"] == "running" && now["node"] != first.to_string()
    };
    lab.wait_for("web-1 on another node", SOON, moved).unwrap();
    assert_eq!(inside(&lab, &["cat", "/opt/mine"]), "mine");

    // Without the registry: from what is here.
    for registry in registries {
        registry.stop();
    }
    let before = inside(&lab, &["sh", "-c", "echo $PAN_INSTANCE"]);
    pan(&lab, &["restart", "web-1", "-p", "shop"]);
    let anew = |lab: &TestLab| {
        let said = lab.pan(&["exec", "web-1", "-p", "shop", "--", "sh", "-c", "echo $PAN_INSTANCE"]).unwrap();
        said.status.success() && text(&said.stdout).trim() != before
    };
    lab.wait_for("another instance", SOON, anew).unwrap();
    wait_state(&lab, "shop", "web-1", "running");

    // Another partition has nothing of it, and says so without a word about this one or the host.
    let rival = manifest(&format!("  image: {image}")).replace("shop\n", "rival\n").replace("address: 198.18.0.10, ", "");
    let rival = story::write(&lab, "rival.yaml", &rival.replace("partition: shop", "partition: rival"));
    pan(&lab, &["apply", "-f", &rival]);
    let waits = |lab: &TestLab| pan(lab, &["events", "-p", "rival"]).contains(&format!("no answer from registry 127.0.0.1:{PORT}"));
    lab.wait_for("the rival's failure", SOON, waits).unwrap();
    pan(&lab, &["delete", "partition", "rival", "--cascade"]);
}

#[test]
fn an_image_that_is_not_to_be_had_is_told_with_the_reason() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, storage: 0, directors: 1, ..harness::spec().unwrap() }) else { return };
    let folder = tempfile::tempdir().unwrap();
    {
        let pushed = Registry::start(folder.path());
        pushed.push("shop/web", "v1", &layers(), &json!({}));
    }
    let node = lab.host("n1").unwrap();
    let _registry = beside(&lab, node, folder.path());
    let apply = |image: &str| {
        let cluster = manifest(&format!("  image: {image}")).replace("servers: 2", "servers: 1");
        let file = story::write(&lab, "wrong.yaml", &cluster);
        pan(&lab, &["apply", "-f", &file]);
    };
    apply(&format!("oci:127.0.0.1:{PORT}/shop/web@sha256:{}", "0".repeat(64)));
    wait_message(&lab, "it has no such image, or does not show it to everybody (404)");
    let why = pan(&lab, &["why", "server", "web-1", "-p", "shop"]);
    assert!(why.contains("(404)"), "{why}");
    apply("oci:registry.example/shop/web:v1");
    wait_message(&lab, "registry registry.example is not among those that may be used here");
    apply("oci-layout:none:v1");
    wait_message(&lab, "OCI layout none: there is no such folder or archive");
    // An image without a program of its own, and a cluster that gives none.
    apply(&format!("oci:127.0.0.1:{PORT}/shop/web:v1"));
    wait_message(&lab, "its image has no program of its own");
    let events = pan(&lab, &["events", "-p", "shop"]);
    for words in ["/var/lib", "/run/pan"] {
        assert!(!events.contains(words), "{events}");
    }
    let state = server(&lab, "shop", "web-1");
    assert_ne!(str_of(&state, "state"), "running");
}
