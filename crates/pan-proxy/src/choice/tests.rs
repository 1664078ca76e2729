//! Choices of a cluster: policies by name, affinity, sessions, the queue.

use super::*;
use hyper::header::HeaderValue;
use pan_model::service::BackendState;

fn chooser(balance: &str) -> Result<Chooser, Misfit> {
    let cluster = ClusterSpec {
        name: "web".to_owned(),
        servers: Vec::new(),
        balance: serde_json::from_str(balance).unwrap(),
        protocol: pan_model::proxy::Protocol::Http1,
        announce: false,
    };
    let mut chooser = Chooser::new("www", &cluster, RetrySpec::default(), 7)?;
    chooser.update(&[server(1), server(2), server(3)], Duration::ZERO);
    Ok(chooser)
}

fn server(index: u32) -> BackendSpec {
    BackendSpec {
        name: format!("web-{index}"),
        index,
        address: ([10, 0, 0, u8::try_from(index).unwrap()], 80).into(),
        state: BackendState::Up,
        weight: 100,
        capability: 100,
        tier: 0,
    }
}

fn ask(chooser: &mut Chooser, client: u8, headers: &HeaderMap, tried: &[u32], now: Duration) -> Decision {
    chooser.choose(&Asker { client: [192, 0, 2, client].into(), path: "/", headers, tried }, now)
}

/// The server of a request that ends at once.
fn once(chooser: &mut Chooser, client: u8, headers: &HeaderMap) -> u32 {
    let Decision::Server(ticket) = ask(chooser, client, headers, &[], Duration::ZERO) else { panic!("there are three servers") };
    let index = ticket.index;
    assert_eq!(chooser.ended(ticket, Outcome::Answered, Duration::ZERO), None);
    index
}

fn with(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
}

