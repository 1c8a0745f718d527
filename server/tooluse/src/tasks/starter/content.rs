//! Station *problem*, helper: the content files. In: the embedded TOML of tools, phrasings, value pools and chat; out: one
//! checked `Content`. Every mistake in a file is reported with file, tool and phrasing. Draws nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::check;
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

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum RawChoice {
    Said { value: Value, say: Vec<String> },
    Plain(Value),
}

impl RawChoice {
    fn resolve(self) -> Choice {
        match self {
            Self::Said { value, say } => Choice { value, say },
            Self::Plain(value) => Choice { say: vec![as_text(&value)], value },
        }
    }
}

/// A value as plain words.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParam {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    description: String,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    values: Vec<RawChoice>,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    decimals: Option<u32>,
    #[serde(default)]
    step: Option<i64>,
    #[serde(default)]
    default: Option<Value>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    say_true: Vec<String>,
    #[serde(default)]
    say_false: Vec<String>,
    #[serde(default)]
    items: Option<Kind>,
    #[serde(default)]
    min_items: Option<usize>,
    #[serde(default)]
    max_items: Option<usize>,
    #[serde(default)]
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTool {
    name: String,
    description: String,
    phrasings: Vec<String>,
    /// Tools that could serve this one's requests too: never offered beside it.
    #[serde(default)]
    overlaps: Vec<String>,
    #[serde(default)]
    params: Vec<RawParam>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDomain {
    domain: String,
    #[serde(default)]
    no_call: Vec<String>,
    #[serde(default)]
    tool: Vec<RawTool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChat {
    train: Vec<String>,
    held_out: Vec<String>,
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

/// Parse and check all files; what can be read is returned beside the list of mistakes.
pub(super) fn parse(domains: &[(&str, &str)], pools: (&str, &str), chat: (&str, &str)) -> (Content, Vec<ContentError>) {
    let mut errors = Vec::new();
    let pools: BTreeMap<String, Vec<Choice>> = read::<BTreeMap<String, Vec<RawChoice>>>(pools, &mut errors)
        .unwrap_or_default()
        .into_iter()
        .map(|(k, v)| (k, v.into_iter().map(RawChoice::resolve).collect()))
        .collect();
    let mut content = Content::default();
    for &(file, text) in domains {
        let Some(raw) = read::<RawDomain>((file, text), &mut errors) else { continue };
        let tools = raw.tool.into_iter().map(|t| tool(file, t, &pools, &mut errors)).collect();
        let no_call = lines(file, "no_call", &raw.no_call, &pools, &mut errors);
        content.domains.push(Domain { name: raw.domain, tools, no_call });
    }
    if let Some(raw) = read::<RawChat>(chat, &mut errors) {
        content.chat = [
            lines(chat.0, "train", &raw.train, &pools, &mut errors),
            lines(chat.0, "held_out", &raw.held_out, &pools, &mut errors),
        ];
    }
    check::across(&content, &mut errors);
    (content, errors)
}

fn read<T: for<'de> Deserialize<'de>>((file, text): (&str, &str), errors: &mut Vec<ContentError>) -> Option<T> {
    match toml::from_str(text) {
        Ok(v) => Some(v),
        Err(e) => {
            errors.push(ContentError { file: file.into(), at: "TOML".into(), what: e.to_string() });
            None
        }
    }
}

type Pools = BTreeMap<String, Vec<Choice>>;

fn tool(file: &str, raw: RawTool, pools: &Pools, errors: &mut Vec<ContentError>) -> ToolSpec {
    let mut complain = |at: String, what: String| errors.push(ContentError { file: file.into(), at, what });
    let mut params: Vec<Param> = Vec::new();
    for p in raw.params {
        let at = format!("{}.{}", raw.name, p.name);
        match param(p, &params, pools) {
            Ok(p) => params.push(p),
            Err(what) => complain(at, what),
        }
    }
    let mut phrasings = Vec::new();
    for (i, text) in raw.phrasings.iter().enumerate() {
        match Template::parse(text, |slot| params.iter().position(|p| p.name == slot)) {
            Ok(t) => phrasings.push(t),
            Err(what) => complain(format!("{} phrasing {} ({text:?})", raw.name, i + 1), what),
        }
    }
    let spec =
        ToolSpec { name: raw.name, description: raw.description, params, phrasings, overlaps: raw.overlaps };
    check::tool(file, &spec, errors);
    spec
}

fn param(raw: RawParam, before: &[Param], pools: &Pools) -> Result<Param, String> {
    let mut choices: Vec<Choice> = raw.values.into_iter().map(RawChoice::resolve).collect();
    if let Some(pool) = &raw.pool {
        choices.extend(pools.get(pool).ok_or_else(|| format!("unknown pool {pool:?}"))?.iter().cloned());
    }
    if raw.kind == Kind::Boolean {
        choices.extend([(true, raw.say_true), (false, raw.say_false)].into_iter().filter_map(|(value, say)| {
            (!say.is_empty()).then_some(Choice { value: Value::Bool(value), say })
        }));
    }
    let range = match (raw.min, raw.max) {
        (Some(min), Some(max)) => {
            let number = raw.kind == Kind::Number || raw.items == Some(Kind::Number);
            let decimals = if number { raw.decimals.unwrap_or(1) } else { 0 };
            let scale = 10_f64.powi(decimals as i32);
            let (least, most) = ((min * scale).round() as i64, (max * scale).round() as i64);
            Some(Range { least, most, step: raw.step.unwrap_or(1).max(1) * scale_of_step(raw.step, decimals), decimals })
        }
        _ => None,
    };
    let after = raw
        .after
        .map(|a| before.iter().position(|p| p.name == a).ok_or_else(|| format!("after: no earlier parameter {a:?}")))
        .transpose()?;
    Ok(Param {
        name: raw.name,
        kind: raw.kind,
        items: raw.items,
        description: raw.description,
        choices,
        range,
        optional: raw.optional || raw.default.is_some(),
        default: raw.default,
        count: (raw.min_items.unwrap_or(2), raw.max_items.unwrap_or(4)),
        after,
    })
}

/// A written step counts whole units, whatever the decimals.
fn scale_of_step(step: Option<i64>, decimals: u32) -> i64 {
    step.map_or(1, |_| 10_i64.pow(decimals))
}

fn lines(file: &str, key: &str, texts: &[String], pools: &Pools, errors: &mut Vec<ContentError>) -> Vec<Line> {
    let mut out = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let mut params: Vec<Param> = Vec::new();
        let template = Template::parse(text, |slot| {
            let choices = pools.get(slot)?.clone();
            params.push(Param {
                name: slot.to_owned(),
                kind: Kind::String,
                items: None,
                description: String::new(),
                choices,
                range: None,
                default: None,
                optional: false,
                count: (0, 0),
                after: None,
            });
            Some(params.len() - 1)
        });
        match template {
            Ok(template) => out.push(Line { params, template }),
            Err(what) => {
                errors.push(ContentError { file: file.into(), at: format!("{key} line {} ({text:?})", i + 1), what });
            }
        }
    }
    out
}
