//! What `torch.save` writes: a pickle and the storages of its tensors, as a zip archive or, before PyTorch 1.6, as
//! several pickles in a row. And the numbers that stand in such a file, however they are kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};

use super::pickle::{self, Element, Fault, Global, Id, Node, Pickle};

/// First value of the older form.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Protocol of the older form.
const PROTOCOL: i128 = 1001;
/// Longest list of numbers that is read at all; a box has four.
const MOST_NUMBERS: usize = 16;

/// A file of `torch.save`, or a plain pickle.
pub(super) struct Saved {
    pub(super) pickle: Pickle,
    /// Content of the storages, by key.
    storages: HashMap<String, Vec<u8>>,
}

/// Reads a file's content; the form is told by its first bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Saved, Fault> {
    if bytes.is_empty() {
        return Err("is empty (0 bytes), expected what `torch.save` writes".into());
    }
    if bytes.starts_with(b"PK\x03\x04") { zipped(bytes) } else { legacy(bytes) }
}

fn zipped(bytes: &[u8]) -> Result<Saved, Fault> {
    let damaged = |e: zip::result::ZipError| format!("is a damaged zip archive (cut short?): {e}");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let data = archive.file_names().flatten().find(|name| name.ends_with("/data.pkl")).map(Cow::into_owned);
    let data = data.ok_or("is a zip archive without `data.pkl`, expected what `torch.save` writes")?;
    let folder = data.trim_end_matches("data.pkl").to_owned();
    // Entries may name the same bytes again and again; together they hold no more than the file.
    let mut left = bytes.len() as u64;
    let mut entry = |name: &str| -> Result<Vec<u8>, Fault> {
        let file = archive.by_name(name).map_err(|e| format!("`{name}` in the archive: {e}"))?;
        let mut content = Vec::new();
        file.take(left + 1).read_to_end(&mut content).map_err(|e| format!("`{name}` in the archive: {e}"))?;
        left = left.checked_sub(content.len() as u64).ok_or("is an archive whose entries are larger than itself")?;
        Ok(content)
    };
    let (pickle, _) = pickle::read(&entry(&data)?).map_err(|e| format!("`{data}`, {e}"))?;
    if entry(&format!("{folder}byteorder")).is_ok_and(|order| order == b"big") {
        return Err("was written on a big-endian machine, expected little-endian".into());
    }
    let mut storages = HashMap::new();
    for (key, _) in storage_keys(&pickle)? {
        let content = entry(&format!("{folder}data/{key}"))?;
        storages.insert(key, content);
    }
    Ok(Saved { pickle, storages })
}

fn legacy(bytes: &[u8]) -> Result<Saved, Fault> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, Fault> {
        let (pickle, length) = pickle::read(&bytes[at..]).map_err(|e| format!("pickle at byte {at}, {e}"))?;
        at += length;
        Ok(pickle)
    };
    let first = next()?;
    let is = |pickle: &Pickle, value: i128| matches!(pickle.node(pickle.root), Node::Int(found) if *found == value);
    if !is(&first, MAGIC) {
        return Ok(Saved { pickle: first, storages: HashMap::new() });
    }
    let protocol = next()?;
    if !is(&protocol, PROTOCOL) {
        return Err(format!("protocol {} of `torch.save`, expected {PROTOCOL}", protocol.describe(protocol.root)));
    }
    let system = next()?;
    let little = system.field(system.root, "little_endian").map_err(|e| format!("system information {e}"))?;
    if !matches!(system.node(little), Node::Bool(true)) {
        return Err("was written on a big-endian machine, expected little-endian".into());
    }
    let pickle = next()?;
    let keys = next()?;
    let elements = storage_keys(&pickle)?;
    let mut rest = &bytes[at..];
    let mut storages = HashMap::new();
    for key in keys.items(keys.root).ok_or("lacks the list of its storages")? {
        let key = keys.text(*key).ok_or("names a storage that is no text")?.into_owned();
        let element = elements.get(&key).ok_or_else(|| format!("holds a storage `{key}` that nothing uses"))?;
        let short = || format!("storage `{key}` is cut short");
        let (count, data) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(element.size()));
        let (content, after) = length.and_then(|n| data.split_at_checked(n)).ok_or_else(short)?;
        storages.insert(key, content.to_vec());
        rest = after;
    }
    Ok(Saved { pickle, storages })
}

