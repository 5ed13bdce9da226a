//! A frozen text tower: the same features as the trainable one, no gradient, features that can be kept.

use std::collections::{BTreeMap, HashMap};

use blocks::checkpoint::Tensors;
use blocks::pass::Pass;
use blocks::text::pretrained;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use qrnet::params::{Kind, parameters, table, trainable};
use qrnet::weights::Sources;
use qrnet::{Config, Grounder, ModelDir, NewModel, QueryModel, QueryTensors, weights};

use crate::support::{config, difference, path};

const TEXT: &str = "textmodel.";

fn frozen_config() -> Config {
    let mut config = config();
    config.bert.frozen = true;
    config
}

/// The reference's tiny weights, with factors V that make the text felt.
fn tensors(config: &Config) -> Tensors {
    weights::load(&path("tiny.safetensors"), config, &Device::Cpu).expect("weights load").0
}

fn phrases(config: &Config) -> (Tensor, Tensor) {
    let last = config.bert.vocab_size as u32 - 1;
    let ids = Tensor::new(&[[2u32, 7, 11, 13, 3, 0, 0], [2, 5, last, 4, 9, 8, 3]], &Device::Cpu).expect("ids");
    let ignore = Tensor::new(&[[0u8, 0, 0, 0, 0, 1, 1], [0; 7]], &Device::Cpu).expect("flags");
    (ids, ignore)
}

fn parts(query: &QueryTensors) -> Vec<&Tensor> {
    let gates = query.gates.iter().flat_map(|g| [&g.fc1, &g.fc2, &g.spatial]);
    std::iter::once(&query.tokens).chain(gates).collect()
}

#[test]
fn frozen_and_trainable_agree_on_the_same_weights() {
    let (plain, frozen) = (config(), frozen_config());
    let vb = weights::builder(&tensors(&plain), &Device::Cpu);
    let model = |config: &Config| QueryModel::new(config, &vb).expect("builds");
    let (ids, ignore) = phrases(&plain);
    let features = |config: &Config| model(config).features(&ids, &ignore, &mut Pass::eval()).expect("the tower runs");
    let found = difference(&features(&plain), &features(&frozen));
    assert!(found < 1e-5, "features differ by {found}");
    let encode = |config: &Config| model(config).encode(&ids, &ignore, &mut Pass::eval()).expect("encodes");
    let (a, b) = (encode(&plain), encode(&frozen));
    for (a, b) in parts(&a).into_iter().zip(parts(&b)) {
        assert!(difference(a, b) < 1e-5);
    }
}

#[test]
fn kept_features_do_for_every_pass() {
    let config = frozen_config();
    let model = QueryModel::new(&config, &weights::builder(&tensors(&config), &Device::Cpu)).expect("builds");
    let (ids, ignore) = phrases(&config);
    let training = || Pass::train(blocks::seeded::stream(1, "dropout"));
    let kept = model.features(&ids, &ignore, &mut training()).expect("the tower runs");
    let mut pass = Pass::eval().with_taps();
    let whole = model.encode(&ids, &ignore, &mut pass).expect("encodes");
    assert_eq!(difference(&kept, &pass.into_taps()["text_features"]), 0.0, "no dropout in a frozen tower");
    let halves = model.encode_features(&kept, &ignore, &mut training()).expect("encodes");
    for (a, b) in parts(&whole).into_iter().zip(parts(&halves)) {
        assert_eq!(difference(a, b), 0.0);
    }
}

/// Gradients of everything that comes out of the query half.
fn gradients(config: &Config, vars: &BTreeMap<String, Var>, vb: &VarBuilder) -> Vec<(String, Option<f32>)> {
    let model = QueryModel::new(config, vb).expect("builds");
    let (ids, ignore) = phrases(config);
    let query = model.encode(&ids, &ignore, &mut Pass::train(blocks::seeded::stream(1, "dropout"))).expect("encodes");
    let loss = parts(&query)
        .into_iter()
        .map(|part| part.sqr().and_then(|t| t.sum_all()).expect("a sum"))
        .reduce(|a, b| (a + b).expect("a sum"))
        .expect("parts");
    let grads = loss.backward().expect("the backward pass runs");
    let size = |t: &Tensor| t.abs().and_then(|t| t.sum_all()).and_then(|t| t.to_scalar()).expect("a size");
    vars.iter().map(|(name, var)| (name.clone(), grads.get(var).map(size))).collect()
}

