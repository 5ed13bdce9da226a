//! The colour of a thing, measured on the picture.
//!
//! A box holds more than its thing. So a colour counts where it is that of most of the box's middle, where nothing else
//! stands before it, and where what lies around the box has another. Black and white, which shadow and light make of
//! anything, have to be clearer still; grey, which is mostly something white in the shade, is never said.

use blocks::preprocess::{Picture, Rect};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::scenes::COLOUR_COUNT;

const RED: u16 = 1;
const ORANGE: u16 = 2;
const YELLOW: u16 = 3;
const GREEN: u16 = 4;
const BLUE: u16 = 5;
const PURPLE: u16 = 6;
const PINK: u16 = 7;
const BROWN: u16 = 8;
const BLACK: u16 = 9;
const WHITE: u16 = 10;
pub(super) const GREY: u16 = 11;

/// Part of the box on each side that is not looked at.
const RIM: f64 = 0.2;
/// Width of what is looked at around the box, as a share of its sides.
const AROUND: f64 = 0.2;
/// Least share of the middle that has the colour, from red to grey. Cars have dark windows and wheels.
const MOST: [f64; COLOUR_COUNT] = [0.48, 0.48, 0.48, 0.48, 0.48, 0.48, 0.48, 0.58, 0.66, 0.6, f64::INFINITY];
/// Largest share of what is around that has it, too: of bright colours, and of brown, black and white.
const LEAK: [f64; 2] = [0.25, 0.2];
/// Largest share of other bright colours as a share of this one; of any other colour beside brown, black and white.
const SECOND: [f64; 2] = [0.25, 0.22];
/// Largest share of the middle that another object may cover.
const COVERED: f64 = 0.2;
/// An object that is so many times larger stands behind.
const BEHIND: f64 = 4.0;
/// Least side of a box, in pixels.
const SMALL: f64 = 14.0;
/// Points along each side of what is looked at.
const POINTS: usize = 24;
/// A picture whose saturation is less than this on average has no colours to speak of.
const COLOURLESS: f64 = 0.06;

/// Pairs that people do not tell apart, or that light turns into each other.
const NEAR: [(u16, u16); 26] = [
    (RED, ORANGE),
    (RED, PINK),
    (RED, BROWN),
    (RED, PURPLE),
    (ORANGE, YELLOW),
    (ORANGE, BROWN),
    (ORANGE, PINK),
    (YELLOW, GREEN),
    (YELLOW, BROWN),
    (YELLOW, WHITE),
    (GREEN, BLUE),
    (GREEN, BLACK),
    (GREEN, GREY),
    (GREEN, BROWN),
    (BLUE, PURPLE),
    (BLUE, GREY),
    (BLUE, BLACK),
    (PURPLE, PINK),
    (PURPLE, BLACK),
    (PINK, WHITE),
    (BROWN, BLACK),
    (BROWN, GREY),
    (BLACK, GREY),
    (WHITE, GREY),
    (BLUE, WHITE),
    (PURPLE, GREY),
];

/// Whether two colours are no proof against each other.
pub(super) fn near(a: u16, b: u16) -> bool {
    NEAR.contains(&(a, b)) || NEAR.contains(&(b, a))
}

/// A colour that is clearly another one than `colour`.
pub(super) fn other(colour: u16, rng: &mut ChaCha8Rng) -> u16 {
    loop {
        let drawn = any(rng);
        if drawn != colour && !near(drawn, colour) {
            return drawn;
        }
    }
}

/// A colour that is said of things.
pub(super) fn any(rng: &mut ChaCha8Rng) -> u16 {
    rng.random_range(1..GREY)
}

/// Hue in degrees, saturation and value in 0..1.
fn hsv(rgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| f64::from(v) / 255.0);
    let (value, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = value - least;
    if range <= 0.0 {
        return [0.0, 0.0, value];
    }
    let sixth = if value <= r {
        (g - b) / range
    } else if value <= g {
        (b - r) / range + 2.0
    } else {
        (r - g) / range + 4.0
    };
    [(60.0 * sixth).rem_euclid(360.0), range / value, value]
}

