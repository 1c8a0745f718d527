//! A reader and writer of calls as Python writes them: `f(a=1, b=["x"])`, keyword arguments with literals only.
//!
//! In: a text. Out: calls, or the byte and reason of the first error. Nothing is evaluated: a name, an operator or a call
//! inside an argument is an error. Bounded nesting, linear time.

use serde_json::{Map, Value};
use whetstone_domain::{ParseFailure, ToolCall};

use super::json::{MAX_DEPTH, failure};

type Read<T> = Result<T, ParseFailure>;

/// A cursor over a text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) pos: usize,
    /// Take JSON's `true`, `false` and `null` for Python's words.
    pub(super) json_words: bool,
}

/// True for what a tool or argument name may be made of: all but white space and Python's brackets, quotes and separators.
pub(super) fn is_name(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | ',' | '=' | ';' | '"' | '\'' | '`'))
}

impl<'a> Reader<'a> {
    /// The next byte, white space skipped, unread.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.pos), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        bytes.get(self.pos).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.pos += usize::from(is);
        is
    }

    fn unexpected<T>(&self, wanted: &str) -> Read<T> {
        match self.text[self.pos..].chars().next() {
            Some(c @ ('+' | '-' | '*' | '/' | '%' | '.' | '|' | '&')) => {
                failure(self.pos, format!("expected {wanted}, found {c:?}; nothing is evaluated"))
            }
            Some(c) => failure(self.pos, format!("expected {wanted}, found {c:?}")),
            None => failure(self.pos, format!("expected {wanted}, but the text ends")),
        }
    }

    fn name(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text[self.pos..];
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        self.pos += name.len();
        name
    }

    /// Reads elements up to the closing byte, whose opening one was taken; a comma may stand behind the last.
    fn until(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        loop {
            if self.take(close) {
                return Ok(());
            }
            item(self)?;
            if self.take(close) {
                return Ok(());
            }
            if !self.take(b',') {
                return self.unexpected(&format!("`,` or `{}`", char::from(close)));
            }
        }
    }

    /// Reads `[f(a=1), g()]`.
    pub(super) fn calls(&mut self) -> Read<Vec<ToolCall>> {
        if !self.take(b'[') {
            return self.unexpected("`[`, the start of the list of calls");
        }
        let mut calls = Vec::new();
        self.until(b']', |r| r.call().map(|call| calls.push(call)))?;
        Ok(calls)
    }

    /// Reads `f(a=1)`.
    pub(super) fn call(&mut self) -> Read<ToolCall> {
        let name = self.name();
        if name.is_empty() {
            return self.unexpected("a tool's name");
        }
        if !self.take(b'(') {
            return self.unexpected("`(`");
        }
        let mut arguments = Map::new();
        self.until(b')', |r| {
            r.peek();
            let at = r.pos;
            let key = r.name();
            if key.is_empty() || !r.take(b'=') {
                return failure(at, "an argument without its name; write name=value");
            }
            let value = r.value(1)?;
            match arguments.insert(key.to_owned(), value) {
                Some(_) => failure(at, format!("argument {key:?} occurs twice")),
                None => Ok(()),
            }
        })?;
        Ok(ToolCall { name: name.to_owned(), arguments })
    }

    /// Reads one literal; `depth` is the count of brackets around it.
    pub(super) fn value(&mut self, depth: usize) -> Read<Value> {
        match self.peek() {
            Some(b'{' | b'[' | b'(') if depth >= MAX_DEPTH => failure(self.pos, format!("nested deeper than {MAX_DEPTH} levels")),
            Some(b'[') => {
                self.pos += 1;
                let mut list = Vec::new();
                self.until(b']', |r| r.value(depth + 1).map(|v| list.push(v)))?;
                Ok(Value::Array(list))
            }
            Some(b'(') => self.tuple(depth),
            Some(b'{') => self.dict(depth),
            Some(b'"' | b'\'') => self.string().map(Value::String),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    /// `(1, 2)` is a list for us, `(1)` is 1.
    fn tuple(&mut self, depth: usize) -> Read<Value> {
        self.pos += 1;
        let mut list = Vec::new();
        self.until(b')', |r| r.value(depth + 1).map(|v| list.push(v)))?;
        let comma = self.text[..self.pos - 1].trim_end().ends_with(',');
        match <[Value; 1]>::try_from(list) {
            Ok([only]) if !comma => Ok(only),
            Ok(one) => Ok(Value::Array(one.into())),
            Err(list) => Ok(Value::Array(list)),
        }
    }

    fn dict(&mut self, depth: usize) -> Read<Value> {
        self.pos += 1;
        let mut map = Map::new();
        self.until(b'}', |r| {
            if !matches!(r.peek(), Some(b'"' | b'\'')) {
                return r.unexpected("a key in quotes");
            }
            let at = r.pos;
            let key = r.string()?;
            if !r.take(b':') {
                return r.unexpected("`:`");
            }
            let value = r.value(depth + 1)?;
            match map.insert(key, value) {
                Some(_) => failure(at, "a key occurs twice"),
                None => Ok(()),
            }
        })?;
        Ok(Value::Object(map))
    }

    fn word(&mut self) -> Read<Value> {
        let at = self.pos;
        let word = self.name();
        match word {
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::Null),
            "true" | "false" if self.json_words => Ok(Value::Bool(word == "true")),
            "null" if self.json_words => Ok(Value::Null),
            "" => self.unexpected("a value"),
            _ if matches!(self.text.as_bytes().get(self.pos), Some(b'"' | b'\'')) => failure(at, "a string with a prefix is not read"),
            _ if self.peek() == Some(b'(') => failure(at, "a call inside an argument; nothing is evaluated"),
            _ => failure(at, format!("{:?} is no literal; nothing is evaluated", shortened(word))),
        }
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.pos;
        let bytes = self.text.as_bytes();
        let mut literal = String::new();
        let digits = |pos: &mut usize, literal: &mut String| {
            let from = literal.len();
            while let Some(&b) = bytes.get(*pos) {
                match b {
                    b'0'..=b'9' => literal.push(char::from(b)),
                    // as in 1_000
                    b'_' if literal.len() > from && bytes.get(*pos + 1).is_some_and(u8::is_ascii_digit) => {}
                    _ => break,
                }
                *pos += 1;
            }
            literal.len() - from
        };
        if let Some(sign @ (b'-' | b'+')) = bytes.get(self.pos) {
            self.pos += 1;
            literal.push_str(if *sign == b'-' { "-" } else { "" });
        }
        let whole_at = self.pos;
        let whole = digits(&mut self.pos, &mut literal);
        let mut integer = true;
        let mut fraction = 0;
        if bytes.get(self.pos) == Some(&b'.') {
            integer = false;
            literal.push_str(if whole == 0 { "0." } else { "." });
            self.pos += 1;
            fraction = digits(&mut self.pos, &mut literal);
            literal.push_str(if fraction == 0 { "0" } else { "" });
        }
        if whole + fraction == 0 {
            self.pos = whole_at;
            return self.unexpected("a digit");
        }
        if matches!(bytes.get(self.pos), Some(b'e' | b'E')) {
            integer = false;
            literal.push('e');
            self.pos += 1;
            if let Some(sign @ (b'-' | b'+')) = bytes.get(self.pos) {
                literal.push(char::from(*sign));
                self.pos += 1;
            }
            if digits(&mut self.pos, &mut literal) == 0 {
                return self.unexpected("a digit in the exponent");
            }
        }
        if integer && whole > 1 && bytes.get(whole_at) == Some(&b'0') {
            return failure(whole_at, "an integer must not start with 0");
        }
        if integer && let Ok(n) = literal.parse::<i64>() {
            return Ok(n.into());
        }
        if integer && let Ok(n) = literal.parse::<u64>() {
            return Ok(n.into());
        }
        match literal.parse().ok().and_then(serde_json::Number::from_f64) {
            Some(n) => Ok(Value::Number(n)),
            None => failure(start, "number is too large"),
        }
    }

    fn string(&mut self) -> Read<String> {
        let bytes = self.text.as_bytes();
        let quote = bytes[self.pos];
        let triple = self.text[self.pos..].starts_with(if quote == b'"' { "\"\"\"" } else { "'''" });
        self.pos += if triple { 3 } else { 1 };
        let mut out = String::new();
        loop {
            let run = self.pos;
            while bytes.get(self.pos).is_some_and(|&b| b != quote && b != b'\\' && (triple || b != b'\n')) {
                self.pos += 1;
            }
            out.push_str(&self.text[run..self.pos]);
            match bytes.get(self.pos) {
                None => return failure(self.pos, "the text ends inside a string"),
                Some(b'\\') => out.extend(self.escape()?),
                Some(b'\n') => return failure(self.pos, "the line ends inside a string"),
                Some(_) if triple && !bytes[self.pos..].starts_with(&[quote; 3]) => {
                    out.push(char::from(quote));
                    self.pos += 1;
                }
                Some(_) => {
                    self.pos += if triple { 3 } else { 1 };
                    return Ok(out);
                }
            }
        }
    }

    /// What an escape stands for; none for an escaped line end. An unknown one keeps its backslash, as in Python.
    fn escape(&mut self) -> Read<Option<char>> {
        let start = self.pos;
        let Some(kind) = self.text[start + 1..].chars().next() else {
            return failure(start + 1, "the text ends inside a string");
        };
        self.pos = start + 1 + kind.len_utf8();
        let c = match kind {
            '\n' => return Ok(None),
            '\\' | '\'' | '"' => kind,
            '/' if self.json_words => '/',
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => return self.code(start, 2, 16),
            'u' => return self.code(start, 4, 16),
            'U' => return self.code(start, 8, 16),
            '0'..='7' => {
                self.pos = start + 1;
                let digits = self.text.as_bytes()[self.pos..].iter().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
                return self.code(start, digits, 8);
            }
            'N' => return failure(start, "a character by its name is not read"),
            _ => {
                self.pos = start + 1;
                '\\'
            }
        };
        Ok(Some(c))
    }

    /// The character whose code follows in so many digits; with JSON's words also as a surrogate pair.
    fn code(&mut self, start: usize, digits: usize, radix: u32) -> Read<Option<char>> {
        let code_at = |pos: usize| {
            let digits = self.text.as_bytes().get(pos..pos + digits)?;
            digits.iter().try_fold(0u32, |n, &b| char::from(b).to_digit(radix).and_then(|d| n.checked_mul(radix)?.checked_add(d)))
        };
        let Some(code) = code_at(self.pos) else { return failure(start, format!("an escape must be followed by {digits} digits")) };
        let end = self.pos + digits;
        if let Some(c) = char::from_u32(code) {
            self.pos = end;
            return Ok(Some(c));
        }
        let low = (self.json_words && code < 0xdc00 && self.text[end..].starts_with("\\u")).then(|| code_at(end + 2)).flatten();
        let pair =
            low.filter(|low| (0xdc00..0xe000).contains(low)).and_then(|l| char::from_u32(0x10000 + ((code - 0xd800) << 10) + l - 0xdc00));
        match pair {
            Some(c) => {
                self.pos = end + 6;
                Ok(Some(c))
            }
            None => failure(start, "an escape of no character"),
        }
    }
}

fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}
