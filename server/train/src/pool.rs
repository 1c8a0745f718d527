//! Problems with their prompts, and the order in which a run meets them.

use rand::seq::SliceRandom;
use whetstone_domain::Problem;
use whetstone_tooluse::TaskSet;

use crate::error::{Result, TrainError};
use crate::policy::Policy;
use crate::rng::{self, Use};

/// One problem, rendered and tokenised once.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The problem.
    pub problem: Problem,
    /// Its rendered prompt.
    pub prompt: String,
    /// The prompt's ids. [P]
    pub ids: Vec<u32>,
}

/// Problems that fit the run's limits.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// The problems.
    pub items: Vec<Prepared>,
    /// Problems dropped because their prompt is too long.
    pub dropped: usize,
}

impl Pool {
    /// Tokenises a task set; prompts over `limit` tokens are dropped and counted, and nothing left is an error.
    pub fn new(policy: &Policy, tasks: TaskSet, limit: usize) -> Result<Self> {
        let of = tasks.problems.len();
        let prompts = policy.prompts(&tasks.problems)?;
        let items: Vec<Prepared> = tasks
            .problems
            .into_iter()
            .zip(prompts)
            .filter(|(_, (_, ids))| ids.len() <= limit && !ids.is_empty())
            .map(|(problem, (prompt, ids))| Prepared { problem, prompt, ids })
            .collect();
        let dropped = of - items.len();
        if items.is_empty() {
            return Err(TrainError::NoProblems { spec: tasks.spec, dropped, of, limit });
        }
        Ok(Self { items, dropped })
    }

    /// The `position`-th problem a run meets: pass after pass over the pool, each in an order of its own.
    pub fn at(&self, seed: u64, position: usize) -> &Prepared {
        let n = self.items.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng::at(Use::Order, seed, (position / n) as u64, 0, 0));
        &self.items[order[position % n]]
    }

    /// Sets the last `n` problems aside, leaving at least half: (to learn from, to measure on).
    pub fn split(mut self, n: usize) -> (Self, Self) {
        let keep = self.items.len() - n.min(self.items.len() / 2);
        let aside = self.items.split_off(keep);
        (self, Self { items: aside, dropped: 0 })
    }
}
