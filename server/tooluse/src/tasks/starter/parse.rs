//! Station *problem*, helper: reading the content files. In: TOML text; out: `Content` and every mistake with file, tool and
//! phrasing. The rules of the content are in `check`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::check;
use super::content::{Choice, Content, ContentError, Domain, Kind, Line, Param, Range, ToolSpec, as_text};
use super::template::Template;

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

/// Parse and check all files; what can be read is returned beside the list of mistakes.
pub(super) fn parse(domains: &[(&str, &str)], pools: (&str, &str), chat: (&str, &str)) -> (Content, Vec<ContentError>) {
    parse_with(domains, pools, chat, BTreeMap::new())
}

/// [`parse`], with pools that are made rather than written.
pub(super) fn parse_with(
    domains: &[(&str, &str)],
    pools: (&str, &str),
    chat: (&str, &str),
    made: BTreeMap<String, Vec<Choice>>,
) -> (Content, Vec<ContentError>) {
    let mut errors = Vec::new();
    let mut pools: BTreeMap<String, Vec<Choice>> = read::<BTreeMap<String, Vec<RawChoice>>>(pools, &mut errors)
        .unwrap_or_default()
        .into_iter()
        .map(|(k, v)| (k, v.into_iter().map(RawChoice::resolve).collect()))
        .collect();
    pools.extend(made);
    let mut content = Content::default();
    for &(file, text) in domains {
        let Some(raw) = read::<RawDomain>((file, text), &mut errors) else {
            continue;
        };
        let tools = raw.tool.into_iter().map(|t| tool(file, t, &pools, &mut errors)).collect();
        let no_call = lines(file, "no_call", &raw.no_call, &pools, &mut errors);
        content.domains.push(Domain { name: raw.domain, tools, no_call });
    }
    if let Some(raw) = read::<RawChat>(chat, &mut errors) {
        content.chat =
            [lines(chat.0, "train", &raw.train, &pools, &mut errors), lines(chat.0, "held_out", &raw.held_out, &pools, &mut errors)];
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
    let spec = ToolSpec { name: raw.name, description: raw.description, params, phrasings, overlaps: raw.overlaps };
    check::tool(file, &spec, errors);
    spec
}

fn param(raw: RawParam, before: &[Param], pools: &Pools) -> Result<Param, String> {
    let mut choices: Vec<Choice> = raw.values.into_iter().map(RawChoice::resolve).collect();
    if let Some(pool) = &raw.pool {
        choices.extend(pools.get(pool).ok_or_else(|| format!("unknown pool {pool:?}"))?.iter().cloned());
    }
    if raw.kind == Kind::Boolean {
        choices.extend(
            [(true, raw.say_true), (false, raw.say_false)]
                .into_iter()
                .filter_map(|(value, say)| (!say.is_empty()).then_some(Choice { value: Value::Bool(value), say })),
        );
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
