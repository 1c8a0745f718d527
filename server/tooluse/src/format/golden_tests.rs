//! Whole prompts and answers, checked by hand against what the models' makers publish. JSON is written on one line throughout; where a
//! document indents it, that is the document's.

use serde_json::{Map, Value, json};
use whetstone_domain::{Expected, Matcher, ToolCall, ToolResult};

use super::super::results;
use super::*;

fn problem(tool: (&str, &str, Value), request: &str) -> Problem {
    let (name, description, parameters) = tool;
    Problem {
        id: "p".into(),
        messages: vec![Message::new(Role::User, request)],
        tools: vec![Tool { name: name.into(), description: description.into(), parameters }],
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

fn call(name: &str, arguments: &[(&str, Value)]) -> ToolCall {
    let arguments: Map<String, Value> = arguments.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    ToolCall { name: name.into(), arguments }
}

/// The prompt in the format's own words is these turns, and these calls are this completion.
#[track_caller]
fn golden(format: Format, problem: &Problem, turns: &[(Role, &str)], calls: &[ToolCall], completion: &str) {
    let prompt = render(Style::of(format), false, problem);
    let shown: Vec<(Role, &str)> = prompt.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    assert_eq!(shown, turns);
    assert!(prompt.tools.is_empty());
    assert_eq!(write(format, calls), completion);
    assert_eq!(super::super::strict(format, completion).as_deref(), Ok(calls));
}

fn weather() -> Problem {
    let parameters = json!({"type": "object", "required": ["location"], "properties": {
        "location": {"type": "string", "description": "The city and state, e.g. \"San Francisco, CA\" or \"Tokyo, JP\""},
        "unit": {"type": "string", "description": "The unit to return the temperature in.", "enum": ["celsius", "fahrenheit"]}}});
    problem(
        ("get_current_weather", "Gets the current weather in a given location.", parameters),
        "Hey, what's the weather in Tokyo right now?",
    )
}

/// Model card of SmolLM2-1.7B-Instruct, "Function calling": its prompt, tool and first query. The card's tool also describes what it
/// returns, which tools here do not.
#[test]
fn smollm2_is_asked_as_its_model_card_asks() {
    let parameters = json!({"type": "object", "required": ["min", "max"], "properties": {
        "min": {"type": "integer", "description": "The minimum number."}, "max": {"type": "integer", "description": "The maximum number."}}});
    let asked = problem(
        ("get_random_number_between", "Gets a random number between min and max.", parameters),
        "Give me a number between 1 and 300",
    );
    let system = "You are an expert in composing functions. You are given a question and a set of possible functions. \n\
Based on the question, you will need to make one or more function/tool calls to achieve the purpose. \n\
If none of the functions can be used, point it out and refuse to answer. \n\
If the given question lacks the parameters required by the function, also point it out.\n\
\n\
You have access to the following tools:\n\
<tools>[{\"type\": \"function\", \"function\": {\"name\": \"get_random_number_between\", \"description\": \"Gets a random number between min \
and max.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"min\": {\"type\": \"integer\", \"description\": \"The minimum number.\"}, \
\"max\": {\"type\": \"integer\", \"description\": \"The maximum number.\"}}, \"required\": [\"min\", \"max\"]}}}]</tools>\n\
\n\
The output MUST strictly adhere to the following format, and NO other text MUST be included.\n\
The example format is as follows. Please make sure the parameter type is correct. If no function call is needed, please make the tool \
calls an empty list '[]'.\n\
<tool_call>[\n\
{\"name\": \"func_name1\", \"arguments\": {\"argument1\": \"value1\", \"argument2\": \"value2\"}},\n\
... (more tool calls as required)\n\
]</tool_call>";
    golden(
        Format::Smollm2,
        &asked,
        &[(Role::System, system), (Role::User, "Give me a number between 1 and 300")],
        &[call("get_random_number_between", &[("min", json!(1)), ("max", json!(300))])],
        "<tool_call>[{\"name\": \"get_random_number_between\", \"arguments\": {\"min\": 1, \"max\": 300}}]</tool_call>",
    );
    assert_eq!(write(Format::Smollm2, &[]), "<tool_call>[]</tool_call>");
    // the card shows no results; these are the tags of Qwen's templates
    let result = results(Format::Smollm2, false, &[ToolResult::ok("63")]);
    assert_eq!(result, [Message::new(Role::User, "<tool_response>\n63\n</tool_response>")]);
}

/// Llama 3.2's text prompt format, "Zero shot function calling": its prompt, tool, query and answer. Of the two kinds of quotes in
/// its answers, those of its end-to-end example are written; its type `dict` is JSON Schema's `object`.
#[test]
fn pythonic_is_asked_as_llamas_documentation_asks() {
    let parameters = json!({"type": "dict", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "The name of the city to get the weather for"},
        "metric": {"type": "string", "description": "The metric for weather. Options are: celsius, fahrenheit", "default": "celsius"}}});
    let asked = problem(("get_weather", "Get weather info for places", parameters), "What is the weather in SF and Seattle?");
    let system = "You are an expert in composing functions. You are given a question and a set of possible functions.\n\
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.\n\
If none of the function can be used, point it out. If the given question lacks the parameters required by the function,\n\
also point it out. You should only return the function call in tools call sections.\n\
\n\
If you decide to invoke any of the function(s), you MUST put it in the format of [func_name1(params_name1=params_value1, \
params_name2=params_value2...), func_name2(params)]\n\
You SHOULD NOT include any other text in the response.\n\
\n\
Here is a list of functions in JSON format that you can invoke.\n\
\n\
[{\"name\": \"get_weather\", \"description\": \"Get weather info for places\", \"parameters\": {\"type\": \"object\", \"properties\": \
{\"city\": {\"type\": \"string\", \"description\": \"The name of the city to get the weather for\"}, \"metric\": {\"type\": \"string\", \
\"description\": \"The metric for weather. Options are: celsius, fahrenheit\", \"default\": \"celsius\"}}, \"required\": [\"city\"]}}]";
    let of = |city: &str| call("get_weather", &[("city", json!(city)), ("metric", json!("celsius"))]);
    golden(
        Format::Pythonic,
        &asked,
        &[(Role::System, system), (Role::User, "What is the weather in SF and Seattle?")],
        &[of("San Francisco"), of("Seattle")],
        "[get_weather(city=\"San Francisco\", metric=\"celsius\"), get_weather(city=\"Seattle\", metric=\"celsius\")]",
    );
    let quoted = "[get_weather(city='San Francisco', metric='celsius'), get_weather(city='Seattle', metric='celsius')]";
    assert_eq!(super::super::strict(Format::Pythonic, quoted), Ok(vec![of("San Francisco"), of("Seattle")]));
}

