//! How alike two values are, in [0, 1], for partial credit only: it smooths the climb and never decides what is right.

use std::cmp::Ordering;

use serde_json::Value;

use crate::matching::{bfcl, python, same_text};

/// Longer strings are not compared letter by letter. Bytes.
const LONGEST: usize = 4096;

/// Strings by shared letter pairs, lists by position, everything else equal or not. A value that is right but for its type counts half.
pub fn values(expected: &Value, produced: &Value) -> f64 {
    match (expected, produced) {
        (Value::String(a), Value::String(b)) => strings(&bfcl::standardize(a), &bfcl::standardize(b)),
        (Value::Array(a), Value::Array(b)) => {
            let sum: f64 = a.iter().zip(b).map(|(a, b)| values(a, b)).sum();
            match a.len().max(b.len()) {
                0 => 1.0,
                longest => sum / longest as f64,
            }
        }
        (a, b) if python::json_equal(a, b) => 1.0,
        (a, b) if same_text(a, b) => 0.5,
        _ => 0.0,
    }
}

/// Dice coefficient of the multisets of letter pairs.
pub fn strings(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    if a.len() > LONGEST || b.len() > LONGEST {
        return 0.0;
    }
    let pairs = |text: &str| {
        let padded = || std::iter::once(' ').chain(text.chars()).chain(std::iter::once(' '));
        let number = |(first, second): (char, char)| u64::from(u32::from(first)) << 32 | u64::from(u32::from(second));
        let mut pairs: Vec<u64> = padded().zip(padded().skip(1)).map(number).collect();
        pairs.sort_unstable();
        pairs
    };
    let (x, y) = (pairs(a), pairs(b));
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while i < x.len() && j < y.len() {
        match x[i].cmp(&y[j]) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => (i, j, shared) = (i + 1, j + 1, shared + 1),
        }
    }
    2.0 * shared as f64 / (x.len() + y.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn likeness_is_symmetric_and_full_only_for_equals() {
        assert_eq!(strings("paris", "paris"), 1.0);
        let near = strings("san francisco", "san francisko");
        assert!(near > 0.7 && near < 1.0 && near == strings("san francisko", "san francisco"));
        // pairs " a", "aa", "aa", "a " and " a", "aa", "a ": three shared of seven
        assert_eq!(strings("aaa", "aa"), 6.0 / 7.0);
        assert!(strings("abc", "xyz") < 0.1 && strings("", "x") < 0.5);
        assert_eq!(values(&json!(5), &json!("5")), 0.5);
        assert_eq!(values(&json!([1, 2]), &json!([1, 3, 4])), 1.0 / 3.0);
        assert_eq!(values(&json!(true), &json!(1)), 0.0);
    }
}
