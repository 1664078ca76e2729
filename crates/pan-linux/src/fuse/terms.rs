//! What kernel and server agree on when a file system begins, and what a later server must know of it. Pure.

use std::time::Duration;

use super::abi::{self, offer};
use super::request::Offer;

/// The largest request: what the kernel allows unless its administrator raised `fs.fuse.max_pages_limit`.
pub(super) const REQUEST_MAX: u32 = 1 << 20;
const PAGE: u32 = 4096;
/// Requests of the loop driver that wait for their answers at a time, as many as its queue holds. It is also what bounds
/// the requests that a server holds: the kernel keeps further ones to itself.
pub const PENDING_MAX: u16 = 128;
/// Words of the format in which terms are handed over.
const FORMAT: u16 = 1;

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Minor version of the protocol.
    pub minor: u32,
    /// The largest read or write in bytes.
    pub request_max: u32,
    /// Whether a successor can have pending requests sent again.
    pub resend: bool,
    /// After how long without an answer to a request the kernel itself ends it all, if it can.
    pub timeout: Option<Duration>,
}

/// Why there can be no agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTerms {
    /// Too old, or from far in the future.
    #[error("the kernel speaks FUSE {major}.{minor}; needed is 7.28 (Linux 4.20) or a later 7")]
    Version {
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
    /// It does not let direct I/O be asynchronous, so that every request would wait for the one before.
    #[error("the kernel's FUSE does no asynchronous direct I/O")]
    Synchronous,
}

impl Terms {
    /// Agrees to what the kernel offers. `timeout` is what is asked for, in whole seconds.
    ///
    /// # Errors
    /// [`NoTerms`].
    pub fn agree(offered: &Offer, timeout: Option<Duration>) -> Result<Self, NoTerms> {
        if offered.major != abi::MAJOR || offered.minor < abi::MINOR_MIN {
            return Err(NoTerms::Version { major: offered.major, minor: offered.minor });
        }
        if offered.flags & offer::ASYNC_DIO == 0 || offered.flags & offer::MAX_PAGES == 0 {
            return Err(NoTerms::Synchronous);
        }
        Ok(Self {
            minor: offered.minor.min(abi::MINOR),
            request_max: REQUEST_MAX,
            resend: offered.flags & offer::HAS_RESEND != 0,
            timeout: timeout.filter(|_| offered.flags & offer::REQUEST_TIMEOUT != 0),
        })
    }

    /// `struct fuse_init_out`.
    pub(super) fn encode_init(&self, offered: &Offer) -> [u8; abi::INIT_OUT] {
        let wanted = offer::ASYNC_READ | offer::BIG_WRITES | offer::ASYNC_DIO | offer::MAX_PAGES | offer::INIT_EXT | offer::HAS_RESEND;
        let timeout = self.timeout.map_or(0, |time| u16::try_from(time.as_secs().max(1)).unwrap_or(u16::MAX));
        let wanted = if timeout == 0 { wanted } else { wanted | offer::REQUEST_TIMEOUT };
        let flags = (wanted & offered.flags).to_ne_bytes();
        let (low, high) = if cfg!(target_endian = "little") { (&flags[..4], &flags[4..]) } else { (&flags[4..], &flags[..4]) };
        let mut out = [0; abi::INIT_OUT];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &abi::MAJOR.to_ne_bytes());
        put(4, &self.minor.to_ne_bytes());
        put(8, &offered.readahead_max.to_ne_bytes());
        put(12, low);
        put(16, &PENDING_MAX.to_ne_bytes());
        // Nothing is congested before all of them wait.
        put(18, &PENDING_MAX.to_ne_bytes());
        put(20, &self.request_max.to_ne_bytes());
        // Times in nanoseconds; none are told.
        put(24, &1_u32.to_ne_bytes());
        put(28, &u16::try_from(self.request_max / PAGE).unwrap_or(u16::MAX).to_ne_bytes());
        put(32, high);
        put(40, &timeout.to_ne_bytes());
        out
    }

    /// For a successor; see [`Terms::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let timeout = self.timeout.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        let mut bytes = FORMAT.to_be_bytes().to_vec();
        for word in [self.minor, self.request_max, u32::from(self.resend), timeout] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// What a predecessor agreed on. `None` if it is of a format that is not known here, or makes no sense.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first_chunk::<2>()?;
        let words: [[u8; 4]; 4] = rest.as_chunks::<4>().0.try_into().ok()?;
        let [minor, request_max, resend, timeout] = words.map(u32::from_be_bytes);
        let known = u16::from_be_bytes(*format) == FORMAT && rest.len() == 16 && resend <= 1;
        let sane = (PAGE..=REQUEST_MAX).contains(&request_max);
        let timeout = (timeout > 0).then(|| Duration::from_secs(timeout.into()));
        (known && sane).then_some(Self { minor, request_max, resend: resend == 1, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(minor: u32, flags: u64) -> Offer {
        Offer { major: 7, minor, flags, readahead_max: 131_072 }
    }

    #[test]
    fn takes_what_the_kernel_has_and_no_more() {
        let all = Terms::agree(&kernel(45, u64::MAX), Some(Duration::from_secs(90))).unwrap();
        assert_eq!(all, Terms { minor: 43, request_max: 1 << 20, resend: true, timeout: Some(Duration::from_secs(90)) });
        let out = all.encode_init(&kernel(45, u64::MAX));
        assert_eq!(out[28..30], 256_u16.to_ne_bytes());
        assert_eq!(out[40..42], 90_u16.to_ne_bytes());
        assert_eq!(out[32..36], 0x480_u32.to_ne_bytes(), "resend and timeout");
        let old = Terms::agree(&kernel(31, offer::ASYNC_DIO | offer::MAX_PAGES), Some(Duration::from_secs(90))).unwrap();
        assert_eq!((old.minor, old.resend, old.timeout), (31, false, None));
        assert_eq!(old.encode_init(&kernel(31, offer::ASYNC_DIO | offer::MAX_PAGES))[32..42], [0; 10]);
    }

    #[test]
    fn refuses_kernels_it_cannot_serve() {
        assert_eq!(Terms::agree(&kernel(27, u64::MAX), None), Err(NoTerms::Version { major: 7, minor: 27 }));
        assert_eq!(Terms::agree(&Offer { major: 8, ..kernel(0, u64::MAX) }, None), Err(NoTerms::Version { major: 8, minor: 0 }));
        assert_eq!(Terms::agree(&kernel(45, offer::MAX_PAGES), None), Err(NoTerms::Synchronous));
    }

    #[test]
    fn a_successor_reads_them_back() {
        for timeout in [None, Some(Duration::from_secs(7))] {
            let terms = Terms { minor: 40, request_max: 65536, resend: true, timeout };
            let bytes = terms.encode();
            assert_eq!(Terms::decode(&bytes), Some(terms));
            for length in 0..bytes.len() {
                assert_eq!(Terms::decode(&bytes[..length]), None, "{length} bytes");
            }
            let mut later = bytes.clone();
            later[1] += 1;
            assert_eq!(Terms::decode(&later), None, "a later format");
            assert_eq!(Terms::decode(&[bytes, vec![0; 4]].concat()), None);
        }
    }
}
