//! Backgrounds with the statistics of photographs: dead leaves (Lee, Mumford, Huang, "Occlusion models for natural
//! images", 2001). Pieces of all sizes, most of them small, lie on one another, shaded and blurred; what stands on such a
//! background has to be told from a hundred edges that are nothing.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::rgb::{blend, distance};

/// Row-major RGB in 0..1. Colours close to those to `avoid` are rare.
pub(super) fn leaves(width: usize, height: usize, avoid: &[[f32; 3]], rng: &mut ChaCha8Rng) -> Vec<[f32; 3]> {
    let palette: Vec<[f32; 3]> = (0..rng.random_range(3..8)).map(|_| clear_of(avoid, rng)).collect();
    let scale = (width as f32 * height as f32).sqrt();
    let mut pixels = vec![palette[0]; width * height];
    for _ in 0..rng.random_range(25..220) {
        let colour = palette[rng.random_range(0..palette.len())];
        let light = rng.random_range(0.75..1.25);
        Leaf::drawn((width as f32, height as f32), scale, rng).paint(
            &mut pixels,
            (width, height),
            colour.map(|v| v * light),
        );
    }
    let passes = rng.random_range(0..3);
    for _ in 0..passes {
        pixels = blurred(&pixels, width, height);
    }
    let (grain, tilt) = (0.08 * rng.random::<f32>(), 0.5 * (rng.random::<f32>() - 0.5));
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let light = 1.0 + tilt * (at as f32 / (width * height) as f32 - 0.5);
        let noise = grain * (rng.random::<f32>() - 0.5);
        *pixel = pixel.map(|v| (v * light + noise).clamp(0.0, 1.0));
    }
    pixels
}

/// A colour as photographs have them, most of them muted.
fn muted(rng: &mut ChaCha8Rng) -> [f32; 3] {
    let grey: f32 = rng.random_range(0.05..0.95);
    let strong = if rng.random_bool(0.2) { 0.8 } else { 0.35 };
    let pure: [f32; 3] = std::array::from_fn(|_| rng.random());
    blend([grey; 3], pure, strong * rng.random::<f32>())
}

fn clear_of(avoid: &[[f32; 3]], rng: &mut ChaCha8Rng) -> [f32; 3] {
    const CLEAR: f32 = 0.25;
    let mut colour = muted(rng);
    for _ in 0..6 {
        if avoid.iter().all(|other| distance(colour, *other) > CLEAR) {
            break;
        }
        colour = muted(rng);
    }
    colour
}

/// A turned piece with soft edges: an oblong, or a slanted box.
struct Leaf {
    centre: [f32; 2],
    half: [f32; 2],
    turn: (f32, f32),
    round: bool,
    soft: f32,
    /// How much lighter one side is.
    shade: f32,
}

impl Leaf {
    fn drawn(size: (f32, f32), scale: f32, rng: &mut ChaCha8Rng) -> Self {
        let radius = scale * (0.015 + 0.5 * rng.random::<f32>().powi(4));
        let narrow = rng.random_range(0.15..0.8);
        Self {
            centre: [size.0 * rng.random_range(-0.1..1.1), size.1 * rng.random_range(-0.1..1.1)],
            half: [radius, radius * narrow],
            turn: (rng.random::<f32>() * std::f32::consts::PI).sin_cos(),
            round: rng.random_bool(0.5),
            soft: 0.5 + 3.0 * rng.random::<f32>().powi(2),
            shade: 0.4 * (rng.random::<f32>() - 0.5),
        }
    }

    fn paint(&self, pixels: &mut [[f32; 3]], (width, height): (usize, usize), colour: [f32; 3]) {
        let reach = self.half[0].hypot(self.half[1]) + self.soft;
        let range = |centre: f32, length: usize| {
            let end = |v: f32| v.clamp(0.0, length as f32) as usize;
            end(centre - reach)..end(centre + reach + 1.0)
        };
        let (sin, cos) = self.turn;
        for y in range(self.centre[1], height) {
            for x in range(self.centre[0], width) {
                let (dx, dy) = (x as f32 - self.centre[0], y as f32 - self.centre[1]);
                let (u, v) = ((cos * dx + sin * dy) / self.half[0], (cos * dy - sin * dx) / self.half[1]);
                // How far inside the edge, in pixels, near enough.
                let inside = (1.0 - if self.round { u.hypot(v) } else { u.abs().max(v.abs()) }) * self.half[1];
                let share = (inside / self.soft + 0.5).clamp(0.0, 1.0);
                if share > 0.0 {
                    let pixel = &mut pixels[y * width + x];
                    *pixel = blend(*pixel, colour.map(|c| c * (1.0 + self.shade * u)), share);
                }
            }
        }
    }
}

/// The mean of every pixel and its four neighbours.
fn blurred(pixels: &[[f32; 3]], width: usize, height: usize) -> Vec<[f32; 3]> {
    let at = |x: usize, y: usize| pixels[y.min(height - 1) * width + x.min(width - 1)];
    (0..width * height)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            let around = [at(x, y), at(x + 1, y), at(x.saturating_sub(1), y), at(x, y + 1), at(x, y.saturating_sub(1))];
            std::array::from_fn(|c| around.iter().map(|p| p[c]).sum::<f32>() / 5.0)
        })
        .collect()
}
