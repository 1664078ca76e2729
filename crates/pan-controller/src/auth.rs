//! Who a caller is, and what its role may do. It knows credentials and roles, no objects and no HTTP routes.

use crate::core::digest::Digest;
use crate::handle::{Grant, Principal, PrincipalRole};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use pan_api::ApiError;
use pan_api::inside::Kind;
use pan_api::keyfile::parse_key;
use pan_api::token::{AccessRole, AccessToken, id_text};
use pan_model::Code;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

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
    /// A service of another partition.
    Import,
    /// How many servers a cluster has, and when.
    Policy,
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
    /// Who changed what.
    Audit,
    /// What partitions used.
    Usage,
    /// The PAN as a whole: capacity, proofs, forecasts.
    Pan,
    /// The interface itself: version, description.
    Interface,
}

/// The table of roles: whether `role` may do `verb` to objects of kind `noun`. Which of those objects it sees at all
/// is the scope's business.
#[must_use]
pub const fn allowed(role: PrincipalRole, verb: Verb, noun: Noun) -> bool {
    match role {
        PrincipalRole::Joining => false,
        PrincipalRole::Access(AccessRole::PanAdministrator) => match noun {
            Noun::Partition | Noun::Service | Noun::Import | Noun::Policy | Noun::Token | Noun::Host => {
                matches!(verb, Verb::Read | Verb::Change)
            }
            Noun::Cluster => matches!(verb, Verb::Read | Verb::Change | Verb::Operate),
            Noun::Volume => matches!(verb, Verb::Read | Verb::Change | Verb::Enter),
            Noun::Server => matches!(verb, Verb::Read | Verb::Operate | Verb::Enter),
            Noun::Node | Noun::Pan => matches!(verb, Verb::Read | Verb::Operate),
            Noun::Event | Noun::Audit | Noun::Usage | Noun::Interface => matches!(verb, Verb::Read),
        },
        // What is inside of servers and volumes is their partitions' own.
        PrincipalRole::Access(AccessRole::PanOperator) => match noun {
            Noun::Cluster | Noun::Server | Noun::Node | Noun::Pan => matches!(verb, Verb::Read | Verb::Operate),
            Noun::Partition | Noun::Service | Noun::Import | Noun::Policy | Noun::Volume | Noun::Token | Noun::Host => {
                matches!(verb, Verb::Read)
            }
            Noun::Event | Noun::Audit | Noun::Usage | Noun::Interface => matches!(verb, Verb::Read),
        },
        PrincipalRole::Access(AccessRole::PanMonitor) => matches!(verb, Verb::Read),
        // What the PAN consists of, and what it has, is nothing that a partition can see.
        PrincipalRole::Access(AccessRole::Administrator) => match noun {
            Noun::Service | Noun::Import | Noun::Policy | Noun::Token => matches!(verb, Verb::Read | Verb::Change),
            Noun::Cluster => matches!(verb, Verb::Read | Verb::Change | Verb::Operate),
            Noun::Volume => matches!(verb, Verb::Read | Verb::Change | Verb::Enter),
            Noun::Server => matches!(verb, Verb::Read | Verb::Operate | Verb::Enter),
            Noun::Partition | Noun::Event | Noun::Audit | Noun::Usage | Noun::Interface => matches!(verb, Verb::Read),
            Noun::Node | Noun::Host | Noun::Pan => false,
        },
        PrincipalRole::Access(AccessRole::Operator) => match noun {
            Noun::Cluster => matches!(verb, Verb::Read | Verb::Operate),
            Noun::Server => matches!(verb, Verb::Read | Verb::Operate | Verb::Enter),
            Noun::Partition | Noun::Service | Noun::Import | Noun::Policy | Noun::Volume | Noun::Event | Noun::Usage | Noun::Interface => {
                matches!(verb, Verb::Read)
            }
            Noun::Token | Noun::Audit | Noun::Node | Noun::Host | Noun::Pan => false,
        },
        PrincipalRole::Access(AccessRole::Monitor) => match noun {
            Noun::Partition | Noun::Cluster | Noun::Server | Noun::Service | Noun::Import | Noun::Policy | Noun::Volume => {
                matches!(verb, Verb::Read)
            }
            Noun::Event | Noun::Usage | Noun::Interface => matches!(verb, Verb::Read),
            Noun::Token | Noun::Audit | Noun::Node | Noun::Host | Noun::Pan => false,
        },
    }
}

impl Noun {
    /// Whether what is told of it can be out of date: what the program is and takes does not change with the PAN.
    #[must_use]
    pub fn ages(self) -> bool {
        self != Self::Interface
    }

