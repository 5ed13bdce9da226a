//! MobileNetV2's inverted residual (Sandler et al. 2018): a Linear that widens, a depthwise convolution, a Linear that
//! narrows, `ReLU6` after the first two; and the network's first convolution. Norms are folded into the weights.
//!
//! A map is worked on in strips of rows: what a strip's windows read of the wide map is computed anew for every strip, so
//! that the wide map never leaves the second cache. The backward pass computes it once more instead of keeping it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::dense::{self, Arithmetic, Dense};
use super::depthwise::{TAPS, Three, Window, by_tap, convolve, input_gradient, weight_gradient};
use super::dispatch;
use super::fused::{Fused, apply};
use super::gemm::{Matrix, Onto, add, add_columns, gemm};
use super::linear::total;
use super::product::{Packed, Rows};
use crate::canvas::Grid;

/// Weights and biases of one block, as tensors.
#[derive(Debug, Clone)]
pub struct Weights<T> {
    /// `[E, C]` and `[E]`; none where the block does not widen.
    pub expand: Option<(T, T)>,
    /// `[E, 1, 3, 3]` and `[E]`.
    pub depthwise: (T, T),
    /// `[O, E]` and `[O]`.
    pub project: (T, T),
}

impl<T> Weights<T> {
    /// The same, lent.
    pub fn as_ref(&self) -> Weights<&T> {
        Weights {
            expand: self.expand.as_ref().map(|(weight, bias)| (weight, bias)),
            depthwise: (&self.depthwise.0, &self.depthwise.1),
            project: (&self.project.0, &self.project.1),
        }
    }
}

/// What a block does with its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Of the depthwise convolution.
    pub window: Window,
    /// Whether the input is added to the output.
    pub residual: bool,
}

impl Shape {
    /// The map that comes of a map of `grid`.
    pub fn output(self, grid: Grid) -> Grid {
        Grid { h: grid.h / self.window.stride, w: grid.w / self.window.stride }
    }
}

/// One block with packed weights.
pub struct Block {
    expand: Option<Dense>,
    depthwise: Vec<f32>,
    depthwise_bias: Vec<f32>,
    project: Dense,
    shape: Shape,
}

/// Buffers of a strip.
#[derive(Default)]
pub struct Room {
    hidden: Vec<f32>,
    filtered: Vec<f32>,
    left: dense::Room,
}

/// Values of a strip's wide map, as many as fit the second cache beside the weights.
const STRIP: usize = 1 << 17;

impl Block {
    /// The two Linears compute as `expand` and `project` say, the convolution between them in f32.
    pub fn new(weights: &Weights<&[f32]>, shape: Shape, expand: Arithmetic, project: Arithmetic) -> Self {
        let hidden = weights.depthwise.1.len();
        let expand = weights.expand.map(|(weight, bias)| Dense::new(weight, Some(bias), weight.len() / hidden, expand));
        let project = Dense::new(weights.project.0, Some(weights.project.1), hidden, project);
        Self::of(expand, weights.depthwise, project, shape)
    }

    /// With Linears that are packed already.
    pub fn of(expand: Option<Dense>, depthwise: (&[f32], &[f32]), project: Dense, shape: Shape) -> Self {
        let (depthwise, depthwise_bias) = (by_tap(depthwise.0), depthwise.1.to_vec());
        Self { expand, depthwise, depthwise_bias, project, shape }
    }

    /// Channels of the block's output.
    pub fn output(&self) -> usize {
        self.project.output()
    }

