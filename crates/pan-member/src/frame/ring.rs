//! Keys that are good at the same time, while one takes the place of another.
//!
//! The PAN's keys come in periods, each derived from the root that only controllers have. A period's key is handed to
//! everybody before anybody uses it, and stays good until the next but one is handed out: so whoever is one step ahead
//! of another, or one behind, is understood.

use super::key::Key;

/// The one before, the present one, the one to come.
pub const RING_MAX: usize = 3;

/// Between one and three keys; the first is used, all are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyRing {
    keys: [Key; RING_MAX],
    count: usize,
}

impl KeyRing {
    /// A ring of these keys, of which the first is used. `None` when there is none, or more than [`RING_MAX`].
    #[must_use]
    pub fn of(keys: &[Key]) -> Option<Self> {
        let first = *keys.first().filter(|_| keys.len() <= RING_MAX)?;
        let mut all = [first; RING_MAX];
        all[..keys.len()].copy_from_slice(keys);
        Some(Self { keys: all, count: keys.len() })
    }

    /// The ring of a time at which `current` is used and `newest`, the same or the next, is handed out.
    #[must_use]
    pub fn at(root: &Key, current: u64, newest: u64) -> Self {
        let mut ring = Self { count: 0, ..Self::from(period_key(root, current)) };
        for period in Self::periods(current, newest) {
            ring.keys[ring.count] = period_key(root, period);
            ring.count += 1;
        }
        ring
    }

    /// The periods whose keys are good at such a time, the one in use first.
    pub fn periods(current: u64, newest: u64) -> impl Iterator<Item = u64> {
        [Some(current), (newest > current).then_some(newest), current.checked_sub(1)].into_iter().flatten()
    }

    /// The key to use.
    #[must_use]
    pub const fn current(&self) -> &Key {
        &self.keys[0]
    }

    /// The keys to accept, the one in use first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys[..self.count].iter()
    }

    /// The ring of keys derived from these.
    #[must_use]
    pub fn derive(&self, derive: impl Fn(&Key) -> Key) -> Self {
        Self { keys: self.keys.map(|key| derive(&key)), count: self.count }
    }

    /// The key that made a hash (compared in constant time); as a rule the first one tried.
    pub(crate) fn maker(&self, signed: &[u8], hash: &blake3::Hash) -> Option<&Key> {
        self.iter().find(|key| blake3::keyed_hash(key, signed) == *hash)
    }
}

impl From<Key> for KeyRing {
    fn from(key: Key) -> Self {
        Self { keys: [key; RING_MAX], count: 1 }
    }
}

/// Without the keys.
impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys)", self.count)
    }
}

/// The PAN's key of a period (BLAKE3 in its key derivation mode). It tells nothing about the root or another period.
#[must_use]
pub fn period_key(root: &Key, period: u64) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("panloom 2026-11 key of one period");
    hasher.update(root);
    hasher.update(&period.to_be_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::host_key;
    use crate::wire::{ACK_BYTES_MAX, decode_ack, encode_ack};
    use crate::{Ack, Admission, BootId, Term, Verdict};
    use pan_model::HostName;
    use pan_model::host::Fabric;

    const ROOT: Key = [3; 32];

    /// What a host has after this many steps of rotations: hand out, use, hand out, use …
    fn ring(step: u64) -> KeyRing {
        KeyRing::at(&ROOT, step / 2, step.div_ceil(2))
    }

    fn understood(sender: u64, receiver: u64) -> bool {
        let host: HostName = "n1".parse().unwrap();
        let ack = Ack {
            lessor: "s1".parse().unwrap(),
            term: Term(1),
            boot: BootId(1),
            sequence: 1,
            fabric: Fabric::A,
            admission: Admission(1),
            verdict: Verdict::Granted,
        };
        let mut out = [0; ACK_BYTES_MAX];
        let length = encode_ack(&ack, ring(sender).derive(|key| host_key(key, &host)).current(), &mut out);
        decode_ack(&out[..length], &ring(receiver).derive(|key| host_key(key, &host))) == Ok(ack)
    }

    /// A step is taken only when everybody has taken the one before. Whoever could not be reached may be behind further,
    /// and its heartbeats are understood until its key has been out of use for a whole rotation.
    #[test]
    fn whoever_is_a_step_ahead_or_behind_is_understood() {
        for step in 0..12_u64 {
            for (sender, receiver) in [(step, step), (step + 1, step), (step, step + 1)] {
                assert!(understood(sender, receiver), "from {sender} to {receiver}");
            }
            assert!(understood(step, step / 2 * 2 + 3), "from {step}, that missed a rotation");
            assert!(!understood(step, step / 2 * 2 + 4), "from {step}, that missed two");
        }
    }

    #[test]
    fn a_ring_has_one_to_three_keys_and_shows_none() {
        assert_eq!(KeyRing::of(&[]), None);
        assert_eq!(KeyRing::of(&[[1; 32]; 4]), None);
        let ring = KeyRing::of(&[[1; 32], [2; 32]]).unwrap();
        assert_eq!((ring.current(), ring.iter().count()), (&[1; 32], 2));
        assert_eq!(format!("{ring:?}"), "KeyRing(2 keys)");
        assert_ne!(period_key(&ROOT, 0), period_key(&ROOT, 1));
    }
}
