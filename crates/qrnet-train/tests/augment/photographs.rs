//! Changes that photographs need: sizes, stretched sides, colours where no phrase is about them, faults of cameras.

use std::collections::BTreeSet;
use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Picture, Rect};
use proptest::prelude::*;
use qrnet_train::augment::{Augment, gamma, hue, jpeg, names_colour, noise, soften};
use qrnet_train::data::Example;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{CANVAS, apply, cases, layouts, scene};

/// Everything at once.
const ALL: Augment = Augment {
    resize: [0.6, 1.6],
    stretch: 0.15,
    jitter: true,
    hue: 20.0,
    gamma: 0.3,
    grey: 0.3,
    soften: 0.5,
    noise: 0.5,
    jpeg: 0.5,
    flip: true,
    translate: true,
    ..Augment::NONE
};

/// Only so much larger than fits.
fn sized(least: f64, most: f64) -> Augment {
    Augment { resize: [least, most], ..Augment::NONE }
}

/// First and one past the last column (or row, where `down`) of the light part of what stands on the canvas, by the means
/// of the middle of `target`'s rows: single pixels may be noise. None where there is nothing dark beside it.
fn light(placed: &Letterboxed, target: &Rect, down: bool) -> Option<(f64, f64)> {
    let (t, canvas) = (&placed.transform, placed.transform.canvas);
    let plane = canvas.width * canvas.height;
    let ((left, width), (along, across)) = if down {
        ((t.top, t.resized.1), ((target.y0, target.y1), (target.x0, target.x1)))
    } else {
        ((t.left, t.resized.0), ((target.x0, target.x1), (target.y0, target.y1)))
    };
    let lines = across.0 as usize + 2..across.1 as usize - 2;
    let mean = |at: usize| {
        let green = |line: usize| {
            let (x, y) = if down { (line, at) } else { (at, line) };
            f64::from(placed.pixels[plane + y * canvas.width + x])
        };
        lines.clone().map(green).sum::<f64>() / lines.len() as f64
    };
    let profile: Vec<f64> = (left..left + width).map(mean).collect();
    let level = |inside: bool| {
        let place = |at: usize| {
            let at = (left + at) as f64;
            if inside { at > along.0 + 2.0 && at < along.1 - 3.0 } else { at < along.0 - 3.0 || at > along.1 + 2.0 }
        };
        let of: Vec<f64> = (0..width).filter(|at| place(*at)).map(|at| profile[at]).collect();
        (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
    };
    let border = f64::midpoint(level(true)?, level(false)?);
    let first = profile.iter().position(|value| *value > border)?;
    let last = profile.iter().rposition(|value| *value > border)?;
    Some(((left + first) as f64, (left + last + 1) as f64))
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn after_all_changes_the_rectangle_is_where_the_target_says(
        (width, height, rect) in layouts(), seed in any::<u64>(), wide in any::<bool>(), words in 0usize..3,
    ) {
        let canvas = Canvas { width: if wide { 192 } else { 128 }, height: 128 };
        let example = scene(width, height, rect, ["the thing", "the white one", "the left thing"][words]);
        let (out, placed) = apply(ALL, &example, canvas, seed);
        let (cw, ch) = (canvas.width as f64, canvas.height as f64);
        let [cx, cy, w, h] = out.target().expect("never lost");
        let target = Rect {
            x0: (cx - w / 2.0) * cw, y0: (cy - h / 2.0) * ch, x1: (cx + w / 2.0) * cw, y1: (cy + h / 2.0) * ch,
        };
        prop_assume!(target.width() >= 8.0 && target.height() >= 8.0);
        for (down, expected) in [(false, (target.x0, target.x1)), (true, (target.y0, target.y1))] {
            if let Some(found) = light(&placed, &target, down) {
                let off = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
                prop_assert!(off <= 1.5, "down {down}: {found:?}, box {expected:?}");
            }
        }
    }

    #[test]
    fn a_larger_picture_keeps_what_is_asked_and_what_is_around_it(
        (width, height, rect) in layouts(), seed in any::<u64>(), wide in any::<bool>(),
    ) {
        let canvas = Canvas { width: if wide { 192 } else { 128 }, height: 128 };
        let example = scene(width, height, rect, "the thing");
        let (out, _) = apply(sized(1.0, 4.0), &example, canvas, seed);
        let (w, h) = (out.sample.picture.width as f64, out.sample.picture.height as f64);
        let (target, [x0, y0, x1, y1]) = (out.sample.target.expect("never lost"), rect.map(|edge| edge as f64));
        let (across, down) = (target.width() / (x1 - x0), target.height() / (y1 - y0));
        prop_assert!((across - down).abs() < 1e-9 * across, "the whole box: {target:?}");
        let least = (canvas.width as f64 / width as f64).min(canvas.height as f64 / height as f64);
        prop_assert!(across >= least * 0.999 && across <= least * 4.1 + 0.1, "{across}, {least} fits");
        for (found, before, side) in [
            (target.x0, x0, x1 - x0),
            (w - target.x1, width as f64 - x1, x1 - x0),
            (target.y0, y0, y1 - y0),
            (h - target.y1, height as f64 - y1, y1 - y0),
        ] {
            let room = across * before.min(0.1 * side);
            prop_assert!(found >= room - 0.51, "{found} around it, expected {room}");
        }
    }
}

#[test]
fn a_smaller_picture_is_whole_and_lies_anywhere() {
    let example = scene(120, 100, [30, 20, 70, 60], "the one on the left");
    let (mut lefts, mut tops) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let out = apply(sized(0.5, 0.5), &example, CANVAS, seed).0;
        assert_eq!((out.sample.picture.width, out.sample.picture.height), (64, 53));
        let target = out.sample.target.expect("a box");
        assert!((target.x0 - 16.0).abs() < 1e-9 && (target.x1 - 70.0 * 64.0 / 120.0).abs() < 1e-9, "{target:?}");
        lefts.insert(out.transform.left);
        tops.insert(out.transform.top);
    }
    assert_eq!((lefts.first(), lefts.last()), (Some(&0), Some(&64)));
    assert_eq!((tops.first(), tops.last()), (Some(&0), Some(&75)));
    let widths: Vec<usize> =
        (0..400).map(|seed| apply(sized(0.6, 1.0), &example, CANVAS, seed).0.sample.picture.width).collect();
    let median = widths.iter().filter(|width| **width < (128.0 * 0.6f64.sqrt()) as usize).count();
    assert!((150..250).contains(&median), "logarithms are drawn evenly: {median} of 400 below the middle");
    assert!(widths.iter().all(|width| (77..=128).contains(width)));
}

