//! What holds for every operation of the API, read from its own document; and live events without a hole.

use super::*;

#[tokio::test]
async fn every_operation_documents_its_guards_and_refuses_unknown_parameters() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let document = site.get("/api/openapi.json").await.is(200).json();
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "421", "500", "503"] {
                assert!(answers.contains_key(status), "{method} {path} does not document {status}");
            }
            assert_eq!(answers.contains_key("507"), method != "get", "{method} {path}");
            let place = path.replace("{run}", &id).replace(['{', '}'], "");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(format!("{place}?nonsense=1"));
            let request = request.header(header::HOST, "localhost").header(header::CONTENT_TYPE, "application/json");
            let refused = site.send(request.body(Body::from("{}")).unwrap()).await.is(400);
            assert!(refused.json()["detail"].as_str().unwrap().contains("nonsense"), "{method} {path}: {}", refused.text);
            assert_eq!(refused.headers["content-type"], "application/problem+json");
            seen += 1;
        }
    }
    assert!(seen >= 24, "{seen}");
    assert_eq!(site.store.runs(&Default::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_stored_right_after_the_start_reaches_a_reader() {
    for _ in 0..20 {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let config = RunConfig::default();
        let new = NewRun { name: "n", config: &config, model: "tiny", base_sha256: "", code_version: "0" };
        let end = CancellationToken::new();
        let live = crate::live::Live::follow(store.clone(), end.clone());
        let mut reader = live.subscribe().await;
        let seen = store.last_event().await.unwrap();
        store.create_run(&new).await.unwrap();
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), reader.recv()).await.unwrap().unwrap();
        assert_eq!((told.kind.as_str(), told.id > seen), ("created", true));
        end.cancel();
    }
}
