//! Tiles: the four bars of a box, and a caption set by Pango (any script that an installed font has).

use blocks::preprocess::Rect;

use crate::error::{Error, Result};

/// A rectangle of pixels to blend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Left edge on the frame.
    pub x: usize,
    /// Top edge on the frame.
    pub y: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// BGRA, premultiplied, `4 * width * height` bytes.
    pub bgra: Vec<u8>,
}

impl Tile {
    fn touches(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    /// Moves down, else up, past `others`; stays where it is if it would leave a frame of `height` rows.
    pub(super) fn make_way(&mut self, others: &[Self], height: usize) {
        let at = |y: usize| Self { y, bgra: Vec::new(), ..*self };
        let past = |down: bool| {
            let mut y = self.y;
            // Each step passes one of them.
            for _ in 0..=others.len() {
                let here = at(y);
                let Some(other) = others.iter().find(|other| here.touches(other)) else { return Some(y) };
                y = if down { other.y + other.height } else { other.y.checked_sub(self.height)? };
                if y + self.height > height {
                    return None;
                }
            }
            None
        };
        if let Some(y) = past(true).or_else(|| past(false)) {
            self.y = y;
        }
    }
}

/// What a drawing says of its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineStyle {
    /// Measured on this frame, in the colour of the query with this place.
    Measured(usize),
    /// Stands in from an earlier frame: dashed.
    Carried(usize),
    /// No box: grey.
    Missing,
}

/// Colours of queries in their order, blue, green, red: apart from each other also for those who see fewer colours (Okabe and
/// Ito, "Color Universal Design", 2008, brightened).
const COLOURS: [[u8; 3]; 8] = [
    [0, 220, 255],
    [255, 200, 86],
    [120, 220, 60],
    [80, 130, 255],
    [235, 160, 255],
    [255, 255, 140],
    [0, 170, 240],
    [230, 230, 230],
];

impl LineStyle {
    /// Blue, green, red, opaque.
    pub(super) fn bgra(self) -> [u8; 4] {
        let (Self::Measured(place) | Self::Carried(place)) = self else { return [204, 204, 204, 255] };
        let [b, g, r] = COLOURS[place % COLOURS.len()];
        [b, g, r, 255]
    }
}

/// Lengths of a dash and of the gap behind it, in line widths.
const DASH: (usize, usize) = (4, 4);
/// Line widths in the shorter side of a frame, at least.
pub(super) const LINES: usize = 160;
/// Line widths in the shorter side of a box, at least.
const LINES_OF_BOX: usize = 20;
/// Thinner lines lose their colour where it is kept for four pixels at once, as in most videos.
pub(super) const THINNEST: usize = 2;
/// Boxes with shorter sides have thin lines all the same: what is in them is to be seen.
const SMALL: usize = 40;
const CLEAR: [u8; 4] = [0; 4];
const BLACK: [u8; 4] = [0, 0, 0, 255];
/// Caption background: black, mostly opaque.
const BACKDROP: f64 = 0.72;
/// Frame rows per row of the smallest letter size that stays readable.
const ROWS_PER_LETTER: f64 = 26.0;
const LETTER_RANGE: (f64, f64) = (9.0, 44.0);

