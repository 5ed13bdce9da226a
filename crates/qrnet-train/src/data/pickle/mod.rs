//! A reader of Python pickles that takes data only: no code runs, whatever the file asks for.
//!
//! Protocols 0 to 5, as Python 2 and 3 write them. Values lie in one arena and name each other by number, so a file
//! cannot make them larger than a fixed multiple of itself, and nothing here recurses: cycles, deep nesting and
//! repeated references cost what their opcodes cost. A global outside [`Global`] is an error that names it.

mod literal;
mod machine;

use std::borrow::Cow;

/// Index of a value in its [`Pickle`].
pub(super) type Id = u32;

/// What goes wrong: a byte position or a value, and what was expected.
pub(super) type Fault = String;

/// A function or type that a file may name, and that this crate knows the meaning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `_codecs.encode`: how protocol 2 of Python 3 writes bytes.
    Encode,
    /// `numpy.ndarray`.
    NdArray,
    /// `numpy.dtype`.
    DType,
    /// `numpy.core.multiarray._reconstruct`: an array whose content follows as its state.
    Reconstruct,
    /// `numpy.core.multiarray.scalar`.
    Scalar,
    /// `numpy.core.numeric._frombuffer`: an array in protocol 5.
    FromBuffer,
    /// `torch._utils._rebuild_tensor_v2`: a view of a storage.
    RebuildTensor,
    /// `torch.FloatStorage` and its like.
    Storage(Element),
}

/// Type of the numbers in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// `u8`, also bool.
    U8,
    /// `i8`.
    I8,
    /// `i16`.
    I16,
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
}

impl Element {
    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The number whose `size` little-endian bytes are given; none where they are too few.
    pub(super) fn number(self, bytes: &[u8]) -> Option<f64> {
        Some(match self {
            Self::U8 => f64::from(*bytes.first()?),
            Self::I8 => f64::from(*bytes.first()? as i8),
            Self::I16 => f64::from(i16::from_le_bytes(*bytes.first_chunk()?)),
            Self::I32 => f64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            Self::I64 => i64::from_le_bytes(*bytes.first_chunk()?) as f64,
            Self::F32 => f64::from(f32::from_le_bytes(*bytes.first_chunk()?)),
            Self::F64 => f64::from_le_bytes(*bytes.first_chunk()?),
        })
    }
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self, Fault> {
        // numpy 2 moved its private module; both names stand in files.
        let module =
            module.strip_prefix("numpy._core.").map_or(Cow::Borrowed(module), |m| format!("numpy.core.{m}").into());
        Ok(match (&*module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("_codecs", "encode") => Self::Encode,
            ("numpy", "ndarray") => Self::NdArray,
            ("numpy", "dtype") => Self::DType,
            ("numpy.core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.multiarray", "scalar") => Self::Scalar,
            ("numpy.core.numeric", "_frombuffer") => Self::FromBuffer,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch", "ByteStorage" | "BoolStorage") => Self::Storage(Element::U8),
            ("torch", "CharStorage") => Self::Storage(Element::I8),
            ("torch", "ShortStorage") => Self::Storage(Element::I16),
            ("torch", "IntStorage") => Self::Storage(Element::I32),
            ("torch", "LongStorage") => Self::Storage(Element::I64),
            ("torch", "FloatStorage") => Self::Storage(Element::F32),
            ("torch", "DoubleStorage") => Self::Storage(Element::F64),
            _ => {
                return Err(format!(
                    "the pickle names `{}.{}`, expected data only: lists, dicts, texts, numbers, numpy arrays and tensors",
                    shortened(&module),
                    shortened(name)
                ));
            }
        })
    }
}

/// One value.
#[derive(Debug)]
pub(super) enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 16 bytes.
    Int(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(Box<str>),
    /// Bytes; Python 2 writes its texts so.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Box<[Id]>),
    /// A dict, in the file's order.
    Dict(Vec<(Id, Id)>),
    /// A known function or type.
    Global(Global),
    /// What a known function would give for a tuple of arguments, and the state set on it afterwards.
    Call {
        /// The function.
        global: Global,
        /// Its arguments.
        args: Id,
        /// What `__setstate__` would get.
        state: Option<Id>,
    },
    /// A reference to something outside the pickle: a tensor's storage.
    Persistent(Id),
}

/// The values of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    /// The value that the pickle holds.
    pub(super) root: Id,
}

/// Reads the pickle at the start of `bytes`; also gives its length in bytes, as several may stand in a row.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle, usize), Fault> {
    machine::run(bytes)
}

impl Pickle {
    /// The value at `id`.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// Every value, in no meaningful order.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A list or a tuple.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::List(items) => Some(items),
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A text, or a Python 2 text as Latin-1.
    pub(super) fn text(&self, id: Id) -> Option<Cow<'_, str>> {
        match self.node(id) {
            Node::Text(text) => Some(Cow::Borrowed(text)),
            Node::Bytes(bytes) => Some(latin1(bytes)),
            _ => None,
        }
    }

    /// An integer of up to 8 bytes; none of numpy's, no float.
    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The value of `key` in a small dict; the last one counts, as in Python.
    pub(super) fn field(&self, dict: Id, key: &str) -> Result<Id, Fault> {
        const MOST: usize = 256;
        let Node::Dict(pairs) = self.node(dict) else {
            return Err(format!("is {}, expected a dict with the key `{key}`", self.describe(dict)));
        };
        if pairs.len() > MOST {
            return Err(format!("is a dict of {} keys, expected at most {MOST}", pairs.len()));
        }
        let found = pairs.iter().rev().find(|(name, _)| self.text(*name).is_some_and(|name| name == key));
        found.map(|(_, value)| *value).ok_or_else(|| format!("lacks the key `{key}`"))
    }

    /// What a value is, for an error message.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.node(id) {
            Node::None => "None".into(),
            Node::Bool(value) => format!("the truth value {value}"),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Text(text) => format!("\"{}\"", shortened(text)),
            Node::Bytes(bytes) => format!("\"{}\"", shortened(&latin1(bytes))),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Tuple(items) => format!("a tuple of {}", items.len()),
            Node::Dict(pairs) => format!("a dict of {} keys", pairs.len()),
            Node::Global(global) | Node::Call { global, .. } => format!("an object of {global:?}"),
            Node::Persistent(_) => "a storage".into(),
        }
    }
}

/// Bytes as Latin-1: byte `n` is character `n`.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// The first characters of a text, for messages.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
    }
}
