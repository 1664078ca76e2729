//! A hash that never changes: tables of different directors, and of releases that run side by side, are
//! compared through it. The standard library's hashers promise no such thing.

/// Hashes a sequence of byte strings to 64 bits: FNV-1a over each part and a separator, then the
/// finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) to spread short inputs over all bits.
#[must_use]
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut state = OFFSET;
    for part in parts {
        for byte in *part {
            state = (state ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        // No byte string contains 256, so ("a", "bc") and ("ab", "c") differ.
        state = (state ^ 0x100).wrapping_mul(PRIME);
    }
    mix(state)
}

/// Spreads 64 bits over 64 others, one to one: the finaliser of SplitMix64. Some two nanoseconds.
#[must_use]
pub fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::stable_hash;

    /// A change of these values is a change of every table in the field: releases would disagree.
    #[test]
    fn the_hash_is_what_it_always_was() {
        assert_eq!(stable_hash(&[b"www"]), 0x97cf_6d7a_2205_aede);
        assert_eq!(stable_hash(&[b"www", &7_u32.to_be_bytes()]), 0xa3d8_4bfe_ccd7_c0bb);
        assert_ne!(stable_hash(&[b"a", b"bc"]), stable_hash(&[b"ab", b"c"]));
    }
}
