//! Which failures the client sees, and which it does not.

use super::rig::*;
use pan_model::proxy::ClusterSpec;
use pan_model::service::BackendState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const FIRST: &str = r#", "balance": {"policy": "first"}"#;

/// Reads a request and resets the connection. Counts requests.
async fn resetting(count: Arc<AtomicUsize>) -> Raw {
    Raw::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            count.fetch_add(1, Ordering::SeqCst);
            reset(stream);
        }
    })
    .await
}

fn ask(method: &str, more: &str) -> String {
    format!("{method} /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}content-length: 4\r\n\r\nbody")
}

#[tokio::test]
async fn a_server_that_refuses_is_passed_over_whatever_the_method() {
    let good = Origin::start("good").await;
    let running = run(&spec(&[nobody().await, good.address], "", FIRST));
    for method in ["GET", "POST"] {
        let answer = talk(running.address, ask(method, "")).await;
        assert_eq!((status(&answer), body(&answer)), (200, "body"), "{method}");
    }
    assert_eq!(running.proxy.counts()[0].retries, 2);
    // Both are gone: nothing was sent, and the client may know.
    let running = run(&spec(&[nobody().await, nobody().await], "", FIRST));
    let answer = talk(running.address, ask("POST", "")).await;
    assert_eq!((status(&answer), header(&answer, "pan-outcome")), (502, Some("not-sent")));
    let mut down = spec(&[good.address], "", FIRST);
    down.services[0].clusters[0].servers[0].state = BackendState::Down;
    let answer = talk(run(&down).address, ask("GET", "")).await;
    assert_eq!((status(&answer), header(&answer, "pan-outcome"), header(&answer, "retry-after")), (503, Some("not-sent"), Some("1")));
}

#[tokio::test]
async fn after_a_reset_only_what_is_idempotent_is_sent_again() {
    for (method, again) in [("GET", true), ("PUT", true), ("DELETE", true), ("POST", false), ("PATCH", false)] {
        let count = Arc::new(AtomicUsize::new(0));
        let (bad, good) = (resetting(Arc::clone(&count)).await, Origin::start("good").await);
        let running = run(&spec(&[bad.address, good.address], "", FIRST));
        let answer = talk(running.address, ask(method, "")).await;
        assert_eq!(count.load(Ordering::SeqCst), 1, "{method}");
        assert_eq!(good.seen().len(), usize::from(again), "{method}");
        if again {
            assert_eq!((status(&answer), body(&answer)), (200, "body"), "{method}");
            assert_eq!(good.seen()[0].body, b"body", "all of it, from the beginning");
        } else {
            assert_eq!((status(&answer), header(&answer, "pan-outcome")), (502, Some("unknown")), "{method}");
            assert_eq!(running.proxy.counts()[0].unknown, 1);
        }
    }
}

#[tokio::test]
async fn a_key_makes_a_post_repeatable_only_where_the_service_says_so() {
    for (service, more, again) in [
        (r#", "retry": {"keyed": true}"#, "idempotency-key: 1\r\n", true),
        (r#", "retry": {"keyed": true}"#, "", false),
        ("", "idempotency-key: 1\r\n", false),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let (bad, good) = (resetting(Arc::clone(&count)).await, Origin::start("good").await);
        let running = run(&spec(&[bad.address, good.address], service, FIRST));
        let answer = talk(running.address, ask("POST", more)).await;
        assert_eq!((status(&answer) == 200, good.seen().len()), (again, usize::from(again)), "{service} {more:?}");
    }
}

#[tokio::test]
async fn a_body_too_long_to_be_kept_is_sent_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let (bad, good) = (resetting(Arc::clone(&count)).await, Origin::start("good").await);
    let running = run(&spec(&[bad.address, good.address], r#", "limits": {"replay": "1KiB"}"#, FIRST));
    let long = "x".repeat(2000);
    let answer =
        talk(running.address, format!("PUT /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2000\r\n\r\n{long}")).await;
    assert_eq!((status(&answer), good.seen().len()), (502, 0));
}

#[tokio::test]
async fn attempts_and_budget_are_bounded() {
    let count = Arc::new(AtomicUsize::new(0));
    let servers = [resetting(Arc::clone(&count)).await, resetting(Arc::clone(&count)).await, resetting(Arc::clone(&count)).await];
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let running = run(&spec(&addresses, r#", "retry": {"attempts": 2}"#, FIRST));
    assert_eq!(status(&talk(running.address, ask("GET", "")).await), 502);
    assert_eq!(count.swap(0, Ordering::SeqCst), 2);
    // A hundred retries in ten seconds are free; beyond that one in five requests may have one.
    let running = run(&spec(&addresses, r#", "retry": {"attempts": 2, "budgetPercent": 0}"#, FIRST));
    for _ in 0..150 {
        assert_eq!(status(&talk(running.address, ask("GET", "")).await), 502);
    }
    let retries = running.proxy.counts()[0].retries;
    assert!((100..150).contains(&retries), "{retries}");
}

/// A connection that the server closed while nobody used it is no reason to fail, or to blame the server.
#[tokio::test]
async fn a_stale_connection_is_replaced() {
    let (closed, mut closes) = tokio::sync::mpsc::channel::<()>(10);
    let server = Raw::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"hi") && matches!(stream.read_buf(&mut request).await, Ok(1..)) {}
            if !request.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
            drop(stream);
            let _ = closed.send(()).await;
        }
    })
    .await;
    let running = run(&spec(&[server.address], "", ""));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for turn in 0..50 {
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        assert_eq!(status(&one_answer(&mut stream).await), 200, "turn {turn}");
        closes.recv().await.unwrap();
    }
    assert_eq!(running.proxy.counts()[0].servers[0].failures, 0);
}

/// Two clusters have the same server. One is told that it fell and rose again, and what is from before is not the other's.
#[tokio::test]
async fn a_connection_of_one_cluster_is_not_another_s() {
    let origin = Origin::start("a").await;
    let mut spec = spec(&[origin.address], "", "");
    let service = &mut spec.services[0];
    service.clusters.push(ClusterSpec { name: "other".into(), ..service.clusters[0].clone() });
    service.routes.insert(0, serde_json::from_str(r#"{"match": {"path": "/other"}, "cluster": "other"}"#).unwrap());
    let running = run(&spec);
    get(running.address, "/").await;
    for state in [BackendState::Suspect, BackendState::Up] {
        spec.services[0].clusters[0].servers[0].state = state;
        running.proxy.apply(&spec).unwrap();
    }
    get(running.address, "/other").await;
    get(running.address, "/other").await;
    let connections: Vec<usize> = origin.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 1]);
}

/// Nobody will use them again; a server that is to end does not have to wait for them.
#[tokio::test]
async fn connections_to_a_server_that_was_taken_out_end() {
    let (closed, mut closes) = tokio::sync::mpsc::channel::<()>(1);
    let server = Raw::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            while let Ok(1..) = stream.read(&mut [0; 4096]).await {}
            let _ = closed.send(()).await;
        }
    })
    .await;
    let mut spec = spec(&[server.address], "", "");
    let running = run(&spec);
    assert_eq!(status(&get(running.address, "/").await), 200);
    spec.services[0].clusters[0].servers.clear();
    running.proxy.apply(&spec).unwrap();
    tokio::time::timeout(LONG, closes.recv()).await.expect("it ends before it is old").unwrap();
}

