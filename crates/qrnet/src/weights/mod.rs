//! Weights on disk: safetensors and PyTorch checkpoints in, model tensors by the reference's names out, and a report
//! of what happened to every name.

mod positions;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::config::{Backbone, Config};
use crate::cpu;
use crate::init;
use crate::mobilenet::readers_of_gates;
use crate::params::{Kind, ParamSpec, parameters, table, trainable};
use blocks::checkpoint::rows::{self, Form};
use blocks::checkpoint::{TensorFile, Tensors};
use blocks::error::{Error, Result, TensorSpec};
use blocks::ops::kernel::dense::Arithmetic;
use blocks::swin::relative_position_index;
pub(crate) use positions::corners;

/// What became of every tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Model tensors read from the file, by the reference's names.
    pub loaded: Vec<String>,
    /// Names in the file that were left there, each with the reason.
    pub ignored: Vec<(String, &'static str)>,
    /// Model tensors that no file held and that keep their initial value.
    pub initial: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} tensors loaded, {} ignored, {} at their initial value",
            self.loaded.len(),
            self.ignored.len(),
            self.initial.len()
        )?;
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, reason) in &self.ignored {
            reasons.entry(reason).or_default().push(name);
        }
        for (reason, names) in reasons {
            writeln!(f, "  ignored, {reason}: {}", few(&names))?;
        }
        if !self.initial.is_empty() {
            writeln!(f, "  initial: {}", few(&self.initial.iter().map(String::as_str).collect::<Vec<_>>()))?;
        }
        Ok(())
    }
}

fn few(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    let more = names.len().saturating_sub(SHOWN);
    let list = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

/// Where a model's tensors come from when it is not loaded whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources<'a> {
    /// A detector checkpoint in mmdetection's layout: backbone and lateral convolutions.
    pub detector: Option<&'a Path>,
    /// A Hugging Face directory of a BERT-family encoder, or its weights file: the text tower.
    pub text: Option<&'a Path>,
    /// A checkpoint or model weights with the reference's names; may lack tensors.
    pub model: Option<&'a Path>,
    /// The sizes of that model, where its canvas may be another one: its position table is resampled then.
    pub model_config: Option<&'a Config>,
}

const UNUSED: &str = "read by no part of the model";
const CONSTANT: &str = "a constant that follows from the sizes";
const UNKNOWN: &str = "no such tensor in the model";

/// Reads a whole checkpoint: a `.pth` of the reference's trainer, or safetensors with the reference's names.
///
/// # Errors
/// The file cannot be read, lacks a tensor, or holds one of another shape.
pub fn load(path: &Path, config: &Config, device: &Device) -> Result<(Tensors, Report)> {
    let file = TensorFile::open(path)?;
    let (tensors, mut report) = pick(&file, config, (keep_name, None), device)?;
    let missing: Vec<TensorSpec> = parameters(config)
        .filter(|spec| !tensors.contains_key(&spec.name))
        .map(|spec| TensorSpec { name: spec.name, shape: spec.shape })
        .collect();
    if !missing.is_empty() {
        return Err(Error::MissingTensors { path: path.to_path_buf(), missing });
    }
    report.initial.clear();
    Ok((tensors, report))
}

