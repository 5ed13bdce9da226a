//! What depends on the model's sizes and the canvas alone: window layouts, rows of the position table, the frame that
//! predicted boxes are relative to. Built once per canvas.

use candle_core::{DType, Device, Result, Tensor};

use crate::config::{Backbone, Config};
use crate::swin;
use crate::weights::corners;
use blocks::canvas::Canvas;
use blocks::canvas::Grid;
use blocks::preprocess::{Rect, Transform};
use blocks::swin::Windows;

/// Geometry of one canvas.
pub struct CanvasPlan {
    canvas: Canvas,
    pub(crate) windows: Option<Windows>,
    /// What the position table gives every token.
    pub(crate) positions: Positions,
    token_levels: [usize; 2],
    levels: Vec<Grid>,
    box_frame: BoxFrame,
}

/// The rectangle, in canvas pixels, that predicted boxes are relative to: the canvas itself, or the larger canvas of
/// the position table around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxFrame {
    /// Left edge, at most 0.
    pub left: f64,
    /// Top edge, at most 0.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl BoxFrame {
    /// The canvas itself.
    fn of(canvas: Canvas) -> Self {
        Self { left: 0.0, top: 0.0, width: canvas.width as f64, height: canvas.height as f64 }
    }
}

/// What a position table gives the tokens of one canvas: REG, text, the two levels that the fusion head reads.
pub(crate) enum Positions {
    /// A row each, `[1 + L + N]` u32.
    Rows(Tensor),
    /// A mixture of rows each, `[1 + L + N, rows]`.
    Mixed(Tensor),
}

impl Positions {
    /// `table [rows, d]` → `[1 + L + N, d]`.
    pub(crate) fn of(&self, table: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rows(rows) => table.index_select(rows, 0),
            Self::Mixed(shares) => shares.to_dtype(table.dtype())?.matmul(table),
        }
    }
}

impl CanvasPlan {
    /// Lays out `canvas` for a model of these sizes.
    ///
    /// # Errors
    /// The device cannot hold the masks.
    pub fn new(config: &Config, canvas: Canvas, device: &Device) -> Result<Self> {
        let levels: Vec<Grid> = (0..=config.stages()).map(|level| config.level_grid(canvas, level)).collect();
        let (positions, box_frame) = if config.is_sampled(canvas) {
            (Positions::Mixed(mixed_positions(config, canvas, device)?), BoxFrame::of(canvas))
        } else {
            let (rows, box_frame) = position_rows(config, canvas);
            (Positions::Rows(Tensor::new(rows, device)?), box_frame)
        };
        let windows = matches!(config.backbone(), Backbone::Swin(_)).then(|| swin::windows(config, canvas, device));
        Ok(Self { canvas, windows, positions, token_levels: config.token_levels(), levels, box_frame })
    }

    /// The canvas.
    pub fn canvas(&self) -> Canvas {
        self.canvas
    }

    /// What predicted boxes are relative to.
    pub fn box_frame(&self) -> BoxFrame {
        self.box_frame
    }

    /// A predicted box `(cx, cy, w, h)` in 0..1 of the canvas, of which it may lie outside.
    pub fn box_to_canvas(&self, [cx, cy, w, h]: [f32; 4]) -> [f32; 4] {
        let BoxFrame { left, top, width, height } = self.box_frame;
        let (across, down) = (self.canvas.width as f64, self.canvas.height as f64);
        let scaled = |value: f32, size: f64, first: f64, by: f64| ((f64::from(value) * size + first) / by) as f32;
        [
            scaled(cx, width, left, across),
            scaled(cy, height, top, down),
            scaled(w, width, 0.0, across),
            scaled(h, height, 0.0, down),
        ]
    }

    /// A predicted box in pixels of the picture, clipped to it. It has an area: of a side of which less than half a pixel is
    /// inside, as of pictures so thin that the canvas shows them as a line, it takes a whole one.
    pub fn box_to_picture(&self, [cx, cy, w, h]: [f32; 4], transform: &Transform) -> Rect {
        let frame = self.box_frame();
        let (cx, cy) = (f64::from(cx) * frame.width + frame.left, f64::from(cy) * frame.height + frame.top);
        let (w, h) = (f64::from(w) * frame.width / 2.0, f64::from(h) * frame.height / 2.0);
        let on_canvas = Rect { x0: cx - w, y0: cy - h, x1: cx + w, y1: cy + h };
        let (width, height) = transform.grounded;
        let (width, height) = (width as f64, height as f64);
        let inside = transform.from_canvas(&on_canvas).clipped(width, height);
        let (x0, x1) = at_least_a_pixel(inside.x0, inside.x1, width);
        let (y0, y1) = at_least_a_pixel(inside.y0, inside.y1, height);
        Rect { x0, y0, x1, y1 }
    }

