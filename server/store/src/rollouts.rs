//! Rollouts as lists need them: filtered, ordered, by the page; and how many there are on each rung.
//!
//! In: a run and a [`RolloutFilter`]. Out: [`RolloutRow`]s without tokens, the place where the next page begins, counts. A page goes
//! on after a rollout, not after a number of rows, so that rows which come meanwhile move nothing.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row as _};
use whetstone_domain::{GroupClass, Message, Outcome, StopReason};

use crate::codec;
use crate::column::{self, from_json, int, real};
use crate::error::Fault;
use crate::rollout_filter::{RolloutFilter, narrow};
use crate::{RunId, Store, StoreError};

/// Groups that one search for a text unpacks, and rollouts it looks at; then the page ends, and the next one goes on from there.
const SEARCHED: (usize, usize) = (128, 1536);

/// Where a rollout stands: step, index of the group in the step, index in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutPlace {
    /// GRPO step, from 1.
    pub step: usize,
    /// Group of the step, from 0.
    pub group: usize,
    /// Rollout of the group, from 0.
    pub index: usize,
}

/// A rollout without its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRow {
    /// Where it stands.
    pub place: RolloutPlace,
    /// Id of its problem in its task set.
    pub problem: String,
    /// The user's words.
    pub request: String,
    /// What the parser read.
    pub text: String,
    /// Its rung.
    pub outcome: Outcome,
    /// Class of its group.
    pub class: GroupClass,
    /// What it earned.
    pub reward: f64,
    /// Its advantage.
    pub advantage: f64,
    /// Tokens written.
    pub tokens: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Took part in the update.
    pub effective: bool,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutPage {
    /// Its rows.
    pub rows: Vec<RolloutRow>,
    /// Where the next page begins; none = there is nothing after this one.
    pub next: Option<RolloutPlace>,
    /// The search for a text ended before it had seen everything: `next` goes on with it.
    pub unfinished: bool,
}

impl Store {
    /// At most `limit` rollouts of the run's GRPO steps after the one at `after`; none when there is no rollout at `after`.
    pub async fn rollouts(
        &self,
        run: RunId,
        filter: &RolloutFilter,
        after: Option<RolloutPlace>,
        limit: usize,
    ) -> Result<Option<RolloutPage>, StoreError> {
        const DOING: &str = "list rollouts";
        let mut tx = self.snapshot(DOING).await?;
        let outcome = page(&mut tx, run, filter, after, limit).await;
        self.end(tx, DOING, outcome).await
    }

    /// How many rollouts there are on each rung, under every part of the filter but its outcomes and its text.
    pub async fn rollout_counts(&self, run: RunId, filter: &RolloutFilter) -> Result<BTreeMap<Outcome, usize>, StoreError> {
        const DOING: &str = "count rollouts";
        let mut query = QueryBuilder::new("select r.outcome, count(*) as n from rollout r");
        if filter.class.is_some() || filter.problem.is_some() {
            query.push(" join grp g on g.id = r.grp join problem p on p.id = g.problem");
        }
        narrow(&mut query, run, &RolloutFilter { outcomes: Vec::new(), ..filter.clone() });
        query.push(" group by r.outcome");
        let rows = query.build().fetch_all(&self.readers).await.map_err(|e| self.fault(e.into(), DOING))?;
        let read = |row: &SqliteRow| -> Result<_, Fault> { Ok((column::outcome(row, "outcome")?, column::count(row, "n")?)) };
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|f| self.fault(f, DOING))
    }

    /// The groups (step, index) right before and right after a place in the run's GRPO steps.
    pub async fn groups_beside(
        &self,
        run: RunId,
        step: usize,
        index: usize,
    ) -> Result<(Option<(usize, usize)>, Option<(usize, usize)>), StoreError> {
        const DOING: &str = "find the groups beside one";
        let before =
            "select step, idx from grp where run = ? and phase = 'grpo' and (step, idx) < (?, ?) order by step desc, idx desc limit 1";
        let after = "select step, idx from grp where run = ? and phase = 'grpo' and (step, idx) > (?, ?) order by step, idx limit 1";
        let mut found = [None, None];
        for (place, sql) in found.iter_mut().zip([before, after]) {
            let row = sqlx::query(sql)
                .bind(run.0)
                .bind(int(step))
                .bind(int(index))
                .fetch_optional(&self.readers)
                .await
                .map_err(|e| self.fault(e.into(), DOING))?;
            let read = |row: &SqliteRow| -> Result<_, Fault> { Ok((column::count(row, "step")?, column::count(row, "idx")?)) };
            *place = row.as_ref().map(read).transpose().map_err(|f| self.fault(f, DOING))?;
        }
        let [before, after] = found;
        Ok((before, after))
    }
}

