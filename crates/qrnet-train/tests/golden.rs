//! Losses, metric and one optimiser step against numbers measured on the reference implementation.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use blocks::canvas::Canvas;
use blocks::checkpoint::TensorFile;
use blocks::pass::Pass;
use blocks::swin::SwinConfig;
use blocks::text::BertConfig;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor, Var};
use qrnet::config::{Config, FusionConfig, NeckConfig, QdAttConfig};
use qrnet::plan::CanvasPlan;
use qrnet::{QrNet, weights};
use qrnet_train::boxes::{CxCyWh, iou, right};
use qrnet_train::loss::{box_loss, box_terms};
use qrnet_train::optim::{AdamW, Group, Settings};
use qrnet_train::recipe::Recipe;
use qrnet_train::trainer::{Setup, Trainer};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../qrnet/tests/fixtures")).join(name)
}

fn fixture(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path(name), &Device::Cpu).expect("a fixture")
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

fn boxes(tensor: &Tensor) -> Vec<CxCyWh> {
    flat(tensor).as_chunks::<4>().0.to_vec()
}

fn close(what: &str, found: &[f32], expected: &[f32], limit: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= limit, "{what}[{i}]: {a}, reference {b}");
    }
}

#[test]
fn losses_metric_and_gradients() {
    let golden = fixture("losses.safetensors");
    let (prediction, target) = (Var::from_tensor(&golden["pred"]).expect("a variable"), boxes(&golden["target"]));
    let count = target.len() as f32;
    let terms = flat(&box_terms(prediction.as_tensor(), &target).expect("terms"));
    let total = |term: usize| terms.iter().skip(term).step_by(2).sum::<f32>() / count;
    close("loss_bbox", &[total(0)], &flat(&golden["loss_bbox"]), 1e-5);
    close("loss_giou", &[total(1)], &flat(&golden["loss_giou"]), 1e-5);
    let giou: Vec<f32> = terms.iter().skip(1).step_by(2).map(|term| 1.0 - term).collect();
    close("giou", &giou, &flat(&golden["giou"]), 1e-5);
    let loss = box_loss(prediction.as_tensor(), &target).expect("a loss");
    close("loss_total", &flat(&loss), &flat(&golden["loss_total"]), 1e-5);
    let grads = loss.backward().expect("backward");
    close("grad_pred", &flat(grads.get(&prediction).expect("a gradient")), &flat(&golden["grad_pred"]), 1e-5);

    let pairs: Vec<(CxCyWh, CxCyWh)> = boxes(&golden["pred"]).into_iter().zip(target).collect();
    let ious: Vec<f32> = pairs.iter().map(|(p, t)| iou(*p, *t)).collect();
    close("iou_metric", &ious, &flat(&golden["iou_metric"]), 1e-5);
    let hits = pairs.iter().filter(|(p, t)| right(*p, *t, 0.5)).count();
    close("acc_count", &[hits as f32], &flat(&golden["acc_count"]), 0.0);
    close("acc", &[hits as f32 / count], &flat(&golden["acc"]), 1e-6);
}

fn config() -> Config {
    let text = std::fs::read_to_string(path("tiny.json")).expect("tiny.json");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let part = |key: &str| json[key].clone();
    let size = json["imsize"].as_u64().expect("a size") as usize;
    Config {
        canvas: Canvas { width: size, height: size },
        pos_canvas: None,
        max_query_len: json["max_query_len"].as_u64().expect("a length") as usize,
        presence: false,
        threshold: None,
        canvases: Vec::new(),
        swin: Some(serde_json::from_value::<SwinConfig>(part("swin")).expect("swin")),
        mobilenet: None,
        qdatt: serde_json::from_value::<QdAttConfig>(part("qdatt")).expect("qdatt"),
        neck: serde_json::from_value::<NeckConfig>(part("neck")).expect("neck"),
        bert: serde_json::from_value::<BertConfig>(part("bert")).expect("bert"),
        vl: serde_json::from_value::<FusionConfig>(part("vl")).expect("vl"),
    }
}

