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
    // a name in another script alone imitates no Latin one but by its whole look, which `twins` finds
    let has_latin = name.chars().any(|c| c.is_ascii_alphabetic());
    // accents that stand behind their letter become one letter with it, where there is one
    let written: String = name.nfc().collect();
    let stranger = written.chars().find(|&c| !c.is_ascii() && !latin_letter(c));
    match stranger.filter(|_| has_latin) {
        Some(c) => {
            let like: String = std::iter::once(c).nfkc().map(latin).collect();
            match like.is_ascii() {
                true => Err(format!("holds {}, which looks like {like:?}, among Latin letters", code(c))),
                false => Err(format!(
                    "holds {} among Latin letters; beside a to z only accented Latin letters (U+00C0 to U+024F) may stand",
                    code(c)
                )),
            }
        }
        None => Ok(()),
    }
}

/// A letter of the blocks Latin-1, Extended-A and Extended-B that looks like no ASCII letter or sign.
fn latin_letter(c: char) -> bool {
    let block = matches!(c, '\u{c0}'..='\u{24f}') && c.is_alphabetic();
    // dotless letters and clicks; ligatures and the long s are written with ASCII letters by NFKC
    block && !matches!(c, 'ı' | 'ȷ' | '\u{1c0}'..='\u{1c3}') && !std::iter::once(c).nfkc().any(|n| n.is_ascii())
}

/// A control character, or one that is not seen, turns the direction of writing, or passes for a space or a hyphen.
fn hidden(text: &str) -> Option<char> {
    text.chars().find(|&c| c.is_control() || ignorable(c) || blank(c) || hyphen(c))
}

/// Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties 16.0), and the marks of interlinear annotation.
fn ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// White space beyond ASCII, and a Braille pattern without dots.
fn blank(c: char) -> bool {
    (!c.is_ascii() && c.is_whitespace()) || c == '\u{2800}'
}

/// A dash beyond ASCII (Unicode's `Dash` and `Hyphen`).
fn hyphen(c: char) -> bool {
    const DASHES: &str = "\u{58a}\u{5be}\u{1400}\u{1806}\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2043}\u{2053}\u{207b}\u{208b}\
                          \u{2212}\u{2e17}\u{2e1a}\u{2e3a}\u{2e3b}\u{2e40}\u{2e5d}\u{301c}\u{3030}\u{30a0}\u{fe31}\u{fe32}\u{fe58}\u{fe63}\
                          \u{ff0d}\u{10d6e}\u{10ead}";
    DASHES.contains(c)
}

/// The Latin letter that a letter of another alphabet looks like; itself where there is none.
fn latin(c: char) -> char {
    const ALIKE: [(&str, &str); 7] = [
        ("аеорсухіјѕһԁԛԝӏ", "aeopcyxijshdqwl"),
        ("АВЕКМНОРСТХУІЈЅԌ", "ABEKMHOPCTXYIJSG"),
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονι", "ABEZHIKMNOPTYXovi"),
        ("ıոսօցհ", "inuogh"),
        ("αορυκϲϳ", "aopukcj"),
        ("ᎠᎡᎢᎥᎪᎫᎬᎳᎷᎻᏀᏃᏚᏙᏟᏢᏦᏴᏞ", "DRTiAJEWMHGZSVCPKBL"),
        ("ꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ", "BPDTGKJCZFNLSRVHWXYAEIOU"),
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
            (&["get_w\u{e9}\u{301}ather"], "U+0301 among Latin letters"),
            (&["get_we\u{3b1}ther"], "U+03B1, which looks like \"a\""),
            (&["get_weather\u{5d9}"], "U+05D9 among Latin letters"),
            (&["get\u{1c0}weather"], "U+01C0 among Latin letters"),
            (&["ge\u{17f}t"], "U+017F, which looks like \"s\""),
            (&["\u{fb01}nd"], "U+FB01, which looks like \"fi\""),
            (&["get\u{d7}"], "U+00D7 among Latin letters"),
            (&["天气api"], "U+5929 among Latin letters"),
            (&["get\u{34f}weather"], "U+034F"),
            (&["get\u{17b5}weather"], "U+17B5"),
            (&["get\u{3164}weather"], "U+3164"),
            (&["get\u{2800}weather"], "U+2800"),
            (&["get\u{fe0f}weather"], "U+FE0F"),
            (&["get\u{e0100}weather"], "U+E0100"),
            (&["get\u{a0}weather"], "U+00A0"),
            (&["get\u{2010}weather"], "U+2010"),
            (&["get\u{2212}weather"], "U+2212"),
            (&["погода\u{fe0e}"], "U+FE0E"),
            (&["ᎪᏴ", "AB"], "tools \"AB\" and \"ᎪᏴ\" have names that look alike"),
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
        let latin = ["straße", "łódź_2", "cafe\u{301}", "ønske", "şehir", "天气_1"].map(|name| tool(name, json!({})));
        assert_eq!(check(&latin), Ok(()));
    }
}