async fn page(
    tx: &mut SqliteConnection,
    run: RunId,
    filter: &RolloutFilter,
    after: Option<RolloutPlace>,
    limit: usize,
) -> Result<Option<RolloutPage>, Fault> {
    let begin = match after {
        None => None,
        Some(place) => match place_of(tx, run, place).await? {
            Some(id) => Some(id),
            None => return Ok(None),
        },
    };
    let column = filter.sort.column();
    let (sign, order) = if filter.ascending { (">", "asc") } else { ("<", "desc") };
    let mut query = QueryBuilder::new(
        "select r.*, g.idx as g_idx, g.class, p.key from rollout r join grp g on g.id = r.grp join problem p on p.id = g.problem",
    );
    narrow(&mut query, run, filter);
    if let Some(id) = begin {
        let key = column.replace("r.", "b.");
        query.push(format!(" and ({column}, r.id) {sign} (select {key}, b.id from rollout b where b.id = ")).push_bind(id).push(")");
    }
    query.push(format!(" order by {column} {order}, r.id {order} limit "));
    // a text is looked for in more rows than the page will show
    query.push_bind(int(if filter.text.is_some() { SEARCHED.1 } else { limit + 1 }));
    let rows = query.build().fetch_all(&mut *tx).await?;
    let mut page = RolloutPage { rows: Vec::new(), next: None, unfinished: false };
    let mut texts: BTreeMap<i64, Texts> = BTreeMap::new();
    let wanted = filter.text.as_ref().map(|t| t.to_lowercase());
    let mut last = None;
    for row in &rows {
        let group: i64 = row.try_get("grp")?;
        let full = page.rows.len() == limit;
        if full && wanted.is_none() {
            page.next = page.rows.last().map(|r| r.place);
            return Ok(Some(page));
        }
        if !texts.contains_key(&group) {
            if texts.len() == SEARCHED.0 {
                (page.next, page.unfinished) = (last, true);
                return Ok(Some(page));
            }
            texts.insert(group, texts_of(tx, group).await?);
        }
        let shown = rollout_row(row, &texts[&group])?;
        let passes = wanted.as_ref().is_none_or(|w| shown.text.to_lowercase().contains(w) || shown.request.to_lowercase().contains(w));
        if passes && full {
            page.next = page.rows.last().map(|r| r.place);
            return Ok(Some(page));
        }
        last = Some(shown.place);
        if passes {
            page.rows.push(shown);
        }
    }
    if wanted.is_some() && rows.len() == SEARCHED.1 {
        (page.next, page.unfinished) = (last, true);
    }
    Ok(Some(page))
}

async fn place_of(tx: &mut SqliteConnection, run: RunId, place: RolloutPlace) -> Result<Option<i64>, Fault> {
    let sql = "select r.id from rollout r join grp g on g.id = r.grp where g.run = ? and g.phase = 'grpo' and g.step = ? and g.idx = ? and r.idx = ?";
    let found = sqlx::query_scalar(sql).bind(run.0).bind(int(place.step)).bind(int(place.group)).bind(int(place.index));
    Ok(found.fetch_optional(tx).await?)
}

/// What a list shows of a problem: reading its tools as well would take most of the time.
#[derive(serde::Deserialize)]
struct Asked {
    messages: Vec<Message>,
}

/// Texts of a group: the request, and the completions by index.
struct Texts {
    request: String,
    completions: BTreeMap<i64, String>,
}

async fn texts_of(tx: &mut SqliteConnection, group: i64) -> Result<Texts, Fault> {
    let sql = "select p.body, d.packed from grp g join problem p on p.id = g.problem join grp_detail d on d.grp = g.id where g.id = ?";
    let row = sqlx::query(sql).bind(group).fetch_one(&mut *tx).await?;
    // in the order of writing, which is the order of the packed half
    let indices: Vec<i64> = sqlx::query_scalar("select idx from rollout where grp = ? order by id").bind(group).fetch_all(tx).await?;
    let asked: Asked = from_json(row.try_get("body")?, "a problem")?;
    Ok(Texts {
        request: asked.messages.into_iter().next_back().map(|m| m.content).unwrap_or_default(),
        completions: indices.into_iter().zip(codec::texts(row.try_get("packed")?)?).collect(),
    })
}

fn rollout_row(row: &SqliteRow, texts: &Texts) -> Result<RolloutRow, Fault> {
    let class: String = row.try_get("class")?;
    let index: i64 = row.try_get("idx")?;
    Ok(RolloutRow {
        place: RolloutPlace { step: column::count(row, "step")?, group: column::count(row, "g_idx")?, index: column::count(row, "idx")? },
        problem: row.try_get("key")?,
        request: texts.request.clone(),
        text: texts.completions.get(&index).cloned().unwrap_or_default(),
        outcome: column::outcome(row, "outcome")?,
        class: GroupClass::from_name(&class).ok_or_else(|| Fault::Unreadable(format!("class = {class:?}")))?,
        reward: real(row, "total")?,
        advantage: real(row, "advantage")?,
        tokens: column::count(row, "tokens")?,
        stop: column::stop(row, "stop")?,
        effective: row.try_get("effective")?,
    })
}
