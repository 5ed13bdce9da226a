//! Checkpoint files: names, reports, initialisation, and what happens to damaged ones.

use std::collections::BTreeSet;
use std::path::Path;

use blocks::checkpoint::TensorFile;
use blocks::pass::Pass;
use blocks::text::bert::Bert;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use qrnet::params::{Kind, table};
use qrnet::weights::Sources;
use qrnet::{Config, Error, QrNet, init, weights};

use crate::support::{config, difference, path};

fn full_config(text: &str) -> Config {
    Config::from_toml(text, "configs/model").expect("valid")
}

#[test]
fn full_size_names_and_shapes_are_the_references() {
    let config = full_config(include_str!("../../../../configs/model/qrnet-swin-s-l20.toml"));
    let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/state_dict_full.tsv"));
    let reference: BTreeSet<String> = std::fs::read_to_string(here)
        .expect("state_dict_full.tsv")
        .lines()
        .skip(1)
        .map(|line| {
            let mut columns = line.split('\t');
            let (name, shape) = (columns.next().expect("a name"), columns.next().expect("a shape"));
            format!("{name} {shape}")
        })
        .collect();
    let shape = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let ours: BTreeSet<String> =
        table(&config).iter().map(|spec| format!("{} [{}]", spec.name, shape(&spec.shape))).collect();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(only(&reference, &ours), Vec::<String>::new(), "names or shapes that we lack");
    assert_eq!(only(&ours, &reference), Vec::<String>::new(), "names or shapes that the reference lacks");
    assert_eq!(ours.len(), 719);
}

#[test]
fn the_model_reads_exactly_the_parameters_of_the_table() {
    let config = config();
    let tensors = init::parameters(&config, 1, &Device::Cpu).expect("drawn");
    QrNet::new(&config, &weights::builder(&tensors, &Device::Cpu)).expect("the table suffices");
    for name in tensors.keys() {
        let mut fewer = tensors.clone();
        fewer.remove(name);
        assert!(QrNet::new(&config, &weights::builder(&fewer, &Device::Cpu)).is_err(), "nobody reads {name}");
    }
}

#[test]
fn checkpoint_report_counts_every_name() {
    let config = config();
    let parameters = table(&config).iter().filter(|spec| spec.kind == Kind::Parameter).count();
    for (file, extra) in [("tiny.safetensors", 0), ("tiny_checkpoint.pth", 1)] {
        let file = path(file);
        if !file.exists() {
            println!("SKIPPED: {} is not there", file.display());
            continue;
        }
        let (tensors, report) = weights::load(&file, &config, &Device::Cpu).expect("loads");
        assert_eq!((tensors.len(), report.loaded.len(), report.initial.len()), (parameters, parameters, 0));
        let because = |reason: &str| report.ignored.iter().filter(|(_, why)| why.contains(reason)).count();
        assert_eq!(because("read by no part"), 8 + extra, "rpn_head, pooler, position_ids");
        assert_eq!(because("constant"), config.swin.as_ref().expect("a Swin").depths.iter().sum::<usize>());
        assert_eq!(because("no such tensor"), 0);
    }
}

#[test]
fn detector_and_bert_directory_initialise_with_an_exact_report() {
    let (detector, text) = (path("tiny_detector.pth"), path("tiny_bert"));
    if !(detector.exists() && text.exists()) {
        println!("SKIPPED: {} and {} are not there", detector.display(), text.display());
        return;
    }
    let config = config();
    let sources = Sources { detector: Some(&detector), text: Some(&text), ..Sources::default() };
    let (tensors, report) = weights::initialise(&config, 3, sources, &Device::Cpu).expect("initialises");
    let from_source = |name: &str| {
        let backbone = name.starts_with("visumodel.backbone.") && !name.contains("qdatt");
        backbone || name.starts_with("visumodel.neck.lateral_convs.") || name.starts_with("textmodel.bert.")
    };
    let expected: Vec<&String> = tensors.keys().filter(|name| from_source(name)).collect();
    assert_eq!(report.loaded.iter().collect::<Vec<_>>(), expected);
    assert_eq!(report.loaded.len() + report.initial.len(), tensors.len());
    let dropped = |prefix: &str| report.ignored.iter().any(|(name, _)| name.starts_with(prefix));
    for prefix in ["rpn_head.", "neck.fpn_convs.", "roi_head.", "bert.pooler."] {
        assert!(dropped(prefix), "{prefix} is reported");
    }
    let name = "visumodel.neck.lateral_convs.2.conv.bias";
    let stored = TensorFile::open(&detector)
        .and_then(|f| f.load("neck.lateral_convs.2.conv.bias", &Device::Cpu))
        .expect("stored");
    assert_eq!(difference(&tensors[name], &stored), 0.0);
    let drawn = init::parameters(&config, 3, &Device::Cpu).expect("drawn");
    assert_eq!(difference(&tensors["vl_pos_embed.weight"], &drawn["vl_pos_embed.weight"]), 0.0);
}

