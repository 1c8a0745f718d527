use serde_json::{Value, json};

use crate::matching;
use crate::tasks::{LoadOptions, TaskSet, load};

fn load_rows(rows: &[Value]) -> TaskSet {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), rows.iter().map(|r| format!("{r}\n")).collect::<String>()).expect("written");
    load(&format!("file:{}", file.path().display()), &LoadOptions::default()).expect("a good row")
}

#[track_caller]
fn refused(set: &TaskSet) -> Vec<(usize, &str, &str)> {
    set.refused.iter().map(|r| (r.line, r.field.as_str(), r.reason.as_str())).collect()
}

/// Names, arguments, and which of them may be left out.
fn calls(set: &TaskSet, i: usize) -> Value {
    let call = |c: &whetstone_domain::ExpectedCall| {
        let arguments = c.arguments.iter().map(|(k, a)| (k.clone(), json!([a.values[0], a.optional])));
        json!({"name": c.name, "arguments": arguments.collect::<serde_json::Map<_, _>>()})
    };
    set.problems[i].expected.calls.iter().map(call).collect()
}

fn solvable(set: &TaskSet) {
    for p in &set.problems {
        assert!(matching::matches(p, &matching::canonical(p)), "{}", p.id);
    }
}

fn openai(turns: Value) -> Value {
    let function = json!({"name": "get_weather", "description": "Weather", "parameters": {"type": "object", "required": ["city"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}}});
    json!({"messages": turns, "tools": [{"type": "function", "function": function}]})
}

#[test]
fn openai_rows_load_and_the_last_turn_is_the_expected_answer() {
    let user = json!({"role": "user", "content": "Weather in Oslo?"});
    let call = |arguments: Value| {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
        "function": {"name": "get_weather", "arguments": arguments}}]})
    };
    let result = json!({"role": "tool", "tool_call_id": "c1", "content": "rain"});
    let set = load_rows(&[
        openai(json!([{"role": "developer", "content": "Be brief."}, user, call(json!("{\"city\": \"Oslo\", \"days\": 1}"))])),
        openai(json!([user, call(json!({"city": "Oslo"})), result, user, {"role": "assistant", "content": "It rains."}])),
        openai(json!([user, call(json!("{\"city\": "))])),
        openai(json!([user])),
        openai(json!([user, call(json!({"city": 7}))])),
        openai(json!([{"role": "robot", "content": ""}, call(json!({}))])),
    ]);
    assert_eq!(set.problems.len(), 2);
    assert_eq!(set.problems[0].id, "line-1");
    // the default may be left out, the required argument may not
    assert_eq!(calls(&set, 0), json!([{"name": "get_weather", "arguments": {"city": ["Oslo", false], "days": [1, true]}}]));
    assert!(set.problems[1].expected.is_no_call() && set.problems[1].messages.len() == 4);
    let found = refused(&set);
    let at = "messages[1].tool_calls[0]";
    assert_eq!(
        found.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>(),
        [
            (3, format!("{at}.function.arguments").as_str()),
            (4, "messages"),
            (5, format!("{at}.arguments.city").as_str()),
            (6, "messages[0].role")
        ]
    );
    assert!(found[1].2.contains("must end with the assistant's turn") && found[2].2.contains("breaks the tool's schema"));
    solvable(&set);
}

#[test]
fn an_openai_call_is_the_expected_one_wherever_it_stands_and_never_taken_for_a_refusal() {
    let user = json!({"role": "user", "content": "Weather in Oslo?"});
    let ends = |turn: Value| openai(json!([user, turn]));
    let said = |content: &str| ends(json!({"role": "assistant", "content": content}));
    let older =
        json!({"role": "assistant", "content": null, "function_call": {"name": "get_weather", "arguments": "{\"city\": \"Oslo\"}"}});
    let mut listed = ends(older.clone());
    let tool = listed["tools"][0]["function"].clone();
    listed["functions"] = json!([tool]);
    listed.as_object_mut().expect("a row").remove("tools");
    let called = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}";
    let set = load_rows(&[
        ends(older),
        listed,
        said("No tool does that. See [1] and {x}, or ask f(a=1)."),
        ends(json!({"role": "assistant", "tool_calls": []})),
        ends(json!({"role": "assistant", "content": null, "refusal": "I may not."})),
        said(called),
        said(&format!("<tool_call>\n{called}\n</tool_call>")),
        said("Let me see: [get_weather(city='Oslo')]"),
        ends(json!({"role": "assistant", "content": [{"type": "text", "text": called}], "tool_calls": []})),
        ends(json!({"role": "assistant"})),
        ends(json!({"role": "assistant", "content": " ", "tool_calls": null})),
        ends(json!({"role": "assistant", "function_call": {"name": "get_weather", "arguments": "{\"city\": 7}"}})),
        ends(json!({"role": "assistant", "function_call": "get_weather"})),
    ]);
    assert_eq!(set.problems.len(), 5);
    let one = json!([{"name": "get_weather", "arguments": {"city": ["Oslo", false]}}]);
    assert_eq!([calls(&set, 0), calls(&set, 1)], [one.clone(), one]);
    assert!(set.problems[2..].iter().all(|p| p.expected.is_no_call()));
    let found = refused(&set);
    assert!(found[..4].iter().all(|(_, field, reason)| {
        *field == "messages[1].content" && reason.contains("\"get_weather\"") && reason.contains("put it into tool_calls")
    }));
    assert!(found[4..6].iter().all(|(_, field, reason)| *field == "messages[1]" && reason.contains("says nothing")), "{found:?}");
    let fields: Vec<&str> = found[6..].iter().map(|f| f.1).collect();
    assert_eq!(fields, ["messages[1].function_call.arguments.city", "messages[1].function_call"]);
    solvable(&set);
}

