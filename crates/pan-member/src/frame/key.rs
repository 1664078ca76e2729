//! Keys: one per host for its heartbeats, one between controllers and lessors, all made of the PAN's key.

use pan_model::HostName;

/// A key of BLAKE3's keyed mode.
pub type Key = [u8; 32];

/// The heartbeat key of `host`, derived from the PAN's key (BLAKE3 in its key derivation mode). It
/// authenticates the host's heartbeats and the acknowledgements it gets.
#[must_use]
pub fn host_key(pan_key: &Key, host: &HostName) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key("panloom 2026-11 heartbeat key of one host");
    hasher.update(pan_key);
    hasher.update(host.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

/// The key of what controllers and lessors say to each other, derived from the PAN's key.
#[must_use]
pub fn lessor_key(pan_key: &Key) -> Key {
    blake3::derive_key("panloom 2026-11 key between controllers and lessors", pan_key)
}
