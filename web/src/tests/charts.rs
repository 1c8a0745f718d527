//! Charts and lists of numbers: lines that are told apart, files with every number, and only real differences.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn nine_lines_of_a_chart_are_told_apart() {
    let site = Site::new().await;
    let (run, id) = site.with_run().await;
    let parts = ["correct", "keys", "marker", "names", "no_call", "only_json", "parse_progress", "values"];
    let means = parts.iter().map(|p| (format!("rewards/{p}/mean"), 0.5));
    let metrics: BTreeMap<String, f64> = means.chain([("reward".to_owned(), 0.5)]).collect();
    let step = StepRecord { phase: Phase::Grpo, step: 3, metrics, groups: vec![] };
    site.store.record(run, &Event::Step { step: Some(step), evaluation: None, checkpoint: None }).await.unwrap();
    let page = site.get(&format!("/runs/{id}")).await.is(200).text;
    let chart = page.split("id=\"chart-reward\"").nth(1).unwrap().split("</figure>").next().unwrap();
    let legend = chart.split("class=\"legend\"").nth(1).unwrap().split("</ul>").next().unwrap();
    let classes: Vec<&str> = legend.split("<path class=\"").skip(1).map(|p| p.split('"').next().unwrap()).collect();
    let looks: BTreeSet<&str> = classes.iter().map(|c| c.split(' ').nth(1).unwrap()).collect();
    assert_eq!((classes.len(), looks.len()), (9, 9), "{classes:?}");
    assert!(classes[0].ends_with(" reward-0"), "the total has a line of its own: {classes:?}");
    let css = include_str!("../../../static/run.css");
    let colours: Vec<&str> = css.lines().filter(|l| l.contains("{ --c:")).collect();
    let dashes: Vec<&str> = css.lines().filter(|l| l.trim_start().starts_with(".line") && l.contains("stroke-dasharray")).collect();
    // colour and dash of each of the 24 looks, as the style sheet's lines name them
    let look = |i: usize| {
        let named = |lines: &[&str]| {
            let has = |l: &&&str| l.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == format!("s{i}"));
            lines.iter().filter(has).map(|l| l.rsplit('{').next().unwrap().to_owned()).collect::<String>()
        };
        (named(&colours), named(&dashes))
    };
    let all: BTreeSet<(String, String)> = (0..24).map(look).collect();
    assert_eq!(all.len(), 24, "{all:?}");
    assert!(all.iter().all(|l| !l.0.is_empty()), "{all:?}");
}

#[tokio::test]
async fn the_files_of_a_chart_hold_the_intervals_that_it_shows() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let csv = site.get(&format!("/runs/{id}/chart/accuracy.csv")).await.is(200).text;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "x,\"held-out accuracy\",\"held-out accuracy low\",\"held-out accuracy high\"");
    assert_eq!(lines.len(), 3, "{csv}");
    for line in &lines[1..] {
        let numbers: Vec<f64> = line.split(',').map(|n| n.parse().unwrap()).collect();
        assert!(numbers.len() == 4 && numbers[2] <= numbers[1] && numbers[1] <= numbers[3], "{line}");
    }
    let json = site.get(&format!("/runs/{id}/chart/accuracy.json")).await.is(200).json();
    let series = &json["series"][0];
    assert_eq!([&series["y"], &series["low"], &series["high"]].map(|c| c.as_array().unwrap().len()), [2, 2, 2]);
    let plain = site.get(&format!("/runs/{id}/chart/reward.csv")).await.is(200).text;
    assert_eq!(plain.lines().next(), Some("x,\"reward\""));
    let json = site.get(&format!("/runs/{id}/chart/reward.json")).await.is(200).json();
    assert!(json["series"][0].get("low").is_none(), "{json}");
}

#[tokio::test]
async fn runs_are_compared_by_values_and_their_numbers_come_as_files() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let start = async |steps: usize| {
        let run = site.json("/api/v1/runs", json!({ "name": "n", "config": { "steps": steps } })).await.is(201).json();
        run["id"].as_str().unwrap().to_owned()
    };
    let (a, b, c) = (start(3).await, start(3).await, start(4).await);
    let same = site.get(&format!("/compare?runs={a},{b}")).await.is(200).text;
    assert!(same.contains("Nothing: all "), "{same}");
    let other = site.get(&format!("/compare?runs={a},{c}")).await.is(200).text;
    let configs = other.split("data-live=\"configs\"").nth(1).unwrap();
    assert_eq!(configs.matches("<tr><th scope=\"row\">").count(), 1, "{configs}");
    assert!(configs.contains(">steps</code>"), "{configs}");
    let link = format!("?runs={a},{id}&amp;x=time&amp;file=accuracy.csv");
    let page = site.get(&format!("/compare?runs={a},{id}&x=time")).await.is(200).text;
    assert!(page.contains(&link), "{page}");
    let csv = site.get(&format!("/compare?runs={a},{id}&x=time&file=accuracy.csv")).await.is(200);
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert!(csv.text.lines().next().unwrap().ends_with(" high\""), "{}", csv.text);
    let json = site.get(&format!("/compare?runs={id}&file=reward.json")).await.is(200).json();
    assert_eq!(json["series"][0]["y"], json!([0.5, 0.5]));
    for odd in ["nothing.csv", "reward.exe", "reward", "..%2f..%2fetc%2fpasswd"] {
        site.get(&format!("/compare?runs={id}&file={odd}")).await.is(404);
    }
}

#[tokio::test]
async fn pages_that_show_evaluations_follow_their_runs() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let other = site.json("/api/v1/runs", json!({ "name": "n" })).await.is(201).json();
    let other = other["id"].as_str().unwrap();
    let of_run = format!("data-follow=\"{id}\"");
    for (path, follows, part) in [
        (format!("/runs/{id}/evals/grpo-2"), of_run.as_str(), "list"),
        (format!("/compare?runs={id}"), of_run.as_str(), "measured"),
        (format!("/compare?runs={id},{other}"), "data-follow=\"\"", "configs"),
        ("/compare".to_owned(), "data-follow=\"\"", "choice"),
    ] {
        let page = site.get(&path).await.is(200).text;
        assert!(page.contains(follows) && page.contains(&format!("data-live=\"{part}\"")), "{path}: {page}");
        let mut parts: Vec<&str> = page.split("data-live=\"").skip(1).map(|p| p.split('"').next().unwrap()).collect();
        let all = parts.len();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), all, "{path}: a part is exchanged by its name");
    }
}

#[tokio::test]
async fn shares_are_percents_and_no_advantage_has_no_colour() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let step = site.get(&format!("/runs/{id}/steps/1")).await.is(200).text;
    assert!(step.contains(">50.0 %</a>"), "{step}");
    let list = site.get(&format!("/runs/{id}/rollouts")).await.is(200).text;
    assert!(list.contains("<td class=\"num \">+0.00</td>") && list.contains("<td class=\"num contra\">-0.71</td>"), "{list}");
    let group = site.get(&format!("/runs/{id}/groups/1-0")).await.is(200).text;
    assert!(group.contains("wrong_<wbr>values"), "{group}");
}

#[tokio::test]
async fn the_list_of_runs_shows_how_a_note_begins() {
    let site = Site::new().await;
    let (_, id) = site.with_run().await;
    let note = format!("first line\n{}", "n".repeat(100));
    site.form(&format!("/runs/{id}/edit"), &[("name", "n"), ("tags", ""), ("note", &note)]).await.is(303);
    let page = site.get("/runs").await.is(200).text;
    assert!(page.contains(&format!("<small class=\"muted note\">first line {}…</small>", "n".repeat(49))), "{page}");
}
