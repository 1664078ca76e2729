//! Which route has a request.

use super::*;
use hyper::header::HeaderValue;
use pan_model::proxy::{BadPath, canonical, host_of};

fn table(routes: &str) -> Result<Table, Misfit> {
    let specs: Vec<RouteSpec> = serde_json::from_str(routes).unwrap();
    Table::compile(&specs, &["a", "b", "c", "d", "e", "f", "g"])
}

/// `METHOD HOST/PATH?QUERY`
fn seen<T>(text: &str, headers: &[(&'static str, &'static str)], then: impl FnOnce(&Seen<'_>) -> T) -> T {
    let (method, rest) = text.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = canonical(path).unwrap();
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| {
        map.append(*name, HeaderValue::from_static(value));
    });
    then(&Seen { host, path: &path, query, method: &method.parse().unwrap(), headers: &map, client: [192, 0, 2, 7].into(), tls: false })
}

fn check(table: &Table, request: &str, headers: &[(&'static str, &'static str)], wanted: Option<usize>) {
    let found = seen(request, headers, |seen| table.find(seen, 0).map(|route| route.action.clone()));
    assert_eq!(found, wanted.map(Action::Cluster), "{request}");
}

#[test]
fn the_most_specific_has_it_whatever_the_order() {
    let rows = [
        r#"{"cluster": "a"}"#,
        r#"{"match": {"path": "/api/"}, "cluster": "b"}"#,
        r#"{"match": {"path": "/api/v2"}, "cluster": "c"}"#,
        r#"{"match": {"path": "=/api/v2"}, "cluster": "d"}"#,
        r#"{"match": {"host": "*.example"}, "cluster": "e"}"#,
        r#"{"match": {"host": "*.shop.example"}, "cluster": "f"}"#,
        r#"{"match": {"host": "Shop.Example", "method": ["POST", "GET"]}, "cluster": "g"}"#,
    ];
    let forward = table(&format!("[{}]", rows.join(","))).unwrap();
    let backward = table(&format!("[{}]", rows.iter().rev().copied().collect::<Vec<_>>().join(","))).unwrap();
    for table in [forward, backward] {
        check(&table, "GET x/", &[], Some(0));
        check(&table, "GET x/apix", &[], Some(0));
        check(&table, "GET x/api", &[], Some(1));
        check(&table, "GET x/api/v1", &[], Some(1));
        check(&table, "GET x/%61pi/v1", &[], Some(1));
        check(&table, "GET x/api/v2/", &[], Some(2));
        check(&table, "GET x/api/v2/x", &[], Some(2));
        check(&table, "GET x/api/v2", &[], Some(3));
        check(&table, "GET a.example/api/v2", &[], Some(4));
        check(&table, "GET example/api/v2", &[], Some(3));
        check(&table, "GET a.shop.example/", &[], Some(5));
        check(&table, "GET shop.example/", &[], Some(6));
        check(&table, "PUT shop.example/", &[], Some(4));
    }
}

#[test]
fn headers_and_parameters_count_together() {
    let table = table(
        r#"[{"match": {"header": {"x-tier": "gold"}}, "cluster": "a"},
            {"match": {"header": {"x-tier": "gold", "x-beta": "1"}}, "cluster": "b"},
            {"match": {"query": {"v": "2"}}, "cluster": "c"}]"#,
    )
    .unwrap();
    check(&table, "GET x/", &[], None);
    check(&table, "GET x/", &[("x-tier", "tin"), ("x-tier", "gold")], Some(0));
    check(&table, "GET x/?v=2", &[("x-tier", "gold")], Some(0));
    check(&table, "GET x/", &[("x-tier", "gold"), ("x-beta", "1")], Some(1));
    check(&table, "GET x/?a&v=2&b=", &[], Some(2));
    check(&table, "GET x/?v=22&xv=2&v", &[], None);
    let names: Vec<_> = table.header_names().into_iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["x-beta", "x-tier"]);
}

