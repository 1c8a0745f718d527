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

/// True when some stretch of `period` characters stands five times in a row.
fn loops(letters: &[char], period: usize) -> bool {
    let mut same = 0;
    for i in period..letters.len() {
        same = if letters[i] == letters[i - period] { same + 1 } else { 0 };
        if same >= 4 * period && letters[i + 1 - period..=i].iter().any(|c| !c.is_whitespace()) {
            return true;
        }
    }
    false
}
