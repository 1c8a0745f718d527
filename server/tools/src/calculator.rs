//! Kind *calculator*: arithmetic, read by a parser of its own; nothing is handed to an interpreter.
//!
//! In: an expression of numbers, `+ - * / % ^` (also `**`), parentheses, `pi`, `e` and common functions. Out: its value, or
//! what is wrong and where. `-2^2` is -4 and `2^3^2` is 512, as in mathematics; `%` is the remainder with the divisor's
//! sign. `round` goes away from zero where two numbers are equally near, and rounds what is shown: 2.675 to 2.68.

use serde_json::{Map, Value};
use whetstone_domain::{Tool, ToolFailure};

use crate::{Reply, definition, refuse};

/// Longer expressions are refused. Bytes.
const LONGEST: usize = 1000;
/// Deeper nesting is refused.
const DEEPEST: usize = 64;

/// The tool as a prompt lists it.
pub(crate) fn define(name: &str) -> Tool {
    let about = "Arithmetic, for example 2 * (3.5 + 4) or round(10 / 3, 2)";
    definition::tool(name, "Compute an arithmetic expression", &[("expression", definition::text(about), true)])
}

/// Answers a call.
pub(crate) fn call(arguments: &Map<String, Value>) -> Reply {
    let text = match arguments.get("expression") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return refuse(ToolFailure::BadArguments, "argument \"expression\" must be a text with arithmetic"),
    };
    match evaluate(&text) {
        Ok(value) => Ok(show(value)),
        Err(reason) => refuse(ToolFailure::BadArguments, reason),
    }
}

/// The value of an expression, or what is wrong with it in words.
pub fn evaluate(text: &str) -> Result<f64, String> {
    if text.len() > LONGEST {
        return Err(format!("the expression is {} bytes long; at most {LONGEST} are read", text.len()));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(c) => Err(format!("unexpected {c:?} at character {}", parser.place())),
    }
}

/// To 15 significant digits, so that 0.1 + 0.2 is 0.3.
fn tidy(value: f64) -> f64 {
    format!("{value:.14e}").parse().unwrap_or(value)
}

/// Away from zero where two numbers are equally near.
fn round(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    match value * scale {
        // a half needs the 15th digit
        scaled if scaled.abs() < 1e14 => tidy(scaled).round() / scale,
        _ if places == 0 => value.round(),
        _ => value,
    }
}

