//! The outcome ladder: every rollout has exactly one outcome, whatever its reward.

use serde::{Deserialize, Serialize};

/// Rungs of the ladder, worst first; a rollout gets the first rung it fails, or one of the two right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// The verifier failed; never folded into wrong.
    Error = 0,
    /// The completion hit its length limit.
    Truncated = 1,
    /// A call was expected and none was made.
    NoCall = 2,
    /// There is a brace or bracket, and no parser makes calls of it.
    BadJson = 3,
    /// Parses leniently, not strictly.
    ExtraText = 4,
    /// No call was expected and one was made.
    UnwantedCall = 5,
    /// A called tool is not among those offered.
    UnknownTool = 6,
    /// Arguments break the tool's schema.
    SchemaInvalid = 7,
    /// An offered tool, but not the expected one.
    WrongTool = 8,
    /// Too few or too many calls.
    WrongCount = 9,
    /// Argument keys missing or extra.
    WrongArgs = 10,
    /// Right keys, wrong values.
    WrongValues = 11,
    /// Right by the task set's matcher.
    Correct = 12,
    /// No call was expected and none was made.
    RefusedOk = 13,
}

impl Outcome {
    /// Every rung in ladder order.
    pub const ALL: [Self; 14] = [
        Self::Error,
        Self::Truncated,
        Self::NoCall,
        Self::BadJson,
        Self::ExtraText,
        Self::UnwantedCall,
        Self::UnknownTool,
        Self::SchemaInvalid,
        Self::WrongTool,
        Self::WrongCount,
        Self::WrongArgs,
        Self::WrongValues,
        Self::Correct,
        Self::RefusedOk,
    ];

    /// The integer stored in the database.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The rung of a stored integer.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The one-character mark used everywhere.
    pub fn letter(self) -> char {
        ['E', 'T', 'N', 'J', 'X', 'C', 'U', 'S', 'W', '#', 'A', 'V', '✓', '∅'][usize::from(self.code())]
    }

    /// The name used in metrics (`outcome/{name}`), URLs and JSON.
    pub fn name(self) -> &'static str {
        [
            "error",
            "truncated",
            "no_call",
            "bad_json",
            "extra_text",
            "unwanted_call",
            "unknown_tool",
            "schema_invalid",
            "wrong_tool",
            "wrong_count",
            "wrong_args",
            "wrong_values",
            "correct",
            "refused_ok",
        ][usize::from(self.code())]
    }

    /// True for the two rungs that count as right.
    pub fn is_correct(self) -> bool {
        matches!(self, Self::Correct | Self::RefusedOk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_letters_and_names_round_trip() {
        for (i, o) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(o.code()), i);
            assert_eq!(Outcome::from_code(o.code()), Some(o));
            assert_eq!(serde_json::to_value(o).ok(), Some(serde_json::json!(o.name())));
        }
        assert_eq!(Outcome::from_code(14), None);
    }
}
