//! Deformable attention over several maps (Zhu et al. 2021): every head of every query looks at a few places of each map,
//! between tokens, and weighs what it finds.

use blocks::layers::Linear;
use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use rayon::prelude::*;

use crate::config::{Config, StackConfig};
use crate::plan::{Level, Plan};

/// Projections, places and weights.
pub(crate) struct DeformableAttention {
    offsets: Linear,
    weights: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    points: usize,
}

/// Around what queries look, by query and level.
#[derive(Clone, Copy)]
pub(crate) enum References<'a> {
    /// `[Q, levels, 2]`: a point, x before y; offsets are in tokens.
    Points(&'a [f32]),
    /// `[Q, levels, 4]`: a box `(cx, cy, w, h)`; offsets are in shares of it.
    Boxes(&'a [f32]),
}

impl DeformableAttention {
    pub(crate) fn new(config: &Config, stack: StackConfig, vb: &VarBuilder) -> Result<Self> {
        let (width, looks) = (config.width, stack.heads * config.levels * stack.points);
        Ok(Self {
            offsets: Linear::new(&vb.pp("sampling_offsets"), width, 2 * looks)?,
            weights: Linear::new(&vb.pp("attention_weights"), width, looks)?,
            value: Linear::new(&vb.pp("value_proj"), width, width)?,
            output: Linear::new(&vb.pp("output_proj"), width, width)?,
            heads: stack.heads,
            points: stack.points,
        })
    }

    /// `queries [1, Q, d]` with their positions, over `tokens [1, T, d]` of all levels → `[1, Q, d]`.
    pub(crate) fn forward(
        &self,
        queries: &Tensor,
        tokens: &Tensor,
        references: References,
        plan: &Plan,
    ) -> Result<Tensor> {
        let (_, count, width) = queries.dims3()?;
        let mut value = self.value.forward(tokens)?;
        if let Some(shown) = &plan.shown {
            value = value.broadcast_mul(shown)?;
        }
        let flat = |x: &Tensor| x.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
        let looks = Looks {
            value: &flat(&value)?,
            offsets: &flat(&self.offsets.forward(queries)?)?,
            weights: &flat(&self.weights.forward(queries)?)?,
            references,
            levels: &plan.levels,
            heads: self.heads,
            points: self.points,
            depth: width / self.heads,
        };
        let seen = Tensor::from_vec(looks.gather(count), (1, count, width), queries.device())?;
        self.output.forward(&seen)
    }
}

/// Everything that one attention looks at, as plain values.
struct Looks<'a> {
    /// `[T, heads * depth]`.
    value: &'a [f32],
    /// `[Q, heads, levels, points, 2]`.
    offsets: &'a [f32],
    /// `[Q, heads, levels * points]`, before the softmax.
    weights: &'a [f32],
    references: References<'a>,
    levels: &'a [Level],
    heads: usize,
    points: usize,
    /// Channels of a head.
    depth: usize,
}

