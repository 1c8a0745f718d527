//! Station *completion*: prompts in, sampled tokens out, every one with its logprob and entropy.
//!
//! A [`Decoder`] reads each prompt once (and the words all prompts share once for all), forks it to any number of rows, and makes
//! one token for all live rows at a time; rows of several prompts share a batch, finished rows leave it, further prompts come in, and
//! a row can be handed tokens it did not choose (tool results), which get mask 0. Rows below one prompt are read once for as long as they have the same
//! tokens: eight answers of a model that is sure of itself are two or three texts for most of their length.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::Tensor;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use whetstone_domain::StopReason;
use whetstone_kernels::{MASS_TOKENS, RowStats, awake, logits, row_stats};

use crate::adapter::Adapter;
use crate::cache::Cache;
use crate::error::{ModelError, Result};
use crate::packed::{Packed, common_words};
use crate::transformer::{Adapted, Pass, Transformer};

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// From the full distribution at this temperature (> 0); no top-p, no top-k: the policy is what is sampled.
    Temperature(f64),
    /// The most likely token; logprobs are those of temperature 1.
    Greedy,
}

/// Tokens of one row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// Token ids, the end-of-sequence token included. [C]
    pub ids: Vec<u32>,
    /// Logprob of each sampled token, nat; 0 where forced. [C]
    pub logprobs: Vec<f32>,
    /// Entropy of the distribution it was drawn from, nat; 0 where forced. [C]
    pub entropies: Vec<f32>,
    /// 1 where the policy chose, 0 where the token was forced. [C]
    pub mask: Vec<u8>,
    /// Why it ended; none while it is live.
    pub stop: Option<StopReason>,
}

/// A text that was read: the first so many tokens of a segment, and what is before it. Two rows with the same have the same tokens.
type Text = (usize, usize);

struct Row {
    text: Text,
    rng: ChaCha8Rng,
    limit: usize,
    /// Length at which its turn ends, at most `limit`.
    turn_end: usize,
    /// Tokens that are in `completion` but not yet read by the model.
    unread: Vec<u32>,
    /// Hidden row from which the next token is drawn, [1, E]; none when its prompt is done with.
    hidden: Option<Tensor>,
    completion: Completion,
}

struct Prompt {
    text: Text,
    hidden: Option<Tensor>, // [1, E]
}

/// The words all prompts share as an adapter reads them, with what the backward wants of them: made once for sampling and update.
pub struct Reading {
    /// The adapter.
    pub adapted: Arc<Adapted>,
    /// The words; none where prompts share none.
    pub words: Option<Pass>,
    ids: Vec<u32>,
}

impl Reading {
    /// Reads `words`, which may be none.
    pub fn new(model: &Transformer, adapter: Option<&Adapter>, words: &[u32]) -> Result<Self> {
        let adapted = Arc::new(model.adapt(adapter)?);
        let pass = if words.is_empty() { None } else { Some(model.forward(&adapted, &Packed::text(words), None)?) };
        Ok(Self { adapted, words: pass, ids: words.to_vec() })
    }

    /// Fails unless all of `prompts` begin with the words.
    pub fn check<'p>(&self, mut prompts: impl Iterator<Item = &'p [u32]>) -> Result<()> {
        match prompts.all(|prompt| prompt.starts_with(&self.ids)) {
            true => Ok(()),
            false => Err(ModelError::Generation("a prompt does not begin with the words that were read for all".into())),
        }
    }

    /// How many words they are.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Decodes rows of several prompts in one batch.
pub struct Decoder<'a> {
    model: &'a Transformer,
    adapted: Arc<Adapted>,
    cache: Cache,
    /// The words all prompts share: their text, and how many they are.
    shared: Option<Text>,
    sampling: Sampling,
    eos: &'a [u32],
    prompts: Vec<Prompt>,
    rows: Vec<Row>,
}

impl<'a> Decoder<'a> {
    /// [`Decoder::below`] what `prompts` have in common, which is read here.
    pub fn new(
        model: &'a Transformer,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        rows: usize,
        longest: usize,
        sampling: Sampling,
        eos: &'a [u32],
    ) -> Result<Self> {
        Self::below(model, &Reading::new(model, adapter, common_words(prompts))?, prompts, rows, longest, sampling, eos)
    }