    fn input(&self) -> usize {
        self.expand.as_ref().map_or(self.depthwise_bias.len(), Dense::input)
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Rows of the output map that make one strip of a map of `grid`. Follows from sizes alone.
    pub fn strip_rows(&self, grid: Grid) -> usize {
        let row = grid.w * self.depthwise_bias.len() * self.shape.window.stride;
        let rows = self.shape.output(grid).h;
        // At least two strips a map, so that two threads find work.
        (STRIP / row).clamp(1, rows.div_ceil(2))
    }

    /// Rows `first..` of the output map, as many as `out` holds, from the map `x [H*W, C]` of `grid`.
    pub fn strip(&self, x: &[f32], grid: Grid, first: usize, room: &mut Room, out: &mut [f32]) {
        let (window, to) = (self.shape.window, self.shape.output(grid));
        let (channels, wide) = (self.input(), self.depthwise_bias.len());
        let rows = out.len() / (to.w * self.output());
        let read = (first * window.stride).saturating_sub(window.before());
        let behind = ((first + rows - 1) * window.stride + 2 * window.dilation + 1 - window.before()).min(grid.h);
        let read = read..behind;
        let seen = &x[read.start * grid.w * channels..read.end * grid.w * channels];
        let Room { hidden, filtered, left } = room;
        let hidden: &[f32] = match &self.expand {
            None => seen,
            Some(expand) => {
                let count = seen.len() / channels;
                let hidden = grown(hidden, count * wide);
                expand.apply(Rows { values: seen, stride: channels, count }, expand.bias(), hidden, wide, left);
                clamp6(hidden);
                hidden
            }
        };
        let filtered = grown(filtered, rows * to.w * wide);
        for (row, filtered) in filtered.chunks_exact_mut(to.w * wide).enumerate() {
            let three = three(hidden, grid.w * wide, window, first + row, (read.start, grid.h));
            convolve(&three, window, &self.depthwise, &self.depthwise_bias, true, filtered);
        }
        let filtered = Rows { values: filtered, stride: wide, count: rows * to.w };
        let start = if self.shape.residual {
            out.copy_from_slice(&x[first * grid.w * channels..][..out.len()]);
            self.project.bias_onto()
        } else {
            self.project.bias()
        };
        self.project.apply(filtered, start, out, self.output(), left);
    }
}

/// The rows that the windows of row `output` read; `map` begins with row `begin` of `rows`.
fn three(map: &[f32], width: usize, window: Window, output: usize, (begin, rows): (usize, usize)) -> Three<'_> {
    std::array::from_fn(|tap| window.reads(output, tap, rows).map(|row| &map[(row - begin) * width..][..width]))
}

/// The first `length` values of a buffer that grows when it must.
fn grown(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

dispatch!(
    /// Moves every value into 0..=6.
    pub fn clamp6(values: &mut [f32]) = clamp6_body
);

#[inline(always)]
fn clamp6_body<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        // A comparison that keeps what is no number.
        *value = if *value < 0.0 { 0.0 } else { *value };
        *value = if *value > 6.0 { 6.0 } else { *value };
    }
}

dispatch!(
    /// Clears gradients of values that were moved to 0 or 6.
    fn mask6(values: &[f32], gradient: &mut [f32]) = mask6_body
);

#[inline(always)]
fn mask6_body<const FUSED: bool>(values: &[f32], gradient: &mut [f32]) {
    for (value, gradient) in values.iter().zip(gradient) {
        *gradient = if *value > 0.0 && *value < 6.0 { *gradient } else { 0.0 };
    }
}

/// One block on maps of `grid`.
///
/// # Shapes
/// `x [B, H*W, C]` → `[B, H'*W', O]`.
pub fn inverted_residual(x: &Tensor, weights: &Weights<&Tensor>, grid: Grid, shape: Shape) -> Result<Tensor> {
    let (batch, tokens, channels) = x.dims3()?;
    let (wide, output) = (weights.depthwise.1.elem_count(), weights.project.1.elem_count());
    let input = weights.expand.map_or(Ok(wide), |(weight, _)| weight.dim(1))?;
    let window = shape.window;
    let even = grid.h.is_multiple_of(window.stride) && grid.w.is_multiple_of(window.stride);
    if tokens != grid.len() || input != channels || !even || (shape.residual && (output != input || window.stride != 1))
    {
        candle_core::bail!("a block of {input} to {output} channels does not fit {:?} on {grid:?}", x.shape());
    }
    let (first, second) = weights.expand.unzip();
    let mut inputs = vec![x];
    inputs.extend(first);
    inputs.extend(second);
    inputs.extend([weights.depthwise.0, weights.depthwise.1, weights.project.0, weights.project.1]);
    let operation = Inverted { grid, shape, channels, wide, output };
    apply(operation, &inputs, (batch, shape.output(grid).len(), output))
}

