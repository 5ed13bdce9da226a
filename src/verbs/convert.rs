//! `spotter convert`: checkpoints to model directories and back.

use std::path::Path;

use blocks::checkpoint::TensorFile;
use blocks::checkpoint::Tensors;
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device};
use clap::ValueEnum;
use grounding::{Calibration, Family};
use qrnet::weights::{self, Sources};
use qrnet::{Arithmetic, Canvas, Config, ModelDir, NewModel};

use crate::cli::{ConvertArgs, Precision};
use crate::config::model_variant;
use crate::error::{Error, Result};
use crate::models;

/// Header key of an exported checkpoint: whether its weights are more than drawn from a seed.
const TRAINED: &str = "spotter.trained";
/// And from which presence on a thing is there, where the model says so.
const THRESHOLD: &str = "spotter.threshold";

/// # Errors
/// The input is unusable, or the output cannot be written.
pub(super) fn run(args: &ConvertArgs) -> Result<()> {
    match (&args.input, args.random) {
        (Some(input), _) if input.is_dir() && Family::of(input)? == Family::GroundingDino => in_type(input, args),
        (Some(input), _) if input.is_dir() => match (args.canvas, &args.out) {
            (Some(canvas), _) => reshape(input, canvas, args),
            (None, None) => pack(&ModelDir::open(input)?, args.dtype),
            (None, Some(out)) if is_checkpoint(out) => export(input, out, args),
            (None, Some(_)) => store(input, args),
        },
        (Some(input), _) if args.canvas.is_some() && !input.exists() => {
            Err(Error::Io { action: "read", path: input.clone(), source: std::io::ErrorKind::NotFound.into() })
        }
        _ if args.canvas.is_some() => {
            Err(Error::Usage("--canvas: is for a model directory; elsewhere the sizes say it (--config)".into()))
        }
        (Some(input), _) => import(input, args),
        (None, Some(seed)) => draw(seed, args),
        (None, None) => Err(Error::Usage("convert: expected a checkpoint, a model directory or --random".into())),
    }
}

/// Whether a name is one for a file of tensors, and not for a folder.
fn is_checkpoint(out: &Path) -> bool {
    out.extension().is_some_and(|extension| extension == "safetensors")
}

/// Where to write to.
fn out(args: &ConvertArgs) -> Result<&Path> {
    let missing = "--out PATH: is needed; --packed alone is for a model directory, into which it writes";
    args.out.as_deref().ok_or_else(|| Error::Usage(missing.into()))
}

fn config(args: &ConvertArgs) -> Result<Config> {
    let name = args.config.as_deref();
    let name = name.ok_or_else(|| Error::Usage("convert: --config is needed to know the model's sizes".into()))?;
    model_variant("--config", name, Path::new(""))
}

/// A checkpoint becomes a model directory.
fn import(input: &Path, args: &ConvertArgs) -> Result<()> {
    let config = config(args)?;
    let file = args.tokenizer.as_deref();
    let file = file.ok_or_else(|| {
        Error::Usage("convert: --tokenizer is needed: a checkpoint does not hold its vocabulary".into())
    })?;
    let tokenizer = tokenizer(file, &config)?;
    let (tensors, report) = weights::load(input, &config, &Device::Cpu)?;
    tracing::info!("{}: {}", input.display(), report.to_string().trim_end());
    let origin =
        format!("Converted from the checkpoint `{}`.", input.file_name().unwrap_or_default().to_string_lossy());
    // Only we write this key; a checkpoint without it was trained by somebody.
    let metadata = TensorFile::open(input)?.metadata()?;
    let trained = metadata.get(TRAINED).is_none_or(|value| value != "false");
    let threshold = metadata.get(THRESHOLD).and_then(|value| value.parse().ok()).filter(|_| config.presence);
    let config = Config { threshold: threshold.or(config.threshold), ..config };
    write(args, &config, &tensors, &tokenizer, &origin, trained)
}

/// A model directory becomes one for another canvas.
fn reshape(input: &Path, canvas: Canvas, args: &ConvertArgs) -> Result<()> {
    only_its_own(args)?;
    let out = out(args)?;
    if is_checkpoint(out) {
        let out = out.display();
        return Err(Error::Usage(format!(
            "--out {out}: a model on another canvas is a folder, expected a name for one"
        )));
    }
    let dir = ModelDir::open(input)?;
    let own = dir.config();
    let position = own.position_canvas();
    let (positions, config) = Positions::of(own, canvas);
    config.validate("--canvas")?;
    let weights = dir.weights();
    // What the new model needs is drawn nowhere: the old one has to be whole.
    let whole = weights::load(&weights, own, &Device::Cpu)?.0;
    let tensors = if config.position_canvas() == position {
        whole
    } else {
        let sources = Sources { model: Some(&weights), model_config: Some(own), ..Sources::default() };
        weights::initialise(&config, 0, sources, &Device::Cpu)?.0
    };
    let how = format!("{} {position}", positions.told());
    if positions == Positions::Stretched {
        tracing::info!("in the middle of {position} lie canvases that are smaller by multiples of 128");
        tracing::warn!(
            "stretched positions are a start for training on canvas {canvas} ([init] model), not a model yet"
        );
    }
    tracing::info!("{}: canvas {canvas}, {how}", input.display());
    let origin = format!("From `{}`, whose canvas is {}: {how}.", input.display(), own.canvas);
    // Boxes of stretched positions are to be trusted as little as those of no training.
    let trained = dir.trained() && positions != Positions::Stretched;
    write(args, &config, &tensors, &dir.load_tokenizer()?, &origin, trained)
}

