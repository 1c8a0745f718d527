//! What pages and API promise, asked of the router over a store with one run of hostile texts.

mod charts;
mod guards;
mod hostile;
mod lists;
mod pages;
mod specs;

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use whetstone_domain::*;
use whetstone_store::{NewRun, RunId, Store};

use crate::{Access, App, Options, Recipe, router};

const XSS: &str = "<script>alert('x')</script>";

struct Site {
    dir: TempDir,
    store: Store,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

impl Site {
    async fn new() -> Self {
        Self::with(Access::default()).await
    }

    async fn with(access: Access) -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let config = RunConfig { steps: 5, ..RunConfig::default() };
        let options = Options {
            store: store.clone(),
            data_dir: dir.path().into(),
            recipes: vec![Recipe { name: "small", toml: "steps = 5\n", config }],
            models: vec!["tiny".into()],
            access,
            version: "0.0.0",
            shutdown: CancellationToken::new(),
        };
        let router = router(App::new(options));
        Self { dir, store, router }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, "localhost").header(header::ACCEPT, "text/html");
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, kind: &str, body: String, key: Option<&str>) -> Answer {
        let mut request = Request::post(path).header(header::HOST, "localhost").header(header::CONTENT_TYPE, kind);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn json(&self, path: &str, body: Value) -> Answer {
        self.post(path, "application/json", body.to_string(), None).await
    }

    async fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let body: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", crate::words::in_url(v))).collect();
        self.post(path, "application/x-www-form-urlencoded", body.join("&"), None).await
    }

    /// A run with two steps and two evaluations, every text of which is an attack.
    async fn with_run(&self) -> (RunId, String) {
        let config = RunConfig { steps: 5, ..RunConfig::default() };
        let new = NewRun { name: XSS, config: &config, model: "tiny", base_sha256: "00", code_version: "0.0.0" };
        let run = self.store.create_run(&new).await.unwrap();
        let id = self.store.run_by_id(run).await.unwrap().public_id;
        self.store.claim(run, std::process::id()).await.unwrap();
        self.store.record(run, &Event::State { state: RunState::Running, message: String::new() }).await.unwrap();
        let baseline = Event::Step { step: None, evaluation: Some(evaluation(0, EvaluationKind::Baseline, false)), checkpoint: None };
        self.store.record(run, &baseline).await.unwrap();
        for step in 1..=2 {
            let metrics = BTreeMap::from([
                ("reward".into(), 0.5),
                ("entropy".into(), f64::NAN),
                ("outcome/correct".into(), 0.5),
                ("group/mixed".into(), 0.5),
            ]);
            let groups = vec![group(0, &[1.0, 0.25]), group(1, &[0.5, 0.5])];
            let evaluation = (step == 2).then(|| evaluation(2, EvaluationKind::Periodic, true));
            let step = StepRecord { phase: Phase::Grpo, step, metrics, groups };
            self.store.record(run, &Event::Step { step: Some(step), evaluation, checkpoint: None }).await.unwrap();
        }
        (run, id)
    }
}

fn evaluation(step: usize, kind: EvaluationKind, correct: bool) -> EvaluationRecord {
    let prediction = Prediction {
        id: format!("p{XSS}"),
        calls: None,
        text: XSS.into(),
        outcome: if correct { Outcome::Correct } else { Outcome::BadJson },
        correct,
        expects_no_call: false,
        name_correct: correct,
        argument_score: None,
        tokens: 3,
    };
    let summary = EvaluationSummary::of(std::slice::from_ref(&prediction), 1.0);
    let versus_baseline = correct.then_some(stats::McNemar { gained: 1, lost: 0, p: 1.0 });
    EvaluationRecord {
        phase: Phase::Grpo,
        step,
        kind,
        tasks: "starter:held-out".into(),
        summary,
        versus_baseline,
        kl: None,
        predictions: vec![prediction],
    }
}