#[test]
fn one_optimiser_step_is_the_references() {
    let (config, device) = (config(), Device::Cpu);
    let (tensors, _) = weights::load(&path("tiny.safetensors"), &config, &device).expect("weights");
    let (vars, vb) = weights::variables(&config, &tensors, &device).expect("variables");
    let model = QrNet::new(&config, &vb).expect("builds");
    let (io, golden) = (fixture("tiny_io.safetensors"), fixture("tiny_grads.safetensors"));
    let plan = CanvasPlan::new(&config, config.canvas, &device).expect("a plan");
    let cast = |name: &str, dtype| io[name].to_dtype(dtype).expect("cast");
    let ignore = (1.0 - cast("A.in.token_mask", DType::F32)).and_then(|t| t.to_dtype(DType::U8)).expect("flags");
    let target = boxes(&golden["target"]);
    let predict = || {
        let (mask, ids) = (cast("A.in.image_mask", DType::U8), cast("A.in.token_ids", DType::U32));
        model.forward(&io["A.in.image"], &mask, &ids, &ignore, &plan, &mut Pass::eval()).expect("runs").boxes
    };
    let before = box_loss(&predict(), &target).expect("a loss");
    close("loss", &flat(&before), &flat(&golden["loss"]), 1e-5);

    let mut optimiser = AdamW::new(&vars, Settings::reference()).expect("an optimiser");
    let stepped = optimiser.step(&before.backward().expect("backward"), 1.0).expect("a step");
    assert!(stepped.applied && stepped.norm > 0.0);
    let after = predict();
    close("pred_box_after_step", &flat(&after), &flat(&golden["pred_box_after_step"]), 1e-4);
    close(
        "loss_after_step",
        &flat(&box_loss(&after, &target).expect("a loss")),
        &flat(&golden["loss_after_step"]),
        1e-4,
    );
    for (name, expected) in
        golden.iter().filter_map(|(key, value)| Some((key.strip_prefix("after_adamw_step.")?, value)))
    {
        // A step moves by the rate whatever the gradient's size: compare where the gradient is well away from zero.
        let gradient = golden.get(&format!("grad.{name}")).map(flat);
        let rate = Settings::reference().rates[Group::of(name) as usize] as f32;
        for (i, (a, b)) in flat(vars[name].as_tensor()).iter().zip(flat(expected)).enumerate() {
            let felt = gradient.as_ref().is_none_or(|g| g[i].abs() > 1e-5);
            assert!((a - b).abs() <= if felt { 0.02 * rate } else { 2.1 * rate }, "{name}[{i}]: {a}, reference {b}");
        }
    }
}

#[test]
fn a_recipe_starts_from_a_detector_and_a_text_encoder() {
    let config = config();
    let text = format!(
        "name = \"start\"\nseed = 3\nmodel = \"tiny\"\ntokenizer = \"words\"\nsteps = 1\nbatch = 1\n\
         [init]\nbackbone = {:?}\ntext = {:?}\n[optimiser]\nrate = 1e-4\nweight_decay = 1e-4\n\
         [[phase]]\n[phase.scenes]\n",
        path("tiny_detector.pth"),
        path("tiny_bert")
    );
    let recipe = Recipe::from_toml(&text, "start.toml").expect("a recipe");
    let words = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("words");
    let setup = Setup::with_tokenizer(recipe, config.clone(), words, Path::new("")).expect("a setup");
    let (trainer, report) = Trainer::new(setup, &Device::Cpu).expect("a trainer");

    // What each file calls the tensors that the model has.
    let sources = [
        ("tiny_detector.pth", "visumodel.", &["backbone.", "neck.lateral_convs."][..]),
        ("tiny_bert/model.safetensors", "textmodel.", &["bert.embeddings.", "bert.encoder."][..]),
    ];
    let (mut loaded, mut ignored, weights) = (Vec::new(), Vec::new(), trainer.weights());
    for (file, prefix, kept) in sources {
        let file = TensorFile::open(&path(file)).expect("opens");
        for name in file.names() {
            let ours = format!("{prefix}{name}");
            let constant = name.ends_with("relative_position_index") || name.ends_with("position_ids");
            if constant || !kept.iter().any(|start| name.starts_with(start)) {
                ignored.push(name);
                continue;
            }
            let stored = file.load(&name, &Device::Cpu).expect("read");
            close(&ours, &flat(&weights[&ours]), &flat(&stored), 0.0);
            loaded.push(ours);
        }
    }
    loaded.sort();
    assert_eq!(report.loaded, loaded);
    let mut found: Vec<&String> = report.ignored.iter().map(|(name, _)| name).collect();
    found.sort();
    ignored.sort();
    assert_eq!(found, ignored.iter().collect::<Vec<_>>());
    let initial: Vec<&String> = weights.keys().filter(|name| loaded.binary_search(name).is_err()).collect();
    assert_eq!(report.initial.iter().collect::<Vec<_>>(), initial);
    let drawn = qrnet::init::parameters(&config, 3, &Device::Cpu).expect("drawn");
    for name in initial {
        close(name, &flat(&weights[name]), &flat(&drawn[name]), 0.0);
    }
}

