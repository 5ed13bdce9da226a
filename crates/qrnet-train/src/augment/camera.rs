//! What cameras, and what keeps their pictures, do to colours and edges beyond Pillow's factors.

use blocks::preprocess::Picture;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// Bits behind the point.
const BITS: u32 = 16;
/// One, with so many bits.
const ONE: f32 = (1u32 << BITS) as f32;

/// Turns all colours about the axis of greys by `degrees`, red towards green; greys stay as they are.
pub fn hue(picture: &mut Picture, degrees: f32) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let fixed = |value: f32| (value * ONE).round() as i32;
    let third = (1.0 - cos) / 3.0;
    let (next, last) = (fixed(third - sin / 3f32.sqrt()), fixed(third + sin / 3f32.sqrt()));
    // The three add up to one, so that greys stay.
    let own = ONE as i32 - next - last;
    let value = |sum: i32| ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8;
    for rgb in picture.rgb.as_chunks_mut::<3>().0 {
        let [r, g, b] = rgb.map(i32::from);
        *rgb = [
            value(own * r + next * g + last * b),
            value(last * r + own * g + next * b),
            value(next * r + last * g + own * b),
        ];
    }
}

/// Raises all values, on 0..1, to the power `by`: below 1 is brighter, above it darker; black and white stay.
pub fn gamma(picture: &mut Picture, by: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| (255.0 * (value as f32 / 255.0).powf(by)).round() as u8);
    for value in &mut picture.rgb {
        *value = table[usize::from(*value)];
    }
}

/// Half of the taps of [`soften`]: three standard deviations of the largest sensible one.
const REACH: usize = 3;
const TAPS: usize = 2 * REACH + 1;

/// A Gaussian of standard deviation `sigma`, in pixels; meant for up to 1.2, as it reaches three pixels far. Edges are
/// repeated.
pub fn soften(picture: &mut Picture, sigma: f32) {
    let row = 3 * picture.width;
    if row == 0 {
        return;
    }
    let weights = gaussian(sigma);
    let mut across = vec![0; picture.rgb.len()];
    let mut padded = vec![0; row + 6 * REACH];
    for (from, to) in picture.rgb.chunks_exact(row).zip(across.chunks_exact_mut(row)) {
        padded[3 * REACH..][..row].copy_from_slice(from);
        for tap in 0..REACH {
            padded[3 * tap..][..3].copy_from_slice(&from[..3]);
            padded[3 * (REACH + tap) + row..][..3].copy_from_slice(&from[row - 3..]);
        }
        weigh(to, &weights, std::array::from_fn(|tap| &padded[3 * tap..][..row]));
    }
    let last = picture.height.saturating_sub(1);
    for (y, to) in picture.rgb.chunks_exact_mut(row).enumerate() {
        let line = |tap: usize| (y + tap).saturating_sub(REACH).min(last);
        weigh(to, &weights, std::array::from_fn(|tap| &across[row * line(tap)..][..row]));
    }
}

/// Weights that add up to one.
fn gaussian(sigma: f32) -> [u32; TAPS] {
    let bell: [f32; TAPS] = std::array::from_fn(|tap| {
        let away = tap as f32 - REACH as f32;
        (-0.5 * (away / sigma.max(1e-3)).powi(2)).exp()
    });
    let sum: f32 = bell.iter().sum();
    let mut weights = bell.map(|weight| (weight / sum * ONE).round() as u32);
    let others: u32 = weights.iter().sum::<u32>() - weights[REACH];
    weights[REACH] = (1 << BITS) - others;
    weights
}

fn weigh(to: &mut [u8], weights: &[u32; TAPS], lines: [&[u8]; TAPS]) {
    let lines = lines.map(|line| &line[..to.len()]);
    for (x, value) in to.iter_mut().enumerate() {
        let sum: u32 = lines.iter().zip(weights).map(|(line, weight)| u32::from(line[x]) * weight).sum();
        *value = ((sum + (1 << (BITS - 1))) >> BITS) as u8;
    }
}

/// Adds to every value what is near enough a normal distribution of standard deviation `sigma`, of 255: the sum of four
/// even bytes.
pub fn noise(picture: &mut Picture, sigma: f32, rng: &mut ChaCha8Rng) {
    /// Values for which bytes are drawn at once.
    const BLOCK: usize = 1024;
    /// Mean of the sum of four bytes, and its standard deviation.
    const SUM: (i32, f32) = (510, 147.801_2);
    let scale = (sigma / SUM.1 * ONE).round() as i32;
    let mut drawn = [0; 4 * BLOCK];
    for values in picture.rgb.chunks_mut(BLOCK) {
        let drawn = &mut drawn[..4 * values.len()];
        rng.fill_bytes(drawn);
        for (value, bytes) in values.iter_mut().zip(drawn.as_chunks::<4>().0) {
            let sum: i32 = bytes.iter().map(|byte| i32::from(*byte)).sum();
            let more = ((sum - SUM.0) * scale + (1 << (BITS - 1))) >> BITS;
            *value = (i32::from(*value) + more).clamp(0, 255) as u8;
        }
    }
}

/// Writes the picture as a JPEG of `quality` (1 to 100) and reads it back.
///
/// # Errors
/// A side is longer than a JPEG can have (65535 pixels), or the picture has no pixels.
pub fn jpeg(picture: &mut Picture, quality: u8) -> Result<()> {
    let fail = |reason: String| {
        Error::Unsupported(format!("a picture of {}x{} as JPEG: {reason}", picture.width, picture.height))
    };
    let side = |length: usize| {
        u16::try_from(length).map(u32::from).map_err(|_| fail("expected sides of up to 65535 pixels".into()))
    };
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&picture.rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|e| fail(e.to_string()))?;
    let read =
        image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).map_err(|e| fail(e.to_string()))?;
    picture.rgb = read.into_rgb8().into_raw();
    Ok(())
}