#[test]
fn directions_are_never_cropped_and_absent_things_anyhow() {
    let directed = scene(120, 100, [30, 20, 70, 60], "the one on the left");
    let plain = Example { phrase: "the one".into(), ..directed.clone() };
    let absent = Example { target: None, ..plain.clone() };
    let mut heights = BTreeSet::new();
    for seed in 0..100 {
        let size = |example: &Example| {
            let out = apply(sized(1.3, 2.0), example, CANVAS, seed).0;
            (out.sample.picture.width, out.sample.picture.height)
        };
        assert_eq!(size(&directed), (128, 107));
        heights.insert(size(&plain).1);
        assert_eq!(size(&plain), (128, 128), "a part that fills the canvas");
        let out = apply(sized(3.0, 3.0), &absent, CANVAS, seed).0;
        assert!(out.target().is_none());
        assert_eq!((out.sample.picture.width, out.sample.picture.height), (128, 128));
    }
}

#[test]
fn sides_are_stretched_each_by_its_own() {
    let example = scene(100, 100, [20, 20, 80, 80], "the thing");
    let ratios: Vec<f64> = (0..200)
        .map(|seed| {
            let out = apply(Augment { stretch: 0.15, ..Augment::NONE }, &example, CANVAS, seed).0;
            let target = out.sample.target.expect("a box");
            let (w, h) = (out.sample.picture.width as f64, out.sample.picture.height as f64);
            assert!(w.max(h) >= 128.0);
            assert!((target.width() / w - 0.6).abs() < 0.01 && (target.height() / h - 0.6).abs() < 0.01);
            w / h
        })
        .collect();
    let (least, most) = ratios.iter().fold((f64::MAX, 0.0f64), |(a, b), r| (a.min(*r), b.max(*r)));
    assert!((0.85 / 1.15 - 0.01..0.85).contains(&least), "{least}");
    assert!((1.15..1.15 / 0.85 + 0.01).contains(&most), "{most}");
}

#[test]
fn phrases_about_colours_keep_them() {
    // 64x64 with bands of colours.
    let bands = [[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 120, 120]];
    let rgb = (0..128 * 128).flat_map(|at| bands[at % 128 / 32]).collect();
    let of = |phrase: &str| Example {
        picture: Arc::new(Picture { width: 128, height: 128, rgb: Clone::clone(&rgb) }),
        phrase: phrase.into(),
        ..scene(128, 128, [0, 0, 32, 128], "")
    };
    let turned = |augment: Augment, phrase: &str, seed| {
        let picture = apply(augment, &of(phrase), CANVAS, seed).0.sample.picture;
        [0, 32, 64, 96].map(|x| [0, 1, 2].map(|c| picture.rgb[3 * x + c]))
    };
    let colours = Augment { hue: 40.0, ..Augment::NONE };
    let grey = Augment { grey: 1.0, ..Augment::NONE };
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        for phrase in ["the Red car", "a dark-haired man", "silvery thing", "the man in light blue"] {
            assert_eq!(turned(colours, phrase, seed), bands);
            assert_eq!(turned(grey, phrase, seed), bands);
        }
        let [red, .., middle] = turned(colours, "the car", seed);
        assert_eq!(middle, bands[3], "greys have no hue");
        seen.insert(red);
        let [red, ..] = turned(grey, "the car", seed);
        assert!(red[0] == red[1] && red[1] == red[2]);
    }
    assert!(seen.len() > 20);
    for (phrase, expected) in [
        ("white", true),
        ("the blond one", true),
        ("gray/black shirt", true),
        ("darker", true),
        ("blues", true),
        ("colorful kite", true),
        ("tan bag", true),
        ("golden retriever", true),
        ("tank", false),
        ("hundred", false),
        ("redo it", false),
        ("the man with a hat", false),
        ("delighted child", false),
        ("", false),
    ] {
        assert_eq!(names_colour(phrase), expected, "{phrase}");
    }
}

