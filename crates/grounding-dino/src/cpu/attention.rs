//! Attention over whole sequences: keys and values are packed once, then rows of queries ask.

use blocks::ops::kernel::attend::{NOT_THERE, attend, key_lines, pack_keys, pack_values, value_lines};
use blocks::ops::kernel::product::{Line, Out, PANEL, Rows, Start};
use blocks::packed::tasks::{share, take};

/// Fewer tokens are packed by one thread.
const FEW: usize = 256;

/// The same rows from a later column on.
fn columns(rows: Rows<'_>, first: usize) -> Rows<'_> {
    Rows { values: &rows.values[first..], ..rows }
}

/// Packed keys and values of all heads.
#[derive(Default)]
pub(super) struct Memory {
    keys: Vec<Line>,
    values: Vec<Line>,
    /// What is added to scores where all keys are there.
    open: Vec<Line>,
    tokens: usize,
}

/// Heads, and channels of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) depth: usize,
}

impl Memory {
    /// Takes keys and values in; their rows hold the heads side by side.
    pub(super) fn pack(&mut self, keys: Rows, values: Rows, heads: Heads) {
        let (tokens, Heads { count, depth }) = (keys.count, heads);
        self.tokens = tokens;
        self.open.clear();
        self.open.extend((0..tokens).step_by(PANEL).map(|first| {
            let mut line = Line::of(NOT_THERE);
            line.0[..PANEL.min(tokens - first)].fill(0.0);
            line
        }));
        self.keys.resize(count * key_lines(tokens, depth), Line::of(0.0));
        self.values.resize(count * value_lines(tokens, depth), Line::of(0.0));
        let key_parts = self.keys.chunks_exact_mut(key_lines(tokens, depth));
        let parts = key_parts.zip(self.values.chunks_exact_mut(value_lines(tokens, depth)));
        let work = |(head, (key_part, value_part)): (usize, (&mut [Line], &mut [Line]))| {
            pack_keys(columns(keys, head * depth), depth, key_part);
            pack_values(columns(values, head * depth), depth, value_part);
        };
        // Handing over costs more than a text's few tokens.
        if tokens < FEW { parts.enumerate().for_each(work) } else { share(parts.enumerate(), work) }
    }

    /// What `queries` see, into rows of `out` with the heads side by side. `mask [rows, wide]`, in whole panels, is added to
    /// scores; an empty one is none.
    pub(super) fn ask(&self, queries: Rows, heads: Heads, mask: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        let Heads { count, depth } = heads;
        let wide = self.wide();
        let scores = take(scores, queries.count * wide);
        let keys = self.keys.chunks_exact(key_lines(self.tokens, depth));
        for (head, (keys, values)) in
            keys.zip(self.values.chunks_exact(value_lines(self.tokens, depth))).enumerate().take(count)
        {
            let queries = columns(queries, head * depth);
            let out = Out { values: &mut out[head * depth..], stride: count * depth, width: depth };
            let start = if mask.is_empty() {
                Start::Row(&self.open)
            } else {
                scores.copy_from_slice(&mask[..queries.count * wide]);
                Start::Stored
            };
            attend(queries, depth, keys, start, values, scores, out);
        }
    }

    /// A row of scores, in whole panels.
    fn wide(&self) -> usize {
        self.tokens.next_multiple_of(PANEL)
    }
}
