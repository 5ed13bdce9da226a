//! Files of tensors, whatever their format: safetensors (memory-mapped) or PyTorch's zip form.

mod mapped;
pub mod packed;
pub mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::files;
pub use mapped::Map;

/// Text in a safetensors header.
pub type Metadata = Option<HashMap<String, String>>;

/// Tensors by name, in name order.
pub type Tensors = BTreeMap<String, Tensor>;

/// An open file of tensors. Nothing is read before it is asked for.
pub struct TensorFile {
    path: PathBuf,
    shapes: HashMap<String, Vec<usize>>,
    /// Tables that lie there in one byte a value.
    compact: HashSet<String>,
    /// What the file calls a name, where that differs.
    prefix: &'static str,
    content: Content,
}

enum Content {
    Safetensors(MmapedSafetensors),
    Pickle(PthTensors),
}

/// Data-parallel training in PyTorch leaves this in front of every name.
const PARALLEL_PREFIX: &str = "module.";

/// Keys under which trainers put the state dict: the reference's, then mmdetection's.
const STATE_KEYS: [&str; 2] = ["model", "state_dict"];

impl TensorFile {
    /// Opens `path`; the format is told by the first bytes, not by the name.
    ///
    /// # Errors
    /// The file cannot be read, is empty, truncated, in PyTorch's old non-zip form, or holds no tensors.
    pub fn open(path: &Path) -> Result<Self> {
        // A safetensors file starts with the header's length in 8 bytes, then its JSON.
        let mut head = [0; 9];
        let mut file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let mut read = 0;
        while read < head.len() {
            match file.read(&mut head[read..]).map_err(Error::io("read", path))? {
                0 => break,
                n => read += n,
            }
        }
        match (read, head) {
            (0, _) => Err(Error::file(path, "is empty (0 bytes), expected tensors")),
            (_, [b'P', b'K', 3, 4, ..]) => Self::open_pickle(path),
            (_, [0x80, .., last]) if last != b'{' => Err(Error::file(
                path,
                "is in PyTorch's old non-zip form, which is not read; save it again with a PyTorch of 1.6 or later \
                 (torch.save(torch.load(FILE), NEW_FILE))",
            )),
            _ => Self::open_safetensors(path),
        }
    }

    fn open_safetensors(path: &Path) -> Result<Self> {
        let tensors = mapped::open(path).map_err(|e| {
            Error::file(path, format!("is neither whole safetensors nor a PyTorch checkpoint: {}", first_line(&e)))
        })?;
        let shapes = tensors.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
        Self::new(path, shapes, Content::Safetensors(tensors))
    }

    fn open_pickle(path: &Path) -> Result<Self> {
        let unreadable = |e: candle_core::Error| {
            Error::file(path, format!("is no whole PyTorch checkpoint (truncated or damaged): {}", first_line(&e)))
        };
        // A wrong key is an error; no key finds the tensors of a plain state dict, and strays of a nested one.
        let top = PthTensors::new(path, None).map_err(unreadable)?;
        let nested = STATE_KEYS.iter().find_map(|key| PthTensors::new(path, Some(key)).ok());
        let tensors = nested.filter(|nested| !nested.tensor_infos().is_empty()).unwrap_or(top);
        if tensors.tensor_infos().is_empty() {
            let reason =
                format!("holds no tensors, neither at the top nor under `{}` or `{}`", STATE_KEYS[0], STATE_KEYS[1]);
            return Err(Error::file(path, reason));
        }
        let shapes = tensors
            .tensor_infos()
            .iter()
            .map(|(name, info)| (name.clone(), info.layout.shape().dims().to_vec()))
            .collect();
        Self::new(path, shapes, Content::Pickle(tensors))
    }

