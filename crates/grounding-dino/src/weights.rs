//! Weights by the names of Hugging Face's library: one file of safetensors, or several with an index.

mod compare;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blocks::checkpoint::TensorFile;
use blocks::error::{Error, Result, TensorSpec};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use serde::Deserialize;

use crate::config::Config;
use crate::model::FrameModel;
use crate::swin::PREFIX;
use crate::text::TextModel;

pub use compare::Comparison;

pub(crate) const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The halves of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What reads sentences.
    Text,
    /// What reads pictures.
    Frame,
}

/// All tensors that a model of these sizes reads.
///
/// # Errors
/// Only where memory runs out.
pub fn parameters(config: &Config, part: Part) -> Result<Vec<TensorSpec>> {
    let specs = Arc::new(Mutex::new(Vec::new()));
    let vb = VarBuilder::from_backend(Box::new(Recorder(Arc::clone(&specs))), DType::F32, Device::Cpu);
    match part {
        Part::Text => drop(TextModel::new(config, &vb)?),
        Part::Frame => drop(FrameModel::new(config, &vb)?),
    }
    let specs = std::mem::take(&mut *specs.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(specs)
}

/// Notes what is asked for, and gives zeros that take no memory.
struct Recorder(Arc<Mutex<Vec<TensorSpec>>>);

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let parts = parts(name);
        let mut part = shape.dims().to_vec();
        if let Some(rows) = part.first_mut() {
            *rows /= parts.len();
        }
        let mut specs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        specs.extend(parts.into_iter().map(|name| TensorSpec { name, shape: part.clone() }));
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor {name} is read without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// The weights of a directory, open. Nothing is read before it is asked for.
pub struct Weights {
    /// What errors name where a tensor is in no file.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Which file holds a tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens the weights in `dir`.
    ///
    /// # Errors
    /// There are none, a part of them is missing, or a file is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let paths = paths(dir)?;
        let index = dir.join(INDEX);
        let open = |path: &PathBuf| {
            if paths.len() > 1 && !path.is_file() {
                let reason = format!("is missing, but {} names it: the weights are not whole", index.display());
                return Err(Error::file(path, reason));
            }
            TensorFile::open(path)
        };
        let files = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut places = BTreeMap::new();
        for (place, file) in files.iter().enumerate() {
            places.extend(file.names().into_iter().map(|name| (name, place)));
        }
        let path = if let [only] = paths.as_slice() { only.clone() } else { index };
        Ok(Self { path, files, places })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The file that holds a tensor, and the tensor's name there.
    fn find(&self, name: &str) -> Option<(&TensorFile, String)> {
        let found = |name: String| self.places.get(&name).map(|place| (&self.files[*place], name));
        aliases(name).into_iter().find_map(found)
    }

    /// Compares names and shapes with what the configuration asks for.
    ///
    /// # Errors
    /// All missing names at once, or the first wrong shape.
    pub fn check(&self, config: &Config, part: Part) -> Result<()> {
        let mut missing = Vec::new();
        for TensorSpec { name, shape } in parameters(config, part)? {
            let Some((file, name)) = self.find(&name) else {
                missing.push(TensorSpec { name, shape });
                continue;
            };
            if let Some(found) = file.shape(&name).filter(|found| *found != shape) {
                return Err(Error::Shape { path: file.path().to_path_buf(), name, found, expected: shape });
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::MissingTensors { path: self.path.clone(), missing }) }
    }

    /// A `VarBuilder` that reads tensors when they are asked for, as f32, and keeps none.
    pub fn into_builder(self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), DType::F32, device.clone())
    }
}

/// The files of the weights in `dir`, whether they are there or not.
///
/// # Errors
/// There are neither whole weights nor a readable index of their parts.
pub(crate) fn paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let (whole, index) = (dir.join(WHOLE), dir.join(INDEX));
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    if !index.is_file() {
        return Err(Error::file(dir, format!("holds neither {WHOLE} nor {INDEX}")));
    }
    let bytes = std::fs::read(&index).map_err(Error::io("read", &index))?;
    let Index { weight_map } = serde_json::from_slice(&bytes).map_err(|e| Error::file(&index, e))?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Error::file(&index, "names no files"));
    }
    // A name is one of a neighbour: paths to elsewhere are none that the library writes.
    if let Some(odd) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        return Err(Error::file(&index, format!("names the file {odd:?}, expected names of files beside it")));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!("tensor {name} has shape {:?}, expected {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let load = |name: String| match self.find(&name) {
            Some((file, name)) => file.load(&name, device).map_err(candle_core::Error::wrap)?.to_dtype(dtype),
            None => candle_core::bail!("{}: no tensor {name}", self.path.display()),
        };
        let loaded = parts(name).into_iter().map(load).collect::<candle_core::Result<Vec<_>>>()?;
        match loaded.as_slice() {
            [only] => Ok(only.clone()),
            parts => Tensor::cat(parts, 0),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        parts(name).iter().all(|name| self.find(name).is_some())
    }
}

/// What the library calls the tensors of [`blocks::swin::Block`]; it has queries, keys and values apart.
const SWIN_NAMES: [(&str, &str); 6] = [
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.relative_position_bias_table", ".attention.self.relative_position_bias_table"),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
];

/// The tensors of the file that make one of the model, one below the other.
fn parts(name: &str) -> Vec<String> {
    if !name.starts_with(PREFIX) {
        return vec![name.to_owned()];
    }
    if let Some((block, end)) = name.split_once(".attn.qkv.") {
        return ["query", "key", "value"].map(|part| format!("{block}.attention.self.{part}.{end}")).to_vec();
    }
    let renamed = SWIN_NAMES.iter().find(|(ours, _)| name.contains(ours));
    vec![renamed.map_or_else(|| name.to_owned(), |(ours, theirs)| name.replace(ours, theirs))]
}

/// Under which names a tensor may lie: the heads belong to the decoder too, and which of both names is stored is chance.
fn aliases(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if name.starts_with("bbox_embed.") || name.starts_with("class_embed.") {
        names.push(format!("model.decoder.{name}"));
    }
    names
}
