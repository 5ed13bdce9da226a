//! A checkpoint beside what its configuration asks for.

use std::collections::{BTreeMap, BTreeSet};

use blocks::error::{Result, TensorSpec};
use candle_core::{DType, Device, Tensor};

use super::{Part, Weights, aliases, parameters};
use crate::config::Config;

/// Where names and shapes of a checkpoint differ from what its configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Tensors that the model reads and no file holds.
    pub missing: Vec<TensorSpec>,
    /// Tensors of another shape, and that shape.
    pub wrong: Vec<(TensorSpec, Vec<usize>)>,
    /// Tensors that nobody reads. Libraries write some that follow from others.
    pub extra: Vec<String>,
}

impl Comparison {
    /// Whether a model can be built from the checkpoint.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.wrong.is_empty()
    }
}

impl Weights {
    /// Compares all names and shapes, in the order of names.
    ///
    /// # Errors
    /// As [`parameters`].
    pub fn compare(&self, config: &Config) -> Result<Comparison> {
        let mut asked = BTreeMap::new();
        for part in [Part::Frame, Part::Text] {
            asked.extend(parameters(config, part)?.into_iter().map(|spec| (spec.name.clone(), spec)));
        }
        let (mut comparison, mut read) = (Comparison::default(), BTreeSet::new());
        for (name, spec) in asked {
            read.extend(aliases(&name));
            let found = self.find(&name).map(|(file, name)| file.shape(&name).unwrap_or_default());
            match found {
                None => comparison.missing.push(spec),
                Some(found) if found != spec.shape => comparison.wrong.push((spec, found)),
                Some(_) => {}
            }
        }
        comparison.extra = self.names().filter(|name| !read.contains(*name)).map(str::to_owned).collect();
        Ok(comparison)
    }

    /// Reads every byte: names of tensors that hold what is no number.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn damaged(&self) -> Result<Vec<String>> {
        let mut damaged = Vec::new();
        for (name, place) in &self.places {
            let tensor = self.files[*place].load(name, &Device::Cpu)?;
            if !tensor.dtype().is_float() || tensor.elem_count() == 0 {
                continue;
            }
            let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            if values.iter().any(|value| !value.is_finite()) {
                damaged.push(name.clone());
            }
        }
        Ok(damaged)
    }

    /// Every tensor by its name in the file, as `made` makes it of the stored one.
    ///
    /// # Errors
    /// A file cannot be read, or those of `made`.
    pub(crate) fn all(&self, made: impl Fn(&str, &Tensor) -> Result<Tensor>) -> Result<Vec<(String, Tensor)>> {
        let one = |(name, place): (&String, &usize)| {
            let stored = self.files[*place].load(name, &Device::Cpu)?;
            Ok((name.clone(), made(name, &stored)?))
        };
        self.places.iter().map(one).collect()
    }

    /// Element types on disk, each once, and how many files there are.
    pub fn stored(&self) -> (Vec<DType>, usize) {
        let mut types: Vec<DType> = Vec::new();
        for (name, place) in &self.places {
            let dtype = self.files[*place].dtype(name).filter(DType::is_float);
            types.extend(dtype.filter(|dtype| !types.contains(dtype)));
        }
        (types, self.files.len())
    }
}