struct Inverted {
    grid: Grid,
    shape: Shape,
    channels: usize,
    wide: usize,
    output: usize,
}

/// Groups of pictures whose gradients are summed apart. Does not depend on the number of threads.
const GROUPS: usize = 8;

impl Inverted {
    fn weights<'a>(inputs: &[&'a [f32]]) -> Weights<&'a [f32]> {
        let (expand, rest) = if inputs.len() > 5 { inputs[1..].split_at(2) } else { inputs[1..].split_at(0) };
        Weights {
            expand: (!expand.is_empty()).then(|| (expand[0], expand[1])),
            depthwise: (rest[0], rest[1]),
            project: (rest[2], rest[3]),
        }
    }

    /// The gradients of one picture: of its map into `dx`, unless that is empty; those of the weights are added to `sums`,
    /// in the order of the inputs, those of the depthwise weights by tap.
    fn backward_picture(
        &self,
        block: &Block,
        weights: &Weights<&[f32]>,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        let &Self { grid, shape, channels, wide, output } = self;
        let (window, to) = (shape.window, shape.output(grid));
        let mut widened = Vec::new();
        let hidden: &[f32] = match &block.expand {
            None => x,
            Some(expand) => {
                widened.resize(grid.len() * wide, 0.0);
                let rows = Rows { values: x, stride: channels, count: grid.len() };
                expand.apply(rows, expand.bias(), &mut widened, wide, &mut dense::Room::default());
                clamp6(&mut widened);
                &widened
            }
        };
        let mut filtered = vec![0.0; to.len() * wide];
        for (row, filtered) in filtered.chunks_exact_mut(to.w * wide).enumerate() {
            let three = three(hidden, grid.w * wide, window, row, (0, grid.h));
            convolve(&three, window, &block.depthwise, &block.depthwise_bias, true, filtered);
        }
        let (expand_sums, rest) =
            sums.split_at_mut(weights.expand.map_or(0, |(weight, bias)| weight.len() + bias.len()));
        let (depthwise_sums, project_sums) = rest.split_at_mut((TAPS + 1) * wide);
        let (dproject, dproject_bias) = project_sums.split_at_mut(output * wide);
        let gradient = Matrix::new(dy, output);
        gemm(dproject, Onto::Result, gradient.transposed(), Matrix::new(&filtered, wide), false);
        add_columns(dy, dproject_bias);
        let mut dfiltered = vec![0.0; filtered.len()];
        gemm(&mut dfiltered, Onto::Nothing, gradient, Matrix::new(weights.project.0, wide), false);
        mask6(&filtered, &mut dfiltered);
        // The first block's map is its input, whose gradient may not be asked for.
        let inner = block.expand.is_some() || !dx.is_empty();
        let mut dhidden = vec![0.0; if inner { hidden.len() } else { 0 }];
        for (row, g) in dfiltered.chunks_exact(to.w * wide).enumerate() {
            weight_gradient(&three(hidden, grid.w * wide, window, row, (0, grid.h)), window, g, depthwise_sums);
            for tap in 0..if inner { 3 } else { 0 } {
                if let Some(reads) = window.reads(row, tap, grid.h) {
                    let weights = &block.depthwise[3 * tap * wide..][..3 * wide];
                    input_gradient(g, window, weights, wide, &mut dhidden[reads * grid.w * wide..][..grid.w * wide]);
                }
            }
        }
        if let Some((weight, _)) = weights.expand {
            mask6(hidden, &mut dhidden);
            let (dexpand, dexpand_bias) = expand_sums.split_at_mut(weight.len());
            let rows = Matrix::new(&dhidden, wide);
            gemm(dexpand, Onto::Result, rows.transposed(), Matrix::new(x, channels), false);
            add_columns(&dhidden, dexpand_bias);
            if !dx.is_empty() {
                gemm(dx, Onto::Nothing, rows, Matrix::new(weight, channels), false);
            }
        } else if !dx.is_empty() {
            dx.copy_from_slice(&dhidden);
        }
        if shape.residual && !dx.is_empty() {
            add(dy, dx);
        }
    }
}

