//! Stored values to domain values and back, one function a kind of value.
//!
//! In: a column of a row, or a domain value. Out: the other of the two. No query is made here.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use whetstone_domain::{EvaluationKind, Outcome, Phase, StopReason, ToolCall};

use crate::error::Fault;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// A count for a column. No count reaches the bound that saturates.
pub(crate) fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A count from a column.
pub(crate) fn count(row: &SqliteRow, column: &str) -> Result<usize, Fault> {
    let n: i64 = row.try_get(column)?;
    usize::try_from(n).map_err(|_| Fault::Unreadable(format!("{column} = {n}")))
}

/// A real from a column in which null stands for NaN (binding a NaN stores null).
pub(crate) fn real(row: &SqliteRow, column: &str) -> Result<f64, Fault> {
    Ok(row.try_get::<Option<f64>, _>(column)?.unwrap_or(f64::NAN))
}

/// A phase from a column.
pub(crate) fn phase(row: &SqliteRow, column: &str) -> Result<Phase, Fault> {
    let name: String = row.try_get(column)?;
    Phase::from_name(&name).ok_or_else(|| Fault::Unreadable(format!("{column} = {name:?}")))
}

/// An outcome from a column.
pub(crate) fn outcome(row: &SqliteRow, column: &str) -> Result<Outcome, Fault> {
    let code: i64 = row.try_get(column)?;
    u8::try_from(code).ok().and_then(Outcome::from_code).ok_or_else(|| Fault::Unreadable(format!("{column} = {code}")))
}

/// Stored name of a stop reason.
pub(crate) fn stop_name(stop: StopReason) -> &'static str {
    match stop {
        StopReason::Eos => "eos",
        StopReason::Length => "length",
    }
}

/// A stop reason from a column.
pub(crate) fn stop(row: &SqliteRow, column: &str) -> Result<StopReason, Fault> {
    let name: String = row.try_get(column)?;
    [StopReason::Eos, StopReason::Length]
        .into_iter()
        .find(|s| stop_name(*s) == name)
        .ok_or_else(|| Fault::Unreadable(format!("{column} = {name:?}")))
}

/// Stored name of an evaluation's kind.
pub(crate) fn kind_name(kind: EvaluationKind) -> &'static str {
    match kind {
        EvaluationKind::Baseline => "baseline",
        EvaluationKind::AfterWarmStart => "after_warm_start",
        EvaluationKind::Periodic => "periodic",
        EvaluationKind::Final => "final",
    }
}

/// An evaluation's kind from a column.
pub(crate) fn kind(row: &SqliteRow, column: &str) -> Result<EvaluationKind, Fault> {
    use EvaluationKind::{AfterWarmStart, Baseline, Final, Periodic};
    let name: String = row.try_get(column)?;
    [Baseline, AfterWarmStart, Periodic, Final]
        .into_iter()
        .find(|k| kind_name(*k) == name)
        .ok_or_else(|| Fault::Unreadable(format!("{column} = {name:?}")))
}

/// JSON text of a value.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| Fault::Unreadable(format!("a value has no JSON form: {e}")))
}

/// A value from JSON text; `what` names it in the error.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| Fault::Unreadable(format!("{what}: {e}")))
}

/// Tool calls as stored. Arguments are JSON text of their own: nested in another document, what the model nested almost
/// as deep as a reader bears could be written and never be read again.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredCalls(Vec<(String, String)>);

impl StoredCalls {
    /// Calls to be stored.
    pub(crate) fn of(calls: &[ToolCall]) -> Result<Self, Fault> {
        calls.iter().map(|c| Ok((c.name.clone(), to_json(&c.arguments)?))).collect::<Result<_, Fault>>().map(Self)
    }

    /// The calls that were stored.
    pub(crate) fn calls(self) -> Result<Vec<ToolCall>, Fault> {
        self.0
            .into_iter()
            .map(|(name, arguments)| Ok(ToolCall { name, arguments: from_json(&arguments, "arguments of a call")? }))
            .collect()
    }
}
