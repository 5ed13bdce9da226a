//! Zones and lines, drawn on a frame as outlines with their names.

use super::Tile;
use super::tile::{LINES, LineStyle, THINNEST, caption_tile};
use crate::error::{Error, Result};
use blocks::preprocess::Rect;

/// A place on the picture, in shares of its width and height.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A polygon.
    Area {
        /// Its caption.
        name: String,
        /// In their order.
        corners: Vec<(f64, f64)>,
    },
    /// A line with a direction; its right side has a mark in the middle.
    Line {
        /// Its caption.
        name: String,
        /// The first and the second.
        ends: [(f64, f64); 2],
    },
}

/// Side of the tiles that outlines are cut into, so that no more is blended than what lies near them, in pixels.
const CELL: usize = 64;
/// The mark is so many line widths long.
const MARK: f64 = 8.0;

impl Shape {
    fn name(&self) -> &str {
        match self {
            Self::Area { name, .. } | Self::Line { name, .. } => name,
        }
    }

    fn points(&self) -> &[(f64, f64)] {
        match self {
            Self::Area { corners, .. } => corners,
            Self::Line { ends, .. } => ends,
        }
    }

    /// Lays its outline, which is drawn `line` pixels wide.
    fn trace(&self, context: &cairo::Context, (width, height): (f64, f64), line: f64) {
        let pixels = |&(x, y): &(f64, f64)| (x * width, y * height);
        for (number, (x, y)) in self.points().iter().map(pixels).enumerate() {
            if number == 0 { context.move_to(x, y) } else { context.line_to(x, y) }
        }
        match self {
            Self::Area { .. } => context.close_path(),
            Self::Line { ends, .. } => {
                let [from, to] = [pixels(&ends[0]), pixels(&ends[1])];
                let (dx, dy) = (to.0 - from.0, to.1 - from.1);
                let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
                let (x, y) = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
                context.move_to(x, y);
                // The picture's y goes down.
                context.line_to(x - MARK * line * dy / length, y + MARK * line * dx / length);
            }
        }
    }
}

/// The tiles of `shapes` on a frame of `width` x `height` pixels.
///
/// # Errors
/// The drawing library fails, out of memory for one.
pub fn shape_tiles(shapes: &[Shape], width: usize, height: usize) -> Result<Vec<Tile>> {
    if shapes.is_empty() || width == 0 || height == 0 {
        return Ok(Vec::new());
    }
    let mut tiles = outlines(shapes, width, height).map_err(Error::Draw)?;
    let mut captions: Vec<Tile> = Vec::new();
    for shape in shapes {
        let Some((x, y)) = shape.points().first() else { continue };
        let (x, y) = (x * width as f64, y * height as f64);
        let mut caption =
            caption_tile(shape.name(), Some(&Rect { x0: x, y0: y, x1: x, y1: y }), LineStyle::Missing, width, height)?;
        caption.make_way(&captions, height);
        captions.push(caption);
    }
    tiles.extend(captions);
    Ok(tiles)
}

fn outlines(shapes: &[Shape], width: usize, height: usize) -> std::result::Result<Vec<Tile>, String> {
    let mut surface =
        cairo::ImageSurface::create(cairo::Format::ARgb32, width as i32, height as i32).map_err(|e| e.to_string())?;
    {
        let context = cairo::Context::new(&surface).map_err(|e| e.to_string())?;
        let line = (width.min(height) / LINES).max(THINNEST) as f64;
        context.set_line_join(cairo::LineJoin::Round);
        let [blue, green, red, _] = LineStyle::Missing.bgra().map(|value| f64::from(value) / 255.0);
        // A black rim keeps the line visible on any ground.
        for (lines, (r, g, b)) in [(3.0, (0.0, 0.0, 0.0)), (1.0, (red, green, blue))] {
            context.set_line_width(lines * line);
            context.set_source_rgb(r, g, b);
            for shape in shapes {
                shape.trace(&context, (width as f64, height as f64), line);
                context.stroke().map_err(|e| e.to_string())?;
            }
        }
    }
    let stride = usize::try_from(surface.stride()).map_err(|e| e.to_string())?;
    let data = surface.data().map_err(|e| e.to_string())?;
    let mut tiles = Vec::new();
    for y in (0..height).step_by(CELL) {
        for x in (0..width).step_by(CELL) {
            let (w, h) = (CELL.min(width - x), CELL.min(height - y));
            let rows = (y..y + h).flat_map(|row| &data[row * stride + 4 * x..][..4 * w]);
            let bgra: Vec<u8> = rows.copied().collect();
            if bgra.iter().any(|value| *value > 0) {
                tiles.push(Tile { x, y, width: w, height: h, bgra });
            }
        }
    }
    Ok(tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(tiles: &[Tile], (x, y): (usize, usize)) -> bool {
        tiles.iter().any(|tile| {
            let inside = (tile.x..tile.x + tile.width).contains(&x) && (tile.y..tile.y + tile.height).contains(&y);
            inside && tile.bgra[4 * ((y - tile.y) * tile.width + x - tile.x) + 3] > 0
        })
    }

    #[test]
    fn outlines_lie_where_the_shapes_are_and_nothing_else_is_touched() {
        let square = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)];
        let area = Shape::Area { name: "drive".into(), corners: square.to_vec() };
        let outline = outlines(std::slice::from_ref(&area), 640, 360).expect("drawn");
        for on in [(160, 180), (480, 180), (320, 90), (320, 270)] {
            assert!(covered(&outline, on), "{on:?}");
        }
        for off in [(320, 180), (100, 180), (320, 300), (600, 350)] {
            assert!(!covered(&outline, off), "{off:?}");
        }
        let pixels: usize = outline.iter().map(|tile| tile.width * tile.height).sum();
        assert!(pixels < 640 * 360 / 2, "{pixels} pixels are blended");
        let all = shape_tiles(&[area], 640, 360).expect("drawn");
        assert_eq!(all.len(), outline.len() + 1, "and a caption");
        assert!(all.iter().all(|tile| tile.x + tile.width <= 640 && tile.y + tile.height <= 360));
    }

    #[test]
    fn the_right_side_of_a_line_has_a_mark() {
        let line = |ends| Shape::Line { name: "gate".into(), ends };
        let (below, above) = ((320, 192), (320, 168));
        let right = outlines(&[line([(0.1, 0.5), (0.9, 0.5)])], 640, 360).expect("drawn");
        assert!(covered(&right, below) && !covered(&right, above), "who goes to the right has the ground at the right");
        let left = outlines(&[line([(0.9, 0.5), (0.1, 0.5)])], 640, 360).expect("drawn");
        assert!(covered(&left, above) && !covered(&left, below));
        for (width, height) in [(1, 1), (16, 9), (65, 64)] {
            let tiles = shape_tiles(&[line([(0.0, 0.0), (1.0, 1.0)])], width, height).expect("drawn");
            assert!(tiles.iter().all(|tile| tile.x + tile.width <= width && tile.y + tile.height <= height));
        }
    }
}
