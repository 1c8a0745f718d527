//! The question that a list of rollouts answers, the same words in pages and API.
//!
//! In: `?outcome=&class=&step=&reward=&adv=&problem=&q=&sort=&order=&after=`. Out: a [`RolloutFilter`], a place to go on from, and
//! what could not be understood; and back to the one query string that means the same.

use std::str::FromStr;

use serde::Deserialize;
use utoipa::IntoParams;
use whetstone_domain::{GroupClass, Outcome};
use whetstone_store::{RolloutFilter, RolloutPlace, RolloutSort};

use crate::words;

/// Parameters of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct RolloutQuery {
    /// Rungs separated by commas, such as `bad_json,extra_text`; `right` and `wrong` stand for several.
    pub(crate) outcome: Option<String>,
    /// Class of the group: mixed, all_correct, all_wrong or tied.
    pub(crate) class: Option<String>,
    /// GRPO steps: `12`, `10..20`, `10..` or `..20`.
    pub(crate) step: Option<String>,
    /// Rewards, both ends included: `0.5..1`, `0.5..` or `..0.5`.
    pub(crate) reward: Option<String>,
    /// Advantage: `positive` or `negative`.
    pub(crate) adv: Option<String>,
    /// Id of the problem.
    pub(crate) problem: Option<String>,
    /// Text in the answer or the request, whatever its case.
    pub(crate) q: Option<String>,
    /// step (the default), reward, advantage or tokens.
    pub(crate) sort: Option<String>,
    /// desc (the default) or asc.
    pub(crate) order: Option<String>,
    /// Go on after this rollout, `{step}-{group}-{index}`.
    pub(crate) after: Option<String>,
}

/// Every parameter's name, in the order of their names.
pub(crate) const KEYS: [&str; 10] = ["adv", "after", "class", "order", "outcome", "problem", "q", "reward", "sort", "step"];

/// What a query means.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Meant {
    pub(crate) filter: RolloutFilter,
    pub(crate) after: Option<RolloutPlace>,
    /// What could not be understood, a sentence each.
    pub(crate) wrong: Vec<String>,
}

impl RolloutQuery {
    /// The parameters of a page, as `get` finds them.
    pub(crate) fn of(get: impl Fn(&str) -> Option<String>) -> Self {
        let mut query = Self::default();
        for key in KEYS {
            *query.at(key) = get(key);
        }
        query
    }

    fn at(&mut self, key: &str) -> &mut Option<String> {
        match key {
            "adv" => &mut self.adv,
            "class" => &mut self.class,
            "order" => &mut self.order,
            "outcome" => &mut self.outcome,
            "problem" => &mut self.problem,
            "q" => &mut self.q,
            "reward" => &mut self.reward,
            "sort" => &mut self.sort,
            "step" => &mut self.step,
            _ => &mut self.after,
        }
    }

    /// The same question with one parameter changed, from its first page on.
    pub(crate) fn with(&self, key: &str, value: Option<&str>) -> Self {
        let mut changed = Self { after: None, ..self.clone() };
        *changed.at(key) = value.map(str::to_owned);
        changed
    }

    /// The one query string of this question: keys in order, nothing that is empty or the default.
    pub(crate) fn string(&self) -> String {
        let mut copy = self.clone();
        let default = |key: &str, value: &str| (key == "sort" && value == "step") || (key == "order" && value == "desc");
        let pair = |key: &str| {
            let value = copy.at(key).take().filter(|v| !v.is_empty() && !default(key, v))?;
            Some(format!("{key}={}", words::in_url(&value)))
        };
        KEYS.into_iter().filter_map(pair).collect::<Vec<_>>().join("&")
    }

    /// What it means; a part that cannot be understood filters nothing and is named.
    pub(crate) fn meant(&self) -> Meant {
        let mut wrong = Vec::new();
        let said = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        let filter = RolloutFilter {
            outcomes: said(&self.outcome).map(|v| outcomes(&v, &mut wrong)).unwrap_or_default(),
            class: said(&self.class).and_then(|v| {
                let found = GroupClass::from_name(&v);
                if found.is_none() {
                    wrong.push(format!("class must be one of {}.", GroupClass::ALL.map(GroupClass::name).join(", ")));
                }
                found
            }),
            steps: said(&self.step).map(|v| range(&v, "step", &mut wrong)).unwrap_or_default(),
            reward: said(&self.reward).map(|v| finite(range::<f64>(&v, "reward", &mut wrong), &mut wrong)).unwrap_or_default(),
            advantage: match said(&self.adv).as_deref() {
                None => None,
                Some("positive") => Some(true),
                Some("negative") => Some(false),
                Some(_) => {
                    wrong.push("adv must be positive or negative.".into());
                    None
                }
            },
            problem: said(&self.problem),
            text: said(&self.q),
            sort: said(&self.sort).map_or(RolloutSort::Step, |v| {
                RolloutSort::ALL.into_iter().find(|s| s.name() == v).unwrap_or_else(|| {
                    wrong.push(format!("sort must be one of {}.", RolloutSort::ALL.map(RolloutSort::name).join(", ")));
                    RolloutSort::Step
                })
            }),
            ascending: match said(&self.order).as_deref() {
                None | Some("desc") => false,
                Some("asc") => true,
                Some(_) => {
                    wrong.push("order must be asc or desc.".into());
                    false
                }
            },
        };
        let after = said(&self.after).and_then(|v| {
            let found = place(&v);
            if found.is_none() {
                wrong.push("after must be the id of a rollout, {step}-{group}-{index}.".into());
            }
            found
        });
        Meant { filter, after, wrong }
    }
}