/// At most 15 significant digits, without trailing zeros.
pub(crate) fn show(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        return format!("{}", value as i64);
    }
    let rounded = tidy(value);
    match rounded.abs() {
        size if (1e-6..1e15).contains(&size) => format!("{rounded}"),
        _ => format!("{rounded:e}"),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

type Number = Result<f64, String>;

fn finite(value: f64) -> Number {
    match value {
        v if v.is_nan() => Err("the result is not a real number".into()),
        v if v.is_infinite() => Err("the result is too large".into()),
        v => Ok(v),
    }
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let is = self.text[self.at..].starts_with(token);
        self.at += if is { token.len() } else { 0 };
        is
    }

    /// Characters before the next one, counted from 1.
    fn place(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> Number) -> Number {
        if self.depth >= DEEPEST {
            return Err(format!("nested deeper than {DEEPEST} levels"));
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn sum(&mut self) -> Number {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value = finite(value + self.product()?)?;
            } else if self.take("-") {
                value = finite(value - self.product()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Number {
        let mut value = self.signed()?;
        loop {
            if self.take("*") {
                value = finite(value * self.signed()?)?;
            } else if self.take("/") {
                let divisor = self.signed()?;
                if divisor == 0.0 {
                    return Err("division by zero".into());
                }
                value = finite(value / divisor)?;
            } else if self.take("%") {
                let divisor = self.signed()?;
                if divisor == 0.0 {
                    return Err("remainder of a division by zero".into());
                }
                let rest = value % divisor;
                value = if rest != 0.0 && (rest < 0.0) != (divisor < 0.0) { rest + divisor } else { rest };
            } else {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Number {
        if self.take("-") {
            return self.deeper(Self::signed).map(|v| -v);
        }
        if self.take("+") {
            return self.deeper(Self::signed);
        }
        let base = self.atom()?;
        if self.take("**") || self.take("^") {
            let exponent = self.deeper(Self::signed)?;
            if base == 0.0 && exponent < 0.0 {
                return Err("division by zero".into());
            }
            return finite(base.powf(exponent));
        }
        Ok(base)
    }

    fn atom(&mut self) -> Number {
        match self.peek() {
            None => Err("the expression ends where a number is expected".into()),
            Some('(') => {
                self.take("(");
                let value = self.deeper(Self::sum)?;
                self.close()?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.named(),
            Some(c) => Err(format!("unexpected {c:?} at character {}", self.place())),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match (self.take(")"), self.peek()) {
            (true, _) => Ok(()),
            (false, Some(c)) => Err(format!("expected ) at character {}, found {c:?}", self.place())),
            (false, None) => Err("a parenthesis is not closed".into()),
        }
    }

    fn number(&mut self) -> Number {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let mut end = bytes.iter().position(|b| !(b.is_ascii_digit() || *b == b'.')).unwrap_or(bytes.len());
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let digits = bytes[end + 1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
            end += if digits > 0 { 1 + sign + digits } else { 0 };
        }
        let literal = &rest[..end];
        let value = literal.parse::<f64>().map_err(|_| format!("{literal:?} at character {} is no number", self.place()))?;
        self.at += end;
        finite(value)
    }

    fn named(&mut self) -> Number {
        let place = self.place();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        self.at += end;
        if !self.take("(") {
            return match name.as_str() {
                "pi" => Ok(std::f64::consts::PI),
                "e" => Ok(std::f64::consts::E),
                _ => Err(format!("unknown name {name:?} at character {place}")),
            };
        }
        let mut arguments = Vec::new();
        if !self.take(")") {
            loop {
                arguments.push(self.deeper(Self::sum)?);
                if !self.take(",") {
                    self.close()?;
                    break;
                }
            }
        }
        finite(function(&name, &arguments)?)
    }
}

fn function(name: &str, arguments: &[f64]) -> Number {
    Ok(match (name, arguments) {
        ("abs", [x]) => x.abs(),
        ("sqrt", [x]) => x.sqrt(),
        ("floor", [x]) => x.floor(),
        ("ceil", [x]) => x.ceil(),
        ("round", [x]) => round(*x, 0),
        ("round", [x, places]) if places.trunc() == *places && (0.0..=12.0).contains(places) => round(*x, *places as i32),
        ("round", [_, _]) => return Err("round takes 0 to 12 places".into()),
        ("exp", [x]) => x.exp(),
        ("ln" | "log" | "log10", [x]) if *x <= 0.0 => return Err(format!("{name} of a number that is not positive")),
        ("ln", [x]) => x.ln(),
        ("log" | "log10", [x]) => x.log10(),
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tan", [x]) => x.tan(),
        ("min", [first, rest @ ..]) => rest.iter().fold(*first, |a, b| a.min(*b)),
        ("max", [first, rest @ ..]) => rest.iter().fold(*first, |a, b| a.max(*b)),
        ("sum", all) => all.iter().sum(),
        ("abs" | "sqrt" | "floor" | "ceil" | "round" | "exp" | "ln" | "log" | "log10" | "sin" | "cos" | "tan" | "min" | "max", all) => {
            return Err(format!("{name} does not take {} arguments", all.len()));
        }
        _ => {
            let known = "abs, sqrt, floor, ceil, round, exp, ln, log, sin, cos, tan, min, max, sum";
            return Err(format!("unknown function {name:?}; known are {known}"));
        }
    })
}

#[cfg(test)]
#[path = "calculator_tests.rs"]
mod tests;
