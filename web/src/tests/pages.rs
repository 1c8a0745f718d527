//! Pages: what they show beside lists, and that a mistake costs nobody what was typed.

use super::*;

#[tokio::test]
async fn a_label_form_that_is_refused_keeps_what_was_typed() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let page = site
        .form(&format!("/runs/{id}/edit"), &[("name", "new \u{202e}name"), ("tags", "good, x"), ("note", "a long thought")])
        .await
        .is(422)
        .text;
    assert!(page.contains("a long thought</textarea>") && page.contains("value=\"good, x\""), "{page}");
    assert!(page.contains("must not hold control") && page.contains("<details open><summary>Name"));
    site.form(&format!("/runs/{id}/edit"), &[("name", "fine"), ("tags", "good, x"), ("note", "noted")]).await.is(303);
    let page = site.get(&format!("/runs/{id}")).await.is(200).text;
    assert!(page.contains("fine") && page.contains("/runs?tag=good") && page.contains("noted"));
}

#[tokio::test]
async fn no_page_and_no_answer_shows_a_path_of_the_machine() {
    let site = Site::new().await;
    let row = json!({ "id": "a", "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} } }], "expected": [] });
    site.post_owned("/api/v1/tasksets?name=mine".into(), format!("{row}\n")).await.is(201);
    let run = site.json("/api/v1/runs", json!({ "config": { "tasks": "file:mine", "eval_tasks": "file:mine" } })).await.is(201).json();
    assert_eq!(run["config"]["tasks"], "file:mine");
    let id = run["id"].as_str().unwrap();
    let from_terminal = RunConfig { tasks: "file:/somewhere/else/rows.jsonl".into(), model: "/models/tiny".into(), ..RunConfig::default() };
    let new = NewRun { name: "t", config: &from_terminal, model: "/models/tiny", base_sha256: "", code_version: "0" };
    let other = site.store.create_run(&new).await.unwrap();
    let other = site.store.run_by_id(other).await.unwrap().public_id;
    let place = site.dir.path().display().to_string();
    for path in [
        format!("/runs/{id}"),
        format!("/runs/{other}"),
        "/runs?cols=cfg.tasks,cfg.model,model".into(),
        format!("/compare?runs={id},{other}"),
        format!("/runs/new?from={id}"),
        "/tasksets/file:mine".into(),
        format!("/api/v1/runs/{id}"),
        format!("/api/v1/runs/{other}"),
        "/api/v1/runs".into(),
        "/api/v1/tasksets/file:mine".into(),
    ] {
        let page = site.get(&path).await.is(200).text;
        assert!(!page.contains(&place) && !page.contains("/somewhere") && !page.contains("/models/tiny"), "{path}: {page}");
    }
    // a clone of a run on an upload is a run on that upload
    site.form("/runs/new", &[("recipe", "small"), ("tasks", "file:mine"), ("eval_tasks", "file:mine")]).await.is(303);
}

#[tokio::test]
async fn a_group_shows_the_whole_way_from_parts_to_advantage() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let page = site.get(&format!("/runs/{id}/groups/1-0?i=1&view=text")).await.is(200).text;
    assert!(page.contains("R₂ = 0.35 × 0.250, but for the reward&#39;s gate = 0.250"), "{page}");
    assert!(page.contains("A₂ = (0.250 − 0.625) / (0.530 + 0.0001) = -0.71"), "{page}");
    assert!(page.contains("special tokens included"));
    assert!(page.contains("data-key=\"1\"") && page.contains("data-key=\"2\""), "answers have their numbers as keys");
    let step = site.get(&format!("/runs/{id}/steps/1")).await.is(200).text;
    assert!(
        step.contains("data-follow") && step.contains("rel=\"next\"") && step.contains("<kbd>]</kbd>") && step.contains("outcome=bad_json")
    );
    let group = site.get(&format!("/runs/{id}/groups/1-1")).await.is(200).text;
    assert!(group.contains(&format!("/runs/{id}/groups/2-0")), "the next group is that of the next step");
}

#[tokio::test]
async fn an_evaluation_is_filtered_opened_and_left_for_the_next() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let last = site.get(&format!("/runs/{id}/evals/grpo-2?show=gained")).await.is(200).text;
    assert!(last.contains(&format!("/runs/{id}/evals/grpo-0?show=gained")) && last.contains("data-key=\"[\""));
    assert!(last.contains("Problems 1 to 1 of 1"));
    let none = site.get(&format!("/runs/{id}/evals/grpo-2?show=lost")).await.is(200).text;
    assert!(none.contains("No problem passes both filters"));
    let opened = site.get(&format!("/runs/{id}/evals/grpo-0?problem={}", crate::words::in_url(&format!("p{XSS}")))).await.is(200).text;
    assert!(opened.contains("id=\"answer\"") && opened.contains("cannot be read here"), "{opened}");
}

