//! Lists: rollouts, adapters, task sets, runs by tag and column.

use super::*;

#[tokio::test]
async fn rollouts_are_filtered_paged_and_lead_to_their_group() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let base = format!("/api/v1/runs/{id}/rollouts");
    let all = site.get(&base).await.is(200).json();
    assert_eq!((all["items"].as_array().unwrap().len(), &all["total"], &all["next"]), (8, &json!(8), &Value::Null));
    let first = site.get(&format!("{base}?limit=3&sort=reward&order=asc")).await.is(200);
    assert!(first.headers["link"].to_str().unwrap().ends_with("rel=\"next\""));
    let (mut ids, mut rewards, mut next) = (Vec::new(), Vec::new(), Some(format!("{base}?limit=3&sort=reward&order=asc")));
    while let Some(path) = next {
        let page = site.get(&path).await.is(200).json();
        for item in page["items"].as_array().unwrap() {
            ids.push(item["id"].as_str().unwrap().to_owned());
            rewards.push(item["reward"].as_f64().unwrap());
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    assert!(rewards.windows(2).all(|w| w[0] <= w[1]), "{rewards:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
    for (query, n) in [
        ("outcome=wrong_values", 4),
        ("outcome=wrong", 8),
        ("outcome=right", 0),
        ("class=mixed", 4),
        ("step=2", 4),
        ("step=..1&reward=0.9..", 1),
        ("adv=positive", 2),
        ("adv=negative", 2),
        ("q=SCRIPT", 8),
        ("q=nowhere", 0),
        ("problem=none", 0),
    ] {
        let page = site.get(&format!("{base}?{query}")).await.is(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), n, "{query}");
    }
    let one = site.get(&format!("{base}/1-0-1")).await.is(200).json();
    assert_eq!((&one["rollout"]["index"], &one["class"]), (&json!(1), &json!("mixed")));
    site.get(&format!("{base}/1-0-9")).await.is(404);
    let place = site.get(&format!("/runs/{id}/rollouts/1-0-1")).await.is(303);
    assert_eq!(place.headers["location"], format!("/runs/{id}/groups/1-0?i=1"));
}

#[tokio::test]
async fn a_group_opened_from_a_list_goes_on_in_that_list() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let list = site.get(&format!("/runs/{id}/rollouts?outcome=bad_json&sort=reward&order=asc")).await.is(200).text;
    assert!(list.contains("outcome: bad_json"), "the filter is shown: {list}");
    let links: Vec<&str> = list.split("href=\"").filter_map(|l| l.split('"').next()).filter(|l| l.contains("/groups/")).collect();
    assert_eq!(links.len(), 4, "{links:?}");
    let mut path = links[0].replace("&#38;", "&").replace("&amp;", "&");
    let mut visited = Vec::new();
    loop {
        let page = site.get(&path).await.is(200).text;
        visited.push(path.split("&in=").next().unwrap().to_owned());
        assert!(visited.len() <= 4, "{visited:?}");
        let Some(next) = page.split("<a ").find(|a| a.contains("rel=\"next\"")) else { break };
        path = next.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    }
    let wanted: Vec<String> =
        links.iter().map(|l| l.replace("&#38;", "&").replace("&amp;", "&").split("&in=").next().unwrap().to_owned()).collect();
    assert_eq!(visited, wanted);
}

#[tokio::test]
async fn every_number_of_the_run_page_leads_to_what_made_it() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let page = site.get(&format!("/runs/{id}")).await.is(200).text;
    let mut links: Vec<String> =
        page.split("href=\"").skip(1).filter_map(|l| l.split('"').next()).map(|l| l.replace("&#38;", "&").replace("&amp;", "&")).collect();
    for wanted in [
        "/evals/grpo-2?show=correct",
        "/evals/grpo-2?show=gained",
        "/rollouts?outcome=correct",
        "/rollouts?class=mixed",
        "/rollouts?sort=reward",
        "/groups/2-0?i=1",
        "/steps/1",
    ] {
        assert!(links.iter().any(|l| *l == format!("/runs/{id}{wanted}")), "{wanted} is not among {links:?}");
    }
    links.retain(|l| l.starts_with('/'));
    links.sort();
    links.dedup();
    for link in links {
        let status = site.get(&link).await.status;
        assert!(status.is_success() || status.is_redirection(), "{link}: {status}");
    }
}

