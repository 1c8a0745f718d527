//! Station *problem*, helper: one problem. In: the content of a split and a stream of draws; out: request, offered tools,
//! expected calls and difficulty. The tools of the other split are out of its reach.

use serde_json::{Map, Value, json};
use whetstone_domain::problem::{Expected, ExpectedCall, Matcher, Message, Problem, Role, Tool};

use super::content::{Content, Domain, Kind, Line, Param, ToolSpec};
use super::draw::Draw;
use super::{dress, value};

/// Percent of problems whose right answer is no call.
const NO_CALL: usize = 12;
/// Percent of distractors from the domain of the request.
const NEAR: usize = 65;

/// What a split offers.
pub(super) struct Split<'a> {
    pub(super) domains: Vec<&'a Domain>,
    pub(super) chat: &'a [Line],
}

impl<'a> Split<'a> {
    /// The train or the held-out half of the content.
    pub(super) fn of(content: &'a Content, held_out: bool) -> Self {
        let domains = content.domains.iter().filter(|d| super::HELD_OUT.contains(&d.name.as_str()) == held_out).collect();
        Self { domains, chat: &content.chat[usize::from(held_out)] }
    }

    /// The problem whose draws are given; `None` only where the split has no tools.
    pub(super) fn problem(&self, id: String, draw: &mut Draw) -> Option<Problem> {
        let offered = 1 + draw.below(3);
        let no_call = draw.percent(NO_CALL);
        let (domain, tool) = self.any_tool(draw)?;
        let plan = if no_call { self.no_call(domain, tool, offered, draw)? } else { self.call(domain, tool, offered, draw)? };
        let Plan { domain, mut tools, request, expected, difficulty } = plan;
        draw.shuffle(&mut tools);
        Some(Problem {
            id,
            messages: vec![Message::new(Role::User, request)],
            tools: tools.into_iter().map(schema).collect(),
            expected,
            matcher: Matcher::Bfcl,
            domain: domain.name.clone(),
            difficulty,
            environment: None,
            answer: None,
        })
    }

    /// A problem whose right answer is no call.
    pub(super) fn without_call(&self, id: String, draw: &mut Draw) -> Option<Problem> {
        let offered = 1 + draw.below(3);
        let (domain, tool) = self.any_tool(draw)?;
        let Plan { domain, mut tools, request, expected, difficulty } = self.no_call(domain, tool, offered, draw)?;
        draw.shuffle(&mut tools);
        let (messages, tools) = (vec![Message::new(Role::User, request)], tools.into_iter().map(schema).collect());
        Some(Problem {
            id,
            messages,
            tools,
            expected,
            matcher: Matcher::Bfcl,
            domain: domain.name.clone(),
            difficulty,
            environment: None,
            answer: None,
        })
    }

    /// Adds tools up to `offered`, none that could serve a request for one of those asked for.
    pub(super) fn add_others(&self, tools: &mut Vec<ToolSpec>, offered: usize, domain: &Domain, asked: &[&ToolSpec], draw: &mut Draw) {
        for _ in 0..100 {
            if tools.len() >= offered {
                return;
            }
            let near: Option<&Domain> = if draw.percent(NEAR) { Some(domain) } else { draw.pick(&self.domains).copied() };
            let Some(tool) = near.and_then(|d| draw.pick(&d.tools)) else { continue };
            if !tools.iter().any(|t| t.name == tool.name) && !asked.iter().any(|a| overlap(a, tool)) {
                tools.push(tool.clone());
            }
        }
    }

    /// Any tool, each as likely as the others.
    pub(super) fn any_tool(&self, draw: &mut Draw) -> Option<(&'a Domain, &'a ToolSpec)> {
        let all: Vec<_> = self.domains.iter().flat_map(|d| d.tools.iter().map(move |t| (*d, t))).collect();
        draw.pick(&all).copied()
    }