impl Looks<'_> {
    /// `[Q, heads * depth]`.
    fn gather(&self, queries: usize) -> Vec<f32> {
        let width = self.heads * self.depth;
        let mut seen = vec![0.0; queries * width];
        seen.par_chunks_mut(width).enumerate().for_each_init(Vec::new, |weights, (query, seen)| {
            for (head, seen) in seen.chunks_exact_mut(self.depth).enumerate() {
                self.gather_head(query, head, weights, seen);
            }
        });
        seen
    }

    fn gather_head(&self, query: usize, head: usize, weights: &mut Vec<f32>, seen: &mut [f32]) {
        let (levels, points) = (self.levels.len(), self.points);
        let looks = levels * points;
        let first = (query * self.heads + head) * looks;
        softmax_into(&self.weights[first..first + looks], weights);
        let offsets = &self.offsets[2 * first..2 * (first + looks)];
        for (i, (offset, &weight)) in offsets.chunks_exact(2).zip(weights.iter()).enumerate() {
            let level = &self.levels[i / points];
            let place = self.place(query * levels + i / points, level, [offset[0], offset[1]]);
            self.add(level, head, place, weight, seen);
        }
    }

    /// Column and row of the map that an offset leads to, in tokens from the middle of the first.
    fn place(&self, reference: usize, level: &Level, offset: [f32; 2]) -> [f32; 2] {
        let sides = [level.grid.w as f32, level.grid.h as f32];
        std::array::from_fn(|axis| {
            let share = match self.references {
                References::Points(points) => points[2 * reference + axis] + offset[axis] / sides[axis],
                References::Boxes(boxes) => {
                    let own = &boxes[4 * reference..][..4];
                    own[axis] + offset[axis] / self.points as f32 * own[2 + axis] * 0.5
                }
            };
            share * sides[axis] - 0.5
        })
    }

    /// Adds what lies at a place of a map, between the four tokens around it; beyond its edges are zeros.
    fn add(&self, level: &Level, head: usize, [x, y]: [f32; 2], weight: f32, seen: &mut [f32]) {
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        let corners = [
            (0, 0, (1.0 - right_share) * (1.0 - bottom_share)),
            (1, 0, right_share * (1.0 - bottom_share)),
            (0, 1, (1.0 - right_share) * bottom_share),
            (1, 1, right_share * bottom_share),
        ];
        // Saturating casts: places far off are outside like any other.
        let (left, top) = (left as i64, top as i64);
        for (right, down, share) in corners {
            let (column, row) = (left.saturating_add(right), top.saturating_add(down));
            let inside = |place: i64, count: usize| usize::try_from(place).ok().filter(|place| *place < count);
            let (Some(column), Some(row)) = (inside(column, level.grid.w), inside(row, level.grid.h)) else { continue };
            let token = level.start + row * level.grid.w + column;
            let value = &self.value[(token * self.heads + head) * self.depth..][..self.depth];
            for (seen, value) in seen.iter_mut().zip(value) {
                *seen += weight * share * value;
            }
        }
    }
}

fn softmax_into(scores: &[f32], weights: &mut Vec<f32>) {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
    weights.clear();
    weights.extend(scores.iter().map(|score| (score - largest).exp()));
    let sum: f32 = weights.iter().sum();
    for weight in weights {
        *weight /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blocks::canvas::Grid;

    fn level(h: usize, w: usize, start: usize) -> Level {
        Level { grid: Grid { h, w }, shown: Grid { h, w }, start }
    }

    /// One head of one channel, one query; a map of 2x3 and one of 1x1.
    fn look(references: References, offsets: &[f32], weights: &[f32]) -> f32 {
        let levels = [level(2, 3, 0), level(1, 1, 6)];
        let value = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0];
        let looks =
            Looks { value: &value, offsets, weights, references, levels: &levels, heads: 1, points: 1, depth: 1 };
        looks.gather(1)[0]
    }

    #[test]
    fn looks_between_tokens_and_beyond_edges() {
        // All weight on the first map.
        let weights = [0.0, -1e9];
        let at = |x: f32, y: f32| look(References::Points(&[x, y, 0.5, 0.5]), &[0.0; 4], &weights);
        assert!((at(0.5, 0.25) - 2.0).abs() < 1e-6, "the middle of the second token");
        assert!((at(0.5, 0.5) - 3.5).abs() < 1e-6, "between two rows");
        assert!((at(2.0 / 6.0, 0.25) - 1.5).abs() < 1e-6, "between two columns");
        assert!((at(0.0, 0.25) - 0.5).abs() < 1e-6, "half beyond the edge");
        assert!(at(9.0, 0.25).abs() < 1e-9);
        assert!(at(f32::MAX, f32::MIN).abs() < 1e-9);
    }

    #[test]
    fn offsets_are_in_tokens_of_points_and_in_shares_of_boxes() {
        let weights = [0.0, -1e9];
        let points = References::Points(&[0.5, 0.25, 0.5, 0.5]);
        assert!((look(points, &[1.0, 0.0, 0.0, 0.0], &weights) - 3.0).abs() < 1e-6, "a token to the right");
        let boxes = [0.5, 0.25, 2.0 / 3.0, 1.0, 0.5, 0.5, 1.0, 1.0];
        assert!(
            (look(References::Boxes(&boxes), &[-1.0, 0.0, 0.0, 0.0], &weights) - 1.0).abs() < 1e-6,
            "half a box to the left"
        );
        let even = look(points, &[0.0; 4], &[3.0, 3.0]);
        assert!((even - 51.0).abs() < 1e-4, "both maps alike: {even}");
    }
}