#[test]
fn groups_count_what_the_reference_counts() {
    let text = std::fs::read_to_string(path("tiny_grads.json")).expect("tiny_grads.json");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut counts = [0u64; 6];
    for name in json["grad_norms"].as_object().expect("norms").keys() {
        counts[Group::of(name) as usize] += 1;
    }
    let expected: Vec<u64> =
        json["groups"].as_array().expect("groups").iter().map(|g| g["n_tensors"].as_u64().expect("a count")).collect();
    assert_eq!(counts.to_vec(), expected);
}

#[test]
fn a_saved_optimiser_goes_on_bit_for_bit() {
    let start = Tensor::new(&[1.0f32, -2.0, 3.0], &Device::Cpu).expect("a tensor");
    let settings = Settings { clip: Some(0.5), rates: [0.1; 6], ..Settings::reference() };
    let vars = || std::collections::BTreeMap::from([("x".to_owned(), Var::from_tensor(&start).expect("a variable"))]);
    let advance = |vars: &std::collections::BTreeMap<String, Var>, optimiser: &mut AdamW, steps: usize| {
        for _ in 0..steps {
            let loss = vars["x"].as_tensor().sqr().and_then(|t| t.sum_all()).expect("a loss");
            optimiser.step(&loss.backward().expect("backward"), 0.7).expect("a step");
        }
    };
    let through = vars();
    advance(&through, &mut AdamW::new(&through, settings.clone()).expect("new"), 9);

    let first = vars();
    let mut optimiser = AdamW::new(&first, settings.clone()).expect("new");
    advance(&first, &mut optimiser, 4);
    let (weights, state, steps) =
        (first["x"].as_tensor().copy().expect("a copy"), optimiser.state(), optimiser.steps());
    let state = state.into_iter().map(|(k, v)| (k, v.copy().expect("a copy"))).collect();
    let second = vars();
    second["x"].set(&weights).expect("set");
    let mut resumed = AdamW::new(&second, settings).expect("new");
    resumed.restore(&state, steps).expect("restored");
    advance(&second, &mut resumed, 5);
    let bits = |vars: &std::collections::BTreeMap<String, Var>| {
        flat(vars["x"].as_tensor()).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(&through), bits(&second));
    assert!(resumed.restore(&std::collections::BTreeMap::new(), 0).is_err(), "a state without moments is refused");
}

#[test]
fn a_step_with_a_nan_changes_nothing() {
    let var = Var::new(&[1.0f32], &Device::Cpu).expect("a variable");
    let vars = std::collections::BTreeMap::from([("x".to_owned(), var.clone())]);
    let mut optimiser = AdamW::new(&vars, Settings::reference()).expect("new");
    let loss = (var.as_tensor() * f64::NAN).and_then(|t| t.sum_all()).expect("a loss");
    let stepped = optimiser.step(&loss.backward().expect("backward"), 1.0).expect("a step");
    assert!(!stepped.applied && stepped.norm.is_nan());
    assert_eq!((flat(var.as_tensor())[0].to_bits(), optimiser.steps()), (1.0f32.to_bits(), 0));
}
