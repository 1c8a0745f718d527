//! Task sets by spec: parts, mixes and curricula wherever a set is named, and files that others wrote.

use super::*;

const MIX: &str = "mix:0.5*starter+0.5*starter:wide";

/// A row of ours that offers and expects one call of a tool.
fn row(id: &str, tool: &str) -> String {
    let tools = json!([{ "name": tool, "description": "d", "parameters": { "type": "object", "properties": {} } }]);
    let row = json!({ "id": id, "messages": [{ "role": "user", "content": "Hi" }], "tools": tools,
        "expected": [{ "name": tool, "arguments": {} }] });
    format!("{row}\n")
}

impl Site {
    /// Uploads forty problems, each of its own tool.
    async fn with_upload(&self) {
        let rows: String = (0..40).map(|i| row(&format!("p{i}"), &format!("tool_{i}"))).collect();
        self.post_owned("/api/v1/tasksets?name=mine".into(), rows).await.is(201);
    }

    fn place(&self) -> String {
        self.dir.path().join("tasks/mine.jsonl").display().to_string()
    }

    async fn stored(&self, id: &str) -> RunConfig {
        self.store.run(id).await.unwrap().config().unwrap()
    }
}

#[tokio::test]
async fn mixes_splits_and_curricula_are_launched_from_the_api_and_from_the_form() {
    let site = Site::new().await;
    site.with_upload().await;
    let place = site.place();
    for (typed, shown, stored) in [
        (MIX, MIX.to_owned(), MIX.to_owned()),
        ("starter#split=tool:train:1", "starter#split=tool:train:1".into(), "starter#split=tool:train:1".into()),
        (" starter #split=tool:train", "starter#split=tool:train:0".into(), "starter#split=tool:train:0".into()),
        ("starter#order=difficulty", "starter#order=difficulty".into(), "starter#order=difficulty".into()),
        ("file:mine", "file:mine".into(), format!("file:{place}")),
        ("file:mine#split=tool:train:1", "file:mine#split=tool:train:1".into(), format!("file:{place}#split=tool:train:1")),
        (
            "mix:1*file:mine#format=own+3*starter",
            "mix:1*file:mine#format=own+3*starter".into(),
            format!("mix:1*file:{place}#format=own+3*starter"),
        ),
        ("bfcl:simple_python", "bfcl:simple_python".into(), "bfcl:simple_python".into()),
    ] {
        let run = site.json("/api/v1/runs", json!({ "config": { "tasks": typed, "eval_tasks": typed } })).await.is(201).json();
        assert_eq!((&run["config"]["tasks"], &run["config"]["eval_tasks"]), (&json!(shown), &json!(shown)), "{typed}");
        assert_eq!(site.stored(run["id"].as_str().unwrap()).await.tasks, stored, "{typed}");
        let started = site.form("/runs/new", &[("recipe", "small"), ("tasks", typed), ("eval_tasks", typed)]).await.is(303);
        let id = started.headers["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(site.stored(&id).await.eval_tasks, stored, "{typed}");
    }
}

#[tokio::test]
async fn the_form_takes_a_typed_task_set_and_offers_those_that_are_known() {
    let site = Site::new().await;
    site.with_upload().await;
    let page = site.get("/runs/new").await.is(200).text;
    for words in ["list=\"l-tasks\"", "<datalist id=\"l-tasks\">", "<option value=\"file:mine\">", "starter#order=difficulty", MIX] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    assert!(!page.contains("<select id=\"f-tasks\""), "{page}");
    let page = site.form("/runs/new", &[("recipe", "small"), ("tasks", "starter#order=size")]).await.is(422).text;
    let field = page.split("id=\"f-tasks\"").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(field.contains("value=\"starter#order=size\"") && field.contains("aria-invalid"), "{field}");
    assert!(field.contains("the only order is #order=difficulty"), "{field}");
}

#[tokio::test]
async fn a_run_of_the_command_line_on_a_mix_is_cloned() {
    let site = Site::new().await;
    site.with_upload().await;
    let tasks = format!("mix:0.5*starter#difficulty=1-2+0.5*file:{}#split=tool:train:1#order=difficulty", site.place());
    let config =
        RunConfig { tasks: tasks.clone(), eval_tasks: format!("file:{}#split=tool:held-out:1", site.place()), ..RunConfig::default() };
    let new = NewRun { name: "t", config: &config, model: "tiny", base_sha256: "", code_version: "0" };
    let run = site.store.create_run(&new).await.unwrap();
    let id = site.store.run_by_id(run).await.unwrap().public_id;
    for path in [format!("/runs/new?from={id}"), format!("/runs/{id}"), format!("/api/v1/runs/{id}")] {
        let page = site.get(&path).await.is(200).text;
        assert!(page.contains("+0.5*file:mine#split=tool:train:1#order=difficulty"), "{path}: {page}");
        assert!(page.contains("file:mine#split=tool:held-out:1"), "{path}: {page}");
        assert!(!page.contains(&site.dir.path().display().to_string()), "{path}: {page}");
    }
    let shown = site.get(&format!("/api/v1/runs/{id}")).await.json()["config"].clone();
    let fields = [("recipe", "small"), ("tasks", shown["tasks"].as_str().unwrap()), ("eval_tasks", shown["eval_tasks"].as_str().unwrap())];
    let started = site.form("/runs/new", &fields).await.is(303);
    let again = site.stored(started.headers["location"].to_str().unwrap().rsplit('/').next().unwrap()).await;
    assert_eq!((again.tasks, again.eval_tasks), (config.tasks, config.eval_tasks));
}

#[tokio::test]
async fn a_spec_that_names_nothing_or_a_path_is_refused_beside_its_field() {
    let site = Site::new().await;
    site.with_upload().await;
    let (place, nine) = (site.place(), format!("mix:{}", ["1*starter"; 9].join("+")));
    let long = format!("mix:{}", ["1*starter"; 200].join("+"));
    for (spec, words) in [
        ("nonsense", "is no task set"),
        ("mix:0.5*starter+x*starter:wide", "is no task set"),
        ("mix:0.5*starter+0.5*nonsense", "is no task set"),
        ("starter#split=tool:sideways", "split is tool or domain"),
        ("starter#format=xlam", "#format belongs to file"),
        ("file:mine#format=csv", "is no file format"),
        ("file:none", "file:none; upload it first"),
        ("mix:0.5*starter+0.5*file:none", "file:none; upload it first"),
        ("mix:0.5*starter+0.5*file:/etc/passwd", "upload it first"),
        ("file:../tasks/mine", "upload it first"),
        ("file:mine.jsonl", "upload it first"),
        (&format!("file:{place}"), "upload it first"),
        (&format!("mix:1*file:{place}#split=tool:train:1+1*starter"), "upload it first"),
        ("bfcl:../x", "no category of BFCL"),
        ("mix:1*starter+1*bfcl:none", "no category of BFCL"),
        (&nine, "more than 8 parts"),
        (&long, "longer than 1000 bytes"),
    ] {
        let refused = site.json("/api/v1/runs", json!({ "config": { "tasks": spec } })).await.is(422).json();
        assert_eq!((&refused["errors"][0]["pointer"], &refused["errors"][1]), (&json!("/config/tasks"), &Value::Null), "{refused}");
        assert!(refused["errors"][0]["detail"].as_str().unwrap().contains(words), "{spec}: {refused}");
        let shown = site.get(&format!("/api/v1/tasksets/{}", crate::words::in_url(spec))).await.is(404).json();
        assert!(shown["detail"].as_str().unwrap().contains(words), "{spec}: {shown}");
        site.get(&format!("/tasksets/{}", crate::words::in_url(spec))).await.is(404);
    }
    assert!(site.store.runs(&Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn parts_and_mixes_of_task_sets_are_looked_at() {
    let site = Site::new().await;
    site.with_upload().await;
    let show = async |spec: &str, query: &str| {
        site.get(&format!("/tasksets/{}?{query}", crate::words::in_url(spec))).await.is(200);
        site.get(&format!("/api/v1/tasksets/{}?{query}", crate::words::in_url(spec))).await.is(200).json()
    };
    let ids =
        |set: &Value| -> Vec<String> { set["items"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect() };
    let split = show("starter#split=tool:train:1", "").await;
    assert_eq!((&split["problems"], split["items"].as_array().unwrap().len()), (&json!(4096), 50));
    assert!(split["next"].as_str().unwrap().contains("starter%23split%3Dtool%3Atrain%3A1"), "{}", split["next"]);
    let second = site.get(split["next"].as_str().unwrap()).await.is(200).json();
    assert!(ids(&second).iter().all(|id| !ids(&split).contains(id)));
    // the sides of a file's split are the file
    let (train, held_out) = (show("file:mine#split=tool:train:1", "").await, show("file:mine#split=tool:held-out:1", "").await);
    assert_eq!(train["problems"].as_u64().unwrap() + held_out["problems"].as_u64().unwrap(), 40);
    assert!(!ids(&train).is_empty() && !ids(&held_out).is_empty() && ids(&train).iter().all(|id| !ids(&held_out).contains(id)));
    // of a mix as many as its file allows
    let mixed = show("mix:1*file:mine+3*starter", "").await;
    assert_eq!((&mixed["problems"], &mixed["spec"]), (&json!(160), &json!("mix:1*file:mine+3*starter")));
    let last = site.get(&mixed["next"].as_str().unwrap().replace("after=50", "after=150")).await.is(200).json();
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next"]), (10, &Value::Null));
    assert_eq!(show(MIX, "").await["problems"], 4096);
    let three = show("mix:1*starter+1*starter:wide+1*starter:tools", "limit=100").await;
    assert_eq!((three["items"].as_array().unwrap().len(), three["next"].is_null()), (100, false));
    let none = show("file:mine#difficulty=9", "").await;
    assert_eq!((&none["problems"], &none["refused"]), (&json!(0), &json!(0)));
    show("starter#order=difficulty", "seed=3").await;
    assert!(site.get("/tasksets/starter%23order%3Ddifficulty").await.text.contains("meets the easy ones first"));
    assert_eq!(
        site.get("/tasksets?spec=file%3Amine%23difficulty%3D9").await.is(303).headers["location"],
        "/tasksets/file%3Amine%23difficulty%3D9"
    );
    assert!(site.get("/tasksets").await.is(200).text.contains("name=\"spec\""));
}

/// One row of each format that others write, and how many tools it offers.
fn foreign() -> [(&'static str, Value); 4] {
    let xlam = json!({ "weather": { "description": "d", "type": "str" } });
    let xlam = json!([{ "name": "look", "description": "d", "parameters": xlam }]);
    let function =
        json!({ "name": "look", "description": "d", "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } });
    let call = json!({ "id": "c", "type": "function", "function": { "name": "look", "arguments": "{\"city\": \"Oslo\"}" } });
    let turns = json!([{ "role": "user", "content": "Weather in Oslo?" }, { "role": "assistant", "content": null, "tool_calls": [call] }]);
    [
        ("openai", json!({ "messages": turns, "tools": [{ "type": "function", "function": function }] })),
        // xLAM writes JSON in strings, Hammer does not and knows rows without a fitting tool
        (
            "xlam",
            json!({ "id": 1, "query": "Rain?", "tools": xlam.to_string(), "answers": "[{\"name\": \"look\", \"arguments\": {\"weather\": \"rain\"}}]" }),
        ),
        ("xlam", json!({ "id": "h", "query": "Sing!", "tools": xlam, "answers": [] })),
        ("seal", json!({ "id": "s", "query": "Rain?", "calling": [{ "api": "look", "parameters": { "city": "Oslo" }, "responses": [] }] })),
    ]
}

#[tokio::test]
async fn files_that_others_wrote_are_uploaded_by_api_and_by_page() {
    let site = Site::new().await;
    let page = site.get("/tasksets").await.is(200).text;
    for words in ["OpenAI chat", "xLAM", "Hammer", "Seal-Tools", "name=\"format\"", "<option value=\"seal\">", "first row"] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    for (i, (format, row)) in foreign().into_iter().enumerate() {
        let text = format!("{row}\n");
        for (name, said, spec) in [
            (format!("seen-{i}"), String::new(), format!("file:seen-{i}")),
            (format!("said-{i}"), format!("&format={format}"), format!("file:said-{i}#format={format}")),
        ] {
            let report = site.post_owned(format!("/api/v1/tasksets?name={name}{said}"), text.clone()).await.is(201).json();
            assert_eq!((&report["spec"], &report["problems"], &report["tools"]), (&json!(spec), &json!(1), &json!(["look"])), "{report}");
            let named = format!("page-{name}");
            let done = site.multipart_as(&named, Some(said.trim_start_matches("&format=")), text.as_bytes()).await.is(303);
            let shown = site.get(done.headers["location"].to_str().unwrap()).await.is(200).text;
            assert!(shown.contains("1 problems can be used, 0 rows were not taken") && shown.contains(&format!("file:{named}")), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_format_that_was_said_stays_with_the_name() {
    let site = Site::new().await;
    let [.., (_, xlam), _, _] = foreign();
    // seen from the first row, this is a file of ours without a good row
    let text = format!("{}\n{xlam}\n", json!({ "expected": [] }));
    let upload = |said: &str| site.post_owned(format!("/api/v1/tasksets?name=odd{said}"), text.clone());
    upload("").await.is(422);
    for wrong in ["&format=", "&format=csv", "&format=OpenAI"] {
        let refused = upload(wrong).await.is(400).json();
        assert!(refused["detail"].as_str().unwrap().contains("own, openai, xlam, seal"), "{refused}");
    }
    assert!(!site.dir.path().join("tasks/odd.jsonl").exists());
    let report = upload("&format=xlam").await.is(201).json();
    assert_eq!((&report["spec"], &report["problems"], &report["refused"]), (&json!("file:odd#format=xlam"), &json!(1), &json!(1)));
    assert!(site.get("/api/v1/tasksets").await.json().as_array().unwrap().contains(&json!("file:odd#format=xlam")));
    for spec in ["file:odd", "file:odd#format=xlam", "mix:1*file:odd"] {
        let shown = site.get(&format!("/api/v1/tasksets/{}", crate::words::in_url(spec))).await.is(200).json();
        assert_eq!((&shown["problems"], &shown["refused"]), (&json!(1), &json!(1)), "{shown}");
        assert!(shown["refusals"][0].as_str().unwrap().starts_with("odd.jsonl, line 1"), "{shown}");
    }
    // a word in the spec goes before the one that was remembered, and a set without a good row is shown with the reasons
    let own = site.get("/api/v1/tasksets/file:odd%23format%3Down").await.is(200).json();
    assert_eq!((&own["problems"], &own["refused"]), (&json!(0), &json!(2)), "{own}");
    let run = site.json("/api/v1/runs", json!({ "config": { "tasks": "file:odd" } })).await.is(201).json();
    assert_eq!(run["config"]["tasks"], "file:odd#format=xlam");
    // the page says what is wrong with a format, keeps the one that was chosen, and keeps no file
    let refused = site.multipart_as("other", Some("csv"), text.as_bytes()).await.is(400).text;
    assert!(refused.contains("own, openai, xlam, seal"), "{refused}");
    let refused = site.multipart_as("other", Some("seal"), text.as_bytes()).await.is(422).text;
    assert!(refused.contains("<option value=\"seal\" selected>") && refused.contains("value=\"other\""), "{refused}");
    assert!(!site.dir.path().join("tasks/other.jsonl").exists());
}

#[tokio::test]
async fn every_kind_of_field_is_dressed_alike() {
    let css = include_str!("../../../static/app.css");
    for rule in [".field input, .field select, .field textarea {", ".field.wrong input, .field.wrong select, .field.wrong textarea {"] {
        assert!(css.contains(rule), "{rule}");
    }
}
