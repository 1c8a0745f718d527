//! Events and reports as lines for people.
//!
//! In: what loading found, what the worker tells. Out: one line each.

use whetstone_domain::event::Metrics;
use whetstone_domain::{EvaluationKind, EvaluationRecord, EvaluationSummary, Phase, StepRecord};
use whetstone_domain::{RunConfig, stats::McNemar};
use whetstone_train::prepare::{Loaded, Report};

use super::Ui;

/// Refused rows that are printed; the rest is counted.
const REFUSALS_SHOWN: usize = 5;

/// What loading found, told before the first step.
pub fn report(ui: &Ui, report: &Report) {
    for (what, loaded) in [("training", &report.train), ("held-out", &report.held_out)] {
        if let Some(loaded) = loaded {
            set(ui, what, loaded);
        }
    }
    if report.overlap > 0 {
        ui.note(&format!(
            "warning: {} held-out problems are also learned from (same id or same request): accuracy on them says little",
            report.overlap
        ));
    }
}

/// What loading one set found.
pub fn set(ui: &Ui, what: &str, loaded: &Loaded) {
    ui.note(&format!("{what} problems: {} from {}", loaded.problems, loaded.spec));
    if !loaded.dropped.is_empty() {
        ui.note(&format!(
            "  {} dropped: their prompts are longer than max_prompt_tokens = {}; raise it to keep them",
            loaded.dropped.len(),
            loaded.limit
        ));
        some(ui, "    ", &loaded.dropped);
    }
    refusals(ui, &loaded.refused);
    some(ui, "  dropped ", &loaded.unfit);
}

/// The first few with their reasons, the rest counted.
fn some(ui: &Ui, before: &str, dropped: &[String]) {
    dropped.iter().take(REFUSALS_SHOWN).for_each(|d| ui.note(&format!("{before}{d}")));
    if dropped.len() > REFUSALS_SHOWN {
        ui.note(&format!("  and {} more like these", dropped.len() - REFUSALS_SHOWN));
    }
}

/// Rows that were not taken: the first few with place and reason, the rest counted.
pub fn refusals(ui: &Ui, refused: &[whetstone_tooluse::tasks::Refusal]) {
    if refused.is_empty() {
        return;
    }
    ui.note(&format!("  {} rows refused:", refused.len()));
    refused.iter().take(REFUSALS_SHOWN).for_each(|r| ui.note(&format!("    {r}")));
    if refused.len() > REFUSALS_SHOWN {
        ui.note(&format!("    and {} more", refused.len() - REFUSALS_SHOWN));
    }
}

/// A step's numbers.
pub fn step(record: &StepRecord, config: &RunConfig) -> String {
    let m = &record.metrics;
    match record.phase {
        Phase::WarmStart => {
            let unseen = m.get("eval/loss").map(|l| format!("  unseen loss {l:.4}")).unwrap_or_default();
            format!(
                "warm start {}/{}  loss {:.4}{unseen}  {:.1} s",
                record.step,
                config.warm_start.steps,
                at(m, "loss"),
                at(m, "step_time")
            )
        }
        Phase::Grpo => format!(
            "step {}/{}  reward {:.3}  mixed groups {:.0} %  train accuracy {:.1} %  length {:.1}  {:.1} s",
            record.step,
            config.steps,
            at(m, "reward"),
            100.0 * at(m, "group/mixed"),
            100.0 * at(m, "accuracy/train"),
            at(m, "completions/mean_length"),
            at(m, "step_time"),
        ),
    }
}

/// An evaluation made on the way.
pub fn evaluation(e: &EvaluationRecord) -> String {
    let versus = e.versus_baseline.map(|v| format!("; against the prompt alone {}", mcnemar(&v))).unwrap_or_default();
    format!("held-out, {}: {}{versus}", point(e.kind, e.phase, e.step), summary(&e.summary))
}

/// When an evaluation was made.
pub fn point(kind: EvaluationKind, phase: Phase, step: usize) -> String {
    match (kind, phase) {
        (EvaluationKind::Baseline, _) => "prompt alone".into(),
        (EvaluationKind::AfterWarmStart, _) => format!("after {step} warm-start steps"),
        (_, Phase::WarmStart) => format!("at warm-start step {step}"),
        (_, Phase::Grpo) => format!("after {step} GRPO steps"),
    }
}

/// An evaluation's numbers; the paper's two metrics are valid JSON and accuracy.
pub fn summary(s: &EvaluationSummary) -> String {
    format!(
        "accuracy {:.1} % ({:.1} to {:.1}) of {}, valid JSON {:.1} %, names {:.1} %, arguments {:.1} %, no call where none is right {:.1} %",
        100.0 * s.accuracy,
        100.0 * s.ci_low,
        100.0 * s.ci_high,
        s.n,
        100.0 * s.json_valid,
        100.0 * s.name_accuracy,
        100.0 * s.argument_accuracy,
        100.0 * s.no_call_accuracy,
    )
}

/// A paired comparison.
pub fn mcnemar(m: &McNemar) -> String {
    format!("{} gained, {} lost (exact McNemar p = {})", m.gained, m.lost, p_value(m.p))
}

fn p_value(p: f64) -> String {
    if p >= 1e-3 { format!("{p:.3}") } else { format!("{p:.1e}") }
}

fn at(m: &Metrics, key: &str) -> f64 {
    m.get(key).copied().unwrap_or(f64::NAN)
}