#[test]
fn routes_of_one_condition_share_by_weight() {
    let table = table(
        r#"[{"match": {"method": ["GET", "PUT"]}, "cluster": "a", "weight": 90}, {"cluster": "c"},
            {"match": {"method": ["PUT", "GET"]}, "cluster": "b", "weight": 10},
            {"match": {"path": "/off"}, "cluster": "d", "weight": 0}]"#,
    )
    .unwrap();
    let mut counts = [0_u32; 4];
    seen("GET x/", &[], |seen| {
        for draw in 0..1000_u64 {
            match table.find(seen, draw * (u64::MAX / 1000) + 1_000).unwrap().action {
                Action::Cluster(at) => counts[at] += 1,
                Action::Redirect(_) => unreachable!("there is none"),
            }
        }
    });
    assert_eq!(counts, [900, 100, 0, 0]);
    check(&table, "POST x/off", &[], Some(2));
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let check = |redirect: &str, wanted: &str| {
        let table = table(&format!(r#"[{{"redirect": {redirect}}}]"#)).unwrap();
        let found = seen("GET x.example/a%2Cb?q=1", &[], |seen| match &table.find(seen, 0).unwrap().action {
            Action::Redirect(redirect) => {
                format!("{} {}", redirect.status.as_u16(), redirect.location("http", "x.example:81", "/a%2cb", seen))
            }
            Action::Cluster(_) => unreachable!("there is none"),
        });
        assert_eq!(found, wanted);
    };
    check(r#"{"scheme": "https"}"#, "308 https://x.example/a%2cb?q=1");
    check(r#"{"path": "/b"}"#, "308 http://x.example:81/b?q=1");
    check(r#"{"host": "y:81", "path": "/", "status": 302}"#, "302 http://y:81/?q=1");
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let check = |route: &str, place: &str| {
        let misfit = table(&format!(r#"[{{"cluster": "a"}}, {route}]"#)).unwrap_err();
        assert_eq!(misfit.place, format!("routes[1].{place}"), "{misfit}");
    };
    check(r#"{"cluster": "z"}"#, "cluster");
    check(r#"{}"#, "cluster");
    check(r#"{"cluster": "a", "redirect": {"scheme": "https"}}"#, "redirect");
    check(r#"{"redirect": {}}"#, "redirect.scheme");
    check(r#"{"redirect": {"scheme": "ftp"}}"#, "redirect.scheme");
    check(r#"{"redirect": {"host": "a/b"}}"#, "redirect.host");
    check(r#"{"redirect": {"path": "b"}}"#, "redirect.path");
    check(r#"{"redirect": {"path": "/b", "status": 200}}"#, "redirect.status");
    for host in ["", "*.", "a:80", "a b", "*", "a.*.b", ".a", "a.", "a/b"] {
        check(&format!(r#"{{"match": {{"host": "{host}"}}, "cluster": "a"}}"#), "match.host");
    }
    for path in ["api", "/a?b", "/a/../b", "/%2e%2e/", "/a*", "=a", "/%zz", "/a b"] {
        check(&format!(r#"{{"match": {{"path": "{path}"}}, "cluster": "a"}}"#), "match.path");
    }
    check(r#"{"match": {"method": ["GET", "A B"]}, "cluster": "a"}"#, "match.method[1]");
    check(r#"{"match": {"header": {"a b": "c"}}, "cluster": "a"}"#, "match.header.a b");
    check(r#"{"edits": {"request": {"remove": ["te"]}}, "cluster": "a"}"#, "edits.request.remove[0]");
}

#[test]
fn paths_and_hosts_have_one_form() {
    let path = |text: &str, wanted: Result<&str, BadPath>| assert_eq!(canonical(text).as_deref(), wanted.as_deref(), "{text}");
    path("/a/%7euser/%2a%C3%a4", Ok("/a/~user/%2A%C3%A4"));
    for dots in ["/a/../b", "/a/%2E%2e/b", "/.", "/%2e", "/a/.%2e", "/a\\..\\b"] {
        path(dots, Err(BadPath::Dots));
    }
    for escape in ["/%", "/%4", "/%zz", "/%00", "/a%2f..%2Fb", "/%5c", "/%\u{e4}\u{e4}"] {
        path(escape, Err(BadPath::Escape));
    }
    path("/...", Ok("/..."));
    let host = |text: &str, wanted: &str| assert_eq!(host_of(text), wanted);
    host("a.example:80", "a.example");
    host("a.example.", "a.example");
    host("a.example.:80", "a.example");
    host("[fd00::1]:80", "[fd00::1]");
    host("[fd00::1]", "[fd00::1]");
}

#[test]
fn a_rule_that_does_not_hold_leaves_the_request_to_the_next_route() {
    let table = table(
        r#"[{"match": {"rule": "request.method == \"POST\" && request.headers[\"x-canary\"] == \"1\""}, "cluster": "a"},
            {"match": {"path": "/in", "rule": "cidr('192.0.2.0/24').containsIP(request.client) && !request.tls"}, "cluster": "b"},
            {"match": {"rule": "!(request.query.v == '1') && request.host.endsWith('.example')"}, "cluster": "c"},
            {"match": {"rule": "request.path.startsWith('/x') && request.headers['x-many'] == 'a, b'"}, "cluster": "d"},
            {"cluster": "e"}]"#,
    )
    .unwrap();
    check(&table, "POST x/", &[("x-canary", "1")], Some(0));
    check(&table, "POST x/", &[("x-canary", "2")], Some(4));
    check(&table, "POST x/", &[], Some(4));
    check(&table, "GET x/in", &[], Some(1));
    check(&table, "GET x.example/?v=2", &[], Some(2));
    check(&table, "GET x.example/?v=1", &[], Some(4));
    // What is not known is not its contrary.
    check(&table, "GET x.example/", &[], Some(4));
    check(&table, "GET x/x", &[("x-many", "a"), ("x-many", "b")], Some(3));
    let names: Vec<_> = table.header_names().into_iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["x-canary", "x-many"]);
    let said: Vec<_> = seen("POST x/", &[], |seen| table.rules(seen)).into_iter().map(|one| (one.route, one.said)).collect();
    let because = |route: usize, part: &str| (route, format!("it does not {part}"));
    let expected = [
        because(0, "count, because of request.headers[\"x-canary\"]: there is none"),
        because(2, "hold, because of request.host.endsWith('.example')"),
        because(3, "hold, because of request.path.startsWith('/x')"),
    ];
    assert_eq!(said, expected);
    let said = seen("POST x/", &[("x-canary", "1")], |seen| table.rules(seen));
    assert_eq!((said.len(), said[0].said.as_str()), (1, "it holds"));
}

#[test]
fn routes_of_one_rule_share_and_a_bad_one_is_named() {
    let two = r#"[{"match": {"rule": "request.tls"}, "cluster": "a"}, {"match": {"rule": " request.tls "}, "cluster": "b"}]"#;
    assert_eq!(table(two).unwrap().others.len(), 1);
    let bad = table(r#"[{"match": {"rule": "request.metod == 'x'"}, "cluster": "a"}]"#).unwrap_err();
    assert_eq!(bad.place, "routes[0].match.rule");
    assert_eq!(bad.reason, "line 1, column 1 of the rule: there is no variable request.metod, did you mean request.method?");
}
