//! Phases that draw from several sources by shares, several questions about one picture, canvases by batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use blocks::canvas::Canvas;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::Device;
use proptest::prelude::*;
use qrnet::plan::CanvasPlan;
use qrnet_train::augment::Augment;
use qrnet_train::batch::{Collator, Prepared};
use qrnet_train::data::video::NoVideo;
use qrnet_train::data::{DataSet, Origin, Source};
use qrnet_train::feed::{Ahead, Feed, Mix};
use qrnet_train::recipe::{Phase, Recipe};
use qrnet_train::trainer::{Setup, Trainer};

use crate::support::{art, config, recipe, scenes};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_turn_has_one_source_and_shares_are_kept(
        shares in proptest::collection::vec(prop_oneof![4 => 0.01f64..10.0, 1 => Just(0.0)], 1..7),
        start in 0u64..1_000_000_000,
    ) {
        prop_assume!(shares.iter().sum::<f64>() > 0.0);
        let (mix, all, count) = (Mix::new(&shares), shares.iter().sum::<f64>(), shares.len());
        let first = mix.counts(start, count);
        prop_assert_eq!(first.iter().sum::<u64>(), start);
        let mut counts = first.clone();
        let mut off = vec![(0.0f64, 0.0f64); count];
        for position in start..start + 500 {
            let (source, turn) = mix.at(position);
            prop_assert_eq!(turn, counts[source], "turns of a source are 0, 1, 2, ..");
            counts[source] += 1;
            for (source, (least, most)) in off.iter_mut().enumerate() {
                let due = shares[source] / all * (position + 1 - start) as f64;
                let ahead = (counts[source] - first[source]) as f64 - due;
                (*least, *most) = (least.min(ahead), most.max(ahead));
            }
        }
        prop_assert_eq!(&counts, &mix.counts(start + 500, count));
        // The difference of two windows that begin at `start` is any window.
        for (source, (least, most)) in off.into_iter().enumerate() {
            // Every split of the row rounds by half a turn, and hands part of that on to the next.
            prop_assert!(most - least < 4.0, "source {source} of {shares:?} is {least} to {most} off");
            prop_assert!(shares[source] > 0.0 || counts[source] == 0);
        }
    }
}

/// `count` drawn scenes as files, in a list called `name`.
fn list(folder: &Path, name: &str, count: usize) -> Source {
    let settings = recipe().phase[0].scenes.clone().expect("scenes");
    let mut lines = String::new();
    for (i, example) in scenes(&settings, 3, count).examples(0..count).expect("examples").into_iter().enumerate() {
        let (picture, file) = (&example.picture, format!("{name}-{i}.png"));
        let (width, height) = (picture.width as u32, picture.height as u32);
        image::save_buffer(folder.join(&file), &picture.rgb, width, height, image::ExtendedColorType::Rgb8)
            .expect("saved");
        let target =
            example.target.map(|r| serde_json::json!({ "x": r.x0, "y": r.y0, "w": r.width(), "h": r.height() }));
        let (phrase, source) = (&example.phrase, format!("{name} {i}"));
        let line = serde_json::json!({ "image": file, "phrase": phrase, "box": target, "source": source });
        writeln!(lines, "{line}").expect("written");
    }
    let file = folder.join(format!("{name}.jsonl"));
    std::fs::write(&file, lines).expect("written");
    Source::Jsonl { name: Some(name.into()), file }
}

/// Scenes and two lists, of 7 and 11 examples, in one phase.
fn mixed(folder: &Path) -> Recipe {
    let mut recipe = recipe();
    (recipe.steps, recipe.batch) = (40, 6);
    recipe.augment = Some(Augment { resize: [0.7, 1.5], noise: 0.5, ..Augment::default() });
    recipe.phase[0].lists = vec![list(folder, "few", 7), list(folder, "more", 11)];
    recipe.phase[0].shares = shares(&[("few", 1.0), ("more", 3.0), ("scenes", 0.7)]);
    recipe
}

fn shares(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
    of.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
}

