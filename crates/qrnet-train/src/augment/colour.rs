//! Changes of colour and sharpness, to the bit what Pillow gives for the same factor.

use blocks::preprocess::Picture;

/// Mixes with black: `by` 0 is black, 1 changes nothing, more is brighter. (`ImageEnhance.Brightness`)
pub fn brightness(picture: &mut Picture, by: f32) {
    mix_with(picture, 0, by);
}

/// Mixes with the picture's mean grey, rounded: `by` 0 is grey, 1 changes nothing. (`ImageEnhance.Contrast`)
pub fn contrast(picture: &mut Picture, by: f32) {
    let pixels = picture.rgb.as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|rgb| u64::from(grey(*rgb))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    mix_with(picture, mean, by);
}

/// Mixes every pixel with its own grey: `by` 0 is black and white, 1 changes nothing. (`ImageEnhance.Color`)
pub fn saturation(picture: &mut Picture, by: f32) {
    for rgb in picture.rgb.as_chunks_mut::<3>().0 {
        let grey = grey(*rgb);
        *rgb = rgb.map(|value| mix(grey, value, by));
    }
}

fn mix_with(picture: &mut Picture, with: u8, by: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| mix(with, value as u8, by));
    for value in &mut picture.rgb {
        *value = table[usize::from(*value)];
    }
}

/// `from` at 0, `to` at 1, beyond it at more; cut to a whole number, not rounded.
fn mix(from: u8, to: u8, by: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + by * (to - from)).clamp(0.0, 255.0) as u8
}

/// Luma of ITU-R 601 in 16 bits.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Blurs by three box filters in each direction that together come near a Gaussian of standard deviation `radius`, in
/// pixels. (`ImageFilter.GaussianBlur`)
pub fn blur(picture: &mut Picture, radius: f32) {
    const PASSES: usize = 3;
    let side = box_radius(radius, PASSES as f32);
    let (width, height) = (picture.width, picture.height);
    let mut line = vec![0u8; width.max(height)];
    let mut blurred = line.clone();
    let mut along = |rgb: &mut [u8], first: usize, step: usize, length: usize| {
        for (at, value) in line[..length].iter_mut().enumerate() {
            *value = rgb[first + at * step];
        }
        for _ in 0..PASSES {
            box_filter(&line[..length], &mut blurred[..length], side);
            std::mem::swap(&mut line, &mut blurred);
        }
        for (at, value) in line[..length].iter().enumerate() {
            rgb[first + at * step] = *value;
        }
    };
    for y in 0..height {
        (0..3).for_each(|channel| along(&mut picture.rgb, 3 * width * y + channel, 3, width));
    }
    for x in 0..width {
        (0..3).for_each(|channel| along(&mut picture.rgb, 3 * x + channel, 3 * width, height));
    }
}

/// Half the width of a box, with a fraction, whose variance over so many passes is that of the Gaussian.
fn box_radius(radius: f32, passes: f32) -> f32 {
    let variance = radius * radius / passes;
    let length = (12.0 * variance + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let next = whole + 1.0;
    let part = (2.0 * whole + 1.0) * (whole * next - 3.0 * variance) / (6.0 * (variance - next * next));
    whole + part
}

/// A mean over `2 * side + 1` values in 24 bits; the outermost count in part, edges are repeated.
fn box_filter(line: &[u8], out: &mut [u8], side: f32) {
    let whole = side as usize;
    let weight = ((1 << 24) as f32 / (side * 2.0 + 1.0)) as u32;
    let edge = ((1u32 << 24) - (2 * whole as u32 + 1) * weight) / 2;
    let last = line.len().saturating_sub(1);
    for (x, value) in out.iter_mut().enumerate() {
        let at = |offset: usize| u32::from(line[(x + offset).saturating_sub(whole + 1).min(last)]);
        let inner: u32 = (1..=2 * whole + 1).map(at).sum();
        let sum = inner * weight + (at(0) + at(2 * whole + 2)) * edge;
        *value = ((sum + (1 << 23)) >> 24) as u8;
    }
}
