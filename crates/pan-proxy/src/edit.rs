//! Edits of headers that a service or route asks for.

use crate::forwarded::is_hop_by_hop;
use crate::target::is_authority;
use hyper::HeaderMap;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use pan_model::proxy::{EditSpec, HeaderSpec, Misfit};
use std::collections::BTreeMap;

/// Edits that can be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Of requests.
    pub request: HeaderEdits,
    /// Of answers.
    pub response: HeaderEdits,
}

/// Edits of one head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Edits {
    /// Checks names and values.
    ///
    /// # Errors
    /// A name that is none or that belongs to the connection or the framing, or a value with characters that none has; `Host`
    /// other than replaced by a host.
    pub fn compile(spec: &EditSpec) -> Result<Self, Misfit> {
        Ok(Self {
            request: HeaderEdits::compile(&spec.request).map_err(|misfit| misfit.within("request"))?,
            response: HeaderEdits::compile(&spec.response).map_err(|misfit| misfit.within("response"))?,
        })
    }
}

impl HeaderEdits {
    fn compile(spec: &HeaderSpec) -> Result<Self, Misfit> {
        let pairs = |map: &BTreeMap<String, String>, place: &str, host: Host| {
            let pair = |(name, value): (&String, &String)| {
                let place = format!("{place}.{name}");
                let value = HeaderValue::from_str(value)
                    .map_err(|_| Misfit::new(&place, "expected a value of visible characters, spaces and tabs"))?;
                let name = header_name(name, &place, host)?;
                if name == HOST && (value.is_empty() || !is_authority(value.as_bytes())) {
                    return Err(Misfit::new(place, "expected a host, with or without a port"));
                }
                Ok((name, value))
            };
            map.iter().map(pair).collect::<Result<Vec<_>, Misfit>>()
        };
        let remove = spec.remove.iter().enumerate().map(|(at, name)| header_name(name, &format!("remove[{at}]"), Host::Kept));
        let (set, add) = (pairs(&spec.set, "set", Host::Replaced)?, pairs(&spec.add, "add", Host::Kept)?);
        Ok(Self { set, add, remove: remove.collect::<Result<_, _>>()? })
    }
}

/// What may become of `Host`, of which a request has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Kept,
    Replaced,
}

/// A header's name that may be edited.
fn header_name(text: &str, place: &str, host: Host) -> Result<HeaderName, Misfit> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| Misfit::new(place, format!("{text:?} is not a header's name")))?;
    if is_hop_by_hop(&name) || name == CONTENT_LENGTH {
        return Err(Misfit::new(place, format!("{name} says how a message is sent and is the proxy's to set")));
    }
    if name == HOST && host == Host::Kept {
        return Err(Misfit::new(place, "a request has one host: expected it under set"));
    }
    Ok(name)
}

impl HeaderEdits {
    /// Carries them out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> EditSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn headers_are_removed_set_and_added_in_this_order() {
        let edits =
            Edits::compile(&spec(r#"{"request": {"set": {"a": "1"}, "add": {"b": "2"}, "remove": ["c", "a", "absent"]}}"#)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "x"), ("a", "y"), ("b", "z"), ("c", "w")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edits.request.apply(&mut headers);
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, [("b", "z"), ("b", "2"), ("a", "1")]);
    }

    #[test]
    fn what_cannot_be_edited_is_named() {
        let check = |text: &str, place: &str| assert_eq!(Edits::compile(&spec(text)).unwrap_err().place, place, "{text}");
        check(r#"{"request": {"set": {"content-length": "1"}}}"#, "request.set.content-length");
        check(r#"{"response": {"add": {"transfer-encoding": "x"}}}"#, "response.add.transfer-encoding");
        check(r#"{"response": {"remove": ["a", "connection"]}}"#, "response.remove[1]");
        check(r#"{"request": {"add": {"a b": "x"}}}"#, "request.add.a b");
        check(r#"{"request": {"add": {"a": "x\ny"}}}"#, "request.add.a");
        check(r#"{"request": {"add": {"Host": "x"}}}"#, "request.add.Host");
        check(r#"{"request": {"remove": ["host"]}}"#, "request.remove[0]");
        check(r#"{"request": {"set": {"host": "a b"}}}"#, "request.set.host");
        check(r#"{"request": {"set": {"host": ""}}}"#, "request.set.host");
        assert!(Edits::compile(&spec(r#"{"request": {"set": {"host": "shop.example:80"}}}"#)).is_ok());
    }
}
