//! Keys and values of what was already read, as a forest of segments: a prefix is stored once and shared by all below it.
//!
//! Segments lie in regions. What a region holds comes and goes together, so that the next prompt has the room of one that is done.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use whetstone_kernels::{Span, put_rows};

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};

struct Segment {
    region: usize,
    /// The segment it continues, and how many of its tokens it sees.
    parent: Option<(usize, usize)>,
    start: usize,
    capacity: usize,
    len: usize,
    depth: usize,
}

/// Rows of the buffers that were asked for together.
struct Region {
    rows: Range<usize>,
    used: usize,
}

/// One buffer a layer, [S, K, D] each for k and v, of which every segment owns a range.
pub struct Cache {
    pub(crate) layers: Vec<(Tensor, Tensor)>,
    regions: Vec<Region>,
    segments: Vec<Segment>,
    /// Rows of no region, in order, no two of them side by side.
    free: Vec<Range<usize>>,
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
        Ok(Self { layers, regions: Vec::new(), segments: Vec::new(), free: Vec::from_iter((rows > 0).then_some(0..rows)) })
    }

    /// A new region of `capacity` tokens; none where there is no room for it now.
    pub fn region(&mut self, capacity: usize) -> Option<usize> {
        let at = self.free.iter().position(|free| free.len() >= capacity)?;
        let rows = self.free[at].start..self.free[at].start + capacity;
        self.free[at].start = rows.end;
        self.free.retain(|free| !free.is_empty());
        self.regions.push(Region { rows, used: 0 });
        Some(self.regions.len() - 1)
    }

    /// Gives up a region with all its segments, which nothing may continue any more.
    pub fn release(&mut self, region: usize) {
        let freed = std::mem::take(&mut self.regions[region].rows);
        let at = self.free.partition_point(|free| free.start < freed.start);
        self.free.insert(at, freed);
        self.free.dedup_by(|next, free| {
            let adjacent = free.end == next.start;
            if adjacent {
                free.end = next.end;
            }
            adjacent
        });
    }

    /// A new segment of a region below the first tokens of another, (segment, tokens), with room for `capacity` tokens.
    pub fn segment(&mut self, region: usize, parent: Option<(usize, usize)>, capacity: usize) -> Result<usize> {
        let Region { rows, used } = &mut self.regions[region];
        let left = rows.len() - *used;
        if capacity > left {
            return Err(ModelError::Generation(format!("a region has room for {left} tokens, {capacity} more were asked for")));
        }
        let depth = parent.map_or(0, |(p, seen)| self.segments[p].depth + seen);
        self.segments.push(Segment { region, parent, start: rows.start + *used, capacity, len: 0, depth });
        *used += capacity;
        Ok(self.segments.len() - 1)
    }

    /// The region of a segment.
    pub(crate) fn region_of(&self, index: usize) -> usize {
        self.segments[index].region
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

    /// Fills an empty segment with the keys and values that a pass made of its text, layer by layer. [T, K, D]
    pub(crate) fn put(&mut self, index: usize, keys: &[(Tensor, Tensor)]) -> Result<()> {
        let n = keys.first().map_or(Ok(0), |(k, _)| k.dim(0))?;
        let segment = &mut self.segments[index];
        if segment.len > 0 || n > segment.capacity {
            return Err(ModelError::Generation(format!("{n} tokens do not fit a segment of {} with {}", segment.capacity, segment.len)));
        }
        segment.len = n;
        for ((all_k, all_v), (k, v)) in self.layers.iter().zip(keys) {
            put_rows(all_k, k, &[(0, n, segment.start)])?;
            put_rows(all_v, v, &[(0, n, segment.start)])?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny_base;

    #[test]
    fn a_region_has_the_rows_of_those_that_were_released() -> Result<()> {
        let base = tiny_base(0)?;
        let mut cache = Cache::new(&base.config, 10, DType::F32, &Device::Cpu)?;
        let [a, b, c] = [4, 3, 3].map(|n| cache.region(n).expect("room"));
        assert!(cache.region(1).is_none());
        cache.segment(a, None, 4)?;
        assert!(cache.segment(a, None, 1).is_err());
        cache.release(a);
        cache.release(c);
        assert!(cache.region(5).is_none()); // 4 and 3 rows that are not side by side
        cache.release(b);
        assert_eq!((cache.free.len(), &cache.free[0]), (1, &(0..10)));
        let again = cache.region(10).expect("room");
        let segment = cache.segment(again, None, 10)?;
        assert_eq!((cache.segments[segment].start, cache.free.len()), (0, 0));
        Ok(())
    }
}
