//! Packed weights where they lie: a model's own, or a part of a mapped file, which all who map it share.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::bytes::{ByteLine, Outputs};
use super::panel::Line;
use crate::checkpoint::Map;

/// Bytes of a cache line, on which every part of packed weights begins.
pub const CACHE_LINE: usize = 64;

/// What packed weights consist of: whole cache lines, of which every pattern of bits is one.
///
/// # Safety
/// Without padding, aligned to [`CACHE_LINE`], of a layout that is the same in every build, and any bytes make one.
#[expect(unsafe_code, reason = "says that bytes may be taken for it")]
pub(super) unsafe trait Lines: Copy {}

// SAFETY: arrays of numbers that fill whole cache lines, laid out as in C.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Lines for Line {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Lines for ByteLine {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Lines for Outputs {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Lines for super::pairs::PairLine {}

/// Some bytes of a mapped file.
#[derive(Debug, Clone)]
pub struct Part {
    map: Arc<Map>,
    range: Range<usize>,
}

impl Part {
    /// None where the file has no such bytes.
    pub fn new(map: &Arc<Map>, range: Range<usize>) -> Option<Self> {
        map.bytes().get(range.clone()).map(|_| Self { map: Arc::clone(map), range })
    }

    fn bytes(&self) -> &[u8] {
        &self.map.bytes()[self.range.clone()]
    }
}

/// Lines of packed weights.
#[derive(Debug)]
pub(super) enum Store<T> {
    /// In memory of their own.
    Own(Vec<T>),
    /// In a file that is mapped.
    Mapped(Part, PhantomData<T>),
}

impl<T: Lines> Store<T> {
    /// `count` lines of a mapped file; none where that many are not there, or where they lie askew.
    pub(super) fn of(part: Part, count: usize) -> Option<Self> {
        let bytes = part.bytes();
        let fits = bytes.len() == count * size_of::<T>() && bytes.as_ptr().cast::<T>().is_aligned();
        fits.then_some(Self::Mapped(part, PhantomData))
    }

    /// All lines as bytes, as files hold them.
    pub(super) fn bytes(&self) -> &[u8] {
        let lines: &[T] = self;
        // SAFETY: lines have no padding, so all their bytes are there; they are lent as long as `self` is.
        #[expect(unsafe_code, reason = "lines are whole bytes, see `Lines`")]
        unsafe {
            std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines))
        }
    }
}

impl<T: Lines> Deref for Store<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(lines) => lines,
            Self::Mapped(part, _) => {
                let bytes = part.bytes();
                // SAFETY: `of` has seen that they are aligned and how many they are, a map does not move, and any bytes
                // make a line.
                #[expect(unsafe_code, reason = "lines are read where the file is mapped")]
                unsafe {
                    std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>())
                }
            }
        }
    }
}

impl<T> Store<T> {
    /// Memory for other lines: its own, or none yet.
    pub(super) fn into_room(self) -> Vec<T> {
        match self {
            Self::Own(lines) => lines,
            Self::Mapped(..) => Vec::new(),
        }
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl<T> From<Vec<T>> for Store<T> {
    fn from(lines: Vec<T>) -> Self {
        Self::Own(lines)
    }
}