    /// What the controller that leads is told of it, if it has an inside.
    #[must_use]
    pub const fn inside(self) -> Option<Kind> {
        match self {
            Self::Server => Some(Kind::Server),
            Self::Volume => Some(Kind::Volume),
            Self::Partition
            | Self::Cluster
            | Self::Service
            | Self::Import
            | Self::Policy
            | Self::Node
            | Self::Host
            | Self::Token
            | Self::Event
            | Self::Audit
            | Self::Usage
            | Self::Pan
            | Self::Interface => None,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Cluster => "cluster",
            Self::Server => "server",
            Self::Service => "service",
            Self::Import => "import",
            Self::Policy => "policy",
            Self::Volume => "volume",
            Self::Node => "node",
            Self::Host => "host",
            Self::Token => "token",
            Self::Event => "event",
            Self::Audit => "audit",
            Self::Usage => "usage",
            Self::Pan => "pan",
            Self::Interface => "interface",
        }
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
pub struct AdminToken(Digest);

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
        parse_key(hex).map(|key| Self(Digest(key))).ok_or_else(|| DigestError { found: hex.trim().len() })
    }

    fn is(&self, digest: &Digest) -> bool {
        self.0 == *digest
    }
}

/// The principal of a request by its bearer token (RFC 6750 §2.1), at a moment in microseconds since 1970.
///
/// # Errors
/// `Unauthenticated`, in the same words whether the token is missing, malformed, unknown, revoked, over or wrong.
pub fn principal(administrator: &AdminToken, known: &BTreeMap<u64, Grant>, now: i64, headers: &HeaderMap) -> Result<Principal, ApiError> {
    let text = bearer(headers).ok_or_else(unauthenticated)?;
    if administrator.is(&Digest(Sha256::digest(text).into())) {
        let role = PrincipalRole::Access(AccessRole::PanAdministrator);
        return Ok(Principal { name: "administrator".into(), called: None, role, partition: None, token: None });
    }
    let token = AccessToken::read(text).ok_or_else(unauthenticated)?;
    let grant = known.get(&token.id);
    // Compared whether there is one or not: the time tells nothing.
    let right = grant.map_or(Digest([0; 32]), |grant| grant.secret) == Digest(Sha256::digest(token.secret).into());
    let grant = grant.filter(|grant| right && grant.lasts(now)).ok_or_else(unauthenticated)?;
    let id = id_text(token.id);
    let name = grant.name.as_ref().map_or_else(|| format!("token {id}"), |name| format!("{name} (token {id})"));
    let (role, called) = (PrincipalRole::Access(grant.role), grant.name.clone());
    Ok(Principal { name, called, role, partition: grant.partition.clone(), token: Some(token.id) })
}

/// The refusal of a caller that is nobody known.
#[must_use]
pub fn unauthenticated() -> ApiError {
    ApiError::new(Code::Unauthenticated, "no valid credentials: expected the header \"Authorization: Bearer pan_…\"")
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
    const NOW: i64 = 1_000;

    fn hex(text: &str) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Two tokens of partition acme: number 10, and number 11, which is over.
    fn known() -> BTreeMap<u64, Grant> {
        let grant = |expires| Grant {
            secret: Digest(Sha256::digest([7; 32]).into()),
            role: AccessRole::Monitor,
            partition: Some("acme".parse().unwrap()),
            name: None,
            expires,
        };
        BTreeMap::from([(10, grant(NOW + 1)), (11, grant(NOW))])
    }

    fn asked(values: &[&str]) -> Result<Principal, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        principal(&AdminToken::from_digest(&hex(TOKEN)).unwrap(), &known(), NOW, &headers)
    }

    fn bearing(id: u64, byte: u8) -> String {
        format!("Bearer {}", AccessToken { id, secret: [byte; 32] }.text())
    }

    #[test]
    fn only_the_token_is_the_administrator() {
        for good in ["Bearer pan_local_0123", "bearer  pan_local_0123"] {
            assert_eq!(asked(&[good]).unwrap().role, PrincipalRole::Access(AccessRole::PanAdministrator), "{good}");
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
    fn a_token_is_what_was_made_with_it_until_its_time_is_over() {
        let one = asked(&[&bearing(10, 7)]).unwrap();
        assert_eq!((one.role, one.token), (PrincipalRole::Access(AccessRole::Monitor), Some(10)));
        assert_eq!(one.partition, Some("acme".parse().unwrap()));
        for wrong in [bearing(10, 8), bearing(11, 7), bearing(12, 7)] {
            assert_eq!(asked(&[&wrong]).unwrap_err(), unauthenticated(), "{wrong}");
        }
        // The digest that stands for none is nobody's.
        let none = BTreeMap::new();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearing(0, 0).parse().unwrap())]);
        assert!(principal(&AdminToken::from_digest(&hex(TOKEN)).unwrap(), &none, NOW, &headers).is_err());
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        for bad in ["", "zz", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(AdminToken::from_digest(bad).is_err(), "{bad}");
        }
        assert!(AdminToken::from_digest(&format!("{}\n", hex("x"))).is_ok());
    }
}
