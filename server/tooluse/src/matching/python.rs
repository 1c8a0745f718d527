//! Python's idea of types and equality, which BFCL's checker (and so every published BFCL number) rests on.
//!
//! In: JSON values. Out: their Python type, and `==` as Python has it: `True == 1 == 1.0`.

use serde_json::{Number, Value};

/// The Python type that `json.loads` gives a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `str`
    Str,
    /// `int`
    Int,
    /// `float`
    Float,
    /// `bool`
    Bool,
    /// `list`
    List,
    /// `dict`
    Dict,
    /// `NoneType`
    None,
}

impl Type {
    /// `type(value)`.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(_) => Self::Bool,
            Value::Number(n) if n.is_f64() => Self::Float,
            Value::Number(_) => Self::Int,
            Value::String(_) => Self::Str,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Dict,
        }
    }

    /// BFCL's `PYTHON_TYPE_MAPPING`, and JSON Schema's `number` and `object` beside its `float` and `dict`.
    pub fn of_schema(name: &str) -> Option<Self> {
        Some(match name {
            "string" | "any" => Self::Str,
            "integer" => Self::Int,
            "float" | "number" => Self::Float,
            "boolean" => Self::Bool,
            "array" | "tuple" => Self::List,
            "dict" | "object" => Self::Dict,
            _ => return None,
        })
    }

    /// Its name in JSON Schema's words, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Str => "string",
            Self::Int => "integer",
            Self::Float => "number",
            Self::Bool => "boolean",
            Self::List => "array",
            Self::Dict => "object",
            Self::None => "null",
        }
    }
}

/// Python's `a == b`.
pub fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b, true)
}

/// Equality of JSON values: as Python's, but a boolean is no number.
pub fn json_equal(a: &Value, b: &Value) -> bool {
    compare(a, b, false)
}

fn compare(a: &Value, b: &Value, bool_is_int: bool) -> bool {
    let number = |v: &Value| match v {
        Value::Bool(b) if bool_is_int => Some(Number::from(u8::from(*b))),
        Value::Number(n) => Some(n.clone()),
        _ => None,
    };
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::String(x), Value::String(y)) => x == y,
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| compare(x, y, bool_is_int)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| compare(v, w, bool_is_int)))
        }
        _ => match (number(a), number(b)) {
            (Some(x), Some(y)) => numbers_equal(&x, &y),
            _ => false,
        },
    }
}

/// Exact, as Python compares int and float: no rounding on the way.
fn numbers_equal(a: &Number, b: &Number) -> bool {
    let integer = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (integer(a), integer(b)) {
        (Some(x), Some(y)) => x == y,
        (None, None) => a.as_f64() == b.as_f64(),
        (Some(i), None) | (None, Some(i)) => {
            let float = if a.is_f64() { a.as_f64() } else { b.as_f64() };
            // floats beyond 2^100 equal no 64-bit integer, and the conversion of those below is exact
            float.is_some_and(|f| f.fract() == 0.0 && f.abs() < 1e30 && f as i128 == i)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_pythons() {
        assert!(equal(&json!(true), &json!(1)) && equal(&json!([0, 1.0]), &json!([false, true])));
        assert!(equal(&json!(5), &json!(5.0)) && equal(&json!({"a": 1, "b": 2}), &json!({"b": 2.0, "a": 1})));
        assert!(!equal(&json!("5"), &json!(5)) && !equal(&json!(null), &json!(0)) && !equal(&json!("a"), &json!("A")));
        assert!(!equal(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992.0)));
        assert!(equal(&json!(u64::MAX), &json!(u64::MAX)) && !equal(&json!(u64::MAX), &json!(-1)));
        assert!(!json_equal(&json!(true), &json!(1)) && json_equal(&json!([5.0]), &json!([5])));
    }
}
