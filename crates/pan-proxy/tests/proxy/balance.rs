//! That choices reach the wire: turns, sessions, caps and the queue.

use super::rig::*;
use pan_model::service::BackendState;
use std::collections::BTreeMap;

#[tokio::test]
async fn the_default_goes_round() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let running = run(&spec(&[one.address, two.address], "", ""));
    let mut counts = BTreeMap::new();
    for _ in 0..10 {
        *counts.entry(body(&get(running.address, "/").await).to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts, [("one".to_owned(), 5), ("two".to_owned(), 5)].into());
}

#[tokio::test]
async fn a_cookie_leads_back() {
    let origins = [Origin::start("one").await, Origin::start("two").await, Origin::start("three").await];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let sticky = r#", "balance": {"sticky": {"cookie": "s", "for": "1h"}}"#;
    let (here, there) = (run(&spec(&addresses, "", sticky)), run(&spec(&addresses, "", sticky)));
    let answer = get(here.address, "/").await;
    let cookie = header(&answer, "set-cookie").unwrap().split(';').next().unwrap();
    for running in [&here, &there, &here, &there] {
        let again = talk(running.address, format!("GET / HTTP/1.1\r\nhost: x\r\ncookie: a=b; {cookie}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!((body(&again), header(&again, "set-cookie")), (body(&answer), None));
    }
}

#[tokio::test]
async fn beyond_the_cap_requests_wait_and_beyond_the_queue_they_are_refused() {
    let origin = Origin::start("a").await;
    let caps = r#", "balance": {"limits": {"connections": 1, "queue": 1, "queueWait": "20s"}}"#;
    let running = run(&spec(&[origin.address], "", caps));
    let first = tokio::spawn(get(running.address, "/held"));
    until("the first is at the server", || origin.seen().len() == 1).await;
    let second = tokio::spawn(get(running.address, "/"));
    until("the second waits", || running.proxy.counts()[0].waiting == 1).await;
    let third = get(running.address, "/").await;
    assert_eq!((status(&third), header(&third, "pan-outcome")), (503, Some("not-sent")));
    origin.release();
    assert_eq!(status(&first.await.unwrap()), 200);
    assert_eq!(status(&second.await.unwrap()), 200);
    assert_eq!(running.proxy.counts()[0].waiting, 0);
}

#[tokio::test]
async fn nobody_waits_for_ever_and_who_goes_leaves_the_queue() {
    let origin = Origin::start("a").await;
    let caps = r#", "balance": {"limits": {"connections": 1, "queue": 1, "queueWait": "200ms"}}"#;
    let running = run(&spec(&[origin.address], "", caps));
    let first = tokio::spawn(get(running.address, "/held"));
    until("the first is at the server", || origin.seen().len() == 1).await;
    assert_eq!(status(&get(running.address, "/").await), 503);
    assert_eq!(running.proxy.counts()[0].waiting, 0);
    origin.release();
    assert_eq!(status(&first.await.unwrap()), 200);
}

#[tokio::test]
async fn requests_outlive_an_edit_of_how_they_are_balanced_and_are_told_what_becomes_of_their_server() {
    let origin = Origin::start("a").await;
    let running = run(&spec(&[origin.address], "", ""));
    let held = tokio::spawn(get(running.address, "/held"));
    until("it is at the server", || origin.seen().len() == 1).await;
    let in_flight = || running.proxy.counts()[0].servers.iter().map(|server| server.in_flight).sum::<u64>();
    let mut edited = spec(&[origin.address], "", r#", "balance": {"sticky": {"cookie": "s", "for": "1h"}}"#);
    running.proxy.apply(&edited).unwrap();
    assert_eq!(in_flight(), 1, "it was let through by another gate");
    assert_eq!(status(&get(running.address, "/").await), 200);
    edited.services[0].clusters[0].servers[0].state = BackendState::Down;
    running.proxy.apply(&edited).unwrap();
    assert_eq!(status(&held.await.unwrap()), 502);
    assert_eq!(in_flight(), 0);
}
