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
        spec.check()?;
        let status = StatusCode::from_u16(spec.status()).map_err(|error| Misfit::new("status", error.to_string()))?;
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
