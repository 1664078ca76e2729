//! Names of bytes.

use pan_model::image::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::of(&Sha256::digest(bytes).into())
}
