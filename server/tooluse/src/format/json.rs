//! A JSON reader that says where it stopped and why, for text that was written by a model.
//!
//! In: bytes of a text. Out: a `serde_json::Value`, or the byte offset and reason of the first error.
//! Stricter than `serde_json` where silence would hide a mistake (duplicate keys, numbers that overflow), with bounded
//! nesting so that hostile text can neither overflow the stack nor cost more than linear time. RFC 8259 otherwise.

use serde_json::{Map, Number, Value};
use whetstone_domain::ParseFailure;

/// Deeper nesting than this is a failure.
pub const MAX_DEPTH: usize = 64;

/// What to do with a key that an object already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// A failure.
    Refuse,
    /// The later value wins, as in Python and JavaScript.
    LastWins,
}

/// A cursor over a text.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    pos: usize,
    duplicates: DuplicateKeys,
}

type Read<T> = Result<T, ParseFailure>;

/// A failure at a position.
pub(crate) fn failure<T>(position: usize, reason: impl Into<String>) -> Read<T> {
    Err(ParseFailure { position, reason: reason.into() })
}

impl<'a> Reader<'a> {
    /// A reader that starts at byte `pos`, which must lie on a character boundary.
    pub fn at(text: &'a str, pos: usize, duplicates: DuplicateKeys) -> Self {
        Self { text, pos, duplicates }
    }

    /// Byte offset of the next unread character.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// The next byte, white space skipped, unread.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.pos), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        bytes.get(self.pos).copied()
    }

    /// Takes the byte when it is next after white space.
    pub fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.pos += usize::from(is);
        is
    }

    fn unexpected<T>(&self, wanted: &str) -> Read<T> {
        match self.text[self.pos..].chars().next() {
            Some(c) => failure(self.pos, format!("expected {wanted}, found {c:?}")),
            None => failure(self.pos, format!("expected {wanted}, but the text ends")),
        }
    }

    /// Reads the rest of a list whose bracket was taken, calling `item` at the start of each element.
    pub fn items(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.peek();
            item(self)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.unexpected("`,` or `]`");
            }
        }
    }

    /// Reads one value; `depth` is the count of lists and objects around it.
    pub fn value(&mut self, depth: usize) -> Read<Value> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => failure(self.pos, format!("nested deeper than {MAX_DEPTH} levels")),
            Some(b'{') => {
                self.pos += 1;
                self.object(depth).map(Value::Object)
            }
            Some(b'[') => {
                self.pos += 1;
                let mut list = Vec::new();
                self.items(|r| r.value(depth + 1).map(|v| list.push(v)))?;
                Ok(Value::Array(list))
            }
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
                    if self.text[self.pos..].starts_with(word) {
                        self.pos += word.len();
                        return Ok(value);
                    }
                }
                for word in ["NaN", "Infinity"] {
                    if self.text[self.pos..].starts_with(word) {
                        return failure(self.pos, format!("{word} is not a JSON value"));
                    }
                }
                self.unexpected("a value")
            }
        }
    }

    fn object(&mut self, depth: usize) -> Read<Map<String, Value>> {
        let mut map = Map::new();
        if self.take(b'}') {
            return Ok(map);
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.unexpected("a key in double quotes");
            }
            let key_at = self.pos;
            let key = self.string()?;
            if self.duplicates == DuplicateKeys::Refuse && map.contains_key(&key) {
                return failure(key_at, format!("key {key:?} occurs twice"));
            }
            if !self.take(b':') {
                return self.unexpected("`:`");
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            if self.take(b'}') {
                return Ok(map);
            }
            if !self.take(b',') {
                return self.unexpected("`,` or `}`");
            }
        }
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.pos;
        let bytes = self.text.as_bytes();
        let digits = |pos: &mut usize| {
            let from = *pos;
            while bytes.get(*pos).is_some_and(u8::is_ascii_digit) {
                *pos += 1;
            }
            *pos - from
        };
        self.pos += usize::from(bytes.get(self.pos) == Some(&b'-'));
        let leading_zero = bytes.get(self.pos) == Some(&b'0');
        let whole_at = self.pos;
        let whole = digits(&mut self.pos);
        if whole == 0 {
            return self.unexpected("a digit");
        }
        if leading_zero && whole > 1 {
            return failure(whole_at + 1, "a number must not start with 0");
        }
        let mut integer = true;
        if bytes.get(self.pos) == Some(&b'.') {
            integer = false;
            self.pos += 1;
            if digits(&mut self.pos) == 0 {
                return self.unexpected("a digit after the point");
            }
        }
        if matches!(bytes.get(self.pos), Some(b'e' | b'E')) {
            integer = false;
            self.pos += 1;
            self.pos += usize::from(matches!(bytes.get(self.pos), Some(b'+' | b'-')));
            if digits(&mut self.pos) == 0 {
                return self.unexpected("a digit in the exponent");
            }
        }
        let literal = &self.text[start..self.pos];
        if integer && let Ok(n) = literal.parse::<i64>() {
            return Ok(n.into());
        }
        if integer && let Ok(n) = literal.parse::<u64>() {
            return Ok(n.into());
        }
        match literal.parse().ok().and_then(Number::from_f64) {
            Some(n) => Ok(Value::Number(n)),
            None => failure(start, "number is too large"),
        }
    }

    fn string(&mut self) -> Read<String> {
        let bytes = self.text.as_bytes();
        self.pos += 1;
        let mut out = String::new();
        loop {
            let run = self.pos;
            while bytes.get(self.pos).is_some_and(|&b| b != b'"' && b != b'\\' && b >= 0x20) {
                self.pos += 1;
            }
            out.push_str(&self.text[run..self.pos]);
            match bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return failure(self.pos, "control character in a string; write it as an escape"),
                None => return failure(self.pos, "the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let start = self.pos;
        let c = match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return failure(start, "unknown escape in a string"),
            None => return failure(start + 1, "the text ends inside a string"),
        };
        self.pos = start + 2;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Read<char> {
        let start = self.pos;
        let unit = |at: usize| {
            let hex = self.text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
            hex.iter().try_fold(0u32, |n, &b| char::from(b).to_digit(16).map(|d| n * 16 + d))
        };
        let Some(first) = unit(start) else {
            return failure(start, "\\u must be followed by four hex digits");
        };
        if let Some(c) = char::from_u32(first) {
            self.pos = start + 6;
            return Ok(c);
        }
        let pair = unit(start + 6).filter(|low| first < 0xdc00 && (0xdc00..0xe000).contains(low));
        match pair.and_then(|low| char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00))) {
            Some(c) => {
                self.pos = start + 12;
                Ok(c)
            }
            None => failure(start, "half of a surrogate pair in a string"),
        }
    }
}

/// Writes a value with the spacing of Python's `json.dumps`, text not escaped to ASCII: what models have seen most of.
pub fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (i, v) in list.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_value(v, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (k, v)) in map.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                out.push_str(&Value::from(k.as_str()).to_string());
                out.push_str(": ");
                write_value(v, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
