//! Shaping: what a text costs for how it is written. Values are in [-1, 0], so that a positive weight takes away; a right answer
//! costs nothing, and no length is ever rewarded, because a bonus for length unlearns to abstain (ToolRL).

use std::collections::HashSet;

use whetstone_domain::Outcome;

use super::Scored;

/// Characters up to which a text costs nothing, unless a composition says otherwise: twice the longest answer of the starter set.
pub const CHARACTERS: usize = 400;
/// Shorter texts have too few triples of words to judge. Words.
const FEW_WORDS: usize = 24;

/// A kind of shaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shaping {
    /// The text hit its length limit.
    Truncation,
    /// The text goes round in circles.
    Repetition,
    /// The text is longer than so many characters: falls to -1 at twice as many.
    LengthCap(usize),
}

impl Shaping {
    /// By its name; `characters` where a cap is meant.
    pub fn named(name: &str, characters: Option<usize>) -> Option<Self> {
        Some(match name {
            "truncation" => Self::Truncation,
            "repetition" => Self::Repetition,
            "length_cap" => Self::LengthCap(characters.unwrap_or(CHARACTERS).max(1)),
            _ => return None,
        })
    }

    /// Raw value, in [-1, 0].
    pub(super) fn value(self, scored: &Scored<'_>) -> f64 {
        if scored.outcome.is_correct() {
            return 0.0;
        }
        match self {
            Self::Truncation => -f64::from(u8::from(scored.outcome == Outcome::Truncated)),
            Self::Repetition => -repetition(scored.text),
            Self::LengthCap(cap) => -((scored.text.chars().count() as f64 / cap as f64) - 1.0).clamp(0.0, 1.0),
        }
    }
}

/// How much a text repeats itself, in [0, 1]: 1 where 2 to 30 characters stand five times in a row (spaces alone do not count: that
/// is indentation), else how far the share of distinct triples of words falls below one half.
pub fn repetition(text: &str) -> f64 {
    let letters: Vec<char> = text.chars().collect();
    if (2..=30).any(|period| loops(&letters, period)) {
        return 1.0;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() < FEW_WORDS {
        return 0.0;
    }
    let triples = words.len() - 2;
    let distinct = words.windows(3).collect::<HashSet<_>>().len();
    (1.0 - 2.0 * distinct as f64 / triples as f64).max(0.0)
}

/// True when some stretch of `period` characters stands five times in a row: when so many characters in a row, four times the period,
/// are those one period before. So long a run cannot miss every place that is looked at.
fn loops(letters: &[char], period: usize) -> bool {
    let least = 4 * period;
    let again = |&i: &usize| letters[i] == letters[i - period];
    (period + least - 1..letters.len()).step_by(least).filter(again).any(|at| {
        let before = (at - least + 1..at).rev().take_while(again).count();
        let after = (at + 1..letters.len().min(at + least)).take_while(again).count();
        before + 1 + after >= least && letters[at + 1 - period..=at].iter().any(|c| !c.is_whitespace())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Looks at every character.
    fn slow(letters: &[char], period: usize) -> bool {
        let mut same = 0;
        for i in period..letters.len() {
            same = if letters[i] == letters[i - period] { same + 1 } else { 0 };
            if same >= 4 * period && letters[i + 1 - period..=i].iter().any(|c| !c.is_whitespace()) {
                return true;
            }
        }
        false
    }

    proptest! {
        #[test]
        fn a_loop_is_found_wherever_it_stands(before in "[ab ]{0,20}", unit in "[ab ]{1,6}", times in 1usize..9, after in "[ab ]{0,20}") {
            let letters: Vec<char> = format!("{before}{}{after}", unit.repeat(times)).chars().collect();
            for period in 2..=30 {
                prop_assert_eq!(loops(&letters, period), slow(&letters, period), "period {} of {:?}", period, letters);
            }
        }
    }
}
