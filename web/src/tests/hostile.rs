//! Hostile input: each a 4xx with a reason, and nothing stored.

use super::*;

/// Ids that try to leave their place, or to break whoever reads them.
fn odd_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "..%2f..%2fetc%2fpasswd",
        "..%5c..%5cwindows",
        "%00",
        "r-%00",
        "%2e%2e",
        "r-..",
        "....%2f%2f",
        "%e2%80%aer-1",
        "-1",
        "%ff%fe",
        "1-0-0%00",
    ]
    .map(str::to_owned)
    .into();
    ids.push("9".repeat(10_000));
    ids.push("a".repeat(10_000));
    ids
}

#[tokio::test]
async fn no_id_leads_out_of_its_place() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    std::fs::write(site.dir.path().join("secret.jsonl"), "secret").unwrap();
    for odd in odd_ids() {
        for path in [
            format!("/runs/{odd}"),
            format!("/runs/{odd}/rollouts"),
            format!("/runs/{odd}/adapters"),
            format!("/runs/{id}/steps/{odd}"),
            format!("/runs/{id}/groups/{odd}"),
            format!("/runs/{id}/groups/1-{odd}"),
            format!("/runs/{id}/rollouts/{odd}"),
            format!("/runs/{id}/evals/{odd}"),
            format!("/runs/{id}/evals/grpo-{odd}"),
            format!("/runs/{id}/chart/{odd}.svg"),
            format!("/runs/{id}/chart/reward.{odd}"),
            format!("/runs/new?from={odd}"),
            format!("/adapters?run={odd}"),
            format!("/tasksets/{odd}"),
            format!("/tasksets/file:{odd}"),
            format!("/static/{odd}"),
            format!("/api/v1/runs/{odd}"),
            format!("/api/v1/runs/{odd}/rollouts"),
            format!("/api/v1/runs/{id}/rollouts/{odd}"),
            format!("/api/v1/runs/{id}/steps/{odd}"),
            format!("/api/v1/runs/{id}/groups/{odd}"),
            format!("/api/v1/runs/{id}/evaluations/{odd}"),
            format!("/api/v1/runs/{id}/adapters/{odd}"),
            format!("/api/v1/runs/{id}/adapters/{odd}.zip"),
            format!("/api/v1/tasksets/{odd}"),
            "/api/v1/tasksets/file:..%2fsecret".to_owned(),
            format!("/api/v1/events?run={odd}"),
        ] {
            let answer = site.get(&path).await;
            let shown: String = path.chars().take(120).collect();
            assert!(answer.status.is_client_error(), "{shown}: {}", answer.status);
            assert!(answer.text.len() > 40 && answer.text.len() < 20_000, "{shown}: {}", answer.text.len());
            assert!(!answer.text.contains("secret\n") && !answer.text.contains(&site.dir.path().display().to_string()), "{shown}");
        }
        for path in [format!("/theme/{odd}"), format!("/runs/{odd}/stop"), format!("/runs/{id}/{odd}"), format!("/runs/{odd}/edit")] {
            let answer = site.form(&path, &[("name", "x"), ("tags", ""), ("note", "")]).await;
            assert!(answer.status.is_client_error(), "{path:.100}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn hostile_names_are_refused_by_field_wherever_they_come_in() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let before = site.store.run_by_id(run).await.unwrap().name;
    let long = "n".repeat(10_000);
    for name in ["a\0b", "a\u{202e}b", "a\u{2066}b", "line\nbreak", "\u{1b}[31m", long.as_str()] {
        let refused = site.json("/api/v1/runs", json!({ "name": name })).await.is(422).json();
        assert_eq!(refused["errors"][0]["pointer"], "/name", "{refused}");
        let refused = site.json("/api/v1/runs", json!({ "tags": [name] })).await.is(422).json();
        assert_eq!(refused["errors"][0]["pointer"], "/tags", "{refused}");
        let change =
            Request::patch(format!("/api/v1/runs/{id}")).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json");
        let refused = site.send(change.body(Body::from(json!({ "name": name }).to_string())).unwrap()).await.is(422).json();
        assert_eq!(refused["errors"][0]["pointer"], "/name");
        site.form("/runs/new", &[("recipe", "small"), ("name", name)]).await.is(422);
        site.form(&format!("/runs/{id}/edit"), &[("name", name), ("tags", ""), ("note", "")]).await.is(422);
        let upload = site.post_owned(format!("/api/v1/tasksets?name={}", crate::words::in_url(name)), "{}".into()).await;
        assert_eq!(upload.status.as_u16(), 400, "{}", upload.text);
    }
    let note = "n".repeat(10_001);
    site.form(&format!("/runs/{id}/edit"), &[("name", "x"), ("tags", ""), ("note", &note)]).await.is(422);
    assert_eq!(site.store.run_by_id(run).await.unwrap().name, before);
    assert_eq!(site.store.runs(&Default::default()).await.unwrap().len(), 1, "nothing was launched");
}

#[tokio::test]
async fn absurd_numbers_are_refused_by_field() {
    let site = Site::new().await;
    for (key, value) in [
        ("steps", json!(1e300)),
        ("steps", json!(-1)),
        ("steps", json!(u64::MAX)),
        ("problems_per_step", json!(0)),
        ("num_generations", json!(1_000_000)),
        ("learning_rate", json!(-1e-4)),
        ("learning_rate", json!("NaN")),
        ("temperature", json!(0)),
        ("lora_rank", json!(1e9)),
        ("max_completion_length", json!(0)),
        ("max_prompt_tokens", json!(1_000_000_000_u64)),
        ("max_minutes", json!(-5)),
        ("epsilon", json!(2)),
        ("beta", json!(-0.1)),
        ("max_grad_norm", json!(0)),
        ("checkpoint_every", json!(0)),
        ("threads", json!(1_000_000)),
        ("seed", json!(-1)),
        ("warm_start.steps", json!(1e18)),
        ("warmup_steps", json!(999_999_999_999_u64)),
        ("eval_problems", json!(999_999_999)),
        ("eval_every", json!(99_999_999_999_u64)),
        ("lora_alpha", json!(1e300)),
        ("beta", json!(1e300)),
        ("delta", json!(1e300)),
        ("max_grad_norm", json!(1e300)),
        ("max_minutes", json!(1e300)),
        ("eval_batch", json!(0)),
    ] {
        let refused = site.json("/api/v1/runs", json!({ "config": { key: value } })).await.is(422).json();
        let pointers: Vec<&str> = refused["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        assert_eq!(pointers, [format!("/config/{}", key.replace('.', "/"))], "{key} = {value}: {refused}");
        assert!(refused["errors"][0]["detail"].as_str().unwrap().len() > 8);
        let typed = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let page = site.form("/runs/new", &[("recipe", "small"), (key, &typed)]).await;
        assert_eq!(page.status.as_u16(), 422, "{key} = {typed}");
        assert!(page.text.contains(&format!("value=\"{typed}\"")), "{key}: what was typed is kept");
    }
}

#[tokio::test]
async fn requests_from_elsewhere_and_of_any_size_are_refused() {
    let site = Site::new().await;
    let send = |name: &'static str, value: &'static str, path: &'static str| {
        let request = Request::post(path).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json");
        site.send(request.header(name, value).body(Body::from("{}")).unwrap())
    };
    for path in ["/api/v1/runs", "/runs/new", "/tasksets", "/theme/dark", "/api/v1/tasksets?name=a"] {
        for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
            let refused = send(name, value, path).await;
            assert_eq!(refused.status.as_u16(), 403, "{path} {name}: {}", refused.text);
            assert!(refused.json()["detail"].as_str().unwrap().len() > 10);
        }
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.1.2.3"] {
        let request = Request::get("/api/v1/runs").header(header::HOST, host);
        let refused = site.send(request.body(Body::empty()).unwrap()).await.is(421).json();
        assert!(refused["detail"].as_str().unwrap().contains("--allowed-host"));
    }
    let big = "x".repeat(2 << 20);
    for (path, kind) in
        [("/api/v1/runs", "application/json"), ("/runs/new", "application/x-www-form-urlencoded"), ("/theme/dark/x", "text/plain")]
    {
        let refused = site.post(path, kind, big.clone(), None).await;
        assert!([413, 404].contains(&refused.status.as_u16()), "{path}: {}", refused.status);
    }
    let huge = "x".repeat(33 << 20);
    site.post_owned("/api/v1/tasksets?name=a".into(), huge.clone()).await.is(413);
    site.multipart("a", huge.as_bytes()).await.is(413);
    assert!(site.store.runs(&Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn bad_cursors_and_bad_event_ids_are_named() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    for path in [
        "/api/v1/runs?after=%00".into(),
        "/api/v1/runs?after=..".into(),
        "/api/v1/adapters?after=x".into(),
        format!("/api/v1/adapters?after={id}.grpo-9"),
        format!("/api/v1/adapters?after={id}.x-1"),
        format!("/api/v1/runs/{id}/rollouts?after=x"),
        format!("/api/v1/runs/{id}/rollouts?after=9-9-9"),
        format!("/api/v1/runs/{id}/rollouts?after=1-0-0%27%20or%201%3D1"),
        format!("/api/v1/runs/{id}/rollouts?step=x&reward=1e999..&outcome=odd&class=odd&adv=odd&sort=odd&order=odd"),
        format!("/api/v1/runs/{id}/rollouts?limit=0"),
        "/api/v1/tasksets/starter?after=-1".into(),
        "/api/v1/tasksets/starter?limit=201".into(),
        "/api/v1/tasksets/starter?seed=x".into(),
        format!("/api/v1/runs/{id}/metrics?phase=odd"),
        "/api/v1/events?after=1e3".into(),
    ] {
        let refused = site.get(&path).await;
        assert_eq!(refused.status.as_u16(), 400, "{path}: {}", refused.text);
        assert!(refused.json()["detail"].as_str().unwrap().len() > 10, "{path}");
    }
    for bad in ["x", "-1", "1.5", "99999999999999999999", "\u{ff}"] {
        let request = Request::get("/api/v1/events").header(header::HOST, "localhost");
        let value = axum::http::HeaderValue::from_bytes(bad.as_bytes()).unwrap();
        site.send(request.header("last-event-id", value).body(Body::empty()).unwrap()).await.is(400);
    }
}

#[tokio::test]
async fn compressed_uploads_are_not_unpacked() {
    let site = Site::new().await;
    let bomb = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".as_slice(), &[0; 4096]].concat();
    for coding in [None, Some("gzip"), Some("zstd")] {
        let mut request = Request::post("/api/v1/tasksets?name=bomb").header(header::HOST, "localhost");
        if let Some(coding) = coding {
            request = request.header(header::CONTENT_ENCODING, coding);
        }
        site.send(request.body(Body::from(bomb.clone())).unwrap()).await.is(415);
    }
    let zip = [b"PK\x03\x04".as_slice(), &[0; 64]].concat();
    for file in [&bomb, &zip] {
        let page = site.multipart("bomb", file).await.is(415).text;
        assert!(page.contains("The file is compressed"), "{page}");
    }
    assert!(!site.dir.path().join("tasks").exists());
}

#[tokio::test]
async fn what_cannot_be_seen_is_no_name_and_no_note() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let path = format!("/api/v1/runs/{id}");
    for text in ["\u{200b}", "a\u{61c}b", "a\u{2028}b", "a\0b", "a\u{202e}b", "\u{ad}", "\u{2060}"] {
        for key in ["name", "note"] {
            let request = Request::patch(&path).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json");
            let refused = site.send(request.body(Body::from(json!({ key: text }).to_string())).unwrap()).await.is(422).json();
            assert_eq!(refused["errors"][0]["pointer"], format!("/{key}"), "{text:?}");
        }
    }
    let request = Request::patch(&path).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json");
    site.send(request.body(Body::from(json!({ "note": "two\nlines, 日本" }).to_string())).unwrap()).await.is(200);
}

#[tokio::test]
async fn rooms_that_are_not_there_yet_lead_to_the_overview_and_a_wrong_method_says_which_is_right() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    for (room, place) in [("evals", "#evaluations"), ("config", "#config"), ("logs", "#log"), ("metrics", "")] {
        let door = site.get(&format!("/runs/{id}/{room}")).await.is(303);
        assert_eq!(door.headers["location"], format!("/runs/{id}{place}"));
    }
    site.get(&format!("/runs/{id}/nothing")).await.is(404);
    let wrong = site.post("/runs", "text/plain", String::new(), None).await.is(405);
    assert!(wrong.text.contains("does not take that method"), "{}", wrong.text);
    site.form(&format!("/runs/{id}/archive"), &[]).await.is(303);
    site.form(&format!("/runs/{id}/delete"), &[]).await.is(409);
}
