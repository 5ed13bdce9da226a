//! Drawings of pipelines, where `GST_DEBUG_DUMP_DOT_DIR` asks for them, with no secret in them.

use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;

use crate::secrets;
use crate::sink::file_name;

/// Writes what the pipeline looks like now into the folder, as `NAME.dot`.
pub(crate) fn draw(pipeline: &gst::Pipeline, name: &str) {
    let Some(folder) = std::env::var_os("GST_DEBUG_DUMP_DOT_DIR") else { return };
    let path = Path::new(&folder).join(format!("spotter-{}.dot", file_name(&secrets::hidden(name))));
    let text = secrets::hidden(&pipeline.debug_to_dot_data(gst::DebugGraphDetails::all()));
    if let Err(error) = std::fs::write(&path, text) {
        tracing::warn!("cannot write {}: {error}", path.display());
    }
}
