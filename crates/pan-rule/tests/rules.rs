//! Rules as they are read, refused and evaluated.

use pan_rule::{Facts, LENGTH_MAX, Refusal, Rule, Schema, Type, Value, Variable, Verdict};
use proptest::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

fn schema() -> Arc<Schema> {
    let lower = |key: &str| {
        if key == key.to_ascii_lowercase() { Ok(()) } else { Err(format!("expected {}", key.to_ascii_lowercase())) }
    };
    let list = Type::List(Some(Box::new(Type::Text)));
    let variables = vec![
        Variable::new("request.method", Type::Text),
        Variable { key: lower, ..Variable::new("request.headers", Type::Map) },
        Variable::new("client", Type::Address),
        Variable::new("n", Type::Int),
        Variable::new("load", Type::Double),
        Variable::new("now", Type::Timestamp),
        Variable::new("tags", list),
        Variable::new("missing", Type::Bool),
    ];
    Arc::new(Schema { variables })
}

struct Now;

impl Facts for Now {
    fn value(&self, variable: usize) -> Option<Value<'_>> {
        Some(match variable {
            0 => Value::Text("POST".into()),
            2 => Value::Address([192, 0, 2, 7].into()),
            3 => Value::Int(7),
            4 => Value::Double(0.5),
            5 => Value::Timestamp(86_400_000_000_000),
            6 => Value::List(vec![Value::Text("gold".into()), Value::Text("new".into())]),
            _ => return None,
        })
    }
    fn has(&self, variable: usize, key: &str) -> bool {
        variable == 1 && (key == "raw" || self.entry(variable, key).is_some())
    }
    fn entry(&self, variable: usize, key: &str) -> Option<Cow<'_, str>> {
        (variable == 1).then_some(key).and_then(|key| match key {
            "host" => Some("shop.example".into()),
            "x-n" => Some("12".into()),
            _ => None,
        })
    }
}

fn rule(text: &str) -> Result<Rule, Refusal> {
    Rule::new(text, schema())
}

fn said(text: &str) -> &'static str {
    match rule(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}")).judge(&Now) {
        Ok(true) => "true",
        Ok(false) => "false",
        Err(_) => "unknown",
    }
}