fn feed(recipe: &Recipe) -> Feed {
    let text = toml::to_string(recipe).expect("text");
    let recipe = Recipe::from_toml(&text, "recipe").unwrap_or_else(|e| panic!("{e}\n{text}"));
    Feed::new(&recipe, Origin { base: Path::new(""), video: &NoVideo, dense: true }, &art()).expect("opens")
}

/// Where the examples come from, as `few 3`; `shapes` for drawn scenes.
fn sources(feed: &Feed, positions: std::ops::Range<u64>) -> Vec<String> {
    positions.map(|position| feed.example(position).expect("an example").source.to_string()).collect()
}

fn of<'a>(sources: &'a [String], name: &str) -> Vec<&'a str> {
    sources.iter().map(String::as_str).filter(|source| source.starts_with(name)).collect()
}

#[test]
fn each_source_goes_through_its_own_epochs() {
    let folder = tempfile::tempdir().expect("a folder");
    let feed = feed(&mixed(folder.path()));
    let found = sources(&feed, 0..240);
    for (name, length, share) in [("few", 7, 1.0), ("more", 11, 3.0)] {
        let own = of(&found, name);
        let due = 240.0 * share / 4.7;
        assert!((own.len() as f64 - due).abs() < 2.0, "{} of {name}, expected {due}", own.len());
        let epochs: Vec<&[&str]> = own.chunks_exact(length).collect();
        for epoch in &epochs {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), length, "each once: {epoch:?}");
        }
        assert!(epochs.iter().any(|epoch| epoch != &epochs[0]), "in another order");
    }
    assert_eq!(of(&found, "shapes").len(), 240 - of(&found, "few").len() - of(&found, "more").len());
    // No scene comes twice, and a part of the run is the same when it is asked for alone.
    let phrases: Vec<_> = (0..240)
        .map(|position| feed.example(position).expect("an example"))
        .filter(|example| example.source.starts_with("shapes"))
        .map(|example| example.picture.rgb.clone())
        .collect();
    assert_eq!(phrases.iter().collect::<BTreeSet<_>>().len(), phrases.len());
    assert_eq!(sources(&self::feed(&mixed(folder.path())), 100..130), found[100..130]);
}

#[test]
fn without_shares_lists_are_one_in_the_order_of_always() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    (recipe.phase[0].scenes, recipe.phase[0].shares) = (None, BTreeMap::new());
    let found = sources(&feed(&recipe), 0..36);
    let first: BTreeSet<&String> = found[..18].iter().collect();
    assert_eq!((first.len(), first), (18, found[18..].iter().collect()), "both epochs hold all");
    assert_eq!(found[..6], ["more 8", "more 6", "few 4", "more 9", "few 2", "more 1"]);
}

#[test]
fn a_later_phase_mixes_anew_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    // 240 examples in batches of 6: the second phase begins at 102, the third at 180.
    recipe.phase[0].until = 0.42;
    let anew = shares(&[("few", 1.0), ("more", 1.0), ("scenes", 0.0)]);
    recipe.phase.push(Phase { until: 0.75, shares: anew, ..Phase::default() });
    recipe.phase.push(Phase { until: 1.0, augment: Some(Augment::NONE), ..Phase::default() });
    let found = sources(&feed(&recipe), 0..240);
    let counts =
        |range: std::ops::Range<usize>| ["few", "more", "shapes"].map(|name| of(&found[range.clone()], name).len());
    assert_eq!((counts(102..180), counts(180..240)), ([39, 39, 0], [30, 30, 0]));
    for (name, length) in [("few", 7), ("more", 11)] {
        for epoch in of(&found, name).chunks_exact(length) {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), length, "each once: {epoch:?}");
        }
    }
}

/// Plans for a recipe's canvases, and words.
fn tools(recipe: &Recipe) -> (Vec<CanvasPlan>, QueryTokenizer) {
    let config = config();
    let setup = Setup::new(recipe.clone(), config.clone(), Path::new("")).expect("a setup");
    let own = [[config.canvas.width, config.canvas.height]];
    let canvases = if recipe.canvases.is_empty() { &own[..] } else { &recipe.canvases };
    let plan = |[width, height]: &[usize; 2]| {
        CanvasPlan::new(&config, Canvas { width: *width, height: *height }, &Device::Cpu).expect("a plan")
    };
    (canvases.iter().map(plan).collect(), setup.tokenizer)
}

