//! Answers that say where else to ask.

use super::Seen;
use hyper::StatusCode;
use pan_model::proxy::{Misfit, RedirectSpec};

/// One that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    spec: RedirectSpec,
    /// The answer's status.
    pub status: StatusCode,
}

impl Redirect {
    pub(super) fn compile(spec: &RedirectSpec) -> Result<Self, Misfit> {
        let status = match spec.status.unwrap_or(308) {
            301 => StatusCode::MOVED_PERMANENTLY,
            302 => StatusCode::FOUND,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            other => return Err(Misfit::new("status", format!("{other} does not redirect: expected 301, 302, 303, 307 or 308"))),
        };
        if spec.scheme.as_deref().is_some_and(|scheme| !["http", "https"].contains(&scheme)) {
            return Err(Misfit::new("scheme", "expected http or https"));
        }
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if spec.host.as_deref().is_some_and(|host| host.is_empty() || !visible(host) || host.contains(['/', '?', '#', '@'])) {
            return Err(Misfit::new("host", "expected a host, with or without a port"));
        }
        if spec.path.as_deref().is_some_and(|path| !path.starts_with('/') || !visible(path)) {
            return Err(Misfit::new("path", "expected a path from / on"));
        }
        if spec.scheme.is_none() && spec.host.is_none() && spec.path.is_none() {
            return Err(Misfit::new("scheme", "a redirect to where the request came: expected a scheme, a host or a path"));
        }
        Ok(Self { spec: spec.clone(), status })
    }
    /// Where to. `scheme` is what was asked by; `authority` and `path` are the client's own, not the canonical ones. A port
    /// belongs to its scheme and does not outlive it.
    #[must_use]
    pub fn location(&self, scheme: &str, authority: &str, path: &str, seen: &Seen<'_>) -> String {
        let same = self.spec.scheme.as_deref().is_none_or(|other| other == scheme);
        let scheme = self.spec.scheme.as_deref().unwrap_or(scheme);
        let host = self.spec.host.as_deref().unwrap_or(if same { authority } else { seen.host });
        let path = self.spec.path.as_deref().unwrap_or(path);
        let query = seen.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{path}{query}")
    }
}
