//! Several questions about one picture: changed once, as all of them allow.

use std::sync::Arc;

use blocks::canvas::Canvas;
use blocks::preprocess::{Letterboxer, Rect};
use proptest::prelude::*;
use qrnet_train::Result;
use qrnet_train::augment::{Augment, Augmented, Sample};
use qrnet_train::data::{DataSet, Example};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CANVAS, cases, layouts, scene};

fn apply(augment: Augment, first: &Example, others: &[Example], seed: u64) -> Augmented {
    let (mut rng, mut boxer) = (ChaCha8Rng::seed_from_u64(seed), Letterboxer::default());
    augment.apply_all(Sample::with_others(first, others), CANVAS, &mut rng, &mut boxer).expect("a changed example")
}

fn area([_, _, w, h]: [f64; 4]) -> f64 {
    w * h
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_cut_away_is_asked_no_more(
        (width, height, rect) in layouts(), x in 0.0f64..0.7, y in 0.0f64..0.7, seed in any::<u64>(), old in any::<bool>(),
    ) {
        let first = scene(width, height, rect, "the one");
        let (w, h) = (width as f64, height as f64);
        let corner = Rect { x0: x * w, y0: y * h, x1: (x + 0.3) * w, y1: (y + 0.3) * h };
        let second = Example { phrase: "the Other".into(), target: Some(corner), ..first.clone() };
        let third = Example { phrase: "the ghost".into(), target: None, ..first.clone() };
        let augment = if old {
            Augment { zoom: 3.0, flip: true, ..Augment::NONE }
        } else {
            Augment { resize: [0.7, 3.0], flip: true, ..Augment::NONE }
        };
        let out = apply(augment, &first, &[second, third], seed);
        let questions: Vec<_> = out.questions().collect();
        prop_assert_eq!(questions.len(), 3);
        prop_assert_eq!(questions[0], ("the one", out.target()));
        prop_assert_eq!(questions[2], ("the ghost", None));
        let (shown, size) = (area(questions[0].1.expect("whole")), (rect[2] - rect[0]) * (rect[3] - rect[1]));
        let scale = shown / size as f64;
        if questions[1].0 == "the other" {
            let whole = scale * 0.09 * w * h;
            let seen = area(questions[1].1.expect("seen"));
            prop_assert!(seen >= 0.799 * whole && seen <= 1.001 * whole, "{seen} of {whole}");
        } else {
            prop_assert_eq!(questions[1], questions[0]);
        }
    }
}

#[test]
fn some_are_cut_away_and_some_are_not() {
    let first = scene(120, 100, [5, 5, 40, 40], "the one");
    let far = Rect { x0: 80.0, y0: 60.0, x1: 115.0, y1: 95.0 };
    let second = Example { phrase: "the other".into(), target: Some(far), ..first.clone() };
    let augment = Augment { resize: [0.7, 3.0], ..Augment::NONE };
    let kept =
        (0..200).filter(|seed| apply(augment, &first, std::slice::from_ref(&second), *seed).sample.others[0].is_some());
    let kept = kept.count();
    assert!((40..160).contains(&kept), "{kept}");
}

#[test]
fn one_question_forbids_for_all() {
    let first = scene(120, 100, [30, 20, 70, 60], "the one");
    let of = |phrase: &str| Example { phrase: phrase.into(), ..first.clone() };
    let larger = Augment { resize: [2.0, 2.0], ..Augment::NONE };
    let size = |others: &[Example]| apply(larger, &first, others, 3).sample.picture.height;
    assert_eq!((size(&[of("a thing")]), size(&[of("a thing"), of("the left one")])), (128, 107));
    let grey = Augment { grey: 1.0, ..Augment::NONE };
    let coloured =
        |others: &[Example]| apply(grey, &first, others, 3).sample.picture.rgb.chunks(3).any(|p| p[0] != p[2]);
    assert!(!coloured(&[of("a thing")]) && coloured(&[of("a blue thing")]));
    // Every phrase follows the mirror.
    let flip = Augment { flip: true, ..Augment::NONE };
    let seed = (0..20).find(|seed| apply(flip, &of("left"), &[], *seed).sample.phrase == "right").expect("one mirrors");
    let others = [of("the Right one"), of("it")];
    let out = apply(flip, &of("left"), &others, seed);
    let phrases: Vec<&str> = out.questions().map(|(phrase, _)| phrase).collect();
    assert_eq!(phrases, ["right", "the left one", "it"]);
    let targets: Vec<_> = out.questions().map(|(_, target)| target).collect();
    assert!(targets.iter().all(|target| *target == targets[0]));
    // Alone it is what it was without others.
    let canvas = Canvas { width: 128, height: 128 };
    for seed in 0..20 {
        let (mut rng, mut boxer) = (ChaCha8Rng::seed_from_u64(seed), Letterboxer::default());
        let plain = Augment::default().apply(&first, canvas, &mut rng, &mut boxer).expect("changed");
        let grouped = apply(Augment::default(), &first, &[of("it")], seed);
        assert_eq!(plain.sample.picture.rgb, grouped.sample.picture.rgb);
    }
}

/// Asks anything of pictures that it draws anew every time.
struct Asker;

impl DataSet for Asker {
    fn len(&self) -> usize {
        1
    }

    fn example(&self, index: usize) -> Result<Example> {
        Ok(scene(40 + index, 40, [5, 5, 20, 20], "a thing"))
    }

    fn varied(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Example> {
        let number: u32 = rng.random_range(0..1000);
        // Every fourth changes its picture.
        Ok(Example {
            phrase: format!("thing {number}"),
            ..self.example(index + usize::from(number.is_multiple_of(4)))?
        })
    }
}

#[test]
fn a_group_is_as_many_variations_that_share_their_picture() {
    let stream = |seed| ChaCha8Rng::seed_from_u64(seed);
    let mut rngs: Vec<ChaCha8Rng> = (0..12).map(stream).collect();
    let group = Asker.varied_group(0, &mut rngs).expect("a group");
    let alone: Vec<String> =
        (0..12).map(|seed| Asker.varied(0, &mut stream(seed)).expect("an example").phrase).collect();
    assert_eq!(group.iter().map(|example| example.phrase.clone()).collect::<Vec<_>>(), alone);
    for example in &group {
        let shared = Arc::ptr_eq(&example.picture, &group[0].picture);
        assert_eq!(shared, example.picture.width == group[0].picture.width);
    }
}
