//! The command line where no PAN answers: usage, help, contexts, exit codes, and that data stays data.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};

/// As `pan lab` has it: what the context names, unless something is named.
#[test]
fn down_is_about_the_laboratory_of_the_context() {
    let user = User::new("down");
    let output = user.command("down").env("PAN_CONTEXT", "nowhere").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), "there was no laboratory nowhere\n"));
    let output = user.command("down --name elsewhere").env("PAN_CONTEXT", "nowhere").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "there was no laboratory elsewhere\n");
}

/// A user of their own: no context, no variables, a folder that goes with them.
struct User {
    home: PathBuf,
}

impl User {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("pan-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(home.join("pan")).unwrap();
        Self { home }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
        command.args(line.split_whitespace()).env("XDG_CONFIG_HOME", &self.home).current_dir(&self.home);
        for name in ["PAN_URL", "PAN_TOKEN", "PAN_CA", "PAN_PARTITION", "PAN_CONTEXT", "PAN_LAB"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.join(name), text).unwrap();
    }

    /// Two contexts of PANs that are not there; `near` is current.
    fn with_contexts(self) -> Self {
        let ca = pan_api::pki::Authority::create().unwrap();
        self.write("ca.pem", ca.cert_pem());
        let ca = self.home.join("ca.pem").display().to_string();
        // A port that was free a moment ago: a connection to it is refused.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "current: near\ncontexts:\n  - {{name: near, url: 'https://{free}', token: pan_secret, ca: {ca}, partition: acme}}\n  - {{name: far, url: 'https://{free}', token: pan_other, ca: {ca}}}\n"
        );
        self.write("pan/config.yaml", &text);
        self
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The exit code, and a part of what is said on stderr; stdout stays empty.
#[track_caller]
fn fails(output: &Output, exit: i32, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.contains(part), "no {part:?} in\n{said}");
    assert_eq!(stdout(output), "");
}

#[track_caller]
fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error} in {}", stdout(output)))
}

#[test]
fn wrong_usage_is_exit_2_and_says_what_is_expected() {
    let user = User::new("usage").with_contexts();
    for (line, part) in [
        ("get box", "possible values: partition, cluster, server"),
        ("nonsense", "unrecognized subcommand"),
        ("get server -o xml", "possible values: table, wide, json, jsonl, yaml"),
        ("get server web-1 -A", "-A shows all"),
        ("get server -p A_b", "is not a name"),
        ("get server --context far", "-p PARTITION"),
        ("events --context far", "-A is all"),
        ("apply", "--file"),
        ("apply -f x --wait=5", "is not a duration"),
        ("wait server web-1 --for up", "expected ready, deleted or state=STATE"),
        ("wait server web-1 --for state=up", "expected one of unknown, pending, starting, running"),
        ("wait event x", "no state to wait for"),
        ("wait serverr web-1", "invalid value 'serverr'"),
        ("wait server acme/Web_1", "no server can be called that: \"Web_1\" is not a name"),
        ("wait server acme/web", "expected CLUSTER-N, like web-1"),
        ("wait server acme/web-01 --for deleted", "expected CLUSTER-N, like web-1"),
        ("wait volume acme/a..b", "no volume can be called that"),
        ("wait node n1/x", "no node can be called that"),
        ("scale server web-1 3", "pan scale cluster NAME N"),
        ("scale cluster web many", "invalid value"),
        ("delete", "required"),
        ("delete cluster", "required"),
        ("delete server web-1", "pan scale cluster"),
        ("delete cluster web -f x", "cannot be used with"),
        ("edit server web-1", "expected partition, cluster, service, import or policy"),
        ("describe event x", "pan events"),
        ("exec web-1 -- ", "required"),
        ("node", "pan node drain NODE"),
        ("node drain", "required"),
        ("node drain N1", "is not a name"),
        ("node label n1 rack", "KEY=VALUE"),
        ("whatif", "--fail"),
        ("whatif --add-node bad", "expected name=NAME,cpu=CORES,memory=SIZE"),
        ("whatif --add-node name=n9,cpu=4,memory=lots", "memory: \"lots\" is not a size"),
        ("whatif --fail N_1", "is not a name"),
        ("certify --failures many", "invalid value"),
        ("events --since yesterday", "expected a duration ago like 5m"),
        ("logs web-1 --tail some", "invalid value"),
        ("wait server web-1 --timeout soon", "is not a duration"),
        ("failover web-1 --to N_1", "is not a name"),
        ("up --nodes many", "invalid value"),
        ("up --nodes 300", "300 is not in"),
        ("up --node-memory lots", "is not a size"),
        ("up --node-memory 1KiB", "1KiB is no amount for a node: expected 64MiB"),
        ("up --node-memory 65TiB", "to 64TiB"),
        ("up --node-cpu 99m", "99m is no amount for a node: expected 100m"),
        ("up --node-cpu lots", "is not an amount of cpu"),
        ("up --profile fast", "possible values"),
        ("up --label n1", "HOST=KEY:VALUE"),
        ("up --name A_b", "A_b"),
        ("down --name A_b", "A_b"),
        ("lab --name A_b hosts", "A_b"),
        ("lab cut n1 --fabric c", "possible values"),
        ("bench failover --runs 0", "0 is not in"),
        ("bench failover --case nothing", "node-cut-many"),
        ("explain box", "expected partition, cluster, service, volume, import or policy"),
        ("policy simulate --at now", "with its offset"),
        ("policy forecast --days 0", "0 is not in"),
        ("explain cluster.health.ftp", "expected one of every, exec, failures, http"),
        ("completion tcsh", "possible values"),
        ("generate schema box", "partition, cluster, service"),
    ] {
        let output = user.run(line);
        fails(&output, 2, part);
    }
}

