//! The id of a row that is no JSON, or no text, where so much of it can be read.
//!
//! In: the row's bytes, in pieces. Out: the last string under the key `id` of the outermost object. What stands before a mistake and
//! after it is looked at alike; no value but the id is read.

use serde_json::Value;

use crate::format::json::{DuplicateKeys, MAX_DEPTH, Reader};

/// Longer strings are no ids: of 256 bytes, each may be written as `\u0000`. Bytes.
const LONGEST: usize = 6 * 256;

/// A row that is being read.
#[derive(Debug, Default)]
pub(crate) struct RowId {
    /// What was found.
    pub id: Option<String>,
    depth: usize,
    /// Bytes of the string that is being read, as far as an id goes.
    string: Option<Vec<u8>>,
    /// The byte before was a backslash in a string.
    escaped: bool,
    place: Place,
}

/// What the last token makes of the next string.
#[derive(Debug, Default, PartialEq)]
enum Place {
    #[default]
    Anywhere,
    /// Behind the key.
    Key,
    /// Behind the key and its colon.
    Value,
}

impl RowId {
    /// Of a whole row.
    pub(crate) fn of(row: &[u8]) -> Option<String> {
        let mut reading = Self::default();
        reading.read(row);
        reading.id
    }

    /// Reads on.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.byte(byte));
    }

    fn byte(&mut self, byte: u8) {
        if let Some(string) = &mut self.string {
            if byte == b'"' && !self.escaped {
                let string = self.string.take().unwrap_or_default();
                return self.end(&string);
            }
            if string.len() <= LONGEST {
                string.push(byte);
            }
            self.escaped = byte == b'\\' && !self.escaped;
            return;
        }
        match byte {
            b'"' => self.string = Some(Vec::new()),
            b':' if self.place == Place::Key => self.place = Place::Value,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            other => {
                self.place = Place::Anywhere;
                match other {
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
    }

    /// A string has ended.
    fn end(&mut self, string: &[u8]) {
        let is_value = std::mem::take(&mut self.place) == Place::Value;
        if !is_value {
            self.place = if self.depth == 1 && string == b"id" { Place::Key } else { Place::Anywhere };
        } else if string.len() <= LONGEST {
            let quoted = format!("\"{}\"", String::from_utf8_lossy(string));
            if let Ok(Value::String(id)) = Reader::at(&quoted, 0, DuplicateKeys::LastWins).value(MAX_DEPTH) {
                self.id = Some(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_whatever_stands_around_it() {
        for (row, id) in [
            (&b"{\"id\": \"a\", \"text\": \"\xff\0\"}"[..], Some("a")),
            (b"{\"text\": \"\xff \\\" \\\\\", \"id\" : \"a\\u0062\"}", Some("ab")),
            (b"{\"id\": \"a\", \"x\": NaN, \"id\": \"b\"", Some("b")),
            (b"{\"id\": \"id\", \"x\": \"id\"", Some("id")),
            (b"{\"calls\": [{\"id\": \"x\"}], \"id\": \"a\"}", Some("a")),
            (b"{\"id\": {\"id\": \"x\"}}", None),
            (b"[{\"id\": \"x\"}", None),
            (b"{\"calls\": \"id\": NaN}", None),
            (b"{\"id\": \"\\ud800\"}", None),
            (b"{\"id", None),
            (b"{\"id\\", None),
            (b"{\0\"\0i\0d\0\"\0:\0\"\0a\0\"\0", None),
        ] {
            assert_eq!(RowId::of(row).as_deref(), id, "{}", String::from_utf8_lossy(row));
            let mut pieces = RowId::default();
            row.chunks(1).for_each(|piece| pieces.read(piece));
            assert_eq!(pieces.id.as_deref(), id);
        }
        let long = format!("{{\"id\": \"{}\"}}", "x".repeat(LONGEST + 1));
        assert_eq!(RowId::of(long.as_bytes()), None);
    }
}
