//! What rules are told of a request: nothing is copied or worked out before a rule asks for it.

use super::Seen;
use hyper::header::HeaderValue;
use pan_model::proxy::RequestVariable;
use pan_rule::{Facts, Value, Verdict};
use std::borrow::Cow;

impl Seen<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.query?.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        all.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut all = self.headers.get_all(name).iter().map(HeaderValue::as_bytes).map(std::str::from_utf8);
        let first = all.next()?.ok()?;
        let mut whole = Cow::Borrowed(first);
        for next in all {
            let whole = whole.to_mut();
            whole.push_str(", ");
            whole.push_str(next.ok()?);
        }
        Some(whole)
    }
}

impl Facts for Seen<'_> {
    fn value(&self, variable: usize) -> Option<Value<'_>> {
        match RequestVariable::ALL.get(variable)? {
            RequestVariable::Method => Some(Value::Text(self.method.as_str().into())),
            RequestVariable::Host => Some(Value::Text(self.host.into())),
            RequestVariable::Path => Some(Value::Text(self.path.into())),
            RequestVariable::Tls => Some(Value::Bool(self.tls)),
            RequestVariable::Client => Some(Value::Address(self.client.to_canonical())),
            RequestVariable::Query | RequestVariable::Headers => None,
        }
    }

    fn has(&self, variable: usize, key: &str) -> bool {
        match RequestVariable::ALL.get(variable) {
            Some(RequestVariable::Query) => self.parameter(key).is_some(),
            Some(RequestVariable::Headers) => self.headers.contains_key(key),
            _ => false,
        }
    }

    fn entry(&self, variable: usize, key: &str) -> Option<Cow<'_, str>> {
        match RequestVariable::ALL.get(variable)? {
            RequestVariable::Query => self.parameter(key).map(Cow::Borrowed),
            RequestVariable::Headers => self.header(key),
            RequestVariable::Method | RequestVariable::Host | RequestVariable::Path | RequestVariable::Tls | RequestVariable::Client => {
                None
            }
        }
    }
}

/// What a rule said, for people.
pub(super) fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Holds => "it holds".to_owned(),
        Verdict::Fails(part) => format!("it does not hold, because of {part}"),
        Verdict::Unknown(part, why) => format!("it does not count, because of {part}: {why}"),
    }
}