    /// Which visual tokens lie on the picture: those whose top left pixel does, as the reference's nearest mask has it.
    pub(crate) fn visible_tokens(&self, transform: &Transform) -> Vec<bool> {
        self.token_levels()
            .into_iter()
            .flat_map(|level| {
                let (grid, stride) = (self.level(level), self.stride(level));
                (0..grid.len()).map(move |i| transform.shows(i % grid.w * stride, i / grid.w * stride))
            })
            .collect()
    }

    /// Grid of level `level`; one level more than the backbone has stages.
    pub fn level(&self, level: usize) -> Grid {
        self.levels[level]
    }

    /// Canvas pixels per token side at level `level`.
    pub fn stride(&self, level: usize) -> usize {
        self.canvas.width / self.levels[level].w
    }

    /// Grids of all levels.
    pub(crate) fn grids(&self) -> &[Grid] {
        &self.levels
    }

    /// The two levels whose tokens the fusion head reads, the finer one first.
    pub fn token_levels(&self) -> [usize; 2] {
        self.token_levels
    }

    /// Number of levels.
    pub fn level_count(&self) -> usize {
        self.levels.len()
    }

    /// Nearest reduction of a pixel mask to the tokens of `level`: the value at every token's top left pixel.
    ///
    /// # Shapes
    /// `mask [B, H, W]` u8 → `[B, N]`.
    ///
    /// # Errors
    /// The mask is not of this canvas.
    pub fn level_mask(&self, mask: &Tensor, level: usize) -> Result<Tensor> {
        let stride = self.stride(level);
        let Grid { h, w } = self.levels[level];
        let batch = mask.dim(0)?;
        let mask = mask.to_dtype(DType::U8)?;
        mask.reshape((batch, h, stride, w, stride))?
            .narrow(2, 0, 1)?
            .narrow(4, 0, 1)?
            .contiguous()?
            .reshape((batch, h * w))
    }

    /// Masks of the two levels that the fusion head reads side by side, `[B, N]`.
    pub(crate) fn visual_mask(&self, mask: &Tensor) -> Result<Tensor> {
        let [finer, coarser] = self.token_levels;
        Tensor::cat(&[self.level_mask(mask, finer)?, self.level_mask(mask, coarser)?], 1)
    }
}

/// One side of a box in a picture of `length` pixels; of less than half of one, a whole one around it.
fn at_least_a_pixel(from: f64, to: f64, length: f64) -> (f64, f64) {
    if to - from >= 0.5 {
        return (from, to);
    }
    let first = (f64::midpoint(from, to) - 0.5).clamp(0.0, (length - 1.0).max(0.0));
    (first, first + 1.0)
}

fn position_rows(config: &Config, canvas: Canvas) -> (Vec<u32>, BoxFrame) {
    let table = config.position_canvas();
    let front = 1 + config.max_query_len;
    let own = BoxFrame::of(canvas);
    if config.visual_tokens(table) == config.visual_tokens(canvas) {
        return ((0..front + config.visual_tokens(canvas)).map(|row| row as u32).collect(), own);
    }
    let (left, top) = ((table.width - canvas.width) / 2, (table.height - canvas.height) / 2);
    let mut rows: Vec<usize> = (0..front).collect();
    let mut first = front;
    for level in config.token_levels() {
        let (outer, inner) = (config.level_grid(table, level), config.level_grid(canvas, level));
        let stride = table.width / outer.w;
        let (x0, y0) = (left / stride, top / stride);
        rows.extend((0..inner.h).flat_map(|y| (0..inner.w).map(move |x| first + (y0 + y) * outer.w + x0 + x)));
        first += outer.len();
    }
    let frame =
        BoxFrame { left: -(left as f64), top: -(top as f64), width: table.width as f64, height: table.height as f64 };
    (rows.into_iter().map(|row| row as u32).collect(), frame)
}

