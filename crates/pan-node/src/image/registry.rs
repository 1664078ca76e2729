//! A registry by the OCI distribution specification: manifests and blobs, by way of tokens and of wherever it sends on.

use std::sync::Arc;

use hyper::Uri;
use hyper::header::{LOCATION, WWW_AUTHENTICATE};
use pan_image::manifest::{ACCEPT, Blob, DOCUMENT_MAX};
use pan_model::image::{Reference, Version};
use pan_model::registry::Security;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::disk::Disk;
use super::error::{ImageError, cut, disk};
use super::http::{Answer, Asker};
use super::room::Room;
use super::rules::Way;
use super::unpack::LOOK_EVERY;

/// As many as browsers follow at least (the fetch standard has 20): registries send on once.
const HOPS_MAX: usize = 5;
/// A token, and what is around it.
const TOKEN_MAX: u64 = 64 << 10;
/// Of what a registry says when it refuses.
const SAID_MAX: u64 = 4096;

/// A repository of a registry.
pub(super) struct Repository<'a> {
    asker: &'a Asker,
    way: Way,
    name: String,
    token: Option<String>,
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl<'a> Repository<'a> {
    pub(super) fn new(asker: &'a Asker, reference: &Reference) -> Result<Self, ImageError> {
        Ok(Self { asker, way: asker.rules.registry(&reference.registry)?, name: reference.name.clone(), token: None })
    }

    /// An index or manifest.
    pub(super) async fn document(&mut self, version: &Version) -> Result<Vec<u8>, ImageError> {
        let version = match version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let mut answer = self.ask(&format!("manifests/{version}"), ACCEPT).await?;
        self.whole(&mut answer, DOCUMENT_MAX).await
    }

    /// A small blob.
    pub(super) async fn small(&mut self, blob: &Blob) -> Result<Vec<u8>, ImageError> {
        let mut answer = self.ask(&format!("blobs/{}", blob.digest), "*/*").await?;
        self.whole(&mut answer, DOCUMENT_MAX).await
    }

    /// A blob into a file. Its digest is not looked at here.
    pub(super) async fn blob(&mut self, blob: &Blob, to: &mut tokio::fs::File, on: &Arc<Disk>) -> Result<(), ImageError> {
        let mut answer = self.ask(&format!("blobs/{}", blob.digest), "*/*").await?;
        let wanted = Room { bytes: LOOK_EVERY, files: 0 };
        let (mut left, mut unseen, mut promise) = (blob.size, 0, on.promise(wanted)?);
        while let Some(piece) = answer.piece().await? {
            left = left.checked_sub(piece.len() as u64).ok_or(ImageError::Size)?;
            unseen += piece.len() as u64;
            // Others fill the same disk meanwhile.
            if unseen > LOOK_EVERY {
                to.flush().await.map_err(disk("write a layer"))?;
                drop(promise);
                promise = on.promise(wanted)?;
                unseen = piece.len() as u64;
            }
            to.write_all(&piece).await.map_err(disk("write a layer"))?;
        }
        to.flush().await.map_err(disk("write a layer"))?;
        drop(promise);
        if left == 0 { Ok(()) } else { Err(ImageError::Size) }
    }

    async fn whole(&self, answer: &mut Answer, most: u64) -> Result<Vec<u8>, ImageError> {
        answer.whole(most).await?.ok_or_else(|| self.odd("one of its documents is too long"))
    }

    async fn ask(&mut self, what: &str, accept: &str) -> Result<Answer, ImageError> {
        let path = format!("/v2/{}/{what}", self.name);
        let answer = self.follow(&path, accept).await?;
        // Tokens are good for minutes, and images may take longer: each question may fetch a new one, once.
        if answer.status != 401 {
            return self.good(answer).await;
        }
        let asks = answer.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let Some(challenge) = asks.and_then(challenge) else { return self.good(answer).await };
        drop(answer);
        self.token = Some(self.permission(&challenge).await?);
        let answer = self.follow(&path, accept).await?;
        self.good(answer).await
    }

    /// Asks, and goes wherever it is sent. The token is for the registry itself.
    async fn follow(&self, path: &str, accept: &str) -> Result<Answer, ImageError> {
        let (mut way, mut path) = (self.way.clone(), path.to_owned());
        for _ in 0..=HOPS_MAX {
            let token = self.token.as_deref().filter(|_| way == self.way);
            let answer = self.asker.get(&way, &path, accept, token).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok()).ok_or_else(|| self.odd("it sends on to nowhere"))?;
            (way, path) = self.place(&way, to)?;
        }
        Err(self.odd("it sends on and on"))
    }

    /// Where a URL leads, if one may go there.
    fn place(&self, from: &Way, to: &str) -> Result<(Way, String), ImageError> {
        let odd = || self.odd("it sends on to what is no address");
        let uri: Uri = to.parse().map_err(|_| odd())?;
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let Some(host) = uri.host() else { return if to.starts_with('/') { Ok((from.clone(), path)) } else { Err(odd()) } };
        let security = match uri.scheme_str() {
            Some("https") => Security::Tls,
            Some("http") => Security::Clear,
            _ => return Err(odd()),
        };
        Ok((self.asker.rules.elsewhere(security, host, uri.port_u16())?, path))
    }

    async fn permission(&self, challenge: &Challenge) -> Result<String, ImageError> {
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let (way, path) = self.place(&self.way, &challenge.realm)?;
        let service = challenge.service.iter().map(|service| format!("service={}&", escaped(service))).collect::<String>();
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}{service}scope={}", escaped(&format!("repository:{}:pull", self.name)));
        let answer = self.asker.get(&way, &path, "application/json", None).await?;
        let mut answer = self.good(answer).await?;
        let text = self.whole(&mut answer, TOKEN_MAX).await?;
        let given = serde_json::from_slice::<Given>(&text).ok().and_then(|given| given.token.or(given.access_token));
        given.filter(|token| !token.is_empty()).ok_or_else(|| self.odd("it gives no token to somebody without a name"))
    }

    async fn good(&self, mut answer: Answer) -> Result<Answer, ImageError> {
        if answer.status == 200 {
            return Ok(answer);
        }
        let status = match answer.status.as_u16() {
            404 => "it has no such image, or does not show it to everybody (404)".to_owned(),
            401 | 403 => format!("not to somebody without a name ({})", answer.status.as_u16()),
            429 => "it was asked too often (429)".to_owned(),
            other => format!("status {other}"),
        };
        let said = answer.whole(SAID_MAX).await.ok().flatten().and_then(|body| said(&body));
        let said = said.map(|said| format!(", {said:?}")).unwrap_or_default();
        Err(ImageError::Refused { registry: self.way.authority(), status, said })
    }

    fn odd(&self, why: &'static str) -> ImageError {
        ImageError::Odd { registry: self.way.authority(), why }
    }
}