#[test]
fn no_gradient_reaches_the_text_tower() {
    let config = frozen_config();
    let tensors = tensors(&config);
    let (vars, vb) = weights::variables(&config, &tensors, &Device::Cpu).expect("variables");
    assert!(vars.keys().all(|name| !name.starts_with(TEXT)), "no text tensor is a variable");
    let found = gradients(&config, &vars, &vb);
    let generators = found.iter().filter(|(name, _)| name.contains("qdatt") || name.starts_with("text_proj"));
    let felt = generators
        .map(|(name, size)| assert!(size.is_some_and(|s| s.is_finite() && s > 0.0), "{name}: {size:?}"))
        .count();
    assert!(felt > 40, "{felt} tensors of generators and projection");

    // Not even where the tower's tensors are variables, as in a loop that knows nothing of frozen towers.
    let all: BTreeMap<String, Var> =
        tensors.iter().map(|(name, t)| (name.clone(), Var::from_tensor(t).expect("a variable"))).collect();
    let map: HashMap<String, Tensor> = all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let vb = VarBuilder::from_tensors(map, DType::F32, &Device::Cpu);
    for (name, size) in gradients(&config, &all, &vb) {
        assert!(!(name.starts_with(TEXT) && size.is_some()), "{name} got a gradient");
    }
    let mut plain = config.clone();
    plain.bert.frozen = false;
    let reached = gradients(&plain, &all, &vb).iter().filter(|(n, size)| n.starts_with(TEXT) && size.is_some()).count();
    assert!(reached > 30, "a trainable tower does get gradients: {reached}");
}

#[test]
fn the_table_tells_read_from_trained() {
    let (plain, frozen) = (config(), frozen_config());
    let names = |specs: Vec<qrnet::params::ParamSpec>| specs.into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(names(parameters(&plain).collect()), names(parameters(&frozen).collect()), "one file, two ways");
    let text = |config: &Config| trainable(config).filter(|spec| spec.name.starts_with(TEXT)).count();
    assert!(text(&plain) > 30 && text(&frozen) == 0);
    let kept = table(&frozen).iter().filter(|spec| spec.kind == Kind::Frozen).count();
    assert_eq!(kept, text(&plain));
    assert_eq!(trainable(&frozen).count() + kept, trainable(&plain).count());

    let tensors = tensors(&frozen);
    for name in tensors.keys().filter(|name| name.starts_with(TEXT)) {
        let mut fewer = tensors.clone();
        fewer.remove(name);
        let message = QueryModel::new(&frozen, &weights::builder(&fewer, &Device::Cpu))
            .err()
            .unwrap_or_else(|| panic!("nobody reads {name}"))
            .to_string();
        assert!(message.contains(name.as_str()), "{message}");
    }
}

#[test]
fn a_pretrained_directory_fills_the_tower_and_must_fit() {
    let dir = path("tiny_bert");
    if !dir.exists() {
        println!("SKIPPED: {} is not there", dir.display());
        return;
    }
    let mut config = frozen_config();
    let sizes = pretrained::sizes(&dir).expect("sizes");
    config.bert.frozen = false;
    assert_eq!(sizes, config.bert);
    config.bert.frozen = true;
    let sources = Sources { text: Some(&dir), ..Sources::default() };
    let (tensors, report) = weights::initialise(&config, 0, sources, &Device::Cpu).expect("initialises");
    let text = tensors.keys().filter(|name| name.starts_with(TEXT));
    assert_eq!(report.loaded, text.cloned().collect::<Vec<_>>(), "the tower, and nothing else");

    config.bert.num_attention_heads *= 2;
    let message = weights::initialise(&config, 0, sources, &Device::Cpu).expect_err("other heads").to_string();
    assert!(message.contains("`num_attention_heads` is 4, expected 8"), "{message}");
    let other = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(dir.join("config.json")).expect("config.json");
    for (from, to, key) in [("\"gelu\"", "\"relu\"", "hidden_act"), ("\"bert\"", "\"roberta\"", "model_type")] {
        std::fs::write(other.path().join("config.json"), text.replace(from, to)).expect("written");
        let message = pretrained::sizes(other.path()).expect_err("another kind").to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn a_model_directory_keeps_the_choice_and_grounds_alike() {
    let (plain, frozen) = (config(), frozen_config());
    let tensors = tensors(&plain);
    let tokenizer = QueryTokenizer::characters(plain.max_query_len, plain.bert.vocab_size).expect("a tokenizer");
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, config: &Config| {
        let (dtype, card) = (DType::F32, "");
        let new = NewModel { config, tensors: &tensors, dtype, tokenizer: &tokenizer, card, trained: true };
        ModelDir::write(&dir.path().join(name), &new, false).expect("written")
    };
    let (a, b) = (write("plain", &plain), write("frozen", &frozen));
    assert!(!a.config().bert.frozen && b.config().bert.frozen);
    assert_ne!(a.digest().expect("a digest"), b.digest().expect("a digest"));
    let query = |dir: &ModelDir| {
        let query = Grounder::load(dir.path(), &Device::Cpu).and_then(|g| g.compile("a c")).expect("compiles");
        let file = dir.path().join("query.safetensors");
        query.save(&file).expect("saved");
        candle_core::safetensors::load(file, &Device::Cpu).expect("tensors")
    };
    let (a, b) = (query(&a), query(&b));
    for (name, tensor) in &a {
        assert!(difference(tensor, &b[name]) < 1e-4, "{name}");
    }
}
