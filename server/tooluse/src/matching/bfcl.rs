//! BFCL's AST checker, rule by rule, quirks included (bfcl-eval v4, `ast_checker.py`, Python language, `underscore_to_dot` off).
//!
//! In: a problem whose accepted values are BFCL's lists, and calls. Out: its verdict. Where the original raises, so does this
//! (as [`Raised`]), and callers count it as wrong. JSON Schema's `number` and `object` are read as `float` and `dict`.

use serde_json::{Map, Value};
use whetstone_domain::{ExpectedCall, Problem, Tool, ToolCall};

use super::python::{Type, equal};
use super::{accepted, property, tool_of};

/// The original checker would have raised an exception on this pair of call and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised;

/// How one argument's value was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueCheck {
    /// Accepted.
    Right,
    /// Of a type that neither the schema nor the accepted values allow.
    WrongType,
    /// None of the accepted values.
    WrongValue,
}

impl ValueCheck {
    fn of(right: bool) -> Self {
        if right { Self::Right } else { Self::WrongValue }
    }
}

/// Verdict on all calls: counts equal, and every expected call is met by a call of its own, first come, first served.
/// One expected call is the case of `simple_*` and `multiple`, which differ only in how the tool is found.
pub fn check(problem: &Problem, calls: &[ToolCall]) -> Result<bool, Raised> {
    partners(problem, calls).map(|found| found.is_some())
}

/// The call that meets each expected one, by index; none where the calls are wrong.
pub(crate) fn partners(problem: &Problem, calls: &[ToolCall]) -> Result<Option<Vec<usize>>, Raised> {
    if calls.len() != problem.expected.calls.len() {
        return Ok(None);
    }
    let mut open: Vec<usize> = (0..calls.len()).collect();
    let mut partners = Vec::with_capacity(calls.len());
    for expected in &problem.expected.calls {
        let tool = tool_of(problem, &expected.name).ok_or(Raised)?;
        let mut met = None;
        for (i, &call) in open.iter().enumerate() {
            if check_call(tool, expected, &calls[call])? {
                met = Some(i);
                break;
            }
        }
        match met {
            Some(i) => partners.push(open.remove(i)),
            None => return Ok(None),
        }
    }
    Ok(Some(partners))
}

/// `simple_function_checker`.
fn check_call(tool: &Tool, expected: &ExpectedCall, call: &ToolCall) -> Result<bool, Raised> {
    if call.name != tool.name {
        return Ok(false);
    }
    let required = tool.parameters.get("required").and_then(Value::as_array);
    if required.is_some_and(|r| r.iter().any(|k| k.as_str().is_none_or(|k| !call.arguments.contains_key(k)))) {
        return Ok(false);
    }
    for (key, value) in &call.arguments {
        let (Some(property), Some(accepted)) = (property(tool, key), accepted(expected, key)) else {
            return Ok(false);
        };
        if check_value(property, &accepted.values, value)? != ValueCheck::Right {
            return Ok(false);
        }
    }
    Ok(expected.arguments.iter().all(|(k, a)| call.arguments.contains_key(k) || a.optional || has_blank(&a.values)))
}

/// One argument against its schema and its accepted values: the loop body of `simple_function_checker`.
pub fn check_value(property: &Value, accepted: &[Value], value: &Value) -> Result<ValueCheck, Raised> {
    let type_name = |schema: &Value| schema.get("type").and_then(Value::as_str).ok_or(Raised).map(str::to_owned);
    let name = type_name(property)?;
    let wanted = Type::of_schema(&name).ok_or(Raised)?;
    let nested = match wanted {
        Type::List => {
            let items = property.get("items").ok_or(Raised)?;
            Some(Type::of_schema(&type_name(items)?).ok_or(Raised)?)
        }
        _ => None,
    };
    let widened;
    let value = match (wanted, value.as_f64()) {
        (Type::Float, Some(n)) if Type::of(value) == Type::Int => {
            widened = Value::from(n);
            &widened
        }
        _ => value,
    };
    let Some(is_variable) = check_type(value, accepted, wanted, nested) else {
        return Ok(ValueCheck::WrongType);
    };
    let right = match (wanted, value) {
        _ if is_variable => member(value, accepted),
        (Type::Dict, Value::Object(map)) => check_dict(map, accepted)?,
        (Type::List, Value::Array(items)) if nested == Some(Type::Dict) => check_dicts(items, accepted)?,
        (Type::Str, Value::String(text)) => check_string(text, accepted),
        (Type::List, Value::Array(items)) => check_list(items, accepted)?,
        _ => member(value, accepted),
    };
    Ok(ValueCheck::of(right))
}