impl Fused for Inverted {
    fn name(&self) -> &'static str {
        "inverted-residual"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let block = Block::new(&Self::weights(inputs), self.shape, Arithmetic::F32, Arithmetic::F32);
        let (from, to) = (self.grid.len() * self.channels, self.shape.output(self.grid));
        let size = to.len() * self.output;
        let mut y = vec![0.0; inputs[0].len() / from * size];
        let rows = block.strip_rows(self.grid);
        let strip = rows * to.w * self.output;
        let strips = y.par_chunks_mut(size).zip(inputs[0].par_chunks(from));
        strips.for_each(|(y, x)| {
            y.par_chunks_mut(strip).enumerate().for_each_init(Room::default, |room, (number, y)| {
                block.strip(x, self.grid, number * rows, room, y);
            });
        });
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], wanted: &[bool]) -> Vec<Vec<f32>> {
        let weights = Self::weights(inputs);
        let block = Block::new(&weights, self.shape, Arithmetic::F32, Arithmetic::F32);
        let (from, to) = (self.grid.len() * self.channels, self.shape.output(self.grid).len() * self.output);
        let batch = inputs[0].len() / from;
        let group = batch.div_ceil(GROUPS);
        let sizes: Vec<usize> = inputs[1..].iter().map(|input| input.len()).collect();
        let mut dx = vec![0.0; if wanted[0] { inputs[0].len() } else { 0 }];
        let mut parts: Vec<&mut [f32]> = dx.chunks_mut(group * from).collect();
        parts.resize_with(batch.div_ceil(group), Default::default);
        let work = parts.into_par_iter().zip(inputs[0].par_chunks(group * from).zip(gradient.par_chunks(group * to)));
        let sums = work.map(|(dx, (x, dy))| {
            let mut sums = vec![0.0; sizes.iter().sum()];
            let mut dx = dx.chunks_exact_mut(from);
            for (x, dy) in x.chunks_exact(from).zip(dy.chunks_exact(to)) {
                let dx = dx.next().unwrap_or_default();
                self.backward_picture(&block, &weights, x, dy, dx, &mut sums);
            }
            sums
        });
        let sums = total(sums.collect());
        let mut first = 0;
        let mut gradients = vec![dx];
        let depthwise = inputs.len() - 5;
        for (number, size) in sizes.into_iter().enumerate() {
            let part = &sums[first..first + size];
            // By channel, as the weight is stored.
            gradients.push(if number == depthwise { by_channel(part) } else { part.to_vec() });
            first += size;
        }
        gradients
    }
}

/// `[9, C]` → `[C, 9]`.
fn by_channel(values: &[f32]) -> Vec<f32> {
    let channels = values.len() / TAPS;
    (0..channels).flat_map(|c| (0..TAPS).map(move |tap| values[tap * channels + c])).collect()
}

