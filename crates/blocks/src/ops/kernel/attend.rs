//! Attention over packed keys and values, forward only: what a compiled frame needs. The operations with gradients are
//! in `super::attention` and `super::heads`.

use super::lanes::Lanes;
use super::norm::softmax_row;
use super::product::{Line, Out, PANEL, Rows, Start, multiply};
use super::{dispatch, dispatch_rows};

/// Added to the score of a key that is not there: its weight is exactly 0.
pub const NOT_THERE: f32 = -1e30;

/// One head's keys and values, and room for scores.
#[derive(Default)]
pub struct HeadRoom {
    keys: Vec<Line>,
    values: Vec<Line>,
    scores: Vec<f32>,
}

/// Lines that `tokens` keys of `depth` channels take.
pub fn key_lines(tokens: usize, depth: usize) -> usize {
    tokens.div_ceil(PANEL) * depth
}

/// Lines that `tokens` values of `depth` channels take.
pub fn value_lines(tokens: usize, depth: usize) -> usize {
    depth.div_ceil(PANEL) * tokens
}

/// Sizes of one window's attention.
#[derive(Debug, Clone, Copy)]
pub struct WindowSizes {
    /// Tokens.
    pub area: usize,
    pub heads: usize,
    /// Channels of a head.
    pub depth: usize,
}

impl WindowSizes {
    /// A row of scores, in whole panels.
    pub fn wide(self) -> usize {
        self.area.next_multiple_of(PANEL)
    }

    pub fn channels(self) -> usize {
        self.heads * self.depth
    }
}

/// `[count, area, area]` in rows of [`WindowSizes::wide`], filled up with [`NOT_THERE`].
pub fn widen(values: &[f32], s: WindowSizes) -> Vec<f32> {
    let mut wide = vec![NOT_THERE; values.len() / s.area * s.wide()];
    for (wide, row) in wide.chunks_exact_mut(s.wide()).zip(values.chunks_exact(s.area)) {
        wide[..s.area].copy_from_slice(row);
    }
    wide
}

/// Packs keys, scaled by `1 / sqrt depth`.
#[inline(always)]
fn pack_keys_body<const FUSED: bool>(keys: Rows<'_>, depth: usize, lines: &mut [Line]) {
    let scale = 1.0 / (depth as f32).sqrt();
    for (panel, lines) in lines.chunks_exact_mut(depth).enumerate() {
        let tokens = PANEL.min(keys.count - panel * PANEL);
        if tokens < PANEL {
            lines.fill(Line::of(0.0));
        }
        for lane in 0..tokens {
            let key = &keys.values[(panel * PANEL + lane) * keys.stride..][..depth];
            for (line, &value) in lines.iter_mut().zip(key) {
                line.0[lane] = scale * value;
            }
        }
    }
}

#[inline(always)]
fn pack_values_body<const FUSED: bool>(values: Rows<'_>, depth: usize, lines: &mut [Line]) {
    for (panel, lines) in lines.chunks_exact_mut(values.count).enumerate() {
        let channels = PANEL.min(depth - panel * PANEL);
        for (token, line) in lines.iter_mut().enumerate() {
            let value = &values.values[token * values.stride + panel * PANEL..];
            if channels == PANEL {
                line.0.copy_from_slice(&value[..PANEL]);
            } else {
                line.0[..channels].copy_from_slice(&value[..channels]);
                line.0[channels..].fill(0.0);
            }
        }
    }
}

/// `softmax(q k + start) v` for some queries of one head; `scores` has a row in whole panels for each of them.
#[inline(always)]
fn attend_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    q: Rows<'_>,
    depth: usize,
    keys: &[Line],
    start: Start<'_>,
    values: &[Line],
    scores: &mut [f32],
    out: Out<'_>,
) {
    let wide = keys.len() / depth * PANEL;
    let tokens = values.len() / depth.div_ceil(PANEL);
    multiply(q, keys, depth, start, Out { values: &mut *scores, stride: wide, width: wide });
    for row in scores.chunks_exact_mut(wide) {
        softmax_row::<FUSED>(row);
    }
    let weights = Rows { values: scores, stride: wide, count: q.count };
    multiply(weights, values, tokens, Start::Zero, out);
}

