//! The part of a canvas that shows a picture: what the model looks at.

use blocks::canvas::Grid;
use blocks::error::{Error, Result};
use blocks::packed::tasks::take;
use blocks::preprocess::{Letterboxed, Transform};

/// A picture on its canvas.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// `[3, h, w]` of the canvas.
    pixels: &'a [f32],
    canvas: Grid,
    left: usize,
    top: usize,
    size: Grid,
}

impl<'a> View<'a> {
    /// # Errors
    /// There are not as many numbers as the canvas has pixels.
    pub(crate) fn new(picture: &'a Letterboxed) -> Result<Self> {
        let Transform { canvas, resized: (width, height), left, top, .. } = picture.transform;
        let canvas = Grid { h: canvas.height, w: canvas.width };
        if picture.pixels.len() != 3 * canvas.len() {
            let (found, expected) = (picture.pixels.len(), 3 * canvas.len());
            return Err(Error::Unsupported(format!("a picture of {found} values, expected {expected}")));
        }
        Ok(Self { pixels: &picture.pixels, canvas, left, top, size: Grid { h: height, w: width } })
    }

    /// Pixels of the picture.
    pub(crate) fn size(&self) -> Grid {
        self.size
    }

    /// `[3, h, w]` of the picture: where they lie if it fills its canvas, else in `room`.
    pub(crate) fn pixels<'b>(&self, room: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        if self.size == self.canvas {
            return self.pixels;
        }
        let Grid { h, w } = self.size;
        let out = take(room, 3 * h * w);
        let planes = self.pixels.chunks_exact(self.canvas.len()).zip(out.chunks_exact_mut(h * w));
        for (plane, out) in planes {
            let rows = plane.chunks_exact(self.canvas.w).skip(self.top);
            for (row, out) in rows.zip(out.chunks_exact_mut(w)) {
                out.copy_from_slice(&row[self.left..][..w]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use blocks::canvas::Canvas;

    use super::*;

    #[test]
    fn padding_is_cut_away_and_what_fills_its_canvas_is_not_copied() {
        let canvas = Canvas { width: 5, height: 4 };
        let pixels: Vec<f32> = (0..60).map(|value| value as f32).collect();
        let of = |transform| Letterboxed { pixels: pixels.clone(), transform };
        let (cut, mut room) = (of(Transform::pasted(2, 3, 2, 1, canvas)), Vec::new());
        let view = View::new(&cut).expect("a picture");
        assert_eq!(view.size(), Grid { h: 3, w: 2 });
        let expected: Vec<f32> = [0, 20, 40]
            .into_iter()
            .flat_map(|plane| [7, 8, 12, 13, 17, 18].map(|place| (plane + place) as f32))
            .collect();
        assert_eq!(view.pixels(&mut room), expected);
        let (whole, mut room) = (of(Transform::pasted(5, 4, 0, 0, canvas)), Vec::new());
        let view = View::new(&whole).expect("a picture");
        assert!(std::ptr::eq(view.pixels(&mut room), whole.pixels.as_slice()) && room.is_empty());
        let short = Letterboxed { pixels: vec![0.0; 59], transform: Transform::pasted(5, 4, 0, 0, canvas) };
        assert!(View::new(&short).is_err());
    }
}
