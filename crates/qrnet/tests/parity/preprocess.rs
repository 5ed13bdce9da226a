//! Preprocessing against the reference's validation transform, and the way back for any size and rotation.

use blocks::preprocess::{Letterboxer, MEAN, Rect, RgbView, Rotation, STD, Transform};
use proptest::prelude::*;
use qrnet::Canvas;

use crate::support::{config, path, tensors};

#[test]
fn pictures_masks_and_boxes_match_the_reference() {
    if !path("preproc.safetensors").exists() {
        println!("SKIPPED: {} is not there", path("preproc.safetensors").display());
        return;
    }
    let fixture = tensors("preproc.safetensors");
    let names: Vec<&str> = fixture.keys().filter_map(|key| key.strip_suffix(".src_u8_hwc")).collect();
    assert!(!names.is_empty(), "the fixture holds no picture");
    for name in names {
        let get = |part: &str| &fixture[&format!("{name}.{part}")];
        let source = get("src_u8_hwc");
        let (height, width, _) = source.dims3().expect("HWC");
        let rgb: Vec<u8> = source.flatten_all().and_then(|t| t.to_vec1()).expect("bytes");
        let (_, canvas_height, canvas_width) = get("image").dims3().expect("CHW");
        let canvas = Canvas { width: canvas_width, height: canvas_height };
        let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
        let ours = Letterboxer::default().letterbox(&view, canvas).expect("letterboxed");

        let golden: Vec<f32> = get("image").flatten_all().and_then(|t| t.to_vec1()).expect("values");
        let plane = canvas.width * canvas.height;
        for (i, (a, b)) in ours.pixels.iter().zip(&golden).enumerate() {
            let channel = i / plane;
            let level = |v: f32| v * STD[channel] + MEAN[channel];
            let difference = (level(*a) - level(*b)).abs() * 255.0;
            assert!(difference <= 1.0 + 1e-3, "{name}: value {i} differs by {difference} of 255");
        }
        let mask: Vec<u8> = get("mask").flatten_all().and_then(|t| t.to_vec1()).expect("flags");
        assert_eq!(ours.ignore_mask(), mask, "{name}: mask");

        let corners: Vec<f32> = get("src_box_xyxy").to_vec1().expect("a box");
        let [x0, y0, x1, y1] = [0, 1, 2, 3].map(|i| f64::from(corners[i]));
        let target = ours.transform.to_target(&Rect { x0, y0, x1, y1 });
        let golden: Vec<f32> = get("box_cxcywh").to_vec1().expect("a box");
        for (a, b) in target.iter().zip(&golden) {
            assert!((a - f64::from(*b)).abs() <= 1e-6, "{name}: box {target:?}, reference {golden:?}");
        }
    }
}

#[test]
fn padded_rows_give_the_same_picture() {
    let (width, height, stride) = (13, 9, 40);
    let rgb: Vec<u8> = (0..3 * width * height).map(|i| (i * 11 % 251) as u8).collect();
    let mut padded = vec![255; stride * height];
    for (row, packed) in padded.chunks_mut(stride).zip(rgb.chunks(3 * width)) {
        row[..3 * width].copy_from_slice(packed);
    }
    let canvas = config().canvas;
    let letterbox = |stride, data| {
        let view = RgbView::new(width, height, stride, data).expect("a picture");
        Letterboxer::default().letterbox(&view, canvas).expect("letterboxed").pixels
    };
    assert_eq!(letterbox(stride, &padded), letterbox(3 * width, &rgb));
}

