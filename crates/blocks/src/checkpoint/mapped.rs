//! Mapped files: the one place that maps any.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::Result;
use candle_core::safetensors::MmapedSafetensors;

/// Maps `path` and checks its header against its length.
pub(super) fn open(path: &Path) -> Result<MmapedSafetensors> {
    // SAFETY: the map is read-only and every tensor is copied out of it while the file is open here. A writer that
    // truncates the file meanwhile could raise SIGBUS; model files are replaced by rename, never written in place.
    unsafe { MmapedSafetensors::new(path) }
}

/// The header's `__metadata__`.
pub(super) fn metadata(path: &Path) -> Result<HashMap<String, String>> {
    let map = Map::open(path)?;
    let (_, header) = safetensors::SafeTensors::read_metadata(map.bytes()).map_err(candle_core::Error::wrap)?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// A file in memory. Its pages are the system's own copy of the file, which all processes that map it share.
#[derive(Debug)]
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps `path`.
    ///
    /// # Errors
    /// It cannot be opened or mapped.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        // SAFETY: the map is read-only, and files that are mapped are replaced by rename, never written in place. One that
        // somebody truncates all the same raises SIGBUS.
        Ok(Self(unsafe { memmap2::Mmap::map(&file)? }))
    }

    /// All of it; begins on a page.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells the system that all of it will be read soon. Nothing depends on it.
    pub fn read_ahead(&self) {
        #[cfg(unix)]
        if let Err(error) = self.0.advise(memmap2::Advice::WillNeed) {
            tracing::debug!("a mapped file is not read ahead: {error}");
        }
    }
}