#[test]
fn our_bert_and_candle_transformers_agree() {
    let dir = path("tiny_bert");
    if !dir.exists() {
        println!("SKIPPED: {} is not there", dir.display());
        return;
    }
    let (config, device) = (config(), Device::Cpu);
    let sources = Sources { text: Some(&dir), ..Sources::default() };
    let (tensors, _) = weights::initialise(&config, 0, sources, &device).expect("initialises");
    let ours = Bert::new(&config.bert, &weights::builder(&tensors, &device).pp("textmodel.bert")).expect("builds");
    let json = std::fs::read_to_string(dir.join("config.json")).expect("config.json");
    let their_config: candle_transformers::models::bert::Config = serde_json::from_str(&json).expect("a BERT config");
    let their_tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &device).expect("weights");
    let vb = VarBuilder::from_tensors(their_tensors, DType::F32, &device);
    let theirs = candle_transformers::models::bert::BertModel::load(vb, &their_config).expect("builds");

    let vocabulary = config.bert.vocab_size as u32;
    let ids = Tensor::new(&[[2u32, 7, 11, 13, 3, 0, 0], [2, 5, vocabulary - 1, 4, 9, 8, 3]], &device).expect("ids");
    let ignore = Tensor::new(&[[0u8, 0, 0, 0, 0, 1, 1], [0; 7]], &device).expect("flags");
    let real = (1.0 - ignore.to_dtype(DType::F32).expect("cast")).expect("mask");
    let a = ours.forward(&ids, &ignore, &mut Pass::eval()).expect("runs");
    let b = theirs.forward(&ids, &ids.zeros_like().expect("zeros"), Some(&real)).expect("runs");
    let kept = |t: &Tensor| {
        Tensor::cat(&[t.get(0).and_then(|r| r.narrow(0, 0, 5)).expect("row"), t.get(1).expect("row")], 0).expect("cat")
    };
    let found = difference(&kept(&a), &kept(&b));
    assert!(found < 1e-5, "hidden states differ by {found}");
}

