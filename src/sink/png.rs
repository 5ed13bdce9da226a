//! Frames as PNG files, named by their `seq`.

use std::path::{Path, PathBuf};

use frames::meta::FRAME_META;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::error::{Error, Result};
use crate::pipeline;
use crate::stage::QUEUE;

/// A branch that encodes every frame and writes it into `folder`.
pub(super) fn branch(folder: &Path, launch: &str) -> Result<gst::Bin> {
    let bin = pipeline::build("frames", launch, &[], gst::PadDirection::Sink)?;
    let fail = |reason: &str| Error::Pipeline { name: "frames".into(), reason: reason.into() };
    let sink = bin.by_name("pictures").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
    let sink = sink.ok_or_else(|| fail("has no appsink named `pictures`"))?;
    let entrance = bin.static_pad("sink").or_else(|| bin.sink_pads().into_iter().next());
    let entrance = entrance.ok_or_else(|| fail("has no way in"))?;
    // Encoders drop metadata. As many numbers wait as frames can be inside.
    let (numbers, coming) = crossbeam_channel::bounded::<u64>(8 * QUEUE);
    entrance.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let seq = info.buffer().and_then(|buffer| {
            let meta = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).ok()?;
            meta.structure().get::<u64>("seq").ok()
        });
        // The other end goes with the branch.
        let _ = numbers.send(seq.unwrap_or_default());
        gst::PadProbeReturn::Ok
    });
    let folder: PathBuf = folder.to_path_buf();
    let write = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        let (buffer, seq) =
            (sample.buffer().ok_or(gst::FlowError::Error)?, coming.recv().map_err(|_| gst::FlowError::Error)?);
        let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let path = folder.join(format!("{seq:08}.png"));
        std::fs::write(&path, &*data).map_err(|error| {
            gst::element_error!(sink, gst::ResourceError::Write, ("cannot write {}: {error}", path.display()));
            gst::FlowError::Error
        })?;
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(write).build());
    Ok(bin)
}
