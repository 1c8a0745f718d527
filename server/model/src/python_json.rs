//! JSON as Python's `json.dumps(value, ensure_ascii=False, indent=indent)` writes it, byte for byte: what chat templates' `tojson` gives.
//!
//! In: anything that serialises. Out: text. Floats are written as Python's `repr` writes them.

use std::io::{Result, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes `value`; with `indent` one element a line.
pub(crate) fn dumps(value: &impl Serialize, indent: Option<usize>) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Style { indent, depth: 0, filled: false }))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Separators `", "` (or a line end) and `": "`.
struct Style {
    indent: Option<usize>,
    depth: usize,
    /// The innermost list or object has an element.
    filled: bool,
}

impl Style {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        match (first, self.indent) {
            (true, _) => {}
            (false, Some(_)) => writer.write_all(b",")?,
            (false, None) => writer.write_all(b", ")?,
        }
        self.line(writer)
    }

    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> Result<()> {
        let Some(indent) = self.indent else { return Ok(()) };
        writer.write_all(b"\n")?;
        writer.write_all(" ".repeat(indent * self.depth).as_bytes())
    }
}

impl Formatter for Style {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Result<()> {
        writer.write_all(repr(value).as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.next(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> Result<()> {
        self.filled = true;
        Ok(())
    }
}

/// `repr` of a finite float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn repr(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e').and_then(|(d, e)| Some((d, e.parse::<i32>().ok()?))) else {
        return scientific;
    };
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({"a": [1, 2.0, [], {}], "é<&>'": {"b": null, "c": "\u{1f}\u{7f}\n\"/"}});
        // json.dumps(value, ensure_ascii=False), and with indent=2, in Python 3.11
        assert_eq!(
            dumps(&value, None).expect("plain data"),
            "{\"a\": [1, 2.0, [], {}], \"é<&>'\": {\"b\": null, \"c\": \"\\u001f\u{7f}\\n\\\"/\"}}"
        );
        assert_eq!(
            dumps(&value, Some(2)).expect("plain data"),
            "{\n  \"a\": [\n    1,\n    2.0,\n    [],\n    {}\n  ],\n  \"é<&>'\": {\n    \"b\": null,\n    \"c\": \
             \"\\u001f\u{7f}\\n\\\"/\"\n  }\n}"
        );
        let floats =
            [(1e-5, "1e-05"), (1e-4, "0.0001"), (1e15, "1000000000000000.0"), (1e16, "1e+16"), (1.5e300, "1.5e+300"), (-0.0, "-0.0")];
        for (float, text) in floats {
            assert_eq!(dumps(&float, None).expect("a float"), text);
        }
    }
}
