//! What a forgiving reader finds in a text, and what it may spend on looking.
//!
//! In: a text. Out: calls with their extent. Shared by all formats; the lenient reading only explains, it never decides.

use whetstone_domain::{ParseFailure, ToolCall};

use super::call_object::lenient_calls;
use super::json::{DuplicateKeys, Reader, failure};

/// Calls, and how much of the text they are.
#[derive(Debug)]
pub(super) struct Found {
    pub calls: Vec<ToolCall>,
    /// First byte of them.
    pub start: usize,
    /// Bytes of the text that belong to them.
    pub bytes: usize,
}

/// Bytes that attempts may read in all: a multiple of the text's length, however many brackets it opens.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of(text: &str) -> Self {
        Self(4 * text.len() + 4096)
    }

    /// False when an attempt that read so much was the last one.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => self.0 = left,
            None => return false,
        }
        true
    }
}

/// The first JSON object or list that makes calls, wherever it stands; else an empty list if there is one.
pub(super) fn any_json(text: &str) -> Option<Found> {
    let mut budget = Budget::of(text);
    let mut refusal = None;
    for (start, _) in text.match_indices(['{', '[']) {
        let mut reader = Reader::at(text, start, DuplicateKeys::LastWins);
        let value = reader.value(0);
        let bytes = reader.position() - start;
        if let Ok(value) = value
            && let Some(calls) = lenient_calls(value)
        {
            if !calls.is_empty() {
                return Some(Found { calls, start, bytes });
            }
            refusal.get_or_insert(Found { calls, start, bytes });
        }
        if !budget.spend(bytes) {
            break;
        }
    }
    refusal
}

/// Every call that stands behind `marker` and that `read` understands: it is given the byte behind the marker and says what it
/// found and where that ends, or how far it came.
pub(super) fn behind_markers(text: &str, marker: &str, read: impl Fn(usize) -> (usize, Option<Vec<ToolCall>>)) -> Option<Found> {
    let mut budget = Budget::of(text);
    let (mut calls, mut first, mut bytes, mut done) = (Vec::new(), None, 0, 0);
    for (start, _) in text.match_indices(marker) {
        if start < done {
            continue;
        }
        let (end, found) = read(start + marker.len());
        if let Some(found) = found {
            first.get_or_insert(start);
            calls.extend(found);
            // white space between two of them is nobody else's
            let adjoins = first.is_some_and(|f| f < start) && text[done..start].trim().is_empty();
            bytes += end - if adjoins { done } else { start };
            done = end;
        }
        if !budget.spend(end - start) {
            break;
        }
    }
    first.map(|start| Found { calls, start, bytes })
}

/// Bounds of the text without the white space around it.
pub(super) fn trimmed(text: &str) -> (usize, usize) {
    let end = text.trim_end().len();
    (end - text[..end].trim_start().len(), end)
}

/// First byte at or after `pos` that is no white space.
pub(super) fn skip_space(text: &str, pos: usize) -> usize {
    text.len() - text[pos..].trim_start().len()
}

/// Where the answer begins: behind a `<think>` block at the start, if there is one.
pub(super) fn after_thinking(text: &str, start: usize) -> Result<usize, ParseFailure> {
    if !text[start..].starts_with("<think>") {
        return Ok(start);
    }
    match text[start..].find("</think>") {
        Some(at) => Ok(skip_space(text, start + at + "</think>".len())),
        None => failure(text.len(), "the text ends before </think>"),
    }
}

/// True for words that attempt no call: without bracket, brace or any of the markers.
pub(super) fn plain_words(text: &str, markers: &[&str]) -> bool {
    !text.contains(['{', '[']) && !markers.iter().any(|m| text.contains(m))
}