/// The message of an answer by the specification, "Error Codes".
fn said(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = body.get("errors")?.get(0)?.get("message")?.as_str()?;
    Some(cut(message))
}

/// Reads `Bearer realm="…",service="…"` (RFC 6750, section 3).
fn challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let field = |name: &str| {
        let (_, after) = rest.split_once(&format!("{name}=\""))?;
        after.split_once('"').map(|(value, _)| value.to_owned())
    };
    Some(Challenge { realm: field("realm")?, service: field("service") })
}

/// Percent-encoding of whatever is not unreserved (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_messages_are_read() {
        let read = challenge(r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:x:pull""#).unwrap();
        assert_eq!(read, Challenge { realm: "https://auth.example/token".into(), service: Some("r.example".into()) });
        assert_eq!(challenge(r#"bearer realm="/t""#).unwrap().service, None);
        for bad in ["Basic realm=\"x\"", "Bearer", "Bearer realm=x", "Bearer service=\"x\""] {
            assert_eq!(challenge(bad), None, "{bad}");
        }
        assert_eq!(said(br#"{"errors": [{"code": "X", "message": "manifest\nunknown"}]}"#).as_deref(), Some("manifest?unknown"));
        assert_eq!(said(b"<html>"), None);
        assert_eq!(escaped("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
    }
}
