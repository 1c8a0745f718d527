//! Station *problem*, helper: what a content file must keep to. In: parsed tools; out: mistakes with their place. Mends nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::content::{Content, ContentError, Kind, Param, ToolSpec};

/// Check one tool.
pub(super) fn tool(file: &str, tool: &ToolSpec, errors: &mut Vec<ContentError>) {
    let mut complain = |at: &str, what: String| errors.push(ContentError { file: file.into(), at: format!("{} {at}", tool.name), what });
    if !tool.description.ends_with('.') {
        complain("description", "must be a sentence".into());
    }
    if tool.phrasings.is_empty() {
        complain("phrasings", "there is none".into());
    }
    for (i, param) in tool.params.iter().enumerate() {
        for what in of_param(param, &tool.params) {
            complain(&param.name, what);
        }
        if param.optional && !tool.phrasings.iter().any(|p| p.mentions(i)) {
            complain(&param.name, "no phrasing mentions it".into());
        }
    }
    for phrasing in &tool.phrasings {
        let at = format!("{:?}", phrasing.source);
        for (i, param) in tool.params.iter().enumerate() {
            if !param.optional && !phrasing.mentions(i) {
                complain(&at, format!("does not mention the required {{{}}}", param.name));
            }
        }
        for bad in ["  ", " .", " ,", " ?", " !", "\n"] {
            if phrasing.source.contains(bad) {
                complain(&at, format!("contains {bad:?}"));
            }
        }
        if phrasing.source.trim() != phrasing.source || phrasing.source.is_empty() {
            complain(&at, "begins or ends with a space, or is empty".into());
        }
    }
}

fn of_param(param: &Param, all: &[Param]) -> Vec<String> {
    let mut out = Vec::new();
    let item = if param.kind == Kind::Array { param.items } else { Some(param.kind) };
    let Some(item) = item else {
        return vec!["an array needs `items`".into()];
    };
    if matches!(item, Kind::Array) {
        out.push("arrays of arrays are not supported".into());
    }
    match (&param.range, param.choices.is_empty()) {
        (None, true) => out.push("has neither pool, values, say_true/say_false nor min and max".into()),
        (Some(_), false) => out.push("has both listed values and a range".into()),
        (Some(r), true) if r.least >= r.most => out.push("min is not below max".into()),
        (Some(_), true) if !matches!(item, Kind::Integer | Kind::Number) => out.push("a range is for numbers".into()),
        _ => {}
    }
    for choice in &param.choices {
        let fits = match item {
            Kind::String => choice.value.is_string(),
            Kind::Integer => choice.value.is_i64(),
            Kind::Number => choice.value.is_number(),
            Kind::Boolean => choice.value.is_boolean(),
            Kind::Enum | Kind::Array => !choice.value.is_boolean(),
        };
        if !fits {
            out.push(format!("value {} is not of its type", choice.value));
        }
        if choice.say.is_empty() {
            out.push(format!("value {} cannot be said", choice.value));
        }
        for say in &choice.say {
            let separators = param.kind == Kind::Array && (say.contains(',') || say.contains(" and "));
            if say.trim() != say || say.is_empty() || say.contains("  ") || say.contains('"') || separators {
                out.push(format!("saying {say:?} would read badly"));
            }
        }
    }
    if let Some(default) = &param.default {
        let known = param.kind != Kind::Enum || param.choices.iter().any(|c| c.value == *default);
        let typed = match param.kind {
            Kind::String => default.is_string(),
            Kind::Integer => default.is_i64(),
            Kind::Number => default.is_number(),
            Kind::Boolean => default.is_boolean(),
            Kind::Array => default.is_array(),
            Kind::Enum => true,
        };
        if !known || !typed {
            out.push(format!("default {default} is not one of its values"));
        }
    }
    if param.kind == Kind::Array {
        let (least, most) = param.count;
        let available = if param.choices.is_empty() { usize::MAX } else { param.choices.len() };
        if least == 0 || least > most || most > available {
            out.push(format!("cannot draw {least} to {most} items"));
        }
    }
    if let Some(other) = param.after.and_then(|i| all.get(i))
        && (other.choices != param.choices || other.range != param.range)
    {
        out.push(format!("`after` needs the values of {:?}", other.name));
    }
    if param.choices.iter().any(|c| c.value == Value::Null) {
        out.push("a null value".into());
    }
    out
}

/// Check what concerns several files.
pub(super) fn across(content: &Content, errors: &mut Vec<ContentError>) {
    let mut names = BTreeSet::new();
    let tools = || content.domains.iter().flat_map(|d| d.tools.iter().map(move |t| (d, t)));
    for (domain, tool) in tools() {
        if !names.insert(tool.name.as_str()) {
            errors.push(ContentError { file: format!("{}.toml", domain.name), at: tool.name.clone(), what: "the name is taken".into() });
        }
    }
    for (domain, tool) in tools() {
        for other in tool.overlaps.iter().filter(|o| !names.contains(o.as_str())) {
            errors.push(ContentError {
                file: format!("{}.toml", domain.name),
                at: tool.name.clone(),
                what: format!("overlaps: unknown tool {other:?}"),
            });
        }
    }
}