/// A node is cut: its connections say nothing, but the document does.
#[tokio::test]
async fn requests_at_a_server_that_is_found_to_be_gone_go_elsewhere_at_once() {
    let (cut, good) = (Origin::start("cut").await, Origin::start("good").await);
    let spec = spec(&[cut.address, good.address], "", FIRST);
    let running = run(&spec);
    let get = tokio::spawn(talk(running.address, "GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    let post = tokio::spawn(talk(running.address, "POST /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));
    until("both are at the first server", || cut.seen().len() == 2).await;
    good.release();
    let mut changed = spec.clone();
    changed.services[0].clusters[0].servers[0].state = BackendState::Suspect;
    running.proxy.apply(&changed).unwrap();
    let answer = get.await.unwrap();
    assert_eq!((status(&answer), body(&answer)), (200, "good"));
    assert!(!post.is_finished(), "a suspicion is no reason to give up what cannot be sent again");
    changed.services[0].clusters[0].servers[0].state = BackendState::Down;
    running.proxy.apply(&changed).unwrap();
    let answer = post.await.unwrap();
    assert_eq!((status(&answer), header(&answer, "pan-outcome")), (502, Some("unknown")));
    assert_eq!(good.seen().len(), 1);
}

/// When all are suspected, the fault is more likely with who suspects: requests wait for their answers.
#[tokio::test]
async fn a_suspected_server_is_waited_for_when_there_is_no_other() {
    let only = Origin::start("only").await;
    let spec = spec(&[only.address], "", FIRST);
    let running = run(&spec);
    let get = tokio::spawn(talk(running.address, "GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    until("it is at the server", || only.seen().len() == 1).await;
    let mut changed = spec.clone();
    changed.services[0].clusters[0].servers[0].state = BackendState::Suspect;
    running.proxy.apply(&changed).unwrap();
    // New requests go there, too: it is all there is.
    assert_eq!(status(&super::rig::get(running.address, "/").await), 200);
    only.release();
    let answer = get.await.unwrap();
    assert_eq!((status(&answer), body(&answer), only.seen().len()), (200, "only", 2));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let broken = Raw::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun").await.unwrap();
    })
    .await;
    let good = Origin::start("good").await;
    let running = run(&spec(&[broken.address, good.address], "", FIRST));
    let answer = get(running.address, "/").await;
    assert_eq!((status(&answer), header(&answer, "content-length"), body(&answer)), (200, Some("1000"), "begun"));
    assert!(good.seen().is_empty());
    until("it is counted", || running.proxy.counts()[0].cut == 1).await;
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_gateway() {
    let odd = Raw::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await;
    })
    .await;
    let running = run(&spec(&[odd.address], "", ""));
    let answer = talk(running.address, ask("POST", "")).await;
    assert_eq!((status(&answer), header(&answer, "pan-outcome")), (502, Some("unknown")));
}
