//! Models that are stored narrowly, and packed weights beside models: both give, to the bit, what a model in f32 gives.

use std::path::{Path, PathBuf};

use blocks::checkpoint::{TensorFile, Tensors};
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor};
use qrnet::{
    Arithmetic, CompiledQuery, Config, Grounder, ModelDir, NewModel, Placement, Precision, init, packed, weights,
};
use rand::RngExt;

const PRECISIONS: [(Precision, DType); 2] = [(Precision::Int8, DType::U8), (Precision::Bf16, DType::BF16)];

/// Two small models in which everything counts: one on windows, one on convolutions.
fn models(folder: &Path) -> [PathBuf; 2] {
    [("swin", include_str!("../../../configs/model/tiny.toml")), ("mobilenet", MOBILENET)].map(|(name, text)| {
        let mut config = Config::from_toml(text, name).expect("valid");
        config.presence = true;
        let mut tensors = init::parameters(&config, 3, &Device::Cpu).expect("drawn");
        for (name, tensor) in &mut tensors {
            let mut rng = blocks::seeded::stream(9, name);
            let range = if name.contains("backbone.blocks") && name.ends_with(".weight") { 0.01 } else { 0.1 };
            let noise: Vec<f32> = (0..tensor.elem_count()).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * range).collect();
            let noise = Tensor::from_vec(noise, tensor.shape(), &Device::Cpu).expect("noise");
            *tensor = (&*tensor + noise).expect("the same shape");
        }
        let path = folder.join(name);
        write(&path, &config, &tensors, DType::F32);
        path
    })
}

const MOBILENET: &str = include_str!("../../../configs/model/camera.toml");

fn write(path: &Path, config: &Config, tensors: &Tensors, dtype: DType) -> ModelDir {
    let tokenizer = QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size).expect("a tokenizer");
    let new = NewModel { config, tensors, dtype, tokenizer: &tokenizer, card: "", trained: true };
    ModelDir::write(path, &new, false).expect("written")
}

fn load(path: &Path, precision: Precision) -> Grounder {
    Grounder::load(path, Placement { device: Device::Cpu, precision }).expect("loads")
}

fn pictures(grounder: &Grounder) -> Vec<Letterboxed> {
    let drawn = |(width, height): (usize, usize)| {
        let mut rng = blocks::seeded::stream(4, &format!("{width}x{height}"));
        let colours: Vec<u8> = (0..3 * 16).map(|_| rng.random()).collect();
        let rgb: Vec<u8> = (0..3 * width * height)
            .map(|i| colours[3 * (4 * (i / 3 / width) * 4 / height + 4 * (i / 3 % width) / width).min(15) + i % 3])
            .collect();
        let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
        Letterboxer::default().letterbox(&view, grounder.canvas_for(width, height)).expect("letterboxed")
    };
    [(200, 120), (90, 160)].map(drawn).to_vec()
}

/// Bits of all answers.
fn bits(grounder: &Grounder) -> Vec<u32> {
    let queries = ["abc", "a car"].map(|text| grounder.compile(text).expect("compiles"));
    let queries: Vec<&CompiledQuery> = queries.iter().collect();
    let found = pictures(grounder).into_iter().flat_map(|picture| {
        grounder.ground_all(&[&picture], &queries).expect("grounds").into_iter().flatten().collect::<Vec<_>>()
    });
    found.flat_map(|found| found.raw.into_iter().chain(found.presence)).map(f32::to_bits).collect()
}

#[test]
fn a_model_stored_in_a_precision_gives_what_one_in_f32_gives_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in models(folder.path()) {
        let exact = ModelDir::open(&path).expect("opens");
        let (tensors, _) = weights::load(&exact.weights(), exact.config(), &Device::Cpu).expect("read");
        let in_f32 = bits(&load(&path, Precision::F32));
        for (precision, dtype) in PRECISIONS {
            let what = format!("{}, {precision:?}", path.display());
            let narrow = path.with_extension(format!("{dtype:?}"));
            let dir = write(&narrow, exact.config(), &tensors, dtype);
            let (computed, stored) = (bits(&load(&path, precision)), bits(&load(&narrow, precision)));
            assert!(computed == stored, "{what}: other numbers");
            assert!(computed != in_f32, "{what}: the precision changes nothing");
            assert_eq!(dir.verify_digest().expect("unchanged"), dir.digest().expect("stored"));
            assert_ne!(dir.digest().expect("stored"), exact.digest().expect("stored"), "{what}");
            let size = |dir: &ModelDir| std::fs::metadata(dir.weights()).expect("there").len();
            assert!(size(&dir) < size(&exact), "{what}: {} bytes of {}", size(&dir), size(&exact));
            let file = TensorFile::open(&dir.weights()).expect("opens");
            assert_eq!(weights::stored_as(&file), dtype);
            // What decides fractions of a pixel, and the text.
            for exact in ["bbox_embed.layers.0.weight", "visu_proj.weight", "text_proj.weight"] {
                assert_eq!(file.dtype(exact), Some(DType::F32), "{what}: {exact}");
            }
            // Without the precision it is a model like any other, near the one that it was made of.
            let near = bits(&load(&narrow, Precision::F32));
            let apart = near.iter().zip(&in_f32).map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs());
            assert!(apart.fold(0.0, f32::max) < 0.1, "{what}");
        }
    }
}

