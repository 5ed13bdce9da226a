//! Pixels of a scene: sprites turned, scaled and tinted into patches; backgrounds; blending.

use blocks::preprocess::{Picture, Rect};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::art::Sprite;
use super::clutter::leaves;
use super::rgb::{blend, distance};

/// A sprite as it stands in one scene: premultiplied RGBA in 0..1, cropped to what is visible.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    pub(super) width: usize,
    pub(super) height: usize,
    rgba: Vec<[f32; 4]>,
    /// Mean colour of what is visible, 0..1.
    mean: [f32; 3],
}

/// How a sprite is turned into a patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    /// Longer side of the upright sprite, in pixels.
    pub(super) size: f32,
    /// Radians, clockwise.
    pub(super) angle: f32,
    pub(super) flip: bool,
    /// Applied to RGB.
    pub(super) tint: Tint,
}

/// A linear map of RGB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tint([[f32; 3]; 3]);

/// Opacity from which on a pixel counts as the sprite's.
const SHOWN: f32 = 0.5;
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl Tint {
    pub(super) const NONE: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// White becomes `rgb`.
    pub(super) fn colour(rgb: [f32; 3]) -> Self {
        Self(std::array::from_fn(|r| std::array::from_fn(|c| if r == c { rgb[r] } else { 0.0 })))
    }

    /// Another print of the same art: brightness, saturation, a shift between channels; rarely grey.
    pub(super) fn print(strength: f32, rng: &mut ChaCha8Rng) -> Self {
        let mut around = |reach: f32| 1.0 + strength * reach * (2.0 * rng.random::<f32>() - 1.0);
        let brightness = around(0.25);
        let mut saturation = around(0.5);
        let channels = [around(0.12), around(0.12), around(0.12)];
        if rng.random_bool(f64::from(0.06 * strength.clamp(0.0, 1.0))) {
            saturation = 0.0;
        }
        Self(std::array::from_fn(|r| {
            std::array::from_fn(|c| {
                let identity = if r == c { saturation } else { 0.0 };
                brightness * channels[r] * (identity + (1.0 - saturation) * LUMA[c])
            })
        }))
    }

    fn apply(&self, [r, g, b, a]: [f32; 4]) -> [f32; 4] {
        let [r, g, b] = self.0.map(|row| (row[0] * r + row[1] * g + row[2] * b).clamp(0.0, a));
        [r, g, b, a]
    }
}

impl Patch {
    /// # Panics
    /// Never: sprites show something.
    pub(super) fn new(sprite: &Sprite, pose: Pose) -> Self {
        let full = &sprite.levels[0];
        let scale = pose.size / full.width.max(full.height) as f32;
        // The coarsest level that is still no smaller than the patch.
        let level =
            sprite.levels.iter().rev().find(|level| level.width.max(level.height) as f32 >= pose.size).unwrap_or(full);
        let (w, h) = (full.width as f32 * scale, full.height as f32 * scale);
        let (sin, cos) = pose.angle.sin_cos();
        let (bw, bh) = (w * cos.abs() + h * sin.abs(), w * sin.abs() + h * cos.abs());
        let (width, height) = (bw.ceil() as usize + 2, bh.ceil() as usize + 2);
        let (mx, my) = (0.5 * width as f32, 0.5 * height as f32);
        let (sx, sy) = (level.width as f32 / w, level.height as f32 / h);
        let mut rgba = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (x as f32 + 0.5 - mx, y as f32 + 0.5 - my);
                let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
                let u = if pose.flip { -u } else { u };
                rgba.push(pose.tint.apply(level.sample((u + 0.5 * w) * sx, (v + 0.5 * h) * sy)));
            }
        }
        Self::cropped(width, &rgba)
    }

    /// Pixels that show the sprite.
    pub(super) fn visible(&self) -> usize {
        self.rgba.iter().filter(|pixel| pixel[3] > SHOWN).count()
    }

    fn cropped(width: usize, rgba: &[[f32; 4]]) -> Self {
        const VISIBLE: f32 = 0.25;
        let rows: Vec<&[[f32; 4]]> = rgba.chunks(width).collect();
        let seen = |pixel: &[f32; 4]| pixel[3] > VISIBLE;
        let first = |found: Option<usize>, otherwise: usize| found.unwrap_or(otherwise);
        let y0 = first(rows.iter().position(|row| row.iter().any(seen)), 0);
        let y1 = first(rows.iter().rposition(|row| row.iter().any(seen)), rows.len() - 1);
        let x0 = first((0..width).find(|&x| rows.iter().any(|row| seen(&row[x]))), 0);
        let x1 = first((0..width).rev().find(|&x| rows.iter().any(|row| seen(&row[x]))), width - 1);
        let rgba: Vec<[f32; 4]> = rows[y0..=y1].iter().flat_map(|row| row[x0..=x1].iter().copied()).collect();
        let weight: f32 = rgba.iter().map(|p| p[3]).sum::<f32>().max(1e-6);
        let mean = std::array::from_fn(|c| rgba.iter().map(|p| p[c]).sum::<f32>() / weight);
        Self { width: x1 + 1 - x0, height: y1 + 1 - y0, rgba, mean }
    }
}

/// What lies behind the objects, row-major RGB in 0..1.
pub(super) struct Background {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<[f32; 3]>,
}

fn colour(rng: &mut ChaCha8Rng) -> [f32; 3] {
    let grey: f32 = rng.random();
    let muted: f32 = rng.random();
    std::array::from_fn(|_| 0.05 + 0.9 * (grey * muted + (1.0 - muted) * rng.random::<f32>()))
}

