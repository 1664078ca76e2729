//! Whether two samples of times are of one kind: the rank test of Mann and Whitney (Ann. Math. Stat. 18, 1947), with ties, in its normal
//! approximation.

/// How likely two samples of one kind are to differ as much as these do; and whether the first is the greater one.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    pub p: f64,
    /// The chance that one of the first sample is greater than one of the second: a half if they are alike.
    pub above: f64,
}

pub fn compare(first: &[u64], second: &[u64]) -> Difference {
    let mut all: Vec<(u64, bool)> = first.iter().map(|one| (*one, true)).chain(second.iter().map(|one| (*one, false))).collect();
    all.sort_unstable();
    let (n, m, count) = (first.len() as f64, second.len() as f64, all.len() as f64);
    let (mut ranks, mut ties, mut below) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        let mine = group.iter().filter(|(_, of_first)| *of_first).count() as f64;
        ranks += mine * (below + (size + 1.0) / 2.0);
        ties += size * size * size - size;
        below += size;
    }
    let u = ranks - n * (n + 1.0) / 2.0;
    let spread = (n * m / 12.0 * ((count + 1.0) - ties / (count * (count - 1.0)))).sqrt();
    let z = if spread > 0.0 { (u - n * m / 2.0) / spread } else { 0.0 };
    Difference { p: both_tails(z.abs()), above: u / (n * m) }
}

/// Abramowitz and Stegun 7.1.26: right to seven places.
fn both_tails(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    sum * (-x * x).exp()
}

/// Numbers that are the same in each run (Marsaglia, J. Stat. Softw. 8, 2003).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// As in the example of R's `wilcox.test`, and on what is surely alike and surely not.
pub fn check() {
    let x = [80, 83, 189, 104, 145, 138, 191, 164, 73, 146];
    let y = [115, 88, 90, 74, 121];
    let known = compare(&x, &y);
    // W = 35; R's `exact = FALSE, correct = FALSE` says 0.2207.
    assert!((known.above - 0.7).abs() < 1e-9 && (known.p - 0.2207).abs() < 1e-4, "{known:?}");
    let mut random = Random(0x9e37_79b9);
    let mut times = |shift: u64| -> Vec<u64> {
        (0..1000).map(|_| 500 + shift + random.next() % 200 + u64::from(random.next().is_multiple_of(100)) * 5000).collect()
    };
    let (one, same, later) = (times(0), times(0), times(15));
    assert!(compare(&one, &same).p > 0.01, "{:?}", compare(&one, &same));
    let seen = compare(&one, &later);
    assert!(seen.p < 1e-6 && seen.above < 0.5, "a difference of three in a hundred is seen: {seen:?}");
    assert!((compare(&[7; 50], &[7; 50]).p - 1.0).abs() < 1e-6);
}