/// The network's first convolution, 3x3 with a stride of 2, and `ReLU6`.
///
/// # Shapes
/// `image [B, 3, H, W]`, `weight [C, 3, 3, 3]`, `bias [C]` → `[B, H/2 * W/2, C]`. The picture gets no gradient.
pub fn stem(image: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, colours, height, width) = image.dims4()?;
    let output = bias.elem_count();
    if colours != 3 || weight.dims() != [output, 3, 3, 3] || !height.is_multiple_of(2) || !width.is_multiple_of(2) {
        candle_core::bail!("a stem of {:?} does not fit {:?}", weight.shape(), image.shape());
    }
    let grid = Grid { h: height / 2, w: width / 2 };
    apply(Stem { grid, output }, &[&image.detach(), weight, bias], (batch, grid.len(), output))
}

struct Stem {
    /// Of the output.
    grid: Grid,
    output: usize,
}

/// Values that one window of the stem reads.
pub const STEM_INPUTS: usize = 27;

/// What the windows of one row read of `picture [3, H, W]`: `[W/2, 27]`, by colour, row and column.
pub fn stem_row(picture: &[f32], grid: Grid, row: usize, patches: &mut [f32]) {
    let (width, height) = (2 * grid.w, 2 * grid.h);
    for part in 0..9 {
        let (colour, down) = (part / 3, part % 3);
        let y = 2 * row + down;
        let source = (y < height).then(|| &picture[(colour * height + y) * width..][..width]);
        for (x, patch) in patches.chunks_exact_mut(STEM_INPUTS).enumerate() {
            let to = &mut patch[3 * part..3 * part + 3];
            match source {
                None => to.fill(0.0),
                Some(source) => {
                    to[0] = source[2 * x];
                    to[1] = source[2 * x + 1];
                    to[2] = source.get(2 * x + 2).copied().unwrap_or(0.0);
                }
            }
        }
    }
}

impl Fused for Stem {
    fn name(&self) -> &'static str {
        "stem"
    }

    fn forward(&self, inputs: &[&[f32]]) -> Vec<f32> {
        let packed = Packed::new(inputs[1], Some(inputs[2]), STEM_INPUTS);
        let (grid, size) = (self.grid, 12 * self.grid.len());
        let mut y = vec![0.0; inputs[0].len() / size * grid.len() * self.output];
        y.par_chunks_mut(grid.w * self.output).enumerate().for_each_init(Vec::new, |patches, (row, y)| {
            let patches = grown(patches, grid.w * STEM_INPUTS);
            stem_row(&inputs[0][row / grid.h * size..][..size], grid, row % grid.h, patches);
            let rows = Rows { values: patches, stride: STEM_INPUTS, count: grid.w };
            packed.apply(rows, packed.bias(), y, self.output);
            clamp6(y);
        });
        y
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32], _: &[bool]) -> Vec<Vec<f32>> {
        let y = self.forward(inputs);
        let (grid, size, row_size) = (self.grid, 12 * self.grid.len(), self.grid.w * self.output);
        let pictures = y.par_chunks(grid.len() * self.output).zip(gradient.par_chunks(grid.len() * self.output));
        let sums = pictures.enumerate().map(|(picture, (y, gradient))| {
            let mut sums = vec![0.0; inputs[1].len() + inputs[2].len()];
            let (dw, db) = sums.split_at_mut(inputs[1].len());
            let mut patches = vec![0.0; grid.w * STEM_INPUTS];
            for (row, (y, gradient)) in y.chunks_exact(row_size).zip(gradient.chunks_exact(row_size)).enumerate() {
                stem_row(&inputs[0][picture * size..][..size], grid, row, &mut patches);
                let mut gradient = gradient.to_vec();
                mask6(y, &mut gradient);
                let rows = Matrix::new(&gradient, self.output);
                gemm(dw, Onto::Result, rows.transposed(), Matrix::new(&patches, STEM_INPUTS), false);
                add_columns(&gradient, db);
            }
            sums
        });
        let mut dw = total(sums.collect());
        let db = dw.split_off(inputs[1].len());
        vec![Vec::new(), dw, db]
    }
}