#[tokio::test]
async fn a_range_that_is_not_understood_is_ignored_and_one_outside_is_416() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    site.adapter(run, &id, 2).await;
    for (range, status) in
        [("bytes=0-1", 206), ("bytes=x-y", 200), ("items=0-1", 200), ("bytes=0-1,4-5", 200), ("bytes=9999999-", 416), ("bytes=-0", 416)]
    {
        let request =
            Request::get(format!("/api/v1/runs/{id}/adapters/grpo-2.zip")).header(header::HOST, "localhost").header(header::RANGE, range);
        let answer = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{range}");
    }
}

/// What a browser would send of a form: every named input, select and text area of the page.
fn filled(page: &str) -> Vec<(String, String)> {
    let form = page.split("class=\"launch\">").nth(1).unwrap().split("</form>").next().unwrap();
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
        Some(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let plain =
        |text: &str| text.replace("&#34;", "\"").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&").replace("&#38;", "&");
    let mut found = Vec::new();
    for part in form.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or((part, ""));
        match tag.split(' ').next() {
            Some("input") => found.push((attribute(tag, "name").unwrap(), plain(&attribute(tag, "value").unwrap_or_default()))),
            Some("textarea") => found.push((attribute(tag, "name").unwrap(), plain(text))),
            Some("select") => found.push((attribute(tag, "name").unwrap(), String::new())),
            Some("option") if tag.contains(" selected") => found.last_mut().unwrap().1 = plain(&attribute(tag, "value").unwrap()),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn a_clone_of_a_run_is_that_run_again_in_every_key() {
    let site = Site::new().await;
    let odd: Value = serde_json::from_str(
        r#"{
        "model": "tiny", "tasks": "starter:wide", "eval_tasks": "starter:wide-held-out", "format": "hermes", "tool_listing": "json",
        "worked_examples": 1, "reward": "composition", "arg_denominator": "expected", "toolrl_grading": "coarse",
        "composition": { "part": [
            { "use": "dense.values", "name": "v", "weight": 0.5 },
            { "use": "length_cap", "weight": { "from": 0.0, "to": 0.25, "start": 3, "end": 9 }, "characters": 200 }
        ] },
        "reward_timeout": 7.5, "reward_weights": { "v": 0.75 }, "seed": 9, "steps": 3, "max_minutes": 2.5, "problems_per_step": 3,
        "num_generations": 5, "max_prompt_tokens": 700, "max_completion_length": 33, "temperature": 0.7, "learning_rate": 0.00003,
        "lr_schedule": "cosine", "warmup_steps": 2, "lora_rank": 4, "lora_alpha": 9.0, "beta": 0.01, "epsilon": 0.1,
        "epsilon_high": 0.28, "delta": 2.0, "loss_type": "grpo", "scale_rewards": "batch", "mask_truncated_completions": true,
        "max_grad_norm": 0.5, "adam_beta1": 0.8, "adam_beta2": 0.95, "weight_decay": 0.01, "dynamic_sampling": true, "eval_problems": 11,
        "eval_every": 2, "checkpoint_every": 3, "eval_batch": 7, "threads": 1, "compute": "f32",
        "gradient_checkpointing": "on", "memory_budget": 1.5,
        "tools": { "max_turns": 3, "max_tokens": 600, "timeout": 2.5, "programs": false, "hosts": [] },
        "warm_start": { "steps": 2, "problems_per_step": 3, "learning_rate": 0.00001, "eval_every": 4, "eval_problems": 5, "patience": 6 }
    }"#,
    )
    .unwrap();
    let usual = serde_json::to_value(RunConfig::default()).unwrap();
    for (key, value) in usual.as_object().unwrap() {
        assert_ne!(odd.get(key), Some(value), "{key} must differ from its default for this test to say something");
    }
    assert_eq!(odd.as_object().unwrap().len(), usual.as_object().unwrap().len());
    let first = site.json("/api/v1/runs", json!({ "config": odd })).await.is(201).json();
    assert_eq!(first["config"], odd);
    let form = site.get(&format!("/runs/new?from={}", first["id"].as_str().unwrap())).await.is(200).text;
    let fields = filled(&form);
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let checked = site.form("/runs/new", &[&pairs[..], &[("check", "1")]].concat()).await.is(200).text;
    assert!(checked.contains("[[composition.part]]"), "{checked}");
    let started = site.form("/runs/new", &pairs).await.is(303);
    let id = started.headers["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_ne!(first["id"], id.as_str());
    let second = site.get(&format!("/api/v1/runs/{id}")).await.is(200).json();
    assert_eq!(second["config"], first["config"]);
}

#[tokio::test]
async fn parts_of_a_reward_are_checked_beside_their_field() {
    let site = Site::new().await;
    for (parts, words) in [
        ("nonsense", "expected"),
        ("steps = 3", "unknown field"),
        ("[[composition.part]]\nuse = \"nothing\"", "nothing"),
        ("reward_weights.nothing = 1.0", "no part of this reward"),
    ] {
        let reward = if parts.contains("composition") { "composition" } else { "dense" };
        let page = site.form("/runs/new", &[("recipe", "small"), ("reward", reward), ("parts", parts)]).await.is(422).text;
        let field = page.split("id=\"h-parts\"").nth(1).unwrap().split("</p>").next().unwrap();
        assert!(field.contains("class=\"error") && field.contains(words), "{parts}: {field}");
        assert!(page.contains(&format!("{}</textarea>", parts.replace('"', "&#34;"))), "{parts}: what was typed is kept");
    }
    let file = json!({ "config": { "reward": "file:/etc/passwd", "composition": { "part": [{ "use": "dense" }] } } });
    let refused = site.json("/api/v1/runs", file).await.is(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/config/reward");
    site.json("/api/v1/runs", json!({ "config": { "reward": "command:touch here" } })).await.is(422);
}

#[tokio::test]
async fn the_order_of_keys_is_no_other_request() {
    let site = Site::new().await;
    let send = |body: &'static str| site.post("/api/v1/runs", "application/json", body.into(), Some("one key"));
    let first = send(r#"{ "name": "a", "config": { "steps": 3, "warm_start": { "steps": 1, "patience": 3 } } }"#).await.is(201).json();
    let again = send(r#"{ "config": { "warm_start": { "patience": 3, "steps": 1 }, "steps": 3 }, "name": "a" }"#).await.is(201).json();
    assert_eq!(first["id"], again["id"]);
    send(r#"{ "name": "a", "config": { "steps": 4 } }"#).await.is(422);
}

#[tokio::test]
async fn the_verdict_tells_what_grpo_did_to_the_warm_start() {
    let site = Site::new().await;
    let config = RunConfig { steps: 5, ..RunConfig::default() };
    let new = NewRun { name: "n", config: &config, model: "tiny", base_sha256: "00", code_version: "0" };
    let run = site.store.create_run(&new).await.unwrap();
    let id = site.store.run_by_id(run).await.unwrap().public_id;
    site.store.claim(run, std::process::id()).await.unwrap();
    site.store.record(run, &Event::State { state: RunState::Running, message: String::new() }).await.unwrap();
    for (phase, step, kind, right) in [
        (Phase::WarmStart, 0, EvaluationKind::Baseline, 2),
        (Phase::WarmStart, 4, EvaluationKind::AfterWarmStart, 19),
        (Phase::Grpo, 5, EvaluationKind::Final, 10),
    ] {
        let one = evaluation(step, kind, true).predictions.remove(0);
        let predictions: Vec<Prediction> = (0..20).map(|i| Prediction { id: format!("p{i}"), correct: i < right, ..one.clone() }).collect();
        let summary = EvaluationSummary::of(&predictions, 1.0);
        let versus_baseline = (right > 2).then_some(stats::McNemar { gained: right - 2, lost: 0, p: 0.01 });
        let record = EvaluationRecord { phase, step, summary, versus_baseline, predictions, ..evaluation(step, kind, true) };
        site.store.record(run, &Event::Step { step: None, evaluation: Some(record), checkpoint: None }).await.unwrap();
    }
    let page = site.get(&format!("/runs/{id}")).await.is(200).text;
    let verdict = page.split("data-live=\"verdict\">").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(verdict.contains("of the prompt alone: a gain that is not chance, gained 8, lost 0"), "{verdict}");
    assert!(
        verdict.contains("GRPO on top of the warm start (95.0 %")
            && verdict.contains("a loss that is not chance, gained 0, lost 9, p = 0.004"),
        "{verdict}"
    );
}

#[tokio::test]
async fn a_conversation_is_shown_turn_by_turn() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let mut group = group(0, &[1.0, 0.25]);
    group.problem.environment = Some(Environment::default());
    group.problem.answer = Some(serde_json::from_value(json!({ "any_of": [7] })).unwrap());
    let exchange = |result: ToolResult| Exchange { call: call(&format!("t{XSS}")), result };
    let turn = |role: Role, start: usize, end: usize, text: &str, exchanges: Vec<Exchange>| Turn {
        role,
        start,
        end,
        text: format!("{text}{XSS}"),
        exchanges,
    };
    let r = &mut group.rollouts[0];
    (r.ids, r.mask) = (vec![1, 2, 3, 4], vec![1, 0, 0, 1]);
    (r.pieces, r.logprobs, r.entropies) = (vec!["p".into(); 4], vec![-0.1; 4], vec![0.1; 4]);
    let results = vec![exchange(ToolResult::ok(format!("seven{XSS}"))), exchange(ToolResult::failed(ToolFailure::Timeout, "no answer"))];
    r.turns = vec![
        turn(Role::Assistant, 0, 1, "calling", vec![]),
        turn(Role::Tool, 1, 3, "shown", results),
        turn(Role::Assistant, 3, 4, "It is 7.", vec![]),
    ];
    let step = StepRecord { phase: Phase::Grpo, step: 3, metrics: BTreeMap::new(), groups: vec![group] };
    site.store.record(run, &Event::Step { step: Some(step), evaluation: None, checkpoint: None }).await.unwrap();
    let page = site.get(&format!("/runs/{id}/groups/3-0?i=0")).await.is(200).text;
    let talk = page.split("class=\"talk\">").nth(1).unwrap().split("</ol>").next().unwrap();
    assert_eq!((talk.matches("The model").count(), talk.matches("The tools").count()), (2, 1), "{talk}");
    for words in ["calling", "seven", "took too long", "no answer", "It is 7.", "tokens 1 to 3, not learned from"] {
        assert!(talk.contains(words), "{words}: {talk}");
    }
    assert!(!page.contains("<script>alert"));
    let tokens = site.get(&format!("/runs/{id}/groups/3-0?i=0&view=tokens")).await.is(200).text;
    assert_eq!(tokens.matches("class=\"token forced\"").count(), 2);
    let raw = site.get(&format!("/api/v1/runs/{id}/rollouts/3-0-0")).await.is(200).json();
    assert_eq!(raw["rollout"]["turns"][1]["exchanges"][1]["result"]["failure"], "timeout");
}

#[tokio::test]
async fn a_model_card_says_what_was_measured_of_its_own_checkpoint() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let worse = Event::Step { step: None, evaluation: Some(super::evaluation(1, EvaluationKind::Periodic, false)), checkpoint: None };
    site.store.record(run, &worse).await.unwrap();
    for step in [1, 2, 3] {
        site.adapter(run, &id, step).await;
    }
    let card = async |file: &str| {
        let request = Request::get(format!("/api/v1/runs/{id}/adapters/{file}")).header(header::HOST, "localhost");
        let response = site.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        std::io::read_to_string(zip.by_name("README.md").unwrap()).unwrap()
    };
    let measured = card("grpo-2.zip").await;
    assert!(measured.contains("1 of 1 held-out problems right: 100.0 %"), "{measured}");
    let worse = card("grpo-1.zip").await;
    assert!(worse.contains("0 of 1 held-out problems right: 0.0 %"), "not the best, and measured all the same: {worse}");
    let not = card("grpo-3.zip").await;
    assert!(not.contains("not measured"), "{not}");
}
