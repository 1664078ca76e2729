//! Services of layer 7.

use super::{read, refused};
use crate::ServiceSpec;
use crate::manifest::Object;
use crate::proxy::Protocol;

const SERVICE: &str = "api: pan/v1\nkind: Service\npartition: a\nname: s\nspec:\n  port: 80\n  layer: 7\n";

fn again(spec: &ServiceSpec) -> ServiceSpec {
    serde_json::from_value(serde_json::to_value(spec).unwrap()).unwrap()
}

#[test]
fn services_of_layer_7_are_read_and_checked() {
    let good = format!(
        "{SERVICE}  cluster: web\n  routes:\n    - {{match: {{host: '*.Shop.example', path: =/x, method: [GET], header: {{X-Tier: gold}}}}, cluster: api, weight: 90}}\n    \
         - {{match: {{host: '*.shop.example', path: =/x, method: [GET], header: {{x-tier: gold}}}}, cluster: new, weight: 10}}\n  \
         balance: {{policy: tandem, chain: [specifics, capacity], key: header:x-user, sticky: {{cookie: s, for: 1h}}, slowStart: 10s, \
         limits: {{connections: 100, queue: 20, queueWait: 2s}}}}\n  retry: {{budget: 20%}}\n  timeouts: {{connect: 1s, request: 30s, idle: 60s}}\n"
    );
    let documents = read(&good).unwrap();
    let Object::Service(_, _, spec) = &documents[0].object else { panic!("a service") };
    let clusters: Vec<_> = spec.clusters().into_iter().map(|(name, place)| format!("{name} {place}")).collect();
    assert_eq!(clusters, ["web cluster", "api routes[0].cluster", "new routes[1].cluster"]);
    assert_eq!(spec.timeouts.unwrap().head, crate::Span::millis(10_000), "what is left out is the default");
    assert_eq!(again(spec), *spec);
    let one = |lines: &str, begin: &str, part: &str| refused(&format!("{SERVICE}{lines}\n"), &[(begin, part)]);
    one("  targetPort: 81", "5:1 PAN-100", "nobody answers");
    one("  cluster: web\n  export: [b]", "9:3 PAN-101", "export of a service of layer 7: not yet supported");
    one("  cluster: web\n  routes: [{match: {path: x}, cluster: api}]", "9:27 PAN-100", "expected a path from / on");
    one("  cluster: web\n  routes: [{match: {host: 'a:80'}, cluster: api}]", "9:27 PAN-100", "without a port");
    one("  cluster: web\n  routes: [{match: {method: [get]}, cluster: api}]", "9:30 PAN-100", "expected GET");
    one("  cluster: web\n  routes: [{match: {header: {'a b': c}}, cluster: api}]", "9:37 PAN-100", "not a header's name");
    let named = "line 1, column 16 of the rule: there is no variable request.metod, did you mean request.method?";
    one("  cluster: web\n  routes: [{match: {rule: 'request.tls && request.metod == \"POST\"'}, cluster: api}]", "9:27 PAN-100", named);
    one("  cluster: web\n  routes:\n    - {cluster: api, match: {rule: request.client}}", "10:36 PAN-100", "wants bool here: found IP");
    one(
        "  cluster: web\n  routes:\n    - {cluster: api, match: {rule: 'request.headers.Accept == \"x\"'}}",
        "10:36 PAN-100",
        "expected accept",
    );
    one("  cluster: web\n  routes: [{match: {paht: /x}, cluster: api}]", "9:21 PAN-100", "unknown field `paht`");
    one("  cluster: web\n  routes: [{cluster: api}]", "9:12 PAN-100", "and so does `cluster`");
    one(
        "  routes: [{match: {path: /x}, cluster: api}, {match: {path: /x/}, cluster: api}]",
        "8:47 PAN-100",
        "routes[0] has the same condition",
    );
    one("  routes: [{match: {path: /x}, cluster: api, weight: 0}]", "8:54 PAN-100", "nobody would have these requests");
    one("  cluster: web\n  balance: {policy: tandem}", "9:21 PAN-100", "tandem goes by a chain");
    one("  cluster: web\n  balance: {chain: [capacity]}", "9:13 PAN-100", "only tandem has a chain");
    one("  cluster: web\n  balance: {policy: rules}", "9:21 PAN-101", "rules: not yet supported");
    one("  cluster: web\n  balance: {policy: best}", "9:21 PAN-100", "not a balance policy: expected one of round-robin, capability");
    one("  cluster: web\n  balance: {key: user}", "9:18 PAN-100", "expected client, path, header:NAME or cookie:NAME");
    one("  cluster: web\n  balance: {sticky: {cookie: 'a b', for: 1h}}", "9:30 PAN-100", "not the name of a cookie");
    one("  cluster: web\n  balance: {limits: {connections: 0}}", "9:35 PAN-100", "0 requests at once");
    one("  cluster: web\n  retry: {budget: 120%}", "9:19 PAN-100", "expected 0% to 100%");
    one("  cluster: web\n  retry: {attempts: 0}", "9:21 PAN-100", "expected 1 to 10");
    one("  cluster: web\n  timeouts: {request: 0s}", "9:23 PAN-100", "no time at all");
    let four = "api: pan/v1\nkind: Service\npartition: a\nname: s\nspec:\n  port: 80\n";
    refused(&format!("{four}  cluster: web\n  layer: 5\n"), &[("8:10 PAN-100", "expected 4 or 7")]);
    refused(&format!("{four}  targetPort: 81\n"), &[("5:1 PAN-100", "missing field `cluster`")]);
    refused(&format!("{four}  cluster: web\n  retry: {{budget: 1%}}\n"), &[("8:3 PAN-100", "give `layer: 7`")]);
    refused(&format!("{four}  cluster: web\n  balance: {{slowStart: 1s}}\n"), &[("8:24 PAN-100", "give `layer: 7`")]);
    refused(&format!("{four}  cluster: web\n  tls: {{cert: x, key: y}}\n"), &[("8:3 PAN-100", "give `layer: 7`")]);
    one("  cluster: web\n  tls: {key: y}", "9:9 PAN-100", "missing field `cert`");
    let long = "x".repeat(65_537);
    one(&format!("  cluster: web\n  tls: {{cert: x, more: [{{cert: y, key: {long}}}]}}"), "9:40 PAN-100", "65537 bytes: at most 65536");
    let many = vec!["{cert: y}"; 64].join(", ");
    one(&format!("  cluster: web\n  tls: {{cert: x, more: [{many}]}}"), "9:18 PAN-100", "at most 63 besides the first");
}