/// `{step}-{group}-{index}` as addresses have it.
pub(crate) fn place_id(p: RolloutPlace) -> String {
    format!("{}-{}-{}", p.step, p.group, p.index)
}

/// The place of an id.
pub(crate) fn place(id: &str) -> Option<RolloutPlace> {
    let mut parts = id.split('-').map(|t| {
        let plain = (1..=9).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| t.parse::<usize>().ok()).flatten()
    });
    let found = RolloutPlace { step: parts.next()??, group: parts.next()??, index: parts.next()?? };
    parts.next().is_none().then_some(found)
}

fn outcomes(names: &str, wrong: &mut Vec<String>) -> Vec<Outcome> {
    let mut found = Vec::new();
    for name in names.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        match name {
            "right" => found.extend(Outcome::ALL.into_iter().filter(|o| o.is_correct())),
            "wrong" => found.extend(Outcome::ALL.into_iter().filter(|o| !o.is_correct())),
            _ => match Outcome::ALL.into_iter().find(|o| o.name() == name) {
                Some(o) => found.push(o),
                None => wrong.push(format!("outcome must be right, wrong, or out of {}.", Outcome::ALL.map(Outcome::name).join(", "))),
            },
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// `lo..hi` with either end left out, or one value for both.
fn range<T: FromStr + Copy>(text: &str, key: &str, wrong: &mut Vec<String>) -> (Option<T>, Option<T>) {
    let mut end = |t: &str| match t.trim() {
        "" => None,
        t => {
            let value = t.parse().ok();
            if value.is_none() {
                wrong.push(format!("{key} must be a number or a range such as 2..10, 2.. or ..10."));
            }
            value
        }
    };
    match text.split_once("..") {
        Some((low, high)) => (end(low), end(high)),
        None => {
            let both = end(text);
            (both, both)
        }
    }
}

fn finite(range: (Option<f64>, Option<f64>), wrong: &mut Vec<String>) -> (Option<f64>, Option<f64>) {
    let odd = [range.0, range.1].iter().flatten().any(|v| !v.is_finite());
    if odd {
        wrong.push("reward must be a range of finite numbers.".into());
        return (None, None);
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_questions_have_one_address_that_means_the_same() {
        let query = RolloutQuery {
            outcome: Some("wrong".into()),
            q: Some("a & b".into()),
            sort: Some("step".into()),
            order: Some("asc".into()),
            step: Some("3..".into()),
            ..RolloutQuery::default()
        };
        assert_eq!(query.string(), "order=asc&outcome=wrong&q=a%20%26%20b&step=3..");
        let meant = query.meant();
        assert_eq!((meant.filter.steps, meant.filter.ascending, meant.filter.outcomes.len()), ((Some(3), None), true, 12));
        assert_eq!(query.with("outcome", None).string(), "order=asc&q=a%20%26%20b&step=3..");
    }

    #[test]
    fn what_cannot_be_understood_is_named_and_filters_nothing() {
        let query = RolloutQuery::of(|key| {
            let value = match key {
                "outcome" => "odd",
                "class" => "x",
                "step" => "1..x",
                "reward" => "nan..",
                "adv" => "up",
                "sort" => "id",
                "order" => "up",
                "after" => "1-2",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let meant = query.meant();
        assert_eq!(meant.wrong.len(), 8, "{:?}", meant.wrong);
        assert_eq!(meant.filter, RolloutFilter { steps: (Some(1), None), ..RolloutFilter::default() });
        assert_eq!(place("1-2-3"), Some(RolloutPlace { step: 1, group: 2, index: 3 }));
        for bad in ["", "1-2-3-4", "1--3", "a-1-1", "9999999999-1-1", "+1-1-1"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