/// The bars of `rect`, each in its colour between black edges, cut to the frame. Empty where the box has no area.
pub(super) fn box_tiles(rect: &Rect, style: LineStyle, width: usize, height: usize) -> Vec<Tile> {
    if width == 0 || height == 0 || rect.width() <= 0.0 || rect.height() <= 0.0 {
        return Vec::new();
    }
    let edge = |value: f64, limit: usize| value.round().clamp(0.0, limit as f64) as usize;
    let (mut x0, mut y0) = (edge(rect.x0, width - 1), edge(rect.y0, height - 1));
    let (mut x1, mut y1) = (edge(rect.x1, width).max(x0 + 1), edge(rect.y1, height).max(y0 + 1));
    let small = (x1 - x0).min(y1 - y0) < SMALL;
    if !small {
        // On the places where colours are kept.
        (x0, y0) = (x0 & !1, y0 & !1);
        (x1, y1) = (((x1 + 1) & !1).min(width), ((y1 + 1) & !1).min(height));
    }
    // Three parts: a black rim on either side of the line keeps it visible on any ground.
    // Thin things stay visible inside it.
    let line = (width.min(height) / LINES).min((x1 - x0).min(y1 - y0) / LINES_OF_BOX);
    let line = line.max(if small { 1 } else { THINNEST });
    let bar = (3 * line).min(x1 - x0).min(y1 - y0);
    let bars = [
        (x0, y0, x1 - x0, bar),
        (x0, y1 - bar, x1 - x0, bar),
        (x0, (y0 + bar).min(y1), bar, (y1 - y0).saturating_sub(2 * bar)),
        (x1 - bar, (y0 + bar).min(y1), bar, (y1 - y0).saturating_sub(2 * bar)),
    ];
    bars.into_iter()
        .filter(|(_, _, w, h)| *w > 0 && *h > 0)
        .map(|(x, y, w, h)| {
            let rim = bar / 3;
            let inside = |px: usize, py: usize| {
                // Distance to the nearest edge of the box decides between rim and line.
                let depth = (px - x0).min(x1 - 1 - px).min(py - y0).min(y1 - 1 - py);
                depth >= rim && depth < bar - rim
            };
            let pixels = (y..y + h).flat_map(|py| (x..x + w).map(move |px| (px, py)));
            let gap = |px: usize, py: usize| {
                let along = if w >= h { px - x0 } else { py - y0 };
                matches!(style, LineStyle::Carried(_)) && along % ((DASH.0 + DASH.1) * line) >= DASH.0 * line
            };
            let color = |(px, py): (usize, usize)| match (gap(px, py), bar < 3 || inside(px, py)) {
                (true, _) => CLEAR,
                (false, true) => style.bgra(),
                (false, false) => BLACK,
            };
            let bgra = pixels.flat_map(color).collect();
            Tile { x, y, width: w, height: h, bgra }
        })
        .collect()
}

