//! Station *problem*, helper: other names for the same tools. In: a problem for training; out: in half of the cases the same one
//! with its tools and parameters renamed, as another author might have named them.
//!
//! Fifty tools teach a model their fifty names by heart; what it must learn is to read names off the listing. Renaming is
//! Hammer's function masking (arXiv 2410.04587) with names that keep their meaning, because the signatures carry no other.

use std::collections::HashMap;

use serde_json::{Map, Value};
use whetstone_domain::problem::{Problem, Tool};

use super::draw::Draw;

/// Percent of training problems with other names.
const RENAMED: usize = 50;

/// Words of parameter names and what others say for them.
const SYNONYMS: [(&str, &[&str]); 46] = [
    ("address", &["mail_address", "contact"]),
    ("amount", &["quantity", "how_much", "sum"]),
    ("artist", &["performer", "by_artist"]),
    ("body", &["content", "message_text"]),
    ("calendar", &["calendar_name", "agenda"]),
    ("city", &["town", "place", "location", "city_name"]),
    ("code", &["code_text", "token"]),
    ("column", &["field", "attribute"]),
    ("columns", &["fields", "attributes"]),
    ("country", &["nation", "country_name"]),
    ("date", &["day", "on_day", "calendar_day", "when"]),
    ("days", &["day_count", "num_days"]),
    ("delay", &["wait", "after"]),
    ("destination", &["target", "move_to"]),
    ("door", &["entrance", "which_door"]),
    ("duration", &["length", "lasting"]),
    ("email", &["mail", "e_mail"]),
    ("file", &["filename", "document", "path"]),
    ("files", &["filenames", "documents"]),
    ("folder", &["directory", "dir"]),
    ("genre", &["kind", "category"]),
    ("hours", &["hour_count", "for_hours"]),
    ("item", &["article", "thing"]),
    ("language", &["lang", "spoken_in"]),
    ("limit", &["max_results", "at_most", "top"]),
    ("location", &["venue", "place"]),
    ("members", &["people", "participants"]),
    ("message", &["text", "content"]),
    ("mode", &["setting", "state"]),
    ("name", &["label", "full_name"]),
    ("new", &["updated", "next"]),
    ("number", &["num", "figure"]),
    ("percent", &["pct", "percentage"]),
    ("product", &["article", "goods"]),
    ("quantity", &["units", "pieces"]),
    ("query", &["search_text", "term", "q"]),
    ("reason", &["why", "cause"]),
    ("recipient", &["receiver", "send_to"]),
    ("room", &["area", "room_name"]),
    ("song", &["track", "tune"]),
    ("table", &["relation", "table_name"]),
    ("time", &["clock_time", "at"]),
    ("title", &["heading", "caption"]),
    ("unit", &["measure", "units"]),
    ("value", &["val", "reading"]),
    ("year", &["in_year", "calendar_year"]),
];

const BEFORE: [&str; 8] = ["the", "input", "my", "arg", "p", "wanted", "in", "given"];
const AFTER: [&str; 8] = ["value", "param", "arg", "field", "x", "input", "data", "spec"];
const NAMESPACES: [&str; 10] = ["api", "tools", "svc", "app", "assistant", "core", "v1", "helper", "client", "home_base"];
const TOOL_AFTER: [&str; 6] = ["tool", "v2", "now", "service", "action", "request"];

/// How an author joins the words of a name.
#[derive(Clone, Copy)]
enum Case {
    Snake,
    Camel,
    Pascal,
    Kebab,
    Joined,
}

/// The problem as it is, or with other names.
pub(super) fn rename(problem: &mut Problem, draw: &mut Draw) {
    if !draw.percent(RENAMED) {
        return;
    }
    let case = match draw.below(100) {
        0..50 => Case::Snake,
        50..85 => Case::Camel,
        85..92 => Case::Pascal,
        92..96 => Case::Kebab,
        _ => Case::Joined,
    };
    let mut tool_names: Vec<String> = Vec::new();
    for tool in &mut problem.tools {
        let name = unlike(&tool_names, &tool.name, || tool_name(&tool.name, case, draw));
        tool_names.push(name.clone());
        let names = parameter_names(tool, case, draw);
        for call in problem.expected.calls.iter_mut().filter(|c| c.name == tool.name) {
            for (argument, _) in &mut call.arguments {
                if let Some(new) = names.get(argument) {
                    argument.clone_from(new);
                }
            }
            call.name.clone_from(&name);
        }
        tool.name = name;
        rename_schema(&mut tool.parameters, &names);
    }
}

/// What `make` gives, or the old name where that is taken.
fn unlike(taken: &[String], old: &str, make: impl FnOnce() -> String) -> String {
    Some(make()).filter(|new| !taken.contains(new)).unwrap_or_else(|| old.to_owned())
}

fn tool_name(old: &str, case: Case, draw: &mut Draw) -> String {
    let (space, own) = old.split_once('.').map_or((None, old), |(s, o)| (Some(s), o));
    let mut words: Vec<&str> = own.split('_').collect();
    if draw.percent(25) {
        words.extend(draw.pick(&TOOL_AFTER));
    }
    let name = join(&words, case);
    match draw.below(3) {
        0 => name,
        1 => draw.pick(&NAMESPACES).map_or_else(|| name.clone(), |space| format!("{space}.{name}")),
        _ => space.map_or_else(|| name.clone(), |space| format!("{space}.{name}")),
    }
}

/// New names of a tool's parameters by their old ones, all different.
fn parameter_names(tool: &Tool, case: Case, draw: &mut Draw) -> HashMap<String, String> {
    let mut names = HashMap::new();
    let mut taken = Vec::new();
    let old: Vec<String> = tool.parameters["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    for name in &old {
        let mut words: Vec<&str> = name.split('_').collect();
        for word in &mut words {
            if let Ok(at) = SYNONYMS.binary_search_by_key(word, |(w, _)| *w)
                && draw.percent(40)
            {
                *word = draw.pick(SYNONYMS[at].1).copied().unwrap_or(word);
            }
        }
        match draw.below(10) {
            0 => words.insert(0, draw.pick(&BEFORE).copied().unwrap_or_default()),
            1 => words.extend(draw.pick(&AFTER)),
            _ => {}
        }
        let words: Vec<&str> = words.iter().flat_map(|w| w.split('_')).collect();
        let mut new = join(&words, case);
        if taken.contains(&new) || old.contains(&new) {
            new.clone_from(name);
        }
        taken.push(new.clone());
        names.insert(name.clone(), new);
    }
    names
}

fn join(words: &[&str], case: Case) -> String {
    let capital = |w: &str| w.chars().take(1).flat_map(char::to_uppercase).chain(w.chars().skip(1)).collect::<String>();
    match case {
        Case::Snake => words.join("_"),
        Case::Kebab => words.join("-"),
        Case::Joined => words.concat(),
        Case::Pascal => words.iter().map(|w| capital(w)).collect(),
        Case::Camel => words.iter().enumerate().map(|(i, w)| if i == 0 { (*w).to_owned() } else { capital(w) }).collect(),
    }
}

fn rename_schema(schema: &mut Value, names: &HashMap<String, String>) {
    let new = |name: &String| names.get(name).unwrap_or(name).clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        *properties = std::mem::take(properties).into_iter().map(|(name, property)| (new(&name), property)).collect();
    }
    for name in schema.get_mut("required").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(text) = name {
            *text = new(text);
        }
    }
}