/// Keys of the storages that a pickle refers to, and the type of their numbers.
fn storage_keys(pickle: &Pickle) -> Result<HashMap<String, Element>, Fault> {
    let mut keys = HashMap::new();
    for node in pickle.nodes() {
        let Node::Persistent(reference) = node else { continue };
        let (element, key) = storage(pickle, *reference)?;
        keys.insert(key, element);
    }
    Ok(keys)
}

/// Type and key of the storage behind a reference `("storage", type, key, place, count, ..)`.
fn storage(pickle: &Pickle, reference: Id) -> Result<(Element, String), Fault> {
    let wrong = || format!("refers to {}, expected a tensor's storage", pickle.describe(reference));
    let [kind, class, key, ..] = pickle.items(reference).ok_or_else(wrong)? else { return Err(wrong()) };
    let (Some("storage"), Node::Global(Global::Storage(element)), Some(key)) =
        (pickle.text(*kind).as_deref(), pickle.node(*class), pickle.text(*key))
    else {
        return Err(wrong());
    };
    Ok((*element, key.into_owned()))
}

impl Saved {
    /// Numbers in a list, a tuple, a numpy array or a tensor of one axis.
    pub(super) fn numbers(&self, id: Id) -> Result<Vec<f64>, Fault> {
        let pickle = &self.pickle;
        match pickle.node(id) {
            Node::List(_) | Node::Tuple(_) => {
                let items = pickle.items(id).unwrap_or_default();
                if items.len() > MOST_NUMBERS {
                    return Err(format!("is {}, expected 4 numbers", pickle.describe(id)));
                }
                items.iter().map(|item| self.number(*item)).collect()
            }
            Node::Call { global: Global::Reconstruct, state: Some(state), .. } => {
                // (version, shape, dtype, column-major, bytes)
                let Some(&[_, shape, dtype, _, raw]) = pickle.items(*state) else {
                    return Err("is a numpy array with a state of unknown layout".into());
                };
                self.array(raw, dtype, shape)
            }
            Node::Call { global: Global::FromBuffer, args, .. } => match pickle.items(*args) {
                Some(&[raw, dtype, shape, ..]) => self.array(raw, dtype, shape),
                _ => Err("is a numpy array of unknown layout".into()),
            },
            Node::Call { global: Global::RebuildTensor, args, .. } => self.tensor(*args),
            _ => Err(format!("is {}, expected 4 numbers in a list, a numpy array or a tensor", pickle.describe(id))),
        }
    }

    fn number(&self, id: Id) -> Result<f64, Fault> {
        let pickle = &self.pickle;
        match pickle.node(id) {
            Node::Int(value) => Ok(*value as f64),
            Node::Float(value) => Ok(*value),
            Node::Call { global: Global::Scalar, args, .. } => match pickle.items(*args) {
                Some(&[dtype, raw]) => {
                    let one = self.elements(raw, dtype, 1)?;
                    one.first().copied().ok_or_else(|| "is a numpy scalar without a value".into())
                }
                _ => Err("is a numpy scalar of unknown layout".into()),
            },
            Node::Call { global: Global::RebuildTensor, args, .. } => match self.tensor(*args)?[..] {
                [value] => Ok(value),
                _ => Err("holds a tensor of several numbers, expected single numbers".into()),
            },
            _ => Err(format!("holds {}, expected numbers", pickle.describe(id))),
        }
    }

