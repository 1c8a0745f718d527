//! Station *problem*: may these tools be offered to a model?
//!
//! In: the tools of a problem, from wherever. Out: nothing, or the reason for refusing them, in words. Task texts are hostile: a name
//! that looks like another, hides a character or forges a line would make every number about it meaningless.

use unicode_normalization::UnicodeNormalization as _;
use whetstone_domain::Tool;

use crate::schema;

/// Longest name of a tool, bytes.
pub const LONGEST_NAME: usize = 256;

/// Checks names and schemas: each name visible, plain and unlike the others, each schema of bounded depth and size.
pub fn check(tools: &[Tool]) -> Result<(), String> {
    let mut folded: Vec<(String, &str)> = Vec::with_capacity(tools.len());
    for tool in tools {
        name(&tool.name).map_err(|reason| format!("tool name {}: {reason}", shown(&tool.name)))?;
        folded.push((fold(&tool.name), &tool.name));
        let properties = tool.parameters.get("properties").and_then(serde_json::Value::as_object);
        let mut keys: Vec<(String, &str)> = Vec::new();
        for key in properties.into_iter().flat_map(serde_json::Map::keys) {
            if let Some(c) = hidden(key) {
                return Err(format!("argument {} of tool {:?} holds the character {}", shown(key), tool.name, code(c)));
            }
            keys.push((fold(key), key));
        }
        if let Some((a, b)) = twins(&mut keys) {
            return Err(format!("arguments {} and {} of tool {:?} have names that look alike", shown(a), shown(b), tool.name));
        }
        schema::bounded(&tool.parameters).map_err(|reason| format!("the schema of tool {:?} {reason}", tool.name))?;
    }
    match twins(&mut folded) {
        Some((a, b)) if a == b => Err(format!("tool {a:?} is offered twice")),
        Some((a, b)) => Err(format!("tools {} and {} have names that look alike", shown(a), shown(b))),
        None => Ok(()),
    }
}

/// Two names that look the same.
fn twins<'a>(folded: &mut [(String, &'a str)]) -> Option<(&'a str, &'a str)> {
    folded.sort_unstable();
    folded.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1))
}

/// A name as the eye takes it: one spelling of each letter (Unicode's NFKC), Latin where it looks Latin.
fn fold(name: &str) -> String {
    name.nfkc().map(latin).collect()
}

fn name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("is empty".into());
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("is {} bytes long, more than {LONGEST_NAME}", name.len()));
    }
    if let Some(c) = hidden(name) {
        return Err(format!("holds the character {}", code(c)));
    }
    let styled = |c: char| !c.is_ascii() && std::iter::once(c).nfkc().any(|n| n.is_ascii_alphanumeric());
    let stranger = name.chars().find(|&c| latin(c) != c || styled(c));
    match stranger {
        Some(c) if name.chars().any(|c| c.is_ascii_alphabetic()) => {
            let like: String = std::iter::once(c).nfkc().map(latin).collect();
            Err(format!("holds {}, which looks like {like:?}, among Latin letters", code(c)))
        }
        _ => Ok(()),
    }
}

/// A control character, or one that is not seen or turns the direction of writing.
fn hidden(text: &str) -> Option<char> {
    text.chars().find(|&c| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    })
}

/// The Latin letter that a letter of another alphabet looks like; itself where there is none.
fn latin(c: char) -> char {
    const ALIKE: [(&str, &str); 4] = [
        ("аеорсухіјѕһԁԛԝӏ", "aeopcyxijshdqwl"),
        ("АВЕКМНОРСТХУІЈЅԌ", "ABEKMHOPCTXYIJSG"),
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονι", "ABEZHIKMNOPTYXovi"),
        ("ıոսօցհ", "inuogh"),
    ];
    let pair = |(from, to): (&str, &str)| from.chars().zip(to.chars()).find(|(f, _)| *f == c).map(|(_, t)| t);
    ALIKE.into_iter().find_map(pair).unwrap_or(c)
}

fn code(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// A name for a message: escaped, and not longer than a line.
fn shown(name: &str) -> String {
    let escaped: String = name.escape_debug().take(80).collect();
    format!("\"{escaped}\"{}", if name.chars().count() > 80 { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tool(name: &str, parameters: Value) -> Tool {
        Tool { name: name.into(), description: String::new(), parameters }
    }

    fn refused(names: &[&str]) -> String {
        let tools: Vec<Tool> = names.iter().map(|n| tool(n, json!({}))).collect();
        check(&tools).expect_err("hostile names")
    }

    #[test]
    fn names_that_hide_or_imitate_are_refused_with_the_reason() {
        for (names, reason) in [
            (&["f\u{1b}[31m"][..], "U+001B"),
            (&["f\ng"], "U+000A"),
            (&["get\u{200b}weather"], "U+200B"),
            (&["f\u{202e}g"], "U+202E"),
            (&["  "], "is empty"),
            (&["get_w\u{435}ather"], "U+0435, which looks like \"e\""),
            (&["\u{1d41a}dd"], "U+1D41A, which looks like \"a\""),
            (&["\u{131}d"], "U+0131, which looks like \"i\""),
            (&["\u{578}dd"], "U+0578, which looks like \"n\""),
            (&["caf\u{e9}", "cafe\u{301}"], "look alike"),
            (&["ｆ１", "f1"], "look alike"),
            (&["f", "g", "f"], "is offered twice"),
            (&["СОА", "COA"], "look alike"),
        ] {
            let error = refused(names);
            assert!(error.contains(reason), "{names:?}: {error}");
        }
        assert!(refused(&[&"x".repeat(10_000)]).contains("10000 bytes long"));
        let key = tool("f", json!({"properties": {"a\u{0}": {"type": "string"}}}));
        assert!(check(&[key]).expect_err("a control character").contains("argument \"a\\0\""));
        let keys = tool("f", json!({"properties": {"a": {"type": "string"}, "\u{430}": {"type": "string"}}}));
        assert!(check(&[keys]).expect_err("two keys of one look").contains("arguments \"a\" and"));
    }

    #[test]
    fn honest_names_of_any_alphabet_and_two_hundred_tools_are_taken() {
        let many: Vec<Tool> = (0..200).map(|i| tool(&format!("domain.tool-{i}"), json!({"type": "object"}))).collect();
        assert_eq!(check(&many), Ok(()));
        assert_eq!(check(&[tool("погода", json!({})), tool("天气", json!({})), tool("météo", json!({}))]), Ok(()));
    }
}
