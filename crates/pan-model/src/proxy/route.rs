//! Routes as documents have them.

use super::authority::is_authority;
use super::edit::EditSpec;
use super::spec::Misfit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A route: a condition, and a cluster or a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteSpec {
    /// When; always if absent.
    #[serde(default, rename = "match")]
    pub matches: MatchSpec,
    /// Who answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Or where else to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// The share among routes with the same condition.
    #[serde(default = "usual")]
    pub weight: u32,
    /// Edits after the service's.
    #[serde(default)]
    pub edits: EditSpec,
}

fn usual() -> u32 {
    100
}

/// A condition; all that it names has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MatchSpec {
    /// The host: `shop.example`, or `*.example` for every name under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path and everything under it: `/api/` (which `/api` matches, and `/apix` does not). `=/api` is that path alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One of these methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// Headers with one of their values being this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters of this value, as written there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// What else has to hold, in CEL: `request.method == "POST" && request.headers["x-canary"] == "1"`. It does not if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub rule: Option<String>,
}

/// Another address; what it leaves out stays as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RedirectSpec {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// A host, with a port if that is not usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path; the query stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308, which it is when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Statuses that send a client elsewhere (RFC 9110, 15.4).
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

impl RedirectSpec {
    /// The answer's status: whoever follows asks by the same method, and may remember it, unless the document says otherwise.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(308)
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// A part of it is none, or it leads to where the request came. The place is within this.
    pub fn check(&self) -> Result<(), Misfit> {
        if !STATUSES.contains(&self.status()) {
            let text = format!("{} does not redirect: expected 301, 302, 303, 307 or 308", self.status());
            return Err(Misfit::new("status", text));
        }
        if self.scheme.as_deref().is_some_and(|scheme| !["http", "https"].contains(&scheme)) {
            return Err(Misfit::new("scheme", "expected http or https"));
        }
        if self.host.as_deref().is_some_and(|host| host.is_empty() || !is_authority(host.as_bytes())) {
            return Err(Misfit::new("host", "expected a host, with or without a port"));
        }
        if self.path.as_deref().is_some_and(|path| !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Misfit::new("path", "expected a path from / on"));
        }
        if self.scheme.is_none() && self.host.is_none() && self.path.is_none() {
            return Err(Misfit::new("scheme", "a redirect to where the request came: expected a scheme, a host or a path"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_redirect_is_named() {
        let check = |text: &str, place: &str| {
            let spec: RedirectSpec = serde_json::from_str(text).unwrap();
            assert_eq!(spec.check().map_err(|misfit| misfit.place).err().as_deref().unwrap_or("nothing"), place, "{text}");
        };
        check(r#"{"scheme": "https"}"#, "nothing");
        check(r#"{"host": "[fd00::1]:8443", "path": "/x", "status": 303}"#, "nothing");
        check("{}", "scheme");
        check(r#"{"status": 301}"#, "scheme");
        check(r#"{"scheme": "ftp"}"#, "scheme");
        check(r#"{"scheme": "https", "status": 200}"#, "status");
        for host in ["", "a/b", "a@b", "a b", "a?b", "a\\u0007"] {
            check(&format!(r#"{{"host": "{host}"}}"#), "host");
        }
        check(r#"{"path": "x"}"#, "path");
        check(r#"{"path": "/a b"}"#, "path");
    }
}
