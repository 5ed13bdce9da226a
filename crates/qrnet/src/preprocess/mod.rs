//! From a picture to the model's input: resize, normalise, letterbox (SPEC section 6).
//!
//! Pure functions; training, evaluation and streaming call the same code. [`Transform`] remembers where the picture
//! went, and brings boxes back.

mod picture;
mod transform;

use candle_core::{Device, Tensor};
use fast_image_resize as fir;

use crate::config::Canvas;
use crate::error::{Error, Result};
pub use picture::{Picture, RgbView};
pub use transform::{Rect, Rotation, Transform};

/// Mean of ImageNet's RGB channels, on 0..1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their standard deviation.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A picture on its canvas, ready for the model.
#[derive(Debug, Clone)]
pub struct Letterboxed {
    /// Normalised values, `[3, H, W]` row-major; padding is 0, the mean colour.
    pub pixels: Vec<f32>,
    /// Where the picture lies.
    pub transform: Transform,
}

/// Reusable state of the resizer: coefficients and scratch memory.
#[derive(Default)]
pub struct Letterboxer {
    resizer: fir::Resizer,
    scaled: Vec<u8>,
}

impl Letterboxer {
    /// Resizes `picture` so that it fits `canvas` (Pillow's antialiased bilinear), normalises it and pastes it into the
    /// middle of zeros. Small pictures are scaled up.
    ///
    /// # Errors
    /// A picture without pixels, or rows shorter than its width.
    pub fn letterbox(&mut self, picture: &RgbView, canvas: Canvas) -> Result<Letterboxed> {
        self.letterbox_into(picture, canvas, Vec::new())
    }

    /// As [`Letterboxer::letterbox`], into memory that was used before.
    ///
    /// # Errors
    /// As [`Letterboxer::letterbox`].
    pub fn letterbox_into(&mut self, picture: &RgbView, canvas: Canvas, pixels: Vec<f32>) -> Result<Letterboxed> {
        self.place(picture, Transform::letterbox(picture.width(), picture.height(), canvas), pixels)
    }

    /// Resizes `picture` to `transform.resized`, normalises it and pastes it where `transform` says, into memory that
    /// was used before. Only the last step of `transform` is taken: rotation and crop are the caller's.
    ///
    /// # Errors
    /// As [`Letterboxer::letterbox`].
    ///
    /// # Panics
    /// The resized picture leaves the canvas.
    pub fn place(&mut self, picture: &RgbView, transform: Transform, mut pixels: Vec<f32>) -> Result<Letterboxed> {
        let canvas = transform.canvas;
        let (width, height) = transform.resized;
        assert!(
            transform.left + width <= canvas.width && transform.top + height <= canvas.height,
            "{width}x{height} at ({}, {}) leaves the canvas {canvas}",
            transform.left,
            transform.top
        );
        self.resize(picture, width, height)?;
        pixels.clear();
        pixels.resize(3 * canvas.width * canvas.height, 0.0);
        let tables = normalisation();
        let plane = canvas.width * canvas.height;
        for (y, row) in self.scaled.chunks_exact(3 * width).enumerate() {
            let start = (transform.top + y) * canvas.width + transform.left;
            for (channel, table) in tables.iter().enumerate() {
                let out = &mut pixels[channel * plane + start..][..width];
                for (value, rgb) in out.iter_mut().zip(row.chunks_exact(3)) {
                    *value = table[usize::from(rgb[channel])];
                }
            }
        }
        Ok(Letterboxed { pixels, transform })
    }

    /// `picture` at another size, by the same resizer as [`Letterboxer::letterbox`].
    ///
    /// # Errors
    /// As [`Letterboxer::letterbox`]; a width or height of 0.
    pub fn resized(&mut self, picture: &RgbView, width: usize, height: usize) -> Result<Picture> {
        self.resize(picture, width, height)?;
        Ok(Picture { width, height, rgb: std::mem::take(&mut self.scaled) })
    }

    fn resize(&mut self, picture: &RgbView, width: usize, height: usize) -> Result<()> {
        let packed = picture.packed();
        if (width, height) == (picture.width(), picture.height()) {
            self.scaled.clear();
            self.scaled.extend_from_slice(&packed);
            return Ok(());
        }
        let fail = |reason: String| {
            Error::Unsupported(format!("cannot resize {}x{}: {reason}", picture.width(), picture.height()))
        };
        let source =
            fir::images::ImageRef::new(picture.width() as u32, picture.height() as u32, &packed, fir::PixelType::U8x3)
                .map_err(|e| fail(e.to_string()))?;
        self.scaled.resize(3 * width * height, 0);
        let mut target =
            fir::images::Image::from_slice_u8(width as u32, height as u32, &mut self.scaled, fir::PixelType::U8x3)
                .map_err(|e| fail(e.to_string()))?;
        let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
        self.resizer.resize(&source, &mut target, &options).map_err(|e| fail(e.to_string()))
    }
}

/// `(v / 255 - mean) / std` for every byte, by channel.
fn normalisation() -> [[f32; 256]; 3] {
    std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - MEAN[c]) / STD[c]))
}

impl Letterboxed {
    /// 1 = padding, 0 = picture; `[H, W]` row-major.
    pub fn ignore_mask(&self) -> Vec<u8> {
        let t = &self.transform;
        let mut mask = vec![1; t.canvas.width * t.canvas.height];
        for row in mask.chunks_exact_mut(t.canvas.width).skip(t.top).take(t.resized.1) {
            row[t.left..t.left + t.resized.0].fill(0);
        }
        mask
    }

    /// A batch of pictures on one canvas: `[B, 3, H, W]`.
    ///
    /// # Errors
    /// The canvases differ, or the device cannot hold the batch.
    pub fn batch(pictures: &[&Self], device: &Device) -> Result<Tensor> {
        let canvas = common_canvas(pictures)?;
        let shape = (pictures.len(), 3, canvas.height, canvas.width);
        if let [only] = pictures {
            return Ok(Tensor::from_slice(&only.pixels, shape, device)?);
        }
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect();
        Ok(Tensor::from_vec(pixels, shape, device)?)
    }

    /// The padding masks of a batch: `[B, H, W]` u8.
    ///
    /// # Errors
    /// As [`Letterboxed::batch`].
    pub fn ignore_batch(pictures: &[&Self], device: &Device) -> Result<Tensor> {
        let canvas = common_canvas(pictures)?;
        let masks: Vec<u8> = pictures.iter().flat_map(|picture| picture.ignore_mask()).collect();
        Ok(Tensor::from_vec(masks, (pictures.len(), canvas.height, canvas.width), device)?)
    }
}

fn common_canvas(pictures: &[&Letterboxed]) -> Result<Canvas> {
    let canvas = pictures
        .first()
        .map(|p| p.transform.canvas)
        .ok_or_else(|| Error::Unsupported("a batch without pictures".into()))?;
    match pictures.iter().find(|p| p.transform.canvas != canvas) {
        None => Ok(canvas),
        Some(other) => Err(Error::Unsupported(format!(
            "a batch of canvas {canvas} holds a picture on canvas {}",
            other.transform.canvas
        ))),
    }
}