#[inline(always)]
fn window_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    qkv: &[f32],
    s: WindowSizes,
    bias: &[f32],
    mask: &[f32],
    room: &mut HeadRoom,
    out: &mut [f32],
) {
    let (channels, stride, count) = (s.channels(), 3 * s.channels(), s.area);
    let scores = s.area * s.wide();
    for head in 0..s.heads {
        let at = |part: usize| Rows { values: &qkv[part * channels + head * s.depth..], stride, count };
        pack_keys_body::<FUSED>(at(1), s.depth, &mut room.keys);
        pack_values_body::<FUSED>(at(2), s.depth, &mut room.values);
        room.scores.copy_from_slice(&bias[head * scores..][..scores]);
        room.scores.iter_mut().zip(mask).for_each(|(score, mask)| *score += mask);
        let out = Out { values: &mut out[head * s.depth..], stride: channels, width: s.depth };
        attend_body::<L, FUSED, ROWS>(at(0), s.depth, &room.keys, Start::Stored, &room.values, &mut room.scores, out);
    }
}

dispatch!(pub fn pack_keys(keys: Rows<'_>, depth: usize, lines: &mut [Line]) = pack_keys_body);
dispatch!(pub fn pack_values(values: Rows<'_>, depth: usize, lines: &mut [Line]) = pack_values_body);
dispatch_rows!(
    pub fn attend(
        q: Rows<'_>, depth: usize, keys: &[Line], start: Start<'_>, values: &[Line], scores: &mut [f32], out: Out<'_>,
    ) = attend_body
);
dispatch_rows!(
    fn window(qkv: &[f32], s: WindowSizes, bias: &[f32], mask: &[f32], room: &mut HeadRoom, out: &mut [f32]) = window_body
);

/// All heads of one window: `qkv [area, 3C]`, `bias [heads, area, wide]` and `mask [area, wide]` (or empty) → `[area, C]`.
pub fn attend_window(qkv: &[f32], s: WindowSizes, bias: &[f32], mask: &[f32], room: &mut HeadRoom, out: &mut [f32]) {
    room.keys.resize(key_lines(s.area, s.depth), Line::of(0.0));
    room.values.resize(value_lines(s.area, s.depth), Line::of(0.0));
    room.scores.resize(s.area * s.wide(), 0.0);
    window(qkv, s, bias, mask, room, out);
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use rand::RngExt;

    use super::super::forced::on_each;
    use super::super::vector::VectorUnit;
    use super::*;
    use crate::ops::composed;
    use crate::seeded::stream;

    fn values(name: &str, count: usize) -> Vec<f32> {
        let mut rng = stream(5, name);
        (0..count).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect()
    }

    fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
    }

    /// Whatever the processor has, the others' code paths give the same.
    #[test]
    fn every_vector_unit_attends_alike() {
        for (area, heads, depth) in [(49, 3, 32), (16, 2, 24), (9, 1, 5), (64, 2, 16)] {
            let s = WindowSizes { area, heads, depth };
            let qkv = values("qkv", 3 * area * s.channels());
            let (bias, mask) = (values("bias", heads * area * area), values("mask", area * area));
            let whole = |x: &[f32]| tensor(x, &[1, area, 3 * s.channels()]);
            for mask in [&mask[..], &[]] {
                let as_tensor = (!mask.is_empty()).then(|| tensor(mask, &[1, area, area]));
                let bias_tensor = tensor(&bias, &[heads, area, area]);
                let expected = composed::window_attention(&whole(&qkv), &bias_tensor, as_tensor.as_ref());
                let expected: Vec<f32> = expected.and_then(|t| t.flatten_all()?.to_vec1()).expect("runs");
                let mask: Vec<f32> = widen(mask, s).iter().map(|value| value.max(-1e9)).collect();
                let mut known: Option<Vec<f32>> = None;
                on_each(|unit| {
                    let mut out = vec![0.0; area * s.channels()];
                    attend_window(&qkv, s, &widen(&bias, s), &mask, &mut HeadRoom::default(), &mut out);
                    for (a, b) in out.iter().zip(&expected) {
                        assert!((a - b).abs() < 1e-5, "{unit:?}, {s:?}: {a}, expected {b}");
                    }
                    if unit > VectorUnit::None {
                        assert!(known.get_or_insert_with(|| out.clone()) == &out, "{unit:?}, {s:?}: other bytes");
                    }
                });
            }
        }
    }
}
