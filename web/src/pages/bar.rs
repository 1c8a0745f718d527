//! The second bar, on every page of a run: is it alive, how far is it, how long will it take; stop, resume, and the run's pages.

use whetstone_domain::{Phase, RunState};
use whetstone_store::RunRow;

use crate::problem::Problem;
use crate::{App, words};

/// The bar.
pub(crate) struct Bar<'a> {
    pub(crate) run: &'a RunRow,
    /// Steps made, of all phases.
    pub(crate) made: usize,
    /// Steps that all phases will have had.
    pub(crate) planned: usize,
    /// How long it will still take; none when that cannot be said.
    pub(crate) left: Option<String>,
    /// How long ago its worker gave a sign of life, while it should.
    pub(crate) heard: Option<String>,
    pub(crate) can_stop: bool,
    pub(crate) can_resume: bool,
    /// Which of the run's pages this is; empty in a list of runs, where the name is no heading.
    pub(crate) tab: &'static str,
}

impl<'a> Bar<'a> {
    /// The bar of a page; `tab` is overview, rollouts, adapters or another word for a page further down.
    pub(crate) async fn of(app: &App, run: &'a RunRow, tab: &'static str) -> Result<Self, Problem> {
        let (made, planned) = (run.steps_made(), run.steps_in_all());
        let heard = run.heartbeat_ms.filter(|_| run.state.is_live());
        Ok(Self {
            run,
            made,
            planned,
            left: left(app, run).await?,
            heard: heard.map(|at| format!("sign of life {} ago", words::span(words::now_ms() - at))),
            can_stop: run.state == RunState::Queued || matches!(run.state, RunState::Starting | RunState::Running),
            can_resume: matches!(run.state, RunState::Stopped | RunState::Failed | RunState::Interrupted),
            tab,
        })
    }

    pub(crate) fn name(&self) -> String {
        words::visible(&self.run.name)
    }

    pub(crate) fn note(&self) -> String {
        words::visible(&self.run.note)
    }

    pub(crate) fn tags(&self) -> Vec<(String, String)> {
        self.run.tags.iter().map(|t| (words::visible(t), words::in_url(t))).collect()
    }

    /// Share of the planned steps, of 1000.
    pub(crate) fn permille(&self) -> usize {
        (1000 * self.made).checked_div(self.planned).unwrap_or(0).min(1000)
    }
}

/// Time that is left at the pace of the latest steps, within the run's own budget of time. Pauses and evaluations are not in it.
async fn left(app: &App, run: &RunRow) -> Result<Option<String>, Problem> {
    let (RunState::Running, Some(phase)) = (run.state, run.phase) else { return Ok(None) };
    let (Some(pace), Ok(config)) = (app.store.pace(run.id, phase).await?, run.config()) else { return Ok(None) };
    let (of, which) = match phase {
        Phase::WarmStart => (config.warm_start.steps, " of the warm start"),
        Phase::Grpo => (config.steps, ""),
    };
    let steps = pace * of.saturating_sub(run.step) as f64;
    let budget = match config.max_minutes {
        Some(minutes) => Some(60_000.0 * minutes - 1000.0 * app.store.step_seconds(run.id).await?),
        None => None,
    };
    Ok(Some(match budget.filter(|b| *b < 1000.0 * steps) {
        Some(budget) => format!("its time is over in about {}", words::span(budget as i64)),
        None => format!("about {} left{which}", words::span((1000.0 * steps) as i64)),
    }))
}