#[test]
fn an_openai_trace_of_several_turns_is_refused_for_what_it_is() {
    let user = json!({"role": "user", "content": "Weather in Oslo and Rome?"});
    let call =
        json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]});
    let result = json!({"role": "tool", "tool_call_id": "c1", "content": "rain"});
    let words = json!({"role": "assistant", "content": "It rains."});
    let function = json!({"role": "function", "name": "get_weather", "content": "rain"});
    let set = load_rows(&[
        openai(json!([user, call, result])),
        openai(json!([user, call, result, words])),
        openai(json!([user, call, result, call])),
        openai(json!([user, call, function, words])),
        openai(json!([user, call, result, call, result, words])),
        openai(json!([user, words, call])),
        openai(json!([user, call])),
    ]);
    assert_eq!(set.problems.len(), 1);
    let found = refused(&set);
    let result = |at: usize| (at, "is a tool's result", "messages[1]");
    let expected = [
        (2, "is a tool's result", "take out what follows"),
        result(2),
        result(2),
        result(2),
        result(4),
        (1, "a turn of the assistant", "join"),
    ];
    assert_eq!(found.len(), expected.len());
    for ((line, field, reason), (at, what, todo)) in found.into_iter().zip(expected) {
        assert!(field == format!("messages[{at}]") && reason.contains(what) && reason.contains(todo), "{line}, {field}: {reason}");
    }
}

#[test]
fn xlam_and_hammer_rows_load_with_their_python_types() {
    let tools = json!([{"name": "search", "description": "Search", "parameters": {
        "q": {"description": "Query", "type": "str"},
        "limit": {"description": "Most", "type": "int, optional", "default": "10"},
        "ids": {"description": "Ids", "type": "List[int]", "default": ""},
        "what": {"description": "Anything", "type": "Callable[[str], bool]", "default": ""}}}]);
    let row = |answers: Value| json!({"id": 7, "query": "Find rust, ten hits", "tools": tools.to_string(), "answers": answers.to_string()});
    let mut hammer = row(json!([]));
    hammer["id"] = json!("none");
    hammer["tools"] = tools.clone();
    let mut broken = row(json!([]));
    broken["answers"] = json!("[{");
    let mut typed = row(json!([{"name": "search", "arguments": {"q": "rust", "ids": ["a"]}}]));
    typed["id"] = json!("typed");
    let mut short = row(json!([{"name": "search", "arguments": {"limit": 10}}]));
    short["id"] = json!("short");
    let set = load_rows(&[
        row(
            json!([{"name": "search", "arguments": {"q": "rust", "limit": 10, "ids": [1, 2], "what": {"a": 1}}}, {"name": "search", "arguments": {"q": "go"}}]),
        ),
        hammer,
        broken,
        typed,
        short,
    ]);
    let parameters = &set.problems[0].tools[0].parameters["properties"];
    assert_eq!([&parameters["q"]["type"], &parameters["limit"]["type"], &parameters["ids"]["type"]], ["string", "integer", "array"]);
    assert!(parameters["ids"]["items"]["type"] == "integer" && parameters["what"].get("type").is_none());
    assert_eq!(set.problems[0].tools[0].parameters["required"], json!(["q"]), "all that has no default");
    assert_eq!(calls(&set, 0)[0]["arguments"]["limit"], json!([10, true]), "the default, a string there, may be left out");
    assert!(set.problems[1].expected.is_no_call());
    let found = refused(&set);
    let fields: Vec<_> = found.iter().map(|f| (f.0, f.1)).collect();
    assert_eq!(fields, [(3, "answers"), (4, "answers[0].arguments.ids"), (5, "answers[0].arguments.q")]);
    assert!(found[2].2.contains("is required by the tool"), "{found:?}");
    solvable(&set);
}

