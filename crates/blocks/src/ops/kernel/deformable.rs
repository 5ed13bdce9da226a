//! Deformable attention (Zhu et al. 2021), forward only: every head of every query looks at a few places of each map,
//! between tokens, and weighs what it finds.

use super::lanes::{Lanes, WIDTH};
use super::norm::softmax_row;
use super::{dispatch_rows, madd};
use crate::canvas::Grid;

/// One of the maps that are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    pub grid: Grid,
    /// Where it begins among the tokens of all maps.
    pub start: usize,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub struct Looked<'a> {
    /// `[T, heads * depth]`.
    pub values: &'a [f32],
    pub maps: &'a [Map],
    pub heads: usize,
    /// Channels of a head.
    pub depth: usize,
    /// Places on each map.
    pub points: usize,
}

/// Around what queries look, by query and map, in 0..1 of the map.
#[derive(Clone, Copy)]
pub enum Around<'a> {
    /// `[Q, maps, 2]`: a point, x before y; offsets are in tokens.
    Points(&'a [f32]),
    /// `[Q, maps, 4]`: a box `(cx, cy, w, h)`; offsets are in shares of it.
    Boxes(&'a [f32]),
}

/// Room for one query's places, an entry for every map and point.
#[derive(Default)]
pub struct LookRoom {
    /// Where offsets begin, and how far one leads, across and down.
    base: [Vec<f32>; 2],
    gain: [Vec<f32>; 2],
    /// Columns and rows of the map.
    sides: [Vec<f32>; 2],
    starts: Vec<u32>,
    /// The four tokens around every place, and their weights.
    tokens: [Vec<u32>; 4],
    weights: [Vec<f32>; 4],
}

impl LookRoom {
    fn prepare(&mut self, looked: Looked) {
        let count = looked.maps.len() * looked.points;
        let each = |of: &dyn Fn(&Map) -> f32, values: &mut Vec<f32>| {
            values.clear();
            values.extend(looked.maps.iter().flat_map(|map| std::iter::repeat_n(of(map), looked.points)));
        };
        each(&|map| map.grid.w as f32, &mut self.sides[0]);
        each(&|map| map.grid.h as f32, &mut self.sides[1]);
        self.starts.clear();
        self.starts.extend(looked.maps.iter().flat_map(|map| std::iter::repeat_n(map.start as u32, looked.points)));
        for values in self.base.iter_mut().chain(&mut self.gain).chain(&mut self.weights) {
            values.resize(count, 0.0);
        }
        self.tokens.iter_mut().for_each(|tokens| tokens.resize(count, 0));
    }

    /// Places that do not depend on the head.
    #[inline(always)]
    fn aim(&mut self, around: Around, maps: usize, points: usize, query: usize) {
        for (axis, ((base, gain), sides)) in self.base.iter_mut().zip(&mut self.gain).zip(&self.sides).enumerate() {
            for map in 0..maps {
                let (here, side) = (map * points..(map + 1) * points, sides[map * points]);
                // In tokens from the middle of the first.
                let (middle, reach) = match around {
                    Around::Points(all) => (all[2 * (query * maps + map) + axis], 1.0),
                    Around::Boxes(all) => {
                        let own = &all[4 * (query * maps + map)..][..4];
                        (own[axis], own[2 + axis] * side * 0.5 / points as f32)
                    }
                };
                base[here.clone()].fill(madd::<false>(middle, side, -0.5));
                gain[here].fill(reach);
            }
        }
    }

    /// The tokens around the places that offsets `across` and `down` lead to, and their parts of `weights`. Beyond the edges
    /// are zeros.
    #[inline(always)]
    fn spread<const FUSED: bool>(&mut self, across: &[f32], down: &[f32], weights: &[f32]) {
        let count = weights.len();
        let (across, down, starts) = (&across[..count], &down[..count], &self.starts[..count]);
        let [base_x, base_y] = self.base.each_ref().map(|values| &values[..count]);
        let [gain_x, gain_y] = self.gain.each_ref().map(|values| &values[..count]);
        let [columns, rows] = self.sides.each_ref().map(|values| &values[..count]);
        let [t0, t1, t2, t3] = self.tokens.each_mut().map(|values| &mut values[..count]);
        let [w0, w1, w2, w3] = self.weights.each_mut().map(|values| &mut values[..count]);
        for i in 0..count {
            let x = madd::<FUSED>(across[i], gain_x[i], base_x[i]);
            let y = madd::<FUSED>(down[i], gain_y[i], base_y[i]);
            let (left, top) = (x.floor(), y.floor());
            let (right_share, bottom_share) = (x - left, y - top);
            let (last_x, last_y) = (columns[i] - 1.0, rows[i] - 1.0);
            // Comparisons with what is no number are false: it is outside.
            let inside = |place: f32, last: f32| place >= 0.0 && place <= last;
            let share = |inside: bool, share: f32| if inside { share } else { 0.0 };
            let left_share = share(inside(left, last_x), 1.0 - right_share);
            let right_share = share(inside(left + 1.0, last_x), right_share);
            let top_share = share(inside(top, last_y), 1.0 - bottom_share);
            let bottom_share = share(inside(top + 1.0, last_y), bottom_share);
            // Whole numbers far below 2^24, and on the map wherever the place is.
            let place = |place: f32, last: f32| {
                let place = if place > 0.0 { place } else { 0.0 };
                (if place < last { place } else { last }) as i32 as u32
            };
            let (left, right) = (place(left, last_x), place(left + 1.0, last_x));
            let width = columns[i] as i32 as u32;
            let top_row = starts[i].wrapping_add(place(top, last_y).wrapping_mul(width));
            let bottom_row = starts[i].wrapping_add(place(top + 1.0, last_y).wrapping_mul(width));
            (t0[i], t1[i]) = (top_row.wrapping_add(left), top_row.wrapping_add(right));
            (t2[i], t3[i]) = (bottom_row.wrapping_add(left), bottom_row.wrapping_add(right));
            let (top_weight, bottom_weight) = (weights[i] * top_share, weights[i] * bottom_share);
            (w0[i], w1[i]) = (top_weight * left_share, top_weight * right_share);
            (w2[i], w3[i]) = (bottom_weight * left_share, bottom_weight * right_share);
        }
    }

    /// Adds up sixteen channels from `first` on, `PARTS` times.
    #[inline(always)]
    fn gather<L: Lanes, const PARTS: usize>(&self, looked: Looked, first: usize, out: &mut [f32]) {
        let width = looked.heads * looked.depth;
        let zero = L::load(&[0.0; WIDTH]);
        // Sums of their own for every corner: none waits for another.
        let mut sums = [[zero; PARTS]; 4];
        let looks = self.weights[0].len();
        for i in 0..looks {
            for (corner, sums) in sums.iter_mut().enumerate() {
                let (token, weight) = (self.tokens[corner][i] as usize, self.weights[corner][i]);
                let value = looked.values[token * width + first..].as_chunks::<WIDTH>().0;
                for (sum, value) in sums.iter_mut().zip(&value[..PARTS]) {
                    *sum = sum.add_product(weight, L::load(value));
                }
            }
        }
        for (part, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate().take(PARTS) {
            sums[0][part].add(sums[1][part]).add(sums[2][part].add(sums[3][part])).store(out);
        }
    }

    /// The channels that fill no lanes.
    #[inline(always)]
    fn gather_rest(&self, looked: Looked, first: usize, out: &mut [f32]) {
        let width = looked.heads * looked.depth;
        out.fill(0.0);
        for (tokens, weights) in self.tokens.iter().zip(&self.weights) {
            for (token, weight) in tokens.iter().zip(weights) {
                let value = &looked.values[*token as usize * width + first..][..out.len()];
                out.iter_mut().zip(value).for_each(|(out, value)| *out += weight * value);
            }
        }
    }
}

#[inline(always)]
fn look_body<L: Lanes, const FUSED: bool, const ROWS: usize>(
    looked: Looked<'_>,
    around: Around<'_>,
    asked: &mut [f32],
    room: &mut LookRoom,
    out: &mut [f32],
) {
    let Looked { maps, heads, depth, points, .. } = looked;
    let looks = maps.len() * points;
    room.prepare(looked);
    let queries = asked.chunks_exact_mut(3 * heads * looks).zip(out.chunks_exact_mut(heads * depth));
    for (query, (asked, out)) in queries.enumerate() {
        room.aim(around, maps.len(), points, query);
        let each = asked.chunks_exact_mut(3 * looks).zip(out.chunks_exact_mut(depth));
        for (head, (asked, out)) in each.enumerate() {
            let (offsets, weights) = asked.split_at_mut(2 * looks);
            softmax_row::<FUSED>(weights);
            room.spread::<FUSED>(&offsets[..looks], &offsets[looks..], weights);
            let mut done = 0;
            while depth - done >= 2 * WIDTH {
                room.gather::<L, 2>(looked, head * depth + done, &mut out[done..]);
                done += 2 * WIDTH;
            }
            if depth - done >= WIDTH {
                room.gather::<L, 1>(looked, head * depth + done, &mut out[done..]);
                done += WIDTH;
            }
            if done < depth {
                room.gather_rest(looked, head * depth + done, &mut out[done..]);
            }
        }
    }
}

dispatch_rows!(
    /// What some queries see, into `out [Q, heads * depth]`. `asked [Q, heads, 3, maps * points]` are offsets across and down,
    /// and scores, of which weights are made in place.
    pub fn look(looked: Looked<'_>, around: Around<'_>, asked: &mut [f32], room: &mut LookRoom, out: &mut [f32]) = look_body
);

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::forced::on_each;
    use super::super::vector::VectorUnit;
    use super::*;
    use crate::seeded::stream;

    fn values(name: &str, count: usize, scale: f32) -> Vec<f32> {
        let mut rng = stream(6, name);
        (0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * scale).collect()
    }

    /// As the operation is defined, in f64.
    fn plainly(looked: Looked, around: Around, asked: &[f32], queries: usize) -> Vec<f64> {
        let Looked { maps, heads, depth, points, .. } = looked;
        let looks = maps.len() * points;
        let mut out = vec![0.0; queries * heads * depth];
        for (i, out) in out.chunks_exact_mut(depth).enumerate() {
            let (query, head) = (i / heads, i % heads);
            let asked: Vec<f64> = asked[3 * looks * i..][..3 * looks].iter().map(|v| f64::from(*v)).collect();
            let exps: Vec<f64> = asked[2 * looks..].iter().map(|score| score.exp()).collect();
            let total: f64 = exps.iter().sum();
            for look in 0..looks {
                let (number, map) = (look / points, maps[look / points]);
                let sides = [map.grid.w as f64, map.grid.h as f64];
                let [x, y]: [f64; 2] = std::array::from_fn(|axis| {
                    let offset = asked[axis * looks + look];
                    let share = match around {
                        Around::Points(all) => {
                            f64::from(all[2 * (query * maps.len() + number) + axis]) + offset / sides[axis]
                        }
                        Around::Boxes(all) => {
                            let own = &all[4 * (query * maps.len() + number)..][..4];
                            f64::from(own[axis]) + offset / points as f64 * f64::from(own[2 + axis]) * 0.5
                        }
                    };
                    share * sides[axis] - 0.5
                });
                for row in 0..map.grid.h {
                    for column in 0..map.grid.w {
                        let near = |a: f64, b: usize| (1.0 - (a - b as f64).abs()).max(0.0);
                        let share = near(x, column) * near(y, row) * exps[look] / total;
                        let token = map.start + row * map.grid.w + column;
                        let value = &looked.values[(token * heads + head) * depth..][..depth];
                        out.iter_mut().zip(value).for_each(|(out, value)| *out += share * f64::from(*value));
                    }
                }
            }
        }
        out
    }

    #[test]
    fn every_vector_unit_looks_as_defined() {
        let map = |h: usize, w: usize, start: usize| Map { grid: Grid { h, w }, start };
        let (maps, tokens) = ([map(5, 7, 0), map(3, 4, 35), map(1, 1, 47)], 48);
        for (heads, depth, points) in [(2, 32, 4), (3, 16, 1), (1, 40, 2), (4, 8, 3), (1, 67, 4)] {
            let values_of_all = values("values", tokens * heads * depth, 1.0);
            let looked = Looked { values: &values_of_all, maps: &maps, heads, depth, points };
            let (queries, looks) = (9, maps.len() * points);
            let (points, boxes) = (values("points", queries * 6, 0.7), values("boxes", queries * 12, 0.9));
            for around in [Around::Points(&points), Around::Boxes(&boxes)] {
                // Offsets that stay on the maps, and that leave them far behind.
                for reach in [1.0_f32, 3.0, 1e20] {
                    let asked = values("asked", queries * heads * 3 * looks, reach.min(8.0));
                    let far = |(i, value): (usize, f32)| if i % 5 == 0 && reach > 9.0 { value * 1e30 } else { value };
                    let scored = |(i, value): (usize, f32)| {
                        if i / looks % 3 == 2 { value } else { far((i, value)) }
                    };
                    let asked: Vec<f32> = asked.into_iter().enumerate().map(scored).collect();
                    let expected = plainly(looked, around, &asked, queries);
                    let mut known: Option<Vec<f32>> = None;
                    on_each(|unit| {
                        let mut out = vec![f32::NAN; queries * heads * depth];
                        look(looked, around, &mut asked.clone(), &mut LookRoom::default(), &mut out);
                        for (a, b) in out.iter().zip(&expected) {
                            assert!((f64::from(*a) - b).abs() < 1e-5, "{unit:?}, {heads}x{depth}: {a}, expected {b}");
                        }
                        if unit > VectorUnit::None {
                            assert!(known.get_or_insert_with(|| out.clone()) == &out, "{unit:?}: other bytes");
                        }
                    });
                }
            }
        }
    }

    #[test]
    fn offsets_that_are_no_numbers_lead_nowhere() {
        let maps = [Map { grid: Grid { h: 2, w: 2 }, start: 0 }];
        let looked = Looked { values: &[1.0, 2.0, 3.0, 4.0], maps: &maps, heads: 1, depth: 1, points: 1 };
        for offset in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut out = [7.0];
            look(looked, Around::Points(&[0.5, 0.5]), &mut [offset, 0.0, 1.0], &mut LookRoom::default(), &mut out);
            assert!(out[0].abs() < 1e-9, "{offset}: {}", out[0]);
        }
    }
}
