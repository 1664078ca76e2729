//! Tokens: what lets somebody in. So far those with which a machine joins as a host, once.

use crate::keyfile::{hex, parse_key};
use pan_model::host::Role;
use pan_model::{HostName, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `POST /v1/tokens`: a token with which one machine may join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The host that the machine becomes.
    pub host: HostName,
    /// What it may do for the PAN.
    pub roles: Vec<Role>,
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
    pub host: HostName,
    /// Until when it is good.
    pub expires: String,
}

/// A token as the PAN knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What it is known by.
    pub id: String,
    /// The host that a machine becomes with it.
    pub host: HostName,
    /// That host's roles.
    pub roles: Vec<Role>,
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
        write!(f, "TokenMade({} for {})", self.id, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