#[test]
fn seal_rows_load_with_the_tools_that_the_file_calls() {
    let row = |id: &str, calling: Value| json!({"id": id, "query": "q", "calling": calling});
    let call = |api: &str, parameters: Value| json!({"api": api, "parameters": parameters, "responses": []});
    let set = load_rows(&[
        row("a", json!([call("getA", json!({"x": 1, "y": "s"}))])),
        row("b", json!([call("getB", json!({})), call("getA", json!({"x": 1.5}))])),
        row("c", json!([call("getC", json!({"z": "API_call_0"}))])),
        row("d", json!([call("getD", json!({"z": "1"}))])),
        row("e", json!([call("getD", json!({"z": 1}))])),
        row("f", json!({"api": "x"})),
    ]);
    assert_eq!(set.problems.len(), 4);
    let tools: Vec<&str> = set.problems[0].tools.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(tools, ["getA", "getC", "getD"], "the called one and two others of the file");
    let a = &set.problems[0].tools[0].parameters["properties"];
    assert_eq!((&a["x"]["type"], &a["y"]["type"]), (&json!("number"), &json!("string")));
    assert!(set.problems[3].tools.iter().any(|t| t.name == "getD" && t.parameters["properties"]["z"].get("type").is_none()));
    let found = refused(&set);
    assert_eq!(found.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>(), [(3, "calling[0].parameters"), (6, "calling")]);
    assert!(found[0].2.contains("result of an earlier call"));
    solvable(&set);
}

#[test]
fn a_format_can_be_named_and_a_wrong_one_is_refused_row_by_row() {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(
        file.path(),
        format!("{}\n", openai(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "No."}]))),
    )
    .expect("written");
    let at = |format: &str| load(&format!("file:{}#format={format}", file.path().display()), &LoadOptions::default());
    assert_eq!(at("openai").expect("right").problems.len(), 1);
    assert!(at("xlam").expect_err("wrong").to_string().contains("line 1, field answers"));
}

#[test]
fn a_broken_schema_of_an_openai_row_is_refused_with_its_place() {
    let row = |parameters: Value| {
        let turns = json!([{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "Where?"}]);
        json!({"messages": turns, "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]})
    };
    let a = |property: Value| json!({"type": "object", "properties": {"a": property}});
    let set = load_rows(&[
        row(a(json!({"type": "str"}))),
        row(json!({"type": "object", "properties": 5})),
        row(json!({"properties": "none"})),
        row(json!({"type": "object", "additionalProperties": "no"})),
        row(a(json!({"type": "strng"}))),
        row(a(json!({"type": "array", "items": "string"}))),
    ]);
    assert_eq!(set.problems.len(), 1);
    let at = |rest: &str| format!("tools[0].function.parameters{rest}");
    let found = refused(&set);
    let fields: Vec<&str> = found.iter().map(|(_, field, _)| *field).collect();
    assert_eq!(fields, [at(".properties"), at(".properties"), at(".additionalProperties"), at(""), at("")]);
    assert!(found[3].2.contains("at /properties/a/type: \"strng\" is no type"), "{found:?}");
    assert!(found[4].2.contains("at /properties/a/items: must be"), "{found:?}");
    assert!(set.refused.iter().all(crate::tasks::Refusal::is_of_schema));
}

#[test]
fn bfcl_pairs_load_as_a_file_with_answers_beside_it_or_in_the_rows() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let row = |id: &str| {
        json!({"id": id, "question": [[{"role": "user", "content": "Area of 10 by 5?"}]], "function": [{"name": "area", "parameters":
            {"type": "dict", "properties": {"base": {"type": "integer"}, "unit": {"type": "string"}}, "required": ["base"]}}]})
    };
    let answer = json!([{"area": {"base": [10], "unit": ["cm", ""]}}]);
    let with = |mut row: Value, key: &str, value: &Value| {
        row[key] = value.clone();
        row
    };
    let mut broken = with(row("s_3"), "ground_truth", &answer);
    broken["function"][0]["parameters"]["properties"]["base"]["type"] = json!("intger");
    let rows = [row("s_0"), with(row("s_1"), "ground_truth", &answer), row("s_2"), broken];
    let write = |name: &str, rows: &[Value]| {
        std::fs::write(folder.path().join(name), rows.iter().map(|r| format!("{r}\n")).collect::<String>()).expect("written");
    };
    let of = |name: &str| load(&format!("file:{}", folder.path().join(name).display()), &LoadOptions::default());
    std::fs::create_dir(folder.path().join("possible_answer")).expect("made");
    let name = "BFCL_v4_simple_python.json";
    write(name, &rows);
    write(&format!("possible_answer/{name}"), &[json!({"id": "s_0", "ground_truth": answer})]);
    let set = of(name).expect("two good rows");
    assert_eq!(set.problems.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["s_0", "s_1"]);
    assert!(set.problems.iter().all(|p| p.matcher == whetstone_domain::Matcher::Bfcl && p.domain == "simple_python"));
    solvable(&set);
    let found = refused(&set);
    assert!(found.len() == 2 && found[0].0 == 3 && found[0].2.contains("has no possible answer"), "{found:?}");
    assert!(found[1].1 == "function[0].parameters" && found[1].2.contains("\"intger\" is no type"), "{found:?}");
    // where no call is right there are no answers
    write("BFCL_v4_irrelevance.json", &rows[..1]);
    let abstain = of("BFCL_v4_irrelevance.json").expect("a good row");
    assert!(abstain.problems[0].matcher == whetstone_domain::Matcher::BfclIrrelevance && abstain.problems[0].expected.is_no_call());
    let named = load(&format!("file:{}#format=bfcl", folder.path().join(name).display()), &LoadOptions::default());
    assert_eq!(named.expect("the same").problems, set.problems);
}
