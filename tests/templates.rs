//! Prompts with tools are transformers' own, byte for byte, for the chat templates that TRL's wheel carries.
//!
//! Templates come from the wheel, by pip; strings are those that `tests/golden/templates.py` stored.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use whetstone_domain::config::{Format, ToolListing};
use whetstone_domain::{Expected, Matcher, Message, Problem, Role, Tool, ToolFailure, ToolResult};
use whetstone_model::chat::ChatTemplate;
use whetstone_tooluse::format::{Style, function, render, results, speaks};

#[derive(Deserialize)]
struct Stored {
    tools: Vec<Value>,
    chats: std::collections::BTreeMap<String, Vec<Value>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    chat: String,
    tools: bool,
    add_generation_prompt: bool,
    text: String,
}

/// The folder of TRL's chat templates, in a wheel that pip fetches; it goes with the returned guard.
fn templates() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let python = |args: &[&str]| {
        let out = Command::new("python3").args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "trl==1.16.0"]);
    python(&["-m", "zipfile", "-e", "trl-1.16.0-py3-none-any.whl", "."]);
    let path = dir.path().join("trl/chat_templates");
    (dir, path)
}

#[test]
fn prompts_with_tools_are_byte_for_byte_those_of_transformers() {
    let stored: Stored = serde_json::from_str(include_str!("fixtures/templates.json")).unwrap();
    let (_guard, folder) = templates();
    let template = |name: &str| {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        ChatTemplate::new(&source, "<bos>", "<eos>").unwrap()
    };
    let mut wrong = Vec::new();
    for case in &stored.cases {
        let tools: &[Value] = if case.tools { &stored.tools } else { &[] };
        match template(&case.template).render_json(&stored.chats[&case.chat], tools, case.add_generation_prompt) {
            Ok(text) if text == case.text => {}
            Ok(text) => wrong.push(format!("{} {} {}:\n{text}\nshould be\n{}", case.template, case.chat, case.tools, case.text)),
            Err(e) => wrong.push(format!("{} {} {}: {e}", case.template, case.chat, case.tools)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), stored.cases.len(), wrong.join("\n\n"));

    // a problem's tools reach the template in the form that transformers was given
    let problem = problem(&stored);
    assert_eq!(problem.tools.iter().map(function).collect::<Vec<_>>(), stored.tools);
    for (name, format) in [("qwen2_5", Format::Hermes), ("qwen3", Format::Hermes), ("llama3_2", Format::LlamaJson), ("lfm2", Format::Lfm2)]
    {
        let template = template(name);
        assert!(template.lists_tools() && speaks(format, template.source()), "{name}");
        for other in Format::ALL.into_iter().filter(|f| *f != format) {
            assert!(!speaks(other, template.source()), "{name} {other:?}");
        }
        let prompt = render(Style::of(format), true, &problem);
        let text = template.render_with_tools(&prompt.messages, &prompt.tools, false).unwrap();
        let case = stored.cases.iter().find(|c| c.template == name && c.chat == "system_user" && c.tools).unwrap();
        assert_eq!(text, case.text, "{name}");
        // the format's own words list them as the template does
        let words = render(Style { tool_listing: ToolListing::Json, ..Style::of(format) }, false, &problem);
        if format != Format::LlamaJson || name == "llama3_2" {
            let text = template.render_with_tools(&words.messages, &[], false).unwrap();
            let (expected, text) = match format {
                // what only a template with tools says
                Format::LlamaJson => (case.text.replace("Environment: ipython\n", ""), text.replace("0.00001", "1e-05")),
                // a line end, not an empty line, before the list
                Format::Lfm2 => (case.text.clone(), text.replace("\n\nList of tools", "\nList of tools").replace("0.00001", "1e-05")),
                // our own JSON writes small floats plainly
                _ => (case.text.clone(), text.replace("0.00001", "1e-05")),
            };
            assert_eq!(text, expected, "{name}");
        }
    }
    // what tools gave is shown in the model's own form
    let given = [ToolResult::ok("10:04, \"Göschenen\""), ToolResult::failed(ToolFailure::Failed, "no such train")];
    for (name, format) in [("qwen2_5", Format::Hermes), ("qwen3", Format::Hermes), ("llama3_2", Format::LlamaJson), ("lfm2", Format::Lfm2)]
    {
        let template = template(name);
        assert!(template.shows_tool_turns(), "{name}");
        let case = stored.cases.iter().find(|c| c.template == name && c.chat == "results" && !c.tools).unwrap();
        let (_, after) = case.text.split_once("The calls").unwrap();
        assert_eq!(template.between(&results(format, true, &given)).unwrap(), after, "{name}");
    }
    // templates that know no tools are told so
    assert!(!template("llama3").lists_tools() && !template("gemma").lists_tools());
}

fn problem(stored: &Stored) -> Problem {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let tool = |t: &Value| {
        let f = &t["function"];
        Tool { name: text(&f["name"]), description: text(&f["description"]), parameters: f["parameters"].clone() }
    };
    Problem {
        id: "p".into(),
        messages: vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "<Next> train & bus?")],
        tools: stored.tools.iter().map(tool).collect(),
        expected: Expected::default(),
        matcher: Matcher::Bfcl,
        domain: String::new(),
        difficulty: 0,
        environment: None,
        answer: None,
    }
}
