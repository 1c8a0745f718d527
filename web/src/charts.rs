//! The charts of a run, and those that compare runs: which numbers of the store answer which question.

use std::collections::BTreeMap;

use whetstone_domain::{GroupClass, Outcome, Phase};
use whetstone_store::{EvaluationRow, RunRow};

use crate::App;
use crate::chart::{Chart, Kind, Series};
use crate::problem::Problem;

type Columns = BTreeMap<String, Vec<(usize, f64)>>;

/// Every chart of a run, empty ones included. The x axis counts the steps of all phases: warm start first.
pub(crate) async fn of_run(app: &App, run: &RunRow, evaluations: &[EvaluationRow]) -> Result<Vec<Chart>, Problem> {
    let warm = app.store.metrics(run.id, Phase::WarmStart).await?;
    let grpo = app.store.metrics(run.id, Phase::Grpo).await?;
    let before = steps_before(&warm);
    let of = |name: &str, shown: &str| series(&grpo, name, shown, before);
    let mut parts: Vec<Series> = vec![of("reward", "reward")];
    for key in grpo.keys() {
        if let Some(part) = key.strip_prefix("rewards/").and_then(|k| k.strip_suffix("/mean")) {
            parts.push(of(key, part));
        }
    }
    let lengths =
        vec![of("completions/mean_length", "mean"), of("completions/min_length", "shortest"), of("completions/max_length", "longest")];
    let mut step_time = of("step_time", "step");
    step_time.points.splice(0..0, series(&warm, "step_time", "", 0).points);
    let times = vec![step_time, of("time/rollout", "rollouts"), of("time/update", "update")];
    let losses = vec![series(&warm, "loss", "learned from", 0), series(&warm, "eval/loss", "unseen", 0)];
    let rollouts = format!("/runs/{}/rollouts", run.public_id);
    let outcome = |o: Outcome| Series {
        label: Some(format!("{} {}", o.letter(), o.name())),
        href: Some(format!("{rollouts}?outcome={}", o.name())),
        ..of(&format!("outcome/{}", o.name()), o.name())
    };
    let class =
        |c: GroupClass| Series { href: Some(format!("{rollouts}?class={}", c.name())), ..of(&format!("group/{}", c.name()), c.name()) };
    let outcomes = Outcome::ALL.into_iter().map(outcome).collect();
    let classes = GroupClass::ALL.into_iter().map(class).collect();
    let mut measured = accuracy(evaluations, "held-out accuracy", before);
    measured.hrefs = evaluations.iter().map(|e| format!("/runs/{}/evals/{}-{}", run.public_id, e.phase.name(), e.step)).collect();
    let charts = [
        ("accuracy", "Does it get better on unseen problems?", Kind::Lines, true, vec![measured]),
        ("reward", "What do the sampled answers earn?", Kind::Lines, false, parts),
        ("outcomes", "Where do the sampled answers fail?", Kind::Stacked, true, outcomes),
        ("groups", "How many groups can teach anything?", Kind::Stacked, true, classes),
        ("length", "How long are the answers, in tokens?", Kind::Lines, false, lengths),
        ("entropy", "Does it still try different answers? Entropy, nat", Kind::Lines, false, vec![of("entropy", "entropy")]),
        ("time", "What takes the time, in seconds?", Kind::Lines, false, times),
        ("loss", "How did the warm start go? Loss per token, nat", Kind::Lines, false, losses),
    ];
    let name = if before > 0 { "step, warm start first" } else { "step" };
    let wanted = charts.into_iter().filter(|c| c.0 != "loss" || before > 0);
    let sampled = |key: &str| match key {
        "reward" => Some(format!("{rollouts}?sort=reward")),
        "length" => Some(format!("{rollouts}?sort=tokens")),
        "outcomes" | "groups" | "entropy" => Some(rollouts.clone()),
        _ => None,
    };
    let steps = (format!("/runs/{}/steps", run.public_id), before);
    let chart = |(key, title, kind, percent, series): (&'static str, &'static str, Kind, bool, Vec<Series>)| {
        // the numbers of an evaluation are made by held-out problems, not by the step's rollouts
        let steps = (key != "accuracy" && key != "loss").then(|| steps.clone());
        Chart::new(key, title, name, kind, percent, present(series, kind)).made_by(sampled(key), steps)
    };
    Ok(wanted.map(chart).collect())
}

