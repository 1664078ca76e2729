//! How old an answer can be, in headers: what a caller bears with, and what it is told.

use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use pan_api::requests::AGE_HEADER;
use std::time::Duration;

/// By how much an answer may be older than answers may be (RFC 9111 §5.2.1.2): `max-stale` means by any time, `max-stale=N` by N seconds. What
/// cannot be read is left out of account, as RFC 9111 has it.
pub fn stale_max(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(str::trim);
    directives.filter_map(max_stale).max().unwrap_or_default()
}

fn max_stale(directive: &str) -> Option<Duration> {
    let (name, seconds) = directive.split_once('=').map_or((directive, None), |(name, seconds)| (name, Some(seconds)));
    if !name.trim().eq_ignore_ascii_case("max-stale") {
        return None;
    }
    match seconds {
        None => Some(Duration::MAX),
        Some(seconds) => seconds.trim().parse().ok().map(Duration::from_secs),
    }
}

/// The answer, with its age.
pub fn told(mut answer: Response, age: Option<Duration>) -> Response {
    if let Some(age) = age {
        // Rounded up: it is not older than this.
        let millis = age.as_nanos().div_ceil(1_000_000);
        let value = HeaderValue::from_str(&millis.to_string()).expect("digits are ASCII");
        answer.headers_mut().insert(HeaderName::from_static(AGE_HEADER), value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], wanted: Duration) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(stale_max(&headers), wanted, "{values:?}");
    }

    #[test]
    fn callers_say_what_they_bear_with() {
        check(&[], Duration::ZERO);
        check(&["no-cache", "max-age=7"], Duration::ZERO);
        check(&["max-stale"], Duration::MAX);
        check(&["no-cache, Max-Stale=5"], Duration::from_secs(5));
        check(&["max-stale=5", "max-stale=7"], Duration::from_secs(7));
        check(&["max-stale=x", "max-stale=-1", "max-stale=99999999999999999999", "max-stale="], Duration::ZERO);
    }
}