    fn array(&self, raw: Id, dtype: Id, shape: Id) -> Result<Vec<f64>, Fault> {
        let count = self.count(shape)?;
        self.elements(raw, dtype, count)
    }

    /// `count` numbers of numpy's type `dtype` in the bytes `raw`.
    fn elements(&self, raw: Id, dtype: Id, count: usize) -> Result<Vec<f64>, Fault> {
        let element = self.dtype(dtype)?;
        let Node::Bytes(bytes) = self.pickle.node(raw) else {
            return Err(format!("keeps its numbers in {}, expected bytes", self.pickle.describe(raw)));
        };
        if bytes.len() != count * element.size() {
            return Err(format!("keeps {count} numbers in {} bytes, expected {}", bytes.len(), count * element.size()));
        }
        Ok(bytes.chunks_exact(element.size()).filter_map(|b| element.number(b)).collect())
    }

    fn dtype(&self, id: Id) -> Result<Element, Fault> {
        let pickle = &self.pickle;
        let Node::Call { global: Global::DType, args, state } = pickle.node(id) else {
            return Err(format!("has {} for numpy's type", pickle.describe(id)));
        };
        let name = pickle.items(*args).and_then(|args| pickle.text(*args.first()?)).unwrap_or_default();
        // (version, byte order, ..)
        let order = state.and_then(|state| pickle.text(*pickle.items(state)?.get(1)?)).unwrap_or_default();
        let element = match &*name {
            "b1" | "u1" => Element::U8,
            "i1" => Element::I8,
            "i2" => Element::I16,
            "i4" => Element::I32,
            "i8" => Element::I64,
            "f4" => Element::F32,
            "f8" => Element::F64,
            _ => return Err(format!("is of numpy's type `{}`, expected numbers", pickle::shortened(&name))),
        };
        if order == ">" {
            return Err("is a big-endian numpy array, expected little-endian".into());
        }
        Ok(element)
    }

    /// Arguments: (storage, offset, shape, stride, ..).
    fn tensor(&self, args: Id) -> Result<Vec<f64>, Fault> {
        let pickle = &self.pickle;
        let unknown = || "is a tensor of unknown layout".to_owned();
        let Some(&[source, offset, shape, stride, ..]) = pickle.items(args) else { return Err(unknown()) };
        let Node::Persistent(reference) = pickle.node(source) else { return Err(unknown()) };
        let (element, key) = storage(pickle, *reference)?;
        let bytes = self.storages.get(&key).ok_or_else(|| format!("is a tensor whose storage `{key}` is missing"))?;
        let size = |id: Id| pickle.int(id).and_then(|n| usize::try_from(n).ok()).ok_or_else(unknown);
        let (count, offset) = (self.count(shape)?, size(offset)?);
        let stride = match pickle.items(stride) {
            Some([]) => 1,
            Some([only]) => size(*only)?,
            _ => return Err(unknown()),
        };
        let at = |i: usize| {
            let start = i.checked_mul(stride)?.checked_add(offset)?.checked_mul(element.size())?;
            element.number(bytes.get(start..)?)
        };
        let outside = || format!("is a tensor that leaves its storage `{key}`");
        (0..count).map(|i| at(i).ok_or_else(outside)).collect()
    }

    /// Numbers in a shape of at most one axis.
    fn count(&self, shape: Id) -> Result<usize, Fault> {
        let sides = self.pickle.items(shape).ok_or("is an array without a shape")?;
        let sides: Option<Vec<usize>> =
            sides.iter().map(|side| self.pickle.int(*side).and_then(|n| usize::try_from(n).ok())).collect();
        match sides.as_deref() {
            Some([]) => Ok(1),
            Some([count @ 0..=MOST_NUMBERS]) => Ok(*count),
            _ => Err(format!("is an array of shape {:?}, expected 4 numbers", sides.unwrap_or_default())),
        }
    }
}