/// How runs are laid over each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Step,
    Minutes,
    Rollouts,
}

impl Align {
    /// The one of a name; steps when there is none.
    pub(crate) fn of(name: Option<&str>) -> Self {
        match name {
            Some("time") => Self::Minutes,
            Some("rollouts") => Self::Rollouts,
            _ => Self::Step,
        }
    }

    fn x_name(self) -> &'static str {
        match self {
            Self::Step => "step, warm start first",
            Self::Minutes => "minutes of steps",
            Self::Rollouts => "rollouts",
        }
    }
}

/// Accuracy and reward of several runs.
pub(crate) async fn of_runs(app: &App, runs: &[RunRow], align: Align) -> Result<Vec<Chart>, Problem> {
    let (mut accuracies, mut rewards) = (Vec::new(), Vec::new());
    for run in runs {
        let warm = app.store.metrics(run.id, Phase::WarmStart).await?;
        let grpo = app.store.metrics(run.id, Phase::Grpo).await?;
        let before = steps_before(&warm);
        let each = run.config().map(|c| c.problems_per_step * c.num_generations).unwrap_or(0) as f64;
        let mut seconds = series(&warm, "step_time", "", 0).points;
        seconds.extend(series(&grpo, "step_time", "", before).points);
        let place = |x: f64| match align {
            Align::Step => x,
            Align::Minutes => seconds.iter().filter(|(s, t)| *s <= x && t.is_finite()).map(|(_, t)| t).sum::<f64>() / 60.0,
            Align::Rollouts => (x - before as f64).max(0.0) * each,
        };
        let name = match &run.name {
            name if *name == run.public_id => name.clone(),
            name => format!("{} ({})", crate::words::short(name, 40), run.public_id),
        };
        for (all, mut one) in [
            (&mut accuracies, accuracy(&app.store.evaluations(run.id).await?, "", before)),
            (&mut rewards, series(&grpo, "reward", "", before)),
        ] {
            one.name.clone_from(&name);
            one.points.iter_mut().for_each(|p| p.0 = place(p.0));
            all.push(one);
        }
    }
    let chart = |key, title, percent, series| Chart::new(key, title, align.x_name(), Kind::Lines, percent, series);
    Ok(vec![
        chart("accuracy", "Which gets better on unseen problems?", true, accuracies),
        chart("reward", "What do their sampled answers earn?", false, rewards),
    ])
}

fn steps_before(warm: &Columns) -> usize {
    warm.values().flatten().map(|(s, _)| *s).max().unwrap_or(0)
}

fn series(columns: &Columns, key: &str, shown: &str, before: usize) -> Series {
    let points = columns.get(key).into_iter().flatten().map(|(s, v)| ((before + s) as f64, *v)).collect();
    Series { name: shown.into(), points, ..Series::default() }
}

fn accuracy(evaluations: &[EvaluationRow], name: &str, before: usize) -> Series {
    let mut s = Series { name: name.into(), ..Series::default() };
    for e in evaluations {
        let x = if e.phase == Phase::Grpo { before + e.step } else { e.step };
        s.points.push((x as f64, e.summary.accuracy));
        s.ends.push((e.summary.ci_low, e.summary.ci_high));
    }
    s
}

/// Without lines that hold nothing; a stack keeps its empty layers, whose place is their colour.
fn present(series: Vec<Series>, kind: Kind) -> Vec<Series> {
    match kind {
        Kind::Lines => series.into_iter().filter(|s| !s.points.is_empty()).collect(),
        Kind::Stacked => series,
    }
}
