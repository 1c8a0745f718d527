//! Station *batch*: groups in, packed tokens and target rows out.
//!
//! Words that all prompts share are one root, each prompt is encoded once, its completions hang below it. A completion's
//! last token is predicted, never read, so it takes no row.

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
    /// Packed row whose hidden state predicts it.
    pub hidden: u32,
    /// The token.
    pub id: u32,
    /// Which completion it belongs to, counted over the batch's branches in order.
    pub completion: usize,
    /// Which token of that completion.
    pub token: usize,
}

/// Packed tokens and the rows that are scored.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The forest.
    pub packed: Packed,
    /// Rows with mask 1, completion by completion.
    pub rows: Vec<Row>,
}

impl Batch {
    /// Packs branches; `first` is the number of the first completion.
    pub fn new(branches: &[Branch], first: usize) -> Self {
        let prompts: Vec<&[u32]> = branches.iter().map(|b| b.prompt).collect();
        let shared = common_prefix(&prompts);
        let mut batch = Self::default();
        let root = (shared > 0).then(|| batch.packed.push(None, &prompts[0][..shared]));
        let mut completion = first;
        for branch in branches {
            let prompt = batch.packed.push(root, &branch.prompt[shared..]);
            let last = (batch.packed.ids.len() - 1) as u32; // prompts are never empty below their shared words
            for target in &branch.completions {
                let start = batch.packed.ids.len() as u32;
                batch.packed.push(Some(prompt), &target.ids[..target.ids.len().saturating_sub(1)]);
                for (token, (&id, &mask)) in target.ids.iter().zip(target.mask).enumerate() {
                    if mask == 1 {
                        let hidden = if token == 0 { last } else { start + token as u32 - 1 };
                        batch.rows.push(Row { hidden, id, completion, token });
                    }
                }
                completion += 1;
            }
        }
        batch
    }
}

/// Splits branches into micro-batches of about `budget` packed tokens, never splitting a branch: (branches, first completion). Words
/// that all prompts share count once a micro-batch, as they are encoded.
pub fn micro_batches<'a, 'b>(branches: &'b [Branch<'a>], budget: usize) -> Vec<(&'b [Branch<'a>], usize)> {
    let shared = common_prefix(&branches.iter().map(|b| b.prompt).collect::<Vec<_>>());
    let (mut out, mut start, mut tokens, mut completion, mut first) = (Vec::new(), 0, shared, 0, 0);
    for (i, b) in branches.iter().enumerate() {
        let size = b.prompt.len() - shared + b.completions.iter().map(|c| c.ids.len()).sum::<usize>();
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
        let (ids, mask) = ([5; 5], [1; 5]);
        let branch = |prompt| Branch { prompt, completions: vec![Target { ids: &ids, mask: &mask }; 2] };
        let branches: Vec<Branch> = prompts.iter().map(|p| branch(p.as_slice())).collect();
        // 90 + 3 * (10 + 2 * 5) fit into 150
        let split = micro_batches(&branches, 150);
        assert_eq!(split.iter().map(|(b, first)| (b.len(), *first)).collect::<Vec<_>>(), [(3, 0), (3, 6), (1, 12)]);
        // a completion's last token is predicted, never read; two prompts or more share their root
        assert_eq!(split.iter().map(|(b, first)| Batch::new(b, *first).packed.ids.len()).collect::<Vec<_>>(), [144, 144, 108]);
        assert_eq!(micro_batches(&branches, 1).len(), 7, "a branch is never divided");
        assert!(micro_batches(&[], 150).is_empty());
    }
}
