//! What a request may ask for: a target of a form that has one reading (RFC 9112, 3.2). Others have none, or two: a host alone
//! is an authority to one reader and a path to the next.

/// Whether a request line of HTTP/1 may have this target: origin-form, absolute-form by `http` or `https`, or `*` with OPTIONS.
/// What CONNECT asks for is not looked at: the method is refused.
#[must_use]
pub fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => method == b"CONNECT" || is_absolute(target),
    }
}

fn is_absolute(target: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://"));
    rest.and_then(|rest| rest.first()).is_some_and(|first| !b"/?#".contains(first))
}

/// Whether a request may ask for this path, as a parser found it.
#[must_use]
pub fn is_path(method: &str, path: &str) -> bool {
    path.starts_with('/') || (path == "*" && method == "OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_reading() {
        let check = |method: &str, target: &str, good: bool| assert_eq!(is_target(method.as_bytes(), target.as_bytes()), good, "{target}");
        for good in ["/", "/a?b", "//a", "http://shop.example", "HTTP://shop.example/a", "https://shop.example?a"] {
            check("GET", good, true);
        }
        for bad in
            ["shop.example", "shop.example:80", "a/b", "?a", "*", "http:/a", "http://", "http:///a", "https://?a", "ftp://a/", "mailto:a"]
        {
            check("GET", bad, false);
        }
        check("OPTIONS", "*", true);
        check("OPTIONS", "*a", false);
        check("CONNECT", "shop.example:80", true);
    }

    #[test]
    fn paths_begin_with_a_slash() {
        assert!(is_path("GET", "/") && is_path("OPTIONS", "*"));
        assert!(!is_path("GET", "*") && !is_path("GET", "") && !is_path("GET", "a") && !is_path("OPTIONS", ""));
    }
}