    fn new(path: &Path, shapes: HashMap<String, Vec<usize>>, content: Content) -> Result<Self> {
        if shapes.is_empty() {
            return Err(Error::file(path, "holds no tensors"));
        }
        let parallel = shapes.keys().all(|name| name.starts_with(PARALLEL_PREFIX));
        let prefix = if parallel { PARALLEL_PREFIX } else { "" };
        let mut shapes: HashMap<String, Vec<usize>> =
            shapes.into_iter().map(|(name, shape)| (name[prefix.len()..].to_owned(), shape)).collect();
        let tables = shapes.keys().filter_map(|name| rows::table_of(name));
        let compact: HashSet<String> = tables.filter(|table| shapes.contains_key(*table)).map(String::from).collect();
        shapes.retain(|name, _| !rows::table_of(name).is_some_and(|table| compact.contains(table)));
        Ok(Self { path: path.to_path_buf(), shapes, compact, prefix, content })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.shapes.keys().cloned().collect();
        names.sort();
        names
    }

    /// Shape of a tensor, `None` where the file lacks it.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shapes.get(name).cloned()
    }

    /// Element type of a tensor as the file holds it, `None` where the file lacks it or does not tell.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        match &self.content {
            Content::Safetensors(tensors) => {
                let view = tensors.get(&format!("{}{name}", self.prefix)).ok()?;
                DType::try_from(view.dtype()).ok()
            }
            Content::Pickle(_) => None,
        }
    }

    /// Reads one tensor in the file's own element type; in f32 where the file holds it in one byte a value.
    ///
    /// # Errors
    /// The file lacks it, or its bytes cannot be read.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let stored = self.load_stored(name, device)?;
        if !self.compact.contains(name) {
            return Ok(stored);
        }
        Ok(rows::unpack(&stored, &self.load_stored(&rows::scales_of(name), device)?)?)
    }

    /// A tensor that the file holds in one byte a value: these, and what one step of each row is worth; none where it holds it
    /// in another form.
    ///
    /// # Errors
    /// Its bytes cannot be read.
    pub fn steps(&self, name: &str) -> Result<Option<(Vec<i8>, Vec<f32>)>> {
        if !self.compact.contains(name) {
            return Ok(None);
        }
        let [codes, scales] = [name, &rows::scales_of(name)].map(|name| self.load_stored(name, &Device::Cpu));
        Ok(Some(rows::steps(&codes?, &scales?)?))
    }

    fn load_stored(&self, name: &str, device: &Device) -> Result<Tensor> {
        let stored = format!("{}{name}", self.prefix);
        let failed = |e: candle_core::Error| Error::file(&self.path, format!("tensor `{name}`: {}", first_line(&e)));
        match &self.content {
            Content::Safetensors(tensors) => tensors.load(&stored, device).map_err(failed),
            Content::Pickle(tensors) => {
                let tensor = tensors.get(&stored).map_err(failed)?;
                let tensor = tensor.ok_or_else(|| Error::file(&self.path, format!("holds no tensor `{name}`")))?;
                tensor.to_device(device).map_err(failed)
            }
        }
    }

    /// The safetensors header's metadata; empty for other formats.
    ///
    /// # Errors
    /// The header cannot be read.
    pub fn metadata(&self) -> Result<HashMap<String, String>> {
        match &self.content {
            Content::Safetensors(_) => mapped::metadata(&self.path).map_err(|e| Error::file(&self.path, e)),
            Content::Pickle(_) => Ok(HashMap::new()),
        }
    }
}

/// candle appends a backtrace to its messages where one is enabled.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Writes safetensors, in full or not at all: into a neighbour first, then renamed.
///
/// # Errors
/// The file cannot be written.
pub fn save(tensors: &[(String, Tensor)], metadata: Metadata, path: &Path) -> Result<()> {
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let folder = files::parent(path);
    if !folder.is_dir() {
        return Err(Error::file(path, format!("its folder {} is not there", folder.display())));
    }
    let staged = tempfile::Builder::new()
        .prefix(".tensors-")
        .tempfile_in(folder)
        .map_err(|e| Error::io("create", path)(e.kind().into()))?;
    safetensors::serialize_to_file(views, metadata, staged.path()).map_err(|e| Error::file(path, e))?;
    files::publish(staged, path).map_err(Error::io("write", path))
}
