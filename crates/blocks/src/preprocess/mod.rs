//! From a picture to the model's input: resize, normalise, letterbox (SPEC section 6).
//!
//! Pure functions; training, evaluation and streaming call the same code. [`Transform`] remembers where the picture
//! went, and brings boxes back.

mod picture;
mod transform;
mod yuv;

use candle_core::{Device, Tensor};
use fast_image_resize as fir;

use crate::canvas::Canvas;
use crate::error::{Error, Result};
pub use picture::{Picture, RgbView};
pub use transform::{Rect, Rotation, Transform};
use yuv::Samples;
pub use yuv::{Chroma, ColourMatrix, Plane, YuvView};

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
    /// Planes of pictures that are no RGB.
    planes: [Vec<u8>; 3],
    /// A plane with a margin.
    margin: Vec<u8>,
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

    /// As [`Letterboxer::letterbox_into`], of luma and chroma: the same to within 2 of 255, but for edges between strong
    /// colours, see [`YuvView`].
    ///
    /// # Errors
    /// As [`Letterboxer::letterbox`].
    pub fn letterbox_yuv(&mut self, picture: &YuvView, canvas: Canvas, mut pixels: Vec<f32>) -> Result<Letterboxed> {
        let transform = Transform::letterbox(picture.width, picture.height, canvas);
        let (width, height) = transform.resized;
        let count = picture.chroma_planes();
        for (index, scaled) in self.planes.iter_mut().take(1 + count).enumerate() {
            let plane = match index.checked_sub(1) {
                None => picture.luma(&mut self.margin),
                Some(chroma) => picture.chroma(chroma, &mut self.margin),
            };
            scaled.resize(plane.channels * width * height, 0);
            resize(&mut self.resizer, &plane, scaled, (width, height))?;
        }
        let (rgb, scaled) = (picture.rgb(), &self.planes);
        // What of the second and third plane belongs to one pixel.
        let (channels, cr) = (3 - count, count - 1);
        pixels.clear();
        pixels.resize(3 * canvas.width * canvas.height, 0.0);
        let plane = canvas.width * canvas.height;
        for y in 0..height {
            let start = (transform.top + y) * canvas.width + transform.left;
            for x in 0..width {
                let at = y * width + x;
                let values = rgb(scaled[0][at], scaled[1][channels * at], scaled[1 + cr][channels * at + channels - 1]);
                for (channel, value) in values.into_iter().enumerate() {
                    pixels[channel * plane + start + x] = (value / 255.0 - MEAN[channel]) / STD[channel];
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
        let (from, window) =
            ((picture.width(), picture.height()), [0.0, 0.0, picture.width() as f64, picture.height() as f64]);
        self.scaled.resize(3 * width * height, 0);
        let plane = Samples { data: &packed, size: from, used: from.0, channels: 3, window };
        resize(&mut self.resizer, &plane, &mut self.scaled, (width, height))
    }
}

/// Pillow's antialiased bilinear filter.
fn resize(resizer: &mut fir::Resizer, from: &Samples, to: &mut [u8], (width, height): (usize, usize)) -> Result<()> {
    let fail = |reason: String| Error::Unsupported(format!("cannot resize {:?} samples: {reason}", from.size));
    let kind = [fir::PixelType::U8, fir::PixelType::U8x2, fir::PixelType::U8x3][from.channels - 1];
    let source = fir::images::ImageRef::new(from.size.0 as u32, from.size.1 as u32, from.data, kind)
        .map_err(|e| fail(e.to_string()))?;
    // What stands behind a row is no part of the picture, and must not leak in at its edge.
    let source = fir::images::CroppedImage::new(&source, 0, 0, from.used as u32, from.size.1 as u32)
        .map_err(|e| fail(e.to_string()))?;
    let mut target =
        fir::images::Image::from_slice_u8(width as u32, height as u32, to, kind).map_err(|e| fail(e.to_string()))?;
    let [left, top, w, h] = from.window;
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .crop(left, top, w, h)
        // A pair of bytes is no brightness with opacity here.
        .use_alpha(false);
    resizer.resize(&source, &mut target, &options).map_err(|e| fail(e.to_string()))
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
