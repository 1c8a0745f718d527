//! Prompts where tools run: calls are written in the run's format as ever, their results come back, and the answer is given in words.
//!
//! In: a problem with an environment, or results. Out: chat messages. A model whose own template shows the turns of tools in the
//! run's format is shown them there; every other in a turn of the user, which every template has and a small base reads.

use serde_json::json;
use whetstone_domain::{Message, Problem, Role, Tool, ToolResult, config::Format};

use super::bare_json;

const SYSTEM: &str = "You answer each request with the help of functions. Call one by writing JSON and nothing else; its result is \
                      then shown to you. When you know the answer, write only the answer, numbers in digits.";

/// What the words of the other formats leave out.
pub(super) const NOTE: &str =
    "The result of each call is shown to you. When you know the answer, write only the answer, numbers in digits.";

/// The request of the worked example: a call, another that needs its result, and the answer.
const REQUEST: &str = "I take 5 treats from the red jar. How many are left in it?";

/// What follows it.
const EXAMPLE: [(Role, &str); 5] = [
    (Role::Assistant, "{\"name\": \"count_treats\", \"arguments\": {\"jar\": \"red\"}}"),
    (Role::User, "Result: 31"),
    (Role::Assistant, "{\"name\": \"compute\", \"arguments\": {\"expression\": \"31 - 5\"}}"),
    (Role::User, "Result: 26"),
    (Role::Assistant, "26"),
];

/// Tools of the worked example, which occur in no task set.
fn example_tools() -> [Tool; 2] {
    let tool = |name: &str, description: &str, argument: &str| Tool {
        name: name.into(),
        description: description.into(),
        parameters: json!({"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}),
    };
    [tool("count_treats", "Treats in a jar", "jar"), tool("compute", "Arithmetic", "expression")]
}

/// The prompt in `bare_json`, with its one worked example or without; `line` shows one tool.
pub(super) fn render(problem: &Problem, worked_example: bool, line: impl Fn(&Tool) -> String) -> Vec<Message> {
    let mut messages = vec![Message::new(Role::System, SYSTEM)];
    if worked_example {
        let listing: String = example_tools().iter().map(|t| format!("Function: {}\n", line(t))).collect();
        messages.push(Message::new(Role::User, format!("{listing}Request: {REQUEST}")));
        messages.extend(EXAMPLE.map(|(role, text)| Message::new(role, text)));
    }
    messages.push(Message::new(Role::User, bare_json::question(problem, line)));
    messages
}

/// See [`super::results`]. The tags are those in which the templates of Qwen2.5 and Qwen3 show a tool's turn.
pub(super) fn results(format: Format, native: bool, results: &[ToolResult]) -> Vec<Message> {
    if native {
        return results.iter().map(|r| Message::new(Role::Tool, &r.text)).collect();
    }
    let line = |r: &ToolResult| match format {
        Format::Hermes | Format::Smollm2 => format!("<tool_response>\n{}\n</tool_response>", r.text),
        _ => format!("Result: {}", r.text),
    };
    let lines: Vec<String> = results.iter().map(line).collect();
    vec![Message::new(Role::User, lines.join("\n"))]
}
