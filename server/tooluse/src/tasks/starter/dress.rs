//! Station *problem*, helper: manners. In: a rendered request; out: the same, in some cases with a greeting before it or a
//! thanks behind it. Never changes the words of a value.

use super::draw::Draw;
use super::template::Template;

/// Words that start a sentence and are no names: only they are made small after "Hi, ".
const OPENERS: &str = "what what's how how's can could would will is are do does did which when where who why please give \
    show tell find get set make add put check convert calculate compute work turn play book send create delete look list schedule \
    remind my the we we're if for in on at let let's search need move cancel there rename";

/// The text as it goes on after a comma; none where its first word may be a name.
pub(super) fn small(text: &str) -> Option<String> {
    let first = text.split_whitespace().next()?.to_lowercase();
    let mut chars = text.chars();
    let head = chars.next()?.to_lowercase();
    let written_out = chars.clone().next().is_some_and(|c| c.is_lowercase() || c == '\'');
    (written_out && OPENERS.split(' ').any(|w| w == first)).then(|| format!("{head}{}", chars.as_str()))
}

/// In 15 of 100 requests a greeting before or a thanks behind.
pub(super) fn dress(template: &Template, text: String, draw: &mut Draw) -> String {
    let (dressed, in_front) = (draw.percent(15), draw.percent(60));
    let kind = draw.below(64);
    let polite = ["please", "thank", "hi ", "hi,", "hey", "hello", "quick"].iter().any(|w| text.to_lowercase().contains(w));
    if !dressed || polite {
        return text;
    }
    if in_front {
        let question = text.ends_with('?');
        let first = text.split_whitespace().next().unwrap_or("").to_lowercase();
        let full = if question {
            ["Quick question: ", "One question: ", "Hi there! ", "Hello! ", "Hey, quick one: "]
        } else {
            ["Hi there! ", "Hello! ", "Good morning! ", "Hey there. ", "Hello again. "]
        };
        let soft = ["Hi, ", "Hey, ", "Hello, ", "Okay, ", "Right, "];
        let written_out = text.chars().nth(1).is_some_and(char::is_lowercase);
        if written_out && OPENERS.split(' ').any(|w| w == first) && kind.is_multiple_of(2) {
            let mut chars = text.chars();
            let head = chars.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
            return format!("{}{head}{}", soft[kind % soft.len()], chars.as_str());
        }
        return format!("{}{text}", full[kind % full.len()]);
    }
    if template.ends_in_value() {
        return text;
    }
    if text.ends_with(['.', '!', '?', '"']) {
        let tail = [" Thanks!", " Thank you.", " Thanks a lot.", " Thanks in advance!", " Cheers!"];
        return format!("{text}{}", tail[kind % tail.len()]);
    }
    let tail = [", please", ", thanks", ", thank you"];
    format!("{text}{}", tail[kind % tail.len()])
}