/// The colour of one pixel; none between two.
fn of_pixel(rgb: [u8; 3]) -> Option<u16> {
    let [hue, saturation, value] = hsv(rgb);
    if value < 0.2 {
        return Some(BLACK);
    }
    if saturation < 0.14 {
        return match value {
            v if v < 0.27 => Some(BLACK),
            v if v > 0.8 => Some(WHITE),
            v if (0.34..0.7).contains(&v) => Some(GREY),
            _ => None,
        };
    }
    match hue {
        h if !(12.0..345.0).contains(&h) => match (saturation, value) {
            (s, v) if s > 0.6 && v > 0.35 => Some(RED),
            (s, v) if s > 0.25 && s < 0.55 && v > 0.75 && !(5.0..340.0).contains(&h) => Some(PINK),
            (s, v) if s > 0.4 && v < 0.35 => Some(BROWN),
            _ => None,
        },
        h if h < 42.0 => match (saturation, value) {
            (s, v) if s > 0.7 && v > 0.75 && h > 15.0 => Some(ORANGE),
            (s, v) if s > 0.3 && v < 0.58 => Some(BROWN),
            _ => None,
        },
        h if h < 65.0 => (saturation > 0.55 && value > 0.6 && h > 45.0).then_some(YELLOW),
        h if h < 165.0 => (saturation > 0.3 && value > 0.2 && h > 75.0).then_some(GREEN),
        h if h < 255.0 => (saturation > 0.4 && value > 0.25 && h > 195.0).then_some(BLUE),
        h if h < 295.0 => (saturation > 0.3 && value > 0.25 && h > 262.0).then_some(PURPLE),
        h => (saturation > 0.3 && value > 0.5 && h > 300.0).then_some(PINK),
    }
}

/// Pixels of a grid over `rect` that `keep` takes.
fn sample(picture: &Picture, rect: &Rect, keep: impl Fn(f64, f64) -> bool) -> Vec<[u8; 3]> {
    let mut pixels = Vec::with_capacity(POINTS * POINTS);
    for row in 0..POINTS {
        for column in 0..POINTS {
            let along = |from: f64, length: f64, i: usize| from + length * (i as f64 + 0.5) / POINTS as f64;
            let (x, y) = (along(rect.x0, rect.width(), column), along(rect.y0, rect.height(), row));
            let inside = x >= 0.0 && y >= 0.0 && x < picture.width as f64 && y < picture.height as f64;
            if inside && keep(x, y) {
                let at = 3 * (y as usize * picture.width + x as usize);
                pixels.push([picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]]);
            }
        }
    }
    pixels
}

/// Share of every colour among `pixels`; index 0 has those between colours.
fn shares(pixels: &[[u8; 3]]) -> [f64; COLOUR_COUNT + 1] {
    let mut shares = [0.0; COLOUR_COUNT + 1];
    for pixel in pixels {
        shares[usize::from(of_pixel(*pixel).unwrap_or(0))] += 1.0 / pixels.len() as f64;
    }
    shares
}

/// Whether a picture has colours; a photograph in black and white has none.
pub(super) fn shows_colours(picture: &Picture) -> bool {
    let whole = Rect { x0: 0.0, y0: 0.0, x1: picture.width as f64, y1: picture.height as f64 };
    let pixels = sample(picture, &whole, |_, _| true);
    let sum: f64 = pixels.iter().map(|pixel| hsv(*pixel)).map(|[_, s, v]| s * v).sum();
    sum >= COLOURLESS * pixels.len() as f64
}

fn grown(rect: &Rect, by: f64) -> Rect {
    let (dx, dy) = (by * rect.width(), by * rect.height());
    Rect { x0: rect.x0 - dx, y0: rect.y0 - dy, x1: rect.x1 + dx, y1: rect.y1 + dy }
}

fn area(rect: &Rect) -> f64 {
    rect.width() * rect.height()
}

