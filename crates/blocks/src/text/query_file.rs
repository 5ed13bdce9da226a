//! Compiled queries in files: safetensors with the sentence, its pieces and the model's digest, and what the model's family
//! makes of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::checkpoint::{self, TensorFile};
use crate::error::{Error, Result};

const FORMAT: &str = "spotter.query/1";
const IDS: &str = "ids";

/// A compiled query's file, open.
pub struct QueryFile {
    path: PathBuf,
    file: TensorFile,
    /// The sentence.
    pub text: String,
    /// Digest of the model that it was compiled for.
    pub model: String,
}

impl QueryFile {
    /// Opens a query, whatever model it is for.
    ///
    /// # Errors
    /// The file is no compiled query.
    pub fn open(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let mut metadata = file.metadata()?;
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(Error::file(path, format!("is no compiled query, expected format {FORMAT} in its header")));
        }
        let mut header =
            |key: &str| metadata.remove(key).ok_or_else(|| Error::file(path, format!("lacks `{key}` in its header")));
        let (model, text) = (header("model")?, header("text")?);
        Ok(Self { path: path.to_path_buf(), file, text, model })
    }

    /// Opens a query of the model with digest `model`.
    ///
    /// # Errors
    /// The file is no compiled query, or belongs to another model.
    pub fn open_for(path: &Path, model: &str) -> Result<Self> {
        let file = Self::open(path)?;
        if file.model != model {
            return Err(Error::foreign_query(Some(path), &file.model, model));
        }
        Ok(file)
    }

    /// Its pieces, at most `most`.
    ///
    /// # Errors
    /// There are none, or too many.
    pub fn ids(&self, most: usize) -> Result<Vec<u32>> {
        let ids: Vec<u32> = self.file.load(IDS, &Device::Cpu)?.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        if !(1..=most).contains(&ids.len()) {
            return Err(Error::file(&self.path, format!("holds {} pieces, expected 1 to {most}", ids.len())));
        }
        Ok(ids)
    }

    /// A tensor of the family's own, as f32.
    ///
    /// # Errors
    /// It is missing, or of another shape.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let tensor = self.file.load(name, device)?;
        if tensor.dims() != shape {
            let (path, name) = (self.path.clone(), name.to_owned());
            return Err(Error::Shape { path, name, found: tensor.dims().to_vec(), expected: shape.to_vec() });
        }
        Ok(tensor.to_dtype(DType::F32)?)
    }
}

/// Writes a query, in full or not at all: its sentence, pieces and model's digest, and the family's own tensors.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, (text, ids, model): (&str, &[u32], &str), own: Vec<(String, Tensor)>) -> Result<()> {
    let mut tensors = vec![(IDS.to_owned(), Tensor::new(ids, &Device::Cpu)?)];
    tensors.extend(own);
    let metadata = [("format", FORMAT), ("text", text), ("model", model)];
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    checkpoint::save(&tensors, Some(metadata), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("query.safetensors");
        let own = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).expect("a tensor");
        save(&path, ("a red car", &[7, 8, 9], "one"), vec![("own".into(), own)]).expect("saved");
        let file = QueryFile::open_for(&path, "one").expect("opens");
        assert_eq!((file.text.as_str(), file.ids(3).expect("pieces")), ("a red car", vec![7, 8, 9]));
        let read = file.tensor("own", &[2, 2], &Device::Cpu).and_then(|t| Ok(t.to_vec2::<f32>()?));
        assert_eq!(read.expect("read"), [[1.0, 2.0], [3.0, 4.0]]);
        let message = |result: Result<()>| result.expect_err("refused").to_string();
        assert!(message(file.ids(2).map(drop)).contains("holds 3 pieces, expected 1 to 2"));
        let shape = message(file.tensor("own", &[2, 3], &Device::Cpu).map(drop));
        assert!(shape.contains("tensor `own` has shape [2, 2]"), "{shape}");
        let foreign = message(QueryFile::open_for(&path, "two").map(drop));
        assert!(foreign.contains("compiled for model one, but this model is two"), "{foreign}");
        let own = Tensor::new(&[1.0_f32], &Device::Cpu).expect("a tensor");
        checkpoint::save(&[("own".into(), own)], None, &path).expect("saved");
        assert!(message(QueryFile::open(&path).map(drop)).contains("is no compiled query"));
    }
}
