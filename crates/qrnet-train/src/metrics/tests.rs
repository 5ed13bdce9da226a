//! Against naive versions on random outcomes, and by hand at the edges.

use proptest::prelude::*;

use super::*;

fn outcome(source: &str, kind: &str, present: bool, iou: Option<f32>, presence: Option<f32>) -> Outcome {
    let here = Some(presence.is_none_or(|presence| presence >= 0.5));
    Outcome { source: source.into(), kind: kind.into(), thing: None, present, iou, presence, here, film: None }
}

/// Over all pairs: the area and `DeLong`'s error.
fn naive_auroc(scored: &[(f32, bool)]) -> Option<(f64, Option<f64>)> {
    let side = |present| scored.iter().filter(move |(_, p)| *p == present).map(|(s, _)| *s).collect::<Vec<f32>>();
    let (positive, negative) = (side(true), side(false));
    let (m, n) = (positive.len() as f64, negative.len() as f64);
    let wins = |p: f32, q: f32| match p.partial_cmp(&q).expect("numbers") {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let rows: Vec<f64> = positive.iter().map(|&p| negative.iter().map(|&q| wins(p, q)).sum::<f64>() / n).collect();
    let columns: Vec<f64> = negative.iter().map(|&q| positive.iter().map(|&p| wins(p, q)).sum::<f64>() / m).collect();
    let area = rows.iter().sum::<f64>() / m;
    let spread = |values: &[f64]| values.iter().map(|v| (v - area).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0);
    let error = (m > 1.0 && n > 1.0).then(|| (spread(&rows) / m + spread(&columns) / n).sqrt());
    Some((area, error))
}

/// Bin by bin, each over all examples.
fn naive_calibration(scored: &[(f32, bool)]) -> f64 {
    let bins = CALIBRATION_BINS as f64;
    (0..CALIBRATION_BINS)
        .map(|bin| {
            let (low, high) = (bin as f64 / bins, (bin + 1) as f64 / bins);
            let inside = |p: f64| p >= low && (p < high || bin + 1 == CALIBRATION_BINS);
            let members: Vec<_> = scored.iter().filter(|(p, _)| inside(f64::from(*p))).collect();
            if members.is_empty() {
                return 0.0;
            }
            let count = members.len() as f64;
            let mean = members.iter().map(|(p, _)| f64::from(*p)).sum::<f64>() / count;
            let share = members.iter().filter(|(_, present)| *present).count() as f64 / count;
            count / scored.len() as f64 * (mean - share).abs()
        })
        .sum()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Few values, so that ties are the rule, mixed with arbitrary ones; exact borders of bins are left to a test by hand.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![(0u8..=7).prop_map(|i| f32::from(i) / 7.0), 0.0f32..=1.0]
}

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    let iou = prop::option::weighted(0.9, 0.0f32..=1.0);
    let one =
        (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["name", "relation"]), any::<bool>(), iou);
    let one = (one, prop::option::weighted(0.9, score()));
    prop::collection::vec(one, 0..60).prop_map(|all| {
        all.into_iter().map(|((s, k, present, iou), presence)| outcome(s, k, present, iou, presence)).collect()
    })
}

proptest! {
    #[test]
    fn ranking_equals_all_pairs(scored in prop::collection::vec((score(), any::<bool>()), 0..80)) {
        match (auroc(&scored), naive_auroc(&scored)) {
            (None, None) => {}
            (Some(found), Some((area, error))) => {
                prop_assert!(near(found.value, area), "{found:?}, naive {area}");
                prop_assert_eq!(found.error.is_some(), error.is_some());
                if let (Some(found), Some(error)) = (found.error, error) {
                    prop_assert!((found - error).abs() < 1e-7, "{found}, naive {error}");
                }
            }
            (found, naive) => prop_assert!(false, "{found:?}, naive {naive:?}"),
        }
    }

    #[test]
    fn ranking_ignores_scale_and_flips_with_sides(scored in prop::collection::vec((score(), any::<bool>()), 1..60)) {
        let value = |scored: &[(f32, bool)]| auroc(scored).map(|estimate| estimate.value);
        let scaled: Vec<_> = scored.iter().map(|(s, p)| (4.0 * s, *p)).collect();
        let flipped: Vec<_> = scored.iter().map(|(s, p)| (*s, !p)).collect();
        if let Some(area) = value(&scored) {
            prop_assert!(near(value(&scaled).expect("both sides"), area));
            prop_assert!(near(value(&flipped).expect("both sides"), 1.0 - area));
        }
    }

    #[test]
    fn calibration_equals_bin_by_bin(scored in prop::collection::vec((0.0f32..=1.0, any::<bool>()), 1..80)) {
        let found = calibration_error(&scored).expect("examples");
        prop_assert!(near(found, naive_calibration(&scored)) && (0.0..=1.0).contains(&found), "{found}");
    }

    #[test]
    fn groups_are_figures_of_their_members(all in outcomes()) {
        let mut tally = Tally::default();
        tally.extend(all.clone());
        let summary = tally.summary();
        for (group, key) in [(&summary.by_source, 0), (&summary.by_kind, 1)] {
            prop_assert_eq!(group.values().map(|figures| figures.examples).sum::<usize>(), all.len());
            for (name, figures) in group {
                let member = |o: &&Outcome| [&o.source, &o.kind][key].as_ref() == name.as_str();
                let mut alone = Tally::default();
                alone.extend(all.iter().filter(member).cloned());
                prop_assert_eq!(&alone.summary().all, figures);
            }
        }
        let present: Vec<f64> =
            all.iter().filter(|o| o.present).map(|o| f64::from(o.iou.unwrap_or(0.0))).collect();
        prop_assert_eq!(summary.all.present, present.len());
        prop_assert_eq!(summary.all.mean_iou.is_some(), !present.is_empty());
        for accuracy in &summary.all.accuracy {
            let right = present.iter().filter(|iou| **iou >= f64::from(accuracy.iou)).count() as f64;
            prop_assert!(near(accuracy.share.value, right / present.len() as f64));
        }
        let json = serde_json::to_string(&summary).expect("serialises");
        let back: Summary = serde_json::from_str(&json).expect("deserialises");
        prop_assert_eq!(back.all.examples, summary.all.examples);
        // JSON numbers are read back to the last digit but one.
        let values = |summary: &Summary| summary.all.scalars().into_iter().map(|(_, v)| v).collect::<Vec<_>>();
        prop_assert!(values(&back).iter().zip(values(&summary)).all(|(a, b)| near(*a, b)));
    }
}

