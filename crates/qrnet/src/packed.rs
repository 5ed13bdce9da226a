//! Packed weights beside a model: `model.f32.packed` and its like, a file for every precision that somebody wants to start
//! in without packing. What is computed with them is the same to the bit.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use blocks::checkpoint::TensorFile;
use blocks::checkpoint::packed::{PackedFile, PackedWriter};
use blocks::error::{Error, Result};
use blocks::ops::kernel::dense::{Arithmetic, Dense};
use blocks::packed::weights::{SeenWeight, Sources, Weights};
use candle_core::Device;

use crate::cpu::CpuFrame;
use crate::model_dir::ModelDir;
use crate::params::Part;
use crate::weights;

/// Writes a model's weights as products in `precision` read them, into its directory; what lay there before gives way.
///
/// # Errors
/// The model cannot be read, or the file cannot be written.
pub fn write(dir: &ModelDir, precision: Arithmetic) -> Result<PathBuf> {
    let path = dir.packed(precision);
    let writer = RefCell::new(PackedWriter::new(&path, &dir.digest()?, precision)?);
    each(dir, precision, &|name, weight| writer.borrow_mut().add(name, weight))?;
    writer.into_inner().finish()?;
    Ok(path)
}

/// The precisions of which there are packed weights in the directory; each file is whole and of this model. With `deep`, its
/// weights are compared with the model's.
///
/// # Errors
/// One of them cannot be used.
pub fn check(dir: &ModelDir, deep: bool) -> Result<Vec<Arithmetic>> {
    let mut found = Vec::new();
    for precision in Arithmetic::ALL.into_iter().filter(|precision| dir.packed(*precision).exists()) {
        let file = open(dir, precision)?;
        if deep {
            each(dir, precision, &|name, weight| {
                let (sizes, biased) = ((weight.input(), weight.output()), !weight.parts()[1].is_empty());
                let lying = file.get(name, sizes, biased, weight.arithmetic());
                if lying.is_none_or(|lying| lying.parts() != weight.parts()) {
                    return Err(advised(dir, precision, &format!("holds another `{name}` than the model")));
                }
                Ok(())
            })?;
        }
        found.push(precision);
    }
    Ok(found)
}

/// The packed weights in the directory, if there are any of use; it is warned of others, which are left alone.
pub(crate) fn beside(dir: &ModelDir, precision: Arithmetic) -> Option<PackedFile> {
    if !dir.packed(precision).exists() {
        return None;
    }
    open(dir, precision)
        .inspect_err(|error| tracing::warn!("{error}; until then weights are packed at every start"))
        .ok()
}

/// Warns where a file lacked what was asked of it.
pub(crate) fn warn_of_missing(dir: &ModelDir, precision: Arithmetic, file: Option<&PackedFile>) {
    if file.is_some_and(|file| !file.complete()) {
        let error = advised(dir, precision, "lacks weights of the model");
        tracing::warn!("{error}; until then some are packed at every start");
    }
}

fn open(dir: &ModelDir, precision: Arithmetic) -> Result<PackedFile> {
    PackedFile::open(&dir.packed(precision), &dir.digest()?, precision).map_err(|error| match error {
        Error::File { reason, .. } => advised(dir, precision, &reason),
        other => other,
    })
}

fn advised(dir: &ModelDir, precision: Arithmetic, reason: &str) -> Error {
    let (folder, name) = (dir.path().display(), precision.name());
    let advice = format!("write it anew with `spotter convert {folder} --packed --precision {name}`");
    Error::file(&dir.packed(precision), format!("{reason}; {advice}"))
}

/// Shows every weight of the model, packed anew.
fn each(dir: &ModelDir, precision: Arithmetic, seen: &SeenWeight) -> Result<()> {
    let file = Arc::new(TensorFile::open(&dir.weights())?);
    weights::check(&file, dir.config(), |spec| spec.part == Part::Frame)?;
    let vb = weights::lazy_builder(Arc::clone(&file), &Device::Cpu);
    // What went wrong here would come back as an error of a tensor's.
    let failed = RefCell::new(None);
    let seen = |name: &str, weight: &Dense| {
        if failed.borrow().is_none() {
            failed.replace(seen(name, weight).err());
        }
        Ok(())
    };
    let sources = Sources { file: Some(&file), seen: Some(&seen), ..Sources::default() };
    CpuFrame::new(dir.config(), &Weights::new(&vb, sources), &[], precision)?;
    failed.into_inner().map_or(Ok(()), Err)
}