fn picture(width: usize, height: usize, of: impl Fn(usize, usize) -> [u8; 3]) -> Picture {
    let rgb = (0..width * height).flat_map(|at| of(at % width, at / width)).collect();
    Picture { width, height, rgb }
}

#[test]
fn hues_turn_and_powers_keep_black_and_white() {
    let mut turned = picture(3, 1, |x, _| [[200, 10, 60], [7, 7, 7], [255, 255, 255]][x]);
    hue(&mut turned, 120.0);
    assert_eq!(turned.rgb, [60, 200, 10, 7, 7, 7, 255, 255, 255], "a third of a turn");
    hue(&mut turned, -120.0);
    assert_eq!(turned.rgb, [200, 10, 60, 7, 7, 7, 255, 255, 255]);
    let mut raised = picture(4, 1, |x, _| [[0; 3], [255; 3], [64; 3], [128; 3]][x]);
    gamma(&mut raised, 2.0);
    assert_eq!(raised.rgb[..], [[0; 3], [255; 3], [16; 3], [64; 3]].concat());
}

#[test]
fn soft_pictures_are_gaussian() {
    for sigma in [0.3f32, 0.7, 1.2] {
        let mut soft = picture(9, 9, |x, y| if (x, y) == (4, 4) { [255, 0, 100] } else { [0, 0, 100] });
        soften(&mut soft, sigma);
        let bell: Vec<f32> = (-4..5).map(|x: i32| (-0.5 * (x as f32 / sigma).powi(2)).exp()).collect();
        let sum: f32 = bell.iter().sum();
        for (at, rgb) in soft.rgb.chunks(3).enumerate() {
            let expected = 255.0 * bell[at % 9] * bell[at / 9] / (sum * sum);
            assert!((f32::from(rgb[0]) - expected).abs() <= 1.5, "sigma {sigma}: {} is {expected}", rgb[0]);
            assert_eq!(rgb[1..], [0, 100], "what is even stays, at edges too");
        }
    }
    let mut small = picture(1, 2, |_, y| [y as u8; 3]);
    soften(&mut small, 1.0);
    assert_eq!(small.rgb.len(), 6);
}

#[test]
fn noise_has_its_deviation_and_jpegs_their_size() {
    let grey = picture(200, 150, |_, _| [128; 3]);
    for sigma in [2.0f32, 12.0] {
        let mut noisy = grey.clone();
        noise(&mut noisy, sigma, &mut ChaCha8Rng::seed_from_u64(3));
        let count = noisy.rgb.len() as f32;
        let off = |value: &u8| f32::from(*value) - 128.0;
        let mean = noisy.rgb.iter().map(off).sum::<f32>() / count;
        let deviation = (noisy.rgb.iter().map(|v| off(v).powi(2)).sum::<f32>() / count).sqrt();
        assert!(mean.abs() < 0.1 && (deviation / sigma - 1.0).abs() < 0.03, "{sigma}: {mean}, {deviation}");
    }
    let slope = picture(61, 43, |x, y| [4 * x as u8, 5 * y as u8, 90]);
    let error = |quality| {
        let mut kept = slope.clone();
        jpeg(&mut kept, quality).expect("a JPEG");
        assert_eq!((kept.width, kept.height, kept.rgb.len()), (61, 43, slope.rgb.len()));
        let off = kept.rgb.iter().zip(&slope.rgb).map(|(a, b)| f64::from(a.abs_diff(*b)));
        off.sum::<f64>() / slope.rgb.len() as f64
    };
    assert!(error(25) > error(90) && error(25) < 20.0 && error(90) < 3.0, "{} {}", error(25), error(90));
    let refused = jpeg(&mut picture(70_000, 1, |_, _| [0; 3]), 50).expect_err("too long").to_string();
    assert_eq!(refused, "a picture of 70000x1 as JPEG: expected sides of up to 65535 pixels");
}

#[test]
fn the_same_seed_gives_the_same_photograph() {
    let example = scene(150, 110, [20, 30, 90, 100], "a thing");
    let pixels = |seed| apply(ALL, &example, CANVAS, seed).1.pixels;
    for seed in 0..20 {
        assert_eq!(pixels(seed), pixels(seed));
        assert_ne!(pixels(seed), pixels(seed + 1));
    }
}
