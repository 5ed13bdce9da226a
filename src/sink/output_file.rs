//! Files that are written beside the place where they will appear, and the names of a video's later parts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use crate::error::{Error, Result};

/// `name` as far as a file can be called so.
pub(crate) fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// A file on its way.
pub(crate) struct PartialFile {
    pub(crate) written: PathBuf,
    wanted: PathBuf,
    /// Becomes true when the end of the stream has reached the file: it is whole.
    whole: Arc<AtomicBool>,
}

impl PartialFile {
    pub(crate) fn new(wanted: &Path) -> Self {
        // A device or pipe cannot be replaced by renaming.
        let special = std::fs::metadata(wanted).is_ok_and(|metadata| !metadata.is_file());
        let name = wanted.file_name().unwrap_or_default().to_string_lossy();
        let written = if special { wanted.to_path_buf() } else { wanted.with_file_name(format!(".{name}.part")) };
        Self { written, wanted: wanted.to_path_buf(), whole: Arc::default() }
    }

    /// Whether the file is whole, once the pipeline has stopped.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Sees the end of the stream pass into the sinks of `bin`.
    pub(crate) fn watch(&self, bin: &gst::Bin) {
        for pad in bin.iterate_sinks().into_iter().flatten().filter_map(|sink| sink.static_pad("sink")) {
            let whole = Arc::clone(&self.whole);
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                    whole.store(true, Ordering::Release);
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    /// A file that is of use while it grows: it is written where it is wanted.
    pub(crate) fn in_place(wanted: &Path) -> Self {
        Self { written: wanted.to_path_buf(), wanted: wanted.to_path_buf(), whole: Arc::default() }
    }

    /// Takes the times out at which the finished file was written.
    pub(crate) fn clear_times(&self) -> Result<()> {
        super::mp4_times::clear(&self.written).map_err(Error::io("write", &self.wanted))
    }

    /// Puts the finished file where it was wanted.
    pub(crate) fn publish(&self) -> Result<()> {
        if self.written == self.wanted {
            return Ok(());
        }
        std::fs::rename(&self.written, &self.wanted).map_err(Error::io("write", &self.wanted))
    }

    /// Removes what was not published: it is no video.
    pub(crate) fn discard(&self) {
        if self.written != self.wanted {
            drop(std::fs::remove_file(&self.written));
        }
    }
}

/// `clip.mp4` for the first part, `clip-0002.mp4` for the second.
pub(crate) fn numbered(path: &Path, part: usize) -> PathBuf {
    if part <= 1 {
        return path.to_path_buf();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{part:04}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_have_numbers() {
        assert_eq!(numbered(Path::new("a/clip.mp4"), 1), Path::new("a/clip.mp4"));
        assert_eq!(numbered(Path::new("a/clip.mp4"), 2), Path::new("a/clip-0002.mp4"));
        assert_eq!(numbered(Path::new("clip"), 12), Path::new("clip-0012"));
    }
}
