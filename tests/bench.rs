//! `whetstone bench` on the tiny model: what it counts, not how fast it is.

use serde_json::json;

use crate::support::Lab;

#[test]
fn a_step_of_fixed_size_updates_every_token_and_says_where_the_time_went() {
    let lab = Lab::new();
    let prompt = |n: u32| json!({ "ids": (40..40 + n).collect::<Vec<_>>() });
    let workload = json!({ "problems_per_step": 2, "group": 3, "new_tokens": 5, "prompts": [prompt(20), prompt(31), prompt(9)] });
    lab.write("workload.json", &workload.to_string());
    let args = ["bench", "step", "--model", "tiny-model", "--workload", "workload.json", "--steps", "2", "--json"];
    for compute in ["f32", "bf16"] {
        let found = lab.run(&[&args[..], &["--compute", compute]].concat()).ok().objects().remove(0);
        assert_eq!((&found["groups_updated"], &found["tokens_updated"], &found["steps"]), (&json!(2), &json!(2 * 3 * 5), &json!(2)));
        assert_eq!(found["compute"], compute);
        let positive = |key: &str| assert!(found[key].as_f64().is_some_and(|x| x > 0.0 && x.is_finite()), "{key}: {found}");
        for key in [
            "seconds_per_step_median",
            "seconds_per_step_min",
            "peak_rss_gb",
            "rollout_tokens_per_second",
            "gemm_peak_gflops",
            "update_share_of_peak",
        ] {
            positive(key);
        }
        let split = found["split"].as_object().unwrap();
        assert_eq!(
            split.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            ["prefill", "decode", "reward", "forward", "backward", "optimizer"].into()
        );
        let parts: f64 = split.values().map(|x| x.as_f64().unwrap()).sum();
        assert!(parts <= 2.0 * found["seconds_per_step_median"].as_f64().unwrap(), "{found}");
    }
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let lab = Lab::new();
    lab.write("empty.json", r#"{"problems_per_step": 1, "group": 2, "new_tokens": 1, "prompts": []}"#);
    let step = ["bench", "step", "--model", "tiny-model", "--workload"];
    lab.run(&[&step[..], &["empty.json"]].concat()).refused(&["empty.json", "needs prompts"]);
    lab.run(&[&step[..], &["absent.json"]].concat()).refused(&["absent.json"]);
    let ran = lab.run(&["bench", "step", "--steps", "0"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--steps"), "{}", ran.stderr);
}
