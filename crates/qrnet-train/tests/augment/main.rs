//! Changes before training: boxes follow pixels, words follow mirrors, colours are Pillow's.

mod photographs;
mod questions;

use std::path::Path;
use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxed, Letterboxer, Picture, Rect};
use proptest::prelude::*;
use qrnet_train::augment::{
    Augment, Augmented, Region, Sample, accepts, blur, brightness, contrast, mirrored, names_direction, saturation,
};
use qrnet_train::data::{Example, Labels, ObjectLabel};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const CANVAS: Canvas = Canvas { width: 128, height: 128 };
/// How far pixels may lie from a box, in pixels: a crop is resized before and after, by up to 1.7 the second time; each
/// time the size is rounded by up to half a pixel, and so is every edge between pixels.
const ROUNDING: f64 = 0.5 * (1.0 + 1.0) * (1.0 + 1.7);
const DARK: [u8; 3] = [10, 20, 30];
const LIGHT: [u8; 3] = [250, 240, 235];

/// A dark picture with a light rectangle, which is also its target and its label 1.
fn scene(width: usize, height: usize, [x0, y0, x1, y1]: [usize; 4], phrase: &str) -> Example {
    let inside = |at: usize| (x0..x1).contains(&(at % width)) && (y0..y1).contains(&(at / width));
    let rgb = (0..width * height).flat_map(|at| if inside(at) { LIGHT } else { DARK }).collect();
    let instance = (0..width * height).map(|at| u8::from(inside(at))).collect();
    let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|edge| edge as f64);
    Example {
        picture: Arc::new(Picture { width, height, rgb }),
        phrase: phrase.into(),
        target: Some(Rect { x0, y0, x1, y1 }),
        source: "test".into(),
        kind: "any".into(),
        labels: Some(Arc::new(Labels { instance, objects: vec![ObjectLabel { class: 3, colour: 4 }] })),
        moment: None,
    }
}

fn apply(augment: Augment, example: &Example, canvas: Canvas, seed: u64) -> (Augmented, Letterboxed) {
    let mut boxer = Letterboxer::default();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let out = augment.apply(example, canvas, &mut rng, &mut boxer).expect("a changed example");
    let placed = out.letterbox(&mut boxer, Vec::new()).expect("a picture on its canvas");
    (out, placed)
}

/// The edges of what `is` true for in a map of `width` columns.
fn extent(width: usize, length: usize, is: impl Fn(usize) -> bool) -> Option<Rect> {
    let found: Vec<(f64, f64)> =
        (0..length).filter(|at| is(*at)).map(|at| ((at % width) as f64, (at / width) as f64)).collect();
    let fold = |f: fn(f64, f64) -> f64, start: f64| {
        found.iter().fold((start, start), |(x, y), (px, py)| (f(x, *px), f(y, *py)))
    };
    let ((x0, y0), (x1, y1)) = (fold(f64::min, f64::MAX), fold(f64::max, f64::MIN));
    (!found.is_empty()).then_some(Rect { x0, y0, x1: x1 + 1.0, y1: y1 + 1.0 })
}

fn near(found: &Rect, expected: &Rect, limit: f64) -> bool {
    let edges = |r: &Rect| [r.x0, r.y0, r.x1, r.y1];
    edges(found).iter().zip(edges(expected)).all(|(a, b)| (a - b).abs() <= limit)
}

fn cases(standard: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(standard), ..ProptestConfig::default() }
}

