//! The recipes that ship: read strictly, and true to the reference's settings.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use qrnet::Config;
use qrnet_train::objective::Weights;
use qrnet_train::optim::Settings;
use qrnet_train::recipe::Recipe;
use qrnet_train::schedule::Course;
use qrnet_train::trainer::{Setup, Trainer};

fn configs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs"))
}

fn read(name: &str) -> Recipe {
    Recipe::from_file(&configs().join(format!("train/{name}.toml"))).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn all_of_them_are_read_strictly_and_name_a_model_that_ships() {
    let files = std::fs::read_dir(configs().join("train")).expect("listed").map(|e| e.expect("an entry").path());
    let mut count = 0;
    for file in files.filter(|file| file.extension().is_some_and(|e| e == "toml")) {
        let recipe = Recipe::from_file(&file).unwrap_or_else(|e| panic!("{e}"));
        Config::from_toml_file(&configs().join(format!("model/{}.toml", recipe.model)))
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(!recipe.eval.is_empty(), "{}", file.display());
        count += 1;
    }
    assert!(count >= 6, "{count} recipes");
}

/// Published data set, its training phrases, examples a step, epochs between two falls of the rate, text length.
const PUBLISHED: [(&str, u64, u64, u64, usize); 5] = [
    ("refcoco", 120_624, 128, 60, 20),
    ("refcoco+", 120_191, 128, 120, 20),
    ("refcocog", 80_512, 128, 60, 40),
    ("referit", 54_127, 64, 60, 20),
    ("flickr30k", 427_193, 64, 60, 20),
];

#[test]
fn published_data_sets_are_trained_on_as_the_reference_does() {
    for (name, phrases, examples, drop, length) in PUBLISHED {
        let recipe = read(name);
        let epoch = phrases / examples;
        assert_eq!(recipe.steps, 180 * epoch, "{name}: 180 epochs of {epoch} steps");
        assert_eq!(recipe.step_examples() as u64, examples, "{name}");
        assert_eq!(recipe.schedule().course, Course::Steps { every: drop * epoch, factor: 0.1 }, "{name}");
        assert_eq!(recipe.schedule().warm_up, 0, "{name}");
        assert_eq!(recipe.optimiser(), Settings::reference(), "{name}");
        assert_eq!((recipe.loss, recipe.ema), (Weights::default(), 0.0), "{name}");
        let augment = recipe.augment.expect("augmentation");
        assert!(augment.crop && augment.scales && augment.translate && augment.flip && augment.jitter, "{name}");
        assert!(!augment.blur && !augment.reference_quirks, "{name}");
        let model = configs().join(format!("model/{}.toml", recipe.model));
        let config = Config::from_toml_file(&model).expect("sizes");
        assert_eq!((config.max_query_len, config.canvas.width, config.presence), (length, 640, false), "{name}");
        assert!(recipe.init.backbone.is_some() && recipe.init.text.is_some(), "{name}");
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let text = std::fs::read_to_string(configs().join("train/refcoco.toml")).expect("read");
    for (from, to, message) in [
        (
            "weight_decay",
            "wieght_decay",
            "unknown key `optimiser.wieght_decay`; did you mean `optimiser.weight_decay`?",
        ),
        ("course =", "curse =", "unknown key `schedule.curse`"),
        ("format = \"refer\"", "format = \"refer\"\nsplitt = \"val\"", "splitt"),
        ("crop = true", "crop = true\nqrop = true", "qrop"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let error = Recipe::from_toml(&changed, "mine.toml").expect_err("refused").to_string();
        assert!(error.starts_with("mine.toml") && error.contains(message), "{error}");
    }
}

#[test]
fn what_weights_start_from_is_named_by_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = crate::support::recipe();
        change(&mut recipe);
        let error = Setup::new(recipe, crate::support::config(), folder.path())
            .and_then(|setup| Trainer::new(setup, &Device::Cpu).map(|_| ()))
            .expect_err("is refused");
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    let script = "scripts/fetch-photograph-weights.sh brings it";
    assert_eq!(
        message(&|recipe| recipe.tokenizer = "media/photographs/vocab.txt".into()),
        format!("DIR/media/photographs/vocab.txt: no such file or folder (`tokenizer` in the recipe); {script}")
    );
    assert_eq!(
        message(&|recipe| recipe.init.text = Some("media/photographs/words.safetensors".into())),
        format!(
            "DIR/media/photographs/words.safetensors: no such file or folder (`init.text` in the recipe); {script}"
        )
    );
    assert_eq!(
        message(&|recipe| recipe.init.backbone = Some("mine.pth".into())),
        "DIR/mine.pth: no such file or folder (`init.backbone` in the recipe)"
    );
    let other = Tensor::zeros(3, DType::F32, &Device::Cpu).expect("a tensor");
    blocks::checkpoint::save(&[("conv1.weight".to_owned(), other)], None, &folder.path().join("other.safetensors"))
        .expect("saved");
    assert_eq!(
        message(&|recipe| recipe.init.backbone = Some("other.safetensors".into())),
        "`init.backbone` in the recipe: DIR/other.safetensors: holds none of the tensors that this source should bring, \
         expected `backbone.patch_embed.proj.weight` among others"
    );
}
