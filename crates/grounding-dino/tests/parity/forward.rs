//! Every tensor on the way, scores and boxes, as `transformers` computes them: one, two and five phrases, pictures with and
//! without padding.

use std::collections::{BTreeMap, BTreeSet};

use blocks::canvas::Grid;
use blocks::pass::Pass;
use candle_core::{Device, Tensor};
use grounding_dino::{FRAMING, Grounder, Text, is_delimiter};

use crate::support::{
    FEATURE_LIMIT, MODELS, OUTPUT_LIMIT, cases, difference, frame, load, on_canvas, path, sigmoid, tensors, values,
};

/// Scores closer than this are equal: which of two such proposals comes first is chance.
const EQUAL: f32 = 1e-6;

fn grid((h, w): (usize, usize)) -> Grid {
    Grid { h, w }
}

#[test]
fn sentences_become_the_same_pieces() {
    for model in MODELS {
        let grounder = load(model);
        for (case, asked) in cases(model) {
            let mut pieces = vec![FRAMING[0]];
            for phrase in &asked.phrases {
                let own = grounder.compiler().and_then(|compiler| compiler.pieces(phrase));
                pieces.extend(own.unwrap_or_else(|e| panic!("{model}, {case}: {e}")));
            }
            pieces.push(FRAMING[1]);
            assert_eq!(pieces, asked.ids, "{model}, {case}");
            // With a full stop, capitals and space around, nothing changes.
            let shouted = format!("  {}. ", asked.phrases[0].to_uppercase());
            let compiler = grounder.compiler().expect("a text half");
            assert_eq!(compiler.pieces(&shouted).ok(), compiler.pieces(&asked.phrases[0]).ok());
        }
    }
}

/// Queries of a case, compiled one by one, side by side.
fn text(grounder: &Grounder, phrases: &[String]) -> Text {
    let queries: Vec<_> = phrases.iter().map(|phrase| grounder.compile(phrase).expect("compiles")).collect();
    grounder.text_of(&queries.iter().collect::<Vec<_>>()).expect("a text")
}

#[test]
fn every_tensor_is_the_references() {
    for model in MODELS {
        let (grounder, frame) = (load(model), frame(model));
        let golden = tensors(&format!("{model}/golden.safetensors"));
        let mut compared = 0;
        for (case, asked) in cases(model) {
            let text = text(&grounder, &asked.phrases);
            assert_eq!(text.spans, asked.spans, "{model}, {case}");
            for (number, size) in asked.pictures.iter().enumerate() {
                let prefix = format!("{case}.{number}.");
                let own: BTreeMap<&str, &Tensor> =
                    golden.iter().filter_map(|(name, t)| name.strip_prefix(&prefix).map(|name| (name, t))).collect();
                let image = on_canvas(own["picture"], asked.canvas);
                let plan = frame.plan(grid(asked.canvas), grid(*size)).expect("a plan");
                let mut pass = Pass::eval().with_taps();
                let seen = frame.look(&image, &plan, &mut pass).expect("looks");
                frame.find(&seen, &text, &plan, &mut pass).expect("finds");
                let mut taps = pass.into_taps();
                let bert =
                    grounder.compiler().and_then(|compiler| Ok(compiler.model().features(&asked.ids, &Device::Cpu)?));
                taps.insert("bert".into(), bert.expect("features"));
                compared += compare(&format!("{model}, {prefix}"), &taps, &own);
            }
        }
        assert!(compared >= 35, "{model}: {compared} tensors compared");
    }
}

fn compare(name: &str, taps: &BTreeMap<String, Tensor>, golden: &BTreeMap<&str, &Tensor>) -> usize {
    let scores = values(golden["proposal_scores"]);
    same_choice(name, &taps["picked"], golden["picked"], &scores);
    let mut compared = 1;
    for (tap, expected) in golden {
        if ["picture", "picked"].contains(tap) {
            continue;
        }
        let ours = taps.get(*tap).unwrap_or_else(|| panic!("{name}{tap} was not computed"));
        let limit = if *tap == "boxes" { OUTPUT_LIMIT } else { FEATURE_LIMIT };
        let found = difference(ours, expected);
        assert!(found < limit, "{name}{tap} differs by {found}");
        compared += 1;
    }
    let ours: Vec<f32> = values(&taps["logits"]).into_iter().map(sigmoid).collect();
    let theirs = values(golden["logits"]).into_iter().map(sigmoid);
    let found = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found < OUTPUT_LIMIT, "{name}scores differ by {found}");
    compared
}

/// The same proposals in the same order, but among equals.
fn same_choice(name: &str, ours: &Tensor, theirs: &Tensor, scores: &[f32]) {
    let places = |t: &Tensor| values(t).into_iter().map(|place| place as usize).collect::<Vec<_>>();
    let (ours, theirs) = (places(ours), places(theirs));
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (a, b) in ours.iter().zip(&theirs) {
        assert!(a == b || (scores[*a] - scores[*b]).abs() < EQUAL, "{name}picked {ours:?}, expected {theirs:?}");
    }
    let different: BTreeSet<_> = ours.iter().collect();
    assert_eq!(different.len(), ours.len(), "{name}each token once");
}

#[test]
fn spans_are_the_words_alone() {
    for (model, (_, asked)) in MODELS.iter().flat_map(|model| cases(model).into_iter().map(move |case| (model, case))) {
        let delimiters = asked.ids.iter().filter(|piece| is_delimiter(**piece)).count();
        let words: usize = asked.spans.iter().map(Vec::len).sum();
        assert_eq!(words + delimiters, asked.ids.len(), "{model}");
    }
}

#[test]
fn all_weights_of_a_checkpoint_are_read() {
    for model in MODELS {
        let weights = grounding_dino::Weights::open(&path(model)).expect("weights");
        let config = grounding_dino::Config::from_json_file(&path(model).join("config.json")).expect("sizes");
        let parts = [grounding_dino::Part::Text, grounding_dino::Part::Frame];
        let asked: BTreeSet<String> = parts
            .iter()
            .flat_map(|part| grounding_dino::parameters(&config, *part).expect("a table"))
            .map(|spec| spec.name)
            .collect();
        let stored: BTreeSet<String> = weights.names().map(String::from).collect();
        // Scores of layers that are not the last belong to training, the backbone's last norm to classifying pictures.
        let idle = |name: &str| name.starts_with("class_embed.") || name.contains(".swin.layernorm.");
        let unread: Vec<&String> = stored.difference(&asked).filter(|name| !idle(name)).collect();
        assert!(unread.is_empty(), "{model}: {unread:?}");
        let lacking: Vec<&String> = asked.difference(&stored).collect();
        assert!(lacking.is_empty(), "{model}: {lacking:?}");
    }
}
