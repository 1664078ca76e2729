//! Capabilities: what a controller signs so that a head may open a volume's replicas, and a storage host checks without asking
//! anybody. A storage host holds public keys only: it can check every capability and make none.
//!
//! Signatures are Ed25519 (RFC 8032). The key of a period is derived from the root that only controllers have
//! (HMAC-SHA256, RFC 2104), so that every controller signs alike and the store keeps no key.

use crate::keyfile::{KeyFileError, hex, read_keys};
use pan_model::{HostName, Lineage, Session, VolumeEpoch, VolumeId};
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;
use std::path::{Path, PathBuf};

/// Of the encoding below.
const FORMAT: u8 = 1;
/// What is derived from the root under this name is used for nothing else.
const PURPOSE: &[u8] = b"panloom volume capability signing key, format 1";
/// What a signature is made over begins with this, so that nothing else that is ever signed can be taken for it.
const DOMAIN: &[u8] = b"panloom volume capability";
const SIGNATURE_BYTES: usize = 64;
/// Format, mode, four numbers.
const FIXED_BYTES: usize = 1 + 1 + 4 * 8;

/// What its holder may do with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Read and write: the one head of its epoch.
    Write,
    /// Read what does not change any more: a snapshot.
    Read,
}

/// The right of one head, on one host, to open the replicas of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The volume.
    pub volume: VolumeId,
    /// Whose copies it may open.
    pub lineage: Lineage,
    /// Under which epoch; replicas that have seen a later one refuse it.
    pub epoch: VolumeEpoch,
    /// As which writer.
    pub session: Session,
    /// What for.
    pub mode: Mode,
    /// The host whose certificate must be shown with it: it is of no use to who copies it.
    pub host: HostName,
}

/// No capability. Why is not told: a guess that came close must learn nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such volume")]
pub struct Refused;

/// The key that controllers sign with during a period.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The one of a period.
    #[must_use]
    pub fn of_period(root: &[u8; 32], period: u64) -> Self {
        let derive = hmac::Key::new(hmac::HMAC_SHA256, root);
        let seed = hmac::sign(&derive, &[PURPOSE, &period.to_be_bytes()].concat());
        Self(Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).expect("32 bytes are a seed"))
    }

    /// What storage hosts check with, in hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// Signs.
    #[must_use]
    pub fn seal(&self, capability: &Capability) -> Vec<u8> {
        let mut bytes = encode(capability);
        let signature = self.0.sign(&signed(&bytes));
        bytes.extend_from_slice(signature.as_ref());
        bytes
    }
}

/// Without the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// The public keys of the periods that are good: the one in use, the next, the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityKeys(Vec<[u8; 32]>);

impl CapabilityKeys {
    /// Those that were handed out.
    #[must_use]
    pub const fn new(keys: Vec<[u8; 32]>) -> Self {
        Self(keys)
    }

    /// Reads those that were handed out to a host whose run-time state lies in `run_dir`.
    ///
    /// # Errors
    /// [`KeyFileError`]: there are none, or they are damaged. Without keys nothing is a capability.
    pub fn read(run_dir: &Path) -> Result<Self, KeyFileError> {
        read_keys(&handed_out(run_dir)).map(Self)
    }

    /// What `bytes` allow to whom shows the certificate of `host`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open(&self, bytes: &[u8], host: &HostName) -> Result<Capability, Refused> {
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(Refused)?;
        let message = signed(body);
        let good = |key: &[u8; 32]| UnparsedPublicKey::new(&ED25519, key).verify(&message, signature).is_ok();
        // Only what a controller signed is read at all.
        if !self.0.iter().any(good) {
            return Err(Refused);
        }
        decode(body).filter(|capability| capability.host == *host).ok_or(Refused)
    }
}

/// Where the public keys lie that were handed out since the boot.
#[must_use]
pub fn handed_out(run_dir: &Path) -> PathBuf {
    run_dir.join("capability.keys")
}