/// `standardize_string`: spaces and `,./-_*^` removed, lower case, single quotes made double.
pub fn standardize(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for piece in text.split([' ', ',', '.', '/', '-', '_', '*', '^']) {
        kept.push_str(piece);
    }
    let lower = kept.to_lowercase();
    if lower.contains('\'') { lower.replace('\'', "\"") } else { lower }
}

fn standardize_value(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| Value::String(standardize(text)))
}

fn is_blank(value: &Value) -> bool {
    value.as_str() == Some("")
}

fn has_blank(values: &[Value]) -> bool {
    values.iter().any(is_blank)
}

fn member(value: &Value, values: &[Value]) -> bool {
    values.iter().any(|v| equal(value, v))
}

/// `get_possible_answer_type`: the type of the first accepted value that is not "may be omitted".
fn accepted_type(accepted: &[Value]) -> Option<Type> {
    accepted.iter().find(|v| !is_blank(v)).map(Type::of)
}

/// `type_checker`: none = wrong type, else whether the value is a "variable", which is compared by plain membership.
fn check_type(value: &Value, accepted: &[Value], wanted: Type, nested: Option<Type>) -> Option<bool> {
    let of_answer = accepted_type(accepted);
    if Type::of(value) == wanted {
        let is_variable = of_answer.is_some_and(|t| t != wanted);
        let (Some(nested), Value::Array(items)) = (nested, value) else {
            return Some(is_variable);
        };
        // any accepted value that is no list (such as "") lets every element pass
        let fits = accepted.iter().any(|option| match option {
            Value::Array(option) => items.iter().all(|item| check_type(item, option, nested, None).is_some()),
            _ => true,
        });
        return fits.then_some(is_variable);
    }
    (of_answer == Some(Type::of(value))).then_some(true)
}

/// `string_checker`.
fn check_string(text: &str, accepted: &[Value]) -> bool {
    let text = standardize(text);
    accepted.iter().filter_map(Value::as_str).any(|option| standardize(option) == text)
}

/// What Python's `len(x)` and `x[i]` for all i see, strings standardised; raises where they do.
fn elements(value: &Value) -> Result<Vec<Value>, Raised> {
    match value {
        Value::Array(items) => Ok(items.iter().map(standardize_value).collect()),
        Value::String(text) => Ok(text.chars().map(|c| Value::String(standardize(&c.to_string()))).collect()),
        Value::Object(map) if map.is_empty() => Ok(Vec::new()),
        _ => Err(Raised),
    }
}

/// `list_checker`: same length and order; strings at the top level standardised.
fn check_list(items: &[Value], accepted: &[Value]) -> Result<bool, Raised> {
    let items: Value = items.iter().map(standardize_value).collect();
    let mut options = Vec::with_capacity(accepted.len());
    for option in accepted {
        options.push(Value::Array(elements(option)?));
    }
    Ok(member(&items, &options))
}

/// `dict_checker`: every key known and its value in that key's list; a missing key needs `""` in its list.
fn check_dict(map: &Map<String, Value>, accepted: &[Value]) -> Result<bool, Raised> {
    for option in accepted.iter().filter(|v| !is_blank(v)) {
        // the original calls .items() on every candidate it reaches
        let Value::Object(option) = option else { return Err(Raised) };
        let mut right = true;
        for (key, value) in map {
            let fits = match option.get(key) {
                None => false,
                Some(values) => member(&standardize_value(value), &elements(values)?),
            };
            if !fits {
                right = false;
                break;
            }
        }
        for (key, values) in option {
            if !map.contains_key(key) && !blank_in(values)? {
                right = false;
                break;
            }
        }
        if right {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Python's `"" in values`.
fn blank_in(values: &Value) -> Result<bool, Raised> {
    match values {
        Value::Array(items) => Ok(has_blank(items)),
        Value::String(_) => Ok(true),
        Value::Object(map) => Ok(map.contains_key("")),
        _ => Err(Raised),
    }
}

/// `list_dict_checker`: same length and order, each by `dict_checker`.
fn check_dicts(items: &[Value], accepted: &[Value]) -> Result<bool, Raised> {
    for option in accepted {
        let (len, option) = match option {
            Value::Array(list) => (list.len(), Some(list)),
            Value::String(text) => (text.chars().count(), None),
            Value::Object(map) => (map.len(), None),
            _ => return Err(Raised),
        };
        if len != items.len() {
            continue;
        }
        let mut right = true;
        for (i, item) in items.iter().enumerate() {
            let candidate = option.and_then(|o| o.get(i)).ok_or(Raised)?;
            let fits = match item {
                Value::Object(map) => check_dict(map, std::slice::from_ref(candidate))?,
                _ if is_blank(candidate) => false,
                _ => return Err(Raised),
            };
            if !fits {
                right = false;
                break;
            }
        }
        if right {
            return Ok(true);
        }
    }
    Ok(false)
}
