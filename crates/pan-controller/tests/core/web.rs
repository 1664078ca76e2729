//! Services of layer 7: what directors are told of them, and what is refused.

use super::{Pan, host, server};
use pan_api::desired::{Unit, WebOrder};
use pan_api::service::ServiceState;
use pan_controller::core::request::{Kind, Request};
use pan_controller::views::view;
use pan_model::Code;
use pan_model::proxy::{Forwarding, Protocol, ProxyProtocol};
use pan_model::service::BackendState;

fn cluster(name: &str, servers: u32) -> String {
    format!(
        "---\napi: pan/v1\nkind: Cluster\npartition: p\nname: {name}\nspec: {{servers: {servers}, image: host, command: [a], spread: node}}\n"
    )
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napi: pan/v1\nkind: Service\npartition: p\nname: {name}\nspec: {{{spec}}}\n")
}

fn scene(spec: &str) -> String {
    let head = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n";
    format!("{head}{}{}{}", cluster("web", 2), cluster("api", 1), service("shop", spec))
}

const SHOP: &str = "port: 80, targetPort: 8080, layer: 7, cluster: web, routes: [{match: {path: /api/}, cluster: api}], \
                    retry: {budget: 50%}, balance: {policy: capacity, sticky: {cookie: s, for: 1h}}, timeouts: {request: 5s}";

impl Pan {
    fn unit(&mut self) -> Unit {
        let desired = self.round();
        let all: Vec<Unit> = desired[&host("d1")].units.iter().chain(&desired[&host("d2")].units).cloned().collect();
        all.into_iter().find(|unit| unit.owner).expect("some director owns it")
    }

    fn shop(&mut self) -> WebOrder {
        self.unit().web.into_iter().next().expect("there is one of layer 7")
    }
}

fn refusal(pan: &mut Pan, yaml: &str) -> (Code, String) {
    let error = pan.apply(yaml).unwrap_err();
    (error.problems.first().map_or(error.code, |problem| problem.code), format!("{error:?}"))
}

#[test]
fn a_director_is_told_routes_and_the_servers_of_every_cluster() {
    let mut pan = Pan::new();
    pan.apply(&scene(SHOP)).unwrap();
    pan.rounds(3);
    let unit = pan.unit();
    assert!(unit.services.is_empty(), "there is none of layer 4");
    assert_eq!(unit.public, pan.shop().service.addresses, "its address is the unit's all the same");
    let shop = pan.shop();
    let routes: Vec<_> = shop.routes.iter().map(|route| (route.matches.path.as_deref(), route.cluster.as_deref().unwrap())).collect();
    assert_eq!(routes, [(Some("/api/"), "api"), (None, "web")], "what no route matches comes last");
    let clusters: Vec<_> = shop.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.servers.len())).collect();
    assert_eq!(clusters, [("web", 2), ("api", 1)]);
    assert_eq!((shop.service.backends.len(), shop.service.port, shop.service.target_port), (3, 80, 8080));
    assert!(shop.service.backends.iter().all(|backend| backend.state == BackendState::Up));
    assert_eq!((shop.retry.budget_percent, shop.retry.attempts), (50, 3));
    assert_eq!((shop.timeouts.request.to_string(), shop.timeouts.idle.to_string()), ("5s".into(), "1m".into()));
    assert_eq!((shop.balance.policy.as_deref(), shop.balance.sticky.is_some()), (Some("capacity"), true));
    let shown = view(&pan.world, 1);
    assert_eq!(shown.services.values().next().unwrap().backends.len(), 3);
}

#[test]
fn servers_of_routed_clusters_are_drained_like_any() {
    let mut pan = Pan::new();
    pan.apply(&scene(SHOP)).unwrap();
    pan.rounds(3);
    pan.connections = 1;
    let node = pan.node_of("web-1").unwrap();
    pan.ask(super::drain(&node)).unwrap();
    pan.rounds(3);
    let state = |shop: &WebOrder, name: &str| shop.service.backends.iter().find(|one| one.server.as_str() == name).unwrap().state;
    let shop = pan.shop();
    assert_eq!(state(&shop, "web-1"), BackendState::Draining, "it has requests");
    pan.connections = 0;
    pan.rounds(8);
    assert_ne!(pan.node_of("web-1").unwrap(), node);
    assert_eq!(pan.backend("web-1"), BackendState::Up);
}

