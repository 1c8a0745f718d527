//! A forest of token segments laid out in one row of tokens: what the update encodes in one pass.
//!
//! A segment sees itself causally and its ancestors whole. The words all prompts share are a root, prompts are its
//! children, completions theirs: prompt tokens are encoded once per group, shared words once per batch, and every gradient
//! is exact (Prefix Grouper, arXiv 2506.05433). A forest may hang below another one that was read in a pass of its own.

use whetstone_kernels::Span;

/// One piece of text in the forest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The segment it continues.
    pub parent: Option<usize>,
    /// Its first row.
    pub start: usize,
    /// Its rows.
    pub len: usize,
    /// Position id of its first token: tokens before it on its own path.
    pub depth: usize,
}

/// The forest and its packed tokens.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// Rows of another pass that come before every text here, and are seen whole; 0 = none.
    pub above: usize,
    /// Token ids. [T]
    pub ids: Vec<u32>,
    /// Position ids, restarted after each parent. [T]
    pub positions: Vec<u32>,
    /// Segments in row order.
    pub segments: Vec<Segment>,
}

impl Packed {
    /// One text.
    pub fn text(ids: &[u32]) -> Self {
        let mut packed = Self::default();
        packed.push(None, ids);
        packed
    }

    /// Appends a segment and returns its index. An empty segment is allowed and takes no row.
    pub fn push(&mut self, parent: Option<usize>, ids: &[u32]) -> usize {
        let depth = parent.map_or(self.above, |p| self.segments[p].depth + self.segments[p].len);
        self.segments.push(Segment { parent, start: self.ids.len(), len: ids.len(), depth });
        self.ids.extend_from_slice(ids);
        self.positions.extend((depth..depth + ids.len()).map(|p| p as u32));
        self.segments.len() - 1
    }

    /// Pairs of a token and one that it sees, itself included.
    pub fn pairs(&self) -> usize {
        self.segments.iter().map(|s| s.len * s.depth + s.len * (s.len + 1) / 2).sum()
    }

    /// Who sees what. Rows of keys are those above, then the ones here.
    pub fn spans(&self) -> Vec<Span> {
        let range = |s: Segment| self.above + s.start..self.above + s.start + s.len;
        self.segments
            .iter()
            .filter(|s| s.len > 0)
            .map(|s| {
                let mut keys = vec![range(*s)];
                let mut at = s.parent;
                while let Some(p) = at {
                    if self.segments[p].len > 0 {
                        keys.push(range(self.segments[p]));
                    }
                    at = self.segments[p].parent;
                }
                if self.above > 0 {
                    keys.push(0..self.above);
                }
                keys.reverse();
                Span { query: s.start..s.start + s.len, keys }
            })
            .collect()
    }
}

/// Tokens that all of `prompts` start with, leaving every prompt at least one token of its own.
pub fn common_prefix(prompts: &[&[u32]]) -> usize {
    let Some((first, rest)) = prompts.split_first() else { return 0 };
    let longest = prompts.iter().map(|p| p.len()).min().unwrap_or(0).saturating_sub(1);
    if rest.is_empty() {
        return 0;
    }
    (0..longest).take_while(|&i| rest.iter().all(|p| p[i] == first[i])).count()
}

/// What all of `prompts` start with ([`common_prefix`]).
pub fn common_words<'a>(prompts: &[&'a [u32]]) -> &'a [u32] {
    prompts.first().map_or(&[], |first| &first[..common_prefix(prompts)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_restart_after_the_parent_and_spans_name_the_ancestors() {
        let mut p = Packed::default();
        let root = p.push(None, &[1, 2]);
        let prompt = p.push(Some(root), &[3]);
        p.push(Some(prompt), &[4, 5]);
        p.push(Some(prompt), &[]);
        p.push(Some(prompt), &[6]);
        assert_eq!(p.positions, [0, 1, 2, 3, 4, 3]);
        let spans = p.spans();
        assert_eq!(spans.len(), 4);
        assert_eq!(spans[2], Span { query: 3..5, keys: vec![0..2, 2..3, 3..5] });
        assert_eq!(spans[3], Span { query: 5..6, keys: vec![0..2, 2..3, 5..6] });
    }

    #[test]
    fn a_forest_below_another_sees_it_whole_and_counts_positions_on() {
        let mut p = Packed { above: 4, ..Packed::default() };
        let prompt = p.push(None, &[1, 2]);
        p.push(Some(prompt), &[3]);
        assert_eq!(p.positions, [4, 5, 6]);
        assert_eq!(p.pairs(), 5 + 6 + 7);
        assert_eq!(p.spans(), [Span { query: 0..2, keys: vec![0..4, 4..6] }, Span { query: 2..3, keys: vec![0..4, 4..6, 6..7] }]);
    }

    #[test]
    fn the_common_prefix_leaves_every_prompt_a_token() {
        assert_eq!(common_prefix(&[&[1, 2, 3], &[1, 2, 4]]), 2);
        assert_eq!(common_prefix(&[&[1, 2], &[1, 2]]), 1);
        assert_eq!(common_prefix(&[&[1, 2]]), 0);
        assert_eq!(common_prefix(&[]), 0);
    }
}