/// Picture size and a rectangle of at least a fifth of either side.
fn layouts() -> impl Strategy<Value = (usize, usize, [usize; 4])> {
    (40usize..220, 40usize..220).prop_flat_map(|(w, h)| {
        let span = |length: usize| {
            let least = length / 5;
            (0..length - least).prop_flat_map(move |start| (Just(start), start + least..=length))
        };
        (Just(w), Just(h), span(w), span(h)).prop_map(|(w, h, (x0, x1), (y0, y1))| (w, h, [x0, y0, x1, y1]))
    })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn boxes_and_labels_follow_the_pixels(
        (width, height, rect) in layouts(), seed in any::<u64>(), wide in any::<bool>(), blurred in any::<bool>(),
    ) {
        let canvas = Canvas { width: if wide { 192 } else { 128 }, height: 128 };
        let example = scene(width, height, rect, "the bright thing");
        let augment = Augment { blur: blurred, ..Augment::default() };
        let (out, placed) = apply(augment, &example, canvas, seed);
        let (w, h) = (out.sample.picture.width, out.sample.picture.height);
        let transform = placed.transform;
        prop_assert_eq!(transform.resized, (w, h));
        prop_assert!(transform.left + w <= canvas.width && transform.top + h <= canvas.height);
        let target = out.sample.target.expect("never lost");
        prop_assert!(target.width() > 0.0 && target.height() > 0.0, "{target:?}");
        prop_assert!(near(&target, &target.clipped(w as f64, h as f64), 0.51), "{target:?} in {w}x{h}");

        // Colours change, but the rectangle stays the lighter part.
        let greens: Vec<u8> = out.sample.picture.rgb.chunks(3).map(|rgb| rgb[1]).collect();
        let (low, high) = (*greens.iter().min().expect("pixels"), *greens.iter().max().expect("pixels"));
        let border = low.midpoint(high);
        let whole = extent(w, w * h, |_| true).expect("pixels");
        if target.width() >= 3.0 && target.height() >= 3.0 && !near(&target, &whole, 3.0) {
            let found = extent(w, w * h, |at| greens[at] > border).expect("a rectangle");
            prop_assert!(near(&found, &target, ROUNDING), "{found:?}, box {target:?}");
            let labels = out.sample.labels.as_ref().expect("labels");
            prop_assert_eq!(labels.instance.len(), w * h);
            let found = extent(w, w * h, |at| labels.instance[at] == 1).expect("a label");
            prop_assert!(near(&found, &target, ROUNDING), "labels {found:?}, box {target:?}");
            prop_assert_eq!(labels.objects[0].class, 3);
            // On the canvas too, where padding is 0 in every channel.
            let [cx, cy, bw, bh] = out.target().expect("a box");
            let plane = canvas.width * canvas.height;
            let level = |value: u8| (f32::from(value) / 255.0 - 0.456) / 0.224;
            let found = extent(canvas.width, plane, |at| {
                transform.shows(at % canvas.width, at / canvas.width) && placed.pixels[plane + at] > level(border) + 1e-4
            });
            let (cw, ch) = (canvas.width as f64, canvas.height as f64);
            let expected = Rect {
                x0: (cx - bw / 2.0) * cw, y0: (cy - bh / 2.0) * ch, x1: (cx + bw / 2.0) * cw, y1: (cy + bh / 2.0) * ch,
            };
            prop_assert!(near(&found.expect("a rectangle"), &expected, ROUNDING), "canvas {found:?}, box {expected:?}");
        }
    }

    #[test]
    fn a_mirrored_mirror_is_the_picture(
        (width, height, rect) in layouts(), words in "(left|right|leftmost|bright|a| |,|é){0,8}", quirks in any::<bool>(),
    ) {
        let mut sample = Sample::new(&scene(width, height, rect, &words));
        let before = sample.clone();
        sample.flip(quirks);
        let centre = before.target.map(|r| r.x0 + r.x1);
        prop_assert_eq!(sample.target.map(|r| 2.0 * width as f64 - r.x0 - r.x1), centre);
        sample.flip(quirks);
        prop_assert_eq!(&sample.picture.rgb, &before.picture.rgb);
        prop_assert_eq!(&sample.labels, &before.labels);
        prop_assert_eq!((sample.phrase, sample.target), (before.phrase, before.target));
    }

    #[test]
    fn mended_crops_keep_the_centre(
        left in 0usize..100, top in 0usize..100, width in 1usize..100, height in 1usize..100,
        x0 in 0.0f64..200.0, y0 in 0.0f64..200.0, w in 1.0f64..100.0, h in 1.0f64..100.0,
    ) {
        let region = Region { left, top, width, height };
        let rect = Rect { x0, y0, x1: x0 + w, y1: y0 + h };
        let (cx, cy) = (x0 + w / 2.0, y0 + h / 2.0);
        let (right, bottom) = ((left + width) as f64, (top + height) as f64);
        if accepts(&region, Some(&rect), false) {
            prop_assert!(cx > left as f64 && cx < right && cy > top as f64 && cy < bottom);
        } else {
            let kept_w = (x0 + w).min(right) - x0.max(left as f64);
            let kept_h = (y0 + h).min(bottom) - y0.max(top as f64);
            let outside = cx <= left as f64 || cx >= right || cy <= top as f64 || cy >= bottom;
            prop_assert!(outside || kept_w < 1.0 || kept_h < 1.0);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_example() {
    let example = scene(90, 70, [10, 20, 50, 60], "a thing");
    let all = Augment { blur: true, ..Augment::default() };
    let pixels = |seed| apply(all, &example, CANVAS, seed).1.pixels;
    assert_eq!(pixels(5), pixels(5));
    assert_ne!(pixels(5), pixels(6));
}

#[test]
fn without_changes_it_is_the_letterbox_of_validation() {
    for (width, height) in [(90, 70), (300, 41), (128, 128), (17, 260)] {
        let example = scene(width, height, [3, 4, 15, 30], "a Thing");
        let (out, placed) = apply(Augment::NONE, &example, CANVAS, 1);
        let view = example.picture.view().expect("a picture");
        let plain = Letterboxer::default().letterbox(&view, CANVAS).expect("a letterbox");
        assert_eq!(placed.pixels, plain.pixels, "{width}x{height}");
        assert_eq!(placed.ignore_mask(), plain.ignore_mask());
        let (found, expected) = (out.target(), example.target.map(|rect| plain.transform.to_target(&rect)));
        for (a, b) in found.expect("a box").iter().zip(expected.expect("a box")) {
            assert!((a - b).abs() < 1e-12, "{found:?} {expected:?}");
        }
        assert_eq!(out.sample.phrase, "a thing");
    }
}

#[test]
fn each_switch_changes_what_it_names() {
    let example = scene(120, 100, [30, 20, 70, 60], "the one on the left");
    let seeds = || 0..200;
    let with = |augment: Augment, seed| apply(augment, &example, CANVAS, seed);
    let scales: std::collections::BTreeSet<usize> =
        seeds().map(|s| with(Augment { scales: true, ..Augment::NONE }, s).0.sample.picture.width).collect();
    assert_eq!(scales.into_iter().collect::<Vec<_>>(), [90, 96, 102, 109, 115, 122, 128]);
    let flipped = seeds().filter(|s| {
        let out = with(Augment { flip: true, ..Augment::NONE }, *s).0.sample;
        assert!(["the one on the left", "the one on the right"].contains(&out.phrase.as_str()));
        out.phrase.ends_with("right")
    });
    assert!((60..140).contains(&flipped.count()));
    let places: std::collections::BTreeSet<usize> =
        seeds().map(|s| with(Augment { translate: true, ..Augment::NONE }, s).0.transform.top).collect();
    assert!(places.first() == Some(&0) && places.last() == Some(&(128 - 107)), "{places:?}");
    // The phrase names a direction: never cropped. Another phrase: half the time, less what found no region.
    let sizes = |example: &Example| {
        seeds()
            .filter(|s| {
                let out = apply(Augment { crop: true, ..Augment::NONE }, example, CANVAS, *s).0;
                (out.sample.picture.width, out.sample.picture.height) != (128, 107)
            })
            .count()
    };
    assert_eq!(sizes(&example), 0);
    let plain = Example { phrase: "the light one".into(), ..example.clone() };
    assert!((50..140).contains(&sizes(&plain)), "{}", sizes(&plain));
    // What is not in the picture stays absent.
    let absent = Example { target: None, ..plain };
    assert!(seeds().all(|s| apply(Augment::default(), &absent, CANVAS, s).0.target().is_none()));
    // Too long to be cropped at all.
    let strip = Example { phrase: "it".into(), ..scene(2000, 3, [100, 0, 300, 3], "it") };
    assert!(seeds().take(20).all(|s| apply(Augment::default(), &strip, CANVAS, s).0.target().is_some()));
}

#[test]
fn words_with_and_without_the_references_faults() {
    for (phrase, mended, reference) in [
        ("left", "right", "right"),
        ("the man on the right, left of her", "the man on the left, right of her", "the man on the left, right of her"),
        ("leftmost right-hand lefty", "rightmost left-hand righty", "rightmost left-hand righty"),
        ("bright copyright", "bright copyright", "bleft copyleft"),
        ("leftover", "leftover", "rightover"),
        ("right's left", "left's right", "left's right"),
        ("", "", ""),
    ] {
        assert_eq!(mirrored(phrase, false), mended);
        assert_eq!(mirrored(phrase, true), reference);
    }
    for (phrase, mended, reference) in [
        ("on top", true, true),
        ("topmost", true, true),
        ("bottom-left", true, true),
        ("stop sign", false, true),
        ("bright coat", false, true),
        ("middleman", false, true),
        ("red coat", false, false),
    ] {
        assert_eq!((names_direction(phrase, false), names_direction(phrase, true)), (mended, reference), "{phrase}");
    }
}

#[test]
fn crops_with_and_without_the_references_faults() {
    let rect = |x0, y0, x1, y1| Some(Rect { x0, y0, x1, y1 });
    let region = Region { left: 10, top: 50, width: 100, height: 40 };
    for (target, mended, reference) in [
        // Inside.
        (rect(60.0, 60.0, 80.0, 80.0), true, true),
        // Right of the region, and below: the reference does not look.
        (rect(200.0, 60.0, 240.0, 80.0), false, true),
        (rect(60.0, 120.0, 80.0, 140.0), false, true),
        // Centre column 20 lies in the region, but not beyond its row 50.
        (rect(10.0, 60.0, 30.0, 80.0), true, false),
        // Centre row 30 lies above the region, but beyond its column 10.
        (rect(60.0, 20.0, 80.0, 40.0), false, true),
        (None, true, true),
    ] {
        let found = [false, true].map(|quirks| accepts(&region, target.as_ref(), quirks));
        assert_eq!(found, [mended, reference], "{target:?}");
    }
    // Over many draws the reference cuts boxes away altogether; mended, none is.
    let example = scene(160, 120, [120, 90, 156, 116], "it");
    let lost = |reference_quirks| {
        let augment = Augment { reference_quirks, ..Augment::default() };
        let empty = |s: &u64| {
            apply(augment, &example, CANVAS, *s).0.sample.target.is_none_or(|r| r.width() * r.height() <= 0.0)
        };
        (0..400).filter(empty).count()
    };
    assert_eq!(lost(false), 0);
    assert!(lost(true) > 0);
}

#[test]
fn colours_and_blur_are_pillows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/enhance.json");
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    let bytes = |value: &serde_json::Value| -> Vec<u8> { serde_json::from_value(value.clone()).expect("bytes") };
    let size = |key: &str| file[key].as_u64().expect("a size") as usize;
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 20);
    for case in cases {
        let mut picture = Picture { width: size("width"), height: size("height"), rgb: bytes(&file["rgb"]) };
        let by = case["by"].as_f64().expect("a factor") as f32;
        let kind = case["kind"].as_str().expect("a kind");
        match kind {
            "brightness" => brightness(&mut picture, by),
            "contrast" => contrast(&mut picture, by),
            "saturation" => saturation(&mut picture, by),
            _ => blur(&mut picture, by),
        }
        assert_eq!(picture.rgb, bytes(&case["rgb"]), "{kind} by {by}");
    }
}

#[test]
fn switches_in_a_recipe() {
    let augment: Augment = toml::from_str("crop = false\nreference_quirks = true").expect("switches");
    assert_eq!(augment, Augment { crop: false, reference_quirks: true, ..Augment::default() });
    let error = toml::from_str::<Augment>("crops = false").expect_err("an unknown key");
    assert!(error.to_string().contains("unknown field `crops`"), "{error}");
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_zoomed_part_shows_the_whole_of_what_is_asked_or_says_that_it_is_not_there(
        (width, height, rect) in layouts(), seed in any::<u64>(), lost in any::<bool>(),
    ) {
        let example = scene(width, height, rect, "the bright thing");
        let augment = Augment { zoom: 3.0, lost: f64::from(u8::from(lost)), ..Augment::NONE };
        let (out, _) = apply(augment, &example, CANVAS, seed);
        let (w, h) = (out.sample.picture.width, out.sample.picture.height);
        let light = |at: usize| out.sample.picture.rgb[3 * at + 1] > DARK[1].midpoint(LIGHT[1]);
        let scale = w as f64 / width as f64;
        match out.sample.target {
            None => {
                prop_assert!(lost);
                let seen = (0..w * h).filter(|at| light(*at)).count() as f64;
                let [x0, y0, x1, y1] = rect;
                // The part is larger than the picture would be by a factor of up to three.
                prop_assert!(seen <= 0.15 * 9.5 * scale * scale * ((x1 - x0) * (y1 - y0)) as f64 + 2.0 * (w + h) as f64, "{seen}");
            }
            Some(target) => {
                let found = extent(w, w * h, light).expect("a rectangle");
                // Edges of regions are whole pixels, and so are those of the picture on its canvas.
                let limit = 0.5 + 1.5 * (1.0 + 3.0 * scale.max(h as f64 / height as f64));
                prop_assert!(near(&found, &target, limit), "{found:?}, box {target:?}, {w}x{h} of {width}x{height}");
            }
        }
    }
}

#[test]
fn what_was_there_before_photographs_is_what_it_was() {
    // Place, size, words and box of 200 changed examples each, as the first form of these changes gave them.
    for (augment, expected) in [
        (Augment::default(), 0xecec_2e28_dc46_3089),
        (Augment { blur: true, ..Augment::default() }, 0xe2a6_c26e_cc8a_d8e3),
        (Augment { zoom: 3.0, lost: 0.4, ..Augment::default() }, 0xf30e_06bf_5ee6_1a8d),
        (Augment { reference_quirks: true, ..Augment::default() }, 0x9262_c2f8_5779_0b7c),
    ] {
        let mut sum = 7u64;
        for seed in 0..200 {
            let (at, phrase) = (seed as usize, ["it", "the left one"][seed as usize % 2]);
            let example = scene(90 + at, 130, [10, 20, 60, 60 + at % 50], phrase);
            let (out, Letterboxed { transform: t, .. }) = apply(augment, &example, CANVAS, seed);
            let sizes = [t.left, t.top, t.resized.0, t.resized.1, out.sample.phrase.len()].map(|value| value as u64);
            for value in sizes.into_iter().chain(out.target().unwrap_or([9.0; 4]).map(f64::to_bits)) {
                sum = (sum ^ value).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!(sum, expected, "{augment:?}");
    }
}
