//! Every loss term reaches the parts that it should teach, and no training-only head ships.

use std::collections::BTreeSet;
use std::path::Path;

use blocks::checkpoint::TensorFile;
use candle_core::{DType, Device};
use qrnet::{Config, ModelDir, NewModel, params};
use qrnet_train::objective::{Term, Weights};
use qrnet_train::recipe::Recipe;

use crate::support::{batch, config, recipe, run, trainer, values};

/// The weights with one term alone.
fn only(term: Term) -> Weights {
    let mut weights = Weights::NONE;
    *weights.of_mut(term) = 1.0;
    weights
}

/// Parts of the model by the start of their tensors' names, and of the training-only heads.
const PARTS: [(&str, &str); 17] = [
    ("text tower", "textmodel."),
    ("backbone generators", "visumodel.backbone.*qdatt"),
    ("backbone", "visumodel.backbone."),
    ("laterals", "visumodel.neck.lateral_convs."),
    ("neck generators", "visumodel.neck.fpn_down"),
    ("text projection", "text_proj."),
    ("visual projection", "visu_proj."),
    ("reg token", "reg_token."),
    ("positions", "vl_pos_embed."),
    ("scales", "scale_embed."),
    ("encoder", "vl_transformer."),
    ("box head", "bbox_embed."),
    ("presence head", "presence"),
    ("token heat head", "auxiliary.token_heat"),
    ("neck heat head", "auxiliary.neck"),
    ("class heads", "auxiliary.class"),
    ("colour heads", "auxiliary.colour"),
];

fn part(name: &str) -> &'static str {
    let matches = |pattern: &str| match pattern.split_once('*') {
        Some((start, inner)) => name.starts_with(start) && name.contains(inner),
        None => name.starts_with(pattern),
    };
    PARTS.iter().find(|(_, pattern)| matches(pattern)).unwrap_or_else(|| panic!("{name} is of no part")).0
}

/// The parts in which a term alone moves something. One step of everything comes first: fresh generators pass on
/// nothing, since their factors V start at 0.
fn reached(term: Term, recipe: &Recipe, config: &Config) -> BTreeSet<&'static str> {
    let out = tempfile::tempdir().expect("a folder");
    let (warm, _) = run(recipe, config, out.path(), Some(1)).expect("runs");
    let mut recipe = recipe.clone();
    recipe.loss = only(term);
    let mut alone = trainer(&recipe, config);
    for (name, var) in alone.variables() {
        var.set(warm.variables()[name].as_tensor()).expect("set");
    }
    let losses = alone.losses(&batch(&recipe, config, 8), 0).expect("a loss");
    let total: f32 = losses.total.to_scalar().expect("a number");
    assert!(
        total > 0.0 && (f64::from(total) - losses.terms[term as usize]).abs() < 1e-5,
        "{term:?}: {:?}",
        losses.terms
    );
    for (other, value) in Term::ALL.into_iter().zip(losses.terms) {
        let reported = other == term || matches!(other, Term::L1 | Term::Giou);
        assert_eq!(value.is_nan(), !reported, "{other:?} while {term:?} is on: {value}");
    }
    let grads = losses.total.backward().expect("backward");
    let moved = alone
        .variables()
        .iter()
        .filter(|(_, var)| grads.get(var).is_some_and(|gradient| values(gradient).iter().any(|g| *g != 0.0)));
    moved.map(|(name, _)| part(name)).collect()
}

