//! Files of packed weights: as products read them, each part on a cache line, to be mapped and used where they lie. All
//! processes that map such a file share its pages.
//!
//! The file begins with `MAGIC`, the version, place and length of the header, and the header's SHA-256, in 64 bytes; then
//! come the weights; then the header, in JSON.

use std::collections::BTreeMap;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::mapped::Map;
use crate::error::{Error, Result};
use crate::files;
use crate::ops::kernel::dense::{Arithmetic, Dense, layout};
use crate::ops::kernel::store::{CACHE_LINE, Part};

const MAGIC: &[u8; 8] = b"SPOTPACK";
const VERSION: u64 = 1;
/// Of the file's beginning.
const PROLOGUE: usize = 64;
/// How numbers lie.
const BYTE_ORDER: &str = if cfg!(target_endian = "little") { "little" } else { "big" };

/// What a file says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// See [`layout`].
    layout: String,
    byte_order: String,
    /// Digest of the model whose weights these are.
    model: String,
    /// What its products compute in, as [`Arithmetic::name`] has it; some of the weights are for f32 all the same.
    precision: String,
    weights: BTreeMap<String, Entry>,
}

/// One weight.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    arithmetic: String,
    input: usize,
    output: usize,
    /// First byte and length of its parts; those of no length are not there.
    parts: [(usize, usize); 3],
}

impl Header {
    fn new(model: &str, precision: Arithmetic) -> Self {
        let (layout, byte_order) = (layout(), BYTE_ORDER.to_owned());
        let (model, precision) = (model.to_owned(), precision.name().to_owned());
        Self { layout, byte_order, model, precision, weights: BTreeMap::new() }
    }
}

/// A mapped file of packed weights.
#[derive(Debug)]
pub struct PackedFile {
    path: PathBuf,
    map: Arc<Map>,
    weights: BTreeMap<String, Entry>,
    /// Whether a weight was asked for that is not there.
    missed: AtomicBool,
}

