//! Where a picture goes on its way to the canvas, and how boxes come back.
//!
//! Three frames of reference: *source* pixels as decoded; *grounded* pixels after rotation and crop, in which boxes are
//! reported; *canvas* pixels after the letterbox. Coordinates are continuous: pixel `i` covers `i..i + 1`.

use crate::canvas::Canvas;

/// An axis-aligned box by its edges, in the pixels of some frame of reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Bottom edge.
    pub y1: f64,
}

impl Rect {
    /// Width.
    pub fn width(&self) -> f64 {
        self.x1 - self.x0
    }

    /// Height.
    pub fn height(&self) -> f64 {
        self.y1 - self.y0
    }

    /// The part inside `width` x `height` pixels from the origin; empty where nothing is inside.
    #[must_use]
    pub fn clipped(&self, width: f64, height: f64) -> Self {
        let (x0, y0) = (self.x0.clamp(0.0, width), self.y0.clamp(0.0, height));
        Self { x0, y0, x1: self.x1.clamp(x0, width), y1: self.y1.clamp(y0, height) }
    }

    /// Area that both cover.
    pub fn intersection(&self, other: &Self) -> f64 {
        let width = (self.x1.min(other.x1) - self.x0.max(other.x0)).max(0.0);
        let height = (self.y1.min(other.y1) - self.y0.max(other.y0)).max(0.0);
        width * height
    }

    /// Intersection over union, 0..1.
    pub fn overlap(&self, other: &Self) -> f64 {
        let area = |rect: &Self| rect.width() * rect.height();
        let inter = self.intersection(other);
        let union = area(self) + area(other) - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// The middle.
    pub fn centre(&self) -> (f64, f64) {
        (f64::midpoint(self.x0, self.x1), f64::midpoint(self.y0, self.y1))
    }

    fn map(&self, f: impl Fn(f64, f64) -> (f64, f64)) -> Self {
        let ((ax, ay), (bx, by)) = (f(self.x0, self.y0), f(self.x1, self.y1));
        Self { x0: ax.min(bx), y0: ay.min(by), x1: ax.max(bx), y1: ay.max(by) }
    }
}

/// A clockwise rotation in steps of 90 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Upright.
    #[default]
    None,
    /// 90 degrees clockwise.
    Clockwise90,
    /// Upside down.
    Half,
    /// 270 degrees clockwise.
    Clockwise270,
}

impl Rotation {
    /// Degrees clockwise: 0, 90, 180 or 270.
    pub fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Clockwise90 => 90,
            Self::Half => 180,
            Self::Clockwise270 => 270,
        }
    }

    fn inverse(self) -> Self {
        match self {
            Self::Clockwise90 => Self::Clockwise270,
            Self::Clockwise270 => Self::Clockwise90,
            same => same,
        }
    }

    fn size(self, (width, height): (usize, usize)) -> (usize, usize) {
        match self {
            Self::None | Self::Half => (width, height),
            Self::Clockwise90 | Self::Clockwise270 => (height, width),
        }
    }

    /// Rotates a rectangle that lies in a picture of `size`.
    fn rect(self, rect: &Rect, (width, height): (usize, usize)) -> Rect {
        let (w, h) = (width as f64, height as f64);
        match self {
            Self::None => *rect,
            Self::Clockwise90 => rect.map(|x, y| (h - y, x)),
            Self::Half => rect.map(|x, y| (w - x, h - y)),
            Self::Clockwise270 => rect.map(|x, y| (y, w - x)),
        }
    }
}

/// Rotation, crop and letterbox of one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// Width and height as decoded.
    pub source: (usize, usize),
    /// Rotation from source to upright.
    pub rotation: Rotation,
    /// Left and top of the crop, in upright pixels.
    pub crop: (usize, usize),
    /// Width and height of the picture as grounded: upright and cropped.
    pub grounded: (usize, usize),
    /// Canvas pixels per grounded pixel, the same for both axes.
    pub scale: f64,
    /// Width and height of the picture on the canvas.
    pub resized: (usize, usize),
    /// Columns of padding on its left.
    pub left: usize,
    /// Rows of padding above it.
    pub top: usize,
    /// The canvas.
    pub canvas: Canvas,
}