fn group(index: usize, rewards: &[f64]) -> GroupRecord {
    let tool = Tool {
        name: format!("t{XSS}"),
        description: XSS.into(),
        parameters: json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "string" } }, "required": ["a", "b"] }),
    };
    let accept = |v: Value| Accepted { values: vec![v], optional: false };
    let expected =
        ExpectedCall { name: tool.name.clone(), arguments: vec![("a".into(), accept(json!(5))), ("b".into(), accept(json!("x")))] };
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    let spread = rewards[0] != rewards[1];
    let std = if spread { (2.0 * (rewards[0] - mean).powi(2)).sqrt() } else { 0.0 };
    let rollout = |(i, total): (usize, &f64)| Rollout {
        index: i,
        ids: vec![1, 2],
        pieces: vec![XSS.into(), "\u{202e}".into()],
        logprobs: vec![-0.1, -3.0],
        entropies: vec![0.2, 1.5],
        mask: vec![1, 1],
        turns: vec![],
        text: format!("{i}{XSS}"),
        stop: StopReason::Eos,
        parse: ParseReport {
            strict: if i == 0 {
                Ok(vec![call(&tool.name)])
            } else {
                Err(ParseFailure { position: 1, reason: "text after the JSON".into() })
            },
            lenient: None,
        },
        outcome: if i == 0 { Outcome::WrongValues } else { Outcome::BadJson },
        reward: Reward { total: *total, parts: vec![RewardPart { name: "values".into(), value: Some(*total), weight: 0.35 }] },
        advantage: if spread { (total - mean) / (std + 1e-4) } else { 0.0 },
        effective: spread,
    };
    GroupRecord {
        index,
        problem: Problem {
            id: format!("p{XSS}"),
            messages: vec![Message::new(Role::User, XSS)],
            tools: vec![tool.clone()],
            expected: Expected { calls: vec![expected] },
            matcher: Matcher::Bfcl,
            domain: "d".into(),
            difficulty: 1,
            environment: None,
            answer: None,
        },
        prompt: XSS.into(),
        prompt_ids: vec![1],
        mean,
        std,
        class: if spread { GroupClass::Mixed } else { GroupClass::AllWrong },
        rollouts: rewards.iter().enumerate().map(rollout).collect(),
    }
}

fn call(name: &str) -> ToolCall {
    let arguments = json!({ "a": "5", "c": true });
    ToolCall { name: name.into(), arguments: arguments.as_object().cloned().unwrap_or_default() }
}

#[tokio::test]
async fn every_page_shows_hostile_text_as_text() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let run = format!("/runs/{id}");
    let pages = [
        "/runs".into(),
        "/runs?q=%3Cscript%3E&nonsense%3Cscript%3E=1".into(),
        run.clone(),
        format!("{run}/steps/1"),
        format!("{run}/groups/1-0"),
        format!("{run}/groups/1-0?i=1"),
        format!("{run}/groups/1-0?i=1&view=text"),
        format!("{run}/groups/1-0?i=1&view=tokens"),
        format!("{run}/groups/1-0?i=1&view=raw"),
        format!("{run}/rollouts"),
        format!("{run}/rollouts?q=%3Cscript%3E&problem=%3Cscript%3E&outcome=%3Cscript%3E&after=%3Cscript%3E"),
        format!("{run}/groups/1-0?i=1&in=q%3D%253Cscript%253E"),
        format!("{run}/evals/grpo-2"),
        format!("{run}/evals/grpo-2?problem=p%3Cscript%3Ealert('x')%3C%2Fscript%3E"),
        "/adapters".into(),
        format!("/adapters?run={id}&after=%3Cscript%3E"),
        "/runs?tag=%3Cscript%3E&cols=cfg.%3Cscript%3E,%3Cscript%3E".into(),
        "/tasksets".into(),
        "/tasksets/starter?problem=%3Cscript%3E".into(),
        format!("{run}/evals/grpo-2?show=gained&outcome=correct"),
        format!("/compare?runs={id}"),
        format!("/compare?run={id}&run={id}&x=time"),
        format!("/runs/new?from={id}"),
        "/api/docs".into(),
    ];
    for path in &pages {
        let page = site.get(path).await.is(200);
        assert!(!page.text.contains("<script>alert"), "{path}");
        assert!(!page.text.contains('\u{202e}'), "{path}");
        assert!(!page.text.contains(" style="), "{path}: the policy forbids inline styles");
        assert_eq!(page.text.matches("<h1").count(), 1, "{path}");
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    }
    for chart in ["accuracy", "reward", "outcomes", "entropy"] {
        for kind in ["svg", "csv", "json"] {
            let file = site.get(&format!("{run}/chart/{chart}.{kind}")).await.is(200);
            assert!(!file.text.contains("NaN"), "{chart}.{kind}");
        }
    }
}