/// The colour, from 1 as in drawn scenes, of what fills the middle of box `index`; 0 where none is clear.
pub(super) fn measured(picture: &Picture, boxes: &[Rect], index: usize) -> u16 {
    let rect = &boxes[index];
    let middle = grown(rect, -RIM);
    let before = |(i, other): (usize, &Rect)| {
        i != index && area(other) < BEHIND * area(rect) && { other.intersection(&middle) > COVERED * area(&middle) }
    };
    if rect.width().min(rect.height()) < SMALL || boxes.iter().enumerate().any(before) {
        return 0;
    }
    let inside = shares(&sample(picture, &middle, |_, _| true));
    let mut order: Vec<usize> = (1..=COLOUR_COUNT).collect();
    order.sort_by(|&a, &b| inside[b].total_cmp(&inside[a]));
    let first = order[0];
    let bright = first < usize::from(BROWN);
    let others = if bright {
        let others = (1..usize::from(BROWN)).filter(|&other| other != first).map(|other| inside[other]);
        others.sum::<f64>() > SECOND[0] * inside[first]
    } else {
        inside[order[1]] > SECOND[1]
    };
    if inside[first] < MOST[first - 1] || others {
        return 0;
    }
    let outside = |x: f64, y: f64| x < rect.x0 || x >= rect.x1 || y < rect.y0 || y >= rect.y1;
    let around = sample(picture, &grown(rect, AROUND), outside);
    if !around.is_empty() && shares(&around)[first] > LEAK[usize::from(!bright)] {
        return 0;
    }
    first as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::colour_name;

    fn picture(ground: [u8; 3], thing: [u8; 3]) -> (Picture, Rect) {
        let rect = Rect { x0: 20.0, y0: 10.0, x1: 60.0, y1: 50.0 };
        let inside = |x: usize, y: usize| (20..60).contains(&x) && (10..50).contains(&y);
        let rgb = (0..80 * 64).flat_map(|i| if inside(i % 80, i / 80) { thing } else { ground }).collect();
        (Picture { width: 80, height: 64, rgb }, rect)
    }

    #[test]
    fn plain_colours_are_told() {
        let cases = [
            ("red", [200, 30, 40]),
            ("orange", [240, 130, 10]),
            ("yellow", [240, 215, 40]),
            ("green", [50, 140, 60]),
            ("blue", [30, 80, 200]),
            ("purple", [130, 50, 180]),
            ("pink", [245, 130, 190]),
            ("brown", [110, 70, 40]),
            ("black", [15, 15, 18]),
            ("white", [245, 245, 242]),
        ];
        for (name, rgb) in cases {
            let (picture, rect) = picture([200, 180, 150], rgb);
            let colour = measured(&picture, &[rect], 0);
            assert!(colour > 0, "{name}");
            assert_eq!(colour_name(colour), name);
        }
    }

    #[test]
    fn what_surrounds_it_is_no_colour_of_its_own() {
        let (same, rect) = picture([30, 80, 200], [30, 80, 200]);
        assert_eq!(measured(&same, &[rect], 0), 0);
        let (skin, rect) = picture([30, 80, 200], [220, 170, 140]);
        assert_eq!(measured(&skin, &[rect], 0), 0);
        let (red, rect) = picture([200, 180, 150], [200, 30, 40]);
        let before = Rect { x0: 25.0, x1: 55.0, ..rect };
        assert_eq!((measured(&red, &[rect], 0), measured(&red, &[rect, before], 0)), (RED, 0));
        let (grey, _) = picture([30, 30, 30], [200, 200, 200]);
        assert!(!shows_colours(&grey) && shows_colours(&same));
    }

    #[test]
    fn names_are_those_of_drawn_scenes() {
        let named = |colour| colour_name(colour);
        assert_eq!((named(RED), named(BROWN), named(GREY)), ("red", "brown", "grey"));
        assert!(near(GREY, BLACK) && near(BLACK, GREY) && !near(RED, GREEN));
    }
}
