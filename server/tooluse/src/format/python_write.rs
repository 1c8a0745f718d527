//! Calls and literals as Python writes them, the counterpart of [`super::python`].
//!
//! In: calls. Out: text that its reader understands and whose words models of this family write.

use serde_json::Value;
use whetstone_domain::ToolCall;

/// Writes `[f(a=1), g()]`, with `value` writing one argument.
pub(super) fn write_calls(calls: &[ToolCall], value: impl Fn(&Value, &mut String)) -> String {
    let mut out = String::from("[");
    for (i, call) in calls.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        out.push_str(&call.name);
        out.push('(');
        for (j, (key, argument)) in call.arguments.iter().enumerate() {
            out.push_str(if j > 0 { ", " } else { "" });
            out.push_str(key);
            out.push('=');
            value(argument, &mut out);
        }
        out.push(')');
    }
    out.push(']');
    out
}

/// Writes a literal with the spacing of Python's `repr` and double quotes.
pub(super) fn write_literal(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(text) => write_string(text, '"', out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_literal(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_string(key, '"', out);
                out.push_str(": ");
                write_literal(item, out);
            }
            out.push('}');
        }
    }
}

/// Writes a string in the given quotes, on one line.
pub(super) fn write_string(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}