/// Where the rows of visual tokens come from when a model is made for another canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Positions {
    /// The model is for this canvas, and its table belongs to it.
    Kept,
    /// The model is for this canvas, for which it samples its table: that is done once.
    Sampled,
    /// Its middle.
    Middle,
    /// Sampled for a canvas that the model has never seen.
    Stretched,
}

impl Positions {
    /// How a model of the sizes `own` becomes one of `canvas` alone, and the sizes of that one.
    fn of(own: &Config, canvas: Canvas) -> (Self, Config) {
        let position = own.position_canvas();
        let alone = Config { canvas, pos_canvas: None, canvases: Vec::new(), ..own.clone() };
        let within = Config { pos_canvas: Some(position), ..alone.clone() };
        // Canvases with as many tokens would pass as well, with rows of another shape.
        let inside = canvas.width <= position.width && canvas.height <= position.height;
        if own.all_canvases().contains(&canvas) {
            if own.is_sampled(canvas) {
                return (Self::Sampled, alone);
            }
            // The table of one canvas may be that of a larger one.
            let pos_canvas = own.pos_canvas.filter(|table| *table != canvas);
            return (Self::Kept, Config { pos_canvas, ..alone });
        }
        if inside && within.validate("--canvas").is_ok() { (Self::Middle, within) } else { (Self::Stretched, alone) }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Kept => "positions as they are, those of",
            Self::Sampled => "positions sampled from",
            Self::Middle => "positions in the middle of those of",
            Self::Stretched => "positions stretched from",
        }
    }
}

/// Refuses what a model directory holds itself.
fn only_its_own(args: &ConvertArgs) -> Result<()> {
    let given = [args.config.as_ref().map(|_| "--config"), args.tokenizer.as_ref().map(|_| "--tokenizer")];
    match given.into_iter().flatten().next() {
        Some(option) => {
            Err(Error::Usage(format!("{option}: has no meaning for a model directory, which holds its own")))
        }
        None => Ok(()),
    }
}

/// A model of the Grounding DINO family becomes one in another element type, under the same names.
fn in_type(input: &Path, args: &ConvertArgs) -> Result<()> {
    only_its_own(args)?;
    if args.canvas.is_some() {
        return Err(Error::Usage("--canvas: has no meaning for this model, which takes pictures of any shape".into()));
    }
    if args.packed || !matches!(args.dtype, Precision::F32 | Precision::F16) {
        let reason = "this model is stored in f32 or f16, and not packed (--dtype f32|f16, without --packed)";
        return Err(Error::Usage(format!("{}: {reason}", input.display())));
    }
    let out = out(args)?;
    if is_checkpoint(out) {
        let out = out.display();
        return Err(Error::Usage(format!("--out {out}: the model is a folder, expected a name for one")));
    }
    let _held = models::hold(input);
    let dir = grounding_dino::ModelDir::open(input)?;
    grounding_dino::ModelDir::check_free(out, args.force)?;
    let calibration = Calibration::of(input, &dir.digest()?)?;
    let new = dir.write_as(out, dtype(args.dtype), args.force)?;
    let digest = new.digest()?;
    if let Some(calibration) = calibration {
        calibration.for_model(&digest).save(new.path())?;
    }
    tracing::info!("{}: {:?}, digest {digest}", new.path().display(), dtype(args.dtype));
    Ok(())
}

/// Seeded weights, over which sources are laid, become a model directory.
fn draw(seed: u64, args: &ConvertArgs) -> Result<()> {
    let config = config(args)?;
    let beside = args
        .bert
        .as_ref()
        .and_then(|dir| ["tokenizer.json", "vocab.txt"].map(|name| dir.join(name)).into_iter().find(|f| f.is_file()));
    let tokenizer = match args.tokenizer.clone().or(beside) {
        Some(file) => tokenizer(&file, &config)?,
        None => QueryTokenizer::characters(config.max_query_len, config.bert.vocab_size)?,
    };
    let sources = Sources { detector: args.detector.as_deref(), text: args.bert.as_deref(), ..Sources::default() };
    let (tensors, report) = weights::initialise(&config, seed, sources, &Device::Cpu)?;
    if report.loaded.is_empty() {
        tracing::info!("{} tensors drawn from seed {seed}", tensors.len());
    } else {
        tracing::info!("{}", report.to_string().trim_end());
    }
    let origin = format!("Drawn from seed {seed}, **untrained**: its boxes mean nothing.");
    write(args, &config, &tensors, &tokenizer, &origin, false)
}