    /// Reads the rest of `prompts`, which begin with what `reading` has read; `rows` rows of at most `longest` tokens each will be
    /// forked, as many of each.
    pub fn below(
        model: &'a Transformer,
        reading: &Reading,
        prompts: &[&[u32]],
        rows: usize,
        longest: usize,
        sampling: Sampling,
        eos: &'a [u32],
    ) -> Result<Self> {
        reading.check(prompts.iter().copied())?;
        let shared = reading.tokens();
        let each = rows.div_ceil(prompts.len().max(1)) * longest;
        let room = prompts.iter().map(|p| p.len() - shared + each).sum();
        let prompts: Vec<_> = prompts.iter().map(|&p| (p, each)).collect();
        let mut decoder = Self::empty(model, Arc::clone(&reading.adapted), shared, room, sampling, eos)?;
        if let (Some(words), Some((root, _))) = (&reading.words, decoder.shared) {
            decoder.cache.put(root, &words.keys)?;
        }
        match decoder.prompts(&prompts)? {
            read if read == prompts.len() => Ok(decoder),
            read => Err(ModelError::Generation(format!("the cache has room for {read} of {} prompts", prompts.len()))),
        }
    }

    /// A decoder whose prompts come one after another ([`Decoder::prompts`]) and all begin with `shared`, which is read once, here;
    /// it has room for so many further tokens at a time.
    pub fn fed(
        model: &'a Transformer,
        adapter: Option<&Adapter>,
        shared: &[u32],
        room: usize,
        sampling: Sampling,
        eos: &'a [u32],
    ) -> Result<Self> {
        let mut decoder = Self::empty(model, Arc::new(model.adapt(adapter)?), shared.len(), room, sampling, eos)?;
        if let Some((root, _)) = decoder.shared {
            model.extend(&decoder.adapted, &mut decoder.cache, &[(root, shared)])?;
        }
        Ok(decoder)
    }

    /// A decoder with room for `shared` words, which are not there yet, and for `room` further tokens.
    fn empty(
        model: &'a Transformer,
        adapted: Arc<Adapted>,
        shared: usize,
        room: usize,
        sampling: Sampling,
        eos: &'a [u32],
    ) -> Result<Self> {
        let mut cache = Cache::new(&model.config, shared + room, model.dtype(), model.device())?;
        let mut text = None;
        if shared > 0 {
            let no_room = || ModelError::Generation("the cache has no room for the shared words".into());
            let region = cache.region(shared).ok_or_else(no_room)?;
            text = Some((cache.segment(region, None, shared)?, shared));
        }
        Ok(Self { model, adapted, cache, shared: text, sampling, eos, prompts: Vec::new(), rows: Vec::new() })
    }

    /// Reads as many of `prompts`, (prompt, tokens that all its rows will have together), from the first on, as there is room for now;
    /// how many. They begin with the shared words and are numbered in the order they are read.
    pub fn prompts(&mut self, prompts: &[(&[u32], usize)]) -> Result<usize> {
        let shared = self.shared.map_or(0, |(_, n)| n);
        let mut entries = Vec::with_capacity(prompts.len());
        for (p, rows) in prompts {
            let Some(own @ [_, ..]) = p.get(shared..) else {
                return Err(ModelError::Generation("a prompt has no tokens of its own".into()));
            };
            let Some(region) = self.cache.region(own.len() + rows) else { break };
            entries.push((self.cache.segment(region, self.shared, own.len())?, own));
        }
        if entries.is_empty() {
            return Ok(0);
        }
        let hidden = awake(|| self.model.extend(&self.adapted, &mut self.cache, &entries))?;
        for (i, (segment, own)) in entries.iter().enumerate() {
            self.prompts.push(Prompt { text: (*segment, own.len()), hidden: Some(hidden.narrow(0, i, 1)?) });
        }
        Ok(entries.len())
    }

    /// Gives up the room of a prompt and its rows, which have ended for good; what they said stays.
    pub fn done(&mut self, prompt: usize) {
        let prompt = &mut self.prompts[prompt];
        prompt.hidden = None;
        let region = self.cache.region_of(prompt.text.0);
        for row in self.rows.iter_mut().filter(|row| self.cache.region_of(row.text.0) == region) {
            row.hidden = None;
        }
        self.cache.release(region);
    }

    /// A new row below prompt `prompt` with its own generator and at most `limit` tokens; returns its index.
    pub fn fork(&mut self, prompt: usize, rng: ChaCha8Rng, limit: usize) -> usize {
        let p = &self.prompts[prompt];
        let completion = Completion { stop: (limit == 0).then_some(StopReason::Length), ..Completion::default() };
        self.rows.push(Row { text: p.text, rng, limit, turn_end: limit, unread: Vec::new(), hidden: p.hidden.clone(), completion });
        self.rows.len() - 1
    }

    /// Ends the row after at most `tokens` further tokens, until tokens are forced on it.
    pub fn limit_turn(&mut self, row: usize, tokens: usize) {
        let r = &mut self.rows[row];
        r.turn_end = r.completion.ids.len().saturating_add(tokens).min(r.limit);
    }