#[test]
fn every_cluster_that_answers_is_held_by_its_services() {
    let mut pan = Pan::new();
    let (code, said) = refusal(&mut pan, &scene("port: 80, layer: 7, routes: [{cluster: web}, {match: {path: /x}, cluster: wbe}]"));
    assert_eq!(code, Code::Dangling, "{said}");
    assert!(said.contains("there is no cluster wbe"), "{said}");
    pan.apply(&scene(SHOP)).unwrap();
    let delete = |cascade| Request::Delete { kind: Kind::Cluster, partition: Some("p".parse().unwrap()), name: "api".into(), cascade };
    assert_eq!(pan.ask(delete(false)).unwrap_err().code, Code::InUse, "a route leads there");
    pan.rounds(2);
    assert!(pan.world.servers.contains_key(&server("api-1")));
}

#[test]
fn a_server_port_belongs_to_one_service_of_layer_4_and_to_any_of_layer_7() {
    let mut pan = Pan::new();
    pan.apply(&scene(SHOP)).unwrap();
    pan.apply(&service("tcp", "port: 81, targetPort: 8080, cluster: web")).unwrap();
    pan.apply(&service("more", "port: 82, targetPort: 8080, layer: 7, cluster: web")).unwrap();
    let (code, said) = refusal(&mut pan, &service("late", "port: 83, targetPort: 8080, cluster: web"));
    assert!(code == Code::Conflict && said.contains("belongs to service tcp already"), "{said}");
    let address = pan.world.services.values().find(|record| record.spec.port == 80).unwrap().addresses[0];
    let (code, said) = refusal(&mut pan, &service("same", &format!("address: {address}, port: 80, layer: 7, cluster: api")));
    assert!(code == Code::Conflict && said.contains("belongs to service shop already"), "{said}");
    let unit = {
        pan.rounds(2);
        pan.unit()
    };
    assert_eq!((unit.services.len(), unit.web.len()), (1, 2));
}

/// Its operators decide, for all partitions.
#[test]
fn a_pan_that_does_not_allow_it_has_none() {
    let mut pan = Pan::new();
    std::sync::Arc::make_mut(&mut pan.world.settings).layer7 = false;
    let (code, text) = refusal(&mut pan, &scene(SHOP));
    assert!(code == Code::Denied && text.contains("layer7: true"), "{code:?} {text}");
    assert!(pan.world.services.is_empty());
    pan.apply(&scene(SHOP.replace("layer: 7", "layer: 4").split(", routes").next().unwrap())).unwrap();
}

/// To another scheme, for instance: nobody but the director has to answer.
#[test]
fn a_service_that_only_redirects_is_ready_without_a_server() {
    let mut pan = Pan::new();
    pan.apply(&scene("port: 80, layer: 7, routes: [{redirect: {scheme: https}, edits: {response: {set: {x-a: b}}}}]")).unwrap();
    pan.rounds(3);
    let shop = pan.shop();
    assert_eq!(shop.routes[0].redirect.as_ref().unwrap().scheme.as_deref(), Some("https"));
    assert_eq!(shop.routes[0].edits.response.set["x-a"], "b");
    assert!(shop.clusters.is_empty() && shop.service.backends.is_empty());
    assert_eq!(view(&pan.world, 1).services.values().next().unwrap().state, ServiceState::Ready);
}

