//! The client of the public API: bearer token, JSON, newline-delimited streams.

pub use crate::lines::{Chunks, Lines};
pub use crate::transport::Timeouts;
use crate::transport::{Target, Transport, Way, json};
use crate::{ApiError, tls};
use hyper::{Method, Uri};
use pan_model::Code;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client of one PAN. Cheap to make; connects when first asked.
pub struct Client {
    transport: Transport,
    url: String,
}

impl Client {
    /// A client for `https://HOST[:PORT]`, or several of them separated by commas (the controllers of one PAN: any of
    /// them will do), with the administrator's token and the PAN's CA certificate.
    ///
    /// # Errors
    /// `Code::Invalid` when the URL is not one or the certificate is not PEM.
    pub fn new(url: &str, token: Option<&str>, ca_pem: &str) -> Result<Self, ApiError> {
        Self::with_timeouts(url, token, ca_pem, Timeouts::default())
    }

    /// As [`Client::new`], with other limits of time.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_timeouts(url: &str, token: Option<&str>, ca_pem: &str, timeouts: Timeouts) -> Result<Self, ApiError> {
        let config = tls::client_config(ca_pem, None)
            .map_err(|error| ApiError::new(Code::Invalid, format!("the CA certificate for {url}: {error}")))?;
        Self::over(url, token, config, timeouts, Code::Unreachable)
    }

    /// A client that trusts the one authority with this fingerprint ([`tls::fingerprint`]).
    ///
    /// Whoever cannot prove to be of that authority is refused with `Code::Unauthenticated` before anything is sent, the token included.
    ///
    /// # Errors
    /// `Code::Invalid` when the URL is not one.
    pub fn pinned(url: &str, token: Option<&str>, authority: [u8; 32]) -> Result<Self, ApiError> {
        let config = tls::pinned_client_config(authority).map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        Self::over(url, token, config, Timeouts::default(), Code::Unauthenticated)
    }

    fn over(url: &str, token: Option<&str>, tls: Arc<ClientConfig>, timeouts: Timeouts, stranger: Code) -> Result<Self, ApiError> {
        let ways = url.split(',').map(|one| way(one.trim())).collect::<Result<Vec<_>, _>>()?;
        let target = Target {
            ways,
            tls,
            bind: None,
            token: token.map(str::to_owned),
            cache_control: None,
            timeouts,
            label: format!("the PAN at {url}"),
            silent: Code::Unreachable,
            stranger,
        };
        Ok(Self { transport: Transport::new(target), url: url.to_owned() })
    }

    /// The same, for somebody who takes answers of any age: what a controller knew last, where none can find out anything newer.
    #[must_use]
    pub fn accepting_stale(mut self) -> Self {
        self.transport.accept_stale();
        self
    }

    /// How old the oldest of the answers can be that it got; none: none told.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.transport.oldest()
    }

    /// Where it calls.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// GET.
    ///
    /// # Errors
    /// What the API says, or `Code::Unreachable`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.patiently(|| self.transport.call(Method::GET, path, None)).await
    }

    /// GET of a text.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn text(&self, path: &str) -> Result<String, ApiError> {
        let bytes = self.whole(path).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// POST; an empty answer reads as `()`.
    ///
    /// # Errors
    /// As [`Client::get`]; when the connection broke the request may have been acted on.
    pub async fn post<B: Serialize + ?Sized + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ApiError> {
        let body = json(body)?;
        self.patiently(|| self.transport.call(Method::POST, path, Some(body.clone()))).await
    }

    /// DELETE; an empty answer reads as `()`.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.patiently(|| self.transport.call(Method::DELETE, path, None)).await
    }

    /// GET of newline-delimited JSON.
    ///
    /// # Errors
    /// As [`Client::get`], before the first line.
    pub async fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, ApiError> {
        self.patiently(|| self.transport.open_lines(Method::GET, path, None)).await
    }

    /// POST whose answer is newline-delimited JSON.
    ///
    /// # Errors
    /// As [`Client::post`], before the first line.
    pub async fn post_stream<B: Serialize + ?Sized + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<Lines<T>, ApiError> {
        let body = json(body)?;
        self.patiently(|| self.transport.open_lines(Method::POST, path, Some(body.clone()))).await
    }

    /// GET of bytes, all of them.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn whole(&self, path: &str) -> Result<bytes::Bytes, ApiError> {
        self.patiently(|| self.transport.call_bytes(Method::GET, path, None)).await
    }

    /// GET of bytes as they come.
    ///
    /// # Errors
    /// As [`Client::get`], before the first bytes.
    pub async fn bytes(&self, path: &str) -> Result<Chunks, ApiError> {
        self.patiently(|| self.transport.open(Method::GET, path, None)).await
    }

    /// Makes a request again that changed nothing: one too many, or one that who was asked could not decide. Whoever was asked may be
    /// cut off from the one that leads while others are not, so all are asked before there is a pause, and each at least once.
    async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(&self, call: impl Fn() -> F) -> Result<T, ApiError> {
        let (started, ways) = (Instant::now(), self.transport.ways());
        // Those that could not decide, since nobody could.
        let mut undecided = 0;
        loop {
            let answer = call().await;
            let (pause, all_asked) = match answer.as_ref().err().map(|error| error.code) {
                Some(Code::TooMany) => (CROWDED_PAUSE, true),
                Some(Code::NotLeading) => {
                    undecided += 1;
                    (if undecided % ways == 0 { LEADERLESS_PAUSE } else { Duration::ZERO }, undecided >= ways)
                }
                _ => return answer,
            };
            if all_asked && started.elapsed() >= PATIENCE_MAX {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

fn way(url: &str) -> Result<Way, ApiError> {
    let invalid =
        |reason: &str| ApiError::new(Code::Invalid, format!("{url:?} is not the URL of a PAN: {reason} (expected https://HOST:PORT)"));
    let uri: Uri = url.parse().map_err(|_| invalid("it cannot be read"))?;
    if uri.scheme_str() != Some("https") {
        return Err(invalid("the scheme is not https"));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(invalid("it has a path"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it names no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let expected = ServerName::try_from(bare.to_owned()).map_err(|_| invalid("the host is neither a name nor an address"))?;
    Ok(Way { authority: format!("{host}:{}", uri.port_u16().unwrap_or(443)), expected })
}

/// How long nobody may lead, or a caller be refused for asking too often, before it is told: longer than the choice of a leader takes.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Pause before a request that nobody could decide is made again of all.
const LEADERLESS_PAUSE: Duration = Duration::from_millis(100);

/// Pause before a request is made again that was one too many: what `Retry-After` says.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);

/// Writes a name so that it stands for itself within a path or a query (RFC 3986 §2.3: all but unreserved characters escaped).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What [`escape`] made this of; `None`: nothing.
#[must_use]
pub fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                out.push(digit(*high)? << 4 | digit(*low)?);
                more
            }
            (b'%', _) => return None,
            (byte, more) => {
                out.push(*byte);
                more
            }
        };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_https_origin_is_a_url() {
        let ca = crate::pki::Authority::create().unwrap();
        for good in
            ["https://127.0.0.1:7070", "https://127.0.0.1:7070,https://127.0.0.1:7071", "https://[::1]:7070/", "https://pan.example"]
        {
            assert!(Client::new(good, None, ca.cert_pem()).is_ok(), "{good}");
        }
        for bad in ["", "http://127.0.0.1", "https://", "127.0.0.1:7070", "https://x/y", "https://x,", "https://x,http://y"] {
            assert_eq!(Client::new(bad, None, ca.cert_pem()).err().map(|error| error.code), Some(Code::Invalid), "{bad}");
        }
        assert!(Client::new("https://x", None, "nonsense").is_err());
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("acme/web 1"), "acme%2Fweb%201");
        assert_eq!(escape("web-1"), "web-1");
    }
}