/// `usual`, or as many as `PROPTEST_CASES` asks for.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn rotations() -> impl Strategy<Value = Rotation> {
    prop_oneof![Just(Rotation::None), Just(Rotation::Clockwise90), Just(Rotation::Half), Just(Rotation::Clockwise270)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), ..ProptestConfig::default() })]

    #[test]
    fn boxes_come_back_within_half_a_pixel(
        width in 8usize..=8192, height in 8usize..=8192, rotation in rotations(),
        canvas in (1usize..=10, 1usize..=10), crop in (0.0f64..0.5, 0.0f64..0.5),
        a in (0.0f64..1.0, 0.0f64..1.0), b in (0.0f64..1.0, 0.0f64..1.0),
    ) {
        let canvas = Canvas { width: 64 * canvas.0, height: 64 * canvas.1 };
        let upright = if rotation.degrees() % 180 == 0 { (width, height) } else { (height, width) };
        let corner = ((crop.0 * upright.0 as f64) as usize, (crop.1 * upright.1 as f64) as usize);
        let grounded = (upright.0 - corner.0, upright.1 - corner.1);
        let transform = Transform::letterbox(grounded.0, grounded.1, canvas).after((width, height), rotation, corner);
        let edge = |p: f64, q: f64, length: usize| (p.min(q) * length as f64, p.max(q) * length as f64);
        let ((x0, x1), (y0, y1)) = (edge(a.0, b.0, grounded.0), edge(a.1, b.1, grounded.1));
        let rect = Rect { x0, y0, x1, y1 };

        // The model's answer is f32 in 0..1 of the canvas.
        let target = transform.to_target(&rect).map(|v| f64::from(v as f32));
        let (cw, ch) = (canvas.width as f64, canvas.height as f64);
        let on_canvas = Rect {
            x0: (target[0] - target[2] / 2.0) * cw, y0: (target[1] - target[3] / 2.0) * ch,
            x1: (target[0] + target[2] / 2.0) * cw, y1: (target[1] + target[3] / 2.0) * ch,
        };
        let back = transform.from_canvas(&on_canvas);
        let source = transform.grounded_to_source(&rect);
        let again = transform.source_to_grounded(&source);
        for (found, expected) in [(back, rect), (again, rect)] {
            for (f, e) in [(found.x0, expected.x0), (found.y0, expected.y0), (found.x1, expected.x1), (found.y1, expected.y1)] {
                prop_assert!((f - e).abs() <= 0.5, "{f} for {e} by {transform:?}");
            }
        }
        // A box in the crop lies in the source, and the picture lies on the canvas.
        prop_assert!(source.x0 >= -1e-6 && source.x1 <= width as f64 + 1e-6);
        prop_assert!(source.y0 >= -1e-6 && source.y1 <= height as f64 + 1e-6);
        prop_assert!(transform.left + transform.resized.0 <= canvas.width);
        prop_assert!(transform.top + transform.resized.1 <= canvas.height);
        // One pixel is the most that rounding the resized side may shift the far edge.
        let far = transform.to_canvas(&Rect { x0: 0.0, y0: 0.0, x1: grounded.0 as f64, y1: grounded.1 as f64 });
        prop_assert!((far.width() - transform.resized.0 as f64).abs() < 1.0);
        prop_assert!((far.height() - transform.resized.1 as f64).abs() < 1.0);
    }

    #[test]
    fn rotated_pixels_land_where_the_transform_says(width in 1usize..24, height in 1usize..24, rotation in rotations(), at in (0.0f64..1.0, 0.0f64..1.0)) {
        let (x, y) = ((at.0 * width as f64) as usize, (at.1 * height as f64) as usize);
        let picture = image::GrayImage::from_fn(width as u32, height as u32, |px, py| image::Luma([u8::from((px as usize, py as usize) == (x, y))]));
        let rotated = match rotation {
            Rotation::None => picture,
            Rotation::Clockwise90 => image::imageops::rotate90(&picture),
            Rotation::Half => image::imageops::rotate180(&picture),
            Rotation::Clockwise270 => image::imageops::rotate270(&picture),
        };
        let size = (rotated.width() as usize, rotated.height() as usize);
        let transform = Transform::letterbox(size.0, size.1, Canvas { width: 64, height: 64 }).after((width, height), rotation, (0, 0));
        let (x, y) = (x as f64, y as f64);
        let rect = transform.source_to_grounded(&Rect { x0: x, y0: y, x1: x + 1.0, y1: y + 1.0 });
        prop_assert_eq!(rotated.get_pixel(rect.x0 as u32, rect.y0 as u32).0, [1]);
    }
}