/// Chat template of Mistral Nemo Instruct (that of Mistral 7B Instruct v0.3 has a space behind the markers, which is read as well). The
/// template puts the list in front of the last request's `[INST]`; messages of ours end up behind it, with a sentence on the answer.
#[test]
fn mistral_is_shown_the_list_of_its_template() {
    let user = "[AVAILABLE_TOOLS][{\"type\": \"function\", \"function\": {\"name\": \"get_current_weather\", \"description\": \"Gets the current \
weather in a given location.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"location\": {\"type\": \"string\", \"description\": \
\"The city and state, e.g. \\\"San Francisco, CA\\\" or \\\"Tokyo, JP\\\"\"}, \"unit\": {\"type\": \"string\", \"description\": \"The unit to \
return the temperature in.\", \"enum\": [\"celsius\", \"fahrenheit\"]}}, \"required\": [\"location\"]}}}][/AVAILABLE_TOOLS]\n\
To call functions, answer only with [TOOL_CALLS][{\"name\": function name, \"arguments\": object}, ...].\n\
\n\
Hey, what's the weather in Tokyo right now?";
    let calls = [call("get_current_weather", &[("location", json!("Tokyo, JP"))])];
    golden(
        Format::Mistral,
        &weather(),
        &[(Role::User, user)],
        &calls,
        "[TOOL_CALLS][{\"name\": \"get_current_weather\", \"arguments\": {\"location\": \"Tokyo, JP\"}}]",
    );
    let documented =
        "[TOOL_CALLS] [{\"name\": \"get_current_weather\", \"arguments\": {\"location\": \"Tokyo, JP\"}, \"id\": \"VvvODy9mT\"}]";
    assert_eq!(super::super::strict(Format::Mistral, documented).as_deref(), Ok(&calls[..]));
}