#[test]
fn every_term_reaches_its_parts_and_no_other() {
    let (config, recipe) = (config(), recipe());
    let names = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    // Up to the neck's laterals, before the neck's gates: what text does there is the backbone's gates.
    let sight = names(&["text tower", "backbone generators", "backbone", "laterals"]);
    let gated = &sight | &names(&["neck generators"]);
    let fused =
        &gated | &names(&["text projection", "visual projection", "reg token", "positions", "scales", "encoder"]);
    let boxed = &fused | &names(&["box head"]);
    for (term, expected) in [
        (Term::L1, boxed.clone()),
        (Term::Giou, boxed.clone()),
        (Term::TokenBox, boxed),
        (Term::Presence, &fused | &names(&["presence head"])),
        (Term::TokenHeat, &fused | &names(&["token heat head"])),
        (Term::Attention, fused),
        (Term::NeckHeat, &gated | &names(&["neck heat head"])),
        (Term::Class, &sight | &names(&["class heads"])),
        (Term::Colour, &sight | &names(&["colour heads"])),
    ] {
        assert_eq!(reached(term, &recipe, &config), expected, "{term:?}");
    }
}

#[test]
fn absent_objects_teach_presence_and_heat_but_no_box() {
    let (mut config, mut recipe) = (config(), recipe());
    recipe.phase[0].scenes.as_mut().expect("scenes").absent = 1.0;
    let batch = batch(&recipe, &config, 4);
    assert!(batch.targets.iter().all(Option::is_none));
    let losses = trainer(&recipe, &config).losses(&batch, 0).expect("losses");
    let is_there: Vec<bool> = losses.terms.iter().map(|term| term.is_finite()).collect();
    // l1, giou, presence, token_heat, neck_heat, token_box, attention, class, colour
    assert_eq!(is_there, [false, false, true, true, true, false, true, true, true]);
    assert!(losses.terms[Term::Attention as usize].abs() < 1e-12, "no attention is wanted anywhere");
    // With the reference's loss alone there is nothing to learn, and still a step that can be made.
    recipe.loss = Weights::default();
    config.presence = false;
    let out = tempfile::tempdir().expect("a folder");
    let total: f32 =
        trainer(&recipe, &config).losses(&batch, 0).and_then(|l| Ok(l.total.to_scalar()?)).expect("a loss");
    assert!(total.abs() < 1e-12);
    run(&recipe, &config, out.path(), Some(1)).expect("runs");
}

#[test]
fn heads_of_training_alone_never_ship() {
    let (config, mut recipe) = (config(), recipe());
    recipe.ema = 0.5;
    let out = tempfile::tempdir().expect("a folder");
    let (trainer, _) = run(&recipe, &config, out.path(), Some(2)).expect("runs");
    let auxiliary = |name: &String| name.starts_with("auxiliary.");
    assert_eq!(trainer.variables().keys().filter(|name| auxiliary(name)).count(), 2 + 2 + 1 + 3 * 2 + 3 * 2);
    let weights = trainer.weights();
    assert!(!weights.keys().any(auxiliary));
    let model = NewModel {
        config: &config,
        tensors: &weights,
        dtype: DType::F32,
        tokenizer: &trainer.setup().tokenizer,
        card: "",
        trained: true,
    };
    let dir = ModelDir::write(&out.path().join("model"), &model, false).expect("written");
    let file = TensorFile::open(&dir.weights()).expect("opens");
    let mut expected: Vec<String> =
        params::table(&config).into_iter().filter(|spec| spec.kind.is_read()).map(|spec| spec.name).collect();
    expected.sort();
    assert_eq!(file.names(), expected);
    for spec in params::parameters(&config) {
        assert_eq!(file.shape(&spec.name), Some(spec.shape), "{}", spec.name);
    }
    // What ships is the averaged weights, not those of the last step.
    let name = "bbox_embed.layers.0.weight";
    let stored = values(&file.load(name, &Device::Cpu).expect("read"));
    let averaged = trainer.checkpoint().tensors[&format!("ema.{name}")].clone();
    assert_eq!(stored, values(&averaged));
    assert_ne!(stored, values(trainer.variables()[name].as_tensor()));
    qrnet::Grounder::load(Path::new(dir.path()), &Device::Cpu)
        .and_then(|g| g.compile("the red circle"))
        .expect("grounds");
}