#[test]
fn packed_weights_are_used_where_they_lie_and_give_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in models(folder.path()) {
        let dir = ModelDir::open(&path).expect("opens");
        for arithmetic in Arithmetic::ALL {
            let precision = match arithmetic {
                Arithmetic::F32 => Precision::F32,
                Arithmetic::Bf16 => Precision::Bf16,
                Arithmetic::Int8 => Precision::Int8,
            };
            let before = bits(&load(&path, precision));
            let file = packed::write(&dir, arithmetic).expect("written");
            assert_eq!(file, dir.packed(arithmetic));
            let grounder = load(&path, precision);
            assert!(bits(&grounder) == before, "{}, {precision:?}: other numbers", path.display());
            // All who ask at a time read the one map.
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| assert!(bits(&grounder) == before));
                }
            });
            assert_eq!(maps_of(&file), 1, "{}, {precision:?}", path.display());
            drop(grounder);
            assert_eq!(maps_of(&file), 0, "{}, {precision:?}", path.display());
        }
        assert_eq!(packed::check(&dir, true).expect("whole"), Arithmetic::ALL);
        // A model that is replaced takes its packed weights with it.
        let (tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu).expect("read");
        let tokenizer = dir.load_tokenizer().expect("read");
        let new = NewModel {
            config: dir.config(),
            tensors: &tensors,
            dtype: DType::F32,
            tokenizer: &tokenizer,
            card: "",
            trained: true,
        };
        ModelDir::write(&path, &new, true).expect("replaced");
        assert!(packed::check(&dir, true).expect("none").is_empty());
    }
}

/// How often a file is mapped into this process.
fn maps_of(file: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let name = file.canonicalize().expect("there");
    maps.lines().filter(|line| line.ends_with(name.to_str().expect("UTF-8"))).count()
}

#[test]
fn packed_weights_of_another_model_are_left_alone_and_named_by_the_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, _] = models(folder.path());
    let before = bits(&load(&path, Precision::Int8));
    let dir = ModelDir::open(&path).expect("opens");
    let file = packed::write(&dir, Arithmetic::Int8).expect("written");
    let whole = std::fs::read(&file).expect("read");

    // Other weights under the same digest: only a deep check reads them.
    let middle = whole.len() / 3;
    let mut changed = whole.clone();
    changed[middle] ^= 0x10;
    std::fs::write(&file, &changed).expect("written");
    packed::check(&dir, false).expect("its header is whole");
    let told = packed::check(&dir, true).expect_err("told").to_string();
    assert!(told.contains("holds another") && told.contains("--packed --precision int8"), "{told}");

    let (mut tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu).expect("read");
    let name = "reg_token.weight";
    let other = tensors[name].affine(2.0, 0.0).expect("twice");
    tensors.insert(name.into(), other);
    let second = write(&path.with_extension("other"), dir.config(), &tensors, DType::F32);
    let foreign = second.packed(Arithmetic::Int8);
    for (bytes, reason) in [
        (whole.as_slice(), "holds weights of model"),
        (&whole[..whole.len() - 1], "is truncated"),
        (b"", "is no file of packed weights"),
    ] {
        std::fs::write(&foreign, bytes).expect("written");
        let told = packed::check(&second, false).expect_err("told").to_string();
        let command = format!("`spotter convert {} --packed --precision int8`", second.path().display());
        assert!(told.contains(reason) && told.contains(&command), "{told}");
        // Two sentences about it would be one too many, none too few: the program's tests count them.
        let found = bits(&load(second.path(), Precision::Int8));
        assert_eq!(maps_of(&foreign), 0, "{reason}: it is left alone");
        assert!(found != before, "another model");
    }
    packed::write(&second, Arithmetic::Int8).expect("written anew");
    packed::check(&second, true).expect("whole");
}