/// All that is the same in two equal batches.
fn left(batch: &Prepared) -> String {
    let bits: Vec<u32> = batch.pictures.iter().flat_map(|p| &p.pixels).map(|v| v.to_bits()).collect();
    let sum = bits.iter().fold(7u64, |sum, bits| sum.wrapping_mul(31).wrapping_add(u64::from(*bits)));
    format!("{} {sum} {:?} {:?} {:?}", batch.canvas, batch.ids, batch.targets, batch.phrases)
}

#[test]
fn batches_are_the_same_wherever_a_run_begins_and_whoever_prepares_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    recipe.phase[0].questions = Some(2);
    recipe.canvases = vec![[64, 64], [128, 64], [64, 192]];
    let (plans, tokenizer) = tools(&recipe);
    let take = |batches: std::ops::Range<u64>, threads| -> Vec<String> {
        let feed = feed(&recipe);
        std::thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, &feed, (&plans, &tokenizer), batches.clone(), threads);
            batches.map(|_| left(&ahead.take().expect("a batch").0)).collect()
        })
    };
    let whole = take(0..24, 1);
    assert_eq!(take(9..24, 3), whole[9..]);
    assert_eq!(take(23..24, 2), whole[23..]);
    let canvases: BTreeSet<&str> = whole.iter().filter_map(|batch| batch.split(' ').next()).collect();
    assert_eq!(canvases.into_iter().collect::<Vec<_>>(), ["128x64", "64x192", "64x64"]);
}

#[test]
fn questions_about_one_picture_share_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    recipe.phase[0].questions = Some(3);
    let (plans, tokenizer) = tools(&recipe);
    let feed = feed(&recipe);
    let found = sources(&feed, 0..240);
    for (group, position) in found.chunks(3).zip((0..240).step_by(3)) {
        let scenes = group[0].starts_with("shapes");
        assert!(scenes || group.iter().all(|source| *source == group[0]), "{group:?} at {position}");
        assert_eq!(scenes, group.iter().any(|source| source.starts_with("shapes")), "{group:?}");
    }
    // Every picture of a list once an epoch.
    let few: Vec<&str> = of(&found, "few").into_iter().step_by(3).collect();
    assert_eq!(few[..7].iter().collect::<BTreeSet<_>>().len(), 7);
    let mut collator = Collator::with_plans(&plans, &tokenizer).expect("plans");
    for number in 0..20 {
        let batch = feed.prepare(number, &mut collator).expect("a batch");
        assert_eq!(batch.len(), 6);
        for (i, pair) in batch.pictures.windows(2).enumerate() {
            let position = number as usize * 6 + i;
            if !found[position].starts_with("shapes") {
                let same = pair[0].pixels == pair[1].pixels && pair[0].transform == pair[1].transform;
                assert_eq!(same, position % 3 < 2, "position {position}");
            }
        }
    }
}

#[test]
fn a_canvas_without_a_plan_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    let (plans, tokenizer) = tools(&recipe);
    recipe.canvases = vec![[128, 64]];
    let feed = feed(&recipe);
    assert_eq!(feed.canvas(3), Some(Canvas { width: 128, height: 64 }));
    let mut collator = Collator::with_plans(&plans, &tokenizer).expect("plans");
    let error = feed.prepare(0, &mut collator).expect_err("is refused").to_string();
    assert_eq!(error, "no plan for canvas 128x64, expected one of 64x64");
    let error = Collator::with_plans(&[], &tokenizer).err().expect("is refused").to_string();
    assert_eq!(error, "batches for no canvas, expected one");
    recipe.canvases = Vec::new();
    assert_eq!(self::feed(&recipe).canvas(3), None);
}

#[test]
fn canvases_that_the_model_is_not_for_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recipe = mixed(folder.path());
    recipe.canvases = vec![[64, 64], [128, 64]];
    let setup = Setup::new(recipe, config(), Path::new("")).expect("a setup");
    let error = Trainer::new(setup, &Device::Cpu).err().expect("is refused").to_string();
    assert_eq!(error, "`canvases` holds 128x64, expected canvases that the model is for: 64x64");
}