#[test]
fn redirects_edits_limits_and_upstreams_are_read_and_checked() {
    let good = format!(
        "{SERVICE}  routes:\n    - {{redirect: {{scheme: https}}}}\n    - {{match: {{path: /rpc}}, cluster: api, edits: {{request: {{set: {{Host: \
         api.example}}, remove: [cookie]}}}}}}\n  edits: {{response: {{add: {{x-frame-options: DENY}}}}}}\n  limits: {{body: 1MiB}}\n  \
         forwarding: append\n  proxyProtocol: expected\n  upstreams: [{{cluster: api, protocol: http2}}]\n"
    );
    let documents = read(&good).unwrap();
    let Object::Service(_, _, spec) = &documents[0].object else { panic!("a service") };
    assert_eq!(spec.clusters().len(), 1, "who is sent elsewhere asks nobody here");
    assert_eq!(spec.upstreams[0].protocol, Protocol::Http2);
    assert_eq!(spec.limits.unwrap().headers, 100, "what is left out is the default");
    assert_eq!(again(spec), *spec);
    let alone = read(&format!("{SERVICE}  routes: [{{redirect: {{scheme: https}}}}]\n")).unwrap();
    let Object::Service(_, _, spec) = &alone[0].object else { panic!("a service") };
    assert!(spec.clusters().is_empty() && again(spec) == *spec);
    let one = |lines: &str, begin: &str, part: &str| refused(&format!("{SERVICE}{lines}\n"), &[(begin, part)]);
    one("  routes: [{match: {path: /x}}]", "8:12 PAN-100", "nobody answers: give `cluster`, or `redirect`");
    one("  routes: [{cluster: a, redirect: {scheme: https}}]", "8:25 PAN-100", "a cluster or a redirect");
    one("  routes: [{redirect: {scheme: http}}]", "8:32 PAN-100", "requests come by http");
    one("  tls: {cert: x}\n  routes: [{redirect: {scheme: https}}]", "9:32 PAN-100", "requests come by https");
    one("  routes: [{redirect: {host: 'a b'}}]", "8:30 PAN-100", "expected a host");
    one("  routes: [{redirect: {scheme: https, status: 200}}]", "8:47 PAN-100", "200 does not redirect");
    one("  routes: [{redirect: {scheme: https}}, {redirect: {scheme: https}}]", "8:41 PAN-100", "the same redirect");
    one("  cluster: a\n  edits: {request: {set: {te: x}}}", "9:31 PAN-100", "the proxy's to set");
    one("  routes: [{cluster: a, edits: {response: {remove: ['']}}}]", "8:53 PAN-100", "not a header's name");
    let long = "x".repeat(4097);
    one(&format!("  cluster: a\n  edits: {{request: {{set: {{x-a: {long}}}}}}}"), "9:32 PAN-100", "4097 bytes: at most 4096");
    one("  cluster: a\n  limits: {head: 2MiB}", "9:18 PAN-100", "2MiB for a head: expected 1KiB to 1MiB");
    one("  cluster: a\n  limits: {connections: 0}", "9:25 PAN-100", "expected 1 to 100000");
    one("  cluster: a\n  limits: {replay: 1GiB}", "9:20 PAN-100", "at most 1MiB");
    one("  cluster: a\n  upstreams: [{cluster: b}]", "9:25 PAN-100", "no route leads to cluster b");
    one("  cluster: a\n  upstreams: [{cluster: a}, {cluster: a}]", "9:39 PAN-100", "named twice");
    one("  cluster: a\n  upstreams: [{cluster: a, protocol: http2, announce: true}]", "9:55 PAN-100", "many clients");
    one("  cluster: a\n  upstreams: [{cluster: a, protocol: h2}]", "9:38 PAN-100", "");
    one("  cluster: a\n  forwarding: yes", "9:15 PAN-100", "");
    let four = "api: pan/v1\nkind: Service\npartition: a\nname: s\nspec:\n  port: 80\n  cluster: a\n";
    for (line, begin) in [
        ("limits: {}", "8:3"),
        ("edits: {request: {remove: [a]}}", "8:3"),
        ("forwarding: append", "8:15"),
        ("proxyProtocol: expected", "8:18"),
        ("upstreams: [{cluster: a}]", "8:3"),
    ] {
        refused(&format!("{four}  {line}\n"), &[(&format!("{begin} PAN-100"), "give `layer: 7`")]);
    }
}
