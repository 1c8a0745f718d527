//! Station *problem*: the starter task set. In: (split, seed, index); out: a `Problem` with one request, one to three tools
//! and the expected call, or no call. Two whole domains are held out: no tool of theirs is ever shown in training. Half of the
//! problems for training show their tools under other names ([`naming`]).
//!
//! The words live in `server/tooluse/starter/*.toml`; a problem depends on seed, split and index only, never on how many are
//! asked for.

mod build;
mod check;
mod content;
mod draw;
mod dress;
mod naming;
mod parse;
mod spoken;
mod template;
#[cfg(test)]
mod tests;
pub mod tools;
mod value;
mod wide;

use whetstone_domain::problem::{Problem, Tool};

use build::Split;
use draw::Draw;

/// Domains kept for evaluation, with all their tools.
const HELD_OUT: [&str; 3] = ["travel", "health", "delivery"];

/// The first `n` problems of a split.
pub fn load(held_out: bool, seed: u64, n: usize) -> Vec<Problem> {
    let split = Split::of(content::content(), held_out);
    (0..n as u64).map(|i| one(&split, held_out, seed, i)).collect()
}

/// The first `n` problems of a split of the wide set: also several calls, look-alikes of the right tool, values to be brought into
/// another form.
pub fn load_wide(held_out: bool, seed: u64, n: usize) -> Vec<Problem> {
    let split = Split::of(content::wide_content(), held_out);
    (0..n as u64).map(|i| one_wide(&split, held_out, seed, i)).collect()
}

fn one_wide(split: &Split<'_>, held_out: bool, seed: u64, index: u64) -> Problem {
    let mut draw = Draw::wide(held_out, seed, index);
    let name = if held_out { "wide-held-out" } else { "wide" };
    let id = format!("starter-{name}-{seed}-{index:06}");
    let mut made = wide::problem(split, id, &mut draw).unwrap_or_else(|| unreachable!("a split without tools"));
    if !held_out {
        naming::rename(&mut made, &mut draw);
    }
    made
}

/// The problem at an index, the same whatever else is asked for.
pub fn problem(held_out: bool, seed: u64, index: u64) -> Problem {
    one(&Split::of(content::content(), held_out), held_out, seed, index)
}

/// Domains whose tools training may show.
pub fn train_domains() -> Vec<&'static str> {
    domains(false)
}

/// Domains whose tools only evaluations show.
pub fn held_out_domains() -> Vec<&'static str> {
    domains(true)
}

/// The tools of a domain; empty for an unknown one.
pub fn tools_of(domain: &str) -> Vec<Tool> {
    let found = content::content().domains.iter().filter(|d| d.name == domain);
    found.flat_map(|d| d.tools.iter().map(build::schema)).collect()
}

fn domains(held_out: bool) -> Vec<&'static str> {
    Split::of(content::content(), held_out).domains.into_iter().map(|d| d.name.as_str()).collect()
}

fn one(split: &Split<'_>, held_out: bool, seed: u64, index: u64) -> Problem {
    let mut draw = Draw::at(held_out, seed, index);
    let mut made = plain(split, held_out, seed, index, &mut draw);
    if !held_out {
        naming::rename(&mut made, &mut draw);
    }
    made
}

/// The problem with the names of the content files.
fn plain(split: &Split<'_>, held_out: bool, seed: u64, index: u64, draw: &mut Draw) -> Problem {
    let id = if held_out { format!("starter-held-out-{seed}-{index:06}") } else { format!("starter-{seed}-{index:06}") };
    // Content without tools is a mistake in the embedded files, which `content()` has refused before.
    split.problem(id, draw).unwrap_or_else(|| unreachable!("a split without tools"))
}