#[test]
fn shares_that_mix_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = mixed(folder.path());
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = good.clone();
        change(&mut recipe);
        let text = toml::to_string(&recipe).expect("text");
        Recipe::from_toml(&text, "mine.toml").expect_err("is refused").to_string()
    };
    let with = |of: &[(&str, f64)]| {
        let shares = shares(of);
        refused(&move |recipe| recipe.phase[0].shares.clone_from(&shares))
    };
    let expected = "expected names of what the phase draws from: `few`, `more`, `scenes`";
    let found = with(&[("few", 1.0), ("more", 1.0), ("scenes", 1.0), ("fewer", 1.0)]);
    assert_eq!(found, format!("mine.toml: `phase.shares` is \"fewer\", {expected}"));
    let found = with(&[("few", 1.0), ("scenes", 1.0)]);
    assert_eq!(
        found,
        "mine.toml: `phase.shares` is {\"few\": 1.0, \"scenes\": 1.0}, expected a share of `more` too; 0 leaves it out"
    );
    let found = with(&[("few", -1.0), ("more", 1.0), ("scenes", 1.0)]);
    assert_eq!(found, "mine.toml: `phase.shares.few` is -1.0, expected a number from 0 to 1e9");
    let found = with(&[("few", f64::NAN), ("more", 1.0), ("scenes", 1.0)]);
    assert_eq!(found, "mine.toml: `phase.shares.few` is NaN, expected a number from 0 to 1e9");
    let found = with(&[("few", 0.0), ("more", 0.0), ("scenes", 0.0)]);
    assert_eq!(
        found,
        "mine.toml: `phase.shares` is {\"few\": 0.0, \"more\": 0.0, \"scenes\": 0.0}, expected at least one above 0"
    );
    let found = with(&[]);
    assert!(found.ends_with("expected either `scenes` or `lists`, or both with `shares`"), "{found}");
    let found = refused(&|recipe| recipe.phase[0].examples = Some(3));
    assert_eq!(found, "mine.toml: `phase.examples` is Some(3), expected none where `shares` mix sources");
    let found = refused(&|recipe| recipe.phase[0].questions = Some(4));
    assert_eq!(found, "mine.toml: `phase.questions` is 4, expected a divisor of `batch`, which is 6");
    let found = refused(&|recipe| recipe.canvases = vec![[64, 64], [320, 190]]);
    assert_eq!(found, "mine.toml: `canvases` is [320, 190], expected width and height, multiples of 64 up to 4096");
    let found = refused(&|recipe| {
        let Source::Jsonl { name, .. } = &mut recipe.phase[0].lists[0] else { panic!("a list") };
        *name = Some("scenes".into());
    });
    assert_eq!(
        found,
        "mine.toml: `phase.lists.name` is \"scenes\", expected another name: `shares` calls drawn scenes so"
    );
    let augment = |augment: Augment| refused(&move |recipe| recipe.augment = Some(augment));
    for (changed, message) in [
        (
            Augment { resize: [1.6, 0.6], ..Augment::NONE },
            "`augment.resize` is [1.6, 0.6], expected least and most, 0.1 to 16",
        ),
        (
            Augment { resize: [0.6, 1.6], zoom: 2.0, ..Augment::NONE },
            "`augment.zoom` is 2.0, expected 1, or no `resize`, which takes its place",
        ),
        (Augment { stretch: 0.7, ..Augment::NONE }, "`augment.stretch` is 0.7, expected 0 to 0.5"),
        (
            Augment { hue: -3.0, ..Augment::NONE },
            "`augment.hue, gamma` is (-3.0, 0.0), expected 0 to 180 degrees, 0 to 4",
        ),
        (
            Augment { jpeg: 2.0, ..Augment::NONE },
            "`augment.grey, soften, noise, jpeg` is [0.0, 0.0, 0.0, 2.0], expected 0 to 1 each",
        ),
    ] {
        assert_eq!(augment(changed), format!("mine.toml: {message}"));
    }
}
