//! The packed half of a group: everything only its page needs, in one compressed blob.
//!
//! In: a [`GroupRecord`]. Out: bytes, and back. Numbers are bits, not decimals: a logprob comes back as it was sampled.
//! What lists and filters need (outcome, total, advantage, ...) is not in here but in columns.
//!
//! Layout: format byte, then a zstd frame of: JSON texts (u32 length first), prompt ids, and for each rollout ids, logprobs,
//! entropies, mask, reward parts. Arrays are a u32 count and little-endian elements.

use serde::{Deserialize, Serialize};
use whetstone_domain::{GroupRecord, ParseFailure, ParseReport, RewardPart, Rollout, Turn};

use crate::column::{StoredCalls, to_json};
use crate::error::Fault;

const FORMAT: u8 = 1;
/// zstd's default: texts of a group repeat each other, higher levels gain little.
const LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
struct GroupTexts {
    prompt: String,
    rollouts: Vec<RolloutTexts>,
}

#[derive(Serialize, Deserialize)]
struct RolloutTexts {
    pieces: Vec<String>,
    turns: Vec<Turn>,
    text: String,
    strict: Result<StoredCalls, ParseFailure>,
    lenient: Option<StoredCalls>,
    parts: Vec<String>,
}

/// What [`unpack`] gives back of one rollout.
pub(crate) struct RolloutDetail {
    pub(crate) ids: Vec<u32>,
    pub(crate) pieces: Vec<String>,
    pub(crate) logprobs: Vec<f32>,
    pub(crate) entropies: Vec<f32>,
    pub(crate) mask: Vec<u8>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) text: String,
    pub(crate) parse: ParseReport,
    pub(crate) parts: Vec<RewardPart>,
}

/// What [`unpack`] gives back of a group.
pub(crate) struct GroupDetail {
    pub(crate) prompt: String,
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) rollouts: Vec<RolloutDetail>,
}

/// The packed half of `group`.
pub(crate) fn pack(group: &GroupRecord) -> Result<Vec<u8>, Fault> {
    let texts = GroupTexts { prompt: group.prompt.clone(), rollouts: group.rollouts.iter().map(texts_of).collect::<Result<_, _>>()? };
    let json = to_json(&texts)?;
    let mut out = Vec::with_capacity(2 * json.len());
    put_count(&mut out, json.len())?;
    out.extend_from_slice(json.as_bytes());
    put(&mut out, &group.prompt_ids, |x| x.to_le_bytes())?;
    for rollout in &group.rollouts {
        put(&mut out, &rollout.ids, |x| x.to_le_bytes())?;
        put(&mut out, &rollout.logprobs, |x| x.to_le_bytes())?;
        put(&mut out, &rollout.entropies, |x| x.to_le_bytes())?;
        put(&mut out, &rollout.mask, |x| [x])?;
        put_count(&mut out, rollout.reward.parts.len())?;
        for part in &rollout.reward.parts {
            out.push(u8::from(part.value.is_some()));
            out.extend_from_slice(&part.value.unwrap_or(0.0).to_le_bytes());
            out.extend_from_slice(&part.weight.to_le_bytes());
        }
    }
    let mut packed = vec![FORMAT];
    packed.extend(zstd::bulk::compress(&out, LEVEL).map_err(|e| Fault::Unreadable(format!("a group does not pack: {e}")))?);
    Ok(packed)
}

fn texts_of(rollout: &Rollout) -> Result<RolloutTexts, Fault> {
    Ok(RolloutTexts {
        pieces: rollout.pieces.clone(),
        turns: rollout.turns.clone(),
        text: rollout.text.clone(),
        strict: match &rollout.parse.strict {
            Ok(calls) => Ok(StoredCalls::of(calls)?),
            Err(failure) => Err(failure.clone()),
        },
        lenient: rollout.parse.lenient.as_deref().map(StoredCalls::of).transpose()?,
        parts: rollout.reward.parts.iter().map(|p| p.name.clone()).collect(),
    })
}

fn put_count(out: &mut Vec<u8>, n: usize) -> Result<(), Fault> {
    let n = u32::try_from(n).map_err(|_| Fault::Unreadable(format!("a group holds an array of {n} elements")))?;
    out.extend_from_slice(&n.to_le_bytes());
    Ok(())
}

fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Result<(), Fault> {
    put_count(out, values.len())?;
    values.iter().for_each(|v| out.extend_from_slice(&bytes(*v)));
    Ok(())
}