fn tokenizer(file: &Path, config: &Config) -> Result<QueryTokenizer> {
    Ok(QueryTokenizer::from_file(file, config.max_query_len, config.bert.vocab_size)?)
}

pub(super) fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F16 => DType::F16,
        Precision::Bf16 => DType::BF16,
        Precision::Int8 => DType::U8,
    }
}

/// What products compute in, of whose weights a packed file is to be.
fn arithmetic(precision: Precision) -> Result<Arithmetic> {
    match precision {
        Precision::F32 => Ok(Arithmetic::F32),
        Precision::Bf16 => Ok(Arithmetic::Bf16),
        Precision::Int8 => Ok(Arithmetic::Int8),
        Precision::F16 => Err(Error::Usage("--packed: no CPU computes in f16, expected f32, bf16 or int8".into())),
    }
}

/// Packed weights into a model directory.
fn pack(dir: &ModelDir, precision: Precision) -> Result<()> {
    let precision = arithmetic(precision)?;
    let path = qrnet::packed::write(dir, precision)?;
    let size = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    tracing::info!("{}: {} MB, for runs with --precision {}", path.display(), size / 1_000_000, precision.name());
    Ok(())
}

fn write(
    args: &ConvertArgs,
    config: &Config,
    tensors: &Tensors,
    tokenizer: &QueryTokenizer,
    origin: &str,
    trained: bool,
) -> Result<()> {
    let count: usize = tensors.values().map(candle_core::Tensor::elem_count).sum();
    let card = format!(
        "# A QRNet model\n\n{origin}\n\n- {count} parameters in {} tensors\n- canvas {}, queries of up to {} pieces\n- presence head: {}\n",
        tensors.len(),
        config.canvas,
        config.max_query_len - 2,
        if config.presence { "yes" } else { "no" },
    );
    finish(args, &NewModel { config, tensors, dtype: dtype(args.dtype), tokenizer, card: &card, trained })
}

fn finish(args: &ConvertArgs, new: &NewModel) -> Result<()> {
    if args.packed {
        arithmetic(args.dtype)?;
    }
    let dir = ModelDir::write(out(args)?, new, args.force)?;
    let count: usize = new.tensors.values().map(candle_core::Tensor::elem_count).sum();
    tracing::info!("{}: {count} parameters, digest {}", dir.path().display(), dir.digest()?);
    if args.packed { pack(&dir, args.dtype) } else { Ok(()) }
}

/// A model directory becomes one whose weights lie in another element type.
fn store(input: &Path, args: &ConvertArgs) -> Result<()> {
    only_its_own(args)?;
    ModelDir::check_free(out(args)?, args.force)?;
    let dir = ModelDir::open(input)?;
    let (tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu)?;
    let card = std::fs::read_to_string(input.join("README.md")).unwrap_or_default();
    let name = args.dtype.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let digest = dir.digest()?;
    let card = format!("{}\n\nWeights in {name}, by `spotter convert`, from the model {digest}.\n", card.trim_end());
    finish(
        args,
        &NewModel {
            config: dir.config(),
            tensors: &tensors,
            dtype: dtype(args.dtype),
            tokenizer: &dir.load_tokenizer()?,
            card: &card,
            trained: dir.trained(),
        },
    )
}

/// A model directory becomes safetensors with the reference's names.
fn export(input: &Path, out: &Path, args: &ConvertArgs) -> Result<()> {
    only_its_own(args)?;
    let dir = ModelDir::open(input)?;
    let fail = |reason: &str| Err(Error::Usage(format!("--out {}: {reason}", out.display())));
    if args.packed || !matches!(args.dtype, Precision::F32 | Precision::F16) {
        return fail("--packed, bf16 and int8 are for model directories, expected a name for one");
    }
    if out.exists() && !args.force {
        return fail("exists already; name another file or use --force");
    }
    let (mut tensors, _) = weights::load(&dir.weights(), dir.config(), &Device::Cpu)?;
    let dtype = dtype(args.dtype);
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_dtype(dtype).map_err(qrnet::Error::from)?;
    }
    let state = weights::state_dict(dir.config(), &tensors)?;
    let mut metadata = std::collections::HashMap::from([(TRAINED.to_owned(), dir.trained().to_string())]);
    metadata.extend(dir.config().threshold.map(|threshold| (THRESHOLD.to_owned(), threshold.to_string())));
    blocks::checkpoint::save(&state, Some(metadata), out)?;
    tracing::info!("{}: {} tensors with the reference's names", out.display(), state.len());
    Ok(())
}