    fn call(&self, domain: &'a Domain, tool: &'a ToolSpec, offered: usize, draw: &mut Draw) -> Option<Plan<'a>> {
        let Asked { request, values, normalised } = ask(tool, draw)?;
        let arguments = tool.params.iter().zip(&values).filter_map(|(p, v)| value::accepted(p, v.as_ref()).map(|a| (p.name.clone(), a)));
        let expected = Expected { calls: vec![ExpectedCall { name: tool.name.clone(), arguments: arguments.collect() }] };
        let mut tools = vec![tool];
        self.fill(&mut tools, offered, domain, Some(tool), draw);
        let mentioned = || tool.params.iter().zip(&values).filter(|(_, v)| v.is_some()).map(|(p, _)| p);
        let near = tools[1..].iter().any(|t| t.params.iter().any(|p| mentioned().any(|q| q.name == p.name)));
        let difficulty = if normalised || near || mentioned().any(|p| p.kind == Kind::Array) {
            3
        } else if tools.len() > 1 || mentioned().any(|p| p.optional) {
            2
        } else {
            1
        };
        Some(Plan { domain, tools, request, expected, difficulty })
    }

    /// A request that none of the offered tools serves: chat, a wish beyond the domain, or work for a tool of another domain.
    fn no_call(&self, domain: &'a Domain, tool: &'a ToolSpec, offered: usize, draw: &mut Draw) -> Option<Plan<'a>> {
        let kind = draw.below(100);
        let mut tools = Vec::new();
        let (request, difficulty) = if kind < 25 && !self.chat.is_empty() {
            self.fill(&mut tools, offered, domain, None, draw);
            (say(draw.pick(self.chat)?, draw), if tools.len() > 1 { 2 } else { 1 })
        } else if kind < 55 && !domain.no_call.is_empty() {
            let mut own: Vec<_> = domain.tools.iter().collect();
            draw.shuffle(&mut own);
            tools.extend(own.into_iter().take(offered));
            let line = draw.pick(&domain.no_call)?;
            let text = say(line, draw);
            (dress::dress(&line.template, text, draw), 3)
        } else {
            let strangers: Vec<_> = self.domains.iter().filter(|d| d.name != domain.name).copied().collect();
            let from = draw.pick(&strangers).copied()?;
            let asked = draw.pick(&from.tools)?;
            tools.extend((!overlap(tool, asked)).then_some(tool));
            let mut own: Vec<_> = domain.tools.iter().filter(|t| t.name != tool.name && !overlap(t, asked)).collect();
            draw.shuffle(&mut own);
            tools.extend(own.into_iter().take(offered.saturating_sub(tools.len())));
            (ask(asked, draw)?.request, 2)
        };
        Some(Plan { domain, tools, request, expected: Expected::default(), difficulty })
    }

    /// Add tools up to `offered`, none that could serve a request for `asked`.
    fn fill(&self, tools: &mut Vec<&'a ToolSpec>, offered: usize, domain: &'a Domain, asked: Option<&ToolSpec>, draw: &mut Draw) {
        for _ in 0..100 {
            if tools.len() >= offered {
                return;
            }
            let from = if tools.is_empty() || draw.percent(NEAR) { Some(&domain) } else { draw.pick(&self.domains) };
            let Some(tool) = from.and_then(|d| draw.pick(&d.tools)) else {
                continue;
            };
            if !tools.iter().any(|t| t.name == tool.name) && !asked.is_some_and(|a| overlap(a, tool)) {
                tools.push(tool);
            }
        }
    }
}

struct Plan<'a> {
    domain: &'a Domain,
    tools: Vec<&'a ToolSpec>,
    request: String,
    expected: Expected,
    difficulty: u8,
}

pub(super) struct Asked {
    pub(super) request: String,
    pub(super) values: Vec<Option<value::Drawn>>,
    pub(super) normalised: bool,
}

/// A request for the tool.
pub(super) fn ask(tool: &ToolSpec, draw: &mut Draw) -> Option<Asked> {
    let phrasing = draw.pick(&tool.phrasings)?;
    let values = value::draw_all(&tool.params, phrasing, draw);
    let words: Vec<String> = values.iter().map(|v| v.as_ref().map_or_else(String::new, |v| v.words.clone())).collect();
    let request = dress::dress(phrasing, phrasing.render(&words), draw);
    let normalised = values.iter().flatten().any(|v| v.normalised);
    Some(Asked { request, values, normalised })
}

/// A line that no tool serves, as it stands: "Good night. Thanks!" would be odd.
fn say(line: &Line, draw: &mut Draw) -> String {
    let words: Vec<String> = value::draw_all(&line.params, &line.template, draw).into_iter().flatten().map(|v| v.words).collect();
    line.template.render(&words)
}

/// True when one of the tools could serve the other's requests.
pub(super) fn overlap(a: &ToolSpec, b: &ToolSpec) -> bool {
    a.overlaps.contains(&b.name) || b.overlaps.contains(&a.name)
}

/// The tool as a problem offers it.
pub(super) fn schema(tool: &ToolSpec) -> Tool {
    let properties: Map<String, Value> = tool.params.iter().map(|p| (p.name.clone(), property(p))).collect();
    let required: Vec<&str> = tool.params.iter().filter(|p| !p.optional).map(|p| p.name.as_str()).collect();
    Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

fn property(param: &Param) -> Value {
    let name = |k: Kind| match k {
        Kind::String | Kind::Enum => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Array => "array",
    };
    let mut out = Map::new();
    let numbers = param.kind == Kind::Enum && param.choices.iter().all(|c| c.value.is_i64());
    out.insert("type".into(), Value::from(if numbers { "integer" } else { name(param.kind) }));
    out.insert("description".into(), Value::from(param.description.as_str()));
    let listed = || Value::Array(param.choices.iter().map(|c| c.value.clone()).collect());
    if param.kind == Kind::Enum {
        out.insert("enum".into(), listed());
    }
    if let (Kind::Array, Some(items)) = (param.kind, param.items) {
        let mut inner = json!({"type": name(items)});
        if items == Kind::Enum {
            inner["enum"] = listed();
        }
        out.insert("items".into(), inner);
    }
    if let Some(default) = &param.default {
        out.insert("default".into(), default.clone());
    }
    Value::Object(out)
}