/// The caption: above its box where there is room, else below, else inside; at the top left without a box.
///
/// # Errors
/// The drawing library fails.
pub(super) fn caption_tile(
    text: &str,
    rect: Option<&Rect>,
    style: LineStyle,
    width: usize,
    height: usize,
) -> Result<Tile> {
    let letter = (height as f64 / ROWS_PER_LETTER).clamp(LETTER_RANGE.0, LETTER_RANGE.1);
    let margin = (letter / 3.0).round() as usize;
    let room = width.saturating_sub(2 * margin).max(1);
    let draw = |w: usize, h: usize, color: (f64, f64, f64)| -> std::result::Result<(Vec<u8>, (i32, i32)), String> {
        let mut surface =
            cairo::ImageSurface::create(cairo::Format::ARgb32, w as i32, h as i32).map_err(|e| e.to_string())?;
        let size = {
            let context = cairo::Context::new(&surface).map_err(|e| e.to_string())?;
            context.set_source_rgba(0.0, 0.0, 0.0, BACKDROP);
            context.paint().map_err(|e| e.to_string())?;
            let layout = pangocairo::functions::create_layout(&context);
            let mut font = pango::FontDescription::from_string("DejaVu Sans, Sans Bold");
            font.set_absolute_size(letter * f64::from(pango::SCALE));
            layout.set_font_description(Some(&font));
            layout.set_text(text);
            layout.set_single_paragraph_mode(true);
            layout.set_width(room as i32 * pango::SCALE);
            layout.set_ellipsize(pango::EllipsizeMode::Middle);
            context.move_to(margin as f64, margin as f64 / 2.0);
            context.set_source_rgb(color.0, color.1, color.2);
            pangocairo::functions::show_layout(&context, &layout);
            layout.pixel_size()
        };
        let stride = usize::try_from(surface.stride()).map_err(|e| e.to_string())?;
        let data = surface.data().map_err(|e| e.to_string())?;
        Ok((data.chunks(stride).take(h).flat_map(|row| &row[..4 * w]).copied().collect(), size))
    };
    let [b, g, r, _] = style.bgra().map(|value| f64::from(value) / 255.0);
    let color = (r, g, b);
    let (_, (text_width, text_height)) = draw(1, 1, color).map_err(Error::Draw)?;
    let w = (text_width.max(1) as usize + 2 * margin).min(width);
    let h = (text_height.max(1) as usize + margin).min(height);
    let (bgra, _) = draw(w, h, color).map_err(Error::Draw)?;
    let (x, y) = rect.map_or((0, 0), |rect| {
        let above = rect.y0.round() - h as f64;
        let below = rect.y1.round();
        let y = if above >= 0.0 {
            above
        } else if below + h as f64 <= height as f64 {
            below
        } else {
            rect.y0.round().clamp(0.0, (height - h) as f64)
        };
        (rect.x0.round().clamp(0.0, (width - w) as f64) as usize, y as usize)
    });
    Ok(Tile { x, y, width: w, height: h, bgra })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x0: f64, y0: f64, x1: f64, y1: f64) -> Rect {
        Rect { x0, y0, x1, y1 }
    }

    #[test]
    fn tiles_stay_on_the_frame_whatever_the_box() {
        for (w, h) in [(1, 1), (2, 3), (17, 9), (64, 64), (640, 272), (1920, 1080)] {
            let (fw, fh) = (w as f64, h as f64);
            let boxes = [
                rect(0.0, 0.0, fw, fh),
                rect(fw - 0.4, fh - 0.4, fw, fh),
                rect(0.3 * fw, 0.2 * fh, 0.5 * fw, 0.9 * fh),
            ];
            for b in boxes {
                let mut tiles = box_tiles(&b, LineStyle::Measured(0), w, h);
                tiles.push(
                    caption_tile(
                        "a long caption that will not fit a small frame",
                        Some(&b),
                        LineStyle::Measured(0),
                        w,
                        h,
                    )
                    .expect("drawn"),
                );
                for tile in tiles {
                    assert!(tile.x + tile.width <= w && tile.y + tile.height <= h, "{b:?} on {w}x{h}");
                    assert_eq!(tile.bgra.len(), 4 * tile.width * tile.height);
                }
            }
        }
        assert!(box_tiles(&rect(5.0, 5.0, 5.0, 9.0), LineStyle::Measured(0), 20, 20).is_empty(), "no area, no bars");
    }

    #[test]
    fn thin_things_stay_visible_in_their_box() {
        for (width, most) in [(12, 3), (39, 3), (40, 6), (400, 12)] {
            let tiles =
                box_tiles(&rect(100.0, 100.0, f64::from(100 + width), 500.0), LineStyle::Measured(0), 1280, 720);
            assert_eq!(tiles.iter().map(|tile| tile.width.min(tile.height)).max(), Some(most), "{width} wide");
        }
    }

    #[test]
    fn the_bars_lie_on_the_edges_of_the_box() {
        let tiles = box_tiles(&rect(10.0, 20.0, 90.0, 60.0), LineStyle::Measured(0), 200, 100);
        let mut covered = vec![false; 200 * 100];
        for tile in &tiles {
            for y in tile.y..tile.y + tile.height {
                for x in tile.x..tile.x + tile.width {
                    assert!(!std::mem::replace(&mut covered[y * 200 + x], true), "bars do not overlap");
                }
            }
        }
        let at = |x: usize, y: usize| covered[y * 200 + x];
        assert!(at(10, 20) && at(89, 59) && at(50, 20) && at(10, 40) && at(89, 40) && at(50, 59));
        assert!(!at(9, 40) && !at(90, 40) && !at(50, 19) && !at(50, 60) && !at(50, 40));
    }

    #[test]
    fn captions_make_way_for_each_other() {
        let caption =
            |y: f64| caption_tile("cat", Some(&rect(50.0, y, 100.0, y + 50.0)), LineStyle::Measured(1), 320, 240);
        let mut placed: Vec<Tile> = Vec::new();
        for y in [100.0, 102.0, 104.0, 98.0, 230.0, 235.0] {
            let mut tile = caption(y).expect("drawn");
            tile.make_way(&placed, 240);
            assert!(tile.y + tile.height <= 240 && placed.iter().all(|other| !other.touches(&tile)), "{y}");
            placed.push(tile);
        }
        let mut full = Tile { x: 0, y: 0, width: 10, height: 240, bgra: Vec::new() };
        full.make_way(&[full.clone()], 240);
        assert_eq!(full.y, 0, "where there is no room it stays");
    }

    #[test]
    fn caption_moves_out_of_the_way() {
        let place = |b: &Rect| caption_tile("cat", Some(b), LineStyle::Measured(0), 320, 240).expect("drawn");
        let above = place(&rect(50.0, 100.0, 100.0, 150.0));
        assert_eq!((above.x, above.y + above.height), (50, 100));
        assert_eq!(place(&rect(50.0, 2.0, 100.0, 150.0)).y, 150, "below, where there is no room above");
        assert_eq!(place(&rect(50.0, 0.0, 100.0, 240.0)).y, 0, "inside, where there is none at all");
        let right = place(&rect(310.0, 100.0, 320.0, 150.0));
        assert_eq!(right.x + right.width, 320);
    }
}