#[tokio::test]
async fn the_group_page_shows_arithmetic_and_verdicts() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let page = site.get(&format!("/runs/{id}/groups/1-0")).await.is(200).text;
    assert!(page.contains("A₁ = (1.000 − 0.625) / (0.530 + 0.0001) = +0.71"), "{page}");
    for words in ["wrong type", "missing", "not expected", "0.35×"] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let equal = site.get(&format!("/runs/{id}/groups/1-1")).await.is(200).text;
    assert!(equal.contains("All 2 rewards are equal"), "{equal}");
    let broken = site.get(&format!("/runs/{id}/groups/1-0?i=1")).await.is(200).text;
    assert!(broken.contains("text after the JSON") && broken.contains("⟨here⟩"));
}

#[tokio::test]
async fn what_is_not_there_is_a_404_with_a_reason() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let long = "9".repeat(10_000);
    for path in [
        "/runs/r-none",
        "/runs/..%2f..%2fetc",
        "/runs/%00",
        &format!("/runs/{long}"),
        &format!("/runs/{id}/steps/3"),
        &format!("/runs/{id}/steps/{long}"),
        &format!("/runs/{id}/groups/999-0"),
        &format!("/runs/{id}/groups/1-7"),
        &format!("/runs/{id}/groups/x"),
        &format!("/runs/{id}/evals/grpo-1"),
        &format!("/runs/{id}/evals/..-1"),
        &format!("/runs/{id}/chart/none.svg"),
        &format!("/api/v1/runs/{id}/adapters/..%2f..%2fx.zip"),
        "/static/none.js",
    ] {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}: {}", page.text);
        assert!(page.text.len() > 40, "{path}");
    }
}