impl Background {
    /// A background like a photograph's in `clutter` of all cases, else a plain or a patterned one on which none of the
    /// patches is lost.
    pub(super) fn drawn(
        (width, height): (usize, usize),
        patches: &[Patch],
        clutter: f64,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        // Recipes without clutter draw what they always drew.
        if clutter > 0.0 && rng.random_bool(clutter) {
            let means: Vec<[f32; 3]> = patches.iter().map(|patch| patch.mean).collect();
            return Self { width, height, pixels: leaves(width, height, &means, rng) };
        }
        Self::plain(width, height, patches, rng)
    }

    /// A picture.
    pub(super) fn of(picture: &Picture) -> Self {
        let pixels = picture.rgb.as_chunks::<3>().0.iter().map(|rgb| rgb.map(|v| f32::from(v) / 255.0)).collect();
        Self { width: picture.width, height: picture.height, pixels }
    }

    fn plain(width: usize, height: usize, patches: &[Patch], rng: &mut ChaCha8Rng) -> Self {
        const CLEAR: f32 = 0.3;
        let mut best = (f32::MIN, [[0.0; 3]; 2]);
        for _ in 0..16 {
            let first = colour(rng);
            let second = blend(first, colour(rng), 0.6 * rng.random::<f32>());
            let middle = blend(first, second, 0.5);
            let clear = patches
                .iter()
                .flat_map(|patch| [first, second, middle].map(|colour| distance(colour, patch.mean)))
                .fold(f32::MAX, f32::min);
            if clear > best.0 {
                best = (clear, [first, second]);
            }
            if clear > CLEAR {
                break;
            }
        }
        let [first, second] = best.1;
        let share = pattern(width, height, rng);
        let noise = if rng.random_bool(0.5) { 0.05 * rng.random::<f32>() } else { 0.0 };
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let grain = noise * (rng.random::<f32>() - 0.5);
                pixels.push(blend(first, second, share(x as f32, y as f32)).map(|v| (v + grain).clamp(0.0, 1.0)));
            }
        }
        Self { width, height, pixels }
    }
}

/// How much of the second colour is where.
fn pattern(width: usize, height: usize, rng: &mut ChaCha8Rng) -> Box<dyn Fn(f32, f32) -> f32> {
    let angle = rng.random::<f32>() * std::f32::consts::TAU;
    let (sin, cos) = angle.sin_cos();
    let (w, h) = (width as f32, height as f32);
    match rng.random_range(0..10) {
        0..=1 => Box::new(|_, _| 0.0),
        2..=4 => Box::new(move |x, y| (0.5 + cos * (x / w - 0.5) + sin * (y / h - 0.5)).clamp(0.0, 1.0)),
        5..=7 => {
            // Smooth blobs: a coarse grid of random values, interpolated.
            const CELLS: usize = 6;
            let grid: Vec<f32> = (0..CELLS * CELLS).map(|_| rng.random()).collect();
            Box::new(move |x, y| {
                let at = |v: f32, length: f32| v / length * (CELLS - 1) as f32;
                let (gx, gy) = (at(x, w), at(y, h));
                let (ix, iy) = ((gx as usize).min(CELLS - 2), (gy as usize).min(CELLS - 2));
                let (fx, fy) = (gx - ix as f32, gy - iy as f32);
                let cell = |dx: usize, dy: usize| grid[(iy + dy) * CELLS + ix + dx];
                let top = cell(0, 0) + (cell(1, 0) - cell(0, 0)) * fx;
                let bottom = cell(0, 1) + (cell(1, 1) - cell(0, 1)) * fx;
                top + (bottom - top) * fy
            })
        }
        8 => {
            let period = 6.0 + 18.0 * rng.random::<f32>();
            Box::new(move |x, y| if ((cos * x + sin * y) / period).rem_euclid(2.0) < 1.0 { 0.0 } else { 0.6 })
        }
        _ => {
            let period = 8.0 + 16.0 * rng.random::<f32>();
            Box::new(move |x, y| {
                let odd = (x / period) as i32 + (y / period) as i32;
                if odd % 2 == 0 { 0.0 } else { 0.6 }
            })
        }
    }
}

/// Where a patch's top left corner stands, in whole pixels; may lie outside.
pub(super) type Corner = (i32, i32);

/// A patch's box, as far as it is in the picture.
pub(super) fn rect(patch: &Patch, (x, y): Corner, width: usize, height: usize) -> Rect {
    let (x, y) = (f64::from(x), f64::from(y));
    Rect { x0: x, y0: y, x1: x + patch.width as f64, y1: y + patch.height as f64 }.clipped(width as f64, height as f64)
}

/// Draws the patches in order; the second value says for every pixel what it shows: 0 or one more than the patch.
pub(super) fn draw(background: &Background, patches: &[(&Patch, Corner)]) -> (Picture, Vec<u8>) {
    let (width, height) = (background.width, background.height);
    let mut pixels = background.pixels.clone();
    let mut instance = vec![0; width * height];
    for (index, (patch, (left, top))) in patches.iter().enumerate() {
        for (row, values) in patch.rgba.chunks(patch.width).enumerate() {
            let y = top + row as i32;
            if y < 0 || y >= height as i32 {
                continue;
            }
            for (column, value) in values.iter().enumerate() {
                let x = left + column as i32;
                if x < 0 || x >= width as i32 || value[3] == 0.0 {
                    continue;
                }
                let at = y as usize * width + x as usize;
                let through = 1.0 - value[3];
                pixels[at] = std::array::from_fn(|c| value[c] + pixels[at][c] * through);
                if value[3] > SHOWN {
                    instance[at] = index as u8 + 1;
                }
            }
        }
    }
    let rgb = pixels.iter().flatten().map(|v| (v * 255.0 + 0.5) as u8).collect();
    (Picture { width, height, rgb }, instance)
}