#[test]
fn every_name_of_the_documentation_chooses() {
    let names = "round-robin capability capacity specifics rotation random weighted-random two-choices least-connections \
        weighted-least-connections shortest-expected-delay never-queue first peak-ewma maglev ring rendezvous bounded-load \
        rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos";
    for name in names.split_whitespace() {
        let mut chooser = chooser(&format!(r#"{{"policy": "{name}", "key": "client"}}"#)).unwrap();
        assert!((1..=3).contains(&once(&mut chooser, 1, &HeaderMap::new())), "{name}");
    }
    let mut tandem = chooser(r#"{"policy": "tandem", "chain": ["specifics", "capability", "capacity"], "key": "header:x-user"}"#).unwrap();
    assert!((1..=3).contains(&once(&mut tandem, 1, &with("x-user", "a"))));
}

#[test]
fn the_default_goes_round() {
    let mut chooser = chooser("{}").unwrap();
    let mut found: Vec<u32> = (0..3).map(|_| once(&mut chooser, 1, &HeaderMap::new())).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn a_key_stays_where_it_is() {
    for key in ["client", "header:x-user", "cookie:user", "path"] {
        let mut chooser = chooser(&format!(r#"{{"policy": "specifics", "key": "{key}"}}"#)).unwrap();
        let headers = HeaderMap::from_iter(
            [with("x-user", "ann"), with("cookie", "a=b; user=ann")]
                .into_iter()
                .flat_map(|map| map.into_iter().map(|(name, value)| (name.unwrap(), value)).collect::<Vec<_>>()),
        );
        let first = once(&mut chooser, 1, &headers);
        assert!((0..20).all(|_| once(&mut chooser, 1, &headers) == first), "{key}");
    }
    let mut chooser = chooser(r#"{"policy": "maglev", "key": "client"}"#).unwrap();
    let servers: std::collections::BTreeSet<u32> = (0..100).map(|client| once(&mut chooser, client, &HeaderMap::new())).collect();
    assert_eq!(servers.len(), 3);
}

#[test]
fn a_cookie_leads_back_on_every_director() {
    let sticky = r#"{"sticky": {"cookie": "s", "for": "1h"}}"#;
    let (mut here, mut there) = (chooser(sticky).unwrap(), chooser(sticky).unwrap());
    let first = once(&mut here, 1, &HeaderMap::new());
    let set = here.cookie(first, &HeaderMap::new()).unwrap();
    assert!(set.starts_with("s=") && set.ends_with("; Max-Age=3600"), "{set}");
    let back = with("cookie", &format!("a=1; {}", set.split(';').next().unwrap()));
    for _ in 0..5 {
        assert_eq!(once(&mut there, 2, &back), first);
        assert_eq!(once(&mut here, 1, &back), first);
    }
    assert_eq!(here.cookie(first, &back), None, "the client has it already");
    let gone: Vec<BackendSpec> = (1..=3).map(server).filter(|server| server.index != first).collect();
    here.update(&gone, Duration::ZERO);
    let second = once(&mut here, 1, &back);
    assert_ne!(second, first);
    assert!(here.cookie(second, &back).is_some(), "it has another server now");
}

#[test]
fn sessions_by_header_and_address_are_remembered() {
    let mut by_header = chooser(r#"{"sticky": {"header": "x-user", "for": "1h"}}"#).unwrap();
    let first = once(&mut by_header, 1, &with("x-user", "ann"));
    assert!((0..6).all(|_| once(&mut by_header, 9, &with("x-user", "ann")) == first));
    let mut by_address = chooser(r#"{"sticky": {"for": "1h"}}"#).unwrap();
    let first = once(&mut by_address, 1, &HeaderMap::new());
    assert!((0..6).all(|_| once(&mut by_address, 1, &HeaderMap::new()) == first));
}

#[test]
fn who_finds_all_full_waits_in_order_and_not_for_ever() {
    let mut chooser = chooser(r#"{"limits": {"connections": 1, "queue": 2, "queueWait": "2s"}}"#).unwrap();
    let none = HeaderMap::new();
    let tickets: Vec<Ticket> = (0..3)
        .map(|_| match ask(&mut chooser, 1, &none, &[], Duration::ZERO) {
            Decision::Server(ticket) => ticket,
            other => panic!("there is room: {other:?}"),
        })
        .collect();
    let mut wait = |second| match ask(&mut chooser, 1, &none, &[], Duration::from_secs(second)) {
        Decision::Wait(place, until) => (place, until),
        other => panic!("all are full: {other:?}"),
    };
    let (first, until) = wait(0);
    assert_eq!(until, Duration::from_secs(2));
    let (second, _) = wait(1);
    assert_eq!(ask(&mut chooser, 1, &none, &[], Duration::from_secs(1)), Decision::Full);
    assert_eq!(chooser.waiting(), 2);
    let mut tickets = tickets.into_iter();
    assert_eq!(chooser.ended(tickets.next().unwrap(), Outcome::Answered, Duration::from_secs(1)), Some(first));
    assert!(!chooser.leave(first) && chooser.leave(second));
    assert_eq!(chooser.ended(tickets.next().unwrap(), Outcome::Answered, Duration::from_secs(1)), None);
}

#[test]
fn who_was_tried_is_not_tried_again() {
    let mut chooser = chooser("{}").unwrap();
    let none = HeaderMap::new();
    assert!(matches!(ask(&mut chooser, 1, &none, &[1, 3], Duration::ZERO), Decision::Server(Ticket { index: 2, .. })));
    assert_eq!(ask(&mut chooser, 1, &none, &[1, 2, 3], Duration::ZERO), Decision::Nobody);
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let check = |balance: &str, place: &str| assert_eq!(chooser(balance).unwrap_err().place, place, "{balance}");
    check(r#"{"policy": "fastest"}"#, "policy");
    check(r#"{"policy": "tandem"}"#, "chain");
    check(r#"{"policy": "tandem", "chain": ["capacity", "luck"]}"#, "chain[1]");
    check(r#"{"chain": ["capacity"]}"#, "chain");
    for key in ["server", "header", "header:a b", "cookie:", "client:x"] {
        check(&format!(r#"{{"key": "{key}"}}"#), "key");
    }
    check(r#"{"sticky": {"cookie": "a;b", "for": "1h"}}"#, "sticky.cookie");
    check(r#"{"sticky": {"cookie": "a", "header": "b", "for": "1h"}}"#, "sticky.header");
}
