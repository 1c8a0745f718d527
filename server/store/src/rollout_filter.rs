//! Which rollouts a list shows and in which order, as a question and as SQL.
//!
//! In: a [`RolloutFilter`]. Out: the `where` of its query, and what its order compares. The queries are in `rollouts`.

use sqlx::QueryBuilder;
use sqlx::sqlite::Sqlite;
use whetstone_domain::{GroupClass, Outcome};

use crate::RunId;
use crate::column::int;

/// What a list of rollouts is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RolloutSort {
    /// When it was made.
    #[default]
    Step,
    /// What it earned.
    Reward,
    /// Its advantage.
    Advantage,
    /// How many tokens it has.
    Tokens,
}

impl RolloutSort {
    /// Every order.
    pub const ALL: [Self; 4] = [Self::Step, Self::Reward, Self::Advantage, Self::Tokens];

    /// Name used in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Reward => "reward",
            Self::Advantage => "advantage",
            Self::Tokens => "tokens",
        }
    }

    /// What is compared; a reward that is no number counts as the lowest.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Step => "r.id",
            Self::Reward => "coalesce(r.total, -9e999)",
            Self::Advantage => "coalesce(r.advantage, -9e999)",
            Self::Tokens => "r.tokens",
        }
    }
}

/// Which rollouts of a run, and in which order. What is left at its default filters nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutFilter {
    /// On one of these rungs; empty = on any.
    pub outcomes: Vec<Outcome>,
    /// In a group of this class.
    pub class: Option<GroupClass>,
    /// First and last step, both included.
    pub steps: (Option<usize>, Option<usize>),
    /// Lowest and highest reward, both included.
    pub reward: (Option<f64>, Option<f64>),
    /// Advantage above 0 (true), below 0 (false).
    pub advantage: Option<bool>,
    /// Of the problem with exactly this id.
    pub problem: Option<String>,
    /// With this text in the completion or the request, whatever its case.
    pub text: Option<String>,
    /// What it is ordered by.
    pub sort: RolloutSort,
    /// From the lowest on; the default is from the highest.
    pub ascending: bool,
}

/// Pushes the `where` of a filter.
pub(crate) fn narrow(query: &mut QueryBuilder<Sqlite>, run: RunId, f: &RolloutFilter) {
    query.push(" where r.run = ").push_bind(run.0).push(" and r.phase = 'grpo'");
    if !f.outcomes.is_empty() {
        query.push(" and r.outcome in (");
        let mut codes = query.separated(", ");
        for o in &f.outcomes {
            codes.push_bind(i64::from(o.code()));
        }
        query.push(")");
    }
    if let Some(class) = f.class {
        query.push(" and g.class = ").push_bind(class.name());
    }
    for (sign, step) in [(" >= ", f.steps.0), (" <= ", f.steps.1)] {
        if let Some(step) = step {
            query.push(" and r.step").push(sign).push_bind(int(step));
        }
    }
    for (sign, reward) in [(" >= ", f.reward.0), (" <= ", f.reward.1)] {
        if let Some(reward) = reward {
            query.push(" and r.total").push(sign).push_bind(reward);
        }
    }
    match f.advantage {
        Some(true) => drop(query.push(" and r.advantage > 0")),
        Some(false) => drop(query.push(" and r.advantage < 0")),
        None => {}
    }
    if let Some(problem) = &f.problem {
        query.push(" and p.key = ").push_bind(problem.clone());
    }
}