/// Shares of the table's rows in every token's: visual tokens by the place of their cell's centre on the canvas.
fn mixed_positions(config: &Config, canvas: Canvas, device: &Device) -> Result<Tensor> {
    let (front, columns) = (1 + config.max_query_len, config.position_rows());
    let mut shares = Vec::new();
    let mut row = |places: &[(usize, f32)]| {
        let mut row = vec![0.0f32; columns];
        for (place, share) in places {
            row[*place] += share;
        }
        shares.extend(row);
    };
    (0..front).for_each(|place| row(&[(place, 1.0)]));
    let mut first = front;
    for level in config.token_levels() {
        let (old, new) = (config.level_grid(config.position_canvas(), level), config.level_grid(canvas, level));
        for corners in corners(old, new) {
            row(&corners.map(|(place, share)| (first + place, share)));
        }
        first += old.len();
    }
    Tensor::from_vec(shares, (front + config.visual_tokens(canvas), columns), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_an_area_in_the_thinnest_picture() {
        let config = Config::from_toml(include_str!("../../../configs/model/tiny.toml"), "tiny").expect("valid");
        let plan = CanvasPlan::new(&config, config.canvas, &Device::Cpu).expect("a plan");
        for (raw, (width, height), expected) in [
            // On the canvas the picture is one column wide: boxes beside it, across it, at its end.
            ([0.25, 0.5, 0.25, 0.5], (3, 3000), (1.0, 1500.0)),
            ([0.75, 0.5, 0.25, 0.5], (3, 3000), (1.0, 1500.0)),
            ([0.5, 0.5, 1.0, 1.0], (3, 3000), (3.0, 3000.0)),
            ([0.5, 0.0, 1.0, 0.0], (3, 3000), (3.0, 1.0)),
            ([0.25, 0.25, 0.0, 0.0], (3000, 1), (1.0, 1.0)),
            // What has half a pixel or more keeps its size.
            ([0.5, 0.5, 0.5, 0.5], (100, 100), (50.0, 50.0)),
            ([0.5, 0.5, 0.0075, 0.5], (100, 100), (0.75, 50.0)),
        ] {
            let rect = plan.box_to_picture(raw, &Transform::letterbox(width, height, config.canvas));
            let inside = rect.x0 >= 0.0 && rect.y0 >= 0.0 && rect.x1 <= width as f64 && rect.y1 <= height as f64;
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-6;
            let as_large = near(rect.width(), expected.0) && near(rect.height(), expected.1);
            assert!(inside && as_large, "{raw:?} in {width}x{height}: {rect:?}, expected {expected:?}");
        }
    }

    #[test]
    fn smaller_canvas_takes_the_centred_rows() {
        let mut config = Config::from_toml(include_str!("../../../configs/model/tiny.toml"), "tiny").expect("valid");
        config.pos_canvas = Some(Canvas { width: 256, height: 256 });
        config.canvas = Canvas { width: 256, height: 128 };
        config.validate("test").expect("centred by 64 pixels");
        let (rows, frame) = position_rows(&config, config.canvas);
        let front = 11;
        assert_eq!(rows.len(), front + 32 + 8);
        // Level 3 of the table is 8x8; the canvas takes rows 2..6 of it. Level 4 is 4x4; rows 1..3.
        assert_eq!(rows[front], (front + 16) as u32);
        assert_eq!(rows[front + 31], (front + 47) as u32);
        assert_eq!(rows[front + 32], (front + 64 + 4) as u32);
        assert_eq!(frame, BoxFrame { left: 0.0, top: -64.0, width: 256.0, height: 256.0 });
        // A quarter of the larger canvas, in its middle, is half as high as the smaller one.
        let plan = CanvasPlan::new(&config, config.canvas, &Device::Cpu).expect("a plan");
        let bits = |values: [f32; 4]| values.map(f32::to_bits);
        for (raw, on_canvas) in
            [([0.5, 0.5, 0.25, 0.25], [0.5, 0.5, 0.25, 0.5]), ([0.25, 0.25, 0.5, 0.125], [0.25, 0.0, 0.5, 0.25])]
        {
            assert_eq!(bits(plan.box_to_canvas(raw)), bits(on_canvas), "{raw:?}");
        }
    }
}
