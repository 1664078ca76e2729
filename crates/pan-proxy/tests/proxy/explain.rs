//! Why a request would go where it would go.

use super::rig::*;
use pan_model::service::BackendState;
use pan_proxy::serve::explain::{Explained, Question};

fn question(path: &str) -> Question {
    serde_json::from_value(serde_json::json!({"service": "www", "path": path, "host": "shop.example", "client": "192.0.2.1"})).unwrap()
}

#[tokio::test]
async fn the_stages_name_who_is_out_and_who_is_picked() {
    let origins = [Origin::start("one").await, Origin::start("two").await, Origin::start("three").await];
    let mut spec = spec(
        &origins.each_ref().map(|origin| origin.address),
        "",
        r#", "balance": {"policy": "least-connections", "limits": {"connections": 1}}"#,
    );
    spec.services[0].clusters[0].servers[0].state = BackendState::Down;
    let running = run(&spec);
    let held = tokio::spawn(get(running.address, "/held"));
    until("a server has it", || origins.iter().any(|origin| origin.seen().len() == 1)).await;
    let explained = running.proxy.explain(&question("/x")).unwrap();
    assert_eq!((explained.route, explained.cluster.as_deref(), explained.panics), (Some(0), Some("web"), false));
    let out: Vec<(&str, &str)> = explained.out.iter().map(|out| (out.stage.as_str(), out.why.as_str())).collect();
    assert_eq!(out, [("eligible", "it does not work"), ("guard", "it has as many requests as it may")]);
    assert_eq!(explained.scores.len(), 1);
    let pick = explained.pick.unwrap();
    assert_eq!(pick.server, explained.scores[0].server);
    // It is what happens, and asking took no turn.
    let idle = origins.iter().position(|origin| origin.seen().is_empty() && origin.address != origins[0].address).unwrap();
    assert_eq!(pick.server, format!("web-{}", idle + 1));
    assert_eq!(status(&get(running.address, "/x").await), 200);
    assert_eq!(origins[idle].seen().len(), 1);
    origins.iter().for_each(Origin::release);
    assert_eq!(status(&held.await.unwrap()), 200);
}

#[tokio::test]
async fn redirects_and_requests_of_no_route_are_explained_too() {
    let origin = Origin::start("a").await;
    let mut spec = spec(&[origin.address], "", "");
    spec.services[0].routes = serde_json::from_str(
        r#"[{"match": {"host": "other.example"}, "cluster": "web"}, {"match": {"path": "/old"}, "redirect": {"path": "/new"}}]"#,
    )
    .unwrap();
    let running = run(&spec);
    assert_eq!(running.proxy.explain(&question("/x")).unwrap(), Explained::default());
    let redirected = running.proxy.explain(&question("/old/y?z")).unwrap();
    assert_eq!((redirected.route, redirected.redirect.as_deref()), (Some(1), Some("http://shop.example/new?z")));
    let place = |question: Question| running.proxy.explain(&question).unwrap_err().place;
    assert_eq!(place(Question { service: "none".to_owned(), ..question("/") }), "service");
    assert_eq!(place(question("/a/../b")), "path");
    assert_eq!(place(Question { method: Some("A B".to_owned()), ..question("/") }), "method");
}