#[test]
fn usage_is_of_the_command_and_not_of_what_is_set() {
    let user = User::new("set").with_contexts();
    let output = user.command("wait server").env("PAN_CONTEXT", "far").env("PAN_PARTITION", "acme").output().unwrap();
    fails(&output, 2, "Usage: pan wait [OPTIONS] <KIND> <NAME>");
    fails(&user.run("node -p acme drain"), 2, "Usage: pan node drain [OPTIONS] <NODE>");
    fails(&user.run("wait servers acme/web"), 2, "no server can be called that");
}

#[test]
fn what_comes_later_says_so() {
    let user = User::new("later");
    for line in ["slo", "backup FILE", "restore FILE", "confirm web-1 yes", "director drain d1", "top"] {
        fails(&user.run(line), 1, "PAN-101");
    }
}

#[test]
fn without_a_context_it_is_said_how_to_get_one() {
    let user = User::new("nowhere");
    for line in ["get node", "apply -f /dev/null", "certify", "describe node n1", "get server -A", "logs web-1 -p acme"] {
        fails(&user.run(line), 2, "no PAN is chosen: `pan up`");
    }
    fails(&user.command("get node").env("PAN_URL", "https://127.0.0.1:1").output().unwrap(), 2, "PAN_CA");
    fails(&user.run("get node --context far"), 3, "there is no context far");
    fails(&user.run("context show"), 2, "pan context use NAME");
    let unreadable = user.command("get node").env("PAN_URL", "https://127.0.0.1:1").env("PAN_CA", "/nowhere/ca.pem").output().unwrap();
    fails(&unreadable, 1, "cannot read PAN_CA /nowhere/ca.pem");
}

#[test]
fn a_pan_that_does_not_answer_is_a_failure_with_a_code() {
    let user = User::new("silent").with_contexts();
    for line in ["get node", "get server -o json", "apply -f /dev/null", "timeline web-1", "exec web-1 -- true", "node cordon n1"] {
        fails(&user.run(line), 1, "error PAN-601");
    }
    fails(&user.run("wait server web-1 --timeout 200ms"), 5, "error PAN-600");
    let version = json(&user.run("version -o json"));
    assert_eq!((version["client"].as_str(), version["server"].is_null()), (Some(env!("CARGO_PKG_VERSION")), true));
    fails(&user.command("get node").env("PAN_URL", "http://127.0.0.1:1").output().unwrap(), 1, "the scheme is not https");
}

#[test]
fn files_that_are_not_there_are_named() {
    let user = User::new("files").with_contexts();
    fails(&user.run("apply -f /nowhere/x.yaml"), 1, "cannot read /nowhere/x.yaml");
    std::fs::create_dir(user.home.join("empty")).unwrap();
    fails(&user.run("apply -f empty"), 1, "no objects in empty: the folder has no .yaml, .yml or .json file");
    user.write("none.yaml", "# later\n---\n");
    fails(&user.run("delete -f none.yaml"), 1, "none.yaml: no objects in it");
    user.write("broken.yaml", "api: pan/v1\nkind: Cluster\nname: web\nspec:\n  servers: many\n");
    let refused = user.run("delete -f broken.yaml");
    fails(&refused, 1, "broken.yaml:5:12");
    let many: Vec<String> = (0..50_000).map(|at| format!("---\nfoo{at}: 1\n")).collect();
    user.write("many.yaml", &many.concat());
    let refused = user.run("delete -f many.yaml");
    fails(&refused, 1, "\n  and ");
    assert!(refused.stderr.len() < 5000, "{}", refused.stderr.len());
}

