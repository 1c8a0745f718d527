//! Rewards put together from parts, and weights that a run replaces. In: what a user wrote. Out: summands, or what is wrong where.

use std::collections::BTreeMap;

use whetstone_domain::{
    ConfigError,
    config::{ComposedPart, Composition, RewardName, Weight},
};

use super::{ABSTENTION, Shaping, Source, Summand, part_names, weights};

const SHAPING: [&str; 3] = ["truncation", "repetition", "length_cap"];

/// The summands of a composition.
pub(super) fn summands(composition: Option<&Composition>) -> Result<Vec<Summand>, ConfigError> {
    let wrong = |pointer: &str, detail: String| ConfigError { pointer: pointer.to_owned(), detail };
    let Some(composition) = composition else {
        return Err(wrong("composition", "is missing: give [[composition.part]] tables, or reward = \"file:PATH.toml\"".into()));
    };
    if composition.part.is_empty() {
        return Err(wrong("composition.part", "is empty; a reward needs at least one part".into()));
    }
    let mut out: Vec<Summand> = Vec::new();
    for (i, part) in composition.part.iter().enumerate() {
        let at = format!("composition.part[{i}]");
        let source = source(part).map_err(|detail| wrong(&format!("{at}.use"), detail))?;
        if let Some(detail) = part.weight.problem() {
            return Err(wrong(&format!("{at}.weight"), detail.into()));
        }
        if part.characters.is_some() && !matches!(source, Source::Shaping(Shaping::LengthCap(1..))) {
            return Err(wrong(&format!("{at}.characters"), "belongs to length_cap only".into()));
        }
        if part.characters == Some(0) {
            return Err(wrong(&format!("{at}.characters"), "must be at least 1".into()));
        }
        let name = part.name.clone().unwrap_or_else(|| part.source.replace('.', "_"));
        if !is_plain(&name) {
            return Err(wrong(&format!("{at}.name"), format!("is {name:?}; it must be 1 to 64 of a to z, 0 to 9 and _")));
        }
        if out.iter().any(|s| s.name == name) {
            return Err(wrong(&format!("{at}.name"), format!("{name:?} is taken; give one of the two another name")));
        }
        out.push(Summand { name, source, weight: part.weight });
    }
    Ok(out)
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn source(part: &ComposedPart) -> Result<Source, String> {
    let text = part.source.trim();
    if text == ABSTENTION {
        return Ok(Source::Abstention);
    }
    if let Some(shaping) = Shaping::named(text, part.characters) {
        return Ok(Source::Shaping(shaping));
    }
    let (reward, own) = text.split_once('.').map_or((text, None), |(reward, own)| (reward, Some(own)));
    let Some(name) = RewardName::BUILT_IN.into_iter().find(|r| r.to_string() == reward) else {
        let known: Vec<String> = RewardName::BUILT_IN.iter().map(ToString::to_string).collect();
        return Err(format!("{text:?} is unknown; known are {}, {ABSTENTION}, {}", known.join(", "), SHAPING.join(", ")));
    };
    match own {
        None => Ok(Source::Total(name)),
        Some(own) => match weights(&name).iter().find(|(part, _)| *part == own) {
            Some(&(part, _)) => Ok(Source::Part(name, part)),
            None => Err(format!("{own:?} is no part of {reward}; its parts are {}", part_names(&name).join(", "))),
        },
    }
}

/// Replaces weights by part name; shaping parts that the reward lacks are added.
pub(super) fn override_weights(own: &mut Vec<Summand>, given: &BTreeMap<String, f64>) -> Result<(), ConfigError> {
    for (name, &weight) in given {
        let pointer = format!("reward_weights.{name}");
        let weight = Weight::Constant(weight);
        if let Some(detail) = weight.problem() {
            return Err(ConfigError { pointer, detail: detail.into() });
        }
        match (own.iter_mut().find(|s| s.name == *name), Shaping::named(name, None)) {
            (Some(summand), _) => summand.weight = weight,
            (None, Some(shaping)) => own.push(Summand { name: name.clone(), source: Source::Shaping(shaping), weight }),
            (None, None) => {
                let known: Vec<&str> = own.iter().map(|s| s.name.as_str()).chain(SHAPING).collect();
                return Err(ConfigError { pointer, detail: format!("is no part of this reward; its parts are {}", known.join(", ")) });
            }
        }
    }
    Ok(())
}
