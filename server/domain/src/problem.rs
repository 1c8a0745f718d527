//! Station *problem*: one prompt with the tools it offers and the calls that would answer it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Environment, ExpectedAnswer};

/// Who speaks in a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The request.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A tool that a problem offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The name a call must use, byte for byte.
    pub name: String,
    /// One sentence on what it does.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the arguments object, or BFCL's Python-flavoured variant of it
    /// (`{"type": "object"|"dict", "properties": {...}, "required": [...]}`); key order is kept.
    #[serde(default)]
    pub parameters: Value,
}

/// A call as a model made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Name of the tool.
    pub name: String,
    /// Arguments by parameter name, in the order they were written.
    pub arguments: Map<String, Value>,
}

/// The values that count as right for one argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Any of these is right. BFCL's lists are kept as they are, with `""` standing for "may be omitted".
    pub values: Vec<Value>,
    /// The argument may be left out.
    #[serde(default)]
    pub optional: bool,
}

/// A call that would be right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectedCall {
    /// Name of the tool.
    pub name: String,
    /// Accepted values by parameter name, in the order of the source.
    pub arguments: Vec<(String, Accepted)>,
}

impl ExpectedCall {
    /// The call that spells the first accepted value of every argument that may not be left out.
    pub fn canonical(&self) -> ToolCall {
        let arguments = self
            .arguments
            .iter()
            .filter(|(_, a)| !a.optional)
            .filter_map(|(k, a)| a.values.first().map(|v| (k.clone(), v.clone())))
            .collect();
        ToolCall { name: self.name.clone(), arguments }
    }
}

/// The calls that answer a problem, all of them, in any order; empty when the right answer is no call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Expected {
    /// The calls.
    pub calls: Vec<ExpectedCall>,
}

impl Expected {
    /// True when the right answer is to call nothing.
    pub fn is_no_call(&self) -> bool {
        self.calls.is_empty()
    }
}

/// The rule by which a task set decides that calls are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// BFCL's AST rules with possible answers, for categories of one call (`simple_*`, `multiple`), parallel ones
    /// (unordered, equal counts) and no call. Also the rule of the starter set.
    Bfcl,
    /// BFCL's rule for `irrelevance`: right when nothing decodes or no call is made, garbage included.
    BfclIrrelevance,
    /// Names and arguments equal as JSON to accepted values (the paper's rule), in any order.
    Exact,
}

/// One prompt with its tools and its expected answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within its task set, and stable.
    pub id: String,
    /// The conversation so far: a user request, sometimes with a system line of its own.
    pub messages: Vec<Message>,
    /// Tools offered, in the order they are shown.
    pub tools: Vec<Tool>,
    /// The right answer.
    pub expected: Expected,
    /// How right is decided.
    pub matcher: Matcher,
    /// Domain of the tools (starter set), or the category of the source; empty when unknown.
    #[serde(default)]
    pub domain: String,
    /// 0 = unknown, 1 = easiest.
    #[serde(default)]
    pub difficulty: u8,
    /// Tools that run while the problem is worked on; none where calls are only written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// How the conversation must end, in words, after the expected calls were made in their order; none where the calls are
    /// the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ExpectedAnswer>,
}

impl Problem {
    /// True when it is worked on in several turns: tools run, and the answer is given in words.
    pub fn is_conversation(&self) -> bool {
        self.environment.is_some() && self.answer.is_some()
    }
}
