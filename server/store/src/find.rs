//! From what a user typed to the run that was meant.
//!
//! In: `latest`, a public id, the beginning of one, or a name. Out: the [`RunRow`], or an error that names what comes close.

use crate::{RunId, RunRow, Store, StoreError};

/// How many runs an error names.
const CANDIDATES: usize = 5;

struct Known {
    id: i64,
    public_id: String,
    name: String,
}

impl Known {
    fn shown(&self) -> String {
        if self.name == self.public_id { self.public_id.clone() } else { format!("{} ({})", self.public_id, short(&self.name)) }
    }
}

impl Store {
    /// The run that `wanted` names: `latest`, a public id (`r-` may be left out), a name, or the unique beginning of an id.
    pub async fn run(&self, wanted: &str) -> Result<RunRow, StoreError> {
        let known: Vec<(i64, String, String)> = sqlx::query_as("select id, public_id, name from run order by id desc")
            .fetch_all(&self.readers)
            .await
            .map_err(|e| self.fault(e.into(), "look for a run"))?;
        let known: Vec<Known> = known.into_iter().map(|(id, public_id, name)| Known { id, public_id, name }).collect();
        self.run_by_id(RunId(pick(&known, wanted.trim())?)).await
    }
}

/// Key of the run meant; `known` is newest first.
fn pick(known: &[Known], wanted: &str) -> Result<i64, StoreError> {
    if let (true, Some(newest)) = (wanted == "latest", known.first()) {
        return Ok(newest.id);
    }
    let bare = |id: &str| id.strip_prefix("r-").unwrap_or(id).to_owned();
    let lower = wanted.to_lowercase();
    let id = bare(&lower);
    let rules: [&dyn Fn(&Known) -> bool; 3] =
        [&|k| bare(&k.public_id) == id, &|k| k.name == wanted, &|k| !id.is_empty() && bare(&k.public_id).starts_with(&id)];
    for rule in rules {
        let found: Vec<&Known> = known.iter().filter(|k| rule(k)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.id),
            several => {
                let candidates = several.iter().take(CANDIDATES).map(|k| k.shown()).collect();
                return Err(StoreError::AmbiguousRun { wanted: short(wanted), candidates });
            }
        }
    }
    Err(StoreError::NoSuchRun { wanted: short(wanted), candidates: close_to(known, &lower, &id) })
}

/// Runs whose id or name resembles what was typed; the newest ones when none does.
fn close_to(known: &[Known], wanted: &str, id: &str) -> Vec<String> {
    let mut ranked: Vec<(usize, &Known)> = known
        .iter()
        .filter_map(|k| {
            let name = k.name.to_lowercase();
            let contained = !wanted.is_empty() && name.contains(wanted);
            let distance = distance(k.public_id.trim_start_matches("r-"), id).min(distance(&name, wanted));
            (contained || distance <= 2).then_some((if contained { 0 } else { distance }, k))
        })
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    if ranked.is_empty() {
        ranked = known.iter().map(|k| (0, k)).collect();
    }
    ranked.into_iter().take(CANDIDATES).map(|(_, k)| k.shown()).collect()
}

/// Levenshtein distance; texts too long to be a typing error of each other are simply far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// A name cut for an error message.
fn short(name: &str) -> String {
    match name.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}
