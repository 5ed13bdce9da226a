//! Memory-mapped safetensors: the one place that maps a file.
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
    let file = std::fs::File::open(path)?;
    // SAFETY: as in `open`.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    let (_, header) = safetensors::SafeTensors::read_metadata(&map).map_err(candle_core::Error::wrap)?;
    Ok(header.metadata().clone().unwrap_or_default())
}
