//! Station *problem*, helper: the content files. In: the embedded TOML of tools, phrasings, value pools and chat; out: one
//! checked `Content`. Draws nothing; reading the TOML is in `parse`.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::parse::{parse, parse_with};
use super::template::Template;

/// A mistake in a content file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {at}: {what}")]
pub(super) struct ContentError {
    /// File name.
    pub(super) file: String,
    /// Tool, phrasing or line.
    pub(super) at: String,
    /// What is wrong.
    pub(super) what: String,
}

/// A parameter's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Enum,
    Array,
}

/// A value with the words a request may use for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// What the call says.
    pub(super) value: Value,
    /// What the request says; never empty.
    pub(super) say: Vec<String>,
}

/// A value as plain words.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Numbers to draw from: `least + step * k` in units of 10^-decimals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) least: i64,
    pub(super) most: i64,
    pub(super) step: i64,
    pub(super) decimals: u32,
}

/// A parameter, ready to draw from.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Type of the items where `kind` is an array.
    pub(super) items: Option<Kind>,
    pub(super) description: String,
    /// Listed values (string, enum, boolean, array of them).
    pub(super) choices: Vec<Choice>,
    /// Range of numbers where nothing is listed.
    pub(super) range: Option<Range>,
    pub(super) default: Option<Value>,
    pub(super) optional: bool,
    /// Least and most items of an array.
    pub(super) count: (usize, usize),
    /// Index of a parameter whose value must be smaller (start and end).
    pub(super) after: Option<usize>,
}

/// A tool with the ways to ask for it.
#[derive(Debug, Clone)]
pub(super) struct ToolSpec {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) params: Vec<Param>,
    pub(super) phrasings: Vec<Template>,
    pub(super) overlaps: Vec<String>,
}

/// A request that no tool serves; its slots are drawn from pools.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) params: Vec<Param>,
    pub(super) template: Template,
}

/// A domain with its tools.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    pub(super) name: String,
    pub(super) tools: Vec<ToolSpec>,
    pub(super) no_call: Vec<Line>,
}

/// Everything the generator draws from.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) domains: Vec<Domain>,
    /// Chat of the training split and of the held-out one, no line in both.
    pub(super) chat: [Vec<Line>; 2],
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../starter/", $name)))),*]
    };
}

/// The embedded domain files.
pub(super) const DOMAIN_FILES: [(&str, &str); 13] = embedded![
    "calculation.toml",
    "date_time.toml",
    "unit_conversion.toml",
    "weather.toml",
    "calendar.toml",
    "messages.toml",
    "files.toml",
    "shop.toml",
    "travel.toml",
    "database.toml",
    "media.toml",
    "smart_home.toml",
    "health.toml",
];
pub(super) const POOLS: (&str, &str) = embedded!["pools.toml"][0];
pub(super) const CHAT: (&str, &str) = embedded!["chat.toml"][0];

/// The domain files of the wide set alone.
pub(super) const WIDE_FILES: [(&str, &str); 2] = embedded!["bookkeeping.toml", "delivery.toml"];

/// The content of the wide set, parsed once.
///
/// # Panics
/// When an embedded file is wrong, which is a programming error that the test `every_content_file_of_the_wide_set_loads` catches.
pub(super) fn wide_content() -> &'static Content {
    static CONTENT: LazyLock<Content> = LazyLock::new(|| {
        let (content, errors) = wide_parsed();
        assert!(errors.is_empty(), "embedded task content is wrong: {}", errors[0]);
        content
    });
    &CONTENT
}

/// The content of the wide set with its mistakes.
pub(super) fn wide_parsed() -> (Content, Vec<ContentError>) {
    let files: Vec<_> = DOMAIN_FILES.into_iter().chain(WIDE_FILES).collect();
    parse_with(&files, POOLS, CHAT, super::spoken::pools())
}

/// The embedded content, parsed once.
///
/// # Panics
/// When an embedded file is wrong, which is a programming error that the test `every_content_file_loads` catches.
pub(super) fn content() -> &'static Content {
    static CONTENT: LazyLock<Content> = LazyLock::new(|| {
        let (content, errors) = parse(&DOMAIN_FILES, POOLS, CHAT);
        assert!(errors.is_empty(), "embedded task content is wrong: {}", errors[0]);
        content
    });
    &CONTENT
}