/// Draws all tensors from `seed`, then overwrites what the sources hold. Later sources win: detector, text, model.
///
/// # Errors
/// A source cannot be read, holds a tensor of another shape or of what is no number, or holds nothing that the model needs;
/// the text source's own `config.json` tells of another encoder than the configuration.
pub fn initialise(config: &Config, seed: u64, sources: Sources, device: &Device) -> Result<(Tensors, Report)> {
    let mut tensors = init::parameters(config, seed, device)?;
    let mut report = Report::default();
    let mut overlay = |tensors: &mut Tensors, path: &Path, rename: Rename, own: Option<&Config>| -> Result<()> {
        let (found, part) = pick(&TensorFile::open(path)?, config, (rename, own), device)?;
        if found.is_empty() {
            let wanted =
                wanted(config, rename).map_or_else(String::new, |name| format!(", expected `{name}` among others"));
            return Err(Error::file(path, format!("holds none of the tensors that this source should bring{wanted}")));
        }
        finite(path, &found)?;
        report.loaded.extend(part.loaded);
        report.ignored.extend(part.ignored);
        tensors.extend(found);
        Ok(())
    };
    if let Some(path) = sources.detector {
        overlay(&mut tensors, path, rename_detector, None)?;
        whole_backbone(path, config)?;
        undo_gates(config, &mut tensors)?;
    }
    if let Some(path) = sources.text {
        blocks::text::pretrained::check(path, &config.bert)?;
        overlay(&mut tensors, &bert_weights(path)?, rename_bert, None)?;
    }
    if let Some(path) = sources.model {
        overlay(&mut tensors, path, keep_name, sources.model_config)?;
    }
    report.loaded.sort();
    report.loaded.dedup();
    report.initial = tensors.keys().filter(|name| report.loaded.binary_search(name).is_err()).cloned().collect();
    Ok((tensors, report))
}

/// A tensor that a source should bring, as the source calls it.
fn wanted(config: &Config, rename: Rename) -> Option<String> {
    parameters(config).find_map(|spec| {
        let bare = |prefix: &str| spec.name.strip_prefix(prefix).map(str::to_owned);
        let mut names = ["", "visumodel.", "textmodel.bert."].into_iter().filter_map(bare);
        names.find(|name| rename(name).as_deref() == Some(spec.name.as_str()))
    })
}

/// Sees that what weights start from are numbers: training would find out after its first step, and blame the data.
fn finite(path: &Path, tensors: &Tensors) -> Result<()> {
    for (name, tensor) in tensors {
        // Nothing times zero is nothing, unless it is no number or infinite.
        let sum: f32 = tensor.affine(0.0, 0.0)?.sum_all()?.to_scalar()?;
        if sum.is_nan() {
            let reason = format!("tensor `{name}` holds what is no number (NaN or infinite), expected finite values");
            return Err(Error::file(path, reason));
        }
    }
    Ok(())
}

/// Sees that a converted backbone holds all of a MobileNetV2: a part of one would be mended by random numbers, and nobody would
/// know.
fn whole_backbone(path: &Path, config: &Config) -> Result<()> {
    if !matches!(config.backbone(), Backbone::MobileNet(_)) {
        return Ok(());
    }
    check(&TensorFile::open(path)?, config, |spec| NETWORK.iter().any(|prefix| spec.name.starts_with(prefix)))
}

/// Gates that know nothing yet let half of half of everything through. A pretrained network's later stages expect the whole:
/// what reads a gated map multiplies by four.
fn undo_gates(config: &Config, tensors: &mut Tensors) -> Result<()> {
    const OPEN: f64 = 0.25;
    let Backbone::MobileNet(own) = config.backbone() else { return Ok(()) };
    for name in readers_of_gates(own, config.gated_stages()) {
        if let Some(tensor) = tensors.get_mut(&name) {
            *tensor = (&*tensor / OPEN)?;
        }
    }
    Ok(())
}

/// What the model calls a tensor of a file; none where it has no place there.
type Rename = fn(&str) -> Option<String>;