#[test]
fn a_director_is_told_edits_limits_and_what_servers_speak() {
    let mut pan = Pan::new();
    let more = "edits: {request: {remove: [cookie]}}, limits: {body: 1MiB}, forwarding: append, proxyProtocol: expected, \
                upstreams: [{cluster: api, protocol: http2}]";
    pan.apply(&scene(&format!("{SHOP}, {more}"))).unwrap();
    pan.rounds(3);
    let shop = pan.shop();
    assert_eq!(shop.edits.request.remove, ["cookie"]);
    assert_eq!((shop.limits.body, shop.limits.headers), (Some(pan_model::ByteSize(1 << 20)), 100));
    assert_eq!((shop.forwarding, shop.proxy_protocol), (Forwarding::Append, ProxyProtocol::Expected));
    let spoken: Vec<_> = shop.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.protocol)).collect();
    assert_eq!(spoken, [("web", Protocol::Http1), ("api", Protocol::Http2)]);
}

/// A certificate for a name, and its key, as a manifest in one line has them.
fn identity(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    (format!("{:?}", made.cert.pem()), format!("{:?}", made.signing_key.serialize_pem()))
}

/// The line of a key in PEM that nothing else has.
fn mark(key: &str) -> String {
    key.split("\\n").nth(1).unwrap().to_owned()
}

#[test]
fn keys_go_to_the_director_and_are_shown_to_nobody() {
    let mut pan = Pan::new();
    let ((cert, key), (other, other_key)) = (identity("Shop.example"), identity("*.shop.example"));
    let tls = |tls: &str| scene(&format!("port: 443, layer: 7, cluster: web, tls: {{{tls}}}"));
    pan.apply(&tls(&format!("cert: {cert}, key: {key}, more: [{{cert: {other}, key: {other_key}}}]"))).unwrap();
    pan.rounds(3);
    let told = pan.shop().tls;
    let names: Vec<_> = told.iter().map(|one| one.hosts.join(" ")).collect();
    assert_eq!(names, ["shop.example", "*.shop.example"]);
    assert!(told[0].key.contains(&mark(&key)) && told[1].key.contains(&mark(&other_key)));
    let shown = view(&pan.world, 1);
    let shop = shown.services.values().next().unwrap();
    let text = serde_json::to_string(shop).unwrap();
    assert!(text.contains(&mark(&cert)) && !text.contains(&mark(&key)) && !text.contains(&mark(&other_key)), "{text}");
    assert_eq!(shop.certificates[1].names, ["*.shop.example"]);
    // What is shown can be given back, and is the same; with another number, the keys stay.
    let result = pan.apply(&tls(&format!("cert: {cert}, more: [{{cert: {other}}}]"))).unwrap();
    assert!(format!("{result:?}").contains("Unchanged") && !format!("{result:?}").contains("Changed }"), "{result:?}");
    pan.apply(&tls(&format!("cert: {other}"))).unwrap();
    pan.rounds(1);
    let told = pan.shop().tls;
    assert_eq!((told.len(), told[0].hosts.join(" ")), (1, "*.shop.example".to_owned()));
    assert!(told[0].key.contains(&mark(&other_key)));
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_their_place() {
    let mut pan = Pan::new();
    let ((cert, key), (other, other_key)) = (identity("a.example"), identity("b.example"));
    let mut said = |more: &str, code: Code, part: &str| {
        let (found, text) = refusal(&mut pan, &scene(&format!("port: 443, cluster: web, {more}")));
        assert!(found == code && text.contains(part), "{more}: {found:?} {text}");
        assert!(!text.contains(&mark(&key)) && !text.contains(&mark(&other_key)), "{text}");
    };
    let seven = "layer: 7, tls";
    said(&format!("{seven}: {{cert: {cert}}}"), Code::Invalid, "`key` is missing");
    said(&format!("{seven}: {{cert: {cert}, key: {other_key}}}"), Code::Invalid, "does not go with the certificate");
    said(&format!("{seven}: {{cert: {key}, key: {key}}}"), Code::Invalid, "no certificate in it");
    said(&format!("{seven}: {{cert: {cert}, key: {key}, more: [{{cert: {other}}}]}}"), Code::Invalid, "`key` is missing");
    let twice = format!("{seven}: {{cert: {cert}, key: {key}, more: [{{cert: {cert}, key: {key}}}]}}");
    said(&twice, Code::Invalid, "a.example has another certificate already");
    assert!(pan.world.services.is_empty());
}