    /// Appends tokens that the policy did not choose. A row that had ended goes on; one that outgrows its limit ends.
    pub fn force(&mut self, row: usize, ids: &[u32]) {
        let r = &mut self.rows[row];
        let n = ids.len().min(r.limit - r.completion.ids.len());
        r.completion.ids.extend_from_slice(&ids[..n]);
        r.completion.logprobs.extend(std::iter::repeat_n(0.0, n));
        r.completion.entropies.extend(std::iter::repeat_n(0.0, n));
        r.completion.mask.extend(std::iter::repeat_n(0, n));
        r.unread.extend_from_slice(&ids[..n]);
        r.turn_end = r.limit;
        r.completion.stop = (r.completion.ids.len() >= r.limit).then_some(StopReason::Length);
    }

    /// Tokens that a row may still have.
    pub fn room(&self, row: usize) -> usize {
        self.rows[row].limit - self.rows[row].completion.ids.len()
    }

    /// What a row has so far.
    pub fn completion(&self, row: usize) -> &Completion {
        &self.rows[row].completion
    }

    /// Makes one token for every live row; false when none is live.
    pub fn step(&mut self) -> Result<bool> {
        awake(|| self.token())
    }

    fn token(&mut self) -> Result<bool> {
        let live: Vec<usize> = (0..self.rows.len()).filter(|&i| self.rows[i].completion.stop.is_none()).collect();
        if live.is_empty() {
            return Ok(false);
        }
        self.read(&live)?;
        let (mut texts, mut at): (HashMap<Text, usize>, Vec<usize>) = (HashMap::new(), Vec::with_capacity(live.len()));
        let mut hidden = Vec::new();
        for &i in &live {
            at.push(*texts.entry(self.rows[i].text).or_insert_with(|| {
                hidden.extend(&self.rows[i].hidden);
                hidden.len() - 1
            }));
        }
        let hidden = Tensor::cat(&hidden, 0)?;
        let temperature = match self.sampling {
            Sampling::Temperature(t) => t,
            Sampling::Greedy => 1.0,
        };
        let scores = logits(&self.model.final_norm(&hidden)?, self.model.head(), temperature)?;
        let scores: Vec<&[f32]> = scores.chunks_exact(self.model.head().outputs()).collect();
        let stats: Vec<RowStats> = scores.par_iter().with_max_len(1).map(|row| row_stats(row)).collect();
        let draws: Vec<f64> = live.iter().map(|&i| self.rows[i].rng.random::<f64>()).collect();
        let pick = |(&at, &draw): (&usize, &f64)| pick(scores[at], &stats[at], (self.sampling != Sampling::Greedy).then_some(draw));
        let picks: Vec<(u32, f32, f32)> = at.par_iter().zip(&draws).map(pick).collect();
        for (&i, (id, logprob, entropy)) in live.iter().zip(picks) {
            let r = &mut self.rows[i];
            r.completion.ids.push(id);
            r.completion.logprobs.push(logprob);
            r.completion.entropies.push(entropy);
            r.completion.mask.push(1);
            r.unread.push(id);
            if self.eos.contains(&id) {
                r.completion.stop = Some(StopReason::Eos);
            } else if r.completion.ids.len() >= r.turn_end {
                r.completion.stop = Some(StopReason::Length);
            }
        }
        Ok(true)
    }

    /// Reads what live rows have not read yet, once for all rows that have the same before it and in it.
    fn read(&mut self, live: &[usize]) -> Result<()> {
        let mut index: HashMap<(Text, &[u32]), usize> = HashMap::new();
        let mut same: Vec<Vec<usize>> = Vec::new();
        for &i in live.iter().filter(|&&i| !self.rows[i].unread.is_empty()) {
            let at = *index.entry((self.rows[i].text, self.rows[i].unread.as_slice())).or_insert_with(|| {
                same.push(Vec::new());
                same.len() - 1
            });
            same[at].push(i);
        }
        if same.is_empty() {
            return Ok(());
        }
        let mut entries: Vec<(usize, &[u32])> = Vec::with_capacity(same.len());
        let mut grown = HashSet::new();
        for rows in &same {
            let first = &self.rows[rows[0]];
            let (segment, seen) = first.text;
            let goes_on = self.cache.goes_on(segment, seen, first.unread.len()) && grown.insert(segment);
            let longest = rows.iter().map(|&i| self.rows[i].limit).max().unwrap_or_default();
            let room = longest + first.unread.len() - first.completion.ids.len();
            let region = self.cache.region_of(segment);
            entries.push((if goes_on { segment } else { self.cache.segment(region, Some(first.text), room)? }, &first.unread));
        }
        let hidden = self.model.extend(&self.adapted, &mut self.cache, &entries)?;
        let texts: Vec<Text> = entries.iter().map(|&(segment, _)| (segment, self.cache.len(segment))).collect();
        for ((at, rows), text) in same.iter().enumerate().zip(texts) {
            for &i in rows {
                self.rows[i].text = text;
                self.rows[i].hidden = Some(hidden.narrow(0, at, 1)?);
                self.rows[i].unread.clear();
            }
        }
        Ok(())
    }