/// Of the specification, where this part of it says something; comparisons that it leaves out are refusals below.
#[test]
fn it_says_what_cel_says() {
    let all = [
        ("true", "true"),
        ("!true", "false"),
        ("!!true", "true"),
        ("true || missing", "true"),
        ("missing || true", "true"),
        ("false || missing", "unknown"),
        ("missing && false", "false"),
        ("false && missing", "false"),
        ("missing && true", "unknown"),
        ("!missing", "unknown"),
        ("missing ? true : true", "unknown"),
        ("true ? n == 7 : missing", "true"),
        ("false ? missing : true", "true"),
        ("1 + 2 * 3 == 7", "true"),
        ("(1 + 2) * 3 == 9", "true"),
        ("10 - 4 - 3 == 3", "true"),
        ("-7 / 2 == -3 && -7 % 2 == -1", "true"),
        ("7u / 2u == 3u", "true"),
        ("0x1F == 31 && 1e3 == 1000.0 && .5 == 0.5", "true"),
        ("-9223372036854775808 < 0", "true"),
        ("-(-9223372036854775808) < 0", "unknown"),
        ("9223372036854775807 + 1 > 0", "unknown"),
        ("0u - 1u == 0u", "unknown"),
        ("n / 0 == 0", "unknown"),
        ("n % 0 == 0 || n == 7", "true"),
        ("1.0 / 0.0 > 1.0", "true"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 <= 1.0", "false"),
        (r#""a" + 'b' == "ab""#, "true"),
        (
            r#""\x41\u00e4\n" == 'Aä
' "#,
            "refused",
        ),
        (r#""\x41\101\u00e4" == 'AAä'"#, "true"),
        (r"r'\n' == '\\n'", "true"),
        ("\"\"\"a\nb\"\"\" == 'a\\nb'", "true"),
        ("size('ää') == 2 && 'ää'.size() == 2", "true"),
        ("size(tags) == 2 && tags[1] == 'new'", "true"),
        ("tags[2] == 'x'", "unknown"),
        ("tags[-1] == 'x'", "unknown"),
        ("'gold' in tags", "true"),
        ("n in [1, 7]", "true"),
        ("n in []", "false"),
        ("true in [missing, true]", "true"),
        ("true in [missing, false]", "unknown"),
        ("[1, 2] == [1, 2]", "true"),
        ("'abc' < 'abd' && false < true", "true"),
        ("'shop.example'.endsWith('.example') && 'abc'.startsWith('ab') && 'abc'.contains('')", "true"),
        ("int('12') == 12 && int(-1.9) == -1 && uint(3) == 3u && double(1u) == 1.0 && string(1.5) == '1.5'", "true"),
        ("int('x') == 1", "unknown"),
        ("uint(-1) == 0u", "unknown"),
        ("int(1e19) == 0", "unknown"),
        ("duration('90s') == duration('1m30s') && duration('1s') < duration('1m')", "true"),
        ("now - timestamp('1970-01-01T00:00:00Z') == duration('24h')", "true"),
        ("now + duration('1h') > now", "true"),
        ("timestamp('2261-01-01T00:00:00Z') + duration('50000h') > now", "unknown"),
        ("cidr('192.0.2.0/24').containsIP(client) && client == ip('192.0.2.7')", "true"),
        ("cidr('2001:db8::/32').containsIP(client)", "false"),
        ("string(client) == '192.0.2.7'", "true"),
        ("request.headers['host'] == request.headers.host && has(request.headers.host)", "true"),
        ("int(request.headers['x-n']) > 10", "true"),
        ("request.headers['none'] == '1'", "unknown"),
        ("!(request.headers['none'] == '1')", "unknown"),
        ("'none' in request.headers || request.method == 'POST'", "true"),
        ("'raw' in request.headers", "true"),
        ("request.headers.raw == ''", "unknown"),
        ("load > 0.25 // half\n && n >= 7", "true"),
    ];
    for (text, expected) in all {
        if expected == "refused" {
            assert!(rule(text).is_err(), "{text}");
        } else {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let all = [
        ("request.metod == 'x'", 1, 1, "there is no variable request.metod, did you mean request.method?"),
        ("n == 7 &&\n  lod > 1.0", 2, 3, "there is no variable lod, did you mean load?"),
        ("'ä' == 'ö' && zz", 1, 15, "there is no variable zz; expected one of client, load, missing, n, now, request.headers"),
        ("n", 1, 1, "a rule wants bool here: found int"),
        ("n && true", 1, 1, "`&&` wants bool here: found int"),
        ("n == '7'", 1, 6, "`==` compares values of one type: found int and string"),
        ("load > 1", 1, 8, "a double is written 1.0, or double(1)"),
        ("n + 1u == 8", 1, 5, "a uint is written 1u, or uint(1)"),
        ("client < client", 1, 10, "`<` compares what has an order"),
        ("request.headers == request.headers", 1, 20, "`==` does not compare maps"),
        ("!n", 1, 2, "`!` wants bool here: found int"),
        ("true ? 1 : 'x'", 1, 12, "both sides of `:` want one type: found int and string"),
        ("n in ['a']", 1, 6, "`in` wants a map, or a list of int, after it: found list(string)"),
        ("1 in [1, 'a']", 1, 10, "a list has values of one type: found int and string"),
        ("request.method.startWith('x')", 1, 16, "there is no function of a value startWith(), did you mean startsWith?"),
        ("siz('x') == 1", 1, 1, "there is no function siz(), did you mean size?"),
        ("request.method.startsWith()", 1, 16, "startsWith() takes 1 argument here: found 0"),
        ("request.method.startsWith(1)", 1, 27, "startsWith() wants string here: found int"),
        ("tags.exists(t, t == 'x')", 1, 6, "there is no exists: there are no loops"),
        ("request.method.matches('x')", 1, 16, "there are no regular expressions"),
        ("has(n)", 1, 5, "has() wants a map and a name here"),
        ("request.headers[request.method] == 'x'", 1, 17, "request.headers wants a text in quotes here"),
        ("request.headers['X-A'] == 'x'", 1, 17, "request.headers cannot have \"X-A\": expected x-a"),
        ("cidr('10.0.0.1/8').containsIP(client)", 1, 6, "did you mean 10.0.0.0/8?"),
        ("cidr('10.0.0.0/8').containsIP('10.0.0.1')", 1, 31, "containsIP() wants IP here: found string"),
        ("duration('10') == duration('1s')", 1, 10, "expected a span like 10s"),
        ("ip(request.method) == client", 1, 4, "ip() wants a text in quotes here"),
        ("n.x == 1", 1, 1, "int has no part \"x\""),
        ("n = 7", 1, 3, "expected =="),
        ("n == 7 & true", 1, 8, "expected &&"),
        ("n == 7 true", 1, 8, "`true` after the end"),
        ("n == ", 1, 6, "the end here: expected a value"),
        ("(n == 7", 1, 8, "the end here: expected `)`"),
        ("'abc == n\n'", 1, 1, "has no end in its line"),
        ("n == null", 1, 6, "nothing is null here"),
        ("n == 9223372036854775808", 1, 6, "more than an int can be"),
        ("n == 7x", 1, 6, "a number ends where a name begins"),
        ("'\\q' == 'q'", 1, 2, "\\q is no escape"),
        ("{'a': 1} == n", 1, 1, "maps and messages cannot be written here"),
        ("", 1, 1, "expected a value"),
    ];
    for (text, line, column, reason) in all {
        let refusal = rule(text).expect_err(text);
        assert_eq!((refusal.line, refusal.column), (line, column), "{text}: {refusal}");
        assert!(refusal.reason.contains(reason), "{text}: {refusal}");
    }
}

#[test]
fn a_rule_has_a_bound() {
    let deep = [
        "(".repeat(1000),
        format!("{}true{}", "(".repeat(900), ")".repeat(900)),
        format!("{}true", "!".repeat(2000)),
        format!("n == {}n", "- ".repeat(900)),
        format!("true{}", "&&true".repeat(300)),
        format!("{}true", "true?true:".repeat(180)),
        format!("n{}", ".b".repeat(900)),
        format!("{}1", "1+(".repeat(600)),
        format!("tags{}", "[0]".repeat(600)),
        "[".repeat(2000),
    ];
    for text in deep {
        let refusal = rule(&text).expect_err(&text);
        assert!(refusal.reason.contains("within each other"), "{text}: {refusal}");
    }
    let long = rule(&format!("true{}", " ".repeat(LENGTH_MAX))).unwrap_err();
    assert!(long.reason.contains("at most 2048"), "{long}");
}

#[test]
fn the_part_that_decides_is_said() {
    let explain = |text: &str| rule(text).unwrap().explain(&Now);
    assert_eq!(explain("n == 7"), Verdict::Holds);
    assert_eq!(explain(" n == 7 && (load > 1.0 && true)"), Verdict::Fails("load > 1.0".to_owned()));
    let text = "n == 7 && request.headers['none'] == 'x'";
    assert_eq!(explain(text), Verdict::Unknown("request.headers['none']".to_owned(), "there is none".to_owned()));
    assert_eq!(rule("'a' in request.headers && has(request.headers.b) || request.headers.a == ''").unwrap().keys(1), ["a", "b"]);
}

/// Rules of which most are good, with what each comes to by CEL's three-valued logic, written out.
fn logic() -> impl Strategy<Value = (String, Option<bool>)> {
    let leaf = prop_oneof![
        Just(("true".to_owned(), Some(true))),
        Just(("n == 8".to_owned(), Some(false))),
        Just(("missing".to_owned(), None)),
        Just(("request.headers.none == ''".to_owned(), None)),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|(text, value)| (format!("!({text})"), value.map(|value| !value))),
            (inner.clone(), inner.clone()).prop_map(|((one, left), (other, right))| {
                let value = if left == Some(false) || right == Some(false) { Some(false) } else { left.and(right) };
                (format!("({one}) && ({other})"), value)
            }),
            (inner.clone(), inner).prop_map(|((one, left), (other, right))| {
                let value = if left == Some(true) || right == Some(true) { Some(true) } else { left.and(right) };
                (format!("({one}) || ({other})"), value)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn logic_has_three_values((text, expected) in logic()) {
        if text.len() <= LENGTH_MAX {
            prop_assert_eq!(rule(&text).unwrap().judge(&Now).ok(), expected);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,60}") {
        let _ = rule(&text).map(|rule| (rule.judge(&Now), rule.explain(&Now)));
    }

    #[test]
    fn no_words_are_too_strange(words in prop::collection::vec(prop::sample::select(vec![
        "true", "n", "load", "tags", "client", "missing", "request.headers", "request.method", "now", "'a'", "'10.0.0.0/8'", "1", "0", "1u", "0.0",
        "-", "!", "&&", "||", "==", "<", "in", "+", "*", "/", "%", "?", ":", "(", ")", "[", "]", ".", ",", ".size()", "size(", "has(", "cidr(",
        ".containsIP(", "int(", "string(", "['a']", ".a", "9223372036854775807", "duration('1s')", "\n", "ä", "\"", "\\",
    ]), 0..14)) {
        let text = words.join(" ");
        match rule(&text) {
            Ok(rule) => { let _ = (rule.judge(&Now), rule.explain(&Now)); }
            Err(refusal) => {
                let line = text.split('\n').nth(refusal.line - 1).unwrap_or_default();
                prop_assert!(refusal.column <= line.chars().count() + 1, "{}: {}", text, refusal);
            }
        }
    }
}