/// The reference's names are ours.
#[expect(clippy::unnecessary_wraps, reason = "one of several renamings, of which others drop names")]
fn keep_name(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// What names of a converted backbone begin with.
const NETWORK: [&str; 2] = ["visumodel.backbone.stem.", "visumodel.backbone.blocks."];

/// mmdetection's names → the reference's, those of a converted backbone are ours already; heads and output convolutions of the detector have no place in QRNet.
fn rename_detector(name: &str) -> Option<String> {
    // Without gates: what learned with them needs no other start than `model`.
    if NETWORK.iter().any(|prefix| name.starts_with(prefix)) {
        return Some(name.to_owned());
    }
    let keeps = ["backbone.", "neck.lateral_convs.", "rpn_head."];
    keeps.iter().any(|prefix| name.starts_with(prefix)).then(|| format!("visumodel.{name}"))
}

/// Hugging Face's names, with or without `bert.` in front, old or new LayerNorm names → the reference's.
fn rename_bert(name: &str) -> Option<String> {
    let bare = name.strip_prefix("bert.").unwrap_or(name);
    let ours = ["embeddings.", "encoder.", "pooler."].iter().any(|prefix| bare.starts_with(prefix));
    let bare = bare.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
    ours.then(|| format!("textmodel.bert.{bare}"))
}

fn bert_weights(path: &Path) -> Result<std::path::PathBuf> {
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let candidates = ["model.safetensors", "pytorch_model.bin"];
    candidates
        .iter()
        .map(|name| path.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::file(path, format!("holds neither {} nor {}", candidates[0], candidates[1])))
}

/// Reads every tensor of `file` that the model has under the name that `rename` gives it, checking shapes. The position
/// table of a file whose `own` sizes are given may belong to another canvas.
fn pick(
    file: &TensorFile,
    config: &Config,
    (rename, own): (Rename, Option<&Config>),
    device: &Device,
) -> Result<(Tensors, Report)> {
    let specs: HashMap<String, ParamSpec> = table(config).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
    let mut tensors = Tensors::new();
    let mut report = Report::default();
    for name in file.names() {
        let spec = rename(&name).and_then(|target| specs.get(&target));
        match spec.map(|spec| (spec, spec.kind)) {
            None => report.ignored.push((name, UNKNOWN)),
            Some((_, Kind::Unused)) => report.ignored.push((name, UNUSED)),
            Some((_, Kind::Buffer)) => report.ignored.push((name, CONSTANT)),
            Some((spec, Kind::Parameter | Kind::Frozen)) => {
                let other = |own: &&Config| own.position_canvas() != config.position_canvas();
                let table = match own.filter(|own| spec.name == positions::NAME && other(own)) {
                    Some(own) => positions::resampled(&file.load(&name, &Device::Cpu)?, own, config)?,
                    None => None,
                };
                let tensor = if let Some(table) = table {
                    table.to_device(device)?
                } else {
                    check_shape(file, &name, &spec.shape)?;
                    file.load(&name, device)?
                };
                tensors.insert(spec.name.clone(), tensor.to_dtype(DType::F32)?);
                report.loaded.push(spec.name.clone());
            }
        }
    }
    Ok((tensors, report))
}

fn check_shape(file: &TensorFile, name: &str, expected: &[usize]) -> Result<()> {
    match file.shape(name) {
        Some(found) if found == expected => Ok(()),
        Some(found) => {
            let (path, name, expected) = (file.path().to_path_buf(), name.to_owned(), expected.to_vec());
            Err(Error::Shape { path, name, found, expected })
        }
        None => {
            let missing = vec![TensorSpec { name: name.to_owned(), shape: expected.to_vec() }];
            Err(Error::MissingTensors { path: file.path().to_path_buf(), missing })
        }
    }
}

/// The table of words, which is stored in one byte a value where it is never trained.
const WORDS: &str = "textmodel.bert.embeddings.word_embeddings.weight";

/// The tensors as a model file of element type `dtype` holds them. In BF16 and U8 (one byte a value, with a scale a row) lie the weights of products in these alone:
/// all others, which decide fractions of a pixel or are read once a query, are in F32, so that such a model gives what one in
/// F32 gives when it computes in bf16 or bytes.
pub(crate) fn stored(config: &Config, tensors: &Tensors, dtype: DType) -> candle_core::Result<Vec<(String, Tensor)>> {
    let (arithmetic, narrow) = match dtype {
        DType::BF16 => (Arithmetic::Bf16, Form::Plain(dtype)),
        DType::U8 => (Arithmetic::Int8, Form::Bytes),
        _ => {
            let compact = config.bert.frozen_words && dtype == DType::F16;
            let bytes = |name: &str| compact && name == WORDS;
            return rows::stored(tensors, |name| if bytes(name) { Form::Bytes } else { Form::Plain(dtype) });
        }
    };
    let names = cpu::weights_in(config, tensors, arithmetic)?;
    rows::stored(tensors, |name| if names.contains(name) { narrow } else { Form::Plain(DType::F32) })
}

/// The element type that a model was written in, see [`NewModel::dtype`](crate::NewModel::dtype).
pub fn stored_as(file: &TensorFile) -> DType {
    let mut all = file.names().into_iter().filter(|name| name != WORDS).filter_map(|name| file.dtype(&name));
    all.find(|dtype| matches!(dtype, DType::F16 | DType::BF16 | DType::U8)).unwrap_or(DType::F32)
}

/// The reference's state dict: the parameters and the constants that PyTorch stores beside them.
///
/// # Errors
/// Only where memory runs out.
pub fn state_dict(config: &Config, tensors: &Tensors) -> Result<Vec<(String, Tensor)>> {
    let index = config.swin.as_ref().map_or_else(Vec::new, |swin| relative_position_index(swin.window_size));
    let constants = table(config).into_iter().filter(|spec| spec.kind == Kind::Buffer).map(|spec| {
        let index = Tensor::new(index.as_slice(), &Device::Cpu)?.to_dtype(DType::I64)?.reshape(spec.shape)?;
        Ok((spec.name, index))
    });
    let mut all = constants.collect::<Result<Vec<_>>>()?;
    all.extend(tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// A `VarBuilder` over tensors in memory.
pub fn builder(tensors: &Tensors, device: &Device) -> VarBuilder<'static> {
    let map = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    VarBuilder::from_tensors(map, DType::F32, device)
}

/// The same tensors, the trainable ones as variables, and a `VarBuilder` whose tensors carry their gradients. What
/// training leaves as it is (a frozen text tower) is among its tensors, but no variable.
///
/// # Errors
/// The device cannot hold them.
pub fn variables(
    config: &Config,
    tensors: &Tensors,
    device: &Device,
) -> Result<(BTreeMap<String, Var>, VarBuilder<'static>)> {
    let trained: HashSet<String> = trainable(config).map(|spec| spec.name).collect();
    let (mut vars, mut map) = (BTreeMap::new(), HashMap::new());
    for (name, tensor) in tensors {
        let tensor = tensor.to_device(device)?;
        if trained.contains(name) {
            let var = Var::from_tensor(&tensor)?;
            map.insert(name.clone(), var.as_tensor().clone());
            vars.insert(name.clone(), var);
        } else {
            map.insert(name.clone(), tensor);
        }
    }
    Ok((vars, VarBuilder::from_tensors(map, DType::F32, device)))
}

/// Checks `file` against the configuration: every parameter of the wanted part present and in shape.
///
/// # Errors
/// All missing names at once, or the first wrong shape.
pub fn check(file: &TensorFile, config: &Config, wanted: impl Fn(&ParamSpec) -> bool) -> Result<()> {
    let specs = parameters(config).filter(|spec| wanted(spec));
    let mut missing = Vec::new();
    for spec in specs {
        if file.shape(&spec.name).is_none() {
            missing.push(TensorSpec { name: spec.name, shape: spec.shape });
        } else {
            check_shape(file, &spec.name, &spec.shape)?;
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::MissingTensors { path: file.path().to_path_buf(), missing }) }
}

/// A `VarBuilder` that reads tensors from `file` when they are asked for, and keeps none.
pub fn lazy_builder(file: impl Into<Arc<TensorFile>>, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Lazy(file.into())), DType::F32, device.clone())
}

struct Lazy(Arc<TensorFile>);

impl SimpleBackend for Lazy {
    fn get(
        &self,
        shape: candle_core::Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!("tensor {name} has shape {:?}, expected {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.0.load(name, device).map_err(candle_core::Error::wrap)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.shape(name).is_some()
    }
}