impl PackedFile {
    /// Maps the packed weights that lie at `path`.
    ///
    /// # Errors
    /// They cannot be read, are damaged, or are those of another model than that of this digest, of another precision, or
    /// in another layout.
    pub fn open(path: &Path, model: &str, precision: Arithmetic) -> Result<Self> {
        let map = Arc::new(Map::open(path).map_err(Error::io("read", path))?);
        let header = header(map.bytes()).map_err(|reason| Error::file(path, reason))?;
        let expected = Header::new(model, precision);
        for (what, found, expected) in [
            ("layout", &header.layout, &expected.layout),
            ("byte order", &header.byte_order, &expected.byte_order),
            ("model", &header.model, &expected.model),
            ("precision", &header.precision, &expected.precision),
        ] {
            if found != expected {
                return Err(Error::file(path, format!("holds weights of {what} {found}, expected {expected}")));
            }
        }
        map.read_ahead();
        Ok(Self { path: path.to_path_buf(), map, weights: header.weights, missed: AtomicBool::new(false) })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The weight of this name where it lies, if it is there and as expected, `biased` or not.
    pub fn get(
        &self,
        name: &str,
        (input, output): (usize, usize),
        biased: bool,
        arithmetic: Arithmetic,
    ) -> Option<Dense> {
        let found = self.find(name, (input, output), biased, arithmetic);
        if found.is_none() {
            self.missed.store(true, Ordering::Relaxed);
        }
        found
    }

    fn find(&self, name: &str, (input, output): (usize, usize), biased: bool, arithmetic: Arithmetic) -> Option<Dense> {
        let entry = self.weights.get(name)?;
        let alike = entry.arithmetic == arithmetic.name() && (entry.parts[1].1 > 0) == biased;
        let fits = entry.input == input && entry.output == output && alike;
        let part = |(first, length): (usize, usize)| Part::new(&self.map, first..first.checked_add(length)?);
        let parts = entry.parts.map(|place| (place.1 > 0).then(|| part(place)));
        // A part that lies outside makes the whole useless, and is no missing one.
        let outside = parts.iter().any(|part| matches!(part, Some(None)));
        (fits && !outside).then(|| Dense::mapped(arithmetic, input, output, parts.map(Option::flatten)))?
    }

    /// Whether every weight that was asked for was there.
    pub fn complete(&self) -> bool {
        !self.missed.load(Ordering::Relaxed)
    }
}

/// The header of a file of these bytes, or why it has none.
fn header(bytes: &[u8]) -> std::result::Result<Header, String> {
    let begins = bytes.starts_with(MAGIC) && bytes.len() >= PROLOGUE;
    if !begins {
        return Err("is no file of packed weights".into());
    }
    let number = |place: usize| {
        let bytes = bytes[place..place + 8].try_into().unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    let (version, first, length) = (number(8), number(16), number(24));
    if version != VERSION {
        return Err(format!("is a file of packed weights of version {version}, expected {VERSION}"));
    }
    let end = usize::try_from(first.saturating_add(length)).ok().filter(|end| *end == bytes.len());
    let json = end.and_then(|end| bytes.get(first as usize..end)).ok_or("is truncated")?;
    if Sha256::digest(json)[..] != bytes[32..PROLOGUE] {
        return Err("has a damaged header: its checksum is another one".into());
    }
    serde_json::from_slice(json).map_err(|e| format!("has an unreadable header: {e}"))
}

/// A file of packed weights on its way; it appears at its path when it is whole.
pub struct PackedWriter {
    path: PathBuf,
    file: BufWriter<tempfile::NamedTempFile>,
    at: usize,
    header: Header,
}

impl PackedWriter {
    /// Begins a file for `path`, of a model of this digest.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn new(path: &Path, model: &str, precision: Arithmetic) -> Result<Self> {
        let staged = tempfile::Builder::new().prefix(".packed-").tempfile_in(files::parent(path));
        let mut file = BufWriter::new(staged.map_err(Error::io("create", path))?);
        file.write_all(&[0; PROLOGUE]).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_path_buf(), file, at: PROLOGUE, header: Header::new(model, precision) })
    }

    /// Adds a weight.
    ///
    /// # Errors
    /// It cannot be written.
    ///
    /// # Panics
    /// A part is not of whole cache lines, so that what comes behind it would lie askew.
    pub fn add(&mut self, name: &str, weight: &Dense) -> Result<()> {
        let mut places = [(0, 0); 3];
        for (place, bytes) in places.iter_mut().zip(weight.parts()) {
            assert!(bytes.len().is_multiple_of(CACHE_LINE), "parts are whole cache lines");
            self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
            *place = (self.at, bytes.len());
            self.at += bytes.len();
        }
        let arithmetic = weight.arithmetic().name().to_owned();
        let entry = Entry { arithmetic, input: weight.input(), output: weight.output(), parts: places };
        self.header.weights.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let json = serde_json::to_vec(&self.header).map_err(|e| Error::file(&self.path, e))?;
        let mut prologue = Vec::with_capacity(PROLOGUE);
        prologue.extend(MAGIC);
        for number in [VERSION, self.at as u64, json.len() as u64] {
            prologue.extend(number.to_le_bytes());
        }
        prologue.extend(Sha256::digest(&json));
        let failed = Error::io("write", &self.path);
        let write = |file: &mut BufWriter<tempfile::NamedTempFile>| {
            file.write_all(&json)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&prologue)
        };
        if let Err(error) = write(&mut self.file) {
            return Err(failed(error));
        }
        let staged = self.file.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        files::publish(staged, &self.path).map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "0123";

    fn weight(arithmetic: Arithmetic, bias: bool) -> Dense {
        let weight: Vec<f32> = (0..40 * 500).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let values: Vec<f32> = (0..40).map(|i| i as f32 / 8.0).collect();
        Dense::new(&weight, bias.then_some(values.as_slice()), 500, arithmetic)
    }

    fn written(folder: &Path, precision: Arithmetic) -> PathBuf {
        let path = folder.join(precision.name());
        let mut writer = PackedWriter::new(&path, MODEL, precision).expect("begun");
        for arithmetic in [precision, Arithmetic::F32] {
            for bias in [true, false] {
                let name = format!("{}.{bias}", arithmetic.name());
                writer.add(&name, &weight(arithmetic, bias)).expect("added");
            }
        }
        writer.finish().expect("written");
        path
    }

    #[test]
    fn weights_lie_in_the_file_as_they_were_packed() {
        let folder = tempfile::tempdir().expect("a folder");
        for precision in Arithmetic::ALL {
            let file = PackedFile::open(&written(folder.path(), precision), MODEL, precision).expect("opens");
            let range = file.map.bytes().as_ptr_range();
            for arithmetic in [precision, Arithmetic::F32] {
                for bias in [true, false] {
                    let name = format!("{}.{bias}", arithmetic.name());
                    let found = file.get(&name, (500, 40), bias, arithmetic).expect("there");
                    assert_eq!(found.parts(), weight(arithmetic, bias).parts(), "{name}");
                    for part in found.parts().into_iter().filter(|part| !part.is_empty()) {
                        assert!(range.contains(&part.as_ptr()), "{name} is used where it lies");
                        assert_eq!(part.as_ptr().addr() % CACHE_LINE, 0, "{name} begins on a cache line");
                    }
                }
            }
            assert!(file.complete());
            for (name, sizes, biased, arithmetic) in [
                ("other", (500, 40), true, precision),
                ("f32.true", (499, 40), true, Arithmetic::F32),
                ("f32.true", (500, 33), true, Arithmetic::F32),
                ("f32.true", (500, 40), false, Arithmetic::F32),
            ] {
                assert!(file.get(name, sizes, biased, arithmetic).is_none(), "{name} {sizes:?} {biased}");
            }
            assert!(!file.complete());
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path(), Arithmetic::Int8);
        let whole = std::fs::read(&path).expect("read");
        let told = |bytes: &[u8], model: &str, precision: Arithmetic| {
            let copy = folder.path().join("copy");
            std::fs::write(&copy, bytes).expect("written");
            PackedFile::open(&copy, model, precision).map(|_| ()).expect_err("refused").to_string()
        };
        let changed = |place: usize| {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            bytes
        };
        let last = whole.len() - 1;
        for (bytes, model, precision, expected) in [
            (whole.clone(), "4567", Arithmetic::Int8, "holds weights of model 0123, expected 4567"),
            (whole.clone(), MODEL, Arithmetic::Bf16, "holds weights of precision int8, expected bf16"),
            (whole[..last].to_vec(), MODEL, Arithmetic::Int8, "is truncated"),
            (whole[..40].to_vec(), MODEL, Arithmetic::Int8, "is no file of packed weights"),
            (changed(0), MODEL, Arithmetic::Int8, "is no file of packed weights"),
            (changed(8), MODEL, Arithmetic::Int8, "version 0, expected 1"),
            (changed(40), MODEL, Arithmetic::Int8, "its checksum is another one"),
            (changed(last), MODEL, Arithmetic::Int8, "its checksum is another one"),
        ] {
            let told = told(&bytes, model, precision);
            assert!(told.contains(expected), "{told}, expected {expected}");
        }
    }

    #[test]
    fn another_layout_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other");
        let mut writer = PackedWriter::new(&path, MODEL, Arithmetic::F32).expect("begun");
        writer.header.layout = "panel32".into();
        writer.finish().expect("written");
        let told = PackedFile::open(&path, MODEL, Arithmetic::F32).map(|_| ()).expect_err("refused").to_string();
        assert!(told.contains("layout panel32") && told.contains(&layout()), "{told}");
    }
}