/// The group that [`pack`] made `packed` of.
pub(crate) fn unpack(packed: &[u8]) -> Result<GroupDetail, Fault> {
    let bytes = frame(packed)?;
    let mut reader = Reader(&bytes);
    let detail = reader.group().map_err(|e| bad(&e))?;
    if reader.0.is_empty() { Ok(detail) } else { Err(bad("there is more than expected")) }
}

fn bad(why: &str) -> Fault {
    Fault::Unreadable(format!("packed rollouts of a group: {why}"))
}

/// What is in the compressed frame.
fn frame(packed: &[u8]) -> Result<Vec<u8>, Fault> {
    let (format, frame) = packed.split_first().ok_or_else(|| bad("empty"))?;
    if *format != FORMAT {
        return Err(bad(&format!("format {format} is unknown")));
    }
    zstd::decode_all(frame).map_err(|e| bad(&e.to_string()))
}

/// Only the completions' texts of a packed group, in the order of its rollouts: what a list shows and searches.
pub(crate) fn texts(packed: &[u8]) -> Result<Vec<String>, Fault> {
    /// What of the JSON is read; the rest is skipped.
    #[derive(Deserialize)]
    struct Only {
        rollouts: Vec<Text>,
    }
    #[derive(Deserialize)]
    struct Text {
        text: String,
    }
    let bytes = frame(packed)?;
    let mut reader = Reader(&bytes);
    let read = |reader: &mut Reader<'_>| -> Result<Only, String> {
        let n = reader.count()?;
        serde_json::from_slice(reader.take(n)?).map_err(|e| e.to_string())
    };
    let only = read(&mut reader).map_err(|e| bad(&e))?;
    Ok(only.rollouts.into_iter().map(|r| r.text).collect())
}

/// The bytes not yet read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn group(&mut self) -> Result<GroupDetail, String> {
        let n = self.count()?;
        let texts: GroupTexts = serde_json::from_slice(self.take(n)?).map_err(|e| e.to_string())?;
        let prompt_ids = self.array(u32::from_le_bytes)?;
        let rollouts = texts.rollouts.into_iter().map(|t| self.rollout(t)).collect::<Result<_, _>>()?;
        Ok(GroupDetail { prompt: texts.prompt, prompt_ids, rollouts })
    }

    fn rollout(&mut self, texts: RolloutTexts) -> Result<RolloutDetail, String> {
        let calls = |c: StoredCalls| c.calls().map_err(|e| format!("{e:?}"));
        Ok(RolloutDetail {
            ids: self.array(u32::from_le_bytes)?,
            logprobs: self.array(f32::from_le_bytes)?,
            entropies: self.array(f32::from_le_bytes)?,
            mask: self.array(u8::from_le_bytes)?,
            parts: self.parts(texts.parts)?,
            pieces: texts.pieces,
            turns: texts.turns,
            text: texts.text,
            parse: ParseReport {
                strict: match texts.strict {
                    Ok(c) => Ok(calls(c)?),
                    Err(failure) => Err(failure),
                },
                lenient: texts.lenient.map(calls).transpose()?,
            },
        })
    }

    fn parts(&mut self, names: Vec<String>) -> Result<Vec<RewardPart>, String> {
        if self.count()? != names.len() {
            return Err("names and values of reward parts differ in number".into());
        }
        names
            .into_iter()
            .map(|name| {
                let applies = self.element(u8::from_le_bytes)? != 0;
                let value = self.element(f64::from_le_bytes)?;
                let weight = self.element(f64::from_le_bytes)?;
                Ok(RewardPart { name, value: applies.then_some(value), weight })
            })
            .collect()
    }

    fn take(&mut self, n: usize) -> Result<&[u8], String> {
        let (head, tail) = self.0.split_at_checked(n).ok_or("ends too early")?;
        self.0 = tail;
        Ok(head)
    }

    fn element<T, const N: usize>(&mut self, from: impl Fn([u8; N]) -> T) -> Result<T, String> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or("ends too early")?;
        self.0 = tail;
        Ok(from(*head))
    }

    fn count(&mut self) -> Result<usize, String> {
        self.element(u32::from_le_bytes).map(|n| n as usize)
    }

    fn array<T, const N: usize>(&mut self, from: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        let n = self.count()?;
        (0..n).map(|_| self.element(&from)).collect()
    }
}
