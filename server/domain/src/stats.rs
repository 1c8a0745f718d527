//! The two statistics every accuracy is shown with: Wilson's interval and McNemar's exact test.

use serde::{Deserialize, Serialize};

/// Wilson 95 % interval of `k` successes in `n` trials; (0, 1) when n = 0.
pub fn wilson(k: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    const Z: f64 = 1.959_963_984_540_054;
    let (k, n) = (k as f64, n as f64);
    let p = k / n;
    let denominator = 1.0 + Z * Z / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // the ends are exact where rounding would miss them by 1e-17
    let low = if k == 0.0 { 0.0 } else { (centre - half) / denominator };
    let high = if k == n { 1.0 } else { (centre + half) / denominator };
    (low, high)
}

/// Paired comparison of two evaluations on the same problems.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Wrong before, right after.
    pub gained: usize,
    /// Right before, wrong after.
    pub lost: usize,
    /// Two-sided exact p (binomial, 1/2) that gains and losses are equally likely.
    pub p: f64,
}

/// Exact McNemar test of `(before, after)` verdicts.
pub fn mcnemar(pairs: impl IntoIterator<Item = (bool, bool)>) -> McNemar {
    let (mut gained, mut lost) = (0usize, 0usize);
    for (before, after) in pairs {
        match (before, after) {
            (false, true) => gained += 1,
            (true, false) => lost += 1,
            _ => {}
        }
    }
    let n = gained + lost;
    // log C(n, i) built up term by term: exact enough for any n an evaluation has, and never overflowing
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=gained.min(lost) {
        tail += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    McNemar { gained, lost, p: (2.0 * tail).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I: 81 of 263 and 0 of 20
        let (lo, hi) = wilson(81, 263);
        assert!((lo - 0.2553).abs() < 5e-5 && (hi - 0.3662).abs() < 5e-5, "{lo} {hi}");
        let (lo, hi) = wilson(0, 20);
        assert!(lo == 0.0 && (hi - 0.1611).abs() < 5e-5);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn mcnemar_is_the_exact_binomial_test() {
        let pairs = |g: usize, l: usize| std::iter::repeat_n((false, true), g).chain(std::iter::repeat_n((true, false), l));
        let m = mcnemar(pairs(10, 2).chain([(true, true); 5]));
        assert_eq!((m.gained, m.lost), (10, 2));
        assert!((m.p - 2.0 * (1.0 + 12.0 + 66.0) / 4096.0).abs() < 1e-12);
        assert_eq!(mcnemar(pairs(0, 0)).p, 1.0);
        assert_eq!(mcnemar(pairs(3, 3)).p, 1.0);
        assert!(mcnemar(pairs(900, 600)).p < 1e-10);
    }
}
