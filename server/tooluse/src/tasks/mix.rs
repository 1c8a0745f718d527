//! Parts put together: one side of a split, a range of difficulty, a mix by weights.
//!
//! In: a parsed spec. Out: rows in the order in which they are taken. What is taken of a part depends on the part alone.

use whetstone_domain::Problem;

use super::spec::{Generated, Part, Source, Spec, Split, SplitBy};
use super::{LoadOptions, Refusal, Row, STARTER_PROBLEMS, TaskError, bfcl, file, starter};

/// A mix has at most so many problems, whatever its weights ask of a generated part.
const MOST: usize = 1 << 20;

/// Percent of tools or domains that a split holds out.
const HELD_OUT_SHARE: u64 = 20;
/// A filter that lets fewer than one in so many generated problems through is not waited for.
const PATIENCE: usize = 64;

type Rows = Vec<Result<Row, Refusal>>;

/// The rows of a spec.
pub(super) fn rows(spec: &Spec, options: &LoadOptions<'_>) -> Result<Rows, TaskError> {
    if let [part] = &spec.parts[..] {
        return part_rows(part, options.limit, options);
    }
    let weights: f64 = spec.parts.iter().map(|p| p.weight).sum();
    let share = |part: &Part, of: usize| (of as f64 * part.weight / weights).round() as usize;
    let mut loaded: Vec<(Rows, Rows)> = Vec::new();
    for part in &spec.parts {
        // of a generated part exactly its share is made, files are read whole
        let wanted = options.limit.or(generated(part).then_some(STARTER_PROBLEMS)).map(|n| share(part, n).max(1));
        loaded.push(part_rows(part, wanted.filter(|_| generated(part)), options)?.into_iter().partition(Result::is_ok));
    }
    // as many as the scarcest part allows at these weights
    let finite = spec.parts.iter().zip(&loaded).filter(|(part, _)| !generated(part));
    let scarcest = finite.map(|(part, (good, _))| (good.len() as f64 * weights / part.weight).floor() as usize).min();
    let total = scarcest.unwrap_or(usize::MAX).min(options.limit.unwrap_or(STARTER_PROBLEMS.max(scarcest.unwrap_or(0))));
    let total = total.min(MOST);
    let mut queues: Vec<_> = Vec::new();
    let mut out = Vec::new();
    for (part, (mut good, bad)) in spec.parts.iter().zip(loaded) {
        if generated(part) && good.len() < share(part, total) {
            good = part_rows(part, Some(share(part, total)), options)?;
        }
        out.extend(bad);
        queues.push((part.weight / weights, 0usize, good.into_iter()));
    }
    for taken in 0..total {
        // the part that is furthest behind its share
        let behind = |(share, given, _): &(f64, usize, _)| share * (taken + 1) as f64 - *given as f64;
        let next = queues.iter_mut().max_by(|a, b| behind(a).total_cmp(&behind(b)));
        let Some((_, given, rows)) = next else { break };
        *given += 1;
        out.extend(rows.next());
    }
    Ok(out)
}

fn generated(part: &Part) -> bool {
    matches!(part.source, Source::Generated(_))
}

fn part_rows(part: &Part, limit: Option<usize>, options: &LoadOptions<'_>) -> Result<Rows, TaskError> {
    match &part.source {
        Source::Generated(set) => Ok(generate(*set, part, limit, options.seed)),
        Source::File(path, format) => Ok(keep(part, file::read(path, *format)?)),
        Source::Bfcl(category) => Ok(keep(part, bfcl::read(&format!("bfcl:{category}"), category, options.bfcl)?)),
    }
}

/// The first problems of a generated set that pass the part's filters.
fn generate(set: Generated, part: &Part, limit: Option<usize>, seed: u64) -> Rows {
    let held_out = set.is_held_out();
    let wanted = limit.unwrap_or(set.problems());
    let row = |(i, problem): (usize, Problem)| Ok(Row { file: set.name().into(), line: i + 1, problem });
    let mut made = wanted;
    loop {
        let problems = match set {
            Generated::Starter | Generated::HeldOut => starter::load(held_out, seed, made),
            Generated::Wide | Generated::WideHeldOut => starter::load_wide(held_out, seed, made),
            Generated::Tools | Generated::ToolsHeldOut => starter::tools::load(held_out, seed, made),
        };
        let mut kept = keep(part, problems.into_iter().enumerate().map(row).collect());
        if kept.len() >= wanted || made >= wanted.saturating_mul(PATIENCE) {
            kept.truncate(wanted);
            return kept;
        }
        made = made.saturating_mul(2);
    }
}

/// What passes the filters of a part; refusals always do.
fn keep(part: &Part, rows: Rows) -> Rows {
    let fits = |row: Result<Row, Refusal>| match row {
        Err(refusal) => Some(Err(refusal)),
        Ok(mut row) => {
            let level = row.problem.difficulty;
            let hard = part.difficulty.is_none_or(|(least, most)| (least..=most).contains(&level));
            let side = part.split.is_none_or(|split| on_side(split, &mut row.problem));
            (hard && side).then_some(Ok(row))
        }
    };
    rows.into_iter().filter_map(fits).collect()
}

/// Is the problem on the side? Training loses the tools of the other side from what it offers.
fn on_side(split: Split, problem: &mut Problem) -> bool {
    let aside = |key: &str| hash(split.seed, key) % 100 < HELD_OUT_SHARE;
    if split.by == SplitBy::Domain {
        return aside(&problem.domain) == split.held_out;
    }
    let expected = &problem.expected.calls;
    match (split.held_out, expected.is_empty()) {
        (true, true) => problem.tools.iter().all(|t| aside(&t.name)),
        (true, false) => expected.iter().all(|c| aside(&c.name)),
        (false, _) if expected.iter().any(|c| aside(&c.name)) => false,
        (false, _) => {
            problem.tools.retain(|t| !aside(&t.name));
            !problem.tools.is_empty()
        }
    }
}

/// FNV-1a of the seed and the key, then mixed (splitmix64): the same on every machine and in every version.
fn hash(seed: u64, key: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(key.bytes());
    let mut x = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[path = "mix_tests.rs"]
mod tests;