#[tokio::test]
async fn a_form_with_wrong_fields_comes_back_with_the_words_beside_them() {
    let site = Site::new().await;
    let fields = [("recipe", "small"), ("num_generations", "1"), ("learning_rate", "fast"), ("name", "x\u{202e}"), ("steps", "7")];
    let page = site.form("/runs/new", &fields).await.is(422).text;
    for words in ["must be between 2 and 1024", "value=\"fast\"", "value=\"7\"", "Nothing was started"] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    assert!(site.store.runs(&Default::default()).await.unwrap().is_empty());
    let checked = site.form("/runs/new", &[("recipe", "small"), ("steps", "7"), ("check", "1")]).await.is(200).text;
    assert!(checked.contains("steps = 7") && checked.contains("--set &#39;steps=7&#39;"), "{checked}");
    assert!(site.store.runs(&Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_form_twice_starts_one_run() {
    let site = Site::new().await;
    let fields = [("recipe", "small"), ("key", "form-12345678"), ("name", "one"), ("steps", "7")];
    let first = site.form("/runs/new", &fields).await.is(303);
    let second = site.form("/runs/new", &fields).await.is(303);
    assert_eq!(first.headers["location"], second.headers["location"]);
    let runs = site.store.runs(&Default::default()).await.unwrap();
    assert_eq!((runs.len(), runs[0].state, runs[0].config().unwrap().steps), (1, RunState::Queued, 7));
}

#[tokio::test]
async fn a_run_from_the_api_is_checked_by_field_and_idempotent() {
    let site = Site::new().await;
    let wrong = json!({ "config": { "tasks": "file:/etc/passwd", "model": "/etc", "nonsense": 1, "warm_start": { "steps": -1 }, "steps": 3 }, "name": "a\nb" });
    let refused = site.json("/api/v1/runs", wrong).await.is(422).json();
    let pointers: Vec<&str> = refused["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/config/nonsense", "/config/warm_start/steps", "/config/model", "/config/tasks"]);
    let programs = json!({ "config": { "tools": { "programs": true, "hosts": ["x"], "max_turns": 99 } } });
    let refused = site.json("/api/v1/runs", programs).await.is(422).json();
    let pointers: Vec<&str> = refused["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/config/tools/max_turns", "/config/tools/programs", "/config/tools/hosts"]);
    site.json("/api/v1/runs", json!({ "name": "a\nb" })).await.is(422);
    site.json("/api/v1/runs", json!({ "recipe": "none" })).await.is(422);
    site.json("/api/v1/runs", json!({ "unknown": 1 })).await.is(422);
    let body = json!({ "name": "k", "tags": ["a"], "config": { "steps": 3 } }).to_string();
    let send = |body: String| site.post("/api/v1/runs", "application/json", body, Some("key-1"));
    let (first, second) = (send(body.clone()).await.is(201).json(), send(body).await.is(201).json());
    assert_eq!(first["id"], second["id"]);
    assert_eq!(first["config"]["steps"], 3);
    send(json!({ "name": "other" }).to_string()).await.is(422);
    assert_eq!(site.store.runs(&Default::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn lists_are_paged_and_bad_questions_refused() {
    let site = Site::new().await;
    for i in 0..5 {
        site.json("/api/v1/runs", json!({ "name": format!("run {i}") })).await.is(201);
    }
    let first = site.get("/api/v1/runs?limit=2").await.is(200).json();
    let second = site.get(first["next"].as_str().unwrap()).await.is(200).json();
    let names: Vec<&str> =
        [&first, &second].iter().flat_map(|p| p["items"].as_array().unwrap()).map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run 4", "run 3", "run 2", "run 1"]);
    for bad in ["limit=0", "limit=201", "limit=x", "after=none", "after=%FF", "state=odd", "unknown=1"] {
        let refused = site.get(&format!("/api/v1/runs?{bad}")).await.is(400);
        assert_eq!(refused.headers["content-type"], "application/problem+json", "{bad}");
    }
    site.get("/api/v1/runs?after=r-none").await.is(404);
    site.get("/api/v1/events?after=-1").await.is(400);
    site.get("/api/v1/events?after=x").await.is(400);
}

#[tokio::test]
async fn only_an_archived_run_that_is_not_live_is_deleted() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let delete = || {
        let request = Request::delete(format!("/api/v1/runs/{id}")).header(header::HOST, "localhost");
        site.send(request.body(Body::empty()).unwrap())
    };
    delete().await.is(409);
    site.store.archive_run(run, true).await.unwrap();
    delete().await.is(409);
    site.store.record(run, &Event::State { state: RunState::Failed, message: String::new() }).await.unwrap();
    site.json(&format!("/api/v1/runs/{id}/resume"), json!({})).await.is(202);
    site.json(&format!("/api/v1/runs/{id}/resume"), json!({})).await.is(409);
    site.json(&format!("/api/v1/runs/{id}/stop"), json!({})).await.is(202);
    let folder = site.dir.path().join("runs").join(&id);
    std::fs::create_dir_all(&folder).unwrap();
    delete().await.is(204);
    assert!(!folder.exists());
    site.get(&format!("/api/v1/runs/{id}")).await.is(404);
}

#[tokio::test]
async fn numbers_that_are_none_are_null() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let columns = site.get(&format!("/api/v1/runs/{id}/metrics?keys=entropy,reward")).await.is(200).json();
    assert_eq!(columns["step"], json!([1, 2]));
    assert_eq!(columns["keys"], json!({ "entropy": [null, null], "reward": [0.5, 0.5] }));
    assert_eq!(columns["nan_steps"], json!({ "entropy": [1, 2] }));
}

#[tokio::test]
async fn an_adapter_comes_whole_in_ranges_and_only_as_recorded() {
    use sha2::Digest as _;
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let folder = site.dir.path().join("runs").join(&id).join("checkpoints/grpo-000002");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), "{\"base_model_name_or_path\": \"b\"}").unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), "weights").unwrap();
    let adapter_sha256 = sha2::Sha256::digest("weights").iter().map(|b| format!("{b:02x}")).collect();
    let record = CheckpointRecord {
        phase: Phase::Grpo,
        step: 2,
        folder: "checkpoints/grpo-000002".into(),
        bytes: 9,
        adapter_sha256,
        state: "{}".into(),
    };
    site.store.record(run, &Event::Step { step: None, evaluation: None, checkpoint: Some(record) }).await.unwrap();
    let path = format!("/api/v1/runs/{id}/adapters/grpo-2.zip");
    let whole = site.get(&path).await.is(200);
    assert_eq!(site.get(&format!("/api/v1/runs/{id}/adapters/last.zip")).await.is(200).headers["etag"], whole.headers["etag"]);
    assert!(whole.text.starts_with("PK") && whole.text.contains("weights") && whole.text.contains("base_model: b"));
    let range = Request::get(&path).header(header::HOST, "localhost").header(header::RANGE, "bytes=0-1");
    let part = site.send(range.body(Body::empty()).unwrap()).await.is(206);
    assert_eq!(part.text, "PK");
    let squeezed = Request::get(&path).header(header::HOST, "localhost").header(header::ACCEPT_ENCODING, "gzip");
    let squeezed = site.send(squeezed.body(Body::empty()).unwrap()).await.is(200);
    assert!(!squeezed.headers.contains_key(header::CONTENT_ENCODING) && squeezed.headers.contains_key(header::ACCEPT_RANGES));
    let same = Request::get(&path).header(header::HOST, "localhost").header(header::IF_NONE_MATCH, &whole.headers["etag"]);
    site.send(same.body(Body::empty()).unwrap()).await.is(304);
    std::fs::write(folder.join("adapter_model.safetensors"), "weightz").unwrap();
    assert!(site.get(&path).await.is(409).text.contains("sha256 differs"));
}

