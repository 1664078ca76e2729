//! Who a caller is, and what its role may do. It knows credentials and roles, no objects and no HTTP routes.

use crate::handle::{Principal, PrincipalRole};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use pan_api::ApiError;
use pan_api::keyfile::parse_key;
use pan_model::Code;
use sha2::{Digest, Sha256};

/// What a request does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Look at it.
    Read,
    /// Create it, change what is asked of it, or delete it.
    Change,
    /// Act on it as it is: restart, move, drain.
    Operate,
    /// See or do what goes on inside it: logs, exec, the data of a snapshot.
    Enter,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// A partition.
    Partition,
    /// A cluster.
    Cluster,
    /// A server.
    Server,
    /// A service.
    Service,
    /// A volume.
    Volume,
    /// A node.
    Node,
    /// A host.
    Host,
    /// Tokens.
    Token,
    /// Events.
    Event,
    /// The PAN as a whole: capacity, proofs, forecasts.
    Pan,
    /// The interface itself: version, description.
    Interface,
}

/// The table of roles: whether `role` may do `verb` to objects of kind `noun`. Which of those objects it sees at all
/// is the scope's business.
#[must_use]
pub const fn allowed(role: PrincipalRole, verb: Verb, noun: Noun) -> bool {
    match (role, noun, verb) {
        (PrincipalRole::Joining, _, _) => false,
        (PrincipalRole::PanAdministrator, Noun::Partition | Noun::Cluster | Noun::Service | Noun::Token, verb) => {
            matches!(verb, Verb::Read | Verb::Change)
        }
        (PrincipalRole::PanAdministrator, Noun::Volume, verb) => matches!(verb, Verb::Read | Verb::Change | Verb::Enter),
        (PrincipalRole::PanAdministrator, Noun::Server, verb) => matches!(verb, Verb::Read | Verb::Operate | Verb::Enter),
        (PrincipalRole::PanAdministrator, Noun::Node, verb) => matches!(verb, Verb::Read | Verb::Operate),
        (PrincipalRole::PanAdministrator, Noun::Host, verb) => matches!(verb, Verb::Read | Verb::Change),
        (PrincipalRole::PanAdministrator, Noun::Pan, verb) => matches!(verb, Verb::Read | Verb::Operate),
        (PrincipalRole::PanAdministrator, Noun::Event | Noun::Interface, verb) => matches!(verb, Verb::Read),
    }
}

/// Checks the table.
///
/// # Errors
/// `Denied`.
pub fn permit(principal: &Principal, verb: Verb, noun: Noun) -> Result<(), ApiError> {
    if allowed(principal.role, verb, noun) {
        return Ok(());
    }
    Err(ApiError::new(Code::Denied, format!("{} may not do this", principal.name)))
}

/// The administrator's token, known only by its digest.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Why the configured digest is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("controller.adminTokenSha256 is not a SHA-256 digest: expected 64 hexadecimal digits, found {found} characters")]
pub struct DigestError {
    /// How long the text is; the text itself stays out of logs.
    pub found: usize,
}

impl AdminToken {
    /// The token whose SHA-256 digest is `hex`.
    ///
    /// # Errors
    /// [`DigestError`] when `hex` is not 64 hexadecimal digits.
    pub fn from_digest(hex: &str) -> Result<Self, DigestError> {
        parse_key(hex).map(Self).ok_or_else(|| DigestError { found: hex.trim().len() })
    }

    /// The principal of a request by its bearer token (RFC 6750 §2.1).
    ///
    /// # Errors
    /// `Unauthenticated`, in the same words whether the token is missing, malformed or wrong.
    pub fn principal(&self, headers: &HeaderMap) -> Result<Principal, ApiError> {
        let token = bearer(headers).filter(|token| self.is(token.as_bytes()));
        token.map(|_| administrator()).ok_or_else(unauthenticated)
    }

    fn is(&self, token: &[u8]) -> bool {
        let digest = Sha256::digest(token);
        let differing = self.0.iter().zip(digest.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        // Keeps the comparison from being turned into one that ends at the first difference.
        std::hint::black_box(differing) == 0
    }
}

/// The refusal of a caller that is nobody known.
#[must_use]
pub fn unauthenticated() -> ApiError {
    ApiError::new(Code::Unauthenticated, "no valid credentials: expected the header \"Authorization: Bearer pan_…\"")
}

fn administrator() -> Principal {
    Principal { name: "administrator".into(), role: PrincipalRole::PanAdministrator, partition: None }
}

/// The token of a request, if it carries one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "pan_local_0123";

    fn hex(text: &str) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn asked(values: &[&str]) -> Result<Principal, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        AdminToken::from_digest(&hex(TOKEN)).unwrap().principal(&headers)
    }

    #[test]
    fn only_the_token_is_the_administrator() {
        for good in ["Bearer pan_local_0123", "bearer  pan_local_0123"] {
            assert_eq!(asked(&[good]).unwrap().role, PrincipalRole::PanAdministrator, "{good}");
        }
        let wrong: [&[&str]; 7] = [
            &[],
            &["Bearer"],
            &["Bearer "],
            &["Bearer pan_local_0124"],
            &["Basic pan_local_0123"],
            &["pan_local_0123"],
            &["Bearer pan_local_0123", "Bearer pan_local_0123"],
        ];
        for values in wrong {
            assert_eq!(asked(values).unwrap_err(), unauthenticated(), "{values:?}");
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        for bad in ["", "zz", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(AdminToken::from_digest(bad).is_err(), "{bad}");
        }
        assert!(AdminToken::from_digest(&format!("{}\n", hex("x"))).is_ok());
    }
}
