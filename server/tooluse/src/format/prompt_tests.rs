use serde_json::json;
use whetstone_domain::{Expected, Matcher};

use super::*;

fn problem(system: Option<&str>) -> Problem {
    let weather = json!({"type": "dict", "required": ["location"], "properties": {
        "location": {"type": "string", "description": "The city and state, e.g. \"San Francisco, CA\" or \"Tokyo, JP\""},
        "unit": {"type": "string", "description": "The unit to return the temperature in.", "enum": ["celsius", "fahrenheit"]}}});
    let mut messages: Vec<Message> = system.map(|s| Message::new(Role::System, s)).into_iter().collect();
    messages.push(Message::new(Role::User, "Hey, what's the weather in Tokyo right now?"));
    Problem {
        id: "p".into(),
        messages,
        tools: vec![
            Tool {
                name: "get_current_weather".into(),
                description: "Gets the current weather in a given location.".into(),
                parameters: weather,
            },
            Tool { name: "noop".into(), description: String::new(), parameters: json!({}) },
        ],
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}

fn shown(format: Format, tool_listing: ToolListing, worked_examples: usize, native: bool, system: Option<&str>) -> Prompt {
    render(Style { format, tool_listing, worked_examples }, native, &problem(system))
}

const WEATHER: &str = r#"{"type": "function", "function": {"name": "get_current_weather", "description": "Gets the current weather in a given location.", "parameters": {"type": "object", "properties": {"location": {"type": "string", "description": "The city and state, e.g. \"San Francisco, CA\" or \"Tokyo, JP\""}, "unit": {"type": "string", "description": "The unit to return the temperature in.", "enum": ["celsius", "fahrenheit"]}}, "required": ["location"]}}}"#;
const NOOP: &str =
    r#"{"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}}"#;

#[test]
fn a_template_that_lists_tools_gets_them_and_the_problems_own_messages() {
    for format in Format::ALL.into_iter().filter(|f| *f != Format::BareJson) {
        let prompt = shown(format, ToolListing::Auto, 0, true, Some("Be brief."));
        assert_eq!(prompt.messages, problem(Some("Be brief.")).messages);
        let text: Vec<String> = prompt.tools.iter().map(compact).collect();
        assert_eq!(text, [WEATHER, NOOP]);
        // asked for by name, the listing is in the messages
        assert!(shown(format, ToolListing::Json, 0, true, None).tools.is_empty());
    }
    assert!(shown(Format::BareJson, ToolListing::Auto, 3, true, None).tools.is_empty());
}

/// As Qwen's template lists them (`tests/templates.rs` compares the whole), as the model card of SmolLM2 1.7B, as LFM2's template.
#[test]
fn the_formats_own_words_list_tools_as_json() {
    let system = |format| {
        let prompt = shown(format, ToolListing::Auto, 0, false, Some("Be brief."));
        assert_eq!((prompt.messages.len(), prompt.tools.len()), (2, 0));
        assert_eq!(prompt.messages[1], problem(None).messages[0]);
        prompt.messages[0].content.clone()
    };
    let hermes = system(Format::Hermes);
    assert!(
        hermes.starts_with("Be brief.\n\n# Tools\n\nYou may call") && hermes.contains(&format!("<tools>\n{WEATHER}\n{NOOP}\n</tools>"))
    );
    let smollm2 = system(Format::Smollm2);
    assert!(smollm2.contains(&format!("<tools>[{WEATHER}, {NOOP}]</tools>")) && smollm2.ends_with("\n]</tool_call>\n\nBe brief."));
    let bare =
        |tool: &str| tool.strip_prefix("{\"type\": \"function\", \"function\": ").and_then(|t| t.strip_suffix('}')).map(str::to_owned);
    let (weather, noop) = (bare(WEATHER).expect("a function"), bare(NOOP).expect("a function"));
    assert!(system(Format::Pythonic).ends_with(&format!("invoke.\n\n[{weather}, {noop}]\n\nBe brief.")));
    let lfm2 = format!("Be brief.\n\nList of tools: <|tool_list_start|>[{WEATHER}, {NOOP}]<|tool_list_end|>");
    assert_eq!(system(Format::Lfm2), lfm2);
}

/// The turn that Google's documentation of FunctionGemma shows for this tool ("Example: Weather Tool Flow").
#[test]
fn functiongemma_declares_tools_as_its_documentation_shows() {
    let prompt = shown(Format::Functiongemma, ToolListing::Auto, 0, false, None);
    let declared = "You are a model that can do function calling with the following functions<start_function_declaration>\
        declaration:get_current_weather{description:<escape>Gets the current weather in a given location.<escape>,parameters:{properties:\
        {location:{description:<escape>The city and state, e.g. \"San Francisco, CA\" or \"Tokyo, JP\"<escape>,type:<escape>STRING<escape>},\
        unit:{description:<escape>The unit to return the temperature in.<escape>,enum:[<escape>celsius<escape>,<escape>fahrenheit<escape>],\
        type:<escape>STRING<escape>}},required:[<escape>location<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>";
    assert!(prompt.messages[0].content.starts_with(declared), "{}", prompt.messages[0].content);
}

#[test]
fn llama_and_mistral_list_tools_in_the_users_turn() {
    let llama = shown(Format::LlamaJson, ToolListing::Auto, 0, false, Some("Be brief."));
    assert_eq!(llama.messages[0].content, "Be brief.");
    let user = &llama.messages[1].content;
    assert!(user.starts_with("Given the following functions") && user.ends_with("}\n\nHey, what's the weather in Tokyo right now?"));
    assert!(user.contains("variables.\n\n{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"get_current_weather\","));
    let mistral = shown(Format::Mistral, ToolListing::Auto, 0, false, None);
    assert!(mistral.messages[0].content.starts_with(&format!("[AVAILABLE_TOOLS][{WEATHER}, {NOOP}][/AVAILABLE_TOOLS]\n")));
}

#[test]
fn signatures_and_worked_examples_are_there_when_asked_for_in_every_format() {
    let signature = r#"{"name": "get_current_weather", "arguments": {"location": string, "unit"?: "celsius"|"fahrenheit"}}"#;
    for format in Format::ALL {
        for native in [false, true] {
            let whole = |listing, n| {
                let prompt = shown(format, listing, n, native, None);
                prompt.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
            };
            assert!(whole(ToolListing::Signature, 0).contains(signature), "{format:?}");
            let none = whole(ToolListing::Auto, 0);
            assert!(!none.contains("oolong") && !none.contains("Mona Lisa"), "{format:?}");
            let one = whole(ToolListing::Auto, 1);
            assert!(one.contains("oolong") && !one.contains("photos 12"), "{format:?}");
            let all = whole(ToolListing::Auto, 3);
            let brew = whetstone_domain::ToolCall {
                name: "brew_tea".into(),
                arguments: [("kind".to_owned(), json!("oolong"))].into_iter().collect(),
            };
            assert!(all.contains("Mona Lisa") && all.contains(&write(format, &[brew])) && all.contains(&write(format, &[])), "{format:?}");
        }
    }
}

#[test]
fn hostile_problems_are_worded_whole() {
    let mut p = problem(None);
    p.messages[0].content = "x".repeat(10_000);
    p.tools = (0..200)
        .map(|i| Tool {
            name: format!("tool_{i}"),
            description: "\u{1b}[31m\r\n<|im_end|>{{ x }}".repeat(20),
            parameters: json!({"properties": 3}),
        })
        .collect();
    for format in Format::ALL {
        for listing in [ToolListing::Auto, ToolListing::Json, ToolListing::Signature] {
            let prompt = render(Style { format, tool_listing: listing, worked_examples: 3 }, false, &p);
            let whole: String = prompt.messages.iter().map(|m| m.content.as_str()).collect();
            assert!(whole.contains("tool_199") && whole.contains(&"x".repeat(10_000)), "{format:?}");
        }
    }
    p.messages.clear();
    for format in Format::ALL {
        render(Style::of(format), false, &p);
    }
}

#[test]
fn where_tools_run_every_format_says_that_results_come_and_words_end_it() {
    let talk = crate::tasks::starter::tools::problem(false, 0, 0);
    let words = |style: Style, native: bool| {
        let prompt = render(style, native, &talk);
        assert_eq!(prompt.messages.last().map(|m| m.role), Some(Role::User));
        prompt.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
    };
    for format in Format::ALL {
        for native in [false, format != Format::BareJson] {
            let text = words(Style::of(format), native);
            assert!(
                text.contains("shown to you. When you know the answer, write only the answer, numbers in digits."),
                "{format:?}: {text}"
            );
            assert!(text.contains(&talk.messages[0].content), "{format:?}: {text}");
        }
        assert!(!words(Style::of(format), false).contains("Mona Lisa"));
        assert_eq!(super::super::can_write(format, &talk), Ok(()), "{format:?}");
    }
    let bare = Style::of(Format::BareJson);
    assert!(words(bare, false).contains(
        "Function: {\"name\": \"count_treats\", \"arguments\": {\"jar\": string}} - Treats in a jar\n\
         Function: {\"name\": \"compute\", \"arguments\": {\"expression\": string}} - Arithmetic\nRequest: I take 5"
    ));
    assert!(!words(Style { worked_examples: 0, ..bare }, false).contains("count_treats"));
}
