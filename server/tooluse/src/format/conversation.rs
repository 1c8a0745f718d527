//! Format `bare_json` where tools run: calls are JSON as ever, their results come back in a turn of the user, and the answer
//! is given in words.
//!
//! In: a problem with an environment, or results. Out: chat messages. Results are a user's turn because every chat template
//! has one, and a small base that never saw a tool's turn reads it.

use whetstone_domain::{Message, Problem, Role, ToolResult};

use super::bare_json;

const SYSTEM: &str = "You answer each request with the help of functions. Call one by writing JSON and nothing else; its result is \
                      then shown to you. When you know the answer, write only the answer, in words.";

/// A worked example: a call, another that needs its result, and the answer. Its tools occur in no task set.
const EXAMPLE: [(Role, &str); 6] = [
    (
        Role::User,
        "Function: {\"name\": \"count_treats\", \"arguments\": {\"jar\": string}} - Treats in a jar\n\
         Function: {\"name\": \"compute\", \"arguments\": {\"expression\": string}} - Arithmetic\n\
         Request: I take 5 treats from the red jar. How many are left in it?",
    ),
    (Role::Assistant, "{\"name\": \"count_treats\", \"arguments\": {\"jar\": \"red\"}}"),
    (Role::User, "Result: 31"),
    (Role::Assistant, "{\"name\": \"compute\", \"arguments\": {\"expression\": \"31 - 5\"}}"),
    (Role::User, "Result: 26"),
    (Role::Assistant, "26"),
];

/// See [`super::render`].
pub fn render(problem: &Problem) -> Vec<Message> {
    let mut messages = vec![Message::new(Role::System, SYSTEM)];
    messages.extend(EXAMPLE.map(|(role, text)| Message::new(role, text)));
    messages.push(Message::new(Role::User, bare_json::question(problem)));
    messages
}

/// See [`super::results`].
pub fn results(results: &[ToolResult]) -> Message {
    let lines: Vec<String> = results.iter().map(|r| format!("Result: {}", r.text)).collect();
    Message::new(Role::User, lines.join("\n"))
}