#[tokio::test]
async fn an_upload_is_reported_kept_and_never_overwritten() {
    let site = Site::new().await;
    let row = json!({ "id": "a", "messages": [{ "role": "user", "content": "Hi" }],
        "tools": [{ "name": "f", "description": "d", "parameters": { "type": "object", "properties": {} } }], "expected": [] });
    let text = format!("{row}\nnot json\n");
    let upload = |name: &str, text: String| site.post_owned(format!("/api/v1/tasksets?name={name}"), text);
    let report = upload("mine", text.clone()).await.is(201).json();
    assert_eq!((&report["problems"], &report["refused"], &report["spec"]), (&json!(1), &json!(1), &json!("file:mine")));
    assert!(report["refusals"][0].as_str().unwrap().starts_with("mine.jsonl, line 2"), "{report}");
    upload("mine", text.clone()).await.is(409);
    upload("none", "nonsense".into()).await.is(422);
    for bad in ["..%2fup", "A", "", "a.b"] {
        upload(bad, text.clone()).await.is(400);
    }
    assert_eq!(
        site.get("/api/v1/tasksets").await.is(200).json(),
        json!([
            "starter",
            "starter:held-out",
            "starter:wide",
            "starter:wide-held-out",
            "starter:tools",
            "starter:tools-held-out",
            "file:mine"
        ])
    );
    assert_eq!(std::fs::read_dir(site.dir.path().join("tasks")).unwrap().count(), 1, "nothing is left aside");
}

impl Site {
    async fn post_owned(&self, path: String, body: String) -> Answer {
        self.post(&path, "application/x-ndjson", body, None).await
    }
}

#[tokio::test]
async fn a_token_is_asked_for_and_a_link_with_it_becomes_a_cookie() {
    let site = Site::with(Access { hosts: vec!["lab".into()], token: Some("secret-1".into()) }).await;
    site.get("/runs").await.is(401);
    site.get("/healthz").await.is(200);
    let link = site.get("/runs?token=secret-1").await.is(303);
    assert_eq!(link.headers["location"], "/runs");
    let cookie = link.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for (name, value) in [(header::COOKIE, cookie.as_str()), (header::AUTHORIZATION, "Bearer secret-1")] {
        let request = Request::get("/runs").header(header::HOST, "lab:80").header(name, value);
        site.send(request.body(Body::empty()).unwrap()).await.is(200);
    }
    let request = Request::get("/runs").header(header::HOST, "localhost").header(header::AUTHORIZATION, "Bearer secret-2");
    site.send(request.body(Body::empty()).unwrap()).await.is(401);
}

#[tokio::test]
async fn the_document_names_every_route_and_answers_are_json() {
    let site = Site::new().await;
    let document = site.get("/api/openapi.json").await.is(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths.len(), 20, "{paths:?}");
    for path in ["/api/v1/models", "/api/v1/recipes", "/api/v1/tasksets", "/api/v1/runs"] {
        site.get(path).await.is(200).json();
    }
    site.get("/readyz").await.is(200);
    let method = Request::put("/api/v1/runs").header(header::HOST, "localhost");
    let refused = site.send(method.body(Body::empty()).unwrap()).await.is(405);
    assert_eq!(refused.headers["content-type"], "application/problem+json");
}
