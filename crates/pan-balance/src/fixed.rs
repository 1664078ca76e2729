//! Logarithms and powers in whole numbers. Directors compare tables that they computed on their own, and the
//! last bit of a float's `exp` or `ln` is the platform's to choose; these are the same everywhere.

/// One, of numbers with 32 bits after the point.
pub const ONE: u64 = 1 << 32;
const STEPS: usize = 1024;

/// log2(1 + i/1024) with 32 bits after the point, by squaring: each bit says whether the square is 2 or more.
const LOGARITHMS: [u64; STEPS + 1] = {
    let mut table = [0_u64; STEPS + 1];
    let mut step = 0;
    while step < STEPS {
        // 1.31 fixed point.
        let mut value = (1_u64 << 31) + ((step as u64) << 21);
        let mut bit = 0;
        let mut log = 0_u64;
        while bit < 32 {
            value = (value * value) >> 31;
            log <<= 1;
            if value >= 1 << 32 {
                value >>= 1;
                log |= 1;
            }
            bit += 1;
        }
        table[step] = log;
        step += 1;
    }
    table[STEPS] = ONE;
    table
};

/// log2 of a number of at least 1, with 32 bits after the point; off by less than 10^-6. log2(0) is taken as 0.
#[must_use]
pub fn log2(number: u64) -> u64 {
    let Some(whole) = number.checked_ilog2() else { return 0 };
    // The bits below the first, moved to the top.
    let rest = if whole == 0 { 0 } else { (number ^ (1 << whole)) << (64 - whole) };
    let step = usize::try_from(rest >> 54).expect("10 bits");
    let within = (rest >> 22) & 0xffff_ffff;
    let (low, high) = (LOGARITHMS[step], LOGARITHMS[step + 1]);
    u64::from(whole) * ONE + low + (((high - low) * within) >> 32)
}

/// 2 to the power of `-exponent`, both with 32 bits after the point; off by less than 10^-4.
#[must_use]
pub fn half_to(exponent: u64) -> u64 {
    let whole = exponent >> 32;
    if whole >= 32 {
        return 0;
    }
    let part = exponent & (ONE - 1);
    // 2^-x for x in 0..1 as 1 - x ln 2 + (x ln 2)^2/2 - ..., six terms, with 32 bits after the point.
    let x = (part * 2_977_044_472) >> 32;
    let mut power = ONE - x / 6;
    for divisor in [5, 4, 3, 2, 1] {
        power = ONE - (((x * power) >> 32) / divisor);
    }
    power >> whole
}

/// e to the power of `-part/whole`, with 32 bits after the point; 0 where `whole` is 0.
#[must_use]
pub fn decay(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    // log2(e) with 32 bits after the point.
    let exponent = u128::from(part) * 6_196_328_019 / u128::from(whole);
    u64::try_from(exponent).map_or(0, half_to)
}

/// `share` to the power of 1000/`root`, of a share with 32 bits after the point that is at most one.
#[must_use]
pub fn root(share: u64, root: u32) -> u64 {
    if share == 0 || root == 0 {
        return 0;
    }
    let below_one = (32 * ONE).saturating_sub(log2(share));
    half_to(u64::try_from(u128::from(below_one) * 1000 / u128::from(root)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(fixed: u64) -> f64 {
        fixed as f64 / ONE as f64
    }

    #[test]
    fn as_the_real_functions_within_what_is_said() {
        for number in (1..2000_u64).chain((0..64).flat_map(|bit| [1 << bit, (1 << bit) | ((1 << bit) / 3), u64::MAX >> bit])) {
            assert!((real(log2(number)) - (number as f64).log2()).abs() < 1e-6, "log2({number})");
        }
        for step in 0..4000_u64 {
            let exponent = step * ONE / 500;
            assert!((real(half_to(exponent)) - (-real(exponent)).exp2()).abs() < 1e-4, "2^-{}", real(exponent));
            assert!((real(decay(step, 700)) - (-(step as f64) / 700.0).exp()).abs() < 1e-4, "e^-{step}/700");
        }
        for share in 1..100_u64 {
            for power in [500, 1000, 1500, 3000] {
                let expected = (share as f64 / 100.0).powf(1000.0 / f64::from(power));
                assert!((real(root(ONE * share / 100, power)) - expected).abs() < 2e-4, "{share} {power}");
            }
        }
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!((log2(1), log2(2), log2(1 << 63)), (0, ONE, 63 * ONE));
        assert_eq!((half_to(0), half_to(u64::MAX), decay(0, 5), decay(5, 0)), (ONE, 0, ONE, 0));
        assert_eq!((root(ONE, 1500), root(0, 1500)), (ONE, 0));
    }
}
