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
    /// Problems dropped because their prompt is too long, each with its id and length.
    pub dropped: Vec<String>,
    /// Easy problems are met first, pass after pass.
    pub curriculum: bool,
}

impl Pool {
    /// Tokenises a task set; prompts over `limit` tokens are dropped by name, and nothing left is an error.
    pub fn new(policy: &Policy, tasks: TaskSet, limit: usize) -> Result<Self> {
        let of = tasks.problems.len();
        let prompts = policy.prompts(&tasks.problems)?;
        let (mut items, mut dropped) = (Vec::with_capacity(of), Vec::new());
        for (problem, (prompt, ids)) in tasks.problems.into_iter().zip(prompts) {
            match (1..=limit).contains(&ids.len()) {
                true => items.push(Prepared { problem, prompt, ids }),
                false => dropped.push(format!("problem {}: {} tokens, tools offered: {}", problem.id, ids.len(), problem.tools.len())),
            }
        }
        if items.is_empty() {
            return Err(TrainError::NoProblems { spec: tasks.spec, dropped: dropped.len(), of, limit });
        }
        Ok(Self { items, dropped, curriculum: tasks.curriculum })
    }

    /// The `position`-th problem a run meets: pass after pass over the pool, each in an order of its own, by difficulty where the task
    /// set says so.
    pub fn at(&self, seed: u64, position: usize) -> &Prepared {
        let n = self.items.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng::at(Use::Order, seed, (position / n) as u64, 0, 0));
        if self.curriculum {
            // stable: equally hard ones stay shuffled
            order.sort_by_key(|&i| self.items[i].problem.difficulty);
        }
        &self.items[order[position % n]]
    }

    /// Sets the last `n` problems aside, leaving at least half: (to learn from, to measure on).
    pub fn split(mut self, n: usize) -> (Self, Self) {
        let keep = self.items.len() - n.min(self.items.len() / 2);
        let aside = self.items.split_off(keep);
        (self, Self { items: aside, dropped: Vec::new(), curriculum: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_tooluse::tasks::starter;

    #[test]
    fn a_curriculum_meets_easy_problems_first_and_every_problem_once_a_pass() {
        let item = |problem: Problem| Prepared { problem, prompt: String::new(), ids: vec![1] };
        let items: Vec<Prepared> = starter::load(false, 0, 60).into_iter().map(item).collect();
        let mut pool = Pool { items, dropped: Vec::new(), curriculum: true };
        let met = |pool: &Pool| (0..120).map(|i| pool.at(5, i).problem.clone()).collect::<Vec<_>>();
        let ordered = met(&pool);
        for pass in ordered.chunks(60) {
            assert!(pass.is_sorted_by_key(|p| p.difficulty));
            let mut ids: Vec<_> = pass.iter().map(|p| p.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 60);
        }
        assert_ne!(ordered[..60], ordered[60..], "equally hard ones come in another order");
        pool.curriculum = false;
        assert!(!met(&pool)[..60].is_sorted_by_key(|p| p.difficulty));
    }
}