    /// Rows that have not ended.
    pub fn live(&self) -> usize {
        self.rows.iter().filter(|r| r.completion.stop.is_none()).count()
    }

    /// What every row has, in the order they were forked.
    pub fn into_completions(self) -> Vec<Completion> {
        self.rows.into_iter().map(|r| r.completion).collect()
    }

    /// Steps until no row is live, asking `go_on` (live rows) before each; the completions in the order they were forked.
    pub fn finish(mut self, mut go_on: impl FnMut(usize) -> bool) -> Result<Option<Vec<Completion>>> {
        loop {
            let live = self.live();
            if live > 0 && !go_on(live) {
                return Ok(None);
            }
            if !self.step()? {
                return Ok(Some(self.into_completions()));
            }
        }
    }
}

/// (token, its logprob, entropy) of a row of scaled logits: by inverse transform of `draw` in [0, 1), or greedily.
fn pick(row: &[f32], stats: &RowStats, draw: Option<f64>) -> (u32, f32, f32) {
    let id = match draw {
        None => row.iter().position(|&x| x == stats.max).unwrap_or(0),
        Some(draw) => inverse_transform(row, stats, draw),
    };
    (id as u32, row[id] - stats.lse(), stats.entropy)
}

/// The first token up to which the probabilities sum to more than `draw`.
fn inverse_transform(row: &[f32], stats: &RowStats, draw: f64) -> usize {
    let draw = draw * stats.masses.iter().map(|&mass| f64::from(mass)).sum::<f64>();
    // whole blocks are passed by their sums, so that only one block is walked token by token
    let mut below = 0.0f64;
    let mut last = None; // last token with any mass, for a draw so near 1 that rounding leaves the sum below it
    for (b, block) in row.chunks(MASS_TOKENS).enumerate() {
        let mass = f64::from(stats.masses[b]);
        if mass > 0.0 {
            last = Some(b);
        }
        if below + mass > draw {
            let mut sum = below;
            for (i, &x) in block.iter().enumerate() {
                sum += f64::from((x - stats.max).exp());
                if sum > draw {
                    return b * MASS_TOKENS + i;
                }
            }
            break; // the block's sum was rounded up past the draw: its last token with mass is meant
        }
        below += mass;
    }
    let block = last.unwrap_or(0) * MASS_TOKENS;
    let tokens = block..(block + MASS_TOKENS).min(row.len());
    tokens.rev().find(|&i| row[i] - stats.max > -87.3).unwrap_or(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(row: &[f32], draw: Option<f64>) -> (u32, f32, f32) {
        super::pick(row, &row_stats(row), draw)
    }

    #[test]
    fn a_draw_lands_on_each_token_as_often_as_its_probability() {
        let row = [0.0f32, (3.0f32).ln(), f32::NEG_INFINITY, (4.0f32).ln()]; // 1 : 3 : 0 : 4
        let n = 8000;
        let mut counts = [0; 4];
        for i in 0..n {
            counts[pick(&row, Some((f64::from(i) + 0.5) / f64::from(n))).0 as usize] += 1;
        }
        assert_eq!(counts, [1000, 3000, 0, 4000]);
        assert_eq!(pick(&row, Some(1.0 - 1e-16)).0, 3);
        // over several blocks: token i of 2000 has mass proportional to i mod 3
        let long: Vec<f32> = (0..2000).map(|i| ((i % 3) as f32).ln()).collect();
        let total: f64 = (0..2000).map(|i| f64::from(i % 3)).sum();
        let mut below = 0.0;
        for i in 0..2000u32 {
            let mine = f64::from(i % 3);
            if mine > 0.0 {
                assert_eq!(pick(&long, Some((below + mine / 2.0) / total)).0, i);
            }
            below += mine;
        }
        let (id, logprob, entropy) = pick(&row, None);
        assert_eq!(id, 3);
        assert!((logprob - 0.5f32.ln()).abs() < 1e-6 && (entropy - 0.974_314_8).abs() < 1e-5, "{logprob} {entropy}");
    }

    #[test]
    fn what_is_likeliest_is_the_first_of_its_equals_and_a_late_draw_lands_where_there_is_mass() {
        let mut row = vec![f32::NEG_INFINITY; 1200];
        (row[3], row[7], row[600]) = (1.0, 2.0, 2.0);
        assert_eq!(pick(&row, None).0, 7);
        assert_eq!(pick(&row, Some(1.0 - 1e-16)).0, 600);
        assert_eq!(pick(&[f32::NAN, f32::NAN], None).0, 0);
    }
}
