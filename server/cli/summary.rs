//! What a run came to: read from the store, printed as sentences or as the last JSON object.
//!
//! In: a run. Out: its evaluations before and after, and paired tests between them. It measures nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use whetstone_domain::stats::{McNemar, mcnemar};
use whetstone_domain::{EvaluationKind, EvaluationSummary, Phase, Prediction, RunState};
use whetstone_store::{BlockingStore, EvaluationRow, RunId};

use super::{Ui, lines};

/// The checkpoint with the highest accuracy.
#[derive(Serialize)]
pub struct Best {
    /// Its phase.
    pub phase: Phase,
    /// Its step.
    pub step: usize,
    /// Its held-out accuracy.
    pub accuracy: f64,
}

/// A run in its last numbers; the last object of `train --json`.
#[derive(Serialize)]
pub struct Summary {
    /// Public id.
    pub run: String,
    /// Its name.
    pub name: String,
    /// GRPO steps made.
    pub steps: usize,
    /// How it stands.
    pub state: RunState,
    /// Why, when it failed.
    pub message: String,
    /// The prompt alone.
    pub before: Option<EvaluationSummary>,
    /// After the warm start, where there was one.
    pub after_warm_start: Option<EvaluationSummary>,
    /// The last evaluation.
    pub after: Option<EvaluationSummary>,
    /// The last against the prompt alone.
    pub mcnemar_vs_baseline: Option<McNemar>,
    /// The last against the checkpoint that GRPO started from, where that was a warm start.
    pub mcnemar_vs_warm_start: Option<McNemar>,
    /// Sign test on the argument scores of answers that are valid calls in both: what GRPO started from against the last.
    pub arguments_vs_start: Option<McNemar>,
    /// The best checkpoint.
    pub best: Option<Best>,
}

impl Summary {
    /// Reads it from the store.
    pub fn read(store: &BlockingStore, run: RunId) -> Result<Self> {
        let row = store.run_by_id(run)?;
        let evaluations = store.evaluations(run)?;
        let find = |kind| evaluations.iter().rfind(|e| e.kind == kind);
        let before = find(EvaluationKind::Baseline);
        let warm = find(EvaluationKind::AfterWarmStart);
        let after = evaluations.last().filter(|e| e.kind != EvaluationKind::Baseline);
        let answers = |e: Option<&EvaluationRow>| -> Result<Option<Vec<Prediction>>> {
            let Some(e) = e else { return Ok(None) };
            Ok(store.evaluation(run, e.phase, e.step)?.map(|r| r.predictions))
        };
        let last = answers(after.filter(|e| e.phase == Phase::Grpo))?;
        let start = answers(warm.or(before))?;
        let both = last.as_deref().zip(start.as_deref());
        Ok(Self {
            run: row.public_id,
            name: row.name,
            steps: if row.phase == Some(Phase::Grpo) { row.step } else { 0 },
            state: row.state,
            message: row.message,
            before: before.map(|e| e.summary.clone()),
            after_warm_start: warm.map(|e| e.summary.clone()),
            after: after.map(|e| e.summary.clone()),
            mcnemar_vs_baseline: after.and_then(|e| e.versus_baseline),
            mcnemar_vs_warm_start: both
                .filter(|_| warm.is_some())
                .map(|(last, start)| mcnemar(pairs(start, last, |a, b| Some((a.correct, b.correct))))),
            arguments_vs_start: both.map(|(last, start)| {
                // of two unequal scores one is "right": McNemar's test is then the sign test
                mcnemar(pairs(start, last, |a, b| Some((a.argument_score?, b.argument_score?))).map(|(a, b)| (a > b, b > a)))
            }),
            best: store.best_checkpoint(run)?.map(|b| Best {
                phase: b.checkpoint.phase,
                step: b.checkpoint.step,
                accuracy: b.summary.accuracy,
            }),
        })
    }

    /// Prints it.
    pub fn show(&self, ui: &Ui) -> Result<()> {
        ui.object(self)?;
        let named = if self.name == self.run { String::new() } else { format!(" ({})", self.name) };
        let why = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        ui.say(&format!("\nRun {}{named} is {} after {} GRPO steps{why}.", self.run, self.state.name(), self.steps));
        let rows =
            [("Prompt alone:     ", &self.before), ("After warm start: ", &self.after_warm_start), ("After training:   ", &self.after)];
        for (what, summary) in rows {
            if let Some(s) = summary {
                ui.say(&format!("{what}{}", lines::summary(s)));
            }
        }
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            ui.say(&format!(
                "JSON validity {:.1} % -> {:.1} %, overall accuracy {:.1} % -> {:.1} %.",
                100.0 * before.json_valid,
                100.0 * after.json_valid,
                100.0 * before.accuracy,
                100.0 * after.accuracy
            ));
        }
        let tests = [
            ("Problems, after training against the prompt alone:", &self.mcnemar_vs_baseline),
            ("Problems, after GRPO against after the warm start:", &self.mcnemar_vs_warm_start),
            ("Arguments of calls that are valid in both, GRPO against where it started:", &self.arguments_vs_start),
        ];
        for (what, test) in tests {
            if let Some(t) = test {
                ui.say(&format!("{what} {}.", lines::mcnemar(t)));
            }
        }
        // step 0 is the untrained adapter: nobody wants to take that along
        if let Some(best) = self.best.as_ref().filter(|b| b.step > 0) {
            let phase = if best.phase == Phase::WarmStart { "warm-start" } else { "GRPO" };
            ui.say(&format!("Best checkpoint: {phase} step {}, accuracy {:.1} %.", best.step, 100.0 * best.accuracy));
            ui.say(&format!("Take it along: whetstone export {} OUT", self.run));
        }
        if matches!(self.state, RunState::Stopped | RunState::Failed | RunState::Interrupted) {
            ui.say(&format!("Go on: whetstone train --resume {}", self.run));
        }
        Ok(())
    }
}

/// What `of` makes of the two answers to each problem that both evaluations asked.
fn pairs<T>(before: &[Prediction], after: &[Prediction], of: impl Fn(&Prediction, &Prediction) -> Option<T>) -> impl Iterator<Item = T> {
    let before: BTreeMap<&str, &Prediction> = before.iter().map(|p| (p.id.as_str(), p)).collect();
    after.iter().filter_map(move |b| of(before.get(b.id.as_str())?, b))
}