#[tokio::test]
async fn adapters_of_every_run_are_listed_with_what_is_needed_to_use_them() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    assert!(site.get("/adapters").await.is(200).text.contains("No adapters yet"));
    site.adapter(run, &id, 2).await;
    let page = site.get("/adapters").await.is(200).text;
    for words in
        ["grpo-2", "100.0 %", "7 B", "owner/base", "curl -o adapter.zip http://localhost/api/v1/runs/", "--max-lora-rank 8", "sha256sum -c"]
    {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let listed = site.get("/api/v1/adapters?best=true").await.is(200).json();
    let adapter = &listed["items"][0];
    assert_eq!((&adapter["best"], &adapter["bytes"], &adapter["base"]), (&json!(true), &json!(7), &json!("owner/base")));
    assert_eq!(site.get(&format!("/runs/{id}/adapters")).await.is(303).headers["location"], format!("/adapters?run={id}"));
    site.get(&format!("/adapters?run={id}&best=1")).await.is(200);
    let of_run = site.get(&format!("/runs/{id}")).await.is(200).text;
    assert!(of_run.contains("owner/base") && of_run.contains("zip for peft"));
}

#[tokio::test]
async fn a_file_uploaded_on_the_page_is_reported_row_by_row() {
    let site = Site::new().await;
    let row = |id: &str| {
        json!({ "id": id, "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} } }], "expected": [] })
    };
    let good = format!("{}\nnot json\n{}\n", row("a"), row(XSS));
    let done = site.multipart("mine", good.as_bytes()).await.is(303);
    assert_eq!(done.headers["location"], "/tasksets/file%3Amine?new=1");
    let page = site.get("/tasksets/file%3Amine?new=1").await.is(200).text;
    for words in ["2 problems can be used", "1 rows were not taken", "is no JSON", "alert"] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    assert!(!page.contains("<script>alert") && !page.contains(&site.dir.path().display().to_string()));
    let opened = site.get("/tasksets/file:mine?problem=a").await.is(200).text;
    assert!(opened.contains("no call") && opened.contains("id=\"problem\""));
    let again = site.multipart("mine", good.as_bytes()).await.is(409).text;
    assert!(again.contains("value=\"mine\"") && again.contains("take another name"));
    let bad = site.multipart("other", b"{\"id\": 1}\nnonsense\n").await.is(422).text;
    assert!(bad.contains("None of its 2 rows") && bad.contains("/1/id") && bad.contains("value=\"other\""), "{bad}");
    site.multipart("Bad Name", b"{}").await.is(400);
    site.multipart("empty", b"").await.is(422);
    // a file names itself
    assert_eq!(site.multipart("", good.as_bytes()).await.is(303).headers["location"], "/tasksets/file%3Amy-rows?new=1");
    let shown = site.get("/api/v1/tasksets/file:mine?limit=1").await.is(200).json();
    assert_eq!((&shown["problems"], &shown["refused"], &shown["items"][0]["id"]), (&json!(2), &json!(1), &json!("a")));
    let next = site.get(shown["next"].as_str().unwrap()).await.is(200).json();
    assert_eq!((&next["items"][0]["id"], &next["next"]), (&json!(XSS), &Value::Null));
    let generated = site.get("/api/v1/tasksets/starter?limit=2&after=3&seed=5").await.is(200).json();
    assert_eq!((generated["items"].as_array().unwrap().len(), &generated["problems"]), (2, &json!(4096)));
    site.get("/tasksets/starter%3Aheld-out?after=50").await.is(200);
}

#[tokio::test]
async fn uploads_of_one_name_at_once_keep_one_whole_file() {
    let site = std::sync::Arc::new(Site::new().await);
    let row = |text: &str| {
        json!({ "id": "a", "messages": [{ "role": "user", "content": text }],
        "tools": [{ "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} } }], "expected": [] })
    };
    let files: Vec<String> = (0..8).map(|i| format!("{}\n", row(&format!("{i}").repeat(50_000)))).collect();
    let mut uploads = Vec::new();
    for file in files.clone() {
        let site = site.clone();
        uploads.push(tokio::spawn(async move { site.post_owned("/api/v1/tasksets?name=one".into(), file).await.status.as_u16() }));
    }
    let mut statuses = Vec::new();
    for upload in uploads {
        statuses.push(upload.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    let kept = std::fs::read_to_string(site.dir.path().join("tasks/one.jsonl")).unwrap();
    assert!(files.contains(&kept), "what is kept is one of the files");
    assert_eq!(std::fs::read_dir(site.dir.path().join("tasks")).unwrap().count(), 1);
}

#[tokio::test]
async fn runs_are_found_by_tag_and_shown_in_chosen_columns() {
    let site = Site::new().await;
    for (name, tag, steps) in [("one", "a b", 3), ("two", "a b", 4), ("three", "c", 5)] {
        site.json("/api/v1/runs", json!({ "name": name, "tags": [tag], "config": { "steps": steps } })).await.is(201);
    }
    let tagged = site.get("/runs?tag=a%20b").await.is(200).text;
    assert!(tagged.contains(">one</a>") && tagged.contains(">two</a>") && !tagged.contains(">three</a>"));
    assert!(tagged.contains("tag: a b"), "the filter is shown");
    assert_eq!(site.get("/api/v1/runs?tag=c").await.is(200).json()["items"].as_array().unwrap().len(), 1);
    let columns = site.get("/runs?cols=cfg.steps,cfg.temperature,cfg.warm_start.steps").await.is(200).text;
    assert!(columns.contains("<th scope=\"col\">steps</th>") && !columns.contains("<th scope=\"col\">started"), "{columns}");
    assert!(columns.contains("All 3: temperature 1.0, warm_start.steps 0."), "what is the same is said once: {columns}");
    let odd = site.get("/runs?cols=nonsense&status=odd&what=1").await.is(200).text;
    assert!(odd.contains("no column") && odd.contains("no state") && odd.contains("means nothing here"));
}

impl Site {
    /// Posts the upload form.
    pub(super) async fn multipart(&self, name: &str, file: &[u8]) -> Answer {
        self.multipart_as(name, None, file).await
    }

    /// The same with a format chosen.
    pub(super) async fn multipart_as(&self, name: &str, format: Option<&str>, file: &[u8]) -> Answer {
        let chosen = format.map(|f| format!("--b\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\n{f}\r\n")).unwrap_or_default();
        let head = format!(
            "{chosen}--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"My rows.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        let body = [head.as_bytes(), file, b"\r\n--b--\r\n"].concat();
        let request =
            Request::post("/tasksets").header(header::HOST, "localhost").header(header::CONTENT_TYPE, "multipart/form-data; boundary=b");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Records a checkpoint with its files.
    pub(super) async fn adapter(&self, run: RunId, id: &str, step: usize) {
        use sha2::Digest as _;
        let folder = format!("checkpoints/grpo-{step:06}");
        let place = self.dir.path().join("runs").join(id).join(&folder);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("adapter_config.json"), r#"{"base_model_name_or_path": "owner/base", "r": 8}"#).unwrap();
        std::fs::write(place.join("adapter_model.safetensors"), "weights").unwrap();
        let adapter_sha256 = crate::words::hex(&sha2::Sha256::digest("weights"));
        let record = CheckpointRecord { phase: Phase::Grpo, step, folder, bytes: 9, adapter_sha256, state: "{}".into() };
        self.store.record(run, &Event::Step { step: None, evaluation: None, checkpoint: Some(record) }).await.unwrap();
    }
}
