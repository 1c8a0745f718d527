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