#[test]
fn all_present_or_all_absent_have_no_ranking() {
    for present in [true, false] {
        let mut tally = Tally::default();
        for i in 0..4u8 {
            tally.push(outcome("s", "k", present, present.then_some(0.6), Some(f32::from(i) / 4.0)));
        }
        let figures = tally.summary().all;
        assert_eq!((figures.auroc, figures.examples), (None, 4));
        assert_eq!(figures.mean_iou.is_some(), present);
        assert_eq!(figures.accuracy.len(), if present { IOU_THRESHOLDS.len() } else { 0 });
        assert!(figures.calibration_error.is_some());
    }
}

#[test]
fn nothing_at_all_is_a_table_too() {
    let summary = Tally::default().summary();
    assert!(summary.all.accuracy.is_empty() && summary.all.scalars().is_empty() && summary.by_kind.is_empty());
    assert_eq!(summary.to_string().lines().count(), 2);
}

#[test]
fn borders_count_upwards_and_damage_counts_as_missed() {
    let mut tally = Tally::default();
    tally.push(outcome("s", "k", true, Some(0.5), Some(f32::NAN)));
    tally.push(outcome("s", "k", true, Some(f32::NAN), None));
    tally.push(outcome("s", "k", true, None, None));
    tally.push(outcome("s", "k", true, Some(0.499_999_97), None));
    let figures = tally.summary().all;
    assert!(near(figures.accuracy_at(0.5).expect("present").value, 0.25), "0.5 is right, below is not");
    assert_eq!((figures.calibration_error, figures.auroc, figures.accuracy_at(0.6)), (None, None, None));
    // 0.2 = 3/15 in f32 lies just above the border: both are in one bin, whose surplus cancels.
    let error = calibration_error(&[(0.2, false), (0.2, true)]).expect("examples");
    assert!((error - 0.3).abs() < 1e-6, "{error}");
    assert_eq!(calibration_error(&[(1.0, true), (0.0, false)]), Some(0.0));
    assert_eq!(calibration_error(&[(1.0, false), (0.0, true)]), Some(1.0));
}

#[test]
fn errors_by_hand() {
    let mut tally = Tally::default();
    for iou in [0.2, 0.6, 0.8, 1.0] {
        tally.push(outcome("pictures", "name", true, Some(iou), Some(0.9)));
    }
    tally.push(outcome("pictures", "relation", false, None, Some(0.1)));
    let figures = tally.summary().all;
    let accuracy = figures.accuracy_at(0.5).expect("present");
    assert!(near(accuracy.value, 0.75) && near(accuracy.error.expect("error"), (0.75f64 * 0.25 / 4.0).sqrt()));
    let mean = figures.mean_iou.expect("present");
    assert!((mean.value - 0.65).abs() < 1e-6);
    assert!((mean.error.expect("error") - (0.35f64 / 3.0 / 4.0).sqrt()).abs() < 1e-6, "{mean:?}");
    assert_eq!(figures.auroc, Some(Estimate { value: 1.0, error: None }), "one absent example has no spread");
    let names: Vec<String> = figures.scalars().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["acc50", "acc30", "acc70", "acc90", "miou", "right", "auroc", "ece"]);
    assert!(near(figures.right.expect("it can deny").value, 0.8), "three found, one rightly denied, of five");
    let table = tally.summary().to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].contains("acc@0.5") && lines[1].starts_with("all ") && lines[1].contains("0.750 ± 0.217"));
    assert!(lines[4].starts_with("kind relation") && lines[4].contains('-'), "{table}");
    println!("{table}");
}