/// Google's "FunctionGemma formatting and best practices", the weather tool flow: its tool, request and call. The developer's turn
/// of the document is the system message here, as the model's template has it.
#[test]
fn functiongemma_is_asked_as_its_documentation_asks() {
    let system = "You are a model that can do function calling with the following functions<start_function_declaration>\
declaration:get_current_weather{description:<escape>Gets the current weather in a given location.<escape>,parameters:{properties:{location:\
{description:<escape>The city and state, e.g. \"San Francisco, CA\" or \"Tokyo, JP\"<escape>,type:<escape>STRING<escape>},unit:{description:\
<escape>The unit to return the temperature in.<escape>,enum:[<escape>celsius<escape>,<escape>fahrenheit<escape>],type:<escape>STRING<escape>}},\
required:[<escape>location<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>";
    golden(
        Format::Functiongemma,
        &weather(),
        &[(Role::System, system), (Role::User, "Hey, what's the weather in Tokyo right now?")],
        &[call("get_current_weather", &[("location", json!("Tokyo, Japan"))])],
        "<start_function_call>call:get_current_weather{location:<escape>Tokyo, Japan<escape>}<end_function_call>",
    );
}

/// Our own format: the paper's bare JSON (arXiv 2509.04518), tools as signatures, three worked examples.
#[test]
fn bare_json_shows_three_examples_and_then_the_problem() {
    let turns = [
        (Role::System, "You translate each request into one function call, written as JSON. If no function fits, answer []."),
        (
            Role::User,
            "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
             Request: Who painted the Mona Lisa?",
        ),
        (Role::Assistant, "[]"),
        (
            Role::User,
            "Function: {\"name\": \"feed_cat\", \"arguments\": {\"grams\": integer}} - Feed the cat\n\
             Function: {\"name\": \"photos.tag\", \"arguments\": {\"ids\": integer[], \"tag\": string, \"album\"?: \"private\"|\"shared\", \
             \"taken\"?: string}} - Tag photos\n\
             Request: Tag photos 12 and 40 from May 3, 2025 as sunset.",
        ),
        (Role::Assistant, "{\"name\": \"photos.tag\", \"arguments\": {\"ids\": [12, 40], \"tag\": \"sunset\", \"taken\": \"2025-05-03\"}}"),
        (
            Role::User,
            "Function: {\"name\": \"brew_tea\", \"arguments\": {\"kind\": string, \"cups\"?: integer = 1}} - Brew tea\n\
             Request: I would like some oolong, please.",
        ),
        (Role::Assistant, "{\"name\": \"brew_tea\", \"arguments\": {\"kind\": \"oolong\"}}"),
        (
            Role::User,
            "Function: {\"name\": \"get_current_weather\", \"arguments\": {\"location\": string, \"unit\"?: \"celsius\"|\"fahrenheit\"}} - \
             Gets the current weather in a given location\n\
             Request: Hey, what's the weather in Tokyo right now?",
        ),
    ];
    let calls = [call("get_current_weather", &[("location", json!("Tokyo, JP"))])];
    golden(
        Format::BareJson,
        &weather(),
        &turns,
        &calls,
        "{\"name\": \"get_current_weather\", \"arguments\": {\"location\": \"Tokyo, JP\"}}",
    );
    let result = results(Format::BareJson, false, &[ToolResult::ok("15"), ToolResult::ok("sunny")]);
    assert_eq!(result, [Message::new(Role::User, "Result: 15\nResult: sunny")]);
}