fn signed(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

fn encode(capability: &Capability) -> Vec<u8> {
    let Capability { volume, lineage, epoch, session, mode, host } = capability;
    let mode = match mode {
        Mode::Write => 1,
        Mode::Read => 2,
    };
    let mut bytes = vec![FORMAT, mode];
    for number in [volume.0, lineage.0, epoch.0, session.0] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(host.as_str().as_bytes());
    bytes
}

fn decode(body: &[u8]) -> Option<Capability> {
    let (fixed, host) = body.split_first_chunk::<FIXED_BYTES>()?;
    let (&[FORMAT, mode], numbers) = fixed.split_first_chunk::<2>()? else { return None };
    let mode = match mode {
        1 => Mode::Write,
        2 => Mode::Read,
        _ => return None,
    };
    let (numbers, _) = numbers.as_chunks::<8>();
    let [volume, lineage, epoch, session] = *<&[[u8; 8]; 4]>::try_from(numbers).ok()?;
    Some(Capability {
        volume: VolumeId(u64::from_be_bytes(volume)),
        lineage: Lineage(u64::from_be_bytes(lineage)),
        epoch: VolumeEpoch(u64::from_be_bytes(epoch)),
        session: Session(u64::from_be_bytes(session)),
        mode,
        host: str::from_utf8(host).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile::parse_key;

    const ROOT: [u8; 32] = [7; 32];

    fn capability() -> Capability {
        Capability {
            volume: VolumeId(3),
            lineage: Lineage(1),
            epoch: VolumeEpoch(12),
            session: Session(99),
            mode: Mode::Write,
            host: "n1".parse().unwrap(),
        }
    }

    fn keys(periods: &[u64]) -> CapabilityKeys {
        CapabilityKeys::new(periods.iter().map(|period| parse_key(&SigningKey::of_period(&ROOT, *period).public()).unwrap()).collect())
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        for mode in [Mode::Write, Mode::Read] {
            let given = Capability { mode, ..capability() };
            let bytes = SigningKey::of_period(&ROOT, 4).seal(&given);
            assert_eq!(keys(&[4]).open(&bytes, &given.host), Ok(given));
        }
    }

    #[test]
    fn the_periods_that_are_good_are_understood_and_no_others() {
        let (bytes, host) = (SigningKey::of_period(&ROOT, 4).seal(&capability()), capability().host);
        for good in [&[4][..], &[5, 4], &[6, 5, 4]] {
            assert!(keys(good).open(&bytes, &host).is_ok(), "{good:?}");
        }
        for bad in [&[][..], &[3], &[6, 5], &[44]] {
            assert_eq!(keys(bad).open(&bytes, &host), Err(Refused), "{bad:?}");
        }
        let other = SigningKey::of_period(&[8; 32], 4).seal(&capability());
        assert_eq!(keys(&[4]).open(&other, &host), Err(Refused));
    }

    #[test]
    fn it_is_of_no_use_to_another_host() {
        let bytes = SigningKey::of_period(&ROOT, 4).seal(&capability());
        assert_eq!(keys(&[4]).open(&bytes, &"n2".parse().unwrap()), Err(Refused));
    }

    /// Every bit counts, and so does every length.
    #[test]
    fn one_that_was_changed_is_none() {
        let (keys, host) = (keys(&[4]), capability().host);
        let bytes = SigningKey::of_period(&ROOT, 4).seal(&capability());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open(&changed, &host), Err(Refused), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(keys.open(&bytes[..length], &host), Err(Refused), "{length} bytes");
        }
        assert_eq!(keys.open(&[&bytes[..], &[0]].concat(), &host), Err(Refused));
    }

    /// A release that knows more signs more than this one can read.
    #[test]
    fn one_of_a_later_format_is_refused() {
        let key = SigningKey::of_period(&ROOT, 4);
        let mut body = encode(&capability());
        body[0] = FORMAT + 1;
        let signature = key.0.sign(&signed(&body));
        body.extend_from_slice(signature.as_ref());
        assert_eq!(keys(&[4]).open(&body, &capability().host), Err(Refused));
    }

    #[test]
    fn the_private_key_is_not_shown() {
        let key = SigningKey::of_period(&ROOT, 4);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
    }
}
