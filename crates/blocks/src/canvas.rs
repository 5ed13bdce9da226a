//! The rectangle that pictures are brought onto, and maps of tokens over it.

use serde::{Deserialize, Serialize};

/// Width and height of the square or rectangle that pictures are letterboxed into, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Canvas {
    /// Pixels; a multiple of 64 for QRNet.
    pub width: usize,
    /// Pixels; a multiple of 64 for QRNet.
    pub height: usize,
}

impl Canvas {
    /// Of `all`, the one that a picture of `width` x `height` fills best, for what stays empty costs as much as the picture; of
    /// several, the one on which it is largest.
    pub fn fitting(all: &[Self], width: usize, height: usize) -> Option<Self> {
        // How far it is enlarged, and which share it fills, as whole numbers and fractions of them: sides and pictures are far
        // below 2^32.
        let scale = |canvas: &Self| (canvas.width * height).min(canvas.height * width) as u128;
        let area = |canvas: &Self| (canvas.width * canvas.height) as u128;
        let share = |a: &Self, b: &Self| (scale(a).pow(2) * area(b)).cmp(&(scale(b).pow(2) * area(a)));
        // The first of equals, as `max_by` gives the last.
        all.iter().rev().copied().max_by(|a, b| share(a, b).then(scale(a).cmp(&scale(b))))
    }

    /// Rows and columns of tokens at `stride` pixels a token.
    pub fn grid(self, stride: usize) -> Grid {
        Grid { h: self.height / stride, w: self.width / stride }
    }
}

impl std::fmt::Display for Canvas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A map of tokens: `h` rows of `w`, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Grid {
    /// Number of tokens.
    pub fn len(self) -> usize {
        self.h * self.w
    }

    /// True for a map without tokens.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The map at half the resolution (sizes are even on every valid canvas).
    #[must_use]
    pub fn half(self) -> Self {
        Self { h: self.h / 2, w: self.w / 2 }
    }

    /// The same, for maps of any size: sides are rounded up.
    #[must_use]
    pub fn half_up(self) -> Self {
        Self { h: self.h.div_ceil(2), w: self.w.div_ceil(2) }
    }
}