#[test]
fn exported_state_dict_has_the_references_names() {
    let config = config();
    let (tensors, _) = weights::load(&path("tiny.safetensors"), &config, &Device::Cpu).expect("loads");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("out.safetensors");
    blocks::checkpoint::save(&weights::state_dict(&config, &tensors).expect("a state dict"), None, &file)
        .expect("saved");
    let (original, ours) =
        (TensorFile::open(&path("tiny.safetensors")).expect("opens"), TensorFile::open(&file).expect("opens"));
    for name in original.names() {
        if name.contains("rpn_head") || name.contains("pooler") || name.ends_with("position_ids") {
            continue;
        }
        let read = |f: &TensorFile| f.load(&name, &Device::Cpu).expect("read");
        let (a, b) = (read(&original), read(&ours));
        assert_eq!((a.dtype(), difference(&a, &b)), (b.dtype(), 0.0), "{name}");
    }
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let config = config();
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        file
    };
    let message = |file: &Path| {
        let error = weights::load(file, &config, &Device::Cpu).expect_err("must fail");
        let text = error.to_string();
        assert!(text.contains(&file.display().to_string()), "the file is named: {text}");
        text
    };
    let whole = std::fs::read(path("tiny.safetensors")).expect("read");
    assert!(message(&write("empty.pth", b"")).contains("empty (0 bytes)"));
    assert!(message(&write("cut.safetensors", &whole[..whole.len() / 2])).contains("neither whole safetensors"));
    assert!(
        message(&write("noise.pth", b"not a checkpoint at all")).contains("neither whole safetensors nor a PyTorch")
    );
    assert!(
        message(&write("old.pth", &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20]))
            .contains("old non-zip form")
    );
    if let Ok(zip) = std::fs::read(path("tiny_checkpoint.pth")) {
        assert!(message(&write("cut.pth", &zip[..zip.len() / 2])).contains("truncated or damaged"));
    }
    let missing = dir.path().join("nothing.pth");
    assert!(message(&missing).contains("cannot read"));
    // Each source where the other belongs.
    let (detector, text) = (path("tiny_detector.pth"), path("tiny_bert").join("model.safetensors"));
    for (sources, name) in [
        (Sources { detector: Some(&text), ..Sources::default() }, "`backbone.patch_embed.proj.weight`"),
        (Sources { text: Some(&detector), ..Sources::default() }, "`embeddings.word_embeddings.weight`"),
    ] {
        let text = weights::initialise(&config, 3, sources, &Device::Cpu).expect_err("another model").to_string();
        assert!(text.contains("holds none of the tensors") && text.contains(name), "{text}");
    }

    let (tensors, _) = weights::load(&path("tiny.safetensors"), &config, &Device::Cpu).expect("loads");
    let fewer: Vec<_> =
        tensors.iter().filter(|(name, _)| *name != "reg_token.weight").map(|(n, t)| (n.clone(), t.clone())).collect();
    let file = dir.path().join("fewer.safetensors");
    blocks::checkpoint::save(&fewer, None, &file).expect("saved");
    let text = message(&file);
    assert!(
        text.contains("1 tensor missing, first `reg_token.weight`") && text.contains(&config.vl.hidden_dim.to_string()),
        "{text}"
    );

    let mut other = config.clone();
    other.qdatt.k += 1;
    match weights::load(&path("tiny.safetensors"), &other, &Device::Cpu) {
        Err(Error::Shape { name, found, expected, .. }) => {
            assert!(name.contains("decoder"), "{name}");
            assert_ne!(found, expected);
        }
        other => panic!("expected a shape error, got {:?}", other.map(|_| ())),
    }
}

#[test]
fn initial_weights_follow_the_specification() {
    let config = config();
    let tensors = init::parameters(&config, 11, &Device::Cpu).expect("drawn");
    let again = init::parameters(&config, 11, &Device::Cpu).expect("drawn");
    let other = init::parameters(&config, 12, &Device::Cpu).expect("drawn");
    let values = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    for (name, tensor) in &tensors {
        assert_eq!(values(tensor), values(&again[name]), "{name}: one seed, one model");
        let v = values(tensor);
        let (largest, mean) = (v.iter().fold(0.0f32, |m, x| m.max(x.abs())), v.iter().sum::<f32>() / v.len() as f32);
        if name.ends_with("decoder.V")
            || name.contains("in_proj_bias")
            || name.contains("lateral_convs") && name.ends_with("bias")
        {
            assert_eq!(largest, 0.0, "{name} starts at zero");
        } else if name.to_lowercase().contains("norm") && name.ends_with("weight") {
            assert!(v.iter().all(|x| (x - 1.0).abs() < f32::EPSILON), "{name} starts at one");
        } else if largest > 0.0 {
            assert_ne!(v, values(&other[name]), "{name}: another seed, another model");
            assert!(v.len() < 64 || mean.abs() < 0.5 * largest, "{name}: mean {mean}");
        }
    }
    let std = |name: &str| {
        let v = values(&tensors[name]);
        (v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / v.len() as f64).sqrt()
    };
    assert!((std("vl_pos_embed.weight") - 1.0).abs() < 0.1);
    assert!((std("visumodel.backbone.layers.3.blocks.0.mlp.fc1.weight") - 0.02).abs() < 0.001);
}
