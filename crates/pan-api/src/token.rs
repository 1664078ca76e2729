//! Tokens: what lets somebody in. Those with which a machine joins as a host, once, and those with which people and programs call the interface.

use crate::keyfile::{hex, parse_key};
use pan_model::host::Role;
use pan_model::{HostName, Name, PartitionName, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What the bearer of a token may do: in the whole PAN, or in one partition, beside which there is nothing for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessRole {
    /// Everything that the interface offers.
    PanAdministrator,
    /// Looks at everything, and acts on it as it is: drains, restarts, moves.
    PanOperator,
    /// Looks at everything.
    PanMonitor,
    /// Everything within one partition, its tokens included.
    Administrator,
    /// Looks at a partition, acts on its servers as they are, and goes into them.
    Operator,
    /// Looks at a partition.
    Monitor,
}

impl AccessRole {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::PanAdministrator, Self::PanOperator, Self::PanMonitor, Self::Administrator, Self::Operator, Self::Monitor];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PanAdministrator => "pan-administrator",
            Self::PanOperator => "pan-operator",
            Self::PanMonitor => "pan-monitor",
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Monitor => "monitor",
        }
    }

    /// Whether it is a role in one partition.
    #[must_use]
    pub const fn is_of_a_partition(self) -> bool {
        match self {
            Self::PanAdministrator | Self::PanOperator | Self::PanMonitor => false,
            Self::Administrator | Self::Operator | Self::Monitor => true,
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}: expected one of pan-administrator, pan-operator, pan-monitor, administrator, operator, monitor")]
pub struct NoRole(String);

impl FromStr for AccessRole {
    type Err = NoRole;
    fn from_str(text: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| NoRole(text.to_owned()))
    }
}

/// `POST /v1/tokens`: a token with which one machine may join (`host`, `roles`), or one for somebody with a role (`role`, and for a role of a
/// partition `partition`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The host that the machine becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// What it may do for the PAN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// What the bearer may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<AccessRole>,
    /// In which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Who the bearer is, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How long the token is good.
    pub expires: Span,
}

/// The answer: the only time that the token itself is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// What it is known by.
    pub id: String,
    /// The token.
    pub token: String,
    /// The host that a machine becomes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// What its bearer may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<AccessRole>,
    /// In which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// The fingerprint of the PAN's authority, by which its bearer knows the PAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Until when it is good.
    pub expires: String,
}

/// A token as the PAN knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What it is known by.
    pub id: String,
    /// The host that a machine becomes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// That host's roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// What its bearer may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<AccessRole>,
    /// In which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Who its bearer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// When it was made.
    pub created: String,
    /// Until when it is good.
    pub expires: String,
    /// Whether it was used.
    pub state: TokenState,
}

/// Whether a token was used. Whether its time is over is for whoever has a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// Not yet.
    Unused,
    /// It was: it is good for nothing but the same machine asking again.
    Used,
    /// It is for as often as its bearer likes.
    Active,
}

/// `GET /v1/self`: who asks, as the PAN knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// For the record.
    pub name: String,
    /// What it may do.
    pub role: AccessRole,
    /// The partition that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// The certificate of the PAN's authority, by which its controllers are known (PEM).
    pub ca: String,
    /// Until when its token is good; absent for the administrator that the PAN was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A token with which its bearer calls the interface: `pan_ID_SECRET`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What the PAN finds it by.
    pub id: u64,
    /// What only its bearer knows.
    pub secret: [u8; 32],
}

impl AccessToken {
    /// The token as it is written.
    #[must_use]
    pub fn text(&self) -> String {
        format!("pan_{}_{}", id_text(self.id), hex(&self.secret))
    }

    /// The token that a text is. The text is not told: it may be a secret all the same.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("pan_")?.split_once('_')?;
        let number = u64::from_str_radix(id, 16).ok().filter(|number| id_text(*number) == id)?;
        Some(Self { id: number, secret: parse_key(secret)? })
    }
}

/// Without the secret: what is printed ends up in logs.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken({})", id_text(self.id))
    }
}

/// A join token as its bearer has it: `pan_join_ID_SECRET_FINGERPRINT`. The fingerprint is that of the PAN's authority, so
/// that the very first connection goes to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What the PAN finds it by.
    pub id: u64,
    /// What only its bearer knows.
    pub secret: [u8; 32],
    /// See [`crate::tls::fingerprint`].
    pub authority: [u8; 32],
}

const PREFIX: &str = "pan_join_";

impl JoinToken {
    /// The token as it is written.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PREFIX}{}_{}_{}", id_text(self.id), hex(&self.secret), hex(&self.authority))
    }
}

/// How an id is written.
#[must_use]
pub fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// A text is no join token. The text itself is not told: it may be a secret all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token: expected pan_join_ID_SECRET_FINGERPRINT as `pan token create --join HOST` printed it")]
pub struct NoJoinToken;

impl FromStr for JoinToken {
    type Err = NoJoinToken;
    fn from_str(text: &str) -> Result<Self, NoJoinToken> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(NoJoinToken)?;
        let parts: Vec<&str> = rest.split('_').collect();
        let [id, secret, authority] = parts.as_slice() else { return Err(NoJoinToken) };
        let number = u64::from_str_radix(id, 16).ok().filter(|number| id_text(*number) == *id).ok_or(NoJoinToken)?;
        let key = |text: &str| parse_key(text).ok_or(NoJoinToken);
        Ok(Self { id: number, secret: key(secret)?, authority: key(authority)? })
    }
}

/// Without the secret: what is printed ends up in logs.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", id_text(self.id))
    }
}

/// Without the token, for the same reason.
impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenMade({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_reads_back_and_no_other_text_is_one() {
        let token = AccessToken { id: 0x0a, secret: [0x11; 32] };
        let text = token.text();
        assert_eq!(AccessToken::read(&text), Some(token.clone()));
        assert!(!format!("{token:?}").contains("1111"));
        let join = JoinToken { id: 0x0a, secret: [0x11; 32], authority: [0x22; 32] }.text();
        for bad in ["", "pan_", "pan_local_00", &text[..text.len() - 1], &format!("{text}_"), &text.replace("pan_0", "pan_"), &join] {
            assert_eq!(AccessToken::read(bad), None, "{bad}");
        }
        for role in AccessRole::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }

    #[test]
    fn a_token_reads_back_and_anything_else_is_refused_without_being_told() {
        let token = JoinToken { id: 0x0a, secret: [0x11; 32], authority: [0x22; 32] };
        let text = token.text();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!("{text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("1111"));
        let short = text[..text.len() - 1].to_owned();
        for bad in ["", "pan_join_", "pan_admin_00", &short, &text.replace("_join_0", "_join_"), &format!("{text}_00")] {
            let refused = bad.parse::<JoinToken>().unwrap_err().to_string();
            assert!(bad.is_empty() || !refused.contains(bad) || bad == "pan_join_", "{refused}");
        }
    }
}
