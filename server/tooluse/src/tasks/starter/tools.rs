//! Station *problem*: the starter set with tools that run. In: (split, seed, index); out: a `Problem` whose answer nobody can
//! know without what its tools say: look up, then compute; convert, then compare; arithmetic with dates.
//!
//! Every problem brings its own data, drawn for it alone, so that no price and no name can be learned by heart. The two splits
//! share no tool and no words.

mod calendar;
mod data;
mod draft;
mod held_out;
mod train;

use whetstone_domain::{Environment, Expected, Matcher, Problem, Role, Runnable, problem::Message};

use super::draw::Draw;
use draft::{Draft, Scene};

/// Percent of problems that offer a further tool.
const WITH_A_STRANGER: usize = 50;

/// The first `n` problems of a split.
pub fn load(held_out: bool, seed: u64, n: usize) -> Vec<Problem> {
    (0..n as u64).map(|i| problem(held_out, seed, i)).collect()
}

/// The problem at an index, the same whatever else is asked for.
pub fn problem(held_out: bool, seed: u64, index: u64) -> Problem {
    let scenes: &[Scene] = if held_out { &held_out::SCENES } else { &train::SCENES };
    let mut draw = Draw::of(b"tools001", held_out, seed, index);
    let mut draft = scenes[draw.below(scenes.len())](&mut draw);
    if draw.percent(WITH_A_STRANGER) {
        let mut other = scenes[draw.below(scenes.len())](&mut draw);
        let at = draw.below(other.tools.len());
        let stranger = other.tools.swap_remove(at);
        // a calculator could stand in for the one conversion that is asked for
        let rival = draft.calls.len() == 1 && matches!(stranger.1, Runnable::Calculator {});
        if !rival && draft.tools.iter().all(|(tool, _)| tool.name != stranger.0.name) {
            draft.tools.push(stranger);
            draft.difficulty += 1;
        }
    }
    draw.shuffle(&mut draft.tools);
    let id = if held_out { format!("tools-held-out-{seed}-{index:06}") } else { format!("tools-{seed}-{index:06}") };
    finished(id, draft)
}

fn finished(id: String, draft: Draft) -> Problem {
    let Draft { domain, request, tools, calls, answer, difficulty } = draft;
    let (tools, runnables): (Vec<_>, Vec<_>) = tools.into_iter().map(|(tool, runs)| (tool.clone(), (tool.name, runs))).unzip();
    Problem {
        id,
        messages: vec![Message::new(Role::User, request)],
        tools,
        expected: Expected { calls },
        matcher: Matcher::Bfcl,
        domain: domain.to_owned(),
        difficulty,
        environment: Some(Environment { tools: runnables.into_iter().collect(), now: None }),
        answer: Some(answer),
    }
}

#[cfg(test)]
mod tests;
