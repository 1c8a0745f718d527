//! Bytes as HTTP hands them out: whole, in ranges (RFC 9110, section 14), or not again; with their digest (RFC 9530).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;
use crate::words;

/// What a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Everything: no range, or one that is not understood, which HTTP says to ignore.
    Whole,
    /// First and last byte.
    Part(usize, usize),
    /// A range that is understood and lies outside.
    Outside,
}

/// The zip under its name, as far as it was asked for.
pub(crate) fn answer(zip: Vec<u8>, name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let digest = Sha256::digest(&zip);
    let etag = format!("\"{}\"", words::hex(&digest));
    let text = |h: header::HeaderName| asked.get(h).and_then(|v| v.to_str().ok());
    let mut headers = HeaderMap::new();
    let mut put = |name: header::HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, etag.clone());
    put(header::ACCEPT_RANGES, "bytes".into());
    put(header::CONTENT_TYPE, "application/zip".into());
    put(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""));
    put(header::HeaderName::from_static("repr-digest"), format!("sha-256=:{}:", base64(&digest)));
    if text(header::IF_NONE_MATCH).is_some_and(|m| m.split(',').any(|t| t.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let unchanged = text(header::IF_RANGE).is_none_or(|r| r == etag);
    let asked = text(header::RANGE).filter(|_| unchanged).map_or(Asked::Whole, |range| part(range, zip.len()));
    let Asked::Part(first, last) = asked else {
        if asked == Asked::Whole {
            return Ok((headers, zip).into_response());
        }
        let mut refused = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "This range is outside of the file.").into_response();
        let all = HeaderValue::try_from(format!("bytes */{}", zip.len())).map_err(|e| Problem::internal(&e))?;
        refused.headers_mut().insert(header::CONTENT_RANGE, all);
        return Ok(refused);
    };
    let range = HeaderValue::try_from(format!("bytes {first}-{last}/{}", zip.len())).map_err(|e| Problem::internal(&e))?;
    headers.insert(header::CONTENT_RANGE, range);
    Ok((StatusCode::PARTIAL_CONTENT, headers, zip[first..=last].to_vec()).into_response())
}

/// A single range of `length` bytes; several at once are answered whole.
fn part(range: &str, length: usize) -> Asked {
    let Some((from, to)) = range.strip_prefix("bytes=").filter(|r| !r.contains(',')).and_then(|r| r.split_once('-')) else {
        return Asked::Whole;
    };
    // a number too large for us is a number all the same
    let number = |t: &str| (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().unwrap_or(usize::MAX));
    let (first, last) = match (from.trim(), to.trim()) {
        ("", suffix) => match number(suffix) {
            None => return Asked::Whole,
            Some(0) => return Asked::Outside,
            Some(n) => (length.saturating_sub(n), usize::MAX),
        },
        (from, to) => match (number(from), if to.is_empty() { Some(usize::MAX) } else { number(to) }) {
            (Some(first), Some(last)) if first <= last => (first, last),
            _ => return Asked::Whole,
        },
    };
    if first < length { Asked::Part(first, last.min(length - 1)) } else { Asked::Outside }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0, &0]).take(3).fold(0_usize, |w, b| w << 8 | usize::from(*b));
        for i in 0..4 {
            out.push(if i <= chunk.len() { char::from(LETTERS[word >> (18 - 6 * i) & 63]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        for (range, ends) in [("0-0", (0, 0)), ("5-", (5, 9)), ("-3", (7, 9)), ("-30", (0, 9)), ("2-99", (2, 9)), ("9-", (9, 9))] {
            assert_eq!(part(&format!("bytes={range}"), 10), Asked::Part(ends.0, ends.1), "{range}");
        }
        for outside in ["bytes=10-", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(part(outside, 10), Asked::Outside, "{outside}");
        }
        // not understood, or of another unit: ignored
        for odd in ["bytes=5-4", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=-", "bytes", "", "bytes=+1-2"] {
            assert_eq!(part(odd, 10), Asked::Whole, "{odd}");
        }
        assert_eq!(part("bytes=0-", 0), Asked::Outside);
    }

    #[test]
    fn base64_is_the_usual_one() {
        assert_eq!([base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo"), base64(b"foob")], ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