#[test]
fn contexts_are_listed_chosen_and_shown() {
    let user = User::new("contexts").with_contexts();
    let list = json(&user.run("context list -o json"));
    assert_eq!((list[0]["name"].as_str(), list[0]["current"].as_bool()), (Some("near"), Some(true)));
    assert!(!list.to_string().contains("pan_secret"), "a list has no secrets");
    assert_eq!(user.run("context use far -p blue -q").status.code(), Some(0));
    let shown = json(&user.run("context show -o json"));
    assert_eq!((shown["name"].as_str(), shown["partition"].as_str(), shown.get("token")), (Some("far"), Some("blue"), None));
    assert_eq!(json(&user.run("context show near --token -o json"))["token"], "pan_secret");
    assert!(!stdout(&user.run("context show near")).contains("pan_secret"));
    fails(&user.run("context use nowhere"), 3, "there are: near, far");
    user.write("pan/config.yaml", "contexts: 5\n");
    fails(&user.run("get node"), 1, "config.yaml");
}

#[test]
fn help_needs_no_pan() {
    let user = User::new("help");
    let text = stdout(&user.run("explain cluster.health.http"));
    assert!(text.contains("port: whole number 0 to 65535  (required)"), "{text}");
    assert_eq!(json(&user.run("explain cluster.priority -o json"))["path"], "cluster.priority");
    for code in ["PAN-200", "pan-200", "200"] {
        assert!(stdout(&user.run(&format!("error {code}"))).starts_with("PAN-200\n"), "{code}");
    }
    assert_eq!(json(&user.run("error PAN-101 -o json"))["code"], "PAN-101");
    assert!(json(&user.run("error -o json")).as_array().unwrap().len() > 10);
    fails(&user.run("error PAN-999"), 3, "no error code \"PAN-999\"");
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&user.run(&format!("completion {shell}")));
        assert!(script.contains("failover"), "{shell}");
    }
    assert_eq!(stdout(&user.run("--version")), format!("pan {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn generated_texts_are_json() {
    let user = User::new("generate");
    assert_eq!(json(&user.run("generate schema cluster"))["title"], "Cluster");
    let all = json(&user.run("generate schema"));
    assert_eq!(all["oneOf"].as_array().unwrap().len(), 6);
    assert!(all["$defs"]["HealthSpec"].is_object() && all["$defs"]["CapacitySpec"].is_object());
    assert!(json(&user.run("generate openapi"))["paths"]["/v1/apply"].is_object());
}

#[test]
fn output_is_plain_where_nobody_looks_and_a_closed_pipe_is_no_failure() {
    let user = User::new("pipe");
    let output = user.command("error").env("NO_COLOR", "1").output().unwrap();
    assert!(!stdout(&output).contains('\x1b'));
    let mut child =
        user.command("completion bash").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn roles_refuse_a_configuration_that_is_not_theirs() {
    let user = User::new("roles");
    user.write("host.yaml", "version: 1\nname: n1\nroles: [node]\n");
    for role in ["controller", "node", "director", "beat"] {
        let output = user.run(&format!("{role} --config host.yaml"));
        fails(&output, 1, "missing field");
        fails(&user.run(&format!("{role} --config /nowhere")), 1, "cannot read /nowhere");
    }
}

/// Whoever runs already is named; nothing of what a role does was begun by then.
#[test]
fn a_role_that_runs_already_does_not_start() {
    let user = User::new("twice");
    let home = user.home.display().to_string();
    let fabric = |address: &str| format!("{{interface: lo, address: {address}}}");
    let config = format!(
        "version: 1\nname: n1\nroles: [controller, node, storage, director]\naddress: 127.0.0.1\nfabrics: {{a: {}, b: {}}}\n\
         controllers: []\ntls: {{ca: {home}/ca, cert: {home}/cert, key: {home}/key}}\nbeatKey: {home}/beat.key\nprofile: lan\n\
         stateDir: {home}/state\nrunDir: {home}/run\nnode: {{cpu: 4, memory: 4GiB}}\n",
        fabric("127.0.0.2/8"),
        fabric("127.0.0.3/8")
    );
    user.write("host.yaml", &config);
    std::fs::create_dir(user.home.join("state")).unwrap();
    for role in ["controller", "node", "storage", "director"] {
        let path = user.home.join(format!("state/{role}.lock"));
        let lock = std::fs::File::create(&path).unwrap();
        lock.lock().unwrap();
        std::fs::write(&path, "4711\n").unwrap();
        let output = user.run(&format!("{role} --config host.yaml"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("another `pan {role}` runs")) && said.contains("process 4711 holds"), "{said}");
        assert!(!said.contains("starting"), "{said}");
    }
    // With nobody there it goes on to the next thing, which is that there are no certificates.
    let output = user.run("storage --config host.yaml");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("starting") && !said.contains("another"), "{said}");
}
