//! Numbers and hostile text as people read them. Pure functions, used by pages and error messages.

use std::fmt::Write as _;

use whetstone_domain::EvaluationKind;
use whetstone_store::Accuracy;

/// Takes no room, breaks lines where none are wanted, or turns the direction of what follows.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text from outside with control and direction-changing characters made visible.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n' && c != '\t') || is_unseen(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The beginning of a text from outside, on one line.
pub fn short(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = visible(&line);
    match shown.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// What an evaluation was made for.
pub fn kind(kind: EvaluationKind) -> &'static str {
    match kind {
        EvaluationKind::Baseline => "prompt alone",
        EvaluationKind::AfterWarmStart => "after the warm start",
        EvaluationKind::Periodic => "in between",
        EvaluationKind::Final => "at the end",
    }
}

/// Now, ms since 1970.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Could this be the public id of a run?
pub fn is_run_id(text: &str) -> bool {
    text.len() <= 32 && text.strip_prefix("r-").is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Text as part of a query string.
pub fn in_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Bytes in the largest fitting unit: `4.9 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A share as percent: `61.5 %`.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "–".into() }
}

/// An accuracy with its interval: `61.5 % (54.6 to 68.0, n = 200)`.
pub fn accuracy(a: &Accuracy) -> String {
    share_of(a.accuracy, a.ci_low, a.ci_high, a.n)
}

/// A share with its interval, from its parts.
pub fn share_of(share: f64, low: f64, high: f64, n: usize) -> String {
    format!("{} ({:.1} to {:.1}, n = {n})", percent(share), low * 100.0, high * 100.0)
}

/// A number with three significant digits.
pub fn number(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => "–".into(),
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{x:.1e}"),
        a if a < 1.0 => format!("{x:.3}"),
        a if a < 100.0 => format!("{x:.2}"),
        _ => format!("{x:.0}"),
    }
}

/// A time span in the two largest units: `3 min 20 s`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A moment as RFC 3339 in UTC with milliseconds.
pub fn moment(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's civil_from_days
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (s, ms) = (rest / 1000, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s % 3600 / 60, s % 60)
}

/// A moment in UTC to the minute: `2026-11-24 21:07`.
pub fn minute(ms: i64) -> String {
    moment(ms).chars().take(16).collect::<String>().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_visible() {
        assert_eq!(visible("a\u{202e}b\0\u{1b}[1m\n"), "a\\u{202e}b\\u{0}\\u{1b}[1m\n");
        assert_eq!(visible("\u{200b}\u{61c}\u{2028}é日"), "\\u{200b}\\u{61c}\\u{2028}é日");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(percent(0.6154), "61.5 %");
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!([number(0.0), number(0.12345), number(12.345), number(1234.5), number(1e-5)], ["0", "0.123", "12.35", "1234", "1.0e-5"]);
        assert_eq!([span(999), span(61_000), span(3_660_000), span(90_000_000)], ["0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(1_709_210_096_789), "2024-02-29T12:34:56.789Z");
        assert_eq!(moment(-1), "1969-12-31T23:59:59.999Z");
    }
}
