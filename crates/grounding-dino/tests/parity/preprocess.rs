//! Pictures go in as the library's image processor brings them in.

use blocks::preprocess::{Letterboxer, RgbView, STD};
use candle_core::Tensor;
use grounding_dino::Sizing;

use crate::support::{path, tensors, values};

#[test]
fn sizes_are_the_references() {
    let text = std::fs::read_to_string(path("preprocess/sizes.json")).expect("readable");
    let rows: Vec<[usize; 6]> = serde_json::from_str(&text).expect("rows");
    assert!(rows.len() > 900);
    for [height, width, shortest, longest, expected_height, expected_width] in rows {
        let found = Sizing { shortest, longest }.target(width, height);
        // The library gives sizes of 0 for the narrowest pictures, and fails on them.
        let expected = (expected_width.max(1), expected_height.max(1));
        assert_eq!(found, expected, "{width}x{height} to {shortest} and {longest}");
    }
}

/// `[3, h, w]` → rows of RGB.
fn rgb(picture: &Tensor) -> Vec<u8> {
    picture.permute((1, 2, 0)).and_then(|t| t.contiguous()?.flatten_all()?.to_vec1()).expect("bytes")
}

#[test]
fn pixels_are_the_references() {
    let golden = tensors("preprocess/pictures.safetensors");
    let sizing = Sizing { shortest: 36, longest: 60 };
    for number in 0..golden.len() / 2 {
        let (picture, expected) = (&golden[&format!("{number}.picture")], &golden[&format!("{number}.pixels")]);
        let (_, height, width) = picture.dims3().expect("a picture");
        let bytes = rgb(picture);
        let view = RgbView::new(width, height, 3 * width, &bytes).expect("a view");
        let placed = Letterboxer::default().place(&view, sizing.place(width, height), Vec::new()).expect("resized");
        let canvas = placed.transform.canvas;
        assert_eq!(expected.dims(), [3, canvas.height, canvas.width], "picture {number}");
        // Both round to bytes between columns and rows, not always to the same one: the library's own two resizers differ by
        // as much. On average nothing may be left.
        let (step, plane) = (1.0 / 255.0, canvas.width * canvas.height);
        let mut sum = 0.0;
        for (i, (ours, theirs)) in placed.pixels.iter().zip(values(expected)).enumerate() {
            let difference = (ours - theirs) * STD[i / plane];
            assert!(difference.abs() < 1.001 * step, "picture {number}, value {i}: {ours}, expected {theirs}");
            sum += difference;
        }
        let mean = sum / placed.pixels.len() as f32;
        assert!(mean.abs() < 0.05 * step, "picture {number}: {} steps of 255 on average", mean / step);
    }
}
