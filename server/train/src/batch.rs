//! Station *batch*: groups in, packed tokens and target rows out.
//!
//! Words that all prompts share are one root, each prompt is encoded once, its completions hang below it as a tree: what several of
//! them begin with is one segment, and a token that several predict at the same place is scored once. The gradient is exact; a model
//! that is sure of itself writes the same again and again, and most of a group's tokens need no work of their own. A completion's last
//! token is predicted, never read, so it takes no row.

use std::collections::HashMap;

use whetstone_model::packed::{Packed, common_prefix};

/// One completion to be scored.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Tokens after the prompt. [C]
    pub ids: &'a [u32],
    /// 1 where the policy wrote the token. [C]
    pub mask: &'a [u8],
}

/// One prompt with the completions below it.
#[derive(Debug, Clone)]
pub struct Branch<'a> {
    /// Prompt ids. [P]
    pub prompt: &'a [u32],
    /// Its completions.
    pub completions: Vec<Target<'a>>,
}

/// A token whose logprob is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What is to be scored for it, an index into [`Batch::scored`].
    pub scored: usize,
    /// The token.
    pub id: u32,
    /// Which completion it belongs to, counted over the batch's branches in order.
    pub completion: usize,
    /// Which token of that completion.
    pub token: usize,
}

/// Packed tokens and what is scored.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The forest.
    pub packed: Packed,
    /// Distinct pairs of a packed row and a token that its hidden state predicts.
    pub scored: Vec<(u32, u32)>,
    /// Tokens with mask 1, completion by completion.
    pub rows: Vec<Row>,
}

impl Batch {
    /// Packs branches; `first` is the number of the first completion. The first `above` tokens of the prompts are the same in all, and
    /// another pass reads them.
    pub fn new(branches: &[Branch], first: usize, above: usize) -> Self {
        let shared = shared_words(branches).max(above);
        let mut batch = Self { packed: Packed { above, ..Packed::default() }, ..Self::default() };
        let root = (shared > above).then(|| batch.packed.push(None, &branches[0].prompt[above..shared]));
        let mut completion = first;
        let mut scored = HashMap::new();
        for branch in branches {
            let prompt = batch.packed.push(root, &branch.prompt[shared..]);
            let last = (batch.packed.ids.len() - 1) as u32; // prompts are never empty below their shared words
            // by completion: the packed row that predicts each of its tokens
            let mut rows: Vec<Vec<u32>> = vec![vec![last]; branch.completions.len()];
            let all: Vec<usize> = (0..branch.completions.len()).collect();
            hang(&mut batch.packed, prompt, &branch.completions, &all, &mut rows);
            for (target, rows) in branch.completions.iter().zip(rows) {
                for (token, ((&id, &mask), row)) in target.ids.iter().zip(target.mask).zip(rows).enumerate() {
                    if mask == 1 {
                        let scored = *scored.entry((row, id)).or_insert_with(|| {
                            batch.scored.push((row, id));
                            batch.scored.len() - 1
                        });
                        batch.rows.push(Row { scored, id, completion, token });
                    }
                }
                completion += 1;
            }
        }
        batch
    }
}

/// Hangs the completions `same`, which agree up to the end of `parent`, below it; `rows` grows by where each of their tokens lies.
fn hang(packed: &mut Packed, parent: usize, completions: &[Target], same: &[usize], rows: &mut [Vec<u32>]) {
    // a completion has as many rows as it has tokens there, and one for its prompt; its last token is not read
    let rest = |i: usize, rows: &[Vec<u32>]| &completions[i].ids[rows[i].len() - 1..completions[i].ids.len().saturating_sub(1)];
    let mut left: Vec<usize> = same.iter().copied().filter(|&i| !rest(i, rows).is_empty()).collect();
    while let Some(&first) = left.first() {
        let next = rest(first, rows)[0];
        let (same, others): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|&i| rest(i, rows)[0] == next);
        let words = same.iter().map(|&i| rest(i, rows)).max_by_key(|words| words.len()).unwrap_or_default();
        // up to where two of them go on differently; one may end before
        let agrees = |n: usize| same.iter().all(|&i| rest(i, rows).get(n).is_none_or(|id| *id == words[n]));
        let shared = (1..words.len()).take_while(|&n| agrees(n)).count() + 1;
        let start = packed.ids.len() as u32;
        let segment = packed.push(Some(parent), &words[..shared]);
        for &i in &same {
            let mine = rest(i, rows).len().min(shared) as u32;
            rows[i].extend(start..start + mine);
        }
        hang(packed, segment, completions, &same, rows);
        left = others;
    }
}