impl Transform {
    /// Centres an upright picture of `width` x `height` on `canvas`, as large as fits.
    ///
    /// # Panics
    /// Width or height is 0.
    pub fn letterbox(width: usize, height: usize, canvas: Canvas) -> Self {
        assert!(width > 0 && height > 0, "a picture has pixels");
        let scale = (canvas.width as f64 / width as f64).min(canvas.height as f64 / height as f64);
        let side = |length: usize, limit: usize| ((length as f64 * scale).round_ties_even() as usize).clamp(1, limit);
        let resized = (side(width, canvas.width), side(height, canvas.height));
        Self {
            source: (width, height),
            rotation: Rotation::None,
            crop: (0, 0),
            grounded: (width, height),
            scale,
            resized,
            left: (canvas.width - resized.0) / 2,
            top: (canvas.height - resized.1) / 2,
            canvas,
        }
    }

    /// Puts a picture of `width` x `height` on `canvas` as it is, with `left` columns and `top` rows of padding before it.
    ///
    /// # Panics
    /// The picture has no pixels or leaves the canvas.
    pub fn pasted(width: usize, height: usize, left: usize, top: usize, canvas: Canvas) -> Self {
        assert!(
            width > 0 && height > 0 && left + width <= canvas.width && top + height <= canvas.height,
            "{width}x{height} at ({left}, {top}) leaves the canvas {canvas}"
        );
        let size = (width, height);
        let (source, grounded, resized) = (size, size, size);
        Self { source, rotation: Rotation::None, crop: (0, 0), grounded, scale: 1.0, resized, left, top, canvas }
    }

    /// The same letterbox, for a picture that was cut at `crop` (left, top) out of `source` after `rotation`.
    ///
    /// # Panics
    /// The crop leaves the rotated source.
    #[must_use]
    pub fn after(self, source: (usize, usize), rotation: Rotation, crop: (usize, usize)) -> Self {
        let upright = rotation.size(source);
        assert!(
            crop.0 + self.grounded.0 <= upright.0 && crop.1 + self.grounded.1 <= upright.1,
            "crop {crop:?} of {:?} leaves the upright picture {upright:?}",
            self.grounded
        );
        Self { source, rotation, crop, ..self }
    }

    /// Grounded pixels → canvas pixels.
    pub fn to_canvas(&self, rect: &Rect) -> Rect {
        rect.map(|x, y| (x * self.scale + self.left as f64, y * self.scale + self.top as f64))
    }

    /// Canvas pixels → grounded pixels, not clipped.
    pub fn from_canvas(&self, rect: &Rect) -> Rect {
        rect.map(|x, y| ((x - self.left as f64) / self.scale, (y - self.top as f64) / self.scale))
    }

    /// Source pixels → grounded pixels.
    pub fn source_to_grounded(&self, rect: &Rect) -> Rect {
        let (left, top) = (self.crop.0 as f64, self.crop.1 as f64);
        self.rotation.rect(rect, self.source).map(|x, y| (x - left, y - top))
    }

    /// Grounded pixels → source pixels.
    pub fn grounded_to_source(&self, rect: &Rect) -> Rect {
        let (left, top) = (self.crop.0 as f64, self.crop.1 as f64);
        let upright = self.rotation.size(self.source);
        self.rotation.inverse().rect(&rect.map(|x, y| (x + left, y + top)), upright)
    }

    /// Grounded pixels → `(cx, cy, w, h)` in 0..1 of the canvas, the model's target.
    pub fn to_target(&self, rect: &Rect) -> [f64; 4] {
        let c = self.to_canvas(rect);
        let (w, h) = (self.canvas.width as f64, self.canvas.height as f64);
        [f64::midpoint(c.x0, c.x1) / w, f64::midpoint(c.y0, c.y1) / h, c.width() / w, c.height() / h]
    }

    /// `(cx, cy, w, h)` in 0..1 of the canvas → grounded pixels, not clipped.
    pub fn from_target(&self, [cx, cy, w, h]: [f64; 4]) -> Rect {
        let (width, height) = (self.canvas.width as f64, self.canvas.height as f64);
        self.from_canvas(&Rect {
            x0: (cx - 0.5 * w) * width,
            y0: (cy - 0.5 * h) * height,
            x1: (cx + 0.5 * w) * width,
            y1: (cy + 0.5 * h) * height,
        })
    }

    /// Whether the pixel of the canvas at column `x`, row `y` shows the picture.
    pub fn shows(&self, x: usize, y: usize) -> bool {
        (self.left..self.left + self.resized.0).contains(&x) && (self.top..self.top + self.resized.1).contains(&y)
    }
}
