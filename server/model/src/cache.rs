//! Keys and values of what was already read, as a forest of segments: a prefix is stored once and shared by all below it.

use candle_core::{DType, Device, Tensor};
use whetstone_kernels::Span;

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};

struct Segment {
    /// The segment it continues, and how many of its tokens it sees.
    parent: Option<(usize, usize)>,
    start: usize,
    capacity: usize,
    len: usize,
    depth: usize,
}

/// One buffer a layer, [S, K, D] each for k and v, of which every segment owns a range.
pub struct Cache {
    pub(crate) layers: Vec<(Tensor, Tensor)>,
    segments: Vec<Segment>,
    used: usize,
    rows: usize,
}

/// Rows of one pass that are stored: (first row of the pass, rows, first row in the buffers).
pub(crate) type Move = (usize, usize, usize);

/// Where the tokens of one forward pass go and what they see.
pub(crate) struct Append {
    pub(crate) ids: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    pub(crate) moves: Vec<Move>,
    /// Last row of each entry.
    pub(crate) last: Vec<u32>,
}

impl Cache {
    /// Room for `rows` tokens in all.
    pub fn new(config: &ModelConfig, rows: usize, dtype: DType, device: &Device) -> Result<Self> {
        let shape = (rows.max(1), config.num_kv_heads, config.head_dim);
        let layers = (0..config.num_layers)
            .map(|_| Ok((Tensor::zeros(shape, dtype, device)?, Tensor::zeros(shape, dtype, device)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { layers, segments: Vec::new(), used: 0, rows })
    }

    /// A new segment below the first tokens of another, (segment, tokens), with room for `capacity` tokens.
    pub fn segment(&mut self, parent: Option<(usize, usize)>, capacity: usize) -> Result<usize> {
        if self.used + capacity > self.rows {
            return Err(ModelError::Generation(format!(
                "the cache has room for {} tokens, {} more were asked for",
                self.rows - self.used,
                capacity
            )));
        }
        let depth = parent.map_or(0, |(p, seen)| self.segments[p].depth + seen);
        self.segments.push(Segment { parent, start: self.used, capacity, len: 0, depth });
        self.used += capacity;
        Ok(self.segments.len() - 1)
    }

    /// Tokens in a segment.
    pub(crate) fn len(&self, index: usize) -> usize {
        self.segments[index].len
    }

    /// True where a text that ends with the `seen`-th token of a segment can go on in it by `more` tokens.
    pub(crate) fn goes_on(&self, index: usize, seen: usize, more: usize) -> bool {
        let segment = &self.segments[index];
        segment.len == seen && seen + more <= segment.capacity
    }

    /// Plans to append tokens to segments and marks them as there.
    pub(crate) fn append(&mut self, entries: &[(usize, &[u32])]) -> Result<Append> {
        let mut plan = Append { ids: Vec::new(), positions: Vec::new(), spans: Vec::new(), moves: Vec::new(), last: Vec::new() };
        for &(index, ids) in entries {
            let segment = &mut self.segments[index];
            if segment.len + ids.len() > segment.capacity || ids.is_empty() {
                return Err(ModelError::Generation(format!(
                    "{} tokens do not fit a segment with room for {}",
                    ids.len(),
                    segment.capacity - segment.len
                )));
            }
            let row = plan.ids.len();
            plan.moves.push((row, ids.len(), segment.start + segment.len));
            let position = segment.depth + segment.len;
            plan.positions.extend((position..position + ids.len()).map(|p| p as u32));
            plan.ids.extend_from_slice(ids);
            plan.last.push((plan.ids.len() - 1) as u32);
            segment.len += ids.len();
            let own = segment.start..segment.start + segment.len;
            let mut keys = vec![own];
            let mut at = segment.parent;
            while let Some((p, seen)) = at {
                let parent = &self.segments[p];
                if seen > 0 {
                    keys.push(parent.start..parent.start + seen);
                }
                at = parent.parent;
            }
            keys.reverse();
            plan.spans.push(Span { query: row..plan.ids.len(), keys });
        }
        Ok(plan)
    }
}