/// Tokens that the prompts of all branches begin with; 0 where there is one branch only.
pub fn shared_words(branches: &[Branch]) -> usize {
    common_prefix(&branches.iter().map(|b| b.prompt).collect::<Vec<_>>())
}

/// Splits branches into micro-batches of about `budget` packed tokens, never splitting a branch: (branches, first completion). Tokens
/// count as often as they are encoded, and the `shared` words that all prompts begin with in every micro-batch, which sees them all.
pub fn micro_batches<'a, 'b>(branches: &'b [Branch<'a>], shared: usize, budget: usize) -> Vec<(&'b [Branch<'a>], usize)> {
    let (mut out, mut start, mut tokens, mut completion, mut first) = (Vec::new(), 0, shared, 0, 0);
    for (i, b) in branches.iter().enumerate() {
        let size = Batch::new(std::slice::from_ref(b), 0, shared).packed.ids.len();
        if i > start && tokens + size > budget {
            out.push((&branches[start..i], first));
            (start, tokens, first) = (i, shared, completion);
        }
        tokens += size;
        completion += b.completions.len();
    }
    if start < branches.len() {
        out.push((&branches[start..], first));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_words_take_room_once_in_a_micro_batch() {
        let prompts: Vec<Vec<u32>> = (0..7).map(|i| [&[1; 90][..], &[2 + i; 10]].concat()).collect();
        let (ids, mask) = ([[5; 5], [6; 5]], [1; 5]);
        let branch = |prompt| Branch { prompt, completions: ids.iter().map(|ids| Target { ids, mask: &mask }).collect() };
        let branches: Vec<Branch> = prompts.iter().map(|p| branch(p.as_slice())).collect();
        // 90 + 3 * (10 + 2 * 4) fit into 150
        let split = micro_batches(&branches, 90, 150);
        assert_eq!(split.iter().map(|(b, first)| (b.len(), *first)).collect::<Vec<_>>(), [(3, 0), (3, 6), (1, 12)]);
        // a completion's last token is predicted, never read; two prompts or more share their root
        assert_eq!(split.iter().map(|(b, first)| Batch::new(b, *first, 0).packed.ids.len()).collect::<Vec<_>>(), [144, 144, 108]);
        assert_eq!(split.iter().map(|(b, first)| Batch::new(b, *first, 90).packed.ids.len()).collect::<Vec<_>>(), [54, 54, 18]);
        assert_eq!(micro_batches(&branches, 90, 143).len(), 4, "144 do not fit into 143");
        assert_eq!(micro_batches(&branches, 90, 1).len(), 7, "a branch is never divided");
        assert!(micro_batches(&[], 0, 150).is_empty());
    }

    #[test]
    fn what_completions_begin_with_is_read_once_and_the_same_token_at_the_same_place_scored_once() {
        let words: [&[u32]; 6] = [&[1, 2, 3, 4], &[1, 2, 3, 5], &[1, 2, 6], &[1, 2, 3, 4], &[7], &[1, 2]];
        let mask = [1; 4];
        let completions = words.iter().map(|ids| Target { ids, mask: &mask[..ids.len()] }).collect();
        let batch = Batch::new(&[Branch { prompt: &[8, 9], completions }], 10, 0);
        // one segment: the sixth reads only its 1, the third only 1 and 2
        assert_eq!(batch.packed.segments.len(), 2);
        assert_eq!(batch.packed.ids, [8, 9, 1, 2, 3]);
        assert_eq!(batch.packed.positions, [0, 1, 2, 3, 4]);
        // (row, token): after 9 come 1 and 7; after 1 comes 2; after 2 come 3 and 6; after 3 come 4 and 5
        assert_eq!(batch.scored, [(1, 1), (2, 2), (3, 3), (4, 4), (4, 5), (3, 6), (1, 7)]);
        let rows: Vec<(usize, u32, usize, usize)> = batch.rows.iter().map(|r| (r.scored, r.id, r.completion, r.token)).collect();
        assert_eq!(rows[4..8], [(0, 1, 11, 0), (1, 2, 11, 1), (2, 3, 11, 2), (4, 5, 11, 3)]);
        assert_eq!(rows[8..11], [(0, 1, 12, 0), (1, 2, 12, 1), (5, 6, 12, 2)]);
        assert_eq!(rows[15..], [(6, 7, 14, 0), (0, 1, 15, 0), (1, 2, 15, 1)]);
    }
}
