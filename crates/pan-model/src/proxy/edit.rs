//! Edits of headers that a service or route asks for.

use super::authority::is_authority;
use super::condition::{is_header_value, is_token};
use super::spec::Misfit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Headers of one hop, in lower case (RFC 9110, 7.6.1, and those that came before it said so).
pub const HOP_BY_HOP: [&str; 7] = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"];

/// Edits of requests and of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EditSpec {
    /// Of a request before a server has it.
    #[serde(skip_serializing_if = "HeaderSpec::is_none")]
    pub request: HeaderSpec,
    /// Of an answer before the client has it.
    #[serde(skip_serializing_if = "HeaderSpec::is_none")]
    pub response: HeaderSpec,
}

/// Edits of one head: first `remove`, then `set`, then `add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HeaderSpec {
    /// Headers that are to have this value alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Values that are added to those that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Headers that are taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl EditSpec {
    /// Whether nothing is edited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.request.is_none() && self.response.is_none()
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// A name that is none or that belongs to the connection or the framing, or a value with characters that none has; `Host`
    /// other than replaced by a host. The place is within this.
    pub fn check(&self) -> Result<(), Misfit> {
        self.request.check().map_err(|misfit| misfit.within("request"))?;
        self.response.check().map_err(|misfit| misfit.within("response"))
    }
}

impl HeaderSpec {
    fn is_none(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn check(&self) -> Result<(), Misfit> {
        for (map, place, host) in [(&self.set, "set", Host::Replaced), (&self.add, "add", Host::Kept)] {
            for (name, value) in map {
                let place = format!("{place}.{name}");
                editable(name, &place, host)?;
                if !is_header_value(value) {
                    return Err(Misfit::new(place, "expected a value of visible characters, spaces and tabs"));
                }
                if name.eq_ignore_ascii_case("host") && (value.is_empty() || !is_authority(value.as_bytes())) {
                    return Err(Misfit::new(place, "expected a host, with or without a port"));
                }
            }
        }
        self.remove.iter().enumerate().try_for_each(|(at, name)| editable(name, &format!("remove[{at}]"), Host::Kept))
    }
}

/// What may become of `Host`, of which a request has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Kept,
    Replaced,
}

/// Whether a header may be edited.
fn editable(name: &str, place: &str, host: Host) -> Result<(), Misfit> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return Err(Misfit::new(place, format!("{name:?} is not a header's name")));
    }
    if HOP_BY_HOP.contains(&lower.as_str()) || lower == "content-length" {
        return Err(Misfit::new(place, format!("{lower} says how a message is sent and is the proxy's to set")));
    }
    if lower == "host" && host == Host::Kept {
        return Err(Misfit::new(place, "a request has one host: expected it under set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_edited_is_named() {
        let spec = |text: &str| serde_json::from_str::<EditSpec>(text).unwrap();
        let check = |text: &str, place: &str| assert_eq!(spec(text).check().unwrap_err().place, place, "{text}");
        check(r#"{"request": {"set": {"content-length": "1"}}}"#, "request.set.content-length");
        check(r#"{"response": {"add": {"Transfer-Encoding": "x"}}}"#, "response.add.Transfer-Encoding");
        check(r#"{"response": {"remove": ["a", "connection"]}}"#, "response.remove[1]");
        check(r#"{"request": {"add": {"a b": "x"}}}"#, "request.add.a b");
        check(r#"{"request": {"add": {"a": "x\ny"}}}"#, "request.add.a");
        check(r#"{"request": {"add": {"Host": "x"}}}"#, "request.add.Host");
        check(r#"{"request": {"remove": ["host"]}}"#, "request.remove[0]");
        check(r#"{"request": {"set": {"host": "a b"}}}"#, "request.set.host");
        check(r#"{"request": {"set": {"host": ""}}}"#, "request.set.host");
        assert!(spec(r#"{"request": {"set": {"host": "shop.example:80"}}}"#).check().is_ok());
    }

    #[test]
    fn nothing_is_written_as_nothing() {
        assert_eq!(serde_json::to_string(&EditSpec::default()).unwrap(), "{}");
    }
}
